"""Iterations of warm starts: ``python -m benchmarks.warm_start [problem ...]``.

    collection   every problem with constraints that has a feasible point is solved, its data change by up to 1e-3
                 relative, and it is solved again: from the problem's start (cold) and from the first solution with its
                 multipliers (warm). What changes are the coefficients of the variables, those of r and those of c
                 apart: r((1 + d) x) and c((1 + e) x) with |d_j|, |e_j| <= 1e-3, which keeps dependent constraints
                 dependent and leaves a feasible point where no bound is in the way
    family       one problem whose data are arrays that change in place, solved 25 times, each time from the solution
                 before; nlsq keeps the problem and what has been compiled

IPOPT starts warm with the options that its documentation names: warm_start_init_point, no push from bounds (1e-9), and
a first barrier parameter of 1e-6. Medians are over the problems that a solver solves cold and warm, to KKT points of
the changed problem.
"""

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from .accuracy import quiet
from .constrained import nlsq_problem
from .peers import casadi_nlp, scipy_minimize
from .peers.outcome import Missing
from .problems import constrained
from .problems.constrained.judge import judge
from .problems.constrained.problem import make
from .rows import Row, Section

__all__ = [
    "FAMILIES",
    "SOLVERS",
    "Effort",
    "Family",
    "changed",
    "collection_efforts",
    "family_efforts",
    "main",
    "section",
]

SIZE = 1e-3
MEMBERS = 25
LIMIT = 4  # median of iterations
PUSHES = ("bound_push", "bound_frac", "slack_bound_push", "slack_bound_frac", "mult_bound_push")
IPOPT_WARM = {"warm_start_init_point": "yes", "mu_init": 1e-6} | {f"warm_start_{name}": 1e-9 for name in PUSHES}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Iterations of one solver on one changed problem; None where it does not end at a KKT point."""

    problem: str
    cold: int | None
    warm: int | None

    @property
    def counts(self):
        """Return whether both solves succeeded."""
        return self.cold is not None and self.warm is not None


def changed(problem, size=SIZE):
    """Return a problem whose coefficients differ by up to `size`, the same ones at each call."""
    rng = np.random.default_rng(zlib.crc32(problem.name.encode()))
    of_residual, of_constraints = 1.0 + size * rng.uniform(-1.0, 1.0, (2, problem.n))
    residual, constraints = problem.residual, problem.constraints
    return replace(
        problem,
        residual=lambda x: residual(of_residual * x),
        constraints=lambda x: constraints(of_constraints * x),
        best_cost=None,
        reached_cost=None,
        local_costs=(),
    )


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How a solver is used: ``solve(prepared, before=None)`` begins at an earlier answer where one is given.

    ``iterations(problem, found)`` is None where what was found is no solution of the problem.
    """

    prepare: Callable
    solve: Callable
    iterations: Callable


def _by_nlsq(problem, before=None):
    import nlsq

    return nlsq.solve(problem, warm_start=before)


def _nlsq_iterations(problem, result):
    found = result.multipliers
    multipliers = () if found is None else (found.constraints, found.lower, found.upper)
    return result.nit if result.status.converged and judge(problem, result.x, *multipliers).is_kkt else None


def _by_ipopt(problem, before=None):
    if before is None:
        return casadi_nlp.ipopt(problem)
    multipliers = {"lam_g0": before.y, "lam_x0": before.zu - before.zl}
    return casadi_nlp.ipopt(problem, x0=before.x, multipliers=multipliers, **IPOPT_WARM)


def _by_slsqp(problem, before=None):
    return scipy_minimize.minimize(problem, "SLSQP", x0=None if before is None else before.x, ftol=1e-12, maxiter=1000)


def _outcome_iterations(problem, outcome):
    verdict = judge(problem, outcome.x, outcome.y, outcome.zl, outcome.zu)
    return outcome.iterations if outcome.claim in ("solved", "acceptable") and verdict.is_kkt else None


SOLVERS = {
    "nlsq": Solver(prepare=nlsq_problem, solve=_by_nlsq, iterations=_nlsq_iterations),
    "IPOPT": Solver(prepare=lambda problem: problem, solve=_by_ipopt, iterations=_outcome_iterations),
    "SLSQP": Solver(prepare=lambda problem: problem, solve=_by_slsqp, iterations=_outcome_iterations),
}


def effort_on(problem, other, solver):
    """Solve a problem, and a changed one cold and warm; an exception counts as a failure."""
    try:
        first, prepared = solver.solve(solver.prepare(problem)), solver.prepare(other)
        counts = [solver.iterations(other, found) for found in (solver.solve(prepared), solver.solve(prepared, first))]
    except Missing:
        raise
    except Exception:  # whatever a solver raises is its answer
        counts = [None, None]
    return Effort(problem=problem.name, cold=counts[0], warm=counts[1])


def collection_efforts(problems, solver):
    """Return the `Effort` of a solver on each problem that has constraints and a feasible point."""
    with quiet():
        chosen = [problem for problem in problems if problem.mc and problem.feasible]
        return [effort_on(problem, changed(problem), SOLVERS[solver]) for problem in chosen]


# Families


