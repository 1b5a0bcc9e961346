"""Are the Jacobians of constraints the derivatives of their functions? The check of `nlsq.derivatives.check` for each.

A constraint is recognised by what it has: ``fun`` and ``jac`` as attributes, or as keys of a dict, with further
arguments under ``args``. One whose Jacobian is no function has nothing that could be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from nlsq.derivatives.check import JacobianMismatchError, JacobianReport, check_jacobian

__all__ = ["check_constraint_jacobians", "check_named"]


class _Given(NamedTuple):
    """A constraint with a Jacobian of its own."""

    name: str
    fun: Callable[..., Any]
    jac: Callable[..., Any]


def check_constraint_jacobians(constraints: Any, x: ArrayLike, **options: Any) -> JacobianReport:
    """Compare the Jacobians of constraints with differences of their functions; see `check_jacobian`.

    Parameters
    ----------
    constraints : constraint or sequence of constraints
        `scipy.optimize.NonlinearConstraint`, dicts as SciPy's SLSQP takes them, and others, which have no Jacobian that
        could be wrong.
    x : array_like, shape (n,)
        Where to compare.
    **options
        As for `check_jacobian`.

    Returns
    -------
    JacobianReport
        Of the first constraint whose Jacobian disagrees, else of the one with the largest difference; its `name` says
        which it is.

    Raises
    ------
    TypeError
        If no constraint has a Jacobian to compare.
    """
    given = _given(constraints)
    if not given:
        raise TypeError("none of the constraints has a function for its Jacobian, so that there is nothing to compare.")
    raises = options.pop("raise_on_error", False)
    largest: JacobianReport | None = None
    for one in given:
        report = check_named(one.name, one.fun, one.jac, x, **options)
        if not report.ok:
            if raises:
                raise JacobianMismatchError(report)
            return report
        if largest is None or report.max_error > largest.max_error:
            largest = report
    assert largest is not None
    return largest


def _given(constraints: Any) -> list[_Given]:
    """Return the constraints that have Jacobians of their own."""
    is_one = isinstance(constraints, Mapping) or hasattr(constraints, "fun") or hasattr(constraints, "lb")
    if not is_one and not hasattr(constraints, "__iter__"):
        raise TypeError("check_jacobian takes a function, its Jacobian and x, or constraints and x.")
    found = []
    for i, one in enumerate([constraints] if is_one else constraints):
        get = one.get if isinstance(one, Mapping) else lambda key, default=None, one=one: getattr(one, key, default)
        fun, jac, args = get("fun"), get("jac"), get("args", ())
        if callable(fun) and callable(jac) and not hasattr(jac, "prepare"):
            name = get("name") or ("constraint" if is_one else f"constraints[{i}]")
            found.append(_Given(str(name), _of_x(fun, args), _of_x(jac, args)))
    return found


def _of_x(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """Return a function of x alone."""
    further = tuple(args) if isinstance(args, tuple | list) else (args,)
    return lambda x: function(x, *further)


def check_named(
    name: str, fun: Callable[..., Any], jac: Callable[..., Any], x: ArrayLike, **options: Any
) -> JacobianReport:
    """Check a Jacobian; the message says which function and which entry."""
    report = check_jacobian(fun, jac, x, **options)
    if report.ok or report.entry is None:
        return replace(report, name=name, message=f"{name}: {report.message}")
    i, j = report.entry
    where = f"row {i}, column {j}: jac gives {report.jac_value:.8g}, a difference gives {report.difference_value:.8g}"
    return replace(report, name=name, message=f"{name}: {where}. {report.message}")
