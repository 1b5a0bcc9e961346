r"""Derivatives from the imaginary part: no difference is taken, so nothing cancels.

    r(x + i h e_j) = r(x) + i h r'_j - h^2 r''_j / 2 - ...      J_j = Im r(x + i h_j e_j) / h_j,    error h^2 |r'''| / 6

With  h_j = 1e-20 max(|x_j|, s_j)  the error is below rounding (a fixed h = 1e-15 errs by 1e-6 for 1/x at 1e-12). The
price is a residual that is analytic in every operation: abs, sign, conj, comparisons and casts to float make the
result silently wrong [2]_. `prepare` therefore checks, in five evaluations: once with an argument that refuses such
operations and names them, and once against a real difference along a random direction.

References
----------
.. [1] W. Squire and G. Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", SIAM Review 40,
   1998.
.. [2] J. R. R. A. Martins, P. Sturdza and J. J. Alonso, "The Complex-Step Derivative Approximation", ACM Transactions
   on Mathematical Software 29, 2003, sections 3 and 4.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.by_address import write_bounds
from nlsq.derivatives.complex_guard import LOST_PART, ComplexStepError, guard
from nlsq.derivatives.estimator import FloatArray, PreparedJacobian, Residual
from nlsq.derivatives.finite_difference import CentralDifference
from nlsq.derivatives.probe import ResidualProbe, as_residual
from nlsq.derivatives.steps import StepSizes, check_rule
from nlsq.derivatives.workers import WorkerMap, Workers
from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_kernel, compile_disabled
from nlsq.kernels.complex_step import complex_step_jacobian

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

__all__ = ["ComplexStep", "DenseComplex", "check_complex_step"]

DIRECTION_SEED = 20030901
TINY = 1e-14  # times a real step of about 1e-5: an imaginary step of 1e-19
AGREEMENT = 1e-3  # relative; a real difference along the direction is right to about 1e-10
NOISE = 1e3  # rounding units of the largest residual that the real difference may be off by


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ComplexStep:
    """Complex step: n complex evaluations, all the digits, for analytic residuals.

    Parameters
    ----------
    steps : {"tiny", "scipy"}
        ``"tiny"`` (default): 1e-20 max(|x_j|, s_j). ``"scipy"``: the step of SciPy's `approx_derivative` with method
        'cs', which loses digits for parameters far below 1; nothing is checked then, as in SciPy.
    check : bool
        Whether `prepare` refuses residuals that are not analytic (five evaluations). Default True.
    rel_step : float or array_like, shape (n,), optional
        Relative step, as SciPy's `diff_step`.
    workers : int or map-like callable, optional
        See `ForwardDifference`.
    vectorized : bool
        See `ForwardDifference`.

    Raises
    ------
    ComplexStepError
        By `prepare` and `evaluate`, naming the operation.
    """

    steps: Literal["tiny", "scipy"] = "tiny"
    check: bool = True
    rel_step: ArrayLike | None = None
    workers: Workers = None
    vectorized: bool = False

    def __post_init__(self) -> None:
        """Validate."""
        check_rule(self.steps, ("tiny", "scipy"))

    def prepare(
        self,
        residual: Residual,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one residual; see `JacobianEstimator.prepare`. Raises `ComplexStepError` if the check fails."""
        sizes = StepSizes(
            "forward",
            x0,
            lower=lower,
            upper=upper,
            scale=scale,
            rule="scipy" if self.steps == "scipy" else "scaled",
            rel_step=self.rel_step,
        )
        checked = self.check and self.steps == "tiny"
        if checked:
            plain = residual
            if self.vectorized:
                from nlsq.derivatives.colored import one_point

                plain = one_point(residual)
            check_complex_step(plain, np.asarray(x0, dtype=np.float64), m, lower=lower, upper=upper, scale=scale)
        probe = ResidualProbe(residual, m, WorkerMap(self.workers), vectorized=self.vectorized, kind=np.complex128)
        if pattern is not None:
            from nlsq.derivatives.colored import ColoredComplex, ColoredLayout

            return ColoredComplex(probe, sizes, ColoredLayout(pattern, m, x0.size, sizes.fixed), checked=checked)
        return DenseComplex(probe, sizes, m, checked=checked)


@final
class DenseComplex:
    """Dense complex-step Jacobian of one residual.

    Parameters
    ----------
    probe : ResidualProbe
        Calls the residual, complex.
    sizes : StepSizes
        Chooses the steps.
    m : int
        Number of residuals.
    checked : bool
        Whether a real result is an error rather than a zero derivative.

    Attributes
    ----------
    pattern : None
        The Jacobian is dense.
    residual_calls : int
        Evaluations of the residual that one `evaluate` takes.
    complex_arguments : bool
        The residual is called with complex arguments.
    """

    complex_arguments = True

    def __init__(self, probe: ResidualProbe, sizes: StepSizes, m: int, *, checked: bool) -> None:
        self.pattern: SparsityPattern | None = None
        self._probe = probe
        self._sizes = sizes
        self._checked = checked
        self._columns: list[int] = np.flatnonzero(~sizes.fixed).tolist()
        self._shape = (m, sizes.fixed.size)
        self._rows = np.empty((len(self._columns), m), dtype=np.complex128)
        self.residual_calls = len(self._columns)

    def write(self, w: FloatArray, iw: NDArray[np.int64]) -> bool:
        """Hand these steps to kernels, which call the residual by address; False where only Python can do them."""
        whole = len(self._columns) == self._shape[1]
        if compile_disabled() or not (self._sizes.can_grow and self._probe.serial and whole):
            return False
        write_bounds(w, self._sizes)
        iw[layout.JACOBIAN_STEP] = address_of_kernel(complex_step_jacobian)
        return True

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> FloatArray:
        """Fill `jac_out`, shape (m, n), with the Jacobian at `x`; see `PreparedJacobian.evaluate`."""
        columns, rows = self._columns, self._rows
        h = self._sizes.imaginary(x)
        self._probe.fill(x.astype(np.complex128), columns, (x + 1j * h).tolist(), rows)
        if self._checked:
            self._probe.require_complex()
        if jac_out is None:
            jac_out = np.empty(self._shape, order="F")
        if len(columns) == h.size:
            np.divide(rows.imag, h[:, np.newaxis], out=jac_out.T)
        else:
            jac_out[...] = 0.0
            jac_out.T[columns] = rows.imag / h[columns, np.newaxis]
        return jac_out


