"""Loads SciPy's own test modules, from the installed SciPy, with our functions in the place of its functions.

The source of a test module is executed in the namespace of one of our test modules, so that pytest collects from
there and a process pool can find its functions again. Then every name bound to one of the three functions is bound to
a recording stand-in, and `optimize`, if the module uses it, to a stand-in for the package. Nothing in SciPy itself is
changed.
"""

import functools
import importlib.util
import os
import types
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = ("curve_fit", "least_squares", "leastsq")
SUBJECT = os.environ.get("SCIPY_SUITE_SUBJECT", "nlsq")  # "scipy": check the harness with SciPy's own functions

calls = dict.fromkeys(FUNCTIONS, 0)
"""Calls of each stand-in since the last `reset`."""


def reset() -> None:
    """Set every call count to zero."""
    for name in FUNCTIONS:
        calls[name] = 0


def _recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return function(*args, **kwargs)

    return stand_in


def subject_functions() -> dict[str, Callable[..., Any]]:
    """Return the three functions under test, each of them recording its calls."""
    package = importlib.import_module("scipy.optimize" if SUBJECT == "scipy" else "nlsq")
    return {name: _recorded(name, getattr(package, name)) for name in FUNCTIONS}


def _stand_in_for_package(package: types.ModuleType, functions: dict[str, Callable[..., Any]]) -> types.SimpleNamespace:
    public = {name: getattr(package, name) for name in dir(package) if not name.startswith("__")}
    return types.SimpleNamespace(**(public | functions))


def adopt(test_module: str, namespace: dict[str, Any], classes: Collection[str] | None = None) -> None:
    """Execute SciPy's `scipy/optimize/tests/<test_module>.py` in `namespace` with our functions.

    Parameters
    ----------
    test_module : str
        Name of the module without its suffix.
    namespace : dict
        `globals()` of the test module that adopts the tests.
    classes : collection of str, optional
        The test classes to keep; other tests of the module are dropped. All tests are kept by default.
    """
    import scipy.optimize

    package = importlib.util.find_spec("scipy.optimize")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "tests" / f"{test_module}.py"
    if not path.exists():
        pytest.skip(f"the installed SciPy comes without {path.name}", allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what SciPy's module warns of when imported is not our concern
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    functions = subject_functions()
    originals = {id(getattr(scipy.optimize, name)): name for name in FUNCTIONS}
    for name, value in list(namespace.items()):
        if id(value) in originals:
            namespace[name] = functions[originals[id(value)]]
        elif value is scipy.optimize:
            namespace[name] = _stand_in_for_package(value, functions)
        elif classes is not None and name.lower().startswith("test") and name not in classes:
            del namespace[name]
