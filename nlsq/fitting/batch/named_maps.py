"""An array whose last axis can be indexed by the names of parameters."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.parameters import index_of


@final
class NamedMaps(np.ndarray[Any, np.dtype[Any]]):
    """A read-only array whose last axis has names: ``maps["a"]`` is ``maps[..., j]`` for the j-th name.

    What is computed from it, and its slices, are ordinary arrays. A name that is none of them is a KeyError.

    Attributes
    ----------
    names : tuple of str
        Names along the last axis.
    """

    names: tuple[str, ...]

    def __array_finalize__(self, parent: Any) -> None:
        self.names = ()  # what is derived from it has axes of its own

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                key = (..., index_of(self.names, key, "index"))
            except ValueError as error:
                raise KeyError(str(error)) from None
        item = super().__getitem__(key)
        return item.view(np.ndarray) if isinstance(item, NamedMaps) else item

    def __reduce__(self) -> Any:
        return named_maps, (np.array(self), self.names)

    def __copy__(self) -> NamedMaps:
        return named_maps(np.array(self), self.names)

    def __deepcopy__(self, memo: Any) -> NamedMaps:
        return named_maps(np.array(self), self.names)

    def copy(self, order: Any = "C") -> NDArray[Any]:  # type: ignore[override]
        """Return an ordinary array that may be written to."""
        return np.array(self, order=order)


def named_maps(values: NDArray[Any], names: tuple[str, ...]) -> NamedMaps:
    """Return a read-only view of `values`, shape (..., n), whose last axis has names."""
    maps = values.view(NamedMaps)
    maps.names = names
    maps.flags.writeable = False
    return maps
