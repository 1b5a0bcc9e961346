"""Difference kernels against their Python twins: the same points, the same Jacobian, the same number of calls."""

import math

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references.kernel_calls import call

from nlsq.derivatives import CentralDifference, ForwardDifference
from nlsq.kernels import finite_difference as kernels
from nlsq.kernels import layout
from nlsq.kernels.backend import ticket
from nlsq.problem import compile
from nlsq.solvers.workspace import Workspace

ESTIMATORS = {
    "forward": (ForwardDifference, kernels.forward_jacobian),
    "central": (CentralDifference, kernels.central_jacobian),
}


@numba.njit
def smooth(p):
    """A residual of any number of parameters that sees each."""
    out = np.empty(5)
    for i in range(5):
        total = 0.0
        for j in range(p.size):
            total += math.sin(0.3 * (i + 1) * p[j]) + 0.1 * p[j] * p[(j + i) % p.size]
        out[i] = total - i
    return out


@numba.njit
def offset(p):
    """Swallows small parameters: 1 + p does not see p = 1e-9 moved by 1e-17."""
    out = np.empty(4)
    for i in range(4):
        out[i] = p[i % p.size] - 3.0 - i
    return out


@numba.njit
def blind(p):
    return np.full(3, 2.0)


SMOOTH, OFFSET, BLIND = (compile(f, kind="residual") for f in (smooth, offset, blind))
FUNCTIONS = {"smooth": SMOOTH, "offset": OFFSET, "blind": BLIND}


def workspace(prepared, x, r, lower, upper):
    """Lay out what the driver would have written before the first Jacobian."""
    space = Workspace(r.size, x.size)
    space.x[:], space.residual[:] = x, r
    space.jac_t[:] = np.nan
    assert prepared.write(space.w, space.iw)
    space.vector(layout.LOWER)[:], space.vector(layout.UPPER)[:] = lower, upper
    call(kernels.sizes_from_start, "compiled", space.w, space.iw)
    return space


def by_kernel(name, function, x, lower, upper):
    """Return the kernel's Jacobian, its calls, the twin's, and the twin's calls."""
    estimator, kernel = ESTIMATORS[name]
    bound = function.bind(x)
    r = bound(x)
    prepared = estimator().prepare(bound, x, r.size, lower=lower, upper=upper)
    space = workspace(prepared, x, r, lower, upper)
    space.iw[layout.RESIDUAL_FUNCTION], space.iw[layout.RESIDUAL_DATA] = bound.address, bound.data_address
    assert call(kernel, "compiled", space.w, space.iw) == 0
    assert np.array_equal(space.x, x)
    expected = prepared.evaluate(x, r, None)
    return space.jac_t.T, space.iw[layout.NFEV_JAC], expected, prepared.residual_calls


class Recorded:
    """A Python residual that remembers where it was called."""

    def __init__(self, function):
        self.function, self.points = function, []

    def __call__(self, x):
        self.points.append(np.array(x))
        return self.function(np.array(x))


def by_source(name, function, x, lower, upper):
    """Return points and Jacobian of the kernel's source run as Python, and of the twin."""
    estimator, kernel = ESTIMATORS[name]
    r = np.asarray(function(x))
    recorded = Recorded(function)

    def as_c_function(p, data, out):
        out[: r.size] = recorded(p[: x.size])
        return 0

    prepared = estimator().prepare(recorded, x, r.size, lower=lower, upper=upper)
    space = workspace(prepared, x, r, lower, upper)
    space.iw[layout.RESIDUAL_FUNCTION] = ticket(as_c_function)
    with np.errstate(all="ignore"):
        assert kernel(space.w, space.iw) == 0
    theirs, recorded.points = recorded.points, []
    expected = prepared.evaluate(x, r, None)
    return space.jac_t.T, theirs, expected, recorded.points


values = st.one_of(
    st.just(0.0),
    st.builds(lambda s, e, f: s * f * 10.0**e, st.sampled_from([-1, 1]), st.integers(-15, 6), st.floats(1, 9.9)),
)


