"""Pose graphs in g2o's text format, planar (SE2) and in space (SE3).

A line is a pose or a measurement of one pose from another:

    VERTEX_SE2 id  x y theta
    EDGE_SE2 id id  x y theta  I11 I12 I13 I22 I23 I33
    VERTEX_SE3:QUAT id  x y z qx qy qz qw
    EDGE_SE3:QUAT id id  x y z qx qy qz qw  I11 I12 ... I16 I22 ... I66
    FIX id ...

I is the information matrix of the measurement, its upper triangle row by row. Lines may be empty, and comments begin
with ``#``.

References
----------
.. [1] R. Kuemmerle, G. Grisetti, H. Strasdat, K. Konolige and W. Burgard, "g2o: A General Framework for Graph
       Optimization", ICRA 2011; the format: https://github.com/RainerKuemmerle/g2o/wiki/File-Format
.. [2] L. Carlone, R. Tron, K. Daniilidis and F. Dellaert, "Initialization Techniques for 3D SLAM: a Survey on Rotation
       Estimation and its Use in Pose Graph Optimization", ICRA 2015; its data sets are in this format.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

__all__ = ["PoseGraph", "compose", "read", "relative", "write"]

KINDS = {"SE2": ("VERTEX_SE2", "EDGE_SE2"), "SE3": ("VERTEX_SE3:QUAT", "EDGE_SE3:QUAT")}
SIZES = {"SE2": 3, "SE3": 7}
TANGENTS = {"SE2": 3, "SE3": 6}
UNIT_TOLERANCE = 1e-2  # a quaternion as far from unit length as this is no rounded one


@dataclass(frozen=True, kw_only=True)
class PoseGraph:
    """Poses and the measurements between them.

    Attributes
    ----------
    kind : {"SE2", "SE3"}
    poses : ndarray, shape (n, 3) or (n, 7)
        ``x, y, theta``, or ``x, y, z, qx, qy, qz, qw`` with a quaternion of unit length.
    ids : ndarray of int, shape (n,)
        What the file calls them, ascending.
    edges : ndarray of int, shape (B, 2)
        Rows of `poses`: from which pose, and of which.
    measured : ndarray, shape (B, 3) or (B, 7)
        The second pose in the frame of the first.
    information : ndarray, shape (B, 3, 3) or (B, 6, 6)
        Of the measurements: translation, then rotation.
    fixed : ndarray of int
        Rows of `poses` that the file holds still.
    """

    kind: str
    poses: np.ndarray
    ids: np.ndarray
    edges: np.ndarray
    measured: np.ndarray
    information: np.ndarray
    fixed: np.ndarray


def read(path):
    """Read a file.

    Poses that the file does not give are placed along measurements, as few of them as possible, from the poses that it
    does, and otherwise from the first, which is put at the origin.

    Returns
    -------
    PoseGraph

    Raises
    ------
    ValueError
        If a line is malformed, with its number; if both kinds of poses occur; if a pose has no place.
    """
    with open(path, encoding="utf-8") as file:
        lines = [(number, words) for number, line in enumerate(file, 1) if (words := line.split("#")[0].split())]
    tags = {words[0] for _, words in lines}
    present = [kind for kind, names in KINDS.items() if tags & set(names)]
    if len(present) != 1:
        raise ValueError(f"{path}: expected poses of one kind, found {' and '.join(present) or 'none'}.")
    kind = present[0]
    vertex, edge = KINDS[kind]
    for number, words in lines:
        if words[0] not in (vertex, edge, "FIX"):
            raise ValueError(f"{path}, line {number}: expected {vertex}, {edge} or FIX, got {words[0]!r}.")
    size, tangent = SIZES[kind], TANGENTS[kind]
    at, of, given, poses = _records(path, lines, vertex, 1, size)
    edge_at, ends, _, numbers = _records(path, lines, edge, 2, size + tangent * (tangent + 1) // 2)
    if len(given) != len(at):
        raise ValueError(f"{path}, line {_repeated(at, of)}: a second pose of the same id.")
    ids = np.unique(np.concatenate([of.ravel(), ends.ravel()]))
    same = np.flatnonzero(ends[:, 0] == ends[:, 1])
    if same.size:
        raise ValueError(f"{path}, line {edge_at[same[0]]}: a measurement of a pose from itself.")
    rows, known = np.searchsorted(ids, ends), np.searchsorted(ids, of.ravel())
    measured = _with_unit_quaternions(path, edge_at, numbers[:, :size])
    placed = np.full((ids.size, size), np.nan)
    placed[known] = _with_unit_quaternions(path, at, poses)
    if known.size < ids.size:
        placed = _along_edges(path, ids, placed, known, rows, measured)
    information = np.zeros((len(rows), tangent, tangent))
    upper = np.triu_indices(tangent)
    information[:, upper[0], upper[1]] = information[:, upper[1], upper[0]] = numbers[:, size:]
    fixed = _fixed(path, lines, ids)
    return PoseGraph(
        kind=kind, poses=placed, ids=ids, edges=rows, measured=measured, information=information, fixed=fixed
    )


def write(path, graph):
    """Write a `PoseGraph` with all digits."""
    vertex, edge = KINDS[graph.kind]
    upper = np.triu_indices(TANGENTS[graph.kind])
    with open(path, "w", encoding="utf-8") as file:
        for name, pose in zip(graph.ids.tolist(), graph.poses.tolist(), strict=True):
            file.write(f"{vertex} {name} {' '.join(map(repr, pose))}\n")
        for name in graph.ids[graph.fixed].tolist():
            file.write(f"FIX {name}\n")
        for ends, pose, matrix in zip(
            graph.ids[graph.edges].tolist(), graph.measured.tolist(), graph.information, strict=True
        ):
            numbers = [*pose, *matrix[upper].tolist()]
            file.write(f"{edge} {ends[0]} {ends[1]} {' '.join(map(repr, numbers))}\n")


# Poses


def compose(first, second):
    """Return poses `second`, given in the frames `first`, in the frame of the latter; shapes (..., 3) or (..., 7)."""
    first, second = np.broadcast_arrays(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    out = np.empty(first.shape)
    if first.shape[-1] == 3:
        out[..., :2] = first[..., :2] + _turned(first[..., 2], second[..., :2])
        out[..., 2] = first[..., 2] + second[..., 2]
        return out
    out[..., :3] = first[..., :3] + _rotated(first[..., 3:], second[..., :3])
    out[..., 3:] = _product(first[..., 3:], second[..., 3:])
    return out


def relative(first, second):
    """Return the second pose in the frame of the first: ``compose(first, relative(first, second))`` is `second`."""
    first, second = np.broadcast_arrays(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    out = np.empty(first.shape)
    if first.shape[-1] == 3:
        out[..., :2] = _turned(-first[..., 2], second[..., :2] - first[..., :2])
        out[..., 2] = second[..., 2] - first[..., 2]
        return out
    inverse = first[..., 3:] * np.array([-1.0, -1.0, -1.0, 1.0])
    out[..., :3] = _rotated(inverse, second[..., :3] - first[..., :3])
    out[..., 3:] = _product(inverse, second[..., 3:])
    return out


def _turned(angle, v):
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * v[..., 0] - sine * v[..., 1], sine * v[..., 0] + cosine * v[..., 1]], axis=-1)


def _rotated(q, v):
    twice = 2.0 * np.cross(q[..., :3], v)
    return v + q[..., 3:] * twice + np.cross(q[..., :3], twice)


def _product(p, q):
    vector = p[..., 3:] * q[..., :3] + q[..., 3:] * p[..., :3] + np.cross(p[..., :3], q[..., :3])
    scalar = p[..., 3] * q[..., 3] - np.sum(p[..., :3] * q[..., :3], axis=-1)
    return np.concatenate([vector, scalar[..., np.newaxis]], axis=-1)


# Lines


def _records(path, lines, tag, names, width):
    """Return line numbers (k,), ids (k, names), the set of ids, and numbers (k, width) of the lines with a tag."""
    chosen = [(number, words) for number, words in lines if words[0] == tag]
    ids, numbers = np.empty((len(chosen), names), dtype=np.int64), np.empty((len(chosen), width))
    for k, (number, words) in enumerate(chosen):
        try:
            if len(words) != 1 + names + width:
                raise ValueError
            ids[k] = [int(word) for word in words[1 : 1 + names]]
            numbers[k] = [float(word) for word in words[1 + names :]]
        except (ValueError, OverflowError):
            text = f"{tag} with {names} whole number{'s' * (names > 1)} and {width} numbers"
            raise ValueError(f"{path}, line {number}: expected {text}, got {' '.join(words)!r}.") from None
    return np.array([number for number, _ in chosen], dtype=np.int64), ids, set(ids.ravel().tolist()), numbers


def _repeated(numbers, ids):
    """Return the line that gives an id again."""
    seen = set()
    return next(number for number, (one,) in zip(numbers, ids.tolist(), strict=True) if one in seen or seen.add(one))


def _with_unit_quaternions(path, numbers, poses):
    """Return poses whose quaternions have unit length to rounding; files give them with a few digits."""
    if poses.shape[1] == 3:
        return poses
    length = np.linalg.norm(poses[:, 3:], axis=1)
    wrong = np.flatnonzero(np.abs(length - 1.0) > UNIT_TOLERANCE)
    if wrong.size:
        raise ValueError(
            f"{path}, line {numbers[wrong[0]]}: a quaternion of length {length[wrong[0]]:g} is no rotation."
        )
    return np.concatenate([poses[:, :3], poses[:, 3:] / length[:, np.newaxis]], axis=1)


def _fixed(path, lines, ids):
    """Return the rows of poses held by the file."""
    rows = []
    for number, words in lines:
        if words[0] == "FIX":
            try:
                rows += [np.flatnonzero(ids == int(word))[0] for word in words[1:]]
            except (ValueError, IndexError):
                raise ValueError(f"{path}, line {number}: expected ids of poses, got {' '.join(words)!r}.") from None
    return np.unique(np.array(rows, dtype=np.int64))


def _along_edges(path, ids, poses, known, rows, measured):
    """Return all poses, those that are not known reached breadth first along measurements."""
    poses = poses.copy()
    origin = np.zeros(poses.shape[1])
    origin[-1] = float(poses.shape[1] == 7)
    if known.size == 0:
        poses[0] = origin
        known = np.zeros(1, dtype=np.int64)
    near = [[] for _ in ids]
    for k, (i, j) in enumerate(rows.tolist()):
        near[i].append((j, k, False))
        near[j].append((i, k, True))
    backwards = relative(measured, origin)
    placed = np.zeros(ids.size, dtype=bool)
    placed[known] = True
    queue = deque(known.tolist())
    while queue:
        i = queue.popleft()
        for j, k, back in near[i]:
            if not placed[j]:
                poses[j] = compose(poses[i], backwards[k] if back else measured[k])
                placed[j] = True
                queue.append(j)
    if not placed.all():
        raise ValueError(f"{path}: pose {ids[np.argmin(placed)]} has no place, and no measurement leads to it.")
    return poses
