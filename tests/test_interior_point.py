"""The interior-point method on problems whose solutions and multipliers are known: answers, options, counts."""

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.interior_point import kkt_of_result
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint, minimize

from benchmarks.problems import constrained
from benchmarks.problems.constrained.judge import derivatives, judge
from nlsq import InteriorPoint, LeastSquaresProblem, Status, Tolerances, solve
from nlsq.kernels.backend import compile_disabled
from nlsq.linalg.tangent import tangent_projection

ROOT2, ROOT3, ROOT7 = np.sqrt([2.0, 3.0, 7.0])
INF = np.inf
ROOT = Path(constrained.__file__).parents[3]
pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set: slow, and no graphs")

# Hock and Schittkowski 1981: where the minimum is
BOOK = {
    "hs6": [1.0, 1.0],
    "hs11": [1.234773, 1.524665],
    "hs14": [0.5 * (ROOT7 - 1.0), 0.25 * (ROOT7 + 1.0)],
    "hs15": [0.5, 2.0],
    "hs18": [np.sqrt(250.0), np.sqrt(2.5)],
    "hs21": [2.0, 0.0],
    "hs22": [1.0, 1.0],
    "hs23": [1.0, 1.0],
    "hs28": [0.5, -0.5, 0.5],
    "hs30": [1.0, 0.0, 0.0],
    "hs31": [1.0 / ROOT3, ROOT3, 0.0],
    "hs32": [0.0, 0.0, 1.0],
    "hs35": [4.0 / 3.0, 7.0 / 9.0, 4.0 / 9.0],
    "hs42": [2.0, 2.0, 0.6 * ROOT2, 0.8 * ROOT2],
    "hs43": [0.0, 1.0, 2.0, -1.0],
    "hs48": [1.0] * 5,
    "hs51": [1.0] * 5,
    "hs52": np.array([-33.0, 11.0, 180.0, -158.0, 11.0]) / 349.0,
    "hs53": np.array([-33.0, 11.0, 27.0, -5.0, 11.0]) / 43.0,
    "hs60": [1.104859024, 1.196674194, 1.535262257],
    "hs61": [5.326770157, -2.118998639, 3.210464239],
    "hs65": [3.650461821, 3.650461821, 4.6204170507],
    "hs77": [1.166172, 1.182111, 1.380257, 1.506036, 0.6109203],
    "hs79": [1.191127, 1.362603, 1.472818, 1.635017, 1.679081],
    "hs113": [2.171996, 2.363683, 8.773926, 5.095984, 0.9906548, 1.430574, 1.321644, 9.828726, 8.280092, 8.375927],
}
EQUALITIES = ("hs6", "hs28", "hs42", "hs48", "hs51", "hs52", "hs60", "hs61", "hs77", "hs79")
SHARED = ("hs30",)  # a bound and a constraint hold the same variable: any split of the multiplier will do


def build(problem, **arguments):
    """Make a LeastSquaresProblem of one of the collection."""
    held = () if problem.constraints is None else [NonlinearConstraint(problem.constraints, problem.cl, problem.cu)]
    start = np.clip(problem.x0, problem.lb, problem.ub)
    arguments = {"bounds": (problem.lb, problem.ub), "constraints": held} | arguments
    return LeastSquaresProblem(problem.residual, start, **arguments)


def solved(name, options=None, **arguments):
    return solve(build(constrained.load(name)), InteriorPoint(**(options or {})), **arguments)


def check(problem, result):
    """Assert that the answer is a KKT point by a judge who knows nothing of the solver."""
    y, lower, upper = result.multipliers
    verdict = judge(problem, result.x, y, lower, upper)
    assert verdict.is_kkt, verdict
    assert result.cost == pytest.approx(problem.cost(result.x), rel=1e-12, abs=1e-300)
    assert result.constr_violation == pytest.approx(problem.violation(result.x), abs=1e-12)
    return verdict


