"""How figures and times stand in a report: whole, with what they rest on."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from tacit.server.reports.document import Code

_RELATIONS = {
    "add_remove": "add/remove: with or without all contributions of one user",
    "replace": "replace: one user's contributions replaced by any others",
    "zero_out": "zero-out: all contributions of one user set to zero",
}


def exact(epsilon: float) -> str:
    """Return all six decimals a bound is stated in: rounding it for show could make it false."""
    return f"{epsilon:.6f}".rstrip("0").rstrip(".") or "0"


def noise(multiplier: float) -> str:
    """Return a noise multiplier, rounded down: more noise is never shown than there was."""
    text = f"{multiplier:.4f}"
    if float(text) > multiplier:
        text = f"{multiplier - 5e-5:.4f}"
    return text.rstrip("0").rstrip(".")


def relation(name: str) -> str:
    """Say what neighbouring data sets differ by."""
    return _RELATIONS.get(name, name)


def day(at_ms: int) -> str:
    """Return the UTC day of a moment."""
    return f"{_at(at_ms):%Y-%m-%d}"


def second(at_ms: int) -> str:
    """Return a moment to the second, in UTC."""
    return f"{_at(at_ms):%Y-%m-%d %H:%M:%S}"


def short(digest: str) -> Code:
    """Return the first digits of a digest, for tables; its whole stands where it is named first."""
    return Code(f"{digest[:12]}…")


def places(indices: Sequence[int]) -> str:
    """Return positions in a log, runs of them joined."""
    parts: list[str] = []
    for index in sorted(indices):
        first, _, last = parts[-1].partition(" to ") if parts else ("", "", "")
        if parts and int(last or first) + 1 == index:
            parts[-1] = f"{first} to {index}"
        else:
            parts.append(str(index))
    return ", ".join(parts) or "none"


def plural(count: int, word: str, words: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def _at(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
