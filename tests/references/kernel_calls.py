"""How the tests call a kernel: compiled through its entry, or its source as plain Python."""

import numpy as np

from nlsq.kernels.backend import handle

MODES = ("compiled", "python")


def call(kernel, mode, *arguments):
    """Call `kernel` with arrays where it takes pointers."""
    if mode == "python":
        with np.errstate(all="ignore"):
            return kernel(*arguments)
    return kernel.entry()(*(handle(a) if isinstance(a, np.ndarray) else a for a in arguments))
