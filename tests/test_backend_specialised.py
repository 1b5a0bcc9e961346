"""Kernels of one source with other constants of their module."""

import subprocess
import sys

import numpy as np
import pytest
from references.kernel_calls import MODES, call

from nlsq.kernels import schur
from nlsq.kernels.backend import compile_disabled, specialised
from nlsq.kernels.backend.kernel import registry


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("constants", [{}, {"Q": 2}, {"A": 3, "B": 2, "MAIN": 2, "Q": 2}])
def test_constants_take_the_place_of_sizes(mode, constants):
    kernel = specialised(schur.add_products, **constants)
    values, out = np.arange(20.0).reshape(2, 2, 5), np.ones(20)
    sizes = (2, 2, 5, 0, 3, 3, 2, 2)
    if constants.get("A"):
        sizes = (2, 9, 5, 0, 9, 3, 9, 9)  # what is constant is not read
    call(kernel, mode, values.reshape(-1), *sizes, np.array([6, -1]), out)
    expected = np.ones(20)
    expected[6:12] += (values[0, :, :3].T @ values[0, :, 3:]).ravel()
    np.testing.assert_array_equal(out, expected)


def test_specialised_kernels_are_made_once_and_are_not_the_librarys():
    before = dict(registry)
    one = specialised(schur.add_gradient, Q=4, A=2)
    assert one is specialised(schur.add_gradient, A=2, Q=4)
    assert one is not specialised(schur.add_gradient, A=2, Q=3)
    assert one.symbol == schur.add_gradient.symbol + "__A2__Q4"
    assert registry == before
    assert schur.A == schur.Q == 0
    assert specialised(schur.add_gradient) is schur.add_gradient


@pytest.mark.parametrize("name", ["NO_SUCH", "D"])
def test_constant_that_the_kernel_does_not_read_is_refused(name):
    with pytest.raises(ValueError, match=f"reads no constant {name}"):
        specialised(schur.add_gradient, **{name: 2})


DEFINED = """
import re, sys
from nlsq.kernels.backend import specialised
from nlsq.kernels.backend.compiler import object_code
from nlsq.kernels.optimal_control.riccati import factorise
one = specialised(factorise, **eval(sys.argv[1]))
print(*set(re.findall(rb"_ZN4nlsq[0-9A-Za-z_]*", object_code(one))))
"""


@pytest.mark.skipif(compile_disabled(), reason="looks at machine code")
def test_codes_of_different_processes_share_no_name():
    """They are linked into one process, where of two functions of one name only the first would count."""
    named = []
    for constants in ("{}", "{'STATES': 2, 'CONTROLS': 1}"):
        printed = subprocess.run([sys.executable, "-c", DEFINED, constants], capture_output=True, text=True, check=True)
        named.append(set(printed.stdout.split()))
    assert named[0] and named[1]
    assert not named[0] & named[1]
