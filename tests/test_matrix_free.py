"""Solves without a matrix: sparse Jacobians, operators and linear solvers of the user's choice."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.sparse import csr_array, diags_array, issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference
from nlsq.linalg import LSMR, QR, SVD, Automatic, Cholesky, LinearStatus
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers import Dogbox, LevenbergMarquardt, MoreRadius, Nielsen, Tolerances, TrustRegionReflective, solve
from nlsq.solvers.subspace import minimise_in_disc, orthonormalise
from nlsq.status import Status

SCIPY = Tolerances(cost=1e-8, step=1e-8, optimality=1e-8, rule="scipy")
LOSSES = [
    "linear",
    "huber",
    "soft_l1",
    "cauchy",
    "arctan",
    lambda z: np.array([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2]),
]


class Broyden:
    """Broyden's tridiagonal function, r_i = (3 - x_i) x_i + 1 - x_{i-1} - 2 x_{i+1}."""

    def __init__(self, n):
        self.n, self.x0 = n, -np.ones(n)

    def residual(self, x):
        r = (3 - x) * x + 1
        r[1:] -= x[:-1]
        r[:-1] -= 2 * x[1:]
        return r

    def jac(self, x):
        ones = np.ones(self.n - 1)
        return csr_array(diags_array([-ones, 3 - 2 * x, -2 * ones], offsets=[-1, 0, 1]))

    def sources(self):
        return {
            "csr": {"jac": self.jac},
            "operator": {"jac": lambda x: aslinearoperator(self.jac(x))},
            "forward": {"jac": ForwardDifference(), "sparsity": self.jac(self.x0)},
            "central": {"jac": CentralDifference(), "sparsity": self.jac(self.x0)},
            "complex": {"jac": ComplexStep(), "sparsity": self.jac(self.x0)},
        }


def noisy_cubics(n=25, seed=0):
    """Return residuals that do not vanish, with outliers, and their sparse Jacobian."""
    rng = np.random.default_rng(seed)
    matrix = np.kron(np.ones((3, 1)), np.eye(n)) + rng.standard_normal((3 * n, n)) * (rng.random((3 * n, n)) < 0.1)
    truth = rng.uniform(-0.5, 0.5, n)
    data = matrix @ (truth + 0.3 * truth**3) + 0.05 * rng.standard_normal(3 * n)
    data[::17] += 3.0
    return (
        lambda x: matrix @ (x + 0.3 * x**3) - data,
        lambda x: csr_array(matrix * (1.0 + 0.9 * x**2)),
        np.zeros(n),
    )


class TestBroyden:
    @pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
    @pytest.mark.parametrize("source", ["csr", "operator", "forward", "central", "complex"])
    @pytest.mark.parametrize("rule", [SCIPY, Tolerances()], ids=["scipy", "native"])
    def test_finds_scipys_solution(self, method, source, rule):
        case = Broyden(100)
        expected = least_squares(case.residual, case.x0, jac=case.jac, tr_solver="lsmr").x
        result = solve(
            LeastSquaresProblem(case.residual, case.x0, scale=1.0, **case.sources()[source]), method, tolerances=rule
        )
        assert result.converged
        assert result.nfev <= 15
        np.testing.assert_allclose(result.x, expected, atol=1e-9)
        assert isinstance(result.jac, LinearOperator) if source == "operator" else issparse(result.jac)

    @pytest.mark.parametrize("n", [1000, 10000])
    @pytest.mark.parametrize("source", ["csr", "operator", "forward"])
    def test_large(self, n, source):
        case = Broyden(n)
        problem = LeastSquaresProblem(case.residual, case.x0, scale=1.0, bounds=(-2.0, -0.4), **case.sources()[source])
        for method in ("trf", "dogbox"):
            result = solve(problem, method, tolerances=SCIPY)
            assert result.converged
            assert result.cost < 1e-16
            assert result.nfev <= 15

    def test_coloured_differences_are_counted(self):
        case = Broyden(60)
        result = solve(
            LeastSquaresProblem(case.residual, case.x0, **case.sources()["forward"]), "trf", tolerances=SCIPY
        )
        assert result.nfev_jac == 3 * result.njev + 1  # one to check the pattern

    def test_the_first_jacobian_is_evaluated_once(self):
        case = Broyden(20)
        for kind in (case.jac, lambda x: case.jac(x).toarray()):
            points = []
            jac = lambda x, points=points, kind=kind: (points.append(x.copy()), kind(x))[1]
            result = solve(LeastSquaresProblem(case.residual, case.x0, jac=jac), "trf")
            assert len(points) == result.njev
            np.testing.assert_array_equal(points[0], case.x0)
            assert not np.array_equal(points[1], case.x0)


