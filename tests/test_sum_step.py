"""The Levenberg-Marquardt step on sums: alone, on floats, with sums taken by NumPy."""

import itertools
import math

import numpy as np
import pytest

from nlsq.kernels import sum_step
from nlsq.kernels.backend.program import Place, Program
from nlsq.kernels.backend.recording import Recorder
from nlsq.status import Status

OPTIONS = [1e-12, 1e-10, 1e-10, 400.0, 200.0]
TIGHT = [1e-15, 1e-13, 1e-13, 400.0, 200.0]


def sums_of(residual, jacobian, p, rho=None):
    """Return cost, gradient and packed normal matrix, as a batch kernel would."""
    r, J = residual(p), jacobian(p)
    N = J.T @ J
    n = len(p)
    return float(0.5 * r @ r), [float(g) for g in J.T @ r], [float(N[i, j]) for i in range(n) for j in range(i + 1)]


def minimise(residual, jacobian, start, options=OPTIONS, bounds=None):
    """Run to the end; return the last state and all trial points with their costs."""
    trial, state, path = [float(one) for one in start], None, []
    state = sum_step.first_state(list(trial))
    while not state.scalars[sum_step.STATUS]:
        sums = sums_of(residual, jacobian, np.array(trial))
        path.append((list(trial), sums[0]))
        trial, state = sum_step.advance(trial, sums, state, options, bounds)
        assert len(path) < 1000
    return state, path


def status_of(state):
    return Status(int(state.scalars[sum_step.STATUS]))


X = np.linspace(-3.0, 3.0, 40)
TRUTH = np.array([2.0, 0.3, 0.8, 0.5])


def gaussian(p):
    return p[0] * np.exp(-0.5 * ((X - p[1]) / p[2]) ** 2) + p[3]


def gaussian_jacobian(p):
    e = np.exp(-0.5 * ((X - p[1]) / p[2]) ** 2)
    u = (X - p[1]) / p[2]
    return np.column_stack([e, p[0] * e * u / p[2], p[0] * e * u * u / p[2], np.ones_like(X)])


DATA = gaussian(TRUTH) + 0.05 * np.cos(7.0 * np.arange(X.size))


def noisy(p):
    return gaussian(p) - DATA


@pytest.mark.parametrize("start", [[1.5, 0.0, 1.0, 0.0], [4.0, 1.0, 0.4, 1.0], [0.5, -0.5, 2.0, 0.2]])
def test_it_finds_the_minimum_that_scipy_finds(start):
    from scipy.optimize import least_squares

    state, _ = minimise(noisy, gaussian_jacobian, start)
    best = least_squares(noisy, start, gaussian_jacobian, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15)
    assert status_of(state).converged
    np.testing.assert_allclose(np.abs(state.x), np.abs(best.x), rtol=1e-7)  # the sign of the width is free
    assert state.scalars[sum_step.COST] == pytest.approx(best.cost, rel=1e-13)


def test_the_cost_never_rises_on_an_accepted_step():
    start = [4.0, 1.5, 0.3, 1.0]
    trial, state = list(start), sum_step.first_state(list(start))
    costs = []
    while not state.scalars[sum_step.STATUS]:
        trial, state = sum_step.advance(trial, sums_of(noisy, gaussian_jacobian, np.array(trial)), state, OPTIONS)
        costs.append(state.scalars[sum_step.COST])
    assert len(costs) > 4
    assert all(b <= a * (1.0 + 1e-15) for a, b in itertools.pairwise(costs))


def test_it_converges_quadratically_on_exact_data():
    exact = gaussian(TRUTH)
    state, path = minimise(lambda p: gaussian(p) - exact, gaussian_jacobian, [1.5, 0.2, 1.0, 0.4])
    assert status_of(state).converged
    np.testing.assert_allclose(state.x, TRUTH, rtol=1e-12)
    assert len(path) < 12


def test_rosenbrock():
    state, _ = minimise(
        lambda p: np.array([10.0 * (p[1] - p[0] ** 2), 1.0 - p[0]]),
        lambda p: np.array([[-20.0 * p[0], 10.0], [-1.0, 0.0]]),
        [-1.2, 1.0],
    )
    assert status_of(state).converged
    np.testing.assert_allclose(state.x, [1.0, 1.0], rtol=1e-9)


