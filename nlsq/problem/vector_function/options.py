"""What was asked for of a function: derivatives, pattern, steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference
from nlsq.derivatives.steps import StepSizes, machine_epsilon

FloatArray = NDArray[np.float64]
SCHEMES = ("2-point", "3-point", "cs")


@final
@dataclass(slots=True)
class Options:
    """Arguments of `vector_function`, which says what they mean; `sparsity` becomes a pattern.

    Attributes
    ----------
    detects : bool
        Whether the pattern is still to be found.
    detection_evaluations : int
        Evaluations of the function that this took.
    """

    name: str
    n: int
    x0: FloatArray
    jac: Any
    hess: Any
    sparsity: Any
    lower: Any
    upper: Any
    scale: Any
    args: tuple[Any, ...]
    detects: bool = False
    detection_evaluations: int = 0

    def __post_init__(self) -> None:
        """Validate."""
        jac = self.jac
        if isinstance(jac, str) and jac not in SCHEMES:
            names = ", ".join(map(repr, SCHEMES))
            raise ValueError(f"{self.name}: jac must be callable, an estimator or one of {names}, got {jac!r}.")
        if not (jac is None or isinstance(jac, str) or callable(jac) or hasattr(jac, "prepare")):
            raise TypeError(f"{self.name}: jac must be callable, an estimator or a string, got {type(jac).__name__}.")
        if isinstance(self.sparsity, str):
            if self.sparsity != "auto":
                raise ValueError(f"{self.name}: sparsity must be 'auto' or a pattern, got {self.sparsity!r}.")
            self.detects, self.sparsity = True, None
        elif self.sparsity is not None:
            from nlsq.pattern import SparsityPattern

            self.sparsity = SparsityPattern.from_matrix(self.sparsity)

    @property
    def given_jacobian(self) -> Callable[..., Any] | None:
        """The user's Jacobian as a function of x alone."""
        if isinstance(self.jac, str) or not callable(self.jac) or hasattr(self.jac, "prepare"):
            return None
        return with_arguments(self.jac, self.args)

    @property
    def given_hessian(self) -> Callable[..., Any] | None:
        """The user's second derivatives as a function of x and weights."""
        hess = self.hess
        if not callable(hess) or isinstance(hess, type) or hasattr(hess, "initialize"):  # SciPy's update strategies
            return None
        if not self.args:
            return hess  # type: ignore[no-any-return]
        args = self.args
        return lambda x, v: hess(x, v, *args)

    @property
    def estimator(self) -> Any:
        """The estimator that `jac` is or names, where Python has to estimate; None where kernels can."""
        if hasattr(self.jac, "prepare"):
            return self.jac
        return ComplexStep() if self.jac == "cs" else None

    @property
    def differences(self) -> Any:
        """The estimator of the differences that `jac` names, or that are the default."""
        return CentralDifference() if self.jac == "3-point" else ForwardDifference()

    @property
    def kind(self) -> str:
        """What an estimated Jacobian is called."""
        if isinstance(self.jac, str):
            return self.jac
        names = {"ForwardDifference": "2-point", "CentralDifference": "3-point", "ComplexStep": "cs"}
        return names.get(type(self.jac).__name__, "estimated") if self.jac is not None else "2-point"

    @property
    def sizes_given(self) -> Any:
        """Sizes of the parameters that the user gave; None where there are none."""
        return None if isinstance(self.scale, str) else self.scale

    def sizes(self, dtype: Any = None, central: bool = False) -> StepSizes:
        """Return steps of differences for values of a precision: those asked for, or central ones."""
        scheme: Any = "central" if central or self.jac == "3-point" else "forward"
        eps = machine_epsilon(dtype)
        return StepSizes(scheme, self.x0, lower=self.lower, upper=self.upper, scale=self.scale, eps=eps)

    def prepared(self, estimator: Any, function: Any, m: int, dtype: Any = None) -> Any:
        """Prepare an estimator, for a sparse Jacobian where there is a pattern."""
        options = {"lower": self.lower, "upper": self.upper, "scale": self.scale, "dtype": dtype}
        if self.sparsity is None:
            return estimator.prepare(function, self.x0, m, **options)
        from nlsq.derivatives import Colored

        return Colored(estimator, self.sparsity).prepare(function, self.x0, m, **options)

    @property
    def wants_sparse(self) -> bool:
        """Whether Jacobians are to be sparse, however many parameters there are."""
        return self.detects or self.sparsity is not None

    def settle_pattern(self, function: Any, m: int) -> None:
        """Find the pattern where that is asked for; raise ValueError unless it has the shape of the Jacobian."""
        if self.detects:
            from nlsq.derivatives import detect_sparsity

            low = -np.inf if self.lower is None else self.lower
            high = np.inf if self.upper is None else self.upper
            found = detect_sparsity(function, self.x0, bounds=(low, high))
            self.detects, self.sparsity = False, found.pattern
            self.detection_evaluations = found.evaluations
        if self.sparsity is not None and self.sparsity.shape != (m, self.n):
            shape = self.sparsity.shape
            raise ValueError(f"{self.name}: the sparsity pattern has shape {shape}, expected {(m, self.n)}.")


def with_arguments(function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    """Return a function of x alone."""
    return function if not args else lambda x: function(x, *args)
