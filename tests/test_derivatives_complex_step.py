"""Complex step: all the digits for analytic residuals, and a refusal that names the operation for others."""

import math
import warnings

import numpy as np
import pytest
from scipy import sparse, special
from scipy.optimize._numdiff import approx_derivative

from nlsq.derivatives import ComplexStep, ComplexStepError
from nlsq.derivatives.complex_guard import GuardedArray, guard
from nlsq.derivatives.complex_step import check_complex_step
from nlsq.pattern import SparsityPattern

T = np.linspace(0.1, 3.0, 11)
X = np.array([2.0, 0.7, 1.3])


def model(x):
    return x[0] * np.exp(-x[1] * T) + np.sin(x[2] * T)


def model_jac(x):
    e = np.exp(-x[1] * T)
    return np.stack([e, -x[0] * T * e, T * np.cos(x[2] * T)], axis=1)


def evaluate(estimator, residual, x, **options):
    x = np.asarray(x, dtype=float)
    r = np.atleast_1d(np.asarray(residual(x.copy())))
    return estimator.prepare(residual, x, r.size, **options).evaluate(x, r, None)


# Accuracy


def test_all_digits():
    np.testing.assert_allclose(evaluate(ComplexStep(), model, X), model_jac(X), rtol=4e-16, atol=1e-16)


@pytest.mark.parametrize("x", [1e-12, 1e-100, 1e-150, -3e-7, 1e100])
@pytest.mark.parametrize("x0", [None, 1.0])
def test_reciprocal_far_from_one(x, x0):
    """A fixed step of 1e-15 errs by 1e-6 at 1e-12."""
    if x0 is not None and abs(x) < 1e-12:
        x = 1e-12
    at = np.array([x])
    prepared = ComplexStep(check=False).prepare(lambda p: 1.0 / p, at if x0 is None else np.array([x0]), 1)
    np.testing.assert_allclose(prepared.evaluate(at, 1.0 / at, None), [[-1.0 / x**2]], rtol=1e-15)


def test_tiny_parameter_keeps_its_digits():
    np.testing.assert_allclose(evaluate(ComplexStep(), lambda p: 3.0 * p, [1e-300]), [[3.0]], rtol=1e-15)


def test_zero_parameter():
    np.testing.assert_allclose(evaluate(ComplexStep(), lambda p: np.sin(p) + 2.0, [0.0]), [[1.0]], rtol=1e-15)


def test_special_functions():
    jac = evaluate(ComplexStep(), lambda p: special.erf(p[0] * T), [0.8])
    np.testing.assert_allclose(jac[:, 0], 2 / np.sqrt(np.pi) * T * np.exp(-((0.8 * T) ** 2)), rtol=1e-13)


def test_scipys_step_gives_scipys_numbers_and_no_check():
    calls = []

    def residual(p):
        calls.append(p)
        return np.abs(p) * 1e-3 + np.exp(p)  # abs: silently wrong, as in SciPy

    x = np.array([1e-9, -2.0, 3.0])
    prepared = ComplexStep(steps="scipy").prepare(residual, x, 3)
    assert calls == []
    np.testing.assert_array_equal(prepared.evaluate(x, residual(x), None), approx_derivative(residual, x, "cs"))
    with_step = ComplexStep(steps="scipy", rel_step=1e-6).prepare(residual, x, 3)
    np.testing.assert_array_equal(
        with_step.evaluate(x, residual(x), None), approx_derivative(residual, x, "cs", rel_step=1e-6)
    )
    real = ComplexStep(steps="scipy").prepare(lambda p: p.real, x, 3).evaluate(x, x, None)
    np.testing.assert_array_equal(real, 0.0)


def test_fixed_parameter_has_a_zero_column_and_costs_nothing():
    calls = []

    def residual(p):
        calls.append(p)
        return model(p)

    prepared = ComplexStep(check=False).prepare(residual, X, T.size, lower=[0, 0.7, 0], upper=[9, 0.7, 9])
    jac = prepared.evaluate(X, model(X), np.full((T.size, 3), np.nan, order="F"))
    assert len(calls) == prepared.residual_calls == 2
    np.testing.assert_array_equal(jac[:, 1], 0.0)
    np.testing.assert_allclose(jac[:, [0, 2]], model_jac(X)[:, [0, 2]], rtol=1e-14)


def test_vectorized():
    def residual(p):
        return p[0] * np.exp(-p[1] * T[:, np.newaxis]) + np.sin(p[2] * T[:, np.newaxis])

    jac = ComplexStep(vectorized=True).prepare(residual, X, T.size).evaluate(X, model(X), None)
    np.testing.assert_allclose(jac, model_jac(X), rtol=1e-13)


