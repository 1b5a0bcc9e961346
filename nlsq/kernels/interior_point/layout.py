"""Where things lie in the flat workspace of an interior-point solve.

The workspace is two arrays, ``w`` of doubles and ``iw`` of integers. The first entries of ``w`` are scalars, those of
``iw`` counters, switches and addresses. A vector begins at ``shift(w, iw[NAME])``: ``iw`` holds its offset, which
`offsets` computes.

Unknowns are z = (x, s): the variables and one slack for each constraint, ``h_i(z) = c_i(x) - s_i = 0``. A variable or
slack that is held (``lb == ub``, an equality) has 0 in FREE. Residual and constraints are scaled by factors that are
fixed at the start; x is not.
"""

# scalars in w
(
    COST,  # 1/2 ||r||^2, scaled
    COST_TRIAL,
    BARRIER,  # mu
    VIOLATION,  # theta = ||h||_1
    VIOLATION_TRIAL,
    MERIT,  # phi: cost less mu times the logarithms of the distances to bounds
    MERIT_TRIAL,
    VIOLATION_SMALL,  # theta_min
    VIOLATION_LARGEST,  # theta_max
    TO_BOUNDARY,  # tau of the fraction-to-the-boundary rule
    PRIMAL_LENGTH,  # alpha_max
    DUAL_LENGTH,  # alpha_z
    STEP_LENGTH,  # alpha of the accepted step
    SLOPE,  # gradient of the barrier function times step
    REGULARISATION,  # delta_w
    ROW_REGULARISATION,  # delta_c
    LAST_REGULARISATION,
    DAMPING,  # Marquardt's lambda
    DUAL_ERROR,
    PRIMAL_ERROR,
    COMPLEMENTARITY,  # largest |z_i s_i|
    ERROR,  # E_0
    BARRIER_ERROR,  # E_mu
    DUAL_SCALE,  # s_d
    COST_SCALE,  # the cost is multiplied by this number
    ROOT_SCALE,  # its square root, for residuals
    TOLERANCE,
    ACCEPTABLE_TOLERANCE,
    LOSS_SCALE,
    STEP_NORM,
    ALPHA_SMALLEST,
    USER_VIOLATION,  # largest violation of the constraints as they were given, relative to limits above 1
    USER_DUAL_ERROR,  # dual infeasibility without the scale of the cost
    BEST_COST,
    BEST_VIOLATION,
    START_BARRIER,
    RESIDUAL_OF_SOLVE,  # relative residual of the last linear system
    RESTORED_FROM,  # theta where the last restoration began
    VIOLATION_TOLERANCE,
    LAST_VIOLATION,
    GRADIENT_BOUND,  # largest |J_j| times |r|: no entry of the gradient can be larger
    REPORTED_DUAL_ERROR,  # dual infeasibility in the units of the problem as it was given
    FIRST_COST,
    LAST_COST,
    RESTORATION_BARRIER,
    RESTORATION_DAMPING,
    PROXIMITY,  # zeta
    PUSH,  # how far a start is moved from its bounds, relative
    HEADER,
) = range(49)

# counters and switches in iw
(
    M,
    N,
    MC,
    STATUS,
    NIT,
    NFEV,
    NJEV,
    NHEV,
    FACTORIZATIONS,  # of search directions, corrections of the inertia included
    CORRECTIONS,
    OTHER_FACTORIZATIONS,  # for multipliers and in restoration
    RESTORATIONS,
    MAX_EVALUATIONS,
    MAX_ITERATIONS,
    LOSS,
    EXACT_RESIDUAL,  # second derivatives of the residual are evaluated
    EXACT_CONSTRAINTS,
    QUASI_NEWTON,  # structured SR1 in place of what is not evaluated: 1 residual, 2 constraints, 3 both
    USE_HESSIAN,  # of `FACTORIZE`: 0 nothing, 1 J'J, 2 S, 3 both
    USED_HESSIAN,  # by the last direction
    INERTIA,  # what `FACTORIZE` found: see `INERTIA_RIGHT` etc.
    FILTER_SIZE,
    ACCEPTABLE_COUNT,
    GAUSS_NEWTON_COUNT,  # directions in a row for which second-order terms were left out
    TRIALS,  # of the last line search
    KIND,  # of the last step: a letter
    WARM,
    BOUNDS,  # number of finite bounds on z
    TINY_STEPS,
    EXTRA,  # iterations made after E_0 was small enough, for what is not scaled
    MONOTONE,  # the barrier is lowered only when its problem is solved
    CURVATURE_KNOWN,  # S belongs to the current point and multipliers
    EVALUATE,  # services: addresses of int(double* w, int* iw)
    LINEARISE,
    MULTIPLY,
    CURVATURE,
    FACTORIZE,
    SOLVE,
    ARGUMENT,  # of `MULTIPLY`: offsets of vectors, and which product
    RESULT,
    PRODUCT,
    BLOCKS,  # number of functions
    BLOCK_TABLE,  # where their table begins in iw
    PIVOTS,  # where the pivots begin in iw
    SCALED,  # scales have been chosen
    ESCAPES,
    RESTARTS,  # with other scales
    STUCK,  # iterations in a row that changed nothing beyond rounding
    LONG_SEARCHES,  # in a row
    ROUGH,  # derivatives are forward differences, and may be made finer
    KEEPS,  # whether there are constraints to be kept
    FIRST_VECTOR,
) = range(52)

