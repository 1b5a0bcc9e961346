"""The problem: what is minimised, over what, from where.

    minimise  1/2 sum_i rho(r_i(x)^2)   over x in R^n   subject to  lb <= x <= ub,  cl <= c(x) <= cu

A problem validates its parts once, evaluates residual and Jacobian for the solvers, and owns the counters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.compiler.routes import MANY_PARAMETERS, Route, unwrapped
from nlsq.derivatives import Analytic, CentralDifference, Colored, ComplexStep, ForwardDifference
from nlsq.derivatives.exact import Exact, why_not_exact
from nlsq.loss import Loss
from nlsq.problem.arguments import constraints_of, merged_bounds, move_inside, read_bounds, read_scale, read_start
from nlsq.problem.compiled import CompiledFunction, CompiledResidual
from nlsq.problem.residual import PlainResidual
from nlsq.problem.turn import Turn
from nlsq.status import Counters

if TYPE_CHECKING:
    from nlsq.derivatives.detection import Detection
    from nlsq.pattern import SparsityPattern
    from nlsq.problem.traced import RoutedResidual

FloatArray = NDArray[np.float64]
_CHECKED = ForwardDifference, CentralDifference, ComplexStep, Exact, Analytic  # estimators whose pattern is checked
_ESTIMATORS = {"2-point": ForwardDifference, "3-point": CentralDifference, "cs": ComplexStep}


@final
class LeastSquaresProblem:
    """A nonlinear least-squares problem.

    Parameters
    ----------
    residual : callable, CompiledFunction or Model
        ``x (n,) -> r (m,)``; the result of ``nlsq.compile`` is called by address.
    x0 : array_like, shape (n,)
        Start; also the typical size of the parameters for difference steps.
    jac : callable, estimator or {"2-point", "3-point", "cs"}, optional
        Jacobian ``x -> J (m, n)`` with ``J[i, j] = dr_i/dx_j`` (array, sparse matrix or LinearOperator), or how to
        estimate it. Default: the exact derivative of a compiled function (see ``nlsq.compile``), where it has one and J
        is dense; else forward differences.
    sparsity : SparsityPattern, sparse matrix or "auto", optional
        Pattern of J; differences and dual numbers are then compressed by colouring, and a LinearOperator that `jac`
        returns becomes a matrix. The first Jacobian is compared with a difference along one direction: an entry that is
        missing raises `MissingEntryError`, a ValueError that names it. ``"auto"``: where the residual can be traced J
        is exact and its pattern that of the graph; else the pattern is found by `nlsq.detect_sparsity`.
    bounds : tuple (lower, upper) or scipy.optimize.Bounds, optional
        Scalars or arrays of shape (n,); ``None`` leaves an end open. A list of pairs is refused.
    constraints : constraint or sequence of constraints
        `scipy.optimize.NonlinearConstraint`, `LinearConstraint` and `Bounds`, and dicts as SciPy's SLSQP takes them.
        Plain functions are traced as residuals are, so that first and second derivatives are exact. A start outside the
        bounds is moved inside where there are constraints; ``fallbacks`` of the result says so.
    hess : callable, optional
        Second derivatives of the residual, for problems with constraints: ``(x, v) -> sum_i v_i r_i''(x)``, shape (n,
        n), symmetric. A sparse matrix has to hold all entries that may be nonzero, from the first one on. Default:
        exact where the residual is compiled or traced; see `InteriorPoint`.
    manifold : object, optional
        Reserved; anything but None raises.
    loss : str or callable
        ``"linear"``, ``"huber"``, ``"soft_l1"``, ``"cauchy"``, ``"arctan"`` or ``rho(z) -> (3, m)``.
    loss_scale : float
        Residual at which the loss departs from the square. Default 1.
    scale : "jac" or array_like
        Typical size of each parameter, or ``"jac"``: taken from the columns of J.

    Attributes
    ----------
    counters : Counters
        Evaluations of the current or last solve.
    sparse : bool
        Whether the default Jacobian is a sparse matrix.
    detection : Detection or None
        What ``sparsity="auto"`` found, with the evaluations that it took; None before, and where nothing had to be
        looked for.
    fallbacks : list of str
        Why the Jacobian is not estimated in the way that is the default for such a residual; empty when it is.

    Notes
    -----
    A problem serves one solve at a time, since it owns the counters, and the memory of solves with constraints: threads
    need a problem each. With constraints the solve of another thread waits, and one from within the problem's own
    functions raises RuntimeError.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and the index that is wrong.
    """

    def __init__(
        self,
        residual: Callable[[FloatArray], Any] | CompiledFunction | CompiledResidual,
        x0: ArrayLike,
        *,
        jac: Any = None,
        sparsity: Any = None,
        bounds: tuple[Any, Any] | None = None,
        constraints: Any = (),
        hess: Callable[[FloatArray, FloatArray], Any] | None = None,
        manifold: Any = None,
        loss: str | Callable[[FloatArray], Any] = "linear",
        loss_scale: float = 1.0,
        scale: Any = "jac",
    ) -> None:
        if manifold is not None:
            raise NotImplementedError("manifold has its place here, but no solver takes it yet; see BlockProblem.")
        self.x0 = read_start(x0)
        self.constraints = constraints_of(constraints, self.x0, bounds)
        limits = merged_bounds(bounds, self.constraints, self.x0)
        self.lower, self.upper = read_bounds(limits, self.x0, self.constraints is not None)
        self.moved_start = move_inside(self.x0, self.lower, self.upper)
        self.scale = read_scale(scale, self.x0.size)
        self.jac, self.hess = jac, hess
        self.plans: dict[Any, Any] = {}
        self.loss = Loss(loss, loss_scale)
        self.estimator = _estimator(jac)
        self._detects = isinstance(sparsity, str)
        self._pattern = _pattern(sparsity)
        self.detection: Detection | None = None
        self._unpaid = 0  # evaluations for detection that no counter has seen yet
        self._is_default = jac is None and self._pattern is None
        self._is_compressed = jac is None and sparsity is not None
        self._given = residual
        self.sparse = False
        self._routed: RoutedResidual | None = None
        self.residual = _residual(residual, self.x0)
        self._settle_estimator(None)
        if hasattr(residual, "nlsq_route") or (self._detects and self._is_default):
            self.use_kernels()
        self.fallbacks: list[str] = []
        self.counters = Counters()
        self.turn = Turn()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and pickles what holds addresses of memory; it is made again."""
        return self.__dict__ | {"plans": {}}

    def _settle_estimator(self, sparse: Any) -> None:
        """Choose the estimator that is the default for the residual; `sparse` evaluates a sparse Jacobian."""
        self.sparse = self._is_default and sparse is not None
        dense = not (self.sparse or self._detects)
        self._exact_by_default = self._is_default and dense and _is_differentiable(self.residual)
        if self.sparse:
            self.estimator = Analytic(sparse.jacobian)
        elif self._exact_by_default or (self._is_compressed and _takes_seeds(self.residual)):
            self.estimator = Exact()
        elif self._is_default:
            self.estimator = ForwardDifference()

    def use_kernels(self) -> bool:
        """Evaluate a plain residual by the kernels of its graph, with exact derivatives; whether that is possible.

        Asked before each solve, since the function may read other numbers and arrays than it did.
        """
        if (route := self.route) is None:
            return False
        function = unwrapped(self._given, "residual")[0]
        found = None
        if route.ready or ((self.n >= MANY_PARAMETERS or self._detects) and route.may_compile()):
            from nlsq.problem.traced import routed_residual

            sparse_from = 1 if self._detects else MANY_PARAMETERS + 1
            found = routed_residual(route, function, self.x0, self._routed, sparse_from)
        if found is not self._routed:
            self._routed = found
            self.residual = PlainResidual(function) if found is None else found.residual
            self._settle_estimator(None if found is None else found.sparse)
        return found is not None

    def use_function(self, reason: str) -> None:
        """Call the residual from now on, since its kernels are not to be trusted."""
        assert isinstance(self.residual, CompiledResidual)
        self._routed = None
        self.residual = PlainResidual(self.residual.in_python)
        self._settle_estimator(None)
        route = self.route
        if route is not None:
            route.refuse(reason)
        self.fallbacks.append(f"the residual was called plainly: {reason}")

    @property
    def pattern(self) -> SparsityPattern | None:
        """Where J may be nonzero; None where it is dense, or where nothing is known of it beforehand.

        With ``sparsity="auto"`` it is found when it is first asked for.
        """
        if self._pattern is None and self._detects:
            if self._routed is not None and self._routed.sparse is not None:
                known: SparsityPattern = self._routed.sparse.pattern
                return known
            from nlsq.derivatives.detection import detect_sparsity

            given: Any = unwrapped(self._given, "residual")[0] if self.route is not None else self.residual
            self.detection = detect_sparsity(given, self.x0, bounds=(self.lower, self.upper))
            self._pattern, self._unpaid = self.detection.pattern, self.detection.evaluations
        pattern: SparsityPattern | None = self._pattern
        return pattern

    @property
    def route(self) -> Route | None:
        """What is known of a plain residual function; None for others."""
        if isinstance(self._given, CompiledResidual | CompiledFunction):
            return None
        return unwrapped(self._given, "residual")[1]

    @property
    def given(self) -> Any:
        """The residual as it was given."""
        return self._given

    @property
    def given_pattern(self) -> Any:
        """The pattern that was given, or found where ``sparsity="auto"`` has to look for one; None for neither."""
        return self.pattern if self._detects and self._routed is None else self._pattern

    @property
    def n(self) -> int:
        """Number of parameters."""
        return self.x0.size

    @property
    def bounded(self) -> bool:
        """Whether any bound is finite."""
        return self.lower is not None

    def prepare_jacobian(self, x: FloatArray, m: int, estimator: Any = None) -> Any:
        """Prepare the problem's estimator, or another one, at `x` for `m` residuals.

        Where the exact derivative that is the default turns out to be none, the problem's estimator becomes forward
        differences, and `fallbacks` says why.
        """
        if estimator is None and self._exact_by_default:
            self._settle_default(x)
        options: dict[str, Any] = {"lower": self.lower, "upper": self.upper, "scale": self.scale}
        function: Any = self.residual
        if isinstance(self.residual, PlainResidual):
            function = self.residual.function  # estimators make their own copies and checks
            if self.residual.dtype.kind == "f" and self.residual.dtype.itemsize < 8:
                options["dtype"] = self.residual.dtype
        elif isinstance(estimator or self.estimator, ComplexStep):
            function = self.residual.in_python
        chosen = estimator or self.estimator
        pattern = self.pattern
        if pattern is None or self.sparse or not isinstance(chosen, _CHECKED):
            return chosen.prepare(function, x, m, pattern=pattern, **options)
        try:
            prepared = Colored(chosen, pattern).prepare(function, x, m, **options)
        except TypeError as error:
            if estimator is not None or not (self._is_compressed and isinstance(chosen, Exact)):
                raise
            self.fallbacks.append(f"forward differences instead of exact derivatives: {error}")
            self.estimator = ForwardDifference()
            prepared = Colored(self.estimator, pattern).prepare(function, x, m, **options)
        if self._unpaid:
            prepared = Charged(prepared, self._unpaid)
            self._unpaid = 0
        return prepared

    def _settle_default(self, x: FloatArray) -> None:
        reason = why_not_exact(self.residual, x, lower=self.lower, upper=self.upper)
        if reason:
            self._exact_by_default = False
            self.fallbacks.append(f"forward differences instead of exact derivatives: {reason}")
            self.estimator = ForwardDifference()


