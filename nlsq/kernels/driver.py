"""The driver loop for residuals that are called by address.

The same steps as `nlsq.solvers.driver`, without Python between them.
"""

from nlsq.kernels.backend import call_function, call_step, kernel
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy
from nlsq.kernels.finite_difference import sizes_from_start
from nlsq.kernels.layout import (
    COUNT_ALL,
    JACOBIAN_STEP,
    JUDGE_STEP,
    LINEARISE_STEP,
    MAX_EVALUATIONS,
    NFEV,
    NFEV_JAC,
    NJEV,
    PROPOSE_STEP,
    RESIDUAL,
    RESIDUAL_DATA,
    RESIDUAL_FUNCTION,
    RESIDUAL_NEW,
    RULE,
    RULE_MINPACK,
    STATUS,
    STEP_NORM,
    X_NEW,
    X_NORM,
    M,
    N,
    X,
    residual_vector,
    vector,
)
from nlsq.status import Status

CLOSE_ENOUGH = 1e-5  # MINPACK's rule: J is not evaluated again after a last step shorter than this, relative to x
LIMIT = int(Status.MAX_EVALUATIONS)
NONFINITE_START = int(Status.NONFINITE_START)
STALLED = int(Status.STALLED)


@kernel("int(double*, int*)")
def is_final(w, iw):
    """Say whether J need not be taken once more after the last accepted step, for optimality to have the last word."""
    return 1 if iw[STATUS] != 0 and iw[RULE] == RULE_MINPACK and w[STEP_NORM] <= CLOSE_ENOUGH * w[X_NORM] else 0


@kernel("int(double*, int*)")
def solve_by_address(w, iw):
    """Run to the end.

    Returns 0, or the error code of the user's function when it failed (the point it failed at is the candidate; x keeps
    the best).
    """
    if iw[NJEV] == 0:
        sizes_from_start(w, iw)
        failed = call_function(
            iw[RESIDUAL_FUNCTION], vector(w, iw, X), iw[RESIDUAL_DATA], residual_vector(w, iw, RESIDUAL)
        )
        if failed != 0:
            copy(vector(w, iw, X), vector(w, iw, X_NEW), iw[N])
            return failed
        iw[NFEV] += 1
        if all_finite(residual_vector(w, iw, RESIDUAL), iw[M]) == 0:
            iw[STATUS] = NONFINITE_START
            return 0
    pending = 0
    while True:
        failed = call_step(iw[JACOBIAN_STEP], w, iw)
        if failed != 0:
            return failed
        iw[NJEV] += 1
        status = call_step(iw[LINEARISE_STEP], w, iw)
        if status == -1:
            continue
        iw[STATUS] = status if status != 0 else pending
        if iw[STATUS] != 0:
            return 0
        code = 0
        while code == 0:
            spent = iw[NFEV] + (iw[NFEV_JAC] if iw[COUNT_ALL] != 0 else 0)
            if spent >= iw[MAX_EVALUATIONS]:
                iw[STATUS] = LIMIT
                return 0
            if call_step(iw[PROPOSE_STEP], w, iw) != 0:
                iw[STATUS] = STALLED
                return 0
            failed = call_function(
                iw[RESIDUAL_FUNCTION], vector(w, iw, X_NEW), iw[RESIDUAL_DATA], residual_vector(w, iw, RESIDUAL_NEW)
            )
            if failed != 0:
                return failed
            iw[NFEV] += 1
            code = call_step(iw[JUDGE_STEP], w, iw)
        if code == 2:
            return 0
        pending = iw[STATUS]
        if is_final(w, iw) != 0:
            return 0
