"""Kernels of the interior-point method, one at a time, against the slow twins: errors, barrier, direction, start."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import interior_point as slow
from references.interior_scenes import Scene
from references.kernel_calls import MODES, call

from nlsq.kernels.interior_point import (
    acceptance,
    barrier,
    dense_services,
    direction,
    errors,
    export,
    layout,
    scaling,
    start,
)

MODE = pytest.mark.parametrize("mode", MODES)
SEEDS = pytest.mark.parametrize("seed", range(4))
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


# errors


@MODE
@SEEDS
@pytest.mark.parametrize("size", [1.0, 1e4, 1e9])
def test_errors_are_those_of_the_definition(mode, seed, size):
    scene = Scene(mode, seed)
    for name in (layout.Y, layout.LOWER_DUAL, layout.UPPER_DUAL):
        scene.v(name)[:] *= size
    scene.set(layout.AY, scene.a.T @ scene.v(layout.Y))
    w = scene.w
    w[layout.COST_SCALE] = 0.25
    scene.call(errors.update_errors)
    e_mu, dual, s_d, product = slow.errors(scene.point, 0.03, errors.MOST_FORGIVEN)
    e_0 = slow.errors(scene.point, 0.0, errors.MOST_FORGIVEN)[0]
    found = w[[layout.BARRIER_ERROR, layout.DUAL_ERROR, layout.DUAL_SCALE, layout.COMPLEMENTARITY, layout.ERROR]]
    assert_allclose(found, [e_mu, dual, s_d, product, e_0], rtol=1e-12)
    assert_allclose(w[layout.PRIMAL_ERROR], np.abs(scene.point.h).max())
    of_variables = scene.point.gradient_of_lagrangian[: scene.n]
    assert_allclose(w[layout.USER_DUAL_ERROR], np.abs(of_variables).max() / 0.25)
    assert_allclose(scene.v(layout.LONG_WORK), scene.point.gradient_of_lagrangian)


@MODE
@pytest.mark.parametrize("name", [layout.GRADIENT, layout.AY])
def test_error_of_what_is_no_number_is_infinite(mode, name):
    scene = Scene(mode)
    scene.v(name)[1] = np.nan
    scene.call(errors.update_errors)
    assert scene.w[layout.ERROR] == np.inf
    assert scene.w[layout.BARRIER_ERROR] == np.inf


@MODE
def test_violation_as_given_is_relative_to_large_limits(mode):
    scene = Scene(mode, mc=3, slacks=("lower", "upper", "held"))
    scene.set(layout.ROW_SCALE, [0.1, 1.0, 0.5])
    scene.set(layout.CL, [-200.0, -np.inf, 0.5])
    scene.set(layout.CU, [np.inf, 3.0, 0.5])
    scene.set(layout.C, np.array([-260.0, 3.03, 0.75]) * [0.1, 1.0, 0.5])
    scene.call(errors.update_violation)
    assert scene.w[layout.USER_VIOLATION] == pytest.approx(60.0 / 200.0)
    h = scene.v(layout.C) - scene.v(layout.Z)[scene.n :]
    assert_allclose(scene.v(layout.H), h)
    assert scene.w[layout.VIOLATION] == pytest.approx(np.abs(h).sum())
    scene.v(layout.C)[0] = -1.0
    scene.call(errors.update_violation)
    assert scene.w[layout.USER_VIOLATION] == pytest.approx(0.25)
    scene.v(layout.C)[2] = 0.25
    scene.call(errors.update_violation)
    assert scene.w[layout.USER_VIOLATION] == pytest.approx(0.01)


# the barrier parameter


@MODE
@SEEDS
def test_suggested_barrier(mode, seed):
    scene = Scene(mode, seed)
    assert_allclose(scene.call(barrier.suggested_barrier), slow.suggested_barrier(scene.point.products), rtol=1e-12)
    for name in (layout.LOWER_DUAL, layout.UPPER_DUAL):
        scene.v(name)[:] = 0.0
    assert scene.call(barrier.suggested_barrier) == 0.0


@MODE
def test_barrier_waits_until_its_problem_is_solved(mode):
    scene = Scene(mode)
    scene.w[layout.BARRIER_ERROR] = 10.01 * 0.03
    scene.put_filter([(1.0, 2.0)])
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == 0.03
    assert scene.iw[layout.FILTER_SIZE] == 1
    assert scene.w[layout.TO_BOUNDARY] == pytest.approx(0.99)


@MODE
@pytest.mark.parametrize("mu", [0.5, 0.03, 1e-6])
def test_monotone_barrier_falls_once_where_the_new_error_is_large(mode, mu):
    scene = Scene(mode)
    scene.iw[layout.MONOTONE] = 1
    scene.w[layout.BARRIER], scene.w[layout.BARRIER_ERROR] = mu, 10.0 * mu
    scene.put_filter([(1.0, 2.0)])
    scene.v(layout.GRADIENT)[:] += 100.0  # the error of the next problem, that `update_errors` finds
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == pytest.approx(slow.lowered_barrier(mu, 1e-8))
    assert scene.iw[layout.FILTER_SIZE] == 0
    assert scene.w[layout.TO_BOUNDARY] == pytest.approx(max(0.99, 1.0 - scene.w[layout.BARRIER]))


@MODE
@pytest.mark.parametrize(("extra", "least"), [(0, 1e-9), (1, 1e-11)])
def test_barrier_falls_to_the_end_where_all_is_solved(mode, extra, least):
    scene = Scene(mode, variables=("both",), slacks=("both",))
    scene.iw[layout.MONOTONE], scene.iw[layout.EXTRA], scene.w[layout.COST_SCALE] = 1, extra, 0.01
    for name in (layout.GRADIENT, layout.AY, layout.Y, layout.LOWER_DUAL, layout.UPPER_DUAL, layout.H):
        scene.v(name)[:] = 0.0
    scene.w[layout.BARRIER_ERROR] = 0.0
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == pytest.approx(least)
    assert scene.w[layout.TO_BOUNDARY] == pytest.approx(1.0 - least)


@MODE
def test_adaptive_barrier_falls_faster_but_never_rises(mode):
    scene = Scene(mode, variables=("both",), slacks=("both",))
    z, lower, upper = (scene.v(name) for name in (layout.Z, layout.LOWER, layout.UPPER))
    scene.set(layout.LOWER_DUAL, 1e-3 / (z - lower))
    scene.set(layout.UPPER_DUAL, 1e-3 / (upper - z))  # as even as can be: nothing is suggested
    scene.v(layout.GRADIENT)[:] += 100.0
    scene.w[layout.BARRIER_ERROR] = 0.0
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == pytest.approx(0.01 * 0.03**1.5)
    scene = Scene(mode, variables=("both",), slacks=("both",))
    for name in (layout.LOWER_DUAL, layout.UPPER_DUAL):
        scene.v(name)[:] *= 1e6  # suggests a barrier that is larger than the monotone one
    scene.v(layout.GRADIENT)[:] += 1e9
    scene.w[layout.BARRIER_ERROR] = 0.0
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == pytest.approx(slow.lowered_barrier(0.03, 1e-8))


@MODE
def test_without_bounds_there_is_no_barrier(mode):
    scene = Scene(mode, variables=("none",), slacks=("held",))
    scene.call(barrier.update_barrier)
    assert scene.w[layout.BARRIER] == 0.0
    assert scene.w[layout.TO_BOUNDARY] == 1.0


# the direction


def weights(scene, delta_c=0.0):
    scene.iw[layout.CURVATURE_KNOWN] = 1
    return scene.call(direction.factorize_with_right_inertia, delta_c)


@MODE
@SEEDS
@pytest.mark.parametrize("delta_c", [0.0, 1e-3])
def test_direction_solves_the_whole_newton_system(mode, seed, delta_c):
    scene = Scene(mode, seed)
    assert weights(scene, delta_c) == 0
    assert scene.call(direction.newton_step) == 0
    scene.call(direction.write_bound_multiplier_steps)
    hessian = scene.jac.T @ scene.jac
    step, y_step, zl_step, zu_step = slow.newton_step(scene.point, hessian, 0.03, 0.0, delta_c)
    assert_allclose(scene.v(layout.STEP), step, **TIGHT)
    assert_allclose(scene.v(layout.Y_STEP), y_step, **TIGHT)
    assert_allclose(scene.v(layout.LOWER_DUAL_STEP)[scene.point.has_lower], zl_step[scene.point.has_lower], **TIGHT)
    assert_allclose(scene.v(layout.UPPER_DUAL_STEP)[scene.point.has_upper], zu_step[scene.point.has_upper], **TIGHT)
    assert scene.w[layout.RESIDUAL_OF_SOLVE] < 1e-12


@MODE
@SEEDS
def test_direction_with_damping_and_regularisation(mode, seed):
    """Second-order terms that make the matrix indefinite: left out at first, then outweighed."""
    for count, uses in ((0, 1), (direction.GAUSS_NEWTON_MOST, 3)):
        scene = Scene(mode, seed)
        second = -30.0 * np.eye(5) + np.diag(np.ones(4), -1)
        scene.set(layout.SECOND, np.tril(second))
        scene.iw[layout.QUASI_NEWTON] = 1
        scene.iw[layout.GAUSS_NEWTON_COUNT] = count
        scene.w[layout.DAMPING] = 0.5
        assert weights(scene) == 0
        assert scene.iw[layout.USED_HESSIAN] == uses
        assert (scene.w[layout.REGULARISATION] > 0.0) == (uses == 3)
        hessian = scene.jac.T @ scene.jac + 0.5 * np.diag(np.sum(scene.jac**2, axis=0))
        if uses == 3:
            hessian += second + np.tril(second, -1).T
        scene.call(direction.newton_step)
        step, y_step, *_ = slow.newton_step(scene.point, hessian, 0.03, scene.w[layout.REGULARISATION])
        assert_allclose(scene.v(layout.STEP), step, rtol=1e-7, atol=1e-8)
        assert_allclose(scene.v(layout.Y_STEP), y_step, rtol=1e-7, atol=1e-8)
        right = int(scene.point.free.sum()), scene.mc
        assert slow.inertia(scene.point, hessian, scene.w[layout.REGULARISATION]) == right
        assert scene.iw[layout.FACTORIZATIONS] == scene.iw[layout.CORRECTIONS] + 1
        assert scene.iw[layout.GAUSS_NEWTON_COUNT] == (1 if uses == 1 else 0)


@MODE
@SEEDS
def test_inertia_is_that_of_the_whole_matrix(mode, seed):
    scene = Scene(mode, seed)
    rng = np.random.default_rng(seed)
    for shift in (-20.0, -6.0, -3.0, -1.0, 0.0):
        second = shift * np.eye(5) + np.tril(rng.standard_normal((5, 5)))
        scene.set(layout.SECOND, second)
        scene.iw[layout.USE_HESSIAN] = 3
        scene.call(direction.write_diagonal)
        scene.call(dense_services.factorize)
        whole = scene.jac.T @ scene.jac + second + np.tril(second, -1).T
        is_right = slow.inertia(scene.point, whole) == (int(scene.point.free.sum()), scene.mc)
        assert scene.iw[layout.INERTIA] == (layout.INERTIA_RIGHT if is_right else layout.INERTIA_NEGATIVE)


@MODE
def test_dependent_rows_are_regularised(mode):
    scene = Scene(mode, mc=2, slacks=("held",), variables=("none",))
    scene.set(layout.CONSTRAINT_JAC_T, np.vstack([scene.a[0], scene.a[0]]).T)
    scene.iw[layout.CURVATURE_KNOWN] = 1
    assert scene.call(direction.compute_search_direction) == 0
    assert scene.w[layout.ROW_REGULARISATION] == pytest.approx(1e-8 * 0.03**0.25)
    assert scene.iw[layout.FACTORIZATIONS] == scene.iw[layout.CORRECTIONS] + 1
    assert np.isfinite(scene.v(layout.STEP)).all()


@MODE
def test_multipliers_beyond_all_measure_seem_dependent(mode):
    scene = Scene(mode)
    scene.v(layout.Y_STEP)[:] = 1.0
    assert scene.call(direction.seems_dependent) == 0
    scene.v(layout.Y_STEP)[2] = -2e10 * max(1.0, np.abs(scene.v(layout.GRADIENT)).max())
    assert scene.call(direction.seems_dependent) == 1
    scene.v(layout.Y_STEP)[2] = np.nan
    assert scene.call(direction.seems_dependent) == 1


@MODE
@SEEDS
@pytest.mark.parametrize("size", [0.1, 10.0])
def test_fraction_to_the_boundary_and_slope(mode, seed, size):
    scene = Scene(mode, seed)
    point, step = scene.point, size * np.random.default_rng(seed + 9).standard_normal(9)
    scene.set(layout.STEP, step)
    scene.w[layout.TO_BOUNDARY] = 0.9
    scene.call(direction.write_bound_multiplier_steps)
    w, zero, none = scene.w, np.zeros(9), np.full(9, np.inf)
    expected = slow.longest_step(point.z, step, point.lower, point.upper, 0.9)
    assert w[layout.PRIMAL_LENGTH] == pytest.approx(expected, rel=1e-14)
    dual = min(
        slow.longest_step(values[has], steps[has], zero[has], none[has], 0.9)
        for values, steps, has in (
            (point.zl, scene.v(layout.LOWER_DUAL_STEP), point.has_lower),
            (point.zu, scene.v(layout.UPPER_DUAL_STEP), point.has_upper),
        )
    )
    assert w[layout.DUAL_LENGTH] == pytest.approx(dual, rel=1e-14)
    assert w[layout.SLOPE] == pytest.approx(slow.barrier_slope(point, step, 0.03), rel=1e-12)


@MODE
def test_regularisation_rises_as_in_algorithm_ic(mode):
    """The first ever is 1e-4, then times 100; later ones begin at a third of the last that was enough, times 8."""
    scene = Scene(mode)
    tried = []

    def factorize(held):
        tried.append(held.w[layout.REGULARISATION])
        held.iw[layout.INERTIA] = layout.INERTIA_RIGHT if len(tried) % 4 == 0 else layout.INERTIA_NEGATIVE

    scene.serve(layout.FACTORIZE, factorize)
    assert weights(scene) == 0
    assert_allclose(tried, [0.0, 1e-4, 1e-2, 1.0])
    assert scene.w[layout.ROW_REGULARISATION] == 0.0
    tried.clear()
    assert weights(scene) == 0
    assert_allclose(tried, [0.0, 1.0 / 3.0, 8.0 / 3.0, 64.0 / 3.0])
    assert (scene.iw[layout.FACTORIZATIONS], scene.iw[layout.CORRECTIONS]) == (8, 6)


@MODE
def test_no_regularisation_is_enough(mode):
    scene = Scene(mode)
    scene.serve(layout.FACTORIZE, lambda held: held.iw.__setitem__(layout.INERTIA, layout.INERTIA_SINGULAR))
    assert weights(scene) == -1
    assert scene.w[layout.REGULARISATION] > 1e40
    assert scene.w[layout.ROW_REGULARISATION] == pytest.approx(1e-8 * 0.03**0.25)


@MODE
@pytest.mark.parametrize("service", [layout.FACTORIZE, layout.SOLVE, layout.CURVATURE])
def test_code_of_a_service_that_failed_comes_through(mode, service):
    scene = Scene(mode)
    scene.iw[layout.QUASI_NEWTON] = 1
    scene.serve(service, lambda held: 7)
    assert scene.call(direction.compute_search_direction) == 7


# services


@MODE
@SEEDS
def test_products(mode, seed):
    scene = Scene(mode, seed)
    by_kind = {
        layout.CONSTRAINTS_TRANSPOSED: scene.a.T,
        layout.RESIDUAL_TRANSPOSED: scene.jac.T,
        layout.CONSTRAINTS_TIMES: scene.a,
        layout.RESIDUAL_TIMES: scene.jac,
    }
    for kind, matrix in by_kind.items():
        given = np.random.default_rng(kind).standard_normal(matrix.shape[1])
        scene.v(layout.KKT)[: given.size] = given
        scene.iw[layout.ARGUMENT], scene.iw[layout.RESULT] = scene.at(layout.KKT), scene.at(layout.KKT_FACTOR)
        scene.iw[layout.PRODUCT] = kind
        assert scene.call(dense_services.multiply) == 0
        assert_allclose(scene.v(layout.KKT_FACTOR)[: matrix.shape[0]], matrix @ given, rtol=1e-12, atol=1e-14)


@MODE
def test_residual_of_a_solve_that_is_no_number_is_infinite(mode):
    rhs, out = np.array([1.0, 2.0]), np.empty(2)
    matrix = np.array([2.0, np.nan, 1.0, 3.0])  # the lower triangle is read
    right = np.linalg.solve([[2.0, 1.0], [1.0, 3.0]], rhs)
    assert call(dense_services.kkt_residual, mode, 2, matrix, right, rhs, out) < 1e-15
    size = call(dense_services.kkt_residual, mode, 2, matrix, np.array([1.0, 1.0]), rhs, out)
    assert_allclose(out, [-2.0, -2.0])
    assert size == 1.0
    assert call(dense_services.kkt_residual, mode, 2, matrix, np.array([1.0, np.nan]), rhs, out) == np.inf


# scales and the start


@MODE
def test_scales_leave_no_gradient_above_100(mode):
    scene = Scene(mode, mc=4)
    scene.set(layout.GRADIENT, [1.0, -2e4, 3.0, 1e9, 5e9])
    scene.v(layout.FREE)[:5] = [1.0, 1.0, 1.0, 0.0, 0.0]
    scene.w[layout.GRADIENT_BOUND] = 3e4
    scene.set(layout.ROW_WORK, [50.0, 400.0, 1e10, 1e-2])
    c = scene.v(layout.C).copy()
    scene.call(scaling.choose_scales)
    assert scene.w[layout.COST_SCALE] == pytest.approx(100.0 / 2e4)
    assert scene.w[layout.ROOT_SCALE] == pytest.approx(np.sqrt(100.0 / 2e4))
    assert scene.w[layout.COST] == pytest.approx(2.5 * 100.0 / 2e4)
    assert_allclose(scene.v(layout.ROW_SCALE), [1.0, 0.25, 1e-8, 1.0])
    assert_allclose(scene.v(layout.C), c * [1.0, 0.25, 1e-8, 1.0])


@MODE
def test_scales_bring_up_what_is_small_for_its_units(mode):
    """But neither a gradient that is small where J is not, nor a row that is zero but for rounding."""
    scene = Scene(mode, mc=4)
    scene.set(layout.GRADIENT, np.full(5, 1e-9))
    scene.w[layout.GRADIENT_BOUND] = 1e-6
    scene.set(layout.ROW_WORK, [1e-5, 0.5, 0.0, 1e-15])
    scene.call(scaling.choose_scales)
    assert scene.w[layout.COST_SCALE] == pytest.approx(1e6)
    assert_allclose(scene.v(layout.ROW_SCALE), [1e5, 1.0, 1.0, 1.0])
    scene = Scene(mode, mc=4)
    scene.set(layout.GRADIENT, np.full(5, 1e-9))
    scene.w[layout.GRADIENT_BOUND] = 1.0
    scene.call(scaling.choose_scales)
    assert scene.w[layout.COST_SCALE] == scene.w[layout.ROOT_SCALE] == 1.0


@MODE
@pytest.mark.parametrize(
    ("value", "lower", "upper", "expected"),
    [
        (0.0, -np.inf, np.inf, 0.0),
        (-5.0, 0.0, np.inf, 0.01),
        (-5.0, 300.0, np.inf, 303.0),
        (5.0, -np.inf, 4.0, 3.96),
        (0.5, 0.0, 1.0, 0.5),
        (0.0, 0.0, 0.1, 0.001),
        (9.0, 0.0, 0.1, 0.099),
    ],
)
def test_starts_are_moved_inside(mode, value, lower, upper, expected):
    assert call(start.inside, mode, value, lower, upper, 0.01) == pytest.approx(expected)


@MODE
def test_bounds_are_relaxed_and_equal_ones_held(mode):
    scene = Scene(mode, n=3, mc=3)
    scene.w[layout.PUSH] = 0.01
    scene.set(layout.XL, [2.0, -np.inf, -500.0])
    scene.set(layout.XU, [2.0, 3.0, np.inf])
    scene.v(layout.Z)[:3] = [9.0, 9.0, -900.0]
    scene.call(start.begin_bounds)
    assert_allclose(scene.v(layout.Z)[:3], [2.0, 2.97, -495.0])
    assert scene.v(layout.FREE)[:3].tolist() == [0.0, 1.0, 1.0]
    assert scene.v(layout.LOWER)[:2].tolist() == [-np.inf, -np.inf]
    assert scene.v(layout.UPPER)[[0, 2]].tolist() == [np.inf, np.inf]
    assert -500.0 - scene.v(layout.LOWER)[2] == pytest.approx(5e-8, rel=1e-5)
    assert scene.v(layout.UPPER)[1] - 3.0 == pytest.approx(3e-10, rel=1e-5)
    scene.set(layout.ROW_SCALE, [0.5, 1.0, 2.0])
    scene.set(layout.CL, [4.0, 1.0, -np.inf])
    scene.set(layout.CU, [4.0, 3.0, 2.0])
    scene.set(layout.C, [7.0, 7.0, -7.0])
    scene.call(start.begin_slacks)
    assert_allclose(scene.v(layout.Z)[3:], [2.0, 2.98, -7.0])
    assert scene.v(layout.FREE)[3:].tolist() == [0.0, 1.0, 1.0]
    assert_allclose(scene.v(layout.LOWER)[3:], [-np.inf, 1.0 - 1e-8, -np.inf], rtol=1e-12)
    assert_allclose(scene.v(layout.UPPER)[3:], [np.inf, 3.0 + 3e-8, 4.0 + 4e-8], rtol=1e-12)


@MODE
def test_bounds_are_relaxed_by_a_share_of_typical_sizes(mode):
    scene = Scene(mode, n=3, mc=0, variables=("both",))
    scene.w[layout.PUSH] = 0.01
    scene.set(layout.SIZE, [10.0, 1e3, 1e-3])
    scene.set(layout.XL, [5.0, -2e4, 1.0])
    scene.set(layout.XU, [5.0, 0.0, 3.0])
    scene.v(layout.Z)[:] = [0.0, 7.0, 0.0]
    scene.call(start.begin_bounds)
    assert_allclose(scene.v(layout.Z), [0.5, -0.01, 1010.0])
    assert_allclose(scene.v(layout.LOWER)[1:] - [-20.0, 1e3], [-2e-9, -1e-7], rtol=1e-5)
    assert_allclose(scene.v(layout.UPPER)[1:] - [0.0, 3e3], [1e-10, 3e-7], rtol=1e-5)


@MODE
def test_limits_are_relaxed_in_the_unit_they_were_given_in_unless_they_are_kept(mode):
    scene = Scene(mode, n=1, mc=5, slacks=("both",))
    scene.w[layout.PUSH] = 0.01
    scene.set(layout.ROW_SCALE, [1e-3, 1e-3, 1e3, 1.0, 1e-3])
    scene.set(layout.CL, [0.0, 50.0, 0.0, -np.inf, 1.0])
    scene.set(layout.CU, [1.0, np.inf, 4.0, 0.5, 2.0])
    scene.set(layout.KEEP, [0.0, 0.0, 0.0, 0.0, 1.0])
    scene.set(layout.C, np.zeros(5))
    scene.call(start.begin_slacks)
    finite = [0, 1, 2, 4], [0, 2, 3, 4]
    low, high = (np.take(scene.v(name) * scene.v(layout.ROW_SCALE), rows)
                 for name, rows in zip((layout.CL, layout.CU), finite, strict=True))  # fmt: skip
    lower, upper = scene.v(layout.LOWER)[1:][finite[0]], scene.v(layout.UPPER)[1:][finite[1]]
    assert_allclose(low - lower, [1e-11, 5e-10, 1e-8, 0.0], rtol=1e-5)
    assert_allclose(upper - high, [1e-11, 4e-5, 1e-8, 0.0], rtol=1e-5)
    assert scene.v(layout.LOWER)[4] == -np.inf
    assert scene.v(layout.UPPER)[2] == np.inf


@MODE
def test_first_multipliers_of_bounds(mode):
    scene = Scene(mode)
    scene.call(start.begin_bound_multipliers)
    assert scene.v(layout.LOWER_DUAL).tolist() == scene.point.has_lower.astype(float).tolist()
    assert scene.v(layout.UPPER_DUAL).tolist() == scene.point.has_upper.astype(float).tolist()
    assert scene.iw[layout.BOUNDS] == scene.point.has_lower.sum() + scene.point.has_upper.sum()
    scene = Scene(mode)
    known, y = scene.v(layout.LOWER_DUAL).copy(), scene.v(layout.Y)
    scene.iw[layout.WARM], scene.w[layout.COST_SCALE], scene.w[layout.BARRIER] = 1, 0.5, 1e-6
    y[1] = -3.0  # pushes from below
    scene.call(start.begin_bound_multipliers)
    assert scene.v(layout.LOWER_DUAL)[0] == pytest.approx(max(0.5 * known[0], 1e-6))
    assert scene.v(layout.LOWER_DUAL)[scene.n + 1] == 3.0
    point = scene.point
    assert scene.v(layout.UPPER_DUAL)[scene.n + 1] == pytest.approx(1e-6 / (point.upper - point.z)[scene.n + 1])


@MODE
@SEEDS
def test_least_squares_multipliers(mode, seed):
    scene = Scene(mode, seed)
    assert scene.call(start.estimate_multipliers) == 0
    assert_allclose(scene.v(layout.Y), slow.least_squares_multipliers(scene.point), rtol=1e-6, atol=1e-6)
    assert_allclose(scene.v(layout.AY), scene.a.T @ scene.v(layout.Y), rtol=1e-12, atol=1e-14)
    assert scene.iw[layout.OTHER_FACTORIZATIONS] == 1
    scene.v(layout.GRADIENT)[:] *= 1e5  # then they are too large to begin with
    scene.call(start.estimate_multipliers)
    assert scene.v(layout.Y).tolist() == [0.0] * scene.mc
    assert scene.v(layout.AY).tolist() == [0.0] * scene.n


# multipliers and the best point


@MODE
def test_multipliers_step_by_their_own_lengths(mode):
    scene = Scene(mode)
    before = scene.point
    scene.w[layout.STEP_LENGTH], scene.w[layout.DUAL_LENGTH] = 0.5, 0.25
    for name in (layout.Y_STEP, layout.LOWER_DUAL_STEP, layout.UPPER_DUAL_STEP):
        scene.v(name)[:] = 2.0
    scene.call(acceptance.step_multipliers)
    assert_allclose(scene.v(layout.Y), before.y + 1.0)
    assert_allclose(scene.v(layout.LOWER_DUAL), before.zl + 0.5 * before.has_lower)
    assert_allclose(scene.v(layout.UPPER_DUAL), before.zu + 0.5 * before.has_upper)


@MODE
def test_multipliers_of_bounds_are_kept_near_the_central_path(mode):
    scene = Scene(mode)
    scene.w[layout.BARRIER] = 1e-3
    scene.v(layout.LOWER_DUAL)[0], scene.v(layout.UPPER_DUAL)[0] = 1e20, 1e-20
    before = scene.point
    scene.call(acceptance.limit_bound_multipliers)
    assert scene.v(layout.LOWER_DUAL)[0] == pytest.approx(1e10 * 1e-3 / (before.z - before.lower)[0])
    assert scene.v(layout.UPPER_DUAL)[0] == pytest.approx(1e-10 * 1e-3 / (before.upper - before.z)[0])
    assert_allclose(scene.v(layout.LOWER_DUAL)[1:], before.zl[1:])
    assert_allclose(scene.v(layout.UPPER_DUAL)[1:], before.zu[1:])


@MODE
@SEEDS
@pytest.mark.parametrize("which", [1, 2, 3])
def test_structured_secant(mode, seed, which):
    rng = np.random.default_rng(100 + seed)
    scene = Scene(mode, seed)
    b, old, new, first = rng.standard_normal((5, 5)), *rng.standard_normal((3, 5))
    b += b.T
    scene.iw[layout.QUASI_NEWTON] = which
    scene.set(layout.QUASI, b)
    scene.set(layout.X_OLD, old)
    scene.v(layout.Z)[:5] = new
    assert scene.call(acceptance.gradient_before) == 0
    terms = {1: scene.jac.T @ scene.r, 2: scene.a.T @ scene.v(layout.Y)}
    before = sum(value for bit, value in terms.items() if which & bit)
    assert_allclose(scene.v(layout.MISSING_OLD), before, rtol=1e-12, atol=1e-13)
    scene.set(layout.GRADIENT, first)
    scene.set(layout.AY, 2.0 * first)
    scene.call(acceptance.structured_secant)
    wanted = first * {1: 1.0, 2: 2.0, 3: 3.0}[which] - before
    found = scene.v(layout.QUASI).reshape(5, 5)
    assert_allclose(found, slow.secant_update(b, new - old, wanted), rtol=1e-10, atol=1e-10)
    assert_allclose(found @ (new - old), wanted, rtol=1e-8, atol=1e-8)
    kept = found.copy()
    scene.set(layout.MISSING_OLD, before)
    scene.call(acceptance.structured_secant)  # it holds already: nothing is divided by nothing
    assert_allclose(found, kept, rtol=1e-8, atol=1e-8)


@MODE
def test_best_point(mode):
    """First the violation counts, then, among points that meet the constraints, the cost."""
    scene = Scene(mode)
    w = scene.w
    w[layout.BEST_COST], w[layout.BEST_VIOLATION] = np.inf, np.inf
    tale = [
        (5.0, 1.0, True), (1.0, 2.0, False), (9.0, 0.5, True), (20.0, 1e-8, True), (15.0, 9e-8, True),
        (16.0, 0.0, False), (1.0, 1e-6, False), (np.nan, 0.0, False), (1.0, np.nan, False),
    ]  # fmt: skip
    for k, (cost, violation, better) in enumerate(tale):
        w[layout.COST], w[layout.USER_VIOLATION] = cost, violation
        scene.v(layout.X_EVALUATED)[:] = k
        scene.call(acceptance.note_best)
        assert (scene.v(layout.X_BEST)[0] == k) == better or k == 0
    assert w[layout.BEST_COST] == 15.0


# what is told


@MODE
def test_what_is_told_is_in_the_scale_of_the_problem(mode):
    scene = Scene(mode, n=4, variables=("both", "both", "none", "lower"))
    scale, rows = 0.25, np.array([0.5, 1.0, 2.0, 4.0])
    scene.w[layout.COST_SCALE], scene.w[layout.ROOT_SCALE] = scale, 0.5
    scene.set(layout.ROW_SCALE, rows)
    z, xl, xu = scene.v(layout.Z), scene.v(layout.XL), scene.v(layout.XU)
    z[0] = xl[0] + 1e-10  # at its lower bound; x[1] is near its upper one, with a multiplier; x[3] near, without
    z[1], scene.v(layout.UPPER_DUAL)[1] = xu[1] - 1e-5, 0.5
    z[3], scene.v(layout.LOWER_DUAL)[3] = xl[3] + 1e-5, 1e-9
    out, mask = np.empty(4 * 4 + 7 + 2 * 4 + 4 * 11), np.empty(8, dtype=np.int64)
    violation = call(export.export, mode, scene.w, scene.iw, 1, out, mask)
    assert mask[:4].tolist() == [-1, 1, 0, 0]
    assert mask[4] == 1  # an equation
    x, g, lower, upper = out[:16].reshape(4, 4)
    assert_allclose(x, z[:4])
    assert_allclose(g, scene.v(layout.GRADIENT) / scale)
    assert_allclose(lower, scene.v(layout.LOWER_DUAL)[:4] / scale)
    assert_allclose(upper, scene.v(layout.UPPER_DUAL)[:4] / scale)
    r, y, c = out[16:23], out[23:27], out[27:31]
    assert_allclose(r, scene.r)
    assert_allclose(y, scene.v(layout.Y) * rows / scale)
    assert_allclose(c, scene.v(layout.C) / rows)
    assert_allclose(out[31:59].reshape(4, 7).T, scene.jac / 0.5)
    assert_allclose(out[59:].reshape(4, 4).T, scene.a / rows[:, None])
    low, high = scene.v(layout.CL), scene.v(layout.CU)
    assert violation == pytest.approx(max(0.0, np.max(low - c), np.max(c - high)))
    scene.v(layout.C)[1] = np.nan
    assert call(export.export, mode, scene.w, scene.iw, 0, out, mask) == np.inf
