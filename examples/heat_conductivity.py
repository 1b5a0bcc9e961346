"""How well does each place of a plate conduct heat? A field estimated from temperatures, with 100 000 unknowns.

A square plate is heated from below at four spots and kept at 0 on its rim. Its temperature u and conductivity a obey

    -div(a grad u) = f,

and u is measured, with noise, at some of its cells. Unknown are s = log a and u in all k x k cells, together: the
equation is not solved for each s, it is a residual like the measurements, with a weight so large that it holds in the
end. What is minimised is

    1/2 |(balance of heat in each cell) / sigma_e|^2 + 1/2 |(u - measured) / sigma|^2 + 1/2 beta |differences of s|^2.

The residual is plain NumPy on slices. It is traced: its exact Jacobian is sparse, with up to ten entries in a row, and
so is the Cholesky factor of each Levenberg-Marquardt step, whose columns are ordered once.

Run it with ``python examples/heat_conductivity.py [--size 224] [--picture picture.png]``; the picture needs matplotlib.
"""

import argparse
import time

import numpy as np

import nlsq

NOISE = 0.003  # standard deviation of a measured temperature; temperatures are around 1
EVERY = 2  # in rows and columns, a cell has a thermometer
SMOOTHNESS = 100.0  # 1 / beta is the variance of a difference of s between neighbours
BALANCE = 0.02  # standard deviation of the balance of heat, as a share of what is heated
METHOD = None  # the default


def outflow(s, u):
    """Return the heat that leaves each cell for its neighbours and the rim: finite volumes, cells of any width."""
    conducted = np.exp(s)
    east = np.exp(0.5 * (s[:, 1:] + s[:, :-1])) * (u[:, :-1] - u[:, 1:])
    south = np.exp(0.5 * (s[1:] + s[:-1])) * (u[:-1] - u[1:])
    out = np.zeros(s.shape)
    out[:, :-1] += east
    out[:, 1:] -= east
    out[:-1] += south
    out[1:] -= south
    out[:, 0] += 2.0 * conducted[:, 0] * u[:, 0]  # the rim is half a cell away
    out[:, -1] += 2.0 * conducted[:, -1] * u[:, -1]
    out[0] += 2.0 * conducted[0] * u[0]
    out[-1] += 2.0 * conducted[-1] * u[-1]
    return out


def make_residual(heat, measured):
    """Return the residual of ``x = (s, u)``, both k x k and flat."""
    k = len(heat)
    per_balance = 1.0 / (BALANCE * np.sqrt(np.mean(heat**2)))
    per_step = np.sqrt(SMOOTHNESS)

    def residual(x):
        s, u = x[: k * k].reshape(k, k), x[k * k :].reshape(k, k)
        balance = per_balance * (outflow(s, u) - heat)
        steps = [per_step * (s[:, 1:] - s[:, :-1]).ravel(), per_step * (s[1:] - s[:-1]).ravel()]
        return np.concatenate([balance.ravel(), ((u[::EVERY, ::EVERY] - measured) / NOISE).ravel(), *steps])

    return residual


def made_up_plate(k, seed=0):
    """Return heat, the true s, and what thermometers showed."""
    rng = np.random.default_rng(seed)
    middle = (np.arange(k) + 0.5) / k
    x, y = np.meshgrid(middle, middle)
    spots = ((0.25, 0.3), (0.7, 0.25), (0.35, 0.75), (0.75, 0.7))
    heat = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02) for a, b in spots) / k**2
    s = 0.8 * np.sin(3.0 * np.pi * x) * np.sin(2.0 * np.pi * y) + 0.8 * (np.hypot(x - 0.5, y - 0.5) < 0.2)
    u = temperature(s, heat)
    heat, u = heat / u.max(), u / u.max()
    measured = u[::EVERY, ::EVERY]
    return heat, s, measured + NOISE * rng.standard_normal(measured.shape)


def temperature(s, heat):
    """Solve the equation for the temperature: least squares whose residual is linear, with as many rows as unknowns."""
    k, size = len(heat), np.sqrt(np.mean(heat**2))
    balance = nlsq.LeastSquaresProblem(
        lambda u: ((outflow(s, u.reshape(k, k)) - heat) / size).ravel(), np.zeros(k * k), sparsity="auto"
    )
    return nlsq.solve(balance, method=METHOD).x.reshape(k, k)


def estimate(heat, measured):
    """Estimate s and u from a plate that conducts equally everywhere."""
    k = len(heat)
    start = np.concatenate([np.zeros(k * k), temperature(np.zeros((k, k)), heat).ravel()])
    problem = nlsq.LeastSquaresProblem(make_residual(heat, measured), start, sparsity="auto")
    result = nlsq.solve(problem, method=METHOD)
    return result.x.reshape(2, k, k), result


def draw(path, truth, found, measured):
    """Save a picture of what was measured, and of the conductivity, true and found."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    maps = {
        "Measured temperature": (measured, "inferno"),
        "True conductivity": (np.exp(truth), "viridis"),
        "Estimated conductivity": (np.exp(found), "viridis"),
    }
    figure, panels = plt.subplots(1, 3, figsize=(10.0, 3.1), layout="constrained")
    for panel, (title, (values, colours)) in zip(panels, maps.items(), strict=True):
        limits = {} if colours == "inferno" else {"vmin": np.exp(truth).min(), "vmax": np.exp(truth).max()}
        image = panel.imshow(values, cmap=colours, interpolation="nearest", **limits)
        figure.colorbar(image, ax=panel, shrink=0.85)
        panel.set_title(title)
        panel.set_axis_off()
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=224, help="cells on a side; there are twice its square unknowns")
    parser.add_argument("--picture", help="where to save a picture of the conductivity, if anywhere")
    options = parser.parse_args(arguments)

    heat, truth, measured = made_up_plate(options.size)
    start = time.perf_counter()
    (found, _), result = estimate(heat, measured)
    seconds = time.perf_counter() - start
    print(f"{result.message}\ncost {result.cost:.6g} after {result.nit} iterations")
    print(f"{result.x.size} unknowns in {seconds:.2f} s, compiling included")
    error = np.sqrt(np.mean((found - truth) ** 2))
    print(f"root mean square error of log a: {error:.3f}; of a constant {truth.std():.3f}")
    if options.picture:
        draw(options.picture, truth, found, measured)
    return result


if __name__ == "__main__":
    main()
