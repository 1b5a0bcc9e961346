"""Functions of parameter blocks: residuals and exact block Jacobians, compiled, kept on disk, or in plain Python."""

import ctypes
import functools
import inspect
import math
import os
import subprocess
import sys
import types

import numba
import numpy as np
import pytest

from nlsq.kernels.backend import block_function
from nlsq.kernels.backend.block_function import BlockArgument, BlockForm, compile_block_function
from nlsq.kernels.backend.block_python import PythonBlockFunction
from nlsq.kernels.backend.kernel import compile_disabled

compiled_only = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")
BLOCKS, COUNT = (4, 5), 7  # parameter blocks of each argument; residual blocks


def vectors(*sizes, data=0, weight="none"):
    return BlockForm(tuple(BlockArgument(size, size) for size in sizes), data, weight)


class Group:
    """Random arrays of a form, and what a function gives for them."""

    def __init__(self, function, form, *, jacobian=None, low=0.2, high=1.8, count=COUNT, make=compile_block_function):
        rng = np.random.default_rng(sum(map(ord, form.weight)) + form.data)
        self.form = form
        self.function = make(function, form, jacobian)
        self.q = self.function.residuals
        heights = [BLOCKS[k % 2] for k in range(len(form.arguments))]
        self.values = [rng.uniform(low, high, (n, one.size)) for n, one in zip(heights, form.arguments, strict=True)]
        self.indices = [rng.integers(0, n, count) for n in heights]
        self.seeds = [
            rng.normal(size=(n, one.size, one.width)) if one.kind == "seeded" else None
            for n, one in zip(heights, form.arguments, strict=True)
        ]
        self.data = rng.uniform(low, high, (count, form.data)) if form.data else None
        shape = {"scalar": (), "vector": (self.q,), "matrix": (self.q, self.q)}.get(form.weight)
        self.weight = None if shape is None else rng.normal(size=(count, *shape))
        self.r = np.full((count, self.q), 99.0)
        self.jac = np.full((count, self.q, form.width), 99.0)

    def run(self, jacobian=True):
        status = self.function.evaluate(
            self.values, self.indices, self.seeds, self.data, self.weight, self.r, self.jac if jacobian else None
        )
        return status

    def call(self, function, values):
        """Call the Python function for each residual block; weights applied."""
        rows = []
        for b in range(len(self.r)):
            blocks = [tuple(v[index[b]].tolist()) for v, index in zip(values, self.indices, strict=True)]
            row = () if self.data is None else (tuple(self.data[b].tolist()),)
            r = np.atleast_1d(np.array(function(*blocks, *row), dtype=float))
            if self.weight is not None:
                w = self.weight[b]
                r = w @ r if w.ndim == 2 else w * r
            rows.append(r)
        return np.array(rows)

    def differences(self, function, h=1e-6):
        """Central differences along the columns."""
        jac = np.zeros_like(self.jac)
        column = 0
        for k, one in enumerate(self.form.arguments):
            directions = np.eye(one.size)[None] if self.seeds[k] is None else self.seeds[k]
            for j in range(one.width):
                ahead, behind = [v.copy() for v in self.values], [v.copy() for v in self.values]
                ahead[k] += h * directions[..., j]
                behind[k] -= h * directions[..., j]
                jac[:, :, column] = (self.call(function, ahead) - self.call(function, behind)) / (2 * h)
                column += 1
        return jac


def agree(function, form, *, rtol=2e-7, **options):
    group = Group(function, form, **options)
    assert group.run() == 0
    np.testing.assert_allclose(group.r, group.call(function, group.values), rtol=1e-12, atol=1e-13)
    slopes = group.differences(function)
    np.testing.assert_allclose(group.jac, slopes, rtol=rtol, atol=rtol * np.abs(slopes).max())
    alone = Group(function, form, **options)
    assert alone.run(jacobian=False) == 0
    np.testing.assert_allclose(alone.r, group.r, rtol=1e-13, atol=1e-14)
    assert np.all(alone.jac == 99.0)
    return group


# What users write


