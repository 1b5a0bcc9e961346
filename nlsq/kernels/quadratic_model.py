"""The quadratic model of the cost around x, and its minimiser within a sphere.

In scaled variables ``x = S y`` (S = diag(column_scale)) the model is

    q(p) = g_s' p + 1/2 p' (J_s' J_s + C) p,      J_s = J S,  g_s = S J'f,  C = diag(extra_diagonal) >= 0.

Levenberg-Marquardt uses S = 1/D, C = 0; the reflective trust region uses the Coleman-Li scaling with its C; dogleg
switches columns off by S_j = 0, C_j = 1. The matrix is factorised by Cholesky from the normal equations. When the
smallest pivot has lost more than `PIVOT_LIMIT` of its column, QR with column pivoting of [J S; C^(1/2)] takes over.

Within a sphere of radius R the minimiser is ``p = -(B + lambda I)^-1 g_s`` with lambda = 0 or |p| = R; lambda follows
from Newton's method on ``1/|p|``, safeguarded in an interval [1]_, [2]_.

References
----------
.. [1] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, section 5.
.. [2] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., 2006, sections 4.3 and 10.3.
"""

import math

from nlsq.kernels.backend import call_function, kernel, shift
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import (
    cholesky_factorize,
    copy,
    damp_triangle,
    dot,
    lower_solve,
    lower_transposed_solve,
    norm,
    normal_matrix,
    qr_factorize,
    upper_rank,
    upper_solve,
    upper_transposed_solve,
)
from nlsq.kernels.layout import (
    COLUMN_NORM,
    COLUMN_SCALE,
    COSINE,
    COST,
    DAMPING,
    EXTRA_DIAGONAL,
    FACTOR_ROUTE,
    FACTORED,
    FULL_PREDICTED_REDUCTION,
    GRADIENT,
    INT_HEADER,
    JACOBIAN_FUNCTION,
    LINEAR_ROUTE,
    LOSS,
    LOSS_SCALE,
    NEWTON_STEP,
    NORMAL,
    NORMAL_FUSED,
    NORMAL_NONE,
    NORMAL_READY,
    PREDICTED_REDUCTION,
    QR_FALLBACKS,
    QTF,
    RADIUS,
    RANK,
    RESIDUAL,
    RESIDUAL_DATA,
    REWEIGHTED_NORM,
    ROUTE_AUTO,
    ROUTE_CHOLESKY,
    ROUTE_QR,
    SCALED_GRADIENT,
    SCALED_NORMAL,
    SCALED_STEP,
    STEP_CUT,
    TRIANGLE,
    WEIGHTED,
    WORK_1,
    WORK_2,
    M,
    N,
    X,
    jacobian,
    matrix,
    qr_work,
    residual_vector,
    vector,
)
from nlsq.kernels.robust import LINEAR, apply_loss, reweighted_norms, robust_cost

PIVOT_LIMIT = (
    1e-11  # min L_jj^2 / B_jj: scaled condition about 3e5, measured to be where normal equations still give full steps
)
MAX_ROOT_STEPS = 10  # More 1978: two or three are the rule
EPS = 2.220446049250313e-16


@kernel("int(double*, int*)")
def linearise_cost(w, iw):
    """Apply the loss to r and J; gradient, normal matrix and the largest cosine.

    Returns 0, or 1 when something is not finite.
    """
    n = iw[N]
    gradient = vector(w, iw, GRADIENT)
    normal = matrix(w, iw, NORMAL)
    if iw[NORMAL_READY] != NORMAL_FUSED:
        weigh(w, iw)
        form_normal_equations(w, iw)
    size = math.sqrt(2.0 * w[COST])  # of the residual under the loss: weights at their floor inflate the weighted one
    w[COSINE] = 0.0
    for j in range(n):
        column = math.sqrt(normal[j * n + j])
        vector(w, iw, COLUMN_NORM)[j] = column
        if column > 0.0 and size > 0.0:
            w[COSINE] = max(w[COSINE], abs(gradient[j]) / column / size)
    finite = w[COST] < math.inf and all_finite(gradient, n) == 1 and all_finite(normal, n * n) == 1
    return 0 if finite else 1


@kernel("void(double*, int*)")
def weigh(w, iw):
    """Cost, and the loss applied to r and to the rows of J."""
    m, n = iw[M], iw[N]
    residual, weighted = residual_vector(w, iw, RESIDUAL), residual_vector(w, iw, WEIGHTED)
    if iw[LOSS] == LINEAR:
        copy(residual, weighted, m)
        w[COST] = 0.5 * dot(residual, residual, m)
    elif iw[LOSS] > 0:  # a loss given as a Python function is applied by the caller
        w[COST] = robust_cost(residual, m, iw[LOSS], w[LOSS_SCALE])
        norms = vector(w, iw, REWEIGHTED_NORM)
        reweighted_norms(residual, m, n, iw[LOSS], w[LOSS_SCALE], jacobian(w, iw), norms)
        apply_loss(residual, m, n, iw[LOSS], w[LOSS_SCALE], jacobian(w, iw), weighted)


