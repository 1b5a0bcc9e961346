"""Kernels of the line search, the filter, restoration and the loop, one at a time, against the slow twins."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references import interior_point as slow
from references.interior_scenes import Scene
from references.kernel_calls import MODES, call

from nlsq.kernels.backend import ticket
from nlsq.kernels.interior_point import (
    acceptance,
    certificate,
    dense_services,
    direction,
    layout,
    line_search,
    loop,
    points,
    restoration,
    restoration_model,
    slacks,
    start,
)
from nlsq.kernels.robust import CAUCHY, LINEAR
from nlsq.status import Status

MODE = pytest.mark.parametrize("mode", MODES)
SEEDS = pytest.mark.parametrize("seed", range(4))
INF = np.inf
F, H, T = line_search.LETTER_F, line_search.LETTER_H, line_search.LETTER_T


def filtered(mode, pairs, theta=0.0, phi=0.0):
    scene = Scene(mode)
    scene.put_filter(pairs)
    scene.w[layout.VIOLATION], scene.w[layout.MERIT] = theta, phi
    return scene


# the filter


@MODE
@SEEDS
def test_filter_forbids_what_one_of_its_pairs_beats_twice(mode, seed):
    rng = np.random.default_rng(seed)
    pairs = np.round(rng.uniform(0.2, 1.0, (4, 2)), 1)
    scene = filtered(mode, pairs)
    scene.w[layout.VIOLATION_LARGEST] = 0.9
    trials = np.round(rng.uniform(0.0, 1.1, (60, 2)), 1)
    found = [scene.call(line_search.is_dominated, *map(float, trial)) for trial in trials]
    assert found == [int(slow.is_forbidden(pairs, 0.9, *trial)) for trial in trials]
    assert 0 < sum(found) < 60
    for theta, phi in ((np.nan, 0.0), (0.0, np.nan), (0.0, np.inf), (np.inf, 0.0)):
        assert scene.call(line_search.is_dominated, theta, phi) == 1


@MODE
@SEEDS
def test_filter_forbids_the_same_after_pairs_made_room(mode, seed):
    rng = np.random.default_rng(seed)
    scene, all_pairs = filtered(mode, []), []
    for theta, phi in rng.uniform(0.0, 1.0, (30, 2)):
        scene.w[layout.VIOLATION], scene.w[layout.MERIT] = theta, phi
        scene.call(line_search.augment_filter)
        all_pairs.append(((1.0 - 1e-5) * theta, phi - 1e-8 * theta))
    assert len(scene.pairs) < 30
    for trial in rng.uniform(0.0, 1.0, (200, 2)):
        expected = slow.is_forbidden(all_pairs, 1e4, *trial)
        assert scene.call(line_search.is_dominated, *map(float, trial)) == expected


@MODE
def test_full_filter_forgets_a_pair_and_never_grows(mode):
    scene = filtered(mode, [])
    for k in range(layout.FILTER_MOST + 5):
        scene.w[layout.VIOLATION], scene.w[layout.MERIT] = float(k + 1), -float(k)
        scene.call(line_search.augment_filter)
    assert scene.iw[layout.FILTER_SIZE] == layout.FILTER_MOST
    assert_allclose(scene.pairs[-1], [(1.0 - 1e-5) * (layout.FILTER_MOST + 5), -(layout.FILTER_MOST + 4.0)], rtol=1e-5)
    assert np.all(scene.v(layout.JAC_T).reshape(5, 7).T == scene.jac)  # what lies behind it is as it was


# judging a trial point


@MODE
@pytest.mark.parametrize("seed", range(3))
def test_trial_points_are_judged_as_in_the_paper(mode, seed):
    rng = np.random.default_rng(seed)
    letters = {"f": F, "h": H, "": 0}
    seen, scene = set(), filtered(mode, [])
    w = scene.w
    for _ in range(300):
        theta, theta_small = 10.0 ** rng.uniform(-12, 1), 10.0 ** rng.uniform(-6, 0)
        phi, slope, alpha = rng.standard_normal(), -rng.standard_normal() * 10.0 ** rng.uniform(-8, 1), rng.uniform()
        trial = (
            theta * rng.choice([0.5, 1.0 - 1e-6, 1.0, 2.0]),
            phi + rng.choice([-1.0, -1e-7, 0.0, 1e-3]) * rng.uniform(),
        )
        w[layout.VIOLATION], w[layout.MERIT], w[layout.SLOPE], w[layout.VIOLATION_SMALL] = (
            theta,
            phi,
            slope,
            theta_small,
        )
        w[layout.VIOLATION_TRIAL], w[layout.MERIT_TRIAL] = trial
        expected = slow.judged(theta, phi, slope, alpha, trial, theta_small)
        assert scene.call(line_search.judge_trial, alpha) == letters[expected]
        assert call(line_search.smallest_length, mode, w) == pytest.approx(
            max(slow.smallest_alpha(theta, slope, theta_small), 1e-13)
        )
        seen.add(expected)
    assert seen == {"f", "h", ""}


@MODE
@pytest.mark.parametrize(("theta", "phi"), [(np.inf, 0.0), (0.0, np.inf), (np.inf, np.inf), (np.nan, 0.0)])
def test_nothing_that_is_not_finite_is_acceptable(mode, theta, phi):
    scene = filtered(mode, [], 1.0, 1.0)
    scene.w[layout.VIOLATION_TRIAL], scene.w[layout.MERIT_TRIAL] = theta, phi
    assert scene.call(line_search.judge_trial, 1.0) == 0


@MODE
@SEEDS
def test_barrier_function(mode, seed):
    scene = Scene(mode, seed)
    point = scene.point
    expected = slow.barrier_function(2.0, 0.03, point.z, point.lower, point.upper)
    assert scene.call(line_search.barrier_function, scene.at(layout.Z), 2.0) == pytest.approx(expected, rel=1e-13)
    scene.v(layout.Z)[0] = scene.v(layout.LOWER)[0]
    assert scene.call(line_search.barrier_function, scene.at(layout.Z), 2.0) == np.inf
    scene.v(layout.Z)[0] = np.nan
    assert not scene.call(line_search.barrier_function, scene.at(layout.Z), 2.0) < np.inf


@MODE
@SEEDS
def test_slacks_of_trial_points_move_to_their_constraints(mode, seed):
    scene = Scene(mode, seed, mc=12, slacks=("held", "both", "lower", "upper", "none"))
    c = scene.v(layout.Z)[5:] + 0.8 * np.random.default_rng(seed).standard_normal(12)
    scene.set(layout.C_TRIAL, c)
    scene.set(layout.Z_TRIAL, scene.v(layout.Z))
    scene.call(slacks.reset_trial_slacks)
    point = scene.point
    args = (point.z[5:], point.lower[5:], point.upper[5:], point.free[5:])
    expected = slow.reset_slacks(c, *args)
    assert scene.v(layout.Z_TRIAL)[5:].tolist() == expected.tolist()
    assert scene.v(layout.Z_TRIAL)[:5].tolist() == point.z[:5].tolist()
    assert 0 < np.sum(expected == c) < 12


# the search itself, with functions that are told what to return


def searched(mode, theta, step=1.0, cost=lambda x: 0.5 * float(x @ x), c=None):
    """A scene without bounds: h(z) is `theta` times (1 - alpha) unless `c` is given."""
    scene = Scene(mode, variables=("none",), slacks=("held",), mc=1, n=2)
    scene.set(layout.Z, [1.0, 1.0, 0.0])
    scene.set(layout.STEP, [-step, -step, 0.0])
    scene.w[layout.BARRIER], scene.w[layout.PRIMAL_LENGTH], scene.w[layout.SLOPE] = 0.0, 1.0, -2.0 * step
    scene.w[layout.COST] = cost(np.ones(2))
    scene.w[layout.VIOLATION], scene.v(layout.H)[0] = theta, theta
    scene.asked = []

    def evaluate(held):
        x = held.v(layout.Z_TRIAL)[:2]
        held.asked.append(float(x[0]))
        held.w[layout.COST_TRIAL] = cost(x)
        held.v(layout.C_TRIAL)[0] = theta * x[0] if c is None else c(x)

    scene.serve(layout.EVALUATE, evaluate)
    return scene


@MODE
def test_full_step_is_taken_where_it_is_good(mode):
    scene = searched(mode, 0.0)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert scene.asked == [0.0]
    assert (scene.iw[layout.KIND], scene.iw[layout.TRIALS], scene.iw[layout.NFEV]) == (F, 1, 1)
    assert scene.w[layout.STEP_LENGTH] == 1.0
    scene = searched(mode, 0.5)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert scene.iw[layout.KIND] == H


@MODE
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("of", ["cost", "constraint"])
def test_steps_into_what_is_undefined_are_halved(mode, bad, of):
    if of == "cost":
        scene = searched(mode, 0.0, cost=lambda x: 0.5 * float(x @ x) if x[0] > 0.6 else bad)
    else:
        scene = searched(mode, 0.0, c=lambda x: 0.0 if x[0] > 0.6 else bad)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert scene.asked == [0.0, 0.5, 0.75]
    assert scene.w[layout.STEP_LENGTH] == 0.25


@MODE
def test_search_gives_up_and_goes_back(mode):
    scene = searched(mode, 1.0, cost=lambda x: np.inf if x[0] != 1.0 else 1.0)
    scene.set(layout.XL, [-9.0, -9.0])
    scene.set(layout.XU, [9.0, 9.0])
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.TOO_SHORT
    assert 10 < len(scene.asked) < 50
    assert scene.v(layout.X_EVALUATED).tolist() == [1.0, 1.0]
    scene.iw[layout.MAX_EVALUATIONS] = scene.iw[layout.NFEV] + 3
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.NO_EVALUATIONS
    assert scene.iw[layout.NFEV] == scene.iw[layout.MAX_EVALUATIONS]


@MODE
def test_code_of_the_function_comes_through_the_search(mode):
    scene = searched(mode, 1.0)
    scene.serve(layout.EVALUATE, lambda held: 2)
    assert scene.call(line_search.find_acceptable_trial_point) == -2


@MODE
def test_second_order_correction_solves_for_both_violations(mode):
    """The full step makes the violation worse; the correction's right-hand side is alpha h + h(z + alpha step)."""
    scene = searched(mode, 0.01, cost=lambda x: 2.0 - x[0], c=lambda x: 0.2 if x[0] == 0.0 else 0.001)
    handed = []

    def solve(held):
        handed.append(held.v(layout.RHS).copy())
        held.set(layout.SOLUTION, [-0.5, -0.5, 7.0])

    scene.serve(layout.SOLVE, solve)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert scene.asked == [0.0, 0.5]
    assert handed[0][2] == pytest.approx(-(0.01 + 0.2))
    assert scene.iw[layout.KIND] in (line_search.LETTER_S_F, line_search.LETTER_S_H)
    assert scene.w[layout.STEP_LENGTH] == 1.0
    assert scene.v(layout.STEP).tolist() == [-1.0, -1.0, 0.0]


