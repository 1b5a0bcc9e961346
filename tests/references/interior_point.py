"""The interior-point method, slow and obvious: each formula in numpy, linear systems whole and dense.

Unknowns are z = (x, s) with bounds l < z < u, multipliers y of c(x) - s = 0 and z_L, z_U of the bounds. Formulas are
those of A. Waechter and L. T. Biegler, Mathematical Programming 106, 2006; numbers in brackets are theirs.
"""

from dataclasses import dataclass

import numpy as np

S_MAX = 100.0


@dataclass
class Iterate:
    """A point of the method and what was evaluated there.

    Attributes
    ----------
    z, lower, upper, zl, zu, free : ndarray, shape (n + mc,)
        Unknowns, bounds, multipliers of the bounds; free is 0 where the unknown is held.
    y, c : ndarray, shape (mc,)
        Multipliers and values of the constraints.
    g : ndarray, shape (n,)
        Gradient of the cost.
    a : ndarray, shape (mc, n)
        Jacobian of the constraints.
    """

    z: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    zl: np.ndarray
    zu: np.ndarray
    free: np.ndarray
    y: np.ndarray
    c: np.ndarray
    g: np.ndarray
    a: np.ndarray

    @property
    def n(self):
        return self.g.size

    @property
    def h(self):
        """c(x) - s."""
        return self.c - self.z[self.n :]

    @property
    def has_lower(self):
        return np.isfinite(self.lower)

    @property
    def has_upper(self):
        return np.isfinite(self.upper)

    @property
    def constraint_gradients(self):
        """Derivative of c(x) - s by z, shape (mc, n + mc)."""
        return np.hstack([self.a, -np.eye(self.y.size)])

    @property
    def products(self):
        """Multipliers of finite bounds times distances, lower ones first."""
        low, up = self.has_lower, self.has_upper
        below = self.zl[low] * (self.z - self.lower)[low]
        return np.concatenate([below, self.zu[up] * (self.upper - self.z)[up]])

    @property
    def gradient_of_lagrangian(self):
        """By z; zero where the unknown is held."""
        g = np.concatenate([self.g, np.zeros(self.y.size)])
        return (g + self.constraint_gradients.T @ self.y - self.zl + self.zu) * self.free


def errors(point, mu, most_forgiven=np.inf):
    """Return (E_mu, dual error, s_d, largest product), with infinity norms: (5), (6)."""
    bounds, products = point.has_lower.sum() + point.has_upper.sum(), point.products
    sum_of_bounds = np.abs(point.zl).sum() + np.abs(point.zu).sum()
    s_d = max(S_MAX, (np.abs(point.y).sum() + sum_of_bounds) / max(1, bounds + point.y.size)) / S_MAX
    s_d = min(s_d, most_forgiven)
    s_c = max(S_MAX, sum_of_bounds / max(1, bounds)) / S_MAX
    dual = np.abs(point.gradient_of_lagrangian).max()
    departure = np.abs(products - mu).max(initial=0.0)
    e_mu = max(dual / s_d, np.abs(point.h).max(initial=0.0), departure / s_c)
    return e_mu, dual, s_d, np.abs(products).max(initial=0.0)


def newton_step(point, w, mu, delta_w=0.0, delta_c=0.0):
    """Return steps of (z, y, z_L, z_U): Newton's for the perturbed conditions, all unknowns in one system.

    ``w`` is the Hessian of the Lagrangian by x, (n, n).
    """
    size, n, mc = point.z.size, point.n, point.y.size
    zero, one = np.zeros((size, size)), np.eye(size)
    rows = point.constraint_gradients
    hessian = zero.copy()
    hessian[:n, :n] = w
    hessian += delta_w * one
    low, up = point.has_lower, point.has_upper
    to_lower, to_upper = np.where(low, point.z - point.lower, 1.0), np.where(up, point.upper - point.z, 1.0)
    g = np.concatenate([point.g, np.zeros(mc)])
    matrix = np.block(
        [
            [hessian, rows.T, -one, one],
            [rows, -delta_c * np.eye(mc), np.zeros((mc, 2 * size))],
            [np.diag(point.zl), np.zeros((size, mc)), np.diag(to_lower), zero],
            [-np.diag(point.zu), np.zeros((size, mc)), zero, np.diag(to_upper)],
        ]
    )
    rhs = -np.concatenate(
        [
            g + rows.T @ point.y - point.zl + point.zu,
            point.h,
            np.where(low, point.zl * to_lower - mu, 0.0),
            np.where(up, point.zu * to_upper - mu, 0.0),
        ]
    )
    for j in np.flatnonzero(point.free == 0.0):  # its step is zero, whatever its gradient
        matrix[j] = 0.0
        matrix[j, j], rhs[j] = 1.0, 0.0
    solution = np.linalg.solve(matrix, rhs)
    return solution[:size], solution[size : size + mc], solution[size + mc : 2 * size + mc], solution[2 * size + mc :]


