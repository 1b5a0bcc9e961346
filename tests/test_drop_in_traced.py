"""The same semantics whatever the route: tests of the drop-in and of fit, and SciPy's, with all functions compiled."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize

import nlsq

HERE = Path(__file__).parent
DROP_IN = sorted(path.name for kind in ("scipy_api", "fitting") for path in HERE.glob(f"test_{kind}_*.py"))
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


@pytest.mark.parametrize("options", [{}, {"maxfev": 5}])
def test_a_limit_is_named_as_scipy_names_it(options):
    x = np.linspace(0.1, 4.0, 40)
    y = 2.0 * np.exp(-200.0 * x)
    for _ in range(2):
        messages = []
        for module in (scipy.optimize, nlsq):
            with pytest.warns(RuntimeWarning, match="maxfev") as caught:
                module.leastsq(lambda p: p[0] * np.exp(-400.0 * p[1] * x) - y, (1.0, 0.45), **options)
            messages.append(str(caught[0].message))
        assert messages[0] == messages[1]


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
