"""Elementary functions in users' njit functions: replaced by name, in callees too, for real numbers alone."""

import math
import re

import numpy as np
import pytest
from numpy import arctan

numba = pytest.importorskip("numba")

from nlsq.kernels.backend.vector_math import for_arrays, for_numbers, with_vector_math  # noqa: E402

POINTS = np.random.default_rng(0).uniform(0.1, 0.9, 50)
ONE = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "atanh": np.arctanh,
}  # fmt: skip
TWO = {"atan2": np.arctan2, "hypot": np.hypot, "pow": np.power}


def compiled(function, *, arrays):
    return numba.njit(error_model="numpy")(with_vector_math(function, arrays=arrays))


def calls_of_library(function, *types):
    """List the C library's functions that the compiled code calls."""
    function.compile(types)
    code = next(iter(function.inspect_llvm().values()))
    return {name for name in (*ONE, *TWO, "erf", "sin") if re.search(rf"@(llvm\.)?{name}(\.f64)?\(", code)}


@pytest.mark.parametrize("name", ONE)
def test_numbers_and_arrays(name):
    scalar, array, expected = for_numbers(name), for_arrays(name), ONE[name](POINTS)

    @numba.njit
    def by_number(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = scalar(x[i])
        return out

    np.testing.assert_array_max_ulp(by_number(POINTS), expected, maxulp=2)
    np.testing.assert_array_equal(array(POINTS), by_number(POINTS))


@pytest.mark.parametrize("name", TWO)
def test_two_arguments(name):
    array = for_arrays(name)
    np.testing.assert_array_max_ulp(array(POINTS, 1.7), TWO[name](POINTS, 1.7), maxulp=2)


def test_functions_are_found_under_all_their_names():
    def model(x, a):
        return np.exp(-a * x) + math.log1p(x) + arctan(x) + math.erf(x) + math.pow(x, a)

    fast = compiled(model, arrays=False)
    assert fast(0.3, 1.2) == pytest.approx(model(0.3, 1.2), rel=1e-15)
    kinds = numba.float64, numba.float64
    plain = numba.njit(error_model="numpy")(model)
    assert {"exp", "pow", "log1p"} <= calls_of_library(plain, *kinds)
    assert calls_of_library(fast, *kinds) == set()


def test_callees_are_replaced_and_other_names_kept():
    @numba.njit
    def inner(x):
        return np.tanh(x)

    def model(x):
        return inner(x) + np.sin(x) + np.sqrt(x) + math.pi

    fast = compiled(model, arrays=False)
    assert fast(0.3) == pytest.approx(math.tanh(0.3) + math.sin(0.3) + math.sqrt(0.3) + math.pi, rel=1e-15)
    assert calls_of_library(fast, numba.float64) == {"sin"}


def test_array_models():
    def model(x, a):
        return np.exp(-a * x) * np.log10(x) + math.exp(a)

    fast = compiled(model, arrays=True)
    np.testing.assert_allclose(fast(POINTS, 0.7), model(POINTS, 0.7), rtol=1e-14)


@pytest.mark.parametrize("arrays", [False, True])
def test_complex_numbers_keep_the_original(arrays):
    def model(x):
        return np.exp(1j * x).real + np.power(x + 0j, 2.0).real

    fast = compiled(model, arrays=arrays)
    assert fast(0.3) == pytest.approx(model(0.3), rel=1e-15)


def test_whole_numbers_and_truth_values_are_numbers():
    def model(k):
        return np.exp(k)

    fast = compiled(model, arrays=False)
    assert fast(2) == pytest.approx(math.exp(2), rel=1e-15)
    assert fast(True) == pytest.approx(math.e, rel=1e-15)


def test_special_values_and_the_ends_of_the_range():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 709.78, 709.79, 1e300, -1e300, -745.13, -745.14, 5e-324])
    with np.errstate(all="ignore"):
        np.testing.assert_array_max_ulp(for_arrays("exp")(x), np.exp(x), maxulp=1)


def test_sines_stay_right_for_huge_arguments():
    def model(x):
        return np.sin(x) + np.cos(x) + math.tan(x)

    assert compiled(model, arrays=False)(1e22) == pytest.approx(model(1e22), rel=1e-13)
