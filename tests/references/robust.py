"""Twin of the robust kernels: the losses as nlsq.loss writes them, on whole arrays."""

import numpy as np

from nlsq.loss import LOSS_NAMES, Loss, scale_for_loss

CODES = dict(zip(LOSS_NAMES, range(5), strict=True))  # the order of nlsq.kernels.robust


def cost(name, residual, scale):
    """Return 1/2 sum s^2 rho((r/s)^2)."""
    return Loss(name, scale).cost(np.asarray(residual, dtype=float))


def weighted(name, residual, jac, scale):
    """Return Jacobian and residual with the loss applied."""
    return scale_for_loss(Loss(name, scale), np.array(jac), np.array(residual, dtype=float))
