"""Functions that nobody would write for a tracer: right by kernels or by calls, and called as often as before."""

import math
import time
import warnings

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once, compiling_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes

X = np.linspace(0.1, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.01 * np.sin(17.0 * X)
P0 = (1.0, 1.0)


def is_compiled(function, form="model"):
    route = routes.route_of(function, form)
    return route is not None and route.latest is not None


def assert_same_fits(model, x=X, y=Y, p0=P0, rtol=3e-4):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.optimize.OptimizeWarning)
        expected, covariance = scipy.optimize.curve_fit(model, x, y, p0)
        for _ in range(3):
            params, ours = nlsq.curve_fit(model, x, y, p0)
            assert_allclose(params, expected, rtol=rtol, atol=1e-6)
            assert_allclose(ours, covariance, rtol=1e-2, atol=1e-8)
            least = nlsq.least_squares(lambda p: np.ravel(model(x, *p) - y), np.array(p0, dtype=float)).x
            assert_allclose(least, expected, rtol=rtol, atol=1e-6)


# Side effects


def test_counters_count_and_histories_grow():
    calls, history = [0], []

    def counting(x, a, b):
        calls[0] += 1
        return a * np.exp(-b * x)

    def keeping(x, a, b):
        history.append((a, b))
        return a * np.exp(-b * x)

    for model, count in ((counting, lambda: calls[0]), (keeping, lambda: len(history))):
        made = []
        for _ in range(3):
            before = count()
            nlsq.curve_fit(model, X, Y, P0)
            made.append(count() - before)
        assert made[0] == made[1] == made[2] > 10
        assert not is_compiled(model)
        assert nlsq.explain(model).route == "plain" and nlsq.explain(model).reason


@pytest.mark.parametrize("error", [KeyError("limit"), KeyboardInterrupt(), ArithmeticError("no")])
def test_aborts_by_exception_come_after_as_many_calls(error):
    calls = 0

    def model(x, a, b):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise error
        return a * np.exp(-b * x)

    for function in (nlsq.curve_fit, nlsq.fit):
        calls = 0
        with pytest.raises(type(error)) as caught:
            function(model, X, Y, P0)
        assert caught.value is error and calls == 7


def test_exceptions_of_a_clean_function_pass_through():
    def model(x, a, b):
        return a * np.exp(-b * x) + math.log(b - 5.0)

    for function in (nlsq.curve_fit, nlsq.fit):
        with pytest.raises(ValueError, match=r"math domain error|positive input"):
            function(model, X, Y, P0)


def test_randomness_is_not_frozen():
    generator = np.random.default_rng(1)
    for draw in (lambda x: generator.normal(size=x.size), lambda x: np.random.random(x.size)):  # noqa: NPY002
        drawn = []

        def model(x, a, b):
            noise = draw(x)  # noqa: B023
            drawn.append(noise[0])  # noqa: B023
            return a * np.exp(-b * x) + 1e-9 * noise

        nlsq.curve_fit(model, X, Y, P0, ftol=1e-4, xtol=1e-4)
        assert len(set(drawn)) == len(drawn) > 5

    def quiet(x, a, b):
        return a * np.exp(-b * x) + 1e-9 * generator.normal(size=x.size)

    nlsq.curve_fit(quiet, X, Y, P0, ftol=1e-4, xtol=1e-4)
    assert not is_compiled(quiet)


def test_prints_are_printed(capsys):
    def model(x, a, b):
        print("called")
        return a * np.exp(-b * x)

    nlsq.curve_fit(model, X, Y, P0)
    assert capsys.readouterr().out.count("called") > 10


def test_global_state_is_changed_as_often():
    def model(x, a, b):
        global COUNTER
        COUNTER += 1
        return a * np.exp(-b * x)

    counts = []
    for _ in range(2):
        globals()["COUNTER"] = 0
        nlsq.curve_fit(model, X, Y, P0)
        counts.append(COUNTER)
    assert counts[0] == counts[1] > 10


COUNTER = 0


def test_x_changed_in_place_by_the_model_stays_plain():
    def model(x, a, b):
        x *= 1.0
        return a * np.exp(-b * x)

    assert_same_fits(model)
    assert not is_compiled(model)


# Recursion, size


def test_recursion():
    def power(x, k):
        return x if k == 1 else x * power(x, k - 1)

    def model(x, a, b):
        return a * power(x, 3) + b

    assert_same_fits(model)


def test_a_recursion_without_end_raises_its_own_error():
    def model(x, a, b):
        return model(x, a, b)

    with pytest.raises(RecursionError):
        nlsq.curve_fit(model, X, Y, P0)


