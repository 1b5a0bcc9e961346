"""How right the answers are: the collections solved by each library, and counted.

Stationary means that one of these holds at the point returned, J being exact and g = J'r:

    max_j |J_j'r| / (||J_j|| ||r||)             <= 1e-3      (the cosine of More, Garbow and Hillstrom's gtol)
    max_j |g_j| max(|x_j|, 1) / (1/2 r'r)       <= 1e-3      (Dennis and Schnabel 1996, section 7.2)
    the global minimum is zero, and r'r is within 1e-10 of it.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .libraries import function
from .problems import bounded, nist, robust
from .problems import more_garbow_hillstrom as mgh

__all__ = [
    "TOLERANCES",
    "Outcome",
    "bounded_minima",
    "is_stationary",
    "mgh_outcomes",
    "nist_digits",
    "quiet",
    "robust_errors",
]

STATIONARY = 1e-3
ZERO = 1e-10  # a minimum below this counts as zero; the absolute slack of MghProblem.is_global_minimum
TINY = np.finfo(float).tiny

# Near machine epsilon, SciPy needs more than its default number of calls for some sets.
TOLERANCES = {"default": {}, "near_eps": {"ftol": 1e-14, "xtol": 1e-14, "maxfev": 10_000}}


@contextmanager
def quiet():
    """Silence overflow on the way and covariances that cannot be estimated."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def nist_digits(library, tolerances="default", problems=None):
    """Return ``{(name, start): digits}`` of the worst parameter; 0 where `curve_fit` raises.

    Parameters
    ----------
    library : {"nlsq", "scipy"}
        Whose `curve_fit`.
    tolerances : {"default", "near_eps"}
        See `TOLERANCES`.
    problems : iterable of NistProblem, optional
        By default all 27.
    """
    curve_fit, options = function(library, "curve_fit"), TOLERANCES[tolerances]
    digits = {}
    for problem in nist.all_problems() if problems is None else problems:
        for number, start in enumerate(problem.starts, 1):
            digits[problem.name, number] = _digits(curve_fit, problem, start, options)
    return digits


def _digits(curve_fit, problem, start, options):
    try:
        with quiet():
            return problem.digits(curve_fit(problem.model, problem.x, problem.y, start, **options)[0])
    except (RuntimeError, ValueError):
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case of More, Garbow and Hillstrom ended.

    Attributes
    ----------
    case : str
        Problem and start.
    success : bool
        What the library claims; False where it raises.
    is_global : bool
        Whether the global minimum was reached, claimed or not.
    is_stationary : bool
        Whether the point is stationary; see the head of this file.
    cosine : float
        Largest cosine between r and a column of J.
    """

    case: str
    success: bool
    is_global: bool
    is_stationary: bool
    cosine: float


def mgh_outcomes(library, method, cases=None):
    """Return the `Outcome` of every case, exact Jacobian, default tolerances."""
    least_squares = function(library, "least_squares")
    with quiet():
        return [_outcome(least_squares, method, *case) for case in (mgh.cases() if cases is None else cases)]


def _outcome(least_squares, method, problem, factor):
    name = f"{problem.name} x{factor:g}"
    try:
        result = least_squares(problem.residual, problem.start(factor), problem.jacobian, method=method)
    except ValueError:  # not finite, at the start or on the way
        return Outcome(case=name, success=False, is_global=False, is_stationary=False, cosine=np.nan)
    return Outcome(
        case=name,
        success=bool(result.success),
        is_global=problem.is_global_minimum(problem.sum_of_squares(result.x)),
        is_stationary=is_stationary(problem, result.x),
        cosine=problem.stationarity(result.x),
    )


def is_stationary(problem, x):
    """Return whether x is a stationary point of a problem, as the head of this file says."""
    with np.errstate(all="ignore"):
        squares = problem.sum_of_squares(x)
        if problem.minimum <= ZERO and problem.is_global_minimum(squares):
            return True
        gradient = problem.jacobian(x).T @ problem.residual(x)
        relative = np.max(np.abs(gradient) * np.maximum(np.abs(x), 1.0)) / max(0.5 * squares, TINY)
        return bool(problem.stationarity(x) <= STATIONARY or relative <= STATIONARY)


def bounded_minima(library, method, problems=None):
    """Return ``{name: minimum reached within the bounds}``, exact Jacobian, default tolerances."""
    least_squares = function(library, "least_squares")
    reached = {}
    for problem in bounded.all_problems() if problems is None else problems:
        box = (problem.lower, problem.upper)
        with quiet():
            result = least_squares(problem.residual, problem.x0, problem.jacobian, bounds=box, method=method)
        reached[problem.name] = problem.is_feasible(result.x) and problem.is_minimum(problem.sum_of_squares(result.x))
    return reached


def robust_errors(library, loss, problems=None):
    """Return ``{name: parameter error / the error that a robust fit may have}``, exact Jacobian."""
    least_squares = function(library, "least_squares")
    errors = {}
    for problem in robust.all_problems() if problems is None else problems:
        options = {"loss": loss, "f_scale": problem.loss_scale}
        result = least_squares(problem.residual, problem.x0, problem.jacobian, **options)
        errors[problem.name] = problem.error(result.x) / problem.tolerance
    return errors
