"""Values and Jacobian of a function that is called by address, exact or by differences, through one table.

    forward     J_j = (c(x + h_j e_j) - c(x)) / h_j
    central     J_j = (c(x + h_j e_j) - c(x - h_j e_j)) / 2 h_j
    at a bound  J_j = (-3 c(x) + 4 c(x + h_j e_j) - c(x + 2 h_j e_j)) / 2 h_j

`known_values` and `jacobian_at` are functions ``int f(double* x, int data, double* out)`` themselves; `data` is the
address of their table. The values of the last point are kept, so that a Jacobian there needs no further evaluation of
c(x). An exact derivative that is not finite where the function is, as that of sqrt at 0, is replaced by forward
differences.

Steps are those of `nlsq.derivatives.steps`, as in `nlsq.kernels.finite_difference`, which does the same for the
residual in the workspace of a solve.

References
----------
.. [1] J. Dennis, R. Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, section 5.4.
"""

import math

from nlsq.kernels.backend import call_function, double_pointer, int_pointer, kernel, shift
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy
from nlsq.kernels.finite_difference import (
    EPS,
    LOST,
    MAX_GROWTHS,
    ROUNDING,
    is_lost,
    place_central,
    place_forward,
    relative_step,
)

# places in the table
(
    FUNCTION,  # address of the function
    DATA,  # its data
    ROWS,  # m
    COLUMNS,  # n
    EXACT,  # address of its exact transposed Jacobian, which takes the same data; 0: there is none
    CENTRAL,  # 1: central differences, 0: forward ones
    NUMBERS,  # address of the doubles below
    IS_KEPT,  # whether a last point and its values are kept
    EVALUATIONS,  # of the function, for Jacobians
    JACOBIANS,  # that were taken by differences
    FAILED_BESIDE,  # 1: the latest failure was at the point POINT of a difference
    TABLE,
) = range(12)

# vectors of length n among the doubles, after the relative step; the vectors of length m follow them
(LOWER, UPPER, SMALL, AT_ZERO, LARGE, LAST, POINT, OF_PARAMETERS) = range(8)
(LAST_VALUES, MOVED_VALUES, FURTHER_VALUES, OF_ROWS) = range(4)


@kernel("int(double*, int, double*)")
def known_values(x, data, out):
    """Evaluate the function and keep point and values; nonzero when it failed."""
    table = int_pointer(data)
    m, n = table[ROWS], table[COLUMNS]
    numbers = double_pointer(table[NUMBERS])
    table[IS_KEPT], table[FAILED_BESIDE] = 0, 0
    if call_function(table[FUNCTION], x, table[DATA], out) != 0:
        return 1
    copy(x, shift(numbers, 1 + LAST * n), n)
    copy(out, shift(numbers, 1 + OF_PARAMETERS * n + LAST_VALUES * m), m)
    table[IS_KEPT] = 1
    return 0


@kernel("int(double*, double*, int)")
def is_same_point(x, other, n):
    """Whether two points are equal number by number; NaN equals nothing."""
    for j in range(n):
        if not x[j] == other[j]:
            return 0
    return 1


@kernel("int(int*, double*, int, double, double*)", strict=True)
def values_beside(table, numbers, j, value, out):
    """Evaluate the function at POINT with x_j replaced; on failure the point stays replaced, for whoever looks."""
    point = shift(numbers, 1 + POINT * table[COLUMNS])
    kept = point[j]
    point[j] = value
    table[EVALUATIONS] += 1
    if call_function(table[FUNCTION], point, table[DATA], out) != 0:
        table[FAILED_BESIDE] = 1
        return 1
    point[j] = kept
    return 0


@kernel("double(int*, double*, int, double, double*)", strict=True)
def forward_difference(table, numbers, j, h, column_out):
    """Difference c(x + h e_j) - c(x); returns the width, nan when the function failed."""
    m, n = table[ROWS], table[COLUMNS]
    kept = numbers[1 + POINT * n + j]
    base = shift(numbers, 1 + OF_PARAMETERS * n + LAST_VALUES * m)
    values = shift(numbers, 1 + OF_PARAMETERS * n + MOVED_VALUES * m)
    moved = place_forward(kept, h, numbers[1 + LOWER * n + j], numbers[1 + UPPER * n + j])
    if values_beside(table, numbers, j, moved, values) != 0:
        return math.nan
    for i in range(m):
        column_out[i] = values[i] - base[i]
    return moved - kept


