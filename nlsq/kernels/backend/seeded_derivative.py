"""The sparse Jacobian of a user's njit residual by dual numbers, as a C function. Imports numba.

``int jac(const double* p, const int64* data, double* values)`` runs the residual on dual numbers in which all
parameters of one colour share a partial, as many colours at a time as a number has partials, and writes the entries
where they belong. What `data` points to is in `PLACES`.
"""

from __future__ import annotations

from typing import Any

from numba.core import errors

from nlsq.kernels.backend.user_function import WIDEST, _compile_wrapper, _why

# Numbers of residuals and parameters, address of the colours of the columns, of the starts of the rows, of the colours
# of the entries by rows, and the number of passes.
PLACES = ("residuals", "parameters", "colors", "indptr", "entry_colors", "passes")

_SOURCE = """
def wrapper(p, data, out):
    table = int_pointer(data)
    m, n = table[0], table[1]
    colors, indptr, entry_colors = int_pointer(table[2]), int_pointer(table[3]), int_pointer(table[4])
    partials = stack_memory()
    q = new_array(n)
    for part in range(table[5]):
        start = part * {width}
        for j in range(n):
            q[j] = seed(p[j], colors[j] - start)
        values = function(q)
        if len(values) != m:
            raise ValueError("the function returned another length than before")
        for i in range(m):
            store(values[i], partials, 0, 1)
            for entry in range(indptr[i], indptr[i + 1]):
                k = entry_colors[entry] - start
                if 0 <= k and k < {width}:
                    out[entry] = partials[k]
"""


def width_for(n_colors: int) -> int:
    """Return how many colours to take at a time."""
    return -(-n_colors // -(-n_colors // WIDEST)) if n_colors else 1


def compile_seeded_derivative(function: Any, width: int) -> tuple[int, Any]:
    """Compile the sparse Jacobian of a residual, `width` colours at a time; address and what must be kept alive.

    Raises
    ------
    TypeError
        If the function does not compile for dual numbers; the message says what it was that does not.
    """
    from nlsq.kernels.backend import dual_operations  # declares what dual numbers do
    from nlsq.kernels.backend.dual import DualType
    from nlsq.kernels.backend.dual_arrays import new_array
    from nlsq.kernels.backend.dual_form import dual_form

    dual = DualType(width)
    tools = {
        "seed": dual_operations.seeding(width),
        "store": dual_operations.store_partials,
        "stack_memory": dual_operations.stack_memory(width),
        "new_array": new_array(dual),
    }
    try:
        return _compile_wrapper(_SOURCE.format(width=width), dual_form(function, dual), tools)
    except (errors.NumbaError, NotImplementedError) as error:
        raise TypeError(_why(error)) from error
