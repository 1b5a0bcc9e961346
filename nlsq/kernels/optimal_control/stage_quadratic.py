"""The quadratic program of an SQP step, by Mehrotra's predictor-corrector method with Riccati recursions [1]_ [2]_.

    repeat
        condense the bounds into diagonal and gradient; factorise
        predict: solve with m = 0; how far it may go says how much centring is needed, sigma = (mu_affine / mu)^3
        correct: m = sigma mu - dt dl; solve with the same factors
        step to 0.995 of the boundary
    until t l is at the tolerance, and the last step left slacks and distances equal, and multipliers where they belong

With Gauss-Newton matrices for H the program is convex. With exact Hessians it is so as long as no pivot of the controls
is replaced; else `INDEFINITE` is returned. Where no point satisfies the dynamics within the bounds the
multipliers grow without limit.

References
----------
.. [1] S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optim. 2 (1992).
.. [2] C. V. Rao, S. J. Wright, J. B. Rawlings, "Application of interior-point methods to model predictive control",
   J. Optim. Theory Appl. 99 (1998), sections 3 and 4.
"""

from nlsq.kernels.backend import call_weighted, kernel, shift
from nlsq.kernels.optimal_control.stage_bounds import (
    advance_rows,
    complementarity_after,
    condense,
    correct,
    find_changes,
    largest_change,
    largest_entry,
    mean_product,
    measure_distances,
    start_cold,
    start_rows,
)
from nlsq.kernels.optimal_control.stage_layout import (
    BARRIER,
    BLOCKS,
    BOUNDS,
    COST,
    COST_SIZE,
    DAMPING,
    DIRECTIONS,
    DZ,
    EXTENTS,
    FACTORISE,
    FACTORS,
    INDEFINITE,
    INFEASIBLE,
    IS_EXACT,
    MAX_QP_ITERATIONS,
    MULTIPLIERS,
    NOT_FINITE,
    NU,
    NX,
    QP_ITERATIONS,
    QP_TOLERANCE,
    ROW_WORK,
    ROWS,
    SELF,
    SLACK_ERROR,
    SLACKS,
    SUBSTITUTE,
    UNITS,
    VECTORS,
    WARM_BARRIER,
    WORK,
    K,
    N,
    Z,
)

BOUNDARY = 0.995  # of the way to it: Mehrotra 1992, section 6
SHORTEST = 1e-9  # steps below make no progress
LEAST_BARRIER = 1e-16  # relative to the size of the cost, as
FIRST_BARRIER = 1e-2  # at least
DEEP = 1e-3  # of the tolerance: with a barrier below, multipliers come of rounding, and get worse
SPREAD = 5.0  # how many times the tolerance single products may be
USABLE = 1e-3  # a program that was not solved to its tolerance may leave slacks as wrong as this, relative to extents


@kernel("void(int*, double*, double, double*, double*, double*)", apart=True)
def begin_sums(iw, gradient, damping, units, gradient_out, diagonal_out):
    """Copy the gradient, and let the diagonal begin with the damping, over the squares of the units."""
    lead = iw[K]
    for j in range(iw[NX] + iw[NU]):
        value = damping / (units[j] * units[j]) if damping > 0.0 else 0.0
        for i in range(j * lead, (j + 1) * lead):
            gradient_out[i] = gradient[i]
            diagonal_out[i] = value


