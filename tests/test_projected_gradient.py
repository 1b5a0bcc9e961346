"""Projected gradient: bounds, equalities, inequalities, curved and flat; and the projection on box and plane."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references.solver_cases import as_problem, bounded_problems, mgh_problems, rosenbrock
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize

from nlsq import LeastSquaresProblem, Status, Tolerances, solve
from nlsq.linalg.polyhedron import nearest_point
from nlsq.linalg.tangent import tangent_projection
from nlsq.solvers.projected_gradient import ProjectedGradient

BOUNDED, MGH = bounded_problems(), mgh_problems()
SLOW = ("osborne1", "powell_badly_scaled", "biggs", "thurber")  # too ill-conditioned for a gradient method's patience
ROOT = np.sqrt(2.0)

# Hock and Schittkowski 1981, objectives as halves of sums of squares: residual, start, constraints, bounds, objective
HS = {
    "hs6": (
        lambda x: [1.0 - x[0]],
        [-1.2, 1.0],
        [NonlinearConstraint(lambda x: 10.0 * (x[1] - x[0] ** 2), 0, 0)],
        None,
        0.0,
    ),
    "hs14": (
        lambda x: ROOT * np.array([x[0] - 2.0, x[1] - 1.0]),
        [2.0, 2.0],
        [
            NonlinearConstraint(lambda x: 1.0 - x[0] ** 2 / 4.0 - x[1] ** 2, 0.0, np.inf),
            LinearConstraint([[1.0, -2.0]], -1.0, -1.0),
        ],
        None,
        9.0 - 2.875 * np.sqrt(7.0),
    ),
    "hs28": (
        lambda x: ROOT * np.array([x[0] + x[1], x[1] + x[2]]),
        [-4.0, 1.0, 1.0],
        [LinearConstraint([[1, 2, 3]], 1, 1)],
        None,
        0.0,
    ),
    "hs42": (
        lambda x: ROOT * (x - np.array([1.0, 2.0, 3.0, 4.0])),
        np.ones(4),
        [LinearConstraint([[1, 0, 0, 0]], 2, 2), NonlinearConstraint(lambda x: x[2] ** 2 + x[3] ** 2 - 2.0, 0, 0)],
        None,
        28.0 - 10.0 * ROOT,
    ),
    "hs48": (
        lambda x: ROOT * np.array([x[0] - 1.0, x[1] - x[2], x[3] - x[4]]),
        [3.0, 5.0, -3.0, 2.0, -2.0],
        [LinearConstraint([[1, 1, 1, 1, 1], [0, 0, 1, -2, -2]], [5, -3], [5, -3])],
        None,
        0.0,
    ),
    "hs53": (
        lambda x: ROOT * np.array([x[0] - x[1], x[1] + x[2] - 2.0, x[3] - 1.0, x[4] - 1.0]),
        np.full(5, 2.0),
        [LinearConstraint([[1, 3, 0, 0, 0], [0, 0, 1, 1, -2], [0, 1, 0, 0, -1]], 0, 0)],
        (np.full(5, -10.0), np.full(5, 10.0)),
        176.0 / 43.0,
    ),
    "hs65": (
        lambda x: ROOT * np.array([x[0] - x[1], (x[0] + x[1] - 10.0) / 3.0, x[2] - 5.0]),
        [-5.0, 5.0, 0.0],
        [NonlinearConstraint(lambda x: 48.0 - x @ x, 0.0, np.inf)],
        ([-4.5, -4.5, -5.0], [4.5, 4.5, 5.0]),
        0.9535288567,
    ),
    "hs77": (
        lambda x: ROOT * np.array([x[0] - 1.0, x[0] - x[1], x[2] - 1.0, (x[3] - 1.0) ** 2, (x[4] - 1.0) ** 3]),
        np.full(5, 2.0),
        [
            NonlinearConstraint(
                lambda x: [
                    x[0] ** 2 * x[3] + np.sin(x[3] - x[4]) - 2.0 * ROOT,
                    x[1] + x[2] ** 4 * x[3] ** 2 - 8.0 - ROOT,
                ],
                0,
                0,
            )
        ],
        None,
        0.2415051288,
    ),
}


def solved(residual, x0, constraints=(), bounds=None, **options):
    problem = LeastSquaresProblem(residual, x0, constraints=constraints, bounds=bounds, jac="3-point")
    return solve(problem, ProjectedGradient(**options), max_evaluations=20000)


@pytest.mark.parametrize("name", HS)
def test_hock_and_schittkowski(name):
    residual, x0, constraints, bounds, objective = HS[name]
    result = solved(residual, x0, constraints, bounds)
    assert result.converged, result.message
    assert result.cost == pytest.approx(objective, rel=1e-8, abs=1e-12)
    assert result.constr_violation < 1e-9
    y = result.multipliers
    balance = result.gradient + result.constraint_jac.T @ y.constraints - y.lower + y.upper
    assert np.abs(balance).max() < 1e-6
    assert np.all(y.lower >= 0.0)
    assert np.all(y.upper >= 0.0)
    for value, low, high, multiplier in zip(
        result.constraint_values, result.constraint_lower, result.constraint_upper, y.constraints, strict=True
    ):
        assert multiplier == pytest.approx(0.0, abs=1e-6) or value == pytest.approx(
            low if multiplier < 0.0 else high, abs=1e-9
        )
    assert np.abs(result.projected_gradient).max() < 1e-6


def test_projected_gradient_is_the_residual_of_least_squares_multipliers():
    residual, x0, constraints, bounds, _ = HS["hs77"]
    result = solved(residual, x0, constraints, bounds)
    tangent = tangent_projection(result.constraint_jac)
    left = result.gradient + result.constraint_jac.T @ tangent.multipliers(result.gradient)
    assert np.linalg.norm(tangent.project(result.gradient)) == pytest.approx(np.linalg.norm(left), abs=1e-14)
    assert np.linalg.norm(left) < 1e-6
    assert result.multipliers.constraints == pytest.approx(tangent.multipliers(result.gradient), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in BOUNDED if name not in SLOW])
def test_bounded_problems(name):
    """Every evaluation is inside the bounds, and the end is a minimum."""
    one = BOUNDED[name]
    points = []
    problem = LeastSquaresProblem(
        lambda x: points.append(x) or one.residual(x), one.x0, bounds=(one.lower, one.upper), jac=one.jacobian
    )
    result = solve(problem, ProjectedGradient(), max_evaluations=4000)
    assert all(one.is_feasible(x) for x in points)
    assert result.nfev == len(points)
    assert result.converged, result.message
    assert one.is_minimum(2.0 * result.cost) or one.projected_cosine(result.x) < 1e-5
    held = result.active_mask != 0
    multipliers = result.multipliers.lower - result.multipliers.upper
    assert multipliers[held] == pytest.approx(result.gradient[held])
    assert not multipliers[~held].any()


@pytest.mark.parametrize("name", [name for name in MGH if name not in SLOW])
def test_without_bounds(name):
    with np.errstate(over="ignore"):  # of the model's own exp
        result = solve(as_problem(MGH[name]), ProjectedGradient(), max_evaluations=6000)
    assert result.converged, result.message
    assert MGH[name].is_global_minimum(2.0 * result.cost)


@settings(max_examples=25)
@given(n=st.integers(2, 6), k=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_linear_least_squares_on_a_polyhedron(n, k, seed):
    """Equalities, some twice, inequalities and bounds, against quadratic programming by SLSQP."""
    rng = np.random.default_rng(seed)
    design, data = rng.standard_normal((n + 3, n)), rng.standard_normal(n + 3)
    rows = rng.standard_normal((min(k, n - 1), n))
    inside = rng.uniform(-1.0, 1.0, n)
    rows = np.vstack([rows, 2.0 * rows[:1], rng.standard_normal((2, n))])
    value = rows @ inside
    equal = np.arange(len(rows)) < len(rows) - 2
    low, high = value.copy(), np.where(equal, value, value + 0.1)
    low[~equal] -= rng.choice([0.1, np.inf], 2)
    bounds = inside - rng.uniform(0.0, 1.0, n), inside + rng.uniform(0.1, 1.0, n)
    result = solved(lambda x: design @ x - data, np.zeros(n), LinearConstraint(rows, low, high), bounds)
    assert result.converged, result.message
    assert result.constr_violation < 1e-9
    y = result.multipliers
    balance = result.gradient + rows.T @ y.constraints - y.lower + y.upper
    assert np.abs(balance).max() < 1e-5
    once, others = np.flatnonzero(equal)[:-1], np.flatnonzero(~equal)
    theirs = minimize(
        lambda x: 0.5 * np.sum((design @ x - data) ** 2),
        inside,
        jac=lambda x: design.T @ (design @ x - data),
        constraints=[LinearConstraint(rows[some], low[some], high[some]) for some in (once, others)],
        bounds=np.transpose(bounds),
        method="SLSQP",
        options={"ftol": 1e-13},
    )
    assert not theirs.success or result.cost <= theirs.fun + 1e-7


def test_the_start_is_moved_to_the_constraints():
    result = solved(rosenbrock, [0.3, 3.0], NonlinearConstraint(lambda x: x @ x, -np.inf, 0.5))
    assert result.converged
    assert result.constraint_values[0] == pytest.approx(0.5, abs=1e-9)
    assert result.multipliers.constraints[0] > 0.0


def test_every_point_is_feasible():
    """Also between: the residual is only evaluated on the circle, after the start."""
    points = []
    circle = NonlinearConstraint(lambda x: x @ x, 1.0, 1.0, jac=lambda x: 2.0 * x[np.newaxis])
    problem = LeastSquaresProblem(
        lambda x: points.append(x) or rosenbrock(x),
        [-0.6, 0.8],
        jac=lambda x: np.array([[-1.0, 0.0], [-20.0 * x[0], 10.0]]),
        constraints=circle,
    )
    result = solve(problem, ProjectedGradient())
    assert result.converged
    assert max(abs(x @ x - 1.0) for x in points) < 2e-10


def test_memory_of_one_makes_the_cost_fall():
    one = MGH["wood"]
    result = solve(as_problem(one), ProjectedGradient(memory=1), max_evaluations=3000, history=True)
    costs = [report.cost for report in result.history if report.accepted]
    assert np.all(np.diff(costs) <= 1e-14 * np.array(costs[:-1]))
    longer = solve(as_problem(one), ProjectedGradient(), max_evaluations=3000, history=True)
    assert np.diff([report.cost for report in longer.history if report.accepted]).max() > 0.0


def test_best_point_of_a_solve_that_is_stopped():
    one = MGH["wood"]
    for limit in range(20, 60, 4):
        result = solve(as_problem(one), ProjectedGradient(), max_evaluations=limit, history=True)
        assert result.status == Status.MAX_EVALUATIONS
        assert result.cost == min(report.cost for report in result.history)
        assert result.cost == pytest.approx(0.5 * np.sum(one.residual(result.x) ** 2))


def test_constraints_that_contradict_each_other():
    curved = solved(lambda x: x - 1.0, [1.0, 1.0], NonlinearConstraint(lambda x: x @ x + 1.0, 0.0, 0.0))
    assert curved.status == Status.LOCALLY_INFEASIBLE
    assert curved.x == pytest.approx([0.0, 0.0], abs=1e-4)
    flat = solved(lambda x: x - 1.0, [1.0, 1.0], LinearConstraint([[1, 1], [1, 1]], [0, 1], [0, 1]))
    assert flat.status == Status.LOCALLY_INFEASIBLE
    assert flat.constr_violation == pytest.approx(0.5)
    box = solved(lambda x: x, [0.5, 0.5], LinearConstraint([[1, 1]], 5, 5), ([0, 0], [1, 1]))
    assert box.status == Status.LOCALLY_INFEASIBLE
    assert box.x == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("start", [[0.0, 0.0], [0.0, 3.0]])
def test_a_saddle_of_the_violation_is_not_infeasible(start):
    """At the centre of a circle, and on a ridge, the gradient of the violation vanishes or leads nowhere."""
    curves = NonlinearConstraint(lambda x: x[0] ** 2 - 1.0, 0.0, 0.0)
    result = solved(lambda x: x - 2.0, start, curves)
    assert result.converged, result.message
    assert np.abs(result.x) == pytest.approx([1.0, 2.0], abs=1e-6)


@pytest.mark.parametrize("where", ["residual", "constraint"])
def test_what_is_not_finite_at_the_start(where):
    bad = {"residual": lambda x: x * np.nan, "constraint": lambda x: x}
    constraint = NonlinearConstraint(lambda x: [np.nan] if where == "constraint" else x[:1], 1.0, 2.0)
    result = solved(bad[where], [0.0, 0.0], constraint)
    assert result.status == Status.NONFINITE_START


def test_residuals_that_are_not_finite_beyond_a_limit():
    """Steps into it are cut."""
    with np.errstate(invalid="ignore"):
        result = solved(lambda x: np.array([np.sqrt(x[0] - 1.0) - 0.5, x[1]]), [9.0, 3.0])
    assert result.converged
    assert result.x == pytest.approx([1.25, 0.0], abs=1e-6)


def test_rows_without_limits_have_no_multiplier():
    free = NonlinearConstraint(lambda x: [x[0] + x[1], x[0]], [-np.inf, 3.0], [np.inf, 3.0])
    result = solved(lambda x: x, [1.0, 1.0], free)
    assert result.x == pytest.approx([3.0, 0.0], abs=1e-8)
    assert result.multipliers.constraints == pytest.approx([0.0, -3.0])


def test_sparse_constraints():
    from scipy.sparse import diags_array

    n = 60
    rows = diags_array([1.0, 1.0], offsets=[0, 1], shape=(n - 1, n), format="csr")
    data = np.linspace(0.0, 1.0, n)
    result = solved(lambda x: x - data, np.zeros(n), LinearConstraint(rows, 0.0, 0.0))
    sign = (-1.0) ** np.arange(n)
    assert result.converged
    assert result.x == pytest.approx(sign * (sign @ data) / n, abs=1e-8)


def test_result_pickles_and_tells_of_the_start_that_was_moved():
    constraint = LinearConstraint([[1.0, 1.0]], 1.0, 1.0)
    result = solved(lambda x: x, [5.0, 1.0], constraint, ([0, 0], [2, 2]))
    assert result.x == pytest.approx([0.5, 0.5])
    assert any("moved inside" in fallback for fallback in result.fallbacks)
    assert pickle.loads(pickle.dumps(result)).x == pytest.approx(result.x)


def test_wrong_options():
    with pytest.raises(ValueError, match="memory"):
        ProjectedGradient(memory=0)
    with pytest.raises(ValueError, match="feasibility"):
        ProjectedGradient(feasibility=0.0)


def test_step_tolerance_alone_ends_at_the_minimum():
    problem = as_problem(BOUNDED["bard"])
    result = solve(problem, ProjectedGradient(), tolerances=Tolerances(cost=None, step=1e-6, optimality=None))
    assert result.status == Status.STEP
    assert BOUNDED["bard"].is_minimum(2.0 * result.cost)


def intersection(n, k, seed):
    """Return a box, a plane that meets it, and a point."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((k, n))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if k > 2:
        rows[2] = rows[1]
    lower, upper = -rng.uniform(0.2, 1.0, n), rng.uniform(0.2, 1.0, n)
    lower[rng.random(n) < 0.3] = -np.inf
    upper[rng.random(n) < 0.3] = np.inf
    inside = 0.9 * np.clip(rng.standard_normal(n), lower, upper)
    return 3.0 * rng.standard_normal(n), rows, rows @ inside, lower, upper


