"""`leastsq`: a plain Python residual that has no graph, and one jitted and called by address."""

from .libraries import CURVES, LIBRARIES, branching, by_address, function, load_curve


class Leastsq:
    """The two timing problems; SciPy has no route by address."""

    params = [LIBRARIES, CURVES, ["plain", "address"]]
    param_names = ["library", "curve", "route"]

    def setup(self, library, curve, route):
        if route == "address" and library != "nlsq":
            raise NotImplementedError
        self.leastsq, self.curve = function(library, "leastsq"), load_curve(curve)
        self.residual = branching(curve, "residual") if route == "plain" else by_address(curve, "residual")
        self.time_fit(library, curve, route)

    def time_fit(self, library, curve, route):
        self.leastsq(self.residual, self.curve.p0)

    def time_fit_full_output(self, library, curve, route):
        self.leastsq(self.residual, self.curve.p0, full_output=True)
