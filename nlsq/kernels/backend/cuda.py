"""Graphics processors, through numba-cuda: the only place that imports ``numba.cuda``.

Nothing is imported until a device is asked for. Kernels are compiled when they are first launched, once in a process
for each source. In numba's simulator (``NUMBA_ENABLE_CUDASIM=1``) the same sources run as plain Python, a Python thread
for each thread of the device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import primitives
from nlsq.kernels.backend.device_source import DEVICE, WARP, DeviceSource

INSTALL = "install numba-cuda with `pip install nlsq-numba[cuda]`"
SIMULATED_WARP = 4  # Python threads are dear
POINTS_A_THREAD = 8


def what_is_missing() -> Exception | None:
    """Return the error that says why there is no device, None if there is one."""
    try:
        from numba import cuda

        if not is_simulated():
            from numba.cuda.extending import intrinsic  # noqa: F401  (what numba itself has of CUDA lacks it)
    except ImportError as error:
        return ImportError(f"device='cuda' needs numba-cuda, which cannot be imported ({error}); {INSTALL}.")
    if cuda.is_available():
        return None
    return RuntimeError(
        "device='cuda' needs an NVIDIA GPU with its driver, and numba-cuda finds none; "
        f"{INSTALL}, see `numba -s` for what it looks for, or leave device='cpu'."
    )


@cache
def is_simulated() -> bool:
    """Whether kernels run in numba's simulator."""
    from numba import cuda

    return "simulator" in getattr(cuda.to_device, "__module__", "")


def group_size(points: int) -> int:
    """Return how many threads solve a problem of so many points, if they have room."""
    if is_simulated():
        return SIMULATED_WARP
    return min(4 * WARP, max(WARP, WARP * (points // (POINTS_A_THREAD * WARP))))


def _intrinsic(result: Any, kinds: Sequence[Any], generate: Callable[..., Any]) -> Any:
    """Declare a function that is an instruction of LLVM, or a call."""
    from numba.cuda.extending import intrinsic

    signature = result(*kinds)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return generate(builder, *arguments)

    if len(kinds) == 1:
        return intrinsic(lambda typing_context, x: (signature, write))
    if len(kinds) == 2:
        return intrinsic(lambda typing_context, x, y: (signature, write))
    return intrinsic(lambda typing_context, x, y, z: (signature, write))


def _of_doubles(name: str, arity: int) -> Any:
    """Declare a function of libdevice, NVIDIA's library of functions of doubles."""
    from llvmlite import ir
    from numba.cuda import types

    double = ir.DoubleType()

    def generate(builder: Any, *arguments: Any) -> Any:
        found = builder.module.globals.get(name)
        if found is None:
            found = ir.Function(builder.module, ir.FunctionType(double, [double] * arity), name)
        return builder.call(found, arguments)

    return _intrinsic(types.float64, [types.float64] * arity, generate)


@cache
def _device_functions() -> dict[str, Any]:
    """Return what sources call on a device."""
    from llvmlite import ir
    from numba.cuda import types

    double, integer = types.float64, types.int64
    functions = {
        "fma": _of_doubles("__nv_fma", 3),
        "absolute": _of_doubles("__nv_fabs", 1),
        "floor": _of_doubles("__nv_floor", 1),
        "square_root": _of_doubles("__nv_sqrt", 1),
        "copy_sign": _of_doubles("__nv_copysign", 2),
        "select": _intrinsic(double, [types.boolean, double, double], lambda builder, *a: builder.select(*a)),
        "as_bits": _intrinsic(integer, [double], lambda builder, x: builder.bitcast(x, ir.IntType(64))),
        "as_double": _intrinsic(double, [integer], lambda builder, i: builder.bitcast(i, ir.DoubleType())),
        "shift_right": _intrinsic(integer, [integer, integer], lambda builder, i, bits: builder.lshr(i, bits)),
    }
    return functions | {name: getattr(math, maths) for name, maths in DEVICE.items()}


@cache
def python_functions() -> dict[str, Any]:
    """Return the same in Python, with a device's values at poles and beyond the range."""
    names = ("fma", "select", "as_bits", "as_double", "shift_right", "absolute", "floor", "copy_sign", "square_root")
    functions: dict[str, Any] = {name: getattr(primitives, name) for name in names}
    return functions | {name: _never_raising(maths) for name, maths in DEVICE.items()}


def _never_raising(name: str) -> Callable[..., float]:
    in_numpy = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh"}
    in_numpy |= {"acosh": "arccosh", "atanh": "arctanh", "pow": "power"}
    function = getattr(np, in_numpy.get(name, name), None)
    if function is None:  # erf, erfc, lgamma: these raise at poles, where they are infinite
        original = getattr(math, name)

        def call(*arguments: float) -> float:
            try:
                return float(original(*arguments))
            except (ValueError, OverflowError):
                return math.inf

        return call

    def call_quietly(*arguments: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(*arguments))

    return call_quietly


def function_of(source: DeviceSource, module: Any, functions: dict[str, Any]) -> Any:
    """Return the Python function of a source.

    Parameters
    ----------
    source : DeviceSource
        Text.
    module : module
        What it calls ``cuda``.
    functions : dict
        What it calls besides, by name.
    """
    names: dict[str, Any] = {"cuda": module, "float64": np.float64, "inf": math.inf, "nan": math.nan, **functions}
    exec(compile(source.text, f"<device {source.name}>", "exec"), names)
    return names[source.name]


@cache
def kernel_of(source: DeviceSource) -> Any:
    """Return what is launched."""
    from numba import cuda

    return cuda.jit(function_of(source, cuda, python_functions() if is_simulated() else _device_functions()))


def assembly(source: DeviceSource, capability: tuple[int, int] = (8, 0)) -> str:
    """Return a kernel in PTX, the assembly language of devices, for one that need not be there."""
    from numba import cuda, float64, int64, void

    signature = void(*[int64[::1]] * source.integers, *[float64[::1]] * source.doubles)
    text, _ = cuda.compile(
        function_of(source, cuda, _device_functions()),
        signature,
        device=False,
        abi="numba",
        cc=capability,
        output="ptx",
    )
    return text.decode() if isinstance(text, bytes) else str(text)


def on_device(array: NDArray[Any]) -> Any:
    """Return a copy of a contiguous array on the device."""
    from numba import cuda

    return cuda.to_device(array.ravel())


def new_on_device(size: int) -> Any:
    """Return memory for so many doubles."""
    from numba import cuda

    return cuda.device_array(size, dtype=np.float64)


def launch(kernel: Any, grid: int | tuple[int, int], threads: int, *arguments: Any) -> None:
    """Start a kernel with one-dimensional groups; the next copy from the device waits for its end."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]rid size.*")  # few fits use little of a device
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # NumPy's, in the simulator
        kernel[grid, threads](*arguments)
