"""The sections of the report: each measures something and returns rows of (what, peer, required, measured).

What is required is the table of the first release, and those of compiled plain functions, of batches, of sparse
problems and of constraints; sections of the latter four have files of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from . import (
    accuracy,
    batches,
    coloring,
    constrained,
    constrained_speed,
    constrained_start,
    contraction,
    elementary,
    factorisations,
    graphs,
    kkt_orderings,
    nist_speed,
    optimal_control,
    scripts,
    sparse,
    startup,
    traced,
    warm_start,
)
from .compare import fresh, fresh_pairs, interleaved
from .libraries import CURVES, LIBRARIES, Counted, branching, by_address, function, jitted, load_curve
from .problems import more_garbow_hillstrom as mgh
from .problems import nist
from .rows import Row, Section, counted_row, limit_row, reported_row

__all__ = ["SECTIONS"]


# Accuracy

NIST_REQUIRED = {"default": {4: 49, 6: 40}, "near_eps": {4: 54, 6: 54}}
MGH_REQUIRED = {"lm": 118, "trf": 126}


def nist_section(quick=False):
    """Count correct digits of `curve_fit` on NIST's data, both starts."""
    problems = nist.all_problems()[:: 5 if quick else 1]
    rows, notes = [], []
    for tolerances, required in NIST_REQUIRED.items():
        digits = {library: accuracy.nist_digits(library, tolerances, problems) for library in LIBRARIES}
        options = "default tolerances" if tolerances == "default" else "ftol = xtol = 1e-14"
        for least, wanted in required.items():
            good = {library: sum(d >= least for d in digits[library].values()) for library in LIBRARIES}
            what = f"NIST, {2 * len(problems)} fits, {options}: >= {least} digits"
            rows.append(counted_row(what, f"SciPy {good['scipy']}", wanted, good["nlsq"]))
        below = [f"{name} start {start} ({d:.1f})" for (name, start), d in digits["nlsq"].items() if d < 6.0]
        if below:
            notes.append(f"below 6 digits with {options} (digits): {', '.join(below)}")
    return Section(title="NIST StRD, curve_fit", rows=rows, notes=notes)


def mgh_section(quick=False):
    """Count minima and false claims of `least_squares` on More, Garbow and Hillstrom's problems."""
    cases = mgh.cases()[:: 8 if quick else 1]
    rows, notes = [], []
    for method, required in MGH_REQUIRED.items():
        outcomes = {library: accuracy.mgh_outcomes(library, method, cases) for library in LIBRARIES}
        minima = {library: sum(o.is_global for o in outcomes[library]) for library in LIBRARIES}
        false = {library: [o for o in outcomes[library] if o.success and not o.is_stationary] for library in LIBRARIES}
        claims = {library: sum(o.success for o in outcomes[library]) for library in LIBRARIES}
        what = f"MGH, {len(cases)} cases, exact J, defaults, {method}"
        rows.append(counted_row(f"{what}: global minimum", f"SciPy {minima['scipy']}", required, minima["nlsq"]))
        text = {library: f"{len(false[library])} of {claims[library]}" for library in LIBRARIES}
        what, none = f"{what}: claimed successes that are not stationary", not false["nlsq"]
        rows.append(Row(what=what, peer=f"SciPy {text['scipy']}", required="0", measured=text["nlsq"], met=none))
        notes += [
            f"{library} {method}, claimed but not stationary (cosine): "
            + ", ".join(f"{o.case} ({o.cosine:.1e})" for o in false[library])
            for library in LIBRARIES
            if false[library]
        ]
    return Section(title="More, Garbow and Hillstrom, least_squares", rows=rows, notes=notes)


def other_problems_section(quick=False):
    """Count minima within bounds, and robust fits."""
    rows = []
    for method in ("trf", "dogbox"):
        reached = {library: accuracy.bounded_minima(library, method) for library in LIBRARIES}
        total, good = len(reached["nlsq"]), {library: sum(reached[library].values()) for library in LIBRARIES}
        what = f"bounded problems, {total}, {method}: minimum"
        rows.append(reported_row(what, f"SciPy {good['scipy']}", str(good["nlsq"])))
    for loss in ("huber",) if quick else ("soft_l1", "huber", "cauchy", "arctan"):
        errors = {library: accuracy.robust_errors(library, loss) for library in LIBRARIES}
        good = {library: sum(error <= 1.0 for error in errors[library].values()) for library in LIBRARIES}
        what = f"robust problems, {len(errors['nlsq'])}, {loss}: outliers seen through"
        rows.append(reported_row(what, f"SciPy {good['scipy']}", str(good["nlsq"])))
    return Section(title="Bounded and robust problems, least_squares", rows=rows)


