"""Constraints of a fit: against closed forms and fits with fewer parameters, in every form that they can be said in."""

import pickle

import numpy as np
import pytest
from scipy.optimize import BFGS, Bounds, LinearConstraint, NonlinearConstraint
from scipy.sparse import csr_array

import nlsq
from nlsq.compiler.routes import unwrapped
from nlsq.fitting import linear_constraint
from nlsq.fitting.constraints import read_constraints
from nlsq.problem.traced import routed_residual
from nlsq.status import Status

RNG = np.random.default_rng(12)
X = np.linspace(0.0, 2.0, 40)
DESIGN = np.stack([np.ones_like(X), X, X * X], axis=1)
Y = DESIGN @ [1.0, 2.0, -1.0] + 0.1 * RNG.standard_normal(X.size)
NAMES = ("a", "b", "c")


def parabola(x, a, b, c):
    return a + b * x + c * x * x


def decay(x, height, rate):
    return height * np.exp(-rate * x)


DECAY = decay(X, 2.0, 1.5) + 0.02 * np.random.default_rng(4).standard_normal(X.size)


def equality_constrained(design, y, rows, values):
    """Return solution, multipliers and covariance of linear least squares under equations, by the KKT system."""
    n, k = design.shape[1], len(rows)
    normal = design.T @ design
    matrix = np.block([[normal, rows.T], [rows, np.zeros((k, k))]])
    found = np.linalg.solve(matrix, np.concatenate((design.T @ y, values)))
    p = found[:n]
    scale = np.sum((design @ p - y) ** 2) / (len(y) - n + k)
    return p, found[n:], scale * np.linalg.inv(matrix)[:n, :n]


# Closed forms


@pytest.mark.parametrize("rows", [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0], [0.0, 2.0, -1.0]]])
def test_linear_model_with_linear_equations_is_the_closed_form(rows):
    rows = np.array(rows)
    values = np.array([2.5, 4.5])[: len(rows)]
    result = nlsq.fit(parabola, X, Y, [1, 1, 1], constraints=LinearConstraint(rows, values, values))
    p, y, covariance = equality_constrained(DESIGN, Y, rows, values)
    assert result.converged
    np.testing.assert_allclose(result.params, p, rtol=1e-6)
    np.testing.assert_allclose(result.multipliers.constraints[0], y, rtol=1e-5)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-6, atol=1e-12)
    assert result.dof == X.size - 3 + len(rows)
    assert result.constr_violation < 1e-8
    assert result.constraints[0].active.all()


def test_equation_that_follows_from_others_does_not_count_twice():
    rows = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    result = nlsq.fit(parabola, X, Y, [1, 1, 1], constraints=LinearConstraint(rows, [2.5, 5.0], [2.5, 5.0]))
    p, _, covariance = equality_constrained(DESIGN, Y, rows[:1], [2.5])
    np.testing.assert_allclose(result.params, p, rtol=1e-5)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-5, atol=1e-12)
    assert result.dof == X.size - 2


def test_parameter_that_constraints_determine_has_no_error():
    equations = [linear_constraint({"a": 1}, 1.2, 1.2)]
    result = nlsq.fit(parabola, X, Y, [1, 1, 1], constraints=equations)
    held = nlsq.fit(parabola, X, Y, [1.2, 1, 1], fixed=["a"])
    assert result.stderr["a"] == 0.0
    np.testing.assert_allclose(result.params, held.params, rtol=1e-7)
    np.testing.assert_allclose(result.stderr, held.stderr, rtol=1e-6)
    assert result.dof == held.dof
    assert "determined by the active constraints" in result.summary()


# Fits with fewer parameters


def test_nonlinear_equation_is_the_fit_that_solves_for_a_parameter():
    result = nlsq.fit(
        decay, X, DECAY, [1, 1], constraints=NonlinearConstraint(lambda height, rate: height * rate, 2.7, 2.7)
    )
    short = nlsq.fit(lambda x, height: decay(x, height, 2.7 / height), X, DECAY, [1.5])
    height = float(short.params["height"])
    np.testing.assert_allclose(result.params, [height, 2.7 / height], rtol=1e-6)
    slope = np.array([1.0, -2.7 / height**2])  # of the parameters by height
    np.testing.assert_allclose(result.covariance, short.covariance * np.outer(slope, slope), rtol=1e-4)
    assert result.dof == short.dof
    assert result.aic == pytest.approx(short.aic, rel=1e-6)


