"""Models in files: the same bits in another process, and nothing in a file that is executed or believed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nlsq
from nlsq.kernels.backend import compile_disabled

X = np.linspace(0.1, 4.0, 40)
P = np.array([2.0, 1.0, 0.3])
OFFSETS = np.full(40, 0.5)


def decay(x, height, rate, offset):
    return height * np.exp(-rate * x) + offset * np.sin(x) ** 2 + 0.1


def plane(x, a, b, c):
    u, v = x
    return a * u * b + np.where(u > v, np.hypot(b, v), c)


def piecewise(x, a, b, c):
    return np.where(x < a, b * x, np.maximum(c, np.abs(x) ** 1.5))


def profile(x, a, b, c):
    return a / (1.0 + ((x - b) / c) ** 2) / np.sum(np.exp(-b * x))


MODELS = {"decay": (decay, 1), "plane": (plane, 2), "piecewise": (piecewise, 1), "profile": (profile, 1)}
LOADING = """
import sys
import numpy as np
import nlsq
loaded = nlsq.Model.load(sys.argv[1])
x, y, p = (np.load(path) for path in sys.argv[2:5])
residual, jac = loaded.residual_and_jacobian(p, x, y)
sys.stdout.write((residual.tobytes() + jac.tobytes()).hex())
"""


def rows(variables):
    return X if variables == 1 else np.stack([X, X[::-1] ** 2])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.json"
    nlsq.model(decay).save(path)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_process_computes_the_same_bits(name, tmp_path):
    function, variables = MODELS[name]
    x = rows(variables)
    y = function(x, *P) + 0.1
    made = nlsq.model(function, variables=variables)
    made.save(tmp_path / "model.json")
    for what, array in (("x", x), ("y", y), ("p", P)):
        np.save(tmp_path / f"{what}.npy", array)
    residual, jac = made.residual_and_jacobian(P, x, y)
    places = [str(tmp_path / one) for one in ("model.json", "x.npy", "y.npy", "p.npy")]
    paths = os.pathsep.join([str(Path(nlsq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    printed = subprocess.run(
        [sys.executable, "-c", LOADING, *places],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert bytes.fromhex(printed.strip()) == residual.tobytes() + jac.tobytes()


def test_a_loaded_model_is_a_model(saved, tmp_path):
    loaded, made = nlsq.Model.load(saved), nlsq.model(decay)
    assert loaded.names == made.names == ("height", "rate", "offset")
    assert_allclose(loaded(X, *P), decay(X, *P), rtol=1e-14)
    y = decay(X, *P) + 0.01 * np.sin(17.0 * X)
    start = [1.0, 0.5, 0.0]
    for x, data in ((X, y), (X[:25].copy(), y[:25].copy()), (X, y)):
        assert_array_equal(loaded.solve(x, data, start).params, made.solve(x, data, start).params)
        assert_allclose(nlsq.curve_fit(loaded, x, data, start)[0], nlsq.curve_fit(made, x, data, start)[0], rtol=1e-9)
        assert_allclose(nlsq.fit(loaded, x, data, start).params, nlsq.fit(made, x, data, start).params, rtol=1e-9)
    held = nlsq.fit(loaded, X, y, start, fixed={"offset": 0.3})
    assert_allclose(held.params, nlsq.fit(made, X, y, start, fixed={"offset": 0.3}).params, rtol=1e-7)
    bounded = nlsq.fit(loaded, X, y, start, bounds={"rate": (0, 5)})
    assert_allclose(bounded.params, nlsq.fit(made, X, y, start).params, rtol=1e-5)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == saved.read_text()
    assert nlsq.explain(loaded).route == "compiled"


def test_it_can_be_called_with_numbers_of_points_of_every_kind(saved):
    loaded = nlsq.Model.load(saved)
    for m in (1, 2, 3, 61, 97, 1000):
        x = np.linspace(0.0, 3.0, m)
        assert_allclose(loaded(x, *P), decay(x, *P), rtol=1e-13)
    with pytest.raises(TypeError, match="takes 3 parameters, got 2"):
        loaded(X, 1.0, 2.0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, a: a * x + OFFSETS[: len(x)], "reads arrays|number of points|cannot be"),
        (lambda x, a: a * x / len(x), "number of points|numbers depends"),
        (lambda x, a: np.concatenate([a * x, a + x]), "number of points"),
        (lambda x, a: np.concatenate([a * x[:-1], a + x[-1:]]), "number of points"),
    ],
)
def test_what_cannot_be_saved_says_why(function, words, tmp_path):
    made = nlsq.model(function, compile_now=False)
    with pytest.raises(TypeError, match=words):
        made.save(tmp_path / "model.json")
    assert not (tmp_path / "model.json").exists()


def test_residuals_are_not_saved(tmp_path):
    with pytest.raises(TypeError, match="only models"):
        nlsq.compile(lambda p: p - 1.0, kind="residual").save(tmp_path / "model.json")


OTHER_NODES = (
    ["exec", "raise SystemExit"], ["data", 0, 1, [1]], ["data", 7, 0, [1]], ["parameter", 3], ["parameter", -1],
    ["constant", 99], ["+", -1, 0], ["exp", 10**6], ["number", "x"], ["number", 1.5], [], [None], ["parameter"],
    ["exp", True], ["+", 0.0, 1],
)  # fmt: skip


def damaged(content):
    """Every way in which one thing in a file is not as it was."""
    yield {}
    yield []
    yield "text"
    yield None
    for name in content:
        yield {key: value for key, value in content.items() if key != name}
        for value in (None, -1, "x", [], {}, [[]], [None], 1e300, [["__import__('os').abort()"]], True):
            if value != content[name]:
                yield content | {name: value}
    for k, node in enumerate(content["nodes"]):
        before = max(k - 1, 0)
        for other in (*OTHER_NODES, ["+", k, k], ["sum", k], ["*", before, before], ["sin", before], ["sum", before]):
            if other != node:
                yield content | {"nodes": [*content["nodes"][:k], other, *content["nodes"][k + 1 :]]}
    segment = content["segments"][0]
    for k in range(len(segment)):
        for value in (-1, 10**9, "m", None, [7], [[1]], ["x"], 0.5):
            if value != segment[k]:
                yield content | {"segments": [[*segment[:k], value, *segment[k + 1 :]]]}
    yield content | {"shape": ["m", "m"]}
    yield content | {"shape": [10**12]}
    yield content | {"shape": [61]}
    yield content | {"shape": [2**30] * 4}
    yield content | {"shape": [61], "segments": [[one[0], [], k, []] for k in range(61) for one in content["segments"]]}
    yield content | {"shapes": [["m"] * 3 for _ in content["shapes"]]}
    yield content | {"names": [*content["names"], "more"]}
    yield content | {"version": 99}


def test_damaged_files_are_refused_or_harmless(saved, tmp_path):
    content = json.loads(saved.read_text())
    path = tmp_path / "damaged.json"
    refused, accepted = 0, 0
    for k, other in enumerate(damaged(content)):
        path.write_text(json.dumps(other))
        try:
            loaded = nlsq.Model.load(path)
        except ValueError:
            refused += 1
            continue
        # what is accepted is a graph like any other: it can be evaluated without harm
        with np.errstate(all="ignore"):
            values = loaded(X, *np.ones(loaded.n))
        assert values.shape == X.shape, (k, other)
        accepted += 1
        if accepted % 4 == 1 and not compile_disabled():
            for m in (61, 200_000):
                residual, jac = loaded.residual_and_jacobian(np.ones(loaded.n), np.linspace(0.0, 1.0, m))
                assert residual.shape == (m,) and jac.shape == (m, loaded.n), (k, other)
    assert refused > 100 and accepted > 4


@pytest.mark.parametrize("shape", [[61], [97], [200_000], ["m", "m"]])
def test_an_output_of_another_size_than_what_is_written_is_refused(shape, saved):
    content = json.loads(saved.read_text())
    saved.write_text(json.dumps(content | {"shape": shape}))
    with pytest.raises(ValueError, match=r"fill its output|leaves its output"):
        nlsq.Model.load(saved)


def test_a_loaded_model_of_two_variables_refuses_parts_of_different_lengths(tmp_path):
    nlsq.model(plane, variables=2).save(tmp_path / "model.json")
    loaded = nlsq.Model.load(tmp_path / "model.json")
    with pytest.raises((TypeError, ValueError)):
        loaded.residual_and_jacobian(P, (X, X[:20]))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1, 2]", "\0\1\2", "import os", '{"format": "nlsq model"}', "9" * 5000]
)
def test_files_of_other_kinds_are_refused(text, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        nlsq.Model.load(path)
    path.write_bytes(b"\xff\xfe\x00" + text.encode())
    with pytest.raises(ValueError):
        nlsq.Model.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        nlsq.Model.load(tmp_path / "none.json")


def test_deep_nesting_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError):
        nlsq.Model.load(path)
