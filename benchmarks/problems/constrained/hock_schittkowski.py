r"""Hock and Schittkowski's problems whose objective is a sum of squares.

Each entry is r(x), the start, c(x), the limits of c, the bounds and the published minimum of the objective. Where
the book's objective is a sum of squares less a constant (a quadratic that completes to squares: 11, 21, 43, 61, 113),
the constant is added to the published value: r'r = f + constant. Rosenbrock's function is that of HS1, 2, 15-17, 20.

References
----------
.. [1] W. Hock and K. Schittkowski, Test Examples for Nonlinear Programming Codes, Lecture Notes in Economics and
   Mathematical Systems 187, Springer, 1981.
"""

import numpy as np

from .. import mgh_small
from .hock_schittkowski_fits import hs25_residual, hs57_residual, hs70_residual
from .problem import make

__all__ = ["problems"]

INF = np.inf
SQRT2 = np.sqrt(2.0)


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def hs13_constraints(x):
    return np.array([(1.0 - x[0]) ** 3 - x[1]])


def hs15_constraints(x):
    return np.array([x[0] * x[1] - 1.0, x[0] + x[1] ** 2])


def hs16_constraints(x):
    return np.array([x[0] + x[1] ** 2, x[0] ** 2 + x[1]])


def hs17_constraints(x):
    return np.array([x[1] ** 2 - x[0], x[0] ** 2 - x[1]])


def hs21_constraints(x):
    return np.array([10.0 * x[0] - x[1] - 10.0])


def hs22_constraints(x):
    return np.array([2.0 - x[0] - x[1], x[1] - x[0] ** 2])


def hs30_constraints(x):
    return np.array([x[0] ** 2 + x[1] ** 2 - 1.0])


def hs31_constraints(x):
    return np.array([x[0] * x[1] - 1.0])


def hs51_constraints(x):
    return np.array([x[0] + 3.0 * x[1], x[2] + x[3] - 2.0 * x[4], x[1] - x[4]])


def hs51_residual(x):
    return np.array([x[0] - x[1], x[1] + x[2] - 2.0, x[3] - 1.0, x[4] - 1.0])


def hs52_residual(x):
    return np.array([4.0 * x[0] - x[1], x[1] + x[2] - 2.0, x[3] - 1.0, x[4] - 1.0])


def hs(number, residual, x0, constraints=None, cl=0.0, cu=0.0, *, published, **bounds):
    """Return problem `number` of the book."""
    return make(f"hs{number}", f"HS {number}", residual, x0, constraints, cl, cu, published=published, **bounds)


def problems():
    """Yield the problems in the order of the book."""
    yield from _two_variables()
    yield from _three_variables()
    yield from _four_variables()
    yield from _five_and_more()
    yield from _fits()


