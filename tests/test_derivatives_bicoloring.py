"""Bicolourings against a slow checker and known counts; matrices of operators against the matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references import bicoloring as twin
from references.kernel_calls import MODES, call
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import nlsq
from nlsq.derivatives import Analytic, Colored, MissingEntryError, bicolor, color_columns, color_rows
from nlsq.derivatives.bicoloring import OperatorMatrix, _both_sides
from nlsq.kernels import bicoloring as kernels
from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def arrow(n):
    """A dense first row, a dense first column and a diagonal."""
    j = np.arange(n)
    zeros = np.zeros(n, dtype=int)
    return SparsityPattern.from_entries(np.concatenate([zeros, j, j]), np.concatenate([j, zeros, j]), (n, n))


def borders(n, width):
    """A band between dense rows and dense columns."""
    mask = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1
    mask[:width], mask[:, :width] = True, True
    return SparsityPattern.from_dense(mask)


@given(masks)
def test_every_entry_can_be_read(mask):
    pattern = SparsityPattern.from_dense(mask)
    for found in (bicolor(pattern), _both_sides(pattern)):
        assert twin.is_direct(mask, found.column_colors, found.row_colors, found.by_columns)
        assert set(found.column_colors) - {-1} == set(range(found.n_column_colors))
        assert set(found.row_colors) - {-1} == set(range(found.n_row_colors))
    assert bicolor(pattern).n_colors <= min(color_columns(pattern).n_colors, color_rows(pattern).n_colors)


@given(masks, st.integers(0, 1000))
def test_decompress_undoes_compress(mask, seed):
    pattern = SparsityPattern.from_dense(mask)
    values = np.where(mask, np.random.default_rng(seed).standard_normal(mask.shape), 0.0)
    for found in (bicolor(pattern), _both_sides(pattern)):
        for jac in (values, sparse.csr_array(values)):
            products, transposed = found.compress(jac)
            assert products.shape == (mask.shape[0], found.n_column_colors)
            assert transposed.shape == (mask.shape[1], found.n_row_colors)
            np.testing.assert_array_equal(found.decompress(products, transposed, pattern).toarray(), values)


@pytest.mark.parametrize("n", [4, 30, 1000, 100_000])
def test_an_arrow_takes_three(n):
    found = bicolor(arrow(n))
    assert found.n_colors == 3
    assert color_columns(arrow(n)).n_colors == n


@pytest.mark.parametrize("width", [1, 2, 5])
def test_borders_take_their_width_and_the_band(width):
    """Rows and columns of the border on a side each; of the band and the other border, at most as many as in a row."""
    found = bicolor(borders(60, width))
    assert 2 * width + 1 <= found.n_colors <= 2 * width + 4
    assert twin.is_direct(borders(60, width).to_dense(), found.column_colors, found.row_colors, found.by_columns)


def test_columns_alone_where_that_is_as_good():
    pattern = SparsityPattern.from_matrix(sparse.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(50, 50)))
    found = bicolor(pattern)
    assert (found.n_column_colors, found.n_row_colors) == (3, 0)
    assert found.by_columns.all()
    assert bicolor(pattern) is found


def test_rows_alone():
    found = bicolor(SparsityPattern.from_dense(np.ones((2, 40))))
    assert (found.n_column_colors, found.n_row_colors) == (0, 2)
    assert not found.by_columns.any()


@pytest.mark.parametrize("shape", [(3, 2), (0, 2), (2, 0)])
def test_empty_patterns(shape):
    assert bicolor(SparsityPattern.from_dense(np.zeros(shape))).n_colors == 0


def test_checker_sees_a_clash():
    mask = np.ones((2, 2), dtype=bool)
    assert twin.is_direct(mask, [0, 1], [-1, -1])
    assert not twin.is_direct(mask, [0, 0], [-1, -1])
    assert not twin.is_direct(mask, [0, 1], [-1, -1], [True, True, False, True])
    assert twin.is_direct(mask, [-1, 0], [0, 1], [False, True, False, True])


@pytest.mark.parametrize("mode", MODES)
@given(mask=masks)
def test_order_by_fewest(mode, mask):
    m, n = mask.shape
    pattern = SparsityPattern.from_dense(mask)
    parts = [part.astype(np.int64) for part in (pattern.indptr, pattern.indices, *pattern.by_rows())]
    row_times, column_times = np.full(m, 99), np.full(n, 99)
    work = np.full(4 * (m + n + 1) + m + n, 99)
    call(kernels.order_by_fewest, mode, *parts, m, n, work, row_times, column_times)
    assert twin.times_keep_the_rule(mask, row_times.tolist(), column_times.tolist())


# Operators


def operator_of(matrix, counts=None):
    def product(v):
        if counts is not None:
            counts["columns"] += 1
        return matrix @ v

    def transposed(v):
        if counts is not None:
            counts["rows"] += 1
        return matrix.T @ v

    return LinearOperator(matrix.shape, matvec=product, rmatvec=transposed, dtype=float)


def random_arrow(n, seed=0):
    pattern = arrow(n)
    values = np.random.default_rng(seed).standard_normal(pattern.nnz)
    return pattern, sparse.csc_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)


def test_operator_becomes_its_matrix():
    pattern, matrix = random_arrow(40)
    counts = {"columns": 0, "rows": 0}
    convert = OperatorMatrix(pattern)
    found = convert(operator_of(matrix, counts))
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
    assert counts == {"columns": convert.coloring.n_column_colors + 1, "rows": convert.coloring.n_row_colors}
    counts.update(columns=0, rows=0)
    convert(operator_of(matrix, counts))
    assert sum(counts.values()) == 3  # checked once


def test_missing_entry_of_an_operator_is_named():
    pattern, matrix = random_arrow(40)
    bad = matrix.tolil()
    bad[7, 23] = 3.0
    with pytest.raises(MissingEntryError, match=r"row 7, column 23") as caught:
        OperatorMatrix(pattern)(aslinearoperator(bad.tocsr()))
    assert (caught.value.row, caught.value.column) == (7, 23)


def test_operators_are_checked_until_one_is_finite():
    pattern, matrix = random_arrow(40)
    bad = matrix.tolil()
    bad[7, 23] = 3.0
    convert = OperatorMatrix(pattern)
    lost = bad.copy()
    lost[7, 7] = np.nan
    convert(aslinearoperator(lost.tocsr()))  # row 7 cannot be told
    with pytest.raises(MissingEntryError, match=r"row 7, column 23"):
        convert(aslinearoperator(bad.tocsr()))
    lost[7, 7], lost[9, 9] = bad[7, 7], np.inf  # another row can
    with pytest.raises(MissingEntryError, match=r"row 7, column 23"):
        OperatorMatrix(pattern)(aslinearoperator(lost.tocsr()))


def test_estimator_and_problem_take_operators():
    n = 30
    pattern, _ = random_arrow(n)

    def residual(x):
        r = x - 1.0
        r[0] = np.sum(x**2) - n
        r[1:] += 0.1 * (x[0] - 1.0)
        return r

    def matrix(x):
        jac = np.eye(n)
        jac[1:, 0] = 0.1
        jac[0] = 2.0 * x
        return jac

    jac = nlsq.jacobian(residual, lambda x: aslinearoperator(matrix(x)), sparsity=pattern)
    x = np.linspace(0.5, 2.0, n)
    found = jac(x)
    assert isinstance(found, sparse.csr_array)
    np.testing.assert_allclose(found.toarray(), matrix(x), atol=1e-15)
    estimator = Analytic(lambda x: aslinearoperator(matrix(x)))
    prepared = Colored(estimator, pattern).prepare(residual, x, n)
    np.testing.assert_allclose(prepared.evaluate(x, residual(x), None).toarray(), matrix(x), atol=1e-15)
    problem = nlsq.LeastSquaresProblem(residual, x, jac=estimator, sparsity=pattern)
    result = nlsq.solve(problem)
    assert result.converged
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)
    dense = nlsq.jacobian(residual, matrix, sparsity=pattern)(x)
    np.testing.assert_array_equal(dense, matrix(x))
