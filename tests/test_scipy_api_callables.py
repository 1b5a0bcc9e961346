"""Models of every kind of callable, data of every kind."""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_scipy_api_helpers import OURS, X, Y, line

METHODS = ["trf", "dogbox", "lm"]


class Model:
    def __call__(self, x, a, b):
        return a * x + b

    def method(self, x, a, b):
        return a * x + b

    @classmethod
    def of_class(cls, x, a, b):
        return a * x + b

    @staticmethod
    def static(x, a, b):
        return a * x + b


def wrapped(x, *p):
    return line(x, *p)


CALLABLES = {
    "function": (line, 2),
    "lambda": (lambda x, a, b: a * x + b, 2),
    "object": (Model(), 2),
    "method": (Model().method, 2),
    "classmethod": (Model.of_class, 2),
    "staticmethod": (Model.static, 2),
    "static through object": (Model().static, 2),
    "partial of keyword": (functools.partial(line, b=1.0), 1),
    "partial of position": (functools.partial(lambda q, x, a, b: a * x + b, 1), 2),
    "wraps": (functools.wraps(line)(wrapped), 2),
    "default": (lambda x, a, b=7.0: a * x + b, 2),
    "keyword-only with default": (lambda x, a, *, b=1.0: a * x + b, 1),
    "positional only": (eval("lambda x, a, /, b: a * x + b"), 2),
    "further keywords": (lambda x, a, b, **more: a * x + b, 2),
    "further positions": (lambda x, a, b, *more: a * x + b, 2),
}


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.parametrize("method", ["lm", "trf"])
def test_number_of_parameters_is_read_off_the_signature(name, method):
    model, n = CALLABLES[name]
    popt, pcov = OURS.curve_fit(model, X, Y, method=method)
    assert popt.shape == (n,) and pcov.shape == (n, n)
    assert_allclose(popt, [2.0, 1.0][:n], rtol=1e-6)


def test_function_with_a_signature_of_its_own():
    def model(x, *p):
        return line(x, *p)

    model.__signature__ = inspect.signature(line)
    assert OURS.curve_fit(model, X, Y)[0].size == 2


@pytest.mark.parametrize("x", [None, {"t": X}, (X, X), np.array([X, X]), X.tolist(), "text", [[0, 1, 2, 3, 4]] * 2])
def test_independent_variable_of_any_kind(x):
    seen = []

    def model(x, a, b):
        seen.append(x)
        return a * X + b

    assert_allclose(OURS.curve_fit(model, x, Y)[0], [2.0, 1.0])
    if isinstance(x, list | tuple | np.ndarray):
        assert type(seen[0]) is np.ndarray and seen[0].dtype == np.float64
    else:
        assert seen[0] is x


def test_parameters_arrive_as_numpy_scalars():
    kinds = set()

    def model(x, a, b):
        kinds.update((type(a), type(b)))
        return a * x + b

    for method in METHODS:
        OURS.curve_fit(model, X, Y, method=method)
    assert kinds == {np.float64}
