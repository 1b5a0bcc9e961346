"""The search direction: Newton's step for the barrier problem.

    [ W + Sigma_x + delta_w      A'                  ] [ dx ]      [ grad f + A'y - mu/(x - l) + mu/(u - x) ]
    [ A              -(Sigma_s + delta_w)^-1 - delta_c ] [ dy ] = - [ h - (Sigma_s + delta_w)^-1 r_s         ]

where ``W = J'J + lambda diag(J'J) + S``, ``Sigma = z_L/(z - l) + z_U/(u - z)`` and r_s is the right-hand side of the
slacks, which have been eliminated: ``ds = (Sigma_s + delta_w)^-1 (r_s + dy)``. The step is one of descent for the
barrier function where the constraints are met if the matrix has n positive and mc negative eigenvalues; where it has
not,

1.  second-order terms are left out (Gauss-Newton's matrix is at least positive semidefinite), at most
GAUSS_NEWTON_MOST times in a row; 2.  delta_w and delta_c are raised as in Algorithm IC [1]_.

delta_w is raised too where a step would go many times as far as the variables are large.
Constraints that follow from others have a factor by the grace of rounding; their multipliers tell, and delta_c is
raised.

References
----------
.. [1] A. Waechter, L. T. Biegler, Mathematical Programming 106, 2006, sections 2.2 and 3.1.
"""

import math

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.interior_point.layout import (
    AY,
    BARRIER,
    COLUMN_SQUARES,
    CORRECTIONS,
    CURVATURE,
    CURVATURE_KNOWN,
    DAMPING,
    DIAGONAL,
    DUAL_LENGTH,
    EXACT_CONSTRAINTS,
    EXACT_RESIDUAL,
    FACTORIZATIONS,
    FACTORIZE,
    FREE,
    GAUSS_NEWTON_COUNT,
    GRADIENT,
    INERTIA,
    INERTIA_RIGHT,
    INERTIA_SINGULAR,
    LAST_REGULARISATION,
    LOWER,
    LOWER_DUAL,
    LOWER_DUAL_STEP,
    MC,
    NHEV,
    PRIMAL_LENGTH,
    QUASI_NEWTON,
    REGULARISATION,
    RESIDUAL_OF_SOLVE,
    RHS,
    ROW_REGULARISATION,
    SLACK_RHS,
    SLACK_WEIGHT,
    SLOPE,
    SOLUTION,
    SOLVE,
    STEP,
    TO_BOUNDARY,
    UPPER,
    UPPER_DUAL,
    UPPER_DUAL_STEP,
    USE_HESSIAN,
    USED_HESSIAN,
    Y_STEP,
    H,
    N,
    Y,
    Z,
)

GAUSS_NEWTON_MOST = 4  # directions in a row without second-order terms, before delta_w is raised instead
DAMPED_LEAST = 1e-8  # lambda of a Gauss-Newton matrix in place of another
FIRST_REGULARISATION = 1e-4  # delta_w^0
LEAST_REGULARISATION = 1e-20
MOST_REGULARISATION = 1e40
FASTEST_GROWTH, GROWTH, DECAY = 100.0, 8.0, 1.0 / 3.0  # kappa_w^+ at first, kappa_w^+, kappa_w^-
ROW_REGULARISED = 1e-8  # delta_c = this times mu^(1/4)
FARTHEST = 1e4  # of a variable's size or of 1, that a step may go
SHORTENED_MOST = 12  # times that delta_w is raised for that
INACCURATE = 1e-4  # residual of a linear system, relative, beyond which its solution is none
DEPENDENT = 1e10  # multipliers beyond this times the gradient
SMALLEST_WEIGHT = 1e-20  # of a slack far from its bounds


@kernel("void(double*, int*)")
def write_diagonal(w, iw):
    """Put Sigma, lambda D^2 and the regularisations on the diagonals of the KKT system."""
    n, mc = iw[N], iw[MC]
    z, lower, upper, free = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[FREE])
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    d, weight, squares = shift(w, iw[DIAGONAL]), shift(w, iw[SLACK_WEIGHT]), shift(w, iw[COLUMN_SQUARES])
    delta, damping = w[REGULARISATION], w[DAMPING]
    for j in range(n + mc):
        sigma = delta
        if lower[j] > -math.inf:
            sigma += zl[j] / (z[j] - lower[j])
        if upper[j] < math.inf:
            sigma += zu[j] / (upper[j] - z[j])
        d[j] = sigma
    if damping > 0.0:
        for j in range(n):
            d[j] += damping * (squares[j] if squares[j] > 0.0 else 1.0)
    for i in range(mc):
        weight[i] = 0.0 if free[n + i] == 0.0 else 1.0 / max(d[n + i], SMALLEST_WEIGHT)
        d[n + i] = weight[i] + w[ROW_REGULARISATION]


