"""The problem collection is what it says: formulas, Jacobians, certified values and minima."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from benchmarks.problems import bounded, curves, nist, robust
from benchmarks.problems import more_garbow_hillstrom as mgh

NIST_NAMES = nist.names()
NO_COMPLEX_STEP = {"helical_valley"}  # arctan2 takes no complex numbers
EXTRA_ROUNDING = {"watson_20": 1e-2}  # residuals of 3e-11 next to terms of 1: f carries two or three digits


def complex_step(residual, x):
    """Return dr_i/dx_j by Im r(x + i h e_j) / h, exact to rounding."""
    h = 1e-200
    return np.stack([residual(x + 1j * h * e).imag / h for e in np.eye(x.size)], axis=1)


def central_difference(residual, x, h=1e-3):
    """Return dr_i/dx_j by the central difference of order 8."""
    weights = {1: 672.0, 2: -168.0, 3: 32.0, 4: -3.0}
    columns = []
    for e in h * np.eye(x.size):
        columns.append(sum(w * (residual(x + k * e) - residual(x - k * e)) for k, w in weights.items()) / (840.0 * h))
    return np.stack(columns, axis=1)


def nearby(x, seed=0):
    """Return a point a few percent from x."""
    rng = np.random.default_rng(seed)
    return np.asarray(x) * (1.0 + 0.05 * rng.standard_normal(np.size(x))) + 0.02 * rng.standard_normal(np.size(x))


def assert_jacobian(residual, jacobian, x, exact=True):
    """Check J(x) against the derivative of r(x), by complex step or by differences."""
    jac = jacobian(x)
    reference = complex_step(residual, x) if exact else central_difference(residual, x)
    tolerance = 1e-13 if exact else 1e-10
    assert jac.shape == (residual(x).size, x.size)
    np.testing.assert_allclose(jac, reference, rtol=0.0, atol=tolerance * np.max(np.abs(reference)))


class TestNist:
    """The 27 data sets of NIST."""

    def test_names_and_sizes(self):
        """Every file is there, with the sizes that NIST lists."""
        assert len(NIST_NAMES) == 27
        assert {path.stem for path in nist.DATA_DIR.glob("*.dat")} == set(NIST_NAMES)
        sizes = {problem.name: (problem.m, problem.n) for problem in nist.all_problems()}
        assert sizes["BoxBOD"] == (6, 2)
        assert sizes["ENSO"] == (168, 9)
        assert sizes["Nelson"] == (128, 3)
        assert nist.load("Nelson").x.shape == (2, 128)
        grades = [problem.difficulty for problem in nist.all_problems()]
        assert [grades.count(grade) for grade in ("lower", "average", "higher")] == [8, 11, 8]

    @pytest.mark.parametrize("name", NIST_NAMES)
    def test_certified_values_give_certified_residuals(self, name):
        """The model at the certified parameters has the certified sum of squares."""
        problem = nist.load(name)
        rss = problem.rss(problem.certified)
        if name == "Lanczos1":  # 11 digits of the parameters leave residuals of 1e-11; the certified ones are 1e-13
            assert problem.certified_rss < rss < 1e-20
        else:
            np.testing.assert_allclose(rss, problem.certified_rss, rtol=1e-9)
        std = np.sqrt(problem.certified_rss / problem.dof)
        np.testing.assert_allclose(std, problem.certified_residual_std, rtol=1e-9)

    @pytest.mark.parametrize("name", NIST_NAMES)
    def test_certified_standard_errors(self, name):
        """The linearised covariance at the certified parameters gives the certified standard errors."""
        problem = nist.load(name)
        with np.errstate(invalid="ignore"):
            jac = complex_step(problem.residual, problem.certified)
        scale = np.linalg.norm(jac, axis=0)
        upper = np.linalg.qr(jac / scale, mode="r")
        stderr = np.linalg.norm(np.linalg.inv(upper), axis=1) / scale * problem.certified_residual_std
        assert problem.stderr_digits(stderr) > 5.0

    def test_digits(self):
        """The log relative error is that of the worst parameter, kept between 0 and 11."""
        problem = nist.load("Misra1a")
        assert problem.digits(problem.certified) == 11.0
        np.testing.assert_allclose(problem.digits(problem.certified * [1.0 + 1e-3, 1.0 - 1e-6]), 3.0)
        assert problem.digits(problem.certified * 100.0) == 0.0
        assert problem.digits([np.nan, 1.0]) == 0.0
        assert problem.digits([np.inf, 1.0]) == 0.0

    def test_load_is_lazy_and_shared(self):
        """A problem is read once, and nobody can change it."""
        assert nist.load("Rat43") is nist.load("Rat43")
        with pytest.raises(ValueError, match="read-only"):
            nist.load("Rat43").y[0] = 0.0
        with pytest.raises(KeyError):
            nist.load("Rat44")


@pytest.mark.parametrize("name", mgh.names())
class TestMgh:
    """Each of the 48 More-Garbow-Hillstrom problems."""

    def test_jacobian(self, name):
        """J is the derivative of r, near the start and near the solution."""
        problem = mgh.load(name)
        for base in (problem.start(), problem.minimizer):
            x = np.abs(nearby(base)) if name == "gulf" else nearby(base)
            assert_jacobian(problem.residual, problem.jacobian, x, exact=name not in NO_COMPLEX_STEP)

    def test_minimum_is_attained(self, name):
        """The minimiser has the stated sum of squares."""
        problem = mgh.load(name)
        value = problem.sum_of_squares(problem.minimizer)
        np.testing.assert_allclose(value, problem.minimum, rtol=EXTRA_ROUNDING.get(name, 1e-9), atol=1e-28)
        assert problem.is_global_minimum(value)

    def test_minimum_is_stationary(self, name):
        """The residual is orthogonal to every column of J, or zero."""
        problem = mgh.load(name)
        if problem.minimum > 1e-19:
            assert problem.stationarity(problem.minimizer) < 1e-6
        else:
            assert problem.sum_of_squares(problem.minimizer) < 1e-19

    def test_no_descent_nearby(self, name):
        """Least squares from points around the minimiser finds nothing lower."""
        problem = mgh.load(name)
        for seed in range(3):
            start = problem.minimizer * (1.0 + 0.01 * np.random.default_rng(seed).standard_normal(problem.n))
            result = least_squares(problem.residual, start, problem.jacobian, x_scale="jac", max_nfev=200)
            slack = EXTRA_ROUNDING.get(name, 1e-9)
            assert problem.sum_of_squares(result.x) >= problem.minimum * (1.0 - slack)


class TestMghCollection:
    """The collection as a whole."""

    def test_counts(self):
        """48 problems of 35 kinds make 144 cases."""
        assert len(mgh.names()) == 48
        assert {problem.number for problem in mgh.all_problems()} == set(range(1, 36))
        assert len(mgh.cases()) == 144

    def test_starts(self):
        """Starts are multiples of x0, and constant where x0 = 0."""
        np.testing.assert_array_equal(mgh.load("rosenbrock").start(10.0), [-12.0, 10.0])
        np.testing.assert_array_equal(mgh.load("watson_6").start(1.0), np.zeros(6))
        np.testing.assert_array_equal(mgh.load("watson_6").start(100.0), np.full(6, 100.0))

    def test_published_values(self):
        """Minima agree with the six digits of the paper."""
        published = {
            "jennrich_sampson": 124.362,
            "bard": 8.21487e-3,
            "gaussian": 1.12793e-8,
            "meyer": 87.9458,
            "kowalik_osborne": 3.07505e-4,
            "brown_dennis": 85822.2,
            "osborne1": 5.46489e-5,
            "osborne2": 4.01377e-2,
            "watson_6": 2.28767e-3,
            "watson_9": 1.39976e-6,
            "watson_12": 4.72238e-10,
            "penalty1_4": 2.24997e-5,
            "penalty1_10": 7.08765e-5,
            "penalty2_4": 9.37629e-6,
            "penalty2_10": 2.93660e-4,
        }
        for name, value in published.items():
            np.testing.assert_allclose(mgh.load(name).minimum, value, rtol=5e-6)

    def test_data_shared_with_nist(self):
        """Meyer, Kowalik-Osborne and Osborne 1 are NIST's MGH10, MGH09 and MGH17."""
        for name, nist_name in (("meyer", "MGH10"), ("kowalik_osborne", "MGH09"), ("osborne1", "MGH17")):
            problem, reference = mgh.load(name), nist.load(nist_name)
            np.testing.assert_allclose(problem.minimum, reference.certified_rss, rtol=1e-9)
            assert reference.digits(problem.minimizer) > 6.0

    def test_minimum_test_refuses_local_minima(self):
        """Well-known local minima do not count."""
        assert not mgh.load("freudenstein_roth").is_global_minimum(48.98425)
        assert not mgh.load("trigonometric").is_global_minimum(2.79506e-5)
        assert not mgh.load("biggs").is_global_minimum(5.65565e-3)
        assert not mgh.load("bard").is_global_minimum(17.42869)
        assert not mgh.load("bard").is_global_minimum(np.nan)

    def test_overflow_is_infinite(self):
        """Far starts overflow to an infinite sum of squares, silently."""
        assert mgh.load("jennrich_sampson").sum_of_squares([100.0, 100.0]) == np.inf


