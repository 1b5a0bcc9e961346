"""What is wrong in a batch: an error that names the argument and the row, or a status; never a wrong neighbour."""

import re

import numpy as np
import pytest

import nlsq
from nlsq import Status, fit_batch

M, B = 20, 9
X = np.linspace(0.0, 4.0, M)
RNG = np.random.default_rng(3)
TRUTH = np.column_stack([RNG.uniform(1, 5, B), RNG.uniform(0.4, 2, B), RNG.uniform(-1, 1, B)])
SHARED = [2.0, 1.0, 0.0]
ROW_5 = np.arange(B)[:, np.newaxis] == 5


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def interpolated(x, a, b, c):
    return np.interp(x, x, a * np.exp(-b * x) + c)


Y = np.stack([decay(X, *p) for p in TRUTH]) + 0.02 * RNG.standard_normal((B, M))
SIGMA = np.ones((B, M))
MODELS = {"decay": decay, "interpolated": interpolated}
both_models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def fit(x=X, y=Y, p0=SHARED, model=decay, **given):
    return fit_batch(model, x, y, p0, **given)


def starts(row, value):
    out = np.tile(SHARED, (B, 1))
    out[row, 1] = value
    return out


REFUSED = {
    "model": (dict(model=3), TypeError, "model must be callable"),
    "Y is a number": (dict(y=3.0), ValueError, "Y is a single number"),
    "Y has no points": (dict(x=X[:0], y=Y[:, :0]), ValueError, r"Y has shape \(9, 0\)"),
    "Y is complex": (dict(y=Y + 0j), TypeError, "Y must be real numbers.*complex"),
    "Y is text": (dict(y=Y.astype(str)), TypeError, "Y must be real numbers"),
    "Y is ragged": (dict(y=[[1, 2], [3]]), ValueError, "Y must be real numbers in rows of one length"),
    "Y has words": (dict(y=[[1, "two", None]]), (TypeError, ValueError), "Y must be real numbers"),
    "x is short": (dict(x=X[1:]), ValueError, r"x has shape \(19,\), but Y has shape \(9, 20\)"),
    "x in a tuple is short": (dict(x=(X, X[1:])), ValueError, r"x\[1\] has shape \(19,\)"),
    "x of other rows": (dict(x=np.zeros((2, 3, M))), ValueError, r"x has shape \(2, 3, 20\)"),
    "x is a number": (dict(x=1.0), ValueError, r"x has shape \(\)"),
    "x is nothing": (dict(x=None), (TypeError, ValueError), "x "),
    "x is empty": (dict(x=()), ValueError, "x "),
    "x is text": (dict(x=["a"] * M), TypeError, "x must be real numbers"),
    "x is NaN": (dict(x=np.where(X > 3.9, np.nan, X)), ValueError, r"x\[19\] is not finite"),
    "p0 too short": (dict(p0=[1, 2]), ValueError, r"p0 has shape \(2,\)"),
    "p0 empty": (dict(p0=[]), ValueError, r"p0 has shape \(0,\)"),
    "p0 of other rows": (dict(p0=np.ones((B + 1, 3))), ValueError, r"p0 has shape \(10, 3\)"),
    "p0 ragged": (dict(p0=[[1, 2], [3]]), ValueError, "p0 must be real numbers"),
    "p0 text": (dict(p0="abc"), TypeError, "p0 must be real numbers"),
    "p0 NaN in a row": (dict(p0=starts(4, np.nan)), ValueError, r"p0\[4, 1\] is not finite"),
    "p0 infinite in a row": (dict(p0=starts(4, np.inf)), ValueError, r"p0\[4, 1\] is not finite"),
    "p0 infinite by name": (dict(p0={"a": np.inf, "b": 1, "c": 0}), ValueError, r"p0\['a'\] is infinite"),
    "p0 of nobody": (dict(p0={"q": 1.0}), ValueError, "p0: unknown parameter 'q'"),
    "p0 outside": (dict(bounds=([3, 0, -9], 9)), ValueError, "p0: the start of a is outside"),
    "p0 outside in rows": (
        dict(p0=starts([2, 6], -1.0), bounds=([0, 0, -9], 9)),
        ValueError,
        "the start of b is outside its bounds in row 2 and 1 more",
    ),
    "bounds crossed": (dict(bounds=(1, -1)), ValueError, "bounds of a: lower is not <= upper"),
    "bounds crossed in a row": (
        dict(bounds=(np.full((B, 3), -9.0), np.where(ROW_5, -10.0, np.full((B, 3), 9.0)))),
        ValueError,
        "bounds of a: lower is not <= upper in row 5",
    ),
    "bounds NaN": (dict(bounds=(np.nan, 9)), ValueError, "bounds of a"),
    "bounds of nobody": (dict(bounds={"q": (0, 1)}), ValueError, "bounds: unknown parameter 'q'"),
    "bounds of other rows": (dict(bounds={"a": (0, np.ones(5))}), ValueError, r"bounds\['a'\] has shape \(5,\)"),
    "bounds no pair": (dict(bounds=[0, 1, 2]), ValueError, "bounds must be a tuple"),
    "fixed nobody": (dict(fixed=["q"]), ValueError, "fixed: unknown parameter 'q'"),
    "fixed text": (dict(fixed="a"), TypeError, "fixed must be a dict"),
    "fixed of other rows": (dict(fixed={"a": np.ones(4)}), ValueError, r"fixed\['a'\] has shape \(4,\)"),
    "fixed NaN in a row": (dict(fixed={"a": np.where(ROW_5[:, 0], np.nan, 1.0)}), ValueError, "fixed.*in row 5"),
    "fixed outside": (
        dict(fixed={"a": np.arange(9.0)}, bounds={"a": (0, 6)}),
        ValueError,
        "the start of a is outside its bounds in row 7 and 1 more",
    ),
    "sigma zero": (dict(sigma=0.0), ValueError, "sigma.* is not a positive number"),
    "sigma negative in a row": (dict(sigma=np.where(ROW_5, -1.0, SIGMA)), ValueError, r"sigma\[5, 0\]"),
    "sigma NaN in a row": (dict(sigma=np.where(ROW_5, np.nan, SIGMA)), ValueError, r"sigma\[5, 0\]"),
    "sigma without weight": (dict(sigma=1e-320), ValueError, "sigma"),
    "sigma by row": (dict(sigma=np.ones(B)), ValueError, r"sigma has shape \(9,\)"),
    "weights infinite": (dict(weights=np.where(X > 3.9, np.inf, 1.0)), ValueError, r"weights\[19\]"),
    "weights negative": (dict(weights=-1.0), ValueError, "weights"),
    "sigma and weights": (dict(sigma=1, weights=1), ValueError, "sigma and weights"),
    "mask of numbers": (dict(mask=np.zeros((B, M), dtype=int)), TypeError, "mask must be of truth values"),
    "mask of other rows": (dict(mask=np.zeros((B, 3), dtype=bool)), ValueError, r"mask has shape \(9, 3\)"),
    "loss": (dict(loss="squared"), ValueError, "loss must be one of"),
    "loss_scale": (dict(loss="huber", loss_scale=0), ValueError, "scale of a loss"),
    "tolerances": (dict(tolerances=1e-3), TypeError, "tolerances must be"),
    "callback": (dict(callback=3), TypeError, "callback must be callable"),
    "device": (dict(device="gpu"), ValueError, "device must be"),
    **{
        f"{name} {value!r}": ({name: value}, ValueError, f"{name} must be a whole number >= 1")
        for name in ("threads", "max_evaluations")
        for value in (0, -1, 1.5, True, "2")
    },
}


