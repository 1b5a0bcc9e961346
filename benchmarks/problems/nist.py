r"""The NIST StRD nonlinear regression suite: 27 curves with certified answers.

Each problem is   minimise over b   sum_i (model(x_i, b) - y_i)^2,   from two published starts, the first far
from and the second near the solution. The answer is judged by the log relative error of its worst parameter,

    digits(p) = min_j  -log10(|p_j - c_j| / |c_j|),     c the certified values (11 digits), kept in [0, 11].

The numbers are read from the data files as NIST publishes them (public domain); the files name the lines that
hold the starts, the certified values and the data. Nelson's response is log(y), taken once, in `load`. The
degrees of freedom are m - n: Rat43's file prints 9 where its residual standard deviation was made with 11. The
arrays are shared between callers and read-only.

References
----------
.. [1] National Institute of Standards and Technology, Statistical Reference Datasets: Nonlinear Regression.
   doi:10.18434/T43G6C
.. [2] B. D. McCullough, "Assessing the reliability of statistical software: Part I", The American Statistician
   52(4), 358-366, 1998. (The log relative error.)
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .nist_models import MODELS

__all__ = ["NistProblem", "all_problems", "load", "log_relative_error", "names"]

DATA_DIR = Path(__file__).parent / "nist_data"
CERTIFIED_DIGITS = 11.0  # significant digits of NIST's certified values
LOG_RESPONSE = frozenset({"Nelson"})  # data sets whose model describes log(y)


@dataclass(frozen=True, kw_only=True, eq=False)
class NistProblem:
    """One NIST data set.

    Attributes
    ----------
    name : str
        NIST's name of the data set.
    difficulty : str
        ``"lower"``, ``"average"`` or ``"higher"``, as NIST grades it.
    model : callable
        ``model(x, b1, ..., bn) -> ndarray, shape (m,)``, plain numpy.
    x : ndarray, shape (m,), or (2, m) for Nelson
        Predictors.
    y : ndarray, shape (m,)
        Response, already transformed where the model describes log(y).
    starts : ndarray, shape (2, n)
        NIST's start 1 (far) and start 2 (near).
    certified : ndarray, shape (n,)
        Certified parameters.
    certified_stderr : ndarray, shape (n,)
        Certified standard deviations of the parameters.
    certified_rss : float
        Certified residual sum of squares.
    certified_residual_std : float
        Certified residual standard deviation, sqrt(rss / dof).
    """

    name: str
    difficulty: str
    model: Callable[..., np.ndarray]
    x: np.ndarray
    y: np.ndarray
    starts: np.ndarray
    certified: np.ndarray
    certified_stderr: np.ndarray
    certified_rss: float
    certified_residual_std: float

    @property
    def m(self):
        """Number of observations."""
        return self.y.size

    @property
    def n(self):
        """Number of parameters."""
        return self.certified.size

    @property
    def dof(self):
        """Degrees of freedom, m - n."""
        return self.m - self.n

    def residual(self, params):
        """Return model(x, params) - y, shape (m,)."""
        return self.model(self.x, *params) - self.y

    def rss(self, params):
        """Return the residual sum of squares at `params`."""
        r = self.residual(params)
        return float(r @ r)

    def digits(self, params):
        """Return the correct digits of the worst parameter, in [0, 11]."""
        return log_relative_error(params, self.certified)

    def stderr_digits(self, stderr):
        """Return the correct digits of the worst standard error, in [0, 11]."""
        return log_relative_error(stderr, self.certified_stderr)


def log_relative_error(values, certified):
    """Return min_j -log10(|v_j - c_j| / |c_j|), kept in [0, 11]; 0 when any value is not finite."""
    values = np.asarray(values, dtype=float)
    certified = np.asarray(certified, dtype=float)
    if values.shape != certified.shape or not np.all(np.isfinite(values)):
        return 0.0
    worst = float(np.max(np.abs(values - certified) / np.abs(certified)))
    if worst == 0.0:
        return CERTIFIED_DIGITS
    return float(np.clip(-np.log10(worst), 0.0, CERTIFIED_DIGITS))


def names():
    """Return the names of the 27 data sets, in alphabetical order."""
    return tuple(MODELS)


def all_problems():
    """Return the 27 problems, in the order of `names`."""
    return tuple(load(name) for name in names())


@functools.cache
def load(name):
    """Return the problem called `name`, read once from its file.

    Raises
    ------
    KeyError
        If `name` is not one of `names()`.
    """
    model = MODELS[name]
    lines = (DATA_DIR / f"{name}.dat").read_text(encoding="ascii").splitlines()
    data = _read_table(lines, *_line_range(lines, "Data")).T
    y, x = data[0], (data[1] if data.shape[0] == 2 else data[1:])
    params = _read_params(lines)
    return NistProblem(
        name=name,
        difficulty=_find(lines, r"(Lower|Average|Higher) Level of Difficulty").lower(),
        model=model,
        x=_read_only(x),
        y=_read_only(np.log(y) if name in LOG_RESPONSE else y),
        starts=_read_only(params[:, :2].T),
        certified=_read_only(params[:, 2]),
        certified_stderr=_read_only(params[:, 3]),
        certified_rss=float(_find(lines, r"^Residual Sum of Squares:\s*(\S+)")),
        certified_residual_std=float(_find(lines, r"^Residual Standard Deviation:\s*(\S+)")),
    )


def _read_params(lines):
    """Return the rows (start 1, start 2, certified, standard deviation), shape (n, 4)."""
    first, last = _line_range(lines, "Starting Values")
    return np.array([line.split("=")[1].split() for line in lines[first - 1 : last]], dtype=float)


def _read_table(lines, first, last):
    """Return the numbers on the lines `first` to `last`, counted from 1."""
    return np.array([line.split() for line in lines[first - 1 : last]], dtype=float)


def _line_range(lines, section):
    """Return the (first, last) line numbers that the file's preamble states for `section`."""
    pattern = re.compile(rf"^.*\b{section}\s*\(lines\s+(\d+)\s+to\s+(\d+)\)")
    match = next(found for found in map(pattern.match, lines) if found)
    return int(match[1]), int(match[2])


def _find(lines, pattern):
    """Return the first group of the first line that holds `pattern`."""
    return next(found for found in map(re.compile(pattern).search, lines) if found)[1]


def _read_only(array):
    """Return a contiguous copy that cannot be written to."""
    copy = np.array(array, dtype=float, order="C")
    copy.flags.writeable = False
    return copy
