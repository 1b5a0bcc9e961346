"""What a batch of fits says, against one fit at a time: errors, what is identified, statistics, exports, pickles."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlsq import fit_batch
from nlsq.fitting import fit
from nlsq.fitting.batch.result import BatchFitResult
from nlsq.status import BatchOutcome, Status
from nlsq.uncertainty.batch import batch_covariances, batch_variances
from nlsq.uncertainty.identifiability import identify

M = 30
FLOATS = ("params", "stderr", "covariance", "correlation", "cost", "chi2", "reduced_chi2")


def packed(jac):
    """Return the lower triangles of J'J, row by row."""
    rows, columns = np.tril_indices(jac.shape[-1])
    return (np.swapaxes(jac, -1, -2) @ jac)[..., rows, columns]


def one_by_one(jac, held):
    """Return covariances and what is identified, by the singular values of each J in turn."""
    count, _, n = jac.shape
    covariances, identifiable = np.zeros((count, n, n)), np.ones((count, n), dtype=bool)
    for b in range(count):
        moving = np.flatnonzero(~held[b])
        found = identify(jac[b][:, moving])
        covariances[b][np.ix_(moving, moving)] = found.covariance
        identifiable[b, moving] = found.identifiable
    return covariances, identifiable


def jacobians(count=40, n=4, seed=0, decades=6):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, M, n)) * 10.0 ** rng.uniform(-decades, decades, (count, 1, n))


def outcome_of(jac, seed=3, **parts):
    """Return an outcome with the normal matrices of `jac` and made-up numbers for the rest."""
    rng = np.random.default_rng(seed)
    count, m, n = jac.shape
    made = {
        "params": rng.standard_normal((count, n)),
        "cost": rng.uniform(0.5, 2.0, count),
        "normal": packed(jac),
        "status": np.full(count, Status.COST_CHANGE, dtype=np.int16),
        "nfev": rng.integers(2, 9, count).astype(np.int32),
        "nit": rng.integers(1, 5, count).astype(np.int32),
        "points": np.full(count, m, dtype=np.int32),
        "redone": np.zeros(count, dtype=bool),
    }
    return BatchOutcome(**made | parts)


def result_of(outcome, shape=None, fixed=None, **options):
    n = outcome.params.shape[1]
    shape = outcome.cost.shape if shape is None else shape
    fixed = np.zeros(n, dtype=bool) if fixed is None else fixed
    return BatchFitResult(outcome, tuple("abcdefgh"[:n]), shape, fixed=fixed, **options)


