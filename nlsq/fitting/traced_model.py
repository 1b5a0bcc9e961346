"""`model` and `compile`: functions compiled ahead of their first fit, as objects with the fewest steps around a solve.

A plain Python function is traced and its kernels are compiled at once; what would be decided in the course of several
fits is decided here, and a function that cannot be traced is an error that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.entries import Entry
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.routes import Route, route_of
from nlsq.fitting.probing import as_doubles, probe
from nlsq.fitting.refusals import check_kind, check_meant, check_remade, refusal_of_solve
from nlsq.fitting.signatures import parameter_names
from nlsq.fitting.uncompiled import fit_called
from nlsq.kernels.backend import compile_disabled
from nlsq.problem import CompiledFunction
from nlsq.problem.compiled import compile as compile_jitted
from nlsq.problem.traced import traced_residual
from nlsq.solvers.least_overhead import DEFAULTS, Options, Plan, read_start
from nlsq.solvers.traced import fit_traced
from nlsq.status import Status

FloatArray = NDArray[np.float64]

KERNELS = ("residual", "jacobian", "residual_and_jacobian", "normal_equations", "cost")


class Solution(NamedTuple):
    """What `Model.solve` returns.

    Attributes
    ----------
    params : ndarray, shape (n,)
        Where the solve ended.
    covariance : ndarray, shape (n, n), or None
        Covariance of the parameters; None where it cannot be estimated.
    status : int
        A member of `nlsq.Status`; 1 to 4 are convergence.
    """

    params: FloatArray
    covariance: FloatArray | None
    status: int


@final
class Model:
    """A traced function with its kernels; made by `nlsq.model`, `nlsq.compile` or `Model.load`.

    Attributes
    ----------
    function : callable
        The function; calling the model calls it.
    kind : {"model", "residual"}
        ``f(x, a, b, ...)`` or ``f(p)``.
    names : tuple of str
        Names of a model's parameters; empty for a residual.
    """

    __slots__ = ("_by_name", "_code", "_defaults", "_held", "_options", "_plans", "_route", "function", "kind", "names")

    def __init__(self, function: Any, kind: Literal["model", "residual"], names: tuple[str, ...], route: Route) -> None:
        self.function, self.kind, self.names, self._route = function, kind, names, route
        n = len(names)
        self._options: Options = (*DEFAULTS, 200 * (n + 1), 100.0)
        self._plans: list[Plan] = []  # for the x of the last solve, of a function that reads no more than numbers
        self._held: list[tuple[Any, Any]] = []  # its cells with these numbers
        self._defaults: Any = None
        self._code: Any = None
        self._by_name: list[tuple[Any, Any, Any]] = []  # what it reads under names that may be given to other things

    @property
    def n(self) -> int:
        """Number of parameters of a model; 0 for a residual, which may take any."""
        return len(self.names)

    @property
    def nlsq_route(self) -> Route:
        """What is known of the function; solvers look for it."""
        code = getattr(self.function, "__code__", None)
        if code is not None and code is not self._route.code:  # given to the same function after the model was made
            route = route_of(self.function, self.kind)
            assert route is not None  # as it has code
            route.require()
            self._route = route
        return self._route

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.function(*arguments)

    def __reduce__(self) -> Any:
        """Pickle the function, where it can be; it is traced again."""
        return _unpickled, (self.function, self.kind, self.names)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", "function")
        return f"<nlsq.Model {name}({', '.join(('x', *self.names) if self.kind == 'model' else ('p',))})>"

    def solve(
        self, x: Any, y: FloatArray, p0: Any, weights: FloatArray | None = None, *, absolute_sigma: bool = False
    ) -> Solution:
        """Fit data with the least overhead: arrays in, arrays and a status out.

        Levenberg-Marquardt by MINPACK's rules at SciPy's default tolerances.

        Parameters
        ----------
        x : ndarray, shape (m,) or (k, m)
            Independent variables, contiguous float64.
        y : ndarray, shape (m,)
            Data, contiguous float64.
        p0 : array_like, shape (n,)
            Start.
        weights : ndarray, shape (m,), optional
            Factors of the residuals, 1 / sigma.
        absolute_sigma : bool
            Whether the weights are in the data's unit.

        Returns
        -------
        Solution
            Also when the solve failed: where it ended, with its status.

        Raises
        ------
        TypeError
            If this is a residual, or the function does not trace for an x of this shape.
        ValueError
            If an array is not contiguous float64 or its shape does not fit.
        """
        if weights is None and type(x) is np.ndarray and type(y) is np.ndarray and type(p0) is np.ndarray:
            plans = self._plans
            try:
                plan = plans.pop()
            except IndexError:
                pass
            else:
                function = self.function
                same = function.__code__ is self._code and function.__defaults__ is self._defaults
                for get, name, read in self._by_name:
                    same = same and get(name) is read
                if same and self._held:
                    same = self._holds_same()
                found = plan.fit(x, y, None, p0, 1 if absolute_sigma else 0) if same else None
                status = plan.status
                plans.append(plan)
                if found is not None:
                    return tuple.__new__(Solution, (*found, status))
        return self._solve(x, y, p0, weights, 1 if absolute_sigma else 0)

    def _holds_same(self) -> bool:
        """Whether the numbers in the function's cells are those of the last solve."""
        for cell, content in self._held:
            if cell.cell_contents is not content:
                return False
        return True

    def _solve(self, x: Any, y: Any, p0: Any, weights: Any, absolute: int) -> Solution:
        """Solve, looking again at all that the function reads."""
        route = self.nlsq_route
        if self.kind != "model":
            raise TypeError(
                f"{self!r} is a residual, without data to fit; pass it to nlsq.least_squares or nlsq.solve."
            )
        start = read_start(p0)
        if start is None:
            raise ValueError(f"p0 must be {self.n} finite numbers, got {p0!r}.")
        given = (x, y) if weights is None else (x, y, weights)
        if start.size != self.n or not all(type(one) is np.ndarray for one in given):  # kernels read their headers
            raise refusal_of_solve(self, x, y, start, weights)
        entry = route.latest
        arrays = None if entry is None or entry.key != (x.shape, self.n) else entry.arrays_of(self.function)
        if entry is None or arrays is None:
            entry = self.entry(x)
            arrays = entry.arrays_of(self.function)
        if arrays is None:
            raise RuntimeError(f"{self!r} was changed while it was fitted, by another thread.")
        if compile_disabled():
            fitted = fit_called(entry, self.function, x, y, weights, start, self._options, absolute)
        else:
            fitted = fit_traced(route, entry, arrays, self.function, x, y, weights, start, self._options, absolute)
        if fitted is None:
            raise refusal_of_solve(self, x, y, start, weights)
        self._code = getattr(self.function, "__code__", None)
        self._plans = entry.quick if entry.is_simple and self._code is not None else []
        self._held = [(cell, cell.cell_contents) for cell in getattr(self.function, "__closure__", None) or ()]
        self._defaults = getattr(self.function, "__defaults__", None)
        self._by_name = entry.by_name
        return Solution(*fitted)

    def entry(self, x: Any = None, n: int | None = None) -> Entry:
        """Return the graph for an x of some shape, or for `n` parameters of a residual.

        Raises
        ------
        TypeError
            If the function cannot be traced; the message says why.
        """
        from nlsq.compiler.tracing.trace import trace_model, trace_residual

        key: Any
        trace: Callable[..., Any]
        if self.kind == "residual":
            if n is None:
                raise TypeError("a residual is traced for a number of parameters: give a start.")
            key, trace = (n, 0), lambda given=(): trace_residual(self.function, n, (), given)
        else:
            if not isinstance(x, np.ndarray | tuple | list):
                raise TypeError(f"x must be an array or a tuple of arrays, got {type(x).__name__}.")
            shape = x.shape if isinstance(x, np.ndarray) else tuple(np.shape(row) for row in x)
            key = shape, self.n
            trace = lambda given=(): trace_model(self.function, as_doubles(x), self.n, given=given)  # noqa: E731
        # Where nothing is compiled no graph is kept, so that solvers find none and call the function.
        route = self.nlsq_route
        find = route.examine if compile_disabled() else route.entry
        entry = find(self.function, key, trace)
        if not isinstance(entry, Entry):
            silent = "compiled code raises no floating-point errors, as np.errstate asks for"
            raise TypeError(f"{self!r} cannot be compiled: {entry or route.reason or silent}.")
        return entry

    def source(self, kernel: str = "normal_equations", x: Any = None, n: int | None = None) -> str:
        """Return a kernel as Python source: flat, without branches and allocations.

        Parameters
        ----------
        kernel : {"residual", "jacobian", "residual_and_jacobian", "normal_equations", "cost"}
            Which.
        x : array_like, optional
            Independent variables of the shape in question; by default a vector.
        n : int, optional
            Number of parameters, for a residual.
        """
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}.")
        check_meant(self, x, n=n)
        entry = self.entry(probe() if x is None and self.kind == "model" else x, n)
        return entry.kernels.source(kernel, Variant(response=self.kind == "model"))

    def residual_and_jacobian(
        self, p: Any, x: Any = None, y: Any = None, weights: Any = None
    ) -> tuple[FloatArray, Any]:
        """Evaluate residual and Jacobian.

        Parameters
        ----------
        p : array_like, shape (n,)
            Parameters.
        x, y, weights : ndarray, optional
            Data, for a model; without y the model's values are returned.

        Returns
        -------
        residual : ndarray, shape (m,)
        jac : ndarray (m, n), or csr_array
            Sparse where a residual's rows depend on slices of p.
        """
        from nlsq.fitting.evaluation import residual_and_jacobian

        check_meant(self, x, y, weights)
        return residual_and_jacobian(self, np.array(p, dtype=np.float64), x, y, weights)

    def save(self, path: Any) -> None:
        """Write the graph to a file that `Model.load` reads.

        Raises
        ------
        TypeError
            If the graph depends on the contents of arrays or on the number of points.
        """
        from nlsq.fitting.saving import save

        save(self, path)

    @staticmethod
    def load(path: Any) -> Model:
        """Read a model that `save` wrote. Nothing in the file is executed.

        Raises
        ------
        ValueError
            If the file is none of `save`, of another version, or damaged.
        """
        from nlsq.fitting.saving import load

        return load(path)


