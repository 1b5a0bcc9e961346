"""Map the relaxation time T2 over a slice of magnetic-resonance images: 512 x 512 decays of 64 echoes, fitted whole.

The stack is made up, but in all that matters here it is as scanners write it: magnitudes with Rician noise, tissues,
ventricles, vessels and a lesion, air around the head, a corner that a broken coil element never saw, pixels that are
dead, and pulses that spoiled single echoes. Each pixel is fitted with

    y(t)^2 = (amplitude exp(-t / T2))^2 + noise,

since a magnitude never falls below its noise, from a start of its own. Air is left out by a mask, what is missing is
NaN, and each pixel says in its status how its fit ended.

Run it with ``python examples/decay_map.py [map.png] [--size 512] [--export maps.npz]``; the picture needs matplotlib.
"""

import argparse
import time

import numpy as np

import nlsq

ECHO_TIMES = 8.0 * np.arange(1.0, 65.0)  # ms
NOISE = 12.0  # of each of the two channels, in units of the image
TISSUES = {  # amplitude, T2 in ms
    "skin": (700.0, 45.0),
    "white matter": (800.0, 70.0),
    "grey matter": (950.0, 95.0),
    "ventricles": (1100.0, 250.0),
    "lesion": (980.0, 150.0),
    "vessels": (500.0, 30.0),
}


def magnitude(t, amplitude, T2, noise):
    return np.sqrt((amplitude * np.exp(-t / T2)) ** 2 + noise)


# The images


def smooth_field(rng, size, scale):
    """Return noise of zero mean and unit variance, smooth over `scale` of the width of the image."""
    frequencies = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.rfftfreq(size))
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.exp(-((np.pi * scale * size * frequencies) ** 2))
    field = np.fft.irfft2(spectrum, (size, size))
    return (field - field.mean()) / field.std()


def tissue_maps(rng, size):
    """Return the true amplitude and T2 of each pixel; both are 0 in the air."""
    row, column = np.mgrid[-1.0 : 1.0 : 1j * size, -1.0 : 1.0 : 1j * size]
    radius = np.hypot(row / 0.9, column / 0.75)
    folds = smooth_field(rng, size, 0.03)
    regions = {
        "skin": radius < 0.98,
        "grey matter": radius < 0.88,
        "white matter": radius + 0.07 * folds < 0.72,
        "ventricles": (np.hypot((row + 0.05) / 0.30, (np.abs(column) - 0.14) / 0.08) + 0.1 * folds < 1.0),
        "lesion": np.hypot((row - 0.25) / 0.13, (column - 0.33) / 0.1) + 0.15 * folds < 1.0,
        "vessels": (np.abs(smooth_field(rng, size, 0.12)) < 0.03) & (radius < 0.85),
    }
    amplitude, T2 = np.zeros((2, size, size))
    for name, inside in regions.items():
        amplitude[inside], T2[inside] = TISSUES[name]
    shading = 1.0 + 0.12 * smooth_field(rng, size, 0.3)  # coils see near tissue better
    texture = 1.0 + 0.04 * smooth_field(rng, size, 0.015)
    return amplitude * np.clip(shading, 0.6, 1.4), T2 * np.clip(texture, 0.8, 1.2)


