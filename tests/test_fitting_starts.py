"""Start values from the data, and fits from several starts."""

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.problems import nist
from nlsq.fitting import fit, starts
from nlsq.fitting.candidates import Candidates, axes_of, primes
from nlsq.fitting.separable import Screen
from nlsq.loss import Loss
from nlsq.status import Status

RNG = np.random.default_rng(17)
X = np.linspace(0.0, 10.0, 120)


def gauss(x, height, center, width, offset):
    return height * np.exp(-0.5 * ((x - center) / width) ** 2) + offset


def screen(model, n, x=X, lower=-np.inf, upper=np.inf):
    return Screen(lambda p: model(x, *p), np.zeros(x.size), np.full(n, float(lower)), np.full(n, float(upper)), Loss())


POINTS = [RNG.uniform(0.3, 1.5, 6) for _ in range(12)]


@pytest.mark.parametrize(
    ("model", "n", "linear"),
    [
        (gauss, 4, [0, 3]),
        (lambda x, a, b: a * b * x, 2, [0]),
        (lambda x, a, b: a * x + b, 2, [0, 1]),
        (lambda x, a, b, c: (a + b * x) / (1.0 + c * x), 3, [0, 1]),
        (lambda x, a, b: np.exp(-a * x) + b**2, 2, []),
        (lambda x, a, b: np.exp(a) + np.cos(b * x), 2, []),
        (lambda x, a, b: a * np.exp(-300.0 * b * (1.0 + x)), 2, [0]),
        (lambda x, a, b: a * x + 0.0 * b, 2, [0]),
    ],
)
def test_linear_parameters_are_found_by_trying(model, n, linear):
    tried = screen(model, n)
    with np.errstate(over="ignore", invalid="ignore"):
        tried.find_linear(p[:n] for p in POINTS)
    assert tried.linear == linear
    assert tried.others == [j for j in range(n) if j not in linear]


@pytest.mark.parametrize(("lower", "upper"), [(0.2, 1.6), (0.2, np.inf), (-np.inf, 1.6)])
def test_search_never_leaves_the_bounds(lower, upper):
    seen = []

    def model(x, *p):
        seen.append(p)
        return gauss(x, *p)

    tried = screen(model, 4, lower=lower, upper=upper)
    tried.find_linear(p[:4] for p in POINTS)
    assert tried.linear == [0, 3]
    tried.score(POINTS[0][:4])
    assert np.all(np.array(seen) >= lower)
    assert np.all(np.array(seen) <= upper)


def test_linear_parameters_follow_by_least_squares():
    tried = screen(gauss, 4)
    tried.y = gauss(X, 3.0, 4.0, 0.7, -1.0)
    tried.find_linear(p[:4] for p in POINTS)
    cost, point = tried.score(np.array([0.0, 4.0, 0.7, 0.0]))
    assert cost < 1e-20
    np.testing.assert_allclose(point, [3.0, 4.0, 0.7, -1.0], rtol=1e-10)


@given(
    st.integers(0, 500),
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.none() | st.floats(0.0, 1e3)), min_size=1, max_size=4),
)
def test_candidates_are_within_bounds_and_the_same_each_time(i, ends):
    lower = np.array([low for low, _ in ends])
    upper = np.array([np.inf if width is None else low + width for low, width in ends])
    first, second = (Candidates(X, np.sin(X), lower, upper) for _ in range(2))
    drawn = first.draw(i)
    np.testing.assert_array_equal(drawn, second.draw(i))
    assert np.all((drawn >= lower) & (drawn <= upper))
    for j in range(lower.size):
        ladder = first.ladder(j)
        assert np.all((ladder >= lower[j]) & (ladder <= upper[j]))


def test_axes_of_predictors():
    assert [axis.size for axis in axes_of(X)] == [120]
    assert [axis.size for axis in axes_of(np.ones((2, 9)))] == [9, 9]
    assert len(axes_of((X, X))) == 2
    assert axes_of({"t": X}) == []
    assert primes(5) == [2, 3, 5, 7, 11]


CURVES = {
    "gauss": (gauss, (3.0, 4.2, 0.6, 0.5)),
    "far peak": (lambda x, h, c, w: h * np.exp(-(((x - c) / w) ** 2)), (1e-5, 8.9, 0.3)),
    "lorentz": (lambda x, h, c, w: h / (1.0 + ((x - c) / w) ** 2), (-40.0, 2.0, 0.5)),
    "decay": (lambda x, a, b, c: a * np.exp(-b * x) + c, (5.0, 0.8, 1.0)),
    "growth": (lambda x, a, b: a * np.exp(b * x), (0.01, 0.9)),
    "logistic": (lambda x, a, b, c: a / (1.0 + np.exp(-b * (x - c))), (250.0, 2.5, 6.0)),
    "power": (lambda x, a, b: a * (x + 0.1) ** b, (2.0, 1.7)),
    "sine": (lambda x, a, w, s, c: a * np.sin(w * x + s) + c, (2.0, 3.1, 0.7, 5.0)),
    "hill": (lambda x, v, k, n: v * x**n / (k**n + x**n), (7.0, 3.0, 2.5)),
}


