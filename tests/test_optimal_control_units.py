"""Optimal control does not depend on the units of states, controls and residuals."""

import numpy as np
import pytest

import nlsq
from nlsq.kernels.backend import compile_disabled

UNITS = [1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9]
STAGES = 12 if compile_disabled() else 20


def linear(x, u):
    return np.array([x[0] + 0.1 * x[1] + 0.005 * u[0], x[1] + 0.1 * u[0]])


def pendulum(x, u):
    return np.array([x[0] + 0.1 * x[1], x[1] + 0.1 * (2.0 * np.sin(x[0]) + u[0] - 0.1 * x[1] * x[1])])


def scaled(dynamics, position, speed, force, residual, bounds=None, state_bounds=None, **keywords):
    """Return the problem whose states are measured in 1 / position and 1 / speed, and so on."""
    sizes = np.array([position, speed])

    def moved(x, u):
        return sizes * dynamics(x / sizes, u / force)

    controls = None if bounds is None else (bounds[0] * force, bounds[1] * force)
    states = None if state_bounds is None else tuple(np.asarray(one) * sizes for one in state_bounds)
    return nlsq.OptimalControl(
        moved,
        lambda x, u: residual * np.concatenate([x / sizes, 0.1 * (u / force)]),
        lambda x: (3.0 * residual) * (x / sizes),
        stages=STAGES, states=2, controls=1, control_bounds=controls, state_bounds=states, **keywords,
    )  # fmt: skip


CASES = {
    "free": (linear, [3.0, 0.0], {}),
    "inactive bounds": (linear, [3.0, 0.0], {"bounds": (-1e3, 1e3)}),
    "active bounds": (linear, [3.0, 0.0], {"bounds": (-1.0, 1.0)}),
    "one side": (linear, [-3.0, 0.0], {"bounds": (0.0, np.inf)}),
    "states": (linear, [3.0, 0.0], {"state_bounds": ([-np.inf, -0.8], [np.inf, np.inf])}),
    "pendulum": (pendulum, [2.0, 0.0], {"bounds": (-2.5, 2.5)}),
    "free pendulum": (pendulum, [2.0, 0.0], {}),
}


def answer(result, position, speed, force):
    return np.concatenate([(result.states / [position, speed]).ravel(), result.controls.ravel() / force])


@pytest.fixture(scope="module")
def expected():
    kept = {}

    def of(name):
        if name not in kept:
            dynamics, x0, keywords = CASES[name]
            result = scaled(dynamics, 1.0, 1.0, 1.0, 1.0, **keywords).solve(x0)
            assert result.converged
            kept[name] = result
        return kept[name]

    return of


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("unit", UNITS)
def test_all_in_another_unit(expected, name, unit):
    dynamics, x0, keywords = CASES[name]
    result = scaled(dynamics, unit, unit, unit, unit, **keywords).solve(np.multiply(x0, unit))
    assert result.converged
    reference = expected(name)
    np.testing.assert_allclose(answer(result, unit, unit, unit), answer(reference, 1.0, 1.0, 1.0), atol=1e-6)
    assert result.cost == pytest.approx(reference.cost * unit**2, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "units", [(1e6, 1e-3, 1e-6, 1.0), (1e-9, 1e3, 1e6, 1e3), (1.0, 1.0, 1.0, 1e-9), (1.0, 1.0, 1.0, 1e9)]
)
def test_each_in_a_unit_of_its_own(expected, name, units):
    dynamics, x0, keywords = CASES[name]
    result = scaled(dynamics, *units, **keywords).solve(np.multiply(x0, units[:2]))
    assert result.converged
    reference = expected(name)
    np.testing.assert_allclose(answer(result, *units[:3]), answer(reference, 1.0, 1.0, 1.0), atol=1e-6)
    assert result.cost == pytest.approx(reference.cost * units[3] ** 2, rel=1e-6)


