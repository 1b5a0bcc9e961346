"""Optimal control problems.

    min  1/2 sum_k |r(x_k, u_k)|^2 + 1/2 |r_N(x_N)|^2,    k = 0 ... N - 1
    s.t. x_0 given,  x_{k+1} = f(x_k, u_k),  bounds on x_k, k > 0, and u_k

They are solved by Gauss-Newton SQP, whose quadratic programs an interior-point method solves by a Riccati recursion:
time and memory grow in proportion to N (`nlsq.kernels.optimal_control`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.compiler.stage_source import StageShape
from nlsq.kernels.optimal_control import stage_layout as layout
from nlsq.kernels.optimal_control.stage_sqp import solve_stages
from nlsq.problem.stage_functions import StageService, StageSpec
from nlsq.solvers.optimal_control.controller import Controller
from nlsq.solvers.optimal_control.result import OptimalControlResult, result_of, warm_start
from nlsq.solvers.optimal_control.stage_workspace import StageWorkspace, lead_of, row_of, write_exact, write_options

FloatArray = NDArray[np.float64]
MOST_QP_ITERATIONS = 60


def no_terminal_cost(x: Any, *p: Any) -> Any:
    """Give the residual of a problem whose last state costs nothing."""
    return 0.0 * x[:1]


@final
class OptimalControl:
    """A problem of N stages that are joined by dynamics.

    Parameters
    ----------
    dynamics : callable
        ``f(x, u) -> x`` of the next stage, shape (nx,); see `rk4` for differential equations.
    stage_residual : callable
        ``r(x, u)``, a vector of any fixed length.
    terminal_residual : callable, optional
        ``r_N(x)``; by default the last state costs nothing.
    stages, states, controls : int
        N, nx and nu.
    state_bounds, control_bounds : tuple of array_like, optional
        ``(lower, upper)``, each a number, (nx,) or (N + 1, nx), and for controls (nu,) or (N, nu); infinite where
        there is none. The first state is given and not bounded.
    parameters : int
        Length of a vector p that all functions take for a last argument, ``f(x, u, p)``, ``r(x, u, p)``, ``r_N(x,
        p)``: references and weights, say, which may be others at each solve, and at each stage.
    hessian : {"exact", "gauss-newton"}
        With ``"exact"`` solves to a tolerance use the Lagrangian's Hessian where it is known, which is for plain
        functions that are traced, and where it is positive definite; a fixed number of iterations is always
        Gauss-Newton's.

    Attributes
    ----------
    derivatives : dict of str
        Where the derivatives of stages and terminal residual come from.

    Raises
    ------
    ValueError
        If sizes or bounds make no sense, or a function returns another length than it should; the message names it.

    Notes
    -----
    Plain functions are traced: they have to be made of NumPy's functions and arithmetic, without branches on x, u or
    p; what else they read is read when the problem is made. njit functions are differentiated by dual numbers. Others
    are called back and differenced, which is slow; `derivatives` says why.
    """

    def __init__(
        self,
        dynamics: Callable[..., Any],
        stage_residual: Callable[..., Any],
        terminal_residual: Callable[..., Any] | None = None,
        *,
        stages: int,
        states: int,
        controls: int,
        state_bounds: tuple[ArrayLike, ArrayLike] | None = None,
        control_bounds: tuple[ArrayLike, ArrayLike] | None = None,
        parameters: int = 0,
        hessian: Literal["exact", "gauss-newton"] = "exact",
    ) -> None:
        for name, size, least in (("stages", stages, 1), ("states", states, 1), ("controls", controls, 1)):
            if int(size) != size or size < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {size!r}.")
        if int(parameters) != parameters or parameters < 0:
            raise ValueError(f"parameters is the length of p, got {parameters!r}.")
        self.stages, self.states, self.controls = int(stages), int(states), int(controls)
        if hessian not in ("exact", "gauss-newton"):
            raise ValueError(f"hessian must be 'exact' or 'gauss-newton', got {hessian!r}.")
        self.parameters, self.hessian = int(parameters), hessian
        self._functions = dynamics, stage_residual, terminal_residual or no_terminal_cost
        self._lengths = self._measured()
        self._bounds = self._read_bounds(state_bounds, control_bounds)
        self._lock = threading.Lock()
        self._space, self._services, self._values = self._workspace()

    @property
    def derivatives(self) -> dict[str, str]:
        """Where the derivatives of stages and terminal residual come from."""
        return {"stage": self._services[0].derivatives, "terminal": self._services[1].derivatives}

    def _measured(self) -> tuple[int, int, int]:
        """Call each function once for the length of what it returns."""
        x, u, p = np.full(self.states, 0.5), np.full(self.controls, 0.5), np.full(self.parameters, 0.5)
        further = (p,) if self.parameters else ()
        names = "dynamics", "stage_residual", "terminal_residual"
        lengths = []
        for name, function in zip(names, self._functions, strict=True):
            arguments = (x,) if name == "terminal_residual" else (x, u)
            with np.errstate(all="ignore"):
                value = np.asarray(function(*(one.copy() for one in (*arguments, *further))), dtype=float)
            if value.ndim != 1:
                raise ValueError(f"{name} must return a vector, got an array of shape {value.shape}.")
            lengths.append(value.size)
        if lengths[0] != self.states:
            raise ValueError(f"dynamics must return {self.states} states, got {lengths[0]} values.")
        return lengths[0], lengths[1], lengths[2]

    def _read_bounds(self, state_bounds: Any, control_bounds: Any) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper bounds of (u, x), each (nu + nx, N + 1)."""
        both = []
        for side, name in enumerate(("lower", "upper")):
            default = -np.inf if side == 0 else np.inf
            parts = []
            for what, given, width, rows in (
                ("control_bounds", control_bounds, self.controls, self.stages),
                ("state_bounds", state_bounds, self.states, self.stages + 1),
            ):
                values = np.asarray(default if given is None else given[side], dtype=float)
                try:
                    full = np.broadcast_to(values, (rows, width))
                except ValueError:
                    raise ValueError(
                        f"{what}: the {name} bound has shape {values.shape}, which is none of (), ({width},) and "
                        f"({rows}, {width})."
                    ) from None
                if np.isnan(full).any():
                    raise ValueError(f"{what}: the {name} bound has NaN; use an infinity where there is no bound.")
                finite = np.isfinite(full[1:] if what == "state_bounds" else full)
                if (finite.any(axis=0) != finite.all(axis=0)).any():
                    raise ValueError(f"{what}: the {name} bound of a component is finite at some stages alone.")
                parts.append(np.vstack([full, full[-1:]])[: self.stages + 1].T)
            both.append(np.ascontiguousarray(np.vstack(parts)))
        lower, upper = both
        crossed = np.argwhere(~(lower < upper))
        if crossed.size:
            j, k = crossed[0]
            what = f"control {j}" if j < self.controls else f"state {j - self.controls}"
            raise ValueError(
                f"the bounds of {what} leave no room at stage {k}: {lower[j, k]} to {upper[j, k]}; a component that is "
                "to be held goes into the dynamics."
            )
        return lower, upper

    def _workspace(self) -> tuple[StageWorkspace, tuple[StageService, StageService], FloatArray]:
        """Return memory and services of their own."""
        stages, nx, nu = self.stages, self.states, self.controls
        space = StageWorkspace(stages, nx, nu, *self._bounds)
        lead, row, block = lead_of(stages), row_of(nx + nu), int(space.iw[layout.BLOCK])
        values = np.zeros(self.parameters * lead + stages)
        dynamics, residual, terminal = self._functions
        stage = StageSpec(
            [dynamics, residual], list(self._lengths[:2]), StageShape(nx, nu, 0, nx, row, block), stages, lead,
            self.parameters, values, space.sizes, space.units, space.costates_address,
        )  # fmt: skip
        end = StageSpec(
            [terminal], [self._lengths[2]], StageShape(nx, nu, nu, 0, row, block), 1, lead, self.parameters,
            values[stages:], space.sizes[nu:], space.units[nu:],
        )  # fmt: skip
        services = StageService(stage), StageService(end)
        space.write_services(*services)
        space.iw[layout.MAX_QP_ITERATIONS] = MOST_QP_ITERATIONS
        return space, services, values[: self.parameters * lead].reshape(self.parameters, lead)

    def write_parameters(self, values: FloatArray, parameters: ArrayLike | None) -> None:
        """Write p into the memory of a workspace, the same at all stages or one for each."""
        if parameters is None:
            if self.parameters:
                raise ValueError(f"parameters are missing: the functions take p of length {self.parameters}.")
            return
        given = np.asarray(parameters, dtype=float)
        if given.shape not in ((self.parameters,), (self.stages + 1, self.parameters)):
            raise ValueError(
                f"parameters has shape {given.shape}; it must be ({self.parameters},) or ({self.stages + 1}, "
                f"{self.parameters})."
            )
        values[:, : self.stages + 1] = given[:, None] if given.ndim == 1 else given.T

    def write_start(self, space: StageWorkspace, x0: FloatArray, x_guess: Any, u_guess: Any, warm: Any) -> None:
        """Write the given state and a guess of the plan: by default x0 at all stages, and controls near zero."""
        space.initial[:] = x0
        nu, stages = self.controls, self.stages
        if warm is not None:
            if warm.states.shape != (stages + 1, self.states) or warm.controls.shape != (stages, nu):
                raise ValueError("warm_start is the result of a problem of other sizes.")
            warm_start(space, warm)
        else:
            space.z[...], space.costates[...], space.multipliers[...] = 0.0, 0.0, 0.0
            space.z[nu:] = x0[:, None]
        if x_guess is not None:
            guess = _guess(x_guess, "x_guess", (stages + 1, self.states))
            space.z[nu:, : stages + 1] = guess.T
        if u_guess is not None:
            space.z[:nu, :stages] = _guess(u_guess, "u_guess", (stages, nu)).T
        lower, upper = self._bounds
        np.clip(space.z[:, 1 : stages + 1], lower[:, 1:], upper[:, 1:], out=space.z[:, 1 : stages + 1])
        np.clip(space.z[:nu, 0], lower[:nu, 0], upper[:nu, 0], out=space.z[:nu, 0])
        if space.calls_python:
            space.guess_sizes(lower, upper)

    def use_exact(self, space: StageWorkspace, services: tuple[StageService, StageService]) -> None:
        """Have exact Hessians compiled at the first solve with a tolerance."""
        if self.hessian == "exact" and not space.knows_exact:
            write_exact(space, *services)

    def solve(
        self,
        x0: ArrayLike,
        *,
        x_guess: ArrayLike | None = None,
        u_guess: ArrayLike | None = None,
        parameters: ArrayLike | None = None,
        tolerance: float = 1e-6,
        max_iterations: int = 200,
        warm_start: OptimalControlResult | None = None,
    ) -> OptimalControlResult:
        """Solve for a first state.

        Parameters
        ----------
        x0 : array_like, shape (nx,)
            First state.
        x_guess, u_guess : array_like, optional
            Where to begin, (N + 1, nx) and (N, nu) or one row for all stages; by default x0 and zero.
        parameters : array_like, optional
            p, shape (np,) or (N + 1, np).
        tolerance : float
            Of the violation of the dynamics, relative to the sizes that states have in the plan; and of the gradient
            of the Lagrangian, times the sizes of states and controls, and of complementary products, relative to what
            controls of that size make of the cost. So the units of states, controls and residuals do not matter.
        max_iterations : int
            Limit of SQP iterations.
        warm_start : OptimalControlResult, optional
            Begin with states, controls and multipliers of an earlier result.

        Returns
        -------
        OptimalControlResult
            Its status says whether a solution was found; what the functions raise is raised.
        """
        first = self.read_state(x0)
        with self._lock:
            space = self._space
            self.write_parameters(self._values, parameters)
            self.use_exact(space, self._services)
            self.write_start(space, first, x_guess, u_guess, warm_start)
            write_options(space, tolerance, max_iterations, tests=True, is_warm=warm_start is not None)
            code = solve_stages.entry()(*space.handles)
            if code == layout.FAILED:
                for service, z in zip(self._services, (space.z, space.z[:, self.stages :]), strict=True):
                    for one in (z, space.z_new if z is space.z else space.z_new[:, self.stages :]):
                        service.raise_original(one)
            return result_of(space)

    def read_state(self, x0: ArrayLike) -> FloatArray:
        """Return a first state as an array, refused where it is none."""
        first = np.asarray(x0, dtype=float)
        if first.shape != (self.states,):
            raise ValueError(f"x0 has shape {first.shape}; it must be ({self.states},).")
        if not np.isfinite(first).all():
            raise ValueError(f"x0 is not finite at {int(np.argmin(np.isfinite(first)))}.")
        return first

    def controller(
        self,
        *,
        iterations: int = 1,
        tolerance: float | None = None,
        parameters: ArrayLike | None = None,
        shift: bool = True,
        start: OptimalControlResult | None = None,
    ) -> Controller:
        """Return a controller for real time, with memory of its own.

        Parameters
        ----------
        iterations : int
            SQP iterations in each step; with a tolerance, the most that it may take.
        tolerance : float, optional
            Iterate until the first-order conditions hold within it, as in `solve`, with a line search; by default the
            number of iterations is fixed, and steps are full.
        parameters : array_like, optional
            p, to begin with.
        shift : bool
            Whether a step comes one stage later than the last, so that the plan is shifted by a stage; False where
            steps come more often, and each begins with the last plan as it is.
        start : OptimalControlResult, optional
            First plan; without it the first step solves for one, to 1e-6.
        """
        if int(iterations) != iterations or iterations < 1:
            raise ValueError(f"iterations must be a positive integer, got {iterations!r}.")
        if tolerance is not None and not tolerance > 0.0:
            raise ValueError(f"tolerance must be positive, got {tolerance!r}.")
        space, services, values = self._workspace()
        self.write_parameters(values, parameters)
        self.use_exact(space, services)  # for the first plan
        controller = Controller(self, space, services, values, int(iterations), tolerance, shift)
        if start is not None:
            self.write_start(space, start.states[0], None, None, start)
            controller.begin()
        return controller


def _guess(value: ArrayLike, name: str, shape: tuple[int, int]) -> FloatArray:
    given = np.asarray(value, dtype=float)
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {given.shape}; it must be {shape} or ({shape[1]},).") from None
