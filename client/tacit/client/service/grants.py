"""Grants: which verbs an app may call, on which surfaces."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tacit.client.guardrails.situation import channel_of
from tacit.client.service.errors import BadGrant, NotGranted

EVERYDAY_VERBS = (
    *("track", "page", "rate", "prefer", "context"),
    *("recommend", "rank", "next_action", "next_question", "why_asked", "compose"),
    *("shown", "outcome", "explain", "variant"),
)
"""What an app gets that asks for nothing else: to tell, to ask, to explain."""

PERSONAL_VERBS = ("identify", "consent", "state", "forget", "export", "rotate_keys", "sync")
"""What acts for the person or reads the whole profile; each is granted by name."""

VERBS = (*EVERYDAY_VERBS, *PERSONAL_VERBS)
EVERYWHERE = "*"
"""As a surface: all of them."""

_APP = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_SURFACES, _LONGEST_SURFACE = 64, 64


@dataclass(frozen=True, slots=True)
class Grant:
    """What one app may do.

    Attributes:
        app: its name, unique.
        verbs: among `VERBS`.
        surfaces: where; `home` covers `home` and everything below it (`home/cart`).
        issued_at_ms: Unix milliseconds.
    """

    app: str
    verbs: tuple[str, ...]
    surfaces: tuple[str, ...]
    issued_at_ms: int

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            BadGrant: naming what was expected.
        """
        if not _APP.fullmatch(self.app):
            raise BadGrant(
                "app: expected 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit"
            )
        unknown = sorted(set(self.verbs) - set(VERBS))
        if unknown or not self.verbs:
            raise BadGrant(f"verbs: expected some of {', '.join(VERBS)}")
        if not 0 < len(self.surfaces) <= _MOST_SURFACES or not all(
            0 < len(one) <= _LONGEST_SURFACE and one.isprintable() for one in self.surfaces
        ):
            raise BadGrant("surfaces: expected at least one name of at most 64 characters, or *")

    def covers(self, surface: str) -> bool:
        """Tell whether the app may act on a surface."""
        return any(
            own == EVERYWHERE or surface == own or surface.startswith(f"{own}/")
            for own in self.surfaces
        )

    def check_verb(self, verb: str) -> None:
        """Let a verb pass.

        Raises:
            NotGranted: if the app was not given it.
        """
        if verb not in self.verbs:
            raise NotGranted(f"this app was not given the verb {verb}")

    def check_surface(self, surface: str) -> None:
        """Let a surface pass.

        Raises:
            NotGranted: if the app was not given it.
        """
        if not self.covers(surface):
            raise NotGranted("this app was not given the surface it asks for")

    def check_channels(self, channels: Collection[str], surface: str = "") -> None:
        """Let channels pass: those of the app's surfaces, and those named as surfaces themselves.

        Raises:
            NotGranted: if one is neither.
        """
        own = {channel_of(one) for one in self.surfaces}
        for channel in channels:
            if channel not in own and not self.covers(f"{channel}/{surface}"):
                raise NotGranted("this app was not given a channel it asks for")
