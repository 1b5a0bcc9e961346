"""The closed list of what differs from SciPy on purpose, and the honest stop."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import OptimizeResult
from test_scipy_api_helpers import OURS, X, Y, line

METHODS = ["trf", "dogbox", "lm"]
STARTS = [-1.0, 0.0, 1.0, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15, -1e-9, -1e-15]


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


T = np.linspace(0.0, 4.0, 60)
DATA = decay(T, 2.5, 1.3, 0.5) + 0.1 * np.random.default_rng(20).standard_normal(T.size)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs", lambda p: np.ones((1, 1))])
def test_steps_cut_short_are_no_convergence(start, method, jac):
    assert_allclose(OURS.least_squares(lambda p: p - 3.0, [start], jac, method=method).x, 3.0, rtol=1e-6)


@pytest.mark.parametrize("start", [s for s in STARTS if s >= 0.0])
@pytest.mark.parametrize("method", ["trf", "dogbox"])
@pytest.mark.parametrize("upper", [10.0, np.inf, 1e6])
def test_steps_cut_by_a_bound_are_no_convergence(start, method, upper):
    result = OURS.least_squares(lambda p: p - 3.0, [start], bounds=(0.0, upper), method=method)
    assert result.success
    assert_allclose(result.x, 3.0, rtol=1e-6)


@pytest.mark.parametrize("start", STARTS)
def test_leastsq_and_curve_fit_from_tiny_starts(start):
    x, ier = OURS.leastsq(lambda p: p - 3.0, [start])
    assert ier in (1, 2, 3, 4)
    assert_allclose(x, 3.0, rtol=1e-6)
    assert_allclose(OURS.curve_fit(lambda x, a: np.full(5, a), X, np.full(5, 3.0), [start])[0], 3.0, rtol=1e-6)
    assert_allclose(OURS.curve_fit(line, X, Y, [start, start])[0], [2.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_residuals_at_the_start(method, value):
    message = "Residuals are not finite in the initial point."
    with pytest.raises(ValueError) as caught:
        OURS.least_squares(lambda p: np.array([value, 1.0]), 1.0, method=method)
    assert str(caught.value) == message
    with pytest.raises(RuntimeError) as failed:
        OURS.curve_fit(lambda x, a, b: a * x + b + value, X, Y, method=method)
    assert str(failed.value) == "Optimal parameters not found: " + message


@pytest.mark.parametrize("method", METHODS)
def test_nonfinite_data_without_a_check(method):
    y = Y.copy()
    y[3] = np.nan
    with pytest.raises(RuntimeError, match="Optimal parameters not found: Residuals are not finite"):
        OURS.curve_fit(line, X, y, check_finite=False, method=method)


@pytest.mark.parametrize(
    "options", [{}, {"bounds": (0.0, 5.0)}, {"x_scale": 2.0}, {"loss": "soft_l1"}, {"jac": "3-point"}]
)
@pytest.mark.parametrize("method", METHODS)
def test_nonfinite_differences_are_no_success(method, options):
    """The solver ends at the edge of where the model is defined, and one side of the differences lies beyond."""
    calls = []

    def model(x, a):
        calls.append(a)  # so that it is not traced: exact derivatives are finite there
        return np.where((a > 1.5) & (x > 0.0), np.nan, a * x)

    solves = []
    if method != "lm" or options.keys() <= {"x_scale", "jac"}:
        solves.append((ValueError, lambda: OURS.least_squares(residual, [1.0], method=method, **options)))
    if method != "lm" or not options:
        solves.append((RuntimeError, lambda: OURS.curve_fit(model, T, 2.0 * T, [1.0], method=method, **options)))
    if not options:
        solves.append((ValueError, lambda: OURS.leastsq(residual, [1.0])))

    def residual(p):
        return model(T, p[0]) - 2.0 * T

    for error, solve in solves:
        with pytest.raises(error, match="array must not contain infs or NaNs") as failed:
            solve()
        assert_allclose(failed.value.result.x, [1.5], rtol=1e-4)
        assert_allclose(failed.value.result.fun, residual(failed.value.result.x))
        assert not failed.value.result.success


@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_nonfinite_fit_by_trf_is_scipys_value_error_too(method):
    with pytest.raises(ValueError, match="Residuals are not finite in the initial point"):
        OURS.curve_fit(lambda x, a, b: a * x + np.nan, X, Y, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_nonfinite_jacobian(method):
    with pytest.raises(ValueError, match="array must not contain infs or NaNs"):
        OURS.least_squares(lambda p: p - 3.0, 1.0, lambda p: np.full((1, 1), np.nan), method=method)
    with pytest.raises(RuntimeError, match="not found: array must not contain infs or NaNs") as failed:
        OURS.curve_fit(line, X, Y, jac=lambda x, a, b: np.full((5, 2), np.nan), method=method)
    assert_allclose(failed.value.result.x, [1.0, 1.0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["model", "data", "both", "start"])
def test_single_precision_fits_as_well(method, kind):
    expected = OURS.curve_fit(decay, T, DATA, [2.0, 1.0, 0.3])[0]
    t, y, p0, model = T, DATA, [2.0, 1.0, 0.3], decay
    if kind in ("data", "both"):
        t, y = T.astype(np.float32), DATA.astype(np.float32)
    if kind in ("model", "both"):

        def model(x, *p):
            return decay(x.astype(np.float32), *np.array(p, dtype=np.float32))

    if kind == "start":
        p0 = np.array(p0, dtype=np.float32)
    popt, pcov = OURS.curve_fit(model, t, y, p0, method=method)
    assert_allclose(popt, expected, rtol=2e-4)
    assert_allclose(pcov, OURS.curve_fit(decay, T, DATA, [2.0, 1.0, 0.3])[1], rtol=2e-2)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_residuals(method):
    t, y = T.astype(np.float32), DATA.astype(np.float32)

    def residual(p):
        return decay(t, *p.astype(np.float32)) - y

    expected = OURS.curve_fit(decay, T, DATA, [2.0, 1.0, 0.3])[0]
    assert_allclose(OURS.least_squares(residual, [2.0, 1.0, 0.3], method=method).x, expected, rtol=5e-4)
    assert_allclose(OURS.leastsq(residual, [2.0, 1.0, 0.3])[0], expected, rtol=5e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, np.nan, -0.0])
def test_sigma_of_zero_or_nan_names_the_index(method, value):
    sigma = np.ones(5)
    sigma[3] = value
    with pytest.raises(ValueError, match=r"`sigma` must not be zero or NaN: sigma\[3\] is"):
        OURS.curve_fit(line, X, Y, sigma=sigma, method=method)
    with pytest.raises(ValueError, match="`sigma` must not be zero or NaN: sigma is"):
        OURS.curve_fit(line, X, Y, sigma=value, method=method)


def test_nan_in_a_covariance_names_the_index():
    sigma = np.eye(5)
    sigma[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"array must not contain infs or NaNs: sigma\[1, 2\] is nan"):
        OURS.curve_fit(line, X, Y, sigma=sigma)


def test_sigma_of_an_omitted_point_may_be_nan():
    y, sigma = Y.copy(), np.ones(5)
    y[2] = sigma[2] = np.nan
    assert_allclose(OURS.curve_fit(line, X, y, sigma=sigma, nan_policy="omit")[0], [2.0, 1.0])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"maxfev": 12},
        {"method": "trf", "max_nfev": 3},
        {"method": "dogbox", "max_nfev": 3},
        {"method": "trf", "max_nfev": 2, "bounds": (0, 10)},
    ],
)
def test_failed_fits_carry_the_best_point(kwargs):
    points = []

    def model(x, *p):
        points.append(p)
        return decay(x, *p)

    with pytest.raises(RuntimeError, match="Optimal parameters not found: ") as failed:
        OURS.curve_fit(model, T, DATA, [9.0, 0.1, 5.0], **kwargs)
    result = failed.value.result
    assert isinstance(result, OptimizeResult)
    costs = [0.5 * np.sum((decay(T, *p) - DATA) ** 2) for p in points]
    assert_allclose(result.cost, 0.5 * np.sum((decay(T, *result.x) - DATA) ** 2))
    assert result.cost <= min(costs[0], costs[len(points) // 2]) * (1 + 1e-9)
    assert not result.success and failed.value.args[0].endswith(result.message)
    assert type(failed.value) is RuntimeError
