"""Slow symbolic elimination by sets; twin of `nlsq.kernels.elimination_tree` and what builds on it."""

import numpy as np


def structures(mask, permutation):
    """Return for each step of elimination the set of later steps in its column of L, for a symmetric pattern."""
    order = list(permutation)
    where = {j: k for k, j in enumerate(order)}
    below = [{where[i] for i in np.flatnonzero(mask[j]) if where[i] > k} for k, j in enumerate(order)]
    for rows in below:
        if rows:
            parent = min(rows)
            below[parent] |= rows - {parent}
    return below


def parents(below):
    """Return the elimination tree."""
    return [min(rows, default=-1) for rows in below]


def is_postorder(tree):
    """Say whether every subtree is numbered without a gap, children before parents."""
    first = list(range(len(tree)))
    sizes = [1] * len(tree)
    for j, up in enumerate(tree):
        if up != -1:
            if up <= j:
                return False
            first[up] = min(first[up], first[j])
            sizes[up] += sizes[j]
    return all(j - first[j] + 1 == sizes[j] for j in range(len(tree)))
