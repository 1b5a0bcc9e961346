"""Things that are no plain functions, and functions that meet such things: none may be traced."""

import builtins
import functools
import math

import numpy as np
import pytest

from nlsq.compiler.clean import Unclean, examine

T = np.linspace(0.1, 1.0, 20)
Y = 2.0 * T
HISTORY: list = []


def change(b):
    b[0] = 1.0
    return b


def refused_objects():
    """Give things that are no plain functions, or that meet such things, with the reasons."""
    count = 0
    buffer = np.zeros(3)

    def counts(p):
        nonlocal count
        count += 1
        return p

    def stores(p):
        buffer[0] = p[0]
        return p

    class Counting:
        def __init__(self):
            self.calls = 0

        def __call__(self, p):
            return p

        def residual(self, p):
            self.calls += 1
            return p

        @property
        def scale(self):
            HISTORY.append(1)
            return 2.0

    class Operator:
        def __mul__(self, other):
            HISTORY.append(other)
            return other

        __rmul__ = __mul__

    class Answering:
        def __getattr__(self, name):
            return 1.0

    class Units(np.ndarray):
        pass

    counting, operator, answering, units = Counting(), Operator(), Answering(), T.view(Units)
    from_python = np.frompyfunc(lambda q: (HISTORY.append(q), q)[1], 1, 1)
    objects = np.array([counting, counting])
    vectorized = np.vectorize(lambda q: q)
    many = [1.0] * 20_000
    return [
        (counts, "nonlocal variable 'count'"),
        (stores, "stores an item into"),
        (counting, "an object with state"),
        (counting.residual, "stores the attribute .calls"),
        (lambda p: counting.scale * p, "computed when it is read"),
        (lambda p: counting(p), "an object with state"),
        (lambda p: operator * p, "where numbers and arrays are expected"),
        (lambda p: answering.rate * p, "may do anything"),
        (lambda p: units * p, "subclass of numpy.ndarray"),
        (lambda p: from_python(p), "not on the list"),
        (lambda p: objects * p, "not of numbers"),
        (lambda p: vectorized(p), "not on the list"),
        (lambda p: sum(many) * p, "use an array"),
        (np.exp, "wrap it in a lambda"),
        (functools.partial(np.add, 1.0), "wrap it in a lambda"),
        (functools.partial(change, Y), "stores an item into"),
        (lambda p: undefined_name * p, "is not defined"),  # noqa: F821
        (lambda p: math.fsum(p), "fsum"),
        (lambda p: builtins.print(p), "print"),
        (3.0, "calls"),
    ]


@pytest.mark.parametrize(("function", "fragment"), refused_objects())
def test_refused_object(function, fragment):
    with pytest.raises(Unclean) as caught:
        examine(function)
    assert fragment in caught.value.reason
