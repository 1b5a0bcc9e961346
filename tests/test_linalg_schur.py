"""The Schur complement: equal to stacked dense least squares on any block structure, and honest about failures."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlsq.block_jacobian import BlockGroup, BlockJacobian, BlockPattern
from nlsq.linalg import schur, schur_plan
from nlsq.linalg.eliminated import eliminated_blocks, independent_blocks
from nlsq.linalg.linear_solver import LinearStatus
from nlsq.linalg.schur import SchurComplement
from nlsq.linalg.schur_reduced import DenseReduced, SparseReduced

FORMS = pytest.mark.parametrize("reduced", ["dense", "sparse"])


def stacked(jac, r, damping):
    """Return the step by dense least squares on [J; diag(damping)^(1/2)]."""
    matrix = np.vstack((jac.toarray(), np.diag(np.sqrt(damping))))
    return np.linalg.lstsq(matrix, np.concatenate((-r, np.zeros(damping.size))))[0]


def solved(jac, r, damping, **options):
    """Return the step, the status and the factorisation."""
    factorization = SchurComplement(**options).prepare(jac.shape, jac.pattern)
    assert factorization.factorize(jac).usable
    step = np.full(jac.shape[1], np.nan)
    status = factorization.solve(r, damping, step)
    return step, status, factorization


def fill(pattern, rng):
    jac = pattern.zeros()
    for values in jac.values:
        values[...] = rng.standard_normal(values.shape)
    return jac


def make_pattern(widths, *groups):
    """Make a pattern of (residuals, columns, argument widths)."""
    made, row = [], 0
    for residuals, columns, argument_widths in groups:
        columns = np.asarray(columns, dtype=np.int64).reshape(-1, len(argument_widths))
        made.append(BlockGroup(residuals, row, columns, tuple(argument_widths)))
        row += residuals * columns.shape[0]
    return BlockPattern(tuple(made), np.asarray(widths, dtype=np.int64))


def bundle(cameras, points, seen, rng, width=9):
    """Make a bundle adjustment: each point is seen by `seen` cameras in a row on a ring; cameras come first."""
    first = rng.integers(0, cameras, points)
    camera = (first[:, None] + np.arange(seen)) % cameras
    point = np.broadcast_to(cameras + np.arange(points)[:, None], camera.shape)
    columns = np.column_stack((camera.ravel(), point.ravel()))
    return make_pattern([width] * cameras + [3] * points, (2, columns, (width, 3)))


@st.composite
def structures(draw):
    """Draw a block Jacobian and an independent set of its blocks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_blocks = draw(st.integers(1, 9))
    widths = rng.choice([1, 2, 3, 9, 10], n_blocks)
    eliminated = rng.random(n_blocks) < draw(st.sampled_from([0.0, 0.5, 0.8, 1.0]))
    groups = []
    for _ in range(draw(st.integers(1, 4))):
        argument_widths = rng.choice(widths, draw(st.integers(1, 3)))
        rows = []
        for _ in range(draw(st.integers(1, 8))):
            row = []
            for width in argument_widths:
                free = widths == width
                free[[b for b in row if b >= 0]] = False
                if any(eliminated[b] for b in row if b >= 0):
                    free &= ~eliminated
                choices = np.flatnonzero(free)
                row.append(int(rng.choice(choices)) if choices.size and rng.random() < 0.9 else -1)
            rows.append(row)
        groups.append((int(rng.integers(1, 4)), rows, argument_widths.tolist()))
    return fill(make_pattern(widths, *groups), rng), eliminated, rng


@FORMS
@settings(max_examples=60, deadline=None)
@given(case=structures())
def test_step_is_that_of_stacked_least_squares(reduced, case):
    jac, eliminated, rng = case
    r = rng.standard_normal(jac.shape[0])
    factorization = SchurComplement(eliminated=eliminated, reduced=reduced).prepare(jac.shape, jac.pattern)
    for jacobian in (jac, fill(jac.pattern, rng)):  # the same memory again
        assert factorization.factorize(jacobian) is LinearStatus.SOLVED
        for _ in range(2):
            damping, step = rng.uniform(0.1, 2.0, jac.shape[1]), np.empty(jac.shape[1])
            assert factorization.solve(r, damping, step) is LinearStatus.SOLVED
            np.testing.assert_allclose(step, stacked(jacobian, r, damping), rtol=1e-9, atol=1e-11)
            assert factorization.failed_column == -1


