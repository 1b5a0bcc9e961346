"""Optimal control by CasADi: its SQP method with the active-set solver qrqp, as C code compiled by gcc -O3.

Gauss-Newton matrices, exact first derivatives, warm starts; the problem is stated by multiple shooting, stage by stage.
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .outcome import Missing

__all__ = ["SqpController"]


class SqpController:
    """A controller in the manner of `nlsq.Controller`: ``step(x)`` gives the control.

    Parameters
    ----------
    dynamics, stage_residual, terminal_residual : callable
        Of lists of CasADi expressions, to lists.
    stages, states, controls : int
        Sizes.
    limit : float
        Bound of the size of controls.
    iterations : int
        Most SQP iterations.
    tolerance : float
        Of both feasibility and optimality; 0 for a fixed number of iterations.
    """

    def __init__(
        self, dynamics, stage_residual, terminal_residual, *, stages, states, controls, limit, iterations, tolerance
    ):
        try:
            import casadi
        except ImportError:
            raise Missing("casadi is not installed") from None
        self.stages, self.states, self.controls = stages, states, controls
        self.width = states + controls
        n = stages * self.width + states
        z, first = casadi.SX.sym("z", n), casadi.SX.sym("x0", states)
        residuals, defects = [], [z[:states] - first]
        for k in range(stages):
            start = k * self.width
            x = [z[start + i] for i in range(states)]
            u = [z[start + states + i] for i in range(controls)]
            residuals += stage_residual(x, u)
            following = z[start + self.width : start + self.width + states]
            defects.append(casadi.vertcat(*dynamics(x, u)) - following)
        residuals += terminal_residual([z[n - states + i] for i in range(states)])
        r, g = casadi.vertcat(*residuals), casadi.vertcat(*defects)
        jac = casadi.jacobian(r, z)
        multiplier = casadi.SX.sym("sigma")
        hessian = casadi.Function(
            "gauss_newton",
            [z, first, multiplier, casadi.SX.sym("lam", g.numel())],
            [multiplier * casadi.triu(jac.T @ jac)],
            ["x", "p", "lam_f", "lam_g"],
            ["triu_hess_gamma_x_x"],
        )
        options = {
            "qpsol": "qrqp", "hess_lag": hessian, "max_iter": iterations, "tol_pr": tolerance, "tol_du": tolerance,
            "print_header": False, "print_iteration": False, "print_status": False, "print_time": False,
            "error_on_fail": False, "min_step_size": 1e-12,
            "qpsol_options": {"print_iter": False, "print_header": False, "print_info": False, "error_on_fail": False},
        }  # fmt: skip
        if not tolerance:
            options["max_iter_ls"] = 0
        solver = casadi.nlpsol(
            "solver", "sqpmethod", {"x": z, "p": first, "f": 0.5 * casadi.sumsqr(r), "g": g}, options
        )
        self._load(casadi, solver)
        bounds = np.full((2, n), np.inf)
        bounds[0] = -np.inf
        for k in range(stages):
            where = slice(k * self.width + states, (k + 1) * self.width)
            bounds[0, where], bounds[1, where] = -limit, limit
        self._set_arguments(n, g.numel(), bounds)

    def _load(self, casadi, solver):
        folder = self._folder = tempfile.TemporaryDirectory()
        source = Path(folder.name) / "solver.c"
        generator = casadi.CodeGenerator("solver.c")
        generator.add(solver)
        generator.generate(folder.name + "/")
        library = source.with_suffix(".so")
        try:
            subprocess.run(
                ["gcc", "-O3", "-march=native", "-fPIC", "-shared", source, "-o", library, "-lm"], check=True
            )
        except FileNotFoundError:
            raise Missing("gcc is not installed") from None
        self._library = ctypes.CDLL(str(library))
        self._external = casadi.external("solver", str(library))

    def _set_arguments(self, n, constraints, bounds):
        zeros = np.zeros(constraints)
        self.z, self.costates, self.multipliers = np.zeros(n), np.zeros(constraints), np.zeros(n)
        self.first = np.zeros(self.states)
        self._kept = [bounds[0].copy(), bounds[1].copy(), zeros, zeros.copy()]
        buffer, self._evaluate = self._external.buffer()
        self._buffer = buffer
        given = [self.z, self.first, *self._kept, self.multipliers, self.costates]
        for position, array in enumerate(given):  # x0, p, lbx, ubx, lbg, ubg, lam_x0, lam_g0
            buffer.set_arg(position, memoryview(array))
        names = [self._external.name_out(k) for k in range(self._external.n_out())]
        self._results = {}
        for position, name in enumerate(names):
            size = self._external.nnz_out(position)
            self._results[name] = np.zeros(max(size, 1))
            buffer.set_res(position, memoryview(self._results[name]))

    def prepare(self, states, controls):
        """Begin with a plan, (N + 1, nx) and (N, nu)."""
        self.costates[:], self.multipliers[:] = 0.0, 0.0
        self.z[: -self.states] = np.hstack([states[:-1], controls]).ravel()
        self.z[-self.states :] = states[-1]

    def shift(self):
        """Let the plan begin one stage later; not timed."""
        width, states = self.width, self.states
        for array in (self.z, self.multipliers):
            array[: (self.stages - 1) * width] = array[width : self.stages * width].copy()
            array[(self.stages - 1) * width : (self.stages - 1) * width + states] = array[-states:]
        self.costates[states:-states] = self.costates[2 * states :].copy()

    def step(self, x):
        """Solve for a state; the control is a view."""
        self.first[:] = x
        self._evaluate()
        self.z[:] = self._results["x"]
        self.costates[:] = self._results["lam_g"]
        self.multipliers[:] = self._results["lam_x"]
        return self.z[self.states : self.width]

    def violation(self):
        """Return the largest violation of the dynamics after the last step."""
        return float(np.abs(self._results["g"]).max())
