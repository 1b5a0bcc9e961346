"""Evaluating a residual at many points: serially, through a user's map, or in a pool of processes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeAlias, cast, final

__all__ = ["WorkerMap", "Workers"]

Workers: TypeAlias = int | Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]] | None


@final
class WorkerMap:
    """A map with SciPy's meaning of ``workers``.

    Parameters
    ----------
    workers : int or map-like callable, optional
        None or 1: serial. An int: a pool of that many processes, -1 for all cores; it starts at the first use, needs a
        residual that can be pickled, and ends with `close` or with this object. A callable is used as
        ``workers(function, iterable)``.

    Raises
    ------
    RuntimeError
        If the number is neither -1 nor positive (SciPy's text).
    """

    def __init__(self, workers: Workers = None) -> None:
        self._map: Callable[..., Iterable[Any]] | None = None
        self._processes = 0
        if callable(workers):
            self._map = workers
        elif workers is not None:
            count = int(workers)
            if count < 1 and count != -1:
                raise RuntimeError(
                    "Number of workers specified must be -1, an int >= 1, or an object with a 'map' method"
                )
            self._processes = 0 if count == 1 else count
        self._finalizer: weakref.finalize[..., Any] | None = None

    @property
    def serial(self) -> bool:
        """Whether the calls are made one after the other in this process."""
        return self._map is None and self._processes == 0

    def __call__(self, function: Callable[..., Any], points: Iterable[Any]) -> Iterable[Any]:
        """Return ``function`` of each point, in order."""
        if self._map is None:
            if self._processes == 0:
                return map(function, points)
            self._map = self._start()
        return self._map(function, points)

    def __enter__(self) -> WorkerMap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the pool, if one was started here; a user's own map is left alone."""
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None
            self._map = None

    def _start(self) -> Callable[..., Iterable[Any]]:
        """Start the pool and return its map."""
        from multiprocessing import get_all_start_methods, get_context, get_start_method

        method = cast("str | None", get_start_method(allow_none=True))
        if method is None and "forkserver" in get_all_start_methods():
            method = "forkserver"  # as Python 3.14 does by itself: fork deadlocks where threads hold locks
        pool = get_context(method).Pool(None if self._processes == -1 else self._processes)
        self._finalizer = weakref.finalize(self, pool.terminate)
        return pool.map
