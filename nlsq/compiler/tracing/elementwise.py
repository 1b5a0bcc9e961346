"""Elementwise operations on arrays of several blocks or shapes, and operators that are several operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.strides import Shape
from nlsq.compiler.tracing.arrays import NUMBERS, Traced, as_numbers, truth
from nlsq.compiler.tracing.blocks import Cuts, refined, whole
from nlsq.compiler.tracing.holding import UNSET, UNSET_READ
from nlsq.compiler.tracing.joining import unfolded

LARGEST_POWER = 32  # integer exponents up to this are products
TRUE_OPERATIONS = {"+": "or", "*": "and", "maximum": "or", "minimum": "and"}  # what they are for two truth values


def by_cells(graph: Graph, operation: str, arrays: list[Traced], kind: str) -> Traced:
    """Record an operation block by block, all arrays cut at the same places."""
    shape = np.broadcast_shapes(*(one.shape for one in arrays))
    cuts = common_cuts(arrays, shape)
    held = [one for one in arrays if any(not isinstance(node, int) for node in one.nodes)]
    if held and not _go_together(held, cuts):
        arrays = [unfolded(one) if one.ndim == 1 else one for one in arrays]
        cuts = common_cuts(arrays, shape)
    trivial = all(len(parts) == 1 for parts in cuts)
    columns = [one.cells(shape, cuts) for one in arrays]
    nodes = [_cell(graph, operation, operands, kind) for operands in zip(*columns, strict=True)]
    return Traced(graph, shape, nodes, None if trivial else cuts, kind)


def _go_together(held: list[Traced], cuts: Cuts) -> bool:
    """Whether flattened arrays are the same blocks of the same shapes as the result, and may stay as they are."""
    shapes = [[None if isinstance(node, int) else node.shape for node in one.nodes] for one in held]
    return all(one.partition == cuts for one in held) and all(one == shapes[0] for one in shapes)


def common_cuts(arrays: list[Traced], shape: Shape) -> Cuts:
    """Return the common refinement of the partitions of arrays that are broadcast to a shape."""
    cuts = [whole(length) for length in shape]
    for one in arrays:
        if one.cuts is not None:
            lead = len(shape) - one.ndim
            for axis, parts in enumerate(one.cuts):
                if one.shape[axis] == shape[lead + axis]:
                    cuts[lead + axis] = refined(cuts[lead + axis], parts)
    return tuple(cuts)


def _cell(graph: Graph, operation: str, operands: tuple[Any, ...], kind: str) -> Any:
    folded = next((one for one in operands if not isinstance(one, int)), None)
    if UNSET in [one for one in operands if isinstance(one, int)]:
        raise NotTraceable(UNSET_READ)
    if folded is None:
        return graph.apply(operation, *operands)
    arrays = []
    for one in operands:
        if isinstance(one, int):
            flat = Traced(graph, graph.shapes[one], [one])
            arrays.append(flat.reshape(folded.shape) if flat.shape else flat)
        else:
            arrays.append(one if one.shape == folded.shape else one.reshape(folded.shape))
    return by_cells(graph, operation, arrays, kind)


def broadcast(array: Traced, shape: Shape) -> Traced:
    """Return an array over a larger shape."""
    if array.shape == shape:
        return array
    if not array.shape:
        return Traced(array.graph, shape, list(array.nodes), None, array.kind)
    if np.broadcast_shapes(array.shape, shape) != shape:
        raise ValueError(f"could not broadcast input array from shape {array.shape} into shape {shape}")
    cuts = common_cuts([array], shape)
    nodes = array.cells(shape, cuts)
    return Traced(array.graph, shape, nodes, None if all(len(parts) == 1 for parts in cuts) else cuts, array.kind)


def of_truths(operation: str, arrays: list[Traced]) -> Traced:
    """Record what NumPy does to truth values alone: ``+`` is "or", ``*`` is "and"."""
    if operation in TRUE_OPERATIONS:
        return arrays[0].record(TRUE_OPERATIONS[operation], [truth(one) for one in arrays], "b")
    if operation == "where":
        condition, *choices = (truth(one) for one in arrays)
        return _either(_both(condition, choices[0]), _both(_opposite(condition), choices[1]))
    if operation == "abs":
        return arrays[0].copy()
    raise NotTraceable(f"the operation {operation} on truth values alone, which gives half precision or an error")


def _both(a: Traced, b: Traced) -> Traced:
    return a.record("and", [a, b], "b")


def _either(a: Traced, b: Traced) -> Traced:
    return a.record("or", [a, b], "b")


def _opposite(a: Traced) -> Traced:
    return a.record("not", [a], "b")


def composed(operation: str, arrays: list[Traced], operands: tuple[Any, ...]) -> Any:
    """Record an operator that the graph has no operation for."""
    return _COMPOSED[operation](arrays, operands)


def _logical(operation: str) -> Callable[..., Traced]:
    def record(arrays: list[Traced], operands: tuple[Any, ...]) -> Traced:
        if any(one.kind != "b" for one in arrays):
            raise NotTraceable("an operation on the bits of numbers")
        return arrays[0].record(operation, [truth(one) for one in arrays], "b")

    return record


def _floor_divided(arrays: list[Traced], operands: tuple[Any, ...]) -> Traced:
    a, b = arrays
    quotient = a.record("/", [a, b], "f")
    result = quotient.record("floor", [quotient], "f")
    return _integral(result, arrays)


def _remainder(arrays: list[Traced], operands: tuple[Any, ...]) -> Traced:
    a, b = arrays
    whole_part = _floor_divided(arrays, operands)
    product = b.record("*", [b, whole_part], "f")
    return _integral(a.record("-", [a, product], "f"), arrays)


def _integral(result: Traced, arrays: list[Traced]) -> Traced:
    """Give a result the kind integer where all operands are; integers divided by zero are no floats."""
    if "f" in (arrays[0].kind, arrays[1].kind):
        return result
    divisor = arrays[1]
    node = divisor.graph.nodes[divisor.node] if not divisor.shape else ("array",)
    if arrays[0].kind == "b" or divisor.kind == "b" or node[0] not in ("number", "constant") or node == ("number", 0.0):
        raise NotTraceable("a division of integers, which has no value at zero")
    return Traced(result.graph, result.shape, result.nodes, result.cuts, "i")


def _raised(arrays: list[Traced], operands: tuple[Any, ...]) -> Traced:
    """Record products, roots and reciprocals for exponents that are numbers, as NumPy computes them, or a power."""
    base, exponent = arrays
    kind = "f" if "f" in (base.kind, exponent.kind) else "i"
    if kind == "i" and (base.kind == "b" or not isinstance(operands[1], int) or operands[1] < 0):
        raise NotTraceable("a power of integers, which may be too large for one")
    if base.kind == "b":
        base = as_numbers(base)
    if isinstance(operands[1], NUMBERS):
        special = _fixed_power(base, float(operands[1]), kind)
        if special is not None:
            return special
    return base.record("pow", [base, exponent], kind)


def _fixed_power(base: Traced, exponent: float, kind: str) -> Traced | None:
    graph = base.graph
    if exponent == 0.5:
        return base.record("sqrt", [base], "f")
    if exponent == 0.0:
        return Traced(graph, base.shape, [graph.number(1.0)], None, kind)
    if exponent != exponent or abs(exponent) > LARGEST_POWER or exponent != int(exponent):
        return None
    count = abs(int(exponent))
    power = _product(base, count, kind)
    return power if exponent > 0 else power.apply("/", 1.0, power)


def _product(base: Traced, count: int, kind: str) -> Traced:
    """Return a product of equal factors, by repeated squaring."""
    if all(isinstance(one, int) for one in base.nodes):
        if UNSET in base.nodes:
            raise NotTraceable(UNSET_READ)
        nodes = [base.graph.power(node, count) for node in base.nodes]
        return Traced(base.graph, base.shape, nodes, base.cuts, kind)
    result = base.copy()
    for _ in range(count - 1):
        result = result.record("*", [result, base], kind)
    return result


_COMPOSED: dict[str, Callable[..., Any]] = {
    "**": _raised,
    "//": _floor_divided,
    "%": _remainder,
    "&": _logical("and"),
    "|": _logical("or"),
    "^": _logical("!="),
    "~": _logical("not"),
}


def apply_unusual(graph: Graph, operation: str, operands: tuple[Any, ...]) -> Any:
    """Record an operation with complex operands, or with selections by a mask."""
    from nlsq.compiler.tracing.complex_arrays import complex_operation
    from nlsq.compiler.tracing.masks import Selected, selected_operation

    if any(isinstance(one, Selected) for one in operands):
        return selected_operation(operands, lambda *plain: plain[0].apply(operation, *plain))
    return complex_operation(graph, operation, operands)
