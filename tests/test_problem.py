"""LeastSquaresProblem: what it takes, what it refuses and how it says so; and residuals of any kind."""

import functools

import numpy as np
import pytest
import scipy.sparse

from nlsq import LeastSquaresProblem, solve
from nlsq.derivatives import Analytic, CentralDifference, ComplexStep, ForwardDifference
from nlsq.problem.residual import PlainResidual


def line(x):
    return np.array([x[0] - 1.0, x[0] + x[-1] - 3.0, 0.5 * x[-1]])


def problem(x0=(0.5, 0.5), **arguments):
    return LeastSquaresProblem(arguments.pop("residual", line), x0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"x0": []}, ValueError, "x0 must be one-dimensional and not empty"),
        ({"x0": [[1.0, 2.0]]}, ValueError, r"shape \(1, 2\)"),
        ({"x0": [1.0, np.nan]}, ValueError, r"x0\[1\] is not finite"),
        ({"x0": [np.inf, 1.0]}, ValueError, r"x0\[0\] is not finite"),
        ({"x0": ["a", "b"]}, TypeError, "x0 must be real numbers"),
        ({"x0": [1j, 0.0]}, TypeError, "x0 must be real numbers"),
        ({"x0": [None, 1.0]}, TypeError, "x0 must be real numbers"),
        ({"residual": 3}, TypeError, "residual must be callable, got int"),
        ({"bounds": 1.0}, ValueError, "bounds must be a tuple"),
        ({"bounds": (0, 1, 2)}, ValueError, "bounds must be a tuple"),
        ({"bounds": ([0, 0, 0], 1)}, ValueError, r"lower has shape \(3,\), expected \(\) or \(2,\)"),
        ({"bounds": (0, [[1, 1]])}, ValueError, r"upper has shape \(1, 2\)"),
        ({"bounds": ([0.0, 1.0], [1.0, 0.0])}, ValueError, r"lower\[1\] = 1.0 is not <= upper\[1\] = 0.0"),
        ({"bounds": ([0.0, np.nan], 1)}, ValueError, r"lower\[1\] = nan"),
        ({"bounds": (0, [1.0, 0.2])}, ValueError, r"x0\[1\] = 0.5 is outside its bounds \[0.0, 0.2\]"),
        ({"scale": "size"}, ValueError, "scale must be 'jac' or positive numbers"),
        ({"scale": [1.0, 0.0]}, ValueError, r"scale\[1\] must be positive and finite, got 0.0"),
        ({"scale": [1.0, np.nan]}, ValueError, r"scale\[1\]"),
        ({"scale": [1.0, 2.0, 3.0]}, ValueError, r"scale has shape \(3,\)"),
        ({"loss": "square"}, ValueError, "loss must be one of"),
        ({"loss": "huber", "loss_scale": 0.0}, ValueError, "scale of a loss"),
        ({"jac": "4-point"}, ValueError, "jac must be callable, an estimator or one of"),
        ({"jac": 3}, TypeError, "jac must be callable"),
        ({"constraints": [1]}, TypeError, r"constraints\[0\] is a int"),
        ({"manifold": object()}, NotImplementedError, "manifold"),
    ],
)
def test_refuses_and_names_the_argument(arguments, error, text):
    with pytest.raises(error, match=text):
        problem(**arguments)


@pytest.mark.parametrize("x0", [3, 3.0, np.float32(3), [3], (3,), np.array(3), np.array([3], dtype=np.int8), True])
def test_start_of_any_real_kind_becomes_float64(x0):
    found = problem(x0).x0
    assert found.dtype == np.float64
    assert found.shape == (1,)


def test_start_is_a_copy():
    x0 = np.array([0.5, 0.5])
    one = problem(x0)
    solve(one)
    assert np.array_equal(x0, [0.5, 0.5])
    assert one.x0 is not x0
    assert np.array_equal(one.x0, x0)


def test_bounds_are_filled_and_infinite_ones_are_none():
    one = problem(bounds=(0, None))
    assert np.array_equal(one.lower, [0.0, 0.0])
    assert np.array_equal(one.upper, [np.inf, np.inf])
    assert one.bounded
    assert not problem(bounds=(None, None)).bounded
    assert not problem(bounds=(-np.inf, [np.inf, np.inf])).bounded
    assert problem(bounds=([0.5, 0.0], [0.5, 1.0])).bounded  # a fixed parameter is allowed


def test_scale_is_filled():
    assert np.array_equal(problem(scale=2).scale, [2.0, 2.0])
    assert problem().scale is None


@pytest.mark.parametrize(
    ("jac", "kind"),
    [(None, ForwardDifference), ("2-point", ForwardDifference), ("3-point", CentralDifference), ("cs", ComplexStep)],
)
def test_estimators_by_name(jac, kind):
    assert isinstance(problem(jac=jac).estimator, kind)


