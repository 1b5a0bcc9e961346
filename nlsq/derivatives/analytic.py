"""A Jacobian that the user computes: dense, sparse or a linear operator.

What the function returns is checked against (m, n) at each call and copied, so that a buffer it fills again and again
is safe to return.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from nlsq.derivatives.estimator import FloatArray, PreparedJacobian, Residual

if TYPE_CHECKING:
    from nlsq.derivatives.bicoloring import OperatorMatrix
    from nlsq.pattern import SparsityPattern

__all__ = ["Analytic", "JacobianShapeError", "PreparedAnalytic"]

Kind: TypeAlias = Literal["dense", "sparse", "operator"]


class JacobianShapeError(ValueError):
    """A Jacobian did not have shape (m, n).

    Attributes
    ----------
    actual, expected : tuple of int
        Shapes; a note says so when one is the transpose of the other.
    """

    def __init__(self, actual: tuple[int, ...], expected: tuple[int, int]) -> None:
        super().__init__(f"The return value of `jac` has wrong shape: expected {expected}, actual {actual}.")
        self.actual, self.expected = actual, expected
        if actual == expected[::-1]:
            self.add_note("That is the transpose: jac[i, j] must be the derivative of residual i by parameter j.")


@final
@dataclass(frozen=True, eq=False)
class Analytic:
    """The user's own Jacobian.

    Parameters
    ----------
    jac : callable
        ``jac(x) -> J``, shape (m, n): array_like, scipy.sparse array or matrix, or LinearOperator.
    """

    jac: Callable[[FloatArray], Any]

    def __post_init__(self) -> None:
        """Validate."""
        if not callable(self.jac):
            raise TypeError(f"jac must be callable, got {type(self.jac).__name__}.")

    def prepare(
        self,
        residual: Residual,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one residual; only `x0`, `m` and `pattern` matter. Nothing is called yet."""
        return PreparedAnalytic(self.jac, (m, x0.size), pattern)


@final
class PreparedAnalytic:
    """The user's Jacobian of one residual.

    Parameters
    ----------
    jac : callable
        The user's function.
    shape : tuple of int
        ``(m, n)``.
    pattern : SparsityPattern or None
        Pattern, if it is known beforehand. A LinearOperator then becomes a csr_array of this pattern, by products with
        it and its transpose (`nlsq.derivatives.bicoloring`).

    Attributes
    ----------
    pattern : SparsityPattern or None
        What was given; else that of the first sparse Jacobian.
    residual_calls : int
        0: the residual is not called.
    kind : {"dense", "sparse", "operator"} or None
        What the first call returned; None before it. As in SciPy, later ones are converted to it.
    """

    def __init__(
        self, jac: Callable[[FloatArray], Any], shape: tuple[int, int], pattern: SparsityPattern | None
    ) -> None:
        self._jac = jac
        self._shape = shape
        self.pattern = pattern
        self._is_given = pattern is not None
        self._operator_matrix: OperatorMatrix | None = None
        self.residual_calls = 0
        self.kind: Kind | None = None

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> Any:
        """Call the user's function at a copy of `x`.

        Parameters
        ----------
        x : ndarray, shape (n,)
            Point.
        r : ndarray, shape (m,)
            Not used.
        jac_out : ndarray, shape (m, n), or None
            If given, filled with the values, also of a sparse Jacobian. If None, the Jacobian comes back in its own
            kind.

        Returns
        -------
        ndarray, csr_array or LinearOperator, shape (m, n)

        Raises
        ------
        JacobianShapeError
            If the shape is wrong; the text is SciPy's.
        TypeError
            If it is no array of real numbers, or an operator where an array is needed.
        """
        value = self._jac(x.copy())
        kind = _kind_of(value)
        if kind == "dense":
            value = _dense(value)
        if tuple(value.shape) != self._shape:
            raise JacobianShapeError(tuple(value.shape), self._shape)
        if self.kind is None:
            self.kind = kind
        if jac_out is not None:
            if kind == "operator":
                raise TypeError("jac returned a LinearOperator where a matrix is needed.")
            jac_out[...] = value.toarray() if kind == "sparse" else value
            return jac_out
        if kind == "operator":
            if self._is_given and self.pattern is not None:
                return self._matrix(value)
            return value
        if self.kind == "sparse":
            return self._sparse(value)
        return np.array(value.toarray() if kind == "sparse" else value, dtype=np.float64, order="F")

    def _matrix(self, operator: Any) -> Any:
        """Return an operator of a known pattern as a csr_array."""
        if self._operator_matrix is None:
            from nlsq.derivatives.bicoloring import OperatorMatrix

            assert self.pattern is not None
            self._operator_matrix = OperatorMatrix(self.pattern)
        return self._operator_matrix(operator)

    def _sparse(self, value: Any) -> Any:
        """Return a canonical csr_array that shares nothing with `value`, and learn the pattern from the first."""
        from scipy.sparse import csr_array

        jac = csr_array(value, dtype=np.float64, copy=True)
        jac.sum_duplicates()
        if self.pattern is None:
            from nlsq.pattern import SparsityPattern

            self.pattern = SparsityPattern.from_matrix(jac)
        return jac


def _kind_of(value: Any) -> Kind:
    """Tell arrays, sparse arrays and operators apart without importing scipy."""
    if type(value) is np.ndarray:
        return "dense"
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        return "sparse"
    linalg = sys.modules.get("scipy.sparse.linalg")
    if linalg is not None and isinstance(value, linalg.LinearOperator):
        return "operator"
    return "dense"


def _dense(value: Any) -> FloatArray:
    """Return a 2-D array of real numbers; a single row may come as 1-D, as in SciPy."""
    if value is None:
        raise TypeError("jac returned None; it must return the Jacobian, shape (m, n).")
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise TypeError("jac returned complex numbers; the derivative of real residuals is real.")
    try:
        array = np.atleast_2d(array.astype(np.float64, copy=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"jac must return numbers; it returned an array of {array.dtype}.") from error
    return array
