"""The verb by which an app says what the person told it about themselves."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from typing import cast

from tacit.client.errors import BadEvent
from tacit.client.observing import Observing
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical

TRAITS = ("time_zone", "interests")
"""What there is a use for. Nothing else is taken: a device needs no name, address or number."""

MOST_INTERESTS = 64
_FACT = "traits"


class Identifying(Observing):
    """The verb `identify`."""

    def identify(self, traits: Mapping[str, object]) -> None:
        """Record what the person says about themselves; in force, and on the disk, on return.

        Unlike Segment's verb of this name it takes no user id and no personal details: an app that
        sends them is told so, and nothing is kept.

        Args:
            traits: `time_zone`, an IANA name, for quiet hours and hours of the day, kept until
                another is given; `interests`, categories the person likes, each as by `prefer`.

        Raises:
            BadEvent: if there is another trait, or a value cannot be used; nothing was recorded.
        """
        if not traits or not set(traits) <= set(TRAITS):
            raise BadEvent(
                f"identify: expected traits among {', '.join(TRAITS)}; no others are kept"
            )
        zone = traits.get("time_zone")
        if "time_zone" in traits and not _is_zone(zone):
            raise BadEvent("identify: time_zone: expected an IANA name, like Europe/Berlin")
        interests = _interests(traits.get("interests", ()))
        if zone is not None:
            self.facts.put(_FACT, canonical_json({"time_zone": cast(str, zone)}))
            self.context(time_zone=cast(str, zone))
        for category in interests:
            self.prefer("category", category, 1.0)

    def traits(self) -> dict[str, Json]:
        """Return what is kept; interests are among the events."""
        content = self.facts.get(_FACT)
        if content is None:
            return {}
        return {"time_zone": Fields(parse_canonical(content), "traits").text("time_zone")}

    def recall(self) -> None:
        """Take up what is kept, when the profile is opened."""
        zone = self.traits().get("time_zone")
        if isinstance(zone, str):
            self.context(time_zone=zone)


def _is_zone(name: object) -> bool:
    try:
        return isinstance(name, str) and bool(zoneinfo.ZoneInfo(name))
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False


def _interests(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadEvent("identify: interests: expected a list of categories")
    names = cast(Sequence[object], value)
    if len(names) > MOST_INTERESTS or not all(
        isinstance(n, str) and 0 < len(n) <= 512 for n in names
    ):
        raise BadEvent(f"identify: interests: expected at most {MOST_INTERESTS} categories")
    return cast(tuple[str, ...], tuple(dict.fromkeys(names)))
