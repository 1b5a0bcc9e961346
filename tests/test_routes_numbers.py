"""Numbers that a function brings along change from call to call: one graph serves them all, and the fits are right."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal
from references.compiled_at_once import compiled_at_once  # noqa: F401

import nlsq
from nlsq.compiler import routes
from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.numbers import Computed
from nlsq.compiler.tracing.trace import trace_model, trace_residual

X = np.linspace(0.1, 4.0, 40)
P0 = (1.0, 1.0)
NUMBERS = [float(number) for number in np.random.default_rng(7).uniform(0.4, 3.0, 50)]
RATE = 1.0
LEVELS = np.zeros(40)


def data(model, a=2.5, b=0.7):
    return model(X, a, b) + 0.01 * np.sin(17.0 * X)


def with_cell(rate):
    return lambda x, a, b: a * np.exp(-b * x / rate) + 0.1


def with_default(rate):
    return lambda x, a, b, rate=rate: a * np.exp(-b * x / rate) + 0.1


def with_keyword_default(rate):
    def model(x, a, b, *, unused="text", rate=rate):
        return a * np.exp(-b * x / rate) + 0.1

    return model


def with_two(rate):
    shift = 1.7 - rate
    return lambda x, a, b, scale=0.3 * rate: scale * a * np.exp(-b * x / rate) + shift


def with_array(rate):
    levels = np.sin(rate * X)
    return lambda x, a, b: a * np.exp(-b * x / rate) + levels


def with_helper(rate):
    def shape(x):
        return np.exp(-x / rate)

    return lambda x, a, b: a * shape(b * x)


def with_numpy_number(rate):
    rate = np.float64(rate)
    return lambda x, a, b: a * np.exp(-b * x / rate) + 0.1


def with_logarithm(rate):
    return lambda x, a, b: a * np.exp(-b * x * math.log(rate + 1.0)) + rate**2 + abs(-rate)


def with_condition(rate):
    return lambda x, a, b: a * np.where(x > rate, np.exp(-b * x), 1.0 + b * x / rate)


def with_stores(rate):
    def model(x, a, b):
        values = np.empty(40)
        for k in range(40):
            values[k] = a * np.exp(-b * x[k] / rate) + 0.1 * k * rate
        return values

    return model


MAKERS = [
    with_cell, with_default, with_keyword_default, with_two, with_array, with_helper, with_numpy_number,
    with_logarithm, with_condition, with_stores,
]  # fmt: skip
OF_ONE_GRAPH = [one for one in MAKERS if one is not with_helper]


def check(model, y, **options):
    ours, covariance = nlsq.curve_fit(model, X, y, P0, **options)
    theirs, their_covariance = scipy.optimize.curve_fit(model, X, y, P0, **options)
    assert_allclose(ours, theirs, rtol=2e-5, atol=1e-7)
    assert_allclose(covariance, their_covariance, rtol=2e-3, atol=1e-9)


def entries_of(function, form="model"):
    return [entry for entries in routes.route_of(function, form).entries.values() for entry in entries]


@pytest.fixture
def small_is_not_worth_it(monkeypatch):
    monkeypatch.setattr(routes, "WORTH_TRACING_ANEW", 2000)


# Numbers of all places


@pytest.mark.parametrize("make", MAKERS)
def test_curve_fit_gives_scipys_values_for_fifty_numbers(make):
    for number in NUMBERS:
        model = make(number)
        check(model, data(model))


@pytest.mark.parametrize("make", OF_ONE_GRAPH)
def test_two_graphs_serve_all_numbers(make):
    for number in NUMBERS:
        model = make(number)
        nlsq.curve_fit(model, X, data(model), P0)
    entries = entries_of(model)
    assert len(entries) == 2
    assert len(entries[0].trace.graph.given) == (3 if make is with_two else 1) and not entries[1].trace.graph.given
    assert entries[0].calls >= len(NUMBERS) - 1


@pytest.mark.parametrize("make", [one for one in OF_ONE_GRAPH if one not in (with_default, with_two)])
def test_fit_gives_the_values_of_plain_calls(make):
    for number in NUMBERS[:20]:
        model = make(number)
        y = data(model)
        result = nlsq.fit(model, X, y, P0)
        assert_allclose(np.asarray(result.params), scipy.optimize.curve_fit(model, X, y, P0)[0], rtol=2e-5)
    assert len(entries_of(model)) == 2


def test_weights_and_bounds():
    sigma = 0.5 + 0.1 * np.cos(X)
    for number in NUMBERS[:20]:
        model = with_cell(number)
        y = data(model)
        check(model, y, sigma=sigma, absolute_sigma=True)
        check(model, y, bounds=([0.0, 0.0], [9.0, 9.0]))
    assert len(entries_of(model)) == 2


def residual_of_cell(rate):
    y = data(with_cell(rate))
    return lambda p: p[0] * np.exp(-p[1] * X / rate) + 0.1 - y


def residual(p, x, y, rate, shift=0.0):
    return p[0] * np.exp(-p[1] * x / rate) + shift - y


def test_least_squares_and_leastsq():
    for number in NUMBERS:
        function = residual_of_cell(number)
        expected = scipy.optimize.least_squares(function, P0)
        found = nlsq.least_squares(function, P0)
        assert_allclose(found.x, expected.x, rtol=2e-5)
        assert_allclose(found.cost, expected.cost, rtol=1e-6)
        assert_allclose(found.jac, expected.jac, rtol=1e-4, atol=1e-6)
        assert_allclose(nlsq.leastsq(function, P0)[0], expected.x, rtol=2e-5)
    assert len(entries_of(function, "residual")) == 2


def test_further_arguments():
    for number in NUMBERS:
        arguments = X, data(with_cell(number)), number, np.float64(0.1 + 1e-3 * number)
        expected = scipy.optimize.least_squares(residual, P0, args=arguments).x
        assert_allclose(nlsq.least_squares(residual, P0, args=arguments).x, expected, rtol=2e-5)
        assert_allclose(nlsq.leastsq(residual, P0, args=arguments)[0], expected, rtol=2e-5)
        for bounds in ((-9.0, 9.0), (0.0, 5.0)):
            found = nlsq.least_squares(residual, P0, args=arguments, bounds=bounds)
            assert_allclose(found.x, expected, rtol=2e-5)
    assert len(entries_of(residual, "residual")) == 2


def test_globals(monkeypatch):
    model = lambda x, a, b: a * np.exp(-b * x / RATE) + global_shape(x) + LEVELS
    for number in NUMBERS[:20]:
        monkeypatch.setitem(globals(), "RATE", number)
        monkeypatch.setitem(globals(), "LEVELS", np.cos(number * X))
        check(model, data(model))
    assert len(entries_of(model)) == 2


def global_shape(x):
    return 0.1 * np.sin(x * RATE)


def test_numbers_that_change_one_after_the_other():
    make = lambda rate, shift, power=2.0: lambda x, a, b: a * np.exp(-b * x / rate) + shift * x**power
    for number in NUMBERS[:5]:
        model = make(number, 0.3)
        check(model, data(model))
    for number in NUMBERS[:5]:
        model = make(1.1, number)
        check(model, data(model))
    for number in NUMBERS[:5]:
        model = make(number, 0.2, number)
        check(model, data(model))
    given = [set(entry.trace.graph.given) for entry in entries_of(model)]
    assert [len(one) for one in given] == [3, 2, 1, 0]
    assert entries_of(model)[0].arrays_of(make(1.0, 2.0, 3.0)).numbers != ()


def test_a_large_sparse_residual():
    def make(step):
        return lambda p: np.concatenate((p[1:] - p[:-1] - step * p[:-1] ** 2, [p[0] - 0.5]))

    start = np.full(300, 0.5)
    for number in (400.0, 461.5, 572.25, -280.0):
        function = make(1.0 / number)
        found = nlsq.solve(nlsq.LeastSquaresProblem(function, start))
        assert_allclose(function(found.x), np.zeros(300), atol=1e-8)
    assert {len(entry.trace.graph.given) for entry in entries_of(function, "residual")} == {0, 1}


# Special values


def test_signs_and_zeros():
    make = lambda shift: lambda x, a, b: a * np.exp(-b * x) + np.copysign(0.5, shift) * x + shift
    for number in (1.0, -2.5, 0.0, -0.0, 3.5, -0.0, 0.0, -7.25):
        model = make(number)
        check(model, data(model))
    assert len(entries_of(model)) == 2


@pytest.mark.parametrize("make", [with_cell, with_default, with_logarithm])
def test_numbers_that_are_not_finite_go_the_general_way(make):
    for number in NUMBERS[:4]:
        model = make(number)
        check(model, data(model))
    y = data(model)
    for number in (math.nan, math.inf, float("nan"), -math.inf):
        entry = entries_of(model)[0]
        assert entry.arrays_of(make(number)) is None
        with np.errstate(all="ignore"):
            assert outcome(make(number), y) == outcome(Called(make(number)), y)
    check(model, y)
    assert len(entries_of(model)) == 2


class Called:
    """A function that is always called plainly, being no function."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)


