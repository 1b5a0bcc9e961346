"""Derivatives of graphs against mpmath, at kinks against the documented convention, and what they cost."""

import math

import mpmath as mp
import numpy as np
import pytest

from nlsq.compiler import interpret
from nlsq.compiler.differentiate import derivatives, operations, second_derivatives
from nlsq.compiler.graph import OPERATIONS, TRUTHS, Graph, NotTraceable
from nlsq.compiler.tracing.trace import trace_model, trace_residual

LIMIT = 4e-15


def _w(x, y):
    z = mp.mpc(x, y)
    return mp.exp(-z * z) * mp.erfc(-1j * z)


def _copysign(x, y):
    return mp.fabs(x) if y >= 0 else -mp.fabs(x)


# By operation: what it is, and points away from kinks and cancellation.
REFERENCES = {
    "+": (lambda x, y: x + y, [(1.5, 2.25), (-3.0, 0.7)]),
    "-": (lambda x, y: x - y, [(1.5, 2.25), (-3.0, 0.7)]),
    "*": (lambda x, y: x * y, [(1.5, 2.25), (-3.1, 0.7), (1e150, 1e-150)]),
    "/": (lambda x, y: x / y, [(1.5, 2.3), (-3.1, 0.7), (1e-10, 1e10)]),
    "pow": (lambda x, y: mp.power(x, y), [(1.5, 2.3), (0.2, -1.7), (7.3, 0.4), (30.0, 2.5)]),
    "atan2": (lambda y, x: mp.atan2(y, x), [(1.5, 2.3), (-0.3, 4.0), (2.0, -1.1), (-2.0, -0.4)]),
    "hypot": (lambda x, y: mp.hypot(x, y), [(1.5, 2.3), (-0.3, 4.0), (1e4, 2e4)]),
    "minimum": (lambda x, y: x if x <= y else y, [(1.5, 2.3), (2.3, 1.5)]),
    "maximum": (lambda x, y: x if x >= y else y, [(1.5, 2.3), (2.3, 1.5)]),
    "copysign": (_copysign, [(1.5, 2.3), (-1.5, 2.3), (1.5, -0.1), (-2.5, -0.1)]),
    "neg": (lambda x: -x, [(1.7,)]),
    "abs": (mp.fabs, [(1.7,), (-0.3,)]),
    "sqrt": (mp.sqrt, [(1.7,), (1e-12,), (3e200,)]),
    "sign": (mp.sign, [(1.7,), (-0.3,)]),
    "floor": (mp.floor, [(1.7,), (-0.3,)]),
    "exp": (mp.exp, [(1.7,), (-20.3,), (0.001,)]),
    "expm1": (mp.expm1, [(1.7,), (-0.3,), (1e-9,)]),
    "log": (mp.log, [(1.7,), (0.003,), (1e10,)]),
    "log1p": (mp.log1p, [(1.7,), (-0.9,), (1e-9,)]),
    "log2": (lambda x: mp.log(x, 2), [(1.7,), (0.003,), (1e10,)]),
    "log10": (mp.log10, [(1.7,), (0.003,), (1e10,)]),
    "sin": (mp.sin, [(0.7,), (-2.3,), (10.1,)]),
    "cos": (mp.cos, [(0.7,), (-2.3,), (10.1,)]),
    "tan": (mp.tan, [(0.7,), (-2.3,), (1.3,)]),
    "asin": (mp.asin, [(0.7,), (-0.2,), (0.999,)]),
    "acos": (mp.acos, [(0.7,), (-0.2,), (-0.999,)]),
    "atan": (mp.atan, [(0.7,), (-20.0,), (1e-5,)]),
    "sinh": (mp.sinh, [(0.7,), (-5.0,), (1e-5,)]),
    "cosh": (mp.cosh, [(0.7,), (-5.0,), (0.1,)]),
    "tanh": (mp.tanh, [(0.7,), (-5.0,), (12.0,)]),
    "asinh": (mp.asinh, [(0.7,), (-50.0,), (1e-5,)]),
    "acosh": (mp.acosh, [(1.7,), (50.0,), (1.001,)]),
    "atanh": (mp.atanh, [(0.7,), (-0.2,), (0.999,)]),
    "cbrt": (mp.cbrt, [(1.7,), (0.003,), (1e10,)]),
    "erf": (mp.erf, [(0.7,), (-1.5,), (2.0,)]),
    "erfc": (mp.erfc, [(0.7,), (-1.5,), (2.0,)]),
    "expit": (lambda x: 1 / (1 + mp.exp(-x)), [(0.7,), (-20.0,), (5.0,)]),
    "gammaln": (lambda x: mp.log(mp.gamma(x)), [(0.7,), (3.3,), (25.0,)]),
    "digamma": (mp.digamma, [(0.7,), (3.3,), (25.0,)]),
    "trigamma": (lambda x: mp.psi(1, x), [(0.7,), (3.3,), (25.0,)]),
    "wofz_real": (lambda x, y: mp.re(_w(x, y)), [(0.2, 0.1), (-0.3, 0.2), (0.4, 0.15)]),
    "wofz_imag": (lambda x, y: mp.im(_w(x, y)), [(0.2, 0.1), (-0.3, 0.2), (0.4, 0.15)]),
    "where": (lambda c, x, y: x if c else y, [(1.0, 2.0, 3.0), (0.0, 2.0, 3.0)]),
    "<": (lambda x, y: mp.mpf(x < y), [(1.0, 2.0), (2.0, 1.0)]),
    "<=": (lambda x, y: mp.mpf(x <= y), [(1.0, 2.0), (1.0, 1.0)]),
    ">": (lambda x, y: mp.mpf(x > y), [(1.0, 2.0), (2.0, 1.0)]),
    ">=": (lambda x, y: mp.mpf(x >= y), [(1.0, 2.0), (1.0, 1.0)]),
    "==": (lambda x, y: mp.mpf(x == y), [(1.0, 2.0), (1.0, 1.0)]),
    "!=": (lambda x, y: mp.mpf(x != y), [(1.0, 2.0), (1.0, 1.0)]),
    "and": (lambda x, y: mp.mpf(bool(x) and bool(y)), [(1.0, 0.0), (1.0, 1.0)]),
    "or": (lambda x, y: mp.mpf(bool(x) or bool(y)), [(1.0, 0.0), (0.0, 0.0)]),
    "not": (lambda x: mp.mpf(not x), [(1.0,), (0.0,)]),
}


