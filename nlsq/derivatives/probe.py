"""Calling a residual at perturbed points, and not trusting what comes back.

A user's function may keep the x it is given, change it, return a view of one buffer again and again, a list, another
length than last time, or nothing. So every call gets an x of its own, and what it returns is checked and copied before
the next call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.estimator import Residual
from nlsq.derivatives.workers import WorkerMap

__all__ = ["ResidualProbe", "ResidualShapeError", "as_residual"]

Column: TypeAlias = Any  # an int or an index array: the parameters that one evaluation moves

FLOAT64 = np.dtype(np.float64)
BATCH_ENTRIES = 2**23  # 64 MiB of float64: a vectorised residual gets at most this much x at once


class ResidualShapeError(ValueError):
    """A residual did not have the shape it must have."""


def as_residual(value: Any, shape: tuple[int, ...], kind: type = np.float64) -> NDArray[Any]:
    """Return what a residual function returned as an array of `shape`.

    Parameters
    ----------
    value : array_like
        What came back.
    shape : tuple of int
        Expected shape.
    kind : type
        ``numpy.float64`` or ``numpy.complex128``.

    Returns
    -------
    ndarray
        Perhaps `value` itself; its dtype is `kind` or a lower floating precision of it.

    Raises
    ------
    ResidualShapeError
        If the shape differs.
    TypeError
        If the values are no numbers, or complex where real ones are needed.
    """
    if value is None:
        raise TypeError("the residual returned None; it must return an array of residuals.")
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        array = _from_objects(array, kind)
    if array.dtype.kind == "c" and kind is np.float64:
        raise TypeError("the residual returned complex numbers; stack their real and imaginary parts.")
    if array.ndim == 0 and shape == (1,):
        array = array.reshape(1)
    if array.shape != shape:
        raise ResidualShapeError(f"the residual returned an array of shape {array.shape}, expected {shape}.")
    return array


def _from_objects(array: NDArray[Any], kind: type) -> NDArray[Any]:
    """Convert an array of Python numbers; astype would make nan of None and 1.0 of "1"."""
    convert = float if kind is np.float64 else complex
    try:
        if array.dtype.kind != "O" or any(isinstance(value, str | bytes) for value in array.flat):
            raise TypeError("no numbers")
        return np.array([convert(value) for value in array.flat], dtype=kind).reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the residual must return numbers; it returned an array of {array.dtype}.") from error


@final
class ResidualProbe:
    """Evaluates one residual at points that differ from x in a few parameters.

    Parameters
    ----------
    residual : callable
        ``residual(x) -> r``.
    m : int
        Number of residuals.
    workers : WorkerMap
        How to make several calls.
    vectorized : bool
        Whether ``residual`` takes (n, k) and returns (m, k).
    kind : type
        dtype of the residual's values: ``numpy.float64`` or ``numpy.complex128``.
    """

    def __init__(
        self, residual: Residual, m: int, workers: WorkerMap, *, vectorized: bool = False, kind: type = np.float64
    ) -> None:
        self._residual = residual
        self._shape = (m,)
        self._workers = workers
        self._vectorized = vectorized
        self._kind = kind
        self._dtype = np.dtype(kind)
        self.calls = 0
        self.lowest: np.dtype[Any] = self._dtype  # the lowest precision that came back
        self.real_seen = False  # whether a real array came back where a complex one should

    def fill(self, x: NDArray[Any], columns: Sequence[Column], values: Any, rows_out: NDArray[Any]) -> None:
        """Write residuals into rows.

        Parameters
        ----------
        x : ndarray, shape (n,)
            Base point; not modified, not handed out.
        columns : sequence of int or of index arrays
            Parameters moved in each evaluation.
        values : sequence, length n
            Value of each parameter where it is moved; an array if `columns` holds index arrays.
        rows_out : ndarray, shape (len(columns), m)
            Row k: residual at x with ``x[columns[k]] = values[columns[k]]``.
        """
        self.calls += len(columns)
        if self._vectorized:
            self._fill_batches(x, columns, values, rows_out)
        elif self._workers.serial:
            self._fill_serially(x, columns, values, rows_out)
        else:
            results = self._workers(self._residual, _points(x, columns, values))
            count = 0
            for f, row in zip(results, rows_out, strict=False):
                row[:] = self._checked(f, self._shape)
                count += 1
            if count != len(columns):
                raise RuntimeError(f"workers returned {count} results for {len(columns)} points.")

    @property
    def serial(self) -> bool:
        """Whether points are evaluated one by one in this process."""
        return self._workers.serial and not self._vectorized

    def require_complex(self) -> None:
        """Raise `ComplexStepError` if a real array ever came back for a complex argument."""
        if self.real_seen:
            from nlsq.derivatives.complex_guard import LOST_PART, ComplexStepError

            raise ComplexStepError(*LOST_PART)

    def _fill_serially(self, x: NDArray[Any], columns: Sequence[Column], values: Any, rows_out: NDArray[Any]) -> None:
        """Call point by point; what surrounds the user's call is kept to a minimum."""
        residual, shape, dtype = self._residual, self._shape, self._dtype
        for k, column in enumerate(columns):
            point = x.copy()
            point[column] = values[column]
            f = residual(point)
            if type(f) is np.ndarray and f.dtype is dtype and f.shape == shape:
                rows_out[k] = f
            else:
                rows_out[k] = self._checked(f, shape)

    def _fill_batches(self, x: NDArray[Any], columns: Sequence[Column], values: Any, rows_out: NDArray[Any]) -> None:
        """Call with many points at once."""
        size = max(1, BATCH_ENTRIES // max(x.size, self._shape[0], 1))
        for start in range(0, len(columns), size):
            part = columns[start : start + size]
            batch = np.stack(list(_points(x, part, values)), axis=1)
            block = self._checked(self._residual(batch), (self._shape[0], len(part)))
            rows_out[start : start + len(part)] = block.T

    def _checked(self, f: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Check a result that is not plainly what it should be, and note its precision."""
        array = as_residual(f, shape, self._kind)
        if array.dtype.kind in "fc":
            if np.finfo(array.dtype).eps > np.finfo(self.lowest).eps:
                self.lowest = array.dtype
        if self._kind is np.complex128 and array.dtype.kind != "c":
            self.real_seen = True
        return array


def _points(x: NDArray[Any], columns: Sequence[Column], values: Any) -> Iterator[NDArray[Any]]:
    """Yield the points of a probe, each an array of its own."""
    for column in columns:
        point = x.copy()
        point[column] = values[column]
        yield point
