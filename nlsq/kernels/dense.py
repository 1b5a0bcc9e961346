"""Dense linear algebra on flat memory.

A Jacobian is stored by columns, ``jac_t[j*m + i] = dr_i/dx_j``, so that all inner loops run over contiguous memory.
Square matrices are row by row; only their lower triangles are read.

References
----------
.. [1] G. Golub, C. Van Loan, "Matrix Computations", 4th ed., 2013: sections 4.2 (Cholesky), 5.2.1 (Householder QR),
   5.4.2
   (column pivoting).
.. [2] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978: section 3 (damped solve by
   rotations).
"""

import math

from nlsq.kernels.backend import kernel, shift

BLOCK = 1024  # residuals per pass: two columns of a block stay in the first-level cache


@kernel("double(double*, double*, int)")
def dot(a, b, n):
    """Inner product."""
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@kernel("double(double*, int)")
def norm(a, n):
    """Euclidean norm; scaled only when the plain sum of squares over- or underflows."""
    total = 0.0
    for i in range(n):
        total += a[i] * a[i]
    if 1e-290 < total < 1e290 or total != total:
        return math.sqrt(total)
    largest = 0.0
    for i in range(n):
        if abs(a[i]) > largest:
            largest = abs(a[i])
    if largest == 0.0 or largest == math.inf:
        return largest
    total = 0.0
    for i in range(n):
        total += (a[i] / largest) * (a[i] / largest)
    return largest * math.sqrt(total)


@kernel("void(double*, double*, int)")
def copy(source, out, n):
    """Copy n numbers."""
    for i in range(n):
        out[i] = source[i]


@kernel("void(double*, int, int, double*)")
def normal_matrix(jac_t, m, n, normal_out):
    """Fill the lower triangle and its mirror: N = J'J  (n, n)."""
    for i in range(n * n):
        normal_out[i] = 0.0
    start = 0
    while start < m:
        length = min(BLOCK, m - start)
        for i in range(n):
            for j in range(i + 1):
                normal_out[i * n + j] += dot(shift(jac_t, i * m + start), shift(jac_t, j * m + start), length)
        start += length
    for i in range(n):
        for j in range(i):
            normal_out[j * n + i] = normal_out[i * n + j]


@kernel("double(double*, double, int, double*)")
def cholesky_factorize(matrix, damping, n, factor_out):
    """L L' = A + damping I, with 1 / L_jj on the diagonal: what follows multiplies by it again and again.

    Returns min_j L_jj^2 / A_jj, the measure of how many digits the pivots kept; 0 if not definite.
    """
    worst = 1.0
    for i in range(n):
        row = shift(factor_out, i * n)
        diagonal = matrix[i * n + i] + damping
        pivot = diagonal
        for j in range(i):
            other = shift(factor_out, j * n)
            value = matrix[i * n + j]
            for k in range(j):
                value -= row[k] * other[k]
            value *= other[j]
            row[j] = value
            pivot -= value * value
        if not (pivot > 0.0 and pivot < math.inf):
            return 0.0
        if pivot < worst * diagonal:
            worst = pivot / diagonal
        row[i] = 1.0 / math.sqrt(pivot)
    return worst


@kernel("void(double*, int, double*)")
def lower_solve(factor, n, b):
    """Solve L x = b in place, for a factor of `cholesky_factorize`."""
    for i in range(n):
        row = shift(factor, i * n)
        value = b[i]
        for j in range(i):
            value -= row[j] * b[j]
        b[i] = value * row[i]


@kernel("void(double*, int, double*)")
def lower_transposed_solve(factor, n, b):
    """Solve L' x = b in place, for a factor of `cholesky_factorize`."""
    for k in range(n):
        i = n - 1 - k
        row = shift(factor, i * n)
        value = b[i] * row[i]
        b[i] = value
        for j in range(i):
            b[j] -= row[j] * value


@kernel("void(double*, int, int, int, int*)")
def _swap_columns(q, rows, first, second, pivot):
    pivot[first], pivot[second] = pivot[second], pivot[first]
    for i in range(rows):
        t = q[first * rows + i]
        q[first * rows + i] = q[second * rows + i]
        q[second * rows + i] = t


@kernel("void(double*, double*, double, int)")
def _reflect(v, column, scale, n):
    """Column -= scale (v'column) v: apply the Householder reflection I - scale v v'."""
    t = scale * dot(v, column, n)
    for i in range(n):
        column[i] -= t * v[i]