@MODE
def test_corrections_end_where_the_violation_does_not_fall(mode):
    scene = searched(mode, 0.01, cost=lambda x: 1.0 + abs(x[0] - 1.0), c=lambda x: 0.2 if x[0] <= 0.5 else 1e-9)
    handed = []

    def solve(held):
        handed.append(held.v(layout.RHS).copy())
        held.set(layout.SOLUTION, [-0.75, -0.75, 0.0])

    scene.serve(layout.SOLVE, solve)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert len(handed) == 1
    assert scene.asked == [0.0, 0.25, 0.5, 0.75]
    assert scene.iw[layout.KIND] == H


@MODE
@pytest.mark.parametrize(("theta", "outcome"), [(1e-12, line_search.ACCEPTED), (1e-3, line_search.TOO_SHORT)])
def test_tiny_steps(mode, theta, outcome):
    scene = searched(mode, theta, step=1e-17, cost=lambda x: 1.0, c=lambda x: theta)
    scene.w[layout.SLOPE], scene.w[layout.COST] = -1e-20, 1.0 - 1e-9
    assert scene.call(line_search.find_acceptable_trial_point) == outcome
    assert scene.iw[layout.TINY_STEPS] == 1
    assert scene.iw[layout.KIND] == T


# restoration


def at_restoration(mode, seed, **sizes):
    scene = Scene(mode, seed, **sizes)
    rng = np.random.default_rng(seed)
    scene.set(layout.REFERENCE, scene.v(layout.Z) + rng.standard_normal(scene.n + scene.mc) * [3.0] * 9)
    w = scene.w
    w[layout.PROXIMITY], w[layout.RESTORATION_BARRIER], w[layout.RESTORATION_DAMPING] = 0.2, 0.05, 0.01
    return scene


