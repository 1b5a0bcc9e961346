"""Rotations in space, as unit quaternions or as matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels import manifold as kernels
from nlsq.kernels.backend import handle
from nlsq.manifold.protocol import TOLERANCE, checked_blocks, checked_unit, refuse

__all__ = ["SO3", "UnitQuaternion"]

FloatArray = NDArray[np.float64]

SO3_WORK = 35


@final
@dataclass(frozen=True)
class UnitQuaternion:
    """Rotations as unit quaternions ``(x, y, z, w)``; a step is a rotation vector in radians.

    ``plus(q, omega) = q * exp(omega)``: the step is taken in the rotated frame.

    References
    ----------
    .. [1] J. Sola, J. Deray and D. Atchuthan, "A micro Lie theory for state estimation in robotics",
       arXiv:1812.01537, 2018, appendix B.
    """

    size: ClassVar[int] = 4
    tangent_size: ClassVar[int] = 3
    name: ClassVar[str] = "UnitQuaternion"

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point; see `Manifold.plus`."""
        kernels.quaternion_plus.entry()(
            handle(x.reshape(-1)), handle(step.reshape(-1)), len(x), handle(out.reshape(-1))
        )

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` at step 0; see `Manifold.plus_jacobian`."""
        kernels.quaternion_plus_jacobian.entry()(handle(x.reshape(-1)), len(x), handle(seeds_out.reshape(-1)))

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy with norms 1; see `Manifold.validate`."""
        return checked_unit(checked_blocks(values, self.size, self.name), self.name, "a quaternion")


@final
@dataclass(frozen=True)
class SO3:
    """Rotations as matrices, nine numbers row by row; a step is a rotation vector in radians.

    ``plus(R, omega) = R exp([omega])``: the step is taken in the rotated frame.

    References
    ----------
    .. [1] J. Sola, J. Deray and D. Atchuthan, "A micro Lie theory for state estimation in robotics",
       arXiv:1812.01537, 2018, appendix B.
    """

    size: ClassVar[int] = 9
    tangent_size: ClassVar[int] = 3
    name: ClassVar[str] = "SO3"

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point; see `Manifold.plus`."""
        work = np.empty(SO3_WORK)
        kernels.so3_plus.entry()(
            handle(x.reshape(-1)), handle(step.reshape(-1)), len(x), handle(work), handle(out.reshape(-1))
        )

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` at step 0; see `Manifold.plus_jacobian`."""
        kernels.so3_plus_jacobian.entry()(handle(x.reshape(-1)), len(x), handle(seeds_out.reshape(-1)))

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy with the nearest rotations; see `Manifold.validate`."""
        points = checked_blocks(values, self.size, self.name)
        matrices = points.reshape(-1, 3, 3)
        deviation = np.abs(matrices.transpose(0, 2, 1) @ matrices - np.eye(3)).max(axis=(1, 2))
        refuse(deviation > TOLERANCE, self.name, lambda b: f"is not orthogonal: |R'R - I| is {deviation[b]:.3g}")
        refuse(np.linalg.det(matrices) < 0.0, self.name, lambda b: "is a reflection: its determinant is -1")
        left, _, right = np.linalg.svd(matrices)
        return np.ascontiguousarray((left @ right).reshape(-1, 9))
