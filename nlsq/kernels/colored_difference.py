"""Entries of a sparse Jacobian from differences of a few residuals, in the order of a csr array.

Row c of `first` is the residual with all columns of colour c moved; entry (i, j) of the Jacobian is in row i of it. The
differences of an entry and what divides them are those of the dense quotients (`nlsq.derivatives.finite_difference`).
"""

import math

from nlsq.kernels.backend import kernel


@kernel("void(double*, double*, int*, int*, int*, int, double*)")
def forward_entries(first, r, indptr, columns, colors, m, values_out):
    """Give r(x + h) - r(x) for each entry; first (n_colors, m), r (m,), colors (n,)."""
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            values_out[p] = first[colors[columns[p]] * m + i] - r[i]


@kernel("void(double*, double*, double*, int*, int*, int*, int*, int, double*)", strict=True)
def central_entries(first, second, r, one_sided, indptr, columns, colors, m, values_out):
    """Give r(x + h) - r(x - h) for each entry, or -3 r(x) + 4 r(x + h) - r(x + 2h) where the column is one-sided."""
    for i in range(m):
        for p in range(indptr[i], indptr[i + 1]):
            j = columns[p]
            k = colors[j] * m + i
            if one_sided[j] != 0:
                values_out[p] = -3.0 * r[i] + 4.0 * first[k] - second[k]
            else:
                values_out[p] = second[k] - first[k]


@kernel("void(double*, double*, double*, double*, int*, int*, int, double, int*)")
def mark_significant(values, width, x, r, indptr, columns, m, threshold, seen_out):
    """Set 1 for columns of which some difference is above rounding; others are left as they are.

    The rounding of residual i is taken to be  threshold * max(|r_i|, sum_j |J_ij x_j|),  since what it is the
    difference of may be larger than it.
    """
    for i in range(m):
        scale = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            j = columns[p]
            scale += abs(values[p] / width[j] * x[j])
        if not scale < math.inf:
            scale = 0.0
        noise = threshold * max(scale, abs(r[i]))
        for p in range(indptr[i], indptr[i + 1]):
            if not abs(values[p]) <= noise:
                seen_out[columns[p]] = 1


@kernel("void(double*, int*, int*, int, double*)")
def divide_columns(width, fixed, columns, nnz, values_out):
    """Divide each entry by the width of its column; columns that are fixed have none."""
    for p in range(nnz):
        j = columns[p]
        values_out[p] = values_out[p] / width[j] if fixed[j] == 0 else 0.0
