"""From SciPy's constraint objects and dicts to a `ConstraintSet`.

    bounds      lb <= x <= ub                 has lb and ub
    linear      lb <= A x <= ub               has A, lb and ub
    nonlinear   lb <= fun(x) <= ub            has fun, lb and ub
    dict        fun(x) = 0 or fun(x) >= 0     {"type": "eq" or "ineq", "fun": ..., "jac": ..., "args": ...}

Objects are recognised by their attributes, so that SciPy need not be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.problem.constraints.constraint_set import ConstraintSet
from nlsq.problem.vector_function import VectorFunction, linear_function, vector_function
from nlsq.problem.vector_function.values import numbers_of

FloatArray = NDArray[np.float64]
KEYS = ("type", "fun", "jac", "hess", "args", "name")
WHAT = (
    "a constraint is a scipy.optimize.NonlinearConstraint, LinearConstraint or Bounds, a dict "
    "{'type': 'eq' or 'ineq', 'fun': ...}, or any object with fun, lb and ub"
)


class _Place(NamedTuple):
    """Where functions are read: what `vector_function` needs besides the constraint itself."""

    n: int
    x0: FloatArray
    lower: FloatArray
    upper: FloatArray
    scale: Any
    compile: bool


def read_constraints(
    constraints: Any,
    n: int,
    x0: ArrayLike,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    compile: bool = False,
) -> ConstraintSet:
    """Read the constraints of a problem.

    Parameters
    ----------
    constraints : constraint, sequence of constraints, ConstraintSet or None
        `scipy.optimize.NonlinearConstraint`, `LinearConstraint`, `Bounds`, dicts as SciPy's SLSQP takes them, and any
        object with ``fun``, ``lb`` and ``ub``. The functions may be compiled. A ``name`` is taken for messages.
        ``jac="2-point"``, SciPy's default,
        leaves the choice open: exact where the function is compiled or traced, else forward differences; other
        strings, and ``finite_diff_rel_step``, are followed. Strategies that approximate ``hess`` are not needed and
        ignored.
    n : int
        Number of parameters.
    x0 : array_like, shape (n,)
        Start; functions are called at the nearest point within the bounds.
    lower, upper : array_like, optional
        Bounds of the parameters, which no difference leaves.
    scale : array_like, optional
        Typical sizes of the parameters.
    compile : bool
        Trace and compile plain functions now, where that is possible.

    Returns
    -------
    ConstraintSet
        Without constraints, one of no rows.

    Raises
    ------
    TypeError, ValueError
        Naming the constraint by its place and the row, as in ``constraints[1]: lb[0]``.
    """
    if isinstance(constraints, ConstraintSet):
        if constraints.n != n:
            raise ValueError(f"constraints were read for {constraints.n} parameters, but there are {n}.")
        return constraints
    given = _as_list(constraints)
    start = np.array(x0, dtype=np.float64)
    bounds = _merged_bounds(given, n)
    least, most = np.full(n, -np.inf), np.full(n, np.inf)
    for low, high in ((lower, upper), bounds or (None, None)):
        least = least if low is None else np.maximum(least, low)
        most = most if high is None else np.minimum(most, high)
    wrong = least > most
    if wrong.any():
        j = int(np.argmax(wrong))
        raise ValueError(f"constraints: the bounds of x[{j}] contradict those of the problem: {least[j]} > {most[j]}.")
    place = _Place(n, np.clip(start, least, most), least, most, scale, compile)
    blocks, ends, kept = [], [], []
    for i, one in enumerate(given):
        if _kind(one, i) == "bounds":
            continue
        function, end, keep = _block(one, place, _name(one, i))
        if function is not None:
            blocks.append(function)
            ends.append(end)
            kept.append(keep)
    if not blocks:
        none = np.empty(0)
        return ConstraintSet((), n, none, none, np.empty(0, dtype=np.bool_), bounds)
    lows, highs = (np.concatenate(side) for side in zip(*ends, strict=True))
    return ConstraintSet(blocks, n, lows, highs, np.concatenate(kept), bounds)


def _as_list(constraints: Any) -> list[Any]:
    """Return one or several constraints as a list."""
    if constraints is None:
        return []
    if isinstance(constraints, Mapping) or hasattr(constraints, "lb") or hasattr(constraints, "fun"):
        return [constraints]
    try:
        return list(constraints)
    except TypeError as error:
        raise TypeError(f"constraints must be a constraint or a sequence of them; {WHAT}.") from error


def _kind(one: Any, i: int) -> str:
    """Return which of the kinds of this module a constraint is."""
    if isinstance(one, Mapping):
        return "dict"
    if hasattr(one, "lb") and hasattr(one, "ub"):
        if hasattr(one, "fun"):
            return "nonlinear"
        return "linear" if hasattr(one, "A") else "bounds"
    raise TypeError(f"constraints[{i}] is a {type(one).__name__}; {WHAT}.")


def _name(one: Any, i: int) -> str:
    """Return what messages call a constraint: its own name, or its place."""
    name = one.get("name") if isinstance(one, Mapping) else getattr(one, "name", None)
    return name if isinstance(name, str) and name else f"constraints[{i}]"


def _merged_bounds(given: list[Any], n: int) -> tuple[FloatArray, FloatArray] | None:
    """Return the bounds of the parameters among the constraints, all of them together; None where there are none."""
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    found = False
    for i, one in enumerate(given):
        if _kind(one, i) == "bounds":
            found = True
            low, high = _ends(one.lb, one.ub, n, f"constraints[{i}]", "the number of parameters is")
            lower, upper = np.maximum(lower, low), np.minimum(upper, high)
    wrong = lower > upper
    if wrong.any():
        j = int(np.argmax(wrong))
        raise ValueError(f"constraints: the bounds of x[{j}] contradict each other: {lower[j]} > {upper[j]}.")
    return (lower, upper) if found else None


def _block(one: Any, place: _Place, name: str) -> tuple[VectorFunction | None, tuple[FloatArray, FloatArray], Any]:
    """Return a constraint's function, the bounds of its values, and which rows are to be kept feasible.

    The function is None where there are no rows.
    """
    if isinstance(one, Mapping):
        return _of_dict(one, place, name)
    if hasattr(one, "fun"):
        function = _nonlinear(one, place, name)
        what = "fun returns"
    else:
        if len(np.shape(one.A)) == 2 and np.shape(one.A)[0] == 0:
            return None, (np.empty(0), np.empty(0)), None
        function = linear_function(one.A, place.n, name)
        what = "A has"
    ends = _ends(one.lb, one.ub, function.m, name, what)
    return function, ends, _kept(getattr(one, "keep_feasible", False), function.m, name)


def _nonlinear(one: Any, place: _Place, name: str) -> VectorFunction:
    """Return the function of a NonlinearConstraint, or of what looks like one."""
    jac, step = getattr(one, "jac", None), getattr(one, "finite_diff_rel_step", None)
    return vector_function(
        one.fun,
        place.n,
        place.x0,
        jac=_jacobian(jac, step, name),
        hess=getattr(one, "hess", None),
        sparsity=getattr(one, "finite_diff_jac_sparsity", None),
        lower=place.lower,
        upper=place.upper,
        scale=place.scale,
        name=name,
        compile=place.compile,
    )


def _jacobian(jac: Any, step: Any, name: str) -> Any:
    """Return what `vector_function` takes for a constraint's Jacobian."""
    if jac is False or (isinstance(jac, str) and jac == "2-point" and step is None):
        return None
    if step is None or not (jac is None or isinstance(jac, str)):
        return jac
    from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference

    estimators: dict[Any, Any] = {"2-point": ForwardDifference, "3-point": CentralDifference, "cs": ComplexStep}
    estimator = estimators.get(jac or "2-point")
    if estimator is None:
        raise ValueError(f"{name}: jac must be callable or one of {', '.join(map(repr, estimators))}, got {jac!r}.")
    return estimator(rel_step=step)


