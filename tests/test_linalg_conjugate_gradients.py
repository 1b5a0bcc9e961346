"""Conjugate gradients and their preconditioners, against dense linear algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

from nlsq.block_jacobian import BlockGroup, BlockPattern
from nlsq.linalg.conjugate_gradients import ConjugateGradients
from nlsq.linalg.linear_solver import LinearStatus
from nlsq.linalg.preconditioner import BlockJacobi, Jacobi
from tests.references.block_patterns import block_jacobians, random_jacobian
from tests.references.damped import shortest_step

EXACT = {"tolerance": 1e-13, "model_tolerance": 0.0}


def pose_graph(rng, n_poses=30, n_loops=25, width=3):
    """Return the Jacobian of a chain of poses with loops; the first pose is held."""
    chain = np.stack([np.arange(n_poses - 1), np.arange(1, n_poses)], axis=1)
    loops = np.array([rng.choice(n_poses, 2, replace=False) for _ in range(n_loops)])
    columns = np.concatenate([chain, loops]).astype(np.int64) - 1
    group = BlockGroup(width, 0, columns, (width, width))
    return random_jacobian(rng, BlockPattern((group,), np.full(n_poses - 1, width)))


def solve(solver, jac, r, damping, pattern=None):
    factorization = solver.prepare(jac.shape, pattern)
    assert factorization.factorize(jac) is LinearStatus.SOLVED
    step = np.full(jac.shape[1], np.nan)
    return step, factorization.solve(r, damping, step), factorization


def decrease(matrix, r, damping, step):
    """Return by how much the model falls."""
    return -(r @ (matrix @ step)) - 0.5 * (np.sum((matrix @ step) ** 2) + damping @ step**2)


class TestSteps:
    @given(drawn=block_jacobians(), preconditioner=st.sampled_from(["block-jacobi", "jacobi"]))
    def test_against_dense_least_squares(self, drawn, preconditioner):
        rng, jac = drawn
        m, n = jac.shape
        r, damping = rng.standard_normal(m), rng.uniform(0.1, 2.0, n)
        solver = ConjugateGradients(preconditioner=preconditioner, **EXACT)
        step, status, _ = solve(solver, jac, r, damping, jac.pattern)
        assert status is LinearStatus.SOLVED
        np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("make", [lambda a: a, csr_array, lambda a: aslinearoperator(csr_array(a))])
    def test_without_blocks(self, make):
        rng = np.random.default_rng(0)
        matrix = rng.standard_normal((40, 15)) * (rng.random((40, 15)) < 0.3) * 10.0 ** rng.uniform(-3, 3, 15)
        r, damping = rng.standard_normal(40), 0.1 * (matrix**2).sum(axis=0) + 1e-9
        step, status, _ = solve(ConjugateGradients(**EXACT), make(matrix), r, damping)
        assert status is LinearStatus.SOLVED
        np.testing.assert_allclose(step, shortest_step(matrix, r, damping), rtol=1e-7, atol=1e-9)

    def test_columns_of_zeros_do_not_move(self):
        rng = np.random.default_rng(1)
        jac = pose_graph(rng)
        mask = np.zeros(jac.shape[1], dtype=bool)
        mask[[4, 30, 31, 32]] = True
        jac.zero_columns(mask)
        r = rng.standard_normal(jac.shape[0])
        for damping in (np.zeros(jac.shape[1]), np.full(jac.shape[1], 0.1)):
            step, status, factorization = solve(ConjugateGradients(**EXACT), jac, r, damping, jac.pattern)
            assert status is LinearStatus.SOLVED
            assert factorization.failed_column == -1
            assert not step[mask].any()
            np.testing.assert_allclose(step, shortest_step(jac.toarray(), r, damping), rtol=1e-6, atol=1e-8)

    def test_no_gradient_no_step(self):
        jac = pose_graph(np.random.default_rng(1))
        step, status, factorization = solve(
            ConjugateGradients(), jac, np.zeros(jac.shape[0]), np.ones(jac.shape[1]), jac.pattern
        )
        assert status is LinearStatus.SOLVED
        assert not step.any()
        assert factorization.iterations == 0


class TestInexact:
    def test_the_limit_leaves_a_step_that_goes_down(self):
        rng = np.random.default_rng(2)
        jac = pose_graph(rng)
        r, damping = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 1e-6)
        matrix, last = jac.toarray(), 0.0
        for limit in range(1, 8):
            solver = ConjugateGradients(**EXACT, max_iterations=limit)
            step, status, factorization = solve(solver, jac, r, damping, jac.pattern)
            assert status is LinearStatus.NOT_CONVERGED
            assert factorization.iterations == limit
            reached = decrease(matrix, r, damping, step)
            assert reached > last
            last = reached

    def test_stops_at_the_share_of_the_gradient(self):
        rng = np.random.default_rng(3)
        jac = pose_graph(rng)
        r, damping = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 1e-6)
        matrix, spent = jac.toarray(), []
        length = np.sqrt((matrix**2).sum(axis=0) + damping)
        for tolerance in (1e-1, 1e-3, 1e-6):
            solver = ConjugateGradients(preconditioner="jacobi", tolerance=tolerance, model_tolerance=0.0)
            step, status, factorization = solve(solver, jac, r, damping, jac.pattern)
            assert status is LinearStatus.SOLVED
            spent.append(factorization.iterations)
            left = matrix.T @ (matrix @ step + r) + damping * step
            assert np.linalg.norm(left / length) <= 1.001 * tolerance * np.linalg.norm(matrix.T @ r / length)
        assert spent == sorted(set(spent))

    def test_stops_where_the_model_hardly_falls(self):
        rng = np.random.default_rng(4)
        jac = pose_graph(rng)
        r, damping = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 1e-3)
        matrix = jac.toarray()
        best = decrease(matrix, r, damping, shortest_step(matrix, r, damping))
        falls = [0.0]
        for limit in range(1, 60):
            step, _, _ = solve(ConjugateGradients(**EXACT, max_iterations=limit), jac, r, damping, jac.pattern)
            falls.append(decrease(matrix, r, damping, step))
        stop = next(k for k in range(1, 60) if k * (falls[k] - falls[k - 1]) <= 1e-2 * falls[k])
        step, status, factorization = solve(
            ConjugateGradients(tolerance=0.0, model_tolerance=1e-2), jac, r, damping, jac.pattern
        )
        assert status is LinearStatus.SOLVED
        assert factorization.iterations == stop
        assert 0.95 * best < decrease(matrix, r, damping, step) <= best * (1 + 1e-12)


class TestFailures:
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("preconditioner", ["block-jacobi", "jacobi"])
    def test_jacobian_not_finite(self, bad, preconditioner):
        jac = pose_graph(np.random.default_rng(5))
        jac.values[0][5, 1, 4] = bad
        factorization = ConjugateGradients(preconditioner=preconditioner).prepare(jac.shape, jac.pattern)
        assert factorization.factorize(jac) is LinearStatus.NONFINITE
        assert factorization.failed_column == jac.pattern.offsets[jac.pattern.groups[0].columns[5, 1]] + 1

    def test_residual_not_finite(self):
        jac = pose_graph(np.random.default_rng(5))
        r = np.ones(jac.shape[0])
        r[11] = np.nan
        step, status, _ = solve(ConjugateGradients(), jac, r, np.ones(jac.shape[1]), jac.pattern)
        assert status is LinearStatus.NONFINITE
        assert np.isnan(step).all()

    def test_another_shape_is_refused(self):
        jac = pose_graph(np.random.default_rng(5))
        factorization = ConjugateGradients().prepare((jac.shape[0], 3), None)
        with pytest.raises(ValueError, match="prepared was"):
            factorization.factorize(jac)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"tolerance": 1.0}, "tolerance must be in"),
            ({"model_tolerance": -0.1}, "model_tolerance must be in"),
            ({"max_iterations": 0}, "max_iterations must be at least 1"),
            ({"preconditioner": "ilu"}, "preconditioner must be"),
        ],
    )
    def test_bad_options(self, options, text):
        with pytest.raises(ValueError, match=text):
            ConjugateGradients(**options)


class TestPreconditioners:
    @given(drawn=block_jacobians())
    def test_block_jacobi_inverts_the_diagonal_blocks(self, drawn):
        rng, jac = drawn
        n, pattern = jac.shape[1], jac.pattern
        damping, vector, out = rng.uniform(0.1, 1.0, n), rng.standard_normal(n), np.full(n, np.nan)
        preconditioner = BlockJacobi(pattern)
        assert preconditioner.take(jac) == -1
        preconditioner.damp(damping)
        preconditioner.apply(vector, out)
        normal = jac.toarray().T @ jac.toarray() + np.diag(damping)
        block_of = np.repeat(np.arange(pattern.widths.size), pattern.widths)
        expected = np.linalg.solve(np.where(block_of[:, None] == block_of, normal, 0.0), vector)
        np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-11)

    def test_singular_blocks_give_a_definite_preconditioner(self):
        columns = np.array([[0], [0]])
        jac = BlockPattern((BlockGroup(1, 0, columns, (3,)),), np.array([3, 2])).zeros()
        jac.values[0][...] = [[[1.0, 2.0, 0.0]], [[2.0, 4.0, 0.0]]]
        preconditioner = BlockJacobi(jac.pattern)
        preconditioner.take(jac)
        preconditioner.damp(np.zeros(5))
        inverse = np.empty((5, 5))
        for j in range(5):
            preconditioner.apply(np.eye(5)[j], inverse[j])
        np.testing.assert_allclose(inverse, inverse.T, rtol=1e-12)
        assert np.linalg.eigvalsh(inverse).min() > 0.0

    def test_fewer_iterations_with_blocks(self):
        rng = np.random.default_rng(7)
        jac = pose_graph(rng, width=6)
        jac.values[0][...] += (
            3.0 * rng.standard_normal((6, 1)) * rng.standard_normal(12)
        )  # columns of a block near parallel
        r, damping = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 1e-3)
        spent = [
            solve(ConjugateGradients(preconditioner=kind, **EXACT), jac, r, damping, jac.pattern)[2].iterations
            for kind in ("block-jacobi", "jacobi")
        ]
        assert spent[0] < spent[1]

    def test_of_an_operator_only_the_damping_is_known(self):
        operator = aslinearoperator(np.diag([1.0, 2.0]))
        preconditioner, out = Jacobi(2), np.empty(2)
        assert preconditioner.take(operator) == -1
        for damping, expected in (([4.0, 5.0], [1.0, 1.0]), ([0.0, 5.0], [4.0, 5.0])):
            preconditioner.damp(np.array(damping))
            preconditioner.apply(np.array([4.0, 5.0]), out)
            np.testing.assert_array_equal(out, expected)
