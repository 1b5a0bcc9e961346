"""Random expressions and array functions: the interpreted graph of a function equals the function."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special

from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.trace import trace_model, trace_residual

X = np.linspace(-2.0, 3.0, 11)
P = np.array([0.7, -1.3, 2.1, 0.4, -0.9, 1.7, 3.2, -0.2, 0.6, 1.1, -2.4, 0.3])
T = np.linspace(0.1, 2.3, 12)
COUNTS = np.arange(12)
MATRIX = np.cos(np.arange(48.0)).reshape(4, 12)
TABLE = np.arange(24.0).reshape(2, 12)

UNARY = [
    np.exp, np.sin, np.cos, np.tanh, np.arctan, np.abs, np.negative, np.square, np.sign, np.floor, np.ceil, np.trunc,
    np.cbrt, np.arcsinh, np.expm1, np.rint, special.erf, special.expit, np.positive, np.exp2, np.sqrt, np.log, np.log1p,
    np.isnan, np.isfinite, np.logical_not,
]  # fmt: skip
BINARY = [
    np.add, np.subtract, np.multiply, np.divide, np.minimum, np.maximum, np.hypot, np.arctan2, np.copysign, np.less,
    np.greater_equal, np.equal, np.logical_and, np.logical_or, np.fmin, np.fmax, np.logaddexp, np.heaviside,
]  # fmt: skip
LEAVES = st.sampled_from(["x", "a", "b", "c", 0.0, 1.0, -1.0, 2.0, 0.5, 3, math.pi, -0.25, True])


def nested(children):
    return st.one_of(
        st.tuples(st.sampled_from(UNARY), children),
        st.tuples(st.sampled_from(BINARY), children, children),
        st.tuples(st.just(np.where), children, children, children),
        st.tuples(st.just("**"), children, st.sampled_from([0, 1, 2, 3, -1, -2, 0.5, 1.5, 7])),
        st.tuples(st.sampled_from(["+", "*", "/"]), children, children),
    )


EXPRESSIONS = st.recursive(LEAVES, nested, max_leaves=12)
OPERATORS = {"+": lambda u, v: u + v, "*": lambda u, v: u * v, "/": lambda u, v: u / v, "**": lambda u, v: u**v}


def value(expression, names):
    if not isinstance(expression, tuple):
        return names[expression] if isinstance(expression, str) else expression
    operation, *operands = expression
    values = [value(one, names) for one in operands]
    return OPERATORS.get(operation, operation)(*values) if isinstance(operation, str) else operation(*values)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
@example((np.floor, (np.exp2, "x")))
def test_random_expression_has_the_values_of_the_function(expression):
    def function(x, a, b, c):
        return a * x + b + value(expression, {"x": x, "a": a, "b": b, "c": c}) * c

    p = np.array([0.8, -1.7, 2.3])
    with np.errstate(all="ignore"):
        try:
            expected = function(X, *p)
        except (TypeError, ValueError, ZeroDivisionError):  # - of truth values, integers to negative powers, ...
            return
        if np.iscomplexobj(expected):  # a root of a negative number that is no parameter
            return
        try:
            trace = trace_model(function, X, 3)
        except NotTraceable as reason:
            assert any(word in str(reason) for word in ("integers", "truth", "ZeroDivision", "complex", "float16"))
            return
    result = interpret.output(trace, p)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-11)


ARRAY_FUNCTIONS = {
    "slices": lambda p: p[1:] - p[:-1],
    "strides": lambda p: p[::3] * p[1::3],
    "reversed": lambda p: p[::-1] - p,
    "negative_index": lambda p: p[-3] * p[:4],
    "concatenate": lambda p: np.concatenate([p[:3], [1.0, p[0]], p[3:] ** 2]),
    "hstack": lambda p: np.hstack([p[0], p[2:4], 2.0]),
    "vstack": lambda p: np.vstack([p[:6], p[6:], T[:6]]),
    "stack_columns": lambda p: np.stack([p, T, p * T], axis=1),
    "stack_last": lambda p: np.stack([p, T], axis=-1).ravel(),
    "column_stack": lambda p: np.column_stack([p, T, COUNTS]) * p[0],
    "column_stack_product": lambda p: np.column_stack([np.ones(12), T, T**2]) @ p[:3],
    "append": lambda p: np.append(p[:2], p[5]),
    "rows": lambda p: np.r_[p[:3], 0.5, p[3], 1:3],
    "columns": lambda p: np.c_[p, T].sum(axis=1),
    "tile": lambda p: np.tile(p[:3], 4) - p,
    "repeat": lambda p: np.repeat(p[:3], 4) - p,
    "reshape": lambda p: p.reshape(3, 4)[1] * p.reshape(4, 3)[:, 1],
    "reshape_slices": lambda p: (p.reshape(3, 4)[:, 1:] - p.reshape(3, 4)[:, :-1]).ravel(),
    "reshape_of_sum": lambda p: (p[:6] + p[6:]).reshape(2, 3).T.ravel(),
    "transpose": lambda p: (p.reshape(3, 4).T @ p[:3]),
    "new_axes": lambda p: (p[:3, None] * p[None, 3:6]).ravel(),
    "broadcast": lambda p: (MATRIX[:, :3] + p[:3] - p[3:7, None]).ravel(),
    "outer": lambda p: np.outer(p[:3], T[:4]).ravel(),
    "ufunc_outer": lambda p: np.subtract.outer(p[:3], p[3:5]).ravel(),
    "sum": lambda p: p - p.sum(),
    "sum_axis": lambda p: (MATRIX * p).sum(axis=1),
    "sum_axis_zero": lambda p: np.sum(p.reshape(3, 4), axis=0),
    "sum_keepdims": lambda p: (p.reshape(3, 4) - p.reshape(3, 4).sum(axis=1, keepdims=True)).ravel(),
    "mean": lambda p: p - np.mean(p),
    "mean_axis": lambda p: p.reshape(3, 4).mean(axis=1),
    "variance": lambda p: np.array([np.var(p), np.std(p, ddof=1)]),
    "prod": lambda p: np.array([np.prod(p), p.reshape(3, 4).prod(axis=1)[0]]),
    "cumsum": lambda p: np.cumsum(p) * p.cumsum(),
    "cumprod": lambda p: np.cumprod(p),
    "dot": lambda p: np.array([p @ T, np.dot(p, p), np.inner(p, T), np.vdot(T, p)]),
    "matrix": lambda p: MATRIX @ p,
    "matrix_from_left": lambda p: p[:4] @ MATRIX,
    "matrices": lambda p: (MATRIX[:, :3] @ p[:6].reshape(3, 2)).ravel(),
    "matrix_of_parameters": lambda p: (np.array([[p[0], p[1]], [-p[1], p[0]]]) @ TABLE).ravel(),
    "norm": lambda p: np.array([np.linalg.norm(p), np.linalg.norm(p - T, 1)]),
    "norm_axis": lambda p: np.linalg.norm(MATRIX - p, axis=1),
    "diff": lambda p: np.diff(p, n=2),
    "diff_axis": lambda p: np.diff(p.reshape(3, 4), axis=0).ravel(),
    "gradient": lambda p: np.gradient(p, 0.1),
    "roll": lambda p: np.roll(p, 3) + np.roll(p, -1),
    "roll_axis": lambda p: np.roll(p.reshape(3, 4), 1, axis=1).ravel(),
    "flip": lambda p: np.flip(p) * p,
    "flip_axis": lambda p: np.flip(p.reshape(3, 4), axis=1).ravel(),
    "polyval": lambda p: np.polyval(p[:4], T),
    "clip": lambda p: np.clip(p, -1.0, 1.5) + p.clip(0.0, 2.0),
    "select": lambda p: np.select([p < 0.0, p < 1.0], [p**2, p], 3.0),
    "where_nested": lambda p: np.where(p > 1.0, np.log(np.abs(p)), np.where(p > 0.0, p, -1.0)),
    "truth_arithmetic": lambda p: ((p > 0.0) + (p > 1.0)) * p + ((p > 0.0) * (p > 1.0)) + ((p > 0.0) ^ (p > 1.0)),
    "truth_sum": lambda p: p * np.sum(p > 0.0) + (p > 0.5).mean(),
    "picked": lambda p: p[[3, 1, 1, -2]],
    "picked_matrix": lambda p: p[np.array([[0, 3], [5, 7]])].ravel(),
    "picked_pairs": lambda p: p.reshape(3, 4)[[0, 2], [1, 3]],
    "picked_columns": lambda p: p.reshape(3, 4)[:, [3, 0]].ravel(),
    "mask": lambda p: p[T > 1.0],
    "integers": lambda p: p * COUNTS**2 - COUNTS // 2 + p ** (COUNTS % 3),
    "truths_of_data": lambda p: p * (COUNTS > 5) + np.where(COUNTS == 3, p, 0.0),
    "interpolated_data": lambda p: p * np.interp(T, [0.0, 1.0, 3.0], [0.0, 2.0, 5.0]),
    "maximum_of_data": lambda p: p * T / np.max(T) + T.argmax(),
    "sorted_data": lambda p: p * np.sort(np.cos(T))[::-1],
    "rounded_data": lambda p: p * np.round(T, 1),
    "picked_data": lambda p: p[:4] * T[[3, 1, 1, -2]],
    "table_by_data": lambda p: p[COUNTS % 4],
    "gamma": lambda p: special.gamma(p + 0.05) + special.beta(np.abs(p), 1.5),
    "builtins": lambda p: np.array([sum(p), max(p[0], p[1]), min(p[0], p[1], 0.5), abs(p[1]), pow(p[2], 2)]),
    "math": lambda p: np.array([math.exp(p[0]), math.hypot(p[0], p[1]), math.log(p[2], 3), math.pow(p[2], 1.5)]),
    "math_more": lambda p: np.array([math.atan2(p[0], p[1]), math.lgamma(p[2]), math.radians(p[3]), math.gamma(p[2])]),
    "full": lambda p: np.full(3, p[0]) + np.ones(3) * np.full_like(p[:3], 2.0),
    "loops": lambda p: np.array([p[i] * p[j] for i in range(4) for j in range(i)]),
    "unpacked": lambda p: (lambda a, b, *rest: np.array([a, b, *rest]) * a)(*p),
    "complex": lambda p: np.abs((p[0] + 1j * T) ** 2 / (1.0 + 1j * T * p[1])),
    "complex_functions": lambda p: (np.exp(1j * p) * np.sqrt(p + 0.3j) + np.tanh(p - 2j) + np.log(p + 1j)).imag,
    "complex_trigonometric": lambda p: np.real(np.sin(p + 1j) + np.cos(1j * p) * np.tan(p - 0.5j) + np.cosh(p + 1j)),
    "complex_powers": lambda p: ((2.0 + 1j * p) ** 0.5 + (1j * p) ** -2 + (T + 1j) ** p[0]).real,
    "complex_data": lambda p: ((T + 2j * T) * p - np.conj(T * 1j) / p).imag,
    "wofz": lambda p: special.wofz(p + 0.5j).real + special.voigt_profile(T, 0.7, np.abs(p)),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAY_FUNCTIONS)
def test_array_function_has_the_values_of_numpy(name):
    function = ARRAY_FUNCTIONS[name]
    expected = np.asarray(function(P), dtype=float)
    trace = trace_residual(function, 12)
    assert trace.shape == expected.shape
    np.testing.assert_allclose(interpret.output(trace, P), expected.ravel(), rtol=1e-12, atol=1e-13)


def test_ten_thousand_operations():
    def function(x, a, b):
        y = a * x
        for _ in range(5000):
            y = y + b * 0.001
            y = np.sin(y)
        return y[::2] + y[1::2].sum()

    trace = trace_model(function, X[:10], 2)
    p = np.array([0.3, 0.7])
    np.testing.assert_allclose(interpret.output(trace, p), function(X[:10], *p), rtol=1e-12)
    assert np.isfinite(interpret.jacobian(trace, p)).all()


def test_too_many_operations_are_refused():
    def function(p):
        total = p[0]
        for k in range(300_000):
            total = total * p[1] + k
        return total

    with pytest.raises(NotTraceable, match="more than"):
        trace_residual(function, 2)


def test_constants_are_read_when_a_kernel_runs_and_counts_of_points_are():
    first = trace_model(lambda x, a: a * (x - x.mean()) * 2.75, X, 1)
    second = trace_model(lambda x, a: a * (x - x.mean()) * 3.25, X[:7], 1)
    assert first.graph.nodes == second.graph.nodes
    np.testing.assert_allclose(interpret.output(second, P[:1]), P[0] * (X[:7] - X[:7].mean()) * 3.25, rtol=1e-14)


def test_mask_stores_in_a_model():
    def function(x, a, b):
        y = np.empty_like(x)
        low = x < 0.5
        y[low] = a * x[low] ** 2
        y[~low] = b * np.log(x[~low])
        y[x > 2.5] += 1.0
        return y

    p = np.array([0.6, 1.4])
    with np.errstate(all="raise"):
        expected = function(X, *p)
    trace = trace_model(function, X, 2)
    np.testing.assert_allclose(interpret.output(trace, p), expected, rtol=1e-14)
    jac = interpret.jacobian(trace, p)
    with np.errstate(invalid="ignore", divide="ignore"):
        np.testing.assert_allclose(jac[:, 1], np.where(X < 0.5, 0.0, np.log(X)), rtol=1e-14)


class Bell:
    def __init__(self, width):
        self.width = width

    def value(self, x, a, b):
        return helper(x, a, width=self.width) + b


def helper(x, a, *, width=2.0):
    return a * np.exp(-((x / width) ** 2))


def test_methods_partials_defaults_and_inner_functions():
    import functools

    def outer(x, a, b, scale=1.5, *, power=2):
        def inner(u):
            return scale * helper(u, a) ** power + np.array([b]) * Y

        return inner(x)

    p = np.array([0.6, 1.4])
    Y = np.cos(X)
    for function in (outer, Bell(1.3).value, functools.partial(outer, scale=0.7), functools.partial(outer, power=3)):
        np.testing.assert_allclose(interpret.output(trace_model(function, X, 2), p), function(X, *p), rtol=1e-14)


def test_other_data_of_the_same_shape_give_the_same_graph():
    def closure(t, y):
        return lambda p: p[0] * np.exp(-p[1] * t) - y

    one, other = (trace_residual(closure(T * k, T / k), 2) for k in (1.0, 2.0))
    assert one.sees_all and other.sees_all and one.graph.nodes == other.graph.nodes
    by_contents = trace_residual(lambda p: p[0] * T / T.max(), 1)
    assert not by_contents.sees_all


def test_x_in_columns_and_rows():
    rows = np.array([X, X**2])
    columns = np.ascontiguousarray(np.tile(rows, 3).T)
    p = np.array([0.6, 1.4])
    by_rows = trace_model(lambda x, a, b: a * x[0] + b * x[1], rows, 2)
    assert by_rows.variables == 2
    np.testing.assert_allclose(interpret.output(by_rows, p), p @ rows, rtol=1e-14)
    by_columns = trace_model(lambda x, a, b: a * x[:, 0] + b * x[:, 1], columns, 2)
    assert by_columns.variables == 1
    np.testing.assert_allclose(interpret.output(by_columns, p), columns @ p, rtol=1e-14)


def test_tracing_in_threads():
    import threading

    failures = []

    def work(k):
        def function(p):
            r = np.zeros(5)
            for i in range(5):
                r[i] = p[i] * k
            return r

        for _ in range(20):
            values = interpret.output(trace_residual(function, 5), P[:5])
            if not np.allclose(values, k * P[:5]):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures


def test_recursion_of_a_definite_depth():
    def power(u, k):
        return u if k == 1 else u * power(u, k - 1)

    def function(p):
        return power(p, 7)

    np.testing.assert_allclose(interpret.output(trace_residual(function, 12), P), P**7, rtol=1e-14)


def test_numbers_are_bound_anew_and_copies_are_numbers():
    def function(p):
        a = p[0]
        b = +a
        b += p[1]
        c = a.copy()
        c *= 2.0
        return np.array([a, b, c])

    expected = [P[0], P[0] + P[1], 2.0 * P[0]]
    np.testing.assert_allclose(interpret.output(trace_residual(function, 12), P), expected, rtol=1e-15)
