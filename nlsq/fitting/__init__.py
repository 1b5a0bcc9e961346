"""Curve fitting: `fit` and its result, and models compiled ahead of their fits."""

from typing import TYPE_CHECKING

_HOME = {
    "BatchFitResult": "batch.result",
    "CurveData": "data",
    "Explanation": "explanation",
    "FitCore": "core",
    "FitResult": "result",
    "FitTask": "task",
    "Model": "traced_model",
    "NamedArray": "named",
    "Solution": "traced_model",
    "compile": "traced_model",
    "explain": "explanation",
    "fit": "single",
    "fit_batch": "batch.call",
    "linear_constraint": "constraints",
    "model": "traced_model",
}

__all__ = [
    "BatchFitResult",
    "CurveData",
    "Explanation",
    "FitCore",
    "FitResult",
    "FitTask",
    "Model",
    "NamedArray",
    "Solution",
    "compile",
    "explain",
    "fit",
    "fit_batch",
    "linear_constraint",
    "model",
]

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from nlsq.fitting.batch.call import fit_batch
    from nlsq.fitting.batch.result import BatchFitResult
    from nlsq.fitting.constraints import linear_constraint
    from nlsq.fitting.core import FitCore
    from nlsq.fitting.data import CurveData
    from nlsq.fitting.explanation import Explanation, explain
    from nlsq.fitting.named import NamedArray
    from nlsq.fitting.result import FitResult
    from nlsq.fitting.single import fit
    from nlsq.fitting.task import FitTask
    from nlsq.fitting.traced_model import Model, Solution, compile, model
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
