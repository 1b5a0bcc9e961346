"""Names of a model's parameters from its signature alone."""

from __future__ import annotations

from typing import Any

from nlsq.fitting.parameters import read_signature


def parameter_names(function: Any) -> tuple[str, ...]:
    """Return the names.

    Raises
    ------
    ValueError
        If the signature does not tell how many there are.
    """
    return read_signature(function, None)[0]
