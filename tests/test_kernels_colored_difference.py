"""Entries of compressed differences by kernels, equal to those of slow loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references.kernel_calls import MODES, call

from nlsq.kernels import colored_difference as kernels
from nlsq.pattern import SparsityPattern

EVERY = pytest.mark.parametrize("mode", MODES)
masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def parts_of(mask):
    indptr, columns = (part.astype(np.int64) for part in SparsityPattern.from_dense(mask).by_rows())
    return indptr, columns, np.arange(mask.shape[1])  # each column a colour of its own


@EVERY
@given(mask=masks, seed=st.integers(0, 100))
def test_entries(mode, mask, seed):
    rng = np.random.default_rng(seed)
    (m, n), parts = mask.shape, parts_of(mask)
    first, second, r = rng.normal(size=(n, m)), rng.normal(size=(n, m)), rng.normal(size=m)
    i, j = np.nonzero(mask)
    values = np.full(i.size, 9.0)
    call(kernels.forward_entries, mode, first.ravel(), r, *parts, m, values)
    np.testing.assert_array_equal(values, first[j, i] - r[i])
    one_sided = rng.integers(0, 2, n)
    call(kernels.central_entries, mode, first.ravel(), second.ravel(), r, one_sided, *parts, m, values)
    expected = np.where(one_sided[j], -3.0 * r[i] + 4.0 * first[j, i] - second[j, i], second[j, i] - first[j, i])
    np.testing.assert_array_equal(values, expected)
    width, fixed = rng.uniform(1.0, 2.0, n), rng.integers(0, 2, n)
    call(kernels.divide_columns, mode, width, fixed, parts[1], i.size, values)
    np.testing.assert_allclose(values, np.where(fixed[j], 0.0, expected / width[j]), rtol=1e-15)


@EVERY
@given(mask=masks, seed=st.integers(0, 100))
def test_significant_columns(mode, mask, seed):
    rng = np.random.default_rng(seed)
    (m, n), parts = mask.shape, parts_of(mask)
    i, j = np.nonzero(mask)
    values, width = 10.0 ** rng.uniform(-4, 0, i.size), 10.0 ** rng.uniform(-3, 0, n)
    x, r = rng.normal(size=n), rng.normal(size=m)
    values[rng.random(i.size) < 0.1] = rng.choice([np.nan, np.inf])
    dense = np.zeros(mask.shape)
    dense[i, j] = values
    with np.errstate(invalid="ignore"):
        scale = np.where(mask, np.abs(dense / width * x), 0.0).sum(axis=1)
    noise = 1e-2 * np.maximum(np.where(np.isfinite(scale), scale, 0.0), np.abs(r))
    seen = np.zeros(n, dtype=np.int64)
    call(kernels.mark_significant, mode, values, width, x, r, *parts[:2], m, 1e-2, seen)
    np.testing.assert_array_equal(seen, (mask & ~(np.abs(dense) <= noise[:, np.newaxis])).any(axis=0))
