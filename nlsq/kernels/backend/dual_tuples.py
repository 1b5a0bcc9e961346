"""Tuples in which dual numbers meet plain ones, read at an index that is known only when the code runs.

Where a function of doubles has a tuple of one type, its dual form may have one of several: the parameters with a
derivative are dual, the data are not. Such a tuple is read as if all of it were dual. Imports numba.
"""

from __future__ import annotations

import operator
from typing import Any

from numba.core import types
from numba.core.imputils import impl_ret_borrowed, lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature

from nlsq.kernels.backend.dual import DualType


def _has_dual(kind: Any) -> bool:
    return isinstance(kind, DualType) or (isinstance(kind, types.BaseTuple) and any(_has_dual(one) for one in kind))


def _in_one_type(typing_context: Any, kind: Any) -> Any:
    """Give the type of a mixed tuple with all items dual; None for what is no such tuple."""
    if not isinstance(kind, types.Tuple) or not _has_dual(kind):
        return None
    element = typing_context.unify_types(*kind)
    return None if element is None or element == types.pyobject else types.UniTuple(element, len(kind))


@infer_global(operator.getitem)
class _Item(AbstractTemplate):
    def generic(self, arguments: Any, keywords: Any) -> Any:
        uniform = _in_one_type(self.context, arguments[0]) if len(arguments) == 2 else None
        if uniform is None or not isinstance(arguments[1], types.Integer):
            return None
        return signature(uniform.dtype, arguments[0], types.intp)


@infer
class _Iteration(AbstractTemplate):
    key = "getiter"

    def generic(self, arguments: Any, keywords: Any) -> Any:
        uniform = _in_one_type(self.context, arguments[0])
        return None if uniform is None else signature(types.UniTupleIter(uniform), arguments[0])


@lower_builtin(operator.getitem, types.Tuple, types.Integer)  # type: ignore[untyped-decorator, unused-ignore]
def _item(context: Any, builder: Any, chosen: Any, arguments: Any) -> Any:
    uniform = types.UniTuple(chosen.return_type, len(chosen.args[0]))
    numbers = context.cast(builder, arguments[0], chosen.args[0], uniform)
    theirs = context.get_function(operator.getitem, chosen.return_type(uniform, types.intp))
    return theirs(builder, (numbers, arguments[1]))


@lower_builtin("getiter", types.Tuple)  # type: ignore[untyped-decorator, unused-ignore]
def _iteration(context: Any, builder: Any, chosen: Any, arguments: Any) -> Any:
    uniform = chosen.return_type.container
    numbers = context.cast(builder, arguments[0], chosen.args[0], uniform)
    theirs = context.get_function("getiter", chosen.return_type(uniform))
    return impl_ret_borrowed(context, builder, chosen.return_type, theirs(builder, (numbers,)))
