"""What the C functions of `nlsq.kernels.backend.block_compiler` do beside calling the user's code, as LLVM.

Parameter blocks are read from memory into tuples of numbers, dual numbers with their unit partials or with partials
from a matrix; residuals and their partials are weighted in registers and stored. Imports numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nlsq.kernels.backend.dual import DOUBLE, DualType, combine, pack, unpack
from nlsq.kernels.backend.lowering import DOUBLE_POINTER

INTEGER = ir.IntType(64)
Row = list[tuple[int, int, Any]]  # partials of one residual: first column, how many columns, vector


def _load(builder: Any, pointer: Any, place: int) -> Any:
    return builder.load(builder.gep(pointer, [INTEGER(place)]))


def _load_vector(builder: Any, pointer: Any, place: int, width: int) -> Any:
    start = builder.gep(pointer, [INTEGER(place)])
    return builder.load(builder.bitcast(start, ir.VectorType(DOUBLE, width).as_pointer()), align=8)


def read_numbers(size: int) -> Any:
    """Give the function ``pointer -> tuple`` of doubles."""

    @intrinsic
    def read(typing_context: Any, pointer: Any) -> Any:
        kind = types.UniTuple(types.float64, size)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            numbers = [_load(builder, arguments[0], k) for k in range(size)]
            return context.make_tuple(builder, kind, numbers)

        return kind(DOUBLE_POINTER), generate

    return read


def read_dual(dual: DualType, size: int, offset: int) -> Any:
    """Give the function ``pointer, start -> tuple`` of dual numbers: number k has its 1 at ``offset + k - start``."""

    @intrinsic
    def read(typing_context: Any, pointer: Any, start: Any) -> Any:
        kind = types.UniTuple(dual, size)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer, start = arguments
            numbers = []
            for k in range(size):
                place = builder.sub(INTEGER(offset + k), start)
                hits = [builder.icmp_signed("==", place, INTEGER(lane)) for lane in range(dual.width)]
                parts = [builder.uitofp(hit, DOUBLE) for hit in hits]
                numbers.append(pack(builder, dual, _load(builder, pointer, k), dual.filled(builder, parts)))
            return context.make_tuple(builder, kind, numbers)

        return kind(DOUBLE_POINTER, types.int64), generate

    return read


def _seeds_of_number(builder: Any, dual: DualType, seeds: Any, place: int, width: int, offset: int) -> list[Any]:
    """Load the partials of a number that has `width` of them from column `offset` on."""
    parts = []
    for first, piece in zip(range(0, dual.width, dual.lanes), dual.pieces):
        begin, end = max(offset, first), min(offset + width, first + piece.count)
        if begin >= end:
            parts.append(ir.Constant(piece, None))
            continue
        loaded = _load_vector(builder, seeds, place + begin - offset, end - begin)
        lanes = [lane - begin if begin <= lane < end else end - begin for lane in range(first, first + piece.count)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), piece.count), lanes)
        parts.append(builder.shuffle_vector(loaded, ir.Constant(loaded.type, None), mask))
    return parts


def read_seeded(dual: DualType, size: int, width: int, offset: int) -> Any:
    """Give the function ``pointer, seeds -> tuple`` of dual numbers whose partials are rows of a matrix."""

    @intrinsic
    def read(typing_context: Any, pointer: Any, seeds: Any) -> Any:
        kind = types.UniTuple(dual, size)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            numbers = []
            for k in range(size):
                parts = _seeds_of_number(builder, dual, arguments[1], k * width, width, offset)
                numbers.append(pack(builder, dual, _load(builder, arguments[0], k), parts))
            return context.make_tuple(builder, kind, numbers)

        return kind(DOUBLE_POINTER, DOUBLE_POINTER), generate

    return read


def read_seeded_in_part(dual: DualType, size: int, width: int, offset: int) -> Any:
    """Give the function ``pointer, seeds, start -> tuple`` of the same, for the columns from `start` on."""

    @intrinsic
    def read(typing_context: Any, pointer: Any, seeds: Any, start: Any) -> Any:
        kind = types.UniTuple(dual, size)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer, seeds, start = arguments
            numbers = []
            for k in range(size):
                parts = []
                for lane in range(dual.width):
                    column = builder.add(start, INTEGER(lane - offset))
                    inside = builder.icmp_unsigned("<", column, INTEGER(width))
                    place = builder.add(INTEGER(k * width), builder.select(inside, column, INTEGER(0)))
                    seed = builder.load(builder.gep(seeds, [place]))
                    parts.append(builder.select(inside, seed, DOUBLE(0.0)))
                numbers.append(pack(builder, dual, _load(builder, pointer, k), dual.filled(builder, parts)))
            return context.make_tuple(builder, kind, numbers)

        return kind(DOUBLE_POINTER, DOUBLE_POINTER, types.int64), generate

    return read


def _items(builder: Any, kind: Any, value: Any) -> list[tuple[Any, Any]]:
    """Types and values of a tuple's items; of a number: itself."""
    if not isinstance(kind, types.BaseTuple):
        return [(kind, value)]
    return list(zip(kind, cgutils.unpack_tuple(builder, value, len(kind))))


