"""The stopping tests on scripted steps: what a step must show to count as convergence, whichever method made it."""

import math

import numpy as np
import pytest
from references.kernel_calls import MODES, call

from nlsq import Status
from nlsq.kernels import judgement, layout
from nlsq.solvers.workspace import Workspace

RULES = {"native": layout.RULE_NATIVE, "scipy": layout.RULE_SCIPY, "minpack": layout.RULE_MINPACK}
BETWEEN = 1e-5  # a step that is neither short nor long
GOOD = {
    "COST": 1.0, "COST_NEW": 1.0, "ACTUAL_REDUCTION": 1e-14, "PREDICTED_REDUCTION": 1e-14,
    "FULL_PREDICTED_REDUCTION": 1e-14, "DIRECTIONAL_SLOPE": -2e-14, "GAIN_RATIO": 1.0, "EXTENT": 1.0, "RADIUS": 1.0,
    "STEP_NORM": 1e-7, "LAST_STEP_NORM": 1e-4, "X_NORM": 1.0, "COST_TOLERANCE": 1e-10, "STEP_TOLERANCE": 1e-10,
}  # fmt: skip


def convergence(mode, rule="native", cut=0, **changes):
    space = Workspace(1, 1)
    for name, value in (GOOD | changes).items():
        space.w[getattr(layout, name)] = value
    space.iw[layout.RULE], space.iw[layout.STEP_CUT] = RULES[rule], cut
    return Status(call(judgement.convergence, mode, space.w, space.iw))


every_mode = pytest.mark.parametrize("mode", MODES)
every_rule = pytest.mark.parametrize("rule", RULES)


@every_mode
@every_rule
def test_small_change_that_was_predicted_is_convergence(mode, rule):
    assert convergence(mode, rule, STEP_NORM=1e-11) in (Status.COST_AND_STEP, Status.COST_CHANGE)
    assert convergence(mode, rule, COST_TOLERANCE=-1.0, STEP_NORM=1e-11) == Status.STEP
    assert convergence(mode, rule, STEP_TOLERANCE=-1.0, STEP_NORM=1e-11, COST_TOLERANCE=1e-8) == Status.COST_CHANGE


@every_mode
@every_rule
def test_large_changes_go_on(mode, rule):
    changes = {"ACTUAL_REDUCTION": 0.1, "PREDICTED_REDUCTION": 0.1, "FULL_PREDICTED_REDUCTION": 0.1}
    changes |= {"DIRECTIONAL_SLOPE": -0.2, "STEP_NORM": BETWEEN, "LAST_STEP_NORM": BETWEEN}
    assert convergence(mode, rule, **changes) == Status.RUNNING


@every_mode
@every_rule
@pytest.mark.parametrize("length", [1e-11, 1e-17])
def test_a_step_that_a_bound_cut_is_none(mode, rule, length):
    """However short it is and however little it changed, while the undamped model promises more."""
    changes = {"EXTENT": math.inf, "STEP_NORM": length, "FULL_PREDICTED_REDUCTION": 0.1}
    assert convergence(mode, rule, **changes) == Status.RUNNING
    nothing = {"ACTUAL_REDUCTION": 0.0, "PREDICTED_REDUCTION": 1e-19, "DIRECTIONAL_SLOPE": -1e-19}
    assert convergence(mode, rule, **(changes | nothing)) == Status.RUNNING


@every_mode
@every_rule
def test_a_step_that_the_radius_cut_is_none(mode, rule):
    """It is short, went as well as predicted, and there is more to gain."""
    changes = {"STEP_NORM": 1e-11, "FULL_PREDICTED_REDUCTION": 0.1, "EXTENT": math.inf}
    assert convergence(mode, rule, cut=1, **changes) == Status.RUNNING


@every_mode
@every_rule
def test_short_steps_into_undefined_regions_are_none(mode, rule):
    changes = {"COST_NEW": math.inf, "ACTUAL_REDUCTION": -math.inf, "GAIN_RATIO": -1.0}
    assert convergence(mode, rule, **changes) == Status.RUNNING
    assert convergence(mode, rule, STEP_NORM=1e-12, **changes) == Status.STALLED


@every_mode
@pytest.mark.parametrize("rule", ["native", "minpack"])
def test_tolerances_below_rounding_end_as_what_they_are(mode, rule):
    off = {"COST_TOLERANCE": 1e-17, "STEP_TOLERANCE": 1e-18}
    nothing = {"ACTUAL_REDUCTION": 0.0, "PREDICTED_REDUCTION": 1e-17, "DIRECTIONAL_SLOPE": -1e-17}
    assert convergence(mode, rule, **(off | nothing)) == Status.COST_FLOOR
    assert convergence(mode, rule, STEP_NORM=1e-17, **off) == Status.STEP_FLOOR
    assert not Status.COST_FLOOR.converged
    assert not Status.STEP_FLOOR.converged


@every_mode
@every_rule
def test_a_perfect_fit_is_convergence(mode, rule):
    changes = {"COST_NEW": 0.0, "ACTUAL_REDUCTION": 1.0, "PREDICTED_REDUCTION": 1.0, "STEP_NORM": BETWEEN}
    assert convergence(mode, rule, DIRECTIONAL_SLOPE=-2.0, FULL_PREDICTED_REDUCTION=1.0, **changes).converged


@every_mode
@pytest.mark.parametrize("loss", range(5))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_candidate_that_is_not_finite_costs_infinitely_much(mode, loss, bad):
    """Under every loss, also under arctan, which would forgive an infinite residual."""
    space = Workspace(2, 1)
    space.residual[:], space.residual_new[:] = [1.0, 2.0], [0.1, bad]
    space.iw[layout.LOSS], space.w[layout.COST] = loss, 2.5
    call(judgement.evaluate_candidate, mode, space.w, space.iw)
    assert space.w[layout.COST_NEW] == math.inf
    assert space.w[layout.ACTUAL_REDUCTION] == -math.inf
    space.residual_new[:] = [1.0, 1.9999999999]
    call(judgement.evaluate_candidate, mode, space.w, space.iw)
    assert 0.0 < space.w[layout.COST_NEW] < math.inf


@every_mode
def test_reduction_keeps_the_digits_that_a_difference_of_costs_loses(mode):
    space = Workspace(2, 1)
    space.residual[:], space.residual_new[:] = [1e8, 1e-4], [1e8, 0.0]
    space.w[layout.COST] = 0.5 * (1e16 + 1e-8)
    call(judgement.evaluate_candidate, mode, space.w, space.iw)
    assert space.w[layout.ACTUAL_REDUCTION] == pytest.approx(0.5e-8, rel=1e-12)
