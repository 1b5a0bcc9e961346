"""What `nlsq.linalg` offers, and that nothing is solved before there is a Jacobian."""

import ast
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import nlsq.linalg
from nlsq.linalg import (
    LSMR,
    BlockCholesky,
    BlockGroup,
    BlockPattern,
    ConjugateGradients,
    Corrected,
    LinearStatus,
    SchurComplement,
    SparseCholesky,
)
from nlsq.pattern import SparsityPattern

BLOCKS = BlockPattern((BlockGroup(2, 0, np.array([[0, 1], [0, 2]]), (1, 1)),), np.array([1, 1, 1]))
ENTRIES = SparsityPattern.from_dense(np.ones((4, 3)))


def test_every_name_is_there():
    assert dir(nlsq.linalg) == sorted(nlsq.linalg.__all__)
    for name in nlsq.linalg.__all__:
        assert getattr(nlsq.linalg, name).__doc__
    for name, home in nlsq.linalg._HOME.items():
        assert getattr(import_module(home), name) is getattr(nlsq.linalg, name)
    with pytest.raises(AttributeError, match="no attribute 'Schur'"):
        nlsq.linalg.Schur  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(nlsq.linalg.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == nlsq.linalg._HOME


@pytest.mark.parametrize(
    ("solver", "pattern"),
    [
        (SchurComplement(), BLOCKS),
        (BlockCholesky(), BLOCKS),
        (ConjugateGradients(), BLOCKS),
        (ConjugateGradients(), ENTRIES),
        (LSMR(), BLOCKS),
        (SparseCholesky(), ENTRIES),
        (SparseCholesky(), None),
        (Corrected(normal=SparseCholesky()), ENTRIES),
        (Corrected(normal=SparseCholesky()), None),
    ],
)
def test_solve_before_factorize(solver, pattern):
    factorization, step = solver.prepare((4, 3), pattern), np.full(3, 7.0)
    for damping in (np.zeros(3), np.ones(3)):
        with pytest.raises(RuntimeError, match="factorize"):
            factorization.solve(np.ones(4), damping, step)
    assert np.all(step == 7.0)
    assert getattr(factorization, "failed_column", -1) == -1


@pytest.mark.parametrize("solver", [SchurComplement(), BlockCholesky(), ConjugateGradients()])
def test_what_has_not_the_prepared_sizes_is_refused(solver):
    factorization = solver.prepare(BLOCKS.shape, BLOCKS)
    fewer = BlockPattern((BlockGroup(4, 0, np.array([[0, 1]]), (1, 1)),), np.array([1, 1, 1]))
    with pytest.raises(ValueError, match=r"\(1, 4, 2\).*prepared was for .*\(2, 2, 2\)"):
        factorization.factorize(fewer.zeros())
    factorization.factorize(BLOCKS.zeros())
    for damping in (np.ones(2), np.ones(1), np.ones((3, 1))):
        with pytest.raises(ValueError, match=r"damping_diag must have shape \(3,\)"):
            factorization.solve(np.ones(4), damping, np.ones(3))


def test_messages_hold_for_every_linear_solver():
    """Block problems have no QR and no SVD to go to."""
    for status in (LinearStatus.NOT_DEFINITE, LinearStatus.ILL_CONDITIONED):
        assert "QR" not in status.message
        assert "SVD" not in status.message
