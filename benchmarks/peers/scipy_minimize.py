"""SciPy's solvers of constrained problems: SLSQP and trust-constr, with plain functions or exact derivatives.

Both minimise 1/2 r'r as a general function. Without derivatives they take differences, as SciPy does by default.
"""

import time
import warnings

import numpy as np

from .outcome import Outcome

__all__ = ["arguments", "minimize"]


def arguments(problem, method, *, derivatives=None):
    """Return what `scipy.optimize.minimize` wants, but for the method and the options.

    Parameters
    ----------
    problem : ConstrainedProblem
        The problem.
    method : str
        ``"SLSQP"``, which gets the dicts that it works with, or ``"trust-constr"``.
    derivatives : callable, optional
        ``derivatives(function, x) -> Jacobian``; differences without it.
    """
    from scipy.optimize import Bounds, NonlinearConstraint

    def cost(x):
        r = problem.residual(x)
        return 0.5 * (r @ r)

    bounded = np.isfinite(problem.lb).any() or np.isfinite(problem.ub).any()
    given = {"fun": cost, "x0": problem.x0, "bounds": Bounds(problem.lb, problem.ub) if bounded else None}
    jac = {}
    if derivatives is not None:
        given["jac"] = lambda x: derivatives(problem.residual, x).T @ problem.residual(x)
        jac = {"jac": lambda x: derivatives(problem.constraints, x)}
    if problem.mc and method == "SLSQP":
        given["constraints"] = list(_dicts(problem, jac.get("jac")))
    elif problem.mc:
        given["constraints"] = [NonlinearConstraint(problem.constraints, problem.cl, problem.cu, **jac)]
    return given


def _dicts(problem, jac):
    """Yield the constraints as SLSQP takes them: c = 0 and c >= 0."""
    function, equal = problem.constraints, problem.cl == problem.cu
    rows = {
        "eq": [(np.flatnonzero(equal), problem.cl, 1.0)],
        "ineq": [
            (np.flatnonzero(np.isfinite(problem.cl) & ~equal), problem.cl, 1.0),
            (np.flatnonzero(np.isfinite(problem.cu) & ~equal), problem.cu, -1.0),
        ],
    }
    for kind, parts in rows.items():
        for index, limits, sign in parts:
            if index.size:
                entry = {"type": kind, "fun": lambda x, k=index, at=limits[index], s=sign: s * (function(x)[k] - at)}
                yield entry if jac is None else entry | {"jac": lambda x, k=index, s=sign: s * jac(x)[k]}


def minimize(problem, method, *, derivatives=None, x0=None, **options):
    """Return the `Outcome` of ``method``, ``"SLSQP"`` or ``"trust-constr"``; x0 is moved inside the bounds."""
    import scipy.optimize

    given = arguments(problem, method, derivatives=derivatives)
    given["x0"] = np.clip(problem.x0 if x0 is None else x0, problem.lb, problem.ub)
    start = time.process_time()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = scipy.optimize.minimize(**given, method=method, options=options)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        seconds, message = time.process_time() - start, f"{type(error).__name__}: {error}"
        counts = {"evaluations": 0, "iterations": 0, "seconds": seconds}
        return Outcome(solver=method, status=message, claim="failed", x=given["x0"], **counts)
    seconds = time.process_time() - start
    return Outcome(
        solver=method,
        status=str(found.message),
        claim=_claim(method, found, problem),
        x=np.asarray(found.x, dtype=float),
        evaluations=int(found.nfev),
        iterations=int(found.nit),
        seconds=seconds,
    )


def _claim(method, found, problem):
    """Return what the solver claims; trust-constr also succeeds where it has only stopped moving."""
    if method == "SLSQP" and found.status == 4:  # inequality constraints incompatible
        return "infeasible"
    if method == "trust-constr":
        return "solved" if found.status in (1, 2) and found.constr_violation < 1e-6 else "failed"
    return "solved" if found.success else "failed"