def contraction_section(quick=False):
    """Compare the contraction of undamped Gauss-Newton with theory."""
    rows = []
    for third in contraction.THIRD_DATA:
        seen = contraction.measure(third)
        vanishes = seen.theory < 1e-3  # quadratic convergence: the ratio is the distance, not a constant
        right = abs(seen.observed - seen.theory) <= (1e-3 if vanishes else 0.01 * seen.theory)
        measured = f"{seen.observed:.4g} (history's first: {seen.reported:.4g})"
        met, required = right, "within 0.001" if vanishes else "within 1 %"
        if seen.theory > 1.0:
            required += "; leaves; line search and LM reach it"
            measured += f"; {'leaves' if seen.leaves else 'stays'}; {'reached' if seen.held else 'not reached'}"
            met = right and seen.leaves and seen.held
        what = f"large residuals, y3 = {third:g}: contraction of undamped Gauss-Newton"
        peer = f"theory {seen.theory:.4f}"
        rows.append(Row(what=what, peer=peer, required=required, measured=measured, met=met))
    return Section(title="Large residuals", rows=rows)


# Speed


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One way to fit a timing problem: ``call(f)`` fits with the user's function f."""

    call: Callable
    user_function: Callable

    def run(self):
        """Fit."""
        return self.call(self.user_function)

    def user_share(self, pairs):
        """Return the share of the time spent in the user's function, and its calls, all taken for equally long."""
        counted = Counted(self.user_function)
        self.call(counted)
        fit_over_call = interleaved(partial(self.user_function, *counted.arguments), self.run, pairs=pairs).median
        return counted.calls / fit_over_call, counted.calls


def fit_of(library, name, curve, user_function=None, **options):
    """Return the `Fit` of a timing problem by a function of a library."""
    solver, problem = function(library, name), load_curve(curve)
    if name == "curve_fit":
        return Fit(
            call=lambda f: solver(f, problem.x, problem.y, problem.p0), user_function=user_function or problem.model
        )
    return Fit(call=lambda f: solver(f, problem.p0, **options), user_function=user_function or problem.residual)


def speed_row(what, peer_name, ours, peer, required, pairs, shares=True):
    """Time two fits in turns and return their row."""
    ratio = interleaved(ours.run, peer.run, pairs=pairs)
    text = f"{ratio.median:.2f} x ({ratio.lower:.2f}-{ratio.upper:.2f}), {1e6 * ratio.ours:.1f} us"
    if shares:
        text += f", {_share(ours, pairs)}"
    peer_text = f"{peer_name} {1e6 * ratio.peer:.1f} us, {_share(peer, pairs)}"
    met = None if required is None else ratio.median >= required
    wanted = "-" if required is None else f">= {required:g} x"
    return Row(what=what, peer=peer_text, required=wanted, measured=text, met=met)


