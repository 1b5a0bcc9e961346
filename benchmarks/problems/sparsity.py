"""Sparsity patterns for colouring, as rows and columns of their entries and a shape.

The number of colours beside each is ColPack's, measured apart: ColPack is no dependency. Two of its patterns were made
from data files. The pose graph of a torus is replaced here by one with as many poses, and the bundle adjustment 49-7776
by a pattern of its size, unless the environment variable ``NLSQ_BENCHMARK_BAL`` names the file.

References
----------
.. [1] A. H. Gebremedhin, D. Nguyen, M. M. A. Patwary and A. Pothen, "ColPack: Software for Graph Coloring and Related
   Problems in Scientific Computing", ACM Transactions on Mathematical Software 40, 2013.
.. [2] S. Agarwal, N. Snavely, S. M. Seitz and R. Szeliski, "Bundle Adjustment in the Large", ECCV 2010.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "BAL_VARIABLE", "PATTERNS", "PatternCase", "bundle_adjustment", "chained", "grid", "observed",
    "poses_around_a_torus", "random_rows", "read_bundle_adjustment",
]  # fmt: skip

BAL_VARIABLE = "NLSQ_BENCHMARK_BAL"


def grid(k, reach):
    """Return a row for each point of a k x k grid, with entries at the points at most `reach` steps away."""
    steps = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1) if abs(a) + abs(b) <= reach]
    i, j = np.divmod(np.arange(k * k), k)
    rows, columns = [], []
    for a, b in steps:
        inside = (i + a >= 0) & (i + a < k) & (j + b >= 0) & (j + b < k)
        rows.append(np.flatnonzero(inside))
        columns.append(((i + a) * k + j + b)[inside])
    return np.concatenate(rows), np.concatenate(columns), (k * k, k * k)


def poses_around_a_torus(count, turn, unknowns=6):
    """Return a block of rows for each pair of near poses, of several unknowns each, on a thread wound round a torus.

    Near are the next pose and the one after a whole turn.
    """
    pose = np.arange(count)
    pairs = np.concatenate([np.stack([pose[:-ahead], pose[ahead:]], axis=1) for ahead in (1, turn)])
    columns = (pairs[:, :, None] * unknowns + np.arange(unknowns)).reshape(len(pairs), -1)
    return _rows_of(np.repeat(columns, unknowns, axis=0), count * unknowns)


def random_rows(n, entries, seed=0):
    """Return n rows with as many entries each in random columns, some of them twice."""
    return _rows_of(np.random.default_rng(seed).integers(0, n, (n, entries)), n)


def bundle_adjustment(cameras, points, observations, seed=0):
    """Return two rows for each observation of a point (3 unknowns) by a camera (9), cameras in a row."""
    rng = np.random.default_rng(seed)
    point = np.concatenate([np.arange(points), rng.integers(0, points, observations - points)])
    camera = np.clip(point * cameras // points + rng.integers(-3, 4, observations), 0, cameras - 1)
    return observation_pattern(camera, point, cameras, points)


def read_bundle_adjustment(path):
    """Return the pattern of a file of 'Bundle Adjustment in the Large'."""
    with open(path, encoding="ascii") as lines:
        cameras, points, observations = (int(number) for number in next(lines).split())
        pairs = np.array([next(lines).split()[:2] for _ in range(observations)], dtype=int)
    return observation_pattern(pairs[:, 0], pairs[:, 1], cameras, points)


def observation_pattern(camera, point, cameras, points):
    """Return two rows for each observation: 9 unknowns of its camera and 3 of its point."""
    unknowns = [9 * camera[:, None] + np.arange(9), 9 * cameras + 3 * point[:, None] + np.arange(3)]
    return _rows_of(np.repeat(np.concatenate(unknowns, axis=1), 2, axis=0), 9 * cameras + 3 * points)


def chained(n):
    """Return Rosenbrock's function chained: a residual, its start, and rows, columns and shape of its pattern."""

    def residual(x):
        r = np.empty(2 * x.size - 2)
        r[::2] = 10.0 * (x[1:] - x[:-1] ** 2)
        r[1::2] = 1.0 - x[:-1]
        return r

    row = np.arange(n - 1)
    entries = np.concatenate([2 * row, 2 * row, 2 * row + 1]), np.concatenate([row, row + 1, row])
    return residual, np.random.default_rng(0).normal(size=n), (*entries, (2 * n - 2, n))


def observed(pattern, seed=0):
    """Return a residual with the pattern of a bundle adjustment, of smooth functions in place of projections."""
    _, columns, shape = pattern
    of_row = np.asarray(columns).reshape(shape[0], -1)
    weights = 10.0 ** np.random.default_rng(seed).uniform(-2, 2, of_row.shape)

    def residual(x):
        moved = x[of_row]
        return np.einsum("ij,ij->i", weights, np.sin(moved)) + 0.1 * np.prod(1.0 + 0.1 * moved, axis=1) - 3.0

    return residual, np.random.default_rng(seed).normal(size=shape[1]), pattern


def _rows_of(columns, n):
    """Return the pattern whose row i has entries at ``columns[i]``."""
    m, entries = columns.shape
    return np.repeat(np.arange(m), entries), columns.reshape(-1), (m, n)


def _bundle_adjustment_49_7776():
    path = os.environ.get(BAL_VARIABLE)
    return read_bundle_adjustment(path) if path else bundle_adjustment(49, 7776, 31843)


@dataclass(frozen=True, kw_only=True)
class PatternCase:
    """A pattern in the size that is timed and in a small one, and ColPack's number of colours for the former."""

    full: Callable
    few: Callable
    colpack: int

    def make(self, small=False):
        """Return rows, columns and shape."""
        return self.few() if small else self.full()


PATTERNS = {
    "5-point grid": PatternCase(full=lambda: grid(316, 1), few=lambda: grid(20, 1), colpack=5),
    "13-point grid": PatternCase(full=lambda: grid(316, 2), few=lambda: grid(20, 2), colpack=18),
    "bundle adjustment": PatternCase(
        full=_bundle_adjustment_49_7776, few=lambda: bundle_adjustment(5, 60, 240), colpack=12
    ),
    "poses around a torus": PatternCase(
        full=lambda: poses_around_a_torus(5000, 100), few=lambda: poses_around_a_torus(60, 10), colpack=18
    ),
    "random rows": PatternCase(full=lambda: random_rows(100_000, 5), few=lambda: random_rows(300, 5), colpack=12),
}
