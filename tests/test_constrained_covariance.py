"""Covariance on active constraints: equal to that after eliminating them, and to what repeated experiments scatter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import null_space

from nlsq.uncertainty.constrained import constrained_covariance
from nlsq.uncertainty.covariance import covariance_from_jacobian

seeds = st.integers(0, 2**32 - 1)


@given(n=st.integers(2, 6), k=st.integers(1, 5), seed=seeds)
def test_equal_to_eliminating_linear_constraints(n, k, seed):
    """x = x0 + Z q for any basis Z, whatever the units of parameters and constraints; constraints given twice too."""
    k = min(k, n - 1)
    rng = np.random.default_rng(seed)
    unit = 10.0 ** rng.uniform(-4, 4, n)
    jac, rows = rng.standard_normal((n + 4, n)), rng.standard_normal((k, n))
    basis = null_space(rows) @ rng.standard_normal((n - k, n - k))
    expected = basis @ covariance_from_jacobian(jac @ basis) @ basis.T
    rows = np.vstack([rows, 5.0 * rows[:1]]) * 10.0 ** rng.uniform(-4, 4, (k + 1, 1))
    found = constrained_covariance(jac / unit, rows / unit)
    size = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert np.all(np.abs(found.covariance / np.outer(unit, unit) - expected) <= 1e-7 * size.max())
    assert found.identifiable.all()
    assert not found.null_directions.size


def test_equal_to_a_parameter_on_a_circle():
    """p = (cos t, sin t), of which the tangent is (-sin t, cos t)."""
    t, jac = 0.7, np.random.default_rng(4).standard_normal((9, 2))
    p, tangent = np.array([np.cos(t), np.sin(t)]), np.array([-np.sin(t), np.cos(t)])
    variance = 1.0 / np.sum((jac @ tangent) ** 2)
    found = constrained_covariance(jac, 2.0 * p[np.newaxis])
    assert found.covariance == pytest.approx(variance * np.outer(tangent, tangent), rel=1e-12)
    assert found.covariance @ p == pytest.approx([0.0, 0.0], abs=1e-15)


def test_equal_to_the_inverse_of_the_kkt_matrix():
    """The leading block of the inverse of [J'J A'; A 0] is the covariance (Aitchison and Silvey 1958)."""
    rng = np.random.default_rng(8)
    jac, rows = rng.standard_normal((9, 5)), rng.standard_normal((2, 5))
    kkt = np.block([[jac.T @ jac, rows.T], [rows, np.zeros((2, 2))]])
    for form in (np.asarray, sparse.csr_array):
        found = constrained_covariance(form(jac), form(rows))
        assert found.covariance == pytest.approx(np.linalg.inv(kkt)[:5, :5], rel=1e-9, abs=1e-12)


def test_constraints_identify_what_data_do_not():
    """The data see a + b only; a - b = 1 makes both known."""
    jac = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    alone, held = constrained_covariance(jac), constrained_covariance(jac, [[1.0, -1.0, 0.0]])
    assert list(alone.identifiable) == [False, False, True]
    assert held.identifiable.all()
    assert held.covariance == pytest.approx(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 8]]) / 8.0, abs=1e-15)


def test_directions_within_the_tangent_space_that_data_do_not_see():
    jac = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    found = constrained_covariance(jac, [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]])
    assert list(found.identifiable) == [False, False, True, True]
    assert np.isnan(found.covariance[0]).all()
    assert np.isnan(found.covariance[:, 1]).all()
    assert found.covariance[2:, 2:] == pytest.approx(np.diag([0.0, 0.2]))
    assert np.abs(found.null_directions) == pytest.approx(np.array([[1.0, 1.0, 0.0, 0.0]]) / np.sqrt(2.0))
    assert found.null_directions[0, 0] == pytest.approx(-found.null_directions[0, 1])


def test_fixed_parameters():
    """A fixed parameter is a constraint x_j = constant."""
    rng = np.random.default_rng(6)
    jac, rows = rng.standard_normal((8, 4)), rng.standard_normal((1, 4))
    found = constrained_covariance(jac, rows, fixed=[False, True, False, False])
    same = constrained_covariance(jac, np.vstack([rows, [0.0, 1.0, 0.0, 0.0]]))
    assert found.covariance == pytest.approx(same.covariance, abs=1e-12)
    assert np.array_equal(found.covariance[1], np.zeros(4))
    assert found.identifiable.all()
    only = constrained_covariance(jac, fixed=[False, True, False, False]).covariance
    assert np.delete(np.delete(only, 1, 0), 1, 1) == pytest.approx(covariance_from_jacobian(np.delete(jac, 1, axis=1)))


def test_all_parameters_fixed():
    found = constrained_covariance(np.eye(2), np.ones((1, 2)), fixed=[True, True])
    assert np.array_equal(found.covariance, np.zeros((2, 2)))
    assert found.identifiable.all()


def test_as_many_constraints_as_parameters_leave_nothing():
    found = constrained_covariance(np.ones((3, 2)), [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert np.array_equal(found.covariance, np.zeros((2, 2)))
    assert found.identifiable.all()


@pytest.mark.parametrize("where", ["jac", "active_jac"])
def test_what_is_not_finite_leaves_all_unknown(where):
    arguments = {"jac": np.eye(3), "active_jac": np.ones((1, 3))}
    arguments[where][0, 1] = np.nan
    found = constrained_covariance(**arguments)
    assert np.isnan(found.covariance).all()
    assert not found.identifiable.any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"active_jac has shape \(1, 3\), but jac has 2 columns"):
        constrained_covariance(np.eye(2), np.ones((1, 3)))
    with pytest.raises(ValueError, match="active_jac has shape"):
        constrained_covariance(np.eye(2), np.ones(2))
    with pytest.raises(ValueError, match="jac has shape"):
        constrained_covariance(np.ones(2))
    with pytest.raises(ValueError, match="give 2 values True or False"):
        constrained_covariance(np.eye(2), fixed=[1, 0])


def test_what_repeated_experiments_scatter():
    """A straight line through noisy points whose coefficients lie on a circle, 4000 times (Monte Carlo)."""
    rng = np.random.default_rng(11)
    x, noise, truth = np.linspace(0.0, 1.0, 12), 0.02, 0.6
    design = np.column_stack([np.ones_like(x), x])
    data = design @ [np.cos(truth), np.sin(truth)] + noise * rng.standard_normal((4000, x.size))
    t = np.full(len(data), truth)
    for _ in range(20):  # Gauss-Newton for the angle of each experiment
        point, tangent = np.array([np.cos(t), np.sin(t)]), np.array([-np.sin(t), np.cos(t)])
        slope = design @ tangent
        t += ((data - (design @ point).T) * slope.T).sum(axis=1) / (slope**2).sum(axis=0)
    scattered = np.cov(np.array([np.cos(t), np.sin(t)]))
    found = noise**2 * constrained_covariance(design, [[np.cos(truth), np.sin(truth)]]).covariance
    assert found == pytest.approx(scattered, rel=0.08)
