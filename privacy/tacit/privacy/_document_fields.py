"""Names, digests and fixed fields of the documents in the governance log."""

from __future__ import annotations

import re

from tacit.privacy.canonical import Fields
from tacit.privacy.errors import BadDocument

_NAME = re.compile(r"[0-9A-Za-z._:/-]{1,128}")
_HEX_32 = re.compile(r"[0-9a-f]{64}")


def take_expected(fields: Fields, what: str, name: str, value: str) -> None:
    """Take a field that must have this value; raises `BadDocument`."""
    if fields.text(name) != value:
        raise BadDocument(f"{what}.{name}: expected {value!r}")


def take_name(fields: Fields, what: str, name: str) -> str:
    """Take the name of something in the log; raises `BadDocument`."""
    value = fields.text(name)
    if not _NAME.fullmatch(value):
        raise BadDocument(f"{what}.{name}: expected 1 to 128 characters of [0-9A-Za-z._:/-]")
    return value


def take_digest(fields: Fields, what: str, name: str) -> str:
    """Take a SHA-256 digest in hexadecimal; raises `BadDocument`."""
    value = fields.text(name, max_length=64)
    if not _HEX_32.fullmatch(value):
        raise BadDocument(f"{what}.{name}: expected 64 lower-case hex digits")
    return value
