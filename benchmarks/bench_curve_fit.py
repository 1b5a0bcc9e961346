"""`curve_fit`: a plain Python function that has no graph, and one jitted and called by address."""

from .libraries import CURVES, LIBRARIES, Counted, branching, by_address, function, load_curve
from .problems import curves


class CurveFit:
    """The two timing problems; SciPy has no route by address."""

    params = [LIBRARIES, CURVES, ["plain", "address"]]
    param_names = ["library", "curve", "route"]

    def setup(self, library, curve, route):
        if route == "address" and library != "nlsq":
            raise NotImplementedError  # asv leaves the combination out
        self.curve_fit, self.curve = function(library, "curve_fit"), load_curve(curve)
        self.model = branching(curve, "model") if route == "plain" else by_address(curve, "model")
        self.fit(self.model)

    def fit(self, model):
        return self.curve_fit(model, self.curve.x, self.curve.y, self.curve.p0)

    def time_fit(self, library, curve, route):
        self.fit(self.model)

    def track_calls(self, library, curve, route):
        """Count the calls of the user's function, which only a plain one can."""
        if route == "address":
            return float("nan")
        counted = Counted(self.model)
        self.fit(counted)
        return counted.calls

    track_calls.unit = "calls"


class LargeCurveFit:
    """A spectrum of many points: memory and the cost of the linear algebra."""

    params = [LIBRARIES, [1_000, 100_000]]
    param_names = ["library", "m"]

    def setup(self, library, m):
        self.curve_fit, self.curve = function(library, "curve_fit"), curves.gaussian(m)
        self.time_fit(library, m)

    def time_fit(self, library, m):
        self.curve_fit(self.curve.model, self.curve.x, self.curve.y, self.curve.p0)

    def peakmem_fit(self, library, m):
        self.time_fit(library, m)
