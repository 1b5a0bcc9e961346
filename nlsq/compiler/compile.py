"""Kernels of a traced function: made once for each structure of a graph, kept on disk, bound to data.

Two traces have the same structure when their nodes, strides and the places of their outputs are the same, whatever the
lengths of the arrays and the values of the constants; they share kernels. The machine code is kept under the hash of
the programs that it was made from, beside the library's own kernels, and found there by later processes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.differentiate import derivatives
from nlsq.compiler.graph import FloatArray, NotTraceable, Shape
from nlsq.compiler.hessian_source import dense_hessian
from nlsq.compiler.jacobian_source import SparseLayout, dense_jacobian, pattern, sparse_layout, sparse_program
from nlsq.compiler.kernel_source import Layout, Variant, curve_jacobian, is_curve, layout_of, residual_program, sums_of
from nlsq.compiler.normal_source import FUSED_UP_TO, cost_program, normal_program, scaled_normal_program
from nlsq.compiler.second_derivatives import SecondDerivatives, is_single, second_order
from nlsq.compiler.sparse_hessian_source import Block, sparse_hessian
from nlsq.compiler.tracing.trace import Trace
from nlsq.kernels.backend.generated import find, make
from nlsq.kernels.backend.program import CONSTANTS, PARAMETERS, POINTS, SCRATCH, Program, render

if TYPE_CHECKING:
    from nlsq.compiler.batch_source import BatchVariant

IntArray = NDArray[np.int64]
_lock = threading.RLock()
_known: dict[Any, GraphKernels] = {}
MOST_KNOWN = 1000
LOSSES = ("linear", "huber", "soft_l1", "cauchy", "arctan")  # by the codes of `nlsq.kernels.robust`


def structure(trace: Trace) -> Any:
    """Return a key that is equal for traces that can share kernels.

    The graph gets the nodes of its derivatives first: with them come constants, which are numbered by their values.
    """
    summed = [trace.graph.nodes[index][1] for index in sums_of(trace)]
    for root in [one.node for one in trace.segments] + summed:
        derivatives(trace.graph, root)
    symbols: dict[int, int] = {}

    def symbolic(shape: Shape) -> tuple[int, ...]:
        lengths = tuple(symbols.setdefault(length, len(symbols)) for length in shape or (1,))  # as in `layout_of`
        return lengths if shape else (-1, *lengths)

    graph = trace.graph
    segments = tuple((one.node, symbolic(one.shape), one.strides, is_single(graph, one)) for one in trace.segments)
    sums = tuple((symbolic(graph.shapes[index]), graph.shapes[index][1:]) for index in summed)  # values in C order
    shapes = tuple(symbolic(shape) if shape else () for shape in graph.shapes)
    return graph.n, trace.variables, segments, sums, tuple(graph.nodes), shapes


def kernels_of(trace: Trace) -> GraphKernels:
    """Return the kernels for a trace's structure; nothing is compiled yet."""
    key = structure(trace)
    found = _known.get(key)
    if found is None:
        with _lock:
            found = _known.get(key)
            if found is None:
                if len(_known) >= MOST_KNOWN:
                    _known.clear()
                found = _known[key] = GraphKernels(trace)
    return found


