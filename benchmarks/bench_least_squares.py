"""`least_squares` with a plain Python residual that has no graph, by each method."""

from .libraries import CURVES, LIBRARIES, Counted, branching, function, load_curve


class LeastSquares:
    """The two timing problems."""

    params = [LIBRARIES, CURVES, ["trf", "dogbox", "lm"]]
    param_names = ["library", "curve", "method"]

    def setup(self, library, curve, method):
        self.least_squares, self.curve = function(library, "least_squares"), load_curve(curve)
        self.residual = branching(curve, "residual")
        self.time_fit(library, curve, method)

    def time_fit(self, library, curve, method):
        self.least_squares(self.residual, self.curve.p0, method=method)

    def peakmem_fit(self, library, curve, method):
        self.time_fit(library, curve, method)

    def track_calls(self, library, curve, method):
        """Count the calls of the residual, those in finite differences among them."""
        counted = Counted(self.residual)
        self.least_squares(counted, self.curve.p0, method=method)
        return counted.calls

    track_calls.unit = "calls"


class BoundedFit:
    """The same in a wide box, which no solution touches: the price of bounds."""

    params = [LIBRARIES, CURVES, ["trf", "dogbox"]]
    param_names = ["library", "curve", "method"]

    def setup(self, library, curve, method):
        self.least_squares, self.curve = function(library, "least_squares"), load_curve(curve)
        self.residual = branching(curve, "residual")
        widest = 10.0 * abs(self.curve.p_true).max()
        self.bounds = (-widest, widest)
        self.time_fit(library, curve, method)

    def time_fit(self, library, curve, method):
        self.least_squares(self.residual, self.curve.p0, bounds=self.bounds, method=method)
