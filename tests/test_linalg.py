"""Every linear solver against numpy's least squares on the stacked matrix, through the seam."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlsq.kernels.quadratic_model import EPS, PIVOT_LIMIT
from nlsq.linalg import LSMR, QR, SVD, Automatic, Cholesky, LinearStatus
from nlsq.linalg.lsmr import column_norms, products

EXACT = [Cholesky(), Automatic(), QR(), SVD(), LSMR(tolerance=1e-14)]
ROBUST = [Automatic(), QR(), SVD()]
name = lambda solver: type(solver).__name__  # an id


def stacked(jac, r, damping_diag):
    """Return [J; diag(d)^(1/2)] and [r; 0]."""
    n = jac.shape[1]
    return np.vstack([jac, np.diag(np.sqrt(damping_diag))]), np.concatenate([r, np.zeros(n)])


def reference(jac, r, damping_diag):
    matrix, rhs = stacked(jac, r, damping_diag)
    return -np.linalg.lstsq(matrix, rhs, rcond=None)[0]


def solve(solver, jac, r, damping_diag):
    factorization = solver.prepare(jac.shape)
    assert factorization.factorize(jac).usable
    step = np.full(jac.shape[1], np.nan)
    status = factorization.solve(r, damping_diag, step)
    return step, status


def gradient_left(jac, r, damping_diag, step):
    """Return |B'(B p + b)| / (|B|^2 |p| + |B| |b|), 0 at the minimum."""
    matrix, rhs = stacked(jac, r, damping_diag)
    size = np.linalg.norm(matrix)
    scale = size * (size * np.linalg.norm(step) + np.linalg.norm(rhs))
    return np.linalg.norm(matrix.T @ (matrix @ step + rhs)) / scale if scale else 0.0


