"""Workspaces of the interior-point kernels with random contents, and the same contents as the slow twins take them."""

import ctypes

import numpy as np

from nlsq.kernels.backend import address_of_kernel, compile_disabled, ticket
from nlsq.kernels.backend.signature import Signature
from nlsq.kernels.interior_point import dense_services, layout
from nlsq.solvers.interior_point.workspace import Workspace
from references.interior_point import Iterate
from references.kernel_calls import call

SERVICES = (
    (layout.MULTIPLY, dense_services.multiply),
    (layout.CURVATURE, dense_services.curvature),
    (layout.FACTORIZE, dense_services.factorize),
    (layout.SOLVE, dense_services.solve_kkt),
)
SERVICE = Signature.parse("int(double*, int*)")
FUNCTION = Signature.parse("int(double*, int, double*)")
WEIGHTED = Signature.parse("int(double*, int, double*, double*)")
KINDS = ("both", "lower", "upper", "none", "held")  # of bounds


def seen(pointer, size):
    """View so many numbers at a pointer as kernels hand it to functions: an array or an address."""
    if isinstance(pointer, np.ndarray):
        return pointer[:size]
    return np.ctypeslib.as_array((ctypes.c_double * size).from_address(pointer))


class Quadratics:
    """Functions b_i + a_i'x + x'Q_i x / 2 with random coefficients."""

    def __init__(self, rows, n, seed):
        rng = np.random.default_rng(seed)
        self.b, self.a = rng.standard_normal(rows), rng.standard_normal((rows, n))
        q = rng.standard_normal((rows, n, n))
        self.q = q + q.transpose(0, 2, 1)

    def value(self, x):
        """All values at x."""
        return self.b + self.a @ x + 0.5 * np.einsum("ijk,j,k->i", self.q, x, x)

    def jacobian(self, x):
        """Their derivatives, (rows, n)."""
        return self.a + self.q @ x

    def hessian(self, weights):
        """Second derivative of their weighted sum."""
        return np.tensordot(weights, self.q, 1)


