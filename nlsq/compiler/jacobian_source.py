"""Programs of Jacobians whose rows depend on slices of the parameters or on sums.

The value of a segment at an index depends on few parameters: one for each leaf. So the Jacobian is, leaf by leaf, an
array of values over the segment's index space, whose row and column are affine in the index. Stored one after the other
these arrays are the values of a sparse matrix, whose pattern is known before anything is evaluated.

A sum is a leaf that depends on many parameters. Its gradient G (n,) is made first; with the derivative z_i of row i by
the sum, the row gets ``z_i G``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.differentiate import depends_on_parameters, derivatives
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.kernel_source import Layout, Rows, Variant, Writer, at, plain, sums_of
from nlsq.compiler.trace import Segment, Trace
from nlsq.kernels.backend.program import Loop, Place, Program

IntArray = NDArray[np.int64]


@dataclass
class SparseLayout:
    """What the Jacobian's programs need in the table beyond what the residual needs.

    Attributes
    ----------
    parameters : int
        Place of the number of parameters.
    entries : int
        Place of the number of entries of a dense Jacobian.
    gradients : dict
        Place of the offset in the scratch memory of the gradient of each sum.
    rows : int
        Place of the offset in the scratch memory of one number a residual.
    values : dict
        Place of the offset of the values of each (segment, leaf).
    size : int
        Length of the table.
    """

    parameters: int = 0
    entries: int = 0
    gradients: dict[int, int] = field(default_factory=dict)
    rows: int = 0
    values: dict[tuple[int, int], int] = field(default_factory=dict)


def sparse_layout(trace: Trace, layout: Layout) -> SparseLayout:
    """Assign the places; `layout` grows."""
    sparse = SparseLayout(parameters=layout.place(), entries=layout.place())
    for index in sums_of(trace):
        if depends_on_parameters(trace.graph, index):
            sparse.gradients[index] = layout.place()
    sparse.rows = layout.place()
    for k, segment in enumerate(trace.segments):
        for leaf in derivatives(trace.graph, segment.node):
            sparse.values[k, leaf] = layout.place()
    return sparse


def _sum_gradients(writer: Writer, sparse: SparseLayout) -> None:
    """Write the gradients of all sums into the scratch memory, inner sums first."""
    graph = writer.graph
    n = graph.n
    for index, place in sparse.gradients.items():
        clear = Loop((sparse.parameters,))
        clear.writes.append((Place("scratch", offset=place, strides=((1, 0),)), 0.0, False))
        writer.program.steps.append(clear)
        child = graph.nodes[index][1]
        found = derivatives(graph, child)
        loop = Loop(writer.lengths(graph.shapes[child]))
        names = dict(zip(found, writer.values(loop, list(found.values())), strict=True))
        later: list[tuple[Place, str]] = []
        for leaf, name in names.items():
            node = graph.nodes[leaf]
            if node[0] == "parameters":
                if 0 in node[2]:
                    raise NotTraceable("a sum over parameters that are repeated along an axis")
                loop.writes.append((Place("scratch", node[1], place, strides=plain(node[2])), name, True))
            else:
                total = f"t{index}_{leaf}"
                loop.totals.append((total, name))  # type: ignore[arg-type]
                later.append((Place("scratch", node[1], place), total) if node[0] == "parameter" else (_GRADIENT_OF(sparse, leaf), total))
        writer.program.steps.append(loop)
        for target, total in later:
            update = Loop((sparse.parameters,)) if target.array == "gradient" else Loop((writer.layout.lengths[1],))
            _accumulate(update, writer, Place("scratch", offset=place), target, total)
            writer.program.steps.append(update)
    del n


def _GRADIENT_OF(sparse: SparseLayout, leaf: int) -> Place:
    return Place("gradient", offset=sparse.gradients[leaf])


def _accumulate(loop: Loop, writer: Writer, gradient: Place, target: Place, total: str) -> None:
    from nlsq.kernels.backend.program import Statement

    if target.array != "gradient":
        loop.writes.append((Place("scratch", target.fixed, target.offset, strides=((1, 0),)), total, True))
        return
    loop.statements.append(Statement("inner", "read", (Place("scratch", offset=target.offset, strides=((1, 0),)),)))
    loop.statements.append(Statement("share", "*", ("inner", total)))
    loop.writes.append((Place("scratch", offset=gradient.offset, strides=((1, 0),)), "share", True))


def dense_jacobian(trace: Trace, layout: Layout, sparse: SparseLayout, variant: Variant) -> Program:
    """Return the program of the dense, transposed Jacobian, whatever the rows depend on."""
    program = Program("jacobian")
    writer = Writer(trace, layout, program)
    clear = Loop((sparse.entries,))
    clear.writes.append((Place("first", strides=((1, 0),)), 0.0, False))
    program.steps.append(clear)
    _sum_gradients(writer, sparse)
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        names = rows.columns(derivatives(trace.graph, segment.node))
        outer: list[tuple[int, str | float]] = []
        for leaf, name in names.items():
            node = trace.graph.nodes[leaf]
            if node[0] == "sum":
                outer.append((leaf, name))
            else:
                rows.loop.writes.append((_dense_place(layout, segment, k, node), name, True))
        _per_sum(writer, sparse, rows, outer, layout, segment, k)
    return program


def _dense_place(layout: Layout, segment: Segment, k: int, node: tuple[object, ...]) -> Place:
    """Return where a leaf's derivatives go: column * m + row."""
    strides = segment.strides or (1,)
    along: tuple[int, ...] = node[2] if node[0] == "parameters" else (0,) * len(strides)  # type: ignore[assignment]
    both = tuple((row, column) for row, column in zip(strides, along, strict=True))
    return Place("first", offset=layout.offsets[k], by_points=node[1], strides=both)  # type: ignore[arg-type]


