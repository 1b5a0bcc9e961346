"""Start values for each fit of a batch: from its data, and from a function of the user."""

import inspect
import time

import numpy as np
import pytest
from scipy.optimize import curve_fit, lsq_linear

from nlsq.fitting.batch_starts import own as batch_own
from nlsq.fitting.batch_starts import parts as batch_parts
from nlsq.fitting.batch_starts import search as batch_starts
from nlsq.fitting.batch_starts.carrying import carried, kinds_of
from nlsq.fitting.batch_starts.choice import Judge, Rows, gain_of, linear_of
from nlsq.fitting.batch_starts.dictionary import Dictionary, build, likeness
from nlsq.fitting.batch_starts.draws import Draws, Ranges, scales_of
from nlsq.fitting.batch_starts.search import find_batch_starts, start_from_callable
from nlsq.fitting.batch_starts.shapes import Shapes
from nlsq.fitting.parameters import Parameters

X = np.linspace(0.0, 10.0, 100)
GRID = np.stack([part.ravel() for part in np.meshgrid(np.arange(7.0), np.arange(7.0))])


def gauss(x, height, center, width, offset):
    return height * np.exp(-0.5 * ((x - center) / width) ** 2) + offset


def decay(x, height, rate, offset):
    return height * np.exp(-rate * x) + offset


def spot(xy, height, x0, y0, width, offset):
    return height * np.exp(-0.5 * ((xy[0] - x0) ** 2 + (xy[1] - y0) ** 2) / width**2) + offset


def damped(x, height, damping, frequency, phase):
    return height * np.exp(-damping * x) * np.sin(frequency * x + phase)


def peaks(x, h1, c1, w1, h2, c2, w2, offset):
    return gauss(x, h1, c1, w1, offset) + gauss(x, h2, c2, w2, 0.0)


def curve(x, a, b):
    return np.exp(a - b * x)


def gauss_truth(rng, rows):
    signs, u = rng.choice([-1.0, 1.0], rows), rng.uniform
    return [u(1, 10, rows) * signs, u(1, 9, rows), 10 ** u(-0.7, 0.4, rows), u(-20, 20, rows)]


CASES = {
    "gauss": (gauss, X, 0.3, gauss_truth),
    "decay": (
        decay,
        X,
        0.1,
        lambda rng, b: [rng.uniform(1, 10, b), 10 ** rng.uniform(-1, 1, b), rng.uniform(-5, 5, b)],
    ),
    "spot": (
        spot,
        GRID,
        8.0,
        lambda rng, b: [rng.uniform(*ends, b) for ends in ((50, 500), (1.5, 4.5), (1.5, 4.5), (0.7, 2.0), (5, 50))],
    ),
    "damped": (
        damped,
        X,
        0.2,
        lambda rng, b: [rng.uniform(*ends, b) for ends in ((1, 10), (0.02, 0.6), (0.7, 20), (-3, 3))],
    ),
    "peaks": (
        peaks,
        X,
        0.2,
        lambda rng, b: [
            rng.uniform(*ends, b) for ends in ((3, 10), (1, 4), (0.3, 0.8), (3, 10), (5.5, 9), (0.3, 0.8), (-3, 3))
        ],
    ),
    "curve": (curve, X, 0.1, lambda rng, b: [rng.uniform(-1, 4, b), rng.uniform(0.1, 2, b)]),
}


def parameters_of(model, start=None, lower=None, upper=None, fixed=None):
    names = tuple(inspect.signature(model).parameters)[1:]
    n = len(names)
    return Parameters(
        names,
        np.full(n, np.nan) if start is None else np.asarray(start, dtype=float),
        np.full(n, -np.inf) if lower is None else np.asarray(lower, dtype=float),
        np.full(n, np.inf) if upper is None else np.asarray(upper, dtype=float),
        np.zeros(n, dtype=bool) if fixed is None else np.array(fixed),
    )


def rows_of(case, rows, seed=1, own_x=False):
    """Return model, x, data and the parameters they were made with."""
    model, x, noise, truth = CASES[case]
    rng = np.random.default_rng(seed)
    p = np.stack(truth(rng, rows), axis=1)
    if own_x:
        x = x + 0.04 * rng.uniform(-1.0, 1.0, (rows, x.size))
    y = np.stack([model(x[i] if own_x else x, *p[i]) for i in range(rows)])
    return model, x, y + noise * rng.standard_normal(y.shape), p


