"""Constraints ``cl <= c(x) <= cu``: read from SciPy's objects and dicts into one function with its bounds."""

from nlsq.problem.constraints.constraint_set import ConstraintSet
from nlsq.problem.constraints.read import read_constraints

__all__ = ["ConstraintSet", "read_constraints"]
