"""Rows that a loop wrote one after the other become one expression over an index again.

Two numbers are equal but for indices if their expressions have the same form, the same constants except in the same
places, and read parameters or data whose indices differ. A run of such rows, whose indices advance by equal steps, is
one segment: its leaves are views with that step, and constants that differ become data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nlsq.compiler.graph import LEAVES, Graph

if TYPE_CHECKING:
    from nlsq.compiler.trace import Segment

SHORTEST = 4  # rows worth a loop
Leaf = tuple[Any, ...]


def reroll(graph: Graph, segments: list[Segment]) -> list[Segment]:
    """Return segments with runs of single equal rows joined."""
    forms = _Forms(graph)
    result: list[Segment] = []
    run: list[tuple[Segment, list[Leaf]]] = []
    form: Any = None
    for segment in segments:
        if segment.shape not in ((), (1,)):
            _close(graph, result, run)
            run = []
            result.append(segment)
            continue
        node = segment.node
        if graph.shapes[node]:
            node = graph.move(node, (), tuple((0, 0, None) for _ in graph.shapes[node]))
        this, leaves = forms.of(node)
        if run and (this != form or not _continues(run, segment, leaves)):
            _close(graph, result, run)
            run = []
        form = this
        run.append((replace(segment, node=node, shape=(1,), strides=(1,)), leaves))
    _close(graph, result, run)
    return result


class _Forms:
    """The form of expressions, and the leaves that the form leaves open, in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._found: dict[int, tuple[int, list[Leaf]]] = {}
        self._numbers: dict[Any, int] = {}

    def of(self, root: int) -> tuple[int, list[Leaf]]:
        """Return a number for the form, and the leaves."""
        stack = [root]
        while stack:
            index = stack[-1]
            if index in self._found:
                stack.pop()
                continue
            operands = self.graph.operands(index) if self.graph.nodes[index][0] not in LEAVES else ()
            missing = [one for one in operands if one not in self._found]
            if missing:
                stack += missing
                continue
            stack.pop()
            self._found[index] = self._form(index, operands)
        return self._found[root]

    def _form(self, index: int, operands: tuple[int, ...]) -> tuple[int, list[Leaf]]:
        node = self.graph.nodes[index]
        if node[0] == "parameter":
            return self._numbered("parameter"), [node]
        if node[0] == "data" and not self.graph.shapes[index]:
            return self._numbered(("data", node[1])), [node]
        if node[0] in ("constant", "number"):
            return self._numbered("constant"), [node]
        if node[0] in LEAVES:
            return self._numbered((node, self.graph.shapes[index])), []
        parts = [self._found[one] for one in operands]
        leaves = [leaf for _, some in parts for leaf in some]
        if len(leaves) > 10_000:
            return self._numbered((node, "alone", index)), []
        return self._numbered((node[0], *(number for number, _ in parts))), leaves

    def _numbered(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def _position(leaf: Leaf) -> int | None:
    """Return the index that a leaf reads, None for constants."""
    return None if leaf[0] in ("constant", "number") else int(leaf[1] if leaf[0] == "parameter" else leaf[2])


def _continues(run: list[tuple[Segment, list[Leaf]]], segment: Segment, leaves: list[Leaf]) -> bool:
    """Whether a row carries the run on by the steps that its first two rows set."""
    last, before = run[-1], run[-2] if len(run) > 1 else None
    if before is not None and segment.offset - last[0].offset != last[0].offset - before[0].offset:
        return False
    if len(leaves) != len(last[1]):
        return False
    for k, leaf in enumerate(leaves):
        here, there = _position(leaf), _position(last[1][k])
        if here is None or there is None:
            continue
        if before is not None:
            earlier = _position(before[1][k])
            if earlier is not None and here - there != there - earlier:
                return False
    return True


def _close(graph: Graph, result: list[Segment], run: list[tuple[Segment, list[Leaf]]]) -> None:
    """Append a run: as one segment if it is long enough."""
    if len(run) < SHORTEST:
        result += [segment for segment, _ in run]
        return
    count = len(run)
    rows = [leaves for _, leaves in run]
    joined = iter([_joined(graph, [leaves[k] for leaves in rows], count) for k in range(len(rows[0]))])
    first = run[0][0]
    node = _rebuilt(graph, first.node, joined)
    result.append(replace(first, node=node, shape=(count,), strides=(run[1][0].offset - first.offset,)))


def _joined(graph: Graph, leaves: list[Leaf], count: int) -> int:
    """Return one node for what a leaf is in all rows."""
    first, second = leaves[0], leaves[1]
    if first[0] in ("constant", "number"):
        values = [float(leaf[1]) if leaf[0] == "number" else graph.constants[leaf[1]] for leaf in leaves]
        if all(value == values[0] for value in values):
            return graph.number(values[0])
        array = np.array(values)
        return graph.leaf(("data", graph.slot(array), 0, (1,)), (count,))
    step = (_position(second) or 0) - (_position(first) or 0)
    if step == 0:
        return graph.leaf(first, ())
    if first[0] == "parameter":
        return graph.leaf(("parameters", first[1], (step,)), (count,))
    return graph.leaf(("data", first[1], first[2], (step,)), (count,))


def _rebuilt(graph: Graph, root: int, leaves: Any) -> int:
    """Return an expression with its leaves replaced, in the order in which `_Forms` lists them."""
    node = graph.nodes[root]
    if node[0] in ("parameter", "constant", "number") or (node[0] == "data" and not graph.shapes[root]):
        return next(leaves)  # type: ignore[no-any-return]
    if node[0] in LEAVES:
        return root
    return graph.apply(node[0], *[_rebuilt(graph, operand, leaves) for operand in node[1:]])
