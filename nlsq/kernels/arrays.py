"""Least-overhead solves: one call with the addresses of NumPy's array objects, nothing in Python around it.

A *plan* is a table of integers with all that is the same from solve to solve: the workspace, what it looks like at the
start, and the data table of the residual. The kernel reads the arrays' own headers, refuses what is not a contiguous
vector of doubles of the right length, puts the addresses in place, and runs the loop. The header of an array object is
part of NumPy's C interface [1]_; `nlsq.kernels.backend.array_objects` makes sure that it is laid out so.

References
----------
.. [1] NumPy reference, "Python types and C-structures", section on ``PyArrayObject``.
"""

from nlsq.kernels.backend import double_pointer, int_pointer, kernel
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.covariance import covariance
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.kernels.dense import copy
from nlsq.kernels.driver import solve_by_address
from nlsq.kernels.layout import NORMAL, STATUS, M, N, X, matrix, vector
from nlsq.status import Status

# places in a plan
(
    DOUBLES,  # address of w
    INTEGERS,  # address of iw
    DOUBLES_TEMPLATE,
    DOUBLES_LENGTH,  # how many are copied before each solve
    INTEGERS_TEMPLATE,
    INTEGERS_LENGTH,
    TABLE,  # address of the residual's data table
    VARIABLES,  # values of x for each point: 1 for a vector, 0 where x is not read
    HEADER,  # words of an object before its own fields
    DESCRIPTOR,  # address of the type object of doubles
    ABSOLUTE,  # sigma is in the data's unit
    OUTCOME,  # what `call_plan` leaves: a status, or one of the codes below
    PLAN,
) = range(13)

# fields of an array object, in words after the header
DATA, DIMENSIONS_COUNT, DIMENSIONS, STRIDES, _, KIND, FLAGS = range(7)
HEADER_WORDS = 2  # of an object, where `call_plan` may be used
INT = 0xFFFFFFFF  # a C int in a word
ALIGNED = 0x100
NOT_PLAIN, NO_COVARIANCE, FAILED = -1, -2, -3  # besides statuses
NONFINITE_START, NONFINITE_JACOBIAN = int(Status.NONFINITE_START), int(Status.NONFINITE_JACOBIAN)


@kernel("int(int*, int, int, int)")
def vector_data(plan, thing, length, rows):
    """Address of the numbers of an array object, 0 unless it is a contiguous, aligned array of doubles.

    Its shape must be ``(length,)``, or ``(rows, length)`` for more than one row.
    """
    if thing == 0:
        return 0
    fields = int_pointer(thing + 8 * plan[HEADER])
    if fields[KIND] != plan[DESCRIPTOR] or (fields[FLAGS] & ALIGNED) == 0:
        return 0
    dimensions, strides = int_pointer(fields[DIMENSIONS]), int_pointer(fields[STRIDES])
    count = fields[DIMENSIONS_COUNT] & INT
    if rows > 1:
        if count != 2 or dimensions[0] != rows or dimensions[1] != length:
            return 0
        if strides[1] != 8 or strides[0] != 8 * length:
            return 0
        return fields[DATA]
    if count != 1 or dimensions[0] != length or (strides[0] != 8 and length > 1):
        return 0
    return fields[DATA]


@kernel("int(int*, int, int, int, int)")
def solve_arrays(plan, x, y, weights, start):
    """Solve from array objects (0 for what there is none of); returns the status, or one of the codes above."""
    iw = int_pointer(plan[INTEGERS])
    table = int_pointer(plan[TABLE])
    m = int_pointer(plan[INTEGERS_TEMPLATE])[M]
    n = int_pointer(plan[INTEGERS_TEMPLATE])[N]
    if y != 0:
        table[RESPONSE] = vector_data(plan, y, m, 1)
        if table[RESPONSE] == 0:
            return NOT_PLAIN
    if plan[VARIABLES] != 0:
        table[PREDICTORS] = vector_data(plan, x, m, plan[VARIABLES])
        if table[PREDICTORS] == 0:
            return NOT_PLAIN
        if all_finite(double_pointer(table[PREDICTORS]), m * plan[VARIABLES]) == 0:
            return NOT_PLAIN
    if y != 0:
        table[WEIGHTS] = 0  # without y the table is as its owner filled it
    if weights != 0:
        table[WEIGHTS] = vector_data(plan, weights, m, 1)
        if table[WEIGHTS] == 0:
            return NOT_PLAIN
    first = vector_data(plan, start, n, 1)
    if first == 0:
        return NOT_PLAIN
    w = double_pointer(plan[DOUBLES])
    copy(double_pointer(plan[DOUBLES_TEMPLATE]), w, plan[DOUBLES_LENGTH])
    template = int_pointer(plan[INTEGERS_TEMPLATE])
    for k in range(plan[INTEGERS_LENGTH]):
        iw[k] = template[k]
    copy(double_pointer(first), vector(w, iw, X), n)
    if solve_by_address(w, iw) != 0:
        return FAILED
    return iw[STATUS]


@kernel("int(int*, int, int, int, int, int, int)")
def fit_arrays(plan, x, y, weights, start, params_out, covariance_out):
    """Solve, and write parameters and covariance into array objects."""
    status = solve_arrays(plan, x, y, weights, start)
    if status < 0:
        return status
    w, iw = double_pointer(plan[DOUBLES]), int_pointer(plan[INTEGERS])
    n = iw[N]
    copy(vector(w, iw, X), double_pointer(int_pointer(params_out + 8 * plan[HEADER])[DATA]), n)
    if status == NONFINITE_START or status == NONFINITE_JACOBIAN or covariance(w, iw, plan[ABSOLUTE]) != 0:
        return NO_COVARIANCE - 10 * status
    copy(matrix(w, iw, NORMAL), double_pointer(int_pointer(covariance_out + 8 * plan[HEADER])[DATA]), n * n)
    return status


@kernel("int(int, int*, int)")
def call_plan(holder, arguments, count):
    """Solve, as the C function of a built-in Python function; see `nlsq.kernels.backend.builtin_functions`.

    Its arguments are array objects: ``(start)``, ``(x, y, start)``, or ``(x, y, start, params_out, covariance_out)``.
    The array object of the plan itself is what holds it. The result is the first argument.
    """
    plan = int_pointer(int_pointer(holder + 8 * HEADER_WORDS)[DATA])
    if count == 1:
        plan[OUTCOME] = solve_arrays(plan, 0, 0, 0, arguments[0])
    elif count == 3:
        plan[OUTCOME] = solve_arrays(plan, arguments[0], arguments[1], 0, arguments[2])
    else:
        plan[OUTCOME] = fit_arrays(plan, arguments[0], arguments[1], 0, arguments[2], arguments[3], arguments[4])
    references = int_pointer(arguments[0])
    references[0] += 1
    return arguments[0]
