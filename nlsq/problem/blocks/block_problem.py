"""A least-squares problem made of residual blocks over parameter blocks, as in bundle adjustment or a factor graph.

    minimise  1/2 sum_b C^2 rho(|W_b r_b(x_i, x_j, ...)|^2 / C^2)     over parameter blocks x_i on their manifolds

A residual block r_b has a few numbers and meets a few parameter blocks. One kernel computes all residual blocks of a
kind; its exact block Jacobians come from dual numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import randbits
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.loss import Loss
from nlsq.problem.blocks.parameters import (
    BlockSelection,
    ParameterBlocks,
    ParameterGroup,
    read_values,
    selection,
)
from nlsq.problem.blocks.residuals import ResidualGroup
from nlsq.status import Counters

FloatArray = NDArray[np.float64]


@final
class BlockProblem:
    """Residual blocks over parameter blocks.

    A problem serves one solve at a time, since it owns the counters: threads need a problem each.

    Attributes
    ----------
    parameters : list of ParameterGroup
        What `add_parameters` added.
    residuals : list of ResidualGroup
        What `add_residuals` added.
    counters : Counters
        Evaluations of the current or last solve.

    Examples
    --------
    >>> def distance(point, anchor, measured):
    ...     return math.hypot(point[0] - anchor[0], point[1] - anchor[1]) - measured[0]
    >>> problem = nlsq.BlockProblem()
    >>> points = problem.add_parameters(np.zeros((2, 2)) + 0.1)
    >>> anchors = problem.add_parameters([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]], constant=True)
    >>> problem.add_residuals(distance, [points[[0, 0, 1, 1]], anchors[[0, 1, 0, 2]]], data=[1.0, 3.0, 1.0, 2.0])
    >>> result = nlsq.solve(problem)
    >>> result[points]
    """

    def __init__(self) -> None:
        self.parameters: list[ParameterGroup] = []
        self.residuals: list[ResidualGroup] = []
        self.counters = Counters()
        self._token = randbits(62)  # no other problem's, not even of one that another process made

    def add_parameters(
        self,
        values: ArrayLike,
        *,
        manifold: Any = None,
        constant: bool | ArrayLike = False,
        bounds: tuple[Any, Any] | None = None,
        name: str | None = None,
    ) -> ParameterBlocks:
        """Add parameter blocks of one kind.

        Parameters
        ----------
        values : array_like, shape (count, size)
            Start of each block; (count,) are blocks of one number, and on a manifold (size,) is one block.
        manifold : SE2, SE3, SO3, UnitQuaternion or Sphere, optional
            What the blocks are; vectors if not given. Steps have the manifold's tangent size and stay on it.
        constant : bool or array_like of bool, optional
            What is held: everything, blocks (count,), components (width,) or components of blocks (count, width), where
            width is the size of a block or of its tangent. See also `hold`.
        bounds : (lower, upper), optional
            Of vectors: numbers, (size,) or (count, size); None leaves an end open.
        name : str, optional
            For messages and reports.

        Returns
        -------
        ParameterBlocks
            Stands for the blocks in `add_residuals` and in results; index it to choose some.

        Raises
        ------
        TypeError, ValueError
            Naming the block that is wrong.
        """
        position = len(self.parameters)
        if manifold is not None and (isinstance(manifold, type) or not hasattr(manifold, "plus_jacobian")):
            raise TypeError(f"manifold must be such as nlsq.SE3(), got {manifold!r}.")
        array = read_values(values, "values", None, manifold, None)
        handle = ParameterBlocks(
            position, array.shape[0], array.shape[1], name or f"parameters {position}", self._token
        )
        group = ParameterGroup(handle, array, manifold)
        if constant is not False:
            group.hold(constant)
        group.bound(bounds)
        self.parameters.append(group)
        return handle

    def add_residuals(
        self,
        kernel: Callable[..., Any],
        param_indices: Sequence[ParameterBlocks | BlockSelection] | ParameterBlocks | BlockSelection,
        data: ArrayLike | None = None,
        *,
        loss: str | Callable[[FloatArray], Any] = "linear",
        loss_scale: float = 1.0,
        weight: ArrayLike | None = None,
        information: ArrayLike | None = None,
        jac: Callable[..., Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Add residual blocks of one kind.

        Parameters
        ----------
        kernel : callable
            ``kernel(block, ..., row) -> tuple of q numbers``: one residual block, written in plain scalar code. Each
            argument is a tuple of the numbers of a parameter block, `row` that of a row of data (no argument without
            data). It is compiled; branches, loops and calls of other such functions are allowed.
        param_indices : sequence of ParameterBlocks or BlockSelection
            For each argument, the block that each residual block meets: ``[cameras[camera_index],
            points[point_index]]``. A single block, ``cameras[0]``, serves all.
        data : array_like, shape (B, k) or (B,), optional
            A row for each residual block.
        loss : str or callable
            ``"linear"``, ``"huber"``, ``"soft_l1"``, ``"cauchy"``, ``"arctan"`` or ``rho(z) -> (3, B)``, of the
            squared length of each residual block.
        loss_scale : float
            Length of a residual block from which on the loss departs from the square.
        weight : array_like, shape (), (B,), (B, q) or (B, q, q), optional
            Multiplies residuals: 1/sigma, or a square root of the information matrix.
        information : array_like, shape (q, q) or (B, q, q), optional
            Inverse covariance of the residuals of a block, symmetric positive definite.
        jac : callable, optional
            Derivatives instead of exact ones: of the same arguments, returns a tuple with an entry for each parameter
            block: a tuple of q rows, each a tuple of as many numbers as the block has.
        name : str, optional
            For messages and reports; the kernel's name if not given.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, and the residual block that is wrong.
        """
        if not callable(kernel):
            raise TypeError(f"kernel must be callable, got {type(kernel).__name__}.")
        if isinstance(param_indices, ParameterBlocks | BlockSelection):
            param_indices = [param_indices]
        param_indices = list(param_indices)
        for k, one in enumerate(param_indices):
            self._own(selection(one, f"param_indices[{k}]"))
        label = name or str(getattr(kernel, "__name__", type(kernel).__name__))
        self.residuals.append(
            ResidualGroup(kernel, param_indices, data, weight, information, Loss(loss, loss_scale), jac, label)
        )

    def hold(self, blocks: ParameterBlocks | BlockSelection, components: Any = None) -> None:
        """Hold blocks at their values, or some `components` of them (indices into the block or its tangent)."""
        group, index = self._chosen(blocks)
        group.held[np.ix_(index, _components(components, group.width))] = True

    def release(self, blocks: ParameterBlocks | BlockSelection, components: Any = None) -> None:
        """Let blocks that were held move, or some `components` of them."""
        group, index = self._chosen(blocks)
        group.held[np.ix_(index, _components(components, group.width))] = False

    def __getitem__(self, blocks: ParameterBlocks | BlockSelection) -> FloatArray:
        """Return the values that a solve would start from: shape (k, size), or (size,) for a single block."""
        chosen = selection(blocks, "blocks")
        values = self._own(chosen).values[chosen.index]
        return np.array(values)

    def __setitem__(self, blocks: ParameterBlocks | BlockSelection, values: ArrayLike) -> None:
        """Start from other values."""
        group, index = self._chosen(blocks)
        shape = (index.size, group.handle.size)
        array = np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
        array = read_values(array, "values", group.handle.size, group.manifold, index.size)
        group.refuse_outside(array, index)
        group.values[index] = array

    def start_from(self, result: Any) -> None:
        """Start from the point that a result ended at; blocks added since then keep their start."""
        for group in self.parameters[: len(result.values)]:
            self[group.handle] = result[group.handle]

    def evaluate(self, at: Any = None) -> tuple[float, FloatArray, FloatArray, Any]:
        """Evaluate cost, residuals, gradient and Jacobian, as a solver would.

        Parameters
        ----------
        at : BlockResult, dict or array_like, optional
            Where: at the end of a solve; ``{cameras: values, ...}``, other blocks at their start; or all numbers in the
            order in which blocks were added, as in ``result.x`` and in the reports that a callback gets. Default: the
            start.

        Returns
        -------
        cost : float
            ``1/2 sum C^2 rho(|r_b|^2 / C^2)``.
        residual : ndarray, shape (m,)
            Weighted residuals, without the loss.
        gradient : ndarray, shape (n,)
            Of the cost, by the tangents of the blocks that meet residual blocks and are not held.
        jacobian : csr_array, shape (m, n)
            Of the weighted residuals, corrected for the loss.
        """
        from nlsq.problem.blocks.evaluation import BlockEvaluation

        evaluation = BlockEvaluation(self)
        if isinstance(at, dict):
            self._check_keys(at)
        point = evaluation.start()
        for view, group in zip(evaluation.views(point), self.parameters, strict=True):
            view[:] = self._values_at(at, group, point.size)
        jac, residual, corrected = evaluation.pattern.zeros(), np.empty(evaluation.m), np.empty(evaluation.m)
        evaluation.linearise(point, residual, corrected, jac)
        return evaluation.cost(residual), residual, jac.transposed(corrected), jac.to_csr()

    def blocks(self, x: ArrayLike, blocks: ParameterBlocks | BlockSelection) -> FloatArray:
        """Return the values of blocks in a flat array of all numbers, such as ``report.x`` in a callback."""
        chosen = selection(blocks, "blocks")
        group = self._own(chosen)
        size = sum(one.values.size for one in self.parameters)
        return np.array(self._values_at(np.asarray(x), group, size)[chosen.index])

    def _values_at(self, at: Any, group: ParameterGroup, size: int) -> FloatArray:
        """Return the values of a group at a point given in any form."""
        handle = group.handle
        if at is None or (isinstance(at, dict) and handle not in at):
            return group.values
        if isinstance(at, dict):
            return group.read_values(at[handle], f"values of {handle.name}")
        if hasattr(at, "structure"):
            return np.asarray(at[handle])
        x = np.asarray(at, dtype=np.float64)
        if x.shape != (size,):
            raise ValueError(f"a point of this problem has {size} numbers, got an array of shape {x.shape}.")
        first = sum(one.values.size for one in self.parameters[: handle.position])
        return x[first : first + group.values.size].reshape(group.values.shape)

    def _check_keys(self, at: dict[Any, Any]) -> None:
        """Raise unless all keys are what `add_parameters` of this problem returned."""
        for key in at:
            if not isinstance(key, ParameterBlocks):
                raise TypeError(f"keys must be what add_parameters returned, for all of its blocks, got {key!r}.")
            self._own(selection(key, "a key"))

    def _own(self, chosen: BlockSelection) -> ParameterGroup:
        """Return the group of a selection, which must be of this problem."""
        if chosen.blocks.problem != self._token:
            raise ValueError(f"{chosen.blocks.name} belong to another problem.")
        return self.parameters[chosen.blocks.position]

    def _chosen(self, blocks: Any) -> tuple[ParameterGroup, NDArray[np.int64]]:
        chosen = selection(blocks, "blocks")
        return self._own(chosen), np.atleast_1d(chosen.index)


def _components(chosen: Any, width: int) -> NDArray[np.int64]:
    """Return the numbers of some components of a block; of all for None."""
    return np.atleast_1d(np.arange(width)[slice(None) if chosen is None else chosen])
