"""The constrained problems by nlsq and its peers: ``python -m benchmarks.constrained [problem ...] [--with ...]``.

Every answer is judged from x and the multipliers alone (`problems.constrained.judge`). Prints a line a problem and
solver, then what is counted:

    solved            KKT point (violation 1e-6, dual 1e-5) as good as any that a peer reached from the same start
    best known        KKT point with the lowest cost known, from any start
    KKT, claimed      KKT points; claims of success, of which those false that are no KKT points
    infeasible        claims of infeasibility: false ones on feasible problems, right ones on the infeasible
    evaluations       geometric mean of evaluations of r / IPOPT's, on the problems that both solve

The summary is also printed as rows of the report. nlsq sees plain functions, SciPy's `NonlinearConstraint` and bounds.
"""

import argparse
import functools
import time
from dataclasses import dataclass

import numpy as np

from .accuracy import quiet
from .peers import casadi_nlp, scipy_minimize
from .peers.outcome import Missing, Outcome
from .problems import constrained
from .problems.constrained.judge import Verdict, derivatives, judge, violation_gradient
from .rows import Row, Section, counted_row, reported_row

__all__ = ["DEFAULT", "SOLVERS", "Run", "evaluation_ratio", "main", "nlsq_problem", "run", "section", "summary"]

TIME_LIMIT = 60.0  # seconds for one solve
STATIONARY = 1e-4  # relative gradient of the violation: an infeasible point with less is a stationary one


def nlsq_problem(problem, *, own_jac=False):
    """Return ``nlsq.LeastSquaresProblem`` as a user would write it; with `own_jac`, Jacobians are the user's."""
    from scipy.optimize import NonlinearConstraint

    import nlsq

    arguments = {"bounds": (problem.lb, problem.ub)}
    if not (np.isfinite(problem.lb).any() or np.isfinite(problem.ub).any()):
        arguments = {}
    if own_jac:
        arguments["jac"] = lambda x: derivatives(problem.residual, x)
    if problem.mc:
        jac = {"jac": lambda x: derivatives(problem.constraints, x)} if own_jac else {}
        arguments["constraints"] = [NonlinearConstraint(problem.constraints, problem.cl, problem.cu, **jac)]
    x0 = problem.x0 if problem.mc else np.clip(problem.x0, problem.lb, problem.ub)  # bounds alone want a start inside
    return nlsq.LeastSquaresProblem(problem.residual, x0, **arguments)


def nlsq_outcome(problem, name="nlsq", *, own_jac=False, **options):
    """Return the `Outcome` of ``nlsq.solve``; with options of `InteriorPoint` where there are constraints."""
    import nlsq
    from nlsq.solvers import InteriorPoint

    method = InteriorPoint(**options) if options and problem.mc else None
    start = time.process_time()
    result = nlsq.solve(nlsq_problem(problem, own_jac=own_jac), method=method, time_limit=TIME_LIMIT)
    seconds = time.process_time() - start
    found = result.multipliers
    multipliers = {} if found is None else {"y": found.constraints, "zl": found.lower, "zu": found.upper}
    claims = {nlsq.Status.LOCALLY_INFEASIBLE: "infeasible", nlsq.Status.ACCEPTABLE: "acceptable"}
    return Outcome(
        solver=name,
        status=result.status.name,
        claim=claims.get(result.status, "solved" if result.status.converged else "failed"),
        x=result.x,
        **multipliers,
        evaluations=result.nfev,
        iterations=result.nit,
        seconds=seconds,
    )