@kernel("void(double*, int*, int)")
def write_right_hand_side(w, iw, h_offset):
    """Fill RHS for h at an offset in w; the part of the slacks is kept in SLACK_RHS."""
    n, mc, mu = iw[N], iw[MC], w[BARRIER]
    z, lower, upper, free = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[FREE])
    gradient, ay, y, h = shift(w, iw[GRADIENT]), shift(w, iw[AY]), shift(w, iw[Y]), shift(w, h_offset)
    rhs, weight, slack_rhs = shift(w, iw[RHS]), shift(w, iw[SLACK_WEIGHT]), shift(w, iw[SLACK_RHS])
    for j in range(n):
        rhs[j] = -(gradient[j] + ay[j])
    for i in range(mc):
        rhs[n + i] = y[i]
    for j in range(n + mc):
        if lower[j] > -math.inf:
            rhs[j] += mu / (z[j] - lower[j])
        if upper[j] < math.inf:
            rhs[j] -= mu / (upper[j] - z[j])
        rhs[j] *= free[j]
    for i in range(mc):
        slack_rhs[i] = rhs[n + i]
        rhs[n + i] = weight[i] * slack_rhs[i] - h[i]


@kernel("int(double*, int*, double)")
def factorize_with_right_inertia(w, iw, row_regularisation):
    """Factorise, with as much regularisation as it takes: 0; -1 when none is enough; else what a function returned."""
    second = 1 if iw[EXACT_RESIDUAL] + iw[EXACT_CONSTRAINTS] + iw[QUASI_NEWTON] != 0 else 0
    if second != 0 and iw[CURVATURE_KNOWN] == 0:
        failed = call_step(iw[CURVATURE], w, iw)
        if failed != 0:
            return failed
        iw[NHEV] += 1
        iw[CURVATURE_KNOWN] = 1
    iw[USE_HESSIAN] = 3 if second != 0 else 1
    w[REGULARISATION], w[ROW_REGULARISATION] = 0.0, row_regularisation
    attempts = 0
    while True:
        write_diagonal(w, iw)
        failed = call_step(iw[FACTORIZE], w, iw)
        if failed != 0:
            return failed
        iw[FACTORIZATIONS] += 1
        if iw[INERTIA] == INERTIA_RIGHT:
            break
        iw[CORRECTIONS] += 1
        attempts += 1
        if attempts == 1 and iw[USE_HESSIAN] == 3 and iw[GAUSS_NEWTON_COUNT] < GAUSS_NEWTON_MOST:
            iw[USE_HESSIAN] = 1
            w[DAMPING] = max(w[DAMPING], DAMPED_LEAST)
        else:
            if iw[INERTIA] == INERTIA_SINGULAR and iw[MC] > 0:
                w[ROW_REGULARISATION] = row_regularisation_of(w)
            raise_regularisation(w, iw)
            if w[REGULARISATION] > MOST_REGULARISATION:
                return -1
    if w[REGULARISATION] > 0.0:
        w[LAST_REGULARISATION] = w[REGULARISATION]
    iw[GAUSS_NEWTON_COUNT] = iw[GAUSS_NEWTON_COUNT] + 1 if second != 0 and iw[USE_HESSIAN] == 1 else 0
    iw[USED_HESSIAN] = iw[USE_HESSIAN]
    return 0


@kernel("void(double*, int*)")
def raise_regularisation(w, iw):
    """Raise delta_w, from what was enough the last time."""
    last = w[LAST_REGULARISATION]
    if w[REGULARISATION] == 0.0:
        w[REGULARISATION] = FIRST_REGULARISATION if last == 0.0 else max(LEAST_REGULARISATION, DECAY * last)
    else:
        w[REGULARISATION] *= FASTEST_GROWTH if last == 0.0 else GROWTH


@kernel("int(double*, int*, int, int)")
def solve_for_step(w, iw, step_offset, y_offset):
    """Solve with RHS; the steps of variables and slacks, and of the multipliers, go to offsets in w."""
    n, mc = iw[N], iw[MC]
    failed = call_step(iw[SOLVE], w, iw)
    if failed != 0:
        return failed
    solution, step, y_step = shift(w, iw[SOLUTION]), shift(w, step_offset), shift(w, y_offset)
    weight, free, slack_rhs = shift(w, iw[SLACK_WEIGHT]), shift(w, iw[FREE]), shift(w, iw[SLACK_RHS])
    for i in range(mc):
        y_step[i] = solution[n + i]
        step[n + i] = weight[i] * (slack_rhs[i] + y_step[i])
    for j in range(n):
        step[j] = solution[j] * free[j]
    return 0


@kernel("double(double*, int*, int)")
def longest_primal(w, iw, step_offset):
    """Give the longest step, at most 1, that keeps a share 1 - tau of each distance to a bound."""
    z, lower, upper, step = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, step_offset)
    alpha, tau = 1.0, w[TO_BOUNDARY]
    for j in range(iw[N] + iw[MC]):
        if step[j] < 0.0 and lower[j] > -math.inf:
            alpha = min(alpha, -tau * (z[j] - lower[j]) / step[j])
        elif step[j] > 0.0 and upper[j] < math.inf:
            alpha = min(alpha, tau * (upper[j] - z[j]) / step[j])
    return alpha


