r"""Least squares with bounds:   minimise  f(x) = sum_i r_i(x)^2   subject to   lower <= x <= upper.

At a solution every variable satisfies, with g = J'r,

    g_j = 0  between the bounds,    g_j >= 0  at the lower,    g_j <= 0  at the upper bound;

`projected_cosine` measures this free of scale, as the largest |J_j'r| / (||J_j|| ||r||) over the variables whose
gradient does not point out of the box. Each minimum is the lowest of least squares from 61 starts spread over the
box, polished with the active variables fixed.

HS problems are those of Hock and Schittkowski [1]_ (HS2 from a feasible start, on the side of its global minimum).
The other boxes are put around functions of More, Garbow and Hillstrom [2]_ and data of NIST [3]_ so that bounds are
active at the solution, or only on the way; Osborne 1 starts on one.

References
----------
.. [1] W. Hock and K. Schittkowski, Test Examples for Nonlinear Programming Codes, Springer, 1981, problems 1, 2, 38.
.. [2] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981.
.. [3] National Institute of Standards and Technology, Statistical Reference Datasets: Nonlinear Regression.
   doi:10.18434/T43G6C
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import mgh_small as mgh
from . import nist

__all__ = ["BoundedProblem", "all_problems", "load", "names"]

RELATIVE_SLACK = 1e-6  # of is_minimum: default tolerances stop within 1e-8 of the minimum
ABSOLUTE_SLACK = 1e-10
ACTIVE = 1e-6  # a variable this close to a bound, relative to 1 + |bound|, counts as at it


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundedProblem:
    """One problem with bounds.

    Attributes
    ----------
    name : str
        Name of the problem.
    x0 : ndarray, shape (n,)
        Start, inside the bounds.
    lower, upper : ndarray, shape (n,)
        Bounds, -inf and inf where there is none.
    residual : callable
        ``residual(x) -> ndarray, shape (m,)``, plain numpy.
    jacobian : callable
        ``jacobian(x) -> ndarray, shape (m, n)``, exact.
    minimum : float
        Minimum of the sum of squares within the bounds.
    minimizer : ndarray, shape (n,)
        The point that attains it.
    """

    name: str
    x0: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    residual: Callable[[np.ndarray], np.ndarray]
    jacobian: Callable[[np.ndarray], np.ndarray]
    minimum: float
    minimizer: np.ndarray

    @property
    def n(self):
        """Number of variables."""
        return self.x0.size

    @property
    def active(self):
        """Return -1 where the minimiser is at the lower bound, 1 at the upper, 0 between."""
        return self._active(self.minimizer)

    def is_feasible(self, x):
        """Return whether x keeps every bound exactly."""
        return bool(np.all((self.lower <= x) & (x <= self.upper)))

    def sum_of_squares(self, x):
        """Return f(x) = r'r; inf where it overflows or is undefined."""
        with np.errstate(all="ignore"):
            r = self.residual(np.asarray(x, dtype=float))
            total = float(r @ r)
        return total if np.isfinite(total) else np.inf

    def is_minimum(self, sum_of_squares):
        """Return whether f is within f* 1e-6 + 1e-10 of the minimum f*."""
        return bool(sum_of_squares <= self.minimum * (1.0 + RELATIVE_SLACK) + ABSOLUTE_SLACK)

    def projected_cosine(self, x):
        """Return the largest cosine between r and a column of J that the bounds do not block."""
        x = np.asarray(x, dtype=float)
        r, jac = self.residual(x), self.jacobian(x)
        gradient, side = jac.T @ r, self._active(x)
        blocked = ((side < 0) & (gradient >= 0.0)) | ((side > 0) & (gradient <= 0.0))
        scale = np.linalg.norm(jac, axis=0) * np.linalg.norm(r)
        gradient = np.where(blocked, 0.0, np.abs(gradient))
        return float(np.max(np.divide(gradient, scale, out=np.zeros(self.n), where=scale != 0.0)))

    def _active(self, x):
        """Return -1, 0 or 1 for the variables of x at the lower bound, between, and at the upper bound."""
        with np.errstate(invalid="ignore"):
            low = x - self.lower <= ACTIVE * (1.0 + np.abs(self.lower))
            high = self.upper - x <= ACTIVE * (1.0 + np.abs(self.upper))
        return np.where(low & np.isfinite(self.lower), -1, np.where(high & np.isfinite(self.upper), 1, 0))


