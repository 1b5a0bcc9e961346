"""What counts as agreement of a graph with its function: rows beside larger ones, samples of rows, vanishing rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes
from nlsq.solvers.traced import agrees, same_values

MANY = 150_000
X = np.linspace(0.0, 1.0, MANY)
Z = np.sin(np.arange(MANY))


@pytest.mark.parametrize(
    "model",
    [
        lambda x, a, b: a * x * Z + b,
        lambda x, a, b: a * (x - x.mean()) + b,
        lambda x, a, b: a * x * (len(x) / 1000) + b,
        lambda x, a, b: a * x[::-1] + b,
    ],
    ids=["an array beside x", "mean", "length", "reversed"],
)
def test_models_of_very_many_points_are_called_on_all_of_them(model):
    y = model(X, 2.0, 0.5) + 1e-3 * np.cos(np.arange(MANY))
    params, _ = nlsq.curve_fit(model, X, y, (1.0, 1.0))
    assert_allclose(params, (2.0, 0.5), rtol=1e-3)
    route = routes.route_of(model, "model")
    assert route.latest is not None and not route.reason


class Kernels:
    """Stands for kernels that compute something else."""

    def __init__(self, function, recorded):
        from nlsq.problem.traced import traced_residual

        route = routes.route_of(recorded, "residual")
        self.binding = traced_residual(route.latest, recorded).binding
        self.m, self.function = self.binding.m, function

    def into(self, p, out):
        out[:] = self.function(p)


def test_small_rows_beside_large_ones_are_compared():
    t = np.linspace(1.0, 2.0, 5)

    def residual(p):
        return np.concatenate([1e14 * (p[0] * t - 1.0), p[1] * t - 0.5])

    nlsq.least_squares(residual, np.array([1.0, 1.0]))
    point = np.array([1.0, 0.4])
    off = np.repeat([0.0, 0.1], 5)
    assert agrees(Kernels(residual, residual), residual, point)
    assert not agrees(Kernels(lambda p: residual(p) + off, residual), residual, point)


def test_infinities_and_nan_are_told_apart():
    kinds = [np.array([1.0, one]) for one in (np.nan, np.inf, -np.inf)]
    for i, ours in enumerate(kinds):
        for j, theirs in enumerate(kinds):
            assert same_values(ours, theirs, [], 0.0) == (i == j)


def test_parameters_of_rounding_size_are_compared_beside():
    t = np.linspace(0.1, 1.0, 7)

    def residual(p):
        return (p[0] + t) - t

    nlsq.least_squares(residual, np.array([1.0]))
    other = Kernels(lambda p: p[0] + t * 0.0 + 1e-16, residual)
    assert agrees(other, residual, np.array([1e-17]))


def test_parameters_of_tiny_units_are_not_stepped_out_of_the_domain():
    nu = np.linspace(1e13, 1e15, 60)
    f = lambda nu, a, h: a * np.expm1(h * nu / 4e-21)
    y = f(nu, 2.0, 6.6e-34)
    for _ in range(3):
        assert_allclose(nlsq.curve_fit(f, nu, y, [1.0, 5e-34])[0], [2.0, 6.6e-34], rtol=1e-6)
    route = routes.route_of(f, "model")
    assert route.latest is not None and not route.reason


def test_rounding_of_a_stencil_near_its_root_is_no_disagreement():
    n = 3000
    h = 1.0 / (n + 1)
    truth = np.sin(np.pi * np.linspace(h, 1.0 - h, n))

    def left(u):
        padded = np.zeros(n + 2)
        padded[1:-1] = u
        return (2.0 * padded[1:-1] - padded[2:] - padded[:-2]) / h**2 + np.exp(u)

    right = left(truth)
    problem = nlsq.LeastSquaresProblem(lambda u: left(u) - right, 0.9 * truth, sparsity="auto")
    result = nlsq.solve(problem)
    np.testing.assert_allclose(result.x, truth, atol=1e-7)
    assert not any("plainly" in text for text in result.fallbacks)
