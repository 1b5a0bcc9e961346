"""Jacobians of a residual: estimated, checked, coloured.

Estimators
    `ForwardDifference`, `CentralDifference`, `ComplexStep`, `Analytic`, and `Colored` for sparse Jacobians
Tools
    `jacobian` (a function x -> J by any estimator), `check_jacobian`, `detect_sparsity`, `color_columns`, `color_rows`,
    `bicolor`

Each estimator prepares once and evaluates many times; see `JacobianEstimator` for the seam. The names are imported when
they are first used: a fit by differences needs two of these modules.
"""

from typing import TYPE_CHECKING

_HOME = {
    "Analytic": "analytic",
    "Bicoloring": "bicoloring",
    "CentralDifference": "finite_difference",
    "Colored": "colored",
    "Coloring": "coloring",
    "ComplexStep": "complex_step",
    "ComplexStepError": "complex_guard",
    "Detection": "detection",
    "ForwardDifference": "finite_difference",
    "JacobianEstimator": "estimator",
    "JacobianFunction": "operator",
    "JacobianMismatchError": "check",
    "JacobianReport": "check",
    "JacobianShapeError": "analytic",
    "MissingEntryError": "pattern_check",
    "PreparedJacobian": "estimator",
    "ResidualShapeError": "probe",
    "WorkerMap": "workers",
    "bicolor": "bicoloring",
    "check_jacobian": "check",
    "color_columns": "coloring",
    "color_rows": "coloring",
    "detect_sparsity": "detection",
    "estimator_for": "operator",
    "jacobian": "operator",
}

__all__ = [
    "Analytic",
    "Bicoloring",
    "CentralDifference",
    "Colored",
    "Coloring",
    "ComplexStep",
    "ComplexStepError",
    "Detection",
    "ForwardDifference",
    "JacobianEstimator",
    "JacobianFunction",
    "JacobianMismatchError",
    "JacobianReport",
    "JacobianShapeError",
    "MissingEntryError",
    "PreparedJacobian",
    "ResidualShapeError",
    "WorkerMap",
    "bicolor",
    "check_jacobian",
    "color_columns",
    "color_rows",
    "detect_sparsity",
    "estimator_for",
    "jacobian",
]

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from nlsq.derivatives.analytic import Analytic, JacobianShapeError
    from nlsq.derivatives.bicoloring import Bicoloring, bicolor
    from nlsq.derivatives.check import JacobianMismatchError, JacobianReport, check_jacobian
    from nlsq.derivatives.colored import Colored
    from nlsq.derivatives.coloring import Coloring, color_columns, color_rows
    from nlsq.derivatives.complex_guard import ComplexStepError
    from nlsq.derivatives.complex_step import ComplexStep
    from nlsq.derivatives.detection import Detection, detect_sparsity
    from nlsq.derivatives.estimator import JacobianEstimator, PreparedJacobian
    from nlsq.derivatives.finite_difference import CentralDifference, ForwardDifference
    from nlsq.derivatives.operator import JacobianFunction, estimator_for, jacobian
    from nlsq.derivatives.pattern_check import MissingEntryError
    from nlsq.derivatives.probe import ResidualShapeError
    from nlsq.derivatives.workers import WorkerMap
else:  # hidden from type checkers, which would otherwise take any misspelt name for Any

    def __getattr__(name):
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
