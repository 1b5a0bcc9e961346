"""Calling a kernel from Python with arrays where it takes pointers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlsq.kernels.backend import Kernel, handle

__all__ = ["run_kernel"]


def run_kernel(kernel: Kernel, *arguments: Any) -> Any:
    """Call a kernel; other threads go on meanwhile.

    Parameters
    ----------
    kernel : Kernel
        What to call.
    *arguments : ndarray, int or float
        Contiguous arrays of float64 or int64 in place of pointers, and numbers.

    Returns
    -------
    int, float or None
        What the kernel returns.
    """
    flat = (a.reshape(-1) if isinstance(a, np.ndarray) else a for a in arguments)
    return kernel.entry(release_gil=True)(*(handle(a) if isinstance(a, np.ndarray) else a for a in flat))