class Scene:
    """A dense workspace at some iterate; equality constraints are slacks that are held.

    Parameters
    ----------
    mode : str
        "compiled" or "python": how kernels are called.
    seed : int
        Of the contents.
    n, m, mc : int
        Numbers of variables, residuals and constraints.
    variables, slacks : sequence of str
        Kinds of their bounds, repeated as often as needed.
    """

    def __init__(self, mode, seed=0, n=5, m=7, mc=4, variables=KINDS, slacks=("held", "both", "lower", "upper")):
        self.mode, self.n, self.m, self.mc = mode, n, m, mc
        self.space = Workspace(m, n, [mc] if mc else [], dense=True, quasi=True)
        self.w, self.iw = self.space.w, self.space.iw
        self.rng = np.random.default_rng(seed)
        self._alive = []
        for name, kernel in SERVICES:
            self.iw[name] = ticket(kernel.function) if mode == "python" else address_of_kernel(kernel)
        self.w[layout.COST_SCALE] = self.w[layout.ROOT_SCALE] = 1.0
        self.w[layout.BARRIER], self.w[layout.TO_BOUNDARY], self.w[layout.TOLERANCE] = 0.03, 0.99, 1e-8
        self.w[layout.VIOLATION_LARGEST], self.w[layout.VIOLATION_SMALL] = 1e4, 1e-4
        self.w[layout.COST], self.w[layout.VIOLATION_TOLERANCE] = 2.5, 1e-7
        self.iw[layout.MAX_EVALUATIONS], self.iw[layout.MAX_ITERATIONS] = 1000, 1000
        kinds = [*(variables * n)[:n], *(slacks * max(mc, 1))[:mc]]
        self._fill(kinds)

    def _fill(self, kinds):
        rng, n, m, mc = self.rng, self.n, self.m, self.mc
        z = rng.standard_normal(n + mc)
        self.set(layout.Z, z)
        has = {kind: np.array([k in (kind, "both") for k in kinds], dtype=bool) for kind in ("lower", "upper")}
        self.set(layout.LOWER, np.where(has["lower"], z - rng.uniform(0.1, 2.0, n + mc), -np.inf))
        self.set(layout.UPPER, np.where(has["upper"], z + rng.uniform(0.1, 2.0, n + mc), np.inf))
        self.set(layout.LOWER_DUAL, np.where(has["lower"], rng.uniform(0.01, 1.0, n + mc), 0.0))
        self.set(layout.UPPER_DUAL, np.where(has["upper"], rng.uniform(0.01, 1.0, n + mc), 0.0))
        self.set(layout.FREE, np.array([kind != "held" for kind in kinds], dtype=float))
        self.set(layout.Y, rng.standard_normal(mc))
        self.set(layout.C, z[n:] + 0.3 * rng.standard_normal(mc))
        self.set(layout.H, self.v(layout.C) - z[n:])
        self.set(layout.ROW_SCALE, np.ones(mc))
        self.set(layout.CL, np.where([k in ("lower", "both") for k in kinds[n:]], self.v(layout.LOWER)[n:], -np.inf))
        self.set(layout.CU, np.where([k in ("upper", "both") for k in kinds[n:]], self.v(layout.UPPER)[n:], np.inf))
        for i in np.flatnonzero([k == "held" for k in kinds[n:]]):
            self.v(layout.CL)[i] = self.v(layout.CU)[i] = z[n + i]
        self.set(layout.XL, np.where(has["lower"][:n], self.v(layout.LOWER)[:n], -np.inf))
        self.set(layout.XU, np.where(has["upper"][:n], self.v(layout.UPPER)[:n], np.inf))
        self.set(layout.X_EVALUATED, z[:n])
        self.set(layout.SIZE, np.ones(n))
        self.iw[layout.BOUNDS] = has["lower"].sum() + has["upper"].sum()
        self.jac, self.r = rng.standard_normal((m, n)), rng.standard_normal(m)
        self.a = rng.standard_normal((mc, n))
        self.set(layout.JAC_T, self.jac.T)
        self.set(layout.CONSTRAINT_JAC_T, self.a.T)
        self.set(layout.NORMAL, self.jac.T @ self.jac)
        self.set(layout.R, self.r)
        self.set(layout.GRADIENT, self.jac.T @ self.r)
        self.set(layout.AY, self.a.T @ self.v(layout.Y))
        self.set(layout.COLUMN_SQUARES, np.sum(self.jac**2, axis=0))
        self.w[layout.VIOLATION] = np.abs(self.v(layout.H)).sum()

    def v(self, name):
        """View a vector."""
        return self.space.view(name)

    def set(self, name, values):
        """Write a vector or matrix, row by row."""
        self.v(name)[:] = np.ravel(values)

    def at(self, name):
        """Return the offset of a vector."""
        return self.space.start(name)

    def call(self, kernel, *arguments):
        """Call a kernel on this workspace."""
        return call(kernel, self.mode, self.w, self.iw, *arguments)

    def serve(self, name, function):
        """Let `function(scene)` stand in for a service; what it returns is the code, None is 0."""

        def service(w, iw):
            return int(function(self) or 0)

        self.iw[name] = self._address(service, SERVICE)

    def _address(self, function, signature):
        if self.mode == "python" or compile_disabled():
            self._alive.append(function)
            return ticket(function)
        held = signature.callback(function)
        self._alive.append(held)
        return ctypes.cast(held, ctypes.c_void_p).value

    def serve_kernels(self):
        """Let the kernels for dense problems evaluate and linearise."""
        for name, kernel in ((layout.EVALUATE, dense_services.evaluate), (layout.LINEARISE, dense_services.linearise)):
            self.iw[name] = ticket(kernel.function) if self.mode == "python" else address_of_kernel(kernel)

    def serve_functions(self, residual, constraints):
        """Put two `Quadratics` into the table of functions."""
        self.iw[layout.BLOCKS] = 2
        for index, one in enumerate((residual, constraints)):
            self._put_block(index, one)

    def _put_block(self, index, one):
        rows, n = one.b.size, self.n

        def value(x, data, out):
            seen(out, rows)[:] = one.value(seen(x, n))
            return 0

        def jacobian(x, data, out):
            seen(out, n * rows)[:] = one.jacobian(seen(x, n)).T.ravel()
            return 0

        def hessian(x, data, weights, out):
            seen(out, n * n)[:] += np.tril(one.hessian(seen(weights, rows))).ravel()
            return 0

        block = self.space.block(index)
        block[layout.VALUE_OF], block[layout.JACOBIAN_OF] = (self._address(f, FUNCTION) for f in (value, jacobian))
        block[layout.HESSIAN_OF], block[layout.ROWS_OF] = self._address(hessian, WEIGHTED), rows

    def fail(self, index, name):
        """Let a function of the table fail."""
        signature = WEIGHTED if name == layout.HESSIAN_OF else FUNCTION
        self.space.block(index)[name] = self._address(lambda *arguments: 1, signature)

    @property
    def point(self):
        """The iterate as the twins take it."""
        names = (layout.Z, layout.LOWER, layout.UPPER, layout.LOWER_DUAL, layout.UPPER_DUAL, layout.FREE)
        names += (layout.Y, layout.C, layout.GRADIENT)
        return Iterate(*(self.v(name).copy() for name in names), self.a)

    @property
    def pairs(self):
        """The filter."""
        size = self.iw[layout.FILTER_SIZE]
        return self.v(layout.FILTER)[: 2 * size].reshape(-1, 2)

    def put_filter(self, pairs):
        """Write the filter."""
        self.v(layout.FILTER)[: 2 * len(pairs)] = np.ravel(pairs)
        self.iw[layout.FILTER_SIZE] = len(pairs)
