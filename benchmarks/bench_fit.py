"""`fit` and `Model.solve` on NIST's data; compiling a model; whole scripts."""

from . import accuracy, nist_speed, scripts
from .libraries import LIBRARIES, function


class NistFit:
    """54 fits by `fit`, plainly and compiled, and by SciPy's `curve_fit`, which knows one way."""

    params = [LIBRARIES, ["plain", "compiled"]]
    param_names = ["library", "route"]
    timeout = 300

    def setup(self, library, route):
        if library != "nlsq" and route != "plain":
            raise NotImplementedError  # asv leaves the combination out
        self.digits = self.sweep(library, route)

    def sweep(self, library, route):
        if library == "nlsq":
            return nist_speed.fit_digits(route == "compiled")
        return accuracy.nist_digits(library)

    def time_sweep(self, library, route):
        self.sweep(library, route)

    def track_four_digits(self, library, route):
        return sum(digits >= 4.0 for digits in self.digits.values())

    def track_six_digits(self, library, route):
        return sum(digits >= 6.0 for digits in self.digits.values())

    track_four_digits.unit = track_six_digits.unit = "fits of 54"


class NistSolve:
    """One pass over NIST's near starts, compiled; beside it SciPy's `curve_fit`."""

    params = [LIBRARIES, list(nist_speed.CALLS)]
    param_names = ["library", "call"]

    def setup(self, library, call):
        peer, self.fits = function("scipy", "curve_fit"), []
        for problem in nist_speed.problems_of():
            start = problem.starts[1]
            ours = nist_speed.CALLS[call](problem, start)
            theirs = (peer, problem.model, problem.x, problem.y, start)
            self.fits.append((ours,) if library == "nlsq" else theirs)
        self.time_sweep(library, call)

    def time_sweep(self, library, call):
        with accuracy.quiet():
            for fit, *arguments in self.fits:
                fit(*arguments)


class Compile:
    """A fresh process that compiles one model, or finds it on disk; beside it SciPy's first fit of that model."""

    params = [LIBRARIES]
    param_names = ["library"]
    number, repeat, warmup_time = 1, 9, 0

    def timeraw_compile(self, library):
        if library == "nlsq":
            return scripts.compile_code("gaussian", "a plain fit")
        return scripts.fits_code("scipy", 1)


class Scripts:
    """Scripts of one to thousands of fits, and one with many models, with what earlier ones have left on disk."""

    params = [LIBRARIES, [*scripts.COUNTS, "models"]]
    param_names = ["library", "fits"]
    number, repeat, warmup_time = 1, 3, 0
    timeout = 300

    def timeraw_script(self, library, fits):
        if fits == "models":
            return scripts.many_models_code(library)
        return scripts.fits_code(library, fits)