@FORMS
@settings(max_examples=25, deadline=None)
@given(case=structures())
def test_order_of_residual_blocks_and_scale_of_columns_do_not_matter(reduced, case):
    jac, eliminated, rng = case
    pattern, damping = jac.pattern, rng.uniform(0.1, 2.0, jac.shape[1])
    r = rng.standard_normal(jac.shape[0])
    step, _, _ = solved(jac, r, damping, eliminated=eliminated, reduced=reduced)

    groups, values, shuffled = [], [], []
    for group, array in zip(pattern.groups, jac.values, strict=True):
        order = rng.permutation(group.count)
        groups.append(BlockGroup(group.residuals, group.first_row, group.columns[order].copy(), group.widths))
        values.append(array[order].copy())
        part = r[group.first_row : group.first_row + group.count * group.residuals]
        shuffled.append(part.reshape(group.count, -1)[order].ravel())
    other = BlockJacobian(BlockPattern(tuple(groups), pattern.widths), values)
    again, _, _ = solved(other, np.concatenate(shuffled), damping, eliminated=eliminated, reduced=reduced)
    np.testing.assert_allclose(again, step, rtol=1e-9, atol=1e-11)

    scale = 2.0 ** rng.integers(-8, 9, jac.shape[1])
    for group, array in zip(pattern.groups, jac.values, strict=True):
        for k in range(len(group.widths)):
            for row in np.flatnonzero(group.columns[:, k] >= 0):
                first = pattern.offsets[group.columns[row, k]]
                array[row, :, group.starts[k] : group.starts[k + 1]] *= scale[first : first + group.widths[k]]
    scaled, _, _ = solved(jac, r, damping * scale**2, eliminated=eliminated, reduced=reduced)
    np.testing.assert_allclose(scaled * scale, step, rtol=1e-9, atol=1e-11)


@FORMS
@pytest.mark.parametrize(("width", "height"), [(9, 3), (7, 2), (17, 3)])
def test_kernels_of_known_sizes_and_of_any_size_agree(monkeypatch, reduced, width, height):
    """A pattern with one family of each kind, through kernels specialised on its sizes."""
    rng = np.random.default_rng(1)
    cameras, points, lens = np.arange(5), 5 + np.arange(12), 17
    columns = [(c, p) for p in points for c in rng.choice(cameras, 3, replace=False)]
    widths = [width] * 5 + [height] * 12 + [2]
    with_lens = [(c, p, lens) for c, p in columns[:9]]
    pattern = make_pattern(
        widths, (2, columns[9:], (width, height)), (2, with_lens, (width, height, 2)), (4, [[0, 1]], (width, width))
    )
    jac, eliminated = fill(pattern, rng), np.isin(np.arange(18), points)
    r, damping = rng.standard_normal(pattern.shape[0]), rng.uniform(0.1, 1.0, pattern.shape[1])
    expected = stacked(jac, r, damping)
    for threshold in (0, 10**9):
        monkeypatch.setattr(schur, "SPECIALISED_FROM", threshold)
        step, status, factorization = solved(jac, r, damping, eliminated=eliminated, reduced=reduced)
        assert status is LinearStatus.SOLVED
        np.testing.assert_allclose(step, expected, rtol=1e-9, atol=1e-11)
        kinds = [(family.order, family.width) for family in factorization.elimination.families]
        assert kinds == [(height, schur_plan.MIXED), (height, width)]


@FORMS
def test_points_seen_once_are_determined_by_damping(reduced):
    rng = np.random.default_rng(2)
    jac = fill(make_pattern([4] * 2 + [3] * 6, (2, [(i % 2, 2 + i) for i in range(6)], (4, 3))), rng)
    r, damping = rng.standard_normal(12), np.full(26, 0.01)
    step, status, _ = solved(jac, r, damping, eliminated=np.arange(8) >= 2, reduced=reduced)
    assert status is LinearStatus.SOLVED
    np.testing.assert_allclose(step, stacked(jac, r, damping), rtol=1e-8)


@FORMS
def test_columns_of_zeros_with_damping_get_no_step(reduced):
    rng = np.random.default_rng(3)
    pattern = bundle(4, 12, 3, rng, width=5)
    jac = fill(pattern, rng)
    jac.values[0][:, :, [1, 6]] = 0.0  # a column of each camera, one of each point
    step, status, _ = solved(
        jac, rng.standard_normal(pattern.shape[0]), np.full(56, 1e-3), eliminated=np.arange(16) >= 4, reduced=reduced
    )
    assert status.usable
    assert np.all(step[:20].reshape(4, 5)[:, 1] == 0.0)
    assert np.all(step[20:].reshape(12, 3)[:, 1] == 0.0)
    assert np.count_nonzero(step) == 4 * 4 + 12 * 2


