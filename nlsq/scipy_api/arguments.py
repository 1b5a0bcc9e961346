"""The arguments of `least_squares`, checked in SciPy's order and with SciPy's words."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.loss import LOSS_NAMES, Loss
from nlsq.solvers import Tolerances

FloatArray = NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]

EPS = np.finfo(np.float64).eps
UNBOUNDED = (-np.inf, np.inf)
DISTANCE_FROM_BOUNDS = 1e-10  # of a start for trf, relative to a bound beyond 1


def check_keywords(function: str, given: Mapping[str, Any], taken: Collection[str], known: Collection[str]) -> None:
    """Refuse keywords as Python refuses them in a call of `function`, whose arguments `taken` are already given."""
    for name in given:
        if name in taken:
            raise TypeError(f"{function}() got multiple values for argument {name!r}")
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def check_workers(workers: Any) -> None:
    """Refuse a number of workers that is no number of workers."""
    if workers is None or callable(workers):
        return
    count = int(workers)
    if count < 1 and count != -1:
        raise RuntimeError("Number of workers specified must be -1, an int >= 1, or an object with a 'map' method")


def check_choices(method: Any, jac: Any, tr_solver: Any, loss: Any, verbose: Any, max_nfev: Any) -> None:
    """Refuse what is none of the choices."""
    if method not in ("trf", "dogbox", "lm"):
        raise ValueError("`method` must be 'trf', 'dogbox' or 'lm'.")
    if not callable(jac) and jac not in ("2-point", "3-point", "cs"):
        raise ValueError("`jac` must be '2-point', '3-point', 'cs' or callable.")
    if tr_solver not in (None, "exact", "lsmr"):
        raise ValueError("`tr_solver` must be None, 'exact' or 'lsmr'.")
    if not callable(loss) and loss not in LOSS_NAMES:
        raise ValueError(f"`loss` must be one of dict_keys({list(LOSS_NAMES)}) or a callable.")
    if method == "lm" and loss != "linear":
        raise ValueError("method='lm' supports only 'linear' loss function.")
    if verbose not in (0, 1, 2):
        raise ValueError("`verbose` must be in [0, 1, 2].")
    if max_nfev is not None and max_nfev <= 0:
        raise ValueError("`max_nfev` must be None or positive integer.")


def read_start(x0: Any) -> FloatArray:
    """Return the start as a fresh array, shape (n,)."""
    if np.iscomplexobj(x0):
        raise ValueError("`x0` must be real.")
    start = np.atleast_1d(x0).astype(float)
    if start.ndim > 1:
        raise ValueError("`x0` must have at most 1 dimension.")
    return start


def is_bounds(bounds: Any) -> bool:
    """Whether `bounds` is SciPy's ``Bounds``; where that class is not imported nothing can be."""
    module = sys.modules.get("scipy.optimize._constraints")
    return module is not None and isinstance(bounds, module.Bounds)


def end_of_bounds(end: Any, n: int) -> FloatArray:
    """Return one side of the bounds as an array; a single number holds for all n parameters."""
    array = np.asarray(end, dtype=float)
    return np.resize(array, n) if array.ndim == 0 else array


def read_bounds(bounds: Any, x0: FloatArray, method: str) -> Bounds | None:
    """Return the bounds, each of shape (n,), or None if all are infinite."""
    outside = "Initial guess is outside of provided bounds"
    if bounds is UNBOUNDED:
        if np.isnan(x0).any():
            raise ValueError(outside)
        return None
    if is_bounds(bounds):
        lower, upper = end_of_bounds(bounds.lb, x0.size), end_of_bounds(bounds.ub, x0.size)
        if lower.shape == (1,):
            lower = np.resize(lower, x0.size)
        if upper.shape == (1,):
            upper = np.resize(upper, x0.size)
    elif len(bounds) == 2:
        lower, upper = (end_of_bounds(end, x0.size) for end in bounds)
    else:
        raise ValueError("`bounds` must contain 2 elements.")
    unbounded = bool(np.all(lower == -np.inf) and np.all(upper == np.inf))
    if method == "lm" and not unbounded:
        raise ValueError("Method 'lm' doesn't support bounds.")
    if lower.shape != x0.shape or upper.shape != x0.shape:
        raise ValueError("Inconsistent shapes between bounds and `x0`.")
    if np.any(lower >= upper):
        raise ValueError("Each lower bound must be strictly less than each upper bound.")
    if not np.all((x0 >= lower) & (x0 <= upper)):
        raise ValueError(outside)
    return None if unbounded else (lower, upper)


