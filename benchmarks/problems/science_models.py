r"""Model functions as scientists write them, one formula each from a paper or a standard text.

Pharmacology, chemistry, soil physics, optics, magnetic resonance, electronics and ecology: plain numpy, with
unit constants, helper functions, complex arithmetic, kinks and saturations where the field writes them so. Each
entry of `SCIENCE_MODELS` is (name, function, x, p), with ``function(x, *p)`` the curve at a typical point p.
"""

import math

import numpy as np
from scipy.constants import Boltzmann, Planck, speed_of_light

__all__ = ["SCIENCE_MODELS"]

GAS_CONSTANT = 8.314462618  # J / (mol K)
FARADAY = 96485.33212  # C / mol
ZERO_CELSIUS = 273.15  # K
LN10 = math.log(10.0)

# Biochemistry and pharmacology


def michaelis_menten(s, vmax, km):
    """Michaelis and Menten 1913, Biochem. Z. 49, 333."""
    return vmax * s / (km + s)


def hill(dose, bottom, top, ec50, slope):
    """Hill 1910, J. Physiol. 40, iv, as a dose-response curve."""
    return bottom + (top - bottom) / (1 + (ec50 / dose) ** slope)


def competitive_inhibition(x, vmax, km, ki):
    """Cornish-Bowden, Fundamentals of Enzyme Kinetics, chapter 7; x = (substrate, inhibitor)."""
    s, i = x
    return vmax * s / (km * (1 + i / ki) + s)


def tight_binding(total, amplitude, enzyme, kd):
    """Morrison 1969, Biochim. Biophys. Acta 185, 269: the smaller root of the binding quadratic."""
    b = enzyme + total + kd
    return amplitude * (b - np.sqrt(b * b - 4.0 * enzyme * total)) / (2.0 * enzyme)


def macro_rates(k10, k12, k21):
    """Return the two rates of a two-compartment model from its micro-constants."""
    total = k10 + k12 + k21
    root = np.sqrt(total**2 - 4.0 * k10 * k21)
    return (total + root) / 2.0, (total - root) / 2.0


def two_compartment(t, volume, k10, k12, k21):
    """Gibaldi and Perrier, Pharmacokinetics, 2nd ed., chapter 2: bolus of 100 units into a central volume."""
    alpha, beta = macro_rates(k10, k12, k21)
    dose = 100.0
    a = dose / volume * (alpha - k21) / (alpha - beta)
    b = dose / volume * (k21 - beta) / (alpha - beta)
    return a * np.exp(-alpha * t) + b * np.exp(-beta * t)


def oral_absorption(t, scale, ka, ke, lag):
    """Bateman 1910, with a lag time before which nothing is absorbed."""
    late = np.maximum(t - lag, 0.0)
    return scale * ka / (ka - ke) * (np.exp(-ke * late) - np.exp(-ka * late))


# Physical chemistry


def arrhenius(celsius, log10_a, energy):
    """Arrhenius 1889: energy in kJ/mol, the prefactor as its decimal logarithm."""
    kelvin = celsius + ZERO_CELSIUS
    return np.exp(LN10 * log10_a - energy * 1e3 / (GAS_CONSTANT * kelvin))


def eyring(kelvin, enthalpy, entropy):
    """Eyring 1935, J. Chem. Phys. 3, 107; logarithm of the rate."""
    return np.log(Boltzmann / Planck * kelvin) + entropy / GAS_CONSTANT - enthalpy * 1e3 / (GAS_CONSTANT * kelvin)


def langmuir(pressure, capacity, affinity):
    """Langmuir 1918, J. Am. Chem. Soc. 40, 1361."""
    return capacity * affinity * pressure / (1.0 + affinity * pressure)


def bet(x, monolayer, c):
    """Brunauer, Emmett and Teller 1938, J. Am. Chem. Soc. 60, 309; x = p / p0."""
    return monolayer * c * x / ((1 - x) * (1 + (c - 1) * x))


def antoine(celsius, a, b, c):
    """Antoine 1888: vapour pressure in mmHg."""
    return 10.0 ** (a - b / (c + celsius))


def butler_volmer(overpotential, i0, alpha):
    """Bard and Faulkner, Electrochemical Methods, section 3.4, at 25 C."""
    f = FARADAY / (GAS_CONSTANT * 298.15)
    return i0 * (np.exp(alpha * f * overpotential) - np.exp(-(1 - alpha) * f * overpotential))


