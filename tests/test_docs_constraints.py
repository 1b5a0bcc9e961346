"""What the page about constraints says is so: its code runs, and its tables name what there is."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import nlsq
from nlsq.status import Status

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "constraints.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def namespace():
    """Run the page from top to bottom."""
    namespace = {}
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)):
        exec(compile(code, f"docs/constraints.md, block {number}", "exec"), namespace)
    return namespace


def test_amounts_add_up_to_one(namespace):
    result = namespace["result"]
    assert result.converged and result.dof == 197
    assert abs(float(np.sum(result.params[:3])) - 1.0) < 1e-8
    ones = namespace["ones"]
    assert abs(ones @ result.covariance @ ones) < 1e-12


def test_forms_agree(namespace):
    values = [float(one.params["a"]) for one in namespace["fits"]]
    assert len(values) == 4 and np.ptp(values) < 1e-6


def test_problem_14_and_its_warm_starts(namespace):
    solved = namespace["solved"]
    assert solved.converged and solved.nit <= 4
    x = solved.x
    assert abs(x[0] - 2 * x[1] + 1) < 1e-7
    assert abs(x[0] ** 2 / 4 + x[1] ** 2 - 1.002) < 1e-6


def test_tables_name_what_there_is():
    statuses = set(re.findall(r"`([A-Z_]{6,})`", TEXT))
    assert statuses and statuses <= set(Status.__members__)
    options = {field.name for field in dataclasses.fields(nlsq.InteriorPoint)}
    table = TEXT.split("## Options of the method")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == options
    for row in re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \|", TEXT.split("## What comes back")[1].split("\n## ")[0], re.MULTILINE
    ):
        for name in re.findall(r"`(\w+)`", row):
            assert hasattr(nlsq.FitResult, name), name


def test_what_the_page_refers_to_is_there():
    for path in re.findall(r"`((?:examples|docs|benchmarks)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\bnlsq\.(\w+)", TEXT):
        assert hasattr(nlsq, name), name
