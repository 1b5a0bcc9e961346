"""Pose graphs: where a robot was, from what it measured of one place seen from another, odometry and closed loops.

Each measurement is a residual block between two poses: the second pose in the frame of the first, less what was
measured, in the units of its standard deviations. Planar poses are ``x, y, theta``; poses in space are a translation
and a quaternion of unit length, which steps leave at unit length because the blocks are told what they are
(``nlsq.SE2()``, ``nlsq.SE3()``). One pose is held, since nothing measures where the whole is.

With t, R and q the translation and rotation of a pose, the residual of a measurement (t_m, R_m) of pose j from i is

    R_m^T (R_i^T (t_j - t_i) - t_m),    theta_j - theta_i - theta_m, taken between -pi and pi      in the plane
    R_i^T (t_j - t_i) - t_m,            2 vec(q_m^-1 q_i^-1 q_j)                                   in space

and the information matrix of the file weights it.

Run it with ``python examples/pose_graph.py [graph.g2o] [--picture picture.png]``; without a file, a robot is made up
that drives along the streets of a town, or, with ``--space``, winds round a torus. The picture needs matplotlib.
"""

import argparse
import math
import time

import numpy as np
from readers import g2o

import nlsq

# The model: one measurement


def measured_in_plane(first, second, measured):
    """Return the residual of a measurement of one planar pose from another."""
    cosine, sine = math.cos(first[2]), math.sin(first[2])
    x, y = second[0] - first[0], second[1] - first[1]
    x, y = cosine * x + sine * y - measured[0], cosine * y - sine * x - measured[1]
    cosine, sine = math.cos(measured[2]), math.sin(measured[2])
    angle = second[2] - first[2] - measured[2]
    return cosine * x + sine * y, cosine * y - sine * x, math.atan2(math.sin(angle), math.cos(angle))


def product(p, q):
    """Multiply two quaternions, x y z w."""
    return (
        p[3] * q[0] + p[0] * q[3] + p[1] * q[2] - p[2] * q[1],
        p[3] * q[1] - p[0] * q[2] + p[1] * q[3] + p[2] * q[0],
        p[3] * q[2] + p[0] * q[1] - p[1] * q[0] + p[2] * q[3],
        p[3] * q[3] - p[0] * q[0] - p[1] * q[1] - p[2] * q[2],
    )


def rotated(q, v):
    """Rotate a vector by a quaternion of unit length: v + 2 w (q x v) + 2 q x (q x v)."""
    a = 2.0 * (q[1] * v[2] - q[2] * v[1])
    b = 2.0 * (q[2] * v[0] - q[0] * v[2])
    c = 2.0 * (q[0] * v[1] - q[1] * v[0])
    return (
        v[0] + q[3] * a + q[1] * c - q[2] * b,
        v[1] + q[3] * b + q[2] * a - q[0] * c,
        v[2] + q[3] * c + q[0] * b - q[1] * a,
    )


def measured_in_space(first, second, measured):
    """Return the residual of a measurement of one pose in space from another."""
    back = (-first[3], -first[4], -first[5], first[6])
    x, y, z = rotated(back, (second[0] - first[0], second[1] - first[1], second[2] - first[2]))
    turn = product(back, (second[3], second[4], second[5], second[6]))
    a, b, c, _ = product((-measured[3], -measured[4], -measured[5], measured[6]), turn)
    return x - measured[0], y - measured[1], z - measured[2], 2.0 * a, 2.0 * b, 2.0 * c


RESIDUALS = {"SE2": measured_in_plane, "SE3": measured_in_space}


def optimise(graph, loss="linear"):
    """Solve a `PoseGraph`: return its poses, and the result."""
    problem = nlsq.BlockProblem()
    manifold = nlsq.SE2() if graph.kind == "SE2" else nlsq.SE3()
    poses = problem.add_parameters(graph.poses, manifold=manifold, name="poses")
    problem.hold(poses[graph.fixed if graph.fixed.size else 0])
    ends = [poses[graph.edges[:, 0]], poses[graph.edges[:, 1]]]
    problem.add_residuals(RESIDUALS[graph.kind], ends, data=graph.measured, information=graph.information, loss=loss)
    result = nlsq.solve(problem)
    return result[poses], result


# Graphs made up