def test_sparse():
    def residual(p):
        return np.sin(p) * np.roll(p, 1)

    x = np.linspace(0.3, 2.0, 9)
    dense = evaluate(ComplexStep(), residual, x)
    pattern = SparsityPattern.from_dense(dense)
    prepared = ComplexStep().prepare(residual, x, 9, pattern=pattern)
    assert prepared.residual_calls == prepared.coloring.n_colors == 3
    jac = prepared.evaluate(x, residual(x), None)
    assert sparse.issparse(jac)
    np.testing.assert_array_equal(jac.toarray(), dense)
    fixed = ComplexStep().prepare(residual, x, 9, pattern=pattern, lower=x, upper=np.where(np.arange(9) < 3, x, x + 1))
    jac = fixed.evaluate(x, residual(x), None).toarray()
    np.testing.assert_array_equal(jac[:, :3], 0.0)
    np.testing.assert_array_equal(jac[:, 3:], dense[:, 3:])


# Refusals


def casts_into_array(p):
    out = np.empty(2)
    out[0], out[1] = p[0], p[1]
    return out


def math_functions(p):
    return np.array([math.exp(value) for value in p.tolist()])


def hides_abs_from_the_guard(p):
    plain = np.asarray(p)
    return np.array([plain[0], plain[1] + np.abs(plain[1])])


def catches_the_error(p):
    try:
        return abs(p)
    except ValueError:
        return p


NOT_ANALYTIC = {
    "numpy.absolute": [lambda p: np.abs(p) * p, lambda p: abs(p[0]) + p, lambda p: np.fabs(np.abs(p))],
    "numpy.sign": [lambda p: np.sign(p) * p],
    "numpy.conjugate": [np.conj],
    "numpy.var": [lambda p: np.var(p) + p],
    ".std()": [lambda p: p.std() + p],
    ".conj()": [lambda p: p.conj() * p],
    "numpy.greater": [lambda p: p * 2 if p[0] > 0 else p, lambda p: np.where(p > 0, p, 2 * p)],
    "numpy.less": [lambda p: p[p < 100]],
    "numpy.equal": [lambda p: p if p[1] == 0 else 2 * p],
    "numpy.maximum": [lambda p: np.maximum(p, 0.0), lambda p: p / p.max(), lambda p: np.maximum.reduce(p) * p],
    "numpy.max": [lambda p: p / np.max(p)],
    "numpy.clip": [lambda p: np.clip(p, 0, 10)],
    "numpy.sort": [np.sort],
    "numpy.interp": [lambda p: np.interp(p, [0, 1], [0, 1])],
    "numpy.linalg.norm": [],
    "numpy.norm": [lambda p: p / np.linalg.norm(p)],
    "numpy.real": [np.real],
    ".real": [lambda p: p.real],
    ".imag": [lambda p: p + p.imag],
    "float()": [lambda p: np.array([float(p[0]), 1.0]), lambda p: np.array([math.exp(p[0]), 1.0]), casts_into_array],
    "int()": [lambda p: p * int(p[0])],
    "truth value": [lambda p: p if p[0] else -p],
    "cast to float64": [lambda p: p.astype(float)],
    "view as float64": [lambda p: p.view(float)[::2]],
    "numpy.round": [lambda p: np.round(p, 2)],
    "numpy.isclose": [lambda p: p if np.isclose(p[0], 1.0) else 2 * p],
    "a cast from complex to real": [lambda p: np.asarray(np.asarray(p), dtype=float)],
    "does not take complex": [lambda p: np.arctan2(p, 1.0), lambda p: np.floor(p) + p, math_functions],
    "returned real numbers": [lambda p: np.abs(np.asarray(p)), lambda p: np.ones(2)],
    "has an operation that is not analytic: entry (i=1, j=1)": [hides_abs_from_the_guard],
    "catches the error": [catches_the_error],
}  # fmt: skip


@pytest.mark.parametrize(("name", "residual"), [(n, f) for n, functions in NOT_ANALYTIC.items() for f in functions])
def test_refuses_and_names(name, residual):
    with pytest.raises(ComplexStepError) as caught:
        ComplexStep().prepare(residual, np.array([1.5, 2.5]), 2)
    assert name in str(caught.value)
    assert "CentralDifference()" in str(caught.value)


def test_the_operation_is_an_attribute():
    with pytest.raises(ComplexStepError) as caught:
        check_complex_step(np.abs, X, 3)
    assert caught.value.operation == "numpy.absolute"


