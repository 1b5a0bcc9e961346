"""What a block function is called with: its parameter blocks, its data, its weights.

A group of residual blocks has one function and the same form of arguments: each takes a number of parameter blocks and
a row of data, and returns q numbers. Its rows of the Jacobian have one column for each tangent number of its
parameter blocks, in the order of the arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

KINDS = ("vector", "seeded", "held")
WEIGHTS = ("none", "scalar", "vector", "matrix")
LONGEST_TUPLE = 64  # numbers of a row of data: a longer one is an array


@final
@dataclass(frozen=True)
class BlockArgument:
    """A parameter block as an argument.

    Parameters
    ----------
    size : int
        Numbers of a block.
    width : int
        Columns of the Jacobian that belong to it.
    kind : {"vector", "seeded", "held"}
        ``"vector"``: a column for each number, and `width` is `size`. ``"seeded"``: the derivative of the numbers with
        respect to the columns is a matrix ``(size, width)`` given for each block. ``"held"``: constant, `width` is 0.
    """

    size: int
    width: int
    kind: str = "vector"

    def __post_init__(self) -> None:
        """Validate."""
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {self.kind!r}.")
        expected = {"vector": self.size, "held": 0}.get(self.kind, self.width)
        if self.size < 1 or self.width != expected:
            raise ValueError(f"a {self.kind} argument cannot have size {self.size} and width {self.width}.")


@final
@dataclass(frozen=True)
class BlockForm:
    """Arguments, data and weights of a block function.

    Parameters
    ----------
    arguments : tuple of BlockArgument
        The parameter blocks.
    data : int
        Numbers in a row of data; 0: the function takes no data.
    weight : {"none", "scalar", "vector", "matrix"}
        What multiplies residuals, and their derivatives, of each residual block: nothing, a number, q numbers, or a
        matrix (q, q).
    """

    arguments: tuple[BlockArgument, ...]
    data: int = 0
    weight: str = "none"

    def __post_init__(self) -> None:
        """Validate."""
        if not self.arguments:
            raise ValueError("a block function takes at least one parameter block.")
        if self.weight not in WEIGHTS:
            raise ValueError(f"weight must be one of {', '.join(map(repr, WEIGHTS))}, got {self.weight!r}.")

    @property
    def width(self) -> int:
        """Columns of the Jacobian of a residual block, T."""
        return sum(one.width for one in self.arguments)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First column of each argument."""
        return tuple(sum(one.width for one in self.arguments[:k]) for k in range(len(self.arguments)))
