r"""Trust regions in a subspace of two or three directions, for sparse Jacobians and such that are only multiplied with.

In scaled variables (see `nlsq.kernels.trust_region`: ``x = S y``, model Hessian ``B = J_s'J_s + C``) the step is sought
in the span of the gradient and of a Gauss-Newton step, which a sparse factorisation or LSMR finds [1]_, [2]_:

    minimise  g_s'p + 1/2 p'B p   over  p = Q a,  |p| <= radius,     Q = orthonormal basis of {g_s, p_GN}
    p_GN = argmin |J_s p + r|^2 + |(C + delta I)^(1/2) p|^2

With regularisation ``delta = -q(p_C) / radius^2``, p_C being the Cauchy step (the model's minimum along the gradient
within the radius): far from the minimum that keeps LSMR short on ill-conditioned problems, and directions in which J is
nothing but rounding out of the step; near it delta vanishes. Where p_GN is factorised and longer than the radius, a
damped step of about its length joins the two. The problem in Q has as few unknowns and is solved exactly, by singular
values of ``[J_s; C^(1/2)] Q`` and Newton's method on ``1/|a(lambda)|``. Reflection, choice and judgement are
the kernels of the dense method.

An inexact or damped step may be short because it is inexact: along directions in which J is small LSMR moves last. So a
convergence that such steps suggest is checked: p_GN is solved for once more, without delta and to the end, and only
if what it promises is below the tolerances too the solve is over. Otherwise it goes on with steps as exact as that.

Dogbox takes the undamped step over the variables that no bound holds, damped if it is longer than the radius and
factorised, and the kernels follow the dogleg from there.

References
----------
.. [1] M. A. Branch, T. F. Coleman, Y. Li, "A subspace, interior, and conjugate gradient method for large-scale
   bound-constrained minimization problems", SIAM J. Sci. Comput. 21, 1999.
.. [2] R. H. Byrd, R. B. Schnabel, G. A. Shultz, "Approximate solution of the trust region problem by minimization over
   two-dimensional subspaces", Math. Programming 40, 1988.
"""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import bounds, dogleg, judgement, layout, trust_region
from nlsq.kernels.backend import handle
from nlsq.solvers.damped import meet_radius
from nlsq.solvers.dense import FloatArray
from nlsq.solvers.matrix_free import MatrixFreeState
from nlsq.solvers.newton_steps import NewtonSteps
from nlsq.status import Status

SAME_DIRECTION = 1e-10  # share of the Gauss-Newton step across the gradient below which there is one direction only
FLAT = 1e-14  # singular values below this share of the largest count as zero
ROOT_STEPS = 50
ABOUT = 0.5  # relative precision of a damped step's length: the subspace finds the rest
BEYOND = 1.01  # times the radius, where a damped path ends at least
MOST_DAMPED = 2  # factorisations for it
EXACT = 1e-13


