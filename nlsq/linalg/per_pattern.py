"""What is found once for a pattern, and kept for as long as the pattern lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["once_per_pattern"]

Found = TypeVar("Found")


def once_per_pattern(make: Callable[..., Found]) -> Callable[..., Found]:
    """Decorate a function of a pattern: what it returns is kept, and shared by all who ask.

    Parameters
    ----------
    make : callable
        Function of a pattern and options. What it returns must not hold the pattern, which would then never die, and
        is not to be changed. The options of the first call count.

    Returns
    -------
    callable
        With the same arguments. Threads that ask at the same time may do the work twice, and get the same result.
    """
    kept: WeakKeyDictionary[Any, Found] = WeakKeyDictionary()
    lock = Lock()

    @wraps(make)
    def find(pattern: Any, *options: Any) -> Found:
        with lock:
            found = kept.get(pattern)
        if found is None:
            made = make(pattern, *options)
            with lock:
                found = kept.setdefault(pattern, made)
        return found

    return find
