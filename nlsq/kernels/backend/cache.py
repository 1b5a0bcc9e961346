"""The disk cache of machine code.

One file per kernel in a folder named by everything the code depends on: the sources of the kernels, the versions of
numba, llvmlite and Python, and the processor with its features. Files are written beside their place and moved into it,
so that processes may share the folder; each carries a checksum, and a damaged file counts as absent. The folder is the
first that can be written of ``NLSQ_CACHE_DIR``, the user's cache folder and a folder of the user's own in the temporary
directory; when none can be, nothing is kept and every process compiles what it uses.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_MAGIC = b"nlsqobj1"
_KERNELS = Path(__file__).resolve().parent.parent
_STATUS = _KERNELS.with_name("status.py")  # its numbers are constants of the kernels


def _numba_version_file() -> bytes:
    """Read numba's version without importing numba (which costs a quarter of a second)."""
    spec = find_spec("numba")
    if spec is None or spec.origin is None:
        return b""
    path = Path(spec.origin).with_name("_version.py")
    return path.read_bytes() if path.exists() else spec.origin.encode()


@cache
def fingerprint() -> str:
    """Hash all that the machine code depends on."""
    import llvmlite
    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    for path in (*sorted(_KERNELS.rglob("*.py")), _STATUS):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(_numba_version_file())
    for part in (
        llvmlite.__version__,
        sys.version,
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ):
        digest.update(part.encode())
    return digest.hexdigest()[:24]


def _candidates() -> Iterator[Path]:
    """Yield the places for the cache, best first; a module is imported only for the last."""
    named = os.environ.get("NLSQ_CACHE_DIR")
    if named:
        yield Path(named).expanduser()
    if sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "nlsq" / "cache"
    elif sys.platform == "darwin":
        yield Path("~/Library/Caches/nlsq").expanduser()
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nlsq"
    import tempfile

    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"nlsq-cache-{user}"


def _is_ours(folder: Path) -> bool:
    """Machine code is only read from a folder that nobody else can write to."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def folder() -> Path | None:
    """Give the folder for this fingerprint, or None when no place can be written or trusted."""
    for place in _candidates():
        target = place / fingerprint()
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(target, os.W_OK) and _is_ours(target):
                return target
        except OSError:
            continue
    return None


def read(target: Path | None, symbol: str) -> bytes | None:
    """Read a kernel's code; None when it is absent or damaged."""
    if target is None:
        return None
    try:
        content = (target / f"{symbol}.o").read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    intact = (
        content[: len(_MAGIC)] == _MAGIC and hashlib.sha256(content[start:]).digest() == content[len(_MAGIC) : start]
    )
    return content[start:] if intact else None


def write(target: Path | None, symbol: str, code: bytes) -> None:
    """Keep a kernel's code; a full or vanished disk is no error."""
    if target is None:
        return
    temporary = target / f".{symbol}.{os.getpid()}"
    try:
        temporary.write_bytes(_MAGIC + hashlib.sha256(code).digest() + code)
        temporary.replace(target / f"{symbol}.o")
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def clear_cache() -> None:
    """Remove all machine code that nlsq keeps on disk (``nlsq.clear_cache()``), and nothing else in its folders."""
    for place in _candidates():
        for old in place.glob("[0-9a-f]" * 24):
            with suppress(OSError):
                for path in (*old.glob("nlsq_*.o"), *old.glob(".nlsq_*")):
                    path.unlink(missing_ok=True)
                old.rmdir()
