"""Sources of elementary functions: straight lines, alike to all readers, with coefficients that can be had again."""

import ast
import importlib
import inspect
import math

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from references.elementary import points  # noqa: E402
from references.elementary_implementations import in_numba_loop, in_plain_python  # noqa: E402
from references.elementary_vectors import over_vectors, processors  # noqa: E402

from nlsq.kernels.backend import primitives  # noqa: E402
from nlsq.kernels.backend.lowering import lowered  # noqa: E402
from nlsq.kernels.elementary import ELEMENTARY, exp, needs_slow_reduction, sin_fast  # noqa: E402
from nlsq.kernels.exponential import scaled, scaled_within  # noqa: E402
from nlsq.kernels.logarithm import split, split_all  # noqa: E402

FILES = (
    "exponential",
    "faddeeva",
    "gamma",
    "hyperbolic",
    "inverse_trigonometric",
    "logarithm",
    "polynomial",
    "power",
    "special",
    "trigonometric",
)
MODULES = [importlib.import_module(f"nlsq.kernels.{name}") for name in FILES]
ALLOWED = (
    ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Return, ast.Expr, ast.Constant, ast.Name, ast.Load,
    ast.Store, ast.Tuple, ast.Call, ast.Subscript, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd,
    ast.BitOr, ast.BitXor, ast.LShift, ast.UnaryOp, ast.USub, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq,
    ast.NotEq, ast.Attribute,
)  # fmt: skip
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, -3.0, 27.0, 5e-324, -5e-324, 2.2250738585072014e-308, -1e-310),
        *(1e-20, 1.7976931348623157e308, -1.7976931348623157e308, 709.78, 709.79, -745.13, -745.14, 710.4, 1e22),
        *(2.0**53, 0.9999999999999999, 1.0000000000000002, np.inf, -np.inf, np.nan),
    ]
)


def straight_line_faults(source):
    tree = ast.parse(inspect.cleandoc("\n" + source)).body[0]
    tree.decorator_list, tree.returns = [], None
    for argument in tree.args.args:
        argument.annotation = None
    faults = [type(node).__name__ for node in ast.walk(tree) if not isinstance(node, ALLOWED)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) not in ("math.inf", "math.nan", "math.pi"):
            faults.append(ast.unparse(node))
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            faults.append(f"a chain of comparisons: {ast.unparse(node)}")
    return faults


def functions_of(module):
    found = [value for value in vars(module).values() if inspect.isfunction(value)]
    with_source = primitives.Elementary | primitives.Instruction
    found += [value.source for value in vars(module).values() if isinstance(value, with_source)]
    return [one for one in found if one.__module__ == module.__name__]


@pytest.mark.parametrize("module", MODULES, ids=FILES)
def test_sources_are_straight_lines(module):
    functions = functions_of(module)
    assert functions
    assert {one.__name__: straight_line_faults(inspect.getsource(one)) for one in functions} == {
        one.__name__: [] for one in functions
    }


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return x if x > 0 else -x",
        "def f(x):\n    if x: return 1",
        "def f(x):\n    return math.exp(x)",
        "def f(x):\n    return 0 < x < 1",
        "def f(x):\n    return x and 1",
        "def f(x):\n    return x**2",
        "def f(x):\n    for i in x: pass",
    ],
)
def test_what_is_no_straight_line_is_found(source):
    assert straight_line_faults(source)


@pytest.mark.parametrize("name", ELEMENTARY)
def test_plain_python_and_numba_round_alike_bit_by_bit(name):
    arguments = points(name, 60, seed=11)
    special = (SPECIAL,) if len(arguments) == 1 else [side.ravel() for side in np.meshgrid(SPECIAL, SPECIAL)]
    arguments = [np.concatenate(pair) for pair in zip(arguments, special, strict=True)]
    with np.errstate(invalid="ignore"):
        plain, compiled = in_plain_python(name)(*arguments), in_numba_loop(name)(*arguments)
    numbers = ~np.isnan(plain)
    np.testing.assert_array_equal(np.isnan(compiled), ~numbers)
    np.testing.assert_array_equal(plain[numbers].view(np.int64), compiled[numbers].view(np.int64))


