"""Jacobians of residual blocks: their products against those of the dense matrix."""

import numpy as np
import pytest
from hypothesis import given

from nlsq import block_jacobian
from nlsq.block_jacobian import CONSTANT, BlockGroup, BlockJacobian, BlockPattern
from nlsq.linalg.lsmr import LSMR, column_norms, products
from tests.references.block_patterns import block_jacobians, random_jacobian, random_pattern

close = lambda actual, expected: np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def dense(jac):
    """Return J, entry by entry."""
    matrix = np.zeros(jac.shape)
    for group, values in zip(jac.pattern.groups, jac.values, strict=True):
        for i, k in np.ndindex(group.columns.shape):
            block = group.columns[i, k]
            if block != CONSTANT:
                rows = group.first_row + i * group.residuals
                columns = jac.pattern.offsets[block]
                part = values[i, :, group.starts[k] : group.starts[k + 1]]
                matrix[rows : rows + group.residuals, columns : columns + group.widths[k]] = part
    return matrix


def small():
    rng = np.random.default_rng(3)
    kinds = [(20, 2, (3, 2)), (0, 1, (2,)), (15, 3, (2, 3, 2)), (4, 1, (3,))]
    return rng, random_jacobian(rng, random_pattern(rng, np.array([3, 2, 2, 3, 2, 3]), kinds))


@given(drawn=block_jacobians())
def test_products_are_those_of_the_matrix(drawn):
    rng, jac = drawn
    matrix = dense(jac)
    m, n = jac.shape
    v, u = rng.standard_normal(n), rng.standard_normal(m)
    np.testing.assert_array_equal(jac.toarray(), matrix)
    close(jac.product(v), matrix @ v)
    close(jac.transposed(u), matrix.T @ u)
    close(jac.column_norms(), np.linalg.norm(matrix, axis=0))
    gradient, squares = np.full(n, np.nan), np.full(n, np.nan)
    jac.gradient_and_norms(u, gradient, squares)
    close(gradient, matrix.T @ u)
    close(squares, (matrix**2).sum(axis=0))


@pytest.mark.parametrize(("q", "widths"), [(2, (9, 3)), (3, (3, 3)), (1, (1, 2, 4)), (6, (6, 6))])
def test_specialised_kernels_agree(q, widths, monkeypatch):
    monkeypatch.setattr(block_jacobian, "SPECIALISE_FROM", 0)
    rng = np.random.default_rng(1)
    jac = random_jacobian(rng, random_pattern(rng, np.tile(np.unique(widths), 4), [(30, q, widths)]))
    assert "Q" in block_jacobian._gradient_kernel(jac.pattern.groups[0], 0).symbol
    r = rng.standard_normal(jac.shape[0])
    gradient, squares = np.full((2, jac.shape[1]), np.nan)
    jac.gradient_and_norms(r, gradient, squares)
    close(gradient, dense(jac).T @ r)
    close(squares, (dense(jac) ** 2).sum(axis=0))


@given(drawn=block_jacobians())
def test_zeroed_columns(drawn):
    rng, jac = drawn
    mask = rng.random(jac.shape[1]) < 0.5
    expected = np.where(mask, 0.0, dense(jac))
    jac.zero_columns(mask)
    np.testing.assert_array_equal(dense(jac), expected)


def test_outputs_are_written_and_returned():
    _, jac = small()
    m, n = jac.shape
    out_m, out_n = np.full(m, np.nan), np.full(n, np.nan)
    assert jac.product(np.ones(n), out_m) is out_m
    close(out_m, jac.toarray() @ np.ones(n))
    for call in (lambda: jac.transposed(np.ones(m), out=out_n), lambda: jac.column_norms(out=out_n)):
        assert call() is out_n
        assert np.isfinite(out_n).all()


def test_operands_may_have_strides():
    rng, jac = small()
    v = rng.standard_normal((jac.shape[1], 2))[:, 1]
    close(jac.product(v), jac.toarray() @ v)


