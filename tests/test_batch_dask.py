"""Batches in Dask arrays: the numbers of the same batch in memory, whatever the chunks and wherever the tasks run."""

import subprocess
import sys
import time
import uuid
from dataclasses import fields

import numpy as np
import pytest
from references.dask_cluster import two_processes

import nlsq
from nlsq.kernels.backend import compile_disabled
from nlsq.status import BatchOutcome, Status

dask = pytest.importorskip("dask", reason="dask is not installed; it is in the extra 'dask'")
da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")
# Tests in threads run beside the client of others, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler:UserWarning")

X = np.linspace(0.0, 5.0, 40)
SHAPE = (6, 9)
CHUNKS = [(6, 9, 40), (2, 4, 40), (1, 9, 40), (4, 3, 13)]
SERIAL = "synchronous"
LOOSE = nlsq.Tolerances(cost=1e-4, step=1e-4, optimality=1e-4)


@pytest.fixture(scope="module")
def client():
    with two_processes() as client:
        yield client


@pytest.fixture(params=["threads", "processes of a cluster"])
def scheduler(request):
    """Where tasks run: in threads of this process, or on the workers."""
    if request.param == "threads":
        with dask.config.set(scheduler="threads"):
            yield None
    else:
        yield request.getfixturevalue("client")


def decay():
    """Return a model that is sent to workers by value, as one from a notebook is."""
    return lambda x, height, rate, level: height * np.exp(-rate * x) + level


def images(seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    height, rate = rng.uniform(1.0, 4.0, SHAPE), rng.uniform(0.3, 2.0, SHAPE)
    level = rng.uniform(0.0, 1.0, SHAPE)
    Y = decay()(X, *(one[..., np.newaxis] for one in (height, rate, level)))
    return Y + noise * rng.standard_normal(Y.shape), (height, rate, level)


def lazy(array, chunks=(2, 4, 40)):
    return da.from_array(array, chunks=chunks[: array.ndim])


def assert_same(result, expected):
    for field in fields(BatchOutcome):
        one, other = (getattr(each._core.outcome, field.name) for each in (result, expected))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=field.name)
    for name in ("shape", "names", "fallbacks", "interrupted"):
        assert getattr(result, name) == getattr(expected, name)
    for name in ("stderr", "covariance", "fixed", "at_bound", "reduced_chi2", "dof", "identifiable"):
        one, other = (np.asarray(getattr(each, name)) for each in (result, expected))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=name)


# The same numbers


@pytest.mark.parametrize("chunks", CHUNKS)
def test_numbers_are_those_of_arrays_in_memory(chunks, scheduler):
    Y, _ = images()
    Y[3, 4, 5:9], Y[5, 8], Y[0, 0, 2:] = np.nan, np.inf, np.nan  # points, a row, all but too few
    model = decay()
    expected = nlsq.fit_batch(model, X, Y, [1.0, 1.0, 0.0])
    assert expected.counts()[Status.TOO_FEW_POINTS] == 2
    assert_same(nlsq.fit_batch(model, X, lazy(Y, chunks), [1.0, 1.0, 0.0]), expected)


@pytest.mark.parametrize("scale", ["sigma", "weights"])
def test_what_each_fit_has_for_itself_is_cut_with_it(scale, scheduler):
    Y, (height, rate, _) = images(1)
    rng = np.random.default_rng(2)
    x = X + rng.uniform(0.0, 0.1, Y.shape)
    factors = {scale: rng.uniform(0.5, 2.0, Y.shape)}
    mask = rng.uniform(size=Y.shape) < 0.05
    upper = 1.2 * height
    model = decay()
    given = dict(bounds={"height": (0.0, upper), "rate": (None, 5.0)}, fixed={"level": 0.1 * rate})
    start = {"height": height, "rate": 1.0}
    expected = nlsq.fit_batch(model, x, Y, start, mask=mask, **factors, **given)
    assert np.count_nonzero(expected.at_bound["height"]) > 0
    in_dask = dict(bounds={"height": (0.0, lazy(upper)), "rate": (None, 5.0)}, fixed={"level": lazy(0.1 * rate)})
    factors_in_dask = {scale: lazy(factors[scale], (3, 9, 20))}
    start_in_dask = {"height": lazy(height), "rate": 1.0}
    assert_same(nlsq.fit_batch(model, x, lazy(Y), start, mask=mask, **factors, **given), expected)
    result = nlsq.fit_batch(
        model, lazy(x), lazy(Y), start_in_dask, mask=lazy(mask, (6, 1, 40)), **factors_in_dask, **in_dask
    )
    assert_same(result, expected)


