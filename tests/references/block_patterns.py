"""Random block Jacobians, and the slow way to everything that is done with them."""

import numpy as np
from hypothesis import strategies as st

from nlsq.block_jacobian import CONSTANT, BlockGroup, BlockPattern


def random_pattern(rng, widths, kinds, *, held=0.2):
    """Return a pattern over column blocks of `widths`; `kinds` are tuples (blocks, residuals, widths of arguments)."""
    groups, row = [], 0
    for count, q, arguments in kinds:
        columns = np.full((count, len(arguments)), CONSTANT, dtype=np.int64)
        for i in range(count):
            for k, width in enumerate(arguments):
                free = np.setdiff1d(np.flatnonzero(widths == width), columns[i])
                if free.size and rng.random() >= held:
                    columns[i, k] = rng.choice(free)
        groups.append(BlockGroup(q, row, columns, arguments))
        row += count * q
    return BlockPattern(tuple(groups), np.asarray(widths, dtype=np.int64))


def random_jacobian(rng, pattern):
    """Return a Jacobian of normal deviates; the values of held arguments are NaN, for nobody may read them."""
    jac = pattern.zeros()
    for group, values in zip(pattern.groups, jac.values, strict=True):
        values[...] = rng.standard_normal(values.shape)
        for k, (start, end) in enumerate(zip(group.starts, group.starts[1:], strict=False)):
            values[group.columns[:, k] == CONSTANT, :, start:end] = np.nan
    return jac


@st.composite
def block_jacobians(draw):
    """Return a random generator and a block Jacobian with several groups, held arguments and empty columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = np.array(draw(st.lists(st.integers(1, 4), min_size=1, max_size=7)))
    kinds = draw(
        st.lists(
            st.tuples(
                st.integers(0, 6),
                st.integers(1, 3),
                st.lists(st.sampled_from(sorted(set(widths.tolist()))), min_size=1, max_size=3).map(tuple),
            ),
            min_size=1,
            max_size=3,
        )
    )
    return rng, random_jacobian(rng, random_pattern(rng, widths, kinds))
