"""What the differential tests share: SciPy's functions and ours on the same input, and how outcomes are compared."""

import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy
import scipy.optimize

import nlsq

NAMES = ("curve_fit", "least_squares", "leastsq")
OURS = types.SimpleNamespace(**{name: getattr(nlsq, name) for name in NAMES})
SCIPY = types.SimpleNamespace(**{name: getattr(scipy.optimize, name) for name in NAMES})

as_scipy_1_17 = pytest.mark.skipif(
    tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 17), reason="texts and surface are those of SciPy 1.17"
)

X = np.arange(5.0)
Y = 2.0 * X + 1.0


def line(x, a, b):
    return a * x + b


def three(x):
    return np.array([x[0] - 1.0, 2.0 * x[0] - 3.0, x[0] ** 2])


def three_jac(x):
    return np.array([[1.0], [2.0], [2.0 * x[0]]])


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def rosenbrock_jac(x):
    return np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]])


def returns(value):
    """A residual function that returns `value`."""
    return lambda x: value


def exception_of(call: Callable[[Any], Any], api: Any) -> BaseException | None:
    """What `call` raises with the functions of `api`; warnings are not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(api)
        except Exception as error:
            return error
    return None


def same_exception(call: Callable[[Any], Any]) -> BaseException | None:
    """Check that `call` fails with ours as with SciPy's: type and text, or on neither. Return our exception."""
    expected, actual = exception_of(call, SCIPY), exception_of(call, OURS)
    assert type(actual) is type(expected), f"expected {expected!r}, got {actual!r}"
    assert str(actual) == str(expected)
    return actual


def warnings_of(call: Callable[[Any], Any], api: Any) -> list[tuple[type, str]]:
    """Categories and texts of the warnings of `call`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(api)
    return [(w.category, str(w.message)) for w in caught]


def test_helpers_compare_type_and_text():
    def fails(api):
        raise TypeError("no") if api is OURS else ValueError("no")

    with pytest.raises(AssertionError):
        same_exception(fails)
    assert same_exception(lambda api: None) is None
