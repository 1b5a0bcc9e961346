"""Batches of fits: the loops around the kernels, from row to row of the data.

`run_lanes` keeps as many fits under way as a vector register has lanes. The model's own kernel (`nlsq.compiler.
batch_source`) advances all of them by one evaluation; a fit that has ended is written out and the next row takes its
lane, so that no lane waits for the slowest. `run_rows` solves row after row by the dense solver that single fits use.

A *job* is a table of integers, sizes and addresses; see the places below. Arrays over the rows are read by row number
times a stride, which is 0 for what all rows share.
"""

import math

from nlsq.kernels.backend import call_function, double_pointer, int_pointer, kernel, shift
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.curve import POINTS, PREDICTORS, RESPONSE, WEIGHTS
from nlsq.kernels.dense import copy
from nlsq.kernels.driver import solve_by_address
from nlsq.kernels.layout import (
    COST,
    HAS_BOUNDS,
    MAX_EVALUATIONS,
    NFEV,
    NIT,
    NORMAL,
    STATUS,
    TRIALS_ALLOWED,
    M,
    N,
    X,
    matrix,
    vector,
)
from nlsq.kernels.layout import LOWER as LOWER_VECTOR
from nlsq.kernels.layout import UPPER as UPPER_VECTOR
from nlsq.kernels.sum_step import COST as STEP_COST
from nlsq.kernels.sum_step import CUT, DAMPING, FIRST_DAMPING, FIRST_GROWTH, GROWTH, HEADER
from nlsq.kernels.sum_step import NFEV as STEP_NFEV
from nlsq.kernels.sum_step import NIT as STEP_NIT
from nlsq.kernels.sum_step import STATUS as STEP_STATUS
from nlsq.status import Status

# places in a job
(
    FUNCTION,  # address of the kernel for fits side by side
    LANES,  # how many
    PARAMETERS,  # n
    LENGTH,  # m, points of each row
    VARIABLES,  # values of x for each point
    ROWS,  # numbers of the rows to fit
    COUNT,  # how many
    TABLE,  # of the model's kernel
    Y,
    Y_STRIDE,
    OWN_X,  # x (rows, variables, m); 0: the table has it
    X_STRIDE,
    OWN_WEIGHTS,  # (rows, m); 0: none, or the table has them
    WEIGHTS_STRIDE,
    MARKS_MISSING,  # rows have weights of their own in the kernel, 0 where y is missing
    START,
    START_STRIDE,
    LOWER,  # 0: no bounds
    UPPER,
    BOUNDS_STRIDE,
    TRIAL,  # scratch memory, side by side
    STATE,
    Y_LANES,
    X_LANES,
    WEIGHTS_LANES,
    BOUNDS_LANES,
    PARAMS_OUT,  # (rows, n)
    COST_OUT,  # (rows,)
    NORMAL_OUT,  # (rows, n (n + 1) / 2)
    ENDS_OUT,  # (rows, 3): status, evaluations, accepted steps
    EXTENT,  # for `run_rows`: place in the model's table of the length of its loop; 0: it goes by the number of points
    LEFT,  # for `run_rows`: evaluations that each row may take; 0: those of the template
    JOB,
) = range(33)
# the same places for `run_rows`
DOUBLES, DOUBLES_TEMPLATE, DOUBLES_LENGTH = TRIAL, STATE, FUNCTION
INTEGERS, INTEGERS_TEMPLATE, INTEGERS_LENGTH = Y_LANES, X_LANES, LANES
ROW_Y, ROW_WEIGHTS = WEIGHTS_LANES, BOUNDS_LANES
NONFINITE_START, NONFINITE_JACOBIAN = int(Status.NONFINITE_START), int(Status.NONFINITE_JACOBIAN)
OFF_THE_BOUND = 1e-10  # of a bound's size, at least
INFINITE = 1.7976931348623157e308


@kernel("int(double)")
def is_number(value):
    """1 for a finite number."""
    return 1 if abs(value) <= INFINITE else 0


