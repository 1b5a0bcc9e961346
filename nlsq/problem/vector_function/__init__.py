"""Residual and constraint functions as the kernels of a solver see them: addresses of C functions and their data."""

from nlsq.problem.vector_function.function import VectorFunction
from nlsq.problem.vector_function.linear import linear_function
from nlsq.problem.vector_function.make import vector_function
from nlsq.problem.vector_function.stacked import stacked_function

__all__ = ["VectorFunction", "linear_function", "stacked_function", "vector_function"]
