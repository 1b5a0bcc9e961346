"""The Jacobian of a function, as a function: any estimator, usable on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.derivatives.analytic import Analytic
from nlsq.derivatives.colored import Colored
from nlsq.derivatives.complex_step import ComplexStep
from nlsq.derivatives.detection import detect_sparsity
from nlsq.derivatives.estimator import JacobianEstimator
from nlsq.derivatives.finite_difference import CentralDifference, ForwardDifference
from nlsq.derivatives.steps import machine_epsilon
from nlsq.pattern import SparsityPattern

__all__ = ["JacobianFunction", "estimator_for", "jacobian"]

Method: TypeAlias = Literal["auto", "forward", "central", "complex", "2-point", "3-point", "cs"]

_ESTIMATORS: dict[str, Callable[[], JacobianEstimator]] = {
    "auto": CentralDifference,
    "forward": ForwardDifference,
    "central": CentralDifference,
    "complex": ComplexStep,
    "2-point": ForwardDifference,
    "3-point": CentralDifference,
    "cs": ComplexStep,
}


def estimator_for(method: Method | str | JacobianEstimator | Callable[..., Any]) -> JacobianEstimator:
    """Translate what users write for a Jacobian into an estimator with its default options.

    Parameters
    ----------
    method : str, JacobianEstimator or callable
        ``"auto"`` (central differences), ``"forward"`` or ``"2-point"``, ``"central"`` or ``"3-point"``, ``"complex"``
        or ``"cs"``; an estimator, returned as it is; or a function ``jac(x) -> J``.

    Returns
    -------
    JacobianEstimator

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(method, str):
        if method not in _ESTIMATORS:
            raise ValueError(f"method must be one of {', '.join(map(repr, _ESTIMATORS))}, got {method!r}.")
        return _ESTIMATORS[method]()
    if hasattr(method, "prepare"):
        estimator: JacobianEstimator = method
        return estimator
    return Analytic(method)


def jacobian(
    fun: Callable[..., Any],
    method: Method | JacobianEstimator | Callable[..., Any] = "auto",
    sparsity: Any = None,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    scale: ArrayLike | None = None,
) -> JacobianFunction:
    """Make the Jacobian of a function.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> r``, shape (n,) to (m,); a scalar counts as length 1.
    method : str, JacobianEstimator or callable, optional
        ``"auto"`` (default, central differences), ``"forward"``, ``"central"``, ``"complex"``; an estimator with its
        own options; or a function ``jac(x)``, which is then only checked and copied.
    sparsity : array_like, sparse array or SparsityPattern, shape (m, n), or "auto", optional
        Where the Jacobian may be nonzero. Columns are then coloured once, and the result is sparse. ``"auto"``: found
        at the first call, see `detect_sparsity`; the attribute `pattern` has it. With a function ``jac(x)`` that
        returns a LinearOperator, products with it and its transpose give the matrix, see `bicolor`.
    bounds : tuple of array_like, optional
        ``(lower, upper)``; `fun` is not evaluated outside.
    scale : array_like, optional
        Size of each parameter at which it matters. Default: its magnitude at x.

    Returns
    -------
    JacobianFunction
        ``jac(x) -> ndarray``, shape (m, n), or csr_array with `sparsity`.

    Examples
    --------
    >>> import numpy as np, nlsq
    >>> jac = nlsq.jacobian(lambda x: np.array([x[0] * x[1], np.exp(x[0])]), "complex")
    >>> jac([0.0, 2.0])
    array([[2., 0.],
           [1., 0.]])
    """
    estimator = estimator_for(method)
    if sparsity is not None and not isinstance(sparsity, str):
        estimator = Colored(estimator, SparsityPattern.from_matrix(sparsity))
    elif sparsity not in (None, "auto"):
        raise ValueError(f"sparsity must be 'auto' or a pattern, got {sparsity!r}.")
    ends = (None, None) if bounds is None else bounds
    return JacobianFunction(fun, estimator, ends, scale, detects=isinstance(sparsity, str))


@final
class JacobianFunction:
    """The Jacobian of a function; depends on nothing but x, so that it may be shared between threads.

    What is found at the first call, the pattern and whether it is right, is kept.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> r``.
    estimator : JacobianEstimator
        How to differentiate it.
    bounds : tuple
        ``(lower, upper)``, None for none.
    scale : array_like or None
        Sizes of the parameters.
    detects : bool
        Whether to find the sparsity pattern at the first call.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        estimator: JacobianEstimator,
        bounds: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
        scale: ArrayLike | None = None,
        *,
        detects: bool = False,
    ) -> None:
        self._detects = detects
        self.fun = fun
        self.estimator = estimator
        self.bounds = bounds
        self.scale = scale

    @property
    def pattern(self) -> SparsityPattern | None:
        """Where the Jacobian may be nonzero; None where it is dense, or not known yet."""
        return self.estimator.pattern if isinstance(self.estimator, Colored) else None

    def __call__(self, x: ArrayLike) -> Any:
        """Return the Jacobian at `x`.

        Parameters
        ----------
        x : array_like, shape (n,)
            Point; a scalar counts as length 1. In float32, steps are chosen for float32.

        Returns
        -------
        ndarray or csr_array, shape (m, n)
        """
        given = np.atleast_1d(np.asarray(x))
        if given.ndim > 1:
            raise ValueError(f"x must have at most 1 dimension, got shape {given.shape}.")
        if given.dtype.kind not in "fiub":
            raise TypeError(f"x must be real, got dtype {given.dtype}.")
        point = given.astype(np.float64)
        value = np.atleast_1d(np.asarray(self.fun(point.copy())))
        if value.ndim > 1:
            raise ValueError(f"the function must return at most 1 dimension, got shape {value.shape}.")
        r = value.astype(np.float64)
        lower, upper = self.bounds
        dtype = value.dtype if machine_epsilon(value.dtype) >= machine_epsilon(given.dtype) else given.dtype
        estimator = self.estimator
        if self._detects and not isinstance(estimator, Colored):
            found = detect_sparsity(self.fun, point, bounds=self.bounds)
            self.estimator = estimator = Colored(estimator, found.pattern)
        prepared = estimator.prepare(self.fun, point, r.size, lower=lower, upper=upper, scale=self.scale, dtype=dtype)
        jac = prepared.evaluate(point, r, None)
        if isinstance(estimator, Colored) and estimator.check:
            self.estimator = replace(estimator, check=False)  # once is enough
        return jac
