"""NIST's 27 data sets by traced models: correct digits of `fit`, and the geometric mean of times against SciPy.

Times are compared over the fits, from both starts, that SciPy's `curve_fit` and the call in question solve at default
tolerances, to at least four digits; the others are named. Given the exact Jacobian, SciPy calls our compiled kernel
for it: its price is next to nothing, and what remains is what SciPy itself takes.
"""

from dataclasses import dataclass
from functools import partial
from math import exp, log
from statistics import fmean

import numpy as np

from . import accuracy
from .compare import interleaved
from .libraries import function
from .problems import nist
from .rows import Row, Section, counted_row, reported_row

__all__ = ["CALLS", "ExactJacobian", "digits_section", "fit_digits", "problems_of", "speed_section"]

SOLVED = 4.0  # digits
REQUIRED = {"Model.solve": 45.0, "fit": 10.0, "curve_fit": None}


def problems_of(quick=False):
    """Return the problems to measure."""
    return nist.all_problems()[:: 9 if quick else 1]


def model_of(problem):
    """Return the problem's model with its kernels."""
    import nlsq

    return nlsq.model(problem.model, variables=1 if problem.x.ndim == 1 else problem.x.shape[0])


def _solve(problem, start):
    return partial(model_of(problem).solve, problem.x, problem.y, start)


def _fit(problem, start):
    import nlsq

    return partial(nlsq.fit, model_of(problem).function, problem.x, problem.y, start)


def _curve_fit(problem, start):
    return partial(function("nlsq", "curve_fit"), model_of(problem).function, problem.x, problem.y, start)


CALLS = {"Model.solve": _solve, "fit": _fit, "curve_fit": _curve_fit}


def params_of(result):
    """Return the parameters in what any of the calls returned."""
    return getattr(result, "params", result[0] if isinstance(result, tuple) else None)


def fit_digits(compiled, problems=None):
    """Return ``{(name, start): digits}`` of `nlsq.fit` at default settings, by compiled kernels or by plain calls."""
    import nlsq

    digits = {}
    for problem in nist.all_problems() if problems is None else problems:
        model = model_of(problem) if compiled else _Plain(problem.model)
        for number, start in enumerate(problem.starts, 1):
            with accuracy.quiet():
                digits[problem.name, number] = problem.digits(nlsq.fit(model, problem.x, problem.y, start).params)
    return digits


class _Plain:
    """A model that is always called: an object, of which nothing is traced."""

    def __init__(self, function):
        self._function = function

    def __call__(self, x, *p):
        return self._function(x, *p)


def digits_section(quick=False):
    """Count correct digits of `fit`, plainly and compiled."""
    problems, rows, notes = problems_of(quick), [], []
    for compiled in (False, True):
        digits = fit_digits(compiled, problems)
        way = "compiled" if compiled else "plain calls"
        for least in (4, 6):
            good = sum(one >= least for one in digits.values())
            what = f"NIST, {len(digits)} fits, fit at default settings, {way}: >= {least} digits"
            rows.append(counted_row(what, "best peer 51" if not quick else "-", 54, good))
        below = [f"{name} start {start} ({d:.1f})" for (name, start), d in digits.items() if d < 6.0]
        if below:
            notes.append(f"{way}, below 6 digits (digits): {', '.join(below)}")
    return Section(title="NIST StRD, fit", rows=rows, notes=notes)


@dataclass(frozen=True, kw_only=True)
class ExactJacobian:
    """The Jacobian of a model for SciPy's ``jac=``, by the model's compiled kernel."""

    address: int
    binding: object
    shape: tuple

    @classmethod
    def of(cls, problem):
        """Return that of a problem's model at its x."""
        from nlsq.compiler.compile import Binding
        from nlsq.compiler.kernel_source import Variant
        from nlsq.kernels.backend import address_of_array
        from nlsq.kernels.curve import PREDICTORS

        entry, variant = model_of(problem).entry(problem.x), Variant(response=False)
        binding = Binding(entry.kernels, entry.trace, variant)
        binding.table[PREDICTORS] = address_of_array(problem.x)
        address = entry.kernels.address("jacobian", variant)
        return cls(address=address, binding=binding, shape=(problem.n, problem.m))

    def __call__(self, x, *p):
        from nlsq.kernels.backend.generated import call

        jac_t = np.empty(self.shape)
        call(self.address, np.array(p), self.binding.table, jac_t)
        return jac_t.T


def speed_section(quick=False):
    """Compare times over all fits that both solve."""
    problems, pairs = problems_of(quick), 3 if quick else 9
    solved, notes = _solved_by_scipy(problems)
    rows = []
    for exact in (False, True):
        for name, make in CALLS.items():
            peer = "SciPy curve_fit" + (" with exact jac" if exact else "")
            ratios, missed = _ratios(solved, make, exact, pairs)
            required = None if exact or quick else REQUIRED[name]
            rows.append(_mean_row(f"NIST, {len(ratios)} fits, geometric mean, {name}", peer, ratios, required))
            if missed:
                who = f"{name} or {peer}" if exact else name
                notes.append(f"solved by SciPy to {SOLVED:g} digits, and not by {who}: {', '.join(missed)}")
    return Section(title="NIST StRD, speed (ratios: SciPy's CPU time / ours)", rows=rows, notes=notes)


def _solved_by_scipy(problems):
    digits = accuracy.nist_digits("scipy", "default", problems)
    fits = [(problem, number) for problem in problems for number in (1, 2)]
    solved = [fit for fit in fits if digits[fit[0].name, fit[1]] >= SOLVED]
    left_out = [f"{problem.name} start {number}" for problem, number in fits if (problem, number) not in solved]
    return solved, [f"left out, as SciPy does not solve them: {', '.join(left_out)}"] if left_out else []


def _ratios(fits, make, exact, pairs):
    """Return the ratio of each fit that both calls solve, and the names of the others."""
    ratios, missed = [], []
    for problem, number in fits:
        start = problem.starts[number - 1]
        options = {"jac": ExactJacobian.of(problem)} if exact else {}
        peer = partial(function("scipy", "curve_fit"), problem.model, problem.x, problem.y, start, **options)
        ours = make(problem, start)
        with accuracy.quiet():
            if _solves(problem, ours) and _solves(problem, peer):
                ratios.append(interleaved(ours, peer, pairs=pairs, sample=2e-3).median)
            else:
                missed.append(f"{problem.name} start {number}")
    return ratios, missed


def _solves(problem, call):
    try:
        return problem.digits(params_of(call())) >= SOLVED
    except RuntimeError:  # SciPy's curve_fit, where it gives up
        return False


def _mean_row(what, peer, ratios, required):
    mean = exp(fmean(map(log, ratios)))
    text = f"{mean:.1f} x (each: {min(ratios):.1f}-{max(ratios):.1f})"
    if required is None:
        return reported_row(what, peer, text)
    return Row(what=what, peer=peer, required=f">= {required:g} x", measured=text, met=mean >= required)