def test_nan_comes_through():
    _, jac = small()
    m, n = jac.shape
    row, column = np.argwhere(jac.toarray() != 0.0)[0]
    group = jac.pattern.groups[0]
    assert row < group.count * group.residuals
    values = jac.values[0][row // group.residuals, row % group.residuals]
    values[values == jac.toarray()[row, column]] = np.nan
    assert np.isnan(jac.product(np.ones(n))[row])
    assert np.isnan(jac.transposed(np.ones(m))[column])
    assert np.isnan(jac.column_norms()[column])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda jac: jac.product(np.ones(3)), "v must have shape"),
        (lambda jac: jac.transposed(np.ones((2, 2))), "u must have shape"),
        (lambda jac: jac.product(np.ones(jac.shape[1]), np.empty(2)), "out must be a contiguous array of doubles"),
        (lambda jac: jac.column_norms(np.empty(2 * jac.shape[1])[::2]), "out must be a contiguous array of doubles"),
        (lambda jac: jac.column_norms(np.empty(jac.shape[1], dtype=np.float32)), "contiguous array of doubles"),
        (lambda jac: jac.gradient_and_norms(np.ones(1), np.ones(1), np.ones(1)), "r must have shape"),
        (lambda jac: jac.zero_columns(np.zeros(2, dtype=bool)), "mask must have shape"),
    ],
)
def test_wrong_shapes_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call(small()[1])


def test_lsmr_takes_block_jacobians():
    rng, jac = small()
    m, n = jac.shape
    r, damping, step = rng.standard_normal(m), rng.uniform(0.1, 1.0, n), np.empty(n)
    factorization = LSMR(tolerance=1e-13).prepare(jac.shape)
    assert factorization.factorize(jac).usable
    assert factorization.solve(r, damping, step).usable
    matrix = jac.toarray()
    close(step, -np.linalg.solve(matrix.T @ matrix + np.diag(damping), matrix.T @ r))
    product, transposed = products(jac)
    close(product(r[:n]), matrix @ r[:n])
    close(transposed(r), matrix.T @ r)
    close(column_norms(jac), np.linalg.norm(matrix, axis=0))


def test_first_columns_of_arguments():
    columns = np.array([[2, 0], [CONSTANT, 1], [2, CONSTANT]])
    pattern = BlockPattern((BlockGroup(2, 0, columns, (2, 3)),), np.array([3, 3, 2]))
    np.testing.assert_array_equal(pattern.places[0], [[6, 0], [CONSTANT, 3], [6, CONSTANT]])


PAIR = BlockGroup(1, 0, np.array([[0, 1], [1, 2]]), (1, 1))


@pytest.mark.parametrize(
    "array", [np.ones((2, 1, 4))[:, :, ::2], np.ones((2, 1, 2), dtype=np.float32), np.ones((2, 2, 1))]
)
def test_values_that_kernels_cannot_change_in_place_are_refused(array):
    pattern = BlockPattern((PAIR,), np.array([1, 1, 1]))
    with pytest.raises(ValueError, match=r"values\[0\] must be a contiguous array of doubles of shape \(2, 1, 2\)"):
        BlockJacobian(pattern, [array])
    with pytest.raises(ValueError, match="an array for each of 1 groups, got 0"):
        BlockJacobian(pattern, [])


def test_column_blocks_may_lie_anywhere_in_memory():
    columns = np.arange(12, dtype=np.int32).reshape(2, 6)[:, ::3] // 3
    group = BlockGroup(1, 0, columns, (1, 1))
    assert group.columns.dtype == np.int64
    assert group.columns.flags.c_contiguous
    jac = BlockPattern((group,), np.array([1, 1, 1, 1])).zeros()
    jac.values[0][...] = np.arange(1.0, 5.0).reshape(2, 1, 2)
    np.testing.assert_array_equal(jac.product(np.array([1.0, 10.0, 100.0, 1000.0])), [21.0, 4300.0])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((PAIR, BlockGroup(1, 2, np.array([[0, 3]]), (1, 1))), r"columns\[0, 1\] of group 1 is 3; .* from 0 to 2"),
        ((BlockGroup(1, 0, np.array([[0, -2]]), (1, 1)),), r"columns\[0, 1\] of group 0 is -2"),
        ((BlockGroup(1, 0, np.array([[-1, -1], [0, 1]]), (1, 2)),), "argument 1 of group 0 has 2 .* block 1, which"),
        ((PAIR, BlockGroup(1, 1, np.array([[0, 2]]), (1, 1))), "group 1 begins at row 1; .* end at row 2"),
    ],
)
def test_patterns_that_lead_out_of_the_arrays_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        BlockPattern(groups, np.array([1, 1, 1]))


@pytest.mark.parametrize(("columns", "message"), [([0, 1], r"shape \(B, 2\)"), ([[0.0, 1.0]], "must be integers")])
def test_column_blocks_are_a_table_of_integers(columns, message):
    with pytest.raises(ValueError, match=message):
        BlockGroup(1, 0, np.array(columns), (1, 1))
