"""What the method asks of functions and matrices, for dense problems.

    [ J'J + S + D     A'  ] [ p ]   [ a ]
    [ A              -E   ] [ y ] = [ b ]

D and E are diagonal; the columns of held variables are left out. The slacks have been eliminated: E_i is the inverse
of their diagonal entry. Each service is ``int service(double* w, int* iw)`` and reached by address, so that sparse
problems bring their own.
"""

import math

from nlsq.kernels.backend import call_function, call_weighted, kernel, shift
from nlsq.kernels.bunch_kaufman import factor, solve
from nlsq.kernels.dense import copy, dot
from nlsq.kernels.interior_point.layout import (
    ARGUMENT,
    BLOCK_JAC_T,
    BLOCK_TABLE,
    BLOCK_WIDTH,
    BLOCKS,
    C_TRIAL,
    COLUMN_SQUARES,
    CONSTRAINT_JAC_T,
    CONSTRAINTS_TIMES,
    CONSTRAINTS_TRANSPOSED,
    COST_SCALE,
    COST_TRIAL,
    CURVATURE_WEIGHT,
    DATA_OF,
    DIAGONAL,
    EXACT_CONSTRAINTS,
    EXACT_RESIDUAL,
    FIRST_ROW_OF,
    FREE,
    GRADIENT,
    GRADIENT_BOUND,
    HESSIAN_DATA_OF,
    HESSIAN_OF,
    INERTIA,
    INERTIA_NEGATIVE,
    INERTIA_RIGHT,
    INERTIA_SINGULAR,
    JAC_T,
    JACOBIAN_OF,
    KKT,
    KKT_FACTOR,
    LOSS,
    LOSS_SCALE,
    MC,
    NJEV,
    NORMAL,
    PIVOTS,
    PRODUCT,
    QUASI,
    QUASI_NEWTON,
    R_TRIAL,
    R_WEIGHTED,
    REFINEMENT,
    RESIDUAL_OF_SOLVE,
    RESIDUAL_TRANSPOSED,
    RESULT,
    RHS,
    ROOT_SCALE,
    ROUNDING,
    ROW_SCALE,
    ROW_WORK,
    ROWS_OF,
    SCALED,
    SECOND,
    SIZE,
    SOLUTION,
    USE_HESSIAN,
    VALUE_OF,
    X_EVALUATED,
    Z_TRIAL,
    M,
    N,
    R,
    Y,
    Z,
)
from nlsq.kernels.interior_point.points import place_evaluated
from nlsq.kernels.interior_point.robust_rows import bend, reweight, root_of_weight
from nlsq.kernels.interior_point.scaling import choose_scales
from nlsq.kernels.robust import LINEAR, rho_first, robust_cost
from nlsq.kernels.symmetric_product import normal_matrix

REFINEMENTS = 3
UNIT = 2.22e-16
ACCURATE = 1e-13  # of a linear system, relative: no refinement


@kernel("void(double*, int*)")
def extend_linearly(w, iw):
    """Extend residual and constraints, evaluated at the bounds, to where those are relaxed, by the last Jacobians."""
    m, mc, root = iw[M], iw[MC], w[ROOT_SCALE]
    if iw[NJEV] == 0:
        return
    trial, x, size = shift(w, iw[Z_TRIAL]), shift(w, iw[X_EVALUATED]), shift(w, iw[SIZE])
    r, c, linearised = shift(w, iw[R_TRIAL]), shift(w, iw[C_TRIAL]), shift(w, iw[R])
    jac_t, a_t = shift(w, iw[JAC_T]), shift(w, iw[CONSTRAINT_JAC_T])
    for j in range(iw[N]):
        beyond = trial[j] - x[j] / size[j]
        if x[j] != size[j] * trial[j]:
            for i in range(m):
                weight = root * root_of_weight(linearised[i], iw[LOSS], w[LOSS_SCALE])
                if weight > 0.0:
                    r[i] += jac_t[j * m + i] / weight * beyond
            for i in range(mc):
                c[i] += a_t[j * mc + i] * beyond


