r"""Step sizes of difference quotients: the one place that decides them.

Scaled steps (the library's own). With s_j the size of parameter j at which it matters,

    forward    h_j = eps^(1/2) max(|x_j|, t_j),          t_j = 1e-3 s_j,
    central    h_j = eps^(1/3) max(|x_j|, t_j),
    complex    h_j = 1e-20 max(|x_j|, s_j),

    s_j = the scale that was given, else |x0_j|, else ub_j - lb_j, else 1 (and then t_j is 1 where x_j = 0).

The exponents balance truncation against rounding [1]_. eps belongs to the precision of x and r, whichever is lower.

SciPy's steps (``rule="scipy"``)  have max(1, |x_j|) in place of max(|x_j|, t_j) in all three, with eps^(1/2) for the
complex one [2]_. A relative step that the user gives means  h_j = rel_step_j x_j,  as in SciPy; where that is lost
against x_j the rule's own step is taken (the scaled rule keeps the user's factor if it can).

Steps point away from zero, are exactly representable, h = (x + h) - x, and stay inside the bounds: the other side
where one is too near, shortened where both are; a central step that does not fit becomes the one-sided quotient of
second order, (-3 r(x) + 4 r(x + h) - r(x + 2h)) / 2h.

A step can be lost in rounding although x_j + h_j is exact: p - 3 at p = 1e-9 does not see h = 1e-17. Then it must
grow. Where no residual changed by more than LOST eps |r_i|, a step  eps^(1/2) / (LOST eps)  times as long changes none
by more than about  eps^(1/2) |r_i|,  which is what a good step does: growing by that factor keeps the quotient local,
where going straight to SciPy's max(1, |x_j|) would leave the domain of exp(1e9 x).

References
----------
.. [1] J. E. Dennis and R. B. Schnabel, "Numerical Methods for Unconstrained Optimization and Nonlinear Equations",
   SIAM, 1996, section 5.4.
.. [2] SciPy 1.17, ``scipy.optimize._numdiff``: `_compute_absolute_step`, `_adjust_scheme_to_bounds`.
.. [3] W. Squire and G. Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", SIAM Review 40,
   1998.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.estimator import FloatArray

__all__ = ["Rule", "Scheme", "Sizes", "Stencil", "StepSizes", "machine_epsilon", "typical_sizes"]

Rule: TypeAlias = Literal["scaled", "scipy"]
Scheme: TypeAlias = Literal["forward", "central"]
BoolArray: TypeAlias = NDArray[np.bool_]

TYPICAL_FRACTION = 1e-3  # of the scale: below it, |x_j| says nothing about the size of parameter j
SMALLEST_SIZE = 1e-300  # keeps the steps of subnormal parameters from vanishing
COMPLEX_STEP = 1e-20  # squared it vanishes against 1, so that truncation is below rounding; any value under 1e-8 does
SMALLEST_COMPLEX = 1e-292  # below, imaginary parts lose digits to gradual underflow
LARGEST_COMPLEX_STEP = 1e-8  # h^2 is at the rounding unit
LOST = 30.0  # a difference below LOST eps |r| has hardly more than one good digit
FEW = 32  # parameters
EXPONENT = {"forward": 1 / 2, "central": 1 / 3}


class Sizes(NamedTuple):
    """Sizes of the parameters, each shape (n,).

    Attributes
    ----------
    scale : ndarray
        s_j.
    typical : ndarray
        t_j.
    at_zero : ndarray
        What stands for |x_j| where x_j = 0.
    """

    scale: FloatArray
    typical: FloatArray
    at_zero: FloatArray


class Stencil(NamedTuple):
    """Where to evaluate, column by column; each of length n.

    Attributes
    ----------
    first : ndarray or list of float
        Value of the parameter at the first evaluation: x + h (forward and one-sided) or x - h (central).
    second : ndarray, list of float or None
        Value at the second evaluation, x + 2h (one-sided) or x + h (central); None for forward steps.
    width : ndarray
        What the difference is divided by; 1 where a parameter cannot move, so that its derivative is 0.
    one_sided : ndarray of bool or None
        Columns whose central step does not fit; None if there are none.
    """

    first: FloatArray | list[float]
    second: FloatArray | list[float] | None
    width: FloatArray
    one_sided: BoolArray | None


def machine_epsilon(*dtypes: DTypeLike | None) -> float:
    """Return the largest rounding unit among floating dtypes, at least float64's; others do not count."""
    largest = float(np.finfo(np.float64).eps)
    for dtype in dtypes:
        if dtype is not None and np.issubdtype(dtype, np.inexact):
            largest = max(largest, float(np.finfo(np.dtype(dtype)).eps))
    return largest


