"""Functions that must not be traced, each with a fragment of the reason."""

import datetime
import logging
import random
import time
import types

import numpy as np
import pytest

from nlsq.compiler.clean import Unclean, examine

T = np.linspace(0.1, 1.0, 20)
Y = 2.0 * T
HISTORY: list = []
COUNTS = {"calls": 0}
CONFIG = types.SimpleNamespace(scale=2.0, data=T.copy())
TOTAL = 0
RATES = {1.0: 2.0}
KINDS = {"object": object}
STATE = np.random.RandomState(0)
GENERATOR = np.random.default_rng(1)

UNCLEAN: list = []


def unclean(fragment):
    """Collect a function that must be refused for this reason."""

    def enter(function):
        UNCLEAN.append(pytest.param(function, fragment, id=getattr(function, "__name__", type(function).__name__)))
        return function

    return enter


@unclean("global variable 'TOTAL'")
def writes_a_global(p):
    global TOTAL
    TOTAL += 1
    return p


@unclean("calls .append of")
def keeps_a_history(p):
    HISTORY.append(p)
    return p


@unclean("calls .append of")
def keeps_a_history_by_another_name(p):
    log = HISTORY
    log.append(p)
    return p


@unclean("calls .append of")
def keeps_a_method(p):
    log = HISTORY.append
    log(p)
    return p


@unclean("stores an item into")
def counts_in_a_dictionary(p):
    COUNTS["calls"] += 1
    return p


@unclean("print")
def prints(p):
    print(p)
    return p


@unclean("open")
def opens(p):
    open("file")
    return p


@unclean("input")
def asks(p):
    input()
    return p


@unclean("normal")
def draws_numbers(p):
    return p + np.random.normal(size=p.size)  # noqa: NPY002


@unclean("RandomState")
def draws_numbers_of_a_state(p):
    return p + STATE.rand()


@unclean("Generator")
def draws_numbers_of_a_new_generator(p):
    return p + GENERATOR.normal()


@unclean("random")
def draws_python_numbers(p):
    return p * random.random()


@unclean("time")
def reads_the_clock(p):
    return p + time.time()


@unclean("datetime")
def reads_the_date(p):
    return p + datetime.datetime.now().day


@unclean("logging")
def logs(p):
    logging.getLogger("fit").info("p %s", p)
    return p


@unclean("stores the attribute ._calls")
def stores_on_itself(p):
    stores_on_itself._calls = 1
    return p


@unclean("try or with")
def tries(p):
    try:
        return p[0] * T - Y
    except ValueError:
        return Y * np.nan


@unclean("with")
def silences_errors(p):
    with np.errstate(all="ignore"):
        return p[0] * np.log(T) - Y


@unclean("isinstance")
def asks_for_a_type(p):
    return p if isinstance(p, np.ndarray) else p * 2


@unclean("calls type")
def asks_for_its_type(p):
    return p if type(p) is np.ndarray else p * 2


@unclean("hasattr")
def asks_for_an_attribute(p):
    return p if hasattr(p, "real") else p * 2


@unclean("callable")
def asks_whether_callable(p):
    return p if callable(p) else 2 * p


@unclean("'is'")
def compares_identities(p):
    return p if p is Y else p * 2


@unclean("calls id")
def asks_for_an_identity(p):
    return p if id(p) else p * 2


@unclean("eval")
def evaluates(p):
    return eval("p[0]") * T


@unclean("getattr")
def gets_an_attribute(p):
    return getattr(p, "real")  # noqa: B009


@unclean("setattr")
def sets_an_attribute(p):
    setattr(CONFIG, "scale", 1.0)  # noqa: B010
    return p


@unclean("attribute .scale")
def stores_an_attribute(p):
    CONFIG.scale = p[0]
    return p


@unclean("stores an item into")
def stores_into_data_of_an_object(p):
    CONFIG.data[0] = p[0]
    return p


@unclean("calls map")
def maps(p):
    return list(map(HISTORY.append, p))


@unclean("sorted")
def sorts_by_a_key(p):
    return sorted(p, key=HISTORY.append)


@unclean("key=")
def takes_the_greatest_by_a_key(p):
    return max(p, key=HISTORY.append)


@unclean("recursion")
def recurses(p, n=3):
    return p if n == 0 else recurses(p, n - 1) * 2


@unclean("recursion")
def recurses_inside(p):
    def power(n):
        return 1.0 if n == 0 else p[0] * power(n - 1)

    return power(3) * T


@unclean("generator or coroutine")
def runs_a_generator(p):
    def parts():
        yield p[0]

    return sum(parts()) * T


@unclean("defines a class")
def defines_a_class(p):
    class Inner:
        pass

    return p


@unclean("deletes an item")
def deletes_an_item(p):
    parts = [p[0], p[1]]
    del parts[0]
    return parts[0]


@unclean("type of numbers")
def makes_objects(p):
    return np.array([p[0], p[1]], dtype=object)


@unclean("data type '|O'")
def makes_objects_by_name(p):
    return np.zeros(3, "|O")


@unclean("a type is used where")
def makes_objects_from_outside(p):
    return np.zeros(3, KINDS["object"])


@unclean("made from an argument")
def looks_up_by_a_formatted_value(p):
    return {"1.0": 2.0}[f"{p[0]}"] * T


@unclean("made from an argument")
def compares_a_formatted_value(p):
    return T if f"{p[0]:.3f}" == "1.000" else Y


@unclean("may come from an argument")
def looks_up_a_value(p):
    return RATES[p[0]] * T


@unclean("may come from an argument")
def asks_for_a_value(p):
    return T if p[0] in RATES else Y


@unclean("may come from an argument")
def gets_a_value(p):
    return RATES.get(p[0], 1.0) * T


@unclean("imports scipy.integrate")
def integrates(p):
    from scipy.integrate import solve_ivp

    return solve_ivp(lambda t, u: -p[0] * u, (0, 1), [1.0], t_eval=T).y[0]


@unclean("try or with")
def cleans_up(p):
    try:
        return p * 2
    finally:
        HISTORY.clear()


@unclean("(match)")
def matches(p):
    match p:
        case [a, b]:
            return a * T + b
    return T


@unclean("super")
def uses_super(p):
    return super(int, 3).real * p


@unclean("set_printoptions")
def changes_numpy(p):
    np.set_printoptions(precision=3)
    return p


@unclean("seterr")
def changes_error_handling(p):
    np.seterr(all="ignore")
    return p


@pytest.mark.parametrize(("function", "fragment"), UNCLEAN)
def test_refused(function, fragment):
    with pytest.raises(Unclean) as caught:
        examine(function)
    assert fragment in caught.value.reason
    assert caught.value.function and str(caught.value).startswith(caught.value.function)
    assert caught.value.line > 0
