"""The constrained problems are those of the books, and the judge of answers is right."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import casadi_nlp, scipy_minimize
from benchmarks.problems import constrained
from benchmarks.problems.constrained import luksan_vlcek
from benchmarks.problems.constrained.judge import derivatives, judge, violation_gradient

FOLDER = Path(constrained.__file__).parent
ROOT2, ROOT3, ROOT7 = np.sqrt([2.0, 3.0, 7.0])

# Solutions that the books print, to their digits.
SOLUTIONS = {
    "hs1": [1.0, 1.0],
    "hs2": [1.22437075, 1.5],
    "hs6": [1.0, 1.0],
    "hs11": [1.234773, 1.524665],
    "hs13": [1.0, 0.0],
    "hs14": [0.5 * (ROOT7 - 1.0), 0.25 * (ROOT7 + 1.0)],
    "hs15": [0.5, 2.0],
    "hs16": [0.5, 0.25],
    "hs17": [0.0, 0.0],
    "hs18": [np.sqrt(250.0), np.sqrt(2.5)],
    "hs20": [0.5, 0.5 * ROOT3],
    "hs21": [2.0, 0.0],
    "hs22": [1.0, 1.0],
    "hs23": [1.0, 1.0],
    "hs25": [50.0, 25.0, 1.5],
    "hs26": [1.0, 1.0, 1.0],
    "hs27": [-1.0, 1.0, 0.0],
    "hs28": [0.5, -0.5, 0.5],
    "hs30": [1.0, 0.0, 0.0],
    "hs31": [1.0 / ROOT3, ROOT3, 0.0],
    "hs32": [0.0, 0.0, 1.0],
    "hs35": [4.0 / 3.0, 7.0 / 9.0, 4.0 / 9.0],
    "hs38": [1.0, 1.0, 1.0, 1.0],
    "hs42": [2.0, 2.0, 0.6 * ROOT2, 0.8 * ROOT2],
    "hs43": [0.0, 1.0, 2.0, -1.0],
    "hs46": [1.0] * 5,
    "hs48": [1.0] * 5,
    "hs49": [1.0] * 5,
    "hs50": [1.0] * 5,
    "hs51": [1.0] * 5,
    "hs52": np.array([-33.0, 11.0, 180.0, -158.0, 11.0]) / 349.0,
    "hs53": np.array([-33.0, 11.0, 27.0, -5.0, 11.0]) / 43.0,
    "hs57": [0.419952675, 1.284845629],
    "hs60": [1.104859024, 1.196674194, 1.535262257],
    "hs61": [5.326770157, -2.118998639, 3.210464239],
    "hs65": [3.650461821, 3.650461821, 4.6204170507],
    "hs70": [12.27695, 4.631788, 0.3128625, 2.029290],
    "hs77": [1.166172, 1.182111, 1.380257, 1.506036, 0.6109203],
    "hs79": [1.191127, 1.362603, 1.472818, 1.635017, 1.679081],
    "hs113": [2.171996, 2.363683, 8.773926, 5.095984, 0.9906548, 1.430574, 1.321644, 9.828726, 8.280092, 8.375927],
    "s227": [1.0, 1.0],
    "s252": [-1.0, 1.0, 0.0],
}
ROUNDED = {"ellipse_orthogonal": 1e-4, "s323": 2e-6}  # published with few digits
PROBLEMS = constrained.all_problems()
FEASIBLE = [problem for problem in PROBLEMS if problem.feasible]


def by_name(problem):
    return problem.name


def listed():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (.+) \|$", text, re.MULTILINE)
    return {name: (int(n), int(m), int(mc), source) for name, n, m, mc, source in rows}


def test_all_that_was_listed_is_there():
    assert {p.name: (p.n, p.m, p.mc) for p in PROBLEMS} == {name: row[:3] for name, row in listed().items()}


def test_sources_are_those_of_the_list():
    assert {p.name: p.source for p in PROBLEMS} == {name: row[3] for name, row in listed().items()}


def test_nothing_here_imports_nlsq():
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "nlsq"], path


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_limits_and_start_make_sense(problem):
    assert np.all(problem.lb <= problem.ub) and np.all(problem.cl <= problem.cu)
    assert np.isfinite(problem.residual(problem.x0)).all() and np.isfinite(problem.c(problem.x0)).all()
    assert not problem.x0.flags.writeable


@pytest.mark.parametrize("name", SOLUTIONS)
def test_published_solution(name):
    problem, x = constrained.load(name), np.array(SOLUTIONS[name])
    assert problem.violation(x) <= 1e-4
    assert 2.0 * problem.cost(x) == pytest.approx(problem.published, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("problem", [p for p in FEASIBLE if p.published is not None], ids=by_name)
def test_recorded_minimum_is_the_published(problem):
    relative = ROUNDED.get(problem.name, 1e-6)
    assert 2.0 * problem.best_cost == pytest.approx(problem.published, rel=relative, abs=1e-9)


def test_every_feasible_problem_has_a_recorded_minimum():
    assert [p.name for p in FEASIBLE if p.best_cost is None] == []
    assert [p.name for p in FEASIBLE if p.reached_cost is not None and p.reached_cost < p.best_cost] == []
    assert {p.name for p in FEASIBLE if p.reached_cost is None} <= {"saddle_start", "consistent_overdetermined"}
    assert [p.name for p in PROBLEMS if not p.feasible and p.best_cost is not None] == []
    assert sum(not p.feasible for p in PROBLEMS) == 5


@pytest.mark.parametrize("name", luksan_vlcek.chain_names())
def test_chains_have_any_size(name):
    small = luksan_vlcek.chained(name)
    large = luksan_vlcek.chained(name, small.n + 12)
    assert large.n == small.n + 12
    assert large.m > small.m
    assert large.mc - small.mc in (12, 8, 9, 0)
    assert np.array_equal(large.x0[: small.n], small.x0)


def banded_by_the_book(x):
    """Return the constraints of problem 5.2 with the indices of the report, which begin at 1."""
    n = x.size
    at = lambda i: x[i - 1]
    return [
        (2 + 5 * at(k + 5) ** 2) * at(k + 5) + 1 + sum(at(i) * (1 + at(i)) for i in range(max(k - 5, 1), k + 2))
        for k in range(1, n - 6)
    ]


def test_banded_constraints_follow_the_book():
    x = np.sin(np.arange(20.0))
    assert luksan_vlcek.broyden_banded(x) == pytest.approx(np.array(banded_by_the_book(x)), rel=1e-14)


# Functions on symbols


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.n <= 60], ids=by_name)
def test_symbols_give_the_same_values(problem):
    pytest.importorskip("casadi")
    r, c = casadi_nlp.functions(problem)
    x = np.clip(problem.x0 + 0.01 * np.cos(np.arange(problem.n)), problem.lb, problem.ub)
    for function, value in ((r, problem.residual(x)), (c, problem.c(x))):
        scale = np.max(np.abs(value), initial=1.0)
        assert np.array(function(x)).ravel() == pytest.approx(value, rel=1e-12, abs=1e-12 * scale)


# The judge


def test_complex_steps_are_exact():
    problem = constrained.load("hs79")
    x, h = problem.x0, 1e-5
    differences = [(problem.c(x + h * e) - problem.c(x - h * e)) / (2.0 * h) for e in np.eye(5)]
    assert derivatives(problem.constraints, x) == pytest.approx(np.stack(differences, axis=1), rel=1e-7, abs=1e-7)


def test_judge_accepts_the_solution_with_its_multipliers():
    problem = constrained.load("hs14")
    x = np.array(SOLUTIONS["hs14"])
    a, g = derivatives(problem.constraints, x), x - np.array([2.0, 1.0])
    y = np.linalg.solve(a.T, -g)
    good = judge(problem, x, y, np.zeros(2), np.zeros(2))
    assert good.is_solved and good.is_best and good.dual < 1e-12
    assert judge(problem, x).is_solved  # and finds multipliers when there are none
    bad = judge(problem, x, np.array([1.0, -1.0]) * y, np.zeros(2), np.zeros(2))
    assert bad.is_feasible and not bad.is_kkt


def test_judge_wants_signs():
    """At the lower bound of HS2 a negative multiplier would hold the point that slides along the upper side."""
    problem = constrained.load("hs2")
    x = np.array([SOLUTIONS["hs2"][0], 1.5])
    assert judge(problem, x).dual < 1e-6
    g = derivatives(problem.residual, x).T @ problem.residual(x)
    assert judge(problem, x, np.zeros(0), np.array([0.0, g[1]]), np.zeros(2)).is_kkt
    assert not judge(problem, x, np.zeros(0), np.zeros(2), np.array([0.0, -g[1]])).is_kkt


def test_judge_wants_complementarity():
    """A stationary point of the cost, inside, with a multiplier that its distant limit cannot have."""
    problem = constrained.load("hs65")
    x = np.array([3.0, 3.0, 3.0])
    a, g = derivatives(problem.constraints, x), derivatives(problem.residual, x).T @ problem.residual(x)
    verdict = judge(problem, x, np.array([-1.0]), np.maximum(g - a[0], 0.0), np.maximum(a[0] - g, 0.0))
    assert verdict.dual < 1e-12 and verdict.is_feasible
    assert not verdict.is_kkt


def test_judge_of_points_outside_and_undefined():
    problem = constrained.load("hs65")
    assert judge(problem, [4.6, 4.5, 0.0]).violation == pytest.approx(0.1 / 4.5)
    assert not judge(problem, [np.nan, 0.0, 0.0]).is_feasible


def test_local_minimum_is_neither_best_nor_reached():
    problem = constrained.load("hs2")
    x = np.array([-1.2210262, 1.5])
    verdict = judge(problem, x)
    assert verdict.cost == pytest.approx(problem.local_costs[0], rel=1e-6)
    assert not verdict.is_best and not verdict.is_reached


def test_rounding_of_x_is_no_violation():
    problem = constrained.load("bad_scaling")
    x = np.array([2.0 + 4e-16, 2.0, 0.6 * ROOT2, 0.8 * ROOT2])
    assert problem.violation(x) > 1e-6
    assert judge(problem, x).violation < 1e-6
    assert judge(problem, x + np.array([1e-12, 0.0, 0.0, 0.0])).violation > 1e-3


def test_stationary_points_of_the_violation():
    problem = constrained.load("infeasible_disks")
    assert violation_gradient(problem, np.array([2.0, 0.0])) < 1e-14
    assert violation_gradient(problem, np.array([1.0, 0.5])) > 1e-2
    circle = constrained.load("infeasible_circle_line")
    assert violation_gradient(circle, np.full(2, np.sqrt(0.5))) < 1e-12  # least in the sum of sizes
    assert violation_gradient(circle, np.array([0.6, 0.8])) > 1e-2  # on the circle too, but not the least
    simplex = constrained.load("infeasible_simplex")
    assert violation_gradient(simplex, np.zeros(3)) == 0.0  # bounds hold it
    assert violation_gradient(constrained.load("hs14"), np.array(SOLUTIONS["hs14"])) < 1e-14


@pytest.mark.parametrize("name", ["infeasible_circle_line", "infeasible_parallel", "infeasible_sphere"])
def test_infeasible_problems_have_a_least_violation(name):
    """No point of a grid comes near to keeping the constraints."""
    problem = constrained.load(name)
    grid = np.linspace(-4.0, 4.0, 41)
    assert min(problem.violation(np.array([a, b])) for a in grid for b in grid) > 0.1


# Peers


def test_ipopt_through_casadi():
    pytest.importorskip("casadi")
    problem = constrained.load("hs65")
    outcome = casadi_nlp.ipopt(problem)
    verdict = judge(problem, outcome.x, outcome.y, outcome.zl, outcome.zu)
    assert outcome.claim == "solved" and verdict.is_solved
    assert outcome.evaluations > outcome.iterations > 0


def test_infeasible_is_said_through_casadi():
    pytest.importorskip("casadi")
    problem = constrained.load("infeasible_circle_line")
    outcome = casadi_nlp.ipopt(problem)
    assert outcome.claim == "infeasible"
    assert violation_gradient(problem, outcome.x) < 1e-4


def test_slsqp_with_exact_derivatives():
    problem = constrained.load("hs65")
    outcome = scipy_minimize.minimize(problem, "SLSQP", derivatives=derivatives, ftol=1e-12)
    assert outcome.claim == "solved"
    assert judge(problem, outcome.x).is_solved


def test_missing_casadi_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "casadi", None)
    with pytest.raises(casadi_nlp.Missing, match="casadi is not installed"):
        casadi_nlp.ipopt(constrained.load("hs14"))