def _split(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
    """Value and partials of a number of any real type."""
    if not isinstance(kind, DualType):
        return context.cast(builder, value, kind, types.float64), None
    return unpack(builder, kind, value)


def _row(dual: DualType, parts: Sequence[Any]) -> Row:
    return [(k * dual.lanes, min(dual.lanes, dual.width - k * dual.lanes), part) for k, part in enumerate(parts)]


def _weighted(builder: Any, weight: str, weights: Any, values: list[Any], rows: list[Row]) -> tuple[Any, Any]:
    """Multiply residuals and their partials by the weights of their block."""
    q = len(values)
    if weight == "none":
        return values, rows
    if weight == "matrix":
        matrix = [[_load(builder, weights, i * q + j) for j in range(q)] for i in range(q)]
    else:
        diagonal = [_load(builder, weights, i if weight == "vector" else 0) for i in range(q)]
        matrix = [[diagonal[i] if i == j else None for j in range(q)] for i in range(q)]
    sums, products = [], []
    for factors in matrix:
        used = [(factor, values[j], rows[j]) for j, factor in enumerate(factors) if factor is not None]
        sums.append(combine(builder, [(factor, [value]) for factor, value, _ in used])[0])  # type: ignore[index]
        row = []
        for k, (column, count, _) in enumerate(rows[0]):
            part = combine(builder, [(factor, [theirs[k][2]]) for factor, _, theirs in used])
            row.append((column, count, part[0]))  # type: ignore[index]
        products.append(row)
    return sums, products


def _store_values(builder: Any, values: Sequence[Any], pointer: Any) -> None:
    for i, value in enumerate(values):
        builder.store(value, builder.gep(pointer, [INTEGER(i)]))


def _store_rows(builder: Any, rows: list[Row], pointer: Any, stride: int, start: Any) -> None:
    for i, row in enumerate(rows):
        for column, count, part in row:
            place = builder.gep(pointer, [builder.add(start, INTEGER(i * stride + column))])
            if count < part.type.count:
                kept = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
                part = builder.shuffle_vector(part, ir.Constant(part.type, ir.Undefined), kept)
            builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=8)


def write_residual(weight: str) -> Any:
    """Give the function ``result, weights, r_out`` that stores what the user's function returned."""

    @intrinsic
    def write(typing_context: Any, result: Any, weights: Any, r_out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = [_split(context, builder, *item)[0] for item in _items(builder, result, arguments[0])]
            values, _ = _weighted(builder, weight, arguments[1], values, [[] for _ in values])
            _store_values(builder, values, arguments[2])
            return context.get_dummy_value()

        return types.void(result, DOUBLE_POINTER, DOUBLE_POINTER), generate

    return write


def write_dual(weight: str, dual: DualType, stride: int) -> Any:
    """Give the function ``result, weights, r_out, jac_out, start`` that stores residuals and partials.

    A row of `jac_out` has `stride` columns, and the partials begin at column `start`.
    """

    @intrinsic
    def write(typing_context: Any, result: Any, weights: Any, r_out: Any, jac_out: Any, start: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            result_value, weights, r_out, jac_out, start = arguments
            split = [_split(context, builder, *item) for item in _items(builder, result, result_value)]
            values = [value for value, _ in split]
            rows = [_row(dual, dual.no_partials() if parts is None else parts) for _, parts in split]
            values, rows = _weighted(builder, weight, weights, values, rows)
            _store_values(builder, values, r_out)
            _store_rows(builder, rows, jac_out, stride, start)
            return context.get_dummy_value()

        return types.void(result, DOUBLE_POINTER, DOUBLE_POINTER, DOUBLE_POINTER, types.int64), generate

    return write


def write_given(weight: str, blocks: Sequence[tuple[int, int, bool]]) -> Any:
    """Give the function ``result, jac, seeds, weights, r_out, jac_out`` for a Jacobian that the user's code computes.

    `blocks` has, for each argument: size, width, whether it is seeded; `seeds` is a tuple of pointers.
    """
    stride = sum(width for _, width, _ in blocks)

    def row_of(context: Any, builder: Any, entries: Any, seeds: Any, i: int) -> Row:
        row, column = [], 0
        for (size, width, seeded), entry, pointer in zip(blocks, entries, seeds):
            if width == 0:
                continue
            numbers = _items(builder, *entry)
            if isinstance(numbers[0][0], types.BaseTuple):
                numbers = _items(builder, *numbers[i])
            numbers = [context.cast(builder, number, kind, types.float64) for kind, number in numbers]
            if seeded:
                terms = [(n, [_load_vector(builder, pointer, k * width, width)]) for k, n in enumerate(numbers)]
                vector = combine(builder, terms)[0]  # type: ignore[index]
            else:
                vector = ir.Constant(ir.VectorType(DOUBLE, size), ir.Undefined)
                for k, number in enumerate(numbers):
                    vector = builder.insert_element(vector, number, ir.IntType(32)(k))
            row.append((column, width, vector))
            column += width
        return row

    @intrinsic
    def write(typing_context: Any, result: Any, jac: Any, seeds: Any, weights: Any, r_out: Any, jac_out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            items = _items(builder, result, arguments[0])
            values = [_split(context, builder, *item)[0] for item in items]
            entries = _items(builder, jac, arguments[1])
            pointers = cgutils.unpack_tuple(builder, arguments[2], len(seeds))
            rows = [row_of(context, builder, entries, pointers, i) for i in range(len(values))]
            values, rows = _weighted(builder, weight, arguments[3], values, rows)
            _store_values(builder, values, arguments[4])
            _store_rows(builder, rows, arguments[5], stride, INTEGER(0))
            return context.get_dummy_value()

        return types.void(result, jac, seeds, DOUBLE_POINTER, DOUBLE_POINTER, DOUBLE_POINTER), generate

    return write
