"""What NumPy's functions of arrays do to symbolic ones: a table from a function to what it records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.tracing.arrays import Argument, Traced, ZeroDimensional, as_traced, truth
from nlsq.compiler.tracing.complex_arrays import ComplexTraced
from nlsq.compiler.tracing.elementwise import broadcast
from nlsq.compiler.tracing.joining import concatenated, fresh, stacked
from nlsq.compiler.tracing.reductions import cumulated, matrix_product, mean, multiplied, summed

Handler = Callable[..., Any]


def call_function(graph: Graph, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Record an array function."""
    handler = FUNCTIONS.get(function)
    if handler is None:
        raise NotTraceable(f"the function {function.__name__}")
    try:
        return handler(graph, *arguments, **options)
    except TypeError as error:
        raise NotTraceable(f"{function.__name__} with such arguments: {error}") from error


def as_array(graph: Graph, value: Any) -> Traced:
    """Return an array, a number or a list of such as a traced object."""
    return stacked(graph, value) if isinstance(value, list | tuple) else as_traced(graph, value)


def at_least_1d(array: Traced) -> Traced:
    """Return an array with an axis."""
    return array if array.shape else Traced(array.graph, (1,), array.nodes, None, array.kind)


def concatenate(graph: Graph, parts: Any, axis: int | None = 0) -> Any:
    """Record np.concatenate."""
    arrays = [as_array(graph, part) for part in parts]
    if axis is None:
        return concatenated(graph, [array.ravel() for array in arrays], 0)
    return concatenated(graph, arrays, axis)


def _hstack(graph: Graph, parts: Any) -> Any:
    arrays = [at_least_1d(as_array(graph, part)) for part in parts]
    return concatenated(graph, arrays, 0 if arrays[0].ndim == 1 else 1)


def _vstack(graph: Graph, parts: Any) -> Any:
    arrays = [at_least_1d(as_array(graph, part)) for part in parts]
    return concatenated(graph, [array if array.ndim > 1 else array[None] for array in arrays], 0)


def _column_stack(graph: Graph, parts: Any) -> Any:
    arrays = [at_least_1d(as_array(graph, part)) for part in parts]
    return concatenated(graph, [array if array.ndim > 1 else array[:, None] for array in arrays], 1)


def _stack(graph: Graph, parts: Any, axis: int = 0) -> Any:
    arrays = [as_array(graph, part) for part in parts]
    ndim = arrays[0].ndim
    if any(array.shape != arrays[0].shape for array in arrays) or not -ndim - 1 <= axis <= ndim:
        raise ValueError("all input arrays must have the same shape")
    if not ndim:
        return stacked(graph, arrays)
    before = (slice(None),) * (axis % (ndim + 1))
    return concatenated(graph, [array[(*before, None)] for array in arrays], axis)


def _append(graph: Graph, array: Any, values: Any, axis: int | None = None) -> Any:
    arrays = [at_least_1d(as_array(graph, one)) for one in (array, values)]
    return concatenate(graph, arrays, axis)


def where(graph: Graph, condition: Any, *choices: Any) -> Any:
    """Record np.where with three arguments."""
    if len(choices) != 2:
        raise NotTraceable("where with a condition alone")
    asked = as_array(graph, condition)
    return asked.apply("where", truth(asked), *choices)


def _clip(graph: Graph, array: Any, *limits: Any, **options: Any) -> Any:
    names = {"a_min": "min", "a_max": "max"}
    given = {names.get(name, name): value for name, value in options.items()}
    return as_array(graph, array).clip(*limits, **given)