def check_complex_step(
    residual: Residual,
    x: FloatArray,
    m: int,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> None:
    """Raise `ComplexStepError` unless the complex step differentiates `residual` correctly at `x`.

    Parameters
    ----------
    residual : callable
        ``residual(x) -> r``.
    x : ndarray, shape (n,)
        Point.
    m : int
        Number of residuals.
    lower, upper, scale : array_like, optional
        As for `JacobianEstimator.prepare`.

    Raises
    ------
    ComplexStepError
        Naming the operation that is not analytic, or the entry of the Jacobian that is wrong.
    """
    if x.size == 0:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        _probe_operations(residual, x)
        _compare_with_differences(residual, x, m, lower, upper, scale)


def _probe_operations(residual: Residual, x: FloatArray) -> None:
    """Call the residual once with an argument that names what it refuses."""
    guarded = guard(x)
    try:
        residual(guarded)
    except ComplexStepError:
        raise
    except Exception as error:
        # Whether the guard or the complex numbers were at fault shows in the plain complex call that follows.
        _complex_call(residual, x.astype(np.complex128), error)
    if guarded.refusals:
        raise ComplexStepError(
            guarded.refusals[0], "of an argument is not analytic, and the residual catches the error that says so."
        )


def _complex_call(residual: Residual, z: NDArray[np.complex128], cause: Exception | None = None) -> Any:
    """Call the residual with a plain complex array; what it cannot take becomes a `ComplexStepError`."""
    try:
        return residual(z)
    except np.exceptions.ComplexWarning as warning:
        raise ComplexStepError("a cast from complex to real", "loses the derivative.") from warning
    except TypeError as error:
        raise ComplexStepError("the residual", f"does not take complex arguments ({error}).") from (cause or error)


def _compare_with_differences(
    residual: Residual,
    x: FloatArray,
    m: int,
    lower: ArrayLike | None,
    upper: ArrayLike | None,
    scale: ArrayLike | None,
) -> None:
    """Compare the derivative along a random direction with a one-sided difference of second order."""
    sizes = StepSizes("central", x, lower=lower, upper=upper, scale=scale)
    above, below = sizes.upper - x, x - sizes.lower
    size = np.abs(sizes.stencil(x).first - x) * np.random.default_rng(DIRECTION_SEED).uniform(0.5, 1.0, x.size)
    direction = np.where(above >= below, np.minimum(size, 0.5 * above), -np.minimum(size, 0.5 * below))
    slope_value = _complex_call(residual, x + (1j * TINY) * direction)
    slope_array = as_residual(slope_value, (m,), np.complex128)
    if slope_array.dtype.kind != "c":
        raise ComplexStepError(*LOST_PART)
    slope = slope_array.imag / TINY
    base, near, far = (as_residual(residual(x + k * direction), (m,)).astype(float) for k in range(3))
    with np.errstate(invalid="ignore", over="ignore"):
        first_order, second_order = near - base, 0.5 * (4.0 * near - far - 3.0 * base)
        finite = np.isfinite(second_order)
        largest = np.max(np.abs(second_order), initial=0.0, where=finite)
        noise = NOISE * sizes.eps * np.max(np.abs([base, near, far]), axis=0)
        allowed = AGREEMENT * np.abs(second_order) + np.abs(first_order - second_order) + noise + 1e-8 * largest
        wrong = finite & ~(np.abs(slope - second_order) <= allowed)
    if np.any(wrong):
        _name_entry(residual, x, m, base, int(np.argmax(np.where(wrong, np.abs(slope - second_order), -1.0))), sizes)


def _name_entry(residual: Residual, x: FloatArray, m: int, r: FloatArray, row: int, sizes: StepSizes) -> None:
    """Raise for the entry of a row in which complex step and central difference differ most."""
    estimates = []
    for estimator in (ComplexStep(check=False), CentralDifference()):
        prepared = estimator.prepare(residual, x, m, lower=sizes.lower, upper=sizes.upper, scale=sizes.sizes.scale)
        estimates.append(prepared.evaluate(x, r, None)[row])
    column = int(np.nanargmax(np.abs(estimates[0] - estimates[1])))
    raise ComplexStepError(
        "the residual",
        f"has an operation that is not analytic: entry (i={row}, j={column}) of the Jacobian is"
        f" {estimates[0][column]:.6g} by complex step and {estimates[1][column]:.6g} by central differences.",
    )