def test_band_closes_where_the_curve_is_held():
    result = nlsq.fit(
        decay, X, DECAY, [1, 1], constraints={"type": "eq", "fun": lambda height, rate: decay(0.5, height, rate) - 1}
    )
    band = result.predict(np.array([0.5, 1.5]), level=0.95)
    assert band.upper[0] - band.lower[0] < 1e-6
    assert band.upper[1] - band.lower[1] > 1e-3


def test_constraint_identifies_what_the_data_do_not():
    def product(x, gain, height, rate):
        return gain * decay(x, height, rate)

    alone = nlsq.fit(product, X, DECAY, [1, 1, 1])
    assert not alone.identifiable["gain" == np.array(alone.names)].any()
    result = nlsq.fit(product, X, DECAY, [1, 1, 1], constraints=linear_constraint({"height": 1, "gain": -2}, 0, 0))
    assert result.identifiable.all() and np.isfinite(result.stderr).all()
    assert result.stderr["height"] == pytest.approx(2 * result.stderr["gain"], rel=1e-6)


def test_inactive_constraint_changes_nothing():
    free = nlsq.fit(decay, X, DECAY, [1, 1])
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints={"type": "ineq", "fun": lambda height: 5 - height})
    np.testing.assert_allclose(result.params, free.params, rtol=1e-6)
    np.testing.assert_allclose(result.covariance, free.covariance, rtol=1e-5)
    assert result.dof == free.dof
    assert not result.constraints[0].active.any()
    assert abs(result.multipliers.constraints[0][0]) < 1e-6


def test_gradient_is_balanced_by_multipliers_of_constraints_and_bounds():
    result = nlsq.fit(
        parabola, X, Y, [1, 1, -1], bounds={"c": (None, -0.5)}, constraints=linear_constraint({"a": 1, "b": 1}, upper=2)
    )
    y = result.multipliers
    assert result.at_bound.tolist() == [0, 0, 1]
    assert y.constraints[0][0] > 0 and y.upper["c"] > 0
    balance = result.jac.T @ result.residual + y.constraints[0][0] * np.array([1, 1, 0]) - y.lower + y.upper
    np.testing.assert_allclose(balance, 0, atol=1e-6)
    assert result.stderr["c"] == 0 and result.stderr["a"] == pytest.approx(result.stderr["b"])


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_what_is_active_does_not_depend_on_units(unit):
    def fitted(limit):
        constraint = linear_constraint({"height": 1}, upper=limit * unit)
        return nlsq.fit(decay, X, DECAY * unit, [unit, 1], constraints=constraint)

    free, held = fitted(5.0), fitted(1.8)
    assert free.converged and held.converged
    assert not free.constraints[0].active[0] and held.constraints[0].active[0]
    alone = nlsq.fit(decay, X, DECAY, [1, 1])
    np.testing.assert_allclose(free.stderr / [unit, 1], alone.stderr, rtol=1e-3)
    assert held.params["height"] == pytest.approx(1.8 * unit, rel=1e-6) and held.dof == free.dof + 1
    assert held.stderr["height"] == 0.0 and held.stderr["rate"] > 0.0


def test_multiplier_is_the_change_of_the_cost_with_the_limit():
    def cost(limit):
        constraint = linear_constraint({"height": 1}, upper=limit)
        return nlsq.fit(decay, X, DECAY, [1, 1], constraints=constraint)

    result, step = cost(1.8), 1e-3
    change = (cost(1.8 + step).cost - cost(1.8 - step).cost) / (2 * step)
    assert change == pytest.approx(-result.multipliers.constraints[0][0], rel=1e-3)


def test_robust_loss_and_weights():
    y = DECAY.copy()
    y[5] += 3.0
    options = {"loss": "soft_l1", "loss_scale": 0.05, "sigma": np.linspace(0.5, 1.5, X.size)}
    result = nlsq.fit(
        decay, X, y, [1, 1], constraints={"type": "eq", "fun": lambda height, rate: height * rate - 3}, **options
    )
    short = nlsq.fit(lambda x, height: decay(x, height, 3 / height), X, y, [1.5], **options)
    np.testing.assert_allclose(result.params["height"], short.params["height"], rtol=1e-5)
    np.testing.assert_allclose(result.stderr["height"], short.stderr["height"], rtol=1e-3)