def read_x_scale(x_scale: Any, x0: FloatArray, method: str) -> FloatArray | str:
    """Return the scale of each parameter, or "jac"."""
    if x_scale is None:
        return "jac" if method == "lm" else np.ones_like(x0)
    if isinstance(x_scale, str) and x_scale == "jac":
        return x_scale
    try:
        scale = np.asarray(x_scale, dtype=float)
        valid = bool(np.all(np.isfinite(scale)) and np.all(scale > 0))
    except (ValueError, TypeError):
        valid = False
    if not valid:
        raise ValueError("`x_scale` must be 'jac' or array_like with positive numbers.")
    if scale.ndim == 0:
        scale = np.resize(scale, x0.shape)
    if scale.shape != x0.shape:
        raise ValueError("Inconsistent shapes between `x_scale` and `x0`.")
    return scale


def read_tolerances(ftol: Any, xtol: Any, gtol: Any, method: str) -> Tolerances:
    """Return the tolerances, warning of those below rounding; a tolerance that nothing can meet becomes None."""
    given = {"ftol": ftol, "xtol": xtol, "gtol": gtol}
    below = []
    for name, value in given.items():
        small = value is None or value < EPS
        below.append(small)
        if small and value is not None:
            warnings.warn(
                f"Setting `{name}` below the machine epsilon ({EPS:.2e}) effectively disables the corresponding "
                "termination condition.",
                stacklevel=4,
            )
    if method == "lm" and any(below):
        raise ValueError(f"All tolerances must be higher than machine epsilon ({EPS:.2e}) for method 'lm'.")
    if all(below):
        raise ValueError(f"At least one of the tolerances must be higher than machine epsilon ({EPS:.2e}).")
    cost, step, optimality = (value if value is not None and value > 0 else None for value in given.values())
    return Tolerances(cost=cost, step=step, optimality=optimality, rule="minpack" if method == "lm" else "scipy")


def strictly_feasible(x: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Move a start on or very near its bounds inside, by a relative 1e-10, or to the middle of narrow bounds."""
    inside = x.copy()
    for bound, inward in ((lower, 1.0), (upper, -1.0)):
        finite = np.isfinite(bound)
        distance = DISTANCE_FROM_BOUNDS * np.maximum(1.0, np.abs(bound, where=finite, out=np.zeros_like(bound)))
        near = finite & (np.abs(x - np.where(finite, bound, 0.0)) <= distance)
        inside[near] = (bound + inward * distance)[near]
    tight = (inside < lower) | (inside > upper)
    inside[tight] = 0.5 * (lower[tight] + upper[tight])
    return inside


def active_within(x: FloatArray, lower: FloatArray, upper: FloatArray, tolerance: float) -> NDArray[np.int_]:
    """Return -1 where x is within a relative tolerance of its lower bound, 1 for the upper bound, else 0."""
    mask = np.zeros(x.size, dtype=int)
    to_lower, to_upper = x - lower, upper - x
    for side, distance, bound in ((-1, to_lower, lower), (1, to_upper, upper)):
        finite = np.isfinite(bound)
        size = np.maximum(1.0, np.abs(np.where(finite, bound, 0.0)))
        mask[finite & (distance <= np.minimum(tolerance * size, np.minimum(to_lower, to_upper)))] = side
    return mask


def read_loss(loss: Any, f_scale: Any, f0: FloatArray) -> tuple[Any, float, float]:
    """Return loss and scale for the solver, and the cost at the start."""
    if isinstance(loss, str) and loss == "linear":
        return loss, 1.0, 0.5 * float(f0 @ f0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (f0 / f_scale) ** 2
    squared_scale = f_scale**2
    scale = abs(float(f_scale))
    if callable(loss):
        rho = np.asarray(loss(z))
        if rho.shape != (3, f0.size):
            raise ValueError("The return value of `loss` callable has wrong shape.")
        return loss, scale, 0.5 * float(squared_scale * np.sum(rho[0]))
    if not 0.0 < scale < math.inf:
        return loss, scale, math.nan
    return loss, scale, Loss(loss, scale).cost(f0)
