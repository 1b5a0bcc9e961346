"""Factorisations of sparse symmetric matrices: equal to dense ones, whatever the pattern, method and order."""

import sys
import threading
import time
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import symbolic as twin

from nlsq.kernels import calling
from nlsq.kernels import multifrontal as kernels
from nlsq.kernels.backend import Kernel, blas, handle, ticket
from nlsq.linalg import kernel_calls, multifrontal, other_packages
from nlsq.linalg.multifrontal import MultifrontalPlan
from nlsq.linalg.other_packages import PACKAGES
from nlsq.linalg.sparse_factor import analyse, weakest_pivot
from nlsq.linalg.symmetric_pattern import Pattern, Tree

METHODS = ("simplicial", "multifrontal")
EVERY_METHOD = pytest.mark.parametrize("method", METHODS)
seeds = st.integers(0, 2**32 - 1)


def upper(matrix, mask):
    """Return indptr, indices and values of the upper triangle by columns."""
    n = len(matrix)
    rows = [np.flatnonzero(mask[: j + 1, j]) for j in range(n)]
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    indices = np.concatenate([*rows, np.empty(0)]).astype(np.int64)
    return indptr, indices, matrix[indices, np.repeat(np.arange(n), np.diff(indptr))]


def symmetric(mask):
    return mask | mask.T | np.eye(len(mask), dtype=bool)


def definite(mask, rng, signs=None):
    """Return a symmetric matrix of this pattern whose blocks of equal sign are dominated by their diagonals."""
    a = np.where(mask, rng.uniform(-1.0, 1.0, mask.shape), 0.0)
    a = np.tril(a, -1) + np.tril(a, -1).T
    sign = np.ones(len(mask)) if signs is None else signs
    return a + np.diag(sign * (rng.uniform(0.1, 1.0, len(mask)) + np.abs(a).sum(axis=1)))


def factorised(matrix, mask, **options):
    indptr, indices, values = upper(matrix, mask)
    analysis = analyse(indptr, indices, len(matrix), **options)
    factor = analysis.prepare()
    assert factor.refactor(values) == -1
    return analysis, factor


def check_solutions(matrix, factor, rng):
    right = rng.standard_normal((len(matrix), 3))
    expected = np.linalg.solve(matrix, right)
    tolerance = 1e-11 * max(1.0, np.abs(expected).max())
    x = right[:, 0].copy()
    factor.solve(x, x)
    np.testing.assert_allclose(x, expected[:, 0], rtol=0.0, atol=tolerance)
    for b in (right, np.asfortranarray(right), right[:, :1]):
        np.testing.assert_allclose(factor.solve_many(b), expected[:, : b.shape[1]], rtol=0.0, atol=tolerance)


masks = (
    st.integers(1, 14)
    .flatmap(
        lambda n: st.sampled_from([0.05, 0.2, 0.5, 1.0]).flatmap(
            lambda density: seeds.map(lambda seed: np.random.default_rng(seed).random((n, n)) < density)
        )
    )
    .map(symmetric)
)


@EVERY_METHOD
@given(mask=masks, seed=seeds, ordering=st.sampled_from(["amd", "natural", "given"]), signed=st.booleans())
def test_any_pattern(method, mask, seed, ordering, signed):
    rng = np.random.default_rng(seed)
    n = len(mask)
    signs = rng.choice([-1, 1], n) if signed else None
    matrix = definite(mask, rng, signs)
    order = rng.permutation(n) if ordering == "given" else ordering
    analysis, factor = factorised(matrix, mask, ordering=order, signs=signs, method=method)
    assert sorted(analysis.permutation) == list(range(n))
    assert analysis.method == method
    check_solutions(matrix, factor, rng)


def arrow(n, head):
    mask = np.eye(n, dtype=bool)
    mask[head, :], mask[:, head] = True, True
    return mask


def band(n, width):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= width


def grid(k):
    line = band(k, 1)
    one = np.eye(k, dtype=bool)
    return np.kron(line, one) | np.kron(one, line)


