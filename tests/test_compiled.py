"""Functions called by address: their forms, their exceptions, life without compilation, threads."""

import os
import pickle
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
from references.compiled_curves import GAUSSIAN, MODELS, residual_of

from benchmarks.problems import nist
from nlsq import LeastSquaresProblem, Status, compile, curve_fit, solve
from nlsq.problem import CompiledFunction


@numba.njit
def rosenbrock(p):
    return np.array([1.0 - p[0], 10.0 * (p[1] - p[0] * p[0])])


ROSENBROCK = compile(rosenbrock, kind="residual")


# Forms


@pytest.mark.parametrize("name", MODELS)
def test_every_form_finds_the_parameters(name):
    residual, p0 = residual_of(name)
    _, curve = MODELS[name]
    result = solve(LeastSquaresProblem(residual, p0))
    plain = solve(LeastSquaresProblem(curve.residual, curve.p0))
    assert result.converged
    np.testing.assert_allclose(result.x, plain.x, rtol=1e-6)
    np.testing.assert_allclose(residual(p0), curve.residual(p0), rtol=1e-12, atol=1e-13)


@numba.njit
def scalar_only(x, a, b):
    if x > 1.0:  # does not compile for an array
        return a * x
    return a + b


@numba.njit
def array_only(x, a, b):
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = a * x[i] + b
    return out


@numba.njit
def single_precision(x, a, b):
    return (a * x + b).astype(np.float32)


def test_scalar_and_array_forms():
    x = np.array([0.0, 1.0, 2.0])
    assert compile(scalar_only).bind_data(x, np.zeros(3))(np.array([2.0, 3.0])).tolist() == [5.0, 5.0, 4.0]
    assert compile(array_only).bind_data(x, np.zeros(3))(np.array([2.0, 3.0])).tolist() == [3.0, 5.0, 7.0]
    weights = np.array([1.0, 2.0, 0.0])
    weighted = compile(array_only).bind_data(x, np.ones(3), weights)
    assert weighted(np.array([2.0, 3.0])).tolist() == [2.0, 8.0, 0.0]


def test_scalar_model_fits_on_every_route():
    """With bounds curve_fit calls the function itself, with all points at once."""
    x = np.linspace(0.0, 2.0, 9)
    function = compile(scalar_only)
    y = np.where(x > 1.0, 2.0 * x, 5.0)
    np.testing.assert_allclose(function(x, 2.0, 3.0), y)
    assert function(2.0, 2.0, 3.0) == 4.0
    for bounds in ((-np.inf, np.inf), (0.0, 10.0)):
        np.testing.assert_allclose(curve_fit(function, x, y, [1.0, 1.0], bounds=bounds)[0], [2.0, 3.0], rtol=1e-6)


def test_residual_form_of_any_size():
    @numba.njit
    def distance(p):
        return p - np.arange(p.size)

    function = compile(distance, kind="residual")
    for n in (1, 3, 5):
        result = solve(LeastSquaresProblem(function, np.ones(n)))
        np.testing.assert_allclose(result.x, np.arange(n), atol=1e-10)
    assert solve(LeastSquaresProblem(ROSENBROCK, [-1.2, 1.0])).x == pytest.approx([1.0, 1.0])


def test_many_parameters_take_another_route_to_the_same_answer():
    """From 32 parameters on BLAS forms the normal matrix, and Python drives."""

    @numba.njit
    def bent(p):
        return p + 0.1 * np.sin(p) - np.arange(p.size)

    result = solve(LeastSquaresProblem(compile(bent, kind="residual"), np.ones(40)))
    assert result.converged
    np.testing.assert_allclose(bent(result.x), 0.0, atol=1e-8)


def test_model_returning_float32_fits():
    x = np.linspace(0.0, 1.0, 20)
    residual = compile(single_precision).bind_data(x, 2.0 * x + 1.0)
    np.testing.assert_allclose(solve(LeastSquaresProblem(residual, [1.0, 0.0])).x, [2.0, 1.0], rtol=1e-4)


@pytest.mark.parametrize("name", ["Misra1a", "Thurber", "Eckerle4"])
def test_compiled_nist_curve(name):
    problem = nist.load(name)
    function = compile(numba.njit(problem.model))
    popt, _ = curve_fit(function, problem.x, problem.y, problem.starts[1])
    np.testing.assert_allclose(popt, problem.certified, rtol=1e-5)


# What is refused


def test_refuses_what_can_be_neither_jitted_nor_traced():
    with pytest.raises(TypeError, match=r"cannot be compiled: .*branch on a value"):
        compile(lambda x, a: a * x if a > 0 else x)
    with pytest.raises(ValueError, match="kind must be 'model' or 'residual'"):
        compile(GAUSSIAN, kind="curve")
    with pytest.raises(TypeError, match="compiled model is no residual function"):
        LeastSquaresProblem(compile(GAUSSIAN), [1.0])


def test_compile_of_compiled_is_the_same():
    function = compile(GAUSSIAN)
    assert compile(function) is function


def test_model_that_returns_no_numbers_is_refused():
    @numba.njit
    def text(x, a):
        return "a"

    with pytest.raises(TypeError, match="numba finds no form"):
        compile(text).bind_data(np.ones(3), np.ones(3))


# Exceptions


@numba.njit
def fails_in_the_middle(p):
    if p[0] < 0.5:
        raise ValueError("p fell below one half")
    return np.array([p[0], 1.0])


@numba.njit
def fails_beside_the_start(p):
    if p[0] != 2.0:
        raise ArithmeticError("moved")
    return np.array([p[0], 1.0])