def assert_like(got, expected, rtol=1e-8):
    """Compare covariances in units of their diagonals."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    scale = np.sqrt(np.einsum("bii->bi", np.where(np.isnan(expected), 1.0, expected)))
    scale[scale == 0.0] = 1.0
    units = scale[:, :, None] * scale[:, None]
    np.testing.assert_allclose(got / units, expected / units, rtol=rtol, atol=rtol)


# Many normal matrices at once


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_covariances_are_those_of_one_fit_at_a_time(n):
    jac = jacobians(n=n)
    held = np.zeros((len(jac), n), dtype=bool)
    expected, _ = one_by_one(jac, held)
    covariances, identifiable = batch_covariances(packed(jac))
    variances, same = batch_variances(packed(jac))
    assert_like(covariances, expected)
    np.testing.assert_array_equal(covariances, covariances.transpose(0, 2, 1))
    np.testing.assert_allclose(variances, np.einsum("bii->bi", covariances), rtol=1e-13)
    assert identifiable.all()
    assert same.all()


def test_rows_are_worked_on_in_blocks():
    jac = jacobians(50, n=3)
    normal = np.tile(packed(jac), (400, 1))  # 20000 rows
    variances, _ = batch_variances(normal)
    np.testing.assert_array_equal(variances, np.tile(variances[:50], (400, 1)))


@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans())
def test_what_is_identified_is_found_whatever_the_units(seed, missing, zero_column):
    rng = np.random.default_rng(seed)
    count, n = 8, 6
    mixed = rng.standard_normal((count, M, 3 - missing)) @ rng.standard_normal((count, 3 - missing, 3))
    jac = np.concatenate([rng.standard_normal((count, M, 3)), mixed], axis=2)
    jac *= 10.0 ** rng.uniform(-8, 8, (count, 1, n))
    if zero_column:
        jac[::2, :, 1] = 0.0
    jac = np.take_along_axis(jac, rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)[:, None], axis=2)
    held = rng.random((count, n)) < 0.2
    expected, known = one_by_one(jac, held)
    covariances, identifiable = batch_covariances(packed(jac), held)
    np.testing.assert_array_equal(identifiable, known)
    assert_like(covariances, expected, rtol=1e-6)
    variances, same = batch_variances(packed(jac), held)
    np.testing.assert_allclose(variances, np.einsum("bii->bi", covariances), rtol=1e-9)
    np.testing.assert_array_equal(same, known)


def test_held_parameters_are_not_read():
    jac = jacobians()
    shared = np.array([False, True, False, False])
    held = np.tile(shared, (len(jac), 1))
    expected, _ = one_by_one(jac, held)
    normal = packed(jac)
    normal[:, [1, 2, 4, 7]] = np.nan  # row and column 1
    for mask in (shared, held):
        covariances, identifiable = batch_covariances(normal, mask)
        assert_like(covariances, expected)
        assert identifiable.all()
        np.testing.assert_allclose(
            batch_variances(normal, mask)[0], np.einsum("bii->bi", covariances), rtol=1e-13, atol=0.0
        )
    everything = np.ones(4, dtype=bool)
    for mask in (everything, np.tile(everything, (len(jac), 1))):
        assert not batch_variances(normal, mask)[0].any()
        assert batch_variances(normal, mask)[1].all()


def test_column_of_zeros_leaves_the_others_alone():
    jac = jacobians()
    jac[3, :, 2] = 0.0
    variances, identifiable = batch_variances(packed(jac))
    np.testing.assert_array_equal(identifiable[3], [True, True, False, True])
    expected = identify(jac[3]).covariance.diagonal()
    np.testing.assert_allclose(variances[3], expected, rtol=1e-8)


def test_what_is_not_finite_says_nothing_and_harms_no_neighbour():
    jac = jacobians()
    normal = packed(jac)
    normal[[2, 5], [3, 0]] = [np.nan, np.inf]
    variances, identifiable = batch_variances(normal)
    bad = np.isin(np.arange(len(jac)), [2, 5])
    assert np.isnan(variances[bad]).all()
    assert not identifiable[bad].any()
    np.testing.assert_array_equal(variances[~bad], batch_variances(packed(jac))[0][~bad])
    held = np.zeros((len(jac), 4), dtype=bool)
    held[2, 3] = True  # the NaN is elsewhere
    variances, identifiable = batch_variances(normal, held)
    np.testing.assert_array_equal(identifiable[2], [False, False, False, True])
    np.testing.assert_array_equal(variances[2], [np.nan, np.nan, np.nan, 0.0])


@pytest.mark.parametrize("angle", [1e-2, 1e-4, 1e-5, 3e-6])
def test_nearly_parallel_columns_are_told_apart_while_the_normal_matrix_has_digits(angle):
    jac = jacobians(200, n=3, decades=0)
    jac[:, :, 2] = jac[:, :, 1] + angle * jac[:, :, 2]
    variances, identifiable = batch_variances(packed(jac))
    assert identifiable.all()
    expected = np.array([identify(j).covariance.diagonal() for j in jac])
    np.testing.assert_allclose(variances, expected, rtol=max(1e-8, 20.0 * 2.2e-16 / angle**2))


def test_columns_closer_than_the_normal_matrix_can_tell_are_not_identified():
    jac = jacobians(200, n=3, decades=0)
    jac[:, :, 2] = jac[:, :, 1] + 1e-8 * jac[:, :, 2]
    variances, identifiable = batch_variances(packed(jac))
    np.testing.assert_array_equal(identifiable, np.tile([True, False, False], (200, 1)))
    np.testing.assert_array_equal(np.isnan(variances), ~identifiable)


def test_coarser_sums_tell_less():
    jac = jacobians(50, n=3, decades=0)
    jac[:, :, 2] = jac[:, :, 1] + 1e-3 * jac[:, :, 2]
    single = packed(jac.astype(np.float32)).astype(np.float64)
    assert batch_variances(packed(jac))[1].all()
    np.testing.assert_array_equal(batch_variances(single, precision=1e-6)[1], np.tile([True, False, False], (50, 1)))


@pytest.mark.parametrize(("count", "n"), [(0, 3), (4, 0)])
def test_nothing_to_invert(count, n):
    normal = np.empty((count, n * (n + 1) // 2))
    variances, identifiable = batch_variances(normal)
    assert variances.shape == identifiable.shape == (count, n)
    assert batch_covariances(normal)[0].shape == (count, n, n)


# The result


def test_result_of_a_batch_is_that_of_its_fits():
    """The same numbers as `FitResult`, from real fits: with bounds, held parameters, weights and losses."""
    x = np.linspace(0.0, 5.0, 40)
    noise = 0.05 * np.random.default_rng(2).standard_normal((4, x.size))
    data = 2.0 * np.exp(-1.3 * x) + 0.4 + noise

    def decay(x, a, rate, c, extra):
        return a * np.exp(-rate * x) + c + extra * np.maximum(x - 10.0, 0.0)

    def single(y, **options):
        return fit(decay, x, y, {"a": 1.5, "rate": 1.0, "c": 0.5, "extra": 1.0}, **options)

    cases = (
        {},
        {"sigma": 0.05, "absolute_sigma": True},
        {"bounds": {"c": (0.45, 1.0)}},
        {"fixed": {"rate": 1.3}},
        {"loss": "soft_l1", "loss_scale": 0.1},
    )
    for options in cases:
        fits = [single(y, **options) for y in data]
        outcome = outcome_of(
            np.array([at_loss(f) for f in fits]),
            params=np.array([f.params for f in fits]),
            cost=np.array([f.cost for f in fits]),
            status=np.array([f.status for f in fits], dtype=np.int16),
        )
        lower, upper = np.full(4, -np.inf), np.full(4, np.inf)
        if "bounds" in options:
            lower[2], upper[2] = options["bounds"]["c"]
        result = BatchFitResult(
            outcome,
            ("a", "rate", "c", "extra"),
            (2, 2),
            fixed=fits[0].fixed,
            lower=lower,
            upper=upper,
            absolute_sigma="absolute_sigma" in options,
            is_linear_loss="loss" not in options,
        )
        for name in ("stderr", "covariance", "correlation", "identifiable", "at_bound", "fixed", "dof", "converged"):
            expected = np.array([getattr(f, name) for f in fits])
            got = np.asarray(getattr(result, name))
            np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-6, atol=1e-9, err_msg=name)
        for name in ("chi2", "reduced_chi2"):
            expected = np.array([getattr(f, name) for f in fits]) if "loss" not in options else np.full(4, np.nan)
            np.testing.assert_allclose(getattr(result, name).ravel(), expected, rtol=1e-12)
        assert result.message.ravel().tolist() == [f.message for f in fits]
        assert np.asarray(result.at_bound).any() == ("bounds" in options)


def at_loss(single):
    """Return the Jacobian of a fit, rows scaled by the loss, all columns."""
    from nlsq.fitting.core import row_scale

    loss = single._core.task.loss
    return single.jac if loss.is_linear else single.jac * row_scale(single._core)[:, None]


def test_errors_follow_scale_and_degrees_of_freedom():
    jac = jacobians(6)
    points = np.array([30, 30, 4, 3, 29, 30], dtype=np.int32)
    outcome = outcome_of(jac, points=points)
    result = result_of(outcome)
    covariance = np.linalg.inv(jac.transpose(0, 2, 1) @ jac)
    dof = points - 4
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(dof > 0, 2.0 * outcome.cost / dof, np.nan)
        np.testing.assert_allclose(result.stderr**2, expected[:, None] * np.einsum("bii->bi", covariance), rtol=1e-6)
    np.testing.assert_array_equal(result.dof, dof)
    np.testing.assert_allclose(result.reduced_chi2, expected)
    np.testing.assert_allclose(result.chi2, 2.0 * outcome.cost)
    assert np.isnan(result.covariance[2:4]).all()
    absolute = result_of(outcome, absolute_sigma=True)
    np.testing.assert_allclose(absolute.stderr**2, np.einsum("bii->bi", covariance), rtol=1e-6)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("status", [Status.NOT_FITTED, Status.TOO_FEW_POINTS, Status.NONFINITE_START])
def test_rows_that_were_not_fitted_have_no_errors(status, absolute):
    outcome = outcome_of(jacobians(5))
    outcome.status[1] = status
    outcome.cost[1] = np.inf
    outcome.params[1] = 0.0
    fixed = np.array([True, False, False, False])
    result = result_of(outcome, fixed=fixed, lower=np.zeros(4) - 9.0, upper=np.zeros(4), absolute_sigma=absolute)
    np.testing.assert_array_equal(result.stderr[1], [0.0, np.nan, np.nan, np.nan])
    expected = np.full((4, 4), np.nan)
    expected[0] = expected[:, 0] = 0.0
    np.testing.assert_array_equal(result.covariance[1], expected)
    np.testing.assert_array_equal(np.diag(result.correlation[1]), [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(result.identifiable[1], fixed)
    assert not result.at_bound[1].any()
    others = [0, 2, 3, 4]
    assert np.isfinite(result.stderr[others]).all()
    assert not result.converged[1]
    assert result.converged[others].all()
    tried = status == Status.NONFINITE_START  # whose start is known not to do
    np.testing.assert_array_equal(result.params[1], np.full(4, 0.0 if tried else np.nan))
    np.testing.assert_array_equal(result.at(1)["b"], result["b"][1])
    assert np.isnan(result.to_numpy()["b"][1]) != tried
    np.testing.assert_array_equal(np.asarray(result.params)[others], outcome.params[others])
    np.testing.assert_array_equal(outcome.params[1], 0.0)  # where to start from is not forgotten


def test_a_fit_that_stopped_early_keeps_its_errors():
    outcome = outcome_of(jacobians(3))
    outcome.status[0] = Status.MAX_EVALUATIONS
    outcome.status[1], outcome.normal[1] = Status.NONFINITE_JACOBIAN, np.nan
    result = result_of(outcome)
    assert np.isfinite(result.stderr[0]).all()
    assert np.isnan(result.stderr[1]).all()
    assert not result.identifiable[1].any()


def test_numbers_at_the_end_of_the_range():
    jac = jacobians(3, n=2, decades=0)
    jac[0] *= 1e-144
    outcome = outcome_of(jac)
    outcome.cost[:] = [1e250, 1e308, 0.0]
    result = result_of(outcome)
    one = identify(jac[0]).covariance.diagonal()
    np.testing.assert_allclose(result.stderr[0], np.sqrt(one) * np.sqrt(2e250 / (M - 2)), rtol=1e-9)
    np.testing.assert_array_equal(np.diag(result.covariance[0]), np.inf)
    assert np.isnan(result.correlation[0, 0, 1])
    assert np.isnan(result.stderr[1]).all()
    assert not result.stderr[2].any()
    assert np.isinf(result_of(outcome, dtype=np.float32).cost[0])


def test_parameters_at_bounds_count_as_held():
    jac = jacobians(4, n=3)
    params = np.array([[0.5, 0.0, 0.2], [0.5, 1e-12, 1.0], [0.0, 0.3, 0.4], [0.5, 0.6, 1.0 - 1e-6]])
    lower, upper = np.array([-np.inf, 0.0, 0.0]), np.array([np.inf, np.inf, 1.0])
    expected = np.array([[0, -1, 0], [0, -1, 1], [0, 0, 0], [0, 0, 0]])
    outcome = outcome_of(jac, params=params)
    covariance, _ = one_by_one(jac, expected != 0)
    scale = 2.0 * outcome.cost / (M - 3)
    for low, high in ((lower, upper), (np.tile(lower, (4, 1)), upper), (lower, np.tile(upper, (4, 1)))):
        result = result_of(outcome, lower=low, upper=high)
        np.testing.assert_array_equal(result.at_bound, expected)
        assert_like(result.covariance, covariance * scale[:, None, None])
        np.testing.assert_array_equal(np.asarray(result.stderr) == 0.0, expected != 0)
        assert result.identifiable.all()
        np.testing.assert_array_equal(result.dof, M - 3)
    only = result_of(outcome, upper=upper)
    np.testing.assert_array_equal(only.at_bound, np.maximum(expected, 0))
    looser = result_of(outcome, lower=lower, upper=upper, step_tolerance=1e-5)
    assert looser.at_bound[3, 2] == 1


def test_each_row_can_hold_its_own_parameters():
    jac = jacobians(4, n=3)
    fixed = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=bool)
    lower = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    upper = np.array([[9.0, 0.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    outcome = outcome_of(jac, params=np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]))
    result = result_of(outcome, fixed=fixed, lower=lower, upper=upper)
    held = fixed.copy()
    held[0, 1] = True  # by equal bounds
    np.testing.assert_array_equal(result.fixed, held)
    assert not result.at_bound.any()
    dof = M - 3 + held.sum(axis=1)
    np.testing.assert_array_equal(result.dof, dof)
    covariance, _ = one_by_one(jac, held)
    assert_like(result.covariance, covariance * (2.0 * outcome.cost / dof)[:, None, None])


def test_results_in_single_precision():
    outcome = outcome_of(jacobians(5))
    double, single = result_of(outcome), result_of(outcome, dtype=np.float32)
    for name in FLOATS:
        assert getattr(single, name).dtype == np.float32
        assert getattr(double, name).dtype == np.float64
        expected = np.asarray(getattr(double, name)).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(getattr(single, name)), expected)
    assert single.at(0).stderr.dtype == np.float32


def test_long_sums_are_trusted_less():
    jac = jacobians(3, n=2, decades=0)
    jac[:, :, 1] = jac[:, :, 0] + 1e-6 * jac[:, :, 1]
    assert result_of(outcome_of(jac)).identifiable.all()
    assert not result_of(outcome_of(jac, points=np.full(3, 10**6, dtype=np.int32))).identifiable.any()
    assert not result_of(outcome_of(jac), rounding=1e-7).identifiable.any()


@pytest.mark.parametrize("m", [50, 2000, 3000])
def test_errors_in_single_precision_are_those_in_double(m):
    x = np.linspace(20.0, 21.0, m)
    y = 1.0 + 2.0 * x + 0.01 * np.random.default_rng(0).standard_normal((2, m))
    double, single = (fit_batch(lambda x, a, b: a + b * x, x, y, [1, 1], dtype=dtype) for dtype in ("f8", "f4"))
    np.testing.assert_allclose(single.stderr, double.stderr, rtol=1e-4)


def test_rows_are_judged_by_their_own_length_and_held_parameters():
    jac = jacobians(3, n=3, decades=0)
    jac[:, :, 1] = jac[:, :, 0] + 1e-6 * jac[:, :, 1]
    points = np.array([30, 10**6, 30], dtype=np.int32)
    lower = np.array([-np.inf, -np.inf, 0.0])
    outcome = outcome_of(jac, points=points)
    outcome.params[:, 2] = [1.0, 1.0, 0.0]
    whole = result_of(outcome, lower=lower)
    np.testing.assert_array_equal(whole.identifiable[:, 0], [True, False, True])
    np.testing.assert_array_equal(whole.at_bound[:, 2], [0, 0, -1])
    for row in range(3):
        for name in ("stderr", "identifiable", "covariance"):
            one = np.asarray(getattr(whole.at(row), name))
            np.testing.assert_array_equal(one, np.asarray(getattr(whole, name))[row])


def test_single_precision_is_trusted_as_far_as_its_derivatives_go():
    """Sums are in double precision: J'J knows the squares of the singular values that J has in single precision."""
    jac = jacobians(3, n=2, decades=0)
    single = float(np.finfo(np.float32).eps)
    for share, known in ((1e-4, True), (1e-6, False)):
        jac[:, :, 1] = jac[:, :, 0] + share * jacobians(3, n=1, decades=0, seed=1)[:, :, 0]
        outcome = outcome_of(jac, redone=np.array([False, True, False]))
        identifiable = np.asarray(result_of(outcome, rounding=single).identifiable)
        np.testing.assert_array_equal(identifiable[:, 1], [known, True, known])


