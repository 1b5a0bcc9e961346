"""How the points of a dictionary are carried over to another x.

    x -> s x + o        q -> s q + o  (a location),   s q  (a width),   q / s  (a rate),   q  (a number)

Where a model has the same shapes after x and its parameters have changed so, a point explains data at one x as well as
those at another. Which parameter is of which kind is found by trying, for models of one predictor.
"""

from __future__ import annotations

from copy import copy
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.dictionary import Dictionary, orthonormal
from nlsq.fitting.batch_starts.shapes import Shapes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

LOCATION, WIDTH, RATE, NUMBER = range(4)
MOST_TRIED = 256  # assignments of kinds
PROBES = 6  # points at which shapes are compared
STRETCH, SHIFT = 1.7, 0.37  # of x, the shift in units of its span
SAME = 1e-6  # difference from 1 of the squared cosine between spaces that are the same


def kinds_of(shapes: Shapes, d: Dictionary, span: float) -> IntArray | None:
    """Return the kind of each parameter that is not linear; None if the shapes are the same with no kinds.

    Parameters
    ----------
    shapes : Shapes
        The model.
    d : Dictionary
        Points, of which some are tried.
    span : float
        Of x.

    Returns
    -------
    ndarray of int, shape (q,), or None
        ``LOCATION``, ``WIDTH``, ``RATE`` or ``NUMBER``.
    """
    x, count = shapes.x, shapes.others.size
    if not isinstance(x, np.ndarray) or x.ndim != 1 or not d.q.shape[0] or 4**count > MOST_TRIED:
        return None
    which = np.linspace(0, d.q.shape[0] - 1, PROBES).astype(np.intp)
    q, stretch, shift = d.q[which], np.array(STRETCH), np.array(SHIFT * span)
    there = copy(shapes)
    there.x = stretch * x + shift
    before = shapes.at(q)
    for assigned in product((LOCATION, WIDTH, RATE, NUMBER), repeat=count):
        kinds = np.array(assigned, dtype=np.intp)
        try:
            after = there.at(carried(q, kinds, stretch, shift))
        except Exception:  # whatever a model raises for an x that is not that of the data
            return None
        if alike(before, after):
            return kinds
    return None


def alike(one: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> bool:
    """Whether the parts g of two models are the same, and the spaces of A."""
    (base, columns), (other_base, other_columns) = one, other
    if not np.allclose(base, other_base, rtol=SAME, atol=SAME * np.abs(base).max(initial=0.0)):
        return False
    nothing = np.empty((columns.shape[2], 0))
    bases, lengths = zip(*(orthonormal(each, nothing) for each in (columns, other_columns)), strict=True)
    if not np.isfinite(bases[1]).all():
        return False
    ranks = [(length > 0.0).sum(axis=1) for length in lengths]
    common = np.square(np.einsum("ckm,clm->ckl", *bases)).sum(axis=(1, 2))
    return bool((ranks[0] == ranks[1]).all() and (common >= (1.0 - SAME) * ranks[0]).all())


def carried(q: FloatArray, kinds: IntArray, stretch: FloatArray, shift: FloatArray) -> FloatArray:
    """Return points (c, q) for x that are stretched and shifted, by numbers or by arrays (c, 1)."""
    moved = np.where(kinds == RATE, q / stretch, q * stretch)
    moved = np.where(kinds == LOCATION, moved + shift, moved)
    return np.where(kinds == NUMBER, q, moved)
