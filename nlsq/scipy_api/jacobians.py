"""Where the Jacobian of `least_squares` comes from, and what the first residual and the first Jacobian tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference
from nlsq.derivatives.estimator import JacobianEstimator
from nlsq.scipy_api.functions import (
    DOUBLE,
    Differences,
    Function,
    NonfiniteError,
    as_csr,
    as_doubles,
    is_operator,
    is_sparse,
    starting_with,
)
from nlsq.scipy_api.messages import NONFINITE_START

FloatArray = NDArray[np.float64]


class JacobianSource(NamedTuple):
    """Where the Jacobian comes from: a function or an estimator, its sparsity, and the method for linear problems.

    That is "exact" for dense ones, "lsmr" for operators and where it is asked for, "direct" for other sparse ones.
    """

    source: Any
    sparsity: Any
    linear_solver: str
    is_operator: bool


def first_residual(value: Any, differenced: bool, method: str, n: int) -> FloatArray:
    """Return the first residual, shape (m,); refuse what is none.

    Differences refuse what cannot be subtracted, and then everything what cannot be tested for being finite; the
    exceptions of these operations are SciPy's.
    """
    array = np.atleast_1d(value)
    if array.ndim > 1:
        if differenced:
            raise ValueError("`f0` passed has more than 1 dimension.")
        raise ValueError(f"`fun` must return at most 1-d array_like. f0.shape: {array.shape}")
    if array.dtype.kind not in "fi":
        if differenced:
            array - array
        np.isfinite(array)
        residual = as_doubles(value).ravel() if method == "lm" else array.astype(DOUBLE, casting="safe")
    else:
        residual = array.astype(DOUBLE)
    if not np.isfinite(residual).all():
        raise NonfiniteError(NONFINITE_START)
    if method == "lm" and residual.size < n:
        raise ValueError("Method 'lm' doesn't work when the number of residuals is less than the number of variables.")
    return residual


def analytic_source(function: Function, x0: FloatArray, m: int, method: str, tr_solver: str | None) -> JacobianSource:
    """Evaluate the user's Jacobian at the start, to learn its shape and kind."""
    value = function(x0.copy())
    operator, sparse = is_operator(value), is_sparse(value)
    if sparse:
        value = as_csr(value)
    elif not operator:
        value = np.atleast_2d(value)
    if tuple(value.shape) != (m, x0.size):
        raise ValueError(
            f"The return value of `jac` has wrong shape: expected {(m, x0.size)}, actual {tuple(value.shape)}."
        )
    dense = not (operator or sparse)
    if not dense and method == "lm":
        raise ValueError("method='lm' works only with dense Jacobian matrices.")
    if not dense and tr_solver == "exact":
        raise ValueError("tr_solver='exact' works only with dense Jacobian matrices.")
    source = starting_with(value, function)
    by_default = "exact" if dense else "lsmr" if operator else "direct"
    return JacobianSource(source, None, tr_solver or by_default, operator)


def differenced_source(
    differences: Differences, shape: tuple[int, int], method: str, tr_solver: str | None, jac_sparsity: Any
) -> JacobianSource:
    """Check the sparsity (a csr_array or None) of a differenced Jacobian of this shape."""
    if jac_sparsity is not None:
        if method == "lm":
            raise ValueError("method='lm' does not support `jac_sparsity`.")
        if tr_solver == "exact":
            raise ValueError("tr_solver='exact' is incompatible with `jac_sparsity`.")
        if jac_sparsity.shape != shape:
            raise ValueError("`jac_sparsity` has wrong shape.")
    linear_solver = tr_solver or ("exact" if jac_sparsity is None else "direct")
    return JacobianSource(differences, jac_sparsity, linear_solver, False)


def difference_estimator(jac: str, diff_step: Any, x0: FloatArray, workers: Any) -> JacobianEstimator:
    """Translate a difference scheme; steps that the user gives are SciPy's, the others the library's own."""
    if diff_step is not None:
        diff_step = np.multiply(diff_step, np.ones_like(x0))  # what is no number fails as it does in SciPy
    if jac == "cs":
        return ComplexStep(steps="scipy", check=False, rel_step=diff_step, workers=workers)
    scheme: Callable[..., JacobianEstimator] = ForwardDifference if jac == "2-point" else CentralDifference
    return scheme(rel_step=diff_step, steps="scaled" if diff_step is None else "scipy", workers=workers)
