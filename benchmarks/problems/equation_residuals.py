r"""Systems of nonlinear equations r(p) = 0 as vectors of numpy, one function ``fun(p)`` each.

Most are functions of any dimension: the length of `p` decides. They are written as users write them, by
shifted slices, stores, loops, lists, rolls, reshapes and reductions, several of them twice in different forms, so
that the forms can be compared. Each entry of `EQUATION_RESIDUALS` is (name, function, x0, m, family).

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981. (Problem numbers below.)
.. [2] L. Luksan and J. Vlcek, "Sparse and partially separable test problems for unconstrained and equality
   constrained optimization", Technical report 767, Institute of Computer Science, Academy of Sciences of the
   Czech Republic, 1999.
.. [3] C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations, SIAM, 1995, section 5.6.
.. [4] R. J. LeVeque, Finite Difference Methods for Ordinary and Partial Differential Equations, SIAM, 2007.
"""

import numpy as np

__all__ = ["EQUATION_RESIDUALS"]

# Few unknowns, from More, Garbow and Hillstrom


def rosenbrock(x):
    """Problem 1."""
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def rosenbrock_unpacked(p):
    """Problem 1, with the parameters unpacked and the residuals in a list."""
    a, b = p
    return np.asarray([10.0 * (b - a * a), 1.0 - a])


def rosenbrock_tuple(p):
    """Problem 1, returned as a tuple, which SciPy turns into an array."""
    return 10 * (p[1] - p[0] ** 2), 1 - p[0]


def freudenstein_roth(p):
    """Problem 2."""
    return np.array([-13 + p[0] + ((5 - p[1]) * p[1] - 2) * p[1], -29 + p[0] + ((p[1] + 1) * p[1] - 14) * p[1]])


def helical_valley(p):
    """Problem 7, with the angle from arctan2 (shifted: the valley's angle runs from -1/4 to 3/4)."""
    theta = np.arctan2(p[1], p[0]) / (2 * np.pi)
    return np.array([10 * (p[2] - 10 * theta), 10 * (np.hypot(p[0], p[1]) - 1), p[2]])


