"""Pose graphs: files, graphs made up in any size, and the cost of poses, by which solvers are compared.

The arrays are those of ``examples/readers/g2o.py``. The residual of a measurement is the second pose in the frame of
the first less what was measured. In the plane it is given in the measured frame, as in g2o and GTSAM. In space it is,
as in Ceres' example, the difference of translations and twice the vector part of the quaternion that is left; GTSAM
takes the logarithm of the pose that is left instead, the same to first order where information is isotropic.
"""

import numpy as np

from . import real_data

__all__ = ["cost", "grid_world", "helix", "read", "residuals"]


def read(name):
    """Return a pose graph of the data folder, or None."""
    path = real_data.path_of(real_data.GRAPHS[name])
    return None if path is None else _g2o().read(path)


def residuals(graph, poses):
    """Return the residual of each measurement, (B, 3) or (B, 6), not weighted."""
    left = _g2o().relative(poses[graph.edges[:, 0]], poses[graph.edges[:, 1]])
    if graph.kind == "SE2":
        left = _g2o().relative(graph.measured, left)
        left[:, 2] = np.arctan2(np.sin(left[:, 2]), np.cos(left[:, 2]))
        return left
    rest = np.zeros((2, len(left), 7))
    rest[0, :, 3:], rest[1, :, 3:] = graph.measured[:, 3:], left[:, 3:]
    turned = _g2o().relative(*rest)[:, 3:6]
    return np.concatenate([left[:, :3] - graph.measured[:, :3], 2.0 * turned], axis=1)


def cost(graph, poses):
    """Return half of the sum of squares of all residuals in units of their standard deviations."""
    r = residuals(graph, poses)
    return 0.5 * np.einsum("bi,bij,bj->", r, graph.information, r)


def grid_world(side, seed=0):
    """Return a planar graph: rows of a square driven to and fro, each next to the last one measured too."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(side * side), side)
    back = row % 2 == 1
    column = np.where(back, side - 1 - column, column)
    truth = np.stack([column, row, np.where(back, np.pi, 0.0)], axis=1).astype(np.float64)
    place = np.empty((side, side), dtype=np.int64)
    place[row, column] = np.arange(side * side)
    return _measured("SE2", truth, place[:-1].ravel(), place[1:].ravel(), [0.05, 0.05, 0.01], rng)


def helix(count, turn, seed=0):
    """Return a graph in space: a thread wound round a torus, each pose measured from the one a turn before."""
    rng = np.random.default_rng(seed)
    around = np.linspace(0.0, 2.0 * np.pi, count)
    across = 2.0 * np.pi * np.arange(count) / turn
    radius = 10.0 + 3.0 * np.cos(across)
    truth = np.zeros((count, 7))
    truth[:, :3] = np.stack([radius * np.cos(around), radius * np.sin(around), 3.0 * np.sin(across)], axis=1)
    truth[:, 5], truth[:, 6] = np.sin(0.5 * around), np.cos(0.5 * around)
    first = np.arange(count - turn)
    return _measured("SE3", truth, first, first + turn, [0.05] * 3 + [0.01] * 3, rng)


def _measured(kind, truth, first, second, sigma, rng):
    """Return noisy measurements along the way and between the given poses, and a start at what odometry says."""
    g2o, sigma = _g2o(), np.asarray(sigma)
    way = np.arange(len(truth) - 1)
    edges = np.stack([np.concatenate([way, first]), np.concatenate([way + 1, second])], axis=1)
    noise = sigma * rng.standard_normal((len(edges), sigma.size))
    if kind == "SE3":
        half = 0.5 * noise[:, 3:]
        scalar = np.sqrt(1.0 - np.sum(half**2, axis=1, keepdims=True))
        noise = np.concatenate([noise[:, :3], half, scalar], axis=1)
    measured = g2o.compose(g2o.relative(truth[edges[:, 0]], truth[edges[:, 1]]), noise)
    start = truth.copy()
    for k in way:
        start[k + 1] = g2o.compose(start[k], measured[k])
    return g2o.PoseGraph(
        kind=kind,
        poses=start,
        ids=np.arange(len(truth)),
        edges=edges,
        measured=measured,
        information=np.tile(np.diag(sigma**-2.0), (len(edges), 1, 1)),
        fixed=np.zeros(1, dtype=np.int64),
    )


def _g2o():
    return real_data.example("readers.g2o")
