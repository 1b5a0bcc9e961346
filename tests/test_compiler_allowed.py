"""The functions that are listed as making something new do so."""

import numpy as np
import pytest

from nlsq.compiler.clean.allowed import _table, rule_of


def arguments_to_try():
    y, i, b, s = np.arange(1.0, 4.0), np.arange(3), np.arange(1.0, 10.0).reshape(3, 3), 2.0 * np.eye(3)
    several = [
        (y,),
        (i,),
        (b,),
        (s,),
        ([y],),
        ([i],),
        ([b],),
        (3,),
        (y, 1),
        (i, 0),
        (y, 0),
        (y, y),
        (b, b),
        (b, 1),
        (b, 0),
    ]
    several += [
        ((y, y), 0),
        (y > 1, y, y),
        ([y > 1], [y]),
        (y, [y]),
        (y, 0, 1),
        (y, 1, 1),
        (y, y, y),
        (s, y),
        ([s, s],),
    ]
    return several, (y, i, b, s)


FRESH = [
    function for function, rule in _table().items() if rule.result == "fresh" and function.__module__ != "builtins"
]


@pytest.mark.parametrize("function", FRESH, ids=lambda one: one.__name__)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fresh_results_share_no_memory(function):
    """What is listed as making a new array does, and leaves its arguments as they were."""
    several, arrays = arguments_to_try()
    before = [one.copy() for one in arrays]
    tried = 0
    for arguments in several:
        if len(arguments) > _table()[function].positional:
            continue
        try:
            result = function(*arguments)
        except (TypeError, ValueError, IndexError, AttributeError, np.linalg.LinAlgError):
            continue
        tried += 1
        for part in result if isinstance(result, tuple | list) else (result,):
            assert not any(isinstance(part, np.ndarray) and np.shares_memory(part, one) for one in arrays)
        for one, old in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(one, old)
    assert tried


def test_a_ufunc_made_of_a_python_function_is_not_listed():
    def exp(x):
        return x

    made = np.frompyfunc(exp, 1, 1)
    assert rule_of(np.exp) is not None
    assert rule_of(made) is None