def model(function: Callable[..., Any], *, names: Any = None, variables: int = 1, compile_now: bool = True) -> Model:
    """Trace a model ``f(x, a, b, ...)`` and compile its kernels ahead of the first fit.

    Parameters
    ----------
    function : callable
        A plain Python function of NumPy operations; it need not be decorated.
    names : sequence of str, optional
        Names of the parameters where the signature does not tell, as for ``f(x, *p)``.
    variables : int
        Number of independent variables: rows of x.
    compile_now : bool
        Whether to compile at once; else at the first use.

    Returns
    -------
    Model
        Pass it in place of the function, to any of the library's functions.

    Raises
    ------
    TypeError
        If the function cannot be traced: the message says what it does that has no graph.
    """
    return _made(function, "model", names, variables, compile_now)


def compile(function: Callable[..., Any], *, kind: Literal["model", "residual"] = "model", n: int | None = None) -> Any:
    """Make a function that solvers call by address, at the speed of compiled code.

    Parameters
    ----------
    function : callable
        A model ``f(x, a, b, ...)`` or a residual ``f(p) -> r``: a plain Python function, which is traced, or a
        ``numba.njit`` function, written for one x or for an array of them, with loops and branches.
    kind : {"model", "residual"}
        Which of the two it is.
    n : int, optional
        Number of parameters of a plain residual, to compile it now; else it is compiled when it is first used.

    Returns
    -------
    Model or CompiledFunction
        Pass it in place of the function.

    Raises
    ------
    TypeError
        If a plain function cannot be traced.
    ValueError
        If `kind` is unknown or not that of an object made before, or `n` has no meaning.
    """
    if kind not in ("model", "residual"):
        raise ValueError(f"kind must be 'model' or 'residual', got {kind!r}.")
    if n is not None and (kind == "model" or isinstance(function, CompiledFunction) or hasattr(function, "py_func")):
        raise ValueError("n is for plain residuals: models and njit functions are compiled without it.")
    if isinstance(function, Model | CompiledFunction):
        check_kind(function, kind)
    if isinstance(function, CompiledFunction):
        return function
    if hasattr(function, "py_func"):
        return compile_jitted(function, kind=kind)
    if kind == "model":
        return model(function)
    made = function if isinstance(function, Model) else _made(function, "residual", (), 1, False)
    if n is not None:
        _compile(made.entry(n=n), Variant(response=False))
    return made


