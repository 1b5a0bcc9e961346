"""Residual blocks of one kind: a kernel, the parameter blocks that it meets, data, weights and a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.loss import Loss
from nlsq.problem.blocks.parameters import BlockSelection, selection

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


@final
class ResidualGroup:
    """The residual blocks of one `BlockProblem.add_residuals`.

    Parameters
    ----------
    kernel : callable
        ``kernel(block of each argument, ..., row of data) -> tuple of q numbers``.
    arguments : sequence of ParameterBlocks or BlockSelection
        Parameter blocks of each residual block; a single block serves all.
    data : array_like, shape (B, k) or (B,), optional
        A row for each residual block.
    weight, information : array_like, optional
        See `BlockProblem.add_residuals`.
    loss : Loss
        Of the squared length of a residual block.
    jac : callable, optional
        The user's own block Jacobians.
    name : str
        For messages and reports.
    """

    def __init__(
        self,
        kernel: Callable[..., Any],
        arguments: Sequence[Any],
        data: Any,
        weight: Any,
        information: Any,
        loss: Loss,
        jac: Callable[..., Any] | None,
        name: str,
    ) -> None:
        self.kernel, self.jac, self.loss, self.name = kernel, jac, loss, name
        chosen = [selection(one, f"param_indices[{k}]") for k, one in enumerate(arguments)]
        self.data = _data(data)
        self.count = _count(chosen, self.data)
        self.positions = [one.blocks.position for one in chosen]
        self.indices = [np.array(np.broadcast_to(one.index, (self.count,))) for one in chosen]
        self._refuse_repeated(chosen)
        self.weight = self._read_weight(weight, information)
        self.weight_kind = ("none", "scalar", "vector", "matrix")[0 if self.weight is None else self.weight.ndim]

    def place(self, block: int) -> str:
        """Say which residual block is meant."""
        return f"residual block {block} of {self.name}"

    def _refuse_repeated(self, chosen: list[BlockSelection]) -> None:
        for a in range(len(chosen)):
            for b in range(a):
                if self.positions[a] == self.positions[b]:
                    same = self.indices[a] == self.indices[b]
                    if same.any():
                        block = int(np.argmax(same))
                        raise ValueError(
                            f"{self.place(block)} has block {int(self.indices[a][block])} of {chosen[a].blocks.name} "
                            f"as argument {b} and as argument {a}; write a kernel that takes it once."
                        )

    def _read_weight(self, weight: Any, information: Any) -> FloatArray | None:
        """Read weights, or the square roots of information matrices, as (B,), (B, q) or (B, q, q)."""
        if weight is not None and information is not None:
            raise ValueError("give weight or information, not both: information = weight' weight.")
        if information is not None:
            return self._square_roots(information)
        if weight is None:
            return None
        array = np.asarray(weight, dtype=np.float64)
        if array.ndim == 0:
            array = np.broadcast_to(array, (self.count,))
        if array.ndim > 3 or len(array) != self.count or (array.ndim == 3 and array.shape[1] != array.shape[2]):
            raise ValueError(
                f"weight has shape {array.shape}, expected (), ({self.count},), ({self.count}, q) or "
                f"({self.count}, q, q) for {self.count} residual blocks of q residuals."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"weight of {self.place(int(np.argwhere(~np.isfinite(array))[0][0]))} is not finite.")
        return np.array(array, order="C")

    def _square_roots(self, information: Any) -> FloatArray:
        """Return W with W'W = information, shape (B, q, q)."""
        array = np.asarray(information, dtype=np.float64)
        if array.ndim not in (2, 3) or array.shape[-1] != array.shape[-2]:
            raise ValueError(f"information has shape {array.shape}, expected (q, q) or ({self.count}, q, q).")
        if array.ndim == 3 and len(array) != self.count:
            raise ValueError(f"information has {len(array)} matrices for {self.count} residual blocks.")
        matrices = array if array.ndim == 3 else array[np.newaxis]
        size = np.sqrt(np.abs(np.einsum("bii->bi", matrices)))
        rounding = 1e-8 * size[:, :, np.newaxis] * size[:, np.newaxis, :]
        unequal = ~(np.abs(matrices - matrices.transpose(0, 2, 1)) <= rounding)
        if unequal.any():
            block, i, j = (int(k) for k in np.argwhere(unequal)[0])
            raise ValueError(f"information of {self.place(block)} is not finite and symmetric at ({i}, {j}).")
        matrices = 0.5 * (matrices + matrices.transpose(0, 2, 1))
        try:
            roots = np.linalg.cholesky(matrices)
        except np.linalg.LinAlgError:
            least = np.linalg.eigvalsh(matrices)[:, 0]
            block = int(np.argmin(least))
            raise ValueError(
                f"information of {self.place(block)} is not positive definite: its least eigenvalue is "
                f"{least[block]:.3g}. Leave the residual block out, or give weight, a square root, which may be "
                "singular."
            ) from None
        return np.ascontiguousarray(np.broadcast_to(roots.transpose(0, 2, 1), (self.count, *matrices.shape[1:])))

    def check_residuals(self, q: int) -> None:
        """Compare the number of residuals that the kernel returns with the shape of the weights."""
        if self.weight is not None and self.weight.ndim > 1 and self.weight.shape[1] != q:
            raise ValueError(
                f"{self.name} returns {q} residuals, but weight or information is for {self.weight.shape[1]}."
            )


def _data(data: Any) -> FloatArray | None:
    if data is None:
        return None
    array = np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"data must be real numbers, got an array of {array.dtype}.")
    values = np.array(array, dtype=np.float64, order="C")
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"data must have shape (residual blocks, numbers for each), got {array.shape}.")
    if not np.isfinite(values).all():
        row, column = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"data[{row}, {column}] is not finite; leave such observations out.")
    return values


def _count(chosen: list[BlockSelection], data: FloatArray | None) -> int:
    """Return the number of residual blocks, on which all arguments and data must agree."""
    if not chosen:
        raise ValueError("param_indices is empty: a residual block needs parameter blocks.")
    counts = {f"param_indices[{k}]": len(one) for k, one in enumerate(chosen) if one.index.ndim}
    if data is not None:
        counts["data"] = len(data)
    if not counts:
        return 1
    if len(set(counts.values())) > 1:
        one = next((f"{k}" for k, one in enumerate(chosen) if len(one) == 1), "")
        raise ValueError(
            "the arguments do not agree on the number of residual blocks: "
            + ", ".join(f"{name} has {count}" for name, count in counts.items())
            + ("; write blocks[0] for a single block that all share." if one else ".")
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise ValueError("there are no residual blocks: param_indices and data are empty.")
    return count
