"""Batches of small fits, and single fits of millions of points: time against SciPy's loop, answers, threads, memory.

SciPy fits a few hundred of the rows of which `fit_batch` fits all, in the same run; times are CPU time for each fit,
with one thread, and both have a tolerance of 1e-8. The answers of both are compared by their costs, computed here.
"""

import os
import time
import warnings
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec

import numpy as np

from .compare import fresh, interleaved
from .libraries import function
from .problems import batches
from .rows import Row, Section, counted_row, faster_row, limit_row, reported_row
from .scripts import library_kernels

__all__ = [
    "cold_section",
    "huge_section",
    "our_batch",
    "our_fit",
    "peer_fit",
    "peer_loop",
    "share_section",
    "speed_section",
]

TOLERANCE = 1e-8
REQUIRED = {"spectra": 120.0, "spots 5 x 5": 250.0, "spots 7 x 7": 170.0, "decays": None}
SIZES = {"spectra": 50_000, "spots 5 x 5": 200_000, "spots 7 x 7": 100_000, "decays": 100_000}
LOOP = 300  # rows that SciPy fits
SHARE_SIZE = 2000
SHARE_TOLERANCE = 1e-6  # of SciPy's cost
AVX512_RATE = 7e5  # fits of `spectra` in a second of one core


# The functions that are compared


@cache
def load_batch(name, size):
    """Return a problem of the collection, kept for the next question."""
    return batches.PROBLEMS[name](size)


def our_batch(name, size=None, threads=1):
    """Return a call that fits all rows of a batch, and their number."""
    import nlsq

    size = size or SIZES[name]
    batch = load_batch(name, size)
    tolerances = nlsq.Tolerances(cost=TOLERANCE, step=TOLERANCE)
    call = partial(nlsq.fit_batch, batch.model, batch.x, batch.y, batch.p0, tolerances=tolerances, threads=threads)
    return call, size


def peer_loop(name, size=None, count=LOOP):
    """Return a call that fits the first rows of the same batch by SciPy, one by one, and their number."""
    batch = load_batch(name, size or SIZES[name])
    count = min(count, len(batch.y))
    return partial(_scipy_rows, batch, count), count


def _scipy_rows(batch, count):
    """Return what SciPy's `curve_fit` makes of each row, None where it gives up."""
    curve_fit, answers = function("scipy", "curve_fit"), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows on the way, and of covariances
        for k in range(count):
            try:
                params, _ = curve_fit(batch.model, batch.x, batch.y[k], batch.start(k), ftol=TOLERANCE, xtol=TOLERANCE)
            except RuntimeError:
                params = None
            answers.append(params)
    return answers


@cache
def load_long(m):
    """Return the fit of `m` points."""
    return batches.long_spectrum(m)


def our_fit(m):
    """Return a call of `nlsq.fit` on the problem of `m` points."""
    import nlsq

    curve, tolerances = load_long(m), nlsq.Tolerances(cost=TOLERANCE, step=TOLERANCE)
    return partial(nlsq.fit, curve.model, curve.x, curve.y, curve.p0, tolerances=tolerances)


def peer_fit(m):
    """Return a call of SciPy's `curve_fit` on it."""
    curve, options = load_long(m), {"ftol": TOLERANCE, "xtol": TOLERANCE}
    return partial(function("scipy", "curve_fit"), curve.model, curve.x, curve.y, curve.p0, **options)


# Speed


def speed_section(quick=False):
    """Time batches against SciPy's loop, against JAX where it is installed, and two threads against one."""
    rows, notes = [], []
    size, pairs = (500, 1) if quick else (None, 11)
    for name, required in REQUIRED.items():
        ours, size_of_ours = our_batch(name, size)
        peer, count = peer_loop(name, size, count=20 if quick else LOOP)
        ratio = _for_each(interleaved(ours, peer, pairs=pairs), size_of_ours, count)
        batch = load_batch(name, size or SIZES[name])
        n, m = batch.p_true.shape[1], batch.y.shape[1]
        row = faster_row(f"{size_of_ours} fits, {name}, m = {m}, n = {n}, one thread", ratio, required, "SciPy's loop")
        rows.append(_with_rates(row, ratio))
        if name == "spectra":
            rows.append(_rate_row(ratio))
    jax_row, note = _jax(quick)
    rows += [jax_row] if jax_row else []
    notes += [note] if note else []
    rows.append(_threads_row(quick))
    return Section(title="Batches (ratios: SciPy's CPU time for a fit / ours)", rows=rows, notes=notes)