@kernel("void(double*, int*)")
def form_normal_equations(w, iw):
    """Gradient, and the normal matrix if it is not there."""
    m, n = iw[M], iw[N]
    jac_t, weighted = jacobian(w, iw), residual_vector(w, iw, WEIGHTED)
    if iw[NORMAL_READY] == NORMAL_NONE:
        normal_matrix(jac_t, m, n, matrix(w, iw, NORMAL))
    for j in range(n):
        vector(w, iw, GRADIENT)[j] = dot(shift(jac_t, j * m), weighted, m)


@kernel("void(double*, int*)", cold=True)
def fill_jacobian(w, iw):
    """Fill jac_t and the weighted residual where the normal equations came without them."""
    if iw[NORMAL_READY] != NORMAL_FUSED:
        return
    call_function(iw[JACOBIAN_FUNCTION], vector(w, iw, X), iw[RESIDUAL_DATA], jacobian(w, iw))
    cost = w[COST]
    weigh(w, iw)
    w[COST] = cost


@kernel("void(double*, int*)")
def factorize_model(w, iw):
    """Scale the model by S, add C, and factorise it; finds the undamped step and the reduction that it promises."""
    n = iw[N]
    normal = matrix(w, iw, NORMAL)
    scaled = matrix(w, iw, SCALED_NORMAL)
    scale = vector(w, iw, COLUMN_SCALE)
    extra = vector(w, iw, EXTRA_DIAGONAL)
    gradient = vector(w, iw, GRADIENT)
    scaled_gradient = vector(w, iw, SCALED_GRADIENT)
    newton = vector(w, iw, NEWTON_STEP)
    for i in range(n):
        scaled_gradient[i] = scale[i] * gradient[i]
        newton[i] = -scaled_gradient[i]
        for j in range(n):
            scaled[i * n + j] = scale[i] * scale[j] * normal[i * n + j]
        scaled[i * n + i] += extra[i]
    iw[FACTOR_ROUTE] = ROUTE_QR
    iw[RANK] = n
    if iw[LINEAR_ROUTE] != ROUTE_QR:
        kept = cholesky_factorize(scaled, 0.0, n, matrix(w, iw, FACTORED))
        if kept > PIVOT_LIMIT or (iw[LINEAR_ROUTE] == ROUTE_CHOLESKY and kept > 0.0):
            iw[FACTOR_ROUTE] = ROUTE_CHOLESKY
            lower_solve(matrix(w, iw, FACTORED), n, newton)
            w[FULL_PREDICTED_REDUCTION] = 0.5 * dot(newton, newton, n)
            lower_transposed_solve(matrix(w, iw, FACTORED), n, newton)
        elif iw[LINEAR_ROUTE] == ROUTE_AUTO:
            iw[QR_FALLBACKS] += 1
    if iw[FACTOR_ROUTE] == ROUTE_QR:
        _triangularise(w, iw)


@kernel("void(double*, int*)", cold=True)
def _triangularise(w, iw):
    """QR of [J S; C^(1/2)]: triangle, Q'f, rank and the undamped step."""
    fill_jacobian(w, iw)
    m, n = iw[M], iw[N]
    rows = m + n
    q = qr_work(w, iw)
    jac_t = jacobian(w, iw)
    scale = vector(w, iw, COLUMN_SCALE)
    extra = vector(w, iw, EXTRA_DIAGONAL)
    qtf = vector(w, iw, QTF)
    pivot = shift(iw, INT_HEADER)
    rhs = shift(q, n * rows)
    for j in range(n):
        for i in range(m):
            q[j * rows + i] = scale[j] * jac_t[j * m + i]
        for i in range(n):
            q[j * rows + m + i] = 0.0
        q[j * rows + m + j] = math.sqrt(extra[j])
    copy(residual_vector(w, iw, WEIGHTED), rhs, m)
    for i in range(n):
        rhs[m + i] = 0.0
    qr_factorize(q, rows, n, rhs, pivot, matrix(w, iw, TRIANGLE), vector(w, iw, WORK_1))
    copy(rhs, qtf, n)
    iw[RANK] = upper_rank(matrix(w, iw, TRIANGLE), n, EPS * max(m, n))
    w[FULL_PREDICTED_REDUCTION] = 0.5 * dot(qtf, qtf, iw[RANK])
    for i in range(iw[RANK], n):  # what is left there is rounding
        qtf[i] = 0.0
        for j in range(n):
            matrix(w, iw, TRIANGLE)[i * n + j] = 0.0
    newton = vector(w, iw, NEWTON_STEP)
    if iw[RANK] < n:  # not unique: nearly the shortest, by a damping at the level of rounding
        root = EPS * max(m, n) * matrix(w, iw, TRIANGLE)[0]
        if damped_step(w, iw, root * root) >= 0.0:
            copy(vector(w, iw, SCALED_STEP), newton, n)
            return
    work = vector(w, iw, WORK_1)
    copy(qtf, work, n)
    upper_solve(matrix(w, iw, TRIANGLE), n, iw[RANK], work)
    for k in range(n):
        newton[pivot[k]] = -work[k]


