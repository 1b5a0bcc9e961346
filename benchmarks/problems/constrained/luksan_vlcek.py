r"""Luksan and Vlcek's equality-constrained chains whose objective is a sum of squares, of any size.

    5.1   Rosenbrock's chain, trigonometric-exponential constraints            n - 2 constraints
    5.2   Wood's chain, Broyden's banded constraints                           n - 7
    5.3   Powell's singular chain, simplified trigonometric-exponential        2
    5.4   Cragg and Levy's chain, tridiagonal constraints                      n - 2
    5.11, 5.13, 5.14          chains of HS46, 48, 49                           2 (n - 2) / 3
    5.15, 5.16, 5.17, 5.18    chains of HS50, 51, 52, 53                       3 (n - 1) / 4

A link of the chains of HS problems overlaps the next in two variables (5.11-5.14) or one (5.15-5.18); the starts
of these repeat the book's. 5.18 has the bounds of HS53. Constraints are ordered by kind, not by link.

References
----------
.. [1] L. Luksan and J. Vlcek, Sparse and Partially Separable Test Problems for Unconstrained and Equality Constrained
   Optimization, Technical report V-767, Institute of Computer Science, Prague, 1999, section 5.
"""

import numpy as np

from .problem import make

__all__ = ["chain_names", "chained", "problems"]


def rosenbrock_residual(x):
    return np.concatenate([10.0 * (x[:-1] ** 2 - x[1:]), x[:-1] - 1.0])


def trigonometric_exponential(x):
    a, b, c = x[:-2], x[1:-1], x[2:]
    wave = np.sin(b - c) * np.sin(b + c)
    return 3.0 * b**3 + 2.0 * c - 5.0 + wave + 4.0 * b - a * np.exp(a - b) - 3.0


def wood_residual(x):
    a, b, c, d = x[:-2:2], x[1:-2:2], x[2::2], x[3::2]
    return np.concatenate(
        [
            10.0 * (a**2 - b),
            a - 1.0,
            np.sqrt(90.0) * (c**2 - d),
            c - 1.0,
            np.sqrt(10.0) * (b + d - 2.0),
            np.sqrt(0.1) * (b - d),
        ]
    )


def broyden_banded(x):
    mc = x.size - 7
    terms = np.concatenate([np.zeros(5), x * (1.0 + x)])
    ahead = x[5:-2]
    return (2.0 + 5.0 * ahead**2) * ahead + 1.0 + sum(terms[k : k + mc] for k in range(7))


def powell_residual(x):
    a, b, c, d = x[:-2:2], x[1:-2:2], x[2::2], x[3::2]
    return np.concatenate(
        [a + 10.0 * b, np.sqrt(5.0) * (c - d), (b - 2.0 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2],
    )


def two_ends(x):
    first = 3.0 * x[0] ** 3 + 2.0 * x[1] - 5.0 + np.sin(x[0] - x[1]) * np.sin(x[0] + x[1])
    return np.array([first, 4.0 * x[-1] - x[-2] * np.exp(x[-2] - x[-1]) - 3.0])


def cragg_levy_residual(x):
    a, b, c, d = x[:-2:2], x[1:-2:2], x[2::2], x[3::2]
    return np.concatenate([(np.exp(a) - b) ** 2, 10.0 * (b - c) ** 3, np.tan(c - d) ** 2, a**4, d - 1.0])


def tridiagonal(x):
    a, b, c = x[:-2], x[1:-1], x[2:]
    return 8.0 * b * (b**2 - a) - 2.0 * (1.0 - b) + 4.0 * (b - c**2)


def links(x, step):
    """Return the five variables of every link; links start `step` variables apart."""
    stop = x.size - 4
    return [x[k : stop + k : step] for k in range(5)]


def hs46_residual(x):
    a, b, c, d, e = links(x, 3)
    return np.concatenate([a - b, c - 1.0, (d - 1.0) ** 2, (e - 1.0) ** 3])


def hs46_constraints(x):
    a, b, c, d, e = links(x, 3)
    return np.concatenate([a**2 * d + np.sin(d - e) - 1.0, b + c**4 * d**2 - 2.0])


def hs48_residual(x):
    a, b, c, d, e = links(x, 3)
    return np.concatenate([a - 1.0, b - c, d - e])


def hs48_constraints(x):
    a, b, c, d, e = links(x, 3)
    return np.concatenate([a + b + c + d + e - 5.0, c - 2.0 * (d + e) + 3.0])


def hs49_constraints(x):
    a, b, c, d, e = links(x, 3)
    return np.concatenate([a + b + c + 4.0 * d - 7.0, c + 5.0 * e - 6.0])


def hs50_residual(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([a - b, b - c, (c - d) ** 2, d - e])


def hs50_constraints(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([a + 2.0 * b + 3.0 * c - 6.0, b + 2.0 * c + 3.0 * d - 6.0, c + 2.0 * d + 3.0 * e - 6.0])


def hs51_residual(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([a - b, b + c - 2.0, d - 1.0, e - 1.0])


def hs51_constraints(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([a + 3.0 * b - 4.0, c + d - 2.0 * e, b - e])


def hs52_residual(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([4.0 * a - b, b + c - 2.0, d - 1.0, e - 1.0])


def hs52_constraints(x):
    a, b, c, d, e = links(x, 4)
    return np.concatenate([a + 3.0 * b, c + d - 2.0 * e, b - e])


CHAINS = {  # name: (number in section 5, default n, start, r, c, bound on |x|)
    "lv1": ("5.1", 50, [-1.2, 1.0], rosenbrock_residual, trigonometric_exponential, np.inf),
    "lv2": ("5.2", 50, [-2.0, 1.0], wood_residual, broyden_banded, np.inf),
    "lv3": ("5.3", 40, [3.0, -1.0, 0.0, 1.0], powell_residual, two_ends, np.inf),
    "lv4": ("5.4", 40, [2.0], cragg_levy_residual, tridiagonal, np.inf),
    "lv_hs46": ("5.11", 50, [2.0, 1.5, 0.5], hs46_residual, hs46_constraints, np.inf),
    "lv_hs48": ("5.13", 50, [3.0, 5.0, -3.0], hs48_residual, hs48_constraints, np.inf),
    "lv_hs49": ("5.14", 50, [10.0, 7.0, -3.0], hs46_residual, hs49_constraints, np.inf),
    "lv_hs50": ("5.15", 49, [35.0, 11.0, 5.0, -5.0], hs50_residual, hs50_constraints, np.inf),
    "lv_hs51": ("5.16", 49, [2.5, 0.5, 2.0, -1.0], hs51_residual, hs51_constraints, np.inf),
    "lv_hs52": ("5.17", 49, [2.0], hs52_residual, hs52_constraints, np.inf),
    "lv_hs53": ("5.18", 49, [2.0], hs51_residual, hs52_constraints, 10.0),
}


def chain_names():
    """Return the names of the chains."""
    return tuple(CHAINS)


def chained(name, n=None):
    """Return a chain with n variables.

    Parameters
    ----------
    name : str
        One of `chain_names`.
    n : int, optional
        Number of variables: even for lv1 to lv4, 3k + 2 for lv_hs46 to lv_hs49, 4k + 1 for the others.
    """
    number, default, pattern, residual, constraints, bound = CHAINS[name]
    n = default if n is None else n
    x0 = np.resize(pattern, n)
    if name == "lv4":
        x0[0] = 1.0
    return make(name, f"LV {number}", residual, x0, constraints, lb=-bound, ub=bound)


def problems():
    """Yield the chains at their default sizes."""
    for name in CHAINS:
        yield chained(name)
