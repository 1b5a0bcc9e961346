"""What block problems refuse, and what they say about it."""

import math
import warnings

import numpy as np
import pytest

import nlsq
from nlsq import BlockProblem, Status
from tests.references.block_scenes import bundle_scene, ring_of_poses


def difference(a, b):
    return a[0] - b[0]


def pair(**options):
    problem = BlockProblem()
    first = problem.add_parameters(np.arange(4.0), name="first")
    second = problem.add_parameters(np.arange(3.0) + 5.0, name="second")
    return problem, first, second


@pytest.mark.parametrize("index", [[0, 4], [-5, 0], 4])
def test_index_out_of_range(index):
    _, first, _ = pair()
    with pytest.raises(IndexError, match=r"is out of range: first has 4 blocks"):
        first[index]


def test_indices_of_other_kinds():
    _, first, _ = pair()
    with pytest.raises(IndexError, match="integers, a slice or a mask"):
        first[[0.5]]
    with pytest.raises(IndexError, match=r"must have shape \(4,\)"):
        first[[True, False]]
    with pytest.raises(IndexError, match="one dimension"):
        first[[[0, 1]]]
    assert len(first[np.array([True, False, True, False])]) == 2


def test_counts_that_do_not_agree():
    problem, first, second = pair()
    with pytest.raises(ValueError, match=r"param_indices\[0\] has 4, param_indices\[1\] has 3"):
        problem.add_residuals(difference, [first, second])
    with pytest.raises(ValueError, match="data has 2"):
        problem.add_residuals(difference, [first], data=[1.0, 2.0])
    with pytest.raises(ValueError, match="no residual blocks"):
        problem.add_residuals(difference, [first[[]], second[[]]])
    with pytest.raises(ValueError, match="param_indices is empty"):
        problem.add_residuals(difference, [])


