"""The result of a batch for others: dict of arrays, pandas, xarray, and a report in words and numbers.

pandas and xarray are imported here, when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.result import sentence
from nlsq.fitting.parameters import counted
from nlsq.status import Status

if TYPE_CHECKING:
    from nlsq.fitting.batch.result import BatchFitResult

STATISTICS = ("cost", "points", "converged", "status", "nit", "nfev")  # of a fit, next to its parameters
QUARTILES = (25.0, 50.0, 75.0)
OF_ALL = re.compile(r"\d+ of \d+ fits were hard")  # begins the note about fits that were solved again


def to_numpy(result: BatchFitResult) -> dict[str, NDArray[Any]]:
    """Return arrays by name; see `BatchFitResult.to_numpy`."""
    errors, statistics = _labels(result.names)
    variables: dict[str, NDArray[Any]] = {}
    for name, error in zip(result.names, errors, strict=True):
        variables[name] = result.params[name]
        variables[error] = result.stderr[name]
    for name, label in statistics.items():
        variables[label] = getattr(result, name)
    return variables


def _labels(names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Name the errors and the statistics, with underscores behind a name that a parameter has."""
    taken = set(names)

    def free(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    return [free(f"{name}_stderr") for name in names], {name: free(name) for name in STATISTICS}


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"to_{name}() needs {name}: install it with `pip install {name}`.") from error


def to_pandas(result: BatchFitResult) -> Any:
    """Return a DataFrame; see `BatchFitResult.to_pandas`."""
    pandas = _imported("pandas")
    index = pandas.RangeIndex(result.size)
    if len(result.shape) > 1:
        axes = [range(length) for length in result.shape]
        index = pandas.MultiIndex.from_product(axes, names=_axes(result))
    return pandas.DataFrame({name: values.ravel() for name, values in to_numpy(result).items()}, index=index)


def to_xarray(result: BatchFitResult, dims: Sequence[str] | None = None, coords: Any = None) -> Any:
    """Return a Dataset; see `BatchFitResult.to_xarray`."""
    xarray = _imported("xarray")
    axes = _axes(result) if dims is None else [dims] if isinstance(dims, str) else list(dims)
    if len(axes) != len(result.shape):
        raise ValueError(
            f"dims has {counted(len(axes), 'name')} for the leading shape {result.shape}; give one for each axis."
        )
    variables = {name: (axes, np.array(values)) for name, values in to_numpy(result).items()}
    for axis in axes:
        if axis in variables:
            raise ValueError(f"dims: {axis!r} is the name of a variable; give the axis another name.")
    dataset = xarray.Dataset(variables, coords=coords)
    dataset[_labels(result.names)[1]["status"]].attrs = {
        "flag_values": [int(status) for status in Status],
        "flag_meanings": " ".join(status.name for status in Status),
    }
    return dataset


def _axes(result: BatchFitResult) -> list[str]:
    """Name the leading axes."""
    return [f"dim_{k}" for k in range(len(result.shape))]


def summarise(result: BatchFitResult) -> str:
    """Return the report; see `BatchFitResult.summary`."""
    blocks = [_endings(result), _parameters(result), _errors(result), _notes(result)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _endings(result: BatchFitResult) -> list[str]:
    """Say how many fits stopped for which reason."""
    converged = int(np.count_nonzero(result.converged))
    lines = [f"{counted(result.size, 'fit')} of shape {result.shape}, {converged} converged"]
    counts = result.counts()
    width = len(str(max(counts.values(), default=0)))
    lines += [f"{number:>{width}}  {sentence(status)}" for status, number in counts.items()]
    if result.interrupted:
        lines.append("the batch was interrupted")
    return lines


def _parameters(result: BatchFitResult) -> list[str]:
    """List the spread of values and errors over the fits that converged."""
    good = result.converged
    if not good.any():
        return []
    width = max(9, *(len(name) for name in result.names))
    head = ("median", "lower quartile", "upper quartile", "std. error")
    lines = [f"{'parameter':<{width}}  " + "  ".join(f"{title:>14}" for title in head)]
    for name in result.names:
        values, errors = (np.asarray(maps[name][good], dtype=np.float64) for maps in (result.params, result.stderr))
        lower, median, upper = np.percentile(values, QUARTILES)
        line = f"{name:<{width}}  {median:>14.7g}  {lower:>14.7g}  {upper:>14.7g}  {_error(result, name, errors)}"
        lines.append(line.rstrip())
    lines.append("quartiles over the fits that converged; the error is the median of those that are known and not 0")
    return lines


def _errors(result: BatchFitResult) -> list[str]:
    """Say where the errors come from."""
    core = result._core
    lines = []
    if not core.is_linear_loss:
        lines.append("robust loss: the errors follow from the cost under it and the Jacobian scaled by it")
    if core.absolute_sigma:
        lines.append("errors: from the sigma of the data, taken as absolute")
    else:
        lines.append("errors: scaled by the scatter of the data of each fit")
    return lines if result.converged.any() else []


def _error(result: BatchFitResult, name: str, errors: NDArray[Any]) -> str:
    """Return the median error of one parameter, and in how many of the fits it has none."""
    good = result.converged
    fixed = result.fixed[name][good]
    if fixed.all():
        return f"{'held':>14}"
    known = errors[errors > 0.0]
    words = [f"{np.median(known):>14.4g}" if known.size else f"{'unknown':>14}"]
    at_bound = int(np.count_nonzero(result.at_bound[name][good]))
    unidentified = int(np.count_nonzero(~result.identifiable[name][good]))
    if at_bound:
        words.append(f"at a bound in {counted(at_bound, 'fit')}")
    if unidentified:
        words.append(f"not identified in {counted(unidentified, 'fit')}")
    return "  ".join(words)


def _notes(result: BatchFitResult) -> list[str]:
    """List what was done differently from what was asked; counts are those of the fits at hand."""
    redone = int(np.count_nonzero(result.redone))
    lines = [f"{counted(redone, 'fit')} hard for the batch kernel, solved again one by one"] if redone else []
    lines += [fallback for fallback in result.fallbacks if not OF_ALL.match(fallback)]
    return [f"note: {line}" for line in lines]
