"""Sparse normal equations corrected through J, against stacked least squares."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from nlsq.linalg import LinearStatus
from nlsq.linalg.corrected import Corrected
from nlsq.linalg.sparse_cholesky import SparseCholesky


def graded(rng, condition, m=60, n=20):
    """Return a matrix of singular values from 1 to 1 / condition, with columns of about one length."""
    u, _ = np.linalg.qr(rng.standard_normal((m, n)))
    v, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return u @ np.diag(np.geomspace(1.0, 1.0 / condition, n)) @ v.T


def solved(jac, r, damping):
    factorization = Corrected(normal=SparseCholesky()).prepare(jac.shape)
    assert factorization.factorize(csr_array(jac)) is LinearStatus.SOLVED
    step = np.full(jac.shape[1], np.nan)
    return factorization.solve(r, damping, step), step, factorization


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e6])
@pytest.mark.parametrize("share", [0.0, 1e-9, 1e-2])
def test_as_accurate_as_orthogonal_methods(condition, share):
    rng = np.random.default_rng(1)
    jac = graded(rng, condition)
    r = jac @ rng.standard_normal(20) + 1e-3 * rng.standard_normal(60)
    damping = share * np.sum(jac * jac, axis=0)
    status, step, _ = solved(jac, r, damping)
    assert status.usable
    stacked = np.vstack((jac, np.diag(np.sqrt(damping))))
    expected = np.linalg.lstsq(stacked, np.concatenate((-r, np.zeros(20))), rcond=None)[0]
    sensitivity = np.linalg.cond(stacked) * (1.0 + np.linalg.cond(stacked) * 1e-3)
    np.testing.assert_allclose(step, expected, atol=1e-14 * sensitivity * np.abs(expected).max())


def test_lost_digits_are_restored_and_told():
    rng = np.random.default_rng(2)
    jac = graded(rng, 3e7)
    truth = rng.standard_normal(20)
    status, step, factorization = solved(jac, -jac @ truth, np.zeros(20))
    assert status is LinearStatus.CORRECTED
    assert factorization.corrections > 0
    assert np.abs(step - truth).max() < 1e-7  # the normal equations alone are off by 0.01 or more


def test_rank_deficient():
    rng = np.random.default_rng(3)
    jac = rng.standard_normal((30, 8))
    jac[:, 7] = jac[:, 0] + jac[:, 1]
    r = rng.standard_normal(30)
    status, step, _ = solved(jac, r, np.zeros(8))
    assert status.usable
    np.testing.assert_allclose(jac.T @ (jac @ step + r), 0.0, atol=1e-6)
    assert np.abs(step).max() < 100.0


def test_exactly_singular_is_told():
    jac = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, -1.0]])  # all may move at once
    status, step, _ = solved(jac, np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert status in (LinearStatus.RANK_DEFICIENT, LinearStatus.CORRECTED, LinearStatus.SOLVED)
    np.testing.assert_allclose(jac @ step, [-1.0, -2.0, -3.0], atol=1e-10)
    assert np.abs(step).max() < 10.0


def test_zero_columns_get_no_step():
    jac = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    status, step, _ = solved(jac, np.array([1.0, -3.0]), np.zeros(3))
    assert status is LinearStatus.SOLVED
    np.testing.assert_allclose(step, [-3.0, 0.0, 1.0], atol=1e-14)


def test_not_finite():
    jac = np.array([[1.0, np.nan], [0.0, 1.0]])
    factorization = Corrected(normal=SparseCholesky()).prepare(jac.shape)
    assert factorization.factorize(csr_array(jac)) is LinearStatus.NONFINITE
    assert factorization.factorize(csr_array(np.eye(2))) is LinearStatus.SOLVED
    assert not factorization.solve(np.array([np.nan, 1.0]), np.zeros(2), np.zeros(2)).usable
