"""Plain Python functions under the compiled loop, which calls them back: nothing but the user's code runs in Python.

A C callback serves all functions of one size. It, the workspace of a solve and the arrays that show that to Python cost
more to make than a small solve costs to run, so they are kept for the next solve of that size. A solve borrows them;
solves within solves and in other threads borrow others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives import JacobianEstimator, PreparedJacobian
from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_kernel
from nlsq.kernels.curve import POINTS, TABLE
from nlsq.kernels.finite_difference import analytic_jacobian, forward_jacobian
from nlsq.pattern import SparsityPattern
from nlsq.problem.compiled import CompiledResidual
from nlsq.scipy_api.functions import Function, as_vector
from nlsq.solvers.least_overhead import Options, Plan, arrays_are_readable, minpack_plan

FloatArray = NDArray[np.float64]

LARGEST_KEPT = 2**14  # entries of a Jacobian; beyond, the user's function costs much more than making all this anew
MOST_KEPT = 32  # sizes, and plans of one size
MOST_VIEWS = 500  # of workspaces, most of which are gone
FORWARD_STEP = float(np.finfo(np.float64).eps) ** 0.5  # as in `nlsq.derivatives.steps`
MOST_PARAMETERS = 31  # the compiled loop leaves larger normal matrices to BLAS, in Python

_shelves: dict[tuple[int, int], list[CalledBack]] = {}
_C_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def can_be_called_back(m: int, n: int, dtype: Any) -> bool:
    """Whether a function of this size and precision is one for the compiled loop."""
    return n <= MOST_PARAMETERS and dtype == np.float64 and arrays_are_readable()


class CalledBack:
    """C functions that call a Python function ``x (n,) -> r (m,)`` and, if there is one, its Jacobian.

    Parameters
    ----------
    m, n : int
        Numbers of residuals and parameters.

    Attributes
    ----------
    residual : CompiledResidual
        What a problem takes for its residual.
    """

    __slots__ = ("_c_functions", "_error", "_first", "_function", "_jacobian", "_plans", "_shape", "residual")

    def __init__(self, m: int, n: int) -> None:
        self._shape = m, n
        self._function: Any = None
        self._first: Any = None
        self._jacobian: Any = None
        self._error: BaseException | None = None
        self._plans: dict[tuple[Options, bool], Plan] = {}
        self._c_functions = [_C_FUNCTION(self._residual_side())]
        table = np.zeros(TABLE, dtype=np.int64)
        table[POINTS] = m
        self.residual = CompiledResidual(
            _address(self._c_functions[0]), table, self._raise, m, (self,), calls_python=True
        )

    def plan(self, options: Options) -> Plan:
        """Return the workspace for a solve with these options, with or without a Jacobian."""
        analytic = self._jacobian is not None
        plan = self._plans.get((options, analytic))
        if plan is None:
            if len(self._plans) >= MOST_KEPT:
                self._plans.clear()
            plan = minpack_plan(self.residual, np.ones(self._shape[1]), options)
            if analytic:
                if len(self._c_functions) == 1:
                    self._c_functions.append(_C_FUNCTION(self._jacobian_side()))
                plan.integers[layout.JACOBIAN_STEP] = address_of_kernel(analytic_jacobian)
                plan.integers[layout.JACOBIAN_FUNCTION] = _address(self._c_functions[1])
            self._plans[options, analytic] = plan
        return plan

    def take(self, function: Function | None, first: Any, jacobian: Function | None) -> None:
        """Take on a function with its value at the start, None if that is not known; or let go of one."""
        self._function, self._first, self._jacobian, self._error = function, first, jacobian, None

    def _residual_side(self) -> Callable[[int, int, int], int]:
        """Return what C calls with the addresses of x, data and r: 0, or 1 if the Python function raised."""
        m, n = self._shape
        shape = (m,)
        points: dict[int, FloatArray] = {}  # the workspace as arrays, by address
        values: dict[int, FloatArray] = {}

        def call(x_address: int, data_address: int, out_address: int) -> int:
            try:
                try:
                    x, out = points[x_address], values[out_address]
                except KeyError:
                    if len(points) > MOST_VIEWS:
                        points.clear()
                        values.clear()
                    x, out = points[x_address], values[out_address] = _view(x_address, n), _view(out_address, m)
                if self._first is None:
                    value = self._function(x.copy())
                else:
                    value, self._first = self._first, None
                if type(value) is np.ndarray and value.shape == shape and value.dtype.kind == "f":
                    out[:] = value
                else:
                    out[:] = as_vector(value, m)
            except BaseException as error:  # exceptions cannot pass through C; `_raise` raises it again
                self._error = error
                return 1
            return 0

        return call

    def _jacobian_side(self) -> Callable[[int, int, int], int]:
        """Return what C calls with the addresses of x, data and the transposed Jacobian, (n, m)."""
        m, n = self._shape

        def call(x_address: int, data_address: int, out_address: int) -> int:
            try:
                _view(out_address, n * m).reshape(n, m)[:] = self._jacobian(_view(x_address, n).copy()).T
            except BaseException as error:
                self._error = error
                return 1
            return 0

        return call

    def _raise(self, x: FloatArray) -> None:
        """Raise what the function raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def _address(c_function: Any) -> int:
    address = ctypes.cast(c_function, ctypes.c_void_p).value
    assert address is not None
    return address


