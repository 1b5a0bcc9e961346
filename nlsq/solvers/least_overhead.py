"""Levenberg-Marquardt for compiled functions with nothing around it: arrays in, arrays and a status out.

A `Plan` is a workspace that was set up once for a compiled function and a size, with everything in it that does not
depend on the data. Solving copies the template over the used workspace, writes the addresses of the data and the start,
and makes one call. Plans are kept on the compiled function and handed to one thread at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.covariance import covariance
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.kernels.driver import solve_by_address
from nlsq.problem import CompiledFunction, LeastSquaresProblem
from nlsq.problem.compiled import CompiledResidual
from nlsq.solvers.damping import MoreRadius
from nlsq.solvers.driver import give_addresses, may_release_gil
from nlsq.solvers.levenberg_marquardt import LevenbergMarquardt
from nlsq.solvers.termination import Tolerances

FloatArray = NDArray[np.float64]
DOUBLE = np.dtype(np.float64)
COPIED = 4096  # data up to this length are copied into the plan


class Plan:
    """A workspace ready for one compiled function at one size.

    Parameters
    ----------
    residual : CompiledResidual
        The function with some data.
    x0 : ndarray, shape (n,)
        Some start.
    tolerances : Tolerances
        By MINPACK's rule.
    max_evaluations : int
        Limit, evaluations inside differences included.
    factor : float
        First radius, see `MoreRadius`.

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
        "_call",
        "_covariance",
        "_finite",
        "_header",
        "_iw",
        "_iw_handle",
        "_own",
        "_table",
        "_used",
        "_w_handle",
        "_x",
        "integers", "residual", "space",
        "status",
    )  # fmt: skip

    def __init__(
        self, residual: CompiledResidual, x0: FloatArray, tolerances: Tolerances, max_evaluations: int, factor: float
    ) -> None:
        problem = LeastSquaresProblem(residual, x0)
        state = LevenbergMarquardt(damping=MoreRadius(factor=factor)).start(problem, tolerances, max_evaluations)
        if not state.by_address:
            raise ValueError("this function cannot be solved by address alone.")
        state.iw[layout.COUNT_ALL] = 1
        give_addresses(problem, state)
        space = self.space = state.space
        self.residual = residual
        self._table = residual.table
        self._used = space.w[: layout.HEADER + layout.VECTORS * space.n]
        self._header = self._used.copy()
        self._x = space.x
        self._iw, self.integers = space.iw, space.iw.copy()
        self._w_handle, self._iw_handle = space.w_handle, space.iw_handle
        self._call = solve_by_address.entry(release_gil=may_release_gil(residual, space.n))
        self._covariance = covariance.entry()
        self._finite = all_finite.entry()
        self._own: tuple[FloatArray, FloatArray] | None = None
        if residual.m <= COPIED:
            self._own = np.zeros(residual.m), np.zeros(residual.m)
            self._table[PREDICTORS], self._table[RESPONSE] = (address_of_array(own) for own in self._own)
        self.status = 0

    def set_data(self, x: FloatArray, y: FloatArray, weights: FloatArray | None) -> bool:
        """Take other data of the same size; False when x is not finite.

        What is not finite in y shows in the residuals. Short data are copied, which costs less than asking numpy for an
        address; the caller keeps long ones alive.
        """
        table = self._table
        if self._own is None:
            table[PREDICTORS], table[RESPONSE] = address_of_array(x), address_of_array(y)
        else:
            own_x, own_y = self._own
            own_x[:] = x
            own_y[:] = y
        table[WEIGHTS] = 0 if weights is None else address_of_array(weights)
        return bool(self._finite(int(table[PREDICTORS]), y.size))

    def solve(self, x0: FloatArray) -> FloatArray:
        """Solve from `x0`; return the parameters (a fresh array). Raises what the user's function raised."""
        iw, x = self._iw, self._x
        self._used[:] = self._header
        iw[:] = self.integers
        x[:] = x0
        if self._call(self._w_handle, self._iw_handle):
            self.residual.raise_original(self.space.x_new)
        self.status = iw.item(layout.STATUS)
        solution: FloatArray = x.copy()
        return solution

    @property
    def nfev(self) -> int:
        """Evaluations of the last solve, all of them."""
        return int(self._iw[layout.NFEV] + self._iw[layout.NFEV_JAC])

    def covariance(self, absolute: bool) -> FloatArray | None:
        """Covariance at the last solution, scaled by the scatter unless `absolute`; None when there is none."""
        if self._covariance(self._w_handle, self._iw_handle, 1 if absolute else 0):
            return None
        return np.array(self.space.matrix(layout.NORMAL))


def borrow_plan(
    function: CompiledFunction, m: int, x0: FloatArray, bind: Any, options: tuple[float, float, float, int, float]
) -> tuple[Plan, list[Plan]]:
    """Take a plan off the function's shelf or make one; put it back by appending it to the list that comes with it.

    Parameters
    ----------
    function : CompiledFunction
        Owns the shelves.
    m : int
        Number of residuals.
    x0 : ndarray, shape (n,)
        Start.
    bind : callable
        Makes the `CompiledResidual` when a new plan is needed.
    options : tuple
        ``ftol, xtol, gtol, maxfev, factor``.
    """
    key = (m, x0.size, options)
    shelf = function.plans.get(key)
    if shelf is None:
        shelf = function.plans[key] = []
    try:
        return shelf.pop(), shelf
    except IndexError:
        ftol, xtol, gtol, maxfev, factor = options
        tolerances = Tolerances(cost=ftol, step=xtol, optimality=gtol, rule="minpack")
        return Plan(bind(), x0, tolerances, maxfev, factor), shelf


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
