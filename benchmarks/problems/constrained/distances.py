r"""Arms with joint limits, and positions from distances.

    arm_planar_limits    four links of length 1, a target out of reach of the limits, the second joint above a floor
    arm_spatial_limits   six joints in the arrangement of a PUMA arm [1]_, position and orientation of the hand, with
                         a limit on the height of the wrist
    sensor_network       12 sensors in the unit square with four anchors at its corners: 40 measured distances, and
                         20 pairs that are known to be farther apart than the range (as in [2]_)
    molecule_distances   ten atoms of a chain: nine bonds of given length, six pairs that may not come closer than
                         they are in the helix, 25 measured distances; the first atom is fixed by its bounds, and the
                         molecule may turn about it, so that the minimiser is not isolated

References
----------
.. [1] J. J. Craig, Introduction to Robotics: Mechanics and Control, 3rd ed., Pearson, 2005, section 3.7.
.. [2] P. Biswas and Y. Ye, "Semidefinite programming for ad hoc wireless sensor network localization", Proceedings of
   IPSN 2004, 46-54.
"""

import numpy as np

from .problem import make

__all__ = ["problems"]

INF = np.inf

PLANAR_TARGET = np.array([1.2, 2.9])
PLANAR_REST = np.array([0.3, 0.3, 0.3, 0.3])


def planar_residual(q):
    angles = np.cumsum(q)
    hand = np.array([np.sum(np.cos(angles)), np.sum(np.sin(angles))])
    return np.concatenate([hand - PLANAR_TARGET, 0.05 * (q - PLANAR_REST)])


def planar_floor(q):
    return np.array([np.sin(q[0]) + np.sin(q[0] + q[1])])


TWISTS = np.array([0.0, -0.5, 0.0, -0.5, 0.5, -0.5]) * np.pi  # of the axes of PUMA 560, in Craig's convention
LINK_LENGTHS = np.array([0.0, 0.0, 0.4318, 0.0203, 0.0, 0.0])
OFFSETS = np.array([0.0, 0.2435, -0.0934, 0.4331, 0.0, 0.0])


def joint(angle, k):
    """Return the homogeneous transformation over joint k."""
    c, s = np.cos(angle), np.sin(angle)
    ca, sa = np.round(np.cos(TWISTS[k]), 15), np.round(np.sin(TWISTS[k]), 15)
    return np.array(
        [
            [c, -s, 0.0, LINK_LENGTHS[k]],
            [s * ca, c * ca, -sa, -sa * OFFSETS[k]],
            [s * sa, c * sa, ca, ca * OFFSETS[k]],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def hand_pose(q):
    """Return orientation and position of the hand, shape (3, 4)."""
    pose = joint(q[0], 0)
    for k in range(1, 6):
        pose = pose @ joint(q[k], k)
    return pose[:3]


HAND_TARGET = hand_pose(np.array([0.5, -1.1, 0.4, 0.3, 1.2, -0.4]))


def spatial_residual(q):
    return (hand_pose(q) - HAND_TARGET).ravel()


def wrist_height(q):
    return hand_pose(q)[2, 3:]


def distances(x, y, pairs):
    """Return the distances of pairs of points with coordinates x and y."""
    return np.sqrt((x[pairs[0]] - x[pairs[1]]) ** 2 + (y[pairs[0]] - y[pairs[1]]) ** 2)


ANCHORS = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
K12 = np.arange(12.0)
SENSORS = np.stack([0.5 + 0.43 * np.sin(2.4 * K12 + 0.3), 0.5 + 0.43 * np.cos(4.1 * K12 + 0.9)])
PLACES = np.concatenate([SENSORS, ANCHORS], axis=1)
PAIRS = np.array([(i, j) for i in range(12) for j in range(i + 1, 16)]).T
PAIRS = PAIRS[:, np.argsort(distances(*PLACES, PAIRS))[:60]]
NEAR, FAR = PAIRS[:, :40], PAIRS[:, 40:]
RANGE = distances(*PLACES, NEAR)[-1]
NEAR_MEASURED = distances(*PLACES, NEAR) + 0.03 * np.sin(7.0 * np.arange(40.0))


def sensor_residual(p):
    x, y = np.concatenate([p[:12], ANCHORS[0]]), np.concatenate([p[12:], ANCHORS[1]])
    return distances(x, y, NEAR) - NEAR_MEASURED


def sensors_apart(p):
    x, y = np.concatenate([p[:12], ANCHORS[0]]), np.concatenate([p[12:], ANCHORS[1]])
    return (x[FAR[0]] - x[FAR[1]]) ** 2 + (y[FAR[0]] - y[FAR[1]]) ** 2


K10 = np.arange(10.0)
HELIX = np.stack([2.3 * np.cos(1.75 * K10), 2.3 * np.sin(1.75 * K10), 1.5 * K10])  # angstrom: an alpha helix


def squares(p, pairs):
    """Return the squared distances of pairs of atoms; p holds all x, then all y, then all z."""
    atoms = p.reshape(3, 10)
    return np.sum((atoms[:, pairs[0]] - atoms[:, pairs[1]]) ** 2, axis=0)


BONDS = np.array([(k, k + 1) for k in range(9)]).T
OTHERS = np.array([(i, j) for i in range(10) for j in range(i + 2, 10)]).T
OTHERS = OTHERS[:, np.argsort(squares(HELIX.ravel(), OTHERS), kind="stable")]
CLOSE, MEASURED = OTHERS[:, :6], OTHERS[:, 6:31]
HELD = np.concatenate([BONDS, CLOSE], axis=1)
HELD_SQUARES = squares(HELIX.ravel(), HELD)
ATOM_DISTANCES = np.sqrt(squares(HELIX.ravel(), MEASURED)) - 0.25 + 0.2 * np.cos(5.0 * np.arange(25.0))


def molecule_residual(p):
    return np.sqrt(squares(p, MEASURED)) - ATOM_DISTANCES


def problems():
    """Yield the problems."""
    source, limit = "inverse kinematics", np.array([1.7, 1.0, 1.0, 0.6])
    start, floor = [0.1, 0.1, 0.1, 0.1], [planar_floor, 0.5, INF]
    yield make("arm_planar_limits", source, planar_residual, start, *floor, lb=-limit, ub=limit)
    low, high = np.radians([-160, -225, -45, -110, -100, -266]), np.radians([160, 45, 225, 170, 100, 266])
    ceiling = HAND_TARGET[2, 3] - 0.05
    start = [0.0, -0.5, 0.3, 0.1, 0.5, 0.1]
    yield make("arm_spatial_limits", source, spatial_residual, start, wrist_height, -INF, ceiling, lb=low, ub=high)
    source, grid = "distance geometry", np.linspace(0.1, 0.9, 4)
    start = np.concatenate([np.tile(grid, 3), np.repeat(grid[:3], 4)])
    start = 0.5 * (start + SENSORS.ravel())
    yield make("sensor_network", source, sensor_residual, start, sensors_apart, RANGE**2, INF, lb=0.0, ub=1.0)
    upper = np.where(np.arange(15) < 9, HELD_SQUARES, INF)
    first = np.zeros((3, 10), dtype=bool)
    first[:, 0] = True
    lb, ub = np.where(first, HELIX, -INF).ravel(), np.where(first, HELIX, INF).ravel()
    start = (HELIX + 0.6 * np.sin(np.arange(30.0).reshape(3, 10) ** 2)).ravel()
    bonds = {"cl": HELD_SQUARES, "cu": upper, "lb": lb, "ub": ub}
    yield make("molecule_distances", source, molecule_residual, start, lambda p: squares(p, HELD), **bonds)
