"""Damped linear least squares, the obvious way."""

import numpy as np


def stacked(matrix, r, damping_diag):
    """Return [J; diag(d)^(1/2)] and [r; 0]."""
    return np.vstack([matrix, np.diag(np.sqrt(damping_diag))]), np.concatenate([r, np.zeros(matrix.shape[1])])


def shortest_step(matrix, r, damping_diag):
    """Minimise |J p + r|^2 + |diag(d)^(1/2) p|^2 by numpy's least squares."""
    tall, rhs = stacked(matrix, r, damping_diag)
    return -np.linalg.lstsq(tall, rhs, rcond=None)[0]
