"""What solving an optimal control problem gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.optimal_control import stage_layout as layout
from nlsq.solvers.optimal_control.stage_workspace import StageWorkspace
from nlsq.status import Status

FloatArray = NDArray[np.float64]

INFEASIBLE = (
    "The bounds of states cannot be kept from this x0: relax them, or let them give way, with a slack as a control "
    "whose size is a residual."
)

_STATUSES = {
    layout.RUNNING: Status.RUNNING,
    layout.SOLVED: Status.OPTIMALITY,
    layout.ITERATION_LIMIT: Status.MAX_ITERATIONS,
    layout.NOT_FINITE: Status.DIVERGED,
    layout.INFEASIBLE: Status.LOCALLY_INFEASIBLE,
    layout.NO_PROGRESS: Status.STALLED,
    layout.FAILED: Status.DIVERGED,
}


def status_of(space: StageWorkspace) -> Status:
    """Return why the solver stopped."""
    code = int(space.iw[layout.STATUS])
    if code == layout.NOT_FINITE and space.iw[layout.ITERATIONS] == 0:
        return Status.NONFINITE_START
    return _STATUSES[code]


@dataclass(frozen=True, slots=True)
class StageMultipliers:
    """Multipliers of an optimal control problem.

    The Lagrangian is ``cost + sum_k dynamics_{k+1}' (f(x_k, u_k) - x_{k+1})``, less each multiplier of a bound times
    the distance to it; that of x_0, which is given, is the derivative of the optimal cost by it.

    Attributes
    ----------
    dynamics : ndarray, shape (N + 1, nx)
        Costates.
    state_lower, state_upper : ndarray, shape (N + 1, nx)
        Of the bounds on states, zero where there is none.
    control_lower, control_upper : ndarray, shape (N, nu)
        Of the bounds on controls, likewise.
    """

    dynamics: FloatArray
    state_lower: FloatArray
    state_upper: FloatArray
    control_lower: FloatArray
    control_upper: FloatArray


@dataclass(frozen=True, slots=True)
class OptimalControlResult:
    """The outcome of `OptimalControl.solve`.

    Attributes
    ----------
    states : ndarray, shape (N + 1, nx)
        x_0 to x_N.
    controls : ndarray, shape (N, nu)
        u_0 to u_{N-1}.
    cost : float
        ``1/2 sum_k |r_k|^2 + 1/2 |r_N|^2``.
    status : Status
        Why the solver stopped; ``message`` says it in words, ``converged`` whether it is a success.
    constr_violation : float
        Largest violation of the dynamics; bounds are kept.
    optimality : float
        Largest entry of the Lagrangian's gradient.
    complementarity : float
        Largest product of a bound's multiplier and the distance to it.
    multipliers : StageMultipliers
        Of dynamics and bounds.
    nit, qp_nit, nfev : int
        SQP iterations, iterations inside the quadratic programs, and evaluations of all stages.
    """

    states: FloatArray
    controls: FloatArray
    cost: float
    status: Status
    constr_violation: float
    optimality: float
    complementarity: float
    multipliers: StageMultipliers
    nit: int
    qp_nit: int
    nfev: int

    @property
    def converged(self) -> bool:
        """Whether the first-order conditions hold within the tolerance."""
        return self.status.converged

    @property
    def message(self) -> str:
        """What happened, in a sentence."""
        if self.status is Status.LOCALLY_INFEASIBLE:
            return INFEASIBLE
        return self.status.message


def result_of(space: StageWorkspace) -> OptimalControlResult:
    """Copy the outcome out of a workspace."""
    w, iw, stages, nu = space.w, space.iw, space.stages, space.nu
    sides: dict[float, Any] = {side: np.zeros((space.nx + nu, stages + 1)) for side in (1.0, -1.0)}
    for b, (component, side) in enumerate(space.rows):
        first = 0 if component < nu else 1
        sides[side][component, first : first + stages] = space.multipliers[b, first : first + stages]
    return OptimalControlResult(
        states=space.z[nu:, : stages + 1].T.copy(),
        controls=space.z[:nu, :stages].T.copy(),
        cost=float(w[layout.COST]),
        status=status_of(space),
        constr_violation=float(w[layout.VIOLATION]),
        optimality=float(w[layout.STATIONARITY]),
        complementarity=float(w[layout.COMPLEMENTARITY]),
        multipliers=StageMultipliers(
            dynamics=space.costates[:, : stages + 1].T.copy(),
            state_lower=sides[1.0][nu:].T.copy(),
            state_upper=sides[-1.0][nu:].T.copy(),
            control_lower=sides[1.0][:nu, :stages].T.copy(),
            control_upper=sides[-1.0][:nu, :stages].T.copy(),
        ),
        nit=int(iw[layout.ITERATIONS]),
        qp_nit=int(iw[layout.QP_ITERATIONS]),
        nfev=int(iw[layout.EVALUATIONS]),
    )


def warm_start(space: StageWorkspace, result: OptimalControlResult) -> None:
    """Write a result into a workspace."""
    stages, nu = space.stages, space.nu
    space.z[nu:, : stages + 1], space.z[:nu, :stages] = result.states.T, result.controls.T
    known = result.multipliers
    space.costates[:, : stages + 1] = known.dynamics.T
    for b, (component, side) in enumerate(space.rows):
        if component < nu:
            of_controls = known.control_lower if side > 0.0 else known.control_upper
            space.multipliers[b, :stages] = of_controls[:, component]
        else:
            of_states = known.state_lower if side > 0.0 else known.state_upper
            space.multipliers[b, : stages + 1] = of_states[:, component - nu]