def test_a_step_that_damping_cut_short_is_no_convergence():
    """p - 3 from 1e-9 under a damping that lets it creep: only the whole step may end the fit."""
    residual, jacobian = (lambda p: p - 3.0), (lambda p: np.ones((1, 1)))
    start = [1e-9]
    state = sum_step.first_state(list(start))
    state.scalars[sum_step.DAMPING] = 1e9
    trial = list(start)
    loose = [1e-3, 1e-3, 0.0, 400.0, 200.0]
    while not state.scalars[sum_step.STATUS]:
        trial, state = sum_step.advance(trial, sums_of(residual, jacobian, np.array(trial)), state, loose)
    assert status_of(state).converged
    assert state.x[0] == pytest.approx(3.0, rel=1e-3)


def test_the_start_may_be_the_minimum():
    best, _ = minimise(noisy, gaussian_jacobian, TRUTH, TIGHT)
    state, path = minimise(noisy, gaussian_jacobian, best.x, [1e-12, 1e-10, 1e-8, 400.0, 200.0])
    assert status_of(state) is Status.OPTIMALITY
    assert len(path) == 1
    assert state.scalars[sum_step.NIT] == 0


def test_a_start_without_a_finite_cost_is_said_to_be_so():
    state, path = minimise(lambda p: p * math.inf, lambda p: np.ones((1, 1)), [1.0])
    assert status_of(state) is Status.NONFINITE_START
    assert len(path) == 1
    assert state.x == [1.0]


def test_a_derivative_that_is_not_finite_is_hard():
    state, _ = minimise(lambda p: p, lambda p: np.full((1, 1), np.nan), [1.0])
    assert status_of(state) is Status.STALLED


def test_trial_points_without_values_are_stepped_back_from():
    """log p from far out: the undamped step leads to negative p, where there is no value."""
    with np.errstate(invalid="ignore"):
        state, path = minimise(lambda p: np.log(p), lambda p: np.diag(1.0 / p), [30.0])
    assert any(not math.isfinite(cost) for _, cost in path)
    assert status_of(state).converged
    assert state.x[0] == pytest.approx(1.0, rel=1e-9)


def test_limits():
    state, path = minimise(noisy, gaussian_jacobian, [4.0, 1.5, 0.3, 1.0], [0.0, 0.0, 0.0, 3.0, 200.0])
    assert status_of(state) is Status.MAX_EVALUATIONS
    assert len(path) == 3 == state.scalars[sum_step.NFEV]
    state, path = minimise(noisy, gaussian_jacobian, [4.0, 1.5, 0.3, 1.0], [0.0, 0.0, 0.0, 400.0, 4.0])
    assert status_of(state) is Status.STALLED
    assert len(path) == 4


def test_an_undamped_step_with_dependent_parameters_is_hard():
    state = sum_step.first_state([0.0, 0.0])
    state.scalars[sum_step.DAMPING] = 0.0
    sums = sums_of(lambda p: (p[0] + p[1] - 2.0) * X - 0.1, lambda p: np.column_stack([X, X]), np.zeros(2))
    _, state = sum_step.advance([0.0, 0.0], sums, state, OPTIONS)
    assert status_of(state) is Status.STALLED


def test_a_parameter_without_any_effect_is_hard():
    sums = sums_of(lambda p: p[0] * X - 0.1, lambda p: np.column_stack([X, 0.0 * X]), np.ones(2))
    _, state = sum_step.advance([1.0, 1.0], sums, sum_step.first_state([1.0, 1.0]), OPTIONS)
    assert status_of(state) is Status.STALLED


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([-9.0, -9.0, 0.1, 0.6], [9.0] * 4),
        ([-9.0, -9.0, 0.1, -9.0], [1.7, 9.0, 9.0, 9.0]),
        ([-9.0, 0.5, 0.1, -9.0], [9.0, 9.0, 9.0, 0.2]),
        ([-9.0, 0.1, 0.1, -9.0], [9.0, 0.1, 9.0, 9.0]),
    ],
)
def test_bounds(lower, upper):
    from scipy.optimize import least_squares

    start = np.clip([1.5, 0.1, 1.0, 0.4], lower, upper)
    state, path = minimise(noisy, gaussian_jacobian, start, OPTIONS, (lower, upper))
    assert all(low <= p <= high for point, _ in path for p, low, high in zip(point, lower, upper, strict=True))
    assert status_of(state).converged
    wide = np.array(upper) + np.where(np.equal(lower, upper), 1e-13, 0.0)
    best = least_squares(noisy, np.clip(start, lower, wide), bounds=(lower, wide), ftol=1e-15, xtol=1e-15, gtol=1e-15)
    assert state.scalars[sum_step.COST] == pytest.approx(best.cost, rel=1e-9)


