r"""The 27 models of the NIST StRD nonlinear regression suite.

Each function is ``model(x, b1, ..., bn)`` and follows the formula in the header of the data file of the same
name; data sets that share a formula (Chwirut1-2, Gauss1-3, Lanczos1-3, BoxBOD and Misra1a, Hahn1 and Thurber)
share the function. Nelson has two predictors, the rows of `x`, and describes log(y).

References
----------
.. [1] National Institute of Standards and Technology, Statistical Reference Datasets: Nonlinear Regression.
   doi:10.18434/T43G6C
"""

import numpy as np

__all__ = ["MODELS"]


def bennett5(x, b1, b2, b3):
    """Return b1 (b2 + x)^(-1/b3)."""
    return b1 * (b2 + x) ** (-1.0 / b3)


def saturation(x, b1, b2):
    """Return b1 (1 - exp(-b2 x)): BoxBOD and Misra1a."""
    return b1 * (1.0 - np.exp(-b2 * x))


def chwirut(x, b1, b2, b3):
    """Return exp(-b1 x) / (b2 + b3 x)."""
    return np.exp(-b1 * x) / (b2 + b3 * x)


def danwood(x, b1, b2):
    """Return b1 x^b2."""
    return b1 * x**b2


def eckerle4(x, b1, b2, b3):
    """Return (b1/b2) exp(-((x - b3)/b2)^2 / 2)."""
    return b1 / b2 * np.exp(-0.5 * ((x - b3) / b2) ** 2)


def enso(x, b1, b2, b3, b4, b5, b6, b7, b8, b9):
    """Return the sum of a constant and three cycles, of period 12, b4 and b7."""
    annual = 2.0 * np.pi * x / 12.0
    second = 2.0 * np.pi * x / b4
    third = 2.0 * np.pi * x / b7
    return (
        b1
        + (b2 * np.cos(annual) + b3 * np.sin(annual))
        + (b5 * np.cos(second) + b6 * np.sin(second))
        + (b8 * np.cos(third) + b9 * np.sin(third))
    )


def gauss(x, b1, b2, b3, b4, b5, b6, b7, b8):
    """Return b1 exp(-b2 x) + b3 exp(-((x - b4)/b5)^2) + b6 exp(-((x - b7)/b8)^2)."""
    baseline = b1 * np.exp(-b2 * x)
    return baseline + b3 * np.exp(-((x - b4) ** 2) / b5**2) + b6 * np.exp(-((x - b7) ** 2) / b8**2)


def cubic_ratio(x, b1, b2, b3, b4, b5, b6, b7):
    """Return (b1 + b2 x + b3 x^2 + b4 x^3) / (1 + b5 x + b6 x^2 + b7 x^3): Hahn1 and Thurber."""
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1.0 + b5 * x + b6 * x**2 + b7 * x**3)


def kirby2(x, b1, b2, b3, b4, b5):
    """Return (b1 + b2 x + b3 x^2) / (1 + b4 x + b5 x^2)."""
    return (b1 + b2 * x + b3 * x**2) / (1.0 + b4 * x + b5 * x**2)


def lanczos(x, b1, b2, b3, b4, b5, b6):
    """Return b1 exp(-b2 x) + b3 exp(-b4 x) + b5 exp(-b6 x)."""
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


def mgh09(x, b1, b2, b3, b4):
    """Return b1 (x^2 + b2 x) / (x^2 + b3 x + b4)."""
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


def mgh10(x, b1, b2, b3):
    """Return b1 exp(b2 / (x + b3))."""
    return b1 * np.exp(b2 / (x + b3))


def mgh17(x, b1, b2, b3, b4, b5):
    """Return b1 + b2 exp(-b4 x) + b3 exp(-b5 x)."""
    return b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5)


def misra1b(x, b1, b2):
    """Return b1 (1 - (1 + b2 x / 2)^-2)."""
    return b1 * (1.0 - (1.0 + b2 * x / 2.0) ** (-2))


def misra1c(x, b1, b2):
    """Return b1 (1 - (1 + 2 b2 x)^(-1/2))."""
    return b1 * (1.0 - (1.0 + 2.0 * b2 * x) ** (-0.5))


def misra1d(x, b1, b2):
    """Return b1 b2 x / (1 + b2 x)."""
    return b1 * b2 * x * (1.0 + b2 * x) ** (-1)


def nelson(x, b1, b2, b3):
    """Return b1 - b2 x1 exp(-b3 x2), with x of shape (2, m)."""
    return b1 - b2 * x[0] * np.exp(-b3 * x[1])


def rat42(x, b1, b2, b3):
    """Return b1 / (1 + exp(b2 - b3 x))."""
    return b1 / (1.0 + np.exp(b2 - b3 * x))


def rat43(x, b1, b2, b3, b4):
    """Return b1 / (1 + exp(b2 - b3 x))^(1/b4)."""
    return b1 / (1.0 + np.exp(b2 - b3 * x)) ** (1.0 / b4)


def roszman1(x, b1, b2, b3, b4):
    """Return b1 - b2 x - arctan(b3 / (x - b4)) / pi."""
    return b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi


MODELS = {
    "Bennett5": bennett5,
    "BoxBOD": saturation,
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": danwood,
    "ENSO": enso,
    "Eckerle4": eckerle4,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Hahn1": cubic_ratio,
    "Kirby2": kirby2,
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Lanczos3": lanczos,
    "MGH09": mgh09,
    "MGH10": mgh10,
    "MGH17": mgh17,
    "Misra1a": saturation,
    "Misra1b": misra1b,
    "Misra1c": misra1c,
    "Misra1d": misra1d,
    "Nelson": nelson,
    "Rat42": rat42,
    "Rat43": rat43,
    "Roszman1": roszman1,
    "Thurber": cubic_ratio,
}
