"""Scripts: what a fresh process pays for compiling, and whether a short script ever gets slower by it.

The processes of `scripts_section` find the library's kernels on disk and none of any model: each has a cache folder of
its own, filled before its time starts.
"""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from .compare import fresh, fresh_pairs
from .libraries import LIBRARIES
from .rows import Section, limit_row, share_row

__all__ = [
    "changing_code",
    "compile_code",
    "compiling_section",
    "fits_code",
    "many_models_code",
    "scripts_section",
]

COUNTS = (1, 10, 100, 300, 1000, 3000)
CHANGES = 1000
MODELS = 200
MODULES = {"nlsq": "nlsq", "scipy": "scipy.optimize"}

_DATA = """
import numpy as np
from {module} import curve_fit

x = np.linspace(-5.0, 5.0, 100)
y = 3.0 * np.exp(-(((x - 0.5) / 0.8) ** 2) / 2.0) + 1.0 + 0.1 * np.sin(37.0 * x)
f = lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d
"""

_FITS = """
for k in range({count}):
    curve_fit(f, x, y + 1e-3 * np.cos(x + k), [2.0, 0.0, 1.0, 0.5])
"""

_CHANGING = """
def make(shift):
    return lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d + shift

for k in range({count}):
    curve_fit(make(1e-3 * k), x, y + 1e-3 * k, [2.0, 0.0, 1.0, 0.5])
"""

_MANY_MODELS = """
for k in range({count}):
    model = eval(f"lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d + {{k}}.5")
    curve_fit(model, x, y + k, [2.0, 0.0, 1.0, 0.5])
"""

SHOW_ROUTE = "\nimport nlsq; print(nlsq.explain(f).route)\n"

# A fit that compiles nothing, or one by another model's kernels, and then the wall and CPU seconds of compiling one
_COMPILE = """
import sys, time
sys.path.insert(0, ".")
import numpy as np
import nlsq
{preparation}
{model}
wall, cpu = time.perf_counter(), time.process_time()
nlsq.model(f, **options)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""

_AFTER = {
    "a plain fit": "nlsq.curve_fit(lambda x, a: a * x, np.arange(9.0), np.arange(9.0), [0.5])",
    "a compiled fit": "nlsq.model(lambda x, a, b: a * np.tanh(b * x)).solve(*np.ones((2, 9)), [0.5, 0.5])",
}

_TO_COMPILE = {
    "gaussian": "f, options = lambda x, a, b, c, d: a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d, {}",
    "ENSO": "from benchmarks.problems import nist; f, options = nist.load('ENSO').model, {}",
    "Gauss1": "from benchmarks.problems import nist; f, options = nist.load('Gauss1').model, {}",
}


def fits_code(library, count):
    """Return a script that fits `count` data sets with one lambda."""
    return _DATA.format(module=MODULES[library]) + _FITS.format(count=count)


def changing_code(library, count=CHANGES):
    """Return a script that fits with one lambda whose closure holds another number each time."""
    return _DATA.format(module=MODULES[library]) + _CHANGING.format(count=count)


def many_models_code(library, count=MODELS):
    """Return a script that fits with `count` different lambdas, once each."""
    return _DATA.format(module=MODULES[library]) + _MANY_MODELS.format(count=count)


def compile_code(model, after):
    """Return a script that prints how long a model takes to compile, wall and CPU."""
    return _COMPILE.format(preparation=_AFTER[after], model=_TO_COMPILE[model])


@contextmanager
def library_kernels():
    """Give a cache folder that holds the library's kernels and none of any model's."""
    from nlsq.kernels.backend import cache

    source = cache.folder()
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / source.name
        target.mkdir(mode=0o700)
        for file in source.glob("nlsq_*.o"):
            if not file.name.startswith(("nlsq_generated_", "nlsq_code_")):
                shutil.copy(file, target)
        yield place


def without_models(code, environment=None):
    """Run code in a fresh process that finds the library's kernels on disk, and no model's."""
    with library_kernels() as place:
        return fresh(code, {**(environment or {}), "NLSQ_CACHE_DIR": place})


def compiling_section(quick=False):
    """Time compiling one model, and the first compiled fit of a process."""
    rows, repeat = [], 1 if quick else 9
    for model in list(_TO_COMPILE)[: 1 if quick else None]:
        for after in _AFTER:
            code = compile_code(model, after)
            fresh(code)  # what the library needs for it is on disk from here on
            outputs = [list(map(float, without_models(code).output.split())) for _ in range(repeat)]
            wall, cpu = (median(output[k] for output in outputs) for k in (0, 1))
            limit = 0.4 if model == "gaussian" else None
            what = f"compile one model, {model}, in a process that has done {after}"
            rows.append(limit_row(what, "-", limit, wall, "s", f" (CPU {cpu:.2f} s)"))
    route = fresh(fits_code("nlsq", 1000) + SHOW_ROUTE).output.strip()  # leaves the model's kernels on disk
    ratio = fresh_pairs(*both(fits_code, 1), pairs=2 if quick else 15)
    extra = f" ({ratio.median:.2f} x faster than SciPy)"
    what = "fresh process, kernels on disk: import and first compiled curve_fit, all of the process"
    rows.append(limit_row(what, f"SciPy {ratio.peer:.2f} s CPU", 0.9, ratio.ours, "s CPU", extra))
    notes = [] if route == "compiled" else [f"the first fit was not a compiled one but {route}"]
    return Section(title="Compiling", rows=rows, notes=notes)


def scripts_section(quick=False):
    """Compare whole scripts, from one fit to thousands, and one with many models."""
    pairs, rows = (1, []) if quick else (5, [])
    cases = {f"script of {count} fits": both(fits_code, count) for count in COUNTS[: 2 if quick else None]}
    count = 20 if quick else CHANGES
    cases[f"script of {count} fits, another number in the closure each time"] = both(changing_code, count)
    count = 20 if quick else MODELS
    cases[f"script of {count} models fitted once each"] = both(many_models_code, count)
    for what, (ours, peer) in cases.items():
        fresh(ours)
        ratio = fresh_pairs(ours, peer, pairs=pairs, run=without_models)
        rows.append(share_row(f"{what}, all of the process", ratio, 1.0))
    return Section(title="Scripts, no model's kernels on disk (our CPU time / SciPy's)", rows=rows)


def both(code, count):
    """Return the scripts of both libraries."""
    return [code(library, count) for library in LIBRARIES]
