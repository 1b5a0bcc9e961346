"""A fit of a batch depends on its own row alone: the same bits in any batch, place, chunk and thread."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlsq
from nlsq import Status, fit_batch
from nlsq.kernels.backend import compile_disabled
from nlsq.solvers import batch as chunks

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

M, B = 30, 90
X = np.linspace(0.0, 4.0, M)
RNG = np.random.default_rng(5)
TRUTH = np.column_stack([RNG.uniform(1, 5, B), RNG.uniform(0.1, 4, B), RNG.uniform(-1, 1, B)])


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def joined(x, a, b, c):
    return np.concatenate([a * np.exp(-b * x[:10]), a * np.exp(-b * x[10:]) + c])


def centred(x, a, b, c):
    values = a * np.exp(-b * x) + c
    return values - np.sum(values) / 7


def interpolated(x, a, b, c):
    return np.interp(x, x, a * np.exp(-b * x) + c)


def awkward_rows():
    """Return rows of data among which are some of every kind that fails."""
    y = np.stack([decay(X, *p) for p in TRUTH]) + 0.1 * RNG.standard_normal((B, M))
    y[::7, 3] = np.nan
    y[5], y[6], y[8], y[9], y[12] = np.nan, 1e300, 0.0, 7.0, np.inf
    y[10], y[14] = 1e3 * RNG.standard_normal(M), RNG.standard_normal(M)
    y[11, 2:] = y[13, 4:] = np.nan
    return y


Y = awkward_rows()
OWN_X = X + RNG.uniform(0, 0.1, (B, 1))
OWN_X[30, 4], OWN_X[31, 7] = np.nan, np.inf
SIGMA = RNG.uniform(0.5, 2, (B, M))
SIGMA[20, 4], SIGMA[21] = np.inf, np.inf
MASK = RNG.random((B, M)) < 0.02
WEIGHTS = np.where(np.arange(M) == 4, 0.0, RNG.uniform(0.5, 2.0, M))
LOWER, UPPER = np.tile([0, 0, -0.5], (B, 1)), np.full((B, 3), 4.0)
STARTS = np.clip(TRUTH + 0.3 * RNG.standard_normal((B, 3)), LOWER + 0.01, UPPER - 0.01)
LOWER[::3], UPPER[::3] = -np.inf, np.inf
LEVELS = RNG.uniform(-0.5, 0.5, B)
SHARED = [2.0, 1.0, 0.0]


def arguments_of(case, rows):
    """Return the arguments of a batch of some rows."""
    x, given = X, {"p0": SHARED}
    if "own x" in case:
        x = OWN_X[rows]
    if "starts" in case:
        given["p0"] = STARTS[rows]
    if "sigma" in case:
        given["sigma"] = SIGMA[rows]
    if "mask" in case:
        given["mask"] = MASK[rows]
    if "weights" in case:
        given["weights"] = WEIGHTS
    if "own bounds" in case:
        given |= {"bounds": (LOWER[rows], UPPER[rows]), "p0": STARTS[rows]}
    if "same bounds" in case:
        given["bounds"] = ([0, 0, -0.5], 4)
    if "held" in case:
        given["fixed"] = {"c": LEVELS[rows]}
    if "huber" in case:
        given |= {"loss": "huber", "loss_scale": 0.1}
    if "few" in case:
        given["max_evaluations"] = 5
    return (x, Y[rows]), given


def run(model, case, rows, **more):
    data, given = arguments_of(case, rows)
    with np.errstate(all="ignore"):
        return fit_batch(model, *data, **given, **more)


def assert_same(one, other, rows=slice(None)):
    """Compare everything that a fit leaves, bit by bit; `rows` are those of `one` that `other` has."""
    first, second = one._core.outcome, other._core.outcome
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name)[rows], getattr(second, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)
    np.testing.assert_array_equal(one.covariance[rows], other.covariance)


CASES = (
    "plain",
    "starts, own x",
    "sigma",
    "mask, weights",
    "own x, weights",
    "own x, mask, weights",
    "own bounds",
    "same bounds",
    "own bounds, own x, sigma",
    "held",
    "huber",
    "huber, own bounds",
    "few",
)
MODELS = {"decay": decay, "joined": joined, "centred": centred}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", MODELS)
def test_a_fit_is_the_same_in_any_order_and_alone(model, case):
    model, everything = MODELS[model], np.arange(B)
    whole = run(model, case, everything)
    assert whole.converged.sum() > 60 or case == "few"
    for order in (everything[::-1], np.random.default_rng(1).permutation(B)):
        assert_same(whole, run(model, case, order), order)
    for row in (*range(22), 30, 31, B - 1):
        assert_same(whole, run(model, case, np.array([row])), [row])


@pytest.mark.parametrize("case", ["plain", "own bounds", "own x, mask, weights"])
def test_models_that_are_called_in_python_do_the_same(case):
    rows = np.arange(0, 24)
    whole = run(interpolated, case, rows)
    assert "row by row" in whole.fallbacks[0]
    assert_same(whole, run(interpolated, case, rows[::-1]), rows[::-1])
    for row in (0, 5, 7, 13, 20):
        assert_same(whole, run(interpolated, case, np.array([row])), [row])


@pytest.mark.parametrize("case", ["plain", "own bounds", "own x, mask, weights", "huber"])
@pytest.mark.parametrize("model", MODELS)
def test_the_number_of_threads_does_not_matter(model, case, monkeypatch):
    monkeypatch.setattr(chunks, "LEAST_ROWS", 7)  # so that there are chunks for all
    model, rows = MODELS[model], np.arange(B)
    whole = run(model, case, rows, threads=1)
    for threads in (2, 3, 16):
        assert_same(whole, run(model, case, rows, threads=threads))


@pytest.mark.parametrize("size", [1, 2, 9, 33])
@pytest.mark.parametrize("case", ["plain", "sigma", "own x, weights", "own x, mask, weights", "own bounds", "held"])
def test_the_size_of_the_chunks_does_not_matter(case, size, monkeypatch):
    whole = run(decay, case, np.arange(B))
    monkeypatch.setattr(chunks, "MOST_ROWS", size)
    monkeypatch.setattr(chunks, "LEAST_ROWS", 1)
    assert_same(whole, run(decay, case, np.arange(B)))


def test_a_compiled_function_depends_on_its_row_alone():
    numba = pytest.importorskip("numba")

    @numba.njit
    def branching(x, a, b, c):
        out = np.empty(x.size)
        for i in range(x.size):
            out[i] = a * np.exp(-b * x[i]) + c if x[i] < 2 else c + a * np.exp(-b * x[i])
        return out

    model, everything = nlsq.compile(branching), np.arange(B)
    for case in ("plain", "own bounds", "own x, weights"):
        whole = run(model, case, everything)
        order = np.random.default_rng(2).permutation(B)
        assert_same(whole, run(model, case, order, threads=2), order)
        for row in (0, 5, 6, 7, 13, 30):
            assert_same(whole, run(model, case, np.array([row])), [row])


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, B - 1), min_size=1, max_size=40),
    st.sampled_from(CASES),
    st.sampled_from(sorted(MODELS)),
    st.integers(1, 3),
)
def test_any_rows_in_any_company(rows, case, model, threads):
    rows = np.array(rows)
    together = run(MODELS[model], case, rows, threads=threads)
    last = run(MODELS[model], case, rows[-1:])
    assert_same(together, last, [-1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e150, 1e300, -1e308, 1e-310])
@pytest.mark.parametrize("model", MODELS)
def test_a_row_that_fails_does_not_disturb_its_neighbours(model, value):
    model = MODELS[model]
    y = np.stack([decay(X, *p) for p in TRUTH[:20]])
    before = fit_batch(model, X, y, SHARED)
    y[3], y[11, 5] = value, value
    with np.errstate(all="ignore"):
        after = fit_batch(model, X, y, SHARED)
    others = np.delete(np.arange(20), [3, 11])
    np.testing.assert_array_equal(before.params[others], after.params[others])
    np.testing.assert_array_equal(before.status[others], after.status[others])
    if not np.isfinite(value):
        assert after.status[3] == Status.TOO_FEW_POINTS
        assert after.converged[11]


@pytest.mark.parametrize("first", [5, 6, 8, 11, 12])
@pytest.mark.parametrize("model", MODELS)
def test_the_first_row_may_be_the_worst(model, first):
    """What is prepared once for all rows is prepared without regard to the first."""
    rows = np.r_[first, 0:5, 14:40]
    whole = run(MODELS[model], "plain", rows)
    alone = run(MODELS[model], "plain", rows[1:])
    assert_same(whole, alone, slice(1, None))


def test_a_model_that_changes_its_x_changes_that_of_no_other_row():
    def drifting(x, a, b):
        x += 1e-3
        return a * x + b

    x = X.copy()
    whole = fit_batch(drifting, x, Y[15:25], [1.0, 1.0], max_evaluations=30)
    np.testing.assert_array_equal(x, X)
    for row in (0, 4, 9):
        assert_same(whole, fit_batch(drifting, x, Y[15 + row : 16 + row], [1.0, 1.0], max_evaluations=30), [row])


def nearly_dependent(d):
    """Return a model whose parameters a and b differ in their effect by the share `d`."""

    def model(x, a, b):
        return a * x + b * (x + d * x * x)

    return model


@pytest.mark.parametrize("d", [1e-6, 1.5e-6, 2e-6, 3e-6, 6e-6, 1e-3])
@pytest.mark.parametrize("bounded", [False, True])
def test_errors_depend_on_their_own_row_alone(d, bounded):
    """Next to rows with many more points, and to rows in which a parameter is at its bound."""
    m, model = 4096, nearly_dependent(d)
    x = np.linspace(0.5, 1.5, m)
    y = np.full((5, m), np.nan)
    for row, stride in enumerate((1, 64, 512, 8, 64)):
        y[row, ::stride] = 3.0 * x[::stride] + 0.01 * RNG.standard_normal(x[::stride].size)
    y[4, ::64] -= 10.0
    given = {"bounds": {"a": (0.0, None)}} if bounded else {}
    whole = fit_batch(model, x, y, [1.0, 1.0], **given)
    assert whole.at_bound.any() == bounded
    for row in range(5):
        part, alone = whole.at(row), fit_batch(model, x, y[row : row + 1], [1.0, 1.0], **given)
        for name in ("stderr", "identifiable", "covariance", "correlation"):
            of_all = np.asarray(getattr(whole, name))[row]
            np.testing.assert_array_equal(np.asarray(getattr(part, name)), of_all, err_msg=name)
            np.testing.assert_array_equal(np.asarray(getattr(alone, name))[0], of_all, err_msg=name)
