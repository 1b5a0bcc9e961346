"""Colouring columns so that no row has two of one colour, and the orders in which the columns are taken.

A pattern is given by columns, ``rows of j = indices[indptr[j] : indptr[j + 1]]``, and by rows, ``columns of i =
columns[row_indptr[i] : row_indptr[i + 1]]``. Columns that share a row are neighbours: they are at distance two in the
bipartite graph of rows and columns.

    greedy:  color(j) = min { c : no neighbour of j has c }                       [1]_, Algorithm 3.2

The colours of neighbours are found by going through the rows of j. A row of l entries is gone through l times, which
is l^2 steps. A row may instead keep the colours it has as bits, and the number of its words that are full, which is one
or a few steps for each entry.

References
----------
.. [1] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, sections 3.1 and 3.5.
.. [2] D. W. Matula and L. L. Beck, "Smallest-Last Ordering and Clustering and Graph Coloring Algorithms", Journal of
   the ACM 30, 1983.
"""

from nlsq.kernels.backend import kernel, shift

BITS = 62  # colours in a word; a full one and its successor are numbers of 64 bits with a sign
FULL = (1 << BITS) - 1
NONE = -1
REMOVED = -2


@kernel("void(int*, int*, int, int, int, int*, int*, int*)")
def order_by_rows(indptr, indices, m, n, places, row_indptr_out, columns_out, positions_out):
    """Give the pattern by rows, columns ascending; row_indptr_out (m + 1,), columns_out (nnz,).

    positions_out : (nnz,) where each entry lies by rows, in the order of `indices`; not used unless `places`.
    """
    for i in range(m + 1):
        row_indptr_out[i] = 0
    for p in range(indptr[n]):
        row_indptr_out[indices[p] + 1] += 1
    for i in range(m):
        row_indptr_out[i + 1] += row_indptr_out[i]
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            at = row_indptr_out[indices[p]]
            columns_out[at] = j
            if places != 0:
                positions_out[p] = at
            row_indptr_out[indices[p]] = at + 1
    for k in range(m):  # each start has moved to the start of the next row
        row_indptr_out[m - k] = row_indptr_out[m - k - 1]
    row_indptr_out[0] = 0


@kernel("void(int*, int*, int, int, int*, int*)")
def by_rows(indptr, indices, m, n, row_indptr_out, columns_out):
    """Give the pattern by rows, columns ascending; row_indptr_out (m + 1,), columns_out (nnz,)."""
    order_by_rows(indptr, indices, m, n, 0, row_indptr_out, columns_out, columns_out)


@kernel("int(int*, int*, int, int*, int*)")
def drop_repeated(row_indptr, columns, m, row_indptr_out, columns_out):
    """Leave out rows with the same columns as the row before; row_indptr_out (m + 1,). Returns the rows that stay."""
    kept, count, start = 0, 0, 0
    row_indptr_out[0] = 0
    for i in range(m):
        length = row_indptr[i + 1] - row_indptr[i]
        same = 1 if kept > 0 and length == count - start else 0
        for k in range(length):
            if same != 0 and columns_out[start + k] != columns[row_indptr[i] + k]:
                same = 0
        if same == 0:
            start = count
            for p in range(row_indptr[i], row_indptr[i + 1]):
                columns_out[count] = columns[p]
                count += 1
            kept += 1
            row_indptr_out[kept] = count
    return kept


@kernel("int(int*, int*, int*, int*, int, int, int*, int*, int*)")
def find_neighbours(indptr, indices, row_indptr, columns, n, room, mark_work, degrees_out, neighbours_out):
    """List the columns that share a row with each, one list after the other, as far as there is room.

    mark_work : (n,).  degrees_out : (n,) lengths of the lists, whether there is room or not.  neighbours_out : (room,).

    Returns the sum of all lengths.
    """
    for j in range(n):
        mark_work[j] = NONE
    total = 0
    for j in range(n):
        mark_work[j] = j
        before = total
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            for q in range(row_indptr[i], row_indptr[i + 1]):
                k = columns[q]
                if mark_work[k] != j:
                    mark_work[k] = j
                    if total < room:
                        neighbours_out[total] = k
                    total += 1
        degrees_out[j] = total - before
    return total


@kernel("void(int*, int, int, int*, int*)")
def largest_first(degrees, largest, n, starts_work, order_out):
    """Order by descending number of neighbours, ties as they come; starts_work (largest + 2,), order_out (n,)."""
    for d in range(largest + 2):
        starts_work[d] = 0
    for j in range(n):
        starts_work[largest - degrees[j] + 1] += 1
    for d in range(largest):
        starts_work[d + 1] += starts_work[d]
    for j in range(n):
        d = largest - degrees[j]
        order_out[starts_work[d]] = j
        starts_work[d] += 1


