"""A graph evaluated by NumPy, node by node: slow, obvious, and needing no compiler.

It is what a model that was loaded from a file runs on in Python, and what tests compare kernels and functions with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nlsq.compiler.differentiate import derivatives
from nlsq.compiler.graph import FloatArray, Graph, Shape
from nlsq.compiler.second_derivatives import second_order
from nlsq.compiler.tracing.trace import Trace


def _special(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*arguments)

    return call


def _faddeeva(part: str) -> Callable[..., Any]:
    return lambda x, y: getattr(_special("wofz")(np.asarray(x) + 1j * np.asarray(y)), part)


_NUMPY: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "pow": np.power, "atan2": np.arctan2,
    "hypot": np.hypot, "minimum": np.minimum, "maximum": np.maximum, "copysign": np.copysign, "neg": np.negative,
    "abs": np.abs, "sqrt": np.sqrt, "sign": np.sign, "floor": np.floor, "exp": np.exp, "expm1": np.expm1,
    "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "cbrt": np.cbrt, "erf": _special("erf"),
    "erfc": _special("erfc"), "expit": _special("expit"), "gammaln": _special("gammaln"),
    "digamma": _special("digamma"), "trigamma": lambda x: _special("polygamma")(1, x),
    "wofz_real": _faddeeva("real"), "wofz_imag": _faddeeva("imag"), "where": np.where,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip


def evaluate(graph: Graph, roots: Sequence[int], p: FloatArray, data: Sequence[FloatArray]) -> list[Any]:
    """Return the values of nodes.

    Parameters
    ----------
    graph : Graph
        Expressions.
    roots : sequence of int
        Nodes.
    p : ndarray, shape (n,)
        Parameters.
    data : sequence of ndarray
        Arrays by slot.
    """
    values: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for index in graph.reachable(roots):
            values[index] = _value(graph, index, values, p, data)
    return [values[root] for root in roots]


def _value(graph: Graph, index: int, values: dict[int, Any], p: FloatArray, data: Sequence[FloatArray]) -> Any:
    node, shape = graph.nodes[index], graph.shapes[index]
    operation = node[0]
    if operation == "number":
        return node[1]
    if operation == "constant":
        return graph.constants[node[1]]
    if operation == "parameter":
        return p[node[1]]
    if operation == "parameters":
        return _view(p, node[1], node[2], shape)
    if operation == "data":
        return _view(data[node[1]].ravel(), node[2], node[3], shape)
    if operation == "sum":
        return np.sum(np.broadcast_to(values[node[1]], graph.shapes[node[1]]))
    return _NUMPY[operation](*(values[operand] for operand in node[1:]))


def _view(array: Any, offset: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    if not shape:
        return array[offset]
    index: Any = offset
    for axis, (stride, length) in enumerate(zip(strides, shape, strict=True)):
        steps = stride * np.arange(length)
        index = index + steps.reshape(-1, *(1,) * (len(shape) - 1 - axis))
    return array[np.broadcast_to(index, shape)]


def output(trace: Trace, p: FloatArray, data: Sequence[FloatArray] | None = None) -> FloatArray:
    """Return what the traced function returns at `p`, flat."""
    result = np.full(trace.m, np.nan)
    arrays = trace.graph.data if data is None else data
    nodes = [segment.node for segment in trace.segments]
    for segment, value in zip(trace.segments, evaluate(trace.graph, nodes, p, arrays), strict=True):
        shape = segment.shape or (1,)
        place = _places(segment.offset, segment.strides or (1,), shape)
        result[place] = np.broadcast_to(value, shape)
    return result


def _places(offset: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    index = np.indices(shape)
    return offset + np.tensordot(np.array(strides), index, axes=1)


def jacobian(trace: Trace, p: FloatArray, data: Sequence[FloatArray] | None = None) -> FloatArray:
    """Return the dense Jacobian of the traced function at `p`, shape (m, n)."""
    graph = trace.graph
    arrays = graph.data if data is None else data
    result = np.zeros((trace.m, graph.n))
    for segment in trace.segments:
        shape = segment.shape or (1,)
        rows = _places(segment.offset, segment.strides or (1,), shape)
        _add_rows(graph, segment.node, shape, rows, p, arrays, result)
    return result


def _add_rows(
    graph: Graph, node: int, shape: tuple[int, ...], rows: Any, p: FloatArray, arrays: Sequence[FloatArray], result: Any
) -> None:
    found = derivatives(graph, node)
    values = evaluate(graph, list(found.values()), p, arrays)
    for leaf, value in zip(found, values, strict=True):
        value = np.broadcast_to(value, shape)
        kind = graph.nodes[leaf]
        if kind[0] == "parameter":
            np.add.at(result, (rows, kind[1]), value)
        elif kind[0] == "parameters":
            np.add.at(result, (rows, _places(kind[1], kind[2], shape)), value)
        else:
            result[rows.ravel()] += value.ravel()[:, None] * gradient_of_sum(graph, leaf, p, arrays)


def gradient_of_sum(graph: Graph, index: int, p: FloatArray, arrays: Sequence[FloatArray]) -> FloatArray:
    """Return the derivatives of a sum by all parameters, shape (n,)."""
    child = graph.nodes[index][1]
    shape = graph.shapes[child]
    total = np.zeros((int(np.prod(shape)), graph.n))
    _add_rows(graph, child, shape, np.arange(total.shape[0]).reshape(shape), p, arrays, total)
    gradient: FloatArray = total.sum(axis=0)
    return gradient


def hessian(trace: Trace, weights: FloatArray, p: FloatArray, data: Sequence[FloatArray] | None = None) -> FloatArray:
    """Return ``sum_i weights_i * (second derivatives of output i)`` at `p`, shape (n, n).

    Raises
    ------
    NotTraceable
        Where a second derivative has no graph.
    """
    second = second_order(trace, joined=False)
    graph = second.trace.graph
    arrays = graph.data if data is None else data
    result = np.zeros((graph.n, graph.n))
    totals: dict[int, float] = {}  # what multiplies the second derivatives of each sum
    for part in second.parts:
        shape = part.shape or (1,)
        by_row = np.full(shape, totals.get(part.total, 0.0))
        if part.segment is not None:
            segment = trace.segments[part.segment]
            by_row = weights[_places(segment.offset, segment.strides or (1,), shape)]
        for leaf, value in zip(part.slopes, evaluate(graph, list(part.slopes.values()), p, arrays), strict=True):
            totals[leaf] = totals.get(leaf, 0.0) + float(np.sum(by_row * value))
        for pair, value in zip(part.pairs, evaluate(graph, list(part.pairs.values()), p, arrays), strict=True):
            a, b = (_gradients(graph, leaf, shape, p, arrays) for leaf in pair)
            product = a.T @ (np.ravel(by_row * value)[:, None] * b)
            result += product if pair[0] == pair[1] else product + product.T
    return result


def _gradients(graph: Graph, leaf: int, shape: Shape, p: FloatArray, arrays: Sequence[FloatArray]) -> FloatArray:
    """Return the derivatives of a leaf at each index of a shape by all parameters, flat in the index."""
    node = graph.nodes[leaf]
    if node[0] == "sum":
        return np.tile(gradient_of_sum(graph, leaf, p, arrays), (int(np.prod(shape)), 1))
    place = _places(node[1], node[2], shape) if node[0] == "parameters" else np.full(shape, node[1])
    unit: FloatArray = np.eye(graph.n)[np.ravel(place)]
    return unit
