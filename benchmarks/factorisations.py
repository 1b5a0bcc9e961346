"""Sparse symmetric factorisation and ordering beside CHOLMOD, which cvxopt brings, on matrices of four kinds.

A matrix is its upper triangle with the diagonal by columns. Values are those of the problem where data are there; what
is compared is factorising anew with an analysis at hand, the fill of both orderings counted by the same count of
columns, and solving. CHOLMOD runs simplicial or supernodal, whichever is faster on a matrix.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec

import numpy as np

from .compare import interleaved
from .problems import bundle_adjustment, pose_graphs, real_data
from .rows import Section, in_units, limit_row, reported_row, share_row

__all__ = ["MATRICES", "cholmod_refactor", "fill", "load", "our_refactor", "scipy_factorisation", "section"]

REFACTOR_LIMIT, FILL_LIMIT = 1.25, 1.05
BAND_LIMIT = 3.0  # ms
DAMPING = 1e-3  # share of the diagonal that is added to normal equations, as a solver does


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """How a matrix is made, in the size that is timed and in a small one, the files it needs, and what is required."""

    full: Callable
    few: Callable
    needs: str | None = None
    refactor: float | None = None
    milliseconds: float | None = None
    fill: float | None = None

    def make(self, small=False):
        """Return the upper triangle, a csc_array."""
        from scipy.sparse import csc_array, triu

        upper = csc_array(triu(self.few() if small else self.full()))
        upper.sort_indices()
        return upper


def grid(k):
    """Return the five-point Laplacian of a k x k grid, made definite."""
    from scipy.sparse import diags_array, eye_array, kron

    line = diags_array([-np.ones(k - 1), 2.0 * np.ones(k), -np.ones(k - 1)], offsets=[-1, 0, 1])
    return kron(eye_array(k), line) + kron(line, eye_array(k)) + 1e-3 * eye_array(k * k)


def band(n, reach):
    """Return a matrix with ones up to `reach` beside a diagonal that dominates."""
    from scipy.sparse import diags_array

    offsets = [k for k in range(-reach, reach + 1) if k]
    off_diagonal = [np.ones(n - abs(k)) for k in offsets]
    return diags_array([*off_diagonal, (2.0 * reach + 1.0) * np.ones(n)], offsets=[*offsets, 0])


def pose_matrix(graph):
    """Return normal equations of a pose graph: for each measurement its information between and at two poses.

    The Jacobian of a measurement is taken for -I and I, which has the pattern and the size of the true one.
    """
    from scipy.sparse import coo_array, eye_array

    width, count = graph.information.shape[1], len(graph.poses)
    first, second = graph.edges.T
    blocks = [(first, first, 1.0), (second, second, 1.0), (first, second, -1.0), (second, first, -1.0)]
    within = np.arange(width)
    rows, columns, values = [], [], []
    for i, j, sign in blocks:
        rows.append(np.broadcast_to((i[:, None] * width + within)[:, :, None], graph.information.shape).ravel())
        columns.append(np.broadcast_to((j[:, None] * width + within)[:, None, :], graph.information.shape).ravel())
        values.append(sign * graph.information.ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    matrix = coo_array(entries, shape=(count * width, count * width)).tocsc()
    return matrix + float(np.median(matrix.diagonal())) * DAMPING * eye_array(count * width)


def reduced_matrix(scene):
    """Return the normal equations of a bundle adjustment reduced to its cameras, for a Jacobian of random numbers."""
    from scipy.sparse import block_diag, coo_array, csr_array, diags_array

    rng, count = np.random.default_rng(0), len(scene.observed)
    parts = []
    for index, width, blocks in ((scene.camera_index, 9, scene.cameras), (scene.point_index, 3, scene.points)):
        columns = np.broadcast_to((index[:, None] * width + np.arange(width))[:, None, :], (count, 2, width))
        rows = np.broadcast_to(np.arange(2 * count).reshape(count, 2, 1), (count, 2, width))
        entries = rng.standard_normal(columns.size), (rows.ravel(), columns.ravel())
        parts.append(csr_array(coo_array(entries, shape=(2 * count, blocks.size))))
    by_cameras, by_points = parts
    normal = by_points.T @ by_points + DAMPING * diags_array(np.ones(by_points.shape[1]))
    inverses = np.linalg.inv(_diagonal_blocks(normal, len(scene.points)))
    between = by_cameras.T @ by_points
    cameras = by_cameras.T @ by_cameras
    cameras = cameras + diags_array(DAMPING * cameras.diagonal())
    return cameras - between @ csr_array(block_diag(list(inverses), format="csr")) @ between.T


def _diagonal_blocks(matrix, count):
    """Return the 3 x 3 blocks on the diagonal of a block-diagonal matrix."""
    entries, out = matrix.tocoo(), np.zeros((count, 3, 3))
    rows, columns = entries.coords
    out[rows // 3, rows % 3, columns % 3] = entries.data
    return out


MATRICES = {
    "2-D grid, n = 1e4": Matrix(
        full=partial(grid, 100), few=partial(grid, 8), refactor=REFACTOR_LIMIT, fill=FILL_LIMIT
    ),
    "M3500, n = 10 500": Matrix(
        full=lambda: pose_matrix(pose_graphs.read("manhattan")),
        few=lambda: pose_matrix(pose_graphs.grid_world(6)),
        needs=real_data.GRAPHS["manhattan"],
        refactor=REFACTOR_LIMIT,
        fill=FILL_LIMIT,
    ),
    "sphere2500, n = 15 000": Matrix(
        full=lambda: pose_matrix(pose_graphs.read("sphere2500")),
        few=lambda: pose_matrix(pose_graphs.helix(40, 10)),
        needs=real_data.GRAPHS["sphere2500"],
        fill=FILL_LIMIT,
    ),
    "bundle adjustment 49-7776, reduced, n = 441": Matrix(
        full=lambda: reduced_matrix(bundle_adjustment.read()),
        few=lambda: reduced_matrix(bundle_adjustment.ring(8, 60)),
        needs=real_data.BUNDLE,
        refactor=REFACTOR_LIMIT,
        fill=FILL_LIMIT,
    ),
    "band of 1, n = 1e5": Matrix(
        full=partial(band, 100_000, 1), few=partial(band, 50, 1), milliseconds=BAND_LIMIT, fill=FILL_LIMIT
    ),
    "band of 3, n = 1e5": Matrix(full=partial(band, 100_000, 3), few=partial(band, 50, 3), fill=FILL_LIMIT),
}


@cache
def load(name, small=False):
    """Return the upper triangle of a matrix."""
    return MATRICES[name].make(small)


def analysis(upper, ordering="amd"):
    """Analyse a matrix with our code."""
    from nlsq.linalg.sparse_factor import analyse

    indptr, indices = upper.indptr.astype(np.int64), upper.indices.astype(np.int64)
    return analyse(indptr, indices, upper.shape[0], ordering=ordering)


def our_refactor(upper):
    """Return a call that factorises a matrix anew, and the analysis."""
    found = analysis(upper)
    factor = found.prepare()
    if (column := factor.refactor(upper.data)) >= 0:
        raise ArithmeticError(f"the matrix is not positive definite: column {column}")
    return partial(factor.refactor, upper.data), found


def scipy_factorisation(upper):
    """Return a call of SciPy's `splu` on a matrix, which analyses it each time."""
    from scipy.sparse import csc_array, triu
    from scipy.sparse.linalg import splu

    whole = csc_array(upper + triu(upper, 1).T)
    return partial(splu, whole, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def cvxopt_matrix(upper):
    """Return cvxopt's form of a matrix: the lower triangle."""
    from cvxopt import spmatrix

    lower = upper.T.tocoo()
    rows, columns = lower.coords
    return spmatrix(lower.data.tolist(), rows.tolist(), columns.tolist(), upper.shape)


def cholmod_refactor(matrix, supernodal):
    """Return a call of CHOLMOD that factorises a matrix of cvxopt anew; 0: simplicial, 2: supernodal."""
    from cvxopt import cholmod

    cholmod.options["supernodal"] = supernodal
    factor = cholmod.symbolic(matrix)

    def refactor():
        cholmod.options["supernodal"] = supernodal
        cholmod.numeric(matrix, factor)

    refactor()
    return refactor


def fill(upper):
    """Return the entries of the factor under our ordering and under that of the AMD which cvxopt brings."""
    from cvxopt import amd

    order = np.array(amd.order(cvxopt_matrix(upper)), dtype=np.int64).ravel()
    return analysis(upper).nnz_factor, analysis(upper, order).nnz_factor


def section(quick=False):
    """Time factorising anew, and count fill."""
    rows, notes = [], []
    peer_is_there = find_spec("cvxopt") is not None
    if not peer_is_there:
        notes.append("cvxopt, which brings CHOLMOD, is not installed")
    for name, matrix in MATRICES.items():
        if not quick and matrix.needs and (reason := real_data.missing(matrix.needs)):
            notes.append(f"{name}: {reason}")
            continue
        upper = load(name, small=quick)
        ours, found = our_refactor(upper)
        notes.append(f"{name}: {found.method}, {found.nnz_factor} entries, {_analysing(upper)} to analyse")
        pairs = 3 if quick else 15
        if peer_is_there:
            converted = cvxopt_matrix(upper)
            ratios = [interleaved(ours, cholmod_refactor(converted, kind), pairs=pairs) for kind in (0, 2)]
            ratio = min(ratios, key=lambda one: one.peer)
            rows.append(share_row(f"{name}: refactor", ratio, matrix.refactor, "CHOLMOD"))
            own, theirs = fill(upper)
            rows.append(limit_row(f"{name}: entries of the factor", f"AMD {theirs}", matrix.fill, own / theirs, "x"))
            milliseconds = 1e3 * ratio.ours
        else:
            milliseconds = 1e3 * interleaved(ours, ours, pairs=pairs).ours
            rows.append(reported_row(f"{name}: refactor", "-", in_units(1e-3 * milliseconds)))
        if matrix.milliseconds is not None:
            rows.append(limit_row(f"{name}: refactor", "-", matrix.milliseconds, milliseconds, "ms"))
    return Section(title="Sparse factorisation (our CPU time / CHOLMOD's)", rows=rows, notes=notes)


def _analysing(upper):
    """Return the time of an analysis as text."""
    analysis(upper)
    start = time.process_time()
    analysis(upper)
    return in_units(time.process_time() - start)
