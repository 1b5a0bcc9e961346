"""Programs that linearise the stages of an optimal control problem, several at once.

A stage is ``F(z, p) = (f(x, u, p), r(x, u, p))`` with ``z = (u, x)``: dynamics, and residuals of the cost. One loop
over the stages, as many side by side as a vector register has room for, computes from z

    f,   [B A] = df/dz,   phi = 1/2 |r|^2,   g = J'r,   H = J'J   with J = dr/dz,

common parts once; entries that are zero by structure cost nothing. A second program has the exact Hessian of the
Lagrangian ``phi + pi' f`` for H, with the costates pi of the next stage. Places are those of
`nlsq.kernels.optimal_control.stage_layout`: the parameters of a stage, like its z, stand by components.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.differentiate import derivatives
from nlsq.compiler.graph import LEAVES, TRUTHS, Graph, NotTraceable
from nlsq.compiler.tracing.trace import Trace
from nlsq.compiler.unrolled import tangents, total, unrolled
from nlsq.kernels.backend.generated import make
from nlsq.kernels.backend.program import CONSTANTS, FIRST_FREE, POINTS, SCRATCH, Loop, Place, Program, Statement, render

COUNT, COSTATES, FIRST_SLOT = range(FIRST_FREE, FIRST_FREE + 3)  # stages, address of costates, of each data slot
COSTATE_SLOT = -1
LONGEST = 4000  # statements in a loop: compiling takes more than twice the time for twice as many,
PIECE = 2000  # so that longer ones are cut
MOST_EXACT = 6000  # statements with the exact Hessian: some seconds of compilation
ALONG = ((1, 0),)
ONE_FOR_ALL = ((0, 0),)


@dataclass(frozen=True)
class StageShape:
    """Sizes that the programs of a stage, or of the terminal one, have written into them.

    Parameters
    ----------
    nx, nu : int
        States and controls.
    first : int
        Component of z with which the function's argument begins: 0, or `nu` for the terminal residual.
    dynamics : int
        How many of the outputs, the first ones, are dynamics.
    row, block : int
        Length of the rows of matrices, and of a stage's block.
    """

    nx: int
    nu: int
    first: int
    dynamics: int
    row: int
    block: int


class StageGraph:
    """A stage as scalar expressions.

    Parameters
    ----------
    trace : Trace
        Of ``z -> (f, r)``.
    shape : StageShape
        Sizes.
    varying : int or None
        The data slot that has other numbers at each stage.

    Raises
    ------
    NotTraceable
        If the stage is too long.
    """

    def __init__(self, trace: Trace, shape: StageShape, varying: int | None) -> None:
        self.graph, outputs = unrolled(trace)
        self.shape, self.varying = shape, varying
        self.dynamics, self.residuals = outputs[: shape.dynamics], outputs[shape.dynamics :]
        graph = self.graph
        squares = [graph.apply("*", node, node) for node in self.residuals]
        self.cost = graph.apply("*", graph.number(0.5), total(graph, squares))
        self._slopes = tangents(graph, outputs)

    def values(self, array: str) -> list[tuple[Place, int]]:
        """Return where dynamics and cost go."""
        found = [(Place(array, by_points=i, strides=ALONG), node) for i, node in enumerate(self.dynamics)]
        return [*found, (Place(array, by_points=2 * self.shape.nx + self.shape.nu, strides=ALONG), self.cost)]

    def first_derivatives(self) -> list[tuple[Place, int]]:
        """Return where [B A] and g go."""
        graph, shape = self.graph, self.shape
        found = [
            (Place("first", i * shape.row + shape.first + j, strides=((shape.block, 0),)), node)
            for i, by in enumerate(self._slopes[: shape.dynamics])
            for j, node in by.items()
        ]
        for i in range(graph.n):
            terms = [graph.apply("*", node, by[i]) for node, by in self._of_residuals() if i in by]
            found.append((Place("second", by_points=shape.nx + shape.first + i, strides=ALONG), total(graph, terms)))
        return found

    def _of_residuals(self) -> list[tuple[int, dict[int, int]]]:
        return list(zip(self.residuals, self._slopes[self.shape.dynamics :], strict=True))

    def gauss_newton(self) -> list[tuple[Place, int]]:
        """Return where the entries of J'J go."""
        found: list[tuple[Place, int]] = []
        for i in range(self.graph.n):
            for j in range(i + 1):
                products = [
                    self.graph.apply("*", by[i], by[j]) for _, by in self._of_residuals() if i in by and j in by
                ]
                if products:
                    found += self._entry(i, j, total(self.graph, products))
        return found

    def exact(self) -> list[tuple[Place, int]]:
        """Return where the entries of the Lagrangian's Hessian go; zeros are written too, since J'J may be there."""
        graph = self.graph
        parts = [
            graph.apply("*", graph.leaf(("data", COSTATE_SLOT, i, ()), ()), node)
            for i, node in enumerate(self.dynamics)
        ]
        gradient = derivatives(graph, total(graph, [self.cost, *parts]))
        by_parameter = {graph.nodes[leaf][1]: node for leaf, node in gradient.items()}
        rows = sorted(by_parameter)
        slopes = dict(zip(rows, tangents(graph, [by_parameter[i] for i in rows]), strict=True))
        zero = graph.number(0.0)
        return [
            one
            for i in range(graph.n)
            for j in range(i + 1)
            for one in self._entry(i, j, slopes.get(i, {}).get(j, zero))
        ]

    def _entry(self, i: int, j: int, node: int) -> list[tuple[Place, int]]:
        """Return both places of an entry of H."""
        shape = self.shape
        start = shape.nx * shape.row + shape.first * shape.row + shape.first
        places = {start + i * shape.row + j, start + j * shape.row + i}
        return [(Place("first", place, strides=((shape.block, 0),)), node) for place in sorted(places)]

    def program(self, name: str) -> Program:
        """Return ``"linearise"``, ``"linearise_exact"`` or ``"evaluate"``."""
        if name == "evaluate":
            writes = self.values("first")
        else:
            hessian = self.exact() if name == "linearise_exact" else self.gauss_newton()
            writes = self.values("second") + self.first_derivatives() + hessian
        return _program(name, self.graph, writes, self.shape, self.varying)


