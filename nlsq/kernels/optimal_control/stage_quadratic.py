"""The quadratic program of an SQP step, by Mehrotra's predictor-corrector method with Riccati recursions [1]_ [2]_.

    repeat
        condense the bounds into diagonal and gradient; factorise
        predict: solve with m = 0; how far it may go says how much centring is needed, sigma = (mu_affine / mu)^3
        correct: m = sigma mu - dt dl; solve with the same factors
        step to 0.995 of the boundary
    until t l is at the tolerance, and the last step left slacks and distances equal

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
    VECTORS,
    WARM_BARRIER,
    WORK,
    K,
    N,
    Z,
)

BOUNDARY = 0.995  # of the way to it: Mehrotra 1992, section 6
SHORTEST = 1e-9  # steps below make no progress
LEAST_BARRIER = 1e-16
FIRST_BARRIER = 1e-2
SPREAD = 5.0  # how many times the tolerance single products may be
USABLE = 1e-3  # a program that was not solved to its tolerance may leave slacks as wrong as this


@kernel("void(int*, double*, double, double*, double*)", apart=True)
def begin_sums(iw, gradient, damping, gradient_out, diagonal_out):
    """Copy the gradient, and let the diagonal begin with the damping."""
    for i in range((iw[NX] + iw[NU]) * iw[K]):
        gradient_out[i] = gradient[i]
        diagonal_out[i] = damping


@kernel("int(double*, int*, double, int)")
def iterate(w, iw, barrier, limit):
    """Iterate from the last program's slacks and multipliers with some barrier, or anew where it is zero."""
    lead = iw[K]
    size = iw[ROWS] * lead
    work = shift(w, iw[WORK])
    diagonal = shift(work, (iw[NX] + iw[NU]) * lead)
    blocks, factors, step = shift(w, iw[BLOCKS]), shift(w, iw[FACTORS]), shift(w, iw[DZ])
    direction, slacks, multipliers = shift(w, iw[DIRECTIONS]), shift(w, iw[SLACKS]), shift(w, iw[MULTIPLIERS])
    distances = shift(w, iw[ROW_WORK])
    weights, inverses, targets = shift(distances, size), shift(distances, 2 * size), shift(distances, 3 * size)
    slack_changes, changes = shift(distances, 4 * size), shift(distances, 5 * size)
    gradient = shift(w, iw[VECTORS] + iw[NX] * lead)
    measure_distances(iw, direction, shift(w, iw[BOUNDS]), shift(w, iw[Z]), distances)
    if barrier > 0.0:
        start_rows(iw, distances, shift(w, iw[EXTENTS]), barrier, slacks, multipliers)
    else:
        barrier = max(w[COST] / max(iw[ROWS] * iw[N], 1), FIRST_BARRIER)
        start_cold(iw, distances, shift(w, iw[EXTENTS]), barrier, slacks, multipliers)
    w[SLACK_ERROR] = 0.0
    for _ in range(limit):
        iw[QP_ITERATIONS] += 1
        begin_sums(iw, gradient, w[DAMPING], work, diagonal)
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
        centring = affine / max(barrier, LEAST_BARRIER)
        target = barrier * centring * centring * centring
        correct(iw, direction, target, slack_changes, changes, inverses, targets, work)
        call_weighted(iw[SUBSTITUTE], blocks, iw[SELF], work, factors)
        ratio = find_changes(
            iw, direction, distances, step, slacks, multipliers, weights, inverses, targets, slack_changes, changes
        )
        length = min(1.0, BOUNDARY / max(ratio, LEAST_BARRIER))
        barrier = advance_rows(iw, slack_changes, changes, length, slacks, multipliers)
        w[BARRIER], w[SLACK_ERROR] = barrier, (1.0 - length) * largest_entry(iw, slack_changes)
        if not abs(barrier) <= 1e300:
            return NOT_FINITE
        if barrier <= w[QP_TOLERANCE] and w[SLACK_ERROR] <= w[QP_TOLERANCE]:
            if complementarity_after(iw, direction, distances, step, slacks, multipliers) <= SPREAD * w[QP_TOLERANCE]:
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