def _two_variables():
    yield hs(1, rosenbrock, [-2.0, 1.0], lb=[-INF, -1.5], published=0.0)
    yield hs(2, rosenbrock, [-2.0, 1.0], lb=[-INF, 1.5], published=0.0504261879)
    yield hs(6, lambda x: np.array([1.0 - x[0]]), [-1.2, 1.0], lambda x: 10.0 * (x[1:] - x[:1] ** 2), published=0.0)
    target = np.array([5.0, 0.0])
    yield hs(11, lambda x: x - target, [4.9, 0.1], lambda x: x[1:] - x[:1] ** 2, 0.0, INF, published=25 - 8.498464223)
    corner = np.array([2.0, 0.0])
    yield hs(13, lambda x: x - corner, [-2.0, -2.0], hs13_constraints, 0.0, INF, lb=0.0, published=1.0)
    yield hs(
        14,
        lambda x: x - np.array([2.0, 1.0]),
        [2.0, 2.0],
        lambda x: np.array([x[0] - 2.0 * x[1] + 1.0, 1.0 - 0.25 * x[0] ** 2 - x[1] ** 2]),
        cu=[0.0, INF],
        published=9.0 - 2.875 * np.sqrt(7.0),
    )
    start, both = [-2.0, 1.0], {"cl": 0.0, "cu": INF}
    yield hs(15, rosenbrock, start, hs15_constraints, **both, ub=[0.5, INF], published=306.5)
    box = {"lb": [-0.5, -INF], "ub": [0.5, 1.0]}
    yield hs(16, rosenbrock, start, hs16_constraints, **both, **box, published=0.25)
    yield hs(17, rosenbrock, start, hs17_constraints, **both, **box, published=1.0)
    yield hs(
        18,
        lambda x: np.array([0.1 * x[0], x[1]]),
        [2.0, 2.0],
        lambda x: np.array([x[0] * x[1] - 25.0, x[0] ** 2 + x[1] ** 2 - 25.0]),
        **both,
        lb=[2.0, 0.0],
        ub=50.0,
        published=5.0,
    )
    yield hs(
        20,
        rosenbrock,
        start,
        lambda x: np.array([x[0] + x[1] ** 2, x[0] ** 2 + x[1], x[0] ** 2 + x[1] ** 2 - 1.0]),
        **both,
        lb=[-0.5, -INF],
        ub=[0.5, INF],
        published=81.5 - 25.0 * np.sqrt(3.0),
    )
    box = {"lb": [2.0, -50.0], "ub": [50.0, 50.0]}
    yield hs(21, lambda x: np.array([0.1, 1.0]) * x, [-1.0, -1.0], hs21_constraints, **both, **box, published=0.04)
    yield hs(22, lambda x: x - np.array([2.0, 1.0]), [2.0, 2.0], hs22_constraints, **both, published=1.0)
    yield hs(
        23,
        lambda x: 1.0 * x,
        [3.0, 1.0],
        lambda x: np.array(
            [
                x[0] + x[1] - 1.0,
                x[0] ** 2 + x[1] ** 2 - 1.0,
                9.0 * x[0] ** 2 + x[1] ** 2 - 9.0,
                x[0] ** 2 - x[1],
                x[1] ** 2 - x[0],
            ]
        ),
        **both,
        lb=-50.0,
        ub=50.0,
        published=2.0,
    )


def _three_variables():
    yield hs(
        26,
        lambda x: np.array([x[0] - x[1], (x[1] - x[2]) ** 2]),
        [-2.6, 2.0, 2.0],
        lambda x: np.array([(1.0 + x[1] ** 2) * x[0] + x[2] ** 4 - 3.0]),
        published=0.0,
    )
    yield hs(
        27,
        lambda x: np.array([0.1 * (x[0] - 1.0), x[1] - x[0] ** 2]),
        [2.0, 2.0, 2.0],
        lambda x: np.array([x[0] + x[2] ** 2 + 1.0]),
        published=0.04,
    )
    yield hs(
        28,
        lambda x: x[:-1] + x[1:],
        [-4.0, 1.0, 1.0],
        lambda x: np.array([x[0] + 2.0 * x[1] + 3.0 * x[2] - 1.0]),
        published=0.0,
    )
    box = {"lb": [1.0, -10.0, -10.0], "ub": 10.0}
    yield hs(30, lambda x: 1.0 * x, [1.0, 1.0, 1.0], hs30_constraints, 0.0, INF, **box, published=1.0)
    box = {"lb": [-10.0, 1.0, -10.0], "ub": [10.0, 10.0, 1.0]}
    weights = np.array([3.0, 1.0, 3.0])
    yield hs(31, lambda x: weights * x, [1.0, 1.0, 1.0], hs31_constraints, 0.0, INF, **box, published=6.0)
    yield hs(
        32,
        lambda x: np.array([x[0] + 3.0 * x[1] + x[2], 2.0 * (x[0] - x[1])]),
        [0.1, 0.7, 0.2],
        lambda x: np.array([1.0 - x[0] - x[1] - x[2], 6.0 * x[1] + 4.0 * x[2] - x[0] ** 3 - 3.0]),
        cu=[0.0, INF],
        lb=0.0,
        published=1.0,
    )
    yield hs(
        35,
        lambda x: np.array([x[0] + x[1] - 2.0, x[0] + x[2] - 2.0, x[1] - 1.0]),
        [0.5, 0.5, 0.5],
        lambda x: np.array([3.0 - x[0] - x[1] - 2.0 * x[2]]),
        0.0,
        INF,
        lb=0.0,
        published=1.0 / 9.0,
    )
    yield hs(
        60,
        lambda x: np.array([x[0] - 1.0, x[0] - x[1], (x[1] - x[2]) ** 2]),
        [2.0, 2.0, 2.0],
        lambda x: np.array([x[0] * (1.0 + x[1] ** 2) + x[2] ** 4 - 4.0 - 3.0 * SQRT2]),
        lb=-10.0,
        ub=10.0,
        published=0.03256820025,
    )
    constant = 4.0 * (33.0 / 8.0) ** 2 + 2.0 * 4.0**2 + 2.0 * 6.0**2
    yield hs(
        61,
        lambda x: np.array([2.0 * (x[0] - 33.0 / 8.0), SQRT2 * (x[1] + 4.0), SQRT2 * (x[2] - 6.0)]),
        [0.0, 0.0, 0.0],
        lambda x: np.array([3.0 * x[0] - 2.0 * x[1] ** 2 - 7.0, 4.0 * x[0] - x[2] ** 2 - 11.0]),
        published=constant - 143.6461422,
    )
    yield hs(
        65,
        lambda x: np.array([x[0] - x[1], (x[0] + x[1] - 10.0) / 3.0, x[2] - 5.0]),
        [-5.0, 5.0, 0.0],
        lambda x: np.array([48.0 - x[0] ** 2 - x[1] ** 2 - x[2] ** 2]),
        0.0,
        INF,
        lb=[-4.5, -4.5, -5.0],
        ub=[4.5, 4.5, 5.0],
        published=0.9535288567,
    )


