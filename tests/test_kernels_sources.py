"""The rules of the jitted room, read off its sources."""

import ast
import gc
from pathlib import Path

import pytest
from references.kernel_sources import faults

import nlsq.kernels as room
from nlsq.kernels.backend import compiler, kernel, shift
from nlsq.kernels.backend.kernel import registry, with_callees
from nlsq.kernels.backend.signature import Signature

room.import_all()
FOLDER = Path(room.__file__).parent
LIBRARY = [one for one in registry.values() if one.function.__module__.startswith("nlsq.kernels.")]
KERNELS = sorted(LIBRARY, key=lambda one: one.symbol)


@pytest.mark.parametrize("one", KERNELS, ids=lambda k: k.symbol)
def test_kernel_calls_what_it_may_and_as_it_must(one):
    assert faults(one) == []


def test_every_file_with_kernels_is_in_the_list():
    decorated = {
        path.stem
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Call) and getattr(d.func, "id", "") == "kernel" for d in node.decorator_list)
    }
    assert len(decorated) > 10
    assert {k.function.__module__.rpartition(".")[2] for k in KERNELS} == decorated
    assert decorated - {"layout"} == {name.rpartition(".")[2] for name in room.KERNEL_MODULES}


def test_kernels_know_all_they_call():
    solve = registry["nlsq_driver_solve_by_address"]
    names = [k.symbol for k in with_callees([solve])]
    assert names[-1] == solve.symbol
    assert "nlsq_bounds_all_finite" in names
    for one in with_callees(KERNELS):
        called = [k.symbol for k in with_callees([one])]
        assert called[-1] == one.symbol
        assert len(set(called)) == len(called)


# The reader finds what it is there to find


@pytest.fixture
def forget():
    """Kernels of these tests must not stay among the library's."""
    before = set(registry)
    yield
    for symbol in set(registry) - before:
        del registry[symbol]


CALLEE = registry["nlsq_dense_dot"]
np = pytest  # a module that is not math


def two_for_three(a, n):
    return CALLEE(a, n)


def number_for_pointer(a, n):
    return CALLEE(a, n, n)


def pointer_for_number(a, n):
    return CALLEE(a, a, a)


def half_an_index(a, n):
    return a[n / 2]


def half_a_length(a, n):
    return CALLEE(a, a, n / 2)


def wrong_shift(a, n):
    return CALLEE(shift(a, 0.5), a, n)


def numpy_inside(a, n):
    return np.sum(a)


def python_function(a, n):
    return two_for_three(a, n)


def sliced(a, n):
    return CALLEE(a[1:], a, n)


def comprehension(a, n):
    return max([a[i] for i in range(n)])


def pointer_returned(a, n):
    return a


def nothing_returned(a, n):
    a[0] = 1.0


def keyword(a, n):
    return CALLEE(a, a, n=n)


def renamed(a, n):
    b = a
    b = 1.0
    return b


def more_parameters(a, n, m):
    return 1.0


OFFENDERS = [
    two_for_three, number_for_pointer, pointer_for_number, half_an_index, half_a_length, wrong_shift, numpy_inside,
    python_function, sliced, comprehension, pointer_returned, nothing_returned, keyword, renamed, more_parameters,
]  # fmt: skip


@pytest.mark.parametrize("function", OFFENDERS, ids=lambda f: f.__name__)
def test_reader_finds_the_offender(function, forget):
    assert faults(kernel("double(double*, int)")(function)) != []


def double_among_integers(iw, n):
    iw[0] = 0.5 * n
    return 1.0


def value_from_void(a, n):
    return a[n]


def test_reader_checks_stores_and_void(forget):
    assert faults(kernel("double(int*, int)")(double_among_integers)) != []
    assert faults(kernel("void(double*, int)")(value_from_void)) != []


def test_two_kernels_of_one_name_are_refused(forget):
    kernel("double(double*, int)")(renamed)
    with pytest.raises(ValueError, match="two kernels are named"):
        kernel("double(double*, int)")(renamed)


@pytest.mark.parametrize("text", ["float(double*)", "double(int**)", "double(array)", "(int)"])
def test_signature_with_an_unknown_type_is_refused(text):
    with pytest.raises(ValueError, match="names the type"):
        Signature.parse(text)


def test_signature_is_read():
    signature = Signature.parse("int(double*, int*, address, double)")
    assert signature.returns == "int"
    assert signature.arguments == ("double*", "int*", "address", "double")
    assert Signature.parse("void()").arguments == ()


@pytest.mark.parametrize("threshold", [(700, 10, 10), (50_000, 5, 5), (0, 10, 10)])
def test_compiling_leaves_garbage_collection_as_it_was(threshold, monkeypatch):
    seen = []
    retarget = compiler._retarget
    monkeypatch.setattr(compiler, "_retarget", lambda function: seen.append(gc.get_threshold()) or retarget(function))
    before = gc.get_threshold()
    try:
        gc.set_threshold(*threshold)
        compiler.object_code(registry["nlsq_dense_norm"])
        assert gc.get_threshold() == threshold
    finally:
        gc.set_threshold(*before)
    assert seen == [(20_000, 10, 10) if threshold[0] == 700 else threshold]
