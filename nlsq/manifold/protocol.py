"""What a problem asks of a manifold."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Manifold", "checked_blocks", "checked_unit", "refuse"]

FloatArray = NDArray[np.float64]

TOLERANCE = 1e-6  # of a deviation from the manifold that is taken for rounding and removed


class Manifold(Protocol):
    """A set of points in R^size with `tangent_size` degrees of freedom, and steps on it.

    Attributes
    ----------
    size : int
        Numbers of a point.
    tangent_size : int
        Numbers of a step.
    name : str
        What reports call it.
    """

    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def tangent_size(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102

    def plus(self, x: FloatArray, step: FloatArray, out: FloatArray) -> None:
        """Take a step from each point.

        Parameters
        ----------
        x : ndarray, shape (B, size)
            Points; all arrays are contiguous.
        step : ndarray, shape (B, tangent_size)
            Steps; 0 stays.
        out : ndarray, shape (B, size)
            Where the points come to; may be `x`.
        """
        ...

    def plus_jacobian(self, x: FloatArray, seeds_out: FloatArray) -> None:
        """Differentiate `plus` with respect to the step, at step 0.

        Parameters
        ----------
        x : ndarray, shape (B, size)
            Points.
        seeds_out : ndarray, shape (B, size, tangent_size)
            The derivatives.
        """
        ...

    def validate(self, values: ArrayLike) -> FloatArray:
        """Return a copy of points with what deviates by rounding put onto the manifold.

        Raises
        ------
        ValueError
            If a point is not on the manifold; the message names it.
        """
        ...


def checked_blocks(values: ArrayLike, size: int, name: str) -> FloatArray:
    """Copy points into an array ``(B, size)`` of finite numbers."""
    points = np.array(values, dtype=np.float64, order="C", ndmin=2)
    if points.ndim != 2 or points.shape[1] != size:
        raise ValueError(f"points of {name} have {size} numbers each, got values of shape {np.shape(values)}.")
    refuse(np.logical_not(np.isfinite(points).all(axis=1)), name, lambda b: "has numbers that are not finite")
    return points


def refuse(wrong: NDArray[np.bool_], name: str, complaint: Any) -> None:
    """Raise ValueError for the first block that is wrong."""
    if wrong.any():
        b = int(np.argmax(wrong))
        raise ValueError(f"block {b} of {name} {complaint(b)}.")


def checked_unit(points: FloatArray, name: str, what: str) -> FloatArray:
    """Divide vectors by their norms, which must be 1 up to rounding."""
    norms = np.linalg.norm(points, axis=1)
    refuse(np.abs(norms - 1.0) > TOLERANCE, name, lambda b: f"has {what} of norm {norms[b]:.9g}: divide it by its norm")
    normalised: FloatArray = points / norms[:, np.newaxis]
    return normalised
