"""Nothing is lost: statuses, limits, callbacks, exceptions that pass through."""

import numpy as np
import pytest
from references.compiled_at_once import compiling_at_once

import nlsq
from nlsq.fitting import FitResult, fit
from nlsq.status import Status

X = np.linspace(0.0, 4.0, 40)


def decay(x, a, b):
    return a * np.exp(-b * x)


Y = decay(X, 2.0, 1.5) + 0.01 * np.sin(30.0 * X)
START = {"a": 1.0, "b": 0.2}


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox", "gauss-newton", nlsq.LevenbergMarquardt()])
def test_methods(method):
    np.testing.assert_allclose(fit(decay, X, Y, START, method=method).params, fit(decay, X, Y, START).params, rtol=1e-6)


def test_unknown_method_and_options():
    with pytest.raises(ValueError, match="method must be one of"):
        fit(decay, X, Y, START, method="newton")
    with pytest.raises(ValueError, match="loss must be one of"):
        fit(decay, X, Y, START, loss="square")
    with pytest.raises(ValueError, match="takes no bounds"):
        fit(decay, X, Y, START, method="lm", bounds={"a": (0, None)})
    with pytest.raises(ValueError, match="max_evaluations must be a whole number"):
        fit(decay, X, Y, START, max_evaluations=0)
    with pytest.raises(ValueError, match="time_limit must be seconds"):
        fit(decay, X, Y, START, time_limit=-1)
    with pytest.raises(ValueError, match="starts must be a whole number"):
        fit(decay, X, Y, START, starts=True)
    with pytest.raises(TypeError, match="callback must be callable"):
        fit(decay, X, Y, START, callback=3)
    with pytest.raises(TypeError, match=r"constraints\[0\]\['fun'\] must be callable"):
        fit(decay, X, Y, START, constraints=[{"type": "eq"}])
    assert fit(decay, X, Y, START, constraints=()).converged


def test_limit_of_evaluations_gives_the_best_point():
    result = fit(decay, X, Y, START, max_evaluations=2)
    assert result.status == Status.MAX_EVALUATIONS
    assert not result.converged
    assert result.message == Status.MAX_EVALUATIONS.message
    assert result.cost < 0.5 * np.sum((decay(X, **START) - Y) ** 2)
    assert np.isfinite(result.stderr).all()


def test_time_limit():
    result = fit(decay, X, Y, START, time_limit=0.0)
    assert result.status == Status.TIME_LIMIT
    assert fit(decay, X, Y, START, time_limit=np.inf).converged
    from_data = fit(decay, X, Y, time_limit=0.0)
    assert from_data.status in (Status.TIME_LIMIT, Status.OPTIMALITY)
    assert np.isfinite(from_data.params).all()


def test_tolerances_are_taken():
    rough = fit(decay, X, Y, START, tolerances=nlsq.Tolerances(cost=1e-2, step=1e-2))
    assert rough.converged
    assert rough.nfev < fit(decay, X, Y, START).nfev


def test_callback_sees_all_parameters_and_may_stop():
    seen = []

    def callback(report):
        seen.append(report.x.copy())
        return len(seen) == 2

    result = fit(decay, X, Y, START, fixed={"a": 1.9}, callback=callback)
    assert result.status == Status.CALLBACK
    assert all(x.shape == (2,) and x[0] == 1.9 for x in seen)
    np.testing.assert_array_equal(result.params, seen[-1])


def test_progress_prints_a_line_a_step(capsys):
    fit(decay, X, Y, START, progress=True)
    assert "cost" in capsys.readouterr().out


def test_undefined_start_is_a_status():
    result = fit(lambda x, a: np.where(a > 0.0, a * x, np.nan), X, Y, [-1.0])
    assert result.status == Status.NONFINITE_START
    assert result.params["a"] == -1.0
    assert not result.converged
    assert np.isnan(result.stderr["a"])
    assert not result.identifiable.any()
    assert np.isnan([result.cost, result.chi2, result.r_squared, result.aic]).all()
    assert "not finite at the start" in result.summary()


def test_region_without_values_is_survived():
    def model(x, a, b):
        return np.full_like(x, np.nan) if b > 1.6 else decay(x, a, b)

    result = fit(model, X, Y, START)
    assert result.converged
    assert result.params["b"] == pytest.approx(1.5, abs=0.05)


class AbortError(Exception):
    pass


@pytest.mark.parametrize("kind", [AbortError, KeyboardInterrupt])
@pytest.mark.parametrize("starts", [None, 2])
def test_exception_of_the_model_passes_with_the_best_point(kind, starts):
    costs = []

    def model(x, a, b):
        if len(costs) == 12:
            raise kind("enough")
        value = decay(x, a, b)
        costs.append(0.5 * np.sum((value - Y) ** 2))
        return value

    with pytest.raises(kind, match="enough") as caught:
        fit(model, X, Y, START, starts=starts)
    result = caught.value.result
    assert isinstance(result, FitResult)
    assert result.status == Status.RUNNING
    assert min(costs) <= result.cost < costs[0]
    assert result.cost == pytest.approx(0.5 * np.sum((decay(X, *result.params) - Y) ** 2))
    assert any("best point of the fit so far: a = " in note for note in caught.value.__notes__)


def test_exception_before_the_start_has_no_result():
    def model(x, a):
        raise AbortError

    with pytest.raises(AbortError) as caught:
        fit(model, X, Y, [1.0])
    assert not hasattr(caught.value, "result")


def test_later_start_that_raises_leaves_the_best_of_the_earlier_ones():
    calls = []

    def model(x, a, b):
        calls.append(a)
        if len(calls) > 200:
            raise AbortError
        return decay(x, a, b)

    with pytest.raises(AbortError) as caught:
        fit(model, X, Y, START, starts=40)
    assert caught.value.result.cost == pytest.approx(fit(decay, X, Y, START).cost, rel=1e-6)


def test_exceptions_that_refuse_attributes_pass_too():
    class SlottedError(Exception):
        __slots__ = ()

        def __setattr__(self, name, value):
            if name == "result":
                raise AttributeError(name)
            super().__setattr__(name, value)

    calls = []

    def model(x, a, b):
        calls.append(a)
        if len(calls) > 5:
            raise SlottedError
        return decay(x, a, b)

    with pytest.raises(SlottedError) as caught:
        fit(model, X, Y, START)
    assert "best point" in caught.value.__notes__[0]


def test_exception_of_the_callback_passes():
    def callback(report):
        raise AbortError

    with pytest.raises(AbortError) as caught:
        fit(decay, X, Y, START, callback=callback)
    assert caught.value.result.cost < 0.5 * np.sum((decay(X, **START) - Y) ** 2)


def test_interrupted_result_can_be_asked_everything():
    def callback(report):
        raise AbortError

    with pytest.raises(AbortError) as caught:
        fit(decay, X, Y, START, callback=callback)
    result = caught.value.result
    assert np.isfinite(result.stderr).all()
    assert "The solver has not stopped." in result.summary()


def test_a_tuple_of_parts_of_different_lengths_is_for_the_function_alone():
    t = np.linspace(0.1, 2.0, 30)

    def two(x, a, b):
        u, v = x
        return a * u[:20] + b * v**2

    y = two((t, t[:20]), 2.0, 3.0)
    with compiling_at_once():
        for _ in range(2):
            np.testing.assert_allclose(fit(two, (t, t[:20]), y, [1.0, 1.0]).params, [2.0, 3.0], rtol=1e-8)
