"""Several functions of the same parameters as one: values stacked, Jacobians side by side, second derivatives added.

    c(x) = (c_1(x), ..., c_k(x))        J' = (J_1', ..., J_k')        sum_i y_i Hess c_i = sum over blocks

`stacked_values` and `stacked_jacobian` are functions ``int f(double* x, int data, double* out)`` themselves, and
`stacked_hessian` is one that takes weights; `data` is the address of a table.
"""

from nlsq.kernels.backend import call_function, call_weighted, double_pointer, int_pointer, kernel, shift
from nlsq.kernels.dense import copy

# places in the table; then come the functions, `BLOCK` places each
(
    BLOCKS,  # how many functions
    ROWS,  # m of all together
    COLUMNS,  # n
    SCRATCH,  # address of doubles: the largest transposed Jacobian of one
    FAILED,  # index of the function that failed last
    HEADER,
) = range(6)
(
    BLOCK_ROWS,
    VALUES,  # addresses of C functions and of their data
    JACOBIAN,
    DATA,
    HESSIAN,  # 0: linear
    HESSIAN_DATA,
    BLOCK,
) = range(7)


@kernel("int(double*, int, double*)")
def stacked_values(x, data, out):
    """Evaluate all functions; nonzero when one failed."""
    table = int_pointer(data)
    first = 0
    for b in range(table[BLOCKS]):
        block = shift(table, HEADER + b * BLOCK)
        if call_function(block[VALUES], x, block[DATA], shift(out, first)) != 0:
            table[FAILED] = b
            return 1
        first += block[BLOCK_ROWS]
    return 0


@kernel("int(double*, int, double*)")
def stacked_jacobian(x, data, jac_t_out):
    """Fill the transposed Jacobian of all, (n, m); nonzero when one failed."""
    table = int_pointer(data)
    m, scratch = table[ROWS], double_pointer(table[SCRATCH])
    first = 0
    for b in range(table[BLOCKS]):
        block = shift(table, HEADER + b * BLOCK)
        rows = block[BLOCK_ROWS]
        if call_function(block[JACOBIAN], x, block[DATA], scratch) != 0:
            table[FAILED] = b
            return 1
        for j in range(table[COLUMNS]):
            copy(shift(scratch, j * rows), shift(jac_t_out, j * m + first), rows)
        first += rows
    return 0


@kernel("int(double*, int, double*, double*)")
def stacked_hessian(x, data, weights, out):
    """Add the weighted second derivatives of all functions to the lower triangle of `out`; nonzero when one failed."""
    table = int_pointer(data)
    first = 0
    for b in range(table[BLOCKS]):
        block = shift(table, HEADER + b * BLOCK)
        if block[HESSIAN] != 0:
            if call_weighted(block[HESSIAN], x, block[HESSIAN_DATA], shift(weights, first), out) != 0:
                table[FAILED] = b
                return 1
        first += block[BLOCK_ROWS]
    return 0
