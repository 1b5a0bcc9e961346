"""The benchmarks of constrained problems count what they say they count, on scripted solvers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import compare, constrained_start, kkt_orderings, optimal_control, sections, startup, warm_start
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


CONSTRAINED = [
    "constrained",
    "constrained_speed",
    "warm_start",
    "kkt_orderings",
    "constrained_start",
    "optimal_control",
]


def test_sections_are_in_the_report():
    assert set(CONSTRAINED) <= set(sections.SECTIONS)


def test_changed_coefficients_are_near_and_the_same_at_each_call():
    problem = constrained.load("hs65")
    x = np.array([3.0, 2.0, 1.0])
    first, second = warm_start.changed(problem), warm_start.changed(problem)
    np.testing.assert_array_equal(first.residual(x), second.residual(x))
    for function, other in ((problem.residual, first.residual), (problem.constraints, first.constraints)):
        change = np.abs(other(x) - function(x))
        assert 0.0 < np.max(change) < 0.1
    # coefficients of r and of c differ: no change of variables undoes it
    of_residual = (first.residual(x)[2] + 5.0) / x[2]
    of_constraints = np.sqrt(48.0 - first.constraints(np.array([0.0, 0.0, 1.0]))[0])
    assert abs(of_residual - 1.0) <= 1e-3 and abs(of_constraints - 1.0) <= 1e-3
    assert abs(of_residual - of_constraints) > 1e-6
    assert first.best_cost is None


def test_families_read_their_data_where_they_change():
    for name, make in warm_start.FAMILIES.items():
        family = make()
        x = family.problem.x0 + 0.1
        values = [np.concatenate([family.problem.residual(x), family.problem.constraints(x)])]
        family.vary(np.random.default_rng(3))
        values.append(np.concatenate([family.problem.residual(x), family.problem.constraints(x)]))
        assert 0.0 < np.max(np.abs(values[1] - values[0])) < 0.01, name


def scripted_solver(cold, warm, most=99):
    """Return a solver that takes given iterations, and gives no answer after so many warm starts on end."""

    def solve(problem, before=0):
        return before + 1  # how many answers this one goes back to

    def iterations(problem, answer):
        return cold if answer == 1 else warm if answer <= most + 1 else None

    return warm_start.Solver(prepare=lambda problem: problem, solve=solve, iterations=iterations)


def test_warm_starts_begin_at_the_answer_before(monkeypatch):
    monkeypatch.setattr(warm_start, "SOLVERS", {"nlsq": scripted_solver(9, 3), "IPOPT": scripted_solver(9, 5, most=3)})
    efforts = warm_start.family_efforts("arm", "nlsq", members=4)
    assert [(effort.cold, effort.warm) for effort in efforts] == [(9, 3)] * 3
    chosen = [constrained.load(name) for name in ("hs14", "hs65", "hs2", "infeasible_disks")]
    assert [effort.problem for effort in warm_start.collection_efforts(chosen, "nlsq")] == ["hs14", "hs65"]
    ours, theirs = (warm_start.family_efforts("decay", name, members=6) for name in ("nlsq", "IPOPT"))
    row = warm_start.row_of("decay", ours, theirs)
    assert (row.measured, row.met) == ("9 -> 3 (5 of 5 solved both ways)", True)
    assert row.peer == "IPOPT 9 -> 5 (3 of 5 solved both ways)"
    assert not warm_start.row_of("decay", theirs, None).met
    assert not warm_start.row_of("decay", [warm_start.Effort(problem="p", cold=1, warm=None)], None).met


def test_a_solver_that_raises_has_not_solved():
    def broken(problem, before=None):
        raise ZeroDivisionError

    solver = warm_start.Solver(prepare=lambda problem: problem, solve=broken, iterations=lambda problem, found: 1)
    assert not warm_start.effort_on(PROBLEMS[0], PROBLEMS[0], solver).counts


def test_warm_starts_of_nlsq_and_slsqp_are_solutions():
    for solver in ("nlsq", "SLSQP"):
        for name in warm_start.FAMILIES:
            efforts = warm_start.family_efforts(name, solver, members=3)
            assert all(effort.counts for effort in efforts), (solver, name)


def test_rows_of_first_solves():
    started = []

    def run(code, environment):
        started.append(code)
        cold = code.startswith(startup.COLD_CACHE)
        return SimpleNamespace(cpu=30.0 if cold else 1.0, wall=2.0, output="0.5 0.6\n")

    section = constrained_start.section(quick=True, run=run)
    assert [row.met for row in section.rows] == [False, True] * 3
    assert section.rows[1].measured == "0.500 s CPU, 0.600 s wall after imports; 1.00 s CPU with them"
    assert len(started) == 9


def test_compiled_functions_are_timed_without_casadi(monkeypatch):
    def missing(problem, folder):
        raise Missing("casadi is not installed")
        yield

    ratio = compare.Ratio(median=1.0, lower=1.0, upper=1.0, ours=5e-5, peer=5e-5)
    monkeypatch.setattr(speed, "casadi_peers", missing)
    monkeypatch.setattr(speed, "interleaved", lambda ours, peer, pairs: ratio)
    section = speed.small_section(quick=True)
    assert [(row.measured, row.met) for row in section.rows] == [("50.00 us", False)]
    assert section.notes == ["hs14: casadi is not installed"]


def test_a_wrong_answer_is_not_timed(monkeypatch):
    monkeypatch.setattr(speed, "casadi_peers", lambda problem, folder: [("quick", lambda: problem.x0)])
    section = speed.small_section(quick=True)
    assert section.rows == []
    assert "quick, hs14: no solution" in section.notes[0]


def test_orderings_are_reported():
    section = kkt_orderings.section(quick=True)
    entries = [int(row.measured.split()[0].replace(",", "")) for row in section.rows]
    assert entries[0] < entries[1] < entries[2]


def test_steps_in_real_time_are_judged(monkeypatch):
    times = np.full(100, 30.0)
    monkeypatch.setattr(optimal_control, "Casadis", lambda *given: None)
    monkeypatch.setattr(optimal_control, "Ours", lambda *given: None)
    monkeypatch.setattr(optimal_control, "closed_loop", lambda problem, driver, steps: (times, 1, 0))
    notes = []
    one, to_the_end = (optimal_control.step_row(None, mode, 100, notes) for mode in optimal_control.MODES)
    assert not one.met  # p50
    assert not to_the_end.met  # unconverged
    assert to_the_end.required == "p99 <= 200 us, all converged"
    assert len(notes) == 2
    times[:] = 15.0
    monkeypatch.setattr(optimal_control, "closed_loop", lambda problem, driver, steps: (times, 0, 0))
    assert all(optimal_control.step_row(None, mode, 100, notes).met for mode in optimal_control.MODES)
    results = {
        "overrun": (np.array([1e9]), 0, 0),
        "allocates": (times, 8, 0),
        "falls": (times, 0, 3),
        "good": (times, 0, 0),
    }
    met = {}
    for name, (taken, allocated, size) in results.items():
        found = taken, allocated, np.full(4, float(size))
        monkeypatch.setattr(optimal_control, "long_run", lambda problem, periods, found=found: found)
        met[name] = optimal_control.long_row(None, 100).met
    assert met == {"overrun": False, "allocates": False, "falls": False, "good": True}


def test_cells_hold_no_bars(monkeypatch):
    found = np.full(3, 15.0), 0, np.zeros(4)
    monkeypatch.setattr(optimal_control, "long_run", lambda problem, periods: found)
    row = optimal_control.long_row(None, 3)
    assert "|" not in row.what + row.required + row.measured