@st.composite
def boxed_points(draw):
    """Points inside boxes whose ends are far, at a step's distance, at the point itself, or open."""
    x = np.array(draw(st.lists(values, min_size=1, max_size=4)))
    ends = []
    for side in (-1.0, 1.0):
        end = []
        for value in x:
            step = 1e-8 * max(abs(value), 1e-12)
            gap = draw(st.sampled_from([math.inf, 0.0, 0.3 * step, 1.7 * step, 20 * step, 700 * step, 1.0, 1e3]))
            end.append(value + side * gap)
        ends.append(np.array(end))
    return x, *ends


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=40)
@given(box=boxed_points())
@example(box=(np.array([1e-9]), np.array([-math.inf]), np.array([math.inf])))
@example(box=(np.array([2.0, 2.0]), np.array([2.0 - 1e-9, 2.0]), np.array([2.0 + 1e-9, 2.0])))
def test_compiled_kernel_equals_the_twin(name, function, box):
    found, calls, expected, twin_calls = by_kernel(name, FUNCTIONS[function], *box)
    np.testing.assert_allclose(found, expected, rtol=4.5e-16, atol=0)
    assert calls == twin_calls


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=40)
@given(box=boxed_points())
def test_source_evaluates_at_the_points_of_the_twin_and_inside_the_bounds(name, function, box):
    x, lower, upper = box
    found, points, expected, twin_points = by_source(name, FUNCTIONS[function].function.py_func, x, lower, upper)
    np.testing.assert_allclose(found, expected, rtol=4.5e-16, atol=0)
    assert len(points) == len(twin_points)
    assert sorted(map(tuple, points)) == sorted(map(tuple, twin_points))
    for point in points:
        assert np.all((lower <= point) & (point <= upper))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("p", [0.0, 1e-15, -1e-9, 1e-3, 5.0, 1e9])
def test_lost_steps_grow_until_they_are_seen(name, p):
    """d(p - 3)/dp = 1 from every start, where an absolute or a tiny step alone gives 0."""
    x = np.array([p])
    found, _, _, _ = by_kernel(name, OFFSET, x, np.full(1, -np.inf), np.full(1, np.inf))
    np.testing.assert_allclose(found, 1.0, rtol=1e-3)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fixed_parameter_has_a_zero_column_and_costs_nothing(name):
    x = np.array([1.0, 2.0])
    found, calls, _, _ = by_kernel(name, SMOOTH, x, np.array([1.0, -9.0]), np.array([1.0, 9.0]))
    assert np.all(found[:, 0] == 0.0)
    assert np.all(found[:, 1] != 0.0)
    assert calls == (1 if name == "forward" else 2)


@pytest.mark.parametrize("undefined", [1, 2, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_no_number_is_not_lost_in_rounding(name, undefined):
    """It stays in the column: a column of zeros would look like a stationary point."""

    def edge(p):
        return np.where(np.arange(3) < (undefined if abs(p[0] - 1.5) > 0.0 else 0), np.nan, 2.0)

    x, ends = np.array([1.5]), np.full(1, np.inf)
    estimator, kernel = ESTIMATORS[name]
    prepared = estimator().prepare(edge, x, 3)
    space = workspace(prepared, x, edge(x), -ends, ends)
    space.iw[layout.NJEV] = 1

    def as_c_function(p, data, out):
        out[:3] = edge(p)
        return 0

    space.iw[layout.RESIDUAL_FUNCTION] = ticket(as_c_function)
    assert kernel(space.w, space.iw) == 0
    prepared.evaluate(x, edge(x), None)  # the first, at the start, keeps all
    for jac in (space.jac_t.T, prepared.evaluate(x, edge(x), None)):
        np.testing.assert_array_equal(np.isnan(jac[:, 0]), np.arange(3) < undefined)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("mode", ["compiled", "python"])
def test_failure_leaves_x_alone_and_the_point_behind(name, mode):
    def failing(p):
        if p[1] != 2.0:
            raise ArithmeticError("far")
        return np.ones(3) * p[0]

    x, bounds = np.array([1.0, 2.0]), (np.full(2, -np.inf), np.full(2, np.inf))
    estimator, kernel = ESTIMATORS[name]
    prepared = estimator().prepare(lambda p: np.ones(3), x, 3)
    space = workspace(prepared, x, np.ones(3), *bounds)
    if mode == "compiled":
        bound = compile(numba.njit(failing), kind="residual").bind(x)
        space.iw[layout.RESIDUAL_FUNCTION], space.iw[layout.RESIDUAL_DATA] = bound.address, bound.data_address
    else:

        def as_c_function(p, data, out):
            try:
                out[:3] = failing(p)
            except ArithmeticError:
                return 1
            return 0

        space.iw[layout.RESIDUAL_FUNCTION] = ticket(as_c_function)
    assert call(kernel, mode, space.w, space.iw) != 0
    assert np.array_equal(space.x, x)
    assert space.x_new[0] == 1.0
    assert space.x_new[1] != 2.0


@pytest.mark.parametrize(
    ("name", "order", "tolerance"),
    [("forward", 1, 1e-6), ("central", 2, 1e-9)],
)
def test_accuracy(name, order, tolerance):
    x = np.array([0.7, -1.3])
    found, _, _, _ = by_kernel(name, SMOOTH, x, np.full(2, -np.inf), np.full(2, np.inf))
    h = 1e-20
    complex_smooth = lambda p: np.array(
        [sum(np.sin(0.3 * (i + 1) * p[j]) + 0.1 * p[j] * p[(j + i) % 2] for j in range(2)) - i for i in range(5)]
    )
    exact = np.stack([complex_smooth(x + 1j * h * np.eye(2)[j]).imag / h for j in range(2)], axis=1)
    np.testing.assert_allclose(found, exact, atol=tolerance)
