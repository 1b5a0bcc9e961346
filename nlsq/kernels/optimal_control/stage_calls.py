"""Linearising stages whose functions are called one by one.

The service's table of integers begins with the names below. A function ``int f(z, table, out)`` gets the z of one stage
and a table of its own, ``[outputs, address of the stage's parameters]``; it writes ``(f, r)``, or, for the Jacobian,
derivatives transposed, (n, outputs).
"""

from nlsq.kernels.backend import call_function, double_pointer, int_pointer, kernel, shift

(
    COUNT,  # stages
    LEAD,  # how far components are apart
    STATES,
    CONTROLS,
    FIRST,  # component of z with which the argument begins
    ARGUMENTS,  # n
    DYNAMICS,  # outputs that are dynamics
    OUTPUTS,
    PARAMETERS,  # how many the stage has
    VALUE,  # addresses of the functions,
    JACOBIAN,
    OWN_TABLE,  # their table, and where it is
    PARAMETER_VALUES,  # of all stages, by components
    SCRATCH,  # z, the stage's parameters, outputs, Jacobian
    BLOCK,
    PLACES,
) = range(16)


@kernel("int(double*, int, int)")
def call_stage(z, data, k):
    """Bring z and parameters of a stage together and evaluate it; the values stand in the scratch memory."""
    table = int_pointer(data)
    lead, n, count = table[LEAD], table[ARGUMENTS], table[PARAMETERS]
    scratch = double_pointer(table[SCRATCH])
    for j in range(n):
        scratch[j] = z[(table[FIRST] + j) * lead + k]
    if count > 0:
        parameters = double_pointer(table[PARAMETER_VALUES])
        for j in range(count):
            scratch[n + j] = parameters[j * lead + k]
    return call_function(table[VALUE], scratch, table[OWN_TABLE], shift(scratch, n + count))


@kernel("void(double*, int, int, double*)")
def write_values(values, data, k, vectors_out):
    """Write dynamics and cost of a stage."""
    table = int_pointer(data)
    lead, dynamics = table[LEAD], table[DYNAMICS]
    for i in range(dynamics):
        vectors_out[i * lead + k] = values[i]
    total = 0.0
    for i in range(dynamics, table[OUTPUTS]):
        total += values[i] * values[i]
    vectors_out[(2 * table[STATES] + table[CONTROLS]) * lead + k] = 0.5 * total


@kernel("int(double*, int, double*)")
def evaluate_each(z, data, vectors_out):
    """Write dynamics and cost of all stages."""
    table = int_pointer(data)
    values = shift(double_pointer(table[SCRATCH]), table[ARGUMENTS] + table[PARAMETERS])
    for k in range(table[COUNT]):
        if call_stage(z, data, k) != 0:
            return 1
        write_values(values, data, k, vectors_out)
    return 0


@kernel("int(double*, int, double*, double*)")
def linearise_each(z, data, blocks_out, vectors_out):
    """Write blocks, dynamics, gradients and costs of all stages."""
    table = int_pointer(data)
    lead, n, outputs, first = table[LEAD], table[ARGUMENTS], table[OUTPUTS], table[FIRST]
    nx, dynamics = table[STATES], table[DYNAMICS]
    row = (nx + table[CONTROLS] + 3) // 4 * 4
    scratch = double_pointer(table[SCRATCH])
    values = shift(scratch, n + table[PARAMETERS])
    jac_t = shift(values, outputs)
    for k in range(table[COUNT]):
        if call_stage(z, data, k) != 0 or call_function(table[JACOBIAN], scratch, table[OWN_TABLE], jac_t) != 0:
            return 1
        write_values(values, data, k, vectors_out)
        block = shift(blocks_out, k * table[BLOCK])
        hessian = shift(block, nx * row + first * row + first)
        for j in range(n):
            for i in range(dynamics):
                block[i * row + first + j] = jac_t[j * outputs + i]
            slope = 0.0
            for i in range(dynamics, outputs):
                slope += jac_t[j * outputs + i] * values[i]
            vectors_out[(nx + first + j) * lead + k] = slope
            for l in range(j + 1):
                total = 0.0
                for i in range(dynamics, outputs):
                    total += jac_t[j * outputs + i] * jac_t[l * outputs + i]
                hessian[j * row + l] = total
                hessian[l * row + j] = total
    return 0