def typical_sizes(x0: FloatArray, lower: FloatArray, upper: FloatArray, scale: FloatArray | None) -> Sizes:
    """Find the size of each parameter from what is known of it.

    Parameters
    ----------
    x0, lower, upper : ndarray, shape (n,)
        Start and bounds.
    scale : ndarray, shape (n,), or None
        Sizes that were given.

    Returns
    -------
    Sizes
    """
    if scale is None:
        with np.errstate(over="ignore"):
            width = upper - lower
        known_width = np.isfinite(width) & (width > 0)
        scale = np.where(x0 != 0, np.abs(x0), np.where(known_width, width, 0.0))
    known = np.isfinite(scale) & (scale > 0)
    size = np.where(known, scale, 1.0)
    typical = np.maximum(TYPICAL_FRACTION * size, SMALLEST_SIZE)
    return Sizes(size, typical, np.where(known, typical, 1.0))


def full_array(value: ArrayLike | None, n: int, default: float, name: str) -> FloatArray:
    """Return `value` (scalar, (n,) or None for `default`) as a fresh float array, shape (n,)."""
    given = np.asarray(default if value is None else value, dtype=np.float64)
    if given.shape not in ((), (1,), (n,)):
        raise ValueError(f"{name} must be a scalar or have shape {(n,)}, got shape {given.shape}.")
    array = np.empty(n)
    array[:] = given
    return array