def _select(graph: Graph, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result: Any = as_traced(graph, default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = where(graph, condition, choice, result)
    return result


def _diff(graph: Graph, array: Any, n: int = 1, axis: int = -1) -> Any:
    result = as_array(graph, array)
    before = (slice(None),) * (axis % result.ndim)
    for _ in range(n):
        result = result[(*before, slice(1, None))] - result[(*before, slice(None, -1))]
    return result


def _ediff1d(graph: Graph, array: Any) -> Any:
    return _diff(graph, as_array(graph, array).ravel())


def _gradient(graph: Graph, array: Any, spacing: Any = 1.0) -> Any:
    """Record central differences inside and one-sided ones at the ends, of equal spacing."""
    f = as_array(graph, array)
    if f.ndim != 1 or f.size < 2 or np.ndim(spacing) or isinstance(spacing, list | tuple):
        raise NotTraceable("gradient of such an array")
    inner = (f[2:] - f[:-2]) / (2.0 * spacing)
    return concatenated(graph, [(f[1:2] - f[:1]) / spacing, inner, (f[-1:] - f[-2:-1]) / spacing], 0)


def _roll(graph: Graph, array: Any, shift: int, axis: int | None = None) -> Any:
    array = as_array(graph, array)
    if axis is None and array.ndim != 1:
        return _roll(graph, array.ravel(), shift).reshape(array.shape)
    at = (axis or 0) % array.ndim
    by = int(shift) % array.shape[at]
    before = (slice(None),) * at
    return (
        concatenated(graph, [array[(*before, slice(-by, None))], array[(*before, slice(None, -by))]], at)
        if by
        else array.copy()
    )


def _flip(graph: Graph, array: Any, axis: int | None = None) -> Any:
    array = as_array(graph, array)
    turned = range(array.ndim) if axis is None else (axis % array.ndim,)
    return array[tuple(slice(None, None, -1) if k in turned else slice(None) for k in range(array.ndim))]


def _tile(graph: Graph, array: Any, reps: int) -> Any:
    array = as_array(graph, array)
    if array.ndim > 1 or not isinstance(reps, int):
        raise NotTraceable("tile of such an array")
    return concatenated(graph, [at_least_1d(array)] * reps, 0)


def _repeat(graph: Graph, array: Any, repeats: int) -> Any:
    array = as_array(graph, array)
    if array.ndim > 1 or not isinstance(repeats, int):
        raise NotTraceable("repeat of such an array")
    column = at_least_1d(array)[:, None]
    return broadcast(column, (column.shape[0], repeats)).reshape(-1)


def _polyval(graph: Graph, p: Any, x: Any) -> Any:
    x = as_array(graph, x)
    total: Any = Traced(graph, x.shape, [graph.number(0.0)])
    for one in p:
        total = total * x + one
    return total


def _norm(graph: Graph, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    array = as_array(graph, x)
    one_axis = array.ndim == 1 or isinstance(axis, int)
    if not (ord is None or (one_axis and ord in (1, 2))):
        raise NotTraceable(f"the norm of order {ord}")
    if ord == 1:
        return summed(abs(array), axis, keepdims=keepdims)
    total = summed(array * array, axis, keepdims=keepdims)
    return total.apply("sqrt", total)


def _spread(root: bool) -> Handler:
    def record(graph: Graph, a: Any, axis: Any = None, ddof: int = 0) -> Any:
        array = as_array(graph, a)
        if axis is not None and array.ndim > 1:
            raise NotTraceable("a variance along an axis")
        away = array - mean(array)
        variance = summed(away * away) * (1.0 / (array.size - ddof))
        return variance.apply("sqrt", variance) if root else variance

    return record


def _filled(value: float | None) -> Handler:
    def make(
        graph: Graph, array: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
    ) -> Any:
        return _like(graph, array, value, dtype, shape)

    return make


def _full_like(graph: Graph, array: Any, fill_value: Any, dtype: Any = None) -> Any:
    return _like(graph, array, fill_value, dtype, None)


def _like(graph: Graph, array: Any, value: Any, dtype: Any, shape: Any) -> Traced:
    array = as_array(graph, array)
    if np.dtype(array.dtype if dtype is None else dtype) != np.float64:
        raise NotTraceable("a new array of integers or truth values")
    return fresh(graph, array.shape if shape is None else tuple(shape), value)


def _outer(graph: Graph, a: Any, b: Any) -> Any:
    return as_array(graph, a).ravel()[:, None] * as_array(graph, b).ravel()[None, :]


def _sinc(graph: Graph, x: Any) -> Any:
    y = math.pi * as_array(graph, x)
    return y.apply("where", y == 0.0, 1.0, y.apply("sin", y) / y)


def _trapezoid(graph: Graph, y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    y = as_array(graph, y)
    if y.ndim != 1:
        raise NotTraceable("the integral of a matrix")
    widths: Any = dx if x is None else _diff(graph, as_array(graph, x))
    return (widths * (y[1:] + y[:-1]) * 0.5).sum()


def _broadcast_to(graph: Graph, array: Any, shape: Any) -> Any:
    array = as_array(graph, array)
    result = broadcast(array, (shape,) if isinstance(shape, int) else tuple(shape))
    return Argument(graph, result.shape, result.nodes, result.cuts, result.kind).view_of(array, None)


def _broadcast_arrays(graph: Graph, *arrays: Any) -> Any:
    traced = [as_array(graph, one) for one in arrays]
    shape = np.broadcast_shapes(*(one.shape for one in traced))
    return tuple(_broadcast_to(graph, one, shape) for one in traced)


def _expand_dims(graph: Graph, array: Any, axis: int) -> Any:
    array = as_array(graph, array)
    return array[(*(slice(None),) * (axis % (array.ndim + 1)), None)]


def _copy(graph: Graph, array: Any, order: str = "K") -> Any:
    array = as_array(graph, array)
    return array.copy(order) if array.shape else ZeroDimensional(graph, (), array.nodes, None, array.kind)


def _angle(graph: Graph, z: Any, deg: bool = False) -> Any:
    if not isinstance(z, ComplexTraced) or deg:
        raise NotTraceable("the angle of such an array")
    return z.imag.apply("atan2", z.imag, z.real)


def _atleast_2d(graph: Graph, array: Any) -> Any:
    array = at_least_1d(as_array(graph, array))
    return array if array.ndim > 1 else array[None]


FUNCTIONS: dict[Any, Handler] = {
    np.concatenate: concatenate, np.hstack: _hstack, np.vstack: _vstack, np.stack: _stack,
    np.column_stack: _column_stack,
    np.append: _append, np.where: where, np.clip: _clip, np.select: _select,
    np.sum: lambda graph, a, axis=None, **options: summed(as_array(graph, a), axis, **options),
    np.mean: lambda graph, a, axis=None, **options: mean(as_array(graph, a), axis, **options),
    np.prod: lambda graph, a, axis=None: multiplied(as_array(graph, a), axis),
    np.cumsum: lambda graph, a, axis=None: cumulated(as_array(graph, a), axis, "+"),
    np.cumprod: lambda graph, a, axis=None: cumulated(as_array(graph, a), axis, "*"),
    np.dot: lambda graph, a, b: _dot(as_array(graph, a), as_array(graph, b)),
    np.inner: lambda graph, a, b: _inner(as_array(graph, a), as_array(graph, b)),
    np.vdot: lambda graph, a, b: _dot(as_array(graph, a).ravel(), as_array(graph, b).ravel()),
    np.outer: _outer, np.diff: _diff, np.ediff1d: _ediff1d, np.gradient: _gradient, np.roll: _roll, np.flip: _flip,
    np.tile: _tile, np.repeat: _repeat, np.polyval: _polyval,
    np.round: lambda graph, a, decimals=0: as_array(graph, a).round(decimals),
    np.var: _spread(False), np.std: _spread(True), np.linalg.norm: _norm, np.sinc: _sinc,
    np.ravel: lambda graph, a, order="C": as_array(graph, a).ravel(order),
    np.reshape: lambda graph, a, shape, order="C": as_array(graph, a).reshape(shape, order=order),
    np.transpose: lambda graph, a, axes=None: as_array(graph, a).transpose(axes),
    np.squeeze: lambda graph, a: as_array(graph, a).squeeze(),
    np.expand_dims: _expand_dims, np.atleast_2d: _atleast_2d,
    np.atleast_1d: lambda graph, a: at_least_1d(as_array(graph, a)),
    np.copy: _copy,
    np.real: lambda graph, a: a.real, np.imag: lambda graph, a: a.imag, np.angle: _angle,
    np.zeros_like: _filled(0.0), np.ones_like: _filled(1.0), np.empty_like: _filled(None), np.full_like: _full_like,
    np.broadcast_to: _broadcast_to, np.broadcast_arrays: _broadcast_arrays,
    np.shape: lambda graph, a: as_array(graph, a).shape, np.ndim: lambda graph, a: as_array(graph, a).ndim,
    np.size: lambda graph, a, axis=None: as_array(graph, a).size if axis is None else as_array(graph, a).shape[axis],
}  # fmt: skip
if hasattr(np, "trapezoid"):
    FUNCTIONS[np.trapezoid] = _trapezoid


def _dot(a: Traced, b: Traced) -> Any:
    return matrix_product(a, b) if a.shape and b.shape else a * b


def _inner(a: Traced, b: Traced) -> Any:
    if a.ndim > 1 or b.ndim > 1:
        raise NotTraceable("inner of matrices")
    return _dot(a, b)
