"""Sparse Cholesky entry by entry: the plan of J'J, steps against dense least squares, changing structures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix

from nlsq.linalg.linear_solver import LinearStatus
from nlsq.linalg.normal_structure import NormalStructure
from nlsq.linalg.sparse_cholesky import SparseCholesky, SparsePlan
from nlsq.pattern import SparsityPattern
from tests.references.block_patterns import block_jacobians
from tests.references.damped import shortest_step


@st.composite
def sparse_jacobians(draw):
    """Return a random generator and a sparse Jacobian, some of whose rows and columns may be empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    mask = rng.random((m, n)) < draw(st.floats(0.0, 1.0))
    return rng, csr_array(np.where(mask, rng.standard_normal((m, n)), 0.0))


def chain(rng, n=60):
    """Return a Jacobian of differences between neighbours, and of some far ones."""
    rows = np.repeat(np.arange(2 * n), 3)
    columns = (np.arange(2 * n)[:, None] // 2 + np.array([0, 1, 7]) * (np.arange(2 * n)[:, None] % 5 > 0)) % n
    jac = csr_array((rng.standard_normal(6 * n), (rows, columns.ravel())), shape=(2 * n, n))
    jac.sum_duplicates()
    return jac


def scattered(plan, values):
    """Return the symmetric matrix of an upper triangle by columns."""
    n = plan.diagonal.size
    upper = np.zeros((n, n))
    upper[plan.indices, np.repeat(np.arange(n), np.diff(plan.indptr))] = values
    return upper + np.triu(upper, 1).T


def check_step(factorization, jac, rng, status=LinearStatus.SOLVED):
    """Hold a step from a prepared factorisation to the dense one."""
    r, damping, step = rng.standard_normal(jac.shape[0]), rng.uniform(0.1, 1.0, jac.shape[1]), np.empty(jac.shape[1])
    assert factorization.factorize(jac) is status
    assert factorization.solve(r, damping, step) is LinearStatus.SOLVED
    np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-9, atol=1e-10)


class TestPlan:
    @given(drawn=sparse_jacobians())
    def test_normal_equations(self, drawn):
        _, jac = drawn
        pattern = SparsityPattern.from_matrix(jac)
        plan = SparsePlan(NormalStructure(pattern))
        matrix = jac.toarray()
        for _ in range(2):  # the scratch is clean again
            values = np.full(plan.indices.size, np.nan)
            assert plan.take(jac)
            plan.assemble(jac, values)
            np.testing.assert_allclose(scattered(plan, values), matrix.T @ matrix, rtol=1e-12, atol=1e-12)
        mask = pattern.to_dense().astype(int)
        expected = np.triu((mask.T @ mask > 0) | np.eye(jac.shape[1], dtype=bool))
        structure = SparsityPattern(plan.indptr, plan.indices, expected.shape)  # refuses rows that do not ascend
        assert np.array_equal(structure.to_dense(), expected)
        assert np.array_equal(plan.indices[plan.diagonal], np.arange(expected.shape[0]))

    def test_a_dense_row_is_refused(self):
        pattern = SparsityPattern.from_dense(np.vstack([np.eye(30), np.ones((1, 30))]))
        assert NormalStructure(pattern, limit=465).indices.size == 465
        with pytest.raises(ValueError, match=r"row 30 of J has 30 entries: .* more than 464 entries .*use LSMR"):
            NormalStructure(pattern, limit=464)

    def test_many_rows_are_refused(self):
        pattern = SparsityPattern.from_matrix(chain(np.random.default_rng(0)))
        size = NormalStructure(pattern).indices.size
        with pytest.raises(ValueError, match=f"more than {size - 1} entries"):
            NormalStructure(pattern, limit=size - 1)


