"""The table of what is promised and what is measured: ``python -m benchmarks.report [section ...] [--quick]``.

Prints Markdown. Everything is compared with SciPy in the same run, single-threaded; `benchmarks.compare` says how
times are taken. Measure on an idle machine.
"""

import argparse
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .compare import SINGLE_THREAD

__all__ = ["header", "main", "render"]

COLUMNS = ("what", "peer", "required", "measured", "met")


def main(arguments=None):
    """Measure the sections named on the command line, and print them."""
    from .sections import SECTIONS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.split("\n")[0])
    parser.add_argument("section", nargs="*", help=f"any of: {', '.join(SECTIONS)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="fewer problems and repetitions: does it run?")
    options = parser.parse_args(arguments)
    unknown = set(options.section) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    print(header(), flush=True)
    if options.quick:
        print("\n**Quick run: only a part of the problems; counts cannot meet their requirements.**")
    start = time.perf_counter()
    for name in options.section or SECTIONS:
        print("\n" + render(SECTIONS[name](quick=options.quick)), flush=True)
    print(f"\nMeasured in {time.perf_counter() - start:.0f} s.")


def header():
    """Return the lines that say what was measured on what."""
    versions = [f"{name} {_version(name)}" for name in ("scipy", "numpy", "numba", "llvmlite")]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return "\n".join(
        [
            f"nlsq {_own_version()}, {', '.join(versions)}, Python {platform.python_version()}",
            f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; load at the start {load}; one BLAS thread.",
        ]
    )


def render(section):
    """Return a section as Markdown."""
    lines = [f"### {section.title}", "", f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    met = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {row.what} | {row.peer} | {row.required} | {row.measured} | {met[row.met]} |" for row in section.rows]
    if section.notes:
        lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join(lines)


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _own_version():
    import nlsq

    return nlsq.__version__


def _processor():
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def with_one_thread():
    """Start again with one BLAS thread unless that is so: BLAS reads the variable when it is loaded."""
    if any(os.environ.get(name) != value for name, value in SINGLE_THREAD.items()):
        command = [sys.executable, "-m", "benchmarks.report", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | SINGLE_THREAD)


if __name__ == "__main__":
    with_one_thread()
    main()
