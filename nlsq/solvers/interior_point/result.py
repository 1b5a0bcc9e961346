"""What a solve with constraints leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.status import SolveResult

FloatArray = NDArray[np.float64]


@dataclass
class ConstrainedResult(SolveResult):
    """The outcome of ``nlsq.solve`` on a problem with constraints; what `SolveResult` has, and more.

    Attributes
    ----------
    multipliers : Multipliers
        ``constraints``, ``lower`` and ``upper``: ``gradient + A' constraints - lower + upper = 0`` at a solution.
    constr_violation : float
        Largest violation of a constraint or bound, as they were given.
    dual_infeasibility, complementarity : float
        Largest component of the gradient of the Lagrangian, and product of a multiplier and its distance, in the
        scale of the problem as it was given.
    constraint_values : ndarray, shape (mc,)
        c(x).
    constraint_jac : ndarray (mc, n) or csr_array
        Its derivative.
    constraint_lower, constraint_upper : ndarray, shape (mc,)
        cl and cu.
    active_constraints : ndarray of bool, shape (mc,)
        Equations, and constraints at a limit: nearer than their multiplier is large, as the problem is scaled.
    constraint_parts : tuple of (str, int)
        Name and number of rows of each constraint as it was given; ``constraint_names`` has a name for each row.
    nhev : int
        Evaluations of second derivatives.
    factorizations, inertia_corrections : int
        Of the linear systems for search directions: iterations and repetitions with another regularisation together,
        and the repetitions alone.
    other_factorizations : int
        For first multipliers, and in restoration.
    analyses : int
        Of the pattern of sparse systems: one a solve; 0 where they are dense.
    restorations : int
        Iterations that lowered the violation alone.
    hessian : str
        Which second derivatives were used.
    """

    dual_infeasibility: float = np.nan
    complementarity: float = np.nan
    constraint_values: FloatArray = field(default_factory=lambda: np.empty(0))
    constraint_jac: Any = None
    constraint_lower: FloatArray = field(default_factory=lambda: np.empty(0))
    constraint_upper: FloatArray = field(default_factory=lambda: np.empty(0))
    active_constraints: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    constraint_parts: tuple[tuple[str, int], ...] = ()
    nhev: int = 0
    factorizations: int = 0
    inertia_corrections: int = 0
    other_factorizations: int = 0
    analyses: int = 0
    restorations: int = 0
    hessian: str = ""

    @cached_property
    def constraint_names(self) -> list[str]:
        """What messages call the rows of the constraints: ``"constraints[2][0]"`` is the first of the third."""
        return [f"{name}[{i}]" for name, rows in self.constraint_parts for i in range(rows)]

    @cached_property
    def active_rows(self) -> Any:
        """Gradients of the active constraints and bounds, one below the other; sparse where J is."""
        bounds = np.flatnonzero(self.active_mask)
        if isinstance(self.constraint_jac, np.ndarray):
            return np.vstack([self.constraint_jac[self.active_constraints], np.eye(self.x.size)[bounds]])
        from scipy.sparse import csr_array, vstack

        ones = csr_array((np.ones(bounds.size), (np.arange(bounds.size), bounds)), shape=(bounds.size, self.x.size))
        return vstack([self.constraint_jac[np.flatnonzero(self.active_constraints)], ones], format="csr")

    @cached_property
    def projected_gradient(self) -> FloatArray:
        """Gradient projected on the tangent space of the active constraints and bounds; 0 at a solution."""
        from nlsq.linalg.tangent import tangent_projection

        projected: FloatArray = tangent_projection(self.active_rows).project(self.gradient)
        return projected

    def report(self) -> str:
        """Say in words and numbers how the solve ended and what holds the solution."""
        from nlsq.solvers.kkt_report import describe

        return describe(self)

    def log(self) -> str:
        """Return the iterations as a table; they are kept with ``history=True``."""
        from nlsq.solvers.iteration_log import format_log

        return format_log(self.history)  # type: ignore[arg-type]