@pytest.mark.parametrize("name", CURVES)
def test_common_curves_are_found_without_a_start(name):
    model, true = CURVES[name]
    clean = model(X, *true)
    y = clean + 0.01 * np.ptp(clean) * np.random.default_rng(4).standard_normal(X.size)
    result = fit(model, X, y)
    reference = fit(model, X, y, true)
    assert result.cost <= reference.cost * (1.0 + 1e-6)
    assert result.nfev_start > 0
    assert f"start values found from the data in {result.nfev_start} evaluations" in result.summary()


@pytest.mark.parametrize("scale_x", [1e-6, 1e5])
def test_units_do_not_matter(scale_x):
    x, y = X * scale_x, 1e-9 * gauss(X, 3.0, 4.2, 0.6, 0.5)
    result = fit(gauss, x, y)
    np.testing.assert_allclose(result.params, [3e-9, 4.2 * scale_x, 0.6 * scale_x, 0.5e-9], rtol=1e-5)


def test_start_from_the_data_is_the_same_each_time_and_keeps_bounds():
    y = gauss(X, 3.0, 4.2, 0.6, 0.5) + 0.01 * np.sin(40.0 * X)
    seen = []

    def model(x, height, center, width, offset):
        seen.append((height, center, width, offset))
        return gauss(x, height, center, width, offset)

    bounds = {"height": (0.0, 2.5), "center": (3.0, 5.0), "width": (0.1, None)}
    first = fit(model, X, y, bounds=bounds)
    second = fit(gauss, X, y, bounds=bounds)
    np.testing.assert_array_equal(first.start, second.start)
    np.testing.assert_allclose(first.params, second.params, rtol=1e-6)
    points = np.array(seen)
    assert np.all(points[:, 0] >= 0.0)
    assert np.all(points[:, 0] <= 2.5)
    assert np.all((points[:, 1] >= 3.0) & (points[:, 1] <= 5.0))
    assert np.all(points[:, 2] >= 0.1)
    assert first.params["height"] == pytest.approx(2.5)


def test_sign_without_effect_is_taken_positive():
    y = gauss(X, 3.0, 4.2, 0.6, 0.5)
    assert fit(gauss, X, y).params["width"] > 0.0


def test_held_parameters_stay_while_others_are_found():
    y = gauss(X, 3.0, 4.2, 0.6, 0.5)
    result = fit(gauss, X, y, fixed={"offset": 0.5})
    np.testing.assert_allclose(result.params, [3.0, 4.2, 0.6, 0.5], rtol=1e-6)
    assert result.start["offset"] == 0.5


def test_long_data_are_looked_at_in_part():
    x = np.linspace(0.0, 10.0, 50_000)
    whole = []

    def model(x, height, center, width, offset):
        whole.append(x.size)
        return gauss(x, height, center, width, offset)

    result = fit(model, x, gauss(x, 3.0, 4.2, 0.6, 0.5), sigma=np.full(x.size, 0.1))
    np.testing.assert_allclose(result.params, [3.0, 4.2, 0.6, 0.5], rtol=1e-6)
    assert np.count_nonzero(np.array(whole) == x.size) < 100
    assert len(whole) > 500

    def normalised(x, height, width):  # its values depend on all of x
        return height * np.exp(-x / width) / x.size

    result = fit(normalised, x[:3000], normalised(x[:3000], 5.0, 0.2))
    np.testing.assert_allclose(result.params, [5.0, 0.2], rtol=1e-6)


def test_several_predictors_complex_data_and_robust_losses_have_starts_too():
    u, v = RNG.uniform(0.0, 5.0, (2, 80))
    result = fit(lambda x, a, b, c: a * np.exp(-b * x[0]) + c * x[1], (u, v), 3.0 * np.exp(-0.7 * u) + 2.0 * v)
    np.testing.assert_allclose(result.params, [3.0, 0.7, 2.0], rtol=1e-6)
    result = fit(lambda t, a, w: a * np.exp(1j * w * t), X, 2.0 * np.exp(1.3j * X))
    np.testing.assert_allclose(result.params, [2.0, 1.3], rtol=1e-6)
    y = gauss(X, 3.0, 4.2, 0.6, 0.5)
    y[::10] += 20.0
    result = fit(gauss, X, y, loss="cauchy", loss_scale=0.1)
    np.testing.assert_allclose(result.params, [3.0, 4.2, 0.6, 0.5], atol=0.02)


def test_expensive_model_is_not_searched_for_ever(monkeypatch):
    monkeypatch.setattr(starts, "PATIENCE", 0.05)

    def slow(x, height, center, width, offset):
        time.sleep(0.002)
        return gauss(x, height, center, width, offset)

    result = fit(slow, X, gauss(X, 3.0, 4.2, 0.6, 0.5))
    assert result.nfev_start < 100
    assert starts.CUT_SHORT in result.fallbacks
    several = fit(slow, X, gauss(X, 3.0, 4.2, 0.6, 0.5), starts=2, max_evaluations=3)
    assert starts.CUT_SHORT in several.fallbacks