@pytest.mark.parametrize("name", bounded.names())
class TestBounded:
    """Each bounded problem."""

    def test_jacobian(self, name):
        """J is the derivative of r, at the start and at the solution."""
        problem = bounded.load(name)
        for x in (problem.x0, problem.minimizer):
            assert_jacobian(problem.residual, problem.jacobian, np.array(x))

    def test_minimum_satisfies_the_optimality_conditions(self, name):
        """The minimiser keeps the bounds, has the stated value and a vanishing projected gradient."""
        problem = bounded.load(name)
        assert problem.is_feasible(problem.x0)
        assert problem.is_feasible(problem.minimizer)
        value = problem.sum_of_squares(problem.minimizer)
        np.testing.assert_allclose(value, problem.minimum, rtol=1e-9, atol=1e-28)
        assert problem.projected_cosine(problem.minimizer) < 1e-6

    def test_scipy_reaches_it(self, name):
        """A reference solver reaches the minimum from x0."""
        problem = bounded.load(name)
        bounds = (problem.lower, problem.upper)
        tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 2000}
        with np.errstate(all="ignore"):
            result = least_squares(
                problem.residual, problem.x0, problem.jacobian, bounds=bounds, x_scale="jac", **tight
            )
        assert problem.is_minimum(2.0 * result.cost)


