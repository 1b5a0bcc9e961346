"""Single fits of Dask arrays: the sums are formed in tasks, and the numbers are those of arrays in memory."""

import pickle
import time
import uuid
from itertools import pairwise

import numpy as np
import pytest
from references.dask_cluster import two_processes

import nlsq
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.chunks.arrays import ArraySource
from nlsq.problem.chunks.blocks import BLOCK, BlockedData
from nlsq.problem.chunks.sample import SAMPLE, Sample
from nlsq.status import Status

dask = pytest.importorskip("dask", reason="dask is not installed; it is in the extra 'dask'")
da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")
streaming_dask = pytest.importorskip("nlsq.fitting.distributed.streaming")
pytestmark = [
    pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set"),
    pytest.mark.filterwarnings(
        "ignore:Running on a single-machine scheduler:UserWarning"
    ),  # beside a client, on purpose
]

POINTS = 5 * BLOCK + 1234
START = {"height": 2.0, "center": 4.5, "width": 1.0, "offset": 0.5}
SERIAL = "synchronous"


@pytest.fixture(scope="module")
def client():
    with two_processes() as client:
        yield client


@pytest.fixture(params=["threads", "processes of a cluster"])
def scheduler(request):
    if request.param == "threads":
        with dask.config.set(scheduler="threads"):
            yield None
    else:
        yield request.getfixturevalue("client")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Keep the chunks of these few points apart."""
    monkeypatch.setattr(streaming_dask, "FEWEST", 1)


def peak():
    """Return a model that is sent to workers by value, as one from a notebook is."""
    return lambda x, height, center, width, offset: height * np.exp(-0.5 * ((x - center) / width) ** 2) + offset


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 10.0, POINTS)
    y = peak()(x, 3.0, 5.0, 0.7, 1.0) + rng.normal(0.0, 0.1, x.size)
    return x, y, rng.uniform(0.5, 2.0, x.size)


def lazy(array, chunks=50_000):
    return da.from_array(array, chunks=(*array.shape[:-1], chunks))


def assert_same(result, expected):
    for name in ("params", "cost", "covariance", "stderr", "chi2", "nfev", "njev", "nit", "status", "omitted", "dof"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=name)
    assert result.fallbacks == expected.fallbacks
    assert result.r_squared == expected.r_squared


CHUNKS = [BLOCK, 3 * BLOCK, 10_000, 100_003, POINTS]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_numbers_are_those_of_arrays_in_memory(chunks, data, scheduler):
    x, y, _ = data
    model = peak()
    assert_same(nlsq.fit(model, lazy(x, chunks), lazy(y, chunks), START), nlsq.fit(model, x, y, START))


@pytest.mark.parametrize("scale", ["sigma", "weights"])
def test_scale_loss_bounds_and_missing_points(scale, data, scheduler):
    x, y, factors = data
    y, x = y.copy(), x.copy()
    y[[3, BLOCK + 5, POINTS - 1]], y[2 * BLOCK : 3 * BLOCK], x[4 * BLOCK] = np.nan, np.inf, np.nan
    options = dict(
        bounds={"height": (0, 2.9), "width": (0.1, 2)}, fixed={"offset": 1.0}, loss="soft_l1", loss_scale=0.3,
        nan_policy="omit",
    )  # fmt: skip
    expected = nlsq.fit(peak(), x, y, START, **{scale: factors}, **options)
    assert expected.omitted == BLOCK + 4 and expected.params["height"] == 2.9
    assert_same(nlsq.fit(peak(), lazy(x), lazy(y, BLOCK), START, **{scale: lazy(factors, 33_333)}, **options), expected)


@pytest.mark.parametrize("form", [tuple, np.stack])
def test_several_variables(form, data, scheduler):
    x, y, _ = data
    both = form([x, np.cos(x)])

    def plane(x, a, b, c):
        return a * np.exp(-b * x[0]) + c * x[1]

    expected = nlsq.fit(plane, both, y, [1.0, 0.1, 1.0], sigma=0.1, absolute_sigma=True)
    parts = tuple(map(lazy, both)) if form is tuple else da.from_array(both, chunks=(1, 44_444))
    assert_same(nlsq.fit(plane, parts, lazy(y), [1.0, 0.1, 1.0], sigma=0.1, absolute_sigma=True), expected)


@pytest.mark.parametrize("dtypes", [("f4", "i2"), ("u1", "f8")])
def test_other_types(dtypes, data):
    x, y, _ = data
    x, y = (10 * x).astype(dtypes[0]), (100 * y).astype(dtypes[1])
    start = {"height": 200.0, "center": 45.0, "width": 10.0, "offset": 50.0}
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit(peak(), lazy(x), lazy(y), start), nlsq.fit(peak(), x, y, start))


def test_starts_are_found_on_the_same_points(data, scheduler):
    x, y, _ = data
    assert_same(nlsq.fit(peak(), lazy(x), lazy(y)), nlsq.fit(peak(), x, y))


@pytest.mark.parametrize("which", ["x", "y"])
def test_arrays_in_memory_beside_dask_arrays(which, data):
    x, y, factors = data
    given = {"x": x, "y": y} | {which: lazy({"x": x, "y": y}[which])}
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit(peak(), **given, p0=START, sigma=factors), nlsq.fit(peak(), x, y, START, sigma=factors))


def test_few_points(scheduler):
    x = np.linspace(0.0, 5.0, 40)
    y = 2.0 * np.exp(-x)
    result = nlsq.fit(
        lambda x, a, b: a * np.exp(-b * x), da.from_array(x, chunks=7), da.from_array(y, chunks=9), [1, 1]
    )
    np.testing.assert_allclose(list(result.params), [2.0, 1.0], rtol=1e-8)


def test_data_stay_on_the_cluster(client, tmp_path):
    """They are made once, and later passes do not make them again."""

    def make(x):
        (tmp_path / uuid.uuid4().hex).touch()
        return np.exp(-x)

    x = da.linspace(0.0, 1.0, 4 * BLOCK, chunks=BLOCK)
    result = nlsq.fit(lambda x, a, b: a + b * x, x, x.map_blocks(make, dtype=float, meta=np.empty(0)), [1.0, 1.0])
    assert 0.9 < result.r_squared < 1.0
    assert result.nfev > 1
    assert len(list(tmp_path.iterdir())) == 4


def test_chunks_are_whole_blocks(monkeypatch):
    monkeypatch.setattr(streaming_dask, "FEWEST", 4)
    lengths = streaming_dask.chunk_lengths
    assert lengths((4 * BLOCK, 4 * BLOCK, 17)) == (4 * BLOCK, 4 * BLOCK, 17)
    assert lengths((8 * BLOCK, 4 * BLOCK)) == (8 * BLOCK, 4 * BLOCK)
    assert lengths((100,)) == (100,)
    assert lengths((BLOCK, BLOCK, 5)) == (2 * BLOCK + 5,)
    assert lengths((5 * BLOCK + 1, 5 * BLOCK)) == (5 * BLOCK, 5 * BLOCK, 1)
    assert max(lengths((10**8 + 1,) * 2)) == streaming_dask.MOST * BLOCK


@pytest.mark.parametrize("omit", [True, False])
@pytest.mark.parametrize("cuts", [[2], [1, 2, 3], [1, 5]])
def test_samples_join_to_that_of_the_whole(cuts, omit):
    x = np.arange(6.5 * BLOCK)
    whole = BlockedData(ArraySource(x, x), "sigma", None, omit)
    whole.check()
    parts = []
    edges = [0, *[cut * BLOCK for cut in cuts], x.size]
    for begin, end in pairwise(edges):
        source = streaming_dask.PartSource(ArraySource(x[begin:end], x[begin:end]), begin, x.size)
        part = BlockedData(source, "sigma", None, omit, is_part=True)
        part.check()
        parts.append(part.sample)
    joined = parts[0]
    for part in parts[1:]:
        joined.extend(part)
    for one, other in zip(joined.arrays(), whole.sample.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert SAMPLE / 2 < joined.arrays()[1].size <= 2 * SAMPLE
    assert isinstance(joined, Sample)


# What is refused, and how it is said


@pytest.mark.parametrize("what", ["x", "y", "sigma"])
def test_error_names_the_index_in_the_whole(what, data, scheduler):
    arrays = dict(zip(("x", "y", "sigma"), (one.copy() for one in data), strict=True))
    arrays[what][123_456] = np.nan
    with pytest.raises(ValueError, match=rf"^{what}\[123456\] is nan"):
        nlsq.fit(peak(), **{name: lazy(one) for name, one in arrays.items()}, p0=START)


@pytest.mark.parametrize("first", [5, 2 * BLOCK + 7])
def test_error_names_the_first_of_several_wrong_values(first, data, scheduler):
    """Whichever task ends first."""
    x, y, sigma = (one.copy() for one in data)
    y[first], y[4 * BLOCK], x[4 * BLOCK + 1], sigma[-1] = np.inf, np.nan, np.nan, -1.0
    with pytest.raises(ValueError) as expected:
        nlsq.fit(peak(), x, y, START, sigma=sigma)
    assert str(expected.value).startswith(f"y[{first}] is inf")

    def late(block, block_info=None):
        """Let the chunk of the first one be the last to come."""
        begin, end = block_info[0]["array-location"][0]
        time.sleep(0.3 * (begin <= first < end))
        return block

    lazily = lazy(y, BLOCK).map_blocks(late, dtype=float)
    with pytest.raises(ValueError) as caught:
        nlsq.fit(peak(), lazy(x), lazily, START, sigma=lazy(sigma))
    assert str(caught.value) == str(expected.value)


def test_error_where_nothing_is_left():
    y = lazy(np.full(100_000, np.nan))
    with dask.config.set(scheduler=SERIAL), pytest.raises(ValueError, match="all 100000 points are missing"):
        nlsq.fit(peak(), lazy(np.ones(100_000)), y, START, nan_policy="omit")


def test_error_for_masked_chunks(data):
    x, y, _ = data
    masked = da.ma.masked_greater(lazy(y), 3.0)
    with dask.config.set(scheduler=SERIAL), pytest.raises(TypeError, match="y is masked"):
        nlsq.fit(peak(), lazy(x), masked, START)


def test_error_for_chunks_of_unknown_size(data):
    x, y, _ = (lazy(one) for one in data)
    with pytest.raises(ValueError, match=r"y has chunks of unknown size; call y.compute_chunk_sizes\(\) first"):
        nlsq.fit(peak(), x, y[y > 0], START)
    with pytest.raises(ValueError, match="x has chunks of unknown size"):
        nlsq.fit(peak(), x[y > 0], y, START)


def test_error_for_a_model_that_looks_at_all_points(data):
    x, y, _ = (lazy(one) for one in data)
    with dask.config.set(scheduler=SERIAL), pytest.raises(ValueError, match="depends on other points"):
        nlsq.fit(lambda x, a, b: a + b * (x - x.mean()), x, y, [1.0, 1.0])


def test_what_the_callback_raises_has_the_best_point(data, scheduler):
    x, y, _ = (lazy(one) for one in data)

    def interrupt(report):
        if report.nit == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        nlsq.fit(peak(), x, y, START, callback=interrupt)
    assert caught.value.result.nit == 2


def test_limit_and_callback_are_those_of_any_fit(data, scheduler):
    x, y, _ = data
    expected = nlsq.fit(peak(), x, y, START, max_evaluations=3)
    result = nlsq.fit(peak(), lazy(x), lazy(y), START, max_evaluations=3)
    assert result.status == expected.status == Status.MAX_EVALUATIONS
    assert_same(result, expected)


def test_result_says_what_it_has_not(data, scheduler):
    x, y, _ = data
    result = nlsq.fit(peak(), lazy(x), lazy(y), START)
    with pytest.raises(ValueError, match="never made"):
        result.residual  # noqa: B018
    np.testing.assert_array_equal(result.predict(x[:5]), peak()(x[:5], *result.params))
    again = pickle.loads(pickle.dumps(nlsq.fit(module_model, lazy(x), lazy(y), [1.0, 0.1])))
    assert again.r_squared > 0 and again.nit > 0


def module_model(x, a, b):
    return a * np.exp(-b * x)