def test_a_parameter_without_effect_because_another_is_at_its_bound_is_held():
    """The rate of a decay whose height is held at zero by its bound."""
    y = -0.2 + 0.01 * X
    state, _ = minimise(
        lambda p: p[0] * np.exp(-p[1] * X) + p[2] - y,
        lambda p: np.column_stack([np.exp(-p[1] * X), -p[0] * X * np.exp(-p[1] * X), np.ones_like(X)]),
        [0.1, 0.2, 0.1],
        OPTIONS,
        ([0.0, 0.0, -9.0], [9.0, 1.0, 9.0]),
    )
    assert status_of(state).converged
    assert state.x[0] == 0.0
    assert state.normal[2] == 0.0


def test_sizes_of_a_robust_loss_damp_where_its_curvature_vanishes():
    """With N next to nothing and a gradient that is not, damping by N alone would take ever larger steps."""
    cost, gradient, normal = 10.0, [-1.0], [1e-16]
    start = sum_step.first_state([0.0])
    trial, _ = sum_step.advance([0.0], (cost, gradient, normal, [4.0]), start, OPTIONS)
    assert trial[0] == pytest.approx(1.0 / (1e-16 + sum_step.FIRST_DAMPING * 4.0))
    alone, _ = sum_step.advance([0.0], (cost, gradient, normal), sum_step.first_state([0.0]), OPTIONS)
    assert alone[0] > 1e10


# The same source as statements


OPERATIONS = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "!=": lambda a, b: a != b, "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "neg": lambda a: -a, "abs": abs, "sqrt": math.sqrt, "where": lambda c, a, b: a if c else b,
}  # fmt: skip


def run_statements(program, given):
    values = dict(given)
    for step in program.steps:
        operands = [values[one] if isinstance(one, str) else one for one in step.operands]
        if step.operation == "read":
            continue
        values[step.name] = OPERATIONS[step.operation](*operands)
    return values


@pytest.mark.parametrize("bounded", [False, True])
def test_symbols_write_the_same_step(bounded):
    n = 4
    program = Program("step")
    recorder = Recorder(program, "s")
    read = lambda array, count: [recorder.read(Place(array, k)) for k in range(count)]
    trial, gradient, normal = read("t", n), read("g", n), read("n", n * (n + 1) // 2)
    (cost,), options, values = read("c", 1), read("o", 5), read("s", sum_step.state_size(n))
    bounds = (read("l", n), read("u", n)) if bounded else None
    names = [one.name for one in (*trial, *gradient, *normal, cost, *options, *values)]
    names += [one.name for part in bounds or () for one in part]
    following, after = sum_step.advance(trial, (cost, gradient, normal), sum_step.unpacked(n, values), options, bounds)

    limits = ([-9.0, -9.0, 0.1, -9.0], [1.7, 9.0, 9.0, 9.0]) if bounded else None
    at, state = [1.5, 0.0, 1.0, 0.0], sum_step.first_state([1.5, 0.0, 1.0, 0.0])
    for _ in range(6):
        c, g, N = sums_of(noisy, gaussian_jacobian, np.array(at))
        given = [*at, *g, *N, c, *OPTIONS, *sum_step.packed(state), *(limits[0] + limits[1] if bounded else [])]
        found = run_statements(program, dict(zip(names, given, strict=True)))
        at, state = sum_step.advance(at, (c, g, N), state, OPTIONS, limits)
        assert [found[one.name] for one in following] == at
        packed = [one if isinstance(one, float) else found[one.name] for one in sum_step.packed(after)]
        assert packed == sum_step.packed(state)
        assert not state.scalars[sum_step.STATUS] or status_of(state).converged
