"""IPOPT and an SQP method through CasADi, with exact derivatives of the problems' own functions.

    ipopt       primal-dual interior point [1]_ with MUMPS; exact Hessian or L-BFGS
    sqpmethod   CasADi's SQP with its active-set solver qrqp and exact Hessians

CasADi's multipliers are those of f + y'c + lambda'x: lambda = zu - zl.

References
----------
.. [1] A. Wachter and L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
   large-scale nonlinear programming", Mathematical Programming 106(1), 25-57, 2006.
"""

import time

import numpy as np

from .outcome import Missing, Outcome
from .symbols import expressions, symbols

__all__ = ["functions", "ipopt", "ipopt_solver", "nlp", "solve", "sqp_solver", "sqpmethod"]

CLAIMS = {
    "Solve_Succeeded": "solved",
    "Solved_To_Acceptable_Level": "acceptable",
    "Infeasible_Problem_Detected": "infeasible",
}
LIMIT = 60.0  # seconds of CPU


def _casadi():
    try:
        import casadi
    except ImportError:
        raise Missing("casadi is not installed") from None
    return casadi


def functions(problem):
    """Return CasADi functions of x: r and c, numpy's sources run on symbols."""
    casadi = _casadi()
    variable, array = symbols(problem.n)
    r, c = expressions(problem.residual(array)), casadi.SX(0, 1)
    if problem.constraints is not None:
        c = expressions(problem.constraints(array))
    return casadi.Function("r", [variable], [r]), casadi.Function("c", [variable], [c])


def nlp(problem):
    """Return the problem in CasADi's form: variable, objective, constraints."""
    casadi = _casadi()
    variable, array = symbols(problem.n)
    objective = 0.5 * casadi.sumsqr(expressions(problem.residual(array)))
    form = {"x": variable, "f": objective}
    return form if problem.constraints is None else form | {"g": expressions(problem.constraints(array))}


def ipopt_solver(problem, *, exact=True, **options):
    """Return a solver by IPOPT; options are IPOPT's own."""
    quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False, "ipopt.max_cpu_time": LIMIT}
    hessian = {} if exact else {"ipopt.hessian_approximation": "limited-memory"}
    given = {f"ipopt.{name}": value for name, value in options.items()}
    return _casadi().nlpsol("ipopt_solver", "ipopt", nlp(problem), quiet | hessian | given)


def sqp_solver(problem, **options):
    """Return a solver by CasADi's sqpmethod with qrqp; options are CasADi's own."""
    quiet = {"print_header": False, "print_iteration": False, "print_time": False, "print_status": False}
    inner = {"print_iter": False, "print_header": False, "print_info": False, "error_on_fail": False}
    given = quiet | {"qpsol": "qrqp", "qpsol_options": inner, "error_on_fail": False, "max_iter": 500} | options
    return _casadi().nlpsol("sqp_solver", "sqpmethod", nlp(problem), given)


def solve(solver, problem, x0=None, multipliers=None):
    """Call a solver of CasADi's from x0, or from the problem's start; multipliers are ``lam_x0`` and ``lam_g0``."""
    limits = {"lbx": problem.lb, "ubx": problem.ub}
    if problem.mc:
        limits |= {"lbg": problem.cl, "ubg": problem.cu}
    return solver(x0=problem.x0 if x0 is None else x0, **limits, **(multipliers or {}))


def ipopt(problem, *, exact=True, x0=None, multipliers=None, **options):
    """Return the `Outcome` of IPOPT with the exact Hessian, or with L-BFGS."""
    solver = ipopt_solver(problem, exact=exact, **options)
    return _outcome(solver, problem, x0, "IPOPT exact" if exact else "IPOPT L-BFGS", multipliers)


def sqpmethod(problem, *, x0=None, **options):
    """Return the `Outcome` of CasADi's sqpmethod with qrqp."""
    return _outcome(sqp_solver(problem, **options), problem, x0, "sqpmethod qrqp")


def _outcome(solver, problem, x0, name, multipliers=None):
    start = time.process_time()
    found = solve(solver, problem, x0, multipliers)
    seconds = time.process_time() - start
    statistics = solver.stats()
    status = statistics["return_status"]
    claim = CLAIMS.get(status, "solved" if statistics["success"] else "failed")
    bound_multipliers = np.array(found["lam_x"]).ravel()
    return Outcome(
        solver=name,
        status=status,
        claim=claim,
        x=np.array(found["x"]).ravel(),
        y=np.array(found["lam_g"]).ravel(),
        zl=np.maximum(-bound_multipliers, 0.0),
        zu=np.maximum(bound_multipliers, 0.0),
        evaluations=_calls(statistics),
        iterations=int(statistics.get("iter_count", 0)),
        seconds=seconds,
    )


def _calls(statistics):
    """Return how often the objective was evaluated; sqpmethod does so with the constraints, and once with J."""
    return int(statistics.get("n_call_nlp_f", statistics.get("n_call_nlp_fg", 0) + 1))
