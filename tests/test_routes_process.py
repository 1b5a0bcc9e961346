"""Compiled functions among threads, in memory, in other processes, and with caches of every kind."""

import gc
import os
import shutil
import subprocess
import sys
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes
from nlsq.kernels.backend import cache as kernel_cache

X = np.linspace(0.1, 4.0, 40)
P0 = (1.0, 1.0)
THREADS = 8


def make_model(offsets, scale):
    return lambda x, a, b: scale * a * np.exp(-b * x) + offsets


def make_residual(offsets, y):
    return lambda p: p[0] * np.exp(-p[1] * X) + offsets - y


def jobs():
    """Functions of one code with data and numbers of their own, each with what it is fitted to."""
    for k in range(40):
        offsets = np.full(40, 0.05 * k)
        yield offsets, (2.0 + 0.1 * k) * np.exp(-(0.5 + 0.02 * k) * X) + offsets, 1.0 + k % 3


def curve_fit(job):
    offsets, y, scale = job
    return np.concatenate([nlsq.curve_fit(make_model(offsets, scale), X, y, P0)[0] for _ in range(3)])


def fit(job):
    offsets, y, scale = job
    return np.concatenate([nlsq.fit(make_model(offsets, scale), X, y, P0).params for _ in range(3)])


def least_squares(job):
    offsets, y, _ = job
    return np.concatenate([nlsq.least_squares(make_residual(offsets, y), P0).x for _ in range(3)])


def leastsq(job):
    offsets, y, _ = job
    return np.concatenate([nlsq.leastsq(make_residual(offsets, y), P0)[0] for _ in range(3)])


@pytest.fixture
def switching_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("solve", [curve_fit, fit, least_squares, leastsq])
def test_threads_get_the_serial_results(solve, switching_often):
    for _ in range(3):  # the first round compiles in all threads at once
        routes.forget()
        with ThreadPoolExecutor(THREADS) as pool:
            concurrent = list(pool.map(solve, jobs()))
        assert_allclose(concurrent, [solve(job) for job in jobs()], rtol=1e-9)


def test_threads_share_one_function(switching_often):
    offsets, y, scale = next(iter(jobs()))
    model = make_model(offsets, scale)
    asked = nlsq.model(lambda x, a, b: a * np.exp(-b * x))
    with ThreadPoolExecutor(THREADS) as pool:
        params = list(pool.map(lambda k: nlsq.curve_fit(model, X, y + 0.1 * k, P0)[0], range(64)))
        solved = list(pool.map(lambda k: asked.solve(X, y + 0.1 * k, P0).params, range(64)))
    for k in range(64):
        assert_allclose(params[k], nlsq.curve_fit(model, X, y + 0.1 * k, P0)[0], rtol=1e-9)
        assert_array_equal(solved[k], asked.solve(X, y + 0.1 * k, P0).params)


def test_memory_does_not_grow_with_functions_made_anew():
    x = np.linspace(0.1, 4.0, 20_000)
    y = 2.0 * np.exp(-0.7 * x) + 0.01 * np.sin(17.0 * x)
    kept = []

    def one():
        offsets = np.full(x.size, 0.01)
        kept.append(weakref.ref(offsets))
        nlsq.curve_fit(lambda t, a, b: a * np.exp(-b * t) + offsets, x, y, P0)
        nlsq.least_squares(lambda p: p[0] * np.exp(-p[1] * x) + offsets - y, P0)

    for _ in range(10):
        one()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        one()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2 * x.nbytes
    assert sum(reference() is not None for reference in kept) <= 6


def solve_by_code_of_its_own(k):
    """Fit functions made by `eval`; return a reference to the array that they read."""
    offsets = np.full(40, 0.1 * k)
    model = eval(f"lambda offsets: lambda x, a, b: a * np.exp(-b * x) + {k} * offsets")(offsets)
    nlsq.curve_fit(model, X, 2.0 * np.exp(-0.7 * X) + k * offsets, P0)
    assert routes.route_of(model, "model").latest is not None
    wave = eval(f"lambda offsets: lambda p: p[0] * np.exp(-p[1] * X) - {k} * offsets - np.cos(X)")(offsets)
    nlsq.least_squares(wave, P0)
    assert routes.route_of(wave, "residual").latest is not None
    return weakref.ref(offsets)


