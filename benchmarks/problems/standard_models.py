r"""The curves that every fitting program offers, written plainly from their formulas.

The list is that of lmfit's built-in models: peaks, steps, polynomials, oscillators and the like, with
A = `amplitude`, mu = `center`, sigma = `sigma`. A peak's amplitude is its area, except where a docstring says
otherwise. Splines are left out: their basis is built by a recursion over knots, outside the model. Each entry
of `STANDARD_MODELS` is (name, function, x, p), with ``function(x, *p)`` the curve at a typical point p.

References
----------
.. [1] M. Newville et al., LMFIT: Non-Linear Least-Squares Minimization and Curve-Fitting for Python,
   doi:10.5281/zenodo.11813, documentation, "Built-in Fitting Models". (The list and most formulas.)
.. [2] F. W. J. Olver et al., NIST Handbook of Mathematical Functions, 2010, section 7.19. (Voigt functions.)
.. [3] J. Heinrich, "A guide to the Pearson type IV distribution", CDF memo 6820, 2004.
.. [4] M. M. Hall et al., "The approximation of symmetric X-ray peaks by Pearson type VII distributions",
   J. Appl. Cryst. 10, 66-68, 1977.
.. [5] S. Doniach and M. Sunjic, "Many-electron singularity in X-ray photoemission and X-ray line spectra from
   metals", J. Phys. C 3, 285-291, 1970.
.. [6] A. F. J. Moffat, "A theoretical investigation of focal stellar images in the photographic emulsion",
   Astron. Astrophys. 3, 455-461, 1969.
"""

import numpy as np
from scipy.special import beta, erf, erfc, gamma, gammaln, loggamma, wofz

__all__ = ["STANDARD_MODELS", "gaussian", "lorentzian"]

SQRT_2 = np.sqrt(2.0)
SQRT_2PI = np.sqrt(2.0 * np.pi)

# Polynomials


def constant(x, c):
    return c * np.ones_like(x)


def complex_constant(x, re, im):
    """Return the constant re + i im, its real parts first and its imaginary parts after them."""
    return np.concatenate([re * np.ones_like(x), im * np.ones_like(x)])


def linear(x, slope, intercept):
    return slope * x + intercept


def quadratic(x, a, b, c):
    return a * x**2 + b * x + c


def polynomial(x, *c):
    """Return sum_k c_k x^k, by Horner's rule."""
    value = c[-1] * np.ones_like(x)
    for coefficient in c[-2::-1]:
        value = value * x + coefficient
    return value


# Peaks


def gaussian(x, amplitude, center, sigma):
    return amplitude / (sigma * SQRT_2PI) * np.exp(-((x - center) ** 2) / (2.0 * sigma**2))


def gaussian_2d(x, amplitude, center_x, center_y, sigma_x, sigma_y):
    """Return a product of two Gaussians over the coordinates x = (x, y); the amplitude is its volume."""
    across, along = x
    return amplitude * gaussian(across, 1.0, center_x, sigma_x) * gaussian(along, 1.0, center_y, sigma_y)


def lorentzian(x, amplitude, center, sigma):
    return amplitude / np.pi * sigma / ((x - center) ** 2 + sigma**2)


def split_lorentzian(x, amplitude, center, sigma, sigma_r):
    """Return a Lorentzian of half-width sigma left of its center and sigma_r right of it."""
    squared = (x - center) ** 2
    left = sigma**2 / (squared + sigma**2) * np.heaviside(center - x, 0.0)
    right = sigma_r**2 / (squared + sigma_r**2) * np.heaviside(x - center, 1.0)
    return 2.0 * amplitude / (np.pi * (sigma + sigma_r)) * (left + right)


def voigt(x, amplitude, center, sigma, gamma):
    """Return A Re w(z) / (sigma sqrt(2 pi)), z = (x - mu + i gamma) / (sigma sqrt 2), w the Faddeeva function."""
    z = (x - center + 1j * gamma) / (sigma * SQRT_2)
    return amplitude * wofz(z).real / (sigma * SQRT_2PI)


def pseudo_voigt(x, amplitude, center, sigma, fraction):
    """Return a Gaussian and a Lorentzian of equal full widths 2 sigma, mixed."""
    width = sigma / np.sqrt(2.0 * np.log(2.0))
    return (1.0 - fraction) * gaussian(x, amplitude, center, width) + fraction * lorentzian(x, amplitude, center, sigma)


def moffat(x, amplitude, center, sigma, beta):
    """Return A (((x - mu)/sigma)^2 + 1)^-beta; A is the height."""
    return amplitude * (((x - center) / sigma) ** 2 + 1.0) ** (-beta)


def pearson4(x, amplitude, center, sigma, exponent, skew):
    """Return Pearson's type IV: |Gamma(m + i nu/2) / Gamma(m)|^2 (1 + t^2)^-m exp(-nu arctan t) / (sigma B)."""
    t = (x - center) / sigma
    log_ratio = 2.0 * (np.real(loggamma(exponent + 0.5j * skew)) - gammaln(exponent))
    scale = amplitude / (sigma * beta(exponent - 0.5, 0.5))
    return scale * np.exp(log_ratio - exponent * np.log1p(t * t) - skew * np.arctan(t))


