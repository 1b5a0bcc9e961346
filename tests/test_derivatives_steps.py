"""Step sizes: exact where they can be, inside the bounds always, SciPy's where SciPy's were asked for."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nlsq.derivatives.steps import (
    FEW,
    LOST,
    StepSizes,
    forward_fit,
    full_array,
    machine_epsilon,
    typical_sizes,
)

EPS = np.finfo(float).eps
SCHEMES = ["forward", "central"]
FREE = np.array([-np.inf]), np.array([np.inf])


def sizes_at(x0, lower=-np.inf, upper=np.inf, scale=None):
    return typical_sizes(
        np.array([x0]), np.array([lower]), np.array([upper]), None if scale is None else np.array([scale])
    )


finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@st.composite
def bounded_points(draw):
    """Draw points with bounds around them: open, near, on the point, equal."""
    n = draw(st.integers(1, 4))
    x = draw(hnp.arrays(np.float64, n, elements=st.floats(-1e6, 1e6)))
    gaps = st.sampled_from([0.0, 1e-300, 1e-14, 1e-9, 1e-6, 1e-3, 1.0, np.inf])
    lower = x - draw(hnp.arrays(np.float64, n, elements=gaps))
    upper = x + draw(hnp.arrays(np.float64, n, elements=gaps))
    return x, lower, upper


# Sizes


def test_scale_comes_from_what_is_known():
    assert sizes_at(5.0, 0.0, 100.0, 7.0).scale == 7.0
    assert sizes_at(-5.0, -100.0, 100.0).scale == 5.0
    assert sizes_at(0.0, -10.0, 30.0).scale == 40.0
    assert sizes_at(0.0, 0.0, np.inf).scale == 1.0
    assert sizes_at(0.0, 3.0, 3.0).scale == 1.0


def test_size_at_zero():
    assert sizes_at(0.0).at_zero == 1.0
    assert sizes_at(0.0).typical == 1e-3
    assert sizes_at(0.0, 0.0, 50.0).at_zero == pytest.approx(0.05)


def test_machine_epsilon_is_that_of_the_lowest_precision():
    assert machine_epsilon() == EPS
    assert machine_epsilon(np.float32, np.float64) == np.finfo(np.float32).eps
    assert machine_epsilon(np.int8, None, np.longdouble) == EPS
    assert machine_epsilon(np.complex64) == np.finfo(np.float32).eps
    assert machine_epsilon(np.float16) == np.finfo(np.float16).eps


@pytest.mark.parametrize("shape", [(2,), (1, 3), (0,)])
def test_wrong_shapes_name_the_argument(shape):
    with pytest.raises(ValueError, match="rel_step must be a scalar or have shape"):
        full_array(np.ones(shape), 3, 0.0, "rel_step")


# Steps without bounds


@pytest.mark.parametrize("x", [2.0, -2.0, 3e-7, -1e5, 1e300, -1e300, 1e-300])
def test_forward_step_is_relative_and_away_from_zero(x):
    at = np.array([x])
    stencil = StepSizes("forward", at).stencil(at)
    assert stencil.second is None
    assert stencil.width[0] == pytest.approx(np.sqrt(EPS) * x, rel=1e-6)
    assert stencil.first[0] == x + stencil.width[0]


@pytest.mark.parametrize("x", [2.0, -2.0, 3e-7, -1e5, 1e300, 1e-300])
def test_central_step_is_relative(x):
    at = np.array([x])
    stencil = StepSizes("central", at).stencil(at)
    h = EPS ** (1 / 3) * abs(x)
    assert (stencil.first[0], stencil.second[0]) == pytest.approx((x - h, x + h), rel=1e-12)
    assert stencil.width[0] == stencil.second[0] - stencil.first[0] > 0
    assert stencil.one_sided is None


def test_step_does_not_follow_x_into_zero():
    sizes = StepSizes("forward", np.array([100.0]))
    assert sizes.stencil(np.array([1e-9])).width[0] == pytest.approx(np.sqrt(EPS) * 0.1, rel=1e-6)
    assert sizes.stencil(np.array([-1e-9])).width[0] == pytest.approx(-np.sqrt(EPS) * 0.1, rel=1e-6)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zero_steps_upwards(zero):
    at = np.array([zero])
    assert StepSizes("forward", at).stencil(at).width[0] == np.sqrt(EPS)
    assert StepSizes("forward", at).stencil_lists(at).width[0] == np.sqrt(EPS)
    assert StepSizes("central", at).stencil(at).width[0] == 2 * EPS ** (1 / 3)


def test_lower_precision_lengthens_steps():
    at = np.array([1.0])
    sizes = StepSizes("forward", at)
    single = machine_epsilon(np.float32)
    assert sizes.lower_precision(single)
    assert not sizes.lower_precision(single)
    assert not sizes.lower_precision(EPS)
    assert sizes.stencil(at).width[0] == pytest.approx(np.sqrt(single), rel=1e-6)


def test_user_step_is_relative_to_x_with_its_sign():
    at = np.array([4.0, -4.0])
    sizes = StepSizes("forward", at, rel_step=[1e-4, -1e-4])
    np.testing.assert_allclose(sizes.stencil(at).width, [4e-4, 4e-4], rtol=1e-9)
    central = StepSizes("central", at, rel_step=[1e-4, -1e-4]).stencil(at)
    np.testing.assert_allclose(central.width, [8e-4, 8e-4], rtol=1e-9)


def test_user_step_at_zero_keeps_the_factor():
    at = np.array([0.0, 2.0])
    np.testing.assert_allclose(StepSizes("forward", at, rel_step=1e-3).stencil(at).width, [1e-3, 2e-3], rtol=1e-9)


def test_user_step_that_is_lost_falls_back():
    at = np.array([2.0])
    for rule in ("scaled", "scipy"):
        width = StepSizes("forward", at, rel_step=1e-18, rule=rule).stencil(at).width
        assert width[0] == pytest.approx(2 * np.sqrt(EPS), rel=1e-6)


@given(
    hnp.arrays(np.float64, st.integers(1, 5), elements=finite),
    st.sampled_from(SCHEMES),
    st.sampled_from(["scaled", "scipy"]),
)
def test_number_by_number_is_the_same_as_arrays(x, scheme, rule):
    assert x.size <= FEW
    sizes = StepSizes(scheme, x * 0.5, rule=rule)
    arrays, lists = sizes.stencil(x), sizes.stencil_lists(x)
    assert isinstance(lists.first, list)
    for one, other in zip(arrays[:3], lists[:3], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_parameters_come_as_lists_too(scheme):
    x = np.linspace(-1, 1, FEW + 5)
    lists = StepSizes(scheme, x).stencil_lists(x)
    assert isinstance(lists.first, list)
    np.testing.assert_array_equal(lists.first, StepSizes(scheme, x).stencil(x).first)


@given(hnp.arrays(np.float64, st.integers(1, 5), elements=finite), st.sampled_from(SCHEMES))
def test_widths_are_exact_and_never_zero(x, scheme):
    stencil = StepSizes(scheme, x).stencil(x)
    assert np.all(stencil.width != 0)
    start = x if stencil.second is None else stencil.first
    end = stencil.first if stencil.second is None else stencil.second
    np.testing.assert_array_equal(start + stencil.width, end)


# Bounds


@given(bounded_points(), st.sampled_from(SCHEMES), st.sampled_from(["scaled", "scipy"]))
def test_stencils_stay_inside_bounds(problem, scheme, rule):
    x, lower, upper = problem
    sizes = StepSizes(scheme, x, lower=lower, upper=upper, rule=rule)
    for stencil in (sizes.stencil(x), sizes.stencil_lists(x)):
        for points in (stencil.first, stencil.second):
            if points is not None:
                assert np.all((lower <= points) & (points <= upper))
        assert np.all(stencil.width != 0)
        moves = np.asarray(stencil.first) != x
        if stencil.second is not None:
            moves |= np.asarray(stencil.second) != x
        np.testing.assert_array_equal(moves[(lower < x) | (x < upper)], True)
        np.testing.assert_array_equal(moves[lower == upper], False)


def test_forward_step_flips_at_a_bound():
    x = np.array([1.0, -1.0])
    sizes = StepSizes("forward", x, lower=-1.0, upper=1.0)
    np.testing.assert_allclose(sizes.stencil(x).width, [-np.sqrt(EPS), np.sqrt(EPS)])


def test_forward_step_shrinks_to_the_farther_bound():
    x, lower, upper = np.array([1.0, 1.0]), np.array([1 - 1e-12, 1 - 3e-12]), np.array([1 + 2e-12, 1 + 2e-12])
    stencil = StepSizes("forward", x, lower=lower, upper=upper).stencil(x)
    np.testing.assert_array_equal(stencil.first, [upper[0], lower[1]])


def test_central_step_becomes_one_sided_at_a_bound():
    x = np.array([1.0, -1.0, 0.5])
    stencil = StepSizes("central", x, lower=-1.0, upper=1.0).stencil(x)
    h = EPS ** (1 / 3)
    np.testing.assert_array_equal(stencil.one_sided, [True, True, False])
    np.testing.assert_allclose(stencil.first, [1 - h, -1 + h, 0.5 - h / 2])
    np.testing.assert_allclose(stencil.second, [1 - 2 * h, -1 + 2 * h, 0.5 + h / 2])
    np.testing.assert_allclose(stencil.width, [-2 * h, 2 * h, h])


def test_central_step_shrinks_between_bounds():
    x = np.array([1.0])
    stencil = StepSizes("central", x, lower=1 - 1e-9, upper=1 + 1e-9).stencil(x)
    assert not stencil.one_sided[0]
    np.testing.assert_allclose([stencil.first[0], stencil.second[0]], [1 - 1e-9, 1 + 1e-9], rtol=1e-15)


def test_fixed_parameters_have_a_width_to_divide_by():
    x = np.array([3.0, 0.0])
    for scheme in SCHEMES:
        sizes = StepSizes(scheme, x, lower=x, upper=x)
        stencil = sizes.stencil(x)
        np.testing.assert_array_equal(sizes.fixed, True)
        np.testing.assert_array_equal(stencil.first, x)
        np.testing.assert_array_equal(stencil.width, 1.0)


@given(bounded_points(), hnp.arrays(np.float64, 4, elements=st.floats(-1e3, 1e3)))
def test_forward_fit_keeps_what_fits(problem, steps):
    x, lower, upper = problem
    h = steps[: x.size]
    assume(np.all(h != 0))
    fits = (lower - x <= h) & (h <= upper - x)
    np.testing.assert_array_equal(forward_fit(x, h, lower, upper)[fits], h[fits])


# Growth


@pytest.mark.parametrize("scheme", SCHEMES)
def test_growth_is_gradual_and_limited(scheme):
    x = np.array([1e-15, 5.0])
    sizes = StepSizes(scheme, x)
    assert sizes.can_grow
    stencil = sizes.stencil(x)
    columns, longer = sizes.grow(x, stencil, np.array([0, 1]))
    np.testing.assert_array_equal(columns, [0])  # 5 has the step that suits its size
    assert abs(longer.first[0] - x[0]) == pytest.approx(
        abs(stencil.first[0] - x[0]) * sizes.relative / (LOST * EPS), rel=1e-3
    )
    assert longer.first[1] == stencil.first[1]
    _, longest = sizes.grow(x, stencil, np.array([0]), to_limit=True)
    assert abs(longest.first[0] - x[0]) == pytest.approx(sizes.relative)
    again, _ = sizes.grow(x, longest, np.array([0]))
    assert again.size == 0


@given(bounded_points(), st.sampled_from(SCHEMES), st.booleans())
def test_growth_stays_inside_bounds(problem, scheme, to_limit):
    x, lower, upper = problem
    sizes = StepSizes(scheme, x, lower=lower, upper=upper)
    _, stencil = sizes.grow(x, sizes.stencil(x), np.arange(x.size), to_limit=to_limit)
    for points in (stencil.first, stencil.second):
        if points is not None:
            assert np.all((lower <= points) & (points <= upper))
    assert np.all(stencil.width != 0)


def test_chosen_steps_do_not_grow():
    x = np.array([1e-15])
    assert not StepSizes("forward", x, rule="scipy").can_grow
    assert not StepSizes("forward", x, rel_step=1e-8).can_grow


# Imaginary steps


@pytest.mark.parametrize("x", [1.0, -1e-12, 1e300, 1e-250])
def test_imaginary_step_is_far_below_x(x):
    at = np.array([x])
    h = StepSizes("forward", at).imaginary(at)
    assert 0 < h[0] <= 1e-8 * abs(x)
    if abs(x) > 1e-200:
        assert h[0] == pytest.approx(1e-20 * abs(x))


def test_imaginary_step_of_tiny_parameters_is_a_normal_number():
    at = np.array([1e-290])
    assert StepSizes("forward", at).imaginary(at)[0] >= np.finfo(float).tiny