def _per_sum(
    writer: Writer, sparse: SparseLayout, rows: Rows, outer: list[tuple[int, str | float]], layout: Layout, segment: Segment, k: int
) -> None:
    """Write a segment's loop, once for each sum as it leaves its derivatives in the scratch memory in between."""
    from nlsq.kernels.backend.program import Statement

    scratch = Place("scratch", offset=sparse.rows, strides=plain(_flat(segment)))
    if outer:
        rows.loop.writes.append((scratch, outer[0][1], False))
    writer.program.steps.append(rows.loop)
    for position, (leaf, _) in enumerate(outer):
        if position:
            again = Rows(writer, rows.variant, segment, k)
            names = again.columns({leaf: derivatives(writer.graph, segment.node)[leaf]})
            again.loop.writes.append((scratch, names[leaf], False))
            writer.program.steps.append(again.loop)
        product = Loop((sparse.parameters, *writer.lengths(segment.shape)))
        product.statements.append(Statement("g", "read", (Place("scratch", offset=sparse.gradients[leaf], strides=((1, 0), *(((0, 0),) * len(segment.shape or (1,))))),)))
        product.statements.append(Statement("z", "read", (Place("scratch", offset=sparse.rows, strides=((0, 0), *plain(_flat(segment)))),)))
        product.statements.append(Statement("gz", "*", ("g", "z")))
        target = Place("first", offset=layout.offsets[k], strides=((0, 1), *plain(segment.strides or (1,))))
        product.writes.append((target, "gz", True))
        writer.program.steps.append(product)


def _flat(segment: Segment) -> tuple[int, ...]:
    """Return the strides of a C-ordered array over a segment's index space."""
    from nlsq.compiler.graph import contiguous_strides

    return contiguous_strides(segment.shape) if segment.shape else (1,)


def sparse_program(trace: Trace, layout: Layout, sparse: SparseLayout, variant: Variant) -> Program:
    """Return the program of the residual and the values of the sparse Jacobian, in the order of `pattern`.

    Raises
    ------
    NotTraceable
        If a row depends on a sum over parameters: then it is dense.
    """
    program = Program("residual_and_jacobian")
    writer = Writer(trace, layout, program)
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        rows.loop.writes.append((at("first", layout, segment, k), rows.residual(), False))
        for leaf, name in rows.columns(derivatives(trace.graph, segment.node)).items():
            if trace.graph.nodes[leaf][0] == "sum":
                raise NotTraceable("a row that depends on a sum over the parameters is dense")
            place = Place("second", offset=sparse.values[k, leaf], strides=plain(_flat(segment)))
            rows.loop.writes.append((place, name, False))
        program.steps.append(rows.loop)
    return program


def pattern(trace: Trace) -> tuple[IntArray, IntArray]:
    """Return row and column of each value that `sparse_program` writes; a place may occur more than once.

    Raises
    ------
    NotTraceable
        See `sparse_program`.
    """
    rows, columns = [], []
    for segment in trace.segments:
        for leaf in derivatives(trace.graph, segment.node):
            node = trace.graph.nodes[leaf]
            if node[0] == "sum":
                raise NotTraceable("a row that depends on a sum over the parameters is dense")
            shape = segment.shape or (1,)
            index = np.indices(shape).reshape(len(shape), -1)
            rows.append(segment.offset + np.array(segment.strides or (1,)) @ index)
            along = node[2] if node[0] == "parameters" else (0,) * len(shape)
            columns.append(node[1] + np.array(along, dtype=np.int64) @ index)
    if not rows:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(rows), np.concatenate(columns)
