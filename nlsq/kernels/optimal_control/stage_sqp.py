"""Gauss-Newton sequential quadratic programming for stages joined by dynamics.

    repeat
        linearise all stages at z: dynamics, their Jacobians, gradients and Gauss-Newton matrices J'J
        test the first-order conditions with the multipliers of the last program
        solve the quadratic program for the step d
        search along d for less of the merit function  cost + penalty * sum |defects|    [1]_, section 18.3
        move

The matrices may be the exact Hessians of the Lagrangian instead, with which convergence is quadratic where
Gauss-Newton's is slow: where controls leave large residuals, and dynamics are curved. In an iteration in which these
are not positive definite on the dynamics' null space, or no step comes of them, Gauss-Newton's are taken.

Where no length of the step is good the Hessians get a diagonal, as in Levenberg's method, and the program is solved
anew.

References
----------
.. [1] J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd ed., 2006.
.. [2] H. G. Bock, K.-J. Plitt, "A multiple shooting algorithm for direct solution of optimal control problems", IFAC
   World Congress 1984.
"""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.optimal_control.riccati import find_costates, row_length
from nlsq.kernels.optimal_control.stage_bounds import clip
from nlsq.kernels.optimal_control.stage_evaluation import add_defects, evaluate, linearise, test_conditions
from nlsq.kernels.optimal_control.stage_layout import (
    ANCHOR,
    ANCHOR_COST,
    ANCHOR_DEFECT,
    ANCHOR_DESCENT,
    BLOCK,
    BLOCKS,
    BOUNDS,
    COST,
    COST_NEW,
    COST_SIZE,
    COSTATES,
    COSTATES_NEW,
    DAMPING,
    DEFECT,
    DEFECT_NEW,
    DIRECTIONS,
    DZ,
    EVALUATIONS,
    FACTORS,
    GLOBALISES,
    INFEASIBLE,
    INFEASIBLE_LEFT,
    IS_EXACT,
    IS_WARM,
    ITERATION_LIMIT,
    ITERATIONS,
    MAX_ITERATIONS,
    MULTIPLIERS,
    NO_PROGRESS,
    NOT_FINITE,
    NU,
    NX,
    PATIENCE,
    PENALTY,
    QP_ITERATIONS,
    QP_TOLERANCE,
    RELATIVE_STATIONARITY,
    RELAXED,
    ROWS,
    SOLVED,
    STATUS,
    STEP_LENGTH,
    TESTS,
    TOLERANCE,
    USES_EXACT,
    VECTORS,
    WAITING,
    WARM_BARRIER,
    WORK,
    Z_NEW,
    K,
    N,
    Z,
)
from nlsq.kernels.optimal_control.stage_quadratic import solve_quadratic
from nlsq.kernels.optimal_control.stage_sizes import choose_units, expect_cost, measure

SUFFICIENT = 1e-4  # Nocedal and Wright, algorithm 18.3: eta
SHARE = 0.5  # rho of their (18.36): how much of the decrease the penalty's part has to be
ROUNDING = 1e-13  # of the merit function: less is no change
NO_DEFECT = 1e-12  # relative to states: less is rounding, and no penalty helps against it
SHORTEST = 1e-6  # length of a step
PATIENT = 8  # full steps on trial, at first
INFEASIBLE_STEPS = 5  # towards linear programs without a feasible point, before the problem is called infeasible
WAIT = 2  # iterations without exact Hessians after they were not good
FIRST_DAMPING = 1e-3
LARGEST_DAMPING = 1e10
QP_SHARE = 0.1  # of the tolerance, to which programs are solved in the end,
LOOSE = 1e-3  # of the gradient of the Lagrangian, before
RESTART = 0.01  # of a bound's share in the cost: the barrier with which a program begins that is like the last one


@kernel("double(double*, int*)")
def cost_slope(w, iw):
    """Slope g'd of the cost along the step; the penalty is made large enough.

    It is raised to ``(g'd + 1/2 d'Hd) / ((1 - rho) sum |defects|)``, (18.36).
    """
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    nz = nx + nu
    row = row_length(nz)
    slope, step = shift(w, iw[VECTORS] + nx * lead), shift(w, iw[DZ])
    descent, curvature = 0.0, 0.0
    for k in range(stages + 1):
        hessian = shift(w, iw[BLOCKS] + k * iw[BLOCK] + nx * row)
        for i in range(0 if k < stages else nu, nz):
            d = step[i * lead + k]
            total = 0.5 * hessian[i * row + i] * d
            for j in range(0 if k < stages else nu, i):
                total += hessian[i * row + j] * step[j * lead + k]
            descent += slope[i * lead + k] * d
            curvature += total * d
    if w[DEFECT] > NO_DEFECT:
        needed = (descent + curvature) / ((1.0 - SHARE) * w[DEFECT])
        if w[PENALTY] < needed:
            w[PENALTY] = 2.0 * needed
    return descent