ANALYTIC = [
    model,
    lambda p: np.array([p[0] ** 2, p[1] * p[2], 1.0 / p[0]]),
    lambda p: [v * v for v in p],
    lambda p: np.concatenate([p, p[:1] ** 3]),
    lambda p: np.stack([p, 2 * p]).ravel(),
    lambda p: np.dot(np.vander(T, 3), p),
    lambda p: np.vander(T, 3) @ p - 1.0,
    lambda p: np.polyval(p, T),
    lambda p: np.sinc(p[0] * T),
    lambda p: np.cumsum(p) * np.mean(p),
    lambda p: np.linspace(p[0], p[1], 5),
    lambda p: np.einsum("i,j->ij", p, p).ravel(),
    lambda p: np.linalg.solve(np.diag(p) + 0.1, np.ones(3)),
    lambda p: np.where(T < 1.0, p[0], p[1] * T),
    lambda p: np.array([p[0].item() ** 2, p[1].item(), p[2]]),
    lambda p: np.asarray(p) ** 2,
    lambda p: np.array([np.sum(p[1:] * p[:-1]), p.prod(), p.sum()]),
    lambda p: p[np.isfinite(p)] + f"{p[0]:.3f}".count("never"),
    lambda p: p + str(p).count("never") + repr(p).count("never"),
    lambda p: np.array([a * b for a, b in zip(p, p[::-1], strict=True)]),
    lambda p: np.add.reduce(p) * p,
]


@pytest.mark.parametrize("residual", ANALYTIC)
def test_accepts_analytic_residuals(residual):
    jac = evaluate(ComplexStep(), residual, X)
    expected = approx_derivative(residual, X, "3-point")
    np.testing.assert_allclose(jac, expected, rtol=1e-7, atol=1e-8)


def test_unpacked_parameters_stay_guarded():
    def residual(p):
        a, b = p
        assert isinstance(a, GuardedArray) or not isinstance(p, GuardedArray)
        return np.array([abs(a), b])

    with pytest.raises(ComplexStepError, match=r"numpy\.absolute"):
        ComplexStep().prepare(residual, np.array([1.0, 2.0]), 2)


def test_in_place_operations_stay_guarded():
    def residual(p):
        p *= 2.0
        p += 1.0
        assert not isinstance(p, GuardedArray) or p.refusals == []
        return p.copy()

    np.testing.assert_allclose(evaluate(ComplexStep(), residual, X), 2.0 * np.eye(3))


def test_real_output_later_on():
    """A residual that turns real after the check is caught when it does."""
    calls = 0

    def residual(p):
        nonlocal calls
        calls += 1
        return p * 2.0 if calls < 8 else np.zeros(2)

    x = np.array([1.0, 2.0])
    prepared = ComplexStep().prepare(residual, x, 2)
    assert calls == 5
    calls = 8
    with pytest.raises(ComplexStepError, match="returned real"):
        prepared.evaluate(x, x, None)


def test_no_false_alarm_from_noise():
    """Residuals that are small differences of large numbers are noisier than their size says."""
    data = 1e6 * np.exp(-0.7 * T)
    jac = evaluate(ComplexStep(), lambda p: 1e6 * np.exp(-p[0] * T) - data + 1e-3 * p[1], [0.7, 1e-8])
    np.testing.assert_allclose(jac[:, 0], -T * data, rtol=1e-12)


def test_no_false_alarm_at_curvature_and_poles():
    evaluate(ComplexStep(), lambda p: np.array([np.exp(200 * p[0]), np.sin(1e5 * p[0]), 1 / (p[0] - 0.2001)]), [0.2])


@pytest.mark.parametrize("bounds", [(X, X + 1), (X - 1, X), (X - 1e-13, X + 1e-13), (X, X)])
def test_check_stays_inside_bounds(bounds):
    lower, upper = bounds

    def residual(p):
        assert np.all((lower <= np.asarray(p).real) & (np.asarray(p).real <= upper))
        return model(p)

    ComplexStep().prepare(residual, X, T.size, lower=lower, upper=upper)


def test_exceptions_pass_through():
    def residual(p):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        ComplexStep().prepare(residual, X, 3)


def test_check_restores_warnings():
    before = warnings.filters[:]
    with pytest.raises(ComplexStepError):
        check_complex_step(np.abs, X, 3)
    assert warnings.filters == before


def test_guard_leaves_real_arrays_and_its_source_alone():
    guarded = guard(X)
    assert not isinstance(np.isfinite(guarded), GuardedArray)
    guarded[0] = 7.0
    assert X[0] == 2.0
    assert np.abs(T).sum() > 0


def test_unknown_steps():
    with pytest.raises(ValueError, match="'tiny', 'scipy'"):
        ComplexStep(steps="scaled")
