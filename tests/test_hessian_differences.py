"""Second derivatives from differences: kernel, Python and coloured forms, bounds, failures."""

import ctypes

import numpy as np
import pytest
from references.kernel_calls import MODES, call
from scipy.sparse import csr_array

from nlsq.derivatives import second_order
from nlsq.derivatives.second_order import (
    ColoredHessian,
    DenseDifferenceHessian,
    DifferenceHessian,
    colored_hessian,
    difference_hessian,
)
from nlsq.kernels.backend import compile_disabled, ticket
from nlsq.kernels.hessian_difference import hessian_by_differences
from nlsq.pattern import SparsityPattern

EVERY = pytest.mark.parametrize("mode", MODES)


# r_i = exp(a_i' x) / (1 + i),  d2 r_i = r_i a_i a_i'

A = np.array([[0.3, -0.2, 0.5], [1.0, 0.4, 0.0], [0.0, -0.7, 0.2], [0.6, 0.1, -0.4]])
WEIGHTS = np.array([0.5, -1.5, 2.0, 0.7])


def jacobian(x):
    return (np.exp(A @ x) / np.arange(1.0, 5.0))[:, np.newaxis] * A


def hessian(x, weights):
    return (A.T * (weights * np.exp(A @ x) / np.arange(1.0, 5.0))) @ A


class Recorded:
    """A Jacobian that keeps the points it was asked for."""

    def __init__(self, function=jacobian):
        self.function, self.points = function, []

    def __call__(self, x):
        self.points.append(x.copy())
        return self.function(x)


def by_kernel(mode, recorded, x0, m=4, lower=None, upper=None):
    """Return ``x, weights, out -> status`` of the kernel, and the `DifferenceHessian` whose table it reads."""
    n = x0.size

    def called(x, data, out):
        try:
            out[: n * m] = np.asarray(recorded(np.array(x[:n]))).T.ravel()
        except ArithmeticError:
            return 1
        return 0

    if mode == "python" or compile_disabled():
        with pytest.MonkeyPatch.context() as patch:  # whose addresses plain Python knows
            patch.setattr(second_order, "address_of_array", ticket)
            patch.setattr(second_order, "address_of_kernel", lambda kernel: 0)
            made = DifferenceHessian(ticket(called), 0, m, x0, lower=lower, upper=upper)
        kept = called
    else:
        pointer = ctypes.POINTER(ctypes.c_double)
        as_array = np.ctypeslib.as_array

        def by_pointers(x, data, out):
            return called(as_array(x, (n,)), data, as_array(out, (n * m,)))

        kept = ctypes.CFUNCTYPE(ctypes.c_int64, pointer, ctypes.c_int64, pointer)(by_pointers)
        made = DifferenceHessian(ctypes.cast(kept, ctypes.c_void_p).value, 0, m, x0, lower=lower, upper=upper)

    def evaluate(x, weights, out, _kept=kept):
        return call(hessian_by_differences, mode, x, made.data_address, weights, out.reshape(-1))

    return evaluate, made


def in_all_ways(x, weights, lower=None, upper=None):
    """Yield H from the kernel in both modes, from Python, and coloured, each with the points that were evaluated."""
    n = x.size
    for mode in MODES:
        recorded, out = Recorded(), np.zeros((n, n))
        evaluate, made = by_kernel(mode, recorded, x, lower=lower, upper=upper)
        assert evaluate(x, weights, out) == 0
        assert made.jacobian_evaluations == len(recorded.points)
        yield out, recorded.points
    recorded, out = Recorded(), np.zeros((n, n))
    assert difference_hessian(recorded, x, weights, lower, upper, out) == len(recorded.points)
    yield out, recorded.points
    full = SparsityPattern.from_dense(np.ones((4, n)))
    recorded = Recorded(lambda x: csr_array(jacobian(x) + 1e-300))
    colored = ColoredHessian(recorded, full, x, lower=lower, upper=upper)
    values = np.empty(colored.rows.size)
    colored.into(x, weights, values)
    yield csr_array((values, (colored.rows, colored.columns)), shape=(n, n)).toarray(), recorded.points


POINTS = (np.array([0.3, -0.8, 1.1]), np.array([0.0, 0.4, -2e-3]), np.array([-1.0, 0.0, 2.0]))


