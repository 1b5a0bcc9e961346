r"""Multifrontal factorisation P A P' = L S L', S = diag(+-1), on panels that are laid out beforehand.

The front of a node has its own columns (a panel of L) and the rows below them (its update matrix) [1]_:

    [F11  .  ]   entries of A and the updates of the children, added by their rows
    [F21  F22]
    F11 = L11 S1 L11',   L21 = F21 L11'^-1 S1,   U = F22 - L21 S1 L21'   goes to the parent

With S = I that is Cholesky. For a quasi-definite matrix every symmetric permutation has an L D L' with the signs of D
known beforehand [2]_, and L here is L |D|^(1/2) there. A pivot that is not finite or has the wrong sign ends the
factorisation.

References
----------
.. [1] J. W. H. Liu, "The Multifrontal Method for Sparse Matrix Solution: Theory and Practice", SIAM Review 34, 1992,
   sections 3 and 4. The method is of I. S. Duff and J. K. Reid, ACM Transactions on Mathematical Software 9, 1983.
.. [2] R. J. Vanderbei, "Symmetric Quasidefinite Matrices", SIAM Journal on Optimization 5, 1995, section 2.
"""

import math

from nlsq.kernels.backend import call_potrf, call_syrk, call_trsm, kernel, shift, subtract_product

NONE = -1
BLOCK = 4  # columns that are eliminated before the next in their panel hear of it
STRIP = 8  # columns of an update that are formed together
PANEL = 128  # columns that are eliminated before those on their right hear of it
ROWS = 192  # of a product that stay in a cache while columns go by
POTRF, TRSM, SYRK = range(3)
BLAS_WIDTH = 128  # columns of a panel, and below:
BLAS_WORK = 5e8  # width height^2 from which BLAS, which may use several threads, takes over; measured


@kernel("void(int, int, int, double*, int, double*, int, int, double*, int, int)")
def subtract(rows, columns, depth, a, lda, b, column_step, depth_step, c, ldc, adds):
    """C - A B', or -A B' where `adds` is 0; see `subtract_product`."""
    subtract_product(rows, columns, depth, a, lda, b, column_step, depth_step, c, ldc, adds)


@kernel("void(double*, int, int, int, int, double*, int, double*, double*, int, int)")
def subtract_lower(a, lda, rows, columns, depth, signs, signed, signed_work, c, ldc, adds):
    """C - A S A', or -A S A' where `adds` is 0: the lower trapezoid of C (rows, columns), A (rows, depth) by columns.

    The rows are taken in blocks that stay in a cache while the columns go by.
    """
    first = 0
    while first < rows:
        last = min(first + ROWS, rows)
        j = 0
        while j < min(last, columns):
            count = min(STRIP, columns - j)
            other, step = shift(a, j), lda
            if signed != 0:
                other, step = signed_work, STRIP
                for p in range(depth):
                    for q in range(count):
                        signed_work[p * STRIP + q] = a[p * lda + j + q] * signs[p]
            top = max(first, j)
            subtract(last - top, count, depth, shift(a, top), lda, other, 1, step, shift(c, j * ldc + top), ldc, adds)
            j += count
        first = last


@kernel("int(double*, int, int, int, double*)")
def factor_block(block, height, rows, width, signs):
    """L of a few columns (rows, width), `height` apart, a column at a time; returns the one that failed, or -1."""
    for k in range(width):
        column = shift(block, k * height + k)
        sign = signs[k]
        pivot = column[0] * sign
        if not (pivot > 0.0 and pivot < math.inf):
            return k
        root = math.sqrt(pivot)
        column[0] = root
        scale = sign / root
        rest = rows - k
        for i in range(1, rest):
            column[i] *= scale
        for d in range(1, width - k):
            target = shift(column, d * height)
            factor = column[d] * sign
            for i in range(d, rest):
                target[i] -= factor * column[i]
    return NONE


@kernel("int(double*, int, int, int, double*, int, double*)")
def factor_panel(panel, height, rows, width, signs, signed, signed_work):
    """L of the panel (rows, width), columns `height` apart, in place; returns the column that failed, or -1.

    Blocks of PANEL columns are eliminated, each in turn by blocks of BLOCK, before the columns on their right change.

    signs : (width,).  signed : whether any is -1.  signed_work : (PANEL * STRIP,).
    """
    start = 0
    while start < width:
        stop = min(start + PANEL, width)
        k = start
        while k < stop:
            count = min(BLOCK, stop - k)
            block = shift(panel, k * height + k)
            if k > start:
                depth = k - start
                other, step = shift(panel, start * height + k), height
                if signed != 0:
                    other, step = signed_work, BLOCK
                    for p in range(depth):
                        for c in range(count):
                            signed_work[p * BLOCK + c] = panel[(start + p) * height + k + c] * signs[start + p]
                left = shift(panel, start * height + k)
                subtract(rows - k, count, depth, left, height, other, 1, step, block, height, 1)
            failed = factor_block(block, height, rows - k, count, shift(signs, k))
            if failed != NONE:
                return k + failed
            k += count
        if stop < width:
            left, right = shift(panel, start * height + stop), shift(panel, stop * height + stop)
            subtract_lower(
                left,
                height,
                rows - stop,
                width - stop,
                stop - start,
                shift(signs, start),
                signed,
                signed_work,
                right,
                height,
                1,
            )
        start = stop
    return NONE


@kernel("void(double*, int, int, int, int*, double*, int, int)")
def extend_add(update, size, first, last, relative, target, leading, origin):
    """Add columns `first` to `last` of a child's update to a front whose rows and columns from `origin` are given."""
    for b in range(first, last):
        column = shift(target, (relative[b] - origin) * leading)
        source = shift(update, b * size)
        for a in range(b, size):
            column[relative[a] - origin] += source[a]


