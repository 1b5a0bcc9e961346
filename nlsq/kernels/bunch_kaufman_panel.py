r"""Bunch-Kaufman factorisation of matrices that no longer fit a cache: a panel of pivots at a time.

With the panel's rows u (pivots p = k + 1, ..., s) and W = u' D^-1 kept for each, the leading rows hear of all its
pivots in one product,

    A_k  <-  A_k - W u,

and a row that is looked at before is brought up to date for itself [1]_. All of it happens inside A (n, n): rows p hold
W' = D^-1 u as in the end, and u, which is needed by rows of the leading part, lies in the unused upper triangle,
``a[i*n + p + 2] = u_pi``. Two rows under examination take what is left of rows 0 and 1 there; the two columns on the
right that this needs must have been eliminated before.

Exchanges reach all pivots of a panel while it is being made, and are taken back from earlier ones at its end, so that
the factor is that of `nlsq.kernels.bunch_kaufman`.

References
----------
.. [1] E. Anderson and J. Dongarra, "Evaluating Block Algorithm Variants in LAPACK", LAPACK Working Note 19, 1990:
   symmetric indefinite factorisation.
.. [2] G. Golub and C. Van Loan, "Matrix Computations", 4th ed., 2013, section 4.4.4.
"""

import math

from nlsq.kernels.backend import kernel, shift, subtract_product
from nlsq.kernels.bunch_kaufman_pivot import ALPHA, give_up, largest

ASIDE = 2  # columns between p and the place of u_p in the upper triangle
PANEL = 32
STRIP = 8  # rows that are updated together
WIDTH = 192  # of a row that is updated at a time: what is subtracted there stays in a cache


@kernel("void(double*, int, int, int, int, double*)")
def fetch_row(a, n, k, top, i, row_out):
    """Give row i of the leading k + 1 rows and columns, shape (k + 1,), as the pivots k + 1, ..., top leave it."""
    for j in range(i + 1):
        row_out[j] = a[i * n + j]
    for j in range(i + 1, k + 1):
        row_out[j] = a[j * n + i]
    u = shift(a, i * n + k + 1 + ASIDE)
    subtract_product(k + 1, 1, top - k, shift(a, (k + 1) * n), n, u, 0, 1, row_out, n, 1)


@kernel("void(double*, int, int, int, int, int)")
def exchange_rows(a, n, k, top, high, low):
    """Put row `high` of the leading part in place of row `low`, and exchange them in what the pivots left.

    Row `high` is free afterwards.
    """
    one, other = shift(a, high * n), shift(a, low * n)
    other[low] = one[high]
    for j in range(low):
        other[j] = one[j]
    for j in range(low + 1, high):
        a[j * n + low] = one[j]
    for p in range(k + 1, top + 1):
        t = one[p + ASIDE]
        one[p + ASIDE] = other[p + ASIDE]
        other[p + ASIDE] = t
        t = a[p * n + high]
        a[p * n + high] = a[p * n + low]
        a[p * n + low] = t


@kernel("int(double*, int, int, double*)")
def keep_one(a, n, k, row):
    """Make a 1 x 1 pivot of a row (k + 1,); returns 0 where it is infinite.

    One without a finite reciprocal becomes zero, and its row too.
    """
    inverse = 1.0 / row[k]
    if inverse == 0.0:
        return 0
    out = shift(a, k * n)
    if not abs(inverse) < math.inf:
        inverse = 0.0
        for j in range(k + 1):
            row[j] = 0.0
    for j in range(k):
        out[j] = row[j] * inverse
    out[k] = row[k]
    for j in range(k):
        a[j * n + k + ASIDE] = row[j]
    return 1


@kernel("int(double*, int, int, double*, double*)")
def keep_two(a, n, k, first, second):
    """Make a 2 x 2 pivot of rows k and k - 1, shape (k + 1,); returns 0 where its inverse is not finite."""
    out, other = shift(a, k * n), shift(a, (k - 1) * n)
    d = first[k - 1]
    d11, d22 = first[k] / d, second[k - 1] / d
    scale = 1.0 / (d * (d11 * d22 - 1.0))
    if not 0.0 < abs(scale) < math.inf:
        return 0
    for j in range(k - 1):
        out[j] = scale * (d22 * first[j] - second[j])
        other[j] = scale * (d11 * second[j] - first[j])
    out[k], out[k - 1], other[k - 1] = first[k], d, second[k - 1]
    for j in range(k - 1):
        a[j * n + k + ASIDE] = first[j]
        a[j * n + k - 1 + ASIDE] = second[j]
    return 1


@kernel("void(double*, int, int, int, int*)")
def take_back(a, n, k, top, pivots):
    """Take exchanges of later pivots back from the rows of earlier ones, k + 1 to `top`."""
    p = k + 1
    while p <= top:
        high, low = p, pivots[p]
        if low < 0:
            low = -1 - low
            p += 1
        p += 1
        if low != high:
            for q in range(p, top + 1):
                t = a[q * n + high]
                a[q * n + high] = a[q * n + low]
                a[q * n + low] = t


@kernel("void(double*, int, int, int)")
def update_leading(a, n, k, top):
    """A_k - W u: the lower triangle of the leading k + 1 rows hears of the pivots k + 1, ..., `top`."""
    rows, depth = k + 1, top - k
    first = 0
    while first < rows:
        w, u = shift(a, (k + 1) * n + first), k + 1 + ASIDE
        i = first
        while i < rows:
            count = min(STRIP, rows - i)
            length = min(WIDTH, i + count - first)
            c = shift(a, i * n + first)
            subtract_product(length, count, depth, w, n, shift(a, i * n + u), n, 1, c, n, 1)
            i += count
        first += WIDTH


@kernel("int(double*, int, int, int*)", cold=True)
def eliminate_panel(a, n, top, pivots_out):
    """Eliminate about PANEL pivots, from `top` on, at most n - 1 - ASIDE; returns the next one, or -1 if given up."""
    first, second = shift(a, 1), shift(a, n + 2)
    k = top
    while k > top - PANEL:
        fetch_row(a, n, k, top, k, first)
        size, most = abs(first[k]), largest(first, k)
        if not (size < math.inf and most < math.inf):
            return give_up(a, n, k, pivots_out)
        low, two = k, False
        if size < ALPHA * most:
            i = 0
            while abs(first[i]) != most:
                i += 1
            fetch_row(a, n, k, top, i, second)
            there = max(largest(second, i), largest(shift(second, i + 1), k - i))
            if size < ALPHA * most * (most / there):
                low = i
                two = not abs(second[i]) >= ALPHA * there
                if not two:
                    for j in range(k + 1):
                        first[j] = second[j]
        high = k - 1 if two else k
        if low != high:
            exchange_rows(a, n, k, top, high, low)
            first[high], first[low] = first[low], first[high]
        if two:
            second[high], second[low] = second[low], second[high]
            if keep_two(a, n, k, first, second) == 0:
                return give_up(a, n, k, pivots_out)
            pivots_out[k] = -1 - low
            pivots_out[k - 1] = -1 - low
            k -= 2
        else:
            if keep_one(a, n, k, first) == 0:
                return give_up(a, n, k, pivots_out)
            pivots_out[k] = low
            k -= 1
    update_leading(a, n, k, top)
    take_back(a, n, k, top, pivots_out)
    return k
