"""The benchmarks run, and what they measure with is right: on scripted clocks and scripted outcomes."""

import importlib
import inspect
import pkgutil
from types import SimpleNamespace

import numpy as np
import pytest

import benchmarks
from benchmarks import accuracy, compare, contraction, libraries, report, rows, sections, startup
from benchmarks.problems import bounded, constrained, nist, robust
from benchmarks.problems import more_garbow_hillstrom as mgh

MODULES = sorted(name for _, name, _ in pkgutil.iter_modules(benchmarks.__path__) if name.startswith("bench_"))
KINDS = ("time_", "peakmem_", "track_", "timeraw_")


def suites():
    """Return every class of the asv suite."""
    modules = [importlib.import_module(f"benchmarks.{name}") for name in MODULES]
    return [
        suite
        for module in modules
        for suite in vars(module).values()
        if inspect.isclass(suite) and suite.__module__ == module.__name__
    ]


def combinations(suite):
    """Return the first combination of parameters for each library, which is the first parameter."""
    libraries, *others = suite.params if isinstance(suite.params[0], list) else [suite.params]
    return [(library, *(values[0] for values in others)) for library in libraries]


@pytest.fixture
def few_problems(monkeypatch):
    """Two or three problems of each collection in place of all."""
    monkeypatch.setattr(nist, "all_problems", lambda: tuple(map(nist.load, ("Misra1a", "DanWood"))))
    monkeypatch.setattr(mgh, "cases", lambda: ((mgh.load("rosenbrock"), 1.0), (mgh.load("bard"), 10.0)))
    some = tuple(map(bounded.load, ("hs1", "bard")))
    monkeypatch.setattr(bounded, "all_problems", lambda: some)
    few = tuple(map(constrained.load, ("hs14", "hs65", "infeasible_disks")))
    monkeypatch.setattr(constrained, "all_problems", lambda: few)
    lines = (robust.line(),)
    monkeypatch.setattr(robust, "all_problems", lambda: lines)


class TestSuites:
    """asv's classes."""

    def test_all_are_found(self):
        assert len(MODULES) == 16
        assert len(suites()) == 35

    @pytest.mark.parametrize("suite", suites(), ids=lambda suite: suite.__name__)
    def test_every_benchmark_runs_once(self, suite, few_problems):
        for parameters in combinations(suite):
            instance = suite()
            if hasattr(instance, "setup"):
                instance.setup(*parameters)
            for name in dir(instance):
                if name.startswith(KINDS):
                    returned = getattr(instance, name)(*parameters)
                    if name.startswith("track_"):
                        assert np.isfinite(returned)
                        assert getattr(instance, name).unit
                    if name.startswith("timeraw_"):
                        compile(returned, name, "exec")

    @pytest.mark.parametrize("suite", suites(), ids=lambda suite: suite.__name__)
    def test_peer_is_measured_in_the_same_run(self, suite):
        libraries = {parameters[0] for parameters in combinations(suite)}
        assert {"nlsq", "scipy"} <= libraries or {"nlsq", "numpy"} == libraries
        assert suite.param_names[0] == "library"

    @pytest.mark.parametrize(
        ("name", "kind", "curve"), [("curve_fit", "model", "gaussian"), ("leastsq", "residual", "misra1a")]
    )
    def test_route_by_address_gives_the_plain_answer(self, name, kind, curve):
        compiled = libraries.by_address(curve, kind)
        plain, fast = sections.fit_of("scipy", name, curve), sections.fit_of("nlsq", name, curve, compiled)
        np.testing.assert_allclose(fast.run()[0], plain.run()[0], rtol=1e-4)


