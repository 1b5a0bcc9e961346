"""Graphs of traced functions: how many operations derivatives take, and how fast a large sparse residual is.

A gradient by reverse mode takes a small multiple of the operations of the value, whatever the number of parameters; an
expression that is differentiated as text grows with their square. What is counted are the nodes of the graph that are
no parameters, data or numbers.
"""

import numpy as np

from .compare import interleaved
from .problems import equation_residuals
from .rows import Row, Section, share_row

__all__ = ["FUNCTIONS", "SLICES", "counts", "evaluation_of", "operations_section", "slices_section"]

SIZES = (5, 20, 100, 500)
LAYERS = 12
MOST = 5.0  # times the operations of the value
LINEAR = 1.5  # how much operations per parameter may differ between sizes
EQUATIONS = 100_000


def product(x, *p):
    """Return x p_1 p_2 ... p_n."""
    value = x
    for one in p:
        value = value * one
    return value


def composition(x, *p):
    """Return the sum of twelve layers v_i <- sin(v_i) v_{i-1}, each of n values."""
    v = list(p)
    for _ in range(LAYERS):
        v = [np.sin(v[i]) * v[i - 1] for i in range(len(v))]
    total = x
    for one in v:
        total = total + one
    return total


FUNCTIONS = {"product of n parameters": product, "12 layers of n values": composition}


def chained_rosenbrock(p):
    """Return 10 (p_{i+1} - p_i^2) and 1 - p_i, one after the other."""
    return np.concatenate([10.0 * (p[1:] - p[:-1] ** 2), 1.0 - p[:-1]])


# Systems of equations written with slices, and the time that residual and Jacobian may take over the residual's alone
SLICES = {
    "broyden_tridiagonal": (equation_residuals.broyden_tridiagonal, 0.6),
    "broyden_concatenated": (equation_residuals.broyden_concatenated, None),
    "extended_rosenbrock": (equation_residuals.extended_rosenbrock, None),
    "chained_rosenbrock": (chained_rosenbrock, None),
    "collocation": (equation_residuals.collocation, None),
}


def counts(function, n):
    """Return the operations of a value, and of a value with its derivatives by n parameters."""
    from nlsq.compiler.differentiate import derivatives, operations
    from nlsq.compiler.tracing.trace import trace_model

    trace = trace_model(function, np.linspace(0.5, 1.5, 8), n)
    (root,) = (segment.node for segment in trace.segments)
    gradient = list(derivatives(trace.graph, root).values())
    return operations(trace.graph, [root]), operations(trace.graph, [root, *gradient])


def operations_section(quick=False):
    """Count operations of values and gradients."""
    rows = []
    for name, function in FUNCTIONS.items():
        found = {n: counts(function, n) for n in SIZES[: 2 if quick else None]}
        each = ", ".join(f"n = {n}: {both} / {value} = {both / value:.2f}" for n, (value, both) in found.items())
        per_parameter = [both / n for n, (_, both) in found.items()]
        is_small = all(both <= MOST * value for value, both in found.values())
        is_linear = max(per_parameter) <= LINEAR * min(per_parameter)
        rows.append(
            Row(
                what=f"{name}: operations of value and gradient over the value's",
                peer="-",
                required=f"<= {MOST:g} x, linear in n",
                measured=each,
                met=is_small and is_linear,
            )
        )
    return Section(title="Size of derivatives", rows=rows)


def evaluation_of(name, n=EQUATIONS):
    """Return a call of residual and sparse Jacobian together, one of the NumPy residual, and a point.

    Raises
    ------
    AssertionError
        If the two residuals differ.
    """
    import nlsq
    from nlsq.fitting.evaluation import SparseEvaluation

    function, _ = SLICES[name]
    evaluation = SparseEvaluation(nlsq.compile(function, kind="residual", n=n).entry(n=n))
    p = np.sin(np.arange(float(n)))
    evaluation.into(p)
    np.testing.assert_allclose(evaluation.residual, function(p), rtol=1e-12, atol=1e-12)
    return lambda: evaluation.into(p), lambda: function(p), evaluation


def slices_section(quick=False):
    """Time residual and sparse Jacobian together against the NumPy residual alone."""
    n, rows = 1000 if quick else EQUATIONS, []
    for name, (_, limit) in SLICES.items():
        ours, peer, evaluation = evaluation_of(name, n)
        ratio = interleaved(ours, peer, pairs=3 if quick else 51)
        what = f"{name}, n = {n}, residual and {evaluation.values.size} values of J over the NumPy residual"
        rows.append(share_row(what, ratio, limit, peer="NumPy residual"))
    return Section(title="Sparse residuals by slices (our CPU time / NumPy's)", rows=rows)
