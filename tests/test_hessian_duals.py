"""Second derivatives by dual numbers: elementary functions against mpmath, blocks of parameters, models, failures."""

import math

import mpmath
import numpy as np
import pytest

numba = pytest.importorskip("numba")

from nlsq import compile  # noqa: E402
from nlsq.kernels.backend import address_of_array, compile_disabled, handle  # noqa: E402
from nlsq.kernels.backend.second_derivative import WIDEST, blocks_for, compile_second_derivative  # noqa: E402
from nlsq.kernels.backend.signature import Signature  # noqa: E402
from nlsq.kernels.curve import TABLE  # noqa: E402

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

C_FUNCTION = Signature.parse("int(double*, int, double*, double*)")
BOUND = 2e-14
ALIVE = []


def caller(address, data, n):
    """Return ``p, weights -> H``, which fails where the C function does."""
    entry = C_FUNCTION.prototype()(address)

    def hessian(p, weights, into=None):
        x, w = np.array(p, dtype=np.float64), np.array(weights, dtype=np.float64)
        out = np.zeros((n, n)) if into is None else into
        assert entry(handle(x), data, handle(w), handle(out)) == 0
        return out

    return hessian


def hessian_of(function, n, m):
    """Return ``p, weights -> H`` of a residual, the lower triangle."""
    address, keep = compile_second_derivative(function, "residual", n)
    table = np.zeros(TABLE, dtype=np.int64)
    table[0] = m
    ALIVE.append((keep, table))
    return caller(address, address_of_array(table), n)


def compiled(expressions, names):
    """Return ``expression, point -> H`` for a function that returns all the expressions."""
    unpacked = "".join(f"    {name} = p[{j}]\n" for j, name in enumerate(names))
    source = "def f(p):\n" + unpacked + "    return np.array([" + ", ".join(expressions) + "])\n"
    scope = {"np": np, "math": math}
    exec(source, scope)
    hessian = hessian_of(numba.njit(scope["f"]), len(names), len(expressions))
    places = {expression: k for k, expression in enumerate(expressions)}
    return lambda expression, *p: hessian(p, np.eye(len(expressions))[places[expression]])


# One argument

ANY = (-2.3, -0.7, 0.1, 0.4, 1.3, 3.7)
UNIT = (-0.99, -0.5, -1e-3, 0.2, 0.75, 0.999)
POSITIVE = (1e-6, 0.3, 0.8, 2.2, 17.0, 1e5)
UNARY = {  # expression -> (in mpmath, points)
    "np.exp(a)": (mpmath.exp, ANY),
    "np.exp2(a)": (lambda a: mpmath.mpf(2) ** a, ANY),
    "np.expm1(a)": (mpmath.expm1, ANY),
    "np.log(a)": (mpmath.log, POSITIVE),
    "np.log2(a)": (lambda a: mpmath.log(a, 2), POSITIVE),
    "np.log10(a)": (mpmath.log10, POSITIVE),
    "np.log1p(a)": (mpmath.log1p, (-0.9, -1e-9, 0.3, 1e4)),
    "np.sqrt(a)": (mpmath.sqrt, POSITIVE),
    "np.cbrt(a)": (mpmath.cbrt, POSITIVE),
    "np.square(a)": (lambda a: a * a, ANY),
    "np.reciprocal(a)": (lambda a: 1 / a, ANY),
    "np.sin(a)": (mpmath.sin, ANY),
    "np.cos(a)": (mpmath.cos, ANY),
    "np.tan(a)": (mpmath.tan, ANY),
    "np.arcsin(a)": (mpmath.asin, UNIT),
    "np.arccos(a)": (mpmath.acos, UNIT),
    "np.arctan(a)": (mpmath.atan, (*ANY, 1e6)),
    "np.sinh(a)": (mpmath.sinh, ANY),
    "np.cosh(a)": (mpmath.cosh, ANY),
    "np.tanh(a)": (mpmath.tanh, (*ANY, -20.0, 12.0)),
    "np.arcsinh(a)": (mpmath.asinh, (*ANY, 1e8)),
    "np.arccosh(a)": (mpmath.acosh, (1.0001, 1.5, 40.0, 1e7)),
    "np.arctanh(a)": (mpmath.atanh, UNIT),
    "math.erf(a)": (lambda a: -mpmath.erfc(a), (*ANY, -5.5, 20.0)),
    "math.erfc(a)": (mpmath.erfc, (*ANY, 5.5, 20.0)),
    "math.gamma(a)": (mpmath.gamma, (-2.4, -0.3, 0.4, 3.3, 12.5)),
    "math.lgamma(a)": (mpmath.loggamma, (1e-3, 0.3, 2.7, 9.9, 1e6)),
    "np.radians(a)": (mpmath.radians, ANY),
    "abs(a) * a": (lambda a: abs(a) * a, ANY),
    "-a": (lambda a: -a, ANY),
    "float(a) * a": (lambda a: a * a, ANY),
    "a**1": (lambda a: a, ANY),
    "a**2": (lambda a: a**2, ANY),
    "a**3": (lambda a: a**3, ANY),
    "a**7": (lambda a: a**7, ANY),
    "a**-1": (lambda a: a**-1, ANY),
    "a**-3": (lambda a: a**-3, ANY),
    "a**0.5": (mpmath.sqrt, POSITIVE),
    "a**1.7": (lambda a: a ** mpmath.mpf(1.7), POSITIVE),
    "a**2.0": (lambda a: a**2, ANY),
    "1.3**a": (lambda a: mpmath.mpf(1.3) ** a, ANY),
    "2/a": (lambda a: 2 / a, ANY),
    "a/3": (lambda a: a / 3, ANY),
    "1 - a*3": (lambda a: 1 - 3 * a, ANY),
    "(a % 0.61)**2": (lambda a: (a - mpmath.mpf(0.61) * mpmath.floor(a / mpmath.mpf(0.61))) ** 2, ANY),
    "np.where(a > 1, a*a, 3*a)": (lambda a: a * a if a > 1 else 3 * a, ANY),
    "np.clip(a, -1.0, 1.0)**2": (lambda a: min(max(a, -1), 1) ** 2, ANY),
    "np.maximum(a*a, 0.3)": (lambda a: max(a * a, mpmath.mpf(0.3)), ANY),
    "a * a * np.floor(a)": (lambda a: a * a * mpmath.floor(a), ANY),
    "math.exp(math.sin(a*a)/(1 + a*a))": (lambda a: mpmath.exp(mpmath.sin(a * a) / (1 + a * a)), ANY),
}