class TestBounds:
    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    @pytest.mark.parametrize("source", ["csr", "operator", "forward"])
    def test_active_at_the_solution(self, method, source):
        case = Broyden(60)
        bounds = (-2.0, -0.65)
        expected = least_squares(
            case.residual,
            case.x0,
            jac=lambda x: case.jac(x).toarray(),
            bounds=bounds,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-12,
        )
        problem = LeastSquaresProblem(case.residual, case.x0, scale=1.0, bounds=bounds, **case.sources()[source])
        result = solve(problem, method)
        assert result.converged
        assert result.cost <= expected.cost * (1 + 1e-9)
        np.testing.assert_allclose(result.x, expected.x, atol=1e-5)
        assert (result.x >= -2.0).all() and (result.x <= -0.65).all()
        if method == "dogbox":
            assert result.active_mask[-1] == 1
            assert result.multipliers.upper[-1] > 0.0

    @pytest.mark.parametrize("method", ["trf", "dogbox"])
    def test_every_evaluation_is_inside(self, method):
        case = Broyden(30)

        def residual(x):
            assert (x >= -1.2).all() and (x <= -0.6).all()
            return case.residual(x)

        for name in ("csr", "operator", "forward", "central"):
            source = case.sources()[name]
            assert solve(
                LeastSquaresProblem(residual, case.x0, scale=1.0, bounds=(-1.2, -0.6), **source), method
            ).converged

    def test_fixed_parameters(self):
        case = Broyden(10)
        lower, upper = np.full(10, -3.0), np.full(10, 3.0)
        lower[4] = upper[4] = -1.0
        for method in ("trf", "dogbox"):
            result = solve(LeastSquaresProblem(case.residual, case.x0, jac=case.jac, bounds=(lower, upper)), method)
            assert result.converged
            assert result.x[4] == -1.0


