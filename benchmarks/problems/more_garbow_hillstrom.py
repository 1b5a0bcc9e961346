r"""The More-Garbow-Hillstrom collection: 48 sums of squares, three starts each, 144 cases.

Each problem is   minimise over x   f(x) = r'r = sum_i r_i(x)^2   (the paper's f; the house `cost` is f/2),
from x0, 10 x0 and 100 x0; where x0 = 0 (Watson) the further starts have every component 10 and 100, as in the
test drivers of [2]_. All 35 problems of [1]_ are here, in the dimensions of those drivers. Left out are

- Chebyquad with n = 8 to 10, whose minima are known only as the best found;
- Chebyquad with n = 1, m = 8, which the drivers run: its start 1/2 is stationary by symmetry, with f = 3.5579
  above the minimum 3.0665, so that no local method can leave. Chebyquad with n = 4 takes its place.

A solution counts as the global minimum when

    f <= f* (1 + 1e-4) + 1e-10,

f* being the global minimum. The relative part is above what default tolerances (1e-8 on the reduction of f)
leave and below the gap to any other known stationary value; the absolute part, for f* = 0, lies under the smallest
nonzero minimum (4.7e-10, Watson with n = 12), but for Watson with n = 20 (2.5e-20).

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981.
.. [2] J. J. More, B. S. Garbow and K. E. Hillstrom, "Algorithm 566: FORTRAN subroutines for testing
   unconstrained optimization software", ACM Transactions on Mathematical Software 7(1), 136-140, 1981.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import mgh_small as small
from . import mgh_variable as variable
from .mgh_minima import MINIMA

__all__ = ["FACTORS", "MghProblem", "all_problems", "cases", "cosine", "load", "names"]

FACTORS = (1.0, 10.0, 100.0)  # the three starts of the test drivers
RELATIVE_SLACK = 1e-4  # of is_global_minimum; see the head of this file
ABSOLUTE_SLACK = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False)
class MghProblem:
    """One problem of the collection.

    Attributes
    ----------
    name : str
        Name, with the dimension where there are several.
    number : int
        Number in the paper, 1 to 35.
    x0 : ndarray, shape (n,)
        Standard start.
    m : int
        Number of residuals.
    residual : callable
        ``residual(x) -> ndarray, shape (m,)``, plain numpy.
    jacobian : callable
        ``jacobian(x) -> ndarray, shape (m, n)``, exact.
    minimum : float
        Global minimum of the sum of squares.
    minimizer : ndarray, shape (n,)
        A point that attains it.
    """

    name: str
    number: int
    x0: np.ndarray
    m: int
    residual: Callable[[np.ndarray], np.ndarray]
    jacobian: Callable[[np.ndarray], np.ndarray]
    minimum: float
    minimizer: np.ndarray

    @property
    def n(self):
        """Number of variables."""
        return self.x0.size

    def start(self, factor=1.0):
        """Return the start `factor` times x0, or filled with `factor` where x0 = 0 and factor is not 1."""
        if factor != 1.0 and not np.any(self.x0):
            return np.full(self.n, float(factor))
        return factor * self.x0

    def sum_of_squares(self, x):
        """Return f(x) = r'r; inf where it overflows or is undefined."""
        with np.errstate(all="ignore"):
            r = self.residual(np.asarray(x, dtype=float))
            total = float(r @ r)
        return total if np.isfinite(total) else np.inf

    def is_global_minimum(self, sum_of_squares):
        """Return whether f is within f* 1e-4 + 1e-10 of the global minimum f*."""
        return bool(sum_of_squares <= self.minimum * (1.0 + RELATIVE_SLACK) + ABSOLUTE_SLACK)

    def stationarity(self, x):
        """Return the largest cosine between r and a column of J at x: 0 at a stationary point with r not 0."""
        x = np.asarray(x, dtype=float)
        with np.errstate(all="ignore"):
            return cosine(self.residual(x), self.jacobian(x))


def cosine(r, jac):
    """Return max_j |J_j' r| / (||J_j|| ||r||), where a zero column or r = 0 counts as 0."""
    scale = np.linalg.norm(jac, axis=0) * np.linalg.norm(r)
    gradient = np.abs(jac.T @ r)
    return float(np.max(np.divide(gradient, scale, out=np.zeros_like(gradient), where=scale != 0.0)))


def names():
    """Return the names of the 48 problems, in the order of the paper."""
    return tuple(_problems())


def load(name):
    """Return the problem called `name`; KeyError when there is none."""
    return _problems()[name]


def all_problems():
    """Return the 48 problems, in the order of the paper."""
    return tuple(_problems().values())


def cases():
    """Return the 144 pairs (problem, factor); start from ``problem.start(factor)``."""
    return tuple((problem, factor) for problem in all_problems() for factor in FACTORS)


@functools.cache
def _problems():
    """Return every problem by name."""
    problems = [*_fixed(), *_watson_to_trigonometric(), *_brown_to_broyden(), *_linear(), *_chebyquad()]
    return {problem.name: problem for problem in sorted(problems, key=lambda problem: problem.number)}


