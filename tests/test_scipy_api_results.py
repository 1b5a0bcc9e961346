"""Results have SciPy's fields, types and values."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from scipy.optimize import OptimizeResult, OptimizeWarning
from scipy.sparse import coo_array, csr_array, csr_matrix, lil_matrix
from scipy.sparse.linalg import aslinearoperator
from test_scipy_api_helpers import (
    OURS,
    SCIPY,
    X,
    Y,
    as_scipy_1_17,
    line,
    rosenbrock,
    rosenbrock_jac,
    three,
    three_jac,
    warnings_of,
)

from nlsq.compiler import routes
from nlsq.scipy_api.factors import minpack_factors, triangle
from nlsq.uncertainty import covariance_from_jacobian, covariance_from_triangle

rng = np.random.default_rng(20)
T = np.linspace(0.0, 4.0, 60)
DATA = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.1 * rng.standard_normal(T.size)
SIGMA = 0.05 + 0.1 * rng.random(T.size)
MIXING = np.eye(T.size) + 0.2 * rng.standard_normal((T.size, T.size))
COVARIANCE = MIXING @ np.diag(SIGMA**2) @ MIXING.T
START = [2.0, 1.0, 0.3]


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def decay_jac(x, a, b, c):
    e = np.exp(-b * x)
    return np.column_stack((e, -a * x * e, np.ones_like(x)))


@as_scipy_1_17
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"jac": three_jac},
        {"bounds": (0, 5)},
        {"method": "dogbox", "bounds": (0, 5)},
        {"method": "lm"},
        {"method": "lm", "jac": three_jac},
        {"loss": "soft_l1"},
        {"max_nfev": 1, "jac": three_jac},
    ],
)
def test_least_squares_fields_and_types(kwargs):
    expected, actual = (api.least_squares(three, 3.0, **kwargs) for api in (SCIPY, OURS))
    assert type(actual) is OptimizeResult
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert type(actual[name]) is type(value), name
        if isinstance(value, np.ndarray):
            assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape), name
    assert actual.success == expected.success
    assert_allclose(actual.x, expected.x, rtol=1e-4)
    assert_allclose(actual.cost, expected.cost, rtol=1e-6)
    assert_allclose(actual.fun, three(actual.x))
    assert_allclose(actual.jac, expected.jac, atol=1e-3)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares_status_and_message_belong_together(method):
    messages = {
        0: "The maximum number of function evaluations is exceeded.",
        1: "`gtol` termination condition is satisfied.",
        2: "`ftol` termination condition is satisfied.",
        3: "`xtol` termination condition is satisfied.",
        4: "Both `ftol` and `xtol` termination conditions are satisfied.",
    }
    for kwargs in ({}, {"max_nfev": 1}, {"gtol": 1e-3}, {"ftol": 1e-2}, {"xtol": 1e-1}):
        result = OURS.least_squares(three, 30.0, method=method, **kwargs)
        assert result.message == messages[result.status]
        assert result.success is (result.status > 0)


def test_least_squares_gradient_is_that_of_the_cost():
    for method, loss in itertools.product(("trf", "dogbox"), ("linear", "huber", "soft_l1", "cauchy", "arctan")):
        result = OURS.least_squares(three, 3.0, three_jac, method=method, loss=loss, f_scale=0.7, max_nfev=1)
        expected = SCIPY.least_squares(three, 3.0, three_jac, method=method, loss=loss, f_scale=0.7, max_nfev=1)
        for name in ("x", "cost", "fun", "jac", "grad", "optimality"):
            assert_allclose(result[name], expected[name], rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("kind", [csr_matrix, csr_array, lil_matrix, coo_array])
@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_sparse_jacobians_come_back_as_csr_array(kind, method):
    result = OURS.least_squares(rosenbrock, [2.0, 3.0], lambda x: kind(rosenbrock_jac(x)), method=method)
    assert isinstance(result.jac, csr_array)
    assert_allclose(result.x, 1.0, rtol=1e-6)
    assert_allclose(result.jac.toarray(), rosenbrock_jac(result.x), rtol=1e-4)


@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_operators_come_back_as_operators(method):
    result = OURS.least_squares(rosenbrock, [2.0, 3.0], lambda x: aslinearoperator(rosenbrock_jac(x)), method=method)
    assert_allclose(result.x, 1.0, rtol=1e-6)
    assert_allclose(result.jac @ np.eye(2), rosenbrock_jac(result.x), rtol=1e-4)


@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_sparsity_gives_a_sparse_jacobian(jac, method):
    result = OURS.least_squares(rosenbrock, [2.0, 3.0], jac, method=method, jac_sparsity=[[1, 1], [1, 0]])
    assert isinstance(result.jac, csr_array)
    assert_allclose(result.x, 1.0, rtol=1e-6)


def test_empty_problems():
    for method in ("trf", "dogbox"):
        result = OURS.least_squares(lambda x: np.ones(3), [], method=method)
        assert (result.status, result.cost, result.x.shape, result.jac.shape) == (1, 1.5, (0,), (3, 0))
        result = OURS.least_squares(lambda x: np.ones(0), [1.0, 2.0], method=method)
        assert (result.status, result.cost, result.fun.shape, result.jac.shape) == (1, 0.0, (0,), (0, 2))
    assert OURS.least_squares(lambda x: np.ones(3), [], method="lm").status == -1


@as_scipy_1_17
@pytest.mark.parametrize("kwargs", [{"ftol": 1e-17}, {"ftol": 0, "xtol": 1e-17}, {"gtol": -1.0}])
def test_warnings_of_tolerances_below_rounding(kwargs):
    def call(api):
        api.least_squares(three, 1.0, **kwargs)

    assert warnings_of(call, OURS) == warnings_of(call, SCIPY)


@as_scipy_1_17  # before, ipvt counted from one
@pytest.mark.parametrize(
    "kwargs", [{}, {"Dfun": rosenbrock_jac}, {"Dfun": lambda x: rosenbrock_jac(x).T, "col_deriv": 1}]
)
def test_leastsq_full_output(kwargs):
    expected = SCIPY.leastsq(rosenbrock, [2.0, 3.0], full_output=True, **kwargs)
    actual = OURS.leastsq(rosenbrock, [2.0, 3.0], full_output=True, **kwargs)
    assert [type(part) for part in actual] == [type(part) for part in expected]
    assert_allclose(actual[0], expected[0], rtol=1e-7)
    assert_allclose(actual[1], expected[1], rtol=1e-5)
    assert list(actual[2]) == list(expected[2])
    for name, value in expected[2].items():
        assert type(actual[2][name]) is type(value), name
    for name in ("fjac", "ipvt"):
        assert actual[2][name].dtype == expected[2][name].dtype
        assert_allclose(actual[2][name], expected[2][name], rtol=1e-5)
    assert actual[4] in (1, 2, 3, 4)


@as_scipy_1_17
@pytest.mark.parametrize(("m", "n"), [(5, 5), (7, 3), (40, 1), (30, 6)])
def test_factors_are_minpacks(m, n):
    jac, start = rng.standard_normal((m, n)), rng.standard_normal(n)
    residual = rng.standard_normal(m) + jac @ start

    def linear(x):
        return residual + jac @ (x - start)

    expected = scipy.optimize.leastsq(linear, start, Dfun=lambda x: jac, full_output=True, maxfev=1)[2]
    fjac, ipvt, _ = minpack_factors(jac, residual)
    assert_allclose(fjac, expected["fjac"], rtol=1e-9, atol=1e-12)
    assert (ipvt == expected["ipvt"]).all()
    r = triangle(fjac)
    assert_allclose(r.T @ r, (jac.T @ jac)[np.ix_(ipvt, ipvt)], rtol=1e-9, atol=1e-9)


def test_rotated_residual_solves_the_linear_problem():
    jac, residual = rng.standard_normal((20, 4)), rng.standard_normal(20)
    fjac, ipvt, qtf = minpack_factors(jac, residual)
    solution = np.empty(4)
    solution[ipvt] = np.linalg.solve(triangle(fjac), qtf)
    assert_allclose(solution, np.linalg.lstsq(jac, residual)[0], rtol=1e-9)


def test_leastsq_of_a_singular_problem_has_no_covariance():
    x, cov_x, _, _, ier = OURS.leastsq(lambda p: p[0] - np.arange(3.0) + 0.0 * p[1], [2.0, 3.0], full_output=True)
    assert cov_x is None and ier in (1, 2, 3, 4)
    assert_allclose(x, [1.0, 3.0])


def test_leastsq_of_a_scalar_function():
    x, cov_x, infodict, _, ier = OURS.leastsq(lambda p: p[0] - 1.0, 0.5, full_output=True)
    assert x.shape == (1,) and cov_x.shape == (1, 1) and ier in (1, 2, 3, 4)
    assert isinstance(infodict["fvec"], np.float64)


def test_leastsq_start_of_any_shape_and_type():
    for start in ([[2.0], [3.0]], [2, 3], np.array([2, 3], dtype=np.float32), (True, False)):
        x, ier = OURS.leastsq(rosenbrock, start)
        assert x.shape == (2,) and x.dtype == np.float64 and ier in (1, 2, 3, 4)
        assert_allclose(x, 1.0, rtol=1e-6)


@pytest.mark.parametrize("maxfev", [1, 2, 5])
def test_leastsq_limit_warns(maxfev):
    with pytest.warns(RuntimeWarning, match=rf"Number of calls to function has reached maxfev = {maxfev}\."):
        x, ier = OURS.leastsq(rosenbrock, [2.0, 3.0], maxfev=maxfev)
    assert ier == 5
    assert np.sum(rosenbrock(x) ** 2) <= np.sum(rosenbrock([2.0, 3.0]) ** 2)


def test_leastsq_limit_counts_the_calls_for_differences():
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return decay(T, *x) - DATA

    _, _, infodict, _, _ = OURS.leastsq(counted, START, full_output=True)
    assert infodict["nfev"] == calls
    _, _, infodict, _, ier = OURS.leastsq(counted, START, full_output=True, maxfev=9)
    assert ier == 5 and 9 <= infodict["nfev"] <= 9 + len(START)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares_limit_leaves_out_the_calls_for_differences(method):
    result = OURS.least_squares(lambda p: decay(T, *p) - DATA, [9.0, 0.1, 5.0], method=method, max_nfev=3)
    assert (result.status, result.nfev) == (0, 3)
    result = OURS.least_squares(lambda p: decay(T, *p) - DATA, START, method=method, max_nfev=12)
    assert result.success and result.nfev + 3 * (result.njev or result.nfev) > 12


def test_negative_maxfev_means_the_default():
    assert OURS.leastsq(rosenbrock, [2.0, 3.0], maxfev=-3)[1] in (1, 2, 3, 4)


def test_leastsq_options_are_heard():
    for options in ({"factor": 0.1}, {"diag": [1.0, 5.0]}, {"epsfcn": 1e-10}, {"diag": [1.0, 2.0, 3.0]}):
        x, ier = OURS.leastsq(rosenbrock, [2.0, 3.0], **options)
        assert ier in (1, 2, 3, 4)
        assert_allclose(x, 1.0, rtol=1e-4)


def sigmas():
    return {"none": None, "scalar": 0.3, "vector": SIGMA, "matrix": COVARIANCE, "ints": np.arange(1, T.size + 1)}


@pytest.mark.parametrize("sigma", sigmas())
@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
@pytest.mark.parametrize("jac", [None, decay_jac])
@pytest.mark.parametrize("absolute_sigma", [False, True])
def test_curve_fit_parameters_and_covariance(sigma, method, jac, absolute_sigma):
    kwargs = {"sigma": sigmas()[sigma], "method": method, "jac": jac, "absolute_sigma": absolute_sigma}
    kwargs |= {"ftol": 1e-13, "xtol": 1e-13, "gtol": 1e-13}  # so that both come close to the minimum
    popt, pcov = OURS.curve_fit(decay, T, DATA, START, **kwargs)
    if sigma == "scalar":
        kwargs["sigma"] = np.full(T.size, sigmas()[sigma])  # SciPy 1.17 fails on a scalar together with jac
    expected, expected_covariance = SCIPY.curve_fit(decay, T, DATA, START, **kwargs)
    assert_allclose(popt, expected, rtol=1e-5)
    assert_allclose(pcov, expected_covariance, rtol=2e-4)
    assert (popt.dtype, pcov.dtype) == (expected.dtype, expected_covariance.dtype)


@as_scipy_1_17
@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_curve_fit_full_output(method):
    expected = SCIPY.curve_fit(decay, T, DATA, START, method=method, full_output=True)
    actual = OURS.curve_fit(decay, T, DATA, START, method=method, full_output=True)
    assert [type(part) for part in actual] == [type(part) for part in expected]
    assert list(actual[2]) == list(expected[2])
    assert_allclose(actual[2]["fvec"], expected[2]["fvec"], rtol=1e-4, atol=1e-6)
    if method == "lm":
        assert_allclose(np.abs(actual[2]["fjac"]), np.abs(expected[2]["fjac"]), rtol=1e-3, atol=1e-5)
        assert (actual[2]["ipvt"] == expected[2]["ipvt"]).all()


def test_curve_fit_jac_with_lm_reports_njev():
    infodict = OURS.curve_fit(decay, T, DATA, START, jac=decay_jac, full_output=True)[2]
    assert list(infodict) == ["fvec", "nfev", "njev", "fjac", "ipvt", "qtf"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((2, 3), [2.5, 2.5]),
        ((0, np.inf), [1.0, 1.0]),
        ((-np.inf, 0), [-1.0, -1.0]),
        (([-np.inf, -2], [0.5, np.inf]), [-0.5, -1.0]),
        ((-np.inf, np.inf), [1.0, 1.0]),
        (([-np.inf, 1.0], [np.inf, 4.0]), [1.0, 2.5]),
    ],
)
def test_curve_fit_start_inside_the_bounds(bounds, expected):
    starts = []

    def spy(x, a, b):
        starts.append((a, b))
        return line(x, a, b)

    OURS.curve_fit(spy, X, Y, bounds=bounds)
    assert_allclose(starts[0], expected, rtol=1e-9)


@pytest.mark.parametrize(
    "data",
    [
        (X[:2], Y[:2]),
        (X, np.full(5, 1.0), {"f": lambda x, a, b: a * x}),
        (X, Y, {"f": lambda x, a, b: np.full(5, 2.0)}),
    ],
)
@pytest.mark.parametrize("method", ["lm", "trf"])
def test_covariance_that_cannot_be_estimated(data, method):
    x, y, *more = data
    kwargs = {"f": line, "method": method, **(more[0] if more else {})}

    def call(api):
        return api.curve_fit(xdata=x, ydata=y, **kwargs)

    assert warnings_of(call, OURS) == warnings_of(call, SCIPY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        assert_allclose(call(OURS)[1], call(SCIPY)[1], atol=1e-12, rtol=1e-4)


def test_warning_points_at_the_caller():
    with pytest.warns(OptimizeWarning, match="Covariance of the parameters could not be estimated") as caught:
        OURS.curve_fit(line, X[:2], Y[:2])
    assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="maxfev") as caught:
        OURS.leastsq(rosenbrock, [2.0, 3.0], maxfev=1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("sigma", [np.inf, [1, 1, 1, 1, np.inf], -2.0, [1, 1, 1, 1, -1]])
def test_infinite_and_negative_sigma_are_as_in_scipy(sigma):
    y = Y + np.sin(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, expected_covariance = SCIPY.curve_fit(line, X, y, [1, 1], sigma=sigma)
        popt, pcov = OURS.curve_fit(line, X, y, [1, 1], sigma=sigma)
    assert_allclose(popt, expected, rtol=1e-5)
    assert_allclose(pcov, expected_covariance, rtol=1e-5)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
@pytest.mark.parametrize("sigma", ["none", "scalar", "vector", "matrix"])
def test_omitted_points_do_not_count(method, sigma, monkeypatch):
    monkeypatch.setattr(routes, "WORTH_COMPILING", float("inf"))  # both fits go the same way
    routes.forget()
    x, y, given = T.copy(), DATA.copy(), sigmas()[sigma]
    x[3], y[10], y[40] = np.nan, np.nan, np.nan
    keep = np.isfinite(x) & np.isfinite(y)
    kept = given
    if np.ndim(given) == 1:
        kept = given[keep]
    elif np.ndim(given) == 2:
        kept = given[np.ix_(keep, keep)]
    popt, pcov = OURS.curve_fit(decay, x, y, START, sigma=given, method=method, nan_policy="omit")
    expected, expected_covariance = OURS.curve_fit(decay, x[keep], y[keep], START, sigma=kept, method=method)
    assert_allclose(popt, expected, rtol=1e-12)
    assert_allclose(pcov, expected_covariance, rtol=1e-10)


def test_covariances_agree_where_both_exist():
    jac = rng.standard_normal((30, 4)) * [1.0, 1e-3, 1e4, 1.0]
    expected = np.linalg.inv(jac.T @ jac)
    assert_allclose(covariance_from_jacobian(jac), expected, rtol=1e-6)
    r = np.linalg.qr(jac, mode="r")
    assert_allclose(covariance_from_triangle(r), expected, rtol=1e-6)
    covariance = covariance_from_triangle(r)
    assert (covariance == covariance.T).all()


def test_covariance_of_permuted_columns():
    jac, permutation = rng.standard_normal((30, 4)), np.array([2, 0, 3, 1])
    r = np.linalg.qr(jac[:, permutation], mode="r")
    assert_allclose(covariance_from_triangle(r, permutation), np.linalg.inv(jac.T @ jac), rtol=1e-9)


def test_covariance_of_a_singular_jacobian():
    jac = rng.standard_normal((30, 3))
    jac[:, 1] = 0.0
    assert covariance_from_triangle(np.linalg.qr(jac, mode="r")) is None
    covariance = covariance_from_jacobian(jac)
    assert_allclose(covariance[1], 0.0, atol=1e-15)
    assert_allclose(covariance, np.linalg.pinv(jac.T @ jac), rtol=1e-8, atol=1e-15)
    assert_allclose(covariance_from_jacobian(np.zeros((5, 2))), 0.0)
