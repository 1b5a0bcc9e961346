"""Dual numbers as a numba type: a value with its partial derivatives, carried through any compiled code.

    a + sum_k a_k e_k   with  e_j e_k = 0,     f(a + sum_k a_k e_k) = f(a) + f'(a) sum_k a_k e_k

Seeding parameter j with e_j and running a function on such numbers gives its value and its exact partial derivatives
[1]_, whatever loops, branches and calls it goes through: the arithmetic of the derivative is that of the chain rule,
and nothing is approximated. A number with `width` partials is `width` + 1 doubles in registers. Partials are scalars
where loops over data points are to vectorise across the points, and packed into vectors where the code runs for one
residual block at a time and only the partials can be treated side by side.

Comparisons compare values. Where a function has a kink the derivative is, as JAX has it: 0 for abs at 0; half of each
side for equal arguments of min and max; 0 for floor, ceil, round, sign and for conversions to integers. ``float(a)``
keeps the partials.

Numbers of second order carry the second derivatives of each pair of parameters behind the partials
(`nlsq.kernels.backend.dual_curvature`); whatever is linear treats both alike.

An operation is declared once, with `operation`, for numbers and for arrays of them: on arrays it becomes a loop with
NumPy's broadcasting.

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", SIAM, 2nd edition, 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin, lower_cast, lower_constant
from numba.core.typeconv import Conversion
from numba.core.typing.npydecl import NumpyRulesInplaceArrayOperator
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model
from numba.np import arrayobj

DOUBLE = ir.DoubleType()
FLAGS = ("contract", "nsz")
# how functions that meet dual numbers are compiled: numba cannot hand those to Python, so nothing is wrapped
INTERNAL = {"error_model": "numpy", "fastmath": set(FLAGS), "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

Partials = list[Any] | None  # scalars, or vectors; of a plain number: none
Term = tuple[Any, Partials]  # a slope with what it multiplies


class DualType(types.Type):
    """A double with `width` partial derivatives.

    Parameters
    ----------
    width : int
        How many.
    lanes : int
        Doubles in a vector register, of which the partials fill as many as they need; 0: each is a scalar. What is
        over in the last register is 0 and may become anything.
    order : {1, 2}
        Of the highest derivatives.

    Attributes
    ----------
    pieces : list of LLVM types
        Of the registers behind the value: partials, then second derivatives.
    firsts : int
        How many of them are partials.
    seconds : list of (int, int)
        What each of the others holds: (j, c) is row j of the second derivatives as far as the parameters of register c
        go. Registers that begin beyond the diagonal are left out; there are none for first order.
    """

    def __init__(self, width: int, lanes: int = 0, order: int = 1) -> None:
        self.width, self.lanes = width, lanes
        full, rest = divmod(width, lanes) if lanes else (width, 0)
        last = [ir.VectorType(DOUBLE, max(2, 1 << (rest - 1).bit_length()))] if rest else []
        partials = [ir.VectorType(DOUBLE, lanes) if lanes else DOUBLE] * full + last
        rows = range(width) if order == 2 else ()
        self.firsts = len(partials)
        self.seconds = [(j, c) for j in rows for c in range(j // max(lanes, 1) + 1)]
        self.pieces = partials + [partials[c] for _, c in self.seconds]
        details = (f", {lanes} lanes" if lanes else "") + (", second order" if order == 2 else "")
        super().__init__(f"dual({width}{details})")

    @property
    def layout(self) -> Any:
        """The LLVM type; one with vectors may stand at any address, as the elements of an array do."""
        return ir.LiteralStructType([DOUBLE, *self.pieces], packed=self.lanes > 0)

    def no_partials(self) -> list[Any]:
        """Give partials that are 0."""
        return [ir.Constant(piece, None) for piece in self.pieces]

    def filled(self, builder: Any, parts: Sequence[Any]) -> list[Any]:
        """Give partials made of scalars; second derivatives are 0."""
        vectors = self.no_partials()
        if not self.lanes:
            return [*parts, *vectors[self.firsts :]]
        for k, part in enumerate(parts):
            place = ir.IntType(32)(k % self.lanes)
            vectors[k // self.lanes] = builder.insert_element(vectors[k // self.lanes], part, place)
        return vectors

    def cast_python_value(self, value: Any) -> float:
        """Give a constant, such as the 0 that numba's sums start from, as a plain number."""
        return float(value)

    def unify(self, typing_context: Any, other: Any) -> Any:
        """Meet a plain number in a variable: the variable is dual."""
        return self if is_plain(other) else None

    def can_convert_from(self, typing_context: Any, other: Any) -> Any:
        """Say that plain numbers convert, with partials 0."""
        return Conversion.safe if is_plain(other) else None