def pearson7(x, amplitude, center, sigma, exponent):
    t = (x - center) / sigma
    return amplitude / (sigma * beta(exponent - 0.5, 0.5)) * (1.0 + t**2) ** (-exponent)


def students_t(x, amplitude, center, sigma):
    """Return Student's density; sigma is the number of degrees of freedom."""
    ratio = gamma((sigma + 1.0) / 2.0) / (np.sqrt(sigma * np.pi) * gamma(sigma / 2.0))
    return amplitude * ratio * (1.0 + (x - center) ** 2 / sigma) ** (-(sigma + 1.0) / 2.0)


def breit_wigner(x, amplitude, center, sigma, q):
    """Return the Breit-Wigner-Fano line, which tends to A far from its center."""
    half = sigma / 2.0
    return amplitude * (q * half + x - center) ** 2 / (half**2 + (x - center) ** 2)


def lognormal(x, amplitude, center, sigma):
    return amplitude / (sigma * SQRT_2PI) * np.exp(-((np.log(x) - center) ** 2) / (2.0 * sigma**2)) / x


def damped_oscillator(x, amplitude, center, sigma):
    """Return the amplitude response A / sqrt((1 - (x/mu)^2)^2 + (2 sigma x/mu)^2)."""
    ratio = x / center
    return amplitude / np.sqrt((1.0 - ratio**2) ** 2 + (2.0 * sigma * ratio) ** 2)


def damped_harmonic_oscillator(x, amplitude, center, sigma, gamma):
    """Return the spectrum of a damped mode with the detailed-balance factor 1 / (1 - exp(-x/gamma))."""
    balance = amplitude * sigma / (np.pi * (1.0 - np.exp(-x / gamma)))
    return balance * (1.0 / ((x - center) ** 2 + sigma**2) - 1.0 / ((x + center) ** 2 + sigma**2))


def exponential_gaussian(x, amplitude, center, sigma, gamma):
    """Return a Gaussian convolved with the decay gamma exp(-gamma t)."""
    shift = gamma * sigma**2
    decay = np.exp(gamma * (center - x + shift / 2.0))
    return amplitude * gamma / 2.0 * decay * erfc((center + shift - x) / (SQRT_2 * sigma))


def skewed_gaussian(x, amplitude, center, sigma, gamma):
    return gaussian(x, amplitude, center, sigma) * (1.0 + erf(gamma * (x - center) / (sigma * SQRT_2)))


def skewed_voigt(x, amplitude, center, sigma, gamma, skew):
    return voigt(x, amplitude, center, sigma, gamma) * (1.0 + erf(skew * (x - center) / (sigma * SQRT_2)))


def thermal(x, amplitude, center, kt, form="bose"):
    """Return 1 / (A exp((x - mu)/kT) + s), s = -1 for bosons, 0 after Maxwell, 1 for fermions."""
    sign = {"bose": -1.0, "maxwell": 0.0, "fermi": 1.0}[form]
    return 1.0 / (amplitude * np.exp((x - center) / kt) + sign)


def thermal_maxwell(x, amplitude, center, kt):
    return thermal(x, amplitude, center, kt, form="maxwell")


def thermal_fermi(x, amplitude, center, kt):
    return thermal(x, amplitude, center, kt, form="fermi")


def doniach(x, amplitude, center, sigma, gamma):
    """Return the Doniach-Sunjic line of a metal; it has no finite area."""
    t = (x - center) / sigma
    rest = 1.0 - gamma
    return amplitude / sigma**rest * np.cos(np.pi * gamma / 2.0 + rest * np.arctan(t)) / (1.0 + t**2) ** (rest / 2.0)


# Decays, waves, steps


def power_law(x, amplitude, exponent):
    return amplitude * x**exponent


def exponential(x, amplitude, decay):
    return amplitude * np.exp(-x / decay)


def sine(x, amplitude, frequency, shift):
    return amplitude * np.sin(x * frequency + shift)


def step_linear(x, amplitude, center, sigma):
    return amplitude * np.clip((x - center) / sigma + 0.5, 0.0, 1.0)


def step_arctan(x, amplitude, center, sigma):
    return amplitude * (0.5 + np.arctan((x - center) / sigma) / np.pi)


def step_erf(x, amplitude, center, sigma):
    return amplitude * 0.5 * (1.0 + erf((x - center) / sigma))


def step_logistic(x, amplitude, center, sigma):
    return amplitude * (1.0 - 1.0 / (1.0 + np.exp((x - center) / sigma)))


def rectangle(step):
    """Return the model that steps up at center1 and down at center2, each with the given step."""

    def model(x, amplitude, center1, sigma1, center2, sigma2):
        return amplitude * (step(x, 1.0, center1, sigma1) - step(x, 1.0, center2, sigma2))

    return model


