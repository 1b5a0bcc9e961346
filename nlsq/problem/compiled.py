"""Functions that kernels call by address: compiled by numba, or brought along as an address.

A model ``f(x, a, b, ...)`` becomes a residual when it is bound to data; a residual ``f(p)`` when it is bound to its
start.

The Jacobian of a compiled function is exact: the function also runs on dual numbers (`nlsq.kernels.backend.dual`),
which is compiled when a Jacobian is first asked for. Before it is trusted it is compared once, at the first start, with
a difference; where it does not compile, or differs, differences are taken and `CompiledFunction.derivative_reason` says
why.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
from collections.abc import Callable
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import address_of_array, address_of_kernel, compile_disabled, double_pointer, ticket
from nlsq.kernels.curve import (
    COMPLEX_MODEL,
    MODEL,
    POINTS,
    PREDICTORS,
    RESPONSE,
    ROWS,
    TABLE,
    WEIGHTS,
    complex_curve_residual,
    curve_residual,
)
from nlsq.problem.compiled_residual import CompiledResidual, Derivative

__all__ = ["CompiledFunction", "CompiledResidual", "Derivative", "compile"]

FloatArray = NDArray[np.float64]


@final
class CompiledFunction:
    """A function that solvers call by address, without Python between their steps; made by `compile`.

    Attributes
    ----------
    function : callable
        The njit function; calling the object calls it.
    kind : {"model", "residual"}
        ``f(x, *p)`` or ``f(p)``.
    n : int
        Number of parameters of a model; 0 for a residual, which takes any.
    derivative_reason : str or None
        Why the Jacobian comes from differences; empty when it is exact, None while none has been asked for.
    """

    __slots__ = (
        "_addresses",
        "_alive",
        "_called",
        "_derivatives",
        "_hessians",
        "_lock",
        "_scalar",
        "function",
        "kind",
        "n",
        "plans",
    )

    def __init__(self, function: Callable[..., Any], kind: Literal["model", "residual"]) -> None:
        self.function = function
        self._called = getattr(function, "py_func", function) if compile_disabled() else function
        self.kind = kind
        self.n = len(_positional(function)) - 1 if kind == "model" else 0
        self._addresses: dict[int, int] = {}
        self._alive: list[Any] = []
        self._derivatives: dict[int, Derivative] = {}
        self._hessians: dict[int, Derivative] = {}
        self._lock = threading.Lock()
        self._scalar: bool | None = None
        self.plans: dict[Any, list[Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Call the function from Python; a model written for one x takes an array of them too."""
        if self.kind == "residual" or not (isinstance(arguments[0], np.ndarray) and arguments[0].ndim == 1):
            return self._called(*arguments)
        if self._scalar is None and not compile_disabled():
            self.address()
        return model_values(self._called, arguments[0], arguments[1:], self._scalar)

    def __reduce__(self) -> Any:
        return CompiledFunction, (self.function, self.kind)

    def address(self, variant: int = 0) -> int:
        """Address of the C function.

        `variant` is the number of predictor rows of a model (0: x is 1-D) or a residual's n.
        """
        found = self._addresses.get(variant)
        if found is None:
            found = self._addresses[variant] = self._compile(variant)
        return found

    def _compile(self, variant: int) -> int:
        if compile_disabled():
            python = _in_python(self._called, self.kind, self.n or variant, variant)
            self._alive.append(python)
            return ticket(python)
        from nlsq.kernels.backend.user_function import compile_user_function, form_of_model

        if self.kind == "model":
            form, n = form_of_model(self.function, self.n, variant), self.n
            self._scalar = form == "scalar"
        else:
            form, n = "residual", variant
        address, keep = compile_user_function(self.function, form, n)
        self._alive.append(keep)
        return address

    def complex_address(self, variant: int = 0) -> int:
        """Address of the C function for complex parameters; `variant` as for `address`.

        Raises
        ------
        TypeError
            If the function does not take complex parameters, or loses their imaginary part.
        """
        key = ~variant
        found = self._addresses.get(key)
        if found is None:
            from nlsq.kernels.backend.user_function import compile_complex_function, form_of_model

            model = self.kind == "model"
            form = form_of_model(self.function, self.n, variant) if model else "residual"
            found, keep = compile_complex_function(self.function, form, self.n if model else variant)
            self._addresses[key] = found
            self._alive.append(keep)
        return found

    @property
    def derivative_reason(self) -> str | None:
        """Why the Jacobian comes from differences; empty when it is exact, None while none has been asked for."""
        if not self._derivatives:
            return None
        return next((one.reason for one in self._derivatives.values() if one.reason), "")

    def derivative(self, variant: int = 0) -> Derivative:
        """Exact derivative, compiled when it is first asked for; `variant` as for `address`."""
        with self._lock:
            found = self._derivatives.get(variant)
            if found is None:
                found = self._derivatives[variant] = self._differentiate(variant)
        return found

    def _differentiate(self, variant: int) -> Derivative:
        if compile_disabled():
            return Derivative(reason="nothing is compiled, as NLSQ_DISABLE_COMPILE asks")
        from nlsq.kernels.backend.user_function import compile_exact_derivative, form_of_model

        model = self.kind == "model"
        form = form_of_model(self.function, self.n, variant) if model else "residual"
        try:
            address, keep = compile_exact_derivative(self.function, form, self.n if model else variant)
        except TypeError as error:
            return Derivative(reason=str(error))
        self._alive.append(keep)
        return Derivative(address)

    def seeded_derivative(self, width: int) -> Derivative:
        """Exact sparse derivative of a residual, `width` colours at a time, compiled when it is first asked for."""
        with self._lock:
            found = self._derivatives.get(~width)
            if found is None:
                found = self._derivatives[~width] = self._seeded_derivative(width)
        return found

    def _seeded_derivative(self, width: int) -> Derivative:
        if compile_disabled():
            return Derivative(reason="nothing is compiled, as NLSQ_DISABLE_COMPILE asks")
        from nlsq.kernels.backend.seeded_derivative import compile_seeded_derivative

        try:
            address, keep = compile_seeded_derivative(self.function, width)
        except TypeError as error:
            return Derivative(reason=str(error))
        self._alive.append(keep)
        return Derivative(address)

    def hessian(self, variant: int = 0) -> Derivative:
        """Exact second derivatives, weighted and summed; compiled when they are first asked for.

        `CompiledResidual.hessian` says how they are called; `variant` is as for `address`.
        """
        with self._lock:
            found = self._hessians.get(variant)
            if found is None:
                found = self._hessians[variant] = self._second_derivative(variant)
        return found

    def _second_derivative(self, variant: int) -> Derivative:
        if compile_disabled():
            return Derivative(reason="nothing is compiled, as NLSQ_DISABLE_COMPILE asks")
        from nlsq.kernels.backend.second_derivative import compile_second_derivative
        from nlsq.kernels.backend.user_function import form_of_model

        model = self.kind == "model"
        try:
            form = form_of_model(self.function, self.n, variant) if model else "residual"
            address, keep = compile_second_derivative(self.function, form, self.n if model else variant)
        except TypeError as error:
            return Derivative(reason=str(error))
        self._alive.append(keep)
        return Derivative(address)

    def bind_data(self, x: FloatArray, y: FloatArray, weights: FloatArray | None = None) -> CompiledResidual:
        """Residual ``w (f(x, p) - y)`` of a model.

        X is (m,) or (k, m), C-contiguous float64, and so are y and weights (m,).
        """
        table = np.zeros(TABLE, dtype=np.int64)
        rows = x.shape[0] if x.ndim == 2 else 0
        table[POINTS], table[ROWS] = y.size, rows
        table[PREDICTORS], table[RESPONSE] = address_of_array(x), address_of_array(y)
        if weights is not None:
            table[WEIGHTS] = address_of_array(weights)
        table[MODEL] = self.address(rows)

        def in_python(p: FloatArray) -> Any:
            points = array_at(int(table[PREDICTORS]), x.shape)  # a plan may have other data by now
            values = model_values(self._called, points, p, self._scalar)
            if values.shape != y.shape:
                return values
            residual = values - array_at(int(table[RESPONSE]), y.shape)
            return residual * array_at(int(table[WEIGHTS]), y.shape) if table[WEIGHTS] else residual

        def complex_residual() -> int:
            table[COMPLEX_MODEL] = self.complex_address(rows)
            return address_of_kernel(complex_curve_residual)

        return CompiledResidual(
            curve_residual,
            table,
            in_python,
            y.size,
            (self, x, y, weights),
            complex_address=complex_residual,
            derivative=lambda: self.derivative(rows),
            hessian=lambda: self.hessian(rows),
        )

    def bind(self, x0: FloatArray) -> CompiledResidual:
        """Residual of a function ``f(p)``: its length is taken from one call at `x0`."""
        if self.kind != "residual":
            raise TypeError("a compiled model is no residual function; use curve_fit, or compile(f, kind='residual').")
        table = np.zeros(TABLE, dtype=np.int64)
        table[POINTS] = np.atleast_1d(self._called(x0.copy())).size
        n, m = x0.size, int(table[POINTS])
        return CompiledResidual(
            self.address(n),
            table,
            self._called,
            m,
            (self,),
            complex_address=lambda: self.complex_address(n),
            derivative=lambda: self.derivative(n),
            hessian=lambda: self.hessian(n),
            seeded=self.seeded_derivative,
        )