class TestSteps:
    @given(drawn=sparse_jacobians(), natural=st.booleans(), lazy=st.booleans())
    def test_against_dense_least_squares(self, drawn, natural, lazy):
        rng, jac = drawn
        pattern = None if lazy else SparsityPattern.from_matrix(jac)
        solver = SparseCholesky(ordering="natural" if natural else "amd")
        check_step(solver.prepare(jac.shape, pattern), jac, rng)

    @pytest.mark.parametrize("make", [csr_matrix, lambda jac: jac.tocsc(), lambda jac: jac.toarray()])
    def test_other_forms(self, make):
        rng = np.random.default_rng(1)
        jac = chain(rng)
        r, damping, step = rng.standard_normal(jac.shape[0]), np.ones(jac.shape[1]), np.empty(jac.shape[1])
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        assert factorization.factorize(make(jac)) is LinearStatus.SOLVED
        assert factorization.solve(r, damping, step) is LinearStatus.SOLVED
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-9, atol=1e-10)

    @given(drawn=block_jacobians())
    def test_block_jacobians(self, drawn):
        rng, jac = drawn
        check_step(SparseCholesky().prepare(jac.shape, jac.to_pattern()), jac, rng)

    def test_undamped(self):
        rng = np.random.default_rng(2)
        jac = chain(rng)
        r, step = rng.standard_normal(jac.shape[0]), np.empty(jac.shape[1])
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        factorization.factorize(jac)
        assert factorization.solve(r, np.zeros(jac.shape[1]), step) is LinearStatus.SOLVED
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, np.zeros(jac.shape[1])), rtol=1e-8)
        inverse = np.linalg.inv(jac.toarray().T @ jac.toarray())
        np.testing.assert_allclose(factorization.inverse_columns([5, 2]), inverse[:, [5, 2]], rtol=1e-6, atol=1e-8)

    def test_a_column_without_entries(self):
        rng = np.random.default_rng(3)
        matrix = chain(rng).toarray()
        matrix[:, 17] = 0.0
        jac = csr_array(matrix)
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        check_step(factorization, jac, rng)
        step = np.full(jac.shape[1], np.nan)
        r = np.ones(jac.shape[0])
        assert factorization.solve(r, np.zeros(jac.shape[1]), step) is LinearStatus.NOT_DEFINITE
        assert factorization.failed_column == 17
        assert np.isnan(step).all()
        assert factorization.solve(r, np.full(jac.shape[1], 0.1), step) is LinearStatus.SOLVED
        assert step[17] == 0.0

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad):
        rng = np.random.default_rng(4)
        jac = chain(rng)
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        jac.data[10] = bad
        assert factorization.factorize(jac) is LinearStatus.NONFINITE
        assert factorization.failed_column == jac.indices[10]
        jac.data[10] = 1.0
        check_step(factorization, jac, rng)


class TestStructure:
    def test_other_values_as_if_fresh(self):
        rng = np.random.default_rng(5)
        jac = chain(rng)
        pattern = SparsityPattern.from_matrix(jac)
        used, again, fresh = SparseCholesky().prepare(jac.shape, pattern), np.empty(60), np.empty(60)
        for _ in range(3):
            jac.data[...] = rng.standard_normal(jac.nnz)
            r, damping = rng.standard_normal(jac.shape[0]), rng.uniform(0.1, 1.0, 60)
            anew = SparseCholesky().prepare(jac.shape, pattern)
            for factorization, step in ((used, again), (anew, fresh)):
                factorization.factorize(jac)
                assert factorization.solve(r, damping, step) is LinearStatus.SOLVED
            np.testing.assert_array_equal(again, fresh)
        assert used.replans == 0

    def test_solves_share_the_structure_but_no_values(self):
        rng = np.random.default_rng(10)
        jac = chain(rng)
        pattern = SparsityPattern.from_matrix(jac)
        first, second = (SparseCholesky().prepare(jac.shape, pattern) for _ in range(2))
        assert first.analysis is second.analysis
        r, damping, step, again = rng.standard_normal(jac.shape[0]), np.ones(60), np.empty(60), np.empty(60)
        first.factorize(jac)
        first.solve(r, damping, step)
        second.factorize(2.0 * jac)
        second.solve(r, damping, again)
        first.solve(r, damping, again)
        np.testing.assert_array_equal(step, again)

    def test_fewer_entries_find_their_places(self):
        rng = np.random.default_rng(6)
        jac = chain(rng)
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        for kept in (0.5, 1.0, 0.9, 0.0):
            fewer = jac.copy()
            fewer.data[rng.random(jac.nnz) >= kept] = 0.0
            fewer.eliminate_zeros()
            check_step(factorization, fewer, rng)
        assert factorization.replans == 0

    def test_new_entries_make_a_new_plan_of_both(self):
        rng = np.random.default_rng(7)
        jac = chain(rng)
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        check_step(factorization, jac, rng)
        other = csr_array(jac.toarray()[::-1])
        for status in (LinearStatus.REPLANNED, LinearStatus.SOLVED):
            check_step(factorization, other, rng, status)
            check_step(factorization, jac, rng)
        assert factorization.replans == 1

    def test_rows_in_any_order_and_duplicates(self):
        rng = np.random.default_rng(8)
        jac = chain(rng)
        rows, columns = jac.tocoo().coords
        order = np.concatenate([rng.permutation(jac.nnz), rng.permutation(jac.nnz)])
        order = order[np.argsort(rows[order], kind="stable")]
        indptr = 2 * jac.indptr
        messy = csr_array((rng.standard_normal(order.size), columns[order], indptr), shape=jac.shape)
        assert not messy.has_canonical_format
        before = messy.indices.copy()
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        check_step(factorization, messy, rng)
        assert np.array_equal(messy.indices, before)
        assert factorization.replans == 0

    def test_another_shape_is_refused(self):
        jac = chain(np.random.default_rng(9))
        factorization = SparseCholesky().prepare(jac.shape, SparsityPattern.from_matrix(jac))
        with pytest.raises(ValueError, match=r"shape \(120, 59\)"):
            factorization.factorize(jac[:, :59])

    def test_another_kind_of_pattern_is_refused(self):
        with pytest.raises(TypeError, match="SparsityPattern"):
            SparseCholesky().prepare((3, 3), np.eye(3))