@kernel("void(double*, int, int, double*, int*, double*, double*)")
def qr_factorize(q, rows, n, rhs, pivot_out, r_out, norms_work):
    """Householder QR with column pivoting, Q R = A P; `q` and `rhs` are overwritten.

    q : (n, rows) the columns of A, afterwards the reflectors.  rhs : (rows,) becomes Q' rhs.
    pivot_out : (n,) column k of R belongs to column pivot[k] of A.  r_out : (n, n) upper triangle, row by row.
    norms_work : (2 n,) running and reference column norms.
    """
    for j in range(n):
        pivot_out[j] = j
        norms_work[j] = norm(shift(q, j * rows), rows)
        norms_work[n + j] = norms_work[j]
    for i in range(n * n):
        r_out[i] = 0.0
    for k in range(min(rows, n)):
        largest = k
        for j in range(k + 1, n):
            if norms_work[j] > norms_work[largest]:
                largest = j
        if largest != k:
            _swap_columns(q, rows, k, largest, pivot_out)
            norms_work[largest] = norms_work[k]
            norms_work[n + largest] = norms_work[n + k]
            for i in range(k):
                t = r_out[i * n + k]
                r_out[i * n + k] = r_out[i * n + largest]
                r_out[i * n + largest] = t
        v = shift(q, k * rows + k)
        length = rows - k
        size = norm(v, length)
        if size > 0.0:
            if v[0] < 0.0:
                size = -size
            for i in range(length):
                v[i] /= size
            v[0] += 1.0
            scale = 1.0 / v[0]  # 2 / v'v, since v'v = 2 v_0
            _reflect(v, shift(rhs, k), scale, length)
            for j in range(k + 1, n):
                _reflect(v, shift(q, j * rows + k), scale, length)
        r_out[k * n + k] = -size
        for j in range(k + 1, n):
            entry = q[j * rows + k]
            r_out[k * n + j] = entry
            if norms_work[j] > 0.0:
                t = entry / norms_work[j]
                left = max(0.0, 1.0 - t * t)
                fresh = norms_work[j] / norms_work[n + j]
                if left * fresh * fresh <= 1e-14:  # cancellation: measure the rest anew
                    norms_work[j] = norm(shift(q, j * rows + k + 1), rows - k - 1)
                    norms_work[n + j] = norms_work[j]
                else:
                    norms_work[j] *= math.sqrt(left)


@kernel("void(double*, int, int, double*)")
def reflect_all(q, rows, n, b):
    """Apply Q' to another right-hand side, shape (rows,), with the reflectors that `qr_factorize` left in `q`."""
    for k in range(min(rows, n)):
        v = shift(q, k * rows + k)
        if v[0] != 0.0:
            _reflect(v, shift(b, k), 1.0 / v[0], rows - k)


@kernel("int(double*, int, double)")
def upper_rank(r, n, tolerance):
    """Count the leading diagonal entries of R above tolerance * |R_00|."""
    rank = 0
    while rank < n and abs(r[rank * n + rank]) > tolerance * abs(r[0]):
        rank += 1
    return rank


@kernel("void(double*, int, int, double*)")
def upper_solve(r, n, rank, b):
    """Solve the leading `rank` equations of R x = b in place; the other unknowns become 0."""
    for i in range(rank, n):
        b[i] = 0.0
    for k in range(rank):
        i = rank - 1 - k
        b[i] = (b[i] - dot(shift(r, i * n + i + 1), shift(b, i + 1), rank - i - 1)) / r[i * n + i]


@kernel("void(double*, int, double*)")
def upper_transposed_solve(r, n, b):
    """Solve R' x = b in place."""
    for i in range(n):
        value = b[i] / r[i * n + i]
        b[i] = value
        for j in range(i + 1, n):
            b[j] -= r[i * n + j] * value


@kernel("void(double*, double*, double, int, double*, double*, double*)", cold=True)
def damp_triangle(r, qtb, root_damping, n, s_out, qtb_out, row_work):
    """Rotate [R; root_damping I] into a triangle S and [Q'b; 0] with it [2]_."""
    for i in range(n):
        qtb_out[i] = qtb[i]
        for j in range(i, n):
            s_out[i * n + j] = r[i * n + j]
    for k in range(n):
        _rotate_in(root_damping, k, n, s_out, qtb_out, row_work)


@kernel("void(double*, double*, double*, int, double*, double*, double*)")
def damp_triangle_by(r, qtb, roots, n, s_out, qtb_out, row_work):
    """Rotate [R; diag(roots)] into a triangle S and [Q'b; 0] with it; `roots` in the order of R's columns."""
    for i in range(n):
        qtb_out[i] = qtb[i]
        for j in range(i, n):
            s_out[i * n + j] = r[i * n + j]
    for k in range(n):
        _rotate_in(roots[k], k, n, s_out, qtb_out, row_work)


@kernel("void(double, int, int, double*, double*, double*)")
def _rotate_in(root, k, n, s_out, qtb_out, row_work):
    """Rotate the row ``root e_k' p = 0`` into the triangle."""
    for j in range(k, n):
        row_work[j] = 0.0
    row_work[k] = root
    extra = 0.0
    for i in range(k, n):
        if row_work[i] != 0.0:
            length = math.hypot(s_out[i * n + i], row_work[i])
            c = s_out[i * n + i] / length
            s = row_work[i] / length
            for j in range(i, n):
                t = s_out[i * n + j]
                s_out[i * n + j] = c * t + s * row_work[j]
                row_work[j] = c * row_work[j] - s * t
            t = qtb_out[i]
            qtb_out[i] = c * t + s * extra
            extra = c * extra - s * t
