"""What a `Model` and its makers do not take, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def refusal_of_solve(model: Any, x: Any, y: Any, start: NDArray[np.float64], weights: Any) -> TypeError | ValueError:
    """Say why a solve was not possible."""
    if model.nlsq_route.reason:
        return TypeError(f"{model!r} cannot be solved by its kernels: {model.nlsq_route.reason}.")
    for name, array in (("x", x), ("y", y), ("p0", start), ("weights", weights)):
        if array is None:
            continue
        if type(array) is not np.ndarray or array.dtype != np.float64 or not array.flags.c_contiguous:
            return ValueError(f"{name} must be a contiguous float64 array; use np.ascontiguousarray({name}, float).")
        if name != "p0" and not np.isfinite(array).all():
            place = int(np.argmin(np.isfinite(array)))
            return ValueError(f"{name} has an entry that is not finite at index {place}.")
    return ValueError(
        f"shapes do not fit: x {np.shape(x)}, y {np.shape(y)}, p0 {start.shape}, "
        f"weights {None if weights is None else np.shape(weights)}; expected (m,), (m,), ({model.n},), (m,)."
    )


def check_meant(model: Any, x: Any = None, y: Any = None, weights: Any = None, n: Any = None) -> None:
    """Refuse data for a residual, and a number of parameters for a model."""
    if model.kind == "model":
        if n is not None:
            raise TypeError(f"n is for residuals, but {model!r} is a model, whose parameters are known.")
        return
    for name, given in (("x", x), ("y", y), ("weights", weights)):
        if given is not None:
            raise TypeError(f"{name} is for models, but {model!r} is a residual, which has no data.")


def check_kind(function: Any, kind: str) -> None:
    """Refuse what was made as another kind."""
    if function.kind != kind:
        raise ValueError(f"kind is {kind!r}, but {function!r} was made as a {function.kind}.")


def check_remade(model: Any, names: Any, variables: int) -> None:
    """Refuse names and variables of a model that was made with its own."""
    check_kind(model, "model")
    if names is not None and tuple(names) != model.names:
        raise ValueError(f"names are those that {model!r} was made with; make it anew from its function.")
    if variables != 1:
        raise ValueError(f"variables are those that {model!r} was made with; make it anew from its function.")
