"""What is fitted to what, and how its residual is made: the seam between `fit` and the solvers.

r(p) = whiten( model(x, *p) - y )      over the parameters p that are not held
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import MANY_POINTS, unwrapped
from nlsq.fitting.data import DOUBLE, CurveData
from nlsq.loss import Loss
from nlsq.problem import CompiledFunction, LeastSquaresProblem
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.solvers.least_overhead import DISAGREES

if TYPE_CHECKING:
    from nlsq.fitting.constraints import FitConstraint

FloatArray = NDArray[np.float64]
LINEAR = Loss()
LOST_MODEL = (
    "this result was pickled with a model (or x) that cannot be pickled, such as a lambda, and has lost it; call the "
    "model with result.params, or define it at the top of a module."
)


@final
@dataclass(slots=True)
class FitTask:
    """A model, its data, and what is held or bounded.

    Attributes
    ----------
    model : callable or None
        ``model(x, *p)``; None after it could not be pickled.
    names : tuple of str
        Names of all parameters.
    data : CurveData
        See there.
    jac : callable, str, estimator or None
        As given to `fit`.
    free : ndarray of int or None
        Indices of the parameters that the solver moves; None: all.
    lower, upper : ndarray, shape (n,), or None
        Bounds of all parameters; None: none is bounded.
    loss : Loss
        See there.
    absolute_sigma : bool
        Whether the weights are in the unit of the data.
    constraints : tuple of FitConstraint
        Over all parameters.
    """

    model: Any
    names: tuple[str, ...]
    data: CurveData
    jac: Any = None
    free: NDArray[np.intp] | None = None
    lower: FloatArray | None = None
    upper: FloatArray | None = None
    loss: Loss = LINEAR
    absolute_sigma: bool = False
    constraints: tuple[FitConstraint, ...] = ()

    @property
    def n_free(self) -> int:
        """Number of parameters that the solver moves."""
        return len(self.names) if self.free is None else self.free.size

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """Which parameters are held."""
        fixed = np.zeros(len(self.names), dtype=bool)
        if self.free is not None:
            fixed[:] = True
            fixed[self.free] = False
        return fixed

    def among_free(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the part of an array over all parameters that belongs to the free ones."""
        return values if self.free is None else values[self.free]

    def among_all(self, values: NDArray[Any], held: NDArray[Any]) -> NDArray[Any]:
        """Return an array over all parameters from one over the free ones; the others are taken from `held`."""
        if self.free is None:
            return values
        full = held.astype(np.result_type(held, values))
        full[self.free] = values
        return full

    def free_bounds(self) -> tuple[FloatArray, FloatArray] | None:
        """Return the bounds of the free parameters."""
        if self.lower is None or self.upper is None:
            return None
        return self.among_free(self.lower), self.among_free(self.upper)

    def problem(self, start: FloatArray, jac: Any = None, constrained: bool = False) -> LeastSquaresProblem:
        """Return the problem from a start.

        Parameters
        ----------
        start : ndarray, shape (n,)
            All parameters; those that are held stay here.
        jac : estimator or str, optional
            In place of the task's own.
        constrained : bool
            Whether to take the constraints along.
        """
        if self.model is None:
            raise RuntimeError(LOST_MODEL)
        if self.data.streamed is not None:
            return replace(self, data=self.data.whole()).problem(start, jac, constrained)
        residual, own = residual_of(self, start)
        constraints = [one.over_free(self.free, start) for one in self.constraints] if constrained else []
        if constraints and own is None and not isinstance(residual, CompiledResidual):
            own = "3-point"  # forward differences lack the digits for an interior point's tolerance
        return LeastSquaresProblem(
            residual,
            self.among_free(start),
            jac=own if jac is None else jac,
            bounds=self.free_bounds(),
            constraints=constraints,
            loss=self.loss.function,
            loss_scale=self.loss.scale,
        )


def residual_of(task: FitTask, held: FloatArray) -> tuple[Any, Any]:
    """Return residual and Jacobian of a task, as `LeastSquaresProblem` takes them.

    Parameters
    ----------
    task : FitTask
        What is fitted.
    held : ndarray, shape (n,)
        Values of the parameters that are not free.

    Returns
    -------
    residual : callable or CompiledResidual
        ``p -> r``, shape (n_free,) to (m,).
    jac : callable, estimator, str or None
        ``p -> J``, shape (n_free,) to (m, n_free), or how to difference.
    """
    jac = task.jac
    if callable(jac) and not hasattr(jac, "prepare"):
        jac = _jacobian(task, held.copy())
    by_address = (
        _by_address(task) if jac is not None or task.model is None else _traced(task, held) or _by_address(task)
    )
    return (python_residual(task, held) if by_address is None else by_address), jac


