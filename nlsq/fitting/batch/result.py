"""The result of many fits of one model: maps of parameters, errors and statuses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.core import EPS, STEP_TOLERANCE, BatchCore
from nlsq.fitting.named import NamedArray, named
from nlsq.status import BatchOutcome, Status

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MADE_OF = ("_core", "_dtype", "names", "shape", "fallbacks", "interrupted")  # the rest follows


@final
class BatchFitResult:
    """The outcome of `nlsq.fit_batch`: arrays over the fits, derived when they are asked for.

    Their leading axes are those of the data without the axis of the points; the parameters come last, in the order of
    the model's signature, held ones included. ``result["a"]`` is the map of one parameter, ``result.stderr["a"]`` that
    of its error, ``result.at(index)`` the result of some of the fits. All arrays are read-only.

    Parameters
    ----------
    outcome : BatchOutcome
        What the solver left behind, B rows.
    names : tuple of str
        Names of the n parameters.
    shape : tuple of int
        Leading shape; its product is B.
    fixed : ndarray of bool, shape (n,) or (B, n)
        Which parameters were held.
    lower, upper : ndarray, shape (n,) or (B, n), or None
        Bounds.
    absolute_sigma : bool
        Whether the errors of the data are known: then the covariance is not scaled by their scatter.
    fallbacks : sequence of str
        What was done differently from what was asked.
    dtype : dtype
        Of the floating-point arrays, float64 or float32.
    interrupted : bool
        Whether the batch was stopped before its end.
    is_linear_loss : bool
        Whether the cost is half the sum of squares.
    step_tolerance : float
        Distance from a bound, relative to it and at least absolute, up to which a parameter counts as at it.
    rounding : float
        Relative rounding of the arithmetic of residuals and derivatives in rows that were not redone.

    Attributes
    ----------
    params : NamedArray, shape (..., n)
        Best point of each fit, whether it converged or not; NaN in a row that was not fitted, because too few points
        are left in it or the batch was stopped before it.
    stderr : NamedArray, shape (..., n)
        Standard errors from the linear covariance. 0 for held parameters and for those at a bound, which count as held
        there; NaN for a parameter that the data do not identify, without degrees of freedom (unless absolute_sigma),
        and in a row that was not fitted.
    covariance, correlation : ndarray, shape (..., n, n)
        Of the parameters, with 0 and NaN where `stderr` has them; the diagonal of the correlation is 1 where it is
        known.
    cost : ndarray, shape (...)
        ``1/2 sum rho(r_i^2)``; infinite where it never was finite.
    chi2, reduced_chi2 : ndarray, shape (...)
        ``sum r_i^2``, and the same by degree of freedom. NaN with a robust loss: the sum of squares does not follow
        from the cost.
    points : ndarray of int, shape (...)
        Residuals that count.
    dof : ndarray of int, shape (...)
        The same less the number of free parameters.
    status : ndarray of int16, shape (...)
        Why each fit stopped: values of `nlsq.Status`; `message` says it in words and `converged` whether it is a
        success. ``result.status == nlsq.Status.MAX_EVALUATIONS`` is a map.
    nfev, nit : ndarray of int, shape (...)
        Evaluations of the residual that the solver asked for, and accepted steps.
    redone : ndarray of bool, shape (...)
        Which fits were solved one by one because the kernel for several at once could not finish them.
    identifiable : NamedArray of bool, shape (..., n)
        Whether the data determine the parameter; true for held ones and those at a bound, false for the others where
        nothing is known of the derivatives.
    fixed : NamedArray of bool, shape (..., n)
        Whether the parameter was held, or pinned by equal bounds.
    at_bound : NamedArray of int8, shape (..., n)
        -1 at the lower bound, 1 at the upper bound, else 0.
    names : tuple of str
        Names of the parameters.
    shape, size : tuple of int, int
        Leading shape, and the number of fits, which is also the length of the result.
    fallbacks : list of str
        What was done differently from what was asked; empty when nothing was.
    interrupted : bool
        Whether the batch was stopped before its end; the rows it did not reach have the status ``NOT_FITTED``.
    """

    def __init__(
        self,
        outcome: BatchOutcome,
        names: tuple[str, ...],
        shape: tuple[int, ...],
        *,
        fixed: BoolArray,
        lower: FloatArray | None = None,
        upper: FloatArray | None = None,
        absolute_sigma: bool = False,
        fallbacks: Sequence[str] = (),
        dtype: Any = np.float64,
        interrupted: bool = False,
        is_linear_loss: bool = True,
        step_tolerance: float = STEP_TOLERANCE,
        rounding: float = EPS,
    ) -> None:
        self._core = BatchCore(outcome, fixed, lower, upper, absolute_sigma, is_linear_loss, step_tolerance, rounding)
        self._dtype = np.dtype(dtype)
        self.names, self.shape = tuple(names), tuple(shape)
        self.fallbacks, self.interrupted = list(fallbacks), interrupted

    @property
    def size(self) -> int:
        """Number of fits."""
        return self._core.size

    def _map(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give rows (B, ...) the leading shape, and floating-point numbers their type; read-only."""
        array = values.reshape(self.shape + values.shape[1:])
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):  # beyond the largest single number is infinite
                array = array.astype(self._dtype, copy=False)
        array.flags.writeable = False
        return array

    def _named(self, values: NDArray[Any]) -> NamedArray:
        return named(self._map(values), self.names, -1)

    @cached_property
    def params(self) -> NamedArray:
        """Best point of each fit."""
        return self._named(self._core.params())

    @cached_property
    def stderr(self) -> NamedArray:
        """Standard errors of the parameters."""
        return self._named(self._core.stderr())

    @cached_property
    def covariance(self) -> NDArray[Any]:
        """Covariances of the parameters."""
        return self._map(self._core.covariances())

    @cached_property
    def correlation(self) -> NDArray[Any]:
        """Correlations of the parameters."""
        return self._map(self._core.correlations())

    @cached_property
    def cost(self) -> NDArray[Any]:
        """``1/2 sum rho(r_i^2)``."""
        return self._map(self._core.outcome.cost)

    @property
    def chi2(self) -> NDArray[Any]:
        """Sum of the squared weighted residuals; NaN with a robust loss."""
        return self._map(self._core.chi2)

    @property
    def reduced_chi2(self) -> NDArray[Any]:
        """`chi2` by degree of freedom; NaN without any."""
        return self._map(self._core.by_dof(self._core.chi2))

    @property
    def points(self) -> NDArray[np.int32]:
        """Residuals that count."""
        return self._map(self._core.outcome.points)

    @property
    def dof(self) -> NDArray[np.int64]:
        """Degrees of freedom."""
        return self._map(self._core.dof)

    @property
    def status(self) -> NDArray[np.int16]:
        """Why each fit stopped."""
        return self._map(self._core.outcome.status)

    @property
    def message(self) -> NDArray[Any]:
        """Why each fit stopped, in a sentence."""
        sentences = np.empty(max(Status) + 1, dtype=object)
        for status in Status:
            sentences[status] = sentence(status)
        return self._map(sentences[self._core.outcome.status])

    @cached_property
    def converged(self) -> BoolArray:
        """Which fits reached a minimum by their own tests."""
        success = [status for status in Status if status.converged]
        return self._map(np.isin(self._core.outcome.status, success))

    @property
    def nfev(self) -> NDArray[np.int32]:
        """Evaluations of the residual."""
        return self._map(self._core.outcome.nfev)

    @property
    def nit(self) -> NDArray[np.int32]:
        """Accepted steps."""
        return self._map(self._core.outcome.nit)

    @property
    def redone(self) -> BoolArray:
        """Which fits were solved one by one."""
        return self._map(self._core.outcome.redone)

    @cached_property
    def identifiable(self) -> NamedArray:
        """Which parameters the data determine."""
        return self._named(self._core.identifiable())

    @cached_property
    def fixed(self) -> NamedArray:
        """Which parameters were held."""
        return self._named(self._core.over_all(self._core.fixed))

    @cached_property
    def at_bound(self) -> NamedArray:
        """Which parameters ended at a bound."""
        return self._named(self._core.over_all(self._core.active))

    def __getitem__(self, name: str) -> NDArray[Any]:
        if not isinstance(name, str):
            raise TypeError(f"a batch result is indexed by the name of a parameter, got {name!r}; rows by at(index).")
        return np.asarray(self.params[name])

    def at(self, index: Any) -> BatchFitResult:
        """Return the result of some of the fits.

        Parameters
        ----------
        index : object
            Whatever numpy takes as an index of an array of the leading shape: ``(3, 5)`` for one fit, ``np.s_[:, 0]``,
            ``~result.converged`` for those that failed.

        Returns
        -------
        BatchFitResult
            Of the leading shape of what was selected; for one fit that is ().

        Raises
        ------
        IndexError
            If there are no such fits.
        """
        rows = np.arange(self.size).reshape(self.shape)[index]
        part = object.__new__(BatchFitResult)
        part.__dict__.update(self.__getstate__())
        part._core, part.shape = self._core.among(np.ravel(rows)), np.shape(rows)
        part.fallbacks = list(self.fallbacks)
        return part

    def counts(self) -> dict[Status, int]:
        """Return how many fits stopped for each reason, the most frequent first."""
        values, numbers = np.unique(self._core.outcome.status, return_counts=True)
        order = np.argsort(-numbers, kind="stable")
        return {Status(int(values[k])): int(numbers[k]) for k in order}

    def summary(self) -> str:
        """Return a report: how the fits ended, and how parameters and errors are spread over those that converged."""
        from nlsq.fitting.batch.export import summarise

        return summarise(self)

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """Return arrays of the leading shape by name.

        Returns
        -------
        dict of str and ndarray
            For each parameter ``"a"`` and ``"a_stderr"``; then ``"cost"``, ``"points"``, ``"converged"``, ``"status"``
            (values of `nlsq.Status`), ``"nit"`` and ``"nfev"``, with an underscore behind them where a parameter has
            that name. Read-only.
        """
        from nlsq.fitting.batch.export import to_numpy

        return to_numpy(self)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame, one row a fit, with the columns of `to_numpy`.

        Returns
        -------
        pandas.DataFrame
            Its index counts the fits; of a batch with several leading axes it has a level for each. Statuses are
            numbers: ``frame["status"].map(lambda value: nlsq.Status(value).name)`` names them.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        from nlsq.fitting.batch.export import to_pandas

        return to_pandas(self)

    def to_xarray(self, dims: Sequence[str] | None = None, coords: Any = None) -> Any:
        """Return an xarray Dataset with the variables of `to_numpy` over the leading axes.

        Parameters
        ----------
        dims : sequence of str, optional
            Names of the leading axes; ``dim_0``, ``dim_1``, ... by default.
        coords : dict, optional
            Coordinates, as xarray takes them.

        Returns
        -------
        xarray.Dataset
            Its variable of statuses says in its attributes, ``flag_values`` and ``flag_meanings``, what they mean.

        Raises
        ------
        ImportError
            If xarray is not installed.
        ValueError
            If there is not one name for each leading axis.
        """
        from nlsq.fitting.batch.export import to_xarray

        return to_xarray(self, dims, coords)

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        converged = int(np.count_nonzero(self.converged))
        names = ", ".join(self.names)
        return f"<BatchFitResult of shape {self.shape}: {names}; {converged} of {self.size} converged>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in MADE_OF}


def sentence(status: Status) -> str:
    """Say why a fit stopped."""
    return status.message.replace("move x0", "move p0")  # a fit's name for the start