@pytest.mark.parametrize("wrap", [np.asarray, lazy], ids=["numpy", "dask"])
def test_starts_and_bounds_of_each_fit_as_arrays(wrap):
    Y, truth = images(3)
    start = np.stack(truth, axis=-1)
    bounds = (0.5 * start, 1.002 * start + 1e-3)
    bounds[0][:2], bounds[1][:2] = -np.inf, np.inf  # a whole block is without bounds
    expected = nlsq.fit_batch(decay(), X, Y, start, bounds=bounds)
    assert expected.at_bound.any()
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(decay(), X, lazy(Y), wrap(start), bounds=tuple(map(wrap, bounds))), expected)


@pytest.mark.parametrize("wrap", [np.asarray, lambda array: da.from_array(array, chunks=7)], ids=["numpy", "dask"])
def test_what_all_fits_share_may_be_a_dask_array(wrap):
    Y, _ = images(4)
    sigma, mask = np.linspace(0.01, 0.03, X.size), X > 4.5
    expected = nlsq.fit_batch(decay(), X, Y, [1.0, 1.0, 0.0], sigma=sigma, mask=mask, absolute_sigma=True)
    with dask.config.set(scheduler=SERIAL):
        result = nlsq.fit_batch(
            decay(), wrap(X), lazy(Y), wrap(np.array([1.0, 1.0, 0.0])), sigma=wrap(sigma), mask=wrap(mask),
            absolute_sigma=True,
        )  # fmt: skip
    assert_same(result, expected)


def plane(x, a, b):
    return a * x[0] + np.exp(b * x[1])


@pytest.mark.parametrize("form", [tuple, np.stack])
@pytest.mark.parametrize("own", [False, True])
def test_several_variables_in_blocks_of_as_many_rows(form, own):
    """A block of two rows looks like two variables."""
    rng = np.random.default_rng(5)
    Y = plane((X, X[::-1] / 5), rng.uniform(1, 2, (8, 1)), rng.uniform(0, 1, (8, 1))) + rng.normal(0, 0.01, (8, 40))
    x = form([X + rng.uniform(0, 0.1, Y.shape), np.broadcast_to(X[::-1] / 5, Y.shape)] if own else [X, X[::-1] / 5])
    expected = nlsq.fit_batch(plane, x, Y, [1.0, 0.5])
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(plane, x, da.from_array(Y, chunks=(2, 40)), [1.0, 0.5]), expected)
        lazily = tuple(map(da.from_array, x)) if isinstance(x, tuple) else da.from_array(x)
        assert_same(nlsq.fit_batch(plane, lazily, da.from_array(Y, chunks=(2, 40)), [1.0, 0.5]), expected)


@pytest.mark.parametrize("wrap", [np.asarray, da.from_array], ids=["numpy", "dask"])
def test_rows_of_x_that_are_as_many_as_those_of_Y(wrap):
    """The model tells whether they are variables of all fits, or each fit's own."""
    x = np.stack([X, X[::-1] / 5])
    Y = np.stack([plane(x, 1.5, 0.5), plane(x, 1.2, 0.8)])
    expected = nlsq.fit_batch(plane, x, Y, [1.0, 0.3])
    np.testing.assert_allclose(expected.params, [[1.5, 0.5], [1.2, 0.8]], rtol=1e-8)
    own = nlsq.fit_batch(decay(), x, Y, [1.0, 1.0, 0.0])
    with dask.config.set(scheduler=SERIAL):
        for rows in (1, 2):
            lazily = da.from_array(Y, chunks=(rows, 40))
            assert_same(nlsq.fit_batch(plane, wrap(x), lazily, [1.0, 0.3]), expected)
            assert_same(nlsq.fit_batch(decay(), wrap(x), lazily, [1.0, 1.0, 0.0]), own)


def test_variables_of_which_one_is_shared():
    rng = np.random.default_rng(6)
    x = (X + rng.uniform(0, 0.1, (8, 40)), X[::-1] / 5)
    Y = plane(x, 1.5, 0.5)
    expected = nlsq.fit_batch(plane, x, Y, [1.0, 0.3])
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(plane, x, da.from_array(Y, chunks=(3, 40)), [1.0, 0.3]), expected)


