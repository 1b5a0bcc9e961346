"""Bundle adjustment: where cameras stood and looked, their lenses, and the points they saw, all from the pictures.

A camera turns a point by an axis-angle vector, moves it, and sees it through a lens with radial distortion; what is
minimised is the distance in pixels between where points are seen and where they should be. Each observation is a
residual block of two numbers that meets one camera (9 numbers) and one point (3). `reproject` is written for a single
one: it is compiled, and its exact derivatives come with it.

Run it with ``python examples/bundle_adjustment.py [problem.txt] [--picture picture.png]``. The file is one of 'Bundle
Adjustment in the Large' (https://grail.cs.washington.edu/projects/bal/); without one, a scene is made up: cameras on an
arc around a hall with pillars. The picture needs matplotlib.
"""

import argparse
import math
import time

import numpy as np
from readers import bal

import nlsq

# The model: one observation


def turned(axis_angle, point):
    """Turn a point about an axis by the axis' length in radians (Rodrigues' formula)."""
    a, b, c = axis_angle
    x, y, z = point
    squared = a * a + b * b + c * c
    if squared > 0.0:
        angle = math.sqrt(squared)
        cosine, sine = math.cos(angle), math.sin(angle)
        a, b, c = a / angle, b / angle, c / angle
        along = (a * x + b * y + c * z) * (1.0 - cosine)
        return (
            x * cosine + (b * z - c * y) * sine + a * along,
            y * cosine + (c * x - a * z) * sine + b * along,
            z * cosine + (a * y - b * x) * sine + c * along,
        )
    return x + b * z - c * y, y + c * x - a * z, z + a * y - b * x


def projected(camera, point):
    """Return where a camera sees a point, in pixels."""
    x, y, z = turned((camera[0], camera[1], camera[2]), point)
    x, y, z = x + camera[3], y + camera[4], z + camera[5]
    u, v = -x / z, -y / z
    squared = u * u + v * v
    scale = camera[6] * (1.0 + squared * (camera[7] + camera[8] * squared))
    return scale * u, scale * v


def reproject(camera, point, observed):
    """Return the residual of one observation, in pixels."""
    u, v = projected(camera, point)
    return u - observed[0], v - observed[1]


def adjust(scene, loss="linear"):
    """Solve a `BundleAdjustment`: return its residuals before, those after, and the result with its parameters."""
    problem = nlsq.BlockProblem()
    cameras = problem.add_parameters(scene.cameras, name="cameras")
    points = problem.add_parameters(scene.points, name="points")
    blocks = [cameras[scene.camera_index], points[scene.point_index]]
    problem.add_residuals(reproject, blocks, data=scene.observed, loss=loss)
    before = problem.evaluate()[1].reshape(-1, 2)
    result = nlsq.solve(problem, tolerances=nlsq.Tolerances(cost=1e-8, step=1e-8))
    after = problem.evaluate(result)[1].reshape(-1, 2)
    return before, after, result, cameras, points


# A scene made up


def made_up_scene(n_cameras=12, n_points=600, noise=0.5, seed=0):
    """Return cameras on an arc around a hall with pillars, not where they were thought to be."""
    rng = np.random.default_rng(seed)
    around, up = rng.uniform(0.0, 2.0 * np.pi, n_points), rng.uniform(-1.0, 1.0, n_points)
    pillar = rng.integers(0, 6, n_points) * np.pi / 3.0
    points = np.stack([np.cos(pillar), up, np.sin(pillar)], axis=1)
    points += 0.15 * np.stack([np.cos(around), np.zeros(n_points), np.sin(around)], axis=1)
    cameras = np.zeros((n_cameras, 9))
    cameras[:, 1] = np.linspace(-0.7, 0.7, n_cameras)  # turned about the vertical: it looks at the middle
    cameras[:, :3] += 0.02 * rng.standard_normal((n_cameras, 3))
    cameras[:, 3:6] = [0.0, 0.0, -5.0]
    cameras[:, 6:] = [800.0, -0.05, 0.01]
    seen = rng.random((n_cameras, n_points)) < 0.6
    seen[:, seen.sum(axis=0) < 3] = True
    point_index, camera_index = np.nonzero(seen.T)
    chosen = zip(cameras[camera_index].tolist(), points[point_index].tolist(), strict=True)
    observed = np.array([projected(camera, point) for camera, point in chosen])
    observed += noise * rng.standard_normal(observed.shape)
    cameras[:, :6] += 0.01 * rng.standard_normal((n_cameras, 6))
    cameras[:, 6:] = [770.0, 0.0, 0.0]
    points = points + 0.03 * rng.standard_normal(points.shape)
    return bal.BundleAdjustment(
        cameras=cameras, points=points, camera_index=camera_index, point_index=point_index, observed=observed
    )


# The report


def draw(path, scene, before, after):
    """Save a picture of the residuals where they were seen, and of how long they are, before and after."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.9), layout="constrained")
    lengths = {"before": np.hypot(*before.T), "after": np.hypot(*after.T)}
    chosen = np.random.default_rng(0).permutation(len(before))[:4000]
    limit = np.quantile(np.abs(scene.observed), 0.995)
    for panel, (name, residual) in zip(panels, {"before": before, "after": after}.items(), strict=False):
        seen = scene.observed[chosen]
        lines = np.stack([seen, seen + residual[chosen]], axis=1)
        panel.plot(*lines.transpose(2, 1, 0), color="tab:blue", linewidth=0.4, rasterized=True)
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="u (pixels)")
        panel.set_title(f"Residuals {name}: median {np.median(lengths[name]):.2f} pixels", fontsize=9)
    panels[0].set_ylabel("v (pixels)")
    edges = np.geomspace(max(1e-3, 0.5 * np.quantile(lengths["after"], 0.01)), lengths["before"].max(), 60)
    for name, values in lengths.items():
        panels[2].hist(values, bins=edges, alpha=0.6, label=name)
    panels[2].set(xscale="log", xlabel="length of a residual (pixels)", ylabel="observations")
    panels[2].legend()
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="a file of 'Bundle Adjustment in the Large'; a made-up scene without")
    parser.add_argument("--loss", default="linear", help="linear, huber, soft_l1, cauchy or arctan")
    parser.add_argument("--picture", help="where to save a picture of the residuals, if anywhere")
    options = parser.parse_args(arguments)

    scene = bal.read(options.path) if options.path else made_up_scene()
    start = time.perf_counter()
    before, after, result, _, _ = adjust(scene, options.loss)
    seconds = time.perf_counter() - start
    print(result.report())
    print(f"\n{len(scene.observed)} observations in {seconds:.2f} s, compiling included")
    for name, residual in {"before": before, "after": after}.items():
        length = np.hypot(*residual.T)
        print(f"residuals {name}: median {np.median(length):.3f}, root mean square {np.sqrt(np.mean(length**2)):.3f}")
    if options.picture:
        draw(options.picture, scene, before, after)
    return result


if __name__ == "__main__":
    main()
