"""Generated kernels against the NumPy interpreter of their graphs, in every form, length and kind of processor."""

import numpy as np
import pytest

from benchmarks.problems.residual_zoo import RESIDUAL_CASES
from nlsq.compiler import interpret
from nlsq.compiler.compile import Binding, GraphKernels, kernels_of, structure
from nlsq.compiler.graph import Graph
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.tracing.trace import Segment, Trace, trace_model, trace_residual
from nlsq.kernels.backend import address_of_array, compile_disabled, generated
from nlsq.kernels.backend.generated import call
from nlsq.kernels.backend.program import PREDICTORS, RESPONSE, WEIGHTS, render
from nlsq.loss import Loss, scale_for_loss

pytestmark = pytest.mark.skipif(compile_disabled(), reason="NLSQ_DISABLE_COMPILE is set")

LOSSES = ("linear", "huber", "soft_l1", "cauchy", "arctan")


def peak(x, height, centre, width, offset):
    return height * np.exp(-0.5 * ((x - centre) / width) ** 2) + offset


def waves(x, a, b, c):
    return np.where(x > 0.3, a * np.sin(b * x) + np.tanh(c * x), np.log1p(x * x) * c)


def surface(x, a, b, c):
    return a * np.hypot(x[0], b) + c * np.sqrt(x[1])


def stacked_outputs(x, a, b):
    return np.concatenate([a * np.cos(b * x), a * np.sin(b * x)])


MODELS = {
    "peak": (peak, 1, [2.0, 0.4, 0.7, 0.1]),
    "waves": (waves, 1, [1.5, 2.0, 0.3]),
    "surface": (surface, 2, [1.0, 0.5, 2.0]),
    "stacked": (stacked_outputs, 1, [1.2, 0.8]),
}


class Bound:
    """A traced model with data, ready to run its kernels."""

    def __init__(self, name, m, weighted=False, loss="linear"):
        function, rows, self.p = MODELS[name]
        rng = np.random.default_rng(m)
        self.p = np.array(self.p)
        self.x = np.sort(rng.uniform(0.1, 2.0, m)) if rows == 1 else rng.uniform(0.1, 2.0, (rows, m))
        self.trace = trace_model(function, self.x, self.p.size)
        size = self.trace.m
        self.y = np.asarray(function(self.x, *self.p)).ravel() + rng.normal(size=size)
        self.weights = rng.uniform(0.5, 2.0, size) if weighted else None
        self.variant = Variant(weighted=weighted, loss=loss)
        self.kernels = kernels_of(self.trace)
        self.binding = Binding(self.kernels, self.trace, Variant(weighted=weighted))
        for place, array in ((PREDICTORS, self.x), (RESPONSE, self.y), (WEIGHTS, self.weights)):
            if array is not None:
                self.binding.table[place] = address_of_array(array)
        self.p = self.p * 1.05

    def expected(self):
        data = [self.x] if self.x.ndim == 1 else list(self.x)
        residual = interpret.output(self.trace, self.p, data) - self.y
        jac = interpret.jacobian(self.trace, self.p, data)
        if self.weights is not None:
            residual, jac = residual * self.weights, jac * self.weights[:, None]
        return residual, jac

    def run(self, name, *outputs):
        call(self.kernels.address(name, self.variant), self.p, self.binding.table, *outputs)

    def number(self, name, *outputs):
        import ctypes

        places = [array.__array_interface__["data"][0] for array in (self.p, self.binding.table, *outputs)]
        kind = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_ssize_t] * len(places))
        return kind(self.kernels.address(name, self.variant))(*places)


def close(ours, theirs):
    size = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13 * size)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 16, 23, 100])
def test_residual_and_jacobian_at_every_remainder(name, weighted, m):
    bound = Bound(name, m, weighted)
    size, n = bound.trace.m, bound.p.size
    guarded = np.full(size + 16, 7.0)  # what lies behind the outputs stays as it is
    guarded_jac = np.full(n * size + 16, 7.0)
    bound.run("residual", guarded)
    bound.run("jacobian", guarded_jac)
    residual, jac = bound.expected()
    close(guarded[:size], residual)
    close(guarded_jac[: n * size].reshape(n, size).T, jac)
    assert (guarded[size:] == 7.0).all()
    assert (guarded_jac[n * size :] == 7.0).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["peak", "stacked"])
