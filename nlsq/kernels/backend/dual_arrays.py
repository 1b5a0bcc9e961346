"""Arrays of dual numbers: what stands for NumPy's constructors and reductions in the dual form of a function.

Where NumPy makes doubles, the constructors here make dual numbers; what is integer or boolean stays so. Reductions are
for arrays of dual numbers; of other arrays they are numba's.
"""

# numba types what it compiles
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from nlsq.kernels.backend.dual import INTERNAL, DualType, is_plain


def is_dual_array(kind: Any) -> bool:
    """Say whether a type is that of an array of dual numbers."""
    return isinstance(kind, types.Array) and isinstance(kind.dtype, DualType)


def _is_double(dtype: Any) -> bool:
    """Say whether an argument `dtype` asks for doubles, or is not given."""
    if dtype is None or isinstance(dtype, types.NoneType):
        return True
    if isinstance(dtype, types.Omitted):
        return dtype.value is None
    if isinstance(dtype, types.Function):
        return bool(dtype.typing_key is float)
    return isinstance(dtype, types.DTypeSpec) and dtype.dtype == types.float64


def _holds_doubles(kind: Any) -> bool:
    return isinstance(kind, types.Array) and (isinstance(kind.dtype, DualType) or kind.dtype == types.float64)


@cache
def new_array(dual: DualType) -> Any:
    """Give the function ``shape -> array`` that makes dual zeros."""

    @intrinsic
    def make(typing_context: Any, shape: Any) -> Any:
        ndim = len(shape) if isinstance(shape, types.BaseTuple) else 1
        kind = types.Array(dual, ndim, "C")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            extents = arrayobj._parse_shape(context, builder, signature.args[0], arguments[0])
            array = arrayobj._empty_nd_impl(context, builder, kind, extents)
            size = builder.mul(array.nitems, array.itemsize)
            cgutils.memset(builder, array.data, size, 0)
            return arrayobj.impl_ret_new_ref(context, builder, kind, array._getvalue())

        return kind(shape), generate

    return make


