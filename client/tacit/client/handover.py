"""Hand-overs: what a person who takes over may be told. One sealed fact, empty until agreed to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from tacit.client.decision import HandOver
from tacit.client.errors import BadEvent
from tacit.client.events import Event, LoggedEvent
from tacit.client.facts import Facts
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical

_FACT = "hand-over"


def _last(signal: str, read: Callable[[Event], str]) -> Callable[[Sequence[LoggedEvent]], str]:
    def find(events: Sequence[LoggedEvent]) -> str:
        return next((read(e.event) for e in reversed(events) if e.event.signal == signal), "")

    return find


_TELLABLE: Mapping[str, Callable[[Sequence[LoggedEvent]], str]] = MappingProxyType(
    {
        "last_page": _last("page_view", lambda event: str(event.properties.get("name", ""))),
        "last_item": _last("product_view", lambda event: ", ".join(event.items)),
        "last_search": _last("search", lambda event: str(event.properties.get("query", ""))),
        "last_order": _last("purchase", lambda event: ", ".join(event.items)),
    }
)


class HandOvers:
    """What the person agreed may be told, and hand-overs that tell no more."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def agreed(self) -> tuple[str, ...]:
        """Return the names of what may be told; none until the person agreed."""
        content = self._facts.get(_FACT)
        return () if content is None else Fields(parse_canonical(content), "hand-over").texts("may")

    def agree(self, names: Collection[str]) -> None:
        """Let exactly these be told from now on; on the disk when this returns.

        Args:
            names: among `surface`, `last_page`, `last_item`, `last_search`, `last_order`.

        Raises:
            BadEvent: if a name is unknown.
        """
        if not set(names) <= {"surface", *_TELLABLE}:
            raise BadEvent(f"expected names among surface, {', '.join(_TELLABLE)}")
        self._facts.put(_FACT, canonical_json({"may": sorted(set(names))}))

    def make(self, reason: str, surface: str, events: Sequence[LoggedEvent]) -> HandOver:
        """Make a hand-over from permitted events, oldest first."""
        context: dict[str, str] = {}
        for name in self.agreed():
            value = surface if name == "surface" else _TELLABLE[name](events)
            if value:
                context[name] = value
        return HandOver(reason, context)