def rotated(w, x):
    """Turn by a rotation vector, with a branch for small angles."""
    square = w[0] * w[0] + w[1] * w[1] + w[2] * w[2]
    if square > 1e-30:
        theta = math.sqrt(square)
        c, s = math.cos(theta), math.sin(theta)
        a = (w[0] / theta, w[1] / theta, w[2] / theta)
        along = (a[0] * x[0] + a[1] * x[1] + a[2] * x[2]) * (1 - c)
        return (
            x[0] * c + (a[1] * x[2] - a[2] * x[1]) * s + a[0] * along,
            x[1] * c + (a[2] * x[0] - a[0] * x[2]) * s + a[1] * along,
            x[2] * c + (a[0] * x[1] - a[1] * x[0]) * s + a[2] * along,
        )
    return x[0] + w[1] * x[2] - w[2] * x[1], x[1] + w[2] * x[0] - w[0] * x[2], x[2] + w[0] * x[1] - w[1] * x[0]


def camera(cam, point, observed):
    p = rotated(cam[:3], point)
    z = p[2] + cam[5] + 4.0
    u, v = (p[0] + cam[3]) / z, (p[1] + cam[4]) / z
    radius = u * u + v * v
    focal = cam[6] * (1 + radius * (cam[7] + cam[8] * radius))
    return focal * u - observed[0], focal * v - observed[1]


def distance(a, b):
    total = 0.0
    for k in range(len(a)):
        total += (a[k] - b[k]) ** 2
    return math.sqrt(total)


def maybe_flat(a):
    if a[0] > 1.0:
        value = a[0] * a[1]
    else:
        value = 0.0
    return value, a[1] - 2.0


def many_functions(a, row):
    x, y = a
    return (
        math.exp(-x) + np.log(y) - math.atan2(x, y),
        np.hypot(x, y) * math.tanh(x) + abs(x - y),
        max(x, y) + min(x, 2.0 * y) + x**3 + y**x + row[1],
        np.sin(x) * np.arctan(y) + math.erf(x) + np.sqrt(x / y) + row[0] * math.log1p(x * y),
    )


def over_tuples(a, b):
    picked = (a[0], a[1], b[0])
    pairs = ((a[0], b[1]), (a[1], b[0]))
    total = 0.0
    for i in range(3):
        total = total + picked[i] * picked[(i + 1) % 3]
    for u, v in pairs:
        total -= math.sin(u) * v
    return total, -total + pairs[0][1], 3.0


@numba.njit
def jitted_helper(x, power=2):
    return x**power


def calls_jitted(a):
    return jitted_helper(a[0]) * a[1] + jitted_helper(a[1], 3)


jitted_kernel = numba.njit(distance)

tools = types.ModuleType("users_tools")
exec("import math\nSCALE = 1.5\ndef bent(x):\n    return SCALE * math.cos(x)\n", tools.__dict__)


tools.inner = types.ModuleType("users_tools.inner")
exec("K = 2.5\ndef bent(x): return x * x * x", tools.inner.__dict__)


def calls_a_module(a):
    return tools.bent(a[0]) * a[1]


def calls_a_module_in_a_module(a):
    return tools.inner.bent(a[0]) * tools.inner.K + tools.inner.bent(a[1])


def takes_any(*blocks):
    total = blocks[2][0]
    for block in blocks[:2]:
        total += block[0] * block[1]
    return total


def matrix_product(r, x):
    turned = (
        (r[0], r[1], 0.0),
        (r[2], r[3], 0.0),
        (0.0, 0.0, 1.0),
    )
    out0 = turned[0][0] * x[0] + turned[0][1] * x[1] + turned[0][2] * x[2]
    out1 = turned[1][0] * x[0] + turned[1][1] * x[1]
    return out0, out1, turned[2][2] * x[2]