def graph_of(operation, count):
    graph = Graph(count)
    leaves = [graph.leaf(("parameter", j), ()) for j in range(count)]
    return graph, leaves, graph.apply(operation, *leaves)


def evaluated(graph, nodes, point):
    return [float(one) for one in interpret.evaluate(graph, nodes, np.array(point), graph.data)]


def close(found, expected, limit=LIMIT):
    return abs(mp.mpf(found) - expected) <= limit * abs(expected)


def test_every_operation_has_a_reference():
    assert set(REFERENCES) == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_value_and_derivatives_agree_with_mpmath(operation):
    reference, points = REFERENCES[operation]
    count = OPERATIONS[operation]
    with mp.workdps(50):
        for point in points:
            graph, leaves, root = graph_of(operation, count)
            exact = [mp.mpf(one) for one in point]
            assert close(evaluated(graph, [root], point)[0], reference(*exact))
            if operation in TRUTHS or operation == "trigamma":
                continue
            slopes = derivatives(graph, root)
            for j, leaf in enumerate(leaves):
                if operation == "where" and j == 0:
                    assert leaf not in slopes
                    continue
                order = tuple(int(k == j) for k in range(count))
                expected = mp.diff(reference, tuple(exact), order) if count > 1 else mp.diff(reference, exact[0])
                found = evaluated(graph, [slopes[leaf]], point)[0] if leaf in slopes else 0.0
                assert abs(mp.mpf(found) - expected) <= LIMIT * abs(expected) + mp.mpf(10) ** -18, (point, j)


