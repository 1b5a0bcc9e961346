r"""The More-Garbow-Hillstrom problems of fixed dimension, n <= 11.

Every pair ``name_residual(x) -> r, shape (m,)`` and ``name_jacobian(x) -> J, shape (m, n)`` follows the problem
of that number in section 3 of [1]_; J is exact. Where the problem fits data, r = model - data, which may be the
negative of the published function. Two formulas need a word:

- Gulf research (11) is misprinted in [1]_; r_i = exp(-|y_i - x_2|^{x_3} / x_1) - t_i is meant, whose minimum
  at (50, 25, 1.5) is the published one. It is written with (d^2)^{x_3/2} = |d|^{x_3}, which is analytic.
- Helical valley (7) measures the angle from -1/4 to 3/4 of a turn, with the cut along the negative x_2 axis.

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981.
"""

import numpy as np


def rosenbrock_residual(x):
    """Return r of problem 1."""
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def rosenbrock_jacobian(x):
    """Return J of problem 1."""
    return np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]])


def freudenstein_roth_residual(x):
    """Return r of problem 2."""
    a, b = x[0], x[1]
    return np.array([-13.0 + a + ((5.0 - b) * b - 2.0) * b, -29.0 + a + ((b + 1.0) * b - 14.0) * b])


def freudenstein_roth_jacobian(x):
    """Return J of problem 2."""
    b = x[1]
    return np.array([[1.0, (10.0 - 3.0 * b) * b - 2.0], [1.0, (3.0 * b + 2.0) * b - 14.0]])


def powell_badly_scaled_residual(x):
    """Return r of problem 3."""
    return np.array([1e4 * x[0] * x[1] - 1.0, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001])


def powell_badly_scaled_jacobian(x):
    """Return J of problem 3."""
    return np.array([[1e4 * x[1], 1e4 * x[0]], [-np.exp(-x[0]), -np.exp(-x[1])]])


def brown_badly_scaled_residual(x):
    """Return r of problem 4."""
    return np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2.0])


def brown_badly_scaled_jacobian(x):
    """Return J of problem 4."""
    return np.array([[1.0, 0.0], [0.0, 1.0], [x[1], x[0]]])


BEALE_Y = np.array([1.5, 2.25, 2.625])
BEALE_POWER = np.array([1.0, 2.0, 3.0])


def beale_residual(x):
    """Return r of problem 5."""
    return x[0] * (1.0 - np.array([x[1], x[1] ** 2, x[1] ** 3])) - BEALE_Y


def beale_jacobian(x):
    """Return J of problem 5."""
    power = np.array([x[1], x[1] ** 2, x[1] ** 3])
    lower = np.array([np.ones_like(x[1]), x[1], x[1] ** 2])
    return np.stack([1.0 - power, -x[0] * BEALE_POWER * lower], axis=1)


JENNRICH_I = np.arange(1.0, 11.0)


def jennrich_sampson_residual(x):
    """Return r of problem 6, m = 10."""
    return 2.0 + 2.0 * JENNRICH_I - (np.exp(JENNRICH_I * x[0]) + np.exp(JENNRICH_I * x[1]))


def jennrich_sampson_jacobian(x):
    """Return J of problem 6, m = 10."""
    return -JENNRICH_I[:, np.newaxis] * np.exp(np.outer(JENNRICH_I, x))


def helical_valley_residual(x):
    """Return r of problem 7."""
    turn = np.arctan2(x[1], x[0]) / (2.0 * np.pi)
    turn = np.where(turn < -0.25, turn + 1.0, turn)
    return np.array([10.0 * (x[2] - 10.0 * turn), 10.0 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1.0), x[2]])


def helical_valley_jacobian(x):
    """Return J of problem 7."""
    square = x[0] ** 2 + x[1] ** 2
    turn, radius = 100.0 / (2.0 * np.pi * square), 10.0 / np.sqrt(square)
    return np.array([[turn * x[1], -turn * x[0], 10.0], [radius * x[0], radius * x[1], 0.0], [0.0, 0.0, 1.0]])


BARD_Y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
BARD_U = np.arange(1.0, 16.0)
BARD_V = 16.0 - BARD_U
BARD_W = np.minimum(BARD_U, BARD_V)


