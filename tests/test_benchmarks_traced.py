"""The benchmarks of compiled plain functions: they compare what they say, and report what they find."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import compare, elementary, graphs, libraries, nist_speed, scripts, sections, traced
from benchmarks.problems import nist


@pytest.fixture
def few_problems(monkeypatch):
    """Two of NIST's problems in place of all."""
    monkeypatch.setattr(nist, "all_problems", lambda: tuple(map(nist.load, ("Misra1a", "DanWood"))))


def answer(result):
    """Return the parameters in what a fit returned."""
    if isinstance(result, np.ndarray):
        return result
    for name in ("x", "params"):
        if hasattr(result, name):
            return getattr(result, name)
    return result[0]


def quick_ratio(ours, peer, **options):
    """Call both once, in place of timing them."""
    ours(), peer()
    return compare.Ratio(median=2.0, lower=1.0, upper=3.0, ours=1e-6, peer=2e-6)


class TestTracedFits:
    """Ways to fit by traced functions: they fit, they are compiled, and what is called plain is."""

    @pytest.mark.parametrize("name", traced.CALLS)
    @pytest.mark.parametrize("curve", libraries.CURVES)
    def test_both_sides_give_the_same_answer(self, name, curve):
        call = traced.CALLS[name]
        ours, peer = call.ours(curve)(), call.peer(curve)()
        if name == "fit_stderr":
            peer = np.sqrt(np.diag(peer[1]))
        np.testing.assert_allclose(answer(ours), answer(peer), rtol=1e-3)

    def test_jacobians_are_the_models_derivatives(self):
        for curve in libraries.CURVES:
            problem = libraries.load_curve(curve)
            p, jac = problem.p0, traced.JACOBIANS[curve](problem.x, *problem.p0)
            for j in range(p.size):
                h = 1e-6 * abs(p[j]) + 1e-9
                step = h * np.eye(p.size)[j]
                slope = (problem.model(problem.x, *(p + step)) - problem.model(problem.x, *(p - step))) / (2.0 * h)
                np.testing.assert_allclose(jac[:, j], slope, rtol=1e-5, atol=1e-6)

    def test_warm_function_is_compiled(self):
        for call in ("curve_fit", "least_squares"):
            traced.warm(traced.CALLS[call].ours("misra1a"))
        assert traced._not_compiled("misra1a") == []

    def test_before_compiling_every_copy_is_plain(self):
        import nlsq

        seen = []
        fit = traced.BeforeCompiling(seen.append, lambda x, a: 1.5 * a * x)
        for _ in range(2 * traced.FITS_OF_ONE_CODE):
            fit()
        copies = {id(one.__code__): one for one in seen}
        assert len(copies) == 2
        assert {nlsq.explain(one).route for one in copies.values()} == {"traced"}
        assert len({one(1.0, 1.0) for one in copies.values()}) == 2

    def test_branching_functions_have_no_graph(self):
        import nlsq

        for curve in libraries.CURVES:
            problem = libraries.load_curve(curve)
            model, residual = (libraries.branching(curve, kind) for kind in ("model", "residual"))
            assert nlsq.explain(model, problem.x, problem.p0).route == "plain"
            assert nlsq.explain(residual, p0=problem.p0).route == "plain"
            np.testing.assert_array_equal(residual(problem.p0), problem.residual(problem.p0))


class TestNistSpeed:
    """NIST's data by compiled models."""

    def test_exact_jacobian_is_that_of_the_model(self):
        problem = nist.load("Misra1a")
        jac = nist_speed.ExactJacobian.of(problem)(problem.x, *problem.certified)
        np.testing.assert_allclose(jac, traced.misra1a_jacobian(problem.x, *problem.certified), rtol=1e-12)

    def test_fits_that_one_side_fails_are_named(self, monkeypatch):
        problem = nist.load("Misra1a")
        fails = SimpleNamespace(params=np.zeros(2))
        ratios, missed = nist_speed._ratios([(problem, 1)], lambda problem, start: lambda: fails, False, 1)
        assert (ratios, missed) == ([], ["Misra1a start 1"])

    def test_mean_is_geometric(self):
        row = nist_speed._mean_row("w", "p", [2.0, 8.0], 4.5)
        assert (row.measured, row.required, row.met) == ("4.0 x (each: 2.0-8.0)", ">= 4.5 x", False)

    def test_plain_calls_are_plain(self):
        import nlsq

        assert nlsq.explain(nist_speed._Plain(nist.load("Misra1a").model)).route == "plain"


