"""Parameter blocks of one kind: values, what is held, bounds, and the handle by which a user names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class ParameterBlocks:
    """The parameter blocks of one `BlockProblem.add_parameters`, by name.

    Index it to choose blocks: ``cameras[3]``, ``cameras[camera_index]``, ``cameras[:10]``, ``cameras[mask]``.

    Attributes
    ----------
    position : int
        Which call of `add_parameters` made it, from 0.
    count, size : int
        Number of blocks, and of numbers in each.
    name : str
        For messages and reports.
    problem : int
        Tells the blocks of one problem from those of another.
    """

    position: int
    count: int
    size: int
    name: str
    problem: int

    def __getitem__(self, index: Any) -> BlockSelection:
        """Choose blocks by an integer, a slice, a boolean mask or integers in any order, repeated or not."""
        return BlockSelection(self, _resolved(index, self.count, self.name))

    def __len__(self) -> int:
        """Return the number of blocks."""
        return self.count


@final
@dataclass(frozen=True, slots=True, eq=False)
class BlockSelection:
    """Some parameter blocks, in an order, possibly with repetitions.

    Attributes
    ----------
    blocks : ParameterBlocks
        Of which.
    index : ndarray of int64, shape (k,) or ()
        Which; () for a single one.
    """

    blocks: ParameterBlocks
    index: IndexArray

    def __len__(self) -> int:
        """Return how many blocks are chosen."""
        return int(self.index.size)


def selection(what: Any, argument: str) -> BlockSelection:
    """Take a handle for all of its blocks, in order.

    Raises
    ------
    TypeError
        If it is neither a handle nor a selection.
    """
    if isinstance(what, ParameterBlocks):
        return BlockSelection(what, np.arange(what.count, dtype=np.int64))
    if not isinstance(what, BlockSelection):
        raise TypeError(
            f"{argument} must be what add_parameters returned, or blocks chosen from it such as cameras[index], "
            f"got {type(what).__name__}."
        )
    return what


def _resolved(index: Any, count: int, name: str) -> IndexArray:
    """Turn an index into block numbers from 0 to count - 1."""
    if isinstance(index, slice):
        return np.arange(count, dtype=np.int64)[index]
    given = np.asarray(index)
    if given.dtype == np.bool_:
        if given.shape != (count,):
            raise IndexError(f"a mask of {name} must have shape ({count},), got {given.shape}.")
        return np.flatnonzero(given).astype(np.int64)
    if given.size == 0:
        return np.zeros(0, dtype=np.int64)
    if given.dtype.kind not in "iu":
        raise IndexError(f"blocks of {name} are chosen by integers, a slice or a mask, got {given.dtype}.")
    if given.ndim > 1:
        raise IndexError(f"an index into {name} must have one dimension, got shape {given.shape}.")
    wanted = given.astype(np.int64)
    wrong = (wanted < -count) | (wanted >= count)
    if wrong.any():
        place = int(np.argmax(np.atleast_1d(wrong)))
        value = int(np.atleast_1d(wanted)[place])
        raise IndexError(f"index[{place}] = {value} is out of range: {name} has {count} blocks.")
    return np.where(wanted < 0, wanted + count, wanted).astype(np.int64)


@final
class ParameterGroup:
    """Values and rules of the parameter blocks behind a handle.

    Parameters
    ----------
    handle : ParameterBlocks
        Its name.
    values : ndarray, shape (count, size)
        Start; the group keeps it.
    manifold : manifold or None
        How a step moves a block; None for vectors.
    """

    def __init__(self, handle: ParameterBlocks, values: FloatArray, manifold: Any) -> None:
        self.handle = handle
        self.values = values
        self.manifold = manifold
        self.width = handle.size if manifold is None else int(manifold.tangent_size)
        self.held = np.zeros((handle.count, self.width), dtype=np.bool_)
        self.lower: FloatArray | None = None
        self.upper: FloatArray | None = None

    def read_values(self, given: ArrayLike, argument: str) -> FloatArray:
        """Validate values for the blocks, shape (count, size), and bring them onto the manifold."""
        return read_values(given, argument, self.handle.size, self.manifold, self.handle.count)

    def hold(self, constant: Any) -> None:
        """Hold what `constant` says: all, blocks, components, or single components of blocks.

        Raises
        ------
        ValueError
            If its shape fits none, or two of them.
        """
        mask = np.asarray(constant)
        if mask.dtype != np.bool_:
            raise ValueError(f"constant must be boolean, got {mask.dtype}; choose blocks with problem.hold(...).")
        count, width = self.held.shape
        if mask.shape == (count,) and count == width:
            raise ValueError(
                f"constant has shape ({count},), which may mean {count} blocks or {width} components; give shape "
                f"({count}, {width})."
            )
        if mask.shape == (count,):
            self.held |= mask[:, np.newaxis]
        elif mask.shape in ((), (width,), (count, width)):
            self.held |= mask
        else:
            raise ValueError(
                f"constant has shape {mask.shape}, expected (), ({count},) for blocks, ({width},) for components or "
                f"({count}, {width})."
            )

    def bound(self, bounds: Any) -> None:
        """Take bounds ``(lower, upper)``, each a number or of shape (size,) or (count, size)."""
        if bounds is None:
            return
        if self.manifold is not None:
            raise ValueError(f"bounds: {self.handle.name} lie on a manifold, whose coordinates have no bounds.")
        if not (isinstance(bounds, tuple | list) and len(bounds) == 2):
            raise ValueError("bounds must be a pair (lower, upper).")
        shape = self.values.shape
        ends = []
        for name, value, open_end in (("lower", bounds[0], -np.inf), ("upper", bounds[1], np.inf)):
            array = np.asarray(open_end if value is None else value, dtype=np.float64)
            if array.shape not in ((), shape[1:], shape):
                raise ValueError(f"bounds: {name} has shape {array.shape}, expected (), {shape[1:]} or {shape}.")
            ends.append(np.array(np.broadcast_to(array, shape)))
        lower, upper = ends
        every = np.arange(self.handle.count)
        self._refuse(~(lower <= upper), "lower is not <= upper", every)
        self.lower, self.upper = lower, upper
        self.refuse_outside(self.values, every)
        if not (np.isfinite(lower).any() or np.isfinite(upper).any()):
            self.lower = self.upper = None

    def refuse_outside(self, values: FloatArray, index: IndexArray) -> None:
        """Raise ValueError where values of the blocks `index`, shape (k, size), lie outside their bounds."""
        if self.lower is not None and self.upper is not None:
            self._refuse(values < self.lower[index], "the start is below", index)
            self._refuse(values > self.upper[index], "the start is above", index)

    def _refuse(self, wrong: NDArray[np.bool_], what: str, index: IndexArray) -> None:
        if wrong.any():
            place, component = (int(k) for k in np.argwhere(wrong)[0])
            raise ValueError(f"bounds: {what} for component {component} of block {index[place]} of {self.handle.name}.")


def read_values(given: ArrayLike, argument: str, size: int | None, manifold: Any, count: int | None) -> FloatArray:
    """Validate an array of blocks.

    Parameters
    ----------
    given : array_like, shape (count, size)
        Values; (count,) is taken for blocks of one number.
    argument : str
        For messages.
    size, count : int or None
        What they must be, where that is known.
    manifold : manifold or None
        Checks that each block lies on it.

    Returns
    -------
    ndarray, shape (count, size)
        A copy.

    Raises
    ------
    TypeError, ValueError
        Naming the block.
    """
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must be real numbers, got an array of {array.dtype}.")
    values = np.array(array, dtype=np.float64, order="C")
    if values.ndim == 3 and manifold is not None and values.shape[1] * values.shape[2] == manifold.size:
        values = values.reshape(len(values), -1)
    if values.ndim == 1:
        values = values[:, np.newaxis] if size in (None, 1) and manifold is None else values[np.newaxis]
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{argument} must have shape (blocks, numbers in each) and not be empty, got {array.shape}.")
    wanted = manifold.size if manifold is not None else size
    if wanted is not None and values.shape[1] != wanted:
        of = f" of {manifold!r}" if manifold is not None else ""
        raise ValueError(f"{argument} has blocks of {values.shape[1]} numbers, expected {wanted}{of}.")
    if count is not None and len(values) != count:
        raise ValueError(f"{argument} has {len(values)} blocks, expected {count}.")
    if not np.isfinite(values).all():
        block, component = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"{argument}[{block}, {component}] is not finite.")
    if manifold is not None:
        on_manifold: FloatArray = manifold.validate(values)
        return on_manifold
    return values
