"""Small scenes of residual blocks: cameras and points, a ring of poses; residuals once more in plain numpy."""

import math
from dataclasses import dataclass

import numpy as np

import nlsq


def project(camera, point, observed):
    """Snavely's camera: axis-angle rotation, translation, focal length, two terms of radial distortion."""
    w0, w1, w2 = camera[0], camera[1], camera[2]
    x0, x1, x2 = point
    square = w0 * w0 + w1 * w1 + w2 * w2
    if square > 1e-30:
        angle = math.sqrt(square)
        s, c = math.sin(angle), math.cos(angle)
        a0, a1, a2 = w0 / angle, w1 / angle, w2 / angle
        along = (a0 * x0 + a1 * x1 + a2 * x2) * (1.0 - c)
        p0 = x0 * c + (a1 * x2 - a2 * x1) * s + a0 * along
        p1 = x1 * c + (a2 * x0 - a0 * x2) * s + a1 * along
        p2 = x2 * c + (a0 * x1 - a1 * x0) * s + a2 * along
    else:
        p0 = x0 + (w1 * x2 - w2 * x1)
        p1 = x1 + (w2 * x0 - w0 * x2)
        p2 = x2 + (w0 * x1 - w1 * x0)
    p0, p1, p2 = p0 + camera[3], p1 + camera[4], p2 + camera[5]
    u, v = -p0 / p2, -p1 / p2
    square = u * u + v * v
    scale = camera[6] * (1.0 + square * (camera[7] + camera[8] * square))
    return scale * u - observed[0], scale * v - observed[1]


@dataclass
class Bundle:
    """Cameras, points and observations."""

    cameras: np.ndarray
    points: np.ndarray
    camera_index: np.ndarray
    point_index: np.ndarray
    observed: np.ndarray

    @property
    def x0(self):
        return np.concatenate([self.cameras.ravel(), self.points.ravel()])

    def residual(self, x):
        cameras, points = x[: self.cameras.size].reshape(-1, 9), x[self.cameras.size :].reshape(-1, 3)
        return np.array(
            [
                project(cameras[c], points[p], seen)
                for c, p, seen in zip(self.camera_index, self.point_index, self.observed, strict=True)
            ]
        ).ravel()

    def problem(self, order=slice(None), **options):
        problem = nlsq.BlockProblem()
        cameras = problem.add_parameters(self.cameras, name="cameras")
        points = problem.add_parameters(self.points, name="points")
        problem.add_residuals(
            project,
            [cameras[self.camera_index[order]], points[self.point_index[order]]],
            data=self.observed[order],
            **options,
        )
        return problem, cameras, points


def bundle_scene(seed, cameras=4, points=18, outliers=0.0):
    """Cameras on an arc look at a cloud of points, each seen by three of four."""
    rng = np.random.default_rng(seed)
    true = np.zeros((cameras, 9))
    true[:, 1] = np.linspace(-0.6, 0.6, cameras)
    true[:, 3:6] = rng.normal(size=(cameras, 3)) * 0.3 - [0.0, 0.0, 8.0]
    true[:, 6:] = [50.0, -0.01, 0.001]
    cloud = rng.normal(size=(points, 3)) * 1.5
    seen = rng.random((cameras, points)) < 0.75
    seen[:2] = True
    camera_index, point_index = np.nonzero(seen)
    exact = [project(true[c], cloud[p], (0.0, 0.0)) for c, p in zip(camera_index, point_index, strict=True)]
    observed = np.array(exact) + rng.normal(size=(len(exact), 2)) * 0.05
    wrong = rng.random(len(exact)) < outliers
    observed[wrong] += rng.normal(size=(np.count_nonzero(wrong), 2)) * 10.0
    start = true + rng.normal(size=true.shape) * [0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 0.5, 1e-3, 1e-4]
    return Bundle(start, cloud + rng.normal(size=cloud.shape) * 0.05, camera_index, point_index, observed)


def product(a, b):
    """Multiply quaternions x y z w."""
    return (
        a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
        a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
        a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
        a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
    )


def rotated_back(q, v):
    """Rotate by the inverse of a quaternion."""
    inverse = (-q[0], -q[1], -q[2], q[3])
    x = product(product(inverse, (v[0], v[1], v[2], 0.0)), q)
    return x[0], x[1], x[2]


def between(a, b, measured):
    """Give the difference of a relative pose from what was measured: translation, twice the vector part."""
    t = rotated_back(a[3:7], (b[0] - a[0], b[1] - a[1], b[2] - a[2]))
    relative = product((-a[3], -a[4], -a[5], a[6]), b[3:7])
    e = product((-measured[3], -measured[4], -measured[5], measured[6]), relative)
    return (
        t[0] - measured[0],
        t[1] - measured[1],
        t[2] - measured[2],
        2.0 * e[0],
        2.0 * e[1],
        2.0 * e[2],
    )


def ring_of_poses(count=12, hold=True):
    """Poses around a circle with exact relative measurements, started off; the first one is held if asked for."""
    angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    truth = np.zeros((count, 7))
    truth[:, 0], truth[:, 1] = np.cos(angle), np.sin(angle)
    truth[:, 5], truth[:, 6] = np.sin(angle / 2), np.cos(angle / 2)
    first, second = np.arange(count), (np.arange(count) + 1) % count
    measured = []
    for a, b in zip(truth[first], truth[second], strict=True):
        t = rotated_back(a[3:], b[:3] - a[:3])
        measured.append([*t, *product((-a[3], -a[4], -a[5], a[6]), b[3:])])
    rng = np.random.default_rng(0)
    start = truth.copy()
    start[1:, :3] += rng.normal(size=(count - 1, 3)) * 0.1
    start[1:, 3:] += rng.normal(size=(count - 1, 4)) * 0.05
    start[:, 3:] /= np.linalg.norm(start[:, 3:], axis=1)[:, None]
    problem = nlsq.BlockProblem()
    poses = problem.add_parameters(start, manifold=nlsq.SE3(), name="poses")
    if hold:
        problem.hold(poses[0])
    problem.add_residuals(between, [poses[first], poses[second]], data=np.array(measured))
    return problem, poses, truth
