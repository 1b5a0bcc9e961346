"""The graph itself, the partitions of axes, and what tracing costs."""

from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlsq.compiler import interpret
from nlsq.compiler.graph import Graph, NotTraceable, contiguous_strides
from nlsq.compiler.tracing import blocks
from nlsq.compiler.tracing.trace import trace_model, trace_residual

PROGRESSIONS = st.builds(
    lambda start, step, count: blocks.tidy(range(start, start + step * count, step)),
    st.integers(0, 20),
    st.integers(1, 7),
    st.integers(0, 9),
)


@given(PROGRESSIONS, PROGRESSIONS)
def test_intersection_is_that_of_the_sets(a, b):
    common = blocks.intersection(a, b)
    assert set(common) == set(a) & set(b)
    assert not common or common.step > 0


@given(PROGRESSIONS, PROGRESSIONS)
def test_complement_is_that_of_the_sets(part, other):
    hit = blocks.intersection(part, other)
    rest = blocks.complement(part, hit)
    assert sorted(k for one in (*rest, hit) for k in one) == list(part)


def partitions(length):
    """Return partitions made by storing progressions one after the other."""

    def cut(selections):
        parts = [range(length)]
        for start, step, count in selections:
            taken = range(start % length, length, step)[:count]
            parts = [
                one
                for part in parts
                for hit in [blocks.intersection(part, taken)]
                for one in (*blocks.complement(part, hit), *([hit] if hit else []))
            ]
        return blocks.ordered(parts)

    return st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(1, 9)), max_size=4).map(cut)


@given(partitions(17), partitions(17))
def test_refinement_is_the_coarsest_common_one(a, b):
    fine = blocks.refined(a, b)
    assert sorted(k for part in fine for k in part) == list(range(17))

    def owners(parts):
        return {k: number for number, part in enumerate(parts) for k in part}

    in_a, in_b, in_fine = owners(a), owners(b), owners(fine)
    pairs = {(in_a[k], in_b[k]) for k in range(17)}
    assert len(fine) >= len(pairs)
    for part in fine:
        assert len({(in_a[k], in_b[k]) for k in part}) == 1
    assert all(blocks.find(fine, k) == in_fine[k] for k in range(17))


@given(partitions(17), st.integers(-20, 20), st.integers(-20, 20), st.sampled_from([-3, -2, -1, 1, 2, 5]))
def test_slices_of_a_partition(parts, start, stop, step):
    selection = range(*slice(start, stop, step).indices(17))
    taken = {}
    for number, positions, offset, by in blocks.selected(parts, selection):
        for k, position in enumerate(positions):
            taken[position] = parts[number][offset + by * k]
    assert [taken[k] for k in range(len(selection))] == list(selection)


def parameters(n):
    graph = Graph(n)
    return graph, graph.leaf(("parameters", 0, (1,)), (n,))


def test_equal_expressions_are_one_node():
    graph, p = parameters(5)
    one = graph.apply("sin", graph.apply("*", p, p))
    again = graph.apply("sin", graph.apply("*", p, p))
    assert one == again
    a, b = graph.leaf(("parameter", 0), ()), graph.leaf(("parameter", 1), ())
    assert graph.apply("+", a, b) == graph.apply("+", b, a)
    assert graph.apply("-", a, b) != graph.apply("-", b, a)


def test_neutral_operands_disappear():
    graph, p = parameters(5)
    zero, one = graph.number(0.0), graph.number(1.0)
    assert graph.apply("+", p, zero) == graph.apply("*", one, p) == graph.apply("/", p, one) == p
    assert graph.apply("neg", graph.apply("neg", p)) == p
    assert graph.apply("*", p, zero) != zero  # 0 times infinity is NaN
    assert graph.apply("-", graph.number(2.0), graph.number(5.0)) == graph.number(-3.0)


def test_negative_zero_is_another_number():
    graph, _ = parameters(1)
    assert graph.number(-0.0) != graph.number(0.0)
    found = interpret.evaluate(graph, [graph.number(-0.0)], np.zeros(1), [])[0]
    assert np.signbit(found)


def test_numbers_and_constants():
    graph, _ = parameters(1)
    assert graph.nodes[graph.number(3.0)] == ("number", 3.0)
    assert graph.nodes[graph.number(0.5)] == ("number", 0.5)
    assert graph.nodes[graph.number(0.1)] == ("constant", 0)
    assert graph.number(np.nan) == graph.number(np.nan)
    assert graph.nodes[graph.number(np.inf)][0] == "constant"


def test_moved_twice_is_moved_once():
    graph, p = parameters(10)
    node = graph.apply("exp", graph.apply("*", p, graph.number(2.0)))
    inner = graph.move(node, (8,), ((1, 1, 0),))
    assert graph.move(inner, (3,), ((1, 2, 0),)) == graph.move(node, (3,), ((2, 2, 0),))
    assert graph.move(node, (), ((4, 1, None),)) == graph.move(inner, (), ((3, 1, None),))