@pytest.mark.parametrize("x", POINTS, ids=str)
def test_agrees_with_the_formula(x):
    exact = np.tril(hessian(x, WEIGHTS))
    for found, points in in_all_ways(x, WEIGHTS):
        assert len(points) == 4
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


def test_steps_grow_where_rounding_swallows_differences_and_are_remembered():
    x = np.array([0.3, 1e-9, 1.1])
    exact = np.tril(hessian(x, WEIGHTS))
    for mode in MODES:
        recorded = Recorded()
        evaluate, _ = by_kernel(mode, recorded, x)
        for count in (5, 4):
            recorded.points.clear()
            out = np.zeros((3, 3))
            assert evaluate(x, WEIGHTS, out) == 0
            assert len(recorded.points) == count
            np.testing.assert_allclose(out, exact, rtol=1e-4, atol=1e-6)
    full = SparsityPattern.from_dense(np.ones((4, 3)))
    values = np.empty(6)
    for differences in (
        DenseDifferenceHessian(jacobian, x),
        ColoredHessian(lambda x: csr_array(jacobian(x) + 1e-300), full, x),
    ):
        for count in (5, 9):
            if isinstance(differences, ColoredHessian):
                differences.into(x, WEIGHTS, values)
                out = csr_array((values, (differences.rows, differences.columns)), shape=(3, 3)).toarray()
            else:
                out = np.zeros((3, 3))
                differences.into(x, WEIGHTS, out)
            assert differences.jacobian_evaluations == count
            np.testing.assert_allclose(out, exact, rtol=1e-4, atol=1e-6)


def test_parameters_that_are_linear_cost_more_once():
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    x = np.array([0.1, 5.0])
    for mode in MODES:
        evaluate, made = by_kernel(mode, lambda x: matrix, x, m=2)
        for count in (4, 7):
            out = np.zeros((2, 2))
            assert evaluate(x, np.ones(2), out) == 0
            assert made.jacobian_evaluations == count and not out.any()


def test_remembered_step_that_leaves_the_domain_is_forgotten():
    edge = [np.inf]

    def jac(x):
        return np.array([[x[0] if x[0] < edge[0] else np.nan, 1.0]])

    x, w = np.array([1e-3, 2.0]), np.ones(1)
    flat = np.array([[0.0, 1.0]])
    function = [lambda x: flat]
    for mode in MODES:
        function[0] = lambda x: flat
        evaluate, made = by_kernel(mode, lambda x: function[0](x), x, m=1)
        assert evaluate(x, w, np.zeros((2, 2))) == 0  # the step of a flat parameter grows
        function[0], edge[0] = jac, 1e-3 + 1e-9
        out = np.zeros((2, 2))
        assert evaluate(x, w, out) == 0
        np.testing.assert_allclose(out, [[1.0, 0.0], [0.0, 0.0]], rtol=1e-3)
        count = made.jacobian_evaluations
        assert evaluate(x, w, out) == 0 and made.jacobian_evaluations == count + 3
    for make in (
        lambda: DenseDifferenceHessian(lambda x: function[0](x), x),
        lambda: ColoredHessian(
            lambda x: csr_array(function[0](x) + 1e-300), SparsityPattern.from_dense(np.ones((1, 2))), x
        ),
    ):
        function[0] = lambda x: flat
        differences = make()
        out = np.zeros((2, 2)) if isinstance(differences, DenseDifferenceHessian) else np.zeros(3)
        differences.into(x, w, out)
        function[0] = jac
        out[:] = 0.0
        differences.into(x, w, out)
        assert abs(out.reshape(-1)[0] - 1.0) < 1e-3 and np.count_nonzero(np.abs(out) > 1e-6) == 1


def test_nothing_is_evaluated_where_all_weights_are_zero():
    def never(x):
        raise AssertionError

    x, w = np.array([0.3, -0.8, 1.1]), np.zeros(4)
    for mode in MODES:
        evaluate, made = by_kernel(mode, never, x)
        assert evaluate(x, w, np.ones((3, 3))) == 0 and made.jacobian_evaluations == 0
    assert difference_hessian(never, x, w, None, None, np.ones((3, 3))) == 0
    values = np.ones(6)
    ColoredHessian(never, SparsityPattern.from_dense(np.ones((4, 3))), x).into(x, w, values)
    assert not values.any()


