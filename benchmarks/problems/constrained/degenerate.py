r"""Problems that break what theory asks for, and problems without a feasible point.

hs51_dependent              HS51 with two more equalities: the sum of two, and one again
hs14_duplicates             HS14 with its equality twice and its inequality three times, once scaled by 100
hs38_fixed                  HS38 with x2 fixed at 0.5
hs65_far                    HS65 from (100, -100, 50)
mfcq_tangent                a disk and a half plane that share one point: no multipliers exist
complementarity             x1 x2 <= 0, x3 x4 <= 0, x >= 0
square_system               three equalities in three variables: one feasible point, gradients dependent there
consistent_overdetermined   four equalities in two variables that share one point
free_rows                   rows without limits beside one with
bad_scaling                 HS42 with every equality twice, scaled by 1e10 and 1e-10
saddle_start                a start where the gradients of both cost and constraint are zero
flat_direction              one residual in three variables
local_trap                  feasible, but the start is beside a local minimum of the violation

infeasible_circle_line      inside the unit circle and on x1 + x2 = 3
infeasible_parallel         on two parallel lines
infeasible_simplex          x >= 0 with the sum -1
infeasible_sphere           x1^2 + x2^2 = -1
infeasible_disks            in two disks that do not meet
"""

import numpy as np

from .. import mgh_small
from .problem import make

__all__ = ["problems"]

INF = np.inf


def hs51_residual(x):
    return np.array([x[0] - x[1], x[1] + x[2] - 2.0, x[3] - 1.0, x[4] - 1.0])


def dependent(x):
    a, b, c = x[0] + 3.0 * x[1] - 4.0, x[2] + x[3] - 2.0 * x[4], x[1] - x[4]
    return np.array([a, b, c, a + c, b])


def duplicated(x):
    line, disk = x[0] - 2.0 * x[1] + 1.0, 1.0 - 0.25 * x[0] ** 2 - x[1] ** 2
    return np.array([line, line, disk, disk, 100.0 * disk])


def hs65_residual(x):
    return np.array([x[0] - x[1], (x[0] + x[1] - 10.0) / 3.0, x[2] - 5.0])


def square_system(x):
    return np.array([x @ x - 3.0, x[0] * x[1] * x[2] - 1.0, x[0] - 2.0 * x[1] + x[2]])


def overdetermined(x):
    return np.array([x[0] + x[1] - 3.0, x[0] * x[1] - 2.0, x[1] - 2.0 * x[0], x[0] ** 2 + x[1] ** 2 - 5.0])


def badly_scaled(x):
    line, circle = x[0] - 2.0, x[2] ** 2 + x[3] ** 2 - 2.0
    return np.array([1e10 * line, 1e-10 * line, 1e-10 * circle, 1e10 * circle])


def pull(x):
    return x - np.array([1.0, 2.0])


def disk_and_sum(x):
    return np.array([x @ x, x[0] + x[1]])


def parallel_lines(x):
    return np.array([x[0] + x[1] - 1.0, x[0] + x[1] - 2.0])


def two_disks(x):
    return np.array([x[0] ** 2 + x[1] ** 2, (x[0] - 4.0) ** 2 + x[1] ** 2])


def problems():
    """Yield the problems."""
    yield from _degenerate()
    yield from _unusual()
    yield from _infeasible()


