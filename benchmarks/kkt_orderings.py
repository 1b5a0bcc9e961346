"""What sparsity is worth: one KKT system factorised densely, in its natural order and by minimum degree.

    min 1/2 |u - d|^2 + beta/2 |f|^2    s.t.    -laplace(u) + u^3 = f    on a k x k grid

has n = 2 k^2 variables (u, f) and mc = k^2 constraints. A chained problem (L. Luksan and J. Vlcek, Technical Report
767, Academy of Sciences of the Czech Republic, 1999, problem 5.1) is the
other extreme: pairs of variables and constraints make a band.

    python -m benchmarks.kkt_orderings [n] [--dense]

prints a table for both; the dense row, LAPACK's `sytrf` on a matrix of order n + mc, comes where that is below
LARGEST_DENSE or `--dense` is given: n = 10,000 takes minutes, and 1.8 and 3.2 GB. The natural order of the grid is that
of the variables as they are, all u before all f.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np

from nlsq.linalg.kkt import RIGHT_INERTIA, SparseKKT
from nlsq.pattern import SparsityPattern

from .rows import Section, in_units, reported_row

__all__ = ["System", "chain", "grid", "measure", "measure_dense", "section"]

LARGEST_DENSE = 5000
REPEATS = 5
BETA = 1e-2  # weight of the control


@dataclass(frozen=True)
class System:
    """Patterns and values, by rows, of J and A."""

    jac: SparsityPattern
    constraints: SparsityPattern
    jac_values: np.ndarray
    constraint_values: np.ndarray


def _system(jac, constraints):
    """Return a system of two sparse matrices."""
    from scipy.sparse import csr_array

    jac, constraints = csr_array(jac), csr_array(constraints)
    jac.sort_indices()
    constraints.sort_indices()
    patterns = SparsityPattern.from_matrix(jac), SparsityPattern.from_matrix(constraints)
    return System(*patterns, jac.data, constraints.data)


def grid(n):
    """Return the control problem with about n variables, linearised at a smooth state."""
    from scipy.sparse import block_diag, diags_array, eye_array, hstack, kron

    k = round((n / 2) ** 0.5)
    line = diags_array([-np.ones(k - 1), 2.0 * np.ones(k), -np.ones(k - 1)], offsets=[-1, 0, 1])
    one = eye_array(k)
    where = np.arange(1, k + 1) / (k + 1)
    state = np.outer(np.sin(np.pi * where), np.sin(np.pi * where)).ravel()
    operator = (kron(one, line) + kron(line, one)) * (k + 1) ** 2 + diags_array(3.0 * state**2)
    all_one = eye_array(k * k)
    return _system(block_diag([all_one, BETA * all_one]), hstack([operator, -all_one]))


def chain(n):
    """Return the chained problem, linearised at its start."""
    from scipy.sparse import csr_array, diags_array

    x = np.where(np.arange(n) % 2 == 0, -1.2, 1.0)
    a, b, c = x[:-2], x[1:-1], x[2:]
    minus, plus = np.sin(b - c), np.sin(b + c)
    first = -np.exp(a - b) * (1.0 + a)
    middle = 9.0 * b**2 + 4.0 + np.cos(b - c) * plus + minus * np.cos(b + c) + a * np.exp(a - b)
    last = 2.0 - np.cos(b - c) * plus + minus * np.cos(b + c)
    i = np.arange(n - 1)
    values = np.concatenate([20.0 * x[:-1], np.full(n - 1, -10.0), np.ones(n - 1)])
    rows, columns = np.concatenate([2 * i, 2 * i, 2 * i + 1]), np.concatenate([i, i + 1, i])
    jac = csr_array((values, (rows, columns)), shape=(2 * n - 2, n))
    return _system(jac, diags_array([first, middle, last], offsets=[0, 1, 2], shape=(n - 2, n)))


def _cpu(function):
    """Return the median of CPU times in seconds, and what the function gives."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return float(np.median(times)), result