def test_many_codes_do_not_keep_their_data():
    """Each a function of its own code: what is kept of them has an end, and goes when it is forgotten."""
    kept = [solve_by_code_of_its_own(k) for k in range(20)]
    routes.forget()
    gc.collect()
    assert not any(reference() is not None for reference in kept)
    for k in range(routes.MOST_ROUTES + 20):
        routes.route_of(eval(f"lambda x, a: a * x + {k}"), "model")
    assert len(routes._routes["model"]) <= routes.MOST_ROUTES


SCRIPT = """
import numpy as np, nlsq
from nlsq.compiler import routes
routes.WORTH_COMPILING = 0.0
x = np.linspace(0.1, 4.0, 40)
y = 2.0 * np.exp(-0.7 * x)
model = lambda x, a, b: a * np.exp(-b * x)
for _ in range(3):
    assert np.allclose(nlsq.curve_fit(model, x, y, (1.0, 1.0))[0], [2.0, 0.7])
    assert np.allclose(nlsq.fit(model, x, y, (1.0, 1.0)).params, [2.0, 0.7])
    assert np.allclose(nlsq.least_squares(lambda p: model(x, *p) - y, (1.0, 1.0)).x, [2.0, 0.7])
print(nlsq.explain(model).route, routes.route_of(model, "model").latest is not None)
"""


def run(script, **environment):
    paths = os.pathsep.join([str(Path(nlsq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


def generated(folder):
    return sorted(path for path in Path(folder).rglob("nlsq_generated_*") if path.is_file())


def test_nothing_is_compiled_where_that_is_forbidden(tmp_path):
    assert run(SCRIPT, NLSQ_DISABLE_COMPILE="1", NLSQ_CACHE_DIR=str(tmp_path)) == ["plain", "False"]
    assert not generated(tmp_path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache that a first process has filled; the library's own kernels are this process's."""
    nlsq.leastsq(lambda p: p - 1.0, [0.0])
    folder = tmp_path_factory.mktemp("cache")
    own = kernel_cache.folder()
    if own is not None:
        ignored = shutil.ignore_patterns("nlsq_generated_*", "nlsq_code_*")
        shutil.copytree(own, folder / own.name, ignore=ignored)
    assert run(SCRIPT, NLSQ_CACHE_DIR=str(folder)) == ["compiled", "True"]
    assert generated(folder)
    return folder


def test_a_process_finds_what_another_compiled(cache):
    before = {path: path.stat().st_mtime_ns for path in generated(cache)}
    assert run(SCRIPT, NLSQ_CACHE_DIR=str(cache)) == ["compiled", "True"]
    assert {path: path.stat().st_mtime_ns for path in generated(cache)} == before


def test_a_function_known_from_disk_is_compiled_at_once(cache):
    script = SCRIPT.replace("routes.WORTH_COMPILING = 0.0", "")
    assert run(script, NLSQ_CACHE_DIR=str(cache)) == ["compiled", "True"]


def test_a_damaged_cache_is_compiled_anew(cache):
    for k, path in enumerate(generated(cache)):
        content = path.read_bytes()
        path.write_bytes([b"", b"no machine code", content[: len(content) // 2]][k % 3])
    assert run(SCRIPT, NLSQ_CACHE_DIR=str(cache)) == ["compiled", "True"]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("this is no folder")
    assert run(SCRIPT, NLSQ_CACHE_DIR=str(blocked / "cache")) == ["compiled", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_goes_on(cache):
    script = (
        SCRIPT
        + """
import os
child = os.fork()
if child == 0:
    other = lambda x, a, b: a / (1.0 + b * x)
    ok = np.allclose(nlsq.curve_fit(model, x, y, (1.0, 1.0))[0], [2.0, 0.7])
    ok = ok and np.allclose(nlsq.curve_fit(other, x, 2.0 / (1.0 + 0.7 * x), (1.0, 1.0))[0], [2.0, 0.7])
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    )
    assert run(script, NLSQ_CACHE_DIR=str(cache)) == ["compiled", "True"]