def multipliers_at(problem, x):
    """Return multipliers of what is active at x: those that leave the least of the gradient."""
    gradient, identity = derivatives(problem.residual, x).T @ problem.residual(x), np.eye(problem.n)
    values = np.concatenate([problem.c(x), x])
    rows = np.vstack([derivatives(problem.constraints, x), identity])
    low, high = np.concatenate([problem.cl, problem.lb]), np.concatenate([problem.cu, problem.ub])
    active = np.minimum(np.abs(values - low), np.abs(values - high)) < 1e-4
    y = np.zeros(active.size)
    y[active] = np.linalg.lstsq(rows[active].T, -gradient, rcond=None)[0]
    of_bounds = y[problem.mc :]
    return y[: problem.mc], np.maximum(-of_bounds, 0.0), np.maximum(of_bounds, 0.0)


@pytest.mark.parametrize("name", BOOK)
def test_values_and_multipliers_of_the_book(name):
    problem = constrained.load(name)
    result = solved(name)
    assert result.status == Status.OPTIMALITY
    check(problem, result)
    assert 2.0 * result.cost == pytest.approx(problem.published, rel=1e-6, abs=1e-7)
    x = np.array(BOOK[name])
    assert_allclose(result.x, x, rtol=2e-4, atol=2e-4)
    if name not in SHARED:
        for found, wanted in zip(result.multipliers, multipliers_at(problem, x), strict=True):
            assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BOOK)
def test_signs_of_multipliers(name):
    problem, result = constrained.load(name), solved(name)
    y, lower, upper = result.multipliers
    assert (lower >= 0.0).all() and (upper >= 0.0).all()
    small = 1e-6 * max(1.0, np.abs(y).max())
    assert (y[problem.cl == -INF] >= -small).all()
    assert (y[problem.cu == INF] <= small).all()
    c = problem.c(result.x)
    far = np.minimum(c - problem.cl, problem.cu - c) > 1e-3
    assert np.abs(y[far]).max(initial=0.0) < 1e-4
    x = result.x
    assert np.abs(kkt_of_result(derivatives(problem.residual, x).T @ problem.residual(x),
                                derivatives(problem.constraints, x), result)).max() < 1e-5  # fmt: skip


@pytest.mark.parametrize("name", EQUALITIES)
def test_projected_gradient_vanishes_and_is_the_residual_of_multipliers(name):
    problem, result = constrained.load(name), solved(name)
    assert np.abs(result.projected_gradient).max() <= 1e-8 * max(1.0, np.abs(result.gradient).max())
    a = derivatives(problem.constraints, result.x)
    tangent = tangent_projection(a)
    g = derivatives(problem.residual, result.x).T @ problem.residual(result.x)
    assert_allclose(g + a.T @ tangent.multipliers(g), result.projected_gradient, atol=1e-8)
    stopped = solve(build(problem), InteriorPoint(max_iterations=1, linear_solver="dense"))
    a = derivatives(problem.constraints, stopped.x)
    y = np.linalg.lstsq(a.T, -stopped.gradient, rcond=None)[0]
    assert_allclose(stopped.gradient + a.T @ y, stopped.projected_gradient, atol=1e-8 * np.abs(stopped.gradient).max())


# kinds of constraints

TARGET = np.array([3.0, 2.0, 1.0])


def to_target(x):
    return x - TARGET


def linear(rows, lower, upper):
    return LinearConstraint(np.array(rows, dtype=float), lower, upper)


