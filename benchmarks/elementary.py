"""Elementary functions in vectors: nanoseconds per element, against NumPy's or SciPy's in the same run.

A program with one loop, ``first[i] = f(x0[i])``, is compiled for the processor at hand and, where that has registers of
512 bits, for one with 256 as well. The loop runs over the same 4096 numbers many times in one call, so that the call
costs nothing; NumPy is called once for each pass and writes into memory that is there already.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from .compare import interleaved
from .rows import Row, Section, reported_row

__all__ = ["FUNCTIONS", "Elementary", "processors", "section"]

SIZE, PASSES = 4096, 64
AVX2 = "+avx,+avx2,+fma,+bmi,+bmi2,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"


@dataclass(frozen=True, kw_only=True)
class Elementary:
    """One function.

    Attributes
    ----------
    peer : str
        Its name in NumPy, or in SciPy's `special` where it begins with ``special.``.
    ranges : tuple of (float, float)
        Where arguments are drawn, evenly.
    required : (float, float) or None
        What must be reached in registers of 512 bits: nanoseconds per element, and the peer's then.
    """

    peer: str
    ranges: tuple
    required: tuple | None = None


FUNCTIONS = {
    "exp": Elementary(peer="exp", ranges=((-10.0, 10.0),), required=(0.50, 0.68)),
    "log": Elementary(peer="log", ranges=((1e-3, 1e3),), required=(0.70, 0.67)),
    "sin": Elementary(peer="sin", ranges=((-10.0, 10.0),), required=(0.86, 8.2)),
    "tanh": Elementary(peer="tanh", ranges=((-3.0, 3.0),), required=(0.85, 0.89)),
    "atan": Elementary(peer="arctan", ranges=((-10.0, 10.0),), required=(0.58, 0.79)),
    "erf": Elementary(peer="special.erf", ranges=((-3.0, 3.0),), required=(1.3, 8.3)),
    "pow": Elementary(peer="power", ranges=((0.1, 10.0), (-3.0, 3.0)), required=(2.9, 1.4)),
    "expm1": Elementary(peer="expm1", ranges=((-3.0, 3.0),)),
    "log1p": Elementary(peer="log1p", ranges=((-0.9, 10.0),)),
    "log2": Elementary(peer="log2", ranges=((1e-3, 1e3),)),
    "log10": Elementary(peer="log10", ranges=((1e-3, 1e3),)),
    "cos": Elementary(peer="cos", ranges=((-10.0, 10.0),)),
    "tan": Elementary(peer="tan", ranges=((-10.0, 10.0),)),
    "asin": Elementary(peer="arcsin", ranges=((-1.0, 1.0),)),
    "acos": Elementary(peer="arccos", ranges=((-1.0, 1.0),)),
    "atan2": Elementary(peer="arctan2", ranges=((-3.0, 3.0), (-3.0, 3.0))),
    "sinh": Elementary(peer="sinh", ranges=((-5.0, 5.0),)),
    "cosh": Elementary(peer="cosh", ranges=((-5.0, 5.0),)),
    "asinh": Elementary(peer="arcsinh", ranges=((-10.0, 10.0),)),
    "acosh": Elementary(peer="arccosh", ranges=((1.0, 10.0),)),
    "atanh": Elementary(peer="arctanh", ranges=((-0.9, 0.9),)),
    "sqrt": Elementary(peer="sqrt", ranges=((0.0, 10.0),)),
    "cbrt": Elementary(peer="cbrt", ranges=((-10.0, 10.0),)),
    "hypot": Elementary(peer="hypot", ranges=((-3.0, 3.0), (-3.0, 3.0))),
    "erfc": Elementary(peer="special.erfc", ranges=((-3.0, 6.0),)),
    "expit": Elementary(peer="special.expit", ranges=((-10.0, 10.0),)),
    "gammaln": Elementary(peer="special.gammaln", ranges=((0.1, 30.0),)),
    "digamma": Elementary(peer="special.digamma", ranges=((0.1, 30.0),)),
}


@cache
def processors():
    """Return the processor at hand, and one of narrower registers that it can stand in for, by name."""
    from nlsq.kernels.backend.fused import Processor

    host = Processor()
    wide = host.lanes == 8
    return {"AVX-512" if wide else host.name: host} | ({"AVX2": Processor("haswell", AVX2)} if wide else {})


def arguments_of(name):
    """Return the arguments of a function, shape (k, 4096), the same in each run."""
    generator = np.random.default_rng(7)
    return np.stack([generator.uniform(low, high, SIZE) for low, high in FUNCTIONS[name].ranges])


def by_kernel(name, processor):
    """Return a call that evaluates a function `PASSES` times, and the array it writes to."""
    from nlsq.kernels.backend import address_of_array
    from nlsq.kernels.backend.fused import object_code
    from nlsq.kernels.backend.generated import kernel_at
    from nlsq.kernels.backend.loader import link_object
    from nlsq.kernels.backend.program import FIRST_FREE, POINTS, PREDICTORS, Loop, Place, Program, Statement

    x, out = arguments_of(name), np.empty(SIZE)
    strides = ((0, 0), (1, 0))
    operands = [f"v{row}" for row in range(len(x))]
    reads = [Statement(one, "read", (Place(f"x{row}", strides=strides),)) for row, one in enumerate(operands)]
    loop = Loop(
        (FIRST_FREE, POINTS),
        [*reads, Statement("value", name, tuple(operands))],
        writes=[(Place("first", strides=strides), "value", False)],
    )
    symbol = f"benchmark_{name}_{processor.name.replace('-', '_')}_{id(out)}"
    (address,) = link_object(object_code([(symbol, Program(symbol, [loop]))], processor), [symbol])
    table = np.zeros(FIRST_FREE + 1, dtype=np.int64)
    table[POINTS], table[PREDICTORS], table[FIRST_FREE] = SIZE, address_of_array(x), PASSES
    kernel, places = kernel_at(address), [address_of_array(one) for one in (x, table, out)]
    kernel(*places)
    np.testing.assert_allclose(out, by_peer(name)[1], rtol=1e-11, atol=1e-12)
    return lambda _alive=(x, table, out): kernel(*places), out


def by_peer(name):
    """Return a call of NumPy's or SciPy's function, and the array it has written to."""
    function, x, out = _peer(FUNCTIONS[name].peer), arguments_of(name), np.empty(SIZE)
    function(*x, out=out)
    return lambda: function(*x, out=out), out


def _peer(name):
    if not name.startswith("special."):
        return getattr(np, name)
    from scipy import special

    return getattr(special, name.removeprefix("special."))


def section(quick=False):
    """Time every function on every processor."""
    rows, notes = [], []
    for width, processor in processors().items():
        for name in list(FUNCTIONS)[: 3 if quick else None]:
            call, _ = by_kernel(name, processor)
            ratio = interleaved(call, by_peer(name)[0], pairs=3 if quick else 15)
            rows.append(_row(f"{name}, {width}", FUNCTIONS[name], ratio, width == "AVX-512"))
    if "AVX-512" not in processors():
        notes.append("this processor has no registers of 512 bits, for which the requirements are meant")
    return Section(title="Elementary functions, ns per element", rows=rows, notes=notes)


def _row(what, one, ratio, is_required):
    ours, peer = 1e9 * ratio.ours / (PASSES * SIZE), 1e9 * ratio.peer / SIZE
    who = ("NumPy" if not one.peer.startswith("special.") else "SciPy") + f" {peer:.2f} ns"
    text = f"{ours:.2f} ns, {ours / peer:.2f} of it"
    if one.required is None or not is_required:
        return reported_row(what, who, text)
    wanted, then = one.required
    met = ours <= wanted or ours / peer <= wanted / then
    return Row(what=what, peer=who, required=f"<= {wanted:g} ns, or {wanted / then:.2f} of it", measured=text, met=met)
