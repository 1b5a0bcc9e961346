"""The collections of models, residuals and untraceable functions are sound: finite, complete, as described."""

import inspect
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime

from benchmarks.problems import mgh_small, mgh_variable, stateful_functions
from benchmarks.problems.model_zoo import MODEL_CASES
from benchmarks.problems.residual_zoo import NOT_TRACEABLE, RESIDUAL_CASES

MODELS = {case.name: case for case in MODEL_CASES}
RESIDUALS = {case.name: case for case in RESIDUAL_CASES}
UNTRACEABLE = {case.name: case for case in NOT_TRACEABLE}
RESIDUALS_OF_LISTS = {"by_comprehension": list, "rosenbrock_tuple": tuple}


def n_points(x):
    """Return m for every form of x that the models take."""
    if isinstance(x, tuple | list):
        return len(x[0])
    return max(x.shape)


def parametrize(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


# Models


def test_collections_are_complete():
    families = [case.family for case in MODEL_CASES]
    assert len(MODELS) == len(MODEL_CASES)
    assert families.count("nist") == 27
    assert families.count("science") >= 20
    assert {f"polynomial_{k}" for k in range(8)} <= set(MODELS)
    assert len(RESIDUALS) == len(RESIDUAL_CASES)
    assert len(UNTRACEABLE) == len(NOT_TRACEABLE) >= 25


@parametrize(MODEL_CASES)
def test_model_is_finite_on_its_data(case):
    y = case.function(case.x, *case.p)
    assert y.dtype == float
    assert np.all(np.isfinite(y))
    m = n_points(case.x)
    assert y.shape in {(m,), (2 * m,), (2, m), (3, m)}


@parametrize(MODEL_CASES)
def test_model_takes_as_many_parameters_as_the_point_has(case):
    assert all(type(value) is float and math.isfinite(value) for value in case.p)
    parameters = list(inspect.signature(case.function).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    required = [p for p in positional if p.default is p.empty]
    most = math.inf if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    assert len(required) <= case.n <= most


@parametrize(MODEL_CASES)
def test_every_parameter_of_a_model_matters(case):
    y = case.function(case.x, *case.p)
    for j in range(case.n):
        moved = [value * 1.03 if i == j else value for i, value in enumerate(case.p)]
        assert not np.array_equal(case.function(case.x, *moved), y), f"parameter {j}"


@parametrize(MODEL_CASES)
def test_model_leaves_x_alone(case):
    arrays = case.x if isinstance(case.x, tuple | list) else (case.x,)
    before = [array.copy() for array in arrays]
    case.function(case.x, *case.p)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


PEAKS = [
    "gaussian",
    "lorentzian",
    "split_lorentzian",
    "voigt",
    "pseudo_voigt",
    "pearson4",
    "pearson7",
    "students_t",
    "skewed_gaussian",
    "skewed_voigt",
]


@pytest.mark.parametrize("name", PEAKS)
def test_amplitude_of_a_peak_is_its_area(name):
    case = MODELS[name]
    function, center = lambda t: case.function(np.float64(t), *case.p), case.p[1]
    area = quad(function, -np.inf, center, limit=200)[0] + quad(function, center, np.inf, limit=200)[0]
    assert area == pytest.approx(case.p[0], rel=1e-6)


@pytest.mark.parametrize(("name", "low", "high"), [("exponential_gaussian", -8.0, 40.0), ("lognormal", 1e-9, 400.0)])
def test_amplitude_of_a_one_sided_peak_is_its_area(name, low, high):
    case = MODELS[name]
    function = lambda t: case.function(np.float64(t), *case.p)
    area = quad(function, low, 2.0, limit=200)[0] + quad(function, 2.0, high, limit=200)[0]
    assert area == pytest.approx(case.p[0], rel=1e-6)


def test_volume_of_the_two_dimensional_gaussian():
    case = MODELS["gaussian_2d"]
    axis = np.linspace(-12.0, 12.0, 241)
    grid = tuple(part.ravel() for part in np.meshgrid(axis, axis))
    assert np.sum(case.function(grid, *case.p)) * 0.1**2 == pytest.approx(case.p[0], rel=1e-9)


# Residuals


@parametrize(RESIDUAL_CASES)
def test_residual_is_finite_at_its_start(case):
    r = case.function(case.x0)
    assert type(r) is RESIDUALS_OF_LISTS.get(case.name, np.ndarray)
    values = np.asarray(r)
    assert values.dtype == float
    assert values.shape == (case.m,)
    assert np.all(np.isfinite(values))
    assert case.x0.ndim == 1 and np.all(np.isfinite(case.x0))


@parametrize(RESIDUAL_CASES)
def test_every_parameter_of_a_residual_matters(case):
    r = np.asarray(case.function(case.x0))
    for j in range(case.n):
        moved = case.x0.copy()
        moved[j] += 0.01 + 0.03 * abs(moved[j])
        assert not np.array_equal(np.asarray(case.function(moved)), r), f"parameter {j}"


def test_start_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        RESIDUALS["rosenbrock"].x0[0] = 1.0


SAME_EQUATIONS = [
    ("rosenbrock", "rosenbrock_unpacked"),
    ("rosenbrock", "rosenbrock_tuple"),
    ("broyden_tridiagonal", "broyden_concatenated"),
    ("broyden_tridiagonal", "broyden_by_loop"),
    ("mean_field", "mean_field_dot"),
    ("bratu", "bratu_padded"),
    ("closure_lambda", "from_globals"),
    ("closure_lambda", "partial"),
    ("closure_lambda", "by_dictionary"),
    ("closure_lambda", "by_named_tuple"),
    ("closure_lambda", "by_fancy_index"),
    ("closure_lambda", "as_array_first"),
    ("closure_lambda", "by_append"),
    ("closure_lambda", "by_comprehension"),
    ("closure_lambda", "by_store"),
    ("closure_lambda", "by_math"),
    ("closure_weighted", "method"),
    ("trilateration", "trilateration_norm"),
    ("spring_network", "spring_network_rows"),
]


@pytest.mark.parametrize(("one", "other"), SAME_EQUATIONS)
def test_forms_of_the_same_equations_agree(one, other):
    x = RESIDUALS[one].x0 + 0.1 * np.sin(1.0 + np.arange(RESIDUALS[one].n))
    np.testing.assert_allclose(RESIDUALS[other].function(x), RESIDUALS[one].function(x), rtol=1e-12, atol=1e-13)


FROM_THE_COLLECTION = [
    ("freudenstein_roth", mgh_small.freudenstein_roth_residual),
    ("wood", mgh_small.wood_residual),
    ("bard", mgh_small.bard_residual),
    ("kowalik_osborne", mgh_small.kowalik_osborne_residual),
    ("box_three_dimensional", mgh_small.box_residual),
    ("jennrich_sampson", mgh_small.jennrich_sampson_residual),
    ("helical_valley", mgh_small.helical_valley_residual),
    ("extended_rosenbrock", mgh_variable.extended_rosenbrock_residual),
    ("extended_powell", mgh_variable.extended_powell_residual),
    ("broyden_tridiagonal", mgh_variable.broyden_tridiagonal_residual),
    ("broyden_banded", mgh_variable.broyden_banded_residual),
    ("discrete_boundary_value", mgh_variable.discrete_boundary_value_residual),
    ("discrete_integral", mgh_variable.discrete_integral_equation_residual),
    ("trigonometric", mgh_variable.trigonometric_residual),
    ("variably_dimensioned", mgh_variable.variably_dimensioned_residual),
    ("brown_almost_linear", mgh_variable.brown_almost_linear_residual),
    ("penalty_one", mgh_variable.penalty1_residual),
]


@pytest.mark.parametrize(("name", "reference"), FROM_THE_COLLECTION)
def test_cost_is_that_of_the_published_problem(name, reference):
    case = RESIDUALS[name]
    x = np.abs(case.x0) + 0.1 * np.sin(1.0 + np.arange(case.n))  # positive: the two helical valleys cut elsewhere
    r, published = case.function(x), reference(x)
    np.testing.assert_allclose(np.sort(np.abs(r)), np.sort(np.abs(published)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["collocation", "pendulum", "trigonometric_exponential", "periodic_chain"])
def test_equations_couple_neighbours_alone(name):
    case = RESIDUALS[name]
    jac = approx_fprime(case.x0, case.function, 1e-7)
    row, column = np.nonzero(jac)
    distance = np.abs(row - column)
    if name in ("periodic_chain", "collocation"):  # ring; and the first value's equation, which stands last
        distance = np.minimum(distance, case.n - distance)
    assert np.max(distance) == 1


# Functions that must be called as they are


@parametrize(NOT_TRACEABLE)
def test_untraceable_function_works_plainly(case, capsys):
    function = case.function
    first = np.array(case.evaluate(function))
    second = np.array(case.evaluate(function))
    assert first.ndim == 1 and np.all(np.isfinite(first))
    assert np.array_equal(first, second) == case.repeatable
    assert (capsys.readouterr().out != "") == (case.name == "prints")
    assert case.why


@pytest.mark.parametrize("name", ["counter_attribute", "call_counter"])
def test_counters_count_and_start_anew(name):
    case = UNTRACEABLE[name]
    function = case.function
    for _ in range(3):
        case.evaluate(function)
    assert function.calls == 3
    assert case.function.calls == 0


def test_global_state_is_written():
    before = stateful_functions.COUNT, len(stateful_functions.HISTORY)
    for name in ("counter_global", "history_global"):
        case = UNTRACEABLE[name]
        case.evaluate(case.function)
    assert (stateful_functions.COUNT, len(stateful_functions.HISTORY)) == (before[0] + 1, before[1] + 1)


def test_abort_raises_after_five_calls():
    case = UNTRACEABLE["abort"]
    function = case.function
    for _ in range(5):
        case.evaluate(function)
    with pytest.raises(StopIteration, match="after 5 calls"):
        case.evaluate(function)