def reached(model, x, y, p, bounds=(-np.inf, np.inf)):
    """Return the least sum of squares that is reached from a start, infinite if none is."""
    there = np.isfinite(y)
    try:
        found = curve_fit(model, x[..., there], y[there], p, bounds=bounds)[0]
    except RuntimeError:
        return np.inf
    return float(np.sum((model(x[..., there], *found) - y[there]) ** 2))


@pytest.mark.filterwarnings("ignore")  # of curve_fit on its way
def share_reached(model, x, y, truth, starts, own_x=False, **options):
    """Return the share of rows in which the fit from the start ends where that from the truth does, or lower."""
    good = []
    for i in range(y.shape[0]):
        row = x[i] if own_x else x
        aim = reached(model, row, y[i], truth[i], **options)
        if aim < np.inf:
            good.append(reached(model, row, y[i], starts[i], **options) <= aim * (1.0 + 1e-6))
    return np.mean(good)


quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::scipy.optimize.OptimizeWarning")


@quiet
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("case", CASES)
def test_fits_from_the_starts_end_where_those_from_the_truth_do(case, missing):
    model, x, y, truth = rows_of(case, 100)
    y[np.random.default_rng(2).random(y.shape) < missing] = np.nan
    starts = find_batch_starts(model, x, y, None, parameters_of(model), shared_x=True)
    assert share_reached(model, x, y, truth, starts) >= (0.95 if case == "peaks" else 0.99)


@quiet
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_ranges_of_x_may_be_very_different(seed):
    """A peak that explains one x is carried over to where it explains another."""
    rng, rows, m = np.random.default_rng(seed), 120, 40
    low, span, place = rng.uniform(-5, 5, rows), rng.uniform(1, 50, rows), rng.uniform(0, 1, rows)
    truth = np.stack([rng.uniform(1, 5, rows), low + span * place, 0.2 * span, np.ones(rows)], axis=1)
    x = low[:, None] + span[:, None] * np.sort(rng.uniform(0.0, 1.0, (rows, m)), axis=1)
    y = gauss(x, *truth.T[:, :, None]) + 0.02 * rng.standard_normal((rows, m))
    starts = find_batch_starts(gauss, x, y, None, parameters_of(gauss), shared_x=False)
    assert share_reached(gauss, x, y, truth, starts, own_x=True) >= 0.99


KINDS = {
    "gauss": (gauss, [0, 3], "LW"),
    "decay": (decay, [0, 2], "R"),
    "skewed peak": (
        lambda x, a, c, w, t, b: a * np.exp(-(((x - c) / w) ** 2)) * (1 + t * (x - c) / w) + b,
        [0, 4],
        "LWN",
    ),
    "ends": (lambda x, a, c, d: a * np.exp(-((x - 0.5 * (c + d)) ** 2) / (c - d) ** 2), [0], "LL"),
    "power": (lambda x, a, p: a * np.abs(x) ** p, [0], None),
    "centred": (lambda x, a, c: a * np.exp(-((x - 1.0 - c) ** 2)), [0], None),
}


@pytest.mark.parametrize("case", sorted(KINDS))
def test_kinds_of_parameters_are_found(case):
    model, linear, expected = KINDS[case]
    x, rng, n = np.linspace(2.0, 9.0, 30), np.random.default_rng(1), len(inspect.signature(model).parameters) - 1
    others = np.setdiff1d(np.arange(n), linear)
    shapes = Shapes(model, x, x.size, np.ones(n), np.array(linear), others, np.zeros(n), np.ones(n))
    ranges = Ranges(1, None, np.full(others.size, -np.inf), np.full(others.size, np.inf))
    with np.errstate(all="ignore"):
        d = build(shapes, ranges, scales_of(x), None, None, 256)
        kinds = kinds_of(shapes, d, 7.0)
    assert (None if kinds is None else "".join("LWRN"[kind] for kind in kinds)) == expected
    if kinds is None:
        return
    stretch, shift = 0.3, -4.0
    q = carried(d.q[:20], kinds, np.array(stretch), np.array(shift))
    a = rng.uniform(1.0, 2.0, (20, n))
    a[:, others] = q
    with np.errstate(all="ignore"):
        values = np.stack([model(stretch * x + shift, *p) for p in a])
        _, columns = shapes.at(d.q[:20])
    data = Rows(values)
    fitted = np.einsum("rk,rkm->rm", linear_of(data, np.zeros(values.shape), columns), columns)
    np.testing.assert_allclose(fitted, values, rtol=1e-6, atol=1e-6 * np.abs(values).max())


