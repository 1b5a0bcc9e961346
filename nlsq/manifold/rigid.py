"""Rigid motions of the plane and of space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels import manifold as kernels
from nlsq.kernels.backend import handle
from nlsq.manifold.protocol import checked_blocks, checked_unit

__all__ = ["SE2", "SE3"]

FloatArray = NDArray[np.float64]


@final
@dataclass(frozen=True)
class SE2:
    """Motions of the plane as ``(x, y, angle)``; a step is ``(u, v, omega)`` in the moved frame.

    ``plus(X, d) = X Exp(d)``: the translation turns with half the step's angle, as along a circle. Angles are in
    radians and are not wrapped, so that residuals that read them do not jump.

    References
    ----------
    .. [1] J. Sola, J. Deray and D. Atchuthan, "A micro Lie theory for state estimation in robotics",
       arXiv:1812.01537, 2018, appendix C.
    """

    size: ClassVar[int] = 3
    tangent_size: ClassVar[int] = 3
    name: ClassVar[str] = "SE2"

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point; see `Manifold.plus`."""
        kernels.se2_plus.entry()(handle(x.reshape(-1)), handle(step.reshape(-1)), len(x), handle(out.reshape(-1)))

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` at step 0; see `Manifold.plus_jacobian`."""
        kernels.se2_plus_jacobian.entry()(handle(x.reshape(-1)), len(x), handle(seeds_out.reshape(-1)))

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy of finite values; see `Manifold.validate`."""
        return checked_blocks(values, self.size, self.name)


@final
@dataclass(frozen=True)
class SE3:
    """Rigid motions as ``(t, q)``: three numbers of translation, a unit quaternion ``(x, y, z, w)``.

    A step is ``(u, omega)``, translation and rotation vector in the moved frame, and
    ``plus((t, q), (u, omega)) = (t + R V(omega) u, q * exp(omega))``.

    References
    ----------
    .. [1] J. Sola, J. Deray and D. Atchuthan, "A micro Lie theory for state estimation in robotics",
       arXiv:1812.01537, 2018, appendix D.
    """

    size: ClassVar[int] = 7
    tangent_size: ClassVar[int] = 6
    name: ClassVar[str] = "SE3"

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point; see `Manifold.plus`."""
        kernels.se3_plus.entry()(handle(x.reshape(-1)), handle(step.reshape(-1)), len(x), handle(out.reshape(-1)))

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` at step 0; see `Manifold.plus_jacobian`."""
        kernels.se3_plus_jacobian.entry()(handle(x.reshape(-1)), len(x), handle(seeds_out.reshape(-1)))

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy with quaternions of norm 1; see `Manifold.validate`."""
        points = checked_blocks(values, self.size, self.name)
        points[:, 3:] = checked_unit(points[:, 3:], self.name, "a quaternion")
        return points
