r"""Residuals and models that count, remember, write, print, abort or draw random numbers.

Each entry of `STATEFUL_FUNCTIONS` is (name, build, x, p, why, repeatable) as in `untraceable.UntraceableCase`;
``build()`` returns the function with its own state at the start (globals go on from where they are).
"""

import random
import warnings

import numpy as np

__all__ = ["STATEFUL_FUNCTIONS", "T", "Y", "decay"]

T = np.linspace(0.1, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * T) + 0.5
STATE = {"gain": 1.0, "last": 0.0}
HISTORY: list[float] = []
COUNT = 0
GENERATOR = np.random.default_rng(7)
START = (2.0, 1.0, 0.3)


def decay(p):
    return p[0] * np.exp(-p[1] * T) + p[2] - Y


def counter_nonlocal():
    calls = 0

    def residual(p):
        nonlocal calls
        calls += 1
        return decay(p)

    return residual


def counter_global(p):
    global COUNT
    COUNT += 1
    return decay(p)


def counter_attribute():
    def residual(p):
        residual.calls += 1
        return decay(p)

    residual.calls = 0
    return residual


def history_of_values():
    history = []

    def residual(p):
        history.append(p.copy())
        return decay(p)

    return residual


def history_global(x, a, k):
    HISTORY.append(a)
    return a * np.exp(-k * x)


def history_default(p, seen=[]):  # noqa: B006  (the shared default is the construct)
    seen.append(p[0])
    return decay(p)


def shared_buffer():
    buffer = np.empty_like(T)

    def residual(p):
        buffer[:] = decay(p)
        return buffer

    return residual


def buffer_by_out():
    buffer = np.empty_like(T)

    def residual(p):
        np.exp(-p[1] * T, out=buffer)
        return p[0] * buffer - Y

    return residual


def memoised():
    cache = {}

    def residual(p):
        key = p.tobytes()
        if key not in cache:
            cache[key] = decay(p)
        return cache[key]

    return residual


def writes_argument(p):
    p[2] = abs(p[2])
    return decay(p)


def global_state(p):
    STATE["last"] = p[0]
    return STATE["gain"] * decay(p)


def drifting():
    state = {"calls": 0}

    def residual(p):
        state["calls"] += 1
        return decay(p) + 1e-9 * state["calls"]

    return residual


class CallCounter:
    """A model object that counts its calls and keeps its best point."""

    def __init__(self):
        self.calls = 0
        self.best = np.inf

    def __call__(self, p):
        self.calls += 1
        r = decay(p)
        self.best = min(self.best, r @ r)
        return r


class Instrument:
    """An object whose method remembers when it was last used."""

    def __init__(self):
        self.last = None

    def residual(self, p):
        self.last = p[0]
        return decay(p)


def abort_after(limit):
    calls = 0

    def residual(p):
        nonlocal calls
        calls += 1
        if calls > limit:
            raise StopIteration(f"stopped by the user after {limit} calls")
        return decay(p)

    return residual


def from_generator():
    def ever_finer():
        level = 1.0
        while True:
            yield level
            level *= 0.5

    levels = ever_finer()
    return lambda p: decay(p) + 1e-6 * next(levels)


def prints(p):
    print("p =", p)
    return decay(p)


def warns(p):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decay(p)


def tries(x, a, k):
    try:
        return a * x**k / (1.0 / k)
    except ZeroDivisionError:
        return np.zeros_like(x)


def strict_errors(x, a, k):
    with np.errstate(over="raise"):
        return a * np.exp(-k * x)


def random_numpy(p):
    return decay(p) + 1e-8 * np.random.standard_normal(T.size)  # noqa: NPY002  (the global generator is the construct)


def random_generator(p):
    return decay(p) + 1e-8 * GENERATOR.standard_normal(T.size)


def random_python(p):
    return decay(p) + 1e-8 * random.random()


STATEFUL_FUNCTIONS = (
    ("counter_nonlocal", counter_nonlocal, None, START, "writes a variable of the enclosing function"),
    ("counter_global", lambda: counter_global, None, START, "writes a global"),
    ("counter_attribute", counter_attribute, None, START, "writes an attribute"),
    ("history_of_values", history_of_values, None, START, "appends to a list outside"),
    ("history_global", lambda: history_global, T, (2.0, 1.0), "appends to a global list"),
    ("history_default", lambda: history_default, None, START, "appends to its own default"),
    ("shared_buffer", shared_buffer, None, START, "stores into an array that it did not make"),
    ("buffer_by_out", buffer_by_out, None, START, "out= writes into an array that it did not make"),
    ("memoised", memoised, None, START, "a cache outside, keyed by the bytes of p"),
    ("writes_argument", lambda: writes_argument, None, (2.0, 1.0, 0.3), "stores into its argument"),
    ("global_state", lambda: global_state, None, START, "stores into a global dictionary"),
    ("drifting", drifting, None, START, "each call returns something else", False),
    ("call_counter", CallCounter, None, START, "an object with state and __call__"),
    ("instrument", lambda: Instrument().residual, None, START, "a method that stores an attribute"),
    ("abort", lambda: abort_after(5), None, START, "raises after five calls"),
    ("from_generator", from_generator, None, START, "advances a generator", False),
    ("prints", lambda: prints, None, START, "prints"),
    ("warns", lambda: warns, None, START, "changes the filters of warnings for a while"),
    ("tries", lambda: tries, T, (2.0, 1.3), "try and except"),
    ("strict_errors", lambda: strict_errors, T, (2.0, 1.0), "np.errstate raises by value"),
    ("random_numpy", lambda: random_numpy, None, START, "draws from numpy's global generator", False),
    ("random_generator", lambda: random_generator, None, START, "draws from a generator", False),
    ("random_python", lambda: random_python, None, START, "draws from Python's generator", False),
)
