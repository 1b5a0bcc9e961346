"""Taking a trial point on: the filter, the multipliers, and derivatives at the new point."""

import math

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy
from nlsq.kernels.interior_point.errors import (
    constraints_transposed,
    update_errors,
    update_multiplied,
    update_violation,
)
from nlsq.kernels.interior_point.layout import (
    ARGUMENT,
    AY,
    BARRIER,
    BEST_COST,
    BEST_VIOLATION,
    C_TRIAL,
    COLUMN_WORK,
    COST,
    COST_SCALE,
    COST_TRIAL,
    CURVATURE_KNOWN,
    DUAL_LENGTH,
    GRADIENT,
    LAST_COST,
    LINEARISE,
    LOWER,
    LOWER_DUAL,
    LOWER_DUAL_STEP,
    MC,
    MISSING_OLD,
    MULTIPLY,
    NJEV,
    PRODUCT,
    QUASI,
    QUASI_NEWTON,
    R_TRIAL,
    R_WEIGHTED,
    RESIDUAL_TRANSPOSED,
    RESULT,
    ROOT_SCALE,
    STEP_LENGTH,
    STEP_NORM,
    UPPER,
    UPPER_DUAL,
    UPPER_DUAL_STEP,
    USER_VIOLATION,
    VIOLATION_TOLERANCE,
    X_BEST,
    X_EVALUATED,
    X_OLD,
    Y_STEP,
    Z_TRIAL,
    C,
    M,
    N,
    R,
    Y,
    Z,
)

MULTIPLIER_RANGE = 1e10  # kappa_Sigma: how far z_L may be from mu / distance
SECANT_LEAST = 1e-8  # of |v||s|, below which an SR1 update is left out


@kernel("void(double*, int*)")
def note_best(w, iw):
    """Keep the best point: the lowest cost among those that meet the constraints, else the least violation."""
    violation, cost = w[USER_VIOLATION], w[COST] / w[COST_SCALE]
    tolerance = w[VIOLATION_TOLERANCE]
    if not cost < math.inf or not violation < math.inf:
        return
    if violation <= tolerance:
        better = w[BEST_VIOLATION] > tolerance or cost < w[BEST_COST]
    else:
        better = violation < w[BEST_VIOLATION]
    if better:
        w[BEST_COST], w[BEST_VIOLATION] = cost, violation
        copy(shift(w, iw[X_EVALUATED]), shift(w, iw[X_BEST]), iw[N])


@kernel("void(double*, int*)")
def limit_bound_multipliers(w, iw):
    """Keep bound multipliers within a factor of mu over the distance: Waechter and Biegler 2006, (16)."""
    z, lower, upper, mu = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), w[BARRIER]
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            central = mu / (z[j] - lower[j])
            zl[j] = max(min(zl[j], MULTIPLIER_RANGE * central), central / MULTIPLIER_RANGE)
        if upper[j] < math.inf:
            central = mu / (upper[j] - z[j])
            zu[j] = max(min(zu[j], MULTIPLIER_RANGE * central), central / MULTIPLIER_RANGE)


@kernel("void(double*, int*)")
def step_multipliers(w, iw):
    """Take the steps of the multipliers: those of constraints as long as the primal step."""
    y, y_step, alpha = shift(w, iw[Y]), shift(w, iw[Y_STEP]), w[STEP_LENGTH]
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    dzl, dzu = shift(w, iw[LOWER_DUAL_STEP]), shift(w, iw[UPPER_DUAL_STEP])
    lower, upper = shift(w, iw[LOWER]), shift(w, iw[UPPER])
    for i in range(iw[MC]):
        y[i] += alpha * y_step[i]
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            zl[j] += w[DUAL_LENGTH] * dzl[j]
        if upper[j] < math.inf:
            zu[j] += w[DUAL_LENGTH] * dzu[j]


