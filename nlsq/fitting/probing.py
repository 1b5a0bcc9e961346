"""An x for models before there are data."""

from __future__ import annotations

from typing import Any

import numpy as np

PROBE = 64  # points of the x that a model is traced on ahead of its data


def as_doubles(x: Any) -> Any:
    """Return x with its arrays as contiguous float64."""
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x, dtype=np.float64)
    return type(x)(np.ascontiguousarray(row, dtype=np.float64) for row in x)


def probe(variables: int = 1) -> Any:
    """Return an x to trace a model on before there are data."""
    row = np.linspace(0.5, 1.5, PROBE)
    return row if variables == 1 else np.stack([row] * variables)
