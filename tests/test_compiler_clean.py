"""Functions that may be traced, and what the verdict about them relies on."""

import dataclasses
import functools
import math
import operator
import types

import numpy as np
import pytest
from numpy import exp, linalg
from scipy import special
from scipy.special import erf, wofz

from nlsq.compiler.clean import Unclean, errors_are_silent, examine

X = np.linspace(0.1, 1.0, 20)
Y = 2.0 * X
A = np.eye(3)
INDEX = np.array([0, 2])
SCALE = 3.0
MODE = "e"
RATES = [0.5, 1.0]
NAMES = ("a", "b")
TABLE = {"k": 1.0, "data": X}
CONFIG = types.SimpleNamespace(scale=2.0, data=X)
FUNCTIONS = {"exp": np.exp, "sin": np.sin}

CLEAN: list = []


def clean(function):
    """Collect a function that must be accepted."""
    CLEAN.append(pytest.param(function, id=getattr(function, "__name__", str(len(CLEAN)))))
    return function


@dataclasses.dataclass
class Instrument:
    width: float
    times: np.ndarray

    POWER = 2

    def response(self, a, b):
        return a * np.exp(-((self.times - b) ** self.POWER) / self.width)

    @staticmethod
    def shifted(x):
        return x - 1.0

    def residual(self, p):
        return self.shifted(self.response(*p)) - Y


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    rate: float


SLOTTED = Slotted(2.0)
INSTRUMENT = Instrument(1.0, X)


def model(x, a, b):
    return a * exp(-b * x)


def gaussian(x, height, center, width=1.0):
    return height * np.exp(-0.5 * ((x - center) / width) ** 2)


clean(lambda x, a, b, c: a * np.exp(-0.5 * ((x - b) / c) ** 2))
clean(lambda p: [10 * (p[1] - p[0] ** 2), 1 - p[0]])
clean(lambda p: np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]]))
clean(lambda p: model(X, *p) - Y)
clean(lambda x, *p: sum(c * x**k for k, c in enumerate(p)))
clean(lambda p: np.where(X < p[0], p[1] * X, p[1] * p[0]))
clean(lambda p: np.clip(p[0] * X, 0, 1) + np.minimum(p[1], X) + np.maximum(p[1], X))
clean(lambda p: A @ p - A[:, 0])
clean(lambda p: p[INDEX] * 2 + p[[0, 2]] - p[None, :2])
clean(lambda p: (lambda q: q * 2)(p) + X[0])
clean(lambda p: special.erf(p[0] * X) + erf(X))
clean(lambda p: linalg.norm(p) + np.linalg.norm(X))
clean(lambda p, x=X, y=Y: p[0] * x - y)
clean(lambda p, np=np, model=model: model(np.sqrt(X), *p))
clean(lambda p: FUNCTIONS["exp"](p[0] * X))
clean(lambda p: (np.exp if MODE == "e" else np.sin)(p[0] * X))
clean(lambda p: INSTRUMENT.residual(p) * SLOTTED.rate)
clean(lambda p: p.reshape(3, -1).sum(axis=0) + np.sum(p**2, axis=0, keepdims=True) + p.T.mean())
clean(lambda p: np.float64(p[0]) * math.pi + math.sin(2.0) + np.e)
clean(lambda p: functools.reduce(operator.mul, p) * functools.reduce(lambda a, b: a * X + b, p, 0.0))
clean(INSTRUMENT.residual)
clean(functools.partial(model, b=2.0))
clean(functools.partial(gaussian, X, width=2.0))


@clean
def unpacks(p):
    a, b = p
    return a * np.exp(-b * X) - Y


@clean
def unpacks_with_a_star(p):
    first, *others = p
    return first * X + sum(others)


@clean
def voigt(x, a, s, g):
    z = (x + 1j * g) / (s * np.sqrt(2))
    return a * np.real(wofz(z)) + wofz(z).imag


@clean
def stores_into_its_own(p):
    r = np.empty(len(p))
    for i in range(len(p) - 1):
        r[i] = p[i + 1] - p[i] ** 2
    r[-1] = p[0] - 1
    return r


@clean
def stores_slices_into_its_own(p):
    r = np.zeros(p.size + X.size)
    r[: p.size] = p
    r[p.size :] = X
    r[1:] -= X[0]
    r[::2] *= 2.0
    return r


@clean
def appends(p):
    r = []
    for i, (xi, yi) in enumerate(zip(X, Y, strict=True)):
        r.append(p[0] * math.exp(-p[1] * xi) - yi * i)
    return np.array(r)


@clean
def comprehends(p):
    return np.array([p[0] * q + p[1] for q in X]) - Y


@clean
def comprehends_twice(p):
    return np.array([[a * b for a in p] for b in p]).ravel()


@clean
def comprehends_a_dictionary(p):
    named = {name: value for name, value in zip(NAMES, p, strict=True)}
    return named["a"] * X + named["b"]


@clean
def slices_in_place(p):
    r = (3 - 2 * p) * p + 1
    r[1:] -= p[:-1]
    r[:-1] -= 2 * p[1:]
    return r


