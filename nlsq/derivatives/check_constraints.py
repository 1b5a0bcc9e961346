"""Are the Jacobians of constraints the derivatives of their functions? The check of `nlsq.derivatives.check` for each.

A constraint is recognised by what it has: ``fun`` and ``jac`` as attributes, or as keys of a dict, with further
arguments under ``args``. One whose Jacobian is no function has nothing that could be wrong.

Constraints of a fit take parameters by name, ``fun(a, c)`` and ``jac(a, c)`` with a column for each argument. With a
dict of all parameters they are compared as functions of the vector of their own arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives.check import JacobianMismatchError, JacobianReport, compare_jacobian
from nlsq.derivatives.steps import full_array

__all__ = ["check_constraint_jacobians"]


class _Given(NamedTuple):
    """A constraint with a Jacobian of its own."""

    name: str
    fun: Callable[..., Any]
    jac: Callable[..., Any]
    args: tuple[Any, ...]


def check_constraint_jacobians(
    constraints: Any,
    x: ArrayLike | Mapping[str, float],
    *,
    bounds: Any = None,
    scale: Any = None,
    names: Sequence[str] | None = None,
    rtol: float = 1e-5,
    raise_on_error: bool = False,
) -> JacobianReport:
    """Compare the Jacobians of constraints with differences of their functions; see `check_jacobian`.

    Parameters
    ----------
    constraints : constraint or sequence of constraints
        `scipy.optimize.NonlinearConstraint`, dicts as SciPy's SLSQP takes them, and others, which have no Jacobian that
        could be wrong.
    x : array_like, shape (n,), or dict
        Where to compare; by name for functions that take parameters by name, with all parameters of the model in their
        order, or the ``params`` of a fit.
    bounds, scale, names, rtol, raise_on_error
        As for `check_jacobian`, over all parameters.

    Returns
    -------
    JacobianReport
        Of the first constraint whose Jacobian disagrees, else of the one with the largest difference; its `name` says
        which it is.

    Raises
    ------
    TypeError
        If no constraint has a Jacobian to compare, or a function takes parameters by name and x is no dict.
    ValueError
        If a function takes a parameter that x does not have.
    """
    given = _given(constraints)
    if not given:
        raise TypeError("none of the constraints has a function for its Jacobian, so that there is nothing to compare.")
    x = x.to_dict() if hasattr(x, "to_dict") else x  # the params of a fit
    by_name = isinstance(x, Mapping)
    names = tuple(x) if isinstance(x, Mapping) else names
    point = np.array(list(x.values()) if isinstance(x, Mapping) else x, dtype=np.float64).reshape(-1)
    lower, upper = (None, None) if bounds is None else bounds
    ends = full_array(lower, point.size, -np.inf, "lower"), full_array(upper, point.size, np.inf, "upper")
    sizes = None if scale is None else full_array(scale, point.size, 1.0, "scale")
    largest: JacobianReport | None = None
    for one in given:
        places = _places(one, names or ()) if by_name else None
        taken = np.arange(point.size) if places is None else np.array(places, dtype=np.intp)
        if not by_name:
            _refuse_named(one)
        report = compare_jacobian(
            _of_vector(one.fun, one.args, places is not None),
            _of_vector(one.jac, one.args, places is not None),
            point[taken],
            bounds=(ends[0][taken], ends[1][taken]),
            scale=None if sizes is None else sizes[taken],
            names=None if names is None else [names[j] for j in taken],
            rtol=rtol,
            constraint=one.name,
        )
        if not report.ok:
            if raise_on_error:
                raise JacobianMismatchError(report)
            return report
        if largest is None or report.max_error > largest.max_error:
            largest = report
    assert largest is not None
    return largest


def _given(constraints: Any) -> list[_Given]:
    """Return the constraints that have Jacobians of their own."""
    is_one = isinstance(constraints, Mapping) or any(hasattr(constraints, name) for name in ("fun", "lb", "lower"))
    if not is_one and not hasattr(constraints, "__iter__"):
        raise TypeError("check_jacobian takes a function, its Jacobian and x, or constraints and x.")
    found = []
    for i, one in enumerate([constraints] if is_one else constraints):
        get = one.get if isinstance(one, Mapping) else lambda key, default=None, one=one: getattr(one, key, default)
        fun, jac, args = get("fun"), get("jac"), get("args", ())
        if callable(fun) and callable(jac) and not hasattr(jac, "prepare"):
            name = get("name") or ("constraint" if is_one else f"constraints[{i}]")
            further = tuple(args) if isinstance(args, tuple | list) else (args,)
            found.append(_Given(str(name), fun, jac, further))
    return found


def _arguments(one: _Given) -> tuple[list[inspect.Parameter], bool]:
    """Return what a function takes by place, less its further arguments, and whether it takes any number more."""
    try:
        signature = inspect.signature(getattr(one.fun, "py_func", one.fun))
    except (TypeError, ValueError):
        return [], True
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]
    variadic = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values())
    return (found if variadic else found[: len(found) - len(one.args)]), variadic


def _refuse_named(one: _Given) -> None:
    """Raise TypeError if a function takes several arguments, where x is a vector."""
    needed = [parameter.name for parameter in _arguments(one)[0] if parameter.default is parameter.empty]
    if len(needed) > 1:
        raise TypeError(
            f"{one.name}: its function takes {', '.join(needed)} by name, as for nlsq.fit; give x as a dict of all "
            f"parameters, as in check_jacobian(constraints, {{'{needed[0]}': 1.0, ...}})."
        )


def _places(one: _Given, names: Sequence[str]) -> list[int] | None:
    """Return which parameters a function takes by name; None if it takes the vector of all, as in `nlsq.fit`."""
    arguments, variadic = _arguments(one)
    taken = []
    for parameter in arguments:
        if parameter.default is not parameter.empty and parameter.name not in names:
            break
        taken.append(parameter.name)
    if variadic and not (taken and one.args):
        return list(range(len(names)))
    if len(taken) == 1 and taken[0] not in names:
        return None
    unknown = [name for name in taken if name not in names]
    if unknown:
        raise ValueError(f"{one.name}: x has no {unknown[0]!r}; it has {', '.join(names)}.")
    return [names.index(name) for name in taken]


def _of_vector(function: Callable[..., Any], args: tuple[Any, ...], by_name: bool) -> Callable[[NDArray[Any]], Any]:
    """Return a function of one vector."""
    if by_name:
        return lambda x: function(*x, *args)
    return lambda x: function(x, *args)
