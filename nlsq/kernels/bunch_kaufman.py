r"""Bunch-Kaufman factorisation A = U D U' of a symmetric indefinite matrix, and what follows from it.

Matrices are row by row and only lower triangles are read, so that row k holds column k of the upper triangle. Unknowns
are eliminated from the last to the first: with D_k the pivot, 1 x 1 or 2 x 2, and u_k the row (or two) on its left,

    [A_k   u_k']   [I  u_k' D_k^-1] [A_k - u_k' D_k^-1 u_k      ] [I            ]
    [u_k   D_k ] = [   I          ] [                        D_k] [D_k^-1 u_k  I]

and all inner loops run along rows. A pivot is 1 x 1 if the diagonal entry is not small beside the largest entry of its
row, or beside that of the row where the largest entry stands; after an exchange of rows and columns if the diagonal
entry there is large; else 2 x 2 and indefinite. By Sylvester's law the signs of D are those of A's eigenvalues.

References
----------
.. [1] J. R. Bunch and L. Kaufman, "Some Stable Methods for Calculating Inertia and Solving Symmetric Linear Systems",
   Mathematics of Computation 31, 1977, algorithm A.
.. [2] G. Golub and C. Van Loan, "Matrix Computations", 4th ed., 2013, section 4.4.4.
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
    """Leave a factor with which solutions are NaN: the pivots up to the k-th are not finite."""
    for j in range(k + 1):
        pivots_out[j] = j
        a[j * n + j] = math.nan
    return k + 1


@kernel("int(int, double*, int*)")
def factor_small(n, a, pivots_out):
    """Factorise as `factor` does, one pivot after another."""
    negative, zero = 0, 0
    k = n - 1
    while k >= 0:
        row = shift(a, k * n)
        size, most = abs(row[k]), largest(row, k)
        choice = 2 * k + 1
        if not (size < math.inf and most < math.inf):
            return -zero - give_up(a, n, k, pivots_out)
        if size < ALPHA * most:
            choice = choose_exchange(a, n, k, size, most)
        low = choice // 2
        if choice % 2 == 1:
            if low != k:
                exchange(a, n, k, k, low)
            inverse = 1.0 / row[k]
            pivots_out[k] = low
            if abs(inverse) < math.inf:
                negative += 1 if inverse < 0.0 else 0
                eliminate_one(a, n, k, row, inverse)
            else:  # nothing is left of the row, or numbers without a reciprocal
                zero += 1
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
            if not abs(scale) < math.inf:
                return -zero - give_up(a, n, k, pivots_out)
            eliminate_two(a, n, k - 1, row, other, d11, d22, scale)
            pivots_out[k] = -1 - low
            pivots_out[k - 1] = -1 - low
            negative += 1
            k -= 2
    return negative if zero == 0 else -zero


@kernel("int(int, double*, int*)")
def factor(n, a, pivots_out):
    """Factorise A = U D U' in place: the lower triangle of A (n, n), row by row, becomes that of U' and D.

    The upper triangle is not read; it may be overwritten.

    pivots_out : (n,) k where pivot k is 1 x 1 and nothing was exchanged, i where rows k and i were; -1 - i at k and
    k - 1 where the pivot is 2 x 2 and rows k - 1 and i were exchanged.

    Returns the number of negative eigenvalues of A, 0 or more, where no pivot is zero. Else minus the number of zero
    pivots: those that have no finite reciprocal. An infinite pivot or NaN ends the factorisation, and it and all that
    would follow count as zero. `inertia` tells more.
    """
    return factor_small(n, a, pivots_out)


@kernel("void(int, double*, int*, double*)")
def solve(n, a, pivots, b_io):
    """Solve A x = b in place with what `factor` left.

    Where pivots are zero, and b is in the range of A, x is the solution whose components there are zero (before
    exchanges); NaN where the factorisation met numbers that are not finite.
    """
    k = n - 1
    while k >= 0:
        row = shift(a, k * n)
        if pivots[k] >= 0:
            low = pivots[k]
            value = b_io[low]
            b_io[low] = b_io[k]
            for j in range(k):
                b_io[j] -= row[j] * value
            b_io[k] = value / row[k] if row[k] != 0.0 else 0.0
            k -= 1
        else:
            low = -1 - pivots[k]
            other = shift(row, -n)
            first, second = b_io[k], b_io[low]
            b_io[low] = b_io[k - 1]
            for j in range(k - 1):
                b_io[j] -= row[j] * first + other[j] * second
            d = row[k - 1]
            d11, d22 = row[k] / d, other[k - 1] / d
            determinant = d * (d11 * d22 - 1.0)
            b_io[k] = (d22 * first - second) / determinant
            b_io[k - 1] = (d11 * second - first) / determinant
            k -= 2
    k = 0
    while k < n:
        row = shift(a, k * n)
        if pivots[k] >= 0:
            low = pivots[k]
            value = b_io[k]
            for j in range(k):
                value -= row[j] * b_io[j]
            b_io[k] = b_io[low]
            b_io[low] = value
            k += 1
        else:
            low = -1 - pivots[k]
            other = shift(row, n)
            first, second = b_io[k], b_io[k + 1]
            for j in range(k):
                first -= row[j] * b_io[j]
                second -= other[j] * b_io[j]
            b_io[k + 1] = second
            b_io[k] = b_io[low]
            b_io[low] = first
            k += 2


@kernel("double(int, double*, int*, int*)")
def inertia(n, a, pivots, counts_out):
    """Count positive, negative and zero eigenvalues by the pivots that `factor` left; NaN counts as zero.

    Returns the smallest size of D's eigenvalues over the largest: of the order of the machine precision or below where
    A is singular to working precision, unless A is badly scaled; 0 where a pivot is zero or not finite.
    counts_out : (3,).
    """
    for i in range(3):
        counts_out[i] = 0
    least, most = math.inf, 0.0
    k = 0
    while k < n:
        low = a[k * n + k]
        high = low
        if pivots[k] < 0:
            d, last = a[(k + 1) * n + k], a[(k + 1) * n + k + 1]
            middle, half = 0.5 * (low + last), math.hypot(0.5 * (low - last), d)
            high = middle + half if middle >= 0.0 else middle - half
            low = (low / high) * last - (d / high) * d
            k += 1
            counts_out[0] += 1
            counts_out[1] += 1
        elif low > 0.0:
            counts_out[0] += 1
        elif low < 0.0:
            counts_out[1] += 1
        else:
            counts_out[2] += 1
        least = abs(low) if abs(low) < least else least
        most = abs(high) if abs(high) > most else most
        k += 1
    return least / most if n > 0 and counts_out[2] == 0 else 0.0
