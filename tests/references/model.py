"""Twin of `nlsq.kernels.quadratic_model`: the trust-region subproblem by eigenvalues and bisection."""

import numpy as np


def model(jac, residual, scale, extra):
    """Return B = S J'J S + C and g = S J'f."""
    scaled = jac * scale
    return scaled.T @ scaled + np.diag(extra), scaled.T @ residual


def value(hessian, gradient, step):
    """Return q(p) = g'p + p'B p / 2."""
    return float(gradient @ step + 0.5 * step @ hessian @ step)


def minimiser(hessian, gradient, radius):
    """Minimise the model over |p| <= radius; return p and lambda."""
    eigenvalues, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ gradient
    floor = 1e-13 * max(eigenvalues[-1], 0.0) * len(eigenvalues)
    eigenvalues = np.where(eigenvalues < floor, 0.0, eigenvalues)
    along = np.where(eigenvalues == 0.0, 0.0, along)  # g lies in the range of B

    def step(damping):
        bottom = eigenvalues + damping
        return -np.divide(along, bottom, out=np.zeros_like(along), where=bottom > 0.0)

    if np.linalg.norm(step(0.0)) <= radius:
        return vectors @ step(0.0), 0.0
    low, high = 0.0, np.linalg.norm(gradient) / radius
    for _ in range(200):
        middle = 0.5 * (low + high)
        if np.linalg.norm(step(middle)) > radius:
            low = middle
        else:
            high = middle
    return vectors @ step(high), high
