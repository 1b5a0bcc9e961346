"""Functions as kernels see them: the same values and derivatives whichever way a function comes and is evaluated."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import NonlinearConstraint
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import aslinearoperator

import nlsq
from nlsq.compiler import routes
from nlsq.derivatives import CentralDifference, ComplexStep, ForwardDifference, JacobianShapeError
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.vector_function import linear_function, stacked_function, vector_function

X = np.array([0.3, 0.5, 0.7])
needs_compilation = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")


pytestmark = pytest.mark.usefixtures("no_routes")


def plain(x):
    return np.array([x[0] ** 2 + x[1] - 1.0, np.sin(x[2]) * x[0]])


def values(x):
    return np.array([x[0] ** 2 + x[1] - 1.0, np.sin(x[2]) * x[0]])


def jacobian(x):
    return np.array([[2.0 * x[0], 1.0, 0.0], [np.sin(x[2]), 0.0, x[0] * np.cos(x[2])]])


def hessian(x, v):
    h = np.zeros((3, 3))
    h[0, 0] = 2.0 * v[0]
    h[0, 2] = h[2, 0] = v[1] * np.cos(x[2])
    h[2, 2] = -v[1] * x[0] * np.sin(x[2])
    return h


PATTERN = np.array([[1, 1, 0], [1, 0, 1]])
jitted = numba.njit(plain)


# Ways of evaluation: (keywords, kind of the Jacobian, tolerance, calls Python)

WAYS = {
    "called": ({}, "2-point", 1e-6, True),
    "2-point": ({"jac": "2-point"}, "2-point", 1e-6, True),
    "3-point": ({"jac": "3-point"}, "3-point", 1e-9, True),
    "cs": ({"jac": "cs"}, "cs", 1e-15, True),
    "given": ({"jac": jacobian}, "given", 0.0, True),
    "given sparse": ({"jac": lambda x: csr_array(jacobian(x))}, "given", 0.0, True),
    "given operator": ({"jac": lambda x: aslinearoperator(jacobian(x))}, "given", 0.0, True),
    "estimator": ({"jac": CentralDifference(rel_step=1e-5)}, "3-point", 1e-8, True),
}


@pytest.mark.parametrize("way", WAYS)
def test_plain_function(way):
    options, kind, tolerance, calls_python = WAYS[way]
    function = vector_function(plain, 3, X, **options)
    assert (function.m, function.n, function.jacobian_kind) == (2, 3, kind)
    for x in (X, X + 0.25):
        assert np.array_equal(function.value(x), values(x))
        assert np.allclose(function.dense_jacobian(x), jacobian(x), rtol=0, atol=tolerance)
    assert function.calls_python == calls_python
    assert not function.is_sparse and not function.is_linear


@needs_compilation
@pytest.mark.parametrize("how", ["traced", "njit", "compiled", "bound"])
def test_function_by_address(how):
    give = {
        "traced": plain,
        "njit": jitted,
        "compiled": nlsq.compile(jitted, kind="residual"),
        "bound": nlsq.compile(jitted, kind="residual").bind(X),
    }[how]
    function = vector_function(give, 3, X, compile=how == "traced")
    assert function.jacobian_kind == ("exact (graph)" if how == "traced" else "exact (dual numbers)")
    assert not function.calls_python
    for x in (X, X + 0.25):
        assert np.allclose(function.value(x), values(x), rtol=0, atol=1e-15)
        assert np.allclose(function.dense_jacobian(x), jacobian(x), rtol=0, atol=1e-15)
        v = np.array([2.0, -3.0])
        assert np.allclose(function.hessian(x, v), hessian(x, v), rtol=0, atol=1e-14)
    assert function.hessian_kind == function.jacobian_kind
    assert function.function_evaluations == 0


@needs_compilation
@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs", jacobian])
def test_function_by_address_takes_other_jacobians(jac):
    function = vector_function(jitted, 3, X, jac=jac)
    assert function.jacobian_kind == ("given" if callable(jac) else jac)
    assert np.allclose(function.dense_jacobian(X), jacobian(X), rtol=0, atol=1e-6)
    assert function.calls_python == (jac not in ("2-point", "3-point"))
    assert (function.function_evaluations > 0) == isinstance(jac, str)


@pytest.mark.parametrize("returned", [float, np.float64, np.array, lambda v: [v], lambda v: (v,), lambda v: [[v]][0]])
def test_one_value(returned):
    function = vector_function(lambda x: returned(x @ x - 1.0), 3, X)
    assert function.m == 1
    assert function.value(X) == pytest.approx([X @ X - 1.0])
    assert function.value(X + 1.0) == pytest.approx([(X + 1.0) @ (X + 1.0) - 1.0])
    assert np.allclose(function.dense_jacobian(X), 2.0 * X, atol=1e-6)


@needs_compilation
@pytest.mark.parametrize("returned", [lambda x: x @ x - 1.0, lambda x: [x @ x - 1.0], lambda x: (x[0], 2.0 * x[1])])
def test_traced_numbers_and_lists(returned):
    function = vector_function(returned, 3, X, compile=True)
    assert function.jacobian_kind == "exact (graph)"
    assert np.allclose(function.value(X), np.atleast_1d(returned(X)), rtol=1e-15)


@needs_compilation
def test_njit_function_is_compiled_once():
    once, again = (vector_function(jitted, 3, X) for _ in range(2))
    assert once.residual is not again.residual  # each with its data
    assert once.residual.address == again.residual.address
    assert once.residual.jacobian_address == again.residual.jacobian_address


@numba.njit
def whole(x):
    return np.array([int(10.0 * x[0]), int(10.0 * x[1])])


@needs_compilation
def test_njit_function_of_whole_numbers_is_called():
    function = vector_function(whole, 3, X, name="c")
    assert function.calls_python and np.array_equal(function.value(X), [3.0, 5.0])
    assert function.notes == ["c is called plainly, since it returns numbers of type int64"]
    compiled = vector_function(nlsq.compile(whole, kind="residual"), 3, X, name="c")
    assert compiled.jacobian_kind == "2-point" and np.array_equal(compiled.value(X), [3.0, 5.0])
    assert "it returns numbers of type int64, which have lost their derivatives" in compiled.notes[0]
    assert np.array_equal(compiled.dense_jacobian(X), np.zeros((2, 3)))


@needs_compilation
def test_njit_function_of_complex_numbers_is_refused():
    with pytest.raises(TypeError, match="c returned complex numbers; real ones are needed"):
        vector_function(numba.njit(lambda x: x * 1j), 3, X, name="c")


@needs_compilation
def test_njit_function_of_a_number_is_called():
    function = vector_function(numba.njit(lambda x: x[0] * x[1]), 3, X)
    assert function.value(X + 1.0) == pytest.approx([1.3 * 1.5])
    assert "float" in function.notes[0]


@pytest.mark.parametrize("convert", [lambda v: v.astype(np.int64), list, lambda v: v.astype(object), lambda v: v > 0])
def test_other_numbers_are_converted(convert):
    function = vector_function(lambda x: convert(np.array([2.0, -3.0]) * (1.0 if x[0] < 1.0 else 2.0)), 3, X)
    expected = np.asarray(convert(np.array([4.0, -6.0]))).astype(float)
    assert np.array_equal(function.value(X + 1.0), expected)


def test_single_precision_gets_steps_of_its_own():
    def rounded(x):
        return plain(x).astype(np.float32)

    function = vector_function(rounded, 3, X)
    assert np.allclose(function.dense_jacobian(X), jacobian(X), atol=2e-3)
    assert not np.allclose(
        vector_function(lambda x: rounded(x).astype(float), 3, X).dense_jacobian(X), jacobian(X), atol=2e-3
    )


def test_nan_passes():
    function = vector_function(lambda x: np.array([np.nan, x[0], np.inf]), 3, X)
    assert np.array_equal(function.value(X + 1.0), [np.nan, 1.3, np.inf], equal_nan=True)


def test_further_arguments():
    def affine(x, a, b):
        return a * x[:2] + b

    function = vector_function(affine, 3, X, args=(2.0, 1.0), jac=lambda x, a, b: a * np.eye(2, 3))
    assert np.array_equal(function.value(X + 1.0), 2.0 * (X + 1.0)[:2] + 1.0)
    assert np.array_equal(function.dense_jacobian(X), 2.0 * np.eye(2, 3))


@needs_compilation
def test_further_arguments_of_a_traced_function():
    def affine(x, a, b):
        return a * x[:2] ** 2 + b

    for a in (2.0, 3.0):
        function = vector_function(affine, 3, X, args=(a, np.ones(2)), compile=True)
        assert function.jacobian_kind == "exact (graph)"
        assert np.allclose(function.value(X), affine(X, a, 1.0), rtol=1e-15)
        assert np.allclose(function.dense_jacobian(X), 2.0 * a * np.diag(X)[:2], rtol=1e-15)


# What is counted, and what is called


def counted(function):
    def count(x):
        count.calls += 1
        return function(x)

    count.calls = 0
    return count


@pytest.mark.parametrize(
    ("jac", "price"), [(None, 3), ("3-point", 6), ("cs", 3), (ForwardDifference(rel_step=1e-7), 3)]
)
def test_evaluations_inside_jacobians_are_counted(jac, price):
    count = counted(plain)
    function = vector_function(count, 3, X, jac=jac)
    before = function.function_evaluations  # complex steps are checked beforehand
    assert (before > 0) == (jac == "cs")
    function.value(X)
    assert count.calls == 1 + before  # the start is not evaluated twice
    function.dense_jacobian(X)
    assert function.function_evaluations == before + price
    assert count.calls == 1 + before + price
    function.dense_jacobian(X + 1.0)  # the values there are not known
    assert function.function_evaluations == before + 2 * price + 1
    assert count.calls == before + 2 * (1 + price)


@pytest.mark.parametrize("jac", [None, "cs"])
def test_values_are_not_known_any_more_after_a_refresh(jac):
    factor = [1.0]

    def changing(x):
        return factor[0] * x[:2]

    function = vector_function(changing, 3, X, jac=jac)
    factor[0] = 2.0
    function.refresh()
    assert np.allclose(function.dense_jacobian(X), 2.0 * np.eye(2, 3))
    assert np.array_equal(function.value(X), 2.0 * X[:2])
    factor[0] = 3.0
    function.refresh()
    assert np.allclose(function.dense_jacobian(X), 3.0 * np.eye(2, 3))


def test_the_function_gets_a_copy():
    kept = []

    def greedy(x):
        kept.append(x)
        x += 1.0
        return x[:2] - 1.0

    function = vector_function(greedy, 3, X)
    x = X + 1.0
    assert np.allclose(function.value(x), X[:2] + 1.0)
    assert np.allclose(function.dense_jacobian(x), np.eye(2, 3))
    assert np.array_equal(x, X + 1.0)
    assert len({id(one) for one in kept}) == len(kept)


def test_a_buffer_may_be_returned_again_and_again():
    buffer = np.empty(2)

    def refill(x):
        buffer[:] = plain(x)
        return buffer

    function = vector_function(refill, 3, X)
    assert np.allclose(function.dense_jacobian(X + 0.25), jacobian(X + 0.25), atol=1e-6)


# Differences by kernels are those of the Python estimators


SIZES = st.one_of(st.sampled_from([0.0, 1e-9, -1e-9]), st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))


@pytest.mark.parametrize("estimator", [ForwardDifference(), CentralDifference()])
@given(
    x=st.lists(SIZES, min_size=3, max_size=3),
    room=st.lists(
        st.sampled_from([(np.inf, np.inf), (0.0, np.inf), (np.inf, 0.0), (1e-9, 1e-9), (0.0, 0.0)]),
        min_size=3,
        max_size=3,
    ),
)
def test_differences_are_those_of_the_estimators(estimator, x, room):
    x = np.array(x)
    lower, upper = x - np.array([below for below, _ in room]), x + np.array([above for _, above in room])

    def curved(p):
        return np.array([np.exp(1e-3 * p[0]) + p[1], p[2] - 3.0, np.cos(p[1]), 0.0 * p[0]])

    kind = "2-point" if isinstance(estimator, ForwardDifference) else "3-point"
    function = vector_function(curved, 3, x, jac=kind, lower=lower, upper=upper)
    prepared = estimator.prepare(curved, x, 4, lower=lower, upper=upper)
    for _ in range(2):  # at the start a difference of rounding alone counts, later it does not
        expected = prepared.evaluate(x, curved(x), None)
        assert np.allclose(function.dense_jacobian(x), expected, rtol=1e-7, atol=1e-300)


@pytest.mark.parametrize("jac", ["2-point", "3-point"])
def test_the_last_digit_is_no_derivative_but_at_the_start(jac):
    function = vector_function(lambda x: 1.0 if x[0] <= 1.0 else 1.0 + 2.3e-16, 1, [1.0], jac=jac)
    assert function.dense_jacobian(np.array([1.0])) > 0.0
    assert function.dense_jacobian(np.array([1.0])) == 0.0


def test_differences_stay_inside_the_bounds():
    seen = []

    def watch(x):
        seen.append(x)
        return np.sqrt(x)

    for jac in ("2-point", "3-point"):
        vector_function(watch, 2, [0.0, 1.0], jac=jac, lower=0.0, upper=1.0).dense_jacobian(np.array([0.0, 1.0]))
    assert np.min(seen) >= 0.0 and np.max(seen) <= 1.0


@needs_compilation
def test_where_the_exact_derivative_is_not_finite_differences_are_taken():
    function = vector_function(numba.njit(lambda x: np.array([np.sqrt(x[0]) + x[1], x[1] ** 2])), 2, [0.0, 2.0])
    jac = function.dense_jacobian(np.array([0.0, 2.0]))
    assert np.isfinite(jac).all()
    assert jac[:, 1] == pytest.approx([1.0, 4.0], rel=1e-6)
    assert function.function_evaluations == 3
    assert np.allclose(function.dense_jacobian(np.array([1.0, 2.0])), [[0.5, 1.0], [0.0, 4.0]], rtol=1e-15)
    assert function.function_evaluations == 3


# Errors


class Broken(Exception):
    pass


@pytest.mark.parametrize("options", [{}, {"jac": "3-point"}, {"jac": ComplexStep(check=False)}, {"sparsity": PATTERN}])
def test_exceptions_pass_through(options, monkeypatch):
    monkeypatch.setattr(routes, "WORTH_COMPILING", np.inf)

    def raising(x):
        if np.real(x[1]) > 1.0:
            raise Broken(x[1])
        return np.array([x[0] ** 2 + x[1] - 1.0, np.sin(x[2]) * x[0]])

    function = vector_function(raising, 3, X, **options)
    for call in (function.value, function.dense_jacobian, function.jacobian):
        with pytest.raises(Broken):
            call(X + 1.0)
        call(X)  # and it goes on


def test_exceptions_of_derivatives_pass_through():
    def raising(x, v=None):
        raise KeyboardInterrupt

    function = vector_function(plain, 3, X, jac=raising, hess=raising)
    with pytest.raises(KeyboardInterrupt):
        function.dense_jacobian(X)
    with pytest.raises(KeyboardInterrupt):
        function.hessian(X, np.ones(2))


@needs_compilation
def test_compiled_function_that_fails_beside_the_point():
    @numba.njit
    def raising(x):
        if x[1] > 0.5:
            raise ValueError("too large")
        return np.array([x[0], x[1] ** 2])

    function = vector_function(raising, 3, X, jac="2-point")
    with pytest.raises(ValueError, match="too large"):
        function.dense_jacobian(X)
    with pytest.raises(ValueError, match="too large"):
        function.value(X + 1.0)


def test_exceptions_at_the_start_pass_through():
    with pytest.raises(ZeroDivisionError):
        vector_function(lambda x: 1 / 0, 3, X)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "c returned None"),
        (np.array([1j]), TypeError, "c returned complex numbers"),
        ("one", TypeError, "c returned text, 'one'; there must be numbers"),
        (["one", "two"], TypeError, "c returned text, 'one'; there must be numbers"),
        ([1.0, None], TypeError, r"c returned None at \[1\]; there must be numbers"),
        ([1.0, "one", None], TypeError, r"c returned text, 'one'|c returned a str at \[1\]"),
        (np.array(None), TypeError, "c returned None; there must be numbers"),
        ([{}, 1.0], TypeError, r"c returned a dict at \[0\]; there must be numbers"),
        (csr_array(np.eye(2)), TypeError, "c returned a csr_array; there must be numbers"),
        ([[1.0], [1.0, 2.0]], TypeError, "c returned parts of different lengths"),
        (np.ones((2, 2)), ValueError, r"c returned shape \(2, 2\)"),
        ([], ValueError, "c returned no values"),
    ],
)
def test_what_is_no_vector(returned, error, message):
    with pytest.raises(error, match=message):
        vector_function(lambda x: returned, 3, X, name="c")


def test_another_length_than_before():
    function = vector_function(lambda x: x[: 2 if x[0] < 1.0 else 3], 3, X, name="constraints[4]")
    with pytest.raises(ValueError, match=r"constraints\[4\] returned 3 values where 2 were expected"):
        function.value(X + 1.0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.ones((3, 2)), r"c: jac returned shape \(3, 2\), expected \(2, 3\)"),
        (np.ones(3), r"c: jac returned shape \(1, 3\), expected \(2, 3\)"),
        (csr_array(np.ones((3, 2))), r"c: jac returned shape \(3, 2\), expected \(2, 3\)"),
    ],
)
@pytest.mark.parametrize("sparsity", [None, PATTERN])
def test_jacobian_of_a_wrong_shape(returned, message, sparsity):
    function = vector_function(plain, 3, X, jac=lambda x: returned, name="c", sparsity=sparsity)
    with pytest.raises(JacobianShapeError, match=message):
        function.dense_jacobian(X)


def test_jacobian_of_one_value_may_be_a_vector():
    function = vector_function(lambda x: x @ x, 3, X, jac=lambda x: 2.0 * x)
    assert np.array_equal(function.dense_jacobian(X), [2.0 * X])


def test_what_is_no_function():
    with pytest.raises(TypeError, match="c must be callable, got list"):
        vector_function([1.0], 3, X, name="c")
    with pytest.raises(ValueError, match="c: jac must be callable"):
        vector_function(plain, 3, X, jac="4-point", name="c")
    with pytest.raises(TypeError, match="c: jac must be callable"):
        vector_function(plain, 3, X, jac=3.0, name="c")
    with pytest.raises(ValueError, match=r"c: the sparsity pattern has shape \(3, 2\), expected \(2, 3\)"):
        vector_function(plain, 3, X, sparsity=PATTERN.T, name="c")


# Second derivatives


@needs_compilation
def test_traced_functions_may_be_linear():
    a = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    functions = [vector_function(lambda x: a @ x - 1.0, 3, X, compile=True), vector_function(plain, 3, X, compile=True)]
    assert [one.is_linear for one in functions] == [True, False]
    assert functions[0].second.is_zero and not functions[0].hessian(X, np.ones(2)).any()
    assert not stacked_function(functions, 3, "all").is_linear
    assert stacked_function([functions[0]] * 2, 3, "all").is_linear
    v = np.array([9.0, 9.0, 2.0, -3.0])
    assert np.allclose(stacked_function(functions, 3, "all").hessian(X, v), hessian(X, v[2:]), rtol=1e-14)
    assert not vector_function(lambda x: a @ x - 1.0, 3, X).is_linear  # nothing is known of it


@needs_compilation
@pytest.mark.parametrize(
    ("function", "is_linear"),
    [
        (lambda x: 2.0 * x / 3.0 - x[::-1], True),
        (lambda x: x.sum() - 1.0, True),
        (lambda x: [x[0] - x[1], -(3.0 * x[2] + x[0]) * np.sin(2.0)], True),
        (lambda x: x * x[0], False),
        (lambda x: 1.0 / x, False),
        (np.abs, False),
        (lambda x: np.maximum(x, 0.2), False),
        (lambda x: np.where(x > 0.4, x, 2.0 * x), False),
        (lambda x: np.floor(x) * 2.0, False),
        (lambda x: (x**2).sum() + x, False),
    ],
)
def test_which_graphs_are_linear(function, is_linear):
    assert vector_function(lambda x: function(x), 3, X, compile=True).is_linear == is_linear


def test_no_dense_differences_of_huge_jacobians():
    def opaque(x):
        return [float(str(x[0])), float(str(x[1]))]

    function = vector_function(opaque, 5000, np.zeros(5000), jac=lambda x: csr_array(np.eye(2, 5000)))
    assert function.hessian_address == 0 and "5000 parameters and 2 values" in function.second.reason
    assert function.sparse_hessian_kind == "differences of the Jacobian"


def test_given_second_derivatives():
    function = vector_function(plain, 3, X, jac=jacobian, hess=hessian)
    v = np.array([2.0, -3.0])
    assert function.hessian_kind == "given"
    assert np.allclose(function.hessian(X, v), hessian(X, v), rtol=1e-15)


@pytest.mark.parametrize("hess", [None, "2-point", "BFGS"])
def test_unknown_second_derivatives(hess):
    from scipy.optimize import BFGS

    function = vector_function(plain, 3, X, jac="2-point", hess=BFGS() if hess == "BFGS" else hess)
    assert (function.hessian_address, function.hessian_kind) == (0, "")
    with pytest.raises(TypeError, match="residual has no second derivatives"):
        function.hessian(X, np.ones(2))


@pytest.mark.parametrize("jac", ["cs", jacobian, lambda x: csr_array(jacobian(x))])
@pytest.mark.parametrize("sparsity", [None, PATTERN])
def test_second_derivatives_from_an_estimated_jacobian(jac, sparsity):
    function = vector_function(plain, 3, X, jac=jac, sparsity=sparsity)
    v = np.array([2.0, -3.0])
    assert function.hessian_kind == "differences of the Jacobian"
    assert np.allclose(function.hessian(X + 1.0, v), hessian(X + 1.0, v), atol=1e-6)


@pytest.mark.parametrize("jac", ["cs", jacobian])
def test_sparse_second_derivatives_from_the_jacobian(jac):
    function = vector_function(plain, 3, X, jac=jac, sparsity=PATTERN)
    second = function.sparse_hessian
    found, v = np.empty(second.rows.size), np.array([2.0, -3.0])
    second.into(X, v, found)
    dense = coo_array((found, (second.rows, second.columns)), shape=(3, 3)).toarray()
    assert np.allclose(dense, np.tril(hessian(X, v)), atol=1e-6)
    assert function.sparse_hessian_kind == "differences of the Jacobian"
    assert vector_function(plain, 3, X, jac="3-point", sparsity=PATTERN).sparse_hessian is None


def summed(second, x, v):
    found = np.empty(second.rows.size)
    second.into(x, v, found)
    assert (second.rows >= second.columns).all()
    return coo_array((found, (second.rows, second.columns)), shape=(3, 3)).toarray()


@pytest.mark.parametrize("convert", [np.array, csr_array, coo_array])
@pytest.mark.parametrize(
    ("options", "entries"),
    [
        ({"jac": lambda x: csr_array(jacobian(x)), "sparsity": PATTERN}, 5),
        ({"jac": "2-point", "sparsity": PATTERN}, 5),
        pytest.param({"compile": True, "sparsity": "auto"}, 5, marks=needs_compilation),
        ({}, 6),
    ],
)
def test_given_second_derivatives_of_sparse_problems(convert, options, entries):
    weights = []

    def given(x, v):
        weights.append(v.copy())
        return convert(hessian(x, v))

    function = vector_function(plain, 3, X, hess=given, **options)
    second, v = function.sparse_hessian, np.array([2.0, -3.0])
    assert function.sparse_hessian_kind == "given"
    assert second.rows.dtype == np.int64 and second.rows.size == (entries if convert is np.array else 3)
    assert np.array_equal(summed(second, X + 1.0, v), np.tril(hessian(X + 1.0, v)))
    assert np.array_equal(weights[-1], v)
    first = vector_function(plain, 3, X, jac=jacobian, hess=hessian, sparsity=PATTERN)
    both = stacked_function([first, function], 3, "c")
    expected = np.tril(hessian(X + 1.0, v) + hessian(X + 1.0, v[::-1]))
    assert np.allclose(summed(both.sparse_hessian, X + 1.0, np.append(v[::-1], v)), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("convert", "said"), [(csr_array, "the entries of the first matrix"), (np.array, "no row of the Jacobian")]
)
def test_given_second_derivatives_with_an_entry_outside_their_pattern(convert, said):
    def grows(x, v):
        h = np.diag([1.0, 1.0, 1.0])
        h[2, 1] = h[1, 2] = x[0] - X[0]
        return convert(h)

    second = vector_function(plain, 3, X, hess=grows, jac="2-point", sparsity=PATTERN, name="c").sparse_hessian
    assert np.array_equal(summed(second, X, np.ones(2)), np.eye(3))
    with pytest.raises(ValueError, match=rf"c: hess has an entry at row 2, column 1 that .* lacks; {said}"):
        summed(second, X + 1.0, np.ones(2))


def test_given_second_derivatives_that_are_none():
    function = vector_function(plain, 3, X, hess=lambda x, v: None, jac="2-point", sparsity=PATTERN, name="c")
    with pytest.raises(TypeError, match="c: hess returned None"):
        _ = function.sparse_hessian
    function = vector_function(plain, 3, X, hess=lambda x, v: csr_array((2, 2)), jac="2-point", sparsity=PATTERN)
    with pytest.raises(JacobianShapeError, match=r"residual: hess returned shape \(2, 2\), expected \(3, 3\)"):
        _ = function.sparse_hessian


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_sparse_solve_takes_given_second_derivatives_and_what_they_raise(fails_at):
    calls = []

    def opaque(x):
        return [x[0] ** 2 + x[1] - 1.0 + float(str(0.0)), np.sin(x[2]) * x[0]]

    def given(x, v):
        calls.append(v)
        if len(calls) == fails_at:
            raise Broken
        return csr_array(hessian(x, v))

    def solved():
        constraint = NonlinearConstraint(opaque, 0.0, 0.1, jac=jacobian, hess=given, finite_diff_jac_sparsity=PATTERN)
        problem = nlsq.LeastSquaresProblem(lambda x: x - 2.0, X, constraints=constraint, sparsity="auto")
        return nlsq.solve(problem, nlsq.InteriorPoint(linear_solver="sparse"))

    with pytest.raises(Broken):
        solved()
    calls.extend([None, None])
    result = solved()
    assert result.converged and "constraints: given" in result.hessian


# Sparse Jacobians


def chained(x):
    return x[:-1] ** 2 - 3.0 * x[1:]


def chained_jacobian(x):
    n = x.size
    rows = np.arange(n - 1)
    entries = np.concatenate([2.0 * x[:-1], np.full(n - 1, -3.0)])
    return coo_array((entries, (np.tile(rows, 2), np.concatenate([rows, rows + 1]))), shape=(n - 1, n))


CHAIN = chained_jacobian(np.ones(6))


@pytest.mark.parametrize(
    "jac", [None, "2-point", "3-point", "cs", chained_jacobian, lambda x: chained_jacobian(x).toarray()]
)
def test_sparse_jacobian(jac):
    x = np.array([0.0, 1.0, 2.0, 0.0, 4.0, 5.0])  # entries that vanish are entries
    function = vector_function(chained, 6, x, jac=jac, sparsity=CHAIN)
    found = function.jacobian(x)
    assert function.is_sparse
    assert found.nnz == function.pattern.nnz == 10
    assert np.allclose(found.toarray(), chained_jacobian(x).toarray(), atol=1e-6)
    assert np.allclose(function.dense_jacobian(x), found.toarray())
    if isinstance(jac, str):
        assert 0 < function.function_evaluations <= 2 * 6
    if jac is None and not compile_disabled():
        assert function.jacobian_kind == "exact (graph)"


def test_sparse_jacobian_with_an_entry_outside_its_pattern():
    function = vector_function(chained, 6, np.ones(6), jac=chained_jacobian, sparsity=np.eye(5, 6), name="c")
    with pytest.raises(ValueError, match="c: jac has an entry at row 0, column 1"):
        function.jacobian(np.ones(6))


def test_sparse_jacobian_of_many_parameters_is_recognised():
    x = np.linspace(0.0, 1.0, 300)
    count = counted(chained_jacobian)
    function = vector_function(chained, 300, x, jac=count)
    assert function.is_sparse and function.pattern.nnz == 2 * 299
    assert np.array_equal(function.jacobian(x).toarray(), chained_jacobian(x).toarray())
    assert count.calls == 1


@pytest.mark.parametrize("sparsity", ["auto", None])
@needs_compilation
def test_sparse_graph(sparsity):
    n = 6 if sparsity else 300
    x = np.linspace(0.0, 1.0, n)
    function = vector_function(chained, n, x, sparsity=sparsity)
    assert function.jacobian_kind == "exact (graph)"
    assert function.is_sparse and function.pattern.nnz == 2 * (n - 1)
    assert np.allclose(function.jacobian(x).toarray(), chained_jacobian(x).toarray(), rtol=1e-15)
    assert np.allclose(function.dense_jacobian(x), chained_jacobian(x).toarray(), rtol=1e-15)
    second = function.sparse_hessian
    found = np.empty(second.rows.size)
    second.into(x, np.arange(1.0, n), found)
    dense = coo_array((found, (second.rows, second.columns)), shape=(n, n)).toarray()
    assert np.allclose(dense, np.diag(np.append(2.0 * np.arange(1.0, n), 0.0)))


def test_pattern_is_detected_where_there_is_no_graph():
    def opaque(x):
        return np.array([float(str(one)) ** 2 for one in x])

    function = vector_function(opaque, 4, np.arange(1.0, 5.0), sparsity="auto")
    assert np.array_equal(function.pattern.to_dense(), np.eye(4))
    assert np.allclose(function.jacobian(np.arange(1.0, 5.0)).toarray(), np.diag(2.0 * np.arange(1.0, 5.0)), rtol=1e-6)
    assert function.function_evaluations > 4


def test_dense_function_as_a_sparse_one():
    found = vector_function(plain, 3, X, jac=jacobian).jacobian(X)
    assert found.nnz == 6
    assert np.array_equal(found.toarray(), jacobian(X))


# Linear functions


@pytest.mark.parametrize("convert", [np.array, csr_array, coo_array, list])
def test_linear_function(convert):
    a = [[1.0, 0.0, 3.0], [0.0, -2.0, 0.5]]
    function = linear_function(convert(a) if convert is list else convert(np.array(a)), 3, "c")
    assert function.is_linear and function.jacobian_kind == "constant"
    assert np.allclose(function.value(X), np.array(a) @ X)
    assert np.array_equal(function.dense_jacobian(X), a)
    assert np.array_equal(function.jacobian(X).toarray(), a)
    assert function.is_sparse == (convert in (csr_array, coo_array))
    assert function.pattern.nnz == (4 if function.is_sparse else 6)
    assert function.second.is_zero and not function.hessian(X, np.ones(2)).any()


@pytest.mark.parametrize("convert", [np.array, csr_array])
def test_matrix_that_is_none(convert):
    with pytest.raises(ValueError, match=r"c: A has shape \(1, 2\), expected \(m, 3\)"):
        linear_function(convert([[1.0, 2.0]]), 3, "c")
    with pytest.raises(ValueError, match="is not finite"):
        linear_function(convert([[1.0, np.nan, 2.0]]), 3, "c")


# Several functions as one


def stack(**options):
    def cubes(x):
        return x[:1] ** 3

    functions = [
        vector_function(plain, 3, X, name="first", **options),
        linear_function([[1.0, 2.0, 3.0]], 3, "second"),
        vector_function(cubes, 3, X, name="third", **options),
    ]
    return functions, stacked_function(functions, 3, "all")


def expected_jacobian(x):
    return np.vstack([jacobian(x), [1.0, 2.0, 3.0], [3.0 * x[0] ** 2, 0.0, 0.0]])


def test_stacked_functions():
    functions, function = stack()
    for x in (X, X + 0.25):
        assert np.allclose(function.value(x), np.concatenate([one.value(x) for one in functions]))
        assert np.allclose(function.dense_jacobian(x), expected_jacobian(x), atol=1e-5)
        assert np.allclose(function.jacobian(x).toarray(), expected_jacobian(x), atol=1e-5)
    assert function.function_evaluations == sum(one.function_evaluations for one in functions) > 0
    assert (function.m, function.jacobian_kind) == (4, "2-point, constant")
    assert function.hessian_address == 0 and "first has none" in function.second.reason


@needs_compilation
def test_stacked_second_derivatives():
    _, function = stack(compile=True)
    v = np.array([2.0, -3.0, 7.0, 5.0])
    expected = hessian(X, v[:2])
    expected[0, 0] += 5.0 * 6.0 * X[0]
    assert np.allclose(function.hessian(X, v), expected, rtol=1e-14)
    assert function.hessian_kind == "exact (graph)"
    assert not function.calls_python


def test_stacked_linear_functions_are_linear():
    rows = [linear_function([[1.0, 2.0, 3.0]], 3, "a"), linear_function(csr_array([[0.0, 1.0, 0.0]]), 3, "b")]
    function = stacked_function(rows, 3, "all")
    assert function.is_linear and function.second.is_zero
    assert function.is_sparse and function.pattern.nnz == 4
    assert np.array_equal(function.jacobian(X).toarray(), [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    assert np.array_equal(function.dense_jacobian(X), [[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])


@needs_compilation
def test_stacked_sparse_second_derivatives():
    x = np.linspace(0.0, 1.0, 300)
    functions = [vector_function(lambda x, k=k: x[:-1] ** k, 300, x, name=str(k)) for k in (2, 3)]
    function = stacked_function([*functions, linear_function(csr_array(np.eye(2, 300)), 300, "last")], 300, "all")
    second = function.sparse_hessian
    assert function.sparse_hessian_kind == "exact (graph)"
    found = np.empty(second.rows.size)
    second.into(x, np.concatenate([np.full(299, 1.0), np.full(299, 5.0), [9.0, 9.0]]), found)
    dense = coo_array((found, (second.rows, second.columns)), shape=(300, 300)).toarray()
    assert np.allclose(np.diag(dense), np.append(2.0 + 30.0 * x[:-1], 0.0))
    assert function.pattern.nnz == 2 * 299 + 2


def test_stacked_functions_raise_what_the_failing_one_raised():
    def raising(x):
        if x[0] > 1.0:
            raise Broken
        return x

    functions = [vector_function(plain, 3, X), vector_function(raising, 3, X), vector_function(plain, 3, X)]
    function = stacked_function(functions, 3, "all")
    for call in (function.value, function.dense_jacobian):
        with pytest.raises(Broken):
            call(X + 1.0)


# Plain functions change their route


@needs_compilation
def test_refresh_follows_what_the_function_reads():
    a = np.array([1.0, 2.0])

    def reads(x):
        return a * x[:2]

    functions = [vector_function(reads, 3, X, compile=True), vector_function(plain, 3, X)]
    function = stacked_function(functions, 3, "all")
    assert np.allclose(function.value(X)[:2], [0.3, 1.0])
    a = np.array([5.0, 7.0])
    assert not function.refresh()
    assert np.allclose(function.value(X)[:2], [1.5, 3.5])
    functions[0].use_function("it was wrong")
    assert function.refresh()
    assert functions[0].calls_python and "it was wrong" in functions[0].notes[0]
    assert np.allclose(function.value(X)[:2], [1.5, 3.5])
    assert not function.refresh()


@needs_compilation
def test_a_function_is_compiled_once_calling_it_has_taken_long():
    function = vector_function(plain, 3, X)
    function.dense_jacobian(X)
    assert not function.refresh()
    function.route.spend(-1e3)
    assert function.refresh()
    assert function.jacobian_kind == "exact (graph)"
    assert function.function_evaluations == 3
    assert np.allclose(function.dense_jacobian(X), jacobian(X), rtol=1e-15)
