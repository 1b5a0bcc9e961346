r"""Steps on rotations, rigid motions and spheres, for many blocks at once.

A block holds more numbers than it has degrees of freedom; a step has as many as those. With a point X and a step d

    plus(X, d) = X Exp(d),        J_plus = d plus(X, d) / d d  at  d = 0

where Exp is the exponential of the group [1]_: for a rotation vector omega of length theta the unit quaternion is
``(sin(theta/2) omega/theta, cos(theta/2))``, and for a rigid motion with translation part u

    t + R V u,     V = I + (1 - cos theta)/theta^2 [omega] + (theta - sin theta)/theta^3 [omega]^2.

On the sphere the step goes along the great circle in the tangent plane that a Householder reflection H spans [2]_:
``H x`` is a multiple of the last unit vector, so the other columns of H are orthogonal to x. After each step the
numbers are put back on the manifold, so that rounding does not add up.

References
----------
.. [1] J. Sola, J. Deray and D. Atchuthan, "A micro Lie theory for state estimation in robotics", arXiv:1812.01537,
   2018, appendices A to D.
.. [2] C. Hertzberg, R. Wagner, U. Frese and L. Schroeder, "Integrating generic sensor fusion algorithms with sound
   state representations through encapsulation of manifolds", Information Fusion 14(1), 2013, appendix B.
"""

import math

from nlsq.kernels.backend import kernel, shift

SERIES_BELOW = 0.25  # theta^2 where (theta - sin theta) / theta^3 is a series: six terms leave less than an ulp


@kernel("void(double*, double*, double*)")
def turned(q, omega, q_out):
    """Give q times the exponential of a rotation vector, normalised; quaternions are x, y, z, w. In place too."""
    theta = math.sqrt(omega[0] * omega[0] + omega[1] * omega[1] + omega[2] * omega[2])
    scale = 0.5
    if theta > 0.0:
        scale = math.sin(0.5 * theta) / theta
    ax, ay, az, aw = scale * omega[0], scale * omega[1], scale * omega[2], math.cos(0.5 * theta)
    x = q[3] * ax + q[0] * aw + q[1] * az - q[2] * ay
    y = q[3] * ay - q[0] * az + q[1] * aw + q[2] * ax
    z = q[3] * az + q[0] * ay - q[1] * ax + q[2] * aw
    w = q[3] * aw - q[0] * ax - q[1] * ay - q[2] * az
    inverse = 1.0 / math.sqrt(x * x + y * y + z * z + w * w)
    q_out[0] = x * inverse
    q_out[1] = y * inverse
    q_out[2] = z * inverse
    q_out[3] = w * inverse


@kernel("void(double*, int, int, double*)")
def turned_jacobian(q, stride, column, jac_out):
    """Fill four rows of length `stride` from `column` on: the derivative of q Exp(omega), half q times a unit."""
    x, y, z, w = 0.5 * q[0], 0.5 * q[1], 0.5 * q[2], 0.5 * q[3]
    row = shift(jac_out, column)
    row[0] = w
    row[1] = -z
    row[2] = y
    row = shift(jac_out, column + stride)
    row[0] = z
    row[1] = w
    row[2] = -x
    row = shift(jac_out, column + 2 * stride)
    row[0] = -y
    row[1] = x
    row[2] = w
    row = shift(jac_out, column + 3 * stride)
    row[0] = -x
    row[1] = -y
    row[2] = -z


@kernel("void(double*, int, double*)")
def rotation_of(q, stride, rotation_out):
    """Fill three rows of length `stride` with the rotation matrix of a unit quaternion."""
    x, y, z, w = q[0], q[1], q[2], q[3]
    row = rotation_out
    row[0] = 1.0 - 2.0 * (y * y + z * z)
    row[1] = 2.0 * (x * y - z * w)
    row[2] = 2.0 * (x * z + y * w)
    row = shift(rotation_out, stride)
    row[0] = 2.0 * (x * y + z * w)
    row[1] = 1.0 - 2.0 * (x * x + z * z)
    row[2] = 2.0 * (y * z - x * w)
    row = shift(rotation_out, 2 * stride)
    row[0] = 2.0 * (x * z - y * w)
    row[1] = 2.0 * (y * z + x * w)
    row[2] = 1.0 - 2.0 * (x * x + y * y)