@pytest.fixture(scope="module")
def unary():
    return compiled(list(UNARY), "a")


@pytest.mark.parametrize("expression", UNARY)
def test_function_of_one_argument(unary, expression):
    in_mpmath, points = UNARY[expression]
    for a in points:
        found = unary(expression, a)[0, 0]
        with mpmath.workdps(50):
            exact = mpmath.diff(in_mpmath, mpmath.mpf(a), 2).real
            error = abs(mpmath.mpf(found) - exact)
            left = mpmath.mpf(10) ** -30  # what mpmath's own differences leave of a linear function
        assert error <= 5 * BOUND * abs(exact) + left, (expression, a, found, exact)


# Two arguments

PAIRS = ((0.3, 1.7), (2.2, 0.6), (5.0, 3.3), (0.01, 40.0))
BINARY = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a * b * a": lambda a, b: a * b * a,
    "a / b": lambda a, b: a / b,
    "a ** b": lambda a, b: a**b,
    "np.hypot(a, b)": lambda a, b: mpmath.sqrt(a * a + b * b),
    "math.atan2(a, -b)": lambda a, b: mpmath.atan2(a, -b),
    "np.logaddexp(a, b)": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "np.copysign(a * b, -b)": lambda a, b: -a * b,
    "np.maximum(a * a, b * b)": lambda a, b: max(a * a, b * b),
    "min(a * b, b * b)": lambda a, b: min(a * b, b * b),
    "np.where(a < b, a * b, a / b)": lambda a, b: a * b if a < b else a / b,
    "np.fmod(b * b, a)": lambda a, b: b * b - a * mpmath.floor(b * b / a),
    "np.exp(a * np.sin(b)) / (1 + a * b)": lambda a, b: mpmath.exp(a * mpmath.sin(b)) / (1 + a * b),
}


@pytest.fixture(scope="module")
def binary():
    return compiled(list(BINARY), "ab")


@pytest.mark.parametrize("expression", BINARY)
def test_function_of_two_arguments(binary, expression):
    for pair in PAIRS:
        found = binary(expression, *pair)
        assert found[0, 1] == 0.0  # the upper triangle is left alone
        with mpmath.workdps(50):
            point = tuple(mpmath.mpf(v) for v in pair)
            orders = {(0, 0): (2, 0), (1, 0): (1, 1), (1, 1): (0, 2)}
            exact = {place: mpmath.diff(BINARY[expression], point, order) for place, order in orders.items()}
            largest = max(abs(value) for value in exact.values())
            # logaddexp and the quotient cancel in single entries, of which the others then say how large terms were
            for place, value in exact.items():
                error = abs(mpmath.mpf(found[place]) - value)
                assert error <= 2 * BOUND * max(abs(value), 1e-3 * largest, mpmath.mpf(10) ** -20), (pair, place)


