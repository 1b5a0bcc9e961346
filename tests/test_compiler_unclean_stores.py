"""Functions that change what is not their own, in one way or another: none may be traced."""

import functools
import operator

import numpy as np
import pytest

from nlsq.compiler.clean import Unclean, examine

T = np.linspace(0.1, 1.0, 20)
Y = 2.0 * T
HISTORY: list = []
ARRAYS = [T.copy()]
NESTED = ((T, 1.0), 2.0)

UNCLEAN: list = []


def unclean(fragment):
    """Collect a function that must be refused for this reason."""

    def enter(function):
        UNCLEAN.append(pytest.param(function, fragment, id=function.__name__))
        return function

    return enter


def change(b):
    b[0] = 1.0
    return b


CHANGE_Y = functools.partial(change, Y)


def get_history():
    return HISTORY


def append_default(p, seen=[]):  # noqa: B006
    seen.append(p)
    return p


@unclean("stores an item into an argument")
def stores_into_the_argument(p):
    p[0] = 1.0
    return p


@unclean("stores an item into an argument")
def stores_into_a_view_of_the_argument(p):
    q = p[1:].reshape(-1)
    q[0] = 1.0
    return p


@unclean("stores an item into an argument")
def stores_into_a_converted_argument(p):
    q = np.asarray(p)
    q[0] = 1.0
    return q


@unclean("stores an item into")
def stores_into_a_global_array(p):
    Y[0] = p[0]
    return p


@unclean("stores an item into")
def stores_into_a_converted_array(p):
    b = np.asarray(Y, dtype=float)
    b[0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_float64(p):
    b = np.float64(Y)
    b[0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_no_difference(p):
    b = np.diff(Y, n=0)
    b[0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_the_conjugate(p):
    b = Y.conj()
    b[0] = p[0]
    return p


@unclean("in place")
def changes_in_place(p):
    b = Y
    b += p[0]
    return b


@unclean("in place")
def changes_a_slice_in_place(p):
    b = Y[1:]
    b *= p[0]
    return b


@unclean("out=")
def writes_with_out(p):
    return np.add(Y, p[0], out=Y)


@unclean("may write to")
def writes_with_positional_out(p):
    return np.add(Y, p[0], Y)


@unclean("may write to")
def clips_into(p):
    return np.clip(p, 0, 1, Y)


@unclean("may write to")
def multiplies_into(p):
    return np.dot(p, p, Y)


@unclean("may write to")
def sums_into(p):
    return T.sum(0, float, Y)


@unclean("may write to")
def rounds_into(p):
    return T.round(2, Y)


@unclean("copyto")
def copies_into(p):
    np.copyto(Y, p)
    return p


@unclean("reads .at")
def adds_at(p):
    np.add.at(Y, [0], p)
    return p


@unclean("copy=")
def replaces_nan_in_place(p):
    return np.nan_to_num(Y, copy=False)


@unclean("copy=")
def converts_without_copy(p):
    return Y.astype(float, copy=False)


@unclean("copy=")
def makes_an_array_without_copy(p):
    return np.array(Y, copy=None)


@unclean("calls .fill of")
def fills(p):
    Y.fill(0.0)
    return p


@unclean("calls .sort of")
def sorts_in_place(p):
    for b in (Y,):
        b.sort()
    return p


@unclean("stores an item into")
def stores_through_a_tuple(p):
    both = (Y, 1)
    both[0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_a_loop(p):
    for b in (T, Y):
        b[0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_a_nested_constant(p):
    NESTED[0][0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_a_list(p):
    ARRAYS[0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_a_longer_list(p):
    more = ARRAYS + []  # noqa: RUF005
    more[0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_a_sum_of_lists(p):
    more = operator.add(ARRAYS, [])
    more[0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_through_an_alias_of_a_list(p):
    first = []
    second = first
    first.append(Y)
    second[0][0] = p[0]
    return p


@unclean("stores an item into")
def stores_after_a_loop(p):
    b = p * 1.0
    for _ in range(2):
        b[0] = 1.0
        b = Y
    return p


@unclean("stores an item into")
def stores_after_a_branch(p, flag=False):
    b = Y
    if flag:
        b = np.zeros(3)
    b[0] = 1.0
    return p


@unclean("stores an item into")
def stores_by_a_conditional(p, flag=1):
    (Y if flag else np.zeros(2))[0] = 1.0
    return p


@unclean("stores an item into")
def stores_by_a_walrus(p):
    (b := Y)[0] = p[0]
    return b


@unclean("stores an item into")
def stores_inside(p):
    b = Y

    def write():
        b[0] = 1.0

    write()
    return p


@unclean("stores an item into")
def stores_in_a_helper(p):
    return change(Y) + p[0]


@unclean("stores an item into")
def stores_in_a_helper_by_keyword(p):
    return change(b=Y) + p[0]


@unclean("stores an item into")
def stores_in_a_helper_by_star(p):
    given = (Y,)
    return change(*given) + p[0]


@unclean("stores an item into")
def stores_in_a_helper_by_double_star(p):
    given = {"b": Y}
    return change(**given) + p[0]


@unclean("stores an item into an argument")
def stores_in_a_helper_into_the_argument(p):
    return change(p)


@unclean("stores an item into")
def stores_in_a_reduction(p):
    return functools.reduce(lambda a, b: change(Y) + a + b, p)


@unclean("in place")
def reduces_onto_an_array(p):
    total = functools.reduce(lambda a, b: a, [p[0]], Y)
    total += 1.0
    return total


@unclean("calls functools.partial")
def makes_a_partial(p):
    return functools.partial(change, Y)() + p[0]


@unclean("stores an item into")
def stores_in_a_partial(p):
    return CHANGE_Y() + p[0]


@unclean("calls .append of")
def appends_to_what_a_helper_returns(p):
    get_history().append(p)
    return p


@unclean("calls .append of")
def appends_to_a_default(p):
    return append_default(p)


@unclean("calls .append of")
def appends_through_a_dictionary(p):
    held = {"log": HISTORY}
    held["log"].append(p[0])
    return p


@unclean("reads .__setitem__")
def stores_by_a_method(p):
    Y.__setitem__(0, p[0])
    return p


@pytest.mark.parametrize(("function", "fragment"), UNCLEAN)
def test_refused(function, fragment):
    with pytest.raises(Unclean) as caught:
        examine(function)
    assert fragment in caught.value.reason


def test_an_outside_argument_may_not_be_changed():
    def residual(p, data):
        data += p[0]
        return data

    assert examine(residual).changes_arguments  # traced, it is left to the symbols
    with pytest.raises(Unclean, match="in place"):
        examine(residual, outside=(1,))


def test_the_line_is_that_of_the_reason():
    with pytest.raises(Unclean) as caught:
        examine(stores_in_a_helper)
    assert caught.value.function == "change"
    assert caught.value.line == change.__code__.co_firstlineno + 1