def _made(function: Any, kind: Any, names: Any, variables: int, compile_now: bool) -> Model:
    if isinstance(function, Model):
        check_remade(function, names, variables)
        return function
    if not callable(function):
        raise TypeError(f"function must be callable, got {type(function).__name__}.")
    route = route_of(function, kind)
    if route is None:
        raise TypeError(f"only Python functions can be traced, got {type(function).__name__}; see nlsq.explain.")
    found = tuple(names) if names is not None else parameter_names(function) if kind == "model" else ()
    route.require()
    made = Model(function, kind, found, route)
    if kind == "model" and compile_now:
        _compile(made.entry(probe(variables)), Variant())
    return made


def _unpickled(function: Any, kind: Any, names: tuple[str, ...]) -> Model:
    from nlsq.fitting.saving import LoadedFunction, LoadedRoute

    if isinstance(function, LoadedFunction):
        return Model(function, kind, names, LoadedRoute(function))  # type: ignore[arg-type]
    route = route_of(function, kind)
    assert route is not None  # or there would have been no model
    route.require()
    return Model(function, kind, names, route)


def _compile(entry: Entry, variant: Variant) -> None:
    if not compile_disabled():
        entry.kernels.address("residual", variant)


__all__ = ["Model", "Solution", "Status", "compile", "model", "traced_residual"]
