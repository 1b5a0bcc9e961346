r"""The Schur complement: parameter blocks that share no residual leave the normal equations first.

    H = J'J + D = [U W; W' V],    V block diagonal over the eliminated blocks:
    S = U - W V^-1 W',      S p_kept = -(g_kept - W V^-1 g_eliminated),      p_e = -V_e^-1 (g_e + W_e' p_kept).

In bundle adjustment the eliminated blocks are the points: thousands of small blocks for each of the few cameras, and S
has the size of the cameras alone [1]_ [2]_. What does not depend on the damping (U, V, W) is formed once for each
Jacobian. S is factorised as a dense matrix, or as a sparse one where few pairs of kept blocks meet.

The pivots of the V_e and of S are those of a Cholesky factorisation of H. Where the ratio of a squared pivot to the
diagonal falls below `NO_DIGITS`, rounding has left nothing of it, and the problem is reported as not definite; below
`PIVOT_LIMIT` as ill-conditioned.

References
----------
.. [1] B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, "Bundle Adjustment - A Modern Synthesis", Vision
   Algorithms: Theory and Practice, 2000, section 6.1.
.. [2] S. Agarwal, N. Snavely, S. Seitz and R. Szeliski, "Bundle Adjustment in the Large", ECCV 2010, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.block_jacobian import BlockJacobian, BlockPattern, operand
from nlsq.kernels import schur as kernels
from nlsq.kernels.backend import Kernel, specialised
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.quadratic_model import PIVOT_LIMIT
from nlsq.linalg.eliminated import eliminated_blocks
from nlsq.linalg.kernel_calls import VALUES, Call
from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.schur_plan import MIXED, Elimination, Family, Term, main_columns
from nlsq.linalg.schur_reduced import DenseReduced, SparseReduced, reduced_system

__all__ = ["SchurComplement", "SchurFactorization"]

SPECIALISED_FROM = 4000  # residual blocks: fewer take 2 us each, and a kernel of their sizes 0.1 s to compile
LARGEST_SIZE = 16  # beyond it, loops of a known length are no faster and take long to compile


@final
@dataclass(frozen=True, kw_only=True)
class SchurComplement:
    """Normal equations of a block Jacobian from which independent blocks are eliminated first.

    Attributes
    ----------
    eliminated : ndarray of bool, shape (n_blocks,), or None
        Column blocks to eliminate; no residual block may meet two of them. None: found by `eliminated_blocks`.
    reduced : {"auto", "dense", "sparse"}
        How the reduced system is factorised; "auto" compares the predicted work.
    """

    eliminated: Any = None
    reduced: str = "auto"

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> SchurFactorization:
        """Allocate for block Jacobians of shape (m, n).

        Raises
        ------
        TypeError
            If `pattern` is no BlockPattern.
        ValueError
            If `eliminated` has the wrong shape or is not independent, or `reduced` is unknown.
        """
        if not isinstance(pattern, BlockPattern):
            raise TypeError(f"SchurComplement needs the BlockPattern of J, got {type(pattern).__name__}.")
        if self.eliminated is None:
            chosen = eliminated_blocks(pattern)
        else:
            chosen = np.asarray(self.eliminated)
            if chosen.shape != pattern.widths.shape or chosen.dtype != np.bool_:
                raise ValueError(
                    f"eliminated must be a bool array of shape {pattern.widths.shape}, one for each column block; got "
                    f"{chosen.dtype} {chosen.shape}."
                )
        return SchurFactorization(pattern, Elimination(pattern, chosen), self.reduced)


@final
class SchurFactorization:
    """The linear problems of one solve.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    elimination : Elimination
        Eliminated blocks and where products go.
    reduced : str
        How the reduced system is factorised.

    Attributes
    ----------
    kept : float
        Smallest ratio of a squared pivot to the diagonal in the last solve; 0 if the matrix was not definite.
    failed_column : int
        First column of J of the eliminated block, or the column, whose pivot failed in the last solve; -1 if none.
    reduced : DenseReduced or SparseReduced
        The reduced system.
    """

    def __init__(self, pattern: BlockPattern, elimination: Elimination, reduced: str) -> None:
        self.kept, self.failed_column = 1.0, -1
        self.elimination = elimination
        self.reduced: DenseReduced | SparseReduced = reduced_system(elimination, reduced)
        self._shapes = pattern.shapes
        self._shape = _, n = pattern.shape
        self._jac: BlockJacobian | None = None
        self._own = np.zeros(int(elimination.block_starts[-1]))
        self._couplings = np.zeros(int(elimination.slot_starts[-1]))
        self._factors = np.zeros(self._own.size)
        self._gradient, self._step, self._damping = np.empty(n), np.empty(n), np.empty(n)
        self._failed = np.zeros(1, dtype=np.int64)
        self._slot_columns = elimination.starts[elimination.slot_kept]
        self._slot_widths = elimination.slot_widths
        coupling_terms = elimination.coupling_terms()
        self._products = [
            *(_Product(pattern, term, self._own, by_row=True) for term in elimination.own_terms()),
            *(_Product(pattern, term, self._couplings, by_row=True) for term in coupling_terms),
            *(
                _Product(pattern, term, self.reduced.undamped, by_row=False)
                for term in elimination.kept_terms(self.reduced.locate)
            ),
        ]
        self._slopes = [
            _Slope(pattern, group, argument, self._gradient)
            for group in range(len(pattern.groups))
            for argument in range(len(pattern.groups[group].widths))
        ]
        self._families = [self._family(family) for family in elimination.families]

    def factorize(self, jac: BlockJacobian) -> LinearStatus:
        """Form U, V and W; `jac` is kept until the next call."""
        jac.check(self._shapes)
        self._jac = jac
        self._own[...] = 0.0
        self._couplings[...] = 0.0
        self.reduced.undamped[...] = 0.0
        for product in self._products:
            product.add(jac)
        finite = _is_finite(self._own) and _is_finite(self.reduced.undamped)
        return LinearStatus.SOLVED if finite else LinearStatus.NONFINITE

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Solve the damped normal equations; see `Factorization.solve`."""
        if self._jac is None:
            raise RuntimeError("solve comes after factorize: there is no Jacobian yet.")
        m, n = self._shape
        r, damping = operand(r, m, "r"), operand(damping_diag, n, "damping_diag")
        self.kept, self.failed_column = 0.0, -1
        self._gradient[...] = 0.0
        for slope in self._slopes:
            slope.add(self._jac, r)
        if not _is_finite(self._gradient):
            return LinearStatus.NONFINITE
        np.copyto(self._damping, damping)
        reduced = self.reduced
        np.copyto(reduced.blocks, reduced.undamped)
        np.take(self._gradient, self.elimination.kept_columns, out=reduced.step)
        kept = 1.0
        for family in self._families:
            kept = min(kept, family.factorize())
            if kept == 0.0:
                self.failed_column = int(self.elimination.columns[family.first + int(self._failed[0])])
                return LinearStatus.NOT_DEFINITE
            family.eliminate()
        kept = min(kept, reduced.factorize(self._damping))
        if kept == 0.0:
            self.failed_column = reduced.failed_column
            return LinearStatus.NOT_DEFINITE
        reduced.solve()
        self._step[self.elimination.kept_columns] = reduced.step
        for family in self._families:
            family.substitute()
        np.copyto(step_out, self._step)
        self.kept = kept
        return LinearStatus.SOLVED if kept >= PIVOT_LIMIT else LinearStatus.ILL_CONDITIONED

    def _family(self, family: Family) -> _FamilyKernels:
        """Bind the kernels of one family to their memory."""
        plan, d, first, end = self.elimination, family.order, family.first, family.end
        slots, columns = plan.slots[first : end + 1], plan.columns[first:end]
        own, factors = (array[plan.block_starts[first] :] for array in (self._own, self._factors))
        widest = int(np.max(plan.slot_starts[slots[1:]] - plan.slot_starts[slots[:-1]], initial=0))
        sizes = {"D": d}
        if family.width != MIXED:
            sizes |= {"W": family.width, "MAIN": main_columns(family.width)}
        if columns.size + int(slots[-1] - slots[0]) < SPECIALISED_FROM or max(sizes.values()) > LARGEST_SIZE:
            sizes = {}
        lists = columns, columns.size, d, slots, plan.slot_starts, self._slot_columns, self._slot_widths
        before = factors, self._couplings, self._gradient, *lists
        reduced = self.reduced
        pairs = reduced.pair_blocks[reduced.first_pairs[first] :]
        return _FamilyKernels(
            first,
            Call(kernels.factor_blocks, own, self._damping, columns, columns.size, d, factors, self._failed),
            Call(
                _sized(kernels.eliminate, sizes),
                *(*before, reduced.panels, pairs, np.empty(d + widest), reduced.step, reduced.blocks),
            ),
            Call(kernels.substitute, *before, reduced.step, self._step),
        )