@pytest.mark.parametrize("shape", [(), (24,), (4, 6), (2, 3, 4), (0,), (3, 0)])
def test_everything_has_the_leading_shape(shape):
    count = int(np.prod(shape))
    result = result_of(outcome_of(jacobians(count)), shape)
    assert (len(result), result.size, result.shape) == (count, count, shape)
    for name in ("params", "stderr", "identifiable", "fixed", "at_bound"):
        array = getattr(result, name)
        assert array.shape == (*shape, 4)
        assert array["b"].shape == shape
        assert type(array["b"]) is np.ndarray
    for name in ("covariance", "correlation"):
        assert getattr(result, name).shape == (*shape, 4, 4)
    for name in (
        *("cost", "chi2", "reduced_chi2", "dof", "points", "status", "message"),
        *("converged", "nfev", "nit", "redone"),
    ):
        array = getattr(result, name)
        assert isinstance(array, np.ndarray)
        assert array.shape == shape
    assert result["c"].shape == shape
    assert result.status.dtype == np.int16
    assert {values.shape for values in result.to_numpy().values()} == {shape}
    assert f"{count} fit" in result.summary()
    assert str(shape) in repr(result)
    assert sum(result.counts().values()) == count


def test_names_are_maps():
    result = result_of(outcome_of(jacobians(6)), (2, 3))
    for name, j in (("a", 0), ("d", 3)):
        np.testing.assert_array_equal(result[name], np.asarray(result.params)[..., j])
        np.testing.assert_array_equal(result.stderr[name], np.asarray(result.stderr)[..., j])
    np.testing.assert_array_equal(result.params[1, 2], np.asarray(result.params)[1, 2])
    assert type(result.params[0]) is np.ndarray
    assert type(result.params * 2.0) is np.ndarray
    assert type(result.params.sum()) is np.float64
    for lookup in (result, result.params, result.stderr):
        with pytest.raises(KeyError, match=r"unknown parameter 'aa'.*did you mean 'a'"):
            lookup["aa"]
    with pytest.raises(TypeError, match=r"rows by at\(index\)"):
        result[0]


