"""Which parts of a group of parameters a residual depends on: one level of a hierarchical search.

Parameters are in groups, groups in colours, and no row depends on two groups of one colour. A row i has entries, which
are the groups that it may depend on, ``groups[p] for p in range(row_indptr[i], row_indptr[i + 1])``; each group splits
into `branch` parts.
"""

import math

from nlsq.kernels.backend import kernel


@kernel("int(double*, double*, int, int*, int*, int*, int, int, int*)")
def mark_parts(values, base, m, row_indptr, groups, colors, color, part, hits_out):
    """Set bit `part` of the entries of one colour in rows whose value is no longer that of the base.

    values, base : (m,).  colors : of each group.  hits_out : one for each entry.

    Returns the first row that is not finite, -1 if there is none.
    """
    bit = 1 << part
    for i in range(m):
        if values[i] != base[i]:
            if not abs(values[i]) < math.inf:
                return i
            for p in range(row_indptr[i], row_indptr[i + 1]):
                if colors[groups[p]] == color:
                    hits_out[p] |= bit
    return -1


@kernel("int(int*, int*, int*, int, int, int*, int*)")
def split_groups(row_indptr, groups, hits, branch, m, row_indptr_out, groups_out):
    """Replace each entry by those of its parts that were hit, ascending where the entries ascend.

    row_indptr_out : (m + 1,).  groups_out : as many as there are bits in `hits`.  Returns their number.
    """
    count = 0
    row_indptr_out[0] = 0
    for i in range(m):
        for p in range(row_indptr[i], row_indptr[i + 1]):
            left, part = hits[p], 0
            while left != 0:
                if left & 1:
                    groups_out[count] = groups[p] * branch + part
                    count += 1
                left >>= 1
                part += 1
        row_indptr_out[i + 1] = count
    return count


@kernel("int(double*, double*, int, int*, int*, int*, int, int*)")
def mark_strangers(values, base, m, row_indptr, columns, sets, moved, flags_out):
    """Flag the rows that changed although none of their columns was in the set that moved.

    sets : (n,) the set of each column.  moved : the set.  flags_out : (m,).  Returns the first row that is not finite,
    -1 if there is none.
    """
    for i in range(m):
        if values[i] != base[i]:
            if not abs(values[i]) < math.inf:
                return i
            known = 0
            for p in range(row_indptr[i], row_indptr[i + 1]):
                if sets[columns[p]] == moved:
                    known = 1
            if known == 0:
                flags_out[i] = 1
    return -1


@kernel("int(int*, int*, int*, int*, int, int*, int*)")
def unite_rows(row_indptr, columns, other_indptr, other, m, row_indptr_out, columns_out):
    """Unite two patterns by rows, columns ascending without duplicates.

    row_indptr_out : (m + 1,).  columns_out : as many as both have together.  Returns their number.
    """
    count = 0
    row_indptr_out[0] = 0
    for i in range(m):
        p, q = row_indptr[i], other_indptr[i]
        end, other_end = row_indptr[i + 1], other_indptr[i + 1]
        while p < end or q < other_end:
            if q >= other_end or (p < end and columns[p] <= other[q]):
                column = columns[p]
            else:
                column = other[q]
            if p < end and columns[p] == column:
                p += 1
            if q < other_end and other[q] == column:
                q += 1
            columns_out[count] = column
            count += 1
        row_indptr_out[i + 1] = count
    return count
