"""How things are measured: two at a time, in turns, as CPU time, with the ratio of each pair.

Times on a shared machine drift by tens of percent within seconds. Two functions are therefore timed alternately, and
what is quoted is the median of the ratios of neighbours (A B, B A, A B, ...), with its quartiles: a drift hits both
members of a pair. CPU time leaves out what other processes take; all of it is single-threaded.

What happens once in a process (imports, loading and compiling kernels) is measured in fresh processes, by the CPU time
the system charges to each.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median, quantiles

__all__ = ["Ratio", "Usage", "fresh", "fresh_pairs", "interleaved", "loops_for", "ratio_of"]

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = 4e-3  # seconds; the clock ticks in nanoseconds, and reading it costs less than one microsecond
SINGLE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times faster than the peer we are.

    Attributes
    ----------
    median, lower, upper : float
        Median and quartiles of peer's time / our time, over the pairs.
    ours, peer : float
        Median times, in seconds.
    """

    median: float
    lower: float
    upper: float
    ours: float
    peer: float


def ratio_of(ours, peer):
    """Return the `Ratio` of two equally long sequences of times, paired in order."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    lower, middle, upper = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Ratio(median=middle, lower=lower, upper=upper, ours=median(ours), peer=median(peer))


def interleaved(ours, peer, *, pairs=51, sample=SAMPLE, clock=time.process_time):
    """Time two functions in turns.

    Parameters
    ----------
    ours, peer : callable
        Called without arguments.
    pairs : int
        Number of pairs of samples.
    sample : float
        Seconds a sample lasts at least; a function is called as often as that takes.
    clock : callable
        Clock, in seconds.

    Returns
    -------
    Ratio
        Of the times per call.
    """
    sides = [(ours, loops_for(ours, sample, clock), []), (peer, loops_for(peer, sample, clock), [])]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for pair in range(pairs):
            for call, loops, times in sides[:: 1 if pair % 2 == 0 else -1]:
                times.append(_sample(call, loops, clock) / loops)
    finally:
        if collecting:
            gc.enable()
    return ratio_of(sides[0][2], sides[1][2])


def loops_for(call, sample, clock):
    """Return how many calls take `sample` seconds, after a first call, which may load or compile something."""
    call()
    loops = 1
    while (taken := min(_sample(call, loops, clock) for _ in range(2))) < sample:
        loops = 10 * loops if taken < 0.1 * sample else ceil(1.05 * loops * sample / taken)
    return loops


def _sample(call: Callable[[], object], loops: int, clock: Callable[[], float]) -> float:
    """Return the time that `loops` calls take."""
    turns = range(loops)
    start = clock()
    for _ in turns:
        call()
    return clock() - start


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a process took, in seconds, and what it printed."""

    cpu: float
    wall: float
    output: str
    errors: str


def fresh(code, environment=None):
    """Run Python code in a fresh process, started in the repository's root.

    Raises
    ------
    RuntimeError
        If the process fails; with what it wrote to stderr.
    """
    variables = os.environ | SINGLE_THREAD | (environment or {})
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=variables, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)  # charges the process and the children it waited for
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = [file.seek(0) or file.read() for file in (output, errors)]
    if process.returncode:
        raise RuntimeError(f"a measured process failed: {texts[1]}")
    return Usage(cpu=usage.ru_utime + usage.ru_stime, wall=wall, output=texts[0], errors=texts[1])


def fresh_pairs(ours, peer, *, pairs=15, environment=None, run=fresh):
    """Return the `Ratio` of the CPU times of two pieces of code, run in turns in fresh processes after one run each."""
    for code in (ours, peer):
        run(code, environment)
    times = {ours: [], peer: []}
    for pair in range(pairs):
        for code in (ours, peer) if pair % 2 == 0 else (peer, ours):
            times[code].append(run(code, environment).cpu)
    return ratio_of(times[ours], times[peer])
