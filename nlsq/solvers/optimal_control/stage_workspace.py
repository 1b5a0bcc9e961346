"""The memory of an optimal control problem, as laid out in `nlsq.kernels.optimal_control.stage_layout`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import address_of_array, address_of_kernel, compile_disabled, handle, specialised
from nlsq.kernels.optimal_control import riccati
from nlsq.kernels.optimal_control import stage_layout as layout

FloatArray = NDArray[np.float64]
ROW_PARTS = 6  # of scratch
LARGEST_SPECIALISED = 12  # states and controls: beyond, loops are long enough as they are


def lead_of(stages: int) -> int:
    """Return how far the components of a vector are apart."""
    return (stages + 1 + 7) // 8 * 8


def row_of(columns: int) -> int:
    """Return the length of a matrix's rows."""
    return (columns + 3) // 4 * 4


class StageWorkspace:
    """Memory of one problem.

    Parameters
    ----------
    stages, nx, nu : int
        Sizes.
    lower, upper : ndarray, shape (nu + nx, stages + 1)
        Bounds of the controls, then the states; a component's are finite at all stages or at none.

    Attributes
    ----------
    w, iw : ndarray
        All doubles, all integers.
    z, step, costates : ndarray
        Views by components, (nu + nx, K), (nu + nx, K) and (nx, K).
    sizes, units : ndarray
        Sizes of controls and states, and what stands for those that are zero.
    calls_python : bool
        Whether functions are called back, and differenced.
    """

    def __init__(self, stages: int, nx: int, nu: int, lower: FloatArray, upper: FloatArray) -> None:
        self.stages, self.nx, self.nu = stages, nx, nu
        nz, lead, row = nx + nu, lead_of(stages), row_of(nx + nu)
        self.lead = lead
        rows = [(j, side) for j in range(nz) for side, b in ((1.0, lower), (-1.0, upper)) if np.isfinite(b[j, 1])]
        iw = self.iw = np.zeros(layout.HEADER + 3 * len(rows), dtype=np.int64)
        iw[layout.N], iw[layout.NX], iw[layout.NU], iw[layout.K] = stages, nx, nu, lead
        iw[layout.ROWS] = len(rows)
        iw[layout.BLOCK] = (nx + nz) * row
        iw[layout.FACTOR_BLOCK] = nu * row + row_of(nu) + nx * row_of(nx)
        work = (2 * nz + 3 * nx + nu) * lead + (nx + nz) * row
        sizes = {
            layout.Z: nz * lead,
            layout.Z_NEW: nz * lead,
            layout.VECTORS: (2 * nx + nu + 1) * lead,
            layout.VECTORS_NEW: (2 * nx + nu + 1) * lead,
            layout.INITIAL: row_of(nx),
            layout.BLOCKS: int(iw[layout.BLOCK]) * (stages + 1),
            layout.FACTORS: int(iw[layout.FACTOR_BLOCK]) * (stages + 1),
            layout.WORK: work,
            layout.DZ: nz * lead,  # right behind WORK
            layout.COSTATES: nx * lead,
            layout.COSTATES_NEW: nx * lead,
            layout.BOUNDS: len(rows) * lead,
            layout.SLACKS: len(rows) * lead,
            layout.MULTIPLIERS: len(rows) * lead,
            layout.ROW_WORK: ROW_PARTS * len(rows) * lead,
            layout.DIRECTIONS: len(rows),
            layout.EXTENTS: len(rows),
            layout.WIDTHS: len(rows),
            layout.SIZES: nz,
            layout.UNITS: nz,
            layout.WEIGHTS: nx,
            layout.ANCHOR: (nz + nx) * lead,
            layout.KEPT: (nz + nx + len(rows)) * lead,
        }
        end = layout.SCALARS + (-layout.SCALARS) % 8
        for place, size in sizes.items():
            iw[place] = end
            end += size if place == layout.WORK else size + (-size) % 8
        self.w = _aligned(end)
        self.z, self.z_new = self._view(layout.Z, nz), self._view(layout.Z_NEW, nz)
        self.step, self.costates = self._view(layout.DZ, nz), self._view(layout.COSTATES, nx)
        self.vectors = self._view(layout.VECTORS, 2 * nx + nu + 1)
        self.multipliers, self.slacks = self._view(layout.MULTIPLIERS, len(rows)), self._view(layout.SLACKS, len(rows))
        self.initial = self.w[iw[layout.INITIAL] :][:nx]
        self.sizes, self.units = self.w[iw[layout.SIZES] :][:nz], self.w[iw[layout.UNITS] :][:nz]
        self.units[...] = 1.0
        self.calls_python = False
        self.rows, self.knows_exact = rows, False
        self._write_bounds(lower, upper)
        self._write_kernels()
        self.handles = handle(self.w), handle(self.iw)

    def _view(self, place: int, rows: int) -> FloatArray:
        start = int(self.iw[place])
        return self.w[start : start + rows * self.lead].reshape(rows, self.lead)

    def _write_bounds(self, lower: FloatArray, upper: FloatArray) -> None:
        bounds, directions = self._view(layout.BOUNDS, len(self.rows)), int(self.iw[layout.DIRECTIONS])
        self.slacks[...] = 1.0
        for b, (component, side) in enumerate(self.rows):
            first = 0 if component < self.nu else 1
            place = layout.HEADER + 3 * b
            self.iw[place : place + 3] = component, first, first + self.stages
            self.w[directions + b] = side
            bounds[b, : self.stages + 1] = (lower if side > 0.0 else upper)[component]
            width = np.max(upper[component] - lower[component])
            self.w[int(self.iw[layout.WIDTHS]) + b] = 0.5 * width if np.isfinite(width) else 0.0

    def _write_kernels(self) -> None:
        sizes = {"STATES": self.nx, "CONTROLS": self.nu} if self.nx + self.nu <= LARGEST_SPECIALISED else {}
        for place, kernel in ((layout.FACTORISE, riccati.factorise), (layout.SUBSTITUTE, riccati.substitute)):
            self.iw[place] = address_of_kernel(kernel if compile_disabled() else specialised(kernel, **sizes))
        self.iw[layout.SELF] = address_of_array(self.iw)

    @property
    def costates_address(self) -> int:
        """Address of the costates of the second stage, the first one's next."""
        return 0 if compile_disabled() else address_of_array(self.w) + 8 * (int(self.iw[layout.COSTATES]) + 1)

    def write_services(self, stage: Any, terminal: Any) -> None:
        """Write the addresses of the functions."""
        iw = self.iw
        self.calls_python = stage.calls_python or terminal.calls_python
        for service, linearise, evaluate in (
            (stage, layout.LINEARISE, layout.EVALUATE),
            (terminal, layout.LINEARISE_END, layout.EVALUATE_END),
        ):
            iw[linearise], iw[evaluate] = service.linearise, service.evaluate
            iw[linearise + 1] = iw[evaluate + 1] = service.table_address

    def guess_sizes(self, lower: FloatArray, upper: FloatArray) -> None:
        """Write sizes for the first differences: those of the guess, else of bounds, of the largest state, or 1."""
        count = self.stages + 1
        self.sizes[...] = np.abs(self.z[:, :count]).max(axis=1)
        largest = self.sizes[self.nu :].max()
        bounds = [np.where(np.isfinite(one), np.abs(one), 0.0).max(axis=1) for one in (lower, upper)]
        self.units[...] = np.maximum(*bounds)
        self.units[self.units == 0.0] = largest if largest > 0.0 else 1.0