def outcome(model, y):
    """Return what a fit gave, or its error."""
    try:
        return str(nlsq.curve_fit(model, X, y, P0)[0])
    except (RuntimeError, ValueError, scipy.optimize.OptimizeWarning) as error:
        return str(error)


def test_a_number_that_python_cannot_compute_with_raises_as_ever():
    quotient = lambda rate: lambda x, a, b: a * np.exp(-b * x * (1.0 / rate)) + 0.1
    square = lambda rate: lambda x, a, b: a * np.exp(-b * x) + 1e-300 * rate**2.0
    root = lambda rate: lambda x, a, b: a * np.exp(-b * x) + math.sqrt(rate)
    for make, bad, error in (
        (quotient, 0.0, ZeroDivisionError),
        (square, 1e200, OverflowError),
        (root, -1.0, ValueError),
    ):
        for number in NUMBERS[:4]:
            check(make(number), data(make(number)))
        y = data(make(1.0))
        with pytest.raises(error):
            nlsq.curve_fit(make(bad), X, y, P0)
        check(make(2.0), data(make(2.0)))
        assert len(entries_of(make(2.0))) == 2


def test_division_of_arrays_by_zero_gives_what_numpy_gives():
    make = lambda rate: lambda x, a, b: a * np.exp(-b * x) + np.where(x < 1e9, 0.0, x / rate)
    for number in (2.0, 3.0, 4.0):
        check(make(number), data(make(number)))
    with np.errstate(all="ignore"):
        check(make(np.float64(5.0)), data(make(2.0)))
        check(make(0.0), data(make(2.0)))
        check(make(5e-324), data(make(2.0)))


