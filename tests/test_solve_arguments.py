"""Arguments of a problem and of nlsq.solve that are wrong: errors name the argument and what to write instead."""

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint

import nlsq
from nlsq import LeastSquaresProblem, Status, solve
from nlsq.status import Multipliers

X0 = np.array([-1.2, 1.0])


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def disc(x):
    return x[0] ** 2 + x[1] ** 2


DISC = NonlinearConstraint(disc, -np.inf, 1.5)


def constrained(**arguments):
    return LeastSquaresProblem(rosenbrock, X0, constraints=[DISC], **arguments)


def free():
    return LeastSquaresProblem(rosenbrock, X0)


# Bounds


@pytest.mark.parametrize("pairs", [[(0, 2), (1, 3)], [[0.0, 2.0], [1.0, 3.0]], [(0, 1)] * 3, np.zeros((2, 2))])
@pytest.mark.parametrize("constraints", [(), [DISC]])
def test_a_list_of_pairs_is_ambiguous(pairs, constraints):
    with pytest.raises(
        ValueError, match=r"bounds must be a tuple \(lower, upper\) or .*Bounds; a list of pairs is amb"
    ):
        LeastSquaresProblem(rosenbrock, [1.0, 2.0], bounds=pairs, constraints=constraints)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((np.inf, np.inf), r"nothing is between lower\[0\] = inf and upper\[0\] = inf"),
        ((-np.inf, -np.inf), r"nothing is between lower\[0\] = -inf and upper\[0\] = -inf"),
        (([0.0, np.inf], [1.0, np.inf]), r"nothing is between lower\[1\] = inf"),
        (([np.inf, 0.0], [np.inf, 1.0]), r"nothing is between lower\[0\] = inf"),
        (([np.inf, 0.0], [1.0, 1.0]), r"lower\[0\] = inf is not <= upper\[0\] = 1"),
        (Bounds(-np.inf, [np.inf, -np.inf]), r"nothing is between lower\[1\] = -inf"),
    ],
)
@pytest.mark.parametrize("constraints", [(), [DISC], [Bounds(-5.0, 5.0)]])
def test_bounds_that_nothing_meets(bounds, said, constraints):
    with pytest.raises(ValueError, match=said):
        LeastSquaresProblem(rosenbrock, X0, bounds=bounds, constraints=constraints)


def test_bounds_that_are_no_numbers():
    with pytest.raises(TypeError, match="bounds: upper must be numbers, or None for an open end, got 'a'"):
        LeastSquaresProblem(rosenbrock, X0, bounds=(0.0, "a"))


def test_none_leaves_the_bound_of_one_parameter_open():
    problem = LeastSquaresProblem(rosenbrock, X0, bounds=([None, 0.0], [5.0, None]))
    assert np.array_equal(problem.lower, [-np.inf, 0.0]) and np.array_equal(problem.upper, [5.0, np.inf])


@pytest.mark.parametrize("bounds", [Bounds(0.2, 0.8), (0.2, 0.8), ([0.2, 0.2], Bounds(0, 0.8).ub)])
def test_bounds_meet_those_among_the_constraints(bounds):
    problem = LeastSquaresProblem(rosenbrock, [0.5, 0.5], constraints=[Bounds([0.0, 0.3], 1.0)], bounds=bounds)
    assert np.array_equal(problem.lower, [0.2, 0.3]) and np.array_equal(problem.upper, [0.8, 0.8])
    open_ones = LeastSquaresProblem(rosenbrock, [0.5, 0.5], constraints=[Bounds(0.0, 1.0)], bounds=(None, None))
    assert np.array_equal(open_ones.upper, [1.0, 1.0])


# Warm starts


@pytest.fixture(scope="module")
def solved():
    return solve(constrained())


class WithoutX:
    multipliers = None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("cold", "takes a result of nlsq.solve, got str"),
        (X0, "got ndarray; give a point as x0"),
        ([1.0, 2.0], "got list; give a point as x0"),
        ({"x": X0}, "got dict"),
        (WithoutX(), "got WithoutX"),
        (3, "got int"),
    ],
)
def test_warm_start_that_is_no_result(wrong, said):
    with pytest.raises(TypeError, match=said):
        solve(constrained(), warm_start=wrong)


