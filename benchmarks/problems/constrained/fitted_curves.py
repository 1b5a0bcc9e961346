r"""Fits of More, Garbow and Hillstrom and of NIST, with bounds and constraints put around their parameters.

The limits are set so that the unconstrained minimum is outside them (mgh_kowalik_product, mgh_brown_dennis_ball,
mgh_broyden_box, nist_gauss1_equal_widths, nist_eckerle4_area, nist_misra1a_slope, nist_rat43_late) or so that it
keeps them (mgh_osborne1_box, which are the bounds of Schittkowski's problem 358, and nist_lanczos1_sum).

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981.
.. [2] National Institute of Standards and Technology, Statistical Reference Datasets: Nonlinear Regression.
   doi:10.18434/T43G6C
.. [3] K. Schittkowski, More Test Examples for Nonlinear Programming Codes, Springer, 1987, problem 358.
"""

import numpy as np

from .. import mgh_small as mgh
from .. import nist
from ..mgh_variable import broyden_tridiagonal_residual
from .problem import make

__all__ = ["problems"]

INF = np.inf


def problems():
    """Yield the problems."""
    yield from _published_functions()
    yield from _published_data()


def _published_functions():
    yield make(
        "mgh_bard_sum",
        "MGH 8, bounds, sum of two parameters given",
        mgh.bard_residual,
        [1.0, 1.0, 1.0],
        lambda x: np.array([x[1] + x[2]]),
        3.0,
        3.0,
        lb=0.0,
        ub=2.5,
    )
    yield make(
        "mgh_kowalik_product",
        "MGH 15, bounds, a product given",
        mgh.kowalik_osborne_residual,
        [0.25, 0.39, 0.415, 0.39],
        lambda x: np.array([x[0] * x[1] - x[2] * x[3]]),
        0.03,
        0.03,
        lb=0.0,
        ub=1.0,
    )
    yield make(
        "mgh_brown_dennis_ball",
        "MGH 16 in a ball",
        mgh.brown_dennis_residual,
        [25.0, 5.0, -5.0, -1.0],
        lambda x: np.array([x @ x]),
        -INF,
        200.0,
    )
    yield make(
        "mgh_osborne1_box",
        "MGH 17 with the bounds of S 358",
        mgh.osborne1_residual,
        [0.5, 1.5, -1.0, 0.01, 0.02],
        lb=[-0.5, 1.5, -2.0, 0.001, 0.001],
        ub=[0.5, 2.5, -1.0, 0.1, 0.1],
        published=5.46489e-5,
    )
    lower = np.where(np.arange(50) % 5 == 0, -0.5, -INF)
    residual, start = broyden_tridiagonal_residual, np.full(50, -1.0)
    yield make("mgh_broyden_box", "MGH 30 with bounds", residual, start, lb=lower, ub=0.0)


def _published_data():
    gauss = nist.load("Gauss1")
    yield make(
        "nist_gauss1_equal_widths",
        "NIST Gauss1, equal widths, a given distance of the peaks",
        gauss.residual,
        gauss.starts[0],
        lambda b: np.array([b[4] - b[7], b[6] - b[3]]),
        [0.0, 110.0],
        [0.0, 110.0],
    )
    lanczos = nist.load("Lanczos1")
    yield make(
        "nist_lanczos1_sum",
        "NIST Lanczos1, nonnegative, amplitudes with a given sum",
        lanczos.residual,
        lanczos.starts[0],
        lambda b: np.array([b[0] + b[2] + b[4]]),
        2.5134,
        2.5134,
        lb=0.0,
    )
    eckerle = nist.load("Eckerle4")
    yield make(
        "nist_eckerle4_area",
        "NIST Eckerle4, given area under the peak",
        eckerle.residual,
        eckerle.starts[1],
        lambda b: np.array([np.sqrt(2.0 * np.pi) * b[0]]),
        4.0,
        4.0,
        lb=[0.0, 0.1, 400.0],
        ub=[10.0, 50.0, 500.0],
    )
    misra = nist.load("Misra1a")
    slope = 0.13
    yield make(
        "nist_misra1a_slope",
        "NIST Misra1a, given slope at the origin",
        misra.residual,
        misra.starts[0],
        lambda b: np.array([b[0] * b[1]]),
        slope,
        slope,
        lb=0.0,
    )
    rat, last = nist.load("Rat43"), nist.load("Rat43").x[-1]
    yield make(
        "nist_rat43_late",
        "NIST Rat43, an upper limit on the last value, an asymptote given by its bounds",
        rat.residual,
        rat.starts[1],
        lambda b: np.array([b[0] / (1.0 + np.exp(b[1] - b[2] * last)) ** (1.0 / b[3])]),
        -INF,
        690.0,
        lb=[710.0, 0.0, 0.1, 0.1],
        ub=[710.0, 20.0, 5.0, 5.0],
    )
