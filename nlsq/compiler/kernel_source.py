"""From a traced function to the programs of its kernels.

    residual(p, data, r)                      r_i = w_i (f_i(p) - y_i)
    residual_and_jacobian(p, data, r, J')     and J'[j, i] = w_i d f_i / d p_j
    normal_equations(p, data, g, N)           cost, g = J'r and N = J'J in one pass, without r or J
    cost(p, data)                             1/2 |r|^2

With a robust loss, ``cost`` is ``1/2 sum s^2 rho((r_i/s)^2)``, and the rows of the normal equations carry its weights
(see `nlsq.kernels.robust`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nlsq.compiler.differentiate import depends_on_parameters, derivatives, elementwise_nodes
from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.trace import Segment, Trace
from nlsq.kernels.backend.program import FIRST_FREE, Loop, Place, Program, Statement

FUSED_UP_TO = 10  # parameters: beyond, the sums of the normal equations no longer fit into registers
Strides = tuple[tuple[int, int], ...]


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
    """

    response: bool = True
    weighted: bool = False
    loss: str = "linear"


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


def layout_of(trace: Trace) -> Layout:
    """Assign the places of a trace's table."""
    layout = Layout()
    for _ in range(len(trace.graph.data) - trace.variables):
        layout.data.append(layout.size)
        layout.size += 1
    shapes = [segment.shape for segment in trace.segments]
    shapes += [trace.graph.shapes[trace.graph.nodes[index][1]] for index in _sums(trace)]
    for shape in shapes:
        for length in shape or (1,):
            if length not in layout.lengths:
                layout.lengths[length] = layout.size
                layout.size += 1
    for _ in trace.segments:
        layout.offsets.append(layout.size)
        layout.size += 1
    return layout


def _sums(trace: Trace) -> list[int]:
    graph = trace.graph
    return [
        index
        for index in graph.reachable([segment.node for segment in trace.segments])
        if graph.nodes[index][0] == "sum"
    ]


