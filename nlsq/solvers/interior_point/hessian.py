"""Which second derivatives are added to J'J: the ladder, and the choice of a step on it.

gauss-newton   J'J
constraints    J'J + sum y_i c_i''
exact          J'J + sum y_i c_i'' + sum r_i r_i''
sr1            J'J + B,  B s = (J_1 - J_0)'r_1 + (A_1 - A_0)'y_1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nlsq.problem.vector_function import VectorFunction

FEW = 60  # variables up to which differences of Jacobians are taken: each costs as many Jacobians
DIFFERENCES = "differences"


class Choice(NamedTuple):
    """What is evaluated and what is approximated.

    Attributes
    ----------
    residual, constraints : bool
        Whether second derivatives are evaluated.
    quasi : int
        What SR1 approximates: 1 residual, 2 constraints, 3 both.
    text : str
        For the report.
    fallback : str
        What was asked for and is not done; empty if all is.
    """

    residual: bool
    constraints: bool
    quasi: int
    text: str
    fallback: str = ""


def choose(
    wanted: str, residual: VectorFunction, constraints: VectorFunction | None, dense: bool, linear: bool
) -> Choice:
    """Choose second derivatives.

    Parameters
    ----------
    wanted : str
        Option ``hessian`` of `InteriorPoint`.
    residual, constraints : VectorFunction or None
        The functions.
    dense : bool
        Whether matrices are dense: only then there is SR1.
    linear : bool
        Whether the loss is the square: otherwise B does not stand for the residual.
    """
    if wanted == "gauss-newton":
        return Choice(False, False, 0, "J'J (Gauss-Newton)")
    r_kind, c_kind = _kind(residual, dense), "constant" if constraints is None else _kind(constraints, dense)
    if wanted == "sr1":
        return _secant(r_kind, c_kind, dense, linear)
    few = residual.n <= FEW or not dense
    has_residual = wanted != "constraints" and r_kind != "constant" and _takes(wanted, r_kind, few)
    has_constraints = c_kind != "constant" and _takes(wanted, c_kind, few)
    quasi = 0
    if wanted == "auto" and dense:
        quasi += 1 if linear and r_kind != "constant" and not has_residual else 0
        quasi += 2 if c_kind != "constant" and not has_constraints else 0
    missing = [
        name
        for name, kind, found in (("residual", r_kind, has_residual), ("constraints", c_kind, has_constraints))
        if kind != "constant" and not found and not (name == "residual" and wanted == "constraints")
    ]
    fallback = ""
    if missing and wanted != "auto":
        fallback = f"no second derivatives of {' and '.join(missing)}, as hessian={wanted!r} asks: left out"
    return Choice(
        has_residual, has_constraints, quasi, _text(r_kind, c_kind, has_residual, has_constraints, quasi), fallback
    )


def _takes(wanted: str, kind: str, few: bool) -> bool:
    """Whether second derivatives from such a source are evaluated."""
    if not kind or (wanted == "exact" and DIFFERENCES in kind):
        return False
    return wanted != "auto" or few or DIFFERENCES not in kind


def _kind(function: VectorFunction, dense: bool) -> str:
    """Return where second derivatives come from; empty where they are not known."""
    if function.is_linear:
        return "constant"
    if not dense:
        return function.sparse_hessian_kind if function.sparse_hessian is not None else ""
    if function.second.is_zero:
        return "constant"
    return function.hessian_kind if function.hessian_address else ""


def _secant(r_kind: str, c_kind: str, dense: bool, linear: bool) -> Choice:
    quasi = (1 if linear and r_kind != "constant" else 0) + (2 if c_kind != "constant" else 0)
    if not dense:
        return Choice(False, False, 0, "J'J (Gauss-Newton)", "no SR1 for sparse problems: second-order terms left out")
    return Choice(False, False, quasi, _text(r_kind, c_kind, False, False, quasi))


def _text(r_kind: str, c_kind: str, has_residual: bool, has_constraints: bool, quasi: int) -> str:
    parts = ["J'J"]
    for name, kind, found, bit in (("residual", r_kind, has_residual, 1), ("constraints", c_kind, has_constraints, 2)):
        if found:
            parts.append(f"second derivatives of {name}: {kind}")
        elif quasi & bit:
            parts.append(f"second derivatives of {name}: structured SR1")
        elif kind == "constant":
            parts.append(f"{name} linear")
        else:
            parts.append(f"without second derivatives of {name}")
    return "; ".join(parts)