KINDS = {
    "equality": ([linear([[1, 1, 1]], 3, 3)], None, [2.0, 1.0, 0.0], ([1.0],)),
    "inequality": ([linear([[1, 1, 1]], -INF, 3)], None, [2.0, 1.0, 0.0], ([1.0],)),
    "inactive": ([linear([[1, 1, 1]], -INF, 30)], None, [3.0, 2.0, 1.0], ([0.0],)),
    "mixed": ([linear([[1, 1, 1], [0, 0, 1]], [3, 0.5], [3, INF])], None, [1.75, 0.75, 0.5], ([1.25, -0.75],)),
    "range": ([linear([[1, 0, 0]], 1.0, 2.5)], None, [2.5, 2.0, 1.0], ([0.5],)),
    "range, lower": ([linear([[1, 0, 0]], 4.0, 5.0)], None, [4.0, 2.0, 1.0], ([-1.0],)),
    "bounds": (
        [linear([[1, 1, 1]], -INF, 30)],
        ([-INF, 2.5, -9], [2.5, 9, 9]),
        [2.5, 2.5, 1.0],
        ([0.0], [0, 0.5, 0], [0.5, 0, 0]),
    ),
    "Bounds among the constraints": (
        [Bounds([-INF, 2.5, -9], [2.5, 9, 9]), linear([[1, 1, 1]], -INF, 30)],
        None,
        [2.5, 2.5, 1.0],
        ([0.0], [0, 0.5, 0], [0.5, 0, 0]),
    ),
    "fixed variable": (
        [linear([[1, 1, 1]], 3, 3)],
        ([1, -9, -9], [1, 9, 9]),
        [1.0, 1.5, 0.5],
        ([0.5], [0, 0, 0], [1.5, 0, 0]),
    ),
    "all fixed": (
        [linear([[1, 1, 1]], -INF, 30)],
        ([1, 1, 1], [1, 1, 1]),
        [1.0, 1.0, 1.0],
        ([0.0], [0, 0, 0], [2, 1, 0]),
    ),
    "free rows": (
        [linear([[1, 1, 1], [5, 0, 1], [0, 1, 0]], [3, -INF, -INF], [3, INF, INF])],
        None,
        [2.0, 1.0, 0.0],
        ([1.0, 0.0, 0.0],),
    ),
    "no row binds": ([linear([[5, 0, 1], [0, 1, 0]], [-INF, -INF], [INF, INF])], None, [3.0, 2.0, 1.0], ([0, 0],)),
    "empty row": ([linear([[1, 1, 1], [0, 0, 0]], [3, 0], [3, 0])], None, [2.0, 1.0, 0.0], ()),
    "duplicates": ([linear([[1, 1, 1]] * 3, 3, 3)], None, [2.0, 1.0, 0.0], ()),
    "duplicate inequalities": ([linear([[1, 1, 1]] * 3, -INF, 3)], None, [2.0, 1.0, 0.0], ()),
    "dependent rows": (
        [linear([[1, 1, 0], [0, 1, 1], [1, 2, 1]], [3, 1, 4], [3, 1, 4])],
        None,
        [7 / 3, 2 / 3, 1 / 3],
        (),
    ),
    "more equalities than variables": (
        [linear([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, -1, 2]], [1, 2, 3, 6, 5], [1, 2, 3, 6, 5])],
        None,
        [1.0, 2.0, 3.0],
        (),
    ),
    "as many equalities as variables": (
        [NonlinearConstraint(lambda x: np.array([x[0] * x[1], x[1] + x[2], x[2] ** 2]), [2, 3, 1], [2, 3, 1])],
        None,
        [1.0, 2.0, 1.0],
        (),
    ),
    "a cone's tip": (
        [NonlinearConstraint(lambda x: np.array([x[0] ** 2 + x[1] ** 2 + x[2] ** 2]), -INF, 1.0)],
        None,
        TARGET / np.sqrt(14.0),
        ([0.5 * (np.sqrt(14.0) - 1.0)],),
    ),
}


@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_constraints(kind, linear_solver):
    constraints, bounds, x, multipliers = KINDS[kind]
    arguments = {} if bounds is None else {"bounds": bounds}
    start = np.clip([0.5, 0.6, 0.7], *(bounds or (-INF, INF)))
    problem = LeastSquaresProblem(to_target, start, constraints=constraints, **arguments)
    result = solve(problem, InteriorPoint(linear_solver=linear_solver))
    assert result.converged
    assert_allclose(result.x, x, atol=2e-6)
    assert result.constr_violation < 1e-6
    for found, wanted in zip(result.multipliers, multipliers, strict=False):
        assert_allclose(found, wanted, atol=1e-5)
    y, lower, upper = result.multipliers
    a = result.constraint_jac if linear_solver == "dense" else result.constraint_jac.toarray()
    assert_allclose(to_target(result.x) + a.T @ y - lower + upper, 0.0, atol=1e-6)


