"""What a `FitResult` says: errors, statistics, bands, reports, pickles."""

import copy
import pickle
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from nlsq.fitting import CurveData, FitCore, FitResult, FitTask, fit
from nlsq.status import Status

RNG = np.random.default_rng(11)
X = np.linspace(0.0, 5.0, 60)
SIGMA = 0.02 * (1.0 + X)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


Y = decay(X, 2.0, 1.5, 0.4) + SIGMA * RNG.standard_normal(X.size)
START = {"a": 1.0, "b": 1.0, "c": 0.0}
NEAR = {"a": 1.9, "b": 1.4, "c": 0.4}


@pytest.fixture(scope="module")
def result():
    return fit(decay, X, Y, START, sigma=SIGMA)


def test_statistics_follow_their_definitions(result):
    r = (decay(X, *result.params) - Y) / SIGMA
    m, n = X.size, 3
    np.testing.assert_allclose(result.residual, r, rtol=1e-12)
    assert result.chi2 == pytest.approx(r @ r, rel=1e-12)
    assert result.cost == pytest.approx(0.5 * (r @ r), rel=1e-12)
    assert result.dof == m - n
    assert result.reduced_chi2 == pytest.approx((r @ r) / (m - n))
    assert result.aic == pytest.approx(m * np.log((r @ r) / m) + 2 * n)
    assert result.bic == pytest.approx(m * np.log((r @ r) / m) + n * np.log(m))
    weights = SIGMA**-2
    mean = np.sum(weights * Y) / np.sum(weights)
    assert result.r_squared == pytest.approx(1.0 - (r @ r) / np.sum(weights * (Y - mean) ** 2))


def test_jacobian_correlation_and_errors_agree(result):
    exact = np.stack([np.exp(-result.params["b"] * X), -result.params["a"] * X * np.exp(-result.params["b"] * X), X**0])
    np.testing.assert_allclose(result.jac, (exact / SIGMA).T, rtol=1e-6, atol=1e-6)
    covariance = np.linalg.inv(result.jac.T @ result.jac) * result.reduced_chi2
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-8)
    np.testing.assert_allclose(result.correlation, covariance / np.outer(result.stderr, result.stderr), rtol=1e-8)
    np.testing.assert_array_equal(np.diag(result.correlation), 1.0)


def test_r_squared_with_correlated_data():
    t = np.arange(X.size)
    covariance = 0.02**2 * 0.5 ** np.abs(t[:, None] - t)
    result = fit(decay, X, Y, START, sigma=covariance)
    inverse = np.linalg.inv(covariance)
    ones = np.ones(X.size)
    scatter = Y - (ones @ inverse @ Y) / (ones @ inverse @ ones)
    assert result.r_squared == pytest.approx(1.0 - result.chi2 / (scatter @ inverse @ scatter), rel=1e-9)
    r = decay(X, *result.params) - Y
    assert result.chi2 == pytest.approx(r @ inverse @ r, rel=1e-9)


def test_user_jacobian_over_all_parameters():
    calls = []

    def jac(x, a, b, c):
        calls.append((a, b, c))
        return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)

    result = fit(decay, X, Y, START, sigma=SIGMA, jac=jac)
    reference = fit(decay, X, Y, START, sigma=SIGMA)
    assert calls
    np.testing.assert_allclose(result.params, reference.params, rtol=1e-7)
    np.testing.assert_allclose(result.covariance, reference.covariance, rtol=1e-5)
    held = fit(decay, X, Y, START, sigma=SIGMA, jac=jac, fixed={"b": 1.4})
    np.testing.assert_allclose(held.params, fit(decay, X, Y, START, sigma=SIGMA, fixed={"b": 1.4}).params, rtol=1e-7)
    band = result.predict(level=0.9)
    np.testing.assert_allclose(band.upper, reference.predict(level=0.9).upper, rtol=1e-6)
    with pytest.raises(ValueError, match=r"jac returned shape \(3, 60\) \(that is its transpose\), expected \(60, 3\)"):
        fit(decay, X, Y, START, jac=lambda x, *p: jac(x, *p).T)


@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
def test_named_differences(jac, result):
    np.testing.assert_allclose(fit(decay, X, Y, START, sigma=SIGMA, jac=jac).params, result.params, rtol=1e-6)
    held = fit(decay, X, Y, START, sigma=SIGMA, jac=jac, fixed={"c": 0.4})
    assert held.params["c"] == 0.4
    assert held.converged


