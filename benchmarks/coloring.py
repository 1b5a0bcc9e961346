"""Colours of sparse patterns, beside those of SciPy's `group_columns` and their time.

A colour is an evaluation of the residual that every Jacobian by differences takes, so that their number counts for more
than the time that finds them once. Each call starts from the rows and columns in compressed form, as SciPy's does.
"""

import os
import time

import numpy as np

from .compare import interleaved
from .problems import sparsity
from .rows import Row, Section, share_row

__all__ = ["detection_rows", "our_coloring", "peer_coloring", "section"]

MOST_EVALUATIONS = 150
MOST_SECONDS = 0.5
SEEDS = 20

ORDERS = "natural", "largest first", "smallest last"


def our_coloring(name, small=False):
    """Return a call that colours a pattern anew, and gives the colours of the columns."""
    from nlsq.derivatives import color_columns
    from nlsq.pattern import SparsityPattern

    rows, columns, shape = sparsity.PATTERNS[name].make(small)
    made = SparsityPattern.from_entries(rows, columns, shape)
    indptr, indices = made.indptr, made.indices
    del made  # colours are kept for as long as an equal pattern lives
    return lambda: color_columns(SparsityPattern(indptr, indices, shape)).colors


def peer_coloring(name, small=False):
    """Return a call of SciPy's `group_columns`, in its random order."""
    from scipy.optimize._numdiff import group_columns
    from scipy.sparse import csc_array

    rows, columns, shape = sparsity.PATTERNS[name].make(small)
    matrix = csc_array((np.ones(rows.size), (rows, columns)), shape=shape)
    return lambda: group_columns(matrix)


def by_order(name, small=False):
    """Return the number of colours of each order, early exit or not."""
    from nlsq.derivatives.coloring import ColumnGraph
    from nlsq.pattern import SparsityPattern

    graph = ColumnGraph.of(SparsityPattern.from_entries(*sparsity.PATTERNS[name].make(small)))
    found = {order: [] for order in ORDERS}
    for order, columns in graph.orders():
        found[order].append(graph.color(columns, order, graph.n).n_colors)
    return found


def detection_rows(small=False):
    """Find the patterns of two large residuals by probing, from several seeds."""
    from nlsq.derivatives import detect_sparsity
    from nlsq.pattern import SparsityPattern

    rows = []
    cases = {
        "chain of 1e5": sparsity.chained(200 if small else 100_000),
        "bundle adjustment": sparsity.observed(sparsity.PATTERNS["bundle adjustment"].make(small)),
    }
    for name, (residual, x, pattern) in cases.items():
        true = SparsityPattern.from_entries(*pattern)
        spent, taken, own, missing = 0.0, [], [], 0

        def timed(point, residual=residual):
            nonlocal spent
            start = time.process_time()
            value = residual(point)
            spent += time.process_time() - start
            return value

        for seed in range(2 if small else SEEDS):
            spent, start = 0.0, time.process_time()
            found = detect_sparsity(timed, x, seed=seed, trace=False)
            own.append(time.process_time() - start - spent)
            taken.append(found.evaluations)
            missing += true.nnz - int(true.to_csr().multiply(found.pattern.to_csr()).nnz)
        what, seconds = f"{name}: pattern by probing", float(np.median(own))
        rows.append(Row(
            what=f"{what}, evaluations and missing entries over {len(own)} seeds", peer="-",
            required=f"<= {MOST_EVALUATIONS}, none", measured=f"{max(taken)}, {missing}",
            met=max(taken) <= MOST_EVALUATIONS and missing == 0,
        ))  # fmt: skip
        rows.append(Row(
            what=f"{what}, CPU time beside the residual's", peer="-", required=f"<= {MOST_SECONDS} s",
            measured=f"{seconds:.2f} s", met=seconds <= MOST_SECONDS,
        ))  # fmt: skip
    return rows


def section(quick=False):
    """Count colours and time colouring against SciPy's."""
    rows, notes = [], []
    for name, case in sparsity.PATTERNS.items():
        ours, peer = our_coloring(name, quick), peer_coloring(name, quick)
        found = int(ours().max()) + 1
        required = f"<= {case.colpack} (ColPack)"
        peers = f"SciPy {int(peer().max()) + 1}"
        met = found <= case.colpack
        rows.append(Row(what=f"{name}: colours", peer=peers, required=required, measured=str(found), met=met))
        ratio = interleaved(ours, peer, pairs=3 if quick else 21)
        rows.append(share_row(f"{name}: time to colour", ratio, None))
        counts = "; ".join(f"{order} {', '.join(map(str, each))}" for order, each in by_order(name, quick).items())
        notes.append(f"{name}, colours of each order: {counts}")
    if not os.environ.get(sparsity.BAL_VARIABLE):
        notes.append(f"bundle adjustment: a random pattern of the file's size; {sparsity.BAL_VARIABLE} names no file")
    rows += detection_rows(quick)
    return Section(title="Colouring sparse patterns (our CPU time / SciPy's), and finding them", rows=rows, notes=notes)
