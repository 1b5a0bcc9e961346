"""The benchmark of colouring: its patterns, both sides of it, and what it reports."""

import numpy as np
import pytest
from references import coloring as twin

from benchmarks import coloring, compare, sections
from benchmarks.problems import sparsity
from nlsq.derivatives.coloring import _COLORINGS
from nlsq.pattern import SparsityPattern

EVERY = pytest.mark.parametrize("name", sparsity.PATTERNS)


def quick_ratio(ours, peer, **options):
    """Call both once, in place of timing them."""
    ours(), peer()
    return compare.Ratio(median=2.0, lower=1.0, upper=3.0, ours=1e-6, peer=2e-6)


class TestPatterns:
    """The patterns."""

    def test_grids(self):
        for reach, entries in ((1, 5), (2, 13)):
            pattern = SparsityPattern.from_entries(*sparsity.grid(9, reach))
            dense = pattern.to_dense()
            assert pattern.densest_row == entries
            np.testing.assert_array_equal(dense, dense.T)
            middle = np.argwhere(dense[40].reshape(9, 9))
            assert np.abs(middle - 4).sum(axis=1).max() == reach

    def test_poses(self):
        rows, columns, shape = sparsity.poses_around_a_torus(30, 10)
        assert shape == (6 * (29 + 20), 180)
        pairs = {(min(near), max(near)) for near in (set(columns[rows == i] // 6) for i in range(shape[0]))}
        assert pairs == {(i, i + 1) for i in range(29)} | {(i, i + 10) for i in range(20)}
        assert np.all(np.bincount(rows) == 12)

    def test_observations(self):
        rows, columns, shape = sparsity.bundle_adjustment(5, 60, 240)
        assert shape == (480, 225)
        assert np.all(np.bincount(rows) == 12)
        assert set(columns) == set(range(225))

    def test_file_is_read(self, tmp_path, monkeypatch):
        path = tmp_path / "problem.txt"
        path.write_text("2 3 2\n0 2 1.5 2.5\n1 0 1e-3 7\n0.25\n")
        rows, columns, shape = sparsity.read_bundle_adjustment(path)
        assert shape == (4, 27)
        found = [sorted(columns[rows == i]) for i in range(4)]
        first, second = [*range(9), 24, 25, 26], [*range(9, 18), 18, 19, 20]
        assert found == [first, first, second, second]
        monkeypatch.setenv(sparsity.BAL_VARIABLE, str(path))
        assert sparsity.PATTERNS["bundle adjustment"].make()[2] == (4, 27)


class TestColoring:
    """Both sides, and the section."""

    @EVERY
    def test_both_sides_color_validly(self, name):
        rows, columns, shape = sparsity.PATTERNS[name].make(small=True)
        columns_of = [sorted(set(columns[rows == i].tolist())) for i in range(shape[0])]
        for side in (coloring.our_coloring, coloring.peer_coloring):
            assert twin.is_valid(columns_of, side(name, small=True)())

    def test_every_call_colors_anew(self):
        call = coloring.our_coloring("random rows", small=True)
        before = len(_COLORINGS)
        call()
        assert len(_COLORINGS) == before

    def test_section_reports_what_it_finds(self, monkeypatch):
        monkeypatch.setattr(coloring, "interleaved", quick_ratio)
        monkeypatch.delenv(sparsity.BAL_VARIABLE, raising=False)
        section = sections.SECTIONS["colouring"](quick=True)
        assert len(section.rows) == 2 * len(sparsity.PATTERNS) + 4
        assert [row.met for row in section.rows] == [True, None] * len(sparsity.PATTERNS) + [True] * 4
        assert section.rows[-2].measured.endswith(", 0")
        assert section.rows[0].measured == "5"
        assert all("SciPy" in row.peer for row in section.rows[:-4])
        assert "smallest last 5, 7" in section.notes[0]  # of the small grid, from both ends
        assert sparsity.BAL_VARIABLE in section.notes[-1]