# options


def curve(x):
    t = np.linspace(0.0, 2.0, 9)
    return x[0] * np.exp(-x[1] * t) + x[2] - (2.0 * np.exp(-1.3 * t) + 0.5 + 0.1 * np.cos(9.0 * t))


def curve_constraints(x):
    return np.array([x[0] * x[1] - 2.0, x[0] ** 2 + x[2] ** 2])


LIMITS = [0.0, -INF], [0.0, 4.0]


def with_jacobians(function):
    """Hide a function from the tracer, and give its Jacobian."""

    def hidden(x):
        return np.array(function(np.array([float(value) for value in x])))

    return hidden, lambda x: derivatives(function, x)


def hidden_problem(jac="given"):
    residual, jac_r = with_jacobians(curve)
    values, jac_c = with_jacobians(curve_constraints)
    if jac != "given":
        jac_r = jac_c = jac
    return LeastSquaresProblem(
        residual, [1.0, 1.0, 0.0], jac=jac_r, constraints=[NonlinearConstraint(values, *LIMITS, jac=jac_c)]
    )


def traced_problem():
    return LeastSquaresProblem(curve, [1.0, 1.0, 0.0], constraints=[NonlinearConstraint(curve_constraints, *LIMITS)])


@pytest.fixture(scope="module")
def reference():
    """The solution by SciPy, to 1e-6."""
    result = minimize(
        lambda x: 0.5 * np.sum(curve(x) ** 2),
        [1.0, 1.0, 0.0],
        jac=lambda x: derivatives(curve, x).T @ curve(x),
        method="trust-constr",
        constraints=[NonlinearConstraint(curve_constraints, *LIMITS, jac=lambda x: derivatives(curve_constraints, x))],
        options={"gtol": 1e-10, "xtol": 1e-12, "maxiter": 3000},
    )
    return result.x


@pytest.mark.parametrize(
    ("hessian", "says"),
    [
        ("auto", "exact (graph)"),
        ("exact", "exact (graph)"),
        ("differences", "exact (graph)"),
        ("constraints", "without second derivatives of residual; second derivatives of constraints: exact (graph)"),
        ("gauss-newton", "J'J (Gauss-Newton)"),
        ("sr1", "residual: structured SR1; second derivatives of constraints: structured SR1"),
    ],
)
def test_second_derivatives_of_graphs(reference, hessian, says):
    result = solve(traced_problem(), InteriorPoint(hessian=hessian))
    assert result.converged
    assert_allclose(result.x, reference, atol=1e-5)
    assert says in result.hessian
    assert (result.nhev > 0) == (hessian != "gauss-newton")


@pytest.mark.parametrize(
    ("hessian", "jac", "says"),
    [
        ("auto", "given", "differences of the Jacobian"),
        ("differences", "given", "differences of the Jacobian"),
        ("exact", "given", "without second derivatives of residual"),
        ("constraints", "given", "constraints: differences of the Jacobian"),
        ("gauss-newton", "given", "J'J (Gauss-Newton)"),
        ("sr1", "given", "structured SR1"),
        ("auto", "2-point", "structured SR1"),
        ("auto", "3-point", "structured SR1"),
        ("gauss-newton", "2-point", "J'J (Gauss-Newton)"),
    ],
)
def test_second_derivatives_of_functions_without_graphs(reference, hessian, jac, says):
    result = solve(hidden_problem(jac), InteriorPoint(hessian=hessian))
    assert result.converged
    assert_allclose(result.x, reference, atol=2e-5 if jac == "2-point" else 1e-5)
    assert says in result.hessian
    assert any("exact" in text for text in result.fallbacks) == (hessian == "exact")


