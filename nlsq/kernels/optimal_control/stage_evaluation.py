"""Where a plan stands: stages linearised or evaluated, and the first-order conditions measured."""

import math

from nlsq.kernels.backend import call_function, call_weighted, kernel, shift
from nlsq.kernels.optimal_control.riccati import row_length
from nlsq.kernels.optimal_control.stage_bounds import add_multipliers, complementarity, measure_distances
from nlsq.kernels.optimal_control.stage_layout import (
    BLOCK,
    BLOCKS,
    BOUNDS,
    COMPLEMENTARITY,
    COST,
    COST_NEW,
    COST_SIZE,
    COSTATES,
    DEFECT,
    DEFECT_NEW,
    DIRECTIONS,
    DZ,
    EVALUATE,
    EVALUATE_DATA,
    EVALUATE_END,
    EVALUATE_END_DATA,
    EVALUATIONS,
    FAILED,
    INITIAL,
    IS_EXACT,
    LINEARISE,
    LINEARISE_DATA,
    LINEARISE_END,
    LINEARISE_END_DATA,
    LINEARISE_END_EXACT,
    LINEARISE_EXACT,
    MULTIPLIERS,
    NOT_FINITE,
    NU,
    NX,
    RELATIVE_STATIONARITY,
    ROW_WORK,
    SIZES,
    STATIONARITY,
    TOLERANCE,
    UNITS,
    VECTORS,
    VECTORS_NEW,
    VIOLATION,
    WAS_EXACT,
    WEIGHTS,
    WORK,
    Z_NEW,
    K,
    N,
    Z,
)
from nlsq.kernels.optimal_control.stage_sizes import size_from_dynamics

CANCELLED = 1e-13  # of a unit: what may be left of constants in the dynamics that cancel


@kernel("void(double*, int*)")
def add_defects(w, iw):
    """Write the weighted sum of the defects, that of the first state included."""
    nx, nu, lead = iw[NX], iw[NU], iw[K]
    defects, step, weights = shift(w, iw[WORK] + 2 * (nx + nu) * lead), shift(w, iw[DZ]), shift(w, iw[WEIGHTS])
    total = 0.0
    for i in range(nx):
        part = abs(step[(nu + i) * lead])
        for k in range(iw[N]):
            part += abs(defects[i * lead + k])
        total += weights[i] * part
    w[DEFECT] = total


@kernel("int(double*, int*)")
def linearise(w, iw):
    """Linearise at z; cost, defects and their size. Zero, or one of the layout's codes."""
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    z, vectors, blocks = shift(w, iw[Z]), shift(w, iw[VECTORS]), shift(w, iw[BLOCKS])
    end = shift(blocks, stages * iw[BLOCK])
    iw[EVALUATIONS] += 1
    if iw[WAS_EXACT] != 0 and iw[IS_EXACT] == 0:  # entries that are zero by structure are not written
        for i in range((stages + 1) * iw[BLOCK]):
            blocks[i] = 0.0
    iw[WAS_EXACT] = iw[IS_EXACT]
    inner = iw[LINEARISE_EXACT] if iw[IS_EXACT] != 0 else iw[LINEARISE]
    last = iw[LINEARISE_END_EXACT] if iw[IS_EXACT] != 0 else iw[LINEARISE_END]
    if call_weighted(inner, z, iw[LINEARISE_DATA], blocks, vectors) != 0:
        return FAILED
    if call_weighted(last, shift(z, stages), iw[LINEARISE_END_DATA], end, shift(vectors, stages)) != 0:
        return FAILED
    defects, step, initial = shift(w, iw[WORK] + 2 * (nx + nu) * lead), shift(w, iw[DZ]), shift(w, iw[INITIAL])
    for i in range(nx):
        ahead = shift(z, (nu + i) * lead + 1)
        for k in range(stages):
            defects[i * lead + k] = vectors[i * lead + k] - ahead[k]
        step[(nu + i) * lead] = initial[i] - z[(nu + i) * lead]
    add_defects(w, iw)
    cost = 0.0
    for k in range(stages + 1):
        cost += vectors[(2 * nx + nu) * lead + k]
    w[COST] = cost
    return 0 if abs(cost) + w[DEFECT] <= 1e300 else NOT_FINITE