def test_bounds_are_active_in_most_bounded_problems():
    """The set has bounds active at the solution on either side, and problems without."""
    active = [problem.active for problem in bounded.all_problems()]
    assert sum(np.any(side != 0) for side in active) >= 8
    assert any(np.any(side < 0) for side in active)
    assert any(np.any(side > 0) for side in active)
    assert sum(np.all(side == 0) for side in active) >= 2


@pytest.mark.parametrize("problem", robust.all_problems(), ids=lambda problem: problem.name)
class TestRobust:
    """Each fit with outliers."""

    def test_jacobian(self, problem):
        """J is the derivative of r."""
        assert_jacobian(problem.residual, problem.jacobian, problem.x0 + 0.1)

    @pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
    def test_robust_losses_see_through_the_outliers(self, problem, loss):
        """Every loss comes within the stated tolerance, plain least squares does not."""
        fit = least_squares(problem.residual, problem.x0, problem.jacobian, loss=loss, f_scale=problem.loss_scale)
        plain = least_squares(problem.residual, problem.x0, problem.jacobian)
        assert problem.error(fit.x) < problem.tolerance < problem.error(plain.x)


@pytest.mark.parametrize("curve", curves.all_curves(), ids=lambda curve: curve.name)
def test_curves_are_fitted_from_their_start(curve):
    """From p0, least squares lands within six standard errors of the true parameters."""
    fit = least_squares(curve.residual, curve.p0, method="lm", x_scale="jac")
    covariance = np.linalg.inv(fit.jac.T @ fit.jac) * curve.sigma**2
    assert np.all(np.abs(fit.x - curve.p_true) < 6.0 * np.sqrt(np.diag(covariance)))


def test_timing_problems():
    """The two timing problems have the sizes that are quoted."""
    assert (curves.gaussian().y.size, curves.gaussian().p0.size) == (100, 4)
    assert (curves.misra1a().y.size, curves.misra1a().p0.size) == (14, 2)
    np.testing.assert_array_equal(curves.gaussian().y, curves.gaussian().y)


def test_the_collection_does_not_import_nlsq():
    """The problems stand apart from the library they measure, and from every other but numpy and SciPy."""
    for path in Path(nist.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            else:
                continue
            roots = {module.split(".")[0] for module in modules}
            assert roots <= {"numpy", "scipy", *sys.stdlib_module_names}, path.name
