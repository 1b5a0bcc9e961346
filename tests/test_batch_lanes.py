"""Fits side by side in the lanes of vector registers: what the lanes compute, and that none sees another."""

import numpy as np
import pytest

import nlsq
from nlsq.compiler.batch_source import BatchVariant, batch_program
from nlsq.compiler.compile import kernels_of
from nlsq.compiler.tracing.trace import trace_model
from nlsq.kernels.backend.program import Loop, render
from nlsq.solvers import batch_workers

X = np.linspace(-4.0, 4.0, 30)
RNG = np.random.default_rng(5)


def gaussian(x, a, b, c, d):
    return a * np.exp(-0.5 * ((x - b) / c) ** 2) + d


def gaussians(count, noise=0.05):
    params = np.column_stack(
        [RNG.uniform(1, 3, count), RNG.uniform(-1, 1, count), RNG.uniform(0.7, 1.5, count), RNG.uniform(0, 0.5, count)]
    )
    Y = np.array([gaussian(X, *p) for p in params])
    return params, Y + noise * RNG.standard_normal(Y.shape)


START = [1.5, 0.0, 1.0, 0.1]


def one_by_one(monkeypatch):
    """Let no fit be solved side by side."""
    monkeypatch.setattr(batch_workers, "LANES_UP_TO", 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "huber", "loss_scale": 0.05},
        {"loss": "soft_l1", "loss_scale": 0.05},
        {"loss": "cauchy", "loss_scale": 0.1},
        {"loss": "arctan", "loss_scale": 0.2},
        {"sigma": np.linspace(0.03, 0.1, X.size)},
        {"bounds": {"a": (0.0, 2.0), "d": (0.1, None)}},
        {"fixed": {"c": 1.0}},
        {"weights": np.where(np.arange(X.size) % 5, 1.0, 0.0)},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_lanes_and_the_solver_of_single_fits_agree(options, monkeypatch):
    _, Y = gaussians(40)
    Y[3, 4] = np.nan
    lanes = nlsq.fit_batch(gaussian, X, Y, START, **options)
    one_by_one(monkeypatch)
    rows = nlsq.fit_batch(gaussian, X, Y, START, **options)
    assert lanes.converged.all()
    assert rows.converged.all()
    assert np.count_nonzero(lanes.redone) <= 1
    np.testing.assert_allclose(lanes.cost, rows.cost, rtol=1e-9)
    np.testing.assert_allclose(np.abs(lanes.params), np.abs(rows.params), rtol=1e-4, atol=1e-5)  # widths of either sign
    np.testing.assert_allclose(lanes.stderr, rows.stderr, rtol=1e-3)
    np.testing.assert_array_equal(lanes.points, rows.points)


def joined_logs(x, a, b, c):
    """Two segments, with no value at the first point."""
    return np.concatenate([a * np.exp(-b * x[:10]) + c * np.log(x[:10]), a * np.exp(-b * x[10:]) + c * np.log(x[10:])])


@pytest.mark.parametrize("lanes", [True, False])
def test_a_point_of_weight_zero_may_have_no_value(lanes, monkeypatch):
    if not lanes:
        one_by_one(monkeypatch)
    x = np.linspace(0.0, 3.0, 30)
    with np.errstate(divide="ignore"):
        Y = np.stack([joined_logs(x, 2.0, 1.0, 0.5), joined_logs(x, 1.0, 0.5, 0.2)])
        Y[:, 0] = 0.0
        result = nlsq.fit_batch(joined_logs, x, Y, [1.0, 0.5, 0.1], weights=(x > 0.0).astype(float))
    np.testing.assert_allclose(result.params, [[2.0, 1.0, 0.5], [1.0, 0.5, 0.2]], rtol=1e-6)


def test_robust_fits_in_which_all_points_are_outliers_at_the_start():
    """The curvature of the loss is next to nothing there, and damping by it alone led to false minima."""
    _, Y = gaussians(60)
    many = nlsq.fit_batch(gaussian, X, Y, START, loss="huber", loss_scale=0.05)
    single = [nlsq.fit(gaussian, X, y, START, loss="huber", loss_scale=0.05) for y in Y]
    assert many.converged.all()
    np.testing.assert_allclose([one.cost for one in single], many.cost, rtol=1e-9)


