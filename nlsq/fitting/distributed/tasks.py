"""Tasks that the scheduler which is active in Dask runs, and their values as they come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from dask.base import get_scheduler
from dask.callbacks import Callback


class _Stopped(Exception):
    """Leaves a scheduler of this process from within a callback."""


def active_client() -> Any:
    """Return the `distributed.Client` that computations go to; None where they stay in this process or its pools."""
    client = getattr(get_scheduler(), "__self__", None)
    return client if hasattr(client, "scheduler_info") else None


def run_tasks(tasks: Sequence[Any], take: Callable[[int, Any], Any]) -> bool:
    """Run tasks; return whether that was interrupted, by the keyboard or by `take`.

    Parameters
    ----------
    tasks : sequence of dask.delayed.Delayed
        What is to be run.
    take : callable
        Called as ``take(index, value)`` in this thread for each task that has ended, in any order; a true result stops.

    Raises
    ------
    Exception
        What a task or `take` raised.
    """
    waiting = {task.key: index for index, task in enumerate(tasks)}
    client = active_client()
    try:
        if client is None:
            _run_here(tasks, waiting, take)
        else:
            _run_on(client, tasks, waiting, take)
    except (KeyboardInterrupt, _Stopped):
        return bool(waiting)
    return False


def _run_here(tasks: Sequence[Any], waiting: dict[Any, int], take: Callable[[int, Any], Any]) -> None:
    def note(key: Any, value: Any, *_: Any) -> None:
        index = waiting.pop(key, None)
        if index is not None and take(index, value):
            raise _Stopped

    with Callback(posttask=note):
        values = dask.compute(*tasks)
    for key, value in zip([task.key for task in tasks], values, strict=True):
        note(key, value)  # of schedulers that know no callbacks


def _run_on(client: Any, tasks: Sequence[Any], waiting: dict[Any, int], take: Callable[[int, Any], Any]) -> None:
    from distributed import as_completed

    futures = client.compute(list(tasks))
    index_of: Mapping[Any, int] = {future.key: index for index, future in enumerate(futures)}
    try:
        for future, value in as_completed(futures, with_results=True):
            index = index_of[future.key]
            waiting.pop(tasks[index].key)
            if take(index, value):
                raise _Stopped
    finally:
        if waiting:
            client.cancel(futures)