def test_warm_start_from_a_fit():
    t = np.linspace(0.0, 1.0, 9)
    fitted = nlsq.fit(lambda t, a, b: a + b * t, t, 2.0 * t, [1.0, 1.0])
    with pytest.raises(TypeError, match="got FitResult, the result of a fit; give its params as x0, or as p0"):
        solve(constrained(), warm_start=fitted)


def with_wrong(result, name, change):
    if name == "x":
        return replace(result, x=change(result.x))
    return replace(result, multipliers=result.multipliers._replace(**{name: change(getattr(result.multipliers, name))}))


@pytest.mark.parametrize("name", ["x", "constraints", "lower", "upper"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_warm_start_with_numbers_that_are_not_finite(solved, name, number):
    def spoil(array):
        array = array.copy()
        array[-1] = number
        return array

    where = name if name == "x" else f"multipliers.{name}"
    last = 0 if name == "constraints" else 1
    with pytest.raises(ValueError, match=rf"warm_start.{where}\[{last}\] is not finite: {number}"):
        solve(constrained(), warm_start=with_wrong(solved, name, spoil))


@pytest.mark.parametrize(("name", "size"), [("constraints", "1 rows of constraints"), ("lower", "2 variables")])
def test_warm_start_with_multipliers_of_another_problem(solved, name, size):
    longer = with_wrong(solved, name, lambda array: np.append(array, 1.0))
    with pytest.raises(ValueError, match=rf"warm_start.multipliers.{name} has shape .*, but the problem has {size}"):
        solve(constrained(), warm_start=longer)


def test_warm_start_with_multipliers_that_are_none(solved):
    with pytest.raises(TypeError, match=r"warm_start.multipliers has no constraints"):
        solve(constrained(), warm_start=replace(solved, multipliers=(1.0, 2.0)))
    with pytest.raises(TypeError, match=r"warm_start.multipliers.lower must be an array of numbers, got str"):
        solve(constrained(), warm_start=replace(solved, multipliers=Multipliers(np.ones(1), "a", np.ones(2))))


def test_warm_start_from_a_solve_without_constraints():
    result = solve(constrained(), warm_start=solve(free()))
    assert result.status is Status.OPTIMALITY


def test_warm_start_of_a_method_that_takes_none(solved):
    with pytest.raises(ValueError, match="warm_start is for the interior-point method"):
        solve(constrained(), "projected-gradient", warm_start=solved)


# Limits, method, callback


@pytest.mark.parametrize("make", [free, constrained])
@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"max_evaluations": "3"}, TypeError, "max_evaluations must be a whole number >= 0.*got '3'"),
        ({"max_evaluations": [3]}, TypeError, "max_evaluations must be a whole number"),
        ({"max_evaluations": True}, TypeError, "max_evaluations must be a whole number"),
        ({"max_evaluations": 1.5}, ValueError, "max_evaluations must be a whole number >= 0.*got 1.5"),
        ({"max_evaluations": np.nan}, ValueError, "max_evaluations must be a whole number.*got nan"),
        ({"max_evaluations": np.inf}, ValueError, "max_evaluations must be a whole number.*None for the default"),
        ({"max_evaluations": -1}, ValueError, "max_evaluations must be a whole number >= 0.*got -1"),
        ({"max_evaluations": 1e30}, ValueError, r"max_evaluations must be at most 2\*\*62"),
        ({"max_evaluations": 10**30}, ValueError, r"max_evaluations must be at most 2\*\*62"),
        ({"time_limit": np.nan}, ValueError, "time_limit must be seconds, a number >= 0, got nan"),
        ({"time_limit": -1}, ValueError, "time_limit must be seconds, a number >= 0, got -1"),
        ({"time_limit": "a"}, TypeError, "time_limit must be seconds, a number >= 0, got 'a'"),
        ({"method": nlsq.InteriorPoint}, TypeError, r"got the class InteriorPoint; write InteriorPoint\(\)"),
        ({"method": 3}, TypeError, "method must be a name or a solver object"),
        ({"method": int}, TypeError, r"got the class int\."),
        ({"callback": 3}, TypeError, "callback must be callable, got int"),
    ],
)
def test_other_arguments_are_named_before_anything_is_evaluated(make, arguments, error, said):
    problem = make()
    with pytest.raises(error, match=said):
        solve(problem, **arguments)
    assert problem.counters.nfev == 0