def _four_variables():
    yield hs(38, mgh_small.wood_residual, [-3.0, -1.0, -3.0, -1.0], lb=-10.0, ub=10.0, published=0.0)
    yield hs(
        42,
        lambda x: x - np.array([1.0, 2.0, 3.0, 4.0]),
        [1.0, 1.0, 1.0, 1.0],
        lambda x: np.array([x[0] - 2.0, x[2] ** 2 + x[3] ** 2 - 2.0]),
        published=28.0 - 10.0 * SQRT2,
    )
    weights, center = np.sqrt([1.0, 1.0, 2.0, 1.0]), np.array([2.5, 2.5, 5.25, -3.5])
    yield hs(
        43,
        lambda x: weights * (x - center),
        [0.0, 0.0, 0.0, 0.0],
        lambda x: np.array(
            [
                8.0 - x @ x - x[0] + x[1] - x[2] + x[3],
                10.0 - x[0] ** 2 - 2.0 * x[1] ** 2 - x[2] ** 2 - 2.0 * x[3] ** 2 + x[0] + x[3],
                5.0 - 2.0 * x[0] ** 2 - x[1] ** 2 - x[2] ** 2 - 2.0 * x[0] + x[1] + x[3],
            ]
        ),
        0.0,
        INF,
        published=79.875 - 44.0,
    )


def _five_and_more():
    yield hs(
        46,
        lambda x: np.array([x[0] - x[1], x[2] - 1.0, (x[3] - 1.0) ** 2, (x[4] - 1.0) ** 3]),
        [0.5 * SQRT2, 1.75, 0.5, 2.0, 2.0],
        lambda x: np.array([x[0] ** 2 * x[3] + np.sin(x[3] - x[4]) - 1.0, x[1] + x[2] ** 4 * x[3] ** 2 - 2.0]),
        published=0.0,
    )
    yield hs(
        48,
        lambda x: np.array([x[0] - 1.0, x[1] - x[2], x[3] - x[4]]),
        [3.0, 5.0, -3.0, 2.0, -2.0],
        lambda x: np.array([np.sum(x) - 5.0, x[2] - 2.0 * (x[3] + x[4]) + 3.0]),
        published=0.0,
    )
    yield hs(
        49,
        lambda x: np.array([x[0] - x[1], x[2] - 1.0, (x[3] - 1.0) ** 2, (x[4] - 1.0) ** 3]),
        [10.0, 7.0, 2.0, -3.0, 0.8],
        lambda x: np.array([x[0] + x[1] + x[2] + 4.0 * x[3] - 7.0, x[2] + 5.0 * x[4] - 6.0]),
        published=0.0,
    )
    yield hs(
        50,
        lambda x: np.array([x[0] - x[1], x[1] - x[2], (x[2] - x[3]) ** 2, x[3] - x[4]]),
        [35.0, -31.0, 11.0, 5.0, -5.0],
        lambda x: x[:3] + 2.0 * x[1:4] + 3.0 * x[2:] - 6.0,
        published=0.0,
    )
    limits = [4.0, 0.0, 0.0]
    yield hs(51, hs51_residual, [2.5, 0.5, 2.0, -1.0, 0.5], hs51_constraints, limits, limits, published=0.0)
    yield hs(52, hs52_residual, [2.0] * 5, hs51_constraints, published=1859.0 / 349.0)
    yield hs(53, hs51_residual, [2.0] * 5, hs51_constraints, lb=-10.0, ub=10.0, published=176.0 / 43.0)
    yield hs(
        77,
        lambda x: np.array([x[0] - 1.0, x[0] - x[1], x[2] - 1.0, (x[3] - 1.0) ** 2, (x[4] - 1.0) ** 3]),
        [2.0] * 5,
        lambda x: np.array(
            [
                x[0] ** 2 * x[3] + np.sin(x[3] - x[4]) - 2.0 * SQRT2,
                x[1] + x[2] ** 4 * x[3] ** 2 - 8.0 - SQRT2,
            ]
        ),
        published=0.24150513,
    )
    yield hs(
        79,
        lambda x: np.array([x[0] - 1.0, x[0] - x[1], x[1] - x[2], (x[2] - x[3]) ** 2, (x[3] - x[4]) ** 2]),
        [2.0] * 5,
        lambda x: np.array(
            [
                x[0] + x[1] ** 2 + x[2] ** 3 - 2.0 - 3.0 * SQRT2,
                x[1] - x[2] ** 2 + x[3] + 2.0 - 2.0 * SQRT2,
                x[0] * x[4] - 2.0,
            ]
        ),
        published=0.0787768209,
    )
    yield hs(
        113,
        hs113_residual,
        [2.0, 3.0, 5.0, 5.0, 1.0, 2.0, 7.0, 3.0, 6.0, 10.0],
        hs113_constraints,
        0.0,
        INF,
        published=24.3062091 + 31.0,
    )


