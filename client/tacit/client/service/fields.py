"""Fields of requests that the wire leaves open: JSON texts, and words out of a few."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import cast

from tacit.client.errors import BadEvent


def json_value(text: str, field: str) -> object:
    """Parse a JSON text with finite numbers.

    Raises:
        BadEvent: if it is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadEvent(f"{field}: expected JSON text with finite numbers") from None


def json_object(text: str, field: str) -> dict[str, object]:
    """Parse a JSON object; an empty text is an empty object.

    Raises:
        BadEvent: if it is none.
    """
    value: object = json_value(text, field) if text else {}
    if not isinstance(value, dict):
        raise BadEvent(f"{field}: expected a JSON object")
    return cast(dict[str, object], value)


def one_of(field: str, value: str, words: Collection[str]) -> str:
    """Return a word that is among a few.

    Raises:
        BadEvent: if it is not.
    """
    if value not in words:
        raise BadEvent(f"{field}: expected one of {', '.join(words)}")
    return value


def _no_number(_: str) -> None:
    raise ValueError
