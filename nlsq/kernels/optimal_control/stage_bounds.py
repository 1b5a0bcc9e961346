"""Bounds in the interior-point method for a stage-structured quadratic program.

A bound row has, at each stage, the distance ``e = +-(z - bound)`` of the point about which the program was made, a
slack ``t > 0`` for the distance ``e +- d`` after the step d, and a multiplier ``l > 0``. Newton's equations for
``t l = m`` and ``t = e +- d``, with the step's *result* d for an unknown, give

    l_new = m / t - w (e +- d - t),    w = l / t,

so that a row adds w to the diagonal of the Hessian and ``-+(m / t + w (t - e))`` to the gradient. The program's linear
constraints hold for every d that is found, whatever the step lengths before.

Pointers lead to arrays with a row of K numbers for each bound row; the loops of a row take neighbouring stages.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.optimal_control.stage_layout import HEADER, ROWS, K


@kernel("void(int*, double*, double*, double*, double*)", apart=True)
def measure_distances(iw, direction, bound, z, distances_out):
    """Write e."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        component, first, last = iw[HEADER + 3 * b], iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        sign = direction[b]
        here, limit, out = shift(z, component * lead), shift(bound, b * lead), shift(distances_out, b * lead)
        for k in range(first, last):
            out[k] = sign * (here[k] - limit[k])


@kernel("void(int*, double*, double*, double, double, double*, double*)", apart=True)
def start_rows(iw, distances, extents, size, barrier, slacks_out, multipliers_io):
    """Begin on the central path, near the distances and multipliers at hand: ``t l = barrier`` everywhere.

    On the path ``t - rho l = e - rho l_old`` gives ``t = (y + sqrt(y^2 + 4 rho barrier)) / 2`` with y the right side,
    the smoothed complementarity of Chen and Harker, Kanzow and Smale. rho is the square of the row's extent over
    the size of the cost: the wider a control's range, say, the smaller its multipliers.
    """
    lead = iw[K]
    for b in range(iw[ROWS]):
        first, last = iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        e, t, l = shift(distances, b * lead), shift(slacks_out, b * lead), shift(multipliers_io, b * lead)
        rho = extents[b] * extents[b] / size
        for k in range(first, last):
            y = e[k] - rho * l[k]
            root = math.sqrt(y * y + 4.0 * rho * barrier)
            t[k] = 0.5 * (y + root) if y > 0.0 else 2.0 * rho * barrier / (root - y)
            l[k] = barrier / t[k]


@kernel("void(int*, double*, double*, double, double*, double*)", apart=True)
def start_cold(iw, distances, extents, barrier, slacks_out, multipliers_out):
    """Begin far from all bounds, with ``t l = barrier``."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        first, last = iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        e, t, l = shift(distances, b * lead), shift(slacks_out, b * lead), shift(multipliers_out, b * lead)
        for k in range(first, last):
            t[k] = max(e[k], extents[b])
            l[k] = barrier / t[k]


@kernel("void(int*, double*, double*, double*, double*, double*, double*, double*, double*)", apart=True)
def condense(iw, direction, distances, slacks, multipliers, weights_out, inverses_out, gradient_io, diagonal_io):
    """Add the rows to gradient and diagonal, with m = 0; write w and 1 / t."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        component, first, last = iw[HEADER + 3 * b], iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        sign = direction[b]
        e, t, l = shift(distances, b * lead), shift(slacks, b * lead), shift(multipliers, b * lead)
        w, inverse = shift(weights_out, b * lead), shift(inverses_out, b * lead)
        gradient, diagonal = shift(gradient_io, component * lead), shift(diagonal_io, component * lead)
        for k in range(first, last):
            inverse[k] = 1.0 / t[k]
            w[k] = l[k] * inverse[k]
            diagonal[k] += w[k]
            gradient[k] -= sign * w[k] * (t[k] - e[k])


@kernel(
    "double(int*, double*, double*, double*, double*, double*, double*, double*, double*, double*, double*)", apart=True
)
def find_changes(
    iw, direction, distances, step, slacks, multipliers, weights, inverses, targets, slack_changes_out, changes_out
):
    """Write the changes of slacks and multipliers for a step; the result is the largest ratio ``-change / value``.

    The longest step that keeps all of them positive is the inverse of the ratio, where that is above 1.
    """
    lead, largest = iw[K], 0.0
    for b in range(iw[ROWS]):
        component, first, last = iw[HEADER + 3 * b], iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        sign = direction[b]
        e, t, l = shift(distances, b * lead), shift(slacks, b * lead), shift(multipliers, b * lead)
        d = shift(step, component * lead)
        w, inverse, m = shift(weights, b * lead), shift(inverses, b * lead), shift(targets, b * lead)
        dt, dl = shift(slack_changes_out, b * lead), shift(changes_out, b * lead)
        for k in range(first, last):
            dt[k] = e[k] + sign * d[k] - t[k]
            dl[k] = m[k] * inverse[k] - l[k] - w[k] * dt[k]
        for k in range(first, last):
            largest = max(largest, -dt[k] * inverse[k])
            largest = max(largest, -dl[k] / l[k])
    return largest


