"""The user's functions as the solvers call them, and what is said of values that are no residuals or Jacobians."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nlsq.derivatives import JacobianEstimator, PreparedJacobian
from nlsq.scipy_api.messages import CHANGED_SIZE, NOT_AN_ARRAY_OF_FLOATS

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], Any]

DOUBLE = np.dtype(np.float64)


class NonfiniteError(ArithmeticError):
    """Residuals or a Jacobian were not finite; each of the public functions has its own exception for it.

    Parameters
    ----------
    message : str
        SciPy's words.
    fields : dict or None
        The best point, in the words of `least_squares`, if the solver had started.
    """

    def __init__(self, message: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def as_value_error(self) -> ValueError:
        """Return the exception that users of `least_squares` and `leastsq` see."""
        return failure(ValueError, self.message, self.fields)


Failure = TypeVar("Failure", bound=Exception)


def failure(kind: type[Failure], message: str, fields: dict[str, Any] | None) -> Failure:
    """Return an exception with the best point in ``result``, an OptimizeResult or None."""
    error = kind(message)
    result = None if fields is None else as_optimize_result(fields | {"success": False, "message": message})
    error.result = result  # type: ignore[attr-defined]
    return error


def best_point(x: FloatArray, cost: float, fun: FloatArray, jac: Any, nfev: int, njev: int | None) -> dict[str, Any]:
    """Return what a failed run knows, in the words of `least_squares`."""
    return {"x": x, "cost": cost, "fun": fun, "jac": jac, "nfev": nfev, "njev": njev, "status": -1}


def with_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> Function:
    """Return ``x -> function(x, *args, **kwargs)``; the function itself where there are no further arguments."""
    if kwargs:
        return lambda x: function(x, *args, **kwargs)
    if len(args) == 0:
        return function
    if len(args) == 1:
        argument = args[0]
        return lambda x: function(x, argument)
    if len(args) == 2:
        first, second = args
        return lambda x: function(x, first, second)
    return lambda x: function(x, *args)


class PicklableFunction:
    """``x -> function(x, *args, **kwargs)`` that can be sent to another process, if the function can."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def __call__(self, x: FloatArray) -> Any:
        """Call the function."""
        return self.function(x, *self.args, **self.kwargs)


def as_optimize_result(fields: Mapping[str, Any]) -> Any:
    """Return SciPy's ``OptimizeResult``; the first call imports it."""
    global _result
    if _result is None:
        from scipy.optimize import OptimizeResult

        _result = OptimizeResult
    return _result(fields)


_result: Any = None


def starting_with(first: Any, function: Function) -> Function:
    """Return `function` with its first value, already known, given to the first call."""
    known = [first]

    def replayed(x: FloatArray) -> Any:
        return known.pop() if known else function(x)

    return replayed


def is_operator(jac: Any) -> bool:
    """Whether `jac` is a LinearOperator; where SciPy's are not imported there can be none."""
    module = sys.modules.get("scipy.sparse.linalg")
    return module is not None and isinstance(jac, module.LinearOperator)


def is_sparse(jac: Any) -> bool:
    """Whether `jac` is a sparse array or matrix."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(jac))


def as_csr(jac: Any) -> Any:
    """Return `jac` as ``csr_array``."""
    from scipy.sparse import csr_array

    return csr_array(jac)


def minpack_error(cause: Exception) -> Exception:
    """Return SciPy's exception for a function value that is not an array of numbers, with its cause."""
    try:
        from scipy.optimize import _minpack

        error: type[Exception] = _minpack.error  # type: ignore[attr-defined]
    except (ImportError, AttributeError):  # a later SciPy
        error = TypeError
    exception = error(NOT_AN_ARRAY_OF_FLOATS)
    exception.__cause__ = cause
    return exception


def as_doubles(value: Any, most_dimensions: int = 1, least_dimensions: int = 0) -> FloatArray:
    """Read a function value as float64 by the rules of MINPACK's wrapper: safe casts of arrays, any cast of sequences.

    Raises
    ------
    scipy.optimize._minpack.error
        If `value` is not an array of numbers or has a wrong number of dimensions.
    """
    try:
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value).astype(DOUBLE, casting="safe", copy=False)
        else:
            array = np.asarray(value, dtype=DOUBLE)
        if array.ndim > most_dimensions:
            raise ValueError("object too deep for desired array")
        if array.ndim < least_dimensions:
            raise ValueError("object of too small depth for desired array")
    except (TypeError, ValueError) as cause:
        raise minpack_error(cause) from cause
    return array


def as_vector(value: Any, m: int) -> FloatArray:
    """Read a function value as a vector of m numbers."""
    array = as_doubles(value).ravel()
    if array.size != m:
        raise ValueError(CHANGED_SIZE)
    return array


def checked_residual(function: Function, m: int) -> Function:
    """Return `function` with its values read as vectors of m floating-point numbers."""
    shape = (m,)

    def residual(x: FloatArray) -> Any:
        value = function(x)
        if type(value) is np.ndarray and value.shape == shape and value.dtype.kind == "f":
            return value
        return as_vector(value, m)

    return residual


@final
class Differences:
    """A difference estimator that calls the user's function itself, not the solver's view of it.

    Parameters
    ----------
    estimator : JacobianEstimator
        How to difference.
    function : callable
        What to difference, ``x (n,) -> r (m,)``.
    dtype : dtype
        Precision in which it computes.
    scaled : bool
        Whether the scale of the problem is the user's, so that steps follow it; else they follow the start.
    counted : bool
        Whether the calls count towards a limit.
    """

    __slots__ = ("counted", "dtype", "estimator", "function", "scaled")

    def __init__(
        self,
        estimator: JacobianEstimator,
        function: Function,
        dtype: DTypeLike | None,
        scaled: bool = False,
        counted: bool = True,
    ) -> None:
        self.estimator = estimator
        self.function = function
        self.dtype = dtype
        self.scaled = scaled
        self.counted = counted

    def finer(self) -> Differences | None:
        """Return differences with more digits; None where the steps were chosen by the user."""
        finer = self.estimator.finer() if hasattr(self.estimator, "finer") else None
        return None if finer is None else Differences(finer, self.function, self.dtype, self.scaled, self.counted)

    def prepare(
        self, residual: Function, x0: FloatArray, m: int, *, scale: Any = None, **options: Any
    ) -> PreparedJacobian:
        """Prepare for the function; see `JacobianEstimator.prepare`."""
        scale = scale if self.scaled else None
        prepared = self.estimator.prepare(self.function, x0, m, **options | {"dtype": self.dtype, "scale": scale})
        return prepared if self.counted else UncountedJacobian(prepared)


@final
class UncountedJacobian:
    """A prepared Jacobian whose calls of the residual count for nothing.

    Parameters
    ----------
    prepared : PreparedJacobian
        What evaluates.
    """

    __slots__ = ("evaluate", "pattern", "residual_calls")

    def __init__(self, prepared: PreparedJacobian) -> None:
        self.evaluate = prepared.evaluate
        self.pattern = prepared.pattern
        self.residual_calls = 0
