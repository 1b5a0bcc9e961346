"""The functions of a problem and the memory of its solves: made once, used by each solve of the problem."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import address_of_kernel
from nlsq.kernels.interior_point import dense_services, layout
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.constraints import ConstraintSet
from nlsq.problem.vector_function import VectorFunction, vector_function
from nlsq.solvers.dense import LOSS_CODES
from nlsq.solvers.interior_point.hessian import Choice, choose
from nlsq.solvers.interior_point.options import InteriorPoint
from nlsq.solvers.interior_point.workspace import Workspace

FloatArray = NDArray[np.float64]
DENSE_UP_TO = 200  # variables and constraints together: larger systems are sparse where the functions' derivatives are
FEW = 64  # variables below which a solve is too short to let other threads run
NOTHING = 1e-12  # a start below says nothing about a variable's size
MODERATE = 1e-2  # sizes of variables from this to its inverse are taken as they are
DENSE_SERVICES = (
    (layout.EVALUATE, dense_services.evaluate),
    (layout.LINEARISE, dense_services.linearise),
    (layout.MULTIPLY, dense_services.multiply),
    (layout.CURVATURE, dense_services.curvature),
    (layout.FACTORIZE, dense_services.factorize),
    (layout.SOLVE, dense_services.solve_kkt),
)


@final
class Plan:
    """A problem as the kernels see it.

    Parameters
    ----------
    problem : LeastSquaresProblem
        What is solved.
    options : InteriorPoint
        How.

    Attributes
    ----------
    residual : VectorFunction
        r(x).
    constraints : VectorFunction or None
        c(x).
    parts : tuple of (str, int)
        Name and number of rows of each constraint.
    space : Workspace
        Memory.
    exported : int
        Numbers that `export` writes.
    choice : Choice
        Second derivatives.
    sparse : SparseServices or None
        What stands in for the dense kernels.
    functions : list of VectorFunction
        Residual and constraints.
    sizes : ndarray, shape (n,)
        Typical sizes of the variables.
    bounded : bool
        Whether any bound is finite.
    calls_python : bool
        Whether a function or a service is Python code.
    takes_differences : bool
        Whether functions may be evaluated for derivatives.
    releases_gil : bool
        Whether other threads may run during a solve.
    """

    def __init__(self, problem: LeastSquaresProblem, options: InteriorPoint) -> None:
        self.problem, self.options = problem, options
        self.residual = residual_function(problem)
        held: ConstraintSet | None = problem.constraints
        self.constraints: VectorFunction | None = None if held is None else held.function
        self.functions = [self.residual] if self.constraints is None else [self.residual, self.constraints]
        self.limits = (np.empty(0), np.empty(0)) if held is None else (held.lower, held.upper)
        self.parts = () if held is None else tuple((one.name, one.m) for one in held.blocks)
        n = problem.n
        self.lower = np.full(n, -np.inf) if problem.lower is None else problem.lower
        self.upper = np.full(n, np.inf) if problem.upper is None else problem.upper
        self.bounded = problem.lower is not None
        self.sizes = typical_sizes(problem.x0, self.lower, self.upper, problem.scale)
        loss = problem.loss
        if callable(loss.function):
            raise NotImplementedError("problems with constraints take the losses that have names, not a function.")
        self.loss = LOSS_CODES[str(loss.function)], float(loss.scale)
        self.uses = self.evaluations_before = 0
        self.sparse: Any = None
        self.dense, self.reason = self._is_dense()
        rows = [] if self.constraints is None else [self.constraints.m]
        self.space = Workspace(self.residual.m, n, rows, dense=self.dense, quasi=self.dense)
        self._fixed = self.space.iw[layout.MC + 1 : layout.FIRST_VECTOR].copy()
        m, mc = self.space.m, self.space.mc
        self.exported = 4 * n + m + 2 * mc + (n * (m + mc) if self.dense else 0)
        self.take_functions()

    def refresh(self) -> None:
        """Look how plain functions are to be evaluated now, before each solve."""
        if any([one.refresh() for one in self.functions]):
            self.take_functions()

    def _is_dense(self) -> tuple[bool, str]:
        wanted = self.options.linear_solver
        if wanted != "auto":
            return wanted == "dense", "as asked"
        order = self.residual.n + sum(one.m for one in self.functions[1:])
        if order <= DENSE_UP_TO:
            return True, f"{order} unknowns"
        if all(one.is_sparse or one.is_linear for one in self.functions):
            return False, f"{order} unknowns and sparse derivatives"
        return True, "no sparse derivatives are known"

    def take_functions(self) -> None:
        """Write addresses, choose second derivatives and see what a solve begins with."""
        self.space.w[:] = 0.0
        self.space.iw[layout.MC + 1 : layout.FIRST_VECTOR] = self._fixed
        self._write_functions()
        self._write_beginning()
        self.calls_python = self.sparse is not None or any(one.calls_python for one in self.functions)
        self.takes_differences = any(one.parts.table is not None or one.calls_python for one in self.functions)
        self.releases_gil = not self.calls_python and self.space.n >= FEW

    def _write_functions(self) -> None:
        iw = self.space.iw
        self.choice: Choice = choose(
            self.options.hessian, self.residual, self.constraints, self.dense, self.loss[0] == LOSS_CODES["linear"]
        )
        iw[layout.BLOCKS] = len(self.functions)
        if not self.dense:
            from nlsq.solvers.interior_point.sparse_services import SparseServices

            self.sparse = SparseServices(self)
            self.sparse.write(iw)
            return
        for name, service in DENSE_SERVICES:
            iw[name] = address_of_kernel(service)
        takes_second = self.choice.residual, self.choice.constraints
        for index, (function, second) in enumerate(zip(self.functions, takes_second, strict=False)):
            block = self.space.block(index)
            block[layout.VALUE_OF], block[layout.JACOBIAN_OF] = function.value_address, function.jacobian_address
            block[layout.DATA_OF], block[layout.ROWS_OF] = function.data_address, function.m
            block[layout.HESSIAN_OF] = function.hessian_address if second else 0
            block[layout.HESSIAN_DATA_OF] = function.hessian_data_address if second else 0

    def _write_beginning(self) -> None:
        """Write what a workspace holds before each solve, and keep a copy of it."""
        space, options = self.space, self.options
        w, iw = space.w, space.iw
        iw[layout.MAX_ITERATIONS] = options.max_iterations
        iw[layout.LOSS], w[layout.LOSS_SCALE] = self.loss
        iw[layout.EXACT_RESIDUAL], iw[layout.EXACT_CONSTRAINTS] = self.choice.residual, self.choice.constraints
        iw[layout.QUASI_NEWTON], iw[layout.MONOTONE] = self.choice.quasi, options.barrier == "monotone"
        w[layout.VIOLATION_TOLERANCE] = options.violation
        w[layout.START_BARRIER], w[layout.PUSH] = options.first_barrier, options.push
        w[layout.COST_SCALE] = w[layout.ROOT_SCALE] = 1.0
        space.view(layout.ROW_SCALE)[:] = 1.0
        iw[layout.ROUGH] = any(one.parts.use_central is not None for one in self.functions)
        space.view(layout.XL)[:], space.view(layout.XU)[:] = self.lower, self.upper
        space.view(layout.SIZE)[:] = self.sizes
        space.view(layout.CL)[:], space.view(layout.CU)[:] = self.limits
        held = self.problem.constraints
        if held is not None:
            space.view(layout.KEEP)[:] = held.keep_feasible & ~held.is_equality
            iw[layout.KEEPS] = bool((held.keep_feasible & ~held.is_equality).any())
        self._beginning = w[: space.start(layout.FILTER)].copy(), iw[: layout.FIRST_VECTOR].copy()

    def begin(self) -> None:
        """Make the workspace what it is before a solve."""
        doubles, integers = self._beginning
        self.space.w[: doubles.size] = doubles
        self.space.iw[: integers.size] = integers
        if self.choice.quasi:
            self.space.view(layout.QUASI)[:] = 0.0
        self.uses += 1
        if self.takes_differences:
            self.evaluations_before = self.evaluations_for_derivatives()

    def evaluations_for_derivatives(self) -> int:
        """Return the evaluations of functions that derivatives have taken, in all solves."""
        return sum(one.function_evaluations for one in self.functions)

    def linear_solver(self) -> str:
        """Say how the linear systems are solved, and why."""
        if self.sparse is not None:
            return str(self.sparse.describe(self.reason))
        return f"dense Bunch-Kaufman factorisation of the condensed system ({self.reason})"


def typical_sizes(x0: FloatArray, lower: FloatArray, upper: FloatArray, scale: FloatArray | None) -> FloatArray:
    """Return what variables are divided by: the user's scale, else powers of two near starts that are far from 1.

    Where the start is 0 the distance between bounds tells, if it is small.
    """
    if scale is not None:
        return scale
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.where(x0 != 0.0, np.abs(x0), np.minimum(upper - lower, 1.0))
    far = np.isfinite(size) & (size >= NOTHING) & ((size < MODERATE) | (size > 1.0 / MODERATE))
    return np.where(far, np.exp2(np.round(np.log2(np.where(far, size, 1.0)))), 1.0)


def residual_function(problem: LeastSquaresProblem) -> VectorFunction:
    """Return the residual of a problem as kernels see it."""
    found: VectorFunction = vector_function(
        problem.given,
        problem.n,
        problem.x0,
        jac=problem.jac,
        hess=problem.hess,
        sparsity=problem.given_pattern,
        lower=problem.lower,
        upper=problem.upper,
        scale=problem.scale,
        compile=True,
    )
    return found


def plan_of(problem: LeastSquaresProblem, options: InteriorPoint) -> Plan:
    """Return the plan of a problem, which it keeps."""
    plan: Plan | None = problem.plans.get(options)
    if plan is None:
        plan = problem.plans[options] = Plan(problem, options)
    else:
        plan.refresh()
    return plan
