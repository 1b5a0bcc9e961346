"""A chain of masses on springs, led by one end along a wall: optimal control with bounds on states.

Three balls hang on springs between a fixed point and a hand, the benchmark of Wirsching, Bock and Diehl [1]_ in three
dimensions. The hand moves with a speed of at most 1 m/s in each direction. The chain was disturbed; the controller
brings it to rest, with the hand at its place, while no ball may pass the wall at y = -0.05 m. The states are the
positions of balls and hand and the speeds of the balls, 21 numbers; it looks 8 s ahead in 40 stages.

Run it with ``python examples/chain_of_masses.py [--balls 3] [--picture picture.png]``; the picture needs matplotlib.

References
----------
.. [1] L. Wirsching, H. G. Bock, M. Diehl, "Fast NMPC of a chain of masses connected by springs", IEEE International
   Conference on Control Applications, 2006.
"""

import argparse
import time

import numpy as np

import nlsq

MASS, STIFFNESS, LENGTH = 0.033, 1.0, 0.033  # of a ball; of a spring, in N/m and m
GRAVITY = np.array([0.0, 0.0, -9.81])
HAND = np.array([1.0, 0.0, 0.0])  # where it is to be in the end
WALL = -0.05  # y of everything is above it
STAGE, STAGES = 0.2, 40
PUSH, PUSHES = np.array([-1.0, 1.0, 1.0]), 5  # what disturbed the chain: the hand's speed over some stages


def make_slope(balls):
    """Return the differential equation of a chain."""

    def slope(x, u):
        places, speeds = x[: 3 * balls + 3].reshape(balls + 1, 3), x[3 * balls + 3 :].reshape(balls, 3)
        springs = places - np.concatenate([np.zeros((1, 3)), places[:-1]])
        lengths = np.sqrt(np.sum(springs**2, axis=1))
        forces = (STIFFNESS * (1.0 - LENGTH / lengths))[:, None] * springs
        return np.concatenate([speeds.ravel(), u, ((forces[1:] - forces[:-1]) / MASS + GRAVITY).ravel()])

    return slope


def at_rest(slope, balls):
    """Return the state of the chain at rest: least squares, whose residual is the balls' acceleration."""

    def state(p):
        return np.concatenate([p, HAND, np.zeros(3 * balls)])

    along = np.arange(1, balls + 1) / (balls + 1)
    start = np.outer(along, HAND) - np.outer(np.sin(np.pi * along), [0.0, 0.0, 0.3])
    problem = nlsq.LeastSquaresProblem(lambda p: slope(state(p), np.zeros(3))[3 * balls + 3 :], start.ravel())
    return state(nlsq.solve(problem).x)


def make_problem(balls):
    """Return the optimal control problem and the state of rest."""
    slope = make_slope(balls)
    rest = at_rest(slope, balls)
    hand, after = 3 * balls, 3 * balls + 3  # where the hand's place is

    def stage_residual(x, u):
        return np.concatenate([5.0 * (x[hand:after] - HAND), x[after:], 0.1 * u])

    def terminal_residual(x):
        return np.concatenate([5.0 * (x[hand:after] - HAND), x[after:]])

    lower = np.full(6 * balls + 3, -np.inf)
    lower[1 : 3 * balls + 3 : 3] = WALL
    problem = nlsq.OptimalControl(
        nlsq.rk4(slope, STAGE),
        stage_residual,
        terminal_residual,
        stages=STAGES,
        states=6 * balls + 3,
        controls=3,
        state_bounds=(lower, np.inf),
        control_bounds=(-1.0, 1.0),
        hessian="gauss-newton",
    )
    return problem, rest


def disturbed(balls, rest):
    """Return the chain after the hand was pulled away."""
    move = nlsq.rk4(make_slope(balls), STAGE, substeps=4)
    x = rest
    for _ in range(PUSHES):
        x = move(x, PUSH)
    return x


def draw(path, balls, result):
    """Save a picture of the chain over time, and of the controls."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    for panel, (axis, name) in zip(panels, ((2, "z"), (1, "y")), strict=False):
        for k in range(0, STAGES + 1, 2):
            places = np.vstack([np.zeros(3), result.states[k, : 3 * balls + 3].reshape(-1, 3)])
            shade = plt.get_cmap("viridis")(k / STAGES)
            panel.plot(places[:, 0], places[:, axis], "o-", color=shade, markersize=3, linewidth=1.0)
        panel.set_xlabel("x [m]")
        panel.set_ylabel(f"{name} [m]")
    panels[0].set_title("From the side")
    panels[1].axhline(WALL, color="0.3", linewidth=2.0)
    panels[1].set_title("From above, with the wall")
    seconds = STAGE * np.arange(STAGES)
    for j, name in enumerate("xyz"):
        panels[2].step(seconds, result.controls[:, j], where="post", label=name)
    panels[2].set_title("Speed of the hand [m/s]")
    panels[2].set_xlabel("time [s]")
    panels[2].legend(frameon=False)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--balls", type=int, default=3, help="free masses")
    parser.add_argument("--picture", help="where to save a picture, if anywhere")
    options = parser.parse_args(arguments)

    start = time.perf_counter()
    problem, rest = make_problem(options.balls)
    first = disturbed(options.balls, rest)
    result = problem.solve(first)
    print(f"{result.message}\ncost {result.cost:.6g} after {result.nit} iterations")
    print(f"{problem.states} states, {STAGES} stages; {time.perf_counter() - start:.1f} s with compiling")
    start = time.perf_counter()
    problem.solve(first)
    print(f"again: {1e3 * (time.perf_counter() - start):.1f} ms")
    nearest = result.states[1:, 1 : 3 * options.balls + 3 : 3].min()
    print(f"nearest to the wall: {nearest - WALL:.1e} m; at rest to {np.abs(result.states[-1] - rest).max():.1e}")
    if options.picture:
        draw(options.picture, options.balls, result)
    return result


if __name__ == "__main__":
    main()
