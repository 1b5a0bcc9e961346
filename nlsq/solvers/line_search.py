"""How far to go along a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.kernels import layout


@final
@dataclass(frozen=True, kw_only=True)
class LineSearch:
    """Backtracking to Armijo's reduction, with a parabola for the next length (Nocedal and Wright 2006.

    Sections 3.1 and 3.5).
    """

    def write(self, w: Any, iw: Any) -> None:
        """Put the choice into a workspace."""
        iw[layout.SEARCH_RULE] = layout.SEARCH_ARMIJO


@final
@dataclass(frozen=True, kw_only=True)
class FixedLength:
    """The same step length always.

    Parameters
    ----------
    length : float
        alpha > 0.
    """

    length: float

    def __post_init__(self) -> None:
        """Validate."""
        if not 0.0 < self.length < float("inf"):
            raise ValueError(f"length must be positive and finite, got {self.length!r}.")

    def write(self, w: Any, iw: Any) -> None:
        """Put the choice into a workspace."""
        iw[layout.SEARCH_RULE] = layout.SEARCH_FIXED
        w[layout.FIXED_LENGTH] = self.length
