"""Bundle adjustments: files, scenes made up in any size, and their residual and pattern for whole arrays.

The arrays are those of ``examples/readers/bal.py``: a camera is an axis-angle vector, a translation, a focal length and
two coefficients of radial distortion; it looks along its negative z axis.
"""

import numpy as np

from . import real_data, sparsity

__all__ = ["project", "read", "residual", "ring", "sparsity_pattern"]


def read():
    """Return the bundle adjustment 49-7776 of the data folder, or None."""
    path = real_data.path_of(real_data.BUNDLE)
    return None if path is None else real_data.example("readers.bal").read(path)


def project(cameras, points):
    """Return where each camera (k, 9) sees its point (k, 3), in pixels."""
    axis_angle, translation = cameras[:, :3], cameras[:, 3:6]
    angle = np.linalg.norm(axis_angle, axis=1, keepdims=True)
    axis = axis_angle / np.where(angle > 0.0, angle, 1.0)
    along = np.sum(axis * points, axis=1, keepdims=True) * (1.0 - np.cos(angle))
    x, y, z = (points * np.cos(angle) + np.cross(axis, points) * np.sin(angle) + axis * along + translation).T
    seen = np.stack([-x / z, -y / z], axis=1)
    squared = np.sum(seen**2, axis=1)
    focal, k1, k2 = cameras[:, 6:].T
    return (focal * (1.0 + squared * (k1 + k2 * squared)))[:, np.newaxis] * seen


def residual(x, scene):
    """Return all residuals of cameras and points, flat and in a row."""
    split = scene.cameras.size
    cameras, points = x[:split].reshape(-1, 9), x[split:].reshape(-1, 3)
    return (project(cameras[scene.camera_index], points[scene.point_index]) - scene.observed).ravel()


def sparsity_pattern(scene):
    """Return rows and columns of the entries of the Jacobian, and its shape."""
    return sparsity.observation_pattern(scene.camera_index, scene.point_index, len(scene.cameras), len(scene.points))


def ring(n_cameras, n_points, seen_by=4, noise=0.5, seed=0):
    """Return cameras in a ring around a ball of points, each seen by a few neighbours, and a poor start."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n_points, 3))
    points *= (rng.random(n_points) ** (1.0 / 3.0) / np.linalg.norm(points, axis=1))[:, np.newaxis]
    cameras = np.zeros((n_cameras, 9))
    cameras[:, 1] = np.linspace(-np.pi, np.pi, n_cameras, endpoint=False)  # turned about the vertical
    cameras[:, :3] += 0.02 * rng.standard_normal((n_cameras, 3))
    cameras[:, 5] = -5.0
    cameras[:, 6:] = [500.0, -0.05, 0.01]
    first = rng.integers(0, n_cameras, n_points)
    ahead = np.arange(min(seen_by, n_cameras))
    camera_index = ((first[:, np.newaxis] + ahead) % n_cameras).ravel()
    point_index = np.repeat(np.arange(n_points), ahead.size)
    observed = project(cameras[camera_index], points[point_index])
    observed += noise * rng.standard_normal(observed.shape)
    cameras[:, :6] += 0.01 * rng.standard_normal((n_cameras, 6))
    return real_data.example("readers.bal").BundleAdjustment(
        cameras=cameras,
        points=points + 0.02 * rng.standard_normal(points.shape),
        camera_index=camera_index,
        point_index=point_index,
        observed=observed,
    )