@kernel("int(double*, int*)")
def evaluate(w, iw):
    """Evaluate residual, cost and constraints at the trial point; nonzero: 1 + the function that failed."""
    place_evaluated(w, iw, iw[Z_TRIAL])
    x, c, scale = shift(w, iw[X_EVALUATED]), shift(w, iw[C_TRIAL]), shift(w, iw[ROW_SCALE])
    for b in range(iw[BLOCKS]):
        block = shift(iw, iw[BLOCK_TABLE] + b * BLOCK_WIDTH)
        out = shift(w, iw[R_TRIAL]) if b == 0 else shift(c, block[FIRST_ROW_OF])
        if call_function(block[VALUE_OF], x, block[DATA_OF], out) != 0:
            return 1 + b
    for i in range(iw[MC]):
        c[i] *= scale[i]
    extend_linearly(w, iw)
    r, m = shift(w, iw[R_TRIAL]), iw[M]
    if iw[LOSS] == LINEAR:
        w[COST_TRIAL] = 0.5 * w[COST_SCALE] * dot(r, r, m)
    else:
        w[COST_TRIAL] = w[COST_SCALE] * robust_cost(r, m, iw[LOSS], w[LOSS_SCALE])
    return 0


@kernel("int(double*, int*)")
def evaluate_jacobians(w, iw):
    """Evaluate J and A at the point that was evaluated last, by z."""
    n, mc = iw[N], iw[MC]
    m, x, a_t, size = iw[M], shift(w, iw[X_EVALUATED]), shift(w, iw[CONSTRAINT_JAC_T]), shift(w, iw[SIZE])
    for b in range(iw[BLOCKS]):
        block = shift(iw, iw[BLOCK_TABLE] + b * BLOCK_WIDTH)
        out = shift(w, iw[JAC_T]) if b == 0 else shift(w, iw[BLOCK_JAC_T])
        if call_function(block[JACOBIAN_OF], x, block[DATA_OF], out) != 0:
            return 1 + b
        if b == 0:
            for j in range(n):
                if size[j] != 1.0:
                    for i in range(m):
                        out[j * m + i] *= size[j]
        else:
            rows, first = block[ROWS_OF], block[FIRST_ROW_OF]
            for j in range(n):
                for i in range(rows):
                    a_t[j * mc + first + i] = out[j * rows + i] * size[j]
    return 0


@kernel("void(double*, int*)")
def largest_of_rows(w, iw):
    """Put the largest entry of each row of A into ROW_WORK."""
    n, mc = iw[N], iw[MC]
    a_t, rows = shift(w, iw[CONSTRAINT_JAC_T]), shift(w, iw[ROW_WORK])
    for i in range(mc):
        rows[i] = 0.0
    for j in range(n):
        for i in range(mc):
            rows[i] = max(rows[i], abs(a_t[j * mc + i]))


@kernel("double(double*, int*)")
def bound_of_gradient(w, iw):
    """Give the largest |J_j| times |r|."""
    m, jac_t, weighted, largest = iw[M], shift(w, iw[JAC_T]), shift(w, iw[R_WEIGHTED]), 0.0
    for j in range(iw[N]):
        column = shift(jac_t, j * m)
        largest = max(largest, dot(column, column, m))
    return math.sqrt(largest * dot(weighted, weighted, m))


@kernel("void(double*, int*)")
def estimate_rounding(w, iw):
    """Put what rounding of x does to each constraint into ROUNDING: the sum of ``eps |A_ij x_j|``."""
    n, mc = iw[N], iw[MC]
    a_t, rounding, z = shift(w, iw[CONSTRAINT_JAC_T]), shift(w, iw[ROUNDING]), shift(w, iw[Z])
    for i in range(mc):
        rounding[i] = 0.0
    for j in range(n):
        size = UNIT * abs(z[j])
        for i in range(mc):
            rounding[i] += size * abs(a_t[j * mc + i])