def test_a_model_may_refuse_x_that_are_not_those_of_the_data():
    def table(x, height, rate):
        return height * np.exp(-rate * x) * np.ones(100)[(10.0 * x).astype(int)]

    x = np.stack([X[:99] / 1.1, X[:99] / 1.3])
    y = np.stack([table(row, 2.0, 0.5) for row in x])
    starts = find_batch_starts(table, x, y, None, parameters_of(table), shared_x=False)
    np.testing.assert_allclose(starts, [[2.0, 0.5]] * 2, rtol=0.2)


@quiet
@pytest.mark.parametrize("case", ["gauss", "decay", "damped"])
def test_each_row_may_have_its_own_x(case):
    model, x, y, truth = rows_of(case, 100, own_x=True)
    y[::7, 10:30] = np.nan
    starts = find_batch_starts(model, x, y, None, parameters_of(model), shared_x=False)
    assert share_reached(model, x, y, truth, starts, own_x=True) >= 0.99


@quiet
def test_starts_keep_bounds_and_serve_bounded_fits():
    model, x, y, truth = rows_of("gauss", 100)
    lower, upper = [0.0, 0.5, 0.1, -25.0], [20.0, 9.5, 3.0, 25.0]
    positive = truth[:, 0] > 0
    starts = find_batch_starts(model, x, y, None, parameters_of(model, lower=lower, upper=upper), shared_x=True)
    assert np.all((starts >= lower) & (starts <= upper))
    inside = np.clip(starts, np.add(lower, 1e-9), np.subtract(upper, 1e-9))
    some = np.flatnonzero(positive)
    share = share_reached(model, x, y[some], truth[some], inside[some], bounds=(lower, upper))
    assert share >= 0.99


def test_starts_keep_bounds_of_each_row():
    model, x, y, truth = rows_of("gauss", 40)
    lower, upper = truth - np.abs(truth) * 0.3, truth + np.abs(truth) * 0.4
    starts = find_batch_starts(model, x, y, None, parameters_of(model, lower=lower, upper=upper), shared_x=True)
    assert np.all((starts >= lower) & (starts <= upper))


def find(case, y, x=None, **options):
    model, shared = CASES[case][:2]
    return find_batch_starts(
        model, shared if x is None else x, y, None, parameters_of(model), shared_x=x is None, **options
    )