@MODE
@SEEDS
@pytest.mark.parametrize("exact", [False, True])
def test_restoration_direction_is_a_damped_gauss_newton_step(mode, seed, exact):
    scene = at_restoration(mode, seed)
    second = None
    if exact:
        second = np.tril(np.random.default_rng(seed).standard_normal((5, 5)) * 0.1)
        scene.iw[layout.EXACT_CONSTRAINTS] = 1
        weighted = []

        def curvature(held):
            weighted.append((held.v(layout.Y).tolist(), held.iw[layout.EXACT_RESIDUAL]))
            held.set(layout.SECOND, second)

        scene.serve(layout.CURVATURE, curvature)
    scene.iw[layout.EXACT_RESIDUAL] = 1
    reference = scene.v(layout.REFERENCE).copy()
    assert scene.call(restoration_model.restoration_direction) == 0
    whole = None if second is None else second + np.tril(second, -1).T
    step, gradient = slow.restoration_direction(scene.point, reference, 0.2, 0.05, 0.01, whole)
    assert_allclose(scene.v(layout.STEP), step, rtol=1e-9, atol=1e-9)
    scene.set(layout.COLUMN_WORK, scene.a.T @ scene.v(layout.H))
    assert scene.call(restoration_model.restoration_slope) == pytest.approx(gradient @ step, rel=1e-9)
    assert_allclose(scene.v(layout.LONG_WORK), gradient, rtol=1e-9, atol=1e-12)
    assert scene.iw[layout.EXACT_RESIDUAL] == 1
    if exact:
        assert weighted == [(scene.v(layout.H).tolist(), 0)]