@kernel(
    "int(int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int*, int, double*, double*, int, int*, "
    "double*, double*, double*)"
)
def factorize(
    node_starts,
    row_starts,
    panel_starts,
    update_starts,
    heads,
    following,
    relative,
    inside,
    entry_starts,
    sources,
    places,
    m,
    values,
    signs,
    signed,
    blas,
    work,
    updates_work,
    panels_out,
):
    """Factorise; returns the (permuted) column whose pivot failed, or -1.

    heads, following : (m,) the children of each node, in lists.  blas : (3,) addresses of potrf, trsm, syrk.
    work : signed rows, (max(PANEL, largest width) * STRIP,).
    """
    for s in range(m):
        width = node_starts[s + 1] - node_starts[s]
        size = row_starts[s + 1] - row_starts[s]
        height = width + size
        panel = shift(panels_out, panel_starts[s])
        own = shift(signs, node_starts[s])
        for i in range(width * height):
            panel[i] = 0.0
        for q in range(entry_starts[s], entry_starts[s + 1]):
            panels_out[places[q]] = values[sources[q]]
        child = heads[s]
        while child != NONE:
            update = shift(updates_work, update_starts[child])
            rows = row_starts[child + 1] - row_starts[child]
            extend_add(update, rows, 0, inside[child], shift(relative, row_starts[child]), panel, height, 0)
            child = following[child]
        update = shift(updates_work, update_starts[s])
        if signed == 0 and width >= BLAS_WIDTH and float(width) * height * height >= BLAS_WORK:
            failed = call_potrf(blas[POTRF], width, panel, height) - 1
            for k in range(width):
                if failed == NONE and not panel[k * height + k] < math.inf:
                    failed = k
            if failed != NONE:
                return node_starts[s] + failed
            if size > 0:
                call_trsm(blas[TRSM], size, width, panel, height, shift(panel, width), height)
                call_syrk(blas[SYRK], size, width, shift(panel, width), height, update, size)
        else:
            failed = factor_panel(panel, height, height, width, own, signed, work)
            if failed != NONE:
                return node_starts[s] + failed
            subtract_lower(shift(panel, width), height, size, size, width, own, signed, work, update, size, 0)
        child = heads[s]
        while child != NONE:
            source = shift(updates_work, update_starts[child])
            rows = row_starts[child + 1] - row_starts[child]
            extend_add(source, rows, inside[child], rows, shift(relative, row_starts[child]), update, size, width)
            child = following[child]
    return NONE


@kernel("void(int*, int*, int*, int*, int, double*, double*, double*, double*)")
def solve(node_starts, row_starts, panel_starts, rows, m, panels, signs, below_work, x):
    """Solve L S L' x = b in place, in the order of the factor; below_work (largest update,)."""
    for s in range(m):
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        own, below, panel = shift(x, start), shift(rows, row_starts[s]), shift(panels, panel_starts[s])
        for k in range(width):
            column = shift(panel, k * height)
            value = own[k] / column[k]
            own[k] = value
            for i in range(k + 1, width):
                own[i] -= column[i] * value
        subtract(size, 1, width, shift(panel, width), height, own, 0, 1, below_work, size, 0)
        for i in range(size):
            x[below[i]] += below_work[i]
    for t in range(m):
        s = m - 1 - t
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        own, below = shift(x, start), shift(rows, row_starts[s])
        for i in range(size):
            below_work[i] = x[below[i]]
        for r in range(width):
            k = width - 1 - r
            column = shift(panels, panel_starts[s] + k * height)
            value = own[k] * signs[start + k]
            low = shift(column, width)
            for i in range(size):
                value -= low[i] * below_work[i]
            for i in range(k + 1, width):
                value -= column[i] * own[i]
            own[k] = value / column[k]


@kernel("void(int*, int*, int*, int*, int, double*, double*, int, double*, double*)")
def solve_many(node_starts, row_starts, panel_starts, rows, m, panels, signs, many, below_work, x):
    """Solve L S L' X = B in place for x (n, many), row by row; below_work (largest update, many)."""
    for s in range(m):
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        panel, below = shift(panels, panel_starts[s]), shift(rows, row_starts[s])
        own = shift(x, start * many)
        for k in range(width):
            row = shift(own, k * many)
            factors = shift(panel, k)
            subtract(many, 1, k, own, many, factors, 0, height, row, many, 1)
            for c in range(many):
                row[c] /= panel[k * height + k]
        subtract(many, size, width, own, many, shift(panel, width), 1, height, below_work, many, 0)
        for i in range(size):
            row = shift(x, below[i] * many)
            for c in range(many):
                row[c] += below_work[i * many + c]
    for t in range(m):
        s = m - 1 - t
        start = node_starts[s]
        width, size = node_starts[s + 1] - start, row_starts[s + 1] - row_starts[s]
        height = width + size
        panel, below = shift(panels, panel_starts[s]), shift(rows, row_starts[s])
        own = shift(x, start * many)
        for i in range(size):
            row = shift(x, below[i] * many)
            for c in range(many):
                below_work[i * many + c] = row[c]
        for i in range(width):
            for c in range(many):
                own[i * many + c] *= signs[start + i]
        subtract(many, width, size, below_work, many, shift(panel, width), height, 1, own, many, 1)
        for r in range(width):
            k = width - 1 - r
            row, column = shift(own, k * many), shift(panel, k * height + k)
            subtract(many, 1, width - 1 - k, shift(own, (k + 1) * many), many, shift(column, 1), 0, 1, row, many, 1)
            for c in range(many):
                row[c] /= column[0]
