"""NIST's data sets in batches of their two starts: the certified values, by lanes or by the solver of single fits."""

import warnings

import numpy as np
import pytest

import nlsq
from benchmarks.problems import nist
from nlsq.kernels.backend import compile_disabled

pytestmark = pytest.mark.skipif(compile_disabled(), reason="slow where nothing is compiled")


@pytest.mark.parametrize("name", nist.names())
def test_certified_values(name):
    problem = nist.load(name)
    Y = np.stack([problem.y] * len(problem.starts))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # starts are meant to be far off
        limit = 1000 * (problem.n + 1)
        result = nlsq.fit_batch(problem.model, problem.x, Y, problem.starts, max_evaluations=limit)
    assert result.converged.all()
    for params, stderr in zip(result.params, result.stderr, strict=True):
        assert problem.digits(np.asarray(params)) >= 6.0
        assert problem.stderr_digits(np.asarray(stderr)) >= (3.0 if name == "Lanczos1" else 6.0)  # its data are exact
