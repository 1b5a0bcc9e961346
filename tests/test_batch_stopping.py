"""Batches that are watched, stopped and interrupted, and batches without compiled code."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nlsq import Status, fit_batch
from nlsq.solvers import batch as chunks

M, B = 30, 60
X = np.linspace(0.0, 4.0, M)
RNG = np.random.default_rng(7)
TRUTH = np.column_stack([RNG.uniform(1, 5, B), RNG.uniform(0.4, 2, B), RNG.uniform(-1, 1, B)])
SHARED = [2.0, 1.0, 0.0]


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def interpolated(x, a, b, c):
    return np.interp(x, x, a * np.exp(-b * x) + c)


Y = np.stack([decay(X, *p) for p in TRUTH]) + 0.02 * RNG.standard_normal((B, M))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "MOST_ROWS", 8)
    monkeypatch.setattr(chunks, "LEAST_ROWS", 8)
    monkeypatch.setattr("nlsq.fitting.batch.each.REPORTS", 0.0)


def assert_is_part(part, whole):
    """Rows that were reached are as in the whole; the others have no numbers."""
    done = part.status != Status.NOT_FITTED
    assert part.interrupted and not done.all()
    np.testing.assert_array_equal(part.params[done], whole.params[done])
    np.testing.assert_array_equal(part.status[done], whole.status[done])
    np.testing.assert_array_equal(part.stderr[done], whole.stderr[done])
    assert np.isnan(part.params[~done]).all()
    assert np.isinf(part.cost[~done]).all() and np.isnan(part.stderr[~done]).all()
    assert (part.nfev[~done] == 0).all() and not part.converged[~done].any()
    return int(done.sum())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("model", [decay, interpolated])
def test_a_callback_sees_each_chunk(model, threads, small_chunks):
    reports = []
    found = fit_batch(model, X, Y, SHARED, threads=threads, callback=lambda report: reports.append(report))
    assert [report.total for report in reports] == [B] * len(reports)
    counts = [report.rows.stop - report.rows.start for report in reports]
    assert [report.done for report in reports] == np.cumsum(counts).tolist()
    rows = np.concatenate([np.arange(B)[report.rows] for report in reports])
    np.testing.assert_array_equal(np.sort(rows), np.arange(B))
    assert len(reports) >= 8 and not found.interrupted
    np.testing.assert_array_equal(found.params, fit_batch(model, X, Y, SHARED).params)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("model", [decay, interpolated])
@pytest.mark.parametrize("how", ["true result", "KeyboardInterrupt"])
def test_a_callback_stops(how, model, threads, small_chunks):
    seen = []

    def callback(report):
        seen.append(report.rows)
        assert (report.outcome.status[report.rows] != Status.NOT_FITTED).all()
        if len(seen) == 2 and how == "KeyboardInterrupt":
            raise KeyboardInterrupt
        return len(seen) == 2

    y = np.tile(Y, (1 if model is interpolated else 10, 1))  # more chunks than are under way at once
    part = fit_batch(model, X, y, SHARED, threads=threads, callback=callback)
    assert len(seen) == 2
    assert assert_is_part(part, fit_batch(model, X, y, SHARED)) >= sum(one.stop - one.start for one in seen)


def test_stopping_after_the_last_chunk_is_no_interruption(small_chunks):
    for model in (decay, interpolated):
        found = fit_batch(model, X, Y, SHARED, callback=lambda report: report.done == report.total)
        assert not found.interrupted and found.converged.all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("model", [decay, interpolated])
def test_an_error_in_a_callback_comes_out(model, threads, small_chunks):
    def callback(report):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more") as caught:
        fit_batch(model, X, Y, SHARED, threads=threads, callback=callback)
    assert_is_part(caught.value.result, fit_batch(model, X, Y, SHARED))
    assert fit_batch(model, X, Y, SHARED, threads=threads).converged.all()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_returns_what_is_done(threads, small_chunks):
    """A real signal, in the middle of a run: rows whose chunk was cut off are as before."""
    y = np.tile(Y, (40, 1))
    whole = fit_batch(decay, X, y, SHARED)

    def callback(report):
        if report.done > 100 and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    sent = []
    assert assert_is_part(fit_batch(decay, X, y, SHARED, threads=threads, callback=callback), whole) > 100


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_between_calls_of_the_model():
    def slow(x, a, b, c):
        time.sleep(0.001)
        return np.interp(x, x, a * np.exp(-b * x) + c)

    timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    part = fit_batch(slow, X, np.tile(Y, (10, 1)), SHARED)
    timer.join()
    assert part.interrupted
    done = part.status != Status.NOT_FITTED
    assert part.converged[done].all()
    assert np.isnan(part.params[~done]).all()


def test_ctrl_c_after_the_last_chunk_loses_nothing(monkeypatch, small_chunks):
    """While the graph is compared with its function, or anything else is done outside the chunks."""
    from nlsq.fitting.batch import routes

    def interrupt(*arguments):
        raise KeyboardInterrupt

    whole = fit_batch(lambda x, a, b, c: a * np.exp(-b * x) + c, X, Y, SHARED)
    monkeypatch.setattr(routes, "agrees_on_sample", interrupt)
    part = fit_batch(lambda x, a, b, c: c + a * np.exp(-b * x), X, Y, SHARED)
    assert part.interrupted
    assert part.converged.all()
    np.testing.assert_allclose(part.params, whole.params, rtol=1e-5)


@pytest.mark.parametrize("has_tqdm", [True, False])
@pytest.mark.parametrize("model", [decay, interpolated])
def test_progress_is_shown(model, has_tqdm, small_chunks, monkeypatch, capsys):
    if has_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    found = fit_batch(model, X, Y, SHARED, progress=True)
    assert found.converged.all()
    text = capsys.readouterr().err
    assert "60" in text
    seen = []
    fit_batch(model, X, Y, SHARED, progress=True, callback=lambda report: seen.append(report.done))
    assert seen[-1] == B
    assert fit_batch(model, X, Y[:0], SHARED, progress=True).size == 0


WITHOUT = """
import numpy as np, nlsq
x = np.linspace(0, 4, 30)
y = 3 * np.exp(-np.array([[0.5], [1.5]]) * x) + 0.2
y[1, 3] = np.nan
model = lambda x, a, b, c: a * np.exp(-b * x) + c
found = nlsq.fit_batch(model, x, y, [2, 1, 0], bounds=(0, 9), sigma=np.ones((2, 30)))
assert "NLSQ_DISABLE_COMPILE" in found.fallbacks[0], found.fallbacks
assert found.converged.all() and np.allclose(found.params, [[3, 0.5, 0.2], [3, 1.5, 0.2]]), found.params
"""


def test_without_compiled_code():
    environment = os.environ | {"NLSQ_DISABLE_COMPILE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr


def test_ctrl_c_while_hard_fits_are_solved_again_leaves_them_unfitted(monkeypatch):
    """Not with the status of the kernel that gave them up."""
    from nlsq.solvers.batch_rows import RowWorker

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    x = np.linspace(0, 4, 40)
    y = np.tile(2.0 * np.exp(-0.7 * x) + 0.01 * np.cos(9 * x), (70, 1))
    model = lambda x, a, b, c: a * b * np.exp(-c * x)
    assert fit_batch(model, x, y, [1, 1, 1]).redone.all()
    monkeypatch.setattr(RowWorker, "_use", interrupted)
    part = fit_batch(model, x, y, [1, 1, 1])
    assert part.interrupted
    assert (part.status == Status.NOT_FITTED).all()
