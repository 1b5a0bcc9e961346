"""Difference Jacobians: accuracy, SciPy's numbers where asked for, and users who do not play by the rules."""

import multiprocessing
import multiprocessing.pool
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize._numdiff import approx_derivative

from nlsq.derivatives import CentralDifference, ForwardDifference, ResidualShapeError, WorkerMap

EPS = np.finfo(float).eps
TOLERANCE = {ForwardDifference: 1e-6, CentralDifference: 1e-9}
BOTH = pytest.mark.parametrize("estimator", [ForwardDifference, CentralDifference])
T = np.linspace(0.0, 3.0, 11)


def model(x):
    return x[0] * np.exp(-x[1] * T) + np.sin(x[2] * T)


def model_jac(x):
    e = np.exp(-x[1] * T)
    return np.stack([e, -x[0] * T * e, T * np.cos(x[2] * T)], axis=1)


X = np.array([2.0, 0.7, 1.3])


def evaluate(estimator, residual, x, *, out=None, **options):
    x = np.asarray(x, dtype=float)
    r = np.atleast_1d(np.array(residual(x.copy())))
    prepared = estimator.prepare(residual, x, r.size, **options)
    return prepared.evaluate(x, r, out)


class Counted:
    """A residual that remembers where it was evaluated."""

    def __init__(self, function):
        self.function = function
        self.points = []

    def __call__(self, x):
        self.points.append(x)
        return self.function(x)


# Accuracy


@BOTH
def test_accuracy(estimator):
    np.testing.assert_allclose(
        evaluate(estimator(), model, X), model_jac(X), rtol=TOLERANCE[estimator], atol=TOLERANCE[estimator]
    )


@BOTH
@given(exponents=st.lists(st.integers(-12, 12), min_size=3, max_size=3))
def test_accuracy_does_not_depend_on_units(estimator, exponents):
    """Parameters in other units give the same derivatives in other units."""
    units = 10.0 ** np.array(exponents)
    jac = evaluate(estimator(), lambda x: model(x * units), X / units)
    np.testing.assert_allclose(jac / units, model_jac(X), rtol=TOLERANCE[estimator], atol=TOLERANCE[estimator])


@BOTH
@pytest.mark.parametrize("x", [1e-300, 1e-150, 1e-12, 1e12, 1e150])
def test_extreme_parameters(estimator, x):
    jac = evaluate(estimator(), lambda p: np.array([p[0] / x, np.sqrt(abs(p[0] / x)), 3.0]), [x])
    np.testing.assert_allclose(jac[:, 0] * x, [1.0, 0.5, 0.0], rtol=TOLERANCE[estimator])


@BOTH
def test_largest_parameters(estimator):
    jac = evaluate(estimator(), lambda p: p * 1e-300, [1e300])
    np.testing.assert_allclose(jac, [[1e-300]], rtol=TOLERANCE[estimator])


@BOTH
def test_zero_parameter(estimator):
    jac = evaluate(estimator(), lambda p: np.array([np.sin(p[0]), np.exp(p[0]) + 3.0]), [0.0])
    np.testing.assert_allclose(jac, [[1.0], [1.0]], rtol=TOLERANCE[estimator])


@BOTH
def test_linear_residual_with_exact_steps_is_exact(estimator):
    np.testing.assert_array_equal(evaluate(estimator(), lambda p: p * 4.0, [1.0, -2.0, 0.5]), 4.0 * np.eye(3))


@BOTH
@pytest.mark.parametrize("x", [1e-9, 1e-15, -1e-12, 1e-300, 0.0, 5e-324, 1e-7, -1e-5])
def test_difference_lost_in_rounding(estimator, x):
    """SciPy's absolute step sees p - 3 at 1e-9; a purely relative one does not."""
    jac = evaluate(estimator(), lambda p: np.array([p[0] - 3.0, 2.0 * p[0] + 5.0]), [x])
    np.testing.assert_allclose(jac, [[1.0], [2.0]], rtol=2e-2)


@BOTH
def test_growth_does_not_leave_the_neighbourhood(estimator):
    """exp(1e9 x) at 1e-17 has no use for SciPy's step of 1e-8."""
    jac = evaluate(estimator(), lambda p: np.exp(1e9 * p) - 3.0, [1e-17])
    np.testing.assert_allclose(jac, [[1e9]], rtol=2e-2)


