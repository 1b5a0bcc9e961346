r"""Trust regions in a subspace of two or three directions, for sparse Jacobians and such that are only multiplied with.

In scaled variables (see `nlsq.kernels.trust_region`: ``x = S y``, model Hessian ``B = J_s'J_s + C``) the step is sought
in the span of the gradient and of a Gauss-Newton step, which a sparse factorisation or LSMR finds [1]_, [2]_:

    minimise  g_s'p + 1/2 p'B p   over  p = Q a,  |p| <= radius,     Q = orthonormal basis of {g_s, p_GN}
    p_GN = argmin |J_s p + r|^2 + |(C + delta I)^(1/2) p|^2

With regularisation ``delta = -q(p_C) / radius^2``, p_C being the Cauchy step (the model's minimum along the gradient
within the radius): far from the minimum that keeps LSMR short on ill-conditioned problems, and directions in which J is
nothing but rounding out of the step; near it delta vanishes. Where p_GN is factorised and longer than the radius, a
damped step joins the two, (B + lambda I) p = -g_s, of about its length or a shorter one that promises about as much:
the best promise within s has the slope lambda s, which falls with s, so that at the radius it is at most

    lambda |p| (radius - |p|)

more. After a damped step the search begins with its lambda, and p_GN is factorised only where this step turns out to
end inside the radius: one factorisation an iteration is the rule, and directions in which J is rounding stay out. The
problem in Q has as few unknowns and is solved exactly, by singular values of ``[J_s; C^(1/2)] Q`` and Newton's method
on ``1/|a(lambda)|``. Reflection, choice and judgement are the kernels of the dense method.

An inexact or regularised step may be short because it is inexact: along directions in which J is small LSMR moves last.
So a convergence that such steps suggest is checked: p_GN is solved for once more, without delta and to the end, and
only if what it promises is below the tolerances too the solve is over. Otherwise it goes on with steps as exact as
that.

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

from nlsq.kernels import bounds, judgement, layout, trust_region
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
MOST_DAMPED = 2  # factorisations for it
ROOM = 4.0  # radius after a shorter step, by its length
THRIFT = 0.1  # share of the promise that a step may forgo to be shorter than the radius
HELD = 0.5  # share that the damping has in the curvature along a step, from which on it is what ends the step
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
        self._thrifty = self._left = 0.0  # damping of a step that ends inside the radius, and what it forgoes
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
        if small and w[layout.COST] == 0.0:
            return Status.OPTIMALITY
        if state.pending:
            return Status.OPTIMALITY if small else 0
        self._find_subspace(state, bool(small) or w[layout.DAMPING] == 0.0)
        if small and not self._still_promising(space.w_handle, space.iw_handle):
            return Status.OPTIMALITY
        return 0

    def sharpen(self, state: MatrixFreeState) -> bool:
        """From now on regularise no more, and find exact Gauss-Newton steps; a damped step is as exact as they are."""
        is_damped = self.newton.is_direct and state.w[layout.DAMPING] > 0.0
        return not is_damped and self.newton.sharpen()

    def _find_subspace(self, state: MatrixFreeState, whole: bool) -> None:
        """Basis of gradient and Gauss-Newton or damped step, and the model in it; with `whole` of Gauss-Newton's."""
        self._describe_descent(state)
        self._newton_length = np.inf
        if whole or not self.newton.is_direct:
            self._find_newton(state)
        self._span(state)

    def _describe_descent(self, state: MatrixFreeState) -> None:
        """Length and image of the gradient, and the model's curvature along it."""
        gradient, scale = state.vector(layout.SCALED_GRADIENT), state.vector(layout.COLUMN_SCALE)
        length = self._gradient_length = float(np.linalg.norm(gradient))
        image = state.product(scale * gradient)
        extra = state.vector(layout.EXTRA_DIAGONAL)
        self._descent_curvature = float(image @ image + gradient @ (extra * gradient))
        self._slope_image = image / length if length > 0.0 else image

    def _find_newton(self, state: MatrixFreeState) -> None:
        """Gauss-Newton step and its length, 0 where there is none."""
        w, length, curvature = state.w, self._gradient_length, self._descent_curvature
        damping = 0.0
        if self._regularize and not self.newton.is_exact and length > 0.0:
            reach = w[layout.RADIUS] / length
            t = trust_region.minimise_parabola(curvature, -length * length, 0.0, reach)
            damping = -t * (0.5 * t * curvature - length * length) / w[layout.RADIUS] ** 2
        scale, extra = state.vector(layout.COLUMN_SCALE), state.vector(layout.EXTRA_DIAGONAL)
        self._newton_length = 0.0
        if self.newton.find(state, scale, extra + damping, self._newton).usable:
            self._newton_length = float(np.linalg.norm(self._newton))

    def _span(self, state: MatrixFreeState) -> None:
        """Orthonormal basis of the directions for the present radius, and the model in it."""
        w, scale = state.w, state.vector(layout.COLUMN_SCALE)
        gradient, extra = state.vector(layout.SCALED_GRADIENT), state.vector(layout.EXTRA_DIAGONAL)
        radius = self._radius = float(w[layout.RADIUS])
        directions = []
        self._thrifty = 0.0
        if self.newton.is_direct and self._newton_length > radius:
            directions.append(self._damped_step(state, radius))
        if 0.0 < self._newton_length < np.inf:
            directions.insert(0, self._newton)
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
        promised = self._reduction(whole)
        if self._newton_length == np.inf:
            promised = promised + self._left if self._thrifty > 0.0 else np.inf
        w[layout.FULL_PREDICTED_REDUCTION] = promised
        state.vector(layout.NEWTON_STEP)[:] = self._basis @ whole

    def _damped_step(self, state: MatrixFreeState, radius: float) -> FloatArray:
        """Step of about the length of the radius, or a shorter one that promises about as much; zero without either."""
        scale, extra = state.vector(layout.COLUMN_SCALE), state.vector(layout.EXTRA_DIAGONAL)
        gradient, step = state.vector(layout.SCALED_GRADIENT), np.zeros(scale.size)
        self._thrifty = 0.0

        def length_at(damping: float) -> float:
            if not self.newton.find(state, scale, extra + damping, step).usable:
                return np.inf
            length = float(np.linalg.norm(step))
            left = more_to_gain(step, damping, radius / length if length > 0.0 else np.inf)
            if length < radius and is_little(state, left, gradient, step, damping):
                self._thrifty, self._left = damping, left
                return radius
            return length

        first, lengths = float(state.w[layout.DAMPING]), (self._newton_length, self._gradient_length, radius)
        shorter = first * radius >= self._gradient_length > 0.0  # than the radius, whatever J is
        if not shorter or length_at(first) != radius:
            meet_radius(length_at, lengths, first, ABOUT, MOST_DAMPED)
        short = self._thrifty == 0.0 and not float(np.linalg.norm(step)) >= ABOUT * radius
        if self._newton_length == np.inf and short:
            self._find_newton(state)  # it may end inside
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
            if self._thrifty > 0.0:
                w[layout.DAMPING] = self._thrifty * max(
                    1.0, float(np.linalg.norm(state.vector(layout.SCALED_STEP))) / w[layout.RADIUS]
                )
            self._span(state)
        part, damping = minimise_in_disc(self._curvatures, self._slopes, float(w[layout.RADIUS]))
        iw[layout.STEP_CUT] = damping > 0.0
        w[layout.DAMPING] = max(damping, self._thrifty)
        w[layout.PREDICTED_REDUCTION] = self._reduction(part)
        step = state.vector(layout.SCALED_STEP)
        step[:] = self._basis @ part
        if self.newton.is_direct and damping == 0.0:
            w[layout.RADIUS] = min(w[layout.RADIUS], ROOM * float(np.linalg.norm(part)))
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


def more_to_gain(step: FloatArray, damping: float, room: float) -> float:
    """Bound what the model promises for a step that is longer than a damped one, by the factor `room` at most.

    The promise of the best step of length s rises with s at the rate lambda s, which falls.
    """
    return damping * float(step @ step) * max(room - 1.0, 0.0)


def is_little(state: MatrixFreeState, more: float, gradient: FloatArray, step: FloatArray, damping: float) -> bool:
    """Whether it is a small share of what the damped step promises, or of what is called convergence.

    Not where it is the damping that ends the step, as next to a start with a tiny radius.
    """
    slope = -float(gradient @ step)
    if damping * float(step @ step) > HELD * slope:
        return False
    return more <= max(0.5 * THRIFT * slope, float(state.w[layout.COST_TOLERANCE] * state.w[layout.COST]))


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
