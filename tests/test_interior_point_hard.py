"""The interior-point method where there is no answer or no way: infeasible, undefined, unbounded, interrupted."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint

from benchmarks.problems import constrained
from benchmarks.problems.constrained.judge import derivatives
from nlsq import InteriorPoint, LeastSquaresProblem, Status, solve
from nlsq.kernels.backend import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set: slow, and no graphs")
INF = np.inf
VIOLATION = 1e-6


def to_origin(x):
    return 1.0 * x


def problem(c, lower, upper, x0, residual=to_origin, **arguments):
    return LeastSquaresProblem(residual, x0, constraints=[NonlinearConstraint(c, lower, upper)], **arguments)


def of_collection(name):
    one = constrained.load(name)
    return problem(
        one.constraints, one.cl, one.cu, np.clip(one.x0, one.lb, one.ub), one.residual, bounds=(one.lb, one.ub)
    )


def certificate(c, lower, upper, x, low=-INF, high=INF):
    """Return (largest violation, gradient of half the sum of their squares, projected on the bounds, relative)."""
    values = c(x)
    v = np.maximum(values - upper, 0.0) - np.maximum(lower - values, 0.0)
    gradient = derivatives(c, x).T @ v
    step = np.clip(x - gradient, low, high) - x
    return np.abs(v).max(), np.abs(step).max() / np.abs(v).max()


# infeasible


@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
@pytest.mark.parametrize(
    "name",
    ["infeasible_circle_line", "infeasible_parallel", "infeasible_simplex", "infeasible_sphere", "infeasible_disks"],
)
def test_infeasible_problems_come_with_a_certificate(name, linear_solver):
    one = constrained.load(name)
    result = solve(of_collection(name), InteriorPoint(linear_solver=linear_solver))
    assert result.status == Status.LOCALLY_INFEASIBLE
    assert not result.converged
    worst, gradient = certificate(one.constraints, one.cl, one.cu, result.x, one.lb, one.ub)
    assert worst > 1e-3
    assert gradient < 1e-5
    assert result.constr_violation == pytest.approx(worst, rel=1e-6)
    assert "contradict" in result.message


def unmended(value, reason):
    return pytest.param(value, marks=pytest.mark.xfail(strict=True, reason=reason))


SHORT = "restoration ends short of a stationary point"


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-3, *(unmended(scale, SHORT) for scale in (1e3, 1e6))])
def test_certificate_whatever_the_unit(scale):
    c = lambda x: scale * np.array([x[0] ** 2 + x[1] ** 2, x[0] + x[1]])
    lower, upper = scale * np.array([-INF, 4.0]), scale * np.array([1.0, 4.0])
    result = solve(problem(c, lower, upper, [0.1, 0.2]))
    assert result.status == Status.LOCALLY_INFEASIBLE
    worst, gradient = certificate(c, lower, upper, result.x)
    assert gradient / scale < 1e-4
    assert worst > 0.1 * scale


def test_contradicting_equalities():
    rows = LinearConstraint([[1.0, 1.0], [1.0, 1.0]], [1.0, 2.0], [1.0, 2.0])
    result = solve(LeastSquaresProblem(to_origin, [3.0, 0.0], constraints=[rows]))
    assert result.status == Status.LOCALLY_INFEASIBLE
    assert result.x.sum() == pytest.approx(1.5, abs=1e-4)


# c, lower limit, start; feasible points exist, but the violation is stationary where it starts
ELSEWHERE = {
    "minimum at 1": (lambda x: x[:1] ** 3 - 3.0 * x[:1], 1.0, [1.0, 0.0]),
    "maximum": (lambda x: x[:1] ** 2 / (1.0 + x[:1] ** 2), 0.5, [0.0, 0.0]),
    "maximum, far limit": (lambda x: 100.0 * np.cos(x[:1]) + x[:1] ** 4, 150.0, [0.0, 0.0]),
    "saddle": (lambda x: x[:1] ** 2 - x[1:] ** 2, 1.0, [0.0, 0.0]),
    "saddle, far limit": (lambda x: 100.0 * (x[:1] ** 2 - x[1:] ** 2), 300.0, [0.0, 0.0]),
    "far": (lambda x: x[:1] * x[1:], 400.0, [0.0, 0.0]),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_feasible_elsewhere_is_found_or_the_answer_is_local(name):
    """Never a false claim: infeasible only with a certificate, and not where a step aside would have done."""
    c, limit, start = ELSEWHERE[name]
    result = solve(problem(c, limit, INF, start))
    if result.status == Status.LOCALLY_INFEASIBLE:
        worst, gradient = certificate(c, limit, INF, result.x)
        assert gradient < 1e-5
        near = result.x + 0.1 * np.random.default_rng(0).standard_normal((50, 2))
        assert min(certificate(c, limit, INF, x)[0] for x in near) >= (1.0 - 1e-6) * worst
    else:
        assert result.converged
        assert c(result.x)[0] >= limit - 1e-5 * limit


def test_slope_that_is_not_flat_is_no_certificate():
    """The violation falls slowly but without end: no iteration limit makes that infeasible."""
    c = lambda x: np.arctan(x[:1] / 50.0)
    result = solve(problem(c, 1.5, INF, [0.0, 0.0]), max_evaluations=40)
    assert result.status != Status.LOCALLY_INFEASIBLE
    result = solve(problem(c, 1.5, INF, [0.0, 0.0]))
    assert result.converged
    assert c(result.x)[0] >= 1.5 - 1e-6


@pytest.mark.parametrize("bounds", [([0.0, -5.0], [1.0, 5.0])])
def test_infeasible_only_because_of_bounds(bounds):
    c = lambda x: x[:1] + 0.0 * x[1:]
    result = solve(problem(c, 3.0, 3.0, [0.5, 0.5], bounds=bounds))
    assert result.status == Status.LOCALLY_INFEASIBLE
    assert result.x[0] == pytest.approx(1.0, abs=1e-4)
    assert (result.x >= bounds[0]).all() and (result.x <= bounds[1]).all()
    worst, gradient = certificate(c, 3.0, 3.0, result.x, *bounds)
    assert worst == pytest.approx(2.0, abs=1e-4)
    assert gradient < 1e-3  # the distance from the bound, where it ended


@pytest.mark.parametrize("factor", [1e-10, 1e-5, 1.0, 1e5, 1e10])
def test_rows_of_very_different_size(factor):
    c = lambda x: np.array([factor * (x[0] + x[1] - 1.0), (x[0] - x[1]) / factor])
    result = solve(problem(c, 0.0, 0.0, [3.0, 4.0]))
    assert result.converged
    assert np.abs(c(result.x)).max() < 1e-5


# undefined


@pytest.mark.parametrize("bad", [np.nan, INF, -INF])
@pytest.mark.parametrize("of", ["residual", "constraint"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_start_that_is_undefined(bad, of, linear_solver):
    bad_function = lambda x: np.array([bad, 1.0]) + 0.0 * x
    functions = (bad_function, to_origin) if of == "residual" else (to_origin, bad_function)
    result = solve(
        problem(functions[1], -1.0, 1.0, [0.3, 0.4], functions[0]), InteriorPoint(linear_solver=linear_solver)
    )
    assert result.status == Status.NONFINITE_START
    assert not result.converged
    assert result.x.tolist() == [0.3, 0.4]


def log_where_defined(x):
    with np.errstate(all="ignore"):
        return np.log(x)


@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
@pytest.mark.parametrize("of", ["residual", "constraint"])
def test_steps_that_leave_the_domain_are_shortened(of, linear_solver):
    """Full steps of Newton for log x = log 0.01 from 2 end far below 0."""
    low = np.log(0.01)
    if of == "residual":
        one = problem(to_origin, -INF, 5.0, [2.0], lambda x: log_where_defined(x) - low)
    else:
        one = problem(log_where_defined, low, low, [2.0])
    result = solve(one, InteriorPoint(linear_solver=linear_solver))
    assert result.converged
    assert result.x[0] == pytest.approx(0.01, rel=1e-5)


class After:
    """A function that behaves so many times and then does something else."""

    def __init__(self, calls, then, function):
        self.calls, self.then, self.function = calls, then, function

    def __call__(self, x):
        self.calls -= 1
        return self.function(x) if self.calls >= 0 else self.then(x)


def rosenbrock(x):
    return np.array([10.0 * (float(x[1]) - float(x[0]) ** 2), 1.0 - float(x[0])])


def disk(x):
    return np.array([float(x[0]) ** 2 + float(x[1]) ** 2])


def in_disk(residual=rosenbrock, c=disk, start=(-0.5, 0.5), upper=1.0, jac=None, jac_c=None, **arguments):
    jac = jac or (lambda x: np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]]))
    jac_c = jac_c or (lambda x: np.array([[2.0 * x[0], 2.0 * x[1]]]))
    held = [NonlinearConstraint(c, -INF, upper, jac=jac_c)]
    return LeastSquaresProblem(residual, start, jac=jac, constraints=held, **arguments)


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("of", ["residual", "constraint"])
def test_nan_from_some_call_on_is_no_success(calls, of):
    nan = lambda x: np.full(2 if of == "residual" else 1, np.nan)
    if of == "residual":
        result = solve(in_disk(residual=After(calls, nan, rosenbrock)), max_evaluations=300)
    else:
        result = solve(in_disk(c=After(calls, nan, disk)), max_evaluations=300)
    assert not result.converged
    assert np.isfinite(result.x).all()
    assert np.sum(rosenbrock(result.x) ** 2) <= np.sum(rosenbrock([-0.5, 0.5]) ** 2) * (1.0 + 1e-12)


@pytest.mark.parametrize("calls", [0, 2])
@pytest.mark.parametrize("of", ["jac", "jac_c"])
def test_derivatives_that_are_undefined(calls, of):
    whole = in_disk()
    exact = {"jac": lambda x: np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]]), "jac_c": lambda x: 2.0 * x[None, :]}[of]
    shape = (2, 2) if of == "jac" else (1, 2)
    result = solve(
        in_disk(**{of: After(calls, lambda x: np.full(shape, np.nan), exact)}), InteriorPoint(hessian="gauss-newton")
    )
    assert result.status == Status.NONFINITE_JACOBIAN
    assert not result.converged
    assert np.isfinite(result.x).all()
    assert disk(result.x)[0] <= 1.0 + VIOLATION
    assert solve(whole).converged


# unbounded


@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_flat_directions_do_not_run_away(linear_solver):
    """Nothing but the first two variables is seen."""
    one = problem(lambda x: x[:1] + x[1:2], 1.0, 1.0, [5.0, 1.0, 2.0, 3.0], lambda x: x[:2])
    result = solve(one, InteriorPoint(linear_solver=linear_solver))
    assert result.converged
    assert_allclose(result.x[:2], 0.5, atol=1e-6)
    assert np.abs(result.x).max() < 1e2


def test_a_residual_that_falls_for_ever():
    """exp(-x) has no minimum: what is small enough is converged, far out, and nothing overflows."""
    one = problem(lambda x: x[1:], 0.0, 0.0, [0.0, 1.0], lambda x: np.exp(-x[:1]))
    result = solve(one, max_evaluations=500)
    assert result.cost < 1e-8
    assert np.isfinite(result.x).all()
    assert abs(result.x[1]) < 1e-6


def test_a_residual_without_derivative():
    result = solve(problem(lambda x: x[:1], -1.0, 1.0, [0.2, 0.3], lambda x: np.ones(3) + 0.0 * x[0]))
    assert result.converged
    assert result.cost == 1.5
    assert abs(result.x[0]) <= 1.0


# limits and interruptions; the best point is returned


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("name", ["hs65", "hs14", "infeasible_disks", "hs26"])
def test_limit_of_evaluations(name, limit):
    result = solve(of_collection(name), max_evaluations=limit)
    if not result.converged:
        assert result.status == Status.MAX_EVALUATIONS
        assert limit <= result.nfev <= limit + 1  # one more where it goes back to the best point
    assert np.isfinite(result.x).all()
    assert np.isfinite(result.jac).all()
    assert_allclose(result.residual, constrained.load(name).residual(result.x), atol=1e-12)
    assert_allclose(result.constraint_values, constrained.load(name).c(result.x), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *[(name, limit) for name in ("hs65", "hs26", "infeasible_circle_line", "infeasible_disks") for limit in (1, 6)],
        ("infeasible_disks", 20),
        ("saddle_start", 2),
    ],
)
def test_limit_of_iterations(name, limit):
    result = solve(of_collection(name), InteriorPoint(max_iterations=limit))
    if not result.converged and result.status != Status.LOCALLY_INFEASIBLE:
        assert result.status == Status.MAX_ITERATIONS
    assert result.nit <= limit


def feasible_first(name):
    """A start that meets the constraints, with better and worse points to come."""
    return {"hs65": np.array([0.0, 0.0, 0.0]), "hs43": np.zeros(4), "hs113": None}[name]


@pytest.mark.parametrize("limit", range(1, 12))
@pytest.mark.parametrize("name", ["hs65", "hs43"])
def test_the_best_feasible_point_is_returned(name, limit):
    one, seen = constrained.load(name), []

    def watched(x):
        x = np.array([float(value) for value in x])
        seen.append(x.copy())
        return one.residual(x)

    result = solve(
        problem(
            one.constraints, one.cl, one.cu, feasible_first(name), watched, bounds=(one.lb, one.ub),
            jac=lambda x: derivatives(one.residual, x),
        ),
        max_evaluations=limit,
    )  # fmt: skip
    assert one.violation(result.x) <= 1e-6
    assert one.cost(result.x) <= one.cost(feasible_first(name)) * (1.0 + 1e-12)
    assert any(np.array_equal(result.x, x) for x in seen)
    assert not np.isnan(result.optimality)


def test_callback_stops_and_the_best_point_is_kept():
    seen = []

    def stop(report):
        seen.append(report)
        return len(seen) == 3

    result = solve(of_collection("hs65"), callback=stop)
    assert result.status == Status.CALLBACK
    assert not result.converged
    assert len(seen) == 3 and result.nit == seen[-1].nit == 3
    assert_allclose(result.residual, constrained.load("hs65").residual(result.x))
    least = min(report.constr_violation for report in seen)
    assert constrained.load("hs65").violation(result.x) <= max(least, 1e-6) * (1.0 + 1e-9)


def test_callback_sees_every_iteration():
    seen = []
    result = solve(of_collection("hs65"), callback=lambda report: seen.append(report.nit))
    assert seen[-1] == result.nit and seen == sorted(seen)
    assert result.status == Status.OPTIMALITY


def test_time_limit():
    result = solve(of_collection("hs65"), time_limit=0.0)
    assert result.status == Status.TIME_LIMIT
    assert result.nit == 1
    assert_allclose(result.residual, constrained.load("hs65").residual(result.x))
    assert solve(of_collection("hs65"), time_limit=1e6).status == Status.OPTIMALITY


class Mine(Exception):
    """An exception of the user's own."""


