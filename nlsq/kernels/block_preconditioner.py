"""Block-Jacobi preconditioner: the diagonal blocks of H + diag(d), each with a Cholesky factor of its own.

The upper triangle of block b lies by columns without gaps from starts[b] on, entry (t, s) at s (s + 1) / 2 + t.
"""

import math

from nlsq.kernels.backend import kernel, shift

LOST = 1e-12  # a pivot that keeps no more than this share of its diagonal is made of rounding


@kernel("void(double*, int*, int*, double*, int, double*)", apart=True)
def factor_blocks(packed, starts, offsets, damping, n_blocks, factor_out):
    """Factorise each damped block as U'U.

    A pivot that is not positive, or made of rounding, is replaced by the diagonal itself, or by one: whatever is
    positive definite will do for a preconditioner.  offsets : (n_blocks + 1,) first columns.  damping : (n,).
    """
    for b in range(n_blocks):
        block, factor = shift(packed, starts[b]), shift(factor_out, starts[b])
        first = offsets[b]
        for s in range(offsets[b + 1] - first):
            column = s * (s + 1) // 2
            diagonal = block[column + s] + damping[first + s]
            pivot = diagonal
            for t in range(s):
                before = t * (t + 1) // 2
                total = block[column + t]
                for k in range(t):
                    total -= factor[before + k] * factor[column + k]
                total /= factor[before + t]
                factor[column + t] = total
                pivot -= total * total
            if pivot <= LOST * diagonal:
                pivot = diagonal if diagonal > 0.0 else 1.0
            factor[column + s] = math.sqrt(pivot)


@kernel("void(double*, int*, int*, double*, int, double*)", apart=True)
def solve_blocks(factor, starts, offsets, b, n_blocks, x_out):
    """Solve U'U x = b for each block; b, x_out (n,)."""
    for block in range(n_blocks):
        upper = shift(factor, starts[block])
        given, x = shift(b, offsets[block]), shift(x_out, offsets[block])
        width = offsets[block + 1] - offsets[block]
        for s in range(width):
            column = s * (s + 1) // 2
            total = given[s]
            for t in range(s):
                total -= upper[column + t] * x[t]
            x[s] = total / upper[column + s]
        for back in range(width):
            s = width - 1 - back
            column = s * (s + 1) // 2
            x[s] /= upper[column + s]
            for t in range(s):
                x[t] -= upper[column + t] * x[s]