def _program(
    name: str, graph: Graph, writes: list[tuple[Place, int]], shape: StageShape, varying: int | None
) -> Program:
    statements = [
        _statement(graph, index, shape, varying)
        for index in graph.reachable([node for _, node in writes])
        if graph.nodes[index][0] != "number"
    ]
    named = [(place, _name(graph, node), False) for place, node in writes]
    if len(statements) <= LONGEST:
        return Program(name, [Loop((COUNT,), statements, writes=named)])
    return Program(name, list(_pieces(statements, named)))


def _pieces(statements: list[Statement], writes: list[tuple[Place, str | float, bool]]) -> list[Loop]:
    """Cut a long loop into several, which compile faster; values that a later one needs go through scratch memory.

    What is read and what is true or false is made again instead.
    """
    by_name = {one.name: one for one in statements}
    home = {one.name: position // PIECE for position, one in enumerate(statements)}
    loops = [Loop((COUNT,)) for _ in range(-(-len(statements) // PIECE))]
    slots: dict[str, int] = {}
    for piece, loop in enumerate(loops):
        known: set[str] = set()
        for statement in statements[piece * PIECE : (piece + 1) * PIECE]:
            for operand in statement.operands:
                if isinstance(operand, str) and home[operand] != piece:
                    _bring(operand, by_name, slots, known, loop)
            loop.statements.append(statement)
    for kept, slot in slots.items():
        loops[home[kept]].writes.append((Place("scratch", by_points=slot, strides=ALONG), kept, False))
    for place, value, adds in writes:
        loops[home[value] if isinstance(value, str) else 0].writes.append((place, value, adds))
    return loops


def _bring(name: str, by_name: dict[str, Statement], slots: dict[str, int], known: set[str], loop: Loop) -> None:
    """Let a loop have a value of an earlier one."""
    if name in known:
        return
    known.add(name)
    statement = by_name[name]
    if statement.operation in TRUTHS:
        for operand in statement.operands:
            if isinstance(operand, str):
                _bring(operand, by_name, slots, known, loop)
    elif statement.operation != "read":
        place = Place("scratch", by_points=slots.setdefault(name, len(slots)), strides=ALONG)
        statement = Statement(name, "read", (place,))
    loop.statements.append(statement)


def _scratch_slots(program: Program) -> int:
    """Return how many values the loops of a program hand on."""
    places = [place for loop in program.steps if isinstance(loop, Loop) for place, _, _ in loop.writes]
    return 1 + max((place.by_points for place in places if place.array == "scratch"), default=-1)


def _name(graph: Graph, index: int) -> str | float:
    node = graph.nodes[index]
    return float(node[1]) if node[0] == "number" else f"v{index}"


def _statement(graph: Graph, index: int, shape: StageShape, varying: int | None) -> Statement:
    node, name = graph.nodes[index], f"v{index}"
    if node[0] == "parameter":
        return Statement(name, "read", (Place("p", by_points=shape.first + node[1], strides=ALONG),))
    if node[0] == "constant":
        return Statement(name, "read", (Place("k", 1 + node[1], strides=ONE_FOR_ALL),))
    if node[0] == "data":
        array = f"d{COSTATES if node[1] == COSTATE_SLOT else FIRST_SLOT + node[1]}"
        if node[1] in (varying, COSTATE_SLOT):
            return Statement(name, "read", (Place(array, by_points=node[2], strides=ALONG),))
        return Statement(name, "read", (Place(array, node[2], strides=ONE_FOR_ALL),))
    assert node[0] not in LEAVES
    return Statement(name, node[0], tuple(_name(graph, one) for one in node[1:]))


class StageKernels:
    """Compiled programs of a stage with the table that they read.

    Parameters
    ----------
    trace : Trace
        Of ``z -> (f, r)``.
    shape : StageShape
        Sizes.
    count, lead : int
        Number of stages, and how far components are apart.
    varying : ndarray or None
        The array among the trace's sources that has other numbers at each stage.
    varying_address, costates_address : int
        Where these numbers are, and the costates of the next stage.

    Attributes
    ----------
    linearise, evaluate : int
        Addresses.
    table : ndarray of int
        What both read.
    """

    def __init__(
        self,
        trace: Trace,
        shape: StageShape,
        count: int,
        lead: int,
        varying: object,
        varying_address: int,
        costates_address: int = 0,
    ) -> None:
        slots = [k for k, source in enumerate(trace.sources) if source is varying]
        self._stage = StageGraph(trace, shape, slots[0] if slots else None)
        programs = [self._stage.program(name) for name in ("linearise", "evaluate")]
        self.linearise, self.evaluate = _made(programs)
        self.data = [np.array(one, dtype=np.float64).ravel() for one in trace.graph.data]  # as they are now
        self.constants = np.zeros(0)
        self.table: NDArray[np.int64] = np.zeros(FIRST_SLOT + len(self.data), dtype=np.int64)
        self.table[POINTS], self.table[COUNT], self.table[COSTATES] = lead, count, costates_address
        for k, array in enumerate(self.data):
            self.table[FIRST_SLOT + k] = varying_address if k in slots else _address(array)
        self._write_constants()
        self._scratch = np.zeros(0)
        self._make_room(programs, lead)

    def _make_room(self, programs: list[Program], lead: int) -> None:
        """Take as much scratch memory as programs need."""
        size = lead * max(_scratch_slots(program) for program in programs)
        if size > self._scratch.size:
            self._scratch = np.zeros(size)
        self.table[SCRATCH] = _address(self._scratch)

    def _write_constants(self) -> None:
        """Write the graph's constants, which become more with its derivatives."""
        self.constants = np.array([1.0, *self._stage.graph.constants])
        self.table[CONSTANTS] = _address(self.constants)

    def linearise_exact(self) -> int:
        """Return the address of the program with the exact Hessian; 0 where it would be too long."""
        try:
            program = self._stage.program("linearise_exact")
        except NotTraceable:
            return 0
        if sum(len(loop.statements) for loop in program.steps if isinstance(loop, Loop)) > MOST_EXACT:
            return 0
        self._write_constants()
        self._make_room([program], int(self.table[POINTS]))
        return _made([program])[0]


def _made(programs: list[Program]) -> list[int]:
    """Return addresses of programs, compiled where they are nowhere to be found."""
    digest = hashlib.sha256("".join(render(program) for program in programs).encode())
    return make(f"nlsq_stage_{digest.hexdigest()[:40]}", programs)


def _address(array: NDArray[np.float64] | NDArray[np.int64]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
