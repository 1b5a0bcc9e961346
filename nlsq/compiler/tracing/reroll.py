"""Rows that a loop wrote one after the other become one expression over an index again.

Two numbers are equal but for indices if their expressions have the same form and read parameters, data or constants in
the same places. A run of such rows, whose indices and places in the output advance by equal steps, is one segment: its
leaves are views with that step, and constants that differ become data. Numbers that come with each call are no such
constants: rows have to read the same one.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nlsq.compiler.graph import COMMUTATIVE, LEAVES, Graph

if TYPE_CHECKING:
    from nlsq.compiler.tracing.trace import Segment

SHORTEST = 4  # rows worth a loop
LARGEST_ROW = 1000  # operations of a row that may become the body of a loop
MOST_OPERATIONS = 1_000_000  # operations looked at in all rows together
Leaf = tuple[Any, ...]
Row = tuple["Segment", list[Leaf]]


def reroll(graph: Graph, segments: list[Segment]) -> list[Segment]:
    """Return segments with runs of single equal rows joined; their order may be another."""
    result: list[Segment] = []
    groups: dict[Any, list[Row]] = {}
    forms = _Forms(graph)
    for segment in segments:
        if prod(segment.shape) != 1 or forms.budget <= 0:
            result.append(segment)
            continue
        node = segment.node
        if graph.shapes[node]:
            node = graph.move(node, (), tuple((0, 0, None) for _ in graph.shapes[node]))
        form, leaves = forms.of(node)
        row = replace(segment, node=node, shape=(1,), strides=(1,))
        groups.setdefault(form, []).append((row, leaves))
    for form, rows in groups.items():
        for run in _runs(rows):
            result += _joined_run(graph, form, run)
    return result


class _Forms:
    """Finds what expressions have in common.

    A form is a list of operations, operands first; an operand is the number of an earlier one or a leaf's occurrence,
    and the operands of a sum or product stand in an order that does not depend on when they were recorded.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.budget = MOST_OPERATIONS
        self._kinds: dict[int, tuple[int, int]] = {}  # by node: number of its form as a tree, first place in it
        self._numbers: dict[Any, int] = {}

    def of(self, root: int) -> tuple[Any, list[Leaf]]:
        """Return the form of a number, and its leaves in the order in which the form has them."""
        size = self._learn(root)
        self.budget -= size
        if size > LARGEST_ROW:
            return ("alone", root), []
        numbers: dict[int, int] = {}
        leaves: list[Leaf] = []
        form: list[Any] = []
        stack = [root]
        while stack:
            index = stack[-1]
            if index in numbers:
                stack.pop()
                continue
            operands = self._operands(index)
            missing = [one for one in operands if one not in numbers and not self._is_leaf(one)]
            if missing:
                stack += missing[::-1]
                continue
            stack.pop()
            numbers[index] = len(form)
            form.append((self.graph.nodes[index][0], *[self._operand(one, numbers, leaves) for one in operands]))
        return tuple(form), leaves

    def _is_leaf(self, index: int) -> bool:
        return self.graph.nodes[index][0] in LEAVES

    def _operands(self, index: int) -> list[int]:
        node = self.graph.nodes[index]
        if node[0] in LEAVES:  # a root that is one
            return [index]
        operands = list(node[1:])
        if node[0] in COMMUTATIVE:
            operands.sort(key=self._kinds.__getitem__)
        return operands

    def _operand(self, index: int, numbers: dict[int, int], leaves: list[Leaf]) -> Any:
        if index in numbers and not self._is_leaf(index):
            return numbers[index]
        node = self.graph.nodes[index]
        if node[0] == "sum" or self.graph.is_given(node):
            return ("same", index)
        leaves.append(node)
        if node[0] == "data":
            return "data", node[1]
        return ("parameter",) if node[0] == "parameter" else ("constant",)

    def _learn(self, root: int) -> int:
        """Give the form of each part, as a tree, a number; return how many operations and leaves there are."""
        nodes = self.graph.elementwise(root)
        for index in nodes:
            if index in self._kinds:
                continue
            node = self.graph.nodes[index]
            if node[0] in LEAVES:
                given = self.graph.is_given(node)
                slot = node[1] if given or node[0] in ("data", "sum") else None
                name = "given" if given else "constant" if node[0] == "number" else node[0]
                self._kinds[index] = self._number((name, slot)), _place(node)
                continue
            parts = [self._kinds[one] for one in node[1:]]
            if node[0] in COMMUTATIVE:
                parts.sort()
            key = (node[0], *[number for number, _ in parts])
            self._kinds[index] = self._number(key), min(place for _, place in parts)
        return len(nodes)

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def _place(leaf: Leaf) -> int:
    """Return the index that a leaf reads; constants have no place that matters."""
    if leaf[0] == "parameter":
        return int(leaf[1])
    return int(leaf[2]) if leaf[0] == "data" else 0


def _runs(rows: list[Row]) -> list[list[Row]]:
    """Cut rows of one form into runs whose places advance by equal steps."""
    places = [np.array([row.offset, *map(_place, leaves)]) for row, leaves in rows]
    runs: list[list[int]] = []
    run: list[int] = []
    for k, here in enumerate(places):
        if len(run) >= 2 and not np.array_equal(here - places[run[-1]], places[run[1]] - places[run[0]]):
            if len(run) == 2:
                runs.append(run[:1])
                run = run[1:]
            else:
                runs.append(run)
                run = []
        run.append(k)
    runs.append(run)
    return [[rows[k] for k in one] for one in runs]


def _joined_run(graph: Graph, form: Any, run: list[Row]) -> list[Segment]:
    """Return one segment for a run, or its rows where it is short."""
    if len(run) < SHORTEST or form[0] == "alone":
        return [segment for segment, _ in run]
    leaves = iter([_joined(graph, [row[k] for _, row in run]) for k in range(len(run[0][1]))])
    built: list[int] = []
    for operation, *operands in form:
        nodes = [_operand(one, built, leaves) for one in operands]
        built.append(nodes[0] if operation in LEAVES else graph.apply(operation, *nodes))
    first = run[0][0]
    return [replace(first, node=built[-1], shape=(len(run),), strides=(run[1][0].offset - first.offset,))]


def _operand(one: Any, built: list[int], leaves: Any) -> int:
    if isinstance(one, int):
        return built[one]
    return int(one[1]) if one[0] == "same" else int(next(leaves))


def _joined(graph: Graph, leaves: list[Leaf]) -> int:
    """Return one node for what a leaf is in all rows."""
    first, count = leaves[0], len(leaves)
    if first[0] in ("constant", "number"):
        values = [float(leaf[1]) if leaf[0] == "number" else graph.constants[leaf[1]] for leaf in leaves]
        if all(value == values[0] for value in values):
            return graph.number(values[0])
        return graph.leaf(("data", graph.slot(np.array(values)), 0, (1,)), (count,))
    step = _place(leaves[1]) - _place(first)
    if step == 0:
        return graph.leaf(first, ())
    if first[0] == "parameter":
        return graph.leaf(("parameters", first[1], (step,)), (count,))
    return graph.leaf(("data", first[1], first[2], (step,)), (count,))
