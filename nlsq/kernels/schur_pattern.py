"""Which pairs of kept blocks meet in the reduced system, and where their blocks lie.

A *star* is a set of kept blocks that meet one another: those of an eliminated block, or those of a residual block
without one. Star e has the kept blocks ``members[first[e] : first[e + 1]]``, ascending; kept block f is in the stars
``stars[star_first[f] : star_first[f + 1]]``, ascending.
"""

from nlsq.kernels.backend import kernel
from nlsq.kernels.schur import main_columns


@kernel("int(int*, int*, int*, int*, int, int, int*, int*, int*)")
def list_partners(first, members, star_first, stars, count, room, marks_work, row_first_out, partners_out):
    """List for each kept block f the blocks g >= f of its stars, in the order of the stars.

    marks_work : (count,).  row_first_out : (count + 1,).  partners_out : (room,); no more than `room` are written.
    Returns how many there are.
    """
    total = 0
    for f in range(count):
        marks_work[f] = -1
    for f in range(count):
        row_first_out[f] = total
        marks_work[f] = f
        if total < room:
            partners_out[total] = f
        total += 1
        for p in range(star_first[f], star_first[f + 1]):
            for q in range(first[stars[p]], first[stars[p] + 1]):
                g = members[q]
                if g > f and marks_work[g] != f:
                    marks_work[g] = f
                    if total < room:
                        partners_out[total] = g
                    total += 1
    row_first_out[count] = total
    return total


@kernel("void(int*, int*, int*, int*, int*, int*, int*, int*, int, int, int*, int*)")
def place_pairs(
    first,
    members,
    star_first,
    stars,
    column_first,
    rows,
    block_starts,
    pair_first,
    count,
    owners,
    places_work,
    pairs_out,
):
    """Give the beginning of the block of each pair (s, t), s <= t, of members of the first `owners` stars.

    column_first, rows : kept blocks f <= g that meet g, ascending, and block_starts where block (f, g) begins.
    pair_first : (owners,) first pair of each star; its pairs are ordered by s, then t.  places_work : (count,).
    """
    for g in range(count):
        for p in range(column_first[g], column_first[g + 1]):
            places_work[rows[p]] = block_starts[p]
        for p in range(star_first[g], star_first[g + 1]):
            star = stars[p]
            if star < owners:
                size = first[star + 1] - first[star]
                t = 0
                while members[first[star] + t] < g:
                    t += 1
                pair = pair_first[star] + t
                for s in range(t + 1):
                    pairs_out[pair] = places_work[members[first[star] + s]]
                    pair += size - s - 1


@kernel("void(int*, int*, int*, int*, int, int*, int*, int*)")
def list_entries(column_first, rows, block_starts, starts, count, indptr_out, indices_out, sources_out):
    """Give the upper triangle of S by columns, rows ascending, and where each entry lies among the blocks.

    starts : (count + 1,) first reduced column of each kept block.  indptr_out : (n + 1,).
    """
    p = 0
    for g in range(count):
        v = starts[g + 1] - starts[g]
        main = main_columns(v)
        for b in range(v):
            indptr_out[starts[g] + b] = p
            for k in range(column_first[g], column_first[g + 1]):
                f = rows[k]
                w = starts[f + 1] - starts[f]
                for a in range(b + 1 if f == g else w):
                    indices_out[p] = starts[f] + a
                    sources_out[p] = block_starts[k] + (a * main + b if b < main else b * w + a)
                    p += 1
    indptr_out[starts[count]] = p


@kernel("void(double*, int*, int*, double*, int, int, double*)")
def gather(blocks, sources, ends, damping, count, n, values_out):
    """Give the entries of S + diag(damping); ends : (n,) one beyond the diagonal entry, the last of each column."""
    for p in range(count):
        values_out[p] = blocks[sources[p]]
    for j in range(n):
        values_out[ends[j] - 1] += damping[j]