class TestSameAsDense:
    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss if isinstance(loss, str) else "user")
    @pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
    def test_losses(self, loss, method):
        residual, jac, x0 = noisy_cubics()
        dense = solve(
            LeastSquaresProblem(residual, x0, jac=lambda x: jac(x).toarray(), loss=loss, loss_scale=0.3), method
        )
        for kind, scale in ((jac, "jac"), (lambda x: aslinearoperator(jac(x)), 1.0)):
            result = solve(LeastSquaresProblem(residual, x0, jac=kind, loss=loss, loss_scale=0.3, scale=scale), method)
            assert result.converged and dense.converged
            np.testing.assert_allclose(np.abs(result.gradient).max(), 0.0, atol=1e-4)
            if loss == "arctan" and method == "dogbox":  # not convex: another minimum
                continue
            np.testing.assert_allclose(result.cost, dense.cost, rtol=1e-8)
            rows = result.jac @ np.eye(x0.size) if isinstance(result.jac, LinearOperator) else result.jac.toarray()
            np.testing.assert_allclose(rows, dense.jac, atol=1e-3 * np.abs(dense.jac).max())

    @pytest.mark.parametrize("damping", [MoreRadius(), Nielsen()], ids=["radius", "nielsen"])
    @pytest.mark.parametrize(
        "linear_solver", [Automatic(), QR(), LSMR(tolerance=1e-13)], ids=lambda s: type(s).__name__
    )
    def test_levenberg_marquardt_takes_the_same_path(self, damping, linear_solver):
        rosenbrock = lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
        jac = lambda x: np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])
        runs = [
            solve(
                LeastSquaresProblem(rosenbrock, [-1.2, 1.0], jac=jac),
                LevenbergMarquardt(linear_solver=one, damping=damping),
                history=True,
                max_evaluations=8,
            )
            for one in ("auto", linear_solver)
        ]
        costs = [[report.cost for report in run.history] for run in runs]
        tolerance = 1e-6 if isinstance(damping, Nielsen) else 0.5  # the radius is met to a tenth, from another side
        np.testing.assert_allclose(costs[0][:4], costs[1][:4], rtol=tolerance)

    def test_dense_with_lsmr(self):
        residual, jac, x0 = noisy_cubics()
        problem = LeastSquaresProblem(residual, x0, jac=lambda x: jac(x).toarray())
        expected = solve(problem, "trf")
        for solver in (
            TrustRegionReflective(linear_solver="lsmr"),
            Dogbox(linear_solver="lsmr"),
            LevenbergMarquardt(linear_solver="lsmr"),
        ):
            result = solve(problem, solver)
            assert result.converged
            assert isinstance(result.jac, np.ndarray)
            np.testing.assert_allclose(result.x, expected.x, atol=1e-6)

    def test_sparse_with_a_dense_solver(self):
        case = Broyden(12)
        for source in ("csr", "forward"):
            for solver in (TrustRegionReflective(linear_solver="qr"), LevenbergMarquardt(linear_solver="qr")):
                result = solve(LeastSquaresProblem(case.residual, case.x0, **case.sources()[source]), solver)
                assert result.converged
                assert isinstance(result.jac, np.ndarray)


class FakeLinearSolver:
    """Remembers what it is handed and answers with QR."""

    def __init__(self):
        self.calls = []

    def prepare(self, shape, pattern=None):
        self.shape = shape
        self.inner = QR().prepare(shape)
        return self

    def factorize(self, jac):
        self.jac = np.array(jac)
        return self.inner.factorize(jac)

    def solve(self, r, damping_diag, step_out):
        status = self.inner.solve(r, damping_diag, step_out)
        self.calls.append((self.jac, r.copy(), damping_diag.copy(), step_out.copy()))
        return status


