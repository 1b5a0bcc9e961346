"""Programs of Jacobians whose rows depend on slices of the parameters or on sums.

The value of a segment at an index depends on few parameters: one for each leaf. So the Jacobian is, leaf by leaf, an
array of values over the segment's index space, whose row and column are affine in the index. Stored one after the other
these arrays are the values of a sparse matrix, whose pattern is known before anything is evaluated.

A sum is a leaf that depends on many parameters. Its gradient G (n,) is made first; with the derivative z_i of row i by
the sum, the row gets ``z_i G``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.differentiate import depends_on_parameters, derivatives
from nlsq.compiler.graph import NotTraceable, contiguous_strides
from nlsq.compiler.kernel_source import Layout, Rows, Variant, Writer, at, plain, sums_of
from nlsq.compiler.tracing.trace import Segment, Trace
from nlsq.kernels.backend.program import Loop, Place, Program, Statement

IntArray = NDArray[np.int64]
ALONG = ((1, 0),)  # the strides of a vector
DENSE_ROW = "a row that depends on a sum over the parameters is dense"


@dataclass
class SparseLayout:
    """What the Jacobian's programs need in the table beyond what the residual needs.

    Attributes
    ----------
    parameters : int
        Place of the number of parameters.
    entries : int
        Place of the number of entries of a dense Jacobian.
    one : int
        Place of the number one.
    gradients : dict
        Place of the offset in the scratch memory of the gradient of each sum, inner sums first.
    rows : int
        Place of the offset in the scratch memory of one number a residual.
    values : dict
        Place of the offset of the values of each (segment, leaf).
    """

    parameters: int
    entries: int
    one: int
    rows: int
    gradients: dict[int, int] = field(default_factory=dict)
    values: dict[tuple[int, int], int] = field(default_factory=dict)


def sparse_layout(trace: Trace, layout: Layout) -> SparseLayout:
    """Assign the places; `layout` grows."""
    sparse = SparseLayout(layout.place(), layout.place(), layout.place(), layout.place())
    for index in sums_of(trace):
        if depends_on_parameters(trace.graph, index):
            sparse.gradients[index] = layout.place()
    for k, segment in enumerate(trace.segments):
        for leaf in derivatives(trace.graph, segment.node):
            sparse.values[k, leaf] = layout.place()
    return sparse


def dense_jacobian(trace: Trace, layout: Layout, sparse: SparseLayout, variant: Variant) -> Program:
    """Return the program of the dense, transposed Jacobian, whatever the rows depend on."""
    program = Program("jacobian")
    writer = Writer(trace, layout, program)
    program.steps.append(Loop((sparse.entries,), writes=[(Place("first", strides=ALONG), 0.0, False)]))
    for index in sparse.gradients:
        write_gradient(writer, sparse, index)
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        names = rows.columns(derivatives(trace.graph, segment.node))
        by_sums = {leaf: name for leaf, name in names.items() if trace.graph.nodes[leaf][0] == "sum"}
        for leaf, name in names.items():
            if leaf not in by_sums:
                rows.loop.writes.append((_column(layout, segment, k, trace.graph.nodes[leaf]), name, True))
        program.steps.append(rows.loop)
        for leaf in by_sums:
            _write_rows_by_sum(writer, sparse, variant, k, leaf)
    return program


def _column(layout: Layout, segment: Segment, k: int, node: tuple[object, ...]) -> Place:
    """Return where a leaf's derivatives go: column * m + row."""
    strides = segment.strides or (1,)
    along: tuple[int, ...] = node[2] if node[0] == "parameters" else (0,) * len(strides)  # type: ignore[assignment]
    both = tuple((row, column) for row, column in zip(strides, along, strict=True))
    return Place("first", offset=layout.offsets[k], by_points=node[1], strides=both)  # type: ignore[arg-type]


def write_gradient(writer: Writer, sparse: SparseLayout, index: int) -> None:
    """Write the gradient of a sum into the scratch memory."""
    graph, steps = writer.graph, writer.program.steps
    place = sparse.gradients[index]
    gradient = Place("scratch", offset=place, strides=ALONG)
    steps.append(Loop((sparse.parameters,), writes=[(gradient, 0.0, False)]))
    child = graph.nodes[index][1]
    found = dict(derivatives(graph, child))
    apart = [leaf for leaf in found if graph.nodes[leaf][0] == "parameters" and graph.nodes[leaf][2][-1] == 0]
    steps += [_repeated(writer, sparse, place, child, leaf, found.pop(leaf)) for leaf in apart]
    if not found:
        return
    loop = Loop(writer.lengths(graph.shapes[child]))
    names = writer.values(loop, list(found.values()))
    updates: list[Loop] = []
    for leaf, name in zip(found, names, strict=True):
        node = graph.nodes[leaf]
        if node[0] == "parameters":
            loop.writes.append((Place("scratch", node[1], place, strides=plain(node[2])), name, True))
            continue
        total = f"t{index}_{leaf}"
        loop.totals.append((total, name))
        if node[0] == "parameter":
            one = Place("scratch", node[1], place, strides=ALONG)
            updates.append(Loop((sparse.one,), writes=[(one, total, True)]))
        else:  # a sum within the sum
            inner = Place("scratch", offset=sparse.gradients[leaf], strides=ALONG)
            statements = [Statement("inner", "read", (inner,)), Statement("share", "*", ("inner", total))]
            updates.append(Loop((sparse.parameters,), statements, writes=[(gradient, "share", True)]))
    steps += [loop, *updates]