# Forms


def by_vector(p):
    return 2.0 - p[0] - p[1]


FORMS = {
    "dict by name": {"type": "ineq", "fun": lambda a, b: 2.0 - a - b},
    "names in another order": {"type": "ineq", "fun": lambda b, a: 2.0 - a - b},
    "with an argument": {"type": "ineq", "fun": lambda a, b, most: most - a - b, "args": (2.0,)},
    "with an option": {"type": "ineq", "fun": lambda a, b, most=2.0: most - a - b},
    "all by place": {"type": "ineq", "fun": lambda *p: 2.0 - p[0] - p[1]},
    "all by place with a Jacobian": NonlinearConstraint(
        lambda *p: 2.0 - sum(p[:2]), 0, np.inf, jac=lambda *p: [-1.0, -1.0, 0.0]
    ),
    "others by place": {"type": "ineq", "fun": lambda a, *others: 2.0 - a - others[0]},
    "all by place with an argument": {"type": "ineq", "fun": lambda *p: p[3] - p[0] - p[1], "args": (2.0,)},
    "arguments by place": {"type": "ineq", "fun": lambda p, *more: more[0] - p[0] - p[1], "args": (2.0,)},
    "dict of the vector": {"type": "ineq", "fun": by_vector},
    "vector with an argument": {"type": "ineq", "fun": lambda p, most: most - p[0] - p[1], "args": (2.0,)},
    "with a Jacobian by name": {"type": "ineq", "fun": lambda b, a: 2.0 - a - b, "jac": lambda b, a: [-1.0, -1.0]},
    "nonlinear by name": NonlinearConstraint(lambda a, b: 2.0 - a - b, 0, np.inf),
    "nonlinear of the vector": NonlinearConstraint(
        by_vector, 0, np.inf, jac=lambda p: [[-1.0, -1.0, 0.0]], hess=BFGS()
    ),
    "linear": LinearConstraint([[-1.0, -1.0, 0.0]], -2.0, np.inf),
    "sparse": LinearConstraint(csr_array([[-1.0, -1.0, 0.0]]), -2.0, np.inf),
    "linear by name": linear_constraint({"a": -1, "b": -1}, lower=-2.0),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fixed", [None, {"b": 1.3}])
def test_all_forms_say_the_same(form, fixed):
    result = nlsq.fit(parabola, X, Y, [0.5, 1.3, 1.0], fixed=fixed, constraints=[FORMS[form]])
    rows = np.array([[1.0, 1.0, 0.0]] if fixed is None else [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    p, y, _ = equality_constrained(DESIGN, Y, rows, np.array([2.0, 1.3])[: len(rows)])
    np.testing.assert_allclose(result.params, p, rtol=1e-6)
    assert result.multipliers.constraints[0] == pytest.approx([-y[0]], rel=1e-4)
    assert result.constraints[0].active.all()
    assert result.dof == X.size - 3 + len(rows)
    if fixed:
        assert result.params["b"] == 1.3 and result.stderr["b"] == 0.0


def over_free(constraint, fixed=None, params=(1.0, 2.0, 3.0)):
    free = None if fixed is None else np.array([j for j in range(3) if j not in fixed])
    return read_constraints(constraint, NAMES)[0].over_free(free, np.array(params))


@pytest.mark.parametrize("fixed", [None, [1], [0, 2]])
@pytest.mark.parametrize("by_name", [True, False])
def test_functions_over_the_free_parameters_are_traced(fixed, by_name):
    def of_names(c, a, b):
        return [a * b, np.exp(c) - a, 1.0]

    def of_vector(p):
        return np.array([p[0] * p[1], np.exp(p[2]) - p[0], 1.0])

    function = over_free({"type": "eq", "fun": of_names if by_name else of_vector}, fixed).fun
    p = np.array([1.0, 2.0, 3.0])[[j for j in range(3) if j not in (fixed or [])]]
    plain, route = unwrapped(function, "residual")
    route.require()
    routed = routed_residual(route, plain, p)
    assert routed is not None, route.reason
    np.testing.assert_allclose(routed.residual(p), [2.0, np.exp(3.0) - 1.0, 1.0], rtol=1e-14)


def test_each_users_code_has_a_route_of_its_own_and_other_numbers_are_seen():
    def made(limit):
        return {"type": "ineq", "fun": lambda a, b: limit - a * b}

    first, other = over_free(made(1.0)).fun, over_free({"type": "ineq", "fun": lambda a, b: a - b}).fun
    again = over_free(made(5.0)).fun
    assert first.__code__ is again.__code__
    assert first.__code__ is not other.__code__
    p = np.array([1.0, 2.0, 3.0])
    for function, value in ((first, -1.0), (again, 3.0)):
        route = unwrapped(function, "residual")[1]
        route.require()
        assert routed_residual(route, function, p).residual(p) == pytest.approx([value])


def test_a_function_made_anew_is_known_again_as_long_as_it_is_the_same():
    def made(limit, points=X):
        return {"type": "ineq", "fun": lambda a, b: limit - a * b - points[1]}

    first = over_free(made(1.0)).fun
    assert over_free(made(1.0)).fun is first
    assert over_free(made(2.0)).fun is not first
    assert over_free(made(2.0, X.copy())).fun is not over_free(made(2.0)).fun
    assert over_free(made(float("nan"))).fun is not over_free(made(float("nan"))).fun


def test_values_of_held_parameters_are_numbers_of_one_graph():
    given = {"type": "eq", "fun": lambda a, b, c: a * b + c}
    graphs = set()
    for b in (2.0, 3.0, 5.0, 7.0):
        function = over_free(given, [1], (1.0, b, 3.0)).fun
        route = unwrapped(function, "residual")[1]
        route.require()
        p = np.array([1.5, 2.5])
        found = routed_residual(route, function, p)
        assert found.residual(p) == pytest.approx([1.5 * b + 2.5])
        graphs.add(id(found.entry))
    assert len(graphs) == 2  # with the first value as a constant, then with any


def test_derivatives_are_spread_over_the_free_parameters():
    given = NonlinearConstraint(
        lambda c, a, b: [a * b * c, c * c],
        0,
        1,
        jac=lambda c, a, b: csr_array([[a * b, b * c, a * c], [2 * c, 0, 0]]),
        hess=lambda c, a, b, v: v[0] * np.array([[0, b, a], [b, 0, c], [a, c, 0]]) + v[1] * np.diag([2.0, 0, 0]),
    )
    found = over_free(given)
    p = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(found.jac(p).toarray(), [[6, 3, 2], [0, 0, 6]])
    np.testing.assert_array_equal(found.hess(p, [1, 10]), [[0, 3, 2], [3, 0, 1], [2, 1, 20]])
    found = over_free(given, [1])
    np.testing.assert_array_equal(found.jac(p[[0, 2]]).toarray(), [[6, 2], [0, 6]])
    np.testing.assert_array_equal(found.hess(p[[0, 2]], [1, 10]), [[0, 2], [2, 20]])
    dense = over_free({"type": "eq", "fun": lambda c, a: a * c, "jac": lambda c, a: [a, c]}, [1])
    np.testing.assert_array_equal(dense.jac(p[[0, 2]]), [[3, 1]])


def test_rows_of_held_parameters_are_no_constraints_when_they_hold():
    found = over_free(LinearConstraint(np.eye(3), 0.0, 5.0), [1])
    np.testing.assert_array_equal(found.A, [[1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(found.lb, [0, -np.inf, 0])
    np.testing.assert_array_equal(found.ub, [5, np.inf, 5])


def test_explain_says_whether_a_constraint_is_traced():
    found = nlsq.explain(lambda a, b: [1 - a * b, np.exp(a)], kind="constraint")
    assert found.route in ("traced", "compiled") and found.operations >= 3
    found = nlsq.explain(lambda a, b: float(a) - b, kind="constraint")
    assert found.route == "plain" and found.reason
    with pytest.raises(ValueError, match="'residual' or 'constraint'"):
        nlsq.explain(lambda a: a, kind="bound")


# The result


def test_summary_lists_constraints():
    result = nlsq.fit(
        decay,
        X,
        DECAY,
        [1, 1],
        constraints=[
            linear_constraint({"height": 2, "rate": -1}, upper=2),
            {"type": "ineq", "fun": lambda rate: rate, "name": "positive"},
        ],
    )
    text = result.summary()
    first = next(line for line in text.splitlines() if line.startswith("2 height - rate"))
    assert "<= 2" in first and first.endswith("active")
    second = next(line for line in text.splitlines() if line.startswith("positive"))
    assert ">= 0" in second and "active" not in second
    assert "largest violation" in text


def test_summary_says_when_constraints_are_violated():
    against = [linear_constraint({"height": 1}, upper=1), linear_constraint({"height": 1}, lower=2)]
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints=against)
    assert not result.converged and result.status == Status.LOCALLY_INFEASIBLE
    assert result.constr_violation == pytest.approx(0.5, abs=1e-6)
    assert [outcome.violation[0] for outcome in result.constraints] == pytest.approx([0.5, 0.5], abs=1e-3)
    text = result.summary()
    assert text.count("violated by 0.5") == 2 and "no errors at a point that violates constraints" in text
    assert "not identified" not in text


def test_where_constraints_are_violated_there_are_no_errors():
    against = [linear_constraint({"height": 1}, upper=1), linear_constraint({"height": 1}, lower=2)]
    infeasible = nlsq.fit(decay, X, DECAY, [1, 1], constraints=against)
    far = {"type": "eq", "fun": lambda height, rate: height * rate - 30}
    cut_short = nlsq.fit(decay, X, DECAY, [1, 1], constraints=far, max_evaluations=2)
    assert cut_short.status == Status.MAX_EVALUATIONS and cut_short.constr_violation > 1
    for result in (infeasible, cut_short):
        assert np.isnan(np.asarray(result.stderr)).all() and np.isnan(result.covariance).all()
        assert np.isnan(np.asarray(result.confidence_intervals())).all()
        band = result.predict(X[:3], level=0.95)
        assert np.isfinite(band.values).all() and np.isnan(band.upper).all()
        assert np.isfinite(np.asarray(result.params)).all()


def test_a_fit_that_stops_at_a_limit_but_keeps_its_constraints_has_errors():
    wide = {"type": "ineq", "fun": lambda height: 50 - height}
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints=wide, max_evaluations=4)
    assert not result.converged and np.isfinite(np.asarray(result.stderr)).all()


def test_limits_in_large_units_do_not_cost_the_errors_of_a_converged_fit():
    large = {"type": "eq", "fun": lambda height, rate: 1e9 * (height * rate - 2.7)}
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints=large)
    small = nlsq.fit(
        decay, X, DECAY, [1, 1], constraints={"type": "eq", "fun": lambda height, rate: height * rate - 2.7}
    )
    assert result.converged
    np.testing.assert_allclose(result.stderr, small.stderr, rtol=1e-3)


def test_constraint_without_a_value_at_the_start():
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints={"type": "ineq", "fun": lambda height: height * np.nan})
    assert result.status == Status.NONFINITE_START and np.isnan(np.asarray(result.stderr)).all()
    assert "not finite" in result.summary()


def test_results_pickle_without_their_functions():
    limit = 1.8
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints={"type": "ineq", "fun": lambda height: limit - height})
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.covariance, result.covariance)
    assert copy.dof == result.dof
    assert copy.multipliers.constraints[0] == result.multipliers.constraints[0]
    assert copy.summary() == result.summary()


