"""Projection on tangent spaces: equal to the pseudo-inverse, dense and sparse, whatever rows depend on each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nlsq.linalg.tangent import tangent_projection
from nlsq.linalg.tangent_sparse import SparseTangent

FORMS = (np.asarray, sparse.csr_array, sparse.coo_matrix)
BOTH = pytest.mark.parametrize("form", FORMS)


def units(rows):
    """Return rows of unit length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0.0, lengths, 1.0)


@st.composite
def constraints(draw):
    """Rows of all lengths; some are multiples of others, sums of others or zero."""
    k, n = draw(st.integers(0, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.standard_normal((k, n)) * 10.0 ** rng.uniform(-8, 8, (k, 1))
    for _ in range(draw(st.integers(0, 3)) if k > 2 else 0):
        i, j, h = rng.choice(k, 3, replace=False)
        kind = draw(st.sampled_from(["multiple", "sum", "zero"]))
        rows[i] = {"multiple": -7.0 * rows[j], "zero": 0.0 * rows[j], "sum": units(rows)[j] + units(rows)[h]}[kind]
    return rows, rng


@BOTH
@settings(max_examples=60)
@given(case=constraints())
def test_projection_multipliers_and_basis(form, case):
    rows, rng = case
    k, n = rows.shape
    scaled = units(rows)
    inverse = np.linalg.pinv(scaled, rcond=1e-10) if k else np.zeros((n, 0))
    singular = np.linalg.svd(scaled, compute_uv=False) if k else np.zeros(0)
    rank = int((singular > 1e-10).sum())
    condition = singular[0] / singular[rank - 1] if rank else 1.0
    tangent = tangent_projection(form(rows))
    g, many = rng.standard_normal(n), rng.standard_normal((n, 2))
    expected = g - inverse @ (scaled @ g)
    few = 1e-14 * condition + (1e-13 if form is np.asarray else 1e-11)
    projected, y = tangent.project(g), tangent.multipliers(g)
    assert projected == pytest.approx(expected, abs=few)
    assert tangent.project(projected) == pytest.approx(projected, abs=few)
    lengths = np.linalg.norm(rows, axis=1)
    shortest = -inverse.T @ g
    near = 1e-13 * condition**2 if form is np.asarray or rank == k else 0.1 * max(1.0, np.abs(shortest).max())
    assert y * lengths == pytest.approx(shortest, rel=1e-12, abs=near)
    assert np.linalg.norm(g + rows.T @ y) == pytest.approx(np.linalg.norm(projected), abs=few)
    assert tangent.project(many)[:, 1] == pytest.approx(tangent.project(many[:, 1]), abs=few)
    assert rows.T @ (tangent.multipliers(many)[:, 1] - tangent.multipliers(many[:, 1])) == pytest.approx(0.0, abs=few)
    p = tangent.normal_step(rows @ g)
    assert p == pytest.approx(expected - g, abs=1e-13 * condition**2 + few)
    assert tangent.rank == rank
    assert tangent.dependent_rows.size == k - rank
    independent = np.delete(scaled, tangent.dependent_rows, axis=0)
    assert np.linalg.matrix_rank(independent, tol=1e-10) == rank if rank else not independent.size
    assert tangent.basis.shape == (n, n - rank)
    assert tangent.basis.T @ tangent.basis == pytest.approx(np.eye(n - rank), abs=1e-13)
    assert np.abs(scaled @ tangent.basis).max(initial=0.0) < 1e-9


@BOTH
def test_nearly_dependent_rows(form):
    """A row at a small angle to others counts unless the tolerance says otherwise."""
    rows = np.array([[1.0, 0.0, 0.0], [1.0, 1e-7, 0.0], [0.0, 2.0, 0.0]])
    assert tangent_projection(form(rows[:2])).rank == 2
    assert tangent_projection(form(rows[:2])).project(np.ones(3)) == pytest.approx([0.0, 0.0, 1.0], abs=1e-8)
    rough = tangent_projection(form(rows[:2]), tolerance=1e-6)
    assert rough.rank == 1
    assert list(tangent_projection(form(rows)).dependent_rows) in ([0], [1])
    assert tangent_projection(form(rows)).multipliers(np.array([0.0, 0.0, 5.0])) == pytest.approx([0.0, 0.0, 0.0])


@BOTH
def test_more_constraints_than_variables(form):
    rows = np.random.default_rng(0).standard_normal((7, 3))
    tangent = tangent_projection(form(rows))
    assert (tangent.rank, tangent.dependent_rows.size, tangent.basis.shape) == (3, 4, (3, 0))
    assert np.abs(tangent.project(np.ones(3))).max() < 1e-14
    assert rows.T @ tangent.multipliers(np.ones(3)) == pytest.approx(-np.ones(3))


def test_step_back_to_constraints_that_contradict_each_other():
    """x = 1 and 2 x = 6 of equal weight: in the middle, x = 2."""
    tangent = tangent_projection([[1.0, 0.0], [2.0, 0.0]])
    assert tangent.normal_step(np.array([-1.0, -6.0])) == pytest.approx([2.0, 0.0])


@BOTH
def test_no_constraint(form):
    tangent = tangent_projection(form(np.empty((0, 2))))
    assert tangent.rank == 0
    assert tangent.project(np.array([3.0, 4.0])) == pytest.approx([3.0, 4.0])
    assert tangent.multipliers(np.ones(2)).shape == (0,)
    assert tangent.normal_step(np.empty(0)) == pytest.approx([0.0, 0.0])
    assert np.abs(tangent.basis) == pytest.approx(np.eye(2))


@BOTH
def test_gradients_that_have_no_square(form):
    rows = np.array([[1e-200, 0.0, 1e-200], [0.0, 1e200, 0.0]])
    tangent = tangent_projection(form(rows))
    assert tangent.rank == 2
    assert tangent.project(np.array([1.0, 2.0, 3.0])) == pytest.approx([-1.0, 0.0, 1.0], abs=1e-12)
    assert tangent.multipliers(np.array([1.0, 2.0, 1.0])) == pytest.approx([-1e200, -2e-200], rel=1e-12)


def test_large_sparse_chain():
    """Constraints x_i - 2 x_(i+1) + x_(i+2) = 0, ill-conditioned, and every tenth of them twice."""
    n = 3000
    chain = sparse.diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(n - 2, n), format="csr")
    rows = sparse.vstack([chain, 3.0 * chain[::10]], format="csr")
    tangent = tangent_projection(rows)
    assert isinstance(tangent, SparseTangent)
    v = np.random.default_rng(1).standard_normal(n)
    line = np.polynomial.polynomial.polyfit(np.linspace(-1, 1, n), v, 1)  # what all constraints leave: straight lines
    expected = np.polynomial.polynomial.polyval(np.linspace(-1, 1, n), line)
    assert tangent.project(v) == pytest.approx(expected, abs=1e-9)
    assert tangent.rank == n - 2


def test_a_dense_column_does_not_fill_the_factor():
    n = 2000
    rows = sparse.hstack([sparse.eye_array(n), np.ones((n, 1))], format="csr")
    tangent = tangent_projection(rows)
    g = np.random.default_rng(3).standard_normal(n + 1)
    direction = np.append(-np.ones(n), 1.0) / np.sqrt(n + 1.0)
    assert tangent.project(g) == pytest.approx(direction * (direction @ g), abs=1e-11)
    assert np.linalg.norm(g + rows.T @ tangent.multipliers(g)) == pytest.approx(abs(direction @ g), rel=1e-9)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite(form, bad):
    rows = np.ones((3, 2))
    rows[1, 0] = bad
    with pytest.raises(ValueError, match="not finite in row 1"):
        tangent_projection(form(rows))


@BOTH
def test_wrong_arguments(form):
    with pytest.raises(ValueError, match="tolerance"):
        tangent_projection(form(np.ones((1, 2))), tolerance=0.0)
    with pytest.raises(ValueError, match=r"v has shape \(3,\); A has 2 columns"):
        tangent_projection(form(np.ones((1, 2)))).project(np.ones(3))
    with pytest.raises(ValueError, match="g has shape"):
        tangent_projection(form(np.ones((1, 2)))).multipliers(np.ones((2, 1, 1)))
    with pytest.raises(ValueError, match="A has 1 rows"):
        tangent_projection(form(np.ones((1, 2)))).normal_step(np.ones(2))


def test_a_vector_is_no_matrix():
    with pytest.raises(ValueError, match="one row for each"):
        tangent_projection(np.ones(3))
