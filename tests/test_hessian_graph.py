"""Second derivatives of traced functions: graphs against differences of Jacobians, kernels against the graphs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references.hessians import PLAIN, by_differences, close, dense, random_weights, sparse
from scipy.special import gammaln

from benchmarks.problems.residual_zoo import RESIDUAL_CASES
from nlsq.compiler import interpret
from nlsq.compiler.compile import Binding, kernels_of
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.sparse_hessian_source import values_of
from nlsq.compiler.tracing.trace import trace_model, trace_residual
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.backend.program import PREDICTORS, RESPONSE, WEIGHTS

needs_kernels = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")
FIVE = np.array([0.3, 0.9, -0.4, 1.2, 0.7])


def chained(x):
    here, before, after = x[1:-1], x[:-2], x[2:]
    waves = np.sin(here - after) * np.sin(here + after)
    return 3.0 * here**3 + 2.0 * after - 5.0 + waves + 4.0 * here - before * np.exp(before - here) - 3.0


def by_loop(x):
    rows = []
    for k in range(4):
        rows.append(np.exp(x[k] * x[k + 1]) - x[k] ** 3)
    return np.array(rows)


def recurrence(x):
    y, rows = 1.0, []
    for _ in range(6):
        y = y + 0.1 * (x[1] * np.sin(x[2] * y) - x[0] * y**2)
        rows.append(y)
    return rows


DATA = np.linspace(0.5, 1.5, 4)

# functions of five parameters, and whether their second derivatives are sparse: rows are linear in sums
FUNCTIONS = {
    "scalars": (lambda x: [1.0 - x[0] ** 2 / 4.0 - x[1] ** 2, x[0] - 2.0 * x[1] + 1.0, np.prod(x)], True),
    "a single number": (lambda x: x[0] ** 2 * x[3] - np.sin(x[0] * x[1]), True),
    "tuple": (lambda x: (np.exp(x[0] * x[4]), x[1] ** 1.5), True),
    "slices": (lambda x: x[1:] ** 3 - x[:-1] * x[1:] ** 2, True),
    "chained": (chained, True),
    "loop": (by_loop, True),
    "recurrence": (recurrence, True),
    "reversed": (lambda x: x * x[::-1] ** 2, True),
    "every second": (lambda x: x[:3] * x[::2] ** 2, True),
    "first times slices": (lambda x: x[0] * x[1:] ** 2 * x[2], True),
    "outer product": (lambda x: (x[:, None] * np.exp(x[None, :])).ravel(), True),
    "repeated along the last axis": (lambda x: (x[:3, None] * np.exp(x[3, None] * x[None, :2])).ravel(), True),
    "data": (lambda x: np.cos(DATA * x[:-1]) * x[4] + np.hypot(x[1:], DATA), True),
    "choice": (lambda x: np.where(x > 0.5, x**3, np.sin(x) * x[0]) + np.maximum(x, x[1] ** 2), True),
    "guarded": (lambda x: np.where(x > 0.0, x * np.log(np.where(x > 0.0, x, 1.0)), 0.0), True),
    "gamma": (lambda x: gammaln(2.0 + x) * x[0] + gammaln(1.5 - x[1] * x[3]), True),
    "functions": (lambda x: np.arctan2(x[1:], 2.0 + x[:-1]) + np.tanh(x[1:]) * np.sqrt(1.0 + x[1:] ** 2), True),
    "sum of squares": (lambda x: np.array([np.sum(x**2) - 1.0, np.sum(x) * 2.0]), True),
    "sum over a grid": (lambda x: np.sum(x[:, None] * np.exp(x[None, :2])), True),
    "rows by a sum": (lambda x: x * np.sum(x**2), False),
    "sums by sums": (lambda x: np.sum(x**2) * np.sum(np.sin(x)) * x[1:] + np.sum(x) ** 2, False),
    "a sum's function": (lambda x: np.exp(-np.sum(x**2)) + x[2] * np.sum(x[:3]), False),
    "a sum of a sum": (lambda x: np.exp(-np.sum(0.1 * x**2 + np.sum(np.sin(x)))) * x, False),
    "sums inside sums": (lambda x: np.log(np.sum(np.exp(x * np.sum(x**2)) * x[1] ** 2)) * x[:-1], False),
    "repeated in a sum": (lambda x: np.sum(x[:3, None] * np.exp(x[3] * x[None, :])) ** 2 * x, False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_graphs_agree_with_differences(name):
    trace = trace_residual(FUNCTIONS[name][0], 5)
    weights = random_weights(trace.m)
    found = interpret.hessian(trace, weights, FIVE)
    assert (found == found.T).all() or np.allclose(found, found.T, rtol=1e-14)
    close(found, by_differences(trace, weights, FIVE), 2e-8)


@needs_kernels
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_agree_with_graphs(name):
    function, is_sparse = FUNCTIONS[name]
    trace = trace_residual(function, 5)
    weights = random_weights(trace.m)
    expected = interpret.hessian(trace, weights, FIVE)
    close(dense(trace, weights, FIVE), expected)
    if is_sparse:
        close(sparse(trace, weights, FIVE), expected)
    else:
        with pytest.raises(NotTraceable, match="not linear in a sum"):
            sparse(trace, weights, FIVE)


@pytest.mark.parametrize("case", RESIDUAL_CASES, ids=lambda case: case.name)
def test_graphs_of_the_zoo_agree_with_differences(case):
    try:
        trace = trace_residual(case.function, case.n)
    except NotTraceable:
        pytest.skip("it has no graph")
    weights, p = random_weights(trace.m), case.x0 + 1e-3 * random_weights(case.n)
    close(interpret.hessian(trace, weights, p), by_differences(trace, weights, p), 1e-6)


@needs_kernels
@pytest.mark.parametrize("case", RESIDUAL_CASES[::4], ids=lambda case: case.name)
def test_kernels_of_the_zoo_agree_with_graphs(case):
    try:
        trace = trace_residual(case.function, case.n)
    except NotTraceable:
        pytest.skip("it has no graph")
    weights, p = random_weights(trace.m), case.x0 + 1e-3 * random_weights(case.n)
    close(dense(trace, weights, p), interpret.hessian(trace, weights, p))


BINARY = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (2.0 + b * b),
    np.hypot,
    np.maximum,
    np.minimum,
    lambda a, b: np.where(a > b, a * a, b * a),
    lambda a, b: (1.5 + a * a) ** (0.5 * b),
]
UNARY = [
    np.sin,
    np.tanh,
    np.arctan,
    lambda a: np.exp(-a * a),
    lambda a: np.sqrt(1.0 + a * a),
    lambda a: np.log1p(a * a),
    lambda a: a**3,
    lambda a: np.sum(a) * a,
    lambda a: a + np.sum(a * a) / 7.0,
]
PARTS = [
    lambda x: x[:-2],
    lambda x: x[1:-1],
    lambda x: x[2:],
    lambda x: x[-3::-1],
    lambda x: x[0],
    lambda x: x[3],
    lambda x: np.array([0.7, -0.3, 1.1]),
]
EXPRESSIONS = st.recursive(
    st.sampled_from(PARTS).map(lambda leaf: ("leaf", leaf)),
    lambda inner: st.one_of(st.tuples(st.sampled_from(UNARY), inner), st.tuples(st.sampled_from(BINARY), inner, inner)),
    max_leaves=8,
)


def built(expression, x):
    if expression[0] == "leaf":
        return expression[1](x)
    return expression[0](*[built(one, x) for one in expression[1:]])


@settings(max_examples=120, deadline=None, derandomize=True)
@given(EXPRESSIONS, EXPRESSIONS)
def test_graphs_of_random_functions_agree_with_differences(first, second):
    trace = trace_residual(lambda x: np.concatenate([x[:1], built(first, x) + x[2:], [np.sum(built(second, x))]]), 5)
    weights = random_weights(trace.m)
    found, expected = interpret.hessian(trace, weights, FIVE), by_differences(trace, weights, FIVE)
    close(found, expected, 1e-5)


def peak(x, height, centre, width, offset):
    return height * np.exp(-0.5 * ((x - centre) / width) ** 2) + offset


@needs_kernels
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 7, 8, 9, 100])
def test_curves_of_every_length(m, weighted):
    x, p, weights = np.linspace(-1.0, 2.0, m), np.array([1.5, 0.3, 0.8, 0.1]), random_weights(m)
    own = np.linspace(0.5, 2.0, m)
    trace = trace_model(peak, x, 4)
    variant = Variant(weighted=weighted)
    binding = Binding(kernels_of(trace), trace, variant)
    for place, array in ((PREDICTORS, x), (RESPONSE, x), (WEIGHTS, own)):
        binding.table[place] = address_of_array(array)
    expected = interpret.hessian(trace, weights * own if weighted else weights, p, [x])
    close(expected, by_differences(trace, weights * own if weighted else weights, p, [x]), 1e-7)
    close(dense(trace, weights, p, variant, binding), expected)
    close(sparse(trace, weights, p, variant, binding), expected)


ROOTS = 2.0 * 2.0**0.5 + 3.0**0.5


def by_points(x, a, b):
    return b * np.sqrt(a * x)


def one_by_one(x, a, b):
    return np.array([np.sqrt(a * x[0]), a * b])


@needs_kernels
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (by_points, [[-0.25 * 0.7 * ROOTS / 1.5**1.5, 0.5 * ROOTS / 1.5**0.5], [0.5 * ROOTS / 1.5**0.5, 0.0]]),
        (one_by_one, [[0.0, 2.0], [2.0, 0.0]]),
    ],
)
def test_rows_that_are_left_out_have_no_part_even_if_they_have_no_value(function, expected):
    x, p, own = np.array([-1.0, 2.0, 3.0]), np.array([1.5, 0.7]), np.array([0.0, 2.0, 1.0])
    trace, variant = trace_model(function, x, 2), Variant(weighted=True, omits=True)
    binding = Binding(kernels_of(trace), trace, variant)
    for place, array in ((PREDICTORS, x), (RESPONSE, x), (WEIGHTS, own)):
        binding.table[place] = address_of_array(array)
    close(dense(trace, np.ones(trace.m), p, variant, binding), np.array(expected))
    close(sparse(trace, np.ones(trace.m), p, variant, binding), np.array(expected))


@needs_kernels
def test_nan_comes_through_to_the_entries_that_it_belongs_to():
    trace = trace_residual(lambda x: [np.log(x[0]) * x[1], x[2] ** 3], 3)
    found = dense(trace, np.ones(2), np.array([-1.0, 1.0, 2.0]))
    assert found[0, 0] == -1.0
    assert np.isfinite(found[2]).all()
    trace = trace_residual(lambda x: np.sqrt(x) * x[0], 3)
    found = dense(trace, np.ones(3), np.array([1.0, -1.0, 2.0]))
    assert np.isnan(found[1, 1])
    assert np.isnan(found[1, 0])
    assert np.isfinite(found[[0, 2]][:, [0, 2]]).all()
    found = dense(trace, np.array([1.0, np.nan, 1.0]), np.array([1.0, 1.0, 2.0]))
    assert np.isnan(found[1, 1])
    assert np.isfinite(found[2, 2])


@needs_kernels
def test_zero_second_derivatives_are_known_and_cost_nothing():
    matrix = np.arange(6.0).reshape(2, 3)
    for function in (lambda x: x * 3.0 - 1.0, lambda x: [x[0] - 2.0 * x[1] + 1.0, np.sum(x)], lambda x: matrix @ x):
        trace = trace_residual(function, 3)
        kernels = kernels_of(trace)
        assert kernels.second(PLAIN).parts == []
        assert not (kernels.program("hessian", PLAIN).steps or kernels.program("hessian", PLAIN).writes)
        assert (dense(trace, np.ones(trace.m), np.ones(3)) == 0.0).all()
        assert (sparse(trace, np.ones(trace.m), np.ones(3)) == 0.0).all()
    trace = trace_residual(lambda x: x**2 + x[0], 3)
    assert [(block.is_total, block.pair[0] == block.pair[1]) for block in kernels_of(trace).hessian_blocks(PLAIN)] == [
        (False, True)  # the diagonal alone
    ]


@needs_kernels
@pytest.mark.parametrize("values", [(1200.0, 1500.0), (1500.0, 1200.0)])
def test_functions_of_one_structure_share_kernels_whatever_their_numbers(values):
    """The second derivative of 600 x**2 is a number that may be one of the function's own numbers, or not."""
    p = np.array([0.3, 0.8])
    traces = [trace_residual(lambda x, c=c: 600.0 * x**2 + c * np.exp(x), 2) for c in values]
    assert kernels_of(traces[0]) is kernels_of(traces[1])
    for c, trace in zip(values, traces, strict=True):
        close(dense(trace, np.ones(2), p), np.diag(1200.0 + c * np.exp(p)))


