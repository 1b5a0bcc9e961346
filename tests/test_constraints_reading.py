"""Constraints as users write them: SciPy's objects, SLSQP's dicts, and everything that can be wrong with them."""

import pickle
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from scipy.optimize import BFGS, Bounds, LinearConstraint, NonlinearConstraint
from scipy.sparse import coo_matrix, csr_array

import nlsq
from nlsq.derivatives import MissingEntryError
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.constraints import read_constraints

X = np.array([0.3, 0.5, 0.7])
INF = np.inf


pytestmark = pytest.mark.usefixtures("no_routes")


def curved(x):
    return np.array([x[0] ** 2 + x[1], x[2] * x[0]])


def curved_jacobian(x):
    return np.array([[2.0 * x[0], 1.0, 0.0], [x[2], 0.0, x[0]]])


def read(constraints, **options):
    return read_constraints(constraints, 3, X, **options)


def test_everything_at_once():
    found = read(
        [
            NonlinearConstraint(curved, [0.5, -INF], [0.5, 2.0]),
            Bounds([0.0, -INF, 0.1], [1.0, INF, 0.9]),
            LinearConstraint([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], ub=[4.0, INF]),
            {"type": "ineq", "fun": lambda x, a: a - x @ x, "args": (3.0,)},
            {"type": "eq", "fun": lambda x: x[:2] - 0.5, "jac": lambda x: np.eye(2, 3)},
            SimpleNamespace(fun=lambda x: [x[0]], lb=None, ub=7, keep_feasible=True),
        ]
    )
    assert len(found) == found.m == 8
    assert found.lower.tolist() == [0.5, -INF, -INF, -INF, 0.0, 0.0, 0.0, -INF]
    assert found.upper.tolist() == [0.5, 2.0, 4.0, INF, INF, 0.0, 0.0, 7.0]
    assert found.is_equality.tolist() == [True, False, False, False, False, True, True, False]
    assert found.is_free.tolist() == [False, False, False, True, False, False, False, False]
    assert found.keep_feasible.tolist() == [False] * 7 + [True]
    assert [one.tolist() for one in found.bounds] == [[0.0, -INF, 0.1], [1.0, INF, 0.9]]
    assert found.names == [
        "constraints[0][0]", "constraints[0][1]", "constraints[2][0]", "constraints[2][1]",
        "constraints[3][0]", "constraints[4][0]", "constraints[4][1]", "constraints[5][0]",
    ]  # fmt: skip
    expected = [0.59, 0.21, 3.4, 0.5, 3.0 - X @ X, -0.2, 0.0, 0.3]
    assert np.allclose(found.function.value(X), expected)
    jac = np.vstack([curved_jacobian(X), [[1, 2, 3], [0, 1, 0]], -2.0 * X, np.eye(2, 3), [1, 0, 0]])
    assert np.allclose(found.function.dense_jacobian(X), jac, atol=1e-6)
    assert not found.is_linear and not found.is_sparse


@pytest.mark.parametrize("none", [None, [], ()])
def test_no_constraints(none):
    found = read(none)
    assert (found.m, found.function, found.bounds, found.names) == (0, None, None, [])
    assert not found.refresh()


