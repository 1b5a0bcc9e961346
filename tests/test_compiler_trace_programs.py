"""Random programs of views, stores and joins: values and derivatives are those of NumPy, or the trace refuses."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.trace import trace_residual

P = np.array([0.7, -1.3, 2.1, 0.4, -0.9, 1.7, 3.2, -0.2, 0.6, 1.1, -2.4, 0.3])
Q = np.sin(1.3 * np.arange(24.0) + 0.3) + 0.1

SLICES = [
    slice(None), slice(1, None), slice(None, -1), slice(None, None, 2), slice(1, None, 3), slice(None, None, -1),
    slice(5, 1, -2), slice(2, 6), slice(-4, None), slice(3, 4),
]  # fmt: skip


def run(program, p):
    """Run a program, a list of steps (kind, i, j, k) on a list of arrays, and return all arrays."""
    arrays = [p * 1.0, np.zeros(p.size), np.empty(p.size)]
    arrays[2][:] = p[::-1]
    for kind, i, j, k in program:
        a, b = arrays[i % len(arrays)], arrays[j % len(arrays)]
        one = SLICES[k % len(SLICES)]
        if kind == "view":
            arrays.append(a[one])
        elif kind == "element" and len(a):
            a[k % len(a)] = b.sum() if b.size else 1.5
        elif kind == "number":
            a[one] = k * 0.5
        elif kind == "add" and a.shape == b.shape:
            a += b
        elif kind == "scale":
            a *= 1.0 + 0.125 * k
        elif kind == "store" and a[one].shape == b.shape:
            a[one] = b
        elif kind == "update":
            a[one] -= 0.5
        elif kind == "copy":
            arrays.append(a.copy())
        elif kind == "sum" and a.shape == b.shape:
            arrays.append(a + b)
        elif kind == "join" and a.size + b.size < 40:
            arrays.append(np.concatenate([a, b])[one])
        elif kind == "fold" and a.size % 2 == 0 and a.size:
            arrays.append(a.reshape(2, -1)[k % 2])
        elif kind == "turn" and a.size % 3 == 0 and a.size:
            arrays.append(a.reshape(3, -1).T[:, k % 3])
        elif kind == "row" and a.size % 2 == 0 and a.size:
            a.reshape(2, -1)[k % 2] = 0.25
    return np.concatenate(arrays)


KINDS = ["view", "element", "number", "add", "scale", "store", "update", "copy", "sum", "join", "fold", "turn", "row"]
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9), st.integers(0, 11))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=14))
def test_random_programs_return_what_numpy_returns(program):
    expected = run(program, P)
    try:
        trace = trace_residual(lambda p: run(program, p), P.size)
    except NotTraceable as reason:
        assert "share" in str(reason) or "joined" in str(reason)  # layouts that are not followed
        return
    np.testing.assert_allclose(interpret.output(trace, P), expected, rtol=1e-12, atol=1e-12)


PAIRS = [
    slice(None), slice(1, None), slice(None, -1), slice(None, None, 2), slice(1, None, 2), slice(None, None, -1),
    slice(-1, 0, -2), slice(0, 2), slice(1, 2),
]  # fmt: skip


def fits(a, shape):
    """Whether an array can be stored into a part of some shape."""
    return a.ndim <= len(shape) and all(m in (1, n) for m, n in zip(a.shape[::-1], shape[::-1], strict=False))


def matrices(program, p):
    """Run a program on matrices, and return all of them flat."""
    arrays = [p * 1.0, p.reshape(4, 6) * 1.0, np.zeros((4, 6)), np.full((6, 4), 0.5), np.empty((2, 3, 4))]
    arrays[4][...] = p.reshape(2, 3, 4)
    for kind, i, j, k, n in program:
        a, b = arrays[i % len(arrays)], arrays[j % len(arrays)]
        if not a.size or not b.size:
            continue
        first, second = PAIRS[k % len(PAIRS)], PAIRS[n % len(PAIRS)]
        key = (first, second)[: a.ndim] if a.ndim < 3 else (first, n % a.shape[1], second)
        done = step(kind, a, b, key, k, n)
        if done is not None and done.size < 150:
            arrays.append(done)
    return np.concatenate([a.ravel() for a in arrays])


def step(kind, a, b, key, k, n):
    """Change arrays, or return a new one."""
    if kind == "set" and fits(b, a[key].shape):
        a[key] = b
    elif kind == "number":
        a[key] = k * 0.5 - 1.0
    elif kind == "update":
        a[key] *= 1.0 + 0.1 * n
    elif kind == "add in place" and a.shape == b.shape:
        a += b
    elif kind == "mask":
        high = a > 0.2
        a[high] = a[high] * 2.0 + 1.0
    elif kind == "mask update":
        a[a < 0.0] -= 0.5
    elif kind == "element" and a.ndim == 2:
        a[k % a.shape[0], n % a.shape[1]] = b.sum()
    elif kind == "index store" and a.shape[0] > 1:
        a[[a.shape[0] - 1, 0]] = k * 0.25
    return joined(kind, a, b, k, n) if kind in JOINS else made(kind, a, key, k, n)


JOINS = ["add", "where", "stack", "concatenate", "product"]


def joined(kind, a, b, k, n):
    """Return an array made of two."""
    axis = k % a.ndim
    rest = [one.shape[:axis] + one.shape[axis + 1 :] for one in (a, b)]
    if kind == "add" and (fits(b, a.shape) or fits(a, b.shape)):
        return a + b
    if kind == "where" and a.shape == b.shape:
        return np.where(a > 0.3, a, b)
    if kind == "stack" and a.shape == b.shape and a.ndim < 3:
        return np.stack([a, b], axis=k % (a.ndim + 1))
    if kind == "concatenate" and a.ndim == b.ndim and rest[0] == rest[1]:
        return np.concatenate([a, b], axis=axis)
    if kind == "product" and a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0]:
        return a @ b
    return None


MAKERS = {
    "view": lambda a, key, k, n: a[key],
    "transpose": lambda a, key, k, n: a.T,
    "row": lambda a, key, k, n: a[k % a.shape[0]] if a.ndim > 1 else a,
    "column": lambda a, key, k, n: a[:, k % a.shape[1]] if a.ndim == 2 else a,
    "last axis": lambda a, key, k, n: a[..., k % a.shape[-1]] if a.ndim > 1 else a,
    "new axis": lambda a, key, k, n: a[None] if a.ndim < 3 else a,
    "squeeze": lambda a, key, k, n: a.squeeze() if a.size > 1 else None,
    "ravel": lambda a, key, k, n: a.ravel(),
    "flatten": lambda a, key, k, n: a.flatten(),
    "fold": lambda a, key, k, n: a.reshape(4, -1) if a.size % 4 == 0 else None,
    "fold more": lambda a, key, k, n: a.reshape(-1, 2, 3) if a.size % 6 == 0 else None,
    "copy": lambda a, key, k, n: a.copy(),
    "sum": lambda a, key, k, n: a.sum(axis=k % a.ndim) if a.ndim > 1 else None,
    "index": lambda a, key, k, n: a[[0, a.shape[0] - 1, 0]],
    "roll": lambda a, key, k, n: np.roll(a, k, axis=n % 2) if a.ndim == 2 else None,
}
CHANGES = ["set", "set", "number", "update", "add in place", "mask", "mask update", "element", "index store"]


def made(kind, a, key, k, n):
    """Return an array made of one."""
    return MAKERS[kind](a, key, k, n) if kind in MAKERS else None


NUMBERS = st.integers(0, 11)
ALL = st.tuples(st.sampled_from([*CHANGES, *JOINS, *MAKERS]), NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@settings(max_examples=300, deadline=None)
@given(st.lists(ALL, min_size=1, max_size=10))
def test_random_programs_on_matrices(program):
    expected = matrices(program, Q.copy())
    assume(np.abs(expected).max() < 1e6)
    try:
        trace = trace_residual(lambda p: matrices(program, p), Q.size)
    except NotTraceable as reason:
        assert "share" in str(reason) or "mask" in str(reason)
        return
    np.testing.assert_allclose(interpret.output(trace, Q), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(12))
def test_derivatives_of_random_programs(seed):
    random = np.random.default_rng(seed)
    kinds = [*CHANGES, *JOINS, *MAKERS]
    direction = random.normal(size=Q.size)
    compared = 0
    while compared < 5:
        program = [(kinds[random.integers(len(kinds))], *random.integers(0, 12, 4).tolist()) for _ in range(6)]
        try:
            trace = trace_residual(lambda p, program=program: matrices(program, p), Q.size)
        except NotTraceable:
            continue
        ahead, behind = (matrices(program, Q + h * direction) for h in (1e-6, -1e-6))
        slope = interpret.jacobian(trace, Q) @ direction
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6 * np.abs(ahead).max())
        compared += 1