@kernel("int(int*, int, int)")
def count_points(job, row, shared_weights):
    """How many points of a row count: y and its own x are finite, and its weight is not zero."""
    m = job[LENGTH]
    whole = all_finite(double_pointer(job[Y] + 8 * job[Y_STRIDE] * row), m)
    if job[OWN_X] != 0 and whole == 1:
        whole = all_finite(double_pointer(job[OWN_X] + 8 * job[X_STRIDE] * row), job[VARIABLES] * m)
    if whole == 0:
        return _count_one_by_one(job, row, shared_weights)
    weights = shared_weights
    if weights == 0:
        if job[OWN_WEIGHTS] == 0:
            return m
        weights = job[OWN_WEIGHTS] + 8 * job[WEIGHTS_STRIDE] * row
    factors = double_pointer(weights)
    total = 0
    for i in range(m):
        total += 1 if factors[i] != 0.0 else 0
    return total


@kernel("int(int*, int, int)", cold=True)
def _count_one_by_one(job, row, shared_weights):
    m, k = job[LENGTH], job[VARIABLES]
    y = double_pointer(job[Y] + 8 * job[Y_STRIDE] * row)
    total = 0
    for i in range(m):
        counts = is_number(y[i])
        if job[OWN_X] != 0:
            x = double_pointer(job[OWN_X] + 8 * job[X_STRIDE] * row)
            for one in range(k):
                counts = counts if is_number(x[one * m + i]) != 0 else 0
        if shared_weights != 0:
            counts = counts if double_pointer(shared_weights)[i] != 0.0 else 0
        elif job[OWN_WEIGHTS] != 0:
            counts = counts if double_pointer(job[OWN_WEIGHTS] + 8 * job[WEIGHTS_STRIDE] * row)[i] != 0.0 else 0
        total += counts
    return total


@kernel("void(int*, int, int*, int)")
def count_all_points(job, rows, points_out, shared_weights):
    """Count the points of the first rows."""
    for row in range(rows):
        points_out[row] = count_points(job, row, shared_weights)


@kernel("double(int*, int, int)")
def own_weight(job, row, i):
    """Weight of a point in a row of its own: 0 where y or x are missing."""
    m = job[LENGTH]
    y = double_pointer(job[Y] + 8 * job[Y_STRIDE] * row)
    weight = 1.0
    if job[OWN_WEIGHTS] != 0:
        weight = double_pointer(job[OWN_WEIGHTS] + 8 * job[WEIGHTS_STRIDE] * row)[i]
    if is_number(y[i]) == 0:
        weight = 0.0
    if job[OWN_X] != 0:
        x = double_pointer(job[OWN_X] + 8 * job[X_STRIDE] * row)
        for one in range(job[VARIABLES]):
            if is_number(x[one * m + i]) == 0:
                weight = 0.0
    return weight