@pytest.mark.parametrize("where", ["model", "constraint"])
def test_exceptions_carry_the_best_point(where):
    calls = []

    def counted(value, name):
        calls.append(name)
        if calls.count(where) > 20:
            raise RuntimeError("enough")
        return value

    def model(x, height, rate):
        return counted(decay(x, height, rate), "model")

    constraint = {"type": "ineq", "fun": lambda height: counted(1.8 - height, "constraint")}
    with pytest.raises(RuntimeError, match="enough") as caught:
        nlsq.fit(model, X, DECAY, [1, 1], constraints=constraint, tolerances=nlsq.Tolerances(optimality=1e-15))
    best = caught.value.result
    assert best.status == Status.RUNNING and best.cost < 0.5 * np.sum((decay(X, 1, 1) - DECAY) ** 2)
    assert best.cost == pytest.approx(0.5 * np.sum((decay(X, *best.params) - DECAY) ** 2))
    assert "height" in "".join(caught.value.__notes__)


def test_starts_from_the_data_and_many_starts():
    constraint = linear_constraint({"height": 1}, upper=1.8)
    known = nlsq.fit(decay, X, DECAY, [1, 1], constraints=constraint)
    for options in ({}, {"p0": [1, 1], "starts": 3}):
        result = nlsq.fit(decay, X, DECAY, constraints=constraint, **options)
        np.testing.assert_allclose(result.params, known.params, rtol=1e-5)
        assert result.constraints[0].active.all()


