"""Programs of second derivatives, ``H = sum_i u_i Hess(r_i)`` for weights u of the residuals.

A row ``r_i = f(l, s)`` depends on parameters l, some by their number and some by the row's index, and on sums s over
parameters, whose gradients are G_s and whose second derivatives H_s. With unit vectors e_l and symmetric products
``a o b = 1/2 (a b' + b a')`` the chain rule says

    Hess(r_i) =   sum_{l, l'} f_ll' e_l o e_l'  +  2 sum_{l, s} f_ls e_l o G_s
                + sum_{s, s'} f_ss' G_s o G_s'  +    sum_s f_s H_s .

Added up over the rows, that is

    T_s = sum_i u_i f_s
    V_s = sum_i u_i (sum_l f_ls e_l + 1/2 f_ss G_s + sum_{s' after s} f_ss' G_s')
    H   = sum_i u_i sum_{l, l'} f_ll' e_l o e_l'  +  2 sum_s V_s o G_s  +  sum_s T_s H_s .

So what a sum adds up is treated like further rows, all of weight T_s, from the outermost sums to the innermost; and
sums that rows are not linear in cost one update of rank two each, not one for each row. Where all rows are linear in
the sums, H is as sparse as the ``f_ll'`` are, even if a row depends on all parameters.

The programs get u as their first array. The dense one adds to the second, (n, n) row by row, of which the upper
triangle may be written too; for the sparse one see `nlsq.compiler.sparse_hessian_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from nlsq.compiler.differentiate import derivatives
from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.jacobian_source import ALONG, SparseLayout, turned, write_gradient
from nlsq.compiler.kernel_source import Layout, Name, Variant, Writer, at, plain
from nlsq.compiler.second_derivatives import Pair, Part, SecondDerivatives, position
from nlsq.kernels.backend.program import Loop, Place, Program, Statement

Destination = Place | list[Name]  # where numbers of a loop go, each to its own element, or what their total joins
MOST_OPERATIONS = 6000  # of a program: up to some 3 s of compilation
TOO_LONG = "its second derivatives take {} operations, which take too long to compile"


class Targets(Protocol):
    """Where second derivatives go."""

    adds: bool

    def of_pair(self, part: Part, pair: Pair) -> list[Place]:
        """Return the places for second derivatives by two parameters; without strides for one number."""
        ...

    def of_cross(self, part: Part, leaf: int, total: int) -> Place:
        """Return the place for those by a parameter and a sum."""
        ...


def _placed(array: str, fixed: int, offset: int | None, strides: tuple[int, ...]) -> Place:
    """Return a place, without strides where it is the same one at all indices."""
    return Place(array, fixed, offset, strides=plain(strides) if any(strides) else ())


@dataclass
class _DenseTargets:
    """Elements of H, and of the vectors V_s, in the scratch memory behind the gradients."""

    graph: Graph
    crosses: dict[int, int]
    adds: bool = True

    def of_pair(self, part: Part, pair: Pair) -> list[Place]:
        """Return one place in the lower triangle, or both where it depends on the index which one that is."""
        n = self.graph.n
        a, b = (position(self.graph, leaf, part.shape) for leaf in pair)
        both = [
            _placed("second", n * row.first + column.first, None, tuple(
                [n * down + along for down, along in zip(row.strides, column.strides, strict=True)]
            ))
            for row, column in ((a, b), (b, a))
        ]  # fmt: skip
        if pair[0] == pair[1] or b.is_before(a):
            return both[:1]
        return both[1:] if a.is_before(b) else both

    def of_cross(self, part: Part, leaf: int, total: int) -> Place:
        """Return the place in V_s."""
        first, strides = position(self.graph, leaf, part.shape)
        return _placed("scratch", self.crosses[total] + first, None, strides)


class HessianWriter:
    """Writes second derivatives part by part; what is particular to dense and sparse ones is in the targets."""

    def __init__(
        self, name: str, second: SecondDerivatives, layout: Layout, variant: Variant, targets: Targets
    ) -> None:
        self.second, self.variant, self.targets = second, variant, targets
        self.program = Program(name)
        self.writer = Writer(second.trace, layout, self.program)
        self.totals: dict[int, list[Name]] = {}  # of T_s
        self.products: dict[Pair, list[Name]] = {}  # of what multiplies G_s o G_s'
        self.numbers: dict[Place, list[Name]] = {}  # of single elements

    def write(self) -> None:
        """Write all parts."""
        for part in self.second.parts:
            deposits = list(self._deposits(part))
            if part.shape:
                self._write_loops(part, deposits)
            else:
                self._write_numbers(part, deposits)

    def _deposits(self, part: Part) -> Iterator[tuple[int, Destination]]:
        """Yield nodes and where their values go, times the weights of the rows."""
        for pair, node in part.pairs.items():
            first, second = pair
            places: list[Place] = []
            if self.second.is_sum(first):
                yield node, self.products.setdefault(pair, [])
            elif self.second.is_sum(second):
                places = [self.targets.of_cross(part, first, second)]
            else:
                places = self.targets.of_pair(part, pair)
            for place in places:
                yield node, place if place.strides else self.numbers.setdefault(place, [])
        for leaf, slope in part.slopes.items():
            yield slope, self.totals.setdefault(leaf, [])

    def _write_numbers(self, part: Part, deposits: list[tuple[int, Destination]]) -> None:
        """Write a part that is a single number."""
        steps = self.program.steps
        weigh = self._weigher(part, steps)
        for node, names in deposits:
            assert isinstance(names, list)
            names.append(weigh(node, self.writer.number(node)))

    def _write_loops(self, part: Part, deposits: list[tuple[int, Destination]]) -> None:
        """Write a part that runs over an index space.

        The numbers of one round of the innermost loop are added at once, which has to be to different places: so for
        some another axis becomes the last.
        """
        by_axis: dict[int, list[tuple[int, Destination]]] = {}
        for node, where in deposits:
            last = len(part.shape) - 1
            if isinstance(where, Place) and self.targets.adds:
                last = max(axis for axis, stride in enumerate(where.strides) if stride != (0, 0))
            by_axis.setdefault(last, []).append((node, where))
        for axis, some in by_axis.items():
            loop = Loop(self.writer.lengths(part.shape))
            nodes = [node for node, _ in some]
            values = dict(zip(nodes, self.writer.values(loop, nodes), strict=True))
            weigh = self._weigher(part, loop.statements)
            for k, (node, where) in enumerate(some):
                value = weigh(node, values[node])
                if isinstance(where, Place):
                    loop.writes.append((where, value, self.targets.adds))
                else:
                    total = f"{_tag(part)}_{axis}_{k}"
                    loop.totals.append((total, value))
                    where.append(total)
            self.program.steps.append(loop if axis == len(part.shape) - 1 else turned(loop, axis))

    def _weigher(self, part: Part, statements: list[Statement | Loop] | list[Statement]) -> Callable[[int, Name], Name]:
        """Write the weight of a part's rows; return what writes products with it, each once."""
        tag, known = _tag(part), dict[int, Name]()
        weight: Name = 1.0
        own = ""
        if part.segment is not None:
            weight = f"u_{tag}"
            own = self._write_weight(part.segment, weight, statements)
        elif part.total >= 0:
            weight = self._added(self.totals[part.total], f"u_{tag}")
        else:
            for segment, leaf in self.second.weights.items():
                self._write_weight(segment, self.writer.defined(leaf), statements)
        if own and self.variant.omits:
            statements.append(Statement(f"counts_{tag}", "!=", (own, 0.0)))

        def weigh(node: int, value: Name) -> Name:
            if node not in known:
                known[node] = f"h{node}_{tag}"
                if value == 1.0 or weight == 1.0:
                    known[node] = weight if value == 1.0 else value
                else:
                    statements.append(Statement(f"h{node}_{tag}", "*", (value, weight)))
                if own and self.variant.omits:
                    statements.append(Statement(f"c{node}_{tag}", "where", (f"counts_{tag}", known[node], 0.0)))
                    known[node] = f"c{node}_{tag}"
            return known[node]

        return weigh

    def _write_weight(self, segment: int, name: str, statements: list[Statement | Loop] | list[Statement]) -> str:
        """Write what multiplies the second derivatives of rows; return the name of the rows' own weight, if any."""
        layout, rows = self.writer.layout, self.second.trace.segments[segment]
        read = name if not self.variant.weighted else f"{name}_given"
        statements.append(Statement(read, "read", (at("first", layout, rows, segment),)))
        if not self.variant.weighted:
            return ""
        statements.append(Statement(f"{name}_own", "read", (at("w", layout, rows, segment),)))
        statements.append(Statement(name, "*", (read, f"{name}_own")))
        return f"{name}_own"

    def _added(self, names: list[Name], name: str) -> Name:
        """Add up numbers before the next loop."""
        result: Name = names[0] if names else 0.0
        for k, one in enumerate(names[1:]):
            self.program.steps.append(Statement(f"{name}_{k}", "+", (result, one)))
            result = f"{name}_{k}"
        return result

    def finish(self) -> Program:
        """Write the elements that are totals, and return the program.

        Raises
        ------
        NotTraceable
            If it would take too long to compile.
        """
        program, adds = self.program, self.targets.adds
        for k, (place, names) in enumerate(self.numbers.items()):
            if adds:
                program.steps.append(Statement(f"old_{k}", "read", (place,)))
                names = [*names, f"old_{k}"]
            program.writes.append((place, self._added(names, f"h_{k}")))
        size = sum(len(one.statements) + len(one.writes) if isinstance(one, Loop) else 1 for one in program.steps)
        if size > MOST_OPERATIONS:
            raise NotTraceable(TOO_LONG.format(size))
        return program

    def take_numbers(self, array: str) -> dict[Place, Name]:
        """Add up the totals that are elements of an array, and return them."""
        taken = [place for place in self.numbers if place.array == array]
        return {place: self._added(self.numbers.pop(place), f"{array}_{place.fixed}") for place in taken}

    def take_products(self) -> dict[Pair, Name]:
        """Add up what multiplies ``G_s o G_s'``, and return it."""
        return {pair: self._added(names, f"q{pair[0]}_{pair[1]}") for pair, names in self.products.items()}