CASES = {
    "camera": (camera, vectors(9, 3, data=2, weight="matrix")),
    "a loop, one residual": (distance, vectors(3, 3)),
    "a branch without derivative": (maybe_flat, vectors(2)),
    "many functions": (many_functions, vectors(2, data=2)),
    "tuples of tuples": (over_tuples, vectors(2, 2)),
    "a jitted helper": (calls_jitted, vectors(2)),
    "a jitted kernel": (jitted_kernel, vectors(2, 2)),
    "a helper in a module": (calls_a_module, vectors(2)),
    "a helper in a module in a module": (calls_a_module_in_a_module, vectors(2)),
    "as many blocks as there are": (takes_any, vectors(2, 2, data=1)),
    "matrices": (matrix_product, vectors(4, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_residuals_and_derivatives(case):
    agree(*CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_plain_python_gives_the_same(case):
    function, form = CASES[case]
    plain, compiled = Group(function, form, make=PythonBlockFunction), Group(function, form)
    assert plain.q == compiled.q
    assert plain.run() == compiled.run() == 0
    np.testing.assert_allclose(plain.r, compiled.r, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(plain.jac, compiled.jac, rtol=1e-11, atol=1e-12)


def test_derivatives_are_exact():
    """Closed form: d |a - b| / da = (a - b) / |a - b|."""
    group = Group(distance, vectors(3, 3))
    group.run()
    gap = group.values[0][group.indices[0]] - group.values[1][group.indices[1]]
    unit = gap / np.linalg.norm(gap, axis=1)[:, None]
    np.testing.assert_allclose(group.jac[:, 0, :3], unit, rtol=1e-14)
    np.testing.assert_allclose(group.jac[:, 0, 3:], -unit, rtol=1e-14)


def test_both_sides_of_a_branch():
    """Where the rotation vector is zero, the camera takes the other branch."""
    group = Group(*CASES["camera"])
    group.values[0][:, :3] = 0.0
    group.run()
    slopes = group.differences(camera)
    np.testing.assert_allclose(group.jac, slopes, rtol=1e-6, atol=1e-7)


# Weights, seeds, held arguments


@pytest.mark.parametrize("weight", ["none", "scalar", "vector", "matrix"])
def test_weights(weight):
    agree(maybe_flat, vectors(2, weight=weight))
    agree(distance, vectors(2, 2, weight=weight))


def test_seeds_and_held():
    for weight in ("none", "matrix"):
        agree(over_tuples, BlockForm((BlockArgument(2, 1, "seeded"), BlockArgument(2, 2)), 0, weight))
        agree(over_tuples, BlockForm((BlockArgument(2, 0, "held"), BlockArgument(2, 3, "seeded")), 0, weight))


def test_all_held():
    group = Group(over_tuples, BlockForm((BlockArgument(2, 0, "held"), BlockArgument(2, 0, "held"))))
    assert group.jac.shape == (COUNT, 3, 0)
    assert group.run() == 0
    np.testing.assert_allclose(group.r, group.call(over_tuples, group.values), rtol=1e-12)


def quadratic(a, b):
    total = 0.0
    for k in range(len(a)):
        total += math.sin((k + 1) * a[k]) * b[k % 3]
    return total, total * total


@pytest.mark.parametrize("width", [28, 47])
def test_many_columns(width):
    """Beyond one vector of partials the code runs again for the next columns."""
    agree(quadratic, BlockForm((BlockArgument(width, width), BlockArgument(3, 4, "seeded"))), rtol=1e-6)


def test_long_rows_of_data():
    def far(a, row):
        return a[0] * row[69] + row[0], a[1] * len(row)

    agree(far, vectors(2, data=70))


# Jacobians of the user's own


def product(a, b):
    return a[0] * b[0] * b[1], a[1] - b[0]


def product_jacobian(a, b):
    return (
        ((b[0] * b[1], 0), (0.0, 1.0)),
        ((a[0] * b[1], a[0] * b[0]), (-1.0, 0.0)),
    )


@pytest.mark.parametrize("weight", ["none", "matrix"])
def test_own_jacobian(weight):
    agree(product, vectors(2, 2, weight=weight), jacobian=product_jacobian)
    seeded = BlockForm((BlockArgument(2, 0, "held"), BlockArgument(2, 3, "seeded")), 0, weight)
    agree(product, seeded, jacobian=product_jacobian)


def test_own_jacobian_is_what_counts():
    group = Group(product, vectors(2, 2), jacobian=lambda a, b: (((1, 2), (3, 4)), ((5, 6), (7, 8))))
    group.run()
    assert group.jac.tolist() == [[[1, 2, 5, 6], [3, 4, 7, 8]]] * COUNT


def test_own_jacobian_of_one_residual():
    agree(lambda a: a[0] * a[1], vectors(2), jacobian=lambda a: ((a[1], a[0]),))
    agree(lambda a: a[0] * a[1], vectors(2), jacobian=lambda a: (((a[1], a[0]),),))


@compiled_only
def test_own_jacobian_of_another_shape():
    with pytest.raises(TypeError, match=r"wrong must return, as entry 1, a tuple of 2 rows, each of 2 numbers"):

        def wrong(a, b):
            return ((1.0, 2.0), (3.0, 4.0)), ((1.0,), (2.0,))

        compile_block_function(product, vectors(2, 2), wrong)


# Errors


def refuses_negative(a):
    if a[0] < 0.0:
        raise ValueError("negative")
    return a[0] * 2.0


def test_errors_of_the_code_are_a_status():
    group = Group(refuses_negative, vectors(1))
    assert group.run() == 0
    group.values[0][group.indices[0][2], 0] = -1.0
    assert group.run() != 0
    assert group.run(jacobian=False) != 0


def test_nan_comes_through():
    group = Group(distance, vectors(3, 3))
    group.values[0][group.indices[0][1], 1] = np.nan
    assert group.run() == 0
    hit = group.indices[0] == group.indices[0][1]
    assert np.isnan(group.r[hit]).all()
    assert np.isnan(group.jac[hit]).any()
    assert np.isfinite(group.jac[~hit]).all()


def test_domain_errors_are_nan():
    group = Group(lambda a: math.log(a[0]) + 1.0, vectors(1))
    group.values[0][0] = -1.0
    assert group.run() == 0
    assert np.isnan(group.r[group.indices[0] == 0]).all()


def returns_text(a):
    return "text"


def returns_nested(a):
    return (a[0], (a[0], 1.0))


def uneven(a):
    if a[0] > 0.0:
        return a[0], 1.0
    return a[0], 1.0, 2.0


def uses_a_set(a):
    return undefined_name(a[0])  # noqa: F821


def test_objects_are_refused():
    with pytest.raises(TypeError, match="def or lambda, got an object of type partial; write a function that calls it"):
        compile_block_function(functools.partial(distance, (0.0, 1.0)), vectors(2))


def by_keyword(*, a):
    return a[0]


def imports(a):
    import math

    return math.sin(a[0])


def prints(a):
    print(a[0])
    return a[0]


@compiled_only
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (returns_text, "returns_text must return a number or a tuple of numbers"),
        (returns_nested, "returns_nested must return a number or a tuple of numbers"),
        (uneven, "uneven cannot be compiled"),
        (uses_a_set, r"uses_a_set cannot be compiled.*undefined_name"),
        (distance, "distance takes 2 arguments, and is called with 1"),
        (by_keyword, "by_keyword takes 0 arguments, and is called with 1"),
        (imports, r"imports cannot be compiled.*IMPORT_NAME"),
        (prints, "prints cannot be compiled: print needs the interpreter"),
    ],
)
def test_refused(function, message):
    with pytest.raises(TypeError, match=message):
        compile_block_function(function, vectors(1))


def test_plain_python_refuses_other_results():
    with pytest.raises(TypeError, match="returns_text must return"):
        PythonBlockFunction(returns_text, vectors(1), None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BlockArgument(3, 2),
        lambda: BlockArgument(3, 3, "held"),
        lambda: BlockArgument(3, 3, "other"),
        lambda: BlockForm(()),
        lambda: vectors(1, weight="tensor"),
    ],
)
def test_forms_are_checked(make):
    with pytest.raises(ValueError, match=r"must|takes|cannot"):
        make()


# Code on disk


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NLSQ_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(block_function, "_known", {})
    return lambda: sorted(path.name for path in tmp_path.rglob("nlsq_block_*.o"))


def scaled(factor, helper=None):
    def function(a):
        return factor * a[0] if helper is None else helper(factor * a[0])

    return function


def first_value(function, **options):
    group = Group(function, vectors(1), **options)
    group.run()
    return group.r[0, 0] / group.values[0][group.indices[0][0], 0]


@compiled_only
def test_what_code_depends_on_is_in_its_key(cache):
    """See test_code_key.py for all that does."""
    assert first_value(scaled(2.0)) == 2.0
    assert first_value(scaled(2.0)) == 2.0
    assert len(cache()) == 1
    assert first_value(scaled(3.0)) == 3.0
    assert len(cache()) == 2
    compile_block_function(scaled(2.0), vectors(2))  # another form
    assert len(cache()) == 3


EDITED = """
from collections import namedtuple
from enum import IntEnum
class M(IntEnum):
    A = {0}
Pair = namedtuple("Pair", {1!r})
def function(a):
    return M.A.value * Pair(a[0], 0.0).value
"""


@compiled_only
def test_a_module_that_was_edited_gives_new_numbers(cache, monkeypatch):
    values = []
    for edits in ((2, "value other"), (3, "value other"), (3, "other value"), (2, "value other")):
        monkeypatch.setattr(block_function, "_known", {})  # another process
        scope = {"__name__": "users_edited"}
        exec(EDITED.format(*edits), scope)
        values.append(first_value(scope["function"]))
    assert values == [2.0, 3.0, 0.0, 2.0]
    assert len(cache()) == 3


@compiled_only
def test_what_refers_to_addresses_is_kept_in_the_process_alone(cache, monkeypatch):
    table = np.arange(20.0)[::2]

    def looks_up(a):
        return a[0] * table[1]

    monkeypatch.setattr(block_function, "_holding", {})
    monkeypatch.setattr(block_function, "MOST_HELD", 1)
    made = compile_block_function(looks_up, vectors(1))
    assert "table, of type ndarray" in made.why_not_kept and made.is_reused
    assert cache() == []
    assert compile_block_function(looks_up, vectors(1)) is made
    assert first_value(looks_up) == 2.0
    table[1] = 5.0
    assert first_value(looks_up) == 5.0
    assert len(block_function._holding) == 1


@compiled_only
def test_what_has_no_key_is_compiled_each_time(cache):
    cosine = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(math.cos)

    def calls(a):
        return cosine(a[0])

    form = BlockForm((BlockArgument(1, 0, "held"),))
    made = [compile_block_function(calls, form) for _ in range(2)]
    assert made[0] is not made[1]
    assert all("cosine, of type CFunctionType" in one.why_not_kept and not one.is_reused for one in made)
    assert cache() == []


@compiled_only
def test_code_that_raises_is_kept(cache, monkeypatch):
    group = Group(refuses_negative, vectors(1))
    assert not group.function.why_not_kept
    monkeypatch.setattr(block_function, "_known", {})
    again = Group(refuses_negative, vectors(1))
    assert again.function.from_disk
    again.values[0][:] = -1.0
    assert again.run() != 0


@compiled_only
def test_what_allocates_is_not_kept(cache):
    def allocates(a):
        room = np.zeros(2)
        room[0] = 3.0 * a[0]
        return room[0] + room[1]

    made = compile_block_function(allocates, vectors(1))
    assert "needs numba" in made.why_not_kept
    assert cache() == []
    agree(allocates, vectors(1))


IN_ANOTHER_PROCESS = """
import sys
import numpy as np
from nlsq.kernels.backend.block_function import BlockArgument, BlockForm, compile_block_function
from users_code import camera
made = compile_block_function(camera, BlockForm((BlockArgument(9, 9), BlockArgument(3, 3)), 2))
cam, point, observed = np.linspace(0.1, 0.9, 9), np.array([0.3, 0.2, 0.1]), np.array([0.5, 0.7])
first = np.zeros(1, dtype=np.int64)
r, jac = np.empty((1, 2)), np.empty((1, 2, 12))
assert made.evaluate([cam[None], point[None]], [first, first], [None, None], observed[None], None, r, jac) == 0
print(made.from_disk, "numba" in sys.modules, np.round([r.sum(), jac.sum()], 12).tolist())
"""


@compiled_only
def test_another_process_needs_no_numba(tmp_path):
    source = "import math\n" + inspect.getsource(rotated) + inspect.getsource(camera)
    (tmp_path / "users_code.py").write_text(source)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = os.environ | {"NLSQ_CACHE_DIR": str(tmp_path), "PYTHONPATH": path}
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS]
    said = [
        subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert said[0].startswith("False True")
    assert said[1] == said[0].replace("False True", "True False")
