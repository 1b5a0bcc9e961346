"""Fits to data with outliers, by `least_squares` with each loss: time and fits that see through the outliers."""

from .accuracy import robust_errors
from .libraries import LIBRARIES


class Robust:
    """Default tolerances, exact Jacobians."""

    params = [LIBRARIES, ["soft_l1", "huber", "cauchy", "arctan"]]
    param_names = ["library", "loss"]

    def setup(self, library, loss):
        self.time_sweep(library, loss)

    def time_sweep(self, library, loss):
        robust_errors(library, loss)

    def track_good_fits(self, library, loss):
        return sum(error <= 1.0 for error in robust_errors(library, loss).values())

    track_good_fits.unit = "problems"
