"""The flat memory of an interior-point solve, and numpy views of its parts by name."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import handle
from nlsq.kernels.interior_point import layout

FloatArray = NDArray[np.float64]


@final
class Workspace:
    """Memory of one solve, as laid out in `nlsq.kernels.interior_point.layout`.

    Parameters
    ----------
    m, n : int
        Numbers of residuals and variables.
    rows : sequence of int
        Numbers of rows of the functions of the constraints.
    dense : bool
        Whether matrices are kept here.
    quasi : bool
        Whether there is a quasi-Newton matrix.

    Attributes
    ----------
    w, iw : ndarray
        All doubles, all integers.
    mc : int
        Number of constraints.
    """

    __slots__ = ("_starts", "iw", "iw_handle", "m", "mc", "n", "w", "w_handle")

    def __init__(self, m: int, n: int, rows: list[int], *, dense: bool, quasi: bool) -> None:
        self.m, self.n, self.mc = m, n, sum(rows)
        lengths = layout.lengths(m, n, self.mc, max(rows, default=0), dense, quasi)
        starts = layout.HEADER + np.concatenate([[0], np.cumsum(lengths)])
        self._starts = starts.tolist()
        table = layout.END
        pivots = table + (1 + len(rows)) * layout.BLOCK_WIDTH
        self.w = np.zeros(self._starts[-1])
        iw = self.iw = np.zeros(pivots + n + self.mc, dtype=np.int64)
        iw[layout.FIRST_VECTOR : layout.END] = starts[:-1]
        iw[layout.M], iw[layout.N], iw[layout.MC] = m, n, self.mc
        iw[layout.BLOCK_TABLE], iw[layout.PIVOTS] = table, pivots
        self.w_handle, self.iw_handle = handle(self.w), handle(iw)

    def start(self, name: int) -> int:
        """Return where a vector begins in `w`."""
        place: int = self._starts[name - layout.FIRST_VECTOR]
        return place

    def view(self, name: int) -> FloatArray:
        """View a vector by its name in the layout."""
        k = name - layout.FIRST_VECTOR
        return self.w[self._starts[k] : self._starts[k + 1]]

    def matrix(self, name: int, rows: int) -> FloatArray:
        """View a matrix with so many rows."""
        view: FloatArray = self.view(name).reshape(rows, -1)
        return view

    def block(self, index: int) -> Any:
        """View the entry of one function in the table."""
        start = int(self.iw[layout.BLOCK_TABLE]) + index * layout.BLOCK_WIDTH
        return self.iw[start : start + layout.BLOCK_WIDTH]
