"""How kernels are compiled, kept on disk, found again and trusted."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import nlsq
from nlsq.kernels.backend import cache, handle, precompile
from nlsq.kernels.backend.kernel import registry
from nlsq.kernels.dense import norm

ROOT = Path(__file__).resolve().parents[1]
LOAD = """
import sys, numpy as np
from nlsq.kernels.backend import handle
from nlsq.kernels.dense import norm
a = np.array([3.0, 4.0])
print(norm.entry()(handle(a), 2), "numba" in sys.modules)
"""
SEVERAL = """
import sys
from nlsq.kernels.dense import qr_factorize
print(qr_factorize.load() != 0)
"""
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def start(code, folder=ROOT, **settings):
    """Start Python with a clean environment; `settings` are its variables."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("NLSQ_", "XDG_", "PYTHON", "COV"))}
    environment = keep | {"PYTHONDONTWRITEBYTECODE": "1"} | {k: str(v) for k, v in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split(), err


def run(code, folder=ROOT, **settings):
    return finish(start(code, folder, **settings))


def objects(place):
    return sorted(path.name for path in place.rglob("*.o"))


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Point every place of the cache into a folder of the test's own."""
    found = [tmp_path / name for name in ("named", "home", "temporary")]
    for place in found:
        place.mkdir()
    monkeypatch.setenv("NLSQ_CACHE_DIR", str(found[0]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(found[1]))
    monkeypatch.setattr(tempfile, "tempdir", str(found[2]))
    return found


def test_miss_compiles_and_keeps_then_hit_needs_no_numba(tmp_path):
    out, _ = run(LOAD, NLSQ_CACHE_DIR=tmp_path)
    assert out == ["5.0", "True"]
    assert objects(tmp_path) == ["nlsq_dense_norm.o"]
    out, _ = run(LOAD, NLSQ_CACHE_DIR=tmp_path)
    assert out == ["5.0", "False"]


def test_damaged_file_is_compiled_again(tmp_path):
    run(LOAD, NLSQ_CACHE_DIR=tmp_path)
    (kept,) = tmp_path.rglob("*.o")
    intact = kept.read_bytes()
    damaged = bytearray(intact)
    damaged[len(damaged) // 2] ^= 1
    kept.write_bytes(damaged)
    out, _ = run(LOAD, NLSQ_CACHE_DIR=tmp_path)
    assert out == ["5.0", "True"]
    assert kept.read_bytes() != bytes(damaged)
    assert cache.read(kept.parent, "nlsq_dense_norm") is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: b"",
        lambda c: c[:20],
        lambda c: c[:-1],
        lambda c: c + b"x",
        lambda c: b"X" + c[1:],
        lambda c: c[:8] + b"\0" * 32 + c[40:],
    ],
    ids=["empty", "head only", "cut", "longer", "magic", "checksum"],
)
def test_damaged_content_counts_as_absent(tmp_path, damage):
    cache.write(tmp_path, "one", b"machine code")
    assert cache.read(tmp_path, "one") == b"machine code"
    path = tmp_path / "one.o"
    path.write_bytes(damage(path.read_bytes()))
    assert cache.read(tmp_path, "one") is None


def test_absent_is_none_and_no_folder_keeps_nothing(tmp_path):
    assert cache.read(tmp_path, "absent") is None
    assert cache.read(None, "absent") is None
    cache.write(None, "absent", b"code")


@pytest.mark.parametrize("target", ["vanished", "file"])
def test_writing_to_a_folder_that_is_none_is_no_error(tmp_path, target):
    (tmp_path / "file").write_text("in the way")
    cache.write(tmp_path / target, "one", b"code")


def test_no_temporary_file_is_left_behind(tmp_path):
    cache.write(tmp_path, "one", b"code")
    assert [path.name for path in tmp_path.iterdir()] == ["one.o"]


def test_unwritable_place_falls_to_the_next(places):
    named, home, temporary = places
    assert cache.folder().parent == named
    named_file, home_file = named / "file", home / "file"
    named_file.write_text("not a folder")
    home_file.write_text("not a folder")
    os.environ["NLSQ_CACHE_DIR"] = str(named_file)  # the fixture restores it
    assert cache.folder().parent == home / "nlsq"
    os.environ["XDG_CACHE_HOME"] = str(home_file)
    assert cache.folder().parent.parent == temporary
    tempfile.tempdir = str(home_file)
    assert cache.folder() is None


def test_unwritable_place_works_from_outside(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    out, _ = run(LOAD, NLSQ_CACHE_DIR=blocked, XDG_CACHE_HOME=tmp_path / "home")
    assert out == ["5.0", "True"]
    assert objects(tmp_path / "home" / "nlsq") == ["nlsq_dense_norm.o"]


def test_nothing_writable_compiles_and_says_how_to_keep(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = f"import tempfile\ntempfile.tempdir = {str(blocked)!r}\n{SEVERAL}"
    out, err = run(code, NLSQ_CACHE_DIR=blocked, XDG_CACHE_HOME=blocked)
    assert out == ["True"]
    assert err.count("\n") == 1
    assert "set NLSQ_CACHE_DIR" in err


def test_compiling_says_one_line_and_loading_none(tmp_path):
    _, err = run(SEVERAL, NLSQ_CACHE_DIR=tmp_path)
    assert len(objects(tmp_path)) >= 4
    assert err.count("\n") == 1
    assert "compiling kernels" in err
    assert str(tmp_path) in err
    _, err = run(SEVERAL, NLSQ_CACHE_DIR=tmp_path)
    assert err == ""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_folder_that_others_can_write_is_not_trusted(places, mode):
    named, home, _ = places
    target = named / cache.fingerprint()
    target.mkdir()
    target.chmod(mode)
    assert cache.folder().parent == home / "nlsq"
    target.chmod(0o700)
    assert cache.folder() == target


def test_two_processes_compile_at_once(tmp_path):
    both = [start(SEVERAL, NLSQ_CACHE_DIR=tmp_path) for _ in range(2)]
    assert [finish(process)[0] for process in both] == [["True"], ["True"]]
    (folder,) = tmp_path.iterdir()
    assert all(path.suffix == ".o" for path in folder.iterdir())
    assert all(cache.read(folder, path.stem) is not None for path in folder.iterdir())


def test_read_only_install_writes_nothing_into_itself(tmp_path):
    """The cache is never beside the package (root ignores permissions, so look at what changed)."""
    install, kept = tmp_path / "install", tmp_path / "kept"
    shutil.copytree(Path(nlsq.__file__).parent, install / "nlsq", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*install.rglob("*"), install):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(install.rglob("*"))
    out, _ = run(f"import nlsq\nassert {str(install)!r} in nlsq.__file__\n{LOAD}", install, NLSQ_CACHE_DIR=kept)
    assert out == ["5.0", "True"]
    assert sorted(install.rglob("*")) == before
    assert objects(kept) == ["nlsq_dense_norm.o"]
    for path in (install, *install.rglob("*")):
        path.chmod(0o755)


def test_clear_cache_removes_our_code_and_nothing_else(places):
    named, home, temporary = places
    ours = [place / "0123456789abcdef01234567" for place in (named, home / "nlsq")]
    for folder in ours:
        folder.mkdir(parents=True)
        (folder / "nlsq_dense_norm.o").write_bytes(b"code")
        (folder / ".nlsq_dense_norm.123").write_bytes(b"left by a crash")
    shared = named / "abcdef0123456789abcdef01"
    shared.mkdir()
    (shared / "nlsq_dense_dot.o").write_bytes(b"code")
    foreign = [
        shared / "thesis.tex",
        named / "notes.txt",
        named / "data" / "x.o",
        home / "other" / "y",
        temporary / "z",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    nlsq.clear_cache()
    assert not any(folder.exists() for folder in ours)
    assert all(path.exists() for path in foreign)
    assert not (shared / "nlsq_dense_dot.o").exists()
    nlsq.clear_cache()  # nothing there: no error


def copied_sources(tmp_path, monkeypatch):
    folder = tmp_path / "nlsq" / "kernels"
    shutil.copytree(cache._KERNELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(cache._STATUS, tmp_path / "nlsq")
    monkeypatch.setattr(cache, "_KERNELS", folder)
    monkeypatch.setattr(cache, "_STATUS", folder.with_name("status.py"))
    return folder


@pytest.mark.parametrize("changed", ["dense.py", "backend/lowering.py", "../status.py"])
def test_fingerprint_changes_with_a_source(tmp_path, monkeypatch, changed):
    folder = copied_sources(tmp_path, monkeypatch)
    before = cache.fingerprint.__wrapped__()
    assert before == cache.fingerprint.__wrapped__()
    with (folder / changed).open("a", encoding="utf-8") as source:
        source.write("\n# changed\n")
    assert cache.fingerprint.__wrapped__() != before


def test_fingerprint_changes_with_numba_and_with_a_new_file(tmp_path, monkeypatch):
    folder = copied_sources(tmp_path, monkeypatch)
    before = cache.fingerprint.__wrapped__()
    monkeypatch.setattr(cache, "_numba_version_file", lambda: b"another numba")
    other = cache.fingerprint.__wrapped__()
    (folder / "new.py").write_text("")
    assert len({before, other, cache.fingerprint.__wrapped__()}) == 3


def test_precompile_leaves_nothing_to_compile():
    count = precompile()
    library = [k for k in registry.values() if k.function.__module__.startswith("nlsq.")]
    assert count >= len(library) > 50
    assert all(k.address for k in library)
    folder = cache.folder()
    assert all(cache.read(folder, k.symbol) is not None for k in library)


def test_entry_is_made_once_and_handles_are_addresses():
    assert norm.entry() is norm.entry()
    a = np.array([3.0, 4.0])
    assert handle(a) == a.ctypes.data
    assert norm.entry(release_gil=True)(handle(a), 2) == 5.0


SOLVE = """
import json, sys
from benchmarks.problems import robust
from nlsq import GaussNewton, LeastSquaresProblem, LineSearch, solve
found = {}
methods = {m: m for m in ("lm", "trf", "dogbox", "gradient")} | {"search": GaussNewton(line_search=LineSearch())}
for one in robust.all_problems():
    for method in methods:
        for loss in ("linear", "soft_l1"):
            problem = LeastSquaresProblem(one.residual, one.x0, jac=one.jacobian, loss=loss, loss_scale=one.loss_scale)
            result = solve(problem, methods[method], history=True, max_evaluations=8)
            found[" ".join((one.name, method, loss))] = [report.x.tolist() for report in result.history]
print(json.dumps([found, "numba" in sys.modules, "llvmlite" in sys.modules]), file=sys.stderr)
"""


def test_without_compilation_the_iterates_are_the_same():
    """Neither numba nor llvmlite is loaded where nothing is compiled, and numba is not where all is in the cache."""
    precompile()
    slow = start(SOLVE, NLSQ_DISABLE_COMPILE=1)
    quick = start(SOLVE, NLSQ_CACHE_DIR=os.environ.get("NLSQ_CACHE_DIR", ""))
    (plain, *plain_modules), (compiled, *modules) = (json.loads(finish(p)[1].splitlines()[-1]) for p in (slow, quick))
    assert plain_modules == [False, False]
    assert modules == [False, True]
    for case, iterates in plain.items():
        assert len(iterates) == len(compiled[case])
        np.testing.assert_allclose(iterates, compiled[case], rtol=1e-12, atol=1e-12, err_msg=case)


COLD = """
import numpy as np, numba, nlsq
from nlsq.compiler import routes
routes.WORTH_COMPILING = float("inf")  # tracing is not the question here: it would go by other derivatives when warm
x = np.linspace(0.0, 2.0, 30)
y = 3.0 * np.exp(-1.3 * x) + 0.5 + 0.01 * np.cos(9.0 * x)
y[4] += 2.0

@numba.njit
def model(x, a, b, c):
    return a * np.exp(-b * x) + c

def residual(p):
    return model(x, p[0], p[1], p[2]) - y

bound = nlsq.compile(model).bind_data(x, y)
for options in ({}, {"jac": "3-point"}, {"jac": "cs"}, {"loss": "huber", "loss_scale": 0.05}):
    for damping in (nlsq.MoreRadius(), nlsq.Nielsen()):
        for function in (residual, bound):
            problem = nlsq.LeastSquaresProblem(function, [1.0, 1.0, 0.0], **options)
            print(*nlsq.solve(problem, nlsq.LevenbergMarquardt(damping=damping)).x)
both = lambda p: np.array([p[0] + p[1] - 3.0, 2.0 * (p[0] + p[1]) - 6.0, p[2] - 1.0])
print(*nlsq.solve(nlsq.LeastSquaresProblem(both, [1.0, 1.0, 0.0])).x)
"""


def test_kernels_left_out_of_a_cold_start_are_compiled_when_called(tmp_path):
    cold, said = run(COLD, NLSQ_CACHE_DIR=tmp_path)
    assert "compiling" in said
    warm, _ = run(COLD, NLSQ_CACHE_DIR=tmp_path)
    np.testing.assert_allclose(np.array(cold, float), np.array(warm, float), rtol=1e-12)


ALONE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np, nlsq
x = np.arange(9.0)
print(*nlsq.curve_fit(lambda x, a, b: a * x + b, x, 2.0 * x + 1.0, [1.0, 1.0])[0])
"""


def test_cold_start_with_one_processor_gives_the_same(tmp_path):
    out, _ = run(ALONE, NLSQ_CACHE_DIR=tmp_path)
    np.testing.assert_allclose(np.array(out, float), [2.0, 1.0], rtol=1e-9)