def test_truth_values_have_no_derivatives():
    for operation in TRUTHS:
        graph, _, root = graph_of(operation, OPERATIONS[operation])
        assert derivatives(graph, root) == {}


def test_trigamma_is_the_last_derivative():
    graph, _, root = graph_of("trigamma", 1)
    with pytest.raises(NotTraceable, match="trigamma"):
        derivatives(graph, root)


KINKS = {
    "abs": [((0.0,), (0.0,))],
    "sign": [((0.0,), (0.0,))],
    "floor": [((2.0,), (0.0,))],
    "minimum": [((1.0, 1.0), (1.0, 0.0))],
    "maximum": [((1.0, 1.0), (1.0, 0.0))],
    "sqrt": [((0.0,), (0.0,))],
    "cbrt": [((0.0,), (0.0,))],
    "asin": [((1.0,), (0.0,)), ((-1.0,), (0.0,))],
    "acos": [((1.0,), (0.0,)), ((-1.0,), (0.0,))],
    "acosh": [((1.0,), (0.0,))],
    "hypot": [((0.0, 0.0), (0.0, 0.0))],
    "atan2": [((0.0, 0.0), (0.0, 0.0))],
    "pow": [((0.0, 2.5), (0.0, 0.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0, 0.5), (0.0, 0.0))],
    "tanh": [((800.0,), (0.0,)), ((-800.0,), (0.0,))],
    "expit": [((800.0,), (0.0,)), ((-800.0,), (0.0,))],
    "erf": [((40.0,), (0.0,))],
}


@pytest.mark.parametrize("operation", KINKS)
def test_kinks_and_ends_have_the_documented_derivative(operation):
    for point, expected in KINKS[operation]:
        graph, leaves, root = graph_of(operation, len(point))
        slopes = derivatives(graph, root)
        nodes = [slopes.get(leaf, graph.number(0.0)) for leaf in leaves]
        assert evaluated(graph, nodes, point) == list(expected)


X = np.linspace(0.0, 3.0, 7)


def test_a_branch_that_is_not_taken_does_not_spoil_the_derivative():
    def model(x, a, b):
        low = np.where(x > 0.0, a * np.log(x) * b, b * x)
        return np.minimum(low, a / x) + np.where(x > 1.0, np.sqrt(x - 1.0) * a, np.sqrt(1.0 - x) * b)

    p = np.array([0.7, 1.3])
    jac = interpret.jacobian(trace_model(model, X, 2), p)
    assert np.isfinite(jac).all()
    with np.errstate(all="ignore"):
        inner = np.where(X > 0.0, p[0] * np.log(X) * p[1], p[1] * X)
        first = inner <= p[0] / X
        by_a = np.where(first, np.where(X > 0.0, np.log(X) * p[1], 0.0), 1.0 / X)
        by_b = np.where(first, np.where(X > 0.0, p[0] * np.log(X), X), 0.0)
        by_a += np.where(X > 1.0, np.sqrt(X - 1.0), 0.0)
        by_b += np.where(X > 1.0, 0.0, np.sqrt(1.0 - X))
    np.testing.assert_allclose(jac, np.array([by_a, by_b]).T, rtol=1e-14, atol=1e-15)


def test_what_is_used_in_a_branch_and_outside_of_it():
    def model(x, a, b):
        shared = np.exp(a * x) + b
        y = np.where(x > 1.0, shared**2, np.sin(shared))
        z = np.where(x > 2.0, np.where(x > 1.0, y * shared, 1.0), y)
        return z * shared

    p = np.array([0.3, 0.2])
    jac = interpret.jacobian(trace_model(model, X, 2), p)
    h = 1e-20
    for j in range(2):
        q = p.astype(complex)
        q[j] += 1j * h
        np.testing.assert_allclose(jac[:, j], model(X, *q).imag / h, rtol=1e-13)


