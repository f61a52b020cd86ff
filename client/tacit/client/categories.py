"""Categories as numbers: which items are in which, both ways round, built once a catalogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue

IntArray = npt.NDArray[np.int64]
SmallIntArray = npt.NDArray[np.integer]
"""Places and numbers in as few bytes as they need; the catalogue's own arrays where they fit."""
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CategoryIndex:
    """Membership of `n_items` in categories, in compressed sparse rows, both ways.

    Attributes:
        numbers: category → its number, in order of first appearance.
        item_starts: `(n_items + 1,)`; item `i` is in `of_items[item_starts[i]:item_starts[i+1]]`.
        of_items: `(nnz,)` category numbers.
        category_starts, items: the same, category by category; items rise within one.
    """

    numbers: Mapping[str, int]
    item_starts: SmallIntArray
    of_items: SmallIntArray
    category_starts: SmallIntArray
    items: SmallIntArray

    @classmethod
    def build(cls, catalogue: Catalogue) -> CategoryIndex:
        """Index a catalogue."""
        columns = catalogue.items
        numbers = {name: number for number, name in enumerate(columns.names)}
        starts, categories = columns.category_starts, columns.categories
        owners = np.repeat(np.arange(len(columns), dtype=np.int32), np.diff(starts))
        # An item that names a category twice is in it once: the first of equal pairs stays.
        pairs = owners.astype(np.int64) * max(1, len(numbers)) + categories
        first = np.unique(pairs, return_index=True)[1]
        if len(first) < len(pairs):
            first.sort()
            owners, categories = owners[first], categories[first]
            per_item = np.bincount(owners, minlength=len(columns))
            starts = np.concatenate([[0], np.cumsum(per_item)]).astype(np.uint32)
        counts = np.bincount(categories, minlength=len(numbers))
        return cls(
            numbers=numbers,
            item_starts=starts,
            of_items=categories,
            category_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            items=owners[np.argsort(categories, kind="stable")],
        )

    def members(self, names: Collection[str]) -> IntArray:
        """Return the items in any of some categories, increasing; unknown names have none."""
        parts = [
            self.items[self.category_starts[n] : self.category_starts[n + 1]]
            for name in names
            if (n := self.numbers.get(name)) is not None
        ]
        members = np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)
        return members.astype(np.int64)

    def of(self, item: int) -> IntArray:
        """Return the category numbers of an item."""
        own = self.of_items[self.item_starts[item] : self.item_starts[item + 1]]
        return own.astype(np.int64)

    def overlap(self, liked: FloatArray) -> FloatArray:
        """Add up a weight per category over each item's categories, over the root of their number.

        Args:
            liked: `(n_categories,)`.

        Returns:
            `(n_items,)`.
        """
        lengths = np.diff(self.item_starts)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.bincount(owners, weights=liked[self.of_items], minlength=len(lengths))
        return np.asarray(sums / np.sqrt(np.maximum(lengths, 1)), dtype=np.float64)
