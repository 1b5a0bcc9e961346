"""From a traced function to the programs of its kernels.

residual(p, data, r)
    r_i = w_i (f_i(p) - y_i)
jacobian(p, data, J')
    J'[j, i] = w_i d f_i / d p_j; for rows that depend on slices or sums see `nlsq.compiler.jacobian_source`
residual_and_jacobian(p, data, r, v)
    r, and the values of a sparse Jacobian, see there too
normal_equations(p, data, g, N)
    cost, g = J'r and N = J'J in one pass, see `nlsq.compiler.normal_source`
cost(p, data)
    1/2 |r|^2, or under a robust loss, see there
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nlsq.compiler.differentiate import derivatives, elementwise_nodes
from nlsq.compiler.graph import Graph
from nlsq.compiler.tracing.trace import Segment, Trace
from nlsq.kernels.backend.program import FIRST_FREE, Loop, Place, Program, Statement

Strides = tuple[tuple[int, int], ...]
Name = str | float  # of a value in statements; a number stands for itself


@dataclass(frozen=True)
class Variant:
    """Which form of a residual the kernels are for.

    Parameters
    ----------
    response : bool
        Whether data y are subtracted.
    weighted : bool
        Whether residuals are multiplied by weights.
    loss : str
        Name of the loss; all but ``"linear"`` change `cost` and `normal_equations` alone.
    omits : bool
        Whether a weight of zero leaves a point out, even where the model has no value.
    """

    response: bool = True
    weighted: bool = False
    loss: str = "linear"
    omits: bool = False


@dataclass
class Layout:
    """What stands where in the table beyond `FIRST_FREE`.

    Attributes
    ----------
    lengths : dict
        Place by axis length.
    offsets : list of int
        Place of each segment's offset.
    data : list of int
        Place of the address of each data slot that is no row of x.
    size : int
        Length of the table.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    data: list[int] = field(default_factory=list)
    size: int = FIRST_FREE

    def place(self) -> int:
        """Take the next free place."""
        self.size += 1
        return self.size - 1


def layout_of(trace: Trace) -> Layout:
    """Assign the places of a trace's table."""
    layout = Layout(data=[])
    layout.data = [layout.place() for _ in range(len(trace.graph.data) - trace.variables)]
    shapes = [segment.shape for segment in trace.segments]
    shapes += [trace.graph.shapes[trace.graph.nodes[index][1]] for index in sums_of(trace)]
    for shape in shapes:
        for length in shape or (1,):
            if length not in layout.lengths:
                layout.lengths[length] = layout.place()
    layout.offsets = [layout.place() for _ in trace.segments]
    return layout


def sums_of(trace: Trace) -> list[int]:
    """Return the sums that the output needs, inner sums first."""
    graph = trace.graph
    return [
        index
        for index in graph.reachable([segment.node for segment in trace.segments])
        if graph.nodes[index][0] == "sum"
    ]