class Clock:
    """A clock that moves only when a call says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def lasting(self, *seconds):
        """Return a function whose calls take these times, again and again."""
        turn = iter(range(10**9))

        def call():
            self.now += seconds[next(turn) % len(seconds)]

        return call


class TestTiming:
    """Interleaved timing, on a clock of ours."""

    def test_ratio_of_constant_times(self):
        clock = Clock()
        ratio = compare.interleaved(clock.lasting(0.5), clock.lasting(2.0), pairs=5, sample=1.0, clock=clock)
        assert (ratio.median, ratio.lower, ratio.upper) == pytest.approx((4.0, 4.0, 4.0))
        assert (ratio.ours, ratio.peer) == pytest.approx((0.5, 2.0))

    def test_samples_alternate(self):
        clock, order = Clock(), []

        def member(name):
            def call():
                order.append(name)
                clock.now += 1.0

            return call

        compare.interleaved(member("a"), member("b"), pairs=3, sample=1.0, clock=clock)
        assert "".join(order) == "aaabbb" + "ab" + "ba" + "ab"  # the first six warm up and count

    def test_drift_cancels_in_the_ratio(self):
        clock = Clock()

        def member(seconds):
            def call():
                clock.now += seconds * (1.0 + 1e-3 * clock.now)  # the machine slows down all the time

            return call

        ratio = compare.interleaved(member(0.1), member(0.3), pairs=50, sample=0.3, clock=clock)
        assert ratio.median == pytest.approx(3.0, rel=0.01)

    def test_loops_fill_a_sample(self):
        clock = Clock()
        assert compare.loops_for(clock.lasting(0.01), 1.0, clock) == pytest.approx(105, abs=5)
        assert compare.loops_for(clock.lasting(5.0), 1.0, clock) == 1

    def test_slow_first_call_does_not_count(self):
        clock = Clock()
        assert compare.loops_for(clock.lasting(100.0, *[0.01] * 1000), 1.0, clock) == pytest.approx(105, abs=5)

    def test_garbage_collection_is_restored_when_a_call_raises(self):
        import gc

        clock, calls = Clock(), []

        def fails():
            calls.append(None)
            clock.now += 1.0
            if len(calls) > 1:
                raise KeyError

        with pytest.raises(KeyError):
            compare.interleaved(fails, clock.lasting(1.0), pairs=3, sample=1.0, clock=clock)
        assert gc.isenabled()

    def test_ratio_has_quartiles_of_pairs(self):
        ratio = compare.ratio_of([1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0, 100.0])
        assert (ratio.lower, ratio.median, ratio.upper) == (2.0, 3.0, 4.0)
        assert compare.ratio_of([1.0], [2.0]).median == 2.0


class TestFreshProcesses:
    """Child processes."""

    def test_usage_and_output(self):
        usage = compare.fresh(
            "import os, sys; print(os.environ['MARK'], os.environ['OMP_NUM_THREADS']); print('e', file=sys.stderr)",
            {"MARK": "m"},
        )
        assert usage.output.split() == ["m", "1"]
        assert usage.errors.split() == ["e"]
        assert 0.0 < usage.cpu
        assert 0.0 < usage.wall < 30.0

    def test_failure_shows_the_childs_error(self):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            compare.fresh("1 / 0")

    def test_pairs_alternate_after_one_run_each(self):
        order = []

        def run(code, environment):
            order.append(code)
            return SimpleNamespace(cpu={"ours": 2.0, "peer": 3.0}[code])

        ratio = compare.fresh_pairs("ours", "peer", pairs=2, run=run)
        assert ratio.median == pytest.approx(1.5)
        assert order == ["ours", "peer", "ours", "peer", "peer", "ours"]

    def test_code_for_fresh_processes_is_valid(self):
        codes = [*startup.FIRST_FIT.values(), *startup.IMPORT.values(), *startup.FIRST_CONSTRAINED.values()]
        for code in (*codes, startup.IMPORT_TIMES, startup.PRECOMPILE, startup.SLSQP):
            compile(startup.COLD_CACHE + code, "startup", "exec")


class TestAccuracy:
    """What counts as right."""

    def test_minimum_is_stationary_and_start_is_not(self):
        for name in ("bard", "rosenbrock", "linear_rank1_10"):
            problem = mgh.load(name)
            assert accuracy.is_stationary(problem, problem.minimizer)
            assert not accuracy.is_stationary(problem, problem.start())

    def test_local_minimum_is_stationary(self):
        x = np.array([11.412779, -0.896805])  # Freudenstein and Roth's local minimum, f = 48.9843
        assert accuracy.is_stationary(mgh.load("freudenstein_roth"), x)

    def test_point_that_overflows_is_not_stationary(self):
        assert not accuracy.is_stationary(mgh.load("jennrich_sampson"), np.array([1e3, 1e3]))

    def test_outcome_records_claims_and_failures(self, monkeypatch):
        def claims(residual, x0, jac, method):
            return SimpleNamespace(success=True, x=x0)

        def raises(residual, x0, jac, method):
            raise ValueError("not finite")

        cases = [(mgh.load("bard"), 1.0)]
        monkeypatch.setattr(accuracy, "function", lambda library, name: claims)
        (outcome,) = accuracy.mgh_outcomes("nlsq", "lm", cases)
        assert (outcome.success, outcome.is_global, outcome.is_stationary) == (True, False, False)
        monkeypatch.setattr(accuracy, "function", lambda library, name: raises)
        (outcome,) = accuracy.mgh_outcomes("nlsq", "lm", cases)
        assert (outcome.success, outcome.is_global) == (False, False)

    def test_fit_that_raises_has_no_digits(self, monkeypatch):
        def raises(*arguments, **options):
            raise RuntimeError

        monkeypatch.setattr(accuracy, "function", lambda library, name: raises)
        problem = nist.load("Misra1a")
        assert accuracy.nist_digits("nlsq", problems=[problem]) == {("Misra1a", 1): 0.0, ("Misra1a", 2): 0.0}

    def test_large_residuals_have_the_published_theory(self):
        expected = {8.0: 0.0, 3.0: 0.0596, -1.0: 0.473, -4.0: 2.20, -8.0: 6.55}
        for third, value in expected.items():
            assert contraction.LargeResidual(third).theory() == pytest.approx(value, abs=1e-12, rel=2e-3)
        assert contraction.LargeResidual(-4.0).minimizer() == pytest.approx(-0.371929, abs=1e-6)
        assert contraction.LargeResidual(-8.0).minimizer() == pytest.approx(-0.791486, abs=1e-6)


class TestReport:
    """Rows and their Markdown."""

    def test_rows_compare_with_what_is_required(self):
        assert rows.counted_row("w", "p", 3, 3).met
        assert not rows.counted_row("w", "p", 3, 2).met
        row = rows.limit_row("w", "p", 5.0, 5.5, "s", " more")
        assert (row.required, row.measured, row.met) == ("<= 5 s", "5.50 s more", False)
        assert rows.limit_row("w", "p", None, 5.5, "s").met is None

    def test_rows_of_ratios(self):
        ratio = compare.Ratio(median=4.0, lower=2.0, upper=5.0, ours=2e-6, peer=8e-6)
        row = rows.faster_row("w", ratio, 3.0)
        assert (row.peer, row.required) == ("SciPy 8.00 us", ">= 3 x")
        assert (row.measured, row.met) == ("4.00 x (2.00-5.00), 2.00 us", True)
        assert not rows.faster_row("w", ratio, 4.5).met
        assert rows.faster_row("w", ratio, None).met is None
        row = rows.share_row("w", ratio, 0.2, peer="NumPy")
        assert (row.peer, row.required) == ("NumPy 8.00 us", "<= 0.2 x")
        assert (row.measured, row.met) == ("0.25 x (0.20-0.50), 2.00 us", False)

    def test_times_have_units(self):
        assert [rows.in_units(t) for t in (2.0, 0.02, 2e-5, 2e-9)] == ["2.00 s", "20.00 ms", "20.00 us", "2.00 ns"]

    def test_speed_row(self, monkeypatch):
        ratio = compare.Ratio(median=4.0, lower=3.0, upper=5.0, ours=2e-6, peer=8e-6)
        monkeypatch.setattr(sections, "interleaved", lambda ours, peer, pairs: ratio)
        fit = sections.Fit(call=lambda f: [f(1.0), f(2.0)], user_function=abs)
        row = sections.speed_row("w", "SciPy", fit, fit, 4.5, 3)
        assert row.measured == "4.00 x (3.00-5.00), 2.0 us, 50 % of it in 2 calls of f"
        assert row.peer == "SciPy 8.0 us, 50 % of it in 2 calls of f"
        assert (row.required, row.met) == (">= 4.5 x", False)
        assert sections.speed_row("w", "SciPy", fit, fit, None, 3).met is None

    def test_markdown(self):
        row = rows.Row(what="w", peer="p", required="r", measured="m", met=False)
        lines = report.render(rows.Section(title="T", rows=[row], notes=["n"])).splitlines()
        assert lines[0] == "### T"
        assert lines[-4:] == ["| --- | --- | --- | --- | --- |", "| w | p | r | m | **no** |", "", "- n"]

    def test_command_line(self, capsys, monkeypatch):
        seen = []

        def section(quick):
            seen.append(quick)
            return rows.Section(title="Fake", rows=[])

        monkeypatch.setattr(sections, "SECTIONS", {"fake": section, "other": section})
        report.main(["fake", "--quick"])
        assert seen == [True]
        printed = capsys.readouterr().out
        assert "scipy" in printed
        assert "### Fake" in printed
        with pytest.raises(SystemExit):
            report.main(["nonsense"])

    @pytest.mark.parametrize("name", ["nist", "mgh", "other"])
    def test_sections_of_counts(self, name, few_problems):
        section = sections.SECTIONS[name](quick=True)
        assert section.rows
        assert all("SciPy" in row.peer for row in section.rows)
