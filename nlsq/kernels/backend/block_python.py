"""Block functions where nothing is compiled: the user's code as it is, derivatives by dual numbers in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend.block_form import LONGEST_TUPLE, BlockForm
from nlsq.kernels.backend.python_dual import PythonDual, value_of, with_python_duals

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TRIALS = (0.7, 1.3, 0.0)  # numbers to call a function with, to see how many it returns


@final
class PythonBlockFunction:
    """The interface of `nlsq.kernels.backend.block_function.BlockFunction`, in plain Python."""

    residual_address = jacobian_address = 0
    keep: Any = None
    from_disk = False
    is_reused = True
    why_not_kept = "nothing is compiled"

    def __init__(self, function: Any, form: BlockForm, jacobian: Any) -> None:
        self.form = form
        self._function = getattr(function, "py_func", function)
        self._jacobian = getattr(jacobian, "py_func", jacobian)
        self._dual = None if jacobian is not None else with_python_duals(function)
        self.residuals = self._count(getattr(function, "__name__", repr(function)))

    def _count(self, name: str) -> int:
        error: Exception | None = None
        for start in _TRIALS:
            blocks = [tuple(start + 0.01 * k for k in range(one.size)) for one in self.form.arguments]
            row = (np.full(self.form.data, start),) if self.form.data else ()
            try:
                returned = self._function(*blocks, *map(_as_row, row))
            except TypeError:
                raise
            except Exception as one:
                error = one
                continue
            numbers = returned if isinstance(returned, tuple) else (returned,)
            if not numbers or not all(isinstance(n, int | float | np.number) for n in numbers):
                kind = type(returned).__name__
                raise TypeError(f"{name} must return a number or a tuple of numbers, and returns {kind}.")
            return len(numbers)
        raise TypeError(f"{name} could not be called with numbers: {error}") from error

    def evaluate(
        self,
        values: Sequence[FloatArray],
        indices: Sequence[IntArray],
        seeds: Sequence[FloatArray | None],
        data: FloatArray | None,
        weight: FloatArray | None,
        r_out: FloatArray,
        jac_out: FloatArray | None = None,
    ) -> int:
        """Fill residuals and derivatives; see `BlockFunction.evaluate`."""
        for b in range(len(r_out)):
            places = [int(index[b]) for index in indices]
            blocks = [tuple(value[place].tolist()) for value, place in zip(values, places, strict=True)]
            row = () if data is None else (_as_row(data[b]),)
            try:
                if jac_out is None:
                    r_out[b] = self._function(*blocks, *row)
                else:
                    chosen = [None if seed is None else seed[place] for seed, place in zip(seeds, places, strict=True)]
                    r_out[b], jac_out[b] = self._linearise(blocks, chosen, row)
            except Exception as error:
                if not _is_domain_error(error):
                    return 1
                r_out[b] = np.nan  # compiled code gives nan or inf where Python raises
                if jac_out is not None:
                    jac_out[b] = np.nan
            if weight is not None:
                _weigh(weight[b], r_out[b], None if jac_out is None else jac_out[b])
        return 0

    def _linearise(self, blocks: list[Any], seeds: list[Any], row: tuple[Any, ...]) -> tuple[FloatArray, FloatArray]:
        derivatives = []  # of the numbers with respect to the columns
        for one, offset, seed in zip(self.form.arguments, self.form.offsets, seeds, strict=True):
            full = np.zeros((one.size, self.form.width))
            if one.kind != "held":
                full[:, offset : offset + one.width] = np.eye(one.size) if one.kind == "vector" else seed
            derivatives.append(full)
        if self._jacobian is not None:
            entries = self._jacobian(*blocks, *row)
            used = [
                np.reshape(entry, (self.residuals, one.size)) @ full
                for one, entry, full in zip(self.form.arguments, entries, derivatives, strict=True)
                if one.kind != "held"
            ]
            return np.ravel(self._function(*blocks, *row)), sum(used, np.zeros((self.residuals, self.form.width)))
        assert self._dual is not None
        duals = [
            block if one.kind == "held" else tuple(map(PythonDual, block, full))
            for one, block, full in zip(self.form.arguments, blocks, derivatives, strict=True)
        ]
        returned = self._dual(*duals, *row)
        numbers = returned if isinstance(returned, tuple) else (returned,)
        none = np.zeros(self.form.width)
        partials = [n.partials if isinstance(n, PythonDual) else none for n in numbers]
        return np.array([value_of(n) for n in numbers], dtype=np.float64), np.array(partials)


def _as_row(row: FloatArray) -> Any:
    return row if len(row) > LONGEST_TUPLE else tuple(row.tolist())


def _is_domain_error(error: Exception) -> bool:
    return isinstance(error, ArithmeticError) or (isinstance(error, ValueError) and "math domain" in str(error))


def _weigh(weight: Any, r: FloatArray, jac: FloatArray | None) -> None:
    """Multiply the residuals of a block, and their derivatives, by a number, a vector or a matrix."""
    for part in (r[:, np.newaxis], jac):
        if part is not None:
            part[:] = weight @ part if np.ndim(weight) == 2 else np.reshape(weight, (-1, 1)) * part
