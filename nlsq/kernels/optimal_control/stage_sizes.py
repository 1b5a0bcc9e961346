"""Sizes of states, controls and cost, so that nothing depends on the units that they are measured in.

The size of a component is the largest absolute value that it has in the plan; at the start, where it may be zero, its
unit is what bounds, dynamics or cost say of it. The size of the cost is how much of it a control of that size makes.
What is compared with a tolerance is taken relative to these.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.optimal_control.riccati import row_length
from nlsq.kernels.optimal_control.stage_layout import (
    BLOCK,
    BLOCKS,
    BOUNDS,
    COST,
    COST_SIZE,
    EXTENTS,
    GRADIENT_BOUND,
    HEADER,
    INITIAL,
    NU,
    NX,
    RELATIVE_STATIONARITY,
    ROWS,
    SIZES,
    UNITS,
    WEIGHTS,
    WIDTHS,
    K,
    N,
    Z,
)

LEAST_INFLUENCE = 1e-3  # of the control of largest influence: that of others counts as so much
NEGLIGIBLE = 1e-8  # of what the dynamics make of other components: a state is as good as zero
LEAST_SHARE = 1e-6  # of the bound of the cost's gradient, that the size of the cost is at least


@kernel("void(double*, int*)")
def measure_sizes(w, iw):
    """Write the largest absolute value of each component of z, the state that is given included."""
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    for j in range(nx + nu):
        row = shift(w, iw[Z] + j * lead)
        largest = 0.0 if j < nu else abs(w[iw[INITIAL] + j - nu])
        for k in range(stages if j < nu else stages + 1):
            largest = max(largest, abs(row[k]))
        w[iw[SIZES] + j] = largest


@kernel("double(double*, int*, int)")
def largest_curvature(w, iw, j):
    """Largest absolute diagonal entry that the stages' Hessians have for component j."""
    nx, nu, stages = iw[NX], iw[NU], iw[N]
    row = row_length(nx + nu)
    entry, largest = iw[BLOCKS] + (nx + j) * row + j, 0.0
    for k in range(stages if j < nu else stages + 1):
        largest = max(largest, abs(w[entry + k * iw[BLOCK]]))
    return largest


@kernel("double(double*, int*, int)")
def influence(w, iw, j):
    """Largest curvature of the cost along control j, that of the next state included."""
    nx, nu = iw[NX], iw[NU]
    row = row_length(nx + nu)
    largest = 0.0
    for k in range(iw[N]):
        block = shift(w, iw[BLOCKS] + k * iw[BLOCK])
        ahead = shift(block, iw[BLOCK] + (nx + nu) * row + nu)  # the states' part of the next Hessian
        total = abs(block[(nx + j) * row + j])
        for i in range(nx):
            total += block[i * row + j] * block[i * row + j] * abs(ahead[i * row + i])
        largest = max(largest, total)
    return largest


@kernel("double(double*, int*, double*)")
def cost_of_controls(w, iw, sizes):
    """Cost that the control of least influence makes, for some sizes, or a share of what that of the largest makes."""
    least, largest = math.inf, 0.0
    for j in range(iw[NU]):
        if sizes[j] > 0.0:
            made = sizes[j] * sizes[j] * influence(w, iw, j)
            least, largest = min(least, made), max(largest, made)
    return min(max(least, LEAST_INFLUENCE * largest), largest)


@kernel("void(double*, int*)")
def measure_cost(w, iw):
    """Write the size of the cost at the plan whose sizes are known; 1 where there is no cost.

    It is what the control of least influence makes, and at least a small share of ``max_j |J_j| |r|``, which bounds
    the gradient; J has the columns of all components of z, times their sizes.
    """
    sizes, column = shift(w, iw[SIZES]), 0.0
    for j in range(iw[NX] + iw[NU]):
        if sizes[j] > 0.0:
            column = max(column, sizes[j] * math.sqrt(largest_curvature(w, iw, j)))
    w[GRADIENT_BOUND] = column * max(column, math.sqrt(2.0 * w[COST]))
    size = max(cost_of_controls(w, iw, sizes), LEAST_SHARE * w[GRADIENT_BOUND])
    w[COST_SIZE] = size if size > 0.0 else 1.0


