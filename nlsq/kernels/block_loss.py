r"""Robust losses of residual blocks: residual and Jacobian corrected so that Gauss-Newton sees the loss.

With s = |r|^2 of a block and a loss rho(s), the corrected rows [1]_

    r~ = sqrt(rho') / (1 - a) r,      J~ = sqrt(rho') (1 - a r r' / s) J,      a^2/2 - a - s rho''/rho' = 0

have the gradient J~'r~ = rho' J'r of the cost, and J~'J~ is its Hessian without the second derivatives of r. Where the
Hessian is not positive along r the root does not exist; then a is held below 1, as far as that is definite.

References
----------
.. [1] B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, "Bundle Adjustment - A Modern Synthesis", 1999, section
   4.3 and equation (11).
"""

import math

from nlsq.kernels.backend import kernel

LARGEST = 1.0 - 1e-8  # of a: the least curvature along r is (1 - a)^2 rho'


@kernel("void(double*, double*, int, int, int, double*, double*)")
def correct_blocks(slopes, curvatures, count, q, width, residual, values):
    """Correct residual (count, q) and values (count, q, width) in place; slopes rho', curvatures rho'' (count,)."""
    for i in range(count):
        s = 0.0
        for a in range(q):
            s += residual[i * q + a] * residual[i * q + a]
        root = math.sqrt(slopes[i])
        alpha = 0.0
        if s > 0.0 and slopes[i] > 0.0:
            discriminant = 1.0 + 2.0 * s * curvatures[i] / slopes[i]
            alpha = 1.0 - math.sqrt(discriminant) if discriminant > 0.0 else LARGEST
            alpha = min(alpha, LARGEST)
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
