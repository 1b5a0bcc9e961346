"""The 144 cases of More, Garbow and Hillstrom, by `least_squares` with exact Jacobians: time, minima, false claims."""

from .accuracy import mgh_outcomes
from .libraries import LIBRARIES


class MoreGarbowHillstrom:
    """Default tolerances."""

    params = [LIBRARIES, ["lm", "trf", "dogbox"]]
    param_names = ["library", "method"]
    timeout = 300

    def setup(self, library, method):
        self.outcomes = mgh_outcomes(library, method)

    def time_sweep(self, library, method):
        mgh_outcomes(library, method)

    def track_global_minima(self, library, method):
        return sum(outcome.is_global for outcome in self.outcomes)

    def track_false_successes(self, library, method):
        """Successes claimed at points that are not stationary."""
        return sum(outcome.success and not outcome.is_stationary for outcome in self.outcomes)

    track_global_minima.unit = track_false_successes.unit = "cases of 144"
