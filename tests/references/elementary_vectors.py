"""Elementary functions in vector registers: a loop over blocks of lanes, written with the emitter."""

import ctypes
from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from nlsq.kernels.backend.fused import Processor
from nlsq.kernels.backend.simd import DOUBLE, INTEGER, Emitter, Value
from nlsq.kernels.elementary import ELEMENTARY

_engines = []  # what keeps the machine code alive


def _features(*without):
    """Name the features of the processor at hand, some of them left out."""
    host = llvm.get_host_cpu_features()
    left = {name: on and not name.startswith(without) for name, on in host.items()}
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in left.items())


@cache
def processors():
    """Name processors: the one at hand, without 512-bit registers, and without fused multiply-add as well."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = {"host": Processor()}
    if found["host"].lanes == 8:
        found["narrow"] = Processor("x86-64", _features("avx512", "evex512"))
    if "+fma" in found["host"].features:
        found["without fma"] = Processor("x86-64", _features("avx512", "evex512", "fma", "avx2", "xop"))
    return found


def _address(function, arity, processor):
    """Compile ``void loop(double* x, double* y, double* out, int64 blocks)`` and return its address."""
    module = ir.Module("loop")
    module.triple = llvm.get_process_triple()
    vector = ir.VectorType(DOUBLE, processor.lanes)
    pointer = ir.PointerType(vector)
    loop = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, INTEGER]), "loop")
    start, body, end = (loop.append_basic_block(part) for part in ("start", "body", "end"))
    ir.IRBuilder(start).branch(body)
    builder = ir.IRBuilder(body)
    block = builder.phi(INTEGER)
    block.add_incoming(INTEGER(0), start)
    emitter = Emitter(module, builder, has_fma=processor.has_fma, wide=processor.lanes == 8)
    arguments = [Value(emitter, builder.load(builder.gep(p, [block]), align=8)) for p in loop.args[:arity]]
    result = function(*arguments)
    builder.store(result.code, builder.gep(loop.args[2], [block]), align=8)
    following = builder.add(block, INTEGER(1))
    block.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, loop.args[3]), body, end)
    ir.IRBuilder(end).ret_void()
    machine = processor.machine()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address("loop")


def over_vectors(function, arity, processor_name):
    """Return callable(*arrays) -> array for a function of symbolic values, on one of the processors."""
    processor = processors()[processor_name]
    lanes = processor.lanes
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
    loop = prototype(_address(function, arity, processor))

    def run(*arguments):
        size = len(arguments[0])
        blocks = -(-size // lanes)
        padded = [np.concatenate([np.asarray(a, dtype=float), np.ones(blocks * lanes - size)]) for a in arguments]
        out = np.empty(blocks * lanes)
        loop(padded[0].ctypes.data, padded[-1].ctypes.data, out.ctypes.data, blocks)
        return out[:size]

    return run


def in_vectors(processor_name):
    """Return name -> callable(*arrays) -> array for one of the processors."""
    return cache(lambda name: over_vectors(ELEMENTARY[name], ELEMENTARY[name].arity, processor_name))
