"""What the page about Dask says is so: its code runs."""

import re
from pathlib import Path

import pytest

from nlsq.kernels.backend import compile_disabled
from nlsq.problem.chunks.sample import BLOCK

pytest.importorskip("dask.array", reason="dask is not installed; it is in the extra 'dask'")
TEXT = (Path(__file__).resolve().parents[1] / "docs" / "dask.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")
def test_blocks_of_the_guide_run(capsys):
    """In their order, in one namespace, as a reader would."""
    namespace = {}
    assert len(CODE) == 2
    for number, code in enumerate(CODE):
        exec(compile(code, f"docs/dask.md, block {number}", "exec"), namespace)
    assert capsys.readouterr().out.count("onverged") >= 2
    assert namespace["maps"].converged.all()


def test_numbers_of_the_guide_are_those_of_the_library():
    from nlsq.fitting.distributed.streaming import FEWEST

    for number in (BLOCK, FEWEST * BLOCK):
        assert f"{number:,}".replace(",", " ") in " ".join(TEXT.split())
