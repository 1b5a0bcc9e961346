"""Slow, obvious twins of orderings: graphs as lists of sets, the fill of an order, exact minimum degree."""

import numpy as np


def graph_of(indptr, indices):
    """Return the neighbours of each vertex as a list of sets."""
    n = len(indptr) - 1
    return [set(indices[indptr[j] : indptr[j + 1]].tolist()) - {j} for j in range(n)]


def expand(graph, weights):
    """Return the graph in which each vertex is a clique of as many scalars, and the first scalar of each vertex."""
    first = np.concatenate([[0], np.cumsum(weights)]).tolist()
    scalars = [set(range(first[v], first[v + 1])) for v in range(len(graph))]
    expanded = []
    for v, near in enumerate(graph):
        block = scalars[v].union(*(scalars[u] for u in near))
        expanded += [block - {s} for s in sorted(scalars[v])]
    return expanded, first


def fill(graph, order, weights=None):
    """Count the entries of L with its diagonal, in scalars: columns of a vertex are a triangle above a rectangle.

    The rows of column k are the later neighbours of its vertex, and the rows of the columns whose first row is k.
    """
    sizes = [1] * len(graph) if weights is None else [int(w) for w in weights]
    place = {int(v): k for k, v in enumerate(order)}
    children = [[] for _ in graph]
    entries = 0
    for k, v in enumerate(order):
        rows = {place[u] for u in graph[int(v)] if place[u] > k}
        for below in children[k]:
            rows |= below
        rows.discard(k)
        children[k] = []
        if rows:
            children[min(rows)].append(rows)
        w = sizes[int(v)]
        outside = len(rows) if weights is None else sum(sizes[int(order[row])] for row in rows)
        entries += w * (w + 1) // 2 + w * outside
    return entries


def minimum_degree(graph, weights=None):
    """Order by exact external degree, ties by the number of the vertex: neighbours of a pivot are joined in sets."""
    sizes = [1] * len(graph) if weights is None else weights
    near = [set(one) for one in graph]
    left, order = set(range(len(graph))), []
    while left:
        pivot = min(left, key=lambda v: (sum(sizes[u] for u in near[v]), v))
        for u in near[pivot]:
            near[u] = (near[u] | near[pivot]) - {u, pivot}
        left.discard(pivot)
        order.append(pivot)
    return order
