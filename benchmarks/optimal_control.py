"""Model predictive control of a cart-pole, in real time: microseconds of CPU for a step, ours and CasADi's.

A pendulum on a cart (masses 1 and 0.1 kg, length 0.8 m, as in acados' examples) is swung up and held: 20 stages of
50 ms, one step of the fourth-order Runge-Kutta method each, a force of at most 80 N. All run in closed loops with a
simulated plant, disturbed states and measurements, from the same starts and with the same noise.

Run it with ``python -m benchmarks.optimal_control [--steps 3000] [--periods 10000]``.
"""

import argparse
import time
import tracemalloc

import numpy as np

import nlsq

from .peers.casadi_control import SqpController
from .peers.outcome import Missing
from .rows import Row, Section

CART, POLE, GRAVITY, LENGTH = 1.0, 0.1, 9.81, 0.8
STAGES, STAGE, LIMIT = 20, 0.05, 80.0
STATE_WEIGHTS, CONTROL_WEIGHT = np.sqrt([2e3, 2e3, 2e-2, 2e-2]), float(np.sqrt(2e-2))
SHARE = float(np.sqrt(STAGE))
HANGING = np.array([0.0, np.pi, 0.0, 0.0])
EPISODE = 60  # steps from one start
NOISE = 1e-2  # standard deviation of disturbances and of measurements
SPREAD = 0.1  # of the starts around hanging
TOLERANCE = 1e-6
PERIOD = 1e-3  # of the long run
UPRIGHT = 1.0  # metres, radians and their speeds: what noise leaves of a pole that is held
MODES = {  # iterations, tolerance, largest p50 and p99 in microseconds
    "one iteration": (1, None, (20.0, 40.0)),
    f"to {TOLERANCE:g}": (100, TOLERANCE, (np.inf, 200.0)),
}


def cart_pole(x, u):
    """Return the derivative of position, angle (0: upright) and their speeds."""
    s, c = np.sin(x[1]), np.cos(x[1])
    heavy = CART + POLE - POLE * c * c
    swing = POLE * LENGTH * s * x[3] * x[3]
    return np.array(
        [
            x[2],
            x[3],
            (-swing + POLE * GRAVITY * c * s + u[0]) / heavy,
            (-swing * c + u[0] * c + (CART + POLE) * GRAVITY * s) / (LENGTH * heavy),
        ]
    )


def stage_residual(x, u):
    return SHARE * np.concatenate([STATE_WEIGHTS * x, CONTROL_WEIGHT * u])


def terminal_residual(x):
    return STATE_WEIGHTS * x


def swing_up(hessian="exact"):
    """Return the problem."""
    return nlsq.OptimalControl(
        nlsq.rk4(cart_pole, STAGE),
        stage_residual,
        terminal_residual,
        stages=STAGES,
        states=4,
        controls=1,
        control_bounds=(-LIMIT, LIMIT),
        hessian=hessian,
    )


def plant(x, u, seconds, substeps=5):
    """Simulate, in plain floats: it runs between the steps that are timed."""
    import math

    def slope(p, a, v, w, force):
        s, c = math.sin(a), math.cos(a)
        heavy = CART + POLE - POLE * c * c
        swing = POLE * LENGTH * s * w * w
        return (
            v,
            w,
            (-swing + POLE * GRAVITY * c * s + force) / heavy,
            (-swing * c + force * c + (CART + POLE) * GRAVITY * s) / (LENGTH * heavy),
        )

    h, state, force = seconds / substeps, tuple(x.tolist()), float(u[0])
    for _ in range(substeps):
        a = slope(*state, force)
        b = slope(*(one + 0.5 * h * k for one, k in zip(state, a, strict=True)), force)
        c = slope(*(one + 0.5 * h * k for one, k in zip(state, b, strict=True)), force)
        d = slope(*(one + h * k for one, k in zip(state, c, strict=True)), force)
        state = tuple(
            one + h / 6.0 * (p + 2.0 * q + 2.0 * r + s) for one, p, q, r, s in zip(state, a, b, c, d, strict=True)
        )
    return np.array(state)


