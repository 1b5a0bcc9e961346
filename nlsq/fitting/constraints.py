"""Constraints of a fit, said over the model's parameters: by name, or over all of them in the order of the signature.

    lower <= c(p) <= upper

What the solver gets is a function of the parameters that are not held, with the held ones as numbers in it:

    p_full = [*p, *held],        c(p) = function(p_full[i], p_full[k], ...)     by name
                                 c(p) = function([p_full[0], p_full[1], ...])   of the vector of all parameters
    A p <= upper                 A_free p <= upper - A_held held

Rows of held parameters alone are numbers: they are no constraints of the solve where they hold, and errors elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.constraint_functions import (
    columns,
    hessian_with_held,
    jacobian_with_held,
    with_arguments,
    with_held,
)
from nlsq.fitting.parameters import index_of, is_number

FloatArray = NDArray[np.float64]
FORMS = (
    "scipy.optimize.NonlinearConstraint, scipy.optimize.LinearConstraint, nlsq.linear_constraint({...}) or a dict of "
    "SLSQP's form such as {'type': 'ineq', 'fun': lambda a, b: 1 - a - b}"
)
HELD_EXACTLY = 1e-9  # relative violation by held parameters that is rounding
KEYS = ("type", "fun", "jac", "args", "name")
ALIKE = 0.8  # how near, by difflib's ratio, the only argument of a function comes to a parameter before it is misspelt


@final
@dataclass(frozen=True, slots=True)
class LinearCombination:
    """A linear constraint by name, as `linear_constraint` makes it.

    Attributes
    ----------
    coefficients : dict
        Factor of each parameter.
    lower, upper : float
        Limits of the sum.
    """

    coefficients: dict[str, float]
    lower: float
    upper: float

    def __str__(self) -> str:
        parts = []
        for name, factor in self.coefficients.items():
            size = "" if abs(factor) == 1.0 else f"{abs(factor):g} "
            parts.append(f"{'-' if factor < 0.0 else '+'} {size}{name}")
        first = parts[0].removeprefix("+ ")
        return " ".join([first.replace("- ", "-", 1), *parts[1:]])


def linear_constraint(
    coefficients: Mapping[str, float], lower: float = -np.inf, upper: float = np.inf
) -> LinearCombination:
    """Bound a linear combination of a fit's parameters: ``lower <= sum_j coefficients[j] * p_j <= upper``.

    Parameters
    ----------
    coefficients : dict
        Factor of each parameter by its name; others have 0.
    lower, upper : float
        Limits; equal ones for an equation, infinite (the default) where there is none.

    Returns
    -------
    LinearCombination
        For the `constraints` of `nlsq.fit`.

    Raises
    ------
    ValueError, TypeError
        If a factor is no finite number, there is none, or no number lies between the limits.

    Examples
    --------
    >>> print(linear_constraint({"a": 1, "b": 2}, upper=1))
    a + 2 b
    """
    if not isinstance(coefficients, Mapping):
        raise TypeError(
            f"linear_constraint: coefficients must be a dict of name and factor, got {type(coefficients).__name__}."
        )
    if not coefficients:
        raise ValueError("linear_constraint: coefficients are empty; name the parameters, as {'a': 1, 'b': 1}.")
    for name, factor in coefficients.items():
        if not is_number(factor):
            raise ValueError(f"linear_constraint: the factor of {name!r} must be a finite number, got {factor!r}.")
    if not lower <= upper or lower == np.inf or upper == -np.inf:
        raise ValueError(f"linear_constraint: no finite number lies between lower = {lower} and upper = {upper}.")
    if lower == -np.inf and upper == np.inf:
        raise ValueError("linear_constraint: give lower or upper, or both; equal ones for an equation.")
    return LinearCombination({name: float(factor) for name, factor in coefficients.items()}, float(lower), float(upper))


@final
@dataclass(frozen=True, slots=True)
class FitConstraint:
    """One constraint over all parameters of a model.

    Attributes
    ----------
    name : str
        For reports.
    lower, upper : float or ndarray
        Limits.
    keep_feasible : bool or ndarray
        Whether iterates have to keep it.
    matrix : ndarray, shape (k, n), or None
        Of a linear one.
    function : callable or None
        Of any other.
    places : tuple of int or None
        Indices of the parameters that `function` takes by name; None: it takes the vector of all.
    jac, hess : callable or str
        Derivatives, of the same arguments.
    options : dict
        What else SciPy's object said about differences.
    """

    name: str
    lower: Any
    upper: Any
    keep_feasible: Any = False
    matrix: Any = None
    function: Any = None
    places: tuple[int, ...] | None = None
    jac: Any = "2-point"
    hess: Any = None
    options: Any = None

    def over_free(self, free: NDArray[np.intp] | None, params: FloatArray) -> Any:
        """Return the constraint over the free parameters as SciPy's object.

        Parameters
        ----------
        free : ndarray of int or None
            Indices of the free ones; None: all.
        params : ndarray, shape (n,)
            Values of the others.

        Raises
        ------
        ValueError
            If held parameters alone violate it.
        """
        from scipy.optimize import LinearConstraint, NonlinearConstraint

        free = np.arange(params.size) if free is None else free
        held = np.setdiff1d(np.arange(params.size), free)
        value, still = self.refuse_held(held, params)
        if self.matrix is not None:
            lower, upper = self.limits(value.size)
            lower, upper = np.where(still, -np.inf, lower - value), np.where(still, np.inf, upper - value)
            return LinearConstraint(self.matrix[:, free], lower, upper, keep_feasible=self.keep_feasible)
        if still.any():
            return LinearConstraint(np.zeros((value.size, free.size)), -np.inf, np.inf)
        if self.places is None and not held.size:
            function, jac, hess = self.function, self.jac, self.hess
        else:
            order = np.argsort(np.concatenate((free, held)))  # where in [*p, *held] each parameter is
            values = tuple(params[held].tolist())
            places = tuple(order.tolist() if self.places is None else order[list(self.places)].tolist())
            by_name = self.places is not None
            function = with_held(self.function, places, values, free.size, by_name)
            jac = jacobian_with_held(self.jac, places, values, by_name) if callable(self.jac) else self.jac
            hess = hessian_with_held(self.hess, places, values, by_name) if callable(self.hess) else self.hess
        options = dict(self.options or {})
        if options.get("finite_diff_jac_sparsity") is not None:
            options["finite_diff_jac_sparsity"] = columns(options["finite_diff_jac_sparsity"], free)
        if hess is not None:
            options["hess"] = hess
        return NonlinearConstraint(
            function, self.lower, self.upper, jac=jac, keep_feasible=self.keep_feasible, **options
        )

    def value(self, params: FloatArray) -> FloatArray:
        """Return the values at all parameters, shape (k,)."""
        if self.matrix is not None:
            return np.asarray(self.matrix @ params)
        found = self.function(params.copy()) if self.places is None else self.function(*params[list(self.places)])
        return np.atleast_1d(np.asarray(found, dtype=np.float64))

    def limits(self, rows: int) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper limits of all rows."""
        lower, upper = (np.asarray(one, dtype=np.float64) for one in (self.lower, self.upper))
        return np.array(np.broadcast_to(lower, (rows,))), np.array(np.broadcast_to(upper, (rows,)))

    def refuse_held(self, held: NDArray[np.intp], params: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return what held parameters add to the values, and which rows no other parameter can change.

        Both are empty for a function that takes others, too.

        Raises
        ------
        ValueError
            If such a row is violated, with the first one, and by how much.
        """
        if self.matrix is not None:
            value, still = self.matrix[:, held] @ params[held], ~np.delete(self.matrix, held, axis=1).any(axis=1)
        elif held.size == params.size or (self.places is not None and set(self.places) <= set(held.tolist())):
            value = self.value(params)
            still = np.ones(value.size, dtype=bool)
        else:
            return np.empty(0), np.empty(0, dtype=bool)
        lower, upper = self.limits(value.size)
        beyond = np.maximum(np.maximum(lower - value, value - upper), 0.0)
        violated = still & ~(beyond <= HELD_EXACTLY * np.maximum(1.0, np.abs(value)))  # NaN too
        if violated.any():
            i = int(np.argmax(violated))
            where = f"{self.name}, row {i}," if value.size > 1 else self.name
            raise ValueError(
                f"{where} is violated by {beyond[i]:.6g} by the held parameters, whatever the others are: "
                f"{value[i]:.6g} is not between {lower[i]:.6g} and {upper[i]:.6g}; change their values, or free one."
            )
        return value, still


def read_constraints(given: Any, names: tuple[str, ...]) -> tuple[FitConstraint, ...]:
    """Read what `fit` was given.

    Parameters
    ----------
    given : object
        One constraint or a sequence of them, or None.
    names : tuple of str
        Of all parameters.

    Raises
    ------
    ValueError, TypeError
        Naming the constraint, and for an unknown name the parameters.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping | LinearCombination) or not isinstance(given, Sequence):
        given = (given,)
    return tuple([_read(one, names, f"constraints[{i}]") for i, one in enumerate(given)])


