"""A pole on a cart, swung up and held: model predictive control in microseconds.

A cart of 1 kg on a rail carries a pole of 0.1 kg, 0.8 m long, that hangs down at first. A force u of at most 80 N moves
the cart. The controller looks one second ahead, in 20 stages of 50 ms, and minimises

    sum of  1000 (p^2 + a^2) + 0.01 (v^2 + w^2 + u^2)

over the plan, where p is the position, a the angle from upright, v and w their speeds. At each step it measures the
state, with noise, improves the last plan by one Gauss-Newton iteration, and applies the first force of the plan.

Run it with ``python examples/cart_pole.py [--seconds 3] [--picture picture.png]``; the picture needs matplotlib.
"""

import argparse
import time

import numpy as np

import nlsq

CART, POLE, GRAVITY, LENGTH = 1.0, 0.1, 9.81, 0.8
STAGE, STAGES, LIMIT = 0.05, 20, 80.0
WEIGHTS = np.sqrt([2e3, 2e3, 2e-2, 2e-2])
NOISE = 0.01  # standard deviation of each measured number
GUST = 0.02  # and of what disturbs the state in each stage
HANGING = np.array([0.0, np.pi, 0.0, 0.0])


def slope(x, u):
    """Return the derivative of (p, a, v, w) by time."""
    s, c = np.sin(x[1]), np.cos(x[1])
    heavy = CART + POLE - POLE * c**2
    swing = POLE * LENGTH * s * x[3] ** 2
    of_cart = (-swing + POLE * GRAVITY * c * s + u[0]) / heavy
    of_pole = (-swing * c + u[0] * c + (CART + POLE) * GRAVITY * s) / (LENGTH * heavy)
    return np.array([x[2], x[3], of_cart, of_pole])


def make_problem():
    """Return the optimal control problem."""
    return nlsq.OptimalControl(
        nlsq.rk4(slope, STAGE),
        lambda x, u: np.sqrt(STAGE) * np.concatenate([WEIGHTS * x, np.sqrt(2e-2) * u]),
        lambda x: WEIGHTS * x,
        stages=STAGES,
        states=4,
        controls=1,
        control_bounds=(-LIMIT, LIMIT),
    )


def closed_loop(problem, seconds, seed=0):
    """Swing up and hold; return states, forces and microseconds of each step."""
    rng = np.random.default_rng(seed)
    plant = nlsq.rk4(slope, STAGE, substeps=10)
    controller = problem.controller(iterations=1)
    steps = round(seconds / STAGE)
    states, forces, times = np.empty((steps + 1, 4)), np.empty(steps), np.empty(steps)
    states[0] = HANGING
    controller.prepare(HANGING)
    for k in range(steps):
        measured = states[k] + NOISE * rng.standard_normal(4)
        start = time.perf_counter()
        u = controller.step(measured)
        times[k] = 1e6 * (time.perf_counter() - start)
        forces[k] = u[0]
        states[k + 1] = plant(states[k], u) + GUST * np.sqrt(STAGE) * rng.standard_normal(4)
    return states, forces, times


def draw(path, plan, states, forces):
    """Save a picture of the plan and of what came of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, upper) = plt.subplots(1, 2, figsize=(9.0, 3.2), layout="constrained")
    for k in range(0, STAGES + 1, 1):
        p, a = plan.states[k, :2]
        shade = plt.get_cmap("viridis")(k / STAGES)
        left.plot([p, p - LENGTH * np.sin(a)], [0.0, LENGTH * np.cos(a)], color=shade, linewidth=1.5)
        left.plot(p, 0.0, "s", color=shade, markersize=5)
    left.set_aspect("equal")
    left.set_title("The first plan: one second")
    left.set_xlabel("position [m]")
    seconds = STAGE * np.arange(len(states))
    upper.plot(seconds, states[:, 1], label="angle [rad]")
    upper.plot(seconds, states[:, 0], label="position [m]")
    upper.step(seconds[:-1], forces / LIMIT, where="post", color="0.6", linewidth=1.0, label="force / 80 N")
    upper.set_title("Closed loop, with noise")
    upper.set_xlabel("time [s]")
    upper.legend(frameon=False)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the closed loop")
    parser.add_argument("--picture", help="where to save a picture, if anywhere")
    options = parser.parse_args(arguments)

    problem = make_problem()
    plan = problem.solve(HANGING)
    print(f"{plan.message}\ncost {plan.cost:.6g} after {plan.nit} iterations")
    states, forces, times = closed_loop(problem, options.seconds)
    print(f"closed loop: median {np.median(times):.0f} us a step, at most {times.max():.0f} us")
    print(f"in the last half second |angle| < {np.abs(states[-10:, 1]).max():.3f} rad")
    if options.picture:
        draw(options.picture, plan, states, forces)
    return states


if __name__ == "__main__":
    main()
