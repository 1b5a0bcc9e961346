"""How well each value of the response is known: standard deviations, a covariance matrix, or weights.

    weights w = 1 / sigma,      covariance C = L L'  (the Cholesky factor whitens:  cov(L^-1 r) = I)

A standard deviation of infinity is a weight of zero: the point stays, and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
GIVE_IT = "give the value, or leave the point out with nan_policy='omit'"
ASYMMETRY = 1e-8  # of the size of the variances: rounding in how the matrix was made


@final
@dataclass(slots=True)
class Scale:
    """Weights or the factor of a covariance.

    Attributes
    ----------
    weights : ndarray, float or None
        One for each value of y in C order (and for a complex y, for real and imaginary part of each), or one for all.
    factor : ndarray, shape (m, m), or None
        Lower Cholesky factor of the covariance of what is not missing.
    missing : ndarray of bool, shape of y
        What was missing in x and y, and what was masked or not a number here.
    """

    weights: Any
    factor: FloatArray | None
    missing: NDArray[np.bool_]


def index_text(wrong: NDArray[np.bool_], origin: tuple[int, ...] = ()) -> str:
    """Return the first true index of `wrong` as it is written in Python, such as ``[3]`` or ``[0, 2]``.

    `origin` is where the first axes of `wrong` begin in the array that the index is for.
    """
    if wrong.ndim == 0:
        return ""
    index = [int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape)]
    begin = [*origin, *[0] * (wrong.ndim - len(origin))]
    return "[" + ", ".join(str(i + first) for i, first in zip(index, begin, strict=True)) + "]"


def read_sigma(sigma: Any, shape: tuple[int, ...], missing: NDArray[np.bool_], is_complex: bool, omit: bool) -> Scale:
    """Read standard deviations (a scalar, one a point, or one a value) or a covariance matrix.

    Raises
    ------
    ValueError
        Naming the first index that is zero, negative or NaN, or that makes a covariance invalid.
    """
    values, masked = _real("sigma", sigma)
    flat_size = missing.size * (2 if is_complex else 1)
    if values.ndim == 2 and values.shape == (flat_size, flat_size) and values.shape != shape:
        gone = missing.ravel()
        gone = np.concatenate((gone, gone)) if is_complex else gone
        return Scale(None, _cholesky_factor(values, ~gone), missing)
    spread = _one_for_each("sigma", values, shape, f"a covariance matrix of shape {(flat_size, flat_size)}")
    known = ~(masked | _like(values, missing))
    if not omit:
        _refuse("sigma", values, np.isnan(values) & known, GIVE_IT)
    _refuse("sigma", values, (values <= 0) & known, "it must be positive; a point without information has inf")
    missing = missing | _spread(np.isnan(values) | masked, shape)
    with np.errstate(divide="ignore"):  # where a value is left out
        return Scale(_per_part(1.0 / spread, values, missing, is_complex), None, missing)


def read_weights(
    weights: Any, shape: tuple[int, ...], missing: NDArray[np.bool_], is_complex: bool, omit: bool
) -> Scale:
    """Read weights: factors of the residuals, a scalar, one a point, or one a value.

    Raises
    ------
    ValueError
        Naming the first index that is negative, infinite or NaN.
    """
    if weights is None:
        return Scale(None, None, missing)
    values, masked = _real("weights", weights)
    spread = _one_for_each("weights", values, shape, "no matrix (a covariance goes to sigma)")
    known = ~(masked | _like(values, missing))
    if not omit:
        _refuse("weights", values, np.isnan(values) & known, GIVE_IT)
    _refuse("weights", values, (values < 0) & known, "it must not be negative; the weights multiply the residuals")
    _refuse("weights", values, np.isinf(values) & known, "it must be finite; choose a large number instead")
    missing = missing | _spread(np.isnan(values) | masked, shape)
    return Scale(_per_part(spread, values, missing, is_complex), None, missing)


def _real(name: str, given: Any) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return an argument as an array of double precision and its mask."""
    if not isinstance(given, np.ndarray) and hasattr(given, "to_numpy"):
        given = given.to_numpy()
    try:
        array = np.asarray(np.ma.getdata(given))
        if array.dtype.kind == "c":
            raise TypeError("complex")
        values = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be real numbers, got {type(given).__name__}.") from error
    return values, np.array(np.ma.getmaskarray(given))


def _one_for_each(name: str, values: FloatArray, shape: tuple[int, ...], otherwise: str) -> FloatArray:
    """Spread values over the shape of y: one for all, one for each point (the first axis), or one for each value."""
    if values.shape not in ((), shape, shape[:1]) and values.size != 1:
        raise ValueError(f"{name} has shape {values.shape}, expected a number, {shape}, {shape[:1]} or {otherwise}.")
    return _spread(values, shape)


def _spread(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), shape)
    return np.broadcast_to(values.reshape(*values.shape, *(1,) * (len(shape) - values.ndim)), shape)


def _like(values: FloatArray, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each of the given values whether all that it belongs to is missing."""
    if values.shape == missing.shape:
        return missing
    if values.ndim == 1 and values.size == missing.shape[0]:
        return np.asarray(missing.reshape(values.size, -1).all(axis=1))
    return np.zeros(values.shape, dtype=bool)


def _refuse(name: str, values: FloatArray, wrong: NDArray[np.bool_], why: str) -> None:
    """Raise ValueError for the first value that is wrong."""
    if wrong.any():
        raise ValueError(f"{name}{index_text(wrong)} is {values.flat[int(np.argmax(wrong))]}; {why}.")


def _per_part(spread: FloatArray, given: FloatArray, missing: NDArray[np.bool_], is_complex: bool) -> Any:
    """Flatten weights, twice for a complex y; a single one stays a number."""
    if given.ndim == 0:
        return float(spread.flat[0])
    flat = np.where(missing, 1.0, spread).ravel()  # whatever stands at a missing value is not used
    return np.repeat(flat, 2) if is_complex else flat


def _cholesky_factor(covariance: FloatArray, keep: NDArray[np.bool_]) -> FloatArray:
    """Return L of the covariance of what is kept."""
    kept = np.flatnonzero(keep)
    part = covariance[np.ix_(kept, kept)]
    wrong = ~np.isfinite(part)
    if wrong.any():
        i, j = (int(kept[k]) for k in np.unravel_index(int(np.argmax(wrong)), part.shape))
        raise ValueError(f"sigma[{i}, {j}] is {covariance[i, j]}; a covariance matrix must be finite.")
    diagonal = part.diagonal()
    if not (diagonal > 0).all():
        i = int(kept[np.argmax(~(diagonal > 0))])
        raise ValueError(f"sigma[{i}, {i}] is {covariance[i, i]}; the variances on the diagonal must be positive.")
    deviations = np.sqrt(diagonal)
    skew = np.abs(part - part.T) > ASYMMETRY * np.outer(deviations, deviations)
    if skew.any():
        i, j = (int(kept[k]) for k in np.unravel_index(int(np.argmax(skew)), part.shape))
        raise ValueError(f"sigma[{i}, {j}] differs from sigma[{j}, {i}]; a covariance matrix is symmetric.")
    try:
        factor = np.linalg.cholesky(part)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "sigma is not positive definite as a covariance matrix; check its correlations, or add a variance to its "
            "diagonal."
        ) from error
    return np.asarray(factor, dtype=np.float64)
