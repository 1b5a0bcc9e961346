"""Jacobians of a residual: estimated, checked, coloured.

Estimators
    `ForwardDifference`, `CentralDifference`, `ComplexStep`, `Analytic`, and `Colored` for sparse Jacobians
Tools
    `jacobian` (a function x -> J by any estimator), `check_jacobian`, `color_columns`

Each estimator prepares once and evaluates many times; see `JacobianEstimator` for the seam.
"""

from nlsq.derivatives.analytic import Analytic, JacobianShapeError
from nlsq.derivatives.check import JacobianMismatchError, JacobianReport, check_jacobian
from nlsq.derivatives.colored import Colored
from nlsq.derivatives.coloring import Coloring, color_columns
from nlsq.derivatives.complex_guard import ComplexStepError
from nlsq.derivatives.complex_step import ComplexStep
from nlsq.derivatives.estimator import JacobianEstimator, PreparedJacobian
from nlsq.derivatives.finite_difference import CentralDifference, ForwardDifference
from nlsq.derivatives.operator import JacobianFunction, estimator_for, jacobian
from nlsq.derivatives.probe import ResidualShapeError
from nlsq.derivatives.workers import WorkerMap

__all__ = [
    "Analytic",
    "CentralDifference",
    "Colored",
    "Coloring",
    "ComplexStep",
    "ComplexStepError",
    "ForwardDifference",
    "JacobianEstimator",
    "JacobianFunction",
    "JacobianMismatchError",
    "JacobianReport",
    "JacobianShapeError",
    "PreparedJacobian",
    "ResidualShapeError",
    "WorkerMap",
    "check_jacobian",
    "color_columns",
    "estimator_for",
    "jacobian",
]
