"""Record the lowest costs known of the constrained problems: ``python -m benchmarks.constrained_minima [names]``.

IPOPT with exact Hessians solves every problem to 1e-10 and with the bounds not relaxed, from the start and from starts
around it; IPOPT with L-BFGS and SLSQP with exact derivatives solve it from the start, SLSQP also from the best point.
``best_cost`` is the lowest cost at a feasible KKT point, ``reached_cost`` the lowest that a peer reached from the
problem's own start (null where none did), ``local_costs`` what else they ended in. Where the only feasible points have
no multipliers, solvers end below the minimum by what they may violate, and the published value is taken. nlsq has no
part in it.
"""

import json
import sys

import numpy as np

from .peers import casadi_nlp, scipy_minimize
from .problems import constrained
from .problems.constrained.judge import derivatives, judge

__all__ = ["main", "record", "starts"]

TIGHT = {"tol": 1e-10, "bound_relax_factor": 0.0, "honor_original_bounds": "yes", "acceptable_iter": 0}
FEASIBLE = 1e-9
SAME = 1e-6  # relative difference of two costs that are of one minimum
SLSQP_LIMIT = 130  # variables
NO_MULTIPLIERS = ("hs13", "mfcq_tangent", "square_system", "consistent_overdetermined")


def starts(problem):
    """Yield the start and eight points around it, some of them far."""
    yield problem.x0
    for turn in range(1, 9):
        spread = (0.1, 0.5, 2.0)[turn % 3] * (1.0 + np.abs(problem.x0))
        yield np.clip(
            problem.x0 + spread * np.sin(1.7 * turn * np.arange(1.0, problem.n + 1.0)), problem.lb, problem.ub
        )


def candidates(problem):
    """Yield (solver's name, whether from the problem's start, cost) of every feasible KKT point the peers end in."""
    best, best_x = np.inf, problem.x0
    for k, x0 in enumerate(starts(problem)):
        outcome = casadi_nlp.ipopt(problem, x0=x0, **TIGHT)
        verdict = judge(problem, outcome.x, outcome.y, outcome.zl, outcome.zu)
        if verdict.is_kkt and verdict.violation <= FEASIBLE:
            yield "IPOPT exact", k == 0, verdict.cost
            if verdict.cost < best:
                best, best_x = verdict.cost, outcome.x
    outcome = casadi_nlp.ipopt(problem, exact=False, **TIGHT)
    verdict = judge(problem, outcome.x, outcome.y, outcome.zl, outcome.zu)
    if verdict.is_kkt:
        yield "IPOPT L-BFGS", True, verdict.cost
    if problem.n <= SLSQP_LIMIT:
        for x0 in (problem.x0, best_x):
            outcome = scipy_minimize.minimize(problem, "SLSQP", derivatives=derivatives, x0=x0, ftol=1e-12, maxiter=500)
            verdict = judge(problem, outcome.x)
            if verdict.is_kkt:
                yield "SLSQP", x0 is problem.x0, verdict.cost


def record(problem):
    """Return the entry of best_values.json for a problem."""
    found = list(candidates(problem))
    interior = [entry for entry in found if entry[0] == "IPOPT exact"]
    if problem.name in NO_MULTIPLIERS or not interior:
        best, origin = 0.5 * problem.published, "published"
    else:
        best = min(cost for _, _, cost in interior)
        here = any(_same(cost, best) for _, from_start, cost in interior if from_start)
        origin = "IPOPT exact" if here else "IPOPT exact from another start"
    from_here = [cost for _, from_start, cost in found if from_start]
    reached = max(best, min(from_here)) if from_here else None
    others = []
    for cost in sorted(cost for _, _, cost in found):
        if cost > best + 1e-6 and abs(cost - [best, *others][-1]) > 1e-3 * abs(cost):
            others.append(cost)
    return {
        "best_cost": best,
        "origin": origin,
        "agreed": sorted({name for name, _, cost in found if _same(cost, best)}),
        "reached_cost": reached,
        "reached_by": sorted({name for name, from_start, cost in found if from_start and _same(cost, min(from_here))}),
        "local_costs": others,
    }


def _same(cost, other):
    return abs(cost - other) <= SAME * abs(other) + 1e-10


def main(names=None):
    """Record the problems named, or all."""
    path = constrained.BEST_VALUES
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in names or constrained.names():
        problem = constrained.load(name)
        if problem.feasible:
            known[name] = record(problem)
            print(name, known[name], "published", problem.published, flush=True)
    known = {name: known[name] for name in constrained.names() if name in known}
    lines = [f'"{name}": {json.dumps(entry)}' for name, entry in known.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