SOLVERS = {
    "nlsq": nlsq_outcome,
    "nlsq first derivatives": functools.partial(nlsq_outcome, name="nlsq first derivatives", hessian="sr1"),
    "nlsq own jac": functools.partial(nlsq_outcome, name="nlsq own jac", own_jac=True),
    "IPOPT exact": casadi_nlp.ipopt,
    "IPOPT L-BFGS": functools.partial(casadi_nlp.ipopt, exact=False),
    "sqpmethod": casadi_nlp.sqpmethod,
    "SLSQP": functools.partial(scipy_minimize.minimize, method="SLSQP", maxiter=1000, ftol=1e-12),
    "trust-constr": functools.partial(scipy_minimize.minimize, method="trust-constr", maxiter=1000),
}
DEFAULT = ("nlsq", "nlsq first derivatives", "nlsq own jac", "IPOPT exact", "IPOPT L-BFGS", "SLSQP")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One problem solved by one solver, and the verdict."""

    problem: constrained.ConstrainedProblem
    outcome: Outcome
    verdict: Verdict

    @property
    def is_solved(self):
        """Return whether the answer counts as solved: claimed, a KKT point, and as good as any peer's."""
        return self.claims_success and self.verdict.is_solved

    @property
    def claims_success(self):
        """Return whether the solver says that it has converged, acceptably at least."""
        return self.outcome.claim in ("solved", "acceptable")

    @property
    def is_false_infeasible(self):
        """Return whether the solver says infeasible where a feasible point is known."""
        return self.outcome.claim == "infeasible" and self.problem.feasible

    @property
    def has_certificate(self):
        """Return whether an infeasible answer is at least a stationary point of the violation."""
        return self.verdict.violation > 1e-6 and violation_gradient(self.problem, self.outcome.x) <= STATIONARY

    def __str__(self):
        """Return the line of the table."""
        o, v = self.outcome, self.verdict
        mark = "best" if v.is_best else "same" if v.is_reached else ""
        if o.claim == "infeasible":
            mark = ("FALSE " if self.problem.feasible else "right ") + ("local" if self.has_certificate else "no proof")
        elif self.claims_success and not v.is_kkt:
            mark += " NOT KKT"
        numbers = f"{v.cost:13.6e} {v.violation:8.1e} {v.dual:8.1e} {v.complementarity:8.1e}"
        return f"  {o.solver:24s} {o.status[:28]:28s} {numbers} {o.evaluations:6d} {1e3 * o.seconds:9.2f} ms  {mark}"


def run(problem, solver):
    """Return the `Run` of a solver on a problem; an exception counts as a failure at the start.

    Raises
    ------
    Missing
        If the solver is not installed.
    """
    try:
        with quiet():
            outcome = SOLVERS[solver](problem)
    except Missing:
        raise
    except Exception as error:  # whatever a solver raises is its answer
        status = f"{type(error).__name__}: {error}".replace("\n", " ")
        counts = {"evaluations": 0, "iterations": 0, "seconds": 0.0}
        outcome = Outcome(solver=solver, status=status, claim="failed", x=problem.x0, **counts)
    with quiet():
        verdict = judge(problem, outcome.x, outcome.y, outcome.zl, outcome.zu)
    return Run(problem=problem, outcome=outcome, verdict=verdict)


def run_all(problems, solvers, show=lambda text: None):
    """Return ``{solver: [Run, ...]}``; a solver that is missing is left out, with a line that says why."""
    runs = {solver: [] for solver in solvers}
    for problem in problems:
        show(f"{problem.name}: n = {problem.n}, m = {problem.m}, mc = {problem.mc}")
        for solver in list(runs):
            try:
                runs[solver].append(run(problem, solver))
                show(str(runs[solver][-1]))
            except Missing as reason:
                show(f"  {solver} is left out: {reason}")
                del runs[solver]
    return runs


def evaluation_ratio(ours, theirs):
    """Return (geometric mean of our evaluations / theirs, how many problems both solve)."""
    pairs = [(a.outcome.evaluations, b.outcome.evaluations) for a, b in zip(ours, theirs, strict=True) if _both(a, b)]
    ratios = [max(a, 1) / max(b, 1) for a, b in pairs]
    return (float(np.exp(np.mean(np.log(ratios)))), len(ratios)) if ratios else (np.nan, 0)


def _both(a, b):
    return a.is_solved and b.is_solved


def counts(runs):
    """Return what is counted of one solver's runs."""
    feasible = [entry for entry in runs if entry.problem.feasible]
    none = [entry for entry in runs if not entry.problem.feasible]
    return {
        "solved": sum(entry.is_solved for entry in feasible),
        "best known": sum(entry.is_solved and entry.verdict.is_best for entry in feasible),
        "KKT": sum(entry.verdict.is_kkt for entry in feasible),
        "claimed": sum(entry.claims_success for entry in runs),
        "false": sum(entry.claims_success and not entry.verdict.is_kkt for entry in runs),
        "false infeasible": sum(entry.is_false_infeasible for entry in runs),
        "without proof": sum(entry.is_false_infeasible and not entry.has_certificate for entry in runs),
        "infeasible": sum(entry.outcome.claim == "infeasible" for entry in none),
    }


