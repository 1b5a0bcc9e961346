r"""Finding the sparsity pattern of a residual by calling it.

Where the residual can be traced, its pattern is read off the graph. Where it cannot, groups of neighbouring parameters
are moved, and the residuals that change tell where the entries are. Groups split until they are single parameters:

    level of group size s:   P = {(i, g) : r_i depends on group g}
    split each g in parts;   move one part of all groups of one colour at once;   r_i changed -> (i, part)

Groups share a colour when no row has two of them (`nlsq.derivatives.coloring`), so that a change belongs to one group.
A level takes as many evaluations as there are parts and colours, whatever the number of parameters: O(colours log n) in
all. The sizes are 1, 3, 6, 12, 24, ..., since parameters mostly come in threes, sixes, nines and twelves, and groups
that coincide with them give few colours.

Values are compared at two points  x0 + e,  x0 - e'  with random e, e' of one sign for each parameter: a kink at x0
(abs, max(x, 0)) and a product of parameters that are both zero at x0 are seen. The moves are in proportion to
``1 + |x0|``.
A second probe with other numbers, in proportion to ``|x0|``, moves sets of columns that have one colour in the pattern
found; a row that changes although none of its columns moved lacks an entry, and is probed from the top again. Patterns
are united.

References
----------
.. [1] A. Griewank and C. Mitev, "Detecting Jacobian Sparsity Patterns by Bayesian Probing", Mathematical Programming
   93, 2002: probing by groups, the entries told apart by what is known already.
.. [2] A. R. Curtis, M. J. D. Powell and J. K. Reid, "On the Estimation of Sparse Jacobian Matrices", IMA Journal of
   Applied Mathematics 13, 1974.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives.coloring import ColumnGraph
from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.probe import as_residual
from nlsq.derivatives.steps import full_array
from nlsq.kernels import detection as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.coloring import by_rows
from nlsq.pattern import SparsityPattern

__all__ = ["Detection", "detect_sparsity", "pattern_from_graph"]

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]  # start of each row, columns or groups

SEED = 20020105
SMALLEST_MOVE, LARGEST_MOVE = 1e-4, 2e-3  # of the size of a parameter
LEAST_SIZE = 1.0  # of a parameter, in the first probe
MOST_OF_RANGE = 0.2  # of the distance between bounds
SHRINKAGES = (1.0, 1e-3, 1e-6)  # of the moves, one after the other while residuals are not finite
FIRST_SIZE = 3  # parameters in a group before the last level
TOP = 4  # groups to begin with
BITS = np.array([bin(number).count("1") for number in range(16)])
MOST_IN_LOOPS = 5000  # parameters up to which a function with loops is traced; beyond, probing is quicker
MOST_ROUNDS = 4  # of looking for what is missing


@final
@dataclass(frozen=True, eq=False)
class Detection:
    """A pattern that was found.

    Attributes
    ----------
    pattern : SparsityPattern
        Where the Jacobian may be nonzero.
    evaluations : int
        Evaluations of the residual that it took.
    source : {"graph", "probing"}
        Whether it was read off the residual's graph, which is exact, or found by moving parameters.
    """

    pattern: SparsityPattern
    evaluations: int
    source: str


def detect_sparsity(
    residual: Callable[..., Any],
    x0: ArrayLike,
    *,
    seed: int = SEED,
    probes: int = 2,
    bounds: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    trace: bool = True,
) -> Detection:
    """Find where the Jacobian of a residual may be nonzero.

    Parameters
    ----------
    residual : callable
        ``residual(x) -> r``, shape (n,) to (m,); the same for the same x.
    x0 : array_like, shape (n,)
        Point near which the pattern is to hold. What is not used there, as the branch that is not taken, is not seen.
    seed : int
        Of the random moves.
    probes : int
        Independent probes whose patterns are united. Default 2; where the graph is known none are made.
    bounds : (lower, upper), optional
        The residual is not evaluated outside. Parameters with equal bounds have no entries.
    trace : bool
        Whether to read the pattern off the residual's graph where there is one. Default True.

    Returns
    -------
    Detection
        With `pattern` and `evaluations`.

    Raises
    ------
    ValueError
        If residuals are not finite near `x0`, however short the moves; the text names the residual.

    Examples
    --------
    >>> import numpy as np, nlsq
    >>> found = nlsq.detect_sparsity(lambda x: x[1:] - x[:-1] ** 2, np.ones(4))
    >>> found.pattern.to_dense().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    x = np.atleast_1d(np.asarray(x0, dtype=np.float64))
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError("x0 must be one-dimensional, not empty and finite.")
    if probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}.")
    if trace:
        pattern = pattern_from_graph(residual, x.size)
        if pattern is not None:
            return Detection(pattern, 0, "graph")
    lower, upper = (None, None) if bounds is None else bounds
    search = _Search(
        residual, x, full_array(lower, x.size, -np.inf, "lower"), full_array(upper, x.size, np.inf, "upper")
    )
    rng = np.random.default_rng(seed)
    rows = search.all_rows(_Moves(search, rng, LEAST_SIZE))
    for _ in range(1, probes):
        rows = search.complete(rows, _Moves(search, rng, 0.0), rng)
    return Detection(_pattern_of(rows, x.size), search.evaluations, "probing")


