"""The exponential of compiled models against numpy's."""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from nlsq.kernels.backend.vector_math import array_exp, vector_exp  # noqa: E402


@numba.njit
def by_number(x):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = vector_exp(x[i])
    return out


@numba.njit
def by_array(x):
    return array_exp(x)


@pytest.mark.parametrize("exp", [by_number, by_array])
def test_error_is_below_one_and_a_half_units_in_the_last_place(exp):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-745, 709, 50_000), rng.normal(size=50_000), 10.0 ** rng.uniform(-300, 2, 20_000)])
    expected = np.exp(x)
    assert np.max(np.abs(exp(x) - expected) / np.spacing(expected)) < 1.5


@pytest.mark.parametrize("exp", [by_number, by_array])
def test_special_values_and_the_ends_of_the_range(exp):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 709.78, 709.79, 1e300, -1e300, -745.13, -745.14, 5e-324])
    with np.errstate(over="ignore"):
        np.testing.assert_array_max_ulp(exp(x), np.exp(x), maxulp=1)
