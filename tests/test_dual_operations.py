"""Derivatives by dual numbers: every operation against mpmath, kinks by their convention, arrays by NumPy's rules."""

import math

import mpmath
import numpy as np
import pytest

numba = pytest.importorskip("numba")

from nlsq.kernels.backend import address_of_array, handle  # noqa: E402
from nlsq.kernels.backend.signature import Signature  # noqa: E402
from nlsq.kernels.backend.user_function import compile_exact_derivative  # noqa: E402
from nlsq.kernels.curve import TABLE  # noqa: E402

C_FUNCTION = Signature.parse("int(double*, int, double*)")
BOUND = 4e-15
ALIVE = []


def jacobian_of(function, n, m):
    """Return ``p -> J`` of shape (m, n) by dual numbers."""
    address, keep = compile_exact_derivative(function, "residual", n)
    ALIVE.append(keep)
    entry = C_FUNCTION.prototype()(address)
    table = np.zeros(TABLE, dtype=np.int64)
    table[0] = m

    def jacobian(*p):
        x, jac_t = np.array(p, dtype=np.float64), np.full((n, m), np.nan)
        assert entry(handle(x), address_of_array(table), handle(jac_t)) == 0
        return jac_t.T

    return jacobian


def compiled(expressions, names):
    """Return the Jacobian of a function that returns all the expressions."""
    unpacked = "".join(f"    {name} = p[{j}]\n" for j, name in enumerate(names))
    source = "def f(p):\n" + unpacked + "    return np.array([" + ", ".join(expressions) + "])\n"
    scope = {"np": np, "math": math}
    exec(source, scope)
    return jacobian_of(numba.njit(scope["f"]), len(names), len(expressions))


# One argument

