"""Residual and Jacobian of a compiled model at given parameters, dense or sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import Binding
from nlsq.compiler.kernel_source import Variant
from nlsq.kernels.backend import address_of_array
from nlsq.kernels.backend.generated import call
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS

if TYPE_CHECKING:
    from nlsq.fitting.traced_model import Model

FloatArray = NDArray[np.float64]


def residual_and_jacobian(model: Model, p: FloatArray, x: Any, y: Any, weights: Any) -> tuple[FloatArray, Any]:
    """Evaluate; see `Model.residual_and_jacobian`."""
    if model.kind == "model":
        return _of_model(model, p, x, y, weights)
    entry = model.entry(n=p.size)
    evaluate = SparseEvaluation(entry) if not entry.kernels.is_curve and entry.kernels.is_sparse else None
    if evaluate is not None:
        return evaluate(p)
    binding = _bound(entry, Variant(response=False))
    return _dense(entry, binding, p, Variant(response=False))


def _of_model(model: Model, p: FloatArray, x: Any, y: Any, weights: Any) -> tuple[FloatArray, FloatArray]:
    if p.shape != (model.n,):
        raise ValueError(f"p has shape {p.shape}, expected ({model.n},).")
    entry = model.entry(x)
    variant = Variant(response=y is not None, weighted=weights is not None)
    binding = _bound(entry, variant)
    arrays = []
    for place, array in (
        (PREDICTORS, np.stack(x) if isinstance(x, tuple | list) else x),
        (RESPONSE, y),
        (WEIGHTS, weights),
    ):
        if array is not None:
            arrays.append(np.ascontiguousarray(array, dtype=np.float64))
            if place != PREDICTORS and arrays[-1].size != entry.trace.m:
                name = "y" if place == RESPONSE else "weights"
                raise ValueError(f"{name} has {arrays[-1].size} values, but the model gives {entry.trace.m}.")
            binding.table[place] = address_of_array(arrays[-1])
    return _dense(entry, binding, p, variant)


def _bound(entry: Any, variant: Variant) -> Binding:
    binding = Binding(entry.kernels, entry.trace, variant)
    binding.set_arrays(*entry.arrays)
    return binding


def _dense(entry: Any, binding: Binding, p: FloatArray, variant: Variant) -> tuple[FloatArray, FloatArray]:
    residual, jac_t = np.empty(entry.trace.m), np.empty((p.size, entry.trace.m))
    call(entry.kernels.address("residual", variant), p, binding.table, residual)
    call(entry.kernels.address("jacobian", variant), p, binding.table, jac_t)
    return residual, jac_t.T


class SparseEvaluation:
    """Residual and sparse Jacobian of a traced residual, in one pass and into the same memory each time.

    Parameters
    ----------
    entry : Entry
        The graph.

    Attributes
    ----------
    residual : ndarray, shape (m,)
        Filled by each evaluation.
    values : ndarray
        Values of the Jacobian in the order of its pattern; likewise.
    """

    def __init__(self, entry: Any) -> None:
        variant = Variant(response=False)
        self._address = entry.kernels.address("residual_and_jacobian", variant)
        self._binding = _bound(entry, variant)
        rows, columns = self._binding.pattern()
        self.shape = entry.trace.m, entry.trace.graph.n
        self.residual, self.values = np.empty(self.shape[0]), np.empty(rows.size)
        self.rows, self.columns = rows, columns

    def into(self, p: FloatArray) -> None:
        """Evaluate at a contiguous `p` into `residual` and `values`."""
        call(self._address, p, self._binding.table, self.residual, self.values)

    def __call__(self, p: FloatArray) -> tuple[FloatArray, Any]:
        """Return residual and Jacobian as arrays of their own."""
        from scipy.sparse import coo_array

        self.into(p)
        jac = coo_array((self.values, (self.rows, self.columns)), shape=self.shape).tocsr()
        return self.residual.copy(), jac