def bard_residual(x):
    """Return r of problem 8, m = 15."""
    return x[0] + BARD_U / (BARD_V * x[1] + BARD_W * x[2]) - BARD_Y


def bard_jacobian(x):
    """Return J of problem 8, m = 15."""
    slope = -BARD_U / (BARD_V * x[1] + BARD_W * x[2]) ** 2
    return np.stack([np.ones_like(slope), slope * BARD_V, slope * BARD_W], axis=1)


GAUSSIAN_HALF = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
GAUSSIAN_Y = np.array([*GAUSSIAN_HALF, 0.3989, *reversed(GAUSSIAN_HALF)])
GAUSSIAN_T = (8.0 - np.arange(1.0, 16.0)) / 2.0


def gaussian_residual(x):
    """Return r of problem 9, m = 15."""
    return x[0] * np.exp(-x[1] * (GAUSSIAN_T - x[2]) ** 2 / 2.0) - GAUSSIAN_Y


def gaussian_jacobian(x):
    """Return J of problem 9, m = 15."""
    d = GAUSSIAN_T - x[2]
    bell = np.exp(-x[1] * d**2 / 2.0)
    return np.stack([bell, -x[0] * bell * d**2 / 2.0, x[0] * bell * x[1] * d], axis=1)


MEYER_Y = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872], dtype=float
)
MEYER_T = 45.0 + 5.0 * np.arange(1.0, 17.0)


def meyer_residual(x):
    """Return r of problem 10, m = 16."""
    return x[0] * np.exp(x[1] / (MEYER_T + x[2])) - MEYER_Y


def meyer_jacobian(x):
    """Return J of problem 10, m = 16."""
    d = MEYER_T + x[2]
    growth = np.exp(x[1] / d)
    return np.stack([growth, x[0] * growth / d, -x[0] * growth * x[1] / d**2], axis=1)


GULF_T = np.arange(1.0, 100.0) / 100.0
GULF_Y = 25.0 + (-50.0 * np.log(GULF_T)) ** (2.0 / 3.0)


def gulf_residual(x):
    """Return r of problem 11, m = 99."""
    power = ((GULF_Y - x[1]) ** 2) ** (x[2] / 2.0)
    return np.exp(-power / x[0]) - GULF_T


def gulf_jacobian(x):
    """Return J of problem 11, m = 99."""
    d = GULF_Y - x[1]
    power = (d**2) ** (x[2] / 2.0)
    slope = -np.exp(-power / x[0]) * power / x[0]
    return np.stack([-slope / x[0], -slope * x[2] / d, slope * np.log(d**2) / 2.0], axis=1)


BOX_T = 0.1 * np.arange(1.0, 11.0)
BOX_C = np.exp(-BOX_T) - np.exp(-10.0 * BOX_T)


def box_residual(x):
    """Return r of problem 12, m = 10."""
    return np.exp(-BOX_T * x[0]) - np.exp(-BOX_T * x[1]) - x[2] * BOX_C


def box_jacobian(x):
    """Return J of problem 12, m = 10."""
    return np.stack([-BOX_T * np.exp(-BOX_T * x[0]), BOX_T * np.exp(-BOX_T * x[1]), -BOX_C], axis=1)


def wood_residual(x):
    """Return r of problem 14, m = 6."""
    return np.array(
        [
            10.0 * (x[1] - x[0] ** 2),
            1.0 - x[0],
            np.sqrt(90.0) * (x[3] - x[2] ** 2),
            1.0 - x[2],
            np.sqrt(10.0) * (x[1] + x[3] - 2.0),
            (x[1] - x[3]) / np.sqrt(10.0),
        ]
    )


def wood_jacobian(x):
    """Return J of problem 14, m = 6."""
    root10, root90 = np.sqrt(10.0), np.sqrt(90.0)
    return np.array(
        [
            [-20.0 * x[0], 10.0, 0.0, 0.0],
            [-1.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, -2.0 * root90 * x[2], root90],
            [0.0, 0.0, -1.0, 0.0],
            [0.0, root10, 0.0, root10],
            [0.0, 1.0 / root10, 0.0, -1.0 / root10],
        ]
    )


KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