def _tag(part: Part) -> str:
    if part.segment is not None:
        return f"r{part.segment}"
    return f"s{part.total}" if part.total >= 0 else "n"


def dense_hessian(second: SecondDerivatives, layout: Layout, sparse: SparseLayout, variant: Variant) -> Program:
    """Return the program that adds H to a matrix.

    Raises
    ------
    NotTraceable
        If it would take too long to compile.
    """
    graph = second.trace.graph
    bent = {pair for part in second.parts for pair in part.pairs if second.is_sum(pair[1])}
    carriers = sorted({pair[0] if second.is_sum(pair[0]) else pair[1] for pair in bent})
    crosses = {index: (len(sparse.gradients) + k) * graph.n for k, index in enumerate(carriers)}
    body = HessianWriter("hessian", second, layout, variant, _DenseTargets(graph, crosses))
    steps = body.program.steps
    gradients = _with_inner(graph, {leaf for pair in bent for leaf in pair if second.is_sum(leaf)})
    for index in gradients:
        write_gradient(body.writer, sparse, index)
    along = (sparse.parameters,)
    for fixed in crosses.values():
        steps.append(Loop(along, writes=[(Place("scratch", fixed, strides=ALONG), 0.0, False)]))
    body.write()
    for place, total in body.take_numbers("scratch").items():
        steps.append(Loop((sparse.one,), writes=[(replace(place, strides=ALONG), total, True)]))
    for (first, other), factor in body.take_products().items():
        half = Statement("c", "*", (factor, 0.5 if first == other else 1.0))
        share = Statement("cg", "*", ("c", "g"))
        gradient = Statement("g", "read", (Place("scratch", offset=sparse.gradients[other], strides=ALONG),))
        target = Place("scratch", crosses[first], strides=ALONG)
        steps.append(Loop(along, [half, gradient, share], writes=[(target, "cg", True)]))
    if crosses:
        steps.append(_update(graph.n, sparse, crosses))
    return body.finish()


