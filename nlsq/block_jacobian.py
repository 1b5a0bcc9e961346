r"""Jacobians of residual blocks over parameter blocks.

A residual block meets a few parameter blocks, each of a few numbers. Its rows of J are dense in the columns of those
blocks and zero elsewhere, so that they are kept as one small array:

    J[rows of residual block i, columns of its argument k]  =  values[i, :, start_k : start_k + width_k].

Residual blocks of one kind form a group and lie in one array of shape (B, q, T): B blocks, q residuals each, T columns
of all arguments together. Structure once, values at each iterate, as for `SparsityPattern`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import block_products as kernels
from nlsq.kernels.backend import Kernel, specialised
from nlsq.kernels.calling import run_kernel
from nlsq.pattern import SparsityPattern

__all__ = ["BlockGroup", "BlockJacobian", "BlockPattern", "operand"]

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
SPECIALISE_FROM = 1000  # residual blocks: for fewer, a kernel of their own sizes is not worth its compilation
LARGEST_SPECIALISED = 256  # values of one argument in a block up to which loops are unrolled
CONSTANT = -1  # in place of a column block: the argument is held


@final
@dataclass(frozen=True, eq=False)
class BlockGroup:
    """Residual blocks of one kind.

    Attributes
    ----------
    residuals : int
        q, residuals of one block.
    first_row : int
        Row of J at which the group begins; its blocks follow one another.
    columns : ndarray of int64, shape (B, k)
        Column block of each argument, `CONSTANT` (-1) where it is held. No block has the same one twice. Integers of
        another kind, or not contiguous, are copied.
    widths : tuple of int
        Columns that each argument has in `values`, held or not; T is their sum.

    Raises
    ------
    ValueError
        If `columns` is not an array of integers of shape (B, k), or `widths` does not have k numbers.
    """

    residuals: int
    first_row: int
    columns: IndexArray
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        """Validate."""
        columns = np.asarray(self.columns)
        if columns.ndim != 2 or columns.shape[1] != len(self.widths):
            raise ValueError(
                f"columns must have shape (B, {len(self.widths)}), a column block for each of the arguments that "
                f"widths lists; got {columns.shape}."
            )
        if columns.size and not np.issubdtype(columns.dtype, np.integer):
            raise ValueError(f"columns must be integers, the numbers of column blocks; got {columns.dtype}.")
        object.__setattr__(self, "columns", np.ascontiguousarray(columns, dtype=np.int64))

    @property
    def count(self) -> int:
        """B, the number of residual blocks."""
        return int(self.columns.shape[0])

    @property
    def starts(self) -> tuple[int, ...]:
        """First column of each argument in `values`, and T."""
        return (0, *(int(end) for end in np.cumsum(self.widths)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (B, q, T) of the group's values."""
        return self.count, self.residuals, sum(self.widths)


@final
@dataclass(frozen=True, eq=False)
class BlockPattern:
    """Where residual blocks meet parameter blocks.

    Attributes
    ----------
    groups : tuple of BlockGroup
        Their rows follow one another without gaps.
    widths : ndarray of int64, shape (n_blocks,)
        Columns of each column block.

    Raises
    ------
    ValueError
        If a group meets a column block that is not there or has another width, or its rows do not follow those of the
        group before it; the message names the group.
    """

    groups: tuple[BlockGroup, ...]
    widths: IndexArray

    def __post_init__(self) -> None:
        """Validate: kernels read and write where the pattern says."""
        widths = np.ascontiguousarray(self.widths, dtype=np.int64)
        object.__setattr__(self, "widths", widths)
        row = 0
        for k, group in enumerate(self.groups):
            if group.first_row != row:
                raise ValueError(f"group {k} begins at row {group.first_row}; the groups before it end at row {row}.")
            row += group.count * group.residuals
            outside = np.argwhere((group.columns < CONSTANT) | (group.columns >= widths.size))
            if outside.size:
                i, j = outside[0]
                raise ValueError(
                    f"columns[{i}, {j}] of group {k} is {group.columns[i, j]}; column blocks go from 0 to "
                    f"{widths.size - 1}, and {CONSTANT} stands for a held argument."
                )
            if not widths.size:
                continue
            wrong = np.argwhere((group.columns != CONSTANT) & (widths[group.columns] != np.array(group.widths)))
            if wrong.size:
                i, j = wrong[0]
                block = group.columns[i, j]
                raise ValueError(
                    f"argument {j} of group {k} has {group.widths[j]} columns, and column block {block}, which "
                    f"residual block {i} meets there, has {widths[block]}."
                )

    @cached_property
    def offsets(self) -> IndexArray:
        """First column of each column block, and n; shape (n_blocks + 1,)."""
        return np.concatenate(([0], np.cumsum(self.widths))).astype(np.int64)

    @cached_property
    def places(self) -> tuple[IndexArray, ...]:
        """First column of each argument, `CONSTANT` where it is held; one array (B, k) a group."""
        return tuple(
            np.ascontiguousarray(np.where(group.columns == CONSTANT, CONSTANT, self.offsets[group.columns]))
            for group in self.groups
        )

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes (B, q, T) of the values of the groups."""
        return [group.shape for group in self.groups]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of J."""
        rows = sum(group.count * group.residuals for group in self.groups)
        return rows, int(self.offsets[-1])

    def zeros(self) -> BlockJacobian:
        """Allocate a Jacobian of this pattern."""
        return BlockJacobian(self, [np.zeros(group.shape) for group in self.groups])


