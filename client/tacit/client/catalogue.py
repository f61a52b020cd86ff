"""The catalogue: the public list of items, whose order indexes every vector.

Tasks and releases name a catalogue by the digest of its canonical bytes, so a device can tell that
coordinate 17 means the same item to it and to everyone else. The bytes are not kept; they are
written again, a part at a time, when somebody asks for them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from tacit.client.errors import BadCatalogue
from tacit.client.item_columns import MAX_TEXT, CatalogueItem, ItemColumns
from tacit.privacy.canonical import Fields, Json, canonical_json
from tacit.privacy.errors import BadDocument

__all__ = ["Catalogue", "CatalogueItem"]

_HEAD, _TAIL = b'{"items":[', b'],"type":"tacit.catalogue/1"}'
_PART = 1024


class Catalogue:
    """An ordered list of items with distinct ids. Equal if the canonical bytes are."""

    __slots__ = ("_digest", "_items")

    def __init__(self, items: Iterable[CatalogueItem]) -> None:
        """Index the items and work out the digest.

        Raises:
            BadCatalogue: if there are no items, ids repeat, or a text is empty or too long.
        """
        self._items = ItemColumns(items)
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part)
        self._digest = digest.digest()

    @classmethod
    def build(cls, rows: Iterable[tuple[str, str, Iterable[str]]]) -> Catalogue:
        """Make a catalogue from `(item_id, title, categories)` in index order."""
        return cls(CatalogueItem(i, title, tuple(c)) for i, title, c in rows)

    @classmethod
    def from_bytes(cls, data: bytes) -> Catalogue:
        """Parse canonical bytes, one item at a time.

        Raises:
            BadCatalogue: if they are not the canonical encoding of a catalogue.
        """
        try:
            catalogue = cls(_read_items(data))
        except (BadDocument, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise BadCatalogue(f"expected a catalogue in canonical JSON: {error}") from None
        # Whatever was read: only the canonical encoding of these items has this digest.
        if catalogue.digest != hashlib.sha256(data).digest():
            raise BadCatalogue("expected canonical JSON, got another spelling of the catalogue")
        return catalogue

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(self._parts())

    def _parts(self) -> Iterator[bytes]:
        yield _HEAD
        items = iter(self._items)
        between = b""
        while part := [
            {"id": i.item_id, "title": i.title, "categories": list(i.categories)}
            for i in itertools.islice(items, _PART)
        ]:
            yield between + canonical_json(part)[1:-1]
            between = b","
        yield _TAIL

    @property
    def items(self) -> ItemColumns:
        """The items, in order; a sequence that makes each when it is asked for."""
        return self._items

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return self._digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalogue) and other.digest == self._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} items, sha256 {self._digest.hex()})"

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, str) and self._items.find(item_id) is not None

    def index(self, item_id: str) -> int | None:
        """Return an item's coordinate, or None for an unknown id."""
        return self._items.find(item_id)

    def title(self, item_id: str) -> str:
        """Return an item's title, or its id if the catalogue does not list it."""
        position = self._items.find(item_id)
        return item_id if position is None else self._items.title(position)


def _read_items(data: bytes) -> Iterator[CatalogueItem]:
    if not (data.startswith(_HEAD) and data.endswith(_TAIL)):
        raise BadDocument("expected an object of items and the type 'tacit.catalogue/1'")
    text = data[len(_HEAD) : len(data) - len(_TAIL)].decode("utf-8")
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        document, position = decoder.raw_decode(text, position)
        yield _parse_item(document)
        position += text.startswith(",", position)


def _parse_item(document: object) -> CatalogueItem:
    if not isinstance(document, dict):
        raise BadDocument("catalogue.items: expected a list of objects")
    fields = Fields(cast(Mapping[str, Json], document), "catalogue item")
    item = CatalogueItem(
        fields.text("id", max_length=MAX_TEXT),
        fields.text("title", max_length=MAX_TEXT),
        fields.texts("categories"),
    )
    fields.done()
    return item
