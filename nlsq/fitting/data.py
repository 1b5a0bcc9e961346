"""The data of a fit: predictors, response, weights, and what was left out.

    r_i = w_i (model(x, p) - y)_i      weights w_i = 1 / sigma_i
    r   = L^-1 (model(x, p) - y)       for a covariance matrix  C = L L'

so that the residuals of a right model have unit variance. A response with several outputs a point is flattened in C
order, a complex one becomes its real parts followed by its imaginary parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.sigma import index_text, read_sigma, read_weights

if TYPE_CHECKING:
    from nlsq.fitting.streaming.data import StreamedData

FloatArray = NDArray[np.float64]
NAN_POLICIES = ("raise", "omit")
DOUBLE = np.dtype(np.float64)


@final
@dataclass(slots=True)
class CurveData:
    """Predictors, response and weights, as a fit uses them.

    Attributes
    ----------
    x : object
        Handed to the model.
    y : ndarray, shape (m,)
        Response, flattened, without what was left out.
    shape : tuple of int
        Shape that the model returns.
    weights : ndarray, shape (m,), float or None
        1 / sigma.
    factor : ndarray, shape (m, m), or None
        Lower Cholesky factor L of the covariance of y.
    keep : ndarray of bool or None
        Which of the model's flattened values have a response; None: all.
    complex : bool
        Whether y was complex; m then counts real and imaginary parts.
    omitted : int
        How many values of the response were left out.
    streamed : StreamedData or None
        Where the data are, if they were read block by block: then x is None and y and weights are empty.
    """

    x: Any
    y: FloatArray
    shape: tuple[int, ...]
    weights: Any = None
    factor: FloatArray | None = None
    keep: NDArray[np.bool_] | None = None
    complex: bool = False
    omitted: int = 0
    streamed: StreamedData | None = None

    @property
    def size(self) -> int:
        """Number of residuals."""
        return self.y.size if self.streamed is None else self.streamed.used

    @property
    def informative(self) -> int:
        """Number of residuals that count: those whose weight is not zero."""
        if self.streamed is not None:
            return self.streamed.informative
        if self.weights is None or np.ndim(self.weights) == 0:
            return self.y.size
        return int(np.count_nonzero(self.weights))

    def whole(self) -> CurveData:
        """Return the data as arrays, with copies of what was read block by block.

        Raises
        ------
        ValueError
            If they are not in memory.
        """
        return self if self.streamed is None else self.streamed.whole()

    def flatten(self, value: Any) -> NDArray[Any]:
        """Return what the model returned as a vector that matches y.

        Raises
        ------
        TypeError, ValueError
            If it is no array of numbers of the right shape.
        """
        array = np.asarray(value)
        if array.shape != self.shape:
            if array.ndim and array.size != 1:
                raise ValueError(
                    f"the model returned shape {array.shape}, but y has shape {self.shape}; they must be the same"
                    f"{self._other_lengths()}."
                )
            if value is None:
                raise TypeError("the model returned None; it must return one value for each value of y.")
            array = np.broadcast_to(array.reshape(()), self.shape)
        array = array.ravel()
        if self.complex:
            array = np.concatenate((array.real, array.imag))
        return array if self.keep is None else array[self.keep]

    def _other_lengths(self) -> str:
        """Say that x has another length than y, where it has."""
        for name, part, _ in _parts(self.x):
            if part.ndim == 1 and part.size != self.shape[0]:
                return f" ({name} has length {part.size}, y has length {self.shape[0]})"
        return ""

    def residual(self, value: Any) -> NDArray[Any]:
        """Return the weighted residual for what the model returned, in the precision of the model."""
        if type(value) is np.ndarray and value.shape == self.y.shape and not self.complex and self.keep is None:
            flat = value
        else:
            flat = self.flatten(value)
        residual = self.whiten(flat - self.y)
        if flat.dtype.kind == "f" and flat.dtype.itemsize < DOUBLE.itemsize:
            return residual.astype(flat.dtype)  # so that differences take the steps of that precision
        return residual

    def whiten(self, values: Any) -> NDArray[Any]:
        """Divide a vector (m,) or the rows of a matrix (m, k) by the standard deviations of the data.

        Points of weight zero get zeros, whatever their values are.
        """
        array = np.asarray(values)
        if self.factor is not None:
            from scipy.linalg import solve_triangular

            whitened: NDArray[Any] = solve_triangular(self.factor, array, lower=True, check_finite=False)
            return whitened
        if self.weights is None:
            return array
        weights = self.weights
        if np.ndim(weights) and array.ndim == 2:
            weights = weights[:, np.newaxis]
        if np.ndim(weights) and not weights.all():
            array = np.where(weights != 0.0, array, 0.0).astype(array.dtype, copy=False)
        scaled: NDArray[Any] = array * weights
        return scaled


def read_data(x: Any, y: Any, sigma: Any, weights: Any, nan_policy: str) -> CurveData:
    """Read and check the data of a fit.

    Parameters
    ----------
    x, y, sigma, weights, nan_policy
        As for `nlsq.fitting.fit`.

    Returns
    -------
    CurveData
        With its own copies.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and the first index that is wrong.
    """
    check_choices(sigma, weights, nan_policy)
    response, missing_y = read_response(y)
    points = response.shape[0]
    predictors, missing_x = read_predictors(x, points)
    _refuse_nonfinite(nan_policy, "y", response, missing_y)
    for name, part, masked in _parts(predictors):
        _refuse_nonfinite(nan_policy, name, part, masked_of(missing_x, name, part, masked))
    missing = missing_y | ~np.isfinite(response)
    missing_points, cut = _missing_points(predictors, missing_x, points)
    if missing_points is not None:
        missing |= missing_points.reshape(-1, *(1,) * (response.ndim - 1))
    omit = nan_policy == "omit"
    if sigma is not None:
        scale = read_sigma(sigma, response.shape, missing, np.iscomplexobj(response), omit)
    else:
        scale = read_weights(weights, response.shape, missing, np.iscomplexobj(response), omit)
    return _without(predictors, response, scale.missing, scale, cut)


def check_choices(sigma: Any, weights: Any, nan_policy: str) -> None:
    """Raise ValueError for an unknown policy, and for weights in two forms."""
    if nan_policy not in NAN_POLICIES:
        raise ValueError(f"nan_policy must be 'raise' or 'omit', got {nan_policy!r}.")
    if sigma is not None and weights is not None:
        raise ValueError("sigma and weights are two ways to say the same (weights = 1 / sigma); give one of them.")


def read_response(y: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return y as a float64 or complex128 array of its own, and where it is masked."""
    values = _to_numpy(y)
    array = np.asarray(np.ma.getdata(values))
    if array.dtype.kind not in "fiubc":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"y must be numbers, got an array of {array.dtype}.") from error
    array = np.array(array, dtype=np.complex128 if array.dtype.kind == "c" else np.float64, ndmin=1)
    if array.size == 0:
        raise ValueError("y must not be empty.")
    return array, np.array(np.broadcast_to(np.ma.getmaskarray(values), array.shape))