@clean
def takes_keywords(x, a, b=2.0, *, c=1.0):
    return a * np.clip(x, a_min=0, a_max=None) + b * c


@clean
def calls_with_keywords(p):
    return gaussian(X, width=p[2], height=p[0], center=p[1])


@clean
def calls_with_double_star(p):
    given = {"center": p[1], "width": p[2]}
    return gaussian(X, p[0], **given)


@clean
def reads_attributes(x, a):
    return CONFIG.scale * a * x + TABLE["k"] + RATES[0] + CONFIG.data


@clean
def reads_a_list(p):
    total = np.zeros_like(X)
    for rate, amplitude in zip(RATES, p, strict=True):
        total += amplitude * np.exp(-rate * X)
    return total


@clean
def compares_with_none(x, a, n=None):
    if n is None:
        n = 2
    return a * x**n


@clean
def compares_a_mode(x, a, b, mode="e"):
    return a * (np.exp(-x) if mode == "e" else x) + b


# pytest rewrites the assertions that it finds in this file.
exec(
    """def asserts(x, a):
    assert len(x) > 0, f"no points, a = {a}, {len(x):d} points"
    if x.ndim != 1:
        raise ValueError(f"x has {x.ndim} axes; a is {a}")
    return a * x
""",
    globals(),
)
clean(globals()["asserts"])


@clean
def defines_a_function(p):
    scale = p[0]

    def inner(t, offset=SCALE, *, factor=1.0):
        return scale * np.exp(-p[1] * t) + offset * factor

    return inner(X) - inner(t=Y, factor=2.0)


@clean
def changes_numbers_in_place(p):
    k, b = p
    b /= 1000
    k *= 2.0
    total = 0.0
    total += k
    return total * X + b


@clean
def documents(x, a):
    """Have a docstring and annotations."""
    t: float = 2.0
    return t * a * x


@clean
def loops_until(p):
    total, n = 0.0, 0
    while n < 5:
        total = total + p[0] ** n * X
        n += 1
        if n == 4:
            break
    return total


@clean
def sums_peaks(x, *p):
    y = np.zeros_like(x)
    for i in range(0, len(p), 3):
        y = y + gaussian(x, *p[i : i + 3])
    return y


@clean
def accumulates(x, a, b):
    y = np.zeros_like(x, dtype=float)
    y += a
    y *= b
    y[x > 0.5] = 0.0
    return y


@clean
def imports(p):
    import numpy as inner_numpy
    from numpy import sqrt as root

    return inner_numpy.exp(-p[0] * root(X))


@clean
def calls_each_function(p):
    total = 0.0
    for function in (np.sin, np.cos):
        total = total + function(p[0] * X)
    return total


@clean
def names_parameters(p):
    named = dict(zip(NAMES, p, strict=True))
    extra = dict(c=p[0], **named)
    return named["a"] * X + extra.get("b", 0.0) + sum(named.values())


@clean
def takes_columns(xs, a, b):
    x1, x2 = xs
    return a * x1 + b * x2 + xs[0]


@clean
def converts(p):
    p = np.asarray(p, dtype=float)
    return np.concatenate([p - 1, np.diff(p), np.hstack((p, X.astype(np.float64)))])


@clean
def swaps(p):
    a, b = p[0], p[1]
    a, b = b, a
    return a + b * X


@clean
def returns_several(p):
    return p[0] * X, p[1] * X


@clean
def looks_up_by_a_number(p):
    return {0: p[0], 1: p[1]}[len(NAMES) - 1] * X if "a" in NAMES else X


@clean
def builds_text_of_constants(p):
    key = f"{MODE}{len(p)}"
    return p[0] * X if key != "x" and not MODE.startswith("q") else X


@clean
def chooses(p):
    factor = SCALE or 1.0
    return factor * p[0] * X if SCALE > 2 and MODE else p


@pytest.mark.parametrize("function", CLEAN)
def test_accepted(function):
    assert examine(function).unchanged()


def test_numba_functions_are_followed_through_their_python_form():
    numba = pytest.importorskip("numba")
    compiled = numba.njit(lambda x, a: a * np.exp(-x))
    assert examine(compiled).unchanged()
    assert examine(lambda x, a: compiled(x, a)).unchanged()


def test_examining_calls_nothing():
    def trap(*arguments):
        raise AssertionError("called")

    class Trap:
        scale = 2.0

        def __call__(self, p):
            raise AssertionError("called")

        def __getattribute__(self, name):
            raise AssertionError("read")

    trapped = Trap()
    assert examine(lambda p: trap(p)).unchanged()
    for function in (lambda p: trapped.scale * p, lambda p: trapped(p), trapped):
        with pytest.raises(Unclean):
            examine(function)


def test_errors_are_silent():
    for error in ("divide", "over", "under", "invalid"):
        for state in ("raise", "call", "print"):
            with np.errstate(all="ignore", call=lambda *_: None), np.errstate(**{error: state}):
                assert not errors_are_silent()
    with np.errstate(all="warn"):
        assert errors_are_silent()


def test_in_place_operators_on_arguments_are_reported():
    assert examine(changes_numbers_in_place).changes_arguments
    assert not examine(slices_in_place).changes_arguments
