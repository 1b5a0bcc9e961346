"""Nonlinear least squares with compiled kernels.

Minimise  1/2 * sum_i rho(r_i(x)^2)  over x, subject to  lb <= x <= ub  and  cl <= c(x) <= cu.

The names below are imported when they are first used (PEP 562), so that ``import nlsq`` costs nothing: numba and
``scipy.optimize`` are loaded by the first call that needs them.

Drop-in for SciPy
    `curve_fit`, `least_squares`, `leastsq`
Curve fitting
    `fit`, `FitResult`; many at once: `fit_batch`, `BatchFitResult`
Native
    `LeastSquaresProblem`, `solve`, `Tolerances`, `SolveResult`, `Status`, `jacobian`, `check_jacobian`,
    `detect_sparsity`, `SparsityPattern`, `MissingEntryError`
Optimal control
    `OptimalControl`, `OptimalControlResult`, `Controller`, `rk4`
Constraints
    `InteriorPoint`, `ProjectedGradient`, `ConstrainedResult`, `Multipliers`, `tangent_projection`,
    `constrained_covariance`; in fits `linear_constraint`
Residual blocks
    `BlockProblem`, `BlockResult`; blocks on `SE2`, `SE3`, `SO3`, `UnitQuaternion`, `Sphere`
Methods
    `LevenbergMarquardt`, `TrustRegionReflective`, `Dogbox`, `GaussNewton`, `GradientDescent`,
    with `MoreRadius`, `Nielsen` (damping), `LineSearch` and `FixedLength`
Compiled models and kernels
    `model`, `compile`, `Model`, `explain`, `precompile`, `clear_cache`
"""

__version__ = "0.1.0.dev0"

TYPE_CHECKING = False  # taken for True by type checkers; importing typing would be most of what this module costs

# Where each public name lives. A function may share its name with the module that defines it
# (nlsq.scipy_api.curve_fit), so the module is fetched by its full path and the name from the module.
_HOME = {
    "curve_fit": "nlsq.scipy_api.curve_fit",
    "least_squares": "nlsq.scipy_api.least_squares",
    "leastsq": "nlsq.scipy_api.leastsq",
    "LeastSquaresProblem": "nlsq.problem",
    "BlockProblem": "nlsq.problem.blocks.block_problem",
    "fit": "nlsq.fitting",
    "FitResult": "nlsq.fitting",
    "ChunkSource": "nlsq.problem.chunks.blocks",
    "fit_batch": "nlsq.fitting",
    "BatchFitResult": "nlsq.fitting",
    "compile": "nlsq.fitting",
    "model": "nlsq.fitting",
    "explain": "nlsq.fitting",
    "Model": "nlsq.fitting",
    "solve": "nlsq.solvers",
    "Tolerances": "nlsq.solvers",
    "LevenbergMarquardt": "nlsq.solvers",
    "GaussNewton": "nlsq.solvers",
    "GradientDescent": "nlsq.solvers",
    "TrustRegionReflective": "nlsq.solvers",
    "Dogbox": "nlsq.solvers",
    "MoreRadius": "nlsq.solvers",
    "Nielsen": "nlsq.solvers",
    "LineSearch": "nlsq.solvers",
    "FixedLength": "nlsq.solvers",
    "InteriorPoint": "nlsq.solvers",
    "ConstrainedResult": "nlsq.solvers.interior_point.result",
    "Multipliers": "nlsq.status",
    "ProjectedGradient": "nlsq.solvers",
    "linear_constraint": "nlsq.fitting",
    "constrained_covariance": "nlsq.uncertainty.constrained",
    "tangent_projection": "nlsq.linalg.tangent",
    "BlockResult": "nlsq.solvers.block_result",
    "OptimalControl": "nlsq.solvers.optimal_control.optimal_control",
    "OptimalControlResult": "nlsq.solvers.optimal_control.result",
    "Controller": "nlsq.solvers.optimal_control.controller",
    "rk4": "nlsq.problem.stage_functions",
    "SparsityPattern": "nlsq.pattern",
    "MissingEntryError": "nlsq.derivatives",
    "SE2": "nlsq.manifold",
    "SE3": "nlsq.manifold",
    "SO3": "nlsq.manifold",
    "Sphere": "nlsq.manifold",
    "UnitQuaternion": "nlsq.manifold",
    "Status": "nlsq.status",
    "SolveResult": "nlsq.status",
    "jacobian": "nlsq.derivatives",
    "check_jacobian": "nlsq.derivatives",
    "detect_sparsity": "nlsq.derivatives",
    "clear_cache": "nlsq.kernels.backend",
    "precompile": "nlsq.kernels.backend",
}

__all__ = [
    "SE2",
    "SE3",
    "SO3",
    "BatchFitResult",
    "BlockProblem",
    "BlockResult",
    "ChunkSource",
    "ConstrainedResult",
    "Controller",
    "Dogbox",
    "FitResult",
    "FixedLength",
    "GaussNewton",
    "GradientDescent",
    "InteriorPoint",
    "LeastSquaresProblem",
    "LevenbergMarquardt",
    "LineSearch",
    "MissingEntryError",
    "Model",
    "MoreRadius",
    "Multipliers",
    "Nielsen",
    "OptimalControl",
    "OptimalControlResult",
    "ProjectedGradient",
    "SolveResult",
    "SparsityPattern",
    "Sphere",
    "Status",
    "Tolerances",
    "TrustRegionReflective",
    "UnitQuaternion",
    "__version__",
    "check_jacobian",
    "clear_cache",
    "compile",
    "constrained_covariance",
    "curve_fit",
    "detect_sparsity",
    "explain",
    "fit",
    "fit_batch",
    "jacobian",
    "least_squares",
    "leastsq",
    "linear_constraint",
    "model",
    "precompile",
    "rk4",
    "solve",
    "tangent_projection",
]

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from nlsq.derivatives import MissingEntryError, check_jacobian, detect_sparsity, jacobian
    from nlsq.fitting import (
        BatchFitResult,
        FitResult,
        Model,
        compile,
        explain,
        fit,
        fit_batch,
        linear_constraint,
        model,
    )
    from nlsq.kernels.backend import clear_cache, precompile
    from nlsq.linalg.tangent import tangent_projection
    from nlsq.manifold import SE2, SE3, SO3, Sphere, UnitQuaternion
    from nlsq.pattern import SparsityPattern
    from nlsq.problem import LeastSquaresProblem
    from nlsq.problem.blocks.block_problem import BlockProblem
    from nlsq.problem.chunks.blocks import ChunkSource
    from nlsq.problem.stage_functions import rk4
    from nlsq.scipy_api.curve_fit import curve_fit
    from nlsq.scipy_api.least_squares import least_squares
    from nlsq.scipy_api.leastsq import leastsq
    from nlsq.solvers import (
        Dogbox,
        FixedLength,
        GaussNewton,
        GradientDescent,
        InteriorPoint,
        LevenbergMarquardt,
        LineSearch,
        MoreRadius,
        Nielsen,
        ProjectedGradient,
        Tolerances,
        TrustRegionReflective,
        solve,
    )
    from nlsq.solvers.block_result import BlockResult
    from nlsq.solvers.interior_point.result import ConstrainedResult
    from nlsq.solvers.optimal_control.controller import Controller
    from nlsq.solvers.optimal_control.optimal_control import OptimalControl
    from nlsq.solvers.optimal_control.result import OptimalControlResult
    from nlsq.status import Multipliers, SolveResult, Status
    from nlsq.uncertainty.constrained import constrained_covariance
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