@final
class BlockJacobian:
    """Values of J over a `BlockPattern`.

    Parameters
    ----------
    pattern : BlockPattern
        Structure, shared.
    values : list of ndarray
        One contiguous array (B, q, T) a group; changed in place by who owns the Jacobian.

    Raises
    ------
    ValueError
        If there is not one such array for each group; the message names the group.
    """

    __slots__ = ("pattern", "values")

    def __init__(self, pattern: BlockPattern, values: list[FloatArray]) -> None:
        if len(values) != len(pattern.groups):
            raise ValueError(f"values must hold an array for each of {len(pattern.groups)} groups, got {len(values)}.")
        for k, (group, array) in enumerate(zip(pattern.groups, values, strict=True)):
            if array.shape != group.shape or array.dtype != np.float64 or not array.flags.c_contiguous:
                raise ValueError(
                    f"values[{k}] must be a contiguous array of doubles of shape {group.shape}, got {array.dtype} "
                    f"{array.shape}{'' if array.flags.c_contiguous else ', not contiguous'}; use np.ascontiguousarray."
                )
        self.pattern = pattern
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n)."""
        return self.pattern.shape

    def check(self, shapes: list[tuple[int, int, int]]) -> None:
        """Raise ValueError unless the groups have these shapes, for which somebody has prepared."""
        found = [array.shape for array in self.values]
        if found != shapes:
            raise ValueError(f"the groups of the Jacobian have the shapes {found}, prepared was for {shapes}.")

    def product(self, v: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Return J v, shape (m,).

        Parameters
        ----------
        v : ndarray, shape (n,)
            Vector.
        out : ndarray, shape (m,), optional
            Receives the product.
        """
        m, n = self.shape
        v, product = operand(v, n, "v"), _result(out, m, "out")
        for k, group in enumerate(self.pattern.groups):
            self._run(kernels.multiply, k, [v], [product[group.first_row :]])
        return product

    def transposed(self, u: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Return J'u, shape (n,).

        Parameters
        ----------
        u : ndarray, shape (m,)
            Vector.
        out : ndarray, shape (n,), optional
            Receives the product.
        """
        m, n = self.shape
        u, product = operand(u, m, "u"), _result(out, n, "out")
        product[...] = 0.0
        for k, group in enumerate(self.pattern.groups):
            self._run(kernels.multiply_transposed, k, [u[group.first_row :]], [product])
        return product

    def column_norms(self, out: FloatArray | None = None) -> FloatArray:
        """Return the Euclidean norms of the columns, shape (n,); written to `out` if that is given."""
        norms = _result(out, self.shape[1], "out")
        norms[...] = 0.0
        for k in range(len(self.values)):
            self._run(kernels.add_squares, k, [], [norms])
        return np.sqrt(norms, out=norms)

    def gradient_and_norms(self, r: FloatArray, gradient_out: FloatArray, squares_out: FloatArray) -> None:
        """Form J'r and the squared norms of the columns, reading each value once.

        Parameters
        ----------
        r : ndarray, shape (m,)
            Residual.
        gradient_out, squares_out : ndarray, shape (n,)
            Receive J'r and ``|J_j|^2``.
        """
        m, n = self.shape
        r = operand(r, m, "r")
        gradient, squares = _result(gradient_out, n, "gradient_out"), _result(squares_out, n, "squares_out")
        gradient[...] = squares[...] = 0.0
        for k, group in enumerate(self.pattern.groups):
            values, places, rows = self.values[k].reshape(-1), self.pattern.places[k].reshape(-1), r[group.first_row :]
            count, q, width = group.shape
            for a, length in enumerate(group.widths):
                sizes = count, q, width, len(group.widths), group.starts[a], length
                run_kernel(_gradient_kernel(group, a), values, places[a:], rows, *sizes, gradient, squares)

    def zero_columns(self, mask: NDArray[np.bool_]) -> None:
        """Set the values in some columns to zero, in place.

        Parameters
        ----------
        mask : ndarray of bool, shape (n,)
            True for the columns to be zeroed.
        """
        mask = np.asarray(mask)
        if mask.shape != self.shape[1:]:
            raise ValueError(f"mask must have shape {self.shape[1:]}, one truth value a column, got {mask.shape}.")
        flags = np.ascontiguousarray(mask != 0, dtype=np.int64)
        for k, group in enumerate(self.pattern.groups):
            starts = np.array(group.starts, dtype=np.int64)
            sizes = group.count, group.residuals, len(group.widths)
            places, values = self.pattern.places[k].reshape(-1), self.values[k].reshape(-1)
            run_kernel(kernels.zero_columns, flags, places, starts, *sizes, values)

    def _run(self, kernel: Kernel, k: int, operands: list[FloatArray], outputs: list[FloatArray]) -> None:
        """Call a kernel of products for the k-th group."""
        group, values = self.pattern.groups[k], self.values[k]
        places = self.pattern.places[k].reshape(-1)
        starts = np.array(group.starts, dtype=np.int64)
        sizes = group.count, group.residuals, len(group.widths)
        run_kernel(kernel, values.reshape(-1), places, starts, *operands, *sizes, *outputs)

    def entries(self) -> tuple[IndexArray, IndexArray, FloatArray]:
        """Rows, columns and values of all entries that are not held, group by group."""
        rows, columns, values = [], [], []
        for group, array in zip(self.pattern.groups, self.values, strict=True):
            count, q, width = group.shape
            places = np.full((count, width), CONSTANT, dtype=np.int64)
            for k, (start, end) in enumerate(zip(group.starts, group.starts[1:], strict=False)):
                block = group.columns[:, k]
                first = np.where(block == CONSTANT, 0, self.pattern.offsets[block])
                places[:, start:end] = np.where(block == CONSTANT, -end, first)[:, None] + np.arange(end - start)
            row = group.first_row + np.arange(count * q).reshape(count, q, 1)
            kept = np.broadcast_to(places[:, None, :] >= 0, array.shape)
            rows.append(np.broadcast_to(row, array.shape)[kept])
            columns.append(np.broadcast_to(places[:, None, :], array.shape)[kept])
            values.append(array[kept])
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)

    def to_csr(self) -> Any:
        """Return J as a `scipy.sparse.csr_array`, shape (m, n)."""
        from scipy.sparse import csr_array

        rows, columns, values = self.entries()
        return csr_array((values, (rows, columns)), shape=self.shape)

    def toarray(self) -> FloatArray:
        """Return J as a dense array, shape (m, n)."""
        return np.asarray(self.to_csr().toarray())

    def to_pattern(self) -> SparsityPattern:
        """Return the pattern entry by entry."""
        rows, columns, _ = self.entries()
        return SparsityPattern.from_entries(rows, columns, self.shape)


def _gradient_kernel(group: BlockGroup, argument: int) -> Kernel:
    """Choose the kernel of gradients: one made for the sizes where there are many blocks."""
    _, q, width = group.shape
    length = group.widths[argument]
    if group.count < SPECIALISE_FROM or q * length > LARGEST_SPECIALISED:
        return kernels.add_gradient_and_squares
    return specialised(kernels.add_gradient_and_squares, Q=q, WIDTH=width, LENGTH=length)


def operand(array: FloatArray, length: int, name: str) -> FloatArray:
    """Give a contiguous vector of doubles, or raise ValueError."""
    vector = np.ascontiguousarray(array, dtype=np.float64)
    if vector.shape != (length,):
        raise ValueError(f"{name} must have shape {(length,)}, got {vector.shape}.")
    return vector


def _result(array: FloatArray | None, length: int, name: str) -> FloatArray:
    """Give `array`, or a new one; raise ValueError unless it can be written as a contiguous vector of doubles."""
    if array is None:
        return np.empty(length)
    if array.shape != (length,) or array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a contiguous array of doubles of shape {(length,)}, got {array.dtype} {array.shape}."
        )
    return array
