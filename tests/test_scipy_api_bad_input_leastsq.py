"""`leastsq` refuses what SciPy refuses, with SciPy's exception and words."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.sparse import csr_array
from test_scipy_api_helpers import OURS, as_scipy_1_17, returns, rosenbrock, same_exception, three, three_jac

pytestmark = as_scipy_1_17


class Ones:
    """A callable without a name."""

    def __init__(self, *shape):
        self.shape = shape

    def __call__(self, x):
        return np.ones(self.shape)


def full(*shape):
    return lambda x: np.ones(shape)


def named(x):
    return np.ones((3, 3))


ONE_ARGUMENT = {
    "x0 empty": {"func": full(3), "x0": []},
    "x0 empty, indexed": {"x0": []},
    "x0 text": {"func": rosenbrock, "x0": "ab"},
    "x0 texts": {"func": rosenbrock, "x0": ["a", "b"]},
    "x0 texts, not looked at": {"func": full(3), "x0": ["1", "2"]},
    "x0 None": {"func": rosenbrock, "x0": None},
    "x0 complex": {"func": rosenbrock, "x0": [1j, 2]},
    "x0 object": {"func": rosenbrock, "x0": np.array([1, 2], dtype=object)},
    "func number": {"func": 3},
    "func None": {"func": None},
    "func 2-D": {"func": full(2, 2), "x0": [1.0, 2.0]},
    "func column": {"func": full(2, 1), "x0": [1.0, 2.0]},
    "func scalar": {"func": full(), "x0": [1.0, 2.0]},
    "func empty": {"func": full(0)},
    "func too short": {"func": full(1), "x0": [1.0, 2.0]},
    "func too short, object": {"func": Ones(3), "x0": [1.0, 2.0, 3.0, 4.0]},
    "func returns None": {"func": returns(None), "x0": [1.0, 2.0]},
    "func returns text": {"func": returns("ab")},
    "func returns complex": {"func": returns([1j, 2])},
    "func returns complex array": {"func": returns(np.array([1j, 2]))},
    "func returns fractions": {"func": returns(np.array([Fraction(1, 2)], dtype=object))},
    "func returns ragged lists": {"func": returns([[1], [2, 3]])},
    "func takes no argument": {"args": 3},
    "func takes one argument": {"args": (3, 4)},
    "Dfun number": {"Dfun": 3},
    "Dfun too few rows": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": full(1, 2)},
    "Dfun named": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": named},
    "Dfun without a name": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": Ones(3, 3)},
    "Dfun 1-D": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": full(4)},
    "Dfun too few columns": {"func": full(3), "x0": [1.0, 2.0], "Dfun": full(3, 1)},
    "Dfun not transposed": {"func": full(3), "x0": [1.0, 2.0], "Dfun": full(3, 2), "col_deriv": True},
    "Dfun transposed": {"func": full(3), "x0": [1.0, 2.0], "Dfun": full(2, 3)},
    "Dfun too long, one parameter": {"Dfun": full(3, 2)},
    "Dfun returns None, one parameter": {"Dfun": returns(None)},
    "Dfun returns None": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": returns(None)},
    "Dfun returns text": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": returns("abc")},
    "Dfun returns complex": {"Dfun": returns([[1j], [2], [2]])},
    "Dfun 3-D, one parameter": {"Dfun": full(3, 1, 1)},
    "Dfun sparse": {"func": rosenbrock, "x0": [1.0, 2.0], "Dfun": lambda x: csr_array(np.eye(2))},
    "maxfev float": {"maxfev": 2.5},
    "maxfev None": {"maxfev": None},
    "maxfev text": {"maxfev": "a"},
    "ftol negative": {"ftol": -1},
    "xtol negative": {"xtol": -1.0},
    "gtol negative": {"gtol": -1.0},
    "ftol None": {"ftol": None},
    "ftol text": {"ftol": "a"},
    "xtol text": {"xtol": "a"},
    "gtol text": {"gtol": [1]},
    "factor 0": {"factor": 0},
    "factor negative": {"factor": -1},
    "factor text": {"factor": "a"},
    "diag with 0": {"func": rosenbrock, "x0": [1.0, 2.0], "diag": [1, 0]},
    "diag negative": {"func": rosenbrock, "x0": [1.0, 2.0], "diag": [1, -1]},
    "diag number": {"func": rosenbrock, "x0": [1.0, 2.0], "diag": 2},
    "diag text": {"func": rosenbrock, "x0": [1.0, 2.0], "diag": "a"},
    "diag complex": {"func": rosenbrock, "x0": [1.0, 2.0], "diag": [1j, 2]},
    "epsfcn text": {"epsfcn": "a"},
    "unknown keyword": {"foo": 2},
}


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_one_wrong_argument(name):
    arguments = {"func": three, "x0": 1.0, **ONE_ARGUMENT[name]}
    assert same_exception(lambda api: api.leastsq(**arguments)) is not None


def test_missing_arguments():
    assert same_exception(lambda api: api.leastsq()) is not None
    assert same_exception(lambda api: api.leastsq(three)) is not None


def test_improper_input_with_full_output_is_reported():
    x, cov_x, infodict, message, ier = OURS.leastsq(rosenbrock, [2.0, 3.0], ftol=-1, full_output=True)
    assert (x == [2.0, 3.0]).all() and cov_x is None and ier == 0 and message == "Improper input parameters."
    assert (infodict["fvec"] == rosenbrock(x)).all() and infodict["nfev"] == 0


def test_short_diag_is_refused():
    # SciPy reads beyond the end of the array.
    with pytest.raises(ValueError, match="`diag` must have an entry for each of the 2 parameters, got 1"):
        OURS.leastsq(rosenbrock, [2.0, 3.0], diag=[1.0])


@pytest.mark.parametrize("start", [[np.nan, 2.0], [np.inf, 2.0]])
def test_residuals_that_are_not_finite_at_the_start_are_no_success(start):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Residuals are not finite in the initial point"):
        OURS.leastsq(rosenbrock, start)


@pytest.mark.parametrize("value", [None, [np.nan, 2.0], [np.inf, 2.0], [None, 2.0]])
def test_values_that_are_not_finite_are_no_success(value):
    with pytest.raises(ValueError, match="Residuals are not finite in the initial point"):
        OURS.leastsq(returns(value), 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_jacobian_that_is_not_finite_is_no_success(value):
    with pytest.raises(ValueError, match="array must not contain infs or NaNs") as caught:
        OURS.leastsq(three, 1.0, Dfun=lambda x: np.full((3, 1), value))
    assert caught.value.result.x == 1.0


def test_nan_on_the_way_is_stepped_over():
    def residual(x):
        return np.array([np.sqrt(3.0 - x[0]) - 1.0]) if x[0] < 2.9 else np.array([np.nan])

    x, ier = OURS.leastsq(residual, -20.0)
    assert x == pytest.approx(2.0) and ier in (1, 2, 3, 4)


def test_dfun_shapes_that_scipy_takes():
    for jac in (lambda x: three_jac(x).ravel(), lambda x: three_jac(x).T, lambda x: three_jac(x).tolist()):
        assert OURS.leastsq(three, 3.0, Dfun=jac)[0] == pytest.approx(1.0, abs=1e-6)