@pytest.mark.parametrize("order", [(2.0, 2.5, 3.0), (0.5, 2.0, 1.0, 3.25), (3.0, -1.0, -0.5)])
def test_exponents(order):
    make = lambda power: lambda x, a, b: a * np.exp(-b * x**power) + 0.1 * x
    for number in order * 2:
        check(make(number), data(make(number)))
    first, latest = entries_of(make(1.0))[::-1]
    assert not first.trace.graph.given and len(latest.trace.graph.given) == 1
    assert ("pow" in [node[0] for node in latest.trace.graph.nodes]) and latest.calls > len(order)


def test_exponents_of_parameters():
    make = lambda power: lambda x, a, b: a * x + (b * b) ** power
    for number in (2.0, 2.5, 3.0, 1.0, 0.75):
        model = make(number)
        y = data(model)
        found = nlsq.curve_fit(model, X, y, P0)[0]
        assert_allclose(model(X, *found), model(X, *scipy.optimize.curve_fit(model, X, y, P0)[0]), rtol=1e-6)
    assert len(entries_of(model)) == 2


# Numbers that no graph can be given


def branching(rate):
    def model(x, a, b):
        if rate > 1.5:
            return a * np.exp(-b * x / rate)
        return a / (1.0 + b * x * rate)

    return model


def indexing(rate):
    return lambda x, a, b: a * np.exp(-b * x) + x[int(10.0 * rate)] * rate


def rounding(rate):
    return lambda x, a, b: a * np.exp(-b * x) + 0.1 * math.floor(rate * 10.0) + 7.0 % rate


@pytest.mark.parametrize("make", [branching, indexing, rounding])
def test_numbers_whose_values_are_needed_give_right_values(make, small_is_not_worth_it):
    for number in NUMBERS[:20]:
        model = make(number)
        check(model, data(model))
    route = routes.route_of(model, "model")
    assert route.pauses and route.reason == "" and [len(some) for some in route.entries.values()] == [2]


