"""From a problem and a method's name to a solver: the one table of method strings."""

from __future__ import annotations

from functools import cache
from typing import Any

from nlsq import solvers
from nlsq.linalg import LSMR
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.blocks.block_problem import BlockProblem

METHODS = {
    "lm": "LevenbergMarquardt",
    "trf": "TrustRegionReflective",
    "dogbox": "Dogbox",
    "gauss-newton": "GaussNewton",
    "gradient": "GradientDescent",
    "projected-gradient": "ProjectedGradient",
    "interior-point": "InteriorPoint",
}
TAKE_CONSTRAINTS = "interior-point", "projected-gradient"


def choose_solver(problem: LeastSquaresProblem | BlockProblem, method: Any = None) -> Any:
    """Translate a method.

    Parameters
    ----------
    problem : LeastSquaresProblem or BlockProblem
        Decides when `method` is None: interior point with constraints, trust-region reflective with bounds,
        Levenberg-Marquardt without; but
        trust-region reflective, which is content with rough steps, where a sparse Jacobian is too large to be
        factorised. A BlockProblem is always solved by Levenberg-Marquardt.
    method : None, str or Solver
        A name of `METHODS`, or a solver object.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(problem, BlockProblem):
        return _for_blocks(method)
    if problem.constraints is not None:
        return _for_constraints(method)
    if method is None:
        method = "trf" if problem.bounded or _is_too_large(problem) else "lm"
    if not isinstance(method, str):
        if isinstance(method, type) or not (hasattr(method, "start") and hasattr(method, "advance")):
            raise TypeError(f"method must be a name or a solver object such as LevenbergMarquardt(), got {method!r}.")
        return method
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)} or a solver, got {method!r}.")
    return getattr(solvers, METHODS[method])()


@cache
def _interior_point() -> Any:
    return solvers.InteriorPoint()


def _for_constraints(method: Any) -> Any:
    if method is None:
        return _interior_point()
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)} or a solver, got {method!r}.")
        if method not in TAKE_CONSTRAINTS:
            raise ValueError(f"method {method!r} takes no constraints; those are for {' and '.join(TAKE_CONSTRAINTS)}.")
        return getattr(solvers, METHODS[method])()
    if not getattr(method, "takes_constraints", False):
        raise ValueError(f"{type(method).__name__} takes no constraints; use InteriorPoint or ProjectedGradient.")
    return method


def _is_too_large(problem: LeastSquaresProblem) -> bool:
    """Whether J is sparse and its pattern known, but sparse Cholesky is not the way."""
    if problem.pattern is None:
        return False
    from nlsq.linalg.sparse_choice import choose_linear_solver

    return isinstance(choose_linear_solver(problem.pattern)[0], LSMR)


def _for_blocks(method: Any) -> Any:
    if method is None or method == "lm":
        return solvers.LevenbergMarquardt()
    if isinstance(method, str):
        raise ValueError(f"a BlockProblem is solved by method 'lm' or LevenbergMarquardt(...), not by {method!r}.")
    if not isinstance(method, solvers.LevenbergMarquardt):
        raise TypeError(f"a BlockProblem is solved by LevenbergMarquardt(...), got {method!r}.")
    return method