@kernel("void(double*, int*)")
def expect_cost(w, iw):
    """Let the size of the cost be what controls as large as their units make of it, within the gradient's bound.

    It is for the first program, before which controls may be zero.
    """
    expected = min(cost_of_controls(w, iw, shift(w, iw[UNITS])), w[GRADIENT_BOUND])
    if expected > w[COST_SIZE]:
        w[RELATIVE_STATIONARITY] *= w[COST_SIZE] / expected
        w[COST_SIZE] = expected


@kernel("double(double*, int*, double*, int)")
def size_from_dynamics(w, iw, sizes, i):
    """Size of state i as the dynamics make it of the components whose sizes are given."""
    nx, nu = iw[NX], iw[NU]
    row = row_length(nx + nu)
    largest = 0.0
    for k in range(iw[N]):
        entries = shift(w, iw[BLOCKS] + k * iw[BLOCK] + i * row)
        for j in range(nx + nu):
            largest = max(largest, abs(entries[j]) * sizes[j])
    return largest


@kernel("double(double*, int*, int)")
def largest_bound(w, iw, b):
    """Largest absolute value of a bound."""
    largest = 0.0
    for k in range(iw[HEADER + 3 * b + 1], iw[HEADER + 3 * b + 2]):
        largest = max(largest, abs(w[iw[BOUNDS] + b * iw[K] + k]))
    return largest


@kernel("double(double*, int*, int)")
def size_from_bounds(w, iw, component):
    """Least width of a component's bounds; zero where they say nothing."""
    least = 0.0
    for b in range(iw[ROWS]):
        if iw[HEADER + 3 * b] == component:
            width = w[iw[WIDTHS] + b] if w[iw[WIDTHS] + b] > 0.0 else largest_bound(w, iw, b)
            if width > 0.0 and (least == 0.0 or width < least):
                least = width
    return least


@kernel("double(double*, int*, int)")
def size_from_cost(w, iw, j):
    """Size with which a component would make the cost at hand; zero where there is none."""
    curvature = largest_curvature(w, iw, j)
    return math.sqrt(2.0 * w[COST] / curvature) if curvature > 0.0 and w[COST] > 0.0 else 0.0


@kernel("void(double*, int*)")
def choose_units(w, iw):
    """Write units of all components, weights of the dynamics' defects and extents of the bounds.

    A unit is the component's size, or else what its bounds, the dynamics or the cost say of it, and 1 where these say
    nothing. A state that is zero but for rounding has no size of its own either.
    """
    nx, nu = iw[NX], iw[NU]
    sizes, units = shift(w, iw[SIZES]), shift(w, iw[UNITS])
    for j in range(nx + nu):
        units[j] = sizes[j]
        if units[j] == 0.0:
            units[j] = size_from_bounds(w, iw, j)
        if units[j] == 0.0 and j < nu:
            units[j] = size_from_cost(w, iw, j)
    for i in range(nx):
        made = size_from_dynamics(w, iw, units, i)
        if units[nu + i] <= NEGLIGIBLE * made:
            units[nu + i] = made
    for j in range(nx + nu):
        if units[j] == 0.0:
            units[j] = size_from_cost(w, iw, j)
        if units[j] == 0.0:
            units[j] = 1.0
    for i in range(nx):
        w[iw[WEIGHTS] + i] = 1.0 / units[nu + i]
    for b in range(iw[ROWS]):
        width = w[iw[WIDTHS] + b]
        if width == 0.0:
            width = max(largest_bound(w, iw, b), units[iw[HEADER + 3 * b]])
        w[iw[EXTENTS] + b] = width


@kernel("void(double*, int*)")
def measure(w, iw):
    """Write all sizes for the plan that was linearised last."""
    measure_sizes(w, iw)
    measure_cost(w, iw)
