r"""Columns of L S L', S = diag(+-1), of a front of an indefinite matrix: pivots of order 1 and 2.

Pivots are chosen among the columns of a front by the thresholds of Duff and Reid [1]_: with c_k the largest entry of
column k outside the pivot,

    c_k / |d_kk|  <=  GOOD        or, for two,        |D^-1| (c_k, c_r)'  <=  GOOD

are looked for, and the best that was seen is taken where it is below FAIR. Columns for which there is none are put off:
they join the front of the parent, which is larger for it. The last front has nowhere to put them; there a pivot of
growth above `LARGEST_GROWTH` is moved, to be corrected by iterative refinement [2]_. A pivot of order 2 with
D = Q diag(l) Q' is kept as two columns of L,

    D = B S B',   B = Q |l|^(1/2),   S = sign(l),

so that updates are those of pivots of order 1; B is full, with its upper entry above the diagonal of the panel. By
Sylvester's law of inertia A has as many negative eigenvalues as S has entries -1.

Entry k of diag(A) = diag(L S L') is a sum of s_j l_kj^2, so rounding has touched the pivot by about eps sum l_kj^2. A
pivot that is no larger than that, with nothing left in its column, says that A is singular.

References
----------
.. [1] I. S. Duff and J. K. Reid, "The Multifrontal Solution of Indefinite Sparse Symmetric Linear Equations", ACM
   Transactions on Mathematical Software 9, 1983, section 4.
.. [2] O. Schenk and K. Gaertner, "On Fast Factorization Pivoting Methods for Sparse Symmetric Indefinite Systems",
   Electronic Transactions on Numerical Analysis 23, 2006, section 3.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.multifrontal import subtract, subtract_lower

NONE = -1
GOOD = 100.0  # growth at which the search for a pivot ends: 1 / u of [1]_
FAIR = 1e4  # growth that is taken where no good pivot was seen: the residuals of refinement judge it
TRIES = 16  # columns that are looked at for one pivot
LARGEST_GROWTH = 1e8  # and the reciprocal of what a pivot is moved to, relative to its column: 1 / sqrt(eps) [2]_
NO_DIGITS = 1e-13  # of what a pivot was formed from: rounding has left nothing
LARGE = 1e300  # sums of squares that are surely not infinite
BLOCK = 32  # columns that are eliminated before those on their right hear of it

SINGULAR, NOT_FINITE = 1, 2  # why there is no factor
PLACE, OTHER, GROWTH, HELD = range(4)  # of a pivot, see `choose_pivot`
FAILED, MOVED, PUT_OFF = range(3)  # what a factorisation reports


@kernel("void(double*, int, int, int, int, double*, double*, double*)")
def gather_column(panel, height, start, k, c, signs, row_work, column_out):
    """Give rows from k on of column c of what columns before k have left; those before start have been applied."""
    for i in range(k, c):
        column_out[i] = panel[i * height + c]
    source = shift(panel, c * height)
    for i in range(c, height):
        column_out[i] = source[i]
    depth = k - start
    if depth > 0:
        for p in range(depth):
            row_work[p] = panel[(start + p) * height + c] * signs[start + p]
        left = shift(panel, start * height + k)
        subtract(height - k, 1, depth, left, height, row_work, 0, 1, shift(column_out, k), height, 1)


@kernel("int(double*, int, int, int)")
def largest_other(column, k, stop, c):
    """Return where the largest of column[k:stop] is, but for one place; -1: all zero, -2: one is not finite."""
    found, largest = NONE, 0.0
    for i in range(k, stop):
        size = abs(column[i])
        if not size < math.inf:
            return -2
        if size > largest and i != c:
            found, largest = i, size
    return found


@kernel("double(double*, int, int, int, int)")
def size_of_others(column, k, stop, c, other):
    """Return the largest size in column[k:stop], but for two places; infinite where one is not finite."""
    largest = 0.0
    for i in range(k, stop):
        size = abs(column[i])
        if not size < math.inf:
            return math.inf
        if size > largest and i != c and i != other:
            largest = size
    return largest


@kernel("double(double, double, double)")
def growth_of_one(pivot, others, formed):
    """Return the growth of a pivot of order 1; infinite where rounding has left nothing of it."""
    size = abs(pivot)
    if not size > NO_DIGITS * formed:
        return math.inf
    return others / size


@kernel("double(double, double, double, double, double, double, double)")
def growth_of_two(a, b, c, first, second, formed, formed_second):
    """Return the growth of the pivot (a, b; b, c), whose columns have `first` and `second` besides."""
    determinant = abs(a * c - b * b)
    rounding = formed * abs(c) + formed_second * abs(a) + 2.0 * math.sqrt(formed * formed_second) * abs(b)
    if not determinant > NO_DIGITS * max(rounding, b * b):
        return math.inf
    return max(abs(c) * first + abs(b) * second, abs(b) * first + abs(a) * second) / determinant


@kernel("void(double*, int, int, int, double*, int*, double*, double*)")
def swap(panel, height, p, q, formed, index, first, second):
    """Exchange places p < q of the symmetric front, of L to its left and of two columns."""
    for j in range(p):
        column = shift(panel, j * height)
        column[p], column[q] = column[q], column[p]
    left, right = shift(panel, p * height), shift(panel, q * height)
    left[p], right[q] = right[q], left[p]
    for j in range(p + 1, q):
        left[j], panel[j * height + q] = panel[j * height + q], left[j]
    for i in range(q + 1, height):
        left[i], right[i] = right[i], left[i]
    formed[p], formed[q] = formed[q], formed[p]
    index[p], index[q] = index[q], index[p]
    first[p], first[q] = first[q], first[p]
    second[p], second[q] = second[q], second[p]


@kernel("int(double*, int, int, int, int, double*, double*, double*, double*, double*, double*)")
def choose_pivot(panel, height, width, start, k, signs, formed, row_work, first_work, second_work, pivot_out):
    """Look for a pivot among columns k to width; returns -2 where a number is not finite, or 0.

    pivot_out : (4,) place, the other place or -1, growth, infinite where there is none, and whether the columns that
    belong to them are in first_work and second_work.
    """
    pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH], pivot_out[HELD] = float(k), -1.0, math.inf, 0.0
    for c in range(k, min(width, k + TRIES)):
        gather_column(panel, height, start, k, c, signs, row_work, first_work)
        pivot = first_work[c]
        total = 0.0
        for i in range(k, height):
            total += first_work[i] * first_work[i]
        if total < LARGE and pivot * pivot * (GOOD * GOOD) >= total and abs(pivot) > NO_DIGITS * formed[c]:
            pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(c), -1.0, GOOD
            pivot_out[HELD] = 1.0
            return 0
        r = largest_other(first_work, k, width, c)
        below = largest_other(first_work, width, height, NONE)
        if r == -2 or below == -2:
            return -2
        inside = abs(first_work[r]) if r >= 0 else 0.0
        outside = abs(first_work[below]) if below >= 0 else 0.0
        growth = growth_of_one(first_work[c], max(inside, outside), formed[c])
        if growth < pivot_out[GROWTH]:
            pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(c), -1.0, growth
            if growth <= GOOD:
                pivot_out[HELD] = 1.0
                return 0
        if r >= 0:
            gather_column(panel, height, start, k, r, signs, row_work, second_work)
            first = max(outside, size_of_others(first_work, k, width, c, r))
            second = size_of_others(second_work, k, height, c, r)
            a, b, d = first_work[c], first_work[r], second_work[r]
            growth = growth_of_one(d, max(second, abs(b)), formed[r])
            if growth < pivot_out[GROWTH]:
                pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(r), -1.0, growth
            growth = growth_of_two(a, b, d, first, second, formed[c], formed[r])
            if growth < pivot_out[GROWTH]:
                pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(min(c, r)), float(max(c, r)), growth
                if growth <= GOOD and c < r:
                    pivot_out[HELD] = 1.0
            if pivot_out[GROWTH] <= GOOD:
                return 0
    return 0


@kernel("void(double*, int, int, double*, double*, double*)")
def keep_one(panel, height, k, column, signs_out, formed):
    """Make column k of L from what is left of it."""
    pivot = column[k]
    sign = 1.0 if pivot > 0.0 else -1.0
    root = math.sqrt(abs(pivot))
    signs_out[k] = sign
    target = shift(panel, k * height)
    target[k] = root
    scale = sign / root
    for i in range(k + 1, height):
        entry = column[i] * scale
        target[i] = entry
        formed[i] += entry * entry


@kernel("void(double*, int, int, double*, double*, double*, double*)")
def keep_two(panel, height, k, first, second, signs_out, formed):
    """Make columns k and k + 1 of L from what is left of them."""
    a, b, c = first[k], first[k + 1], second[k + 1]
    ratio = (c - a) / (2.0 * b)
    size = 1.0 / (abs(ratio) + math.sqrt(1.0 + ratio * ratio))
    tangent = size if ratio >= 0.0 else -size
    cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
    sine = tangent * cosine
    low, high = a - tangent * b, c + tangent * b
    sign, other_sign = (1.0 if low > 0.0 else -1.0), (1.0 if high > 0.0 else -1.0)
    root, other_root = math.sqrt(abs(low)), math.sqrt(abs(high))
    signs_out[k], signs_out[k + 1] = sign, other_sign
    left, right = shift(panel, k * height), shift(panel, (k + 1) * height)
    left[k], left[k + 1] = cosine * root, -sine * root
    right[k], right[k + 1] = sine * other_root, cosine * other_root
    scale, other_scale = sign / root, other_sign / other_root
    for i in range(k + 2, height):
        one, two = first[i], second[i]
        entry = (cosine * one - sine * two) * scale
        other = (sine * one + cosine * two) * other_scale
        left[i], right[i] = entry, other
        formed[i] += entry * entry + other * other


@kernel("int(double*, int, int, int, double*, double*, double*, double*, double*, int*, int*, double*, int*)")
def factor_panel(
    panel, height, width, is_last, expected, scale, formed, column_work, signed_work, index, twos_out, signs_out, report
):
    """L of the panel (height, width), in place; returns how many columns are eliminated, or -1 - SINGULAR, ...

    is_last : whether nothing can be put off.  expected : (n,) signs that pivots are moved to.
    scale : (n,) of the rows of A.  formed : (height,) sums of squares that the diagonal has been formed from, added to.
    column_work : (2 height + 4 + BLOCK + 1,).  signed_work : (max(BLOCK + 1, width) STRIP,).
    index : (height,) the rows of the front; the columns change places.
    twos_out : (width,) 1 where a pivot of order 2 begins.
    """
    first, second = column_work, shift(column_work, height)
    found, row_work = shift(column_work, 2 * height), shift(column_work, 2 * height + 4)
    k, start = 0, 0
    is_stopped = False
    while k < width and not is_stopped:
        if choose_pivot(panel, height, width, start, k, signs_out, formed, row_work, first, second, found) != 0:
            return NONE - NOT_FINITE
        c, r, growth = int(found[PLACE]), int(found[OTHER]), found[GROWTH]
        if found[HELD] == 0.0:
            if not growth <= LARGEST_GROWTH:
                c, r = k, NONE
            gather_column(panel, height, start, k, c, signs_out, row_work, first)
            if r >= 0:
                gather_column(panel, height, start, k, r, signs_out, row_work, second)
            if not growth <= FAIR:
                size = size_of_others(first, k, height, NONE, NONE)
                unit = max(scale[index[c]], formed[c]) if is_last != 0 else scale[index[c]]
                if not size > NO_DIGITS * unit:
                    report[FAILED] = index[c]
                    return NONE - SINGULAR
                is_stopped = is_last == 0
                if not is_stopped and not growth <= LARGEST_GROWTH:
                    first[c] = expected[index[c]] * size / LARGEST_GROWTH
                    report[MOVED] += 1
        if not is_stopped:
            if c != k:
                swap(panel, height, k, c, formed, index, first, second)
            if r >= 0:
                if r != k + 1:
                    swap(panel, height, k + 1, r, formed, index, first, second)
                keep_two(panel, height, k, first, second, signs_out, formed)
                twos_out[k], twos_out[k + 1] = 1, 0
                k += 2
            else:
                keep_one(panel, height, k, first, signs_out, formed)
                twos_out[k] = 0
                k += 1
        if k < width and k > start and (is_stopped or k - start >= BLOCK):
            left, right = shift(panel, start * height + k), shift(panel, k * height + k)
            depth, own_signs = k - start, shift(signs_out, start)
            subtract_lower(left, height, height - k, width - k, depth, own_signs, 1, signed_work, right, height, 1)
            start = k
    return k
