"""Block problems at their edges: what must be refused, kept apart, or said plainly."""

import math
import warnings

import numpy as np
import pytest

import nlsq
from nlsq.status import Status


def offset(a, m):
    return a[0] - m[0], a[1] - m[1]


def difference(a, b, m):
    return b[0] - a[0] - m[0], b[1] - a[1] - m[1]


def weak_prior(a):
    return 1e-3 * a[0], 1e-3 * a[1]


def vector_problem(values=((0.5, 0.6), (1.0, 2.0)), data=((1.0, 2.0), (3.0, 4.0)), bounds=None, **options):
    problem = nlsq.BlockProblem()
    blocks = problem.add_parameters(values, name="spots", bounds=bounds)
    problem.add_residuals(offset, [blocks], data=data, **options)
    return problem, blocks


def test_values_outside_the_bounds_are_refused_when_they_are_set():
    problem, spots = vector_problem(bounds=(0.0, 2.5))
    with pytest.raises(ValueError, match="the start is above for component 1 of block 1 of spots"):
        problem[spots[1]] = [1.0, 3.0]
    with pytest.raises(ValueError, match="the start is below for component 0 of block 0 of spots"):
        problem[spots] = [[-1.0, 0.0], [0.0, 0.0]]
    np.testing.assert_array_equal(problem[spots], [[0.5, 0.6], [1.0, 2.0]])
    problem[spots[[1, 0]]] = [[2.5, 0.0], [0.0, 2.5]]
    np.testing.assert_array_equal(problem[spots], [[0.0, 2.5], [2.5, 0.0]])


def test_components_at_bounds_are_held_and_not_undetermined():
    problem, spots = vector_problem(bounds=(0.0, 2.5))
    result = nlsq.solve(problem)
    np.testing.assert_allclose(result[spots], [[1.0, 2.0], [2.5, 2.5]], rtol=1e-7)
    assert result.undetermined == []
    assert "not determined" not in result.report()
    np.testing.assert_array_equal(result.at_bounds, [False, False, True, True])
    np.testing.assert_allclose(result.covariance(spots), [np.eye(2), np.zeros((2, 2))], rtol=1e-12)


def test_equal_bounds_hold_a_component():
    problem, spots = vector_problem([[0.5, 0.6]], [[0.5, 2.0]], bounds=([0.5, -9.0], [0.5, 9.0]))
    result = nlsq.solve(problem)
    np.testing.assert_allclose(result[spots], [[0.5, 2.0]], rtol=1e-7)
    assert result.undetermined == []
    np.testing.assert_allclose(result.covariance(spots[0]), np.diag([0.0, 1.0]), rtol=1e-12)


def test_arrays_that_change_after_they_were_given_change_nothing():
    data, weight, index = np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones(2), np.array([0, 1])
    problem = nlsq.BlockProblem()
    spots = problem.add_parameters(np.zeros((2, 2)))
    chosen = spots[index]
    problem.add_residuals(offset, [chosen], data=data, weight=weight)
    expected = nlsq.solve(problem)[spots]
    data[:], weight[:], index[:], chosen.index[:] = 9.0, np.nan, 1, 1
    np.testing.assert_array_equal(nlsq.solve(problem)[spots], expected)


def test_covariances_do_not_show_the_shift_that_undetermined_blocks_need():
    """The variance of each block is at least 1e6, the weak prior's; rounding hides it behind weights of 1e4."""
    problem = nlsq.BlockProblem()
    chain = problem.add_parameters(np.zeros((4, 2)))
    first = np.arange(3)
    problem.add_residuals(difference, [chain[first], chain[first + 1]], data=np.ones((3, 2)), weight=[1e4, 1.0, 1e-2])
    problem.add_residuals(weak_prior, [chain[3]])
    result = nlsq.solve(problem)
    variances = np.diagonal(result.covariance(chain), axis1=1, axis2=2)
    assert np.isnan(variances).any()
    known = variances[~np.isnan(variances)]
    assert (known > 0.99e6).all()


