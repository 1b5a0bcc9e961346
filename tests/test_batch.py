"""Batches against one fit at a time, by `nlsq.fit` and by scipy: models, shapes, types of data, bounds, losses."""

import functools
from types import MappingProxyType

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.optimize import Bounds, least_squares

import nlsq
from nlsq import fit_batch
from nlsq.kernels.backend import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

M, B = 40, 12
X = np.linspace(0.1, 4.0, M)
RNG = np.random.default_rng(11)
TRUTH = np.column_stack([RNG.uniform(1, 5, B), RNG.uniform(0.4, 2, B), RNG.uniform(-1, 1, B)])
SHARED = [2.0, 1.0, 0.1]
BASIS = np.cos(3 * X)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


class Instrument:
    """A model as a method and as an object."""

    gain = 1.0

    def response(self, x, a, b, c):
        return self.gain * a * np.exp(-b * x) + c

    __call__ = response


def with_array(x, a, b, c):
    return a * np.exp(-b * x) + c * BASIS


def summed(x, a, b, c):
    values = a * np.exp(-b * x) + c
    return values - np.sum(values) / 7


def from_mean(x, a, b, c):
    return a * np.exp(-b * (x - x.mean())) + c


def from_first(x, a, b, c):
    return a * np.exp(-b * (x - x[0])) + c


def joined(x, a, b, c):
    return np.concatenate([a * np.exp(-b * x[:20]), a * np.exp(-b * x[20:]) + c])


def backwards(x, a, b, c):
    return (a * np.exp(-b * x) + c)[::-1]


def cumulated(x, a, b, c):
    return np.cumsum(a * np.exp(-b * x)) / 10 + c


def chosen(x, a, b, c):
    return np.where(x < 2, a * np.exp(-b * x) + c, c + a * np.exp(-b * x))


def branching(x, a, b, c):
    return a * np.exp(-b * x) + c if b > 1 else c + a * np.exp(-b * x)


def interpolated(x, a, b, c):
    return np.interp(x, x, a * np.exp(-b * x) + c)


def in_python(x, a, b, c):
    return [a * np.exp(-b * float(one)) + c for one in x]


def scaled(gain, x, a, b, c):
    return gain * a * np.exp(-b * x) + c


MODELS = {
    **{
        one.__name__: one
        for one in (with_array, summed, from_mean, from_first, joined, backwards, cumulated, chosen, branching)
    },
    "decay": decay,
    "interpolated": interpolated,
    "in_python": in_python,
    "method": Instrument().response,
    "object": Instrument(),
    "partial": functools.partial(scaled, 1.0),
    "model": nlsq.model(decay),
}


def data_of(model, x=X, truth=TRUTH, noise=0.02, seed=0):
    rows = [np.asarray(model(x if x.ndim == 1 else x[i], *p)) for i, p in enumerate(truth)]
    return np.stack(rows) + noise * np.random.default_rng(seed).standard_normal((len(truth), x.shape[-1]))


def as_scipy(model, x, y, p0, bounds=(-np.inf, np.inf), weights=1.0, **options):
    """Solve one row by scipy, with weights zero where a point is missing."""
    there = np.isfinite(y) & (np.broadcast_to(weights, y.shape) != 0)
    factor = np.broadcast_to(weights, y.shape)[there]
    tight = {"xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13, "x_scale": "jac", "max_nfev": 5000}

    def residual(p):
        return factor * (np.asarray(model(x, *p)) - y)[there]

    with np.errstate(all="ignore"):
        return least_squares(residual, p0, bounds=bounds, **tight, **options)


def assert_as_good(found, model, x, y, p0=SHARED, bounds=None, weights=1.0, rtol=1e-7, **options):
    """Each row has the cost that it says, and one that scipy does not undercut, or has another minimum than scipy."""
    for i in range(len(y)):
        one = x if x.ndim == 1 else x[i]
        start = p0 if np.ndim(p0) == 1 else p0[i]
        factor = weights if np.ndim(weights) < 2 else weights[i]
        limits = (-np.inf, np.inf) if bounds is None else [end if np.ndim(end) < 2 else end[i] for end in bounds]
        expected = as_scipy(model, one, y[i], start, limits, factor, **options)
        if found.cost[i] > expected.cost * (1 + rtol) + 1e-20:
            inside = np.clip(found.params[i], *limits)
            again = as_scipy(model, one, y[i], inside, limits, factor, **options)
            assert found.cost[i] <= again.cost * (1 + rtol) + 1e-20, f"row {i}"
        elif found.cost[i] > expected.cost * (1 - rtol):
            ours, theirs = np.abs(found.params[i]), np.abs(expected.x)  # widths of either sign
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4, err_msg=f"row {i}")