@kernel("void(double*, double*, int, double*)")
def quaternion_plus(x, step, count, x_out):
    """Step unit quaternions; x, x_out (count, 4), step (count, 3). In place too."""
    for b in range(count):
        turned(shift(x, 4 * b), shift(step, 3 * b), shift(x_out, 4 * b))


@kernel("void(double*, int, double*)")
def quaternion_plus_jacobian(x, count, jac_out):
    """Differentiate the step of unit quaternions; jac_out (count, 4, 3)."""
    for b in range(count):
        turned_jacobian(shift(x, 4 * b), 3, 0, shift(jac_out, 12 * b))


@kernel("void(double*, double*, int, double*)")
def se3_plus(x, step, count, x_out):
    """Step rigid motions; x, x_out (count, 7): t, quaternion; step (count, 6): translation, rotation. In place too."""
    for b in range(count):
        t, q, t_out = shift(x, 7 * b), shift(x, 7 * b + 3), shift(x_out, 7 * b)
        u, omega = shift(step, 6 * b), shift(step, 6 * b + 3)
        a0, a1, a2 = omega[0], omega[1], omega[2]
        square = a0 * a0 + a1 * a1 + a2 * a2
        theta = math.sqrt(square)
        first = 0.5
        if theta > 0.0:
            half = math.sin(0.5 * theta) / theta
            first = 2.0 * half * half  # (1 - cos theta) / theta^2
        if square > SERIES_BELOW:
            second = (theta - math.sin(theta)) / (square * theta)
        else:
            second = 1.0 / 39916800.0 - square / 6227020800.0
            second = 1.0 / 5040.0 - square * (1.0 / 362880.0 - square * second)
            second = 1.0 / 6.0 - square * (1.0 / 120.0 - square * second)
        c0, c1, c2 = a1 * u[2] - a2 * u[1], a2 * u[0] - a0 * u[2], a0 * u[1] - a1 * u[0]
        v0 = u[0] + first * c0 + second * (a1 * c2 - a2 * c1)
        v1 = u[1] + first * c1 + second * (a2 * c0 - a0 * c2)
        v2 = u[2] + first * c2 + second * (a0 * c1 - a1 * c0)
        # R v = v + 2 w (q x v) + 2 q x (q x v)
        d0, d1, d2 = q[1] * v2 - q[2] * v1, q[2] * v0 - q[0] * v2, q[0] * v1 - q[1] * v0
        t_out[0] = t[0] + v0 + 2.0 * (q[3] * d0 + q[1] * d2 - q[2] * d1)
        t_out[1] = t[1] + v1 + 2.0 * (q[3] * d1 + q[2] * d0 - q[0] * d2)
        t_out[2] = t[2] + v2 + 2.0 * (q[3] * d2 + q[0] * d1 - q[1] * d0)
        turned(q, omega, shift(x_out, 7 * b + 3))


@kernel("void(double*, int, double*)")
def se3_plus_jacobian(x, count, jac_out):
    """Differentiate the step of rigid motions; jac_out (count, 7, 6)."""
    for k in range(42 * count):
        jac_out[k] = 0.0
    for b in range(count):
        rotation_of(shift(x, 7 * b + 3), 6, shift(jac_out, 42 * b))
        turned_jacobian(shift(x, 7 * b + 3), 6, 3, shift(jac_out, 42 * b + 18))


@kernel("void(double*, double*, int, double*)")
def se2_plus(x, step, count, x_out):
    """Step motions of the plane; x, x_out (count, 3): x, y, angle, not wrapped; step (count, 3). In place too."""
    for b in range(count):
        p, d, out = shift(x, 3 * b), shift(step, 3 * b), shift(x_out, 3 * b)
        omega, angle = d[2], p[2]
        along, across = 1.0, 0.0  # sin(omega) / omega, (1 - cos(omega)) / omega
        if omega != 0.0:
            half = math.sin(0.5 * omega)
            along, across = math.sin(omega) / omega, 2.0 * half * half / omega
        u, v = along * d[0] - across * d[1], across * d[0] + along * d[1]
        c, s = math.cos(angle), math.sin(angle)
        out[0] = p[0] + c * u - s * v
        out[1] = p[1] + s * u + c * v
        out[2] = angle + omega


