"""The Riccati recursion: a linear-quadratic problem solved stage by stage.

    min  sum_k 1/2 d_k' (H_k + D_k) d_k + g_k' d_k + 1/2 dx_N' (H_N + D_N) dx_N + g_N' dx_N,     d_k = (du_k, dx_k)
    s.t. dx_0 given,  dx_{k+1} = [B_k A_k] d_k + b_k

With the cost to go ``1/2 dx' P_{k+1} dx + p_{k+1}' dx`` behind it, stage k has the matrix

    M = H_k + D_k + [B A]' P_{k+1} [B A]      (controls first).

Eliminating the controls by Cholesky, row by row, leaves the factor's rows ``U = [U_uu U_ux]`` and, in the trailing
block, ``P_k = M_xx - U_ux' U_ux`` [1]_ [2]_. The vectors follow: ``m = g_k + [B A]' (p_{k+1} + P_{k+1} b_k)``, of which
the controls' part is substituted forward into ``y`` and the rest is ``p_k``. Going forward,
``U_uu du_k = -(y + U_ux dx_k)``. Costates are ``pi_k = P_k dx_k + p_k``.

`STATES` and `CONTROLS` are zero here, and sizes are read at run time; problems use kernels in which they are constants.

References
----------
.. [1] C. V. Rao, S. J. Wright, J. B. Rawlings, "Application of interior-point methods to model predictive control",
   J. Optim. Theory Appl. 99 (1998), section 3.
.. [2] G. Frison, J. B. Jorgensen, "Efficient implementation of the Riccati recursion for solving linear-quadratic
   control problems", IEEE CCA 2013, algorithm 3.
"""

import math

from nlsq.kernels.backend import add_multiple, int_pointer, kernel, shift
from nlsq.kernels.optimal_control.stage_layout import BLOCK, FACTOR_BLOCK, NU, NX, REGULARISED, K, N

STATES = 0
CONTROLS = 0
LEAST_PIVOT = 1e-13  # of its diagonal entry before elimination: below, the controls' Hessian counts as singular
REPLACEMENT = 1e-8  # of that entry, added to such a pivot; where it is zero the control changes nothing


@kernel("int(int)")
def row_length(columns):
    """Length of the rows of a stage's matrices: a multiple of four, so that rows are worked on in whole registers."""
    return (columns + 3) // 4 * 4


@kernel("int(double*, int, double*, double*)", apart=True)
def factorise(blocks, data, work, factors_out):
    """Factorise all stages; the result is how many pivots had to be replaced, -1 where one is not finite.

    The factor of a stage is ``U (NU rows) | 1 / pivots (NU, filled up) | P (NX rows)``; the last stage has P alone.
    ``M`` and ``P [B A]`` stand behind the vectors of `work`.
    """
    iw = int_pointer(data)
    nx = STATES if STATES > 0 else iw[NX]
    nu = CONTROLS if CONTROLS > 0 else iw[NU]
    stages, lead = iw[N], iw[K]
    nz = nx + nu
    row = (nz + 3) // 4 * 4
    row_x = (nx + 3) // 4 * 4
    pivots = nu * row
    cost = pivots + (nu + 3) // 4 * 4
    diagonal = shift(work, nz * lead)
    defects = shift(work, 2 * nz * lead)
    moved = shift(work, (2 * nz + nx) * lead)  # P b
    product = shift(work, (2 * nz + 3 * nx + nu) * lead)  # P [B A]
    matrix = shift(product, nx * row)
    replaced = 0
    hessian = shift(blocks, stages * iw[BLOCK] + nx * row)
    ahead = shift(factors_out, stages * iw[FACTOR_BLOCK] + cost)
    for i in range(nx):
        for j in range(nx):
            ahead[i * row_x + j] = hessian[(nu + i) * row + nu + j]
        ahead[i * row_x + i] += diagonal[(nu + i) * lead + stages]
    for back in range(stages):
        k = stages - 1 - back
        block = shift(blocks, k * iw[BLOCK])
        hessian = shift(block, nx * row)
        factor = shift(factors_out, k * iw[FACTOR_BLOCK])
        ahead = shift(factor, iw[FACTOR_BLOCK] + cost)
        for i in range(nx):
            for j in range(row):
                product[i * row + j] = 0.0
            total = 0.0
            for l in range(nx):
                p = ahead[i * row_x + l]
                total += p * defects[l * lead + k]
                for j in range(0, row, 4):
                    add_multiple(p, shift(block, l * row + j), shift(product, i * row + j))
            moved[i * lead + k] = total
        for i in range(nz):
            for j in range(row):
                matrix[i * row + j] = hessian[i * row + j]
            for l in range(nx):
                a = block[l * row + i]
                for j in range(0, row, 4):
                    add_multiple(a, shift(product, l * row + j), shift(matrix, i * row + j))
        for j in range(nu):
            factor[pivots + j] = abs(matrix[j * row + j] + diagonal[j * lead + k])
        for j in range(nu):
            pivot = matrix[j * row + j] + diagonal[j * lead + k]
            entry = factor[pivots + j]  # before elimination
            if not pivot > LEAST_PIVOT * entry:
                if not abs(pivot) <= 1e300:
                    return -1
                pivot = max(pivot, 0.0) + (REPLACEMENT * entry if entry > 0.0 else 1.0)
                replaced += 1
            inverse = 1.0 / math.sqrt(pivot)
            factor[pivots + j] = inverse
            for i in range(row):
                factor[j * row + i] = 0.0
            for i in range(0, row, 4):
                add_multiple(inverse, shift(matrix, j * row + i), shift(factor, j * row + i))
            for i in range(j + 1, nz):
                a = -factor[j * row + i]
                for l in range(0, row, 4):
                    add_multiple(a, shift(factor, j * row + l), shift(matrix, i * row + l))
        for i in range(nx):
            for j in range(i):
                factor[cost + i * row_x + j] = factor[cost + j * row_x + i]
            for j in range(i, nx):
                factor[cost + i * row_x + j] = matrix[(nu + i) * row + nu + j]
            factor[cost + i * row_x + i] += diagonal[(nu + i) * lead + k]
    iw[REGULARISED] = replaced
    return replaced


