"""The catalogue: one byte string per list of items, and nothing else read as one."""

from __future__ import annotations

import hashlib

import pytest

from tacit.client.catalogue import Catalogue, CatalogueItem
from tacit.client.errors import BadCatalogue


def _catalogue() -> Catalogue:
    return Catalogue.build(
        [("b", "Blue kettle", ["Kitchen"]), ("a", "Amélie (2001)", ["Comedy", "Romance"])]
    )


def test_a_catalogue_round_trips_and_keeps_its_order() -> None:
    read = Catalogue.from_bytes(_catalogue().to_bytes())
    assert read == _catalogue()
    assert read.items[1] == CatalogueItem("a", "Amélie (2001)", ("Comedy", "Romance"))
    assert (read.index("b"), read.index("a"), read.index("c")) == (0, 1, None)
    assert (read.title("a"), read.title("gone")) == ("Amélie (2001)", "gone")
    assert "a" in read
    assert "c" not in read
    assert len(read) == 2


def test_the_digest_is_of_the_canonical_bytes_and_sees_the_order() -> None:
    catalogue = _catalogue()
    assert catalogue.digest == hashlib.sha256(catalogue.to_bytes()).digest()
    assert Catalogue(tuple(reversed(catalogue.items))).digest != catalogue.digest


_UNUSABLE: list[list[tuple[str, str, list[str]]]] = [
    [],
    [("a", "A", []), ("a", "B", [])],
    [("", "A", [])],
    [("a", "", [])],
    [("a", "x" * 513, [])],
    [("a", "A", [""])],
    [("a", "\ud800", [])],
]


@pytest.mark.parametrize("rows", _UNUSABLE)
def test_unusable_items_are_refused(rows: list[tuple[str, str, list[str]]]) -> None:
    with pytest.raises(BadCatalogue):
        Catalogue.build(rows)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"items":[],"type":"tacit.catalogue/1"}',
        b'{"items":[{"categories":[],"id":"a","title":"A"}],"type":"tacit.catalogue/2"}',
        b'{"items":[{"categories":[],"id":"a","title":"A","x":1}],"type":"tacit.catalogue/1"}',
        b'{"items": [{"categories":[],"id":"a","title":"A"}],"type":"tacit.catalogue/1"}',
        b'{"items":[{"categories":[1],"id":"a","title":"A"}],"type":"tacit.catalogue/1"}',
    ],
)
def test_other_bytes_are_no_catalogue(data: bytes) -> None:
    with pytest.raises(BadCatalogue):
        Catalogue.from_bytes(data)