KINKS = {  # expression -> (point, second derivatives aa, ab, bb)
    "np.hypot(a, b)": ((0.0, 0.0), (0.0, 0.0, 0.0)),
    "a ** b": ((0.0, 3.0), (0.0, 0.0, 0.0)),
    "a ** 2.0 * b": ((0.0, 3.0), (6.0, 0.0, 0.0)),
    "a ** 1.0": ((0.0, 0.0), (0.0, 0.0, 0.0)),
    "np.sqrt(0.0 * a) + b * b": ((3.0, 1.0), (0.0, 0.0, 2.0)),
    "np.sqrt(b) * 1.0": ((3.0, 0.0), (0.0, 0.0, -np.inf)),
    "max(a * a, a * b)": ((2.0, 2.0), (1.0, 0.5, 0.0)),
    "abs(a) * b": ((0.0, 1.0), (0.0, 0.0, 0.0)),
}


@pytest.fixture(scope="module")
def kinks():
    return compiled(list(KINKS), "ab")


@pytest.mark.parametrize("expression", KINKS)
def test_at_a_kink(kinks, expression):
    point, expected = KINKS[expression]
    found = kinks(expression, *point)
    assert (found[0, 0], found[1, 0], found[1, 1]) == expected


# Blocks of parameters


def test_every_pair_of_parameters_meets_once():
    for n in range(1, 40):
        width, block, runs = blocks_for(n)
        assert width <= WIDEST and (n <= WIDEST) == (runs == 1)
        assert (runs + (runs > 1)) * block >= n


@pytest.mark.parametrize("n", [1, 3, 8, 9, 13])
def test_all_entries_for_any_number_of_parameters(n):
    rng = np.random.default_rng(n)
    forms = rng.standard_normal((3, n, n))

    @numba.njit
    def f(p):
        out = np.zeros(3)
        for i in range(3):
            for j in range(p.size):
                for k in range(p.size):
                    out[i] += forms[i, j, k] * p[j] * p[k]
        return out

    weights, before = np.array([0.3, -1.2, 2.0]), rng.standard_normal((n, n))
    found = hessian_of(f, n, 3)(rng.standard_normal(n), weights, before.copy())
    exact = np.einsum("i,ijk->jk", weights, forms + forms.transpose(0, 2, 1))
    np.testing.assert_allclose(found, before + np.tril(exact), rtol=1e-13, atol=1e-13)


# Functions of arrays, with helpers, loops and branches

T = np.linspace(0.5, 1.5, 4)
MATRIX = np.arange(12.0).reshape(4, 3) / 7.0


@numba.njit
def pair(a, b):
    return a * b, a / b


@numba.njit
def arrays(p):
    q = MATRIX @ p
    out = np.empty(4)
    for i in range(4):
        s, t = pair(p[0] + q[i], p[1])
        out[i] = s * t if i % 2 else math.exp(-t) * p[2]
    out += np.sum(p * p) * np.sqrt(T * p[1]) + np.dot(p, p) * np.mean(q)
    out[1:] *= p[2] ** 2
    return np.concatenate((out, np.cumsum(p * p), np.array([p[0] * p[2], 1.0])))


def test_function_of_arrays():
    p = np.array([0.7, 0.9, 1.3])
    m = arrays.py_func(p).size
    hessian = hessian_of(arrays, 3, m)
    for row in np.eye(m):
        found = hessian(p, row)
        assert np.isfinite(found).all()
        h = 1e-4
        for j in range(3):
            for k in range(j + 1):
                a, b = np.eye(3)[j] * h, np.eye(3)[k] * h
                values = [row @ arrays.py_func(p + s * a + t * b) for s in (1, -1) for t in (1, -1)]
                difference = (values[0] - values[1] - values[2] + values[3]) / (4 * h * h)
                assert abs(found[j, k] - difference) <= 3e-6 * max(1.0, abs(difference)), (row, j, k)


# Compiled functions with their data

X = np.linspace(0.1, 2.0, 70)


@numba.njit
def decay(x, a, b):
    return a * math.exp(-b * x)


@numba.njit
def decay_of_all(x, a, b):
    return a * np.exp(-b * x)


@numba.njit
def decay_of_rows(x, a, b):
    return a * np.exp(-b * x[0]) * x[1]


MODELS = [compile(model) for model in (decay, decay_of_all, decay_of_rows)]