@st.composite
def problems(draw, damped=None, wide=True):
    """Return J, r and a damping diagonal; singular values and column scales spread at will."""
    n = draw(st.integers(1, 7))
    m = draw(st.integers(1 if wide else n, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    jac = rng.standard_normal((m, n))
    r = rng.standard_normal(m) * 10.0 ** draw(st.integers(-6, 6))
    kind = draw(st.sampled_from(["none", "equal", "own"]) if damped is None else st.just(damped))
    damping = {"none": np.zeros(n), "equal": np.full(n, 0.3), "own": rng.uniform(1e-3, 10.0, n)}[kind]
    if m < n and kind == "none":
        damping = np.full(n, 0.1)
    return jac, r, damping


class TestAgainstNumpy:
    @pytest.mark.parametrize("solver", EXACT, ids=name)
    @given(problem=problems())
    def test_well_conditioned(self, solver, problem):
        jac, r, damping = problem
        if np.linalg.cond(stacked(jac, r, damping)[0]) > 1e4:
            return
        step, status = solve(solver, jac, r, damping)
        assert status is LinearStatus.SOLVED
        expected = reference(jac, r, damping)
        np.testing.assert_allclose(step, expected, rtol=0, atol=1e-7 * np.linalg.norm(expected))

    @pytest.mark.parametrize("solver", ROBUST, ids=name)
    @given(problem=problems(wide=False, damped="none"), decades=st.floats(0, 13))
    def test_ill_conditioned(self, solver, problem, decades):
        jac, r, damping = problem
        u, s, vt = np.linalg.svd(jac, full_matrices=False)
        jac = (u * np.logspace(0, -decades, s.size)) @ vt
        step, status = solve(solver, jac, r, damping)
        assert status in (LinearStatus.SOLVED, LinearStatus.HANDED_OVER)
        assert gradient_left(jac, r, damping, step) < 1e-12
        best = np.linalg.norm(jac @ reference(jac, r, damping) + r)
        rounding = 1e-14 * np.linalg.norm(jac) * np.linalg.norm(step)
        by_normal_equations = status is LinearStatus.SOLVED and isinstance(solver, Automatic)
        digits = 200.0 * EPS / PIVOT_LIMIT if by_normal_equations else 1e-7  # the pivot has lost eps / PIVOT_LIMIT
        assert np.linalg.norm(jac @ step + r) <= best + digits * np.linalg.norm(r) + rounding

    @pytest.mark.parametrize("solver", [*ROBUST, LSMR(tolerance=1e-14)], ids=name)
    @given(problem=problems(wide=False), columns=st.integers(0, 6))
    def test_rank_deficient(self, solver, problem, columns):
        jac, r, damping = problem
        j = columns % jac.shape[1]
        jac[:, j] = 2.0 * jac[:, (j + 1) % jac.shape[1]] if jac.shape[1] > 1 else 0.0
        step, status = solve(solver, jac, r, damping)
        assert np.isfinite(step).all()
        assert gradient_left(jac, r, damping, step) < 1e-8
        if not damping.any() and not isinstance(solver, LSMR):
            assert status is LinearStatus.RANK_DEFICIENT
        if isinstance(solver, SVD):
            expected = reference(jac, r, damping)  # the shortest, as numpy's
            np.testing.assert_allclose(step, expected, rtol=0, atol=1e-6 * np.linalg.norm(expected) + 1e-300)

    @pytest.mark.parametrize("solver", EXACT, ids=name)
    @given(problem=problems(damped="own"), exponents=st.lists(st.integers(-8, 8), min_size=7, max_size=7))
    def test_equivariant_under_column_scaling(self, solver, problem, exponents):
        jac, r, damping = problem
        if np.linalg.cond(stacked(jac, r, damping)[0]) > 1e3:
            return
        scale = 2.0 ** (3 * np.array(exponents[: damping.size], dtype=float))
        plain, _ = solve(solver, jac, r, damping)
        scaled, status = solve(solver, jac * scale, r, damping * scale**2)
        if isinstance(solver, SVD):  # truncates by size: equal scales only
            return
        assert status is LinearStatus.SOLVED
        np.testing.assert_allclose(scaled * scale, plain, rtol=0, atol=1e-6 * np.linalg.norm(plain))

    @pytest.mark.parametrize("solver", EXACT, ids=name)
    def test_one_factorisation_serves_many_residuals_and_dampings(self, solver):
        rng = np.random.default_rng(3)
        jac = rng.standard_normal((20, 5))
        factorization = solver.prepare(jac.shape)
        factorization.factorize(jac)
        step = np.empty(5)
        for _ in range(4):
            r, damping = rng.standard_normal(20), rng.uniform(0.0, 3.0, 5)
            assert factorization.solve(r, damping, step) is LinearStatus.SOLVED
            np.testing.assert_allclose(step, reference(jac, r, damping), rtol=1e-8)
        jac = rng.standard_normal((20, 5))
        factorization.factorize(jac)
        factorization.solve(r, damping, step)
        np.testing.assert_allclose(step, reference(jac, r, damping), rtol=1e-8)

    def test_large_enough_for_blas(self):
        rng = np.random.default_rng(4)
        jac, r, damping = rng.standard_normal((90, 40)), rng.standard_normal(90), rng.uniform(0.0, 1.0, 40)
        for solver in EXACT:
            step, _ = solve(solver, jac, r, damping)
            np.testing.assert_allclose(step, reference(jac, r, damping), rtol=1e-6, atol=1e-9)


class TestHandover:
    """Cholesky says what it lost, Automatic does something about it."""

    def vandermonde(self):
        x = np.linspace(0, 1, 30)
        return x[:, np.newaxis] ** np.arange(12), np.cos(3 * x)

    def test_status_and_count(self):
        jac, r = self.vandermonde()
        factorization = Automatic().prepare(jac.shape)
        factorization.factorize(jac)
        step = np.empty(12)
        assert factorization.solve(r, np.zeros(12), step) is LinearStatus.HANDED_OVER
        assert factorization.handovers == 1
        assert factorization.solve(r, np.full(12, 0.1), step) is LinearStatus.SOLVED  # damping saves the pivots
        assert factorization.handovers == 1
        np.testing.assert_allclose(step, reference(jac, r, np.full(12, 0.1)), rtol=1e-9)

    def test_cholesky_alone_reports(self):
        jac, r = self.vandermonde()
        assert solve(Cholesky(), jac, r, np.zeros(12))[1] in (LinearStatus.ILL_CONDITIONED, LinearStatus.NOT_DEFINITE)
        jac[:, 1] = jac[:, 0]
        _, status = solve(Cholesky(), jac, r, np.zeros(12))
        assert not status.usable or status is LinearStatus.ILL_CONDITIONED

    def test_not_definite_leaves_the_step_alone(self):
        step, status = solve(Cholesky(), np.zeros((3, 2)), np.ones(3), np.zeros(2))
        assert status is LinearStatus.NOT_DEFINITE
        assert not status.usable
        assert np.isnan(step).all()

    def test_partly_damped_and_deficient(self):
        jac = np.ones((6, 3))
        jac[:, 2] = np.arange(6)
        r, damping = np.arange(6.0) ** 2, np.array([0.0, 0.0, 2.0])
        step, status = solve(QR(), jac, r, damping)
        assert status is LinearStatus.RANK_DEFICIENT
        assert gradient_left(jac, r, damping, step) < 1e-13

    def test_every_status_has_a_message(self):
        assert all(status.message.endswith(".") for status in LinearStatus)


class TestKindsOfJacobian:
    def test_sparse_and_operator(self):
        sparse = pytest.importorskip("scipy.sparse")
        from scipy.sparse.linalg import aslinearoperator

        rng = np.random.default_rng(5)
        jac = sparse.csr_array(rng.standard_normal((60, 20)) * (rng.random((60, 20)) < 0.2) + np.eye(60, 20))
        r, damping = rng.standard_normal(60), rng.uniform(0.1, 1.0, 20)
        expected = reference(jac.toarray(), r, damping)
        for kind in (jac, jac.tocsc(), aslinearoperator(jac), jac.toarray()):
            step, status = solve(LSMR(tolerance=1e-13), kind, r, damping)
            assert status is LinearStatus.SOLVED
            np.testing.assert_allclose(step, expected, rtol=1e-8)
        step, _ = solve(QR(), jac, r, damping)
        np.testing.assert_allclose(step, expected, rtol=1e-10)
        with pytest.raises(TypeError, match="use LSMR"):
            QR().prepare((60, 20)).factorize(aslinearoperator(jac))

    def test_products_and_norms(self):
        from scipy.sparse import csr_array
        from scipy.sparse.linalg import aslinearoperator

        jac = np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 0.0]])
        for kind in (jac, csr_array(jac), aslinearoperator(jac)):
            product, transposed = products(kind)
            np.testing.assert_array_equal(product(np.array([1.0, 2.0])), [1.0, 8.0, 0.0])
            np.testing.assert_array_equal(transposed(np.array([1.0, 2.0, 5.0])), [5.0, 6.0])
        np.testing.assert_allclose(column_norms(csr_array(jac)), np.linalg.norm(jac, axis=0))
        assert column_norms(aslinearoperator(jac)) is None

    def test_lsmr_limit_is_reported(self):
        rng = np.random.default_rng(6)
        jac = rng.standard_normal((40, 30)) * np.logspace(0, -4, 40)[:, np.newaxis]
        step, status = solve(LSMR(max_iterations=2), jac, rng.standard_normal(40), np.zeros(30))
        assert status is LinearStatus.NOT_CONVERGED
        assert np.isfinite(step).all()

    def test_lsmr_goes_on_where_the_cosine_is_small(self):
        """SciPy's own test would stop at once: the residual is orthogonal to J up to 1e-9."""
        rng = np.random.default_rng(7)
        q, _ = np.linalg.qr(rng.standard_normal((50, 11)))
        jac, r = q[:, :10] * np.logspace(0, 2, 10), q[:, 10] + 1e-9 * q[:, :10].sum(axis=1)
        step, _ = solve(LSMR(tolerance=1e-10), jac, r, np.zeros(10))
        np.testing.assert_allclose(step, -1e-9 / np.logspace(0, 2, 10), rtol=1e-5)

    @pytest.mark.parametrize("solver", EXACT, ids=name)
    def test_not_finite(self, solver):
        jac = np.ones((4, 2))
        jac[1, 1] = np.nan
        with np.errstate(all="ignore"):
            assert solver.prepare((4, 2)).factorize(jac) is LinearStatus.NONFINITE

    @pytest.mark.parametrize("solver", EXACT, ids=name)
    def test_wrong_shape(self, solver):
        with pytest.raises(ValueError, match="shape"):
            solver.prepare((4, 2)).factorize(np.ones((2, 4)))

    def test_zero_residual_and_zero_gradient(self):
        for solver in EXACT:
            step, status = solve(solver, np.eye(3, 2), np.array([0.0, 0.0, 1.0]), np.zeros(2))
            assert status is LinearStatus.SOLVED
            np.testing.assert_array_equal(np.abs(step), 0.0)

    def test_options_are_checked(self):
        with pytest.raises(ValueError, match="rcond"):
            SVD(rcond=2.0)
        with pytest.raises(ValueError, match="tolerance"):
            LSMR(tolerance=-1.0)
