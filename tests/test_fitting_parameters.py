"""Names, starts, bounds and held parameters of `fit`."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds

import nlsq
from nlsq.fitting import fit
from nlsq.fitting.parameters import read_bounds, read_parameters, read_signature

X = np.linspace(0.0, 4.0, 30)


def decay(x, height, rate, offset):
    return height * np.exp(-rate * x) + offset


TRUE = {"height": 2.0, "rate": 1.5, "offset": 0.3}
Y = decay(X, **TRUE)
START = {"height": 1.0, "rate": 1.0, "offset": 0.0}


def test_names_come_from_the_signature_and_values_are_found_by_name_and_place():
    result = fit(decay, X, Y, START)
    assert result.names == ("height", "rate", "offset")
    assert result.params["rate"] == result.params[1] == pytest.approx(1.5, rel=1e-9)
    assert result.params.to_dict() == pytest.approx(TRUE, rel=1e-8)
    assert result.converged


@pytest.mark.parametrize("p0", [[1.0, 1.0, 0.0], (1, 1, 0), np.array([1, 1, 0], dtype=np.float32), START])
def test_start_as_sequence_or_dict(p0):
    result = fit(decay, X, Y, p0)
    np.testing.assert_allclose(result.params, [2.0, 1.5, 0.3], rtol=1e-8)
    np.testing.assert_array_equal(result.start, [1.0, 1.0, 0.0])


def test_a_single_number_starts_a_model_of_one_parameter():
    assert fit(lambda x, a: a * x, X, 3.0 * X, 1).params["a"] == pytest.approx(3.0)


def test_default_in_the_signature_is_the_start_where_p0_has_none():
    def model(x, a, b=2.0):
        return a * np.exp(-b * x)

    result = fit(model, X, model(X, 1.0, 1.7), {"a": 0.9})
    assert result.start["b"] == 2.0
    assert result.params["b"] == pytest.approx(1.7)


def test_default_that_is_no_number_is_an_option_of_the_model():
    def model(x, a, kind="linear", power=1.0):
        assert (kind, power) == ("linear", 1.0)
        return a * x

    assert fit(model, X, 2.0 * X, [1.0]).names == ("a",)


def test_partial_dict_without_defaults_says_what_is_missing():
    with pytest.raises(ValueError, match="p0 has no start for rate"):
        fit(decay, X, Y, {"height": 1.0, "offset": 0.0})


def test_none_in_a_dict_asks_for_a_start_from_the_data():
    result = fit(decay, X, Y, {"height": 1.0, "rate": None, "offset": 0.0})
    np.testing.assert_allclose(result.params, [2.0, 1.5, 0.3], rtol=1e-7)
    assert result.nfev_start > 0


def test_variadic_models_take_names_by_place_and_need_a_start():
    def polynomial(x, *coefficients):
        return np.polyval(coefficients, x)

    result = fit(polynomial, X, 3.0 * X**2 - X + 2.0, [1.0, 1.0, 1.0])
    assert result.names == ("p0", "p1", "p2")
    np.testing.assert_allclose(result.params, [3.0, -1.0, 2.0], rtol=1e-9)
    with pytest.raises(ValueError, match=r"takes \*args"):
        fit(polynomial, X, X)


class Opaque:
    __signature__ = "none that inspect could read"

    def __call__(self, x, *p):
        return p[0] * x


def test_models_without_a_readable_signature_are_fitted_by_place():
    result = fit(Opaque(), X, 3.0 * X, [1.0])
    assert result.names == ("p0",)
    assert result.params[0] == pytest.approx(3.0)


def test_partial_and_callable_objects_keep_their_names():
    assert fit(functools.partial(decay, offset=0.3), X, Y, {"height": 1.0, "rate": 1.0}).names == ("height", "rate")

    class Line:
        def __call__(self, x, slope):
            return slope * x

    assert fit(Line(), X, 2.0 * X, [1.0]).params["slope"] == pytest.approx(2.0)


def test_compiled_model_is_read_through_its_function():
    numba = pytest.importorskip("numba")
    compiled = nlsq.compile(numba.njit(lambda x, a, b: a * np.exp(-b * x)))
    sigma = np.linspace(0.5, 1.5, X.size)
    y = 2.0 * np.exp(-1.5 * X) + 0.01 * np.sin(20.0 * X)
    result = fit(compiled, X, y, {"a": 1.0, "b": 1.0}, sigma=sigma)
    plain = fit(lambda x, a, b: a * np.exp(-b * x), X, y, {"a": 1.0, "b": 1.0}, sigma=sigma)
    np.testing.assert_allclose(result.params, plain.params, rtol=1e-8)
    np.testing.assert_allclose(result.stderr, plain.stderr, rtol=1e-5)
    held = fit(compiled, X, y, {"a": 1.0, "b": 1.0}, fixed="b")
    assert held.params["b"] == 1.0


@pytest.mark.parametrize("fixed", [{"offset": 0.25}, ["offset"], "offset", {"offset"}])
def test_held_parameters_are_left_out_of_the_solve_and_come_back(fixed):
    result = fit(decay, X, Y, START | {"offset": 0.25}, fixed=fixed)
    assert result.params["offset"] == 0.25
    assert result.stderr["offset"] == 0.0
    np.testing.assert_array_equal(result.fixed, [False, False, True])
    assert result.dof == X.size - 2
    assert result.jac.shape == (X.size, 3)
    assert not result.jac[:, 2].any()
    assert np.all(result.stderr[:2] > 0.0)
    np.testing.assert_array_equal(result.covariance[2], 0.0)
    reduced = fit(lambda x, height, rate: decay(x, height, rate, 0.25), X, Y, [1.0, 1.0])
    np.testing.assert_allclose(result.params[:2], reduced.params, rtol=1e-8)
    np.testing.assert_allclose(result.covariance[:2, :2], reduced.covariance, rtol=1e-5)


def test_all_parameters_may_be_held():
    result = fit(decay, X, Y, START, fixed=list(TRUE))
    assert result.nfev == 1
    assert result.converged
    np.testing.assert_array_equal(result.params, list(START.values()))
    np.testing.assert_array_equal(result.stderr, 0.0)
    assert result.chi2 == pytest.approx(np.sum((decay(X, **START) - Y) ** 2))
    assert "held" in result.summary()


def test_equal_bounds_hold_a_parameter():
    result = fit(decay, X, Y, {"height": 1.0, "rate": 1.0, "offset": 0.3}, bounds={"offset": (0.3, 0.3)})
    np.testing.assert_array_equal(result.fixed, [False, False, True])
    np.testing.assert_allclose(result.params, [2.0, 1.5, 0.3], rtol=1e-8)


@pytest.mark.parametrize(
    "bounds",
    [
        {"rate": (0.0, 1.0)},
        {"rate": (None, 1.0)},
        ([-np.inf, 0.0, -np.inf], [np.inf, 1.0, np.inf]),
        (None, [None, 1.0, None]),
        Bounds([-np.inf, 0.0, -np.inf], [np.inf, 1.0, np.inf]),
    ],
)
def test_bounds_in_every_form(bounds):
    result = fit(decay, X, Y, START | {"rate": 0.5}, bounds=bounds)
    assert result.params["rate"] == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_array_equal(result.at_bound, [0, 1, 0])
    assert result.stderr["rate"] == 0.0
    assert np.isfinite(result.stderr).all()
    assert "upper bound, where it counts as held" in result.summary()


@pytest.mark.parametrize("bounds", [[(0, 1), (0, 1), (0, 1)], [(0, 1), (0, 1)], ((0, 1), (0, 1), (0, 1)), 3.0])
def test_list_of_pairs_is_ambiguous(bounds):
    with pytest.raises(ValueError, match="ambiguous"):
        fit(decay, X, Y, START, bounds=bounds)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"p0": {"height": 1, "rat": 1, "offset": 0}}, ValueError, "unknown parameter 'rat'.*did you mean 'rate'"),
        ({"fixed": ["amplitude"]}, ValueError, "fixed: unknown parameter 'amplitude'.*height, rate, offset"),
        ({"bounds": {"ofset": (0, 1)}}, ValueError, "bounds: unknown parameter 'ofset'.*'offset'"),
        ({"bounds": {"rate": (2.0, 3.0)}}, ValueError, r"start of rate, 1.0, is outside its bounds \[2.0, 3.0\]"),
        ({"bounds": {"rate": (2.0, 1.0)}}, ValueError, "bounds of rate: lower = 2.0 is not <= upper = 1.0"),
        ({"bounds": {"rate": (np.nan, 1.0)}}, ValueError, "bounds of rate"),
        ({"bounds": {"rate": 3.0}}, ValueError, r"bounds\['rate'\] must be a pair"),
        ({"bounds": ([0.0, 0.0], 1.0)}, ValueError, "lower has shape"),
        ({"bounds": {"rate": (np.inf, None)}}, ValueError, "no finite number"),
        ({"fixed": {"rate": 5.0}, "bounds": {"rate": (0, 1)}}, ValueError, "fixed value of rate, 5.0, is outside"),
        ({"fixed": {"rate": np.inf}}, ValueError, r"fixed\['rate'\] is inf"),
        ({"fixed": 3}, TypeError, "fixed must be a dict"),
        ({"p0": [1.0, 2.0]}, ValueError, "p0 has 2 values for 3 parameters: height, rate, offset"),
        ({"p0": [1.0]}, ValueError, "p0 has 1 value for 3 parameters"),
        ({"p0": 1.0}, ValueError, "p0 has 1 value for 3 parameters"),
        ({"p0": [1.0, np.nan, 2.0]}, ValueError, r"p0\[1\] \(rate\) is nan"),
        ({"p0": {"height": "x", "rate": 1, "offset": 1}}, TypeError, r"p0\['height'\] must be a number"),
        ({"p0": "height"}, TypeError, "p0 must be a dict"),
        ({"p0": [1j, 1, 1]}, TypeError, "complex"),
        ({"p0": None, "fixed": ["rate"]}, ValueError, "'rate' has no value to be held at"),
    ],
)
def test_what_is_wrong_is_named(options, error, text):
    with pytest.raises(error, match=text):
        fit(decay, X, Y, **({"p0": START} | options))


def test_models_that_cannot_be_fitted_say_why():
    with pytest.raises(TypeError, match="model must be callable"):
        fit(3.0, X, Y)
    with pytest.raises(ValueError, match="no parameters"):
        fit(lambda x: x, X, Y)
    with pytest.raises(ValueError, match="by keyword only"):
        fit(lambda x, a, *, b: a * x * b, X, Y, [1.0])
    with pytest.raises(ValueError, match="cannot be read"):
        fit(Opaque(), X, Y)


@given(st.lists(st.tuples(st.none() | st.floats(-5, 0), st.none() | st.floats(0, 5)), min_size=1, max_size=6))
def test_bounds_by_name_and_by_pair_are_the_same(pairs):
    names = tuple(f"a{j}" for j in range(len(pairs)))
    by_name = read_bounds(names, dict(zip(names, pairs, strict=True)))
    by_pair = read_bounds(names, ([low for low, _ in pairs], [high for _, high in pairs]))
    np.testing.assert_array_equal(by_name, by_pair)
    assert np.all(by_name[0] <= by_name[1])


@given(st.permutations(list(TRUE)))
def test_order_of_a_dict_does_not_matter(order):
    parameters = read_parameters(decay, {name: START[name] for name in order}, None, None)
    np.testing.assert_array_equal(parameters.start, list(START.values()))


def test_signature_of_a_mixed_model():
    names, defaults = read_signature(lambda x, a, b=2, *rest: x, [1, 2, 3, 4])
    assert names == ("a", "b", "p2", "p3")
    assert defaults == {"b": 2.0}
