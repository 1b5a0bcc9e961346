"""`least_squares` on sparse problems: SciPy's results by sparse factorisation."""

import numpy as np
import pytest
import scipy.optimize
from references.block_scenes import bundle_scene
from scipy.sparse import csr_array, csr_matrix, diags_array, issparse
from test_solvers_sparse import broyden, broyden_jac, bundle_sparsity

import nlsq
from nlsq.linalg.corrected import CorrectedFactorization

FIELDS = [
    "x",
    "cost",
    "fun",
    "jac",
    "grad",
    "optimality",
    "active_mask",
    "nfev",
    "njev",
    "status",
    "message",
    "success",
]


def chain(n=40, seed=0):
    """Return residuals that do not vanish, each of two neighbours, with outliers."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=2 * n - 1)
    data[::7] += 4.0
    residual = lambda x: np.concatenate([x + 0.2 * x**3, np.diff(x) * (1.0 + 0.1 * x[1:])]) - data
    pattern = diags_array([np.ones(n), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n))
    return residual, np.zeros(n), csr_array(np.vstack([np.eye(n), pattern.toarray()]))


@pytest.fixture
def solves(monkeypatch):
    """Count what sparse Cholesky solves."""
    counted = []
    original = CorrectedFactorization.solve
    monkeypatch.setattr(CorrectedFactorization, "solve", lambda *args: counted.append(1) or original(*args))
    return counted


class TestSameAsScipy:
    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    @pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1"])
    @pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-0.4, 0.9)], ids=["free", "bounded"])
    @pytest.mark.parametrize("x_scale", [1.0, "jac"])
    def test_chain(self, method, loss, bounds, x_scale, solves):
        residual, x0, pattern = chain()
        options = {"method": method, "loss": loss, "bounds": bounds, "x_scale": x_scale, "jac_sparsity": pattern}
        theirs = scipy.optimize.least_squares(residual, x0, **options)
        ours = nlsq.least_squares(residual, x0, **options)
        assert solves
        assert ours.success and theirs.success
        assert ours.cost <= theirs.cost * (1.0 + 1e-6)
        assert list(ours) == FIELDS
        assert issparse(ours.jac)
        if ours.cost > theirs.cost * (1.0 - 1e-4):  # else SciPy stopped at a step that a bound had cut
            np.testing.assert_allclose(ours.x, theirs.x, atol=1e-2 if loss == "huber" else 1e-3)
            assert ours.nfev <= 3 * theirs.nfev + 5

    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    @pytest.mark.parametrize("source", ["sparsity", "csr", "matrix"])
    def test_broyden(self, method, source, solves):
        x0 = -np.ones(300)
        how = {
            "sparsity": {"jac_sparsity": broyden_jac(x0)},
            "csr": {"jac": broyden_jac},
            "matrix": {"jac": lambda x: csr_matrix(broyden_jac(x))},
        }[source]
        theirs = scipy.optimize.least_squares(broyden, x0, method=method, **how)
        ours = nlsq.least_squares(broyden, x0, method=method, **how)
        assert solves
        assert ours.success
        assert ours.status in (1, 2, 3, 4)
        assert ours.cost < 1e-20
        np.testing.assert_allclose(ours.x, theirs.x, atol=1e-8)

    def test_bundle_adjustment(self, solves):
        """Seven directions are undetermined."""
        scene = bundle_scene(1, cameras=3, points=12)
        options = {"jac_sparsity": bundle_sparsity(scene), "x_scale": "jac", "max_nfev": 100}
        theirs = scipy.optimize.least_squares(scene.residual, scene.x0, **options)
        ours = nlsq.least_squares(scene.residual, scene.x0, **options)
        assert solves
        assert ours.cost <= theirs.cost * (1.0 + 1e-3)


class TestOptions:
    def test_lsmr_is_kept(self, solves):
        x0 = -np.ones(50)
        for options in (
            {"tr_solver": "lsmr"},
            {"tr_solver": "lsmr", "tr_options": {"regularize": False}},
            {"tr_options": {"atol": 1e-3}},
        ):
            result = nlsq.least_squares(broyden, x0, jac_sparsity=broyden_jac(x0), **options)
            assert result.success
            assert not solves

    def test_regularize_is_accepted(self, solves):
        x0 = -np.ones(50)
        result = nlsq.least_squares(broyden, x0, jac_sparsity=broyden_jac(x0), tr_options={"regularize": False})
        assert result.success
        assert solves

    def test_exact_stays_dense(self):
        x0 = -np.ones(20)
        with pytest.raises(ValueError, match="tr_solver='exact' is incompatible with `jac_sparsity`"):
            nlsq.least_squares(broyden, x0, jac_sparsity=broyden_jac(x0), tr_solver="exact")
        with pytest.raises(ValueError, match="tr_solver='exact' works only with dense"):
            nlsq.least_squares(broyden, x0, jac=broyden_jac, tr_solver="exact")

    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    def test_limit_and_callback(self, method):
        x0 = -np.ones(50)
        short = nlsq.least_squares(broyden, x0, jac_sparsity=broyden_jac(x0), method=method, max_nfev=2)
        assert (short.status, short.nfev, short.success) == (0, 2, False)
        seen = []
        stopped = nlsq.least_squares(
            broyden,
            x0,
            jac_sparsity=broyden_jac(x0),
            method=method,
            callback=lambda intermediate_result: seen.append(intermediate_result.cost) or _stop(len(seen) == 2),
        )
        assert stopped.status == -2
        assert len(seen) == 2


def _stop(now):
    if now:
        raise StopIteration
