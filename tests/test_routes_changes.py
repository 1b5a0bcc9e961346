"""What a function reads changes between two fits: the next fit sees it, whatever was compiled before."""

import types

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes

X = np.linspace(0.1, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.sin(17.0 * X)
P0 = (1.0, 1.0)

RATE = 1.0
OFFSETS = np.full(40, 0.5)
LIST = [1.0]
TABLE = {"rate": 1.0}


def shape(x):
    return np.exp(-x)


def other_shape(x):
    return 1.0 / (1.0 + x * x)


class Settings:
    rate = 1.0


class Decay:
    def __init__(self):
        self.rate = 1.0

    def model(self, x, a, b):
        return a * np.exp(-self.rate * x) + b


def by_cell():
    rate = 1.0

    def model(x, a, b):
        return a * np.exp(-rate * x) + b

    def change():
        nonlocal rate
        rate = 2.0

    return model, change


def by_default():
    def model(x, a, b, rate=1.0):
        return a * np.exp(-rate * x) + b

    return model, lambda: setattr(model, "__defaults__", (2.0,))


def by_keyword_default():
    def model(x, a, b, *, rate=1.0, unused=3.0):
        return a * np.exp(-rate * x) + b + 0.0 * unused

    return model, lambda: model.__kwdefaults__.update(rate=2.0)


def by_swapped_keyword_defaults():
    def model(x, a, b, *, rate=1.0, power=2.0):
        return a * np.exp(-rate * x**power) + b

    return model, lambda: setattr(model, "__kwdefaults__", {"power": 1.0, "rate": 2.0})


def by_global():
    return lambda x, a, b: a * np.exp(-RATE * x) + b, lambda: globals().update(RATE=2.0)


def by_global_array_replaced():
    return lambda x, a, b: a * np.exp(-b * x) + OFFSETS, lambda: globals().update(OFFSETS=np.linspace(0.0, 1.0, 40))


def by_global_array_changed():
    return lambda x, a, b: a * np.exp(-b * x) + OFFSETS, lambda: np.copyto(OFFSETS, np.linspace(0.0, 1.0, 40))


def by_global_function():
    return lambda x, a, b: a * shape(x) + b, lambda: globals().update(shape=other_shape)


def by_code_of_a_helper():
    return lambda x, a, b: a * shape(x) + b, lambda: setattr(shape, "__code__", other_shape.__code__)


def by_own_code():
    def model(x, a, b):
        return a * np.exp(-x) + b

    def other(x, a, b):
        return a / (1.0 + x * x) + b

    return model, lambda: setattr(model, "__code__", other.__code__)


def by_attribute():
    decay = Decay()
    return decay.model, lambda: setattr(decay, "rate", 2.0)


def by_attribute_of_an_object():
    settings = Settings()
    return lambda x, a, b: a * np.exp(-settings.rate * x) + b, lambda: setattr(settings, "rate", 2.0)


def by_attribute_of_a_class():
    return lambda x, a, b: a * np.exp(-Settings.rate * x) + b, lambda: setattr(Settings, "rate", 2.0)


def by_attribute_of_a_module():
    module = types.ModuleType("settings")
    module.rate = 1.0
    return lambda x, a, b: a * np.exp(-module.rate * x) + b, lambda: setattr(module, "rate", 2.0)


def by_list():
    return lambda x, a, b: a * np.exp(-LIST[0] * x) + b, lambda: LIST.__setitem__(0, 2.0)


def by_list_in_a_cell():
    rates = [1.0]
    return lambda x, a, b: a * np.exp(-rates[0] * x) + b, lambda: rates.__setitem__(0, 2.0)


def by_dict():
    return lambda x, a, b: a * np.exp(-TABLE["rate"] * x) + b, lambda: TABLE.update(rate=2.0)


def by_array_in_a_cell():
    offsets = np.full(40, 0.5)
    return lambda x, a, b: a * np.exp(-b * x) + offsets, lambda: np.copyto(offsets, np.linspace(0.0, 1.0, 40))


def by_strided_array():
    base = np.full(80, 0.5)
    offsets = base[::2]
    return lambda x, a, b: a * np.exp(-b * x) + offsets, lambda: np.copyto(base, np.linspace(0.0, 1.0, 80))


def by_backward_array():
    base = np.linspace(1.0, 0.0, 40)
    offsets = base[::-1]
    return lambda x, a, b: a * np.exp(-b * x) + offsets, lambda: np.copyto(base, np.full(40, 0.2))


def by_integer_array():
    offsets = np.arange(40)
    return lambda x, a, b: a * np.exp(-b * x) + 0.01 * offsets, lambda: np.copyto(offsets, np.arange(40)[::-1])


def by_single_precision_array():
    offsets = np.linspace(0.0, 1.0, 40, dtype=np.float32)
    return lambda x, a, b: a * np.exp(-b * x) + offsets, lambda: np.copyto(offsets, np.float32(0.25))


def by_mask():
    mask = X > 2.0
    return lambda x, a, b: a * np.exp(-b * x) + 0.5 * mask, lambda: np.copyto(mask, X > 1.0)


def by_element_of_an_array():
    rates = np.array([1.0, 5.0])
    return lambda x, a, b: a * np.exp(-rates[0] * x) + b, lambda: rates.__setitem__(0, 2.0)


def by_zero_dimensional_array():
    rate = np.array(1.0)
    return lambda x, a, b: a * np.exp(-rate * x) + b, lambda: rate.__setitem__((), 2.0)


def by_index_array():
    places = np.arange(40)
    return lambda x, a, b: a * np.exp(-b * x[places]), lambda: np.copyto(places, np.r_[20:40, 0:20])


def by_float_of_an_array():
    rate = np.array([1.0])
    return lambda x, a, b: a * np.exp(-float(rate[0]) * x) + b, lambda: rate.__setitem__(0, 2.0)


def by_float_of_a_single_precision_array():
    rate = np.array([1.0], dtype=np.float32)
    return lambda x, a, b: a * np.exp(-float(rate[0]) * x) + b, lambda: rate.__setitem__(0, 2.0)


def by_array_in_a_tuple():
    pair = np.full(40, 0.5), np.array(1.0)
    return lambda x, a, b: a * np.exp(-pair[1] * b * x) + pair[0], lambda: np.copyto(pair[0], np.linspace(0.0, 1.0, 40))


def by_number_in_a_tuple():
    pair = np.full(40, 0.5), np.array(1.0)
    return lambda x, a, b: a * np.exp(-pair[1] * x) + b, lambda: pair[1].__setitem__((), 2.0)


def by_array_of_three_axes():
    block = np.full((2, 4, 5), 0.5)
    return lambda x, a, b: a * np.exp(-b * x) + block.ravel(), lambda: np.copyto(block, np.linspace(0, 1, 5))


def by_sign_of_zero():
    zero = 0.0

    def model(x, a, b):
        return a * np.exp(-b * x) + np.arctan2(zero, -x)

    def change():
        nonlocal zero
        zero = -0.0

    return model, change


def by_inner_function():
    rate = 1.0

    def inner(x):
        return np.exp(-rate * x)

    def change():
        nonlocal rate
        rate = 2.0

    return lambda x, a, b: a * inner(x) + b, change


def by_array_of_an_inner_function():
    offsets = np.full(40, 0.5)

    def inner():
        return offsets

    def change():
        nonlocal offsets
        offsets = np.linspace(0.0, 1.0, 40)

    return lambda x, a, b: a * np.exp(-b * x) + inner(), change


def by_default_of_a_helper():
    def helper(x, rate=1.0):
        return np.exp(-rate * x)

    return lambda x, a, b: a * helper(x) + b, lambda: setattr(helper, "__defaults__", (2.0,))


CASES = [value for name, value in list(globals().items()) if name.startswith("by_")]


@pytest.fixture(autouse=True)
def globals_as_they_were():
    kept = {name: globals()[name] for name in ("RATE", "OFFSETS", "shape")}
    code = shape.__code__
    yield
    globals().update(kept)
    OFFSETS[:], LIST[0], TABLE["rate"], Settings.rate = 0.5, 1.0, 1.0, 1.0
    shape.__code__ = code


def check(model):
    expected, covariance = scipy.optimize.curve_fit(model, X, Y, P0)
    for _ in range(3):
        params, ours = nlsq.curve_fit(model, X, Y, P0)
        assert_allclose(params, expected, rtol=3e-4, atol=1e-6)
        assert_allclose(ours, covariance, rtol=1e-2, atol=1e-8)
    if getattr(model, "__defaults__", None) is None:  # to `fit` such a number is a parameter
        assert_allclose(nlsq.fit(model, X, Y, P0).params, expected, rtol=3e-4, atol=1e-6)
    return expected


def check_residual(model):
    expected = scipy.optimize.least_squares(lambda p: model(X, *p) - Y, P0).x

    def residual(p):
        return model(X, p[0], p[1]) - Y

    for _ in range(3):
        assert_allclose(nlsq.least_squares(residual, P0).x, expected, rtol=3e-4, atol=1e-6)
        assert_allclose(nlsq.leastsq(residual, P0)[0], expected, rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_next_fit_sees_the_change(case):
    model, change = case()
    before = check(model)
    check_residual(model)
    change()
    assert np.abs(check(model) - before).max() > 1e-2
    check_residual(model)


COMPILED = {
    by_cell, by_default, by_keyword_default, by_global, by_global_array_replaced, by_global_array_changed,
    by_global_function, by_array_in_a_cell, by_strided_array, by_inner_function, by_code_of_a_helper,
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(COMPILED, key=lambda case: case.__name__))
def test_such_functions_are_compiled_before_and_after(case):
    model, change = case()
    for act in (lambda: None, change):
        act()
        nlsq.curve_fit(model, X, Y, P0)
        assert routes.route_of(model, "model").latest is not None


def test_functions_made_anew_share_a_graph():
    def make(offsets, scale):
        return lambda x, a, b: scale * a * np.exp(-b * x) + offsets

    for k in range(5):
        model = make(np.full(40, 0.1 * k), 2.0)
        assert_allclose(nlsq.curve_fit(model, X, Y, P0)[0], scipy.optimize.curve_fit(model, X, Y, P0)[0], rtol=3e-4)
    route = routes.route_of(model, "model")
    assert [len(entries) for entries in route.entries.values()] == [1]
    nlsq.curve_fit(make(np.zeros(40), 3.0), X, Y, P0)
    assert [len(entries) for entries in route.entries.values()] == [2]


def test_a_graph_is_used_again_by_functions_that_call_builtins():
    def model(x, a, b):
        return a * abs(np.exp(-b * x)) + sum(float(k) for k in range(3)) * 0.1 * len(x)

    def looping(x, a, b):
        total = a * np.exp(-b * x)
        for k in range(3):
            total = total + pow(0.1, k) / max(1, abs(k))
        return total

    nlsq.curve_fit(looping, X, Y, P0)
    entry = routes.route_of(looping, "model").latest
    assert entry is not None and entry.arrays_of(looping) is not None
    for _ in range(3):
        nlsq.curve_fit(looping, X, Y, P0)
    assert routes.route_of(looping, "model").latest is entry and entry.uses == 4
    check(model)
    check(looping)


def test_data_changed_in_place_are_seen():
    x, y = X.copy(), Y.copy()

    def model(x, a, b):
        return a * np.exp(-b * x)

    for factor in (1.0, 2.0, 0.5):
        x *= factor
        y += 0.1 * factor
        assert_allclose(nlsq.curve_fit(model, x, y, P0)[0], scipy.optimize.curve_fit(model, x, y, P0)[0], rtol=3e-4)
        result = nlsq.fit(model, x, y, P0)
        assert_allclose(result.residual, model(x, *result.params) - y, rtol=1e-12, atol=1e-12)


def test_shapes_may_change():
    def model(x, a, b):
        return a * np.exp(-b * x)

    for m in (40, 7, 40, 2000, 3):
        x = np.linspace(0.1, 4.0, m)
        y = 2.0 * np.exp(-x) + 0.01 * np.cos(30.0 * x)
        assert_allclose(nlsq.curve_fit(model, x, y, P0)[0], scipy.optimize.curve_fit(model, x, y, P0)[0], rtol=3e-4)


def test_held_parameters_are_no_constants_of_other_fits():
    def model(x, a, b=1.0):
        return a * np.exp(-b * x)

    held = nlsq.fit(model, X, Y, {"a": 1.0, "b": 5.0}, fixed=["b"])
    assert held.params["b"] == 5.0
    one = scipy.optimize.curve_fit(model, X, Y, [1.0])[0]
    for _ in range(3):
        assert_allclose(nlsq.curve_fit(model, X, Y, [1.0])[0], one, rtol=3e-4)
        assert_allclose(nlsq.fit(model, X, Y, {"a": 1.0}, fixed={"b": 2.0}).params[1], 2.0)


def test_further_arguments_of_a_residual_may_change():
    def residual(p, t, y, power=1.0):
        return p[0] * np.exp(-p[1] * t**power) - y

    for t, y, more in (
        (X, Y, ()),
        (X[:20].copy(), Y[:20].copy(), ()),
        (X, Y, (2.0,)),
        (X, Y, ()),
        (X[::-1], Y[::-1], ()),
    ):
        expected = scipy.optimize.least_squares(residual, P0, args=(t, y, *more)).x
        for _ in range(2):
            assert_allclose(nlsq.least_squares(residual, P0, args=(t, y, *more)).x, expected, rtol=3e-4)
            assert_allclose(nlsq.leastsq(residual, P0, args=(t, y, *more))[0], expected, rtol=3e-4)


def test_a_cell_that_is_not_set_yet():
    def outer():
        def model(x, a, b):
            return a * np.exp(-b * x) if x.ndim == 1 else later

        first = nlsq.curve_fit(model, X, Y, P0)[0]
        later = 1.0
        return first, nlsq.curve_fit(model, X, Y, P0)[0], later

    first, second, _ = outer()
    assert_allclose(first, second, rtol=1e-6)
