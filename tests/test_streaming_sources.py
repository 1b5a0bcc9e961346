"""Sources of blocks, and exact sums over them."""

import math

import numpy as np
import pytest

import nlsq
from nlsq.fitting.streaming.source import read_blocks
from nlsq.kernels.backend import compile_disabled
from nlsq.loss import Loss, scale_for_loss
from nlsq.problem.chunks.arrays import LARGEST_PIECE, PIECE, ArraySource, _piece_length, is_lazy
from nlsq.problem.chunks.blocks import ChunkSource
from nlsq.problem.chunks.iterated import IteratedSource
from nlsq.problem.chunks.sample import BLOCK
from nlsq.solvers.sums import Compensated

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")


def line(x, a, b):
    return a * x + b


def quadratic(x, a, b, c):
    return a * x * x + b * x + c


class InFile:
    """What h5py and zarr look like, counting what is read."""

    def __init__(self, values, chunks=None):
        self.values, self.chunks, self.slices = values, chunks, []

    @property
    def shape(self):
        return self.values.shape

    @property
    def dtype(self):
        return self.values.dtype

    def __getitem__(self, key):
        self.slices.append(key[-1] if isinstance(key, tuple) else key)
        return self.values[key]


# Chunks from an iterator


BAD_CHUNKS = {
    "no tuple": ([np.zeros(3)], TypeError, r"chunk 0 of a ChunkSource must be a tuple \(x, y\)"),
    "too long": ([(1, 2, 3, 4)], TypeError, "got tuple of 4"),
    "lengths": ([(np.zeros(3), np.zeros(4))], ValueError, "in chunk 0 x has length 3, y has length 4"),
    "sigma length": ([(np.zeros(3), np.zeros(3), np.zeros(2))], ValueError, "sigma has length 2"),
    "y of two axes": ([(np.zeros(3), np.zeros((3, 3)))], ValueError, r"y of chunk 0 has shape \(3, 3\)"),
    "x of three axes": ([(np.zeros((1, 1, 3)), np.zeros(3))], ValueError, r"x of chunk 0 has shape \(1, 1, 3\)"),
    "text": ([(np.array(["a"]), np.zeros(1))], TypeError, "x of chunk 0 must be real numbers"),
    "complex": ([(np.zeros(1), np.zeros(1, complex))], TypeError, "y of chunk 0 must be real numbers"),
    "masked": ([(np.zeros(1), np.ma.masked_all(1))], TypeError, "y of chunk 0 is masked"),
    "other rows": (
        [(np.zeros(3), np.zeros(3)), (np.zeros((2, 3)), np.zeros(3))],
        ValueError,
        "chunk 1 of the ChunkSource has another form of x",
    ),
    "sigma now and then": (
        [(np.zeros(3), np.zeros(3)), (np.zeros(3), np.zeros(3), np.ones(3))],
        ValueError,
        "some chunks of the ChunkSource have sigma and some do not; chunk 1",
    ),
    "nothing": ([], ValueError, "has no points"),
    "empty chunks": ([(np.zeros(0), np.zeros(0))] * 3, ValueError, "has no points"),
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_refused(name):
    chunks, error, message = BAD_CHUNKS[name]
    with pytest.raises(error, match=message):
        nlsq.fit(line, ChunkSource(lambda: iter(chunks)), p0=[1.0, 1.0])


def test_factory_has_to_be_one():
    with pytest.raises(TypeError, match="factory must be callable"):
        ChunkSource([(np.zeros(3), np.zeros(3))])
    with pytest.raises(TypeError, match="returned int, which is no iterator"):
        nlsq.fit(line, ChunkSource(lambda: 3), p0=[1.0, 1.0])


def test_used_up_iterator():
    x = np.linspace(0.0, 1.0, 100)
    chunks = iter([(x, line(x, 2.0, 1.0))])
    with pytest.raises(ValueError, match="returned the iterator that it had returned before"):
        nlsq.fit(line, ChunkSource(lambda: chunks), p0=[1.0, 1.0])
    chunks = iter([(x, line(x, 2.0, 1.0))])
    with pytest.raises(ValueError, match="gave 0 points in this pass and 100 in the first one"):
        nlsq.fit(line, ChunkSource(lambda: (one for one in chunks)), p0=[1.0, 1.0])


def test_list_may_be_returned_again():
    x = np.linspace(0.0, 1.0, 100)
    chunks = [(x, line(x, 2.0, 1.0)), (x, line(x, 2.0, 1.0))]
    result = nlsq.fit(line, ChunkSource(lambda: chunks), p0=[1.0, 1.0])
    np.testing.assert_allclose(result.params, [2.0, 1.0])
    assert result.dof == 198


def test_data_that_change_their_length():
    passes = []

    def factory():
        passes.append(None)
        x = np.linspace(0.0, 1.0, 100 + len(passes) // 3)
        yield x, np.exp(x)

    with pytest.raises(ValueError, match="gave 101 points in this pass and 100 in the first one"):
        nlsq.fit(lambda x, a, b: np.exp(a * x) * b, ChunkSource(factory), p0=[0.5, 0.5])


def test_factory_is_called_once_for_each_pass():
    passes = []

    def factory():
        passes.append(None)
        x = np.linspace(0.0, 1.0, 100)
        yield x, np.exp(x)

    result = nlsq.fit(lambda x, a, b: np.exp(a * x) * b, ChunkSource(factory), p0=[0.5, 0.5])
    assert len(passes) == result.nfev
    result.r_squared  # noqa: B018
    assert len(passes) == result.nfev + 1


def test_fewer_points_than_parameters():
    with pytest.raises(ValueError, match="2 points for 3 free parameters"):
        nlsq.fit(quadratic, ChunkSource(lambda: iter([(np.arange(2.0), np.arange(2.0))])), p0=[1.0, 1.0, 1.0])


def test_nothing_but_missing_values():
    chunks = [(np.arange(3.0), np.full(3, np.nan))]
    with pytest.raises(ValueError, match="all 3 points are missing"):
        nlsq.fit(line, ChunkSource(lambda: iter(chunks)), p0=[1.0, 1.0], nan_policy="omit")


def test_what_comes_in_the_chunks_is_not_given_beside_them():
    x = np.linspace(0.0, 1.0, 100)
    plain, with_sigma = ChunkSource(lambda: iter([(x, x)])), ChunkSource(lambda: iter([(x, x, x + 1.0)]))
    with pytest.raises(ValueError, match="leave y out"):
        nlsq.fit(line, plain, x, [1.0, 1.0])
    with pytest.raises(ValueError, match="comes in its chunks"):
        nlsq.fit(line, plain, p0=[1.0, 1.0], sigma=x)
    with pytest.raises(ValueError, match="have sigma; leave weights out"):
        nlsq.fit(line, with_sigma, p0=[1.0, 1.0], weights=2.0)
    with pytest.raises(ValueError, match="give one of them"):
        nlsq.fit(line, plain, p0=[1.0, 1.0], sigma=1.0, weights=1.0)
    with pytest.raises(ValueError, match="sigma is -1"):
        nlsq.fit(line, plain, p0=[1.0, 1.0], sigma=-1.0)
    with pytest.raises(TypeError, match="y is missing"):
        nlsq.fit(line, x, p0=[1.0, 1.0])


def test_exception_of_the_factory_passes_through():
    x = np.linspace(0.0, 1.0, 100)
    passes = []

    def factory():
        passes.append(None)
        yield x, np.exp(x)
        if len(passes) == 3:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        nlsq.fit(lambda x, a, b: np.exp(a * x) * b, ChunkSource(factory), p0=[0.5, 0.5])
    assert caught.value.result.nfev == 2


def test_representation():
    def parts():
        """Nothing."""

    assert repr(ChunkSource(parts)) == "ChunkSource(parts)"


# Data sets in files


def test_what_is_read_lazily():
    assert is_lazy(InFile(np.zeros(3)))
    assert not any(map(is_lazy, (np.zeros(3), [1.0], 1.0, np.float64(1.0), None, "text", np.ma.zeros(3))))
    for name in ("pandas", "xarray", "jax.numpy"):
        library = pytest.importorskip(name)
        make = {"pandas": "Series", "xarray": "DataArray", "jax.numpy": "asarray"}[name]
        assert not is_lazy(getattr(library, make)(np.zeros(3)))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (None, PIECE),
        ((1000,), PIECE // 1000 * 1000),
        ((2, 300_000), 300_000),
        (((700, 700, 100),), PIECE // 700 * 700),
        ((10**9,), LARGEST_PIECE),
        ((), PIECE),
    ],
)
def test_pieces_begin_and_end_with_chunks(chunks, expected):
    assert _piece_length(InFile(np.zeros(3), chunks)) == expected


def test_each_piece_is_read_once():
    values = np.random.default_rng(0).normal(size=2 * PIECE + 5)
    stored = InFile(values, (5000,))
    source = ArraySource(stored, values)
    assert source.is_lazy
    for block in source.blocks():
        np.testing.assert_array_equal(block.x, values[block.start : block.start + block.y.size])
    length = PIECE // 5000 * 5000
    assert stored.slices == [slice(k, min(k + length, values.size)) for k in range(0, values.size, length)]


BAD_SETS = {
    "length": ((InFile(np.zeros(5)), InFile(np.zeros(4))), ValueError, r"x has shape \(5,\) and y \(4,\)"),
    "part": (((InFile(np.zeros(4)), np.zeros(3)), InFile(np.zeros(4))), ValueError, r"x\[1\] has shape \(3,\)"),
    "axes": ((InFile(np.zeros((4, 4, 4))), InFile(np.zeros(4))), ValueError, r"x has shape \(4, 4, 4\)"),
    "y": ((InFile(np.zeros(4)), InFile(np.zeros((4, 2)))), ValueError, r"y has shape \(4, 2\)"),
    "empty": ((InFile(np.zeros(0)), InFile(np.zeros(0))), ValueError, "y must not be empty"),
    "complex": ((InFile(np.zeros(3)), InFile(np.zeros(3, complex))), TypeError, "y must be real numbers"),
    "masked": ((InFile(np.zeros(3)), np.ma.masked_all(3)), TypeError, "y is masked"),
    "rows": ((InFile(np.zeros((17, 30))), InFile(np.zeros(30))), ValueError, "x has 17 rows, more than 16"),
    "few": ((InFile(np.zeros(1)), InFile(np.zeros(1))), ValueError, "1 points for 2 free parameters"),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_bad_data_sets_are_refused(name):
    arguments, error, message = BAD_SETS[name]
    with pytest.raises(error, match=message):
        nlsq.fit(line, *arguments, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"sigma has shape \(3,\)"):
        nlsq.fit(line, InFile(np.zeros(4)), InFile(np.zeros(4)), [1.0, 1.0], sigma=np.ones(3))


def test_slice_of_another_length_is_refused():
    class Short(InFile):
        def __getitem__(self, key):
            return super().__getitem__(key)[:-1]

    with pytest.raises(ValueError, match="has 9 values along its last axis"):
        nlsq.fit(line, Short(np.zeros(10)), InFile(np.zeros(10)), [1.0, 1.0])


def test_contiguous_doubles_are_looked_at_in_place():
    x, y = np.zeros((2, 5 * BLOCK)), np.zeros(5 * BLOCK)
    for block in ArraySource(x, y).blocks():
        assert np.shares_memory(block.x, x)
        assert np.shares_memory(block.y, y)
    for other in (x.astype(np.float32), x[:, ::-1], x.astype(">f8")):
        block = next(ArraySource(other, y).blocks())
        assert not np.shares_memory(block.x, other)
        assert block.x.dtype == np.float64


# Sums


def test_compensated_sums_are_exact():
    rng = np.random.default_rng(5)
    terms = rng.normal(size=(1000, 3)) * 10.0 ** rng.integers(-8, 8, size=(1000, 3))
    terms[500:] = -terms[:500] * (1.0 + 1e-12)
    terms[:, 2] = [1e16, *[1.0] * 998, -1e16]
    sums = Compensated(3)
    for row in terms:
        sums.add(row)
    exact = [math.fsum(column) for column in terms.T]
    np.testing.assert_allclose(sums.value(), exact, rtol=1e-14)
    assert sums.value()[2] == 998.0


def test_sums_that_leave_the_numbers():
    sums = Compensated(3)
    for row in ([1e308, np.inf, 1.0], [1e308, 1.0, np.nan], [1e308, -1.0, 1.0]):
        sums.add(np.array(row))
    np.testing.assert_array_equal(sums.value(), [np.inf, np.inf, np.nan])


def sums_of(x, y, p, **options):
    """Return the sums of a quadratic model as `fit` forms them."""
    from nlsq.fitting.parameters import read_parameters
    from nlsq.fitting.streaming.call import _task
    from nlsq.fitting.streaming.model import traced_sums
    from nlsq.fitting.streaming.source import Request

    blocks = read_blocks(x, y, options.get("sigma"), options.get("weights"), "raise")
    parameters = read_parameters(quadratic, p, None, None)
    request = Request(
        quadratic, x, y, None, None, "raise", parameters, None, options.get("loss", Loss()), False, None, None
    )
    traced = traced_sums(_task(request, blocks), parameters, blocks)
    return traced.sums.evaluate(np.array(p), blocks.blocks())


@pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy", "arctan"])
def test_sums_under_a_loss_are_those_of_the_jacobian(loss):
    rng = np.random.default_rng(2)
    size = BLOCK + 1000
    x, p, scale = rng.normal(size=size), [1.0, 2.0, 0.5], 0.7
    y, sigma = quadratic(x, 1.1, 1.9, 0.4) + rng.normal(size=size), rng.uniform(0.5, 2.0, size)
    found = sums_of(x, y, p, sigma=sigma, loss=Loss(loss, scale))
    jac = np.stack((x * x, x, np.ones(size)), axis=1) / sigma[:, np.newaxis]
    residual = (quadratic(x, *p) - y) / sigma
    assert found.cost == pytest.approx(Loss(loss, scale).cost(residual), rel=1e-12)
    _, slope, _ = Loss(loss, scale).of_residual(residual)
    np.testing.assert_allclose(found.gradient, jac.T @ (slope * residual), rtol=1e-10)
    if loss == "linear":
        assert found.sizes is None
    else:
        np.testing.assert_allclose(found.sizes, slope @ (jac * jac), rtol=1e-12)
    scaled, _ = scale_for_loss(Loss(loss, scale), jac.copy(), residual.copy())
    np.testing.assert_allclose(found.normal, scaled.T @ scaled, rtol=1e-10, atol=1e-8)


def check_exact(size):
    """Compare sums with `math.fsum` of their terms, which Python's floats of double precision form."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-3.0, 3.0, size).astype(np.float16)
    y = (quadratic(x.astype(np.float32), 0.5, -1.0, 2.0) + rng.normal(size=size)).astype(np.float16)
    p = [0.25, -0.5, 1.0]  # products and sums of such numbers are exact, or nearly so
    found = sums_of(x, y, p)
    wide = x.astype(np.float64)
    columns = [wide * wide, wide, np.ones(size)]
    residual = quadratic(wide, *p) - y.astype(np.float64)
    assert found.cost == pytest.approx(0.5 * math.fsum((residual * residual).tolist()), rel=1e-12, abs=0.0)

    def sums(terms):
        return math.fsum(terms.tolist()), float(np.abs(terms).sum())

    for i, column in enumerate(columns):
        exact, total = sums(column * residual)
        assert abs(found.gradient[i] - exact) <= 1e-12 * abs(exact)
        assert abs(found.gradient[i] - exact) <= 1e-14 * total
        for j in range(i + 1):
            exact, total = sums(column * columns[j])
            assert abs(found.normal[i, j] - exact) <= 1e-14 * total
            if i + j != 3 and (i, j) != (2, 1):  # sums of odd powers nearly cancel
                assert found.normal[i, j] == pytest.approx(exact, rel=1e-12, abs=0.0)
        np.testing.assert_array_equal(found.normal[i], found.normal[:, i])


def test_sums_of_a_million_half_precision_terms():
    check_exact(10**6)


@pytest.mark.slow
def test_sums_of_ten_million_half_precision_terms():
    check_exact(10**7)


def test_sums_do_not_grow_wrong_with_the_number_of_blocks():
    """Equal blocks whose sum has no short form: plain addition is off by more than a rounding."""
    block = np.ones(BLOCK), np.full(BLOCK, 1.0 - 0.1)

    def cost_of(blocks):
        return sums_of(ChunkSource(lambda: (block for _ in range(blocks))), None, [0.0, 0.0, 1.0]).cost

    one = cost_of(1)
    assert cost_of(1000) == pytest.approx(math.fsum([one] * 1000), rel=2.3e-16, abs=0.0)
    assert abs(sum([one] * 1000) - math.fsum([one] * 1000)) > 1e-15 * 1000 * one
    assert one == pytest.approx(0.5 * BLOCK * (1.0 - (1.0 - 0.1)) ** 2, rel=1e-13, abs=0.0)


def test_first_chunk_is_not_lost():
    x = np.arange(10.0)
    source = IteratedSource(ChunkSource(lambda: iter([(x[:4], x[:4]), (x[4:], x[4:])])))
    for _ in range(3):
        (block,) = source.blocks()
        np.testing.assert_array_equal(block.y, x)


# Several passes at a time, as threads make them that share a result


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_passes_at_the_same_time_do_not_share_blocks(kind):
    x = np.arange(3 * BLOCK, dtype=kind)
    data = read_blocks(x, 2 * x, 1 + x, None, "raise")
    data.check()
    copies = [tuple(part.copy() for part in block[1:]) for block in data.blocks()]
    first, second = data.blocks(), data.blocks()
    block = next(first)
    next(second), next(second)
    for part, expected in zip(block[1:], copies[0], strict=True):
        np.testing.assert_array_equal(part, expected)


def test_pieces_of_a_file_belong_to_a_pass():
    source = ArraySource(InFile(np.arange(3.0 * PIECE)), np.zeros(3 * PIECE))
    first, second = source.blocks(), source.blocks()
    seen = []
    for block in first:
        next(second, None), next(second, None)
        seen.append(block.x.copy())
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(3.0 * PIECE))


def test_passes_at_the_same_time_do_not_share_a_table():
    x = np.linspace(0.0, 1.0, 2 * BLOCK)
    result = nlsq.fit(quadratic, x, np.exp(x), [1.0, 1.0, 1.0])
    streamed = result._core.task.data.streamed
    sums, blocks, p = streamed.sums, streamed.blocks, np.array([1.0, 2.0, 3.0])
    expected = sums.evaluate(p, blocks.blocks())
    kernel, others = sums._kernel, []

    def interrupted(*arguments):
        """Let another pass go on before the kernel looks at its block."""
        if not others:
            others.append(None)
            others[0] = sums.evaluate(-p, blocks.blocks())
        return kernel(*arguments)

    sums._kernel = interrupted
    found = sums.evaluate(p, blocks.blocks())
    assert found.cost == expected.cost
    np.testing.assert_array_equal(found.normal, expected.normal)
    block = next(blocks.blocks())
    residual, again = sums.residual(block), np.empty(BLOCK)
    sums.evaluate(p, blocks.blocks())
    residual.into(p, again)
    np.testing.assert_allclose(again, quadratic(block.x, *p) - block.y, atol=1e-12)
