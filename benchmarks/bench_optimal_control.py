"""Model predictive control of a cart-pole: a step of a controller, a solve, and what making a problem costs."""

import numpy as np

from . import optimal_control as cart

MODES = {"one iteration": (1, None), "to 1e-6": (100, 1e-6)}


class Steps:
    """A step at the start of the swing-up, from a plan for a state nearby."""

    params = list(MODES)
    param_names = ["mode"]

    def setup(self, mode):
        iterations, tolerance = MODES[mode]
        self.controller = cart.swing_up().controller(iterations=iterations, tolerance=tolerance, shift=False)
        self.states = [cart.HANGING + shift for shift in (0.0, 1e-2)]
        for x in self.states:
            self.controller.step(x)

    def time_two_steps(self, mode):
        for x in self.states:
            self.controller.step(x)


class ClosedLoops:
    """Percentiles of CPU time in a closed loop with noise."""

    params = [list(MODES), [50, 99]]
    param_names = ["mode", "percentile"]
    timeout = 300

    def track_step(self, mode, percentile):
        problem = cart.swing_up()
        times, _, failed = cart.closed_loop(problem, cart.Ours(problem, *MODES[mode]), 1200)
        assert not failed
        return float(np.percentile(times, percentile))

    track_step.unit = "us"


class Solves:
    """The swing-up from rest."""

    params = ["exact", "gauss-newton"]
    param_names = ["hessian"]

    def setup(self, hessian):
        self.problem = cart.swing_up(hessian)
        self.problem.solve(cart.HANGING)

    def time_solve(self, hessian):
        self.problem.solve(cart.HANGING)

    def time_make(self, hessian):
        cart.swing_up(hessian)
