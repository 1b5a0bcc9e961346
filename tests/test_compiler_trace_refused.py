"""What has no graph is refused with a reason, and never recorded as something else."""

import numpy as np
import pytest

from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.stores import MOST_PARTS
from nlsq.compiler.tracing.trace import trace_model, trace_residual

X = np.linspace(-2.0, 3.0, 11)
P = np.array([0.7, -1.3, 2.1, 0.4, -0.9, 1.7, 3.2, -0.2, 0.6, 1.1, -2.4, 0.3])
T = np.linspace(0.1, 2.3, 12)


REFUSED = {
    "branch": lambda p: p if p[0] > 0.0 else -p,
    "loop_to_value": lambda p: p * len(range(int(p[2]))),
    "maximum": lambda p: p / p.max(),
    "sort": lambda p: np.sort(p),
    "index": lambda p: p[np.argmax(p)] * p,
    "text": lambda p: p * float(f"{p[0]}"),
    "text_plain": lambda p: p * len(str(p[0])),
    "hashed": lambda p: p * len({p[0]: 1}),
    "float": lambda p: p * float(p[0]),
    "single": lambda p: p.astype(np.float32),
    "unset": lambda p: np.empty(3) + p[:3],
    "unset_element": lambda p: np.array([np.empty(3)[1] * p[0]]),
    "unset_returned": lambda p: np.concatenate([np.empty(1), p]),
    "complex_returned": lambda p: p * 1j,
    "constant": lambda p: 3.0,
    "inverse": lambda p: np.linalg.inv(p[:4].reshape(2, 2)),
    "bits": lambda p: p & 3,
    "negated_truth": lambda p: p * -(p > 0.0),
    "ragged": lambda p: [p[:2], p[:3]],
    "interpolated": lambda p: np.interp(T, np.array([0.0, 1.0]), p[:2]),
    "masks_differ": lambda p: p[p > 0.0] + p[p > 1.0],
    "mask_length": lambda p: p * len(p[p > 0.0]),
    "where_alone": lambda p: p[np.where(p > 0.0)],
    "small_integers": lambda p: p.astype(np.int8),
    "out": lambda p: np.add(p, p, out=np.zeros(12)),
    "deep": lambda p: (lambda f: f(f, p))(lambda f, q: f(f, q + 1.0)),
    "nothing": lambda p: None,
    "no_such_index": lambda p: p[12],
    "shapes": lambda p: p[:3] + p[:4],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_graph_is_refused_with_a_reason(name):
    with pytest.raises(NotTraceable) as caught:
        trace_residual(REFUSED[name], 12)
    assert len(str(caught.value)) > 10


def test_x_that_is_no_array_of_floats_is_refused():
    for x in (np.arange(3), np.array([1.0, 2.0], dtype=np.float32), [1.0, X], np.zeros((20, 20)), np.ma.array(X)):
        with pytest.raises(NotTraceable, match="x "):
            trace_model(lambda x, a: a * x[0], x, 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda p: p * p.sum(initial=True),
        lambda p: p * np.sum(p, dtype=int),
        lambda p: p * np.add.reduce(p, initial=3.0),
        lambda p: p * np.sum(p, where=p > 0.0),
        lambda p: p * np.linalg.norm(p, np.inf),
        lambda p: np.exp(p, where=p > 0.0),
        lambda p: np.exp(p, dtype=np.float32),
        lambda p: np.add.at(p * 1.0, [0], 1.0),
        lambda p: p.reshape(3, 4, order="F"),
        lambda p: np.array(p, dtype=np.float32) * 1.0,
        lambda p: np.zeros(12, dtype=int) + np.asarray(p, dtype=int),
        lambda p: p * np.float32(0.1),
    ],
)
def test_options_that_change_the_result_are_refused(function):
    with pytest.raises(NotTraceable):
        trace_residual(function, 12)


@pytest.mark.parametrize(
    "function",
    [
        lambda p: p * p.sum(keepdims=True) + np.sum(p, out=None, dtype=None),
        lambda p: p.reshape((3, 4), order="C").sum(axis=(0, 1)) * p,
        lambda p: np.array(p, dtype=float, copy=True, ndmin=1),
        lambda p: np.zeros(12, dtype=float) + np.asarray(p, dtype="f8"),
        lambda p: np.asarray([p[0], 2, True], dtype=float) * p[1],
        lambda p: np.add(p, 1.0, out=None),
    ],
)
def test_options_that_change_nothing_are_followed(function):
    expected = np.asarray(function(P)).ravel()
    np.testing.assert_allclose(interpret.output(trace_residual(function, 12), P), expected, rtol=1e-14)


def test_the_function_is_called_again_only_where_it_reads_arrays():
    calls = []

    def alone(p):
        calls.append(1)
        return np.sort(p)

    def with_data(p):
        calls.append(1)
        return np.sort(p) * T

    for function, expected in ((alone, 1), (with_data, 2)):
        calls.clear()
        with pytest.raises(NotTraceable, match="sort"):
            trace_residual(function, 12)
        assert len(calls) == expected


def test_what_a_function_raises_is_the_reason():
    def function(p):
        raise KeyError("no such sample")

    with pytest.raises(NotTraceable, match="KeyError: 'no such sample'"):
        trace_residual(function, 12)


ROWS = np.array([T, T**2])


@pytest.mark.parametrize(
    ("function", "x", "reason"),
    [
        (lambda x, a, b: np.column_stack([a * x[0], b * x[1]]), ROWS, "2 variables with 12 values each it makes 24"),
        (lambda x, a, b: np.concatenate([a * x[0], b * x[1]]), (T, T**2), "it makes 24"),
        (lambda x, a, b: np.sum(a * x[0] + b * x[1]), ROWS, "2 variables with 12 values each it makes 1"),
        (lambda x, a, b: a * x[:, 0] + b * x[:, 1], ROWS.T.copy(), "12 variables with 2 values each it makes 12"),
        (lambda x, a, b: a * x[0] + b, (T, T[:5]), "not vectors of one length"),
        (lambda x, a, b: a * x[0][0] + b, (ROWS, ROWS), "not vectors of one length"),
    ],
)
def test_rows_of_x_have_as_many_values_as_there_are_outputs(function, x, reason):
    with pytest.raises(NotTraceable, match=reason):
        trace_model(function, x, 2)


def test_an_interrupt_passes():
    def function(p):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace_residual(function, 12)


def test_long_loops_of_single_stores_are_given_up_early():
    def residual(x):
        out = np.empty(3 * MOST_PARTS)
        for i in range(3 * MOST_PARTS):
            out[i] = x[i] - 1.0
        return out

    with pytest.raises(NotTraceable, match="stores more than"):
        trace_residual(residual, 3 * MOST_PARTS)
