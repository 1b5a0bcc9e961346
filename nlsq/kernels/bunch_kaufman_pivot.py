"""One pivot of the Bunch-Kaufman factorisation after another; see `nlsq.kernels.bunch_kaufman`.

References
----------
.. [1] J. R. Bunch and L. Kaufman, "Some Stable Methods for Calculating Inertia and Solving Symmetric Linear Systems",
   Mathematics of Computation 31, 1977, algorithm A.
"""

import math

from nlsq.kernels.backend import kernel, shift

ALPHA = (1.0 + math.sqrt(17.0)) / 8.0  # least bound of element growth a step: [1]_, section 2.2


@kernel("double(double*, int)")
def largest(row, n):
    """Give the largest |row_j|; NaN is passed over."""
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    j = 0
    while j + 3 < n:
        first = abs(row[j]) if abs(row[j]) > first else first
        second = abs(row[j + 1]) if abs(row[j + 1]) > second else second
        third = abs(row[j + 2]) if abs(row[j + 2]) > third else third
        fourth = abs(row[j + 3]) if abs(row[j + 3]) > fourth else fourth
        j += 4
    while j < n:
        first = abs(row[j]) if abs(row[j]) > first else first
        j += 1
    return max(max(first, second), max(third, fourth))


@kernel("int(double*, int, int, double, double)")
def choose_exchange(a, n, k, size, most):
    """Choose the pivot where a_kk (of this size) is small beside the largest entry of its row.

    Returns 2 i + 1 for a pivot 1 x 1 with row i in place of row k, 2 i for one 2 x 2 with row i in place of row k - 1.
    """
    row = shift(a, k * n)
    i = 0
    while abs(row[i]) != most:
        i += 1
    there = largest(shift(a, i * n), i)
    for j in range(i + 1, k + 1):
        if abs(a[j * n + i]) > there:
            there = abs(a[j * n + i])
    if size >= ALPHA * most * (most / there):
        return 2 * k + 1
    if abs(a[i * n + i]) >= ALPHA * there:
        return 2 * i + 1
    return 2 * i


@kernel("void(double*, int, int, int, int)")
def exchange(a, n, k, high, low):
    """Exchange row and column `high` with `low` < `high` in the leading k + 1 rows."""
    one, other = shift(a, high * n), shift(a, low * n)
    for j in range(low):
        t = one[j]
        one[j] = other[j]
        other[j] = t
    for j in range(low + 1, high):
        t = one[j]
        one[j] = a[j * n + low]
        a[j * n + low] = t
    t = one[high]
    one[high] = other[low]
    other[low] = t
    if high < k:
        t = a[k * n + high]
        a[k * n + high] = a[k * n + low]
        a[k * n + low] = t


@kernel("void(double*, int, int, double*, double)", apart=True)
def eliminate_one(a, n, k, row, inverse):
    """A_k - u' D^-1 u for a row u (k,) and its pivot's inverse; u becomes D^-1 u."""
    for i in range(k):
        factor = row[i] * inverse
        target = shift(a, i * n)
        for j in range(i + 1):
            target[j] -= factor * row[j]
    for i in range(k):
        row[i] *= inverse


@kernel("void(double*, int, int, double*, double*, double, double, double)", apart=True)
def eliminate_two(a, n, k, first, second, d11, d22, scale):
    """A_k - U' D^-1 U for rows U (2, k); U becomes D^-1 U.

    D = d [d11 1; 1 d22] and D^-1 = scale [d22 -1; -1 d11], scale = 1 / (d (d11 d22 - 1)).
    """
    for r in range(k):
        i = k - 1 - r
        upper = scale * (d22 * first[i] - second[i])
        lower = scale * (d11 * second[i] - first[i])
        target = shift(a, i * n)
        for j in range(i + 1):
            target[j] -= upper * first[j] + lower * second[j]
        first[i] = upper
        second[i] = lower


@kernel("int(double*, int, int, int*)", cold=True)
def give_up(a, n, k, pivots_out):
    """Leave a factor with which solutions are NaN, the pivots up to the k-th not being finite; returns -1."""
    for j in range(k + 1):
        pivots_out[j] = j
        a[j * n + j] = math.nan
    return -1


@kernel("int(double*, int, int, int, int*)")
def eliminate(a, n, k, stop, pivots_out):
    """Eliminate pivot after pivot, from the k-th to one above `stop`; returns the next one, or -1 if given up."""
    while k > stop:
        row = shift(a, k * n)
        size, most = abs(row[k]), largest(row, k)
        choice = 2 * k + 1
        if not (size < math.inf and most < math.inf):
            return give_up(a, n, k, pivots_out)
        if size < ALPHA * most:
            choice = choose_exchange(a, n, k, size, most)
        low = choice // 2
        if choice % 2 == 1:
            if low != k:
                exchange(a, n, k, k, low)
            inverse = 1.0 / row[k]
            if inverse == 0.0:
                return give_up(a, n, k, pivots_out)
            pivots_out[k] = low
            if abs(inverse) < math.inf:
                eliminate_one(a, n, k, row, inverse)
            else:  # nothing is left of the row, or numbers without a reciprocal
                for j in range(k + 1):
                    row[j] = 0.0
            k -= 1
        else:
            if low != k - 1:
                exchange(a, n, k, k - 1, low)
            other = shift(a, (k - 1) * n)
            d = row[k - 1]
            d11, d22 = row[k] / d, other[k - 1] / d
            scale = 1.0 / (d * (d11 * d22 - 1.0))
            if not 0.0 < abs(scale) < math.inf:
                return give_up(a, n, k, pivots_out)
            eliminate_two(a, n, k - 1, row, other, d11, d22, scale)
            pivots_out[k] = -1 - low
            pivots_out[k - 1] = -1 - low
            k -= 2
    return k
