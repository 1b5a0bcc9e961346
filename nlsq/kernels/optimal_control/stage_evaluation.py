"""Where a plan stands: stages linearised or evaluated, and the first-order conditions measured."""

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
    ROW_WORK,
    STATIONARITY,
    TOLERANCE,
    VECTORS,
    VECTORS_NEW,
    VIOLATION,
    WAS_EXACT,
    WORK,
    Z_NEW,
    K,
    N,
    Z,
)


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
    total, largest = 0.0, 0.0
    for i in range(nx):
        ahead = shift(z, (nu + i) * lead + 1)
        for k in range(stages):
            defect = vectors[i * lead + k] - ahead[k]
            defects[i * lead + k] = defect
            total += abs(defect)
            largest = max(largest, abs(defect))
        change = initial[i] - z[(nu + i) * lead]
        step[(nu + i) * lead] = change
        total += abs(change)
        largest = max(largest, abs(change))
    cost = 0.0
    for k in range(stages + 1):
        cost += vectors[(2 * nx + nu) * lead + k]
    w[DEFECT], w[VIOLATION], w[COST] = total, largest, cost
    return 0 if abs(cost) + total <= 1e300 else NOT_FINITE


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
    total = 0.0
    for i in range(nx):
        ahead = shift(z, (nu + i) * lead + 1)
        for k in range(stages):
            total += abs(vectors[i * lead + k] - ahead[k])
        total += abs(initial[i] - z[(nu + i) * lead])
    cost = 0.0
    for k in range(stages + 1):
        cost += vectors[(2 * nx + nu) * lead + k]
    w[DEFECT_NEW], w[COST_NEW] = total, cost
    return 0 if abs(cost) + total <= 1e300 else NOT_FINITE


@kernel("int(double*, int*)")
def test_conditions(w, iw):
    """Measure the first-order conditions at z with the multipliers at hand; 1 where all are within the tolerance."""
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
    largest = 0.0
    for j in range(nz):
        first, last = (0, stages) if j < nu else (1, stages + 1)
        for k in range(first, last):
            largest = max(largest, abs(gradient[j * lead + k]))
    measure_distances(iw, shift(w, iw[DIRECTIONS]), shift(w, iw[BOUNDS]), shift(w, iw[Z]), distances)
    w[STATIONARITY] = largest
    w[COMPLEMENTARITY] = complementarity(iw, distances, shift(w, iw[MULTIPLIERS]))
    tolerance = w[TOLERANCE]
    return 1 if largest <= tolerance and w[VIOLATION] <= tolerance and w[COMPLEMENTARITY] <= tolerance else 0