def _degenerate():
    source = "degenerate: dependent equalities"
    yield make("hs51_dependent", source, hs51_residual, [2.5, 0.5, 2.0, -1.0, 0.5], dependent, published=0.0)
    limits = [np.zeros(5), [0.0, 0.0, INF, INF, INF]]
    yield make(
        "hs14_duplicates",
        "degenerate: rows and inequalities repeated",
        lambda x: x - np.array([2.0, 1.0]),
        [2.0, 2.0],
        duplicated,
        *limits,
        published=9.0 - 2.875 * np.sqrt(7.0),
    )
    fixed = {"lb": [-10.0, 0.5, -10.0, -10.0], "ub": [10.0, 0.5, 10.0, 10.0]}
    source = "degenerate: a variable fixed by its bounds"
    yield make("hs38_fixed", source, mgh_small.wood_residual, [-3.0, -1.0, -3.0, -1.0], **fixed)
    yield make(
        "mfcq_tangent",
        "degenerate: one feasible point, no multipliers",
        lambda x: x - np.array([3.0, 1.0]),
        [0.5, 0.5],
        lambda x: np.array([x @ x, x[0]]),
        [-INF, 1.0],
        [1.0, INF],
        published=5.0,
    )
    yield make(
        "complementarity",
        "degenerate: x1 x2 <= 0, x >= 0",
        lambda x: x - np.array([1.0, 2.0, 3.0, -1.0]),
        [1.0, 1.0, 1.0, 1.0],
        lambda x: np.array([x[0] * x[1], x[2] * x[3]]),
        -INF,
        0.0,
        lb=0.0,
        published=2.0,
    )
    source = "degenerate: as many equalities as variables"
    yield make(
        "square_system", source, lambda x: x - np.array([0.0, 1.0, 2.0]), [2.0, 0.5, 0.5], square_system, published=2.0
    )
    source = "degenerate: more equalities than variables, consistent"
    yield make("consistent_overdetermined", source, lambda x: x - 5.0, [0.5, 1.5], overdetermined, published=25.0)
    yield make(
        "flat_direction",
        "degenerate: unbounded flat directions",
        lambda x: np.array([x[0] + x[1] - 1.0]),
        [3.0, 2.0, 1.0],
        lambda x: np.array([x[0] - x[1] ** 2]),
        -INF,
        0.0,
        published=0.0,
    )


def _unusual():
    yield make(
        "hs65_far",
        "start far outside the bounds",
        hs65_residual,
        [100.0, -100.0, 50.0],
        lambda x: np.array([48.0 - x @ x]),
        0.0,
        INF,
        lb=[-4.5, -4.5, -5.0],
        ub=[4.5, 4.5, 5.0],
        published=0.9535288567,
    )
    yield make(
        "free_rows",
        "rows without limits",
        lambda x: x - np.array([1.0, 2.0, 3.0]),
        [0.0, 0.0, 0.0],
        lambda x: np.array([np.exp(x[0]), x[0] + x[1] + x[2], x[1] * x[2]]),
        [-INF, -INF, -INF],
        [INF, 3.0, INF],
        published=3.0,
    )
    yield make(
        "bad_scaling",
        "rows scaled over 20 orders of magnitude",
        lambda x: x - np.array([1.0, 2.0, 3.0, 4.0]),
        [1.0, 1.0, 1.0, 1.0],
        badly_scaled,
        published=28.0 - 10.0 * np.sqrt(2.0),
    )
    yield make(
        "saddle_start",
        "start with zero gradients",
        lambda x: np.array([x[0] ** 2 - 1.0, x[1] ** 2 - 2.0]),
        [0.0, 0.0],
        lambda x: np.array([x[0] ** 2 + x[1] ** 2 - x[0] ** 2 * x[1] ** 2 - 2.0]),
    )
    yield make(
        "local_trap",
        "feasible, with a stationary point of the violation beside the start",
        lambda x: x - np.array([-1.0, 1.0]),
        [-1.2, 0.3],
        lambda x: np.array([x[0] ** 3 - 3.0 * x[0] - 0.1 * x[1] ** 2 - 5.0]),
    )


def _infeasible():
    limits, none = {"cl": [-INF, 3.0], "cu": [1.0, 3.0]}, {"feasible": False}
    yield make("infeasible_circle_line", "infeasible", pull, [0.5, 0.5], disk_and_sum, **limits, **none)
    yield make("infeasible_parallel", "infeasible", pull, [0.5, 0.5], parallel_lines, **none)
    total, start = lambda x: np.array([np.sum(x)]), [1.0, 1.0, 1.0]
    yield make("infeasible_simplex", "infeasible", lambda x: x - 1.0, start, total, -1.0, -1.0, lb=0.0, **none)
    yield make("infeasible_sphere", "infeasible", pull, [1.0, 1.0], lambda x: np.array([x @ x + 1.0]), **none)
    yield make("infeasible_disks", "infeasible", pull, [1.0, 2.0], two_disks, -INF, 1.0, **none)