def morse(r, depth, a, r0):
    """Morse 1929, Phys. Rev. 34, 57."""
    return depth * np.square(1.0 - np.exp(-a * (r - r0))) - depth


def lennard_jones(r, eps, sigma):
    """Lennard-Jones 1931, Proc. Phys. Soc. 43, 461."""
    s6 = (sigma / r) ** 6
    return 4 * eps * (s6**2 - s6)


def birch_murnaghan(volume, e0, v0, b0, b0_prime):
    """Birch 1947, Phys. Rev. 71, 809: energy as a function of volume."""
    eta = np.cbrt(v0 / volume) ** 2 - 1.0
    return e0 + 9.0 * v0 * b0 / 16.0 * (eta**3 * b0_prime + eta**2 * (2.0 - 4.0 * eta))


def stretched_exponential(t, a, tau, beta):
    """Kohlrausch 1854; Williams and Watts 1970, Trans. Faraday Soc. 66, 80."""
    return a * np.exp(-((t / tau) ** beta))


def debye(omega, eps_inf, delta, tau):
    """Debye 1929, Polar Molecules: real parts of the permittivity, then the losses."""
    wt = omega * tau
    real = eps_inf + delta / (1.0 + wt**2)
    loss = delta * wt / (1.0 + wt**2)
    return np.concatenate((real, loss))


def cole_cole(omega, eps_inf, delta, tau, alpha):
    """Cole and Cole 1941, J. Chem. Phys. 9, 341, in complex arithmetic."""
    eps = eps_inf + delta / (1.0 + (1j * omega * tau) ** (1.0 - alpha))
    return np.concatenate([eps.real, -eps.imag])


def havriliak_negami_loss(omega, delta, tau, alpha, beta):
    """Havriliak and Negami 1967, Polymer 8, 161; the loss alone."""
    return -np.imag(delta / (1 + (1j * omega * tau) ** alpha) ** beta)


# Soils, materials, rheology


def van_genuchten(suction, theta_r, theta_s, alpha, n):
    """Van Genuchten 1980, Soil Sci. Soc. Am. J. 44, 892."""
    m = 1.0 - 1.0 / n
    return theta_r + (theta_s - theta_r) / (1.0 + (alpha * np.abs(suction)) ** n) ** m


def carreau(rate, eta0, eta_inf, lam, n):
    """Carreau 1972, Trans. Soc. Rheol. 16, 99; logarithm of the viscosity."""
    return np.log10(eta_inf + (eta0 - eta_inf) * (1.0 + (lam * rate) ** 2) ** ((n - 1.0) / 2.0))


def herschel_bulkley(stress, yield_stress, k, n):
    """Herschel and Bulkley 1926: no flow below the yield stress."""
    excess = np.maximum(stress - yield_stress, 1e-12)
    return (excess / k) ** (1.0 / n)


def two_slopes(x, y0, k1, k2, breakpoint):
    """Muggeo 2003, Stat. Med. 22, 3055: two straight lines that meet."""
    return np.where(x < breakpoint, y0 + k1 * (x - breakpoint), y0 + k2 * (x - breakpoint))


def hinge(x, y0, k1, change, breakpoint):
    """Return the same broken line with its change of slope written by a unit step."""
    return y0 + k1 * x + change * (x - breakpoint) * np.heaviside(x - breakpoint, 0.5)


# Growth and ecology


def gompertz(t, a, b, c):
    """Gompertz 1825, Phil. Trans. R. Soc. 115, 513."""
    return a * np.exp(-b * np.exp(-c * t))


def logistic_growth(t, k, n0, r):
    """Verhulst 1838, from a start n0 to the capacity k."""
    return k / (1.0 + (k - n0) / n0 * np.exp(-r * t))


def blackman(light, slope, top, respiration):
    """Blackman 1905, Ann. Bot. 19, 281: photosynthesis grows with light until it is saturated."""
    return np.minimum(slope * light, top) - respiration


def ricker(stock, a, b):
    """Ricker 1954, J. Fish. Res. Board Can. 11, 559."""
    return a * stock * np.exp(-b * stock)


