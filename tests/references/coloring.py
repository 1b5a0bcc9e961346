"""Slow colourings by lists, sets and integers of any length; twins of `nlsq.kernels.coloring`, and a checker."""

from itertools import pairwise


def split(indices, indptr):
    """Return compressed lists as lists."""
    flat, ends = indices.tolist(), indptr.tolist()
    return [flat[start:stop] for start, stop in pairwise(ends)]


def is_valid(columns_of, colors):
    """Say whether no row has two entries of one colour; slow and obvious."""
    return all(colors[j] != colors[k] for columns in columns_of for j in columns for k in columns if j != k)


def find_neighbours(rows_of, columns_of):
    """Return for each column the others that share a row with it, in the order in which its rows show them."""
    found = []
    for j, rows in enumerate(rows_of):
        near = dict.fromkeys(k for i in rows for k in columns_of[i])
        near.pop(j, None)
        found.append(list(near))
    return found


def color_greedily(rows_of, order, m):
    """Give each column the smallest colour that its rows have not seen; return the colours and their number."""
    seen = [set() for _ in range(m)]
    colors, used = [0] * len(rows_of), 0
    for j in order:
        taken = set().union(*(seen[i] for i in rows_of[j]))
        color = next(c for c in range(len(taken) + 1) if c not in taken)
        for i in rows_of[j]:
            seen[i].add(color)
        if rows_of[j]:
            colors[j] = color
            used = max(used, color + 1)
    return colors, used


def largest_first(neighbours):
    """Order by descending number of neighbours, ties as they come."""
    degrees = [len(near) for near in neighbours]
    return sorted(range(len(neighbours)), key=degrees.__getitem__, reverse=True)


def smallest_last(neighbours, backward):
    """Order so that each column has the fewest neighbours among those before it, with lists of equals.

    The latest to come to a list is the first to leave it.
    """
    degrees = [len(near) for near in neighbours]
    waiting = [[] for _ in range(max(degrees, default=0) + 1)]
    columns = range(len(degrees))
    for j in columns if backward else reversed(columns):
        waiting[degrees[j]].append(j)
    removed, order = set(), []
    while len(order) < len(degrees):
        j = next(bucket for bucket in waiting if bucket).pop()
        removed.add(j)
        order.append(j)
        for k in neighbours[j]:
            if k not in removed:
                waiting[degrees[k]].remove(k)
                degrees[k] -= 1
                waiting[degrees[k]].append(k)
    return order[::-1]