@kernel("int(double*, int*)")
def linearise(w, iw):
    """Evaluate J and A at the point that was evaluated last; scale them; form J'J and the gradient."""
    m, n, mc = iw[M], iw[N], iw[MC]
    failed = evaluate_jacobians(w, iw)
    if failed != 0:
        return failed
    jac_t, a_t, weighted = shift(w, iw[JAC_T]), shift(w, iw[CONSTRAINT_JAC_T]), shift(w, iw[R_WEIGHTED])
    gradient, scale = shift(w, iw[GRADIENT]), shift(w, iw[ROW_SCALE])
    if iw[LOSS] == LINEAR:
        copy(shift(w, iw[R]), weighted, m)
    else:
        reweight(shift(w, iw[R]), m, n, iw[LOSS], w[LOSS_SCALE], jac_t, weighted)
    for j in range(n):
        gradient[j] = dot(shift(jac_t, j * m), weighted, m)
    if iw[SCALED] == 0:
        largest_of_rows(w, iw)
        w[GRADIENT_BOUND] = bound_of_gradient(w, iw)
        choose_scales(w, iw)
    if w[ROOT_SCALE] != 1.0:
        for i in range(m):
            weighted[i] *= w[ROOT_SCALE]
        for i in range(n * m):
            jac_t[i] *= w[ROOT_SCALE]
        for j in range(n):
            gradient[j] *= w[COST_SCALE]
    for j in range(n):
        for i in range(mc):
            a_t[j * mc + i] *= scale[i]
    estimate_rounding(w, iw)
    normal, squares = shift(w, iw[NORMAL]), shift(w, iw[COLUMN_SQUARES])
    normal_matrix(m, n, jac_t, normal)
    largest = 0.0
    for j in range(n):
        squares[j] = max(squares[j], normal[j * n + j])
        largest = max(largest, normal[j * n + j])
    w[GRADIENT_BOUND] = math.sqrt(largest * dot(weighted, weighted, m))
    return 0


@kernel("int(double*, int*)")
def multiply(w, iw):
    """Multiply a vector by A', J' or A, J."""
    m, n, mc = iw[M], iw[N], iw[MC]
    given, out = shift(w, iw[ARGUMENT]), shift(w, iw[RESULT])
    kind = iw[PRODUCT]
    of_constraints = kind == CONSTRAINTS_TRANSPOSED or kind == CONSTRAINTS_TIMES
    rows = mc if of_constraints else m
    matrix = shift(w, iw[CONSTRAINT_JAC_T] if of_constraints else iw[JAC_T])
    if kind == CONSTRAINTS_TRANSPOSED or kind == RESIDUAL_TRANSPOSED:
        for j in range(n):
            out[j] = dot(shift(matrix, j * rows), given, rows)
        return 0
    for i in range(rows):
        out[i] = 0.0
    for j in range(n):
        column = shift(matrix, j * rows)
        for i in range(rows):
            out[i] += column[i] * given[j]
    return 0


@kernel("int(double*, int*)")
def curvature(w, iw):
    """Form S = sum r_i Hess r_i + sum y_i Hess c_i, lower triangle, of the terms that are evaluated, and B."""
    m, n, mc = iw[M], iw[N], iw[MC]
    s, x, size = shift(w, iw[SECOND]), shift(w, iw[X_EVALUATED]), shift(w, iw[SIZE])
    for i in range(n * n):
        s[i] = 0.0
    weights, r, y = shift(w, iw[CURVATURE_WEIGHT]), shift(w, iw[R]), shift(w, iw[ROW_WORK])
    scale, multipliers = shift(w, iw[ROW_SCALE]), shift(w, iw[Y])
    for i in range(m):
        weights[i] = w[COST_SCALE] * r[i]
        if iw[LOSS] != LINEAR:
            t = r[i] / w[LOSS_SCALE]
            weights[i] *= rho_first(iw[LOSS], t * t)
    for i in range(mc):
        y[i] = multipliers[i] * scale[i]
    for b in range(iw[BLOCKS]):
        block = shift(iw, iw[BLOCK_TABLE] + b * BLOCK_WIDTH)
        wanted = iw[EXACT_RESIDUAL] if b == 0 else iw[EXACT_CONSTRAINTS]
        if wanted != 0 and block[HESSIAN_OF] != 0:
            given = weights if b == 0 else shift(y, block[FIRST_ROW_OF])
            if call_weighted(block[HESSIAN_OF], x, block[HESSIAN_DATA_OF], given, s) != 0:
                return 1 + b
    for i in range(n):
        for j in range(i + 1):
            s[i * n + j] *= size[i] * size[j]
    if iw[LOSS] != LINEAR and iw[EXACT_RESIDUAL] != 0:
        bend(w, iw)
    if iw[QUASI_NEWTON] != 0:
        quasi = shift(w, iw[QUASI])
        for i in range(n * n):
            s[i] += quasi[i]
    return 0