class TestSeam:
    """Levenberg-Marquardt with a fake linear solver, as Ceres tests its own."""

    jac = np.array([[1.0, 0.0], [0.0, 100.0], [1.0, 1.0]])

    def problem(self, **options):
        residual = lambda x: self.jac @ x - np.array([1.0, 2.0, 5.0]) + 0.1 * np.sin(x[0])
        derivative = lambda x: self.jac + 0.1 * np.cos(x[0]) * np.array([[1.0, 0.0]] * 3)
        return LeastSquaresProblem(residual, [3.0, 3.0], jac=derivative, **options)

    def test_nielsen_hands_over_lambda_times_d_squared(self):
        fake = FakeLinearSolver()
        reports = []
        solver = LevenbergMarquardt(linear_solver=fake, damping=Nielsen())
        solve(self.problem(), solver, callback=reports.append)
        first = fake.calls[0]
        norms = np.linalg.norm(first[0], axis=0)
        np.testing.assert_allclose(first[2], 1e-3 * norms**2)  # Nielsen's tau, D = column norms
        largest = norms
        for jac, _, diagonal, _ in fake.calls:
            largest = np.maximum(largest, np.linalg.norm(jac, axis=0))
            ratio = diagonal / largest**2
            np.testing.assert_allclose(ratio, ratio[0])
        assert fake.calls[1][2][0] < first[2][0]  # a good step lowers lambda, to a third at most
        np.testing.assert_allclose(fake.calls[1][2][0] / first[2][0], 1 / 3, rtol=1e-2)
        assert fake.shape == (3, 2)

    def test_given_scale(self):
        fake = FakeLinearSolver()
        solve(
            self.problem(scale=[2.0, 0.01]),
            LevenbergMarquardt(linear_solver=fake, damping=Nielsen()),
            max_evaluations=2,
        )
        diagonal = fake.calls[0][2]
        np.testing.assert_allclose(diagonal[1] / diagonal[0], (2.0 / 0.01) ** 2)

    @pytest.mark.parametrize("factor", [1e-3, 1e-2, 0.1])
    def test_radius_is_met_by_solves_alone(self, factor):
        fake = FakeLinearSolver()
        problem = self.problem()
        reports = []
        solver = LevenbergMarquardt(linear_solver=fake, damping=MoreRadius(factor=factor))
        solve(problem, solver, callback=lambda report: reports.append(report) or len(reports) == 1)
        scale = np.linalg.norm(fake.calls[0][0], axis=0)
        radius = factor * np.linalg.norm(scale * 3.0)
        np.testing.assert_array_equal(fake.calls[0][2], 0.0)  # the undamped step comes first
        last = fake.calls[-1]
        assert abs(np.linalg.norm(scale * last[3]) - radius) <= 0.1 * radius
        np.testing.assert_allclose(last[2] / scale**2, last[2][0] / scale[0] ** 2)
        assert len(fake.calls) <= 6

    def test_undamped_step_within_the_radius_needs_one_solve(self):
        fake = FakeLinearSolver()
        result = solve(self.problem(), LevenbergMarquardt(linear_solver=fake))
        assert result.converged
        assert len(fake.calls) == result.nit + 1  # the last shows that orthogonal columns hide no step
        assert all(not call[2].any() for call in fake.calls)

    def test_failures_end_the_solve_with_a_status(self):
        class NeverDefinite(FakeLinearSolver):
            def solve(self, r, damping_diag, step_out):
                return LinearStatus.NOT_DEFINITE

        for damping in (Nielsen(), MoreRadius()):
            result = solve(self.problem(), LevenbergMarquardt(linear_solver=NeverDefinite(), damping=damping))
            assert result.status is Status.STALLED
            np.testing.assert_array_equal(result.x, [3.0, 3.0])

    def test_handover_is_told(self):
        x = np.linspace(0, 1, 30)
        vandermonde = x[:, np.newaxis] ** np.arange(14)
        problem = LeastSquaresProblem(lambda p: vandermonde @ p - np.cos(3 * x), np.ones(14), jac=lambda p: vandermonde)
        result = solve(problem, LevenbergMarquardt(linear_solver=Automatic()))
        assert LinearStatus.HANDED_OVER.message in result.fallbacks
        assert solve(problem, LevenbergMarquardt(linear_solver=QR())).fallbacks == []

    @pytest.mark.parametrize(
        "linear_solver", [Cholesky(), Automatic(), QR(), SVD(), LSMR()], ids=lambda s: type(s).__name__
    )
    @pytest.mark.parametrize("damping", [MoreRadius(), Nielsen()], ids=["radius", "nielsen"])
    def test_every_linear_solver_every_damping(self, linear_solver, damping):
        expected = solve(self.problem(), "lm")
        result = solve(self.problem(), LevenbergMarquardt(linear_solver=linear_solver, damping=damping))
        assert result.converged
        np.testing.assert_allclose(result.x, expected.x, rtol=1e-7)


