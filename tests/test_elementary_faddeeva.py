"""The Faddeeva function against 90-digit values, its symmetries and SciPy."""

from functools import cache

import numpy as np
import pytest

pytest.importorskip("numba")
mpmath = pytest.importorskip("mpmath")

from references.elementary_implementations import IMPLEMENTATIONS, in_plain_python  # noqa: E402

INF, NAN = np.inf, np.nan


@pytest.fixture(params=IMPLEMENTATIONS)
def parts(request):
    """Give (x, y) -> real part, imaginary part."""
    real, imaginary = (IMPLEMENTATIONS[request.param](name) for name in ("wofz_real", "wofz_imag"))
    return lambda x, y: (real(x, y), imaginary(x, y))


def exact(x, y):
    z = mpmath.mpc(x, y)
    if abs(z) < 50 or y < 0:
        value = mpmath.exp(-z * z) * mpmath.erfc(-1j * z)
    else:  # Laplace's continued fraction
        value = mpmath.mpc(0)
        for k in range(120, 0, -1):
            value = (mpmath.mpf(k) / 2) / (z - value)
        value = mpmath.mpc(0, 1) / mpmath.sqrt(mpmath.pi) / (z - value)
    return float(value.real), float(value.imag)


def spread(rng, low, high, n):
    return np.exp(rng.uniform(np.log(low), np.log(high), n))


@cache
def upper_half_plane(n):
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-8, 8, n), spread(rng, 1e-20, 1e9, n), rng.uniform(0, 30, n), np.arange(16) / 4])
    y = np.concatenate([spread(rng, 1e-25, 20, n), spread(rng, 1e-25, 1e9, n), spread(rng, 1e-25, 7, n)])
    y = np.concatenate([y, spread(rng, 1e-10, 1, 16)])
    with mpmath.workdps(90):
        values = np.array([exact(float(a), float(b)) for a, b in zip(x, y, strict=True)])
    return x, y, values


def check_upper_half_plane(parts, n):
    x, y, values = upper_half_plane(n)
    real, imaginary = parts(x, y)
    np.testing.assert_allclose(real, values[:, 0], rtol=2e-15, atol=0)
    np.testing.assert_allclose(imaginary, values[:, 1], rtol=1e-14, atol=0)


def test_each_part_keeps_its_relative_accuracy_above_the_real_line(parts):
    check_upper_half_plane(parts, 200)


@pytest.mark.slow
def test_each_part_keeps_its_relative_accuracy_on_many_points(parts):
    check_upper_half_plane(parts, 20_000)


def test_real_line(parts):
    x = np.linspace(-27, 27, 401)
    real, imaginary = parts(x, np.zeros(401))
    with mpmath.workdps(60):
        gaussian = [float(mpmath.exp(-(mpmath.mpf(float(v)) ** 2))) for v in x]
    np.testing.assert_allclose(real, gaussian, rtol=1e-15, atol=0)
    np.testing.assert_array_equal(parts(-x, np.zeros(401))[1], -imaginary)


def test_imaginary_line_is_the_scaled_error_function(parts):
    y = np.concatenate([[0.0], np.logspace(-20, 8, 60)])
    real, imaginary = parts(np.zeros(61), y)
    with mpmath.workdps(60):
        values = [exact(0.0, float(v))[0] for v in y]
    np.testing.assert_allclose(real, values, rtol=2e-15)
    np.testing.assert_array_equal(imaginary, np.zeros(61))


def test_lower_half_plane(parts):
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-6, 6, 200), rng.uniform(-6, 0, 200)
    with mpmath.workdps(60):
        values = np.array([exact(float(a), float(b)) for a, b in zip(x, y, strict=True)]) @ [1, 1j]
    real, imaginary = parts(x, y)
    np.testing.assert_array_less(np.abs(real + 1j * imaginary - values), 1e-13 * np.maximum(np.abs(values), 1.0))


def test_far_away_infinity_and_nan(parts):
    x = np.array([1e200, 1e308, 1e-300, 0.0, INF, 0.0, -INF, NAN, 1.0, 1e308])
    y = np.array([1.0, 1e308, 1e300, 1e308, 1.0, INF, 0.0, 1.0, NAN, 0.0])
    real, imaginary = parts(x, y)
    c = 1 / np.sqrt(np.pi)
    expected = [0.0, c / 2 / 1e308, c / 1e300, c / 1e308, 0.0, 0.0, 0.0, NAN, NAN, 0.0]
    np.testing.assert_allclose(real, expected, rtol=1e-14, atol=0)
    expected = [c / 1e200, c / 2 / 1e308, 0.0, 0.0, 0.0, 0.0, 0.0, NAN, NAN, c / 1e308]
    np.testing.assert_allclose(imaginary, expected, rtol=1e-14, atol=1e-320)


def test_voigt_profile_agrees_with_scipy():
    from scipy.special import voigt_profile

    x, sigma, gamma = np.linspace(-5, 5, 31), 0.7, 0.3
    scale = sigma * np.sqrt(2)
    real = in_plain_python("wofz_real")(x / scale, np.full(31, gamma / scale))
    np.testing.assert_allclose(real / (scale * np.sqrt(np.pi)), voigt_profile(x, sigma, gamma), rtol=1e-13)
