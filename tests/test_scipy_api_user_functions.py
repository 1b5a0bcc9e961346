"""Functions as users write them: odd values, buffers, changed arguments, exceptions, further arguments, threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_scipy_api_helpers import (
    OURS,
    X,
    Y,
    as_scipy_1_17,
    line,
    rosenbrock,
    rosenbrock_jac,
    same_exception,
    three,
)

from nlsq.compiler import routes

METHODS = ["trf", "dogbox", "lm"]
SOLVES = {
    "leastsq": lambda fun, x0, jac=None: OURS.leastsq(fun, x0, Dfun=jac)[0],
    **{
        method: lambda fun, x0, jac=None, method=method: OURS.least_squares(fun, x0, jac or "2-point", method=method).x
        for method in METHODS
    },
}


@pytest.fixture(params=SOLVES)
def solve(request):
    return SOLVES[request.param]


START = [2.0, 3.0]


# Return values


@pytest.mark.parametrize("kind", [list, tuple, np.array, np.ma.array, lambda r: r.astype(object).tolist()])
def test_residuals_of_any_sequence(solve, kind):
    assert_allclose(solve(lambda x: kind(rosenbrock(x)), START), 1.0, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, ">f8"])
def test_residuals_of_other_precision(solve, dtype):
    if dtype is np.longdouble and solve in (SOLVES["leastsq"], SOLVES["lm"]):
        pytest.skip("MINPACK's wrapper refuses what float64 cannot hold")
    assert_allclose(solve(lambda x: rosenbrock(x).astype(dtype), START), 1.0, rtol=1e-3)


def test_integer_residuals(solve):
    assert solve(lambda x: np.array([3, 4]), [1.0]) == 1.0


def test_scalar_residual(solve):
    assert_allclose(solve(lambda x: x[0] - 5.0, 1.0), 5.0)
    assert_allclose(solve(lambda x: float(x[0] - 5.0), 1.0), 5.0)


def test_views_of_one_buffer(solve):
    buffer, jac_buffer = np.empty(2), np.empty((2, 2))

    def residual(x):
        buffer[:] = rosenbrock(x)
        return buffer

    def jac(x):
        buffer.fill(np.nan)
        jac_buffer[:] = rosenbrock_jac(x)
        return jac_buffer

    assert_allclose(solve(residual, START), 1.0, rtol=1e-5)
    assert_allclose(solve(residual, START, jac), 1.0, rtol=1e-5)
    every_other = np.empty((2, 2))

    def strided(x):
        every_other[:, 0] = rosenbrock(x)
        return every_other[:, 0]

    assert_allclose(solve(strided, START), 1.0, rtol=1e-5)


def test_result_shares_nothing_with_the_buffer(solve):
    buffer = np.empty(2)

    def residual(x):
        buffer[:] = rosenbrock(x)
        return buffer

    result = OURS.least_squares(residual, START)
    kept = result.fun.copy()
    buffer.fill(7.0)
    assert (result.fun == kept).all()


def test_changed_argument(solve):
    def residual(x):
        r = rosenbrock(x)
        x[:] = 77.0
        return r

    def jac(x):
        values = rosenbrock_jac(x)
        x[:] = 77.0
        return values

    assert_allclose(solve(residual, START), 1.0, rtol=1e-5)
    assert_allclose(solve(residual, START, jac), 1.0, rtol=1e-5)


def test_start_is_untouched(solve):
    start = np.array(START)
    solve(rosenbrock, start)
    assert (start == START).all()


def test_arguments_may_be_kept(solve):
    seen = []

    def residual(x):
        seen.append(x)
        return rosenbrock(x)

    solve(residual, START)
    assert len({tuple(x) for x in seen}) > 5
    assert all(x.dtype == np.float64 and x.flags.writeable for x in seen)


# Failures on the way


@as_scipy_1_17
def test_length_that_changes_with_lm_is_scipys_error():
    def call(api):
        calls = 0

        def residual(x):
            nonlocal calls
            calls += 1
            return np.ones(3 if calls < 3 else 4) * x[0]

        api.leastsq(residual, 1.0)

    assert same_exception(call) is not None


def test_length_that_changes(solve):
    calls = 0

    def residual(x):
        nonlocal calls
        calls += 1
        return np.ones(3 if calls < 4 else 4) * (x[0] - 2.0) ** 2

    with pytest.raises(ValueError):
        solve(residual, 1.0)


class Abort(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("kind", [Abort, KeyError, StopIteration, KeyboardInterrupt, ArithmeticError])
def test_exceptions_pass_through_unchanged(solve, at, kind):
    raised = kind("mine")
    calls = 0

    def residual(x):
        nonlocal calls
        calls += 1
        if calls == at:
            raise raised
        return rosenbrock(x)

    with pytest.raises(kind) as caught:
        solve(residual, START)
    assert caught.value is raised and calls == at


@pytest.mark.parametrize("at", [1, 2])
def test_exceptions_of_the_jacobian_pass_through(solve, at):
    raised = Abort("mine")
    calls = 0

    def jac(x):
        nonlocal calls
        calls += 1
        if calls == at:
            raise raised
        return rosenbrock_jac(x)

    with pytest.raises(Abort) as caught:
        solve(rosenbrock, START, jac)
    assert caught.value is raised


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_exceptions_of_a_model_pass_through(method):
    calls = 0

    def model(x, a, b):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Abort("mine")
        return line(x, a, b)

    with pytest.raises(Abort, match="mine"):
        OURS.curve_fit(model, X, Y, method=method)


NONFINITE = ("Residuals are not finite in the initial point.", "array must not contain infs or NaNs")


def defined_for(calls, value):
    """A residual function that returns nothing finite after so many calls."""
    count = 0

    def residual(x):
        nonlocal count
        count += 1
        r = rosenbrock(x)
        if count > calls:
            r[count % 2] = value
        return r

    return residual


@pytest.mark.parametrize("calls", range(9))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_what_is_not_finite_on_the_way_is_no_success(calls, value):
    for method in METHODS:
        try:
            result = OURS.least_squares(defined_for(calls, value), START, method=method)
        except ValueError as error:
            assert str(error) in NONFINITE
        else:
            assert not result.success
    try:
        *_, ier = OURS.leastsq(defined_for(calls, value), START, full_output=True)
    except ValueError as error:
        assert str(error) in NONFINITE
    else:
        assert ier not in (1, 2, 3, 4)


def test_model_that_returns_a_list():
    for method in METHODS:
        assert_allclose(OURS.curve_fit(lambda x, a, b: list(a * x + b), X, Y, method=method)[0], [2.0, 1.0])


def test_counts_are_of_the_calls_made():
    for method in METHODS:
        calls = jac_calls = 0

        def residual(x):
            nonlocal calls
            calls += 1
            return rosenbrock(x)

        def jac(x):
            nonlocal jac_calls
            jac_calls += 1
            return rosenbrock_jac(x)

        result = OURS.least_squares(residual, START, jac, method=method)
        assert (result.nfev, result.njev) == (calls, jac_calls)
        calls = 0
        OURS.least_squares(residual, START, method=method, max_nfev=3)
        assert calls <= 3 + 3 * len(START)


# Arguments of the functions


def test_further_arguments_of_every_number():
    for more in ((), (1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)):

        def residual(x, *args, expected=more, shift=0.0):
            assert args == expected
            return rosenbrock(x) + shift

        def jac(x, *args, shift=0.0):
            return rosenbrock_jac(x)

        assert_allclose(OURS.leastsq(residual, START, args=more)[0], 1.0, rtol=1e-6)
        assert_allclose(OURS.leastsq(residual, START, args=more, Dfun=jac)[0], 1.0, rtol=1e-6)
        for kwargs in (None, {}, {"shift": 0.0}):
            assert_allclose(OURS.least_squares(residual, START, args=more, kwargs=kwargs).x, 1.0, rtol=1e-6)
            assert_allclose(OURS.least_squares(residual, START, jac, args=more, kwargs=kwargs).x, 1.0, rtol=1e-6)


def test_args_that_is_no_tuple():
    assert_allclose(OURS.leastsq(lambda x, a: three(x) - a, 1.0, args=3)[0], 2.0833, rtol=1e-3)
    assert_allclose(OURS.leastsq(lambda x, a: three(x) - a[0], 1.0, args=[3])[0], 2.0833, rtol=1e-3)
    assert_allclose(OURS.least_squares(lambda x, a: three(x) - a, 1.0, args=[3]).x, 2.0833, rtol=1e-3)


# Threads and re-entrancy


def test_solves_within_solves(solve):
    def residual(x):
        inner = solve(lambda z: rosenbrock(z) * x[0], START)
        assert_allclose(inner, 1.0, rtol=1e-4)
        return rosenbrock(x)

    assert_allclose(solve(residual, START), 1.0, rtol=1e-5)


def test_fits_within_fits():
    def model(x, a, b):
        assert_allclose(OURS.curve_fit(line, X, Y)[0], [2.0, 1.0])
        return line(x, a, b)

    for method in METHODS:
        assert_allclose(OURS.curve_fit(model, X, Y, method=method)[0], [2.0, 1.0])


def test_threads_do_not_meet(solve):
    barrier = threading.Barrier(8)

    def run(seed):
        rng = np.random.default_rng(seed)
        n = 2 + seed % 5
        jac, solution = rng.standard_normal((40, n)), rng.standard_normal(n)
        barrier.wait(timeout=60)
        for _ in range(20):
            found = solve(lambda x: jac @ (x - solution) + 0.1 * (x - solution).sum() ** 2, np.zeros(n))
            assert_allclose(found, solution, rtol=1e-3, atol=1e-3)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))


# Workers


def test_workers_of_every_kind(monkeypatch):
    monkeypatch.setattr(routes, "WORTH_COMPILING", float("inf"))  # kernels leave them no differences to take
    routes.forget()
    used = []

    def mapped(function, points):
        used.append(True)
        return map(function, points)

    for method in METHODS:
        for workers in (None, 1, 1.5, map, mapped):
            result = OURS.least_squares(rosenbrock, START, method=method, workers=workers)
            assert_allclose(result.x, 1.0, rtol=1e-5)
    assert used