@kernel("int(double*, int, double*, double*)")
def substitute(blocks, data, work, factors):
    """Solve for a right-hand side in `work` with the factors; the step goes behind P b and p, see `stage_layout`.

    The step's first state is given: it stands where the result is written.
    """
    iw = int_pointer(data)
    nx = STATES if STATES > 0 else iw[NX]
    nu = CONTROLS if CONTROLS > 0 else iw[NU]
    stages, lead = iw[N], iw[K]
    nz = nx + nu
    row = (nz + 3) // 4 * 4
    pivots = nu * row
    gradient = work
    defects = shift(work, 2 * nz * lead)
    moved = shift(work, (2 * nz + nx) * lead)
    slope = shift(work, (2 * nz + 2 * nx) * lead)
    controls = shift(work, (2 * nz + 3 * nx) * lead)
    vector = shift(work, (2 * nz + 3 * nx + nu) * lead)  # m, where factorise had P [B A]
    step = shift(vector, (nx + nz) * row)
    for i in range(nx):
        slope[i * lead + stages] = gradient[(nu + i) * lead + stages]
    for back in range(stages):
        k = stages - 1 - back
        block = shift(blocks, k * iw[BLOCK])
        factor = shift(factors, k * iw[FACTOR_BLOCK])
        for j in range(row):
            vector[j] = 0.0
        for l in range(nx):
            value = slope[l * lead + k + 1] + moved[l * lead + k]
            for j in range(0, row, 4):
                add_multiple(value, shift(block, l * row + j), shift(vector, j))
        for j in range(nz):
            vector[j] += gradient[j * lead + k]
        for j in range(nu):
            value = vector[j] * factor[pivots + j]
            controls[j * lead + k] = value
            for i in range(j + 1, nz):
                vector[i] -= value * factor[j * row + i]
        for i in range(nx):
            slope[i * lead + k] = vector[nu + i]
    for k in range(stages):
        block = shift(blocks, k * iw[BLOCK])
        factor = shift(factors, k * iw[FACTOR_BLOCK])
        for back in range(nu):
            j = nu - 1 - back
            total = controls[j * lead + k]
            for i in range(nx):
                total += factor[j * row + nu + i] * step[(nu + i) * lead + k]
            for i in range(j + 1, nu):
                total += factor[j * row + i] * step[i * lead + k]
            step[j * lead + k] = -total * factor[pivots + j]
        for i in range(nx):
            total = defects[i * lead + k]
            for j in range(nz):
                total += block[i * row + j] * step[j * lead + k]
            step[(nu + i) * lead + k + 1] = total
    return 0


@kernel("void(int*, double*, double*, double*, double*)")
def find_costates(iw, factors, slope, step, costates_out):
    """Write ``pi_k = P_k dx_k + p_k``, the multipliers of the dynamics that lead to stage k."""
    nx, nu, lead = iw[NX], iw[NU], iw[K]
    row = row_length(nx + nu)
    row_x = row_length(nx)
    cost = nu * row + row_length(nu)
    for k in range(iw[N] + 1):
        factor = shift(factors, k * iw[FACTOR_BLOCK] + cost)
        for i in range(nx):
            total = slope[i * lead + k]
            for j in range(nx):
                total += factor[i * row_x + j] * step[(nu + j) * lead + k]
            costates_out[i * lead + k] = total