MISSING = np.zeros((B, M), dtype=bool)
MISSING[2, 5:9], MISSING[::5, 0], MISSING[1, -1] = True, True, True


@pytest.mark.parametrize("case", ["plain", "missing", "own x", "sigma", "bounds", "huber"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_models_of_every_kind(model, case):
    x = X + RNG.uniform(0, 0.1, (B, 1)) if case == "own x" else X
    y, given, scipys = data_of(model, x), {}, {}
    if case in ("missing", "own x", "bounds"):
        y[MISSING] = np.nan
    if case == "sigma":
        given["sigma"] = np.random.default_rng(4).uniform(0.5, 2.0, (B, M))
        scipys["weights"] = 1 / given["sigma"]
    if case == "bounds":
        given["bounds"] = scipys["bounds"] = ([0, 0, -0.3], [4.0, 9.0, 9.0])
    if case == "huber":
        given |= {"loss": "huber", "loss_scale": 0.05}
        scipys |= {"loss": "huber", "f_scale": 0.05}
    found = fit_batch(model, x, y, SHARED, **given)
    assert found.converged.all()
    np.testing.assert_array_equal(found.points, np.isfinite(y).sum(axis=1))
    assert_as_good(found, model, x, y, **scipys)
    in_rows = isinstance(model, Instrument) or model in (interpolated, in_python, branching)
    assert any("row by row" in text for text in found.fallbacks) == in_rows


def test_compiled_functions():
    numba = pytest.importorskip("numba")

    @numba.njit
    def loop(x, a, b, c):
        out = np.empty(x.size)
        for i in range(x.size):
            out[i] = a * np.exp(-b * x[i]) + c if x[i] < 2.0 else c + a * np.exp(-b * x[i])
        return out

    y = data_of(decay)
    y[MISSING] = np.nan
    for given in ({}, {"bounds": ([0, 0, -0.3], [4.0, 9.0, 9.0])}, {"sigma": RNG.uniform(0.5, 2, (B, M))}):
        found = fit_batch(nlsq.compile(loop), X, y, SHARED, **given)
        assert not found.fallbacks
        expected = fit_batch(decay, X, y, SHARED, **given)
        np.testing.assert_allclose(found.cost, expected.cost, rtol=1e-9)
        np.testing.assert_allclose(found.params, expected.params, rtol=1e-4, atol=1e-4)


def test_the_statistics_are_those_of_single_fits():
    y = data_of(decay)
    y[MISSING] = np.nan
    sigma = RNG.uniform(0.5, 2, (B, M))
    for given in ({}, {"absolute_sigma": True}):
        found = fit_batch(decay, X, y, SHARED, sigma=sigma, **given)
        for i in range(B):
            one = nlsq.fit(decay, X, y[i], SHARED, sigma=sigma[i], nan_policy="omit", **given)
            np.testing.assert_allclose(found.params[i], one.params, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found.stderr[i], one.stderr, rtol=1e-4)
            np.testing.assert_allclose(found.covariance[i], one.covariance, rtol=1e-4, atol=1e-12)
            assert found.cost[i] == pytest.approx(one.cost, rel=1e-9)
            assert found.dof[i] == one.dof


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 2, axis=-1)[::2, ..., ::2] if a.ndim > 1 else a,
    "reversed twice": lambda a: a[::-1, ..., ::-1].copy()[::-1, ..., ::-1] if a.ndim > 1 else a[::-1].copy()[::-1],
    "transposed": lambda a: np.ascontiguousarray(np.swapaxes(a, 0, -1)).swapaxes(0, -1),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "long double": lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a,
    "lists": lambda a: a.tolist(),
    "objects": lambda a: a.astype(object) if a.dtype.kind == "f" else a,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_arrays_does_not_matter(layout):
    def frozen(array):
        array = layout(array)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
        return array

    def two(x, a, b, c):
        return a * np.exp(-b * x[0]) + c * x[1]

    own = [X + RNG.uniform(0, 0.1, (B, 1)), RNG.uniform(0, 1, (B, M))]
    y = np.stack([two((own[0][i], own[1][i]), *p) for i, p in enumerate(TRUTH)]) + 0.02 * RNG.standard_normal((B, M))
    sigma, starts = RNG.uniform(0.5, 2, (B, M)), np.tile(SHARED, (B, 1)) + RNG.uniform(0, 0.1, (B, 3))
    lower, upper = starts - RNG.uniform(0.5, 3, (B, 3)), starts + RNG.uniform(0.5, 3, (B, 3))

    def fits(f):
        x = tuple(f(one) for one in own)
        yield fit_batch(two, x, f(y), f(starts), sigma=f(sigma), mask=f(MISSING), bounds=(f(lower), f(upper)))
        yield fit_batch(two, x, f(y), f(starts), weights=f(sigma), mask=f(MISSING))
        yield fit_batch(decay, f(own[0]), f(y), f(starts), fixed={"c": f(TRUTH[:, 2])}, mask=f(MISSING))
        yield fit_batch(interpolated, f(own[0]), f(y), f(starts), sigma=f(sigma), mask=f(MISSING))

    for one, other in zip(fits(np.ascontiguousarray), fits(frozen), strict=True):
        np.testing.assert_array_equal(one.params, other.params)
        np.testing.assert_array_equal(one.status, other.status)
        np.testing.assert_array_equal(one.cost, other.cost)


@pytest.mark.parametrize("kind", ["f4", "f2", ">f4", "i2", "u1", "i8"])
def test_numbers_of_other_types(kind):
    y = 20 * data_of(decay) + 40
    y = np.rint(y).astype(kind) if kind[-2] in "iu" else y.astype(kind)
    found = fit_batch(decay, X, y, [40, 1.0, 40])
    expected = fit_batch(decay, X, y.astype(np.float64), [40, 1.0, 40])
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-6)
    truths = fit_batch(decay, X, data_of(decay) > 1.5, [1.0, 1.0, 0.0], max_evaluations=50)
    assert np.isfinite(truths.params).all()


