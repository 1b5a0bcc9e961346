"""The one loop, with a scripted solver in its place: what it tells whom, in which order, and what stops it."""

import numpy as np
import pytest

from nlsq import LeastSquaresProblem, LevenbergMarquardt, Status, Tolerances, solve
from nlsq.kernels import layout
from nlsq.solvers import drive
from nlsq.solvers.workspace import Workspace
from nlsq.status import Counters, SolveResult, StepReport

SOLVED, GO_ON = Status.OPTIMALITY, Status.RUNNING


def report(nit, accepted, cost):
    return StepReport(
        nit=nit, x=np.array([float(nit)]), cost=cost, optimality=1.0, step_norm=1.0, cost_reduction=1.0, gain_ratio=1.0,
        accepted=accepted, nfev=nit + 1, njev=1,
    )  # fmt: skip


class ScriptedState:
    """Plays a list of (accepted, status); an entry None is an advance that judges nothing."""

    by_address = False

    def __init__(self, problem, script):
        self.problem, self.script, self.status = problem, list(script), GO_ON
        self.space = Workspace(1, 1)
        self.iw, self.w = self.space.iw, self.space.w
        self.nit, self.accepted = 0, False

    def report(self):
        return report(self.nit, self.accepted, 1.0 / (1 + self.nit))

    def result(self):
        return SolveResult(
            x=np.array([float(self.nit)]), cost=0.0, residual=np.zeros(1), jac=np.zeros((1, 1)), gradient=np.zeros(1),
            optimality=0.0, active_mask=np.zeros(1, dtype=int), status=Status(self.status), nfev=0, nfev_jac=0, njev=0,
            nit=self.nit,
        )  # fmt: skip


class Scripted:
    def __init__(self, script):
        self.script, self.tolerances, self.limit = script, None, None

    def start(self, problem, tolerances, max_evaluations):
        self.tolerances, self.limit = tolerances, max_evaluations
        problem.counters = Counters(nfev=1)
        return ScriptedState(problem, self.script)

    def advance(self, problem, state):
        entry = state.script.pop(0)
        if entry is None:
            state.status = SOLVED
            return
        problem.counters.nfev += 1
        state.accepted, state.status = entry
        state.nit += state.accepted


STEPS = [(True, GO_ON), (False, GO_ON), (True, GO_ON), (True, SOLVED)]


def run(script=STEPS, tolerances=None, **arguments):
    solver = Scripted(script)
    problem = LeastSquaresProblem(lambda x: x, [1.0])
    return drive(problem, solver, tolerances or Tolerances(), **arguments), solver


def test_runs_to_the_end_of_the_script():
    result, solver = run()
    assert result.status == SOLVED
    assert result.nit == 3
    assert result.history is None
    assert solver.limit is None
    assert solver.tolerances == Tolerances()


def test_limit_and_tolerances_reach_the_solver():
    tolerances = Tolerances(cost=1e-3)
    _, solver = run(tolerances=tolerances, max_evaluations=7)
    assert solver.limit == 7
    assert solver.tolerances is tolerances


def test_callback_hears_of_accepted_steps_only_and_history_of_all():
    heard = []
    result, _ = run(callback=heard.append, history=True)
    assert [r.nit for r in heard] == [1, 2, 3]
    assert [r.accepted for r in result.history] == [True, False, True, True]


def test_advance_that_judges_nothing_is_no_step():
    heard = []
    result, _ = run([(True, GO_ON), None], callback=heard.append, history=True)
    assert result.status == SOLVED
    assert len(heard) == len(result.history) == 1


def test_callback_stops_at_once_but_does_not_overrule_convergence():
    result, _ = run(callback=lambda r: r.nit == 2)
    assert result.status == Status.CALLBACK
    assert result.nit == 2
    result, _ = run(callback=lambda r: r.nit == 3)
    assert result.status == SOLVED


