r"""The three problems of Hock and Schittkowski that fit data: 25, 57 and 70.

References
----------
.. [1] W. Hock and K. Schittkowski, Test Examples for Nonlinear Programming Codes, Lecture Notes in Economics and
   Mathematical Systems 187, Springer, 1981.
"""

import numpy as np

__all__ = ["hs25_residual", "hs57_residual", "hs70_residual"]

HS25_I = np.arange(1.0, 100.0)
HS25_U = 25.0 + (-50.0 * np.log(0.01 * HS25_I)) ** (2.0 / 3.0)


def hs25_residual(x):
    return np.exp(-((HS25_U - x[1]) ** x[2]) / x[0]) - 0.01 * HS25_I


HS57_A = np.repeat(np.arange(8.0, 43.0, 2.0), [2, 4, 4, 3, 3, 2, 3, 3, 3, 3, 2, 3, 2, 1, 2, 2, 1, 1])
HS57_B = 0.01 * np.array(
    [
        *(49, 49, 48, 47, 48, 47, 46, 46, 45, 43, 45, 43, 43, 44, 43, 43, 46, 45, 42, 42, 43, 41),
        *(41, 40, 42, 40, 40, 41, 40, 41, 41, 40, 40, 40, 38, 41, 40, 40, 41, 38, 40, 40, 39, 39),
    ]
)


def hs57_residual(x):
    return x[0] + (0.49 - x[0]) * np.exp(-x[1] * (HS57_A - 8.0)) - HS57_B


HS70_C = np.array([0.1, *range(1, 19)]) / 7.658
HS70_Y = np.array(
    [
        *(0.00189, 0.1038, 0.268, 0.506, 0.577, 0.604, 0.725, 0.898, 0.947, 0.845),
        *(0.702, 0.528, 0.385, 0.257, 0.159, 0.0869, 0.0453, 0.01509, 0.00189),
    ]
)


def hs70_peak(shape, scale):
    """Return one of the two gamma distributions, with Stirling's series for the gamma function."""
    stirling = np.sqrt(shape / 6.2832) / (1.0 + 1.0 / (12.0 * shape))
    return HS70_C ** (shape - 1.0) * stirling * scale**shape * np.exp(shape - scale * shape * HS70_C)


def hs70_residual(x):
    mean = x[2] + (1.0 - x[2]) * x[3]
    return x[2] * hs70_peak(x[1], mean) + (1.0 - x[2]) * hs70_peak(x[0], mean / x[3]) - HS70_Y
