"""Residual and Jacobian of a compiled model at given parameters, dense or sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import Binding
from nlsq.compiler.kernel_source import Variant
from nlsq.fitting.uncompiled import jacobian_of, residual_of
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.backend.generated import call
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.problem.traced import SparseEvaluation

if TYPE_CHECKING:
    from nlsq.fitting.traced_model import Model

FloatArray = NDArray[np.float64]

__all__ = ["SparseEvaluation", "residual_and_jacobian"]


def residual_and_jacobian(model: Model, p: FloatArray, x: Any, y: Any, weights: Any) -> tuple[FloatArray, Any]:
    """Evaluate; see `Model.residual_and_jacobian`."""
    if model.kind == "model":
        return _of_model(model, p, x, y, weights)
    entry = model.entry(n=p.size)
    if compile_disabled():
        return residual_of(model, entry, p, None, None, None), _called_jacobian(entry, p)
    evaluate = SparseEvaluation(entry) if not entry.kernels.is_curve and entry.kernels.is_sparse else None
    if evaluate is not None:
        return evaluate(p)
    binding = _bound(entry, Variant(response=False))
    return _dense(entry, binding, p, Variant(response=False))


def _called_jacobian(entry: Any, p: FloatArray) -> Any:
    """Return the Jacobian of a residual where nothing is compiled, sparse where kernels would give it so."""
    jac = jacobian_of(entry, p)
    if entry.kernels.is_curve or not entry.kernels.is_sparse:
        return jac
    from scipy.sparse import csr_array

    return csr_array(jac)


def _of_model(model: Model, p: FloatArray, x: Any, y: Any, weights: Any) -> tuple[FloatArray, FloatArray]:
    if p.shape != (model.n,):
        raise ValueError(f"p has shape {p.shape}, expected ({model.n},).")
    entry = model.entry(x)
    if compile_disabled():
        return residual_of(model, entry, p, x, y, weights), jacobian_of(entry, p, x, weights)
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
