"""An array whose first axis can be indexed by the names of parameters."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.parameters import index_of

FloatArray = NDArray[np.float64]


@final
class NamedArray(np.ndarray[Any, np.dtype[np.float64]]):
    """A read-only array with one row a parameter: ``r["a"]`` is ``r[j]`` for the j-th name.

    What is computed from it, and its slices, are ordinary arrays. A name that is none of them is a KeyError.

    Attributes
    ----------
    names : tuple of str
        Names along the first axis.
    """

    names: tuple[str, ...]

    def __array_finalize__(self, parent: Any) -> None:
        self.names = ()  # what is derived from it has rows of its own

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                key = index_of(self.names, key, "index")
            except ValueError as error:
                raise KeyError(str(error)) from None
        item = super().__getitem__(key)
        return item.view(np.ndarray) if isinstance(item, NamedArray) else item

    def __reduce__(self) -> Any:
        return named, (np.array(self), self.names)

    def __copy__(self) -> NamedArray:
        return named(np.array(self), self.names)

    def __deepcopy__(self, memo: Any) -> NamedArray:
        return named(np.array(self), self.names)

    def copy(self, order: Any = "C") -> NDArray[np.float64]:  # type: ignore[override]
        """Return an ordinary array that may be written to."""
        return np.array(self, order=order)

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name; numbers, or rows where there are several for each parameter."""
        return dict(zip(self.names, self.tolist(), strict=True))

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else bool(np.any(np.asarray(self) == key))

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {value}" for name, value in zip(self.names, np.asarray(self), strict=True))

    __str__ = __repr__


def named(values: FloatArray, names: tuple[str, ...]) -> NamedArray:
    """Return a read-only view of `values`, shape (n,) or (n, k), whose rows have names."""
    array = values.view(NamedArray)
    array.names = names
    array.flags.writeable = False
    return array