def test_bounds_alone_make_no_rows():
    found = read([Bounds(0.0, INF), Bounds(-1.0, [1.0, 2.0, 3.0])])
    assert found.m == 0
    assert [one.tolist() for one in found.bounds] == [[0.0] * 3, [1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    "one",
    [NonlinearConstraint(curved, 0.0, 1.0), {"type": "eq", "fun": curved}, LinearConstraint(np.eye(2, 3), 0.0, 1.0)],
)
def test_a_single_constraint_needs_no_list(one):
    assert read(one).m == 2
    assert read((one,)).m == 2
    assert read(iter([one, one])).m == 4


def test_a_set_is_taken_as_it_is():
    found = read(NonlinearConstraint(curved, 0.0, 1.0))
    assert read(found) is found
    with pytest.raises(ValueError, match="were read for 3 parameters, but there are 2"):
        read_constraints(found, 2, X[:2])


def test_scalar_limits_stand_for_all_rows():
    found = read(NonlinearConstraint(curved, -1, [2]))
    assert found.lower.tolist() == [-1.0, -1.0] and found.upper.tolist() == [2.0, 2.0]


def test_names_of_their_own():
    found = read([{"type": "eq", "fun": curved, "name": "circle"}, LinearConstraint([[1.0, 0.0, 0.0]], 0.0)])
    assert found.names == ["circle[0]", "circle[1]", "constraints[1][0]"]
    for i in (-1, 3):
        with pytest.raises(IndexError, match="3 rows of constraints"):
            found.row_name(i)


# Derivatives


@pytest.mark.parametrize("jac", ["3-point", "cs", curved_jacobian, lambda x: csr_array(curved_jacobian(x))])
def test_jacobian_is_what_was_asked_for(jac):
    function = read(NonlinearConstraint(curved, 0.0, 1.0, jac=jac)).function
    assert function.jacobian_kind == (jac if isinstance(jac, str) else "given")
    assert np.allclose(function.dense_jacobian(X), curved_jacobian(X), atol=1e-9)


@pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")
@pytest.mark.parametrize("jac", ["2-point", "3-point"])
def test_scipys_default_leaves_the_choice_open(jac):
    function = read(NonlinearConstraint(numba.njit(curved), 0.0, 1.0, jac=jac)).function
    assert function.jacobian_kind == ("exact (dual numbers)" if jac == "2-point" else "3-point")
    compiled = nlsq.compile(numba.njit(curved), kind="residual")
    assert read({"type": "eq", "fun": compiled}).function.jacobian_kind == "exact (dual numbers)"
    traced = read(NonlinearConstraint(lambda x: [x[0] ** 2, x[1]], 0.0, 1.0), compile=True).function
    assert traced.jacobian_kind == "exact (graph)"
    assert np.allclose(traced.hessian(X, np.array([3.0, 1.0])), np.diag([6.0, 0.0, 0.0]))


@pytest.mark.parametrize(("jac", "kind"), [("2-point", "2-point"), ("3-point", "3-point"), ("cs", "cs")])
def test_relative_steps_are_followed(jac, kind):
    seen = []

    def watch(x):
        seen.append(np.array(x))
        return curved(x)

    function = read(NonlinearConstraint(watch, 0.0, 1.0, jac=jac, finite_diff_rel_step=1e-3)).function
    function.dense_jacobian(X)
    assert function.jacobian_kind == kind
    step = 1e-3j if jac == "cs" else 1e-3
    assert any(np.allclose(np.abs(x - X), [0.3 * abs(step), 0.0, 0.0], rtol=1e-9, atol=1e-17) for x in seen)


def test_second_derivatives():
    def hess(x, v):
        return np.diag([2.0 * v[0], 0.0, 0.0])

    found = read(NonlinearConstraint(curved, 0.0, 1.0, jac=curved_jacobian, hess=hess))
    assert found.function.hessian_kind == "given"
    assert found.function.hessian(X, np.array([3.0, 0.0])).tolist() == np.diag([6.0, 0.0, 0.0]).tolist()
    without = read(NonlinearConstraint(curved, 0.0, 1.0, jac="cs", hess=BFGS())).function
    assert without.hessian_kind == "differences of the Jacobian"
    assert np.allclose(without.hessian(X, np.array([3.0, 0.0])), np.diag([6.0, 0.0, 0.0]), atol=1e-6)
    assert read(NonlinearConstraint(curved, 0.0, 1.0, jac="3-point", hess=BFGS())).function.hessian_address == 0


def test_sparsity_of_differences():
    pattern = [[1, 1, 0], [1, 0, 1]]
    found = read(NonlinearConstraint(curved, 0.0, 1.0, jac="3-point", finite_diff_jac_sparsity=pattern))
    assert found.is_sparse and found.function.pattern.nnz == 4
    assert np.allclose(found.function.jacobian(X).toarray(), curved_jacobian(X), atol=1e-8)


def test_entry_that_is_missing_is_one_of_the_constraint():
    lacking = np.array([[1, 1, 0], [1, 0, 0]])

    def fun(x):
        return [x[0] * x[1] + float(str(0.0)), x[0] * x[2]]

    held = read(NonlinearConstraint(fun, 0.0, 1.0, finite_diff_jac_sparsity=lacking))
    said = r"^constraints\[0\]: sparsity lacks entry \(row 1, column 2\): value 1 depends on parameter 2\. Add"
    for jacobian in (held.function.jacobian, held.function.dense_jacobian):
        with pytest.raises(MissingEntryError, match=said) as caught:
            jacobian(np.array([0.3, 0.5, 0.7]))
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.row, again.column, again.name, str(again)) == (1, 2, "constraints[0]", str(caught.value))


