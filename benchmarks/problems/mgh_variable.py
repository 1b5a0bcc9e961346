r"""The More-Garbow-Hillstrom problems of variable dimension.

Every pair ``name_residual(x) -> r, shape (m,)`` and ``name_jacobian(x) -> J, shape (m, n)`` follows the problem
of that number in section 3 of [1]_, with n = x.size; J is exact. The functions whose m is free take it as the
keyword `m`.

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981.
"""

import numpy as np

PENALTY_WEIGHT = np.sqrt(1e-5)  # sqrt(a) of problems 23 and 24
WATSON_T = np.arange(1.0, 30.0) / 29.0


def _count(x):
    """Return 1.0, ..., n."""
    return np.arange(1.0, x.size + 1.0)


def extended_powell_residual(x):
    """Return r of problem 22 (problem 13, Powell singular, when n = 4), m = n."""
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    terms = [a + 10.0 * b, np.sqrt(5.0) * (c - d), (b - 2.0 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2]
    return np.stack(terms, axis=1).ravel()


def extended_powell_jacobian(x):
    """Return J of problem 22, m = n."""
    jac = np.zeros((x.size, x.size), dtype=x.dtype)
    for k in range(0, x.size, 4):
        inner, outer = 2.0 * (x[k + 1] - 2.0 * x[k + 2]), 2.0 * np.sqrt(10.0) * (x[k] - x[k + 3])
        jac[k, k : k + 2] = 1.0, 10.0
        jac[k + 1, k + 2 : k + 4] = np.sqrt(5.0), -np.sqrt(5.0)
        jac[k + 2, k + 1 : k + 3] = inner, -2.0 * inner
        jac[k + 3, k], jac[k + 3, k + 3] = outer, -outer
    return jac


def watson_residual(x):
    """Return r of problem 20, m = 31."""
    powers = WATSON_T[:, np.newaxis] ** np.arange(x.size)  # (29, n)
    slope = powers[:, :-1] @ (np.arange(1.0, x.size) * x[1:])
    return np.concatenate([slope - (powers @ x) ** 2 - 1.0, np.array([x[0], x[1] - x[0] ** 2 - 1.0])])


def watson_jacobian(x):
    """Return J of problem 20, m = 31."""
    powers = WATSON_T[:, np.newaxis] ** np.arange(x.size)
    jac = np.zeros((31, x.size), dtype=x.dtype)
    jac[:29] = -2.0 * (powers @ x)[:, np.newaxis] * powers
    jac[:29, 1:] += np.arange(1.0, x.size) * powers[:, :-1]
    jac[29, 0], jac[30, 0], jac[30, 1] = 1.0, -2.0 * x[0], 1.0
    return jac


def extended_rosenbrock_residual(x):
    """Return r of problem 21, m = n."""
    return np.stack([10.0 * (x[1::2] - x[0::2] ** 2), 1.0 - x[0::2]], axis=1).ravel()


def extended_rosenbrock_jacobian(x):
    """Return J of problem 21, m = n."""
    jac = np.zeros((x.size, x.size), dtype=x.dtype)
    even = np.arange(0, x.size, 2)
    jac[even, even], jac[even, even + 1], jac[even + 1, even] = -20.0 * x[0::2], 10.0, -1.0
    return jac


def penalty1_residual(x):
    """Return r of problem 23, m = n + 1."""
    return np.concatenate([PENALTY_WEIGHT * (x - 1.0), np.array([np.sum(x**2) - 0.25])])


def penalty1_jacobian(x):
    """Return J of problem 23, m = n + 1."""
    return np.concatenate([PENALTY_WEIGHT * np.eye(x.size), 2.0 * x[np.newaxis, :]])


def penalty2_residual(x):
    """Return r of problem 24, m = 2 n."""
    count, growth = _count(x), np.exp(x / 10.0)
    target = np.exp(count[1:] / 10.0) + np.exp(count[:-1] / 10.0)
    return np.concatenate(
        [
            np.array([x[0] - 0.2]),
            PENALTY_WEIGHT * (growth[1:] + growth[:-1] - target),
            PENALTY_WEIGHT * (growth[1:] - np.exp(-0.1)),
            np.array([np.sum(count[::-1] * x**2) - 1.0]),
        ]
    )


def penalty2_jacobian(x):
    """Return J of problem 24, m = 2 n."""
    n = x.size
    slope = PENALTY_WEIGHT * np.exp(x / 10.0) / 10.0
    row = np.arange(1, n)
    jac = np.zeros((2 * n, n), dtype=x.dtype)
    jac[0, 0] = 1.0
    jac[row, row], jac[row, row - 1] = slope[1:], slope[:-1]
    jac[n - 1 + row, row] = slope[1:]
    jac[2 * n - 1] = 2.0 * _count(x)[::-1] * x
    return jac


def variably_dimensioned_residual(x):
    """Return r of problem 25, m = n + 2."""
    total = np.sum(_count(x) * (x - 1.0))
    return np.concatenate([x - 1.0, np.array([total, total**2])])


def variably_dimensioned_jacobian(x):
    """Return J of problem 25, m = n + 2."""
    count = _count(x)
    total = np.sum(count * (x - 1.0))
    return np.concatenate([np.eye(x.size), count[np.newaxis, :], 2.0 * total * count[np.newaxis, :]])


def trigonometric_residual(x):
    """Return r of problem 26, m = n."""
    cosine = np.cos(x)
    return x.size - np.sum(cosine) + _count(x) * (1.0 - cosine) - np.sin(x)


def trigonometric_jacobian(x):
    """Return J of problem 26, m = n."""
    sine = np.sin(x)
    return np.tile(sine, (x.size, 1)) + np.diag(_count(x) * sine - np.cos(x))


def brown_almost_linear_residual(x):
    """Return r of problem 27, m = n."""
    return np.concatenate([x[:-1] + np.sum(x) - (x.size + 1.0), np.array([np.prod(x) - 1.0])])


def brown_almost_linear_jacobian(x):
    """Return J of problem 27, m = n."""
    jac = np.ones((x.size, x.size), dtype=x.dtype) + np.eye(x.size)
    one = np.ones(1, dtype=x.dtype)
    before = np.concatenate([one, np.cumprod(x[:-1])])
    after = np.concatenate([np.cumprod(x[:0:-1])[::-1], one])
    jac[-1] = before * after  # the product of the others, exact where some x_j is 0
    return jac


def discrete_boundary_value_residual(x):
    """Return r of problem 28, m = n."""
    h = 1.0 / (x.size + 1.0)
    zero = np.zeros(1)
    left, right = np.concatenate([zero, x[:-1]]), np.concatenate([x[1:], zero])
    return 2.0 * x - left - right + h**2 * (x + h * _count(x) + 1.0) ** 3 / 2.0


def discrete_boundary_value_jacobian(x):
    """Return J of problem 28, m = n."""
    h = 1.0 / (x.size + 1.0)
    neighbours = np.eye(x.size, k=1) + np.eye(x.size, k=-1)
    return np.diag(2.0 + 1.5 * h**2 * (x + h * _count(x) + 1.0) ** 2) - neighbours


def _integral_weights(x):
    """Return W, shape (n, n), with r = x + W (x + t + 1)^3, and t."""
    h = 1.0 / (x.size + 1.0)
    t = h * _count(x)
    row, column = t[:, np.newaxis], t[np.newaxis, :]
    return h / 2.0 * np.where(column <= row, (1.0 - row) * column, row * (1.0 - column)), t


def discrete_integral_equation_residual(x):
    """Return r of problem 29, m = n."""
    weights, t = _integral_weights(x)
    return x + weights @ (x + t + 1.0) ** 3


def discrete_integral_equation_jacobian(x):
    """Return J of problem 29, m = n."""
    weights, t = _integral_weights(x)
    return np.eye(x.size) + weights * (3.0 * (x + t + 1.0) ** 2)


def broyden_tridiagonal_residual(x):
    """Return r of problem 30, m = n."""
    zero = np.zeros(1)
    left, right = np.concatenate([zero, x[:-1]]), np.concatenate([x[1:], zero])
    return (3.0 - 2.0 * x) * x - left - 2.0 * right + 1.0


def broyden_tridiagonal_jacobian(x):
    """Return J of problem 30, m = n."""
    return np.diag(3.0 - 4.0 * x) - np.eye(x.size, k=-1) - 2.0 * np.eye(x.size, k=1)


def _band(n):
    """Return the neighbours of problem 31 as ones, shape (n, n): five below the diagonal, one above."""
    return np.tri(n, k=1) - np.tri(n, k=-6) - np.eye(n)


def broyden_banded_residual(x):
    """Return r of problem 31, m = n."""
    return x * (2.0 + 5.0 * x**2) + 1.0 - _band(x.size) @ (x * (1.0 + x))


def broyden_banded_jacobian(x):
    """Return J of problem 31, m = n."""
    return np.diag(2.0 + 15.0 * x**2) - _band(x.size) * (1.0 + 2.0 * x)


def linear_full_rank_residual(x, *, m):
    """Return r of problem 32."""
    return linear_full_rank_jacobian(x, m=m) @ x - 1.0


def linear_full_rank_jacobian(x, *, m):
    """Return J of problem 32."""
    return np.eye(m, x.size) - 2.0 / m


def linear_rank1_residual(x, *, m):
    """Return r of problem 33."""
    return np.arange(1.0, m + 1.0) * np.sum(_count(x) * x) - 1.0


def linear_rank1_jacobian(x, *, m):
    """Return J of problem 33."""
    return np.outer(np.arange(1.0, m + 1.0), _count(x))


def _zero_ends(size, first):
    """Return `first`, first + 1, ... with the first and the last entry replaced by 0."""
    values = np.arange(size) + float(first)
    values[[0, -1]] = 0.0
    return values


def linear_rank1_zeros_residual(x, *, m):
    """Return r of problem 34."""
    return _zero_ends(m, 0) * np.sum(_zero_ends(x.size, 1) * x) - 1.0


def linear_rank1_zeros_jacobian(x, *, m):
    """Return J of problem 34."""
    return np.outer(_zero_ends(m, 0), _zero_ends(x.size, 1))


def _chebyshev(x, m):
    """Return the shifted polynomials T_1, ..., T_m at x and their derivatives, each of shape (m, n)."""
    u = 2.0 * x - 1.0
    value, slope = [np.ones_like(u), u], [np.zeros_like(u), 2.0 * np.ones_like(u)]
    for k in range(1, m):
        slope.append(4.0 * value[k] + 2.0 * u * slope[k] - slope[k - 1])
        value.append(2.0 * u * value[k] - value[k - 1])
    return np.stack(value[1:]), np.stack(slope[1:])


def _chebyshev_integrals(m):
    """Return the integrals over [0, 1] of T_1, ..., T_m: 0 for odd i, -1/(i^2 - 1) for even i."""
    i = np.arange(1.0, m + 1.0)
    even = i % 2 == 0
    return np.where(even, -1.0 / np.where(even, i**2 - 1.0, 1.0), 0.0)


def chebyquad_residual(x, *, m):
    """Return r of problem 35."""
    return np.mean(_chebyshev(x, m)[0], axis=1) - _chebyshev_integrals(m)


def chebyquad_jacobian(x, *, m):
    """Return J of problem 35."""
    return _chebyshev(x, m)[1] / x.size
