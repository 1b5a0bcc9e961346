"""Which linear solver a sparse problem gets, and what is said about it."""

import numpy as np
import pytest

from nlsq.block_jacobian import BlockGroup, BlockPattern
from nlsq.linalg import LSMR, normal_structure, sparse_choice
from nlsq.linalg.block_cholesky import BlockCholesky
from nlsq.linalg.conjugate_gradients import ConjugateGradients
from nlsq.linalg.schur import SchurComplement
from nlsq.linalg.sparse_choice import LINEAR_SOLVERS, choose_linear_solver
from nlsq.linalg.sparse_cholesky import SparseCholesky
from nlsq.pattern import SparsityPattern
from tests.references.block_patterns import random_jacobian
from tests.references.damped import shortest_step


def chain(n=20):
    columns = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    return BlockPattern((BlockGroup(3, 0, columns, (3, 3)),), np.full(n, 3))


def bundle(cameras=4, points=30):
    columns = np.stack(np.meshgrid(np.arange(cameras), cameras + np.arange(points)), axis=-1).reshape(-1, 2)
    return BlockPattern((BlockGroup(2, 0, columns, (5, 3)),), np.repeat([5, 3], [cameras, points]))


def entries(dense_rows=0):
    return SparsityPattern.from_dense(np.vstack([np.eye(40), np.ones((dense_rows, 40))]))


@pytest.mark.parametrize(
    ("pattern", "kind", "reason"),
    [
        (chain(), BlockCholesky, "Sparse Cholesky over column blocks: its factor has"),
        (bundle(), SchurComplement, "Schur complement: 30 of 34 blocks go first and leave 20 of 110 columns."),
        (entries(), SparseCholesky, "Sparse Cholesky: its factor has 40 entries."),
        (None, LSMR, "no pattern"),
    ],
)
def test_automatic(pattern, kind, reason):
    solver, text = choose_linear_solver(pattern)
    assert isinstance(solver, kind)
    assert reason in text


def test_large_factors_are_left_to_iterations(monkeypatch):
    monkeypatch.setattr(sparse_choice, "LARGEST_FACTOR", 100)
    solver, text = choose_linear_solver(chain())
    assert isinstance(solver, ConjugateGradients)
    assert "would have" in text
    assert "more than 1e+02" in text
    ladder = SparsityPattern.from_dense(np.eye(40) + np.eye(40, k=1) + np.eye(40, k=7))
    monkeypatch.setattr(sparse_choice, "LARGEST_FACTOR", 180)
    solver, text = choose_linear_solver(ladder)
    assert isinstance(solver, LSMR)
    assert "would have" in text


def test_a_large_schur_complement_is_left_to_iterations(monkeypatch):
    """Points that random cameras see leave a system that fills in; points seen along a line leave a band."""
    rng = np.random.default_rng(0)
    cameras, points = 300, 2000
    first = rng.integers(0, cameras - 2, points)
    near = first[:, None] + np.arange(3)
    far = np.array([rng.choice(cameras, 3, replace=False) for _ in range(points)])
    for seen, kind in ((near, SchurComplement), (far, ConjugateGradients)):
        point = np.broadcast_to(cameras + np.arange(points)[:, None], seen.shape)
        columns = np.column_stack((seen.ravel(), point.ravel()))
        pattern = BlockPattern((BlockGroup(1, 0, columns, (1, 1)),), np.ones(cameras + points, dtype=np.int64))
        monkeypatch.setattr(sparse_choice, "LARGEST_FACTOR", 10_000)
        solver, text = choose_linear_solver(pattern)
        assert isinstance(solver, kind)
        assert ("would have" in text) == (kind is ConjugateGradients)
        monkeypatch.setattr(sparse_choice, "LARGEST_FACTOR", 50_000)
        assert isinstance(choose_linear_solver(pattern)[0], SchurComplement)