def _positional(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def array_at(address: int, shape: tuple[int, ...]) -> FloatArray:
    """View the doubles at an address that `address_of_array` gave."""
    if compile_disabled():
        array: FloatArray = double_pointer(address)
        return array
    pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_double))
    view: FloatArray = np.ctypeslib.as_array(pointer, shape)
    return view


def model_values(function: Callable[..., Any], x: FloatArray, p: Any, scalar: bool | None) -> FloatArray:
    """Values of a model at all points, called from Python.

    Where it is not known whether it takes one x or all, all are tried first: a copy, since a function of one x may
    change it.
    """
    unknown = scalar is None and x.ndim == 1
    if not scalar:
        try:
            values = np.asarray(function(x.copy() if unknown else x, *p))
        except (TypeError, ValueError):
            if not unknown:
                raise
        else:
            if values.ndim or not unknown:
                return values
    return np.array([function(value, *p) for value in x.tolist()])


def _in_python(function: Callable[..., Any], kind: str, n: int, variant: int) -> Callable[..., int]:
    """Do in Python what the C function does."""
    from nlsq.kernels.backend import int_pointer

    def call(p: FloatArray, data: int, out: FloatArray) -> int:
        table = int_pointer(data)
        m = int(table[POINTS])
        try:
            if kind == "residual":
                out[:m] = function(p[:n].copy())
            else:
                x = double_pointer(int(table[PREDICTORS]))
                values = model_values(function, x if variant else x[:m], p[:n], None)
                out[:m] = values if values.shape == (m,) else None
        except Exception:  # the caller runs the function again to raise it
            return 1
        return 0

    return call


def compile(function: Callable[..., Any], *, kind: Literal["model", "residual"] = "model") -> CompiledFunction:
    """Make a function that solvers call by address, at the speed of compiled code.

    Parameters
    ----------
    function : numba.njit function
        A model ``f(x, a, b, ...)`` for ``curve_fit``, written for one x or for an array of them, or a residual ``f(p)
        -> r``.
    kind : {"model", "residual"}
        Which of the two it is.

    Returns
    -------
    CompiledFunction
        Pass it in place of the function.

    Raises
    ------
    TypeError
        If `function` is not an njit function.
    ValueError
        If `kind` is unknown.
    """
    if kind not in ("model", "residual"):
        raise ValueError(f"kind must be 'model' or 'residual', got {kind!r}.")
    if isinstance(function, CompiledFunction):
        return function
    if not compile_disabled():
        from nlsq.kernels.backend.user_function import is_jitted

        if not is_jitted(function):
            raise TypeError(f"compile takes a function decorated with numba.njit, got {type(function).__name__}.")
    return CompiledFunction(function, kind)
