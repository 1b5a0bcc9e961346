"""The residual of a curve fit whose model is called by address: r_i = w_i (f(x_i; p) - y_i)."""

from nlsq.kernels.backend import call_function, double_pointer, int_pointer, kernel

# integers in the table that `data` points to; a compiled model reads POINTS and PREDICTORS only
POINTS, PREDICTORS, ROWS, RESPONSE, WEIGHTS, MODEL, COMPLEX_MODEL, TABLE = range(8)


@kernel("int(double*, int, double*)")
def curve_residual(p, data, out):
    """Nonzero when the model failed; weights are optional (address 0), and zero ones leave a point out."""
    table = int_pointer(data)
    failed = call_function(table[MODEL], p, data, out)
    if failed != 0:
        return failed
    m = table[POINTS]
    response = double_pointer(table[RESPONSE])
    for i in range(m):
        out[i] -= response[i]
    if table[WEIGHTS] != 0:
        weights = double_pointer(table[WEIGHTS])
        for i in range(m):
            out[i] = out[i] * weights[i] if weights[i] != 0.0 else 0.0
    return 0


@kernel("int(double*, int, double*)", cold=True)
def complex_curve_residual(p, data, out):
    """Do the same for complex parameters: pairs of doubles in and out."""
    table = int_pointer(data)
    failed = call_function(table[COMPLEX_MODEL], p, data, out)
    if failed != 0:
        return failed
    m = table[POINTS]
    response = double_pointer(table[RESPONSE])
    for i in range(m):
        out[2 * i] -= response[i]
    if table[WEIGHTS] != 0:
        weights = double_pointer(table[WEIGHTS])
        for i in range(2 * m):
            out[i] = out[i] * weights[i // 2] if weights[i // 2] != 0.0 else 0.0
    return 0