def test_only_lost_columns_are_repeated():
    counted = Counted(lambda p: np.array([p[0] - 3.0, p[1] - 2.0]))
    x = np.array([1e-15, 1.0])
    prepared = ForwardDifference().prepare(counted, x, 2)
    assert prepared.residual_calls == 2
    prepared.evaluate(x, np.array([-3.0, -1.0]), np.empty((2, 2)))
    assert prepared.residual_calls == len(counted.points) == 4
    assert all(point[1] == 1.0 for point in counted.points[2:])


@BOTH
def test_parameter_without_effect(estimator):
    jac = evaluate(estimator(), lambda p: np.array([p[0], 2.0 * p[0]]), [1.0, 1e-12])
    np.testing.assert_array_equal(jac[:, 1], 0.0)


@BOTH
def test_significance_is_judged_row_by_row(estimator):
    """One huge residual must not hide that a small one moved."""
    x = np.array([1e-10])
    jac = evaluate(estimator(), lambda p: np.array([1e12, np.exp(p[0] / 1e-10), 1e12]), x)
    np.testing.assert_allclose(jac[:, 0], [0.0, np.e * 1e10, 0.0], rtol=TOLERANCE[estimator])


def test_float32_residual_gets_float32_steps():
    x, t = np.array([-1.0, -1.0]), np.linspace(0, 1, 50, dtype=np.float32)
    residual = Counted(lambda p: (p[0] + p[1] * t).astype(np.float32))
    expected = np.stack([np.ones(50), t], axis=1)
    for estimator, tolerance in ((ForwardDifference(), 2e-3), (CentralDifference(), 1e-3)):
        np.testing.assert_allclose(evaluate(estimator, residual, x), expected, atol=tolerance)
        prepared = estimator.prepare(residual, x, 50)
        price = prepared.residual_calls
        prepared.evaluate(x, residual(x), None)
        assert prepared.residual_calls == price  # r said so
        prepared = estimator.prepare(residual, x, 50)  # r in float64 hides the precision; it is found out
        jac = prepared.evaluate(x, residual(x).astype(float), None)
        np.testing.assert_allclose(jac, expected, atol=tolerance)
        calls = prepared.residual_calls
        prepared.evaluate(x, residual(x).astype(float), None)
        assert prepared.residual_calls == calls / 2
        residual.points.clear()
        estimator.prepare(residual, x, 50, dtype=np.float32).evaluate(x, np.asarray(residual(x), float), None)
        assert len(residual.points) == calls / 2 + 1


# SciPy's steps

METHODS = {ForwardDifference: "2-point", CentralDifference: "3-point"}


@BOTH
@pytest.mark.parametrize("rel_step", [None, 1e-5, -1e-5, [1e-4, 1e-18, 0.0]])
@pytest.mark.parametrize("bounds", [None, (-1.0, 3.0), (0.7, 2.0), (X, X + 1e-9), (X - 1e-10, X + 1e-9)])
def test_scipys_steps_give_scipys_numbers(estimator, rel_step, bounds):
    lower, upper = (None, None) if bounds is None else bounds
    expected = approx_derivative(
        model, X, METHODS[estimator], rel_step=rel_step, f0=model(X), bounds=bounds or (-np.inf, np.inf)
    )
    jac = evaluate(estimator(steps="scipy", rel_step=rel_step), model, X, lower=lower, upper=upper)
    np.testing.assert_array_equal(jac, expected)


@BOTH
@given(x=hnp.arrays(np.float64, 3, elements=st.floats(-3, 3)))
def test_scipys_steps_anywhere(estimator, x):
    expected = approx_derivative(model, x, METHODS[estimator], f0=model(x))
    np.testing.assert_array_equal(evaluate(estimator(steps="scipy"), model, x), expected)


def test_scipys_steps_are_absolute_for_small_parameters():
    jac = evaluate(ForwardDifference(steps="scipy"), lambda p: 1.0 / p, [1e-9])
    assert abs(jac[0, 0] / -1e18 - 1.0) > 0.5
    np.testing.assert_allclose(evaluate(ForwardDifference(), lambda p: 1.0 / p, [1e-9]), [[-1e18]], rtol=1e-6)


