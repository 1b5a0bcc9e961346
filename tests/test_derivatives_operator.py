"""`nlsq.jacobian`: any estimator as a function of x."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy import sparse

from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference, estimator_for, jacobian
from nlsq.pattern import SparsityPattern


def fun(x):
    return np.array([x[0] * x[1], np.exp(x[0]), x[1] ** 2])


def exact(x):
    return np.array([[x[1], x[0]], [np.exp(x[0]), 0.0], [0.0, 2.0 * x[1]]])


X = np.array([0.5, 2.0])


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("auto", 1e-9), ("forward", 1e-6), ("2-point", 1e-6), ("central", 1e-9), ("3-point", 1e-9), ("complex", 1e-15),
     ("cs", 1e-15), (ForwardDifference(), 1e-6), (exact, 0.0)],
)  # fmt: skip
def test_every_method(method, tolerance):
    jac = jacobian(fun, method)(X)
    assert type(jac) is np.ndarray
    np.testing.assert_allclose(jac, exact(X), rtol=tolerance, atol=tolerance)


def test_names_mean_estimators():
    assert isinstance(estimator_for("auto"), CentralDifference)
    assert isinstance(estimator_for("cs"), ComplexStep)
    assert estimator_for(estimator := ForwardDifference(steps="scipy")) is estimator
    with pytest.raises(ValueError, match="'auto', 'forward'"):
        estimator_for("backward")


@pytest.mark.parametrize("method", ["forward", "central", "complex"])
def test_sparsity(method):
    jac = jacobian(fun, method, sparsity=[[1, 1], [1, 0], [0, 1]])(X)
    assert isinstance(jac, sparse.csr_array)
    np.testing.assert_allclose(jac.toarray(), exact(X), atol=1e-6)


def test_sparse_pattern_is_colored_once(monkeypatch):
    jac = jacobian(lambda x: x**2, sparsity=sparse.eye_array(50))
    jac(np.ones(50))
    monkeypatch.setattr("nlsq.derivatives.coloring._best_of_three", None)
    np.testing.assert_allclose(jac(np.full(50, 3.0)).diagonal(), 6.0)


def test_scalars_and_lists():
    np.testing.assert_allclose(jacobian(lambda x: x[0] ** 2)(3.0), [[6.0]])
    np.testing.assert_allclose(jacobian(lambda x: [x[0], 2 * x[1]])([1, 2]), [[1, 0], [0, 2]], atol=1e-9)


def test_lengths_may_differ_from_call_to_call():
    jac = jacobian(np.cumsum)
    np.testing.assert_allclose(jac(np.ones(2)), np.tri(2), atol=1e-9)
    np.testing.assert_allclose(jac(np.ones(3)), np.tri(3), atol=1e-9)


def test_depends_on_nothing_but_x():
    jac = jacobian(lambda x: x**3, "forward")
    first = jac([1e-6])
    jac([1e9])
    np.testing.assert_array_equal(jac([1e-6]), first)


def test_bounds_and_scale():
    def residual(x):
        assert np.all((x >= 0) & (x <= 2))
        return np.sqrt(x)

    np.testing.assert_allclose(jacobian(residual, bounds=(0, 2))([2.0]), [[1 / np.sqrt(8)]], rtol=1e-8)
    seen = []
    jacobian(lambda x: seen.append(x[0]) or x, "forward", scale=100.0)([0.0])
    assert max(seen) == pytest.approx(0.1 * np.sqrt(np.finfo(float).eps))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_dtypes_of_x(dtype):
    np.testing.assert_allclose(jacobian(lambda x: (x**2).astype(dtype if dtype != np.int64 else float))(
        np.array([3], dtype=dtype)), [[6.0]], rtol=5e-2)  # fmt: skip


def test_x_in_single_precision_has_longer_steps():
    seen = []
    jacobian(lambda x: seen.append(x[0]) or x, "forward")(np.ones(1, dtype=np.float32))
    assert max(seen) - 1 == pytest.approx(np.sqrt(np.finfo(np.float32).eps), rel=1e-3)


def test_argument_is_not_changed():
    x = X.copy()

    def residual(p):
        r = fun(p)
        p[:] = 0
        return r

    np.testing.assert_allclose(jacobian(residual)(x), exact(X), atol=1e-9)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("x", "error"), [(np.ones((2, 2)), ValueError), (np.ones(2) + 0j, TypeError), (["a"], TypeError), (None, TypeError)]
)
def test_wrong_x(x, error):
    with pytest.raises(error, match="x must"):
        jacobian(fun)(x)


def test_wrong_values_of_the_function():
    with pytest.raises(ValueError, match="at most 1 dimension"):
        jacobian(lambda x: np.ones((2, 2)))(X)


def test_threads():
    jac, results = jacobian(fun, sparsity=SparsityPattern.from_dense(np.ones((3, 2)))), {}

    def work(k):
        for _ in range(50):
            results[k] = jac(X + k).toarray()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, value in results.items():
        np.testing.assert_allclose(value, exact(X + k), atol=1e-7)


# The package


def test_lazy_table_is_all():
    import nlsq.derivatives as package

    assert sorted(package._HOME) == sorted(package.__all__) == dir(package)
    for name in package.__all__:
        assert getattr(package, name).__module__ == f"nlsq.derivatives.{package._HOME[name]}"
    with pytest.raises(AttributeError, match="no attribute 'Jacobian'"):
        package.Jacobian  # noqa: B018


def test_differences_load_nothing_else():
    code = (
        "import sys, numpy as np; from nlsq.derivatives import ForwardDifference as F;"
        "F().prepare(np.sin, np.ones(2), 2).evaluate(np.ones(2), np.sin(np.ones(2)), None);"
        "heavy = ('numba', 'scipy', 'nlsq.derivatives.color');"
        "print(*(name for name in sys.modules if name.startswith(heavy)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
