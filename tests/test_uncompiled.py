"""With NLSQ_DISABLE_COMPILE nothing is compiled: functions are called, and give what their kernels would."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose

import nlsq

ROOT = Path(nlsq.__file__).parents[1]
README = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))

T = np.linspace(0.0, 4.0, 64)  # as many points as models are traced on before there are data
NOISE = 0.02 * np.sin(13.0 * np.arange(64))


def scaled(t, amplitude, rate):
    return amplitude * np.exp(-rate * t)


def plane(t, a, b):
    u, v = t
    return a * u + b * np.sin(v)


def chain(p):
    return np.concatenate([10.0 * (p[1:] - p[:-1] ** 2), 1.0 - p[:-1]])


@numba.njit
def relaxation(t, start, rate):
    value = start
    for _ in range(10):
        value -= rate * value * t / 10
    return value


@numba.njit
def clipped(t, height, rate):
    if t > 2.0:
        t = 2.0
    return height - rate * t


@numba.njit
def constant(t, height, rate):
    return height * rate


@numba.njit
def doubled(t, height, rate):
    t *= 2.0
    return height * np.exp(-rate * t)


def everything(folder):
    """Fit in all ways; numbers as lists."""
    found = {}
    y = scaled(T, 2.0, 1.0) + NOISE
    model = nlsq.model(scaled)
    weights = 1.0 + 0.1 * T
    for absolute in (False, True):
        for w in (None, weights):
            solution = model.solve(T, y, [1.0, 1.0], w, absolute_sigma=absolute)
            found[f"solve {absolute} {w is None}"] = [*solution.params, *solution.covariance.ravel()]
            assert nlsq.Status(solution.status).converged
    found["fit"] = [*nlsq.fit(model, T, y, [1.0, 1.0]).params]
    found["curve_fit"] = [*nlsq.curve_fit(model, T, y, [1.0, 1.0])[0]]
    model.save(folder / "model.json")
    loaded = nlsq.Model.load(folder / "model.json")
    found["loaded"] = [*loaded.solve(T, y, [1.0, 1.0]).params]
    found["loaded, fit"] = [*nlsq.fit(loaded, T, y, [1.0, 1.0]).params]
    found["loaded, curve_fit"] = [*nlsq.curve_fit(loaded, T, y, [1.0, 1.0])[0]]
    for w in (None, weights):
        for at in (None, y):
            r, jac = model.residual_and_jacobian([1.5, 0.5], T, at, w)
            found[f"values {w is None} {at is None}"] = [*r, *jac.ravel()]
    xx = np.stack([T, T**2])
    found["plane"] = [*nlsq.model(plane, variables=2).solve(xx, plane(xx, 2.0, 3.0) + NOISE, [1.0, 1.0]).params]
    r, jac = nlsq.compile(chain, kind="residual").residual_and_jacobian(np.linspace(0.0, 1.0, 20))
    found["sparse"] = [*r, *jac.toarray().ravel()]
    for function in (relaxation, clipped, doubled):
        made = nlsq.compile(function)
        at = np.array([function(t, 2.0, 0.5) for t in T]) + NOISE
        found[function.__name__] = [*nlsq.curve_fit(made, T, at, [1.0, 1.0])[0]]
        found[f"{function.__name__}, fit"] = [*nlsq.fit(made, T, at, [1.0, 1.0]).params]
        found[f"{function.__name__}, value"] = [*made(T, 2.0, 1.0)]
    found["constant"] = [*nlsq.compile(constant)(T, 2.0, 3.0)]
    return {name: [float(value) for value in values] for name, values in found.items()}


def start(script, folder, **environment):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def uncompiled(script, folder):
    """Run a script that must leave nothing compiled; return what it prints."""
    cache = folder / "cache"
    printed = start(script, folder, NLSQ_DISABLE_COMPILE="1", NLSQ_CACHE_DIR=str(cache))
    assert not [path for path in cache.rglob("*") if path.is_file()]
    return printed


def test_all_that_is_found_is_the_same(tmp_path):
    script = "import json, pathlib, test_uncompiled as t; print(json.dumps(t.everything(pathlib.Path('.'))))"
    slow = json.loads(uncompiled(script, tmp_path))
    for name, values in everything(tmp_path).items():
        assert_allclose(slow[name], values, rtol=2e-6, atol=1e-10, err_msg=name)


def test_what_explain_says(tmp_path):
    script = """
import nlsq, test_uncompiled as t
for one in (t.scaled, nlsq.model(t.scaled), nlsq.compile(t.relaxation), nlsq.compile(t.scaled)):
    print(nlsq.explain(one).route, nlsq.explain(one).reason)
"""
    said = "plain nothing is compiled, as NLSQ_DISABLE_COMPILE asks"
    assert uncompiled(script, tmp_path).splitlines() == [said] * 4


def test_what_cannot_be_solved_is_refused_alike(tmp_path):
    script = """
import numpy as np, nlsq, test_uncompiled as t
model, y = nlsq.model(t.scaled), t.T.copy()
wrong = [
    (t.T, y[1:], None),
    (t.T.astype(int), y, None), (t.T, y, y[1:]), (t.T * np.nan, y, None),
    (t.T[::2], y[::2], None),
]
for x, y, weights in wrong:
    try:
        model.solve(x, y, [1.0, 1.0], weights)
    except ValueError as error:
        print(error)
try:
    nlsq.model(lambda t, a: t * a if a > 0 else t)
except TypeError as error:
    print(error)
"""
    said = uncompiled(script, tmp_path)
    assert len(said.splitlines()) == 6
    assert start(script, tmp_path) == said


def test_precompile_compiles_nothing(tmp_path):
    assert uncompiled("import nlsq; print(nlsq.precompile())", tmp_path).split() == ["0"]


@pytest.mark.parametrize("disabled", [False, True])
def test_the_examples_of_the_readme_run(tmp_path, disabled):
    assert "relaxation" in README
    printed = uncompiled(README, tmp_path) if disabled else start(README, tmp_path)
    assert "chi2" in printed


def test_sparse_problems_run_without_compilation(tmp_path):
    printed = uncompiled(
        "import numpy as np, nlsq\n"
        "from scipy.sparse import diags_array\n"
        "pattern = diags_array([np.ones(9), np.ones(10)], offsets=[-1, 0])\n"
        "def residual(x):\n"
        "    return np.concatenate([x[:1] - 1.0, x[1:] - 2.0 * x[:-1]])\n"
        "result = nlsq.solve(nlsq.LeastSquaresProblem(residual, np.zeros(10), jac='2-point', sparsity=pattern))\n"
        "problem = nlsq.BlockProblem()\n"
        "x = problem.add_parameters(np.zeros(10))\n"
        "problem.hold(x[0])\n"
        "problem.add_residuals(lambda a, b: b[0] - a[0] - 1.0, [x[:-1], x[1:]])\n"
        "print(result.converged, round(result.x[9]), round(nlsq.solve(problem)[x][9, 0]))\n",
        tmp_path,
    )
    assert printed.split() == ["True", "512", "9"]
