"""The checker of second derivatives names the entry that is wrong."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

from nlsq.derivatives.check_hessian import HessianMismatchError
from nlsq.derivatives.second_order import check_hessian

# r_i = exp(a_i' x) / (1 + i),  d2 r_i = r_i a_i a_i'

A = np.array([[0.3, -0.2, 0.5], [1.0, 0.4, 0.0], [0.0, -0.7, 0.2], [0.6, 0.1, -0.4]])
WEIGHTS = np.array([0.5, -1.5, 2.0, 0.7])


def jacobian(x):
    return (np.exp(A @ x) / np.arange(1.0, 5.0))[:, np.newaxis] * A


def hessian(x, weights):
    return (A.T * (weights * np.exp(A @ x) / np.arange(1.0, 5.0))) @ A


X = np.array([0.3, -0.8, 1.1])


def test_right_hessian_passes():
    for wrap in (np.asarray, csr_array, aslinearoperator):
        report = check_hessian(lambda x, w, wrap=wrap: wrap(hessian(x, w)), jacobian, X, WEIGHTS)
        assert report and report.entry is None and "agrees" in str(report)


@pytest.mark.parametrize("entry", [(0, 0), (2, 1), (1, 2), (2, 0)])
@pytest.mark.parametrize("wrap", [np.asarray, csr_array, aslinearoperator])
def test_wrong_entry_is_named(entry, wrap):
    def wrong(x, w):
        matrix = hessian(x, w)
        matrix[entry] *= 1.01
        matrix[entry[::-1]] = matrix[entry]
        return wrap(matrix)

    report = check_hessian(wrong, lambda x: wrap(jacobian(x)), X, WEIGHTS)
    assert not report and tuple(sorted(report.entry)) == tuple(sorted(entry))
    j, k = report.entry
    assert report.difference_value == pytest.approx(hessian(X, WEIGHTS)[j, k], rel=1e-4)
    assert report.hessian_value == pytest.approx(1.01 * hessian(X, WEIGHTS)[j, k], rel=1e-4)
    with pytest.raises(HessianMismatchError, match=rf"entry \({j}, {k}\) of the Hessian"):
        check_hessian(wrong, jacobian, X, WEIGHTS, raise_on_error=True)


def test_one_triangle_is_not_enough():
    report = check_hessian(lambda x, w: np.tril(hessian(x, w)), jacobian, X, WEIGHTS)
    assert not report and "not symmetric" in str(report) and "Both triangles" in str(report)
    report = check_hessian(lambda x, w: csr_array(np.tril(hessian(x, w))), jacobian, X, WEIGHTS)
    assert not report and "not symmetric" in str(report)


def test_checker_stays_inside_the_bounds():
    x = np.array([0.3, -0.8, 1.1])
    lower, upper = np.array([0.3, -2.0, 1.1]), np.array([2.0, -0.8, 1.1])
    points = []

    def recorded(x):
        points.append(x.copy())
        return jacobian(x)

    assert check_hessian(hessian, recorded, x, WEIGHTS, bounds=(lower, upper))
    assert len(points) == 4
    for point in points:
        assert (lower <= point).all() and (point <= upper).all()


def test_checker_takes_jacobians_by_differences():
    def by_differences(x):
        h = 1.5e-8
        f = lambda x: np.exp(A @ x) / np.arange(1.0, 5.0)
        return np.column_stack([(f(x + h * e) - f(x)) / h for e in np.eye(3)])

    assert check_hessian(hessian, by_differences, X, WEIGHTS)


def test_nan_in_the_hessian_is_named():
    def wrong(x, w):
        matrix = hessian(x, w)
        matrix[1, 1] = np.nan
        return matrix

    report = check_hessian(wrong, jacobian, X, WEIGHTS)
    assert not report and report.entry == (1, 1)


def test_wrong_shape_of_the_hessian_is_named():
    with pytest.raises(ValueError, match=r"shape \(3, 3\), got \(2, 2\)"):
        check_hessian(lambda x, w: np.eye(2), jacobian, X, WEIGHTS)


def test_says_when_nothing_can_be_compared():
    report = check_hessian(hessian, lambda x: jacobian(x) * np.nan, X, WEIGHTS)
    assert report and "nothing was compared" in str(report)


@pytest.mark.parametrize("wrap", [list, csr_array, aslinearoperator])
def test_row_of_weight_zero_is_not_checked(wrap):
    weights = WEIGHTS * [1, 0, 1, 1]
    assert check_hessian(hessian, lambda x: wrap(jacobian(x)), X, weights)
    assert not check_hessian(lambda x, w: hessian(x, WEIGHTS), lambda x: wrap(jacobian(x)), X, weights)
