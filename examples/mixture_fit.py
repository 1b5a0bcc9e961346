"""A mixture of known spectra: amounts that are not negative and add up to one, with error bars that are true.

    y(x) = a s_A(x - shift) + b s_B(x - shift) + c s_C(x - shift),      a + b + c = 1,   a, b, c >= 0

The sum is an equation, the signs are bounds. Errors are taken on the tangent space of the equation: amounts that have
to add up to one are known better than each by itself, and their errors add up to zero. The example measures the same
mixture many times over and compares the scatter of the results with the errors that one fit gives; and it writes c as
1 - a - b, which must give the same numbers. A substance that is not there at all may end at its bound, and counts as
held there.

Run it with ``python examples/mixture_fit.py [--repeats 200]``.
"""

import argparse

import numpy as np

import nlsq

SIGMA = 0.02
X = np.linspace(0.0, 10.0, 200)
TRUTH = {"a": 0.55, "b": 0.35, "c": 0.10, "shift": 0.12}
START = {"a": 0.3, "b": 0.3, "c": 0.4, "shift": 0.0}
POSITIVE = {"a": (0, None), "b": (0, None), "c": (0, None)}


def mixture(x, a, b, c, shift):
    """Return the spectrum of a mixture; those of the substances overlap."""
    u = x - shift
    first = np.exp(-0.5 * ((u - 3.5) / 0.8) ** 2) + 0.4 * np.exp(-0.5 * ((u - 6.0) / 0.6) ** 2)
    second = np.exp(-0.5 * ((u - 4.3) / 0.7) ** 2)
    third = 1.0 / (1.0 + ((u - 5.2) / 0.5) ** 2)
    return a * first + b * second + c * third


def without_c(x, a, b, shift):
    """Return the same spectrum with the third amount written as what is left."""
    return mixture(x, a, b, 1.0 - a - b, shift)


def adds_up(a, b, c):
    """Return what is to be zero."""
    return a + b + c - 1.0


def fit(y):
    """Fit amounts and shift."""
    return nlsq.fit(
        mixture,
        X,
        y,
        START,
        sigma=SIGMA,
        absolute_sigma=True,
        bounds=POSITIVE,
        constraints=[{"type": "eq", "fun": adds_up}],
    )


def measure(truth, rng):
    """Make up a measurement."""
    return mixture(X, *truth.values()) + SIGMA * rng.standard_normal(X.size)


def main(repeats=200):
    rng = np.random.default_rng(3)
    y = measure(TRUTH, rng)
    result = fit(y)
    print(result.summary())

    free = nlsq.fit(mixture, X, y, START, sigma=SIGMA, absolute_sigma=True)
    short = nlsq.fit(without_c, X, y, {"a": 0.3, "b": 0.3, "shift": 0.0}, sigma=SIGMA, absolute_sigma=True)
    ends = np.array([fit(measure(TRUTH, rng)).params for _ in range(repeats)])
    print(f"\nstandard errors, and the scatter of {repeats} fits of new noise")
    print(f"{'':8}{'truth':>9}{'fit':>10}{'error':>10}{'scatter':>10}{'c = 1-a-b':>11}{'no sum':>10}")
    for j, (name, value) in enumerate(TRUTH.items()):
        other = f"{short.stderr[name]:>11.5f}" if name in short.names else f"{'':>11}"
        print(
            f"{name:8}{value:>9.3f}{result.params[name]:>10.5f}{result.stderr[name]:>10.5f}"
            f"{ends[:, j].std(ddof=1):>10.5f}{other}{free.stderr[name]:>10.5f}"
        )
    ones = np.array([1.0, 1.0, 1.0, 0.0])
    print(f"variance of a + b + c: {ones @ result.covariance @ ones:.1e}")

    print("\n\nA mixture without the third substance\n")
    absent = fit(measure({"a": 0.6, "b": 0.4, "c": 0.0, "shift": 0.12}, np.random.default_rng(5)))
    print(absent.summary())
    return result, ends, absent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    main(parser.parse_args().repeats)