@MODE
@SEEDS
def test_restoration_merit(mode, seed):
    scene = at_restoration(mode, seed)
    point = scene.point
    args = point.h, point.z, scene.v(layout.REFERENCE), 0.2, 0.05, point.lower, point.upper
    found = scene.call(restoration_model.restoration_merit, scene.at(layout.Z), scene.at(layout.H))
    assert found == pytest.approx(slow.restoration_objective(*args), rel=1e-12)
    assert scene.w[layout.BARRIER] == 0.03
    step = np.zeros(9)
    gradient = slow.restoration_direction(point, args[2], 0.2, 0.05, 0.01)[1]
    for j in np.flatnonzero(point.free):  # the gradient is that of the merit
        step[:] = 0.0
        step[j] = 1e-6
        ends = [
            slow.restoration_objective(
                point.h + sign * point.constraint_gradients @ step, point.z + sign * step, *args[2:]
            )
            for sign in (1.0, -1.0)
        ]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[j], rel=1e-5, abs=1e-7)


@MODE
def test_restoration_begins_where_it_was_called(mode):
    scene = Scene(mode)
    scene.v(layout.LOWER_DUAL)[0], scene.v(layout.UPPER_DUAL)[0] = 1e9, 2.0
    scene.call(restoration.begin_restoration)
    h, w = scene.v(layout.H), scene.w
    squares = 0.5 * h @ h
    assert scene.v(layout.REFERENCE).tolist() == scene.v(layout.Z).tolist()
    assert w[layout.RESTORATION_BARRIER] == pytest.approx(min(max(0.03, np.abs(h).max()), 0.1 * squares + 1e-8))
    assert w[layout.PROXIMITY] > 0.0
    assert w[layout.RESTORED_FROM] == w[layout.VIOLATION]
    assert (scene.v(layout.LOWER_DUAL)[0], scene.v(layout.UPPER_DUAL)[0]) == (1e3, 2.0)


@MODE
def test_restored_is_what_violates_less_and_what_the_filter_takes(mode):
    scene = Scene(mode)
    w = scene.w
    w[layout.RESTORED_FROM], w[layout.VIOLATION] = 1.0, 0.91
    assert scene.call(restoration.is_restored) == 0
    w[layout.VIOLATION] = 0.89
    assert scene.call(restoration.is_restored) == 1
    scene.put_filter([(0.8, -1e9)])
    assert scene.call(restoration.is_restored) == 0
    scene.put_filter([(0.8, 1e9)])
    assert scene.call(restoration.is_restored) == 1
    w[layout.COST] = np.inf
    assert scene.call(restoration.is_restored) == 0


@MODE
def test_slacks_in_restoration_stay_inside(mode):
    scene = Scene(mode, mc=4, slacks=("held", "both", "none", "lower"))
    z, lower, upper = (scene.v(name)[5:].copy() for name in (layout.Z, layout.LOWER, layout.UPPER))
    c = np.array([50.0, 50.0, 50.0, lower[3] + 0.5 * (z[3] - lower[3])])
    scene.set(layout.C, c)
    scene.call(slacks.reset_slacks)
    room = 1e-2 * min(z[1] - lower[1], upper[1] - z[1])
    assert_allclose(scene.v(layout.Z)[5:], [z[0], upper[1] - room, 50.0, c[3]])
    assert_allclose(scene.v(layout.H), c - scene.v(layout.Z)[5:], atol=1e-15)


