r"""Optimal control, transcribed: states at N + 1 nodes and controls on N intervals are variables.

    minimise  1/2 int w'w dt     subject to     s_{k+1} - s_k = h/2 (f(s_k, u_k) + f(s_{k+1}, u_k)),   limits

The trapezoidal rule holds on every interval [1]_. Variables are ordered by quantity: all nodes of the first state,
then of the second, ..., then the controls. Starts are straight lines between the given ends, with zero controls.

    car_parking        a point mass, |u| <= 1.2, |v| <= 1.5, from 0 to 4 in 5 s, at rest at both ends; least u^2
    van_der_pol        x1' = (1 - x2^2) x1 - x2 + u, x2' = x1, |u| <= 1, x1 >= -0.25, 5 s [2]_; x1^2 + x2^2 + u^2
    cart_pole          swing-up in 2 s, |u| <= 20, |position| <= 2 [1]_; least u^2
    pendulum_swing_up  torque at most 4 of the 9.81 that hold it; 5 s; least u^2
    unicycle_obstacle  around a disk; least (v - 1)^2 + omega^2
    rocket_landing     thrust along the body, 5 s, to rest at the origin; least thrust^2 + torque^2

References
----------
.. [1] M. Kelly, "An introduction to trajectory optimization: how to do your own direct collocation", SIAM Review
   59(4), 849-904, 2017, sections 3 and 6, appendix E.1.
.. [2] The path and control limits are those that CasADi's examples use.
"""

import numpy as np

from .problem import make

__all__ = ["problems"]

INF = np.inf
GRAVITY = 9.81


def split(z, n_states, n_controls, steps):
    """Return the states (n_states, steps + 1) and the controls (n_controls, steps)."""
    cut = n_states * (steps + 1)
    return z[:cut].reshape(n_states, steps + 1), z[cut:].reshape(n_controls, steps)


def defects(dynamics, s, u, h):
    """Return how far the trapezoidal rule is from holding, shape (n_states * steps,)."""
    left, right = dynamics(s[:, :-1], u), dynamics(s[:, 1:], u)
    return (s[:, 1:] - s[:, :-1] - 0.5 * h * (left + right)).ravel()


def straight(first, last, steps, n_controls):
    """Return the start: states on straight lines, controls zero."""
    lines = [np.linspace(a, b, steps + 1) for a, b in zip(first, last, strict=True)]
    return np.concatenate([*lines, np.zeros(n_controls * steps)])


def between(first, last, dynamics, n_controls, steps, h):
    """Return c(z) of a motion between two given states."""
    first, last = np.array(first), np.array(last)

    def constraints(z):
        s, u = split(z, first.size, n_controls, steps)
        return np.concatenate([s[:, 0] - first, s[:, -1] - last, defects(dynamics, s, u, h)])

    return constraints


def bounds(steps, *limits):
    """Return bounds of all variables; each entry is (limit from below, from above, number of points)."""
    return [np.concatenate([np.full(count, limit[side]) for *limit, count in limits]) for side in (0, 1)]


def car(s, u):
    return np.stack([s[1], u[0]])


def van_der_pol(s, u):
    return np.stack([(1.0 - s[1] ** 2) * s[0] - s[1] + u[0], s[0]])


def cart_pole(s, u):
    """Return the velocities and accelerations of a cart of 1 kg and a bob of 0.3 kg on 0.5 m."""
    cart, bob, length = 1.0, 0.3, 0.5
    sin, cos = np.sin(s[1]), np.cos(s[1])
    effective = cart + bob * sin**2
    swing = bob * length * sin * s[3] ** 2
    push = (swing + u[0] + bob * GRAVITY * cos * sin) / effective
    turn = -(cos * (swing + u[0]) + (cart + bob) * GRAVITY * sin) / (length * effective)
    return np.stack([s[2], s[3], push, turn])


