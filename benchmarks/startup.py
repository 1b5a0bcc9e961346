"""The code that fresh processes run: imports, a first fit, a first constrained solve, and compiling everything."""

__all__ = ["COLD_CACHE", "FIRST_CONSTRAINED", "FIRST_FIT", "IMPORT", "IMPORT_TIMES", "PRECOMPILE", "SLSQP"]

IMPORT = {"numpy": "import numpy", "nlsq": "import nlsq", "scipy": "import scipy.optimize"}

_FIT = """
import numpy as np
from {module} import curve_fit

def model(x, a, b, c, d):
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d

x = np.linspace(-5.0, 5.0, 100)
y = model(x, 3.0, 0.5, 0.8, 1.0) + 0.1 * np.sin(37.0 * x)
curve_fit(model, x, y, [2.0, 0.0, 1.0, 0.5])
"""
FIRST_FIT = {"nlsq": _FIT.format(module="nlsq"), "scipy": _FIT.format(module="scipy.optimize")}

# Before the fit: an empty folder for the kernels, removed at the end of the process.
COLD_CACHE = """
import os, tempfile
_folder = tempfile.TemporaryDirectory()
os.environ["NLSQ_CACHE_DIR"] = _folder.name
"""

# Prints the wall and CPU milliseconds of importing nlsq after numpy, and what else that has loaded.
IMPORT_TIMES = """
import sys, time
import numpy
wall, cpu = time.perf_counter(), time.process_time()
import nlsq
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
names = ("numba", "llvmlite", "scipy.optimize", "scipy")
print(1e3 * wall, 1e3 * cpu, *(name for name in names if name in sys.modules))
"""

PRECOMPILE = "import nlsq; print(nlsq.precompile())"

# First solves with constraints: problem 65 of Hock and Schittkowski, in plain functions and in jitted ones called by
# address, and the chained problem 5.1 of Luksan and Vlcek with sparse factorisations. Each prints seconds of CPU and
# wall-clock time from after the imports of NumPy, SciPy's constraints and nlsq to the end of the solve.
_CONSTRAINED = """
import time
import numpy as np
from scipy.optimize import NonlinearConstraint
import nlsq
{imports}
cpu, wall = time.process_time(), time.perf_counter()

{decorator}
def residual(x):
    return np.array([x[0] - x[1], (x[0] + x[1] - 10.0) / 3.0, x[2] - 5.0])

{decorator}
def constraints(x):
    return np.array([48.0 - x[0] ** 2 - x[1] ** 2 - x[2] ** 2])

limits = [NonlinearConstraint({constraints}, 0.0, np.inf)]
bounds = ([-4.5, -4.5, -5.0], [4.5, 4.5, 5.0])
result = nlsq.solve(nlsq.LeastSquaresProblem({residual}, [-5.0, 5.0, 0.0], bounds=bounds, constraints=limits))
assert result.status.converged, result.message
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
_CHAIN = """
import time
import numpy as np
from scipy.optimize import NonlinearConstraint
import nlsq
cpu, wall = time.process_time(), time.perf_counter()

def residual(x):
    return np.concatenate([10.0 * (x[:-1] ** 2 - x[1:]), x[:-1] - 1.0])

def constraints(x):
    a, b, c = x[:-2], x[1:-1], x[2:]
    wave = np.sin(b - c) * np.sin(b + c)
    return 3.0 * b**3 + 2.0 * c - 5.0 + wave + 4.0 * b - a * np.exp(a - b) - 3.0

x0 = np.where(np.arange(1000) % 2 == 0, -1.2, 1.0)
limits = [NonlinearConstraint(constraints, 0.0, 0.0)]
result = nlsq.solve(nlsq.LeastSquaresProblem(residual, x0, constraints=limits, sparsity="auto"))
assert result.status.converged, result.message
print(time.process_time() - cpu, time.perf_counter() - wall)
"""
_BY_ADDRESS = {name: f'nlsq.compile({name}, kind="residual")' for name in ("residual", "constraints")}
FIRST_CONSTRAINED = {
    "plain": _CONSTRAINED.format(imports="", decorator="", residual="residual", constraints="constraints"),
    "compiled": _CONSTRAINED.format(imports="import numba", decorator="@numba.njit", **_BY_ADDRESS),
    "sparse": _CHAIN,
}

# The same problem by SciPy's SLSQP, which minimises the sum of squares.
SLSQP = """
import numpy as np
from scipy.optimize import minimize

def cost(x):
    return 0.5 * ((x[0] - x[1]) ** 2 + ((x[0] + x[1] - 10.0) / 3.0) ** 2 + (x[2] - 5.0) ** 2)

ball = {"type": "ineq", "fun": lambda x: 48.0 - x[0] ** 2 - x[1] ** 2 - x[2] ** 2}
bounds = [(-4.5, 4.5), (-4.5, 4.5), (-5.0, 5.0)]
assert minimize(cost, [-4.5, 4.5, 0.0], method="SLSQP", bounds=bounds, constraints=[ball]).success
"""