def _of_dict(
    one: Mapping[str, Any], place: _Place, name: str
) -> tuple[VectorFunction, tuple[FloatArray, FloatArray], Any]:
    """Read a dict of SLSQP's."""
    unknown = [key for key in one if key not in KEYS]
    if unknown:
        raise ValueError(f"{name} has the key {unknown[0]!r}; known are {', '.join(KEYS)}.")
    kind = str(one.get("type", "")).lower()
    if kind not in ("eq", "ineq"):
        raise ValueError(f"{name}: type must be 'eq' or 'ineq', got {one.get('type')!r}.")
    if "fun" not in one:
        raise ValueError(f"{name} has no 'fun'.")
    args = one.get("args", ())
    function = vector_function(
        one["fun"],
        place.n,
        place.x0,
        jac=_jacobian(one.get("jac"), None, name),
        hess=one.get("hess"),
        lower=place.lower,
        upper=place.upper,
        scale=place.scale,
        args=tuple(args) if isinstance(args, tuple | list) else (args,),
        name=name,
        compile=place.compile,
    )
    zeros = np.zeros(function.m)
    ends = zeros, zeros.copy() if kind == "eq" else np.full(function.m, np.inf)
    return function, ends, np.zeros(function.m, dtype=np.bool_)


def _ends(lower: Any, upper: Any, m: int, name: str, what: str) -> tuple[FloatArray, FloatArray]:
    """Return bounds of `m` values as arrays.

    Raises
    ------
    ValueError
        If there are more or fewer, one is NaN, or they contradict each other.
    """
    found = []
    for side, value, is_open in (("lb", lower, -np.inf), ("ub", upper, np.inf)):
        array = numbers_of(is_open if value is None else value, f"{name}: {side}", "holds").astype(np.float64)
        if array.ndim > 1 or array.size not in (1, m):
            raise ValueError(f"{name}: {side} has shape {array.shape}, but {what} {m}{_rows(what, m)}.")
        array = np.array(np.broadcast_to(array.reshape(-1) if array.size == 1 else array, (m,)))
        if np.isnan(array).any():
            raise ValueError(f"{name}: {side}[{int(np.argmax(np.isnan(array)))}] is NaN; np.inf leaves a row open.")
        found.append(array)
    low, high = found
    wrong = low > high
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"{name}: lb[{i}] = {low[i]} is not <= ub[{i}] = {high[i]}.")
    nowhere = (low == np.inf) | (high == -np.inf)
    if nowhere.any():
        i = int(np.argmax(nowhere))
        raise ValueError(f"{name}: nothing is between lb[{i}] = {low[i]} and ub[{i}] = {high[i]}.")
    return low, high


def _rows(what: str, m: int) -> str:
    if what == "A has":
        return " row" if m == 1 else " rows"
    return "" if what.endswith("is") else (" value" if m == 1 else " values")


def _kept(value: Any, m: int, name: str) -> NDArray[np.bool_]:
    """Return which rows are to be kept feasible."""
    array = np.asarray(value)
    if array.dtype.kind not in "bi" or array.ndim > 1 or array.size not in (1, m):
        raise ValueError(f"{name}: keep_feasible must be True, False or {m} of them, got shape {array.shape}.")
    return np.array(np.broadcast_to(array.reshape(-1).astype(np.bool_), (m,)))
