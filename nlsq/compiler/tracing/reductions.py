"""Sums, products and running sums of symbolic arrays, and products of matrices."""

from __future__ import annotations

from math import prod
from typing import Any

from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.arrays import Traced, as_numbers
from nlsq.compiler.tracing.holding import UNSET, UNSET_READ
from nlsq.compiler.tracing.joining import stacked

LONGEST_AXIS = 64  # of a matrix that is summed along an axis: each entry is a term of its own
MOST_FACTORS = 2000
DEFAULTS = {"dtype": None, "out": None, "where": True}  # options of sums that change nothing


def summed(array: Traced, axis: Any = None, **options: Any) -> Traced:
    """Return the sum over all elements, or over one axis of few elements."""
    keepdims = options.pop("keepdims", False)
    if any(value is not DEFAULTS.get(name, options) for name, value in options.items()):
        raise NotTraceable(f"a sum with {', '.join(options)}")
    if not array.shape:
        return array
    axes = _axes(axis, array.ndim)
    if len(axes) == array.ndim:
        total = _total(array)
    else:
        total = array
        for one in sorted(axes, reverse=True):
            total = _along(total, one, "+")
    if not keepdims:
        return total
    return total.reshape(tuple(1 if k in axes else length for k, length in enumerate(array.shape)))


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not all(-ndim <= one < ndim for one in axes):
        raise NotTraceable(f"axis {axis} of an array of {ndim} axes")
    return tuple(one % ndim for one in axes)


def _along(array: Traced, axis: int, operation: str) -> Traced:
    if array.shape[axis] > LONGEST_AXIS:
        raise NotTraceable(f"a reduction over an axis of a matrix of more than {LONGEST_AXIS} entries")
    if not array.shape[axis]:
        raise NotTraceable("a reduction over an axis without entries")
    before = (slice(None),) * axis
    total = as_numbers(array[(*before, 0)])
    for index in range(1, array.shape[axis]):
        total = total.apply(operation, total, array[(*before, index)])
    return total


def _total(array: Traced) -> Traced:
    graph = array.graph
    total: int | None = None
    sizes = [1]
    for parts in array.partition:
        sizes = [size * len(part) for size in sizes for part in parts]
    kind = "f" if array.kind == "f" else "i"
    for node, length in zip(array.nodes, sizes, strict=True):
        if not isinstance(node, int):
            term = _total(node).node
        elif node == UNSET and length:
            raise NotTraceable(UNSET_READ)
        elif not length:
            continue
        elif not graph.shapes[node]:
            term = graph.apply("*", graph.apply("+", node, graph.number(0.0)), graph.number(length))
        elif length == 1:
            term = graph.move(node, (), tuple((0, 0, None) for _ in graph.shapes[node]))
        else:
            term = graph.leaf(("sum", graph.as_number(node)), ())
        total = term if total is None else graph.apply("+", total, term)
    return Traced(graph, (), [graph.number(0.0) if total is None else total], None, kind)


def mean(array: Traced, axis: Any = None, **options: Any) -> Traced:
    """Return the mean over all elements, or over one axis of few elements."""
    total = summed(array, axis, **options)
    count = array.size // max(total.size, 1) if array.shape else 1
    if not count:
        raise NotTraceable("the mean of no elements")
    scale = Traced(array.graph, (), [array.graph.constant(1.0 / count)])
    return total.record("*", [total, scale], "f")


def multiplied(array: Traced, axis: Any = None) -> Traced:
    """Return the product over all elements, or over one axis of few elements."""
    if not array.shape:
        return array
    if axis is not None and array.ndim > 1:
        (one,) = _axes(axis, array.ndim)
        return _along(array, one, "*")
    if array.size > MOST_FACTORS:
        raise NotTraceable(f"a product of more than {MOST_FACTORS} factors")
    total = array.lift(1)
    for factor in array.ravel():
        total = total.apply("*", total, factor)
    return total


def cumulated(array: Traced, axis: Any, operation: str) -> Traced:
    """Return the sums or products of all elements so far."""
    if array.ndim != 1 or axis not in (None, 0, -1):
        raise NotTraceable("a running sum over an array of several axes")
    if array.size > MOST_FACTORS:
        raise NotTraceable(f"a running sum over more than {MOST_FACTORS} elements")
    so_far: list[Traced] = []
    for element in as_numbers(array):
        so_far.append(element if not so_far else element.apply(operation, so_far[-1], element))
    return stacked(array.graph, so_far)


def matrix_product(a: Traced, b: Traced) -> Traced:
    """Return ``a @ b``: dot products, and products of matrices with few terms in each entry."""
    if not a.shape or not b.shape:
        raise NotTraceable("a matrix product with a number")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: operands of shapes {a.shape} and {b.shape}")
    if a.ndim == 1 and b.ndim == 1:
        return _total(a.apply("*", a, b))
    if a.ndim == 2 and b.ndim == 1:
        return summed(a.apply("*", a, b), 1)
    if a.ndim == 1 and b.ndim == 2:
        return summed(a.apply("*", b, a[:, None]), 0)
    if a.ndim == 2 and b.ndim == 2:
        return _matrices(a, b)
    raise NotTraceable("a product of arrays of three axes")


def _matrices(a: Traced, b: Traced) -> Traced:
    inner = a.shape[1]
    if not 0 < inner <= LONGEST_AXIS or prod(a.shape) == 0:
        raise NotTraceable(f"a product of matrices with more than {LONGEST_AXIS} terms in an entry")
    total: Any = None
    for k in range(inner):
        term = a[:, k, None] * b[None, k]
        total = term if total is None else total + term
    result: Traced = total
    return result
