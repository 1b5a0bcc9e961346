"""Second derivatives from differences of a Jacobian that is called by address.

    v(x) = J(x)' w,     D_j = (v(x + h_j e_j) - v(x)) / h_j,     H = (D + D') / 2

is  sum_i w_i * (second derivatives of residual i)  to about half the digits, for n + 1 Jacobians [1]_. Steps are those
of the forward quotients of `nlsq.derivatives.steps`: relative to the size of the parameter, exactly representable, on
the other side where a bound is in the way, and longer where rounding swallowed the difference. How long they had to be
is remembered, so that a parameter that v is linear in costs more at the first point only. A parameter that is fixed
cannot move: its row and column come from the differences of the others, and its own second derivative is 0. Residuals
of weight 0 are left out, and where all are, nothing is evaluated.

References
----------
.. [1] J. Dennis, R. Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, section 5.6.
"""

import math

from nlsq.kernels.backend import call_function, double_pointer, int_pointer, kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.finite_difference import EPS, LOST, MAX_GROWTHS, is_lost, place_forward, relative_step

# Integers in the table that `data` points to: address of ``int jac(x, data, jac_t_out)`` and of its data, m, n;
# addresses of arrays (n,): bounds, sizes of the parameters (below which |x_j| says nothing; what stands for x_j = 0;
# the size itself), and steps that are remembered, zeros at first; address of scratch memory, `work_size` doubles;
# number of Jacobians evaluated so far.
JACOBIAN, JACOBIAN_DATA, M, N, LOWER, UPPER, SMALL, AT_ZERO, LARGE, GROWN, WORK, EVALUATIONS, TABLE = range(13)

RELATIVE = 1.4901161193847656e-08  # square root of the rounding unit


def work_size(m: int, n: int) -> int:
    """Return how many doubles of scratch memory there must be: point, base, widths, differences, Jacobian."""
    return 3 * n + n * n + n * m


@kernel("void(double*, double*, int, int, double*)")
def weighted_rows(jac_t, weights, m, n, out):
    """J' w without the rows of weight 0; jac_t (n, m), out (n,)."""
    for j in range(n):
        column = shift(jac_t, j * m)
        total = 0.0
        for i in range(m):
            total += column[i] * weights[i] if weights[i] != 0.0 else 0.0
        out[j] = total


@kernel("int(double*, int*, double*, double*)")
def weighted_jacobian(x, table, weights, out):
    """V(x), shape (n,); nonzero when the Jacobian failed."""
    m, n = table[M], table[N]
    jac_t = shift(double_pointer(table[WORK]), 3 * n + n * n)
    table[EVALUATIONS] += 1
    failed = call_function(table[JACOBIAN], x, table[JACOBIAN_DATA], jac_t)
    if failed == 0:
        weighted_rows(jac_t, weights, m, n, out)
    return failed


@kernel("int(double*, int*, double*, int, double)", strict=True)
def move(x, table, weights, j, h):
    """Difference v(x + h e_j) - v(x) into row j, and its width; nonzero when the Jacobian failed."""
    n = table[N]
    point = double_pointer(table[WORK])
    base, widths, row = shift(point, n), shift(point, 2 * n), shift(point, 3 * n + j * n)
    moved = place_forward(
        x[j], h if x[j] >= 0.0 else -h, double_pointer(table[LOWER])[j], double_pointer(table[UPPER])[j]
    )
    widths[j] = moved - x[j]
    point[j] = moved
    failed = weighted_jacobian(point, table, weights, row)
    point[j] = x[j]
    for k in range(n):
        row[k] -= base[k]
    return failed


@kernel("int(double*, int, double*)")
def keeps_numbers(a, n, base):
    """Say whether no element of `a` is nan or infinite where that of `base` is neither."""
    for k in range(n):
        if abs(base[k]) < math.inf and not abs(a[k]) < math.inf:
            return 0
    return 1


@kernel("int(double*, int*, double*, int)", strict=True)
def difference_row(x, table, weights, j):
    """Fill row j of the differences; nonzero when the Jacobian failed."""
    n = table[N]
    base = shift(double_pointer(table[WORK]), n)
    widths, row = shift(base, n), shift(base, 2 * n + j * n)
    lower, upper = double_pointer(table[LOWER])[j], double_pointer(table[UPPER])[j]
    large, grown = double_pointer(table[LARGE])[j], shift(double_pointer(table[GROWN]), j)
    h = abs(relative_step(x[j], RELATIVE, double_pointer(table[SMALL])[j], double_pointer(table[AT_ZERO])[j]))
    limit = min(RELATIVE * max(max(abs(x[j]), large), 1.0), max(upper - x[j], x[j] - lower))
    failed = move(x, table, weights, j, max(h, grown[0]))
    if grown[0] > h and (failed != 0 or keeps_numbers(row, n, base) == 0):  # it was right elsewhere
        grown[0] = 0.0
        failed = move(x, table, weights, j, h)
    for attempt in range(MAX_GROWTHS):
        width = abs(widths[j])
        if failed != 0 or not width < 0.5 * limit or is_lost(row, base, n, LOST * EPS) == 0:
            break
        grown[0] = limit if attempt == MAX_GROWTHS - 1 else min(width * (RELATIVE / (LOST * EPS)), limit)
        failed = move(x, table, weights, j, grown[0])
    for k in range(n):
        row[k] = row[k] / widths[j] if widths[j] != 0.0 else 0.0
    return failed


@kernel("int(double*, int)")
def all_zero(a, n):
    """Say whether all elements are 0."""
    for k in range(n):
        if a[k] != 0.0:
            return 0
    return 1


@kernel("int(double*, int, double*, double*)", strict=True)
def hessian_by_differences(x, data, weights, out):
    """Add H to the lower triangle of out, (n, n) row by row; nonzero when the Jacobian failed."""
    table = int_pointer(data)
    n = table[N]
    if all_zero(weights, table[M]) != 0:
        return 0
    lower, upper = double_pointer(table[LOWER]), double_pointer(table[UPPER])
    point = double_pointer(table[WORK])
    widths, differences = shift(point, 2 * n), shift(point, 3 * n)
    copy(x, point, n)
    failed = weighted_jacobian(point, table, weights, shift(point, n))
    for j in range(n):
        widths[j] = 0.0
        if failed == 0 and lower[j] != upper[j]:
            failed = difference_row(x, table, weights, j)
    if failed != 0:
        return failed
    for j in range(n):
        for k in range(j + 1):
            first = differences[j * n + k] if widths[j] != 0.0 else 0.0
            second = differences[k * n + j] if widths[k] != 0.0 else 0.0
            half = 0.5 if widths[j] != 0.0 and widths[k] != 0.0 else 1.0
            out[j * n + k] += half * (first + second)
    return 0
