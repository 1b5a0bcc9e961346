"""What a solver returned for a constrained problem, in the same words for all."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Missing", "Outcome"]


class Missing(Exception):
    """A peer that is not installed; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run.

    Attributes
    ----------
    solver : str
        Who solved, and how.
    status : str
        The solver's own word for how it ended.
    claim : str
        ``"solved"``, ``"acceptable"``, ``"infeasible"`` or ``"failed"``: what that word claims.
    x : ndarray, shape (n,)
        The answer.
    y, zl, zu : ndarray or None
        Multipliers as `judge` wants them; None where the solver gives none.
    evaluations, iterations : int
        Evaluations of the objective (residual), those of differences not counted, and iterations.
    seconds : float
        CPU time of the call that solves; building expressions is not in it.
    """

    solver: str
    status: str
    claim: str
    x: np.ndarray
    y: np.ndarray | None = None
    zl: np.ndarray | None = None
    zu: np.ndarray | None = None
    evaluations: int
    iterations: int
    seconds: float
