"""KKT systems: entries from several sources in one pattern, pairs of rows and columns, and residuals.

A pattern is the upper triangle with its diagonal, by columns, ``rows of j = indices[indptr[j] : indptr[j + 1]]``.
"""

import math

from nlsq.kernels.backend import kernel, shift

NONE = -1
FLOOR = 1e-14  # of what the terms of an equation could be: smaller ones are rounding errors of others


@kernel("int(int*, int*, int, int, int*, int*, int*, int*)")
def merge_entries(rows, columns, count, n, work, indptr_out, indices_out, places_out):
    """Make a pattern of entries in any order, of which some are at one place; returns how many places there are.

    rows <= columns : (count,).  work : (2 count + n + 1,).  indptr_out : (n + 1,).  indices_out : (count,).
    places_out : (count,) where each entry lies in the pattern.
    """
    starts, sorted_once, sorted_twice = work, shift(work, n + 1), shift(work, n + 1 + count)
    for j in range(n + 1):
        starts[j] = 0
    for q in range(count):
        starts[rows[q] + 1] += 1
    for j in range(n):
        starts[j + 1] += starts[j]
    for q in range(count):
        at = starts[rows[q]]
        sorted_once[at] = q
        starts[rows[q]] = at + 1
    for j in range(n + 1):
        starts[j] = 0
    for q in range(count):
        starts[columns[q] + 1] += 1
    for j in range(n):
        starts[j + 1] += starts[j]
    for t in range(count):
        q = sorted_once[t]
        at = starts[columns[q]]
        sorted_twice[at] = q
        starts[columns[q]] = at + 1
    found, column, row = 0, NONE, NONE
    for t in range(count):
        q = sorted_twice[t]
        while column < columns[q]:
            column += 1
            indptr_out[column] = found
            row = NONE
        if rows[q] != row:
            row = rows[q]
            indices_out[found] = row
            found += 1
        places_out[q] = found - 1
    while column < n:
        column += 1
        indptr_out[column] = found
    return found


@kernel("void(int*, int*, double*, int, int, double, int*, int*)")
def pair_rows_greedily(row_indptr, columns, sizes, m, first_row, part, degrees, row_of_out):
    """Give each row a column that is free, among those whose entries are not small for the row.

    sizes : (nnz,) of the entries.  part : of the largest entry of a row, that is not small.
    degrees : (n,) of columns: the lowest is taken.  row_of_out : (n,) first_row + row, or -1 where a column is free.
    """
    for i in range(m):
        largest = 0.0
        for p in range(row_indptr[i], row_indptr[i + 1]):
            if row_of_out[columns[p]] == NONE:
                largest = max(largest, sizes[p])
        best = NONE
        for p in range(row_indptr[i], row_indptr[i + 1]):
            j = columns[p]
            if row_of_out[j] == NONE and sizes[p] > 0.0 and sizes[p] >= part * largest:
                if best == NONE or degrees[j] < degrees[best]:
                    best = j
        if best != NONE:
            row_of_out[best] = first_row + i


@kernel("void(int*, int*, double*, int, int, int*, int*)")
def complete_pairs(row_indptr, columns, sizes, m, n, work, row_of):
    """Pair as many rows as can be paired, along augmenting paths.

    work : (n + 4 m,).  row_of : (n,) the row of each column, or -1. A column that one search has left without success
    leads none after it to success.
    """
    seen, paired, path, at, chosen = (
        work,
        shift(work, n),
        shift(work, n + m),
        shift(work, n + 2 * m),
        shift(work, n + 3 * m),
    )
    for i in range(m):
        paired[i] = 0
    for j in range(n):
        seen[j] = 0
        if row_of[j] != NONE:
            paired[row_of[j]] = 1
    for root in range(m):
        if paired[root] != 0:
            continue
        depth = 0
        path[0] = root
        at[0] = row_indptr[root]
        end = NONE
        while depth >= 0 and end == NONE:
            i = path[depth]
            if at[depth] == row_indptr[i + 1]:
                depth -= 1
                continue
            p = at[depth]
            at[depth] = p + 1
            j = columns[p]
            if seen[j] == root + 1 or seen[j] == NONE or not sizes[p] > 0.0:
                continue
            seen[j] = root + 1
            chosen[depth] = j
            if row_of[j] == NONE:
                end = depth
            else:
                depth += 1
                path[depth] = row_of[j]
                at[depth] = row_indptr[row_of[j]]
        if end != NONE:
            for d in range(end + 1):
                row_of[chosen[d]] = path[d]
        else:
            for j in range(n):
                if seen[j] == root + 1:
                    seen[j] = NONE


@kernel("void(double*, int*, int, double*)")
def add_entries(values, places, count, out):
    """Add values to the entries where they belong."""
    for q in range(count):
        out[places[q]] += values[q]


@kernel("double(int*, int*, double*, int, double*, double*, double*, double*)")
def residual(indptr, indices, values, n, b, x, work, residual_out):
    """Form b - K x; returns the largest part that it is of the terms of an equation, |b| + |K| |x|.

    work : (2 n,).
    """
    sizes, scales = work, shift(work, n)
    largest = 0.0
    for j in range(n):
        residual_out[j] = b[j]
        sizes[j] = abs(b[j])
        scales[j] = 0.0
        largest = max(largest, abs(x[j]))
    for j in range(n):
        xj = x[j]
        total, size, scale = 0.0, 0.0, scales[j]
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            value = values[p]
            absolute = abs(value)
            total += value * x[i]
            size += absolute * abs(x[i])
            scale = max(scale, absolute)
            if i != j:
                residual_out[i] -= value * xj
                sizes[i] += absolute * abs(xj)
                scales[i] = max(scales[i], absolute)
        residual_out[j] -= total
        sizes[j] += size
        scales[j] = scale
    worst = 0.0
    for j in range(n):
        difference = abs(residual_out[j])
        if not difference < math.inf:
            return math.inf
        if difference > 0.0:
            worst = max(worst, difference / (sizes[j] + FLOOR * scales[j] * largest))
    return worst