def inertia(point, w, delta_w=0.0, delta_c=0.0):
    """Return (positive, negative) eigenvalues of the KKT matrix of z and y, without held unknowns."""
    n, mc, kept = point.n, point.y.size, point.free != 0.0
    sigma = np.zeros(point.z.size)
    sigma[point.has_lower] += (point.zl / (point.z - point.lower))[point.has_lower]
    sigma[point.has_upper] += (point.zu / (point.upper - point.z))[point.has_upper]
    hessian = np.diag(sigma + delta_w)
    hessian[:n, :n] += w
    rows = point.constraint_gradients[:, kept]
    matrix = np.block([[hessian[np.ix_(kept, kept)], rows.T], [rows, -delta_c * np.eye(mc)]])
    values = np.linalg.eigvalsh(matrix)
    return int((values > 0.0).sum()), int((values < 0.0).sum())


def longest_step(z, step, lower, upper, tau):
    """Return the largest alpha <= 1 with z + alpha step >= l + (1 - tau)(z - l), the same above: (15)."""
    lengths = [1.0]
    for value, change, low, high in zip(z, step, lower, upper, strict=True):
        if change < 0.0 and np.isfinite(low):
            lengths.append(tau * (value - low) / -change)
        if change > 0.0 and np.isfinite(high):
            lengths.append(tau * (high - value) / change)
    return min(lengths)


def barrier_function(cost, mu, z, lower, upper):
    """Return cost - mu sum log distances: (3b); infinite outside."""
    distances = np.concatenate([(z - lower)[np.isfinite(lower)], (upper - z)[np.isfinite(upper)]])
    if (distances <= 0.0).any():
        return np.inf
    return cost - mu * np.log(distances).sum()


def barrier_slope(point, step, mu):
    """Return the derivative of the barrier function along a step."""
    low, up = point.has_lower, point.has_upper
    total = point.g @ step[: point.n]
    total -= np.sum(mu * step[low] / (point.z - point.lower)[low])
    return total + np.sum(mu * step[up] / (point.upper - point.z)[up])


def is_forbidden(pairs, largest, theta, phi):
    """Whether (theta, phi) is in the filter: {theta' >= theta_k, phi' >= phi_k} for a pair, or theta > theta_max."""
    if not (theta <= largest and phi < np.inf):
        return True
    return any(theta >= one and phi >= other for one, other in pairs)


def judged(theta, phi, slope, alpha, trial, theta_small):
    """Return "f", "h" or "" for a trial (theta, phi) that the filter allows: (18), (19), (20); rounding is forgiven."""
    trial_theta, trial_phi = trial
    rise = trial_phi - phi - 10.0 * 2.22e-16 * abs(phi)
    if theta <= theta_small and slope < 0.0 and alpha * (-slope) ** 2.3 > theta**1.1:
        return "f" if rise <= 1e-8 * alpha * slope else ""
    return "h" if trial_theta <= (1.0 - 1e-5) * theta or rise <= -1e-8 * theta else ""


def smallest_alpha(theta, slope, theta_small):
    """Return alpha_min: (23)."""
    if slope < 0.0 and theta <= theta_small:
        return 0.05 * min(1e-5, 1e-8 * theta / -slope, theta**1.1 / (-slope) ** 2.3)
    if slope < 0.0:
        return 0.05 * min(1e-5, 1e-8 * theta / -slope)
    return 0.05 * 1e-5