@kernel("double(int*, double*, int, double, double*)", strict=True, cold=True)
def central_difference(table, numbers, j, h, column_out):
    """Two-sided difference, one-sided at a bound; returns the width, nan when the function failed."""
    m, n = table[ROWS], table[COLUMNS]
    kept, lower, upper = numbers[1 + POINT * n + j], numbers[1 + LOWER * n + j], numbers[1 + UPPER * n + j]
    base = shift(numbers, 1 + OF_PARAMETERS * n + LAST_VALUES * m)
    near = shift(numbers, 1 + OF_PARAMETERS * n + MOVED_VALUES * m)
    far = shift(numbers, 1 + OF_PARAMETERS * n + FURTHER_VALUES * m)
    h = place_central(kept, h, lower, upper)
    centred = kept - lower >= h and upper - kept >= h
    if centred:
        first, second = kept - h, kept + h
    elif upper - kept >= kept - lower:
        first, second = min(kept + h, upper), min(kept + 2.0 * h, upper)
    else:
        first, second = max(kept - h, lower), max(kept - 2.0 * h, lower)
    if values_beside(table, numbers, j, first, near) != 0 or values_beside(table, numbers, j, second, far) != 0:
        return math.nan
    for i in range(m):
        column_out[i] = far[i] - near[i] if centred else -3.0 * base[i] + 4.0 * near[i] - far[i]
    return second - first if centred else second - kept


@kernel("double(int*, double*, int, double, double*)", strict=True)
def difference_along(table, numbers, j, h, column_out):
    """Numerator of the quotient for column j; returns what it is to be divided by, nan when the function failed."""
    if table[CENTRAL] != 0:
        return central_difference(table, numbers, j, h, column_out)
    return forward_difference(table, numbers, j, h, column_out)


@kernel("int(int*, double*, int, double*)", strict=True, cold=True)
def difference_column(table, numbers, j, column_out):
    """Fill column j by a quotient whose step is long enough to be seen; nonzero when the function failed."""
    m, n = table[ROWS], table[COLUMNS]
    relative = numbers[0]
    kept, lower, upper = numbers[1 + POINT * n + j], numbers[1 + LOWER * n + j], numbers[1 + UPPER * n + j]
    base = shift(numbers, 1 + OF_PARAMETERS * n + LAST_VALUES * m)
    if lower == upper:
        for i in range(m):
            column_out[i] = 0.0
        return 0
    share = 0.5 if table[CENTRAL] != 0 else 1.0
    h = relative_step(kept, relative, numbers[1 + SMALL * n + j], numbers[1 + AT_ZERO * n + j])
    width = difference_along(table, numbers, j, h, column_out)
    room = max(upper - kept, kept - lower) * share
    limit = min(relative * max(max(abs(kept), numbers[1 + LARGE * n + j]), 1.0), room)
    for attempt in range(MAX_GROWTHS):
        h = abs(width) * share
        if not h < 0.5 * limit or is_lost(column_out, base, m, LOST * EPS) == 0:
            break
        h = limit if attempt == MAX_GROWTHS - 1 else min(h * (relative / (LOST * EPS)), limit)
        if kept < 0.0:
            h = -h
        width = difference_along(table, numbers, j, h, column_out)
    if width != width:
        return 1
    if table[JACOBIANS] > 0 and is_lost(column_out, base, m, ROUNDING * EPS) != 0:
        width = 0.0  # the last digit of c divided by the step is no derivative
    for i in range(m):
        column_out[i] = column_out[i] / width if width != 0.0 else 0.0
    return 0


@kernel("int(double*, int, double*)")
def jacobian_at(x, data, jac_t_out):
    """Fill the transposed Jacobian (n, m); nonzero when the function or its derivative failed."""
    table = int_pointer(data)
    m, n = table[ROWS], table[COLUMNS]
    numbers = double_pointer(table[NUMBERS])
    table[FAILED_BESIDE] = 0
    if table[EXACT] != 0:
        if call_function(table[EXACT], x, table[DATA], jac_t_out) != 0:
            return 1
        if all_finite(jac_t_out, m * n) != 0:
            return 0
    if table[IS_KEPT] == 0 or is_same_point(x, shift(numbers, 1 + LAST * n), n) == 0:
        table[EVALUATIONS] += 1
        if known_values(x, data, shift(numbers, 1 + OF_PARAMETERS * n + MOVED_VALUES * m)) != 0:
            return 1
    copy(x, shift(numbers, 1 + POINT * n), n)
    for j in range(n):
        if difference_column(table, numbers, j, shift(jac_t_out, j * m)) != 0:
            return 1
    table[JACOBIANS] += 1
    return 0