def test_kernel_is_its_python_twin_to_the_digit():
    x, results = POINTS[0], []
    for found, _ in in_all_ways(x, WEIGHTS):
        results.append(found)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(results[1], results[2], rtol=1e-9, atol=1e-7)


def test_steps_stay_inside_the_bounds():
    x = np.array([0.3, -0.8, 1.1])
    lower, upper = np.array([0.3 - 1e-3, -0.8, 1.1 - 1e-12]), np.array([0.3, 5.0, 1.1 + 3e-12])
    for found, points in in_all_ways(x, WEIGHTS, lower, upper):
        for point in points:
            assert (lower <= point).all() and (point <= upper).all()
        moved = np.array(points[1:]) - points[0]
        assert moved[0, 0] < 0.0 and moved[1, 1] > 0.0 and moved[2, 2] != 0.0
        exact = hessian(x, WEIGHTS)
        np.testing.assert_allclose(found[:2, :2], np.tril(exact)[:2, :2], rtol=1e-6, atol=1e-6)


def test_fixed_parameter_takes_no_evaluation():
    x = np.array([0.3, -0.8, 1.1])
    lower, upper = np.array([-1.0, -0.8, -1.0]), np.array([1.0, -0.8, 2.0])
    exact = np.tril(hessian(x, WEIGHTS))
    exact[1, 1] = 0.0
    for way, (found, points) in enumerate(in_all_ways(x, WEIGHTS, lower, upper)):
        if way < 3:
            assert len(points) == 3
            np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)
        else:
            kept = [0, 2]
            np.testing.assert_allclose(found[np.ix_(kept, kept)], exact[np.ix_(kept, kept)], rtol=1e-6, atol=1e-6)


def test_is_added_to_the_lower_triangle():
    x, before = POINTS[0], np.arange(9.0).reshape(3, 3)
    exact = before + np.tril(hessian(x, WEIGHTS))
    for mode in MODES:
        evaluate, _ = by_kernel(mode, jacobian, x)
        out = before.copy()
        assert evaluate(x, WEIGHTS, out) == 0
        np.testing.assert_allclose(out, exact, rtol=1e-6)
    out = before.copy()
    difference_hessian(jacobian, x, WEIGHTS, None, None, out)
    np.testing.assert_allclose(out, exact, rtol=1e-6)


def test_nan_passes_and_rows_of_weight_zero_are_left_out():
    def broken(x):
        jac = jacobian(x)
        jac[2, 1] = np.nan
        return jac

    x, without = POINTS[0], WEIGHTS * [1, 1, 0, 1]
    for mode in MODES:
        evaluate, _ = by_kernel(mode, broken, x)
        out = np.zeros((3, 3))
        assert evaluate(x, WEIGHTS, out) == 0
        assert np.isnan(out[1, 1]) and np.isnan(out[1, 0]) and np.isfinite(out[0, 0])
        out = np.zeros((3, 3))
        evaluate(x, without, out)
        np.testing.assert_allclose(out, np.tril(hessian(x, without)), rtol=1e-6)
    out = np.zeros((3, 3))
    difference_hessian(broken, x, WEIGHTS, None, None, out)
    assert np.isnan(out[1, 1]) and np.isfinite(out[0, 0])
    out = np.zeros((3, 3))
    difference_hessian(broken, x, without, None, None, out)
    np.testing.assert_allclose(out, np.tril(hessian(x, without)), rtol=1e-6)
    sparse = ColoredHessian(lambda x: csr_array(broken(x) + 1e-300), SparsityPattern.from_dense(np.ones((4, 3))), x)
    values = np.empty(sparse.rows.size)
    sparse.into(x, without, values)
    assert np.isfinite(values).all()
    sparse.into(x, WEIGHTS, values)
    assert np.isnan(values).any()


@EVERY
@pytest.mark.parametrize("at", [1, 3])
def test_failure_of_the_jacobian_is_reported(mode, at):
    calls = []

    def failing(x):
        calls.append(x)
        if len(calls) == at:
            raise ArithmeticError
        return jacobian(x)

    evaluate, made = by_kernel(mode, failing, POINTS[0])
    assert evaluate(POINTS[0], WEIGHTS, np.zeros((3, 3))) != 0
    assert made.jacobian_evaluations == at


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"shape \(4, 3\), got \(3, 4\)"):
        difference_hessian(lambda x: jacobian(x).T, POINTS[0], WEIGHTS, None, None, np.zeros((3, 3)))


