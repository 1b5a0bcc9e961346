r"""Approximate minimum degree: which variable of a symmetric elimination comes next.

Eliminating a variable joins all its neighbours. The quotient graph [1]_ keeps such a clique as one list: a variable
that has been eliminated is an element e with the variables L_e that it joined, and a variable i not yet eliminated has
elements E_i and variables A_i, all in the memory of the pattern. One pivot p is [2]_, Algorithm 2:

    form        L_p = (A_p u L_e for e in E_p) \ p; the elements of E_p are absorbed
    overlap     |L_e \ L_p| for each element e next to L_p, by subtraction
    prune       A_i = A_i \ L_p;  E_i = those e with |L_e \ L_p| > 0, and p (aggressive absorption of the others)
                d_i = min(left, d_i + |L_p \ i|, |A_i| + |L_p \ i| + sum over e in E_i of |L_e \ L_p|)
                a variable with nothing but p left is eliminated with p (mass elimination)
    merge       variables of L_p with equal A_i and E_i become one: found by a hash, proved by comparison
    finish      what is left of L_p goes back to the lists of its degree; p is an element

Sizes |.| and degrees are sums of weights: the scalar variables that a vertex stands for. Vertices with very many
neighbours are left out and come last: they cost the most and change the order of the others least.

Of variables with equal degrees, those that the last pivot met come first, in the order of its L_p: the elimination
moves along a front. In the reverse order nine-point grids in their natural order fill up to a fifth more.

The kernels share these arrays:

    storage                 the lists, E_i before A_i; room for nnz + n
    graph (5, n)            start and length of the list of each variable or element, how many elements of it come
                            first, its mark, its parent: what absorbed it
    sizes (2, n)            weight (0: absorbed or left out; negative: in L_p or p itself); degree d_i, or |L_e|
    lists (3, n), (total + 1,)     following and preceding variable of the same degree (in prune and merge: of the same
                            hash, and the hash); first variable of each hash; first variable of each degree
    state (6,)              by the names below

Marks: 0 is an element that was absorbed, 1 or an old stamp any other, stamp + |L_e \ L_p| an element next to L_p.

References
----------
.. [1] A. George and J. W. H. Liu, "The Evolution of the Minimum Degree Ordering Algorithm", SIAM Review 31, 1989.
.. [2] P. R. Amestoy, T. A. Davis and I. S. Duff, "An Approximate Minimum Degree Ordering Algorithm", SIAM Journal on
   Matrix Analysis and Applications 17, 1996, sections 2 to 5.
"""

from nlsq.kernels.backend import kernel, shift

NONE = -1
ABSORBED = 0
ALIVE = 1
FREE = 0  # state: where the unused end of the storage begins
STAMP = 1  # state: marks of this pivot begin here
FEWEST = 2  # state: no degree in the lists is below it
LEFT = 3  # state: weight of the variables not yet eliminated
DEGREE = 4  # state: |L_p|
ROOM = 5  # state: length of the storage
STATES = 6


@kernel("void(int, int, int, int, int*, int*, int*, int*, int*, int*)")
def eliminate(n, total, dense, room, weights, storage, graph, sizes, lists, state_out):
    """Eliminate all vertices: `graph` then says which element absorbed each vertex, `sizes` what its weight was.

    total : sum of the weights.  dense : vertices with more neighbours than that are left out.
    room : length of the storage, nnz + n or more.  storage : adjacency lists one behind the other, no vertex in its
    own.  graph : their start and length are given.
    """
    begin_lists(n, total, dense, room, weights, storage, graph, sizes, lists, state_out)
    first = shift(lists, 3 * n)
    while state_out[LEFT] > 0:
        while first[state_out[FEWEST]] == NONE:
            state_out[FEWEST] += 1
        p = first[state_out[FEWEST]]
        form_element(p, n, storage, graph, sizes, lists, state_out)
        find_overlaps(p, n, storage, graph, sizes, state_out)
        prune_neighbours(p, n, storage, graph, sizes, lists, state_out)
        state_out[STAMP] += total + 1  # beyond all marks that there are
        merge_equal(p, n, storage, graph, sizes, lists, state_out)
        finish_element(p, n, storage, graph, sizes, lists, state_out)


