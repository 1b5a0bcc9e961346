"""When a solve ends by itself. The tests are in `nlsq.kernels.judgement`; here are their tolerances and the rule.

Rules
-----
native
    optimality: largest ``|cos|`` between the weighted residual and a column of J (projected gradient with bounds);
    cost: relative change, measured and predicted; step: relative to x in the solver's scaling.
scipy
    As ``scipy.optimize.least_squares``: gradient's largest entry, ``dF < ftol F``, ``|dx| < xtol (xtol + |x|)``.
ceres
    As native, but the measured change of the cost alone decides, as Ceres' ``function_tolerance`` does: a solve that
    creeps along a weak direction ends. For bundle adjustment, ``Tolerances(cost=1e-6, rule="ceres")``.
minpack
    As MINPACK's ``lmder`` (More 1978, section 6).

In all of them a step that the radius or a bound cut short does not count as convergence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

from nlsq.kernels import layout
from nlsq.status import Counters, Status, StepReport

FORWARD_DIGITS = 1e-9  # forward differences are right to about 1e-8; below, an answer needs central ones
RULES = {
    "native": layout.RULE_NATIVE,
    "scipy": layout.RULE_SCIPY,
    "minpack": layout.RULE_MINPACK,
    "ceres": layout.RULE_CERES,
}


class Termination(Protocol):
    """Decides from what a step did whether to go on."""

    def check(self, report: StepReport, counters: Counters) -> Status:
        """Return ``Status.RUNNING`` to go on."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Relative tolerances of the stopping tests.

    Parameters
    ----------
    cost : float or None
        Relative change of the cost; None turns the test off (a cost of exactly 0 ends a solve all the same). Default
        1e-12.
    step : float or None
        Length of the full step relative to x. Default 1e-10.
    optimality : float or None
        First-order optimality: under the native rule the cosine between residual and columns of J. Default 1e-10.
    rule : {"native", "scipy", "minpack", "ceres"}
        Which definitions the tolerances refer to.

    Raises
    ------
    ValueError
        If a tolerance is negative or not a number, or the rule is unknown.
    """

    cost: float | None = 1e-12
    step: float | None = 1e-10
    optimality: float | None = 1e-10
    rule: Literal["native", "scipy", "minpack", "ceres"] = "native"

    def __post_init__(self) -> None:
        """Validate."""
        for name in ("cost", "step", "optimality"):
            value = getattr(self, name)
            if value is not None and not value >= 0.0:
                raise ValueError(f"tolerances: {name} must be None or a number >= 0, got {value!r}.")
        if self.rule not in RULES:
            raise ValueError(f"tolerances: rule must be one of {', '.join(RULES)}, got {self.rule!r}.")

    @property
    def tight(self) -> bool:
        """Whether any tolerance asks for more digits than forward differences have."""
        return any(
            value is not None and 0.0 < value < FORWARD_DIGITS for value in (self.cost, self.step, self.optimality)
        )

    def write(self, w: Any, iw: Any) -> None:
        """Put the tolerances into a solver's workspace; a test that is off can never be met."""
        w[layout.COST_TOLERANCE] = -1.0 if self.cost is None else self.cost
        w[layout.STEP_TOLERANCE] = -1.0 if self.step is None else self.step
        w[layout.OPTIMALITY_TOLERANCE] = -math.inf if self.optimality is None else self.optimality
        iw[layout.RULE] = RULES[self.rule]


def read_tolerances(given: Any) -> Tolerances | Termination:
    """Return what ends a solve; the defaults for None.

    Raises
    ------
    TypeError
        If it is neither tolerances nor an object that judges steps.
    """
    if given is None:
        return Tolerances()
    if not isinstance(given, Tolerances) and (isinstance(given, type) or not hasattr(given, "check")):
        raise TypeError(
            f"tolerances must be nlsq.Tolerances(cost=..., step=..., optimality=...) or an object with a method check, "
            f"got {given!r}."
        )
    return given
