"""What estimators hand to kernels that call the residual by address."""

from __future__ import annotations

from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.steps import StepSizes
from nlsq.kernels import layout


def write_bounds(w: FloatArray, sizes: StepSizes) -> None:
    """Put the bounds, which steps must not leave, into a workspace."""
    n = sizes.lower.size
    for index, bound in ((layout.LOWER, sizes.lower), (layout.UPPER, sizes.upper)):
        start = layout.vector_offset(n, index)
        w[start : start + n] = bound
