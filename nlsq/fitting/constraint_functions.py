"""Functions of the parameters that are not held, from the user's functions of parameters by name or of all of them.

    function(a, c)  or  function(vector of all)    ->    c(p),  p the free parameters, held ones as numbers in it

It is plain Python around the user's function, with a code object of its own for each, so that it can be traced and
compiled where the user's function can.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[[NDArray[Any]], Any]
MOST_CODES = 1000
_codes: dict[tuple[CodeType, Any], CodeType] = {}


def with_held(
    function: Callable[..., Any], places: tuple[int, ...], held: tuple[float, ...], by_name: bool
) -> Function:
    """Return the function of the free parameters from one of all.

    Parameters
    ----------
    function : callable
        The user's.
    places : tuple of int
        For each of its arguments, or entries of its argument, the index in ``[*p, *held]``.
    held : tuple of float
        Values of parameters that are held.
    by_name : bool
        Whether it takes numbers one by one, or one vector.
    """
    if by_name:

        def constraint(p: NDArray[Any]) -> Any:
            full = [*p, *held]
            return np.atleast_1d(function(*[full[j] for j in places]))

    else:

        def constraint(p: NDArray[Any]) -> Any:
            full = [*p, *held]
            return np.atleast_1d(function(np.array([full[j] for j in places])))

    return cast(Function, _with_own_code(constraint, function))


def jacobian_with_held(
    jac: Callable[..., Any], places: tuple[int, ...], held: tuple[float, ...], by_name: bool
) -> Callable[[FloatArray], Any]:
    """Return the Jacobian over the free parameters from the user's, whose columns are the function's arguments."""

    def jacobian(p: FloatArray) -> Any:
        full = np.concatenate((p, held))
        value = jac(*full[list(places)]) if by_name else jac(full[list(places)])
        if hasattr(value, "tocsc"):
            if by_name or held:
                return _spread(value.tocsc(), places, p.size)
            return value
        rows = np.atleast_2d(np.asarray(value, dtype=np.float64))
        if rows.shape[1] != len(places):
            raise ValueError(
                f"jac of a constraint returned shape {rows.shape}, expected one column for each of the "
                f"{len(places)} {'arguments' if by_name else 'parameters, held ones too'}."
            )
        out = np.zeros((rows.shape[0], p.size))
        for column, j in enumerate(places):
            if j < p.size:
                out[:, j] = rows[:, column]
        return out

    return jacobian


def hessian_with_held(
    hess: Callable[..., Any], places: tuple[int, ...], held: tuple[float, ...], by_name: bool
) -> Callable[[FloatArray, FloatArray], Any]:
    """Return the weighted second derivatives over the free parameters from the user's ``hess(..., v)``."""

    def hessian(p: FloatArray, v: FloatArray) -> FloatArray:
        full = np.concatenate((p, held))
        value = hess(*full[list(places)], v) if by_name else hess(full[list(places)], v)
        matrix = np.asarray(value.toarray() if hasattr(value, "toarray") else value, dtype=np.float64)
        taken = [k for k, j in enumerate(places) if j < p.size]
        out = np.zeros((p.size, p.size))
        at = [places[k] for k in taken]
        out[np.ix_(at, at)] = matrix[np.ix_(taken, taken)]
        return out

    return hessian


def _spread(matrix: Any, places: tuple[int, ...], n: int) -> Any:
    """Return the columns of a sparse matrix that belong to free parameters, at their places."""
    from scipy.sparse import csr_array

    entries = matrix.tocoo()
    columns = np.asarray(places)[entries.col]
    kept = columns < n
    return csr_array((entries.data[kept], (entries.row[kept], columns[kept])), shape=(matrix.shape[0], n))


def columns(matrix: Any, free: NDArray[np.intp]) -> Any:
    """Return some columns of a matrix, sparse or not."""
    return matrix.tocsc()[:, free] if hasattr(matrix, "tocsc") else np.asarray(matrix)[:, free]


def _with_own_code(wrapper: Any, function: Any) -> Any:
    """Return the wrapper with a code object that no wrapper of other code shares.

    What is known of a function's route is known by its code (`nlsq.compiler.routes`); the user's code, which is kept
    among the constants, also tells them apart on disk.
    """
    inner = getattr(function, "py_func", function)
    while not hasattr(inner, "__code__"):
        further = getattr(inner, "__func__", None) or getattr(inner, "func", None)
        if further is None:
            break
        inner = further
    mark = getattr(inner, "__code__", f"{type(inner).__module__}.{type(inner).__qualname__}")
    code: CodeType = wrapper.__code__
    own = _codes.get((code, mark))
    if own is None:
        if len(_codes) >= MOST_CODES:
            _codes.clear()
        own = _codes.setdefault((code, mark), code.replace(co_consts=(*code.co_consts, mark)))
    return FunctionType(
        own, wrapper.__globals__, getattr(function, "__name__", "constraint"), None, wrapper.__closure__
    )


def with_arguments(function: Callable[..., Any], extra: tuple[Any, ...], by_name: bool) -> Callable[..., Any]:
    """Return the function with further arguments at the end, as SLSQP's ``args``."""
    if by_name:

        def constraint(*arguments: Any) -> Any:
            return function(*arguments, *extra)

    else:

        def constraint(p: Any) -> Any:  # type: ignore[misc]
            return function(p, *extra)

    return cast(Function, _with_own_code(constraint, function))