def test_counts_over_calls():
    differences, out = DenseDifferenceHessian(jacobian, POINTS[0]), np.zeros((3, 3))
    differences.into(POINTS[0], WEIGHTS, out)
    differences.into(POINTS[2], WEIGHTS, out)
    assert differences.jacobian_evaluations == 8


# Sparse problems:  r_2i = 10 (x_i+1 - x_i^2 x_0), r_2i+1 = 1 - x_i


def sparse_problem(n):
    i = np.arange(1, n - 1)
    rows = np.concatenate((2 * i - 2, 2 * i - 2, 2 * i - 2, 2 * i - 1))
    columns = np.concatenate((np.zeros_like(i), i, i + 1, i))
    order = np.lexsort((columns, rows))
    indptr = np.searchsorted(rows[order], np.arange(2 * n - 3))

    def jac(x):
        ones = np.ones(n - 2)
        data = np.concatenate((-10 * x[i] ** 2, -20 * x[i] * x[0], 10 * ones, -ones))
        return csr_array((data[order], columns[order], indptr), shape=(2 * n - 4, n))

    def hess(x, w):
        out = np.zeros((n, n))
        out[i, i] = -20 * x[0] * w[2 * i - 2]
        out[i, 0] = -20 * x[i] * w[2 * i - 2]
        return out

    return jac, hess


@pytest.mark.parametrize("n", [3, 12, 60])
def test_coloured_differences(n):
    jac, hess = sparse_problem(n)
    x, w = np.linspace(0.5, 2.0, n), np.sin(np.arange(2.0 * n - 4))
    pattern = SparsityPattern.from_matrix(jac(x))
    colored = ColoredHessian(jac, pattern, x)
    values = np.full(colored.rows.size, np.nan)
    colored.into(x, w, values)
    assert (colored.rows >= colored.columns).all() and colored.rows.dtype == np.int64
    found = csr_array((values, (colored.rows, colored.columns)), shape=(n, n)).toarray()
    np.testing.assert_allclose(found, hess(x, w), rtol=1e-6, atol=1e-6)
    assert colored.jacobian_evaluations == colored.coloring.n_colors + 1
    assert colored.coloring.n_colors <= 5


def test_linear_rows_are_left_out():
    jac, hess = sparse_problem(12)
    x, w = np.linspace(0.5, 2.0, 12), np.ones(20)
    curved = np.arange(20) % 2 == 0
    colored = ColoredHessian(jac, SparsityPattern.from_matrix(jac(x)), x, curved=curved)
    values = np.empty(colored.rows.size)
    colored.into(x, w, values)
    found = csr_array((values, (colored.rows, colored.columns)), shape=(12, 12)).toarray()
    np.testing.assert_allclose(found, hess(x, w), rtol=1e-6, atol=1e-6)


def test_jacobian_of_another_structure_is_refused():
    pattern = SparsityPattern.from_dense([[1, 1], [0, 1]])
    for wrong in ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 0.0]]):
        colored = ColoredHessian(lambda x, wrong=wrong: csr_array(np.array(wrong)), pattern, np.ones(2))
        with pytest.raises(ValueError, match="entries are not those of its pattern"):
            colored.into(np.ones(2), np.ones(2), np.empty(3))


def test_coloured_differences_are_refused_where_they_take_too_many_jacobians():
    jac, _ = sparse_problem(60)
    pattern = SparsityPattern.from_matrix(jac(np.ones(60)))
    assert isinstance(colored_hessian(jac, pattern, np.ones(60)), ColoredHessian)
    assert colored_hessian(jac, pattern, np.ones(60), most_colors=2) is None
    with_sum = np.vstack((pattern.to_dense(), np.ones(60, dtype=bool)))
    full = SparsityPattern.from_dense(with_sum)
    assert colored_hessian(jac, full, np.ones(60), most_colors=59) is None
    curved = np.arange(with_sum.shape[0]) < with_sum.shape[0] - 1
    assert isinstance(colored_hessian(jac, full, np.ones(60), curved=curved, most_colors=10), ColoredHessian)
