"""What is said about common mistakes: the argument by its name, and what to write in its place."""

import numpy as np
import pytest

import nlsq

T = np.linspace(0.1, 4.0, 50)


def decay(t, height, rate):
    return height * np.exp(-rate * t)


Y = decay(T, 2.0, 1.0) + 0.01 * np.sin(9.0 * T)
P0 = [1.0, 1.0]


@pytest.mark.parametrize("wrong", [1e-8, (1e-8, 1e-8), {"cost": 1e-8}, nlsq.Tolerances])
def test_tolerances_that_are_none(wrong):
    calls = []

    def model(t, a, b):
        calls.append(a)
        return decay(t, a, b)

    said = r"tolerances must be nlsq.Tolerances\(cost="
    with pytest.raises(TypeError, match=said):
        nlsq.fit(model, T, Y, P0, tolerances=wrong)
    with pytest.raises(TypeError, match=said):
        nlsq.solve(nlsq.LeastSquaresProblem(lambda p: model(T, *p) - Y, P0), tolerances=wrong)
    assert not calls


def test_solve_without_a_problem():
    with pytest.raises(TypeError, match=r"got function; write nlsq.solve\(nlsq.LeastSquaresProblem\(residual, x0\)\)"):
        nlsq.solve(lambda p: p - 3.0, [1.0])


def test_a_start_without_values():
    result = nlsq.fit(lambda t, a: np.where(a > 0.0, a * t, np.nan), T, Y, [-1.0])
    assert result.status is nlsq.Status.NONFINITE_START
    assert "move p0 to where" in result.message
    assert "x0" not in result.summary()
    assert "identif" not in result.summary()
    assert "unknown" in result.summary()


@pytest.mark.parametrize("method", ["lm", "gauss-newton"])
def test_methods_without_bounds_name_those_with_bounds(method):
    with pytest.raises(ValueError, match=r"takes no bounds; use method 'trf'.* 'dogbox'"):
        nlsq.fit(decay, T, Y, P0, bounds=(0.0, 5.0), method=method)


def test_data_before_the_model():
    with pytest.raises(
        TypeError, match=r"model must be callable, got ndarray; it is the first argument.*fit\(model, x"
    ):
        nlsq.fit(T, Y, decay, p0=P0)


def test_data_of_different_lengths():
    with pytest.raises(ValueError, match=r"must be the same \(x has length 10, y has length 50\)"):
        nlsq.fit(decay, T[:10], Y, P0)
    with pytest.raises(ValueError, match=r"\(x\[1\] has length 9, y has length 50\)"):
        nlsq.fit(lambda x, a: a * x[1], (T, T[:9]), Y, [1.0])
    with pytest.raises(ValueError, match=r"they must be the same\.$"):
        nlsq.fit(lambda x, a: a * x[:10], T, Y, [1.0])


def test_one_is_singular():
    with pytest.raises(ValueError, match="p0 has 2 values for 1 parameter: a"):
        nlsq.fit(lambda t, a: a * t, T, Y, P0)
    with pytest.raises(ValueError, match="p0 has 1 value for 2 parameters: height, rate"):
        nlsq.fit(decay, T, Y, [1.0])


def test_names_that_are_none():
    result = nlsq.fit(decay, T, Y, P0)
    for named in (result.params, result.stderr):
        with pytest.raises(KeyError, match=r"unknown parameter 'amp'\. The parameters are height, rate"):
            named["amp"]


def test_short_form_says_whether_it_converged():
    assert "; converged=True (" in repr(nlsq.fit(decay, T, Y, P0))
    assert "; converged=False (MAX_EVALUATIONS)>" in repr(nlsq.fit(decay, T, Y, P0, max_evaluations=1))
    assert "converged=" not in str(nlsq.fit(decay, T, Y, P0)).splitlines()[0]
