"""Products of Jacobians of residual blocks.

A group has `count` residual blocks, each of q residuals and `arguments` arguments. The values of block i lie in rows
of `width` numbers,

    J[first row + i q + a, place + t]  =  values[(i q + a) width + start_k + t],       place = places[i arguments + k],

for t below the width of argument k, starts_{k+1} - starts_k. A negative place marks an argument that is held: its
values are not read. Pointers to rows of J (products, residuals) begin at the group's first row.
"""

from nlsq.kernels.backend import kernel, shift

# Sizes are zero in this module: they are read at run time. Specialised kernels have their own.
Q = 0  # residuals of a block
WIDTH = 0  # columns of all its arguments
LENGTH = 0  # columns of one argument


@kernel("void(double*, int*, int*, double*, int, int, int, double*)")
def multiply(values, places, starts, v, count, q, arguments, product_out):
    """Give J v for the rows of a group; v (n,), product_out (count q,)."""
    width = starts[arguments]
    for i in range(count):
        block = shift(values, i * q * width)
        for a in range(q):
            product_out[i * q + a] = 0.0
        for k in range(arguments):
            place = places[i * arguments + k]
            if place >= 0:
                length = starts[k + 1] - starts[k]
                part = shift(v, place)
                for a in range(q):
                    row = shift(block, a * width + starts[k])
                    total = 0.0
                    for t in range(length):
                        total += row[t] * part[t]
                    product_out[i * q + a] += total


@kernel("void(double*, int*, int*, double*, int, int, int, double*)")
def multiply_transposed(values, places, starts, u, count, q, arguments, product_out):
    """Add J'u over the rows of a group; u (count q,), product_out (n,)."""
    width = starts[arguments]
    for i in range(count):
        block = shift(values, i * q * width)
        for k in range(arguments):
            place = places[i * arguments + k]
            if place >= 0:
                length = starts[k + 1] - starts[k]
                part = shift(block, starts[k])
                target = shift(product_out, place)
                for t in range(length):
                    total = 0.0
                    for a in range(q):
                        total += part[a * width + t] * u[i * q + a]
                    target[t] += total


@kernel("void(double*, int*, int*, int, int, int, double*)")
def add_squares(values, places, starts, count, q, arguments, squares_out):
    """Add the squared lengths of the columns of J over the rows of a group; squares_out (n,)."""
    width = starts[arguments]
    for i in range(count):
        block = shift(values, i * q * width)
        for k in range(arguments):
            place = places[i * arguments + k]
            if place >= 0:
                length = starts[k + 1] - starts[k]
                part = shift(block, starts[k])
                target = shift(squares_out, place)
                for t in range(length):
                    total = 0.0
                    for a in range(q):
                        total += part[a * width + t] * part[a * width + t]
                    target[t] += total


@kernel("void(double*, int*, double*, int, int, int, int, int, int, double*, double*)", apart=True)
def add_gradient_and_squares(values, places, r, count, q, width, arguments, start, length, gradient_out, squares_out):
    """Add J'r and the squared lengths of the columns of one argument over the rows of a group.

    places : (count, arguments) from the argument's own on.  start, length : its columns in the rows of `values`.
    r : (count q,).  gradient_out, squares_out : (n,).
    """
    q = Q if Q > 0 else q
    width = WIDTH if WIDTH > 0 else width
    length = LENGTH if LENGTH > 0 else length
    for i in range(count):
        place = places[i * arguments]
        if place >= 0:
            part = shift(values, i * q * width + start)
            gradient, squares = shift(gradient_out, place), shift(squares_out, place)
            for t in range(length):
                slope = 0.0
                square = 0.0
                for a in range(q):
                    value = part[a * width + t]
                    slope += value * r[i * q + a]
                    square += value * value
                gradient[t] += slope
                squares[t] += square


@kernel("void(int*, int*, int*, int, int, int, double*)")
def zero_columns(is_zeroed, places, starts, count, q, arguments, values_out):
    """Set the values in columns with a nonzero in `is_zeroed` (n,) to zero; values_out (count, q, width)."""
    width = starts[arguments]
    for i in range(count):
        block = shift(values_out, i * q * width)
        for k in range(arguments):
            place = places[i * arguments + k]
            if place >= 0:
                for t in range(starts[k + 1] - starts[k]):
                    if is_zeroed[place + t] != 0:
                        for a in range(q):
                            block[a * width + starts[k] + t] = 0.0
