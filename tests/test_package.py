"""The package as a whole: what importing it costs, what it exports, and the rules its sources keep."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nlsq

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(nlsq.__file__).parent
PUBLIC_NAMES = sorted(nlsq.__all__)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80  # without its docstring
MAX_PARAMETERS = 14
IMPORT_BUDGET = 0.015  # s, above numpy's own import


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)


def modules_after(code):
    return set(run_python("-c", f"{code}\nimport sys\nprint(*sys.modules)").stdout.split())


# Importing


HEAVY = {"numba", "llvmlite", "scipy.optimize"}


def test_import_loads_neither_numba_nor_scipy_optimize():
    loaded = modules_after("import nlsq")
    assert "nlsq" in loaded
    assert not loaded & HEAVY
    assert not [name for name in loaded if name.startswith("nlsq.")]


def test_modules_after_sees_what_is_loaded():
    assert "scipy.optimize" in modules_after("import nlsq, scipy.optimize")


def import_seconds():
    """Return the time of `import nlsq` in a fresh process, less that of numpy when it is part of it."""
    report = run_python("-X", "importtime", "-c", "import nlsq").stderr
    cumulative = {
        name: int(microseconds) * 1e-6
        for microseconds, name in re.findall(r"\|\s*(\d+) \|\s*(nlsq|numpy)$", report, re.MULTILINE)
    }
    return cumulative["nlsq"] - cumulative.get("numpy", 0.0)


def test_import_is_quick():
    best = min(import_seconds() for _ in range(5))
    assert best < IMPORT_BUDGET


# Public names


def test_dir_is_all():
    assert dir(nlsq) == PUBLIC_NAMES
    assert len(set(nlsq.__all__)) == len(nlsq.__all__)


def test_lazy_table_is_all():
    assert set(nlsq._HOME) | {"__version__"} == set(nlsq.__all__)


def test_type_checkers_see_the_lazy_table():
    """What the TYPE_CHECKING branch imports is what __getattr__ fetches, from the same modules."""
    tree = ast.parse(Path(nlsq.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == nlsq._HOME


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_name_resolves(name):
    value = getattr(nlsq, name)
    assert not inspect.ismodule(value)
    assert getattr(value, "__doc__", None)


def test_public_names_survive_the_import_of_their_modules():
    homes = sorted({home for home in nlsq._HOME.values()})
    code = (
        f"import importlib, inspect, nlsq\nfor home in {homes}: importlib.import_module(home)\n"
        f"print(*[name for name in nlsq.__all__ if inspect.ismodule(getattr(nlsq, name))])"
    )
    assert run_python("-c", code).stdout.split() == []


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'curvefit'"):
        nlsq.curvefit  # noqa: B018


def rooms(package):
    """Return the names that importing a module of the package would bind on it."""
    return {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}


def test_no_room_has_a_public_name():
    assert "status" in rooms(PACKAGE)
    assert not rooms(PACKAGE) & set(nlsq.__all__)


# Sources


def sources(package):
    return {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}


SOURCES = sources(PACKAGE)


def imported_packages(node):
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {node.module.partition(".")[0]}
    return set()


def outside_functions(tree):
    """Yield the nodes that run when the module is imported."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def numba_outside_backend(files):
    return [
        f"{path}:{node.lineno}"
        for path, text in files.items()
        if not path.startswith("kernels/backend/")
        for node in ast.walk(ast.parse(text))
        if imported_packages(node) & {"numba", "llvmlite"}
    ]


def scipy_at_import(files):
    return [
        f"{path}:{node.lineno}"
        for path, text in files.items()
        for node in outside_functions(ast.parse(text))
        if "scipy" in imported_packages(node)
    ]


def long_files(files):
    return [path for path, text in files.items() if len(text.splitlines()) > MAX_FILE_LINES]


def functions(files):
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno} {node.name}", node


def function_lines(node):
    docstring = node.body[0] if ast.get_docstring(node) else None
    in_docstring = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return node.end_lineno - node.lineno + 1 - in_docstring


def long_functions(files):
    return [where for where, node in functions(files) if function_lines(node) > MAX_FUNCTION_LINES]


def crowded_signatures(files):
    """Return the functions with too many parameters; SciPy's signatures, flat kernels and the two fits are exempt."""
    return [
        where
        for where, node in functions(files)
        if not where.startswith(("scipy_api/", "kernels/", "fitting/single.py", "fitting/batch/call.py"))
        and len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) > MAX_PARAMETERS
    ]


PARAMETERS = ", ".join(f"p{i}" for i in range(MAX_PARAMETERS + 1))
RULES = {
    "numba only in kernels/backend": (numba_outside_backend, "def f():\n    from numba.core import types\n"),
    "scipy only inside functions": (scipy_at_import, "try:\n    import scipy.linalg\nfinally:\n    pass\n"),
    "files are short": (long_files, "x = 1\n" * (MAX_FILE_LINES + 1)),
    "functions are short": (long_functions, "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
    "signatures are short": (crowded_signatures, f"def f({PARAMETERS}):\n    pass\n"),
}
ALLOWED = {
    "kernels/backend/decorators.py": "from numba import njit\n",
    "lazy.py": "def f():\n    '''Say what it does.'''\n    import scipy.optimize\n",
    "typed.py": "if TYPE_CHECKING:\n    from scipy.sparse import csr_array\n",
    "full.py": "x = 1\n" * MAX_FILE_LINES,
    "documented.py": "def f():\n    '''\n" + "    text\n" * MAX_FUNCTION_LINES + "    '''\n    return 1\n",
    "scipy_api/leastsq.py": f"def f({PARAMETERS}):\n    pass\n",
}


@pytest.mark.parametrize("rule", RULES)
def test_sources_keep_the_rule(rule):
    broken_by, _ = RULES[rule]
    assert SOURCES
    assert broken_by(SOURCES) == []


@pytest.mark.parametrize("rule", RULES)
def test_rule_finds_its_offender_and_nothing_else(rule):
    broken_by, offence = RULES[rule]
    offenders = broken_by(ALLOWED | {"solvers/offender.py": offence})
    assert len(offenders) == 1
    assert offenders[0].startswith("solvers/offender.py")


# Import contracts (pyproject.toml, [tool.importlinter])


def lint_imports(folder):
    pytest.importorskip("importlinter", reason="import-linter is not installed; it is in the extra 'test'")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_import_contracts_hold():
    finished = lint_imports(ROOT)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_import_contracts_catch_an_upward_import(tmp_path):
    """A copy of the package in which the lowest layer imports the highest breaks the contract."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for path, text in SOURCES.items():
        copy = tmp_path / "nlsq" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    with (tmp_path / "nlsq" / "status.py").open("a", encoding="utf-8") as status:
        status.write("\nimport nlsq.scipy_api.leastsq\n")
    finished = lint_imports(tmp_path)
    assert finished.returncode != 0
    assert re.search(r"nlsq\.status.*nlsq\.scipy_api", finished.stdout, re.DOTALL)
