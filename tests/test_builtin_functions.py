"""Kernels as built-in functions: they give what ctypes gives, and neither keep nor lose references."""

import gc
import sys
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes
from nlsq.kernels import arrays
from nlsq.kernels.backend.array_objects import header_words

pytestmark = pytest.mark.skipif(
    header_words() != arrays.HEADER_WORDS, reason="objects are laid out in another way in this Python"
)

X = np.linspace(0.1, 4.0, 40)
Y = 2.0 * np.exp(-0.7 * X) + 0.01 * np.sin(9.0 * X)
START = np.array([1.0, 1.0])


def plan_of(f):
    nlsq.model(f).solve(X, Y, START)
    return routes.route_of(f, "model").latest.quick[-1]


@pytest.fixture
def plan():
    return plan_of(lambda x, a, b: a * np.exp(-b * x))


def test_they_give_what_ctypes_gives(plan):
    assert plan._function is not None
    ours = plan.fit(X, Y, None, START, 0), plan.status, plan.solve_data(X, Y, START)
    plan._function = None
    theirs = plan.fit(X, Y, None, START, 0), plan.status, plan.solve_data(X, Y, START)
    assert_array_equal(ours[0][0], theirs[0][0])
    assert_array_equal(ours[0][1], theirs[0][1])
    assert ours[1] == theirs[1] > 0
    assert_array_equal(ours[2], theirs[2])


def test_residuals_give_what_ctypes_gives():
    residual = lambda p: p[0] * np.exp(-p[1] * X) - Y
    found = nlsq.leastsq(residual, START)[0]
    plan = routes.route_of(residual, "residual").latest.quick[-1]
    assert plan._function is not None
    before = sys.getrefcount(START)
    assert_array_equal(plan.solve(START), found)
    assert sys.getrefcount(START) == before
    plan._function = None
    assert_array_equal(plan.solve(START), found)


def test_a_solve_without_data_that_the_model_needs_is_refused(plan):
    with pytest.raises(ValueError, match="the plan is for 2 parameters"):
        plan.solve(START)


def test_references_are_as_before(plan):
    things = X, Y, START, plan._plan, plan._function
    before = [sys.getrefcount(thing) for thing in things]
    for _ in range(100):
        params, covariance = plan.fit(X, Y, None, START, 0)
        plan.solve_data(X, Y, START)
        plan.fit(X[::2], Y, None, START, 0)
        plan.fit(X, Y, None, np.ones(3), 0)
    assert [sys.getrefcount(thing) for thing in things] == before
    assert sys.getrefcount(params) == sys.getrefcount(covariance) == 2


@pytest.mark.parametrize(
    "wrong",
    [(X[::2], Y, START), (X, Y.astype(np.float32), START), (X, Y, START[:1]), (X * np.nan, Y, START)],
    ids=["length", "type", "start", "nan"],
)
def test_arrays_that_are_not_plain_are_refused(plan, wrong):
    assert plan.fit(wrong[0], wrong[1], None, wrong[2], 0) is None
    assert plan.solve_data(*wrong) is None


def test_they_die_with_their_plan():
    def table():
        plan = plan_of(lambda x, a, b: a / (1.0 + b * x))
        return weakref.ref(plan._plan)

    reference = table()
    routes.forget()
    gc.collect()
    assert reference() is None