@kernel("void(double*, int*, double)")
def move_candidate(w, iw, length):
    """Put ``z + length d`` within the bounds into the candidate."""
    z, step, candidate = shift(w, iw[Z]), shift(w, iw[DZ]), shift(w, iw[Z_NEW])
    for i in range((iw[NX] + iw[NU]) * iw[K]):
        candidate[i] = z[i] + length * step[i]
    clip(iw, shift(w, iw[DIRECTIONS]), shift(w, iw[BOUNDS]), candidate)


@kernel("void(double*, int*)")
def return_to_anchor(w, iw):
    """Make the anchor the candidate, and be less patient from now on."""
    nx, size = iw[NX], (iw[NX] + iw[NU]) * iw[K]
    anchor = shift(w, iw[ANCHOR])
    iw[RELAXED], iw[PATIENCE] = 0, iw[PATIENCE] // 2
    w[STEP_LENGTH] = 1.0
    copy(anchor, shift(w, iw[Z_NEW]), size)
    copy(shift(anchor, size), shift(w, iw[COSTATES_NEW]), nx * iw[K])


@kernel("int(double*, int*)")
def is_worse_than_anchor(w, iw):
    """Whether full steps on trial have come to a point with more of the merit function than the anchor has."""
    here, there = w[COST] + w[PENALTY] * w[DEFECT], w[ANCHOR_COST] + w[PENALTY] * w[ANCHOR_DEFECT]
    return 1 if iw[RELAXED] > 0 and here > there + ROUNDING * abs(there) else 0


@kernel("int(double*, int*)")
def search(w, iw):
    """Find a length of the step with which the merit function falls below that at the anchor; nonzero: there is none.

    At first full steps are taken even where it does not, up to PATIENCE of them in a row: the watchdog of [1]_, section
    18.5. After that the anchor is taken up again, from where every step has to be a good one.
    """
    nx, size = iw[NX], (iw[NX] + iw[NU]) * iw[K]
    descent = cost_slope(w, iw)
    anchor = shift(w, iw[ANCHOR])
    if iw[RELAXED] == 0:
        w[ANCHOR_COST], w[ANCHOR_DEFECT], w[ANCHOR_DESCENT] = w[COST], w[DEFECT], descent
        copy(shift(w, iw[Z]), anchor, size)
        copy(shift(w, iw[COSTATES]), shift(anchor, size), nx * iw[K])
    merit = w[ANCHOR_COST] + w[PENALTY] * w[ANCHOR_DEFECT]
    slope = min(w[ANCHOR_DESCENT] - w[PENALTY] * w[ANCHOR_DEFECT], 0.0)
    length = 1.0
    while length >= SHORTEST:
        move_candidate(w, iw, length)
        if evaluate(w, iw) == 0:
            w[STEP_LENGTH] = length
            change = w[COST_NEW] + w[PENALTY] * w[DEFECT_NEW] - merit
            if change <= SUFFICIENT * length * slope + ROUNDING * abs(merit):
                iw[RELAXED] = 0
                return 0
            if length == 1.0 and iw[RELAXED] < iw[PATIENCE]:
                iw[RELAXED] += 1
                return 0
        if iw[RELAXED] > 0:
            return_to_anchor(w, iw)
            return 0
        iw[PATIENCE] = 0
        length *= 0.5
    return NO_PROGRESS


@kernel("void(double*, int*)")
def accept(w, iw):
    """Move to the candidate and take over the multipliers, as far as the step goes."""
    nx, size = iw[NX], (iw[NX] + iw[NU]) * iw[K]
    z, candidate = shift(w, iw[Z]), shift(w, iw[Z_NEW])
    copy(candidate, z, size)
    length = w[STEP_LENGTH]
    costates, new = shift(w, iw[COSTATES]), shift(w, iw[COSTATES_NEW])
    for i in range(nx * iw[K]):
        costates[i] += length * (new[i] - costates[i])


@kernel("int(double*, int*)")
def approach(w, iw):
    """Move along the last step of a program that has no feasible point, cut off at the bounds; nonzero where it is bad.

    The program around the next point may have one. Multipliers begin anew.
    """
    nx, lead = iw[NX], iw[K]
    costates, new, multipliers = shift(w, iw[COSTATES]), shift(w, iw[COSTATES_NEW]), shift(w, iw[MULTIPLIERS])
    for i in range(nx * lead):
        new[i] = costates[i] = 0.0
    for i in range(iw[ROWS] * lead):
        multipliers[i] = 0.0
    iw[RELAXED] = 0
    move_candidate(w, iw, 1.0)
    if evaluate(w, iw) != 0:
        return NOT_FINITE
    w[STEP_LENGTH] = 1.0
    accept(w, iw)
    return 0


