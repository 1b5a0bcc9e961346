"""The code that fresh processes run: imports, a first fit, and compiling everything."""

__all__ = ["COLD_CACHE", "FIRST_FIT", "IMPORT", "IMPORT_TIMES", "PRECOMPILE"]

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