def thurber_jacobian(x, b):
    """Return the derivatives of the cubic ratio (b1 + ... + b4 x^3) / (1 + b5 x + b6 x^2 + b7 x^3)."""
    powers = x[:, np.newaxis] ** np.arange(4.0)
    top, bottom = powers @ b[:4], 1.0 + powers[:, 1:] @ b[4:]
    return np.concatenate([powers, -(top / bottom)[:, np.newaxis] * powers[:, 1:]], axis=1) / bottom[:, np.newaxis]


def saturation_jacobian(x, b):
    """Return the derivatives of b1 (1 - exp(-b2 x))."""
    e = np.exp(-b[1] * x)
    return np.stack([1.0 - e, b[0] * x * e], axis=1)


MIXTURE_RATES = np.array([0.2, 0.5, 1.0, 2.0, 4.0, 8.0])
MIXTURE_X = np.linspace(0.0, 6.0, 40)
MIXTURE_BASIS = np.exp(-np.outer(MIXTURE_X, MIXTURE_RATES))  # (40, 6)
MIXTURE_Y = 2.0 * np.exp(-0.4 * MIXTURE_X) + np.exp(-3.0 * MIXTURE_X) + 0.02 * np.cos(7.0 * MIXTURE_X)


def mixture_residual(x):
    """Return r of a linear fit of six decays with given rates, whose weights must not be negative."""
    return MIXTURE_BASIS @ x - MIXTURE_Y


def mixture_jacobian(x):
    """Return J of `mixture_residual`, which is constant."""
    return MIXTURE_BASIS + np.zeros_like(x)


DECAY_X = np.linspace(0.0, 3.0, 31)
DECAY_Y = 2.0 * np.exp(-0.9 * DECAY_X) - 0.1 + 0.03 * np.sin(11.0 * DECAY_X)


def decay_residual(x):
    """Return r of a exp(-k t) + c; the data would like c < 0."""
    return x[0] * np.exp(-x[1] * DECAY_X) + x[2] - DECAY_Y


def decay_jacobian(x):
    """Return J of `decay_residual`."""
    e = np.exp(-x[1] * DECAY_X)
    return np.stack([e, -x[0] * DECAY_X * e, np.ones_like(e)], axis=1)


def names():
    """Return the names of the problems."""
    return tuple(_problems())


def load(name):
    """Return the problem called `name`; KeyError when there is none."""
    return _problems()[name]


def all_problems():
    """Return every bounded problem."""
    return tuple(_problems().values())


@functools.cache
def _problems():
    """Return every problem by name."""
    return {problem.name: problem for problem in (*_from_functions(), *_from_data())}