@pytest.mark.parametrize("make", [branching, indexing])
def test_functions_that_thrash_are_explained(make, small_is_not_worth_it):
    for number in NUMBERS[: routes.MOST_ANEW]:
        model = make(number)
        nlsq.curve_fit(model, X, data(model), P0)
    assert routes.route_of(model, "model").reason == ""
    model = make(0.123)
    nlsq.curve_fit(model, X, data(model), P0)
    text = str(nlsq.explain(model, X, P0))
    assert "traced anew at each of 8 calls" in text and "a number that it branches on" in text


def lengths_of_data(count):
    def model(x, a, b):
        return a * np.exp(-b * x) + 0.5

    return model, [np.linspace(0.0, 4.0, 20 + k) for k in range(count)]


def test_data_of_ever_new_lengths_are_fitted_plainly_for_a_while(small_is_not_worth_it):
    model, points = lengths_of_data(2 * routes.MOST_ANEW)
    for x in points:
        y = model(x, 2.0, 0.7) + 0.01 * np.cos(9.0 * x)
        assert_allclose(nlsq.curve_fit(model, x, y, P0)[0], scipy.optimize.curve_fit(model, x, y, P0)[0], rtol=1e-5)
    route = routes.route_of(model, "model")
    assert route.pauses and len(route.entries) == routes.MOST_ANEW
    before = [some[0].calls for some in route.entries.values()]
    for x in points[: routes.MOST_ANEW]:
        nlsq.curve_fit(model, x, model(x, 2.0, 0.7), P0)
    assert all(some[0].calls > calls for some, calls in zip(route.entries.values(), before, strict=True))
    route.seconds += routes.PAUSE
    nlsq.curve_fit(model, points[-1], model(points[-1], 2.0, 0.7), P0)
    assert not route.pauses and len(route.entries) == routes.MOST_ANEW + 1


def test_the_memory_of_many_lengths_is_bounded(monkeypatch):
    model, points = lengths_of_data(12)
    monkeypatch.setattr(routes, "MOST_KEYS", 5)
    for x in points:
        for _ in range(2):
            nlsq.curve_fit(model, x, model(x, 2.0, 0.7), P0)
    route = routes.route_of(model, "model")
    assert [key[0] for key in route.entries] == [x.shape for x in points[-5:]]
    monkeypatch.setattr(routes, "MOST_RESIDUALS", 60)
    for x in points[:2]:
        nlsq.curve_fit(model, x, model(x, 2.0, 0.7), P0)
    assert [key[0] for key in route.entries] == [x.shape for x in points[:2]]


def test_graphs_that_are_used_again_do_not_thrash(small_is_not_worth_it):
    for number in NUMBERS[:15]:
        for _ in range(2):
            model = branching(number)
            check(model, data(model))
    assert routes.route_of(model, "model").reason == ""


def test_large_problems_are_traced_anew(monkeypatch):
    monkeypatch.setattr(routes, "WORTH_TRACING_ANEW", 40)
    for number in NUMBERS[:20]:
        check(branching(number), data(branching(number)))
    assert routes.route_of(branching(1.0), "model").reason == ""


def test_one_number_is_given_where_another_cannot_be():
    def make(rate, shift):
        def model(x, a, b):
            return a * np.exp(-b * x) + (shift if rate > 1.0 else -shift) * x

        return model

    for rate, shift in ((0.5, 1.0), (2.0, 3.0), (2.0, -4.5), (2.0, 0.25), (0.5, 7.5)):
        check(make(rate, shift), data(make(rate, shift)))
    assert max(len(entry.trace.graph.given) for entry in entries_of(make(1.0, 1.0))) == 1


@pytest.mark.parametrize("kinds", [int, bool, str])
def test_numbers_of_other_types_are_no_given_numbers(kinds):
    def make(value):
        return lambda x, a, b: a * np.exp(-b * x) + float(value) ** 2 / (1.0 + float(value)) * x

    for number in (1, 2, 3, 2, 0, 5):
        model = make(kinds(number) if kinds is not str else f"{number}.5")
        try:
            check(model, data(model))
        except NotTraceable:
            raise AssertionError("a refusal to trace reached the caller") from None
    assert not any(entry.trace.graph.given for entry in entries_of(model))


