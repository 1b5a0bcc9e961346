"""Optimal control: Riccati recursions against dense algebra, problems against other solvers, controllers in loops."""

import gc
import tracemalloc

import numpy as np
import pytest
from scipy.linalg import block_diag, solve_discrete_are
from scipy.optimize import NonlinearConstraint, lsq_linear, minimize

import nlsq
from nlsq.compiler import stage_source
from nlsq.kernels.backend import compile_disabled, handle
from nlsq.kernels.optimal_control import riccati
from nlsq.kernels.optimal_control import stage_layout as layout
from nlsq.problem.stage_functions import rk4
from nlsq.solvers.optimal_control.stage_workspace import StageWorkspace, row_of

compiled = pytest.mark.skipif(compile_disabled(), reason="measures compiled code")

# The Riccati recursion


def random_stages(stages, nx, nu, seed):
    rng = np.random.default_rng(seed)
    dynamics = rng.standard_normal((stages, nx, nu + nx)) / np.sqrt(nx)
    hessians = []
    for k in range(stages + 1):
        root = rng.standard_normal((nu + nx, nu + nx))
        if k == stages:
            root[:, :nu] = 0.0
        hessians.append(root.T @ root)
    return dynamics, hessians, rng.standard_normal((stages, nx)), rng.standard_normal((stages + 1, nu + nx))


def dense_solution(dynamics, hessians, offsets, gradients, first):
    """Solve the KKT system of all stages at once; return steps (stages + 1, nu + nx) and costates (stages + 1, nx)."""
    stages, nx, nz = dynamics.shape
    nu = nz - nx
    n = (stages + 1) * nz
    constraints, right = np.zeros(((stages + 1) * nx + nu, n)), np.zeros((stages + 1) * nx + nu)
    constraints[:nx, nu:nz] = -np.eye(nx)
    right[:nx] = -first
    for k in range(stages):
        rows = slice((k + 1) * nx, (k + 2) * nx)
        constraints[rows, k * nz : (k + 1) * nz] = dynamics[k]
        constraints[rows, (k + 1) * nz + nu : (k + 2) * nz] = -np.eye(nx)
        right[rows] = -offsets[k]
    constraints[(stages + 1) * nx :, stages * nz : stages * nz + nu] = np.eye(nu)  # the last stage has no control
    zero = np.zeros((len(right), len(right)))
    matrix = np.block([[block_diag(*hessians), constraints.T], [constraints, zero]])
    solution = np.linalg.solve(matrix, np.concatenate([-gradients.ravel(), right]))
    return solution[:n].reshape(stages + 1, nz), solution[n : n + (stages + 1) * nx].reshape(stages + 1, nx)


def view(space, place, rows):
    start = int(space.iw[place])
    return space.w[start : start + rows * space.lead].reshape(rows, space.lead)