def _read(given: Any, names: tuple[str, ...], where: str) -> FitConstraint:
    if isinstance(given, LinearCombination):
        row = np.zeros((1, len(names)))
        for name, factor in given.coefficients.items():
            row[0, index_of(names, name, where)] = factor
        return FitConstraint(str(given), given.lower, given.upper, matrix=row)
    if isinstance(given, Mapping):
        return _from_dict(given, names, where)
    kind = type(given).__name__  # by what SciPy's objects have: they may come from a package that wraps them
    if hasattr(given, "A") and hasattr(given, "lb") and hasattr(given, "ub"):
        matrix = np.atleast_2d(np.asarray(given.A.toarray() if hasattr(given.A, "toarray") else given.A, dtype=float))
        if matrix.shape[1] != len(names):
            raise ValueError(
                f"{where}: A has {matrix.shape[1]} columns for {len(names)} parameters, held ones too: "
                f"{', '.join(names)}."
            )
        return FitConstraint(where, np.asarray(given.lb), np.asarray(given.ub), given.keep_feasible, matrix)
    if hasattr(given, "fun") and hasattr(given, "lb") and hasattr(given, "ub"):
        options = {
            key: getattr(given, key)
            for key in ("finite_diff_rel_step", "finite_diff_jac_sparsity")
            if getattr(given, key, None) is not None
        }
        places = _places(given.fun, names, where)
        hess = given.hess if callable(given.hess) or isinstance(given.hess, str) else None
        limits = np.asarray(given.lb), np.asarray(given.ub)
        return FitConstraint(
            _name(given.fun, where), *limits, given.keep_feasible, None, given.fun, places, given.jac, hess, options
        )
    if hasattr(given, "lb") and hasattr(given, "ub"):
        raise TypeError(f"{where} is {kind}; give it as bounds.")
    raise TypeError(f"{where} must be {FORMS}; got {kind}.")


