"""The ``kernel`` decorator and the life of a kernel: source, machine code, callable.

A kernel is a function of pointers and scalars written in the subset of Python that numba compiles. Decorating it costs
nothing: numba is not imported. At the first use the kernel and all kernels it calls are loaded as plain machine code
from the disk cache, or compiled by numba and put there. Kernels call each other through external symbols, so that no
kernel's code is linked into another and compiled again.

With ``NLSQ_DISABLE_COMPILE`` set, the very same source runs as plain Python on numpy arrays: a pointer is an array,
moving a pointer is a slice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

from nlsq.kernels.backend.signature import Signature

_lock = threading.RLock()
registry: dict[str, Kernel] = {}
_specialised: dict[str, Kernel] = {}

_disabled = os.environ.get("NLSQ_DISABLE_COMPILE", "") not in ("", "0")


def compile_disabled() -> bool:
    """Say whether kernels run as plain Python: the environment variable ``NLSQ_DISABLE_COMPILE``.

    Read when nlsq starts.
    """
    return _disabled


class Kernel:
    """A jitted function with a C signature.

    Parameters
    ----------
    function : function
        The Python source of the kernel.
    signature : Signature
        Types of the result and the arguments.
    strict : bool
        No reassociation of floating-point operations (needed where ``(x + h) - x`` must survive).
    cold : bool
        Seldom called: a kernel that calls it is linked without it when it would have to be compiled first.
    apart : bool
        No two pointers that the kernel is given lead to the same memory, unless it only reads there: its loops are
        vectorised without a look at addresses.
    suffix : str
        What tells a specialised kernel's symbol from that of the kernel it was made from; see `specialised`.
    """

    __slots__ = ("_callables", "address", "apart", "cold", "function", "signature", "strict", "symbol")

    def __init__(
        self,
        function: FunctionType,
        signature: Signature,
        strict: bool = False,
        cold: bool = False,
        apart: bool = False,
        suffix: str = "",
    ) -> None:
        self.function = function
        self.signature = signature
        self.strict = strict
        self.cold = cold
        self.apart = apart
        self.symbol = f"nlsq_{function.__module__.rpartition('.')[2]}_{function.__name__}{suffix}"
        self.address = 0
        self._callables: dict[bool, Callable[..., Any]] = {}
        if (_specialised if suffix else registry).setdefault(self.symbol, self) is not self:
            raise ValueError(f"two kernels are named {self.symbol}")

    def __call__(self, *arguments: Any) -> Any:
        """Run as plain Python: arrays in place of pointers."""
        return self.function(*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self.symbol}>"

    def callees(self) -> list[Kernel]:
        """List the kernels that this kernel's source names."""
        scope = self.function.__globals__
        return [scope[n] for n in self.function.__code__.co_names if isinstance(scope.get(n), Kernel)]

    def entry(self, *, release_gil: bool = False) -> Callable[..., Any]:
        """Give a callable that takes what `handle` makes of arrays; compile or load the kernel if needed."""
        if compile_disabled():
            return self.function
        found = self._callables.get(release_gil)
        if found is None:
            found = self._callables[release_gil] = self.signature.prototype(release_gil=release_gil)(self.load())
        return found

    def load(self) -> int:
        """Load the kernel (compiling it at need) and return its address."""
        if not self.address:
            from nlsq.kernels.backend.loader import load_kernels

            with _lock:
                load_kernels([self])
        return self.address


def kernel(
    signature: str, *, strict: bool = False, cold: bool = False, apart: bool = False
) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a jitted kernel; `signature` is C-like text, see `Signature`; for the rest see `Kernel`."""
    parsed = Signature.parse(signature)

    def declare(function: Callable[..., Any]) -> Kernel:
        assert isinstance(function, FunctionType)
        return Kernel(function, parsed, strict, cold, apart)

    return declare


def specialised(one: Kernel, **constants: int) -> Kernel:
    """Give the kernel of the same source in which constants of its module have other values.

    Loops over a number of steps that is known are unrolled and vectorised. By convention such a constant is zero in the
    module, which means that the size is read at run time: ``size = SIZE if SIZE > 0 else size``. Specialised kernels
    are cached on disk as others are; `precompile` does not know them.

    Parameters
    ----------
    one : Kernel
        The kernel.
    **constants : int
        Module-level names that it reads, and their values.

    Raises
    ------
    ValueError
        If the kernel does not read one of the names, or the module does not define it.
    """
    scope, names = one.function.__globals__, one.function.__code__.co_names
    for name in constants:
        if name not in names or name not in scope:
            raise ValueError(f"{one!r} reads no constant {name} of its module; it reads {', '.join(names)}.")
    suffix = "".join(f"__{name}{value}" for name, value in sorted(constants.items()))
    if not suffix:
        return one
    with _lock:
        found = _specialised.get(one.symbol + suffix)
        if found is None:
            plain = one.function
            copy = FunctionType(
                plain.__code__, scope | constants, plain.__name__, plain.__defaults__, plain.__closure__
            )
            # numba names machine code after the function, and codes of different processes are linked into one
            copy.__module__, copy.__qualname__ = plain.__module__, plain.__qualname__ + suffix
            found = Kernel(copy, one.signature, one.strict, one.cold, one.apart, suffix)
    return found


def with_callees(kernels: list[Kernel], wanted: Callable[[Kernel], bool] = lambda one: True) -> list[Kernel]:
    """List `kernels` and everything they call, each once, callees before callers.

    Callees that are not `wanted` are left out.
    """
    ordered: dict[str, Kernel] = {}

    def visit(one: Kernel) -> None:
        if one.symbol not in ordered:
            for callee in one.callees():
                if wanted(callee):
                    visit(callee)
            ordered[one.symbol] = one

    for one in kernels:
        visit(one)
    return list(ordered.values())