def pattern_from_graph(residual: Callable[..., Any], n: int) -> SparsityPattern | None:
    """Read the pattern off the graph of a residual of `n` parameters; None where it cannot be traced."""
    from nlsq.compiler.jacobian_source import structural_pattern
    from nlsq.compiler.routes import unwrapped
    from nlsq.compiler.tracing.trace import trace_residual

    try:
        function, route = unwrapped(residual, "residual")
    except TypeError:
        return None
    if route is None or (n > MOST_IN_LOOPS and _has_loops(function)):
        return None
    found = route.examine(function, (n, 0), lambda: trace_residual(function, n))
    if isinstance(found, str) or len(found.trace.shape) != 1:
        return None
    rows, columns = structural_pattern(found.trace)
    return SparsityPattern.from_entries(rows, columns, (found.trace.m, n))


def _has_loops(function: Any) -> bool:
    """Whether a function, or one that it calls, goes through the parameters in Python's loops, or nobody knows."""
    from nlsq.compiler.clean import Unclean, examine_cached

    try:
        reached = [function, *examine_cached(function, ()).functions]
    except Unclean:
        return True
    codes = [getattr(one, "__code__", None) for one in reached]
    return any(
        code is None or any(one.opname in ("FOR_ITER", "JUMP_BACKWARD") for one in dis.get_instructions(code))
        for code in codes
    )


class _NotFinite(Exception):
    """A residual that is not finite at a probe."""

    def __init__(self, row: int) -> None:
        self.row = row