@kernel("void(int*, int, int)")
def take_row(job, row, lane):
    """Put a row's data and start into a lane."""
    m, n, lanes = job[LENGTH], job[PARAMETERS], job[LANES]
    y = double_pointer(job[Y] + 8 * job[Y_STRIDE] * row)
    y_lane = double_pointer(job[Y_LANES] + 8 * lane)
    if job[MARKS_MISSING] == 0:
        for i in range(m):
            y_lane[i * lanes] = y[i]
    else:
        weights_lane = double_pointer(job[WEIGHTS_LANES] + 8 * lane)
        for i in range(m):
            weight = own_weight(job, row, i)
            weights_lane[i * lanes] = weight
            y_lane[i * lanes] = y[i] if weight != 0.0 else 0.0
    if job[OWN_X] != 0:
        x = double_pointer(job[OWN_X] + 8 * job[X_STRIDE] * row)
        x_lane = double_pointer(job[X_LANES] + 8 * lane)
        for i in range(m * job[VARIABLES]):
            x_lane[i * lanes] = x[i]
    start = double_pointer(job[START] + 8 * job[START_STRIDE] * row)
    trial = double_pointer(job[TRIAL] + 8 * lane)
    state = double_pointer(job[STATE] + 8 * lane)
    for k in range(HEADER + 3 * n + n * (n + 1) // 2):
        state[k * lanes] = 0.0
    state[STEP_COST * lanes] = 1e999
    state[DAMPING * lanes] = FIRST_DAMPING
    state[GROWTH * lanes] = FIRST_GROWTH
    state[CUT * lanes] = 1.0
    for j in range(n):
        trial[j * lanes] = start[j]
        state[(HEADER + j) * lanes] = start[j]
    if job[LOWER] != 0:
        lower = double_pointer(job[LOWER] + 8 * job[BOUNDS_STRIDE] * row)
        upper = double_pointer(job[UPPER] + 8 * job[BOUNDS_STRIDE] * row)
        bounds = double_pointer(job[BOUNDS_LANES] + 8 * lane)
        for j in range(n):
            bounds[j * lanes] = lower[j]
            bounds[(n + j) * lanes] = upper[j]


@kernel("void(int*, int, int)")
def give_row(job, row, lane):
    """Write out a fit that has ended."""
    n, lanes = job[PARAMETERS], job[LANES]
    triangle = n * (n + 1) // 2
    state = double_pointer(job[STATE] + 8 * lane)
    params = double_pointer(job[PARAMS_OUT] + 8 * n * row)
    normal = double_pointer(job[NORMAL_OUT] + 8 * triangle * row)
    ends = int_pointer(job[ENDS_OUT] + 24 * row)
    for j in range(n):
        params[j] = state[(HEADER + j) * lanes]
    for k in range(triangle):
        normal[k] = state[(HEADER + 3 * n + k) * lanes]
    double_pointer(job[COST_OUT])[row] = state[STEP_COST * lanes]
    ends[0] = int(state[STEP_STATUS * lanes])
    ends[1] = int(state[STEP_NFEV * lanes])
    ends[2] = int(state[STEP_NIT * lanes])


@kernel("int(int*, int*)")
def run_lanes(job, held):
    """Fit the job's rows; `held` has room for a row number a lane. Returns how many were fitted."""
    lanes, count, rows = job[LANES], job[COUNT], int_pointer(job[ROWS])
    trial, state = double_pointer(job[TRIAL]), double_pointer(job[STATE])
    taken = 0
    under_way = 0
    for lane in range(lanes):
        held[lane] = -1
        if taken < count:
            held[lane] = rows[taken]
            take_row(job, rows[taken], lane)
            taken += 1
            under_way += 1
    while under_way > 0:
        ended = call_function(job[FUNCTION], trial, job[TABLE], state)
        for lane in range(lanes):
            if (ended >> lane) & 1 == 1 and held[lane] >= 0:
                give_row(job, held[lane], lane)
                if taken < count:
                    held[lane] = rows[taken]
                    take_row(job, rows[taken], lane)
                    taken += 1
                else:
                    held[lane] = -1
                    under_way -= 1
    return count


@kernel("int(int*, int, int)")
def place_row(job, row, keeps_place):
    """Let the table of a single fit point at a row's data; returns how many points there are.

    Where points are missing, those that are there are moved together, or keep their places with weight zero.
    """
    m, k = job[LENGTH], job[VARIABLES]
    table = int_pointer(job[TABLE])
    y = double_pointer(job[Y] + 8 * job[Y_STRIDE] * row)
    table[RESPONSE] = job[Y] + 8 * job[Y_STRIDE] * row
    if job[OWN_X] != 0:
        table[PREDICTORS] = job[OWN_X] + 8 * job[X_STRIDE] * row
    table[POINTS] = m
    if job[EXTENT] != 0:
        table[job[EXTENT]] = m
    if job[MARKS_MISSING] == 0:
        return m
    row_y, row_weights = double_pointer(job[ROW_Y]), double_pointer(job[ROW_WEIGHTS])
    x = double_pointer(job[OWN_X] + 8 * job[X_STRIDE] * row)
    table[RESPONSE], table[WEIGHTS] = job[ROW_Y], job[ROW_WEIGHTS]
    used = 0
    for i in range(m):
        weight = own_weight(job, row, i)
        if weight != 0.0 or keeps_place != 0:
            row_y[used] = y[i] if weight != 0.0 else 0.0
            row_weights[used] = weight
            used += 1
    if keeps_place != 0:
        return m
    row_x = shift(row_y, m)
    used_x = 0
    for one in range(k):
        for i in range(m):
            if own_weight(job, row, i) != 0.0:
                row_x[used_x] = x[one * m + i]
                used_x += 1
    table[PREDICTORS] = job[ROW_Y] + 8 * m
    table[POINTS] = used
    if job[EXTENT] != 0:
        table[job[EXTENT]] = used
    return used


@kernel("void(int*, int, double*, int*)")
def bound_row(job, row, w, iw):
    """Write a row's bounds, and move its start off them as `nlsq.solvers.TrustRegionReflective` does."""
    n = iw[N]
    iw[HAS_BOUNDS], iw[TRIALS_ALLOWED] = 1, 0
    lower, upper, x = vector(w, iw, LOWER_VECTOR), vector(w, iw, UPPER_VECTOR), vector(w, iw, X)
    copy(double_pointer(job[LOWER] + 8 * job[BOUNDS_STRIDE] * row), lower, n)
    copy(double_pointer(job[UPPER] + 8 * job[BOUNDS_STRIDE] * row), upper, n)
    for j in range(n):
        low = lower[j] + OFF_THE_BOUND * max(1.0, abs(lower[j]))
        high = upper[j] - OFF_THE_BOUND * max(1.0, abs(upper[j]))
        if low > high:
            low = 0.5 * (lower[j] + upper[j])
            high = low
        if lower[j] < upper[j]:
            if x[j] <= lower[j]:
                x[j] = low
            elif x[j] >= upper[j]:
                x[j] = high


@kernel("int(int*, int)")
def run_rows(job, keeps_place):
    """Fit the job's rows one after the other; returns how many, fewer if the model failed at the next row."""
    w, iw = double_pointer(job[DOUBLES]), int_pointer(job[INTEGERS])
    template = int_pointer(job[INTEGERS_TEMPLATE])
    rows = int_pointer(job[ROWS])
    n = template[N]
    for position in range(job[COUNT]):
        row = rows[position]
        m = place_row(job, row, keeps_place)
        copy(double_pointer(job[DOUBLES_TEMPLATE]), w, job[DOUBLES_LENGTH])
        for k in range(job[INTEGERS_LENGTH]):
            iw[k] = template[k]
        iw[M] = m
        if job[LEFT] != 0:
            iw[MAX_EVALUATIONS] = int_pointer(job[LEFT])[row]
        copy(double_pointer(job[START] + 8 * job[START_STRIDE] * row), vector(w, iw, X), n)
        if job[LOWER] != 0:
            bound_row(job, row, w, iw)
        if solve_by_address(w, iw) != 0:
            return position
        copy(vector(w, iw, X), double_pointer(job[PARAMS_OUT] + 8 * n * row), n)
        unknown = iw[STATUS] == NONFINITE_START or iw[STATUS] == NONFINITE_JACOBIAN
        normal = matrix(w, iw, NORMAL)
        normal_out = double_pointer(job[NORMAL_OUT] + 4 * n * (n + 1) * row)
        for i in range(n):
            for j in range(i + 1):
                normal_out[i * (i + 1) // 2 + j] = math.nan if unknown else normal[i * n + j]
        double_pointer(job[COST_OUT])[row] = math.inf if iw[STATUS] == NONFINITE_START else w[COST]
        ends = int_pointer(job[ENDS_OUT] + 24 * row)
        ends[0], ends[1], ends[2] = iw[STATUS], iw[NFEV], iw[NIT]
    return job[COUNT]
