"""Residual blocks over parameter blocks: what a user writes, and what comes back."""

import math
import pickle

import numpy as np
import pytest
from scipy.optimize import least_squares

import nlsq
from nlsq import BlockProblem, Status, Tolerances
from tests.references.block_scenes import bundle_scene, project, ring_of_poses


def distance(point, anchor, measured):
    return math.hypot(point[0] - anchor[0], point[1] - anchor[1]) - measured[0]


def anchors_problem(**options):
    """Two points located by distances from three anchors."""
    problem = BlockProblem()
    points = problem.add_parameters([[0.6, 0.8], [0.8, 1.5]], name="points", **options)
    anchors = problem.add_parameters([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]], constant=True, name="anchors")
    truth = np.array([[1.0, 1.0], [2.5, 0.5]])
    which, seen = np.repeat([0, 1], 3), np.tile([0, 1, 2], 2)
    data = np.linalg.norm(truth[which] - problem[anchors][seen], axis=1)
    problem.add_residuals(distance, [points[which], anchors[seen]], data=data)
    return problem, points, anchors, truth


def test_the_readme_way():
    problem, points, anchors, truth = anchors_problem()
    result = nlsq.solve(problem)
    assert result.converged
    np.testing.assert_allclose(result[points], truth, atol=1e-9)
    np.testing.assert_array_equal(result[anchors], problem[anchors])
    assert result[points[1]].shape == (2,)
    assert result.cost < 1e-18 < result.initial_cost
    assert "points" in result.report() and "cost" in result.report()


def test_equals_scipy_on_a_bundle():
    scene = bundle_scene(seed=1)
    problem, cameras, points = scene.problem()
    result = nlsq.solve(problem, tolerances=Tolerances(cost=1e-14, step=1e-12, optimality=1e-9))
    theirs = least_squares(scene.residual, scene.x0, method="trf", xtol=1e-14, ftol=1e-14, gtol=1e-12, max_nfev=500)
    assert result.cost == pytest.approx(theirs.cost, rel=1e-7)
    assert result.cost < 0.1 * result.initial_cost
    assert result[cameras].shape == scene.cameras.shape and result[points].shape == scene.points.shape


@pytest.mark.parametrize("linear_solver", ["auto", "schur", "cholesky", "pcg", "lsmr"])
def test_every_linear_solver_ends_at_the_same_cost(linear_solver):
    problem, *_ = bundle_scene(seed=2).problem()
    rules = Tolerances(cost=1e-10, step=1e-10, optimality=1e-8)
    result = nlsq.solve(problem, nlsq.LevenbergMarquardt(linear_solver=linear_solver), tolerances=rules)
    reference = nlsq.solve(problem, tolerances=rules)
    assert result.cost == pytest.approx(reference.cost, rel=1e-5)


def test_the_order_of_observations_does_not_matter():
    scene = bundle_scene(seed=3)
    costs = []
    for order in (np.arange(len(scene.observed)), np.random.default_rng(0).permutation(len(scene.observed))):
        problem, *_ = scene.problem(order)
        costs.append(nlsq.solve(problem).cost)
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "arctan"])
def test_gradient_is_that_of_the_robust_cost_of_whole_blocks(loss):
    scene = bundle_scene(seed=4)
    problem, cameras, _ = scene.problem(loss=loss, loss_scale=0.7)
    cost, residual, gradient, _ = problem.evaluate()
    squares = np.sum(residual.reshape(-1, 2) ** 2, axis=1)
    z = squares / 0.49
    rho = {
        "huber": np.where(z <= 1, z, 2 * np.sqrt(z) - 1),
        "soft_l1": 2 * (np.sqrt(1 + z) - 1),
        "cauchy": np.log1p(z),
        "arctan": np.arctan(z),
    }[loss]
    assert cost == pytest.approx(0.5 * 0.49 * rho.sum())
    start = problem[cameras]
    for k in (0, 4, 8):
        h = 1e-6 * max(1.0, abs(start[1, k]))
        costs = []
        for sign in (1, -1):
            moved = start.copy()
            moved[1, k] += sign * h
            problem[cameras] = moved
            costs.append(problem.evaluate()[0])
        problem[cameras] = start
        assert gradient[9 + k] == pytest.approx((costs[0] - costs[1]) / (2 * h), rel=1e-4, abs=1e-4 * cost)