ANY = (-2.3, -0.7, 0.1, 0.4, 1.3, 3.7)
UNIT = (-0.99, -0.5, -1e-3, 0.2, 0.75, 0.999)
POSITIVE = (1e-6, 0.3, 0.8, 2.2, 17.0, 1e5)
UNARY = {  # expression -> (in mpmath, points)
    "np.exp(a)": (mpmath.exp, ANY),
    "math.exp(a)": (mpmath.exp, ANY),
    "np.exp2(a)": (lambda a: mpmath.mpf(2) ** a, ANY),
    "np.expm1(a)": (mpmath.expm1, ANY),
    "math.expm1(a)": (mpmath.expm1, ANY),
    "np.log(a)": (mpmath.log, POSITIVE),
    "math.log(a)": (mpmath.log, POSITIVE),
    "np.log2(a)": (lambda a: mpmath.log(a, 2), POSITIVE),
    "np.log10(a)": (mpmath.log10, POSITIVE),
    "math.log10(a)": (mpmath.log10, POSITIVE),
    "np.log1p(a)": (mpmath.log1p, (-0.9, -1e-9, 0.3, 1e4)),
    "np.sqrt(a)": (mpmath.sqrt, POSITIVE),
    "math.sqrt(a)": (mpmath.sqrt, POSITIVE),
    "np.cbrt(a)": (mpmath.cbrt, POSITIVE),
    "np.square(a)": (lambda a: a * a, ANY),
    "np.reciprocal(a)": (lambda a: 1 / a, ANY),
    "np.sin(a)": (mpmath.sin, ANY),
    "math.sin(a)": (mpmath.sin, ANY),
    "np.cos(a)": (mpmath.cos, ANY),
    "np.tan(a)": (mpmath.tan, ANY),
    "np.arcsin(a)": (mpmath.asin, UNIT),
    "math.asin(a)": (mpmath.asin, UNIT),
    "np.arccos(a)": (mpmath.acos, UNIT),
    "np.arctan(a)": (mpmath.atan, (*ANY, 1e6)),
    "np.sinh(a)": (mpmath.sinh, ANY),
    "np.cosh(a)": (mpmath.cosh, ANY),
    "np.tanh(a)": (mpmath.tanh, (*ANY, -20.0, 12.0)),
    "math.tanh(a)": (mpmath.tanh, ANY),
    "np.arcsinh(a)": (mpmath.asinh, (*ANY, 1e8)),
    "np.arccosh(a)": (mpmath.acosh, (1.0001, 1.5, 40.0, 1e7)),
    "np.arctanh(a)": (mpmath.atanh, UNIT),
    "math.erf(a)": (lambda a: -mpmath.erfc(a), (*ANY, -5.5, 20.0)),
    "math.erfc(a)": (mpmath.erfc, (*ANY, 5.5, 20.0)),
    "math.gamma(a)": (mpmath.gamma, (-2.4, -0.3, 0.4, 3.3, 12.5)),
    "math.lgamma(a)": (mpmath.loggamma, (1e-3, 0.3, 2.7, 9.9, 1e6)),
    "np.radians(a)": (mpmath.radians, ANY),
    "math.degrees(a)": (mpmath.degrees, ANY),
    "abs(a)": (abs, ANY),
    "np.abs(a)": (abs, ANY),
    "math.fabs(a)": (abs, ANY),
    "-a": (lambda a: -a, ANY),
    "+a": (lambda a: a, ANY),
    "float(a)": (lambda a: a, ANY),
    "a**2": (lambda a: a**2, ANY),
    "a**7": (lambda a: a**7, ANY),
    "a**-3": (lambda a: a**-3, ANY),
    "a**0.5": (mpmath.sqrt, POSITIVE),
    "a**1.7": (lambda a: a ** mpmath.mpf(1.7), POSITIVE),
    "1.3**a": (lambda a: mpmath.mpf(1.3) ** a, ANY),
    "2/a": (lambda a: 2 / a, ANY),
    "1 - a*3": (lambda a: 1 - 3 * a, ANY),
    "a/(1 + a*a)": (lambda a: a / (1 + a * a), ANY),
    "a % 0.7": (lambda a: a, ANY),
    "np.where(a > 1, a*a, 3*a)": (lambda a: a * a if a > 1 else 3 * a, ANY),
    "np.clip(a, -1.0, 1.0)": (lambda a: min(max(a, -1), 1), ANY),
    "np.maximum(a, 0.3)": (lambda a: max(a, mpmath.mpf(0.3)), ANY),
    "min(a, 0.3, 2)": (lambda a: min(a, mpmath.mpf(0.3), 2), ANY),
    "np.floor(a) + np.ceil(a) + np.sign(a) + np.trunc(a) + np.rint(a)": (lambda a: mpmath.mpf(0), ANY),
    "a * np.floor(a)": (lambda a: a * mpmath.floor(a), ANY),
    "math.floor(a) + math.ceil(a) + int(a) + round(a) + a//2": (lambda a: mpmath.mpf(0), ANY),
    "np.heaviside(a, 0.5) * a": (lambda a: a if a > 0 else 0 * a, ANY),
}


@pytest.fixture(scope="module")
def unary():
    return compiled(list(UNARY), "a")


@pytest.mark.parametrize("expression", UNARY)
def test_function_of_one_argument(unary, expression):
    in_mpmath, points = UNARY[expression]
    for a in points:
        found = unary(a)[list(UNARY).index(expression), 0]
        with mpmath.workdps(40):
            exact = mpmath.diff(in_mpmath, mpmath.mpf(a))
            error = abs(mpmath.mpf(found) - exact.real)
        assert error <= BOUND * abs(exact), (expression, a, found, exact)


# Two arguments

PAIRS = ((0.3, 1.7), (2.2, 0.6), (5.0, 3.3), (0.01, 40.0))
BINARY = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "a ** b": lambda a, b: a**b,
    "math.pow(a, b)": lambda a, b: a**b,
    "np.power(b, a)": lambda a, b: b**a,
    "np.hypot(a, b)": lambda a, b: mpmath.sqrt(a * a + b * b),
    "math.atan2(a, -b)": lambda a, b: mpmath.atan2(a, -b),
    "np.arctan2(-a, b)": lambda a, b: mpmath.atan2(-a, b),
    "np.logaddexp(a, b)": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "np.fmod(b, a)": lambda a, b: b - a * mpmath.floor(b / a),
    "b % a": lambda a, b: b - a * mpmath.floor(b / a),
    "np.mod(-b, a)": lambda a, b: -b - a * mpmath.floor(-b / a),
    "np.copysign(a, -b)": lambda a, b: -a,
    "np.maximum(a, b)": max,
    "np.minimum(a, b)": min,
    "np.fmax(a, b)": max,
    "np.fmin(a, b)": min,
    "max(a, b)": max,
    "min(a, b)": min,
    "np.where(a < b, a * b, a / b)": lambda a, b: a * b if a < b else a / b,
    "np.clip(b, a, 2.0)": lambda a, b: min(max(a, b), 2),
}