def by_scipy(x0, controls):
    """Solve by single shooting with SciPy: the controls are the unknowns."""
    from scipy.optimize import least_squares

    dynamics = nlsq.rk4(cart_pole, STAGE)

    def residual(u):
        x, parts = x0, []
        for k in range(STAGES):
            parts.append(stage_residual(x, u[k : k + 1]))
            x = dynamics(x, u[k : k + 1])
        return np.concatenate([*parts, terminal_residual(x)])

    return least_squares(residual, controls, bounds=(-LIMIT, LIMIT))


class Ours:
    """Our controller as the loop below drives it."""

    def __init__(self, problem, iterations, tolerance):
        self.controller = problem.controller(iterations=iterations, tolerance=tolerance)
        self.step, self.tolerance = self.controller.step, tolerance

    def begin(self, plan):
        self.controller.prepare(plan.states[0], x_guess=plan.states, u_guess=plan.controls)

    def between(self):
        pass  # steps shift plans themselves

    def converged(self):
        return self.controller.status is nlsq.Status.OPTIMALITY


class Casadis:
    """CasADi's likewise; shifting its plan is not timed."""

    def __init__(self, iterations, tolerance):
        import casadi

        def slope(x, u):
            s, c = casadi.sin(x[1]), casadi.cos(x[1])
            heavy = CART + POLE - POLE * c * c
            swing = POLE * LENGTH * s * x[3] * x[3]
            first = (-swing + POLE * GRAVITY * c * s + u[0]) / heavy
            return [x[2], x[3], first, (-swing * c + u[0] * c + (CART + POLE) * GRAVITY * s) / (LENGTH * heavy)]

        def moved(x, k, h):
            return [one + h * slope_ for one, slope_ in zip(x, k, strict=True)]

        def dynamics(x, u):
            a = slope(x, u)
            b = slope(moved(x, a, STAGE / 2), u)
            c = slope(moved(x, b, STAGE / 2), u)
            d = slope(moved(x, c, STAGE), u)
            return [one + STAGE / 6 * (p + 2 * q + 2 * r + s) for one, p, q, r, s in zip(x, a, b, c, d, strict=True)]

        def weighed(x):
            return [weight * one for weight, one in zip(STATE_WEIGHTS.tolist(), x, strict=True)]

        self.controller = SqpController(
            dynamics,
            lambda x, u: [SHARE * one for one in [*weighed(x), CONTROL_WEIGHT * u[0]]],
            weighed,
            stages=STAGES, states=4, controls=1, limit=LIMIT, iterations=iterations, tolerance=tolerance or 0.0,
        )  # fmt: skip
        self.step = self.controller.step

    def begin(self, plan):
        self.controller.prepare(plan.states, plan.controls)

    def between(self):
        self.controller.shift()

    def converged(self):
        return self.controller.violation() <= TOLERANCE


class Scipys:
    """SciPy as the closed loop drives it."""

    def begin(self, plan):
        self.controls = plan.controls[:, 0].copy()

    def between(self):
        self.controls[:-1] = self.controls[1:].copy()

    def converged(self):
        return self.success

    def step(self, x):
        inside = np.clip(self.controls, 1e-3 - LIMIT, LIMIT - 1e-3)
        result = by_scipy(x, inside)
        self.controls, self.success = result.x, result.success
        return self.controls[:1]


def closed_loop(problem, driver, steps, seed=0):
    """Return CPU microseconds of each step, how many did not converge, and how many gave no control.

    After a step that gave none the loop goes on from the start of the next episode.
    """
    rng = np.random.default_rng(seed)
    times, unconverged, failed, is_lost = np.empty(steps), 0, 0, False
    for k in range(steps):
        if k % EPISODE == 0 or is_lost:
            x = HANGING + SPREAD * rng.standard_normal(4)
            driver.begin(problem.solve(x))
        else:
            driver.between()
        measured = x + NOISE * rng.standard_normal(4)
        began = time.thread_time_ns()
        u = driver.step(measured)
        times[k] = 1e-3 * (time.thread_time_ns() - began)
        unconverged += not driver.converged()
        is_lost = not (np.isfinite(u).all() and abs(u[0]) <= LIMIT + TOLERANCE)
        failed += is_lost
        if not is_lost:
            x = plant(x, u, STAGE) + NOISE * rng.standard_normal(4)
    return times, unconverged, failed