@MODE
@pytest.mark.parametrize("bound", [20.0, np.inf])
def test_a_stationary_violation(mode, bound):
    """c = (x0, x0) is to be 1 and -1: halfway the gradient of the violation vanishes; bounds take the rest."""
    scene = Scene(mode, n=2, mc=2, slacks=("held",), variables=("none",))
    scene.v(layout.LOWER)[:2] = [-bound, -bound]
    scene.v(layout.UPPER)[:2] = [bound, bound]
    scene.set(layout.CONSTRAINT_JAC_T, [[1.0, 1.0], [0.0, 0.0]])
    for name in (layout.CL, layout.CU):
        scene.set(name, [1.0, -1.0])
    scene.v(layout.Z)[:2] = 0.0
    scene.set(layout.C, [0.0, 0.0])
    assert scene.call(certificate.is_stationary) == 1
    scene.set(layout.C, [0.01, 0.01])
    assert scene.call(certificate.is_stationary) == 0
    scene.v(layout.UPPER)[:2] = [0.0, bound]
    scene.set(layout.C, [-0.5, -0.5])  # the first wants more x0, and weighs more, but x0 is at its bound
    assert scene.call(certificate.is_stationary) == 1
    scene.v(layout.LOWER)[:2] = [0.0, -bound]
    scene.v(layout.UPPER)[:2] = [bound, bound]
    assert scene.call(certificate.is_stationary) == 0
    scene.set(layout.C, [0.5, 0.5])
    assert scene.call(certificate.is_stationary) == 1


@MODE
def test_no_certificate_comes_from_what_is_no_number(mode):
    scene = Scene(mode)
    scene.v(layout.CONSTRAINT_JAC_T)[:] = 0.0
    assert scene.call(certificate.is_stationary) == 1
    scene.v(layout.CONSTRAINT_JAC_T)[0] = np.nan
    assert scene.call(certificate.is_stationary) == 0
    scene.v(layout.CONSTRAINT_JAC_T)[0] = 0.0
    scene.v(layout.C)[1] = np.nan
    assert scene.call(certificate.is_stationary) == 0


# the loop


def converging(mode):
    scene = Scene(mode)
    w = scene.w
    w[layout.ACCEPTABLE_TOLERANCE], w[layout.ERROR], w[layout.DUAL_SCALE] = 1e-6, 1e-9, 1.0
    w[layout.FIRST_COST], w[layout.LAST_COST] = 3.0, 2.5
    return scene


@MODE
def test_optimal_is_what_is_so_as_the_problem_was_given(mode):
    scene = converging(mode)
    scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == Status.OPTIMALITY
    for name, value in (
        (layout.USER_VIOLATION, 1e-6),
        (layout.USER_DUAL_ERROR, 1e-3),
        (layout.COMPLEMENTARITY, 1e-3),
        (layout.ERROR, 1e-7),
        (layout.ERROR, np.nan),
    ):
        scene = converging(mode)
        scene.w[name] = value
        scene.call(loop.check_convergence)
        assert scene.iw[layout.STATUS] == 0


@MODE
@pytest.mark.parametrize(("violation", "status"), [(0.0, Status.OPTIMALITY), (1e-3, Status.ACCEPTABLE)])
def test_what_is_not_optimal_as_given_has_a_few_more_iterations(mode, violation, status):
    scene = converging(mode)
    scene.w[layout.USER_DUAL_ERROR], scene.w[layout.USER_VIOLATION] = 1e-5, violation
    for k in range(loop.EXTRA_ITERATIONS + 1):
        assert scene.iw[layout.STATUS] == 0, k
        scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == status


@MODE
def test_a_cost_that_falls_to_nothing_goes_on(mode):
    scene = converging(mode)
    w = scene.w
    w[layout.FIRST_COST], w[layout.LAST_COST], w[layout.COST] = 1.0, 1e-8, 1e-9
    scene.iw[layout.NIT] = 3
    scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == 0
    w[layout.COST] = 0.9e-8
    scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == Status.OPTIMALITY


@MODE
def test_other_ends(mode):
    scene = converging(mode)
    scene.w[layout.ERROR] = 1e-7
    for _ in range(loop.ACCEPTABLE_ITERATIONS):
        assert scene.iw[layout.STATUS] == 0
        scene.call(loop.check_convergence)
    assert scene.iw[layout.STATUS] == Status.ACCEPTABLE
    for tiny, nit, far, error, status in (
        (2, 0, 0.0, 1e-7, Status.ACCEPTABLE),
        (2, 0, 0.0, 1.0, Status.STALLED),
        (1, 0, 0.0, 1.0, 0),
        (0, 1000, 0.0, 1.0, Status.MAX_ITERATIONS),
        (0, 999, 0.0, 1.0, 0),
        (0, 0, -2e20, 1.0, Status.DIVERGING),
        (0, 0, 0.5e20, 1.0, 0),
    ):
        scene = converging(mode)
        scene.w[layout.ERROR] = error
        scene.iw[layout.TINY_STEPS], scene.iw[layout.NIT] = tiny, nit
        scene.v(layout.Z)[3] = far
        scene.call(loop.check_convergence)
        assert scene.iw[layout.STATUS] == status


