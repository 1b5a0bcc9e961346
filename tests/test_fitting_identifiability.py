"""Which parameters the data identify, and what errors the others have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlsq.fitting import fit
from nlsq.uncertainty.identifiability import CENTRAL, identify, identify_from_normal, unknown

X = np.linspace(0.1, 4.0, 50)
NOISE = 0.01 * np.random.default_rng(5).standard_normal(X.size)


def test_full_rank_gives_the_inverse_of_the_normal_matrix():
    jac = np.random.default_rng(0).standard_normal((20, 4)) * [1.0, 1e6, 1e-6, 1e-3]
    found = identify(jac)
    scale = np.linalg.norm(jac, axis=0)
    np.testing.assert_allclose(
        found.covariance * np.outer(scale, scale), np.linalg.inv(jac.T @ jac / np.outer(scale, scale)), rtol=1e-9
    )
    assert found.identifiable.all()
    assert found.null_directions.shape == (0, 4)
    same = identify_from_normal(jac.T @ jac)
    np.testing.assert_allclose(same.covariance, found.covariance, rtol=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(-8, 8))
def test_null_space_is_found_whatever_the_units(seed, missing, decades):
    rng = np.random.default_rng(seed)
    n = 6
    free, mixed = (
        rng.standard_normal((30, n - 3)),
        rng.standard_normal((30, 3 - missing)) @ rng.standard_normal((3 - missing, 3)),
    )
    units = 10.0 ** (decades * rng.random(n))
    found = identify(np.hstack([free, mixed]) * units)
    np.testing.assert_array_equal(found.identifiable, [True] * 3 + [False] * 3)
    assert found.null_directions.shape == (missing, n)
    jac = np.hstack([free, mixed]) * units
    moved = np.abs(jac @ found.null_directions.T).max(axis=0, initial=0.0)
    assert np.all(moved <= 1e-9 * np.abs(jac * found.null_directions[:, None, :]).max(initial=0.0))
    np.testing.assert_allclose(np.linalg.norm(found.null_directions, axis=1), 1.0)
    projected = free - mixed @ np.linalg.pinv(mixed) @ free if missing < 3 else free
    covariance = np.linalg.inv(projected.T @ projected) / np.outer(units[:3], units[:3])
    np.testing.assert_allclose(found.covariance[:3, :3], covariance, rtol=1e-6)
    assert np.isnan(found.covariance[3:]).all()
    assert np.isnan(found.covariance[:, 3:]).all()


def test_normal_matrix_declines_where_it_has_no_digits():
    jac = np.random.default_rng(1).standard_normal((20, 2))
    assert identify_from_normal(jac[:, [0, 0]].T @ jac[:, [0, 0]]) is None
    nearly = np.stack([jac[:, 0], jac[:, 0] + 1e-7 * jac[:, 1]], axis=1)
    assert identify_from_normal(nearly.T @ nearly) is None
    assert identify(nearly).identifiable.all()
    assert not identify(nearly, precision=1e-6).identifiable.any()
    assert identify_from_normal(np.full((2, 2), np.nan)) is None
    assert identify_from_normal(np.diag([1.0, 0.0])) is None


def test_what_is_not_finite_says_nothing():
    found = identify(np.array([[1.0, np.nan], [0.0, 1.0]]))
    assert not found.identifiable.any()
    assert np.isnan(found.covariance).all()
    assert unknown(2).null_directions.shape == (0, 2)


def test_extreme_columns():
    jac = np.array([[1e100, 0.0, 1e-100], [1e100, 0.0, -1e-100], [0.0, 0.0, 1e-100]])
    found = identify(jac)
    np.testing.assert_array_equal(found.identifiable, [True, False, True])
    np.testing.assert_array_equal(found.null_directions, [[0.0, 1.0, 0.0]])


@pytest.mark.parametrize("jac", [None, "2-point", "3-point", "cs", "callable"])
def test_product_of_two_parameters_is_identified_alone(jac):
    def model(x, a, b, rate):
        return a * b * np.exp(-rate * x)

    def derivatives(x, a, b, rate):
        e = np.exp(-rate * x)
        return np.stack([b * e, a * e, -a * b * x * e], axis=1)

    result = fit(model, X, 2.0 * np.exp(-X) + NOISE, [1.0, 1.5, 0.7], jac=derivatives if jac == "callable" else jac)
    assert result.converged
    np.testing.assert_array_equal(result.identifiable, [False, False, True])
    reduced = fit(lambda x, c, rate: c * np.exp(-rate * x), X, 2.0 * np.exp(-X) + NOISE, [1.0, 0.7])
    assert np.isnan(result.stderr[:2]).all()
    # one degree of freedom fewer: the product counts as two parameters
    assert result.stderr["rate"] * np.sqrt(result.dof) == pytest.approx(
        reduced.stderr["rate"] * np.sqrt(reduced.dof), rel=1e-4
    )
    (direction,) = result.null_directions
    a, b, _ = result.params
    np.testing.assert_allclose(direction[0] / direction[1], -a / b, rtol=1e-5)
    assert direction[2] == 0.0
    assert "0.71 a - 0.71 b" in result.summary()
    assert "not identified by the data" in result.summary()
    assert np.isnan(result.correlation[0]).all()


def test_prediction_is_known_where_the_data_identify_it():
    def model(x, a, b, c):
        return a * b * np.exp(-x) + c * np.maximum(x - 10.0, 0.0)

    result = fit(model, X, 2.0 * np.exp(-X) + NOISE, [1.0, 1.5, 1.0])
    np.testing.assert_array_equal(result.identifiable, [False, False, False])
    band = result.predict(np.array([1.0, 12.0]), level=0.95)
    assert band.upper[0] - band.lower[0] < 0.02
    assert np.isnan(band.upper[1])


def test_parameter_without_influence():
    result = fit(lambda x, a, b: a * x, X, 2.0 * X + NOISE, [1.0, 1.0])
    np.testing.assert_array_equal(result.identifiable, [True, False])
    assert np.isfinite(result.stderr["a"])
    np.testing.assert_allclose(result.null_directions, [[0.0, 1.0]])


def test_more_parameters_than_data():
    result = fit(
        lambda x, a, b, c: a + b * x + c * x**2, [0.0, 1.0], [1.0, 3.0], [0.0, 0.0, 0.0], sigma=0.1, absolute_sigma=True
    )
    assert result.dof == -1
    np.testing.assert_array_equal(result.identifiable, [True, False, False])
    assert result.stderr["a"] == pytest.approx(0.1, rel=1e-6)
    np.testing.assert_allclose(result.residual, 0.0, atol=1e-9)


def test_hard_but_identified_problems_stay_identified():
    # A sum of two exponentials of nearly equal rates: scaled condition of about 1e5.
    def model(x, a, k, b, q):
        return a * np.exp(-k * x) + b * np.exp(-q * x)

    result = fit(model, X, model(X, 1.0, 1.0, 1.0, 1.05), [1.0, 1.001, 1.0, 1.049])
    assert 0 < result._identification.relative_gap < 1e-3
    assert result._identification.relative_gap > CENTRAL
    assert result.identifiable.all()


def test_parameter_at_a_bound_counts_as_held():
    def model(x, a, b):
        return a * np.exp(-b * x)

    y = 2.0 * np.exp(-X) + NOISE
    result = fit(model, X, y, [1.0, 0.3], bounds={"b": (0.0, 0.5)})
    np.testing.assert_array_equal(result.at_bound, [0, 1])
    held = fit(model, X, y, [1.0, 0.3], fixed={"b": 0.5})
    assert result.params["a"] == pytest.approx(held.params["a"], rel=1e-8)
    # the parameter at the bound still counts in the degrees of freedom
    assert result.stderr["a"] * np.sqrt(result.dof) == pytest.approx(held.stderr["a"] * np.sqrt(held.dof), rel=1e-6)
    assert result.stderr["b"] == 0.0
    assert result.identifiable.all()
    np.testing.assert_array_equal(result.correlation, np.eye(2))