def _view(address: int, size: int) -> FloatArray:
    """Return doubles of the workspace as an array."""
    memory: Any = (ctypes.c_double * size).from_address(address)
    return np.frombuffer(memory, dtype=np.float64)


class Borrowed:
    """A `CalledBack` for one solve: to be used in a ``with`` statement.

    Parameters
    ----------
    function : callable
        ``x (n,) -> r (m,)``.
    first : object
        Its value at the start, for the first call; None if that is not known.
    m, n : int
        Numbers of residuals and parameters.
    jacobian : callable or None
        ``x (n,) -> J (m, n)``, for a plan.
    """

    __slots__ = ("_called_back", "_shelf")

    def __init__(self, function: Function, first: Any, m: int, n: int, jacobian: Function | None = None) -> None:
        shelf = _shelves.get((m, n))
        if shelf is None:
            shelf = []
            if m * n <= LARGEST_KEPT:
                if len(_shelves) >= MOST_KEPT:
                    _shelves.clear()
                _shelves[m, n] = shelf
        try:
            called_back = shelf.pop()
        except IndexError:
            called_back = CalledBack(m, n)
        called_back.take(function, first, jacobian)
        self._shelf, self._called_back = shelf, called_back

    def __enter__(self) -> CalledBack:
        return self._called_back

    def __exit__(self, *exception: object) -> None:
        self._called_back.take(None, None, None)
        self._shelf.append(self._called_back)


@final
class KernelDifferences:
    """Forward differences that the compiled loop takes itself; `differences` takes them if Python has to.

    Parameters
    ----------
    differences : JacobianEstimator
        The same in Python.
    scaled : bool
        Whether the scale of the problem is the user's, so that steps follow it; else they follow the start.
    """

    __slots__ = ("differences", "scaled")

    def __init__(self, differences: JacobianEstimator, scaled: bool) -> None:
        self.differences = differences
        self.scaled = scaled

    def prepare(
        self, residual: Function, x0: FloatArray, m: int, *, lower: Any = None, upper: Any = None, **options: Any
    ) -> PreparedJacobian:
        """Prepare for one residual; see `JacobianEstimator.prepare`."""
        in_python = partial(self.differences.prepare, residual, x0.copy(), m, lower=lower, upper=upper, **options)
        return PreparedKernelDifferences(in_python, x0.size, lower, upper, self.scaled)


@final
class PreparedKernelDifferences:
    """Differences of one residual, see `KernelDifferences`.

    Parameters
    ----------
    in_python : callable
        Prepares the same differences in Python.
    n : int
        Number of parameters.
    lower, upper : ndarray or None
        Bounds.
    scaled : bool
        See `KernelDifferences`.
    """

    pattern: SparsityPattern | None = None

    def __init__(self, in_python: Callable[[], PreparedJacobian], n: int, lower: Any, upper: Any, scaled: bool) -> None:
        self._in_python = in_python
        self._scaled = scaled
        self._prepared: PreparedJacobian | None = None
        self._lower = -np.inf if lower is None else lower
        self._upper = np.inf if upper is None else upper
        self.residual_calls = n

    def write(self, w: FloatArray, iw: NDArray[np.int64]) -> bool:
        """Tell the compiled loop to take the differences."""
        n = self.residual_calls
        for index, bound in ((layout.LOWER, self._lower), (layout.UPPER, self._upper)):
            start = layout.vector_offset(n, index)
            w[start : start + n] = bound
        w[layout.RELATIVE_STEP] = FORWARD_STEP
        iw[layout.SIZES_GIVEN] = self._scaled and iw[layout.GIVEN_SCALE]
        iw[layout.JACOBIAN_STEP] = address_of_kernel(forward_jacobian)
        return True

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> Any:
        """Evaluate in Python; see `PreparedJacobian.evaluate`."""
        if self._prepared is None:
            self._prepared = self._in_python()
        value = self._prepared.evaluate(x, r, jac_out)
        self.residual_calls = self._prepared.residual_calls
        return value