def test_roots_of_data_that_are_zero():
    def model(x, a, b):
        return np.sqrt(a * x) + np.cbrt(x * b) + (a * x) ** b + np.arccosh(1.0 + b * x) + np.hypot(a * x, b * x)

    jac = interpret.jacobian(trace_model(model, X, 2), np.array([0.7, 0.4]))
    assert np.isfinite(jac).all() and (jac[0] == 0.0).all()


COMPOSITES = [
    lambda a, b, c: a * b * c + a**3 / b,
    lambda a, b, c: mp_or_np("exp", -a * b) * mp_or_np("sin", c * a),
    lambda a, b, c: mp_or_np("log", a * a + b * b + c),
    lambda a, b, c: mp_or_np("sqrt", 1.0 + a * b) / (1.0 + c * c),
    lambda a, b, c: mp_or_np("tanh", a - b) * mp_or_np("atan", b * c),
    lambda a, b, c: (1.0 + a * b) ** c,
    lambda a, b, c: mp_or_np("exp", -((a - b) ** 2) / c) + a * c,
    lambda a, b, c: mp_or_np("cosh", a * 0.5) * mp_or_np("cos", b) ** 2 - c / a,
    lambda a, b, c: mp_or_np("sinh", a) / mp_or_np("log", 3.0 + b) + mp_or_np("asinh", c * b),
    lambda a, b, c: mp_or_np("gammaln", 1.0 + a) * mp_or_np("erf", b) + mp_or_np("expit", c * a),
]
NUMPY_NAMES = {"atan": "arctan", "asinh": "arcsinh"}


def mp_or_np(name, x):
    """Return a function of a symbolic number or of one of mpmath."""
    if isinstance(x, mp.mpf):
        return {"gammaln": mp.loggamma, "expit": lambda u: 1 / (1 + mp.exp(-u))}.get(name, getattr(mp, name, None))(x)
    return x.apply(name, x)


@pytest.mark.parametrize("k", range(len(COMPOSITES)))
def test_second_derivatives_agree_with_mpmath(k):
    function = COMPOSITES[k]
    trace = trace_residual(lambda p: [function(p[0], p[1], p[2])], 3)
    graph, root = trace.graph, trace.segments[0].node
    if graph.shapes[root]:
        root = graph.move(root, (), ((0, 0, None),))
    found = second_derivatives(graph, root)
    point = (0.7, 1.3, 0.4)
    places = {(graph.nodes[i][1], graph.nodes[j][1]): node for (i, j), node in found.items()}
    assert all(i <= j for i, j in places)
    with mp.workdps(40):
        exact = tuple(mp.mpf(one) for one in point)
        for i in range(3):
            for j in range(i, 3):
                order = tuple((k == i) + (k == j) for k in range(3))
                expected = mp.diff(function, exact, order)
                value = evaluated(graph, [places[i, j]], point)[0] if (i, j) in places else 0.0
                assert abs(value - expected) <= 2e-14 * abs(expected) + mp.mpf(10) ** -14, (i, j)


def test_second_derivatives_are_refused_where_there_are_none():
    graph, _, root = graph_of("digamma", 1)
    with pytest.raises(NotTraceable, match="trigamma"):
        second_derivatives(graph, root)


def test_second_derivatives_take_slices_and_sums_as_leaves():
    trace = trace_residual(lambda p: p[:-1] * p[1:] * p.sum() ** 2, 3)
    graph, root = trace.graph, trace.segments[0].node
    found = {
        tuple(graph.nodes[leaf][:2] for leaf in pair): node for pair, node in second_derivatives(graph, root).items()
    }
    here, following = ("parameters", 0), ("parameters", 1)
    (total,) = [graph.nodes[leaf][:2] for leaf in graph.elementwise(root) if graph.nodes[leaf][0] == "sum"]
    assert set(found) == {(here, following), (here, total), (following, total), (total, total)}
    p = np.array([2.0, 3.0, 5.0])
    values = interpret.evaluate(graph, list(found.values()), p, [])
    expected = {
        (here, following): 100.0,
        (here, total): 20.0 * p[1:],
        (following, total): 20.0 * p[:-1],
        (total, total): 2.0 * p[:-1] * p[1:],
    }
    for pair, value in zip(found, values, strict=True):
        np.testing.assert_allclose(value, expected[pair], rtol=1e-15)


