"""Where things lie in the workspace of an optimal control problem.

Unknowns of stage k are ``z_k = (u_k, x_k)``, controls first, so that eliminating the controls leaves the leading rows
of a matrix behind. There are N stages and the terminal state ``x_N``.

- Vectors are kept by components: component j of stage k at ``[j * K + k]``, where K >= N + 1 is a multiple of 8; loops
  over stages go through neighbouring numbers.
- Matrices are kept by stages, rows of length ``row_length(NX + NU)`` filled up with zeros. The block of a stage is
  ``[B A] (NX rows) | H (NZ rows)``.
- A bound row is one finite bound of one component at all stages: +1 and the lower, or -1 and the upper bound.

    w   = [ scalars (SCALARS) | vectors | blocks | factors | bound rows ]
    iw  = [ integers (HEADER) | component, first and last stage of each bound row, three integers a row ]

`iw` holds the offset in `w` of each part.
"""

# scalars in w
(
    TOLERANCE,
    QP_TOLERANCE,
    COST,
    COST_NEW,
    DEFECT,  # weighted sum of |defects| of the dynamics
    DEFECT_NEW,
    PENALTY,  # of the merit function: cost + penalty * defect
    STATIONARITY,
    VIOLATION,  # largest defect
    COMPLEMENTARITY,
    BARRIER,
    STEP_LENGTH,
    DAMPING,  # added to the diagonal of each Hessian
    SLACK_ERROR,  # largest |slack - distance to the bound| that the last interior-point step left
    WARM_BARRIER,  # t l with which the next quadratic program begins; 0: anew, with slacks far from zero
    ANCHOR_COST,
    ANCHOR_DEFECT,
    ANCHOR_DESCENT,  # g'd there
    COST_SIZE,  # what the tolerance of barriers and gradients is relative to
    GRADIENT_BOUND,
    RELATIVE_STATIONARITY,
    SCALARS,
) = range(22)

# integers in iw: sizes
(
    N,
    NX,
    NU,
    K,
    ROWS,  # number of bound rows
    BLOCK,  # doubles in a stage's block
    FACTOR_BLOCK,
    # offsets in w
    Z,
    Z_NEW,
    DZ,
    VECTORS,  # f (NX rows), g (NZ rows), phi: what linearising a stage leaves beside its block
    VECTORS_NEW,
    INITIAL,  # x_0 as given (NX)
    BLOCKS,
    FACTORS,
    WORK,  # of the quadratic program, see below
    COSTATES,  # (NX rows of K), multipliers of the dynamics
    COSTATES_NEW,
    BOUNDS,  # bound rows, each (ROWS, K): value,
    SLACKS,
    MULTIPLIERS,
    ROW_WORK,  # and six of scratch
    DIRECTIONS,  # +1 or -1 for each bound row
    EXTENTS,  # and what a large distance is,
    WIDTHS,  # as far as it is known beforehand: half the range; 0 where there is but one bound
    SIZES,  # largest absolute values in the plan (NZ),
    UNITS,  # and what stands for them where they are zero (NZ)
    WEIGHTS,  # of the defects in the merit function (NX)
    ANCHOR,  # where the watchdog began: z, then costates
    KEPT,  # the last good plan: z, costates, multipliers
    # services, each an address and its data
    LINEARISE,
    LINEARISE_DATA,
    LINEARISE_END,
    LINEARISE_END_DATA,
    EVALUATE,
    EVALUATE_DATA,
    EVALUATE_END,
    EVALUATE_END_DATA,
    LINEARISE_EXACT,  # with the Lagrangian's Hessian; 0: there is none
    LINEARISE_END_EXACT,
    FACTORISE,
    SUBSTITUTE,
    SELF,  # address of iw
    # options
    MAX_ITERATIONS,
    MAX_QP_ITERATIONS,
    IS_WARM,  # whether z and multipliers are those of a similar problem
    GLOBALISES,  # 0: full steps
    USES_EXACT,  # whether to use it
    TESTS,  # 0: a fixed number of iterations, and no test of convergence
    SHIFTS,  # whether a controller's step begins one stage later than the last
    # outcomes
    STATUS,
    ITERATIONS,
    QP_ITERATIONS,
    EVALUATIONS,
    IS_EXACT,  # whether H is the exact Hessian now
    WAS_EXACT,  # whether it was when H was written last
    WAITING,  # iterations until the exact Hessian is tried again
    RELAXED,  # full steps since the anchor that did not reduce the merit function
    PATIENCE,  # how many of them are allowed
    INFEASIBLE_LEFT,  # steps that may still be taken towards programs without a feasible point
    REGULARISED,  # pivots of the controls' Hessian that were replaced
    HEADER,
) = range(62)

# codes of STATUS
RUNNING, SOLVED, ITERATION_LIMIT, NOT_FINITE, INFEASIBLE, NO_PROGRESS, FAILED, INDEFINITE = range(8)

# values of SHIFTS
SHIFT_NOW, SHIFT_NEXT = 1, 2  # the first plan is for the time of the first step

# parts of WORK, in rows of K: right-hand side (NZ rows), diagonal (NZ), defects b (NX), P b (NX), p (NX), y (NU)
