"""The lower triangle of J'J in tiles of two rows by two columns, whose sums stay in registers.

A number of J that is read takes part in two products; `nlsq.kernels.dense.normal_matrix` reads it for each.
"""

from nlsq.kernels.backend import kernel, shift

BLOCK = 512  # residuals a pass: all columns of a pass stay in a cache


@kernel("void(int, int, int, double*, double*, double*, int)", apart=True)
def _two_rows(count, step, n, jac_t, pair, h_io, i):
    """Add rows i and i + 1 of J'J: `count` residuals of columns that are `step` apart, those two from `pair` on."""
    other = shift(pair, step)
    low, high = shift(h_io, i * n), shift(h_io, i * n + n)
    for half in range(i // 2 + 1):
        j = 2 * half
        a, b = shift(jac_t, j * step), shift(jac_t, j * step + step)
        s00, s01, s10, s11 = 0.0, 0.0, 0.0, 0.0
        for k in range(count):
            s00 += pair[k] * a[k]
            s01 += pair[k] * b[k]
            s10 += other[k] * a[k]
            s11 += other[k] * b[k]
        low[j] += s00
        high[j] += s10
        high[j + 1] += s11
        if j < i:
            low[j + 1] += s01


@kernel("void(int, int, int, double*, double*, double*)", apart=True)
def _last_row(count, step, n, jac_t, column, row_io):
    """Add the row of J'J that has no neighbour."""
    for j in range(n):
        a = shift(jac_t, j * step)
        total = 0.0
        for k in range(count):
            total += column[k] * a[k]
        row_io[j] += total


@kernel("void(int, int, double*, double*)")
def add_normal_matrix(m, n, jac_t, h_io):
    """Add the lower triangle of J'J to that of H  (n, n), row by row; jac_t (n, m)."""
    start = 0
    while start < m:
        count = min(BLOCK, m - start)
        block = shift(jac_t, start)
        for half in range(n // 2):
            i = 2 * half
            _two_rows(count, m, n, block, shift(block, i * m), h_io, i)
        if n % 2 == 1:
            _last_row(count, m, n, block, shift(block, (n - 1) * m), shift(h_io, (n - 1) * n))
        start += count


@kernel("void(int, int, double*, double*)")
def normal_matrix(m, n, jac_t, h_out):
    """Fill the lower triangle of H = J'J  (n, n), row by row; jac_t (n, m)."""
    for i in range(n):
        for j in range(i + 1):
            h_out[i * n + j] = 0.0
    add_normal_matrix(m, n, jac_t, h_out)
