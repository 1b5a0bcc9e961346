"""Where things lie in the flat workspace of a dense solver.

The workspace is two arrays, ``w`` of doubles and ``iw`` of integers, so that a step costs one call with two pointers.

    w  = [ scalars (HEADER) | n-vectors (VECTORS) | m-vectors (RESIDUALS) | (n, n) matrices | jac_t (n, m) | qr_work (n
    + 1, m + n) ] iw = [ scalars (INT_HEADER) | pivot (n,) | on_bound (n,) ]

A scalar is ``w[COST]``; a vector is ``vector(w, iw, STEP)``; ``residual_vector``, ``matrix``, ``jacobian`` and
``qr_work`` give the others. A new scalar or vector is a new name here and nothing else.
"""

from nlsq.kernels.backend import WorkspacePart

# scalars in w
(
    COST,
    COST_NEW,
    ACTUAL_REDUCTION,
    PREDICTED_REDUCTION,
    FULL_PREDICTED_REDUCTION,  # of the undamped step: what the model could still gain
    DIRECTIONAL_SLOPE,  # g'p of the judged step
    GAIN_RATIO,
    EXTENT,  # how many times the step fits into the way to the minimum along it
    RADIUS,
    DAMPING,
    DAMPING_GROWTH,  # Nielsen's nu
    STEP_NORM,  # scaled
    X_NORM,  # scaled
    OPTIMALITY,
    # largest |cos| between the residual and a column of J; its square is the share of the cost that one parameter
    # promises to take
    COSINE,
    CONTRACTION,  # ratio of successive step norms
    LAST_STEP_NORM,
    COST_TOLERANCE,
    STEP_TOLERANCE,
    OPTIMALITY_TOLERANCE,
    FACTOR,  # initial radius over |D x0|
    LOSS_SCALE,
    STEP_LENGTH,  # alpha of a line search
    THETA,  # how close to a bound a reflective step may come
    RELATIVE_STEP,  # of finite differences
    RUN_COST,  # where the run of cut steps began
    SAFE_COST,  # saved by the watchdog
    SAFE_RADIUS,
    SAFE_DAMPING,
    FIXED_LENGTH,  # step length of plain gradient descent
    FIRST_DAMPING,  # Nielsen's tau: first lambda, by the largest diagonal entry of the scaled normal matrix
    HEADER,
) = range(32)

# n-vectors
(
    X,
    X_NEW,
    LOWER,
    UPPER,
    TYPICAL,  # size of each parameter at the start
    SIZE_SMALL,  # sizes for difference steps: below it x_j says nothing about the size of parameter j,
    SIZE_AT_ZERO,  # what stands for |x_j| where x_j = 0,
    SIZE_LARGE,  # and the scale that a lost step may grow to
    SCALING,  # D
    GRADIENT,
    STEP,
    COLUMN_SCALE,  # x = column_scale * scaled x
    EXTRA_DIAGONAL,  # of the scaled model
    SCALED_GRADIENT,
    SCALED_STEP,
    NEWTON_STEP,  # scaled, undamped
    QTF,
    CHOICE_1,
    CHOICE_2,
    CHOICE_3,
    WORK_1,
    WORK_2,
    WORK_3,
    COLUMN_NORM,  # |J_j|, the loss applied
    REWEIGHTED_NORM,  # the same with the weights rho' alone, of a robust loss where J was last at hand
    INFLUENCE,  # of each parameter on the residual, for the watchdog
    SAFE_X,
    SAFE_SCALING,
    VECTORS,
) = range(29)

# m-vectors: raw residual at x, at the candidate, and weighted by the loss; TARGET is scratch of the estimators
RESIDUAL, RESIDUAL_NEW, WEIGHTED, RESIDUAL_WORK, SAFE_RESIDUAL, RESIDUALS = range(6)

# (n, n) matrices
NORMAL, SCALED_NORMAL, FACTORED, TRIANGLE, MATRICES = range(5)

