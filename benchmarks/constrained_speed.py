"""Times of small constrained problems, and of a sparse one: ``python -m benchmarks.constrained_speed [--quick]``.

    compiled    HS14, HS26, HS42, HS65 in njit functions by address, the problem built once, against CasADi: IPOPT, and
                sqpmethod with qrqp interpreted, and generated as C and compiled with gcc -O3: called as a CasADi
                function, and through buffers, without copies
    plain       the plain Python functions of the collection, problem built at every solve, against SLSQP and
                trust-constr
    sparse      Luksan and Vlcek's problem 5.1 with n = 1e4, from the functions to the answer, against CasADi's
                IPOPT with MUMPS, written with CasADi's own vectors

All are medians of CPU time, taken in turns (`benchmarks.compare`). What each returns is judged before it is timed:
SciPy's answers may be 1 % off in cost, which is what their default tolerances leave.
"""

import argparse
import functools
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from .compare import interleaved
from .peers import casadi_nlp, scipy_minimize
from .peers.outcome import Missing
from .problems import constrained
from .problems.constrained import luksan_vlcek
from .problems.constrained.judge import judge
from .rows import Row, Section, limit_row, reported_row

__all__ = [
    "SMALL",
    "compiled_problem",
    "jitted",
    "main",
    "plain_section",
    "section",
    "small_section",
    "solve_chain",
    "solve_plain",
    "sparse_section",
]

SMALL = ("hs14", "hs26", "hs42", "hs65")
COMPILED_LIMIT = 40.0  # microseconds
LOOSE = 1e-2, 1e-4  # of SciPy's answers: relative and absolute error of the cost
SLOW = 0.01  # seconds: such a peer is timed three times only
SPARSE_N, SPARSE_LIMIT = 10_000, 0.100


@functools.cache
def jitted(name):
    """Return residual and constraints of a small problem as njit functions."""
    import numba

    return tuple(numba.njit(function) for function in FUNCTIONS[name])


def hs14_residual(x):
    return np.array([x[0] - 2.0, x[1] - 1.0])


def hs14_constraints(x):
    return np.array([x[0] - 2.0 * x[1] + 1.0, 1.0 - 0.25 * x[0] ** 2 - x[1] ** 2])


def hs26_residual(x):
    return np.array([x[0] - x[1], (x[1] - x[2]) ** 2])


def hs26_constraints(x):
    return np.array([(1.0 + x[1] ** 2) * x[0] + x[2] ** 4 - 3.0])


def hs42_residual(x):
    return np.array([x[0] - 1.0, x[1] - 2.0, x[2] - 3.0, x[3] - 4.0])


def hs42_constraints(x):
    return np.array([x[0] - 2.0, x[2] ** 2 + x[3] ** 2 - 2.0])


def hs65_residual(x):
    return np.array([x[0] - x[1], (x[0] + x[1] - 10.0) / 3.0, x[2] - 5.0])


def hs65_constraints(x):
    return np.array([48.0 - x[0] ** 2 - x[1] ** 2 - x[2] ** 2])


FUNCTIONS = {
    "hs14": (hs14_residual, hs14_constraints),
    "hs26": (hs26_residual, hs26_constraints),
    "hs42": (hs42_residual, hs42_constraints),
    "hs65": (hs65_residual, hs65_constraints),
}


def nlsq_problem(problem, residual, constraints, **options):
    """Return ``nlsq.LeastSquaresProblem`` of these functions with the limits of a problem."""
    from scipy.optimize import NonlinearConstraint

    import nlsq

    if np.isfinite(problem.lb).any() or np.isfinite(problem.ub).any():
        options["bounds"] = (problem.lb, problem.ub)
    limits = [NonlinearConstraint(constraints, problem.cl, problem.cu)]
    return nlsq.LeastSquaresProblem(residual, problem.x0, constraints=limits, **options)


def compiled_problem(name):
    """Return a small problem for nlsq whose functions are called by address."""
    import nlsq

    functions = (nlsq.compile(function, kind="residual") for function in jitted(name))
    return nlsq_problem(constrained.load(name), *functions)


def solve_plain(problem):
    """Solve with nlsq from the plain functions."""
    import nlsq

    return nlsq.solve(nlsq_problem(problem, problem.residual, problem.constraints))