def _for_each(ratio, ours, peer):
    """Return the `Ratio` of times for one fit, of calls that make so many fits."""
    factor = ours / peer
    return replace(
        ratio,
        median=factor * ratio.median,
        lower=factor * ratio.lower,
        upper=factor * ratio.upper,
        ours=ratio.ours / ours,
        peer=ratio.peer / peer,
    )


def _with_rates(row, ratio):
    """Return the row with fits a second in place of times."""
    measured = f"{row.measured.rsplit(',', 1)[0]}, {_rate(ratio.ours)}"
    return replace(row, peer=f"SciPy's loop {_rate(ratio.peer)}", measured=measured)


def _rate(seconds):
    return f"{1e-3 / seconds:.1f} k fits/s"


def _rate_row(ratio):
    """Return the row of fits a second, required where the processor has 512-bit registers."""
    from .elementary import processors

    what, measured = "spectra: fits in a second of one core", _rate(ratio.ours)
    if "AVX-512" not in processors():
        return reported_row(what, "-", measured)
    met = 1.0 / ratio.ours >= AVX512_RATE
    return Row(what=what, peer="-", required=f">= {1e-3 * AVX512_RATE:g} k (AVX-512)", measured=measured, met=met)


def _threads_row(quick):
    """Return the row of two threads' wall time against one's."""
    size = 500 if quick else 10 * SIZES["spectra"]
    what = f"{size} fits, spectra, two threads against one (wall time)"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if available < 2:
        return reported_row(what, "-", "one core only")
    two, one = our_batch("spectra", size, threads=2)[0], our_batch("spectra", size, threads=1)[0]
    ratio = interleaved(two, one, pairs=1 if quick else 9, clock=time.perf_counter)
    return faster_row(what, ratio, 1.8, "one thread")


# JAX, in a process of its own: it takes threads and memory when it is imported

JAX = """
from benchmarks import batches_jax
batches_jax.main({size}, {pairs})
"""
JAX_FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def _jax(quick):
    """Return the row of JAX's time and None, or None and why there is none."""
    if find_spec("jax") is None:
        return None, "JAX is not installed: no row for it"
    size, pairs = (500, 1) if quick else (20_000, 5)
    usage = fresh(JAX.format(size=size, pairs=pairs), {"XLA_FLAGS": JAX_FLAGS, "JAX_PLATFORMS": "cpu"})
    ours, peer, ratio, share = map(float, usage.output.split()[-4:])
    measured = f"{ratio:.1f} x, {_rate(ours)}"
    text = f"JAX {_rate(peer)}; {100 * share:.2f} % of its fits within {SHARE_TOLERANCE:g} of our cost"
    return reported_row(f"{size} fits, spectra, against a vmapped Levenberg-Marquardt in JAX", text, measured), None


# Answers


def share_section(quick=False):
    """Count fits that end as low as SciPy's."""
    rows, notes = [], []
    size = 100 if quick else SHARE_SIZE
    for name in REQUIRED:
        batch = load_batch(name, size)
        ours, theirs = our_batch(name, size)[0](), _scipy_rows(batch, size)
        solved, good, worst = compare_costs(batch, ours.params, theirs)
        what = f"{name}: cost within {SHARE_TOLERANCE:g} of SciPy's or lower, of the fits SciPy solves"
        rows.append(counted_row(what, f"SciPy solves {solved} of {size}", solved, good))
        if good < solved:
            notes.append(f"{name}: the worst cost is {worst:.3g} times SciPy's")
    return Section(title="Answers of batches", rows=rows, notes=notes)


def compare_costs(batch, ours, theirs):
    """Return how many fits the peer solves, in how many of them we are as low, and the worst ratio of costs."""
    peers = np.array([np.nan if p is None else batch.cost(k, p) for k, p in enumerate(theirs)])
    own = np.array([batch.cost(k, p) for k, p in enumerate(ours[: len(theirs)])])
    solved = np.isfinite(peers)
    as_low = own[solved] <= peers[solved] * (1.0 + SHARE_TOLERANCE)
    worst = np.max(own[solved] / peers[solved], initial=0.0)
    return int(solved.sum()), int(as_low.sum()), float(worst)


# Millions of points in one fit