def test_of_several_ends_one_that_keeps_the_constraints_is_best():
    """The cubic has a point of least violation at -1, where the cost is lower than at the only feasible point."""
    constraint = {"type": "eq", "fun": lambda a: a**3 - 3 * a - 4}
    model = lambda x, a: a + 0 * x
    trapped = nlsq.fit(model, X, np.full(X.size, -1.0), [-0.9], constraints=constraint)
    result = nlsq.fit(model, X, np.full(X.size, -1.0), [-0.9], constraints=constraint, starts=8)
    assert result.params["a"] == pytest.approx(2.195823, abs=1e-5) and result.converged
    if not trapped.converged:
        assert trapped.cost < result.cost


def test_without_constraints_there_is_nothing_to_tell():
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints=[])
    assert result.constraints == () and result.multipliers is None and result.constr_violation == 0.0
    assert result.status in (Status.COST_CHANGE, Status.COST_AND_STEP, Status.STEP, Status.OPTIMALITY)


def test_a_graph_that_is_not_the_constraint_is_refused(monkeypatch):
    from nlsq.compiler.tracing import trace

    def product(p):
        return p[0] * p[1] - 2.7

    traced = trace.trace_residual
    off = lambda p: [1.01 * p[0] * p[1] - 2.7]
    other = lambda f, n, args=(), given=(): traced(off if f is product else f, n)
    monkeypatch.setattr(trace, "trace_residual", other)
    result = nlsq.fit(decay, X, DECAY, [1, 1], constraints={"type": "eq", "fun": product})
    assert result.params["height"] * result.params["rate"] == pytest.approx(2.7, abs=1e-7)
    assert any("was called plainly" in line for line in result.fallbacks)


