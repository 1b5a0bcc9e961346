"""Arrays that share memory: what a traced program returns is what NumPy returns, or the trace refuses."""

import numpy as np
import pytest

from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.trace import trace_residual

P = np.array([0.7, -1.3, 2.1, 0.4, -0.9, 1.7, 3.2, -0.2, 0.6, 1.1, -2.4, 0.3])


def traced_values(function, p=P):
    return interpret.output(trace_residual(function, p.size), p)


def plain_values(function, p=P):
    result = function(p.copy())
    if isinstance(result, list | tuple):
        result = np.array(result)
    return np.asarray(result, dtype=float).ravel()


def view_then_array(p):
    a = p * 1.0
    b = a[1:]
    a[2] = 10.0
    return np.concatenate([a, b])


def array_then_view(p):
    a = p * 2.0
    b = a[::2]
    b += 1.0
    return a


def view_of_view(p):
    a = p + 0.0 * p
    b = a[2:][::3]
    b[1] = p[0]
    a[5] += 3.0
    return np.concatenate([a, b])


def shifted_update(p):
    a = p * 1.0
    a[1:] -= a[:-1]
    return a


def overlapping_store(p):
    a = p * 1.0
    a[1:] = a[:-1]
    return a


def reversed_store(p):
    a = p * 1.0
    a[:] = a[::-1]
    return a


def two_views(p):
    a = p * 1.0
    b, c = a[1:5], a[3:8]
    b[:] = 7.0
    c *= 2.0
    return np.concatenate([a, b, c])


def copied(p):
    a = p * 1.0
    b = a[2:].copy()
    a[:] = 0.0
    return np.concatenate([a, b])


def same_name(p):
    a = p * 1.0
    b = a
    b += 1.0
    return a - b + a


def not_the_same_name(p):
    a = p * 1.0
    b = a
    b = b + 1.0
    return a + b


def transposed_view(p):
    a = np.zeros((3, 4))
    a[:, :] = p.reshape(3, 4)
    b = a.T
    b[1, 2] = 5.0
    b[2] += 1.0
    return np.concatenate([a.ravel(), b.ravel()])


def reshaped_view(p):
    a = p * 1.0
    b = a.reshape(3, 4)
    b[1, 1:3] = -1.0
    a[0] = 4.0
    return np.concatenate([a, b.ravel()])


def raveled_view(p):
    a = np.zeros((3, 4))
    b = a.ravel()
    a[1] = p[:4]
    b[2] = p[5]
    return np.concatenate([a.ravel(), b])


def raveled_copy(p):
    a = np.zeros((3, 4))
    a[...] = p.reshape(3, 4)
    b = a.T.ravel()
    b[0] = 50.0
    return a.ravel() + b


def flattened_copy(p):
    a = p.reshape(3, 4) * 1.0
    b = a.flatten()
    b[0] = 50.0
    return a.ravel() + b


def row_view(p):
    a = np.empty((2, 6))
    a[0], a[1] = p[:6], p[6:]
    first = a[0]
    a[0, 2] = 9.0
    first[3] = 8.0
    return np.concatenate([first, a[0], a[1]])


def element_is_a_number(p):
    a = p * 1.0
    b = a[3]
    a[3] = 100.0
    b += 1.0
    return np.append(a, b)


def list_of_views(p):
    a = p * 1.0
    rows = [a[k : k + 3] for k in range(4)]
    a += 1.0
    return np.array(rows)


def new_axis_view(p):
    a = p * 1.0
    b = a[:, None]
    b[2] = 11.0
    a[4] = 12.0
    return np.concatenate([a, b[:, 0]])


def asarray_is_the_same(p):
    a = p * 1.0
    b = np.asarray(a)
    c = np.array(a)
    b[0] = 3.0
    return np.concatenate([a, b, c])


def squeezed_view(p):
    a = (p * 1.0)[None, :]
    b = a.squeeze()
    b[1] = 2.0
    return a.ravel() + b


def swap(p):
    a = p * 1.0
    a[0], a[1] = a[1], a[0]
    return a


def swap_of_slices(p):
    a = p * 1.0
    a[:3], a[3:6] = a[3:6], a[:3]
    return a


