"""What the page about optimal control says is so, and its examples run."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "optimal_control.md").read_text(encoding="utf-8")


@pytest.fixture
def load():
    """Import an example."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(ROOT / "examples"))


def test_the_code_of_the_guide_runs(capsys):
    namespace = {}
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)):
        exec(compile(code, f"docs/optimal_control.md, block {number}", "exec"), namespace)
    said = capsys.readouterr().out.splitlines()
    assert said == ["OPTIMALITY (31, 2) (30, 1)", "True True True", "MAX_ITERATIONS True", "True"]


def test_what_the_guide_refers_to_is_there():
    for path in re.findall(r"`((?:examples|docs|benchmarks)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for picture in re.findall(r"\]\((\w+\.png)\)", TEXT):
        assert (ROOT / "docs" / picture).exists(), picture


def test_cart_pole_is_swung_up_and_held(load, capsys):
    states = load("cart_pole").main(["--seconds", "2"])
    assert abs(states[0, 1]) > 3.0
    assert np.abs(states[-10:, 1]).max() < 0.1
    assert "Converged" in capsys.readouterr().out


def test_chain_comes_to_rest_beside_the_wall(load, capsys):
    chain = load("chain_of_masses")
    result = chain.main(["--balls", "2"])
    assert result.converged
    places = result.states[1:, 1:9:3]
    assert places.min() >= chain.WALL
    assert places.min() < chain.WALL + 1e-4
    assert np.abs(result.controls).max() <= 1.0
    assert "at rest" in capsys.readouterr().out