def test_other_errors_of_an_analysis_come_through(monkeypatch):
    def fail(*_):
        raise ValueError("a fault")

    monkeypatch.setattr(sparse_choice, "analyse_entries", fail)
    with pytest.raises(ValueError, match="a fault"):
        choose_linear_solver(entries())


def test_a_dense_row_is_left_to_lsmr(monkeypatch):
    monkeypatch.setattr(sparse_choice, "LARGEST_FACTOR", 800)
    solver, text = choose_linear_solver(entries(dense_rows=1))
    assert isinstance(solver, LSMR)
    assert text == "LSMR: row 40 of J has 40 entries, so that J'J alone would have more than 8e+02 entries."


@pytest.mark.parametrize("name", [name for name in LINEAR_SOLVERS if name not in ("cholmod", "pardiso")])
@pytest.mark.parametrize("pattern", [chain(), bundle()], ids=["chain", "bundle"])
def test_every_name_solves_blocks(name, pattern):
    rng = np.random.default_rng(0)
    jac = random_jacobian(rng, pattern)
    r, damping, step = rng.standard_normal(jac.shape[0]), rng.uniform(0.5, 1.0, jac.shape[1]), np.empty(jac.shape[1])
    solver, reason = choose_linear_solver(pattern, name)
    assert reason.endswith(".")
    factorization = solver.prepare(jac.shape, pattern)
    assert factorization.factorize(jac).usable
    assert factorization.solve(r, damping, step).usable
    exact = shortest_step(jac.toarray(), r, damping)
    assert np.linalg.norm(step - exact) <= (0.2 if name == "pcg" else 1e-7) * np.linalg.norm(exact)


@pytest.mark.parametrize("name", ["auto", "cholesky", "pcg", "lsmr"])
def test_names_for_sparse_jacobians(name):
    rng = np.random.default_rng(1)
    pattern = SparsityPattern.from_dense(np.eye(40) + np.eye(40, k=1))
    jac = pattern.to_csr()
    jac.data[:] = rng.standard_normal(jac.nnz)
    r, damping, step = rng.standard_normal(40), np.ones(40), np.empty(40)
    factorization = choose_linear_solver(pattern, name)[0].prepare(jac.shape, pattern)
    assert factorization.factorize(jac).usable
    assert factorization.solve(r, damping, step).usable
    exact = shortest_step(jac.toarray(), r, damping)
    assert np.linalg.norm(step - exact) <= (0.2 if name == "pcg" else 1e-7) * np.linalg.norm(exact)


@pytest.mark.parametrize("name", ["cholmod", "pardiso"])
def test_other_packages(name):
    for pattern, kind in ((chain(), BlockCholesky), (entries(), SparseCholesky)):
        solver, text = choose_linear_solver(pattern, name)
        assert isinstance(solver, kind)
        assert solver.backend == name
        assert name.upper() in text


def test_a_linear_solver_is_taken_as_it_is():
    solver = LSMR(tolerance=1e-3)
    chosen, text = choose_linear_solver(chain(), solver)
    assert chosen is solver
    assert text == "LSMR, as given."


@pytest.mark.parametrize("name", ["splu", None, 3])
def test_unknown_names(name):
    with pytest.raises(ValueError, match="one of auto, schur, cholesky, pcg, lsmr, cholmod, pardiso"):
        choose_linear_solver(chain(), name)


def test_schur_needs_blocks():
    with pytest.raises(ValueError, match="residual blocks"):
        choose_linear_solver(entries(), "schur")


def test_the_analysis_of_the_choice_is_used_again(monkeypatch):
    pattern = chain()
    choose_linear_solver(pattern)
    monkeypatch.setattr("nlsq.linalg.block_cholesky.BlockPlan", None)
    assert BlockCholesky().prepare(pattern.shape, pattern).failed_column == -1
    sparse = entries()
    choose_linear_solver(sparse)
    monkeypatch.setattr(normal_structure.kernels, "list_normal", None)
    assert SparseCholesky().prepare(sparse.shape, sparse).failed_column == -1