@dataclass(frozen=True, kw_only=True)
class Family:
    """A problem that reads its data from arrays, and how they change: ``vary(rng)`` writes others."""

    problem: constrained.ConstrainedProblem
    vary: Callable[[np.random.Generator], None]


def arm():
    """Return the family of a plane arm of four joints that reaches for a target, near its posture of rest."""
    lengths, rest, target = np.array([1.0, 0.8, 0.6, 0.3]), np.array([0.3, 0.5, 0.4, 0.2]), np.empty(2)
    middle = np.array([1.6, 1.4])
    target[:] = middle

    def residual(x):
        return x - rest

    def constraints(x):
        angles = np.cumsum(x)
        return np.stack([np.sum(lengths * np.cos(angles)) - target[0], np.sum(lengths * np.sin(angles)) - target[1]])

    def vary(rng):
        target[:] = middle * (1.0 + SIZE * rng.uniform(-1.0, 1.0, 2))

    limits = {"lb": -0.9, "ub": 0.9}
    return Family(
        problem=make("arm of four joints", "a family", residual, np.zeros(4), constraints, **limits), vary=vary
    )


def decay():
    """Return the family of two decays that share a total, fitted to data that change."""
    t = np.linspace(0.0, 4.0, 40)
    clean = 2.0 * np.exp(-0.5 * t) + 1.2 * np.exp(-2.0 * t) + 0.05 * np.sin(9.0 * t)
    y = clean.copy()

    def residual(x):
        return x[0] * np.exp(-x[1] * t) + x[2] * np.exp(-x[3] * t) - y

    def constraints(x):
        return np.stack([x[0] + x[2], x[1] * x[3]])

    def vary(rng):
        y[:] = clean * (1.0 + SIZE * rng.uniform(-1.0, 1.0, t.size))

    cl, cu = np.array([3.0, -np.inf]), np.array([3.0, 0.9])
    start = np.array([1.0, 0.3, 1.0, 1.0])
    made = make("two decays with a total", "a family", residual, start, constraints, cl, cu, lb=0.0)
    return Family(problem=made, vary=vary)


FAMILIES = {"arm": arm, "decay": decay}


def family_efforts(name, solver, members=MEMBERS):
    """Return the `Effort` of a solver on each member of a family but the first, warm from the one before."""
    family, rng, solver, efforts = FAMILIES[name](), np.random.default_rng(0), SOLVERS[solver], []
    with quiet():
        prepared = solver.prepare(family.problem)
        warm = solver.solve(prepared)
        for _ in range(members - 1):
            family.vary(rng)
            cold, warm = solver.solve(prepared), solver.solve(prepared, warm)
            counts = [solver.iterations(family.problem, found) for found in (cold, warm)]
            efforts.append(Effort(problem=name, cold=counts[0], warm=counts[1]))
    return efforts


# The report


def section(quick=False):
    """Return the rows of the report."""
    problems, members = constrained.all_problems()[:: 16 if quick else 1], 3 if quick else MEMBERS
    measures = {"collection": partial(collection_efforts, problems)}
    measures |= {name: partial(family_efforts, name, members=members) for name in FAMILIES}
    rows, notes, has_peer = [], [], True
    for name, measure in measures.items():
        ours, theirs = measure("nlsq"), None
        try:
            theirs = measure("IPOPT") if has_peer else None
        except Missing as reason:
            has_peer = False
            notes.append(f"IPOPT is left out: {reason}")
        rows.append(row_of(name, ours, theirs))
        lost = [effort.problem for effort in ours if effort.cold is not None and effort.warm is None]
        if lost:
            notes.append(f"{name}, solved cold but not warm by nlsq: {', '.join(lost)}")
    return Section(title="Warm starts, data changed by up to 1e-3 (iterations, medians)", rows=rows, notes=notes)


def row_of(name, ours, theirs):
    """Return the row of one set of problems; `theirs` is None without a peer."""
    text, warm = _in_words(ours)
    return Row(
        what=f"{name}: cold -> warm",
        peer="-" if theirs is None else f"IPOPT {_in_words(theirs)[0]}",
        required=f"<= {LIMIT} warm",
        measured=text,
        met=bool(warm <= LIMIT),
    )


def _in_words(efforts):
    """Return the medians as text, and that of the warm starts; NaN where nothing is solved."""
    counted = [effort for effort in efforts if effort.counts]
    if not counted:
        return f"none of {len(efforts)} solved", np.nan
    cold, warm = (median(getattr(effort, kind) for effort in counted) for kind in ("cold", "warm"))
    return f"{cold:g} -> {warm:g} ({len(counted)} of {len(efforts)} solved both ways)", warm


def main(arguments=None):
    """Print a line a problem, or only the problems named, and the rows of the report."""
    from .report import render

    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_start", description=__doc__.split("\n")[0])
    parser.add_argument("problem", nargs="*", help="names: a line each, cold and warm; without, the report")
    options = parser.parse_args(arguments)
    if not options.problem:
        print(render(section()))
    for name in options.problem:
        for solver in SOLVERS:
            (effort,) = collection_efforts([constrained.load(name)], solver)
            print(f"{name}: {solver} {effort.cold} -> {effort.warm}", flush=True)


if __name__ == "__main__":
    main()