class Writer:
    """Writes statements for nodes; numbers go before the loops, what runs over an index space into one."""

    def __init__(self, trace: Trace, layout: Layout, program: Program) -> None:
        self.graph: Graph = trace.graph
        self.trace, self.layout, self.program = trace, layout, program
        self._numbers: set[int] = set()

    def lengths(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the places of the lengths of a shape; a number is a loop of one step."""
        return tuple(self.layout.lengths[length] for length in shape or (1,))

    def name(self, index: int) -> Name:
        """Return what a node is called in statements."""
        node = self.graph.nodes[index]
        return float(node[1]) if node[0] == "number" else f"v{index}"

    def number(self, root: int) -> Name:
        """Make sure that a number is known before the loops, and return its name."""
        graph, waiting, missing = self.graph, [root], set()
        while waiting:
            index = waiting.pop()
            if index in self._numbers or index in missing or graph.nodes[index][0] == "number":
                continue
            missing.add(index)
            waiting += graph.operands(index) if graph.nodes[index][0] != "sum" else ()
        for index in sorted(missing):
            self._numbers.add(index)
            if graph.nodes[index][0] == "sum":
                self.total(index)
            else:
                self.program.steps.append(self.statement(index))
        return self.name(root)

    def defined(self, index: int) -> str:
        """Return the name of a number whose statement is written by the caller."""
        self._numbers.add(index)
        return f"v{index}"

    def total(self, index: int) -> None:
        """Write the loop of a sum."""
        child = self.graph.nodes[index][1]
        loop = Loop(self.lengths(self.graph.shapes[child]))
        loop.totals.append((f"v{index}", self.values(loop, [child])[0]))
        self.program.steps.append(loop)

    def statement(self, index: int) -> Statement:
        """Return the statement of a node."""
        node, name = self.graph.nodes[index], f"v{index}"
        operation = node[0]
        if operation == "parameter":
            return Statement(name, "read", (Place("p", node[1]),))
        if operation == "constant":
            return Statement(name, "read", (Place("k", 1 + node[1]),))
        if operation == "parameters":
            return Statement(name, "read", (Place("p", node[1], strides=plain(node[2])),))
        if operation == "data":
            slot = node[1]
            variables = self.trace.variables
            array = f"x{slot}" if slot < variables else f"d{self.layout.data[slot - variables]}"
            return Statement(name, "read", (Place(array, node[2], strides=plain(node[3])),))
        return Statement(name, operation, tuple(self.name(one) for one in node[1:]))

    def values(self, loop: Loop, roots: list[int]) -> list[Name]:
        """Write what the roots need into a loop, numbers before it; return their names."""
        written = {statement.name for statement in loop.statements}
        needed = sorted({index for root in roots for index in elementwise_nodes(self.graph, root)})
        for index in needed:
            if not self.graph.shapes[index]:
                self.number(index)
            elif f"v{index}" not in written:
                loop.statements.append(self.statement(index))
        return [self.name(root) for root in roots]


def plain(strides: tuple[int, ...]) -> Strides:
    """Return strides that do not depend on the number of points."""
    return tuple((stride, 0) for stride in strides)


def at(array: str, layout: Layout, segment: Segment, k: int, column: int = 0) -> Place:
    """Return where the values of a segment go, in a column of the transposed Jacobian or in a vector."""
    return Place(array, offset=layout.offsets[k], by_points=column, strides=plain(segment.strides or (1,)))


class Rows:
    """Residual and derivatives of one segment, in a loop."""

    def __init__(self, writer: Writer, variant: Variant, segment: Segment, k: int) -> None:
        self.writer, self.variant, self.segment, self.k = writer, variant, segment, k
        self.loop = Loop(writer.lengths(segment.shape))
        self._weight: str | None = None
        self._counts = ""

    def residual(self) -> Name:
        """Write the residual and return its name."""
        (value,) = self.writer.values(self.loop, [self.segment.node])
        statements, layout = self.loop.statements, self.writer.layout
        if self.variant.response:
            statements.append(Statement("y", "read", (at("y", layout, self.segment, self.k),)))
            statements.append(Statement("r", "-", (value, "y")))
            value = "r"
        if self.variant.weighted:
            statements.append(Statement("wr", "*", (value, self.weight())))
            value = "wr"
        return self._counted("cr", value)

    def weight(self) -> str:
        """Write the weight, once."""
        if self._weight is None:
            self._weight = "w"
            place = at("w", self.writer.layout, self.segment, self.k)
            self.loop.statements.append(Statement("w", "read", (place,)))
        return self._weight

    def _counted(self, name: str, value: Name) -> Name:
        """Write zero in the place of a value where the weight leaves the point out, whatever the value is there."""
        if not (self.variant.weighted and self.variant.omits):
            return value
        if not self._counts:
            self._counts = "counts"
            self.loop.statements.append(Statement("counts", "!=", (self.weight(), 0.0)))
        self.loop.statements.append(Statement(name, "where", ("counts", value, 0.0)))
        return name

    def columns(self, found: dict[int, int]) -> dict[int, Name]:
        """Write derivatives by leaf; return their names, the weight applied."""
        leaves = list(found)
        names = self.writer.values(self.loop, [found[leaf] for leaf in leaves])
        if self.variant.weighted:
            for position, leaf in enumerate(leaves):
                weighted = f"w{leaf}"
                self.loop.statements.append(Statement(weighted, "*", (names[position], self.weight())))
                names[position] = self._counted(f"c{leaf}", weighted)
        return dict(zip(leaves, names, strict=True))


def residual_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the residual."""
    program = Program("residual")
    writer = Writer(trace, layout, program)
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        rows.loop.writes.append((at("first", layout, segment, k), rows.residual(), False))
        program.steps.append(rows.loop)
    return program


def is_curve(trace: Trace) -> bool:
    """Whether every row depends on single parameters alone, not on slices of them or on sums."""
    return all(
        trace.graph.nodes[leaf][0] == "parameter"
        for segment in trace.segments
        for leaf in derivatives(trace.graph, segment.node)
    )


def curve_jacobian(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the dense, transposed Jacobian, for a trace that `is_curve`."""
    program = Program("jacobian")
    writer = Writer(trace, layout, program)
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        names = rows.columns(derivatives(trace.graph, segment.node))
        by_parameter = {trace.graph.nodes[leaf][1]: name for leaf, name in names.items()}
        for j in range(trace.graph.n):
            rows.loop.writes.append((at("first", layout, segment, k, j), by_parameter.get(j, 0.0), False))
        program.steps.append(rows.loop)
    return program
