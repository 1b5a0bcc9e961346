"""Batches of models that numba compiled, written for one x or for all of them."""

import numba
import numpy as np
import pytest

import nlsq
from nlsq.kernels.backend import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")
X = np.linspace(0.0, 3.0, 25)


@numba.njit
def centred(x, a, b, c):
    """A model in which each value depends on all x, though numba would also take it for one x."""
    values = a * np.exp(-b * x) + c
    return values - np.sum(values) / 7


@numba.njit
def cumulated(x, a, b, c):
    out = np.empty_like(x)
    total = 0.0
    for i in range(x.size):
        total += a * np.exp(-b * x[i]) + c
        out[i] = total
    return out


@numba.njit
def stepped(x, a, b, c):
    return a * np.exp(-b * x) if x < 1.5 else a * np.exp(-b * 1.5) + c * (x - 1.5)


MODELS = {"centred": centred, "cumulated": cumulated, "stepped": stepped}
TRUTH = np.array([[2.0, 1.0, 0.5], [3.0, 0.7, 0.2], [1.5, 1.4, -0.3]])


def values(model, p):
    if model is stepped:
        return np.array([model.py_func(one, *p) for one in X])
    return model.py_func(X, *p)


@pytest.fixture(scope="module")
def compiled():
    return {name: nlsq.compile(model) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_exact_data_are_met(name, compiled):
    Y = np.stack([values(MODELS[name], p) for p in TRUTH])
    result = nlsq.fit_batch(compiled[name], X, Y, [1.0, 0.5, 0.1])
    np.testing.assert_allclose(result.params, TRUTH, rtol=1e-6)
    assert nlsq.fit(compiled[name], X, Y[0], {"a": 1, "b": 0.5, "c": 0.1}).params[0] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_missing_points_keep_their_places(name, compiled):
    Y = np.stack([values(MODELS[name], p) for p in TRUTH])
    Y[1, 3:6] = np.nan
    Y[2, 10] = np.inf
    result = nlsq.fit_batch(compiled[name], X, Y, [1.0, 0.5, 0.1])
    np.testing.assert_allclose(result.params, TRUTH, rtol=1e-6)
    assert result.points.tolist() == [25, 22, 24]


@pytest.mark.parametrize("name", MODELS)
def test_bounds(name, compiled):
    Y = np.stack([values(MODELS[name], p) for p in TRUTH])
    result = nlsq.fit_batch(compiled[name], X, Y, [1.0, 0.5, 0.1], bounds={"a": (0.0, 1.8)}, fixed={"c": TRUTH[:, 2]})
    assert result.converged.all()
    np.testing.assert_allclose(result["a"][:2], 1.8, rtol=1e-8)
    np.testing.assert_allclose(result.params[2], TRUTH[2], rtol=1e-6)
    np.testing.assert_array_equal(result["c"], TRUTH[:, 2])
