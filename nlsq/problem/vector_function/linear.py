"""Linear functions ``A x``: by kernels, with a constant Jacobian and no second derivatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import linear_function as places
from nlsq.kernels.backend import address_of_array, address_of_kernel
from nlsq.problem.vector_function.function import VectorFunction
from nlsq.problem.vector_function.parts import CONSTANT, ZERO, Parts, SecondDerivatives
from nlsq.problem.vector_function.sparse import ConstantSparse
from nlsq.problem.vector_function.values import is_sparse, numbers_of

FloatArray = NDArray[np.float64]


def linear_function(matrix: Any, n: int, name: str) -> VectorFunction:
    """Return ``x -> A x`` by address.

    Parameters
    ----------
    matrix : array_like or SciPy sparse matrix, shape (m, n)
        A; one row may be a vector.
    n : int
        Number of parameters.
    name : str
        What messages call the function.

    Raises
    ------
    ValueError
        If A has not n columns, or an entry that is not finite.
    """
    given_sparse = is_sparse(matrix)
    if not given_sparse:
        matrix = np.atleast_2d(numbers_of(matrix, f"{name}: A", "holds")).astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != n:
        raise ValueError(f"{name}: A has shape {tuple(matrix.shape)}, expected (m, {n}).")
    m = int(matrix.shape[0])
    _require_finite(matrix, given_sparse, name)
    table = np.zeros(places.TABLE, dtype=np.int64)
    table[places.ROWS], table[places.COLUMNS] = m, n
    parts = Parts(
        values=address_of_kernel(places.linear_values),
        data=address_of_array(table),
        jacobian_kind=CONSTANT,
        second=lambda parts: SecondDerivatives(kind=ZERO, is_zero=True),
        is_affine=lambda: True,
        alive=[table],
    )
    if given_sparse:
        from scipy.sparse import csr_array

        rows = csr_array(matrix, dtype=np.float64, copy=True)
        rows.sum_duplicates()
        _point(parts, places.ENTRIES, rows.data)
        _point(parts, places.STARTS, rows.indptr.astype(np.int64))
        _point(parts, places.INDICES, rows.indices.astype(np.int64))
        parts.values, parts.sparse = address_of_kernel(places.sparse_linear_values), ConstantSparse(rows)
        parts.dense = partial(_dense, matrix)
    else:
        parts.jacobian = _dense(matrix, parts)
    return VectorFunction(name, m, n, parts)


def _point(parts: Parts, place: int, array: Any) -> None:
    """Put the address of an array into the table, and keep the array."""
    parts.alive[0][place] = address_of_array(array)
    parts.alive.append(array)


def _dense(matrix: Any, parts: Parts) -> int:
    """Put A' into the table; returns the address of the C function that copies it."""
    dense = matrix.toarray() if is_sparse(matrix) else matrix
    _point(parts, places.MATRIX, np.ascontiguousarray(dense.T, dtype=np.float64).reshape(-1))
    return address_of_kernel(places.linear_jacobian)


def _require_finite(matrix: Any, is_sparse_matrix: bool, name: str) -> None:
    values = matrix.data if is_sparse_matrix else matrix
    if is_sparse_matrix and getattr(values, "dtype", None) is not None and values.dtype.kind == "O":
        values = matrix.toarray()
    wrong = ~np.isfinite(values)
    if wrong.any():
        where = "" if is_sparse_matrix else f"[{', '.join(map(str, np.argwhere(wrong)[0].tolist()))}]"
        raise ValueError(f"{name}: A{where} is not finite.")