def test_exact_covariances_survive_beside_undetermined_blocks():
    problem = nlsq.BlockProblem()
    chain = problem.add_parameters(np.zeros((3, 2)))
    problem.add_residuals(difference, [chain[0], chain[1]], data=[[1.0, 1.0]])
    problem.add_residuals(offset, [chain[2]], data=[[1.0, 1.0]], weight=10.0)
    result = nlsq.solve(problem)
    assert result.undetermined == ["block 0 of parameters 0", "block 1 of parameters 0"]
    np.testing.assert_allclose(result.covariance(chain[2]), 0.01 * np.eye(2), rtol=1e-9)
    assert np.isnan(result.covariance(chain[0])).all(where=np.eye(2, dtype=bool))


@pytest.mark.parametrize(("loss", "what"), [("linear", "squared length"), ("cauchy", "loss")])
def test_squares_that_overflow_are_named(loss, what):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem, _ = vector_problem(data=[[1.0, 2.0], [1e200, 4.0]], loss=loss)
        result = nlsq.solve(problem)
    assert result.status is Status.NONFINITE_START
    assert f"the {what} of residual block 1 of offset is not finite (block 1 of spots)" in result.message


def test_what_a_jacobian_raises_is_seen():
    def jacobian(a, m):
        if a[0] < 100.0:
            raise ValueError("no derivative here")
        return (((1.0, 0.0), (0.0, 1.0)),)

    problem, _ = vector_problem(jac=jacobian)
    with pytest.raises(ValueError, match="no derivative here") as caught:
        nlsq.solve(problem)
    assert caught.value.__notes__ == ["raised in residual block 0 of offset"]


def test_blocks_added_after_a_solve():
    problem, spots = vector_problem()
    result = nlsq.solve(problem)
    more = problem.add_parameters([[7.0, 7.0]], name="more")
    problem.add_residuals(difference, [spots[1], more[0]], data=[[1.0, 1.0]])
    for ask in (lambda: result[more], lambda: result.covariance(more), lambda: problem.evaluate(result)):
        with pytest.raises(ValueError, match="more were added after this solve"):
            ask()
    problem.start_from(result)
    np.testing.assert_array_equal(problem[spots], result[spots])
    np.testing.assert_array_equal(problem[more], [[7.0, 7.0]])
    np.testing.assert_allclose(nlsq.solve(problem)[more], [[4.0, 5.0]], rtol=1e-7)


def test_a_class_is_no_manifold_and_empty_rows_are_no_data():
    problem = nlsq.BlockProblem()
    with pytest.raises(TypeError, match=r"such as nlsq.SE3\(\)"):
        problem.add_parameters([[0.0, 0.0, 0.0, 1.0]], manifold=nlsq.UnitQuaternion)
    spots = problem.add_parameters(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"data must have shape .*got \(2, 0\)"):
        problem.add_residuals(offset, [spots], data=np.zeros((2, 0)))


def test_nothing_seen_at_all_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem, spots = vector_problem(weight=0.0)
        result = nlsq.solve(problem)
        assert len(result.undetermined) == 2
        assert np.isnan(result.covariance(spots)).all(where=np.eye(2, dtype=bool))
    assert math.isclose(result.cost, 0.0)


def test_points_are_given_by_whole_handles():
    problem, spots = vector_problem()
    other, _ = vector_problem()
    for key, error in ((spots[0], TypeError), ("spots", TypeError), (other.parameters[0].handle, ValueError)):
        with pytest.raises(error, match=r"add_parameters returned|another problem"):
            problem.evaluate({key: [[0.0, 0.0], [0.0, 0.0]]})
    assert problem.evaluate({spots: [[1.0, 2.0], [3.0, 4.0]]})[0] == 0.0