def weibull_survival(t, scale, shape):
    """Weibull 1951, J. Appl. Mech. 18, 293."""
    return np.exp(-np.power(t / scale, shape))


# Optics, radiation, astronomy


def planck(wavelength_um, temperature, scale):
    """Planck 1901: spectral radiance over wavelength in micrometres, scaled."""
    wavelength = wavelength_um * 1e-6
    h, c, k = Planck, speed_of_light, Boltzmann
    radiance = 2 * h * c**2 / wavelength**5 / np.expm1(h * c / (wavelength * k * temperature))
    return scale * radiance * 1e-13


def slit_diffraction(angle, intensity, width, center):
    """Born and Wolf, Principles of Optics, section 8.5: one slit, width in wavelengths."""
    return intensity * np.sinc(width * np.sin(angle - center)) ** 2


def airy(phase, contrast, finesse, offset):
    """Fabry and Perot 1899: transmission of an etalon."""
    return contrast / (1 + finesse * np.sin(phase / 2 + offset) ** 2)


def gaussian_beam(z, waist, focus, rayleigh):
    """Siegman, Lasers, chapter 17: radius of a beam."""
    return waist * np.hypot(1.0, (z - focus) / rayleigh)


def sellmeier(um, b1, b2, c1, c2):
    """Sellmeier 1871: index of refraction over wavelength in micrometres."""
    l2 = um**2
    return np.sqrt(1 + b1 * l2 / (l2 - c1) + b2 * l2 / (l2 - c2))


def radial_velocity(t, semi_amplitude, period, phase, e, drift):
    """Murray and Correia 2010, "Keplerian orbits": the expansion to second order in the eccentricity."""
    mean = 2 * np.pi * t / period + phase
    anomaly = mean + 2 * e * np.sin(mean) + 1.25 * e**2 * np.sin(2 * mean)
    return semi_amplitude * (np.cos(anomaly) + e) + drift * t


# Electronics and magnetic resonance


def butterworth_db(hz, gain_db, cutoff, order):
    """Butterworth 1930, Wireless Eng. 7, 536: magnitude in decibels."""
    return gain_db - 10 * np.log10(1 + (hz / cutoff) ** (2 * order))


def resonator_phase(hz, f0, q, phi):
    """Phase of a driven resonator, in radians."""
    return phi - np.arctan2(hz * f0 / q, f0**2 - hz**2)


def diode(volts, log_saturation, ideality, conductance):
    """Shockley 1949, Bell Syst. Tech. J. 28, 435, with a shunt."""
    return np.exp(log_saturation) * np.expm1(volts / (ideality * 0.025852)) + conductance * volts


def bi_exponential_diffusion(b, s0, f, fast, slow):
    """Le Bihan et al. 1988, Radiology 168, 497: perfusion and diffusion."""
    return s0 * (f * np.exp(-b * fast) + (1 - f) * np.exp(-b * slow))


def inversion_recovery(ti, m0, efficiency, t1):
    """Bydder and Young 1985: magnitude signal, with a kink where it changes sign."""
    return np.abs(m0 * (1 - 2 * efficiency * np.exp(-ti / t1)))


def brillouin(field, saturation, j, slope):
    """Brillouin 1927: magnetisation of a paramagnet."""
    u = slope * field
    a, b = (2 * j + 1) / (2 * j), 1 / (2 * j)
    return saturation * (a / np.tanh(a * u) - b / np.tanh(b * u))


def steinhart_hart(ohm, a, b, c):
    """Steinhart and Hart 1968, Deep-Sea Res. 15, 497: thermistor, in Celsius."""
    log_r = np.log(ohm)
    return 1.0 / (a + b * log_r + c * log_r**3) - ZERO_CELSIUS


TIME = np.linspace(0.05, 10.0, 60)
DECADES = np.logspace(-2.0, 3.0, 51)
SUBSTRATE = np.tile(np.array([0.2, 0.5, 1.0, 2.0, 5.0, 10.0]), 4)
INHIBITOR = np.repeat(np.array([0.0, 0.5, 1.5, 4.0]), 6)

