"""Sparse KKT systems: inertia and solutions equal to those of dense matrices, and singular ones are called singular."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import kkt_orderings
from nlsq.kernels import kkt_assembly as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg import indefinite, kkt
from nlsq.linalg.kkt import (
    NOT_FINITE,
    RIGHT_INERTIA,
    SINGULAR,
    TOO_FEW_NEGATIVE,
    TOO_MANY_NEGATIVE,
    SparseKKT,
)
from nlsq.linalg.kkt_plan import pair_columns
from nlsq.pattern import SparsityPattern

FORMS = pytest.mark.parametrize("form", ["condensed", "augmented"])
FREE = -1
seeds = st.integers(0, 2**32 - 1)


def pattern(mask):
    return SparsityPattern.from_dense(np.asarray(mask) != 0.0)


def by_rows(matrix):
    return matrix[matrix != 0.0]


def dense(jac, constraints, hessian, damping, softness, form, use_hessian=True):
    """Return the KKT matrix."""
    (m, n), mc = jac.shape, len(constraints)
    corner = np.diag(np.broadcast_to(damping, n)).astype(float)
    soft = -np.diag(np.broadcast_to(softness, mc)).astype(float)
    used = float(use_hessian)
    if form == "condensed":
        return np.block([[corner + used * (jac.T @ jac + hessian), constraints.T], [constraints, soft]])
    return np.block(
        [
            [corner + used * hessian, used * jac.T, constraints.T],
            [used * jac, -np.eye(m), np.zeros((m, mc))],
            [constraints, np.zeros((mc, m)), soft],
        ]
    )


def prepared(jac, constraints, curvature=None, **options):
    """Return a system with these matrices; `curvature` is rows, columns, values."""
    rows, columns, values = curvature if curvature is not None else ((), (), None)
    options.setdefault("constraint_values", by_rows(constraints))
    system = SparseKKT(pattern(jac), pattern(constraints), rows, columns, **options)
    system.set_matrices(by_rows(jac), by_rows(constraints), values)
    return system


def expected_code(matrix, n):
    negative = np.count_nonzero(np.linalg.eigvalsh(matrix) < 0.0)
    wanted = len(matrix) - n
    if negative == wanted:
        return RIGHT_INERTIA
    return TOO_MANY_NEGATIVE if negative > wanted else TOO_FEW_NEGATIVE


def check_solution(system, matrix, rng, tolerance):
    """Compare a solution with that of the dense matrix."""
    n, mc = system.n, system.mc
    rhs, out = rng.standard_normal(n + mc), np.empty(n + mc)
    right = np.zeros(len(matrix))
    right[:n], right[len(matrix) - mc :] = rhs[:n], rhs[n:]
    found = np.linalg.solve(matrix, right)
    error = system.solve(rhs, out)
    assert error <= 1e-11
    wanted = np.concatenate([found[:n], found[len(matrix) - mc :]])
    assert np.abs(out - wanted).max() <= tolerance * np.abs(found).max()


@settings(deadline=None, max_examples=150)
@given(seeds, st.sampled_from([0.1, 0.3, 0.7]), st.sampled_from(["amd", "natural"]), st.booleans())
def test_inertia_and_solutions_are_those_of_the_dense_matrix(seed, density, ordering, use_hessian):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 18))
    m, mc = int(rng.integers(0, 18)), int(rng.integers(0, n + 1))
    jac = rng.normal(size=(m, n)) * (rng.random((m, n)) < density)
    constraints = rng.normal(size=(mc, n)) * (rng.random((mc, n)) < density)
    rows, columns = rng.integers(0, n, (2, int(rng.integers(0, 30))))  # either triangle, with repeats
    values = rng.normal(size=rows.size)
    lower = np.zeros((n, n))
    np.add.at(lower, (np.maximum(rows, columns), np.minimum(rows, columns)), values)
    hessian = lower + np.tril(lower, -1).T
    damping = rng.choice([0.0, 1e-8, 1.0, 1e6]) * rng.random(n)
    softness = np.full(mc, rng.choice([0.0, 1e-8, 1.0]))
    for form in ("condensed", "augmented"):
        system = prepared(jac, constraints, (rows, columns, values), form=form, ordering=ordering)
        code = system.factorize(damping, softness, use_hessian=use_hessian)
        matrix = dense(jac, constraints, hessian, damping, softness, form, use_hessian)
        sizes = np.abs(np.linalg.eigvalsh(matrix))
        if sizes.min() <= 1e-11 * sizes.max():  # whether it is singular is not for rounding to say
            continue
        assert code == expected_code(matrix, n)
        assert system.negative == np.count_nonzero(np.linalg.eigvalsh(matrix) < 0.0)
        check_solution(system, matrix, rng, 1e-14 * sizes.max() / sizes.min() + 1e-12)


@FORMS
def test_zero_softness_and_zero_curvature(form):
    """Variables that only constraints hold: no diagonal entry of the matrix is a pivot there."""
    rng = np.random.default_rng(1)
    jac = np.eye(6)[:2]
    constraints = np.hstack([rng.normal(size=(4, 2)), np.eye(4) + np.diag(np.ones(3), 1)])
    system = prepared(jac, constraints, form=form)
    assert system.factorize(0.0, 0.0) == RIGHT_INERTIA
    check_solution(system, dense(jac, constraints, np.zeros((6, 6)), 0.0, 0.0, form), rng, 1e-13)
    assert system.moved == 0


@FORMS
def test_indefinite_curvature_off_the_null_space(form):
    """S is negative across the constraint and positive along it: that is the right inertia."""
    jac = np.zeros((1, 2))
    jac[0, 1] = 1.0
    constraints = np.array([[1.0, 0.0]])
    system = prepared(jac, constraints, ([0, 1], [0, 1], [-3.0, 0.5]), form=form)
    assert system.factorize(0.0, 0.0) == RIGHT_INERTIA
    system.set_matrices(by_rows(jac), by_rows(constraints), np.array([3.0, -1.5]))
    assert system.factorize(0.0, 0.0) == TOO_MANY_NEGATIVE
    assert system.factorize(np.array([0.0, 1.0])) == RIGHT_INERTIA
    assert (system.analyses, system.factorizations) == (1, 3)


@FORMS
@pytest.mark.parametrize("kind", ["copy", "multiple", "sum", "zero"])
def test_dependent_constraints_are_singular(form, kind):
    rng = np.random.default_rng(7)
    n, mc = 30, 12
    jac = np.eye(n)
    constraints = rng.normal(size=(mc, n)) * (rng.random((mc, n)) < 0.2) + np.eye(mc, n)
    last = {"copy": constraints[3], "multiple": -1e3 * constraints[3], "sum": constraints[:4].sum(axis=0)}
    constraints[-1] = last.get(kind, 0.0)
    system = SparseKKT(pattern(jac), pattern(constraints != 0.0), form=form)
    system.set_matrices(by_rows(jac), by_rows(constraints))
    assert system.factorize(1e-3, 0.0) == SINGULAR
    assert 0 <= system.failed < system.order
    with pytest.raises(RuntimeError):
        system.solve(np.ones(n + mc), np.empty(n + mc))
    assert system.factorize(1e-3, 1e-8) == RIGHT_INERTIA
    check_solution(system, dense(jac, constraints, np.zeros((n, n)), 1e-3, 1e-8, form), rng, 1e-5)


def test_variable_that_nothing_holds_is_singular():
    jac = np.eye(3)[:2]
    system = SparseKKT(pattern(jac), None, form="condensed")
    system.set_matrices(by_rows(jac))
    assert system.factorize(0.0) == SINGULAR
    assert system.failed == 2
    assert system.factorize(1e-8) == RIGHT_INERTIA


def test_too_few_negative():
    """A negative E is not for the solver, but shows the third code."""
    system = prepared(np.eye(2), np.array([[0.1, 0.0]]))
    assert system.factorize(0.0, -1.0) == TOO_FEW_NEGATIVE


def test_dense_rows_take_the_augmented_form():
    rng = np.random.default_rng(3)
    n = 400
    jac = np.vstack([np.eye(n), rng.normal(size=(2, n))])
    constraints = np.eye(n)[:50] + np.eye(n, k=1)[:50]
    system = prepared(jac, constraints)
    assert system.form == "augmented"
    assert system.reason == "2 dense rows of J would fill J'J; row 400 has 400 entries"
    assert system.nnz_factor < 10 * n
    assert system.factorize(0.0, 0.0) == RIGHT_INERTIA
    check_solution(system, dense(jac, constraints, np.zeros((n, n)), 0.0, 0.0, "augmented"), rng, 1e-10)
    assert prepared(jac[:n], constraints).form == "condensed"
    assert prepared(np.ones((300, 60)), np.eye(60)[:3]).form == "condensed"  # J'J is full and small


@FORMS
def test_ill_conditioned_diagonals(form):
    """As at the end of an interior-point method: D and E over 24 orders of magnitude."""
    rng = np.random.default_rng(5)
    n, mc = 40, 15
    jac = rng.normal(size=(60, n)) * (rng.random((60, n)) < 0.1)
    constraints = rng.normal(size=(mc, n)) * (rng.random((mc, n)) < 0.2) + 2.0 * np.eye(mc, n)
    damping, softness = 10.0 ** rng.uniform(-12, 12, n), 10.0 ** rng.uniform(-12, 12, mc)
    system = prepared(jac, constraints, form=form)
    assert system.factorize(damping, softness) == RIGHT_INERTIA
    assert system.solve(rng.normal(size=n + mc), np.empty(n + mc)) < 1e-12


@FORMS
def test_values_that_are_not_finite(form):
    jac, constraints = np.eye(3), np.ones((1, 3))
    system = prepared(jac, constraints, form=form)
    for bad in (np.nan, np.inf):
        system.set_matrices(np.array([1.0, bad, 1.0]), np.ones(3))
        assert system.factorize(0.0, 0.0) == NOT_FINITE
        with pytest.raises(RuntimeError):
            system.solve(np.ones(4), np.empty(4))
    system.set_matrices(np.ones(3), np.ones(3))
    assert system.factorize(0.0, 0.0) == RIGHT_INERTIA
    assert system.solve(np.array([1.0, np.nan, 1.0, 1.0]), np.empty(4)) == np.inf


def chain(n, rng, middle):
    """Return patterns and values of a chained problem whose constraints have `middle` added to their second entry."""
    i, k = np.arange(n - 1), np.arange(n - 2)
    jac = SparsityPattern.from_entries(np.r_[i, i], np.r_[i, i + 1], (n - 1, n))
    constraints = SparsityPattern.from_entries(np.r_[k, k, k], np.r_[k, k + 1, k + 2], (n - 2, n))
    values = rng.normal(size=(n - 2, 3))
    values[:, 1] += middle
    return jac, constraints, rng.normal(size=jac.nnz), values.ravel()


def norm_of_residual(parts, values, rhs, out):
    from scipy.sparse import block_array, csr_array, eye_array

    jac, constraints = (csr_array((v, *p.by_rows()[::-1]), shape=p.shape) for p, v in zip(parts, values, strict=True))
    matrix = block_array([[jac.T @ jac + eye_array(jac.shape[1]), constraints.T], [constraints, None]])
    return np.abs(matrix @ out - rhs).max()


@FORMS
@pytest.mark.parametrize("middle", [0.0, 8.0])
def test_long_chain(form, middle):
    """With `middle` 0 the constraints of a part of the chain determine its variables badly: pivots are put off."""
    rng = np.random.default_rng(0)
    n = 10_000
    *parts, jac_values, constraint_values = chain(n, rng, middle)
    system = SparseKKT(*parts, form=form, constraint_values=constraint_values)
    system.set_matrices(jac_values, constraint_values)
    assert system.factorize(1.0, 0.0) == RIGHT_INERTIA
    assert system.moved == 0
    assert (system._factor.put_off > 0) == (middle == 0.0)
    rhs, out = rng.normal(size=2 * n - 2), np.empty(2 * n - 2)
    assert system.solve(rhs, out) <= 1e-12
    values = jac_values, constraint_values
    assert norm_of_residual(parts, values, rhs, out) <= 1e-11 * max(1.0, np.abs(out).max())
    assert system.nnz_factor < 20 * n


def test_nothing_is_allocated_after_the_analysis():
    rng = np.random.default_rng(0)
    *parts, jac_values, constraint_values = chain(3000, rng, 8.0)
    system = SparseKKT(*parts)
    damping, softness, rhs, out = np.ones(3000), np.zeros(2998), rng.normal(size=5998), np.empty(5998)
    system.set_matrices(jac_values, constraint_values)
    system.factorize(damping, softness)
    system.solve(rhs, out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    system.set_matrices(jac_values, constraint_values)
    code = system.factorize(damping, softness)
    system.solve(rhs, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == RIGHT_INERTIA
    assert peak - before < 8000  # an array of the problem's length has 24,000 bytes


def test_room_grows_when_many_columns_are_put_off(monkeypatch):
    monkeypatch.setattr(indefinite, "SLACK", 1.0)
    rng = np.random.default_rng(0)
    *parts, jac_values, constraint_values = chain(3000, rng, 0.0)
    system = SparseKKT(*parts, constraint_values=constraint_values)
    room = system._factor._room.copy()
    system.set_matrices(jac_values, constraint_values)
    assert system.factorize(1.0, 0.0) == RIGHT_INERTIA
    assert np.all(system._factor._room[:4] > room[:4])
    rhs, out = rng.normal(size=5998), np.empty(5998)
    assert system.solve(rhs, out) <= 1e-12
    assert norm_of_residual(parts, (jac_values, constraint_values), rhs, out) <= 1e-11 * np.abs(out).max()


def test_refinement_corrects_a_poor_factor():
    """With a factor of another matrix each refinement gains some digits, and the best solution is kept."""
    rng = np.random.default_rng(2)
    *parts, jac_values, constraint_values = chain(100, rng, 8.0)
    system = SparseKKT(*parts)
    system.set_matrices(jac_values, constraint_values)
    assert system.factorize(1.0, 0.0) == RIGHT_INERTIA
    system._values *= 1.001
    rhs, out = rng.normal(size=198), np.empty(198)
    assert system.solve(rhs, out) <= 1e-12
    assert 2 <= system.refinements <= kkt.MOST_REFINEMENTS
    system._values *= 3.0  # now refinement diverges
    before = system.refinements
    first = np.empty(198)
    system._factor.solve(rhs, first)
    assert system.solve(rhs, out) > 0.1
    assert system.refinements == before + 1
    np.testing.assert_array_equal(out, first)


@settings(deadline=None, max_examples=60)
@given(seeds, st.sampled_from([0.05, 0.15, 0.4]))
def test_as_many_rows_are_paired_as_can_be(seed, density):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    rng = np.random.default_rng(seed)
    m, n = (int(k) for k in rng.integers(1, 25, 2))
    mask = rng.random((m, n)) < density
    sizes = rng.random(np.count_nonzero(mask))
    row_of = np.full(n, FREE, dtype=np.int64)
    pair_columns(pattern(mask), sizes, np.arange(n, dtype=np.int64), row_of, first=0, complete=True)
    paired = np.flatnonzero(row_of >= 0)
    assert mask[row_of[paired], paired].all()
    assert np.unique(row_of[paired]).size == paired.size
    assert paired.size == np.count_nonzero(maximum_bipartite_matching(csr_array(mask)) >= 0)


@settings(deadline=None, max_examples=60)
@given(seeds)
def test_merged_entries(seed):
    rng = np.random.default_rng(seed)
    n, count = int(rng.integers(1, 9)), int(rng.integers(0, 40))
    ends = rng.integers(0, n, (2, count))
    rows, columns = ends.min(axis=0), ends.max(axis=0)
    indptr, indices, places = (np.empty(k, dtype=np.int64) for k in (n + 1, count, count))
    work = np.empty(2 * count + n + 1, dtype=np.int64)
    found = run_kernel(kernels.merge_entries, rows, columns, count, n, work, indptr, indices, places)
    wanted = sorted(set(zip(columns.tolist(), rows.tolist(), strict=True)))
    assert found == len(wanted)
    listed = [(j, int(i)) for j in range(n) for i in indices[indptr[j] : indptr[j + 1]]]
    assert listed == wanted
    assert [wanted[p] for p in places] == list(zip(columns.tolist(), rows.tolist(), strict=True))


def test_partners_are_eliminated_together():
    """A constraint comes with a column of its own in every order, so that a pivot of order 2 is there."""
    rng = np.random.default_rng(0)
    *parts, _, constraint_values = chain(200, rng, 8.0)
    for ordering in ("amd", "natural"):
        system = SparseKKT(*parts, ordering=ordering, constraint_values=constraint_values)
        plan = system._factor._plan
        nodes = np.empty(system.order, dtype=np.int64)
        nodes[plan.permutation] = np.repeat(np.arange(plan.m), plan.widths)
        middle = np.arange(1, 199)  # column i + 1 is where row i is large
        np.testing.assert_array_equal(nodes[middle], nodes[200 + middle - 1])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((0, 3), (0, 0)), {}, r"hessian_rows\[1\] is 3; there are 3 variables"),
        (((0,), (0, 1)), {}, "differ in length: 1 and 2"),
        ((), {"form": "full"}, "form is 'full'"),
        ((), {"ordering": "nested"}, "ordering is 'nested'"),
        ((), {"constraint_values": [1.0]}, r"constraint_values has shape \(1,\); the pattern of A has 3 entries"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        SparseKKT(pattern(np.eye(3)), pattern(np.ones((1, 3))), *arguments, **options)
    with pytest.raises(ValueError, match="A has 4 columns, and J has 3"):
        SparseKKT(pattern(np.eye(3)), pattern(np.ones((1, 4))))


def test_without_constraints_or_residuals():
    rng = np.random.default_rng(0)
    for m in (0, 5):
        jac, constraints = rng.normal(size=(m, 3)), np.zeros((0, 3))
        for form in ("condensed", "augmented"):
            system = prepared(jac, constraints, form=form)
            assert system.factorize(1.0) == RIGHT_INERTIA
            check_solution(system, dense(jac, constraints, np.zeros((3, 3)), 1.0, 0.0, form), rng, 1e-12)


def test_orderings_of_the_benchmark():
    """Minimum degree has far less fill on a grid, and none to save on a chain."""
    grid = kkt_orderings.grid(200)
    amd, natural, full = (
        kkt_orderings.measure(grid),
        kkt_orderings.measure(grid, ordering="natural"),
        kkt_orderings.measure_dense(grid),
    )
    assert 3 * amd["fill"] < natural["fill"] < full["fill"]
    assert max(amd["residual"], natural["residual"]) < 1e-12
    assert sum("dense" in line for line in kkt_orderings.table(50)) == 2