ERRORS = pytest.mark.parametrize("error", [Mine, ValueError, KeyboardInterrupt, StopIteration, SystemExit])


@ERRORS
@pytest.mark.parametrize("calls", [0, 1, 2, 4])
@pytest.mark.parametrize("of", ["residual", "c", "jac", "jac_c"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_exceptions_of_functions_pass(error, calls, of, linear_solver):
    raised = error("from the function")

    def then(x):
        raise raised

    functions = {
        "residual": rosenbrock,
        "c": disk,
        "jac": lambda x: np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]]),
        "jac_c": lambda x: np.array([[2.0 * x[0], 2.0 * x[1]]]),
    }
    with pytest.raises(error) as caught:
        solve(in_disk(**{of: After(calls, then, functions[of])}), InteriorPoint(linear_solver=linear_solver))
    assert caught.value is raised


def test_exceptions_of_second_derivatives_and_callback_pass():
    def fail(*arguments):
        raise Mine

    held = [NonlinearConstraint(disk, -INF, 1.0, jac=lambda x: 2.0 * x[None, :], hess=fail)]
    with pytest.raises(Mine):
        solve(LeastSquaresProblem(rosenbrock, [-0.5, 0.5], constraints=held))
    with pytest.raises(Mine):
        solve(in_disk(hess=fail))
    with pytest.raises(Mine):
        solve(in_disk(), callback=fail)