def test_confidence_intervals(result):
    half = stats.t.ppf(0.975, result.dof) * result.stderr
    intervals = result.confidence_intervals()
    np.testing.assert_allclose(intervals, np.stack([result.params - half, result.params + half], axis=1))
    np.testing.assert_array_equal(intervals["b"], np.asarray(intervals)[1])
    absolute = fit(decay, X, Y, START, sigma=SIGMA, absolute_sigma=True, fixed=["c"])
    intervals = absolute.confidence_intervals(0.68)
    np.testing.assert_allclose(
        (intervals["a"][1] - intervals["a"][0]) / 2.0, stats.norm.ppf(0.84) * absolute.stderr["a"], rtol=1e-10
    )
    np.testing.assert_array_equal(intervals["c"], [0.0, 0.0])
    with pytest.raises(NotImplementedError, match="version"):
        result.confidence_intervals(method="profile")
    with pytest.raises(ValueError, match="method must be"):
        result.confidence_intervals(method="guess")
    with pytest.raises(ValueError, match="level must be between"):
        result.confidence_intervals(95)


def test_band_is_error_propagation(result):
    at = np.array([0.5, 2.0, 9.0])
    values, lower, upper = result.predict(at, level=0.95)
    a, b, _ = result.params
    g = np.stack([np.exp(-b * at), -a * at * np.exp(-b * at), np.ones(3)], axis=1)
    half = stats.t.ppf(0.975, result.dof) * np.sqrt(np.einsum("ij,jk,ik->i", g, result.covariance, g))
    np.testing.assert_allclose(values, decay(at, *result.params))
    np.testing.assert_allclose(upper - values, half, rtol=1e-6)
    np.testing.assert_allclose(values - lower, half, rtol=1e-6)
    np.testing.assert_array_equal(result.predict(at), values)
    np.testing.assert_array_equal(result.predict(), decay(X, *result.params))
    assert np.shape(result.predict(1.0, level=0.5).upper) == ()


def test_band_of_a_complex_model_and_of_several_outputs():
    def rotation(t, amplitude, rate):
        return amplitude * np.exp(1j * rate * t)

    t = np.linspace(0.0, 3.0, 40)
    noise = 0.05 * (RNG.standard_normal(40) + 1j * RNG.standard_normal(40))
    band = fit(rotation, t, rotation(t, 2.0, 1.1) + noise, [1.5, 1.0]).predict(level=0.9)
    assert np.all((band.upper - band.values).real > 0.0)
    np.testing.assert_allclose(band.upper + band.lower, 2.0 * band.values)

    def lines(x, a, b):
        return np.stack([a * x, b * x], axis=1)

    y = lines(X, 1.0, 2.0) + 0.1 * RNG.standard_normal((X.size, 2))
    band = fit(lines, X, y, [0.0, 0.0]).predict(np.array([0.0, 1.0]), level=0.9)
    assert band.lower.shape == (2, 2)
    np.testing.assert_allclose(band.upper[0], 0.0, atol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "arctan"])
def test_robust_fit_and_covariance_are_those_of_curve_fit(loss):
    y = Y.copy()
    y[::9] += 1.0
    result = fit(decay, X, y, NEAR, sigma=SIGMA, loss=loss, loss_scale=2.0)
    popt, pcov = curve_fit(
        decay,
        X,
        y,
        list(NEAR.values()),
        SIGMA,
        method="trf",
        loss=loss,
        f_scale=2.0,
        ftol=1e-14,
        xtol=1e-14,
        gtol=1e-14,
    )
    np.testing.assert_allclose(result.params, popt, rtol=1e-5)
    np.testing.assert_allclose(result.covariance, pcov, rtol=1e-3, atol=1e-3 * pcov.max())
    assert result.chi2 == pytest.approx(result.residual @ result.residual)
    assert result.chi2 > 2.0 * result.cost
    exact = np.stack([np.exp(-popt[1] * X), -popt[0] * X * np.exp(-popt[1] * X), np.ones_like(X)], axis=1)
    np.testing.assert_allclose(result.jac, exact / SIGMA[:, None], rtol=1e-4, atol=1e-3)
    assert f"robust: cost {result.cost:.6g} under {loss}" in result.summary()


def test_without_degrees_of_freedom_errors_are_unknown():
    result = fit(lambda x, a, b: a + b * x, [0.0, 1.0], [1.0, 3.0], [0.0, 0.0])
    assert result.dof == 0
    assert np.isnan(result.stderr).all()
    assert np.isnan(result.reduced_chi2)
    assert result.identifiable.all()
    assert "no degrees of freedom" in result.summary()
    known = fit(lambda x, a, b: a + b * x, [0.0, 1.0], [1.0, 3.0], [0.0, 0.0], sigma=0.1, absolute_sigma=True)
    np.testing.assert_allclose(known.stderr, [0.1, 0.1 * np.sqrt(2.0)], rtol=1e-6)


