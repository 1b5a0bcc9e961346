"""Programs of the cost and of the normal equations, the loss fused in.

With a robust loss rho of scale s the cost is ``1/2 sum s^2 rho(z_i)``, z_i = (r_i / s)^2. With ``rho1 = rho'(z)`` and
``rho2 = rho''(z)`` rows of J are multiplied by the root of ``rho1 + 2 rho2 z``, kept above the unit of rounding, and r
so that the gradient is ``J' (rho1 r)``, as in `nlsq.kernels.robust` [1]_.

References
----------
.. [1] B. Triggs et al., "Bundle adjustment - a modern synthesis", 1999, section 4.3.
"""

from __future__ import annotations

from nlsq.compiler.differentiate import derivatives
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.kernel_source import Layout, Name, Rows, Variant, Writer
from nlsq.compiler.tracing.trace import Trace
from nlsq.kernels.backend.program import Loop, Place, Program, Statement

FUSED_UP_TO = 10  # parameters: beyond, the sums of the normal equations no longer fit into registers


def normal_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the normal equations, for a trace that `is_curve`."""
    return _normal_program("normal_equations", trace, layout, variant, False)


def scaled_normal_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return that of a robust loss which also writes the sums of ``rho1 J_ij^2``, behind N; see `write_sums`."""
    return _normal_program("scaled_normal_equations", trace, layout, variant, True)


def _normal_program(name: str, trace: Trace, layout: Layout, variant: Variant, scales: bool) -> Program:
    n = trace.graph.n
    program = Program(name)
    cost, gradient, normal, scaling = write_sums(program, trace, layout, variant, scales)
    _return_cost(program, cost, variant)
    program.writes += [(Place("second", n * n + j), one) for j, one in enumerate(scaling)]
    for j in range(n):
        program.writes.append((Place("first", j), gradient[j]))
        for i in range(j + 1):
            value = normal[j * (j + 1) // 2 + i]
            program.writes.append((Place("second", j * n + i), value))
            if i != j:
                program.writes.append((Place("second", i * n + j), value))
    return program


def write_sums(
    program: Program, trace: Trace, layout: Layout, variant: Variant, scales: bool = False
) -> tuple[Name, list[Name], list[Name], list[Name]]:
    """Write the loops of the normal equations; return the names of their sums.

    Returns
    -------
    cost : str or float
        Sum of r_i^2, or of rho.
    gradient : list of n
    normal : list of n (n + 1) / 2
        Lower triangle row by row.
    scaling : list of n, or empty
        Where `scales`: sums of ``rho1 J_ij^2``, which stay where the curvature of a robust loss vanishes.
    """
    writer = Writer(trace, layout, program)
    sums: dict[str, list[str]] = {}
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
        residual = rows.residual()
        found = derivatives(trace.graph, segment.node)
        names = {trace.graph.nodes[leaf][1]: name for leaf, name in rows.columns(found).items()}
        plain = names
        cost, residual, names = _with_loss(rows.loop, variant, residual, names)

        def add(total: str, value: Name, rows: Rows = rows, k: int = k) -> None:
            rows.loop.totals.append((f"{total}_{k}", value))
            sums.setdefault(total, []).append(f"{total}_{k}")

        def product(name: str, a: Name, b: Name, rows: Rows = rows) -> str:
            rows.loop.statements.append(Statement(name, "*", (a, b)))
            return name

        if scales:
            for j, name in plain.items():
                add(f"d{j}", product(f"rd{j}", product(f"dd{j}", name, name), "rho1"))

        add("c", cost if cost is not None else product("rr", residual, residual))
        for j in sorted(names):
            add(f"g{j}", product(f"rg{j}", names[j], residual))
            for i in sorted(names):
                if i <= j:
                    add(f"n{j}_{i}", product(f"rn{j}_{i}", names[j], names[i]))
        program.steps.append(rows.loop)
    n = trace.graph.n
    gradient = [_added(program, f"g{j}", sums) for j in range(n)]
    normal = [_added(program, f"n{j}_{i}", sums) for j in range(n) for i in range(j + 1)]
    scaling = [_added(program, f"d{j}", sums) for j in range(n)] if scales else []
    return _added(program, "c", sums), gradient, normal, scaling


def _added(program: Program, name: str, sums: dict[str, list[str]]) -> Name:
    """Add up the segments' totals of a sum."""
    parts = sums.get(name, [])
    if not parts:
        return 0.0
    result = parts[0]
    for position, part in enumerate(parts[1:]):
        program.steps.append(Statement(f"{name}_sum{position}", "+", (result, part)))
        result = f"{name}_sum{position}"
    return result


def _return_cost(program: Program, total: Name, variant: Variant) -> None:
    program.result = write_cost(program, total, variant)


def write_cost(program: Program, total: Name, variant: Variant) -> str:
    """Write the cost from the sum of squares or of rho; return its name."""
    factor: Name = 0.5
    if variant.loss != "linear":
        program.steps.append(Statement("s_end", "read", (Place("k", 0),)))
        program.steps.append(Statement("s2", "*", ("s_end", "s_end")))
        program.steps.append(Statement("half_s2", "*", ("s2", 0.5)))
        factor = "half_s2"
    program.steps.append(Statement("result", "*", (total, factor)))
    return "result"


def cost_program(trace: Trace, layout: Layout, variant: Variant) -> Program:
    """Return the program of the cost."""
    program = Program("cost")
    writer = Writer(trace, layout, program)
    parts: list[str] = []
    for k, segment in enumerate(trace.segments):
        rows = Rows(writer, variant, segment, k)
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


Columns = dict[int, Name]


def _with_loss(loop: Loop, variant: Variant, residual: Name, columns: Columns) -> tuple[str | None, Name, Columns]:
    """Write rho and the weights of a robust loss; return rho's name, weighted residual and weighted columns."""
    if variant.loss == "linear":
        return None, residual, columns
    steps = loop.statements

    def put(name: str, operation: str, *operands: Name | Place) -> str:
        steps.append(Statement(name, operation, operands))
        return name

    scale = put("s", "read", Place("k", 0))
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
        first = put("rho1", "where", inside, 1.0, put("zi", "/", 1.0, put("zm", "maximum", root, 1.0)))
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