def measured_graph(kind, truth, pairs, sigma, rng):
    """Return a `PoseGraph` of noisy measurements, which starts where odometry alone would lead."""
    noise = sigma * rng.standard_normal((len(pairs), sigma.size))
    if kind == "SE3":
        half = 0.5 * noise[:, 3:]
        scalar = np.sqrt(np.maximum(1.0 - np.sum(half**2, axis=1), 0.0))
        noise = np.concatenate([noise[:, :3], half, scalar[:, np.newaxis]], axis=1)
    measured = g2o.compose(g2o.relative(truth[pairs[:, 0]], truth[pairs[:, 1]]), noise)
    poses = truth.copy()
    for k in range(len(truth) - 1):  # the first pairs are those of odometry
        poses[k + 1] = g2o.compose(poses[k], measured[k])
    return g2o.PoseGraph(
        kind=kind,
        poses=poses,
        ids=np.arange(len(truth)),
        edges=pairs,
        measured=measured,
        information=np.broadcast_to(np.diag(sigma**-2.0), (len(pairs), sigma.size, sigma.size)).copy(),
        fixed=np.zeros(1, dtype=np.int64),
    )


def near_pairs(position, reach, odometry, share, rng):
    """Return the pairs of following poses, and then a share of the pairs of others that are near each other."""
    apart = np.linalg.norm(position[:, np.newaxis] - position, axis=2)
    i, j = np.nonzero(np.triu(apart < reach, odometry))
    kept = rng.random(i.size) < share
    following = np.arange(len(position) - 1)
    return np.concatenate([np.stack([following, following + 1], axis=1), np.stack([i[kept], j[kept]], axis=1)])


def town(count=1000, seed=0):
    """Return a robot that drives along the streets of a town and turns at corners as it likes."""
    rng = np.random.default_rng(seed)
    corners = np.repeat(rng.choice([0, 1, -1], size=count // 5 + 1, p=[0.4, 0.3, 0.3]), 5)[:count]
    corners[np.arange(count) % 5 != 0] = 0
    heading = np.cumsum(corners) * np.pi / 2.0
    ahead = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    truth = np.concatenate([np.cumsum(ahead, axis=0) - ahead, heading[:, np.newaxis]], axis=1)
    pairs = near_pairs(truth[:, :2], 1.5, 10, 0.2, rng)
    return measured_graph("SE2", truth, pairs, np.array([0.05, 0.05, 0.02]), rng)


def torus(count=1000, turns=25, seed=0):
    """Return a robot that winds round a torus."""
    rng = np.random.default_rng(seed)
    around = np.linspace(0.0, 2.0 * np.pi, count)
    across = turns * around
    radius = 10.0 + 3.0 * np.cos(across)
    place = np.stack([radius * np.cos(around), radius * np.sin(around), 3.0 * np.sin(across)], axis=1)
    turned = np.zeros((count, 4))
    turned[:, 2], turned[:, 3] = np.sin(0.5 * around), np.cos(0.5 * around)
    truth = np.concatenate([place, turned], axis=1)
    pairs = near_pairs(place, 3.0, count // turns - 3, 0.3, rng)
    return measured_graph("SE3", truth, pairs, np.array([0.05, 0.05, 0.05, 0.01, 0.01, 0.01]), rng)


# The report


def draw(path, graph, poses):
    """Save a picture of the graph before and after: its way in blue, what closes loops in red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    in_space = graph.kind == "SE3"
    projection = {"projection": "3d"} if in_space else {}
    figure, panels = plt.subplots(1, 2, figsize=(8.0, 3.9), layout="constrained", subplot_kw=projection)
    loops = graph.edges[np.abs(graph.edges[:, 1] - graph.edges[:, 0]) > 1]
    for panel, (name, shown) in zip(panels, {"before": graph.poses, "after": poses}.items(), strict=True):
        place = shown[:, : 3 if in_space else 2]
        ends = np.full((3 * len(loops), place.shape[1]), np.nan)
        ends[0::3], ends[1::3] = place[loops[:, 0]], place[loops[:, 1]]
        panel.plot(*ends.T, color="tab:red", linewidth=0.3, alpha=0.6)
        panel.plot(*place.T, color="tab:blue", linewidth=0.6)
        panel.set_title(f"{len(place)} poses, {name}")
        panel.set_aspect("equal")
        panel.set_axis_off()
    figure.savefig(path, dpi=72, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="a file of g2o; a made-up graph without")
    parser.add_argument("--space", action="store_true", help="make up a graph in space instead of a planar one")
    parser.add_argument("--poses", type=int, default=1000, help="of the graph that is made up")
    parser.add_argument("--loss", default="linear", help="linear, huber, soft_l1, cauchy or arctan")
    parser.add_argument("--picture", help="where to save a picture of the graph, if anywhere")
    options = parser.parse_args(arguments)

    made_up = torus if options.space else town
    graph = g2o.read(options.path) if options.path else made_up(options.poses)
    start = time.perf_counter()
    poses, result = optimise(graph, options.loss)
    seconds = time.perf_counter() - start
    print(result.report())
    print(f"\n{len(graph.poses)} poses and {len(graph.edges)} measurements in {seconds:.2f} s, compiling included")
    if options.picture:
        draw(options.picture, graph, poses)
    return result


if __name__ == "__main__":
    main()