def test_arrays_are_read_only():
    result = result_of(outcome_of(jacobians(6)), lower=np.zeros(4) - 9.0)
    for name in (*FLOATS, "identifiable", "fixed", "at_bound", "dof", "points", "status", "message", "converged"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(result, name)[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        result["a"][0] = 0.0
    copy = result.params.copy()
    copy[...] = 0.0
    assert type(copy) is np.ndarray


def test_some_of_the_fits():
    outcome = outcome_of(jacobians(12), status=np.tile([1, 5, 2], 4).astype(np.int16))
    lower = np.full((12, 4), -9.0)
    lower[7, 2] = outcome.params[7, 2]
    fixed = np.zeros((12, 4), dtype=bool)
    fixed[7, 3] = True
    result = result_of(outcome, (3, 4), fixed=fixed, lower=lower, upper=np.full(4, 9.0), fallbacks=["note"])
    one = result.at((1, 3))
    assert one.shape == ()
    assert one["a"] == result["a"][1, 3]
    np.testing.assert_array_equal(one.at_bound, [0, 0, -1, 0])
    np.testing.assert_array_equal(one.fixed, [False, False, False, True])
    for index, selected in ((np.s_[:, 0], np.s_[:, 0]), (~result.converged, ~result.converged), (-1, -1)):
        part = result.at(index)
        for name in ("params", "stderr", "covariance", "cost", "status", "nfev", "redone", "at_bound", "fixed"):
            np.testing.assert_array_equal(getattr(part, name), np.asarray(getattr(result, name))[selected])
        assert part.fallbacks == ["note"]
    assert result.at(~result.converged).counts() == {Status.MAX_EVALUATIONS: 4}
    with pytest.raises(IndexError):
        result.at((3, 0))


def test_counts_and_summary():
    status = np.array([1, 2, 2, 5, 15, 2], dtype=np.int16)
    outcome = outcome_of(jacobians(6), status=status, redone=np.arange(6) == 2)
    outcome.params[:, 0] = [1.0, 2.0, 3.0, 1e9, 1e9, 4.0]
    outcome.params[1, 2] = 0.0
    outcome.normal[2] = packed(np.where(np.arange(4) == 1, 0.0, jacobians(1)[0]))
    result = result_of(
        *(outcome, (2, 3)),
        fixed=np.array([False, False, False, True]),
        lower=np.array([-np.inf, -np.inf, 0.0, -np.inf]),
        fallbacks=["done otherwise", "1 of 6 fits were hard for the batch kernel and solved again one by one"],
        interrupted=True,
    )
    counts = result.counts()
    assert counts == {Status.COST_CHANGE: 3, Status.OPTIMALITY: 1, Status.MAX_EVALUATIONS: 1, Status.NOT_FITTED: 1}
    assert next(iter(counts)) == Status.COST_CHANGE
    text = result.summary()
    assert "6 fits of shape (2, 3), 4 converged" in text
    assert f"3  {Status.COST_CHANGE.message}" in text
    assert f"1  {Status.NOT_FITTED.message}" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["a"].split()[1:4] == ["2.5", "1.75", "3.25"]
    known = np.asarray(result.stderr["a"]).ravel()[[0, 1, 2, 5]]
    assert float(lines["a"].split()[4]) == pytest.approx(np.median(known), rel=1e-3)
    assert lines["b"].endswith("not identified in 1 fit")
    assert lines["c"].endswith("at a bound in 1 fit")
    assert lines["d"].endswith("held")
    assert "interrupted" in text
    assert "note: 1 fit hard for the batch kernel, solved again one by one" in text
    assert "note: done otherwise" in text
    assert repr(result) == "<BatchFitResult of shape (2, 3): a, b, c, d; 4 of 6 converged>"
    assert "parameter" not in result.at(~result.converged).summary()
    assert text.count("one by one") == 1
    assert "one by one" not in result.at((0, 1)).summary()
    assert "note: 1 fit hard" in result.at((0, 2)).summary()


def test_summary_says_where_errors_come_from():
    outcome = outcome_of(jacobians(3))
    assert "errors: scaled by the scatter" in result_of(outcome).summary()
    text = result_of(outcome, absolute_sigma=True, is_linear_loss=False).summary()
    assert "robust loss: the errors follow from the cost under it" in text
    assert "errors: from the sigma of the data" in text


def test_message_speaks_of_the_start_of_a_fit():
    outcome = outcome_of(jacobians(1), status=np.array([Status.NONFINITE_START], dtype=np.int16))
    assert "move p0" in result_of(outcome).message[0]
    assert "move p0" in result_of(outcome).summary()


def test_result_pickles():
    outcome = outcome_of(jacobians(6))
    result = result_of(outcome, (2, 3), lower=np.full(4, -9.0), dtype=np.float32, fallbacks=["note"], interrupted=True)
    size = len(pickle.dumps(result))
    expected = {name: np.array(getattr(result, name)) for name in (*FLOATS, "status", "at_bound", "identifiable")}
    assert len(pickle.dumps(result)) == size  # what is derived is derived again
    again = pickle.loads(pickle.dumps(result))
    for name, values in expected.items():
        got = getattr(again, name)
        np.testing.assert_array_equal(got, values)
        assert got.dtype == values.dtype
        assert not got.flags.writeable
    assert (again.names, again.shape, again.fallbacks) == (result.names, (2, 3), ["note"])
    assert again.interrupted
    maps = pickle.loads(pickle.dumps(result.params))
    np.testing.assert_array_equal(maps["b"], result["b"])


# Exports


def test_arrays_by_name():
    result = result_of(outcome_of(jacobians(6)), (2, 3))
    arrays = result.to_numpy()
    assert list(arrays) == [
        *("a", "a_stderr", "b", "b_stderr", "c", "c_stderr", "d", "d_stderr"),
        *("cost", "points", "converged", "status", "nit", "nfev"),
    ]
    np.testing.assert_array_equal(arrays["b"], result["b"])
    np.testing.assert_array_equal(arrays["b_stderr"], result.stderr["b"])
    for name in ("cost", "points", "converged", "status", "nit", "nfev"):
        np.testing.assert_array_equal(arrays[name], getattr(result, name))


def test_parameters_keep_their_names_in_exports():
    outcome = outcome_of(jacobians(2, n=3))
    result = BatchFitResult(outcome, ("a", "a_stderr", "cost"), (2,), fixed=np.zeros(3, dtype=bool))
    arrays = result.to_numpy()
    np.testing.assert_array_equal(arrays["cost"], result["cost"])
    np.testing.assert_array_equal(arrays["cost_"], result.cost)
    np.testing.assert_array_equal(arrays["a_stderr"], result["a_stderr"])
    np.testing.assert_array_equal(arrays["a_stderr_"], result.stderr["a"])


@pytest.mark.parametrize("shape", [(), (24,), (4, 6), (2, 3, 4), (0,)])
def test_pandas(shape):
    pandas = pytest.importorskip("pandas")
    result = result_of(outcome_of(jacobians(int(np.prod(shape)))), shape)
    table = result.to_pandas()
    assert list(table.columns) == list(result.to_numpy())
    assert len(table) == result.size
    np.testing.assert_array_equal(table["a_stderr"], result.stderr["a"].ravel())
    assert table["status"].dtype == np.int16
    if len(shape) > 1:
        assert isinstance(table.index, pandas.MultiIndex)
        place = tuple(length - 2 for length in shape)
        assert table.loc[place, "b"] == result["b"][place]
    else:
        assert isinstance(table.index, pandas.RangeIndex)


@pytest.mark.parametrize("shape", [(), (24,), (2, 3, 4), (0,)])
def test_xarray(shape):
    pytest.importorskip("xarray")
    result = result_of(outcome_of(jacobians(int(np.prod(shape)))), shape)
    data = result.to_xarray()
    assert list(data.data_vars) == list(result.to_numpy())
    assert data["a"].dims == tuple(f"dim_{k}" for k in range(len(shape)))
    np.testing.assert_array_equal(data["b_stderr"], result.stderr["b"])
    meaning = dict(zip(data["status"].flag_values, data["status"].flag_meanings.split(), strict=True))
    assert all(Status(value).name == meaning[value] for value in np.unique(result.status).tolist())


def test_xarray_with_named_axes():
    pytest.importorskip("xarray")
    result = result_of(outcome_of(jacobians(6)), (2, 3))
    data = result.to_xarray(dims=("y", "x"), coords={"x": [0.1, 0.2, 0.3]})
    assert float(data["a"].sel(x=0.2).isel(y=1)) == result["a"][1, 1]
    data["a"][0, 0] = 7.0  # a copy
    assert result["a"][0, 0] != 7.0
    assert result_of(outcome_of(jacobians(6))).to_xarray("pixel")["a"].dims == ("pixel",)
    with pytest.raises(ValueError, match=r"dims has 1 name for the leading shape \(2, 3\)"):
        result.to_xarray(dims=["y"])
    with pytest.raises(ValueError, match="'a' is the name of a variable"):
        result.to_xarray(dims=["a", "y"])


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_export_says_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    result = result_of(outcome_of(jacobians(2)))
    with pytest.raises(ImportError, match=f"pip install {package}"):
        getattr(result, f"to_{package}")()