def huge_section(quick=False):
    """Time one fit of a million and of ten million points, and measure the memory it takes."""
    rows = []
    for m, pairs in ((10**5, 1),) if quick else ((10**6, 7), (10**7, 2)):
        ratio = interleaved(our_fit(m), peer_fit(m), pairs=pairs)
        rows.append(faster_row(f"one fit, m = {m:.0e}, n = 5, nlsq.fit", ratio, 15.0, "SciPy curve_fit"))
        load_long.cache_clear()
    m = 10**6 if quick else 10**7
    base, loaded = (_peak(m, code) for code in ("", OURS_SMALL))
    ours, peer = _peak(m, OURS_FIT) - base, _peak(m, PEER_FIT) - base
    what = f"one fit, m = {m:.0e}: peak memory beyond interpreter, NumPy and data ({base:.0f} MB)"
    extra = f" (of which the loaded library {loaded - base:.0f} MB)"
    rows.append(limit_row(what, f"SciPy {peer:.0f} MB", 60.0, ours, "MB", extra))
    return Section(title="Millions of points in one fit (ratios: SciPy's CPU time / ours)", rows=rows)


# The data are made piece by piece, so that making them takes no memory of its own.
_DATA = """
import os
import numpy as np

def model(x, a, b, c, d, e):
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d + e * x

rng = np.random.default_rng(1)
x, y = np.empty({m}), np.empty({m})
for i in range(0, {m}, 10000):
    x[i:i + 10000] = np.arange(i, min(i + 10000, {m})) * (10.0 / {m}) - 5.0
    part = x[i:i + 10000]
    y[i:i + 10000] = model(part, 3.0, 0.5, 0.8, 1.0, 0.1) + 0.1 * rng.standard_normal(part.size)
"""
_START = "[2.0, 0.0, 1.0, 0.5, 0.0]"
OURS_FIT = f"import nlsq; nlsq.fit(model, x, y, {_START}, tolerances=nlsq.Tolerances(cost=1e-8, step=1e-8))\n"
OURS_SMALL = f"import nlsq; nlsq.fit(model, x[::{{m}} // 200], y[::{{m}} // 200], {_START})\n"
PEER_FIT = f"from scipy.optimize import curve_fit; curve_fit(model, x, y, {_START}, ftol=1e-8, xtol=1e-8)\n"

# The most memory that was resident. Of a child, getrusage gives no less than what its parent had when it started it;
# Linux keeps the child's own elsewhere.
PRINT_PEAK = """
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    except OSError:
        import resource, sys
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

print(peak())
"""


def peak_code(m, code):
    """Return a script that makes data of `m` points, does something with them, and prints its peak memory in MB."""
    return _DATA.format(m=m) + code.format(m=m) + PRINT_PEAK


def _peak(m, code):
    """Return the peak memory of such a script, in MB, when what it compiles is on disk."""
    script = peak_code(m, code)
    return min(float(fresh(script).output.split()[-1]) for _ in range(2))


# Compiling

# Prints the wall and CPU seconds of the first batch in a process.
FIRST_BATCH = """
import time
import numpy as np
import nlsq

def model(x, a, b, c, d):
    return a * np.exp(-0.5 * ((x - b) / c) ** 2) + d * np.cos(x)

x = np.linspace(-5.0, 5.0, 100)
y = model(x, 3.0, 0.5, 0.8, 1.0) + 0.1 * np.sin(37.0 * x)
wall, cpu = time.perf_counter(), time.process_time()
nlsq.fit_batch(model, x, np.stack([y, y + 0.1]), [2.0, 0.0, 1.0, 0.5], threads=1)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def cold_section(quick=False):
    """Measure the first batch of a model when the library's kernels are on disk and the model's are not, and again."""
    fresh(FIRST_BATCH)  # what the library needs for it is on disk from here on
    runs = []
    for _ in range(1 if quick else 5):
        with library_kernels() as place:
            environment = {"NLSQ_CACHE_DIR": place}
            runs.append([_seconds(fresh(FIRST_BATCH, environment)) for _ in range(2)])
    (wall, cpu), (again, cpu_again) = np.median(np.array(runs), axis=0)
    what = "first batch of a new model in a fresh process"
    rows = [
        limit_row(what, "-", 3.0, float(wall), "s", f" (CPU {cpu:.2f} s)"),
        limit_row(f"{what}, its kernels on disk", "-", None, float(again), "s", f" (CPU {cpu_again:.2f} s)"),
    ]
    return Section(title="Compiling for batches", rows=rows)


def _seconds(usage):
    """Return the wall and CPU seconds that a process printed."""
    return [float(word) for word in usage.output.split()[-2:]]