HS113_WEIGHTS = np.sqrt([1.0, 4.0, 1.0, 2.0, 5.0, 7.0, 2.0, 1.0])
HS113_CENTER = np.array([10.0, 5.0, 3.0, 1.0, 0.0, 11.0, 10.0, 7.0])


def hs113_residual(x):
    a, b = x[0] - 4.0, x[1] - 6.0
    return np.concatenate([np.array([a + 0.5 * b, np.sqrt(0.75) * b]), HS113_WEIGHTS * (x[2:] - HS113_CENTER)])


def hs113_constraints(x):
    return np.array(
        [
            105.0 - 4.0 * x[0] - 5.0 * x[1] + 3.0 * x[6] - 9.0 * x[7],
            -10.0 * x[0] + 8.0 * x[1] + 17.0 * x[6] - 2.0 * x[7],
            8.0 * x[0] - 2.0 * x[1] - 5.0 * x[8] + 2.0 * x[9] + 12.0,
            -3.0 * (x[0] - 2.0) ** 2 - 4.0 * (x[1] - 3.0) ** 2 - 2.0 * x[2] ** 2 + 7.0 * x[3] + 120.0,
            -5.0 * x[0] ** 2 - 8.0 * x[1] - (x[2] - 6.0) ** 2 + 2.0 * x[3] + 40.0,
            -0.5 * (x[0] - 8.0) ** 2 - 2.0 * (x[1] - 4.0) ** 2 - 3.0 * x[4] ** 2 + x[5] + 30.0,
            -(x[0] ** 2) - 2.0 * (x[1] - 2.0) ** 2 + 2.0 * x[0] * x[1] - 14.0 * x[4] + 6.0 * x[5],
            3.0 * x[0] - 6.0 * x[1] - 12.0 * (x[8] - 8.0) ** 2 + 7.0 * x[9],
        ]
    )


def _fits():
    box = {"lb": [0.1, 0.0, 0.0], "ub": [100.0, 25.6, 5.0]}
    yield hs(25, hs25_residual, [100.0, 12.5, 3.0], **box, published=0.0)
    yield hs(
        57,
        hs57_residual,
        [0.42, 5.0],
        lambda x: np.array([0.49 * x[1] - x[0] * x[1] - 0.09]),
        0.0,
        INF,
        lb=[0.4, -4.0],
        published=0.02845966972,
    )
    yield hs(
        70,
        hs70_residual,
        [2.0, 4.0, 0.04, 2.0],
        lambda x: np.array([x[2] + (1.0 - x[2]) * x[3]]),
        0.0,
        INF,
        lb=1e-5,
        ub=[100.0, 100.0, 1.0, 100.0],
        published=0.007498464,
    )