@pytest.mark.parametrize("name", ["active bounds", "pendulum"])
@pytest.mark.parametrize("unit", UNITS)
def test_controllers_to_a_tolerance(expected, name, unit):
    dynamics, x0, keywords = CASES[name]
    controllers = [
        scaled(dynamics, one, one, one, one, **keywords).controller(iterations=50, tolerance=1e-6)
        for one in (1.0, unit)
    ]
    x = np.array(x0)
    for _ in range(8):
        ours, theirs = (c.step(x * one)[0] / one for c, one in zip(controllers, (1.0, unit), strict=True))
        assert all(c.status is nlsq.Status.OPTIMALITY for c in controllers)
        assert theirs == pytest.approx(ours, abs=1e-6)
        x = dynamics(x, np.array([ours])) + np.array([1e-3, -1e-3])


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_one_iteration_a_step(unit):
    dynamics, x0, keywords = CASES["pendulum"]
    controllers = [scaled(dynamics, one, one, one, one, **keywords).controller() for one in (1.0, unit)]
    for start in ([0.0, 0.0], x0):  # a plan at rest says nothing of sizes
        for one, controller in zip((1.0, unit), controllers, strict=True):
            controller.prepare(np.multiply(start, one))
        x = np.array(x0)
        for _ in range(8):
            ours, theirs = (c.step(x * one)[0] / one for c, one in zip(controllers, (1.0, unit), strict=True))
            assert all(c.has_plan for c in controllers)
            assert theirs == pytest.approx(ours, abs=1e-6)
            x = dynamics(x, np.array([ours]))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_wide_bounds_are_none(expected, unit):
    dynamics, x0, _ = CASES["free pendulum"]
    wide = scaled(dynamics, unit, unit, unit, unit, bounds=(-1e8, 1e8)).solve(np.multiply(x0, unit))
    assert wide.converged
    reference = answer(expected("free pendulum"), 1.0, 1.0, 1.0)
    np.testing.assert_allclose(answer(wide, unit, unit, unit), reference, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_at_rest(unit):
    """Nothing is to be done, and a state that is away from zero holds: sizes of plans that are rounding alone."""
    result = scaled(linear, unit, unit, unit, unit, bounds=(-1.0, 1.0)).solve([0.0, 0.0])
    assert result.converged
    np.testing.assert_array_equal(result.controls, 0.0)
    top = nlsq.OptimalControl(
        lambda x, u: unit * pendulum(x / unit + [np.pi, 0.0], u / unit) - unit * np.array([np.pi, 0.0]),
        lambda x, u: np.concatenate([x, 0.1 * u]),
        stages=STAGES, states=2, controls=1,
    )  # fmt: skip
    assert top.solve([0.0, 0.0]).converged


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_functions_that_are_called(expected, unit):
    dynamics, x0, keywords = CASES["pendulum"]

    def branching(x, u):
        return dynamics(x, u) if x[0] > -1e30 else x

    problem = scaled(branching, unit, unit, unit, unit, **keywords)
    assert problem.derivatives["stage"].startswith("central differences")
    result = problem.solve(np.multiply(x0, unit))
    assert result.converged
    np.testing.assert_allclose(answer(result, unit, unit, unit), answer(expected("pendulum"), 1.0, 1.0, 1.0), atol=1e-5)


def test_message_of_infeasible_problems():
    result = scaled(linear, 1.0, 1.0, 1.0, 1.0, bounds=(-1.0, 1.0), state_bounds=([-9.0, -0.5], [9.0, 0.5])).solve(
        [3.0, 3.0]
    )
    assert result.status is nlsq.Status.LOCALLY_INFEASIBLE
    assert "x0" in result.message
    assert "residual" in result.message
    assert "start elsewhere" not in result.message


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_warm_starts(expected, unit):
    dynamics, x0, keywords = CASES["pendulum"]
    problem = scaled(dynamics, unit, unit, unit, unit, **keywords)
    first = problem.solve(np.multiply(x0, unit))
    again = problem.solve(np.multiply(x0, unit * (1.0 + 1e-4)), warm_start=first)
    assert again.converged
    assert again.nit <= 3
    controller = problem.controller(start=first, shift=False)  # one iteration from a plan that is optimal
    u = controller.step(np.multiply(x0, unit))
    assert u[0] / unit == pytest.approx(expected("pendulum").controls[0, 0], abs=1e-4)


def test_a_control_that_costs_little_is_found_all_the_same():
    """Two pendulums beside each other, of which the second one's residuals are in a large unit."""

    def both(x, u):
        return np.concatenate([pendulum(x[:2], u[:1]), pendulum(x[2:], u[1:])])

    share = 1e-2
    problem = nlsq.OptimalControl(
        both,
        lambda x, u: np.concatenate([x[:2], 0.1 * u[:1], share * x[2:], 0.1 * share * u[1:]]),
        lambda x: np.concatenate([3.0 * x[:2], 3.0 * share * x[2:]]),
        stages=STAGES, states=4, controls=2, control_bounds=(-2.5, 2.5),
    )  # fmt: skip
    result = problem.solve([2.0, 0.0, 2.0, 0.0])
    assert result.converged
    np.testing.assert_allclose(result.controls[:, 1], result.controls[:, 0], atol=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_state_that_is_zero_but_for_rounding(expected, unit):
    problem = scaled(linear, unit, unit, unit, unit, bounds=(-1.0, 1.0))
    result = problem.solve(np.multiply([3.0, 1e-16], unit))
    assert result.converged
    assert problem._space.units[2] > 1e-3 * unit  # what its defects are weighed by in the merit function
    reference = answer(expected("active bounds"), 1.0, 1.0, 1.0)
    np.testing.assert_allclose(answer(result, unit, unit, unit), reference, atol=1e-6)
