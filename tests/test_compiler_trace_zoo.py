"""The whole collection of models and residuals through the tracer, values and derivatives by the numpy interpreter."""

import numpy as np
import pytest

from benchmarks.problems.model_zoo import MODEL_CASES
from benchmarks.problems.residual_zoo import NOT_TRACEABLE, RESIDUAL_CASES
from nlsq.compiler import interpret
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.trace import trace_model, trace_residual

NO_GRAPH = {"pearson4": "loggamma of complex numbers"}
STEP = 1e-4


def differences(function, p):
    """Return the Jacobian by differences of fourth order, steps relative to each parameter."""
    columns = []
    for j in range(p.size):
        h = STEP * (abs(p[j]) or 1.0)

        def at(k, j=j, h=h):
            q = p.copy()
            q[j] += k * h
            return np.asarray(function(q), dtype=float).ravel()

        columns.append((8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * h))
    return np.array(columns).T


def check(trace, function, p):
    values = np.asarray(function(p), dtype=float).ravel()
    np.testing.assert_allclose(interpret.output(trace, p), values, rtol=1e-11, atol=1e-12 * np.abs(values).max())
    jac, expected = interpret.jacobian(trace, p), differences(function, p)
    scale = np.abs(expected).max(axis=0) + 1e-9 * np.abs(values).max() / (np.abs(p) + 1e-3)
    assert np.isfinite(jac).all()
    assert (np.abs(jac - expected) <= 2e-6 * scale).all(), np.abs(jac - expected).max(axis=0) / scale


def as_floats(x):
    """Return x as a fit hands it over: floats, rows next to each other."""
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x, dtype=float)
    return type(x)(np.asarray(row, dtype=float) for row in x)


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda case: case.name)
def test_model_has_the_values_and_derivatives_of_the_function(case):
    x, p = as_floats(case.x), np.array(case.p, dtype=float)
    if case.name in NO_GRAPH:
        with pytest.raises(NotTraceable, match=NO_GRAPH[case.name]):
            trace_model(case.function, x, case.n)
        return
    check(trace_model(case.function, x, case.n), lambda q: case.function(case.x, *q), p)


@pytest.mark.parametrize("case", RESIDUAL_CASES, ids=lambda case: case.name)
def test_residual_has_the_values_and_derivatives_of_the_function(case):
    p = case.x0 * 1.01 + 0.003
    trace = trace_residual(case.function, case.n)
    assert trace.m == case.m
    check(trace, case.function, p)


# What is traced although it stands in the list: its values are right wherever a graph of data of this shape is.
RIGHT = {"minimum_of_two", "normalised_by_sum", "centred_by_mean", "running_sum", "mask_of_parameter"}


@pytest.mark.parametrize("case", NOT_TRACEABLE, ids=lambda case: case.name)
def test_what_has_no_graph_is_refused(case):
    from nlsq.compiler.clean import Unclean, examine

    def trace():
        function = case.build()
        examine(function)
        p = np.array(case.p)
        return trace_residual(function, p.size) if case.x is None else trace_model(function, case.x, p.size)

    if case.name in RIGHT:
        trace = trace()
        for factor in (1.0, 0.7, 1.6):
            p = factor * np.array(case.p)
            expected = np.asarray(case.build()(case.x, *p))
            np.testing.assert_allclose(interpret.output(trace, p), expected, rtol=1e-12, atol=1e-14)
        return
    with pytest.raises((Unclean, NotTraceable)):
        trace()