@final
@dataclass(frozen=True)
class _FamilyKernels:
    """What is done to a family at each damping."""

    first: int
    factorize: Call
    eliminate: Call
    substitute: Call


@final
class _Product:
    """J_a'J_b of one group, added to blocks of U, V or W.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    term : Term
        The arguments and the targets.
    out : ndarray
        Where the blocks lie.
    by_row : bool
        Whether they lie row by row throughout, as those of V and W do.
    """

    def __init__(self, pattern: BlockPattern, term: Term, out: FloatArray, *, by_row: bool) -> None:
        group = pattern.groups[term.group]
        count, rows, stride = group.shape
        widths = group.widths[term.left], group.widths[term.right]
        main = widths[1] if by_row else main_columns(widths[1])
        sizes = {"Q": rows, "A": widths[0], "B": widths[1], "MAIN": main}
        if count < SPECIALISED_FROM or max(sizes.values()) > LARGEST_SIZE:
            sizes = {}
        self._group = term.group
        places = group.starts[term.left], widths[0], group.starts[term.right], widths[1], main
        kernel = _sized(kernels.add_products, sizes)
        self._call = Call(kernel, VALUES, count, rows, stride, *places, term.targets, out)

    def add(self, jac: BlockJacobian) -> None:
        """Add the products of the values of `jac`."""
        self._call(jac.values[self._group].reshape(-1))


