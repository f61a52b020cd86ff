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
_NAMES = ("items", "categories", "channels", "features")


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a person does not want.

    Attributes:
        items, categories: never shown.
        channels: opted out of.
        features: not worked out; names of `FEATURE_SIGNALS`.
    """

    items: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()


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
                document = parse_canonical(content)
                fields = Fields(document, "suppressions")
                # Stores from before a name was there hold nothing under it.
                self._held = Suppressed(
                    *(frozenset(fields.texts(name)) for name in _NAMES if name in document)
                )
        return self._held

    def drop(self) -> None:
        """Drop what was read, after something else changed the store."""
        self._held = None

    def change(self, what: str, name: str, *, suppressed: bool) -> None:
        """Suppress one name, or take it back; on the disk when this returns.

        Args:
            what: `items`, `categories`, `channels` or `features`.
            name: of the item, category, channel or feature.
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
            held.features | more.features,
        )
        if after != held:
            self._put(after)
        return sum(len(getattr(after, name)) - len(getattr(held, name)) for name in _NAMES)

    def _put(self, after: Suppressed) -> None:
        self._facts.put(
            _FACT,
            canonical_json({name: sorted(getattr(after, name)) for name in _NAMES}),
        )
        self._held = after
