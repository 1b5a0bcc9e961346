"""A controller that runs in real time: everything is set up once, a step is one call of compiled code."""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels import arrays
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.backend.array_objects import descriptor, header_words
from nlsq.kernels.backend.builtin_functions import builtin_function
from nlsq.kernels.optimal_control import stage_layout as layout
from nlsq.kernels.optimal_control.real_time import call_control, control
from nlsq.kernels.optimal_control.stage_sqp import solve_stages
from nlsq.problem.stage_functions import StageService
from nlsq.solvers.optimal_control.result import OptimalControlResult, result_of, status_of
from nlsq.solvers.optimal_control.stage_workspace import StageWorkspace, write_options
from nlsq.status import Status

FloatArray = NDArray[np.float64]
FIRST_TOLERANCE = 1e-6
FIRST_ITERATIONS = 200


class Problem(Protocol):
    """What a controller asks of its problem."""

    def write_parameters(self, values: FloatArray, parameters: ArrayLike | None) -> None:
        """Write p into the memory of a workspace."""
        ...

    def write_start(self, space: StageWorkspace, x0: FloatArray, x_guess: Any, u_guess: Any, warm: Any) -> None:
        """Write a state and a guess of the plan."""
        ...

    def read_state(self, x0: ArrayLike) -> FloatArray:
        """Return a state as an array."""
        ...


@final
class Controller:
    """Control in real time; made by `OptimalControl.controller`.

    Each step shifts the last plan, improves it for the measured state by one or a few SQP iterations, and gives its
    first control [1]_. Neither arrays nor other memory are allocated.

    Attributes
    ----------
    states, controls : ndarray, shapes (N + 1, nx) and (N, nu)
        The plan, as views that the next step overwrites.
    status : Status
        How the last step ended: ``OPTIMALITY`` within the tolerance, ``MAX_ITERATIONS`` after the number of iterations
        asked for. Anything else says why there is no new plan; then the last good one goes on, shifted.
    solution : OptimalControlResult
        A copy of plan, multipliers and measures. Where the number of iterations is fixed, cost and violations are those
        of the point that the last iteration began with.

    References
    ----------
    .. [1] M. Diehl, H. G. Bock, J. P. Schloder, "A real-time iteration scheme for nonlinear optimization in optimal
       feedback control", SIAM J. Control Optim. 43 (2005).
    """

    __slots__ = (
        "_alive",
        "_entry",
        "_function",
        "_options",
        "_plan",
        "_problem",
        "_space",
        "_u",
        "_values",
        "controls",
        "states",
    )

    def __init__(
        self,
        problem: Problem,
        space: StageWorkspace,
        services: tuple[StageService, StageService],
        values: FloatArray,
        iterations: int,
        tolerance: float | None,
        shift: bool,
    ) -> None:
        self._problem, self._space, self._values, self._alive = problem, space, values, services
        tests = tolerance is not None
        self._options = (tolerance or FIRST_TOLERANCE, iterations, {"tests": tests, "is_warm": True, "shifts": shift})
        self._u = np.zeros(space.nu)
        self.states, self.controls = space.z[space.nu :, : space.stages + 1].T, space.z[: space.nu, : space.stages].T
        self._entry = control.entry()
        self._function: Any = None
        plan = self._plan = np.zeros(arrays.PLAN, dtype=np.int64)
        plan[arrays.DOUBLES], plan[arrays.INTEGERS] = address_of_array(space.w), address_of_array(space.iw)
        plan[arrays.HEADER], plan[arrays.DESCRIPTOR] = header_words(), descriptor()

    def begin(self) -> None:
        """Take the plan in the workspace for the first one."""
        tolerance, iterations, further = self._options
        write_options(self._space, tolerance, iterations, **further)
        calls_python = any(one.calls_python for one in self._alive)
        if not calls_python and not compile_disabled() and header_words() == arrays.HEADER_WORDS:
            self._function = builtin_function(call_control.load(), self._plan)
        else:
            self._function = self._in_general

    def prepare(self, x0: ArrayLike, *, x_guess: ArrayLike | None = None, u_guess: ArrayLike | None = None) -> Status:
        """Solve for a first plan; without it the first step does so.

        Parameters
        ----------
        x0 : array_like, shape (nx,)
            First state.
        x_guess, u_guess : array_like, optional
            See `OptimalControl.solve`.
        """
        space = self._space
        self._problem.write_start(space, self._problem.read_state(x0), x_guess, u_guess, None)
        write_options(space, FIRST_TOLERANCE, FIRST_ITERATIONS, tests=True, is_warm=False)
        solve_stages.entry()(*space.handles)
        status = status_of(space)
        self.begin()
        return status

    def step(self, x_measured: Any, parameters: ArrayLike | None = None) -> FloatArray:
        """Return the control for a measured state.

        Parameters
        ----------
        x_measured : ndarray, shape (nx,)
            State; the quick way is for a contiguous float64 array.
        parameters : array_like, optional
            p from now on, shape (np,) or (N + 1, np).

        Returns
        -------
        ndarray, shape (nu,)
            Always the same array, overwritten by the next step.

        Raises
        ------
        ValueError
            If arrays have the wrong shape. Nothing else raises: see `status`.
        """
        if parameters is not None:
            self._problem.write_parameters(self._values, parameters)
        if self._function is None:
            self.prepare(x_measured)
        u = self._u
        if self._function(u, x_measured) is not u:
            self._in_general(u, x_measured)
        return u

    def _in_general(self, u: FloatArray, x_measured: ArrayLike) -> FloatArray:
        """Take a step for a state of any kind."""
        space = self._space
        given = np.asarray(x_measured, dtype=float)
        if given.shape != space.initial.shape:
            raise ValueError(f"x_measured has shape {given.shape}; it must be {space.initial.shape}.")
        space.initial[:] = given
        self._entry(*space.handles)
        u[:] = space.z[: space.nu, 0]
        return u

    @property
    def status(self) -> Status:
        """How the last step ended."""
        return status_of(self._space)

    @property
    def has_plan(self) -> bool:
        """Whether the last step made a new plan."""
        return int(self._space.iw[layout.STATUS]) in (layout.SOLVED, layout.ITERATION_LIMIT)

    @property
    def iterations(self) -> int:
        """SQP iterations of the last step."""
        return int(self._space.iw[layout.ITERATIONS])

    @property
    def solution(self) -> OptimalControlResult:
        """A copy of the plan, with multipliers and measures."""
        return result_of(self._space)