@kernel("int(double*, int*)")
def take_step(w, iw):
    """Solve the quadratic program and move; zero, or one of the layout's codes."""
    nx, nu, lead = iw[NX], iw[NU], iw[K]
    slope = shift(w, iw[WORK] + (2 * (nx + nu) + 2 * nx) * lead)
    while True:
        code = solve_quadratic(w, iw)
        is_infeasible = code == INFEASIBLE and iw[IS_EXACT] == 0
        if is_infeasible and iw[GLOBALISES] != 0 and iw[INFEASIBLE_LEFT] > 0:
            iw[INFEASIBLE_LEFT] -= 1
            if approach(w, iw) == 0:
                return 0
        if code == 0:
            find_costates(iw, shift(w, iw[FACTORS]), slope, shift(w, iw[DZ]), shift(w, iw[COSTATES_NEW]))
            if iw[GLOBALISES] == 0:
                w[STEP_LENGTH] = 1.0
                move_candidate(w, iw, 1.0)
                accept(w, iw)
                return 0
            code = search(w, iw)
        if code == 0:
            accept(w, iw)
            w[DAMPING] *= 0.1 if w[STEP_LENGTH] == 1.0 else 1.0
            if w[DAMPING] < 1e-12:
                w[DAMPING] = 0.0
            return 0
        if iw[IS_EXACT] != 0:
            iw[IS_EXACT], iw[WAITING] = 0, WAIT
            code = linearise(w, iw)
            if code != 0:
                return code
        elif code != NO_PROGRESS or w[DAMPING] >= LARGEST_DAMPING:
            return code
        elif w[QP_TOLERANCE] > QP_SHARE * w[TOLERANCE]:
            w[QP_TOLERANCE] = QP_SHARE * w[TOLERANCE]
        else:
            w[DAMPING] = max(10.0 * w[DAMPING], FIRST_DAMPING)


@kernel("void(double*, int*)")
def prepare_program(w, iw):
    """Choose how accurately the next program is solved, and from where it begins.

    Far from the optimum it is solved loosely, as long as its steps are taken whole.
    """
    if iw[ITERATIONS] == 0:
        expect_cost(w, iw)
    w[QP_TOLERANCE] = QP_SHARE * w[TOLERANCE]
    if iw[TESTS] != 0 and w[STEP_LENGTH] == 1.0:
        w[QP_TOLERANCE] = max(w[QP_TOLERANCE], LOOSE * min(w[RELATIVE_STATIONARITY], 1.0))
    w[WARM_BARRIER] = 0.0
    if iw[IS_WARM] != 0 or iw[ITERATIONS] > 0:
        share = w[COST] / max(iw[ROWS] * iw[N], 1)
        w[WARM_BARRIER] = max(RESTART * share, 10.0 * w[QP_TOLERANCE] * w[COST_SIZE])


@kernel("int(double*, int*)")
def is_stationary(w, iw):
    """Whether the gradient that was tested last is within the tolerance."""
    return 1 if iw[TESTS] != 0 and w[RELATIVE_STATIONARITY] <= w[TOLERANCE] else 0


@kernel("int(double*, int*)")
def solve_stages(w, iw):
    """Solve from the z at hand; the result is the status, one of the layout's codes."""
    iw[ITERATIONS] = iw[EVALUATIONS] = iw[QP_ITERATIONS] = iw[RELAXED] = iw[WAITING] = 0
    iw[PATIENCE], iw[INFEASIBLE_LEFT] = PATIENT, INFEASIBLE_STEPS
    w[PENALTY] = w[DAMPING] = 0.0
    w[STEP_LENGTH] = 1.0
    while True:
        code = 0
        iw[IS_EXACT] = 1 if iw[USES_EXACT] != 0 and iw[WAITING] == 0 else 0
        iw[WAITING] = max(iw[WAITING] - 1, 0)
        if iw[TESTS] != 0 or iw[ITERATIONS] < iw[MAX_ITERATIONS]:
            code = linearise(w, iw)
            if code == 0:
                measure(w, iw)
            if code == 0 and iw[ITERATIONS] == 0:
                choose_units(w, iw)
                add_defects(w, iw)
        if code == 0 and iw[TESTS] != 0 and test_conditions(w, iw) != 0 and is_worse_than_anchor(w, iw) == 0:
            code = SOLVED
        elif code == 0 and iw[ITERATIONS] >= iw[MAX_ITERATIONS]:
            code = ITERATION_LIMIT
        elif (
            code == 0
            and iw[TESTS] != 0
            and is_worse_than_anchor(w, iw) != 0
            and w[RELATIVE_STATIONARITY] <= w[TOLERANCE]
        ):
            return_to_anchor(w, iw)
            accept(w, iw)
        elif code == 0:
            prepare_program(w, iw)
            code = take_step(w, iw)
        if code != 0:
            iw[STATUS] = code
            return code
        iw[ITERATIONS] += 1