def test_sparse_linear_constraints():
    found = read([LinearConstraint(coo_matrix(np.eye(3)), 0.0), LinearConstraint(np.ones((1, 3)), ub=1.0)])
    assert found.is_linear and found.is_sparse
    assert found.function.pattern.nnz == 6
    assert found.function.second.is_zero


def test_differences_and_the_first_call_stay_inside_all_bounds():
    seen = []

    def root(x):
        seen.append(np.array(x))
        return np.sqrt(x)

    constraints = [NonlinearConstraint(root, 0.0, 1.0), Bounds([0.0, -INF, -INF], INF)]
    found = read_constraints(constraints, 3, [-1.0, 0.5, 0.7], lower=[-2.0, 0.5, 0.0], upper=[9.0, 0.5, 0.7])
    found.function.dense_jacobian(np.array([0.0, 0.5, 0.7]))
    assert (np.min(seen, axis=0) >= [0.0, 0.5, 0.0]).all()
    assert np.max(seen, axis=0)[1:].tolist() == [0.5, 0.7]


def test_rows_may_be_none():
    found = read([LinearConstraint(np.empty((0, 3)), np.empty(0), np.empty(0)), NonlinearConstraint(curved, 0.0, 1.0)])
    assert found.names == ["constraints[1][0]", "constraints[1][1]"]


def test_duplicate_and_dependent_rows_are_kept():
    found = read([LinearConstraint([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], 1.0, 1.0)])
    assert found.m == 3


def test_violation():
    found = read(LinearConstraint(np.eye(3), [0.0, -INF, 1.0], [1.0, 2.0, 1.0]))
    assert found.violation(np.array([-0.5, 5.0, 1.0])).tolist() == [0.5, 3.0, 0.0]
    assert found.violation(np.array([0.5, np.nan, 3.0])).tolist() == [0.0, INF, 2.0]


# What is wrong with them


def nonlinear(*arguments, **options):
    return NonlinearConstraint(curved, *arguments, **options)


