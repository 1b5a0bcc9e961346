r"""A collection of residual functions r(p) in plain numpy, and of functions that no tracer may touch.

====================== =====================================================================================
module                 contents
====================== =====================================================================================
``equation_residuals`` systems of equations, most of any dimension: slices, loops, sums, matrices, grids
``fit_residuals``      fits to data in the forms that users write, regularised fits, geometry
``untraceable``        functions with branches on values, state, side effects or chance: `NOT_TRACEABLE`
====================== =====================================================================================

The families of the first two say what a case is about: ``"small"``, ``"slices"``, ``"loops"``, ``"reductions"``,
``"matrices"``, ``"grids"``, ``"data"``, ``"parameters"``, ``"result"``, ``"regularised"``, ``"geometry"``, and
``"math"`` for the functions of Python's `math` on values of p, which a tracer may refuse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .equation_residuals import EQUATION_RESIDUALS
from .fit_residuals import FIT_RESIDUALS
from .untraceable import NOT_TRACEABLE, UntraceableCase

__all__ = ["NOT_TRACEABLE", "RESIDUAL_CASES", "ResidualCase", "UntraceableCase"]


@dataclass(frozen=True, eq=False)
class ResidualCase:
    """One residual function with a start.

    Attributes
    ----------
    name : str
        Name of the case, unique in `RESIDUAL_CASES`.
    function : callable
        ``function(p) -> sequence of m numbers``; an array, except where the case is about lists or tuples.
    x0 : ndarray, shape (n,)
        A start; read-only, and all residuals there are finite.
    m : int
        Number of residuals.
    family : str
        What the case is about.
    """

    name: str
    function: Callable[[np.ndarray], Any]
    x0: np.ndarray
    m: int
    family: str

    @property
    def n(self):
        """Number of parameters."""
        return self.x0.size


def _case(name, function, x0, m, family):
    """Return the case with a start that cannot be written to."""
    start = np.array(x0, dtype=float)
    start.flags.writeable = False
    return ResidualCase(name, function, start, m, family)


RESIDUAL_CASES = tuple(_case(*entry) for entry in (*EQUATION_RESIDUALS, *FIT_RESIDUALS))
