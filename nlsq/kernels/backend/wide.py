"""Instructions of processors with AVX-512, by the name of the straight-line code that says what they do.

`WIDE` maps the name of a `nlsq.kernels.backend.primitives.Instruction` to a function that writes it: it takes an
emitter and vectors of `LANES` doubles, and returns a vector or a tuple of vectors. Imports llvmlite.

References
----------
.. [1] Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", vol. 2: VSCALEFPD, VGETEXPPD, VGETMANTPD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

LANES = 8
_BYTE, _INT32, _VECTOR = ir.IntType(8), ir.IntType(32), ir.VectorType(ir.DoubleType(), LANES)
_ALL_LANES, _ROUND_AS_USUAL = _BYTE(255), _INT32(4)
_THREE_QUARTERS_TO_THREE_HALVES = 3
_NAN_BELOW_ZERO = 12  # and 1 for zeros of both signs


def _call(emitter: Any, name: str, *arguments: Any) -> Any:
    """Write a call of an intrinsic of LLVM whose result is a vector; lanes that a mask leaves out do not matter."""
    full = f"llvm.x86.avx512.mask.{name}.pd.512"
    function = emitter.module.globals.get(full)
    if function is None:
        function = ir.Function(
            emitter.module, ir.FunctionType(_VECTOR, [argument.type for argument in arguments]), full
        )
    return emitter.builder.call(function, arguments)


def _scaled(emitter: Any, value: Any, k: Any) -> Any:
    return _call(emitter, "scalef", value, k, ir.Constant(_VECTOR, ir.Undefined), _ALL_LANES, _ROUND_AS_USUAL)


def _exponent(emitter: Any, x: Any) -> Any:
    """Write the exponent of x as a double: that of 1 is 0, that of 0 minus infinity, of infinity plus infinity."""
    return _call(emitter, "getexp", x, ir.Constant(_VECTOR, ir.Undefined), _ALL_LANES, _ROUND_AS_USUAL)


def _split(emitter: Any, x: Any) -> tuple[Any, Any]:
    interval = _INT32(_THREE_QUARTERS_TO_THREE_HALVES | _NAN_BELOW_ZERO)
    m = _call(emitter, "getmant", x, interval, ir.Constant(_VECTOR, ir.Undefined), _ALL_LANES, _ROUND_AS_USUAL)
    # m has the exponent -1 or 0: what it has not of that of x goes to k
    k = emitter.builder.fsub(_exponent(emitter, x), _exponent(emitter, m), flags=emitter.flags)
    return k, m


WIDE: dict[str, Callable[..., Any]] = {
    "scaled": _scaled,
    "scaled_within": _scaled,
    "split": _split,
    "split_all": _split,
}