def lowered_barrier(mu, tolerance):
    """Return the next mu of the monotone rule: (7)."""
    return max(0.1 * tolerance, min(0.2 * mu, mu**1.5))


def suggested_barrier(products):
    """Return LOQO's mu from the products of multipliers and distances."""
    mean = products.mean()
    evenness = products.min() / mean
    return 0.1 * min(0.05 * (1.0 - evenness) / evenness, 2.0) ** 3 * mean


def least_squares_multipliers(point):
    """Return the y of the smallest |grad f + A'y - z_L + z_U|, by z: section 3.6."""
    kept = point.free != 0.0
    g = np.concatenate([point.g, np.zeros(point.y.size)]) - point.zl + point.zu
    return np.linalg.lstsq(point.constraint_gradients[:, kept].T, -g[kept], rcond=None)[0]


def restoration_objective(h, z, reference, zeta, mu, lower, upper):
    """Return 1/2 |h|^2 + zeta/2 |D (z - z_R)|^2 - mu sum log distances, D = min(1, 1/|z_R|): (30)."""
    near = zeta / np.maximum(1.0, np.abs(reference)) ** 2
    cost = 0.5 * h @ h + 0.5 * np.sum(near * (z - reference) ** 2)
    return barrier_function(cost, mu, z, lower, upper)


def restoration_direction(point, reference, zeta, mu, damping, second=None):
    """Return (step, gradient): the damped Gauss-Newton step for `restoration_objective`, by all of z at once.

    ``second`` is sum_i h_i Hess c_i, added to the matrix.
    """
    near = zeta / np.maximum(1.0, np.abs(reference)) ** 2
    rows = point.constraint_gradients
    gradient = rows.T @ point.h + near * (point.z - reference)
    hessian = rows.T @ rows + np.diag(near + damping)
    if second is not None:
        hessian[: point.n, : point.n] += second
    for has, distance, multiplier, sign in (
        (point.has_lower, point.z - point.lower, point.zl, -1.0),
        (point.has_upper, point.upper - point.z, point.zu, 1.0),
    ):
        gradient[has] += sign * mu / distance[has]
        hessian[has, has] += multiplier[has] / distance[has]
    kept = point.free != 0.0
    step = np.zeros(point.z.size)
    step[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], -gradient[kept])
    return step, gradient * point.free


def secant_update(b, s, wanted):
    """Return B after a symmetric rank-one update, so that B s = wanted: Nocedal and Wright 2006, (6.24), (6.26)."""
    v = wanted - b @ s
    if abs(v @ s) <= 1e-8 * np.linalg.norm(v) * np.linalg.norm(s):
        return b
    return b + np.outer(v, v) / (v @ s)


def reset_slacks(c, s, lower, upper, free):
    """Move slacks to their constraints where that leaves them at least as far inside."""
    moved = s.copy()
    for i in np.flatnonzero(free):
        if min(c[i] - lower[i], upper[i] - c[i]) >= min(s[i] - lower[i], upper[i] - s[i]):
            moved[i] = c[i]
    return moved


def kkt_of_result(gradient, jac_c, result):
    """Return g + A'y - z_L + z_U from derivatives that the solver did not compute."""
    y, lower, upper = result.multipliers
    return gradient + jac_c.T @ y - lower + upper


LOSSES = {  # rho, by z
    "huber": lambda z: z if z <= 1.0 else 2.0 * np.sqrt(z) - 1.0,
    "soft_l1": lambda z: 2.0 * (np.sqrt(1.0 + z) - 1.0),
    "cauchy": np.log1p,
    "arctan": np.arctan,
}


def robust_cost(r, loss, scale):
    """Return 1/2 sum s^2 rho((r/s)^2)."""
    return 0.5 * scale**2 * sum(LOSSES[loss](value) for value in (r / scale) ** 2)


def by_differences(function, x, step):
    """Return the derivative of a scalar or vector by x, from central differences: the last axis is that of x."""
    columns = []
    for j in range(x.size):
        moved = np.zeros(x.size)
        moved[j] = step
        columns.append((np.asarray(function(x + moved)) - np.asarray(function(x - moved))) / (2.0 * step))
    return np.stack(columns, axis=-1)