@pytest.mark.parametrize("steps", ["scaled", "scipy"])
def test_float32_in_scipys_way(steps):
    x, t = np.array([-1.0, 0.25]), np.linspace(0, 1, 20, dtype=np.float32)

    def residual(p):
        return (p[0] + p[1] * t).astype(np.float32)

    jac = evaluate(ForwardDifference(steps=steps), residual, x)
    if steps == "scipy":
        expected = approx_derivative(residual, x, "2-point", f0=residual(x))
        np.testing.assert_allclose(jac, expected, atol=2e-3)  # SciPy subtracts in float32
    np.testing.assert_allclose(jac, np.stack([np.ones(20), t], axis=1), atol=2e-3)


# Output and counting


@BOTH
@pytest.mark.parametrize("order", ["C", "F"])
def test_fills_any_memory_order(estimator, order):
    out = np.full((T.size, 3), np.nan, order=order)
    assert evaluate(estimator(), model, X, out=out) is out
    np.testing.assert_allclose(out, model_jac(X), atol=1e-6)
    strided = np.full((2 * T.size, 7), np.nan)[::2, 1:6:2]
    evaluate(estimator(), model, X, out=strided)
    np.testing.assert_array_equal(strided, out)


@BOTH
def test_counts_its_calls(estimator):
    counted = Counted(model)
    prepared = estimator().prepare(counted, X, T.size)
    assert counted.points == []
    price = prepared.residual_calls
    prepared.evaluate(X, model(X), None)
    assert prepared.residual_calls == price == len(counted.points) == (3 if estimator is ForwardDifference else 6)
    assert prepared.pattern is None


@BOTH
def test_prepared_once_evaluated_often(estimator):
    prepared = estimator().prepare(model, X, T.size)
    first = prepared.evaluate(X, model(X), None)
    kept = first.copy()
    prepared.evaluate(2 * X, model(2 * X), None)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(prepared.evaluate(X, model(X), None), kept)


@BOTH
def test_scalar_residual_and_no_residual_scalar(estimator):
    np.testing.assert_allclose(evaluate(estimator(), lambda p: p[0] ** 2, [3.0]), [[6.0]], rtol=1e-6)


# Bounds


@BOTH
def test_at_and_between_bounds(estimator):
    lower, upper = np.array([2.0, 0.7 - 1e-11, -np.inf]), np.array([5.0, 0.7 + 1e-11, 1.3])
    counted = Counted(model)
    jac = evaluate(estimator(), counted, X, lower=lower, upper=upper)
    assert all(np.all((lower <= p) & (p <= upper)) for p in counted.points)
    np.testing.assert_allclose(jac[:, [0, 2]], model_jac(X)[:, [0, 2]], atol=10 * TOLERANCE[estimator])
    np.testing.assert_allclose(jac[:, 1], model_jac(X)[:, 1], atol=1e-3)  # a step of 1e-11 costs digits


@BOTH
def test_fixed_parameter_has_a_zero_column_and_costs_nothing(estimator):
    counted = Counted(model)
    lower, upper = np.array([-9.0, X[1], -9.0]), np.array([9.0, X[1], 9.0])
    prepared = estimator().prepare(counted, X, T.size, lower=lower, upper=upper)
    jac = np.full((T.size, 3), np.nan, order="F")
    for _ in range(2):
        counted.points.clear()
        prepared.evaluate(X, model(X), jac)
        assert len(counted.points) == prepared.residual_calls == (2 if estimator is ForwardDifference else 4)
        np.testing.assert_array_equal(jac[:, 1], 0.0)
        np.testing.assert_allclose(jac[:, [0, 2]], model_jac(X)[:, [0, 2]], atol=TOLERANCE[estimator])


@BOTH
def test_all_parameters_fixed(estimator):
    counted = Counted(model)
    prepared = estimator().prepare(counted, X, T.size, lower=X, upper=X)
    np.testing.assert_array_equal(prepared.evaluate(X, model(X), None), np.zeros((T.size, 3)))
    assert counted.points == []


