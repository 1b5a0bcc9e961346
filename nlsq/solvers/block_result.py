"""What a solve over residual blocks left behind: values of the blocks, how it went, and what the data determine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.block_jacobian import BlockJacobian
from nlsq.problem.blocks.evaluation import UNSEEN, BlockStructure
from nlsq.problem.blocks.parameters import BlockSelection, ParameterBlocks, selection
from nlsq.status import Status, StepReport
from nlsq.uncertainty.blocks import block_covariance, undetermined_columns

FloatArray = NDArray[np.float64]


@dataclass(slots=True)
class BlockTimes:
    """Wall-clock seconds of a solve."""

    setup: float = 0.0
    residuals: float = 0.0
    jacobians: float = 0.0
    linear_solver: float = 0.0
    total: float = 0.0


@final
@dataclass(slots=True, eq=False, repr=False)
class BlockResult:
    """The outcome of ``nlsq.solve`` for a `BlockProblem`; ``result[cameras]`` gives values of blocks.

    Attributes
    ----------
    values : list of ndarray
        Best values of the blocks, (count, size) for each `add_parameters`.
    cost, initial_cost : float
        ``1/2 sum C^2 rho(|r_b|^2 / C^2)`` at the end and at the start.
    residual : ndarray, shape (m,)
        Weighted residuals, without the loss.
    gradient : ndarray, shape (n,)
        Of the cost, by tangents; 0 for components at their bounds.
    optimality : float
        Largest ``|cos|`` between the residual and a column of J.
    status : Status
        Why the solver stopped; ``message`` says it in words, ``converged`` whether it is a success.
    detail : str
        Where, if a block is to blame.
    nfev, njev, nit, rejected : int
        Residual and Jacobian evaluations, accepted and rejected steps.
    linear_solver : str
        How the linear problems were solved, and why so.
    times : BlockTimes
        Where the time went.
    fallbacks : list of str
        What was done differently from what was asked.
    at_bounds : ndarray of bool, shape (n,)
        Columns of components that a bound holds back at the end.
    jac : BlockJacobian
        At the end, corrected for the loss; columns that are held or at bounds are zero. ``jac.to_csr()`` is a matrix.
    history : list of StepReport or None
        Every judged step, when asked for.
    """

    values: list[FloatArray]
    cost: float
    initial_cost: float
    residual: FloatArray
    gradient: FloatArray
    optimality: float
    status: Status
    detail: str
    nfev: int
    njev: int
    nit: int
    rejected: int
    linear_solver: str
    times: BlockTimes
    fallbacks: list[str]
    jac: BlockJacobian
    structure: BlockStructure
    at_bounds: NDArray[np.bool_]
    history: list[StepReport] | None = None
    _undetermined: NDArray[np.bool_] | None = field(default=None)

    def __getitem__(self, blocks: ParameterBlocks | BlockSelection) -> FloatArray:
        """Return the best values of blocks: shape (k, size), or (size,) for a single one."""
        chosen = self._own(blocks)
        return np.array(self.values[chosen.blocks.position][chosen.index])

    def __repr__(self) -> str:
        """Say how it ended."""
        return f"BlockResult({self.status.name}, cost={self.cost:.6g}, nit={self.nit}, nfev={self.nfev})"

    @property
    def x(self) -> FloatArray:
        """All values in one array, in the order in which blocks were added."""
        return np.concatenate([one.reshape(-1) for one in self.values])

    @property
    def converged(self) -> bool:
        """Whether the solver reached a minimum by its own tests."""
        return self.status.converged

    @property
    def message(self) -> str:
        """What happened, and where."""
        return f"{self.status.message} Here {self.detail}." if self.detail else self.status.message

    @property
    def undetermined(self) -> list[str]:
        """Name the blocks that the data leave free to move without changing the residual to first order.

        Empty if all is determined. It takes a few linear solves when it is first asked for.
        """
        free = np.append(self._undetermined_columns(), [True, False])  # -2 is unseen, and free; -1 is held
        named = []
        for (name, *_), columns in zip(self.structure.parameters, self.structure.columns, strict=True):
            for block in np.flatnonzero(free[columns].any(axis=1)).tolist():
                unseen = " (it meets no residual block)" if columns[block, 0] == UNSEEN else ""
                named.append(f"block {block} of {name}{unseen}")
        return named

    def covariance(
        self,
        blocks: ParameterBlocks | BlockSelection,
        others: ParameterBlocks | BlockSelection | None = None,
        *,
        scaled: bool = False,
    ) -> FloatArray:
        """Return the covariance of blocks, from the linear model at the solution: (J'J)^-1 of their tangents.

        Under a robust loss J is that of the reweighted residuals.

        Parameters
        ----------
        blocks : ParameterBlocks or BlockSelection
            Which.
        others : ParameterBlocks or BlockSelection, optional
            As many blocks, or a single one: covariances between each of `blocks` and its partner here.
        scaled : bool
            Multiply by ``2 cost / (m - n)``, for weights that are relative only. Default: they are 1/sigma.

        Returns
        -------
        ndarray, shape (k, width, width), or (width, width) for a single block
            0 for what is held, by a bound or otherwise; NaN for what the data do not determine (see `undetermined`) or
            determine so little beside such blocks that rounding has the say.
        """
        chosen = self._own(blocks)
        rows = self.structure.columns[chosen.blocks.position][np.atleast_1d(chosen.index)]
        columns = rows
        if others is not None:
            partners = self._own(others)
            if partners.index.size not in (1, len(rows)):
                raise ValueError(f"others must be {len(rows)} blocks, as many as blocks, or one; got {len(partners)}.")
            columns = self.structure.columns[partners.blocks.position][np.atleast_1d(partners.index)]
            columns = np.broadcast_to(columns, (len(rows), columns.shape[1]))
        covariance = block_covariance(self.jac, rows, columns, self._undetermined_columns(), self._held)
        covariance[(rows == UNSEEN).any(axis=1) | (columns == UNSEEN).any(axis=1)] = np.nan
        if scaled:
            m, n = self.jac.shape
            free = n - int(np.count_nonzero(self._held))
            covariance *= 2.0 * self.cost / (m - free) if m > free else np.nan
        return covariance[0] if chosen.index.ndim == 0 else covariance

    def report(self) -> str:
        """Return a full report of the solve: sizes, linear solver, costs, steps, time, and how it ended."""
        from nlsq.solvers.block_report import write_report

        return write_report(self)

    def _own(self, blocks: Any) -> BlockSelection:
        chosen = selection(blocks, "blocks")
        if chosen.blocks.problem != self.structure.problem:
            raise ValueError(f"{chosen.blocks.name} belong to another problem.")
        if chosen.blocks.position >= len(self.values):
            raise ValueError(f"{chosen.blocks.name} were added after this solve.")
        return chosen

    @property
    def _held(self) -> NDArray[np.bool_]:
        return self.structure.pinned | self.at_bounds

    def _undetermined_columns(self) -> NDArray[np.bool_]:
        if self._undetermined is None:
            self._undetermined = undetermined_columns(self.jac, self._held)
        return self._undetermined