@final
class ReflectiveSubspace:
    """Trust-region reflective without a matrix.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    regularize : bool
        Whether to damp inexact steps by delta.
    newton : NewtonSteps
        Finds Gauss-Newton steps.
    """

    judge = trust_region.judge

    def __init__(self, shape: tuple[int, int], regularize: bool, newton: NewtonSteps) -> None:
        self.newton = newton
        self._regularize = regularize
        self._newton = np.empty(shape[1])
        self._basis = np.empty((shape[1], 0))  # Q   (n, k)
        self._images = np.empty((shape[0], 0))  # J_s Q   (m, k)
        self._curvatures = np.empty(0)  # Q'B Q, diagonal   (k,)
        self._slopes = np.empty(0)  # Q'g_s   (k,)
        self._descent_curvature = 0.0
        self._slope_image = np.empty(0)  # of the gradient's direction   (m,)
        self._gradient_length = self._newton_length = self._radius = 0.0
        self._update_scaling = trust_region.update_scaling.entry()
        self._scale_variables = trust_region.scale_variables.entry()
        self._start_radius = trust_region.start_radius.entry()
        self._directions = trust_region.directions.entry()
        self._choose_step = trust_region.choose_step.entry()
        self._take_step = trust_region.take_step.entry()
        self._step_to_bound = bounds.step_to_bound.entry()
        self._still_promising = judgement.still_promising.entry()

    def linearise(self, state: MatrixFreeState) -> int:
        """Scale the variables and find the subspace; returns a status, 0 to go on."""
        space, w, iw = state.space, state.w, state.iw
        self._update_scaling(space.w_handle, space.iw_handle)
        small = self._scale_variables(space.w_handle, space.iw_handle)
        np.multiply(
            state.vector(layout.COLUMN_SCALE), state.vector(layout.GRADIENT), out=state.vector(layout.SCALED_GRADIENT)
        )
        if iw[layout.NJEV] == 1:
            self._start_radius(space.w_handle, space.iw_handle)
        if small and (iw[layout.RULE] != layout.RULE_SCIPY or w[layout.COST] == 0.0):
            return Status.OPTIMALITY
        self._find_subspace(state)
        if small and not self._still_promising(space.w_handle, space.iw_handle):
            return Status.OPTIMALITY
        return 0

    def sharpen(self) -> bool:
        """From now on regularise no more, and find exact Gauss-Newton steps."""
        return self.newton.sharpen()

    def _find_subspace(self, state: MatrixFreeState) -> None:
        """Basis of gradient and Gauss-Newton step, and the model in it."""
        w, gradient, scale = state.w, state.vector(layout.SCALED_GRADIENT), state.vector(layout.COLUMN_SCALE)
        extra = state.vector(layout.EXTRA_DIAGONAL)
        length = float(np.linalg.norm(gradient))
        image = state.product(scale * gradient)
        curvature = self._descent_curvature = float(image @ image + gradient @ (extra * gradient))
        damping = np.zeros(1)
        if self._regularize and not self.newton.is_exact and length > 0.0:
            reach = w[layout.RADIUS] / length
            t = trust_region.minimise_parabola(curvature, -length * length, 0.0, reach)
            damping = -t * (0.5 * t * curvature - length * length) / w[layout.RADIUS] ** 2
        self._slope_image, self._gradient_length = image / length if length > 0.0 else image, length
        self._newton_length = 0.0
        if self.newton.find(state, scale, extra + damping, self._newton).usable:
            self._newton_length = float(np.linalg.norm(self._newton))
        self._span(state)

    def _span(self, state: MatrixFreeState) -> None:
        """Orthonormal basis of the directions for the present radius, and the model in it."""
        w, scale = state.w, state.vector(layout.COLUMN_SCALE)
        gradient, extra = state.vector(layout.SCALED_GRADIENT), state.vector(layout.EXTRA_DIAGONAL)
        radius = self._radius = float(w[layout.RADIUS])
        directions = [self._newton] if self._newton_length > 0.0 else []
        if self.newton.is_direct and self._newton_length > radius:
            directions.append(self._damped_step(state, radius))
        basis, images = [gradient / (self._gradient_length or 1.0)], [self._slope_image]
        for direction in directions:
            across = direction.copy()
            for _ in range(2):
                for one in basis:
                    across -= (one @ across) * one
            size = float(np.linalg.norm(across))
            if size > SAME_DIRECTION * float(np.linalg.norm(direction)):
                basis.append(across / size)
                images.append(state.product(scale * basis[-1]))
        self._diagonalise(basis, images, state.space.residual_vector(layout.WEIGHTED), np.sqrt(extra))
        whole = minimise_in_disc(self._curvatures, self._slopes, np.inf)[0]
        w[layout.FULL_PREDICTED_REDUCTION] = self._reduction(whole)
        state.vector(layout.NEWTON_STEP)[:] = self._basis @ whole

    def _damped_step(self, state: MatrixFreeState, radius: float) -> FloatArray:
        """Step of about the length of the radius; zero where there is none."""
        scale, extra = state.vector(layout.COLUMN_SCALE), state.vector(layout.EXTRA_DIAGONAL)
        step = np.zeros(scale.size)

        def length_at(damping: float) -> float:
            found = self.newton.find(state, scale, extra + damping, step).usable
            return float(np.linalg.norm(step)) if found else np.inf

        lengths = self._newton_length, self._gradient_length, radius
        meet_radius(length_at, lengths, float(state.w[layout.DAMPING]), ABOUT, MOST_DAMPED)
        return step

    def _diagonalise(
        self, basis: list[FloatArray], images: list[FloatArray], residual: FloatArray, roots: FloatArray
    ) -> None:
        """Make the model's Hessian diagonal, by singular values: squares would lose flat directions."""
        stacked = images
        if roots.any():
            stacked = [np.concatenate((image, roots * one)) for image, one in zip(images, basis, strict=True)]
        q, triangle = orthonormalise(stacked)
        left, values, right_t = np.linalg.svd(triangle)
        values[values <= FLAT * values[0]] = 0.0
        self._basis = np.stack(basis, axis=1) @ right_t.T
        self._images = np.stack(images, axis=1) @ right_t.T
        self._curvatures = values * values
        self._slopes = values * (left.T @ np.array([one[: residual.size] @ residual for one in q]))

    def _reduction(self, part: FloatArray) -> float:
        """Return what the model promises for a step, given in the basis."""
        return -float(np.sum((self._slopes + 0.5 * self._curvatures * part) * part))

    def propose(self, state: MatrixFreeState) -> int:
        """Find the step in the subspace, then the step that the bounds leave of it."""
        space, w, iw = state.space, state.w, state.iw
        if self.newton.is_direct and w[layout.RADIUS] < min(self._radius, self._newton_length):
            self._span(state)
        part, damping = minimise_in_disc(self._curvatures, self._slopes, float(w[layout.RADIUS]))
        iw[layout.STEP_CUT] = damping > 0.0
        w[layout.DAMPING] = damping
        w[layout.PREDICTED_REDUCTION] = self._reduction(part)
        step = state.vector(layout.SCALED_STEP)
        step[:] = self._basis @ part
        if iw[layout.HAS_BOUNDS]:
            self._respect_bounds(state, step, self._images @ part)
        self._take_step(space.w_handle, space.iw_handle)
        return 0

    def _respect_bounds(self, state: MatrixFreeState, step: FloatArray, image: FloatArray) -> None:
        """Choose between the step cut at its first bound, reflected there, and steepest descent."""
        space = state.space
        scale, extra = state.vector(layout.COLUMN_SCALE), state.vector(layout.EXTRA_DIAGONAL)
        plain = scale * step
        ends = (state.vector(layout.LOWER), state.vector(layout.UPPER))
        stride = self._step_to_bound(*(handle(v) for v in (space.x, plain, *ends)), space.n)
        if stride > 1.0:
            return
        self._directions(space.w_handle, space.iw_handle)
        first, reflected = state.vector(layout.CHOICE_1), state.vector(layout.CHOICE_2)
        first_image, other_image = stride * image, state.product(scale * reflected)
        self._choose_step(
            space.w_handle,
            space.iw_handle,
            float(first_image @ first_image + first @ (extra * first)),
            float(first_image @ other_image + first @ (extra * reflected)),
            float(other_image @ other_image + reflected @ (extra * reflected)),
            self._descent_curvature,
        )


