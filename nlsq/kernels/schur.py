r"""Elimination of parameter blocks that share no residual, from the normal equations.

    H = [U W; W' V],    V block diagonal: one block V_e of order d for each eliminated block e.

The residual blocks that meet e meet a few kept blocks f too: the *slots* of e, for each of which W has a block

    W_s = sum J_e' J_f     (d, w).

With V_e + D_e = L L', z = L^-1 b_e and Y_s = L^-1 W_s, elimination leaves [1]_ [2]_

    S[f_s, f_t] -= Y_s' Y_t,      g[f_s] -= Y_s' z        for all slots s <= t of e,

and when x is known in the kept blocks, x_e = -L^-T L^-1 (b_e + sum W_s x[f_s]).

A block of S with w rows and v columns lies in w v consecutive numbers: its first `main` columns row by row, then the
others column by column. `main` is a multiple of a vector's length where v is larger than that, so that of nine columns
eight are vectors, and the ninth is one too, but for its last number. Blocks of V and W are row by row.

Sizes are constants where it pays to specialise a kernel: D, W for eliminated and kept blocks, Q, A, B for the
residuals and the two arguments of a product. Zero stands for a size that is read at run time. Where sizes are constants
the loop over consecutive numbers is the outer one: the compiler unrolls the inner loops and makes vectors of what is
left.

References
----------
.. [1] D. C. Brown, "A Solution to the General Problem of Multiple Station Analytical Stereotriangulation", RCA-MTP
   Data Reduction Technical Report 43, 1958.
.. [2] B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, "Bundle Adjustment - A Modern Synthesis", Vision
   Algorithms: Theory and Practice, 2000, section 6.1.
"""

import math

from nlsq.kernels.backend import kernel, shift

D = W = 0  # order of the eliminated blocks, width of all kept blocks that they meet
Q = A = B = 0  # residuals of a block, widths of the arguments of a product
MAIN = 0  # columns of a block of S that lie row by row
NO_DIGITS = 1e-14  # pivot over diagonal: at about 50 eps rounding has left nothing of a difference


@kernel("void(double*, int, int, int, int, int, int, int, int, int*, double*)", apart=True)
def add_products(
    values, count, rows, stride, first_a, width_a, first_b, width_b, columns_by_row, targets, products_out
):
    """Add J_a' J_b of each residual block to the block that begins at its target.

    values : (count, rows, stride).  first_a, first_b, width_a, width_b : columns of the two arguments.
    columns_by_row : `main` of the blocks.  targets : (count,), negative where there is nothing to add.
    """
    q = Q if Q > 0 else rows
    a = A if A > 0 else width_a
    b = B if B > 0 else width_b
    main = MAIN if MAIN > 0 else columns_by_row
    for i in range(count):
        if targets[i] >= 0:
            out = shift(products_out, targets[i])
            left = shift(values, i * q * stride + first_a)
            right = shift(values, i * q * stride + first_b)
            if B > 0:
                for t in range(main):
                    for s in range(a):
                        total = 0.0
                        for k in range(q):
                            total += left[k * stride + s] * right[k * stride + t]
                        out[s * main + t] += total
            else:
                for s in range(a):
                    for t in range(main):
                        total = 0.0
                        for k in range(q):
                            total += left[k * stride + s] * right[k * stride + t]
                        out[s * main + t] += total
            for s in range(a):
                for t in range(main, b):
                    total = 0.0
                    for k in range(q):
                        total += left[k * stride + s] * right[k * stride + t]
                    out[t * a + s] += total


@kernel("void(double*, double*, int, int, int, int, int, int*, double*)", apart=True)
def add_gradient(values, r, count, rows, stride, first_a, width_a, targets, gradient_out):
    """Add J_a'r of each residual block to the gradient at its target; r (count, rows), see `add_products`."""
    q = Q if Q > 0 else rows
    a = A if A > 0 else width_a
    for i in range(count):
        if targets[i] >= 0:
            out = shift(gradient_out, targets[i])
            left = shift(values, i * q * stride + first_a)
            for s in range(a):
                total = 0.0
                for k in range(q):
                    total += left[k * stride + s] * r[i * q + k]
                out[s] += total