def test_files_frames_and_masked_arrays(tmp_path):
    pandas = pytest.importorskip("pandas")
    y = data_of(decay)
    expected = fit_batch(decay, X, y, SHARED)
    stored = np.memmap(tmp_path / "y", dtype=np.float64, mode="w+", shape=y.shape)
    stored[:] = y
    stored.flush()
    read = np.memmap(tmp_path / "y", dtype=np.float64, mode="r", shape=y.shape)
    for x, rows in ((X, read), (pandas.Series(X, index=range(5, 45)), pandas.DataFrame(y, index=list("abcdefghijkl")))):
        np.testing.assert_array_equal(fit_batch(decay, x, rows, SHARED).params, expected.params)
    y[MISSING] = np.nan
    masked = fit_batch(decay, X, np.ma.masked_invalid(y), SHARED)
    np.testing.assert_array_equal(masked.params, fit_batch(decay, X, y, SHARED, mask=MISSING).params)
    np.testing.assert_allclose(masked.params, fit_batch(decay, X, y, SHARED).params, rtol=1e-9)


def test_the_leading_shape_is_kept():
    y = data_of(decay)
    flat = fit_batch(decay, X, y, SHARED)
    for shape in ((3, 4), (2, 3, 2), (12, 1, 1)):
        image = fit_batch(decay, X, y.reshape(*shape, M), SHARED, sigma=np.ones((*shape, M)), mask=np.zeros(M, bool))
        assert image.params.shape == (*shape, 3) and image.covariance.shape == (*shape, 3, 3)
        assert image["b"].shape == image.status.shape == image.stderr["b"].shape == shape
        np.testing.assert_allclose(image.params.reshape(-1, 3), flat.params, rtol=1e-6, atol=1e-8)
    single = fit_batch(decay, X, y[3], SHARED)
    assert single.shape == () and single.params.shape == (3,)
    np.testing.assert_array_equal(single.params, flat.params[3])
    maps = {"a": TRUTH[:, 0].reshape(3, 4), "b": 1.0, "c": 0.0}
    named = fit_batch(
        decay, X, y.reshape(3, 4, M), MappingProxyType(maps), bounds={"a": (0, maps["a"] + 0.5)}, fixed={"c": maps["c"]}
    )
    assert (named["c"] == 0).all() and (named["a"] <= maps["a"] + 0.5).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 2)])
def test_a_batch_without_rows(shape):
    y = np.zeros((*shape, M))
    for x, given in ((X, {}), (y, {"sigma": y + 1, "bounds": (0, [9, 9, 9])}), ((X, y), {"mask": y > 0})):
        found = fit_batch(decay, x, y, SHARED, progress=False, **given)
        assert found.params.shape == (*shape, 3) and found.size == 0 and not found.interrupted