def test_integers_that_change(small_is_not_worth_it):
    make = lambda count: lambda x, a, b: a * np.exp(-b * x) + sum(x**k for k in range(count)) / 2**count
    for count in range(1, 14):
        check(make(count), data(make(count)))


def test_kinds_of_numbers_do_not_mix():
    for number in (1.5, np.float64(2.5), 3, 3.5, np.float64(4.5), 5, np.float32(0.5), 6.5):
        model = with_cell(number)
        check(model, data(model))


# What graphs record


def test_a_given_number_is_no_other_constant():
    graph = Graph(1)
    before = graph.number(3.25)
    given = graph.given_number(0, 3.25)
    after = graph.number(3.25)
    assert before == after != given and graph.given_number(0, 3.25) == given
    assert graph.given_number(1, 3.25) not in (given, before) and graph.given_number(2, 2.0) != graph.number(2.0)
    assert graph.is_given(graph.nodes[given]) and not graph.is_given(graph.nodes[before])


def test_rows_that_read_given_numbers_are_joined_only_where_they_read_the_same():
    def function(p, rate, other):
        rows = [p[k + 1] - rate * p[k] for k in range(8)]
        return np.stack([*rows, *[p[k] - (rate if k % 2 else other) for k in range(8)]])

    plain = trace_residual(function, 9, (2.5, 2.5))
    trace = trace_residual(function, 9, (2.5, 2.5), (0, 1))
    assert len(plain.segments) < len(trace.segments) == 3
    assert len(trace_residual(function, 9, (2.5, 2.5), (0,)).graph.given) == 1
    solutions = []
    for numbers in ((2.5, 2.5), (0.5, 1.5), (-1.0, 0.25), (0.3, 0.7)):
        found = nlsq.least_squares(function, np.ones(9), args=numbers)
        expected = scipy.optimize.least_squares(function, np.ones(9), args=numbers)
        assert_allclose(found.x, expected.x, rtol=1e-6, atol=1e-8)
        solutions.append(found.x[0])
    assert len(set(solutions)) == 4