class GraphKernels:
    """Kernels of one structure.

    Parameters
    ----------
    trace : Trace
        One of that structure.

    Attributes
    ----------
    layout : Layout
        What stands where in the table of integers that kernels get.
    is_curve : bool
        Whether rows depend on single parameters alone; else on slices of them, or on sums.
    """

    def __init__(self, trace: Trace) -> None:
        trace = replace(trace, graph=trace.graph.without_data(), sources=[])  # these are kept longer than anyone's data
        self.trace = trace
        self.layout: Layout = layout_of(trace)
        self.is_curve = is_curve(trace)
        self.sparse: SparseLayout = sparse_layout(trace, self.layout)
        self._addresses: dict[tuple[str, Variant | BatchVariant], int] = {}
        self._second: dict[bool, SecondDerivatives] = {}
        self._reasons: dict[tuple[str, Variant], str] = {}

    def second(self, variant: Variant) -> SecondDerivatives:
        """Return the second derivatives of the output.

        Raises
        ------
        NotTraceable
            Where one has no graph.
        """
        joined = not variant.omits  # rows that are left out have to stay apart
        with _lock:
            if joined not in self._second:
                self._second[joined] = second_order(self.trace, joined)
            return self._second[joined]

    def hessian_blocks(self, variant: Variant) -> list[Block]:
        """Return what the values of the program "sparse_hessian" are."""
        with _lock:
            return sparse_hessian(self.second(variant), self.layout, variant)[1]

    def program(self, name: str, variant: Variant) -> Program:
        """Return the program of a kernel.

        Raises
        ------
        NotTraceable
            If this graph has no such kernel.
        """
        trace, layout = self.trace, self.layout
        if name == "residual":
            return residual_program(trace, layout, variant)
        if name == "jacobian":
            if self.is_curve:
                return curve_jacobian(trace, layout, variant)
            return dense_jacobian(trace, layout, self.sparse, variant)
        if name == "normal_equations":
            return normal_program(trace, layout, variant)
        if name == "scaled_normal_equations":
            return scaled_normal_program(trace, layout, variant)
        if name == "cost":
            return cost_program(trace, layout, variant)
        if name == "hessian":
            return dense_hessian(self.second(variant), layout, self.sparse, variant)
        if name == "sparse_hessian":
            return sparse_hessian(self.second(variant), layout, variant)[0]
        return sparse_program(trace, layout, self.sparse, variant)

    @property
    def is_sparse(self) -> bool:
        """Whether rows depend on few parameters each."""
        return not self.sparse.gradients

    @property
    def fuses(self) -> bool:
        """Whether there is a kernel for the normal equations."""
        return self.is_curve and self.trace.graph.n <= FUSED_UP_TO

    def source(self, name: str, variant: Variant) -> str:
        """Return a kernel as Python source."""
        with _lock:
            return render(self.program(name, variant))

    def address(self, name: str, variant: Variant) -> int:
        """Return the address of a kernel, compiled if it is nowhere to be found."""
        found = self._addresses.get((name, variant))
        if found is None:
            with _lock:
                group = self._group(name)
                programs = [self.program(one, variant) for one in group]
                addresses = make(_symbol(programs), programs)
                for one, address in zip(group, addresses, strict=True):
                    self._addresses[one, variant] = address
                found = self._addresses[name, variant]
        return found

    def address_or_reason(self, name: str, variant: Variant) -> int | str:
        """Return the address of a kernel, or why this graph has no such kernel."""
        reason = self._reasons.get((name, variant))
        if reason is not None:
            return reason
        try:
            return self.address(name, variant)
        except NotTraceable as error:
            return self._reasons.setdefault((name, variant), str(error))

    def batch_address(self, variant: BatchVariant) -> int:
        """Return the address of the kernel for fits side by side; only for what `fuses`."""
        from nlsq.compiler.batch_source import batch_program

        found = self._addresses.get(("batch", variant))
        if found is None:
            with _lock:
                program = batch_program(self.trace, self.layout, variant)
                (found,) = make(_symbol([program]), [program])
                self._addresses["batch", variant] = found
        return found

    def is_at_hand(self, variant: Variant) -> bool:
        """Whether the kernels that a solve needs are in this process or on disk."""
        if ("residual", variant) in self._addresses:
            return True
        with _lock:
            programs = [self.program(one, variant) for one in self._group("residual")]
        return find(_symbol(programs)) is not None

    def _group(self, name: str) -> list[str]:
        """Return the kernels that are compiled together: those that a solve needs."""
        group = ["residual", "jacobian", *(["normal_equations"] if self.fuses else [])]
        return group if name in group else [name]


def _symbol(programs: list[Program]) -> str:
    digest = hashlib.sha256("".join(render(program) for program in programs).encode())
    return f"nlsq_generated_{digest.hexdigest()[:40]}"