@pytest.mark.parametrize(("given", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_an_error_names_what_is_wrong(given, kind, text):
    with pytest.raises(kind, match=text):
        fit(**given)


RETURNS = {
    "another length": (lambda x, a, b, c: a * x[:3] + b + c, ValueError, r"shape \(3,\), but y has shape \(20,\)"),
    "nothing": (lambda x, a, b, c: None, TypeError, "returned None"),
    "a column": (lambda x, a, b, c: (a * np.exp(-b * x) + c)[:, None], ValueError, r"shape \(20, 1\)"),
    "complex numbers": (lambda x, a, b, c: a * np.exp(1j * b * x) + c, TypeError, "complex"),
    "an error": (lambda x, a, b, c: x * (1 // 0), ZeroDivisionError, "zero"),
}


@pytest.mark.parametrize(("model", "kind", "text"), RETURNS.values(), ids=RETURNS)
def test_a_model_that_returns_what_it_must_not(model, kind, text):
    with pytest.raises(kind, match=text) as caught:
        fit(model=model)
    assert any("in row 0 of the batch" in note for note in caught.value.__notes__)


def test_an_exception_says_in_which_row_it_was():
    def choosy(x, a, b, c):
        if x[0] > 0.25 and b != 1.0:
            raise RuntimeError("not here")
        return np.interp(x, x, a * np.exp(-b * x) + c)

    x = X + np.arange(B)[:, np.newaxis] / 10
    with pytest.raises(RuntimeError, match="not here") as caught:
        fit(x=x, model=choosy)
    assert any("in row 3 of the batch" in note for note in caught.value.__notes__)
    done = caught.value.result
    assert done.interrupted
    assert done.converged.tolist() == [True] * 3 + [False] * (B - 3)
    assert (done.status[3:] == Status.NOT_FITTED).all()
    assert np.isfinite(done.stderr[:3]).all()


@both_models
@pytest.mark.parametrize("missing", ["nan", "inf", "mask", "masked array", "sigma", "weights"])
def test_rows_without_points_have_a_status(model, missing):
    clean = fit(model=model)
    y, given, gone = Y.copy(), {}, np.zeros((B, M), dtype=bool)
    gone[2], gone[4, 2:] = True, True
    if missing in ("nan", "inf"):
        y[gone] = np.nan if missing == "nan" else -np.inf
    elif missing == "mask":
        given["mask"] = gone
    elif missing == "masked array":
        y = np.ma.array(y, mask=gone)
    elif missing == "sigma":
        given["sigma"] = np.where(gone, np.inf, 1.0)
    else:
        given["weights"] = np.where(gone, 0.0, 1.0)
    found = fit(y=y, model=model, **given)
    assert found.status[[2, 4]].tolist() == [Status.TOO_FEW_POINTS] * 2
    assert found.points.tolist() == [M, M, 0, M, 2, M, M, M, M]
    assert np.isnan(found.params[[2, 4]]).all()
    assert np.isinf(found.cost[[2, 4]]).all()
    assert np.isnan(found.stderr[[2, 4]]).all()
    others = np.delete(np.arange(B), [2, 4])
    assert found.converged[others].all()
    np.testing.assert_allclose(found.params[others], clean.params[others], rtol=1e-6, atol=1e-7)


@both_models
def test_fewer_points_than_parameters(model):
    found = fit(x=X[:2], y=Y[:, :2], model=model)
    assert (found.status == Status.TOO_FEW_POINTS).all()
    held = fit(x=X[:2], y=Y[:, :2], model=model, fixed={"c": TRUTH[:, 2]})
    assert (held.status != Status.TOO_FEW_POINTS).all()
    exact = fit(x=X[:3], y=Y[:, :3], model=model)
    assert (exact.dof == 0).all()
    assert np.isnan(exact.stderr).all()


@both_models
@pytest.mark.parametrize("value", [1e300, -1e308, 1e155])
def test_huge_values_are_a_status(model, value):
    y = Y.copy()
    y[3], y[5, 7] = value, value
    with np.errstate(all="ignore"):
        found = fit(y=y, model=model)
    assert not found.converged[[3, 5]].any()
    np.testing.assert_array_equal(found.params[[3, 5]], [SHARED] * 2)
    others = np.delete(np.arange(B), [3, 5])
    assert found.converged[others].all()
    np.testing.assert_array_equal(found.params[others], fit(model=model).params[others])


def test_a_model_without_values_at_the_start():
    for model in (
        lambda x, a, b: a * np.sqrt(b - 1.5 + 0 * x),
        lambda x, a, b: a * np.exp(1e4 * b * (x + 1)),
        lambda x, a, b: np.interp(x, x, a * np.sqrt(b - 1.5 + 0 * x)),
    ):
        with np.errstate(all="ignore"):
            found = fit(p0=[2.0, 1.0], model=model)
        assert (found.status == Status.NONFINITE_START).all()
        assert np.isinf(found.cost).all()
        assert np.isnan(found.stderr).all()
        np.testing.assert_array_equal(found.params, np.tile([2.0, 1.0], (B, 1)))


def test_rows_that_diverge_keep_their_best_point():
    """Data of which the model's best fit lies at infinity."""
    y = Y.copy()
    y[4] = np.linspace(-1, 1, M) ** 2  # a decay that grows
    y[6] = np.where(np.arange(M) == 7, 1.0, 0.0)
    with np.errstate(all="ignore"):
        found = fit(y=y)
    for row in (4, 6):
        assert np.isfinite(found.params[row]).all()
        cost = 0.5 * np.sum((decay(X, *found.params[row]) - y[row]) ** 2)
        assert found.cost[row] == pytest.approx(cost, rel=1e-9)
        assert found.cost[row] <= 0.5 * np.sum((decay(X, *SHARED) - y[row]) ** 2)


@pytest.mark.parametrize("where", ["mask", "masked array", "missing"])
@pytest.mark.parametrize("name", ["sigma", "weights"])
def test_what_belongs_to_missing_points_may_be_anything(name, where):
    gone = np.zeros((B, M), dtype=bool)
    gone[3, 4], gone[6, 2:5] = True, True
    given, y = {name: np.where(gone, np.nan, 0.5)}, Y.copy()
    if where == "mask":
        given["mask"] = gone
    elif where == "masked array":
        y = np.ma.array(y, mask=gone)
    else:
        y[gone] = np.nan
    found = fit(y=y, **given)
    assert found.converged.all()
    assert found.points[3] == M - 1 and found.points[6] == M - 3


def test_masks_of_x_and_sigma_count():
    gone = np.arange(M) > 16
    found = fit(x=np.ma.array(np.where(gone, np.nan, X), mask=gone))
    np.testing.assert_allclose(found.params, fit(mask=gone).params, rtol=1e-9)
    assert (found.points == M - 3).all()
    of_rows = np.zeros((B, M), dtype=bool)
    of_rows[4, 1:4] = True
    expected = fit(mask=of_rows)
    for given in ({"x": np.ma.array(np.tile(X, (B, 1)), mask=of_rows)}, {"sigma": np.ma.array(SIGMA, mask=of_rows)}):
        found = fit(**given)
        np.testing.assert_allclose(found.params, expected.params, rtol=1e-7, atol=1e-8)
        np.testing.assert_array_equal(found.points, expected.points)


def test_the_index_of_an_error_is_that_of_the_image():
    y, sigma = Y[:8].reshape(2, 4, M), np.ones((2, 4, M))
    sigma[1, 2, 5] = -1.0
    with pytest.raises(ValueError, match=re.escape("sigma[1, 2, 5]")):
        fit(y=y, sigma=sigma)
    p0 = np.ones((2, 4, 3))
    p0[1, 3, 0] = np.inf
    with pytest.raises(ValueError, match=re.escape("p0[1, 3, 0] is not finite")):
        fit(y=y, p0=p0)


def test_limits_are_kept():
    found = fit(max_evaluations=1)
    assert (found.status == Status.MAX_EVALUATIONS).all()
    np.testing.assert_array_equal(found.params, np.tile(SHARED, (B, 1)))
    assert (fit(max_evaluations=3).nfev <= 3).all()
    off = nlsq.Tolerances(cost=None, step=None, optimality=None)
    assert not fit(tolerances=off).converged.any()


@both_models
@pytest.mark.parametrize("loss", ["linear", "huber"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308, -1e200])
def test_points_of_no_weight_may_have_any_value(model, loss, value):
    weights = np.where(np.arange(M) == 4, 0.0, 1.0)
    clean, y = fit(model=model, weights=weights, loss=loss), Y.copy()
    y[::2, 4] = value
    found = fit(y=y, model=model, weights=weights, loss=loss)
    np.testing.assert_array_equal(found.params, clean.params)
    assert (found.points == M - 1).all()


@pytest.mark.parametrize("given", [{}, {"bounds": (0, 5)}, {"loss": "cauchy"}], ids=str)
@pytest.mark.parametrize("points", [M, 2500])
def test_a_model_may_be_undefined_at_points_that_are_left_out(points, given):
    def growth(x, a, b):
        return a * np.log(x) + b * np.sqrt(x - 0.1)

    x = np.linspace(0.0, 4.0, points)
    gone = x < 0.1
    with np.errstate(all="ignore"):
        y = np.where(gone, 7.0, [growth(x, *p) for p in TRUTH[:4, :2]])
        for left_out in (
            {"mask": gone},
            {"weights": np.where(gone, 0.0, 1.0)},
            {"sigma": np.where(gone, np.inf, 1.0)},
            {"mask": np.tile(gone, (4, 1))},
        ):
            found = fit(x=x, y=y, p0=[1.0, 1.0], model=growth, **left_out, **given)
            assert found.converged.all()
            np.testing.assert_allclose(found.params, TRUTH[:4, :2], rtol=1e-6)