@MODE
def test_damping_follows_the_line_search(mode):
    scene = Scene(mode)
    for used, trials, before, after in (
        (1, 5, 0.0, 1e-4), (1, 5, 1.0, 4.0), (1, 2, 1.0, 1.0), (1, 1, 1.0, 0.2), (1, 1, 1e-10, 0.0), (3, 9, 1.0, 0.0),
    ):  # fmt: skip
        scene.iw[layout.USED_HESSIAN], scene.iw[layout.TRIALS], scene.w[layout.DAMPING] = used, trials, before
        scene.call(loop.damp)
        assert scene.w[layout.DAMPING] == pytest.approx(after)


@MODE
def test_iterations_that_change_nothing_are_counted(mode):
    scene = Scene(mode)
    w, iw = scene.w, scene.iw
    w[layout.LAST_COST], w[layout.LAST_VIOLATION], w[layout.VIOLATION] = 2.5, 0.5, 0.5
    for trials, cost, violation, stuck in (
        (6, 2.5, 0.5, 1), (9, 2.5, 0.5, 2), (5, 2.5, 0.5, 0), (6, 2.5, 0.5, 1), (6, 2.6, 0.5, 0),
        (6, 2.5, 0.5, 1), (6, 2.5, 0.4, 0), (6, 2.5, 0.4, 1),
    ):  # fmt: skip
        iw[layout.TRIALS], w[layout.COST], w[layout.VIOLATION] = trials, cost, violation
        scene.call(loop.note_progress)
        assert iw[layout.STUCK] == stuck
        assert w[layout.LAST_VIOLATION] == violation
    for stuck, count, status in ((8, 0, Status.STALLED), (8, 1, Status.ACCEPTABLE), (7, 1, 0)):
        scene = converging(mode)
        scene.iw[layout.STUCK], scene.w[layout.ERROR] = stuck, 1e-7 if count else 1.0
        scene.call(loop.check_convergence)
        assert scene.iw[layout.STATUS] == status


@MODE
def test_what_is_kept_is_not_broken(mode):
    """Constraints that ask for it, and are met, stay so; scales and those that are broken anyway do not count."""
    scene = Scene(mode, mc=3, slacks=("lower", "both", "held"))
    scene.set(layout.ROW_SCALE, [0.5, 1.0, 1.0])
    scene.set(layout.CL, [2.0, -1.0, 0.0])
    scene.set(layout.CU, [INF, 1.0, 0.0])
    scene.set(layout.C, [1.5, 0.0, 9.0])
    scene.set(layout.C_TRIAL, [0.5, 0.5, 8.0])
    scene.set(layout.KEEP, [1.0, 1.0, 1.0])
    assert scene.call(points.breaks_kept) == 0
    scene.iw[layout.KEEPS] = 1
    assert scene.call(points.breaks_kept) == 1
    scene.v(layout.C_TRIAL)[0] = 1.01
    assert scene.call(points.breaks_kept) == 0
    scene.v(layout.C_TRIAL)[1] = np.nan
    assert scene.call(points.breaks_kept) == 1
    scene.v(layout.KEEP)[1] = 0.0
    assert scene.call(points.breaks_kept) == 0


@MODE
@pytest.mark.parametrize("where", ["cost", "constraint"])
def test_start_that_is_no_number(mode, where):
    scene = searched(mode, 0.5)
    scene.w[layout.PUSH], scene.w[layout.START_BARRIER] = 0.01, 0.1

    def evaluate(held):
        held.w[layout.COST_TRIAL] = np.nan if where == "cost" else 1.0
        held.v(layout.C_TRIAL)[0] = 1.0 if where == "cost" else np.nan

    scene.serve(layout.EVALUATE, evaluate)
    assert scene.call(start.start) == 0
    assert scene.iw[layout.STATUS] == Status.NONFINITE_START
    scene.serve(layout.EVALUATE, lambda held: 3)
    assert scene.call(start.start) == 3


# what breaking the code has shown to be untested


@MODE
def test_pairs_of_the_filter_are_better_than_the_point_by_a_share(mode):
    scene = filtered(mode, [], theta=1e6, phi=0.5)
    scene.call(line_search.augment_filter)
    assert_allclose(scene.pairs, [[1e6 - 10.0, 0.5 - 0.01]], rtol=1e-12)


