r"""Robust losses of residual blocks: residual and Jacobian corrected so that Gauss-Newton sees the loss.

With s = |r|^2 of a block and a loss rho(s), the corrected rows [1]_

    r~ = sqrt(rho') / (1 - a) r,      J~ = sqrt(rho') (1 - a r r' / s) J,      a^2/2 - a - s rho''/rho' = 0

have the gradient J~'r~ = rho' J'r of the cost, and J~'J~ is its Hessian without second derivatives of r. Where rho''
is negative, as it is for all robust losses beyond their scale, that matrix loses the direction r, or is not even
positive: outliers would steer blindly. There a = 0 is taken, as Ceres does, which is iteratively reweighted least
squares: J~'J~ is then larger than the Hessian, and its inverse smaller than the covariance that a full Hessian gives.

References
----------
.. [1] B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, "Bundle Adjustment - A Modern Synthesis", 1999, section
   4.3 and equation (11).
"""

import math

from nlsq.kernels.backend import kernel


@kernel("void(double*, double*, int, int, int, double*, double*)")
def correct_blocks(slopes, curvatures, count, q, width, residual, values):
    """Correct residual (count, q) and values (count, q, width) in place; slopes rho', curvatures rho'' (count,)."""
    for i in range(count):
        s = 0.0
        for a in range(q):
            s += residual[i * q + a] * residual[i * q + a]
        root = math.sqrt(slopes[i])
        alpha = 0.0
        if s > 0.0 and not curvatures[i] <= 0.0:  # NaN comes through
            alpha = 1.0 - math.sqrt(1.0 + 2.0 * s * curvatures[i] / slopes[i])
        for k in range(width):
            along = 0.0
            if alpha != 0.0:
                for a in range(q):
                    along += residual[i * q + a] * values[(i * q + a) * width + k]
                along *= alpha / s
            for a in range(q):
                place = (i * q + a) * width + k
                values[place] = root * (values[place] - residual[i * q + a] * along)
        for a in range(q):
            residual[i * q + a] *= root / (1.0 - alpha)
