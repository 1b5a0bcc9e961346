"""Weighted second derivatives of traces: by differences, and as the kernels make them."""

import numpy as np

from nlsq.compiler import interpret
from nlsq.compiler.compile import Binding, kernels_of
from nlsq.compiler.kernel_source import Variant
from nlsq.kernels.backend.generated import call
from nlsq.problem.traced import SparseHessian

PLAIN = Variant(response=False)


def by_differences(trace, weights, p, data=None):
    """Return the central differences of the gradient J'u, of second order."""
    result = np.empty((p.size, p.size))
    for k in range(p.size):
        step = 2e-5 * max(1.0, abs(p[k]))
        ends = [p + sign * step * np.eye(p.size)[k] for sign in (1.0, -1.0)]
        above, below = (interpret.jacobian(trace, end, data).T @ weights for end in ends)
        result[:, k] = (above - below) / (ends[0][k] - ends[1][k])
    return result


def close(ours, theirs, tolerance=1e-12):
    assert ours.shape == theirs.shape
    size = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * size)


def whole(lower):
    """Return a symmetric matrix from its lower triangle."""
    return np.tril(lower) + np.tril(lower, -1).T


def dense(trace, weights, p, variant=PLAIN, binding=None):
    """Return the matrix that the dense kernel makes, on top of one that is there; what is behind it stays."""
    kernels = kernels_of(trace)
    binding = Binding(kernels, trace, variant) if binding is None else binding
    start = np.arange(p.size * p.size + 16.0)
    out = start.copy()
    call(kernels.address("hessian", variant), p, binding.table, weights, out)
    assert (out[p.size**2 :] == start[p.size**2 :]).all()
    return whole((out - start)[: p.size**2].reshape(p.size, p.size))


def sparse(trace, weights, p, variant=PLAIN, binding=None):
    """Return the matrix that the values of the sparse kernel make."""
    kernels = kernels_of(trace)
    binding = Binding(kernels, trace, variant) if binding is None else binding
    made = SparseHessian(kernels.address("sparse_hessian", variant), binding, kernels.hessian_blocks(variant))
    assert (made.rows >= made.columns).all()
    values = np.full(made.rows.size + 16, np.nan)  # overwritten, and no more
    made.into(p, weights, values)
    assert np.isnan(values[made.rows.size :]).all()
    result = np.zeros((p.size, p.size))
    np.add.at(result, (made.rows, made.columns), values[: made.rows.size])
    return whole(result)


def random_weights(m):
    return np.random.default_rng(m).normal(size=m)