def _make(number, name, module, stem, x0, minimum=None, minimizer=None, **keywords):
    """Return a problem from the functions ``stem_residual`` and ``stem_jacobian`` of `module`."""
    residual, jacobian = getattr(module, f"{stem}_residual"), getattr(module, f"{stem}_jacobian")
    if keywords:
        residual, jacobian = functools.partial(residual, **keywords), functools.partial(jacobian, **keywords)
    if minimizer is None:
        minimum, minimizer = MINIMA[name]
    x0, minimizer = np.array(x0, dtype=float), np.array(minimizer, dtype=float)
    x0.flags.writeable = minimizer.flags.writeable = False
    return MghProblem(
        name=name,
        number=number,
        x0=x0,
        m=residual(x0).size,
        residual=residual,
        jacobian=jacobian,
        minimum=float(minimum),
        minimizer=minimizer,
    )


def _fixed():
    """Yield problems 1 to 19, with their zeros where these are known in closed form."""
    table = [
        (1, "rosenbrock", [-1.2, 1.0], [1.0, 1.0]),
        (2, "freudenstein_roth", [0.5, -2.0], [5.0, 4.0]),
        (3, "powell_badly_scaled", [0.0, 1.0], None),
        (4, "brown_badly_scaled", [1.0, 1.0], [1e6, 2e-6]),
        (5, "beale", [1.0, 1.0], [3.0, 0.5]),
        (6, "jennrich_sampson", [0.3, 0.4], None),
        (7, "helical_valley", [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        (8, "bard", [1.0, 1.0, 1.0], None),
        (9, "gaussian", [0.4, 1.0, 0.0], None),
        (10, "meyer", [0.02, 4000.0, 250.0], None),
        (11, "gulf", [5.0, 2.5, 0.15], [50.0, 25.0, 1.5]),
        (12, "box", [0.0, 10.0, 20.0], [1.0, 10.0, 1.0]),
        (14, "wood", [-3.0, -1.0, -3.0, -1.0], [1.0, 1.0, 1.0, 1.0]),
        (15, "kowalik_osborne", [0.25, 0.39, 0.415, 0.39], None),
        (16, "brown_dennis", [25.0, 5.0, -5.0, -1.0], None),
        (17, "osborne1", [0.5, 1.5, -1.0, 0.01, 0.02], None),
        (18, "biggs", [1.0, 2.0, 1.0, 1.0, 1.0, 1.0], [1.0, 10.0, 1.0, 5.0, 4.0, 3.0]),
        (19, "osborne2", [1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5], None),
    ]
    for number, name, x0, zero in table:
        yield _make(number, name, small, name, x0, 0.0, zero)
    yield _make(13, "powell_singular", variable, "extended_powell", [3.0, -1.0, 0.0, 1.0], 0.0, np.zeros(4))


def _watson_to_trigonometric():
    """Yield problems 20 to 26."""
    for n in (6, 9, 12, 20):
        yield _make(20, f"watson_{n}", variable, "watson", np.zeros(n))
    yield _make(21, "extended_rosenbrock", variable, "extended_rosenbrock", [-1.2, 1.0] * 5, 0.0, np.ones(10))
    yield _make(22, "extended_powell", variable, "extended_powell", [3.0, -1.0, 0.0, 1.0] * 3, 0.0, np.zeros(12))
    for n in (4, 10):
        yield _make(23, f"penalty1_{n}", variable, "penalty1", np.arange(1.0, n + 1.0))
        yield _make(24, f"penalty2_{n}", variable, "penalty2", np.full(n, 0.5))
    ramp = 1.0 - np.arange(1.0, 11.0) / 10.0
    yield _make(25, "variably_dimensioned", variable, "variably_dimensioned", ramp, 0.0, np.ones(10))
    yield _make(26, "trigonometric", variable, "trigonometric", np.full(10, 0.1))


def _brown_to_broyden():
    """Yield problems 27 to 31."""
    for n in (10, 30, 40):
        name = f"brown_almost_linear_{n}"
        yield _make(27, name, variable, "brown_almost_linear", np.full(n, 0.5), 0.0, np.ones(n))
    t = np.arange(1.0, 11.0) / 11.0
    yield _make(28, "discrete_boundary_value", variable, "discrete_boundary_value", t * (t - 1.0))
    yield _make(29, "discrete_integral_equation", variable, "discrete_integral_equation", t * (t - 1.0))
    yield _make(30, "broyden_tridiagonal", variable, "broyden_tridiagonal", np.full(10, -1.0))
    yield _make(31, "broyden_banded", variable, "broyden_banded", np.full(10, -1.0))


def _linear():
    """Yield problems 32 to 34, n = 5, with the minima of the paper."""
    start = np.ones(5)
    for m in (10, 50):
        rank1 = m * (m - 1) / (2 * (2 * m + 1))
        zeros = (m**2 + 3 * m - 6) / (2 * (2 * m - 3))
        on_first = np.array([3.0 / (2 * m + 1), 0.0, 0.0, 0.0, 0.0])  # sum_j j x_j = 3 / (2m + 1)
        on_second = np.array([0.0, 1.5 / (2 * m - 3), 0.0, 0.0, 0.0])  # sum_j j x_j = 3 / (2m - 3)
        yield _make(32, f"linear_full_rank_{m}", variable, "linear_full_rank", start, m - 5, -np.ones(5), m=m)
        yield _make(33, f"linear_rank1_{m}", variable, "linear_rank1", start, rank1, on_first, m=m)
        yield _make(34, f"linear_rank1_zeros_{m}", variable, "linear_rank1_zeros", start, zeros, on_second, m=m)


def _chebyquad():
    """Yield problem 35, m = n."""
    for n in (4, 5, 6, 7):
        yield _make(35, f"chebyquad_{n}", variable, "chebyquad", np.arange(1.0, n + 1.0) / (n + 1.0), m=n)