@pytest.mark.parametrize(("stages", "nx", "nu"), [(7, 4, 1), (5, 3, 2), (1, 1, 1), (12, 2, 5), (4, 13, 3)])
def test_riccati_is_the_dense_solution(stages, nx, nu):
    nz, row = nx + nu, row_of(nx + nu)
    dynamics, hessians, offsets, gradients = random_stages(stages, nx, nu, seed=stages)
    gradients[stages, :nu] = 0.0
    nothing = np.full((nz, stages + 1), np.inf)
    space = StageWorkspace(stages, nx, nu, -nothing, nothing)
    blocks = space.w[space.iw[layout.BLOCKS] :]
    diagonals = np.random.default_rng(1).random((nz, stages + 1))
    for k in range(stages + 1):
        block = blocks[k * space.iw[layout.BLOCK] :][: space.iw[layout.BLOCK]].reshape(nx + nz, row)
        if k < stages:
            block[:nx, :nz] = dynamics[k]
        block[nx:, :nz] = hessians[k]
    work = view(space, layout.WORK, 2 * nz + nx)
    work[:nz, : stages + 1], work[nz : 2 * nz, : stages + 1] = gradients.T, diagonals
    work[2 * nz :, :stages] = offsets.T
    first = np.arange(1.0, nx + 1.0)
    space.step[nu:, 0] = first
    pointers = [handle(space.w[space.iw[place] :]) for place in (layout.BLOCKS, layout.WORK, layout.FACTORS)]
    arguments = pointers[0], int(space.iw[layout.SELF]), pointers[1], pointers[2]
    assert riccati.factorise.entry()(*arguments) == 0
    riccati.substitute.entry()(*arguments)
    costates = view(space, layout.COSTATES, nx)
    slope = handle(space.w[space.iw[layout.WORK] + (2 * nz + 2 * nx) * space.lead :])
    step, out = (handle(space.w[space.iw[place] :]) for place in (layout.DZ, layout.COSTATES))
    riccati.find_costates.entry()(space.handles[1], pointers[2], slope, step, out)
    with_diagonal = [hessian + np.diag(diagonals[:, k]) for k, hessian in enumerate(hessians)]
    steps, multipliers = dense_solution(dynamics, with_diagonal, offsets, gradients, first)
    np.testing.assert_allclose(space.step[:, :stages].T, steps[:-1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(space.step[nu:, stages], steps[-1, nu:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(costates[:, : stages + 1].T, multipliers, rtol=1e-8, atol=1e-8)


# Linear problems

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([0.005, 0.1])


def linear(x, u):
    return A @ x + B * u[0]


def linear_cost(x, u):
    return np.concatenate([x, 0.1 * u])


def final_cost(x):
    return 3.0 * x


def double_integrator(stages=20, **keywords):
    return nlsq.OptimalControl(linear, linear_cost, final_cost, stages=stages, states=2, controls=1, **keywords)


def test_endless_regulator_from_the_discrete_riccati_equation():
    weight = solve_discrete_are(A, B[:, None], np.eye(2), np.array([[0.01]]))
    root = np.linalg.cholesky(weight).T
    gain = np.linalg.solve(0.01 + B @ weight @ B * np.ones((1, 1)), (B @ weight @ A)[None])
    problem = nlsq.OptimalControl(linear, linear_cost, lambda x: root @ x, stages=5, states=2, controls=1)
    x0 = np.array([1.0, -0.5])
    result = problem.solve(x0)
    assert result.status is nlsq.Status.OPTIMALITY
    np.testing.assert_allclose(result.controls[0], -gain @ x0, rtol=1e-10)
    assert result.cost == pytest.approx(0.5 * x0 @ weight @ x0, rel=1e-10)
    np.testing.assert_allclose(result.multipliers.dynamics[0], weight @ x0, rtol=1e-8)  # derivative of the cost by x0


def condensed(x0, stages):
    """Return residual matrix and right side in the controls alone."""

    def residual(u):
        x, parts = x0, []
        for k in range(stages):
            parts.append(linear_cost(x, u[k : k + 1]))
            x = linear(x, u[k : k + 1])
        return np.concatenate([*parts, final_cost(x)])

    at_zero = residual(np.zeros(stages))
    return np.array([residual(e) - at_zero for e in np.eye(stages)]).T, -at_zero


def test_bounds_on_controls_as_bounded_least_squares():
    x0, stages = np.array([2.0, 0.5]), 20
    result = double_integrator(control_bounds=(-1.0, [0.7])).solve(x0)
    matrix, right = condensed(x0, stages)
    expected = lsq_linear(matrix, right, (-1.0, 0.7), tol=1e-14)
    assert result.converged
    assert np.sum(expected.active_mask != 0) > 3
    np.testing.assert_allclose(result.controls[:, 0], expected.x, atol=1e-6)
    assert result.cost == pytest.approx(expected.cost, rel=1e-9)
    gradient = matrix.T @ (matrix @ result.controls[:, 0] - right)
    of_bounds = result.multipliers.control_lower - result.multipliers.control_upper
    np.testing.assert_allclose(of_bounds[:, 0], gradient, atol=1e-5)


def test_bounds_on_states_as_slsqp():
    x0, stages = np.array([2.0, 0.0]), 12
    result = double_integrator(stages, state_bounds=([-np.inf, -0.8], np.inf)).solve(x0)
    matrix, right = condensed(x0, stages)

    def speeds(u):
        return x0[1] + 0.1 * np.cumsum(u)

    expected = minimize(
        lambda u: 0.5 * np.sum((matrix @ u - right) ** 2),
        np.zeros(stages),
        jac=lambda u: matrix.T @ (matrix @ u - right),
        constraints={"type": "ineq", "fun": lambda u: speeds(u) + 0.8},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert result.converged
    assert np.sum(result.multipliers.state_lower[:, 1] > 1e-3) > 3
    np.testing.assert_allclose(result.controls[:, 0], expected.x, atol=1e-4)
    assert result.cost == pytest.approx(expected.fun, rel=1e-7)
    assert result.states[1:, 1].min() >= -0.8


def test_free_controls_that_cost_nothing():
    result = nlsq.OptimalControl(linear, lambda x, u: x, stages=10, states=2, controls=1).solve([1.0, 0.0])
    assert result.converged
    assert np.isfinite(result.controls).all()


# Cart-pole

MASS, POLE, GRAVITY, LENGTH = 1.0, 0.1, 9.81, 0.8
WEIGHTS = np.sqrt([2e3, 2e3, 2e-2, 2e-2])


def cart_pole(x, u):
    s, c = np.sin(x[1]), np.cos(x[1])
    heavy = MASS + POLE - POLE * c * c
    pushed = -POLE * LENGTH * s * x[3] ** 2
    turned = pushed * c + u[0] * c + (MASS + POLE) * GRAVITY * s
    return np.array([x[2], x[3], (pushed + POLE * GRAVITY * c * s + u[0]) / heavy, turned / (LENGTH * heavy)])


def swing_cost(x, u):
    return np.sqrt(0.05) * np.concatenate([WEIGHTS * x, np.sqrt(2e-2) * u])


def swing_up(**keywords):
    dynamics = rk4(cart_pole, 0.05)
    sizes = {"stages": 20, "states": 4, "controls": 1, "control_bounds": (-80.0, 80.0)}
    return nlsq.OptimalControl(dynamics, swing_cost, lambda x: WEIGHTS * x, **sizes, **keywords)


HANGING = np.array([0.0, np.pi, 0.0, 0.0])


@pytest.fixture(scope="module")
def problem():
    return swing_up()


@pytest.fixture(scope="module")
def solution(problem):
    return problem.solve(HANGING)


def test_swing_up_satisfies_the_first_order_conditions(problem, solution):
    assert solution.converged
    assert problem.derivatives["stage"] == "exact (graph)" or compile_disabled()
    dynamics = rk4(cart_pole, 0.05)
    for k in range(20):
        np.testing.assert_allclose(
            dynamics(solution.states[k], solution.controls[k]), solution.states[k + 1], atol=1e-8
        )
    assert np.sum(np.abs(solution.controls) > 79.9) >= 5
    known = solution.multipliers

    def lagrangian(flat):
        x = np.vstack([HANGING, flat[: 20 * 4].reshape(20, 4)])
        u = flat[20 * 4 :].reshape(20, 1)
        cost = 0.5 * sum(np.sum(swing_cost(x[k], u[k]) ** 2) for k in range(20)) + 0.5 * np.sum((WEIGHTS * x[20]) ** 2)
        defects = sum(known.dynamics[k + 1] @ (dynamics(x[k], u[k]) - x[k + 1]) for k in range(20))
        return cost + defects - np.sum(known.control_lower * (u + 80.0)) - np.sum(known.control_upper * (80.0 - u))

    flat = np.concatenate([solution.states[1:].ravel(), solution.controls.ravel()])
    slopes = [(lagrangian(flat + 1e-5 * e) - lagrangian(flat - 1e-5 * e)) / 2e-5 for e in np.eye(flat.size)]
    assert np.abs(slopes).max() < 1e-4
    assert np.abs(known.control_lower * (solution.controls + 80.0)).max() < 1e-5


def test_solution_does_not_depend_on_the_start(problem, solution):
    rng = np.random.default_rng(0)
    starts = [
        {"x_guess": np.zeros(4)},
        {"x_guess": np.linspace(HANGING, np.zeros(4), 21)},
        {"x_guess": 2.0 * rng.standard_normal((21, 4)), "u_guess": 2.0 * rng.standard_normal((20, 1))},
    ]
    for start in starts:
        other = problem.solve(HANGING, **start)
        assert other.converged
        assert other.cost == pytest.approx(solution.cost, rel=1e-8)


@compiled
def test_gauss_newton_and_exact_hessians_agree(solution):
    other = swing_up(hessian="gauss-newton").solve(HANGING)
    assert other.converged
    assert other.nit > solution.nit
    np.testing.assert_allclose(other.controls, solution.controls, atol=1e-4)


def test_warm_start_takes_few_iterations(problem, solution):
    again = problem.solve(HANGING + 1e-3, warm_start=solution)
    assert again.converged
    assert again.nit <= 4
    cold = problem.solve(HANGING + 1e-3)
    assert again.cost == pytest.approx(cold.cost, rel=1e-8)


def test_globalisation_where_full_steps_diverge():
    """Newton's full steps for atan(x) = 0 run away from |x| > 1.39."""
    problem = nlsq.OptimalControl(
        lambda x, u: x + u,
        lambda x, u: np.concatenate([np.arctan(x), 1e-9 * u]),
        lambda x: np.arctan(x),
        stages=3, states=1, controls=1, hessian="gauss-newton",
    )  # fmt: skip
    guess = {"x_guess": np.array([3.0]), "u_guess": np.zeros((3, 1))}
    full = problem.controller(iterations=4, shift=False)
    full.prepare([3.0])
    full.states[...], full.controls[...] = 3.0, 0.0
    full.step(np.array([3.0]))
    assert np.abs(full.states[1:]).max() > 100.0
    result = problem.solve([3.0], **guess)
    assert result.converged
    assert np.abs(result.states[1:]).max() < 1e-3


# Functions of all kinds


def test_parameters_change_without_a_new_problem(solution):
    def residual(x, u, p):
        return np.sqrt(0.05) * np.concatenate([p[:4] * (x - p[4:]), np.sqrt(2e-2) * u])

    def terminal(x, p):
        return p[:4] * (x - p[4:])

    problem = nlsq.OptimalControl(
        rk4(lambda x, u, p: cart_pole(x, u), 0.05), residual, terminal, stages=20, states=4, controls=1,
        control_bounds=(-80.0, 80.0), parameters=8,
    )  # fmt: skip
    same = problem.solve(HANGING, parameters=[*WEIGHTS, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(same.controls, solution.controls, atol=1e-5)
    moved = problem.solve(HANGING, parameters=[*WEIGHTS, 0.3, 0.0, 0.0, 0.0])
    shifted = problem.solve(HANGING - [0.3, 0.0, 0.0, 0.0], parameters=[*WEIGHTS, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(moved.controls, shifted.controls, atol=1e-4)
    each = np.tile([*WEIGHTS, 0.3, 0.0, 0.0, 0.0], (21, 1))
    np.testing.assert_allclose(problem.solve(HANGING, parameters=each).controls, moved.controls, atol=1e-6)
    each[20, 4] = 0.0  # the terminal reference alone
    assert problem.solve(HANGING, parameters=each).states[20, 0] < moved.states[20, 0] - 0.01
    with pytest.raises(ValueError, match="parameters are missing"):
        problem.solve(HANGING)


@compiled
def test_njit_functions_give_the_same():
    numba = pytest.importorskip("numba")
    dynamics = rk4(numba.njit(lambda x, u: np.array([x[1], np.sin(x[0]) + u[0]])), 0.1, substeps=2)
    cost = numba.njit(lambda x, u: np.array([x[0], x[1], 0.1 * u[0]]))
    final = numba.njit(lambda x: 10.0 * x)
    sizes = {"stages": 15, "states": 2, "controls": 1, "control_bounds": (-1.5, 1.5)}
    jitted = nlsq.OptimalControl(dynamics, cost, final, **sizes)
    assert jitted.derivatives == {"stage": "exact (dual numbers)", "terminal": "exact (dual numbers)"}
    plain = nlsq.OptimalControl(
        rk4(lambda x, u: np.array([x[1], np.sin(x[0]) + u[0]]), 0.1, substeps=2),
        lambda x, u: np.concatenate([x, 0.1 * u]), lambda x: 10.0 * x, **sizes,
    )  # fmt: skip
    ours, theirs = jitted.solve([1.0, 0.0]), plain.solve([1.0, 0.0])
    assert ours.converged
    np.testing.assert_allclose(ours.controls, theirs.controls, atol=1e-5)


@compiled
def test_long_stages_are_cut_and_give_the_same(monkeypatch, solution):
    monkeypatch.setattr(stage_source, "LONGEST", 100)
    monkeypatch.setattr(stage_source, "PIECE", 60)
    cut = swing_up()
    kernels = cut._services[0]._kernels
    assert len(kernels._stage.program("linearise").steps) > 5
    np.testing.assert_allclose(cut.solve(HANGING).controls, solution.controls, atol=1e-5)


def test_functions_that_cannot_be_traced_are_called():
    def branching(x, u):
        return linear(x, u) if x[0] > -1e9 else x

    problem = nlsq.OptimalControl(branching, linear_cost, final_cost, stages=20, states=2, controls=1)
    assert problem.derivatives["stage"].startswith("central differences")
    result, traced = problem.solve([1.0, 0.0]), double_integrator().solve([1.0, 0.0])
    np.testing.assert_allclose(result.controls, traced.controls, atol=1e-7)
    controller = problem.controller(iterations=2)
    np.testing.assert_allclose(controller.step([1.0, 0.0]), traced.controls[0], atol=1e-6)


def test_exceptions_of_functions_pass_through():
    def failing(x, u):
        if float(x[0]) > 10.0:
            raise ArithmeticError("too far")
        return linear(x, u)

    problem = nlsq.OptimalControl(failing, linear_cost, final_cost, stages=20, states=2, controls=1)
    with pytest.raises(ArithmeticError, match="too far"):
        problem.solve([11.0, 0.0])


def test_rk4_is_of_fourth_order():
    errors = []
    for substeps in (1, 2, 4):
        step = rk4(lambda x, u: np.array([x[1], -x[0]]) + 0.0 * u[0], 0.5, substeps=substeps)
        errors.append(np.abs(step(np.array([0.0, 1.0]), np.zeros(1)) - [np.sin(0.5), np.cos(0.5)]).max())
    assert errors[0] / errors[1] == pytest.approx(16.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(16.0, rel=0.2)


# Controllers


def test_controller_to_a_tolerance_is_solve(problem):
    controller = problem.controller(iterations=50, tolerance=1e-8, shift=False)
    rng = np.random.default_rng(3)
    for _ in range(5):
        x = HANGING + 0.1 * rng.standard_normal(4)
        u = controller.step(x)
        assert controller.status is nlsq.Status.OPTIMALITY
        expected = problem.solve(x, tolerance=1e-8)
        assert controller.solution.cost == pytest.approx(expected.cost, rel=1e-9)
        np.testing.assert_allclose(u, expected.controls[0], atol=1e-5)


def test_one_iteration_a_step_settles_the_pole(problem):
    controller, plant, x = problem.controller(), rk4(cart_pole, 0.05, substeps=5), HANGING
    for _ in range(60):
        u = controller.step(x)
        assert controller.has_plan
        assert abs(u[0]) <= 80.0
        x = plant(x, u)
    assert np.abs(x).max() < 1e-2


@compiled
def test_a_step_takes_no_memory(problem):
    controller = problem.controller(iterations=2, tolerance=1e-6)
    states = [HANGING + 1e-3 * k for k in range(8)]
    for x in states * 4:
        controller.step(x)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        for x in states * 20:
            controller.step(x)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    growth = [one for one in after.compare_to(before, "filename") if one.size_diff > 0 and "nlsq" in str(one.traceback)]
    assert growth == []
    assert controller.step(states[0]) is controller.step(states[1])


def test_after_a_failure_the_last_plan_goes_on():
    problem = double_integrator(state_bounds=([-np.inf, -0.5], [np.inf, 0.5]), control_bounds=(-1.0, 1.0))
    controller, x = problem.controller(), np.array([3.0, 0.0])
    for _ in range(3):
        x = linear(x, controller.step(x))
    plan = controller.controls.copy()
    for k, (wrong, status) in enumerate(
        (
            (np.array([3.0, 3.0]), nlsq.Status.LOCALLY_INFEASIBLE),
            (np.array([np.nan, 0.0]), nlsq.Status.NONFINITE_START),
            (np.array([np.inf, 0.0]), nlsq.Status.NONFINITE_START),
        )
    ):
        u = controller.step(wrong)
        assert controller.status is status
        assert not controller.has_plan
        np.testing.assert_array_equal(u, plan[k + 1])
    controller.step(x)
    assert controller.has_plan
    assert problem.solve([3.0, 3.0]).status is nlsq.Status.LOCALLY_INFEASIBLE


def test_functions_that_are_not_finite_say_so():
    problem = nlsq.OptimalControl(
        lambda x, u: np.log(x) + u, lambda x, u: np.concatenate([x, u]), stages=5, states=1, controls=1
    )
    with np.errstate(all="ignore"):
        assert problem.solve([-1.0]).status is nlsq.Status.NONFINITE_START


# Bad input


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"stages": 0}, "stages must be an integer of at least 1"),
        ({"states": 3}, "dynamics|shape|matmul"),
        ({"control_bounds": (1.0, 1.0)}, "bounds of control 0 leave no room at stage 0"),
        ({"state_bounds": ([0.0, 0.0, 0.0], 1.0)}, "state_bounds: the lower bound has shape"),
        ({"state_bounds": (np.nan, 1.0)}, "state_bounds: the lower bound has NaN"),
        ({"control_bounds": (np.r_[[-1.0] * 19, -np.inf][:, None], 1.0)}, "finite at some stages alone"),
        ({"hessian": "newton"}, "hessian must be"),
        ({"parameters": -1}, "parameters is the length of p"),
    ],
)
def test_bad_problems_are_refused(keywords, message):
    sizes = {"stages": 20, "states": 2, "controls": 1} | keywords
    with pytest.raises(ValueError, match=message):
        nlsq.OptimalControl(linear, linear_cost, final_cost, **sizes)


def test_bad_states_and_guesses_are_refused():
    problem = double_integrator()
    with pytest.raises(ValueError, match=r"x0 has shape \(3,\); it must be \(2,\)"):
        problem.solve([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="x0 is not finite at 1"):
        problem.solve([1.0, np.nan])
    with pytest.raises(ValueError, match="u_guess has shape"):
        problem.solve([1.0, 0.0], u_guess=np.zeros((3, 1)))
    with pytest.raises(ValueError, match="iterations must be a positive integer"):
        problem.controller(iterations=0)
    controller = problem.controller()
    controller.step([1.0, 0.0])
    with pytest.raises(ValueError, match="x_measured has shape"):
        controller.step(np.zeros(3))
    with pytest.raises(ValueError, match="dt must be positive"):
        rk4(cart_pole, 0.0)
    with pytest.raises(ValueError, match="substeps"):
        rk4(cart_pole, 0.1, substeps=0)


def test_as_a_constrained_problem_of_nlsq_solve():
    """The same pendulum, all stages in one vector: the general interior-point method finds the same plan."""
    stages, first = 6, np.array([2.0, 0.0])
    dynamics = rk4(lambda x, u: np.array([x[1], 9.81 * np.sin(x[0]) + u[0]]), 0.1)
    problem = nlsq.OptimalControl(
        dynamics, lambda x, u: np.concatenate([x, 0.1 * u]), lambda x: 3.0 * x,
        stages=stages, states=2, controls=1, control_bounds=(-12.0, 12.0),
    )  # fmt: skip
    ours = problem.solve(first, tolerance=1e-9)

    def parts(z):
        return np.vstack([first, z[: 2 * stages].reshape(stages, 2)]), z[2 * stages :].reshape(stages, 1)

    def residual(z):
        x, u = parts(z)
        return np.concatenate([x[:-1].ravel(), 0.1 * u.ravel(), 3.0 * x[-1]])

    def defects(z):
        x, u = parts(z)
        return np.concatenate([dynamics(x[k], u[k]) - x[k + 1] for k in range(stages)])

    limits = np.concatenate([np.full(2 * stages, np.inf), np.full(stages, 12.0)])
    start = np.concatenate([np.tile(first, stages), np.zeros(stages)])
    general = nlsq.LeastSquaresProblem(
        residual, start, bounds=(-limits, limits), constraints=NonlinearConstraint(defects, 0.0, 0.0)
    )
    theirs = nlsq.solve(general)
    assert ours.converged and theirs.converged
    assert np.sum(np.abs(ours.controls) > 11.99) >= 2
    assert ours.cost == pytest.approx(theirs.cost, rel=1e-6)
    np.testing.assert_allclose(ours.controls, parts(theirs.x)[1], atol=1e-3)


def test_programs_without_a_feasible_point_are_no_verdict_on_the_problem():
    """Around small controls, x + u^3 hardly moves: the linear program cannot reach the bound, and the problem can."""
    lower = np.full((6, 1), -5.0)
    lower[5] = 1.0
    problem = nlsq.OptimalControl(
        lambda x, u: x + u**3,
        lambda x, u: np.concatenate([x, u]),
        stages=5,
        states=1,
        controls=1,
        state_bounds=(lower, 5.0),
        control_bounds=(-2.0, 2.0),
    )
    result = problem.solve([0.0], u_guess=np.array([0.1]))
    assert result.converged
    assert result.states[5, 0] == pytest.approx(1.0, abs=1e-6)
    lower[5] = 4.0
    unreachable = nlsq.OptimalControl(
        lambda x, u: x + u**3 / 20.0, lambda x, u: np.concatenate([x, u]), stages=5, states=1, controls=1,
        state_bounds=(lower, 5.0), control_bounds=(-2.0, 2.0),
    )  # fmt: skip
    assert unreachable.solve([0.0], u_guess=np.array([0.1])).status is nlsq.Status.LOCALLY_INFEASIBLE
