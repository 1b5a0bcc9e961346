r"""Preconditioners of J'J + diag(d) that need nothing but its diagonal, or its diagonal blocks.

    jacobi          M = diag(J'J) + diag(d)
    block-jacobi    M = the blocks of J'J + diag(d) that belong to one column block each

Block-Jacobi does not change with the choice of coordinates within a block; with jacobi the units of columns do not
matter.
"""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np

from nlsq.block_jacobian import BlockJacobian, BlockPattern, operand
from nlsq.kernels import block_preconditioner as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.block_plan import DiagonalBlocks
from nlsq.linalg.linear_solver import FloatArray
from nlsq.linalg.lsmr import column_norms


class Preconditioner(Protocol):
    """A positive definite matrix M near J'J + diag(d)."""

    def take(self, jac: Any) -> int:
        """Take in a Jacobian; return the first column with entries that are not finite, or -1."""
        ...

    def damp(self, damping_diag: FloatArray) -> None:
        """Take in a damping."""
        ...

    def apply(self, vector: FloatArray, out: FloatArray) -> None:
        """Form M^-1 `vector`."""
        ...


def first_nonfinite(vector: FloatArray) -> int:
    """Return the place of the first element that is not finite, or -1."""
    finite = np.isfinite(vector)
    return -1 if finite.all() else int(np.argmin(finite))


@final
class Jacobi:
    """The diagonal; of a LinearOperator, whose columns are not known, only that of the damping if all is positive.

    Parameters
    ----------
    n : int
        Columns of J.
    """

    def __init__(self, n: int) -> None:
        self._squares: FloatArray | None = None
        self._diagonal = np.ones(n)

    def take(self, jac: Any) -> int:
        """Measure the columns."""
        norms = column_norms(jac)
        self._squares = None if norms is None else norms * norms
        return -1 if self._squares is None else first_nonfinite(self._squares)

    def damp(self, damping_diag: FloatArray) -> None:
        """Add a damping."""
        if self._squares is not None:
            np.add(self._squares, damping_diag, out=self._diagonal)
            self._diagonal[self._diagonal == 0.0] = 1.0
        else:
            self._diagonal[...] = damping_diag if np.all(damping_diag > 0.0) else 1.0

    def apply(self, vector: FloatArray, out: FloatArray) -> None:
        """Divide by the diagonal."""
        np.divide(vector, self._diagonal, out=out)


@final
class BlockJacobi:
    """The diagonal blocks.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    """

    def __init__(self, pattern: BlockPattern) -> None:
        self._plan = plan = DiagonalBlocks(pattern)
        self._packed, self._factor = np.empty(plan.size), np.ones(plan.size)
        self._layout = plan.starts, pattern.offsets
        self._count = pattern.widths.size

    def take(self, jac: BlockJacobian) -> int:
        """Form the blocks."""
        self._plan.assemble(jac, self._packed)
        return first_nonfinite(self._packed[self._plan.diagonal])

    def damp(self, damping_diag: FloatArray) -> None:
        """Add a damping and factorise."""
        damping = operand(damping_diag, self._plan.diagonal.size, "damping_diag")
        arrays = self._packed, *self._layout, damping
        run_kernel(kernels.factor_blocks, *arrays, self._count, self._factor)

    def apply(self, vector: FloatArray, out: FloatArray) -> None:
        """Solve with each block."""
        run_kernel(kernels.solve_blocks, self._factor, *self._layout, vector, self._count, out)
