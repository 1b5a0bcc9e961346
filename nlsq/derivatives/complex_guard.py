"""An argument for the complex step that refuses what would falsify it.

Complex step differentiation needs a function that is analytic in each operation. abs, sign, conj, comparisons, real
parts and casts to float are not: they drop or flip the imaginary part, and the derivative is silently wrong. The guard
is an array that passes analytic operations on and stops at the others, naming them. It travels through expressions but
not through `numpy.asarray` or into fresh arrays; what happens there is left to the comparison with real differences
that follows (`nlsq.derivatives.complex_step`).

References
----------
.. [1] J. R. R. A. Martins, P. Sturdza and J. J. Alonso, "The Complex-Step Derivative Approximation", ACM Transactions
   on Mathematical Software 29, 2003, section 4.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

__all__ = ["ComplexStepError", "GuardedArray", "guard"]

ADVICE = "Write the residual with analytic operations, or use ForwardDifference() or CentralDifference()."
LOST_PART = (
    "the residual",
    "returned real numbers for a complex argument: the imaginary part was lost on the way, and the derivative with it.",
)

# What has no complex loop raises by itself.
REFUSED_UFUNCS = frozenset(
    "absolute sign conjugate less less_equal greater greater_equal equal not_equal maximum minimum fmax fmin rint "
    "vecdot vecmat logical_and logical_or logical_not logical_xor".split()
)
REFUSED_FUNCTIONS = frozenset(
    "var std nanvar nanstd real imag angle real_if_close iscomplex isreal sort argsort sort_complex "
    "partition argpartition lexsort max min amax amin argmax argmin nanmax nanmin nanargmax nanargmin "
    "median nanmedian percentile nanpercentile quantile nanquantile ptp searchsorted digitize histogram "
    "interp clip round around fix nan_to_num vdot count_nonzero nonzero flatnonzero argwhere unique "
    "unique_values isclose allclose array_equal array_equiv piecewise norm cond matrix_rank svd svdvals "
    "qr cholesky eigh eigvalsh lstsq pinv".split()
)
# Analytic as a whole, although they compare inside.
OPAQUE_FUNCTIONS = frozenset(("sinc", "linspace"))
REFUSED_METHODS = (
    "conj",
    "var",
    "std",
    "conjugate",
    "sort",
    "argsort",
    "partition",
    "argpartition",
    "searchsorted",
    "clip",
    "round",
    "argmax",
    "argmin",
    "nonzero",
)


class ComplexStepError(ValueError):
    """The complex step cannot differentiate this residual.

    Attributes
    ----------
    operation : str
        What stands in the way.
    """

    def __init__(self, operation: str, consequence: str) -> None:
        super().__init__(f"complex step: {operation} {consequence} {ADVICE}")
        self.operation = operation


class GuardedArray(np.ndarray[Any, Any]):
    """A complex array that raises `ComplexStepError` at operations that are not analytic."""

    __array_priority__ = 1000.0
    refusals: list[str]

    def __array_finalize__(self, source: Any) -> None:
        self.refusals = getattr(source, "refusals", [])

    def refuse(self, operation: str) -> NoReturn:
        """Note the operation, in case the user's function catches the error, and raise."""
        self.refusals.append(operation)
        raise ComplexStepError(operation, _NOT_ANALYTIC)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc.__name__ in REFUSED_UFUNCS and any(_is_guarded(value) for value in inputs):
            self.refuse(f"numpy.{ufunc.__name__}")
        out = kwargs.get("out", ())
        if out:
            kwargs["out"] = tuple(_plain(value) for value in out)
        result = getattr(ufunc, method)(*(_plain(value) for value in inputs), **kwargs)
        if out:
            return out[0] if len(out) == 1 else out
        return self._wrap(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in REFUSED_FUNCTIONS:
            self.refuse(f"numpy.{name}")
        if name in OPAQUE_FUNCTIONS:
            args = tuple(_plain(value) for value in args)
            return self._wrap(function(*args, **{key: _plain(value) for key, value in kwargs.items()}))
        return self._wrap(super().__array_function__(function, types, args, kwargs))

    def _wrap(self, result: Any) -> Any:
        """Guard complex results."""
        if isinstance(result, tuple | list):
            return type(result)(self._wrap(value) for value in result) if type(result) in (tuple, list) else result
        if isinstance(result, GuardedArray) or not isinstance(result, np.ndarray | np.generic):
            return result
        if result.dtype.kind != "c":
            return result
        guarded = np.asarray(result).view(GuardedArray)
        guarded.refusals = self.refusals
        return guarded

    def __getitem__(self, key: Any) -> Any:
        return self._wrap(super().__getitem__(key))

    def __float__(self) -> float:
        self.refuse("a cast to float (float(), the math module, or storing into a real array)")

    def __int__(self) -> int:
        self.refuse("int()")

    def __bool__(self) -> bool:
        self.refuse("the truth value")

    def __format__(self, spec: str) -> str:
        return format(_plain(self)[()], spec)

    def __repr__(self) -> str:
        return repr(_plain(self))

    def __str__(self) -> str:
        return str(_plain(self))

    def __getattribute__(self, name: str) -> Any:
        if name in ("real", "imag"):
            super().__getattribute__("refuse")(f".{name}")
        return super().__getattribute__(name)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Cast, unless the imaginary part would be lost."""
        if np.dtype(dtype).kind not in "cO":
            self.refuse(f"the cast to {np.dtype(dtype)}")
        return super().astype(dtype, *args, **kwargs)

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """Return a view, unless it would show the parts of the numbers as real ones."""
        result = super().view(*args, **kwargs)
        if result.dtype.kind != "c":
            self.refuse(f"the view as {result.dtype}")
        return result


_NOT_ANALYTIC = "of an argument is not analytic, so the derivative would be silently wrong."


def _refusing(name: str) -> Any:
    def method(self: GuardedArray, *args: Any, **kwargs: Any) -> NoReturn:
        self.refuse(f".{name}()")

    return method


for _name in REFUSED_METHODS:
    setattr(GuardedArray, _name, _refusing(_name))


def guard(x: np.ndarray[Any, Any]) -> GuardedArray:
    """Return a guarded complex copy of `x` with an empty record of refusals."""
    guarded = np.array(x, dtype=np.complex128).view(GuardedArray)
    guarded.refusals = []
    return guarded


def _is_guarded(value: Any) -> bool:
    return isinstance(value, GuardedArray)


def _plain(value: Any) -> Any:
    """Take the guard off, one level of a sequence deep."""
    if isinstance(value, GuardedArray):
        return np.ndarray.view(value, np.ndarray)
    if type(value) in (tuple, list):
        return type(value)(_plain(item) for item in value)
    return value