def test_tolerance_of_the_method_holds_unless_the_fit_has_one():
    equation = {"type": "eq", "fun": lambda height, rate: height * rate - 2.7}
    solves = [
        nlsq.fit(decay, X, DECAY, [1, 1], constraints=equation, **options)
        for options in (
            {},
            {"method": nlsq.InteriorPoint(tolerance=1e-2)},
            {"method": nlsq.InteriorPoint(tolerance=1e-2), "tolerances": nlsq.Tolerances(optimality=1e-9)},
            {"tolerances": nlsq.Tolerances(optimality=1e-2)},
        )
    ]
    tight, loose, overruled, same = [one.nit for one in solves]
    assert loose == same < tight <= overruled


# Refusals


@pytest.mark.parametrize(
    ("constraint", "error", "message"),
    [
        ({"type": "ineq", "fun": lambda a, d: a}, ValueError, r"constraints\[0\]: unknown parameter 'd'.*a, b, c"),
        (linear_constraint({"q": 1}, upper=1), ValueError, r"unknown parameter 'q'.*a, b, c"),
        ({"type": "less", "fun": abs}, ValueError, r"\['type'\] must be 'eq' .* or 'ineq'"),
        ({"type": "eq"}, TypeError, r"\['fun'\] must be callable"),
        ({"type": "eq", "fun": by_vector, "function": 1}, ValueError, "unknown key 'function'"),
        ({"type": "eq", "fun": lambda: 0}, ValueError, "takes no parameters"),
        ({"type": "eq", "fun": lambda a, *, k: 0}, ValueError, "'k' by keyword only"),
        ({"type": "eq", "fun": lambda b, *p: 0}, ValueError, r"before \*p must be the first parameters.*a, b, c"),
        (LinearConstraint([[1.0, 1.0]], 0, 1), ValueError, "A has 2 columns for 3 parameters"),
        (Bounds(0, 1), TypeError, "give it as bounds"),
        (3, TypeError, "must be scipy.optimize.NonlinearConstraint"),
    ],
)
def test_what_is_no_constraint(constraint, error, message):
    with pytest.raises(error, match=message):
        nlsq.fit(parabola, X, Y, [1, 1, 1], constraints=[constraint])


