"""Makes SciPy's own tests run under pytest's settings of this repository."""

import math
from collections.abc import Generator
from typing import Any

import installed_scipy
import pytest
import scipy

from nlsq.compiler import routes

SCIPY_MARKERS = (
    "slow: a slow test",
    "xslow: a very slow test",
    "fail_slow(limit): time limit of a test",
    "parallel_threads_limit(n): number of threads of a test",
    "parallel_threads(n): number of threads of a test",
    "thread_unsafe: a test for one thread",
    "iterations(n): repetitions of a test",
    "timeout(limit): time limit of a test",
    "skip_xp_backends: array API backends to skip",
    "xfail_xp_backends: array API backends that fail",
    "array_api_backends: a test over all array API backends",
)

# What SciPy 1.16 changed and its older tests still ask for.
CHANGED_IN_1_16 = {
    "test_x_scale_options": "x_scale=None means the default of the method since SciPy 1.16",
    "test_diff_step": "the sign of diff_step chooses the side since SciPy 1.16, for 'lm' as well",
}
SCIPY_VERSION = tuple(map(int, scipy.__version__.split(".")[:2]))


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that SciPy's tests carry."""
    for marker in SCIPY_MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture(autouse=True)
def called_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have functions called as at their first use, whatever is known of them from other runs."""
    if routes.WORTH_COMPILING > 0.0:  # the plugin `compiled_at_once` is not at work
        routes.forget()
        monkeypatch.setattr(routes, "WORTH_COMPILING", math.inf)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Skip a test that has passed without calling one of the three functions: it says nothing about them."""
    name = pyfuncitem.originalname
    if name in CHANGED_IN_1_16 and SCIPY_VERSION < (1, 16) and installed_scipy.SUBJECT != "scipy":
        pytest.skip(CHANGED_IN_1_16[name])
    installed_scipy.reset()
    try:
        result = yield
    finally:
        reached = sum(installed_scipy.calls.values())
        pyfuncitem.user_properties.append(("calls_of_ours", reached))
    if not reached:
        pytest.skip("never calls curve_fit, least_squares or leastsq")
    return result


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many of SciPy's tests reach our functions, and how many of these pass."""
    reached = {
        outcome: sum(
            report.when == "call" and dict(report.user_properties).get("calls_of_ours", 0) > 0
            for report in terminalreporter.stats.get(outcome, [])
        )
        for outcome in ("passed", "failed", "xfailed")
    }
    if sum(reached.values()):
        terminalreporter.write_line(
            f"SciPy's own tests that reach {installed_scipy.SUBJECT}: {sum(reached.values())}, "
            f"passed: {reached['passed']}, failed: {reached['failed']}"
        )
