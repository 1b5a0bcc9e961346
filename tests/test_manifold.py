"""Manifolds: steps, their derivatives, what holds in the groups, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlsq.kernels.backend.kernel import compile_disabled
from nlsq.manifold import SE2, SE3, SO3, Sphere, UnitQuaternion

MANIFOLDS = [SE2(), SE3(), SO3(), UnitQuaternion(), Sphere(2), Sphere(3), Sphere(6)]
BY_NAME = pytest.mark.parametrize("manifold", MANIFOLDS, ids=lambda one: one.name)
seeds = st.integers(0, 2**32 - 1)
lengths = st.sampled_from([1e-12, 1e-7, 1e-3, 0.49, 0.51, 1.0, 3.0, 3.5, 20.0])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def random_points(manifold, rng, count=5):
    x = rng.normal(size=(count, manifold.size))
    if isinstance(manifold, SE3):
        x[:, 3:] = unit(x[:, 3:])
    elif isinstance(manifold, SO3):
        x = rotation_matrix(unit(rng.normal(size=(count, 4)))).reshape(count, 9)
    elif not isinstance(manifold, SE2):
        x = unit(x)
    return np.ascontiguousarray(x)


def plus(manifold, x, step):
    out = np.full_like(x, np.nan)
    manifold.plus(x, step, out)
    return out


# Slow, obvious twins: matrices and their exponentials


def cross_matrix(omega):
    a, b, c = omega
    return np.array([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])


def rotation_matrix(q):
    x, y, z, w = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def as_matrix(manifold, point):
    """Matrix of a group element."""
    if isinstance(manifold, SE2):
        c, s = np.cos(point[2]), np.sin(point[2])
        return np.array([[c, -s, point[0]], [s, c, point[1]], [0.0, 0.0, 1.0]])
    if isinstance(manifold, SE3):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation_matrix(point[3:]), point[:3]
        return matrix
    return point.reshape(3, 3) if isinstance(manifold, SO3) else rotation_matrix(point)


def as_generator(manifold, step):
    """Matrix whose exponential the step is."""
    if isinstance(manifold, SE2):
        u, v, omega = step
        return np.array([[0.0, -omega, u], [omega, 0.0, v], [0.0, 0.0, 0.0]])
    if isinstance(manifold, SE3):
        matrix = np.zeros((4, 4))
        matrix[:3, :3], matrix[:3, 3] = cross_matrix(step[3:]), step[:3]
        return matrix
    return cross_matrix(step)


GROUPS = [one for one in MANIFOLDS if not isinstance(one, Sphere)]
OF_GROUPS = pytest.mark.parametrize("manifold", GROUPS, ids=lambda one: one.name)


@OF_GROUPS
@given(seed=seeds, length=lengths)
def test_step_is_the_exponential(manifold, seed, length):
    from scipy.linalg import expm

    rng = np.random.default_rng(seed)
    x = random_points(manifold, rng, 2)
    step = length * unit(rng.normal(size=(2, manifold.tangent_size)))
    for before, d, after in zip(x, step, plus(manifold, x, step), strict=True):
        expected = as_matrix(manifold, before) @ expm(as_generator(manifold, d))
        np.testing.assert_allclose(as_matrix(manifold, after), expected, rtol=0, atol=1e-13 * (1 + length))


@given(seed=seeds, length=lengths, dimension=st.integers(2, 7))
def test_sphere_step_is_along_a_great_circle(seed, length, dimension):
    manifold = Sphere(dimension)
    rng = np.random.default_rng(seed)
    x = random_points(manifold, rng, 3)
    step = length * unit(rng.normal(size=(3, dimension - 1)))
    basis = np.empty((3, dimension, dimension - 1))
    manifold.plus_jacobian(x, basis)
    direction = np.einsum("bij,bj->bi", basis, step)
    np.testing.assert_allclose(np.einsum("bi,bij->bj", x, basis), 0.0, atol=1e-15)
    np.testing.assert_allclose(np.einsum("bij,bik->bjk", basis, basis), [np.eye(dimension - 1)] * 3, atol=1e-15)
    expected = np.cos(length) * x + np.sin(length) / length * direction
    np.testing.assert_allclose(plus(manifold, x, step), expected, rtol=0, atol=1e-15 * (2.0 + length))


# All of them


@BY_NAME
def test_no_step_stays(manifold):
    x = random_points(manifold, np.random.default_rng(1))
    np.testing.assert_allclose(plus(manifold, x, np.zeros((5, manifold.tangent_size))), x, rtol=0, atol=1e-15)


@BY_NAME
def test_derivative_of_the_step(manifold):
    x = random_points(manifold, np.random.default_rng(2))
    jac = np.full((5, manifold.size, manifold.tangent_size), np.nan)
    manifold.plus_jacobian(x, jac)
    h = 1e-5
    for k in range(manifold.tangent_size):
        step = np.zeros((5, manifold.tangent_size))
        step[:, k] = h
        slope = (plus(manifold, x, step) - plus(manifold, x, -step)) / (2 * h)
        np.testing.assert_allclose(jac[:, :, k], slope, rtol=0, atol=3e-10)


@OF_GROUPS
def test_back_and_forth(manifold):
    rng = np.random.default_rng(3)
    x = random_points(manifold, rng)
    step = rng.normal(size=(5, manifold.tangent_size))
    np.testing.assert_allclose(plus(manifold, plus(manifold, x, step), -step), x, rtol=0, atol=2e-15 * 4)


@OF_GROUPS
def test_two_steps_along_one_direction_add_up(manifold):
    rng = np.random.default_rng(4)
    x = random_points(manifold, rng)
    step = rng.normal(size=(5, manifold.tangent_size))
    twice = plus(manifold, plus(manifold, x, 0.3 * step), 0.7 * step)
    once = plus(manifold, x, step)
    np.testing.assert_allclose(twice, once, rtol=0, atol=1e-14)


@BY_NAME
def test_in_place(manifold):
    rng = np.random.default_rng(5)
    x = random_points(manifold, rng)
    step = rng.normal(size=(5, manifold.tangent_size))
    expected = plus(manifold, x, step)
    manifold.plus(x, step, x)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-15)


@BY_NAME
def test_many_steps_stay_on_the_manifold(manifold):
    rng = np.random.default_rng(6)
    x = random_points(manifold, rng, 2)
    step = 0.1 * rng.normal(size=(2, manifold.tangent_size))
    for _ in range(50 if compile_disabled() else 10_000):
        manifold.plus(x, step, x)
    np.testing.assert_allclose(manifold.validate(x), x, rtol=0, atol=1e-14)


@BY_NAME
def test_nan_comes_through(manifold):
    rng = np.random.default_rng(7)
    x = random_points(manifold, rng)
    step = rng.normal(size=(5, manifold.tangent_size))
    step[2, -1] = np.nan
    moved = plus(manifold, x, step)
    assert np.isnan(moved[2]).any()
    assert np.isfinite(np.delete(moved, 2, axis=0)).all()


@BY_NAME
def test_no_points(manifold):
    x = np.empty((0, manifold.size))
    manifold.plus(x, np.empty((0, manifold.tangent_size)), x)
    manifold.plus_jacobian(x, np.empty((0, manifold.size, manifold.tangent_size)))


# Validation


@BY_NAME
def test_rounding_is_removed(manifold):
    x = random_points(manifold, np.random.default_rng(8))
    rough = x + 1e-8
    smooth = manifold.validate(rough)
    np.testing.assert_allclose(smooth, x, rtol=0, atol=1e-7)
    np.testing.assert_allclose(manifold.validate(smooth), smooth, rtol=0, atol=1e-15)
    assert np.all(rough == x + 1e-8)


@BY_NAME
def test_values_must_be_finite(manifold):
    x = random_points(manifold, np.random.default_rng(9))
    x[3, 0] = np.inf
    with pytest.raises(ValueError, match=r"block 3 of .* has numbers that are not finite"):
        manifold.validate(x)


@BY_NAME
def test_values_must_have_the_size(manifold):
    with pytest.raises(ValueError, match=rf"have {manifold.size} numbers each, got values of shape \(2, 1\)"):
        manifold.validate([[1.0], [2.0]])


def test_norms_must_be_one():
    with pytest.raises(ValueError, match=r"block 1 of UnitQuaternion has a quaternion of norm 2: divide"):
        UnitQuaternion().validate([[0, 0, 0, 1], [0, 0, 2, 0]])
    with pytest.raises(ValueError, match=r"block 0 of SE3 has a quaternion of norm 0"):
        SE3().validate(np.zeros((1, 7)))
    with pytest.raises(ValueError, match=r"block 0 of Sphere\(3\) has a vector of norm"):
        Sphere(3).validate([[1.0, 1e-2, 0.0]])


def test_rotations_must_be_rotations():
    with pytest.raises(ValueError, match="block 1 of SO3 is a reflection"):
        SO3().validate([np.eye(3).ravel(), np.diag([1.0, 1.0, -1.0]).ravel()])
    with pytest.raises(ValueError, match=r"block 0 of SO3 is not orthogonal: \|R'R - I\| is"):
        SO3().validate(1.1 * np.eye(3).reshape(1, 9))


def test_dimension_of_a_sphere():
    with pytest.raises(ValueError, match="dimension must be at least 2, got 1"):
        Sphere(1)


def test_one_point_may_be_given_flat():
    np.testing.assert_array_equal(SE2().validate([1.0, 2.0, 3.0]), [[1.0, 2.0, 3.0]])


def test_equal_manifolds_are_equal():
    assert Sphere(3) == Sphere(3) != Sphere(4)
    assert SE3() == SE3()
    assert len({SE3(), SE3(), SO3()}) == 2
