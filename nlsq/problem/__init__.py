"""The problem interface: what is minimised."""

from nlsq.problem.compiled import CompiledFunction, compile
from nlsq.problem.least_squares_problem import LeastSquaresProblem

__all__ = ["CompiledFunction", "LeastSquaresProblem", "compile"]
