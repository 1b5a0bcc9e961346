"""What the page about residual blocks says is so: its code runs."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")


def test_the_code_of_the_guide_runs(capsys):
    namespace = {}
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)):
        exec(compile(code, f"docs/blocks.md, block {number}", "exec"), namespace)
    said = capsys.readouterr().out
    assert "COST_CHANGE" in said and "['block 0 of seen once']" in said
    assert namespace["result"].converged


def test_what_the_guide_refers_to_is_there():
    for path in re.findall(r"`((?:examples|docs|benchmarks)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
