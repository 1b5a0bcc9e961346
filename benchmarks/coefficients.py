"""Fit the coefficients of the elementary functions in ``nlsq/kernels``: ``python -m benchmarks.coefficients``.

Polynomials interpolate at Chebyshev nodes, rational functions too (with the denominator's first coefficient 1), in 60
digits, and are then rounded to doubles. Each fit is printed with its largest absolute error in the interval, as a power
of two; where a polynomial is a correction to something larger, that error counts times the correction's share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath

DIGITS = 60
EDGE = mpmath.mpf("1.001")  # intervals reach a little further than the reductions do
NEAR_ZERO = mpmath.mpf(10) ** -20  # removable singularities are left out

Function = Callable[[Any], Any]


def nodes(low: Any, high: Any, n: int) -> list[Any]:
    """Give the Chebyshev nodes of an interval."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle + half * mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * n)) for i in range(n)]


def polynomial(function: Function, low: Any, high: Any, n: int) -> list[Any]:
    """Interpolate with `n` coefficients."""
    points = nodes(mpmath.mpf(low), mpmath.mpf(high), n)
    matrix = mpmath.matrix([[x**j for j in range(n)] for x in points])
    return list(mpmath.lu_solve(matrix, mpmath.matrix([function(x) for x in points])))


def rational(function: Function, low: Any, high: Any, above: int, below: int) -> tuple[tuple[float, ...], ...]:
    """Interpolate with a numerator of `above` and a denominator of `below` coefficients."""
    points = nodes(mpmath.mpf(low), mpmath.mpf(high), above + below - 1)
    values = [function(x) for x in points]
    rows = [
        [x**j for j in range(above)] + [-v * x**j for j in range(1, below)] for x, v in zip(points, values, strict=True)
    ]
    c = [float(v) for v in mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(values))]
    return tuple(c[:above]), (1.0, *c[above:])


def value(coefficients: tuple[float, ...], x: Any) -> Any:
    """Evaluate a polynomial exactly."""
    return sum(mpmath.mpf(c) * x**j for j, c in enumerate(coefficients))


def error(approximation: Function, function: Function, low: Any, high: Any) -> float:
    """Give log2 of the largest absolute error on 300 points."""
    low, high = mpmath.mpf(low), mpmath.mpf(high)
    grid = [low + (high - low) * (i + mpmath.mpf(1) / 2) / 300 for i in range(300)]
    return float(mpmath.log(max(abs(approximation(x) - function(x)) for x in grid), 2))


def of_square(function: Function) -> Function:
    """Turn a function of x into one of z = x^2."""
    return lambda z: function(mpmath.sqrt(z))


def bounded_erfc(u: Any) -> Any:
    """Give erfc(x) exp(x^2) (x + 4) / 4 for u = (x - 4) / (x + 4)."""
    x = 4 * (1 + u) / (1 - u)
    return mpmath.erfc(x) * mpmath.exp(x * x) * (x + 4) / 4


def first_of_erfc() -> tuple[Any, Any]:
    """Give the first two Taylor coefficients of `bounded_erfc` at u = 0, where x = 4 and dx/du = 8."""
    value, four = bounded_erfc(mpmath.mpf(0)), mpmath.mpf(4)
    slope = 8 * (2 * four * value - 4 / mpmath.sqrt(mpmath.pi)) + value
    return value, slope


def two_doubles(x: Any) -> tuple[float, float]:
    """Split a number into two doubles."""
    high = float(x)
    return high, float(x - high)


def scaled_erfc(u: Any) -> Any:
    """Give erfc(x) exp(x^2) for u = (x - 2) / (x + 2)."""
    x = 2 * (1 + u) / (1 - u)
    return mpmath.erfc(x) * mpmath.exp(x * x)


