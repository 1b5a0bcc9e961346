"""Which entries of a Jacobian come from products with it and which from products with its transpose, and colours.

Rows and columns are taken away one after the other, those with fewest entries first. An entry belongs to the side of
columns when its row went first, and to the side of rows when its column did [1]_.

References
----------
.. [1] T. F. Coleman and A. Verma, "The Efficient Computation of Sparse Jacobian Matrices Using Automatic
   Differentiation", SIAM Journal on Scientific Computing 19, 1998, section 3.1 (minimum nonzero count ordering).
.. [2] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, section 4.
"""

from nlsq.kernels.backend import kernel, shift

NONE = -1


@kernel("void(int*, int, int*, int*)")
def fill_rings(counts, n, after, before):
    """Put n items into rings by their count; the ring of count d goes through n + d, and is empty before."""
    for t in range(n):
        j = n - 1 - t
        ring = n + counts[j]
        after[j], before[j] = after[ring], ring
        before[after[j]] = j
        after[ring] = j


@kernel("void(int*, int*, int, int)")
def move_to_ring(after, before, item, ring):
    """Take an item out of the ring where it is and put it at the front of another."""
    after[before[item]] = after[item]
    before[after[item]] = before[item]
    after[item], before[item] = after[ring], ring
    before[after[item]] = item
    after[ring] = item


@kernel("void(int*, int*, int*, int*, int, int, int*, int*, int*)")
def order_by_fewest(indptr, indices, row_indptr, columns, m, n, work, row_times_out, column_times_out):
    """Take away rows and columns, fewest entries left first; say when each went.

    With C and R what the two sides have so far, and rho the largest number of entries of C in a row, or of R in a
    column, the next row r goes rather than the next column c when  rho_R + max(rho_C, |r|) < rho_C + max(rho_R, |c|).

    work : (4 (m + n + 1) + m + n,).  row_times_out : (m,).  column_times_out : (n,).
    """
    row_after, row_before = work, shift(work, m + n + 1)
    column_after, column_before = shift(work, 2 * (m + n + 1)), shift(work, 3 * (m + n + 1))
    row_counts, column_counts = shift(work, 4 * (m + n + 1)), shift(work, 4 * (m + n + 1) + m)
    for k in range(m + n + 1):
        row_after[k], row_before[k] = k, k
        column_after[k], column_before[k] = k, k
    for i in range(m):
        row_times_out[i] = NONE
        row_counts[i] = row_indptr[i + 1] - row_indptr[i]
    for j in range(n):
        column_times_out[j] = NONE
        column_counts[j] = indptr[j + 1] - indptr[j]
    fill_rings(row_counts, m, row_after, row_before)
    fill_rings(column_counts, n, column_after, column_before)
    rows_left, columns_left = m, n
    fewest_in_row, fewest_in_column = 0, 0
    rho_columns, rho_rows = 0, 0
    time = 0
    while rows_left > 0 and columns_left > 0:
        while row_after[m + fewest_in_row] == m + fewest_in_row:
            fewest_in_row += 1
        while column_after[n + fewest_in_column] == n + fewest_in_column:
            fewest_in_column += 1
        by_row = rho_rows + max(rho_columns, fewest_in_row)
        by_column = rho_columns + max(rho_rows, fewest_in_column)
        if by_row < by_column:
            i = row_after[m + fewest_in_row]
            row_after[row_before[i]] = row_after[i]
            row_before[row_after[i]] = row_before[i]
            row_times_out[i] = time
            rows_left -= 1
            rho_columns = max(rho_columns, fewest_in_row)
            for p in range(row_indptr[i], row_indptr[i + 1]):
                j = columns[p]
                if column_times_out[j] == NONE:
                    column_counts[j] -= 1
                    move_to_ring(column_after, column_before, j, n + column_counts[j])
                    fewest_in_column = min(fewest_in_column, column_counts[j])
        else:
            j = column_after[n + fewest_in_column]
            column_after[column_before[j]] = column_after[j]
            column_before[column_after[j]] = column_before[j]
            column_times_out[j] = time
            columns_left -= 1
            rho_rows = max(rho_rows, fewest_in_column)
            for p in range(indptr[j], indptr[j + 1]):
                i = indices[p]
                if row_times_out[i] == NONE:
                    row_counts[i] -= 1
                    move_to_ring(row_after, row_before, i, m + row_counts[i])
                    fewest_in_row = min(fewest_in_row, row_counts[i])
        time += 1
    for i in range(m):
        if row_times_out[i] == NONE:
            row_times_out[i] = time
    for j in range(n):
        if column_times_out[j] == NONE:
            column_times_out[j] = time


@kernel("void(int*, int*, int, int*, int*, int*, int*)")
def own_first(row_indptr, columns, m, row_times, column_times, columns_out, ends_out):
    """List the columns of each row, those first that went after it; ends_out (m,) is where these end."""
    for i in range(m):
        count = row_indptr[i]
        for p in range(row_indptr[i], row_indptr[i + 1]):
            if column_times[columns[p]] > row_times[i]:
                columns_out[count] = columns[p]
                count += 1
        ends_out[i] = count
        for p in range(row_indptr[i], row_indptr[i + 1]):
            if column_times[columns[p]] <= row_times[i]:
                columns_out[count] = columns[p]
                count += 1


@kernel("int(int*, int*, int*, int*, int*, int*, int*, int*, int, int*, int*)")
def color_one_side(
    indptr, indices, row_indptr, columns, ends, row_times, column_times, order, n, stamps_work, colors_out
):
    """Colour the columns that entries come from, so that each of these entries stands alone in its row.

    An entry stands alone when no other column of its colour has an entry in the row, on whichever side that is. The
    columns of a row begin with those whose entries are on this side, as `own_first` lists them.

    stamps_work : (n + 1,), less than 0 on entry.  colors_out : (n,), -1 for columns without entries on this side.

    Returns the number of colours.
    """
    used = 0
    for j in range(n):
        colors_out[j] = NONE
    for t in range(n):
        j = order[t]
        wanted = 0
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            end = ends[i]
            if row_times[i] < column_times[j]:
                wanted = 1
                end = row_indptr[i + 1]
            for q in range(row_indptr[i], end):
                color = colors_out[columns[q]]
                if color >= 0:
                    stamps_work[color] = j
        if wanted != 0:
            color = 0
            while stamps_work[color] == j:
                color += 1
            colors_out[j] = color
            used = max(used, color + 1)
    return used
