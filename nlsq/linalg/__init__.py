"""Linear solvers: objects with memory and statuses around the kernels. `linear_solver` is their seam.

Dense
    `Automatic`, `Cholesky`, `QR`, `SVD`
Iterative
    `LSMR`, `ConjugateGradients`
Sparse, of a `BlockPattern` or entry by entry
    `SchurComplement`, `BlockCholesky`, `SparseCholesky`, `Corrected`; `choose_linear_solver` says which
Jacobians of residual blocks
    `BlockGroup`, `BlockPattern`, `BlockJacobian`

Those of sparse problems are imported when they are first used.
"""

from typing import TYPE_CHECKING

from nlsq.linalg.cholesky import Automatic, Cholesky
from nlsq.linalg.linear_solver import Factorization, LinearSolver, LinearStatus
from nlsq.linalg.lsmr import LSMR
from nlsq.linalg.qr import QR
from nlsq.linalg.svd import SVD

__all__ = [
    "LSMR",
    "QR",
    "SVD",
    "Automatic",
    "BlockCholesky",
    "BlockGroup",
    "BlockJacobian",
    "BlockPattern",
    "Cholesky",
    "ConjugateGradients",
    "Corrected",
    "Factorization",
    "LinearSolver",
    "LinearStatus",
    "SchurComplement",
    "SparseCholesky",
    "choose_linear_solver",
]

_HOME = {
    "BlockCholesky": "nlsq.linalg.block_cholesky",
    "BlockGroup": "nlsq.block_jacobian",
    "BlockJacobian": "nlsq.block_jacobian",
    "BlockPattern": "nlsq.block_jacobian",
    "ConjugateGradients": "nlsq.linalg.conjugate_gradients",
    "Corrected": "nlsq.linalg.corrected",
    "SchurComplement": "nlsq.linalg.schur",
    "SparseCholesky": "nlsq.linalg.sparse_cholesky",
    "choose_linear_solver": "nlsq.linalg.sparse_choice",
}

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from nlsq.block_jacobian import BlockGroup, BlockJacobian, BlockPattern
    from nlsq.linalg.block_cholesky import BlockCholesky
    from nlsq.linalg.conjugate_gradients import ConjugateGradients
    from nlsq.linalg.corrected import Corrected
    from nlsq.linalg.schur import SchurComplement
    from nlsq.linalg.sparse_choice import choose_linear_solver
    from nlsq.linalg.sparse_cholesky import SparseCholesky
else:  # hidden from type checkers, which would otherwise take any misspelt name for Any

    def __getattr__(name):
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(home), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
