"""Batches on a graphics processor, in numba's simulator: what the device computes is what the processor computes.

Nothing here needs a device. The simulator runs in a process of its own, for it has to be asked for before numba is
imported.
"""

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from references import device_batches

import nlsq
from nlsq.compiler.batch_source import BatchVariant
from nlsq.compiler.compile import kernels_of
from nlsq.compiler.interpret import jacobian
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.tracing.trace import trace_model
from nlsq.kernels import sum_step
from nlsq.kernels.backend import cuda
from nlsq.kernels.backend.device_source import WARP, columns_source, needed
from nlsq.kernels.backend.program import Statement
from nlsq.solvers.batch_cuda import batch_source

TESTS = Path(__file__).parent
CASES, X, Y = device_batches.CASES, device_batches.X, device_batches.Y


@pytest.fixture(scope="session")
def by_device(tmp_path_factory):
    """What the simulated device makes of all cases, and of the Jacobians."""
    pytest.importorskip("numba.cuda", reason="there is no numba.cuda: numba-cuda is not installed")
    path = tmp_path_factory.mktemp("device") / "found.pickle"
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", "references.device_batches", str(path)],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": paths},
        check=True,
    )
    return pickle.loads(path.read_bytes())


def assert_same(found, expected, tolerance):
    """Compare two results of a case.

    Which test of a minimum is met first, and whether the last step is kept, may hang on the last digits: so parameters
    may differ by a millionth of their standard errors.
    """
    converged = expected["status"] <= nlsq.Status.COST_AND_STEP
    np.testing.assert_array_equal(found["status"][~converged], expected["status"][~converged])
    assert (found["status"][converged] <= nlsq.Status.COST_AND_STEP).all()
    errors = np.sqrt(np.nan_to_num(np.diagonal(expected["covariance"], axis1=-2, axis2=-1)))
    np.testing.assert_array_equal(np.isnan(found["params"]), np.isnan(expected["params"]))  # rows without a fit
    difference = np.nan_to_num(np.abs(found["params"] - expected["params"]))
    allowed = tolerance * np.nan_to_num(np.abs(expected["params"])) + 1e-6 * errors + 1e-15
    assert (difference <= allowed).all(), difference
    np.testing.assert_allclose(found["cost"], expected["cost"], rtol=tolerance)
    np.testing.assert_allclose(found["covariance"], expected["covariance"], rtol=100 * tolerance, atol=1e-30)
    for field in ("points", "redone"):
        np.testing.assert_array_equal(found[field], expected[field])
    assert found["fallbacks"] == expected["fallbacks"]


# In the simulator


@pytest.mark.parametrize("name", sorted(set(CASES) - {"hard"}))
def test_fits_are_those_of_the_processor(by_device, name):
    found, expected = by_device[0][name], device_batches.fit(name, "cpu")
    assert_same(found, expected, 1e-9)
    assert not expected["redone"].any()
    np.testing.assert_allclose(found["nfev"], expected["nfev"], atol=1)


def test_hard_rows_are_solved_again_one_by_one(by_device):
    found, expected = by_device[0]["hard"], device_batches.fit("hard", "cpu")
    assert found["redone"].any()
    assert_same(found, expected, 1e-6)
    assert "1 of 2 fits were hard" in found["fallbacks"][0]


@pytest.mark.parametrize("name", sorted(device_batches.JACOBIANS))
def test_jacobians_of_many_fits_are_evaluated_in_one_launch(by_device, name):
    found, trace = by_device[1][name], device_batches.traced(name)
    params = device_batches.JACOBIANS[name][2]
    assert found.shape == (len(params), trace.m, params.shape[1])
    for one, p in zip(found, params, strict=True):
        np.testing.assert_allclose(one, jacobian(trace, p), rtol=1e-12, atol=1e-14)


# The source


def run_in_python(source, trace, leading, arrays, *others, seed=0):
    """Run a kernel as plain Python, by the only thread of the only group."""
    module = SimpleNamespace(
        shared=SimpleNamespace(array=np.empty),
        threadIdx=SimpleNamespace(x=0),
        blockIdx=SimpleNamespace(x=0, y=seed),
        grid=lambda axes: 0,
        gridsize=lambda axes: 1,
        syncthreads=lambda: None,
    )
    layout = kernels_of(trace).layout
    table = np.zeros(layout.size + 2, dtype=np.int64)
    table[0] = table[next(iter(layout.lengths.values()))] = trace.m
    strides = np.zeros(len(source.arrays) + 1, dtype=np.int64)
    arrays = arrays | {"x": X, "k": np.array([1.0, *trace.graph.constants])}
    function = cuda.function_of(source, module, cuda.python_functions())
    function(*leading, table, strides, *(arrays[one] for one in source.arrays), *others)


