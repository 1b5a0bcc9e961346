"""Stages of optimal control problems that users wrote as njit functions: values and exact Jacobian. Imports numba.

    int value(z, table, out)      out = (f(x, u, p), r(x, u, p)),    z = (u, x)
    int jacobian(z, table, out)   out = its derivatives by z, transposed, (n, outputs)

The table is ``[outputs, address of p]``. Only z is made of dual numbers: derivatives by p are not taken.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core import errors

from nlsq.kernels.backend.lowering import LOWERED
from nlsq.kernels.backend.primitives import shift
from nlsq.kernels.backend.user_function import WIDEST, _compile_wrapper, _why, in_vector_math

_VALUE = """
def wrapper(z, data, out):
    table = int_pointer(data)
    q = carray(z, ({n},))
    p = carray(double_pointer(table[1]), ({parameters},))
    {calls}
"""
_VALUE_CALL = """
    values = {function}({arguments})
    if len(values) != {length}:
        raise ValueError("a function of the stage changed its length")
    for i in range({length}):
        out[{offset} + i] = values[i]
"""
_JACOBIAN = """
def wrapper(z, data, out):
    table = int_pointer(data)
    p = carray(double_pointer(table[1]), ({parameters},))
    block = stack_memory()
    for chunk in range({chunks}):
        start = min(chunk * {width}, {n} - {width})
        q = new_array({n})
        for j in range({n}):
            q[j] = seed(z[j], j - start)
        {calls}
"""
_JACOBIAN_CALL = """
        values = {function}({arguments})
        for i in range({length}):
            store(values[i], block, 0, 1)
            for k in range({width}):
                out[(start + k) * {outputs} + {offset} + i] = block[k]
"""


def compile_stage(functions: list[tuple[Any, int]], nu: int, n: int, parameters: int) -> tuple[int, int, list[Any]]:
    """Compile values and Jacobian of functions whose outputs follow each other.

    Parameters
    ----------
    functions : list of (njit function, int)
        Each with the number of its outputs; called with ``(x, u)``, or ``(x)`` where `nu` is 0, and p if there is any.
    nu, n : int
        Controls, and controls and states together.
    parameters : int
        Length of p.

    Returns
    -------
    value, jacobian : int
        Addresses.
    alive : list
        What must be kept.

    Raises
    ------
    TypeError
        If a function does not compile for dual numbers.
    """
    from nlsq.kernels.backend import dual_operations
    from nlsq.kernels.backend.dual import DualType
    from nlsq.kernels.backend.dual_arrays import new_array
    from nlsq.kernels.backend.dual_form import dual_form

    chunks = -(-n // WIDEST)
    width = -(-n // chunks)
    arguments = (f"q[{nu}:], q[:{nu}]" if nu else "q") + (", p" if parameters else "")
    names = [f"f{k}" for k in range(len(functions))]
    offsets = [sum(length for _, length in functions[:k]) for k in range(len(functions))]
    outputs = sum(length for _, length in functions)
    common: dict[str, Any] = {"arguments": arguments, "outputs": outputs, "width": width}
    places = list(zip(names, functions, offsets, strict=True))

    def calls(template: str) -> str:
        return "".join(
            template.format(function=name, length=one[1], offset=offset, **common) for name, one, offset in places
        )

    sizes = {"n": n, "parameters": parameters, "chunks": chunks, "width": width}
    tools = {
        "seed": dual_operations.seeding(width),
        "store": dual_operations.store_partials,
        "stack_memory": dual_operations.stack_memory(width),
        "new_array": new_array(DualType(width)),
        "shift": LOWERED[shift],
    }
    plain = {name: in_vector_math(one[0], arrays=True) for name, one, _ in places}
    try:
        value = _compile_wrapper(_VALUE.format(calls=calls(_VALUE_CALL), **sizes), None, plain)
        duals = {name: dual_form(one[0], DualType(width)) for name, one, _ in places}
        jacobian = _compile_wrapper(_JACOBIAN.format(calls=calls(_JACOBIAN_CALL), **sizes), None, tools | duals)
    except (errors.NumbaError, NotImplementedError) as error:
        raise TypeError(_why(error)) from error
    return value[0], jacobian[0], [value[1], jacobian[1]]


def jitted_rk4(f: Any, dt: float, substeps: int, parameters: bool) -> Any:
    """Return the classical Runge-Kutta method for an njit ODE, as an njit function."""
    step = dt / substeps
    half, sixth = 0.5 * step, step / 6.0
    if parameters:

        @numba.njit
        def with_parameters(x, u, p):  # type: ignore[no-untyped-def]
            for _ in range(substeps):
                a = f(x, u, p)
                b = f(x + half * a, u, p)
                c = f(x + half * b, u, p)
                d = f(x + step * c, u, p)
                x = x + sixth * (a + 2.0 * b + 2.0 * c + d)
            return x

        return with_parameters

    @numba.njit
    def dynamics(x, u):  # type: ignore[no-untyped-def]
        for _ in range(substeps):
            a = f(x, u)
            b = f(x + half * a, u)
            c = f(x + half * b, u)
            d = f(x + step * c, u)
            x = x + sixth * (a + 2.0 * b + 2.0 * c + d)
        return x

    return dynamics
