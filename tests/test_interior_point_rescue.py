"""Kernels for what goes badly: new scales from where steps are short, ways out of restoration, what ends a solve."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import interior_point as slow
from references.interior_scenes import Quadratics, Scene
from references.kernel_calls import MODES, call

from nlsq.kernels.interior_point import certificate, export, layout, loop, restoration, scaling
from nlsq.status import Status

MODE = pytest.mark.parametrize("mode", MODES)
SEEDS = pytest.mark.parametrize("seed", range(4))
INF = np.inf


# new scales


@MODE
@pytest.mark.parametrize(
    ("searches", "cost_scale", "rows", "restarts", "expected"),
    [
        (5, 1.0, [1.0, 1.0], 0, 0),
        (5, 0.009, [1.0, 1.0], 0, 1),
        (5, 0.011, [0.011, 99.0], 0, 0),
        (5, 1.0, [1.0, 0.009], 2, 1),
        (5, 1.0, [101.0, 1.0], 0, 1),
        (5, 101.0, [1.0, 1.0], 0, 1),
        (4, 0.009, [0.001, 1e4], 0, 0),
        (9, 0.009, [0.001, 1e4], 3, 0),
    ],
)
def test_scales_that_are_extreme_are_chosen_anew_after_long_searches(
    mode, searches, cost_scale, rows, restarts, expected
):
    scene = Scene(mode, mc=2)
    scene.iw[layout.LONG_SEARCHES], scene.iw[layout.RESTARTS] = searches, restarts
    scene.w[layout.COST_SCALE] = cost_scale
    scene.set(layout.ROW_SCALE, rows)
    assert scene.call(loop.begins_anew) == expected


@MODE
@SEEDS
def test_beginning_anew_is_beginning_where_it_is(mode, seed):
    """Scales, multipliers and slacks are those of the point; the counters and the best point go on."""
    scene = Scene(mode, seed, n=3, m=4, mc=2, variables=("none",), slacks=("held", "lower"))
    one, two = Quadratics(4, 3, seed), Quadratics(2, 3, seed + 50)
    two.a *= np.array([[1e3], [1.0]])
    scene.serve_kernels()
    scene.serve_functions(one, two)
    x, w, iw = np.array([3.0, -7.0, 5.0]), scene.w, scene.iw
    scene.v(layout.Z)[:3] = x
    scene.set(layout.XL, np.full(3, -INF))
    scene.set(layout.XU, np.full(3, INF))
    scene.set(layout.CL, [0.5, -1e9])
    scene.set(layout.CU, [0.5, INF])
    scene.set(layout.QUASI, np.ones((3, 3)))
    scene.set(layout.COLUMN_SQUARES, np.full(3, 1e30))
    scene.set(layout.ROW_SCALE, [1e-9, 1e7])
    scene.set(layout.X_BEST, [1.0, 2.0, 3.0])
    scene.put_filter([(1.0, 2.0)])
    w[layout.COST_SCALE], w[layout.BEST_COST], w[layout.BEST_VIOLATION] = 1e-7, 0.5, 0.0
    w[layout.START_BARRIER], w[layout.PUSH] = 0.1, 0.01
    iw[layout.QUASI_NEWTON], iw[layout.WARM], iw[layout.LONG_SEARCHES] = 3, 1, 7
    iw[layout.NFEV], iw[layout.RESTARTS], iw[layout.EXTRA], iw[layout.TINY_STEPS] = 20, 1, 4, 1
    assert scene.call(loop.begin_anew) == 0
    assert (iw[layout.RESTARTS], iw[layout.WARM], iw[layout.LONG_SEARCHES]) == (2, 0, 0)
    assert (iw[layout.NFEV], iw[layout.NJEV], iw[layout.FILTER_SIZE]) == (21, 1, 0)
    assert (iw[layout.EXTRA], iw[layout.TINY_STEPS], iw[layout.STATUS]) == (0, 0, 0)
    assert w[layout.BARRIER] == 0.1
    jac, r = one.jacobian(x), one.value(x)
    scale = 100.0 / max(100.0, np.abs(jac.T @ r).max())
    rows = 100.0 / np.maximum(100.0, np.abs(two.jacobian(x)).max(axis=1))
    assert scale < 1.0 and rows[0] < 1.0
    assert w[layout.COST_SCALE] == pytest.approx(scale)
    assert w[layout.COST] == pytest.approx(scale * 0.5 * r @ r)
    assert_allclose(scene.v(layout.ROW_SCALE), rows)
    assert_allclose(scene.v(layout.C), rows * two.value(x))
    assert_allclose(scene.v(layout.Z)[3:], [0.5 * rows[0], rows[1] * two.value(x)[1]])
    assert_allclose(scene.v(layout.COLUMN_SQUARES), scale * np.sum(jac**2, axis=0))
    assert not scene.v(layout.QUASI).any()
    assert (w[layout.BEST_COST], w[layout.BEST_VIOLATION]) == (0.5, 0.0)
    assert scene.v(layout.X_BEST).tolist() == [1.0, 2.0, 3.0]
    scene.a = two.jacobian(x) * rows[:, None]
    assert_allclose(scene.v(layout.Y), slow.least_squares_multipliers(scene.point), rtol=1e-6, atol=1e-6)


@MODE
@pytest.mark.parametrize(
    ("gradient", "bound", "expected"),
    [
        (1.0, 1.0, 1.0),
        (100.0, 1.0, 1.0),
        (400.0, 1e-9, 0.25),
        (1e50, 1.0, 1e-6),
        (0.0, 1e-2, 1.0),
        (0.0, 5e-3, 200.0),
        (0.0, 1e-9, 1e4),
        (0.0, 0.0, 1.0),
        (INF, INF, 1.0),
        (np.nan, np.nan, 1.0),
    ],
)
def test_scales_go_down_and_up_within_limits(mode, gradient, bound, expected):
    assert call(scaling.scale_of, mode, gradient, bound, 1e-6, 1e4) == pytest.approx(expected, rel=1e-15)


@MODE
@SEEDS
def test_scaled_problems_have_gradients_between_both_limits(mode, seed):
    rng = np.random.default_rng(seed)
    scene = Scene(mode, seed)
    rows = 10.0 ** rng.uniform(-7.0, 5.0, 4)
    gradient = 10.0 ** rng.uniform(-9.0, 7.0) * rng.standard_normal(5)
    bound = 3.0 * np.abs(gradient).max()
    scene.set(layout.GRADIENT, gradient)
    scene.set(layout.ROW_WORK, rows)
    scene.v(layout.FREE)[:] = 1.0
    scene.w[layout.GRADIENT_BOUND] = bound
    scene.call(scaling.choose_scales)
    assert np.abs(scene.w[layout.COST_SCALE] * gradient).max() <= 100.0 * (1.0 + 1e-12)
    assert scene.w[layout.COST_SCALE] * bound >= 1e-2
    scaled = scene.v(layout.ROW_SCALE) * rows
    assert ((scaled >= 1e-2) & (scaled <= 100.0 * (1.0 + 1e-12))).all()
    assert scene.iw[layout.SCALED] == 1


# ways out of restoration


@MODE
@pytest.mark.parametrize("code", [0, 6])
def test_rows_that_are_evened_out_weigh_as_they_were_given(mode, code):
    scene = Scene(mode, mc=3, slacks=("held", "both", "lower"))
    scene.set(layout.CL, [2.0, -1.0, 5.0])
    scene.set(layout.CU, [2.0, 1.0, INF])
    scene.set(layout.ROW_SCALE, [1.0, 1e-3, 50.0])
    c = np.array([3.0, 4.0, 4.5])
    scene.set(layout.C, c * [1.0, 1e-3, 50.0])
    scene.w[layout.PUSH], scene.w[layout.RESTORATION_DAMPING] = 1e-6, 1e9
    scene.put_filter([(1.0, 2.0)])
    calls = []

    def linearise(held):
        calls.append(held.v(layout.ROW_SCALE).tolist())
        return code

    scene.serve(layout.LINEARISE, linearise)
    assert scene.call(restoration.even_rows) == code
    assert calls == [[1e-3] * 3]
    assert_allclose(scene.v(layout.C), 1e-3 * c)
    slack, given = scene.v(layout.Z)[5:], 1e3 * scene.v(layout.Z)[5:]
    assert_allclose(given, [2.0, 1.0, 5.0], atol=3e-3)
    assert scene.v(layout.FREE)[5:].tolist() == [0.0, 1.0, 1.0]
    assert -1.01e-3 < scene.v(layout.LOWER)[6] < slack[1] < scene.v(layout.UPPER)[6] < 1.01e-3
    assert_allclose(scene.v(layout.H), 1e-3 * c - slack)
    assert scene.w[layout.RESTORED_FROM] == scene.w[layout.VIOLATION] == pytest.approx(np.abs(1e-3 * c - slack).sum())
    assert scene.v(layout.REFERENCE).tolist() == scene.v(layout.Z).tolist()
    assert (scene.iw[layout.FILTER_SIZE], scene.w[layout.RESTORATION_DAMPING]) == (0, 1e-4)


@MODE
def test_squares_of_violation_are_those_of_constraints_as_given(mode):
    scene = Scene(mode, mc=4)
    scale, c = np.array([0.1, 2.0, 1.0, 5.0]), np.array([3.0, -4.0, 0.5, 7.0])
    scene.set(layout.ROW_SCALE, scale)
    scene.set(layout.CL, [1.0, -1.0, 0.0, -INF])
    scene.set(layout.CU, [1.0, INF, 1.0, 6.5])
    scene.set(layout.C_TRIAL, scale * c)
    found = scene.call(certificate.squares_of_violation, scene.at(layout.C_TRIAL))
    assert found == pytest.approx(2.0**2 + 3.0**2 + 0.5**2)
    scene.v(layout.C_TRIAL)[2] = np.nan
    assert scene.call(certificate.squares_of_violation, scene.at(layout.C_TRIAL)) == INF


def at_standstill(mode, c, low, high, scale=1.0, x=(0.0,), free=1.0):
    """A scene at which the violation is stationary, with one constraint of one variable."""
    scene = Scene(mode, n=len(x), mc=1, variables=("none",), slacks=("lower",))
    n = len(x)
    scene.set(layout.XL, np.full(n, -50.0))
    scene.set(layout.XU, np.full(n, 50.0))
    scene.v(layout.LOWER)[:n], scene.v(layout.UPPER)[:n] = -50.0, 50.0
    scene.v(layout.FREE)[:n] = free
    scene.v(layout.Z)[:n] = x
    scene.set(layout.ROW_SCALE, [scale])
    scene.set(layout.CL, [low])
    scene.set(layout.CU, [high])
    scene.v(layout.LOWER)[n], scene.v(layout.UPPER)[n] = low * scale, high * scale
    scene.v(layout.Z)[n] = scale * (low + 0.5 if low > -INF else high - 0.5)
    scene.set(layout.C, [scale * c(np.array(x))])
    value = c(np.array(x))
    worst = max(low - value, value - high)
    scene.w[layout.USER_VIOLATION] = worst * max(1.0, scale) / max(1.0, abs(low if low > -INF else high))
    scene.asked = []

    def evaluate(held):
        at = held.v(layout.Z_TRIAL)[:n].copy()
        held.asked.append(at)
        held.w[layout.COST_TRIAL] = 1.0
        held.v(layout.C_TRIAL)[0] = scale * c(at)

    scene.serve(layout.EVALUATE, evaluate)
    scene.serve(layout.LINEARISE, lambda held: 0)
    return scene


@MODE
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("unit", [1.0, 300.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("bend", [1.0, -1.0])
def test_escapes_find_less_violation_on_either_side_of_a_limit(mode, scale, unit, side, bend):
    """c = side x^2 leaves its minimum, where the violation is largest, or, with x^3, goes one way only."""
    power = (lambda x: x * x) if bend > 0.0 else (lambda x: x * x * x)
    c = lambda x: float(side * unit * power(x[0]))
    low, high = (unit, INF) if side > 0.0 else (-INF, -unit)
    scene = at_standstill(mode, c, low, high, scale)
    assert scene.call(certificate.escape) == 1
    z = scene.v(layout.Z)
    assert power(z[0]) > 0.0
    assert scene.v(layout.C)[0] == pytest.approx(scale * c(z[:1]))
    assert scene.v(layout.LOWER)[1] < z[1] < scene.v(layout.UPPER)[1]
    assert scene.v(layout.H)[0] == pytest.approx(scene.v(layout.C)[0] - z[1])
    assert scene.iw[layout.NFEV] == len(scene.asked) <= certificate.DIRECTIONS
    assert scene.iw[layout.NJEV] == 1
    if bend < 0.0:  # another way is another sign
        mirrored = at_standstill(mode, lambda x: c(-x), low, high, scale)
        assert mirrored.call(certificate.escape) == 1
        assert mirrored.v(layout.Z)[0] < 0.0 < z[0]


@MODE
def test_escapes_leave_a_minimum_of_the_violation_alone(mode):
    scene = at_standstill(mode, lambda x: float(-(x @ x)), 1.0, INF, x=(0.0, 0.0))
    before = scene.v(layout.Z).copy()
    assert scene.call(certificate.escape) == 0
    assert len(scene.asked) == scene.iw[layout.NFEV] == certificate.DIRECTIONS
    assert scene.v(layout.Z).tolist() == before.tolist()
    assert scene.v(layout.X_EVALUATED).tolist() == [0.0, 0.0]
    signs = np.sign(scene.asked)
    assert {(a, b) for a, b in signs} == {(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)}
    lengths = np.abs(scene.asked).max(axis=1)
    assert lengths.min() < 1e-2 and 1.0 < lengths.max() <= 10.0 * (1.0 + 1e-12)


@MODE
def test_escapes_stay_inside_bounds_and_hold_what_is_held(mode):
    scene = at_standstill(mode, lambda x: float(1e6 * x[1] ** 2 - x[0] ** 2), 1.0, INF, x=(0.0, 0.0), free=[1.0, 0.0])
    scene.v(layout.LOWER)[0], scene.v(layout.UPPER)[0] = -1e-3, 1e-3
    scene.set(layout.XL, [-1e-3, -50.0])
    scene.set(layout.XU, [1e-3, 50.0])
    assert scene.call(certificate.escape) == 0  # the second would, were it not held
    assert len(scene.asked) == certificate.DIRECTIONS
    for x in scene.asked:
        assert abs(x[0]) < 1e-3
        assert x[1] == 0.0


@MODE
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_escapes_do_not_go_where_nothing_is_defined(mode, value):
    scene = at_standstill(mode, lambda x: 0.0 if x[0] == 0.0 else value, 1.0, 2.0)
    assert scene.call(certificate.escape) == 0
    scene = at_standstill(mode, lambda x: float(x[0] ** 2), 1.0, INF)
    good = lambda held: held.v(layout.C_TRIAL).__setitem__(0, 0.9)

    def evaluate(held):
        good(held)
        held.w[layout.COST_TRIAL] = abs(value)

    scene.serve(layout.EVALUATE, evaluate)
    assert scene.call(certificate.escape) == 0


@MODE
def test_escapes_do_not_break_what_is_kept(mode):
    def kept(flag):
        scene = Scene(mode, n=1, mc=2, variables=("none",), slacks=("lower",))
        scene.v(layout.Z)[0] = 0.0
        scene.set(layout.XL, [-9.0])
        scene.set(layout.XU, [9.0])
        scene.set(layout.CL, [1.0, 0.0])
        scene.set(layout.CU, [INF, INF])
        scene.set(layout.C, [0.0, 0.0])  # x^2 >= 1 is wanted, -x^2 >= -0 is met and to be kept
        scene.set(layout.KEEP, [0.0, 1.0])
        scene.iw[layout.KEEPS] = flag
        scene.w[layout.USER_VIOLATION] = 1.0

        def evaluate(held):
            x = held.v(layout.Z_TRIAL)[0]
            held.set(layout.C_TRIAL, [x * x, -1e-9 * x * x])
            held.w[layout.COST_TRIAL] = 1.0

        scene.serve(layout.EVALUATE, evaluate)
        scene.serve(layout.LINEARISE, lambda held: 0)
        return scene.call(certificate.escape)

    assert (kept(0), kept(1)) == (1, 0)


@MODE
def test_escapes_end_with_the_evaluations_and_tell_what_failed(mode):
    scene = at_standstill(mode, lambda x: 0.0, 1.0, INF, x=(0.25,))
    scene.iw[layout.MAX_EVALUATIONS] = 7
    assert scene.call(certificate.escape) == certificate.NO_EVALUATIONS
    assert scene.iw[layout.NFEV] == 7
    assert scene.v(layout.X_EVALUATED).tolist() == [0.25]
    scene.serve(layout.EVALUATE, lambda held: 3)
    scene.iw[layout.MAX_EVALUATIONS] = 1000
    assert scene.call(certificate.escape) == -3
    scene = at_standstill(mode, lambda x: float(x[0] ** 2), 1.0, INF)
    scene.serve(layout.LINEARISE, lambda held: 4)
    assert scene.call(certificate.escape) == -4


@MODE
@pytest.mark.parametrize(
    ("violation", "slope", "expected"),
    [(1e-8, 1.0, certificate.RESTORED), (0.5, 0.0, certificate.INFEASIBLE), (0.5, 1.0, certificate.FAILED)],
)
def test_what_a_restoration_has_found(mode, violation, slope, expected):
    scene = at_standstill(mode, lambda x: 0.5, 1.0, INF)
    scene.w[layout.USER_VIOLATION] = violation
    scene.set(layout.CONSTRAINT_JAC_T, [slope])
    assert scene.call(certificate.conclude) == expected
    scene.serve(layout.MULTIPLY, lambda held: 9)
    assert scene.call(certificate.conclude) == (expected if violation < 1e-7 else -9)


# ends


@MODE
@pytest.mark.parametrize(
    ("error", "violation", "tolerance", "expected"),
    [
        (1e-7, 0.0, 1e-8, 1),
        (1e-6, 1e-6, 1e-8, 1),
        (1.1e-6, 0.0, 1e-8, 0),
        (1e-7, 1.1e-6, 1e-8, 0),
        (1e-7, 1e-4, 1e-3, 1),
        (1e-7, 1.1e-3, 1e-3, 0),
        (np.nan, 0.0, 1e-8, 0),
        (1e-7, np.nan, 1e-8, 0),
        (np.inf, 0.0, 1e-8, 0),
    ],
)
def test_acceptable_is_what_meets_the_constraints_too(mode, error, violation, tolerance, expected):
    scene = Scene(mode)
    scene.w[layout.ACCEPTABLE_TOLERANCE], scene.w[layout.ERROR] = 1e-6, error
    scene.w[layout.USER_VIOLATION], scene.w[layout.VIOLATION_TOLERANCE] = violation, tolerance
    assert call(loop.is_acceptable, mode, scene.w) == expected


@MODE
def test_long_searches_in_a_row_are_counted(mode):
    scene = Scene(mode)
    counted = []
    for trials in (6, 7, 5, 1, 20, 6):
        scene.iw[layout.TRIALS] = trials
        scene.call(loop.note_progress)
        counted.append(int(scene.iw[layout.LONG_SEARCHES]))
    assert counted == [1, 2, 0, 0, 1, 2]


@MODE
@pytest.mark.parametrize(("searches", "rough", "status"), [(3, 1, Status.STALLED), (2, 1, 0), (9, 0, 0)])
def test_rough_derivatives_are_given_up_early(mode, searches, rough, status):
    scene = Scene(mode)
    scene.w[layout.ERROR], scene.w[layout.ACCEPTABLE_TOLERANCE] = 1.0, 1e-6
    scene.iw[layout.ROUGH], scene.iw[layout.LONG_SEARCHES] = rough, searches
    scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == status


# what holds the solution


@MODE
@pytest.mark.parametrize(
    ("below", "above", "zl", "zu", "expected"),
    [
        (1e-9, INF, 0.0, 0.0, 1),  # at its limit, whatever the multiplier
        (1e-5, INF, 1e-4, 0.0, 1),  # nearer than its multiplier is large
        (1e-5, INF, 1e-6, 0.0, 0),
        (1e-3, INF, 1e3, 0.0, 0),  # far
        (INF, 1e-9, 0.0, 0.0, 1),
        (INF, 1e-5, 0.0, 1e-4, 1),
        (INF, 1e-5, 1e-4, 1e-6, 0),
        (INF, 1e-3, 0.0, 1e3, 0),
        (1.0, 1.0, 0.1, 0.1, 0),
        (INF, INF, 0.0, 0.0, 0),
    ],
)
def test_constraints_that_hold_the_solution(mode, below, above, zl, zu, expected):
    scene = Scene(mode, mc=2, slacks=("none", "held"))
    n = scene.n
    scene.v(layout.Z)[n:] = 0.5
    scene.v(layout.LOWER)[n], scene.v(layout.UPPER)[n] = 0.5 - below, 0.5 + above
    scene.v(layout.LOWER_DUAL)[n], scene.v(layout.UPPER_DUAL)[n] = zl, zu
    mask = np.full(2, 9, dtype=np.int64)
    call(export.export_active_rows, mode, scene.w, scene.iw, mask)
    assert mask.tolist() == [expected, 1]


@MODE
def test_distances_to_limits_are_relative_to_large_ones(mode):
    for limit, distance, dual, expected in (
        (1e6, 9e-3, 0.0, 1), (1e6, 2e-2, 0.0, 0), (1e6, 2e-2, 0.1, 1), (-1e6, 9e-3, 0.0, 1), (1e6, 99.0, 100.0, 1),
        (1e6, 101.0, 1e9, 0), (1e-6, 9e-9, 0.0, 1), (1e-6, 2e-8, 0.0, 0), (1.0, np.nan, 1.0, 0),
    ):  # fmt: skip
        assert call(export.is_active, mode, distance, limit, dual) == expected
