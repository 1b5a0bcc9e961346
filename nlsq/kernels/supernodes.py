"""Columns of L with one structure, joined into nodes, and where everything of a multifrontal factorisation lies.

Adjacent columns whose structures differ by the diagonal only are one node [1]_. A child is joined to its parent where
that brings few zeros into the factor, since each node has its price [2]_. A node is a panel of dense columns: `width`
of its own, and rows for these and for all below.

References
----------
.. [1] J. W. H. Liu, E. G. Ng and B. W. Peyton, "On Finding Supernodes for Sparse Matrix Computations", SIAM Journal on
   Matrix Analysis and Applications 14, 1993, section 3.
.. [2] C. Ashcraft and R. Grimes, "The Influence of Relaxed Supernode Partitions on the Multifrontal Method", ACM
   Transactions on Mathematical Software 15, 1989, section 3.
.. [3] J. W. H. Liu, "The Multifrontal Method for Sparse Matrix Solution: Theory and Practice", SIAM Review 34, 1992,
   sections 4 and 5.
"""

from nlsq.kernels.backend import kernel, shift

NONE = -1
TINY, SMALL, MEDIUM = 4, 16, 48  # columns of a node, up to which zeros may make up:
TINY_ZEROS, SMALL_ZEROS, MEDIUM_ZEROS, LARGE_ZEROS = 1.0, 0.8, 0.1, 0.05  # these parts of it


@kernel("int(int*, int*, int, int*, int*)")
def fundamental(parents, counts, n, starts_out, nodes_out):
    """Cut columns in postorder into nodes of one structure; starts_out (n + 1,), nodes_out (n,). Returns how many."""
    found = 0
    for j in range(n):
        if j == 0 or parents[j - 1] != j or counts[j - 1] != counts[j] + 1:
            starts_out[found] = j
            found += 1
        nodes_out[j] = found - 1
    starts_out[found] = n
    return found


@kernel("int(int, int, int)")
def _may_join(entries, width, height):
    """Say whether a node of this width and height may have so few entries that are not zero."""
    size = width * height - width * (width - 1) // 2
    zeros = 1.0 - entries / size
    allowed = LARGE_ZEROS
    if width <= TINY:
        allowed = TINY_ZEROS
    elif width <= SMALL:
        allowed = SMALL_ZEROS
    elif width <= MEDIUM:
        allowed = MEDIUM_ZEROS
    return 1 if zeros <= allowed else 0


@kernel("int(int*, int*, int*, int*, int, int*, int*)")
def amalgamate(starts, nodes, parents, counts, m, work, groups_out):
    """Join nodes to their parents where few zeros arise; groups_out (m,): the last node of the group each is in.

    work : (5 m + 1,): widths, heights and true entries of groups, and children in lists. Returns how many groups.
    """
    widths, heights, entries = work, shift(work, m), shift(work, 2 * m)
    heads, following = shift(work, 3 * m), shift(work, 4 * m)
    for s in range(m):
        heads[s] = NONE
        groups_out[s] = s
        widths[s] = starts[s + 1] - starts[s]
        heights[s] = counts[starts[s]]
        entries[s] = widths[s] * heights[s] - widths[s] * (widths[s] - 1) // 2
    left = m
    for s in range(m):  # the children of s are complete when s comes; the last is the first of its list
        child = heads[s]
        while child != NONE:
            width, height = widths[child] + widths[s], widths[child] + heights[s]
            total = entries[child] + entries[s]
            if _may_join(total, width, height) != 0:
                groups_out[child] = s
                widths[s], heights[s], entries[s] = width, height, total
                left -= 1
            child = following[child]
        up = parents[starts[s + 1] - 1]
        if up != NONE:
            following[s] = heads[nodes[up]]
            heads[nodes[up]] = s
    for t in range(m):
        s = m - 1 - t
        groups_out[s] = groups_out[groups_out[s]]
    return left


@kernel("void(int*, int*, int*, int*, int*, int, int*, int*, int*, int*)")
def order_groups(starts, nodes, parents, groups, heights, m, work, order_out, widths_out, tree_out):
    """Put groups in postorder, and columns in the order of groups.

    heights : (m,) of groups, replaced by those in the new order.  work : (7 m,).  order_out : (n,) the k-th column.
    widths_out : (m,) of groups in the new order.  tree_out : (m,) parents of groups in the new order.
    """
    heads, following, stack = work, shift(work, m), shift(work, 2 * m)
    members, next_member = shift(work, 3 * m), shift(work, 4 * m)
    renamed, kept = shift(work, 5 * m), shift(work, 6 * m)
    for s in range(m):
        heads[s], members[s], kept[s] = NONE, NONE, heights[s]
    for t in range(m):
        s = m - 1 - t
        next_member[s] = members[groups[s]]
        members[groups[s]] = s
        if groups[s] == s:
            up = parents[starts[s + 1] - 1]
            if up != NONE:
                group = groups[nodes[up]]
                following[s] = heads[group]
                heads[group] = s
    placed, column = 0, 0
    for root in range(m):
        if groups[root] == root and parents[starts[root + 1] - 1] == NONE:
            stack[0] = root
            depth = 1
            while depth > 0:
                s = stack[depth - 1]
                child = heads[s]
                if child != NONE:
                    heads[s] = following[child]
                    stack[depth] = child
                    depth += 1
                else:
                    depth -= 1
                    renamed[s] = placed
                    first = column
                    member = members[s]
                    while member != NONE:
                        for j in range(starts[member], starts[member + 1]):
                            order_out[column] = j
                            column += 1
                        member = next_member[member]
                    widths_out[placed] = column - first
                    heights[placed] = kept[s]
                    tree_out[placed] = stack[depth - 1] if depth > 0 else NONE
                    placed += 1
    for s in range(placed):
        if tree_out[s] != NONE:
            tree_out[s] = renamed[tree_out[s]]


