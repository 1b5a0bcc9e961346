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
ROOM_PANELS, ROOM_INDEX, ROOM_UPDATES, ROOM_HEIGHT = range(4)  # what there is room for; updates: on each of two stacks


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
