"""Fit NIST's Thurber data: electron mobility in a semiconductor against the logarithm of the carrier density.

The model is a ratio of two cubics with seven parameters,

    y = (b1 + b2 x + b3 x^2 + b4 x^3) / (1 + b5 x + b6 x^2 + b7 x^3),

graded "higher difficulty" in NIST's Statistical Reference Datasets (https://doi.org/10.18434/T43G6C), which certify
the answer to 11 digits. The fit below is made from both published starts, the far one and the near one, with a plain
Python function and no options.

Run it with ``python examples/nist_thurber.py``.
"""

from pathlib import Path

import numpy as np

import nlsq

DATA_FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "problems" / "nist_data" / "Thurber.dat"


def thurber(x, b1, b2, b3, b4, b5, b6, b7):
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


def read_thurber():
    lines = DATA_FILE.read_text().splitlines()
    # lines 41-47:  b1 =   start1   start2   certified value   certified standard deviation
    start1, start2, certified, certified_stderr = np.array([line.split()[2:] for line in lines[40:47]], dtype=float).T
    y, x = np.loadtxt(lines[60:97], unpack=True)
    return x, y, (start1, start2), certified, certified_stderr


def agreeing_digits(value, certified):
    """Count the significant digits in which two numbers agree; NIST certifies no more than 11."""
    relative_error = abs(value - certified) / abs(certified)
    return 11.0 if relative_error < 1e-11 else -np.log10(relative_error)


def main():
    x, y, starts, certified, certified_stderr = read_thurber()
    for number, start in enumerate(starts, 1):
        popt, pcov = nlsq.curve_fit(thurber, x, y, p0=start)
        stderr = np.sqrt(np.diag(pcov))

        print(f"Thurber from start {number}: sum of squares {np.sum((thurber(x, *popt) - y) ** 2):.10e}")
        print(f"  {'start':>8} {'fitted':>17} {'certified':>17} digits  {'std. error':>13} {'certified':>13} digits")
        for name, b0, b, c, s, d in zip(
            (f"b{j}" for j in range(1, 8)), start, popt, certified, stderr, certified_stderr, strict=True
        ):
            print(
                f"  {name} {b0:5g} {b:17.10e} {c:17.10e} {agreeing_digits(b, c):6.1f}"
                f"  {s:13.6e} {d:13.6e} {agreeing_digits(s, d):6.1f}"
            )
        print()


if __name__ == "__main__":
    main()
