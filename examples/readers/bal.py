"""Files of 'Bundle Adjustment in the Large': a collection of bundle adjustments from 16 cameras to 14 000.

A file holds

    <cameras> <points> <observations>
    <camera> <point> <u> <v>                for each observation, in pixels from the middle of the picture
    <number>                                for each of the 9 numbers of each camera, and then of the 3 of each point

and a camera is an axis-angle vector (3), a translation (3), a focal length and two coefficients of radial distortion.
It turns and then moves a point into its own frame, looks along its negative z axis, and sees

    f (1 + k1 r^2 + k2 r^4) (-x/z, -y/z),     r^2 = (x^2 + y^2) / z^2.

References
----------
.. [1] S. Agarwal, N. Snavely, S. M. Seitz and R. Szeliski, "Bundle Adjustment in the Large", ECCV 2010.
       https://grail.cs.washington.edu/projects/bal/
"""

import bz2
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["BundleAdjustment", "read", "write"]

OPENERS = {".bz2": bz2.open, ".gz": gzip.open}
CAMERA, POINT = 9, 3


@dataclass(frozen=True, kw_only=True)
class BundleAdjustment:
    """Cameras, points, and where in its picture a camera saw a point.

    Attributes
    ----------
    cameras : ndarray, shape (n_cameras, 9)
        Axis-angle, translation, focal length, k1, k2.
    points : ndarray, shape (n_points, 3)
    camera_index, point_index : ndarray of int, shape (n_observations,)
        Which camera saw which point.
    observed : ndarray, shape (n_observations, 2)
        Where, in pixels.
    """

    cameras: np.ndarray
    points: np.ndarray
    camera_index: np.ndarray
    point_index: np.ndarray
    observed: np.ndarray


def read(path):
    """Read a file, plain or compressed (``.bz2``, ``.gz``).

    Returns
    -------
    BundleAdjustment

    Raises
    ------
    ValueError
        If a line is malformed, with its number.
    """
    path = Path(path)
    with OPENERS.get(path.suffix, open)(path, "rt", encoding="ascii") as file:
        lines = file.read().split("\n")
    counts = _integers(path, 1, lines[0].split(), 3)
    if min(counts) < 0:
        raise ValueError(f"{path}, line 1: counts are not negative, got {lines[0]!r}.")
    cameras, points, observations = counts
    seen = _table(path, lines, 2, observations, 4)
    index = np.round(seen[:, :2])
    limits = np.array([cameras, points])
    wrong = np.flatnonzero(((index != seen[:, :2]) | ~(index >= 0) | ~(index < limits)).any(axis=1))
    if wrong.size:
        raise ValueError(
            f"{path}, line {2 + wrong[0]}: of {cameras} cameras and {points} points, a camera and a point are chosen "
            f"by {lines[1 + wrong[0]]!r}."
        )
    numbers = _numbers(path, lines, 2 + observations, CAMERA * cameras + POINT * points)
    return BundleAdjustment(
        cameras=numbers[: CAMERA * cameras].reshape(cameras, CAMERA),
        points=numbers[CAMERA * cameras :].reshape(points, POINT),
        camera_index=index[:, 0].astype(np.int64),
        point_index=index[:, 1].astype(np.int64),
        observed=np.ascontiguousarray(seen[:, 2:]),
    )


def write(path, problem):
    """Write a `BundleAdjustment` with all digits."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{len(problem.cameras)} {len(problem.points)} {len(problem.observed)}\n")
        for camera, point, (u, v) in zip(
            problem.camera_index.tolist(), problem.point_index.tolist(), problem.observed.tolist(), strict=True
        ):
            file.write(f"{camera} {point} {u!r} {v!r}\n")
        for value in [*problem.cameras.ravel().tolist(), *problem.points.ravel().tolist()]:
            file.write(f"{value!r}\n")


def _integers(path, line, words, count):
    """Return the integers on a line."""
    try:
        values = [int(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        raise ValueError(f"{path}, line {line}: expected {count} whole numbers, got {' '.join(words)!r}.")
    return values


def _table(path, lines, first, count, width):
    """Return the numbers on `count` lines, `width` on each; the line numbers begin at 1."""
    chosen = lines[first - 1 : first - 1 + count]
    words = " ".join(chosen).split()
    try:
        if len(words) == count * width and all(len(line.split()) == width for line in chosen):
            return np.array(words, dtype=np.float64).reshape(count, width)
    except ValueError:
        pass
    for number, line in enumerate(chosen, first):
        _floats(path, number, line, width)
    raise ValueError(f"{path}, line {first + len(chosen)}: {count - len(chosen)} observations are missing.")


def _numbers(path, lines, first, count):
    """Return the `count` numbers that begin on a line, however many there are on each."""
    chosen = lines[first - 1 :]
    words = " ".join(chosen).split()
    try:
        if len(words) == count:
            return np.array(words, dtype=np.float64)
    except ValueError:
        pass
    for number, line in enumerate(chosen, first):
        _floats(path, number, line, None)
    raise ValueError(f"{path}, line {len(lines)}: expected {count} numbers of cameras and points, got {len(words)}.")


def _floats(path, number, line, width):
    """Raise an error if a line is not made of numbers, or of another number of them."""
    words = line.split()
    try:
        right = len([float(word) for word in words]) == (len(words) if width is None else width)
    except ValueError:
        right = False
    if not right:
        expected = "numbers" if width is None else f"{width} numbers"
        raise ValueError(f"{path}, line {number}: expected {expected}, got {line.strip()!r}.")
