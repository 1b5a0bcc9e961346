"""The tables of docs/tracing.md: every line does what its table says."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.trace import trace_model, trace_residual

TEXT = (Path(__file__).parents[1] / "docs" / "tracing.md").read_text()
RECORDED, REFUSED = (
    [line.replace("\\|", "|") for line in re.findall(r"^\| `(lambda p: .*?)` \|", part, re.MULTILINE)]
    for part in TEXT.split("## What is refused")
)
P = np.array([0.7, 1.3, 2.1, 0.4, 0.9, 1.7, 3.2, 0.2, 0.6, 1.1, 2.4, 0.3])
SCOPE = {"np": np, "math": math, "special": special, "t": np.linspace(0.1, 2.3, 12), "k": np.arange(12)}


def test_the_tables_are_found():
    assert len(RECORDED) >= 15 and len(REFUSED) >= 12


@pytest.mark.parametrize("source", RECORDED)
def test_recorded(source):
    function = eval(source, dict(SCOPE))
    expected = np.asarray(function(P), dtype=float)
    np.testing.assert_allclose(interpret.output(trace_residual(function, 12), P), expected.ravel(), rtol=1e-13)


@pytest.mark.parametrize("source", REFUSED)
def test_refused(source):
    with pytest.raises(NotTraceable):
        trace_residual(eval(source, dict(SCOPE)), 12)


def test_stores():
    scope = dict(SCOPE)
    block = re.search(r"^    def residual.*?(?=^\S)", TEXT, re.MULTILINE | re.DOTALL).group()
    exec("\n".join(line[4:] for line in block.splitlines()), scope)
    residual, model = scope["residual"], scope["model"]
    np.testing.assert_allclose(interpret.output(trace_residual(residual, 12), P), residual(P), rtol=1e-13)
    x = np.linspace(0.1, 2.3, 12)
    np.testing.assert_allclose(interpret.output(trace_model(model, x, 2), P[:2]), model(x, *P[:2]), rtol=1e-13)
