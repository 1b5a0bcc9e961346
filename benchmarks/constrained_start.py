"""What the first constrained solve of a process costs: ``python -m benchmarks.constrained_start [--quick]``.

    cold      with no kernels on disk: everything that the solve needs is compiled
    cached    kernels and the user's functions are on disk from an earlier process

Each is a process of its own. What is required is of the CPU time of all of the process when cold, and of the time from
after the imports to the end of the solve when cached; importing NumPy, SciPy's constraints, nlsq and, for jitted
functions, numba is not in the latter. Python's own bytecode is kept in a folder of the measurement, whatever the
environment says of that.
"""

import argparse
import tempfile
from functools import partial
from statistics import median

from .compare import fresh
from .rows import Row, Section
from .startup import COLD_CACHE, FIRST_CONSTRAINED

__all__ = ["main", "section"]

COLD_LIMIT, CACHED_LIMIT = 20.0, 0.7  # seconds
KINDS = {
    "plain": "plain functions, HS65",
    "compiled": "jitted functions by address, HS65",
    "sparse": "sparse chain, n = 1000",
}


def section(quick=False, run=fresh):
    """Return the rows of the report; ``run(code, environment)`` starts a process."""
    with tempfile.TemporaryDirectory() as folder:
        bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        rows = rows_of(1 if quick else 3, 1 if quick else 7, partial(run, environment=bytecode))
    return Section(title="First constrained solve of a process", rows=rows)


def rows_of(times_cold, times_cached, run):
    """Return a cold and a cached row for each kind of problem."""
    rows = []
    for kind, what in KINDS.items():
        code = FIRST_CONSTRAINED[kind]
        run(code)  # leaves kernels, functions and bytecode on disk
        rows.append(cold_row(what, [run(COLD_CACHE + code) for _ in range(times_cold)]))
        rows.append(cached_row(what, [run(code) for _ in range(times_cached)]))
    return rows


def cold_row(what, usages):
    """Return the row of processes without kernels on disk."""
    cpu, wall = (median(getattr(usage, clock) for usage in usages) for clock in ("cpu", "wall"))
    return Row(
        what=f"cold, {what}",
        peer="-",
        required=f"<= {COLD_LIMIT:g} s CPU",
        measured=f"{cpu:.2f} s CPU, {wall:.1f} s wall, all of the process",
        met=cpu <= COLD_LIMIT,
    )


def cached_row(what, usages):
    """Return the row of processes that find kernels on disk."""
    after = [[float(word) for word in usage.output.split()] for usage in usages]
    cpu, wall = (median(times[k] for times in after) for k in (0, 1))
    whole = median(usage.cpu for usage in usages)
    return Row(
        what=f"cached, {what}",
        peer="-",
        required=f"<= {CACHED_LIMIT:g} s CPU after imports",
        measured=f"{cpu:.3f} s CPU, {wall:.3f} s wall after imports; {whole:.2f} s CPU with them",
        met=cpu <= CACHED_LIMIT,
    )


def main(arguments=None):
    """Measure, and print Markdown."""
    from .report import render

    parser = argparse.ArgumentParser(prog="python -m benchmarks.constrained_start", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one process of each kind")
    print(render(section(parser.parse_args(arguments).quick)))


if __name__ == "__main__":
    main()
