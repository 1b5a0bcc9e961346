"""A `JacobianReport` in words: rows are residuals and columns parameters, or rows and columns of a constraint's jac."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nlsq.derivatives.check import JacobianReport


def message_of(report: JacobianReport, judged: int, transposed_shape: bool, names: Sequence[str] | None) -> str:
    """Put a report into words.

    Parameters
    ----------
    report : JacobianReport
        With the name of the constraint, or none for residuals.
    judged : int
        Number of entries of which differences know something.
    transposed_shape : bool
        Whether jac was turned around before it was compared.
    names : sequence of str or None
        Of the parameters.
    """
    of = f"{report.name}: " if report.name else ""
    row, column = ("row", "column") if report.name else ("residual", "parameter")
    if report.entry is None:
        return f"{of}Nothing could be compared: differences say nothing about any entry here."

    def parameter(j: int) -> str:
        return f"{j} ({names[j]})" if names is not None else str(j)

    i, j = report.entry
    if report.ok:
        largest = f"largest difference {report.max_error:.2g} at ({i}, {j})"
        return f"{of}jac agrees with differences in all {judged} entries; {largest}."
    text = (
        f"jac disagrees with differences in {len(report.disagreements)} of {judged} entries; the most in {row} {i},"
        f" {column} {parameter(j)}: jac has {report.jac_value:.8g}, differences {report.difference_value:.8g}"
        f" +- {report.uncertainty:.1g}, off by {report.max_error:.3g}."
    )
    if transposed_shape:
        turned = " Turned around, " + text if len(report.disagreements) else " Turned around, it is right."
        return f"{of}jac has the shape of the transpose: {_right_way(report)}.{turned}"
    return of + text + _explanation(report, parameter)


def _right_way(report: JacobianReport) -> str:
    row = "row" if report.name else "residual"
    return f"jac[i, j] must be the derivative of {row} i by parameter j"


def _explanation(report: JacobianReport, parameter: Callable[[int], str]) -> str:
    """Return the sentence that names the mistake."""
    if report.diagnosis == "transposed":
        return f" It is the transpose: {_right_way(report)}."
    if report.diagnosis == "transposed and sign":
        return " It is the transpose with the wrong sign."
    if report.diagnosis == "sign":
        perhaps = "" if report.name else ": the residual is perhaps data - model, not model - data"
        return f" Its sign is flipped throughout{perhaps}."
    if report.diagnosis == "factor":
        return f" It is {report.factors[0]:.6g} times the derivative throughout."
    if report.diagnosis == "columns":
        return " " + "; ".join(_line("Column", parameter(k), f) for k, f in report.factors.items()) + "."
    if report.diagnosis == "rows":
        return " " + "; ".join(_line("Row", str(k), f) for k, f in report.factors.items()) + "."
    if report.diagnosis == "permuted":
        pairs = [f"column {parameter(j)} holds the derivative by {parameter(k)}" for j, k in report.permutation.items()]
        return " Columns are in the wrong place: " + "; ".join(pairs) + "."
    return ""


def _line(kind: str, name: str, factor: float) -> str:
    if abs(factor + 1.0) < 1e-3:
        return f"{kind} {name} has its sign flipped"
    return f"{kind} {name} is {factor:.6g} times the derivative"