@pytest.mark.parametrize("model", MODELS, ids=lambda f: f.function.__name__)
@pytest.mark.parametrize("weighted", [False, True])
def test_models_with_their_weights(model, weighted):
    own = np.linspace(0.0, 3.0, X.size) if weighted else None
    x = np.vstack((X, np.ones_like(X))) if model.function is decay_of_rows else X
    residual = model.bind_data(x, np.ones_like(X), own)
    a, b = 1.3, 0.7
    weights = np.sin(X)
    found = caller(residual.hessian.address, residual.data_address, 2)((a, b), weights)
    used = weights if own is None else weights * own
    e = np.exp(-b * X)
    exact = np.array([[0.0, 0.0], [used @ (-X * e), used @ (a * X * X * e)]])
    np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-13)


@numba.njit
def of_ten(x, a, b, c, d, e, f, g, h, i, j):
    return x * (a * b + c * d + e * f + g * h + i * j) ** 2


def test_model_of_many_parameters():
    residual = compile(of_ten).bind_data(X, np.ones_like(X))
    p, weights = np.linspace(-1.0, 1.3, 10), np.cos(X)
    found = caller(residual.hessian.address, residual.data_address, 10)(p, weights)
    swapped = np.arange(10) ^ 1  # u = sum of p_2k p_2k+1,  d2 u^2 = 2 (grad u)(grad u)' + 2 u d2 u
    gradient, u = p[swapped], 0.5 * p @ p[swapped]
    exact = weights @ X * 2.0 * (np.outer(gradient, gradient) + u * np.eye(10)[swapped])
    np.testing.assert_allclose(found, np.tril(exact), rtol=1e-12, atol=1e-12)


@numba.njit
def rosenbrock(p):
    return np.array([10.0 * (p[1] - p[0] ** 2), 1.0 - p[0]])


def test_residual_brings_its_second_derivatives():
    residual = compile(rosenbrock, kind="residual").bind(np.array([-1.2, 1.0]))
    assert residual.hessian.reason == "" and residual.hessian is residual.hessian
    found = caller(residual.hessian.address, residual.data_address, 2)((0.3, 0.4), (0.5, 7.0))
    assert found.tolist() == [[-10.0, 0.0], [0.0, 0.0]]


def test_nan_passes_and_weight_zero_leaves_out():
    @numba.njit
    def f(p):
        return np.array([np.sqrt(p[0]), p[0] * p[1]])

    hessian = hessian_of(f, 2, 2)
    assert np.isnan(hessian((-1.0, 2.0), (1.0, 1.0))[0, 0])
    assert hessian((-1.0, 2.0), (0.0, 3.0)).tolist() == [[0.0, 0.0], [3.0, 0.0]]
    assert np.isnan(hessian((1.0, 2.0), (0.0, np.nan))[1, 0])


def test_model_point_of_weight_zero_is_left_out():
    @numba.njit
    def root(x, a):
        return math.sqrt(a * x)

    x, own = np.array([-1.0, 4.0]), np.array([0.0, 1.0])
    residual = compile(root).bind_data(x, np.ones(2), own)
    found = caller(residual.hessian.address, residual.data_address, 1)((4.0,), (1.0, 1.0))
    np.testing.assert_allclose(found, [[-0.25 * 2.0 / 8.0]], rtol=1e-14)


def test_exception_of_the_user_is_reported():
    @numba.njit
    def f(p):
        if p[0] > 1.0:
            raise ValueError("too large")
        return p * p

    residual = compile(f, kind="residual").bind(np.zeros(2))
    entry = C_FUNCTION.prototype()(residual.hessian.address)
    out, w = np.zeros((2, 2)), np.ones(2)
    assert entry(handle(np.array([0.5, 0.0])), residual.data_address, handle(w), handle(out)) == 0
    assert entry(handle(np.array([1.5, 0.0])), residual.data_address, handle(w), handle(out)) != 0


def test_changed_length_is_reported():
    @numba.njit
    def f(p):
        return np.zeros(2) if p[0] < 1.0 else np.zeros(3)

    residual = compile(f, kind="residual").bind(np.zeros(2))
    entry = C_FUNCTION.prototype()(residual.hessian.address)
    out, w = np.zeros((2, 2)), np.ones(2)
    assert entry(handle(np.array([1.5, 0.0])), residual.data_address, handle(w), handle(out)) != 0


def test_function_that_does_not_compile_says_why():
    @numba.njit
    def f(p):
        return np.linalg.solve(np.eye(2), p)

    derivative = compile(f, kind="residual").hessian(2)
    assert derivative.address == 0 and "solve" in derivative.reason


def test_residual_without_parameters_in_it():
    @numba.njit
    def f(p):
        return np.array([1.0, 2.0])

    residual = compile(f, kind="residual").bind(np.ones(2))
    found = caller(residual.hessian.address, residual.data_address, 2)((1.0, 1.0), (1.0, 1.0))
    assert not found.any()