@BOTH
@settings(max_examples=40)
@given(data=st.data())
def test_never_leaves_the_bounds(estimator, data):
    gaps = st.sampled_from([0.0, 1e-15, 1e-8, 1e-4, 1.0])
    x = data.draw(hnp.arrays(np.float64, 3, elements=st.sampled_from([0.0, 1e-12, -1e-3, 2.0, -40.0])))
    lower = x - data.draw(hnp.arrays(np.float64, 3, elements=gaps))
    upper = x + data.draw(hnp.arrays(np.float64, 3, elements=gaps))

    def residual(p):
        assert np.all((lower <= p) & (p <= upper))
        return np.array([p[0] + p[1] - 3.0, p[1] * p[2], 7.0])

    jac = evaluate(estimator(), residual, x, lower=lower, upper=upper)
    assert np.isfinite(jac).all()


# Users


@BOTH
def test_residual_may_change_and_keep_its_argument(estimator):
    kept = []

    def residual(p):
        kept.append(p)
        r = model(p)
        p[:] = np.nan
        return r

    x = X.copy()
    jac = estimator().prepare(residual, x, T.size).evaluate(x, model(X), None)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_allclose(jac, model_jac(X), atol=TOLERANCE[estimator])
    assert len({id(p) for p in kept}) == len(kept)


@BOTH
def test_residual_may_return_views_of_its_buffer(estimator):
    buffer = np.empty(2 * T.size)

    def residual(p):
        buffer[::2] = model(p)
        return buffer[::2]

    np.testing.assert_array_equal(evaluate(estimator(), residual, X), evaluate(estimator(), model, X))


@BOTH
@pytest.mark.parametrize(
    "convert",
    [list, tuple, lambda r: np.asarray(r, dtype=object), lambda r: r.view(np.matrix).A1, lambda r: np.ma.array(r)],
)
def test_residual_may_return_other_sequences(estimator, convert):
    jac = evaluate(estimator(), lambda p: convert(model(p)), X, lower=None) if convert in (list, tuple) else None
    if jac is None:
        prepared = estimator().prepare(lambda p: convert(model(p)), X, T.size)
        jac = prepared.evaluate(X, model(X), None)
    np.testing.assert_array_equal(jac, evaluate(estimator(), model, X))


@BOTH
@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (lambda r: r[:-1], ResidualShapeError, r"shape \(10,\), expected \(11,\)"),
        (lambda r: r[:1], ResidualShapeError, r"shape \(1,\), expected \(11,\)"),
        (lambda r: 1.0, ResidualShapeError, r"shape \(\), expected \(11,\)"),
        (lambda r: r[:, np.newaxis], ResidualShapeError, r"shape \(11, 1\)"),
        (lambda r: None, TypeError, "returned None"),
        (lambda r: r + 0j, TypeError, "complex"),
        (lambda r: ["a"] * 11, TypeError, "must return numbers"),
        (lambda r: [None] * 11, TypeError, "must return numbers"),
    ],
)
def test_wrong_values_later_on(estimator, bad, error, text):
    calls = 0

    def residual(p):
        nonlocal calls
        calls += 1
        return model(p) if calls == 1 else bad(model(p))

    out = np.full((T.size, 3), 7.0)
    with pytest.raises(error, match=text):
        estimator().prepare(residual, X, T.size).evaluate(X, model(X), out)
    np.testing.assert_array_equal(out, 7.0)


@BOTH
def test_exceptions_pass_through_and_leave_the_output(estimator):
    class StrangeError(Exception):
        pass

    def residual(p):
        if p[1] != X[1]:
            raise StrangeError("here")
        return model(p)

    out = np.full((T.size, 3), 7.0)
    prepared = estimator().prepare(residual, X, T.size)
    with pytest.raises(StrangeError, match="here"):
        prepared.evaluate(X, model(X), out)
    np.testing.assert_array_equal(out, 7.0)


@BOTH
def test_nonfinite_values_show_and_raise_nothing(estimator):
    jac = evaluate(
        estimator(),
        lambda p: np.array([p[0], np.nan if p[1] != 2.0 else 0.0, np.inf if p[1] != 2.0 else 0.0]),
        [1.0, 2.0],
    )
    np.testing.assert_allclose(jac[0], [1.0, 0.0], atol=1e-9)
    assert not np.isfinite(jac[1:, 1]).any()