@pytest.mark.parametrize("case", ["gauss", "spot", "peaks"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_start_depends_on_its_row_alone(case, missing):
    y = rows_of(case, 60)[2]
    if missing:
        y[:, 3] = np.nan
    whole = find(case, y)
    np.testing.assert_allclose(find(case, y[17:23]), whole[17:23], rtol=1e-9)
    np.testing.assert_allclose(find(case, y[::-1])[::-1], whole, rtol=1e-9)


def test_the_same_data_give_the_same_starts():
    y = rows_of("gauss", 20)[2]
    np.testing.assert_array_equal(find("gauss", y), find("gauss", y))


@pytest.mark.parametrize("own_x", [False, True])
def test_blocks_make_no_difference(monkeypatch, own_x):
    _, x, y, _ = rows_of("gauss", 25, own_x=own_x)
    whole = find("gauss", y, x if own_x else None)
    monkeypatch.setattr(batch_starts, "BLOCK", 5000)
    monkeypatch.setattr(batch_own, "NUMBERS", 700)
    np.testing.assert_allclose(find("gauss", y, x if own_x else None), whole, rtol=1e-9)


def test_blocks_make_no_difference_to_parts(monkeypatch):
    y = rows_of("peaks", 20)[2]
    whole = find("peaks", y)
    assert np.mean(whole[:, 1] <= whole[:, 4]) >= 0.9  # equal parts in order
    monkeypatch.setattr(batch_parts, "NUMBERS", 3000)
    np.testing.assert_allclose(find("peaks", y), whole, rtol=1e-9)


def test_rows_without_data_or_with_one_value_have_a_finite_start():
    y = rows_of("gauss", 6)[2]
    y[1] = np.nan
    y[2, 1:] = np.nan
    y[3] = 4.0
    y[4] = 0.0
    starts = find("gauss", y)
    assert np.isfinite(starts).all()
    np.testing.assert_allclose(gauss(X, *starts[3]), 4.0, atol=1e-6)
    np.testing.assert_allclose(gauss(X, *starts[4]), 0.0, atol=1e-6)


def test_points_without_weight_do_not_count():
    model, x, y, _ = rows_of("gauss", 20)
    weights = np.ones(x.size)
    weights[40:60] = 0.0
    spoilt, missing = y.copy(), y.copy()
    spoilt[:, 40:60] = 1e6
    missing[:, 40:60] = np.nan
    shared = find_batch_starts(model, x, spoilt, weights, parameters_of(model), shared_x=True)
    np.testing.assert_array_equal(
        find_batch_starts(model, x, missing, weights, parameters_of(model), shared_x=True), shared
    )
    each = find_batch_starts(model, x, spoilt, np.tile(weights, (20, 1)), parameters_of(model), shared_x=True)
    np.testing.assert_allclose(each, find("gauss", missing), rtol=1e-9)
    for starts in (shared, each):
        cost = np.sum((weights * (np.stack([model(x, *p) for p in starts]) - y)) ** 2, axis=1)
        assert np.max(cost) < 10.0 * 0.3**2 * np.sum(weights)


def test_known_values_stay_and_the_others_follow_from_them():
    model, x, y, truth = rows_of("gauss", 30)
    start = np.full(4, np.nan)
    start[2] = 0.5
    starts = find_batch_starts(model, x, y, None, parameters_of(model, start), shared_x=True)
    assert np.all(starts[:, 2] == 0.5)
    each = np.full((30, 4), np.nan)
    each[:, 1] = truth[:, 1]
    starts = find_batch_starts(model, x, y, None, parameters_of(model, each), shared_x=True)
    assert np.all(starts[:, 1] == truth[:, 1])
    assert np.median(np.abs(starts[:, 0] / truth[:, 0] - 1.0)) < 0.2
    each[:, 1], each[:, 3] = np.nan, np.where(truth[:, 3] > 0.0, 10.0, -10.0)  # the shapes are spread for each value
    starts = find_batch_starts(model, x, y, None, parameters_of(model, each), shared_x=True)
    assert np.all(starts[:, 3] == each[:, 3])


@pytest.mark.parametrize("own_x", [False, True])
def test_rows_with_starts_are_left_out_of_the_search(own_x):
    model, x, y, _ = rows_of("gauss", 8, own_x=own_x)
    each = np.ones((8, 4))
    each[[2, 5]] = np.nan
    starts = find_batch_starts(model, x, y, np.ones(y.shape), parameters_of(model, each), shared_x=not own_x)
    some = find("gauss", y[[2, 5]], x[[2, 5]] if own_x else None)
    np.testing.assert_allclose(starts[[2, 5]], some, rtol=1e-9)
    assert np.all(np.delete(starts, [2, 5], axis=0) == 1.0)


def test_held_parameters_are_not_searched():
    model, x, y, _ = rows_of("decay", 10)
    start = np.array([np.nan, 1.5, np.nan])
    held = parameters_of(model, start, fixed=[False, True, False])
    starts = find_batch_starts(model, x, y, None, held, shared_x=True)
    assert np.all(starts[:, 1] == 1.5)
    complete = parameters_of(model, np.ones(3))
    assert np.all(find_batch_starts(model, x, y, None, complete, shared_x=True) == 1.0)


def test_straight_lines_follow_at_once():
    y = np.array([[2.0], [3.0], [-1.0]]) * X + np.array([[1.0], [0.0], [5.0]])
    y[1, 4] = np.nan
    line = lambda x, slope, offset: slope * x + offset
    starts = find_batch_starts(line, X, y, None, parameters_of(line), shared_x=True)
    np.testing.assert_allclose(starts, [[2, 1], [3, 0], [-1, 5]], atol=1e-9)
    own = find_batch_starts(line, X + np.arange(3.0)[:, None], y, None, parameters_of(line), shared_x=False)
    np.testing.assert_allclose(own, [[2, 1], [3, -3], [-1, 7]], atol=1e-8)


def fussy(x, height, rate):
    """A model that takes numbers alone, and not all of them."""
    if rate <= 0.0:
        raise ValueError("rate must be positive")
    return height * np.exp(-rate * x) if rate < 5.0 else np.full_like(x, np.nan)


@pytest.mark.parametrize("own_x", [False, True])
def test_models_may_take_numbers_alone_and_refuse_some(own_x):
    rates = np.array([0.3, 2.0])
    x = X + np.array([[0.0], [0.1]]) if own_x else X
    y = 3.0 * np.exp(-rates[:, None] * x)
    y[1, 5] = np.nan
    starts = find_batch_starts(fussy, x, y, None, parameters_of(fussy), shared_x=not own_x)
    np.testing.assert_allclose(starts[:, 1], rates, rtol=0.1)


def test_models_that_mix_points_are_not_taken_together():
    model = lambda x, height, rate: height * np.exp(-rate * x) / np.sum(np.exp(-rate * x))
    y = np.stack([model(X, 2.0, rate) for rate in (0.3, 1.0, 2.0)])
    starts = find_batch_starts(model, X, y, None, parameters_of(model), shared_x=True)
    np.testing.assert_allclose(starts[:, 1], [0.3, 1.0, 2.0], rtol=0.1)


def test_a_model_of_another_length_is_an_error():
    model = lambda x, a, b: a * np.exp(-b * x[1:])
    with pytest.raises(ValueError, match="the model returned 99 values for one fit, but y has 100"):
        find_batch_starts(model, X, np.ones((3, 100)), None, parameters_of(model), shared_x=True)


def test_a_model_without_values_gives_a_point_within_bounds():
    model = lambda x, a, b: np.full(x.shape, np.nan) * a * b
    bounds = {"lower": [2.0, -np.inf], "upper": [3.0, -1.0]}
    starts = find_batch_starts(model, X, np.ones((3, 100)), None, parameters_of(model, **bounds), shared_x=True)
    np.testing.assert_array_equal(starts, [[2.0, -1.0]] * 3)


@pytest.mark.parametrize("own_x", [False, True])
def test_a_deadline_that_has_passed_ends_the_search(own_x):
    _, x, y, _ = rows_of("gauss", 20, own_x=own_x)
    begun = time.perf_counter()
    starts = find("gauss", y, x if own_x else None, deadline=begun)
    assert np.isfinite(starts).all()


def test_gaps_in_x_are_missing_points():
    _, x, y, truth = rows_of("gauss", 12, own_x=True)
    x[:, 90:], y[:, 90:] = np.nan, 7.0
    starts = find("gauss", y, x)
    assert np.median(np.abs(starts[:, 1] - truth[:, 1])) < 0.3


def test_a_tuple_of_predictors_is_taken_as_well():
    model, x, y, truth = rows_of("spot", 12)
    together = find_batch_starts(model, tuple(x), y, None, parameters_of(model), shared_x=True)
    own = tuple(np.tile(part, (12, 1)) + 1e-3 * np.arange(12)[:, None] for part in x)
    apart = find_batch_starts(model, own, y, None, parameters_of(model), shared_x=False)
    for starts in (together, apart):
        assert np.abs(starts[:, 1:3] - truth[:, 1:3]).max() < 0.5


@pytest.mark.parametrize("own_x", [False, True])
def test_a_part_of_long_rows_is_enough(own_x):
    x = np.linspace(0.0, 10.0, 5000)
    x = x + np.array([[0.0], [0.5], [1.0]]) if own_x else x
    y = np.stack([gauss(x[i] if own_x else x, 3.0, c, 0.4, -1.0) for i, c in enumerate((3.0, 5.0, 8.0))])
    points = []

    def model(x, height, center, width, offset):
        points.append(np.size(x))
        return gauss(x, height, center, width, offset)

    starts = find_batch_starts(model, x, y, None, parameters_of(model), shared_x=not own_x)
    np.testing.assert_allclose(starts[:, 1], [3.0, 5.0, 8.0], atol=0.3)
    assert np.mean(np.array(points) >= 5000) < 0.2


def test_gain_is_that_of_least_squares_with_and_without_bounds():
    rng = np.random.default_rng(5)
    columns, y = rng.standard_normal((2, 30)), rng.standard_normal((4, 30))
    gram = (columns @ columns.T)[:, :, np.newaxis, np.newaxis]
    slopes = (columns @ y.T)[:, :, np.newaxis]
    best = np.linalg.lstsq(columns.T, y.T, rcond=None)[0].T
    expected = np.sum(y**2, axis=1) - np.sum((y - best @ columns) ** 2, axis=1)
    np.testing.assert_allclose(gain_of(gram, slopes, None, None)[:, 0], expected, rtol=1e-9)
    lower = np.zeros((1, 2))
    bounded = gain_of(gram, slopes, lower, lower + np.inf)[:, 0]
    a = linear_of(Rows(y, None, lower, lower + np.inf), np.zeros(y.shape), np.tile(columns, (4, 1, 1)))
    assert a.min() >= 0.0
    np.testing.assert_allclose(bounded, np.sum(y**2, axis=1) - np.sum((y - a @ columns) ** 2, axis=1), atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("has_base", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_costs_are_those_of_least_squares(weighted, has_base, bounded):
    """Each cost is that of a solve for its row and point alone."""
    rng = np.random.default_rng(6)
    c, k, m, r = 7, 2, 20, 5
    columns = rng.standard_normal((c, k, m))
    columns[:, 1] = columns[0, 1]
    base = rng.standard_normal((c, m)) * has_base
    common = (columns[0, 1] / np.linalg.norm(columns[0, 1]))[:, np.newaxis]
    left = columns[:, 0] - (columns[:, 0] @ common) @ common.T
    basis = (left / np.linalg.norm(left, axis=1, keepdims=True))[:, np.newaxis]
    draws = Draws(np.zeros((c, 1), dtype=np.intp), np.zeros((c, 1)), np.zeros((c, 1), dtype=bool))
    everyone = np.arange(c)
    d = Dictionary(draws, np.zeros((c, 1)), base, columns, common, basis, everyone, [everyone[:1]] * c, has_base)
    y = rng.standard_normal((r, m))
    weights = rng.uniform(0.0, 2.0, (r, m)) if weighted else None
    ends = (np.array([[0.0, -np.inf]]), np.array([[np.inf, 0.3]])) if bounded else (None, None)
    rows = Rows(y, weights, *ends)
    judge = Judge(d, simple=not weighted and not bounded)
    ready = judge.ready(rows)
    costs = judge.costs(ready, everyone)
    w = np.ones((r, m)) if weights is None else weights
    for i in range(r):
        for j in range(c):
            target = w[i] * (y[i] - base[j])
            low, high = (-np.inf, np.inf) if not bounded else ([0.0, -np.inf], [np.inf, 0.3])
            found = lsq_linear((w[i] * columns[j]).T, target, (low, high), tol=1e-14)
            expected = 2.0 * found.cost - np.sum((w[i] * ready.y[i]) ** 2)
            np.testing.assert_allclose(costs[i, j], expected, rtol=1e-6, atol=2e-3 if bounded else 1e-9)


def test_points_of_a_dictionary_are_not_alike():
    with np.errstate(all="ignore"):
        shapes, ranges = batch_starts.shapes_of(one_batch(gauss), 0)
        d = batch_starts.build(shapes, ranges, scales_of(X), None, None)
    assert shapes.linear.tolist() == [0, 3]
    assert shapes.together
    assert sorted(np.concatenate(d.children)) == list(range(d.q.shape[0]))
    alike = likeness(d, d)
    np.fill_diagonal(alike, 0.0)
    assert alike.max() < d.tolerance
    np.testing.assert_allclose(d.basis @ d.common, 0.0, atol=1e-9)


def one_batch(model):
    n = len(parameters_of(model).names)
    return batch_starts.Batch(
        model,
        X,
        True,
        np.zeros((1, X.size)),
        None,
        None,
        np.full((1, n), np.nan),
        np.arange(n),
        np.full((1, n), -np.inf),
        np.full((1, n), np.inf),
        parameters_of(model).names,
    )


def test_draws_keep_bounds_and_mean_the_same_for_another_x():
    ranges = Ranges(1, None, np.full(2, -np.inf), np.full(2, np.inf))
    draws = ranges.draw(0, 500)
    near, far = (ranges.values(draws, scales_of(x)) for x in (X, 100.0 + 3.0 * X))
    located = draws.kinds == ranges.kinds.index(("location", 0))
    np.testing.assert_allclose(far[located], 100.0 + 3.0 * near[located])
    lower, upper = np.array([0.5, -np.inf]), np.array([0.7, -2.0])
    inside = Ranges(1, None, lower, upper).values(draws, scales_of(X))
    assert np.all((inside >= lower) & (inside <= upper))


# Functions that give starts


Y = rows_of("decay", 5)[2]
NAMES = ("height", "rate", "offset")


@pytest.mark.parametrize(
    "p0",
    [
        lambda x, y: np.stack([np.ptp(y, axis=1), np.full(len(y), 1.0), y[:, -1]], axis=1),
        lambda x, y: {"rate": 1, "height": np.ptp(y, axis=1), "offset": y[:, -1]},
    ],
)
def test_a_function_gives_all_starts_in_one_call(p0):
    start = start_from_callable(p0, X, Y, NAMES)
    np.testing.assert_array_equal(start, np.stack([np.ptp(Y, axis=1), np.ones(5), Y[:, -1]], axis=1))


def test_a_function_may_give_one_start_for_all_or_leave_some_to_be_found():
    np.testing.assert_array_equal(start_from_callable(lambda x, y: (1, 2, 3), X, Y, NAMES), [[1, 2, 3]] * 5)
    start = start_from_callable(lambda x, y: {"height": None, "rate": 2.0, "offset": y[:, -1]}, X, Y, NAMES)
    assert np.isnan(start[:, 0]).all()
    assert np.all(start[:, 1] == 2.0)


def test_rows_without_data_are_left_to_be_found():
    y = Y.copy()
    y[2] = np.nan
    start = start_from_callable(lambda x, y: np.repeat(y[:, :1], 3, axis=1), X, y, NAMES)
    assert np.isnan(start[2]).all()
    assert np.isfinite(np.delete(start, 2, axis=0)).all()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones((5, 2)), ValueError, r"p0 returned shape \(5, 2\), expected \(5, 3\) or \(3,\): .*height, rate, off"),
        (np.ones((3, 5)), ValueError, r"that is its transpose"),
        ([[1, 2, 3]] * 3 + [[1, np.nan, 3], [1, 2, 3]], ValueError, "p0 returned nan for rate in row 3"),
        ({"height": 1, "rate": 1}, ValueError, "p0 returned no start for offset"),
        ({"height": 1, "rate": 1, "offset": np.ones(4)}, ValueError, r"shape \(4,\) for 'offset', expected .*\(5,\)"),
        ({"height": 1, "rat": 1, "offset": 1}, ValueError, "p0: unknown parameter 'rat'.*did you mean 'rate'"),
        ("abc", TypeError, "p0 returned str; it must be real numbers"),
        (1j * np.ones((5, 3)), TypeError, "p0 returned ndarray; it must be real numbers"),
        (None, TypeError, "p0 returned NoneType"),
    ],
)
def test_what_a_function_returns_is_checked(value, error, message):
    with pytest.raises(error, match=message):
        start_from_callable(lambda x, y: value, X, Y, NAMES)


def test_errors_of_a_function_say_how_it_was_called():
    def p0(x, y):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no") as caught:
        start_from_callable(p0, X, Y, NAMES)
    assert "Y of shape (5, 100)" in caught.value.__notes__[0]