def test_second_derivatives_that_are_given(reference):
    """``hess`` of the residual and of the constraints are used: wrong ones are seen, in the count of calls."""
    residual, jac_r = with_jacobians(curve)
    values, jac_c = with_jacobians(curve_constraints)
    asked = []

    def hess(x, v):
        asked.append("residual")
        return sum(v[i] * derivatives(lambda z, i=i: derivatives_of_curve(z)[i], x) for i in range(9))

    def derivatives_of_curve(x):
        t = np.linspace(0.0, 2.0, 9)
        e = np.exp(-x[1] * t)
        return np.stack([e, -x[0] * t * e, np.ones(9) + 0.0 * e], axis=1)

    def hess_c(x, v):
        asked.append("constraints")
        return np.array([[2.0 * v[1], v[0], 0.0], [v[0], 0.0, 0.0], [0.0, 0.0, 2.0 * v[1]]])

    problem = LeastSquaresProblem(
        residual,
        [1.0, 1.0, 0.0],
        jac=jac_r,
        hess=hess,
        constraints=[NonlinearConstraint(values, *LIMITS, jac=jac_c, hess=hess_c)],
    )
    result = solve(problem)
    assert_allclose(result.x, reference, atol=1e-5)
    assert result.hessian.count("given") == 2
    assert asked.count("residual") == asked.count("constraints") == result.nhev > 0
    exact = solve(traced_problem())
    assert result.nit == exact.nit
    assert_allclose(result.x, exact.x, atol=1e-9)


@pytest.mark.parametrize("name", ["hs14", "hs23", "hs43", "hs65", "hs113"])
def test_monotone_barrier_ends_at_the_same_point(name):
    adaptive, monotone = solved(name), solved(name, {"barrier": "monotone"})
    assert monotone.status == Status.OPTIMALITY
    assert_allclose(monotone.x, adaptive.x, atol=1e-6)


@pytest.mark.parametrize("first", [1e-4, 1.0, 10.0])
def test_other_first_barriers_and_pushes(first):
    result = solved("hs43", {"first_barrier": first, "push": 0.3})
    assert result.status == Status.OPTIMALITY
    assert_allclose(result.x, BOOK["hs43"], atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"hessian": "newton"}, {"kkt": "whole"}, {"linear_solver": "qr"}, {"ordering": "metis"}, {"barrier": "none"},
        {"first_barrier": 0.0}, {"push": 0.6}, {"push": -1.0}, {"tolerance": np.nan}, {"acceptable": np.inf},
        {"violation": 0.0}, {"max_iterations": 0},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        InteriorPoint(**options)


# counts, forms of systems, watching


