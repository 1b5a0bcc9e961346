"""Methods, and the one loop that drives them."""

from nlsq.solvers.choose import choose_solver
from nlsq.solvers.damping import MoreRadius, Nielsen
from nlsq.solvers.dogbox import Dogbox
from nlsq.solvers.driver import drive
from nlsq.solvers.gauss_newton import GaussNewton, GradientDescent
from nlsq.solvers.levenberg_marquardt import LevenbergMarquardt
from nlsq.solvers.line_search import FixedLength, LineSearch
from nlsq.solvers.native import solve
from nlsq.solvers.termination import Termination, Tolerances
from nlsq.solvers.trust_region_reflective import TrustRegionReflective

__all__ = [
    "Dogbox",
    "FixedLength",
    "GaussNewton",
    "GradientDescent",
    "LevenbergMarquardt",
    "LineSearch",
    "MoreRadius",
    "Nielsen",
    "Termination",
    "Tolerances",
    "TrustRegionReflective",
    "choose_solver",
    "drive",
    "solve",
]
