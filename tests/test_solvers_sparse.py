"""Sparse problems by every linear solver: choice and report, bounds, failures, a million parameters."""

import numpy as np
import pytest
from references.block_scenes import bundle_scene
from scipy.sparse import csr_array, diags_array, issparse

import nlsq
from nlsq import Dogbox, LeastSquaresProblem, LevenbergMarquardt, Nielsen, Status, TrustRegionReflective, solve
from nlsq.linalg import LSMR
from nlsq.linalg.sparse_cholesky import SparseCholesky


def broyden(x):
    r = (3.0 - x) * x + 1.0
    return r - np.concatenate([[0.0], x[:-1]]) - 2.0 * np.concatenate([x[1:], [0.0]])


def broyden_jac(x):
    ones = np.ones(x.size - 1)
    return csr_array(diags_array([-ones, 3.0 - 2.0 * x, -2.0 * ones], offsets=[-1, 0, 1]))


def bundle_sparsity(scene):
    """Return where the Jacobian of a bundle adjustment has entries."""
    rows = np.arange(2 * scene.camera_index.size)
    camera, point = np.repeat(scene.camera_index, 2), np.repeat(scene.point_index, 2)
    columns = [9 * camera + k for k in range(9)] + [scene.cameras.size + 3 * point + k for k in range(3)]
    where = (np.tile(rows, 12), np.concatenate(columns))
    return csr_array((np.ones(where[0].size), where), shape=(rows.size, scene.x0.size))


METHODS = {
    "lm": LevenbergMarquardt,
    "nielsen": lambda **options: LevenbergMarquardt(damping=Nielsen(), **options),
    "trf": TrustRegionReflective,
    "dogbox": Dogbox,
}


class TestChoice:
    def test_direct_by_default_and_told(self):
        x0 = -np.ones(200)
        for options in ({}, {"bounds": (-2.0, -0.65)}):
            result = solve(LeastSquaresProblem(broyden, x0, jac=broyden_jac, **options))
            assert result.converged
            assert result.linear_solver.startswith("Sparse Cholesky: its factor has")
            assert issparse(result.jac)
        assert result.active_mask.any()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", ["auto", "cholesky", "lsmr", "pcg"])
    def test_every_name(self, method, name):
        result = solve(
            LeastSquaresProblem(broyden, -np.ones(100), jac=broyden_jac), METHODS[method](linear_solver=name)
        )
        assert result.converged
        assert result.cost < 1e-18
        starts = {"auto": "Sparse Cholesky: ", "cholesky": "Sparse Cholesky", "lsmr": "LSMR", "pcg": "Conjugate"}
        assert result.linear_solver.startswith(starts[name])

    @pytest.mark.parametrize("linear_solver", [SparseCholesky(), SparseCholesky(ordering="natural"), LSMR()])
    def test_objects(self, linear_solver):
        for make in METHODS.values():
            problem = LeastSquaresProblem(broyden, -np.ones(50), jac=broyden_jac)
            result = solve(problem, make(linear_solver=linear_solver))
            assert result.converged
            assert result.cost < 1e-18

    def test_dense_problems_say_nothing(self):
        assert solve(LeastSquaresProblem(lambda x: x - 1.0, [0.0, 0.0])).linear_solver == ""

    def test_a_full_row_is_left_to_lsmr(self, monkeypatch):
        monkeypatch.setattr("nlsq.linalg.sparse_choice.LARGEST_FACTOR", 1000)
        n = 60
        matrix = csr_array(np.vstack([np.eye(n), np.ones((1, n))]))
        problem = LeastSquaresProblem(lambda x: matrix @ x - 1.0, np.zeros(n), sparsity=matrix)
        result = solve(problem)
        assert result.converged
        assert result.linear_solver.startswith("LSMR: ")
        np.testing.assert_allclose(matrix.T @ result.residual, 0.0, atol=1e-7)

    def test_traced(self):
        result = solve(LeastSquaresProblem(broyden, -np.ones(3000), sparsity="auto"))
        assert result.converged
        assert result.linear_solver.startswith("Sparse Cholesky")
        assert result.nfev_jac == 0


class TestSolutions:
    @pytest.mark.parametrize("method", ["lm", "trf"])
    @pytest.mark.parametrize("loss", ["linear", "huber"])
    def test_bundle_adjustment_as_dense(self, method, loss):
        """Seven directions of the scene are undetermined: the normal equations are singular."""
        scene = bundle_scene(0, cameras=3, points=12, outliers=0.1 if loss == "huber" else 0.0)
        dense = solve(LeastSquaresProblem(scene.residual, scene.x0, loss=loss), max_evaluations=100)
        problem = LeastSquaresProblem(scene.residual, scene.x0, sparsity=bundle_sparsity(scene), loss=loss)
        result = solve(problem, METHODS[method](), max_evaluations=100)
        assert result.cost <= dense.cost * (1.0 + 1e-4)

    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    def test_bounds_as_dense(self, method):
        x0, bounds = -np.ones(60), (-2.0, -0.65)
        dense = solve(LeastSquaresProblem(broyden, x0, jac=lambda x: broyden_jac(x).toarray(), bounds=bounds), method)
        result = solve(LeastSquaresProblem(broyden, x0, jac=broyden_jac, bounds=bounds), method)
        assert result.converged and dense.converged
        np.testing.assert_allclose(result.cost, dense.cost, rtol=1e-9)
        np.testing.assert_allclose(result.x, dense.x, atol=1e-6)
        assert (result.x >= -2.0).all() and (result.x <= -0.65).all()

    def test_pattern_that_grows(self):
        """A Jacobian that stores no zeros has another pattern at each point."""
        jac = lambda x: csr_array(np.where(np.abs(x[:, None]) > 0.5, np.eye(4), 0.0) + np.eye(4)[::-1])
        residual = lambda x: np.where(np.abs(x) > 0.5, x, 0.0) + x[::-1] - 2.0
        result = solve(LeastSquaresProblem(residual, np.zeros(4), jac=jac))
        assert result.status != Status.NONFINITE_JACOBIAN
        assert result.cost < 1e-16


