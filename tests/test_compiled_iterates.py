"""One residual, two drivers: the jitted loop makes the steps that the Python driver makes."""

import numpy as np
import pytest
from references.compiled_curves import residual_of

from nlsq import (
    Dogbox,
    GaussNewton,
    GradientDescent,
    LeastSquaresProblem,
    LevenbergMarquardt,
    LineSearch,
    Nielsen,
    Status,
    Tolerances,
    TrustRegionReflective,
    solve,
)
from nlsq.solvers.choose import choose_solver

METHODS = {
    "lm": "lm",
    "nielsen": LevenbergMarquardt(damping=Nielsen()),
    "lm-qr": LevenbergMarquardt(linear_solver="qr"),
    "trf": "trf",
    "trf-qr": TrustRegionReflective(linear_solver="qr"),
    "dogbox": "dogbox",
    "dogbox-qr": Dogbox(linear_solver="qr"),
    "gauss-newton": "gauss-newton",
    "search": GaussNewton(line_search=LineSearch()),
    "gradient": GradientDescent(),
}


def assert_equal_solves(compiled, plain):
    np.testing.assert_allclose(compiled.x, plain.x, rtol=1e-12, atol=1e-14)
    counts = [(r.status, r.nfev, r.njev, r.nit, r.nfev_jac) for r in (compiled, plain)]
    assert counts[0] == counts[1]
    assert compiled.cost == pytest.approx(plain.cost, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gaussian", "decay", "logistic", "damped_sine", "hill"])
def test_jitted_loop_makes_the_steps_of_the_python_driver(name, method):
    """One residual, the same machine code: called by address in the loop, and as a plain callable."""
    residual, p0 = residual_of(name)
    for limit in range(1, 21):
        compiled = solve(LeastSquaresProblem(residual, p0, jac="2-point"), METHODS[method], max_evaluations=limit)
        plain = solve(
            LeastSquaresProblem(lambda p: residual(p), p0, jac="2-point"), METHODS[method], max_evaluations=limit
        )
        assert_equal_solves(compiled, plain)
        if compiled.status != Status.MAX_EVALUATIONS:
            break


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
@pytest.mark.parametrize("rule", ["native", "scipy", "minpack"])
@pytest.mark.parametrize("jac", ["2-point", "3-point"])
def test_whole_solves_are_equal_under_every_rule(method, rule, jac):
    residual, p0 = residual_of("gaussian")
    tolerances = Tolerances(cost=1e-8, step=1e-8, optimality=1e-8, rule=rule)
    results = [
        solve(LeastSquaresProblem(r, p0, jac=jac), method, tolerances=tolerances)
        for r in (residual, lambda p: residual(p))
    ]
    assert_equal_solves(*results)
    assert results[0].converged


@pytest.mark.parametrize("method", ["trf", "dogbox", "gradient"])
def test_bounded_solves_are_equal(method):
    residual, p0 = residual_of("gaussian")
    arguments = {"bounds": ([0.0, -1.0, 0.9, 0.0], [2.5, 0.45, 2.0, 5.0])}
    for limit in (1, 2, 3, 5, 8, 13, 21, 34):
        results = [
            solve(LeastSquaresProblem(r, p0, jac="2-point", **arguments), method, max_evaluations=limit)
            for r in (residual, lambda p: residual(p))
        ]
        assert_equal_solves(*results)
        assert np.array_equal(results[0].active_mask, results[1].active_mask)


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "arctan", lambda z: np.stack([z, 0 * z + 1, 0 * z])])
@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_robust_solves_are_equal(method, loss):
    residual, p0 = residual_of("decay")
    results = [
        solve(LeastSquaresProblem(r, p0, jac="2-point", loss=loss, loss_scale=0.2), method, max_evaluations=20)
        for r in (residual, lambda p: residual(p))
    ]
    assert_equal_solves(*results)


@pytest.mark.parametrize("method", METHODS)
def test_watched_solves_make_the_same_steps(method):
    """History, callbacks and time limits take the loop through Python; the path stays the same."""
    residual, p0 = residual_of("decay")
    alone = solve(LeastSquaresProblem(residual, p0, jac="2-point"), METHODS[method], max_evaluations=30)
    seen = []
    watched = solve(
        LeastSquaresProblem(residual, p0, jac="2-point"),
        METHODS[method],
        max_evaluations=30,
        history=True,
        callback=seen.append,
    )
    assert_equal_solves(alone, watched)
    assert len(seen) == sum(report.accepted for report in watched.history)
    timed = solve(LeastSquaresProblem(residual, p0, jac="2-point"), METHODS[method], max_evaluations=30, time_limit=1e9)
    assert_equal_solves(alone, timed)


def test_the_loop_is_really_taken():
    residual, p0 = residual_of("gaussian")
    for method in ("lm", "trf", "dogbox", "gauss-newton", "gradient"):
        problem = LeastSquaresProblem(residual, p0, jac="2-point")
        assert choose_solver(problem, method).start(problem, Tolerances(), None).by_address
        plain = LeastSquaresProblem(lambda p: residual(p), p0, jac="2-point")
        assert not choose_solver(plain, method).start(plain, Tolerances(), None).by_address