@kernel("void(double*, int*)")
def write_bound_multiplier_steps(w, iw):
    """Form the steps of the bound multipliers, the slope of the barrier function, and the longest steps."""
    z, lower, upper, step = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[STEP])
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    dzl, dzu = shift(w, iw[LOWER_DUAL_STEP]), shift(w, iw[UPPER_DUAL_STEP])
    gradient, mu, tau = shift(w, iw[GRADIENT]), w[BARRIER], w[TO_BOUNDARY]
    slope, alpha = 0.0, 1.0
    for j in range(iw[N]):
        slope += gradient[j] * step[j]
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            distance = z[j] - lower[j]
            slope -= mu / distance * step[j]
            dzl[j] = mu / distance - zl[j] - zl[j] / distance * step[j]
            if dzl[j] < 0.0:
                alpha = min(alpha, -tau * zl[j] / dzl[j])
        if upper[j] < math.inf:
            distance = upper[j] - z[j]
            slope += mu / distance * step[j]
            dzu[j] = mu / distance - zu[j] + zu[j] / distance * step[j]
            if dzu[j] < 0.0:
                alpha = min(alpha, -tau * zu[j] / dzu[j])
    w[SLOPE], w[DUAL_LENGTH] = slope, alpha
    w[PRIMAL_LENGTH] = longest_primal(w, iw, iw[STEP])


@kernel("double(double*)")
def row_regularisation_of(w):
    """Give delta_c, for constraints that depend on each other."""
    return ROW_REGULARISED * math.pow(max(w[BARRIER], 1e-12), 0.25)


@kernel("int(double*, int*)")
def seems_dependent(w, iw):
    """Whether the multipliers of the step are so large that some constraints follow from others but for rounding."""
    y, y_step, gradient = shift(w, iw[Y]), shift(w, iw[Y_STEP]), shift(w, iw[GRADIENT])
    if not w[RESIDUAL_OF_SOLVE] <= INACCURATE:
        return 1
    largest, size = 0.0, 1.0
    for j in range(iw[N]):
        size = max(size, abs(gradient[j]))
    for i in range(iw[MC]):
        largest = max(largest, abs(y[i] + y_step[i]))
        if y_step[i] != y_step[i]:
            return 1
    return 1 if largest > DEPENDENT * size else 0


@kernel("int(double*, int*)")
def runs_off(w, iw):
    """Whether a variable would move many times as far as it is from 0: the model is flat in some direction."""
    z, step = shift(w, iw[Z]), shift(w, iw[STEP])
    for j in range(iw[N]):
        if not abs(step[j]) <= FARTHEST * (1.0 + abs(z[j])):
            return 1
    return 0


@kernel("double(double*, int*)")
def curvature_of_step(w, iw):
    """Give the right-hand side over the step, by their largest entries: what flat directions have of curvature."""
    rhs, step, largest, longest = shift(w, iw[RHS]), shift(w, iw[STEP]), 0.0, 0.0
    for j in range(iw[N]):
        largest, longest = max(largest, abs(rhs[j])), max(longest, abs(step[j]))
    return max(largest / longest, LEAST_REGULARISATION) if longest > 0.0 else FIRST_REGULARISATION


@kernel("int(double*, int*)")
def factorize_again(w, iw):
    """Factorise with the diagonal of more regularisation."""
    write_diagonal(w, iw)
    failed = call_step(iw[FACTORIZE], w, iw)
    if failed != 0:
        return failed
    iw[FACTORIZATIONS] += 1
    w[LAST_REGULARISATION] = w[REGULARISATION]
    return 0


@kernel("int(double*, int*)")
def newton_step(w, iw):
    """Solve for the steps of variables, slacks and multipliers, with the factor at hand."""
    write_right_hand_side(w, iw, iw[H])
    return solve_for_step(w, iw, iw[STEP], iw[Y_STEP])


@kernel("int(double*, int*)")
def compute_search_direction(w, iw):
    """Compute the steps of variables, slacks and multipliers: 0; -1 without a factor; else what a function returned."""
    failed = factorize_with_right_inertia(w, iw, 0.0)
    if failed == 0:
        failed = newton_step(w, iw)
    if failed == 0 and w[ROW_REGULARISATION] == 0.0 and iw[MC] > 0 and seems_dependent(w, iw) != 0:
        iw[CORRECTIONS] += 1
        failed = factorize_with_right_inertia(w, iw, row_regularisation_of(w))
        if failed == 0:
            failed = newton_step(w, iw)
    attempts = 0
    while failed == 0 and attempts < SHORTENED_MOST and runs_off(w, iw) != 0:
        attempts += 1
        iw[CORRECTIONS] += 1
        w[REGULARISATION] = max(FASTEST_GROWTH * w[REGULARISATION], curvature_of_step(w, iw))
        failed = factorize_again(w, iw)
        if failed == 0 and iw[INERTIA] == INERTIA_RIGHT:
            failed = newton_step(w, iw)
    if failed == 0 and iw[INERTIA] != INERTIA_RIGHT:
        return -1
    if failed != 0:
        return failed
    write_bound_multiplier_steps(w, iw)
    return 0