def _repeated(writer: Writer, sparse: SparseLayout, place: int, child: int, leaf: int, derivative: int) -> Loop:
    """Return the loop that adds to the gradient for parameters repeated along the last axis.

    The numbers of one round of the innermost loop are added at once, which has to be to different places: so another
    axis becomes the last, or the loop makes one total, where all axes repeat the same parameter.
    """
    graph = writer.graph
    _, first, strides = graph.nodes[leaf]
    loop = Loop(writer.lengths(graph.shapes[child]))
    (name,) = writer.values(loop, [derivative])
    target = Place("scratch", first, place, strides=plain(strides))
    last = max((axis for axis, stride in enumerate(strides) if stride), default=None)
    if last is None:
        total = f"t{child}_{leaf}"
        loop.totals.append((total, name))
        writer.program.steps.append(loop)
        return Loop((sparse.one,), writes=[(target, total, True)])
    loop.writes.append((target, name, True))
    return turned(loop, last)


def turned(loop: Loop, last: int) -> Loop:
    """Return a loop with another axis innermost."""
    order = [axis for axis in range(len(loop.lengths)) if axis != last] + [last]

    def place(one: Place) -> Place:
        return replace(one, strides=tuple([one.strides[axis] for axis in order])) if one.strides else one

    statements = [
        Statement(one.name, one.operation, tuple([place(x) if isinstance(x, Place) else x for x in one.operands]))
        for one in loop.statements
    ]
    writes = [(place(where), value, adds) for where, value, adds in loop.writes]
    return Loop(tuple([loop.lengths[axis] for axis in order]), statements, loop.totals, writes)


def _write_rows_by_sum(writer: Writer, sparse: SparseLayout, variant: Variant, k: int, leaf: int) -> None:
    """Add z_i G to the rows of a segment: z into the scratch memory, then the product with the gradient."""
    segment, layout = writer.trace.segments[k], writer.layout
    flat = plain(contiguous_strides(segment.shape) if segment.shape else (1,))
    rows = Rows(writer, variant, segment, k)
    name = rows.columns({leaf: derivatives(writer.graph, segment.node)[leaf]})[leaf]
    rows.loop.writes.append((Place("scratch", offset=sparse.rows, strides=flat), name, False))
    product = Loop((sparse.parameters, *writer.lengths(segment.shape)))
    still = ((0, 0),) * len(flat)
    gradient = Place("scratch", offset=sparse.gradients[leaf], strides=(*ALONG, *still))
    by_row = Place("scratch", offset=sparse.rows, strides=((0, 0), *flat))
    product.statements = [
        Statement("g", "read", (gradient,)),
        Statement("z", "read", (by_row,)),
        Statement("gz", "*", ("g", "z")),
    ]
    target = Place("first", offset=layout.offsets[k], strides=((0, 1), *plain(segment.strides or (1,))))
    product.writes.append((target, "gz", True))
    writer.program.steps += [rows.loop, product]


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
        flat = plain(contiguous_strides(segment.shape) if segment.shape else (1,))
        for leaf, name in rows.columns(derivatives(trace.graph, segment.node)).items():
            if trace.graph.nodes[leaf][0] == "sum":
                raise NotTraceable(DENSE_ROW)
            rows.loop.writes.append((Place("second", offset=sparse.values[k, leaf], strides=flat), name, False))
        program.steps.append(rows.loop)
    return program


def pattern(trace: Trace) -> tuple[IntArray, IntArray]:
    """Return row and column of each value that `sparse_program` writes; a place may occur more than once.

    Raises
    ------
    NotTraceable
        See `sparse_program`.
    """
    rows, columns = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for segment in trace.segments:
        for leaf in derivatives(trace.graph, segment.node):
            node = trace.graph.nodes[leaf]
            if node[0] == "sum":
                raise NotTraceable(DENSE_ROW)
            shape = segment.shape or (1,)
            index = np.indices(shape).reshape(len(shape), -1)
            rows.append(segment.offset + np.array(segment.strides or (1,)) @ index)
            along = node[2] if node[0] == "parameters" else (0,) * len(shape)
            columns.append(node[1] + np.array(along, dtype=np.int64) @ index)
    return np.concatenate(rows), np.concatenate(columns)


def structural_pattern(trace: Trace) -> tuple[IntArray, IntArray]:
    """Return row and column of each entry that the Jacobian may have, sums included; some more than once."""
    rows, columns = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    supports: dict[int, IntArray] = {}
    for segment in trace.segments:
        shape = segment.shape or (1,)
        index = np.indices(shape).reshape(len(shape), -1)
        of_segment = segment.offset + np.array(segment.strides or (1,)) @ index
        for leaf in derivatives(trace.graph, segment.node):
            node = trace.graph.nodes[leaf]
            if node[0] == "sum":
                support = _support(trace, leaf, supports)
                rows.append(np.repeat(of_segment, support.size))
                columns.append(np.tile(support, of_segment.size))
            else:
                along = node[2] if node[0] == "parameters" else (0,) * len(shape)
                rows.append(of_segment)
                columns.append(node[1] + np.array(along, dtype=np.int64) @ index)
    return np.concatenate(rows), np.concatenate(columns)


def _support(trace: Trace, index: int, known: dict[int, IntArray]) -> IntArray:
    """Return the parameters that a sum depends on."""
    if index not in known:
        graph = trace.graph
        child = graph.nodes[index][1]
        shape = graph.shapes[child] or (1,)
        found = [np.empty(0, dtype=np.int64)]
        for leaf in derivatives(graph, child):
            node = graph.nodes[leaf]
            if node[0] == "sum":
                found.append(_support(trace, leaf, known))
            elif node[0] == "parameters":
                along = np.array(node[2] or (0,) * len(shape), dtype=np.int64)
                found.append(np.unique(node[1] + along @ np.indices(shape).reshape(len(shape), -1)))
            else:
                found.append(np.array([node[1]]))
        known[index] = np.unique(np.concatenate(found))
    return known[index]