def kowalik_osborne_residual(x):
    """Return r of problem 15, m = 11."""
    u = KOWALIK_U
    return x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3]) - KOWALIK_Y


def kowalik_osborne_jacobian(x):
    """Return J of problem 15, m = 11."""
    u = KOWALIK_U
    top, bottom = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    slope = -x[0] * top / bottom**2
    return np.stack([top / bottom, x[0] * u / bottom, slope * u, slope], axis=1)


BROWN_DENNIS_T = np.arange(1.0, 21.0) / 5.0


def brown_dennis_residual(x):
    """Return r of problem 16, m = 20."""
    t = BROWN_DENNIS_T
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + np.sin(t) * x[3] - np.cos(t)) ** 2


def brown_dennis_jacobian(x):
    """Return J of problem 16, m = 20."""
    t = BROWN_DENNIS_T
    first = 2.0 * (x[0] + t * x[1] - np.exp(t))
    second = 2.0 * (x[2] + np.sin(t) * x[3] - np.cos(t))
    return np.stack([first, first * t, second, second * np.sin(t)], axis=1)


OSBORNE1_Y = np.array(
    """.844 .908 .932 .936 .925 .908 .881 .850 .818 .784 .751 .718 .685 .658 .628 .603 .580 .558 .538 .522 .506
    .490 .478 .467 .457 .448 .438 .431 .424 .420 .414 .411 .406""".split(),
    dtype=float,
)
OSBORNE1_T = 10.0 * np.arange(33.0)


def osborne1_residual(x):
    """Return r of problem 17, m = 33."""
    return x[0] + x[1] * np.exp(-OSBORNE1_T * x[3]) + x[2] * np.exp(-OSBORNE1_T * x[4]) - OSBORNE1_Y


def osborne1_jacobian(x):
    """Return J of problem 17, m = 33."""
    t = OSBORNE1_T
    slow, fast = np.exp(-t * x[3]), np.exp(-t * x[4])
    return np.stack([np.ones_like(slow), slow, fast, -x[1] * t * slow, -x[2] * t * fast], axis=1)


BIGGS_T = 0.1 * np.arange(1.0, 14.0)
BIGGS_Y = np.exp(-BIGGS_T) - 5.0 * np.exp(-10.0 * BIGGS_T) + 3.0 * np.exp(-4.0 * BIGGS_T)


def biggs_residual(x):
    """Return r of problem 18, m = 13."""
    t = BIGGS_T
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - BIGGS_Y


def biggs_jacobian(x):
    """Return J of problem 18, m = 13."""
    t = BIGGS_T
    a, b, c = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    return np.stack([-x[2] * t * a, x[3] * t * b, a, -b, -x[5] * t * c, c], axis=1)


OSBORNE2_Y = np.array(
    """1.366 1.191 1.112 1.013 .991 .885 .831 .847 .786 .725 .746 .679 .608 .655 .616 .606 .602 .626 .651 .724 .649
    .649 .694 .644 .624 .661 .612 .558 .533 .495 .500 .423 .395 .375 .372 .391 .396 .405 .428 .429 .523 .562 .607
    .653 .672 .708 .633 .668 .645 .632 .591 .559 .597 .625 .739 .710 .729 .720 .636 .581 .428 .292 .162 .098
    .054""".split(),
    dtype=float,
)
OSBORNE2_T = np.arange(65.0) / 10.0


def osborne2_residual(x):
    """Return r of problem 19, m = 65."""
    t = OSBORNE2_T
    return (
        x[0] * np.exp(-t * x[4])
        + x[1] * np.exp(-((t - x[8]) ** 2) * x[5])
        + x[2] * np.exp(-((t - x[9]) ** 2) * x[6])
        + x[3] * np.exp(-((t - x[10]) ** 2) * x[7])
        - OSBORNE2_Y
    )


def osborne2_jacobian(x):
    """Return J of problem 19, m = 65."""
    t = OSBORNE2_T[:, np.newaxis]
    decay = np.exp(-t * x[4])
    d = t - x[8:11]  # (65, 3), one column a peak
    peaks = np.exp(-(d**2) * x[5:8])
    height = x[1:4] * peaks
    return np.concatenate([decay, peaks, -x[0] * t * decay, -height * d**2, 2.0 * height * x[5:8] * d], axis=1)