def test_normal_equations_and_cost_with_losses(name, weighted, loss):
    bound = Bound(name, 37, weighted, loss)
    scale = 0.8
    bound.binding.constants[0] = scale
    n = bound.p.size
    gradient, normal = np.empty(n), np.empty((n, n))
    cost = bound.number("normal_equations", gradient, normal)
    residual, jac = bound.expected()
    expected_loss = Loss(loss, scale)
    expected_cost = expected_loss.cost(residual)
    scaled_jac, scaled_residual = scale_for_loss(expected_loss, jac.copy(), residual.copy())
    close(cost, expected_cost)
    close(bound.number("cost"), expected_cost)
    close(gradient, scaled_jac.T @ scaled_residual)
    close(normal, scaled_jac.T @ scaled_jac)


@pytest.mark.parametrize("case", [case for case in RESIDUAL_CASES if case.m <= 200][::3], ids=lambda case: case.name)
def test_residual_functions(case):
    p = np.array(case.x0, dtype=float) * 1.01 + 0.003
    from nlsq.compiler.graph import NotTraceable

    try:
        trace = trace_residual(case.function, p.size)
    except NotTraceable as reason:
        pytest.skip(f"not traced: {reason}")
    kernels = kernels_of(trace)
    variant = Variant(response=False)
    binding = Binding(kernels, trace, variant)
    residual, jac_t = np.full(trace.m, np.nan), np.full((p.size, trace.m), np.nan)
    call(kernels.address("residual", variant), p, binding.table, residual)
    call(kernels.address("jacobian", variant), p, binding.table, jac_t)
    close(residual, interpret.output(trace, p))
    expected = interpret.jacobian(trace, p)
    close(jac_t.T, expected)
    if kernels.is_sparse:
        rows, columns = binding.pattern()
        values, again, dense = np.empty(rows.size), np.empty(trace.m), np.zeros(expected.shape)
        call(kernels.address("residual_and_jacobian", variant), p, binding.table, again, values)
        np.add.at(dense, (rows, columns), values)
        close(again, residual)
        close(dense, expected)


def test_traces_of_one_structure_share_kernels():
    def decay(x, a, b):
        return a * np.exp(-b * x) + 0.3

    def other(x, a, b):
        return a * np.exp(-b * x) + 0.7

    first, second = (trace_model(f, np.linspace(0, 1, m), 2) for f, m in ((decay, 30), (other, 50)))
    assert kernels_of(first) is kernels_of(second)
    assert structure(first) != structure(trace_model(peak, np.linspace(0, 1, 30), 4))


def test_numbers_and_vectors_of_one_share_kernels_only_where_their_lengths_do():
    """A number is a loop of one step, whose length has a place of its own unless another axis has it too."""
    kept = None
    for m in (5, 1, 7):
        graph = Graph(1)
        slot = graph.add_slot(np.zeros(m))
        a, x = graph.leaf(("parameter", 0), ()), graph.leaf(("data", slot, 0, (1,)), (m,))
        segments = [Segment(graph.apply("*", a, x), (m,), 0, (1,)), Segment(a, (), m, ())]
        trace = Trace(graph, segments, m + 1, (m + 1,), 1)
        if m == 5:
            kept = structure(trace), kernels_of(trace)
        assert (structure(trace) == kept[0]) == (kernels_of(trace) is kept[1]) == (m != 1)
        Binding(kernels_of(trace), trace, Variant(response=False))


def test_second_trace_brings_its_own_constants():
    """Constants that only derivatives need belong to each trace, not to the kernels."""

    def mean_field(scale):
        return lambda p: p - scale * np.dot(p, p) / 12.5

    for scale in (0.7, 1.9, 3.3):
        p = np.linspace(0.1, 1.0, 12)
        trace = trace_residual(mean_field(scale), 12)
        kernels, variant = kernels_of(trace), Variant(response=False)
        binding = Binding(kernels, trace, variant)
        jac_t = np.empty((12, 12))
        call(kernels.address("jacobian", variant), p, binding.table, jac_t)
        close(jac_t.T, np.eye(12) - scale * 2.0 * p[None, :] / 12.5)


