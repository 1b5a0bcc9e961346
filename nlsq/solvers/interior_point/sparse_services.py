"""What the method asks of functions and matrices, for sparse problems: Python in the place of the dense kernels.

Each service is a C function ``int(double* w, int* iw)`` that calls a method. Matrices are kept here; the workspace
has the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import callback_address
from nlsq.kernels.backend.signature import Signature
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.interior_point import layout
from nlsq.kernels.interior_point.scaling import choose_scales
from nlsq.linalg.kkt import RIGHT_INERTIA, TOO_MANY_NEGATIVE, SparseKKT
from nlsq.loss import scale_for_loss

if TYPE_CHECKING:
    from nlsq.solvers.interior_point.plan import Plan

FloatArray = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
SERVICE = Signature.parse("int(double*, int*)")


@final
class SparseServices:
    """Services of one plan.

    Parameters
    ----------
    plan : Plan
        Functions, second derivatives, memory.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._error: BaseException | None = None
        self._alive: list[Any] = []
        self._jac: Any = None
        self._a: Any = None
        self._jac_values: FloatArray = np.empty(0)
        self._a_values: FloatArray = np.empty(0)
        self._kkt: SparseKKT | None = None
        space = plan.space
        view = space.view
        self._w, self._iw = space.w, space.iw
        self._trial, self._x = view(layout.Z_TRIAL)[: space.n], view(layout.X_EVALUATED)
        self._r, self._r_trial, self._weighted = view(layout.R), view(layout.R_TRIAL), view(layout.R_WEIGHTED)
        self._roots = np.ones_like(self._r)  # of the weights of a robust loss
        self._c_trial, self._row_scale, self._row_work = (
            view(name) for name in (layout.C_TRIAL, layout.ROW_SCALE, layout.ROW_WORK)
        )
        self._gradient, self._squares, self._free = (
            view(layout.GRADIENT), view(layout.COLUMN_SQUARES), view(layout.FREE)[: space.n]
        )  # fmt: skip
        self._rounding = view(layout.ROUNDING)
        self._y, self._diagonal = view(layout.Y), view(layout.DIAGONAL)
        self._rhs, self._solution = view(layout.RHS), view(layout.SOLUTION)
        self._hold_curvature()

    def _hold_curvature(self) -> None:
        """Find the places of second derivatives: those of the residual, then those of the constraints."""
        plan = self.plan
        none = np.empty(0, dtype=np.int64)
        wanted = plan.choice.residual, plan.choice.constraints
        found = [one.sparse_hessian if takes else None for one, takes in zip(plan.functions, wanted, strict=False)]
        self._second = [*found, None][:2]
        self._rows = np.concatenate([none, *(one.rows for one in found if one is not None)])
        self._columns = np.concatenate([none, *(one.columns for one in found if one is not None)])
        self._curvature = np.zeros(self._rows.size)

    def write(self, iw: NDArray[np.int64]) -> None:
        """Write the addresses of the services."""
        for name, service in (
            (layout.EVALUATE, self._evaluate),
            (layout.LINEARISE, self._linearise),
            (layout.MULTIPLY, self._multiply),
            (layout.CURVATURE, self._evaluate_curvature),
            (layout.FACTORIZE, self._factorize),
            (layout.SOLVE, self._solve),
        ):
            iw[name] = self._address(service)

    def _address(self, service: Callable[[], None]) -> int:
        def call(w: Any, iw: Any) -> int:
            try:
                service()
            except BaseException as error:  # exceptions cannot pass through C; `raise_kept` raises it again
                self._error = error
                return 1
            return 0

        address, kept = callback_address(SERVICE, call)
        self._alive.append(kept)
        return address

    def raise_kept(self) -> None:
        """Raise what a service raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def analyses(self) -> int:
        """Analyses of the pattern."""
        return 0 if self._kkt is None else self._kkt.analyses

    def describe(self, reason: str) -> str:
        """Say how linear systems are solved, and why."""
        if self._kkt is None:
            return f"sparse LDL^T ({reason})"
        kkt = self._kkt
        size = f"order {kkt.order}, {kkt.nnz_factor} entries in L"
        return f"sparse LDL^T of the {kkt.form} system ({reason}; {kkt.reason}; {size})"

    def jacobians(self) -> tuple[Any, Any]:
        """Return J and A as they were given, rows of J scaled by the loss."""
        from scipy.sparse import csr_array

        a = csr_array((0, self.plan.space.n)) if self._a is None else self._a.copy()
        return (None if self._jac is None else self._corrected()), a

    def _corrected(self) -> Any:
        """Return J with the rows of Triggs' correction, as other solvers leave them."""
        loss, jac = self.plan.problem.loss, self._jac
        if loss.is_linear:
            return jac.copy()
        rho = loss.of_residual(self._r)
        roots = np.repeat(np.sqrt(rho[1]), np.diff(jac.indptr))
        with np.errstate(invalid="ignore", divide="ignore"):
            data = np.where(roots > 0.0, jac.data / roots, 0.0)
        return scale_for_loss(loss, csr_like(jac, data), self._r.copy(), rho)[0]

    def _evaluate(self) -> None:
        plan, x = self.plan, self._x
        np.clip(self._trial * plan.sizes, plan.lower, plan.upper, out=x)
        self._r_trial[:] = plan.residual.value(x)
        if plan.constraints is not None:
            np.multiply(plan.constraints.value(x), self._row_scale, out=self._c_trial)
        self._extend_linearly()
        self._w[layout.COST_TRIAL] = self._w[layout.COST_SCALE] * plan.problem.loss.cost(self._r_trial)

    def _extend_linearly(self) -> None:
        """Extend what was evaluated at the bounds to where those are relaxed, by the last Jacobians."""
        sizes = self.plan.sizes
        if self._jac is None or np.array_equal(self._x, self._trial * sizes):
            return
        beyond = self._trial - self._x / sizes
        change = csr_like(self._jac, self._jac_values) @ beyond / self._w[layout.ROOT_SCALE]
        self._r_trial += np.divide(change, self._roots, out=np.zeros_like(change), where=self._roots > 0.0)
        if self._a is not None:
            self._c_trial += csr_like(self._a, self._a_values) @ beyond

    def _linearise(self) -> None:
        plan, w = self.plan, self._w
        jac = plan.residual.jacobian(self._x)
        self._weighted[:] = self._r
        if not plan.problem.loss.is_linear:  # J'J is definite with rho' alone
            self._roots = np.sqrt(plan.problem.loss.of_residual(self._r)[1])
            self._weighted *= self._roots
            jac = csr_like(jac, jac.data * np.repeat(self._roots, np.diff(jac.indptr)))
        np.multiply(jac.T @ self._weighted, plan.sizes, out=self._gradient)
        a = None if plan.constraints is None else plan.constraints.jacobian(self._x)
        self._jac, self._a = jac, a
        if not self._iw[layout.SCALED]:
            if a is not None:
                self._row_work[:] = largest_of_rows(csr_like(a, a.data * plan.sizes[a.indices]))
            w[layout.GRADIENT_BOUND] = self._bound_of_gradient(jac.data * plan.sizes[jac.indices])
            run_kernel(choose_scales, w, self._iw)
        root = float(w[layout.ROOT_SCALE])
        self._weighted *= root
        self._gradient *= w[layout.COST_SCALE]
        self._jac_values = jac.data * (root * plan.sizes)[jac.indices]
        if a is not None:
            self._a_values = a.data * np.repeat(self._row_scale, np.diff(a.indptr)) * plan.sizes[a.indices]
            self._rounding[:] = EPS * (np.abs(csr_like(a, self._a_values)) @ np.abs(self._x / plan.sizes))
        squares = np.bincount(jac.indices, weights=self._jac_values**2, minlength=self._x.size)
        np.maximum(self._squares, squares, out=self._squares)
        w[layout.GRADIENT_BOUND] = self._bound_of_gradient(self._jac_values)

    def _bound_of_gradient(self, values: FloatArray) -> float:
        """Return the largest norm of a column of J times that of the residual."""
        squares = np.bincount(self._jac.indices, weights=values**2, minlength=self._x.size)
        return float(np.sqrt(squares.max(initial=0.0) * (self._weighted @ self._weighted)))

    def _multiply(self) -> None:
        iw, w = self._iw, self._w
        kind = int(iw[layout.PRODUCT])
        of_constraints = kind in (layout.CONSTRAINTS_TRANSPOSED, layout.CONSTRAINTS_TIMES)
        matrix, values = (self._a, self._a_values) if of_constraints else (self._jac, self._jac_values)
        given, out = int(iw[layout.ARGUMENT]), int(iw[layout.RESULT])
        if matrix is None:
            w[out : out + self._x.size] = 0.0
            return
        scaled = csr_like(matrix, values)
        rows, columns = matrix.shape
        if kind in (layout.CONSTRAINTS_TRANSPOSED, layout.RESIDUAL_TRANSPOSED):
            w[out : out + columns] = scaled.T @ w[given : given + rows]
        else:
            w[out : out + rows] = scaled @ w[given : given + columns]

    def _evaluate_curvature(self) -> None:
        w, loss, begin = self._w, self.plan.problem.loss, 0
        residual, constraints = self._second
        if residual is not None and self._iw[layout.EXACT_RESIDUAL]:
            weights = self._r * w[layout.COST_SCALE]
            if not loss.is_linear:
                weights *= loss.of_residual(self._r)[1]
            residual.into(self._x, weights, self._curvature[: residual.rows.size])
        elif residual is not None:  # restoration knows only the constraints
            self._curvature[: residual.rows.size] = 0.0
        begin = 0 if residual is None else residual.rows.size
        if constraints is not None:
            constraints.into(self._x, self._y * self._row_scale, self._curvature[begin:])
        sizes = self.plan.sizes
        self._curvature *= sizes[self._rows] * sizes[self._columns]

    def _factorize(self) -> None:
        uses = int(self._iw[layout.USE_HESSIAN])
        if self._kkt is None:
            self._kkt = self._new_kkt()
        self._set_matrices(uses)
        n = self._x.size
        code = self._kkt.factorize(
            np.where(self._free == 0.0, 1.0, self._diagonal[:n]), self._diagonal[n:], use_hessian=uses > 0
        )
        found = layout.INERTIA_SINGULAR
        if code == RIGHT_INERTIA:
            found = layout.INERTIA_RIGHT
        elif code == TOO_MANY_NEGATIVE:
            found = layout.INERTIA_NEGATIVE
        self._iw[layout.INERTIA] = found

    def _new_kkt(self) -> SparseKKT:
        plan = self.plan
        return SparseKKT(
            plan.residual.pattern,
            None if plan.constraints is None else plan.constraints.pattern,
            self._rows,
            self._columns,
            form=plan.options.kkt,
            ordering=plan.options.ordering,
            constraint_values=None if plan.constraints is None else self._a_values,
        )

    def _set_matrices(self, uses: int) -> None:
        """Hand values to the system: columns of held variables are zero, and so is what is not used."""
        assert self._kkt is not None
        jac, a, curvature = self._jac_values, None if self._a is None else self._a_values, self._curvature
        if not self._free.all():
            jac = jac * self._free[self._jac.indices]
            a = None if a is None else a * self._free[self._a.indices]
            curvature = curvature * self._free[self._rows] * self._free[self._columns]
        self._kkt.set_matrices(
            jac if uses % 2 == 1 else np.zeros_like(jac), a, curvature if uses >= 2 and curvature.size else None
        )

    def _solve(self) -> None:
        assert self._kkt is not None
        self._w[layout.RESIDUAL_OF_SOLVE] = self._kkt.solve(self._rhs, self._solution)


def csr_like(matrix: Any, values: FloatArray) -> Any:
    """Return a csr matrix with other values."""
    from scipy.sparse import csr_array

    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def largest_of_rows(matrix: Any) -> FloatArray:
    """Return the largest entry of each row of a csr matrix; 0 for an empty one."""
    largest = np.zeros(matrix.shape[0])
    full = np.flatnonzero(np.diff(matrix.indptr))
    if full.size:
        largest[full] = np.maximum.reduceat(np.abs(matrix.data), matrix.indptr[full])
    return largest