def test_a_report_does_not_factorise_what_is_too_large(monkeypatch):
    problem, spots = vector_problem(weight=[1.0, 0.0])
    result = nlsq.solve(problem)
    assert "not determined by the data: block 1 of spots" in result.report()
    monkeypatch.setattr("nlsq.linalg.sparse_choice.LARGEST_FACTOR", 3)
    monkeypatch.setattr(type(result), "undetermined", property(lambda self: pytest.fail("was asked")))
    assert "takes a factor of 6 entries" in result.report()
    assert spots.count == 2


def test_a_jacobian_that_is_not_finite_leaves_no_covariance():
    def root(a):
        return math.sqrt(a[0]) + a[0] - 2.0

    problem = nlsq.BlockProblem()
    zero = problem.add_parameters([[0.0]])
    problem.add_residuals(root, [zero])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = nlsq.solve(problem)
        assert result.status is Status.NONFINITE_JACOBIAN
        assert np.isnan(result.covariance(zero[0])).all()


def test_damping_stays_where_it_can_rise_again():
    """The steps shrink x by 8/9 each, all of them good: damping would fall to 0, from where nothing raises it."""

    def flat(a):
        return a[0] ** 9

    problem = nlsq.BlockProblem()
    problem.add_residuals(flat, [problem.add_parameters([[10.0]])])
    history = nlsq.solve(problem, history=True, max_evaluations=80).history
    assert len(history) > 60
    assert min(step.damping for step in history) >= 1e-16


def test_a_loss_that_falls_is_refused():
    problem, _ = vector_problem(loss=lambda z: np.array([z, -np.ones_like(z), 0.0 * z]))
    with pytest.raises(ValueError, match="loss must not fall: its derivative is -1 at residual block 0 of offset"):
        nlsq.solve(problem)


def test_arguments_may_come_from_a_generator():
    problem = nlsq.BlockProblem()
    chain = problem.add_parameters([[0.0, 0.0], [0.0, 0.0]], constant=[[True, True], [False, False]])
    problem.add_residuals(difference, (chain[k] for k in range(2)), data=[[1.0, 2.0]])
    np.testing.assert_allclose(nlsq.solve(problem)[chain[1]], [1.0, 2.0], rtol=1e-7)


def test_what_a_callback_adds_is_for_the_next_solve():
    problem, spots = vector_problem()
    added = []

    def grow(report):
        if not added:
            added.append(problem.add_parameters([[7.0, 7.0]], name="more"))
            problem.add_residuals(difference, [spots[1], added[0][0]], data=[[1.0, 1.0]])
            problem.hold(spots[0])

    result = nlsq.solve(problem, callback=grow)
    np.testing.assert_allclose(result[spots], [[1.0, 2.0], [3.0, 4.0]], rtol=1e-7)
    np.testing.assert_allclose(nlsq.solve(problem)[added[0]], [[4.0, 5.0]], rtol=1e-7)


def test_a_jacobian_of_the_wrong_sign_is_stalled_and_soon():
    def wrong(a, m):
        return (((-1.0, 0.0), (0.0, 1.0)),)

    problem = nlsq.BlockProblem()
    spot = problem.add_parameters([[1.0, 2.0]])
    problem.add_residuals(offset, [spot], data=[[3.0, 1.0]], jac=wrong)
    result = nlsq.solve(problem)
    assert result.status is Status.STALLED
    assert result.nfev < 40
    np.testing.assert_allclose(result[spot], [[1.0, 2.0]], rtol=1e-12)


def test_a_start_that_is_right_to_rounding_is_no_stall():
    def distance(a, m):
        return math.hypot(a[0] - m[0], a[1] - m[1]) - m[2]

    for seed in range(8):
        rng = np.random.default_rng(seed)
        values, corners = rng.uniform(0.0, 10.0, (4, 2)), rng.uniform(0.0, 10.0, (4, 2))
        problem = nlsq.BlockProblem()
        spots = problem.add_parameters(values)
        lengths = np.linalg.norm(values - corners, axis=1)
        problem.add_residuals(distance, [spots], data=np.column_stack([corners, lengths]))
        assert nlsq.solve(problem).converged
