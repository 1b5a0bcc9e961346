"""Where NumPy keeps an array's fields: what kernels that read array objects rely on, and whether it is so here."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

WORD = ctypes.sizeof(ctypes.c_ssize_t)


@cache
def header_words() -> int:
    """Return how many words of an object come before its own fields; 0 where arrays are laid out in another way.

    A probe array is looked at: data, number of axes, lengths, strides, base, type and flags must stand where NumPy's C
    interface has them.
    """
    if WORD != 8 or np.lib.NumpyVersion(np.__version__) < "1.26.0":
        return 0
    words = object.__basicsize__ // WORD
    owner = np.zeros((3, 5))
    probe = owner[1:, :4]
    fields = (ctypes.c_ssize_t * 7).from_address(id(probe) + words * WORD)
    expected_data = probe.__array_interface__["data"][0]
    if fields[0] != expected_data or fields[1] & 0xFFFFFFFF != 2 or fields[4] != id(owner):
        return 0
    lengths = (ctypes.c_ssize_t * 2).from_address(fields[2])
    strides = (ctypes.c_ssize_t * 2).from_address(fields[3])
    known = tuple(lengths) == probe.shape and tuple(strides) == probe.strides and fields[5] == id(probe.dtype)
    aligned = bool(fields[6] & 0x100) and not fields[6] & 0x1
    return words if known and aligned and probe.dtype is np.dtype(np.float64) else 0


def descriptor() -> int:
    """Return the address of the type object that arrays of doubles refer to."""
    return id(np.dtype(np.float64))
