"""Programs of sparse second derivatives: values and where they go; see `nlsq.compiler.hessian_source`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.graph import Graph, NotTraceable, contiguous_strides
from nlsq.compiler.hessian_source import HessianWriter
from nlsq.compiler.kernel_source import Layout, Variant, plain
from nlsq.compiler.second_derivatives import Pair, Part, SecondDerivatives, position
from nlsq.compiler.tracing.trace import Trace
from nlsq.kernels.backend.program import Place, Program

IntArray = NDArray[np.int64]
DENSE = "a row that is not linear in a sum over the parameters has dense second derivatives"


class Block(NamedTuple):
    """Values of a sparse H: second derivatives of a part by a pair of leaves.

    Their offset stands at `place` of the table. They are one total where `is_total`, else as many as the part has
    indices.
    """

    part: Part
    pair: Pair
    place: int
    is_total: bool


@dataclass
class _SparseTargets:
    """Values one after the other."""

    graph: Graph
    size: int  # of the table so far
    adds: bool = False
    blocks: list[Block] = field(default_factory=list)

    def of_pair(self, part: Part, pair: Pair) -> list[Place]:
        """Take the next places."""
        is_total = not any(any(position(self.graph, leaf, part.shape).strides) for leaf in pair)
        place = self.size + len(self.blocks)
        self.blocks.append(Block(part, pair, place, is_total))
        return [Place("second", offset=place, strides=() if is_total else plain(contiguous_strides(part.shape)))]

    def of_cross(self, part: Part, leaf: int, total: int) -> Place:
        """Refuse."""
        raise NotTraceable(DENSE)


def sparse_hessian(second: SecondDerivatives, layout: Layout, variant: Variant) -> tuple[Program, list[Block]]:
    """Return the program of the values of H, and what they are.

    Its table goes on behind the layout's places with the offset of the values of each block.

    Raises
    ------
    NotTraceable
        If H is not sparse, or if it would take too long to compile.
    """
    targets = _SparseTargets(second.trace.graph, layout.size)
    body = HessianWriter("sparse_hessian", second, layout, variant, targets)
    body.write()
    return body.finish(), targets.blocks


class Values(NamedTuple):
    """Where the values of a sparse H go.

    Attributes
    ----------
    rows, columns : ndarray of int
        Place of each value in the lower triangle.
    offsets : ndarray of int
        First value of each block.
    doubled : ndarray of int
        Values that count twice: second derivatives by two leaves that are one parameter there.
    """

    rows: IntArray
    columns: IntArray
    offsets: IntArray
    doubled: IntArray


def values_of(blocks: list[Block], trace: Trace) -> Values:
    """Return where values go, for the lengths of one trace's axes."""
    empty = np.empty(0, dtype=np.int64)
    rows, columns, doubled, offsets, size = [empty], [empty], [empty], [], 0
    for block in blocks:
        shape = (1,) if block.is_total else _shape(block.part, trace)
        index = np.indices(shape).reshape(len(shape), -1)
        places = [position(trace.graph, leaf, block.part.shape) for leaf in block.pair]
        first, second = (one.first + np.array(one.strides[: len(shape)], dtype=np.int64) @ index for one in places)
        rows.append(np.maximum(first, second))
        columns.append(np.minimum(first, second))
        if block.pair[0] != block.pair[1]:
            doubled.append(size + np.flatnonzero(first == second))
        offsets.append(size)
        size += index.shape[1]
    joined = [np.concatenate(one) for one in (rows, columns, doubled)]
    return Values(joined[0], joined[1], np.array(offsets, dtype=np.int64), joined[2])


def _shape(part: Part, trace: Trace) -> tuple[int, ...]:
    """Return the index space of a part in a trace of the same structure."""
    if part.segment is not None:
        return trace.segments[part.segment].shape
    return trace.graph.shapes[trace.graph.nodes[part.total][1]]
