"""Items as columns: a million of them are six buffers, not a million objects.

Ids and titles lie end to end in one byte string, categories are numbers into one list of names, and
ids are found through their sorted 32-bit hashes. An item costs its text and 28 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from tacit.client.errors import BadCatalogue

MAX_TEXT = 512
_HASH_BITS = 0xFFFFFFFF
_SMALL = 0xFFFF


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


class ItemColumns(Sequence[CatalogueItem]):
    """Hold items in order; reads like a tuple of `CatalogueItem`, made one at a time.

    Attributes:
        names: category names, in order of first appearance.
        category_starts: `(n + 1,)`; item `i` has `categories[category_starts[i]:...[i + 1]]`.
        categories: `(nnz,)` numbers into `names`, as the items list them.
    """

    def __init__(self, items: Iterable[CatalogueItem]) -> None:
        """Take items one by one; an iterator's are not kept.

        Raises:
            BadCatalogue: if there are none, ids repeat, or a text is empty, too long or no
                well-formed Unicode.
        """
        text = bytearray()
        ends, hashes = array("Q", [0]), array("I")
        starts, numbers = array("I", [0]), array("I")
        names: dict[str, int] = {}
        for item in items:
            for part in (item.item_id, item.title):
                text += _encoded(part)
                ends.append(len(text))
            for name in item.categories:
                if name not in names:
                    _encoded(name)
                    names[name] = len(names)
                numbers.append(names[name])
            starts.append(len(numbers))
            hashes.append(hash(item.item_id) & _HASH_BITS)
        self._text = bytes(text)
        # Four bytes an offset while the text allows it, as that of any real catalogue does.
        narrow = len(text) <= _HASH_BITS
        self._ends: array[int] = array("I", ends) if narrow else ends
        self.names: tuple[str, ...] = tuple(names)
        self.category_starts: npt.NDArray[np.uint32] = np.frombuffer(starts, dtype=np.uint32)
        small = len(names) <= _SMALL
        self.categories: npt.NDArray[np.unsignedinteger] = np.array(
            numbers, dtype=np.uint16 if small else np.uint32
        )
        self._index(np.frombuffer(hashes, dtype=np.uint32))
        if not len(self) or self._repeats():
            raise BadCatalogue("expected at least one item, with distinct ids")

    def _index(self, hashes: npt.NDArray[np.uint32]) -> None:
        order = np.argsort(hashes, kind="stable")
        # Memory views: bisection reads single values of them several times faster than of arrays.
        self._hashes = hashes[order].data
        self._places = order.astype(np.uint32).data

    def _repeats(self) -> bool:
        hashes = np.asarray(self._hashes)
        same = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        for value in same.tolist():
            places = self._with_hash(value)
            if len({self.item_id(place) for place in places}) < len(places):
                return True
        return False

    def _with_hash(self, value: int) -> list[int]:
        position = bisect_left(self._hashes, value)
        places: list[int] = []
        while position < len(self._hashes) and self._hashes[position] == value:
            places.append(self._places[position])
            position += 1
        return places

    def find(self, item_id: str) -> int | None:
        """Return the place of an id, or None."""
        for place in self._with_hash(hash(item_id) & _HASH_BITS):
            if self.item_id(place) == item_id:
                return place
        return None

    def item_id(self, place: int) -> str:
        """Return the id of the item at a place, from 0 on."""
        return self._text[self._ends[2 * place] : self._ends[2 * place + 1]].decode("utf-8")

    def title(self, place: int) -> str:
        """Return the title of the item at a place, from 0 on."""
        return self._text[self._ends[2 * place + 1] : self._ends[2 * place + 2]].decode("utf-8")

    def categories_of(self, place: int) -> tuple[str, ...]:
        """Return the categories of the item at a place, from 0 on."""
        numbers = self.categories[self.category_starts[place] : self.category_starts[place + 1]]
        chosen: list[int] = numbers.tolist()
        return tuple(self.names[number] for number in chosen)

    def __len__(self) -> int:
        return len(self.category_starts) - 1

    def __iter__(self) -> Iterator[CatalogueItem]:
        return (self._item(place) for place in range(len(self)))

    @overload
    def __getitem__(self, place: int) -> CatalogueItem: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[CatalogueItem, ...]: ...
    def __getitem__(self, place: int | slice) -> CatalogueItem | tuple[CatalogueItem, ...]:
        if isinstance(place, slice):
            return tuple(self._item(one) for one in range(len(self))[place])
        return self._item(range(len(self))[place])

    def _item(self, place: int) -> CatalogueItem:
        return CatalogueItem(self.item_id(place), self.title(place), self.categories_of(place))


def _encoded(text: str) -> bytes:
    if not 0 < len(text) <= MAX_TEXT:
        raise BadCatalogue(f"expected ids, titles and categories of 1 to {MAX_TEXT} letters")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadCatalogue("expected well-formed Unicode text, got a lone surrogate") from None
