"""Compiled functions solved with nothing around it: arrays in, arrays and a status out.

A `Plan` is a workspace that was set up once for a function, a size, a method and its options, with everything in it
that does not depend on the data. Solving copies the template over the used workspace, writes the addresses of the data
and the start, and runs the loop: one call of compiled code (`nlsq.kernels.arrays`). Plans are kept on shelves and
handed to one thread at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import arrays, layout
from nlsq.kernels.backend import address_of_array, compile_disabled, handle
from nlsq.kernels.backend.array_objects import descriptor, header_words
from nlsq.kernels.backend.builtin_functions import builtin_function
from nlsq.kernels.covariance import covariance
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.compiled import CompiledResidual
from nlsq.solvers.damping import MoreRadius
from nlsq.solvers.driver import give_addresses, may_release_gil
from nlsq.solvers.levenberg_marquardt import LevenbergMarquardt
from nlsq.solvers.termination import Tolerances

FloatArray = NDArray[np.float64]
DOUBLE = np.dtype(np.float64)
DEFAULTS = (1.49012e-8, 1.49012e-8, 0.0)  # ftol, xtol, gtol of MINPACK's drivers
DISAGREES = "its graph gives other values than the function itself"
MOST_PLANS = 64  # shelves kept for one function

Options = tuple[float, float, float, int, float]  # ftol, xtol, gtol, maxfev, factor: MINPACK's


class Plan:
    """A workspace ready for one compiled function at one size.

    Parameters
    ----------
    residual : CompiledResidual
        The function with some data.
    x0 : ndarray, shape (n,)
        Some start.
    solver : Solver
        The method, for dense problems.
    tolerances : Tolerances
        Of the stopping tests.
    max_evaluations : int
        Limit.
    variables : int
        Rows of x; 0 where the function reads no x.
    count_all : bool
        Whether evaluations inside differences count towards the limit.
    bounds, scale, loss, loss_scale
        See `LeastSquaresProblem`.

    Attributes
    ----------
    space : Workspace
        Where the last solve left its results.
    integers : ndarray of int
        Template of ``space.iw``.
    status : int
        How the last solve ended.
    """

    __slots__ = (
        "_absolute",
        "_call",
        "_call_fit",
        "_covariance",
        "_function",
        "_handles",
        "_header",
        "_iw",
        "_jacobian_places",
        "_n",
        "_plan",
        "_plan_address",
        "_square",
        "integers",
        "residual",
        "space",
        "status",
    )

    def __init__(
        self,
        residual: CompiledResidual,
        x0: FloatArray,
        solver: Any,
        tolerances: Tolerances,
        max_evaluations: int,
        *,
        variables: int = 0,
        count_all: bool = True,
        bounds: Any = None,
        scale: Any = "jac",
        loss: str = "linear",
        loss_scale: float = 1.0,
        jac: Any = None,
    ) -> None:
        problem = LeastSquaresProblem(
            residual, x0, jac=jac, bounds=bounds, scale=scale, loss=loss, loss_scale=loss_scale
        )
        state = solver.start(problem, tolerances, max_evaluations)
        if not state.by_address:
            raise ValueError("this function cannot be solved by address alone.")
        state.iw[layout.COUNT_ALL] = count_all
        give_addresses(problem, state)
        space = self.space = state.space
        self.residual = residual
        self._header = space.w[: layout.HEADER + layout.VECTORS * space.n].copy()
        self._iw, self.integers = space.iw, space.iw.copy()
        self._handles = space.w_handle, space.iw_handle
        release_gil = may_release_gil(residual, space.n)
        self._call = arrays.solve_arrays.entry(release_gil=release_gil)
        self._call_fit = arrays.fit_arrays.entry(release_gil=release_gil)
        self._covariance = covariance.entry()
        self._plan = np.zeros(arrays.PLAN, dtype=np.int64)
        self._plan_address = address_of_array(self._plan)
        self._function: Any = None  # the same without ctypes, where it can be
        plain = not (release_gil or residual.calls_python or compile_disabled())
        if plain and header_words() == arrays.HEADER_WORDS:
            self._function = builtin_function(arrays.call_plan.load(), self._plan)
        self._write(variables)
        self.status = self._absolute = 0
        self._n = space.n
        self._square = space.n, space.n
        self._jacobian_places: tuple[Any, int, Any] | None = None

    def _write(self, variables: int) -> None:
        """Fill the table that the compiled loop starts from."""
        plan, space = self._plan, self.space
        plan[arrays.DOUBLES], plan[arrays.INTEGERS] = address_of_array(space.w), address_of_array(space.iw)
        plan[arrays.DOUBLES_TEMPLATE], plan[arrays.DOUBLES_LENGTH] = address_of_array(self._header), self._header.size
        plan[arrays.INTEGERS_TEMPLATE] = address_of_array(self.integers)
        plan[arrays.INTEGERS_LENGTH] = self.integers.size
        plan[arrays.TABLE], plan[arrays.VARIABLES] = address_of_array(self.residual.table), variables
        plan[arrays.HEADER], plan[arrays.DESCRIPTOR] = header_words(), descriptor()

    @property
    def template(self) -> FloatArray:
        """What the beginning of ``space.w`` looks like before a solve."""
        header: FloatArray = self._header
        return header

    def solve(self, x0: FloatArray) -> FloatArray:
        """Solve from `x0` with the data as they are; return the parameters (a fresh array).

        Raises what the user's function raised.
        """
        if not plain_doubles(x0):
            x0 = np.array(x0, dtype=np.float64)
        if self._function is None:
            status = self._call(self._plan_address, 0, 0, 0, id(x0))
        else:
            self._function(x0)
            status = self._plan.item(arrays.OUTCOME)
        if status == arrays.NOT_PLAIN:
            raise ValueError(f"x0 has {x0.size} entries, but the plan is for {self.space.n} parameters.")
        if status < 0:
            self.residual.raise_original(self.space.x_new)
        self.status = status
        solution: FloatArray = self.space.x.copy()
        return solution

    def solve_data(self, x: Any, y: Any, start: Any) -> FloatArray | None:
        """Solve with other data; return the parameters, None where one of the arrays is no plain vector of doubles."""
        if self._function is None:
            status = self._call(self._plan_address, id(x), id(y), 0, id(start))
        else:
            self._function(x, y, start)
            status = self._plan.item(arrays.OUTCOME)
        if status < 0:
            if status == arrays.NOT_PLAIN:
                return None
            self.residual.raise_original(self.space.x_new)
        self.status = status
        solution: FloatArray = self.space.x.copy()
        return solution

    def fit(
        self, x: Any, y: Any, weights: Any, start: Any, absolute: int
    ) -> tuple[FloatArray, FloatArray | None] | None:
        """Fit data from a start; None where one of the arrays is no plain vector of doubles.

        Parameters
        ----------
        x : ndarray, shape (m,) or (k, m)
            Independent variables.
        y : ndarray, shape (m,)
            Data.
        weights : ndarray, shape (m,), or None
            What multiplies the residuals.
        start : ndarray, shape (n,)
            Start.
        absolute : {0, 1}
            Whether weights are in the data's unit.

        Returns
        -------
        params, covariance : ndarray, shapes (n,) and (n, n)
            The covariance is None where it cannot be estimated.
        """
        params, matrix = np.empty(self._n), np.empty(self._square)
        if absolute != self._absolute:
            self._plan[arrays.ABSOLUTE] = self._absolute = absolute
        if weights is None and self._function is not None:
            self._function(x, y, start, params, matrix)
            status = self._plan.item(arrays.OUTCOME)
        else:
            weighed = 0 if weights is None else id(weights)
            status = self._call_fit(self._plan_address, id(x), id(y), weighed, id(start), id(params), id(matrix))
        if status > 0:
            self.status = status
            return params, matrix
        return self._exceptional(status, params)

    def _exceptional(self, status: int, params: FloatArray) -> tuple[FloatArray, None] | None:
        if status == arrays.NOT_PLAIN:
            return None
        if status == arrays.FAILED:
            self.residual.raise_original(self.space.x_new)
        self.status = (arrays.NO_COVARIANCE - status) // 10
        return params, None

    @property
    def nfev(self) -> int:
        """Evaluations of the last solve, all of them."""
        return int(self._iw[layout.NFEV] + self._iw[layout.NFEV_JAC])

    def covariance(self, absolute: bool) -> FloatArray | None:
        """Covariance at the last solution, scaled by the scatter unless `absolute`; None when there is none."""
        if self._covariance(*self._handles, 1 if absolute else 0):
            return None
        return np.array(self.space.matrix(layout.NORMAL))

    def jacobian(self) -> FloatArray:
        """Jacobian at the last solution, (m, n), rows not scaled by the loss."""
        if self._iw[layout.NORMAL_READY] == layout.NORMAL_FUSED:
            if self._jacobian_places is None:
                space, data = self.space, self.residual.data_address
                self._jacobian_places = handle(space.x), data, handle(space.jac_t)
            if self.residual.jacobian_by_handles(*self._jacobian_places):
                self.residual.raise_original(self.space.x)
        jac: FloatArray = self.space.jac_t.T.copy()
        return jac


class Shelf:
    """Plans that are not in use, by size and options.

    Taking one off and putting it back are single operations on a list, so that threads need no lock.
    """

    __slots__ = ("_plans",)

    def __init__(self) -> None:
        self._plans: dict[Any, list[Plan]] = {}

    def take(self, key: Any, make: Callable[[], Plan]) -> tuple[Plan, list[Plan]]:
        """Take a plan off the shelf or make one; append it to the list that comes with it to put it back."""
        shelf = self._plans.get(key)
        if shelf is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            shelf = self._plans[key] = []
        try:
            return shelf.pop(), shelf
        except IndexError:
            return make(), shelf


def minpack_plan(residual: CompiledResidual, x0: FloatArray, options: Options, variables: int = 0) -> Plan:
    """Return a plan for Levenberg-Marquardt by MINPACK's rules."""
    ftol, xtol, gtol, maxfev, factor = options
    tolerances = Tolerances(cost=ftol, step=xtol, optimality=gtol, rule="minpack")
    solver = LevenbergMarquardt(damping=MoreRadius(factor=factor))
    return Plan(residual, x0, solver, tolerances, maxfev, variables=variables)


