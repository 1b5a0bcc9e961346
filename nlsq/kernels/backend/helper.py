"""A second process that compiles kernels from the other end of the list, so that a cold start takes half the time.

The two share nothing but the disk cache: each looks there before it compiles a kernel and leaves there what it
compiled. The second process is started only when many kernels are missing, the cache can be written and there is a
processor for it; when it cannot be started, or dies, the first compiles everything itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WORTH_IT = 12  # kernels: fewer compile in the time that another process takes to start
_IN_HELPER = "NLSQ_COMPILING_HELPER"
_COMMAND = "import sys; from nlsq.kernels.backend.helper import compile_listed; compile_listed(sys.argv[1:])"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def second_compiler(symbols: list[str], folder: Path | None) -> Iterator[None]:
    """Have another process compile kernels, in the order given, while the body does so in another order."""
    process = None
    if len(symbols) >= WORTH_IT and folder is not None and sys.executable and _processors() > 1:
        import subprocess

        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])])
        environment = os.environ | {_IN_HELPER: str(folder), "PYTHONPATH": path}
        with suppress(OSError):
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND, *symbols],  # -P: the current folder may hold another nlsq
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    try:
        yield
    finally:
        if process is not None:
            process.terminate()  # what it was at, the body has done
            process.wait()


def compile_listed(symbols: list[str]) -> None:
    """Do the second process's work, if this is the library whose kernels are asked for."""
    from nlsq.kernels import import_all
    from nlsq.kernels.backend import cache
    from nlsq.kernels.backend.compiler import object_code
    from nlsq.kernels.backend.kernel import registry

    folder = Path(os.environ[_IN_HELPER])
    if folder.name != cache.fingerprint():  # other sources than those that the first process began with
        return
    import_all()
    for symbol in symbols:
        if cache.read(folder, symbol) is None:
            cache.write(folder, symbol, object_code(registry[symbol]))
