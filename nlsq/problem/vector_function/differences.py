"""The table through which kernels evaluate a function and its Jacobian (`nlsq.kernels.vector_difference`)."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.steps import StepSizes
from nlsq.kernels import vector_difference as places
from nlsq.kernels.backend import address_of_array, address_of_kernel

FloatArray = NDArray[np.float64]


@final
class DifferenceTable:
    """Values, and exact or difference Jacobian, of a function called by address.

    Parameters
    ----------
    function, data : int
        Addresses of the C function and its data.
    m, n : int
        Numbers of values and parameters.
    sizes : StepSizes
        Steps and bounds of the differences, forward or central.
    exact : int
        Address of the exact transposed Jacobian; 0 where there is none.

    Attributes
    ----------
    values_address, jacobian_address, data_address : int
        Of C functions that take the table for their data.
    """

    __slots__ = ("_numbers", "_table", "data_address", "jacobian_address", "n", "values_address")

    def __init__(self, function: int, data: int, m: int, n: int, sizes: StepSizes, exact: int = 0) -> None:
        self.n = n
        self._numbers = np.zeros(1 + places.OF_PARAMETERS * n + places.OF_ROWS * m)
        table = self._table = np.zeros(places.TABLE, dtype=np.int64)
        table[places.FUNCTION], table[places.DATA], table[places.EXACT] = function, data, exact
        table[places.ROWS], table[places.COLUMNS] = m, n
        self.take_steps(sizes)
        table[places.NUMBERS] = address_of_array(self._numbers)
        self.data_address = address_of_array(table)
        if exact == 0:  # else it is seldom called, and compiled only then
            address_of_kernel(places.difference_column)
        self.values_address = address_of_kernel(places.known_values)
        self.jacobian_address = address_of_kernel(places.jacobian_at)

    def take_steps(self, sizes: StepSizes) -> None:
        """Take differences of these steps from now on, forward or central."""
        self._numbers[0] = sizes.relative
        for index, vector in (
            (places.LOWER, sizes.lower),
            (places.UPPER, sizes.upper),
            (places.SMALL, sizes.sizes.typical),
            (places.AT_ZERO, sizes.sizes.at_zero),
            (places.LARGE, sizes.sizes.scale),
        ):
            self._vector(index)[:] = vector
        self._table[places.CENTRAL] = sizes.scheme == "central"

    @property
    def evaluations(self) -> int:
        """Evaluations that Jacobians have taken."""
        return int(self._table[places.EVALUATIONS])

    @property
    def failed_at(self) -> FloatArray | None:
        """The point of a difference at which the function failed last; None where it failed elsewhere."""
        return self._vector(places.POINT).copy() if self._table[places.FAILED_BESIDE] else None

    def know(self, x: FloatArray, values: FloatArray) -> None:
        """Keep values that are known at a point."""
        first = 1 + places.OF_PARAMETERS * self.n
        self._vector(places.LAST)[:] = x
        self._numbers[first : first + values.size] = values
        self._table[places.IS_KEPT] = 1

    def forget(self) -> None:
        """Know no values any more."""
        self._table[places.IS_KEPT] = 0

    def _vector(self, index: int) -> Any:
        start = 1 + index * self.n
        return self._numbers[start : start + self.n]