def solved_in_python(trace, y, start, options):
    """Return the state that the device's program as plain Python leaves."""
    kernels = kernels_of(trace)
    arrays = {"y": y, f"d{kernels.layout.size}": np.array(options)}
    state_out = np.zeros(sum_step.state_size(len(start)))
    row = np.zeros(1, dtype=np.int64)
    run_in_python(batch_source(kernels, BatchVariant(), 1), trace, [row], arrays, start, state_out)
    return state_out


@pytest.mark.parametrize("evaluations", [1, 2, 3, 5])  # the last steps are too short to be judged alike
def test_the_program_as_plain_python_takes_the_steps_of_the_lanes(evaluations):
    start = np.array(device_batches.START)
    trace = trace_model(device_batches.gaussian, X, start.size)
    options = [1e-12, 1e-10, 1e-10, evaluations, 200.0, np.finfo(float).eps]
    assert len(options) == sum_step.OPTIONS
    rules = nlsq.Tolerances(cost=1e-12, step=1e-10, optimality=1e-10)
    lanes = nlsq.fit_batch(device_batches.gaussian, X, Y, start, max_evaluations=evaluations, tolerances=rules)
    for row, y in enumerate(Y):
        state = solved_in_python(trace, y, start, options)
        x = state[sum_step.HEADER : sum_step.HEADER + start.size]
        np.testing.assert_allclose(x, lanes.params[row], rtol=1e-10)
        np.testing.assert_allclose(state[sum_step.COST], lanes.cost[row], rtol=1e-11)
        assert (state[sum_step.NFEV], state[sum_step.NIT]) == (lanes.nfev[row], lanes.nit[row])


@pytest.mark.parametrize("seed", range(4))
def test_a_thread_evaluates_the_derivative_by_its_parameter_alone(seed):
    trace = trace_model(device_batches.gaussian, X, 4)
    source = columns_source(kernels_of(trace).program("jacobian", Variant()), 4)
    params, jacobian_out = device_batches.PEAKS[1], np.full((X.size, 4), np.nan)
    run_in_python(source, trace, [], {}, params, jacobian_out.ravel(), seed=seed)
    np.testing.assert_allclose(jacobian_out[:, seed], jacobian(trace, params)[:, seed], rtol=1e-13)
    assert np.isnan(np.delete(jacobian_out, seed, axis=1)).all()


def test_a_column_needs_the_statements_before_it_alone():
    statements = [
        Statement("a", "+", ("p", 1.0)),
        Statement("b", "*", ("a", "a")),
        Statement("c", "exp", ("p",)),
        Statement("d", "-", ("b", 2.0)),
    ]
    assert [one.name for one in needed(statements, "d")] == ["a", "b", "d"]
    assert list(needed(statements, 0.0)) == []


def voigt(x, height, width, gamma, offset):
    from scipy.special import wofz

    return height * wofz((x + 1j * gamma) / (width * np.sqrt(2.0))).real + offset


def special(x, height, width, power, offset):
    from scipy.special import erf, expit, gammaln

    return height * gammaln(power + x**2) * erf(x) + expit(x / width) * np.cbrt(x - offset)


VARIANTS = {
    "plain": (device_batches.gaussian, BatchVariant()),
    "all": (device_batches.gaussian, BatchVariant(True, True, True, True, "huber")),
    "special functions": (special, BatchVariant()),
    "Voigt": (voigt, BatchVariant()),
}
SLOW = pytest.param("Voigt", marks=pytest.mark.slow)


