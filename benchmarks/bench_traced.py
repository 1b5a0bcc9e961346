"""Plain functions that are traced and compiled: fits in the long run, fits before that, and sparse residuals."""

from . import graphs, traced
from .libraries import CURVES, LIBRARIES


class TracedFits:
    """Every way to fit the two timing problems, and what it is compared with."""

    params = [LIBRARIES, CURVES, list(traced.CALLS)]
    param_names = ["library", "curve", "call"]

    def setup(self, library, curve, call):
        self.fit = getattr(traced.CALLS[call], "ours" if library == "nlsq" else "peer")(curve)
        traced.warm(self.fit)

    def time_fit(self, library, curve, call):
        self.fit()


class BeforeCompiling:
    """The first fits by a function that will be compiled."""

    params = [LIBRARIES, CURVES]
    param_names = ["library", "curve"]

    def setup(self, library, curve):
        self.fit = traced.before_compiling(library, curve)

    def time_fit(self, library, curve):
        self.fit()


class SparseResiduals:
    """Residual and sparse Jacobian together; beside it the NumPy residual alone."""

    params = [["nlsq", "numpy"], list(graphs.SLICES)]
    param_names = ["library", "equations"]

    def setup(self, library, equations):
        ours, numpys, _ = graphs.evaluation_of(equations)
        self.evaluate = ours if library == "nlsq" else numpys

    def time_evaluation(self, library, equations):
        self.evaluate()


class Operations:
    """Operations of value and gradient over those of the value; ``numpy`` has the value's alone."""

    params = [["nlsq", "numpy"], list(graphs.FUNCTIONS), [5, 500]]
    param_names = ["library", "function", "n"]

    def track_operations(self, library, function, n):
        value, with_gradient = graphs.counts(graphs.FUNCTIONS[function], n)
        return with_gradient if library == "nlsq" else value

    track_operations.unit = "operations"
