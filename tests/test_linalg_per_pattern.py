"""What is found for a pattern: once, for all who ask, and no longer than the pattern lives."""

import gc
import threading
import weakref

import numpy as np
import pytest

from nlsq.block_jacobian import BlockGroup, BlockPattern
from nlsq.linalg.block_cholesky import BlockCholesky, analyse_blocks
from nlsq.linalg.eliminated import eliminated_blocks, independent_blocks
from nlsq.linalg.per_pattern import once_per_pattern
from nlsq.linalg.sparse_cholesky import SparseCholesky, analyse_entries
from nlsq.pattern import SparsityPattern


def chain():
    columns = np.stack([np.arange(9), np.arange(1, 10)], axis=1)
    return BlockPattern((BlockGroup(3, 0, columns, (3, 3)),), np.full(10, 3))


def ladder():
    return SparsityPattern.from_dense(np.eye(9) + np.eye(9, k=1))


@pytest.mark.parametrize(
    ("make", "find"),
    [
        (chain, analyse_blocks),
        (chain, independent_blocks),
        (chain, lambda pattern: BlockCholesky().prepare(pattern.shape, pattern)),
        (ladder, analyse_entries),
        (ladder, lambda pattern: SparseCholesky().prepare(pattern.shape, pattern).analysis),
    ],
)
def test_a_pattern_dies_with_its_last_user(make, find):
    pattern = make()
    found = find(pattern)
    dead = weakref.ref(pattern)
    del pattern
    gc.collect()
    assert dead() is None
    del found


def test_threads_get_the_same():
    pattern, barrier, found = chain(), threading.Barrier(4), []
    calls = []

    @once_per_pattern
    def count(one):
        calls.append(1)
        barrier.wait(10.0)  # all four have found nothing
        return object()

    threads = [threading.Thread(target=lambda: found.append(count(pattern))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 4
    assert len(set(map(id, found))) == 1
    assert count(pattern) is found[0]
    assert len(calls) == 4


def test_threads_factorise_with_one_analysis():
    pattern, steps = chain(), []
    jac = pattern.zeros()
    jac.values[0][...] = np.random.default_rng(0).standard_normal(jac.values[0].shape)

    def solve():
        factorization, step = BlockCholesky().prepare(pattern.shape, pattern), np.empty(30)
        for _ in range(20):
            factorization.factorize(jac)
            factorization.solve(np.ones(27), np.ones(30), step)
        steps.append(step)

    threads = [threading.Thread(target=solve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps) == 3
    assert all(np.array_equal(step, steps[0]) for step in steps)


def test_blocks_to_eliminate_are_found_once_and_not_to_be_changed():
    pattern = chain()
    assert independent_blocks(pattern) is independent_blocks(pattern)
    with pytest.raises(ValueError, match="read-only"):
        independent_blocks(pattern)[0] = False
    assert not eliminated_blocks(pattern).any()
    assert independent_blocks(pattern).any()