def pendulum(s, u):
    return np.stack([s[1], u[0] - GRAVITY * np.sin(s[0])])


def unicycle(s, u):
    return np.stack([u[0] * np.cos(s[2]), u[0] * np.sin(s[2]), u[1]])


def rocket(s, u):
    """Return the derivatives of x, y, their speeds, the tilt and its rate; u is thrust and torque by mass."""
    return np.stack([s[2], s[3], -u[0] * np.sin(s[4]), u[0] * np.cos(s[4]) - GRAVITY, s[5], u[1]])


def motion(name, dynamics, first, last, steps, duration, limits, n_controls=1):
    """Return the problem of least int u'u dt between two states."""
    h = duration / steps
    lb, ub = bounds(steps, *limits)
    cut = len(first) * (steps + 1)
    return make(
        name,
        "optimal control",
        lambda z: np.sqrt(h) * z[cut:],
        straight(first, last, steps, n_controls),
        between(first, last, dynamics, n_controls, steps, h),
        lb=lb,
        ub=ub,
    )


def van_der_pol_problem():
    steps = 60
    h = 5.0 / steps

    def constraints(z):
        s, u = split(z, 2, 1, steps)
        return np.concatenate([s[:, 0] - np.array([0.0, 1.0]), defects(van_der_pol, s, u, h)])

    lb, ub = bounds(steps, (-0.25, INF, steps + 1), (-INF, INF, steps + 1), (-1.0, 1.0, steps))
    start = straight([0.0, 1.0], [0.0, 0.0], steps, 1)
    return make("van_der_pol", "optimal control", lambda z: np.sqrt(h) * z, start, constraints, lb=lb, ub=ub)


def unicycle_problem():
    steps = 30
    h = 5.0 / steps
    first, last = [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]
    moves = between(first, last, unicycle, 2, steps, h)

    def constraints(z):
        s, _ = split(z, 3, 2, steps)
        return np.concatenate([moves(z), (s[0] - 2.0) ** 2 + (s[1] - 0.1) ** 2 - 0.64])

    def residual(z):
        _, u = split(z, 3, 2, steps)
        return np.sqrt(h) * np.concatenate([u[0] - 1.0, u[1]])

    limits = [(-INF, INF, 3 * (steps + 1)), (0.0, 2.0, steps), (-2.0, 2.0, steps)]
    lb, ub = bounds(steps, *limits)
    upper = np.concatenate([np.zeros(6 + 3 * steps), np.full(steps + 1, INF)])
    start = straight(first, last, steps, 2)
    return make("unicycle_obstacle", "optimal control", residual, start, constraints, 0.0, upper, lb=lb, ub=ub)


def problems():
    """Yield the problems."""
    limits = [(-INF, INF, 41), (-1.5, 1.5, 41), (-1.2, 1.2, 40)]
    yield motion("car_parking", car, [0.0, 0.0], [4.0, 0.0], 40, 5.0, limits)
    yield van_der_pol_problem()
    limits = [(-2.0, 2.0, 41), (-INF, INF, 123), (-20.0, 20.0, 40)]
    yield motion("cart_pole", cart_pole, [0.0] * 4, [1.0, np.pi, 0.0, 0.0], 40, 2.0, limits)
    limits = [(-INF, INF, 102), (-4.0, 4.0, 50)]
    yield motion("pendulum_swing_up", pendulum, [0.0, 0.0], [np.pi, 0.0], 50, 5.0, limits)
    yield unicycle_problem()
    first, last = [5.0, 20.0, 0.0, -3.0, 0.1, 0.0], [0.0] * 6
    limits = [(-INF, INF, 31), (0.0, INF, 31), (-INF, INF, 62), (-1.0, 1.0, 31), (-INF, INF, 31)]
    limits += [(0.0, 20.0, 30), (-2.0, 2.0, 30)]
    yield motion("rocket_landing", rocket, first, last, 30, 5.0, limits, n_controls=2)
