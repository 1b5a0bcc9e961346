"""How Levenberg-Marquardt damps its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.kernels import layout


@final
@dataclass(frozen=True, kw_only=True)
class MoreRadius:
    """Steps within the ellipsoid ``|D p| <= radius`` (More 1978).

    Parameters
    ----------
    factor : float
        First radius over ``|D x0|``. Default 100 (MINPACK).
    """

    factor: float = 100.0

    def __post_init__(self) -> None:
        """Validate."""
        if not 0.0 < self.factor < float("inf"):
            raise ValueError(f"factor must be positive and finite, got {self.factor!r}.")

    def write(self, w: Any, iw: Any) -> None:
        """Put the choice into a workspace."""
        iw[layout.DAMPING_RULE] = layout.DAMPING_RADIUS
        w[layout.FACTOR] = self.factor


@final
@dataclass(frozen=True, kw_only=True)
class Nielsen:
    """Damping lambda adapted by the gain ratio (Nielsen 1999): ``(J'J + lambda D^2) p = -J'r``."""

    def write(self, w: Any, iw: Any) -> None:
        """Put the choice into a workspace."""
        iw[layout.DAMPING_RULE] = layout.DAMPING_NIELSEN
        w[layout.FACTOR] = 1.0