class TestGraphs:
    """Operations, and residuals by slices."""

    def test_operations_of_a_product(self):
        assert graphs.counts(graphs.product, 5)[0] == 5
        for function in graphs.FUNCTIONS.values():
            value, with_gradient = graphs.counts(function, 10)
            assert value < with_gradient <= 5 * value

    @pytest.mark.parametrize("name", graphs.SLICES)
    def test_sparse_jacobian_is_the_residuals(self, name):
        evaluate, residual, evaluation = graphs.evaluation_of(name, n=10)
        evaluate()
        np.testing.assert_allclose(evaluation.residual, residual(), rtol=1e-13, atol=1e-13)
        jac = np.zeros(evaluation.shape)
        np.add.at(jac, (evaluation.rows, evaluation.columns), evaluation.values)
        p, function = np.sin(np.arange(10.0)), graphs.SLICES[name][0]
        slopes = [(function(p + 1e-6 * e) - function(p - 1e-6 * e)) / 2e-6 for e in np.eye(10)]
        np.testing.assert_allclose(jac, np.transpose(slopes), rtol=1e-6, atol=1e-6)


class TestScripts:
    """Code that fresh processes run, and where it looks for kernels."""

    def test_code_is_valid(self):
        for library in libraries.LIBRARIES:
            for code in (
                scripts.fits_code(library, 2),
                scripts.changing_code(library),
                scripts.many_models_code(library),
            ):
                compile(code, "script", "exec")
        for model in scripts._TO_COMPILE:
            for after in scripts._AFTER:
                compile(scripts.compile_code(model, after), "script", "exec")

    def test_folder_has_the_librarys_kernels_and_no_models(self, monkeypatch, tmp_path):
        from nlsq.kernels.backend import cache

        source = tmp_path / "0123"
        source.mkdir()
        for name in ("nlsq_levenberg_1.o", "nlsq_generated_1.o", "nlsq_code_1.o", "other.txt"):
            (source / name).write_text(name)
        monkeypatch.setattr(cache, "folder", lambda: source)
        with scripts.library_kernels() as place:
            kept = [file.relative_to(place).as_posix() for file in pathlib.Path(place).rglob("*.o")]
        assert kept == ["0123/nlsq_levenberg_1.o"]


class TestElementary:
    """Loops of one function."""

    def test_kernel_gives_the_peers_values_on_every_processor(self):
        for processor in elementary.processors().values():
            for name in ("exp", "atan2"):
                call, out = elementary.by_kernel(name, processor)
                out[:] = 0.0
                call()
                np.testing.assert_allclose(out, elementary.by_peer(name)[1], rtol=1e-14)

    def test_either_the_time_or_the_ratio_meets(self):
        one = elementary.Elementary(peer="exp", ranges=((0.0, 1.0),), required=(0.5, 1.0))
        size = elementary.SIZE

        def row(ours, peer, is_required=True):
            times = {"ours": ours * 1e-9 * size * elementary.PASSES, "peer": peer * 1e-9 * size}
            return elementary._row("w", one, SimpleNamespace(**times), is_required)

        assert [row(0.4, 0.5).met, row(0.9, 2.0).met, row(0.9, 1.0).met] == [True, True, False]
        assert row(0.9, 1.0).measured == "0.90 ns, 0.90 of it"
        assert row(0.4, 0.5, is_required=False).met is None


class TestQuickSections:
    """Sections of compiled functions, on small sizes."""

    @pytest.mark.parametrize("name", ["traced", "graphs", "slices", "elementary", "nist_fit", "nist_speed"])
    def test_section_has_rows(self, name, few_problems, monkeypatch):
        for module in (traced, graphs, elementary, nist_speed):
            monkeypatch.setattr(module, "interleaved", quick_ratio, raising=False)
        section = sections.SECTIONS[name](quick=True)
        assert section.rows
        assert all(row.measured for row in section.rows)

    @pytest.mark.parametrize("name", ["compiling", "scripts"])
    def test_section_of_processes(self, name, monkeypatch):
        seen = []

        def run(code, environment=None):
            seen.append(code)
            return SimpleNamespace(cpu=1.0, wall=1.0, output="0.25 0.5" if "process_time" in code else "compiled\n")

        monkeypatch.setattr(scripts, "fresh", run)
        monkeypatch.setattr(scripts, "without_models", run)
        pairs = lambda *codes, pairs, run=run: compare.fresh_pairs(*codes, pairs=pairs, run=run)
        monkeypatch.setattr(scripts, "fresh_pairs", pairs)
        section = sections.SECTIONS[name](quick=True)
        assert section.rows
        assert section.notes == []
        assert any("scipy" in code for code in seen)