def fit_with(
    plan: Plan, shelf: list[Plan], route: Any, entry: Any, arrays: Any, function: Callable[..., Any], x: Any, y: Any,
    weights: Any, start: FloatArray, absolute: int,
) -> tuple[FloatArray, FloatArray | None, int] | None:  # fmt: skip
    """Fit with a plan that was taken off `shelf`, to which it goes back; see `fit_traced`."""
    plan.residual.binding.set_arrays(*arrays)
    fitted = plan.fit(x, y, weights, start, absolute)
    if fitted is None:
        shelf.append(plan)
        return None
    if entry.is_due():
        from nlsq.solvers.traced import agrees, plain_residual

        residual = plain_residual(function, x, y, weights)
        if not all(agrees(plan.residual, residual, point, x) for point in (start, fitted[0])):
            route.refuse(DISAGREES)
            return None
    status = plan.status
    shelf.append(plan)
    return fitted[0], fitted[1], status


def read_start(p0: Any) -> FloatArray | None:
    """Return a start as a fresh float64 array; None where it is none of finite real numbers in one dimension.

    What is wrong with it is for the general way to say.
    """
    try:
        start = np.array(p0)
    except ValueError:  # rows of different lengths
        return None
    if start.dtype is not DOUBLE:
        if start.dtype.kind not in "fiub" or not np.can_cast(start.dtype, DOUBLE, "safe"):
            return None
        start = start.astype(DOUBLE)
    return start if start.ndim == 1 and math.isfinite(start.dot(start)) else None


def plain_doubles(array: Any, size: int | None = None) -> bool:
    """Say whether an argument is a contiguous float64 vector that a kernel may read in place."""
    return (
        type(array) is np.ndarray
        and array.dtype is DOUBLE
        and array.ndim == 1
        and array.flags.c_contiguous
        and (size is None or array.size == size)
        and not compile_disabled()
    )


def arrays_are_readable() -> bool:
    """Whether compiled code can read array objects here."""
    return header_words() > 0 and not compile_disabled()