@kernel("int(double*, int*, double, int)")
def iterate(w, iw, barrier, limit):
    """Iterate from the last program's slacks and multipliers with some barrier, or anew where it is zero."""
    lead, cost_size = iw[K], w[COST_SIZE]
    least, tolerance = LEAST_BARRIER * cost_size, w[QP_TOLERANCE] * cost_size
    size = iw[ROWS] * lead
    work = shift(w, iw[WORK])
    diagonal = shift(work, (iw[NX] + iw[NU]) * lead)
    blocks, factors, step = shift(w, iw[BLOCKS]), shift(w, iw[FACTORS]), shift(w, iw[DZ])
    direction, slacks, multipliers = shift(w, iw[DIRECTIONS]), shift(w, iw[SLACKS]), shift(w, iw[MULTIPLIERS])
    distances = shift(w, iw[ROW_WORK])
    weights, inverses, targets = shift(distances, size), shift(distances, 2 * size), shift(distances, 3 * size)
    slack_changes, changes = shift(distances, 4 * size), shift(distances, 5 * size)
    gradient, extents, units = shift(w, iw[VECTORS] + iw[NX] * lead), shift(w, iw[EXTENTS]), shift(w, iw[UNITS])
    measure_distances(iw, direction, shift(w, iw[BOUNDS]), shift(w, iw[Z]), distances)
    if barrier > 0.0:
        start_rows(iw, distances, extents, cost_size, barrier, slacks, multipliers)
    else:
        barrier = max(w[COST] / max(iw[ROWS] * iw[N], 1), FIRST_BARRIER * cost_size)
        start_cold(iw, distances, extents, barrier, slacks, multipliers)
    w[SLACK_ERROR] = 0.0
    for _ in range(limit):
        iw[QP_ITERATIONS] += 1
        begin_sums(iw, gradient, w[DAMPING] * cost_size, units, work, diagonal)
        condense(iw, direction, distances, slacks, multipliers, weights, inverses, work, diagonal)
        replaced = call_weighted(iw[FACTORISE], blocks, iw[SELF], work, factors)
        if replaced < 0:
            return NOT_FINITE
        if replaced > 0 and iw[IS_EXACT] != 0:
            return INDEFINITE
        call_weighted(iw[SUBSTITUTE], blocks, iw[SELF], work, factors)
        if iw[ROWS] == 0:
            return 0
        for i in range(size):
            targets[i] = 0.0
        ratio = find_changes(
            iw, direction, distances, step, slacks, multipliers, weights, inverses, targets, slack_changes, changes
        )
        affine = mean_product(iw, slacks, multipliers, slack_changes, changes, 1.0 / max(1.0, ratio))
        centring = affine / max(barrier, least)
        target = barrier * centring * centring * centring
        correct(iw, direction, target, slack_changes, changes, inverses, targets, work)
        call_weighted(iw[SUBSTITUTE], blocks, iw[SELF], work, factors)
        ratio = find_changes(
            iw, direction, distances, step, slacks, multipliers, weights, inverses, targets, slack_changes, changes
        )
        length = min(1.0, BOUNDARY / max(ratio, BOUNDARY))
        barrier = advance_rows(iw, slack_changes, changes, length, slacks, multipliers)
        w[BARRIER], w[SLACK_ERROR] = barrier, (1.0 - length) * largest_entry(iw, extents, slack_changes)
        if not abs(barrier) <= 1e300:
            return NOT_FINITE
        if barrier <= tolerance and w[SLACK_ERROR] <= w[QP_TOLERANCE]:
            short = (1.0 - length) * largest_change(iw, units, changes)
            spread = complementarity_after(iw, direction, distances, step, slacks, multipliers)
            if (short <= tolerance and spread <= SPREAD * tolerance) or barrier <= DEEP * tolerance:
                return 0
        if length < SHORTEST:
            break
    return 0 if w[SLACK_ERROR] <= USABLE else INFEASIBLE


@kernel("int(double*, int*)")
def solve_quadratic(w, iw):
    """Solve the program around z; the step is left in DZ. Zero, or one of the layout's codes.

    It begins near the solution of the last one; where that leads nowhere, anew. DZ holds the step of the first state,
    which is given.
    """
    if w[WARM_BARRIER] > 0.0:
        code = iterate(w, iw, w[WARM_BARRIER], iw[MAX_QP_ITERATIONS] // 2)
        if code == 0 or code == INDEFINITE:
            return code
    return iterate(w, iw, 0.0, iw[MAX_QP_ITERATIONS])