def test_robust_loss_leaves_outliers_aside():
    scene = bundle_scene(seed=5, outliers=0.05)
    plain, robust = (nlsq.solve(scene.problem(loss=loss)[0]) for loss in ("linear", "huber"))
    assert robust.cost < 0.5 * plain.cost
    assert robust.converged


def test_jacobian_is_that_of_differences():
    scene = bundle_scene(seed=6)
    problem, *_ = scene.problem()
    _, residual, gradient, jac = problem.evaluate()
    dense = jac.toarray()
    np.testing.assert_allclose(gradient, dense.T @ residual, rtol=1e-10)
    for column in (0, 7, scene.cameras.size, scene.x0.size - 1):
        h = 1e-6 * max(1.0, abs(scene.x0[column]))
        up, down = scene.x0.copy(), scene.x0.copy()
        up[column] += h
        down[column] -= h
        expected = (scene.residual(up) - scene.residual(down)) / (2 * h)
        np.testing.assert_allclose(dense[:, column], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_weights_and_information_agree():
    rng = np.random.default_rng(7)
    scene = bundle_scene(seed=7)
    count = len(scene.observed)
    roots = rng.normal(size=(count, 2, 2)) + 2 * np.eye(2)
    information = roots.transpose(0, 2, 1) @ roots
    costs = [
        scene.problem(weight=roots)[0].evaluate()[0],
        scene.problem(information=information)[0].evaluate()[0],
    ]
    residual = scene.residual(scene.x0).reshape(-1, 2)
    assert costs[0] == pytest.approx(0.5 * np.einsum("bi,bij,bj->", residual, information, residual))
    assert costs[1] == pytest.approx(costs[0])
    sigma = rng.uniform(0.5, 2.0, size=count)
    by_block = scene.problem(weight=1 / sigma)[0].evaluate()[0]
    by_residual = scene.problem(weight=np.repeat(1 / sigma[:, None], 2, axis=1))[0].evaluate()[0]
    assert by_block == pytest.approx(by_residual) == pytest.approx(0.5 * np.sum((residual / sigma[:, None]) ** 2))


def test_a_ring_of_poses_closes():
    problem, poses, truth = ring_of_poses()
    result = nlsq.solve(problem)
    assert result.converged and result.cost < 1e-18
    np.testing.assert_allclose(result[poses][:, :3], truth[:, :3], atol=1e-8)
    signs = np.sign(np.sum(result[poses][:, 3:] * truth[:, 3:], axis=1))[:, None]
    np.testing.assert_allclose(result[poses][:, 3:] * signs, truth[:, 3:], atol=1e-8)
    np.testing.assert_array_equal(result[poses[0]], problem[poses[0]])
    np.testing.assert_allclose(np.linalg.norm(result[poses][:, 3:], axis=1), 1.0, atol=1e-14)


def test_held_blocks_and_components_stay():
    scene = bundle_scene(seed=8)
    problem, cameras, points = scene.problem()
    problem.hold(cameras[[0, 2]])
    problem.hold(cameras, [6, 7, 8])
    result = nlsq.solve(problem)
    assert result.cost < result.initial_cost
    np.testing.assert_array_equal(result[cameras][[0, 2]], scene.cameras[[0, 2]])
    np.testing.assert_array_equal(result[cameras][:, 6:], scene.cameras[:, 6:])
    assert np.abs(result[cameras][1, :6] - scene.cameras[1, :6]).min() > 0.0
    problem.release(cameras)
    assert nlsq.solve(problem).cost < result.cost
    assert np.abs(result[points] - scene.points).max() > 0.0


def test_constant_is_read_by_shape():
    values = np.arange(6.0).reshape(3, 2)
    problem = BlockProblem()
    for constant, expected in (
        (True, np.ones((3, 2), bool)),
        ([True, False, False], [[True, True], [False, False], [False, False]]),
        ([False, True], [[False, True]] * 3),
    ):
        handle = problem.add_parameters(values, constant=constant)
        np.testing.assert_array_equal(problem.parameters[handle.position].held, expected)
    with pytest.raises(ValueError, match="may mean 2 blocks or 2 components"):
        problem.add_parameters(values[:2], constant=[True, False])


def test_bounds_are_kept_and_felt():
    problem, points, _, truth = anchors_problem(bounds=(None, [0.9, 10.0]))
    result = nlsq.solve(problem)
    assert (result[points][:, 0] <= 0.9).all()
    assert result[points][0, 0] == 0.9
    assert result.converged
    assert result.cost > 1e-4  # the truth lies beyond
    free, points, *_ = anchors_problem(bounds=(-10, 10))
    np.testing.assert_allclose(nlsq.solve(free)[points], truth, atol=1e-8)


def test_user_jacobian_is_used():
    def doubled(point, anchor, measured):
        d = math.hypot(point[0] - anchor[0], point[1] - anchor[1])
        u, v = 2.0 * (point[0] - anchor[0]) / d, 2.0 * (point[1] - anchor[1]) / d
        return ((u, v),), ((-u, -v),)

    jacobians = []
    for jac in (doubled, None):  # twice the derivative, so that it is seen to be taken
        problem = BlockProblem()
        points = problem.add_parameters([[0.6, 0.8]])
        anchors = problem.add_parameters([[0.0, 0.0], [4.0, 0.0]])
        problem.add_residuals(distance, [points[[0, 0]], anchors], data=[1.0, 2.0], jac=jac)
        jacobians.append(problem.evaluate()[3].toarray())
    np.testing.assert_allclose(jacobians[0], 2.0 * jacobians[1], rtol=1e-14)


def test_several_kernels_and_priors():
    def prior(point, wanted):
        return point[0] - wanted[0], point[1] - wanted[1]

    problem, points, _, truth = anchors_problem()
    problem.add_residuals(prior, [points[1]], data=[[5.0, 5.0]], weight=10.0, name="prior")
    result = nlsq.solve(problem)
    assert 0.1 < result[points][1, 0] - truth[1, 0]
    assert "prior" in result.report()


def test_callback_history_and_limits():
    problem, *_ = bundle_scene(seed=9).problem()
    seen = []
    result = nlsq.solve(problem, callback=lambda report: seen.append(report.cost) or len(seen) == 2, history=True)
    assert result.status is Status.CALLBACK and len(seen) == 2
    assert seen[1] < seen[0] and result.cost == seen[1]
    assert len(result.history) >= 2
    assert nlsq.solve(problem, max_evaluations=1).status is Status.MAX_EVALUATIONS
    assert nlsq.solve(problem, time_limit=0.0).status is Status.TIME_LIMIT


def test_results_pickle_and_start_others():
    problem, points, _, truth = anchors_problem()
    result = nlsq.solve(problem)
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again[points], result[points])
    problem.start_from(result)
    np.testing.assert_allclose(problem[points], truth, atol=1e-8)
    assert problem.evaluate()[0] == pytest.approx(result.cost, abs=1e-20)
    for point in (result, result.x, {points: result[points]}):
        assert problem.evaluate(point)[0] == pytest.approx(result.cost, abs=1e-20)
    np.testing.assert_array_equal(problem.blocks(result.x, points[1]), result[points[1]])
    problem.hold(points, 1)
    problem.hold(points[0], [0])
    np.testing.assert_array_equal(problem.parameters[0].held, [[True, True], [False, True]])


