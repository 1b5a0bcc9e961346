"""Telling how far a batch is: a bar, and the user's callback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, final

from nlsq.solvers.batch import BatchReport

EVERY = 0.2  # seconds between updates where there is no tqdm


@final
class Progress:
    """Shows progress while its ``with`` statement runs.

    Parameters
    ----------
    shown : bool
        Whether to show a bar: with tqdm if it is installed, else a line of text on stderr.
    callback : callable, optional
        Called with each report.
    total : int
        Number of rows.
    """

    def __init__(self, shown: bool, callback: Callable[[BatchReport], Any] | None, total: int) -> None:
        self._callback, self._total, self._shown = callback, total, shown
        self._bar: Any = None
        self._last = 0.0

    @property
    def function(self) -> Callable[[BatchReport], Any] | None:
        """What is to be called with each report; None where nobody listens."""
        if not self._shown:
            return self._callback
        return self._report

    def __enter__(self) -> Progress:
        if self._shown:
            try:
                from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
            except ImportError:
                return self
            self._bar = tqdm(total=self._total, unit="fit", unit_scale=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._shown:
            print(file=sys.stderr)

    def _report(self, report: BatchReport) -> Any:
        if self._bar is not None:
            self._bar.update(report.done - self._bar.n)
        elif report.done == report.total or time.perf_counter() - self._last > EVERY:
            self._last = time.perf_counter()
            print(f"\r{report.done} of {report.total} fits", end="", file=sys.stderr, flush=True)
        return None if self._callback is None else self._callback(report)
