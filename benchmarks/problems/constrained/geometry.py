r"""Circles, ellipses, planes, rectangles and rotations fitted under constraints.

Distances to a circle are sqrt((x - a)^2 + (y - b)^2) - R; an ellipse is fitted by the points of Gander, Golub and
Strebel [1]_ with its algebraic equation under 4 A C - B^2 = 1 [2]_, and with distances whose feet are variables that
the ellipse holds; the sides of a rectangle share a unit normal [3]_; a rotation is a unit quaternion [4]_.

References
----------
.. [1] W. Gander, G. H. Golub and R. Strebel, "Least-squares fitting of circles and ellipses", BIT 34, 558-578, 1994.
   (Norm of the distances of the ellipse: 1.1719.)
.. [2] A. Fitzgibbon, M. Pilu and R. B. Fisher, "Direct least square fitting of ellipses", IEEE Transactions on
   Pattern Analysis and Machine Intelligence 21(5), 476-480, 1999.
.. [3] W. Gander and J. Hrebicek, Solving Problems in Scientific Computing using Maple and MATLAB, Springer, 1997,
   chapter 6.
.. [4] G. Wahba, "A least squares estimate of satellite attitude", SIAM Review 7(3), 409, 1965.
"""

import numpy as np

from .problem import make

__all__ = ["problems"]

INF = np.inf

ARC = np.linspace(0.3, 2.4, 12)
ARC_X = 3.0 + 2.0 * np.cos(ARC) + 0.05 * np.sin(17.0 * ARC)
ARC_Y = 2.0 + 2.0 * np.sin(ARC) + 0.05 * np.cos(23.0 * ARC)


def circle_residual(p):
    return np.sqrt((ARC_X - p[0]) ** 2 + (ARC_Y - p[1]) ** 2) - p[2]


def circle_through_point(p):
    return np.array([(5.1 - p[0]) ** 2 + (2.2 - p[1]) ** 2 - p[2] ** 2])


def circle_tangent_line(p):
    return np.array([p[1] - p[2]])


TURN = np.linspace(0.0, 6.0, 10)
LEFT_X, LEFT_Y = 1.5 * np.cos(TURN) + 0.06 * np.sin(9.0 * TURN), 1.5 * np.sin(TURN) + 0.06 * np.cos(7.0 * TURN)
RIGHT_X, RIGHT_Y = 4.2 + 2.4 * np.cos(TURN) + 0.05 * np.cos(8.0 * TURN), 0.5 + 2.4 * np.sin(TURN)


def two_circles_residual(p):
    left = np.sqrt((LEFT_X - p[0]) ** 2 + (LEFT_Y - p[1]) ** 2) - p[2]
    right = np.sqrt((RIGHT_X - p[3]) ** 2 + (RIGHT_Y - p[4]) ** 2) - p[5]
    return np.concatenate([left, right])


def tangent_circles(p):
    return np.array([(p[0] - p[3]) ** 2 + (p[1] - p[4]) ** 2 - (p[2] + p[5]) ** 2])


GGS_X = np.array([1.0, 2.0, 5.0, 7.0, 9.0, 3.0, 6.0, 8.0])
GGS_Y = np.array([7.0, 6.0, 8.0, 7.0, 5.0, 7.0, 2.0, 4.0])
CONIC = np.stack([GGS_X**2, GGS_X * GGS_Y, GGS_Y**2, GGS_X, GGS_Y, np.ones(8)], axis=1)


def feet(p):
    """Return the coordinates of the feet, which follow centre, half axes and angle."""
    return p[5:13], p[13:]


def feet_residual(p):
    u, v = feet(p)
    return np.concatenate([u - GGS_X, v - GGS_Y])


def feet_on_ellipse(p):
    u, v = feet(p)
    cos, sin = np.cos(p[4]), np.sin(p[4])
    along, across = cos * (u - p[0]) + sin * (v - p[1]), cos * (v - p[1]) - sin * (u - p[0])
    return (along / p[2]) ** 2 + (across / p[3]) ** 2 - 1.0