@kernel("double(int*, double*, double*, double*, double*, double)", apart=True)
def mean_product(iw, slacks, multipliers, slack_changes, changes, length):
    """Mean of ``t l`` after a step of some length."""
    lead, total, count = iw[K], 0.0, 0
    for b in range(iw[ROWS]):
        first, last = iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        t, l = shift(slacks, b * lead), shift(multipliers, b * lead)
        dt, dl = shift(slack_changes, b * lead), shift(changes, b * lead)
        for k in range(first, last):
            total += (t[k] + length * dt[k]) * (l[k] + length * dl[k])
        count += last - first
    return total / max(count, 1)


@kernel("void(int*, double*, double, double*, double*, double*, double*, double*)", apart=True)
def correct(iw, direction, barrier, slack_changes, changes, inverses, targets_out, gradient_io):
    """Write ``m = barrier - dt dl`` of the predictor, Mehrotra's correction, and add it to the gradient."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        component, first, last = iw[HEADER + 3 * b], iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        sign = direction[b]
        dt, dl, inverse = shift(slack_changes, b * lead), shift(changes, b * lead), shift(inverses, b * lead)
        m, gradient = shift(targets_out, b * lead), shift(gradient_io, component * lead)
        for k in range(first, last):
            m[k] = barrier - dt[k] * dl[k]
            gradient[k] -= sign * m[k] * inverse[k]


@kernel("double(int*, double*, double*, double, double*, double*)", apart=True)
def advance_rows(iw, slack_changes, changes, length, slacks_io, multipliers_io):
    """Take a step of some length; the result is the mean of ``t l``."""
    lead, total, count = iw[K], 0.0, 0
    for b in range(iw[ROWS]):
        first, last = iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]
        t, l = shift(slacks_io, b * lead), shift(multipliers_io, b * lead)
        dt, dl = shift(slack_changes, b * lead), shift(changes, b * lead)
        for k in range(first, last):
            t[k] += length * dt[k]
            l[k] += length * dl[k]
            total += t[k] * l[k]
        count += last - first
    return total / max(count, 1)


@kernel("double(int*, double*, double*)")
def largest_entry(iw, extents, rows):
    """Largest absolute value in the bound rows, relative to their extents."""
    lead, largest = iw[K], 0.0
    for b in range(iw[ROWS]):
        own = 0.0
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            own = max(own, abs(rows[b * lead + k]))
        largest = max(largest, own / extents[b])
    return largest


@kernel("double(int*, double*, double*)")
def largest_change(iw, units, rows):
    """Largest absolute value in the bound rows, times the unit of the component."""
    lead, largest = iw[K], 0.0
    for b in range(iw[ROWS]):
        own = 0.0
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            own = max(own, abs(rows[b * lead + k]))
        largest = max(largest, own * units[iw[HEADER + 3 * b]])
    return largest


@kernel("void(int*, double*, double*, double*)")
def add_multipliers(iw, direction, multipliers, gradient_io):
    """Add what the bounds' multipliers contribute to the Lagrangian's gradient."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        component = iw[HEADER + 3 * b]
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            gradient_io[component * lead + k] -= direction[b] * multipliers[b * lead + k]


@kernel("double(int*, double*, double*, double, double*)")
def complementarity(iw, distances, multipliers, size, units):
    """Largest ``|e l|`` relative to the size of the cost, or distance beyond a bound in the component's unit."""
    lead, largest = iw[K], 0.0
    for b in range(iw[ROWS]):
        unit = units[iw[HEADER + 3 * b]]
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            e = distances[b * lead + k]
            largest = max(largest, abs(e * multipliers[b * lead + k]) / size, -e / unit)
    return largest


@kernel("double(int*, double*, double*, double*, double*, double*)")
def complementarity_after(iw, direction, distances, step, slacks, multipliers):
    """Largest ``t l``, or ``|e +- d| l`` where the whole step has been taken."""
    lead, largest = iw[K], 0.0
    for b in range(iw[ROWS]):
        component, sign = iw[HEADER + 3 * b], direction[b]
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            e = distances[b * lead + k] + sign * step[component * lead + k]
            largest = max(largest, max(abs(e), slacks[b * lead + k]) * multipliers[b * lead + k])
    return largest


@kernel("void(int*, double*, double*, double*)")
def clip(iw, direction, bound, z_io):
    """Move what is beyond a bound onto it."""
    lead = iw[K]
    for b in range(iw[ROWS]):
        component = iw[HEADER + 3 * b]
        for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
            value, limit = z_io[component * lead + k], bound[b * lead + k]
            if direction[b] * (value - limit) < 0.0:
                z_io[component * lead + k] = limit