def _from_dict(given: Mapping[str, Any], names: tuple[str, ...], where: str) -> FitConstraint:
    """Read a dict of SLSQP's form: ``fun(...) = 0`` or ``fun(...) >= 0``."""
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}; the keys are {', '.join(KEYS)}.")
    kind = str(given.get("type", "")).lower()
    if kind not in ("eq", "ineq"):
        raise ValueError(f"{where}['type'] must be 'eq' (fun = 0) or 'ineq' (fun >= 0), got {given.get('type')!r}.")
    function, jac, extra = given.get("fun"), given.get("jac"), tuple(given.get("args", ()))
    if not callable(function):
        raise TypeError(f"{where}['fun'] must be callable, got {type(function).__name__}.")
    places = _places(function, names, where, len(extra))
    name = str(given.get("name", _name(function, where)))
    if extra:
        function = with_arguments(function, extra, places is not None)
        jac = with_arguments(jac, extra, places is not None) if callable(jac) else jac
    upper = 0.0 if kind == "eq" else np.inf
    jac = "2-point" if jac is None else jac
    return FitConstraint(name, 0.0, upper, function=function, places=places, jac=jac)


def _name(function: Any, where: str) -> str:
    name = getattr(function, "__name__", "<lambda>")
    return where if name == "<lambda>" else str(name)


def _places(function: Any, names: tuple[str, ...], where: str, extra: int = 0) -> tuple[int, ...] | None:
    """Return the indices of the parameters that a function takes by name; None if it takes the vector of all.

    Its arguments are parameters of the model, or it has one argument, which is none. What has a default and is no
    parameter, and all that follow it, are options of the function; the last `extra` arguments are not parameters.
    Where ``*p`` comes after the first parameters, or alone, it takes all others by place, as in models; behind `extra`
    arguments it takes these.
    """
    try:
        signature = inspect.signature(getattr(function, "py_func", function))
    except (TypeError, ValueError):
        return None
    taken: list[str] = []
    variadic = ""
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = parameter.name
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.default is not parameter.empty and parameter.name not in names:
                break
            taken.append(parameter.name)
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise ValueError(
                f"{where} takes {parameter.name!r} by keyword only, but arguments are given by place; drop the *."
            )
    if variadic and not (taken and extra):
        if tuple(taken) != names[: len(taken)]:
            raise ValueError(
                f"{where}: the arguments before *{variadic} must be the first parameters in their order: "
                f"{', '.join(names)}."
            )
        return tuple(range(len(names)))
    taken = taken[: len(taken) - extra] if extra and not variadic else taken
    if len(taken) == 1 and taken[0] not in names:
        _refuse_misspelt(taken[0], names, where)
        return None
    if not taken:
        raise ValueError(
            f"{where} takes no parameters; its arguments must be parameters of the model ({', '.join(names)}), or one "
            "vector of them all."
        )
    return tuple([index_of(names, name, where) for name in taken])


def _refuse_misspelt(name: str, names: tuple[str, ...], where: str) -> None:
    """Raise if the only argument of a function looks like a parameter's name, rather than one for all of them."""
    import difflib

    alike = difflib.get_close_matches(name, names, n=1, cutoff=ALIKE)
    if alike:
        raise ValueError(
            f"{where}: unknown parameter {name!r}; did you mean {alike[0]!r}? The parameters are {', '.join(names)}. "
            "A function of the vector of all of them takes one argument with a name of its own, such as p."
        )