def test_time_limit_is_looked_at_after_each_step(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    result, _ = run(time_limit=2.5)
    assert result.status == Status.TIME_LIMIT
    assert result.nit == 2


class Own:
    """A termination of the user's own."""

    def __init__(self, after):
        self.after, self.seen = after, []

    def check(self, report, counters):
        self.seen.append((report.nit, report.accepted, counters.nfev))
        return Status.STEP if len(self.seen) == self.after else Status.RUNNING


def test_own_termination_judges_every_report_and_switches_the_tests_off():
    own = Own(3)
    result, solver = run(tolerances=own)
    assert result.status == Status.STEP
    assert own.seen == [(1, True, 2), (1, False, 3), (2, True, 4)]
    assert solver.tolerances == Tolerances(cost=None, step=None, optimality=None)


def test_own_termination_on_a_real_problem():
    residual = lambda x: np.array([1.0 - x[0], 10.0 * (x[1] - x[0] ** 2)])
    result = solve(LeastSquaresProblem(residual, [-1.2, 1.0]), tolerances=Own(4))
    assert result.status == Status.STEP
    assert result.nfev == 5


def test_progress_prints_a_line_per_judged_step(capsys):
    run(progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("rejected")
    assert "cost 5.00000000e-01" in lines[0]


def test_nothing_is_printed_unless_asked(capsys):
    solve(LeastSquaresProblem(lambda x: x - 3.0, [1.0]))
    assert capsys.readouterr() == ("", "")


# Tolerances


@pytest.mark.parametrize(
    "arguments", [{"cost": -1.0}, {"step": float("nan")}, {"optimality": -1e-9}, {"rule": "matlab"}], ids=str
)
def test_tolerances_are_checked(arguments):
    with pytest.raises(ValueError, match="tolerances: " + next(iter(arguments))):
        Tolerances(**arguments)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("name", ["cost", "step", "optimality"])
def test_each_tolerance_works_alone_and_tighter_ones_take_longer(name, tolerance):
    x = np.linspace(0.0, 4.0, 40)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + 0.1 * np.sin(37.0 * x)
    residual = lambda p: p[0] * np.exp(-p[1] * x) + p[2] - y
    off = {"cost": None, "step": None, "optimality": None}

    def evaluations(value):
        problem = LeastSquaresProblem(residual, [1.0, 1.0, 0.0], jac="3-point")
        result = solve(problem, LevenbergMarquardt(), tolerances=Tolerances(**(off | {name: value})))
        assert result.converged or result.status in (Status.COST_FLOOR, Status.STEP_FLOOR, Status.OPTIMALITY_FLOOR)
        return result.nfev

    assert evaluations(tolerance) >= evaluations(1e-2)


def test_default_limit_of_evaluations():
    wild = lambda x: np.array([np.sin(1e6 * x[0]) + 2.0, np.cos(1e6 * x[0]) + 2.0])
    result = solve(LeastSquaresProblem(wild, [0.1]), "gauss-newton")
    assert result.nfev <= 2000


# Seams: damping and line search write themselves into the workspace


def test_options_are_checked_where_they_are_made():
    from nlsq import MoreRadius
    from nlsq.solvers import FixedLength

    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="factor must be positive"):
            MoreRadius(factor=bad)
        with pytest.raises(ValueError, match="length must be positive"):
            FixedLength(length=bad)


def test_workspace_views_do_not_overlap():
    """Fill every part with its own number: each must read back, and all the memory is used."""
    m, n = 5, 3
    space = Workspace(m, n)
    parts = [space.w[: layout.HEADER]]
    parts += [space.vector(k) for k in range(layout.VECTORS)]
    parts += [space.residual_vector(k) for k in range(layout.RESIDUALS)]
    parts += [space.matrix(k).reshape(-1) for k in range(layout.MATRICES)]
    parts.append(space.jac_t.reshape(-1))
    for number, part in enumerate(parts):
        part[:] = number
    assert all(np.all(part == number) for number, part in enumerate(parts))
    qr = (n + 1) * (m + n)
    assert sum(part.size for part in parts) + qr == space.w.size
    assert np.shares_memory(space.x, space.vector(layout.X))
    assert np.shares_memory(space.residual_new, space.residual_vector(layout.RESIDUAL_NEW))


def test_layout_kernels_agree_with_the_views():
    m, n = 5, 3
    space = Workspace(m, n)
    space.w[:] = np.arange(space.w.size)
    for k in range(layout.VECTORS):
        assert layout.vector(space.w, space.iw, k)[0] == space.vector(k)[0]
    for k in range(layout.RESIDUALS):
        assert layout.residual_vector(space.w, space.iw, k)[0] == space.residual_vector(k)[0]
    for k in range(layout.MATRICES):
        assert layout.matrix(space.w, space.iw, k)[0] == space.matrix(k)[0, 0]
    assert layout.jacobian(space.w, space.iw)[0] == space.jac_t[0, 0]
    assert layout.qr_work(space.w, space.iw).size == (n + 1) * (m + n)