# Failures


@FORMS
@pytest.mark.parametrize(("block", "column"), [(2, 5), (4, 11), (5, 14)])
def test_undetermined_eliminated_block_is_named(reduced, block, column):
    """Blocks of two orders; nothing meets the last one, two others are met by zeros."""
    rng = np.random.default_rng(4)
    pattern = make_pattern([2, 3, 3, 3, 3, 1], (4, [(0, i) for i in (1, 2, 3, 4)], (2, 3)))
    if block < 5:
        pattern = make_pattern([2, 3, 3, 3, 3, 1], (4, [(0, i) for i in (1, 2, 3, 4)], (2, 3)), (1, [(0, 5)], (2, 1)))
    jac = fill(pattern, rng)
    if block < 5:
        jac.values[0][block - 1, :, 2:] = 0.0
    factorization = SchurComplement(eliminated=np.arange(6) > 0, reduced=reduced).prepare(jac.shape, pattern)
    assert factorization.factorize(jac) is LinearStatus.SOLVED
    r, step = np.ones(jac.shape[0]), np.full(15, 7.0)
    assert factorization.solve(r, np.zeros(15), step) is LinearStatus.NOT_DEFINITE
    assert factorization.failed_column == column == pattern.offsets[block]
    assert factorization.kept == 0.0
    assert np.all(step == 7.0)
    assert factorization.solve(r, np.ones(15), step) is LinearStatus.SOLVED
    assert factorization.failed_column == -1


@pytest.mark.parametrize("seed", range(8))
def test_eliminated_block_that_lost_all_digits_is_named(seed):
    """Dependent columns: rounding leaves a pivot of either sign."""
    jac = fill(make_pattern([1, 2], (6, [(0, 1)], (1, 2))), np.random.default_rng(seed))
    jac.values[0][:, :, 2] = 3.0 * jac.values[0][:, :, 1]
    _, status, factorization = solved(jac, np.ones(6), np.zeros(3), eliminated=np.array([False, True]))
    assert status is LinearStatus.NOT_DEFINITE
    assert factorization.failed_column == 1
    _, status, factorization = solved(jac, np.ones(6), np.full(3, 1e-11), eliminated=np.array([False, True]))
    assert status is LinearStatus.ILL_CONDITIONED
    assert 0.0 < factorization.kept < 1e-10


