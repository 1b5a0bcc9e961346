"""The full report of a solve over residual blocks, in the manner of Ceres' ``Summary::FullReport``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlsq.solvers.block_result import BlockResult

NAMED = 5  # undetermined blocks that are named


def write_report(result: BlockResult) -> str:
    """Write sizes, linear solver, costs, steps, time, fallbacks and the end of a solve."""
    from nlsq.linalg.block_cholesky import analyse_blocks
    from nlsq.linalg.sparse_choice import LARGEST_FACTOR

    structure, times = result.structure, result.times
    m, n = result.jac.shape
    free = n - int(structure.pinned.sum())
    lines = ["nlsq block solve", ""]
    lines += [f"{'':34}{'blocks':>12}{'numbers':>12}{'free':>12}"]
    for name, count, size, free_columns, manifold in structure.parameters:
        label = f"parameters: {name}" + (f" ({manifold})" if manifold else "")
        lines.append(f"{label[:34]:34}{count:12d}{count * size:12d}{free_columns:12d}")
    for name, count, q, loss in structure.residuals:
        label = f"residuals: {name}" + ("" if loss == "linear" else f" ({loss})")
        lines.append(f"{label[:34]:34}{count:12d}{count * q:12d}")
    lines += [f"{'total: residuals, free columns':34}{'':12}{m:12d}{free:12d}", ""]
    lines += [f"linear solver    {result.linear_solver}", ""]
    lines += [
        f"cost   initial {result.initial_cost:16.6e}",
        f"       final   {result.cost:16.6e}",
        f"       change  {result.initial_cost - result.cost:16.6e}",
        "",
        f"steps  accepted {result.nit:8d}    rejected {result.rejected:8d}",
        f"evaluations     residuals {result.nfev:8d}    Jacobians {result.njev:8d}",
        "",
        "seconds",
    ]
    rest = times.total - times.setup - times.residuals - times.jacobians - times.linear_solver
    for label, seconds in (
        ("set-up, compiling", times.setup),
        ("residuals", times.residuals),
        ("Jacobians", times.jacobians),
        ("linear solver", times.linear_solver),
        ("rest", rest),
        ("total", times.total),
    ):
        lines.append(f"  {label:18}{seconds:12.4f}")
    lines += ["", f"end    {result.status.name}: {result.message}", f"       optimality {result.optimality:.3e}"]
    lines += [f"note   {text}" for text in result.fallbacks]
    if not result.converged:
        return "\n".join(lines)
    entries = analyse_blocks(result.jac.pattern)[1].nnz_factor
    if entries > LARGEST_FACTOR:
        lines.append(f"result.undetermined takes a factor of {entries:.2g} entries and was not asked")
        return "\n".join(lines)
    free_to_move = result.undetermined
    if len(free_to_move) > NAMED:
        lines.append(
            f"not determined by the data: {len(free_to_move)} blocks can move together, {free_to_move[0]} and others; "
            "hold some if nothing fixes their frame"
        )
    elif free_to_move:
        lines.append(f"not determined by the data: {', '.join(free_to_move)}")
    return "\n".join(lines)