@kernel("void(int*, int, int, int, int*, int*, int*)")
def smallest_last(neighbours, largest, backward, n, degrees, work, order_out):
    """Order so that each column has the fewest neighbours among those not after it [2]_.

    The columns wait in stacks by the number of neighbours that wait too. The top of the stack of fewest takes the last
    free place, and its neighbours go onto the next lower stacks; where they were before they are passed over when they
    come up. `backward`: whether the last column goes onto its stack first, which decides between equals.

    neighbours : lists of `find_neighbours`.  degrees : (n,) their lengths, overwritten.  order_out : (n,).
    work : (2 n + largest + 2 + sum of all lengths,).
    """
    starts, tops = work, shift(work, n + 1)
    stacked = shift(work, n + largest + 2)  # pairs: a column, and the pair below it
    start = 0
    for j in range(n):
        starts[j] = start
        start += degrees[j]
    starts[n] = start
    for d in range(largest + 1):
        tops[d] = NONE
    free = 0
    for t in range(n):
        j = n - 1 - t if backward == 0 else t
        stacked[free], stacked[free + 1] = j, tops[degrees[j]]
        tops[degrees[j]] = free
        free += 2
    fewest = 0
    for t in range(n):
        j = NONE
        while j == NONE:
            while tops[fewest] == NONE:
                fewest += 1
            top = tops[fewest]
            tops[fewest] = stacked[top + 1]
            if degrees[stacked[top]] == fewest:
                j = stacked[top]
        degrees[j] = REMOVED
        order_out[n - 1 - t] = j
        for p in range(starts[j], starts[j + 1]):
            k = neighbours[p]
            degree = degrees[k]
            if degree != REMOVED:
                degree -= 1
                degrees[k] = degree
                stacked[free], stacked[free + 1] = k, tops[degree]
                tops[degree] = free
                free += 2
        fewest = max(fewest - 1, 0)


@kernel("int(int*, int*, int*, int*, int*, int*, int, int, int, int*, int*, int*, int*)")
def color_greedily(
    indptr, indices, row_indptr, columns, order, places, n, limit, words, seen_work, full_work, taken_work, colors_out
):
    """Give each column, in `order`, the smallest colour that no neighbour has; empty columns get colour 0.

    places : (m,) k where row i is the k-th of those that keep bits, -1 where its columns are gone through.
    words : words of bits, for ``words * BITS`` colours.
    seen_work : (kept, words), zeros on entry: colours that a row has.  full_work : (kept,), zeros on entry: its leading
    words that are full.  taken_work : (2, words), zeros on entry: colours of neighbours, and 1 + the column they are
    of.  colors_out : (n,).

    Returns the number of colours, -1 if there is no room for them, or -2 as soon as they are more than `limit`.
    """
    stamps = shift(taken_work, words)
    for j in range(n):
        colors_out[j] = NONE if indptr[j] < indptr[j + 1] else 0
    used = 0
    for t in range(n):
        j = order[t]
        word = 0
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            if places[i] >= 0:
                word = max(word, full_work[places[i]])
            else:
                for q in range(row_indptr[i], row_indptr[i + 1]):
                    color = colors_out[columns[q]]
                    if color >= 0:
                        w = color // BITS
                        if stamps[w] != j + 1:
                            stamps[w] = j + 1
                            taken_work[w] = 0
                        taken_work[w] |= 1 << (color - w * BITS)
        if indptr[j] < indptr[j + 1]:
            taken = FULL
            while taken == FULL:
                if word == words:
                    return -1
                taken = taken_work[word] if stamps[word] == j + 1 else 0
                for p in range(indptr[j], indptr[j + 1]):
                    place = places[indices[p]]
                    if place >= 0:
                        taken |= seen_work[place * words + word]
                word += 1
            word -= 1
            free = ~taken & (taken + 1)  # the lowest bit that is not set
            for p in range(indptr[j], indptr[j + 1]):
                place = places[indices[p]]
                if place >= 0:
                    seen_work[place * words + word] |= free
                    while full_work[place] < words and seen_work[place * words + full_work[place]] == FULL:
                        full_work[place] += 1
            color = word * BITS
            while free > 1:
                free >>= 1
                color += 1
            if color >= limit:
                return -2
            colors_out[j] = color
            used = max(used, color + 1)
    return used
