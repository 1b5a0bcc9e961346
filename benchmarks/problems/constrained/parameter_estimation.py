r"""Rates of reactions and populations estimated from measurements, with the differential equations collocated.

States at the ends of all steps are variables beside the parameters; every step keeps Simpson's rule with the middle
point that Hermite's cubic gives:

    y_{k+1} - y_k = h/6 (f_k + 4 f_m + f_{k+1}),      y_m = (y_k + y_{k+1}) / 2 + h/8 (f_k - f_{k+1}).

    lotka_volterra      prey and predators, initial states free, 20 intervals of two steps
    alpha_pinene        five substances and rates [1]_, three steps an interval
    methanol            methanol to hydrocarbons, two steps an interval
    catalytic_cracking  gas oil, two steps an interval

The last three are those of COPS [2]_ with another collocation. COPS prints the minima 19.872 and 5.2366e-3 of the
sums of squares of alpha_pinene and catalytic_cracking, which agree. Its equation of methanol is misprinted: with
2 theta_1 in place of 2 theta_2 mass is kept, and the parameters that others report, (5.24, 1.22, 0, 0, 0), result.
Starts are those of COPS in kind: parameters 0, or 1 for methanol and cracking, and states interpolated from the data.

References
----------
.. [1] G. E. P. Box, W. G. Hunter, J. F. MacGregor and J. Erjavec, "Some problems associated with the analysis of
   multiresponse data", Technometrics 15, 33-51, 1973.
.. [2] E. D. Dolan, J. J. More and T. S. Munson, Benchmarking Optimization Software with COPS 3.0, ANL/MCS-TM-273,
   2004, problems 7 to 9.
"""

import numpy as np

from .problem import make

__all__ = ["problems"]

INF = np.inf


def defects(rates, theta, y, h):
    """Return how far the rule of the module is from holding, shape (states * steps,); y is (states, steps + 1)."""
    left, right = y[:, :-1], y[:, 1:]
    f_left, f_right = rates(left, theta), rates(right, theta)
    middle = 0.5 * (left + right) + 0.125 * h * (f_left - f_right)
    return (right - left - h / 6.0 * (f_left + 4.0 * rates(middle, theta) + f_right)).ravel()


def lotka_volterra(y, theta):
    return np.stack([theta[0] * y[0] - theta[1] * y[0] * y[1], theta[2] * y[0] * y[1] - theta[3] * y[1]])


def alpha_pinene(y, theta):
    third = theta[1] * y[0] - (theta[2] + theta[3]) * y[2] + theta[4] * y[4]
    last = theta[3] * y[2] - theta[4] * y[4]
    return np.stack([-(theta[0] + theta[1]) * y[0], theta[0] * y[0], third, theta[2] * y[2], last])


def methanol(y, theta):
    bottom = (theta[1] + theta[4]) * y[0] + y[1]
    first = -(2.0 * theta[0] - theta[0] * y[1] / bottom + theta[2] + theta[3]) * y[0]
    second = theta[0] * y[0] * (theta[1] * y[0] - y[1]) / bottom + theta[2] * y[0]
    third = theta[0] * y[0] * (y[1] + theta[4] * y[0]) / bottom + theta[3] * y[0]
    return np.stack([first, second, third])


def catalytic_cracking(y, theta):
    return np.stack([-(theta[0] + theta[2]) * y[0] ** 2, theta[0] * y[0] ** 2 - theta[1] * y[1]])