def test_estimator_given_and_jacobian_given():
    estimator = CentralDifference()
    assert problem(jac=estimator).estimator is estimator
    assert isinstance(problem(jac=lambda x: np.zeros((3, 2))).estimator, Analytic)


def test_sparsity_becomes_a_pattern():
    one = problem(sparsity=scipy.sparse.csr_array(np.ones((3, 2))))
    assert one.pattern.shape == (3, 2)


def test_counters_start_anew_at_each_solve():
    one = problem()
    counts = []
    for _ in range(2):
        result = solve(one)
        counts.append((result.nfev, result.njev, result.nfev_jac, result.nit))
        assert (one.counters.nfev, one.counters.njev, one.counters.nit) == (result.nfev, result.njev, result.nit)
    assert counts[0] == counts[1]


def test_counts_are_the_calls():
    calls = []
    result = solve(problem(residual=lambda x: calls.append(1) or line(x)))
    assert len(calls) == result.nfev + result.nfev_jac
    calls, jacobians = [], []
    jac = lambda x: jacobians.append(1) or np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.5]])
    result = solve(problem(residual=lambda x: calls.append(1) or line(x), jac=jac))
    assert (len(calls), len(jacobians)) == (result.nfev, result.njev)
    assert result.nfev_jac == 0


# Residuals


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (None, TypeError, "None"),
        (np.array([1j, 2.0, 3.0]), TypeError, "complex"),
        (["a", "b", "c"], TypeError, "array of <U1"),
        ([None, 1.0, 2.0], TypeError, "array of object"),
        (np.zeros((3, 2)), ValueError, r"shape \(3, 2\)"),
        ([], ValueError, r"shape \(0,\)"),
    ],
)
def test_what_is_no_residual(value, error, text):
    residual = PlainResidual(lambda x: value)
    with pytest.raises(error, match=text):
        residual.first(np.zeros(2))
    values = iter([np.ones(3), value])
    later = PlainResidual(lambda x: next(values))
    later.first(np.zeros(2))
    with pytest.raises(error):
        later.into(np.zeros(2), np.empty(3))


@pytest.mark.parametrize(
    "value", [[1, 2], (1.0, 2.0), np.array([1, 2], dtype=np.float32), np.array([True, False]), 2, np.float64(2)]
)
def test_what_is_a_residual(value):
    expected = np.atleast_1d(np.asarray(value, dtype=np.float64)).tolist()
    residual = PlainResidual(lambda x: value)
    first = residual.first(np.zeros(2))
    assert first.dtype == np.float64
    assert first.tolist() == expected
    out = np.empty(residual.m)
    residual.into(np.zeros(2), out)
    assert out.tolist() == expected


class Changing:
    """A residual that keeps, changes or returns its argument, or a view of its own buffer."""

    def __init__(self, manner):
        self.manner, self.buffer, self.kept = manner, np.empty(2), []

    def __call__(self, x):
        value = np.array([x[0] - 1.0, 10.0 * (x[1] - x[0] ** 2)])
        if self.manner == "changes x":
            x[:] = np.nan
        if self.manner == "keeps x":
            self.kept.append((x, x.copy()))
        if self.manner == "own buffer":
            self.buffer[:] = value
            return self.buffer
        if self.manner == "view":
            return np.stack([value, value])[0]
        if self.manner == "list":
            return value.tolist()
        return value


@pytest.mark.parametrize("manner", ["plain", "changes x", "keeps x", "own buffer", "view", "list"])
@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_solution_does_not_depend_on_the_manners_of_the_function(manner, method):
    function = Changing(manner)
    result = solve(LeastSquaresProblem(function, [-1.2, 1.0]), method)
    plain = solve(LeastSquaresProblem(Changing("plain"), [-1.2, 1.0]), method)
    assert np.array_equal(result.x, plain.x)
    assert result.converged
    assert all(np.array_equal(x, then) for x, then in function.kept)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox", "gauss-newton", "gradient"])
def test_length_that_changes_is_an_error(method):
    calls = []

    def growing(x):
        calls.append(1)
        return np.append(x - 3.0, np.zeros(int(len(calls) > 4)))

    with pytest.raises(ValueError, match="3"):
        solve(LeastSquaresProblem(growing, [1.0, 2.0]), method)


def test_callables_of_all_kinds():
    class Method:
        def residual(self, x, shift=3.0, *, factor=1.0):
            return factor * (x - shift)

    kinds = [Method().residual, functools.partial(Method().residual, factor=2.0), lambda x, shift=3.0: x - shift]
    for function in kinds:
        assert solve(LeastSquaresProblem(function, [1.0])).x[0] == pytest.approx(3.0)


def test_first_call_fixes_the_length():
    residual = PlainResidual(lambda x: np.ones(4))
    assert residual.first(np.zeros(2)).shape == (4,)
    assert residual.m == 4
    out = np.empty(4)
    residual.into(np.zeros(2), out)
    assert out.tolist() == [1.0] * 4
