"""Central differences instead of forward ones, from one call to the next."""

import numpy as np
import pytest

from nlsq.derivatives import ForwardDifference
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.vector_function import linear_function, stacked_function, vector_function

X = np.array([0.3, 0.5, 0.7])
PATTERN = np.array([[1, 1, 0], [1, 0, 1]])


pytestmark = pytest.mark.usefixtures("no_routes")


def plain(x):
    return np.array([x[0] ** 3 + x[1] - 1.0, np.sin(x[2]) * x[0]])


def jacobian(x):
    return np.array([[3.0 * x[0] ** 2, 1.0, 0.0], [np.sin(x[2]), 0.0, x[0] * np.cos(x[2])]])


def error(function, x=X):
    jac = function.jacobian(x).toarray() if function.is_sparse else function.dense_jacobian(x)
    return np.abs(jac - jacobian(x)).max()


@pytest.mark.parametrize("sparsity", [None, PATTERN])
def test_differences_become_central_and_forward_again(sparsity):
    function = vector_function(plain, 3, X, sparsity=sparsity)
    addresses = function.value_address, function.data_address
    function.value(X)
    forward, taken = error(function), function.function_evaluations
    assert forward > 1e-10 and function.jacobian_kind == "2-point"
    assert function.use_central() and not function.use_central()
    assert error(function) < 1e-10 and function.jacobian_kind == "3-point"
    assert function.function_evaluations > 2 * taken - 1  # and counted on
    assert (function.value_address, function.data_address) == addresses
    assert function.use_central(False)
    assert error(function) == forward and function.jacobian_kind == "2-point"


@pytest.mark.parametrize("sparsity", [None, PATTERN])
def test_each_solve_begins_with_forward_differences(sparsity):
    function = vector_function(plain, 3, X, sparsity=sparsity)
    forward = error(function)
    function.use_central()
    function.refresh()
    assert error(function) == forward


def test_central_differences_stay_inside_the_bounds():
    seen = []

    def logged(x):
        seen.append(x.copy())
        return plain(x)

    function = vector_function(logged, 3, X, lower=X, upper=X + 1.0)
    function.use_central()
    assert error(function) < 1e-9
    assert len(seen) > 6 and all((x >= X).all() for x in seen)


def test_single_precision_gets_steps_of_its_own():
    function = vector_function(lambda x: plain(x).astype(np.float32), 3, X)
    function.use_central()
    assert error(function) < 1e-4


@pytest.mark.parametrize("jac", ["2-point", "cs", jacobian, ForwardDifference()])
def test_what_the_user_chose_stays(jac):
    function = vector_function(plain, 3, X, jac=jac)
    kind, before = function.jacobian_kind, error(function)
    assert not function.use_central()
    assert function.jacobian_kind == kind and error(function) == before


def test_exact_derivatives_stay():
    if not compile_disabled():
        assert not vector_function(plain, 3, X, compile=True).use_central()
    assert not linear_function(np.eye(3), 3, "A").use_central()


def test_stacked_functions_change_together():
    functions = [vector_function(plain, 3, X), linear_function(np.eye(3), 3, "A"), vector_function(plain, 3, X)]
    both = stacked_function(functions, 3, "c")
    expected = np.vstack([jacobian(X), np.eye(3), jacobian(X)])
    assert both.jacobian_kind == "2-point, constant"
    assert np.abs(both.dense_jacobian(X) - expected).max() > 1e-10
    assert both.use_central()
    assert both.jacobian_kind == "3-point, constant"
    assert np.abs(both.dense_jacobian(X) - expected).max() < 1e-10
    both.refresh()
    assert both.jacobian_kind == "2-point, constant"
    assert np.abs(both.dense_jacobian(X) - expected).max() > 1e-10
