"""The functions of an optimal control problem as services of its solver: linearise all stages, evaluate all stages.

Plain functions are traced; one program then treats several stages at once (`nlsq.compiler.stage_source`). njit
functions are compiled for one stage, with exact derivatives by dual numbers, and called for each. Functions that can be
neither are called back, and differentiated by central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.stage_source import StageKernels, StageShape
from nlsq.kernels.backend import address_of_array, address_of_kernel, callback_address, compile_disabled
from nlsq.kernels.backend.signature import Signature
from nlsq.kernels.optimal_control import stage_calls as calls

FloatArray = NDArray[np.float64]
AGREEMENT = 1e-9  # of the largest value: kernels and NumPy round differently
RELATIVE_STEP = float(np.finfo(float).eps) ** (1 / 3)  # of central differences
_C_FUNCTION = Signature.parse("int(double*, int, double*)")


@dataclass(frozen=True)
class StageSpec:
    """A stage, or the terminal one: what its argument and its outputs are.

    Parameters
    ----------
    functions : list of callable
        Their outputs follow each other.
    lengths : list of int
        Numbers of their outputs.
    shape : StageShape
        Sizes.
    count, lead : int
        Number of stages, and how far components are apart in vectors.
    parameters : int
        Length of p.
    costates : int
        Address of the costates of the next stage.
    values : ndarray
        p of all stages, flat, by components that are `lead` apart; it begins with the first stage.
    sizes, units : ndarray, shape (n,)
        Sizes of the components of z as the solver keeps them up to date, and what stands for those that are zero:
        differences are taken over steps in proportion.
    """

    functions: list[Callable[..., Any]]
    lengths: list[int]
    shape: StageShape
    count: int
    lead: int
    parameters: int
    values: FloatArray
    sizes: FloatArray
    units: FloatArray
    costates: int = 0

    @property
    def n(self) -> int:
        """Length of the argument z: controls and states, or states alone."""
        return self.shape.nx + self.shape.nu - self.shape.first

    @property
    def nu(self) -> int:
        """Controls in the argument."""
        return 0 if self.shape.first else self.shape.nu

    def parameters_of(self, k: int) -> FloatArray:
        """Return p of a stage."""
        return self.values[k :: self.lead][: self.parameters].copy()

    def call(self, z: FloatArray, p: FloatArray) -> FloatArray:
        """Call the functions from Python."""
        arguments = (z[self.nu :], z[: self.nu]) if self.nu else (z,)
        further = (p,) if self.parameters else ()
        return np.concatenate([np.asarray(one(*arguments, *further), dtype=float) for one in self.functions])


class StageService:
    """Addresses by which a solver linearises and evaluates stages.

    Attributes
    ----------
    linearise, evaluate : int
        C functions ``int(z, table, blocks, vectors)`` and ``int(z, table, vectors)``.
    table : ndarray of int
        What both read.
    derivatives : str
        Where the derivatives come from, and why not from a graph.
    calls_python : bool
        Whether evaluating needs the interpreter.
    """

    def __init__(self, spec: StageSpec) -> None:
        self.spec = spec
        self.calls_python = False
        self._kernels: StageKernels | None = None
        self._alive: list[Any] = []
        self.table: NDArray[np.int64]
        jitted = all(hasattr(one, "py_func") for one in spec.functions)
        if compile_disabled():
            self._call_back("nothing is compiled, as NLSQ_DISABLE_COMPILE asks")
        elif jitted:
            self._compile()
        else:
            reason = self._trace()
            if reason:
                self._kernels = None
                self._call_back(reason)

    def _trace(self) -> str:
        """Take a graph; return why there is none."""
        from nlsq.compiler.clean import Unclean, examine_cached
        from nlsq.compiler.tracing.trace import trace_residual

        spec = self.spec
        stand_in = np.zeros(spec.parameters)
        stacked = _stacked(spec)
        arguments = (stand_in,) if spec.parameters else ()
        try:
            examine_cached(stacked, (1,) if arguments else ())
            trace = trace_residual(stacked, spec.n, arguments)
            if arguments and not trace.sees_all:
                return "its graph depends on the values of p"
            kernels = StageKernels(
                trace, spec.shape, spec.count, spec.lead, stand_in, address_of_array(spec.values), spec.costates
            )
        except (Unclean, NotTraceable) as error:
            return str(error)
        self.linearise, self.evaluate, self.table = kernels.linearise, kernels.evaluate, kernels.table
        self.derivatives = "exact (graph)"
        self._kernels = kernels
        return "" if self._agrees() else "its graph gives other values than the function itself"

    def _agrees(self) -> bool:
        """Whether the service gives what the functions give, at points made up."""
        from nlsq.kernels.backend.generated import call

        spec = self.spec
        nx, nu = spec.shape.nx, spec.shape.nu
        rng = np.random.default_rng(0)
        z = rng.standard_normal((nx + nu, spec.lead))
        kept = spec.values.copy()
        spec.values[...] = rng.standard_normal(kept.shape)
        vectors = np.zeros((2 * nx + nu + 1, spec.lead))
        call(self.evaluate, z, self.table, vectors)
        same = True
        with np.errstate(all="ignore"):
            for k in range(min(spec.count, 3)):
                values = spec.call(z[spec.shape.first :, k].copy(), spec.parameters_of(k))
                dynamics, residual = values[: spec.shape.dynamics], values[spec.shape.dynamics :]
                expected = np.append(dynamics, 0.5 * (residual @ residual))
                found = np.append(vectors[: dynamics.size, k], vectors[-1, k])
                size = np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
                same &= bool(np.allclose(found, expected, rtol=0.0, atol=AGREEMENT * size, equal_nan=True))
        spec.values[...] = kept
        return same

    def _compile(self) -> None:
        """Compile njit functions."""
        from nlsq.kernels.backend.stage_function import compile_stage

        spec = self.spec
        functions = list(zip(spec.functions, spec.lengths, strict=True))
        value, jacobian, alive = compile_stage(functions, spec.nu, spec.n, spec.parameters)
        self._alive += alive
        self._each(value, jacobian)
        self.derivatives = "exact (dual numbers)"

    def _call_back(self, reason: str) -> None:
        """Call Python functions, and difference them."""
        self.calls_python = True
        n, outputs = self.spec.n, sum(self.spec.lengths)
        self._each(0, 0)
        z, p = self._scratch[:n], self._scratch[n : n + self.spec.parameters]
        values = self._scratch[n + p.size : n + p.size + outputs]
        jac_t = self._scratch[n + p.size + outputs :].reshape(n, outputs)

        def value(*_: Any) -> int:
            try:
                values[:] = self.spec.call(z.copy(), p.copy())
            except Exception:  # the caller runs the function again to raise it
                return 1
            return 0

        def jacobian(*_: Any) -> int:
            try:
                sizes = np.where(self.spec.sizes > 0.0, self.spec.sizes, self.spec.units)
                for j in range(n):
                    step = RELATIVE_STEP * max(abs(z[j]), sizes[j])
                    ahead, behind = z.copy(), z.copy()
                    ahead[j] += step
                    behind[j] -= step
                    change = self.spec.call(ahead, p.copy()) - self.spec.call(behind, p.copy())
                    jac_t[j] = change / (ahead[j] - behind[j])
            except Exception:  # as above
                return 1
            return 0

        for place, function in ((calls.VALUE, value), (calls.JACOBIAN, jacobian)):
            self.table[place], kept = callback_address(_C_FUNCTION, function)
            self._alive.append(kept)
        self.derivatives = f"central differences ({reason})"

    def _each(self, value: int, jacobian: int) -> None:
        """Set up the service that calls a function for each stage."""
        spec, outputs = self.spec, sum(self.spec.lengths)
        self._scratch = np.zeros(spec.n + spec.parameters + outputs * (1 + spec.n))
        place = self._scratch[spec.n : spec.n + spec.parameters]
        own = np.array([outputs, address_of_array(place)], dtype=np.int64)
        table = self.table = np.zeros(calls.PLACES, dtype=np.int64)
        table[calls.COUNT], table[calls.LEAD] = spec.count, spec.lead
        table[calls.STATES], table[calls.CONTROLS] = spec.shape.nx, spec.shape.nu
        table[calls.FIRST], table[calls.ARGUMENTS] = spec.shape.first, spec.n
        table[calls.DYNAMICS], table[calls.OUTPUTS] = spec.shape.dynamics, outputs
        table[calls.PARAMETERS], table[calls.VALUE], table[calls.JACOBIAN] = spec.parameters, value, jacobian
        table[calls.OWN_TABLE], table[calls.PARAMETER_VALUES] = address_of_array(own), address_of_array(spec.values)
        table[calls.SCRATCH], table[calls.BLOCK] = address_of_array(self._scratch), spec.shape.block
        self._alive += [own, place]
        self.linearise = address_of_kernel(calls.linearise_each)
        self.evaluate = address_of_kernel(calls.evaluate_each)

    def linearise_exact(self) -> int:
        """Return the address of what linearises with the Lagrangian's exact Hessian; 0 where there is none."""
        return 0 if self._kernels is None else self._kernels.linearise_exact()

    @property
    def table_address(self) -> int:
        """Address of the table."""
        return address_of_array(self.table)

    def raise_original(self, z: FloatArray) -> None:
        """Run the functions in Python at all stages, so that what they raise is raised; `z` by components."""
        first = self.spec.shape.first
        for k in range(self.spec.count):
            self.spec.call(z[first:, k].copy(), self.spec.parameters_of(k))


