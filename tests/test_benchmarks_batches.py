"""The benchmarks of batches: their data, what they compare, and what they report."""

from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import batches, compare, sections
from benchmarks.problems import batches as problems


def quick_ratio(ours, peer, **options):
    """Call both once, in place of timing them."""
    ours(), peer()
    return compare.Ratio(median=2.0, lower=1.0, upper=3.0, ours=1e-6, peer=2e-6)


class TestProblems:
    """The data."""

    @pytest.mark.parametrize("name", problems.PROBLEMS)
    def test_shapes(self, name):
        batch = problems.PROBLEMS[name](5)
        m, n = {"spectra": (100, 4), "spots 5 x 5": (25, 5), "spots 7 x 7": (49, 5), "decays": (64, 3)}[name]
        assert (batch.x.shape[-1], batch.y.shape, batch.p_true.shape) == (m, (5, m), (5, n))
        assert batch.start(3).shape == (n,)
        assert batch.model(batch.x, *batch.p_true[0]).shape == (m,)

    @pytest.mark.parametrize("name", problems.PROBLEMS)
    def test_rows_are_the_same_in_a_larger_batch(self, name):
        few, many = (problems.PROBLEMS[name](size) for size in (3, problems.ROWS_AT_ONCE + 2))
        np.testing.assert_array_equal(many.y[:3], few.y)
        np.testing.assert_array_equal(many.start(2), few.start(2))
        assert not np.array_equal(many.y[problems.ROWS_AT_ONCE], many.y[0])

    @pytest.mark.parametrize("name", problems.PROBLEMS)
    def test_scipy_finds_the_truth(self, name):
        loop, count = batches.peer_loop(name, 200)
        batch, answers = batches.load_batch(name, 200), loop()
        assert (len(answers), count) == (200, 200)
        errors = np.array([answer - batch.p_true[k] for k, answer in enumerate(answers) if answer is not None])
        assert len(errors) >= 198
        spread = np.subtract(*np.percentile(batch.p_true, [100, 0], axis=0))
        assert np.all(np.abs(np.median(errors, axis=0)) < 0.5 * spread)

    def test_cost_has_the_half(self):
        batch = problems.Batch(
            name="b", model=lambda x, a: a * x, x=np.ones(2), y=np.zeros((1, 2)), p0=np.ones(1), p_true=np.ones((1, 1))
        )
        assert batch.cost(0, [3.0]) == 9.0

    def test_long_spectrum_is_the_script(self):
        values = {}
        exec(batches._DATA.format(m=1000), values)
        curve = problems.long_spectrum(1000)
        np.testing.assert_allclose(values["model"](curve.x, *curve.p0), curve.model(curve.x, *curve.p0))
        np.testing.assert_allclose(values["y"], curve.model(values["x"], *curve.p_true), atol=0.6)


class TestComparison:
    """What is made of times and costs."""

    def test_ratio_for_each_fit(self):
        ratio = compare.Ratio(median=0.5, lower=0.25, upper=1.0, ours=0.2, peer=0.1)  # of 1000 fits, and of 10
        each = batches._for_each(ratio, 1000, 10)
        assert (each.median, each.lower, each.upper) == pytest.approx((50.0, 25.0, 100.0))
        assert (each.ours, each.peer) == pytest.approx((2e-4, 1e-2))

    def test_costs_of_fits_the_peer_fails_do_not_count(self):
        batch = SimpleNamespace(cost=lambda k, p: p[0])
        theirs = [np.array([1.0]), None, np.array([1.0]), np.array([np.nan])]
        ours = np.array([[1.0 + 1e-7], [5.0], [2.0], [1.0]])
        assert batches.compare_costs(batch, ours, theirs) == (2, 1, 2.0)

    def test_scipy_that_gives_up_has_no_answer(self, monkeypatch):
        def raises(*arguments, **options):
            raise RuntimeError

        monkeypatch.setattr(batches, "function", lambda library, name: raises)
        assert batches.peer_loop("spectra", 3)[0]() == [None, None, None]

    def test_rate_is_required_where_registers_are_wide(self, monkeypatch):
        ratio = compare.Ratio(median=2.0, lower=1.0, upper=3.0, ours=1e-6, peer=2e-6)
        for names, met in ((("AVX-512", "AVX2"), True), (("AVX2",), None)):
            monkeypatch.setattr("benchmarks.elementary.processors", lambda names=names: dict.fromkeys(names))
            row = batches._rate_row(ratio)
            assert (row.measured, row.met) == ("1000.0 k fits/s", met)


class TestScripts:
    """The code that fresh processes run."""

    def test_code_is_valid(self):
        for code in ("", batches.OURS_FIT, batches.OURS_SMALL, batches.PEER_FIT):
            compile(batches.peak_code(1000, code), "script", "exec")
        compile(batches.FIRST_BATCH, "script", "exec")
        compile(batches.JAX.format(size=1, pairs=1), "script", "exec")

    def test_peak_is_of_the_process_alone(self):
        held = np.ones(2**25)  # 256 MB, which a child does not have
        assert 10.0 < batches._peak(1000, "") < 200.0
        assert batches._peak(1000, "z = np.ones(2**25)") > 256.0
        assert held[0] == 1.0

    @pytest.mark.skipif(find_spec("jax") is None, reason="needs JAX")
    def test_peer_in_jax_finds_the_minimum(self):
        code = """
import jax
jax.config.update("jax_enable_x64", True)
from benchmarks import batches, batches_jax
batch = batches.load_batch("spectra", 50)
params, costs = batches_jax.fitter(batches_jax.gaussian, batch.x)(batch.y, batch.p0)
print(batches.compare_costs(batch, params, batches._scipy_rows(batch, 50))[:2])
"""
        assert compare.fresh(code, {"JAX_PLATFORMS": "cpu"}).output.strip() == "(50, 50)"


class TestQuickSections:
    """Sections of batches, on small sizes."""

    @pytest.fixture(autouse=True)
    def _untimed(self, monkeypatch):
        def run(code, environment=None):
            compile(code, "script", "exec")
            if "batches_jax" in code:
                return SimpleNamespace(output="1e-6 2e-6 2.0 1.0")
            return SimpleNamespace(output="300.0 200.0" if "nlsq" in code else "100.0")

        monkeypatch.setattr(batches, "interleaved", quick_ratio)
        monkeypatch.setattr(batches, "fresh", run)
        monkeypatch.setattr(batches, "library_kernels", lambda: nullcontext("folder"))

    @pytest.mark.parametrize("name", ["batches", "batch_answers", "huge", "batch_compiling"])
    def test_section_has_rows(self, name):
        section = sections.SECTIONS[name](quick=True)
        assert section.rows
        assert all(row.measured for row in section.rows)

    def test_every_fit_is_as_low_as_scipys(self):
        section = batches.share_section(quick=True)
        assert [row.met for row in section.rows] == [True] * len(batches.REQUIRED)
        assert section.notes == []

    def test_section_without_jax_says_so(self, monkeypatch):
        monkeypatch.setattr(batches, "find_spec", lambda name: None)
        assert "JAX is not installed" in batches.speed_section(quick=True).notes[0]