def write_exact(space: StageWorkspace, stage: Any, terminal: Any) -> None:
    """Have the exact Hessians compiled, where there are any."""
    space.knows_exact = True
    inner = stage.linearise_exact()
    space.iw[layout.LINEARISE_EXACT] = inner
    space.iw[layout.LINEARISE_END_EXACT] = terminal.linearise_exact() if inner else 0


def write_options(
    space: StageWorkspace, tolerance: float, iterations: int, *, tests: bool, is_warm: bool, shifts: bool = False
) -> None:
    """Write what kernels are to do: test for convergence, begin with the plan at hand, shift it first."""
    space.w[layout.TOLERANCE] = tolerance
    iw = space.iw
    iw[layout.MAX_ITERATIONS], iw[layout.TESTS], iw[layout.GLOBALISES] = iterations, tests, tests
    iw[layout.USES_EXACT] = tests and iw[layout.LINEARISE_EXACT] != 0 and iw[layout.LINEARISE_END_EXACT] != 0
    iw[layout.IS_WARM], iw[layout.SHIFTS] = is_warm, layout.SHIFT_NEXT if shifts else 0


def _aligned(size: int) -> FloatArray:
    """Return zeros that begin at a cache line."""
    raw = np.zeros(size + 8)
    start = (-raw.__array_interface__["data"][0] // 8) % 8
    return raw[start : start + size]
