r"""Multifrontal factorisation P A P' = L S L' of an indefinite matrix, S = diag(+-1), pivots of order 1 and 2.

The fronts are those of `nlsq.kernels.multifrontal`. Pivots are chosen among the columns of a front by the thresholds
of Duff and Reid [1]_: with c_k the largest entry of column k outside the pivot,

    |d_kk| >= U c_k        or, for two,        |D^-1| (c_k, c_r)' <= 1 / U

What passes no test is not put off to the parent, since the structure is fixed: the pivot of least growth is taken,
and where growth would be above `LARGEST_GROWTH` its diagonal is moved, to be corrected by iterative refinement [2]_. A
pivot of order 2 with D = Q diag(l) Q' is kept as two columns of L,

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
from nlsq.kernels.multifrontal import extend_add, subtract, subtract_lower

NONE = -1
U = 0.01  # threshold of [1]_
TRIES = 6  # columns that are looked at for one pivot
LARGEST_GROWTH = 1e8  # and the reciprocal of what a pivot is moved to, relative to its column: sqrt(eps) [2]_
NO_DIGITS = 1e-13  # of what a pivot was formed from: rounding has left nothing
BLOCK = 32  # columns that are eliminated before those on their right hear of it

RIGHT, SINGULAR, NOT_FINITE = 0, 1, 2  # results
PLACE, OTHER, GROWTH = range(3)  # of a pivot that has been looked at, in doubles


@kernel("int(int*, int*, int*, int, double*, double*, double*)")
def measure(indptr, indices, inverse, n, values, scale_out, formed_out):
    """Give the largest entry of each row, and the size of the diagonal; 0 where a value is not finite.

    scale_out, formed_out : (n,), in the order of the factor.
    """
    for j in range(n):
        scale_out[j] = 0.0
        formed_out[j] = 0.0
    for j in range(n):
        column = inverse[j]
        largest = scale_out[column]
        for p in range(indptr[j], indptr[j + 1]):
            size = abs(values[p])
            if not size < math.inf:
                return 0
            row = inverse[indices[p]]
            if row == column:
                formed_out[column] = size
            elif size > scale_out[row]:
                scale_out[row] = size
            if size > largest:
                largest = size
        scale_out[column] = largest
    return 1


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


@kernel("int(double*, int, int, int, int)")
def largest_other(column, k, stop, c, other):
    """Return where the largest of column[k:stop] is, but for two places; -1: all zero, -2: one is not finite."""
    found, largest = NONE, 0.0
    for i in range(k, stop):
        size = abs(column[i])
        if not size < math.inf:
            return -2
        if size > largest and i != c and i != other:
            found, largest = i, size
    return found


@kernel("double(double*, int, int, int, int)")
def size_of_others(column, k, stop, c, other):
    """Return the largest size in column[k:stop], but for two places; infinite where one is not finite."""
    at = largest_other(column, k, stop, c, other)
    if at >= 0:
        return abs(column[at])
    return 0.0 if at == NONE else math.inf


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
def swap(panel, height, p, q, formed, order, first, second):
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
    order[p], order[q] = order[q], order[p]
    first[p], first[q] = first[q], first[p]
    second[p], second[q] = second[q], second[p]


@kernel("int(double*, int, int, int, int, double*, double*, double*, double*, double*, double*)")
def choose_pivot(panel, height, width, start, k, signs, formed, row_work, first_work, second_work, pivot_out):
    """Look for a pivot among columns k to width; returns -2 where a number is not finite, or 0.

    pivot_out : (3,) place, the other place or -1, growth, infinite where there is none.
    """
    pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(k), -1.0, math.inf
    c = k
    while c < min(width, k + TRIES):
        gather_column(panel, height, start, k, c, signs, row_work, first_work)
        r = largest_other(first_work, k, width, c, c)
        below = size_of_others(first_work, width, height, c, c)
        if r == -2 or not below < math.inf:
            return -2
        others = max(below, abs(first_work[r])) if r >= 0 else below
        growth = growth_of_one(first_work[c], others, formed[c])
        if growth < pivot_out[GROWTH]:
            pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(c), -1.0, growth
        if growth * U <= 1.0:
            return 0
        if r >= 0:
            gather_column(panel, height, start, k, r, signs, row_work, second_work)
            other = size_of_others(second_work, k, height, r, r)
            growth = growth_of_one(second_work[r], other, formed[r])
            if growth < pivot_out[GROWTH]:
                pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(r), -1.0, growth
            first = size_of_others(first_work, k, height, c, r)
            second = size_of_others(second_work, k, height, c, r)
            a, b, d = first_work[c], first_work[r], second_work[r]
            growth = growth_of_two(a, b, d, first, second, formed[c], formed[r])
            if growth < pivot_out[GROWTH]:
                pivot_out[PLACE], pivot_out[OTHER], pivot_out[GROWTH] = float(min(c, r)), float(max(c, r)), growth
            if pivot_out[GROWTH] * U <= 1.0:
                return 0
        c += 1
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


@kernel("int(double*, int, int, double*, double*, double*, double*, double*, int*, int*, double*, int*)")
def factor_panel(
    panel, height, width, expected, scale, formed, column_work, signed_work, order_out, twos_out, signs_out, moved_out
):
    """L of the panel (height, width), in place; returns RIGHT, NOT_FINITE, or 10 + the place of a singular column.

    expected : (width,) signs that pivots are moved to.  scale : (width,) of the rows of A.
    formed : (height,) sums of squares that the diagonal has been formed from; rows below the panel are added to.
    column_work : (2 height + 3 + BLOCK + 1,).  signed_work : (max(BLOCK + 1, width) STRIP,).
    moved_out : (1,) how many pivots were moved is added.
    order_out : (width,) columns in the order of elimination.  twos_out : (width,) 1 where a pivot of order 2 begins.
    """
    first, second = column_work, shift(column_work, height)
    found, row_work = shift(column_work, 2 * height), shift(column_work, 2 * height + 3)
    for k in range(width):
        order_out[k] = k
        twos_out[k] = 0
    k, start = 0, 0
    while k < width:
        if choose_pivot(panel, height, width, start, k, signs_out, formed, row_work, first, second, found) != 0:
            return NOT_FINITE
        c, r = int(found[PLACE]), int(found[OTHER])
        is_moved = not found[GROWTH] <= LARGEST_GROWTH
        if is_moved:
            c, r = k, NONE
        gather_column(panel, height, start, k, c, signs_out, row_work, first)
        if r >= 0:
            gather_column(panel, height, start, k, r, signs_out, row_work, second)
            if c != k:
                swap(panel, height, k, c, formed, order_out, first, second)
            if r != k + 1:
                swap(panel, height, k + 1, r, formed, order_out, first, second)
            keep_two(panel, height, k, first, second, signs_out, formed)
            twos_out[k] = 1
            k += 2
        else:
            if c != k:
                swap(panel, height, k, c, formed, order_out, first, second)
            if is_moved:
                size = max(size_of_others(first, k, height, k, k), abs(first[k]))
                own = order_out[k]
                if not size > NO_DIGITS * scale[own]:
                    return 10 + own
                first[k] = expected[own] * size / LARGEST_GROWTH
                moved_out[0] += 1
            keep_one(panel, height, k, first, signs_out, formed)
            k += 1
        if k < width and k - start >= BLOCK:
            left, right = shift(panel, start * height + k), shift(panel, k * height + k)
            depth, own_signs = k - start, shift(signs_out, start)
            subtract_lower(left, height, height - k, width - k, depth, own_signs, 1, signed_work, right, height, 1)
            start = k
    return RIGHT


@kernel(
    "int(int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int, double*, double*, double*, "
    "double*, double*, double*, double*, int*, int*, double*, int*)"
)
def factorize(
    node_starts,
    row_starts,
    panel_starts,
    update_starts,
    heads,
    following,
    relative,
    inside,
    rows,
    entry_starts,
    sources,
    places,
    m,
    values,
    expected,
    scale,
    formed,
    work,
    updates_work,
    panels_out,
    order_out,
    twos_out,
    signs_out,
    failed_out,
):
    """Factorise; returns RIGHT, SINGULAR or NOT_FINITE.

    formed : (n,) sizes of the diagonal on entry.  work : (3 largest height + 64 + signed rows,).
    failed_out : (2,) the (permuted) column that is singular, and how many pivots were moved.
    """
    failed_out[1] = 0
    for s in range(m):
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        panel = shift(panels_out, panel_starts[s])
        below = shift(rows, row_starts[s])
        for i in range(width * height):
            panel[i] = 0.0
        for q in range(entry_starts[s], entry_starts[s + 1]):
            panels_out[places[q]] = values[sources[q]]
        child = heads[s]
        while child != NONE:
            update = shift(updates_work, update_starts[child])
            count = row_starts[child + 1] - row_starts[child]
            extend_add(update, count, 0, inside[child], shift(relative, row_starts[child]), panel, height, 0)
            child = following[child]
        own_formed, columns, signed = work, shift(work, height), shift(work, 3 * height + 64)
        for k in range(width):
            own_formed[k] = formed[start + k]
        for i in range(size):
            own_formed[width + i] = 0.0
        own_signs = shift(signs_out, start)
        code = factor_panel(
            panel,
            height,
            width,
            shift(expected, start),
            shift(scale, start),
            own_formed,
            columns,
            signed,
            shift(order_out, start),
            shift(twos_out, start),
            own_signs,
            shift(failed_out, 1),
        )
        if code != RIGHT:
            failed_out[0] = start + code - 10
            return NOT_FINITE if code == NOT_FINITE else SINGULAR
        for i in range(size):
            formed[below[i]] += own_formed[width + i]
        update = shift(updates_work, update_starts[s])
        subtract_lower(shift(panel, width), height, size, size, width, own_signs, 1, signed, update, size, 0)
        child = heads[s]
        while child != NONE:
            source = shift(updates_work, update_starts[child])
            count = row_starts[child + 1] - row_starts[child]
            extend_add(source, count, inside[child], count, shift(relative, row_starts[child]), update, size, width)
            child = following[child]
    return RIGHT


@kernel("void(double*, int, int, int*, double*)")
def solve_front(panel, height, width, twos, own):
    """Solve L z = b for the columns of one front, in place."""
    k = 0
    while k < width:
        column = shift(panel, k * height)
        if twos[k] != 0:
            other = shift(column, height)
            a, b, c, d = column[k], other[k], column[k + 1], other[k + 1]
            determinant = a * d - b * c
            one, two = own[k], own[k + 1]
            first, second = (d * one - b * two) / determinant, (a * two - c * one) / determinant
            own[k], own[k + 1] = first, second
            for i in range(k + 2, width):
                own[i] -= column[i] * first + other[i] * second
            k += 2
        else:
            value = own[k] / column[k]
            own[k] = value
            for i in range(k + 1, width):
                own[i] -= column[i] * value
            k += 1


@kernel("void(double*, int, int, int, int*, double*, double*, double*)")
def solve_front_transposed(panel, height, width, size, twos, signs, below, own):
    """Solve S L' x = z for the columns of one front, in place, where `below` (size,) is known."""
    t = width - 1
    while t >= 0:
        k = t - 1 if t > 0 and twos[t - 1] != 0 else t
        for j in range(k, t + 1):
            column = shift(panel, j * height)
            value = own[j] * signs[j]
            low = shift(column, width)
            for i in range(size):
                value -= low[i] * below[i]
            for i in range(t + 1, width):
                value -= column[i] * own[i]
            own[j] = value
        column = shift(panel, k * height)
        if k < t:
            other = shift(column, height)
            a, b, c, d = column[k], other[k], column[t], other[t]
            determinant = a * d - b * c
            one, two = own[k], own[t]
            own[k], own[t] = (d * one - c * two) / determinant, (a * two - b * one) / determinant
        else:
            own[k] = own[k] / column[k]
        t = k - 1


@kernel("void(int*, int*, int*, int*, int, double*, double*, int*, int*, double*, double*)")
def solve(node_starts, row_starts, panel_starts, rows, m, panels, signs, order, twos, work, x):
    """Solve L S L' x = b in place; work (largest height + largest width,)."""
    for s in range(m):
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        own, below, panel = shift(x, start), shift(rows, row_starts[s]), shift(panels, panel_starts[s])
        local = shift(order, start)
        for k in range(width):
            work[k] = own[local[k]]
        solve_front(panel, height, width, shift(twos, start), work)
        for k in range(width):
            own[k] = work[k]
        subtract(size, 1, width, shift(panel, width), height, own, 0, 1, work, size, 0)
        for i in range(size):
            x[below[i]] += work[i]
    for t in range(m):
        s = m - 1 - t
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        own, below, panel = shift(x, start), shift(rows, row_starts[s]), shift(panels, panel_starts[s])
        local, known = shift(order, start), shift(work, width)
        for i in range(size):
            known[i] = x[below[i]]
        solve_front_transposed(panel, height, width, size, shift(twos, start), shift(signs, start), known, own)
        for k in range(width):
            work[k] = own[k]
        for k in range(width):
            own[local[k]] = work[k]
