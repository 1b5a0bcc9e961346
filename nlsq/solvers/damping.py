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
    """Damping lambda adapted by the gain ratio (Nielsen 1999): ``(J'J + lambda D^2) p = -J'r``.

    Parameters
    ----------
    first : float
        First lambda, by the largest diagonal entry of ``D^-1 J'J D^-1``, which is 1 where D holds the column norms.
        Default 1e-3 (Nielsen's tau); near a Gauss-Newton step, as pose graphs like it, 1e-6 or less.
    power : int
        p in ``lambda <- lambda max(1/3, 1 - (2 gain ratio - 1)^p)``, odd. Default 3 (Nielsen); with 1 the damping falls
        sooner after steps that go fairly well.
    """

    first: float = 1e-3
    power: int = 3

    def __post_init__(self) -> None:
        """Validate."""
        if not 0.0 < self.first < float("inf"):
            raise ValueError(f"first must be positive and finite, got {self.first!r}.")
        if not (self.power >= 1 and self.power % 2 == 1):
            raise ValueError(f"power must be odd and positive, got {self.power!r}.")

    def write(self, w: Any, iw: Any) -> None:
        """Put the choice into a workspace."""
        iw[layout.DAMPING_RULE] = layout.DAMPING_NIELSEN
        w[layout.FACTOR] = 1.0
        w[layout.FIRST_DAMPING] = self.first
        iw[layout.DAMPING_POWER] = self.power
