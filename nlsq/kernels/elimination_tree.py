"""What elimination does to a symmetric pattern: its tree, a postorder, and how many entries each column of L gets.

A pattern is its upper triangle by columns, ``rows of j = indices[indptr[j] : indptr[j + 1]]``, row <= column. In the
elimination tree the parent of j is the first row below the diagonal in column j of L [1]_:

    struct(L[:, j]) = {i > j : A[i, j] != 0} + the structures of j's children, without j

References
----------
.. [1] J. W. H. Liu, "The Role of Elimination Trees in Sparse Factorization", SIAM Journal on Matrix Analysis and
   Applications 11, 1990, sections 2 and 4.
.. [2] J. R. Gilbert, E. G. Ng and B. W. Peyton, "An Efficient Algorithm to Compute Row and Column Counts for Sparse
   Cholesky Factorization", SIAM Journal on Matrix Analysis and Applications 15, 1994, figure 3.
"""

from nlsq.kernels.backend import kernel

NONE = -1


@kernel("void(int*, int*, int, int*, int*)")
def both_triangles(indptr, indices, n, indptr_out, indices_out):
    """Give the pattern without its diagonal, both triangles, rows ascending; indptr_out (n + 2,)."""
    for j in range(n + 2):
        indptr_out[j] = 0
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            if indices[p] != j:
                indptr_out[j + 2] += 1
                indptr_out[indices[p] + 2] += 1
    for j in range(n):
        indptr_out[j + 2] += indptr_out[j + 1]
    for j in range(n):  # the start of column j stands at j + 1 and moves on to its end
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            if i != j:
                indices_out[indptr_out[j + 1]] = i
                indptr_out[j + 1] += 1
                indices_out[indptr_out[i + 1]] = j
                indptr_out[i + 1] += 1


@kernel("void(int*, int*, int, int*, int, int*, int*, int*)")
def permute(indptr, indices, n, inverse, lower, indptr_out, indices_out, source_out):
    """Give one triangle of P A P' by columns, rows in any order.

    inverse : (n,) the new name of each column.  lower : whether the lower triangle is wanted.  indptr_out : (n + 2,).
    source_out : (nnz,) which entry of `indices` each has been.
    """
    for j in range(n + 2):
        indptr_out[j] = 0
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            a, b = inverse[indices[p]], inverse[j]
            indptr_out[(min(a, b) if lower != 0 else max(a, b)) + 2] += 1
    for j in range(n):
        indptr_out[j + 2] += indptr_out[j + 1]
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            a, b = inverse[indices[p]], inverse[j]
            column = min(a, b) if lower != 0 else max(a, b)
            place = indptr_out[column + 1]
            indptr_out[column + 1] = place + 1
            indices_out[place] = a + b - column
            source_out[place] = p


@kernel("void(int*, int*, int, int*, int*)")
def elimination_tree(indptr, indices, n, ancestor_work, parents_out):
    """Give each column its parent, -1 for a root; paths to the root are shortened as they are walked [1]_."""
    for k in range(n):
        parents_out[k] = NONE
        ancestor_work[k] = NONE
        for p in range(indptr[k], indptr[k + 1]):
            i = indices[p]
            while i != NONE and i < k:
                following = ancestor_work[i]
                ancestor_work[i] = k
                if following == NONE:
                    parents_out[i] = k
                i = following


@kernel("void(int*, int, int*, int*)")
def postorder(parents, n, lists_work, order_out):
    """Order children before parents, every subtree without a gap; lists_work (3 n,), order_out[k] the k-th."""
    for j in range(n):
        lists_work[j] = NONE  # the first child, then its siblings at n + child
    for t in range(n):
        j = n - 1 - t
        if parents[j] != NONE:
            lists_work[n + j] = lists_work[parents[j]]
            lists_work[parents[j]] = j
    placed = 0
    for root in range(n):
        if parents[root] == NONE:
            lists_work[2 * n] = root
            depth = 1
            while depth > 0:
                j = lists_work[2 * n + depth - 1]
                child = lists_work[j]
                if child == NONE:
                    order_out[placed] = j
                    placed += 1
                    depth -= 1
                else:
                    lists_work[j] = lists_work[n + child]
                    lists_work[2 * n + depth] = child
                    depth += 1


@kernel("void(int*, int*, int*, int, int*, int*)")
def column_counts(indptr, indices, parents, n, work, counts_out):
    """Count the entries of each column of L, diagonal included, in almost linear time [2]_.

    A column p is a leaf of the row subtree of u if A[u, p] != 0 and no descendant of p was one before. Each leaf adds
    one to the count of every column on its path to u; where it meets the path of the leaf before, one is taken off.

    indptr, indices : the lower triangle by columns, of columns in postorder.  work : (4 n,).
    """
    for j in range(n):
        work[j] = j  # the first descendant
        work[n + j] = NONE  # the latest neighbour before p, by row
        work[2 * n + j] = NONE  # the latest leaf, by row
        work[3 * n + j] = j  # sets of columns done, named by their highest ancestor
        counts_out[j] = 1
    for j in range(n):
        if parents[j] != NONE:
            work[parents[j]] = min(work[parents[j]], work[j])
            counts_out[parents[j]] = 0
    for p in range(n):
        if parents[p] != NONE:
            counts_out[parents[p]] -= 1
        for q in range(indptr[p], indptr[p + 1]):
            u = indices[q]
            if u != p:
                if work[p] > work[n + u]:
                    counts_out[p] += 1
                    leaf = work[2 * n + u]
                    if leaf != NONE:
                        while work[3 * n + leaf] != leaf:
                            work[3 * n + leaf] = work[3 * n + work[3 * n + leaf]]
                            leaf = work[3 * n + leaf]
                        counts_out[leaf] -= 1
                    work[2 * n + u] = p
                work[n + u] = p
        if parents[p] != NONE:
            work[3 * n + p] = parents[p]
    for p in range(n):
        if parents[p] != NONE:
            counts_out[parents[p]] += counts_out[p]
