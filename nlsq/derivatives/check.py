r"""Is this Jacobian the derivative of that function? If not, where, by how much, and what happened.

The Jacobian is compared entry by entry with extrapolated differences D and their error estimate,

    |J_ij - D_ij|  <=  rtol max(|J_ij|, |D_ij|) + SAFETY error_ij,

at the point and at two points nearby, because a Jacobian can agree at one point by symmetry or cancellation. When they
differ, the usual mistakes are tried: J is the transpose, has the wrong sign or a constant factor, as a whole, by
columns or by rows, or has columns in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives.analytic import Analytic, JacobianShapeError
from nlsq.derivatives.check_words import message_of
from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.richardson import reference_jacobian
from nlsq.derivatives.steps import full_array

__all__ = ["JacobianMismatchError", "JacobianReport", "check_jacobian"]

SAFETY = 10.0  # on the error estimate of the differences
NEARBY = 0.05  # of a parameter's size: distance of the extra points
SEED = 11


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JacobianReport:
    """Outcome of `check_jacobian`.

    Attributes
    ----------
    ok : bool
        Whether no entry disagrees.
    max_error : float
        Largest difference between `jac` and the differences among the entries that disagree, or among all when none
        does.
    entry : tuple of int, or None
        ``(i, j)`` of that entry; None if nothing could be judged.
    jac_value, difference_value, uncertainty : float
        What `jac` says there, what differences say, and how far they can be trusted.
    x : ndarray, shape (n,)
        The point at which that is.
    disagreements : ndarray of int, shape (k, 2)
        Entries that disagree at `x`.
    diagnosis : str
        ``"correct"``, ``"not compared"`` (no entry could be), ``"transposed"``, ``"sign"``, ``"transposed and sign"``,
        ``"factor"``, ``"columns"`` (sign or factor by column), ``"rows"``, ``"permuted"`` (columns in the wrong place)
        or ``"entries"``.
    factors : dict of int to float
        For ``"columns"`` and ``"rows"``: what each is multiplied by; for ``"factor"``: ``{0: factor}``.
    permutation : dict of int to int
        For ``"permuted"``: column of `jac` -> the parameter whose derivative it holds.
    message : str
        All this in a sentence or two.
    name : str
        Which constraint it is; empty for a function.
    """

    ok: bool
    max_error: float
    entry: tuple[int, int] | None
    jac_value: float
    difference_value: float
    uncertainty: float
    x: FloatArray
    disagreements: NDArray[np.intp]
    diagnosis: str
    factors: dict[int, float]
    permutation: dict[int, int]
    message: str
    name: str = ""

    def __bool__(self) -> bool:
        """Whether the Jacobian is right."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class JacobianMismatchError(ValueError):
    """A Jacobian disagrees with differences; `report` says where."""

    def __init__(self, report: JacobianReport) -> None:
        super().__init__(report.message)
        self.report = report


class _Sample(NamedTuple):
    """Jacobian and differences at one point."""

    x: FloatArray
    jac: FloatArray  # (m, n), or (n, m) where it is transposed
    expected: FloatArray  # (m, n)
    error: FloatArray  # (m, n)


def check_jacobian(
    fun: Any,
    jac: Any,
    x: ArrayLike | None = None,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    scale: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    rtol: float = 1e-5,
    raise_on_error: bool = False,
) -> JacobianReport:
    """Compare a Jacobian with differences of the function.

    For constraints: ``check_jacobian(constraints, x)``, with one of SciPy's objects or dicts or a sequence of them. For
    those of a fit, whose functions take parameters by name, x is a dict, ``check_jacobian(constraints, {"a": 1.0})``,
    or ``result.params``.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> r``, shape (n,) to (m,).
    jac : callable
        ``jac(x) -> J``, shape (m, n): array, sparse array or LinearOperator.
    x : array_like, shape (n,)
        Where to compare. Points within 5 % of it are looked at as well; those where `fun` or `jac` raises are left out.
    bounds : tuple of array_like, optional
        ``(lower, upper)``; nothing is evaluated outside. Parameters with equal bounds are not checked.
    scale : array_like, optional
        Size of each parameter. Default: its magnitude at `x`.
    names : sequence of str, optional
        Names of the parameters for the message.
    rtol : float, optional
        Relative disagreement that passes, besides what differences cannot resolve. Default 1e-5, between what
        differences inside `jac` and what a wrong formula would show.
    raise_on_error : bool, optional
        Raise instead of returning a report that is not ok.

    Returns
    -------
    JacobianReport

    Raises
    ------
    JacobianMismatchError
        If `raise_on_error` and an entry disagrees.
    JacobianShapeError
        If the shape is neither (m, n) nor its transpose.

    Notes
    -----
    Takes about 19 n + 7 evaluations of `fun` at each of three points.
    """
    if x is None:
        from nlsq.derivatives.check_constraints import check_constraint_jacobians as check

        return check(fun, jac, bounds=bounds, scale=scale, names=names, rtol=rtol, raise_on_error=raise_on_error)
    report = compare_jacobian(fun, jac, x, bounds=bounds, scale=scale, names=names, rtol=rtol)
    if raise_on_error and not report.ok:
        raise JacobianMismatchError(report)
    return report


