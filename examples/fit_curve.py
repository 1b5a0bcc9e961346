"""Fit a peak on a sloping background: named parameters, no start values, bounds, and what the data cannot tell.

Run it with ``python examples/fit_curve.py``.
"""

import numpy as np

import nlsq


def peak(x, height, center, width, offset, slope):
    return height * np.exp(-0.5 * ((x - center) / width) ** 2) + offset + slope * x


def two_gains(x, gain, sensitivity, rate):
    return gain * sensitivity * np.exp(-rate * x)


def main():
    rng = np.random.default_rng(7)
    x = np.linspace(0.0, 10.0, 200)
    y = peak(x, 3.0, 4.2, 0.6, 1.0, 0.1) + 0.1 * rng.standard_normal(x.size)

    print("A peak, with start values from the data\n")
    result = nlsq.fit(peak, x, y, sigma=0.1, absolute_sigma=True, bounds={"height": (0, None), "width": (0, None)})
    print(result.summary())
    low, high = result.confidence_intervals(0.95)["center"]
    print(f"\ncenter between {low:.4f} and {high:.4f} (95 %)")
    values, lower, upper = result.predict([4.0, 5.0], level=0.95)
    print(f"curve at 4 and 5: {values.round(3)}, within {lower.round(3)} and {upper.round(3)}")

    print("\n\nTwo factors of which the data show only the product\n")
    result = nlsq.fit(two_gains, x, two_gains(x, 2.0, 1.5, 0.7), {"gain": 1.0, "sensitivity": 1.0, "rate": 1.0})
    print(result.summary())


if __name__ == "__main__":
    main()
