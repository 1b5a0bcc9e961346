"""What the page about constraints says is so: its code runs, and its tables name what there is."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize

import nlsq
from nlsq.solvers.iteration_log import HEADER, KINDS
from nlsq.status import Status, StepReport

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


def section(title):
    return TEXT.split(f"## {title}")[1].split("\n## ")[0]


def test_steps_have_what_the_page_says(namespace):
    said = section("Watching a solve")
    steps = re.search(r"with a `StepReport`: (.*?)\. A true", said, re.DOTALL).group(1)
    names = re.findall(r"`(\w+)`", steps)
    assert len(names) == 8 and set(names) <= {field.name for field in dataclasses.fields(StepReport)}
    assert namespace["stopped"].status == Status.CALLBACK and namespace["stopped"].constr_violation < 1e-3
    columns = [
        name for row in re.findall(r"^\| (`.*?) \| ", said, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)
    ]
    assert sorted(name.replace("\\|", "|") for name in columns) == sorted(HEADER.split())
    assert set(re.findall(r"`(\w)`: ", said)) == set(KINDS)


def test_the_checker_says_what_the_page_says(namespace, capsys):
    shown = re.search(r"(# constraint: .*?)\n\n", section("Checking derivatives"), re.DOTALL).group(1)
    shown = " ".join(line.removeprefix("# ") for line in shown.splitlines())
    text = str(nlsq.check_jacobian(namespace["product"], {"a": 1.0, "b": 2.0}))
    uncertainty = r"\+- \S+ off"
    assert re.sub(uncertainty, "", text) == re.sub(uncertainty, "", shown)


def test_names_beside_those_of_minimize(namespace):
    table = section("Beside other solvers").split("| `result.x` |")[1].split("\n\n")[0]
    ours = re.findall(r"`(\w+)[`.]", " ".join(row.split("|")[-2] for row in ("|" + table).splitlines()))
    assert {"x", "cost", "converged", "status", "message", "nit", "multipliers"} <= set(ours)
    for name in ours:
        assert hasattr(namespace["solved"], name) or name in ("upper", "lower"), name


def test_multipliers_of_slsqp_have_the_other_sign():
    less = {"type": "ineq", "fun": lambda x: x[0] - 1}
    ours = nlsq.solve(nlsq.LeastSquaresProblem(lambda x: x, [2.0, 2.0], constraints=[less]))
    slsqp = scipy.optimize.minimize(lambda x: 0.5 * x @ x, [2.0, 2.0], method="SLSQP", constraints=[less])
    y = ours.multipliers.constraints[0]
    assert y == pytest.approx(-1.0, abs=1e-5)
    if hasattr(slsqp, "multipliers"):  # SciPy 1.16
        assert slsqp.multipliers[0] == pytest.approx(1.0, abs=1e-5)


def test_what_the_page_refers_to_is_there():
    for path in re.findall(r"`((?:examples|docs|benchmarks)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"\bnlsq\.(\w+)", TEXT):
        assert hasattr(nlsq, name), name