def read_predictors(x: Any, points: int) -> tuple[Any, Any]:
    """Return x as the model gets it, and the mask of each of its arrays (None where nothing is masked)."""
    if isinstance(x, tuple | list):
        parts = [_to_numpy(part) for part in x]
        if any(isinstance(part, np.ndarray | list | tuple) and np.ndim(part) for part in parts):
            masks = tuple(_mask(part) if isinstance(part, np.ndarray) else None for part in parts)
            return tuple(_as_part(part) for part in parts), masks
        return _as_numbers(np.asarray(parts)), None
    values = _to_numpy(x)
    if isinstance(values, np.ndarray):
        return _as_numbers(np.ma.getdata(values)), _mask(values)
    if hasattr(values, "to_numpy"):
        _refuse_incomplete_table(values)
    return x, None


def _as_part(part: Any) -> Any:
    """Return one of several predictors: an array as numbers, anything else as it is."""
    return _as_numbers(np.ma.getdata(part)) if isinstance(part, np.ndarray | list | tuple) else part


def _refuse_incomplete_table(table: Any) -> None:
    """Raise if a table of numbers, which the model gets as it is, has missing values."""
    array = np.asarray(table.to_numpy())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"x{index_text(~np.isfinite(array))} is missing; drop such rows from x and y before the fit.")


def _to_numpy(values: Any) -> Any:
    """Return a pandas Series (or what looks like one) as an array; anything else as it is."""
    if not isinstance(values, np.ndarray) and hasattr(values, "to_numpy") and getattr(values, "ndim", 0) == 1:
        array = np.asarray(values.to_numpy())
        return array.astype(np.float64) if array.dtype.kind == "O" else array
    return values


