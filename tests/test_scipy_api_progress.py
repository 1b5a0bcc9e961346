"""What `least_squares` prints, and what it tells its callback."""

import itertools
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import OptimizeResult
from test_scipy_api_helpers import OURS, SCIPY, as_scipy_1_17, rosenbrock, rosenbrock_jac, warnings_of

START = [2.0, 3.0]
CASES = [("trf", (-np.inf, np.inf)), ("trf", ([0, 1.2], 5)), ("dogbox", (-np.inf, np.inf)), ("dogbox", ([0, 1.2], 5))]
NUMBER = re.compile(r"\d\.\d+e[+-]\d\d|\d+")


def layout(text):
    """The lines of a table with their numbers made equal."""
    return [NUMBER.sub("#", line) for line in text.splitlines()]


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_silent_by_default(method, capsys):
    OURS.least_squares(rosenbrock, START, method=method)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
@pytest.mark.parametrize("verbose", [1, 2, True])
def test_summary(method, verbose, capsys):
    result = OURS.least_squares(rosenbrock, START, method=method, verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == result.message
    assert lines[-1] == (
        f"Function evaluations {result.nfev}, initial cost 5.0500e+01, final cost {result.cost:.4e}, "
        f"first-order optimality {result.optimality:.2e}."
    )
    assert len(lines) == 2 or (verbose == 2 and method != "lm")


@as_scipy_1_17
@pytest.mark.parametrize(("method", "bounds"), CASES)
def test_table_is_laid_out_as_in_scipy(method, bounds, capsys):
    tables = []
    for api in (SCIPY, OURS):
        api.least_squares(rosenbrock, START, rosenbrock_jac, bounds, method, verbose=2, max_nfev=3)
        tables.append(capsys.readouterr().out)
    expected, actual = map(layout, tables)
    assert actual[0] == expected[0]
    assert actual[1] == expected[1]
    assert all(line in expected for line in actual[1:-2])
    assert tables[0].splitlines()[1][:60] == tables[1].splitlines()[1][:60]


@pytest.mark.parametrize(("method", "bounds"), CASES)
def test_table_has_a_line_for_each_step(method, bounds, capsys):
    steps = []
    result = OURS.least_squares(rosenbrock, START, bounds=bounds, method=method, verbose=2, callback=steps.append)
    lines = capsys.readouterr().out.splitlines()[1:-2]
    assert [int(line.split()[0]) for line in lines] == list(range(len(steps) + 1))
    assert int(lines[-1].split()[1]) <= result.nfev
    assert_allclose(float(lines[-1].split()[2]), result.cost, rtol=1e-3)
    assert_allclose(float(lines[-1].split()[-1]), result.optimality, rtol=1e-2)
    for before, after in itertools.pairwise(lines):
        cost, reduction = float(before.split()[2]), float(after.split()[3])
        assert_allclose(cost - float(after.split()[2]), reduction, rtol=2e-2, atol=1e-4 * cost)


@pytest.mark.parametrize(("method", "bounds"), CASES)
def test_callback_by_result(method, bounds):
    states = []

    def callback(intermediate_result):
        states.append(intermediate_result)

    result = OURS.least_squares(rosenbrock, START, bounds=bounds, method=method, callback=callback)
    assert all(type(state) is OptimizeResult for state in states)
    assert all(list(state) == ["x", "fun", "nit", "nfev", "cost"] for state in states)
    assert [state.nit for state in states] == list(range(1, len(states) + 1))
    for state in states:
        assert_allclose(state.fun, rosenbrock(state.x))
        assert_allclose(state.cost, 0.5 * state.fun @ state.fun)
        assert isinstance(state.nfev, int) and isinstance(state.cost, np.float64)
    assert (states[-1].x == result.x).all()
    assert result.status > 0


@pytest.mark.parametrize(("method", "bounds"), CASES)
def test_callback_by_point_gets_a_copy(method, bounds):
    points = []

    def callback(xk):
        points.append(xk.copy())
        xk[:] = 99.0
        return True  # is not what stops

    result = OURS.least_squares(rosenbrock, START, bounds=bounds, method=method, callback=callback)
    assert (points[-1] == result.x).all() and result.status > 0


@pytest.mark.parametrize(("method", "bounds"), CASES)
def test_stop_iteration_stops(method, bounds, capsys):
    calls = []

    def callback(*, intermediate_result):
        calls.append(intermediate_result.x)
        raise StopIteration

    result = OURS.least_squares(rosenbrock, START, bounds=bounds, method=method, callback=callback, verbose=2)
    assert len(calls) == 1 and (calls[0] == result.x).all()
    assert (result.status, result.success) == (-2, False)
    assert result.message == "Stopped because `callback` function raised `StopIteration` or returned `True`"
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_callbacks_of_every_kind():
    seen = []

    class Callback:
        def __call__(self, intermediate_result):
            seen.append(type(intermediate_result))

        def method(self, intermediate_result):
            seen.append(type(intermediate_result))

    def more(intermediate_result, extra=1):
        seen.append(type(intermediate_result))

    for callback, kind in ((Callback(), OptimizeResult), (Callback().method, OptimizeResult), (more, np.ndarray)):
        seen.clear()
        OURS.least_squares(rosenbrock, START, callback=callback)
        assert set(seen) == {kind}


def test_exception_of_a_callback_passes_through():
    def callback(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        OURS.least_squares(rosenbrock, START, callback=callback)


@as_scipy_1_17
def test_lm_warns_of_a_callback():
    def call(api):
        api.least_squares(rosenbrock, START, method="lm", callback=lambda x: 1 / 0)

    assert warnings_of(call, OURS) == warnings_of(call, SCIPY)