K10 = np.arange(10.0)
PLANE = np.stack(
    [np.cos(2.0 * K10), np.sin(3.0 * K10), 0.4 * np.cos(2.0 * K10) - 0.3 * np.sin(3.0 * K10) + 1.0], axis=1
)
PLANE = PLANE + 0.05 * np.sin(np.outer(K10, [5.0, 7.0, 11.0]))


def plane_residual(p):
    return PLANE @ p[:3] - p[3]


def unit_plane_normal(p):
    return np.array([p[:3] @ p[:3] - 1.0])


SIDE = np.linspace(0.1, 0.9, 5)
TILT = 0.4
CORNERS = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]])
ROTATION = np.array([[np.cos(TILT), np.sin(TILT)], [-np.sin(TILT), np.cos(TILT)]])
SIDES = [(1.0 - SIDE)[:, None] * CORNERS[k] + SIDE[:, None] * CORNERS[(k + 1) % 4] for k in range(4)]
SIDES = [(side + 0.04 * np.sin(9.0 * side[:, ::-1] + k)) @ ROTATION for k, side in enumerate(SIDES)]


def rectangle_residual(p):
    """Return the distances of the points of each side from it; p = (c1, ..., c4, n1, n2)."""
    normal, along = p[4:], np.array([-p[5], p[4]])
    normals = [along, normal, along, normal]
    return np.concatenate([SIDES[k] @ normals[k] + p[k] for k in range(4)])


def unit_side_normal(p):
    return np.array([p[4] ** 2 + p[5] ** 2 - 1.0])


STARS = np.array(
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8], [0.0, -0.8, 0.6], [0.48, 0.6, 0.64], [-0.8, 0.36, 0.48]]
).T
SEEN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]) @ STARS
SEEN = SEEN + 0.02 * np.cos(np.arange(18.0).reshape(3, 6) ** 2)


def rotation(q):
    """Return the rotation by a unit quaternion (w, x, y, z), shape (3, 3)."""
    w, x, y, z = q[0], q[1], q[2], q[3]
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), w * w - x * x + y * y - z * z, 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def wahba_residual(q):
    return (rotation(q) @ STARS - SEEN).ravel()


def unit_quaternion(q):
    return np.array([q @ q - 1.0])


def problems():
    """Yield the problems."""
    own, positive = "geometry (GGS 1994 for the distances)", [-INF, -INF, 1e-3]
    yield make("circle_through_point", own, circle_residual, [2.0, 2.0, 1.0], circle_through_point, lb=positive)
    yield make("circle_tangent_line", "geometry", circle_residual, [2.0, 2.0, 1.0], circle_tangent_line, lb=positive)
    start = [0.0, 0.0, 1.0, 5.0, 0.0, 1.0]
    yield make("two_tangent_circles", "geometry", two_circles_residual, start, tangent_circles, lb=positive * 2)
    yield make(
        "ellipse_fitzgibbon",
        "FPF 1999 normalisation, points of GGS 1994",
        lambda p: CONIC @ p,
        [1.0, 0.0, 1.0, -10.0, -12.0, 50.0],
        lambda p: np.array([4.0 * p[0] * p[2] - p[1] ** 2 - 1.0]),
    )
    yield make(
        "ellipse_orthogonal",
        "GGS 1994, distances with feet on the ellipse",
        feet_residual,
        np.concatenate([[5.0, 5.5, 4.0, 3.0, 0.0], GGS_X, GGS_Y]),
        feet_on_ellipse,
        lb=np.concatenate([[-INF, -INF, 0.1, 0.1], np.full(17, -INF)]),
        published=1.1719**2,
    )
    yield make("plane_orthogonal", "geometry, unit normal", plane_residual, [0.0, 0.0, 1.0, 0.0], unit_plane_normal)
    yield make("rectangle_fit", "GH 1997", rectangle_residual, [0.0, -4.0, -2.0, 0.0, 1.0, 0.0], unit_side_normal)
    start = [1.0, 0.0, 0.0, 0.0]
    yield make("wahba_quaternion", "Wahba 1965, unit quaternion", wahba_residual, start, unit_quaternion)
