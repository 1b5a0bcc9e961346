"""Whose turn it is to solve a problem."""

from __future__ import annotations

from threading import Lock
from typing import Any, final


@final
class Turn:
    """A lock, and who holds it; copies and pickles are free.

    Attributes
    ----------
    lock : threading.Lock
        Held during a solve.
    thread : int
        By which thread, as `threading.get_ident` numbers them; 0: by none.
    """

    __slots__ = ("lock", "thread")

    def __init__(self) -> None:
        self.lock, self.thread = Lock(), 0

    def __reduce__(self) -> Any:
        return Turn, ()