class _Writer:
    """Writes statements for nodes; numbers go before the loops, what runs over an index space into one."""

    def __init__(self, trace: Trace, layout: Layout, program: Program) -> None:
        self.graph: Graph = trace.graph
        self.trace, self.layout, self.program = trace, layout, program
        self._numbers: set[int] = set()

    def lengths(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the places of the lengths of a shape; a number is a loop of one step."""
        return tuple(self.layout.lengths[length] for length in shape or (1,))

    def name(self, index: int) -> str | float:
        """Return what a node is called in statements."""
        node = self.graph.nodes[index]
        return float(node[1]) if node[0] == "number" else f"v{index}"

    def number(self, root: int) -> str | float:
        """Make sure that a number is known before the loops, and return its name."""
        for index in elementwise_nodes(self.graph, root):
            if index in self._numbers or self.graph.nodes[index][0] == "number":
                continue
            self._numbers.add(index)
            if self.graph.nodes[index][0] == "sum":
                self.total(index)
            else:
                self.program.steps.append(self.statement(index))
        return self.name(root)

    def total(self, index: int) -> None:
        """Write the loop of a sum."""
        child = self.graph.nodes[index][1]
        loop = Loop(self.lengths(self.graph.shapes[child]))
        loop.totals.append((f"v{index}", self.values(loop, [child])[0]))  # type: ignore[arg-type]
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

    def values(self, loop: Loop, roots: list[int]) -> list[str | float]:
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


def _at(array: str, layout: Layout, segment: Segment, k: int, column: int = 0) -> Place:
    """Return where the values of a segment go, in a column of the transposed Jacobian or in a vector."""
    return Place(array, offset=layout.offsets[k], by_points=column, strides=plain(segment.strides or (1,)))


class _Rows:
    """Residual and derivatives of one segment, in a loop."""

    def __init__(self, writer: _Writer, variant: Variant, segment: Segment, k: int) -> None:
        self.writer, self.variant, self.segment, self.k = writer, variant, segment, k
        self.loop = Loop(writer.lengths(segment.shape))
        self._weight: str | None = None

    def residual(self) -> str | float:
        """Write the residual and return its name."""
        (value,) = self.writer.values(self.loop, [self.segment.node])
        statements, layout = self.loop.statements, self.writer.layout
        if self.variant.response:
            statements.append(Statement("y", "read", (_at("y", layout, self.segment, self.k),)))
            statements.append(Statement("r", "-", (value, "y")))
            value = "r"
        if self.variant.weighted:
            statements.append(Statement("wr", "*", (value, self.weight())))
            value = "wr"
        return value

    def weight(self) -> str:
        """Write the weight, once."""
        if self._weight is None:
            self._weight = "w"
            place = _at("w", self.writer.layout, self.segment, self.k)
            self.loop.statements.append(Statement("w", "read", (place,)))
        return self._weight

    def columns(self, found: dict[int, int]) -> dict[int, str | float]:
        """Write derivatives by leaf; return their names, the weight applied."""
        leaves = list(found)
        names = self.writer.values(self.loop, [found[leaf] for leaf in leaves])
        if self.variant.weighted:
            for position, leaf in enumerate(leaves):
                weighted = f"w{leaf}"
                self.loop.statements.append(Statement(weighted, "*", (names[position], self.weight())))
                names[position] = weighted
        return dict(zip(leaves, names, strict=True))


def residual_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the residual."""
    program = Program("residual")
    writer = _Writer(trace, layout, program)
    for k, segment in enumerate(trace.segments):
        rows = _Rows(writer, variant, segment, k)
        rows.loop.writes.append((_at("first", layout, segment, k), rows.residual(), False))
        program.steps.append(rows.loop)
    return program


def is_curve(trace: Trace) -> bool:
    """Whether every row depends on single parameters alone, not on slices of them or on sums."""
    return all(
        trace.graph.nodes[leaf][0] == "parameter"
        for segment in trace.segments
        for leaf in derivatives(trace.graph, segment.node)
    )


def dense_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the residual and the dense, transposed Jacobian, for a trace that `is_curve`."""
    program = Program("residual_and_jacobian")
    writer = _Writer(trace, layout, program)
    for k, segment in enumerate(trace.segments):
        rows = _Rows(writer, variant, segment, k)
        rows.loop.writes.append((_at("first", layout, segment, k), rows.residual(), False))
        found = derivatives(trace.graph, segment.node)
        names = rows.columns(found)
        by_parameter = {trace.graph.nodes[leaf][1]: name for leaf, name in names.items()}
        for j in range(trace.graph.n):
            rows.loop.writes.append((_at("second", layout, segment, k, j), by_parameter.get(j, 0.0), False))
        program.steps.append(rows.loop)
    return program


def normal_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the normal equations, for a trace that `is_curve`."""
    n = trace.graph.n
    program = Program("normal_equations")
    writer = _Writer(trace, layout, program)
    sums: dict[str, list[str]] = {}
    for k, segment in enumerate(trace.segments):
        rows = _Rows(writer, variant, segment, k)
        residual = rows.residual()
        found = derivatives(trace.graph, segment.node)
        names = {trace.graph.nodes[leaf][1]: name for leaf, name in rows.columns(found).items()}
        cost, residual, names = _with_loss(rows.loop, variant, residual, names)

        def add(total: str, value: str | float, rows: _Rows = rows, k: int = k) -> None:
            rows.loop.totals.append((f"{total}_{k}", value))  # type: ignore[arg-type]
            sums.setdefault(total, []).append(f"{total}_{k}")

        def product(name: str, a: str | float, b: str | float, rows: _Rows = rows) -> str:
            rows.loop.statements.append(Statement(name, "*", (a, b)))
            return name

        add("c", cost if cost is not None else product("rr", residual, residual))
        for j in sorted(names):
            add(f"g{j}", product(f"rg{j}", names[j], residual))
            for i in sorted(names):
                if i <= j:
                    add(f"n{j}_{i}", product(f"rn{j}_{i}", names[j], names[i]))
        program.steps.append(rows.loop)
    _finish_normal(program, sums, n, variant)
    return program


def _finish_normal(program: Program, sums: dict[str, list[str]], n: int, variant: Variant) -> None:
    """Add up the segments' totals and write them out."""

    def total(name: str) -> str | float:
        parts = sums.get(name, [])
        if not parts:
            return 0.0
        result = parts[0]
        for position, part in enumerate(parts[1:]):
            program.steps.append(Statement(f"{name}_sum{position}", "+", (result, part)))
            result = f"{name}_sum{position}"
        return result

    _return_cost(program, total("c"), variant)
    for j in range(n):
        program.writes.append((Place("first", j), total(f"g{j}")))
        for i in range(j + 1):
            value = total(f"n{j}_{i}")
            program.writes.append((Place("second", j * n + i), value))
            if i != j:
                program.writes.append((Place("second", i * n + j), value))


def _return_cost(program: Program, total: str | float, variant: Variant) -> None:
    factor: str | float = 0.5
    if variant.loss != "linear":
        program.steps.append(Statement("s_end", "read", (Place("k", 0),)))
        program.steps.append(Statement("s2", "*", ("s_end", "s_end")))
        program.steps.append(Statement("half_s2", "*", ("s2", 0.5)))
        factor = "half_s2"
    program.steps.append(Statement("result", "*", (total, factor)))
    program.result = "result"


def cost_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the cost."""
    program = Program("cost")
    writer = _Writer(trace, layout, program)
    parts: list[str] = []
    for k, segment in enumerate(trace.segments):
        rows = _Rows(writer, variant, segment, k)
        residual = rows.residual()
        cost, _, _ = _with_loss(rows.loop, variant, residual, {})
        if cost is None:
            rows.loop.statements.append(Statement("rr", "*", (residual, residual)))
            cost = "rr"
        rows.loop.totals.append((f"c_{k}", cost))
        parts.append(f"c_{k}")
        program.steps.append(rows.loop)
    result = parts[0]
    for position, part in enumerate(parts[1:]):
        program.steps.append(Statement(f"c_sum{position}", "+", (result, part)))
        result = f"c_sum{position}"
    _return_cost(program, result, variant)
    return program


Columns = dict[int, str | float]


def _with_loss(
    loop: Loop, variant: Variant, residual: str | float, columns: Columns
) -> tuple[str | None, str | float, Columns]:
    """Write rho and the weights of a robust loss; return rho's name, weighted residual and weighted columns."""
    if variant.loss == "linear":
        return None, residual, columns
    steps = loop.statements

    def put(name: str, operation: str, *operands: str | float) -> str:
        steps.append(Statement(name, operation, operands))
        return name

    scale = put("s", "read", Place("k", 0))  # type: ignore[arg-type]
    ratio = put("t", "/", residual, scale)
    z = put("z", "*", ratio, ratio)
    if variant.loss == "soft_l1":
        base = put("z1", "+", 1.0, z)
        root = put("zr", "sqrt", base)
        value = put("rho", "/", put("z2", "*", 2.0, z), put("zr1", "+", 1.0, root))
        first = put("rho1", "/", 1.0, root)
        curvature = put("curv", "/", first, base)  # rho1 + 2 z rho2 = (1 + z)^(-3/2)
    elif variant.loss == "huber":
        inside = put("zin", "<=", z, 1.0)
        root = put("zr", "sqrt", z)
        value = put("rho", "where", inside, z, put("zo", "-", put("z2r", "*", 2.0, root), 1.0))
        first = put("rho1", "where", inside, 1.0, put("zi", "/", 1.0, root))
        curvature = put("curv", "where", inside, 1.0, 0.0)
    elif variant.loss == "cauchy":
        base = put("z1", "+", 1.0, z)
        value = put("rho", "log1p", z)
        first = put("rho1", "/", 1.0, base)
        share = put("zs", "-", 1.0, put("zq", "*", 2.0, put("zf", "*", z, first)))
        curvature = put("curv", "*", first, share)
    elif variant.loss == "arctan":
        base = put("z1", "+", 1.0, put("zz", "*", z, z))
        value = put("rho", "atan", z)
        first = put("rho1", "/", 1.0, base)
        ratio2 = put("zq", "*", put("zz4", "*", 4.0, put("zzc", "*", z, z)), first)
        curvature = put("curv", "*", first, put("zs", "-", 1.0, ratio2))
    else:
        raise NotTraceable(f"the loss {variant.loss!r} has no kernel")
    factor = put("fac", "sqrt", put("floored", "maximum", curvature, 2.220446049250313e-16))
    weighted = put("lr", "*", residual, put("share", "/", first, factor))
    names: Columns = {j: put(f"l{j}", "*", name, factor) for j, name in columns.items()}
    return value, weighted, names


__all__ = ["FUSED_UP_TO", "Layout", "Variant", "cost_program", "dense_program", "depends_on_parameters", "is_curve", "layout_of", "normal_program", "residual_program"]