@MODE
def test_corrections_of_a_shortened_step_add_up(mode):
    """Right-hand sides are alpha h + h(trial), then alpha times that and h of the corrected trial."""
    scene = searched(mode, 0.01, cost=lambda x: 2.0 - x[0], c=lambda x: {0.5: 0.2, 0.75: 0.1}.get(float(x[0]), 1e-4))
    scene.w[layout.PRIMAL_LENGTH] = 0.5
    handed, ends = [], iter([-0.25, -0.125])

    def solve(held):
        handed.append(-float(held.v(layout.RHS)[2]))
        move = next(ends)
        held.set(layout.SOLUTION, [move, move, 0.0])

    scene.serve(layout.SOLVE, solve)
    assert scene.call(line_search.find_acceptable_trial_point) == line_search.ACCEPTED
    assert scene.asked == [0.5, 0.75, 0.875]
    first = 0.5 * 0.01 + 0.2
    assert_allclose(handed, [first, first + 0.1])


@MODE
def test_second_derivatives_are_evaluated_once_a_point(mode):
    scene = Scene(mode)
    scene.iw[layout.QUASI_NEWTON], scene.iw[layout.NHEV] = 1, 4
    calls = []
    scene.serve(layout.CURVATURE, lambda held: calls.append(1))
    for _ in range(2):
        assert scene.call(direction.factorize_with_right_inertia, 0.0) == 0
    assert (len(calls), scene.iw[layout.NHEV], scene.iw[layout.CURVATURE_KNOWN]) == (1, 5, 1)
    scene.serve(layout.LINEARISE, lambda held: 0)
    assert scene.call(acceptance.linearise_here) == 0
    assert (scene.iw[layout.CURVATURE_KNOWN], scene.iw[layout.NJEV]) == (0, 1)
    scene.v(layout.GRADIENT)[0] = np.nan
    assert scene.call(acceptance.linearise_here) == -1


@MODE
def test_steps_along_flat_directions_are_shortened(mode):
    """J sees nothing of the first variable but its gradient: delta_w is raised until the step is no giant's."""
    scene = Scene(mode, n=2, mc=0, m=3, variables=("none",))
    scene.set(layout.NORMAL, [[1e-14, 0.0], [0.0, 1.0]])
    scene.set(layout.GRADIENT, [1.0, 1.0])
    scene.set(layout.Z, [1.0, 1.0])
    assert scene.call(direction.compute_search_direction) == 0
    assert np.abs(scene.v(layout.STEP)).max() <= direction.FARTHEST * 2.0
    assert scene.iw[layout.FACTORIZATIONS] == scene.iw[layout.CORRECTIONS] + 1 > 1
    delta = scene.w[layout.REGULARISATION]
    assert_allclose(scene.v(layout.STEP), [-1.0 / (1e-14 + delta), -1.0 / (1.0 + delta)], rtol=1e-6)


@MODE
def test_warm_multipliers_are_scaled_with_cost_and_rows(mode):
    scene = searched(mode, 0.5)
    scene.w[layout.PUSH], scene.w[layout.START_BARRIER] = 0.01, 1e-6
    scene.iw[layout.WARM] = 1
    scene.v(layout.Y)[0] = 3.0

    def linearise(held):
        held.w[layout.COST_SCALE], held.v(layout.ROW_SCALE)[0] = 0.5, 0.01

    scene.serve(layout.LINEARISE, linearise)
    assert scene.call(start.start) == 0
    assert scene.v(layout.Y)[0] == pytest.approx(3.0 * 0.5 / 0.01)
    assert_allclose(scene.v(layout.AY), scene.a[0] * scene.v(layout.Y)[0])


@MODE
def test_restoration_forbids_where_it_began(mode):
    scene = Scene(mode)
    scene.serve(layout.FACTORIZE, lambda held: 5)
    scene.w[layout.MERIT] = 7.0
    assert scene.call(restoration.restore_feasibility) == -5
    assert_allclose(scene.pairs, [[(1.0 - 1e-5) * scene.w[layout.VIOLATION], 7.0 - 1e-8 * scene.w[layout.VIOLATION]]])