def compare_jacobian(
    fun: Callable[..., Any],
    jac: Callable[..., Any],
    x: ArrayLike,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    scale: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    rtol: float = 1e-5,
    constraint: str = "",
) -> JacobianReport:
    """Compare a Jacobian with differences as `check_jacobian` does; of residuals, or of a constraint by its name."""
    point = np.atleast_1d(np.asarray(x, dtype=np.float64)).copy()
    n = point.size
    given = (None, None) if bounds is None else bounds
    lower, upper = full_array(given[0], n, -np.inf, "lower"), full_array(given[1], n, np.inf, "upper")
    sizes = None if scale is None else full_array(scale, n, 1.0, "scale")
    samples = [_sample(fun, jac, point, lower, upper, sizes)]
    spread = NEARBY * np.where(point != 0, np.abs(point), 1.0 if sizes is None else sizes)
    rng = np.random.default_rng(SEED)
    for _ in range(2):
        nearby = np.clip(point + spread * rng.uniform(-1.0, 1.0, n), lower, upper)
        try:
            samples.append(_sample(fun, jac, nearby, lower, upper, sizes))
        except Exception:  # our choice of point, not the user's
            continue
    return _judge(samples, rtol, names, constraint)


def _sample(
    fun: Callable[..., Any],
    jac: Callable[..., Any],
    x: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    scale: FloatArray | None,
) -> _Sample:
    """Evaluate Jacobian and differences at one point."""
    reference = reference_jacobian(fun, x, lower, upper, scale)
    shape = reference.jac.shape
    try:
        value = _matrix(jac, x, (shape[0], shape[1]))
    except JacobianShapeError as error:
        if error.actual != shape[::-1]:
            raise
        value = _matrix(jac, x, (shape[1], shape[0]))
    return _Sample(x, value, reference.jac, reference.error)


