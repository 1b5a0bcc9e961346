"""Methods, and the one loop that drives them."""

from nlsq.solvers.damping import MoreRadius, Nielsen
from nlsq.solvers.driver import drive
from nlsq.solvers.levenberg_marquardt import LevenbergMarquardt
from nlsq.solvers.termination import Tolerances

__all__ = ["LevenbergMarquardt", "MoreRadius", "Nielsen", "Tolerances", "drive"]