def fits() -> dict[str, tuple[Function, Any, Any, int]]:
    """List the polynomials: name, function, interval, number of coefficients."""
    log2, pi = mpmath.log(2), mpmath.pi
    half_log = log2 / 2 * EDGE
    log_reach = (EDGE / 5) ** 2  # m = 3/2
    quarter_pi = (pi / 4 * EDGE) ** 2
    log_term = of_square(lambda s: (2 * mpmath.atanh(s) / s - 2) / s**2)

    first, second = first_of_erfc()

    def rest_of_erfc(u: Any) -> Any:
        return (bounded_erfc(u) - first - second * u) / u**2

    def at_four(x: float) -> Any:
        return (mpmath.mpf(x) - 4) / (mpmath.mpf(x) + 4)

    def at(x: float) -> Any:
        return (mpmath.mpf(x) - 2) / (mpmath.mpf(x) + 2)

    return {
        "EXP": (lambda r: (mpmath.exp(r) - 1 - r) / r**2, -half_log, half_log, 12),
        "EXP_SHORT": (lambda r: (mpmath.exp(r) - 1 - r) / r**2, -half_log, half_log, 10),
        "LOG": (log_term, NEAR_ZERO, log_reach, 8),
        "LOG_TAIL": (lambda z: (log_term(z) - mpmath.mpf(2) / 3) / z, NEAR_ZERO, log_reach, 8),
        "SIN": (of_square(lambda x: (mpmath.sin(x) / x - 1) / x**2), NEAR_ZERO, quarter_pi, 7),
        "COS": (
            of_square(lambda x: ((mpmath.cos(x) - 1) / x**2 + mpmath.mpf(1) / 2) / x**2),
            NEAR_ZERO,
            quarter_pi,
            6,
        ),
        "ATAN": (of_square(lambda x: (mpmath.atan(x) / x - 1) / x**2), NEAR_ZERO, mpmath.mpf("0.425") ** 2, 11),
        "ASIN": (of_square(lambda x: (mpmath.asin(x) / x - 1) / x**2), NEAR_ZERO, mpmath.mpf("0.2502"), 13),
        "SINH": (of_square(lambda x: (mpmath.sinh(x) / x - 1) / x**2), NEAR_ZERO, 1, 7),
        "ERF": (of_square(lambda x: mpmath.erf(x) / x - 1), NEAR_ZERO, 1, 13),
        "ERF_TAIL": (lambda u: -scaled_erfc(u), at(1), at(3), 13),
        "ERFC": (rest_of_erfc, at_four(0.4999), (mpmath.mpf(28) - 4) / (28 + 4), 22),
        "CBRT": (mpmath.cbrt, 1, 2, 6),
    }


def tanh_over_x(z: Any) -> Any:
    """Give (tanh(x) / x - 1) / x^2 for z = x^2."""
    x = mpmath.sqrt(z)
    return (mpmath.tanh(x) / x - 1) / z


def fit_all() -> dict[str, tuple[float, ...]]:
    """Return all coefficients by the names they have in the sources."""
    with mpmath.workdps(DIGITS):
        exact = {name: polynomial(*fit) for name, fit in fits().items()}
        found = {name: tuple(map(float, c)) for name, c in exact.items()}
        found["ERFC_THIRD"], found["ERFC"] = two_doubles(exact["ERFC"][0]), found["ERFC"][1:]
        found["ERFC_FIRST"], found["ERFC_SECOND"] = map(two_doubles, first_of_erfc())
        found["TANH_ABOVE"], found["TANH_BELOW"] = rational(tanh_over_x, NEAR_ZERO, mpmath.mpf("0.63") ** 2, 4, 4)
    return found


def main() -> None:
    """Print coefficients and errors."""
    found = fit_all()
    with mpmath.workdps(DIGITS):
        for name, (function, low, high, _) in fits().items():
            c: tuple[Any, ...] = found[name]
            if name == "ERFC":
                c = (sum(map(mpmath.mpf, found["ERFC_THIRD"])), *c)
            size = error(lambda x, c=c: value(c, x), function, low, high)
            print(f"# largest error 2^{size:.1f}\n{name} = {found[name]}")
        for name in ("ERFC_FIRST", "ERFC_SECOND", "ERFC_THIRD"):
            print(f"{name} = {found[name]}")
        above, below = found["TANH_ABOVE"], found["TANH_BELOW"]
        size = error(lambda x: value(above, x) / value(below, x), tanh_over_x, NEAR_ZERO, mpmath.mpf("0.63") ** 2)
        print(f"# largest error 2^{size:.1f}\nTANH_ABOVE = {above}\nTANH_BELOW = {below}")


if __name__ == "__main__":
    main()
