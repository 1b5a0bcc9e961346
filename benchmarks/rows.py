"""What a section of the report is made of: rows of (what, peer, required, measured).

A row without a requirement is there for comparison. Where the peer's time is divided by ours, more is better, and the
row says ``x``; where ours is divided by the peer's, less is.
"""

from dataclasses import dataclass, field

__all__ = ["Row", "Section", "counted_row", "faster_row", "limit_row", "reported_row", "share_row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report; ``met`` is None where nothing is required."""

    what: str
    peer: str
    required: str
    measured: str
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows, and what they leave out: sets not solved, claims not true."""

    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def counted_row(what, peer, required, measured):
    """Return a row of counts of which at least `required` are wanted."""
    return Row(what=what, peer=str(peer), required=f">= {required}", measured=str(measured), met=measured >= required)


def limit_row(what, peer, limit, value, unit, extra=""):
    """Return a row of a quantity that must not exceed `limit`; None for one that is only reported."""
    text = f"{value:.2f} {unit}{extra}"
    if limit is None:
        return reported_row(what, peer, text)
    return Row(what=what, peer=peer, required=f"<= {limit:g} {unit}", measured=text, met=value <= limit)


def reported_row(what, peer, measured):
    """Return a row of which nothing is required."""
    return Row(what=what, peer=peer, required="-", measured=measured)


def faster_row(what, ratio, required, peer="SciPy"):
    """Return a row of how many times faster we are than the peer; `required` is None where that is only reported."""
    text = f"{ratio.median:.2f} x ({ratio.lower:.2f}-{ratio.upper:.2f}), {in_units(ratio.ours)}"
    peer_text = f"{peer} {in_units(ratio.peer)}"
    if required is None:
        return reported_row(what, peer_text, text)
    return Row(what=what, peer=peer_text, required=f">= {required:g} x", measured=text, met=ratio.median >= required)


def share_row(what, ratio, limit, peer="SciPy"):
    """Return a row of our time as a multiple of the peer's, which must not exceed `limit`; None: only reported."""
    spread = f" ({1.0 / ratio.upper:.2f}-{1.0 / ratio.lower:.2f}), {in_units(ratio.ours)}"
    return limit_row(what, f"{peer} {in_units(ratio.peer)}", limit, 1.0 / ratio.median, "x", spread)


def in_units(seconds):
    """Return a time as text."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 0.1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{1e9 * seconds:.2f} ns"