@kernel("int(double*, int*)")
def gradient_before(w, iw):
    """Form what SR1 stands for of J'r + A'y, with the old J and A, the new residual and multipliers."""
    n, which = iw[N], iw[QUASI_NEWTON]
    total, work = shift(w, iw[MISSING_OLD]), shift(w, iw[COLUMN_WORK])
    for j in range(n):
        total[j] = 0.0
    if which % 2 == 1:
        weighted, r = shift(w, iw[R_WEIGHTED]), shift(w, iw[R])
        for i in range(iw[M]):
            weighted[i] = w[ROOT_SCALE] * r[i]
        iw[ARGUMENT], iw[RESULT], iw[PRODUCT] = iw[R_WEIGHTED], iw[COLUMN_WORK], RESIDUAL_TRANSPOSED
        failed = call_step(iw[MULTIPLY], w, iw)
        if failed != 0:
            return failed
        for j in range(n):
            total[j] += work[j]
    if which >= 2:
        failed = constraints_transposed(w, iw, iw[Y], iw[COLUMN_WORK])
        if failed != 0:
            return failed
        for j in range(n):
            total[j] += work[j]
    return 0


@kernel("void(double*, int*)")
def structured_secant(w, iw):
    """Update B by the symmetric rank-one formula, so that B s = (J1 - J0)'r1 + (A1 - A0)'y1.

    Structured secant: Dennis, Gay and Welsch 1981, section 3; SR1: Nocedal and Wright 2006, (6.24) and (6.26).
    """
    n = iw[N]
    quasi, x, old = shift(w, iw[QUASI]), shift(w, iw[Z]), shift(w, iw[X_OLD])
    wanted, v = shift(w, iw[MISSING_OLD]), shift(w, iw[COLUMN_WORK])
    gradient, ay, which = shift(w, iw[GRADIENT]), shift(w, iw[AY]), iw[QUASI_NEWTON]
    v_norm, s_norm, inner = 0.0, 0.0, 0.0
    for i in range(n):
        total = (gradient[i] if which % 2 == 1 else 0.0) + (ay[i] if which >= 2 else 0.0) - wanted[i]
        for j in range(n):
            total -= quasi[i * n + j] * (x[j] - old[j])
        v[i] = total
        step = x[i] - old[i]
        v_norm += total * total
        s_norm += step * step
        inner += total * step
    if abs(inner) > SECANT_LEAST * math.sqrt(v_norm) * math.sqrt(s_norm) and inner != 0.0:
        for i in range(n):
            for j in range(n):
                quasi[i * n + j] += v[i] * v[j] / inner


@kernel("int(double*, int*)")
def linearise_here(w, iw):
    """Evaluate derivatives at the point just taken on, and what follows from them; nonzero: a function failed.

    -1 says that a derivative is not finite.
    """
    failed = call_step(iw[LINEARISE], w, iw)
    if failed != 0:
        return failed
    iw[NJEV] += 1
    iw[CURVATURE_KNOWN] = 0
    failed = update_multiplied(w, iw)
    if failed != 0:
        return failed
    if all_finite(shift(w, iw[GRADIENT]), iw[N]) == 0 or all_finite(shift(w, iw[AY]), iw[N]) == 0:
        return -1
    return 0


@kernel("void(double*, int*)")
def take_point(w, iw):
    """Make the trial point the current one; residual and constraints are there already."""
    n, mc = iw[N], iw[MC]
    z, trial, old = shift(w, iw[Z]), shift(w, iw[Z_TRIAL]), shift(w, iw[X_OLD])
    largest = 0.0
    for j in range(n):
        old[j] = z[j]
        largest = max(largest, abs(trial[j] - z[j]))
    w[STEP_NORM] = largest
    copy(trial, z, n + mc)
    copy(shift(w, iw[R_TRIAL]), shift(w, iw[R]), iw[M])
    copy(shift(w, iw[C_TRIAL]), shift(w, iw[C]), mc)
    w[LAST_COST], w[COST] = w[COST], w[COST_TRIAL]
    update_violation(w, iw)
    note_best(w, iw)


@kernel("int(double*, int*)")
def accept_trial_point(w, iw):
    """Take the trial point on, step the multipliers and evaluate derivatives; nonzero: a function failed."""
    take_point(w, iw)
    step_multipliers(w, iw)
    limit_bound_multipliers(w, iw)
    if iw[QUASI_NEWTON] != 0:
        failed = gradient_before(w, iw)
        if failed != 0:
            return failed
    failed = linearise_here(w, iw)
    if failed != 0:
        return failed
    if iw[QUASI_NEWTON] != 0:
        structured_secant(w, iw)
    update_errors(w, iw)
    return 0
