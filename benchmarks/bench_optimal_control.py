"""Model predictive control of a cart-pole; SciPy's `least_squares` has the controls alone for unknowns.

CasADi is in ``python -m benchmarks.optimal_control``.
"""

import numpy as np

from . import optimal_control as cart
from .libraries import LIBRARIES

NEARBY = cart.HANGING + 1e-2


class SwingUp:
    """The first plan, and one for a state nearby that begins with it."""

    params = [LIBRARIES]
    param_names = ["library"]
    timeout = 300

    def setup(self, library):
        problem = cart.swing_up()
        plan = problem.solve(cart.HANGING)
        if library == "nlsq":
            self.solve = lambda: problem.solve(cart.HANGING)
            self.again = lambda: problem.solve(NEARBY, warm_start=plan)
        else:
            inside = np.clip(plan.controls[:, 0], 1e-3 - cart.LIMIT, cart.LIMIT - 1e-3)
            self.solve = lambda: cart.by_scipy(cart.HANGING, np.zeros(cart.STAGES))
            self.again = lambda: cart.by_scipy(NEARBY, inside)

    def time_solve(self, library):
        self.solve()

    def time_solve_nearby(self, library):
        self.again()

    def track_cost(self, library):
        return self.again().cost

    track_cost.unit = "1"


class ClosedLoop:
    """CPU time of a step, the 99th percentile in a closed loop with noise; SciPy's over few steps."""

    params = [LIBRARIES, ["to 1e-6", "one iteration"]]
    param_names = ["library", "mode"]
    timeout = 300

    def setup(self, library, mode):
        if library == "scipy" and mode == "one iteration":
            raise NotImplementedError  # asv leaves the combination out

    def track_step(self, library, mode):
        problem = cart.swing_up()
        if library == "scipy":
            times, _, _ = cart.closed_loop(problem, cart.Scipys(), 5)
        else:
            iterations, tolerance = (100, cart.TOLERANCE) if mode == "to 1e-6" else (1, None)
            times, _, failed = cart.closed_loop(problem, cart.Ours(problem, iterations, tolerance), 600)
            assert not failed
        return float(np.percentile(times, 99))

    track_step.unit = "us"
