"""A block problem made ready for a solve: compiled kernels, structure of J, and what is done at each point.

Points are flat arrays of the numbers of all parameter blocks; steps are flat arrays of the columns of J: the tangents
of the blocks that meet residual blocks and are not wholly held. A component that is held by itself keeps its column, of
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.block_jacobian import CONSTANT, BlockGroup, BlockJacobian, BlockPattern
from nlsq.kernels import block_loss
from nlsq.kernels.backend import handle
from nlsq.kernels.backend.block_function import BlockArgument, BlockForm, compile_block_function
from nlsq.problem.blocks.parameters import ParameterGroup
from nlsq.problem.blocks.residuals import ResidualGroup

if TYPE_CHECKING:
    from nlsq.problem.blocks.block_problem import BlockProblem

FloatArray = NDArray[np.float64]
UNSEEN = -2  # in place of a column: the block is free, and no residual block meets it


@final
@dataclass(frozen=True, eq=False)
class BlockStructure:
    """What a result keeps of a problem: names, sizes, and which columns belong to which block.

    Attributes
    ----------
    problem : int
        Token of the problem.
    parameters : list of (name, count, size, free columns, manifold)
        Of each `add_parameters`.
    residuals : list of (name, count, q, loss)
        Of each `add_residuals`.
    columns : list of ndarray, shape (count, width)
        Columns of each block; -1 where it is held, -2 (`UNSEEN`) where it is free but meets no residual block.
    pinned : ndarray of bool, shape (n,)
        Columns that are held.
    """

    problem: int
    parameters: list[tuple[str, int, int, int, str]]
    residuals: list[tuple[str, int, int, str]]
    columns: list[NDArray[np.int64]]
    pinned: NDArray[np.bool_]

    def block_of(self, column: int) -> str:
        """Name the parameter block of a column of J."""
        for (name, *_), columns in zip(self.parameters, self.columns, strict=True):
            where = np.flatnonzero((columns == column).any(axis=1))
            if where.size:
                return f"block {int(where[0])} of {name}"
        raise ValueError(f"there is no column {column}.")


@final
class BlockEvaluation:
    """Residuals, Jacobian and steps of one block problem.

    Parameters
    ----------
    problem : BlockProblem
        Read now; later changes are not seen.

    Attributes
    ----------
    pattern : BlockPattern
        Structure of J.
    m, n : int
        Numbers of residuals and of columns.
    pinned : ndarray of bool, shape (n,)
        Columns that are held.
    notes : list of str
        Kernels whose machine code is not kept on disk, and why.

    Raises
    ------
    ValueError
        If there are no residual blocks, or nothing is free.
    """

    def __init__(self, problem: BlockProblem) -> None:
        if not problem.residuals:
            raise ValueError("the problem has no residual blocks; add some with add_residuals.")
        self.groups = list(problem.parameters)
        self._residuals = list(problem.residuals)
        sizes = [group.values.size for group in self.groups]
        self._point_offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self._number_columns(self._met())
        self._functions = [self._compiled(one) for one in self._residuals]
        notes = [_note(one, function) for one, function in zip(self._residuals, self._functions, strict=True)]
        self.notes = [note for note in dict.fromkeys(notes) if note]
        self._seeds = [self._seeds_of(group) for group in self.groups]
        self.pattern = self._structure()
        self.m, self.n = self.pattern.shape
        if self.n == 0 or self.pinned.all():
            raise ValueError("nothing is free: every parameter block is held, or meets no residual block.")
        self.is_linear = all(one.loss.is_linear for one in self._residuals)
        self.bounded = any(group.lower is not None for group in self.groups)
        self.lower, self.upper = self._bounds()

    def start(self) -> FloatArray:
        """Return the point that the problem starts from."""
        return np.concatenate([group.values.reshape(-1) for group in self.groups])

    def views(self, point: FloatArray) -> list[FloatArray]:
        """View the blocks of each group in a point."""
        ends = self._point_offsets
        return [
            point[start:end].reshape(group.values.shape)
            for start, end, group in zip(ends, ends[1:], self.groups, strict=False)
        ]

    def coordinates(self, point: FloatArray) -> FloatArray:
        """Return what steps are compared with in length: the numbers of vectors, 1 for each column of a manifold."""
        out = np.ones(self.n)
        for view, group, free, span in zip(self.views(point), self.groups, self._free, self._spans, strict=True):
            if group.manifold is None:
                out[span] = view[free].reshape(-1)
        return out

    def move(self, point: FloatArray, step: FloatArray, point_out: FloatArray) -> None:
        """Take a step (n,) from a point, along each manifold; held components stay."""
        point_out[:] = point
        for old, new, group, free, span in zip(
            self.views(point), self.views(point_out), self.groups, self._free, self._spans, strict=True
        ):
            change = step[span].reshape(-1, group.width)
            if group.manifold is None:
                new[free] += change
                if group.lower is not None and group.upper is not None:
                    np.clip(new, group.lower, group.upper, out=new)
            elif change.size:
                start, moved = np.ascontiguousarray(old[free]), np.empty((change.shape[0], old.shape[1]))
                group.manifold.plus(start, change, moved)
                new[free] = moved

    def evaluate(self, point: FloatArray, residual_out: FloatArray) -> None:
        """Fill the weighted residuals, shape (m,), without the loss."""
        views = self.views(point)
        for one, function, group in zip(self._residuals, self._functions, self.pattern.groups, strict=True):
            values = [views[position] for position in one.positions]
            seeds: list[Any] = [None] * len(values)
            self._call(one, function, values, seeds, self._rows(residual_out, group), None)

    def linearise(
        self, point: FloatArray, residual_out: FloatArray, corrected_out: FloatArray, jac_out: BlockJacobian
    ) -> None:
        """Fill weighted residuals, and residuals and Jacobian corrected for the loss (Triggs et al. 1999)."""
        views = self.views(point)
        for view, blocks, seed in zip(views, self.groups, self._seeds, strict=True):
            if seed is not None:
                blocks.manifold.plus_jacobian(view, seed)
        for k, (one, function, group) in enumerate(
            zip(self._residuals, self._functions, self.pattern.groups, strict=True)
        ):
            values = [views[position] for position in one.positions]
            seeds = [self._seeds[position] for position in one.positions]
            self._call(one, function, values, seeds, self._rows(residual_out, group), jac_out.values[k])
        corrected_out[:] = residual_out
        if not self.is_linear:
            self._correct(corrected_out, jac_out)
        if self.pinned.any():
            jac_out.zero_columns(self.pinned)

    def cost(self, residual: FloatArray) -> float:
        """Return the cost of weighted residuals; infinite where one is not finite."""
        with np.errstate(over="ignore"):
            if self.is_linear:
                total = 0.5 * float(residual @ residual)
            else:
                total = 0.0
                for one, group in zip(self._residuals, self.pattern.groups, strict=True):
                    total += 0.5 * float(np.sum(one.loss.evaluate(_squares(self._rows(residual, group)))[0]))
        return total if np.isfinite(total) else np.inf

    def first_not_finite(self, residual: FloatArray) -> str:
        """Say which residual block is not finite, or has a squared length or a loss that is not; empty if none."""
        for one, group in zip(self._residuals, self.pattern.groups, strict=True):
            rows = self._rows(residual, group)
            lost = ~np.isfinite(rows).all(axis=1)
            if lost.any():
                block = int(np.argmax(lost))
                return f"{one.place(block)} is not finite ({self._meets(one, block)})"
        for one, group in zip(self._residuals, self.pattern.groups, strict=True):
            with np.errstate(over="ignore"):
                costs = one.loss.evaluate(_squares(self._rows(residual, group)))[0]
            lost = ~np.isfinite(costs)
            if lost.any():
                block = int(np.argmax(lost))
                what = "squared length" if one.loss.is_linear else "loss"
                return f"the {what} of {one.place(block)} is not finite ({self._meets(one, block)})"
        return ""

    def block_of(self, column: int) -> str:
        """Name the parameter block of a column of J."""
        return self.describe().block_of(column)

    def describe(self) -> BlockStructure:
        """Return names, sizes and columns, for results."""
        return BlockStructure(
            problem=self.groups[0].handle.problem,
            parameters=[
                (
                    group.handle.name,
                    group.handle.count,
                    group.handle.size,
                    int(np.count_nonzero(~self.pinned[columns[columns[:, 0] >= 0]])),
                    "" if group.manifold is None else repr(group.manifold),
                )
                for group, columns in zip(self.groups, self._columns, strict=True)
            ],
            residuals=[
                (one.name, one.count, group.residuals, str(getattr(one.loss.function, "__name__", one.loss.function)))
                for one, group in zip(self._residuals, self.pattern.groups, strict=True)
            ],
            columns=self._columns,
            pinned=self.pinned,
        )

    def _meets(self, one: ResidualGroup, block: int) -> str:
        return ", ".join(
            f"block {int(index[block])} of {self.groups[position].handle.name}"
            for position, index in zip(one.positions, one.indices, strict=True)
        )

    def _rows(self, residual: FloatArray, group: BlockGroup) -> FloatArray:
        end = group.first_row + group.count * group.residuals
        return residual[group.first_row : end].reshape(group.count, group.residuals)

    def _call(
        self,
        one: ResidualGroup,
        function: Any,
        values: list[FloatArray],
        seeds: list[Any],
        residual_out: FloatArray,
        jac_out: FloatArray | None,
    ) -> None:
        if function.evaluate(values, one.indices, seeds, one.data, one.weight, residual_out, jac_out):
            _raise_original(one, values)

    def _correct(self, residual: FloatArray, jac: BlockJacobian) -> None:
        """Correct each residual block, and its rows of J, for its group's loss."""
        correct = block_loss.correct_blocks.entry(release_gil=True)
        for k, (one, group) in enumerate(zip(self._residuals, self.pattern.groups, strict=True)):
            if one.loss.is_linear:
                continue
            rows = self._rows(residual, group)
            rho = np.ascontiguousarray(one.loss.evaluate(_squares(rows)))
            falls = rho[1] < 0.0
            if falls.any():
                block = int(np.argmax(falls))
                raise ValueError(f"loss must not fall: its derivative is {rho[1, block]:.3g} at {one.place(block)}.")
            flat = rows.reshape(-1), jac.values[k].reshape(-1)
            correct(handle(rho[1]), handle(rho[2]), *group.shape, *(handle(part) for part in flat))

    def _met(self) -> list[NDArray[np.bool_]]:
        """Say for each group which blocks meet a residual block."""
        met = [np.zeros(group.handle.count, dtype=np.bool_) for group in self.groups]
        for one in self._residuals:
            for position, index in zip(one.positions, one.indices, strict=True):
                met[position][index] = True
        return met

    def _number_columns(self, met: list[NDArray[np.bool_]]) -> None:
        """Give a number to each column block: those that meet residual blocks and are not wholly held."""
        self._ids: list[NDArray[np.int64]] = []
        self._columns: list[NDArray[np.int64]] = []
        self._free: list[Any] = []  # blocks that have columns: a slice where all have
        self._spans: list[slice] = []  # their columns
        widths, pinned, column, block = [], [], 0, 0
        for group, seen in zip(self.groups, met, strict=True):
            free = seen & ~group.held.all(axis=1)
            ids = np.full(group.handle.count, CONSTANT, dtype=np.int64)
            ids[free] = block + np.arange(np.count_nonzero(free))
            block += int(np.count_nonzero(free))
            columns = np.full((group.handle.count, group.width), CONSTANT, dtype=np.int64)
            columns[~seen & ~group.held.all(axis=1)] = UNSEEN
            taken = int(np.count_nonzero(free)) * group.width
            columns[free] = column + np.arange(taken).reshape(-1, group.width)
            self._free.append(slice(None) if free.all() else np.flatnonzero(free))
            self._spans.append(slice(column, column + taken))
            column += taken
            self._ids.append(ids)
            self._columns.append(columns)
            widths.append(np.full(np.count_nonzero(free), group.width, dtype=np.int64))
            pinned.append(group.held[free].reshape(-1))
        self._widths = np.concatenate(widths) if widths else np.zeros(0, dtype=np.int64)
        self.pinned = np.concatenate(pinned) if pinned else np.zeros(0, dtype=np.bool_)

    def _argument(self, position: int) -> BlockArgument:
        group = self.groups[position]
        if (self._ids[position] == CONSTANT).all():
            return BlockArgument(group.handle.size, 0, "held")
        return BlockArgument(group.handle.size, group.width, "vector" if group.manifold is None else "seeded")

    def _compiled(self, one: ResidualGroup) -> Any:
        arguments = tuple(self._argument(position) for position in one.positions)
        data = 0 if one.data is None else one.data.shape[1]
        function = compile_block_function(one.kernel, BlockForm(arguments, data, one.weight_kind), one.jac)
        one.check_residuals(function.residuals)
        return function

    def _seeds_of(self, group: ParameterGroup) -> FloatArray | None:
        """Allocate the derivative of each block by its tangent; None for vectors and what is held."""
        if group.manifold is None or (self._ids[group.handle.position] == CONSTANT).all():
            return None
        return np.zeros((group.handle.count, group.handle.size, group.width))

    def _structure(self) -> BlockPattern:
        groups, row = [], 0
        for one, function in zip(self._residuals, self._functions, strict=True):
            columns = [self._ids[position][index] for position, index in zip(one.positions, one.indices, strict=True)]
            widths = tuple(self._argument(position).width for position in one.positions)
            groups.append(BlockGroup(function.residuals, row, np.stack(columns, axis=1), widths))
            row += one.count * function.residuals
        return BlockPattern(tuple(groups), self._widths)

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of each column, infinite where there are none."""
        lower, upper = np.full(self.n, -np.inf), np.full(self.n, np.inf)
        for group, free, span in zip(self.groups, self._free, self._spans, strict=True):
            if group.lower is not None and group.upper is not None:
                lower[span], upper[span] = group.lower[free].reshape(-1), group.upper[free].reshape(-1)
        return lower, upper


def _note(one: ResidualGroup, function: Any) -> str:
    """Say that a kernel is compiled more than once, and why; empty if it is not."""
    if not function.why_not_kept or not function.residual_address:
        return ""
    when = "in each process" if function.is_reused else "for each solve"
    return f"kernel {one.name} is compiled anew {when}: {function.why_not_kept}"


def _squares(rows: FloatArray) -> FloatArray:
    """Return the squared length of each residual block."""
    squares: FloatArray = np.einsum("bq,bq->b", rows, rows)
    return squares


def _raise_original(one: ResidualGroup, values: list[FloatArray]) -> None:
    """Run code that failed again in Python, block by block, so that what it raises is seen with the block."""
    functions = [getattr(code, "py_func", code) for code in (one.kernel, one.jac) if code is not None]
    for block in range(one.count):
        row = [tuple(view[index[block]].tolist()) for view, index in zip(values, one.indices, strict=True)]
        if one.data is not None:
            row.append(tuple(one.data[block].tolist()))
        try:
            for function in functions:
                function(*row)
        except Exception as error:
            if isinstance(error, ArithmeticError) or _outside_domain(error):
                continue  # compiled code gives inf or NaN, as IEEE 754 says
            error.add_note(f"raised in {one.place(block)}")
            raise
    raise RuntimeError(f"the compiled kernel of {one.name} failed, but its Python code does not.")


def _outside_domain(error: Exception) -> bool:
    """Whether a function of `math` refused its argument, as sqrt does -1: "math domain error", or "expected a ..."."""
    return type(error) is ValueError and str(error).startswith(("math domain error", "expected a "))