@pytest.mark.parametrize("what", ["x", "Y", "sigma", "shared sigma"])
def test_masked_arrays(what):
    Y, _ = images(20)
    hidden = np.zeros(Y.shape, dtype=bool)
    hidden[1:3, 2:7, ::5], hidden[5, 8] = True, True
    arrays = {"x": X + np.zeros(Y.shape), "Y": Y, "sigma": np.full(Y.shape, 0.1)}
    if what == "shared sigma":
        what, arrays["sigma"], hidden = "sigma", np.full((1, 1, X.size), 0.1), hidden[1:2, 2:3]
    arrays[what] = np.ma.MaskedArray(np.where(hidden, -7.0, arrays[what]), hidden)
    expected = nlsq.fit_batch(decay(), **arrays, p0=[1.0, 1.0, 0.0])
    assert expected.points.min() < 40
    in_dask = {name: lazy(one) for name, one in arrays.items() if one.shape == Y.shape}
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(decay(), **(arrays | {"Y": lazy(arrays["Y"])}), p0=[1.0, 1.0, 0.0]), expected)
        assert_same(nlsq.fit_batch(decay(), **(arrays | in_dask), p0=[1.0, 1.0, 0.0]), expected)


@pytest.mark.parametrize("wrap", [np.asarray, da.from_array], ids=["numpy", "dask"])
def test_list_of_the_rows_of_x(wrap):
    Y = images(21)[0][0]
    x = [wrap(X + 0.01 * k) for k in range(len(Y))]
    expected = nlsq.fit_batch(decay(), [np.asarray(one) for one in x], Y, [1.0, 1.0, 0.0])
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(decay(), x, da.from_array(Y, chunks=(4, 40)), [1.0, 1.0, 0.0]), expected)


def test_starts_by_a_function_of_each_row(scheduler):
    Y, _ = images(7)

    def guess(x, Y):
        return np.column_stack([np.ptp(Y, axis=1), np.ones(len(Y)), Y.min(axis=1)])

    expected = nlsq.fit_batch(decay(), X, Y, guess)
    assert_same(nlsq.fit_batch(decay(), X, lazy(Y), guess), expected)