def test_slow_reduction_is_asked_for_exactly_where_it_is_needed():
    x = [0.0, 1.0, np.nextafter(2.0**40, 0.0), 2.0**40, -(2.0**40), 1e308, np.inf, -np.inf, np.nan]
    assert [bool(needs_slow_reduction(v)) for v in x] == [False, False, False, True, True, True, False, False, False]
    assert {name for name, one in ELEMENTARY.items() if one.slow is not None} == {"sin", "cos", "tan"}
    assert sin_fast.library == "sin"


def test_fused_multiply_add_is_rounded_once():
    fma = lowered(primitives.fma)

    @numba.njit
    def compiled(a, b, c):
        return fma(a, b, c)

    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 300)) * 10.0 ** rng.uniform(-160, 160, (2, 300))
    c = -a * b * (1 + rng.integers(-2, 3, 300) * 2.0**-52)
    edges = [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1e-160, 1e200, -1e200, 1.7976931348623157e308, np.inf, np.nan]
    triples = [*zip(a, b, c, strict=True), *((p, q, r) for p in edges for q in edges for r in edges)]
    with np.errstate(all="ignore"):
        for triple in triples:
            mine, processors = primitives.fma(*map(float, triple)), compiled(*map(float, triple))
            same = mine == processors and math.copysign(1, mine) == math.copysign(1, processors)
            assert same or (math.isnan(mine) and math.isnan(processors)), triple


def test_other_primitives_in_plain_python():
    assert primitives.as_bits(1.0) == 1023 << 52
    assert primitives.as_bits(-0.0) == -(1 << 63)
    assert primitives.as_double(primitives.as_bits(-2.5)) == -2.5
    assert primitives.as_double((1 << 70) + (1023 << 52)) == 1.0
    assert primitives.shift_right(-1, 52) == 0xFFF
    assert [primitives.floor(v) for v in (2.5, -2.5, 1e300, -np.inf)] == [2.0, -3.0, 1e300, -np.inf]
    assert math.copysign(1.0, primitives.floor(-0.0)) == -1.0
    assert primitives.square_root(4.0) == 2.0
    assert math.isnan(primitives.square_root(-1.0))
    assert primitives.select(True, 1.0, 2.0) == 1.0
    assert primitives.copy_sign(3.0, -0.0) == -3.0
    assert primitives.absolute(-3.0) == 3.0


class Recorder:
    """A symbolic value that writes down what happens to it."""

    def __init__(self, log):
        self.log = log

    def emit(self, name, *arguments):
        self.log.append(name)
        return self

    def emit_elementary(self, function, *arguments):
        self.log.append((function.name, function.library, len(arguments)))
        return self

    def operate(self, *other):
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = operate
    __lshift__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = operate
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = operate
    __hash__ = None

    def __bool__(self):
        raise TypeError("branch on a symbolic value")


@pytest.mark.parametrize("name", ELEMENTARY)
def test_a_symbolic_value_is_handed_to_its_emitter(name):
    function = ELEMENTARY[name]
    log = []
    value = Recorder(log)
    assert function(*[value] * function.arity) is value
    assert log == [(function.name, function.library, function.arity)]
    log.clear()
    assert function.source(*[value] * function.arity) is value
    assert set(log) - {(one.name, one.library, one.arity) for one in ELEMENTARY.values()} <= {
        "fma", "select", "as_bits", "as_double", "shift_right", "absolute", "floor", "copy_sign", "square_root",
    }  # fmt: skip
    assert log


