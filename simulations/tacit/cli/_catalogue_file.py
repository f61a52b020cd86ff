"""The catalogue as a file: items a person can write down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import click

from tacit.client import Catalogue, DeviceError

_EXPECTED = (
    'expected each item as {"id": "kettle", "title": "Copper kettle", "categories": ["Kitchen"]}'
)


def read_catalogue(path: Path) -> Catalogue:
    """Read `{"items": [{"id": …, "title": …, "categories": [...]}, …]}`, in any spelling of JSON.

    Raises:
        ClickException: naming what was expected.
    """
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        document = None
    items = cast(Mapping[str, object], document).get("items") if _is_map(document) else None
    if not isinstance(items, list):
        raise click.ClickException(f"{path}: expected a catalogue, a JSON object with items")
    try:
        return Catalogue.build(_row(item) for item in cast(list[object], items))
    except (DeviceError, KeyError, TypeError) as error:
        told = error if isinstance(error, DeviceError) else _EXPECTED
        raise click.ClickException(f"{path}: {told}") from None


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


def _row(item: object) -> tuple[str, str, Sequence[str]]:
    if not _is_map(item):
        raise TypeError
    fields = cast(Mapping[str, object], item)
    categories = fields.get("categories", [])
    if not isinstance(categories, list):
        raise TypeError
    texts = [fields["id"], fields["title"], *cast(Sequence[object], categories)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    identifier, title, *named = cast(list[str], texts)
    return identifier, title, named