def test_what_is_computed_from_numbers_alone():
    def function(x, a, rate=2.0, base=3.0):
        unused = 1.0 / (rate - base)
        return a * x * math.log(rate) + 0.0 * unused

    computed = Computed(trace_model(function, X, 1, given=(0, 1)).graph)
    assert computed.is_finite([2.0, 3.0]) and computed.is_finite([np.float64(2.0), 3])
    for bad in ([3.0, 3.0], [-1.0, 2.0], [0.0, 1.0], [math.nan, 1.0], [1.0, math.inf]):
        assert not computed.is_finite(bad)
    assert Computed(trace_model(function, X, 1).graph).is_finite([])
    with pytest.raises(NotTraceable, match="floor on a number that changes"):
        Computed(trace_model(lambda x, a, b=2.5: a * x * (b // 1.0), X, 1, given=(0,)).graph)


def test_one_array_in_two_places_may_become_two():
    def make(first, second):
        return lambda x, a, b: a * np.exp(-b * x) + first - 0.5 * second

    for array in (np.sin(X), np.cos(X)):  # where graph and function are compared
        check(make(array, array), data(make(array, array)))
    for first, second in ((np.cos(X), 2.0 * X), (X, X), (X, X**2)):
        check(make(first, second), data(make(first, second)))
    assert routes.route_of(make(X, X), "model").reason == "" and len(entries_of(make(X, X))) == 2


# Models, partials, threads


def test_a_model_whose_number_changes():
    rate = 1.0

    def function(x, a, b):
        return a * np.exp(-b * x / rate)

    model = nlsq.model(function)
    for rate in NUMBERS[:6]:  # noqa: B007
        y = data(function)
        assert_allclose(model.solve(X, y, P0).params, scipy.optimize.curve_fit(function, X, y, P0)[0], rtol=2e-5)
        r, _ = model.residual_and_jacobian(np.array([2.0, 0.5]), X, y)
        assert_allclose(r, function(X, 2.0, 0.5) - y, rtol=1e-12, atol=1e-14)


def test_a_model_that_is_fitted_in_other_ways_meanwhile():
    rates = [1.0, 2.5]
    rate = rates[0]

    def function(x, a, b):
        return a * np.exp(-b * x / rate)

    model = nlsq.model(function)
    y = data(function)
    for k in (0, 1, 0, 1, 0, 1):
        rate = rates[k]
        expected = scipy.optimize.curve_fit(function, X, y, P0)[0]
        assert_allclose(model.solve(X, y, np.array(P0)).params, expected, rtol=2e-5)
        rate = rates[1 - k]
        assert_allclose(nlsq.curve_fit(model, X, y, P0)[0], scipy.optimize.curve_fit(function, X, y, P0)[0], rtol=2e-5)
        rate = rates[k]
        assert_allclose(model.solve(X, y, np.array(P0)).params, expected, rtol=2e-5)


def test_a_model_whose_globals_change(monkeypatch):
    model = nlsq.model(lambda x, a, b: a * np.exp(-b * x / RATE) + 0.1)
    for number in (1.0, 1.0, 2.0, 2.0, 3.5, 3.5, 1.0):
        monkeypatch.setitem(globals(), "RATE", number)
        y = data(model.function)
        for _ in range(2):
            assert_allclose(
                model.solve(X, y, np.array(P0)).params, scipy.optimize.curve_fit(model.function, X, y, P0)[0], rtol=2e-5
            )


def test_partials():
    def function(rate, x, a, b, *, shift):
        return a * np.exp(-b * x / rate) + shift

    for number in NUMBERS[:20]:
        model = functools.partial(function, number, shift=np.sin(number * X))
        check(model, data(model))
        other = functools.partial(function, 1.5, shift=number)
        check(other, data(other))
    assert [len(entry.trace.graph.given) for entry in entries_of(function)] == [1, 1, 0, 0]
    again = functools.partial(lambda rate, x, a, b, *, shift: a * np.cos(b * x) + rate + shift, 1.0, shift=number)
    check(again, data(again))
    for number in (math.nan, 0.0):
        model = functools.partial(function, np.float64(number), shift=np.sin(X))
        with np.errstate(all="ignore"):
            assert outcome(model, data(with_cell(1.0))) == outcome(Called(model), data(with_cell(1.0)))


def test_partials_of_residuals():
    for number in NUMBERS[:20]:
        y = data(with_cell(number))
        function = functools.partial(residual, x=X, y=y, rate=number)
        expected = scipy.optimize.least_squares(function, P0).x
        assert_allclose(nlsq.least_squares(function, P0).x, expected, rtol=2e-5)
        assert_allclose(nlsq.leastsq(function, P0)[0], expected, rtol=2e-5)
        assert_allclose(nlsq.least_squares(residual, P0, args=(X, y, number)).x, expected, rtol=2e-5)
    assert len(entries_of(residual, "residual")) == 4


def test_partials_of_functions_made_anew():
    def make(rate, shift):
        return functools.partial(lambda x, a, b, shift: a * np.exp(-b * x / rate) + shift, shift=shift)

    for number in NUMBERS[:5]:
        check(make(number, 0.5), data(make(number, 0.5)))
        check(make(0.5, number), data(make(0.5, number)))


@pytest.mark.parametrize("solve", ["curve_fit", "fit", "least_squares", "leastsq"])
def test_threads_with_numbers_of_their_own(solve):
    def one(number):
        model = with_array(number)
        y = data(model)
        if solve == "curve_fit":
            return nlsq.curve_fit(model, X, y, P0)[0]
        if solve == "fit":
            return np.array(nlsq.fit(model, X, y, P0).params)
        function = lambda p: model(X, *p) - y
        arguments = X, y - np.sin(number * X), number
        if solve == "leastsq":
            return nlsq.leastsq(residual, P0, args=arguments)[0]
        return np.concatenate((nlsq.least_squares(residual, P0, args=arguments).x, nlsq.least_squares(function, P0).x))

    with ThreadPoolExecutor(8) as pool:
        concurrent = list(pool.map(one, NUMBERS * 4))
    routes.forget()
    serial = [one(number) for number in NUMBERS]
    assert_allclose(concurrent, serial * 4, rtol=1e-8)
    assert_array_equal([one(number) for number in NUMBERS[:3]], serial[:3])
