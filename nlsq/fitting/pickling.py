"""Pickling of results: what cannot be pickled is left out, and what it was needed for is computed before.

A model may be a lambda, x any object. The numbers of a result do not need them; a prediction does.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nlsq.fitting.result import FitResult


def state_of(result: FitResult) -> dict[str, Any]:
    """Return the state that `FitResult` pickles.

    Without model, x, loss function or Jacobian where one of them cannot be pickled: then everything that comes from
    them is evaluated first.
    """
    task = result._core.task
    if task.data.streamed is not None:
        return _state_of_streamed(result)
    if all(can_pickle(part) for part in (task.model, task.data.x, task.loss, task.jac, task.constraints)):
        return result.__dict__.copy()
    for name in ("residual", "jac", "_identification", "chi2", "dof"):
        with suppress(Exception):  # the user's own, at a point where the model fails: then there is no such value
            getattr(result, name)
    return _without_functions(result)


def _state_of_streamed(result: FitResult) -> dict[str, Any]:
    """Return the state of a result whose data were read block by block: what takes another pass is evaluated first."""
    for name in ("_identification", "chi2", "r_squared"):
        with suppress(Exception):  # whatever reading the data raises: then there is no such value
            getattr(result, name)
    task = result._core.task
    assert task.data.streamed is not None
    data = replace(task.data, streamed=task.data.streamed.for_pickling())
    known = all(can_pickle(part) for part in (task.model, task.loss, task.jac))
    core = replace(result._core, task=replace(task, data=data, model=task.model if known else None))
    return result.__dict__ | {"_core": core}


def _without_functions(result: FitResult) -> dict[str, Any]:
    task = result._core.task
    data = replace(task.data, x=None)
    bare = replace(task, model=None, jac=None, data=data, constraints=())
    if not can_pickle(task.loss):
        from nlsq.loss import Loss

        bare = replace(bare, loss=Loss("linear", task.loss.scale))  # all that the loss decides has been derived
    return result.__dict__ | {"_core": replace(result._core, task=bare)}


def can_pickle(value: Any) -> bool:
    """Whether a value survives pickling."""
    if value is None or isinstance(value, str | np.ndarray):
        return not isinstance(value, np.ndarray) or value.dtype.kind != "O"
    try:
        pickle.dumps(value)
    except Exception:  # whatever an object's own methods raise: it cannot be pickled
        return False
    return True
