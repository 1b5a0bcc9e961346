"""Problems with bounds, by `least_squares` with exact Jacobians: time and minima."""

from .accuracy import bounded_minima
from .libraries import LIBRARIES


class Bounded:
    """Default tolerances."""

    params = [LIBRARIES, ["trf", "dogbox"]]
    param_names = ["library", "method"]

    def setup(self, library, method):
        self.time_sweep(library, method)

    def time_sweep(self, library, method):
        bounded_minima(library, method)

    def track_minima(self, library, method):
        return sum(bounded_minima(library, method).values())

    track_minima.unit = "problems"
