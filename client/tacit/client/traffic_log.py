"""The traffic account: what this device sent and received in all its syncs. One sealed fact."""

from __future__ import annotations

from dataclasses import dataclass

from tacit.client.facts import Facts
from tacit.client.wire import Traffic
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical

_FACT = "traffic"


@dataclass(frozen=True, slots=True)
class TrafficAccount:
    """All syncs so far, also those that failed.

    Attributes:
        syncs: how many.
        sent_bytes, received_bytes: payload, without TLS and HTTP/2 framing.
        last_at_ms: when the last one ended, Unix ms; 0 for never.
    """

    syncs: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    last_at_ms: int = 0


class TrafficLog:
    """The account of one store; it ends with the identity it belongs to."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def get(self) -> TrafficAccount:
        """Return the account."""
        content = self._facts.get(_FACT)
        if content is None:
            return TrafficAccount()
        fields = Fields(parse_canonical(content), "traffic")
        names = ("syncs", "sent_bytes", "received_bytes", "last_at_ms")
        return TrafficAccount(*(fields.integer(name, 0) for name in names))

    def add(self, traffic: Traffic, at_ms: int) -> None:
        """Enter one sync; on the disk when this returns."""
        before = self.get()
        self._facts.put(
            _FACT,
            canonical_json(
                {
                    "syncs": before.syncs + 1,
                    "sent_bytes": before.sent_bytes + traffic.sent_bytes,
                    "received_bytes": before.received_bytes + traffic.received_bytes,
                    "last_at_ms": max(at_ms, 0),
                }
            ),
        )