@FORMS
@pytest.mark.parametrize("column", [0, 4, 7])
def test_undetermined_kept_column_is_named(reduced, column):
    """A column of zeros among those of the cameras, which come last."""
    rng = np.random.default_rng(6)
    columns = [(c, p) for p in range(8) for c in (8, 9, 10)]
    pattern = make_pattern([2] * 8 + [3] * 3, (3, columns, (3, 2)))
    jac = fill(pattern, rng)
    jac.values[0][np.asarray(columns)[:, 0] == 8 + column // 3, :, column % 3] = 0.0
    _, status, factorization = solved(jac, np.ones(72), np.zeros(25), eliminated=np.arange(11) < 8, reduced=reduced)
    assert status is LinearStatus.NOT_DEFINITE
    assert factorization.failed_column == 16 + column


@FORMS
def test_dependent_kept_column_is_named(reduced):
    """The third camera's column is what the first one's is, and no point can tell them apart."""
    rng = np.random.default_rng(7)
    jac = fill(make_pattern([1, 1, 1, 2], (5, [(0, 1, 2, 3)], (1, 1, 1, 2))), rng)
    jac.values[0][:, :, 2] = 2.0 * jac.values[0][:, :, 0] - jac.values[0][:, :, 3]
    eliminated = np.array([False] * 3 + [True])
    _, status, factorization = solved(jac, np.ones(5), np.zeros(5), eliminated=eliminated, reduced=reduced)
    assert status is LinearStatus.NOT_DEFINITE
    assert factorization.failed_column in {"dense": (2,), "sparse": (0, 2)}[reduced]  # the later in the order
    assert factorization.kept == 0.0
    _, status, factorization = solved(jac, np.ones(5), np.full(5, 1e-11), eliminated=eliminated, reduced=reduced)
    assert status is LinearStatus.ILL_CONDITIONED
    assert 0.0 < factorization.kept < 1e-10


@FORMS
def test_graph_that_nothing_holds_is_not_definite(reduced):
    """Weighted differences of a kept and an eliminated number: all may move together."""
    rng = np.random.default_rng(13)
    columns = [(c, 40 + e) for e in range(300) for c in rng.choice(40, 3, replace=False)]
    jac = make_pattern([1] * 340, (1, columns, (1, 1))).zeros()
    weights = rng.uniform(0.5, 2.0, (900, 1))
    jac.values[0][...] = np.stack((weights, -weights), axis=2)
    step, status, factorization = solved(
        jac, rng.standard_normal(900), np.zeros(340), eliminated=np.arange(340) >= 40, reduced=reduced
    )
    assert status is LinearStatus.NOT_DEFINITE
    assert 0 <= factorization.failed_column < 40
    assert np.isnan(step).all()


@FORMS
@pytest.mark.parametrize("place", [0, 5])  # in a kept and in an eliminated argument
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_jacobian_that_is_not_finite_is_reported(reduced, place, value):
    rng = np.random.default_rng(8)
    jac = fill(bundle(3, 6, 2, rng, width=4), rng)
    jac.values[0][4, 1, place] = value
    eliminated = np.arange(9) >= 3
    factorization = SchurComplement(eliminated=eliminated, reduced=reduced).prepare(jac.shape, jac.pattern)
    with np.errstate(all="ignore"):  # kernels that run as plain Python
        assert factorization.factorize(jac) is LinearStatus.NONFINITE


@FORMS
def test_residual_and_damping_that_are_not_finite_give_no_step(reduced):
    rng = np.random.default_rng(9)
    jac = fill(bundle(3, 6, 2, rng, width=4), rng)
    eliminated = np.arange(9) >= 3
    factorization = SchurComplement(eliminated=eliminated, reduced=reduced).prepare(jac.shape, jac.pattern)
    assert factorization.factorize(jac) is LinearStatus.SOLVED
    r, step = rng.standard_normal(jac.shape[0]), np.full(jac.shape[1], 7.0)
    r[3] = np.nan
    with np.errstate(all="ignore"):
        assert factorization.solve(r, np.ones(step.size), step) is LinearStatus.NONFINITE
    for column in (2, step.size - 1):
        damping = np.ones(step.size)
        damping[column] = np.nan
        assert factorization.solve(np.ones(r.size), damping, step) is LinearStatus.NOT_DEFINITE
    assert np.all(step == 7.0)


# Choices


def test_points_of_a_bundle_adjustment_are_eliminated():
    rng = np.random.default_rng(10)
    pattern = bundle(20, 300, 4, rng)
    assert np.array_equal(eliminated_blocks(pattern), np.arange(320) >= 20)
    held = make_pattern(
        [9] * 3 + [3] * 40, (2, [(-1 if i % 3 == 0 else i % 3, 3 + i % 40) for i in range(200)], (9, 3))
    )
    assert np.array_equal(eliminated_blocks(held), (np.arange(43) >= 3) | (np.arange(43) == 0))


def test_chain_and_grid_keep_all_blocks():
    chain = make_pattern([6] * 101, (6, [(i, i + 1) for i in range(100)], (6, 6)))
    assert not eliminated_blocks(chain).any()
    grid = np.arange(144).reshape(12, 12)
    edges = [
        *zip(grid[1:].ravel(), grid[:-1].ravel(), strict=True),
        *zip(grid[:, 1:].ravel(), grid[:, :-1].ravel(), strict=True),
    ]
    assert not eliminated_blocks(make_pattern([3] * 144, (3, edges, (3, 3)))).any()


def test_leaves_of_a_star_are_eliminated():
    star = make_pattern([4] * 30, (2, [(0, i) for i in range(1, 30)], (4, 4)))
    assert np.array_equal(eliminated_blocks(star), np.arange(30) >= 1)


@given(case=structures())
@settings(max_examples=60, deadline=None)
def test_independent_set_is_independent_and_maximal(case):
    jac, _, _ = case
    chosen = independent_blocks(jac.pattern)
    rows = [row[row >= 0] for group in jac.pattern.groups for row in group.columns]
    assert all(np.count_nonzero(chosen[row]) <= 1 for row in rows)
    for block in np.flatnonzero(~chosen):
        assert any(block in row and chosen[row].any() for row in rows)


def test_dense_or_sparse_by_predicted_work():
    rng = np.random.default_rng(11)
    ring, clique = bundle(150, 800, 3, rng), bundle(40, 200, 30, rng)
    for pattern, kind in ((ring, SparseReduced), (clique, DenseReduced)):
        factorization = SchurComplement().prepare(pattern.shape, pattern)
        assert type(factorization.reduced) is kind


def test_a_dense_reduced_system_is_kept_once_and_a_half():
    pattern = bundle(60, 150, 20, np.random.default_rng(14))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        reduced = DenseReduced(schur_plan.Elimination(pattern, np.arange(210) >= 60))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert reduced.step.size == 540
    assert taken < 1.8 * 8 * 540**2


def test_two_eliminated_blocks_in_a_residual_block_are_refused():
    pattern = make_pattern([2, 1, 1, 1], (1, [(0, 1)], (2, 1)), (1, [(0, 1, 2), (0, -1, 3), (0, 3, 1)], (2, 1, 1)))
    with pytest.raises(ValueError, match=r"residual block 0 of group 1 meets the column blocks \[1, 2\]"):
        SchurComplement(eliminated=np.array([False, True, True, False])).prepare(pattern.shape, pattern)
    with pytest.raises(ValueError, match=r"residual block 2 of group 1 meets the column blocks \[3, 1\]"):
        SchurComplement(eliminated=np.array([False, True, False, True])).prepare(pattern.shape, pattern)


def test_arguments_are_checked():
    pattern = make_pattern([2, 1], (1, [(0, 1)], (2, 1)))
    with pytest.raises(ValueError, match=r"eliminated must be a bool array of shape \(2,\)"):
        SchurComplement(eliminated=np.array([1])).prepare(pattern.shape, pattern)
    with pytest.raises(ValueError, match="reduced must be one of 'auto', 'dense', 'sparse'; got 'full'"):
        SchurComplement(reduced="full").prepare(pattern.shape, pattern)
    with pytest.raises(TypeError, match="needs the BlockPattern of J, got NoneType"):
        SchurComplement().prepare((3, 2))


SCRIPT = """
import numpy as np
from nlsq.block_jacobian import BlockGroup, BlockPattern
from nlsq.linalg.schur import SchurComplement
columns = np.array([(c, 3 + p) for p in range(5) for c in range(3)])
pattern = BlockPattern((BlockGroup(2, 0, columns, (9, 3)),), np.array([9] * 3 + [3] * 5))
jac = pattern.zeros()
jac.values[0][...] = np.sin(np.arange(15 * 24)).reshape(15, 2, 12)
for reduced in ("dense", "sparse"):
    factorization = SchurComplement(reduced=reduced).prepare(pattern.shape, pattern)
    step = np.zeros(42)
    factorization.factorize(jac)
    factorization.solve(np.cos(np.arange(30)), np.ones(42), step)
    print(*step)
"""


def test_plain_python_gives_the_same():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"NLSQ_DISABLE_COMPILE": flag},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for flag in ("0", "1")
    ]
    compiled, plain = (np.array(output.split(), dtype=float) for output in outputs)
    assert compiled.size == 84
    np.testing.assert_allclose(plain, compiled, rtol=1e-10, atol=1e-13)


