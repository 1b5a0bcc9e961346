"""Star colourings: every entry of a symmetric matrix can be read, and few colours are enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references.kernel_calls import MODES, call

from nlsq.derivatives.star_coloring import Coloring, color_symmetric, hessian_pattern, places_of_entries
from nlsq.kernels.star_coloring import color_stars
from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.integers(1, 9).map(lambda n: (n, n)))


@given(mask=masks)
def test_every_entry_can_be_read(mask):
    n = mask.shape[0]
    pattern = SparsityPattern.from_dense(mask | mask.T | np.eye(n, dtype=bool))
    coloring = color_symmetric(pattern)
    rng = np.random.default_rng(n)
    lower = np.tril(rng.normal(size=(n, n)) * pattern.to_dense())
    full = lower + np.tril(lower, -1).T
    places = places_of_entries(pattern, coloring)
    compressed = coloring.compress(full)
    found = np.zeros((n, n))
    found[places.rows, places.columns] = compressed[places.at, coloring.colors[places.moved]]
    np.testing.assert_array_equal(found, lower)
    assert places.rows.size == np.count_nonzero(np.tril(pattern.to_dense()))


@pytest.mark.parametrize("hub", [0, 3, 99])
def test_arrow_takes_two_colours(hub):
    mask = np.eye(100, dtype=bool)
    mask[hub, :] = mask[:, hub] = True
    assert color_symmetric(SparsityPattern.from_dense(mask)).n_colors == 2


def test_band_takes_no_more_than_at_distance_two():
    mask = np.abs(np.subtract.outer(np.arange(40), np.arange(40))) <= 2
    assert color_symmetric(SparsityPattern.from_dense(mask)).n_colors <= 5


def test_more_colours_than_a_word_has_bits():
    n = 150
    assert color_symmetric(SparsityPattern.from_dense(np.ones((n, n)))).n_colors == n


def test_bad_colouring_is_refused():
    pattern = SparsityPattern.from_dense(np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"entry \(1, 0\)|entry \(0, 0\)|entry \(1, 1\)"):
        places_of_entries(pattern, Coloring(np.array([0, 0, 1]), 2))


def test_pattern_of_second_derivatives():
    jac = SparsityPattern.from_dense([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]])
    expected = np.eye(4, dtype=bool)
    for j, k in ((0, 1), (1, 2), (0, 3)):
        expected[j, k] = expected[k, j] = True
    assert (hessian_pattern(jac).to_dense() == expected).all()
    expected[0, 3] = expected[3, 0] = False
    assert (hessian_pattern(jac, np.array([True, True, False])).to_dense() == expected).all()


def slow_colors(mask, order):
    """The rule of the kernel, vertex by vertex."""
    n, colors = mask.shape[0], {}
    for v in order:
        taken = set()
        for w in np.flatnonzero(mask[v]):
            if w in colors:
                taken.add(colors[w])
            taken |= {colors[x] for x in np.flatnonzero(mask[w]) if x in colors and colors[x] < colors.get(w, n)}
        colors[v] = min(set(range(n + 1)) - taken)
    return [colors[v] for v in range(n)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(5))
def test_kernel_is_its_slow_twin(mode, seed):
    rng = np.random.default_rng(seed)
    n = 30
    mask = np.triu(rng.random((n, n)) < 0.15, 1)
    mask = mask | mask.T
    indptr = np.concatenate(([0], np.cumsum(mask.sum(axis=0))))
    indices, order = np.ascontiguousarray(np.nonzero(mask)[1]), rng.permutation(n)
    seen, taken, colors = np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    used = call(color_stars, mode, indptr, indices, order, n, 1, seen, taken, colors)
    assert colors.tolist() == slow_colors(mask, order) and used == colors.max() + 1


@pytest.mark.parametrize("mode", MODES)
def test_kernel_says_when_colours_do_not_fit(mode):
    n = 70
    mask = ~np.eye(n, dtype=bool)
    indptr, indices = np.arange(n + 1) * (n - 1), np.ascontiguousarray(np.nonzero(mask)[1])
    for words, used in ((1, -1), (2, n)):
        seen, taken, colors = (
            np.zeros(n * words, dtype=np.int64),
            np.zeros(words, dtype=np.int64),
            np.zeros(n, dtype=np.int64),
        )
        assert call(color_stars, mode, indptr, indices, np.arange(n), n, words, seen, taken, colors) == used
