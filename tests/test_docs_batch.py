"""What the pages and the example about batches say is so: their code runs."""

import re
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
OPTIONAL = ("pandas", "xarray", "dask", "matplotlib")


def missing(code):
    """Return the extras that a block of code imports or needs, and that are not installed."""
    return [name for name in OPTIONAL if name in code and find_spec(name) is None]


def test_blocks_of_the_guide_run(capsys, tmp_path, monkeypatch):
    """In their order, in one namespace, as a reader would."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    assert len(BLOCKS) >= 8
    for number, code in enumerate(BLOCKS):
        if not missing(code) and "cuda" not in code:
            exec(compile(code, f"docs/batch.md, block {number}", "exec"), namespace)
    assert "converged" in capsys.readouterr().out


def test_what_the_guide_refers_to_is_there():
    for link in re.findall(r"\]\(([\w./]+)\)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`((?:examples|docs|benchmarks)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path


@pytest.fixture
def decay_map():
    """The example, imported from its file."""
    spec = spec_from_file_location("decay_map", ROOT / "examples" / "decay_map.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestDecayMap:
    """A small version of the example."""

    def test_report_and_export(self, decay_map, tmp_path, capsys):
        path = tmp_path / "maps.npz"
        decay_map.main(["--size", "48", "--threads", "1", "--export", str(path)])
        printed = capsys.readouterr().out
        assert "2304 fits" in printed
        share = float(re.search(r"truth in ([\d.]+) %", printed).group(1))
        assert share > 90.0
        with np.load(path) as maps:
            assert maps["T2"].shape == maps["T2_stderr"].shape == maps["status"].shape == (48, 48)

    def test_statuses_say_what_was_left_out(self, decay_map):
        stack, truth = decay_map.image_stack(48)
        result, sigma = decay_map.fit_maps(stack, threads=1)
        assert abs(sigma - decay_map.NOISE) < 2.0
        measured = np.isfinite(stack).any(axis=-1)
        np.testing.assert_array_equal(result.points > 0, (truth > 0.0) & measured)
        assert result.converged[(truth > 0.0) & measured].mean() > 0.999
        assert not result.converged[~measured].any()

    def test_picture(self, decay_map, tmp_path):
        pytest.importorskip("matplotlib")
        path = tmp_path / "map.png"
        decay_map.main([str(path), "--size", "32", "--threads", "1"])
        assert path.stat().st_size > 10_000
        assert "matplotlib" in sys.modules
