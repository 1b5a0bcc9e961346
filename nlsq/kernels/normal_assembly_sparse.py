"""Normal equations of a sparse Jacobian: structure and values of H = J'J, column by column of its upper triangle.

    H[:, j]  =  sum over the rows i of column j of   J[i, j] J[i, :]'                                        [1]_

J is given twice: by columns, ``rows of j = indices[indptr[j] : indptr[j + 1]]``, and by rows with ascending columns, in
which its values lie; `positions` says where the entries by columns lie among those by rows. A row of J is read as far
as the entry of column j, which gives the upper triangle. The work of forming H is the sum of the squared lengths of
the rows of J, and no more memory is needed than for J and H.

References
----------
.. [1] F. G. Gustavson, "Two Fast Algorithms for Sparse Matrices: Multiplication and Permuted Transposition", ACM
   Transactions on Mathematical Software 4, 1978, section 2.
"""

from nlsq.kernels.backend import kernel

NONE = -1


@kernel("int(int*, int*, int*, int*, int*, int, int, int*, int*)")
def count_normal(indptr, indices, positions, row_indptr, columns, n, limit, mark_work, normal_indptr_out):
    """Count the entries of the columns of H, its diagonal always among them.

    mark_work : (n,).  normal_indptr_out : (n + 1,).

    Returns their number, or the number found so far as soon as it is above `limit`.
    """
    for j in range(n):
        mark_work[j] = NONE
    total = 0
    normal_indptr_out[0] = 0
    for j in range(n):
        mark_work[j] = j
        total += 1
        for p in range(indptr[j], indptr[j + 1]):
            for q in range(row_indptr[indices[p]], positions[p]):
                if mark_work[columns[q]] != j:
                    mark_work[columns[q]] = j
                    total += 1
        normal_indptr_out[j + 1] = total
        if total > limit:
            break
    return total


@kernel("void(int*, int*, int*, int*, int*, int, int*, int*)")
def list_normal(indptr, indices, positions, row_indptr, columns, n, mark_work, rows_out):
    """List the rows of each column of H, in no order; mark_work (n,), rows_out (entries of H,)."""
    for j in range(n):
        mark_work[j] = NONE
    at = 0
    for j in range(n):
        mark_work[j] = j
        rows_out[at] = j
        at += 1
        for p in range(indptr[j], indptr[j + 1]):
            for q in range(row_indptr[indices[p]], positions[p]):
                k = columns[q]
                if mark_work[k] != j:
                    mark_work[k] = j
                    rows_out[at] = k
                    at += 1


@kernel("void(double*, int*, int*, int*, int*, int*, int*, int*, int, double*, double*)", apart=True)
def form_normal(
    data, indptr, indices, positions, row_indptr, columns, normal_indptr, normal_indices, n, column_work, normal_out
):
    """Form H from the values of J by rows; data (nnz,), column_work (n,) zeros on entry and again at the end."""
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            at = positions[p]
            value = data[at]
            for q in range(row_indptr[indices[p]], at + 1):
                column_work[columns[q]] += value * data[q]
        for q in range(normal_indptr[j], normal_indptr[j + 1]):
            k = normal_indices[q]
            normal_out[q] = column_work[k]
            column_work[k] = 0.0


@kernel("int(int*, int*, int*, int*, int, int*)")
def find_entries(indptr, indices, plan_indptr, plan_indices, m, places_out):
    """Find the entries of one matrix among those of another, both by rows with ascending columns.

    places_out : (nnz,).  Returns -1, or the first row with an entry that the other has not.
    """
    for i in range(m):
        q = plan_indptr[i]
        for p in range(indptr[i], indptr[i + 1]):
            while q < plan_indptr[i + 1] and plan_indices[q] < indices[p]:
                q += 1
            if q == plan_indptr[i + 1] or plan_indices[q] != indices[p]:
                return i
            places_out[p] = q
    return NONE