class TestFailures:
    @pytest.mark.parametrize("method", METHODS)
    def test_columns_of_zeros(self, method):
        pattern = csr_array(np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
        problem = LeastSquaresProblem(lambda x: pattern @ x - 1.0, np.full(4, 3.0), jac=lambda x: pattern)
        result = solve(problem, METHODS[method]())
        assert result.converged
        np.testing.assert_array_equal(result.x[[1, 3]], 3.0)
        np.testing.assert_allclose(pattern.T @ result.residual, 0.0, atol=1e-8)

    @pytest.mark.parametrize("method", METHODS)
    def test_repeated_columns(self, method):
        pattern = csr_array(np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 1.0], [0.0, 0.0, 1.0]]))
        problem = LeastSquaresProblem(lambda x: pattern @ x - [1.0, 5.0, 3.0], np.zeros(3), jac=lambda x: pattern)
        result = solve(problem, METHODS[method]())
        assert result.converged
        np.testing.assert_allclose(result.residual, 0.0, atol=1e-7)
        assert np.abs(result.x).max() < 10.0

    @pytest.mark.parametrize("method", METHODS)
    def test_not_finite(self, method):
        problem = LeastSquaresProblem(broyden, -np.ones(9), jac=lambda x: broyden_jac(x) * np.nan)
        assert solve(problem, METHODS[method]()).status is Status.NONFINITE_JACOBIAN
        problem = LeastSquaresProblem(lambda x: broyden(x) * np.nan, -np.ones(9), jac=broyden_jac)
        assert solve(problem, METHODS[method]()).status is Status.NONFINITE_START

    def test_lost_digits_are_told(self):
        n = 30
        rng = np.random.default_rng(0)
        matrix = csr_array(np.vander(np.linspace(0.0, 1.0, 60), 12, increasing=True))
        data = matrix @ np.ones(12) + 1e-12 * rng.standard_normal(60)
        problem = LeastSquaresProblem(lambda x: matrix @ x - data, np.zeros(12), jac=lambda x: matrix)
        result = solve(problem, "trf")
        assert any("lost digits" in text or "digits" in text for text in result.fallbacks)
        assert result.cost < 1e-18 * n

    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_entries_outside_the_pattern_are_told_once(self, method):
        wrong = nlsq.SparsityPattern.from_dense(np.eye(9))
        problem = LeastSquaresProblem(broyden, -np.ones(9), jac=broyden_jac, sparsity=wrong)
        result = solve(problem, METHODS[method]())
        assert result.converged
        assert sum("outside its pattern" in text for text in result.fallbacks) == 1

    @pytest.mark.parametrize("name", ["schur", "magic"])
    def test_names_that_do_not_fit(self, name):
        problem = LeastSquaresProblem(broyden, -np.ones(9), jac=broyden_jac)
        with pytest.raises(ValueError, match="linear_solver"):
            solve(problem, LevenbergMarquardt(linear_solver=name))


def test_a_million_parameters():
    n = 1_000_000
    target = np.cos(np.arange(n))
    result = nlsq.solve(
        LeastSquaresProblem(
            lambda x: x + 0.1 * x * x - target,
            np.zeros(n),
            jac=lambda x: csr_array((1.0 + 0.2 * x, np.arange(n), np.arange(n + 1)), shape=(n, n)),
        )
    )
    assert result.converged
    assert np.abs(result.residual).max() < 1e-9


@pytest.mark.parametrize("method", ["gauss-newton", "gradient", "lm", "trf", "dogbox"])
def test_sparse_jacobians_of_traced_residuals_reach_dense_solvers_whole(method):
    def residual(u):
        return np.array([u[0] - 1.0, 10.0 * (u[1] - u[0] ** 2), u[2] - u[1]])

    problem = LeastSquaresProblem(residual, np.zeros(3), sparsity="auto")
    result = nlsq.solve(problem, method, max_evaluations=3000)
    jac = result.jac.toarray() if hasattr(result.jac, "toarray") else result.jac
    x = result.x
    np.testing.assert_allclose(jac, [[1, 0, 0], [-20 * x[0], 10, 0], [0, -1, 1]], rtol=1e-6, atol=1e-6)
    if method != "gradient":
        np.testing.assert_allclose(x, 1.0, rtol=1e-6)


def test_dense_methods_refuse_sparse_jacobians_that_are_too_large():
    def residual(u):
        return u - 1.0

    with pytest.raises(ValueError, match="would make the sparse Jacobian a dense one"):
        nlsq.solve(LeastSquaresProblem(residual, np.zeros(20_000), sparsity="auto"), "gauss-newton")


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_a_smooth_residual_of_a_stiff_equation_is_no_minimum(method):
    n = 3000
    h = 1.0 / (n + 1)
    truth = np.sin(np.pi * np.linspace(h, 1.0 - h, n))

    def left(u):
        padded = np.zeros(n + 2)
        padded[1:-1] = u
        return (2.0 * padded[1:-1] - padded[2:] - padded[:-2]) / h**2 + np.exp(u)

    right = left(truth)
    problem = LeastSquaresProblem(lambda u: left(u) - right, np.zeros(n), sparsity="auto")
    result = nlsq.solve(problem, method, tolerances=nlsq.Tolerances(optimality=1e-7))
    np.testing.assert_allclose(result.x, truth, atol=1e-5)
