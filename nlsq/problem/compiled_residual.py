"""A residual that is called by address: a compiled function with its data, or a C function brought along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import Kernel, address_of_array, address_of_kernel, compile_disabled, handle
from nlsq.kernels.backend.signature import Signature

FloatArray = NDArray[np.float64]
_C_FUNCTION = Signature.parse("int(double*, int, double*)")


@dataclass(slots=True)
class Derivative:
    """The exact derivative of a compiled function in one of its forms.

    Attributes
    ----------
    address : int
        Of the C function; 0: there is none.
    reason : str
        Why there is none.
    compared : bool
        Whether it has been compared with a difference.
    zero : bool
        Whether all that it computes is zero everywhere, so that nobody needs to call it: the second derivatives of
        linear functions, found from their expressions.
    """

    address: int = 0
    reason: str = ""
    compared: bool = False
    zero: bool = False

    def refuse(self, reason: str) -> None:
        """Do without it."""
        self.address, self.reason = 0, reason


class WeightedHessian(Protocol):
    """``sum_i weights_i * (second derivatives of residual i)`` as a sparse matrix.

    Attributes
    ----------
    rows, columns : ndarray of int64
        Place of each value in the lower triangle, ``rows >= columns``; values at one place are to be added up.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def into(self, x: FloatArray, weights: FloatArray, values_out: FloatArray) -> None:
        """Evaluate at contiguous `x` into `values_out`, which is overwritten."""
        ...


class CompiledResidual:
    """A compiled function with its data: what the solvers evaluate.

    Attributes
    ----------
    m : int
        Number of residuals.
    in_python : callable
        The same as a Python function ``p -> r``, for complex p too.
    calls_python : bool
        Whether the C function needs the interpreter.
    address, data_address : int
        For kernels: the C function and its data.
    jacobian_address : int
        For kernels: the C function of the exact derivative, 0 where there is none. It takes the same data.
    binding : Binding or None
        Data and constants of a traced function.
    """

    __slots__ = (
        "_alive",
        "_complex_address",
        "_derivative",
        "_entry",
        "_hessian",
        "_jacobian_entry",
        "_kernel",
        "_raw_address",
        "_seeded",
        "_sparse_hessian",
        "binding",
        "calls_python",
        "in_python",
        "m",
        "table",
    )

    def __init__(
        self,
        function: Kernel | int,
        table: NDArray[np.int64],
        in_python: Callable[..., Any],
        m: int,
        alive: tuple[Any, ...],
        calls_python: bool = False,
        complex_address: Callable[[], int] | None = None,
        derivative: Callable[[], Derivative] | None = None,
        seeded: Callable[[int], Derivative] | None = None,
        hessian: Callable[[], Derivative] | None = None,
        sparse_hessian: Callable[[], WeightedHessian | None] | None = None,
    ) -> None:
        self._hessian, self._sparse_hessian = hessian, sparse_hessian
        self._seeded = seeded
        self.calls_python = calls_python
        self._derivative = derivative
        self._complex_address = complex_address
        self._kernel = function if isinstance(function, Kernel) else None
        self._raw_address = 0 if isinstance(function, Kernel) else function
        self.table, self.in_python, self.m, self._alive = table, in_python, m, alive
        self._entry: Callable[..., int] | None = None
        self._jacobian_entry: Callable[..., int] | None = None
        self.binding: Any = None

    @property
    def address(self) -> int:
        """Address of the residual's C function."""
        return self._raw_address if self._kernel is None else address_of_kernel(self._kernel)

    @property
    def data_address(self) -> int:
        """Address of its data table."""
        return address_of_array(self.table)

    @property
    def takes_complex(self) -> bool:
        """Whether complex parameters may be asked for; those of a traced function are for the function itself."""
        return self._complex_address is not None

    def complex_address(self) -> int:
        """Address of the C function for complex parameters, for the data at `data_address`."""
        if self._complex_address is None:
            raise TypeError("this residual was not compiled for complex parameters.")
        return self._complex_address()

    @property
    def differentiable(self) -> bool:
        """Whether an exact derivative may be asked for."""
        return self._derivative is not None

    @property
    def derivative(self) -> Derivative:
        """The exact derivative, or why there is none; compiled when it is first asked for."""
        return Derivative(reason="this residual has none") if self._derivative is None else self._derivative()

    @property
    def takes_seeds(self) -> bool:
        """Whether an exact sparse derivative may be asked for."""
        return self._seeded is not None

    def seeded_derivative(self, width: int) -> Derivative:
        """Return the exact sparse derivative, `width` colours at a time, or why there is none."""
        if self._seeded is None:
            return Derivative(reason="sparse ones are for residuals compiled by nlsq.compile(f, kind='residual')")
        return self._seeded(width)

    @property
    def hessian(self) -> Derivative:
        """C function ``int(x, data, weights, out)``, or why there is none; compiled when it is first asked for.

        It adds ``sum_i weights_i * (second derivatives of residual i)`` to the lower triangle of `out`, (n, n) row by
        row; the upper triangle may be written too.
        """
        return Derivative(reason="this residual has none") if self._hessian is None else self._hessian()

    @property
    def sparse_hessian(self) -> WeightedHessian | None:
        """The same as a sparse matrix, where its pattern is known."""
        return None if self._sparse_hessian is None else self._sparse_hessian()

    @property
    def jacobian_address(self) -> int:
        """Address of the C function that fills the transposed Jacobian, (n, m); 0 where there is none."""
        return self.derivative.address

    def jacobian_into(self, x: FloatArray, jac_t_out: FloatArray) -> None:
        """Evaluate the exact transposed Jacobian, C-contiguous (n, m); the user's exceptions pass through."""
        if self.jacobian_by_handles(handle(np.ascontiguousarray(x)), self.data_address, handle(jac_t_out)):
            self.raise_original(x)

    def jacobian_by_handles(self, x: Any, data: int, jac_t_out: Any) -> int:
        """Do the same for handles of arrays; anything but 0 is a failure."""
        if self._jacobian_entry is None:
            self._jacobian_entry = _C_FUNCTION.prototype()(self.jacobian_address)
        return int(self._jacobian_entry(x, data, jac_t_out))

    def normal_equations(self, loss: int, loss_scale: float) -> int:
        """Address of the C function of the normal equations in one pass, under a loss; 0 where there is none."""
        return 0 if self.binding is None else int(self.binding.normal_equations(loss, loss_scale))

    def raise_original(self, x: FloatArray) -> None:
        """Run the user's function in Python after its compiled form failed, so that its own exception is raised."""
        size = np.size(self.in_python(x.copy()))
        if size != self.m:
            raise ValueError(f"the compiled function returned {size} values where {self.m} were expected.")
        raise RuntimeError("the compiled function failed at a point where its Python form does not.")

    def into(self, x: FloatArray, out: FloatArray) -> None:
        """Evaluate at `x` into `out`, shape (m,); the user's exceptions pass through."""
        if self._entry is None:
            if compile_disabled():
                from nlsq.kernels.backend import call_function

                address = self.address
                self._entry = lambda x, data, out: call_function(address, x, data, out)
            else:
                self._entry = _C_FUNCTION.prototype()(self.address)
        if self._entry(handle(np.ascontiguousarray(x)), self.data_address, handle(out)):
            self.raise_original(x)

    def first(self, x: FloatArray) -> FloatArray:
        """Evaluate for the first time."""
        return self(x)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Evaluate at `x`."""
        out = np.empty(self.m)
        self.into(x, out)
        return out