def test_model_without_values_anywhere_starts_at_one():
    result = fit(lambda x, a: np.full_like(x, np.nan), X, X)
    assert result.status == Status.NONFINITE_START
    assert result.params["a"] == 1.0
    with pytest.raises(ZeroDivisionError):
        fit(lambda x, a: [1 // 0] * 120, X, X)


def test_errors_that_say_nothing_about_values_pass():
    with pytest.raises(KeyError):
        fit(lambda x, a: x["t"], {"s": X}, X)


def test_warnings_of_the_search_are_not_the_users():
    result = fit(lambda x, a, b: a * np.exp(b * x**2), X, np.exp(-0.1 * X**2))  # warnings are errors here
    np.testing.assert_allclose(result.params, [1.0, -0.1], rtol=1e-6)


def test_several_starts_give_distinct_minima():
    def model(x, w):
        return np.sin(w * x)

    result = fit(model, X, np.sin(2.0 * X), [2.5], starts=12)
    assert result.params["w"] == pytest.approx(2.0)
    assert len(result.minima) > 2
    assert sum(minimum.starts for minimum in result.minima) == 12
    costs = [minimum.cost for minimum in result.minima]
    assert costs == sorted(costs)
    assert result.minima[0].cost == result.cost
    frequencies = [minimum.params["w"] for minimum in result.minima]
    assert len({round(w, 3) for w in frequencies}) == len(frequencies)
    assert "distinct ends of 12 starts" in result.summary()


def test_several_starts_that_agree_are_one_minimum():
    result = fit(lambda x, a, b: a * x + b, X, 3.0 * X + 1.0 + np.sin(9.0 * X), [1.0, 1.0], starts=5)
    (only,) = result.minima
    assert (only.starts, only.status.converged) == (5, True)
    assert result.nfev >= 5
    perfect = fit(lambda x, a, b: a * x + b, X, 3.0 * X + 1.0, [1.0, 1.0], starts=5)
    assert len(perfect.minima) == 1


def test_several_starts_from_the_data_and_within_bounds():
    y = gauss(X, 3.0, 4.2, 0.6, 0.5) + 2.0 * np.exp(-((X - 8.0) ** 2))
    bounds = {"center": (0.0, 10.0), "width": (0.1, 5.0)}
    result = fit(gauss, X, y, bounds=bounds, starts=8)
    assert sum(minimum.starts for minimum in result.minima) == 8
    assert len(result.minima) > 1
    for minimum in result.minima:
        assert 0.0 <= minimum.params["center"] <= 10.0
        assert 0.1 <= minimum.params["width"] <= 5.0
    assert result.cost <= fit(gauss, X, y, bounds=bounds).cost * (1.0 + 1e-9)


def test_time_limit_ends_several_starts():
    result = fit(gauss, X, gauss(X, 3.0, 4.2, 0.6, 0.5), [1.0, 4.0, 1.0, 0.0], starts=50, time_limit=0.0)
    assert sum(minimum.starts for minimum in result.minima) == 1
    assert any("1 of 50 starts" in note for note in result.fallbacks)


QUICK = (
    "BoxBOD", "Chwirut2", "DanWood", "Eckerle4", "MGH09", "MGH10", "MGH17", "Misra1a", "Misra1d", "Nelson", "Rat42",
         "Rat43", "Bennett5",
)  # fmt: skip


def reached(problem, result):
    return 2.0 * result.cost <= problem.certified_rss * (1.0 + 1e-6)


def test_nist_problems_without_a_start():
    problems = [nist.load(name) for name in QUICK]
    found = [problem.name for problem in problems if reached(problem, fit(problem.model, problem.x, problem.y))]
    assert len(found) >= 12, found


@pytest.mark.slow
def test_all_nist_problems_without_a_start_against_ones():
    from_data, from_ones = [], []
    with np.errstate(all="ignore"):
        for problem in nist.all_problems():
            from_data.append(reached(problem, fit(problem.model, problem.x, problem.y)))
            from_ones.append(reached(problem, fit(problem.model, problem.x, problem.y, np.ones(problem.n))))
    assert sum(from_data) >= 25
    assert sum(from_ones) <= 18


@settings(max_examples=15)
@given(st.floats(0.5, 9.5), st.floats(0.1, 2.0), st.floats(-10.0, 10.0).filter(lambda h: abs(h) > 0.1))
def test_peaks_anywhere_are_found(center, width, height):
    assume(width <= 1.5 or 2.0 <= center <= 8.0)  # half of a wide peak is nearly a dip beside it: 1 in 600 is missed
    y = gauss(X, height, center, width, 1.0)
    result = fit(gauss, X, y)
    assert result.r_squared > 0.999999
