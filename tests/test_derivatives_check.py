"""The Jacobian checker: no false alarms, and the right name for every mistake."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from nlsq.derivatives import JacobianMismatchError, JacobianShapeError, check_jacobian, jacobian
from nlsq.derivatives.richardson import reference_jacobian

T = np.linspace(0.1, 3.0, 7)
X = np.array([2.0, 0.7, 1.3])


def model(x):
    return x[0] * np.exp(-x[1] * T) + np.sin(x[2] * T)


def model_jac(x):
    e = np.exp(-x[1] * T)
    return np.stack([e, -x[0] * T * e, T * np.cos(x[2] * T)], axis=1)


def square(x):
    return np.array([x[0] * x[1], np.sin(x[1]) + x[2], x[0] ** 2 * x[2]])


def square_jac(x):
    return np.array([[x[1], x[0], 0.0], [0.0, np.cos(x[1]), 1.0], [2 * x[0] * x[2], 0.0, x[0] ** 2]])


def changed(jac, change):
    def wrong(x):
        value = jac(x)
        result = change(value)
        return value if result is None else result

    return wrong


def put(entry, value):
    def change(jac):
        jac[entry] = value

    return change


def times(key, factor):
    def change(jac):
        jac[key] *= factor

    return change


# Reference derivatives


def reference(fun, x, lower=-np.inf, upper=np.inf):
    x = np.asarray(x, dtype=float)
    return reference_jacobian(fun, x, np.full(x.size, lower), np.full(x.size, upper))


def test_reference_is_accurate_and_knows_how_much():
    jac, error = reference(model, X)
    off = np.abs(jac - model_jac(X))
    assert off.max() < 1e-11
    assert np.all(off <= 10 * error)
    assert error.max() < 1e-8


@pytest.mark.parametrize("x", [1e-300, 1e-9, -1e-4, 1.0, 1e12, 1e200])
def test_reference_at_any_size(x):
    jac, error = reference(lambda p: np.array([(p[0] / x) ** 2, np.exp(p[0] / x)]), [x])
    np.testing.assert_allclose(jac[:, 0] * x, [2.0, np.e], rtol=1e-9)
    assert np.all(np.abs(jac[:, 0] * x - [2.0, np.e]) <= 10 * error[:, 0] * abs(x))


@pytest.mark.parametrize("x", [0.0, 1e-15, -1e-9])
def test_reference_of_small_parameters_without_scale(x):
    jac, _ = reference(lambda p: np.array([p[0] - 3.0, np.cos(p[0]) + 2 * p[0]]), [x])
    np.testing.assert_allclose(jac, [[1.0], [2.0]], rtol=1e-8)


@pytest.mark.parametrize(("lower", "upper"), [(2.0, 9.0), (-9.0, 2.0), (2 - 1e-4, 2 + 1e-4), (2 - 1e-9, 9.0)])
def test_reference_stays_inside_bounds(lower, upper):
    def residual(p):
        assert lower <= p[0] <= upper
        return np.array([np.exp(p[0]), p[0]])

    jac, error = reference(residual, [2.0], lower, upper)
    np.testing.assert_allclose(jac[:, 0], [np.exp(2.0), 1.0], rtol=1e-7)
    assert np.all(np.abs(jac[:, 0] - [np.exp(2.0), 1.0]) <= 10 * error[:, 0])


def test_reference_says_nothing_about_fixed_parameters_and_nan():
    jac, error = reference(lambda p: np.array([p[0], np.nan]), [2.0], 2.0, 2.0)
    assert np.isnan(jac).all()
    assert np.isinf(error).all()
    jac, error = reference(lambda p: np.array([p[0], np.nan]), [2.0])
    assert error[0, 0] < 1e-8
    assert np.isinf(error[1, 0])


def test_reference_measures_noise():
    """Noise of 1e-6 that the size of the residual does not show must show in the error."""
    rng = np.random.default_rng(0)
    jac, error = reference(lambda p: p**2 + 1e-6 * rng.standard_normal(1), [1.0])
    assert abs(jac[0, 0] - 2.0) <= 10 * error[0, 0]
    assert error[0, 0] > 1e-6


# No false alarms


@pytest.mark.parametrize(("fun", "jac"), [(model, model_jac), (square, square_jac)])
@given(x=st.lists(st.floats(0.05, 3.0), min_size=3, max_size=3))
def test_correct_jacobians_pass(fun, jac, x):
    report = check_jacobian(fun, jac, x)
    assert report.ok
    assert bool(report)
    assert report.diagnosis == "correct"
    assert report.max_error < 1e-6
    assert "agrees" in str(report)


@pytest.mark.parametrize("x", [[0.0, 0.0, 0.0], [1e-9, 1.0, 1e6], [-1e-12, 1e-3, 1e3]])
def test_correct_jacobians_pass_at_awkward_points(x):
    assert check_jacobian(square, square_jac, x).ok


def test_differences_inside_jac_pass():
    assert check_jacobian(model, jacobian(model, "forward"), X).ok
    assert check_jacobian(model, jacobian(model, "complex"), X).ok


def test_cancelling_data_are_no_alarm():
    data = 1e8 * model(X)
    assert check_jacobian(lambda x: 1e8 * model(x) - data, lambda x: 1e8 * model_jac(x), X).ok


@pytest.mark.parametrize("seed", range(5))
def test_random_noise_is_no_alarm(seed):
    rng = np.random.default_rng(seed)
    assert check_jacobian(lambda x: model(x) + 1e-7 * rng.standard_normal(T.size), model_jac, X).ok


def test_float32_is_no_alarm():
    assert check_jacobian(lambda x: model(x).astype(np.float32), model_jac, X).ok


def test_symmetric_jacobian_is_no_transpose():
    def gradient(x):
        return np.array([2 * x[0] + x[1] * x[2], x[0] * x[2], x[0] * x[1]])

    def hessian(x):
        return np.array([[2.0, x[2], x[1]], [x[2], 0.0, x[0]], [x[1], x[0], 0.0]])

    assert check_jacobian(gradient, hessian, X).ok


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.coo_matrix, aslinearoperator, np.ndarray.tolist])
def test_every_kind_of_jacobian(convert):
    assert check_jacobian(model, lambda x: convert(model_jac(x)), X).ok
    report = check_jacobian(model, lambda x: convert(-model_jac(x)), X)
    assert report.diagnosis == "sign"


def test_fixed_parameters_are_not_judged():
    wrong = changed(model_jac, times((slice(None), 1), 5.0))
    assert check_jacobian(model, wrong, X, bounds=([-9, 0.7, -9], [9, 0.7, 9])).ok
    assert not check_jacobian(model, wrong, X, bounds=([-9, 0.6, -9], [9, 0.7, 9])).ok


def test_bounds_are_kept():
    lower, upper = X - 1e-3, X

    points = []
    seen = lambda function: lambda x: points.append(x.copy()) or function(x)
    assert check_jacobian(seen(model), seen(model_jac), X, bounds=(lower, upper)).ok
    assert len(points) > 100
    assert all(np.all((lower <= x) & (x <= upper)) for x in points)


def test_points_where_the_function_raises_are_left_out():
    def only_here(x):
        if abs(x[0] - 2.0) > 0.11:
            raise RuntimeError("too far")
        return model(x)

    assert check_jacobian(only_here, model_jac, X).ok

    def raises(x):
        raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        check_jacobian(raises, model_jac, X)
    with pytest.raises(RuntimeError, match="here"):
        check_jacobian(model, raises, X)


# Mistakes


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("j", range(3))
@pytest.mark.parametrize("factor", [1.001, 0.5, -2.0])
def test_names_a_single_wrong_entry(i, j, factor):
    report = check_jacobian(square, changed(square_jac, lambda jac: put((i, j), factor * jac[i, j] + 0.01)(jac)), X)
    value = square_jac(X)[i, j]
    assert not report.ok
    assert not report
    assert report.entry == (i, j)
    assert report.jac_value == pytest.approx(factor * value + 0.01)
    assert report.difference_value == pytest.approx(value, abs=1e-8)
    assert report.max_error == pytest.approx(abs((factor - 1) * value + 0.01), rel=1e-4)
    assert report.uncertainty < 1e-7
    np.testing.assert_array_equal(report.disagreements, [[i, j]])
    assert f"residual {i}, parameter {j}" in report.message


def test_names_of_parameters():
    report = check_jacobian(square, changed(square_jac, put((1, 2), 7.0)), X, names=["a", "b", "c"])
    assert "residual 1, parameter 2 (c): jac has 7, differences 1" in report.message
    assert report.diagnosis == "entries"


def test_worst_of_several_entries():
    def change(jac):
        jac[0, 0] += 0.5
        jac[4, 2] += 3.0
        jac[5, 1] -= 1.0

    report = check_jacobian(model, changed(model_jac, change), X)
    assert report.entry == (4, 2)
    assert report.max_error == pytest.approx(3.0)
    np.testing.assert_array_equal(report.disagreements, [[0, 0], [4, 2], [5, 1]])
    assert "3 of 21 entries" in report.message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_entries_are_wrong(bad):
    report = check_jacobian(model, changed(model_jac, put((2, 1), bad)), X)
    assert report.entry == (2, 1)
    assert report.max_error == np.inf


def test_transposed_rectangular():
    report = check_jacobian(model, lambda x: model_jac(x).T, X)
    assert not report.ok
    assert report.diagnosis == "transposed"
    assert "transpose" in report.message
    assert "right" in report.message
    assert check_jacobian(model, lambda x: -model_jac(x).T, X).diagnosis == "transposed and sign"
    wrong = check_jacobian(model, lambda x: changed(model_jac, put((1, 1), 9.0))(x).T, X)
    assert wrong.diagnosis == "entries"
    assert wrong.entry == (1, 1)


def test_transposed_square():
    report = check_jacobian(square, lambda x: square_jac(x).T, X)
    assert report.diagnosis == "transposed"
    assert "transpose" in report.message
    assert check_jacobian(square, lambda x: -square_jac(x).T, X).diagnosis == "transposed and sign"


@pytest.mark.parametrize("skew", [1e-4, 1e-2, 1.0])
def test_transposed_although_nearly_symmetric(skew):
    matrix = np.array([[4.0, 1.0 + skew], [1.0, 3.0]])
    report = check_jacobian(lambda x: matrix @ x, lambda x: matrix.T, [1.0, 2.0])
    assert report.diagnosis == "transposed"
    assert check_jacobian(lambda x: matrix @ x, lambda x: matrix, [1.0, 2.0]).ok


def test_transposed_although_symmetric_at_the_point():
    """J = [[1, x0], [x1, 1]] is symmetric where x0 = x1."""
    fun = lambda x: np.array([x[0] + x[0] * x[1], x[1] + x[0] * x[1]])
    jac = lambda x: np.array([[1 + x[1], x[0]], [x[1], 1 + x[0]]])
    assert check_jacobian(fun, jac, [2.0, 2.0]).ok
    report = check_jacobian(fun, lambda x: jac(x).T, [2.0, 2.0])
    assert not report.ok
    assert report.diagnosis == "transposed"
    assert not np.array_equal(report.x, [2.0, 2.0])


def test_sign_and_factor_throughout():
    report = check_jacobian(model, lambda x: -model_jac(x), X)
    assert report.diagnosis == "sign"
    assert "data - model" in report.message
    report = check_jacobian(model, lambda x: 2.0 * model_jac(x), X)
    assert report.diagnosis == "factor"
    assert report.factors == {0: pytest.approx(2.0)}
    assert "2 times" in report.message


def test_columns():
    wrong = changed(model_jac, lambda jac: jac * [1.0, -1.0, np.pi / 180])
    report = check_jacobian(model, wrong, X, names=["a", "k", "w"])
    assert report.diagnosis == "columns"
    assert report.factors == {1: pytest.approx(-1.0), 2: pytest.approx(np.pi / 180, rel=1e-6)}
    assert "Column 1 (k) has its sign flipped; Column 2 (w) is 0.0174533 times" in report.message


def test_rows():
    report = check_jacobian(model, changed(model_jac, times(4, -1.0)), X)
    assert report.diagnosis == "rows"
    assert report.factors == {4: pytest.approx(-1.0)}
    assert "Row 4 has its sign flipped" in report.message


def test_permuted_columns():
    report = check_jacobian(model, lambda x: model_jac(x)[:, [2, 1, 0]], X)
    assert report.diagnosis == "permuted"
    assert report.permutation == {0: 2, 2: 0}
    assert "column 0 holds the derivative by 2" in report.message


def test_missing_column():
    report = check_jacobian(model, changed(model_jac, times((slice(None), 1), 0.0)), X)
    assert report.diagnosis == "entries"
    assert len(report.disagreements) == T.size


def test_wrong_shape():
    with pytest.raises(JacobianShapeError, match=r"expected \(7, 3\), actual \(7, 2\)"):
        check_jacobian(model, lambda x: model_jac(x)[:, :2], X)


def test_raising():
    with pytest.raises(JacobianMismatchError, match="sign is flipped") as caught:
        check_jacobian(model, lambda x: -model_jac(x), X, raise_on_error=True)
    assert caught.value.report.diagnosis == "sign"
    assert check_jacobian(model, model_jac, X, raise_on_error=True).ok


def test_tolerance():
    slightly = lambda x: model_jac(x) * (1 + 1e-4)
    assert not check_jacobian(model, slightly, X).ok
    assert check_jacobian(model, slightly, X, rtol=1e-3).ok


def test_nothing_to_judge():
    report = check_jacobian(model, model_jac, X, bounds=(X, X))
    assert not report.ok
    assert report.entry is None
    assert "Nothing could be compared" in report.message
