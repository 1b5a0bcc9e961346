"""Directions: unit vectors of any dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels import manifold as kernels
from nlsq.kernels.backend import handle
from nlsq.manifold.protocol import checked_blocks, checked_unit

__all__ = ["Sphere"]

FloatArray = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Sphere:
    """Unit vectors of R^dimension; a step goes along a great circle.

    Parameters
    ----------
    dimension : int
        Numbers of a vector, at least 2; a step has one less.

    References
    ----------
    .. [1] C. Hertzberg, R. Wagner, U. Frese and L. Schroeder, "Integrating generic sensor fusion algorithms with sound
       state representations through encapsulation of manifolds", Information Fusion 14(1), 2013, appendix B.
    """

    dimension: int

    def __post_init__(self) -> None:
        """Validate."""
        if self.dimension < 2:
            raise ValueError(f"dimension must be at least 2, got {self.dimension}.")

    @property
    def size(self) -> int:
        """Numbers of a point."""
        return self.dimension

    @property
    def tangent_size(self) -> int:
        """Numbers of a step."""
        return self.dimension - 1

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"Sphere({self.dimension})"

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point; see `Manifold.plus`."""
        kernels.sphere_plus.entry()(
            handle(x.reshape(-1)), handle(step.reshape(-1)), len(x), self.dimension, handle(out.reshape(-1))
        )

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` at step 0; see `Manifold.plus_jacobian`."""
        kernels.sphere_plus_jacobian.entry()(
            handle(x.reshape(-1)), len(x), self.dimension, handle(seeds_out.reshape(-1))
        )

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy with norms 1; see `Manifold.validate`."""
        return checked_unit(checked_blocks(values, self.size, self.name), self.name, "a vector")
