"""Sparsity patterns: every description gives the same one, and a wrong one is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.tuples(st.integers(0, 7), st.integers(0, 7)))


@given(masks)
def test_round_trips(mask):
    pattern = SparsityPattern.from_dense(mask)
    assert pattern.shape == mask.shape
    assert pattern.nnz == mask.sum()
    np.testing.assert_array_equal(pattern.to_dense(), mask)
    np.testing.assert_array_equal(pattern.to_csr().toarray(), mask.astype(float))
    assert SparsityPattern.from_matrix(pattern.to_csr()) == pattern
    assert pattern.densest_row == (mask.sum(axis=1).max() if mask.size else 0)
    assert pickle.loads(pickle.dumps(pattern)) == pattern


@given(masks)
def test_by_rows_is_scipys_csr(mask):
    pattern = SparsityPattern.from_dense(mask)
    indptr, columns = pattern.by_rows()
    csr = sparse.csr_array(mask)
    csr.sort_indices()
    np.testing.assert_array_equal(indptr, csr.indptr)
    np.testing.assert_array_equal(columns, csr.indices)


@given(masks, st.randoms())
def test_entries_in_any_order_and_repeated(mask, random):
    rows, columns = np.nonzero(mask)
    entries = [*zip(rows.tolist(), columns.tolist(), strict=True)] * 2
    random.shuffle(entries)
    pattern = SparsityPattern.from_entries([i for i, _ in entries], [j for _, j in entries], mask.shape)
    assert pattern == SparsityPattern.from_dense(mask)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr"])
def test_from_any_sparse_format(form):
    dense = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    expected = SparsityPattern([0, 1, 1, 3], [0, 0, 1], (2, 3))
    assert SparsityPattern.from_matrix(sparse.coo_array(dense).asformat(form)) == expected
    assert SparsityPattern.from_matrix(sparse.coo_matrix(dense).asformat(form)) == expected
    assert SparsityPattern.from_matrix(dense.tolist()) == expected
    assert SparsityPattern.from_matrix(expected) is expected


def test_stored_zeros_are_entries():
    matrix = sparse.csc_array((np.zeros(2), ([0, 1], [0, 1])), shape=(2, 2))
    assert SparsityPattern.from_matrix(matrix).nnz == 2


def test_nan_is_an_entry():
    assert SparsityPattern.from_dense([[np.nan, 0.0]]).nnz == 1


def test_arrays_are_read_only_copies():
    indices = np.array([0, 1])
    pattern = SparsityPattern([0, 2], indices, (2, 1))
    indices[0] = 1
    np.testing.assert_array_equal(pattern.indices, [0, 1])
    with pytest.raises(ValueError, match="read-only"):
        pattern.indices[0] = 5


def test_equality_and_hash():
    one, same = SparsityPattern([0, 1], [1], (2, 1)), SparsityPattern([0, 1], [1], (2, 1))
    assert one == same
    assert hash(one) == hash(same)
    assert one != SparsityPattern([0, 1], [0], (2, 1))
    assert one != SparsityPattern([0, 1], [1], (3, 1))
    assert one != "pattern"
    assert repr(one) == "SparsityPattern(shape=(2, 1), nnz=1, fill=0.5)"


@pytest.mark.parametrize(
    ("indptr", "indices", "shape", "text"),
    [
        ([0, 1], [0], (2, 2), "n \\+ 1 = 3"),
        ([0, 2, 1], [0], (2, 2), "rise"),
        ([1, 1, 1], [0], (2, 2), "rise"),
        ([0, 1, 2], [0], (2, 2), "rise"),
        ([0, 1, 2], [0, 2], (2, 2), "column 1 has an entry in row 2"),
        ([0, 1, 2], [-1, 1], (2, 2), "column 0 has an entry in row -1"),
        ([0, 0, 2], [1, 0], (2, 2), "column 1 must ascend"),
        ([0, 0, 2], [1, 1], (2, 2), "column 1 must ascend"),
        ([0], [], (2, -1), "negative"),
    ],
)
def test_invalid_patterns(indptr, indices, shape, text):
    with pytest.raises(ValueError, match=text):
        SparsityPattern(indptr, indices, shape)


def test_columns_may_start_above_the_end_of_the_last():
    assert SparsityPattern([0, 2, 2, 4], [0, 1, 0, 1], (2, 3)).nnz == 4


def test_invalid_sources():
    with pytest.raises(ValueError, match="2-D"):
        SparsityPattern.from_dense([1, 0])
    with pytest.raises(ValueError, match="outside"):
        SparsityPattern.from_entries([0], [3], (2, 3))
    with pytest.raises(ValueError, match="differ in length"):
        SparsityPattern.from_entries([0, 1], [0], (2, 3))