@settings(max_examples=40)
@given(n=st.integers(1, 12), k=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_nearest_point_of_box_and_plane(n, k, seed):
    from scipy.sparse import csr_array

    v, rows, target, lower, upper = intersection(n, min(k, n), seed)
    for form in (rows, csr_array(rows)):
        found = nearest_point(v, form, target, lower, upper)
        assert found.distance < 1e-8
        assert np.all((found.point >= lower) & (found.point <= upper))
        assert np.linalg.norm(rows @ found.point - target) == pytest.approx(found.distance, abs=1e-14)
        pull = v - found.point - rows.T @ found.multipliers
        size = 1e-9 * (1.0 + np.abs(found.multipliers).max(initial=0.0))
        assert np.all(np.abs(pull[(found.point > lower) & (found.point < upper)]) <= size)
        assert np.all(pull[found.point == lower] <= size)
        assert np.all(pull[found.point == upper] >= -size)


def test_nearest_point_without_bounds_is_the_projection():
    v, rows, target, *_ = intersection(8, 3, 1)
    found = nearest_point(v, rows, target, np.full(8, -np.inf), np.full(8, np.inf))
    assert found.point == pytest.approx(v + tangent_projection(rows).normal_step(rows @ v - target), abs=1e-12)


def test_box_and_plane_that_do_not_meet():
    found = nearest_point(np.zeros(3), np.ones((1, 3)) / np.sqrt(3.0), np.array([10.0]), -np.ones(3), np.ones(3))
    assert found.distance == pytest.approx(10.0 - np.sqrt(3.0))
    assert found.point == pytest.approx(np.ones(3))