@final
class DogboxSubspace:
    """Dogleg in a box without a matrix.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    newton : NewtonSteps
        Finds Gauss-Newton steps.
    """

    judge = dogleg.judge

    def __init__(self, shape: tuple[int, int], newton: NewtonSteps) -> None:
        self.newton = newton
        self._undamped = np.zeros(shape[1])
        self._descent_curvature = 0.0
        self._update_scaling = trust_region.update_scaling.entry()
        self._free_variables = dogleg.free_variables.entry()
        self._start_radius = dogleg.start_radius.entry()
        self._follow_path = dogleg.follow_path.entry()
        self._still_promising = judgement.still_promising.entry()

    def linearise(self, state: MatrixFreeState) -> int:
        """Hold what a bound stops and find the Gauss-Newton step of the rest; returns a status, 0 to go on."""
        space, w, iw = state.space, state.w, state.iw
        self._update_scaling(space.w_handle, space.iw_handle)
        small = self._free_variables(space.w_handle, space.iw_handle)
        gradient = state.vector(layout.SCALED_GRADIENT)
        np.multiply(state.vector(layout.COLUMN_SCALE), state.vector(layout.GRADIENT), out=gradient)
        if iw[layout.NJEV] == 1:
            self._start_radius(space.w_handle, space.iw_handle)
        if small and (iw[layout.RULE] != layout.RULE_SCIPY or w[layout.COST] == 0.0):
            return Status.OPTIMALITY
        image = state.product(gradient)
        self._descent_curvature = float(image @ image)
        self._find_newton(state)
        if small and not self._still_promising(space.w_handle, space.iw_handle):
            return Status.OPTIMALITY
        return 0

    def sharpen(self) -> bool:
        """From now on find exact Gauss-Newton steps."""
        return self.newton.sharpen()

    def _find_newton(self, state: MatrixFreeState) -> None:
        """Gauss-Newton step over the free variables; the Cauchy step where there is none."""
        free, gradient = state.vector(layout.COLUMN_SCALE), state.vector(layout.SCALED_GRADIENT)
        newton = state.vector(layout.NEWTON_STEP)
        newton[:] = 0.0
        found = self.newton.find(state, free, self._undamped, newton).usable
        if not found:
            length = float(gradient @ gradient)
            newton[:] = -(length / self._descent_curvature if self._descent_curvature > 0.0 else 0.0) * gradient
        newton *= free
        image = state.product(newton)
        state.w[layout.FULL_PREDICTED_REDUCTION] = -float(gradient @ newton) - 0.5 * float(image @ image)
        if found and self.newton.is_direct:
            self._shorten(state, free, newton)

    def _shorten(self, state: MatrixFreeState, free: FloatArray, newton: FloatArray) -> None:
        """Damp a Gauss-Newton step that is longer than the radius, so that the path ends just beyond it.

        Where J is next to singular the undamped step leads anywhere. The radius still cuts the path, and may grow.
        """
        scaling, radius = state.vector(layout.SCALING), float(state.w[layout.RADIUS])
        largest = float(np.abs(scaling * newton).max())
        if not largest > radius:
            return
        step = newton.copy()

        def length_at(damping: float) -> float:
            usable = self.newton.find(state, free, damping * scaling * scaling, step).usable
            return float(np.linalg.norm(scaling * step)) if usable else np.inf

        length = float(np.linalg.norm(scaling * newton))
        gradient = float(np.linalg.norm(state.vector(layout.SCALED_GRADIENT) / scaling))
        meet_radius(length_at, (length, gradient, radius * length / largest), 0.0, ABOUT, MOST_DAMPED)
        reached = float(np.abs(scaling * free * step).max())
        if reached > 0.0:
            newton[:] = free * step * max(1.0, BEYOND * radius / reached)

    def propose(self, state: MatrixFreeState) -> int:
        """Follow the dogleg path as far as the box allows."""
        space, w = state.space, state.w
        np.negative(state.vector(layout.SCALED_GRADIENT), out=state.vector(layout.CHOICE_1))
        self._follow_path(space.w_handle, space.iw_handle, self._descent_curvature)
        step = state.vector(layout.STEP)
        image = state.product(step)
        slope = float(state.vector(layout.GRADIENT) @ step)
        w[layout.PREDICTED_REDUCTION] = -slope - 0.5 * float(image @ image)
        w[layout.DIRECTIONAL_SLOPE] = slope
        return 0


