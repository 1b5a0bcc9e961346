"""Second derivatives of traced functions as residuals have them."""

import numpy as np
import pytest
from references.hessians import PLAIN, close, whole
from scipy.special import digamma

from nlsq.compiler.clean import examine_cached
from nlsq.compiler.entries import Entry
from nlsq.compiler.routes import Route
from nlsq.compiler.tracing.trace import trace_residual
from nlsq.kernels.backend import compile_disabled
from nlsq.kernels.backend.generated import call
from nlsq.problem.traced import routed_residual, traced_residual

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")


def test_residuals_have_second_derivatives_of_the_data_that_they_have_now():
    data = np.array([1.0, 2.0, 3.0])

    def residual(x, data):
        return data * x**2

    entry = Entry((3, 1), residual, (data,), examine_cached(residual, (1,)), trace_residual(residual, 3, (data,)))
    found = traced_residual(entry, lambda x: residual(x, data))
    second, places = found.hessian, found.sparse_hessian
    assert second.address and second.compared and not second.zero
    assert found.hessian is second
    for version, values in enumerate((data, np.array([5.0, 7.0, 11.0])), 1):
        found.binding.set_arrays([values], version)
        out, weights, sparse_out = np.zeros((3, 3)), np.array([1.0, 1.0, 2.0]), np.empty(places.rows.size)
        call(second.address, np.ones(3), found.table, weights, out)
        close(whole(out), np.diag(2.0 * values * weights))
        places.into(np.ones(3), weights, sparse_out)
        close(sparse_out, 2.0 * values * weights)


def test_constraint_functions_of_any_form_are_residuals():
    forms = {
        "number": (lambda x: x[0] ** 2 + x[1] - 1.0, 1),
        "list": (lambda x: [x[0] ** 2 + x[1] - 1.0, x[1]], 2),
        "tuple": (lambda x: (x[0] ** 2 + x[1] - 1.0,), 1),
        "array": (lambda x: np.array([x[0] ** 2 + x[1] - 1.0, 0.0]), 2),
    }
    for function, m in forms.values():
        route = Route(function.__code__, "residual")
        route.require()
        found = routed_residual(route, function, np.ones(2))
        assert found is not None, route.reason
        residual = found.residual
        assert residual.m == m
        close(residual(np.array([2.0, 3.0])), np.atleast_1d(function(np.array([2.0, 3.0]))))
        out = np.zeros((2, 2))
        call(residual.hessian.address, np.ones(2), residual.table, np.full(m, 3.0), out)
        close(out, np.array([[6.0, 0.0], [0.0, 0.0]]))


def test_the_reason_says_why_there_are_no_second_derivatives():
    def residual(x):
        return digamma(x)

    def crowded(x):
        return np.prod(x)

    for function, n, reason in ((residual, 3, "trigamma has no derivative"), (crowded, 100, "too long to compile")):
        entry = Entry((n, 0), function, (), examine_cached(function, ()), trace_residual(function, n))
        kernels = entry.kernels
        for name in ("hessian", "sparse_hessian"):
            for _ in range(2):
                assert reason in str(kernels.address_or_reason(name, PLAIN))
        if n == 3:
            found = traced_residual(entry, function)
            assert found.hessian.address == 0
            assert reason in found.hessian.reason
            assert found.sparse_hessian is None