@pytest.fixture(scope="module")
def binary():
    return compiled(list(BINARY), "ab")


@pytest.mark.parametrize("expression", BINARY)
@pytest.mark.parametrize("j", [0, 1])
def test_function_of_two_arguments(binary, expression, j):
    for pair in PAIRS:
        found = binary(*pair)[list(BINARY).index(expression), j]
        with mpmath.workdps(40):
            order = (1, 0) if j == 0 else (0, 1)
            exact = mpmath.diff(BINARY[expression], tuple(mpmath.mpf(v) for v in pair), order)
            error = abs(mpmath.mpf(found) - exact)
        assert error <= BOUND * abs(exact), (expression, pair, found, exact)


# Kinks, zeros, nan

KINKS = {  # expression -> (point, slopes)
    "abs(a)": ((0.0, 1.0), (0.0, 0.0)),
    "np.abs(a) * b": ((0.0, 1.0), (0.0, 0.0)),
    "max(a, b)": ((2.0, 2.0), (0.5, 0.5)),
    "min(a, b)": ((2.0, 2.0), (0.5, 0.5)),
    "np.maximum(a, 2.0)": ((2.0, 0.0), (0.5, 0.0)),
    "np.minimum(b, a)": ((2.0, 2.0), (0.5, 0.5)),
    "np.clip(a, 0.0, 1.0)": ((0.0, 0.0), (0.5, 0.0)),
    "np.hypot(a, b)": ((0.0, 0.0), (0.0, 0.0)),
    "a ** b": ((0.0, 2.0), (0.0, 0.0)),
    "0.0 ** b": ((1.0, 2.0), (0.0, 0.0)),
    "a ** 0.0": ((0.0, 2.0), (0.0, 0.0)),
    "np.sqrt(a * b)": ((0.0, 0.0), (0.0, 0.0)),
    "np.sqrt(0.0 * a) + b": ((3.0, 1.0), (0.0, 1.0)),
    "np.heaviside(a, b)": ((0.0, 0.3), (0.0, 1.0)),
    "np.sign(a) + b": ((0.0, 0.3), (0.0, 1.0)),
}


@pytest.fixture(scope="module")
def kinks():
    return compiled(list(KINKS), "ab")


@pytest.mark.parametrize("expression", KINKS)
def test_slope_at_a_kink(kinks, expression):
    point, slopes = KINKS[expression]
    assert tuple(kinks(*point)[list(KINKS).index(expression)]) == slopes


@pytest.mark.parametrize("expression", ["abs(a)", "a ** b"])
def test_nan_stays_nan(binary, unary, expression):
    table, jacobian = (UNARY, unary) if expression in UNARY else (BINARY, binary)
    point = (np.nan,) if expression in UNARY else (1.5, np.nan)
    assert np.isnan(jacobian(*point)[list(table).index(expression)]).any()


