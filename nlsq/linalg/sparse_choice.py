r"""Which linear solver a sparse problem gets, and why.

    Schur complement        where independent column blocks make up most of J (`nlsq.linalg.eliminated`), while the
                            factor of what they leave is predicted to have at most `LARGEST_FACTOR` entries
    sparse Cholesky         while its factor is predicted to have at most `LARGEST_FACTOR` entries
    conjugate gradients     beyond that, for residual blocks
    LSMR                    beyond that, entry by entry, and where no pattern is known

The first two are direct: their steps are exact, and a step costs the same however ill-conditioned the problem is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlsq.block_jacobian import BlockPattern
from nlsq.linalg.block_cholesky import BlockCholesky, analyse_blocks
from nlsq.linalg.conjugate_gradients import ConjugateGradients
from nlsq.linalg.eliminated import eliminated_blocks, independent_blocks
from nlsq.linalg.linear_solver import LinearSolver
from nlsq.linalg.lsmr import LSMR
from nlsq.linalg.normal_structure import NormalTooLarge
from nlsq.linalg.schur import SchurComplement
from nlsq.linalg.schur_reduced import reduced_entries
from nlsq.linalg.sparse_cholesky import SparseCholesky, analyse_entries
from nlsq.pattern import SparsityPattern

__all__ = ["LINEAR_SOLVERS", "choose_linear_solver"]

LARGEST_FACTOR = 50_000_000  # entries: 400 MB, and seconds to factorise

Choice = tuple[LinearSolver, str]


def choose_linear_solver(pattern: BlockPattern | SparsityPattern | None, name: Any = "auto") -> Choice:
    """Choose a linear solver for Jacobians of a pattern.

    Parameters
    ----------
    pattern : BlockPattern, SparsityPattern or None
        Where J may have entries; None if that is not known.
    name : str or LinearSolver
        One of `LINEAR_SOLVERS`, or a linear solver, which is taken as it is.

    Returns
    -------
    solver : LinearSolver
        The choice.
    reason : str
        A sentence for reports.

    Raises
    ------
    ValueError
        If the name is unknown, or its solver cannot take such a pattern.
    """
    if hasattr(name, "prepare"):
        return name, f"{type(name).__name__}, as given."
    if not isinstance(name, str) or name not in LINEAR_SOLVERS:
        raise ValueError(f"linear_solver must be one of {', '.join(LINEAR_SOLVERS)} or a LinearSolver, got {name!r}.")
    return _CHOICES[name](pattern)


def _automatic(pattern: BlockPattern | SparsityPattern | None) -> Choice:
    if pattern is None:
        return LSMR(), "LSMR: no pattern of the Jacobian is known."
    if isinstance(pattern, BlockPattern):
        chosen = eliminated_blocks(pattern)
        if chosen.any():
            entries = reduced_entries(pattern, chosen, LARGEST_FACTOR)
            if entries > LARGEST_FACTOR:
                left = pattern.shape[1] - int(pattern.widths[chosen].sum())
                what = f"the factor of the Schur complement, of {left} columns,"
                return ConjugateGradients(), f"Conjugate gradients: {_too_large(entries, what)}"
            return SchurComplement(eliminated=chosen), _independent(pattern, chosen)
        entries = analyse_blocks(pattern)[1].nnz_factor
        if entries > LARGEST_FACTOR:
            return ConjugateGradients(), f"Conjugate gradients: {_too_large(entries)}"
        return BlockCholesky(), f"Sparse Cholesky over column blocks: its factor has {entries:.2g} entries."
    try:
        entries = analyse_entries(pattern, LARGEST_FACTOR)[1].nnz_factor
    except NormalTooLarge as error:
        return LSMR(), f"LSMR: {error.cause}, so that J'J alone would have more than {LARGEST_FACTOR:.2g} entries."
    if entries > LARGEST_FACTOR:
        return LSMR(), f"LSMR: {_too_large(entries)}"
    return SparseCholesky(), f"Sparse Cholesky: its factor has {entries:.2g} entries."


def _schur(pattern: BlockPattern | SparsityPattern | None) -> Choice:
    if not isinstance(pattern, BlockPattern):
        raise ValueError('linear_solver "schur" needs residual blocks over parameter blocks: see nlsq.BlockProblem.')
    chosen = independent_blocks(pattern)
    return SchurComplement(eliminated=chosen), _independent(pattern, chosen)


def _cholesky(pattern: BlockPattern | SparsityPattern | None) -> Choice:
    if isinstance(pattern, BlockPattern):
        return BlockCholesky(), "Sparse Cholesky over column blocks, as asked for."
    return SparseCholesky(), "Sparse Cholesky, as asked for."


def _package(backend: Any, title: str) -> Callable[[BlockPattern | SparsityPattern | None], Choice]:
    def choose(pattern: BlockPattern | SparsityPattern | None) -> Choice:
        kind = BlockCholesky if isinstance(pattern, BlockPattern) else SparseCholesky
        return kind(backend=backend), f"Sparse Cholesky by {title}, as asked for."

    return choose


def _independent(pattern: BlockPattern, chosen: Any) -> str:
    n = pattern.shape[1]
    left = n - int(pattern.widths[chosen].sum())
    return f"Schur complement: {int(chosen.sum())} of {chosen.size} blocks go first and leave {left} of {n} columns."


def _too_large(entries: int, what: str = "the factor of sparse Cholesky") -> str:
    return f"{what} would have {entries:.2g} entries, more than {LARGEST_FACTOR:.2g}."


_CHOICES: dict[str, Callable[[BlockPattern | SparsityPattern | None], Choice]] = {
    "auto": _automatic,
    "schur": _schur,
    "cholesky": _cholesky,
    "pcg": lambda pattern: (ConjugateGradients(), "Conjugate gradients, as asked for."),
    "lsmr": lambda pattern: (LSMR(), "LSMR, as asked for."),
    "cholmod": _package("cholmod", "CHOLMOD"),
    "pardiso": _package("pardiso", "PARDISO"),
}
LINEAR_SOLVERS = tuple(_CHOICES)
