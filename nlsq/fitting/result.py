r"""The result of a fit: parameters, their errors, and how well the model describes the data.

With the weighted residual r (m,), its Jacobian J (m, n) and the cost  F = 1/2 sum rho(r_i^2):

    covariance         C = s^2 (J~'J~)^+     s^2 = 2 F / dof, or 1 with absolute_sigma;   J~: rows scaled by the loss
    stderr_j           sqrt(C_jj)
    chi2               sum r_i^2,            reduced_chi2 = chi2 / dof,     dof = m - n_free
    r_squared          1 - chi2 / (the same for the best constant)
    aic, bic           m log(chi2 / m) + 2 n_free,      m log(chi2 / m) + log(m) n_free

The last two up to a constant that depends on the data alone. Points of weight zero do not count in m. With constraints
C is that of the parameters on the tangent space of the active ones, N (N'J~'J~ N)^+ N' with N a basis of it, and n_free
the number of free parameters less the rank of the active ones.

References
----------
.. [1] G. A. F. Seber and C. J. Wild, "Nonlinear Regression", Wiley 1989, sections 2.1 and 5.1.
.. [2] K. P. Burnham and D. R. Anderson, "Model Selection and Multimodel Inference", 2nd edition, Springer 2002,
   section 2.2: the Akaike criterion for least squares.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting import core as at_solution
from nlsq.fitting.core import FitCore
from nlsq.fitting.named import NamedArray, named
from nlsq.status import Status
from nlsq.uncertainty.identifiability import Identification

FloatArray = NDArray[np.float64]


@final
class FitResult:
    """The outcome of `nlsq.fit`: plain data, derived from a `FitCore` when it is asked for.

    Arrays over the parameters are in the order of the model's signature, held parameters included.

    Parameters
    ----------
    core : FitCore
        What the solver left behind.

    Attributes
    ----------
    params : NamedArray, shape (n,)
        The parameters, read-only; ``result.params["a"]`` and ``result.params[0]`` both work.
    stderr : NamedArray, shape (n,)
        Standard errors from the linear covariance. 0 for held parameters and those at a bound, which count as held; NaN
        where the data do not identify a parameter, without degrees of freedom, and where constraints are violated.
    covariance, correlation : ndarray, shape (n, n)
        Of the parameters, with 0 and NaN where `stderr` has them; the diagonal of the correlation is 1 where it is
        known.
    cost : float
        ``1/2 sum rho(r_i^2)``.
    chi2, reduced_chi2 : float
        ``sum r_i^2`` (whatever the loss), and the same by degree of freedom.
    dof : int
        Number of residuals whose weight is not zero, less the number of free parameters that active constraints leave.
    r_squared : float
        1 less the ratio of `chi2` to that of the best constant (one for each output of the model). For data read block
        by block it takes one more pass; ValueError where they cannot be read any more.
    aic, bic : float
        ``m log(chi2 / m) + 2 n_free`` and ``m log(chi2 / m) + log(m) n_free``, lmfit's convention.
    residual : ndarray, shape (m,)
        Weighted residual, model less data, flattened, without the loss. Evaluated when it is asked for; data that
        were read in chunks have none.
    jac : ndarray, shape (m, n)
        Derivatives of `residual` by the parameters; columns of held parameters are 0.
    status : Status
        Why the solver stopped; `message` says it in words and `converged` whether it is a success.
    nfev, njev, nit : int
        Evaluations of residual and Jacobian that the solver asked for, and accepted steps. Those inside difference
        Jacobians do not count.
    start : NamedArray, shape (n,), or None
        Where the solver began.
    nfev_start : int
        Evaluations spent on finding start values.
    identifiable : ndarray of bool, shape (n,)
        Whether the data determine the parameter; true for held ones.
    null_directions : ndarray, shape (k, n)
        Unit vectors along which the parameters can move without a change of the residual.
    fixed : ndarray of bool, shape (n,)
        Whether the parameter was held.
    at_bound : ndarray of int, shape (n,)
        -1 at the lower bound, 1 at the upper bound, else 0.
    fallbacks : list of str
        What was done differently from what was asked; empty when nothing was.
    omitted : int
        How many values of y were left out as masked or not finite.
    minima : list of Minimum
        With ``starts=k``: the distinct ends of the solves, best first.
    constraints : tuple of ConstraintOutcome
        Each constraint at the solution: name, value, limits, multipliers, which rows are active.
    multipliers : FitMultipliers or None
        ``constraints``, an array for each; ``lower``, ``upper`` of the bounds by name; None without constraints.
    constr_violation : float
        Largest violation of constraints and bounds.
    """

    def __init__(self, core: FitCore) -> None:
        self._core = core

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self._core.task.names

    @cached_property
    def params(self) -> NamedArray:
        """The parameters."""
        return named(self._core.params, self.names)

    @property
    def cost(self) -> float:
        """``1/2 sum rho(r_i^2)``."""
        return float(self._core.cost)

    @property
    def status(self) -> Status:
        """Why the solver stopped."""
        return self._core.status

    @property
    def message(self) -> str:
        """Why the solver stopped, in a sentence."""
        return self._core.status.message.replace("move x0", "move p0")  # a fit's name for the start

    @property
    def converged(self) -> bool:
        """Whether the solver reached a minimum by its own tests."""
        return self._core.status.converged

    @property
    def nfev(self) -> int:
        """Evaluations of the residual that the solver asked for."""
        return self._core.nfev

    @property
    def njev(self) -> int:
        """Evaluations of the Jacobian."""
        return self._core.njev

    @property
    def nit(self) -> int:
        """Accepted steps."""
        return self._core.nit

    @cached_property
    def start(self) -> NamedArray | None:
        """Where the solver began."""
        return None if self._core.start is None else named(self._core.start, self.names)

    @property
    def nfev_start(self) -> int:
        """Evaluations spent on finding start values."""
        return self._core.nfev_start

    @cached_property
    def fallbacks(self) -> list[str]:
        """What was done differently from what was asked."""
        return list(self._core.fallbacks)

    @cached_property
    def minima(self) -> list[Any]:
        """Distinct ends of a fit from several starts."""
        return list(self._core.minima)

    @property
    def constraints(self) -> tuple[Any, ...]:
        """Each constraint at the solution."""
        return at_solution.outcomes(self._core)

    @property
    def multipliers(self) -> Any:
        """Multipliers of constraints and bounds."""
        end = self._core.constrained
        return None if end is None else end.multipliers(self.names)

    @property
    def constr_violation(self) -> float:
        """Largest violation."""
        end = self._core.constrained
        return 0.0 if end is None else end.violation

    @property
    def omitted(self) -> int:
        """How many values of y were left out."""
        return self._core.task.data.omitted

    @cached_property
    def fixed(self) -> NDArray[np.bool_]:
        """Which parameters were held."""
        return self._core.task.fixed

    @cached_property
    def at_bound(self) -> NDArray[np.int_]:
        """Which parameters ended at a bound."""
        active = self._core.active
        return np.zeros(len(self.names), dtype=int) if active is None else active

    @cached_property
    def residual(self) -> FloatArray:
        """Weighted residual."""
        return at_solution.weighted_residual(self._core)

    @cached_property
    def jac(self) -> FloatArray:
        """Derivatives of the weighted residual."""
        return at_solution.jacobian(self._core)

    @cached_property
    def _identification(self) -> Identification:
        return at_solution.identification(self._core)

    @cached_property
    def _moved(self) -> NDArray[np.intp]:
        """Indices of the parameters that have an error: neither held nor at a bound."""
        return np.flatnonzero(~self.fixed & (self.at_bound == 0))

    @property
    def _variance_scale(self) -> float:
        """Variance of a residual of unit weight."""
        if self._core.task.absolute_sigma:
            return 1.0
        return 2.0 * self.cost / self.dof if self.dof > 0 else np.nan

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of the parameters."""
        block = self._identification.covariance * self._variance_scale
        return at_solution.over_all(block, self._moved, len(self.names))

    @cached_property
    def stderr(self) -> NamedArray:
        """Standard errors of the parameters."""
        return named(np.sqrt(self.covariance.diagonal()), self.names)

    @cached_property
    def correlation(self) -> FloatArray:
        """Correlation of the parameters."""
        return at_solution.correlation(self.covariance, np.asarray(self.stderr))

    @cached_property
    def identifiable(self) -> NDArray[np.bool_]:
        """Which parameters the data determine."""
        identifiable = np.ones(len(self.names), dtype=bool)
        identifiable[self._moved] = self._identification.identifiable
        return identifiable

    @cached_property
    def null_directions(self) -> FloatArray:
        """Directions along which the residual does not change."""
        directions = np.zeros((self._identification.null_directions.shape[0], len(self.names)))
        directions[:, self._moved] = self._identification.null_directions
        return directions

    @cached_property
    def chi2(self) -> float:
        """Sum of the squared weighted residuals."""
        if self._core.task.loss.is_linear:
            return 2.0 * self.cost
        streamed = self._core.task.data.streamed
        if streamed is not None:
            return streamed.chi2(self._core.task.among_free(self._core.params))
        return float(self.residual @ self.residual)

    @property
    def dof(self) -> int:
        """Degrees of freedom."""
        return self._core.task.data.informative - at_solution.n_free(self._core)

    @property
    def reduced_chi2(self) -> float:
        """`chi2` by degree of freedom; NaN without any."""
        return self.chi2 / self.dof if self.dof > 0 else np.nan

    @cached_property
    def r_squared(self) -> float:
        """Share of the scatter that the model explains."""
        from nlsq.fitting.statistics import scatter_about_constant

        scatter = scatter_about_constant(self._core.task.data)
        return 1.0 - self.chi2 / scatter if scatter > 0.0 else np.nan

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return self._criterion(2.0)

    @property
    def bic(self) -> float:
        """Schwarz's criterion."""
        return self._criterion(np.log(self._core.task.data.informative))

    def _criterion(self, price: float) -> float:
        m = self._core.task.data.informative
        with np.errstate(divide="ignore"):
            return float(m * np.log(self.chi2 / m) + price * at_solution.n_free(self._core))

    def predict(self, x: Any = None, level: float | None = None) -> Any:
        """Return the model's values, and the confidence band of the curve if a level is given.

        Parameters
        ----------
        x : object, optional
            As for `fit`; by default where the data are.
        level : float, optional
            Coverage of the band, such as 0.95.

        Returns
        -------
        ndarray or Prediction
            Values; with a level a named tuple ``(values, lower, upper)``. The band is
            ``values -+ t sqrt(g' C g)`` with g the derivatives of the model by the parameters, C their covariance and t
            the quantile of Student's distribution at `dof` (of the normal one with ``absolute_sigma``, where the errors
            of the data are known). It covers the curve, not new data, and is NaN where the value depends on what the
            data do not identify.

        Raises
        ------
        RuntimeError
            If the model was lost because it could not be pickled.
        ValueError
            If the level is not between 0 and 1.
        """
        from nlsq.fitting.statistics import predict

        return predict(self, x, level)

    def confidence_intervals(self, level: float = 0.95, method: str = "linear") -> NamedArray:
        """Return intervals that cover the parameters.

        Parameters
        ----------
        level : float
            Coverage.
        method : {"linear"}
            ``params -+ t stderr``, with t as in `predict`.

        Returns
        -------
        NamedArray, shape (n, 2)
            Lower and upper end; ``intervals["a"]`` is the pair of one parameter. Those of a held parameter coincide.

        Raises
        ------
        NotImplementedError
            For ``"profile"`` and ``"bootstrap"``, which come with version 0.3.
        ValueError
            If level or method are invalid.
        """
        from nlsq.fitting.statistics import linear_intervals

        return linear_intervals(self, level, method)

    def summary(self) -> str:
        """Return a report: values and errors, correlations, what is not identified, how the fit ended."""
        from nlsq.fitting.summary import summarise

        return summarise(self)

    def plot(self, figure: Any = None) -> Any:
        """Draw data, curve and residuals with matplotlib.

        Parameters
        ----------
        figure : matplotlib Figure, optional
            Where to draw; a new one by default.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from nlsq.fitting.drawing import draw

        return draw(self, figure)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.6g}" for name, value in zip(self.names, self._core.params, strict=True))
        return f"<FitResult {values}; cost {self.cost:.6g}; converged={self.converged} ({self.status.name})>"

    def __str__(self) -> str:
        return f"{repr(self)[11:-1].rpartition('; ')[0]}\n{self.message}"

    def __getstate__(self) -> dict[str, Any]:
        from nlsq.fitting.pickling import state_of

        return state_of(self)
