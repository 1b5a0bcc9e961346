"""Normal equations: H = J'J, formed where its factorisation wants the values.

H lies in its upper triangle by columns. In the columns of one column block the rows above the diagonal block are the
same, `pitch` of them, and the diagonal block adds 1, 2, 3 ... rows: entry (t, s) of a block is

    H[target + s pitch + s (s + 1) / 2 + t],         target the place of its entry (0, 0).

The sizes below are zero in this module: they are read at run time. Specialised kernels have their own.
"""

from nlsq.kernels.backend import kernel, shift

Q = 0  # residuals of a block
WIDTH = 0  # columns of all its arguments
ROWS = 0  # width of the argument to which the rows of the block of H belong
COLUMNS = 0  # width of the argument of its columns


@kernel("void(double*, int*, int*, int*, int, int, int, int, int, int, int, double*)", apart=True)
def add_blocks(values, blocks, targets, pitches, count, q, width, first, rows, second, columns, normal_out):
    """Add A'B to a block of H for each of some residual blocks, A and B the values of two of its arguments.

    values : (residual blocks, q, width).  blocks, targets, pitches : (count,) residual block, and where in H its
    product belongs.  first, second : column in `values` at which A of `rows` and B of `columns` columns begin.
    """
    q = Q if Q > 0 else q
    width = WIDTH if WIDTH > 0 else width
    rows = ROWS if ROWS > 0 else rows
    columns = COLUMNS if COLUMNS > 0 else columns
    for e in range(count):
        left = shift(values, blocks[e] * q * width + first)
        right = shift(values, blocks[e] * q * width + second)
        for s in range(columns):
            target = shift(normal_out, targets[e] + s * pitches[e] + s * (s + 1) // 2)
            for t in range(rows):
                total = 0.0
                for a in range(q):
                    total += left[a * width + t] * right[a * width + s]
                target[t] += total


@kernel("void(double*, int*, int*, int*, int, int, int, int, int, double*)", apart=True)
def add_diagonal_blocks(values, blocks, targets, pitches, count, q, width, first, rows, normal_out):
    """Add the upper triangle of A'A to a diagonal block of H for each of some residual blocks; see `add_blocks`."""
    q = Q if Q > 0 else q
    width = WIDTH if WIDTH > 0 else width
    rows = ROWS if ROWS > 0 else rows
    for e in range(count):
        left = shift(values, blocks[e] * q * width + first)
        for s in range(rows):
            target = shift(normal_out, targets[e] + s * pitches[e] + s * (s + 1) // 2)
            for t in range(s + 1):
                total = 0.0
                for a in range(q):
                    total += left[a * width + t] * left[a * width + s]
                target[t] += total


@kernel("void(double*, int*, double*, int, int, double*)")
def damp(normal, diagonal, damping, nnz, n, damped_out):
    """Give H + diag(damping); diagonal (n,) is where in H its diagonal lies, normal, damped_out (nnz,)."""
    for p in range(nnz):
        damped_out[p] = normal[p]
    for j in range(n):
        damped_out[diagonal[j]] += damping[j]