def _make(name, residual, jacobian, x0, lower, upper, minimum, minimizer):
    """Return a problem with read-only arrays."""
    arrays = {"x0": x0, "lower": lower, "upper": upper, "minimizer": minimizer}
    arrays = {key: np.array(value, dtype=float) for key, value in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return BoundedProblem(name=name, residual=residual, jacobian=jacobian, minimum=minimum, **arrays)


def _from_functions():
    """Yield the problems drawn around functions of the More-Garbow-Hillstrom collection."""
    inf = np.inf
    yield _published("hs1", "rosenbrock", [-2.0, 1.0], [-inf, -1.5], [inf, inf], 0.0, [1.0, 1.0])
    solution = [1.2243707487363569, 1.5]
    yield _published("hs2", "rosenbrock", [2.0, 2.0], [-inf, 1.5], [inf, inf], 0.05042618789361, solution)
    yield _published("hs38", "wood", [-3.0, -1.0, -3.0, -1.0], [-10.0] * 4, [10.0] * 4, 0.0, [1.0] * 4)
    yield _published("beale", "beale", [1.0, 0.0], [0.0, -1.0], [2.0, 1.0], 0.5233448360105, [2.0, 0.17008792215767227])
    solution = [1.1111111112629459e-05, 9.0]
    powell = "powell_badly_scaled"
    yield _published(powell, powell, [0.5, 2.0], [0.0, 1.0], [1.0, 9.0], 1.512593672438e-10, solution)
    solution = [0.19688251799197343, 0.3]
    jennrich = "jennrich_sampson"
    yield _published(jennrich, jennrich, [0.5, 0.4], [0.0, 0.3], [1.0, 1.0], 136.4865367353, solution)
    solution = [0.09158784542936883, 1.4881768517334888, 2.0]
    yield _published("bard", "bard", [1.0] * 3, [0.0] * 3, [2.0] * 3, 8.898555847607e-3, solution)
    solution = [0.1924425294314294, 0.2, 0.12515840983114823, 0.13994741651779244]
    kowalik, start = "kowalik_osborne", [0.25, 0.39, 0.415, 0.39]
    yield _published(kowalik, kowalik, start, [0.0, 0.2, 0.0, 0.0], [1.0] * 4, 3.076399894985e-4, solution)
    solution = [-10.0, 12.67781828787086, -0.48552802545446, 0.2]
    lower, upper = [-10.0, 0.0, -100.0, -20.0], [100.0, 15.0, 0.0, 0.2]
    yield _published("brown_dennis", "brown_dennis", [25.0, 5.0, -5.0, -1.0], lower, upper, 88860.4797675, solution)
    solution = [0.3792671479285408, 2.7997637682135394, -2.331391946427494, 0.01405570854759976, 0.02]
    lower, upper = [-inf, -inf, -inf, 0.0, 0.0], [inf, inf, inf, 0.02, 0.02]
    yield _published("osborne1", "osborne1", [0.5, 1.5, -1.0, 0.01, 0.02], lower, upper, 6.297412333589e-5, solution)
    solution = [0.9056765383361913, 8.0, 0.9043444019636666, 6.534399059590676, 4.486866781189295, 5.0]
    lower, upper = [0.0] * 6, [2.0, 8.0, 2.0, 7.0, 5.0, 5.0]
    yield _published("biggs", "biggs", [1.0, 2.0, 1.0, 1.0, 1.0, 1.0], lower, upper, 5.320986590782e-4, solution)


def _from_data():
    """Yield the fits of data: two of NIST's, a decay and a mixture with weights that must not be negative."""
    thurber, boxbod = nist.load("Thurber"), nist.load("BoxBOD")
    derivatives = functools.partial(thurber_jacobian, thurber.x)
    box = ([0.0] * 7, [np.inf] * 7)
    yield _make("thurber", thurber.residual, derivatives, thurber.starts[0], *box, 5642.708239667, thurber.certified)
    derivatives = functools.partial(saturation_jacobian, boxbod.x)
    solution = [200.0, 0.6535487562426797]
    box = ([0.0, 0.0], [200.0, 10.0])
    yield _make("boxbod", boxbod.residual, derivatives, [100.0, 0.75], *box, 1520.500294505, solution)
    solution = [1.9476575245626957, 1.0373711027882075, 0.0]
    box = ([0.0] * 3, [np.inf] * 3)
    yield _make("decay", decay_residual, decay_jacobian, [1.0] * 3, *box, 0.03198145438681, solution)
    solution = [0.3454941325468366, 1.8062031896468786, 0.0, 0.06942803213751961, 0.8110549889947266, 0.0]
    box = ([0.0] * 6, [np.inf] * 6)
    yield _make("mixture", mixture_residual, mixture_jacobian, [1.0] * 6, *box, 0.01019886220244, solution)


def _published(name, stem, x0, lower, upper, minimum, minimizer):
    """Return a problem from the functions ``stem_residual`` and ``stem_jacobian`` of the collection."""
    residual, jacobian = getattr(mgh, f"{stem}_residual"), getattr(mgh, f"{stem}_jacobian")
    return _make(name, residual, jacobian, x0, lower, upper, minimum, minimizer)