def needs_compiler():
    """Skip where numba-cuda or NVIDIA's compilers are missing."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    loading = pytest.importorskip("cuda.pathfinder")
    for name in ("nvvm", "nvrtc"):
        try:
            loading.load_nvidia_dynamic_lib(name)
        except Exception as error:
            pytest.skip(f"no CUDA compiler: {error}".splitlines()[0])


@pytest.mark.parametrize("name", [*list(VARIANTS)[:-1], SLOW])
def test_kernels_compile_for_a_device(name):
    needs_compiler()
    model, variant = VARIANTS[name]
    kernels = kernels_of(trace_model(model, X, 4))
    for source in (
        batch_source(kernels, variant, WARP),
        columns_source(kernels.program("jacobian", Variant()), 4),
    ):
        text = cuda.assembly(source)
        assert ".entry" in text
        assert ".f64" in text
        assert ".extern .func" not in text  # all that it calls is there
        assert ".local" not in text or name == "special functions"  # states stay in registers (tan has a table)


def test_groups_grow_with_the_points(monkeypatch):
    monkeypatch.setattr(cuda, "is_simulated", lambda: False)
    assert [cuda.group_size(points) for points in (1, 100, 512, 1000, 10**6)] == [32, 32, 64, 96, 128]


MODELS = {
    1: lambda x, a: a * x,
    4: device_batches.gaussian,
    8: lambda x, a, b, c, d, e, f, g, h: a * np.exp(-b * x) + c * np.exp(-d * x) + e * x**f + g * np.cos(h * x),
    9: lambda x, a, b, c, d, e, f, g, h, i: a * np.exp(-b * x) + c * np.exp(-d * x) + e * x**f + g * np.cos(h * x) + i,
    10: lambda x, a, b, c, d, e, f, g, h, i, j: (
        a * np.exp(-b * x) + c * np.exp(-d * x) + e * x**f + g * np.cos(h * x) + i + j * x
    ),
}


@pytest.mark.parametrize("loss", ["linear", "huber"])
@pytest.mark.parametrize("n", MODELS)
def test_groups_have_room_in_shared_memory(n, loss):
    kernels = kernels_of(trace_model(MODELS[n], X, n))
    for threads in (32, 64, 96, 128):
        source = batch_source(kernels, BatchVariant(loss=loss), threads)
        doubles = [int(size) for size in re.findall(r"cuda\.shared\.array\((\d+), float64\)", source.text)]
        assert len(doubles) == 2
        assert 8 * sum(doubles) <= 49152
        assert source.threads % 32 == 0
        assert 32 <= source.threads <= threads
        assert source.threads == threads or 8 * sum(doubles) + 32 * 8 * doubles[1] > 49152  # no more have room
        steps = re.findall(r"range\(lane, .*, (\d+)\)", source.text)
        assert set(steps) == {str(source.threads)}


# Without a device


def test_without_a_device_the_error_says_what_is_missing():
    if pytest.importorskip("numba.cuda").is_available():
        pytest.skip("there is a device")
    with pytest.raises((RuntimeError, ImportError), match=r"pip install nlsq-numba\[cuda\]"):
        nlsq.fit_batch(device_batches.gaussian, X, Y, device_batches.START, device="cuda")


def test_without_numba_cuda_the_error_says_how_to_install_it(monkeypatch):
    import numba

    monkeypatch.delattr(numba, "cuda", raising=False)
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    with pytest.raises(ImportError, match=r"needs numba-cuda.*pip install nlsq-numba\[cuda\]"):
        nlsq.fit_batch(device_batches.gaussian, X, Y, device_batches.START, device="cuda")


def test_models_without_a_kernel_there_are_fitted_on_the_processor(monkeypatch):
    monkeypatch.setattr(cuda, "what_is_missing", lambda: None)

    def waves(x, a, b, c, d, e, f, g, h, i, j, k):
        return sum(p * np.cos(n * x / 2) for n, p in enumerate((a, b, c, d, e, f, g, h, i, j, k)))

    fits = nlsq.fit_batch(waves, X, Y, np.zeros(11), device="cuda")
    expected = nlsq.fit_batch(waves, X, Y, np.zeros(11))
    np.testing.assert_array_equal(fits.params, expected.params)
    assert "not on the device: the model has more than ten parameters" in fits.fallbacks[0]


def test_single_precision_becomes_double_on_a_device(monkeypatch):
    """A stand-in solves the fits, as the device would: in double precision."""
    from nlsq.solvers import batch_cuda
    from nlsq.solvers.batch_workers import LaneWorker

    def stand_in(kernels, binding, data, options, make_row_worker):
        return LaneWorker(kernels, binding, data, replace(options, single=False), make_row_worker)

    monkeypatch.setattr(cuda, "what_is_missing", lambda: None)
    monkeypatch.setattr(batch_cuda, "CudaWorker", stand_in)
    single = nlsq.fit_batch(device_batches.gaussian, X, Y, device_batches.START, device="cuda", dtype="float32")
    assert [note for note in single.fallbacks if "computed in double precision" in note]
    double = nlsq.fit_batch(device_batches.gaussian, X, Y, device_batches.START, device="cuda")
    assert not [note for note in double.fallbacks if "double" in note]


def test_unknown_devices_are_refused():
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'tpu'"):
        nlsq.fit_batch(device_batches.gaussian, X, Y, device_batches.START, device="tpu")


def test_code_of_the_guide_is_complete():
    """It runs as it stands, here on the processor."""
    text = (TESTS.parent / "docs" / "batch_cuda.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    namespace = {}
    exec(compile(code.replace('"cuda"', '"cpu"'), "docs/batch_cuda.md", "exec"), namespace)
    assert namespace["fits"].converged.all()
