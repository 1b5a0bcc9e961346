"""The report of a constrained solve says what the result holds: worst row, counts, active rows and bounds."""

from types import SimpleNamespace

import numpy as np

from nlsq.solvers.kkt_report import LISTED, describe
from nlsq.status import Status


def result(**fields):
    """A result of three constraints: an equation, one at its upper limit, one between its limits."""
    known = {
        "x": np.array([1.0, 0.0]),
        "cost": 0.125,
        "status": Status.OPTIMALITY,
        "message": Status.OPTIMALITY.message,
        "constr_violation": 0.0,
        "dual_infeasibility": 2e-10,
        "complementarity": 3e-9,
        "nit": 7,
        "nfev": 9,
        "nfev_jac": 0,
        "njev": 8,
        "factorizations": 8,
        "inertia_corrections": 1,
        "nhev": 6,
        "restorations": 2,
        "projected_gradient": np.array([-3e-9, 1e-10]),
        "hessian": "exact (graph)",
        "linear_solver": "condensed, Bunch-Kaufman: 2 variables",
        "fallbacks": [],
        "active_mask": np.array([0, -1]),
        "multipliers": SimpleNamespace(
            constraints=np.array([-1.5, 0.25, 1e-9]), lower=np.array([0.0, 4.0]), upper=np.zeros(2)
        ),
        "constraint_values": np.array([2.0, 1.0, 0.5]),
        "constraint_lower": np.array([2.0, -np.inf, 0.0]),
        "constraint_upper": np.array([2.0, 1.0, 1.0]),
        "constraint_names": ["sum", "cap", "between"],
    }
    return SimpleNamespace(**(known | fields))


def lines_with(text, word):
    return [line.split() for line in text.splitlines() if line.startswith(word)]


def test_what_it_took_and_how():
    text = describe(result())
    assert text.startswith(f"OPTIMALITY: {Status.OPTIMALITY.message}")
    assert "7 iterations, 9 evaluations, 8 Jacobians, 6 second derivatives, 2 iterations in restoration" in text
    assert "projected gradient  3.00e-09" in text
    assert "8 factorisations, 1 of them to correct the inertia" in text
    assert "Hessian: exact (graph)" in text and "linear solver: condensed, Bunch-Kaufman: 2 variables" in text
    assert lines_with(text, "dual infeasibility") == [["dual", "infeasibility", "2.00e-10"]]


def test_active_rows_with_their_multipliers_and_no_others():
    text = describe(result())
    assert lines_with(text, "sum") == [["sum", "2", "=", "2", "-1.5"]]
    assert lines_with(text, "cap") == [["cap", "1", "<=", "1", "0.25"]]
    assert lines_with(text, "between") == []
    assert lines_with(text, "x[1]") == [["x[1]", "0", "lower", "4"]]
    assert text.index("sum ") < text.index("cap ")  # the larger multiplier first


def test_the_worst_row_is_named():
    text = describe(result(constraint_values=np.array([1.75, 1.5, 0.5]), constr_violation=0.5))
    assert "violation           5.00e-01  (cap = 1.5, to be at most 1)" in text
    text = describe(result(constraint_values=np.array([1.0, 1.5, 0.5]), constr_violation=1.0))
    assert "(sum = 1, to be equal to 2)" in text
    text = describe(result(constraint_values=np.array([2.0, np.nan, 0.5]), constr_violation=np.nan))
    assert "(cap = nan, to be at most 1)" in text


def test_without_limits_the_multipliers_tell():
    text = describe(result(constraint_lower=None, constraint_upper=None, constraint_names=None))
    assert lines_with(text, "c[0]") and lines_with(text, "c[1]") and not lines_with(text, "c[2]")


def test_nothing_active_and_nothing_known():
    bare = SimpleNamespace(
        x=np.zeros(1),
        cost=1.0,
        status=Status.MAX_EVALUATIONS,
        message="m",
        constr_violation=0.0,
        nit=0,
        nfev=1,
        nfev_jac=3,
        njev=0,
        linear_solver="",
        fallbacks=["forward differences"],
        active_mask=np.zeros(1, dtype=int),
    )
    text = describe(bare)
    assert "no constraint or bound is active" in text
    assert "3 evaluations inside Jacobians" in text
    assert text.endswith("note: forward differences")


def test_long_lists_are_cut():
    k = LISTED + 5
    many = result(
        constraint_values=np.zeros(k),
        constraint_lower=np.zeros(k),
        constraint_upper=np.zeros(k),
        constraint_names=[f"row {i}" for i in range(k)],
        multipliers=SimpleNamespace(constraints=np.arange(k) * 1.0, lower=np.zeros(2), upper=np.zeros(2)),
    )
    text = describe(many)
    assert "and 5 more" in text and f"row {k - 1} " in text and "row 0 " not in text
