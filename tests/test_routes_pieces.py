"""Residuals whose graph falls into very many pieces: called rather than compiled, and their pattern still read off."""

import numpy as np
import pytest

import nlsq
from nlsq.compiler import routes
from nlsq.derivatives.detection import pattern_from_graph
from nlsq.kernels.backend import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """No function is known, and graphs that hold for one call are worth it, as they are with 2000 residuals."""
    routes.forget()
    monkeypatch.setattr(routes, "WORTH_TRACING_ANEW", 0)
    yield
    routes.forget()


def gathered(n, where):
    def residual(x):
        return np.concatenate([x - 1.0, np.exp(0.1 * x[where]) - 1.0])

    return residual


def irregular(n, k):
    return np.sort(np.random.default_rng(0).permutation(n)[:k])


@pytest.mark.parametrize(("most", "is_compiled"), [(7, True), (6, False)])
def test_an_index_array_without_order(most, is_compiled, monkeypatch):
    """Six single elements are six pieces, beside the one of the first part."""
    n, where = 240, np.array([3, 9, 10, 77, 140, 200])
    monkeypatch.setattr(routes, "MOST_PIECES", most)
    residual = gathered(n, where)
    problem = nlsq.LeastSquaresProblem(residual, np.full(n, 2.0), sparsity="auto")
    assert nlsq.solve(problem).converged
    assert problem.use_kernels() == is_compiled
    assert ("falls into 7 pieces" in routes.route_of(residual, "residual").reason) != is_compiled


def test_its_pattern_is_read_off_the_graph():
    n, where = 900, irregular(900, 400)
    pattern = pattern_from_graph(gathered(n, where), n)
    np.testing.assert_array_equal(pattern.by_rows()[1], np.concatenate([np.arange(n), where]))


def test_long_sums_count_by_their_operations(monkeypatch):
    n, where = 240, irregular(240, 30)
    monkeypatch.setattr(routes, "MOST_NODES", 50)

    def residual(x):
        return np.concatenate([x - 1.0, [np.sum(x[where])]])

    assert nlsq.solve(nlsq.LeastSquaresProblem(residual, np.full(n, 2.0))).converged
    assert "operations in all" in routes.route_of(residual, "residual").reason


def test_those_of_a_progression_are_one(monkeypatch):
    monkeypatch.setattr(routes, "MOST_PIECES", 2)
    residual = gathered(300, np.arange(1, 300, 3))
    problem = nlsq.LeastSquaresProblem(residual, np.full(300, 2.0), sparsity="auto")
    assert nlsq.solve(problem).converged and problem.use_kernels()


def test_what_the_user_compiles_is_compiled(monkeypatch):
    monkeypatch.setattr(routes, "MOST_PIECES", 3)
    residual = nlsq.compile(gathered(240, np.array([3, 9, 10, 77, 140])), kind="residual")
    problem = nlsq.LeastSquaresProblem(residual, np.full(240, 2.0))
    assert nlsq.solve(problem).converged
    assert not any("pieces" in text for text in problem.fallbacks)