def image_stack(size, seed=1):
    """Return a stack of shape (size, size, 64) and the true T2; what was not measured is NaN."""
    rng = np.random.default_rng(seed)
    amplitude, T2 = tissue_maps(rng, size)
    with np.errstate(divide="ignore"):
        rate = np.where(T2 > 0.0, 1.0 / T2, 0.0)[..., np.newaxis]
    stack = amplitude[..., np.newaxis] * np.exp(-ECHO_TIMES * rate)
    stack += NOISE * rng.standard_normal(stack.shape)
    stack = np.hypot(stack, NOISE * rng.standard_normal(stack.shape))
    stack[: size // 4, : size // 4][np.tri(size // 4, dtype=bool)[::-1]] = np.nan  # a corner without a coil
    stack[rng.random((size, size)) < 1e-3] = np.nan  # dead pixels
    stack[rng.random(stack.shape) < 2e-3] = np.nan  # spoiled echoes
    return stack, T2


# The fit


def starts(stack):
    """Return starting values of each pixel: the noise from the last echoes, T2 from the area under all of them."""
    known = np.isfinite(stack)
    signal = np.where(known, stack, 0.0)
    late = signal[..., -16:].sum(axis=-1) / np.maximum(known[..., -16:].sum(axis=-1), 1)
    first = np.maximum(signal[..., :2].max(axis=-1) - late, 1.0)
    area = np.where(known, signal - late[..., np.newaxis], 0.0).sum(axis=-1) * (ECHO_TIMES[1] - ECHO_TIMES[0])
    T2 = np.clip(area / first, 10.0, 400.0)
    return {"amplitude": first * np.exp(ECHO_TIMES[0] / T2), "T2": T2, "noise": np.minimum(late, 3.0 * NOISE) ** 2}


def fit_maps(stack, threads=None):
    """Fit all pixels but those in the air, which has no signal above twice the noise."""
    sigma = np.nanmedian(stack[-max(2, len(stack) // 32) :]) / np.sqrt(2.0 * np.log(2.0))  # the lowest rows are air
    with np.errstate(invalid="ignore"):
        air = ~(np.nanmax(stack[..., :3], axis=-1, initial=0.0) > 6.0 * sigma)
    result = nlsq.fit_batch(
        magnitude,
        ECHO_TIMES,
        stack,
        starts(stack),
        sigma=sigma,
        absolute_sigma=True,
        mask=np.broadcast_to(air[..., np.newaxis], stack.shape),
        bounds={"amplitude": (0.0, None), "T2": (2.0, 2000.0), "noise": (0.0, None)},
        threads=threads,
    )
    return result, sigma


# The report


def draw(path, stack, result):
    """Save a picture of the first echo, T2, its standard error, and the statuses."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import BoundaryNorm, ListedColormap

    fitted = result.converged
    figure, panels = plt.subplots(2, 2, figsize=(8.6, 7.6), layout="constrained")
    maps = {
        "First echo": (stack[..., 0], "gray", (0.0, 1200.0)),
        "T2 (ms)": (np.where(fitted, result["T2"], np.nan), "viridis", (20.0, 280.0)),
        "Standard error of T2 (ms)": (np.where(fitted, result.stderr["T2"], np.nan), "magma", (0.0, 6.0)),
    }
    for panel, (title, (values, colours, (low, high))) in zip(panels.flat, maps.items(), strict=False):
        image = panel.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        figure.colorbar(image, ax=panel, shrink=0.85)
        panel.set_title(title)
    seen = np.unique(result.status)
    colours = ListedColormap(plt.get_cmap("tab10").colors[: len(seen)])
    norm = BoundaryNorm(np.arange(len(seen) + 1) - 0.5, len(seen))
    image = panels[1, 1].imshow(np.searchsorted(seen, result.status), cmap=colours, norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, ax=panels[1, 1], shrink=0.85, ticks=range(len(seen)))
    bar.ax.set_yticklabels([nlsq.Status(status).name.lower().replace("_", "\n") for status in seen], fontsize=7)
    panels[1, 1].set_title("Status")
    for panel in panels.flat:
        panel.set_axis_off()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", nargs="?", help="where to save the picture, if anywhere")
    parser.add_argument("--size", type=int, default=512, help="pixels on a side")
    parser.add_argument("--threads", type=int, help="all processors by default")
    parser.add_argument("--export", help="where to save the maps, as .npz")
    options = parser.parse_args(arguments)

    stack, truth = image_stack(options.size)
    start = time.perf_counter()
    result, sigma = fit_maps(stack, options.threads)
    seconds = time.perf_counter() - start
    print(result.summary())
    print(f"\n{result.size} pixels in {seconds:.2f} s, starts, mask and compiling included; noise {sigma:.1f}")

    good = result.converged
    distance = (result["T2"] - truth)[good] / result.stderr["T2"][good]
    print(f"T2 is within two standard errors of the truth in {100 * np.mean(np.abs(distance) < 2.0):.1f} % of the fits")
    if options.picture:
        draw(options.picture, stack, result)
    if options.export:
        np.savez_compressed(options.export, **result.to_numpy())


if __name__ == "__main__":
    main()
