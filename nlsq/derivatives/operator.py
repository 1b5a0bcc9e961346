"""The Jacobian of a function, as a function: any estimator, usable on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.derivatives.analytic import Analytic
from nlsq.derivatives.colored import Colored
from nlsq.derivatives.complex_step import ComplexStep
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
    sparsity : array_like, sparse array or SparsityPattern, shape (m, n), optional
        Where the Jacobian may be nonzero. Columns are then coloured once, and the result is sparse.
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
    if sparsity is not None:
        estimator = Colored(estimator, SparsityPattern.from_matrix(sparsity))
    return JacobianFunction(fun, estimator, (None, None) if bounds is None else bounds, scale)


@final
class JacobianFunction:
    """The Jacobian of a function; depends on nothing but x, so that it may be shared between threads.

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
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        estimator: JacobianEstimator,
        bounds: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
        scale: ArrayLike | None = None,
    ) -> None:
        self.fun = fun
        self.estimator = estimator
        self.bounds = bounds
        self.scale = scale

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
        prepared = self.estimator.prepare(
            self.fun, point, r.size, lower=lower, upper=upper, scale=self.scale, dtype=dtype
        )
        return prepared.evaluate(point, r, None)
