"""What goes before and after the elimination of a graph: its adjacency lists, and the order of its assembly tree.

The elements of an elimination are a forest: the parent of an element is the one that absorbed it. Any order in which
children come before their parents gives the same fill; in a postorder each subtree is contiguous, so that the columns
of a supernode are neighbours and the updates of a multifrontal method wait on a stack. Of several children the one
with the largest front comes last: its update waits the least [1]_.

References
----------
.. [1] J. W. H. Liu, "The Multifrontal Method for Sparse Matrix Solution: Theory and Practice", SIAM Review 34, 1992,
   sections 4 and 5.
"""

from nlsq.kernels.backend import kernel, shift

NONE = -1
SYMMETRIC = 0
REPEATED = 1
MISSING = 2


@kernel("void(int*, int*, int, int*, int*, int*)")
def list_neighbours(indptr, indices, n, start_out, length_out, storage_out):
    """Write the rows of the pattern off the diagonal, ascending, as adjacency lists; start_out, length_out (n,)."""
    for i in range(n):
        length_out[i] = 0
    for j in range(n):
        for q in range(indptr[j], indptr[j + 1]):
            if indices[q] != j:
                length_out[indices[q]] += 1
    free = 0
    for i in range(n):
        start_out[i] = free
        free += length_out[i]
        length_out[i] = 0
    for j in range(n):
        for q in range(indptr[j], indptr[j + 1]):
            i = indices[q]
            if i != j:
                storage_out[start_out[i] + length_out[i]] = j
                length_out[i] += 1


@kernel("int(int*, int*, int, int*, int*, int*, int*, int*)")
def compare_transposed(indptr, indices, n, start, length, storage, mark_work, place_out):
    """Compare each column with the row of the same number, as `list_neighbours` made it.

    Returns `SYMMETRIC`, or what is wrong at (row, column) = place_out (2,): `REPEATED`, an entry that the column has
    twice, or `MISSING`, an entry that it lacks. Without either, the rows hold no less than the columns.
    """
    for i in range(n):
        mark_work[i] = NONE
    for j in range(n):
        place_out[1] = j
        for q in range(indptr[j], indptr[j + 1]):
            place_out[0] = indices[q]
            if mark_work[indices[q]] == j:
                return REPEATED
            mark_work[indices[q]] = j
        for q in range(start[j], start[j] + length[j]):
            place_out[0] = storage[q]
            if mark_work[storage[q]] != j:
                return MISSING
    return SYMMETRIC


@kernel("int(int, int*, int*, int*, int*)")
def order_tree(n, parent, sizes, tree_work, order_out):
    """Write the vertices in a postorder of the elements, each followed by the vertices it absorbed.

    parent : (n,) of the elimination, overwritten.  sizes : (2, n) weights, positive for elements, and |L_e|.
    tree_work : (4, n).  order_out : (n,).

    Returns how many vertices come in it; the rest, those left out of the elimination, follow as they come.
    """
    weight = sizes
    member, next_member = tree_work, shift(tree_work, n)
    for i in range(n):
        member[i] = NONE
    for k in range(n):
        i = n - 1 - k
        if weight[i] == 0 and parent[i] != NONE:
            e = parent[i]
            while weight[e] == 0:
                e = parent[e]
            above = i
            while parent[above] != e:  # shorten the way of all that were passed
                passed = above
                above = parent[above]
                parent[passed] = e
            next_member[i] = member[e]
            member[e] = i
    link_children(n, parent, sizes, shift(tree_work, 2 * n), shift(tree_work, 3 * n))
    placed = 0
    for root in range(n):
        if weight[root] > 0 and parent[root] == NONE:
            placed = place_subtree(root, n, placed, parent, tree_work, order_out)
    end = placed
    for i in range(n):
        if weight[i] == 0 and parent[i] == NONE:
            order_out[end] = i
            end += 1
    return placed


@kernel("void(int, int*, int*, int*, int*)")
def link_children(n, parent, sizes, child_out, sibling_out):
    """List the children of each element, the one with the largest front last; child_out, sibling_out (n,)."""
    weight, degree = sizes, shift(sizes, n)
    for e in range(n):
        child_out[e] = NONE
    for k in range(n):
        e = n - 1 - k
        sibling_out[e] = NONE
        if weight[e] > 0 and parent[e] != NONE:
            sibling_out[e] = child_out[parent[e]]
            child_out[parent[e]] = e
    for e in range(n):
        if child_out[e] != NONE:
            largest, before_largest = child_out[e], NONE
            before, child = child_out[e], sibling_out[child_out[e]]
            while child != NONE:
                if weight[child] + degree[child] >= weight[largest] + degree[largest]:
                    largest, before_largest = child, before
                before = child
                child = sibling_out[child]
            if before != largest:
                if before_largest == NONE:
                    child_out[e] = sibling_out[largest]
                else:
                    sibling_out[before_largest] = sibling_out[largest]
                sibling_out[before] = largest
                sibling_out[largest] = NONE


@kernel("int(int, int, int, int*, int*, int*)")
def place_subtree(root, n, placed, parent, tree, order_out):
    """Write the elements below `root` and itself in postorder, from place `placed`; return the place behind them.

    tree : (4, n) first and next member, first child (used up) and next sibling of each element.
    """
    member, next_member, child, sibling = tree, shift(tree, n), shift(tree, 2 * n), shift(tree, 3 * n)
    e = root
    while e != NONE:
        while child[e] != NONE:
            below = child[e]
            child[e] = sibling[below]
            e = below
        order_out[placed] = e
        placed += 1
        i = member[e]
        while i != NONE:
            order_out[placed] = i
            placed += 1
            i = next_member[i]
        e = parent[e] if e != root else NONE
    return placed
