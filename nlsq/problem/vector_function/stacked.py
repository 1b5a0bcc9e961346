"""Several functions of the same parameters as one, as the kernels of a solver see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import stacked_functions as places
from nlsq.kernels.backend import address_of_array, address_of_kernel
from nlsq.pattern import SparsityPattern
from nlsq.problem.compiled_residual import WeightedHessian
from nlsq.problem.vector_function.function import VectorFunction
from nlsq.problem.vector_function.parts import ZERO, Parts, SecondDerivatives

FloatArray = NDArray[np.float64]


def stacked_function(functions: Sequence[VectorFunction], n: int, name: str) -> VectorFunction:
    """Return ``x -> (c_1(x), ..., c_k(x))``; one function stays what it is.

    Parameters
    ----------
    functions : sequence of VectorFunction
        At least one.
    n : int
        Number of parameters.
    name : str
        What messages call all together.
    """
    if len(functions) == 1:
        return functions[0]
    m = sum(one.m for one in functions)

    def refreshed(parts: Parts) -> Parts:
        for one in functions:
            one.refresh()
        is_known = (one.parts is known for one, known in zip(functions, parts.alive[1], strict=True))
        return parts if all(is_known) else _parts(functions, m, n)

    return VectorFunction(name, m, n, _parts(functions, m, n), refreshed=refreshed)


def _parts(functions: Sequence[VectorFunction], m: int, n: int) -> Parts:
    table = np.zeros(places.HEADER + places.BLOCK * len(functions), dtype=np.int64)
    table[places.BLOCKS], table[places.ROWS], table[places.COLUMNS] = len(functions), m, n
    for b, one in enumerate(functions):
        block = _block(table, b)
        block[places.BLOCK_ROWS], block[places.VALUES], block[places.DATA] = one.m, one.value_address, one.data_address

    def raise_failed(x: FloatArray) -> None:
        functions[int(table[places.FAILED])].raise_original(x)

    def use_central(central: bool) -> None:
        if any([one.use_central(central) for one in functions]):
            parts.jacobian_kind = _kinds(functions)

    parts = Parts(
        values=address_of_kernel(places.stacked_values),
        data=address_of_array(table),
        dense=partial(_dense, functions),
        jacobian_kind=_kinds(functions),
        second=partial(_second, functions),
        calls_python=any(one.calls_python for one in functions),
        evaluations=lambda: sum(one.parts.evaluations() for one in functions),
        sparse=StackedSparse(functions) if any(one.is_sparse for one in functions) else None,
        sparse_second=partial(_sparse_second, functions),
        raises=raise_failed,
        is_affine=lambda: all(one.is_linear for one in functions),
        notes=[note for one in functions for note in one.notes],
        alive=[table, [one.parts for one in functions]],
        use_central=use_central if any(one.parts.use_central is not None for one in functions) else None,
    )
    return parts


def _kinds(functions: Sequence[VectorFunction]) -> str:
    """Say where the Jacobians come from, each kind once."""
    return ", ".join(dict.fromkeys(one.jacobian_kind for one in functions))


def _block(table: NDArray[np.int64], b: int) -> Any:
    first = places.HEADER + b * places.BLOCK
    return table[first : first + places.BLOCK]


def _dense(functions: Sequence[VectorFunction], parts: Parts) -> int:
    table = parts.alive[0]
    scratch = np.empty(max(one.m * one.n for one in functions))
    parts.alive.append(scratch)
    table[places.SCRATCH] = address_of_array(scratch)
    for b, one in enumerate(functions):
        _block(table, b)[places.JACOBIAN] = one.jacobian_address
    parts.calls_python = any(one.calls_python for one in functions)
    return address_of_kernel(places.stacked_jacobian)


def _second(functions: Sequence[VectorFunction], parts: Parts) -> SecondDerivatives:
    table = parts.alive[0]
    kinds: dict[str, None] = {}
    for b, one in enumerate(functions):
        second = one.second
        if second.is_zero:
            continue
        if not second.address:
            return SecondDerivatives(reason=f"{one.name} has none: {second.reason}")
        block = _block(table, b)
        block[places.HESSIAN], block[places.HESSIAN_DATA] = second.address, second.data
        kinds[second.kind] = None
    if not kinds:
        return SecondDerivatives(kind=ZERO, is_zero=True)
    return SecondDerivatives(address_of_kernel(places.stacked_hessian), address_of_array(table), ", ".join(kinds))


def _sparse_second(functions: Sequence[VectorFunction], parts: Parts) -> tuple[WeightedHessian | None, str]:
    found: list[tuple[int, int, WeightedHessian]] = []
    kinds: dict[str, None] = {}
    first = 0
    for one in functions:
        if not one.is_linear:
            hessian = one.sparse_hessian
            if hessian is None:
                return None, ""
            found.append((first, first + one.m, hessian))
            kinds[one.sparse_hessian_kind] = None
        first += one.m
    return StackedHessian(found), ", ".join(kinds) or ZERO


@final
class StackedSparse:
    """Sparse Jacobians of several functions, one below the other.

    Parameters
    ----------
    functions : sequence of VectorFunction
        Those that have no sparse Jacobian count as dense.
    """

    def __init__(self, functions: Sequence[VectorFunction]) -> None:
        self._functions = functions
        self._pattern: SparsityPattern | None = None

    @property
    def pattern(self) -> SparsityPattern:
        """Where the Jacobian may be nonzero."""
        if self._pattern is None:
            rows, columns, first = [], [], 0
            for one in self._functions:
                pattern = one.pattern
                rows.append(pattern.indices + first)
                columns.append(pattern.columns)
                first += one.m
            shape = first, self._functions[0].n
            self._pattern = SparsityPattern.from_entries(np.concatenate(rows), np.concatenate(columns), shape)
        return self._pattern

    @property
    def evaluations(self) -> int:
        """Evaluations of the functions that Jacobians have taken."""
        return sum(one.function_evaluations for one in self._functions)

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern."""
        from scipy.sparse import csr_array

        parts = [one.jacobian(x) for one in self._functions]
        starts = np.cumsum([0] + [one.nnz for one in parts])
        moved = [one.indptr[:-1] + start for one, start in zip(parts, starts, strict=False)]
        indptr = np.concatenate([*moved, starts[-1:]])
        data, indices = (np.concatenate([getattr(one, name) for one in parts]) for name in ("data", "indices"))
        return csr_array((data, indices, indptr), shape=(indptr.size - 1, self._functions[0].n))


@final
class StackedHessian:
    """Second derivatives of several functions as one sparse matrix; see `WeightedHessian`.

    Parameters
    ----------
    parts : list of (first row, row after the last, WeightedHessian)
        Each with its rows among all.
    """

    def __init__(self, parts: list[tuple[int, int, WeightedHessian]]) -> None:
        self._parts = parts
        none = np.empty(0, dtype=np.int64)
        self.rows = np.concatenate([none] + [one.rows for _, _, one in parts])
        self.columns = np.concatenate([none] + [one.columns for _, _, one in parts])

    def into(self, x: FloatArray, weights: FloatArray, values_out: FloatArray) -> None:
        """Evaluate at contiguous `x` into `values_out`, which is overwritten."""
        begin = 0
        for first, last, one in self._parts:
            end = begin + one.rows.size
            one.into(x, np.ascontiguousarray(weights[first:last]), values_out[begin:end])
            begin = end