def _mask(values: Any) -> NDArray[np.bool_] | None:
    mask = np.ma.getmask(values)
    return None if mask is np.ma.nomask else np.asarray(mask)


def _as_numbers(values: Any) -> NDArray[Any]:
    """Return a copy in double precision; arrays of anything but numbers are handed on as they are."""
    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        return np.array(array, dtype=np.float64)
    return np.array(array, dtype=np.complex128) if array.dtype.kind == "c" else array


def _parts(predictors: Any) -> list[tuple[str, Any, int | None]]:
    """Return the arrays in x, each with its name in messages and its place in a tuple."""
    if isinstance(predictors, tuple):
        return [(f"x[{k}]", part, k) for k, part in enumerate(predictors) if isinstance(part, np.ndarray)]
    return [("x", predictors, None)] if isinstance(predictors, np.ndarray) else []


def masked_of(masks: Any, name: str, part: NDArray[Any], place: int | None) -> NDArray[np.bool_] | None:
    """Return the mask of one of the arrays in x."""
    mask = masks if place is None or masks is None else masks[place]
    return None if mask is None else np.asarray(mask)


def _refuse_nonfinite(nan_policy: str, name: str, array: NDArray[Any], masked: NDArray[np.bool_] | None) -> None:
    """Raise for NaN and infinities where the policy says so; masked values are no matter."""
    if nan_policy != "raise" or array.dtype.kind not in "fc":
        return
    wrong = ~np.isfinite(array)
    if masked is not None:
        wrong &= ~masked
    if wrong.any():
        where = index_text(wrong)
        value = array.flat[int(np.argmax(wrong))]
        raise ValueError(f"{name}{where} is {value}; remove the point, or leave it out with nan_policy='omit'.")


def _missing_points(predictors: Any, masks: Any, points: int) -> tuple[NDArray[np.bool_] | None, bool]:
    """Return the points whose predictors are missing, and whether x can be cut down to a part of its points."""
    parts = _parts(predictors)
    whole = not isinstance(predictors, tuple) or len(parts) == len(predictors)
    if not (parts and whole) or any(part.ndim == 0 or part.shape[-1] != points for _, part, _ in parts):
        for name, part, place in parts:
            masked = masked_of(masks, name, part, place)
            if (part.dtype.kind in "fc" and not np.isfinite(part).all()) or (masked is not None and masked.any()):
                raise ValueError(
                    f"{name} has missing values, and its last axis (shape {part.shape}) does not run over the "
                    f"{points} points of y, so that no point can be left out; clean x before the fit."
                )
        return None, False
    missing = np.zeros(points, dtype=bool)
    for name, part, place in parts:
        wrong = ~np.isfinite(part) if part.dtype.kind in "fc" else np.zeros(part.shape, dtype=bool)
        masked = masked_of(masks, name, part, place)
        if masked is not None:
            wrong |= masked
        missing |= wrong.reshape(-1, points).any(axis=0)
    return missing, True


def _without(predictors: Any, response: NDArray[Any], missing: NDArray[np.bool_], scale: Any, cut: bool) -> CurveData:
    """Leave out what is missing: whole points of x where that is possible, else the values after the model's call."""
    is_complex = np.iscomplexobj(response)
    weights, factor = scale.weights, scale.factor
    omitted = int(np.count_nonzero(missing))
    if omitted == missing.size:
        raise ValueError(f"y has no values left: all {omitted} are missing.")
    keep: NDArray[np.bool_] | None = None
    if omitted and cut:
        points = ~missing.reshape(missing.shape[0], -1).all(axis=1)
        if not points.all():
            predictors = (
                tuple(part[..., points] for part in predictors)
                if isinstance(predictors, tuple)
                else predictors[..., points]
            )
            response, missing = response[points], missing[points]
            if np.ndim(weights):
                weights = weights.reshape(points.size, -1)[points].ravel()
    shape, flat, gone = response.shape, response.ravel(), missing.ravel()
    if is_complex:
        flat, gone = np.concatenate((flat.real, flat.imag)), np.concatenate((gone, gone))
        if np.ndim(weights):
            weights = weights.reshape(-1, 2).T.ravel()
    if gone.any():
        keep = ~gone
        flat = flat[keep]
        weights = weights[keep] if np.ndim(weights) else weights
    return CurveData(predictors, np.ascontiguousarray(flat), shape, weights, factor, keep, is_complex, omitted)