@kernel("int(double*, int*)")
def evaluate(w, iw):
    """Cost and size of the defects at the candidate; nonzero where they are not finite or a function failed."""
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    z, vectors, initial = shift(w, iw[Z_NEW]), shift(w, iw[VECTORS_NEW]), shift(w, iw[INITIAL])
    iw[EVALUATIONS] += 1
    if call_function(iw[EVALUATE], z, iw[EVALUATE_DATA], vectors) != 0:
        return FAILED
    if call_function(iw[EVALUATE_END], shift(z, stages), iw[EVALUATE_END_DATA], shift(vectors, stages)) != 0:
        return FAILED
    weights, total = shift(w, iw[WEIGHTS]), 0.0
    for i in range(nx):
        ahead, part = shift(z, (nu + i) * lead + 1), abs(initial[i] - z[(nu + i) * lead])
        for k in range(stages):
            part += abs(vectors[i * lead + k] - ahead[k])
        total += weights[i] * part
    cost = 0.0
    for k in range(stages + 1):
        cost += vectors[(2 * nx + nu) * lead + k]
    w[DEFECT_NEW], w[COST_NEW] = total, cost
    return 0 if abs(cost) + total <= 1e300 else NOT_FINITE


@kernel("int(double*, int*)")
def keeps_dynamics(w, iw):
    """Measure the violation of the dynamics; 1 where it is within the tolerance, relative to states and their terms.

    The terms are the entries of [B A] times the sizes of controls and states: rounding is as large as they are. In
    units it may be what cancellation leaves, or the tolerance itself where no size is known.
    """
    nx, nu, lead = iw[NX], iw[NU], iw[K]
    defects, step, sizes = shift(w, iw[WORK] + 2 * (nx + nu) * lead), shift(w, iw[DZ]), shift(w, iw[SIZES])
    known = 0.0
    for j in range(nx + nu):
        known += sizes[j]
    least = CANCELLED if known > 0.0 else w[TOLERANCE]
    w[VIOLATION], keeps = 0.0, 1
    for i in range(nx):
        largest = abs(step[(nu + i) * lead])
        for k in range(iw[N]):
            largest = max(largest, abs(defects[i * lead + k]))
        w[VIOLATION] = max(w[VIOLATION], largest)
        allowed = max(w[TOLERANCE] * sizes[nu + i], least * w[iw[UNITS] + nu + i])
        if not largest <= allowed and not largest <= w[TOLERANCE] * size_from_dynamics(w, iw, sizes, i):
            keeps = 0
    return keeps


@kernel("int(double*, int*)")
def test_conditions(w, iw):
    """Measure the first-order conditions at z with the multipliers at hand; 1 where all are within the tolerance.

    The gradient is measured by what the sizes of states and controls make of it, relative to that of the cost, and so
    are complementary products.
    """
    nx, nu, lead, stages = iw[NX], iw[NU], iw[K], iw[N]
    nz = nx + nu
    row = row_length(nz)
    gradient, costates = shift(w, iw[WORK]), shift(w, iw[COSTATES])
    slope, distances = shift(w, iw[VECTORS] + nx * lead), shift(w, iw[ROW_WORK])
    for i in range(nz * lead):
        gradient[i] = slope[i]
    for k in range(stages):
        block = shift(w, iw[BLOCKS] + k * iw[BLOCK])
        for i in range(nx):
            value = costates[i * lead + k + 1]
            for j in range(nz):
                gradient[j * lead + k] += value * block[i * row + j]
    for i in range(nx):
        for k in range(1, stages + 1):
            gradient[(nu + i) * lead + k] -= costates[i * lead + k]
    add_multipliers(iw, shift(w, iw[DIRECTIONS]), shift(w, iw[MULTIPLIERS]), gradient)
    sizes, units, size = shift(w, iw[SIZES]), shift(w, iw[UNITS]), w[COST_SIZE]
    w[STATIONARITY] = w[RELATIVE_STATIONARITY] = 0.0
    for j in range(nz):
        largest, total = 0.0, 0.0
        first, last = (0, stages) if j < nu else (1, stages + 1)
        for k in range(first, last):
            largest = max(largest, abs(gradient[j * lead + k]))
            total += gradient[j * lead + k]
        if not abs(total) <= 1e300:  # a maximum may lose what is not a number
            largest = math.inf
        unit = sizes[j] if sizes[j] > 0.0 else units[j]
        w[STATIONARITY] = max(w[STATIONARITY], largest)
        w[RELATIVE_STATIONARITY] = max(w[RELATIVE_STATIONARITY], largest * unit / size)
    measure_distances(iw, shift(w, iw[DIRECTIONS]), shift(w, iw[BOUNDS]), shift(w, iw[Z]), distances)
    relative = complementarity(iw, distances, shift(w, iw[MULTIPLIERS]), size, units)
    w[COMPLEMENTARITY] = size * relative
    tolerance = w[TOLERANCE]
    is_feasible = keeps_dynamics(w, iw)
    return 1 if is_feasible != 0 and w[RELATIVE_STATIONARITY] <= tolerance and relative <= tolerance else 0
