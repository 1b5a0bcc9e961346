"""Up-looking factorisation P A P' = L D L', a row of L at a time, where L has few entries a column.

Row k of L solves a triangular system with the rows before it. Its pattern is the union of the paths in the elimination
tree from the entries of row k of A up to k: found anew each time, in as many steps as there are entries [1]_.

References
----------
.. [1] T. A. Davis, "Algorithm 849: A Concise Sparse Cholesky Factorization Package", ACM Transactions on Mathematical
   Software 31, 2005, section 2.
"""

import math

from nlsq.kernels.backend import kernel, shift

NONE = -1


@kernel("int(int*, int*, int*, int*, int*, int, double*, double*, int*, double*, int*, double*, double*)")
def factorize(
    indptr,
    indices,
    sources,
    parents,
    column_starts,
    n,
    values,
    signs,
    lists_work,
    row_work,
    rows_out,
    lower_out,
    diagonal_out,
):
    """Factorise; returns the (permuted) column whose pivot failed, or -1.

    indptr, indices, sources : upper triangle of P A P' by columns, and where its values are.
    column_starts : (n + 1,) of L without its diagonal.  lists_work : (3 n,).  row_work : (n,).
    """
    ends, marks, path = lists_work, shift(lists_work, n), shift(lists_work, 2 * n)
    for k in range(n):
        ends[k] = column_starts[k]
        marks[k] = k
        row_work[k] = 0.0
        top = n
        pivot = 0.0
        for p in range(indptr[k], indptr[k + 1]):
            i = indices[p]
            if i == k:
                pivot = values[sources[p]]
            else:
                row_work[i] = values[sources[p]]
                length = 0
                while marks[i] != k:
                    path[length] = i
                    length += 1
                    marks[i] = k
                    i = parents[i]
                while length > 0:  # a path ends before what is there already
                    length -= 1
                    top -= 1
                    path[top] = path[length]
        for t in range(top, n):
            i = path[t]
            value = row_work[i]
            row_work[i] = 0.0
            end = ends[i]
            for p in range(column_starts[i], end):
                row_work[rows_out[p]] -= lower_out[p] * value
            entry = value / diagonal_out[i]
            pivot -= entry * value
            rows_out[end] = k
            lower_out[end] = entry
            ends[i] = end + 1
        judged = pivot * signs[k]
        if not (judged > 0.0 and judged < math.inf):
            return k
        diagonal_out[k] = pivot
    return NONE


@kernel("void(int*, int*, double*, double*, int, double*)")
def solve(column_starts, rows, lower, diagonal, n, x):
    """Solve L D L' x = b in place, in the order of the factor."""
    for j in range(n):
        value = x[j]
        for p in range(column_starts[j], column_starts[j + 1]):
            x[rows[p]] -= lower[p] * value
    for t in range(n):
        j = n - 1 - t
        value = x[j] / diagonal[j]
        for p in range(column_starts[j], column_starts[j + 1]):
            value -= lower[p] * x[rows[p]]
        x[j] = value


@kernel("void(int*, int*, double*, double*, int, int, double*)")
def solve_many(column_starts, rows, lower, diagonal, n, many, x):
    """Solve L D L' X = B in place for x (n, many), row by row."""
    for j in range(n):
        row = shift(x, j * many)
        for p in range(column_starts[j], column_starts[j + 1]):
            other = shift(x, rows[p] * many)
            factor = lower[p]
            for c in range(many):
                other[c] -= factor * row[c]
    for t in range(n):
        j = n - 1 - t
        row = shift(x, j * many)
        for c in range(many):
            row[c] /= diagonal[j]
        for p in range(column_starts[j], column_starts[j + 1]):
            other = shift(x, rows[p] * many)
            factor = lower[p]
            for c in range(many):
                row[c] -= factor * other[c]
