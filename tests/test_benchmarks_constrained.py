"""The benchmarks of constrained problems count what they say they count, on scripted solvers."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import constrained as runner
from benchmarks import constrained_speed as speed
from benchmarks.peers.outcome import Missing, Outcome
from benchmarks.problems import constrained

HS14 = np.array([0.5 * (np.sqrt(7.0) - 1.0), 0.25 * (np.sqrt(7.0) + 1.0)])


def outcome(x, claim="solved", evaluations=10):
    counts = {"evaluations": evaluations, "iterations": 5, "seconds": 0.5}
    return Outcome(solver="scripted", status="said", claim=claim, x=np.array(x, dtype=float), **counts)


def scripted(monkeypatch, **answers):
    """Let every solver named give the outcome that a table of answers has for a problem."""
    solvers = {solver: lambda problem, table=table: table[problem.name] for solver, table in answers.items()}
    monkeypatch.setattr(runner, "SOLVERS", solvers)


PROBLEMS = [constrained.load(name) for name in ("hs14", "hs2", "infeasible_disks")]
RIGHT = {
    "hs14": outcome(HS14),
    "hs2": outcome([1.2243707487363569, 1.5]),
    "infeasible_disks": outcome([2.0, 0.0], "infeasible"),
}
WRONG = {
    "hs14": outcome([0.0, 0.0], "infeasible"),  # which keeps no equality, but is no stationary point of that
    "hs2": outcome([-1.2210262421071014, 1.5], evaluations=40),  # a local minimum
    "infeasible_disks": outcome([2.0, 0.0], "solved"),
}


def test_counts(monkeypatch):
    scripted(monkeypatch, right=RIGHT, wrong=WRONG)
    runs = runner.run_all(PROBLEMS, ("right", "wrong"))
    right, wrong = runner.counts(runs["right"]), runner.counts(runs["wrong"])
    assert right["solved"] == right["best known"] == right["KKT"] == right["claimed"] == 2
    assert right["false"] == right["false infeasible"] == 0
    assert right["infeasible"] == 1
    assert wrong["solved"] == 0
    assert wrong["KKT"] == 1
    assert wrong["claimed"] == 2
    assert wrong["false"] == 1
    assert wrong["false infeasible"] == wrong["without proof"] == 1
    assert wrong["infeasible"] == 0


def test_an_answer_not_claimed_is_not_solved(monkeypatch):
    scripted(monkeypatch, modest={"hs14": outcome(HS14, "failed")})
    (entry,) = runner.run_all(PROBLEMS[:1], ("modest",))["modest"]
    assert entry.verdict.is_solved and not entry.is_solved


def test_what_peers_reach_from_the_start_is_not_always_the_best_known(monkeypatch):
    scripted(monkeypatch, local=WRONG)
    problem = replace(PROBLEMS[1], reached_cost=PROBLEMS[1].local_costs[0])
    counted = runner.counts(runner.run_all([problem], ("local",))["local"])
    assert counted["solved"] == 1
    assert counted["best known"] == 0


def test_evaluations_are_compared_where_both_solve(monkeypatch):
    twice = RIGHT | {"hs14": outcome(HS14, evaluations=20)}
    scripted(monkeypatch, right=RIGHT, twice=twice, wrong=WRONG)
    runs = runner.run_all(PROBLEMS, ("right", "twice", "wrong"))
    ratio, both = runner.evaluation_ratio(runs["twice"], runs["right"])
    assert both == 2
    assert ratio == pytest.approx(np.sqrt(2.0))
    assert runner.evaluation_ratio(runs["wrong"], runs["right"])[1] == 0


def test_a_solver_that_raises_has_failed(monkeypatch):
    def broken(problem):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(runner, "SOLVERS", {"broken": broken})
    entry = runner.run(PROBLEMS[0], "broken")
    assert entry.outcome.claim == "failed"
    assert "ZeroDivisionError" in str(entry)


def test_a_missing_peer_is_left_out_with_the_reason(monkeypatch):
    def missing(problem):
        raise Missing("it is not installed")

    shown = []
    solvers = {"missing": missing, "right": lambda problem: RIGHT[problem.name]}
    monkeypatch.setattr(runner, "SOLVERS", solvers)
    runs = runner.run_all(PROBLEMS, ("missing", "right"), shown.append)
    assert set(runs) == {"right"}
    assert any("it is not installed" in line for line in shown)


def test_rows_of_the_report(monkeypatch):
    better = ("nlsq", "nlsq first derivatives", "nlsq own jac", "IPOPT exact")
    scripted(monkeypatch, **dict.fromkeys(better, RIGHT), **{"IPOPT L-BFGS": WRONG, "SLSQP": WRONG})
    section = runner.section_of(runner.run_all(PROBLEMS, runner.DEFAULT))
    assert [row.met for row in section.rows if row.met is not None] == [True] * 4
    scripted(monkeypatch, **dict.fromkeys(runner.DEFAULT, WRONG) | {"IPOPT exact": RIGHT})
    section = runner.section_of(runner.run_all(PROBLEMS, runner.DEFAULT))
    assert [row.met for row in section.rows if row.met is not None] == [False] * 4
    assert any("hs14" in note for note in section.notes)


def test_the_summary_names_every_solver(monkeypatch):
    scripted(monkeypatch, right=RIGHT, **{"IPOPT exact": RIGHT})
    lines = runner.summary(runner.run_all(PROBLEMS, ("right", "IPOPT exact")))
    assert lines[0] == "2 feasible problems, 1 infeasible"
    assert "evaluations 1.00 x IPOPT's on 2" in lines[1]


@pytest.mark.parametrize("name", speed.SMALL)
def test_timed_functions_are_those_of_the_collection(name):
    problem = constrained.load(name)
    x = problem.x0 + 0.1 * np.arange(problem.n)
    residual, constraints = speed.FUNCTIONS[name]
    assert residual(x) == pytest.approx(problem.residual(x), rel=1e-14)
    assert constraints(x) == pytest.approx(problem.constraints(x), rel=1e-14)


def test_what_is_timed_must_be_a_solution():
    problem = constrained.load("hs14")
    assert speed.checked(problem, HS14) is HS14
    with pytest.raises(RuntimeError, match="no solution"):
        speed.checked(problem, HS14 + 0.01)


def test_the_chain_of_casadi_is_that_of_the_collection():
    casadi = pytest.importorskip("casadi")
    problem = constrained.luksan_vlcek.chained("lv1", 12)
    form = speed.chained_in_casadi(12)
    x = np.sin(np.arange(12.0))
    f = casadi.Function("f", [form["x"]], [form["f"], form["g"]])
    cost, c = f(x)
    assert float(cost) == pytest.approx(problem.cost(x), rel=1e-13)
    assert np.array(c).ravel() == pytest.approx(problem.c(x), rel=1e-12)


def test_generated_code_solves_again_at_every_call(tmp_path):
    pytest.importorskip("casadi")
    try:
        function = speed.generated(constrained.load("hs14"), tmp_path)
    except Missing as reason:
        pytest.skip(str(reason))
    run = speed.through_buffers(function, constrained.load("hs14"))
    first = run().copy()
    run.keeps[2]["x0"][:] = 0.5  # another start
    again = run().copy()
    assert first == pytest.approx(HS14, abs=1e-6)
    assert again == pytest.approx(HS14, abs=1e-6)
    assert not np.array_equal(first, again)
