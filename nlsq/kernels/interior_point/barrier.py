"""The barrier parameter: when the barrier problem is solved well enough, and how far it is lowered then.

Monotone rule [1]_ (7), (8):  while E_mu <= kappa_eps mu:  mu = max(tol/10, min(kappa_mu mu, mu^theta_mu)).

Adaptive rule: mu may also fall ahead of that, to what the products of multipliers and distances suggest [2]_ (LOQO's
rule, section 2), when they are of even size. It never rises.

References
----------
.. [1] A. Waechter, L. T. Biegler, Mathematical Programming 106, 2006, section 2.1.
.. [2] J. Nocedal, A. Waechter, R. A. Waltz, "Adaptive barrier update strategies for nonlinear interior methods", SIAM
   Journal on Optimization 19, 2009.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.errors import update_errors
from nlsq.kernels.interior_point.layout import (
    BARRIER,
    BARRIER_ERROR,
    BOUNDS,
    COST_SCALE,
    EXTRA,
    FILTER_SIZE,
    LOWER,
    LOWER_DUAL,
    MC,
    MONOTONE,
    TINY_STEPS,
    TO_BOUNDARY,
    TOLERANCE,
    UPPER,
    UPPER_DUAL,
    N,
    Z,
)

SOLVED_WITHIN = 10.0  # kappa_eps
LINEAR_DECREASE = 0.2  # kappa_mu
SUPERLINEAR_POWER = 1.5  # theta_mu
CLOSEST = 0.99  # tau_min
CENTRED = 0.1  # of LOQO's rule
SMALLEST_SHARE = 0.1  # of the tolerance, below which mu does not fall


@kernel("double(double*, int*)")
def suggested_barrier(w, iw):
    """Give LOQO's mu: the mean product of multiplier and distance, times a factor that is small where they are even."""
    z, lower, upper = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER])
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    total, smallest = 0.0, math.inf
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            product = zl[j] * (z[j] - lower[j])
            total += product
            smallest = min(smallest, product)
        if upper[j] < math.inf:
            product = zu[j] * (upper[j] - z[j])
            total += product
            smallest = min(smallest, product)
    mean = total / iw[BOUNDS]
    if not mean > 0.0:
        return 0.0
    evenness = smallest / mean
    factor = min(0.05 * (1.0 - evenness) / max(evenness, 1e-16), 2.0)
    return CENTRED * factor * factor * factor * mean


@kernel("void(double*, int*)")
def update_barrier(w, iw):
    """Lower mu where its problem is solved; the filter begins anew."""
    if iw[BOUNDS] == 0:
        w[BARRIER], w[TO_BOUNDARY] = 0.0, 1.0
        return
    least = SMALLEST_SHARE * w[TOLERANCE]
    if iw[EXTRA] > 0:  # optimal as the problem is scaled, but not as it was given
        least *= w[COST_SCALE]
    before = w[BARRIER]
    if iw[TINY_STEPS] > 0 and w[BARRIER] > least:  # nothing moves any more at this mu
        w[BARRIER] = max(least, LINEAR_DECREASE * w[BARRIER])
        iw[TINY_STEPS] = 0
        update_errors(w, iw)
    while w[BARRIER_ERROR] <= SOLVED_WITHIN * w[BARRIER] and w[BARRIER] > least:
        lowered = min(LINEAR_DECREASE * w[BARRIER], math.pow(w[BARRIER], SUPERLINEAR_POWER))
        if iw[MONOTONE] == 0:
            lowered = min(lowered, max(suggested_barrier(w, iw), 0.01 * math.pow(w[BARRIER], SUPERLINEAR_POWER)))
        w[BARRIER] = max(least, lowered)
        update_errors(w, iw)
    if w[BARRIER] != before:
        iw[FILTER_SIZE] = 0
    w[TO_BOUNDARY] = max(CLOSEST, 1.0 - w[BARRIER])