@final
class _Search:
    """Residual, start and bounds, and the number of evaluations so far."""

    def __init__(self, residual: Callable[..., Any], x: FloatArray, lower: FloatArray, upper: FloatArray) -> None:
        self.residual, self.x, self.lower, self.upper = residual, x, lower, upper
        self.evaluations = 0
        self.m = -1

    def evaluate(self, point: FloatArray) -> FloatArray:
        """Evaluate at a point, which becomes the function's."""
        with np.errstate(all="ignore"):  # a point without a value is tried again nearer
            value = self.residual(point)
        self.evaluations += 1
        value = np.atleast_1d(np.asarray(value)) if value is not None else value
        if self.m < 0:
            self.m = 0 if value is None else value.size
        return np.ascontiguousarray(as_residual(value, (self.m,)), dtype=np.float64)

    def all_rows(self, moves: _Moves) -> Rows:
        """Probe all rows from the top."""
        rows: Rows = self._by_trial(moves, lambda: self._descend(moves, None))
        return rows

    def complete(self, rows: Rows, moves: _Moves, rng: np.random.Generator) -> Rows:
        """Probe again for what is missing, and unite."""
        for _ in range(MOST_ROUNDS):
            flags = self._by_trial(moves, lambda found=rows: self._strangers(found, moves, rng))  # type: ignore[misc]
            if not flags.any():
                break
            more = self._by_trial(moves, lambda flagged=flags: self._descend(moves, flagged))  # type: ignore[misc]
            count = rows[1].size
            rows = self._unite(rows, more)
            if rows[1].size == count:
                break
        return rows

    def _by_trial(self, moves: _Moves, attempt: Callable[[], Any]) -> Any:
        """Try with ever shorter moves while residuals are not finite."""
        while True:
            try:
                return attempt()
            except _NotFinite as error:
                if not moves.shorten():
                    raise ValueError(
                        f"residual {error.row} is not finite near x0, so that its sparsity cannot be found by moving"
                        " parameters; give bounds that keep it finite, or the sparsity."
                    ) from None

    def base(self, moves: _Moves) -> FloatArray:
        """Evaluate at the base point of the moves, unless that is known."""
        if moves.residual is None:
            moves.residual = self.evaluate(moves.base.copy())
            finite = np.isfinite(moves.residual)
            if not finite.all():
                row, moves.residual = int(np.argmin(finite)), None
                raise _NotFinite(row)
        return moves.residual

    def _descend(self, moves: _Moves, flags: NDArray[np.int64] | None) -> Rows:
        """Split groups until they are single columns, for all rows or the flagged ones."""
        base, n = self.base(moves), self.x.size
        indptr = np.arange(self.m + 1, dtype=np.int64)
        if flags is not None:
            indptr[1:] = np.cumsum(flags)
        groups = np.zeros(int(indptr[-1]), dtype=np.int64)
        column = np.arange(n)
        above = 0  # size of the groups that are split; at first there is one
        for size in _sizes(n):
            branch = -(-(above or n) // size)
            colors, used = _color(indptr, groups, -(-n // above) if above else 1)
            if above and branch * used >= n:
                return self._singly(moves, flags)
            hits = np.zeros(groups.size, dtype=np.int64)
            code = colors[column // (above or n)] * branch + (column // size) % branch
            for color in range(used):
                for part in range(branch):
                    point = np.where(code == color * branch + part, moves.moved, moves.base)
                    values = self.evaluate(point)
                    row = run_kernel(
                        kernels.mark_parts, values, base, self.m, indptr, groups, colors, color, part, hits
                    )
                    if row >= 0:
                        raise _NotFinite(row)
            parts = np.empty(int(BITS[hits].sum()), dtype=np.int64)
            split = np.empty(self.m + 1, dtype=np.int64)
            run_kernel(kernels.split_groups, indptr, groups, hits, branch, self.m, split, parts)
            indptr, groups = split, parts
            above = size
        return indptr, groups

    def _singly(self, moves: _Moves, flags: NDArray[np.int64] | None) -> Rows:
        """Move one column at a time: for a dense Jacobian."""
        base = self.base(moves)
        wanted = np.ones(self.m, dtype=np.bool_) if flags is None else flags != 0
        rows, columns = [], []
        for j in np.flatnonzero(self.lower < self.upper):
            point = moves.base.copy()
            point[j] = moves.moved[j]
            values = self.evaluate(point)
            if not np.isfinite(values).all():
                raise _NotFinite(int(np.argmin(np.isfinite(values))))
            found = np.flatnonzero((values != base) & wanted)
            rows.append(found)
            columns.append(np.full(found.size, j))
        pattern = SparsityPattern.from_entries(
            np.concatenate(rows) if rows else [], np.concatenate(columns) if columns else [], (self.m, self.x.size)
        )
        return _rows_of(pattern)

    def _strangers(self, rows: Rows, moves: _Moves, rng: np.random.Generator) -> NDArray[np.int64]:
        """Flag the rows that change although none of their columns is moved.

        The columns of a colour are moved in two sets, so that a row always has a set without a column of its own.
        """
        base, n = self.base(moves), self.x.size
        flags = np.zeros(self.m, dtype=np.int64)
        colors, used = _color(*rows, n)
        sets = 2 * colors + rng.integers(0, 2, n)
        for one in range(2 * max(used, 1)):
            values = self.evaluate(np.where(sets == one, moves.moved, moves.base))
            row = run_kernel(kernels.mark_strangers, values, base, self.m, *rows, sets, one, flags)
            if row >= 0:
                raise _NotFinite(row)
        return flags

    def _unite(self, rows: Rows, others: Rows) -> Rows:
        indptr = np.empty(self.m + 1, dtype=np.int64)
        columns = np.empty(rows[1].size + others[1].size, dtype=np.int64)
        count = run_kernel(kernels.unite_rows, *rows, *others, self.m, indptr, columns)
        return indptr, columns[:count].copy()


@final
class _Moves:
    """Where the parameters are at first, and where they are moved to, on the other side of x0.

    Parameters
    ----------
    search : _Search
        Start and bounds.
    rng : Generator
        Random numbers.
    least : float
        What is added to ``|x0_j|`` for the size of a parameter that is not zero.
    """

    def __init__(self, search: _Search, rng: np.random.Generator, least: float) -> None:
        x, width = search.x, search.upper - search.lower
        size = np.where(x != 0.0, np.abs(x) + least, np.where(np.isfinite(width), width, 1.0))
        self._sizes = np.minimum(size, np.where(width < np.inf, MOST_OF_RANGE / LARGEST_MOVE * width, np.inf))
        self._factors = rng.uniform(SMALLEST_MOVE, LARGEST_MOVE, (2, x.size))
        self._signs = rng.choice([-1.0, 1.0], x.size)
        self._search = search
        self._trials = [(one_sided, shrinkage) for one_sided in (False, True) for shrinkage in SHRINKAGES]
        self.residual: FloatArray | None = None
        self.shorten()

    def shorten(self) -> bool:
        """Take shorter moves, then moves to one side, away from zero; False where these are used up."""
        if not self._trials:
            return False
        one_sided, shrinkage = self._trials.pop(0)
        x, lower, upper = self._search.x, self._search.lower, self._search.upper
        first, second = shrinkage * self._factors * self._sizes
        signs = np.where(x < 0.0, -1.0, 1.0) if one_sided else self._signs
        base, moved = x + signs * first, x + signs * (first + second) if one_sided else x - signs * second
        inward = np.where(x - lower > upper - x, -1.0, 1.0)
        outside = (base < lower) | (base > upper) | (moved < lower) | (moved > upper)
        base = np.where(outside, x + inward * first, base)
        moved = np.where(outside, x + inward * (first + second), moved)
        self.base, self.moved = np.clip(base, lower, upper), np.clip(moved, lower, upper)
        self.residual = None
        return True


def _sizes(n: int) -> list[int]:
    """Return the sizes of groups, descending to 1, of which the first leaves at most `TOP` groups."""
    sizes = [1]
    while sizes[-1] * TOP < n:
        sizes.append(FIRST_SIZE if sizes[-1] == 1 else 2 * sizes[-1])
    return sizes[::-1]


def _color(indptr: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> Any:
    """Colour groups so that no row has two of one colour; return the colours and their number."""
    if count == 1 or groups.size == 0:
        return np.zeros(count, dtype=np.int64), int(groups.size > 0)
    by_columns = np.empty(count + 1, dtype=np.int64), np.empty(groups.size, dtype=np.int64)
    run_kernel(by_rows, indptr, groups, count, indptr.size - 1, *by_columns)
    coloring = ColumnGraph(*by_columns, indptr, groups).color(np.arange(count, dtype=np.int64), "natural", count)
    assert coloring is not None
    return coloring.colors.astype(np.int64, copy=False), coloring.n_colors


def _rows_of(pattern: SparsityPattern) -> Rows:
    indptr, columns = pattern.by_rows()
    return indptr.astype(np.int64, copy=False), columns.astype(np.int64, copy=False)


def _pattern_of(rows: Rows, n: int) -> SparsityPattern:
    indptr, columns = (part.astype(np.intp, copy=False) for part in rows)
    return SparsityPattern(indptr, columns, (n, indptr.size - 1)).transpose()
