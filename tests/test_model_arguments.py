"""What `Model` and its makers refuse: objects that are no plain arrays, and arguments that have no meaning there."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import nlsq

X = np.linspace(0.1, 4.0, 40)
Y = 2.0 * np.exp(-0.7 * X)
P0 = np.array([1.0, 1.0])


class Derived(np.ndarray):
    """An array of another type."""


OTHERS = [
    list,
    tuple,
    lambda values: values.view(Derived),
    lambda values: np.ma.array(values, mask=values > 1.0),
    lambda values: values[0],
    lambda values: float(values[0]),
]


def decay(x, a, b):
    return a * np.exp(-b * x)


def residual(p):
    return p[0] * np.exp(-p[1] * X) - Y


@pytest.fixture
def model():
    return nlsq.model(decay)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", ["x", "y", "weights"])
@pytest.mark.parametrize("weights", [None, np.ones(40)])
def test_solve_takes_nothing_but_plain_arrays(model, name, other, weights):
    data = {"x": X, "y": Y, "weights": weights}
    expected = model.solve(**data, p0=P0).params  # a plan is at hand
    values = {"x": X, "y": Y, "weights": np.ones(40)}[name]
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{name} must be|shapes do not fit"):
            model.solve(**data | {name: other(values)}, p0=P0)
    assert_array_equal(model.solve(**data, p0=P0).params, expected)
    assert not model.nlsq_route.reason


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda made, found: nlsq.compile(made, kind="residual"), "made as a model"),
        (lambda made, found: nlsq.compile(found), "made as a residual"),
        (lambda made, found: nlsq.compile(made, n=2), "n is for plain residuals"),
        (lambda made, found: nlsq.compile(decay, n=2), "n is for plain residuals"),
        (lambda made, found: nlsq.compile(numba.njit(residual), kind="residual", n=2), "n is for plain residuals"),
        (lambda made, found: nlsq.compile(nlsq.compile(numba.njit(decay)), kind="residual"), "made as a model"),
        (lambda made, found: nlsq.model(found), "made as a residual"),
        (lambda made, found: nlsq.model(made, names=("c", "d")), "names are those"),
        (lambda made, found: nlsq.model(made, variables=2), "variables are those"),
        (lambda made, found: found.residual_and_jacobian(P0, X), "x is for models"),
        (lambda made, found: found.residual_and_jacobian(P0, y=Y), "y is for models"),
        (lambda made, found: found.residual_and_jacobian(P0, weights=Y), "weights is for models"),
        (lambda made, found: made.source(n=2), "n is for residuals"),
        (lambda made, found: found.source(x=X, n=2), "x is for models"),
    ],
)
def test_arguments_without_a_meaning_are_refused(model, call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call(model, nlsq.compile(residual, kind="residual"))


def test_the_same_arguments_again_change_nothing(model):
    assert nlsq.model(model, names=("a", "b")) is model
    found = nlsq.compile(residual, kind="residual")
    assert nlsq.compile(found, kind="residual", n=2) is found