@kernel("void(double*, int, double*)")
def se2_plus_jacobian(x, count, jac_out):
    """Differentiate the step of motions of the plane; jac_out (count, 3, 3)."""
    for b in range(count):
        jac = shift(jac_out, 9 * b)
        c, s = math.cos(x[3 * b + 2]), math.sin(x[3 * b + 2])
        jac[0] = c
        jac[1] = -s
        jac[2] = 0.0
        jac[3] = s
        jac[4] = c
        jac[5] = 0.0
        jac[6] = 0.0
        jac[7] = 0.0
        jac[8] = 1.0


@kernel("void(double*, double*, int, double*, double*)")
def so3_plus(x, step, count, work, x_out):
    """Step rotation matrices; x, x_out (count, 9) by rows, step (count, 3), work (35,). In place too.

    The product is orthogonal up to rounding; one Newton step towards the nearest rotation, ``R (3 I - R' R) / 2``,
    squares what is left of the deviation.
    """
    unit, q, exponential, product, defect = work, shift(work, 4), shift(work, 8), shift(work, 17), shift(work, 26)
    for k in range(3):
        unit[k] = 0.0
    unit[3] = 1.0
    for b in range(count):
        old, out = shift(x, 9 * b), shift(x_out, 9 * b)
        turned(unit, shift(step, 3 * b), q)
        rotation_of(q, 3, exponential)
        for i in range(3):
            for j in range(3):
                total = 0.0
                for k in range(3):
                    total += old[3 * i + k] * exponential[3 * k + j]
                product[3 * i + j] = total
        for i in range(3):
            for j in range(3):
                total = 0.0
                for k in range(3):
                    total += product[3 * k + i] * product[3 * k + j]
                defect[3 * i + j] = (1.5 if i == j else 0.0) - 0.5 * total
        for i in range(3):
            for j in range(3):
                total = 0.0
                for k in range(3):
                    total += product[3 * i + k] * defect[3 * k + j]
                out[3 * i + j] = total


@kernel("void(double*, int, double*)")
def so3_plus_jacobian(x, count, jac_out):
    """Differentiate the step of rotation matrices, R [e_k]; jac_out (count, 9, 3)."""
    for b in range(count):
        for i in range(3):
            r0, r1, r2 = x[9 * b + 3 * i], x[9 * b + 3 * i + 1], x[9 * b + 3 * i + 2]
            row = shift(jac_out, 27 * b + 9 * i)
            row[0] = 0.0
            row[1] = -r2
            row[2] = r1
            row[3] = r2
            row[4] = 0.0
            row[5] = -r0
            row[6] = -r1
            row[7] = r0
            row[8] = 0.0


@kernel("void(double*, double*, int, int, double*)")
def sphere_plus(x, step, count, n, x_out):
    """Step unit vectors along great circles; x, x_out (count, n), step (count, n - 1). In place too."""
    for b in range(count):
        old, d, out = shift(x, n * b), shift(step, (n - 1) * b), shift(x_out, n * b)
        last = old[n - 1]
        sign = -1.0 if last < 0.0 else 1.0
        square = 0.0
        inner = 0.0  # v' d for the reflection's vector v = x + sign e_n; v' v = 2 (1 + |x_n|)
        for k in range(n - 1):
            square += d[k] * d[k]
            inner += old[k] * d[k]
        length = math.sqrt(square)
        across, along = 1.0, math.cos(length)
        if length > 0.0:
            across = math.sin(length) / length
        inner = inner / (1.0 + abs(last))
        total = 0.0
        for k in range(n - 1):
            out[k] = along * old[k] + across * (d[k] - inner * old[k])
            total += out[k] * out[k]
        out[n - 1] = along * last - across * inner * (last + sign)
        inverse = 1.0 / math.sqrt(total + out[n - 1] * out[n - 1])
        for k in range(n):
            out[k] *= inverse


@kernel("void(double*, int, int, double*)")
def sphere_plus_jacobian(x, count, n, jac_out):
    """Differentiate the step on the sphere: the first n - 1 columns of H = I - 2 v v' / v' v; (count, n, n - 1)."""
    for b in range(count):
        point, jac = shift(x, n * b), shift(jac_out, n * (n - 1) * b)
        last = point[n - 1]
        sign = -1.0 if last < 0.0 else 1.0
        scale = 1.0 / (1.0 + abs(last))
        for i in range(n):
            v = point[i] if i < n - 1 else last + sign
            for j in range(n - 1):
                jac[(n - 1) * i + j] = (1.0 if i == j else 0.0) - scale * v * point[j]
