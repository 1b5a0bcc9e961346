"""A controller's step: shift the last plan, bring it up to date for the measured state, hand out the first control.

Where no plan comes out, because a state is not finite, bounds cannot be kept or a function fails, the last good plan
stays in force, shifted with time.
"""

from nlsq.kernels.arrays import DATA, DOUBLES, HEADER_WORDS, INTEGERS, OUTCOME, vector_data
from nlsq.kernels.backend import double_pointer, int_pointer, kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.optimal_control.stage_layout import (
    COSTATES,
    HEADER,
    INITIAL,
    ITERATION_LIMIT,
    KEPT,
    MULTIPLIERS,
    NOT_FINITE,
    NU,
    NX,
    ROWS,
    SHIFT_NEXT,
    SHIFT_NOW,
    SHIFTS,
    SOLVED,
    STATUS,
    K,
    N,
    Z,
)
from nlsq.kernels.optimal_control.stage_sqp import solve_stages


@kernel("void(double*, int, int)")
def shift_row(row, first, last):
    """Let each stage of a component take what the next one had; the last stage keeps its own."""
    for k in range(first, last - 1):
        row[k] = row[k + 1]


@kernel("void(double*, int*)")
def shift_plan(w, iw):
    """Let a plan begin one stage later."""
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    for j in range(nu + nx):
        shift_row(shift(w, iw[Z] + j * lead), 0, stages if j < nu else stages + 1)
    for i in range(nx):
        shift_row(shift(w, iw[COSTATES] + i * lead), 0, stages + 1)
    for b in range(iw[ROWS]):
        shift_row(shift(w, iw[MULTIPLIERS] + b * lead), iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2])


@kernel("int(double*, int*)")
def control(w, iw):
    """Take a step for the state in INITIAL; the plan is left in Z, the status is returned."""
    size, costates, rows = (iw[NX] + iw[NU]) * iw[K], iw[NX] * iw[K], iw[ROWS] * iw[K]
    z, kept = shift(w, iw[Z]), shift(w, iw[KEPT])
    if iw[SHIFTS] == SHIFT_NOW:
        shift_plan(w, iw)
    elif iw[SHIFTS] == SHIFT_NEXT:
        iw[SHIFTS] = SHIFT_NOW
    copy(z, kept, size)
    copy(shift(w, iw[COSTATES]), shift(kept, size), costates)
    copy(shift(w, iw[MULTIPLIERS]), shift(kept, size + costates), rows)
    code = solve_stages(w, iw)
    total = 0.0
    for i in range(size):
        total += abs(z[i])
    if not total <= 1e300 and (code == SOLVED or code == ITERATION_LIMIT):
        code = NOT_FINITE
    if code != SOLVED and code != ITERATION_LIMIT:
        copy(kept, z, size)
        copy(shift(kept, size), shift(w, iw[COSTATES]), costates)
        copy(shift(kept, size + costates), shift(w, iw[MULTIPLIERS]), rows)
    iw[STATUS] = code
    return code


@kernel("int(int, int*, int)")
def call_control(holder, arguments, count):
    """Take a step, as the C function of a built-in Python function; see `nlsq.kernels.backend.builtin_functions`.

    Its arguments are the array objects of the control, which is written, and of the state. The result is the first
    one, or the second where the state is no plain vector of doubles. What holds it is the array of a plan.
    """
    plan = int_pointer(int_pointer(holder + 8 * HEADER_WORDS)[DATA])
    w, iw = double_pointer(plan[DOUBLES]), int_pointer(plan[INTEGERS])
    state = vector_data(plan, arguments[1], iw[NX], 1)
    result = arguments[1]
    if state != 0:
        result = arguments[0]
        copy(double_pointer(state), shift(w, iw[INITIAL]), iw[NX])
        plan[OUTCOME] = control(w, iw)
        out = double_pointer(int_pointer(result + 8 * HEADER_WORDS)[DATA])
        for i in range(iw[NU]):
            out[i] = w[iw[Z] + i * iw[K]]
    references = int_pointer(result)
    references[0] += 1
    return result