@final
class _Slope:
    """J_a'r of one group, added to the gradient.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    group, argument : int
        Which group, and which of its arguments is a.
    out : ndarray, shape (n,)
        The gradient.
    """

    def __init__(self, pattern: BlockPattern, group: int, argument: int, out: FloatArray) -> None:
        one = pattern.groups[group]
        count, rows, stride = one.shape
        width = one.widths[argument]
        sizes = {"Q": rows, "A": width} if count >= SPECIALISED_FROM and max(rows, width) <= LARGEST_SIZE else {}
        self._group, self._rows = group, slice(one.first_row, one.first_row + count * rows)
        targets = np.ascontiguousarray(pattern.places[group][:, argument])
        places = one.starts[argument], width, targets
        self._call = Call(_sized(kernels.add_gradient, sizes), VALUES, VALUES, count, rows, stride, *places, out)

    def add(self, jac: BlockJacobian, r: FloatArray) -> None:
        """Add the products of the values of `jac` with the residual `r`."""
        self._call(jac.values[self._group].reshape(-1), r[self._rows])


def _is_finite(array: FloatArray) -> bool:
    """Say whether all numbers are finite."""
    return bool(run_kernel(all_finite, array, array.size))


def _sized(kernel: Kernel, sizes: dict[str, int]) -> Kernel:
    """Specialise a kernel on those of the sizes that it reads."""
    return specialised(kernel, **{k: sizes[k] for k in sizes if k in kernel.function.__code__.co_names})