class Charged:
    """A prepared Jacobian whose first evaluation bears the cost of finding its pattern."""

    def __init__(self, prepared: Any, evaluations: int) -> None:
        self._prepared, self._evaluations = prepared, evaluations
        self.pattern = prepared.pattern
        self.residual_calls: int = prepared.residual_calls

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> Any:
        """Evaluate the Jacobian."""
        jac = self._prepared.evaluate(x, r, jac_out)
        self.residual_calls = self._prepared.residual_calls + self._evaluations
        self._evaluations = 0
        return jac


def _residual(residual: Any, x0: FloatArray) -> PlainResidual | CompiledResidual:
    if isinstance(residual, CompiledResidual):
        return residual
    if isinstance(residual, CompiledFunction):
        return residual.bind(x0)
    if not callable(residual):
        raise TypeError(f"residual must be callable, got {type(residual).__name__}.")
    if getattr(residual, "kind", "residual") == "model" and hasattr(residual, "nlsq_route"):
        raise TypeError("residual is a model f(x, a, b, ...) and needs data; use nlsq.fit, or a function of p alone.")
    return PlainResidual(residual.function if hasattr(residual, "nlsq_route") else residual)


def _is_differentiable(residual: PlainResidual | CompiledResidual) -> bool:
    return isinstance(residual, CompiledResidual) and residual.differentiable


def _takes_seeds(residual: PlainResidual | CompiledResidual) -> bool:
    return isinstance(residual, CompiledResidual) and residual.takes_seeds


def _estimator(jac: Any) -> Any:
    if jac is None:
        return ForwardDifference()
    if isinstance(jac, str):
        if jac not in _ESTIMATORS:
            raise ValueError(f"jac must be callable, an estimator or one of {', '.join(_ESTIMATORS)}, got {jac!r}.")
        return _ESTIMATORS[jac]()
    if hasattr(jac, "prepare"):
        return jac
    if callable(jac):
        return Analytic(jac)
    raise TypeError(f"jac must be callable, an estimator or a string, got {type(jac).__name__}.")


def _pattern(sparsity: Any) -> Any:
    if sparsity is None or (isinstance(sparsity, str) and sparsity == "auto"):
        return None
    if isinstance(sparsity, str):
        raise ValueError(f"sparsity must be 'auto' or a pattern, got {sparsity!r}.")
    from nlsq.pattern import SparsityPattern

    return sparsity if isinstance(sparsity, SparsityPattern) else SparsityPattern.from_matrix(sparsity)
