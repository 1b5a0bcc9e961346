"""What evaluates a function: addresses of C functions, and words for where derivatives come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nlsq.problem.compiled_residual import CompiledResidual, WeightedHessian
from nlsq.problem.vector_function.called_back import CalledBack
from nlsq.problem.vector_function.differences import DifferenceTable

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

FloatArray = NDArray[np.float64]

EXACT_GRAPH = "exact (graph)"
EXACT_DUAL = "exact (dual numbers)"
GIVEN = "given"
CONSTANT = "constant"
ZERO = "zero"
OF_JACOBIAN = "differences of the Jacobian"


class SecondDerivatives(NamedTuple):
    """``sum_i weights_i * (second derivatives of value i)`` by address.

    Attributes
    ----------
    address, data : int
        Of the C function and its data; 0 where it is not known, or not needed.
    kind : str
        Where it comes from, in words; empty where it is not known.
    reason : str
        Why it is not known.
    is_zero : bool
        Whether it is known to vanish everywhere.
    """

    address: int = 0
    data: int = 0
    kind: str = ""
    reason: str = ""
    is_zero: bool = False


class SparseSide(Protocol):
    """Sparse Jacobians of one pattern.

    Attributes
    ----------
    pattern : SparsityPattern
        Theirs.
    evaluations : int
        Of the function, for Jacobians.
    """

    @property
    def pattern(self) -> SparsityPattern:
        """Where the Jacobian may be nonzero."""
        ...

    @property
    def evaluations(self) -> int:
        """Evaluations of the function that Jacobians have taken."""
        ...

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian as a csr_array with all entries of the pattern."""
        ...


@dataclass(slots=True, kw_only=True)
class Parts:
    """What evaluates a function.

    Attributes
    ----------
    values, jacobian, data : int
        Addresses of C functions and of the data that both take.
    dense : callable or None
        Gives `jacobian` when it is first asked for, where there are sparse Jacobians beside it.
    jacobian_kind : str
        Where the Jacobian comes from, in words.
    exact_kind : str
        Where exact derivatives of `residual` come from, in words.
    second : callable
        Gives the second derivatives, for these parts, when they are first asked for.
    calls_python : bool
        Whether one of the C functions calls Python.
    residual : CompiledResidual or None
        What is called by address without Python.
    called_back : CalledBack or None
        What calls Python.
    table : DifferenceTable or None
        What takes differences.
    evaluations : callable
        Evaluations that Jacobians have taken.
    sparse : SparseSide or None
        Sparse Jacobians.
    sparse_second : callable
        Gives second derivatives as a sparse matrix, for these parts, when they are first asked for, and where they come
        from, in words.
    raises : callable or None
        Raises for a point what a function that failed there raised.
    forget : callable or None
        Forgets values that are kept from one call to the next.
    use_central : callable or None
        Takes central differences for Jacobians from now on, or forward ones again; None where neither is the default.
    is_affine : callable
        Tells whether the Jacobian is known to be constant.
    notes : list of str
        Why derivatives do not come from where they would by default.
    alive : list
        What has to stay in memory.
    """

    values: int
    data: int
    jacobian: int = 0
    dense: Callable[[Parts], int] | None = None
    jacobian_kind: str = ""
    exact_kind: str = ""
    second: Callable[[Parts], SecondDerivatives] = lambda parts: SecondDerivatives()
    calls_python: bool = False
    residual: CompiledResidual | None = None
    called_back: CalledBack | None = None
    table: DifferenceTable | None = None
    evaluations: Callable[[], int] = int
    sparse: SparseSide | None = None
    sparse_second: Callable[[Parts], tuple[WeightedHessian | None, str]] = lambda parts: (None, "")
    raises: Callable[[FloatArray], None] | None = None
    forget: Callable[[], None] | None = None
    use_central: Callable[[bool], None] | None = None
    is_affine: Callable[[], bool] = bool
    notes: list[str] = field(default_factory=list)
    alive: list[Any] = field(default_factory=list)

    @property
    def dense_jacobian(self) -> int:
        """Address of the C function for the dense Jacobian."""
        if not self.jacobian and self.dense is not None:
            self.jacobian = self.dense(self)
        return self.jacobian