@contextmanager
def plain_time(task: FitTask) -> Iterator[None]:
    """Note the time of a fit whose model is called plainly, so that it is compiled once that pays."""
    route = None if isinstance(task.model, CompiledFunction) else unwrapped(task.model, "model")[1]
    started = perf_counter()
    yield
    if route is not None and (not route.ready or route.pauses):
        route.spend(started)


def _traced(task: FitTask, held: FloatArray) -> Any:
    """Return the residual of a plain model by the kernels of its graph, where it is to be traced; else None."""
    data, model = task.data, task.model
    route = None if isinstance(model, CompiledFunction) else unwrapped(model, "model")[1]
    x, y = data.x, data.y
    if route is None or data.factor is not None or data.keep is not None or data.complex:
        return None
    arrays = x if isinstance(x, tuple) else (x,)
    if not arrays or any(type(one) is not np.ndarray or one.dtype != DOUBLE for one in arrays):
        return None
    if not route.ready and (route.reason or y.size < MANY_POINTS or not route.may_compile()):
        return None
    from nlsq.fitting.tracing import traced_task

    return traced_task(task, route, held)


def fallbacks_of(task: FitTask) -> list[str]:
    """Say that the model was called because its graph turned out to be wrong, where that is so."""
    route = None if isinstance(task.model, CompiledFunction) else unwrapped(task.model, "model")[1]
    if route is None or route.reason != DISAGREES:
        return []
    return [f"the model was called plainly: {DISAGREES}"]


def python_residual(task: FitTask, held: FloatArray) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return ``p -> r`` over the free parameters by calls of the model."""
    model, data, held = task.model, task.data, held.copy()
    x, y, read = data.x, data.y, data.residual
    plain = data.weights is None and data.factor is None and data.keep is None and not data.complex
    if plain and data.shape == y.shape and task.free is None:

        def residual(p: NDArray[Any]) -> NDArray[Any]:
            value = model(x, *p)
            if type(value) is np.ndarray and value.dtype is DOUBLE and value.shape == y.shape:
                return np.subtract(value, y)
            return refuse_complex(read(value), p)

        return residual

    def general_residual(p: NDArray[Any]) -> NDArray[Any]:
        return refuse_complex(read(model(x, *task.among_all(p, held))), p)

    return general_residual


def refuse_complex(residual: NDArray[Any], p: NDArray[Any]) -> NDArray[Any]:
    """Raise TypeError if a model of real parameters returned complex values for a real y."""
    if residual.dtype.kind == "c" and p.dtype.kind != "c":
        raise TypeError("the model returned complex values, but y is real; make y complex, or return abs() or .real.")
    return residual


def _by_address(task: FitTask) -> Any:
    """Return the residual of a compiled model, where data and parameters are such that kernels can call it."""
    model, data = task.model, task.data
    if not isinstance(model, CompiledFunction) or model.kind != "model" or model.n != len(task.names):
        return None
    x, y = data.x, data.y
    if task.free is not None or data.factor is not None or data.keep is not None or data.complex or y.ndim != 1:
        return None
    if data.shape != y.shape or type(x) is not np.ndarray or x.dtype != DOUBLE or x.shape[-1:] != y.shape or x.ndim > 2:
        return None
    weights = None if data.weights is None else np.array(np.broadcast_to(data.weights, y.shape))
    return model.bind_data(np.ascontiguousarray(x), y, weights)


def _jacobian(task: FitTask, held: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return ``p -> J`` over the free parameters from the user's ``jac(x, *p)`` over all of them."""
    data, jac, n = task.data, task.jac, len(task.names)
    size = int(np.prod(data.shape))

    def jacobian(p: FloatArray) -> FloatArray:
        return free_columns(task, rows_of_jacobian(jac(data.x, *task.among_all(p, held)), (size, n), data))

    return jacobian


def rows_of_jacobian(value: Any, shape: tuple[int, int], data: CurveData) -> NDArray[Any]:
    """Return what the user's ``jac(x, *p)`` returned as one row for each residual, weighted.

    Raises
    ------
    ValueError
        If it does not have one column a parameter and one row a value of the model.
    """
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    if array.shape not in (shape, (*data.shape, shape[1])):
        hint = " (that is its transpose)" if array.shape == shape[::-1] else ""
        raise ValueError(
            f"jac returned shape {array.shape}{hint}, expected {shape}: one row for each value of the model, one "
            "column for each parameter, held ones too."
        )
    array = array.reshape(shape)
    if data.complex:
        array = np.concatenate((array.real, array.imag))
    elif array.dtype.kind == "c":
        raise TypeError("jac returned complex values, but y is real.")
    return data.whiten(array if data.keep is None else array[data.keep])


def free_columns(task: FitTask, jac: NDArray[Any]) -> NDArray[Any]:
    """Return the columns of a Jacobian that belong to the free parameters."""
    return jac if task.free is None else jac[:, task.free]