def orthonormalise(vectors: list[FloatArray]) -> tuple[list[FloatArray], FloatArray]:
    """QR of a few long vectors by Gram and Schmidt, twice for full accuracy; LAPACK would start its threads for it.

    Parameters
    ----------
    vectors : list of ndarray, shape (m,)
        k of them.

    Returns
    -------
    q : list of ndarray, shape (m,)
        Orthonormal, or 0 where nothing was left.
    triangle : ndarray, shape (k, k)
        Upper triangle R with ``vectors[j] = sum_i q[i] R[i, j]``.
    """
    triangle = np.zeros((len(vectors), len(vectors)))
    q: list[FloatArray] = []
    for j, one in enumerate(vectors):
        rest = one.copy()
        for _ in range(2):
            for i, before in enumerate(q):
                share = float(before @ rest)
                triangle[i, j] += share
                rest -= share * before
        triangle[j, j] = np.linalg.norm(rest)
        q.append(rest / triangle[j, j] if triangle[j, j] > 0.0 else rest)
    return q, triangle


def minimise_in_disc(curvatures: FloatArray, slopes: FloatArray, radius: float) -> tuple[FloatArray, float]:
    """Minimise ``sum_i slopes_i a_i + 1/2 curvatures_i a_i^2`` over ``|a| <= radius``.

    Parameters
    ----------
    curvatures : ndarray, shape (k,)
        Not negative; where one is 0, so is the slope.
    slopes : ndarray, shape (k,)
        Gradient at a = 0.
    radius : float
        May be infinite.

    Returns
    -------
    a : ndarray, shape (k,)
        The minimiser; of several the shortest.
    damping : float
        lambda >= 0 with ``(curvatures + lambda) a = -slopes``; 0 in the interior.
    """
    seen = curvatures > 0.0
    a = np.zeros(slopes.size)
    with np.errstate(over="ignore"):
        a[seen] = -slopes[seen] / curvatures[seen]
        inside = np.linalg.norm(a) <= radius
    if inside:
        return a, 0.0
    damping = max(0.0, float(np.max(np.abs(slopes) / radius - curvatures)))  # |a| >= radius here
    length = radius
    for _ in range(ROOT_STEPS):
        a[seen] = -slopes[seen] / (curvatures[seen] + damping)
        length = float(np.linalg.norm(a))
        if abs(length - radius) <= EXACT * radius:
            break
        rate = float(np.sum(a[seen] ** 2 / (curvatures[seen] + damping)))
        damping += (length - radius) / radius * length * length / rate
    return a * (radius / length), damping