@pytest.mark.parametrize("make", [free, constrained])
def test_limits_of_nothing_and_of_any_kind(make):
    assert solve(make(), max_evaluations=0).nfev <= 1
    assert solve(make(), time_limit=0.0).status is Status.TIME_LIMIT
    assert solve(make(), time_limit=np.float32(100.0), max_evaluations=1e4).converged
    assert solve(make(), time_limit=np.inf, max_evaluations=np.int32(1000)).converged
    assert solve(make(), max_evaluations=3.0).nfev == solve(make(), max_evaluations=3).nfev


SOLVERS = ["lm", "trf", "dogbox", "gauss-newton", "gradient", "projected-gradient", "interior-point"]


@pytest.mark.parametrize("method", SOLVERS)
def test_stop_iteration_stops(method):
    reports = []

    def callback(report):
        reports.append(report)
        if len(reports) == 2:
            raise StopIteration

    result = solve(free(), method, callback=callback)
    assert result.status is Status.CALLBACK and len(reports) == 2


def test_stop_iteration_stops_a_solve_with_constraints():
    def callback(report):
        raise StopIteration

    assert solve(constrained(), callback=callback).status is Status.CALLBACK


@pytest.mark.parametrize("make", [free, constrained])
@pytest.mark.parametrize("method", [None, "interior-point"])
def test_the_second_solve_tells_as_much_as_the_first(make, method, capsys):
    problem, told = make(), []
    for _ in range(2):
        reports = []
        solve(problem, method, callback=reports.append, progress=True)
        told.append([report.nit for report in reports])
        lines = capsys.readouterr().out
        told.append(lines)
    assert told[0] == told[2] and told[1] == told[3]


# One solve at a time


def test_a_problem_that_solves_itself():
    made = []

    def residual(x):
        if made and len(made) < 3:
            made.append(solve(made[0]))
        return rosenbrock(x) + float(str(0.0))  # not to be traced

    problem = LeastSquaresProblem(residual, X0, constraints=[DISC])
    made.append(problem)
    with pytest.raises(RuntimeError, match=r"a problem serves one solve at a time; .* make another"):
        solve(problem)
    made.clear()
    assert solve(problem).converged  # and is free again


def test_two_threads_take_turns():
    inside, most = [], []
    entered = threading.Barrier(2)

    def residual(x):
        inside.append(None)
        most.append(len(inside))
        threading.Event().wait(1e-4)
        inside.pop()
        return rosenbrock(x) + float(str(0.0))

    problem = LeastSquaresProblem(residual, X0, constraints=[DISC])
    alone = solve(problem)
    most.clear()
    found = []

    def run():
        entered.wait()
        found.append(solve(problem))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(found) == 2 and max(most) == 1
    for one in found:
        assert np.array_equal(one.x, alone.x) and one.nfev == alone.nfev


COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}


@pytest.mark.parametrize("how", COPIES)
def test_problems_are_copied_without_the_memory_of_their_solves(how):
    original = free()
    solve(original, "interior-point")
    problem = COPIES[how](original)
    assert original.plans and not problem.plans
    assert solve(problem, "interior-point").converged and not problem.turn.lock.locked()


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("constraint", [DISC, LinearConstraint([[1.0, 1.0]], -np.inf, 1.0)])
def test_constraints_are_not_copied(how, constraint):
    problem = LeastSquaresProblem(rosenbrock, X0, constraints=constraint)
    with pytest.raises(TypeError, match=r"constraints\[0\] is held by addresses of memory.* make another LeastSquares"):
        COPIES[how](problem)
    assert solve(copy.copy(problem)).converged