def test_shapes_of_x():
    def two(x, a, b, c):
        return a * np.exp(-b * x[0]) + c * x[1]

    other = RNG.uniform(0, 1, M)
    y = np.stack([two((X, other), *p) for p in TRUTH])
    own, others = np.tile(X, (B, 1)), np.tile(other, (B, 1))
    for x in ((X, other), np.stack([X, other]), [X, other], (own, others), np.stack([own, others]), (own, other)):
        found = fit_batch(two, x, y, SHARED)
        assert found.converged.all() and not found.fallbacks
        np.testing.assert_allclose(found.params, TRUTH, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(
        fit_batch(decay, own.tolist(), y, SHARED).params, fit_batch(decay, own, y, SHARED).params
    )


def many(x, a, b, c, d, e, f, g, h, i, j, k, l):  # noqa: E741
    low = a + b * np.sin(x) + c * np.cos(x) + d * np.sin(2 * x) + e * np.cos(2 * x) + f * np.sin(3 * x)
    return low + g * np.cos(3 * x) + h * np.sin(4 * x) + i * np.cos(4 * x) + j * np.sin(5 * x) + k * x + l * x**2


def test_one_parameter_and_a_dozen():
    def rate(x, b):
        return np.exp(-b * x)

    y = data_of(rate, truth=TRUTH[:, 1:2])
    for given in ({}, {"bounds": ([0.0], [1.0])}):
        found = fit_batch(rate, X, y, [0.5], **given)
        assert found.converged.all() and found.params.shape == (B, 1)
        assert_as_good(found, rate, X, y, [0.5], **given)
    x = np.linspace(0, 6, 60)
    y = data_of(many, x, RNG.standard_normal((B, 12)))
    for given in ({}, {"bounds": (-1.0, 1.0)}, {"fixed": {"l": 0.0, "k": 0.1}}):
        found = fit_batch(many, x, y, np.full(12, 0.1), **given)
        assert found.converged.all()
        if "fixed" not in given:
            assert_as_good(found, many, x, y, np.full(12, 0.1), **given)


def test_rows_too_long_for_the_lanes():
    x = np.linspace(0.1, 4.0, 2500)
    y = data_of(decay, x)
    y[3, 100:200] = np.nan
    for given in ({}, {"bounds": ([0, 0, -0.3], [4.0, 9.0, 9.0])}):
        found = fit_batch(decay, x, y, SHARED, **given)
        assert found.converged.all() and found.points[3] == 2400
        assert_as_good(found, decay, x, y, **given)


def peak(x, height, centre, width, level):
    return level + height * np.exp(-0.5 * ((x - centre) / width) ** 2)


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([decay, peak]),
    st.booleans(),
    st.sampled_from(["linear", "linear", "huber", "soft_l1", "cauchy"]),
    st.floats(0.001, 0.3),
)
def test_random_rows_against_scipy(seed, model, bounded, loss, noise):
    rng = np.random.default_rng(seed)
    typical = np.array([3.0, 1.0, 0.3] if model is decay else [3.0, 2.0, 0.5, 0.2])
    truth = typical * rng.uniform(0.7, 1.3, (8, typical.size))
    y = data_of(model, truth=truth, noise=noise, seed=seed)
    y[rng.random(y.shape) < 0.03] = np.nan
    weights = rng.uniform(0.5, 2.0, y.shape)
    start = truth * rng.uniform(0.8, 1.25, truth.shape)
    given, bounds = {}, None
    if bounded:
        lower = np.where(rng.random(start.shape) < 0.5, start - rng.uniform(0.05, 0.5, start.shape), -np.inf)
        upper = np.where(rng.random(start.shape) < 0.5, start + rng.uniform(0.05, 0.5, start.shape), np.inf)
        bounds, given = (lower, upper), {"bounds": Bounds(lower, upper)}
    found = fit_batch(model, X, y, start, weights=weights, loss=loss, loss_scale=0.2, **given)
    if bounded:
        assert (found.params >= lower).all() and (found.params <= upper).all()
    done = np.flatnonzero(found.converged)
    assert done.size >= 7
    limits = None if bounds is None else (lower[done], upper[done])
    assert_as_good(
        found.at(done), model, X, y[done], start[done], limits, weights[done], rtol=1e-6, loss=loss, f_scale=0.2
    )


