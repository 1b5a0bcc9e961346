"""Random convex problems against answers that other methods give, and what must not change the answer."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from references.interior_point import kkt_of_result
from scipy.optimize import LinearConstraint, NonlinearConstraint, lsq_linear, nnls

from nlsq import InteriorPoint, LeastSquaresProblem, Status, solve
from nlsq.kernels.backend import compile_disabled

SEEDS = st.integers(0, 10**6)
INF = np.inf
pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set: slow, and no graphs")
LINEAR_SOLVERS = st.sampled_from(["dense", "sparse"])


def fit(seed, n):
    """Return J and data of a linear least-squares problem of full rank."""
    rng = np.random.default_rng(seed)
    return rng, rng.standard_normal((n + 3, n)), 2.0 * rng.standard_normal(n + 3)


def answer(jac, data, start, linear_solver="dense", **arguments):
    problem = LeastSquaresProblem(lambda x: jac @ x - data, start, jac=lambda x: jac, **arguments)
    result = solve(problem, InteriorPoint(linear_solver=linear_solver))
    assert result.status == Status.OPTIMALITY
    assert result.factorizations == result.nit - result.restorations + result.inertia_corrections
    return result


def by_equalities(jac, data, rows, values):
    """Solve the KKT equations of min 1/2 |J x - d|^2, A x = b for (x, y)."""
    n, k = jac.shape[1], len(values)
    matrix = np.block([[jac.T @ jac, rows.T], [rows, np.zeros((k, k))]])
    solution = np.linalg.solve(matrix, np.concatenate([jac.T @ data, values]))
    return solution[:n], solution[n:]


def by_active_sets(jac, data, rows, lower, upper):
    """Try all sets of active limits of ``lower <= A x <= upper``; return the x that is optimal for its own."""
    mc = len(rows)
    for code in range(3**mc):
        which = [(code // 3**i) % 3 for i in range(mc)]
        limits = np.array([(0.0, lower[i], upper[i])[w] for i, w in enumerate(which)])
        held = np.array([w > 0 for w in which])
        if held.sum() > jac.shape[1] or not np.isfinite(limits).all():
            continue
        x, y = by_equalities(jac, data, rows[held], limits[held])
        signs = np.array([(0.0, -1.0, 1.0)[w] for w in which])[held]
        values = rows @ x
        if (y * signs >= -1e-9).all() and (values >= lower - 1e-9).all() and (values <= upper + 1e-9).all():
            return x
    raise AssertionError("no set of active limits is right")


@settings(max_examples=25, derandomize=True)
@given(SEEDS, st.integers(1, 7), LINEAR_SOLVERS)
def test_equalities(seed, n, linear_solver):
    rng, jac, data = fit(seed, n)
    k = int(rng.integers(1, n + 1))
    rows, values = rng.standard_normal((k, n)), rng.standard_normal(k)
    assume(np.linalg.cond(rows) < 1e3)
    result = answer(
        jac, data, rng.standard_normal(n), linear_solver, constraints=[LinearConstraint(rows, values, values)]
    )
    x, y = by_equalities(jac, data, rows, values)
    size = max(1.0, np.abs(x).max())
    assert_allclose(result.x, x, atol=1e-6 * size)
    assert_allclose(result.multipliers.constraints, y, atol=1e-5 * max(1.0, np.abs(y).max()))
    assert result.nit <= 3


@settings(max_examples=40, derandomize=True)
@given(SEEDS, st.integers(1, 7), LINEAR_SOLVERS)
def test_bounds(seed, n, linear_solver):
    rng, jac, data = fit(seed, n)
    middle, width = rng.standard_normal(n), rng.uniform(0.05, 2.0, n)
    lower, upper = np.where(rng.uniform(size=n) < 0.2, -INF, middle - width), middle + width
    free = LinearConstraint(np.ones((1, n)), -INF, INF)
    result = answer(jac, data, middle, linear_solver, bounds=(lower, upper), constraints=[free])
    peer = lsq_linear(jac, data, (lower, upper), method="bvls", tol=1e-14)
    assert_allclose(result.x, peer.x, atol=2e-6)
    assert result.cost == pytest.approx(peer.cost, rel=1e-6, abs=1e-9)
    assert (lower <= result.x).all() and (result.x <= upper).all()
    far = np.minimum(peer.x - lower, upper - peer.x) > 1e-3
    assert not result.active_mask[far].any()


@pytest.mark.parametrize("n", [2, 4, 7])
def test_convex_problems_with_bounds_end_at_the_tolerance(n):
    statuses = []
    for seed in range(30):
        rng, jac, data = fit(seed, n)
        middle, width = rng.standard_normal(n), rng.uniform(0.05, 2.0, n)
        free = LinearConstraint(np.ones((1, n)), -INF, INF)
        statuses.append(answer(jac, data, middle, bounds=(middle - width, middle + width), constraints=[free]).status)
    assert statuses == [Status.OPTIMALITY] * 30


@settings(max_examples=15, derandomize=True)
@given(SEEDS, st.integers(1, 7))
def test_not_negative(seed, n):
    rng, jac, data = fit(seed, n)
    rows = LinearConstraint(np.eye(n), np.zeros(n), np.full(n, INF))
    result = answer(jac, data, rng.uniform(0.5, 1.0, n), constraints=[rows])
    assert_allclose(result.x, nnls(jac, data)[0], atol=2e-6)
    assert (result.multipliers.constraints <= 1e-8).all()


@settings(max_examples=25, derandomize=True)
@given(SEEDS, st.integers(1, 4), st.integers(1, 4), LINEAR_SOLVERS)
def test_inequalities(seed, n, mc, linear_solver):
    rng, jac, data = fit(seed, n)
    rows, inside = rng.standard_normal((mc, n)), rng.standard_normal(n)
    lower = rows @ inside - rng.uniform(0.1, 1.0, mc)
    upper = np.where(rng.uniform(size=mc) < 0.4, INF, rows @ inside + rng.uniform(0.1, 1.0, mc))
    result = answer(
        jac, data, rng.standard_normal(n), linear_solver, constraints=[LinearConstraint(rows, lower, upper)]
    )
    x = by_active_sets(jac, data, rows, lower, upper)
    assert_allclose(result.x, x, atol=1e-5 * max(1.0, np.abs(x).max()))
    gradient = jac.T @ (jac @ result.x - data)
    assert_allclose(kkt_of_result(gradient, rows, result), 0.0, atol=1e-6)
    assert result.constr_violation <= 1e-7


@settings(max_examples=40, derandomize=True)
@given(SEEDS, st.integers(2, 4))
def test_equalities_and_bounds_together(seed, n):
    rng, jac, data = fit(seed, n)
    row, inside = rng.standard_normal((1, n)), rng.uniform(-1.0, 1.0, n)
    value = row @ inside
    result = answer(
        jac,
        data,
        rng.uniform(-1.0, 1.0, n),
        bounds=(np.full(n, -1.2), np.full(n, 1.2)),
        constraints=[LinearConstraint(row, value, value)],
    )
    everything = np.vstack([row, np.eye(n)])
    lower, upper = np.concatenate([value, np.full(n, -1.2)]), np.concatenate([value, np.full(n, 1.2)])
    x = by_active_sets(jac, data, everything, lower, upper)
    assert_allclose(result.x, x, atol=1e-5)


def quadratic(seed, n=3):
    """Return residual, constraints, limits, start of a curved problem with a unique solution."""
    rng, jac, data = fit(seed, n)
    centres, sizes = 0.3 * rng.standard_normal((2, n)), rng.uniform(0.5, 1.5, 2)

    def c(x):
        return np.array([np.sum((x - centres[0]) ** 2), np.sum((x - centres[1]) ** 2), np.sum(x)])

    middle = 0.5 * (centres[0] + centres[1])
    upper = np.array([sizes[0], sizes[1], np.sum(middle)])
    assume((c(middle)[:2] < 0.8 * upper[:2]).all())
    lower = np.array([-INF, -INF, upper[2]])
    return lambda x: jac @ x - data, c, lower, upper, rng.standard_normal(n)


def solve_rows(residual, c, lower, upper, start, factors=None, order=None):
    factors = np.ones(3) if factors is None else factors
    order = np.arange(3) if order is None else order
    held = NonlinearConstraint(lambda x: (factors * c(x))[order], (factors * lower)[order], (factors * upper)[order])
    return solve(LeastSquaresProblem(residual, start, constraints=[held]))


@settings(max_examples=12, derandomize=True)
@given(SEEDS, st.integers(-4, 4), st.integers(0, 2))
def test_units_of_constraints_do_not_matter(seed, power, which):
    parts = quadratic(seed)
    plain = solve_rows(*parts)
    assume(plain.status == Status.OPTIMALITY)
    factors = np.ones(3)
    factors[which] = 10.0**power
    scaled = solve_rows(*parts, factors=factors)
    assert scaled.converged
    assert_allclose(scaled.x, plain.x, atol=1e-5 * max(1.0, 1.0 / factors.min() * 0.1))
    active = np.abs(plain.multipliers.constraints) > 1e-3
    found = scaled.multipliers.constraints * factors
    assert_allclose(found[active], plain.multipliers.constraints[active], rtol=1e-2)


@settings(max_examples=12, derandomize=True)
@given(SEEDS, st.permutations(range(3)))
def test_order_of_constraints_does_not_matter(seed, order):
    parts = quadratic(seed)
    plain, moved = solve_rows(*parts), solve_rows(*parts, order=np.array(order))
    assert (plain.nit, plain.status) == (moved.nit, moved.status)
    assert_allclose(moved.x, plain.x, atol=1e-8)
    assert_allclose(moved.multipliers.constraints, plain.multipliers.constraints[order], atol=1e-5)


@settings(max_examples=12, derandomize=True)
@given(SEEDS, st.permutations(range(3)))
def test_order_of_variables_does_not_matter(seed, order):
    residual, c, lower, upper, start = quadratic(seed)
    order = np.array(order)
    back = np.argsort(order)
    plain = solve_rows(residual, c, lower, upper, start)
    moved = solve_rows(lambda x: residual(x[back]), lambda x: c(x[back]), lower, upper, start[order])
    assert plain.status == moved.status
    assert_allclose(moved.x[back], plain.x, atol=1e-6)


@settings(max_examples=12, derandomize=True)
@given(SEEDS, st.integers(-1, 5))
def test_unit_of_the_cost_does_not_matter(seed, power):
    residual, c, lower, upper, start = quadratic(seed)
    plain = solve_rows(residual, c, lower, upper, start)
    unit = 10.0**power
    scaled = solve_rows(lambda x: unit * residual(x), c, lower, upper, start)
    assume(plain.status == Status.OPTIMALITY and unit**2 * plain.cost > 1e-6)
    assert scaled.converged
    assert_allclose(scaled.x, plain.x, atol=1e-4)


@settings(max_examples=12, derandomize=True)
@given(SEEDS, st.integers(1, 3))
def test_constraints_that_follow_from_others_change_nothing(seed, copies):
    residual, c, lower, upper, start = quadratic(seed)
    plain = solve_rows(residual, c, lower, upper, start)
    assume(plain.status == Status.OPTIMALITY)
    held = [NonlinearConstraint(c, lower, upper)] * (copies + 1)
    more = solve(LeastSquaresProblem(residual, start, constraints=held))
    assert more.converged
    assert_allclose(more.x, plain.x, atol=2e-5)
    together = more.multipliers.constraints.reshape(copies + 1, 3).sum(axis=0)
    assert_allclose(together, plain.multipliers.constraints, atol=1e-2)