def test_comparisons_and_truth_look_at_the_value():
    @numba.njit
    def f(p):
        a, b = p[0], p[1]
        score = 0.0 * a
        for one in (a < b, a <= b, a > b, a >= b, a == b, a != b, a == 1, not a, bool(a)):
            score = 2.0 * score + (1.0 if one else 0.0) * a
        if a:
            score = score + b
        if math.isnan(a) or np.isinf(b) or not np.isfinite(a):
            score = score * 0.0
        return np.array([score, score])

    jacobian = jacobian_of(f, 2, 2)
    for a, b in ((1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (0.0, 1.0)):
        bits = (a < b, a <= b, a > b, a >= b, a == b, a != b, a == 1, not a, bool(a))
        weight = sum(2.0 ** (len(bits) - 1 - k) for k, one in enumerate(bits) if one)
        assert jacobian(a, b)[0].tolist() == [weight, 1.0 if a else 0.0]


# Arrays

T = np.linspace(0.5, 1.5, 4)
MATRIX = np.arange(12.0).reshape(4, 3) / 7.0
INTEGERS = np.arange(4)


@numba.njit
def expressions(p):
    return p[0] * np.exp(-p[1] * T) + np.sin(T * T) - p[2] / (1 + T) ** p[0] + (T > 1) * p[1] + INTEGERS * p[2]


@numba.njit
def slices(p):
    return p[1:] * p[:-1] - 2 * p[::-1][1:] + np.sqrt(p[1])


@numba.njit
def in_place(p):
    out = np.zeros(4)
    out[1:] = p
    out += p[0] * T
    out *= 2
    out[2] -= p[1]
    out[0] /= p[2]
    out **= 2
    return out


@numba.njit
def constructors(p):
    counts = np.zeros(3, dtype=np.int64)
    counts[1] = 1
    ones = np.ones(3) * p
    full = np.full(3, p[1])
    like = np.empty_like(T)
    for i in range(4):
        like[i] = p[0] * i
    filled = np.full_like(ones, 2.0) + np.ones_like(p) + np.zeros_like(p) + np.zeros(3, dtype=np.float64)
    listed = [p[0] + 1.0]
    listed.append(p[2] * p[2])
    return np.concatenate((ones + full, like, filled, np.array(listed), np.array([p[0], 1.0, 2]) + counts * p))


@numba.njit
def reductions(p):
    q = MATRIX @ p
    total = np.sum(q) + np.mean(p) * np.prod(p) + np.dot(p, p) + sum(p) + q.sum() + np.sum(T)
    return np.concatenate((q, np.diff(q), np.cumsum(p), np.array((total, 1.0)), np.dot(MATRIX, q[:3])))


@numba.njit
def choices(p):
    q = p[0] * T
    return np.where(q > p[1], q * q, p[2]) + np.maximum(q, 0.7) + np.clip(q, 0.2, p[1]) + np.abs(q - 0.6)


@numba.njit
def two_dimensional(p):
    out = np.empty((2, 3))
    for j in range(3):
        out[0, j] = p[j] * p[j]
        out[1, j] = p[0] * p[j]
    scaled = out * p - MATRIX[:2]
    return scaled.reshape(6)


@numba.njit
def pair(a, b):
    return a * b, a / b


@numba.njit
def through_calls(p):
    s, t = pair(p[0], p[1])
    both = (s, 1.0)
    for _ in range(3):
        both = (both[1] + s, both[0] * t)
    return np.array([both[0], both[1], p[2]])


ARRAYS = (expressions, slices, in_place, constructors, reductions, choices, two_dimensional, through_calls)


@pytest.mark.parametrize("function", ARRAYS, ids=lambda f: f.__name__)
def test_function_of_arrays(function):
    p = np.array([0.7, 0.9, 1.3])
    plain = function.py_func
    found = jacobian_of(function, 3, plain(p).size)(*p)
    h = 1e-6
    for j in range(3):
        step = np.eye(3)[j] * h
        central = (plain(p + step) - plain(p - step)) / (2 * h)
        np.testing.assert_allclose(found[:, j], central, rtol=1e-7, atol=1e-8)


def test_shapes_that_do_not_go_together_raise():
    @numba.njit
    def f(p):
        return p + np.ones(p.size + 1) * p[0]

    address, _keep = compile_exact_derivative(f, "residual", 3)
    out, table = np.empty((3, 3)), np.full(TABLE, 3, dtype=np.int64)
    assert C_FUNCTION.prototype()(address)(handle(np.ones(3)), address_of_array(table), handle(out)) != 0


# Numbers of parameters


@numba.njit
def chain(p):
    out = np.empty(p.size)
    for i in range(p.size):
        out[i] = p[i] * p[i - 1] + math.sin(p[0])  # the first takes the last
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17])
def test_every_number_of_parameters(n):
    p = np.linspace(0.5, 2.0, n)
    expected = np.diag(np.roll(p, 1))
    expected[np.arange(n), np.arange(n) - 1] += p
    expected[:, 0] += math.cos(p[0])
    np.testing.assert_allclose(jacobian_of(chain, n, n)(*p), expected, rtol=1e-15)