ALPHA_T = np.array([1230.0, 3060.0, 4920.0, 7800.0, 10680.0, 15030.0, 22620.0, 36420.0])
ALPHA_Y = np.array(
    [
        [88.35, 76.4, 65.1, 50.4, 37.5, 25.9, 14.0, 4.5],
        [7.3, 15.6, 23.1, 32.9, 42.7, 49.1, 57.4, 63.1],
        [2.3, 4.5, 5.3, 6.0, 6.0, 5.9, 5.1, 3.8],
        [0.4, 0.7, 1.1, 1.5, 1.9, 2.2, 2.6, 2.9],
        [1.75, 2.8, 5.8, 9.3, 12.0, 17.0, 21.0, 25.7],
    ]
)
METHANOL_T = np.array(
    [
        *(0.050, 0.065, 0.080, 0.123, 0.233, 0.273, 0.354, 0.397),
        *(0.418, 0.502, 0.553, 0.681, 0.750, 0.916, 0.937, 1.122),
    ]
)
METHANOL_Y = 0.001 * np.array(
    [
        [461, 426, 383, 305, 195, 170, 139, 112, 112, 90, 82, 66, 53, 43, 41, 25],
        [114, 135, 157, 194, 231, 234, 228, 228, 226, 220, 214, 178, 188, 183, 184, 166],
        [18, 35, 45, 47, 84, 95, 111, 134, 168, 148, 157, 206, 206, 214, 213, 230],
    ]
)
CRACKING_T = np.array(
    [
        *(0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25),
        *(0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.65, 0.75, 0.85, 0.95),
    ]
)
CRACKING_Y = 0.0001 * np.array(
    [
        *(8105, 6208, 5258, 4345, 3903, 3342, 3034, 2735, 2405, 2283),
        *(2071, 1669, 1530, 1339, 1265, 1200, 990, 870, 770, 690),
        *(2000, 2886, 3010, 3215, 3123, 2716, 2551, 2258, 1959, 1789),
        *(1457, 1198, 909, 719, 561, 460, 280, 190, 140, 100),
    ]
).reshape(2, 20)


def estimation(name, source, rates, times, data, first, theta0, each, with_start=False):
    """Return the problem of parameters theta >= 0 and states that begin at `first`, with `each` steps an interval."""
    first, n_theta = np.array(first), len(theta0)
    nodes = np.concatenate([[0.0], times])
    grid = np.interp(np.arange(each * times.size + 1) / each, np.arange(nodes.size), nodes)
    h, measured = np.diff(grid), slice(0 if with_start else each, None, each)
    if with_start:
        data = np.concatenate([first[:, np.newaxis], data], axis=1)
    shape = (first.size, grid.size)
    known = np.concatenate([first[:, np.newaxis], data[:, -times.size :]], axis=1)
    states = np.stack([np.interp(grid, nodes, row) for row in known])

    def residual(z):
        y = z[n_theta:].reshape(shape)
        return (y[:, measured] - data).ravel()

    def constraints(z):
        theta, y = z[:n_theta], z[n_theta:].reshape(shape)
        return np.concatenate([y[:, 0] - first, defects(rates, theta, y, h)])

    x0 = np.concatenate([theta0, states.ravel()])
    lb = np.concatenate([np.zeros(n_theta), np.full(states.size, -INF)])
    return make(name, source, residual, x0, constraints, lb=lb)


def lotka_volterra_problem():
    steps, h = 40, 0.25
    t = 0.5 * np.arange(21.0)
    data = np.stack(
        [
            2.2 + 1.5 * np.cos(1.3 * t) + 0.15 * np.sin(5.0 * t),
            1.6 + 1.0 * np.sin(1.3 * t) + 0.15 * np.cos(7.0 * t),
        ]
    )

    def residual(z):
        return (z[4:].reshape(2, steps + 1)[:, ::2] - data).ravel()

    def constraints(z):
        return defects(lotka_volterra, z[:4], z[4:].reshape(2, steps + 1), h)

    states = np.stack([np.interp(h * np.arange(steps + 1.0), t, row) for row in data])
    x0 = np.concatenate([np.ones(4), states.ravel()])
    lb = np.concatenate([np.zeros(4), np.full(2 * (steps + 1), 1e-3)])
    return make("lotka_volterra", "ODE estimation, collocated", residual, x0, constraints, lb=lb, ub=20.0)


def problems():
    """Yield the problems."""
    yield lotka_volterra_problem()
    first = [100.0, 0.0, 0.0, 0.0, 0.0]
    source = "BHME 1973; COPS 3"
    yield estimation("alpha_pinene", source, alpha_pinene, ALPHA_T, ALPHA_Y, first, np.zeros(5), 3)
    first = [1.0, 0.0, 0.0]
    yield estimation("methanol", "COPS 3", methanol, METHANOL_T, METHANOL_Y, first, np.ones(5), 2)
    rates, first = catalytic_cracking, [1.0, 0.0]
    yield estimation(rates.__name__, "COPS 3", rates, CRACKING_T, CRACKING_Y, first, np.ones(3), 2, with_start=True)