@MODE
def test_certificate_is_one_for_constraints_as_they_were_given(mode):
    """With c = (x0, 2 x0) to be 1 and -1 the gradient vanishes at -0.2, whatever the rows are scaled by."""
    scene = Scene(mode, n=1, mc=2, slacks=("held",), variables=("none",))
    scene.v(layout.LOWER)[0] = -9.0
    scene.v(layout.UPPER)[0] = 9.0
    scale = np.array([1.0, 1e-3])
    scene.set(layout.ROW_SCALE, scale)
    scene.set(layout.CONSTRAINT_JAC_T, scale * [1.0, 2.0])
    for name in (layout.CL, layout.CU):
        scene.set(name, [1.0, -1.0])
    for x, expected in ((-0.2, 1), (-0.21, 0)):
        scene.set(layout.C, scale * [x, 2.0 * x])
        assert scene.call(certificate.is_stationary) == expected


@pytest.mark.parametrize("loss", [LINEAR, CAUCHY])
def test_second_order_terms_are_weighted_as_they_are_scaled(loss):
    scene = Scene("python", mc=2, slacks=("held",))
    scene.w[layout.COST_SCALE], scene.w[layout.LOSS_SCALE] = 0.25, 0.5
    scene.iw[layout.LOSS] = loss
    scene.set(layout.ROW_SCALE, [0.1, 2.0])
    scene.set(layout.QUASI, 0.5 * np.eye(5))
    scene.iw[layout.EXACT_RESIDUAL] = scene.iw[layout.EXACT_CONSTRAINTS] = scene.iw[layout.QUASI_NEWTON] = 1
    scene.iw[layout.BLOCKS] = 2
    seen = []

    def residual_hessian(x, data, weights, out):
        seen.append(weights[: scene.m].copy())
        out[0] += 1.0
        return 0

    def constraint_hessian(x, data, weights, out):
        seen.append(weights[: scene.mc].copy())
        out[5] += 2.0
        return 0

    for index, function in enumerate((residual_hessian, constraint_hessian)):
        scene.space.block(index)[layout.HESSIAN_OF] = ticket(function)
    assert scene.call(dense_services.curvature) == 0
    first = 1.0 / (1.0 + (scene.r / 0.5) ** 2) if loss == CAUCHY else 1.0
    assert_allclose(seen[0], 0.25 * first * scene.r)
    assert_allclose(seen[1], scene.v(layout.Y) * [0.1, 2.0])
    second, bent = scene.v(layout.SECOND).reshape(5, 5), np.zeros((5, 5))
    if loss == CAUCHY:
        z = (scene.r / 0.5) ** 2
        bent = np.tril((scene.jac.T * (-2.0 * z / (1.0 + z))) @ scene.jac)
    expected = bent + 0.5 * np.eye(5)
    expected[0, 0] += 1.0
    expected[1, 0] += 2.0
    assert_allclose(second, expected, rtol=1e-12, atol=1e-14)
    scene.iw[layout.EXACT_RESIDUAL] = 0
    scene.call(dense_services.curvature)
    assert second[0, 0] == 0.5 and len(seen) == 3


def advancing(mode, theta):
    scene = searched(mode, theta)
    scene.w[layout.ERROR] = scene.w[layout.BARRIER_ERROR] = 1.0
    scene.w[layout.FIRST_COST] = 1.0
    scene.iw[layout.CURVATURE_KNOWN] = 1
    scene.serve(layout.LINEARISE, lambda held: 0)
    scene.serve(layout.SOLVE, lambda held: held.set(layout.SOLUTION, [-1.0, -1.0, 0.0]))
    return scene


@MODE
@pytest.mark.parametrize(("theta", "size"), [(0.0, 0), (0.5, 1)])
def test_steps_for_the_violation_augment_the_filter(mode, theta, size):
    scene = advancing(mode, theta)
    scene.set(layout.GRADIENT, [1.0, 1.0])
    assert scene.call(loop.advance) == 0
    assert scene.iw[layout.STATUS] == 0
    assert (scene.iw[layout.NIT], scene.iw[layout.FILTER_SIZE]) == (1, size)
    assert scene.v(layout.Z)[:2].tolist() == [0.0, 0.0]
    assert scene.w[layout.COST] == 0.0
    if size:
        assert_allclose(scene.pairs[0], [(1.0 - 1e-5) * 0.5, 1.0 - 1e-8 * 0.5])


@MODE
def test_a_matrix_without_factor_ends_the_solve(mode):
    scene = advancing(mode, 0.5)
    scene.serve(layout.FACTORIZE, lambda held: held.iw.__setitem__(layout.INERTIA, layout.INERTIA_SINGULAR))
    assert scene.call(loop.advance) == 0
    assert scene.iw[layout.STATUS] == Status.KKT_FAILED
    scene = advancing(mode, 0.5)
    scene.serve(layout.FACTORIZE, lambda held: 4)
    assert scene.call(loop.advance) == 4
    assert scene.iw[layout.STATUS] == 0