@kernel("int(double*, int*)")
def factorize(w, iw):
    """Factorise the KKT matrix; its inertia is right with mc negative and no zero eigenvalues."""
    n, mc = iw[N], iw[MC]
    order = n + mc
    kkt, d, free = shift(w, iw[KKT]), shift(w, iw[DIAGONAL]), shift(w, iw[FREE])
    normal, second, a_t = shift(w, iw[NORMAL]), shift(w, iw[SECOND]), shift(w, iw[CONSTRAINT_JAC_T])
    uses = iw[USE_HESSIAN]
    for i in range(n):
        row = shift(kkt, i * order)
        for j in range(i + 1):
            row[j] = 0.0
        if free[i] == 0.0:
            row[i] = 1.0
        else:
            if uses % 2 == 1:
                for j in range(i + 1):
                    row[j] = normal[i * n + j] * free[j]
            if uses >= 2:
                for j in range(i + 1):
                    row[j] += second[i * n + j] * free[j]
            row[i] += d[i]
    for i in range(mc):
        row = shift(kkt, (n + i) * order)
        for j in range(n):
            row[j] = a_t[j * mc + i] * free[j]
        for j in range(i):
            row[n + j] = 0.0
        row[n + i] = -d[n + i]
    copy(kkt, shift(w, iw[KKT_FACTOR]), order * order)
    negative = factor(order, shift(w, iw[KKT_FACTOR]), shift(iw, iw[PIVOTS]))
    if negative < 0:
        iw[INERTIA] = INERTIA_SINGULAR
    elif negative == mc:
        iw[INERTIA] = INERTIA_RIGHT
    else:
        iw[INERTIA] = INERTIA_NEGATIVE if negative > mc else INERTIA_SINGULAR
    return 0


@kernel("double(int, double*, double*, double*, double*)")
def kkt_residual(order, matrix, solution, rhs, out):
    """Form rhs - K solution from the lower triangle of K; return its largest entry relative to the terms' size."""
    size = 0.0
    for i in range(order):
        out[i] = rhs[i]
        size = max(size, abs(rhs[i]))
    for i in range(order):
        row = shift(matrix, i * order)
        total = 0.0
        for j in range(i):
            total += row[j] * solution[j]
            out[j] -= row[j] * solution[i]
        out[i] -= total + row[i] * solution[i]
    largest = 0.0
    for i in range(order):
        if out[i] != out[i]:
            return math.inf
        largest = max(largest, abs(out[i]))
    return largest / size if size > 0.0 else largest


@kernel("int(double*, int*)")
def solve_kkt(w, iw):
    """Solve the KKT system for RHS, with iterative refinement."""
    order = iw[N] + iw[MC]
    rhs, solution, correction = shift(w, iw[RHS]), shift(w, iw[SOLUTION]), shift(w, iw[REFINEMENT])
    factored, pivots = shift(w, iw[KKT_FACTOR]), shift(iw, iw[PIVOTS])
    copy(rhs, solution, order)
    solve(order, factored, pivots, solution)
    error = kkt_residual(order, shift(w, iw[KKT]), solution, rhs, correction)
    k = 0
    while error > ACCURATE and k < REFINEMENTS:
        solve(order, factored, pivots, correction)
        for i in range(order):
            solution[i] += correction[i]
        refined = kkt_residual(order, shift(w, iw[KKT]), solution, rhs, correction)
        if not refined < 0.5 * error:
            k = REFINEMENTS
        error = min(error, refined)
        k += 1
    w[RESIDUAL_OF_SOLVE] = error
    return 0
