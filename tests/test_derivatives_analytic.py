"""The user's own Jacobian: every kind, every wrong shape, reused buffers."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from nlsq.derivatives import Analytic, JacobianShapeError
from nlsq.pattern import SparsityPattern

X = np.array([1.0, 2.0])
R = np.zeros(3)
DENSE = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])


DENSE_KINDS = [
    np.array,
    np.asfortranarray,
    np.ndarray.tolist,
    np.matrix,
    lambda a: a.astype(np.int8),
    lambda a: a.astype(np.float32),
    lambda a: a.astype(object),
]


def prepared(jac, m=3, n=2, pattern=None):
    return Analytic(jac).prepare(lambda x: R, np.ones(n), m, pattern=pattern)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("convert", DENSE_KINDS)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_dense(order, convert):
    out = np.full((3, 2), np.nan, order=order)
    jac = prepared(lambda x: convert(DENSE))
    assert jac.kind is None
    assert jac.residual_calls == 0
    assert jac.evaluate(X, R, out) is out
    assert jac.kind == "dense"
    np.testing.assert_array_equal(out, DENSE)
    fresh = jac.evaluate(X, R, None)
    assert type(fresh) is np.ndarray
    assert fresh.dtype == np.float64
    np.testing.assert_array_equal(fresh, DENSE)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok"])
@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.coo_matrix])
def test_sparse(form, kind):
    jac = prepared(lambda x: kind(DENSE).asformat(form))
    assert jac.pattern is None
    value = jac.evaluate(X, R, None)
    assert isinstance(value, sparse.csr_array)
    np.testing.assert_array_equal(value.toarray(), DENSE)
    assert jac.kind == "sparse"
    assert jac.pattern == SparsityPattern.from_dense(DENSE)
    out = np.empty((3, 2))
    np.testing.assert_array_equal(jac.evaluate(X, R, out), DENSE)


def test_sparse_duplicates_are_summed():
    matrix = sparse.csr_array(([1.0, 2.0], [1, 1], [0, 2, 2, 2]), shape=(3, 2))
    value = prepared(lambda x: matrix).evaluate(X, R, None)
    assert value.nnz == 1
    assert value[0, 1] == 3.0


def test_kind_of_the_first_call_stays():
    values = iter([sparse.csr_array(DENSE), DENSE])
    jac = prepared(lambda x: next(values))
    jac.evaluate(X, R, None)
    assert isinstance(jac.evaluate(X, R, None), sparse.csr_array)
    values = iter([DENSE, sparse.csr_array(DENSE)])
    jac = prepared(lambda x: next(values))
    jac.evaluate(X, R, None)
    assert type(jac.evaluate(X, R, None)) is np.ndarray


def test_operator():
    operator = aslinearoperator(DENSE)
    jac = prepared(lambda x: operator)
    assert jac.evaluate(X, R, None) is operator
    assert jac.kind == "operator"
    with pytest.raises(TypeError, match="LinearOperator where a matrix"):
        jac.evaluate(X, R, np.empty((3, 2)))


def test_given_pattern_stays():
    full = SparsityPattern.from_dense(np.ones((3, 2)))
    jac = prepared(lambda x: sparse.csr_array(DENSE), pattern=full)
    jac.evaluate(X, R, None)
    assert jac.pattern is full


@pytest.mark.parametrize("convert", [lambda a: a, sparse.csr_array])
def test_reused_buffer_is_copied(convert):
    buffer = convert(DENSE.copy())

    def jac(x):
        if sparse.issparse(buffer):
            buffer.data *= 2
        else:
            buffer[...] *= 2
        return buffer

    estimate = prepared(jac)
    first = estimate.evaluate(X, R, None)
    estimate.evaluate(X, R, None)
    np.testing.assert_array_equal(first if type(first) is np.ndarray else first.toarray(), 2 * DENSE)


def test_argument_is_a_copy():
    kept = []

    def jac(x):
        kept.append(x)
        x[:] = np.nan
        return DENSE

    x = X.copy()
    prepared(jac).evaluate(x, R, None)
    np.testing.assert_array_equal(x, X)
    assert kept[0] is not x


@pytest.mark.parametrize(
    "wrong",
    [np.ones((2, 2)), np.ones((3, 3)), np.ones(3), np.ones(()), np.ones((1, 3, 2)), np.ones((0, 2)),
     sparse.csr_array(np.ones((2, 2))), LinearOperator((4, 2), matvec=lambda v: v, dtype=float)],
)  # fmt: skip
def test_wrong_shape_says_both(wrong):
    with pytest.raises(JacobianShapeError) as caught:
        prepared(lambda x: wrong).evaluate(X, R, None)
    shape = np.atleast_2d(wrong).shape if isinstance(wrong, np.ndarray) else wrong.shape
    assert str(caught.value) == f"The return value of `jac` has wrong shape: expected (3, 2), actual {shape}."
    assert not hasattr(caught.value, "__notes__")


def test_transposed_shape_is_noted():
    with pytest.raises(JacobianShapeError) as caught:
        prepared(lambda x: DENSE.T).evaluate(X, R, np.empty((3, 2)))
    assert (caught.value.actual, caught.value.expected) == ((2, 3), (3, 2))
    assert "transpose" in caught.value.__notes__[0]


def test_single_residual_as_row():
    np.testing.assert_array_equal(prepared(lambda x: [1.0, 2.0], m=1).evaluate(X, R[:1], None), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "returned None"), (DENSE + 0j, "complex"), ([["a", "b"]] * 3, "must return numbers"), ("J", "must return")],
)
def test_no_numbers(value, text):
    with pytest.raises(TypeError, match=text):
        prepared(lambda x: value).evaluate(X, R, None)


def test_exceptions_pass_through():
    with pytest.raises(ZeroDivisionError):
        prepared(lambda x: 1 / 0).evaluate(X, R, None)


def test_jac_must_be_callable():
    with pytest.raises(TypeError, match="callable, got ndarray"):
        Analytic(DENSE)