def generated(problem, folder, **options):
    """Return CasADi's sqpmethod as a function of its own whose C code gcc -O3 has compiled.

    Raises
    ------
    Missing
        If there is no gcc, or CasADi is not installed.
    """
    solver = casadi_nlp.sqp_solver(problem, **options)
    import casadi

    source, library = Path(folder) / f"{problem.name}.c", Path(folder) / f"{problem.name}.so"
    generator = casadi.CodeGenerator(source.name)
    generator.add(solver)
    generator.generate(f"{folder}/")
    try:
        subprocess.run(
            ["gcc", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library), "-lm"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        raise Missing("gcc is not installed") from None
    return casadi.external(solver.name(), str(library))


def through_buffers(function, problem):
    """Return a call of a solver of CasADi's that copies nothing; the answer is in the array that it returns."""
    buffer, call = function.buffer()
    answer = np.zeros(problem.n)
    inputs = {"x0": problem.x0, "lbx": problem.lb, "ubx": problem.ub, "lbg": problem.cl, "ubg": problem.cu}
    kept = {name: np.array(values) for name, values in inputs.items() if values.size}
    for name, values in kept.items():
        buffer.set_arg(function.index_in(name), memoryview(values))
    buffer.set_res(function.index_out("x"), memoryview(answer))

    def run():
        call()
        return answer

    run.keeps = (buffer, function, kept)  # what the call points to
    return run


def checked(problem, x, relative=1e-5, absolute=1e-7):
    """Return x, the answer of a solver that is to be timed.

    Raises
    ------
    RuntimeError
        If it is no solution.
    """
    verdict = judge(problem, x)
    if not (verdict.violation <= 1e-6 and verdict.cost <= problem.best_cost * (1.0 + relative) + absolute):
        raise RuntimeError(f"{problem.name}: no solution: cost {verdict.cost:g}, violation {verdict.violation:g}")
    return x


def casadi_peers(problem, folder):
    """Yield (name, call without arguments that returns x) of CasADi's solvers; Missing ends it where one is."""
    ipopt, sqp = casadi_nlp.ipopt_solver(problem), casadi_nlp.sqp_solver(problem)
    yield "IPOPT", lambda: np.array(casadi_nlp.solve(ipopt, problem)["x"]).ravel()
    yield "sqpmethod+qrqp", lambda: np.array(casadi_nlp.solve(sqp, problem)["x"]).ravel()
    function = generated(problem, folder)
    yield "sqpmethod+qrqp in C", lambda: np.array(casadi_nlp.solve(function, problem)["x"]).ravel()
    yield "sqpmethod+qrqp in C, through buffers", through_buffers(function, problem)


def small_section(quick=False):
    """Time compiled functions against CasADi, or alone where that is not installed."""
    import nlsq

    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in SMALL[: 1 if quick else None]:
            problem, ours = constrained.load(name), compiled_problem(name)
            solve = functools.partial(nlsq.solve, ours)
            what, ratio = f"{name}, compiled functions, one solve", None
            try:
                checked(problem, solve().x)
                for peer, call in casadi_peers(problem, folder):
                    ratio = _against(problem, solve, peer, call, quick, notes)
                    if ratio is not None:
                        peer_text, extra = f"{peer} {1e6 * ratio.peer:.1f} us", f" ({ratio.median:.1f} x)"
                        rows.append(limit_row(what, peer_text, COMPILED_LIMIT, 1e6 * ratio.ours, "us", extra))
            except RuntimeError as reason:
                notes.append(str(reason))
            except Missing as reason:
                notes.append(f"{name}: {reason}")
                if ratio is None:
                    alone = interleaved(solve, solve, pairs=3 if quick else 31)
                    rows.append(limit_row(what, "-", COMPILED_LIMIT, 1e6 * alone.ours, "us"))
    return Section(
        title="Small constrained problems, compiled (ratios: peer's CPU time / ours)", rows=rows, notes=notes
    )


def plain_section(quick=False):
    """Time plain Python functions against SciPy."""
    rows, notes = [], []
    for name in SMALL[: 1 if quick else None]:
        problem = constrained.load(name)
        solve = functools.partial(solve_plain, problem)
        try:
            for _ in range(40):  # graphs are compiled once that pays: what is timed is what follows
                found = solve()
            checked(problem, found.x)
        except RuntimeError as reason:
            notes.append(str(reason))
            continue
        for method, options in (("SLSQP", {}), ("trust-constr", {})):
            call = functools.partial(_scipy_x, problem, method, options)
            ratio = _against(problem, solve, method, call, quick, notes)
            if ratio is not None:
                text = f"{1e6 * ratio.ours:.0f} us ({ratio.median:.2f} x)"
                peer, what = f"{method} {1e6 * ratio.peer:.0f} us", f"{name}, plain functions, problem and solve"
                rows.append(Row(what=what, peer=peer, required="> 1 x", measured=text, met=ratio.median > 1.0))
    return Section(title="Small constrained problems, plain functions (CPU time / ours)", rows=rows, notes=notes)


def _scipy_x(problem, method, options):
    return scipy_minimize.minimize(problem, method, **options).x


def _against(problem, solve, peer, call, quick, notes):
    """Return the `Ratio` of a peer to us; None, with a note, where the peer finds no solution."""
    try:
        checked(problem, call(), *(LOOSE if peer in ("SLSQP", "trust-constr") else ()))
    except RuntimeError as reason:
        notes.append(f"{peer}, {reason}")
        return None
    start = time.process_time()
    call()
    slow = time.process_time() - start > SLOW
    return interleaved(solve, call, pairs=3 if quick or slow else 31)


def chained_in_casadi(n):
    """Return problem 5.1 as a CasADi user writes it, on whole vectors."""
    casadi = casadi_nlp._casadi()
    x = casadi.MX.sym("x", n)
    r = casadi.vertcat(10.0 * (x[:-1] ** 2 - x[1:]), x[:-1] - 1.0)
    a, b, c = x[:-2], x[1:-1], x[2:]
    wave = casadi.sin(b - c) * casadi.sin(b + c)
    g = 3.0 * b**3 + 2.0 * c - 5.0 + wave + 4.0 * b - a * casadi.exp(a - b) - 3.0
    return {"x": x, "f": 0.5 * casadi.sumsqr(r), "g": g}


def solve_chain(problem):
    """Solve the sparse chain with nlsq, from the functions to the answer."""
    import nlsq

    return nlsq.solve(nlsq_problem(problem, problem.residual, problem.constraints, sparsity="auto"))


def sparse_runs(n, repetitions):
    """Return median CPU times and costs of nlsq and, where it is installed, of IPOPT: end to end, and its solve."""
    problem = luksan_vlcek.chained("lv1", n)
    times, costs = {}, {}

    def note(name, seconds):
        times.setdefault(name, []).append(seconds)

    solve_chain(problem)  # compiles the graphs, once for all processes
    for _ in range(repetitions):
        start = time.process_time()
        result = solve_chain(problem)
        note("nlsq", time.process_time() - start)
        costs["nlsq"] = problem.cost(result.x) if problem.violation(result.x) <= 1e-6 else np.inf
        try:
            costs["IPOPT"] = _ipopt_chain(problem, note)
        except Missing:
            continue
    return {name: median(values) for name, values in times.items()}, costs


def _ipopt_chain(problem, note):
    """Return the cost that IPOPT reaches on the chain; notes the times."""
    casadi, quiet = casadi_nlp._casadi(), {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False}
    start = time.process_time()
    solver = casadi.nlpsol("solver", "ipopt", chained_in_casadi(problem.n), quiet)
    built = time.process_time()
    found = casadi_nlp.solve(solver, problem)
    end = time.process_time()
    note("IPOPT", end - start)
    note("IPOPT, solve alone", end - built)
    return float(found["f"])


def sparse_section(quick=False):
    """Time the sparse chain end to end."""
    n, notes = 1_000 if quick else SPARSE_N, []
    times, costs = sparse_runs(n, 1 if quick else 5)
    met, peer = times["nlsq"] <= SPARSE_LIMIT and np.isfinite(costs["nlsq"]), "-"
    if "IPOPT" in times:
        peer = f"IPOPT+MUMPS {1e3 * times['IPOPT']:.0f} ms (solve alone {1e3 * times['IPOPT, solve alone']:.0f} ms)"
        peer += f", cost {costs['IPOPT']:.8g}"
        met = met and costs["nlsq"] <= costs["IPOPT"] * (1.0 + 1e-6) + 1e-10
    else:
        notes.append("casadi is not installed")
    row = Row(
        what=f"Luksan-Vlcek 5.1, n = {n}, end to end",
        peer=peer,
        required=f"<= {1e3 * SPARSE_LIMIT:.0f} ms, no higher cost",
        measured=f"{1e3 * times['nlsq']:.0f} ms, cost {costs['nlsq']:.8g}",
        met=bool(met),
    )
    return Section(title="Sparse chain (CPU time)", rows=[row], notes=notes)


def section(quick=False):
    """Return all rows as one section of the report."""
    parts = [part(quick) for part in (small_section, plain_section, sparse_section)]
    rows, notes = [row for part in parts for row in part.rows], [note for part in parts for note in part.notes]
    return Section(title="Times of constrained problems (CPU; ratios: peer's / ours)", rows=rows, notes=notes)


def main(arguments=None):
    """Measure, and print Markdown."""
    from .report import render

    parser = argparse.ArgumentParser(prog="python -m benchmarks.constrained_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="does it run?")
    parser.add_argument("--peers", action="store_true", help="CasADi's times alone")
    options = parser.parse_args(arguments)
    if options.peers:
        print(render(peers_section(options.quick)), flush=True)
        return
    for section in (small_section, plain_section, sparse_section):
        print("\n" + render(section(options.quick)), flush=True)


def peers_section(quick=False):
    """Time the peers alone, each against IPOPT."""
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in SMALL[: 1 if quick else None]:
            problem = constrained.load(name)
            peers = list(casadi_peers(problem, folder))
            peers += [(m, functools.partial(_scipy_x, problem, m, {})) for m in ("SLSQP", "trust-constr")]
            for peer, call in peers[1:]:
                ratio = _against(problem, peers[0][1], peer, call, quick, notes)
                if ratio is not None:
                    row = (f"{name}: {peer}", f"IPOPT {1e6 * ratio.ours:.0f} us", f"{1e6 * ratio.peer:.1f} us")
                    rows.append(reported_row(*row))
    return Section(title="Peers alone", rows=rows, notes=notes)


if __name__ == "__main__":
    main()
