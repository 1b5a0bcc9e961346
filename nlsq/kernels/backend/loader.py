"""Linking kernels into the process, from the disk cache or from the compiler.

Loading goes through llvmlite alone and costs a fraction of a millisecond a kernel; numba is imported only when
something is missing from the cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from nlsq.kernels.backend import cache as disk
from nlsq.kernels.backend.helper import second_compiler
from nlsq.kernels.backend.kernel import Kernel, _lock, compile_disabled, registry, with_callees

_ANNOUNCE_FROM = 3  # kernels; a single one compiles in a moment
_said: list[str] = []
_stubs: dict[str, Any] = {}


@cache
def _engine() -> Any:
    """Make the one linker of the process."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _announce(count: int, folder: object) -> None:
    if count >= _ANNOUNCE_FROM and not _said:
        _said.append("compiling")
        kept = f"kept in {folder}" if folder else "no cache folder can be written: set NLSQ_CACHE_DIR to keep them"
        import logging

        logging.getLogger("nlsq").warning("nlsq: compiling kernels, once for this version and machine (%s)", kept)


def load_kernels(kernels: list[Kernel], *, shared: bool = True) -> None:
    """Give every kernel in `kernels`, and all they call, an address.

    Unless `shared` is false, another process may be asked to compile half of what is missing. A cold callee that is not
    in the cache is not compiled now: a stub stands for it that compiles it at its first call.
    """
    import llvmlite.binding as llvm

    folder = disk.folder()
    codes: dict[str, bytes | None] = {}

    def is_wanted(one: Kernel) -> bool:
        if one.address:
            return False
        if one.symbol not in codes:
            codes[one.symbol] = disk.read(folder, one.symbol)
        deferred = one.cold and codes[one.symbol] is None and one not in kernels
        if deferred:
            _stand_in(one)
        return not deferred

    linker = _engine()
    waiting: list[Kernel] = []
    wanted = with_callees([k for k in kernels if is_wanted(k)], is_wanted)
    missing = [k for k in wanted if codes[k.symbol] is None]
    if missing:
        _announce(len(missing), folder)
    others = [k.symbol for k in reversed(missing) if k.symbol in registry] if shared else []
    with second_compiler(others, folder):
        for one in missing:
            codes[one.symbol] = _compiled(one, folder)
    for one in wanted:
        code = codes[one.symbol]
        assert code is not None
        linker.add_object_file(llvm.ObjectFileRef.from_data(code))
        waiting.append(one)
    _link(linker, waiting)


def link_object(code: bytes | None, symbols: list[str]) -> list[int]:
    """Return the addresses of the functions of an object file; None if it was linked before."""
    import llvmlite.binding as llvm

    with _lock:
        linker = _engine()
        if code is not None:
            linker.add_object_file(llvm.ObjectFileRef.from_data(code))
            linker.finalize_object()
        return [linker.get_function_address(symbol) for symbol in symbols]


def _stand_in(one: Kernel) -> None:
    """Let the kernel's symbol lead to a function that loads the kernel when it is called, and passes the call on."""
    import ctypes

    import llvmlite.binding as llvm

    if one.symbol in _stubs:
        return

    def load_and_call(*arguments: Any) -> Any:
        return one.entry()(*arguments)

    stub = _stubs[one.symbol] = one.signature.callback(load_and_call)
    llvm.add_symbol(one.symbol, ctypes.cast(stub, ctypes.c_void_p).value)


def _compiled(one: Kernel, folder: Path | None) -> bytes:
    """Compile a kernel, unless another process has just done so."""
    code = disk.read(folder, one.symbol)
    if code is None:
        from nlsq.kernels.backend.compiler import object_code

        code = object_code(one)
        disk.write(folder, one.symbol, code)
    return code


def _link(linker: Any, waiting: list[Kernel]) -> None:
    """Give the kernels in `waiting` their addresses and make them known to all linkers of the process."""
    import llvmlite.binding as llvm

    linker.finalize_object()
    for one in waiting:
        one.address = linker.get_function_address(one.symbol)
        llvm.add_symbol(one.symbol, one.address)
    waiting.clear()


def precompile() -> int:
    """Compile every kernel of the library that is not in the disk cache; return how many kernels there are.

    Meant for installation scripts and test runs: afterwards no process on this machine compiles a kernel. Under
    ``NLSQ_DISABLE_COMPILE`` nothing is compiled, and 0 returned.
    """
    if compile_disabled():
        return 0
    from nlsq.kernels import import_all

    import_all()
    load_kernels(list(registry.values()), shared=False)
    return len(registry)
