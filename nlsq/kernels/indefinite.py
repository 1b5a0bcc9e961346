r"""Multifrontal factorisation P A P' = L S L' of an indefinite matrix, S = diag(+-1), pivots of order 1 and 2.

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

The plan of `nlsq.kernels.supernodes` says what each front has if nothing is put off. Panels, lists of rows and updates
are placed one after another as they come, so that nothing is allocated; where they do not fit, more room is asked for.

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
GOOD = 100.0  # growth at which the search for a pivot ends: 1 / u of [1]_
FAIR = 1e4  # growth that is taken where no good pivot was seen: the residuals of refinement judge it
TRIES = 16  # columns that are looked at for one pivot
LARGEST_GROWTH = 1e8  # and the reciprocal of what a pivot is moved to, relative to its column: 1 / sqrt(eps) [2]_
NO_DIGITS = 1e-13  # of what a pivot was formed from: rounding has left nothing
BLOCK = 32  # columns that are eliminated before those on their right hear of it

RIGHT, SINGULAR, NOT_FINITE, NO_ROOM = range(4)  # results
PLACE, OTHER, GROWTH, HELD = range(4)  # of a pivot: where, the other column or -1, growth, whether its columns are held
PANEL_AT, INDEX_AT, HEIGHT, PIVOTS, UPDATE_AT, UPDATE_SIZE, SIDE = range(7)  # of fronts: parts of m integers
FRONT_PARTS = 7
ROOM_PANELS, ROOM_INDEX, ROOM_UPDATES, ROOM_HEIGHT = range(4)  # what there is room for; updates: on each of two stacks
FAILED, MOVED, PUT_OFF = range(3)  # what a factorisation reports


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
                if not size > NO_DIGITS * scale[index[c]]:
                    report[FAILED] = index[c]
                    return NONE - SINGULAR
                is_stopped = not is_last
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


@kernel("int(int*, int, int, int*, int, int, int*)")
def place_child(relative, kept, put_off, fronts_of_child, inside, before, places_out):
    """Say where the rows of a child's update stand in the front of its parent; returns how many are its columns.

    relative : of the rows that the plan knows, `kept` of them.  put_off : columns that all children have put off.
    fronts_of_child : its update's size first.  before : columns that children before it have put off.
    """
    own = fronts_of_child[0] - kept
    for a in range(own):
        places_out[a] = before + a
    for a in range(kept):
        places_out[own + a] = relative[a] + put_off
    return own + inside


@kernel("void(double*, int, int, int*, int*, int, int, int, double*)")
def fill_panel(values, first, last, sources, places, panel_start, plan_height, put_off, panel_out):
    """Put the entries of A that one front has into its panel, whose first columns have been put off by others."""
    height = plan_height + put_off
    for q in range(first, last):
        place = places[q] - panel_start
        if put_off > 0:
            column = place // plan_height
            place = (column + put_off) * height + put_off + place - column * plan_height
        panel_out[place] = values[sources[q]]


@kernel(
    "int(int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int, double*, double*, double*, double*, "
    "int*, double*, int*, double*, double*, int*, int*, double*, int*, int*)"
)
def factorize(
    node_starts,
    row_starts,
    panel_starts,
    tree,
    heads,
    following,
    relative,
    inside,
    rows,
    entry_starts,
    sources_places,
    m,
    values,
    expected,
    scale,
    formed,
    room,
    work,
    places_work,
    updates_work,
    panels_out,
    index_out,
    twos_out,
    signs_out,
    fronts_out,
    report_out,
):
    """Factorise; returns RIGHT, SINGULAR, NOT_FINITE or NO_ROOM.

    sources_places : where the values of the entries are, then where they go in the panels of the plan.
    formed : (n,) sizes of the diagonal on entry.  room : (4,) see ROOM_PANELS and the rest.
    work : (3 ROOM_HEIGHT + 64 + max(BLOCK + 1, ROOM_HEIGHT) STRIP,).  places_work : (ROOM_HEIGHT,).
    index_out, twos_out, signs_out : (ROOM_INDEX,) rows of each front, those it eliminates first, and their pivots.
    fronts_out : (FRONT_PARTS m,).  report_out : (3,) the (permuted) column that is singular, how many pivots were
    moved, and how many columns were put off.
    """
    panel_at, index_at, heights = fronts_out, shift(fronts_out, m), shift(fronts_out, 2 * m)
    pivots, update_at = shift(fronts_out, 3 * m), shift(fronts_out, 4 * m)
    update_sizes, sides = shift(fronts_out, 5 * m), shift(fronts_out, 6 * m)
    places = shift(sources_places, entry_starts[m])
    report_out[MOVED], report_out[PUT_OFF] = 0, 0
    for t in range(m):
        s = m - 1 - t
        sides[s] = 0 if tree[s] == NONE else 1 - sides[tree[s]]
    panel_top, index_top, even_top, odd_top = 0, 0, 0, 0
    for s in range(m):
        start, size = node_starts[s], row_starts[s + 1] - row_starts[s]
        plan_height = node_starts[s + 1] - start + size
        put_off = 0
        child = heads[s]
        while child != NONE:
            put_off += heights[child] - pivots[child] - (row_starts[child + 1] - row_starts[child])
            child = following[child]
        width, height = node_starts[s + 1] - start + put_off, plan_height + put_off
        if (
            height > room[ROOM_HEIGHT]
            or panel_top + width * height > room[ROOM_PANELS]
            or index_top + height > room[ROOM_INDEX]
        ):
            return NO_ROOM
        panel_at[s], index_at[s], heights[s] = panel_top, index_top, height
        panel, index = shift(panels_out, panel_top), shift(index_out, index_top)
        panel_top += width * height
        for i in range(width * height):
            panel[i] = 0.0
        fill_panel(
            values,
            entry_starts[s],
            entry_starts[s + 1],
            sources_places,
            places,
            panel_starts[s],
            plan_height,
            put_off,
            panel,
        )
        before = 0
        child = heads[s]
        while child != NONE:
            kept = row_starts[child + 1] - row_starts[child]
            count = update_sizes[child]
            rel = shift(relative, row_starts[child])
            columns = place_child(rel, kept, put_off, shift(update_sizes, child), inside[child], before, places_work)
            extend_add(shift(updates_work, update_at[child]), count, 0, columns, places_work, panel, height, 0)
            theirs = shift(index_out, index_at[child] + pivots[child])
            for a in range(count - kept):
                index[before + a] = theirs[a]
            before += count - kept
            child = following[child]
        for k in range(width - put_off):
            index[put_off + k] = start + k
        for i in range(size):
            index[width + i] = rows[row_starts[s] + i]
        own_formed, columns_work, signed = work, shift(work, height), shift(work, 3 * height + 64)
        for k in range(width):
            own_formed[k] = formed[index[k]]
        for i in range(size):
            own_formed[width + i] = 0.0
        own_signs = shift(signs_out, index_top)
        done = factor_panel(
            panel,
            height,
            width,
            1 if tree[s] == NONE else 0,
            expected,
            scale,
            own_formed,
            columns_work,
            signed,
            index,
            shift(twos_out, index_top),
            own_signs,
            report_out,
        )
        if done < 0:
            return NONE - done
        left = width - done
        report_out[PUT_OFF] += left
        pivots[s] = done
        for k in range(done, width):
            formed[index[k]] = own_formed[k]
        for i in range(size):
            formed[index[width + i]] += own_formed[width + i]
        count = left + size
        top = even_top if sides[s] == 0 else odd_top
        if top + count * count > room[ROOM_UPDATES]:
            return NO_ROOM
        update_at[s], update_sizes[s] = top + sides[s] * room[ROOM_UPDATES], count
        update = shift(updates_work, update_at[s])
        for k in range(left):
            column = shift(panel, (done + k) * height + done)
            for i in range(k, count):
                update[k * count + i] = column[i]
        rest = shift(update, left * count + left)
        subtract_lower(shift(panel, width), height, size, size, done, own_signs, 1, signed, rest, count, 0)
        lowest = NONE
        before = 0
        child = heads[s]
        while child != NONE:
            kept = row_starts[child + 1] - row_starts[child]
            many = update_sizes[child]
            rel = shift(relative, row_starts[child])
            columns = place_child(rel, kept, put_off, shift(update_sizes, child), inside[child], before, places_work)
            source = shift(updates_work, update_at[child])
            extend_add(source, many, columns, many, places_work, update, count, done)
            before += many - kept
            if lowest == NONE:
                lowest = update_at[child] - sides[child] * room[ROOM_UPDATES]
            child = following[child]
        if sides[s] == 0:
            even_top = top + count * count
            odd_top = lowest if lowest != NONE else odd_top
        else:
            odd_top = top + count * count
            even_top = lowest if lowest != NONE else even_top
        panel_top = panel_at[s] + done * height
        index_top += height
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


@kernel("void(int*, int, double*, double*, int*, int*, double*, double*)")
def solve(fronts, m, panels, signs, index, twos, work, x):
    """Solve L S L' x = b in place; work (2 ROOM_HEIGHT,)."""
    panel_at, index_at, heights, pivots = fronts, shift(fronts, m), shift(fronts, 2 * m), shift(fronts, 3 * m)
    for s in range(m):
        height, width = heights[s], pivots[s]
        panel, own = shift(panels, panel_at[s]), shift(index, index_at[s])
        below, size = shift(work, width), height - width
        for k in range(width):
            work[k] = x[own[k]]
        solve_front(panel, height, width, shift(twos, index_at[s]), work)
        for k in range(width):
            x[own[k]] = work[k]
        subtract(size, 1, width, shift(panel, width), height, work, 0, 1, below, size, 0)
        for i in range(size):
            x[own[width + i]] += below[i]
    for t in range(m):
        s = m - 1 - t
        height, width = heights[s], pivots[s]
        panel, own, at = shift(panels, panel_at[s]), shift(index, index_at[s]), index_at[s]
        for i in range(height):
            work[i] = x[own[i]]
        size, below = height - width, shift(work, width)
        solve_front_transposed(panel, height, width, size, shift(twos, at), shift(signs, at), below, work)
        for k in range(width):
            x[own[k]] = work[k]


@kernel("int(int*, int, double*)")
def count_negative(fronts, m, signs):
    """Count the negative pivots of a factor."""
    index_at, pivots = shift(fronts, m), shift(fronts, 3 * m)
    found = 0
    for s in range(m):
        for k in range(index_at[s], index_at[s] + pivots[s]):
            if signs[k] < 0.0:
                found += 1
    return found