@register_model(DualType)
class _DualModel(models.PrimitiveModel):
    def __init__(self, manager: Any, dual: DualType) -> None:
        super().__init__(manager, dual, dual.layout)


def is_plain(kind: Any) -> bool:
    """Say whether a type is that of a real number without partials."""
    return isinstance(kind, types.Float | types.Integer | types.Boolean)


def pack(builder: Any, dual: DualType, value: Any, partials: Partials) -> Any:
    """Make a dual number."""
    number: Any = ir.Constant(dual.layout, ir.Undefined)
    for k, part in enumerate([value, *(dual.no_partials() if partials is None else partials)]):
        number = builder.insert_value(number, part, k)
    return number


def unpack(builder: Any, kind: Any, number: Any) -> tuple[Any, Partials]:
    """Value and partials of a dual number, or of a double: the value and None."""
    if not isinstance(kind, DualType):
        return number, None
    parts = [builder.extract_value(number, k + 1) for k in range(len(kind.pieces))]
    return builder.extract_value(number, 0), parts


def spread(builder: Any, slope: Any, part: Any) -> Any:
    """Give a slope as what its partials are: itself, or a vector of it."""
    if not isinstance(part.type, ir.VectorType):
        return slope
    vector, count = part.type, part.type.count
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), slope, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), everywhere)


def combine(builder: Any, terms: Sequence[Term], *, guarded: bool = False) -> Partials:
    """Sum of slopes times partials; a slope of None is 1.

    `guarded` is for slopes that may be infinite: what does not depend on a parameter keeps its partial 0, as in sqrt(a
    x) at x = 0.
    """
    total: Partials = None
    for slope, partials in terms:
        if partials is None:
            continue
        scaled = partials
        if slope is not None:
            scaled = [builder.fmul(spread(builder, slope, part), part, flags=FLAGS) for part in partials]
        if guarded:
            zeros = [ir.Constant(part.type, None) for part in partials]
            idle = [builder.fcmp_ordered("==", part, zero) for part, zero in zip(partials, zeros)]
            scaled = [builder.select(one, zero, product) for one, zero, product in zip(idle, zeros, scaled)]
        total = scaled if total is None else [builder.fadd(a, b, flags=FLAGS) for a, b in zip(total, scaled)]
    return total


@lower_cast(types.Float, DualType)
@lower_cast(types.Integer, DualType)
@lower_cast(types.Boolean, DualType)
def _from_plain(context: Any, builder: Any, source: Any, target: Any, number: Any) -> Any:
    return pack(builder, target, context.cast(builder, number, source, types.float64), None)


@lower_constant(DualType)
def _constant(context: Any, builder: Any, dual: Any, value: Any) -> Any:
    return ir.Constant(dual.layout, [DOUBLE(value), *dual.no_partials()])


# Operations: what numba is told about a function of dual numbers

Emit = Callable[[Any, Any, tuple[Any, ...], Sequence[Any]], Any]  # context, builder, types, numbers -> number
SAME = "dual"  # the result has partials; else it is of the numba type given


def _element(kind: Any) -> Any:
    return kind.dtype if isinstance(kind, types.Array) else kind