def test_covariance_is_the_inverse_of_the_normal_matrix():
    scene = bundle_scene(seed=10)
    problem, cameras, points = scene.problem()
    problem.hold(cameras[[0, 1]])
    problem.hold(points[0], [1])
    result = nlsq.solve(problem)
    jac = result.jac.toarray()
    free = np.linalg.norm(jac, axis=0) > 0
    inverse = np.zeros((jac.shape[1],) * 2)
    inverse[np.ix_(free, free)] = np.linalg.inv(jac[:, free].T @ jac[:, free])
    np.testing.assert_allclose(result.covariance(cameras[2]), inverse[:9, :9], rtol=1e-4, atol=1e-9)
    assert not result.covariance(cameras[0]).any()
    held = result.covariance(points[0])
    assert not held[1].any() and not held[:, 1].any() and held[0, 0] > 0
    m, n = jac.shape
    factor = 2 * result.cost / (m - (n - 1))
    np.testing.assert_allclose(result.covariance(cameras, scaled=True)[2], factor * result.covariance(cameras)[2])
    assert result.undetermined == []
    both = result.covariance(cameras[[2, 3]], points[4])
    column = 9 * 2 + 3 * 4
    np.testing.assert_allclose(both[0], inverse[:9, column : column + 3], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(result.covariance(points[4], cameras[3]), both[1].T, rtol=1e-6, atol=1e-12)


def test_gauge_freedom_is_named():
    problem, poses, _ = ring_of_poses(hold=False)
    result = nlsq.solve(problem)
    assert result.cost < 1e-12
    assert len(result.undetermined) > 5 and "block 0 of poses" in result.undetermined
    assert np.isnan(result.covariance(poses[3])).any()
    assert "not determined" in result.report()


def test_a_chain_with_weights_far_apart_floats_as_a_whole():
    problem = BlockProblem()
    x = problem.add_parameters([0.0, 1.0, 2.5], name="x")
    problem.add_residuals(lambda a, b: b[0] - a[0] - 1.0, [x[[0, 1]], x[[1, 2]]], weight=[1e4, 1.0])
    result = nlsq.solve(problem)
    assert result.undetermined == ["block 0 of x", "block 1 of x", "block 2 of x"]
    assert np.isnan(result.covariance(x)).all()


def test_a_point_seen_once_is_named():
    scene = bundle_scene(seed=11)
    problem, cameras, points = scene.problem()
    extra = problem.add_parameters([[0.1, 0.2, 0.3]], name="lone")
    problem.add_residuals(project, [cameras[0], extra[0]], data=[[1.0, 2.0]])
    problem.hold(cameras[[0, 1]])
    result = nlsq.solve(problem)
    assert np.isfinite(result.cost) and result.cost < result.initial_cost
    assert result.undetermined == ["block 0 of lone"]
    assert np.isfinite(result.covariance(points[5])).all()


def test_parameters_without_residuals_stay():
    problem, *_ = anchors_problem()
    idle = problem.add_parameters([[7.0, 8.0, 9.0]], name="idle")
    result = nlsq.solve(problem)
    assert result.converged
    np.testing.assert_array_equal(result[idle], [[7.0, 8.0, 9.0]])
    assert result.undetermined == ["block 0 of idle (it meets no residual block)"]
    assert np.isnan(result.covariance(idle)).all()
    assert "meets no residual block" in result.report()
    problem.hold(idle)
    held = nlsq.solve(problem)
    assert held.undetermined == [] and not held.covariance(idle).any()


def test_disconnected_parts_are_solved_together():
    problem, points, _, truth = anchors_problem()
    other = problem.add_parameters([[3.0]], name="other")
    problem.add_residuals(lambda a, wanted: a[0] ** 2 - wanted[0], [other], data=[2.0])
    result = nlsq.solve(problem)
    np.testing.assert_allclose(result[points], truth, atol=1e-8)
    assert result[other][0, 0] == pytest.approx(math.sqrt(2.0))


def test_a_start_that_is_right_to_rounding_has_converged():
    problem, poses, truth = ring_of_poses()
    problem[poses] = truth
    result = nlsq.solve(problem)
    assert result.converged, result.message
    assert "BlockResult(" in repr(result) and len(repr(result)) < 100


@pytest.mark.parametrize("loss", ["huber", "cauchy", "soft_l1", "arctan"])
def test_robust_solves_reach_the_minimum_from_where_all_are_outliers(loss):
    def line(a, row):
        return row[0] * a[0] - row[1]

    rng = np.random.default_rng(1)
    start = rng.normal(size=(20, 1)) * (3.0 if loss == "arctan" else 100.0)
    data = np.column_stack((rng.uniform(0.5, 2.0, 40), rng.normal(size=40) * 0.1))
    index = np.repeat(np.arange(20), 2)
    problem = BlockProblem()
    values = problem.add_parameters(start)
    problem.add_residuals(line, [values[index]], data=data, loss=loss)
    result = nlsq.solve(problem)

    def residual(x):
        return data[:, 0] * x[index] - data[:, 1]

    best = least_squares(residual, np.zeros(20), loss=loss, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    if loss != "arctan":
        assert result.converged
        assert result.cost == pytest.approx(best.cost, rel=1e-6)
    assert result.optimality <= 1.0 + 1e-12
    assert not result.converged or result.optimality < 1e-3


def test_losses_that_bend_upwards_use_their_curvature():
    def quartic(z):
        return np.array([z + z**2, 1.0 + 2.0 * z, np.full_like(z, 2.0)])

    def shifted(a, row):
        return a[0] - row[0], 0.5 * a[0]

    problem = BlockProblem()
    values = problem.add_parameters([3.0])
    problem.add_residuals(shifted, [values], data=[1.0], loss=quartic)
    _, _, gradient, jac = problem.evaluate()
    s = (3.0 - 1.0) ** 2 + 1.5**2
    slope = (3.0 - 1.0) + 0.25 * 3.0
    assert gradient[0] == pytest.approx((1 + 2 * s) * slope)
    assert jac.toarray().T @ jac.toarray() == pytest.approx((1 + 2 * s) * 1.25 + 2.0 * 2.0 * slope**2)