def summary(runs):
    """Return the lines of the summary."""
    base = runs.get("IPOPT exact")
    first = next(iter(runs.values()))
    feasible = sum(entry.problem.feasible for entry in first)
    lines = [f"{feasible} feasible problems, {len(first) - feasible} infeasible"]
    for solver, entries in runs.items():
        c = counts(entries)
        text = f"{solver:24s} solved {c['solved']:3d} (best known {c['best known']:3d}, KKT {c['KKT']:3d})"
        text += f", claimed {c['claimed']:3d} of which false {c['false']}"
        text += f"; infeasible: {c['false infeasible']} false ({c['without proof']} without proof)"
        text += f", {c['infeasible']} right; {sum(entry.outcome.seconds for entry in entries):.2f} s"
        if base is not None and solver != "IPOPT exact":
            ratio, both = evaluation_ratio(entries, base)
            text += f"; evaluations {ratio:.2f} x IPOPT's on {both}"
        lines.append(text)
    return lines


def section(quick=False):
    """Return the rows of the report on the collection."""
    problems = constrained.all_problems()[:: 8 if quick else 1]
    return section_of(run_all(problems, DEFAULT))


def section_of(runs):
    """Return the rows of the report from runs of all of `DEFAULT`; without CasADi, nothing is required."""
    c = {solver: counts(entries) for solver, entries in runs.items()}
    total = sum(entry.problem.feasible for entry in runs["nlsq"])
    rows, notes = [], [f"not solved by nlsq: {', '.join(_unsolved(runs['nlsq'])) or 'none'}"]
    what = f"{total} feasible problems: KKT point, no worse than any peer's from the same start"
    if "IPOPT exact" not in runs:
        rows.append(reported_row(what, "IPOPT is not installed", str(c["nlsq"]["solved"])))
        return Section(title="Constrained problems", rows=rows, notes=notes)
    exact, approximate = c["IPOPT exact"], c["IPOPT L-BFGS"]
    rows.append(counted_row(what, f"IPOPT exact {exact['solved']}", exact["solved"], c["nlsq"]["solved"]))
    rows.append(reported_row("of these, lowest cost known", str(exact["best known"]), str(c["nlsq"]["best known"])))
    false = c["nlsq"]["false infeasible"]
    rows.append(
        Row(
            what='feasible problems called "infeasible"',
            peer=f"IPOPT exact {exact['false infeasible']}",
            required="0",
            measured=f"{false} ({c['nlsq']['without proof']} at no stationary point of the violation)",
            met=false == 0,
        )
    )
    said = [f"{c[solver]['infeasible']}" for solver in ("IPOPT exact", "nlsq")]
    rows.append(reported_row("infeasible problems called so", *said))
    ratio, both = evaluation_ratio(runs["nlsq"], runs["IPOPT exact"])
    what = f"evaluations, geometric mean on the {both} problems that both solve"
    rows.append(
        Row(what=what, peer="IPOPT exact 1.0", required="<= 1.00 x", measured=f"{ratio:.2f} x", met=ratio <= 1.0)
    )
    ours, what = c["nlsq first derivatives"]["solved"], "first derivatives only: solved"
    peer, wanted = f"IPOPT L-BFGS {approximate['solved']}", f"> {approximate['solved']}"
    rows.append(Row(what=what, peer=peer, required=wanted, measured=str(ours), met=ours > approximate["solved"]))
    rows.append(reported_row("Jacobians by the user: solved", "-", str(c["nlsq own jac"]["solved"])))
    slsqp = c["SLSQP"]
    peer = f"SLSQP {slsqp['solved']}, of {slsqp['claimed']} claimed; {slsqp['false infeasible']} called infeasible"
    rows.append(reported_row("plain functions, nothing else given: solved", peer, str(c["nlsq"]["solved"])))
    for solver in ("nlsq", "IPOPT exact"):
        text = f"{c[solver]['false']} of {c[solver]['claimed']}"
        notes.append(f"{solver}: claims of success at points that are no KKT points: {text}")
    return Section(title="Constrained problems", rows=rows, notes=notes)


def _unsolved(runs):
    return [
        f"{entry.problem.name} ({entry.outcome.status})"
        for entry in runs
        if entry.problem.feasible and not entry.is_solved
    ]


def main(arguments=None):
    """Solve the problems named, or all, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.constrained", description=__doc__.split("\n")[0])
    parser.add_argument("problem", nargs="*", help="names; all by default")
    parser.add_argument("--with", dest="solvers", nargs="+", choices=SOLVERS, default=DEFAULT, help="solvers")
    options = parser.parse_args(arguments)
    problems = [constrained.load(name) for name in options.problem or constrained.names()]
    runs = run_all(problems, options.solvers, functools.partial(print, flush=True))
    print("\n" + "\n".join(summary(runs)))


if __name__ == "__main__":
    main()
