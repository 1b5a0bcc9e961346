"""The flat memory of a dense solve, and numpy views of its parts by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlsq.kernels import layout
from nlsq.kernels.backend import handle


class Workspace:
    """Memory of one solve, as laid out in `nlsq.kernels.layout`.

    Parameters
    ----------
    m, n : int
        Numbers of residuals and parameters.
    matrices : bool
        Whether there are matrices too; without them the workspace ends after the vectors, and `jac_t` is empty.

    Attributes
    ----------
    w, iw : ndarray
        All doubles, all integers.
    w_handle, iw_handle : int or ndarray
        What kernels take for them.
    x, x_new : ndarray, shape (n,)
        Current point and candidate.
    residual, residual_new : ndarray, shape (m,)
        Residuals there, without the loss.
    jac_t : ndarray, shape (n, m)
        Transposed Jacobian at the current point; rows of ``jac_t`` are contiguous.
    """

    __slots__ = ("iw", "iw_handle", "jac_t", "m", "n", "residual", "residual_new", "w", "w_handle", "x", "x_new")

    def __init__(self, m: int, n: int, *, matrices: bool = True) -> None:
        self.m, self.n = m, n
        size, int_size = layout.workspace_size(m, n)
        if not matrices:
            size = layout.matrix_offset(m, n, 0)
        w = self.w = np.empty(size)
        iw = self.iw = np.zeros(int_size, dtype=np.int64)
        w[: layout.HEADER + layout.VECTORS * n] = 0.0
        iw[layout.M], iw[layout.N] = m, n
        w[layout.LAST_STEP_NORM] = np.nan
        w[layout.LOSS_SCALE] = 1.0
        self.w_handle, self.iw_handle = handle(w), handle(iw)
        start = layout.HEADER
        self.x = w[start : start + n]
        self.x_new = w[start + n : start + 2 * n]
        start = layout.residual_offset(m, n, 0)
        self.residual = w[start : start + m]
        self.residual_new = w[start + m : start + 2 * m]
        start = layout.jacobian_offset(m, n)
        self.jac_t = w[start : start + n * m].reshape(n, m) if matrices else np.empty((0, 0))

    def vector(self, index: int) -> Any:
        """View an n-vector by its index in the layout."""
        start = layout.vector_offset(self.n, index)
        return self.w[start : start + self.n]

    def residual_vector(self, index: int) -> Any:
        """View an m-vector by its index in the layout."""
        start = layout.residual_offset(self.m, self.n, index)
        return self.w[start : start + self.m]

    def matrix(self, index: int) -> Any:
        """View an (n, n) matrix by its index in the layout."""
        start = layout.matrix_offset(self.m, self.n, index)
        return self.w[start : start + self.n * self.n].reshape(self.n, self.n)