def expression(source, parameters):
    """Return the model whose formula is the string `source` in x, numpy's functions and the named parameters.

    The lambda is the user's own code object with numpy's functions as globals: the form that programs with a
    formula field make.
    """
    names = {
        "exp": np.exp,
        "log": np.log,
        "sin": np.sin,
        "cos": np.cos,
        "sqrt": np.sqrt,
        "arctan": np.arctan,
        "pi": np.pi,
    }
    return eval(f"lambda x, {parameters}: {source}", names)


AXIS = np.linspace(-4.0, 6.0, 101)
POSITIVE = np.linspace(0.1, 8.0, 80)
GRID = tuple(axis.ravel() for axis in np.meshgrid(np.linspace(-3.0, 3.0, 12), np.linspace(-2.0, 4.0, 11)))
COEFFICIENTS = (1.5, -0.8, 0.31, 0.12, -0.045, 0.006, 0.0013, -0.00021)

STANDARD_MODELS = (
    ("constant", constant, AXIS, (1.7,)),
    ("complex_constant", complex_constant, AXIS, (1.7, -0.4)),
    ("linear", linear, AXIS, (0.8, -1.2)),
    ("quadratic", quadratic, AXIS, (0.3, -0.7, 1.1)),
    *((f"polynomial_{k}", polynomial, AXIS, COEFFICIENTS[: k + 1]) for k in range(8)),
    ("gaussian", gaussian, AXIS, (5.0, 0.9, 1.3)),
    ("gaussian_2d", gaussian_2d, GRID, (12.0, 0.2, 0.9, 1.1, 1.6)),
    ("lorentzian", lorentzian, AXIS, (5.0, 0.9, 0.7)),
    ("split_lorentzian", split_lorentzian, AXIS, (5.0, 0.93, 0.6, 1.4)),
    ("voigt", voigt, AXIS, (5.0, 0.9, 0.8, 0.5)),
    ("pseudo_voigt", pseudo_voigt, AXIS, (5.0, 0.9, 1.1, 0.35)),
    ("moffat", moffat, AXIS, (3.0, 0.9, 1.5, 2.2)),
    ("pearson4", pearson4, AXIS, (5.0, 0.9, 1.4, 2.1, -0.8)),
    ("pearson7", pearson7, AXIS, (5.0, 0.9, 1.4, 1.8)),
    ("students_t", students_t, AXIS, (5.0, 0.9, 3.2)),
    ("breit_wigner", breit_wigner, AXIS, (2.0, 0.9, 1.3, 1.6)),
    ("lognormal", lognormal, POSITIVE, (5.0, 0.6, 0.7)),
    ("damped_oscillator", damped_oscillator, POSITIVE, (1.4, 2.5, 0.12)),
    ("damped_harmonic_oscillator", damped_harmonic_oscillator, POSITIVE, (1.4, 2.5, 0.4, 1.8)),
    ("exponential_gaussian", exponential_gaussian, AXIS, (5.0, 0.2, 0.8, 1.1)),
    ("skewed_gaussian", skewed_gaussian, AXIS, (5.0, 0.2, 1.7, 1.9)),
    ("skewed_voigt", skewed_voigt, AXIS, (5.0, 0.2, 1.1, 0.6, 1.4)),
    ("thermal_bose", thermal, POSITIVE, (1.6, -0.2, 2.1)),
    ("thermal_maxwell", thermal_maxwell, POSITIVE, (1.6, -0.2, 2.1)),
    ("thermal_fermi", thermal_fermi, POSITIVE, (1.0, 3.1, 0.7)),
    ("doniach", doniach, AXIS, (3.0, 0.9, 0.8, 0.15)),
    ("power_law", power_law, POSITIVE, (2.3, -0.65)),
    ("exponential", exponential, POSITIVE, (2.3, 1.9)),
    ("sine", sine, AXIS, (1.4, 2.2, 0.5)),
    ("step_linear", step_linear, AXIS, (2.0, 0.93, 2.7)),
    ("step_arctan", step_arctan, AXIS, (2.0, 0.9, 0.8)),
    ("step_erf", step_erf, AXIS, (2.0, 0.9, 0.8)),
    ("step_logistic", step_logistic, AXIS, (2.0, 0.9, 0.8)),
    ("rectangle_linear", rectangle(step_linear), AXIS, (2.0, -1.03, 1.2, 3.07, 1.7)),
    ("rectangle_arctan", rectangle(step_arctan), AXIS, (2.0, -1.0, 0.4, 3.1, 0.7)),
    ("rectangle_erf", rectangle(step_erf), AXIS, (2.0, -1.0, 0.4, 3.1, 0.7)),
    ("rectangle_logistic", rectangle(step_logistic), AXIS, (2.0, -1.0, 0.4, 3.1, 0.7)),
    ("expression_peak", expression("a * exp(-((x - b) / c)**2 / 2) + d", "a, b, c, d"), AXIS, (2.0, 0.9, 1.3, 0.2)),
    ("expression_damped", expression("a*exp(-x/b) * sin(2*pi*x/c + d)", "a, b, c, d"), POSITIVE, (2.0, 3.0, 1.7, 0.3)),
    ("expression_root", expression("sqrt(a**2 + (b*x)**2) - log(1 + c*x**2)", "a, b, c"), AXIS, (0.7, 0.4, 0.2)),
)