def test_a_problem_is_solved_again_after_an_exception():
    function = After(3, None, rosenbrock)

    def fail(x):
        function.calls = 10**9
        raise Mine

    function.then = fail
    one = in_disk(residual=function)
    with pytest.raises(Mine):
        solve(one)
    again, clean = solve(one), solve(in_disk())
    assert again.x.tolist() == clean.x.tolist() and again.nit == clean.nit


@pytest.mark.parametrize("of", ["residual", "c", "jac", "jac_c"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_exceptions_pass_where_the_best_point_is_evaluated_again(of, linear_solver):
    """A step along the circle's tangent leaves it; stopped there, the solve goes back to its start."""
    stopped = []
    functions = {
        "residual": lambda x: np.array([float(x[0]), float(x[1]) - 2.0]),
        "c": disk,
        "jac": lambda x: np.eye(2),
        "jac_c": lambda x: np.array([[2.0 * x[0], 2.0 * x[1]]]),
    }

    def watched(function):
        def call(x):
            if stopped:
                raise Mine
            return function(x)

        return call

    def solve_until(x):
        functions_here = functions | {of: watched(functions[of])} if x else functions
        held = [NonlinearConstraint(functions_here["c"], 1.0, 1.0, jac=functions_here["jac_c"])]
        one = LeastSquaresProblem(functions_here["residual"], [1.0, 0.0], jac=functions_here["jac"], constraints=held)
        options = InteriorPoint(linear_solver=linear_solver, hessian="gauss-newton")
        return solve(one, options, callback=lambda report: stopped.append(report) or True)

    result = solve_until(False)
    assert stopped[0].constr_violation > 1e-6
    assert result.x.tolist() == [1.0, 0.0]
    assert_allclose(result.residual, [1.0, -2.0])
    assert_allclose(
        result.constraint_jac if linear_solver == "dense" else result.constraint_jac.toarray(), [[2.0, 0.0]]
    )
    stopped.clear()
    with pytest.raises(Mine):
        solve_until(True)


@pytest.mark.parametrize("status", ["limit", "infeasible"])
def test_results_without_success_pickle(status):
    result = (
        solve(of_collection("hs65"), max_evaluations=3)
        if status == "limit"
        else solve(of_collection("infeasible_disks"))
    )
    again = pickle.loads(pickle.dumps(result))
    assert again.status is result.status
    assert again.report() == result.report()


# starts


@pytest.mark.parametrize("far", [1e2, 1e4, 1e6])
def test_starts_far_outside(far):
    result = solve(problem(lambda x: np.array([x[0] ** 2 + x[1] ** 2]), 1.0, 2.0, [far, -far], lambda x: x - 3.0))
    assert result.converged
    assert_allclose(result.x, 1.0, atol=1e-5)
    assert result.constr_violation <= 1e-6


def test_start_outside_its_bounds_is_moved_and_said():
    one = constrained.load("hs65")
    start = np.array([-9.0, 7.0, 0.0])
    held = [NonlinearConstraint(one.constraints, one.cl, one.cu)]
    result = solve(LeastSquaresProblem(one.residual, start, bounds=(one.lb, one.ub), constraints=held))
    assert result.converged
    assert any("bounds" in text for text in result.fallbacks)


@pytest.mark.parametrize("push", [1e-8, 1e-2])
def test_start_on_its_bounds(push):
    result = solve(
        problem(lambda x: x[:1] + x[1:], -INF, 3.0, [0.0, 5.0], lambda x: x - 2.0, bounds=([0.0, 0.0], [5.0, 5.0])),
        InteriorPoint(push=push),
    )
    assert result.converged
    assert_allclose(result.x, 1.5, atol=1e-6)


def test_bounds_that_leave_nothing():
    with pytest.raises(ValueError, match=r"\[1\]"):
        solve(problem(to_origin, 0.0, 1.0, [0.0, 0.0], bounds=([0.0, 2.0], [1.0, 1.0])))
    with pytest.raises(ValueError):
        problem(to_origin, [0.0, 2.0], [1.0, 1.0], [0.0, 0.0])
    with pytest.raises(ValueError):
        LeastSquaresProblem(to_origin, [0.0, 0.0], constraints=[Bounds([0, 2], [1, 1])])


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-13])
def test_bounds_that_leave_next_to_nothing(gap):
    one = problem(
        lambda x: x[:1] + x[1:], -INF, 3.0, [1.0, 0.0], lambda x: x - 2.0, bounds=([1.0, -INF], [1.0 + gap, INF])
    )
    result = solve(one)
    assert result.converged
    assert 1.0 <= result.x[0] <= 1.0 + gap
    assert result.x[1] == pytest.approx(2.0, abs=2e-3)


@pytest.mark.parametrize("jac", ["given", "2-point", "3-point"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_bounds_hold_at_every_evaluation(jac, linear_solver):
    """Of residual and constraints, inside differences too."""
    one, seen = constrained.load("hs65"), []

    def watched(function):
        def call(x):
            seen.append(np.array([float(value) for value in x]))
            return function(seen[-1])

        return call

    jac_r, jac_c = (
        (watched(lambda x: derivatives(one.residual, x)), watched(lambda x: derivatives(one.constraints, x)))
        if jac == "given"
        else (jac, jac)
    )
    held = [NonlinearConstraint(watched(one.constraints), one.cl, one.cu, jac=jac_c)]
    box = LeastSquaresProblem(
        watched(one.residual), [-4.0, 4.0, 1.0], jac=jac_r, bounds=(one.lb, [4.5, 3.0, 5.0]), constraints=held
    )
    result = solve(box, InteriorPoint(linear_solver=linear_solver))
    assert result.converged
    assert result.x[1] == pytest.approx(3.0, abs=1e-6)
    assert result.active_mask.tolist() == [0, 1, 0]
    points = np.array(seen)
    assert (points >= one.lb).all() and (points <= [4.5, 3.0, 5.0]).all()
