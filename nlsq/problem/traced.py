"""Residuals of traced functions, bound to data: what solvers evaluate, by address."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import Binding
from nlsq.compiler.entries import Arrays, Entry
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.routes import MANY_PARAMETERS, Route
from nlsq.compiler.sparse_hessian_source import Block, values_of
from nlsq.kernels.backend import address_of_array
from nlsq.kernels.backend.generated import call
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.pattern import SparsityPattern
from nlsq.problem.compiled import CompiledResidual, Derivative
from nlsq.problem.compiled_residual import WeightedHessian

FloatArray = NDArray[np.float64]


def traced_residual(
    entry: Entry,
    in_python: Callable[..., Any],
    x: FloatArray | None = None,
    y: FloatArray | None = None,
    weights: FloatArray | None = None,
    omits: bool = False,
) -> CompiledResidual:
    """Return the residual ``w (f(x, p) - y)`` of a traced model, or ``f(p)`` of a traced residual.

    Parameters
    ----------
    entry : Entry
        The function's graph and kernels.
    in_python : callable
        The same residual as a Python function of p.
    x : ndarray (m,) or (k, m), or None
        Independent variables, C-contiguous; None for a residual.
    y, weights : ndarray (m,), or None
        Data and what multiplies the residuals.
    omits : bool
        Whether a weight of zero leaves a point out, even where the model has no value.
    """
    variant = Variant(response=y is not None, weighted=weights is not None, omits=omits)
    trace, kernels = entry.trace, entry.kernels
    binding = Binding(kernels, trace, variant)
    for place, array in ((PREDICTORS, x), (RESPONSE, y), (WEIGHTS, weights)):
        if array is not None:
            binding.table[place] = address_of_array(array)
    derivative = Derivative(kernels.address("jacobian", variant), compared=True)

    @cache
    def hessian() -> Derivative:
        found = kernels.address_or_reason("hessian", variant)
        if isinstance(found, str):
            return Derivative(reason=found)
        return Derivative(found, compared=True, zero=not kernels.second(variant).parts)

    @cache
    def sparse_hessian() -> WeightedHessian | None:
        found = kernels.address_or_reason("sparse_hessian", variant)
        return None if isinstance(found, str) else SparseHessian(found, binding, kernels.hessian_blocks(variant))

    residual = CompiledResidual(
        kernels.address("residual", variant),
        binding.table,
        in_python,
        trace.m,
        (binding, x, y, weights),
        derivative=lambda: derivative,
        hessian=hessian,
        sparse_hessian=sparse_hessian,
    )
    residual.binding = binding
    return residual


def routed_residual(
    route: Route,
    function: Callable[..., Any],
    x0: FloatArray,
    known: RoutedResidual | None = None,
    sparse_from: int = MANY_PARAMETERS + 1,
) -> RoutedResidual | None:
    """Return a plain residual by the kernels of its graph, with what the function reads now.

    Parameters
    ----------
    route : Route
        What is known of the function.
    function : callable
        ``p -> r``, a vector, a list or a single number.
    x0 : ndarray, shape (n,)
        Start: its size counts.
    known : RoutedResidual, optional
        What was returned last for this function: it is returned again while its graph is valid.
    sparse_from : int
        Number of parameters from which the Jacobian is to be sparse where it can be.

    Returns
    -------
    RoutedResidual or None
        None where the function has to be called.
    """
    from nlsq.compiler.tracing.trace import trace_residual

    n = x0.size
    entry = route.entry(function, (n, 0), lambda given=(): trace_residual(function, n, (), given))
    arrays = None if entry is None else entry.arrays_of(function)
    if entry is None or arrays is None or len(entry.trace.shape) > 1:
        return None
    if known is None or known.entry is not entry:
        is_sparse = n >= sparse_from and not entry.kernels.is_curve and entry.kernels.is_sparse
        sparse = SparseEvaluation(entry, arrays) if is_sparse else None
        known = RoutedResidual(entry, traced_residual(entry, function), sparse)
    elif known.sparse is not None:
        known.sparse.set_arrays(arrays)
    known.residual.binding.set_arrays(*arrays)
    return known


class SparseEvaluation:
    """Residual and sparse Jacobian of a traced residual, in one pass and into the same memory each time.

    Parameters
    ----------
    entry : Entry
        The graph.
    arrays : Arrays, optional
        What the function reads; by default the entry's own.

    Attributes
    ----------
    residual : ndarray, shape (m,)
        Filled by each evaluation.
    values : ndarray
        Values of the Jacobian in the order of its pattern; likewise.
    """

    def __init__(self, entry: Entry, arrays: Arrays | None = None) -> None:
        variant = Variant(response=False)
        self._address = entry.kernels.address("residual_and_jacobian", variant)
        self._binding = Binding(entry.kernels, entry.trace, variant)
        self.set_arrays(entry.arrays if arrays is None else arrays)
        rows, columns = self._binding.pattern()
        self.shape = entry.trace.m, entry.trace.graph.n
        self.residual, self.values = np.empty(self.shape[0]), np.empty(rows.size)
        self.rows, self.columns = rows, columns

    def set_arrays(self, arrays: Arrays) -> None:
        """Take what the function reads now."""
        self._binding.set_arrays(*arrays)

    def into(self, p: FloatArray) -> None:
        """Evaluate at a contiguous `p` into `residual` and `values`."""
        call(self._address, p, self._binding.table, self.residual, self.values)

    @cached_property
    def pattern(self) -> SparsityPattern:
        """Where the Jacobian may be nonzero."""
        return SparsityPattern.from_entries(self.rows, self.columns, self.shape)

    @cached_property
    def _form(self) -> tuple[Any, Any, Any, Any]:
        """Order of the values by rows, where each entry begins in it (None: all are single), and a csr's indices."""
        order = np.lexsort((self.columns, self.rows))
        rows, columns = self.rows[order], self.columns[order]
        starts = np.flatnonzero(np.append(True, (np.diff(rows) != 0) | (np.diff(columns) != 0))[: rows.size])
        index = np.int32 if max(rows.size, *self.shape) < 2**31 else np.int64
        indptr = np.searchsorted(rows[starts], np.arange(self.shape[0] + 1)).astype(index)
        return order, None if starts.size == rows.size else starts, columns[starts].astype(index), indptr

    def __call__(self, p: FloatArray) -> tuple[FloatArray, Any]:
        """Return residual and Jacobian as arrays of their own; the csr arrays share their structure."""
        from scipy.sparse import csr_array

        self.into(p)
        order, starts, indices, indptr = self._form
        values = self.values[order] if starts is None else np.add.reduceat(self.values[order], starts)
        return self.residual.copy(), csr_array((values, indices, indptr), shape=self.shape)

    def jacobian(self, p: FloatArray) -> Any:
        """Return the Jacobian as an array of its own."""
        return self(p)[1]


class SparseHessian:
    """Weighted second derivatives of a traced residual, as `nlsq.problem.compiled_residual.WeightedHessian` says.

    Parameters
    ----------
    address : int
        Of the kernel "sparse_hessian".
    binding : Binding
        The residual's data.
    blocks : list of Block
        What its values are.
    """

    def __init__(self, address: int, binding: Binding, blocks: list[Block]) -> None:
        self._address, self._binding = address, binding
        self.rows, self.columns, offsets, self._doubled = values_of(blocks, binding.trace)
        self._table = np.concatenate([binding.table, offsets])

    def into(self, x: FloatArray, weights: FloatArray, values_out: FloatArray) -> None:
        """Evaluate at contiguous `x` into `values_out`, which is overwritten."""
        table = self._binding.table
        self._table[: table.size] = table  # where the data are now
        call(self._address, x, self._table, weights, values_out)
        if self._doubled.size:
            values_out[self._doubled] *= 2.0


class RoutedResidual(NamedTuple):
    """A residual by the kernels of a graph, and its sparse Jacobian where rows depend on few parameters."""

    entry: Entry
    residual: CompiledResidual
    sparse: SparseEvaluation | None