def powell_singular(p):
    """Problem 13."""
    a, b, c, d = p
    return np.array([a + 10 * b, np.sqrt(5.0) * (c - d), (b - 2 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2])


def wood(x):
    """Problem 14."""
    r = np.zeros(6)
    r[0] = 10.0 * (x[1] - x[0] ** 2)
    r[1] = 1.0 - x[0]
    r[2] = np.sqrt(90.0) * (x[3] - x[2] ** 2)
    r[3] = 1.0 - x[2]
    r[4] = np.sqrt(10.0) * (x[1] + x[3] - 2.0)
    r[5] = (x[1] - x[3]) / np.sqrt(10.0)
    return r


# Any number of unknowns, by slices


def extended_rosenbrock(p):
    """Problem 21 by strided stores into an empty array."""
    r = np.empty(p.size)
    r[0::2] = 10.0 * (p[1::2] - p[0::2] ** 2)
    r[1::2] = 1.0 - p[0::2]
    return r


def extended_powell(p):
    """Problem 22 by strided slices, put side by side and raveled."""
    a, b, c, d = p[::4], p[1::4], p[2::4], p[3::4]
    rows = [a + 10 * b, np.sqrt(5.0) * (c - d), (b - 2 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2]
    return np.stack(rows, axis=1).ravel()


def broyden_tridiagonal(p):
    """Problem 30, by additions in place to shifted slices."""
    r = (3 - 2 * p) * p + 1
    r[1:] -= p[:-1]
    r[:-1] -= 2 * p[1:]
    return r


def broyden_concatenated(p):
    """Problem 30, by padding with concatenate."""
    padded = np.concatenate([[0.0], p, [0.0]])
    return (3 - 2 * p) * p - padded[:-2] - 2 * padded[2:] + 1


def discrete_boundary_value(p):
    """Problem 28: u'' = (u + t + 1)^3 / 2 by central differences."""
    n = len(p)
    h = 1.0 / (n + 1)
    t = h * np.arange(1, n + 1)
    left = np.hstack((0.0, p[:-1]))
    right = np.hstack((p[1:], 0.0))
    return 2 * p - left - right + h**2 * (p + t + 1) ** 3 / 2


def trigonometric_exponential(p):
    """Trigexp 1 of Luksan and Vlcek, by interior slices."""
    r = np.zeros_like(p)
    d = p[:-1] - p[1:]
    r[0] = 3 * p[0] ** 3 + 2 * p[1] - 5 + np.sin(d[0]) * np.sin(p[0] + p[1])
    mid, up, down = p[1:-1], p[2:], p[:-2]
    r[1:-1] = 3 * mid**3 + 2 * up - 5 + np.sin(mid - up) * np.sin(mid + up) + 4 * mid - down * np.exp(down - mid) - 3
    r[-1] = 4 * p[-1] - p[-2] * np.exp(d[-1]) - 3
    return r


def collocation(p):
    """Return the trapezoidal rule for u' = u (1 - u), u(0) = 0.1, by np.diff; LeVeque section 5.3."""
    h = 5.0 / (p.size - 1)
    rate = p * (1 - p)
    defect = np.diff(p) / h - 0.5 * (rate[1:] + rate[:-1])
    return np.append(defect, p[0] - 0.1)


def pendulum(p):
    """Return the nonlinear pendulum theta'' = -sin theta between two given angles; LeVeque section 2.16."""
    n = p.size
    h = 2 * np.pi / (n + 1)
    inner = np.diff(p, n=2) / h**2 + np.sin(p[1:-1])
    first = (0.7 - 2 * p[0] + p[1]) / h**2 + np.sin(p[0])
    last = (p[-2] - 2 * p[-1] + 0.7) / h**2 + np.sin(p[-1])
    return np.concatenate([[first], inner, [last]])


def periodic_chain(p):
    """Return the forces in a ring of Fermi, Pasta, Ulam and Tsingou's springs (1955), by np.roll."""
    right = np.roll(p, -1) - p
    left = p - np.roll(p, 1)
    return right - left + 0.25 * (right**2 - left**2) - 0.1 * np.sin(p) + 0.05


def reversed_pairs(p):
    """Return couplings of p with its own reverse, x_i + sin x_{n+1-i} - 1/2; elementary."""
    return p + np.sin(p[::-1]) - 0.5


# Any number of unknowns, by loops


def broyden_banded(p):
    """Problem 31, by loops over the band."""
    n = len(p)
    r = np.empty(n)
    for i in range(n):
        total = 0.0
        for j in range(max(0, i - 5), min(n, i + 2)):
            if j != i:
                total += p[j] * (1 + p[j])
        r[i] = p[i] * (2 + 5 * p[i] ** 2) + 1 - total
    return r


def broyden_by_loop(p):
    """Problem 30, one equation a turn, with the ends treated apart."""
    n = len(p)
    r = np.zeros(n)
    for i in range(n):
        r[i] = (3 - 2 * p[i]) * p[i] + 1
        if i > 0:
            r[i] -= p[i - 1]
        if i < n - 1:
            r[i] -= 2 * p[i + 1]
    return r


def chained_rosenbrock_list(p):
    """Return the chained Rosenbrock function of Luksan and Vlcek, collected in a list."""
    r = []
    for k in range(len(p) - 1):
        r.append(10.0 * (p[k + 1] - p[k] ** 2))
        r.append(1.0 - p[k])
    return np.array(r)


def variably_dimensioned(p):
    """Problem 25, by loops over range(n)."""
    n = len(p)
    total = 0.0
    r = []
    for j in range(n):
        r.append(p[j] - 1)
        total += (j + 1) * (p[j] - 1)
    r.extend([total, total**2])
    return np.array(r)


def trigonometric(p):
    """Problem 26, with its sum of cosines taken in a generator."""
    n = len(p)
    total = sum(np.cos(p[j]) for j in range(n))
    return np.array([n - total + (i + 1) * (1 - np.cos(p[i])) - np.sin(p[i]) for i in range(n)])


def discrete_integral(p):
    """Problem 29, by cumulative sums."""
    n = p.size
    h = 1.0 / (n + 1)
    t = h * np.arange(1.0, n + 1)
    cube = (p + t + 1) ** 3
    below = np.cumsum(t * cube)
    above = np.cumsum(((1 - t) * cube)[::-1])[::-1] - (1 - t) * cube
    return p + h * ((1 - t) * below + t * above) / 2


# Sums, products and matrices


def mean_field(p):
    """Return p_i - sum_j p_j^2 / n, every unknown against the mean of all; elementary."""
    return p - np.sum(p**2) / p.size


def mean_field_dot(p):
    """Return the same equations by a dot product."""
    return p - np.dot(p, p) / len(p)


def mean_field_method(p):
    """Return p_i cosh(mean) - 1/2, by the method of the array; elementary."""
    return p * np.cosh(p.mean()) - 0.5


def brown_almost_linear(p):
    """Problem 27, by the sum and the product of all unknowns."""
    n = p.size
    r = p + p.sum() - (n + 1)
    r[-1] = np.prod(p) - 1
    return r


def penalty_one(p):
    """Problem 23."""
    return np.concatenate([np.sqrt(1e-5) * (p - 1), [np.sum(p * p) - 0.25]])


def unit_vector_eigenpair(matrix):
    """Return A v - lambda v = 0 and v'v = 1 for p = (v, lambda); Peters and Wilkinson 1979, SIAM Rev. 21, 339."""

    def residual(p):
        v, value = p[:-1], p[-1]
        return np.concatenate((matrix @ v - value * v, [(v @ v - 1.0) / 2.0]))

    return residual


def chandrasekhar(c, n):
    """Return Chandrasekhar's H-equation, H_i - 1 / (1 - (A H)_i), with A a dense matrix; Kelley 1995."""
    mu = (np.arange(n) + 0.5) / n
    kernel = c * mu[:, None] / (2 * n * (mu[:, None] + mu[None, :]))
    return lambda h: h - 1.0 / (1.0 - kernel @ h)


# Two dimensions


def bratu(p):
    """Return the Bratu problem -Laplace(u) = e^u on a square grid, u = 0 outside; five points, LeVeque chapter 3."""
    k = round(p.size**0.5)
    u = p.reshape(k, k)
    r = 4 * u
    r[1:, :] -= u[:-1, :]
    r[:-1, :] -= u[1:, :]
    r[:, 1:] -= u[:, :-1]
    r[:, :-1] -= u[:, 1:]
    return (r - np.exp(u) / (k + 1) ** 2).ravel()


def bratu_padded(p):
    """Return the Bratu problem by a border of zeros around the grid."""
    k = round(p.size**0.5)
    u = np.zeros((k + 2, k + 2))
    u[1:-1, 1:-1] = p.reshape((k, k))
    r = 4 * u[1:-1, 1:-1] - u[:-2, 1:-1] - u[2:, 1:-1] - u[1:-1, :-2] - u[1:-1, 2:]
    return r.reshape(-1) - np.exp(p) / (k + 1) ** 2


def smooth_surface(p):
    """Return the differences of a height field in both directions, and its distance from one; elementary."""
    z = p.reshape(5, -1)
    return np.concatenate([np.diff(z, axis=0).ravel(), np.diff(z, axis=1).ravel(), 0.1 * (z - 1.0).flatten()])


def _wavy(n):
    """Return n starting values that are all different and none of them special."""
    return 0.6 + 0.3 * np.sin(1.7 * np.arange(n) + 0.4)


SYMMETRIC = np.diag(np.arange(1.0, 7.0)) + 0.3 * np.cos(np.add.outer(np.arange(6.0), np.arange(6.0)))

EQUATION_RESIDUALS = (
    ("rosenbrock", rosenbrock, np.array([-1.2, 1.0]), 2, "small"),
    ("rosenbrock_unpacked", rosenbrock_unpacked, np.array([-1.2, 1.0]), 2, "small"),
    ("rosenbrock_tuple", rosenbrock_tuple, np.array([-1.2, 1.0]), 2, "small"),
    ("freudenstein_roth", freudenstein_roth, np.array([0.5, -2.0]), 2, "small"),
    ("helical_valley", helical_valley, np.array([-1.0, 0.3, 0.2]), 3, "small"),
    ("powell_singular", powell_singular, np.array([3.0, -1.0, 0.0, 1.0]), 4, "small"),
    ("wood", wood, np.array([-3.0, -1.0, -3.0, -1.0]), 6, "small"),
    ("extended_rosenbrock", extended_rosenbrock, np.tile([-1.2, 1.0], 10), 20, "slices"),
    ("extended_powell", extended_powell, np.tile([3.0, -1.0, 0.0, 1.0], 5), 20, "slices"),
    ("broyden_tridiagonal", broyden_tridiagonal, np.full(30, -1.0), 30, "slices"),
    ("broyden_concatenated", broyden_concatenated, np.full(30, -1.0), 30, "slices"),
    ("discrete_boundary_value", discrete_boundary_value, -0.2 * _wavy(25), 25, "slices"),
    ("trigonometric_exponential", trigonometric_exponential, _wavy(24), 24, "slices"),
    ("collocation", collocation, _wavy(26), 26, "slices"),
    ("pendulum", pendulum, _wavy(25), 25, "slices"),
    ("periodic_chain", periodic_chain, _wavy(20), 20, "slices"),
    ("reversed_pairs", reversed_pairs, _wavy(15), 15, "slices"),
    ("broyden_banded", broyden_banded, np.full(16, -1.0), 16, "loops"),
    ("broyden_by_loop", broyden_by_loop, np.full(30, -1.0), 30, "loops"),
    ("chained_rosenbrock_list", chained_rosenbrock_list, _wavy(12), 22, "loops"),
    ("variably_dimensioned", variably_dimensioned, 1.0 - np.arange(1.0, 11.0) / 10.0, 12, "loops"),
    ("trigonometric", trigonometric, np.full(8, 0.125), 8, "loops"),
    ("discrete_integral", discrete_integral, -0.2 * _wavy(15), 15, "reductions"),
    ("mean_field", mean_field, _wavy(12), 12, "reductions"),
    ("mean_field_dot", mean_field_dot, _wavy(12), 12, "reductions"),
    ("mean_field_method", mean_field_method, _wavy(12), 12, "reductions"),
    ("brown_almost_linear", brown_almost_linear, _wavy(9), 9, "reductions"),
    ("penalty_one", penalty_one, np.arange(1.0, 11.0), 11, "reductions"),
    ("eigenpair", unit_vector_eigenpair(SYMMETRIC), np.append(_wavy(6), 2.0), 7, "matrices"),
    ("chandrasekhar", chandrasekhar(0.9, 20), np.ones(20), 20, "matrices"),
    ("bratu", bratu, _wavy(36), 36, "grids"),
    ("bratu_padded", bratu_padded, _wavy(36), 36, "grids"),
    ("smooth_surface", smooth_surface, _wavy(30), 79, "grids"),
)