@final
class StepSizes:
    """Step sizes of one problem.

    Parameters
    ----------
    scheme : {"forward", "central"}
        Quotient.
    x0 : ndarray, shape (n,)
        Start.
    lower, upper : array_like, optional
        Bounds.
    scale : array_like, optional
        Sizes of the parameters.
    rule : {"scaled", "scipy"}
        See the module.
    rel_step : array_like, optional
        Relative steps chosen by the user.
    eps : float
        Rounding unit of the residual.
    """

    def __init__(
        self,
        scheme: Scheme,
        x0: FloatArray,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        rule: Rule = "scaled",
        rel_step: ArrayLike | None = None,
        eps: float = float(np.finfo(np.float64).eps),
    ) -> None:
        n = x0.size
        self.scheme = scheme
        self.rule = rule
        self.lower = full_array(lower, n, -np.inf, "lower")
        self.upper = full_array(upper, n, np.inf, "upper")
        self._bounded = bool(np.any(np.isfinite(self.lower)) or np.any(np.isfinite(self.upper)))
        self.fixed: BoolArray = self.lower == self.upper
        given = None if scale is None or isinstance(scale, str) else full_array(scale, n, 1.0, "scale")
        start = np.asarray(x0, dtype=np.float64)
        self.sizes = typical_sizes(start, self.lower, self.upper, given)
        self._typical = self.sizes.typical if rule == "scaled" else np.ones(n)
        self._starts_blind = rule == "scaled" and bool(np.any(self.sizes.at_zero != self.sizes.typical))
        self._user = None if rel_step is None else full_array(rel_step, n, 0.0, "rel_step")
        self.eps = eps
        self.relative = eps ** EXPONENT[scheme]
        at_zero = self.sizes.at_zero if rule == "scaled" else self._typical
        few = slice(n if n <= FEW else 0)
        numbers = (array[few].tolist() for array in (self._typical, at_zero, self.lower, self.upper))
        self._numbers: list[tuple[float, float, float, float]] = list(zip(*numbers, strict=True))

    @property
    def can_grow(self) -> bool:
        """Whether steps lost in rounding may grow: not where the user or SciPy chose them."""
        return self.rule == "scaled" and self._user is None

    def lower_precision(self, eps: float) -> bool:
        """Choose steps for a larger rounding unit from now on; return whether it is larger than before."""
        if eps <= self.eps:
            return False
        self.eps = eps
        self.relative = eps ** EXPONENT[self.scheme]
        return True

    def stencil(self, x: FloatArray) -> Stencil:
        """Return where to evaluate for the derivatives at `x`, shape (n,)."""
        if self._user is None:
            h = self._default_step(x)
        else:
            h = self._user_step(x, self._user)
        return self._place(x, h, self.lower, self.upper)

    def stencil_lists(self, x: FloatArray) -> Stencil:
        """Return the same stencil with `first` and `second` as lists, which is what a loop over columns wants.

        Up to `FEW` parameters it costs less to work number by number than to start seven numpy operations.
        """
        if self._user is None and x.size <= FEW:
            quick = self._quick(x)
            if quick is not None:
                return quick
        first, second, width, one_sided = self.stencil(x)
        return Stencil(
            np.asarray(first).tolist(), None if second is None else np.asarray(second).tolist(), width, one_sided
        )

    def _quick(self, x: FloatArray) -> Stencil | None:
        """Return the stencil of the rule's own steps, number by number; None where a bound is in the way."""
        relative, central, exact = self.relative, self.scheme == "central", self.rule == "scaled"
        first: list[float] = []
        second: list[float] = []
        width: list[float] = []
        for value, (typical, at_zero, lower, upper) in zip(x.tolist(), self._numbers, strict=True):
            if value > 0.0:
                h = relative * (value if value > typical else typical)
            elif value < 0.0:
                h = relative * (value if value < -typical else -typical)
            else:
                h = relative * at_zero
            if central:
                h = abs(h)
                ahead = value + h
                moved = value - (ahead - value if exact else h)
                if not ahead <= upper:
                    return None
                second.append(ahead)
                width.append(ahead - moved)
            else:
                moved = value + h
                if not moved <= upper:
                    return None
                width.append(moved - value)
            if not lower <= moved:
                return None
            first.append(moved)
        return Stencil(first, second if central else None, np.array(width), None)

    def imaginary(self, x: FloatArray) -> FloatArray:
        """Return the imaginary steps at `x`, shape (n,); a rule or step of SciPy's refers to the forward scheme."""
        if self._user is not None:
            return self._user_step(x, self._user)
        if self.rule == "scipy":
            return self._default_step(x)
        size = np.maximum(np.abs(x), self.sizes.scale)
        return np.maximum(COMPLEX_STEP * size, np.minimum(SMALLEST_COMPLEX, LARGEST_COMPLEX_STEP * size))

    def grow(
        self, x: FloatArray, stencil: Stencil, lost: NDArray[np.intp], *, to_limit: bool = False
    ) -> tuple[NDArray[np.intp], Stencil]:
        """Lengthen the steps of columns whose differences were lost in rounding.

        Parameters
        ----------
        x : ndarray, shape (n,)
            Point.
        stencil : Stencil
            The steps that were too short.
        lost : ndarray of int
            Columns.
        to_limit : bool
            Go to the longest step at once, h_rel max(1, |x_j|, s_j).

        Returns
        -------
        columns : ndarray of int
            Those of `lost` that can grow.
        stencil : Stencil
            The same stencil with new entries for `columns`.
        """
        at = x[lost]
        first, width = np.array(stencil.first), stencil.width.copy()
        h = np.abs(first[lost] - at)
        limit = self.relative * np.maximum(np.maximum(np.abs(at), self.sizes.scale[lost]), 1.0)
        room = np.maximum(self.upper[lost] - at, at - self.lower[lost])
        limit = np.minimum(limit, room if self.scheme == "forward" else 0.5 * room)
        can = h < 0.5 * limit
        columns = lost[can]
        if columns.size == 0:
            return columns, stencil
        longer = limit[can]
        if not to_limit:
            longer = np.minimum(h[can] * (self.relative / (LOST * self.eps)), longer)
        at = at[can]
        signed = np.copysign(longer, at + 0.0)
        part = self._place(at, signed, self.lower[columns], self.upper[columns])
        first[columns], width[columns] = part.first, part.width
        if stencil.second is None or part.second is None:
            return columns, Stencil(first, None, width, None)
        second = np.array(stencil.second)
        second[columns] = part.second
        one_sided = np.zeros(x.size, dtype=np.bool_) if stencil.one_sided is None else stencil.one_sided.copy()
        one_sided[columns] = False if part.one_sided is None else part.one_sided
        return columns, Stencil(first, second, width, one_sided)

    def _magnitude(self, x: FloatArray) -> FloatArray:
        """Return max(|x_j|, t_j)."""
        magnitude = np.abs(x)
        np.maximum(magnitude, self._typical, out=magnitude)
        if self._starts_blind:
            np.copyto(magnitude, self.sizes.at_zero, where=x == 0)
        return magnitude

    def _default_step(self, x: FloatArray) -> FloatArray:
        """Return the rule's own signed step."""
        h = self._magnitude(x)
        h *= self.relative
        return np.copysign(h, x + 0.0, out=h)  # + 0.0: minus zero counts as positive

    def _user_step(self, x: FloatArray, rel_step: FloatArray) -> FloatArray:
        """Return rel_step * x, or the rule's own step where that vanishes against x."""
        h = rel_step * np.copysign(np.abs(x), x + 0.0)
        lost = (x + h) - x == 0
        if self.rule == "scaled" and np.any(lost):
            h[lost] = (rel_step * np.copysign(self._magnitude(x), x + 0.0))[lost]
            lost = (x + h) - x == 0
        return np.where(lost, self._default_step(x), h)

    def _place(self, x: FloatArray, h: FloatArray, lower: FloatArray, upper: FloatArray) -> Stencil:
        """Fit the steps into the bounds and make them exact."""
        if self.scheme == "forward":
            first = x + h
            if self._bounded and np.any((first < lower) | (first > upper)):
                first = np.clip(x + forward_fit(x, h, lower, upper), lower, upper)
            width = first - x
            if self._bounded:
                width[width == 0] = 1.0
            return Stencil(first, None, width, None)
        np.abs(h, out=h)
        second = x + h
        if self.rule == "scaled":
            np.subtract(second, x, out=h)
        first = x - h
        if self._bounded and np.any((first < lower) | (second > upper)):
            return self._place_central(x, h, lower, upper)
        return Stencil(first, second, second - first, None)

    def _place_central(self, x: FloatArray, h: FloatArray, lower: FloatArray, upper: FloatArray) -> Stencil:
        """Fit central steps into the bounds, one-sided where there is no room."""
        h, one_sided = central_fit(x, h, lower, upper)
        first = np.clip(np.where(one_sided, x + h, x - h), lower, upper)
        second = np.clip(np.where(one_sided, x + 2 * h, x + h), lower, upper)
        width = np.where(one_sided, second - x, second - first)
        width[width == 0] = 1.0
        return Stencil(first, second, width, one_sided)


def forward_fit(x: FloatArray, h: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Flip steps that leave the bounds, or shorten them to the farther bound (SciPy's '1-sided' rule)."""
    below, above = x - lower, upper - x
    violated = (x + h < lower) | (x + h > upper)
    flipped = np.where(violated, -h, h)
    fits = np.abs(h) <= np.maximum(below, above)
    return np.where(fits, flipped, np.where(above >= below, above, -below))


def central_fit(x: FloatArray, h: FloatArray, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return steps that fit and whether they are one-sided (SciPy's '2-sided' rule); `h` is positive."""
    below, above = x - lower, upper - x
    central = (below >= h) & (above >= h)
    up = above >= below
    fitted = np.where(up, np.minimum(h, 0.5 * above), -np.minimum(h, 0.5 * below))
    nearer = np.minimum(below, above)
    shrunk = ~central & (np.abs(fitted) <= nearer)
    fitted = np.where(central, h, np.where(shrunk, nearer, fitted))
    return fitted, ~(central | shrunk)


def check_rule(steps: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `steps` is one of the names."""
    if steps not in allowed:
        raise ValueError(f"steps must be one of {', '.join(map(repr, allowed))}, got {steps!r}.")
