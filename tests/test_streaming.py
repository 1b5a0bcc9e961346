"""Fits that go over their data block by block: the same answers as a fit of the whole, from any source."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest

import nlsq
from nlsq.compiler.routes import route_of
from nlsq.fitting import single
from nlsq.fitting.core import identify_by_squares
from nlsq.fitting.streaming import call as streaming
from nlsq.fitting.streaming import source as streaming_source
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.chunks.sample import BLOCK, SAMPLE, Sample
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.status import Status

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

M = 2 * BLOCK + 12345
P0 = [2.0, 4.5, 1.0, 0.0, 0.5]
TRUE = np.array([3.0, 5.0, 0.7, 0.1, 1.0])


def peak(x, height, centre, width, slope, base):
    return height * np.exp(-0.5 * ((x - centre) / width) ** 2) + slope * x + base


def surface(x, a, b, c):
    return a * np.exp(-b * x[0]) + c * x[1]


def surface_of_two(x, a, b, c):
    u, v = x
    return a * np.exp(-b * u) + c * v


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    x = np.linspace(0.0, 10.0, M)
    return x, peak(x, *TRUE) + 0.1 * rng.normal(size=M)


@pytest.fixture
def low_threshold(monkeypatch):
    monkeypatch.setattr(streaming_source, "STREAMED_FROM", 1000)


def as_a_whole(monkeypatch, *arguments, **options):
    """Fit the ordinary way."""
    with monkeypatch.context() as patch:
        patch.setattr(single, "is_large", lambda y: False)
        result = nlsq.fit(*arguments, **options)
    assert not is_streamed(result)
    return result


def is_streamed(result):
    return result._core.task.data.streamed is not None


def streamed(*arguments, **options):
    result = nlsq.fit(*arguments, **options)
    assert is_streamed(result)
    assert result.fallbacks == []
    return result


def in_chunks(x, y, *sigma, sizes=(50_000,)):
    """Return a ChunkSource of pieces of such sizes, again and again."""

    def factory():
        start, k = 0, 0
        while start < y.size:
            stop = start + sizes[k % len(sizes)]
            rows = x[..., start:stop] if isinstance(x, np.ndarray) else tuple(row[start:stop] for row in x)
            yield (rows, y[start:stop], *(one[start:stop] for one in sigma))
            start, k = stop, k + 1

    return nlsq.ChunkSource(factory)


def assert_same(one, other, rtol=1e-9):
    assert one.converged == other.converged  # by whichever of the tests
    assert one.converged or one.status == other.status
    assert one.names == other.names
    np.testing.assert_allclose(one.params, other.params, rtol=rtol)
    np.testing.assert_allclose(one.stderr, other.stderr, rtol=1e-7)
    np.testing.assert_allclose(one.correlation, other.correlation, atol=1e-8)
    np.testing.assert_array_equal(one.identifiable, other.identifiable)
    np.testing.assert_array_equal(one.at_bound, other.at_bound)
    for name in ("cost", "chi2", "reduced_chi2", "r_squared", "aic", "bic"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9), name
    assert one.dof == other.dof
    assert one.omitted == other.omitted


def assert_identical(one, other):
    assert one.status == other.status
    assert one.nfev == other.nfev
    assert one.cost == other.cost
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(one.covariance, other.covariance)


# The same as a fit of the whole


OPTIONS = {
    "plain": {},
    "sigma": {"sigma": "deviations"},
    "absolute sigma": {"sigma": "deviations", "absolute_sigma": True},
    "one sigma": {"sigma": 0.1, "absolute_sigma": True},
    "weights": {"weights": "deviations"},
    "fixed": {"fixed": {"slope": 0.1}},
    "fixed at start": {"fixed": ["base"]},
    "bounds": {"bounds": {"height": (0.0, 10.0), "width": (0.1, 5.0)}},
    "active bound": {"bounds": {"height": (0.0, 2.9)}},
    "active lower bound": {"bounds": {"width": (0.8, None), "base": (-5.0, 5.0)}},
    "huber": {"loss": "huber", "loss_scale": 0.1},
    "soft_l1": {"loss": "soft_l1", "loss_scale": 0.2},
    "cauchy": {"loss": "cauchy", "loss_scale": 0.3, "sigma": 2.0},
    "arctan": {"loss": "arctan", "loss_scale": 2.0},
    "loose": {"tolerances": nlsq.Tolerances(cost=1e-4, step=1e-4)},
    "limited": {"max_evaluations": 3},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_result_is_that_of_a_fit_of_the_whole(name, data, low_threshold, monkeypatch):
    x, y = data
    deviations = 0.1 + 0.05 * np.cos(x)
    options = {k: deviations if isinstance(v, str) and v == "deviations" else v for k, v in OPTIONS[name].items()}
    start = dict(zip(("height", "centre", "width", "slope", "base"), P0, strict=True))
    found, expected = streamed(peak, x, y, start, **options), as_a_whole(monkeypatch, peak, x, y, start, **options)
    if name in ("loose", "limited"):  # they stop on the way
        assert found.status == expected.status
        np.testing.assert_allclose(found.params, expected.params, rtol=0.2 if name == "limited" else 1e-3)
        return
    assert_same(found, expected, rtol=1e-7)
    np.testing.assert_allclose(found.residual, expected.residual, atol=1e-8)
    np.testing.assert_allclose(found.jac, expected.jac, rtol=1e-6, atol=1e-8)


def test_summary_says_the_same(data, low_threshold, monkeypatch):
    x, y = data
    found, expected = streamed(peak, x, y, P0), as_a_whole(monkeypatch, peak, x, y, P0)
    lines, others = (one.summary().splitlines() for one in (found, expected))
    assert lines[0].startswith("Converged")
    assert lines[1].split(";")[0] == f"{M} values, 5 free of 5 parameters"
    assert lines[2:] == others[2:]


def test_several_variables(data, low_threshold, monkeypatch):
    rng = np.random.default_rng(3)
    x = np.stack((np.linspace(0.0, 3.0, M), rng.uniform(size=M)))
    y = surface(x, 2.0, 0.7, -1.0) + 0.01 * rng.normal(size=M)
    start = [1.0, 1.0, 0.0]
    expected = as_a_whole(monkeypatch, surface, x, y, start)
    found = streamed(surface, x, y, start)
    assert_same(found, expected)
    assert_identical(streamed(surface, np.ascontiguousarray(x.T).T, y, start), found)
    assert_identical(streamed(surface, np.stack((x[0], x[1], x[0]))[:2], y, start), found)
    assert_identical(streamed(surface_of_two, (x[0], x[1]), y, start), found)
    assert_identical(streamed(surface_of_two, [x[0], x[1]], y, start), found)
    assert_identical(streamed(surface, in_chunks(x, y), None, start), found)
    assert_identical(streamed(surface_of_two, in_chunks((x[0], x[1]), y), p0=start), found)


def test_one_row_of_two_axes_reaches_the_model_as_such(data, low_threshold):
    x, y = data

    def row(x, a, b):
        return a * x[0] + b

    found = streamed(row, x[np.newaxis], y, [0.0, 0.0])
    slope, base = np.polyfit(x, y, 1)
    np.testing.assert_allclose(found.params, [slope, base], rtol=1e-9)


def test_start_is_found_from_the_data(data, low_threshold, monkeypatch):
    x, y = data
    found = streamed(peak, x, y)
    assert found.nfev_start > 0
    np.testing.assert_allclose(found.params, as_a_whole(monkeypatch, peak, x, y, P0).params, rtol=1e-7)
    assert_identical(found, streamed(peak, in_chunks(x, y, sizes=(777, 40_000))))


def test_threshold(data):
    x, y = (one[:100_000] for one in data)
    assert y.size < streaming_source.STREAMED_FROM
    assert not is_streamed(nlsq.fit(peak, x, y, P0))
    size = streaming_source.STREAMED_FROM
    x = np.linspace(0.0, 10.0, size)
    assert is_streamed(nlsq.fit(peak, x, peak(x, *TRUE), P0))


# Any source


def test_chunking_changes_nothing(data, low_threshold):
    x, y = data
    expected = streamed(peak, x, y, P0)
    for sizes in ((M,), (BLOCK,), (1000, 1, 33_333), (BLOCK + 1, BLOCK - 1), (9 * BLOCK,)):
        assert_identical(streamed(peak, in_chunks(x, y, sizes=sizes), p0=P0), expected)


def test_memmap(tmp_path, data, low_threshold):
    x, y = data
    for name, values in (("x", x), ("y", y)):
        values.tofile(tmp_path / name)
    mapped = [np.memmap(tmp_path / name, dtype=np.float64, mode="r") for name in "xy"]
    found = streamed(peak, *mapped, P0)
    assert_identical(found, streamed(peak, x, y, P0))
    stored = pickle.dumps(found)
    assert len(stored) < 10_000
    copy = pickle.loads(stored)
    assert copy.summary() == found.summary()
    with pytest.raises(ValueError, match="pickled without its data"):
        copy.residual  # noqa: B018
    assert found.residual.size == M


@pytest.mark.parametrize("chunks", [None, 1000, 30_001, M])
def test_h5py(chunks, tmp_path, data, low_threshold):
    h5py = pytest.importorskip("h5py")
    x, y = data
    sigma = 0.1 + 0.01 * x
    with h5py.File(tmp_path / "data.h5", "w") as file:
        options = {} if chunks is None else {"chunks": (chunks,)}
        sets = [file.create_dataset(name, data=v, **options) for name, v in (("x", x), ("y", y), ("s", sigma))]
        found = streamed(peak, sets[0], sets[1], P0, sigma=sets[2])
        mixed = streamed(peak, x, sets[1], P0, sigma=sigma)
        expected = streamed(peak, x, y, P0, sigma=sigma)
        assert_identical(found, expected)
        assert_identical(mixed, expected)
        assert found.r_squared == expected.r_squared
        copy = pickle.loads(pickle.dumps(found))
    assert copy.summary() == expected.summary()
    with pytest.raises(ValueError, match="pickled without its data"):
        copy.residual  # noqa: B018


def test_h5py_rows_and_types(tmp_path, data, low_threshold):
    h5py = pytest.importorskip("h5py")
    x, _ = data
    rows = np.stack((x, np.cos(x))).astype(np.float32)
    y = surface(rows.astype(float), 2.0, 0.5, 1.0).astype(np.float16)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        stored = file.create_dataset("x", data=rows, chunks=(1, 4097)), file.create_dataset("y", data=y)
        found = streamed(surface, *stored, [1.0, 1.0, 0.0])
    assert_identical(found, streamed(surface, rows.astype(np.float64), y.astype(np.float64), [1.0, 1.0, 0.0]))


def test_zarr(data, low_threshold):
    zarr = pytest.importorskip("zarr")
    x, y = data
    stored = [zarr.array(values, chunks=(10_000,)) for values in (x, y)]
    assert_identical(streamed(peak, *stored, P0), streamed(peak, x, y, P0))


def test_dask(data, low_threshold):
    array = pytest.importorskip("dask.array")
    x, y = data
    stored = [array.from_array(values, chunks=20_000) for values in (x, y)]
    assert_identical(streamed(peak, *stored, P0), streamed(peak, x, y, P0))


def test_small_data_in_a_file_are_fitted_too(tmp_path):
    h5py = pytest.importorskip("h5py")
    x = np.linspace(0.0, 4.0, 50)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        found = nlsq.fit(peak, file.create_dataset("x", data=x), file.create_dataset("y", data=peak(x, *TRUE)), P0)
    assert found.dof == 45


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int32, np.uint8, ">f8", np.longdouble])
def test_types_are_read_as_they_are(kind, data, low_threshold, monkeypatch):
    x, y = data
    scaled = (20.0 * x).astype(kind), (30.0 * y).astype(kind)
    start = [60.0, 90.0, 20.0, 0.0, 15.0]
    exact = [np.asarray(one, dtype=np.float64) for one in scaled]
    found = streamed(peak, *scaled, start)
    assert_identical(found, streamed(peak, *exact, start))
    assert_same(found, as_a_whole(monkeypatch, peak, *scaled, start))
    assert found.residual.dtype == np.float64


def test_arrays_with_gaps(data, low_threshold):
    x, y = data
    wide = np.empty((M, 3))
    wide[:, 0], wide[:, 1] = x, y
    assert_identical(streamed(peak, wide[:, 0], wide[:, 1], P0), streamed(peak, x, y, P0))
    assert_identical(streamed(peak, x[::-1][::-1], y, P0), streamed(peak, x, y, P0))


def test_pandas(data, low_threshold):
    pandas = pytest.importorskip("pandas")
    x, y = data
    found = streamed(peak, pandas.Series(x), pandas.Series(y), P0, sigma=pandas.Series(np.full(M, 0.1)))
    assert_identical(found, streamed(peak, x, y, P0, sigma=np.full(M, 0.1)))


# Points that are left out


def test_missing_points(data, low_threshold, monkeypatch):
    x, y = (one.copy() for one in data)
    sigma = np.full(M, 0.1)
    y[[5, 40_000, M - 1]], x[50_000], sigma[60_000], sigma[9] = [np.nan, np.inf, np.nan], np.inf, np.nan, np.inf
    y[BLOCK : 2 * BLOCK] = np.nan  # a whole block
    found = streamed(peak, x, y, P0, sigma=sigma, nan_policy="omit")
    expected = as_a_whole(monkeypatch, peak, x, y, P0, sigma=sigma, nan_policy="omit")
    assert found.omitted == BLOCK + 5
    assert_same(found, expected)
    assert found.residual.size == M - found.omitted
    assert_identical(streamed(peak, in_chunks(x, y, sigma), p0=P0, nan_policy="omit"), found)
    two = np.stack((x, x))
    found = streamed(lambda x, *p: peak(x[0], *p), two, y, P0, sigma=sigma, nan_policy="omit")
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-9)


def test_start_from_the_few_points_that_there_are(low_threshold):
    x = np.linspace(0.0, 10.0, 20 * BLOCK)
    y = np.full(x.size, np.nan)
    y[1000:2000] = 2.0 * x[1000:2000] + 1.0

    def line(x, a, b):
        return a * x + b

    found = streamed(line, x, y, nan_policy="omit")
    np.testing.assert_allclose(found.params, [2.0, 1.0], rtol=1e-9)
    assert found.dof == 998


WRONG = {
    "y[40000] is nan; remove": lambda x, y, s: y.__setitem__(40_000, np.nan),
    "y[99999] is -inf": lambda x, y, s: y.__setitem__(99_999, -np.inf),
    "x[0] is inf": lambda x, y, s: x.__setitem__(0, np.inf),
    "sigma[66000] is 0.0; it must be positive": lambda x, y, s: s.__setitem__(66_000, 0.0),
    "sigma[1] is -1.0": lambda x, y, s: s.__setitem__(1, -1.0),
    "sigma[2] is nan; give the value": lambda x, y, s: s.__setitem__(2, np.nan),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_values_are_named(message, data, low_threshold):
    x, y = (one.copy() for one in data)
    sigma = np.full(M, 0.1)
    WRONG[message](x, y, sigma)
    for arguments in ({"x": x, "y": y, "sigma": sigma}, {"x": in_chunks(x, y, sigma)}):
        with pytest.raises(ValueError) as caught:
            nlsq.fit(peak, p0=P0, **arguments)
        assert message in str(caught.value)


def test_wrong_values_of_several_variables_are_named(data, low_threshold):
    x, y = data
    rows = np.stack((x, x))
    rows[1, 50_000] = np.nan
    with pytest.raises(ValueError, match=r"x\[1, 50000\] is nan"):
        nlsq.fit(surface, rows, y, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"x\[1\]\[50000\] is nan"):
        nlsq.fit(surface_of_two, (rows[0], rows[1]), y, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("value", [-1.0, np.inf, np.nan])
def test_wrong_weights_are_named(value, data, low_threshold):
    x, y = data
    weights = np.ones(M)
    weights[77_777] = value
    with pytest.raises(ValueError, match=r"weights\[77777\] is"):
        nlsq.fit(peak, x, y, P0, weights=weights)


# What happens on the way


def test_callback_sees_all_parameters_and_stops(data, low_threshold):
    x, y = data
    seen = []

    def stop(report):
        seen.append(report)
        return len(seen) == 2

    result = streamed(peak, x, y, P0, fixed=["slope"], callback=stop)
    assert result.status == Status.CALLBACK
    assert [report.nit for report in seen] == [1, 2]
    assert seen[0].x.shape == (5,)
    assert seen[0].x[3] == 0.0
    np.testing.assert_array_equal(result.params, seen[1].x)
    assert result.cost == seen[1].cost < seen[0].cost


def test_time_limit(data, low_threshold):
    assert streamed(peak, *data, P0, time_limit=0.0).status == Status.TIME_LIMIT


def test_progress(data, low_threshold, capsys):
    result = streamed(peak, *data, P0, progress=True)
    assert len(capsys.readouterr().out.splitlines()) == result.nfev - 1


def test_own_termination(data, low_threshold):
    class Once:
        def check(self, report, counters):
            assert counters.nfev == report.nfev
            return Status.STEP if report.nit == 2 else Status.RUNNING

    result = streamed(peak, *data, P0, tolerances=Once())
    assert (result.status, result.nit) == (Status.STEP, 2)


def test_best_point_survives_an_exception(data, low_threshold):
    def interrupt(report):
        if report.nit == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        nlsq.fit(peak, *data, P0, callback=interrupt)
    assert caught.value.result.nit == 2
    assert caught.value.result.status == Status.RUNNING
    assert "best point" in caught.value.__notes__[0]
    assert np.isfinite(caught.value.result.stderr).all()


def test_start_without_finite_values(data, low_threshold, monkeypatch):
    def root(x, a, b):
        return np.sqrt(a - x) + b

    found = streamed(root, *data, [1.0, 0.0])
    expected = as_a_whole(monkeypatch, root, *data, [1.0, 0.0])
    assert found.status == expected.status == Status.NONFINITE_START
    assert np.isnan(found.stderr).all()
    assert not found.identifiable.any()
    assert found.summary().splitlines()[0] == expected.summary().splitlines()[0]


def test_squares_of_derivatives_that_are_too_large(data, low_threshold, monkeypatch):
    def steep(x, a, b):
        return a * (1e200 * x) + b

    x, y = data
    found = nlsq.fit(steep, x, y, [0.0, 1.0])
    assert any("as a whole: their sums of squared derivatives are not finite" in one for one in found.fallbacks)
    expected = as_a_whole(monkeypatch, steep, x, y, [0.0, 1.0])
    assert found.status == expected.status
    np.testing.assert_array_equal(found.params, expected.params)
    found = nlsq.fit(steep, in_chunks(x, y), p0=[0.0, 1.0])
    assert found.status == Status.NONFINITE_JACOBIAN
    assert found.cost == pytest.approx(0.5 * np.sum((y - 1.0) ** 2), rel=1e-12)
    assert not found.identifiable.any()
    assert "unknown" in found.summary()
    assert found.fallbacks == []  # the status says it all


def test_nonfinite_steps_are_passed_over(low_threshold):
    x = np.linspace(0.0, 1.0, M)

    def logarithm(x, a, b):
        return np.log(a + x) * b

    result = streamed(logarithm, x, logarithm(x, 0.01, 2.0), [5.0, 1.0])
    np.testing.assert_allclose(result.params, [0.01, 2.0], rtol=1e-6)


# Where this way is not open


def redundant(x, height, rate, more):
    return height * np.exp(-(rate + more) * x)


def test_hard_problem_in_memory_is_fitted_as_a_whole(low_threshold, monkeypatch):
    x = np.linspace(0.0, 4.0, M)
    y = redundant(x, 2.0, 0.5, 0.5) + 0.01 * np.cos(9.0 * x)
    result = nlsq.fit(redundant, x, y, [1.0, 0.1, 0.1])
    assert not is_streamed(result)
    assert any("as a whole" in one for one in result.fallbacks)
    expected = as_a_whole(monkeypatch, redundant, x, y, [1.0, 0.1, 0.1])
    np.testing.assert_array_equal(result.params, expected.params)
    np.testing.assert_array_equal(result.identifiable, [True, False, False])


def test_hard_problem_in_chunks_says_so():
    x = np.linspace(0.0, 4.0, M)
    y = redundant(x, 2.0, 0.5, 0.5) + 0.01 * np.cos(9.0 * x)
    result = nlsq.fit(redundant, in_chunks(x, y), p0=[1.0, 0.1, 0.1])
    assert result.status == Status.STALLED
    assert "normal equations" in result.fallbacks[0]
    assert "normal equations" in result.summary()
    np.testing.assert_allclose(result.params, [2.0, 0.5, 0.5], atol=0.02)
    np.testing.assert_array_equal(result.identifiable, [True, False, False])
    np.testing.assert_allclose(np.abs(result.null_directions[0]), [0.0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-6)


def test_redundant_parameters_of_a_linear_model(data, low_threshold, monkeypatch):
    """One step that is damped just a little is enough, whatever the rank."""

    def constants(x, a, b, c):
        return a * x + (b + c)

    x, y = data
    for arguments in ((x, y), (in_chunks(x, y), None)):
        result = streamed(constants, *arguments, [1.0, 0.0, 0.0])
        assert result.converged
        np.testing.assert_array_equal(result.identifiable, [True, False, False])
        slope, base = np.polyfit(x, y, 1)
        np.testing.assert_allclose([result.params[0], result.params[1] + result.params[2]], [slope, base], rtol=1e-8)


WHOLE = {
    "mean": lambda x, a, b: a * (x - x.mean()) + b,
    "first": lambda x, a, b: a * (x - x[0]) + b,
    "length": lambda x, a, b: a * x / len(x) + b,
    "index": lambda x, a, b: a * np.arange(len(x)) + b * x,
    "neighbour": lambda x, a, b: a * np.concatenate((x[1:], x[:1])) + b,
    "branch": lambda x, a, b: a * x + b if a > 0 else b * x,
}


@pytest.mark.parametrize("name", WHOLE)
def test_models_that_do_not_go_by_points(name, data, low_threshold, monkeypatch):
    x, y = data
    model = WHOLE[name]
    result = nlsq.fit(model, x, y, [1.0, 0.5])
    assert not is_streamed(result)
    assert route_of(model, "model").reason in ("", "a branch on a value that depends on the parameters or the data")
    expected = as_a_whole(monkeypatch, model, x, y, [1.0, 0.5])
    np.testing.assert_array_equal(result.params, expected.params)
    with pytest.raises(ValueError, match="read in chunks cannot be fitted this way: the model"):
        nlsq.fit(model, in_chunks(x, y), p0=[1.0, 0.5])


@pytest.mark.parametrize("right", [[], [True]], ids=["at the start", "at the solution"])
@pytest.mark.parametrize("is_in_chunks", [False, True])
def test_graph_that_is_not_the_function(right, is_in_chunks, data, low_threshold, monkeypatch):
    def line(x, a, b):
        return a * x + b

    line.__code__ = line.__code__.replace(co_name=f"line{len(right)}{is_in_chunks}")  # a route of its own
    real, asked = streaming.agrees, []

    def agrees(kernels, residual, p):
        asked.append(p)
        assert real(kernels, residual, p)
        assert not real(kernels, lambda p: residual(p) + 1e-6, p)
        return len(asked) <= len(right)

    monkeypatch.setattr(streaming, "agrees", agrees)
    x, y = data
    if is_in_chunks:
        with pytest.raises(ValueError, match="cannot be fitted this way: its graph gives other values"):
            nlsq.fit(line, in_chunks(x, y), p0=[1.0, 0.5])
    else:
        result = nlsq.fit(line, x, y, [1.0, 0.5])
        assert not is_streamed(result)
        assert result.fallbacks[-1] == f"the model was called plainly: {DISAGREES}"
        np.testing.assert_allclose(result.params, np.polyfit(x, y, 1), rtol=1e-6)
    assert len(asked) == len(right) + 1
    assert asked[0].tolist() == [1.0, 0.5]
    assert "other values" in route_of(line, "model").reason


REFUSED = {
    "jac": {"jac": "3-point"},
    "starts": {"starts": 3},
    "method": {"method": "trf"},
    "loss": {"loss": lambda z: np.stack((z, np.ones_like(z), np.zeros_like(z)))},
    "rule": {"tolerances": nlsq.Tolerances(rule="scipy")},
    "held": {"fixed": ["height", "centre", "width", "slope", "base"]},
    "lm": {"method": "lm", "bounds": (-10.0, 10.0)},
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_need_the_whole(name, data, low_threshold):
    x, y = data
    names = dict(zip(("height", "centre", "width", "slope", "base"), P0, strict=True))
    with pytest.raises(ValueError, match="read in chunks cannot be fitted this way"):
        nlsq.fit(peak, in_chunks(x, y), p0=names, **REFUSED[name])
    if name != "lm":
        assert not is_streamed(nlsq.fit(peak, x, y, names, **REFUSED[name]))


def test_floating_point_errors_that_are_to_raise(data, low_threshold):
    x, y = data
    with np.errstate(all="raise"):
        assert not is_streamed(nlsq.fit(peak, x, y, P0))
        with pytest.raises(ValueError, match="NumPy is set to raise floating-point errors"):
            nlsq.fit(peak, in_chunks(x, y), p0=P0)


def test_models_of_other_kinds(data, low_threshold, tmp_path):
    x, y = data
    expected = streamed(peak, x, y, P0)
    model = nlsq.model(peak)
    assert_identical(streamed(model, x, y, P0), expected)
    model.save(tmp_path / "peak.json")
    assert_identical(streamed(nlsq.Model.load(tmp_path / "peak.json"), x, y, P0), expected)
    assert_identical(streamed(lambda x, *p: peak(x, *p), x, y, P0), expected)
    for width in (1.0, 2.0):  # a number that is symbolic in the graph from the second time on

        def narrow(x, height, centre, base, width=str(width), factor=width):
            return height * np.exp(-0.5 * ((x - centre) / (0.7 * factor)) ** 2) + base

        result = streamed(narrow, x, y, [2.0, 4.5, 1.0])
        start = peak(x, result.params[0], result.params[1], 0.7 * width, 0.0, result.params[2])
        np.testing.assert_allclose(result.residual, start - y, atol=1e-14)


def test_many_parameters_have_no_sums(data, low_threshold):
    x, y = data

    def waves(x, a, b, c, d, e, f, g, h, i, j, k):
        total = a
        for order, one in enumerate((b, c, d, e, f, g, h, i, j, k)):
            total = total + one * np.cos((order + 1) * x)
        return total

    assert not is_streamed(nlsq.fit(waves, x, y, np.zeros(11)))
    with pytest.raises(ValueError, match="11 parameters that are free, too many"):
        nlsq.fit(waves, in_chunks(x, y), p0=np.zeros(11))


def test_complex_and_masked_data_are_fitted_as_a_whole(data, low_threshold):
    x, y = data
    assert not is_streamed(nlsq.fit(peak, x, np.ma.masked_less(y, 0.9), P0))
    assert not is_streamed(nlsq.fit(lambda x, a, b: a * x + 1j * b, x, y + 1j, [1.0, 1.0]))


# Results


def test_pickling_takes_arrays_along(data, low_threshold):
    x, y = data
    found = streamed(peak, x, y, P0, loss="huber", loss_scale=0.1)
    copy = pickle.loads(pickle.dumps(found))
    assert copy.summary() == found.summary()
    np.testing.assert_array_equal(copy.residual, found.residual)
    np.testing.assert_array_equal(copy.predict(x[:3]), found.predict(x[:3]))


def test_data_in_chunks_have_no_residual(data):
    x, y = data
    result = streamed(peak, in_chunks(x, y), p0=P0, loss="soft_l1", loss_scale=0.2)
    for name in ("residual", "jac"):
        with pytest.raises(ValueError, match=r"read in chunks.*result\.predict"):
            getattr(result, name)
    with pytest.raises(ValueError, match="read in chunks"):
        result.predict()
    np.testing.assert_array_equal(result.predict(x[:3]), peak(x[:3], *result.params))
    values, lower, upper = result.predict(x[:3], 0.95)
    assert (lower < values).all()
    assert (values < upper).all()
    assert result.chi2 == pytest.approx(np.sum((peak(x, *result.params) - y) ** 2), rel=1e-12)
    copy = pickle.loads(pickle.dumps(result))
    assert copy.summary() == result.summary()


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("loss", ["linear", "huber"])
def test_report_of_data_in_a_closed_file(pickled, loss, tmp_path, data):
    h5py = pytest.importorskip("h5py")
    x, y = data
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = x, y
    with h5py.File(tmp_path / "data.h5", "r") as file:
        found = streamed(peak, file["x"], file["y"], P0, loss=loss)
        whole = nlsq.fit(peak, file["x"], file["y"], P0, loss=loss).summary()
    if pickled:
        found = pickle.loads(pickle.dumps(found))
    lines = found.summary().splitlines()
    (gone,) = (line for line in lines if line.startswith("without"))
    unknown = "R2" if loss == "linear" else "chi2, AIC, BIC, R2"
    assert gone == f"without {unknown}: the data, over which one more pass is needed, cannot be read any more"
    assert f"{found.dof} degrees of freedom" in found.summary()
    same = [line for line in lines if line is not gone and "degrees of freedom" not in line]
    assert same == [line for line in whole.splitlines() if "degrees of freedom" not in line]
    for name in ["r_squared"] + ["chi2", "aic"] * (loss == "huber"):
        with pytest.raises(ValueError, match=r"takes one more pass over the data, which cannot be read any more \("):
            getattr(found, name)


def test_report_of_data_that_are_still_open_is_complete_after_pickling(tmp_path, data):
    h5py = pytest.importorskip("h5py")
    x, y = data
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = x, y
        found = streamed(peak, file["x"], file["y"], P0)
        copy = pickle.loads(pickle.dumps(found))
    assert copy.summary() == found.summary()
    assert "without" not in copy.summary()


def test_squares_identify_what_the_jacobian_does():
    rng = np.random.default_rng(0)
    jac = rng.normal(size=(50, 4)) * [1.0, 1e5, 1e-3, 1.0]
    jac[:, 3] = jac[:, 0] + 1e-5 * jac[:, 1]
    found = identify_by_squares(jac.T @ jac)
    np.testing.assert_array_equal(found.identifiable, [False, False, True, False])
    full = identify_by_squares(jac[:, :3].T @ jac[:, :3])
    np.testing.assert_allclose(full.covariance, np.linalg.inv(jac[:, :3].T @ jac[:, :3]), rtol=1e-9)
    assert not identify_by_squares(np.full((2, 2), np.nan)).identifiable.any()


# Memory


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("policy", ["raise", "omit"])
def test_nothing_of_the_size_of_the_data_is_allocated(kind, policy):
    """Twice the points take no more memory, not even one byte for each of them."""
    size = 24 * BLOCK
    x = np.linspace(0.0, 10.0, size).astype(kind)
    y = peak(x, *TRUE.astype(kind)).astype(kind)
    if policy == "omit":
        y[::100_000] = np.nan
    sigma = np.full(size, 0.5, dtype=kind)

    def fit(step):
        result = streamed(peak, x[:step], y[:step], P0, sigma=sigma[:step], nan_policy=policy)
        assert result.r_squared > 0.9
        result.summary()

    fit(size)
    half, whole = (peak_memory(lambda step=step: fit(step)) for step in (size // 2, size))
    assert whole < 16 * 8 * BLOCK
    assert whole - half < 0.2 * size // 2


def test_sample_is_even_and_small():
    block_size, blocks = 10_000, 300
    sample = Sample()
    from nlsq.problem.chunks.blocks import Block

    for k in range(blocks):
        at = np.arange(k * block_size, (k + 1) * block_size, dtype=float)
        sample.take(Block(k * block_size, at, at, None), None)
    x, y, weights = sample.arrays()
    assert weights is None
    np.testing.assert_array_equal(x, y)
    assert SAMPLE <= x.size <= 2 * SAMPLE
    gaps = np.diff(x)
    assert gaps.min() > 0
    assert len(set(gaps)) <= 3
    assert gaps.max() < 3 * block_size * blocks / x.size
    known = Sample(block_size * blocks)
    for k in range(blocks):
        at = np.arange(k * block_size, (k + 1) * block_size, dtype=float)
        known.take(Block(k * block_size, at, at, None), None)
    np.testing.assert_array_equal(known.arrays()[0], x)