class TestHonestStop:
    @pytest.mark.parametrize("exponent", range(9, 16))
    @pytest.mark.parametrize("bounds", [None, (0.0, 10.0)], ids=["free", "bounded"])
    @pytest.mark.parametrize("rule", [SCIPY, Tolerances()], ids=["scipy", "native"])
    def test_small_starts(self, exponent, bounds, rule):
        operator = lambda p: aslinearoperator(np.eye(1))
        sparse = lambda p: csr_array(np.eye(1))
        methods = ["trf", "dogbox", TrustRegionReflective(linear_solver="lsmr", regularize=False)]
        if bounds is None:
            methods += ["lm", LevenbergMarquardt(linear_solver=LSMR(), damping=Nielsen())]
        for method in methods:
            for jac in (operator, sparse):
                for start in (10.0**-exponent, 0.0):
                    problem = LeastSquaresProblem(lambda p: p - 3, [start], jac=jac, bounds=bounds, scale=1.0)
                    result = solve(problem, method, tolerances=rule)
                    assert result.converged
                    np.testing.assert_allclose(result.x, 3.0, rtol=1e-6)

    @pytest.mark.parametrize("loss", ["cauchy", "huber", "arctan"])
    @pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
    def test_weights_at_their_floor_do_not_feign_optimality(self, loss, method):
        """Outliers whose curvature is floored have huge corrected residuals; the cosine must not shrink by them."""
        residual, jac, x0 = noisy_cubics()
        for kind in (jac, lambda x: jac(x).toarray()):
            result = solve(LeastSquaresProblem(residual, x0, jac=kind, loss=loss, loss_scale=0.1), method)
            assert result.converged
            assert np.abs(result.gradient).max() < 1e-4 * np.abs(jac(x0).T @ residual(x0)).max()

    def test_flat_directions_are_not_forgotten(self):
        """LSMR moves last where J is small: its first short step is no convergence."""
        singular = np.logspace(0, -7, 8)
        q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))
        matrix = singular[:, np.newaxis] * q
        truth = np.ones(8)
        problem = LeastSquaresProblem(
            lambda x: matrix @ (x - truth), np.zeros(8), jac=lambda x: aslinearoperator(matrix), scale=1.0
        )
        for method in ("trf", "dogbox"):
            result = solve(problem, method, tolerances=Tolerances(cost=None, optimality=None))
            assert result.converged
            np.testing.assert_allclose(result.x, truth, atol=1e-6)


class TestBadInput:
    def test_exceptions_pass_through(self):
        class Own(Exception):
            pass

        case = Broyden(8)

        def failing(after, value):
            calls = []

            def function(x):
                calls.append(1)
                if len(calls) > after:
                    raise Own
                return value(x)

            return function

        def broken_operator(x):
            def fail(v):
                raise Own

            return LinearOperator((8, 8), matvec=fail, rmatvec=fail, dtype=float)

        for method in ("trf", "dogbox", "lm"):
            for after in (0, 1, 3):
                with pytest.raises(Own):
                    solve(LeastSquaresProblem(failing(after, case.residual), case.x0, jac=case.jac), method)
                with pytest.raises(Own):
                    solve(LeastSquaresProblem(case.residual, case.x0, jac=failing(after, case.jac)), method)
            with pytest.raises(Own):
                solve(LeastSquaresProblem(case.residual, case.x0, jac=broken_operator, scale=1.0), method)

    def test_operator_needs_a_scale(self):
        case = Broyden(8)
        for method in ("trf", "dogbox", "lm"):
            with pytest.raises(ValueError, match="scale='jac'"):
                solve(LeastSquaresProblem(case.residual, case.x0, **case.sources()["operator"]), method)

    def test_unknown_linear_solver(self):
        case = Broyden(8)
        with pytest.raises(ValueError, match="linear_solver must be one of"):
            solve(LeastSquaresProblem(case.residual, case.x0), TrustRegionReflective(linear_solver="magic"))

    @pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
    def test_not_finite(self, method):
        case = Broyden(8)
        nan_start = solve(LeastSquaresProblem(lambda x: x * np.nan, case.x0, jac=case.jac), method)
        assert nan_start.status is Status.NONFINITE_START
        sparse = solve(LeastSquaresProblem(lambda x: x * np.nan, case.x0, **case.sources()["forward"]), method)
        assert sparse.status is Status.NONFINITE_START
        nan_jac = solve(LeastSquaresProblem(case.residual, case.x0, jac=lambda x: case.jac(x) * np.nan), method)
        assert nan_jac.status is Status.NONFINITE_JACOBIAN
        half_plane = lambda x: case.residual(x) + np.where(x[0] > -0.9, np.nan, 0.0)
        walled = solve(LeastSquaresProblem(half_plane, case.x0, jac=case.jac), method)
        assert np.isfinite(walled.residual).all()

    @pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
    def test_zero_columns_and_fewer_residuals(self, method):
        wide = csr_array(np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]]))
        problem = LeastSquaresProblem(lambda x: wide @ x - np.array([3.0, 1.0]), np.zeros(3), jac=lambda x: wide)
        result = solve(problem, method)
        assert result.converged
        np.testing.assert_allclose(wide @ result.x, [3.0, 1.0], atol=1e-8)
        assert result.x[2] == 0.0

    def test_limits_and_callbacks(self):
        case = Broyden(30)
        for method in ("trf", "dogbox", "lm"):
            problem = LeastSquaresProblem(case.residual, case.x0, jac=case.jac)
            assert solve(problem, method, max_evaluations=1).status is Status.MAX_EVALUATIONS
            reports = []
            stopped = solve(problem, method, callback=lambda report, seen=reports: seen.append(report) or True)
            assert stopped.status is Status.CALLBACK
            assert issparse(reports[0].jac)
            assert len(solve(problem, method, history=True).history) >= 4


