"""A user's function of parameter blocks, run over all residual blocks of a group, with its exact Jacobian.

The function is plain Python of numbers and tuples, decorated with njit or not. It is compiled once; the machine code is
kept on disk under a key made of all that it depends on, so that a later process neither compiles nor imports numba.
Under ``NLSQ_DISABLE_COMPILE`` it runs as it is, and derivatives are those of `nlsq.kernels.backend.block_python`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import count
from types import FunctionType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import cache as disk
from nlsq.kernels.backend.block_form import BlockArgument, BlockForm
from nlsq.kernels.backend.code_key import CodeKey, NotKeyed, key_of
from nlsq.kernels.backend.kernel import _lock, compile_disabled
from nlsq.kernels.backend.loader import link_object

__all__ = ["BlockArgument", "BlockForm", "BlockFunction", "compile_block_function"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FIXED_PLACES = 5  # of a table, before the arguments
_HEADER = 8  # bytes before the object file, with the number of residuals
_FREE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)  # releases the GIL
_HOLDING = ctypes.PYFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)  # for code that may call Python, to print
_known: dict[str, BlockFunction] = {}
MOST_HELD = 16  # functions that hold arrays of the user's
_holding: dict[str, tuple[BlockFunction, list[Any]]] = {}
_serial = count()


@final
class BlockFunction:
    """Residuals of all blocks of a group, with or without their Jacobian.

    Attributes
    ----------
    residuals : int
        Numbers that a residual block has, q.
    residual_address, jacobian_address : int
        C functions ``int f(int64* table)``; see `nlsq.kernels.backend.block_compiler`. 0 where nothing is compiled.
    keep : object
        What must be kept alive for the addresses.
    from_disk : bool
        Whether the machine code was read rather than compiled.
    why_not_kept : str
        Why the machine code is not on disk; empty where it is.
    is_reused : bool
        Whether this process takes the same machine code for the same function again.
    """

    def __init__(
        self,
        form: BlockForm,
        residuals: int,
        addresses: Sequence[int],
        keep: Any = None,
        *,
        from_disk: bool = False,
        why_not_kept: str = "",
        is_reused: bool = True,
    ) -> None:
        self.form, self.residuals, self.keep = form, residuals, keep
        self.residual_address, self.jacobian_address = addresses
        self.from_disk, self.why_not_kept, self.is_reused = from_disk, why_not_kept, is_reused
        prototype = _FREE if keep is None else _HOLDING
        self._calls: list[Callable[[int], int]] = [prototype(one) for one in addresses]

    def evaluate(
        self,
        values: Sequence[FloatArray],
        indices: Sequence[IntArray],
        seeds: Sequence[FloatArray | None],
        data: FloatArray | None,
        weight: FloatArray | None,
        r_out: FloatArray,
        jac_out: FloatArray | None = None,
    ) -> int:
        """Fill `r_out`, and `jac_out` where it is given; return 0, or nonzero when the user's code raised.

        Parameters
        ----------
        values : sequence of ndarray, shape (n_blocks_k, size_k)
            Numbers of the parameter blocks, for each argument. All arrays are contiguous.
        indices : sequence of ndarray of int64, shape (B,)
            Which parameter block each residual block takes, for each argument.
        seeds : sequence of ndarray or None, shape (n_blocks_k, size_k, width_k)
            Derivatives of the numbers with respect to the columns, for each seeded argument.
        data : ndarray or None, shape (B, data)
            Rows of data.
        weight : ndarray or None, shape (B,), (B, q) or (B, q, q)
            As the form says.
        r_out : ndarray, shape (B, q)
            Residuals.
        jac_out : ndarray, shape (B, q, T), optional
            Their derivatives.
        """
        if len(r_out) == 0:
            return 0
        table = [len(r_out), _address(data), _address(weight), _address(r_out), _address(jac_out)]
        for value, index, seed in zip(values, indices, seeds, strict=True):
            table += [_address(value), _address(index), _address(seed)]
        places = (ctypes.c_int64 * len(table))(*table)
        return self._calls[jac_out is not None](ctypes.addressof(places))


def _address(array: NDArray[Any] | None) -> int:
    return 0 if array is None else array.__array_interface__["data"][0]


def compile_block_function(function: Any, form: BlockForm, jacobian: Any = None) -> BlockFunction:
    """Compile a block function, or find it on disk.

    Parameters
    ----------
    function : callable
        ``function(*blocks, data) -> number or tuple of numbers``; blocks and data are tuples of floats.
    form : BlockForm
        What it is called with.
    jacobian : callable, optional
        ``jacobian(*blocks, data)`` gives a tuple with an entry for each block: a tuple of rows, one for each residual,
        each a tuple of derivatives with respect to the numbers of the block.

    Raises
    ------
    TypeError
        If the function cannot be compiled, or returns something else than numbers.
    """
    for one in (function, jacobian):
        if one is not None and not isinstance(getattr(one, "py_func", one), FunctionType):
            kind = type(one).__name__
            raise TypeError(
                f"a function of blocks is written with def or lambda, got an object of type {kind}; write a function "
                "that calls it, with what it holds as numbers, or as a row of data."
            )
    if compile_disabled():
        from nlsq.kernels.backend.block_python import PythonBlockFunction

        made: Any = PythonBlockFunction(function, form, jacobian)
        return made
    with _lock:
        try:
            key = key_of(function, jacobian, *_form_parts(form))
        except NotKeyed as error:
            made = _compiled(function, form, jacobian, f"nlsq_block_unkeyed_{next(_serial)}", str(error))
            made.is_reused = False
            return made
        symbol = f"nlsq_block_{key.digest}"
        if key.arrays:
            return _held(function, form, jacobian, symbol, key)
        if symbol not in _known:
            _known[symbol] = _from_disk(symbol, form) or _compiled(function, form, jacobian, symbol, "")
        return _known[symbol]


def _held(function: Any, form: BlockForm, jacobian: Any, symbol: str, key: CodeKey) -> BlockFunction:
    """Compile, or take from this process, a function whose key holds as long as its arrays live."""
    found = _holding.pop(symbol, None)
    if found is None:
        unique = f"{symbol}_{next(_serial)}"  # what was dropped may still be in use
        found = _compiled(function, form, jacobian, unique, key.why_not_kept), key.arrays
    _holding[symbol] = found
    while len(_holding) > MOST_HELD:
        del _holding[next(iter(_holding))]
    return found[0]


def _form_parts(form: BlockForm) -> tuple[Any, ...]:
    arguments = tuple((one.size, one.width, one.kind) for one in form.arguments)
    return arguments, form.data, form.weight


def _symbols(symbol: str) -> tuple[str, str]:
    return f"{symbol}_residual", f"{symbol}_jacobian"


def _from_disk(symbol: str, form: BlockForm) -> BlockFunction | None:
    kept = disk.read(disk.folder(), symbol)
    if kept is None:
        return None
    addresses = link_object(kept[_HEADER:], list(_symbols(symbol)))
    return BlockFunction(form, int.from_bytes(kept[:_HEADER], "little"), addresses, from_disk=True)


def _compiled(function: Any, form: BlockForm, jacobian: Any, symbol: str, why_not: str) -> BlockFunction:
    from nlsq.kernels.backend.block_compiler import compile_block_functions

    symbols = _symbols(symbol)
    made = compile_block_functions(function, form, jacobian, symbols, keep=not why_not)
    if made.code is None:
        addresses = [made.library.get_pointer_to_function(one) for one in symbols]
        why_not = why_not or "its machine code needs numba while it runs, as arrays that it makes do"
        return BlockFunction(form, made.residuals, addresses, made.library, why_not_kept=why_not)
    folder = disk.folder()
    disk.write(folder, symbol, made.residuals.to_bytes(_HEADER, "little") + made.code)
    addresses = link_object(made.code, list(symbols))
    why_not = "" if folder is not None else "no cache folder can be written"
    return BlockFunction(form, made.residuals, addresses, why_not_kept=why_not)