def _stacked(spec: StageSpec) -> Callable[..., Any]:
    """Return ``z, p -> (f, r)`` as one plain function."""
    nu = spec.nu
    if len(spec.functions) == 1:
        (terminal,) = spec.functions
        if spec.parameters:
            return lambda z, p: np.asarray(terminal(z, p))
        return lambda z: np.asarray(terminal(z))
    dynamics, residual = spec.functions
    if spec.parameters:

        def with_parameters(z: Any, p: Any) -> Any:
            x, u = z[nu:], z[:nu]
            return np.concatenate([np.asarray(dynamics(x, u, p)), np.asarray(residual(x, u, p))])

        return with_parameters

    def without(z: Any) -> Any:
        x, u = z[nu:], z[:nu]
        return np.concatenate([np.asarray(dynamics(x, u)), np.asarray(residual(x, u))])

    return without


def rk4(f: Callable[..., Any], dt: float, *, substeps: int = 1) -> Callable[..., Any]:
    """Turn an ordinary differential equation into dynamics by the classical Runge-Kutta method of fourth order.

    Parameters
    ----------
    f : callable
        ``f(x, u) -> dx/dt`` or ``f(x, u, p)``, on arrays; plain or njit, and the result is what `f` is.
    dt : float
        Length of a stage, in the unit of time of `f`; the controls are constant over it.
    substeps : int
        Steps of the method in each stage.

    Returns
    -------
    callable
        ``(x, u) -> x`` at the end of the stage, or ``(x, u, p) -> x``.

    Raises
    ------
    ValueError
        If `dt` is not positive or `substeps` less than 1.

    References
    ----------
    .. [1] E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd ed., 1993,
       section II.1, table 1.2.
    """
    if not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt!r}.")
    if substeps < 1 or substeps != int(substeps):
        raise ValueError(f"substeps must be a positive integer, got {substeps!r}.")
    if hasattr(f, "py_func") and not compile_disabled():
        from nlsq.kernels.backend.stage_function import jitted_rk4

        return jitted_rk4(f, float(dt), int(substeps), f.py_func.__code__.co_argcount > 2)  # type: ignore[no-any-return]
    step = float(dt) / substeps
    half, sixth = 0.5 * step, step / 6.0

    def dynamics(x: Any, u: Any, *p: Any) -> Any:
        for _ in range(substeps):
            a = np.asarray(f(x, u, *p))
            b = np.asarray(f(x + half * a, u, *p))
            c = np.asarray(f(x + half * b, u, *p))
            d = np.asarray(f(x + step * c, u, *p))
            x = x + sixth * (a + 2.0 * b + 2.0 * c + d)
        return x

    return dynamics
