r"""A vmapped Levenberg-Marquardt in JAX, to compare batches with; imported in a process of its own.

Each fit makes `STEPS` steps of

    (J'J + lambda D) p = -J'r,   D = diag J'J,

with lambda / 10 after a step that lowers the cost and 4 lambda after one that does not, and J by forward mode. A batch
under vmap takes as many steps as its slowest fit; the number is fixed such that about all fits have converged.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .batches import SHARE_TOLERANCE, our_batch
from .compare import interleaved
from .problems import batches

__all__ = ["fitter", "main"]

STEPS = 12


def gaussian(x, a, b, c, d):
    """Return a exp(-((x - b)/c)^2 / 2) + d."""
    return a * jnp.exp(-(((x - b) / c) ** 2) / 2.0) + d


def fitter(model, x, steps=STEPS):
    """Return a compiled function of y (B, m) and p0 (n,) that gives parameters (B, n) and costs (B,)."""

    def linearised(p, y):
        residual = model(x, *p) - y
        jac = jax.jacfwd(lambda q: model(x, *q))(p)
        return jac.T @ jac, jac.T @ residual

    def cost(p, y):
        residual = model(x, *p) - y
        return 0.5 * residual @ residual

    def step(y, _, state):
        p, value, damping = state
        normal, gradient = linearised(p, y)
        damped = normal + damping * jnp.diag(jnp.diag(normal))
        candidate = p - jnp.linalg.solve(damped, gradient)
        tried = cost(candidate, y)
        accepted = tried < value
        better = jnp.where(accepted, candidate, p), jnp.where(accepted, tried, value)
        return *better, damping * jnp.where(accepted, 0.1, 4.0)

    def fit(y, p0):
        state = p0, cost(p0, y), jnp.asarray(1e-3)
        return jax.lax.fori_loop(0, steps, lambda k, state: step(y, k, state), state)[:2]

    return jax.jit(jax.vmap(fit, in_axes=(0, None)))


def main(size, pairs):
    """Print the seconds of a fit, ours and JAX's, their ratio, and the share of JAX's fits that end as low as ours."""
    jax.config.update("jax_enable_x64", True)
    batch = batches.spectra(size)
    fit = fitter(gaussian, jnp.asarray(batch.x))
    y, p0 = jnp.asarray(batch.y), jnp.asarray(batch.p0)
    ours = our_batch("spectra", size)[0]
    ratio = interleaved(ours, lambda: jax.block_until_ready(fit(y, p0)), pairs=pairs)
    own = np.array([batch.cost(k, p) for k, p in enumerate(ours().params)])
    share = np.mean(np.asarray(fit(y, p0)[1]) <= own * (1.0 + SHARE_TOLERANCE))
    print(ratio.ours / size, ratio.peer / size, ratio.median, share)
