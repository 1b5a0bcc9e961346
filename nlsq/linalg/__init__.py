"""Linear solvers: objects with memory and statuses around the kernels. `linear_solver` is their seam."""

from nlsq.linalg.cholesky import Automatic, Cholesky
from nlsq.linalg.linear_solver import Factorization, LinearSolver, LinearStatus
from nlsq.linalg.lsmr import LSMR
from nlsq.linalg.qr import QR
from nlsq.linalg.svd import SVD

__all__ = ["LSMR", "QR", "SVD", "Automatic", "Cholesky", "Factorization", "LinearSolver", "LinearStatus"]
