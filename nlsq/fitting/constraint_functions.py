"""Functions of the parameters that are not held, from the user's functions of parameters by name or of all of them.

    function(a, c)  or  function(vector of all)    ->    c(p),  p the free parameters, held ones as numbers in it

It is plain Python around the user's function, so that it can be traced and compiled where the user's function can.
What is known of traced functions is known by their code, cells and defaults (`nlsq.compiler.routes`). Hence each user's
code gets a code object of its own, values of held parameters are cells, and a lambda that is made anew with the same
numbers in it gets the wrapper of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Function = Callable[[NDArray[Any]], Any]
MOST_CODES = 1000
MOST_WRAPPERS = 64  # they keep the user's functions, and what these hold, alive
NUMBERS = (float, int, bool, complex, str, np.float64)
_codes: dict[tuple[CodeType, Any], CodeType] = {}
_wrappers: dict[tuple[CodeType, tuple[float, ...]], tuple[Any, Function]] = {}  # with the user's function


def with_held(
    function: Callable[..., Any], places: tuple[int, ...], held: tuple[float, ...], n_free: int, by_name: bool
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
    n_free : int
        Number of those that are not.
    by_name : bool
        Whether it takes numbers one by one, or one vector.
    """
    wrapper = _with_own_code(_maker(places, n_free, len(held), by_name)(function, *held), function)
    key = (wrapper.__code__, held)
    known = _wrappers.get(key)
    if known is not None and _same(function, known[0]):
        return known[1]
    if len(_wrappers) >= MOST_WRAPPERS:
        _wrappers.clear()
    _wrappers[key] = function, wrapper
    return cast(Function, wrapper)


@lru_cache(maxsize=MOST_CODES)
def _maker(places: tuple[int, ...], n_free: int, n_held: int, by_name: bool) -> Callable[..., Any]:
    """Return what makes the wrapper: written out, as ``function(p[1], held_0, p[0])``."""
    arguments = ", ".join(f"p[{j}]" if j < n_free else f"held_{j - n_free}" for j in places)
    taken = ", ".join(["function", *(f"held_{k}" for k in range(n_held))])
    call = f"function({arguments})" if by_name else f"function(np.array([{arguments}]))"
    source = (
        f"def make({taken}):\n    def constraint(p):\n        return np.atleast_1d({call})\n    return constraint\n"
    )
    namespace: dict[str, Any] = {"np": np, "__name__": __name__}
    exec(source, namespace)
    return cast(Callable[..., Any], namespace["make"])


def _same(function: Any, other: Any) -> bool:
    """Whether two functions are one, or of one code with the same things in their cells and defaults."""
    if function is other:
        return True
    if type(function) is not FunctionType or type(other) is not FunctionType:
        return False
    if function.__code__ is not other.__code__ or function.__globals__ is not other.__globals__:
        return False
    own, others = _brought(function), _brought(other)
    return len(own) == len(others) and all(map(_alike, own, others))


def _brought(function: FunctionType) -> list[Any]:
    """Return what a function has in its cells and defaults."""
    options = function.__kwdefaults__ or {}
    found = [*(function.__defaults__ or ()), *options.keys(), *options.values()]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # an empty cell: nothing is like it
            found.append(object())
    return found


def _alike(value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) and type(value) in NUMBERS and bool(value == other))


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