@kernel("double(double*, double*, int*, int, int, double*, int*)", apart=True)
def factor_blocks(blocks, damping, columns, count, d, factors_out, failed_out):
    """L L' = V_e + D_e for eliminated blocks of one order d, row by row, with 1 / L_jj on the diagonal.

    blocks, factors_out : (count, d, d).  damping : (n,).  columns : (count,) first column of each.

    Returns the smallest ratio of a squared pivot L_jj^2 to the diagonal; 0 if a block is not definite in floating
    point, and its index in failed_out (1,).
    """
    worst = 1.0
    for e in range(count):
        block = shift(blocks, e * d * d)
        factor = shift(factors_out, e * d * d)
        for i in range(d):
            diagonal = block[i * d + i] + damping[columns[e] + i]
            pivot = diagonal
            for j in range(i):
                value = block[i * d + j]
                for k in range(j):
                    value -= factor[i * d + k] * factor[j * d + k]
                value *= factor[j * d + j]
                factor[i * d + j] = value
                pivot -= value * value
            if not (pivot > NO_DIGITS * diagonal and pivot < math.inf):
                failed_out[0] = e
                return 0.0
            worst = min(worst, pivot / diagonal)
            factor[i * d + i] = 1.0 / math.sqrt(pivot)
    return worst


@kernel(
    "void(double*, double*, double*, int*, int, int, int*, int*, int*, int*, int*, int*, double*, double*, double*)",
    apart=True,
)
def eliminate(
    factors,
    couplings,
    gradient,
    columns,
    count,
    order,
    slots,
    slot_blocks,
    slot_columns,
    slot_widths,
    panels,
    pair_blocks,
    scaled_work,
    reduced_gradient_out,
    reduced_out,
):
    """Subtract Y'Y from the blocks of S and Y'z from the reduced gradient, for eliminated blocks of one order.

    factors : (count, d, d) of `factor_blocks`.  couplings : W, that of slot s begins at slot_blocks[s].
    gradient : (n,) J'r.  columns : (count,) first column of each eliminated block.
    slots : (count + 1,) first slot of each.  slot_columns, slot_widths : first reduced column and width of the kept
    block of a slot, ascending in each eliminated block.
    panels : block (s, t) of S begins at panels[s] + w_s slot_columns[t].  Where panels[0] is negative, it begins at
    pair_blocks[p] instead, p counting the pairs s <= t in their order.
    scaled_work : room for z and all Y of one eliminated block.
    reduced_gradient_out : (reduced columns,).  reduced_out : blocks of S.
    """
    d = D if D > 0 else order
    pair = 0
    for e in range(count):
        factor = shift(factors, e * d * d)
        z = scaled_work
        for k in range(d):
            value = gradient[columns[e] + k]
            for j in range(k):
                value -= factor[k * d + j] * z[j]
            z[k] = value * factor[k * d + k]
        first, last = slots[e], slots[e + 1]
        y = shift(scaled_work, d)
        for s in range(first, last):
            w = W if W > 0 else slot_widths[s]
            block = shift(couplings, slot_blocks[s])
            for a in range(w):
                total = 0.0
                for k in range(d):
                    value = block[k * w + a]
                    for j in range(k):
                        value -= factor[k * d + j] * y[j * w + a]
                    value *= factor[k * d + k]
                    y[k * w + a] = value
                    total += value * z[k]
                reduced_gradient_out[slot_columns[s] + a] -= total
            y = shift(y, d * w)
        left = shift(scaled_work, d)
        for s in range(first, last):
            w = W if W > 0 else slot_widths[s]
            right = left
            for t in range(s, last):
                v = W if W > 0 else slot_widths[t]
                main = MAIN if W > 0 else main_columns(v)
                if panels[0] < 0:
                    out = shift(reduced_out, pair_blocks[pair])
                else:
                    out = shift(reduced_out, panels[s] + w * slot_columns[t])
                pair += 1
                if W > 0:
                    for b in range(main):
                        for a in range(w):
                            total = 0.0
                            for k in range(d):
                                total += left[k * w + a] * right[k * v + b]
                            out[a * main + b] -= total
                else:
                    for a in range(w):
                        for b in range(main):
                            total = 0.0
                            for k in range(d):
                                total += left[k * w + a] * right[k * v + b]
                            out[a * main + b] -= total
                for a in range(w):
                    for b in range(main, v):
                        total = 0.0
                        for k in range(d):
                            total += left[k * w + a] * right[k * v + b]
                        out[b * w + a] -= total
                right = shift(right, d * v)
            left = shift(left, d * w)


