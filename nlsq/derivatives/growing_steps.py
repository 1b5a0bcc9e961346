"""Steps of forward differences that remember how long they had to be.

The steps are those of `nlsq.derivatives.steps`. One that is lost in rounding becomes longer, as in the dense
estimators, and stays so: a parameter that a function is linear in costs more at the first point only. A longer step
that leads to where the function is no number is forgotten.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.steps import LOST, StepSizes, forward_fit

__all__ = ["MAX_GROWTHS", "THRESHOLD", "GrowingSteps"]

BoolArray = NDArray[np.bool_]

THRESHOLD = LOST * float(np.finfo(np.float64).eps)  # relative differences below it are lost
MAX_GROWTHS = 4  # as in the dense estimators


@final
class GrowingSteps:
    """Steps of one problem.

    Parameters
    ----------
    x0 : ndarray, shape (n,)
        Start.
    lower, upper, scale : array_like or None
        Bounds, and sizes of the parameters.
    """

    __slots__ = ("_grown", "_sizes", "fixed")

    def __init__(
        self, x0: FloatArray, lower: ArrayLike | None, upper: ArrayLike | None, scale: ArrayLike | None
    ) -> None:
        self._sizes = StepSizes("forward", x0, lower=lower, upper=upper, scale=scale)
        self.fixed = self._sizes.fixed
        self._grown = np.zeros(x0.size)

    def moved(self, x: FloatArray) -> FloatArray:
        """Return x_j + h_j for every parameter; x_j where it cannot move."""
        first = np.asarray(self._sizes.stencil(x).first)
        lower, upper = self._sizes.lower, self._sizes.upper
        longer = np.abs(first - x) < self._grown
        if longer.any():
            h = np.copysign(self._grown, x + 0.0)
            first = np.where(longer, np.clip(x + forward_fit(x, h, lower, upper), lower, upper), first)
        return first

    def again(
        self, x: FloatArray, moved: FloatArray, lost: BoolArray, broken: BoolArray, attempt: int
    ) -> NDArray[np.intp]:
        """Change the steps of parameters whose differences say nothing, and return which these are.

        Parameters
        ----------
        x, moved : ndarray, shape (n,)
            Point, and the parameters with their steps.
        lost, broken : ndarray of bool, shape (n,)
            Whose differences are below rounding, and whose are no numbers where v(x) is: if a step was remembered, it
            is forgotten.
        attempt : int
            How often steps have been changed at this point.
        """
        sizes, width = self._sizes, np.abs(moved - x)
        forget = broken & (self._grown > 0.0) & (attempt == 0)
        self._grown[forget] = 0.0
        room = np.maximum(sizes.upper - x, x - sizes.lower)
        limit = np.minimum(sizes.relative * np.maximum(np.maximum(np.abs(x), sizes.sizes.scale), 1.0), room)
        can = lost & (width < 0.5 * limit) & ~self.fixed & (attempt < MAX_GROWTHS)
        longer = limit if attempt == MAX_GROWTHS - 1 else np.minimum(width * (sizes.relative / THRESHOLD), limit)
        self._grown[can] = longer[can]
        return np.flatnonzero(can | forget)
