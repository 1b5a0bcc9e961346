"""LAPACK and BLAS, as addresses that kernels call.

SciPy publishes the routines it is linked with as C functions (``scipy.linalg.cython_blas``, ``cython_lapack``). Their
addresses differ from process to process, so that they reach kernels as data. Every argument is passed by reference;
`nlsq.kernels.backend.primitives` has one primitive for each routine, in the one form in which the library uses it.
Where kernels run as plain Python the addresses are tickets of functions of NumPy.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend.kernel import compile_disabled
from nlsq.kernels.backend.primitives import ticket

__all__ = ["blas_addresses"]


@cache
def blas_addresses() -> NDArray[np.int64]:
    """Return what kernels call dpotrf, dtrsm and dsyrk by, shape (3,)."""
    if compile_disabled():
        return np.array([ticket(stand_in) for stand_in in (_potrf, _trsm, _syrk)], dtype=np.int64)
    from scipy.linalg import cython_blas, cython_lapack

    lapack: dict[str, Any] = dict(cython_lapack.__pyx_capi__)
    blas: dict[str, Any] = dict(cython_blas.__pyx_capi__)
    capsules = lapack["dpotrf"], blas["dtrsm"], blas["dsyrk"]
    return np.array([_address(capsule) for capsule in capsules], dtype=np.int64)


def _address(capsule: Any) -> int:
    """Return the pointer in a capsule, whatever its name."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer_of(capsule, name_of(capsule)))


def _by_columns(flat: NDArray[np.float64], rows: int, columns: int, leading: int) -> NDArray[np.float64]:
    """View flat memory as a matrix whose columns are `leading` apart."""
    step = flat.strides[0]
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (step, leading * step))


def _potrf(n: int, a: NDArray[np.float64], lda: int) -> int:
    """Overwrite the lower triangle by its Cholesky factor; return k > 0 if the k-th pivot is not positive."""
    matrix = _by_columns(a, n, n, lda)
    for k in range(n):
        if not matrix[k, k] > 0.0:
            return k + 1
        matrix[k, k] = np.sqrt(matrix[k, k])
        matrix[k + 1 :, k] /= matrix[k, k]
        for j in range(k + 1, n):
            matrix[j:, j] -= matrix[j:, k] * matrix[j, k]
    return 0


def _trsm(m: int, n: int, a: NDArray[np.float64], lda: int, b: NDArray[np.float64], ldb: int) -> None:
    lower, right = np.tril(_by_columns(a, n, n, lda)), _by_columns(b, m, n, ldb)
    right[...] = np.linalg.solve(lower, right.T).T


def _syrk(n: int, k: int, a: NDArray[np.float64], lda: int, c: NDArray[np.float64], ldc: int) -> None:
    rows, out = _by_columns(a, n, k, lda), _by_columns(c, n, n, ldc)
    lower = np.tril_indices(n)
    out[lower] = -(rows @ rows.T)[lower]
