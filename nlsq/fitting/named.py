"""An array of which one axis, the first or the last, can be indexed by the names of parameters."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.parameters import index_of

FloatArray = NDArray[np.float64]


@final
class NamedArray(np.ndarray[Any, np.dtype[np.float64]]):
    """A read-only array with names: ``r["a"]`` is ``r[j]`` for the j-th name, or ``r[..., j]`` in maps.

    What is computed from it, and its slices, are ordinary arrays. A name that is none of them is a KeyError.

    Attributes
    ----------
    names : tuple of str
        Names along the axis.
    axis : {0, -1}
        The first, or the last of maps.
    """

    names: tuple[str, ...]
    axis: int

    def __array_finalize__(self, parent: Any) -> None:
        self.names, self.axis = (), 0  # what is derived from it has axes of its own

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                j = index_of(self.names, key, "index")
            except ValueError as error:
                raise KeyError(str(error)) from None
            key = (..., j) if self.axis else j
        item = super().__getitem__(key)
        return item.view(np.ndarray) if isinstance(item, NamedArray) else item

    def __reduce__(self) -> Any:
        return named, (np.array(self), self.names, self.axis)

    def __copy__(self) -> NamedArray:
        return named(np.array(self), self.names, self.axis)

    def __deepcopy__(self, memo: Any) -> NamedArray:
        return named(np.array(self), self.names, self.axis)

    def copy(self, order: Any = "C") -> NDArray[np.float64]:  # type: ignore[override]
        """Return an ordinary array that may be written to."""
        return np.array(self, order=order)

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name; numbers, or rows where there are several for each parameter."""
        values = np.moveaxis(np.asarray(self), self.axis, 0)
        return dict(zip(self.names, values.tolist(), strict=True))

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else bool(np.any(np.asarray(self) == key))

    def __repr__(self) -> str:
        if self.axis:
            return repr(np.asarray(self))
        return "\n".join(f"{name} = {value}" for name, value in zip(self.names, np.asarray(self), strict=True))

    __str__ = __repr__


def named(values: NDArray[Any], names: tuple[str, ...], axis: int = 0) -> NamedArray:
    """Return a read-only view of `values`, whose rows, or whose maps along the last axis (-1), have names."""
    array = values.view(NamedArray)
    array.names, array.axis = names, axis
    array.flags.writeable = False
    return array