def product(p):
    return [np.prod(p)]


def composition(p):
    y = 0.3
    for k in range(12):
        y = np.sin(p[(2 * k) % p.size] * y + p[(2 * k + 1) % p.size])
    return [y]


def long_composition(p):
    y = 0.3
    for k in range(0, p.size - 1, 2):
        y = np.sin(p[k] * y + p[k + 1])
    return [y]


def cost_ratio(function, n):
    trace = trace_residual(function, n)
    graph, root = trace.graph, trace.segments[0].node
    value = operations(graph, [root])
    return operations(graph, [root, *derivatives(graph, root).values()]) / value, value


@pytest.mark.parametrize("n", [5, 50, 500])
@pytest.mark.parametrize("function", [product, composition, long_composition])
def test_expressions_do_not_swell(function, n):
    ratio, value = cost_ratio(function, n)
    print(f"{function.__name__} n={n}: {value} operations, value and gradient {ratio:.2f} times as many")
    assert ratio <= 5.0
    assert value <= 2 * n + 48  # the value itself is recorded once


def test_one_common_condition_costs_little():
    def model(x, a, b, c, d):
        e = np.exp(a * x) * np.sin(b * x)
        return np.where(x > 1.0, e * c + d, e * d - c)

    trace = trace_model(model, X, 4)
    graph, root = trace.graph, trace.segments[0].node
    value = operations(graph, [root])
    assert operations(graph, [root, *derivatives(graph, root).values()]) <= 5 * value


def test_forward_and_reverse_agree():
    def function(x, a):
        y = a
        for _ in range(4):
            y = np.where(y > x, np.sin(y * x), np.exp(-y) + x)
        return y * np.minimum(y, x)

    trace = trace_model(function, X, 1)
    p = np.array([0.6])
    h = 1e-7
    expected = (function(X, p[0] + h) - function(X, p[0] - h)) / (2 * h)
    np.testing.assert_allclose(interpret.jacobian(trace, p)[:, 0], expected, rtol=1e-6, atol=1e-8)


def test_sums_have_the_gradients_of_what_they_sum():
    t = np.linspace(0.0, 1.0, 9)

    def residual(p):
        mean = np.mean(p**2)
        return np.concatenate([p * mean, [np.sum(np.exp(-t * p[0])) * p[1]]])

    p = np.array([0.3, -1.2, 2.0, 0.7])
    jac = interpret.jacobian(trace_residual(residual, 4), p)
    expected = np.zeros((5, 4))
    expected[:4] = np.eye(4) * np.mean(p**2) + np.outer(p, p) / 2.0
    decay = np.exp(-t * p[0])
    expected[4, :2] = -np.sum(t * decay) * p[1], decay.sum()
    np.testing.assert_allclose(jac, expected, rtol=1e-14)


def test_a_derivative_of_a_constant_is_none():
    trace = trace_model(lambda x, a: 0.0 * x + np.sign(a) * 0.0 + x, X, 1)
    assert (interpret.jacobian(trace, np.array([2.0])) == 0.0).all()
    assert math.isfinite(interpret.output(trace, np.array([2.0])).sum())


def test_choices_inside_each_other():
    def model(x, *heights):
        y = 0.0
        for k, height in enumerate(heights):
            y = np.where(x > 0.4 * k, height * x, y)
        return y

    for count in (10, 200):
        p = np.cos(np.arange(float(count)))
        jac = interpret.jacobian(trace_model(model, X, count), p)
        taken = np.minimum(np.ceil(X / 0.4) - 1, count - 1).astype(int)
        expected = np.zeros((X.size, count))
        expected[np.arange(X.size)[X > 0], taken[X > 0]] = X[X > 0]
        np.testing.assert_allclose(jac, expected, rtol=1e-14)
    trace = trace_model(model, X, 400)
    with pytest.raises(NotTraceable, match="inside each other"):
        derivatives(trace.graph, trace.segments[0].node)