def test_params_are_a_read_only_array_with_names(result):
    params = result.params
    assert isinstance(params, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        params[0] = 1.0
    for derived in (params * 2.0, params[:2], np.exp(params), params.copy()):
        assert type(derived) is np.ndarray
    assert isinstance(params @ params, float)
    assert isinstance(params.sum(), float)
    assert [float(p) for p in params] == params.tolist()
    for same in (pickle.loads(pickle.dumps(params)), copy.deepcopy(params), copy.copy(params)):
        assert same.to_dict() == params.to_dict()
        assert not same.flags.writeable
    assert "a" in params
    assert "z" not in params
    assert float(params["a"]) in params
    assert repr(params).startswith("a = ")
    with pytest.raises(KeyError, match=r"unknown parameter 'd'\. The parameters are a, b, c"):
        params["d"]


def same_numbers(a, b):
    for name in ("params", "stderr", "covariance", "residual", "jac", "identifiable", "null_directions", "correlation"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("cost", "chi2", "dof", "r_squared", "aic", "bic", "status", "message", "names", "nfev", "fallbacks"):
        assert getattr(a, name) == getattr(b, name)


def test_result_pickles_with_its_model(result):
    loaded = pickle.loads(pickle.dumps(result))
    same_numbers(loaded, result)
    np.testing.assert_array_equal(loaded.predict([1.0]), result.predict([1.0]))


@pytest.mark.parametrize("loss", ["huber", lambda z: np.stack([z, np.ones_like(z), np.zeros_like(z)])])
def test_result_pickles_without_a_model_that_does_not(loss):
    original = fit(lambda x, a, b, c: decay(x, a, b, c), X, Y, NEAR, loss=loss, loss_scale=0.1)
    loaded = pickle.loads(pickle.dumps(original))
    same_numbers(loaded, original)
    assert loaded.summary().splitlines()[0] == original.message
    assert np.isfinite(original.predict()).all()
    with pytest.raises(RuntimeError, match="has lost it"):
        loaded.predict([1.0])
    same_numbers(pickle.loads(pickle.dumps(loaded)), original)


def test_summary_and_short_forms(result):
    text = result.summary()
    assert result.message in text
    assert "60 values, 3 free of 3 parameters" in text
    assert f"{result.params['b']:.9g}" in text
    assert f"a, b: {result.correlation[0, 1]:+.4f}" in text or f"b, c: {result.correlation[1, 2]:+.4f}" in text
    assert repr(result).startswith("<FitResult a=")
    assert result.status.name in repr(result)
    assert str(result).endswith(result.message)
    assert len(repr(result)) < 120


def test_constructor_needs_little(result):
    params = np.array(result.params)
    task = FitTask(decay, ("a", "b", "c"), CurveData(X, Y, Y.shape, weights=1.0 / SIGMA))
    from_normal = FitResult(
        FitCore(task, params, result.cost, Status.STEP, nfev=4, njev=3, nit=2, normal=result.jac.T @ result.jac)
    )
    np.testing.assert_allclose(from_normal.stderr, result.stderr, rtol=1e-8)
    assert (from_normal.nfev, from_normal.njev, from_normal.nit) == (4, 3, 2)
    bare = FitResult(FitCore(task, params, result.cost, Status.STEP))
    np.testing.assert_allclose(bare.covariance, result.covariance, rtol=1e-5)
    np.testing.assert_allclose(bare.residual, result.residual)
    np.testing.assert_allclose(bare.jac, result.jac, rtol=1e-5, atol=1e-6)
    assert bare.converged


def test_normal_matrix_without_digits_is_replaced_by_the_jacobian():
    def model(x, a, b):
        return a + b * (1.0 + 1e-6 * x)

    task = FitTask(model, ("a", "b"), CurveData(X, Y, Y.shape))
    jac = np.stack([np.ones_like(X), 1.0 + 1e-6 * X], axis=1)
    core = FitCore(task, np.array([1.0, 0.0]), 1.0, Status.STEP, normal=jac.T @ jac)
    stderr = FitResult(core).stderr
    slope_error = np.sqrt(2.0 / 58) / np.sqrt(np.sum((X - X.mean()) ** 2)) / 1e-6
    np.testing.assert_allclose(stderr, slope_error, rtol=1e-2)


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = fit(decay, X[::-1], Y[::-1], START, sigma=SIGMA[::-1], absolute_sigma=True).plot()
    assert len(figure.axes) == 2
    assert figure.axes[1].get_xlabel() == "x"
    assert np.all(np.diff(figure.axes[0].lines[-1].get_xdata()) >= 0.0)
    complex_figure = fit(lambda t, a: a * np.exp(1j * t), X, np.exp(1j * X), [0.5]).plot(plt.figure())
    assert complex_figure.axes[1].get_xlabel() == "index"
    plt.close("all")


def test_plot_without_matplotlib_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        result.plot()