@pytest.mark.parametrize("name", ["hs6", "hs14", "hs26", "hs43", "hs57", "hs61", "hs65", "hs77", "infeasible_disks"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_a_factorisation_an_iteration_and_a_correction(name, linear_solver):
    result = solved(name, {"linear_solver": linear_solver})
    assert result.factorizations == result.nit - result.restorations + result.inertia_corrections
    assert result.analyses == (1 if linear_solver == "sparse" else 0)
    assert result.nhev <= result.njev + result.restorations
    assert result.njev == result.nit + 1 or result.restorations
    assert result.other_factorizations >= 1
    assert ("sparse" if linear_solver == "sparse" else "Bunch-Kaufman") in result.linear_solver


def chain_residual(x):
    return np.concatenate([10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]])


def chain_constraints(x):
    return 3.0 * x[1:-1] ** 3 + 2.0 * x[2:] - 5.0 + np.sin(x[1:-1] - x[2:]) * np.sin(x[1:-1] + x[2:])


def chained(n=20, start=(-1.2, 1.0)):
    start = np.tile(start, n)[:n]
    return LeastSquaresProblem(
        chain_residual, start, constraints=[NonlinearConstraint(chain_constraints, -0.5, 0.0)], bounds=(-5.0, 5.0)
    )


@pytest.mark.parametrize("hessian", ["auto", "gauss-newton"])
def test_dense_and_sparse_forms_agree(hessian):
    """To rounding while they are on their way; at the end the last variables hardly count."""
    forms = [{"linear_solver": "dense"}] + [
        {"linear_solver": "sparse", "kkt": kkt, "ordering": ordering}
        for kkt in ("condensed", "augmented")
        for ordering in ("amd", "natural")
    ]
    early = [solve(chained(), InteriorPoint(hessian=hessian, max_iterations=6, **form)) for form in forms]
    dense = early[0]
    assert dense.status == Status.MAX_ITERATIONS
    for form, result in zip(forms[1:], early[1:], strict=True):
        assert form["kkt"] in result.linear_solver
        assert_allclose(result.x, dense.x, atol=1e-9)
        assert_allclose(result.multipliers.constraints, dense.multipliers.constraints, atol=1e-8)
        assert_allclose(result.jac.toarray(), dense.jac, atol=1e-7)
        assert_allclose(result.constraint_jac.toarray(), dense.constraint_jac, atol=1e-7)
        assert_allclose(result.gradient, dense.gradient, atol=1e-6)
        assert_allclose(result.projected_gradient, dense.projected_gradient, atol=1e-6)
    ends = [solve(chained(), InteriorPoint(hessian=hessian, **form)) for form in forms]
    for result in ends:
        assert result.status == Status.OPTIMALITY
        assert result.cost == pytest.approx(ends[0].cost, rel=1e-7)
        assert result.factorizations == result.nit - result.restorations + result.inertia_corrections
    assert [result.analyses for result in ends] == [0, 1, 1, 1, 1]


def test_large_problems_are_sparse_where_they_can_be():
    large = chained(210, (0.9, 0.95))
    result = solve(large)
    assert result.converged and result.analyses == 1
    assert_allclose(result.x, solve(large, InteriorPoint(linear_solver="dense")).x, atol=1e-5)
    assert solve(chained(50, (0.9, 0.95))).analyses == 0


@pytest.mark.parametrize("name", ["hs14", "hs26", "hs57", "hs65", "infeasible_circle_line"])
def test_one_iteration_at_a_time_gives_the_same(name):
    whole = solved(name)
    watched = solved(name, history=True)
    assert watched.x.tolist() == whole.x.tolist()
    assert (watched.nit, watched.nfev, watched.status) == (whole.nit, whole.nfev, whole.status)
    assert watched.factorizations == whole.factorizations
    last = watched.history[-1]
    assert last.nit == whole.nit
    assert watched.log().count("\n") >= len(watched.history)
    for report in watched.history:
        assert_allclose(report.residual, constrained.load(name).residual(report.x), atol=1e-12)
        assert report.cost == pytest.approx(constrained.load(name).cost(report.x), rel=1e-12)
    barriers = [report.barrier for report in watched.history]
    assert barriers == sorted(barriers, reverse=True)


def test_a_problem_is_solved_again_from_its_start_and_the_same():
    problem = build(constrained.load("hs65"))
    first, second = solve(problem), solve(problem)
    assert first.x.tolist() == second.x.tolist()
    assert (first.nit, first.nfev) == (second.nit, second.nfev)
    quasi = [solve(problem, InteriorPoint(hessian="sr1")) for _ in range(2)]
    assert quasi[0].x.tolist() == quasi[1].x.tolist() and quasi[0].nit == quasi[1].nit


@pytest.mark.parametrize("name", ["hs43", "hs65", "hs77", "hs113"])
def test_warm_starts_take_few_iterations(name):
    problem = constrained.load(name)
    cold = solve(build(problem))
    again = solve(build(problem), warm_start=cold)
    assert again.status == Status.OPTIMALITY
    assert again.nit <= 3
    residual = problem.residual
    moved = LeastSquaresProblem(
        lambda x: residual(x * (1.0 + 1e-5)),
        problem.x0,
        bounds=(problem.lb, problem.ub),
        constraints=[NonlinearConstraint(problem.constraints, problem.cl, problem.cu)],
    )
    near = solve(moved, warm_start=cold)
    assert "2-point" not in near.hessian
    assert near.status == Status.OPTIMALITY
    assert near.nit <= 5 < cold.nit + 2
    assert_allclose(near.x, cold.x, atol=1e-3)


def test_warm_start_of_another_size():
    cold = solved("hs43")
    with pytest.raises(ValueError, match="warm_start has 4 variables, but the problem has 3"):
        solve(build(constrained.load("hs65")), warm_start=cold)


def test_result_pickles():
    result = solved("hs65", history=True)
    before = result.projected_gradient
    again = pickle.loads(pickle.dumps(result))
    assert again.x.tolist() == result.x.tolist()
    assert again.status is result.status
    assert again.multipliers.constraints.tolist() == result.multipliers.constraints.tolist()
    assert again.projected_gradient.tolist() == before.tolist()
    assert again.constraint_names == result.constraint_names == ["constraints[0][0]"]
    assert again.report() == result.report()
    assert again.log() == result.log()


def test_results_do_not_share_memory_with_the_solver():
    problem = build(constrained.load("hs65"))
    first = solve(problem)
    kept = pickle.dumps([first.x, first.jac, first.residual, *first.multipliers, first.constraint_jac])
    solve(problem, max_evaluations=2)
    assert pickle.dumps([first.x, first.jac, first.residual, *first.multipliers, first.constraint_jac]) == kept


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
def test_robust_losses_with_constraints(loss, linear_solver):
    from scipy.optimize import least_squares

    t = np.linspace(0.0, 3.0, 12)
    data = 1.0 + 2.0 * t + 0.3 * np.sin(5.0 * t)
    data[[2, 9]] += [4.0, -5.0]
    rho = {
        "soft_l1": lambda z: 2.0 * (np.sqrt(1.0 + z) - 1.0),
        "huber": lambda z: np.where(z <= 1.0, z, 2.0 * np.sqrt(z) - 1.0),
        "cauchy": np.log1p,
        "arctan": np.arctan,
    }[loss]

    def residual(x):
        return x[0] + x[1] * t - data

    def cost(x):
        return 0.5 * 0.25 * np.sum(rho((residual(x) / 0.5) ** 2))

    start = least_squares(residual, [1.0, 2.0], loss=loss, f_scale=0.5).x
    peer = minimize(
        cost, start, method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
        constraints=[{"type": "ineq", "fun": lambda x: 2.8 - x[0] - x[1]}],
    )  # fmt: skip
    result = solve(
        LeastSquaresProblem(residual, start, loss=loss, loss_scale=0.5, constraints=[linear([[1, 1]], -INF, 2.8)]),
        InteriorPoint(linear_solver=linear_solver),
    )
    assert result.converged
    assert result.cost == pytest.approx(cost(result.x), rel=1e-12)
    assert result.cost <= peer.fun * (1.0 + 1e-7)
    assert_allclose(result.x, peer.x, atol=1e-4)
    assert result.multipliers.constraints[0] > 0.0


def test_tolerances_of_a_solve_come_before_the_methods():
    rough = solved("hs65", tolerances=Tolerances(optimality=1e-6, cost=None, step=None))
    fine = solved("hs65", {"tolerance": 1e-3}, tolerances=Tolerances(optimality=1e-9, cost=None, step=None))
    assert rough.nit <= fine.nit
    assert rough.optimality > 1e-8 > fine.optimality


def test_a_loose_tolerance_takes_no_longer():
    rough, fine = (solved("hs65", tolerances=Tolerances(optimality=one, cost=None, step=None)) for one in (1e-3, 1e-8))
    assert rough.converged
    assert rough.nit <= fine.nit


def test_two_problems_in_two_threads():
    names = ["hs113", "hs77"] * 2
    alone = {name: solved(name) for name in names}
    found = [None] * len(names)

    def work(k):
        for _ in range(3):
            found[k] = solved(names[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, result in zip(names, found, strict=True):
        assert result.x.tolist() == alone[name].x.tolist()
        assert result.nit == alone[name].nit


SLOWLY = """
import json, numpy as np, test_interior_point as t
print(json.dumps([t.summary(*case) for case in t.CASES]))
"""
CASES = [("dense", "hs14"), ("sparse", "hs14"), ("dense", "hs65"), ("dense", "infeasible_circle_line")]


def summary(linear_solver, name):
    """Solve with given Jacobians; return the answer as lists."""
    one = constrained.load(name)
    residual, jac = with_jacobians(one.residual)
    values, jac_c = with_jacobians(one.constraints)
    held = [NonlinearConstraint(values, one.cl, one.cu, jac=jac_c)]
    start = np.clip(one.x0, one.lb, one.ub)
    problem = LeastSquaresProblem(residual, start, jac=jac, constraints=held, bounds=(one.lb, one.ub))
    result = solve(problem, InteriorPoint(hessian="sr1", linear_solver=linear_solver))
    return [int(result.status), result.nit, result.x.tolist(), result.multipliers.constraints.tolist()]


def test_nothing_is_compiled_and_the_answer_is_the_same(tmp_path):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SLOWLY],
        env=os.environ | {"PYTHONPATH": paths, "NLSQ_DISABLE_COMPILE": "1", "NLSQ_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists()
    for case, slow in zip(CASES, json.loads(done.stdout), strict=True):
        fast = summary(*case)
        assert slow[:2] == fast[:2]
        assert_allclose(slow[2], fast[2], atol=1e-7)
        if fast[0] == Status.OPTIMALITY:
            assert_allclose(slow[3], fast[3], atol=1e-6)


@pytest.mark.parametrize("linear_solver", ["dense", "sparse"])
@pytest.mark.parametrize("sizes", [[1e-4, 1e3, 1.0], [1e5, 1e5, 1e5], [1.0, 1e-6, 1e-6]])
def test_units_of_variables_do_not_matter(sizes, linear_solver):
    """Bounds, multipliers and gradients are in the units of the variables, whatever the solver divides them by."""
    one, sizes = constrained.load("hs65"), np.array(sizes)
    start = np.array([-4.0, 3.0, 1.0])
    lower, upper = np.array([-4.5, -4.5, -5.0]), np.array([4.5, 3.0, 6.0])
    plain, scaled = (
        solve(
            LeastSquaresProblem(
                lambda x, unit=unit: one.residual(x / unit),
                start * unit,
                bounds=(lower * unit, upper * unit),
                constraints=[NonlinearConstraint(lambda x, unit=unit: one.constraints(x / unit), one.cl, one.cu)],
            ),
            InteriorPoint(linear_solver=linear_solver),
        )
        for unit in (np.ones(3), sizes)
    )
    assert plain.status == scaled.status == Status.OPTIMALITY
    assert_allclose(scaled.x / sizes, plain.x, rtol=1e-5)
    assert scaled.x[1] == pytest.approx(3.0 * sizes[1], rel=1e-7)
    assert_allclose(scaled.gradient * sizes, plain.gradient, atol=1e-4)
    assert_allclose(scaled.multipliers.constraints, plain.multipliers.constraints, atol=1e-4)
    assert plain.multipliers.upper[1] > 1e-3
    assert_allclose(scaled.multipliers.upper * sizes, plain.multipliers.upper, atol=1e-4)
    assert scaled.active_mask.tolist() == plain.active_mask.tolist() == [0, 1, 0]
    jac = scaled.jac if linear_solver == "dense" else scaled.jac.toarray()
    assert_allclose(jac * sizes, derivatives(one.residual, scaled.x / sizes), rtol=1e-6, atol=1e-6)