# scalars in iw
(
    M,
    N,
    NIT,
    NFEV,
    NFEV_JAC,
    NJEV,
    MAX_EVALUATIONS,
    COUNT_ALL,  # the limit counts evaluations inside finite differences too
    RULE,  # stopping rule
    LOSS,
    GIVEN_SCALE,  # scaling is the user's, not the column norms
    DAMPING_RULE,
    LINEAR_ROUTE,  # asked for
    FACTOR_ROUTE,  # used for the current x
    NORMAL_READY,  # what of the normal equations is there before `linearise`
    RANK,
    STATUS,
    ACCEPTED,
    STEP_CUT,  # by the radius
    GREW,  # the radius grew at the last judgement
    HAS_BOUNDS,
    SEARCH_RULE,
    DIRECTION_RULE,
    REFACTOR,
    RESIDUAL_FUNCTION,
    RESIDUAL_DATA,
    JACOBIAN_FUNCTION,  # of an analytic derivative
    NORMAL_FUNCTION,  # of the normal equations
    COMPLEX_FUNCTION,  # the residual for complex arguments
    JACOBIAN_STEP,  # the kernel that fills jac_t
    LINEARISE_STEP,
    PROPOSE_STEP,
    JUDGE_STEP,
    CUT_RUN,  # steps in a row that the radius cut
    CUT_LIMIT,  # run at which the watchdog tries undamped steps
    RETREATS,  # in a row, from steps that lost a parameter
    SIZES_GIVEN,  # the user's scale says how large the parameters are, for difference steps; else the start does
    TRIALS_ALLOWED,  # the watchdog may try undamped steps: someone evaluates J where they lead
    TRIALS_LEFT,  # undamped steps left in the watchdog's trial; 0: none under way
    QR_FALLBACKS,  # how often the pivot test handed over to QR
    DAMPING_POWER,  # Nielsen's p: how flat the damping's answer to a good gain ratio is
    INT_HEADER,
) = range(42)

RULE_NATIVE, RULE_SCIPY, RULE_MINPACK, RULE_CERES = range(4)
ROUTE_AUTO, ROUTE_CHOLESKY, ROUTE_QR = range(3)
DAMPING_RADIUS, DAMPING_NIELSEN = range(2)
SEARCH_NONE, SEARCH_ARMIJO, SEARCH_FIXED = range(3)
DIRECTION_GAUSS_NEWTON, DIRECTION_GRADIENT = range(2)
REJECTED, ACCEPTED_STEP, STOP = range(3)
NORMAL_NONE, NORMAL_MATRIX, NORMAL_FUSED = range(3)  # nothing; the matrix; matrix and gradient, and jac_t is not filled


def workspace_size(m: int, n: int) -> tuple[int, int]:
    """Lengths of ``w`` and ``iw``."""
    return HEADER + VECTORS * n + RESIDUALS * m + MATRICES * n * n + n * m + (n + 1) * (m + n), INT_HEADER + 2 * n


def vector_offset(n: int, index: int) -> int:
    """Position of an n-vector in ``w``."""
    return HEADER + index * n


def residual_offset(m: int, n: int, index: int) -> int:
    """Position of an m-vector in ``w``."""
    return HEADER + VECTORS * n + index * m


def matrix_offset(m: int, n: int, index: int) -> int:
    """Position of an (n, n) matrix in ``w``."""
    return HEADER + VECTORS * n + RESIDUALS * m + index * n * n


def jacobian_offset(m: int, n: int) -> int:
    """Position of ``jac_t`` in ``w``."""
    return matrix_offset(m, n, MATRICES)


vector = WorkspacePart("vector", constant=HEADER, stride="n")  # (w, iw, index) -> an n-vector
residual_vector = WorkspacePart(
    "residual_vector", constant=HEADER, by_n=VECTORS, stride="m"
)  # (w, iw, index) -> an m-vector
matrix = WorkspacePart("matrix", constant=HEADER, by_n=VECTORS, by_m=RESIDUALS, stride="nn")  # (w, iw, index) -> (n, n)
jacobian = WorkspacePart("jacobian", constant=HEADER, by_n=VECTORS, by_m=RESIDUALS, by_nn=MATRICES)  # (w, iw) -> jac_t
qr_work = WorkspacePart("qr_work", constant=HEADER, by_n=VECTORS, by_m=RESIDUALS, by_nn=MATRICES, by_nm=1)  # (w, iw)