def _share(fit, pairs):
    """Say which part of a fit the user's function takes, and in how many calls."""
    share, calls = fit.user_share(pairs=max(3, pairs // 3))
    return f"{100 * share:.0f} % of it in {calls} calls of f"


def speed_section(quick=False):
    """Time plain Python functions that have no graph against SciPy, and one that has before it is compiled."""
    pairs, rows = 5 if quick else 101, []
    plain = [("least_squares", 4.0, {"method": "trf"}), ("curve_fit", 1.0, {}), ("leastsq", 0.9, {})]
    for name, required, options in plain:
        for curve in CURVES:
            model = branching(curve, "model" if name == "curve_fit" else "residual")
            fits = [fit_of(library, name, curve, model, **options) for library in LIBRARIES]
            what = f"{name}, plain (a branch on a value), {curve}"
            rows.append(speed_row(what, "SciPy", *fits, required, pairs))
    rows += [traced.before_compiling_row(curve, pairs) for curve in CURVES]
    return Section(title="Speed, plain Python function (ratios: SciPy's CPU time / ours)", rows=rows)


def address_section(quick=False):
    """Time functions called by address against SciPy with the plain and with the jitted function."""
    pairs, rows = 5 if quick else 101, []
    for name, kind in (("curve_fit", "model"), ("leastsq", "residual")):
        for curve in CURVES:
            ours = fit_of("nlsq", name, curve, by_address(curve, kind))
            plain, compiled = fit_of("scipy", name, curve), fit_of("scipy", name, curve, jitted(curve, kind))
            what = f"{name}, jitted and by address, {curve}"
            rows.append(speed_row(what, "SciPy, plain function:", ours, plain, 10.0, pairs, shares=False))
            rows.append(speed_row(what, "SciPy, same jitted function:", ours, compiled, None, pairs, shares=False))
    return Section(title="Speed, jitted function by address", rows=rows)


# What a process pays once: the code is in `startup`


def startup_section(quick=False):
    """Measure importing, and the first fit with kernels on disk."""
    outputs = [fresh(startup.IMPORT_TIMES).output.split() for _ in range(5 if quick else 31)]
    wall, cpu = (median(float(output[k]) for output in outputs[1:]) for k in (0, 1))
    numpy_s = median(fresh(startup.IMPORT["numpy"]).wall for _ in range(3 if quick else 9))
    peer = f"python and numpy {1e3 * numpy_s:.0f} ms"
    rows = [limit_row("import nlsq after numpy, fresh process", peer, 15.0, wall, "ms", f" (CPU {cpu:.2f} ms)")]
    loaded = outputs[-1][2:]
    what, listed = "import nlsq also loads, of numba, llvmlite, scipy, scipy.optimize", ", ".join(loaded) or "nothing"
    met = "numba" not in loaded and "scipy.optimize" not in loaded
    rows.append(Row(what=what, peer="-", required="neither numba nor scipy.optimize", measured=listed, met=met))
    ratio = fresh_pairs(startup.FIRST_FIT["nlsq"], startup.FIRST_FIT["scipy"], pairs=3 if quick else 15)
    spread = f" ({1.0 / ratio.upper:.2f}-{1.0 / ratio.lower:.2f}), {ratio.ours:.2f} s CPU"
    what, peer = "fresh process, import and one plain curve_fit, caches warm", f"SciPy {ratio.peer:.2f} s CPU"
    rows.append(limit_row(what, peer, 1.5, 1.0 / ratio.median, "x", spread))
    return Section(title="Fresh process (ratio: our CPU time / SciPy's)", rows=rows)


def cold_section(quick=False):
    """Measure the first fit ever, and compiling the whole library, with no kernels on disk."""
    code = startup.COLD_CACHE + startup.FIRST_FIT["nlsq"]
    runs = sorted((fresh(code) for _ in range(1 if quick else 3)), key=lambda run: run.wall)
    middle = runs[len(runs) // 2]
    lines = sum("compiling" in line for line in middle.errors.splitlines())
    text = f" ({middle.cpu:.2f} s CPU); {lines} line on stderr says so"
    row = limit_row("first ever curve_fit, no kernels on disk, whole process", "-", 5.0, middle.wall, "s", text)
    rows = [replace(row, required=f"{row.required}, one line", met=bool(row.met and lines == 1))]
    if not quick:
        run = fresh(startup.COLD_CACHE + startup.PRECOMPILE)
        text = f" CPU ({run.wall:.1f} s wall, {run.output.strip()} kernels)"
        rows.append(limit_row("whole library compiled, whole process", "-", 60.0, run.cpu, "s", text))
    return Section(title="Cold cache", rows=rows)


SECTIONS = {
    "nist": nist_section,
    "mgh": mgh_section,
    "other": other_problems_section,
    "contraction": contraction_section,
    "speed": speed_section,
    "address": address_section,
    "traced": traced.fits_section,
    "nist_fit": nist_speed.digits_section,
    "nist_speed": nist_speed.speed_section,
    "graphs": graphs.operations_section,
    "slices": graphs.slices_section,
    "elementary": elementary.section,
    "colouring": coloring.section,
    "startup": startup_section,
    "compiling": scripts.compiling_section,
    "scripts": scripts.scripts_section,
    "cold": cold_section,
    "batches": batches.speed_section,
    "batch_answers": batches.share_section,
    "huge": batches.huge_section,
    "batch_compiling": batches.cold_section,
    "sparse_blocks": sparse.blocks_section,
    "pose_graphs": sparse.pose_graphs_section,
    "factorisations": factorisations.section,
    "sparse_memory": sparse.memory_section,
    "sparse_start": sparse.start_section,
    "constrained": constrained.section,
    "constrained_speed": constrained_speed.section,
    "warm_start": warm_start.section,
    "kkt_orderings": kkt_orderings.section,
    "constrained_start": constrained_start.section,
    "optimal_control": optimal_control.section,
}