def _with_inner(graph: Graph, sums: set[int]) -> list[int]:
    """Return sums and the sums that these depend on, inner ones first."""
    found, waiting = set(sums), list(sums)
    while waiting:
        for leaf in derivatives(graph, graph.nodes[waiting.pop()][1]):
            if graph.nodes[leaf][0] == "sum" and leaf not in found:
                found.add(leaf)
                waiting.append(leaf)
    return sorted(found)


def _update(n: int, sparse: SparseLayout, crosses: dict[int, int]) -> Loop:
    """Return the loop that adds ``V_s G_s' + G_s V_s'`` for all sums."""
    loop = Loop((sparse.parameters, sparse.parameters))
    down, along = ((1, 0), (0, 0)), ((0, 0), (1, 0))
    total: Name = 0.0

    def put(name: str, operation: str, *operands: Name | Place) -> str:
        loop.statements.append(Statement(name, operation, operands))
        return name

    for index, fixed in crosses.items():
        cross, gradient = Place("scratch", fixed), Place("scratch", offset=sparse.gradients[index])
        v, w = (put(f"{name}{index}", "read", replace(cross, strides=one)) for name, one in (("v", down), ("w", along)))
        g, h = (
            put(f"{name}{index}", "read", replace(gradient, strides=one)) for name, one in (("g", down), ("h", along))
        )
        total = put(f"one{index}", "+", total, put(f"vh{index}", "*", v, h))
        total = put(f"two{index}", "+", total, put(f"gw{index}", "*", g, w))
    loop.writes.append((Place("second", strides=((n, 0), (1, 0))), total, True))
    return loop
