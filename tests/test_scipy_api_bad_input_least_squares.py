"""`least_squares` refuses what SciPy refuses, with SciPy's exception and words."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import Bounds
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from test_scipy_api_helpers import (
    OURS,
    SCIPY,
    as_scipy_1_17,
    exception_of,
    returns,
    same_exception,
    three,
    three_jac,
)

pytestmark = as_scipy_1_17
NAN, INF = np.nan, np.inf


def full(shape, value=1.0):
    return lambda x: np.full(shape, value)


ONE_ARGUMENT = {
    "method name": {"method": "bfgs"},
    "method None": {"method": None},
    "jac name": {"jac": "oops"},
    "jac None": {"jac": None},
    "jac number": {"jac": 3},
    "jac list": {"jac": ["2-point"]},
    "tr_solver": {"tr_solver": "best"},
    "loss name": {"loss": "hinge"},
    "loss number": {"loss": 3},
    "loss with lm": {"loss": "huber", "method": "lm"},
    "verbose": {"verbose": 3},
    "max_nfev 0": {"max_nfev": 0},
    "max_nfev negative": {"max_nfev": -1},
    "max_nfev text": {"max_nfev": "a"},
    "x0 complex": {"x0": 1j},
    "x0 complex in list": {"x0": [1.0, 2.0 + 0.0j]},
    "x0 2-D": {"x0": [[1.0]]},
    "x0 empty": {"x0": []},
    "x0 text": {"x0": "a"},
    "x0 None": {"x0": None},
    "x0 None in list": {"x0": [None]},
    "x0 nan": {"x0": [NAN]},
    "x0 inf": {"x0": [INF]},
    "x0 object": {"x0": np.array([object()])},
    "bounds of three": {"bounds": (0, 1, 2)},
    "bounds of one": {"bounds": (0,)},
    "bounds number": {"bounds": 3},
    "bounds None": {"bounds": None},
    "bounds text": {"bounds": ("a", "b")},
    "bounds text above": {"bounds": (0, "b")},
    "bounds dict": {"bounds": {"a": 0, "b": 3}},
    "bounds string": {"bounds": "ab"},
    "bounds swapped": {"bounds": (2, 1)},
    "bounds equal": {"bounds": (1, 1)},
    "bounds beside the start": {"bounds": (2, 3)},
    "bounds nan below": {"bounds": (NAN, 3)},
    "bounds nan above": {"bounds": (0, NAN)},
    "bounds too long": {"bounds": ([0, 0], 3)},
    "bounds 2-D": {"bounds": ([[0]], 3)},
    "bounds with lm": {"bounds": (0, 3), "method": "lm"},
    "bounds too long with lm": {"bounds": ([0, 0], [3, 3]), "method": "lm"},
    "Bounds too long": {"bounds": Bounds([0, 0], 3)},
    "Bounds with lm": {"bounds": Bounds(0, 3), "method": "lm"},
    "Bounds swapped": {"bounds": Bounds(3, 0)},
    "x_scale name": {"x_scale": "auto"},
    "x_scale negative": {"x_scale": -1},
    "x_scale zero": {"x_scale": 0},
    "x_scale complex": {"x_scale": 1j},
    "x_scale nan": {"x_scale": NAN},
    "x_scale inf": {"x_scale": INF},
    "x_scale object": {"x_scale": object()},
    "x_scale too long": {"x_scale": [1, 2]},
    "x_scale 2-D": {"x_scale": [[1]]},
    "x_scale empty": {"x_scale": []},
    "no tolerance": {"ftol": None, "xtol": None, "gtol": None},
    "tolerances below eps": {"ftol": 1e-17, "xtol": 0, "gtol": 0},
    "ftol None with lm": {"ftol": None, "method": "lm"},
    "xtol None with lm": {"xtol": None, "method": "lm"},
    "gtol None with lm": {"gtol": None, "method": "lm"},
    "ftol below eps with lm": {"ftol": 1e-17, "method": "lm"},
    "ftol text": {"ftol": "a"},
    "fun number": {"fun": 3},
    "fun None": {"fun": None},
    "fun 2-D": {"fun": full((2, 2))},
    "fun column": {"fun": full((2, 1))},
    "fun too short for lm": {"fun": full(1), "x0": [1.0, 2.0], "method": "lm"},
    "fun empty for lm": {"fun": full(0), "method": "lm"},
    "fun returns None": {"fun": returns(None)},
    "fun returns None, lm": {"fun": returns(None), "method": "lm"},
    "fun returns None in a list": {"fun": returns([None, 2])},
    "fun returns text": {"fun": returns("ab")},
    "fun returns texts": {"fun": returns(["1", "2"])},
    "fun returns bools": {"fun": returns([True, False])},
    "fun returns fractions": {"fun": returns(np.array([Fraction(1, 2)], dtype=object))},
    "fun returns ragged lists": {"fun": returns([[1], [2, 3]])},
    "fun returns complex, lm": {"fun": returns([1j, 2]), "method": "lm"},
    "fun returns nan": {"fun": returns([NAN, 2])},
    "fun returns inf": {"fun": returns([INF, 2])},
    "fun returns nan, lm": {"fun": returns([NAN, 2]), "method": "lm"},
    "fun returns nan, dogbox": {"fun": returns([NAN, 2]), "method": "dogbox"},
    "fun takes too few": {"args": (3,)},
    "fun takes no such keyword": {"kwargs": {"b": 3}},
    "args number": {"args": 3},
    "kwargs number": {"kwargs": 3},
    "unknown keyword": {"options": {}},
    "jac too few rows": {"jac": full((2, 1))},
    "jac too many columns": {"jac": full((3, 2))},
    "jac 1-D": {"jac": full(3)},
    "jac transposed": {"jac": full((1, 3))},
    "jac 3-D": {"jac": full((3, 1, 1))},
    "jac returns None": {"jac": returns(None)},
    "jac returns text": {"jac": returns("abc")},
    "jac nan": {"jac": full((3, 1), NAN)},
    "jac inf": {"jac": full((3, 1), INF)},
    "jac sparse with lm": {"jac": lambda x: csr_array(three_jac(x)), "method": "lm"},
    "jac operator with lm": {"jac": lambda x: aslinearoperator(three_jac(x)), "method": "lm"},
    "jac sparse with exact": {"jac": lambda x: csr_array(three_jac(x)), "tr_solver": "exact"},
    "jac operator with exact": {"jac": lambda x: aslinearoperator(three_jac(x)), "tr_solver": "exact"},
    "jac sparse, wrong shape": {"jac": lambda x: csr_array([[1.0], [2.0]])},
    "jac operator, wrong shape": {"jac": lambda x: aslinearoperator(np.ones((2, 1)))},
    "jac operator, x_scale": {"jac": lambda x: aslinearoperator(three_jac(x)), "x_scale": "jac"},
    "sparsity of wrong shape": {"jac_sparsity": [1]},
    "sparsity with lm": {"jac_sparsity": [1], "method": "lm"},
    "sparsity with exact": {"jac_sparsity": [[1], [1], [1]], "tr_solver": "exact"},
    "sparsity text": {"jac_sparsity": "abc"},
    "lsmr option": {"tr_solver": "lsmr", "tr_options": {"tol": 1}},
    "tr_options number": {"tr_options": 3},
    "callback number": {"callback": 3},
    "callback number with lm": {"callback": 3, "method": "lm"},
    "workers 0": {"workers": 0},
    "workers text": {"workers": "a"},
    "loss of wrong shape": {"loss": lambda z: z},
    "loss of too few": {"loss": lambda z: np.ones((3, 2))},
    "f_scale list": {"loss": "huber", "f_scale": [1, 2, 3]},
    "f_scale text": {"loss": "huber", "f_scale": "a"},
    "f_scale zero": {"loss": "huber", "f_scale": 0},
    "diff_step text": {"diff_step": "a"},
}


def call(kwargs):
    arguments = {"fun": three, "x0": 1.0, **kwargs}
    return lambda api: api.least_squares(**arguments)


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_one_wrong_argument(name):
    assert same_exception(call(ONE_ARGUMENT[name])) is not None or name in {"x0 empty"}


# Which of two is named first depends on internals of SciPy that have no meaning here.
ALONE = {
    "x0 empty",
    "x0 inf",
    "fun returns bools",
    "fun returns complex, lm",
    "sparsity of wrong shape",
    "sparsity with exact",
    "sparsity text",
    "sparsity with lm",
    "unknown keyword",
    "diff_step text",
    "lsmr option",
}
NONFINITE = "array must not contain infs or NaNs"  # of a Jacobian: "lm" of SciPy calls it a success, ours never
PAIRED = [name for name in ONE_ARGUMENT if name not in ALONE]


@pytest.mark.parametrize("first", PAIRED)
def test_of_two_wrong_arguments_the_same_is_named(first):
    different = []
    for second in PAIRED:
        # Where both set the same argument the second wins, and one argument is wrong again.
        pair = call(ONE_ARGUMENT[first] | ONE_ARGUMENT[second])
        expected, actual = exception_of(pair, SCIPY), exception_of(pair, OURS)
        departure = expected is None and str(actual) == NONFINITE
        if (type(expected), str(expected)) != (type(actual), str(actual)) and not departure:
            different.append((second, expected, actual))
    assert not different