def _matrix(jac: Callable[..., Any], x: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return jac(x) as a dense matrix of `shape`."""
    prepared = Analytic(jac).prepare(jac, x if shape[1] == x.size else np.empty(shape[1]), shape[0])
    value = prepared.evaluate(x, np.empty(0), None)
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value @ np.eye(shape[1]))


def _bad(sample: _Sample, jac: FloatArray, rtol: float) -> NDArray[np.bool_]:
    """Tell which entries of `jac` disagree with the differences of a sample."""
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = rtol * np.maximum(np.abs(jac), np.abs(sample.expected)) + SAFETY * sample.error
        bad: NDArray[np.bool_] = np.isfinite(sample.error) & ~(np.abs(jac - sample.expected) <= allowed)
    return bad


def _judge(samples: list[_Sample], rtol: float, names: Sequence[str] | None, constraint: str) -> JacobianReport:
    """Compare all samples and name the mistake."""
    transposed_shape = samples[0].jac.shape != samples[0].expected.shape
    if transposed_shape:
        samples = [sample._replace(jac=sample.jac.T) for sample in samples]
    marks = [_bad(sample, sample.jac, rtol) for sample in samples]
    ok = not transposed_shape and not any(bad.any() for bad in marks)
    diagnosis: _Diagnosis = _Diagnosis("correct")
    if ok and not any(np.isfinite(sample.error).any() for sample in samples):
        ok, diagnosis = False, _Diagnosis("not compared")
    elif not ok:
        diagnosis = _diagnose(samples, marks, rtol, transposed_shape)
    worst = next((k for k, bad in enumerate(marks) if bad.any()), 0)
    sample, bad = samples[worst], marks[worst]
    judged = np.isfinite(sample.error)
    with np.errstate(invalid="ignore"):
        difference = np.abs(sample.jac - sample.expected)
    difference = np.where(np.isnan(difference), np.inf, difference)
    shown = bad if bad.any() else judged
    entry = None
    if shown.any():
        i, j = np.unravel_index(int(np.argmax(np.where(shown, difference, -1.0))), shown.shape)
        entry = (int(i), int(j))
    at = entry or (0, 0)
    values = [
        float(array[at]) if entry else np.nan for array in (sample.jac, sample.expected, sample.error, difference)
    ]
    report = JacobianReport(
        ok=ok,
        max_error=values[3],
        entry=entry,
        jac_value=values[0],
        difference_value=values[1],
        uncertainty=values[2],
        x=sample.x,
        disagreements=np.argwhere(bad),
        diagnosis=diagnosis.name,
        factors=diagnosis.factors or {},
        permutation=diagnosis.permutation or {},
        message="",
        name=constraint,
    )
    object.__setattr__(report, "message", message_of(report, int(judged.sum()), transposed_shape, names))
    return report


class _Diagnosis(NamedTuple):
    name: str
    factors: dict[int, float] | None = None
    permutation: dict[int, int] | None = None


def _diagnose(
    samples: list[_Sample], marks: list[NDArray[np.bool_]], rtol: float, transposed_shape: bool
) -> _Diagnosis:
    """Try the usual mistakes, the simplest first."""

    def agrees(change: Callable[[FloatArray], FloatArray]) -> bool:
        return not any(_bad(sample, change(sample.jac), rtol).any() for sample in samples)

    if transposed_shape:  # already turned here
        if agrees(lambda jac: jac):
            return _Diagnosis("transposed")
        return _Diagnosis("transposed and sign" if agrees(lambda jac: -jac) else "entries")
    if agrees(lambda jac: -jac):
        return _Diagnosis("sign", {0: -1.0})
    if samples[0].jac.shape[0] == samples[0].jac.shape[1]:
        if agrees(lambda jac: jac.T):
            return _Diagnosis("transposed")
        if agrees(lambda jac: -jac.T):
            return _Diagnosis("transposed and sign")
    jac = np.concatenate([sample.jac for sample in samples])
    expected = np.concatenate([sample.expected for sample in samples])
    factor = _factor(jac, expected)
    if factor and agrees(lambda jac: jac / factor):
        return _Diagnosis("factor", {0: factor})
    permutation = _permuted_columns(samples, marks, rtol)
    by_column = _common_factors(samples, marks, rtol, axis=1)
    if by_column is not None:
        return _Diagnosis("columns", by_column)
    if permutation is not None:
        return _Diagnosis("permuted", None, permutation)
    by_row = _common_factors(samples, marks, rtol, axis=0)
    if by_row is not None:
        return _Diagnosis("rows", by_row)
    return _Diagnosis("entries")


def _factor(jac: FloatArray, expected: FloatArray) -> float:
    """Return the factor k with jac = k expected in the sense of least squares; 0 if there is none."""
    usable = np.isfinite(jac) & np.isfinite(expected)
    a, b = jac[usable], expected[usable]
    scale = float(np.max(np.abs(b), initial=0.0))
    if scale == 0.0:
        return 0.0
    b = b / scale
    factor = float((a / scale).dot(b) / b.dot(b))
    return factor if np.isfinite(factor) else 0.0


def _common_factors(
    samples: list[_Sample], marks: list[NDArray[np.bool_]], rtol: float, axis: int
) -> dict[int, float] | None:
    """Return the factor of each column (axis 1) or row (axis 0) that disagrees; None if one has none."""
    found: dict[int, float] = {}
    wrong = np.flatnonzero(np.any([bad.any(axis=1 - axis) for bad in marks], axis=0))
    for k in wrong.tolist():
        lines = [(sample.jac.take(k, axis), sample.expected.take(k, axis)) for sample in samples]
        factor = _factor(np.concatenate([a for a, _ in lines]), np.concatenate([b for _, b in lines]))
        if factor == 0.0:
            return None
        if any(_bad(sample, sample.jac / factor, rtol).take(k, axis).any() for sample in samples):
            return None
        found[k] = factor
    return found


def _permuted_columns(samples: list[_Sample], marks: list[NDArray[np.bool_]], rtol: float) -> dict[int, int] | None:
    """Return which parameter's derivative each disagreeing column holds; None if one holds none."""
    found: dict[int, int] = {}
    wrong = np.flatnonzero(np.any([bad.any(axis=0) for bad in marks], axis=0)).tolist()
    for j in wrong:
        for other in wrong:
            moved = [_bad(s, np.broadcast_to(s.jac[:, [j]], s.jac.shape), rtol)[:, other].any() for s in samples]
            if other != j and not any(moved):
                found[j] = other
                break
        else:
            return None
    return found
