r"""Constrained and bounded problems: ``minimise 1/2 ||r(x)||^2  subject to  lb <= x <= ub,  cl <= c(x) <= cu``.

README.md lists all of them with sizes and sources; it was committed before any was solved. Functions are plain numpy
as a user would write them; `benchmarks.peers` runs the same functions on symbols. What is known about the minima is
in best_values.json, made by ``python -m benchmarks.constrained_minima``, never from nlsq.

====================== ======================================================================================
module                 contents
====================== ======================================================================================
``hock_schittkowski``  problems of the book of 1981 whose objective is a sum of squares
``schittkowski``       those of the book of 1987
``luksan_vlcek``       equality-constrained chains of any size
``fitted_curves``      More-Garbow-Hillstrom and NIST with constraints on their parameters
``geometry``           circles, ellipses, planes, rectangles and rotations
``regression``         shapes, given values, proportions, errors in both variables
``process``            chemical equilibrium, data reconciliation, state of an electric network
``optimal_control``    transcribed motions
``parameter_estimation`` differential equations, collocated
``distances``          arms, sensor networks, molecules
``degenerate``         what theory does not allow, and what has no solution
``judge``              an independent verdict on an answer
====================== ======================================================================================
"""

import functools
import json
from dataclasses import replace
from pathlib import Path

from . import (
    degenerate,
    distances,
    fitted_curves,
    geometry,
    hock_schittkowski,
    luksan_vlcek,
    optimal_control,
    parameter_estimation,
    process,
    regression,
    schittkowski,
)
from .problem import ConstrainedProblem

__all__ = ["BEST_VALUES", "ConstrainedProblem", "all_problems", "load", "names"]

BEST_VALUES = Path(__file__).parent / "best_values.json"
MODULES = (
    hock_schittkowski,
    schittkowski,
    luksan_vlcek,
    fitted_curves,
    geometry,
    regression,
    process,
    optimal_control,
    parameter_estimation,
    distances,
    degenerate,
)


def names():
    """Return the names of the problems."""
    return tuple(_problems())


def load(name):
    """Return the problem called `name`; KeyError when there is none."""
    return _problems()[name]


def all_problems():
    """Return every problem, the infeasible ones last."""
    return tuple(_problems().values())


@functools.cache
def _problems():
    """Return every problem by name, with what is known about its minima."""
    known = json.loads(BEST_VALUES.read_text(encoding="utf-8")) if BEST_VALUES.exists() else {}
    return {problem.name: _with_minima(problem, known) for module in MODULES for problem in module.problems()}


def _with_minima(problem, known):
    """Return the problem with its best cost and the costs of other local minima."""
    entry = known.get(problem.name)
    if entry is None or not problem.feasible:
        return problem
    costs = {key: entry[key] for key in ("best_cost", "reached_cost")}
    return replace(problem, **costs, local_costs=tuple(entry["local_costs"]))
