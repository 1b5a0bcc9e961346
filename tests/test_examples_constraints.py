"""The examples with constraints: their errors are true, and the direct fit of a conic is the known one."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def load():
    """Import an example, as a script in its folder would."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXAMPLES))


def test_errors_of_a_mixture_are_its_scatter(load, capsys):
    example = load("mixture_fit")
    repeats = 60
    result, ends, absent = example.main(repeats)
    assert result.converged and absent.converged
    np.testing.assert_allclose(ends[:, :3].sum(axis=1), 1.0, atol=1e-8)
    scatter = ends.std(axis=0, ddof=1)
    np.testing.assert_allclose(scatter, result.stderr, rtol=4.0 / np.sqrt(2 * repeats))  # four of its own errors
    bias = (ends.mean(axis=0) - list(example.TRUTH.values())) / (scatter / np.sqrt(repeats))
    assert np.abs(bias).max() < 4.0
    assert "adds_up" in capsys.readouterr().out


def test_ellipses_and_the_direct_fit(load, capsys):
    example = load("constrained_ellipse")
    results, conic, closed = example.main()
    np.testing.assert_allclose(conic, closed, atol=1e-6)
    assert all(result.converged for result in results.values())
    through, flat = results["through the pin"], results["and not flatter than 3 : 2"]
    for result in (through, flat):
        assert abs(example.misses_pin(*result.params)) < 1e-8
    assert flat.params["a"] <= 1.5 * flat.params["b"] + 1e-7
    errors = [np.asarray(result.stderr)[:4] for result in results.values()]
    assert (errors[0] > errors[1]).all() and (errors[1] > errors[2]).all()


def test_a_picture_is_drawn(load, tmp_path):
    pytest.importorskip("matplotlib")
    example = load("constrained_ellipse")
    example.main(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
