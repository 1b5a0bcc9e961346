"""Kernels that are compiled more than once: the result says which, and why."""

import ctypes
import math

import numpy as np
import pytest

import nlsq
from nlsq.kernels.backend.kernel import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="nothing is compiled")


def notes_of(*kernels):
    problem = nlsq.BlockProblem()
    blocks = problem.add_parameters([[0.5], [0.6]])
    for kernel in kernels:
        problem.add_residuals(kernel, [blocks], data=[1.0, 2.0], jac=lambda a, m: ((1.0,),))
    result = nlsq.solve(problem)
    assert all(note in result.report() for note in result.fallbacks)
    return result.fallbacks


def test_a_kernel_that_is_kept_needs_no_note():
    assert notes_of(lambda a, m: a[0] - m[0]) == []


def test_kernels_that_are_not_kept_are_named_once():
    table = np.arange(8.0)[::2]
    cosine = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(math.cos)

    def from_table(a, m):
        return a[0] - table[1]

    def from_outside(a, m):
        return a[0] - cosine(m[0])

    def with_room(a, m):
        room = np.zeros(1)
        room[0] = m[0]
        return a[0] - room[0]

    strided, foreign, allocated = notes_of(from_table, from_outside, with_room, from_table)
    assert strided == (
        "kernel from_table is compiled anew in each process: it refers to table, of type ndarray, that is strided"
    )
    assert foreign.startswith("kernel from_outside is compiled anew for each solve: it refers to cosine, of type CF")
    assert allocated.startswith("kernel with_room is compiled anew in each process: its machine code needs numba")
