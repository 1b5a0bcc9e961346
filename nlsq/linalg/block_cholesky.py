r"""Sparse Cholesky over column blocks: pose graphs and whatever has no large set of blocks to eliminate first.

    H = J'J,     (H + diag(d)) p = -J'r

H is put together block by block (`nlsq.linalg.block_plan`), and the graph of column blocks is ordered in place of that
of single columns: it is smaller by the square of the widths, and the columns of a block end up in one supernode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.block_jacobian import BlockPattern
from nlsq.linalg.block_plan import BlockPlan, Ordering
from nlsq.linalg.normal_cholesky import Backend, NormalFactorization
from nlsq.linalg.per_pattern import once_per_pattern
from nlsq.linalg.sparse_factor import Analysis, analyse

__all__ = ["BlockCholesky", "analyse_blocks"]


@final
@dataclass(frozen=True, kw_only=True)
class BlockCholesky:
    """Normal equations of residual blocks by sparse Cholesky.

    Parameters
    ----------
    ordering : {"amd", "natural"} or ndarray of int, shape (n_blocks,)
        Order in which column blocks are eliminated: approximate minimum degree (default), as they come, or this one.
    backend : {"cholmod", "pardiso"}, optional
        Who factorises; by default the library itself.
    """

    ordering: Ordering = "amd"
    backend: Backend = None

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> NormalFactorization:
        """Order, analyse and allocate for Jacobians of a `BlockPattern`.

        Raises
        ------
        TypeError
            If `pattern` is no BlockPattern.
        """
        if not isinstance(pattern, BlockPattern):
            raise TypeError(f"BlockCholesky needs a BlockPattern, got {type(pattern).__name__}; use SparseCholesky.")
        if self.backend is None and isinstance(self.ordering, str) and self.ordering == "amd":
            return NormalFactorization(*analyse_blocks(pattern))
        return NormalFactorization(*_analysed(pattern, self.ordering, self.backend))


@once_per_pattern
def analyse_blocks(pattern: BlockPattern) -> tuple[BlockPlan, Analysis]:
    """Plan and analyse J'J in the default order; kept for as long as the pattern lives.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.

    Returns
    -------
    plan : BlockPlan
        How J'J is formed.
    analysis : Analysis
        Order and predicted size of its factor.
    """
    return _analysed(pattern, "amd", None)


def _analysed(pattern: BlockPattern, ordering: Ordering, backend: Backend) -> tuple[BlockPlan, Analysis]:
    plan = BlockPlan(pattern)
    order = plan.permutation(ordering)
    return plan, analyse(plan.indptr, plan.indices, plan.diagonal.size, ordering=order, backend=backend)