@intrinsic
def _from_tuple(typing_context: Any, numbers: Any) -> Any:
    dual = next(kind for kind in numbers if isinstance(kind, DualType))
    array_kind = types.Array(dual, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = context.get_constant(types.intp, len(numbers))
        array = arrayobj._empty_nd_impl(context, builder, array_kind, [count])
        for k, kind in enumerate(numbers):
            number = context.cast(builder, builder.extract_value(arguments[0], k), kind, dual)
            builder.store(number, builder.gep(array.data, [ir.IntType(64)(k)]))
        return arrayobj.impl_ret_new_ref(context, builder, array_kind, array._getvalue())

    return array_kind(numbers), generate


@cache
def constructors(dual: DualType) -> dict[Any, Callable[..., Any]]:
    """Map NumPy's constructors to those that make dual numbers of a type where NumPy makes doubles."""
    make = new_array(dual)

    def empty(shape, dtype=None): ...
    def ones(shape, dtype=None): ...
    def full(shape, fill_value, dtype=None): ...
    def empty_like(prototype, dtype=None): ...
    def ones_like(prototype, dtype=None): ...
    def full_like(prototype, fill_value, dtype=None): ...
    def zeros(shape, dtype=None): ...
    def zeros_like(prototype, dtype=None): ...

    @overload(empty)
    def _(shape, dtype=None):
        if _is_double(dtype):
            return lambda shape, dtype=None: make(shape)
        return lambda shape, dtype=None: np.empty(shape, dtype)

    @overload(zeros)
    def _(shape, dtype=None):
        if _is_double(dtype):
            return lambda shape, dtype=None: make(shape)
        return lambda shape, dtype=None: np.zeros(shape, dtype)

    @overload(ones)
    def _(shape, dtype=None):
        if _is_double(dtype):
            return lambda shape, dtype=None: _filled(make(shape), 1.0)
        return lambda shape, dtype=None: np.ones(shape, dtype)

    @overload(full)
    def _(shape, fill_value, dtype=None):
        if _is_double(dtype) and isinstance(fill_value, DualType | types.Float):
            return lambda shape, fill_value, dtype=None: _filled(make(shape), fill_value)
        return lambda shape, fill_value, dtype=None: np.full(shape, fill_value, dtype)

    @overload(empty_like)
    def _(prototype, dtype=None):
        if _is_double(dtype) and _holds_doubles(prototype):
            return lambda prototype, dtype=None: make(prototype.shape)
        return lambda prototype, dtype=None: np.empty_like(prototype, dtype)

    @overload(zeros_like)
    def _(prototype, dtype=None):
        if _is_double(dtype) and _holds_doubles(prototype):
            return lambda prototype, dtype=None: make(prototype.shape)
        return lambda prototype, dtype=None: np.zeros_like(prototype, dtype)

    @overload(ones_like)
    def _(prototype, dtype=None):
        if _is_double(dtype) and _holds_doubles(prototype):
            return lambda prototype, dtype=None: _filled(make(prototype.shape), 1.0)
        return lambda prototype, dtype=None: np.ones_like(prototype, dtype)

    @overload(full_like)
    def _(prototype, fill_value, dtype=None):
        if _is_double(dtype) and _holds_doubles(prototype):
            return lambda prototype, fill_value, dtype=None: _filled(make(prototype.shape), fill_value)
        return lambda prototype, fill_value, dtype=None: np.full_like(prototype, fill_value, dtype)

    return {
        np.empty: empty,
        np.zeros: zeros,
        np.ones: ones,
        np.full: full,
        np.empty_like: empty_like,
        np.zeros_like: zeros_like,
        np.ones_like: ones_like,
        np.full_like: full_like,
    }


@numba.njit(**INTERNAL)
def _filled(array, value):
    flat = array.reshape(array.size)
    for i in range(flat.size):
        flat[i] = value
    return array


# Reductions: for arrays of dual numbers here, for others numba's


def _array(values): ...
def _sum(a): ...
def _mean(a): ...
def _prod(a): ...
def _cumsum(a): ...
def _diff(a): ...
def _dot(a, b): ...
def _concatenate(arrays): ...


@overload(_array)
def _(values):
    if isinstance(values, types.BaseTuple) and any(isinstance(kind, DualType) for kind in values):
        return (lambda values: _from_tuple(values)) if _all_numbers(values) else None
    if isinstance(values, types.List) and isinstance(values.dtype, DualType):
        make = new_array(values.dtype)

        def from_list(values):
            out = make(len(values))
            for i in range(len(values)):
                out[i] = values[i]
            return out

        return from_list
    if is_dual_array(values):
        return lambda values: values.copy()
    return lambda values: np.array(values)


def _all_numbers(kinds: Any) -> bool:
    return all(isinstance(kind, DualType) or is_plain(kind) for kind in kinds)


@overload(_sum)
def _(a):
    if is_dual_array(a):
        zeros = new_array(a.dtype)

        def total(a):
            result = zeros(1)[0]
            for value in a.flat:
                result = result + value
            return result

        return total
    return lambda a: np.sum(a)


@overload(_mean)
def _(a):
    return (lambda a: _sum(a) / a.size) if is_dual_array(a) else (lambda a: np.mean(a))


@overload(_prod)
def _(a):
    if is_dual_array(a):
        zeros = new_array(a.dtype)

        def product(a):
            result = zeros(1)[0] + 1.0
            for value in a.flat:
                result = result * value
            return result

        return product
    return lambda a: np.prod(a)


@overload(_cumsum)
def _(a):
    if is_dual_array(a) and a.ndim == 1:
        zeros = new_array(a.dtype)

        def sums(a):
            out = zeros(a.size)
            total = zeros(1)[0]
            for i in range(a.size):
                total = total + a[i]
                out[i] = total
            return out

        return sums
    return lambda a: np.cumsum(a)


@overload(_diff)
def _(a):
    if is_dual_array(a) and a.ndim == 1:
        zeros = new_array(a.dtype)

        def differences(a):
            out = zeros(max(a.size - 1, 0))
            for i in range(out.size):
                out[i] = a[i + 1] - a[i]
            return out

        return differences
    return lambda a: np.diff(a)


@overload(operator.matmul)
def _matmul(a, b):
    if not ((is_dual_array(a) or is_dual_array(b)) and isinstance(a, types.Array) and isinstance(b, types.Array)):
        return None
    zeros = new_array((a if is_dual_array(a) else b).dtype)

    def inner(a, b):
        if a.size != b.size:
            raise ValueError("matmul: the lengths differ")
        total = zeros(1)[0]
        for k in range(a.size):
            total = total + a[k] * b[k]
        return total

    def times_vector(a, b):
        if a.shape[1] != b.size:
            raise ValueError("matmul: the shapes do not go together")
        out = zeros(a.shape[0])
        for i in range(a.shape[0]):
            total = zeros(1)[0]
            for k in range(b.size):
                total = total + a[i, k] * b[k]
            out[i] = total
        return out

    return {(1, 1): inner, (2, 1): times_vector}.get((a.ndim, b.ndim))


@overload(_dot)
def _(a, b):
    return (lambda a, b: a @ b) if is_dual_array(a) or is_dual_array(b) else (lambda a, b: np.dot(a, b))


@overload(_concatenate)
def _(arrays):
    if isinstance(arrays, types.BaseTuple) and any(is_dual_array(kind) for kind in arrays):
        zeros = new_array(next(kind for kind in arrays if is_dual_array(kind)).dtype)
        if len(arrays) == 1:
            return lambda arrays: arrays[0].copy()

        def join(arrays):
            first, rest = arrays[0], _concatenate(arrays[1:])
            out = zeros(first.size + rest.size)
            for i in range(first.size):
                out[i] = first[i]
            for i in range(rest.size):
                out[first.size + i] = rest[i]
            return out

        return join if all(isinstance(kind, types.Array) and kind.ndim == 1 for kind in arrays) else None
    return lambda arrays: np.concatenate(arrays)


REDUCTIONS: dict[Any, Callable[..., Any]] = {
    np.array: _array,
    np.sum: _sum,
    np.mean: _mean,
    np.prod: _prod,
    np.cumsum: _cumsum,
    np.diff: _diff,
    np.dot: _dot,
    np.concatenate: _concatenate,
}