def measure(system, **options):
    """Return entries of L, and CPU seconds of analysis, factorisation with assembly, and solution.

    Parameters
    ----------
    system : System
        What to factorise.
    **options
        Of `SparseKKT`.

    Returns
    -------
    dict
        ``fill``, ``analyse``, ``factorize``, ``solve`` and the ``residual``.
    """
    patterns = system.jac, system.constraints
    analyse, kkt = _cpu(lambda: SparseKKT(*patterns, constraint_values=system.constraint_values, **options))
    kkt.set_matrices(system.jac_values, system.constraint_values)
    factorize, code = _cpu(lambda: kkt.factorize(0.0, 0.0))
    if code != RIGHT_INERTIA:
        raise RuntimeError(f"the inertia is wrong: code {code}")
    out = np.empty(kkt.n + kkt.mc)
    rhs = np.sin(np.arange(out.size))
    solve, residual = _cpu(lambda: kkt.solve(rhs, out))
    return {
        "fill": kkt.nnz_factor, "analyse": analyse, "factorize": factorize, "solve": solve, "residual": residual
    }  # fmt: skip


def measure_dense(system):
    """Return the same for LAPACK's Bunch-Kaufman factorisation."""
    from scipy.linalg.lapack import dsytrf, dsytrf_lwork, dsytrs
    from scipy.sparse import csr_array

    jac, constraints = (
        csr_array((values, *pattern.by_rows()[::-1]), shape=pattern.shape)
        for pattern, values in (
            (system.jac, system.jac_values),
            (system.constraints, system.constraint_values),
        )
    )
    mc, n = constraints.shape
    matrix = np.zeros((n + mc, n + mc), order="F")
    matrix[:n, :n] = (jac.T @ jac).toarray()
    matrix[n:, :n] = constraints.toarray()
    room = int(dsytrf_lwork(n + mc, lower=1)[0])
    start = time.process_time()
    factor, pivots, failed = dsytrf(matrix, lower=1, lwork=room, overwrite_a=1)
    factorize = time.process_time() - start
    if failed:
        raise RuntimeError(f"dsytrf failed: info {failed}")
    start = time.process_time()
    dsytrs(factor, pivots, np.sin(np.arange(n + mc)), lower=1)
    return {
        "fill": (n + mc) * (n + mc + 1) // 2, "analyse": 0.0, "factorize": factorize,
        "solve": time.process_time() - start, "residual": np.nan,
    }  # fmt: skip


def table(n, *, dense=False):
    """Yield the lines of the table for n variables."""
    for name, make in (("grid", grid), ("chain", chain)):
        system = make(n)
        mc, variables = system.constraints.shape
        yield f"{name}: {variables} variables, {mc} constraints"
        yield f"  {'':10}{'entries of L':>14}{'analysis':>12}{'factorise':>12}{'solve':>12}   (CPU ms)"
        rows = {order: measure(system, ordering=order) for order in ("amd", "natural")}
        if dense or variables + mc <= LARGEST_DENSE:
            rows["dense"] = measure_dense(system)
        for order, row in rows.items():
            times = "".join(f"{1e3 * row[part]:12.2f}" for part in ("analyse", "factorize", "solve"))
            yield f"  {order:10}{row['fill']:14,d}{times}"


def section(quick=False):
    """Return the rows of the report: the grid with n = 1e4, densely too where memory is there for that."""
    system, notes = grid(450 if quick else 10_000), []
    mc, n = system.constraints.shape
    orders = {"minimum degree (AMD)": "amd", "natural order": "natural"}
    rows = {name: measure(system, ordering=ordering) for name, ordering in orders.items()}
    try:
        rows["dense"] = measure_dense(system)
    except MemoryError as reason:
        notes.append(f"dense: {reason}")
    parts, measured = ("analyse", "factorize", "solve"), []
    for name, row in rows.items():
        text = f"{row['fill']:,} entries of L; {', '.join(in_units(row[part]) for part in parts if row[part])}"
        what = "analysis, factorisation, solution" if row["analyse"] else "factorisation, solution"
        measured.append(reported_row(f"{name}: {what}", "-", text))
    title = f"Orderings of one KKT system: a grid, n = {n}, mc = {mc} (CPU time)"
    return Section(title=title, rows=measured, notes=notes)


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--dense"]
    for line in table(int(given[0]) if given else 10_000, dense="--dense" in sys.argv):
        print(line, flush=True)
