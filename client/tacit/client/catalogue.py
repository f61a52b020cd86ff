"""The catalogue: the public list of items, whose order indexes every vector.

Tasks and releases name a catalogue by the digest of its canonical bytes, so a device can tell that
coordinate 17 means the same item to it and to everyone else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tacit.client.errors import BadCatalogue
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument

_MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """One item.

    Attributes:
        item_id: unique, as events name it.
        title: as a person would read it.
        categories: public categories, most telling first.
    """

    item_id: str
    title: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An ordered list of items with distinct ids."""

    items: tuple[CatalogueItem, ...]
    _index: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _bytes: bytes = field(init=False, repr=False, compare=False)
    _digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the items and fix the canonical bytes.

        Raises:
            BadCatalogue: if there are no items, ids repeat, or a text is empty or too long.
        """
        index = {item.item_id: position for position, item in enumerate(self.items)}
        if not self.items or len(index) != len(self.items):
            raise BadCatalogue("expected at least one item, with distinct ids")
        texts = (t for i in self.items for t in (i.item_id, i.title, *i.categories))
        if any(not 0 < len(text) <= _MAX_TEXT for text in texts):
            raise BadCatalogue(f"expected ids, titles and categories of 1 to {_MAX_TEXT} letters")
        try:
            data = canonical_json(
                {
                    "type": "tacit.catalogue/1",
                    "items": [
                        {"id": i.item_id, "title": i.title, "categories": list(i.categories)}
                        for i in self.items
                    ],
                }
            )
        except BadDocument as error:
            raise BadCatalogue(str(error)) from None
        object.__setattr__(self, "_index", MappingProxyType(index))
        object.__setattr__(self, "_bytes", data)
        object.__setattr__(self, "_digest", hashlib.sha256(data).digest())

    @classmethod
    def build(cls, rows: Iterable[tuple[str, str, Iterable[str]]]) -> Catalogue:
        """Make a catalogue from `(item_id, title, categories)` in index order."""
        return cls(tuple(CatalogueItem(i, title, tuple(c)) for i, title, c in rows))

    @classmethod
    def from_bytes(cls, data: bytes) -> Catalogue:
        """Parse canonical bytes.

        Raises:
            BadCatalogue: if they are not the canonical encoding of a catalogue.
        """
        try:
            fields = Fields(parse_canonical(data), "catalogue")
            kind = fields.text("type")
            items = tuple(_parse_item(item) for item in fields.objects("items"))
            fields.done()
        except BadDocument as error:
            raise BadCatalogue(str(error)) from None
        if kind != "tacit.catalogue/1":
            raise BadCatalogue("catalogue.type: expected 'tacit.catalogue/1'")
        return cls(items)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return self._bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return self._digest

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    def index(self, item_id: str) -> int | None:
        """Return an item's coordinate, or None for an unknown id."""
        return self._index.get(item_id)

    def title(self, item_id: str) -> str:
        """Return an item's title, or its id if the catalogue does not list it."""
        position = self._index.get(item_id)
        return item_id if position is None else self.items[position].title


def _parse_item(document: Mapping[str, Json]) -> CatalogueItem:
    fields = Fields(document, "catalogue item")
    item = CatalogueItem(
        fields.text("id", max_length=_MAX_TEXT),
        fields.text("title", max_length=_MAX_TEXT),
        fields.texts("categories"),
    )
    fields.done()
    return item
