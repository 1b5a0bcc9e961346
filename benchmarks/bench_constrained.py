"""Constrained problems beside SciPy's SLSQP; IPOPT and CasADi's SQP are in the report.

Optimal control is in `bench_optimal_control`.
"""

from functools import partial
from statistics import median

from . import constrained_speed as speed
from . import warm_start
from .constrained import counts, run_all
from .libraries import LIBRARIES
from .peers import scipy_minimize
from .problems import constrained
from .problems.constrained import luksan_vlcek
from .startup import COLD_CACHE, FIRST_CONSTRAINED, SLSQP

SOLVERS = {"nlsq": "nlsq", "scipy": "SLSQP"}


class Small:
    """Small problems of Hock and Schittkowski: plain functions with the problem made anew, or compiled functions."""

    params = [LIBRARIES, ["plain", "compiled"], list(speed.SMALL)]
    param_names = ["library", "functions", "problem"]

    def setup(self, library, functions, name):
        problem = constrained.load(name)
        if library == "scipy":
            if functions == "compiled":
                raise NotImplementedError  # asv leaves the combination out
            self.solve = partial(scipy_minimize.minimize, problem, "SLSQP")
        elif functions == "plain":
            self.solve = partial(speed.solve_plain, problem)
            for _ in range(40):  # graphs are compiled once that pays
                self.solve()
        else:
            import nlsq

            self.solve = partial(nlsq.solve, speed.compiled_problem(name))
        speed.checked(problem, self.solve().x, *(speed.LOOSE if library == "scipy" else ()))

    def time_solve(self, library, functions, name):
        self.solve()


class Chain:
    """Luksan and Vlcek's problem 5.1, from plain functions to the answer; SLSQP, which is dense, on a short one."""

    params = [LIBRARIES, [50, 1_000, 10_000]]
    param_names = ["library", "n"]
    timeout = 300

    def setup(self, library, n):
        problem = luksan_vlcek.chained("lv1", n)
        if library == "scipy":
            if n > 50:
                raise NotImplementedError
            self.solve = partial(scipy_minimize.minimize, problem, "SLSQP")
        else:
            self.solve = partial(speed.solve_chain, problem)
        x = self.solve().x
        assert problem.violation(x) <= 1e-6

    def time_solve(self, library, n):
        self.solve()

    def peakmem_solve(self, library, n):
        self.solve()


class Collection:
    """How many of the constrained problems are solved, and how many feasible ones called infeasible."""

    params = [LIBRARIES]
    param_names = ["library"]
    timeout = 600

    def setup(self, library):
        solver = SOLVERS[library]
        self.counts = counts(run_all(constrained.all_problems(), (solver,))[solver])

    def track_solved(self, library):
        return self.counts["solved"]

    track_solved.unit = "problems"

    def track_false_infeasible(self, library):
        return self.counts["false infeasible"]

    track_false_infeasible.unit = "problems"


class WarmStarts:
    """Median iterations after data have changed by up to 1e-3, from the solution before; SLSQP is given its x."""

    params = [LIBRARIES, list(warm_start.FAMILIES)]
    param_names = ["library", "family"]
    timeout = 300

    def track_iterations(self, library, family):
        efforts = warm_start.family_efforts(family, SOLVERS[library])
        return median(effort.warm for effort in efforts if effort.counts)

    track_iterations.unit = "iterations"


class FirstSolve:
    """Import and one constrained solve in a process of its own."""

    params = [LIBRARIES, list(FIRST_CONSTRAINED), ["cached", "cold"]]
    param_names = ["library", "functions", "cache"]
    number, warmup_time = 1, 0
    repeat = (3, 15, 20.0)
    timeout = 300

    def setup(self, library, functions, cache):
        if library == "scipy" and (functions, cache) != ("plain", "cached"):
            raise NotImplementedError
        exec(self.code(library, functions), {})  # kernels and bytecode are on disk from here on

    def timeraw_first_solve(self, library, functions, cache):
        return (COLD_CACHE if cache == "cold" else "") + self.code(library, functions)

    def code(self, library, functions):
        return FIRST_CONSTRAINED[functions] if library == "nlsq" else SLSQP
