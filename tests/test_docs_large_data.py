"""What the page about very many points says is so: its code runs."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nlsq.fitting.streaming.source import STREAMED_FROM
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.chunks.arrays import PIECE
from nlsq.problem.chunks.sample import BLOCK

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "large_data.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_blocks_of_the_guide_run(capsys, tmp_path, monkeypatch):
    """In their order, in one namespace, as a reader would."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    assert len(CODE) == 3
    for number, code in enumerate(CODE):
        if "h5py" not in code or find_spec("h5py") is not None:
            exec(compile(code, f"docs/large_data.md, block {number}", "exec"), namespace)
    assert "Converged" in capsys.readouterr().out
    true = [3.0, 5.0, 0.7, 0.1, 1.0]
    assert (np.abs(namespace["result"].params - true) < 5.0 * namespace["result"].stderr).all()


def test_data_set_of_a_file_may_be_a_batch(tmp_path):
    h5py = pytest.importorskip("h5py")
    import nlsq

    x = np.linspace(0.0, 4.0, 30)
    Y = np.exp(-np.array([[0.5], [1.0], [1.5]]) * x)
    with h5py.File(tmp_path / "batch.h5", "w") as file:
        file["Y"] = Y
        fits = nlsq.fit_batch(lambda x, rate: np.exp(-rate * x), x, file["Y"], [1.0])
    np.testing.assert_allclose(fits["rate"], [0.5, 1.0, 1.5], rtol=1e-9)


def test_numbers_of_the_guide_are_those_of_the_library():
    for number in (STREAMED_FROM, BLOCK, PIECE):
        assert f"{number:,}".replace(",", " ") in " ".join(TEXT.split())
