"""SciPy's semantics whatever the route: the drop-in's tests, and SciPy's own, with every function compiled at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DROP_IN = sorted(path.name for path in HERE.glob("test_scipy_api_*.py"))
# What exact derivatives change, in SciPy's own tests; the reasons are theirs.
EXACT_DERIVATIVES_DIFFER = {
    "test_scipy_least_squares.py::TestLM::test_workers": "compares two solves bit by bit, one by differences",
    "test_scipy_least_squares.py::test_gh_18793_and_19351": "no difference hides that the cost still falls",
    "test_scipy_minpack.py::TestCurveFit::test_broadcast_y": "compares a compiled fit with a plain one to 1e-7",
    "test_scipy_minpack.py::TestCurveFit::test_gh4555": "only noise of differences leaves the symmetric start",
}


def run_compiled(*arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "references.compiled_at_once", *arguments]
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=HERE.parent, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", DROP_IN)
def test_drop_in_tests_pass_with_every_function_compiled(name):
    run_compiled(f"tests/{name}")


@pytest.mark.slow
def test_scipys_own_tests_pass_with_every_function_compiled():
    skipped = [
        argument for name in EXACT_DERIVATIVES_DIFFER for argument in ("--deselect", f"tests/scipy_suite/{name}")
    ]
    run_compiled("tests/scipy_suite", *skipped)