def test_one_symbolic_argument_among_numbers_is_enough():
    log = []
    assert isinstance(ELEMENTARY["pow"](2.0, Recorder(log)), Recorder)
    assert isinstance(primitives.fma(1.0, 2.0, Recorder(log)), Recorder)
    assert log == [("pow", "pow", 2), "fma"]
    assert repr(exp) == "<elementary exp>"


def test_coefficients_come_out_of_their_fit():
    pytest.importorskip("mpmath")
    from benchmarks.coefficients import fit_all

    found = fit_all()
    sources = {name: getattr(module, name) for module in MODULES for name in found if hasattr(module, name)}
    assert sources == found


SCALED = [(1.75, 1000.0), (1.0, -1074.0), (1.5, -1074.0), (1.25, -1073.0), (1.9999999999999998, 1023.0), (1.0, 1024.0)]
SCALED += [(1.0, -1075.0), (1.0, -1080.0), (1.3, 0.0), (2.0, 1023.0), (-1.0, 3.0), (0.5, -1074.0), (np.nan, 1.0)]
SPLIT = [1.0, 1.5, 1.4999999999999998, 0.75, 0.7499999999999999, 5e-324, 1.5e-323, 2.5e-323, 2.2250738585072014e-308]
SPLIT += [2.225073858507201e-308, 1.7976931348623157e308, 1.3e308, 1.4e308, 1e-310, 3.0]


def run_everywhere(source, *arguments):
    """Give what each processor makes of straight-line code, by name: as an elementary function, not reassociated."""
    function = primitives.Elementary(source)
    return {name: over_vectors(function, function.arity, name)(*arguments) for name in processors()}


def test_scaling_overflows_and_underflows_alike_on_all_processors():
    value, k = np.array(SCALED).T
    expected = [scaled(*map(float, pair)) for pair in SCALED]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(expected, np.ldexp(value, k.astype(int)))
    for got in run_everywhere(lambda value, k: scaled(value, k), value, k).values():
        np.testing.assert_array_equal(got, expected)


def test_scaling_within_the_normal_range_is_alike_on_all_processors():
    value, k = np.array([1.5, 0.75, -1.25, 1.0, np.nan]), np.array([1022.0, -1020.0, 3.0, 0.0, 2.0])
    for got in run_everywhere(lambda value, k: scaled_within(value, k), value, k).values():
        np.testing.assert_array_equal(got, np.ldexp(value, k.astype(int)))
    assert [scaled_within(*pair) for pair in zip(value[:4], k[:4], strict=True)] == list(
        np.ldexp(value, k.astype(int))[:4]
    )


@pytest.mark.parametrize("instruction", [split, split_all])
@pytest.mark.parametrize("part", [0, 1])
def test_exponent_and_mantissa_are_alike_on_all_processors(instruction, part):
    x = SPLIT if instruction is split else [*SPLIT, 0.0, -0.0, np.inf]
    expected = [instruction(one)[part] for one in x]
    for got in run_everywhere(lambda x: instruction(x)[part], np.array(x)).values():
        np.testing.assert_array_equal(got, expected)
    k, m = np.array([instruction(one) for one in SPLIT]).T
    np.testing.assert_array_equal(np.ldexp(m, k.astype(int)), SPLIT)
    assert np.all((m >= 0.75) & (m < 1.5))


def test_exponent_or_mantissa_is_nan_where_the_logarithm_is():
    x = np.array([np.nan, -np.inf, -1.0, -5e-324])
    assert all(math.isnan(sum(split_all(float(one)))) for one in x)
    for got in run_everywhere(lambda x: split_all(x)[0] + split_all(x)[1], x).values():
        assert np.all(np.isnan(got))


def test_an_instruction_is_handed_to_an_emitter_that_takes_it():
    class Taker(Recorder):
        def emit_instruction(self, instruction, *arguments):
            self.log.append((repr(instruction), len(arguments)))
            return self

    log = []
    assert isinstance(scaled(Taker(log), 2.0), Taker)
    assert log == [("<instruction scaled>", 2)]