@settings(deadline=None)
@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([slice(None), slice(1, None), slice(None, None, -1), slice(None, None, 2)])] * 3),
    st.sampled_from([(-1,), (4, -1), (2, -1), (-1, 1), (1, -1, 3)]),
)
def test_reshape_is_that_of_numpy_or_none(order, keys, shape):
    p = np.sin(np.arange(24.0))
    cut = p.reshape(2, 3, 4)[keys].transpose(order)
    try:
        expected = cut.reshape(shape)
    except ValueError:
        return
    graph, node = parameters(24)
    strides = tuple(stride // 8 for stride in cut.strides)
    offset = (cut.__array_interface__["data"][0] - p.__array_interface__["data"][0]) // 8
    node = graph.leaf(("parameters", offset, strides), cut.shape)
    found = graph.reshape(node, expected.shape)
    if found is None:
        assert not np.shares_memory(expected, p)  # NumPy could not do it either without a copy
    else:
        np.testing.assert_array_equal(interpret.evaluate(graph, [found], p, [])[0], expected)


def test_shapes_that_do_not_go_together_are_refused():
    graph, p = parameters(5)
    with pytest.raises(NotTraceable, match="shapes"):
        graph.apply("+", p, graph.move(p, (3,), ((0, 1, 0),)))


def test_contiguous_strides_are_those_of_numpy():
    for shape in ((), (5,), (2, 3), (4, 1, 3)):
        assert contiguous_strides(shape) == tuple(stride // 8 for stride in np.empty(shape).strides)


# Sizes


N = 100_000


def broyden(p):
    r = (3.0 - 2.0 * p) * p + 1.0
    r[1:] -= p[:-1]
    r[:-1] -= 2.0 * p[1:]
    return r


def rosenbrock(p):
    r = np.empty(p.size)
    r[::2] = 10.0 * (p[1::2] - p[::2] ** 2)
    r[1::2] = 1.0 - p[::2]
    return r


def collocation(p):
    y, v = p[: N // 2], p[N // 2 :]
    return np.concatenate([y[1:] - y[:-1] - 0.5 * (v[1:] + v[:-1]), [y[0] - 1.0, v[-1]]])


def powell(p):
    a, b, c, d = p[::4], p[1::4], p[2::4], p[3::4]
    return np.stack([a + 10 * b, c - d, (b - 2 * c) ** 2, (a - d) ** 2], axis=1).ravel()


@pytest.mark.parametrize("function", [broyden, rosenbrock, collocation, powell])
def test_long_slices_are_a_handful_of_nodes_and_traced_at_once(function):
    trace = trace_residual(function, N)
    assert len(trace.graph.nodes) <= 80
    assert len(trace.segments) <= 4
    seconds = []
    for _ in range(5):
        begin = perf_counter()
        trace_residual(function, N)
        seconds.append(perf_counter() - begin)
    assert min(seconds) < 5e-3
    p = np.cos(np.arange(N))
    np.testing.assert_allclose(interpret.output(trace, p), function(p), rtol=1e-13, atol=1e-13)


def store_loop(p):
    r = np.empty(p.size - 1)
    for i in range(p.size - 1):
        r[i] = p[i + 1] * p[i] - np.exp(p[0]) * T[i]
    return r


def list_loop(p):
    return [10.0 * (p[i + 1] - p[i] ** 2) for i in range(p.size - 1)]


def append_loop(p):
    rows = []
    for i in range(p.size - 1):
        rows.append(p[i] - T[i] * (i + 0.25))
    return np.array(rows)


def downward_loop(p):
    r = np.zeros(p.size - 1)
    for i in reversed(range(p.size - 1)):
        r[i] = np.sin(p[p.size - 1 - i]) - p[i]
    return r


T = np.linspace(0.0, 1.0, 200)


@pytest.mark.parametrize("function", [store_loop, list_loop, append_loop, downward_loop])
def test_a_loop_becomes_one_segment(function):
    trace = trace_residual(function, 201)
    assert len(trace.segments) == 1 and trace.segments[0].shape == (200,)
    p = np.cos(np.arange(201.0))
    np.testing.assert_allclose(interpret.output(trace, p), function(p), rtol=1e-13, atol=1e-13)


def test_alternating_rows_become_two_segments():
    def function(p):
        rows = []
        for i in range(100):
            rows += [10.0 * (p[i + 1] - p[i] ** 2), 1.0 - p[i]]
        return np.array(rows)

    trace = trace_residual(function, 101)
    assert sorted(one.strides for one in trace.segments) == [(2,), (2,)]
    p = np.cos(np.arange(101.0))
    np.testing.assert_allclose(interpret.output(trace, p), function(p), rtol=1e-13)


def test_rows_that_differ_in_a_constant_or_a_parameter_are_not_confused():
    def function(p):
        return [p[0] * 2.0, p[1] * 3.0, p[2] * p[3], p[3] * 5.0, p[4] * 7.5, p[5] * p[0], p[1] + 2.0]

    p = np.cos(np.arange(6.0))
    trace = trace_residual(function, 6)
    np.testing.assert_allclose(interpret.output(trace, p), function(p), rtol=1e-14)
    np.testing.assert_allclose(interpret.jacobian(trace, p)[2], [0, 0, p[3], p[2], 0, 0], rtol=1e-14)


def test_a_trace_is_repeatable_and_quick():
    x = np.linspace(0.0, 1.0, 100)

    def model(x, a, b, c, d):
        return a * np.exp(-(((x - b) / c) ** 2)) + d

    first = trace_model(model, x, 4)
    seconds = []
    for _ in range(200):
        begin = perf_counter()
        again = trace_model(model, x, 4)
        seconds.append(perf_counter() - begin)
    assert again.graph.nodes == first.graph.nodes
    assert min(seconds) < 400e-6  # about 35 us on an idle core


def test_empty_arrays_are_reshaped():
    from nlsq.compiler.strides import reshaped_strides

    assert reshaped_strides((3, 0), (4, 1), (0, 3)) == (0, 0)
    assert reshaped_strides((3, 4), (4, 1), (2, 6)) == (6, 1)