class TestSubspace:
    @given(
        curvatures=st.lists(st.floats(0, 1e6), min_size=1, max_size=3),
        slopes=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
        radius=st.floats(1e-6, 1e6),
    )
    def test_disc(self, curvatures, slopes, radius):
        curvature = np.array(curvatures)
        slope = np.where(curvature > 0.0, np.array(slopes[: curvature.size]), 0.0)
        a, damping = minimise_in_disc(curvature, slope, radius)
        assert np.linalg.norm(a) <= radius * (1 + 1e-12)
        assert damping >= 0.0
        left = (curvature + damping) * a + slope
        np.testing.assert_allclose(left, 0.0, atol=1e-9 * (1e-300 + np.abs(slope).max()))
        if damping > 0.0:
            np.testing.assert_allclose(np.linalg.norm(a), radius, rtol=1e-12)

    @given(seed=st.integers(0, 1000), small=st.floats(0, 12))
    def test_orthonormalise(self, seed, small):
        rng = np.random.default_rng(seed)
        first = rng.standard_normal(20)
        vectors = [first, first + 10.0**-small * rng.standard_normal(20), np.zeros(20)]
        q, triangle = orthonormalise(vectors)
        gram = np.array(q) @ np.array(q).T
        np.testing.assert_allclose(gram, np.diag([1.0, 1.0, 0.0]), atol=1e-14)
        np.testing.assert_allclose(np.array(q).T @ triangle, np.array(vectors).T, atol=1e-14 * np.linalg.norm(first))

    def test_cost_never_rises_on_an_accepted_step(self):
        residual, jac, x0 = noisy_cubics(seed=4)
        for method in ("trf", "dogbox", "lm"):
            for loss in ("linear", "cauchy"):
                history = solve(
                    LeastSquaresProblem(residual, x0 + 1.0, jac=jac, loss=loss), method, history=True
                ).history
                accepted = [report.cost for report in history if report.accepted]
                assert all(b <= a * (1.0 + 1e-15) for a, b in pairwise(accepted))

    def test_regularisation_and_options_are_passed_on(self):
        case = Broyden(30)
        problem = LeastSquaresProblem(case.residual, case.x0, jac=case.jac, scale=1.0)
        for options in (
            {"maxiter": 3},
            {"atol": 1e-3, "btol": 1e-3},
            {"damp": 1e-3},
            {"conlim": 1e6},
            {"x0": np.zeros(30)},
        ):
            for solver in (TrustRegionReflective(lsmr_options=options), Dogbox(lsmr_options=options)):
                result = solve(problem, solver)
                assert result.converged
                np.testing.assert_allclose(result.cost, 0.0, atol=1e-10)