def _settled(kind: Any, keeps_boolean: bool, keeps_literal: bool) -> Any:
    """Give the type in which an operation takes an argument: dual, double, boolean or literal, or an array."""
    if isinstance(kind, types.Array | DualType | types.Omitted):
        return kind
    if keeps_literal and isinstance(kind, types.IntegerLiteral):
        return kind
    return types.boolean if keeps_boolean and isinstance(kind, types.Boolean) else types.float64


def _accepts(kind: Any) -> bool:
    if isinstance(kind, types.Omitted):
        return isinstance(kind.value, int | float)
    element = _element(kind)
    return isinstance(element, DualType) or is_plain(element)


def _dual_among(kinds: Sequence[Any]) -> DualType | None:
    """Type of the dual numbers among the arguments; None where there are none or they do not go together."""
    duals = {_element(kind) for kind in kinds if isinstance(_element(kind), DualType)}
    return duals.pop() if len(duals) == 1 else None


def operation(
    function: Any,
    emit: Emit,
    arity: tuple[int, int],
    result: Any = SAME,
    *,
    in_place: bool = False,
    mask: bool = False,
    literals: bool = False,
) -> None:
    """Tell numba how a function acts on dual numbers, and elementwise on arrays of them.

    Parameters
    ----------
    function : callable
        What user code calls, or an operator.
    emit : callable
        ``emit(context, builder, types, numbers)`` for one element: dual numbers and doubles.
    arity : (int, int)
        Least and greatest number of arguments.
    result : numba type, optional
        Of the result, where it has no partials.
    in_place : bool
        On arrays, write into the first argument.
    mask : bool
        The first argument is a condition, and stays a boolean.
    literals : bool
        Whole numbers written in the user's code come to `emit` as Python numbers.
    """
    key = ("nlsq dual operation", function)

    class Template(AbstractTemplate):
        prefer_literal = literals

        def generic(self, arguments: Any, keywords: Any) -> Any:
            dual = _dual_among(arguments)
            if keywords or dual is None or not arity[0] <= len(arguments) <= arity[1]:
                return None
            if not all(_accepts(kind) for kind in arguments):
                return None
            settled = [_settled(kind, mask and k == 0, literals) for k, kind in enumerate(arguments)]
            element = dual if result is SAME else result
            arrays = [kind for kind in settled if isinstance(kind, types.Array)]
            if not arrays:
                return signature(element, *settled)
            if in_place:
                first = settled[0]
                fits = isinstance(first, types.Array) and first.dtype == element and first.mutable
                return signature(first, *settled) if fits else None
            return signature(types.Array(element, max(a.ndim for a in arrays), "C"), *settled)

        def get_impl_key(self, chosen: Any) -> Any:
            return key

    def emit_settled(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        wanted = [types.boolean if mask and k == 0 else types.float64 for k in range(len(kinds))]
        pairs = [_as_operand(context, builder, *three) for three in zip(kinds, numbers, wanted)]
        return emit(context, builder, tuple(k for k, _ in pairs), [number for _, number in pairs])

    infer_global(function)(Template)
    if in_place:
        _let_pass()

    @lower_builtin(key, types.VarArg(types.Any))  # type: ignore[untyped-decorator, unused-ignore]
    def implementation(context: Any, builder: Any, chosen: Any, numbers: Any) -> Any:
        if not isinstance(chosen.return_type, types.Array):
            return emit_settled(context, builder, chosen.args, numbers)
        return _elementwise(context, builder, chosen, numbers, emit_settled, in_place)


@cache
def _let_pass() -> None:
    """Keep numba's rule for changes of arrays in place from failing on dual numbers before the rule here is asked."""
    theirs = NumpyRulesInplaceArrayOperator.generic

    def generic(self: Any, arguments: Any, keywords: Any) -> Any:
        return None if _dual_among(arguments) else theirs(self, arguments, keywords)

    NumpyRulesInplaceArrayOperator.generic = generic


def _as_operand(context: Any, builder: Any, kind: Any, number: Any, wanted: Any) -> tuple[Any, Any]:
    """Type and value as `emit` takes them: dual or `wanted`; a literal stays the Python number that it comes as."""
    if isinstance(kind, types.IntegerLiteral):
        return kind, kind.literal_value
    if isinstance(number, int | float) or isinstance(kind, DualType) or kind == wanted:
        return kind, number
    return wanted, context.cast(builder, number, kind, wanted)


class _Operand:
    """An argument of an elementwise operation: an array with its strides, or one number for all elements."""

    def __init__(self, context: Any, builder: Any, kind: Any, number: Any, ndim: int) -> None:
        self.kind, self.number = kind, number
        self.shape: list[Any] = []
        self.strides: list[Any] = []
        if isinstance(kind, types.Array):
            array = self.array = arrayobj.make_array(kind)(context, builder, number)
            one, zero = (context.get_constant(types.intp, k) for k in (1, 0))
            lead = ndim - kind.ndim
            self.shape = [one] * lead + cgutils.unpack_tuple(builder, array.shape, kind.ndim)
            strides = [zero] * lead + cgutils.unpack_tuple(builder, array.strides, kind.ndim)
            self.strides = [  # an extent of 1 is repeated
                builder.select(builder.icmp_signed("==", extent, one), zero, stride)
                for extent, stride in zip(self.shape, strides)
            ]

    def element(self, context: Any, builder: Any, indices: Sequence[Any]) -> tuple[Any, Any]:
        """Type and value at an index of the result."""
        if not self.shape:
            return self.kind, self.number
        pointer = _place(builder, self.array.data, indices, self.strides)
        return self.kind.dtype, arrayobj.load_item(context, builder, self.kind, pointer)


def _place(builder: Any, data: Any, indices: Sequence[Any], strides: Sequence[Any]) -> Any:
    place = builder.ptrtoint(data, strides[0].type)
    for index, stride in zip(indices, strides):
        place = builder.add(place, builder.mul(index, stride))
    return builder.inttoptr(place, data.type)


def _refuse(context: Any, builder: Any, wrong: Any, message: str) -> None:
    """Raise ValueError, at run time, where `wrong`."""
    with builder.if_then(wrong, likely=False):
        context.call_conv.return_user_exc(builder, ValueError, (message,))


def _broadcast(context: Any, builder: Any, operands: Sequence[_Operand], ndim: int) -> list[Any]:
    """Shape of the result by NumPy's rule."""
    one = context.get_constant(types.intp, 1)
    shape = [one] * ndim
    extents = [(d, extent) for operand in operands for d, extent in enumerate(operand.shape)]
    for d, extent in extents:
        shape[d] = builder.select(builder.icmp_signed("==", shape[d], one), extent, shape[d])
    for d, extent in extents:
        other = builder.and_(builder.icmp_signed("!=", extent, shape[d]), builder.icmp_signed("!=", extent, one))
        _refuse(context, builder, other, "operands could not be broadcast together")
    return shape


def _elementwise(context: Any, builder: Any, chosen: Any, numbers: Any, emit: Emit, in_place: bool) -> Any:
    kind = chosen.return_type
    operands = [_Operand(context, builder, k, number, kind.ndim) for k, number in zip(chosen.args, numbers)]
    shape = _broadcast(context, builder, operands, kind.ndim)
    if in_place:
        out = operands[0].array
        for extent, needed in zip(operands[0].shape, shape):
            wrong = builder.icmp_signed("!=", extent, needed)
            _refuse(context, builder, wrong, "the result does not fit into the array that is changed in place")
    else:
        out = arrayobj._empty_nd_impl(context, builder, kind, shape)
    strides = cgutils.unpack_tuple(builder, out.strides, kind.ndim)
    with cgutils.loop_nest(builder, shape, shape[0].type) as indices:
        elements = [operand.element(context, builder, indices) for operand in operands]
        value = emit(context, builder, tuple(k for k, _ in elements), [number for _, number in elements])
        arrayobj.store_item(context, builder, kind, value, _place(builder, out.data, indices, strides))
    if in_place:
        return arrayobj.impl_ret_borrowed(context, builder, kind, out._getvalue())
    return arrayobj.impl_ret_new_ref(context, builder, kind, out._getvalue())