@kernel("void(int, int, int, int, int*, int*, int*, int*, int*, int*)")
def begin_lists(n, total, dense, room, weights, storage, graph, sizes, lists, state_out):
    """Set every array but the adjacency lists for a graph of which nothing is eliminated."""
    start, length, elements = graph, shift(graph, n), shift(graph, 2 * n)
    mark, parent = shift(graph, 3 * n), shift(graph, 4 * n)
    weight, degree, bucket, first = sizes, shift(sizes, n), shift(lists, 2 * n), shift(lists, 3 * n)
    free = 0
    left = 0
    for i in range(n):
        elements[i] = 0
        mark[i] = ALIVE
        parent[i] = NONE
        bucket[i] = NONE
        free += length[i]
        weight[i] = weights[i] if length[i] <= dense else 0
        left += weight[i]
    for d in range(total + 1):
        first[d] = NONE
    for i in range(n):
        if weight[i] == 0:
            length[i] = 0
        else:
            d = 0
            for q in range(start[i], start[i] + length[i]):
                d += weight[storage[q]]
            degree[i] = d
            enlist(i, n, degree, lists)
    state_out[FREE] = free
    state_out[STAMP] = ALIVE + 1
    state_out[FEWEST] = 0
    state_out[LEFT] = left
    state_out[DEGREE] = 0
    state_out[ROOM] = room


@kernel("void(int, int, int*, int*)")
def enlist(i, n, degree, lists):
    """Put variable i at the front of the list of its degree."""
    following, preceding, first = lists, shift(lists, n), shift(lists, 3 * n)
    after = first[degree[i]]
    following[i] = after
    preceding[i] = NONE
    if after != NONE:
        preceding[after] = i
    first[degree[i]] = i


@kernel("void(int, int, int*, int*, int*, int*, int*)")
def form_element(p, n, storage, graph, sizes, lists, state):
    """Make the list of p that of L_p, whose variables leave the lists of degrees and get negative weights.

    A pivot next to no element has its L_p in place; else it is built at the end of the storage.
    """
    start, length, elements = graph, shift(graph, n), shift(graph, 2 * n)
    mark, parent = shift(graph, 3 * n), shift(graph, 4 * n)
    weight, degree = sizes, shift(sizes, n)
    following, preceding, first = lists, shift(lists, n), shift(lists, 3 * n)
    if elements[p] > 0:
        make_room(p, n, storage, graph, state)
    begin, own = start[p], start[p] + elements[p]
    target = begin if elements[p] == 0 else state[FREE]
    write = target
    size = 0
    first[degree[p]] = following[p]
    if following[p] != NONE:
        preceding[following[p]] = NONE
    weight[p] = -weight[p]
    for k in range(elements[p] + 1):
        q, end = own, begin + length[p]
        if k < elements[p]:
            e = storage[begin + k]
            q, end = start[e], start[e] + length[e]
            parent[e] = p
            mark[e] = ABSORBED
            length[e] = 0
        while q < end:
            i = storage[q]
            q += 1
            if weight[i] > 0:
                size += weight[i]
                weight[i] = -weight[i]
                storage[write] = i
                write += 1
                before, after = preceding[i], following[i]
                if after != NONE:
                    preceding[after] = before
                if before != NONE:
                    following[before] = after
                else:
                    first[degree[i]] = after
    state[FREE] = max(state[FREE], write)
    start[p] = target
    length[p] = write - target
    degree[p] = size
    state[DEGREE] = size
    state[LEFT] += weight[p]


@kernel("void(int, int, int*, int*, int*)")
def make_room(p, n, storage, graph, state):
    """Move all lists to the front of the storage if L_p may not fit behind them.

    L_p has fewer than n variables, and the lists never take more room than the pattern did.
    """
    start, length, elements = graph, shift(graph, n), shift(graph, 2 * n)
    longest = length[p]
    for q in range(start[p], start[p] + elements[p]):
        longest += length[storage[q]]
    if state[FREE] + min(longest, n) > state[ROOM]:
        state[FREE] = compress(n, state[FREE], storage, start, length)


@kernel("int(int, int, int*, int*, int*)", cold=True)
def compress(n, free, storage, start, length):
    """Close the gaps between the lists, in the order in which they lie; return where the unused end begins.

    The first entry of each list waits in `start` while the number of its owner marks its place.
    """
    for j in range(n):
        if length[j] > 0:
            first = storage[start[j]]
            storage[start[j]] = -1 - j
            start[j] = first
    read = 0
    write = 0
    while read < free:
        j = -1 - storage[read]
        if j < 0:
            read += 1
        else:
            storage[write] = start[j]
            start[j] = write
            for k in range(1, length[j]):
                storage[write + k] = storage[read + k]
            write += length[j]
            read += length[j]
    return write


@kernel("void(int, int, int*, int*, int*, int*)")
def find_overlaps(p, n, storage, graph, sizes, state):
    r"""Mark each element e next to L_p with stamp + |L_e \ L_p|, by subtracting what L_p has of it."""
    start, length, elements, mark = graph, shift(graph, n), shift(graph, 2 * n), shift(graph, 3 * n)
    weight, degree = sizes, shift(sizes, n)
    stamp = state[STAMP]
    for q in range(start[p], start[p] + length[p]):
        i = storage[q]
        for r in range(start[i], start[i] + elements[i]):
            e = storage[r]
            if mark[e] >= stamp:
                mark[e] += weight[i]
            elif mark[e] != ABSORBED:
                mark[e] = degree[e] + stamp + weight[i]