def test_unknown_steps():
    with pytest.raises(ValueError, match="'scaled', 'scipy'"):
        ForwardDifference(steps="absolute")
    with pytest.raises(ValueError, match="rel_step"):
        evaluate(CentralDifference(rel_step=[1e-3, 1e-3]), model, X)


# Many points at once


def vectorized_model(x):
    assert x.ndim == 2
    return x[0] * np.exp(-x[1] * T[:, np.newaxis]) + np.sin(x[2] * T[:, np.newaxis])


@BOTH
def test_vectorized_equals_column_by_column(estimator):
    prepared = estimator(vectorized=True).prepare(vectorized_model, X, T.size)
    jac = prepared.evaluate(X, model(X), None)
    np.testing.assert_allclose(jac, evaluate(estimator(), model, X), rtol=1e-6, atol=1e-8)
    fixed = estimator(vectorized=True).prepare(vectorized_model, X, T.size, lower=[2, -9, -9], upper=[2, 9, 9])
    np.testing.assert_array_equal(fixed.evaluate(X, model(X), None)[:, 0], 0.0)


def test_vectorized_in_batches(monkeypatch):
    monkeypatch.setattr("nlsq.derivatives.probe.BATCH_ENTRIES", 2 * T.size)
    shapes = []

    def residual(x):
        shapes.append(x.shape)
        return vectorized_model(x)

    jac = ForwardDifference(vectorized=True).prepare(residual, X, T.size).evaluate(X, model(X), None)
    assert shapes == [(3, 2), (3, 1)]
    np.testing.assert_allclose(jac, model_jac(X), atol=1e-6)


def test_vectorized_residual_of_wrong_shape():
    with pytest.raises(ResidualShapeError, match=r"\(3, 11\), expected \(11, 3\)"):
        prepared = ForwardDifference(vectorized=True).prepare(lambda x: vectorized_model(x).T, X, T.size)
        prepared.evaluate(X, model(X), None)


@BOTH
def test_user_map(estimator):
    seen = []

    def mapper(function, points):
        points = list(points)
        seen.append(len(points))
        return [function(p) for p in points]

    np.testing.assert_array_equal(evaluate(estimator(workers=mapper), model, X), evaluate(estimator(), model, X))
    assert seen == ([3] if estimator is ForwardDifference else [3, 3])


def test_thread_pool_map():
    with multiprocessing.pool.ThreadPool(2) as pool:
        jac = evaluate(CentralDifference(workers=pool.map), model, X)
    np.testing.assert_array_equal(jac, evaluate(CentralDifference(), model, X))


def test_map_that_loses_points():
    with pytest.raises(RuntimeError, match="1 results for 3 points"):
        evaluate(ForwardDifference(workers=lambda function, points: [function(next(iter(points)))]), model, X)


def test_one_worker_is_serial():
    assert WorkerMap(None).serial
    assert WorkerMap(1).serial
    assert not WorkerMap(2).serial
    assert list(WorkerMap(1)(abs, [-1, 2])) == [1, 2]


@pytest.mark.parametrize("workers", [0, -2])
def test_wrong_number_of_workers(workers):
    with pytest.raises(RuntimeError, match="must be -1, an int >= 1"):
        evaluate(ForwardDifference(workers=workers), model, X)


@pytest.mark.slow
def test_processes():
    with WorkerMap(2) as workers:
        np.testing.assert_array_equal(
            evaluate(ForwardDifference(workers=workers), model, X), evaluate(ForwardDifference(), model, X)
        )
    np.testing.assert_array_equal(
        evaluate(ForwardDifference(workers=2), model, X), evaluate(ForwardDifference(), model, X)
    )


def test_estimators_pickle():
    estimator = pickle.loads(pickle.dumps(ForwardDifference(rel_step=1e-5, steps="scipy")))
    assert (estimator.rel_step, estimator.steps) == (1e-5, "scipy")


def test_finer_differences_are_central_ones_with_the_same_options():
    finer = ForwardDifference(workers=map).finer()
    assert isinstance(finer, CentralDifference)
    assert finer.workers is map
    assert ForwardDifference(vectorized=True).finer().vectorized
    assert ForwardDifference(rel_step=1e-4).finer() is None
    assert ForwardDifference(steps="scipy").finer() is None
