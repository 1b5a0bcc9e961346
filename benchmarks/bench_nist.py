"""The 27 data sets of NIST from both starts, by `curve_fit`: time and correct digits."""

from .accuracy import TOLERANCES, nist_digits
from .libraries import LIBRARIES


class Nist:
    """54 fits; a fit that fails has no correct digits."""

    params = [LIBRARIES, list(TOLERANCES)]
    param_names = ["library", "tolerances"]
    timeout = 300

    def setup(self, library, tolerances):
        self.digits = list(nist_digits(library, tolerances).values())

    def time_sweep(self, library, tolerances):
        nist_digits(library, tolerances)

    def track_four_digits(self, library, tolerances):
        return sum(digits >= 4.0 for digits in self.digits)

    def track_six_digits(self, library, tolerances):
        return sum(digits >= 6.0 for digits in self.digits)

    track_four_digits.unit = track_six_digits.unit = "fits of 54"