PATTERNS = {
    "one": np.ones((1, 1), dtype=bool),
    "diagonal": np.eye(40, dtype=bool),
    "dense": np.ones((83, 83), dtype=bool),
    "two blocks": np.kron(np.eye(2, dtype=bool), np.ones((31, 31), dtype=bool)),
    "arrow": arrow(60, 59),
    "arrow the wrong way": arrow(60, 0),
    "tridiagonal": band(70, 1),
    "band": band(150, 9),
    "grid": grid(13),
    "blocks of a graph": np.kron(grid(5), np.ones((3, 3), dtype=bool)),
    "more than one panel": np.ones((301, 301), dtype=bool),
}


@EVERY_METHOD
@pytest.mark.parametrize("ordering", ["amd", "natural"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", PATTERNS)
def test_pattern(name, signed, ordering, method):
    rng = np.random.default_rng(5)
    mask = PATTERNS[name]
    signs = np.where(rng.random(len(mask)) < 0.4, -1.0, 1.0) if signed else None
    matrix = definite(mask, rng, signs)
    _, factor = factorised(matrix, mask, ordering=ordering, signs=signs, method=method)
    check_solutions(matrix, factor, rng)


def test_nothing():
    analysis = analyse(np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64), 0, method="multifrontal")
    factor = analysis.prepare()
    assert (analysis.nnz_factor, factor.refactor(np.empty(0)), factor.solve_many(np.empty((0, 2))).shape) == (
        0,
        -1,
        (0, 2),
    )


@EVERY_METHOD
def test_long_chain_takes_little_memory(method):
    n = 100_000
    indptr = np.maximum(2 * np.arange(n + 1, dtype=np.int64) - 1, 0)
    indices = np.repeat(np.arange(n, dtype=np.int64), 2)[:-1]  # rows j - 1 and j of column j
    values = np.where(np.diff(indices, prepend=-1) == 0, -1.0, 2.5)
    values[0], values[1::2], values[2::2] = 2.5, -1.0, 2.5
    tracemalloc.start()
    analysis = analyse(indptr, indices, n, method=method)
    factor = analysis.prepare()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert analysis.nnz_factor == 2 * n - 1
    assert peak < 1000 * n
    assert factor.refactor(values) == -1
    b, x = np.sin(np.arange(n)), np.empty(n)
    factor.solve(b, x)
    product = 2.5 * x
    product[:-1] -= x[1:]
    product[1:] -= x[:-1]
    assert np.abs(product - b).max() < 1e-13


def test_automatic_choice():
    few, many = band(300, 1), np.ones((50, 50), dtype=bool)
    rng = np.random.default_rng(0)
    assert factorised(definite(few, rng), few)[0].method == "simplicial"
    assert factorised(definite(many, rng), many)[0].method == "multifrontal"


# The tree, the counts, the nodes


@given(mask=masks, seed=seeds)
@example(mask=grid(6), seed=0)
def test_tree_and_counts(mask, seed):
    n = len(mask)
    indptr, indices, _ = upper(mask.astype(float), mask)
    tree = Tree(Pattern(indptr, indices, n), np.random.default_rng(seed).permutation(n))
    below = twin.structures(mask, tree.permutation)
    assert tree.parents.tolist() == twin.parents(below)
    assert twin.is_postorder(tree.parents.tolist())
    assert tree.counts.tolist() == [1 + len(rows) for rows in below]
    analysis = analyse(indptr, indices, n, ordering=tree.permutation, method="multifrontal")
    counts = [1 + len(rows) for rows in twin.structures(mask, analysis.permutation)]
    assert (analysis.nnz_factor, analysis.flops) == (sum(counts), sum(c * c for c in counts))


@given(mask=masks, seed=seeds)
@example(mask=grid(9), seed=0)
@example(mask=arrow(30, 29), seed=3)
def test_nodes_hold_the_factor(mask, seed):
    """Every entry of L has a place, updates fit into their parents, and no two that live at once overlap."""
    n = len(mask)
    indptr, indices, _ = upper(mask.astype(float), mask)
    pattern = Pattern(indptr, indices, n)
    plan = MultifrontalPlan(pattern, Tree(pattern, np.random.default_rng(seed).permutation(n)), np.ones(n))
    below = twin.structures(mask, plan.permutation)
    starts, places = plan.node_starts.tolist(), plan.row_starts.tolist()
    assert starts[0] == 0 and starts[-1] == n and np.all(np.diff(starts) > 0)
    assert twin.is_postorder(plan.tree.tolist())
    alive = {}
    for s in range(plan.m):
        own = list(range(starts[s], starts[s + 1]))
        rows = plan.rows[places[s] : places[s + 1]].tolist()
        assert rows == sorted(set(rows))
        assert set(rows) == set().union(*(below[j] for j in own)) - set(own)
        size, begin = len(rows), int(plan.update_starts[s])
        for child in [c for c in range(s) if plan.tree[c] == s]:
            front = own + rows
            found = [front[k] for k in plan.relative[places[child] : places[child + 1]]]
            assert found == plan.rows[places[child] : places[child + 1]].tolist()
            assert plan.inside[child] == sum(i < starts[s + 1] for i in found)
        taken = range(begin, begin + size * size)
        assert taken.stop <= plan.updates_size
        assert all(max(taken.start, r.start) >= min(taken.stop, r.stop) for r in alive.values())
        alive = {c: r for c, r in alive.items() if plan.tree[c] != s} | {s: taken}


def test_updates_of_a_chain_share_their_memory():
    n = 300
    indptr, indices, _ = upper(np.eye(n), band(n, 1))
    pattern = Pattern(indptr, indices, n)
    plan = MultifrontalPlan(pattern, Tree(pattern, np.arange(n)), np.ones(n))
    assert plan.m > 10
    assert plan.updates_size == 2


# Refactoring


@EVERY_METHOD
def test_refactor_allocates_nothing(method):
    mask, rng = grid(30), np.random.default_rng(1)
    matrix = definite(mask, rng)
    _, factor = factorised(matrix, mask, method=method)
    other = definite(mask, rng)
    values = upper(other, mask)[2]
    b, x = rng.standard_normal(len(mask)), np.empty(len(mask))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    failed = factor.refactor(values)
    factor.solve(b, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert failed == -1
    assert peak - before < 4000
    np.testing.assert_allclose(other @ x, b, rtol=0.0, atol=1e-12)


@EVERY_METHOD
def test_factors_of_one_analysis_have_their_own_memory(method):
    mask, rng = grid(5), np.random.default_rng(2)
    first, second = definite(mask, rng), definite(mask, rng)
    analysis, one = factorised(first, mask, method=method)
    two = analysis.prepare()
    assert two.refactor(upper(second, mask)[2]) == -1
    check_solutions(first, one, rng)
    check_solutions(second, two, rng)


# Failing pivots


@EVERY_METHOD
@pytest.mark.parametrize("name", ["one", "arrow", "grid", "dense", "more than one panel"])
@pytest.mark.parametrize("value", [-5.0, 0.0, np.nan, np.inf, -np.inf])
def test_failing_pivot_is_named(name, value, method):
    """A diagonal matrix of this pattern: no pivot changes another."""
    mask = PATTERNS[name]
    n = len(mask)
    for column in {0, n // 3, n - 1}:
        matrix = np.diag(np.arange(1.0, n + 1))
        matrix[column, column] = value
        indptr, indices, values = upper(matrix, mask)
        analysis = analyse(indptr, indices, n, method=method)
        factor = analysis.prepare()
        assert factor.refactor(values) == column
        values[np.flatnonzero(indices == np.repeat(np.arange(n), np.diff(indptr)))] = 1.0
        assert factor.refactor(values) == -1  # and the next ones are not the worse for it
        b, x = np.arange(1.0, n + 1), np.empty(n)
        factor.solve(b, x)
        np.testing.assert_allclose(x, b)


@EVERY_METHOD
@given(mask=masks, seed=seeds, bad=st.sampled_from([np.nan, np.inf]))
def test_no_factor_of_values_that_are_not_finite(method, mask, seed, bad):
    rng = np.random.default_rng(seed)
    indptr, indices, values = upper(definite(mask, rng), mask)
    values[rng.integers(values.size)] = bad
    factor = analyse(indptr, indices, len(mask), method=method).prepare()
    assert 0 <= factor.refactor(values) < len(mask)


@EVERY_METHOD
@given(mask=masks, seed=seeds)
def test_indefinite_matrices_fail_at_the_first_wrong_minor(method, mask, seed):
    rng = np.random.default_rng(seed)
    matrix = definite(mask, rng) - np.diag(rng.choice([0.0, 30.0], len(mask), p=[0.7, 0.3]))
    indptr, indices, values = upper(matrix, mask)
    analysis = analyse(indptr, indices, len(mask), method=method)
    p = analysis.permutation
    minors = [np.linalg.slogdet(matrix[np.ix_(p[: k + 1], p[: k + 1])])[0] for k in range(len(mask))]
    expected = next((int(p[k]) for k, sign in enumerate(minors) if sign <= 0), -1)
    assert analysis.prepare().refactor(values) == expected


@EVERY_METHOD
def test_wrong_sign_of_a_quasidefinite_pivot_is_named(method):
    mask = grid(4)
    signs = np.where(np.arange(16) % 3 == 0, -1, 1)
    matrix = np.diag(signs.astype(float))
    for column in range(16):
        wrong = matrix.copy()
        wrong[column, column] *= -1.0
        indptr, indices, values = upper(wrong, mask)
        assert analyse(indptr, indices, 16, signs=signs, method=method).prepare().refactor(values) == column


@EVERY_METHOD
@pytest.mark.parametrize("signed", [False, True])
def test_pivots_are_those_of_elimination(method, signed):
    rng = np.random.default_rng(11)
    mask = np.kron(grid(3), np.ones((2, 2), dtype=bool))
    signs = rng.choice([-1, 1], len(mask)) if signed else None
    matrix = definite(mask, rng, signs)
    analysis, factor = factorised(matrix, mask, signs=signs, method=method)
    pivots, rest = np.full(len(matrix), np.nan), matrix.copy()
    assert factor.pivots(pivots)
    for j in analysis.permutation:
        assert pivots[j] == pytest.approx(abs(rest[j, j]), rel=1e-10)
        rest -= np.outer(rest[:, j], rest[j]) / rest[j, j]


@EVERY_METHOD
def test_lost_pivot_is_found(method):
    """The last column but one is the sum of two others; what rounding has left of its pivot may have either sign."""
    mask, work, seen = np.ones((12, 12), dtype=bool), np.empty(12), 0
    for seed in range(8):
        a = np.random.default_rng(seed).standard_normal((30, 12))
        a[:, 10] = a[:, 3] + a[:, 7]
        matrix = a.T @ a
        for shift, lost in ((0.0, 10), (1e-9, -1)):
            damped = matrix + np.diag(shift * np.diag(matrix))
            indptr, indices, values = upper(damped, mask)
            analysis = analyse(indptr, indices, 12, ordering="natural", method=method)
            factor = analysis.prepare()
            failed = factor.refactor(values)
            if failed == -1:
                kept, failed = weakest_pivot(factor, analysis, np.diag(damped).copy(), work)
                assert kept <= 1e-14 if lost >= 0 else 1e-10 < kept < 1e-8
                seen += lost >= 0
            assert failed == lost
    assert seen > 0


@EVERY_METHOD
def test_nothing_is_solved_without_a_factor(method):
    mask = grid(3)
    matrix = definite(mask, np.random.default_rng(13))
    indptr, indices, values = upper(matrix, mask)
    factor = analyse(indptr, indices, 9, method=method).prepare()
    x = np.ones(9)
    for attempt in range(2):
        for ask in (lambda: factor.solve(x, x), lambda: factor.solve_many(np.ones((9, 2))), lambda: factor.pivots(x)):
            with pytest.raises(RuntimeError, match="there is no factor"):
                ask()
        if attempt == 0:
            assert factor.refactor(values) == -1
            factor.solve(x.copy(), x)
            assert factor.refactor(-values) >= 0


# Kernels as plain Python, and large fronts


@pytest.fixture
def plain_python(monkeypatch):
    monkeypatch.setattr(Kernel, "entry", lambda self, **_: self.function)
    for module in (kernel_calls, calling):
        monkeypatch.setattr(module, "handle", lambda array: array)
    tickets = np.array([ticket(f) for f in (blas._potrf, blas._trsm, blas._syrk)], dtype=np.int64)
    monkeypatch.setattr(multifrontal, "blas_addresses", lambda: tickets)


@EVERY_METHOD
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("with_blas", [False, True])
def test_kernels_as_plain_python(plain_python, monkeypatch, with_blas, signed, method):
    if with_blas:
        monkeypatch.setattr(kernels, "BLAS_WIDTH", 1)
        monkeypatch.setattr(kernels, "BLAS_WORK", 0.0)
    rng = np.random.default_rng(9)
    mask = np.kron(grid(3), np.ones((2, 2), dtype=bool))
    signs = rng.choice([-1, 1], len(mask)) if signed else None
    matrix = definite(mask, rng, signs)
    _, factor = factorised(matrix, mask, ordering="natural", signs=signs, method=method)
    check_solutions(matrix, factor, rng)
    assert factor.refactor(upper(-matrix, mask)[2]) >= 0


def test_large_fronts_by_blas():
    """Two dense blocks with a border: panels of which one has rows below."""
    block, border = 700, 300
    n = 2 * block + border
    mask = np.ones((n, n), dtype=bool)
    mask[:block, block : 2 * block], mask[block : 2 * block, :block] = False, False
    assert block * (block + border) ** 2 >= kernels.BLAS_WORK
    rng = np.random.default_rng(3)
    matrix = definite(mask, rng)
    _, factor = factorised(matrix, mask, ordering="natural")
    b = rng.standard_normal(n)
    x = b.copy()
    factor.solve(x, x)
    np.testing.assert_allclose(matrix @ x, b, rtol=0.0, atol=1e-10)
    for value in (-1.0, np.nan):
        column = 450
        matrix[column, column] = value
        assert factor.refactor(upper(matrix, mask)[2]) == column


@settings(max_examples=60)
@given(
    rows=st.integers(0, 60), columns=st.integers(0, 11), depth=st.integers(0, 9), gap=st.integers(0, 3),
    by_rows=st.booleans(), adds=st.booleans(), seed=seeds,
)  # fmt: skip
def test_products(rows, columns, depth, gap, by_rows, adds, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((depth, rows + gap)), rng.standard_normal((columns, depth))
    c = rng.standard_normal((columns, rows + gap))
    expected = c.copy()
    expected[:, :rows] = (c[:, :rows] if adds else 0.0) - b @ a[:, :rows]
    flat = np.ascontiguousarray(b if by_rows else b.T)
    steps = (depth, 1) if by_rows else (1, columns)
    arguments = rows, columns, depth, handle(a), rows + gap, handle(flat), *steps, handle(c), rows + gap, int(adds)
    kernels.subtract.entry()(*arguments)
    np.testing.assert_allclose(c, expected, rtol=0.0, atol=1e-13)


# Other packages


@pytest.mark.parametrize("backend, module", [("cholmod", "cvxopt.cholmod"), ("pardiso", "pypardiso")])
def test_other_package(backend, module):
    pytest.importorskip(module, reason=f"the package for backend {backend!r} is not installed")
    rng = np.random.default_rng(4)
    mask = grid(8)
    matrix = definite(mask, rng)
    analysis, factor = factorised(matrix, mask, backend=backend)
    assert analysis.method == backend
    check_solutions(matrix, factor, rng)
    for column in (0, 20, 63):
        bad = np.diag(np.where(np.arange(64) == column, -1.0, 1.0))
        assert factor.refactor(upper(bad, mask)[2]) == column
    values = upper(matrix, mask)[2]
    values[7] = np.nan
    assert factor.refactor(values) >= 0
    with pytest.raises(RuntimeError, match="there is no factor"):
        factor.solve(np.ones(64), np.ones(64))
    assert factor.refactor(upper(matrix, mask)[2]) == -1
    check_solutions(matrix, factor, rng)
    pivots, expected = np.empty(64), np.empty(64)
    assert factor.pivots(pivots) == (backend == "cholmod")
    if backend == "cholmod":
        ours = factorised(matrix, mask, ordering=analysis.permutation)[1]
        ours.pivots(expected)
        np.testing.assert_allclose(pivots, expected, rtol=1e-12)


class PardisoError(Exception):
    def __init__(self, value):
        self.value = value


class Pardiso:
    """A solver that fails with the number in `code`."""

    code = 0

    def __init__(self, mtype):
        self.phase = 0

    def set_phase(self, phase):
        self.phase = phase

    def get_iparm(self, place):
        return 2

    def _call_pardiso(self, matrix, right):
        if self.phase == other_packages.FACTORIZE and self.code:
            raise PardisoError(self.code)
        return right


def test_only_a_failed_pivot_of_pardiso_names_a_column(monkeypatch):
    wrapper = types.SimpleNamespace(PyPardisoSolver=Pardiso, PyPardisoError=PardisoError)
    monkeypatch.setitem(sys.modules, "pypardiso", types.ModuleType("pypardiso"))
    monkeypatch.setitem(sys.modules, "pypardiso.pardiso_wrapper", wrapper)
    factor = analyse(np.array([0, 1, 3]), np.array([0, 0, 1]), 2, backend="pardiso").prepare()
    assert factor.refactor(np.ones(3)) == -1
    monkeypatch.setattr(Pardiso, "code", -4)
    assert factor.refactor(np.ones(3)) == 1
    monkeypatch.setattr(Pardiso, "code", -2)  # not enough memory
    with pytest.raises(PardisoError):
        factor.refactor(np.ones(3))


def test_threads_leave_the_options_of_cholmod_as_they_were():
    cholmod = types.SimpleNamespace(options={"supernodal": 0})

    def change():
        for _ in range(20):
            with other_packages._options(cholmod):
                time.sleep(1e-4)

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cholmod.options == {"supernodal": 0}


@pytest.mark.parametrize("backend", PACKAGES)
def test_missing_package_says_what_to_install(backend, monkeypatch):
    for name in ("cvxopt", "cvxopt.cholmod", "pypardiso", "pypardiso.pardiso_wrapper"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install (cvxopt|pypardiso)"):
        analyse(np.array([0, 1]), np.array([0]), 1, backend=backend)


# Arguments

GOOD = {"indptr": [0, 1, 3], "indices": [0, 0, 1], "n": 2}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"indptr": [0, 3]}, "indptr has shape"),
        ({"indptr": [0, 2, 2]}, "indptr must ascend from 0 to the 3 entries"),
        ({"indptr": [0, 4, 3]}, "indptr must ascend"),
        ({"indices": [0, 0, 2]}, r"indices\[2\] is row 2 of column 1"),
        ({"indices": [0, -1, 1]}, r"indices\[1\] is row -1 of column 1"),
        ({"indices": [0, 1, 0]}, r"indices\[2\] does not ascend within column 1"),
        ({"indices": [0, 1, 1]}, r"indices\[2\] does not ascend"),
        ({"ordering": "metis"}, "ordering is 'metis'"),
        ({"ordering": [0, 0]}, "ordering must be a permutation of 0 to 1"),
        ({"signs": [1.0]}, "signs has shape"),
        ({"signs": [1.0, 0.5]}, r"signs\[1\] is 0.5"),
        ({"method": "qr"}, "method is 'qr'"),
        ({"backend": "mumps"}, "backend is 'mumps'"),
    ],
)
def test_bad_argument(change, message):
    arguments = GOOD | change
    positional = [np.array(arguments.pop(name)) for name in ("indptr", "indices")]
    with pytest.raises(ValueError, match=message):
        analyse(*positional, **arguments)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_number_of_values(method):
    factor = analyse(np.array(GOOD["indptr"]), np.array(GOOD["indices"]), 2, method=method).prepare()
    with pytest.raises(ValueError, match="values has shape"):
        factor.refactor(np.ones(2))