@pytest.mark.parametrize("processor", [("haswell", "+avx2,+fma"), ("nehalem", "-fma,-avx,-avx2,+sse4.2")])
def test_code_for_lesser_processors(processor):
    """AVX2 has no registers of eight doubles, and older processors no fused multiply-add."""

    import llvmlite.binding as llvm

    from nlsq.kernels.backend.fused import Processor, object_code

    name, features = processor
    wide = "avx2" in llvm.get_host_cpu_features() and llvm.get_host_cpu_features()["avx2"]
    if name == "haswell" and not wide:
        pytest.skip("this processor has no AVX2")
    bound = Bound("waves", 29)
    programs = [(f"lesser_{name}_{one}", bound.kernels.program(one, bound.variant)) for one in ("residual", "jacobian")]
    code = object_code(programs, Processor(name, features))
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    linker.add_object_file(llvm.ObjectFileRef.from_data(code))
    linker.finalize_object()
    residual, jac_t = np.empty(29), np.empty((3, 29))
    for (symbol, _), out in zip(programs, (residual, jac_t), strict=True):
        call(linker.get_function_address(symbol), bound.p, bound.binding.table, out)
    expected, jac = bound.expected()
    close(residual, expected)
    close(jac_t.T, jac)


def test_source_is_flat_and_without_branches():
    bound = Bound("waves", 10)
    for name in ("residual", "jacobian", "normal_equations", "cost"):
        source = render(bound.kernels.program(name, bound.variant))
        compiled = compile(source, "kernel", "exec")
        assert compiled is not None
        words = source.split()
        assert "if" not in words and "while" not in words
        assert source.count("def ") == 1


def test_many_operations_compile():
    def nested(x, *p):
        value = x
        for k in range(300):
            value = np.sin(p[k % len(p)] * value + 0.1)
        return value

    trace = trace_model(nested, np.linspace(0, 1, 20), 3)
    kernels = GraphKernels(trace)
    binding = Binding(kernels, trace, Variant())
    x, y, p = np.linspace(0, 1, 20), np.zeros(20), np.array([0.9, 1.0, 1.1])
    binding.table[PREDICTORS], binding.table[RESPONSE] = address_of_array(x), address_of_array(y)
    out = np.empty(20)
    call(kernels.address("residual", Variant()), p, binding.table, out)
    close(out, nested(x, *p))


COEFFICIENTS = np.linspace(-1.0, 2.0, 27).reshape(3, 9)
SUMS = {
    "matrix": lambda p: p * np.sum(p[:, None] ** 2 * COEFFICIENTS),
    "outer": lambda p: p - np.sum(np.sin(np.outer(p, p)) * COEFFICIENTS[:, 2:5]),
    "three_axes": lambda p: p * np.sum(np.cos(p[:, None, None] * COEFFICIENTS.reshape(3, 3, 3) * p[None, :, None])),
    "one_everywhere": lambda p: p * np.sum(np.broadcast_to(p[1:2], (20,)) ** 2),
    "five_axes": lambda p: np.sin(p[:, None, None, None, None] * np.arange(32.0).reshape(2, 2, 2, 2, 2)[:, :1]).ravel(),
    "four_axes_by_sum": lambda p: (p[:, None, None, None] * np.arange(24.0).reshape(1, 2, 3, 4) * np.sum(p)).ravel(),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_repeated_parameters_and_many_axes(name):
    p = np.array([0.7, -0.4, 1.3])
    if name == "five_axes":
        p = p[:2]
    trace = trace_residual(SUMS[name], p.size)
    kernels, variant = kernels_of(trace), Variant(response=False)
    binding = Binding(kernels, trace, variant)
    residual, jac_t = np.empty(trace.m), np.empty((p.size, trace.m))
    call(kernels.address("residual", variant), p, binding.table, residual)
    call(kernels.address("jacobian", variant), p, binding.table, jac_t)
    np.testing.assert_allclose(residual, np.ravel(SUMS[name](p)), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(jac_t.T, interpret.jacobian(trace, p), rtol=1e-11, atol=1e-12)
    steps = 1e-6 * np.eye(p.size)
    numeric = np.stack([(SUMS[name](p + h) - SUMS[name](p - h)) / 2e-6 for h in steps], axis=1)
    np.testing.assert_allclose(jac_t.T, numeric, rtol=1e-6, atol=1e-6)


def test_kernels_that_were_not_linked_are_linked_at_the_next_call(monkeypatch):
    kernels = GraphKernels(trace_model(lambda x, a: a * np.cosh(x + 0.8125), np.linspace(0.0, 1.0, 7), 1))

    def fails(code, symbols):
        raise OSError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(generated, "link_object", fails)
        with pytest.raises(OSError, match="no memory"):
            kernels.address("residual", Variant())
        patched.setattr(generated, "link_object", lambda code, symbols: [0] * len(symbols))
        with pytest.raises(RuntimeError, match="not linked"):
            kernels.address("residual", Variant())
    assert kernels.address("residual", Variant()) != 0
