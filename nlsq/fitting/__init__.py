"""Curve fitting: `fit` and its result."""

from nlsq.fitting.core import FitCore
from nlsq.fitting.data import CurveData
from nlsq.fitting.named import NamedArray
from nlsq.fitting.result import FitResult
from nlsq.fitting.single import fit
from nlsq.fitting.task import FitTask

__all__ = ["CurveData", "FitCore", "FitResult", "FitTask", "NamedArray", "fit"]