def long_run(problem, periods, seed=0):
    """Hold the pole for many periods of 1 ms; return CPU microseconds of each step and bytes that were allocated."""
    rng = np.random.default_rng(seed)
    controller, x = problem.controller(iterations=1, shift=False), HANGING.copy()
    controller.prepare(x)
    times, measured = np.empty(periods), np.empty(4)
    for k in range(periods):
        measured[:] = x + 1e-3 * rng.standard_normal(4)
        began = time.thread_time_ns()
        u = controller.step(measured)
        times[k] = 1e-3 * (time.thread_time_ns() - began)
        x = plant(x, u, PERIOD, substeps=1) + 1e-4 * rng.standard_normal(4)
    tracemalloc.start()
    sizes = [0, 0, 0]
    for k in range(3):  # at first what the loop itself keeps
        for _ in range(1000):
            controller.step(measured)
        sizes[k] = tracemalloc.get_traced_memory()[0]
    allocated = sizes[2] - sizes[1]
    tracemalloc.stop()
    return times, allocated, x


def step_row(problem, mode, steps, notes):
    """Return the row of one mode: percentiles of a step, ours and CasADi's in the same closed loops."""
    iterations, tolerance, limits = MODES[mode]
    times, unconverged, failed = closed_loop(problem, Ours(problem, iterations, tolerance), steps)
    lost = failed + (unconverged if tolerance else 0)
    percentiles = np.percentile(times, [50, 99])
    peer = "-"
    try:
        theirs, slack, their_failed = closed_loop(problem, Casadis(iterations, tolerance), steps)
        peer = f"CasADi qrqp, gcc -O3: {_percentiles(theirs)}"
        text = f"{their_failed} failed" + (f", {slack} with violations above {TOLERANCE:g}" if tolerance else "")
        notes.append(f"{mode}, CasADi: of {steps} steps {text}")
    except (Missing, ImportError) as error:
        notes.append(f"{mode}, CasADi is left out: {error}")
    wanted = " and ".join(
        f"p{p} <= {limit:g} us" for p, limit in zip((50, 99), limits, strict=True) if np.isfinite(limit)
    )
    measured = f"{_percentiles(times)}, max {times.max():.1f} us; {failed} failed"
    if tolerance:
        wanted, measured = f"{wanted}, all converged", f"{measured}, {unconverged} unconverged"
    return Row(
        what=f"cart-pole, N = {STAGES}, {mode}: CPU time of a step",
        peer=peer,
        required=wanted,
        measured=measured,
        met=bool(lost == 0 and np.all(percentiles <= limits)),
    )


def _percentiles(times):
    return "p50 {:.1f}, p99 {:.1f} us".format(*np.percentile(times, [50, 99]))


def long_row(problem, periods):
    """Return the row of the closed loop with noise."""
    times, allocated, x = long_run(problem, periods)
    over, settled = int(np.sum(times > 1e6 * PERIOD)), bool(np.abs(x).max() < UPRIGHT)
    return Row(
        what=f"closed loop with noise, {periods} periods of {1e3 * PERIOD:g} ms",
        peer="-",
        required="no overrun of CPU time, no allocation",
        measured=f"{over} overruns, {allocated} bytes in 1000 steps; {_percentiles(times)}, max {times.max():.0f} us; "
        f"largest state {np.abs(x).max():.1e} at the end",
        met=over == 0 and allocated == 0 and settled,
    )


def section_of(steps, periods):
    """Return the rows of the report."""
    problem, notes = swing_up(), []
    rows = [step_row(problem, mode, steps, notes) for mode in MODES]
    rows.append(long_row(problem, periods))
    return Section(title="Optimal control in real time", rows=rows, notes=notes)


def section(quick=False):
    """Return the rows of the report; a quick run is too short to settle."""
    return section_of(120, 200) if quick else section_of(3000, 10_000)


def main(arguments=None):
    """Measure, and print Markdown."""
    from .report import render

    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimal_control", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--periods", type=int, default=10_000)
    options = parser.parse_args(arguments)
    print(render(section_of(options.steps, options.periods)))


if __name__ == "__main__":
    main()
