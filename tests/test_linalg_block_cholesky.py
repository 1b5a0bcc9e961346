"""Sparse Cholesky over column blocks: the plan of J'J, and steps against dense least squares."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlsq.block_jacobian import BlockGroup, BlockPattern
from nlsq.kernels.backend import compile_disabled
from nlsq.linalg import block_plan
from nlsq.linalg.block_cholesky import BlockCholesky
from nlsq.linalg.block_plan import BlockPlan
from nlsq.linalg.linear_solver import LinearStatus
from nlsq.pattern import SparsityPattern
from tests.references.block_patterns import block_jacobians, random_jacobian, random_pattern
from tests.references.damped import shortest_step


def pose_graph(rng, n_poses=30, n_loops=25, width=3, *, held=True):
    """Return the Jacobian of a chain of poses with loops; the first pose is held."""
    chain = np.stack([np.arange(n_poses - 1), np.arange(1, n_poses)], axis=1)
    loops = np.array([rng.choice(n_poses, 2, replace=False) for _ in range(n_loops)])
    columns = np.concatenate([chain, loops]).astype(np.int64) - (1 if held else 0)
    widths = np.full(n_poses - (1 if held else 0), width)
    return random_jacobian(rng, BlockPattern((BlockGroup(width, 0, columns, (width, width)),), widths))


def scattered(plan, values):
    """Return the symmetric matrix of an upper triangle by columns."""
    n = plan.diagonal.size
    upper = np.zeros((n, n))
    columns = np.repeat(np.arange(n), np.diff(plan.indptr))
    upper[plan.indices, columns] = values
    return upper + np.triu(upper, 1).T


def solve(solver, jac, r, damping):
    factorization = solver.prepare(jac.shape, jac.pattern)
    assert factorization.factorize(jac) is LinearStatus.SOLVED
    step = np.full(jac.shape[1], np.nan)
    return step, factorization.solve(r, damping, step), factorization


@pytest.fixture
def always_specialised(monkeypatch):
    monkeypatch.setattr(block_plan, "SPECIALISE_FROM", 0)


class TestPlan:
    @given(drawn=block_jacobians())
    def test_normal_equations(self, drawn):
        _, jac = drawn
        plan = BlockPlan(jac.pattern)
        values = np.full(plan.indices.size, np.nan)
        plan.assemble(jac, values)
        matrix = jac.toarray()
        np.testing.assert_allclose(scattered(plan, values), matrix.T @ matrix, rtol=1e-12, atol=1e-12)

    @given(drawn=block_jacobians())
    def test_structure_is_that_of_the_blocks(self, drawn):
        _, jac = drawn
        plan = BlockPlan(jac.pattern)
        block_of = np.repeat(np.arange(jac.pattern.widths.size), jac.pattern.widths)
        meets = np.eye(jac.pattern.widths.size, dtype=bool)
        for group in jac.pattern.groups:
            for columns in group.columns:
                free = columns[columns >= 0]
                meets[np.ix_(free, free)] = True
        expected = np.triu(meets[np.ix_(block_of, block_of)])
        assert np.array_equal(scattered(plan, np.ones(plan.indices.size)) != 0.0, expected | expected.T)
        pattern = SparsityPattern(plan.indptr, plan.indices, expected.shape)  # refuses rows that do not ascend
        assert np.array_equal(pattern.to_dense(), expected)
        assert np.array_equal(plan.indices[plan.diagonal], np.arange(expected.shape[0]))

    @pytest.mark.parametrize("kinds", [[(40, 6, (6, 6))], [(30, 2, (3, 2)), (20, 3, (2, 3))], [(25, 1, (1, 3, 3))]])
    def test_specialised_kernels_agree(self, kinds, always_specialised):
        rng = np.random.default_rng(5)
        widths = np.tile(sorted({width for _, _, arguments in kinds for width in arguments}), 4)
        jac = random_jacobian(rng, random_pattern(rng, widths, kinds))
        plan = BlockPlan(jac.pattern)
        assert "Q" in plan._additions[0]._call.kernel.symbol
        values = np.empty(plan.indices.size)
        plan.assemble(jac, values)
        matrix = jac.toarray()
        np.testing.assert_allclose(scattered(plan, values), matrix.T @ matrix, rtol=1e-12, atol=1e-12)

    def test_orders_keep_blocks_together(self):
        jac = pose_graph(np.random.default_rng(0))
        plan = BlockPlan(jac.pattern)
        order = plan.permutation("amd").reshape(-1, 3)
        assert np.array_equal(order % 3, np.tile(np.arange(3), (len(order), 1)))
        assert np.array_equal(np.sort(order[:, 0] // 3), np.arange(len(order)))
        assert np.array_equal(plan.permutation("natural"), np.arange(3 * len(order)))
        given_order = np.arange(len(order))[::-1]
        assert np.array_equal(plan.permutation(given_order)[:4], [84, 85, 86, 81])

    @pytest.mark.parametrize("ordering", ["metis", np.zeros(29, dtype=int), np.arange(3)])
    def test_bad_orders_are_refused(self, ordering):
        with pytest.raises(ValueError, match="ordering"):
            BlockPlan(pose_graph(np.random.default_rng(0)).pattern).permutation(ordering)


class TestSteps:
    @given(drawn=block_jacobians(), natural=st.booleans())
    def test_against_dense_least_squares(self, drawn, natural):
        rng, jac = drawn
        m, n = jac.shape
        r, damping = rng.standard_normal(m), rng.uniform(0.1, 2.0, n)
        step, status, factorization = solve(BlockCholesky(ordering="natural" if natural else "amd"), jac, r, damping)
        assert status is LinearStatus.SOLVED
        assert factorization.failed_column == -1
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-9, atol=1e-10)

    @pytest.mark.parametrize("width", [3, 6])
    def test_undamped_pose_graph(self, width):
        rng = np.random.default_rng(1)
        jac = pose_graph(rng, width=width)
        r = rng.standard_normal(jac.shape[0])
        step, status, _ = solve(BlockCholesky(), jac, r, np.zeros(jac.shape[1]))
        assert status is LinearStatus.SOLVED
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, np.zeros(jac.shape[1])), rtol=1e-8, atol=1e-9)

    def test_a_zero_column_with_damping_does_not_move(self):
        rng = np.random.default_rng(2)
        jac = pose_graph(rng)
        mask = np.zeros(jac.shape[1], dtype=bool)
        mask[[4, 30]] = True
        jac.zero_columns(mask)
        r, damping = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 0.1)
        step, status, _ = solve(BlockCholesky(), jac, r, damping)
        assert status is LinearStatus.SOLVED
        assert np.array_equal(step[mask], [0.0, 0.0])
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-9, atol=1e-10)

    def test_a_zero_column_without_damping_is_named(self):
        rng = np.random.default_rng(2)
        jac = pose_graph(rng)
        mask = np.zeros(jac.shape[1], dtype=bool)
        mask[41] = True
        jac.zero_columns(mask)
        step, status, factorization = solve(BlockCholesky(), jac, np.ones(jac.shape[0]), np.zeros(jac.shape[1]))
        assert status is LinearStatus.NOT_DEFINITE
        assert factorization.failed_column == 41
        assert np.isnan(step).all()
        assert factorization.solve(np.ones(jac.shape[0]), np.ones(jac.shape[1]), step) is LinearStatus.SOLVED
        assert factorization.failed_column == -1

    @pytest.mark.parametrize("seed", range(6))
    def test_a_dependent_column_is_named(self, seed):
        """Rounding leaves a pivot of either sign."""
        rng = np.random.default_rng(seed)
        pattern = BlockPattern((BlockGroup(6, 0, np.array([[0, 1]]), (1, 2)),), np.array([1, 2]))
        jac = pattern.zeros()
        jac.values[0][...] = rng.standard_normal((1, 6, 3))
        jac.values[0][:, :, 2] = 3.0 * jac.values[0][:, :, 1]
        step, status, factorization = solve(BlockCholesky(ordering="natural"), jac, np.ones(6), np.zeros(3))
        assert status is LinearStatus.NOT_DEFINITE
        assert factorization.failed_column == 2
        assert factorization.kept == 0.0
        assert np.isnan(step).all()
        assert factorization.solve(np.ones(6), np.full(3, 1e-11), step) is LinearStatus.ILL_CONDITIONED
        assert 0.0 < factorization.kept < 1e-10

    def test_nothing_is_solved_before_there_is_a_jacobian(self):
        jac = pose_graph(np.random.default_rng(9))
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        m, n = jac.shape
        with pytest.raises(RuntimeError, match="solve comes after factorize"):
            factorization.solve(np.ones(m), np.ones(n), np.empty(n))
        with pytest.raises(RuntimeError, match="solve comes after factorize"):
            factorization.inverse_columns([0])
        factorization.factorize(jac)
        with pytest.raises(RuntimeError, match="there is no factor"):
            factorization.solve_again(np.ones(n), np.empty(n))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad):
        jac = pose_graph(np.random.default_rng(3))
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        jac.values[0][5, 1, 4] = bad
        assert factorization.factorize(jac) is LinearStatus.NONFINITE
        assert factorization.failed_column == jac.pattern.offsets[jac.pattern.groups[0].columns[5, 1]] + 1

    def test_not_finite_residual(self):
        jac = pose_graph(np.random.default_rng(3))
        r = np.ones(jac.shape[0])
        r[7] = np.nan
        step, status, _ = solve(BlockCholesky(), jac, r, np.ones(jac.shape[1]))
        assert status is LinearStatus.NONFINITE
        assert np.isnan(step).all()


class TestReuse:
    def test_other_values_as_if_fresh(self):
        rng = np.random.default_rng(4)
        jac = pose_graph(rng)
        m, n = jac.shape
        used = BlockCholesky().prepare(jac.shape, jac.pattern)
        for _ in range(3):
            jac.values[0][...] = rng.standard_normal(jac.values[0].shape)
            assert used.factorize(jac) is LinearStatus.SOLVED
            for damping in (np.full(n, 0.5), rng.uniform(0.0, 1.0, n)):
                r, again = rng.standard_normal(m), np.empty(n)
                assert used.solve(r, damping, again) is LinearStatus.SOLVED
                np.testing.assert_array_equal(again, solve(BlockCholesky(), jac, r, damping)[0])

    @pytest.mark.skipif(compile_disabled(), reason="plain Python allocates numbers, and takes minutes")
    def test_nothing_large_is_allocated(self):
        rng = np.random.default_rng(6)
        jac = pose_graph(rng, n_poses=400, n_loops=200, width=6)
        m, n = jac.shape
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        r, damping, step = rng.standard_normal(m), np.ones(n), np.empty(n)

        def iterate():
            assert factorization.factorize(jac) is LinearStatus.SOLVED
            assert factorization.solve(r, damping, step) is LinearStatus.SOLVED

        iterate()
        tracemalloc.start()
        try:
            iterate()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * 8 * n  # the gradient and masks, while J'J alone has 18 n entries

    def test_columns_of_the_inverse(self):
        rng = np.random.default_rng(7)
        jac = pose_graph(rng)
        n = jac.shape[1]
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        factorization.factorize(jac)
        normal = jac.toarray().T @ jac.toarray()
        columns = np.arange(n)[::-1]
        expected = np.linalg.inv(normal)[:, columns]
        np.testing.assert_allclose(factorization.inverse_columns(columns), expected, rtol=1e-6, atol=1e-9)
        damped = np.linalg.inv(normal + 0.1 * np.eye(n))[:, [3]]
        np.testing.assert_allclose(factorization.inverse_columns([3], np.full(n, 0.1)), damped, rtol=1e-8, atol=1e-10)
        assert factorization.inverse_columns([]).shape == (n, 0)
        with pytest.raises(ValueError, match="columns must lie in"):
            factorization.inverse_columns([n])

    def test_inverse_of_a_singular_matrix_names_the_column(self):
        jac = pose_graph(np.random.default_rng(8))
        mask = np.zeros(jac.shape[1], dtype=bool)
        mask[10] = True
        jac.zero_columns(mask)
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        factorization.factorize(jac)
        with pytest.raises(np.linalg.LinAlgError, match="column 10 of J is not determined"):
            factorization.inverse_columns([0])


def test_a_graph_that_nothing_holds_has_no_inverse():
    for seed in range(10):
        jac = pose_graph(np.random.default_rng(seed), n_poses=5, n_loops=3, held=False)
        jac.values[0][:, :, 3:] = -jac.values[0][:, :, :3]  # only differences between poses are measured
        factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
        factorization.factorize(jac)
        with pytest.raises(np.linalg.LinAlgError, match="not determined"):
            factorization.inverse_columns(np.arange(jac.shape[1]))
        assert factorization.failed_column >= 0


@pytest.mark.parametrize(("sine", "is_refused"), [(1e-5, False), (1e-7, True)])
def test_columns_apart_by_rounding_have_no_inverse(sine, is_refused):
    jac = BlockPattern((BlockGroup(2, 0, np.array([[0]]), (2,)),), np.array([2])).zeros()
    jac.values[0][0] = [[1.0, 1.0], [0.0, sine]]
    factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
    factorization.factorize(jac)
    if is_refused:
        with pytest.raises(np.linalg.LinAlgError, match="not determined"):
            factorization.inverse_columns([0])
    else:
        assert factorization.inverse_columns([0])[0, 0] == pytest.approx(1.0 / sine**2, rel=1e-4)


def test_another_pattern_is_refused():
    with pytest.raises(TypeError, match="BlockPattern"):
        BlockCholesky().prepare((3, 3), SparsityPattern.from_dense(np.eye(3)))


def test_damping_of_the_wrong_length_is_refused():
    jac = pose_graph(np.random.default_rng(8))
    factorization = BlockCholesky().prepare(jac.shape, jac.pattern)
    factorization.factorize(jac)
    with pytest.raises(ValueError, match="damping_diag must have shape"):
        factorization.solve(np.ones(jac.shape[0]), np.ones(3), np.empty(jac.shape[1]))