@kernel("void(int*, int*, int*, int*, int*, int, int, int*, int*)")
def row_structures(indptr, indices, nodes, tree, row_starts, n, m, work, rows_out):
    """List the rows of each node below its own columns, ascending.

    Row i is in the nodes on the paths from its entries left of the diagonal up to the node of column i, without that.

    indptr, indices : the upper triangle by columns.  work : (2 m,).  rows_out : as long as row_starts[m] says.
    """
    fill = shift(work, m)
    for s in range(m):
        work[s] = NONE
        fill[s] = row_starts[s]
    for i in range(n):
        work[nodes[i]] = i
        for p in range(indptr[i], indptr[i + 1]):
            s = nodes[indices[p]]
            while work[s] != i:
                work[s] = i
                rows_out[fill[s]] = i
                fill[s] += 1
                s = tree[s]


@kernel("int(int*, int, int, int*, int)")
def place_in_front(node_starts, node, height, rows, row):
    """Return where `row` stands in the front of a node whose rows below its own columns are `rows`, ascending."""
    start, stop = node_starts[node], node_starts[node + 1]
    if row < stop:
        return row - start
    low, high = 0, height - (stop - start) - 1
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return stop - start + low


@kernel("void(int*, int*, int*, int*, int, int*, int*)")
def relative_rows(node_starts, tree, row_starts, rows, m, inside_out, relative_out):
    """Say where each row of a node stands in the front of its parent.

    inside_out : (m,) how many of them are columns of the parent.  relative_out : as long as `rows`.
    """
    for s in range(m):
        inside_out[s] = 0
        up = tree[s]
        if up != NONE:
            height = node_starts[up + 1] - node_starts[up] + row_starts[up + 1] - row_starts[up]
            for q in range(row_starts[s], row_starts[s + 1]):
                place = place_in_front(node_starts, up, height, shift(rows, row_starts[up]), rows[q])
                relative_out[q] = place
                if rows[q] < node_starts[up + 1]:
                    inside_out[s] += 1


@kernel("void(int*, int*, int, int*, int*, int*, int*, int*, int*, int, int*, int*, int*)")
def place_entries(
    indptr,
    indices,
    n,
    inverse,
    nodes,
    node_starts,
    row_starts,
    rows,
    panel_starts,
    m,
    entry_starts_out,
    sources_out,
    places_out,
):
    """Say where each entry of the upper triangle goes in the panels, by nodes.

    entry_starts_out : (m + 2,), of which the first m + 1 count.  sources_out, places_out : (nnz,).
    """
    for s in range(m + 2):
        entry_starts_out[s] = 0
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            entry_starts_out[nodes[min(inverse[indices[p]], inverse[j])] + 2] += 1
    for s in range(m):
        entry_starts_out[s + 2] += entry_starts_out[s + 1]
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            a, b = inverse[indices[p]], inverse[j]
            column, row = min(a, b), max(a, b)
            s = nodes[column]
            height = node_starts[s + 1] - node_starts[s] + row_starts[s + 1] - row_starts[s]
            at = place_in_front(node_starts, s, height, shift(rows, row_starts[s]), row)
            q = entry_starts_out[s + 1]
            entry_starts_out[s + 1] = q + 1
            sources_out[q] = p
            places_out[q] = panel_starts[s] + (column - node_starts[s]) * height + at


@kernel("void(int*, int*, int, int*, int*, int*)")
def plan_updates(tree, row_starts, m, tops_work, starts_out, sizes_out):
    """Give the update matrices places in two stacks, nodes of even and of odd depth.

    In a postorder the updates that wait for their parents make a stack: that is Liu's, and it is one [3]_; a node's
    update there is formed elsewhere and comes to lie where those of its children were. Two stacks are ours, and are not
    in that paper: when a node is complete, the updates of its children are the last in one of them, and its own goes on
    top of the other, below which are those of its elder siblings. So it is formed where it stays, nothing is moved and
    nothing overlaps.

    tops_work : (3 m,).  starts_out : (m,).  sizes_out : (2,) of the stacks; the second lies behind the first.
    """
    depths, lowest, tops = tops_work, shift(tops_work, m), shift(tops_work, 2 * m)
    for t in range(m):
        s = m - 1 - t
        depths[s] = 0 if tree[s] == NONE else 1 - depths[tree[s]]
        lowest[s] = NONE  # where the first child's update begins
    tops[0] = 0
    tops[1] = 0
    sizes_out[0], sizes_out[1] = 0, 0
    for s in range(m):
        side = depths[s]
        size = row_starts[s + 1] - row_starts[s]
        if lowest[s] != NONE:
            tops[1 - side] = lowest[s]
        starts_out[s] = tops[side]
        if tree[s] != NONE and lowest[tree[s]] == NONE:
            lowest[tree[s]] = tops[side]
        tops[side] += size * size
        sizes_out[side] = max(sizes_out[side], tops[side])
    for s in range(m):
        if depths[s] == 1:
            starts_out[s] += sizes_out[0]


@kernel("void(int*, int, int*, int*)")
def list_children(tree, m, heads_out, following_out):
    """Give each node the list of its children, ascending: heads_out, and following_out from child to child."""
    for s in range(m):
        heads_out[s] = NONE
    for t in range(m):
        s = m - 1 - t
        if tree[s] != NONE:
            following_out[s] = heads_out[tree[s]]
            heads_out[tree[s]] = s
