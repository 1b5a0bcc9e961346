"""Linear functions by address: values A x and the constant Jacobian.

Each takes ``(double* x, int data, double* out)``; `data` is the address of a table. A dense A (m, n) is kept transposed
there, a sparse one by rows:

    entries of row i  =  values[indptr[i] : indptr[i + 1]]  in the columns  indices[indptr[i] : indptr[i + 1]]
"""

from nlsq.kernels.backend import double_pointer, int_pointer, kernel
from nlsq.kernels.dense import copy

# places in the table
(
    ROWS,  # m
    COLUMNS,  # n
    MATRIX,  # address of a dense A', (n, m)
    ENTRIES,  # address of the values of a sparse A
    STARTS,  # address of its indptr
    INDICES,
    TABLE,
) = range(7)


@kernel("int(double*, int, double*)")
def linear_values(x, data, out):
    """Give A x for a dense A."""
    table = int_pointer(data)
    m, matrix_t = table[ROWS], double_pointer(table[MATRIX])
    for i in range(m):
        out[i] = 0.0
    for j in range(table[COLUMNS]):
        factor = x[j]
        for i in range(m):
            out[i] += matrix_t[j * m + i] * factor
    return 0


@kernel("int(double*, int, double*)")
def linear_jacobian(x, data, jac_t_out):
    """Give A' for a dense A."""
    table = int_pointer(data)
    copy(double_pointer(table[MATRIX]), jac_t_out, table[ROWS] * table[COLUMNS])
    return 0


@kernel("int(double*, int, double*)")
def sparse_linear_values(x, data, out):
    """Give A x for a sparse A."""
    table = int_pointer(data)
    values, starts, indices = double_pointer(table[ENTRIES]), int_pointer(table[STARTS]), int_pointer(table[INDICES])
    for i in range(table[ROWS]):
        total = 0.0
        for k in range(starts[i], starts[i + 1]):
            total += values[k] * x[indices[k]]
        out[i] = total
    return 0
