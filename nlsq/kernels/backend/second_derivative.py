"""Second derivatives of a user's njit function by dual numbers of second order, as a C function. Imports numba.

``int hess(const double* p, const int64* data, const double* weights, double* out)`` adds

    sum_i weights_i d2 r_i / dp_j dp_k,     j >= k,

to the lower triangle of `out`, (n, n) row by row; a model's residuals have their own weights, which multiply. Residuals
of weight 0 are left out, whatever their derivatives are. `data` is the table of `nlsq.kernels.curve`.

The function runs on numbers with the first derivatives for `width` parameters and the second ones for every pair of
them. They are scalars in a loop over the points of a model, which so vectorises across the points, and fill vector
registers elsewhere, which takes a third of the code. Up to `WIDEST` parameters one run has all pairs. More are split
into blocks of half as many: each run takes two of the blocks, so that every pair of parameters meets in one run or
more; what met before is not added again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import errors, types
from numba.extending import intrinsic

from nlsq.kernels.backend.dual import DualType, pack, spread, unpack
from nlsq.kernels.backend.fused import host
from nlsq.kernels.backend.lowering import DOUBLE_POINTER
from nlsq.kernels.backend.user_function import _compile_wrapper, _why

WIDEST = 8  # parameters in one run; with more, code grows as the square
_SIGNATURE = types.void(DOUBLE_POINTER, types.int64, DOUBLE_POINTER, DOUBLE_POINTER)
_SUM_FLAGS = ("reassoc", "nsz", "contract")

# `low` and `high` are the first parameters of the two blocks; of one run for all, `high` is past the last.
_HESSIAN = """
def wrapper(p, data, weights, out):
    table = int_pointer(data)
    m = table[0]
    sums = stack_memory()
    {prepare}
    for first in range({runs}):
        for second in range(first + 1, {runs} + 1):
            low, high = first * {block}, second * {block}
            for k in range({size}):
                sums[k] = 0.0
            {seed}
            {values}
            {sum}
            for row in range({width}):
                for column in range(row + 1):
                    j = low + row if row < {block} else high + row - {block}
                    l = low + column if column < {block} else high + column - {block}
                    met = (row < {block} and second > first + 1) or (column >= {block} and first + 1 < {runs})
                    if j < {n} and not met:
                        out[j * {n} + l] += sums[starts[row] + column]
"""
_SUM = """
            for i in range(m):
                if weights[i] != 0.0:
                    add({value}, weights[i], sums)
"""
_SUM_WEIGHTED = """
            if table[4] != 0:
                own = double_pointer(table[4])
                for i in range(m):
                    add({value}, weights[i] * own[i], sums)
            else:
                for i in range(m):
                    add({value}, weights[i], sums)
"""
_CHECKED = """
            if len(values) != m:
                raise ValueError("the function returned another length than before")
