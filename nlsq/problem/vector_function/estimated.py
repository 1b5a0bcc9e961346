"""Jacobians that Python estimates: complex steps, differences with steps of the user's, coloured differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.pattern_check import MissingEntryError
from nlsq.problem.vector_function.values import values_of

FloatArray = NDArray[np.float64]
RESIDUAL = "residual"  # the name of the function that needs none


@final
class Estimated:
    """Values of a function, and its Jacobian by an estimator.

    Parameters
    ----------
    name : str
        What messages call the function.
    function : callable
        ``x (n,) -> c (m,)``.
    m : int
        Number of values.
    prepared : PreparedJacobian
        Of this function.
    evaluations : int
        Of the function, that preparing took.

    Attributes
    ----------
    evaluations : int
        Of the function, for Jacobians.
    """

    __slots__ = ("_function", "_last", "_m", "_name", "_prepared", "evaluations")

    def __init__(
        self, name: str, function: Callable[[FloatArray], Any], m: int, prepared: Any, evaluations: int = 0
    ) -> None:
        self._name, self._function, self._m, self._prepared = name, function, m, prepared
        self._last: tuple[FloatArray, FloatArray] | None = None
        self.evaluations = evaluations

    @property
    def pattern(self) -> Any:
        """Pattern of the Jacobian; None where it is dense."""
        return self._prepared.pattern

    def know(self, x: FloatArray, values: FloatArray) -> None:
        """Keep values that are known at a point."""
        self._last = x.copy(), values.copy()

    def use(self, prepared: Any) -> None:
        """Estimate by another estimator, of the same function and pattern, from now on."""
        self._prepared = prepared

    def forget(self) -> None:
        """Know no values any more."""
        self._last = None

    def values(self, x: FloatArray) -> FloatArray:
        """Evaluate the function and keep point and values."""
        values = values_of(self._function(x.copy()), self._m, self._name).astype(np.float64)
        self._last = x.copy(), values
        return values

    def jacobian(self, x: FloatArray) -> Any:
        """Estimate the Jacobian; where its pattern lacks an entry the error names the function."""
        if self._last is None or not np.array_equal(self._last[0], x):
            self.evaluations += 1
            self.values(x)
        assert self._last is not None
        try:
            jac = self._prepared.evaluate(x, self._last[1], None)
        except MissingEntryError as error:
            if self._name == RESIDUAL:
                raise
            raise MissingEntryError(error.row, error.column, self._name) from None
        self.evaluations += self._prepared.residual_calls
        return jac


@final
class Counting:
    """A function that counts its calls.

    Parameters
    ----------
    function : callable
        ``x -> c``.

    Attributes
    ----------
    calls : int
        How often it was called.
    """

    __slots__ = ("_function", "calls")

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function, self.calls = function, 0

    def __call__(self, x: Any) -> Any:
        """Call the function."""
        self.calls += 1
        return self._function(x)
