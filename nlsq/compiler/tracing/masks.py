"""Selections by masks: ``y[x > 0] = f(x[x > 0])``.

How many elements a mask selects depends on its values, so that a selection has no shape. But what is done elementwise
to selections by one mask can be done to all elements, and a store into the selected ones is a choice: with the mask c,

    y[c] = v    is    y_i <- v_i where c_i, y_i elsewhere.

Values that are not selected are computed and dropped; neither they nor their derivatives reach the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.arrays import Traced, truth
from nlsq.compiler.tracing.elementwise import broadcast
from nlsq.compiler.tracing.holding import UNSET
from nlsq.compiler.tracing.operators import Operators


class Selected(Operators):
    """The elements of an array that a mask selects.

    Parameters
    ----------
    full : Traced
        All elements.
    mask : Traced
        Truth values of the same shape.
    """

    __slots__ = ("full", "mask")
    is_unusual = True

    def __init__(self, full: Traced, mask: Traced) -> None:
        if mask.shape != full.shape:
            raise NotTraceable("a mask of another shape than the array")
        self.full, self.mask = full.copy(), truth(mask)

    def apply(self, operation: str, *operands: Any) -> Any:
        """Record an elementwise operation with numbers or with selections by the same mask."""
        return selected_operation(operands, lambda *plain: plain[0].apply(operation, *plain))

    def copy(self) -> Selected:
        """Return a copy."""
        return Selected(self.full.copy(), self.mask)

    def sum(self) -> Any:
        """Return the sum of the selected elements."""
        return self.full.apply("where", self.mask, self.full, 0.0).sum()

    def in_place(self, operation: str, other: Any) -> Any:
        """Change the selection, which is a copy; what follows stores it back where that is meant."""
        self.full = self.apply(operation, self, other).full
        return self

    def __len__(self) -> NoReturn:
        raise NotTraceable("how many elements a mask selects")

    def __iter__(self) -> NoReturn:
        raise NotTraceable("how many elements a mask selects")

    def __getitem__(self, key: Any) -> NoReturn:
        raise NotTraceable("an index into what a mask selects")

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise NotTraceable(f"{function.__name__} of what a mask selects, with {', '.join(options) or method}")
        return selected_operation(operands, function)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> NoReturn:
        raise NotTraceable(f"the function {function.__name__} of what a mask selects")


def selected_operation(operands: tuple[Any, ...], record: Callable[..., Any]) -> Selected:
    """Record an operation on all elements where all operands are numbers or selections by one mask."""
    first = next(one for one in operands if isinstance(one, Selected))
    plain: list[Any] = []
    for one in operands:
        if isinstance(one, Selected):
            if not _same(one.mask, first.mask):
                raise NotTraceable("an operation on selections by different masks")
            plain.append(one.full)
        elif getattr(one, "shape", ()) == () and not isinstance(one, list | tuple):
            plain.append(one if isinstance(one, Traced) else first.full.lift(one))
        else:
            raise NotTraceable("an operation on a selection by a mask and an array")
    result = record(*plain)
    if not isinstance(result, Traced):
        raise NotTraceable("complex numbers selected by a mask")
    return Selected(result, first.mask)


def _same(a: Traced, b: Traced) -> bool:
    if a.shape != b.shape or a.partition != b.partition:
        return False
    pairs = zip(a.nodes, b.nodes, strict=True)
    return all(
        _same(x, y) if isinstance(x, Traced) and isinstance(y, Traced) else type(x) is type(y) and x == y
        for x, y in pairs
    )


def store_selected(array: Traced, mask: Traced, value: Any) -> None:
    """Store into the elements that a mask selects."""
    if mask.kind != "b" or mask.shape != array.shape:
        raise NotTraceable("a store by an index that depends on the parameters or the data")
    if isinstance(value, Selected):
        if not _same(value.mask, truth(mask)):
            raise NotTraceable("a store of what another mask selects")
        value = value.full
    elif getattr(value, "shape", ()) != () or isinstance(value, list | tuple):
        raise NotTraceable("a store of an array into what a mask selects")
    from nlsq.compiler.tracing.stores import overwrite

    stored = broadcast(array.lift(value), array.shape)
    nothing = array.graph.number(math.nan)  # in np.empty: what is in no mask has no value
    nodes = [nothing if isinstance(one, int) and one == UNSET else one for one in array.nodes]
    before = Traced(array.graph, array.shape, nodes, array.cuts)
    overwrite(array, array.record("where", [truth(mask), stored, before], "f"))
