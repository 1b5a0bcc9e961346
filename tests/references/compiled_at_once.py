"""A pytest plugin: every function that may be traced is traced and compiled at its first call.

Used as a fixture, or for whole test files by ``pytest -p references.compiled_at_once``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nlsq.compiler import routes


@contextmanager
def compiling_at_once() -> Iterator[None]:
    """Trace every function at its first call, also where that holds for one call alone."""
    kept = routes.WORTH_COMPILING, routes.WORTH_TRACING_ANEW
    routes.forget()
    routes.WORTH_COMPILING, routes.WORTH_TRACING_ANEW = 0.0, 0
    try:
        yield
    finally:
        routes.WORTH_COMPILING, routes.WORTH_TRACING_ANEW = kept
        routes.forget()


@pytest.fixture(autouse=True)
def compiled_at_once() -> Iterator[None]:
    """Do so in each test."""
    with compiling_at_once():
        yield
