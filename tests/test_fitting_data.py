"""What `fit` takes as data: forms of x and y, weights, missing values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

import nlsq
from nlsq.fitting import fit

RNG = np.random.default_rng(3)
X = np.linspace(0.1, 4.0, 40)


def decay(x, a, b):
    return a * np.exp(-b * x)


Y = decay(X, 2.0, 1.5) + 0.02 * RNG.standard_normal(X.size)
START = [1.0, 1.0]
SIGMA = 0.02 * (1.0 + X)


def correlated(m):
    t = np.arange(m)
    return 0.02**2 * 0.6 ** np.abs(t[:, None] - t)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("sigma", [None, 0.3, SIGMA, correlated(X.size)], ids=["none", "number", "vector", "matrix"])
def test_values_and_covariance_are_those_of_curve_fit(sigma, absolute):
    result = fit(decay, X, Y, START, sigma=sigma, absolute_sigma=absolute)
    popt, pcov = curve_fit(decay, X, Y, START, sigma=sigma, absolute_sigma=absolute, ftol=1e-14, xtol=1e-14)
    np.testing.assert_allclose(result.params, popt, rtol=1e-6)
    np.testing.assert_allclose(result.covariance, pcov, rtol=1e-4)
    np.testing.assert_allclose(result.stderr, np.sqrt(np.diag(pcov)), rtol=1e-4)


def test_weights_are_inverse_deviations():
    by_sigma = fit(decay, X, Y, START, sigma=SIGMA)
    by_weights = fit(decay, X, Y, START, weights=1.0 / SIGMA)
    np.testing.assert_allclose(by_weights.params, by_sigma.params, rtol=1e-7)
    np.testing.assert_allclose(by_weights.residual, (decay(X, *by_weights.params) - Y) / SIGMA, rtol=1e-9)
    with pytest.raises(ValueError, match="give one of them"):
        fit(decay, X, Y, START, sigma=SIGMA, weights=1.0 / SIGMA)


@pytest.mark.parametrize("how", ["sigma", "weights"])
def test_weight_zero_is_the_same_as_leaving_the_point_out(how):
    values = SIGMA.copy() if how == "sigma" else 1.0 / SIGMA
    values[[3, 17]] = np.inf if how == "sigma" else 0.0
    result = fit(decay, X, Y, START, **{how: values})
    rest = np.delete(np.arange(X.size), [3, 17])
    without = fit(decay, X[rest], Y[rest], START, **{how: values[rest]})
    np.testing.assert_allclose(result.params, without.params, rtol=1e-8)
    np.testing.assert_allclose(result.stderr, without.stderr, rtol=1e-5)
    assert (result.dof, result.aic, result.bic) == (without.dof, pytest.approx(without.aic), pytest.approx(without.bic))
    assert result.r_squared == pytest.approx(without.r_squared, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sigma": np.where(np.arange(40) == 7, 0.0, 1.0)}, r"sigma\[7\] is 0.0"),
        ({"sigma": np.where(np.arange(40) == 7, -1.0, 1.0)}, r"sigma\[7\] is -1.0"),
        ({"sigma": np.where(np.arange(40) == 7, np.nan, 1.0)}, r"sigma\[7\] is nan"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": np.ones(39)}, r"sigma has shape \(39,\)"),
        ({"sigma": np.diag(np.where(np.arange(40) == 5, 0.0, 1.0))}, r"sigma\[5, 5\] is 0.0"),
        ({"sigma": np.eye(40) + np.eye(40, k=3) * 0.1}, r"sigma\[0, 3\] differs from sigma\[3, 0\]"),
        ({"sigma": np.ones((40, 40))}, "not positive definite"),
        ({"sigma": np.where(np.eye(40, k=2) > 0, np.nan, np.eye(40))}, r"sigma\[0, 2\] is nan"),
        ({"weights": np.where(np.arange(40) == 7, -1.0, 1.0)}, r"weights\[7\] is -1.0"),
        ({"weights": np.where(np.arange(40) == 7, np.inf, 1.0)}, r"weights\[7\] is inf"),
        ({"weights": np.where(np.arange(40) == 7, np.nan, 1.0)}, r"weights\[7\] is nan"),
        ({"weights": np.ones((2, 3))}, r"weights has shape \(2, 3\)"),
        ({"nan_policy": "propagate"}, "nan_policy must be 'raise' or 'omit'"),
    ],
)
def test_wrong_weights_are_named_with_their_index(options, text):
    with pytest.raises(ValueError, match=text):
        fit(decay, X, Y, START, **options)


def test_weights_that_are_no_numbers():
    with pytest.raises(TypeError, match="sigma must be real numbers"):
        fit(decay, X, Y, START, sigma=np.full(40, 1j))
    with pytest.raises(TypeError, match="y must be numbers"):
        fit(decay, X, ["a"] * 40, START)


@pytest.mark.parametrize(("name", "bad"), [("x", np.nan), ("y", np.nan), ("y", np.inf), ("x", -np.inf)])
def test_nan_policy(name, bad):
    data = {"x": X.copy(), "y": Y.copy()}
    data[name][[4, 9]] = bad
    with pytest.raises(ValueError, match=rf"{name}\[4\] is {bad}.*nan_policy='omit'"):
        fit(decay, data["x"], data["y"], START)
    result = fit(decay, data["x"], data["y"], START, sigma=SIGMA, nan_policy="omit")
    rest = np.delete(np.arange(X.size), [4, 9])
    expected = fit(decay, X[rest], Y[rest], START, sigma=SIGMA[rest])
    assert result.omitted == 2
    assert result.residual.size == X.size - 2
    np.testing.assert_array_equal(result.params, expected.params)
    assert "2 values of y were missing" in result.summary()


def test_omission_holds_for_sigma_weights_and_covariance():
    sigma = SIGMA.copy()
    sigma[5] = np.nan
    assert fit(decay, X, Y, START, sigma=sigma, nan_policy="omit").omitted == 1
    assert fit(decay, X, Y, START, weights=1.0 / sigma, nan_policy="omit").omitted == 1
    y = Y.copy()
    y[5] = np.nan
    rest = np.delete(np.arange(X.size), 5)
    covariance = correlated(X.size)
    result = fit(decay, X, y, START, sigma=covariance, nan_policy="omit")
    expected = fit(decay, X[rest], Y[rest], START, sigma=covariance[np.ix_(rest, rest)])
    np.testing.assert_allclose(result.params, expected.params, rtol=1e-12)
    with pytest.raises(ValueError, match="no values left"):
        fit(decay, X, np.full_like(Y, np.nan), START, nan_policy="omit")


def test_masked_points_are_left_out_and_counted():
    masked_y = np.ma.masked_array(np.where(X > 3.5, np.nan, Y), X > 3.5)
    masked_x = np.ma.masked_array(X, np.arange(X.size) == 0)
    sigma = np.ma.masked_array(SIGMA, np.arange(X.size) == 1)
    rest = (X <= 3.5) & (np.arange(X.size) > 1)
    result = fit(decay, masked_x, masked_y, START, sigma=sigma)
    assert result.omitted == X.size - np.count_nonzero(rest)
    np.testing.assert_array_equal(result.params, fit(decay, X[rest], Y[rest], START, sigma=SIGMA[rest]).params)


def test_missing_points_of_an_x_that_cannot_be_cut():
    y = Y.copy()
    y[2] = np.nan
    table = {"t": X}
    result = fit(lambda x, a, b: decay(x["t"], a, b), table, y, START, nan_policy="omit")
    rest = np.delete(np.arange(X.size), 2)
    np.testing.assert_allclose(result.params, fit(decay, X[rest], Y[rest], START).params, rtol=1e-7)
    assert result.omitted == 1
    with pytest.raises(ValueError, match="does not run over the 40 points"):
        fit(lambda x, a: a * np.ones(40), np.array([np.nan, 1.0]), Y, [1.0], nan_policy="omit")


def plane(x, a, b, c):
    u, v = x
    return a * u + b * v + c


U, V = RNG.standard_normal((2, 30))


@pytest.mark.parametrize(
    "x", [np.array([U, V]), (U, V), [U, V], [U.tolist(), V.tolist()]], ids=["array", "tuple", "list", "lists"]
)
def test_several_predictors(x):
    seen = []

    def model(x, a, b, c):
        seen.append(type(x))
        return plane(x, a, b, c)

    result = fit(model, x, plane((U, V), 1.0, -2.0, 0.5), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(result.params, [1.0, -2.0, 0.5], rtol=1e-9)
    assert set(seen) == {np.ndarray if isinstance(x, np.ndarray) else tuple}
    bad = [np.where(np.arange(30) == 3, np.nan, U), V]
    with pytest.raises(ValueError, match=r"x\[0\]\[3\] is nan"):
        fit(model, bad, plane((U, V), 1.0, -2.0, 0.5), [0.0, 0.0, 0.0])
    assert fit(model, bad, plane((U, V), 1.0, -2.0, 0.5), [0.0, 0.0, 0.0], nan_policy="omit").omitted == 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float16, bool, object])
def test_other_types_become_doubles(dtype):
    x = np.arange(1, 9)
    y = (3 * x).astype(dtype) if dtype is not bool else (x > 4).astype(bool)
    seen = set()

    def model(x, a):
        seen.add(x.dtype)
        return a * x

    result = fit(model, x.astype(np.int64), y, [1])
    assert seen == {np.dtype(np.float64)}
    assert result.residual.dtype == np.float64


def test_parts_of_x_that_are_no_arrays_reach_the_model_as_they_are():
    seen = []

    def model(x, a):
        t, unit, nothing = x
        seen.append((unit, nothing))
        return a * t

    y = 2.0 * X
    y[3] = np.nan
    result = fit(model, (X, "seconds", None), y, nan_policy="omit")
    assert result.params["a"] == pytest.approx(2.0)
    assert set(seen) == {("seconds", None)}
    assert result.omitted == 1


def test_user_arrays_are_neither_changed_nor_kept():
    x, y = X.copy(), Y.copy()
    result = fit(decay, x, y, START)
    before = result.r_squared, result.predict().copy()
    fresh = fit(decay, x, y, START)
    x[:] = y[:] = 0.0
    assert fresh.r_squared == before[0]
    np.testing.assert_array_equal(fresh.predict(), before[1])


def two_outputs(x, a, b):
    return np.stack([a * np.exp(-b * x), a * x], axis=1)


def test_several_outputs_a_point():
    y = two_outputs(X, 2.0, 1.5) + 0.01 * RNG.standard_normal((X.size, 2))
    result = fit(two_outputs, X, y, START, sigma=[[0.01, 0.02]] * X.size)
    flat = fit(lambda x, a, b: two_outputs(x, a, b).ravel(), X, y.ravel(), START, sigma=np.tile([0.01, 0.02], X.size))
    np.testing.assert_allclose(result.params, flat.params, rtol=1e-7)
    assert result.residual.shape == (2 * X.size,)
    assert result.predict().shape == (X.size, 2)
    assert result.dof == 2 * X.size - 2
    per_point = fit(two_outputs, X, y, START, sigma=SIGMA)
    spread = fit(two_outputs, X, y, START, sigma=np.repeat(SIGMA, 2).reshape(-1, 2))
    np.testing.assert_array_equal(per_point.params, spread.params)
    scatter = np.sum((y - y.mean(axis=0)) ** 2)
    plain = fit(two_outputs, X, y, START)
    assert plain.r_squared == pytest.approx(1.0 - plain.chi2 / scatter, rel=1e-12)


def test_single_outputs_may_be_missing():
    y = two_outputs(X, 2.0, 1.5)
    y[3, 1] = y[5, 0] = y[5, 1] = np.nan
    result = fit(two_outputs, X, y, START, sigma=np.repeat(SIGMA, 2).reshape(-1, 2), nan_policy="omit")
    assert result.omitted == 3
    assert result.residual.size == 2 * X.size - 3
    np.testing.assert_allclose(result.params, [2.0, 1.5], rtol=1e-8)


def test_complex_data_are_fitted_in_both_parts():
    def resonance(f, a, f0, width):
        return a / (f0 - f + 1j * width)

    f = np.linspace(0.0, 2.0, 50)
    y = resonance(f, 0.5, 1.1, 0.2)
    result = fit(resonance, f, y, [0.4, 1.0, 0.3])
    np.testing.assert_allclose(result.params, [0.5, 1.1, 0.2], rtol=1e-8)
    assert result.residual.shape == (100,)
    y[7] = np.nan
    sigma = np.linspace(0.1, 1.0, 50)
    noisy = y + 0.01 * (RNG.standard_normal(50) + 1j * RNG.standard_normal(50))
    omitted = fit(resonance, f, noisy, [0.4, 1.0, 0.3], sigma=sigma, nan_policy="omit")
    rest = np.delete(np.arange(50), 7)

    def stacked(f, a, f0, width):
        value = resonance(f, a, f0, width)
        return np.concatenate((value.real, value.imag))

    by_hand = fit(
        stacked,
        f[rest],
        np.concatenate((noisy[rest].real, noisy[rest].imag)),
        [0.4, 1.0, 0.3],
        sigma=np.concatenate((sigma[rest], sigma[rest])),
    )
    np.testing.assert_allclose(omitted.params, by_hand.params, rtol=1e-7)
    assert omitted.omitted == 1
    covariance = fit(resonance, f, resonance(f, 0.5, 1.1, 0.2), [0.4, 1.0, 0.3], sigma=np.eye(100))
    np.testing.assert_allclose(covariance.params, [0.5, 1.1, 0.2], rtol=1e-8)
    with pytest.raises(ValueError, match="jac='cs'"):
        fit(resonance, f, resonance(f, 0.5, 1.1, 0.2), [0.4, 1.0, 0.3], jac="cs")


def test_complex_values_for_real_data_are_refused():
    with pytest.raises(TypeError, match="complex values, but y is real"):
        fit(lambda x, a: a * np.exp(1j * x), X, Y, [1.0])


@pytest.mark.parametrize("value", [np.ones(39), np.ones((40, 1)), np.ones((2, 20))])
def test_wrong_shape_of_the_model_is_named(value):
    with pytest.raises(ValueError, match=r"the model returned shape .* but y has shape"):
        fit(lambda x, a: a * value, X, Y, [1.0])


def test_model_may_return_a_constant_or_a_list():
    assert fit(lambda x, a: a, X, Y, [1.0]).params["a"] == pytest.approx(Y.mean())
    assert fit(lambda x, a: [a * t for t in x], X, 2.0 * X, [1.0]).params["a"] == pytest.approx(2.0)
    with pytest.raises(TypeError, match="returned None"):
        fit(lambda x, a: None, X, Y, [1.0])


def test_single_precision_model_is_differenced_at_its_precision():
    def model(x, a, b):
        return (a * np.exp(-b * x.astype(np.float32))).astype(np.float32)

    np.testing.assert_allclose(fit(model, X, Y, START).params, fit(decay, X, Y, START).params, rtol=1e-3)


def test_pandas_series():
    pandas = pytest.importorskip("pandas")
    index = np.arange(X.size)[::-1]
    frame = pandas.DataFrame({"t": X, "y": Y, "s": SIGMA}, index=index)
    result = fit(decay, frame["t"], frame["y"], START, sigma=frame["s"])
    np.testing.assert_array_equal(result.params, fit(decay, X, Y, START, sigma=SIGMA).params)
    assert type(result.predict()) is np.ndarray
    whole = fit(lambda d, a, b: decay(d["t"], a, b), frame, frame["y"], START)
    np.testing.assert_allclose(whole.params, fit(decay, X, Y, START).params, rtol=1e-7)
    frame.loc[3, "t"] = np.nan
    with pytest.raises(ValueError, match="is missing; drop such rows"):
        fit(lambda d, a, b: decay(d["t"], a, b), frame, frame["y"], START)


def test_objects_like_a_series_are_read_by_to_numpy():
    class Column:
        ndim = 1

        def __init__(self, values):
            self.values = values

        def to_numpy(self):
            return self.values

    result = fit(decay, Column(X), Column(Y.astype(object)), START, sigma=Column(SIGMA))
    np.testing.assert_array_equal(result.params, fit(decay, X, Y, START, sigma=SIGMA).params)


def test_empty_data():
    with pytest.raises(ValueError, match="y must not be empty"):
        fit(decay, [], [], START)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_order_of_the_points_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(X.size)
    whole = fit(decay, X, Y, START, sigma=SIGMA)
    permuted = fit(decay, X[order], Y[order], START, sigma=SIGMA[order])
    np.testing.assert_allclose(permuted.params, whole.params, rtol=1e-7)
    np.testing.assert_allclose(permuted.residual, whole.residual[order], rtol=1e-5, atol=1e-9)


# Points without weight


def logarithm(x, a, b):
    return a * np.log(x) + b


def offset_log(x, a, b):
    return a * np.log(x - b)


@pytest.mark.parametrize("loss", ["linear", "huber"])
@pytest.mark.parametrize("way", ["called", "differences", "own jac", "compiled", "traced", "streamed", "chunks"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_points_without_weight_do_not_matter_even_where_the_model_has_no_value(way, loss, monkeypatch):
    """Whether the model is called, or its kernels are."""
    m = {"traced": 110_000, "streamed": 200_000, "chunks": 70_000}.get(way, 60)
    x = np.linspace(0.1, 4.0, m)
    y = logarithm(x, 1.0, 2.0) + 0.1 * np.random.default_rng(1).standard_normal(m)
    weights = np.linspace(1.0, 2.0, m)
    weights[[3, m - 2]], x[3], x[m - 2] = 0.0, -1.0, 0.0
    there = weights > 0.0
    options = {"loss": loss, "loss_scale": 0.2}
    expected = fit(logarithm, x[there], y[there], START, weights=weights[there], **options)
    model = nlsq.compile(logarithm) if way == "compiled" else logarithm
    if way == "own jac":
        options["jac"] = lambda x, a, b: np.stack((np.log(x), np.ones(x.size)), axis=1)
    elif way == "differences":
        options["jac"] = "3-point"
    elif way == "called":
        model = lambda x, a, b: np.array([a * np.log(one) + b for one in x])
    if way == "chunks":
        with np.errstate(divide="ignore"):
            sigma = 1.0 / weights
        found = fit(model, nlsq.ChunkSource(lambda: [(x, y, sigma)]), p0=START, **options)
    else:
        found = fit(model, x, y, START, weights=weights, **options)
    assert found.converged
    assert (found._core.task.data.streamed is not None) == (way in ("streamed", "chunks"))
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-7)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-5)
    assert found.dof == expected.dof
    assert found.chi2 == pytest.approx(expected.chi2, rel=1e-9)
    assert found.r_squared == pytest.approx(expected.r_squared, rel=1e-9)
    assert found.fallbacks == [] or way == "called"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_points_without_weight_stand_in_no_way():
    """A start at which the model has a value everywhere, and a solution at which it has none where nothing counts."""
    x, sigma = np.linspace(0.0, 4.0, 50), np.ones(50)
    sigma[x < 1.1] = np.inf
    y = offset_log(np.maximum(x, 1.1), 2.0, 1.0)
    found = fit(offset_log, x, y, [1.0, -0.5], sigma=sigma)
    assert found.converged
    np.testing.assert_allclose(found.params, [2.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(found.residual[x < 1.1], 0.0)
    np.testing.assert_array_equal(found.jac[x < 1.1], 0.0)
