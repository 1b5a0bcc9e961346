"""Multifrontal factorisation P A P' = L S L' of an indefinite matrix; for its pivots see `nlsq.kernels.indefinite`.

The plan of `nlsq.kernels.supernodes` says what each front has if nothing is put off. Columns that a front has put off
come first in the front of its parent, and in the update that it hands over. Panels, lists of rows and updates are
placed one after another as they come, so that nothing is allocated; where they do not fit, more room is asked for.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.indefinite import MOVED, NONE, PUT_OFF, factor_panel
from nlsq.kernels.multifrontal import extend_add, subtract, subtract_lower

RIGHT, SINGULAR, NOT_FINITE, NO_ROOM = range(4)  # results; SINGULAR and NOT_FINITE as `factor_panel` says
FRONT_PARTS = 7  # lists of m integers: see the first lines of `factorize`
ROOM_PANELS, ROOM_INDEX, ROOM_UPDATES, ROOM_HEIGHT, ROOM_TOPS = range(5)  # room; for updates on each of two stacks


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
            largest = max(largest, size)
        scale_out[column] = largest
    return 1


@kernel("void(int*, int, int*)")
def choose_sides(tree, m, sides_out):
    """Give fronts of even depth the stack 0, and those of odd depth 1: see `plan_updates` of `supernodes`."""
    for t in range(m):
        s = m - 1 - t
        sides_out[s] = 0 if tree[s] == NONE else 1 - sides_out[tree[s]]


@kernel("int(int*, int*, int*, int, int)")
def count_put_off(heads, following, fronts, m, s):
    """Return how many columns the children of a front have put off."""
    heights, pivots, below = shift(fronts, 2 * m), shift(fronts, 3 * m), shift(fronts, 6 * m)
    total = 0
    child = heads[s]
    while child != NONE:
        total += heights[child] - pivots[child] - below[child]
        child = following[child]
    return total


@kernel("int(int*, int*, int*, int*, int*, int*, int, int, int, int, int*, double*, double*, int, int, int*, int*)")
def join_children(
    heads,
    following,
    row_starts,
    relative,
    inside,
    fronts,
    m,
    s,
    put_off,
    is_update,
    places_work,
    updates,
    target,
    leading,
    origin,
    lists,
    index_out,
):
    """Add what the children hand over: the columns that belong to the panel, or the others to the update.

    put_off : columns that the children have put off.  target : (leading,) by columns, from `origin` of the front on.
    lists : rows of all fronts.  index_out : for the panel, the first `put_off` rows of the front.
    Returns where the update of the first child begins, or -1.
    """
    index_at, pivots = shift(fronts, m), shift(fronts, 3 * m)
    update_at, update_sizes = shift(fronts, 4 * m), shift(fronts, 5 * m)
    before = 0
    child = heads[s]
    while child != NONE:
        rel = shift(relative, row_starts[child])
        kept, count = row_starts[child + 1] - row_starts[child], update_sizes[child]
        own = count - kept
        for i in range(own):
            places_work[i] = before + i
        for i in range(kept):
            places_work[own + i] = rel[i] + put_off
        columns, source = own + inside[child], shift(updates, update_at[child])
        if is_update != 0:
            extend_add(source, count, columns, count, places_work, target, leading, origin)
        else:
            extend_add(source, count, 0, columns, places_work, target, leading, origin)
            theirs = shift(lists, index_at[child] + pivots[child])
            for i in range(own):
                index_out[before + i] = theirs[i]
        before += own
        child = following[child]
    return update_at[heads[s]] if heads[s] != NONE else NONE


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
    "int(int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int, double*, double*, double*, "
    "double*, int*, double*, int*, double*, double*, int*, int*, double*, int*, int*)"
)
def factorize(
    node_starts, row_starts, panel_starts, tree, heads, following, relative, inside, rows, entry_starts,
    sources_places, sides, m, values, expected, scale, formed, room, work, places_work, updates_work, panels_out,
    index_out, twos_out, signs_out, fronts_out, report_out,
):  # fmt: skip
    """Factorise; returns RIGHT, SINGULAR, NOT_FINITE or NO_ROOM.

    sources_places : where the values of the entries are, then where they go in the panels of the plan.
    sides : (m,) which of two stacks the update of a front is put on.
    formed : (n,) sizes of the diagonal on entry.  room : (6,) see ROOM_PANELS and the rest; the tops of the stacks.
    work : (3 ROOM_HEIGHT + 64 + max(BLOCK + 1, ROOM_HEIGHT) STRIP,).  places_work : (ROOM_HEIGHT,).
    index_out, twos_out, signs_out : (ROOM_INDEX,) rows of each front, those it eliminates first, and their pivots.
    fronts_out : (FRONT_PARTS m,).  report_out : (3,) the (permuted) column that is singular, how many pivots were
    moved, and how many columns were put off.
    """
    panel_at, index_at, heights = fronts_out, shift(fronts_out, m), shift(fronts_out, 2 * m)
    pivots, update_at = shift(fronts_out, 3 * m), shift(fronts_out, 4 * m)
    update_sizes, below = shift(fronts_out, 5 * m), shift(fronts_out, 6 * m)
    places, tops = shift(sources_places, entry_starts[m]), shift(room, ROOM_TOPS)
    report_out[MOVED], report_out[PUT_OFF], tops[0], tops[1] = 0, 0, 0, 0
    panel_top, index_top = 0, 0
    for s in range(m):
        start, size = node_starts[s], row_starts[s + 1] - row_starts[s]
        put_off = count_put_off(heads, following, fronts_out, m, s)
        own = node_starts[s + 1] - start
        width, height = own + put_off, own + put_off + size
        is_small = height <= room[ROOM_HEIGHT] and index_top + height <= room[ROOM_INDEX]
        if not (is_small and panel_top + width * height <= room[ROOM_PANELS]):
            return NO_ROOM
        panel_at[s], index_at[s], heights[s], below[s] = panel_top, index_top, height, size
        panel, index, own_signs = shift(panels_out, panel_top), shift(index_out, index_top), shift(signs_out, index_top)
        for i in range(width * height):
            panel[i] = 0.0
        first, last, at = entry_starts[s], entry_starts[s + 1], panel_starts[s]
        fill_panel(values, first, last, sources_places, places, at, own + size, put_off, panel)
        lowest = join_children(
            heads, following, row_starts, relative, inside, fronts_out, m, s, put_off, 0, places_work, updates_work,
            panel, height, 0, index_out, index,
        )  # fmt: skip
        own_formed, columns_work, signed = work, shift(work, height), shift(work, 3 * height + 64)
        for k in range(own):
            index[put_off + k] = start + k
        for k in range(width):
            own_formed[k] = formed[index[k]]
        for i in range(size):
            index[width + i] = rows[row_starts[s] + i]
            own_formed[width + i] = 0.0
        done = factor_panel(
            panel, height, width, 1 if tree[s] == NONE else 0, expected, scale, own_formed, columns_work, signed,
            index, shift(twos_out, index_top), own_signs, report_out,
        )  # fmt: skip
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
        if tops[sides[s]] + count * count > room[ROOM_UPDATES]:
            return NO_ROOM
        update_at[s], update_sizes[s] = tops[sides[s]] + sides[s] * room[ROOM_UPDATES], count
        update = shift(updates_work, update_at[s])
        for k in range(left):
            column = shift(panel, (done + k) * height + done)
            for i in range(k, count):
                update[k * count + i] = column[i]
        rest = shift(update, left * count + left)
        subtract_lower(shift(panel, width), height, size, size, done, own_signs, 1, signed, rest, count, 0)
        join_children(
            heads, following, row_starts, relative, inside, fronts_out, m, s, put_off, 1, places_work, updates_work,
            update, count, done, index_out, index,
        )  # fmt: skip
        tops[sides[s]] += count * count
        if lowest != NONE:  # what the children have handed over is done with
            tops[1 - sides[s]] = lowest - (1 - sides[s]) * room[ROOM_UPDATES]
        panel_top += done * height
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
