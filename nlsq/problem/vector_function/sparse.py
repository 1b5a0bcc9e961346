"""Sparse Jacobians on one pattern, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.analytic import JacobianShapeError
from nlsq.pattern import SparsityPattern
from nlsq.problem.vector_function.estimated import Estimated
from nlsq.problem.vector_function.values import is_sparse, matrix_of

FloatArray = NDArray[np.float64]


@final
class EstimatedSparse:
    """By an estimator that knows the pattern.

    Parameters
    ----------
    estimated : Estimated
        With its estimator.
    pattern : SparsityPattern
        Pattern.
    """

    __slots__ = ("_estimated", "pattern")

    def __init__(self, estimated: Estimated, pattern: SparsityPattern) -> None:
        self._estimated, self.pattern = estimated, pattern

    @property
    def evaluations(self) -> int:
        """Evaluations of the function that Jacobians have taken."""
        return self._estimated.evaluations

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern."""
        return self._estimated.jacobian(x)


@final
class Entries:
    """The entries of a pattern, and where those of a user's matrices are among them.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern.
    what : str
        What messages call the function that returns the matrices.
    origin : str
        Where the pattern comes from, as the end of a message.

    Attributes
    ----------
    rows, columns, indptr : ndarray
        Of the entries, row by row.
    """

    __slots__ = ("_origin", "_places", "_shape", "_what", "columns", "indptr", "rows")

    def __init__(self, pattern: SparsityPattern, what: str, origin: str) -> None:
        self._what, self._origin, self._shape = what, origin, pattern.shape
        self.indptr, self.columns = pattern.by_rows()
        self.rows = np.repeat(np.arange(pattern.shape[0]), np.diff(self.indptr))
        self._places = self.rows * pattern.shape[1] + self.columns  # ascending

    def values_of(self, matrix: Any) -> FloatArray:
        """Return a matrix's values at all entries of the pattern.

        Raises
        ------
        ValueError
            If there is one elsewhere that is not zero.
        """
        given = matrix.tocoo()
        places = given.row.astype(np.int64) * self._shape[1] + given.col
        found = np.searchsorted(self._places, places)
        missing = (found == self._places.size) | (self._places[found % max(self._places.size, 1)] != places)
        missing &= given.data != 0
        if missing.any():
            k = int(np.argmax(missing))
            raise ValueError(
                f"{self._what} has an entry at row {given.row[k]}, column {given.col[k]} that its sparsity pattern "
                f"lacks; {self._origin}."
            )
        values = np.zeros(self._places.size)
        kept = found < self._places.size
        kept[kept] = self._places[found[kept]] == places[kept]
        np.add.at(values, found[kept], given.data[kept])
        return values


def sparse_of(value: Any, shape: tuple[int, int], what: str) -> Any:
    """Return a matrix of the user's, dense or sparse, as a sparse one of a shape.

    Raises
    ------
    TypeError, JacobianShapeError
        See `matrix_of`.
    """
    from scipy.sparse import csr_array

    if not is_sparse(value):
        value = csr_array(matrix_of(value, shape, what))
    if tuple(value.shape) != shape:
        error = JacobianShapeError(tuple(value.shape), shape)
        error.args = (f"{what} returned shape {tuple(value.shape)}, expected {shape}.",)
        raise error
    return value


@final
class GivenSparse:
    """From a function of the user's that returns matrices, sparse or not.

    Parameters
    ----------
    name : str
        What messages call the function.
    function : callable
        ``x -> J (m, n)``.
    pattern : SparsityPattern
        Where J may be nonzero.
    """

    evaluations = 0

    def __init__(self, name: str, function: Callable[[FloatArray], Any], pattern: SparsityPattern) -> None:
        self._what, self._function, self.pattern = f"{name}: jac", function, pattern
        origin = "the first Jacobian's entries are the pattern where none is given"
        self._entries = Entries(pattern, self._what, origin)

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern.

        Raises
        ------
        ValueError
            If there is an entry outside of it, or the shape is wrong.
        """
        from scipy.sparse import csr_array

        shape, entries = self.pattern.shape, self._entries
        values = entries.values_of(sparse_of(self._function(x.copy()), shape, self._what))
        return csr_array((values, entries.columns, entries.indptr), shape=shape)


@final
class GivenHessian:
    """Second derivatives of the user's as a sparse matrix; see `WeightedHessian`.

    The pattern is that of the first matrix if it is sparse, and else what that of the Jacobian allows. Of each matrix
    the lower triangle is taken.

    Parameters
    ----------
    name : str
        What messages call the function.
    function : callable
        ``(x, v) -> H (n, n)``.
    x0 : ndarray, shape (n,)
        Where the first matrix is evaluated.
    jacobian_pattern : SparsityPattern, shape (m, n)
        Of the Jacobian.

    Attributes
    ----------
    rows, columns : ndarray of int64
        Place of each value.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], x0: FloatArray, jacobian_pattern: SparsityPattern
    ) -> None:
        from scipy.sparse import tril

        from nlsq.derivatives.star_coloring import hessian_pattern

        self._what, self._function, self._shape = f"{name}: hess", function, (x0.size, x0.size)
        first = function(x0.copy(), np.ones(jacobian_pattern.shape[0]))
        if is_sparse(first):
            pattern = SparsityPattern.from_matrix(tril(sparse_of(first, self._shape, self._what)))
            origin = "the entries of the first matrix are the pattern, so that it has to hold those that may be nonzero"
        else:
            sparse_of(first, self._shape, self._what)
            pattern = SparsityPattern.from_matrix(tril(hessian_pattern(jacobian_pattern).to_csr()))
            origin = "no row of the Jacobian depends on both parameters"
        self._entries = Entries(pattern, self._what, origin)
        self.rows, self.columns = (
            np.ascontiguousarray(one, dtype=np.int64) for one in (self._entries.rows, self._entries.columns)
        )

    def into(self, x: FloatArray, weights: FloatArray, values_out: FloatArray) -> None:
        """Evaluate at contiguous `x` into `values_out`, which is overwritten."""
        from scipy.sparse import tril

        value = sparse_of(self._function(x.copy(), weights.copy()), self._shape, self._what)
        values_out[:] = self._entries.values_of(tril(value))


@final
class ConstantSparse:
    """The same matrix everywhere.

    Parameters
    ----------
    matrix : csr_array
        Canonical.
    """

    evaluations = 0

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        self.pattern = SparsityPattern.from_entries(rows, matrix.indices, matrix.shape)

    def jacobian(self, x: FloatArray) -> Any:
        """Return the matrix, a copy that shares its structure."""
        from scipy.sparse import csr_array

        return csr_array(
            (self._matrix.data.copy(), self._matrix.indices, self._matrix.indptr), shape=self._matrix.shape
        )


@final
class GraphSparse:
    """From the graph of a traced function, exact.

    Parameters
    ----------
    evaluation : SparseEvaluation
        Of the graph.
    """

    evaluations = 0

    def __init__(self, evaluation: Any) -> None:
        self.evaluation = evaluation

    @property
    def pattern(self) -> SparsityPattern:
        """Where the Jacobian may be nonzero."""
        pattern: SparsityPattern = self.evaluation.pattern
        return pattern

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern."""
        return self.evaluation.jacobian(np.ascontiguousarray(x))