class Binding:
    """The table and the memory with which kernels run on one trace's data.

    Parameters
    ----------
    kernels : GraphKernels
        Of the trace's structure.
    trace : Trace
        Lengths, constants and arrays.

    Attributes
    ----------
    table : ndarray of int
        What kernels get; addresses of x, y and weights are the caller's to write.
    constants : ndarray
        The loss scale, then the graph's constants.
    version : int
        Of the arrays that were taken last.
    """

    __slots__ = (
        "_are_copies",
        "_arrays",
        "_given",
        "_scratch",
        "_variant",
        "constants",
        "kernels",
        "m",
        "table",
        "trace",
        "version",
    )

    def __init__(self, kernels: GraphKernels, trace: Trace, variant: Variant) -> None:
        self.kernels, self.trace, self.m, self._variant = kernels, trace, trace.m, variant
        layout = kernels.layout
        table = self.table = np.zeros(layout.size, dtype=np.int64)
        self.constants = np.array([1.0, *trace.graph.constants])
        self._given = [1 + k for k in trace.graph.given.values()]
        table[POINTS], table[PARAMETERS] = trace.m, trace.graph.n
        table[CONSTANTS] = _address(self.constants)
        for place, length in zip(layout.lengths.values(), self._lengths(), strict=True):
            table[place] = length
        for place, segment in zip(layout.offsets, trace.segments, strict=True):
            table[place] = segment.offset
        self._scratch: FloatArray | None = None
        self._bind_sparse(kernels.sparse)
        self._arrays: list[FloatArray] = []
        self._are_copies = False
        self.version = -1
        self.set_arrays(trace.sources, 0)

    def _lengths(self) -> list[int]:
        """Return the lengths of this trace's axes, in the order in which the layout numbers them."""
        return list(layout_of(self.trace).lengths)

    def _bind_sparse(self, sparse: SparseLayout) -> None:
        table, n, m = self.table, self.trace.graph.n, self.m
        table[sparse.parameters], table[sparse.entries], table[sparse.one] = n, n * m, 1
        for position, place in enumerate(sparse.gradients.values()):
            table[place] = position * n
        table[sparse.rows] = 2 * len(sparse.gradients) * n  # behind one vector more for each sum, of second derivatives
        if sparse.gradients:
            self._scratch = np.zeros(2 * len(sparse.gradients) * n + m)
            table[SCRATCH] = _address(self._scratch)
        base = 0
        for (k, _), place in sparse.values.items():
            table[place] = base
            base += int(np.prod(self.trace.segments[k].shape, dtype=np.int64))

    def set_arrays(self, arrays: list[FloatArray], version: int, numbers: Sequence[float] = ()) -> None:
        """Take what a call brings along, see `nlsq.compiler.entries.Arrays`; one version is the same arrays."""
        if numbers:  # at first the trace's own are there
            for place, number in zip(self._given, numbers, strict=True):
                self.constants[place] = number
        if version == self.version and not self._are_copies:
            return
        self.version = version
        self._arrays = [np.ascontiguousarray(array, dtype=np.float64) for array in arrays]
        for place, array in zip(self.kernels.layout.data, self._arrays, strict=True):
            self.table[place] = _address(array)
        self._are_copies = any(new is not old for new, old in zip(self._arrays, arrays, strict=True))

    @property
    def arrays(self) -> list[FloatArray]:
        """What a call brings along, in the order of the layout's places for data."""
        return self._arrays

    def normal_equations(self, loss: int, loss_scale: float, scaled: bool = False) -> int:
        """Return the address of the normal equations under a loss, by its code; 0 where they are not fused.

        With `scaled` that of the kernel for a robust loss that writes ``sum rho1 J_ij^2`` behind them.
        """
        if not self.kernels.fuses or not 0 <= loss < len(LOSSES):
            return 0
        self.constants[0] = loss_scale
        variant = replace(self._variant, loss=LOSSES[loss])
        return self.kernels.address("scaled_normal_equations" if scaled else "normal_equations", variant)

    def pattern(self) -> tuple[IntArray, IntArray]:
        """Return row and column of each value of the sparse Jacobian."""
        return pattern(Trace(self.kernels.trace.graph, self.trace.segments, self.m, self.trace.shape))


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