INERTIA_RIGHT, INERTIA_NEGATIVE, INERTIA_SINGULAR = range(3)
CONSTRAINTS_TRANSPOSED, RESIDUAL_TRANSPOSED, CONSTRAINTS_TIMES, RESIDUAL_TIMES = range(4)
FILTER_MOST = 400

# the table of functions: residual first, then constraints
VALUE_OF, JACOBIAN_OF, HESSIAN_OF, DATA_OF, HESSIAN_DATA_OF, ROWS_OF, FIRST_ROW_OF, BLOCK_WIDTH = range(8)

# vectors of length n + mc
(
    Z,
    Z_TRIAL,
    LOWER,  # relaxed
    UPPER,
    LOWER_DUAL,  # z_L
    UPPER_DUAL,
    STEP,
    LOWER_DUAL_STEP,
    UPPER_DUAL_STEP,
    FREE,
    DIAGONAL,  # D of n, E of mc
    RHS,
    SOLUTION,
    REFINEMENT,
    LONG_WORK,
    REFERENCE,  # where a restoration began
    CORRECTED_STEP,
    # length mc
    Y,
    Y_STEP,
    C,
    C_TRIAL,
    H,
    H_TRIAL,
    CL,
    CU,
    ROW_SCALE,
    ROW_WORK,
    SLACK_WEIGHT,  # 1 / (Sigma_s + delta_w), 0 for equalities
    H_CORRECTED,
    SLACK_RHS,
    Y_CORRECTED,
    KEEP,  # 1 for a constraint that is not to be violated once it is satisfied
    ROUNDING,  # of c: what one unit of rounding in each x_j does to it
    # length m
    R,
    R_TRIAL,
    R_WEIGHTED,  # so that J'R_WEIGHTED is the gradient: the loss and the scale applied
    CURVATURE_WEIGHT,
    # length n
    GRADIENT,
    AY,  # A'y
    XL,
    XU,
    X_EVALUATED,
    X_BEST,
    SIZE,  # x = SIZE z: typical sizes of the variables
    COLUMN_WORK,
    COLUMN_SQUARES,  # Marquardt's scaling: largest (J'J)_jj so far
    X_OLD,
    MISSING_OLD,  # J'r + A'y of the last Jacobians, for the quasi-Newton update
    FILTER,  # (FILTER_MOST, 2)
    JAC_T,  # (n, m)
    CONSTRAINT_JAC_T,  # (n, mc)
    BLOCK_JAC_T,  # (n, rows of the longest block)
    NORMAL,  # J'J (n, n)
    SECOND,  # S (n, n)
    QUASI,  # B (n, n)
    KKT,  # (n + mc, n + mc)
    KKT_FACTOR,
    END,
) = range(FIRST_VECTOR, FIRST_VECTOR + 58)


def lengths(m: int, n: int, mc: int, longest: int, dense: bool, quasi: bool) -> list[int]:
    """Return the length of each vector, in the order of their names.

    Parameters
    ----------
    m, n, mc : int
        Numbers of residuals, variables and constraints.
    longest : int
        Rows of the longest function.
    dense : bool
        Whether matrices are kept in the workspace.
    quasi : bool
        Whether there is a quasi-Newton matrix.
    """
    order = n + mc
    matrices = [n * m, n * mc, n * longest, n * n, n * n, n * n if quasi else 0, order * order, order * order]
    return [
        *[order] * (Y - Z),
        *[mc] * (R - Y),
        *[m] * (GRADIENT - R),
        *[n] * (FILTER - GRADIENT),
        2 * FILTER_MOST,
        *(matrices if dense else [0] * len(matrices)),
    ]
