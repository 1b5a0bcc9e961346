"""Statuses of this library in SciPy's numbers and words, which its users match on."""

from __future__ import annotations

from nlsq.status import Status

LEAST_SQUARES_STATUS = {
    Status.OPTIMALITY: 1,
    Status.COST_CHANGE: 2,
    Status.STEP: 3,
    Status.COST_AND_STEP: 4,
    Status.MAX_EVALUATIONS: 0,
    Status.CALLBACK: -2,
    # The tolerance was met as far as rounding allows.
    Status.OPTIMALITY_FLOOR: 1,
    Status.COST_FLOOR: 2,
    Status.STEP_FLOOR: 3,
}
"""``status`` of `least_squares`; a status that is not listed is 0, and keeps its own message."""

LEAST_SQUARES_MESSAGES = {
    -2: "Stopped because `callback` function raised `StopIteration` or returned `True`",
    -1: "Improper input parameters status returned from `leastsq`",
    0: "The maximum number of function evaluations is exceeded.",
    1: "`gtol` termination condition is satisfied.",
    2: "`ftol` termination condition is satisfied.",
    3: "`xtol` termination condition is satisfied.",
    4: "Both `ftol` and `xtol` termination conditions are satisfied.",
}

MINPACK_INFO = {
    Status.COST_CHANGE: 1,
    Status.STEP: 2,
    Status.COST_AND_STEP: 3,
    Status.OPTIMALITY: 4,
    Status.MAX_EVALUATIONS: 5,
    Status.COST_FLOOR: 6,
    Status.STEP_FLOOR: 7,
    Status.STALLED: 7,
    Status.OPTIMALITY_FLOOR: 8,
}
"""``ier`` of `leastsq`."""

LEASTSQ_SUCCESS = (1, 2, 3, 4)
IMPROPER_INPUT = 0

_BOTH_REDUCTIONS = "Both actual and predicted relative reductions in the sum of squares\n  are at most {ftol:f}"
LEASTSQ_MESSAGES = {
    0: "Improper input parameters.",
    1: _BOTH_REDUCTIONS,
    2: "The relative error between two consecutive iterates is at most {xtol:f}",
    3: _BOTH_REDUCTIONS + " and the relative error between two consecutive iterates is at \n  most {xtol:f}",
    4: "The cosine of the angle between func(x) and any column of the\n"
    "  Jacobian is at most {gtol:f} in absolute value",
    5: "Number of calls to function has reached maxfev = {maxfev:d}.",
    6: "ftol={ftol:f} is too small, no further reduction in the sum of squares\n  is possible.",
    7: "xtol={xtol:f} is too small, no further improvement in the approximate\n  solution is possible.",
    8: "gtol={gtol:f} is too small, func(x) is orthogonal to the columns of\n  the Jacobian to machine precision.",
}

NONFINITE_START = "Residuals are not finite in the initial point."
NONFINITE_ARRAY = "array must not contain infs or NaNs"
NOT_AN_ARRAY_OF_FLOATS = "Result from function call is not a proper array of floats."
CHANGED_SIZE = "The array returned by a function changed size between calls"


def leastsq_message(info: int, ftol: float, xtol: float, gtol: float, maxfev: int) -> str:
    """Return ``mesg`` of `leastsq` for its ``ier``."""
    return LEASTSQ_MESSAGES[info].format(ftol=ftol, xtol=xtol, gtol=gtol, maxfev=maxfev)
