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
        self._name, self._function, self.pattern = name, function, pattern
        self._indptr, self._columns = pattern.by_rows()
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(self._indptr))
        self._places = rows * pattern.shape[1] + self._columns  # ascending

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern.

        Raises
        ------
        ValueError
            If there is an entry outside of it, or the shape is wrong.
        """
        from scipy.sparse import csr_array

        value = self._function(x.copy())
        shape, what = self.pattern.shape, f"{self._name}: jac"
        if not is_sparse(value):
            value = csr_array(matrix_of(value, shape, what))
        if tuple(value.shape) != shape:
            error = JacobianShapeError(tuple(value.shape), shape)
            error.args = (f"{what} returned shape {tuple(value.shape)}, expected {shape}.",)
            raise error
        given = value.tocoo()
        places = given.row.astype(np.int64) * shape[1] + given.col
        found = np.searchsorted(self._places, places)
        missing = (found == self._places.size) | (self._places[found % max(self._places.size, 1)] != places)
        missing &= given.data != 0
        if missing.any():
            k = int(np.argmax(missing))
            raise ValueError(
                f"{what} has an entry at row {given.row[k]}, column {given.col[k]} that its sparsity pattern lacks; "
                "the first Jacobian's entries are the pattern where none is given."
            )
        values = np.zeros(self._places.size)
        kept = found < self._places.size
        kept[kept] = self._places[found[kept]] == places[kept]
        np.add.at(values, found[kept], given.data[kept])
        return csr_array((values, self._columns, self._indptr), shape=shape)


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
