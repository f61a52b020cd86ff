"""Suppressions: what a person said they do not want. One sealed fact.

A suppression is an instruction, not a signal: it holds without any consent, also for who refuses
`decide`, and nothing is inferred from it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from tacit.client.facts import Facts
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical

_FACT = "suppressions"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a person does not want.

    Attributes:
        items, categories: never shown.
        channels: opted out of.
    """

    items: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


class Suppressions:
    """Read and change the suppressions of one store."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._held: Suppressed | None = None

    def get(self) -> Suppressed:
        """Return what is suppressed."""
        if self._held is None:
            content = self._facts.get(_FACT)
            if content is None:
                self._held = Suppressed()
            else:
                fields = Fields(parse_canonical(content), "suppressions")
                names = ("items", "categories", "channels")
                self._held = Suppressed(*(frozenset(fields.texts(name)) for name in names))
        return self._held

    def drop(self) -> None:
        """Drop what was read, after something else changed the store."""
        self._held = None

    def change(self, what: str, name: str, *, suppressed: bool) -> None:
        """Suppress an item, category or channel, or take it back; on the disk when this returns.

        Args:
            what: `items`, `categories` or `channels`.
            name: of the item, category or channel.
            suppressed: yes or no.
        """
        held = self.get()
        names: Collection[str] = getattr(held, what)
        changed = set(names) | {name} if suppressed else set(names) - {name}
        self._put(replace(held, **{what: frozenset(changed)}))

    def add(self, more: Suppressed) -> int:
        """Suppress all of that too; on the disk when this returns. Returns how many were new."""
        held = self.get()
        after = Suppressed(
            held.items | more.items,
            held.categories | more.categories,
            held.channels | more.channels,
        )
        if after != held:
            self._put(after)
        return sum(
            len(both) - len(before)
            for both, before in (
                (after.items, held.items),
                (after.categories, held.categories),
                (after.channels, held.channels),
            )
        )

    def _put(self, after: Suppressed) -> None:
        self._facts.put(
            _FACT,
            canonical_json(
                {
                    "items": sorted(after.items),
                    "categories": sorted(after.categories),
                    "channels": sorted(after.channels),
                }
            ),
        )
        self._held = after