@numba.njit
def model_that_fails(x, a):
    if a < 0.5:
        raise ZeroDivisionError("a is too small")
    return a * x


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox", "gauss-newton", "gradient"])
@pytest.mark.parametrize(
    ("function", "error", "text"),
    [(fails_in_the_middle, ValueError, "one half"), (fails_beside_the_start, ArithmeticError, "moved")],
)
@pytest.mark.parametrize("watched", [False, True])
def test_exceptions_pass_as_the_original(function, error, text, method, watched):
    problem = LeastSquaresProblem(compile(function, kind="residual"), [2.0])
    with pytest.raises(error, match=text):
        solve(problem, method, history=watched)


def test_exceptions_of_a_model_pass_as_the_original():
    x = np.linspace(1.0, 2.0, 5)
    with pytest.raises(ZeroDivisionError, match="too small"):
        curve_fit(compile(model_that_fails), x, np.zeros(5), [2.0])
    with pytest.raises(ZeroDivisionError, match="too small"):
        LeastSquaresProblem(compile(model_that_fails).bind_data(x, np.zeros(5)), [0.0]).residual(np.zeros(1))


@numba.njit
def scalar_model_that_fails(x, a):
    if x > 3.0:
        raise OverflowError("x is too large")
    return a * x


def test_scalar_model_fails_with_the_data_it_was_given():
    """Fits of one size share a workspace; the exception is that of the data at hand."""
    function = compile(scalar_model_that_fails)
    popt, _ = curve_fit(function, np.arange(3.0), 2.0 * np.arange(3.0), [1.0])
    assert popt == pytest.approx([2.0])
    with pytest.raises(OverflowError, match="too large"):
        curve_fit(function, np.arange(3.0) + 2.0, np.ones(3), [1.0])


def test_exception_at_the_start():
    with pytest.raises(ValueError, match="one half"):
        solve(LeastSquaresProblem(compile(fails_in_the_middle, kind="residual"), [0.0]))


@numba.njit
def longer_far_away(p):
    return np.ones(3) if p[0] < 1.0 else np.array([p[0] - 3.0, 1.0])


@numba.njit
def short(x, a):
    return a * x[1:]


def test_wrong_lengths_are_errors_not_crashes():
    with pytest.raises(ValueError, match="returned 4 values where 5 were expected"):
        curve_fit(compile(short), np.arange(5.0), np.zeros(5), [1.0])
    residual = compile(longer_far_away, kind="residual").bind(np.array([5.0]))
    with pytest.raises(ValueError, match="returned 3 values where 2 were expected"):
        residual(np.array([0.0]))


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_nan_in_the_middle_is_no_step(method):
    @numba.njit
    def root(p):
        return np.sqrt(p) - 0.1

    result = solve(LeastSquaresProblem(compile(root, kind="residual"), [4.0]), method)
    assert np.isfinite(result.x).all()
    assert result.x[0] == pytest.approx(0.01, rel=1e-6)


def test_nan_at_the_start():
    @numba.njit
    def log(p):
        return np.log(p)

    result = solve(LeastSquaresProblem(compile(log, kind="residual"), [-1.0]))
    assert result.status == Status.NONFINITE_START


# Without compilation

DISABLED = """
import numpy as np
from nlsq import LeastSquaresProblem, curve_fit, solve
from nlsq.problem.compiled import compile
def scalar(x, a, b):
    return a * x + b if x > 0.5 else b
def array(x, a, b):
    return a * np.sin(x) + b
def rows(x, a, b):
    return a * x[0] + b * x[1]
def failing(x, a, b):
    raise KeyError("mine")
def distance(p):
    return p - 3.0
x, xx = np.linspace(0.0, 1.0, 9), np.arange(18.0).reshape(2, 9) ** 0.5
for f, at in ((scalar, x), (array, x), (rows, xx)):
    y = np.array([f(v, 2.0, 3.0) for v in at]) if f is scalar else f(at, 2.0, 3.0)
    residual = compile(f).bind_data(at, y)
    found = solve(LeastSquaresProblem(residual, [1.0, 1.0])).x
    np.testing.assert_allclose(found, [2.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(curve_fit(compile(f), at, y, [1.0, 1.0])[0], [2.0, 3.0], rtol=1e-6)
np.testing.assert_allclose(solve(LeastSquaresProblem(compile(distance, kind="residual"), [1.0, 2.0])).x, 3.0)
try:
    compile(failing).bind_data(x, x)(np.ones(2))
except KeyError as error:
    print(error)
import sys
print("numba" in sys.modules)
"""


def test_compiled_functions_run_as_python_where_nothing_is_compiled():
    environment = os.environ | {"NLSQ_DISABLE_COMPILE": "1"}
    done = subprocess.run([sys.executable, "-c", DISABLED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["'mine'", "False"]


# Pickling, threads


def test_pickles():
    function = pickle.loads(pickle.dumps(MODELS["gaussian"][0]))
    assert isinstance(function, CompiledFunction)
    assert (function.kind, function.n) == ("model", 4)
    _, curve = MODELS["gaussian"]
    residual = function.bind_data(curve.x, curve.y)
    np.testing.assert_array_equal(residual(curve.p0), residual_of("gaussian")[0](curve.p0))


def test_data_outlive_their_names():
    """The addresses stay good when the caller forgets the arrays."""
    residual = compile(array_only).bind_data(np.arange(1000.0), np.zeros(1000))
    np.ones(1_000_000)
    assert residual(np.array([1.0, 0.0])).tolist() == np.arange(1000.0).tolist()


def test_threads_share_a_compiled_function():
    residual, p0 = residual_of("gaussian")
    alone = solve(LeastSquaresProblem(residual, p0)).x
    found = [None] * 4

    def work(k):
        for _ in range(20):
            found[k] = solve(LeastSquaresProblem(residual, p0)).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(x, alone) for x in found)