@needs_kernels
def test_one_kernel_serves_all_lengths():
    data = {length: np.linspace(1.0, 2.0, length) for length in (4, 40)}
    traces = {
        length: trace_residual(lambda x, d=d: np.sum(np.exp(x[0] * d) * x[1]) ** 2 + d * x[0] * x[2], 3)
        for length, d in data.items()
    }
    assert kernels_of(traces[4]) is kernels_of(traces[40])
    for trace in traces.values():
        weights, p = random_weights(trace.m), np.array([0.2, 0.5, 0.7])
        close(dense(trace, weights, p), interpret.hessian(trace, weights, p))


@needs_kernels
def test_single_rows_and_repeated_numbers_do_not_share_kernels():
    traces = [trace_residual(lambda x, k=k: np.full(k, x[0] ** 2), 3) for k in (1, 4)]
    for trace in traces:
        weights = random_weights(trace.m)
        close(dense(trace, weights, np.ones(3)), np.diag([2.0 * weights.sum(), 0.0, 0.0]))


@needs_kernels
def test_sparse_values_where_two_leaves_are_one_parameter():
    trace = trace_residual(lambda x: x[:3] * x[::2], 5)
    made = values_of(kernels_of(trace).hessian_blocks(PLAIN), trace)
    assert made.rows.tolist() == [0, 2, 4]
    assert made.columns.tolist() == [0, 1, 2]
    assert made.doubled.tolist() == [0]
    close(sparse(trace, np.array([3.0, 5.0, 7.0]), FIVE)[:, :2], np.array([[6.0, 0], [0, 0], [0, 5], [0, 0], [0, 0]]))