def picked_is_a_copy(p):
    a = p * 1.0
    b = a[[0, 1, 2]]
    b += 5.0
    a[[1, 3]] = 2.0
    return np.append(a, b)


def mask_is_a_copy(p):
    a = p * 1.0
    mask = a > 0.5
    s = a[mask]
    a[1] = 30.0
    t = s
    s += 1.0
    out = np.zeros(p.size)
    out[mask] = t
    return out + a


def real_part_is_the_same(p):
    a = p * 1.0
    b = a.real
    b[2] = 6.0
    return a


def sum_before_and_after(p):
    a = p * 1.0
    before = a.sum()
    a[0] = 100.0
    return np.append(a * before, a.sum())


def filled_by_halves(p):
    r = np.empty(p.size)
    r[::2] = p[1::2] ** 2
    r[1::2] = r[::2] * 3.0
    r[::3] -= 1.0
    return r


PROGRAMS = [
    view_then_array, array_then_view, view_of_view, shifted_update, overlapping_store, reversed_store, two_views,
    copied,
    same_name, not_the_same_name, transposed_view, reshaped_view, raveled_view, flattened_copy, row_view,
    element_is_a_number, list_of_views, new_axis_view, asarray_is_the_same, squeezed_view, swap, swap_of_slices,
    picked_is_a_copy, mask_is_a_copy, real_part_is_the_same, sum_before_and_after, filled_by_halves,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_program_returns_what_numpy_returns(program):
    np.testing.assert_allclose(traced_values(program), plain_values(program), rtol=1e-14, atol=1e-14)


def reshape_of_unknown_layout(p):
    a = np.add(p.reshape(3, 4).T, 1.0)  # NumPy keeps the order of the operand: this is not C-contiguous
    b = a.ravel()
    b[0] = 50.0
    return a.ravel() + b


def array_without_axes(p):
    a = np.array(p[0])
    b = a
    b += 1.0
    return np.append(p, a)


def last_element_as_array(p):
    a = p * 1.0
    b = a[..., -1]
    b += 1.0
    return a


@pytest.mark.parametrize(
    "program", [raveled_copy, reshape_of_unknown_layout, array_without_axes, last_element_as_array]
)
def test_what_cannot_be_followed_is_refused(program):
    with pytest.raises(NotTraceable):
        traced_values(program)


def into_parameters(p):
    p[0] = 1.0
    return p


def into_view_of_parameters(p):
    q = p[2:]
    q *= 2.0
    return p


def into_reshaped_parameters(p):
    p.reshape(3, 4)[0, 0] = 1.0
    return p


DATA = np.arange(12.0)


def into_data(p):
    view = DATA[:3]
    view += 1.0
    return p


COUNTS = np.arange(12)


def into_integers(p):
    r = COUNTS.copy()
    r[0] = p[0]
    return r * p


def into_new_integers(p):
    r = np.zeros_like(COUNTS)
    r[:] = p
    return r * p


@pytest.mark.parametrize(
    "function",
    [into_parameters, into_view_of_parameters, into_reshaped_parameters, into_data, into_integers, into_new_integers],
)
def test_stores_that_would_reach_arguments_or_convert_are_refused(function):
    before = DATA.copy(), COUNTS.copy()
    with pytest.raises(NotTraceable):
        trace_residual(function, 12)
    assert (DATA == before[0]).all() and (COUNTS == before[1]).all()


def test_ravel_of_a_column_is_a_copy_and_reshape_is_a_view():
    def by_ravel(p):
        u = p.reshape(3, 4) * 1.0
        u = u.copy()
        column = u[:, 1]
        flat = column.ravel()
        column[0] = 9.0
        return np.concatenate([u.ravel(), flat])

    def by_reshape(p):
        u = p.reshape(3, 4).copy()
        column = u[:, 1]
        flat = column.reshape(-1)
        column[0] = 9.0
        return np.concatenate([u.ravel(), flat])

    with pytest.raises(NotTraceable, match="share"):
        traced_values(by_ravel)
    np.testing.assert_array_equal(traced_values(by_reshape), plain_values(by_reshape))