def test_misspelt_only_argument():
    with pytest.raises(ValueError, match="did you mean 'height'"):
        nlsq.fit(decay, X, DECAY, [1, 1], constraints={"type": "ineq", "fun": lambda heigth: heigth})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": np.nan}, 0), "factor of 'a'"),
        (({}, 0), "are empty"),
        (({"a": 1}, 2, 1), "lies between lower = 2 and upper = 1"),
        (({"a": 1},), "give lower or upper"),
    ],
)
def test_linear_constraints_that_say_nothing(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear_constraint(*arguments)


def test_held_parameters_alone():
    for constraint in (
        linear_constraint({"b": 1}, upper=0.5),
        {"type": "ineq", "fun": lambda b: 0.5 - b, "name": "b"},
        LinearConstraint([[0, 1, 0], [0, 0, 1]], -np.inf, [0.5, 9]),
    ):
        with pytest.raises(ValueError, match=r"is violated by 1.5 by the held parameters, whatever the others are"):
            nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"], constraints=constraint)
    with pytest.raises(ValueError, match=r"b is violated by 1 by .*: 2 is not between -inf and 1; change"):
        nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"], constraints=linear_constraint({"b": 1}, upper=1))
    with pytest.raises(ValueError, match=r"constraints\[0\], row 1, is violated by nan"):
        nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"], constraints={"type": "ineq", "fun": lambda b: [b, b * np.nan]})


def test_held_parameters_are_refused_before_starts_are_sought():
    calls = []

    def model(x, a, b):
        calls.append(1)
        return a + b * x

    with pytest.raises(ValueError, match="violated by 1 by the held"):
        nlsq.fit(model, X, Y, {"a": None, "b": 2}, fixed=["b"], constraints={"type": "ineq", "fun": lambda b: 1 - b})
    assert not calls


@pytest.mark.parametrize(
    "constraint",
    [
        linear_constraint({"b": 1}, upper=3),
        {"type": "ineq", "fun": lambda b: 3 - b},
        NonlinearConstraint(lambda b: [b, b * b], [0, 0], [9, 9]),
        {"type": "eq", "fun": lambda b: b - 2 + 1e-12},
    ],
)
def test_held_parameters_that_keep_a_constraint_leave_it_out(constraint):
    free = nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"])
    result = nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"], constraints=[constraint])
    assert result.converged and result.dof == free.dof
    np.testing.assert_allclose(result.params, free.params, rtol=1e-6)
    np.testing.assert_allclose(result.stderr, free.stderr, rtol=1e-5)
    (outcome,) = result.constraints
    assert not outcome.multipliers.any() and not outcome.violated.any()
    assert pickle.loads(pickle.dumps(result)).summary() == result.summary()
    other = {"type": "eq", "fun": lambda a, c: a + c}  # rows keep their places
    both = nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=["b"], constraints=[constraint, other])
    assert both.multipliers.constraints[1][0] != 0.0 and not both.multipliers.constraints[0].any()
    assert both.params["a"] == pytest.approx(-both.params["c"], abs=1e-8)


def test_all_parameters_held():
    keeps = [linear_constraint({"b": 1}, upper=3), {"type": "eq", "fun": lambda p: p[0] - p[2]}]
    result = nlsq.fit(parabola, X, Y, [1, 2, 1], fixed=NAMES, constraints=keeps)
    assert [one.value[0] for one in result.constraints] == [2.0, 0.0] and result.constr_violation == 0.0
    assert result.dof == X.size and "<= 3" in result.summary()
    with pytest.raises(ValueError, match="violated by 1 by the held"):
        nlsq.fit(parabola, X, Y, [2, 2, 1], fixed=NAMES, constraints=keeps)


def test_batches_and_data_outside_memory_take_none():
    constraint = linear_constraint({"height": 1}, upper=1)
    with pytest.raises(NotImplementedError, match="takes no constraints"):
        nlsq.fit_batch(decay, X, np.stack([DECAY, DECAY]), [1, 1], constraints=[constraint])
    assert nlsq.fit_batch(decay, X, np.stack([DECAY, DECAY]), [1, 1], constraints=()).converged.all()
    source = nlsq.ChunkSource(lambda: iter([(X, DECAY)]))
    with pytest.raises(NotImplementedError, match="constraints are for data in memory"):
        nlsq.fit(decay, source, p0=[1, 1], constraints=constraint)