@kernel("void(int, int, int*, int*, int*, int*, int*)")
def prune_neighbours(p, n, storage, graph, sizes, lists, state):
    r"""Take what p implies out of the lists of L_p's variables, bound their degrees and hash them.

    The degree found here is that outside L_p; `finish_element` adds |L_p \ i|.
    """
    start, length, elements = graph, shift(graph, n), shift(graph, 2 * n)
    mark, parent = shift(graph, 3 * n), shift(graph, 4 * n)
    weight, degree = sizes, shift(sizes, n)
    following, hashed, bucket = lists, shift(lists, n), shift(lists, 2 * n)
    stamp = state[STAMP]
    for q in range(start[p], start[p] + length[p]):
        i = storage[q]
        begin, own, end = start[i], start[i] + elements[i], start[i] + length[i]
        write = begin
        outside = 0
        key = 0
        for r in range(begin, own):
            e = storage[r]
            if mark[e] > stamp:
                outside += mark[e] - stamp
                key += e
                storage[write] = e
                write += 1
            elif mark[e] != ABSORBED:
                mark[e] = ABSORBED
                parent[e] = p
                length[e] = 0
        kept = write
        for r in range(own, end):
            j = storage[r]
            if weight[j] > 0:
                outside += weight[j]
                key += j
                storage[write] = j
                write += 1
        if outside == 0:  # nothing but p: eliminated with it
            parent[i] = p
            length[i] = 0
            weight[p] += weight[i]
            state[LEFT] += weight[i]
            state[DEGREE] += weight[i]
            weight[i] = 0
        else:
            storage[write] = storage[kept]  # at least one entry has gone: p itself or an element of E_p
            storage[kept] = p
            elements[i] = kept - begin + 1
            length[i] = write - begin + 1
            degree[i] = min(degree[i], outside)
            key %= n
            hashed[i] = key
            following[i] = bucket[key]
            bucket[key] = i


@kernel("void(int, int, int*, int*, int*, int*, int*)")
def merge_equal(p, n, storage, graph, sizes, lists, state):
    """Merge variables of L_p that have the same lists: no order tells them apart."""
    start, length, elements = graph, shift(graph, n), shift(graph, 2 * n)
    mark, parent = shift(graph, 3 * n), shift(graph, 4 * n)
    weight, following, hashed, bucket = sizes, lists, shift(lists, n), shift(lists, 2 * n)
    stamp = state[STAMP]
    for q in range(start[p], start[p] + length[p]):
        i = NONE
        if weight[storage[q]] != 0:
            key = hashed[storage[q]]
            i = bucket[key]
            bucket[key] = NONE
        while i != NONE and following[i] != NONE:
            for r in range(start[i], start[i] + length[i]):
                mark[storage[r]] = stamp
            last, j = i, following[i]
            while j != NONE:
                equal = length[j] == length[i] and elements[j] == elements[i]
                r, end = start[j], start[j] + length[j]
                while equal and r < end:
                    equal = mark[storage[r]] == stamp
                    r += 1
                if equal:
                    parent[j] = i
                    length[j] = 0
                    weight[i] += weight[j]
                    weight[j] = 0
                    following[last] = following[j]
                else:
                    last = j
                j = following[j]
            stamp += 1
            i = following[i]
    state[STAMP] = stamp


@kernel("void(int, int, int*, int*, int*, int*, int*)")
def finish_element(p, n, storage, graph, sizes, lists, state):
    """Put the variables of L_p that are left back into the lists of degrees; p is an element now."""
    start, length, mark = graph, shift(graph, n), shift(graph, 3 * n)
    weight, degree = sizes, shift(sizes, n)
    size, left = state[DEGREE], state[LEFT]
    begin, end = start[p], start[p] + length[p]
    write = begin
    for q in range(begin, end):
        if weight[storage[q]] < 0:
            storage[write] = storage[q]
            write += 1
    for k in range(1, write - begin + 1):  # the first of them comes to the front of its list
        i = storage[write - k]
        weight[i] = -weight[i]
        degree[i] = min(degree[i] + size, left) - weight[i]
        state[FEWEST] = min(state[FEWEST], degree[i])
        enlist(i, n, degree, lists)
    if end == state[FREE]:
        state[FREE] = write
    weight[p] = -weight[p]
    degree[p] = size
    length[p] = write - begin
    mark[p] = ALIVE if write > begin else ABSORBED
