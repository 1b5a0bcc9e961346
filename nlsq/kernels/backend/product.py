"""Machine code of `nlsq.kernels.backend.primitives.subtract_product`: C - A B' in tiles that stay in registers.

A tile is three vectors of rows by four columns: twelve sums side by side hide the time that a multiplication and
addition takes, and each number of A or B that is read takes part in several. The last rows are a vector under a mask,
the last columns a tile of two and a tile of one. Nothing is packed: the kernels that call it cut their work so that A
stays in a cache.

References
----------
.. [1] K. Goto and R. A. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM Transactions on
   Mathematical Software 34, 2008, section 6.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from nlsq.kernels.backend.fused import host

DOUBLE, INTEGER, INT32 = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
FLAGS = ("reassoc", "nsz", "contract")
VECTORS = 3  # of rows in a full tile
COLUMNS = 4


class Writer:
    """Writes the loops around the tiles, and the tiles.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where code goes.
    arguments : list
        Those of `subtract_product`.
    """

    def __init__(self, builder: Any, arguments: Any) -> None:
        self.builder, self.lanes = builder, host().lanes
        self.rows, self.columns, self.depth = arguments[:3]
        self.a, self.lda, self.b, self.column_step, self.depth_step, self.c, self.ldc, adds = arguments[3:]
        self.adds = builder.icmp_signed("!=", adds, INTEGER(0))
        self.vector = ir.VectorType(DOUBLE, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def write(self) -> None:
        """Write everything: strips of four columns, then two, then one."""
        builder = self.builder
        full, even = (builder.and_(self.columns, INTEGER(-size)) for size in (COLUMNS, 2))
        for start, stop, width in ((INTEGER(0), full, COLUMNS), (full, even, 2), (even, self.columns, 1)):
            with cgutils.for_range_slice(builder, start, stop, INTEGER(width), INTEGER) as (j, _):
                self.strip(j, width)

    def strip(self, j: Any, width: int) -> None:
        """Write the tiles of `width` columns from j on."""
        builder, tall = self.builder, INTEGER(VECTORS * self.lanes)
        full = builder.mul(builder.sdiv(self.rows, tall), tall)
        with cgutils.for_range_slice(builder, INTEGER(0), full, tall, INTEGER) as (i, _):
            self.tile(i, j, VECTORS, width, None)
        with cgutils.for_range_slice(builder, full, self.rows, INTEGER(self.lanes), INTEGER) as (i, _):
            counting = ir.Constant(ir.VectorType(INTEGER, self.lanes), list(range(self.lanes)))
            mask = builder.icmp_signed("<", counting, self.broadcast(builder.sub(self.rows, i)))
            self.tile(i, j, 1, width, mask)

    def tile(self, i: Any, j: Any, vectors: int, width: int, mask: Any) -> None:
        """Write one tile: its sums start with C or zero, and go back to C."""
        builder = self.builder
        places = [
            [
                self.place(self.c, builder.add(i, INTEGER(v * self.lanes)), self.at(j, q), self.ldc)
                for v in range(vectors)
            ]
            for q in range(width)
        ]
        sums = [[cgutils.alloca_once(builder, self.vector) for _ in range(vectors)] for _ in range(width)]
        with builder.if_else(self.adds) as (then, otherwise):
            with then:
                for q in range(width):
                    for v in range(vectors):
                        builder.store(self.load(places[q][v], mask), sums[q][v])
            with otherwise:
                for q in range(width):
                    for v in range(vectors):
                        builder.store(self.zero, sums[q][v])
        with cgutils.for_range(builder, self.depth, intp=INTEGER) as loop:
            rows = [
                self.load(self.place(self.a, builder.add(i, INTEGER(v * self.lanes)), loop.index, self.lda), mask)
                for v in range(vectors)
            ]
            along = builder.mul(loop.index, self.depth_step)
            for q in range(width):
                other = self.broadcast(builder.load(self.place(self.b, along, self.at(j, q), self.column_step)))
                for v in range(vectors):
                    product = builder.fmul(rows[v], other, flags=FLAGS)
                    builder.store(builder.fsub(builder.load(sums[q][v]), product, flags=FLAGS), sums[q][v])
        for q in range(width):
            for v in range(vectors):
                self.store(builder.load(sums[q][v]), places[q][v], mask)

    def at(self, index: Any, offset: int) -> Any:
        """Return the index `offset` further on."""
        return self.builder.add(index, INTEGER(offset))

    def place(self, base: Any, first: Any, second: Any, stride: Any) -> Any:
        """Return the address of ``base[first + second stride]``."""
        return self.builder.gep(base, [self.builder.add(first, self.builder.mul(second, stride))])

    def broadcast(self, value: Any) -> Any:
        """Return `value` in all lanes."""
        one = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        lowest = self.builder.insert_element(one, value, INT32(0))
        return self.builder.shuffle_vector(lowest, one, ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes))

    def load(self, address: Any, mask: Any) -> Any:
        """Read a vector; lanes outside the mask are zero."""
        if mask is None:
            return self.builder.load(self.builder.bitcast(address, self.vector.as_pointer()), align=8)
        kinds = [DOUBLE.as_pointer(), INT32, mask.type, self.vector]
        read = self.intrinsic(f"llvm.masked.load.v{self.lanes}f64.p0", self.vector, kinds)
        return self.builder.call(read, [address, INT32(8), mask, self.zero])

    def store(self, value: Any, address: Any, mask: Any) -> None:
        """Write a vector, or what of it is inside the mask."""
        if mask is None:
            self.builder.store(value, self.builder.bitcast(address, self.vector.as_pointer()), align=8)
            return
        kinds = [self.vector, DOUBLE.as_pointer(), INT32, mask.type]
        write = self.intrinsic(f"llvm.masked.store.v{self.lanes}f64.p0", ir.VoidType(), kinds)
        self.builder.call(write, [value, address, INT32(8), mask])

    def intrinsic(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """Declare an intrinsic, once a module."""
        found = self.builder.module.globals.get(name)
        return ir.Function(self.builder.module, ir.FunctionType(result, arguments), name) if found is None else found