@kernel("double(double*, int*, double)")
def damped_step(w, iw, damping):
    """Scaled step p = -(B + damping I)^-1 g_s; returns |p|, or -1 when the matrix is not definite.

    Leaves the factor behind.
    """
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    gradient = vector(w, iw, SCALED_GRADIENT)
    if iw[FACTOR_ROUTE] == ROUTE_CHOLESKY:
        factor = matrix(w, iw, FACTORED)
        if cholesky_factorize(matrix(w, iw, SCALED_NORMAL), damping, n, factor) == 0.0:
            return -1.0
        for j in range(n):
            step[j] = -gradient[j]
        lower_solve(factor, n, step)
        lower_transposed_solve(factor, n, step)
    else:
        factor = matrix(w, iw, FACTORED)
        work = vector(w, iw, WORK_1)
        pivot = shift(iw, INT_HEADER)
        root = math.sqrt(damping)
        damp_triangle(matrix(w, iw, TRIANGLE), vector(w, iw, QTF), root, n, factor, work, vector(w, iw, WORK_2))
        if upper_rank(factor, n, 0.0) < n:
            return -1.0
        upper_solve(factor, n, n, work)
        for k in range(n):
            step[pivot[k]] = -work[k]
    return norm(step, n)


@kernel("double(double*, int*, double)")
def _root_slope(w, iw, length):
    """|F^-T p / |p||^2 for the factor of the last damped step: -d log|p| / d lambda."""
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    work = vector(w, iw, WORK_1)
    if iw[FACTOR_ROUTE] == ROUTE_CHOLESKY:
        for j in range(n):
            work[j] = step[j] / length
        lower_solve(matrix(w, iw, FACTORED), n, work)
    else:
        pivot = shift(iw, INT_HEADER)
        for k in range(n):
            work[k] = step[pivot[k]] / length
        upper_transposed_solve(matrix(w, iw, FACTORED), n, work)
    return dot(work, work, n)


@kernel("void(double*, int*, double)")
def step_within_radius(w, iw, precision):
    """Minimise the model within |p| <= radius, to | |p| - radius | <= precision * radius.

    Sets step, damping and predicted reduction.
    """
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    newton = vector(w, iw, NEWTON_STEP)
    radius = w[RADIUS]
    length = norm(newton, n)
    iw[STEP_CUT] = 0
    if length <= (1.0 + precision) * radius:  # where directions are lost it is nearly the shortest
        copy(newton, step, n)
        w[DAMPING] = 0.0
        w[PREDICTED_REDUCTION] = w[FULL_PREDICTED_REDUCTION]
        return
    iw[STEP_CUT] = 1
    steepest = norm(vector(w, iw, SCALED_GRADIENT), n)
    high = steepest / radius
    low = 0.0
    if iw[RANK] < n:  # the undamped step is not unique: damp at least by what rounding leaves of the lost directions
        triangle = matrix(w, iw, TRIANGLE)
        low = EPS * max(iw[M], n) * triangle[0]
        low = min(low * low, high)
    else:
        copy(newton, step, n)
        if iw[FACTOR_ROUTE] == ROUTE_QR:
            copy(matrix(w, iw, TRIANGLE), matrix(w, iw, FACTORED), n * n)
        else:
            cholesky_factorize(matrix(w, iw, SCALED_NORMAL), 0.0, n, matrix(w, iw, FACTORED))
        slope = _root_slope(w, iw, length)
        if slope > 0.0:
            low = min((length - radius) / radius / slope, high)
    damping = min(max(w[DAMPING], low), high)
    if damping <= 0.0:
        damping = max(low, 1e-3 * high)
    for attempt in range(MAX_ROOT_STEPS):
        length = damped_step(w, iw, damping)
        if length < 0.0 or length > radius:
            low = max(low, damping)
        else:
            high = min(high, damping)
        if length >= 0.0:
            if abs(length - radius) <= precision * radius or attempt == MAX_ROOT_STEPS - 1:
                break
            slope = _root_slope(w, iw, length)
            damping = max(low, damping + (length - radius) / radius / slope)
            if damping > high or damping <= low:
                damping = max(math.sqrt(low * high), 1e-3 * high)
        else:
            damping = max(10.0 * damping, 1e-3 * high)
    w[DAMPING] = damping
    w[PREDICTED_REDUCTION] = model_reduction(w, iw, damping)


@kernel("double(double*, int*, double)")
def model_reduction(w, iw, damping):
    """-q(p) of a damped step: with (B + lambda I) p = -g_s it is 1/2 (lambda |p|^2 - g_s'p)."""
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    slope = dot(vector(w, iw, SCALED_GRADIENT), step, n)
    return 0.5 * (damping * dot(step, step, n) - slope)


@kernel("double(double*, int*, double*, double*)")
def model_curvature(w, iw, a, b):
    """Evaluate a' B b in scaled variables."""
    n = iw[N]
    scaled = matrix(w, iw, SCALED_NORMAL)
    total = 0.0
    for i in range(n):
        total += a[i] * dot(shift(scaled, i * n), b, n)
    return total