"""
_SEEDED = "({names}) = ({seeds})"
_FORMS = {  # prepare, seed, values, value
    "scalar": ("x = double_pointer(table[1])", _SEEDED, "", "function(x[i], {names})"),
    "array": ("x = carray(double_pointer(table[1]), (m,))", _SEEDED, "values = function(x, {names})", "values[i]"),
    "rows": (
        "x = carray(double_pointer(table[1]), (table[2], m))",
        _SEEDED,
        "values = function(x, {names})",
        "values[i]",
    ),
    "residual": (
        "q = new_array({n})",
        "for j in range({n}):\n                q[j] = seed(p[j], {place})",
        "values = function(q)",
        "values[i]",
    ),
}


def blocks_for(n: int) -> tuple[int, int, int]:
    """Return the partials of a number, the parameters of a block, and the runs for the first of two blocks."""
    if n <= WIDEST:
        return n, n, 1
    count = -(-n // (WIDEST // 2))
    block = -(-n // count)
    return 2 * block, block, count - 1


@cache
def _seeding(dual: DualType) -> Any:
    """Give the function ``value, k -> dual number`` whose partial k is 1, if it has one, and all else 0."""

    @intrinsic
    def seed(typing_context: Any, value: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            number, index = arguments
            hits = [builder.icmp_signed("==", index, index.type(k)) for k in range(dual.width)]
            firsts = [builder.uitofp(hit, ir.DoubleType()) for hit in hits]
            return pack(builder, dual, number, dual.filled(builder, firsts))

        return dual(types.float64, types.int64), generate

    return seed


def lanes_of(kind: Any) -> int:
    """Return how many doubles a register holds."""
    return kind.count if isinstance(kind, ir.VectorType) else 1


@intrinsic
def _add(typing_context: Any, number: Any, weight: Any, sums: Any) -> Any:
    """Add weighted second derivatives to sums, nothing where the weight is 0; a plain number has none."""
    settled = number if isinstance(number, DualType) else types.float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        packed, factor, pointer = arguments
        partials = unpack(builder, settled, packed)[1]
        if partials is not None:
            counts, at = builder.fcmp_unordered("!=", factor, ir.DoubleType()(0.0)), 0
            for part in partials[settled.firsts :]:
                place = builder.bitcast(builder.gep(pointer, [ir.IntType(64)(at)]), part.type.as_pointer())
                weighted = builder.fmul(spread(builder, factor, part), part, flags=_SUM_FLAGS)
                term = builder.select(counts, weighted, ir.Constant(part.type, None))
                total = builder.fadd(builder.load(place, align=8), term, flags=_SUM_FLAGS)
                builder.store(total, place, align=8)
                at += lanes_of(part.type)
        return context.get_dummy_value()

    return types.void(settled, types.float64, sums), generate


def compile_second_derivative(function: Any, form: str, n: int) -> tuple[int, Any]:
    """Compile the weighted sum of second derivatives of `function`; address and what must be kept alive.

    Parameters
    ----------
    function : numba.njit function
        Model or residual.
    form : {"scalar", "array", "rows", "residual"}
        How it is called.
    n : int
        Number of parameters, at least 1.

    Raises
    ------
    TypeError
        If the function does not compile for dual numbers; the message says what it was that does not.
    """
    from nlsq.kernels.backend import dual_operations  # declares what dual numbers do
    from nlsq.kernels.backend.dual_arrays import new_array
    from nlsq.kernels.backend.dual_form import dual_form

    width, block, runs = blocks_for(n)
    dual = DualType(width, 0 if form == "scalar" else host().lanes, order=2)
    sizes = [lanes_of(piece) for piece in dual.pieces[dual.firsts :]]
    starts = [sum(sizes[: dual.seconds.index((j, 0))]) for j in range(width)]
    names = "".join(f"p{j}, " for j in range(n))
    place = f"j - low if j < low + {block} else j - high + {block} if high <= j else -1"
    seeds = "".join(f"seed(p[{j}], {place.replace('j', str(j))}), " for j in range(n))
    parts = [part.format(names=names, seeds=seeds, n=n, place=place) for part in _FORMS[form]]
    prepare, seed, values, value = parts
    total = (_SUM if form == "residual" else _SUM_WEIGHTED).format(value=value)
    source = _HESSIAN.format(
        prepare=prepare,
        seed=seed,
        values=values + _CHECKED if values else "",
        sum=total,
        runs=runs,
        block=block,
        width=width,
        size=sum(sizes),
        n=n,
    )
    tools = {
        "seed": _seeding(dual),
        "add": _add,
        "starts": tuple(starts),
        "stack_memory": dual_operations.stack_memory(sum(sizes)),
        "new_array": new_array(dual),
    }
    try:
        return _compile_wrapper(source, dual_form(function, dual), tools, _SIGNATURE)
    except (errors.NumbaError, NotImplementedError) as error:
        raise TypeError(_why(error)) from error
