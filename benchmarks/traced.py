"""Plain functions that are traced and compiled: time of a fit against SciPy with the same NumPy function.

Functions are fitted for longer than the library waits before it compiles, so that what is measured is what a user's
loop of fits gets in the long run, with the clean check and every look at what has changed included. The lambda is
either kept, or made anew at each call, or made anew with another constant in its closure.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType

import numpy as np

from .compare import interleaved
from .libraries import CURVES, function, load_curve
from .rows import Section, faster_row

__all__ = ["CALLS", "BeforeCompiling", "Call", "before_compiling_row", "fits_section", "warm"]

WARM = 0.15  # seconds of plain fits, above `nlsq.compiler.routes.WORTH_COMPILING`
FITS_OF_ONE_CODE = 20  # some 10 ms: far from being compiled


def _gaussian(factor=2.0):
    """Make the model of the timing problem; the factor is a constant in its closure."""
    return lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / factor) + d


def _misra1a(factor=1.0):
    return lambda x, b1, b2: b1 * (factor - np.exp(-b2 * x))


MAKERS = {"gaussian": _gaussian, "misra1a": _misra1a}
EXACT = {"gaussian": 2.0, "misra1a": 1.0}
KEPT = {curve: make() for curve, make in MAKERS.items()}


def gaussian_jacobian(x, a, b, c, d):
    """Return dy/dp of the Gaussian, shape (m, 4)."""
    z = (x - b) / c
    e = np.exp(-(z**2) / 2.0)
    slope = a * e * z / c
    return np.stack([e, slope, slope * z, np.ones_like(x)], axis=1)


def misra1a_jacobian(x, b1, b2):
    """Return dy/dp of Misra1a, shape (m, 2)."""
    e = np.exp(-b2 * x)
    return np.stack([1.0 - e, b1 * x * e], axis=1)


JACOBIANS = {"gaussian": gaussian_jacobian, "misra1a": misra1a_jacobian}


def _residual(model, t, y):
    return lambda p: model(t, *p) - y


def _solve(curve):
    """Return a call of `Model.solve`."""
    import nlsq

    problem, model = load_curve(curve), nlsq.model(KEPT[curve])
    return partial(model.solve, problem.x, problem.y, problem.p0)


def _curve_fit(library, curve, model=None, **options):
    """Return a call of `curve_fit`, with one function for all calls."""
    problem, fit = load_curve(curve), function(library, "curve_fit")
    return partial(fit, model or KEPT[curve], problem.x, problem.y, problem.p0, **options)


def _curve_fit_anew(library, curve, changing=False):
    """Return a call of `curve_fit` with a function made for it, perhaps with another constant each time."""
    problem, fit, make = load_curve(curve), function(library, "curve_fit"), MAKERS[curve]
    if changing:
        counter, exact = itertools.count(), EXACT[curve]
        return lambda: fit(make(exact + 1e-9 * next(counter)), problem.x, problem.y, problem.p0)
    return lambda: fit(make(), problem.x, problem.y, problem.p0)


def _fit(curve):
    """Return a call of `nlsq.fit`."""
    import nlsq

    problem = load_curve(curve)
    return partial(nlsq.fit, KEPT[curve], problem.x, problem.y, problem.p0)


def _fit_with_errors(curve):
    """Return the same with standard errors read from the result."""
    fit = _fit(curve)
    return lambda: fit().stderr


def _of_residual(library, name, curve, **options):
    """Return a call of a function of residuals, with one residual for all calls."""
    problem, solver = load_curve(curve), function(library, name)
    return partial(solver, _residual(KEPT[curve], problem.x, problem.y), problem.p0, **options)


def _of_residual_anew(library, name, curve, **options):
    """Return the same with a residual made at each call."""
    problem, solver, model = load_curve(curve), function(library, name), KEPT[curve]
    return lambda: solver(_residual(model, problem.x, problem.y), problem.p0, **options)


def _with_jacobian(curve):
    """Return a call of SciPy's `curve_fit` with the exact Jacobian in NumPy."""
    return _curve_fit("scipy", curve, jac=JACOBIANS[curve])


@dataclass(frozen=True, kw_only=True)
class Call:
    """A way to fit a timing problem.

    Attributes
    ----------
    what : str
        In words.
    required : float or None
        How many times faster than the peer it must be.
    ours, peer : callable
        Given the name of a timing problem, return a function without arguments.
    peer_name : str
        Who the peer is.
    """

    what: str
    required: float | None
    ours: Callable
    peer: Callable
    peer_name: str = "SciPy curve_fit"


