"""Dogleg in a box without a matrix, for sparse Jacobians and such that are only multiplied with.

The Gauss-Newton step over the variables that no bound holds comes from a sparse factorisation or LSMR. One that is
factorised and longer than the radius is damped by the rules of `nlsq.solvers.subspace`; the kernels follow the dogleg
from there.
"""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import dogleg, judgement, layout, trust_region
from nlsq.solvers.damped import meet_radius
from nlsq.solvers.dense import FloatArray
from nlsq.solvers.matrix_free import MatrixFreeState
from nlsq.solvers.newton_steps import NewtonSteps
from nlsq.solvers.subspace import ABOUT, MOST_DAMPED, ROOM, is_little, more_to_gain
from nlsq.status import Status


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
        self._damping = self._radius = 0.0  # of a damped step, and for which radius it was made
        self._is_held = False  # whether it is the radius that holds it short
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
        if small and w[layout.COST] == 0.0:
            return Status.OPTIMALITY
        image = state.product(gradient)
        self._descent_curvature = float(image @ image)
        if state.pending:
            return Status.OPTIMALITY if small else 0
        self._find_step(state, bool(small))
        if small and not self._still_promising(space.w_handle, space.iw_handle):
            return Status.OPTIMALITY
        return 0

    def sharpen(self, state: MatrixFreeState) -> bool:
        """From now on find exact Gauss-Newton steps; those of a factorisation are."""
        return not self.newton.is_direct and self.newton.sharpen()

    def _find_step(self, state: MatrixFreeState, whole: bool) -> None:
        """Damped step over the free variables if the last one was damped, or the Gauss-Newton step; with `whole` that.

        Where J is next to singular the undamped step leads anywhere.
        """
        radius = float(state.w[layout.RADIUS])
        if self._damping > 0.0 and not whole:
            self._damping *= self._radius / radius
            if self._find_damped(state, np.inf, radius):
                return
        self._damping, self._is_held = 0.0, False
        found = self._find_newton(state)
        if found and self.newton.is_direct:
            largest = self._extent(state, state.vector(layout.NEWTON_STEP))
            if not largest > radius:
                state.w[layout.RADIUS] = min(radius, ROOM * largest) if largest > 0.0 else radius
            elif not self._find_damped(state, largest, radius):
                self._damping = 0.0

    def _find_newton(self, state: MatrixFreeState) -> bool:
        """Gauss-Newton step over the free variables; the Cauchy step, and False, where there is none."""
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
        return found

    def _find_damped(self, state: MatrixFreeState, newton_length: float, radius: float) -> bool:
        """Damped step that ends about at the radius, or one that ends inside and promises about as much."""
        w, scaling, free = state.w, state.vector(layout.SCALING), state.vector(layout.COLUMN_SCALE)
        gradient = state.vector(layout.SCALED_GRADIENT) / scaling
        step, thrifty, left = np.zeros(free.size), 0.0, 0.0

        def length_at(damping: float) -> float:
            nonlocal thrifty, left
            if not self.newton.find(state, free, damping * scaling * scaling, step).usable:
                return np.inf
            self._damping, length = damping, self._extent(state, step)
            scaled = scaling * free * step
            left = more_to_gain(scaled, damping, radius / length if length > 0.0 else np.inf)
            if length < radius and is_little(state, left, gradient, scaled, damping):
                thrifty = damping
                return radius
            return length

        first, slope = self._damping, float(np.linalg.norm(gradient))
        shorter = first * radius >= slope > 0.0
        if not shorter or length_at(first) != radius:
            meet_radius(length_at, (newton_length, slope, radius), first, ABOUT, MOST_DAMPED)
        largest = self._extent(state, step)
        if thrifty == 0.0 and (not np.isfinite(largest) or (newton_length == np.inf and largest < ABOUT * radius)):
            return False
        newton = state.vector(layout.NEWTON_STEP)
        newton[:] = free * step
        self._is_held, self._radius = thrifty == 0.0, radius
        if thrifty > 0.0:
            image = state.product(newton)
            slope = -float(state.vector(layout.SCALED_GRADIENT) @ newton)
            w[layout.FULL_PREDICTED_REDUCTION] = slope - 0.5 * float(image @ image) + left
            w[layout.RADIUS] = self._radius = min(radius, ROOM * largest)
        elif newton_length == np.inf:
            w[layout.FULL_PREDICTED_REDUCTION] = np.inf
        return True

    def _extent(self, state: MatrixFreeState, step: FloatArray) -> float:
        """Largest scaled entry of a step over the free variables."""
        scaled = state.vector(layout.SCALING) * state.vector(layout.COLUMN_SCALE) * step
        return float(np.abs(scaled).max())

    def propose(self, state: MatrixFreeState) -> int:
        """Follow the dogleg path as far as the box allows."""
        space, w = state.space, state.w
        radius = float(w[layout.RADIUS])
        if self._damping > 0.0 and radius < self._radius:
            largest = self._extent(state, state.vector(layout.NEWTON_STEP))
            if largest > radius:
                self._damping *= largest / radius
                self._find_damped(state, largest, radius)
        np.negative(state.vector(layout.SCALED_GRADIENT), out=state.vector(layout.CHOICE_1))
        self._follow_path(space.w_handle, space.iw_handle, self._descent_curvature)
        if self._is_held:
            state.iw[layout.STEP_CUT] = 1
        step = state.vector(layout.STEP)
        image = state.product(step)
        slope = float(state.vector(layout.GRADIENT) @ step)
        w[layout.PREDICTED_REDUCTION] = -slope - 0.5 * float(image @ image)
        w[layout.DIRECTIONAL_SLOPE] = slope
        return 0