def test_held_parameters_stay():
    y, level = data_of(decay), TRUTH[:, 2] + 0.1
    found = fit_batch(decay, X, y, SHARED, fixed={"c": level})
    np.testing.assert_array_equal(found["c"], level)
    assert (found.stderr["c"] == 0).all() and found.converged.all()
    for i in range(B):
        one = nlsq.fit(decay, X, y[i], SHARED, fixed={"c": level[i]})
        np.testing.assert_allclose(found.params[i], one.params, rtol=1e-6)
    everything = fit_batch(decay, X, y, TRUTH, fixed=["a", "b", "c"])
    np.testing.assert_array_equal(everything.params, TRUTH)
    np.testing.assert_allclose(everything.cost, 0.5 * np.sum((data_of(decay, noise=0) - y) ** 2, axis=1))
    pinned = fit_batch(decay, X, y, SHARED, bounds={"b": (TRUTH[:, 1], TRUTH[:, 1])})
    np.testing.assert_array_equal(pinned["b"], TRUTH[:, 1])


# Rows of x, and numbers out of the usual range


def two_variables(x, a, b):
    return a * np.exp(-b * x[0]) + 0 * x[1]


VARIABLES = np.stack([np.linspace(0.1, 4, 50), np.linspace(0, 1, 50)])
TWO = np.stack([two_variables(VARIABLES, 2, 0.5), two_variables(VARIABLES, 3, 1.5)])


def test_rows_of_x_that_all_fits_share_are_told_from_each_fit_s_own():
    """Two variables and two fits: x has the shape of Y."""
    np.testing.assert_allclose(fit_batch(two_variables, VARIABLES, TWO, [1, 1]).params, [[2, 0.5], [3, 1.5]], rtol=1e-7)
    own = fit_batch(lambda x, a, b: a * np.exp(-b * x), VARIABLES[:1].repeat(2, axis=0), TWO, [1, 1])
    np.testing.assert_allclose(own.params, [[2, 0.5], [3, 1.5]], rtol=1e-7)


def test_the_mask_of_shared_rows_of_x_is_for_all_fits():
    x = np.ma.masked_array(VARIABLES.copy(), np.zeros(VARIABLES.shape, dtype=bool))
    x.data[0, 3], x.mask[0, 3] = 99.0, True
    found = fit_batch(two_variables, x, TWO, [1, 1])
    np.testing.assert_allclose(found.params, [[2, 0.5], [3, 1.5]], rtol=1e-7)
    assert found.points.tolist() == [49, 49]


def test_shared_rows_of_x_must_be_finite():
    x = VARIABLES.copy()
    x[0, 3] = np.nan
    with pytest.raises(ValueError, match=r"x\[.*3\] is not finite"):
        fit_batch(two_variables, x, TWO, [1, 1])


@pytest.mark.parametrize("size", [1e-100, 1e-85, 1e-78, 1e78, 1e85, 1e100])
def test_the_unit_of_the_data_does_not_matter(size):
    """Squares of gradients leave the range of numbers, which must not look like a gradient of zero."""
    x = np.linspace(0, 4, 40)
    model = lambda x, b: size * np.exp(-b * x)
    y = model(x, 0.5) + 0.01 * size * np.cos(9 * x)
    found = fit_batch(model, x, y[np.newaxis], [1.0])
    assert found.converged.all()
    assert found.params[0, 0] == pytest.approx(nlsq.fit(lambda x, b: np.exp(-b * x), x, y / size, [1.0]).params[0])


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 40])
def test_the_limit_holds_for_hard_fits_too(limit):
    x = np.linspace(0, 4, 40)
    y = 2.0 * np.exp(-0.7 * x) + 0.01 * np.cos(9 * x)
    found = fit_batch(
        lambda x, a, b, c: a * b * np.exp(-c * x), x, np.stack([y, 2 * y]), [1, 1, 1], max_evaluations=limit
    )
    assert (found.nfev <= limit).all()


def test_a_masked_start_is_refused():
    with pytest.raises(ValueError, match="p0 is masked"):
        fit_batch(two_variables, VARIABLES, TWO, np.ma.masked_array([1.0, 2.0], [False, True]))


def test_a_type_that_is_none_is_refused():
    with pytest.raises(TypeError, match="dtype must be float64 or float32, got 'nope'"):
        fit_batch(two_variables, VARIABLES, TWO, [1, 1], dtype="nope")
