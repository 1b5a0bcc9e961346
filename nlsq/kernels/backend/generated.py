"""Generated kernels on disk and in the process."""

from __future__ import annotations

import ctypes
from typing import Any

from numpy.typing import NDArray

from nlsq.kernels.backend import cache as disk
from nlsq.kernels.backend.loader import link_object
from nlsq.kernels.backend.program import Program

_loaded: set[str] = set()


def find(symbol: str) -> bytes | None:
    """Return the machine code kept under a symbol, None if there is none."""
    return disk.read(disk.folder(), symbol)


def make(symbol: str, programs: list[Program]) -> list[int]:
    """Return the addresses of kernels, from this process, the disk, or the compiler.

    Parameters
    ----------
    symbol : str
        Under which their code is kept; the same programs have the same one.
    programs : list of Program
        What they do.
    """
    symbols = [f"{symbol}_{position}" for position in range(len(programs))]
    code = None
    if symbol not in _loaded:
        code = find(symbol)
        if code is None:
            from nlsq.kernels.backend.fused import object_code

            code = object_code(list(zip(symbols, programs, strict=True)))
            disk.write(disk.folder(), symbol, code)
    addresses = link_object(code, symbols)
    if not all(addresses):
        raise RuntimeError(f"kernels of {symbol} were not linked.")
    _loaded.add(symbol)
    return addresses


_prototypes = {count: ctypes.CFUNCTYPE(ctypes.c_ssize_t, *[ctypes.c_ssize_t] * count) for count in (3, 4)}


def call(address: int, *arrays: NDArray[Any]) -> None:
    """Call a kernel with contiguous arrays: parameters, table, one or two outputs."""
    places = [array.__array_interface__["data"][0] for array in arrays]
    kernel_at(address, len(places))(*places)


def kernel_at(address: int, count: int = 3) -> Any:
    """Return a callable for a kernel that takes `count` addresses."""
    return _prototypes[count](address)


def lanes() -> int:
    """Return how many problems a kernel treats side by side on this processor."""
    from nlsq.kernels.backend.fused import host

    return host().lanes