def sum_of(terms):
    def model(x, a, b):
        total = a * x
        for k in range(terms):
            total = total + b * np.sin(x / (k + 1.0))
        return total

    return model


def test_long_expressions_are_compiled():
    model = sum_of(300)
    assert_same_fits(model)
    assert is_compiled(model)


def test_ten_thousand_operations_are_not_compiled_for_a_short_script(monkeypatch):
    monkeypatch.setattr(routes, "WORTH_COMPILING", 0.02)
    routes.forget()
    model = sum_of(2500)
    started = time.perf_counter()
    expected = scipy.optimize.curve_fit(model, X, Y, P0)[0]
    theirs = time.perf_counter() - started
    for _ in range(3):
        started = time.perf_counter()
        assert_allclose(nlsq.curve_fit(model, X, Y, P0)[0], expected, rtol=1e-4)
        assert time.perf_counter() - started < 1.0 + 5.0 * theirs
    route = routes.route_of(model, "model")
    assert route.latest is None and route.worth > 1.0 and not route.reason


def test_ten_thousand_different_operations():
    lines = ["def model(x, a, b):", "    t = a * x"]
    lines += [f"    t = t + b * np.sin({k + 1} * x) / {k + 2}" for k in range(2000)]
    scope = {"np": np}
    exec("\n".join([*lines, "    return t"]), scope)
    started = time.perf_counter()
    params = nlsq.curve_fit(scope["model"], X, Y, P0)[0]
    assert time.perf_counter() - started < 20.0
    assert_allclose(params, scipy.optimize.curve_fit(scope["model"], X, Y, P0)[0], rtol=1e-5)


# Types


def test_integer_parameters_and_data():
    def model(x, a, b):
        return a * x**2 + b

    x, y = np.arange(1, 12), np.arange(1, 12) ** 2 * 3 + 5
    for start in ([1, 1], (1, 2.0), np.array([1, 1]), np.array([1, 1], dtype=np.int32)):
        expected = scipy.optimize.curve_fit(model, x, y, start)[0]
        for _ in range(3):
            assert_allclose(nlsq.curve_fit(model, x, y, start)[0], expected, rtol=1e-7)
            assert_allclose(nlsq.curve_fit(model, list(x), list(y), start)[0], expected, rtol=1e-7)
            assert_allclose(nlsq.fit(model, x, y, start).params, expected, rtol=1e-7)