@pytest.mark.parametrize("limit", [1, 2, None])
def test_a_lane_outside_the_range_of_a_fast_function_changes_no_other(limit):
    """Sine of more than 2^40 is taken from libm: for that lane alone. Later steps would hide it in the last digits."""
    model = lambda x, a, w, p: a * np.sin(w * x + p)
    rows = RNG.uniform(0.5, 1.5, (16, 3))
    Y = np.array([model(X, *p) for p in rows]) + 0.01 * RNG.standard_normal((16, X.size))
    start = rows * 1.05
    alone = nlsq.fit_batch(model, X, Y, start, max_evaluations=limit)
    far = start.copy()
    far[3, 1] = 1e15
    beside = nlsq.fit_batch(model, X, Y, far, max_evaluations=limit)
    others = np.arange(16) != 3
    np.testing.assert_array_equal(beside.params[others], alone.params[others])
    np.testing.assert_array_equal(beside.cost[others], alone.cost[others])
    assert beside.cost[3] != alone.cost[3]


def test_single_precision():
    _, Y = gaussians(200, noise=0.02)
    double = nlsq.fit_batch(gaussian, X, Y, START)
    single = nlsq.fit_batch(gaussian, X, Y, START, dtype=np.float32)
    assert single.params.dtype == single.stderr.dtype == single.cost.dtype == np.float32
    assert single.converged.all()
    difference = np.abs(np.asarray(single.params, dtype=float) - double.params)
    assert 1e-9 < difference.max() < 1e-2 * np.median(np.asarray(double.stderr))
    np.testing.assert_allclose(single.cost, double.cost, rtol=1e-5)
    np.testing.assert_allclose(single.stderr, double.stderr, rtol=1e-4)


def test_types_of_results():
    _, Y = gaussians(3)
    narrow = Y.astype(np.float32)
    assert nlsq.fit_batch(gaussian, X.astype(np.float32), narrow, START).params.dtype == np.float32
    assert nlsq.fit_batch(gaussian, X, narrow, START).params.dtype == np.float64
    assert nlsq.fit_batch(gaussian, X.astype(np.float32), narrow, START, dtype=float).params.dtype == np.float64
    same = nlsq.fit_batch(gaussian, X, narrow.astype(np.float64), START)
    np.testing.assert_array_equal(same.params, nlsq.fit_batch(gaussian, X, narrow, START).params)
    with pytest.raises(ValueError, match="dtype must be float64 or float32, got int32"):
        nlsq.fit_batch(gaussian, X, Y, START, dtype=np.int32)


def test_sums_are_wide_in_single_precision():
    """What is summed are products of widened factors: in the source, and so in the code made of it."""
    kernels = kernels_of(trace_model(gaussian, X, 4))
    program = batch_program(kernels.trace, kernels.layout, BatchVariant(single=True))
    (loop,) = [step for step in program.steps if isinstance(step, Loop)]
    made = {statement.name: statement for statement in loop.statements}
    for _, value in loop.totals:
        product = made[value]
        assert product.operation == "*"
        assert all(made[one].operation == "wide" for one in product.operands if isinstance(one, str))
    assert all(
        any(other.operation == "narrow" and other.operands == (one.name,) for other in loop.statements)
        for one in loop.statements
        if one.operation == "read"
    )
    assert "narrow" not in render(batch_program(kernels.trace, kernels.layout, BatchVariant()))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("loss", ["linear", "huber"])
def test_code_for_other_processors(single, loss):
    """AVX2 has no registers of eight doubles, and older processors no fused multiply-add."""
    import platform

    from nlsq.kernels.backend.fused import Processor, object_code

    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("instruction sets of x86")
    kernels = kernels_of(trace_model(gaussian, X, 4))
    variant = BatchVariant(True, True, True, True, loss, single)
    program = batch_program(kernels.trace, kernels.layout, variant)
    for name, features in (("haswell", "+avx2,+fma"), ("nehalem", "+sse4.2")):
        assert len(object_code([("nlsq_batch_test", program)], Processor(name, features))) > 1000


def test_a_program_without_places_for_its_results_is_refused():
    from nlsq.kernels.backend.fused import object_code

    kernels = kernels_of(trace_model(gaussian, X, 4))
    program = batch_program(kernels.trace, kernels.layout, BatchVariant())
    next(step for step in program.steps if isinstance(step, Loop)).writes.append((program.writes[0][0], "rr", False))
    with pytest.raises(ValueError, match="write nothing in their loops"):
        object_code([("nlsq_batch_test", program)])


def test_fits_that_are_not_side_by_side_are_in_double_precision_and_say_so(monkeypatch):
    _, Y = gaussians(3)
    double = nlsq.fit_batch(gaussian, X, Y, START)
    one_by_one(monkeypatch)
    single = nlsq.fit_batch(gaussian, X, Y, START, dtype="float32")
    assert any("double precision" in note for note in single.fallbacks)
    np.testing.assert_allclose(single.params, double.params, rtol=2e-7)