def test_one_block_twice_in_a_residual_block():
    problem, first, _ = pair()
    with pytest.raises(ValueError, match="residual block 1 of difference has block 2 of first as argument 0 and as"):
        problem.add_residuals(difference, [first[[0, 2]], first[[1, 2]]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_and_starts_that_are_not_finite(bad):
    problem, first, _ = pair()
    with pytest.raises(ValueError, match=r"data\[2, 0\] is not finite; leave such observations out"):
        problem.add_residuals(difference, [first[[0, 1, 2]]], data=[1.0, 2.0, bad])
    with pytest.raises(ValueError, match=r"values\[1, 0\] is not finite"):
        problem.add_parameters([[1.0, 2.0], [bad, 3.0]])


def test_information_that_is_not_definite():
    problem, first, second = pair()
    with pytest.raises(ValueError, match=r"information of residual block 1 of difference is not positive definite"):
        problem.add_residuals(difference, [first[[0, 1]], second[[0, 1]]], information=[[[2.0]], [[-1.0]]])
    with pytest.raises(ValueError, match=r"not finite and symmetric at \(0, 1\)"):
        problem.add_residuals(difference, [first[[0]], second[[0]]], information=[[1.0, 2.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="weight or information, not both"):
        problem.add_residuals(difference, [first[[0]], second[[0]]], weight=1.0, information=[[1.0]])
    with pytest.raises(ValueError, match=r"weight has shape \(2,\)"):
        problem.add_residuals(difference, [first[[0]], second[[0]]], weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="weight of residual block 0 of difference is not finite"):
        problem.add_residuals(difference, [first[[0]], second[[0]]], weight=[np.nan])


def test_weights_for_another_number_of_residuals():
    problem, first, second = pair()
    problem.add_residuals(difference, [first[[0]], second[[0]]], information=np.eye(2))
    with pytest.raises(ValueError, match="difference returns 1 residuals, but weight or information is for 2"):
        nlsq.solve(problem)


def test_blocks_of_another_problem():
    problem, first, _ = pair()
    other, *_ = pair()
    with pytest.raises(ValueError, match="first belong to another problem"):
        other.add_residuals(lambda a: a[0], [first])
    with pytest.raises(ValueError, match="another problem"):
        other.hold(first)
    with pytest.raises(TypeError, match="must be what add_parameters returned"):
        problem.add_residuals(lambda a: a[0], [np.arange(4)])


def test_values_that_are_on_no_manifold():
    problem = BlockProblem()
    poses = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (3, 1))
    poses[2, 6] = 0.5
    with pytest.raises(ValueError, match="2"):
        problem.add_parameters(poses, manifold=nlsq.SE3())
    with pytest.raises(ValueError, match="blocks of 6 numbers, expected 7"):
        problem.add_parameters(poses[:, :6], manifold=nlsq.SE3())
    with pytest.raises(TypeError, match="manifold must be such as"):
        problem.add_parameters(poses, manifold="SE3")
    with pytest.raises(ValueError, match="lie on a manifold"):
        problem.add_parameters(poses[:2], manifold=nlsq.SE3(), bounds=(0, 1))


def test_bounds_that_do_not_hold_the_start():
    problem = BlockProblem()
    with pytest.raises(ValueError, match="the start is below for component 1 of block 0"):
        problem.add_parameters([[1.0, 2.0]], bounds=([0.0, 3.0], None), name="p")
    with pytest.raises(ValueError, match="lower is not <= upper for component 0 of block 0"):
        problem.add_parameters([[1.0, 2.0]], bounds=(2.0, 1.0))


def test_nothing_to_solve():
    problem, first, _ = pair()
    with pytest.raises(ValueError, match="no residual blocks"):
        nlsq.solve(problem)
    problem.add_residuals(lambda a: a[0], [first])
    problem.hold(first)
    with pytest.raises(ValueError, match="nothing is free"):
        nlsq.solve(problem)


def test_methods_that_are_for_other_problems():
    problem, first, _ = pair()
    problem.add_residuals(lambda a: a[0], [first])
    with pytest.raises(ValueError, match="is solved by method 'lm'"):
        nlsq.solve(problem, "trf")
    with pytest.raises(TypeError, match="is solved by LevenbergMarquardt"):
        nlsq.solve(problem, nlsq.Dogbox())
    with pytest.raises(ValueError, match="schur"):
        nlsq.solve(problem, nlsq.LevenbergMarquardt(linear_solver="magic"))


def test_kernels_that_do_not_compile_are_named():
    problem, first, _ = pair()
    problem.add_residuals(lambda a: "text", [first], name="words")
    with pytest.raises(TypeError):
        nlsq.solve(problem)

    def unknown(a):
        return undefined_name(a[0])  # noqa: F821

    problem, first, _ = pair()
    problem.add_residuals(unknown, [first])
    with pytest.raises(TypeError, match="unknown"):
        nlsq.solve(problem)


def test_exceptions_of_kernels_pass_through_with_the_block():
    def picky(a, row):
        if row[0] > 1.5:
            raise ValueError("too large")
        return a[0] - row[0]

    problem, first, _ = pair()
    problem.add_residuals(picky, [first], data=[0.0, 1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="too large") as caught:
        nlsq.solve(problem)
    assert caught.value.__notes__ == ["raised in residual block 2 of picky"]


def test_a_start_that_is_not_finite_is_reported_with_the_block():
    def root(a):
        return math.sqrt(a[0])

    problem = BlockProblem()
    values = problem.add_parameters([1.0, 4.0, -1.0, 9.0], name="values")
    problem.add_residuals(root, [values])
    result = nlsq.solve(problem)
    assert result.status is Status.NONFINITE_START and not result.converged
    assert "residual block 2 of root is not finite (block 2 of values)" in result.message
    np.testing.assert_array_equal(result[values][:, 0], [1.0, 4.0, -1.0, 9.0])


def test_points_behind_a_camera_and_on_its_plane():
    scene = bundle_scene(seed=20)
    scene.points[3] = [0.0, 0.0, 60.0]  # behind all
    result = nlsq.solve(scene.problem()[0])
    assert np.isfinite(result.cost) and result.cost < result.initial_cost
    scene.cameras[0, :6] = 0.0
    scene.points[3] = [1.0, 1.0, 0.0]  # in the plane of the first camera: division by 0
    seen_by_first = (scene.camera_index == 0) & (scene.point_index == 3)
    result = nlsq.solve(scene.problem()[0])
    assert result.status is Status.NONFINITE_START
    assert f"residual block {int(np.argmax(seen_by_first))} of project" in result.message


def test_duplicate_observations_count_twice():
    scene = bundle_scene(seed=21)
    twice = np.concatenate([np.arange(len(scene.observed))] * 2)
    once_cost = scene.problem()[0].evaluate()[0]
    assert scene.problem(twice)[0].evaluate()[0] == pytest.approx(2 * once_cost)
    assert nlsq.solve(scene.problem(twice)[0]).cost == pytest.approx(2 * nlsq.solve(scene.problem()[0]).cost, rel=1e-6)


def test_all_poses_free_still_solves():
    problem, _, _ = ring_of_poses(hold=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = nlsq.solve(problem)
    assert result.cost < 1e-12 and np.isfinite(result.x).all()


def test_a_long_parameter_vector():
    count = 200_000

    def spring(a, b):
        return b[0] - a[0] - 1.0

    problem = BlockProblem()
    x = problem.add_parameters(np.zeros(count), name="x")
    problem.hold(x[0])
    problem.add_residuals(spring, [x[:-1], x[1:]])
    result = nlsq.solve(problem)
    assert result.converged
    np.testing.assert_allclose(result[x][:, 0], np.arange(count), rtol=1e-6)


def test_a_kernel_that_branches_on_its_arguments():
    def hinge(a, row):
        if a[0] > row[0]:
            return 2.0 * (a[0] - row[0])
        return 0.5 * (a[0] - row[0])

    problem = BlockProblem()
    x = problem.add_parameters([3.0], name="x")
    problem.add_residuals(hinge, [x[[0, 0]]], data=[1.0, 5.0])
    result = nlsq.solve(problem)
    assert result[x][0, 0] == pytest.approx((4 * 1.0 + 0.25 * 5.0) / 4.25, rel=1e-8)


def test_kernels_must_be_callable_and_losses_known():
    problem, first, _ = pair()
    with pytest.raises(TypeError, match="kernel must be callable"):
        problem.add_residuals("f", [first])
    with pytest.raises(ValueError, match="loss must be one of"):
        problem.add_residuals(lambda a: a[0], [first], loss="hubert")