@kernel("int(int)")
def main_columns(width):
    """Give how many columns of a block of S lie row by row: vectors of four or eight, whatever the processor has."""
    length = 8 if width > 8 else 4
    return width // length * length if width > length else width


@kernel("void(double*, double*, double*, int*, int, int, int*, int*, int*, int*, double*, double*)", apart=True)
def substitute(
    factors,
    couplings,
    gradient,
    columns,
    count,
    d,
    slots,
    slot_blocks,
    slot_columns,
    slot_widths,
    reduced_step,
    step_out,
):
    """Give the step of eliminated blocks of one order d: x_e = -L^-T L^-1 (b_e + sum W_s x[f_s]).

    Arguments as in `eliminate`; reduced_step : (reduced columns,).  step_out : (n,), written in the columns of the
    eliminated blocks.
    """
    for e in range(count):
        factor = shift(factors, e * d * d)
        x = shift(step_out, columns[e])
        for k in range(d):
            x[k] = gradient[columns[e] + k]
        for s in range(slots[e], slots[e + 1]):
            w = slot_widths[s]
            block = shift(couplings, slot_blocks[s])
            kept = shift(reduced_step, slot_columns[s])
            for k in range(d):
                total = 0.0
                for a in range(w):
                    total += block[k * w + a] * kept[a]
                x[k] += total
        for k in range(d):
            value = x[k]
            for j in range(k):
                value -= factor[k * d + j] * x[j]
            x[k] = value * factor[k * d + k]
        for i in range(d):
            k = d - 1 - i
            value = x[k]
            for j in range(k + 1, d):
                value -= factor[j * d + k] * x[j]
            x[k] = value * factor[k * d + k]
        for k in range(d):
            x[k] = -x[k]


@kernel("void(double*, int*, int, int, double*)", apart=True)
def expand_row(blocks, starts, f, count, dense_out):
    """Write the rows of kept block f: blocks (f, g) one after the other, see `expand`."""
    n, first = starts[count], starts[f]
    w = starts[f + 1] - first
    for g in range(f, count):
        column = starts[g]
        v = starts[g + 1] - column
        block = shift(blocks, w * (column - first))
        main = main_columns(v)
        for a in range(w):
            for b in range(main):
                dense_out[(first + a) * n + column + b] = block[a * main + b]
            for b in range(main, v):
                dense_out[(first + a) * n + column + b] = block[b * w + a]


@kernel("void(int, int*, int*, int, double*, double*, double*)")
def expand(origin, starts, row_blocks, count, damping, row_work, dense_out):
    """Write S + diag(damping) as the upper triangle of a matrix, row by row, from blocks at the end of its own memory.

    There is a block for each pair f <= g of kept blocks. All rows from f on take at least the memory of their blocks,
    so that those of f reach no block of a later row; its own are copied before.

    origin : where the blocks begin in dense_out; they end with it.  starts : (count + 1,) first reduced column of each
    kept block, and n.  row_blocks : (count,) beginning of block (f, f) from the origin; block (f, g) is
    w_f (starts_g - starts_f) further on.  damping : (n,).  row_work : (largest w_f n,).  dense_out : (n, n); below the
    diagonal only the rest of the diagonal blocks is written.
    """
    n = starts[count]
    for f in range(count):
        first = starts[f]
        w = starts[f + 1] - first
        blocks = shift(dense_out, origin + row_blocks[f])
        for i in range(w * (n - first)):
            row_work[i] = blocks[i]
        expand_row(row_work, starts, f, count, dense_out)
        for a in range(w):
            dense_out[(first + a) * (n + 1)] += damping[first + a]