_PEER = partial(_curve_fit, "scipy")
_LEAST_SQUARES = "SciPy least_squares, trf"
CALLS = {
    "solve": Call(what="Model.solve", required=30.0, ours=_solve, peer=_PEER),
    "solve_exact": Call(
        what="Model.solve", required=None, ours=_solve, peer=_with_jacobian, peer_name="SciPy curve_fit with exact jac"
    ),
    "curve_fit": Call(what="curve_fit, one lambda", required=14.0, ours=partial(_curve_fit, "nlsq"), peer=_PEER),
    "curve_fit_anew": Call(
        what="curve_fit, lambda made anew at each call",
        required=9.0,
        ours=partial(_curve_fit_anew, "nlsq"),
        peer=partial(_curve_fit_anew, "scipy"),
    ),
    "curve_fit_changing": Call(
        what="curve_fit, lambda made anew with another constant at each call",
        required=None,
        ours=partial(_curve_fit_anew, "nlsq", changing=True),
        peer=partial(_curve_fit_anew, "scipy", changing=True),
    ),
    "fit": Call(what="fit, result object", required=6.0, ours=_fit, peer=_PEER),
    "fit_stderr": Call(what="fit, result object and its stderr", required=None, ours=_fit_with_errors, peer=_PEER),
    "least_squares": Call(
        what="least_squares, trf, closure residual",
        required=40.0,
        ours=partial(_of_residual, "nlsq", "least_squares", method="trf"),
        peer=partial(_of_residual, "scipy", "least_squares", method="trf"),
        peer_name=_LEAST_SQUARES,
    ),
    "least_squares_anew": Call(
        what="least_squares, trf, closure residual made anew at each call",
        required=None,
        ours=partial(_of_residual_anew, "nlsq", "least_squares", method="trf"),
        peer=partial(_of_residual_anew, "scipy", "least_squares", method="trf"),
        peer_name=_LEAST_SQUARES,
    ),
    "leastsq": Call(
        what="leastsq, closure residual",
        required=None,
        ours=partial(_of_residual, "nlsq", "leastsq"),
        peer=partial(_of_residual, "scipy", "leastsq"),
        peer_name="SciPy leastsq",
    ),
}


def warm(call, seconds=WARM):
    """Fit for so long that the library has compiled what it will compile."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        call()
    call()


def fits_section(quick=False):
    """Time every way to fit by a traced function."""
    rows, notes = [], []
    for curve in CURVES[: 1 if quick else None]:
        for call in CALLS.values():
            ours, peer = call.ours(curve), call.peer(curve)
            warm(ours)
            ratio = interleaved(ours, peer, pairs=3 if quick else 51)
            rows.append(faster_row(f"{call.what}, {curve}", ratio, call.required, call.peer_name))
        notes += _not_compiled(curve)
    return Section(title="Speed, traced functions (ratios: SciPy's CPU time / ours)", rows=rows, notes=notes)


def _not_compiled(curve):
    """Say which functions were not compiled in the end; nothing is expected here."""
    import nlsq

    problem = load_curve(curve)
    model = nlsq.explain(KEPT[curve], problem.x, problem.p0)
    residual = nlsq.explain(_residual(KEPT[curve], problem.x, problem.y), p0=problem.p0)
    return [
        f"{curve}: not compiled but {one.route}, {one.reason}" for one in (model, residual) if one.route != "compiled"
    ]


class BeforeCompiling:
    """Fits by a function whose code is new every few calls, so that it is never compiled.

    A constant of the code is new as well: the library remembers on disk which code it has compiled.

    Parameters
    ----------
    fit : callable
        Called with the function.
    model : function
        Whose code is copied; it has a float among its constants.
    """

    def __init__(self, fit, model):
        self._fit, self._model, self._calls = fit, model, 0

    def __call__(self):
        if self._calls % FITS_OF_ONE_CODE == 0:
            self._fresh = self._copy()
        self._calls += 1
        return self._fit(self._fresh)

    def _copy(self):
        code, shift = self._model.__code__, 1e-6 * random.random()
        constants = tuple(one + shift if type(one) is float else one for one in code.co_consts)
        return FunctionType(code.replace(co_consts=constants), self._model.__globals__)


_WITH_CONSTANTS = {
    "gaussian": lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d,
    "misra1a": lambda x, b1, b2: b1 * (1.0 - np.exp(-b2 * x)),
}


def before_compiling(library, curve):
    """Return a call of `curve_fit` by a function that could be compiled and is not yet."""
    problem, fit = load_curve(curve), function(library, "curve_fit")
    return BeforeCompiling(lambda model: fit(model, problem.x, problem.y, problem.p0), _WITH_CONSTANTS[curve])


def before_compiling_row(curve, pairs):
    """Time the first fits by a function that is compiled later."""
    ratio = interleaved(before_compiling("nlsq", curve), before_compiling("scipy", curve), pairs=pairs)
    return faster_row(f"curve_fit, traceable lambda before it is compiled, {curve}", ratio, 1.0)
