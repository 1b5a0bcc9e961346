"""The program of a batch of fits: sums over the points, and from them the next point to try, fit beside fit.

    evaluate(trial, table, state) -> bits of the fits that have ended

The trial points, the states (`nlsq.kernels.sum_step`) and the data lie side by side, see
`nlsq.kernels.backend.program.Program`; x does too where each fit has its own, and so do weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from nlsq.compiler.kernel_source import Layout, Variant
from nlsq.compiler.normal_source import write_cost, write_sums
from nlsq.compiler.tracing.trace import Trace
from nlsq.kernels import sum_step
from nlsq.kernels.backend.program import Loop, Place, Program, Statement
from nlsq.kernels.backend.recording import Recorder


@dataclass(frozen=True)
class BatchVariant:
    """Which form of a batch the kernel is for.

    Parameters
    ----------
    weighted : bool
        Whether residuals are multiplied by weights; a weight of zero leaves a point out.
    own_weights : bool
        Whether each fit has its own weights.
    own_x : bool
        Whether each fit has its own x.
    bounded : bool
        Whether there are bounds, each fit's own.
    loss : str
        Name of the loss.
    single : bool
        Whether residuals and derivatives are computed in single precision; sums are in double precision all the same.
    """

    weighted: bool = False
    own_weights: bool = False
    own_x: bool = False
    bounded: bool = False
    loss: str = "linear"
    single: bool = False


@dataclass(frozen=True)
class BatchPlaces:
    """Places in the table beyond those of a single fit: addresses of the options and of the bounds."""

    options: int
    bounds: int
    size: int


def batch_places(layout: Layout) -> BatchPlaces:
    """Return where a batch's further addresses stand in the table."""
    return BatchPlaces(layout.size, layout.size + 1, layout.size + 2)


def batch_program(trace: Trace, layout: Layout, variant: BatchVariant) -> Program:
    """Return the program of a batch, for a trace that `is_curve`."""
    n, places = trace.graph.n, batch_places(layout)
    bounds = f"d{places.bounds}"
    side_by_side = {"p", "first", "y", bounds}
    if variant.own_weights:
        side_by_side.add("w")
    if variant.own_x:
        side_by_side |= {f"x{row}" for row in range(trace.variables)}
    program = Program("evaluate", side_by_side=frozenset(side_by_side))
    sums = Variant(weighted=variant.weighted, loss=variant.loss, omits=True)
    cost, *parts = write_sums(program, trace, layout, sums, scales=variant.loss != "linear")
    if variant.single:
        in_single_precision(program)
    recorder = Recorder(program, "step")

    def symbol(name: str | float) -> object:
        return recorder.known(name) if isinstance(name, str) else name

    cost = write_cost(program, cost, sums)
    trial = [recorder.read(Place("p", j)) for j in range(n)]
    state = sum_step.unpacked(n, [recorder.read(Place("first", k)) for k in range(sum_step.state_size(n))])
    options = [recorder.read(Place(f"d{places.options}", k)) for k in range(sum_step.OPTIONS)]
    limits = None
    if variant.bounded:
        limits = tuple([recorder.read(Place(bounds, k * n + j)) for j in range(n)] for k in range(2))
    following, state = sum_step.advance(
        trial, (symbol(cost), *([symbol(one) for one in part] for part in parts)), state, options, limits
    )
    program.result = (state.scalars[sum_step.STATUS] != 0.0).name
    for array, values in (("p", following), ("first", sum_step.packed(state))):
        program.writes += [
            (Place(array, k), value if isinstance(value, float) else value.name) for k, value in enumerate(values)
        ]
    return program


def in_single_precision(program: Program) -> None:
    """Let everything be computed in single precision but the products that are summed, and the sums.

    What is read is rounded first; factors of a product that goes into a sum are widened again.
    """
    last = max(place for place, step in enumerate(program.steps) if isinstance(step, Loop))
    steps: list[Statement | Loop] = []
    for place, step in enumerate(program.steps):
        if isinstance(step, Loop):
            summed = {value for _, value in step.totals}
            step.statements = [one for before in step.statements for one in _narrowed(before, before.name in summed)]
            steps.append(step)
        else:
            steps += _narrowed(step, False) if place < last else [step]
    program.steps[:] = steps


def _narrowed(statement: Statement, is_summed: bool) -> list[Statement]:
    """Return what stands for a statement."""
    name = statement.name
    if statement.operation == "read":
        return [Statement(f"{name}_read", "read", statement.operands), Statement(name, "narrow", (f"{name}_read",))]
    if is_summed and statement.operation == "*":
        factors = [one for one in statement.operands if isinstance(one, str)]
        widened = [Statement(f"{name}_{k}", "wide", (one,)) for k, one in enumerate(factors)]
        numbers = [one for one in statement.operands if not isinstance(one, str)]
        return [*widened, Statement(name, "*", (*[one.name for one in widened], *numbers))]
    return [statement]