@pytest.mark.parametrize("start", [["1", "1"], [None, 1.0], [1j, 1.0], [[1.0, 2.0]], np.array([1.0 + 1j, 2.0])])
def test_starts_that_are_none_raise_whatever_was_compiled(start):
    def model(x, a, b):
        return a * np.exp(-b * x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            nlsq.curve_fit(model, X, Y, P0)
            nlsq.fit(model, X, Y, P0)
            nlsq.leastsq(lambda p: p[0] * np.exp(-p[1] * X) - Y, P0)
            try:
                expected = scipy.optimize.curve_fit(model, X, Y, start)[0]
            except Exception:
                with pytest.raises((TypeError, ValueError, RuntimeError)):
                    nlsq.curve_fit(model, X, Y, start)
            else:
                assert_allclose(nlsq.curve_fit(model, X, Y, start)[0], expected, rtol=3e-4)
            if np.iscomplexobj(start):
                with pytest.raises((TypeError, ValueError)):
                    nlsq.fit(model, X, Y, start)


@pytest.mark.parametrize("start", [[np.inf, 1.0], [np.nan, 1.0], [1e200, 0.0]])
def test_starts_without_finite_residuals_raise_whatever_was_compiled(start):
    def model(x, a, b):
        return a * np.exp(-b * x) * a

    for _ in range(2):
        nlsq.curve_fit(model, X, Y, P0)
        with np.errstate(all="ignore"), pytest.raises(RuntimeError, match="Optimal parameters not found"):
            nlsq.curve_fit(model, X, Y, start)


def test_single_precision_data_and_models():
    single = X.astype(np.float32), Y.astype(np.float32)
    weights = np.linspace(0.5, 1.0, 40, dtype=np.float32)

    def plain(x, a, b):
        return a * np.exp(-b * x)

    def rounded(x, a, b):
        return (a * np.exp(-b * x)).astype(np.float32)

    def weighted(x, a, b):
        return a * np.exp(-b * x) * weights

    for _ in range(3):
        for model in (plain, rounded, weighted):
            expected = scipy.optimize.curve_fit(plain if model is rounded else model, *single, P0)[0]
            assert_allclose(nlsq.curve_fit(model, *single, P0)[0], expected, rtol=1e-3)
            assert_allclose(nlsq.fit(model, *single, P0).params, expected, rtol=1e-3)


class Unit(np.ndarray):
    """An array that notes each operation."""

    noted: list[str] = []  # noqa: RUF012

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        self.noted.append(ufunc.__name__)
        inputs = [one.view(np.ndarray) if isinstance(one, Unit) else one for one in inputs]
        return getattr(ufunc, method)(*inputs, **kwargs)


def test_array_subclasses_keep_their_meaning():
    x, scale = X.view(Unit), np.full(40, 2.0).view(Unit)

    def over_unit(x, a, b):
        return a * np.exp(-b * x) * scale

    def residual(p):
        return p[0] * np.exp(-p[1] * x) - Y

    for _ in range(3):
        Unit.noted.clear()
        nlsq.curve_fit(over_unit, X, Y, P0)
        first = Unit.noted.count("multiply")
        assert first > 10
        Unit.noted.clear()
        nlsq.least_squares(residual, P0)
        assert Unit.noted.count("multiply") > 10
        expected = scipy.optimize.least_squares(residual, P0).x
        assert_allclose(nlsq.least_squares(residual, P0).x, expected, rtol=1e-5)


def test_masked_arrays_are_not_taken_for_plain_ones():
    y = np.ma.array(Y, mask=np.arange(40) > 30)

    def model(x, a, b):
        return a * np.exp(-b * x)

    for _ in range(3):
        expected = scipy.optimize.curve_fit(model, X, y, P0)[0]
        assert_allclose(nlsq.curve_fit(model, X, y, P0)[0], expected, rtol=3e-4)
        short = nlsq.fit(model, X[:31], Y[:31], P0).params
        assert_allclose(nlsq.fit(model, X, y, P0).params, short, rtol=1e-6)


def test_models_that_return_a_constant():
    for model in (lambda x, a, b: np.zeros(40), lambda x, a, b: 0.0 * x, lambda x, a, b: 1.0):
        for _ in range(3):
            with pytest.warns(scipy.optimize.OptimizeWarning, match="Covariance"):
                params, covariance = nlsq.curve_fit(model, X, Y, P0)
            assert_allclose(params, P0)
            assert np.isinf(covariance).all()


def test_a_parameter_that_is_not_used():
    def model(x, a, b):
        return a * x

    for _ in range(3):
        with pytest.warns(scipy.optimize.OptimizeWarning, match="Covariance"):
            params, covariance = nlsq.curve_fit(model, X, Y, P0)
        assert_allclose(params, [(X @ Y) / (X @ X), 1.0], rtol=1e-6)
        assert np.isinf(covariance).all()


# What depends on the shape or on all of the data

OF_ALL_DATA = {
    "mean": lambda x, a, b: a * np.exp(-b * (x - x.mean())),
    "np.mean": lambda x, a, b: a * np.exp(-b * (x - np.mean(x))),
    "max": lambda x, a, b: a * np.exp(-b * x / x.max()),
    "len": lambda x, a, b: a * np.exp(-b * x) + 1.0 / len(x),
    "shape": lambda x, a, b: a * np.exp(-b * x) + 1.0 / x.shape[0],
    "size": lambda x, a, b: a * np.exp(-b * x) + 1.0 / (x.size // 2),
    "sum": lambda x, a, b: a * np.exp(-b * x) / np.sum(x),
    "first": lambda x, a, b: a * np.exp(-b * (x - x[0])),
    "last": lambda x, a, b: a * np.exp(-b * x / x[-1]),
    "half": lambda x, a, b: a * np.exp(-b * x) + x[x.size // 2],
    "normed": lambda x, a, b: a * np.exp(-b * x) / np.exp(-b * x).sum(),
    "largest of the model": lambda x, a, b: np.exp(-b * x) / np.exp(-b * x).max() + a,
    "sorted": lambda x, a, b: a * np.exp(-b * np.sort(x)),
    "gradient": lambda x, a, b: a * np.exp(-b * x) + np.gradient(x),
    "interp": lambda x, a, b: a * np.exp(-b * np.interp(x, [0.0, 2.0, 4.0], [0.0, 2.5, 4.0])),
    "dot": lambda x, a, b: a * np.exp(-b * x) + 1e-3 * (x @ x),
    "two halves": lambda x, a, b: np.concatenate([a * x[: x.size // 2], b * x[x.size // 2 :]]),
    "reversed": lambda x, a, b: a * np.exp(-b * x[::-1]),
    "branch on length": lambda x, a, b: a * np.exp(-b * x) if len(x) > 20 else a - b * x,
    "branch on ndim": lambda x, a, b: a * np.exp(-b * x) if x.ndim == 1 else a - b * x[0],
}


@pytest.mark.parametrize("name", OF_ALL_DATA)
def test_what_depends_on_all_of_the_data(name):
    model = OF_ALL_DATA[name]
    for x in (X, X + 1.0, np.linspace(0.1, 3.0, 17), X[::-1].copy(), X):
        assert_same_fits(model, x, model(x, 2.0, 0.7) + 0.01 * np.cos(30.0 * x))
    found = nlsq.explain(model)
    assert found.reason
    assert found.route in ("compiled", "plain")


def test_a_running_sum():
    x = np.linspace(0.1, 2.0, 9)
    assert_same_fits(lambda x, a, b: a * np.exp(-b * np.cumsum(x) / 20.0), x, 2.0 * np.exp(-0.1 * np.cumsum(x)))


def test_branches_on_values_are_called_plainly_and_explained():
    def model(x, a, b):
        if a > 0:
            return a * np.exp(-b * x)
        return a - b * x

    assert_same_fits(model)
    assert not is_compiled(model)
    found = nlsq.explain(model)
    assert found.route == "plain" and found.reason


def test_errors_that_numpy_is_to_raise_are_raised():
    def model(x, a, b):
        return a * np.exp(b * x * 1e3)

    def tame(x, a, b):
        return a * np.exp(-b * x)

    with np.errstate(all="raise"):
        with pytest.raises(FloatingPointError):
            nlsq.curve_fit(model, X, Y, P0)
        nlsq.curve_fit(tame, X, Y, P0)
    with np.errstate(all="ignore"):
        nlsq.curve_fit(tame, X, Y, P0)
    assert is_compiled(tame)


def test_errors_are_raised_also_after_the_function_was_compiled():
    def model(x, a, b):
        return a * np.log(b * x)

    nlsq.curve_fit(model, X, Y, P0)
    assert is_compiled(model)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        nlsq.curve_fit(model, X, Y, (1.0, -1.0))


@pytest.mark.parametrize("function", [nlsq.curve_fit, nlsq.fit])
def test_errors_on_the_way_are_raised_also_after_the_function_was_compiled(function):
    def model(x, a, b):
        return a * np.exp(-b * x) + np.exp(-400.0 * b * x)

    y = model(X, 2.0, 0.7)
    for _ in range(3):
        function(model, X, y, P0)
    assert is_compiled(model)
    with np.errstate(under="raise"), pytest.raises(FloatingPointError):
        function(model, X, y, P0)
    residual = lambda p: model(X, p[0], p[1]) - y
    for solve in (nlsq.least_squares, nlsq.leastsq):
        for _ in range(2):
            solve(residual, P0)
        with np.errstate(under="raise"), pytest.raises(FloatingPointError):
            solve(residual, P0)


def test_a_model_cannot_be_made_while_errors_are_to_be_raised():
    with np.errstate(all="raise"), pytest.raises(TypeError, match=r"np\.errstate"):
        nlsq.model(lambda x, a: a * np.exp(-x))


# Callables that are no functions


class Callable:
    def __init__(self):
        self.calls = 0

    def __call__(self, x, a, b):
        self.calls += 1
        return a * np.exp(-b * x)


def test_objects_with_state_are_called():
    model = Callable()
    made = []
    for _ in range(2):
        model.calls = 0
        nlsq.curve_fit(model, X, Y, P0)
        made.append(model.calls)
    assert made[0] == made[1] > 10
    found = nlsq.explain(model)
    assert found.route == "plain" and "Callable" in found.reason


def test_a_model_that_fits_itself():
    def model(x, a, b):
        inner = nlsq.curve_fit(lambda t, c: c * t, np.array([1.0, 2.0, 3.0]), np.array([a, 2.0 * a, 3.0 * a]), [1.0])[0]
        return inner[0] * np.exp(-b * x)

    expected = scipy.optimize.curve_fit(lambda x, a, b: a * np.exp(-b * x), X, Y, P0)[0]
    assert_allclose(nlsq.curve_fit(model, X, Y, P0)[0], expected, rtol=1e-4)
    assert_allclose(nlsq.fit(model, X, Y, P0).params, expected, rtol=1e-4)
