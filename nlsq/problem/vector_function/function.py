"""A function of the parameters as the kernels of a solver see it: addresses, and words for where they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import compile_disabled, handle
from nlsq.problem.compiled_residual import CompiledResidual, WeightedHessian
from nlsq.problem.vector_function.called_back import PLAIN, WEIGHTED
from nlsq.problem.vector_function.parts import Parts, SecondDerivatives

if TYPE_CHECKING:
    from nlsq.compiler.routes import Route
    from nlsq.pattern import SparsityPattern

FloatArray = NDArray[np.float64]


@final
class VectorFunction:
    """A residual or constraint function ``x (n,) -> c (m,)`` by address; made by `vector_function`.

    Attributes
    ----------
    name : str
        What messages call it.
    m, n : int
        Numbers of values and parameters.
    route : Route or None
        What is known of a plain function that may be traced.
    """

    __slots__ = (
        "_evaluations_before",
        "_refreshed",
        "_second",
        "_sparse_second",
        "m",
        "n",
        "name",
        "parts",
        "route",
    )

    def __init__(
        self,
        name: str,
        m: int,
        n: int,
        parts: Parts,
        *,
        route: Route | None = None,
        refreshed: Callable[[Parts], Parts] | None = None,
    ) -> None:
        self.name, self.m, self.n = name, m, n
        self.parts, self.route = parts, route
        self._refreshed = refreshed
        self._second: SecondDerivatives | None = None
        self._sparse_second: tuple[WeightedHessian | None, str] | None = None
        self._evaluations_before = 0

    def __reduce__(self) -> Any:
        """Refuse copies and pickles: addresses in them would point to memory of the original.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"{self.name} is held by addresses of memory, which can be neither copied nor pickled; make another "
            "LeastSquaresProblem instead."
        )

    def refresh(self) -> bool:
        """See whether a plain function can be evaluated by the kernels of its graph now, with what it reads now.

        To be asked before each solve but the first. Nothing is remembered of earlier values, and differences are
        forward ones again where those are the default. True where addresses are others than they were.
        """
        self.use_central(False)
        if self.parts.forget is not None:
            self.parts.forget()
        if self.parts.called_back is not None:
            self.parts.called_back.forget()
        if self._refreshed is None:
            return False
        parts = self._refreshed(self.parts)
        if parts is self.parts:
            return False
        self._evaluations_before = self.function_evaluations
        self.parts, self._second, self._sparse_second = parts, None, None
        return True

    def use_function(self, reason: str) -> None:
        """Call a plain function from now on, since the kernels of its graph are not to be trusted."""
        if self.route is not None:
            self.route.refuse(reason)
        self.refresh()
        self.parts.notes.append(f"{self.name} was called plainly: {reason}")

    def use_central(self, central: bool = True) -> bool:
        """Take central differences for Jacobians from now on, or forward ones again; whether that changes anything.

        Only where differences are the default, not where the user chose them. Addresses stay what they are.
        """
        if self.parts.use_central is None:
            return False
        before = self.parts.jacobian_kind
        self.parts.use_central(central)
        return self.parts.jacobian_kind != before

    @property
    def is_linear(self) -> bool:
        """Whether the Jacobian is known to be constant, which is so for a plain function where its graph says it."""
        return self.parts.is_affine()

    @property
    def value_address(self) -> int:
        """Address of ``int f(double* x, int data, double* out)``, out (m,)."""
        return self.parts.values

    @property
    def jacobian_address(self) -> int:
        """Address of ``int J(double* x, int data, double* jac_t_out)``, (n, m) transposed."""
        return self.parts.dense_jacobian

    @property
    def data_address(self) -> int:
        """Address of the data that both take."""
        return self.parts.data

    @property
    def jacobian_kind(self) -> str:
        """Where the Jacobian comes from, in words."""
        return self.parts.jacobian_kind

    @property
    def second(self) -> SecondDerivatives:
        """Second derivatives, compiled when they are first asked for."""
        if self._second is None:
            self._second = self.parts.second(self.parts)
        return self._second

    @property
    def hessian_address(self) -> int:
        """Address of ``int H(double* x, int data, double* weights, double* out)``.

        It adds to the lower triangle of `out`, (n, n) row by row. 0 where second derivatives are not known, or where
        `second.is_zero` says that there are none.
        """
        return self.second.address

    @property
    def hessian_data_address(self) -> int:
        """Address of its data."""
        return self.second.data

    @property
    def hessian_kind(self) -> str:
        """Where second derivatives come from, in words; empty where they are not known."""
        return self.second.kind

    @property
    def calls_python(self) -> bool:
        """Whether a C function for values or Jacobian calls Python."""
        return self.parts.calls_python

    @property
    def residual(self) -> CompiledResidual | None:
        """The function where it is called by address without Python."""
        return self.parts.residual

    @property
    def notes(self) -> list[str]:
        """Why derivatives do not come from where they would by default; empty where they do."""
        return self.parts.notes

    @property
    def function_evaluations(self) -> int:
        """Evaluations that Jacobians have taken."""
        return self._evaluations_before + self.parts.evaluations()

    @property
    def is_sparse(self) -> bool:
        """Whether Jacobians are known as sparse matrices."""
        return self.parts.sparse is not None

    @property
    def pattern(self) -> SparsityPattern:
        """Where the Jacobian may be nonzero: everywhere, if it is dense."""
        if self.parts.sparse is not None:
            return self.parts.sparse.pattern
        from nlsq.pattern import SparsityPattern

        return SparsityPattern.from_dense(np.ones((self.m, self.n), dtype=np.bool_))

    @property
    def sparse_hessian(self) -> WeightedHessian | None:
        """Second derivatives as a sparse matrix, where its pattern is known; made when they are first asked for."""
        return self._sparse[0]

    @property
    def sparse_hessian_kind(self) -> str:
        """Where that comes from, in words; empty where there is none."""
        return self._sparse[1]

    @property
    def _sparse(self) -> tuple[WeightedHessian | None, str]:
        if self._sparse_second is None:
            self._sparse_second = self.parts.sparse_second(self.parts)
        return self._sparse_second

    def value(self, x: FloatArray) -> FloatArray:
        """Return the values at `x`, shape (m,); the user's exceptions pass through."""
        out = np.empty(self.m)
        x = np.ascontiguousarray(x, dtype=np.float64)
        if entry(self.value_address)(handle(x), self.data_address, handle(out)):
            self.raise_original(x)
        return out

    def dense_jacobian(self, x: FloatArray) -> FloatArray:
        """Return the Jacobian at `x`, shape (m, n)."""
        jac_t = np.empty((self.n, self.m))
        x = np.ascontiguousarray(x, dtype=np.float64)
        if entry(self.jacobian_address)(handle(x), self.data_address, handle(jac_t.reshape(-1))):
            self.raise_original(x)
        return jac_t.T

    def jacobian(self, x: FloatArray) -> Any:
        """Return the Jacobian at `x` as a csr_array that holds every entry of `pattern`, zeros too."""
        if self.parts.sparse is not None:
            return self.parts.sparse.jacobian(x)
        from scipy.sparse import csr_array

        m, n = self.m, self.n
        places = np.tile(np.arange(n), m), np.arange(0, m * n + 1, n)
        return csr_array((np.ascontiguousarray(self.dense_jacobian(x)).reshape(-1), *places), shape=(m, n))

    def hessian(self, x: FloatArray, weights: FloatArray) -> FloatArray:
        """Return ``sum_i weights_i * (second derivatives of value i)`` at `x`, shape (n, n).

        Raises
        ------
        TypeError
            Where it is not known.
        """
        out, second = np.zeros((self.n, self.n)), self.second
        if second.is_zero:
            return out
        if not second.address:
            raise TypeError(f"{self.name} has no second derivatives: {second.reason or 'none were given'}.")
        x = np.ascontiguousarray(x, dtype=np.float64)
        v = np.ascontiguousarray(weights, dtype=np.float64)
        if entry(second.address, WEIGHTED)(handle(x), second.data, handle(v), handle(out.reshape(-1))):
            self.raise_original(x)
        lower = np.tril(out, -1)
        return lower + lower.T + np.diag(np.diag(out))

    def raise_original(self, x: FloatArray) -> None:
        """After a C function failed at `x`, raise what the user's function raises."""
        parts = self.parts
        if parts.raises is not None:
            parts.raises(x)
        if parts.called_back is not None:
            parts.called_back.raise_kept()
        if parts.residual is not None:
            beside = None if parts.table is None else parts.table.failed_at
            parts.residual.raise_original(x if beside is None else beside)
        raise RuntimeError(f"{self.name} failed, but raised nothing.")


def entry(address: int, signature: Any = PLAIN) -> Callable[..., int]:
    """Return a C function as a callable that takes what `handle` makes of arrays."""
    if not compile_disabled():
        found: Callable[..., int] = signature.prototype()(address)
        return found
    from nlsq.kernels.backend import call_function, call_weighted

    call = call_weighted if signature is WEIGHTED else call_function
    return lambda *arguments: call(address, *arguments)
