"""Residuals of traced functions, bound to data: what solvers evaluate, by address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import Binding, kernels_of
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.trace import Trace
from nlsq.kernels.backend import address_of_array
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.problem.compiled import CompiledResidual, Derivative

FloatArray = NDArray[np.float64]


def traced_residual(
    trace: Trace,
    in_python: Callable[..., Any],
    x: FloatArray | None = None,
    y: FloatArray | None = None,
    weights: FloatArray | None = None,
) -> CompiledResidual:
    """Return the residual ``w (f(x, p) - y)`` of a traced model, or ``f(p)`` of a traced residual.

    Parameters
    ----------
    trace : Trace
        The function.
    in_python : callable
        The same residual as a Python function of p.
    x : ndarray (m,) or (k, m), or None
        Independent variables, C-contiguous; None for a residual.
    y, weights : ndarray (m,), or None
        Data and what multiplies the residuals.
    """
    variant = Variant(response=y is not None, weighted=weights is not None)
    kernels = kernels_of(trace)
    binding = Binding(kernels, trace, variant)
    for place, array in ((PREDICTORS, x), (RESPONSE, y), (WEIGHTS, weights)):
        if array is not None:
            binding.table[place] = address_of_array(array)
    derivative = Derivative(kernels.address("jacobian", variant), compared=True)
    residual = CompiledResidual(
        kernels.address("residual", variant),
        binding.table,
        in_python,
        trace.m,
        (binding, x, y, weights),
        derivative=lambda: derivative,
    )
    residual.binding = binding
    return residual