def test_residual_and_damping_are_taken_as_they_lie_and_checked():
    rng = np.random.default_rng(12)
    jac = fill(bundle(3, 6, 2, rng, width=4), rng)
    m, n = jac.shape
    factorization = SchurComplement().prepare(jac.shape, jac.pattern)
    step = np.full(n, 7.0)
    with pytest.raises(RuntimeError, match="solve comes after factorize"):
        factorization.solve(np.ones(m), np.ones(n), step)
    factorization.factorize(jac)
    apart, damping = rng.standard_normal(2 * m)[::2], rng.uniform(0.1, 1.0, 2 * n)[::2]
    assert factorization.solve(apart, damping, step) is LinearStatus.SOLVED
    np.testing.assert_allclose(step, stacked(jac, apart, damping), rtol=1e-9, atol=1e-11)
    assert factorization.solve(np.ones(m, dtype=int), damping, step) is LinearStatus.SOLVED
    np.testing.assert_allclose(step, stacked(jac, np.ones(m), damping), rtol=1e-9, atol=1e-11)
    with pytest.raises(ValueError, match=rf"r must have shape \({m},\), got \({m - 1},\)"):
        factorization.solve(np.ones(m - 1), damping, step)
    with pytest.raises(ValueError, match=rf"damping_diag must have shape \({n},\), got \(1,\)"):
        factorization.solve(apart, np.ones(1), step)