SCIENCE_MODELS = (
    ("michaelis_menten", michaelis_menten, TIME, (2.4, 1.3)),
    ("hill", hill, DECADES, (0.1, 1.2, 3.0, 1.4)),
    ("competitive_inhibition", competitive_inhibition, (SUBSTRATE, INHIBITOR), (2.4, 1.3, 0.8)),
    ("tight_binding", tight_binding, TIME, (1.5, 2.0, 0.4)),
    ("two_compartment", two_compartment, TIME, (12.0, 0.45, 0.6, 0.3)),
    ("oral_absorption", oral_absorption, TIME, (8.0, 1.9, 0.25, 0.42)),
    ("arrhenius", arrhenius, np.linspace(20.0, 90.0, 36), (9.0, 52.0)),
    ("eyring", eyring, np.linspace(290.0, 370.0, 41), (61.0, -45.0)),
    ("langmuir", langmuir, TIME, (3.1, 0.6)),
    ("bet", bet, np.linspace(0.02, 0.4, 39), (1.2, 80.0)),
    ("antoine", antoine, np.linspace(5.0, 95.0, 46), (8.07, 1730.6, 233.4)),
    ("butler_volmer", butler_volmer, np.linspace(-0.12, 0.12, 49), (0.02, 0.45)),
    ("morse", morse, np.linspace(0.9, 4.0, 63), (4.5, 1.9, 1.28)),
    ("lennard_jones", lennard_jones, np.linspace(3.2, 9.0, 59), (0.9, 3.4)),
    ("birch_murnaghan", birch_murnaghan, np.linspace(14.0, 19.0, 26), (-3.7, 16.4, 0.48, 4.6)),
    ("stretched_exponential", stretched_exponential, TIME, (1.3, 2.6, 0.62)),
    ("debye", debye, DECADES, (2.2, 5.4, 0.13)),
    ("cole_cole", cole_cole, DECADES, (2.2, 5.4, 0.13, 0.2)),
    ("havriliak_negami_loss", havriliak_negami_loss, DECADES, (5.4, 0.13, 0.8, 0.6)),
    ("van_genuchten", van_genuchten, -DECADES, (0.06, 0.43, 0.08, 1.6)),
    ("carreau", carreau, DECADES, (120.0, 0.4, 2.7, 0.35)),
    ("herschel_bulkley", herschel_bulkley, TIME, (2.03, 1.4, 0.7)),
    ("two_slopes", two_slopes, TIME, (1.2, 0.9, -0.3, 4.02)),
    ("hinge", hinge, TIME, (0.3, 0.9, -1.2, 4.02)),
    ("gompertz", gompertz, TIME, (5.0, 4.0, 0.7)),
    ("logistic_growth", logistic_growth, TIME, (5.0, 0.3, 0.9)),
    ("blackman", blackman, TIME, (0.8, 3.0, 0.4)),
    ("ricker", ricker, TIME, (2.1, 0.35)),
    ("weibull_survival", weibull_survival, TIME, (4.0, 1.7)),
    ("planck", planck, np.linspace(0.2, 4.0, 77), (5600.0, 0.9)),
    ("slit_diffraction", slit_diffraction, np.linspace(-0.4, 0.4, 81), (2.0, 9.0, 0.013)),
    ("airy", airy, np.linspace(0.0, 15.0, 91), (1.1, 12.0, 0.2)),
    ("gaussian_beam", gaussian_beam, TIME, (0.3, 4.1, 1.5)),
    ("sellmeier", sellmeier, np.linspace(0.4, 1.8, 57), (0.9, 0.25, 0.006, 0.02)),
    ("radial_velocity", radial_velocity, TIME, (55.0, 4.2, 0.6, 0.2, 0.8)),
    ("butterworth_db", butterworth_db, DECADES, (3.0, 11.0, 2.0)),
    ("resonator_phase", resonator_phase, TIME, (4.3, 6.0, 0.2)),
    ("diode", diode, np.linspace(-0.2, 0.65, 69), (-20.0, 1.4, 0.002)),
    ("bi_exponential_diffusion", bi_exponential_diffusion, np.linspace(0.0, 0.9, 37), (1.1, 0.12, 15.0, 0.9)),
    ("inversion_recovery", inversion_recovery, TIME, (1.8, 0.95, 2.3)),
    ("brillouin", brillouin, TIME, (2.0, 2.5, 0.6)),
    ("steinhart_hart", steinhart_hart, np.linspace(800.0, 30000.0, 53), (1.13e-3, 2.34e-4, 8.8e-8)),
)