WRONG = {
    "lower above upper": (
        nonlinear([0.0, 2.0], [1.0, 1.0]),
        ValueError,
        r"constraints\[1\]: lb\[1\] = 2.0 is not <= ub",
    ),
    "nan": (nonlinear([0.0, np.nan], 1.0), ValueError, r"constraints\[1\]: lb\[1\] is NaN"),
    "nan above": (nonlinear(0.0, np.nan), ValueError, r"constraints\[1\]: ub\[0\] is NaN"),
    "both infinite": (nonlinear([0.0, INF], INF), ValueError, r"nothing is between lb\[1\] = inf and ub\[1\] = inf"),
    "both -infinite": (nonlinear(-INF, [0.0, -INF]), ValueError, r"nothing is between lb\[1\] = -inf"),
    "length": (
        nonlinear([0.0, 1.0, 2.0], 9.0),
        ValueError,
        r"constraints\[1\]: lb has shape \(3,\), but fun returns 2",
    ),
    "matrix": (nonlinear(np.zeros((2, 1)), 9.0), ValueError, r"lb has shape \(2, 1\), but fun returns 2 values"),
    "complex": (nonlinear(1j, 9.0), TypeError, r"constraints\[1\]: lb holds complex"),
    "text": (nonlinear("zero", 9.0), TypeError, r"constraints\[1\]: lb"),
    "keep": (nonlinear(0.0, 1.0, keep_feasible=[True] * 3), ValueError, "keep_feasible must be True, False or 2"),
    "jac": (nonlinear(0.0, 1.0, jac="4-point"), ValueError, r"constraints\[1\]: jac must be callable"),
    "jac with steps": (
        nonlinear(0.0, 1.0, jac="4-point", finite_diff_rel_step=1.0),
        ValueError,
        "jac must be callable",
    ),
    "none": (NonlinearConstraint(lambda x: None, 0.0, 1.0), TypeError, r"constraints\[1\] returned None"),
    "complex values": (
        NonlinearConstraint(lambda x: 1j * x, 0.0, 1.0),
        TypeError,
        r"constraints\[1\] returned complex",
    ),
    "table": (
        NonlinearConstraint(lambda x: np.eye(3), 0.0, 1.0),
        ValueError,
        r"constraints\[1\] returned shape \(3, 3\)",
    ),
    "no values": (NonlinearConstraint(lambda x: x[:0], 0.0, 1.0), ValueError, r"constraints\[1\] returned no values"),
    "no function": (NonlinearConstraint(3.0, 0.0, 1.0), TypeError, r"constraints\[1\] must be callable, got float"),
    "columns": (
        LinearConstraint([[1.0, 2.0]]),
        ValueError,
        r"constraints\[1\]: A has shape \(1, 2\), expected \(m, 3\)",
    ),
    "nan in A": (LinearConstraint([[1.0, np.nan, 0.0]]), ValueError, r"constraints\[1\]: A\[0, 1\] is not finite"),
    "linear": (
        LinearConstraint(np.eye(3), 1.0, [2.0, 0.0, 2.0]),
        ValueError,
        r"constraints\[1\]: lb\[1\] = 1.0 is not",
    ),
    "bounds": (Bounds([0.0, 0.0], 1.0), ValueError, r"constraints\[1\]: lb has shape \(2,\), but the number of"),
    "type": (
        {"type": "equal", "fun": curved},
        ValueError,
        r"constraints\[1\]: type must be 'eq' or 'ineq', got 'equal'",
    ),
    "no type": ({"fun": curved}, ValueError, r"constraints\[1\]: type must be 'eq' or 'ineq', got None"),
    "no fun": ({"type": "eq"}, ValueError, r"constraints\[1\] has no 'fun'"),
    "key": ({"type": "eq", "fun": curved, "jacobian": 1}, ValueError, r"constraints\[1\] has the key 'jacobian'"),
    "function": (curved, TypeError, r"constraints\[1\] is a function; a constraint is a scipy"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_constraint_and_the_row(case):
    one, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        read([LinearConstraint(np.eye(3), 0.0), one])


def test_contradictory_bounds():
    with pytest.raises(ValueError, match=r"bounds of x\[1\] contradict each other: 2.0 > 1.0"):
        read([Bounds(0.0, 1.0), Bounds([0.0, 2.0, 0.0], INF)])
    with pytest.raises(ValueError, match=r"bounds of x\[2\] contradict those of the problem: 5.0 > 1.0"):
        read(Bounds(0.0, 1.0), lower=[0.0, 0.0, 5.0])


def test_what_are_no_constraints():
    with pytest.raises(TypeError, match="constraints must be a constraint or a sequence of them"):
        read(3.0)


def test_another_length_at_another_point():
    function = read(NonlinearConstraint(lambda x: x[: 2 if x[0] < 1.0 else 1], 0.0, 1.0)).function
    with pytest.raises(ValueError, match=r"constraints\[0\] returned 1 values where 2 were expected"):
        function.value(X + 1.0)


def test_wrong_shape_of_a_jacobian():
    function = read([nonlinear(0.0, 1.0), nonlinear(0.0, 1.0, jac=lambda x: curved_jacobian(x).T)]).function
    with pytest.raises(ValueError, match=r"constraints\[1\]: jac returned shape \(3, 2\), expected \(2, 3\)"):
        function.dense_jacobian(X)


def test_dicts_are_read_without_scipys_optimizers():
    code = (
        "import sys; from nlsq.problem.constraints import read_constraints\n"
        "found = read_constraints({'type': 'eq', 'fun': lambda x: x @ x - 1}, 2, [1.0, 2.0])\n"
        "assert found.m == 1 and found.lower[0] == found.upper[0] == 0\n"
        "print('scipy.optimize' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Wrong Jacobians of constraints


def with_wrong_entry(x):
    jac = curved_jacobian(x)
    jac[0, 1] += 1.0
    return jac


RIGHT = NonlinearConstraint(curved, 0.0, 1.0, jac=curved_jacobian)
RIGHT_BY_NAME = {"type": "ineq", "fun": lambda b: [b * b, 1.0], "jac": lambda b: [[2.0 * b], [0.0]]}
SAID = "constraints[1]: jac disagrees with differences in 1 of 6 entries; the most in row 0, column 1: jac has 2, "


def test_checker_names_constraint_and_entry():
    wrong = NonlinearConstraint(curved, 0.0, 1.0, jac=with_wrong_entry)
    report = nlsq.check_jacobian([RIGHT, wrong], X)
    assert not report.ok
    assert (report.name, report.entry) == ("constraints[1]", (0, 1))
    assert str(report).startswith(SAID)
    assert str(report).count("column") == 1 and "residual" not in str(report)
    with pytest.raises(nlsq.derivatives.JacobianMismatchError, match=r"constraints\[1\]: .* row 0, column 1: jac has"):
        nlsq.check_jacobian([RIGHT, wrong], X, raise_on_error=True)
    assert nlsq.check_jacobian(wrong, X).name == "constraint"


def test_checker_finds_nothing_wrong():
    linear = LinearConstraint(np.eye(3), 0.0)
    report = nlsq.check_jacobian([RIGHT, linear, Bounds(0.0, 1.0), NonlinearConstraint(curved, 0.0, 1.0)], X)
    assert report.ok and report.name == "constraints[0]"
    assert "constraints[0]: jac agrees" in str(report)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_checker_takes_dicts(factor):
    one = {"type": "eq", "fun": lambda x, a: a * x @ x, "jac": lambda x, a: 2.0 * factor * a * x, "args": (3.0,)}
    report = nlsq.check_jacobian(one, X, bounds=(0.0, 1.0))
    assert report.ok == (factor == 1.0)
    assert ("sign is flipped throughout." in str(report)) == (factor == -1.0)


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    ("fun", "jac", "args", "columns"),
    [
        (lambda c, a: a * c, lambda c, a: [a, c], (), "ca"),
        (lambda c, a, k: k * a * c, lambda c, a, k: [k * a, k * c], (3.0,), "ca"),
        (lambda c, a, k=3.0: k * a * c, lambda c, a, k=3.0: [k * a, k * c], (), "ca"),
        (lambda p: p[0] * p[2], lambda p: [p[2], 0.0, p[0]], (), "abc"),
        (lambda *p: p[0] * p[2], lambda *p: [p[2], 0.0, p[0]], (), "abc"),
        (lambda p, *more: p[0] * p[2] * more[0], lambda p, *more: [3 * p[2], 0.0, 3 * p[0]], (3.0,), "abc"),
    ],
)
def test_checker_takes_parameters_by_name(fun, jac, args, columns, wrong):
    def shifted(*p):
        row = np.array(jac(*p))
        row[1] += 1.0
        return row

    one = {"type": "eq", "fun": fun, "jac": shifted if wrong else jac, "args": args, "name": "product"}
    report = nlsq.check_jacobian([RIGHT_BY_NAME, one], {"a": 2.0, "b": 0.5, "c": 4.0}, bounds=(0.0, [9, 9, 9]))
    assert report.ok == (not wrong), str(report)
    if wrong:
        assert report.name == "product" and f"row 0, column 1 ({columns[1]}): jac has" in str(report)
        assert report.x.size == len(columns)


def test_checker_takes_the_params_of_a_fit():
    x = np.linspace(0.0, 1.0, 9)
    params = nlsq.fit(lambda x, a, b: a + b * x, x, 1.0 + 2.0 * x, [1.0, 1.0]).params
    one = {"type": "eq", "fun": lambda b, a: a * a + b, "jac": lambda b, a: [1.0, a]}
    report = nlsq.check_jacobian(one, params)
    assert "row 0, column 1 (a): jac has 1, differences 2" in str(report)


def test_checker_says_how_to_give_parameters_by_name():
    by_name = {"type": "eq", "fun": lambda a, b: a * b, "jac": lambda a, b: [b, a]}
    with pytest.raises(TypeError, match=r"constraint: its function takes a, b by name, .* \{'a': 1.0, ...\}"):
        nlsq.check_jacobian(by_name, [1.0, 2.0])
    with pytest.raises(ValueError, match="constraint: x has no 'b'; it has a, c"):
        nlsq.check_jacobian(by_name, {"a": 1.0, "c": 2.0})


def test_checker_has_to_have_something_to_check():
    with pytest.raises(TypeError, match="nothing to compare"):
        nlsq.check_jacobian(LinearConstraint(np.eye(3), 0.0), X)
    with pytest.raises(TypeError, match="nothing to compare"):
        nlsq.check_jacobian(nlsq.linear_constraint({"a": 1.0}, upper=1.0), {"a": 0.0})
    with pytest.raises(TypeError, match="takes a function, its Jacobian and x, or constraints and x"):
        nlsq.check_jacobian(curved, X)


def test_set_says_which_given_jacobians_are_wrong():
    wrong = NonlinearConstraint(curved, 0.0, 1.0, jac=with_wrong_entry)
    found = read([RIGHT, wrong, NonlinearConstraint(curved, 0.0, 1.0, jac="3-point"), LinearConstraint(np.eye(3), 0.0)])
    (message,) = found.wrong_jacobians(X)
    assert message.startswith(SAID)
    assert read(RIGHT).wrong_jacobians(X) == []