@pytest.mark.parametrize("held", [None, {"level": 0.5}])
def test_starts_that_are_found_lead_to_the_same_minima(held):
    Y, _ = images(8)
    expected = nlsq.fit_batch(decay(), X, Y, fixed=held)
    with dask.config.set(scheduler=SERIAL):
        result = nlsq.fit_batch(decay(), X, lazy(Y), fixed=held)
    assert expected.converged.all() and result.converged.all()
    np.testing.assert_allclose(result.params, expected.params, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_type_of_the_data(dtype):
    Y, _ = images(9)
    Y = (100.0 * Y).astype(dtype)
    x = X.astype(np.float32)
    expected = nlsq.fit_batch(decay(), x, Y, [100.0, 1.0, 0.0])
    with dask.config.set(scheduler=SERIAL):
        result = nlsq.fit_batch(decay(), x, lazy(Y), [100.0, 1.0, 0.0])
    assert result.params.dtype == expected.params.dtype
    assert_same(result, expected)


@pytest.mark.parametrize("shape", [(40,), (1, 40), (0, 40), (3, 0, 40)])
def test_one_row_or_none(shape):
    Y = np.broadcast_to(decay()(X, 2.0, 1.0, 0.5), shape)
    expected = nlsq.fit_batch(decay(), X, Y, [1.0, 1.0, 0.0])
    with dask.config.set(scheduler=SERIAL):
        assert_same(nlsq.fit_batch(decay(), X, da.from_array(Y), [1.0, 1.0, 0.0]), expected)


def test_data_are_made_where_they_are_fitted(client):
    """Nothing but results comes back: the blocks are drawn by the workers."""
    rows = da.random.default_rng(0).normal(2.0, 0.1, (600, 40), chunks=(150, 40))
    result = nlsq.fit_batch(lambda x, level: level + 0.0 * x, X, rows, [1.0])
    np.testing.assert_allclose(result["level"], rows.mean(axis=1).compute(), rtol=1e-8)


def test_notes_are_counted_together(scheduler):
    Y, _ = images(10)

    def by_hand(x, height, rate):
        return np.array([height * float(np.exp(-rate * one)) for one in x])

    Y = Y[:2, :2, ::4]
    expected = nlsq.fit_batch(by_hand, X[::4], Y, [1.0, 1.0], tolerances=LOOSE)
    (note,) = expected.fallbacks
    assert "row by row" in note
    assert_same(nlsq.fit_batch(by_hand, X[::4], lazy(Y, (1, 2, 10)), [1.0, 1.0], tolerances=LOOSE), expected)


@pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")
def test_hard_fits_are_counted_over_all_blocks():
    rng = np.random.default_rng(11)
    Y = np.exp(-X) + 0.3 * rng.standard_normal((40, 40))
    model = lambda x, a, b, c, d: a * np.exp(-b * x) + c * np.exp(-d * x)
    expected = nlsq.fit_batch(model, X, Y, [1.0, 1.0, 0.5, 1.1], max_evaluations=300)
    assert "fits were hard" in expected.fallbacks[0]
    with dask.config.set(scheduler=SERIAL):
        result = nlsq.fit_batch(model, X, da.from_array(Y, chunks=(7, 40)), [1.0, 1.0, 0.5, 1.1], max_evaluations=300)
    assert_same(result, expected)


# What is told, and stopping


def test_callback_hears_of_each_block_and_stops(scheduler):
    Y, _ = images(12)
    reports = []

    def third(report):
        reports.append(report)
        assert not (report.outcome.status[report.rows] == Status.NOT_FITTED).any()
        return len(reports) == 3

    result = nlsq.fit_batch(decay(), X, lazy(Y), [1.0, 1.0, 0.0], callback=third)
    assert result.interrupted
    assert [report.total for report in reports] == [54] * 3
    assert reports[-1].done == np.count_nonzero(result.status != Status.NOT_FITTED) < 54
    assert result.converged.sum() == reports[-1].done


def test_stopping_leaves_the_other_blocks_alone(scheduler, tmp_path):
    Y, _ = images(12)

    def slowly(block):
        time.sleep(0.05)
        (tmp_path / uuid.uuid4().hex).touch()
        return block

    slow = lazy(Y, (1, 1, 40)).map_blocks(slowly, dtype=float)
    result = nlsq.fit_batch(decay(), X, slow, [1.0, 1.0, 0.0], callback=lambda report: True)
    assert result.interrupted
    assert len(list(tmp_path.iterdir())) < 30


def test_keyboard_interrupt_keeps_what_was_fitted(scheduler):
    Y, _ = images(13)

    def press(report):
        raise KeyboardInterrupt

    result = nlsq.fit_batch(decay(), X, lazy(Y), [1.0, 1.0, 0.0], callback=press)
    assert result.interrupted
    assert 0 < result.converged.sum() < result.size


def test_rows_of_a_report(scheduler):
    Y, _ = images(14)
    seen = []
    nlsq.fit_batch(decay(), X, lazy(Y, (3, 9, 40)), [1.0, 1.0, 0.0], callback=lambda report: seen.append(report.rows))
    assert sorted(seen, key=lambda rows: rows.start) == [slice(0, 27), slice(27, 54)]
    nlsq.fit_batch(decay(), X, lazy(Y, (6, 5, 40)), [1.0, 1.0, 0.0], callback=lambda report: seen.append(report.rows))
    assert sorted(np.concatenate(seen[2:]).tolist()) == list(range(54))


def test_progress_counts_fits(capsys):
    pytest.importorskip("tqdm")
    Y, _ = images(15)
    with dask.config.set(scheduler=SERIAL):
        nlsq.fit_batch(decay(), X, lazy(Y), [1.0, 1.0, 0.0], progress=True)
    assert "54.0/54.0" in capsys.readouterr().err


# Errors


@pytest.mark.parametrize("wrap", [np.asarray, lazy], ids=["numpy", "dask"])
@pytest.mark.parametrize("scale", ["sigma", "weights"])
def test_error_names_the_place_in_the_whole(scale, wrap, scheduler):
    Y, _ = images(16)
    factors = np.full(Y.shape, 0.1)
    factors[5, 7, 3] = np.nan
    with pytest.raises(ValueError, match=rf"^{scale}\[5, 7, 3\] is not"):
        nlsq.fit_batch(decay(), X, lazy(Y), [1.0, 1.0, 0.0], **{scale: wrap(factors)})


def message_of(*arguments, **options):
    with pytest.raises(ValueError) as caught:
        nlsq.fit_batch(decay(), X, *arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [np.asarray, lazy], ids=["numpy", "dask"])
def test_error_in_a_start_or_a_bound_names_the_same_fit_as_in_memory(wrap):
    Y, truth = images(17)
    lower = np.zeros(SHAPE)
    lower[4, 2] = 9.0
    expected = message_of(Y, [1.0, 1.0, 0.0], bounds={"height": (lower, None)})
    assert "the start of height is outside its bounds" in expected
    assert message_of(lazy(Y), [1.0, 1.0, 0.0], bounds={"height": (wrap(lower), None)}) == expected
    starts = np.stack(truth, axis=-1)
    starts[1, 2, 0] = np.nan
    expected = message_of(Y, starts)
    assert "is not finite" in expected
    assert message_of(lazy(Y), wrap(starts)) == expected


class Broken(Exception):
    pass


def test_what_the_model_raises_passes_through(scheduler):
    Y, _ = images(18)

    def broken(x, a):
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model") as caught:
        nlsq.fit_batch(broken, X, lazy(Y), [1.0])
    assert any("of the Dask array" in note for note in caught.value.__notes__)


def test_what_the_callback_raises_has_what_was_fitted(scheduler):
    Y, _ = images(19)
    reports = []

    def refuse(report):
        reports.append(report)
        if len(reports) == 3:
            raise Broken

    with pytest.raises(Broken) as caught:
        nlsq.fit_batch(decay(), X, lazy(Y), [1.0, 1.0, 0.0], callback=refuse)
    result = caught.value.result
    assert result.shape == SHAPE
    assert result.interrupted
    assert result.converged.sum() == reports[-1].done == np.count_nonzero(result.status != Status.NOT_FITTED)
    assert (result._core.outcome.params[(result.status == Status.NOT_FITTED).ravel()] == [1.0, 1.0, 0.0]).all()
    assert "The fits that were done before" in caught.value.__notes__[-1]
    assert result.summary()


def test_what_a_task_raises_has_what_was_fitted_in_all_of_them(client):
    """Not what the task had done of its own block."""
    Y, _ = images(19)

    def fails_late(block, block_info=None):
        if block_info[0]["chunk-location"] == (2, 2, 0):
            raise Broken
        return block

    with dask.config.set(scheduler=SERIAL), pytest.raises(Broken) as caught:
        nlsq.fit_batch(decay(), X, lazy(Y).map_blocks(fails_late, dtype=float), [1.0, 1.0, 0.0])
    assert caught.value.result.shape == SHAPE
    calls = []

    def fails_after_a_block(x, height, rate, level):
        if len(calls) > 100:
            raise RuntimeError("no such model")
        calls.append(None)
        return np.array([height * float(np.exp(-rate * one)) + level for one in x])

    with dask.config.set(scheduler=SERIAL), pytest.raises(RuntimeError, match="no such model") as caught:
        nlsq.fit_batch(fails_after_a_block, X, lazy(Y), [1.0, 1.0, 0.0], tolerances=LOOSE)
    assert caught.value.result.shape == SHAPE
    assert len([note for note in caught.value.__notes__ if "The fits that were done" in note]) == 1
    assert len([note for note in caught.value.__notes__ if "of the Dask array" in note]) == 1


def given(**arguments):
    return arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (given(x=np.ones((3, 7))), ValueError, r"x has shape \(3, 7\), but Y has shape \(6, 9, 40\)"),
        (given(x=np.full(40, np.nan)), ValueError, r"x\[0\] is not finite"),
        (given(sigma=np.ones((6, 40))), ValueError, r"sigma has shape \(6, 40\)"),
        (given(mask=np.zeros((6, 9, 40))), TypeError, "mask must be of truth values"),
        (given(sigma=np.ones(40), weights=np.ones(40)), ValueError, "sigma and weights are two ways"),
        (given(p0=[1.0, 2.0]), Exception, "level|3"),
        (given(callback=3), TypeError, "callback must be callable, got int"),
        (given(threads=0), ValueError, "threads must be a whole number >= 1"),
        (given(tolerances=3), TypeError, "tolerances"),
        (given(bounds=((0, 0), (1, 1))), ValueError, "bounds"),
        (given(Y=lazy(np.ones((2, 0)), (2, 1))), ValueError, r"Y has shape \(2, 0\)"),
        (given(Y=da.from_array(np.ones(40))[da.from_array(np.ones(40)) > 0.5]), ValueError, "chunks of unknown size"),
        (given(Y=lazy(np.ones((2, 4, 40), dtype=complex))), TypeError, "Y must be real numbers"),
    ],
)
def test_arguments_are_checked_before_anything_is_fitted(arguments, error, message):
    def never(x, Y):
        raise AssertionError("was called")

    start = arguments.pop("p0", [1.0, 1.0, 0.0])
    Y = arguments.pop("Y", None)
    if Y is None:
        Y = lazy(images()[0]).map_blocks(never, dtype=float)
    with dask.config.set(scheduler=SERIAL), pytest.raises(error, match=message):
        nlsq.fit_batch(decay(), arguments.pop("x", X), Y, start, **arguments)


def test_dask_is_imported_for_dask_arrays_alone():
    code = (
        "import sys, numpy as np, nlsq; x = np.arange(5.0)\n"
        "nlsq.fit_batch(lambda x, a: a * x, x, x[np.newaxis], [2.0]); print('dask' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["False"]
