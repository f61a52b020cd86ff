"""Canonical JSON: one byte string for one document.

Every document that is hashed or signed (tasks, releases, consent events, budget events) is
canonical JSON in the sense of RFC 8785 (JCS), restricted so that `json` alone produces it: ASCII
keys, strings, booleans, null and integers within ±(2^53 - 1). Real numbers travel as decimal
strings (`encode_real`), because float formatting is where canonical forms disagree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import cast

from tacit.privacy.errors import BadDocument

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

_MAX_SAFE_INTEGER = 2**53 - 1
# Made once: a ledger encodes several documents for every event it takes.
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def canonical_json(value: object) -> bytes:
    """Encode a document as canonical JSON.

    Raises:
        BadDocument: if the document holds floats, non-ASCII keys, or integers beyond ±(2^53 - 1).
    """
    _check(value)
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except UnicodeEncodeError:
        raise BadDocument("expected well-formed Unicode text, got a lone surrogate") from None


def parse_canonical(data: bytes) -> dict[str, Json]:
    """Parse a document that must be in canonical form and must be an object.

    Raises:
        BadDocument: if the bytes are not the canonical encoding of a JSON object. Duplicate keys,
            extra white space and other spellings of the same document are refused with it.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadDocument(f"expected canonical JSON, got {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise BadDocument(f"expected a JSON object, got {type(value).__name__}")
    if canonical_json(cast(object, value)) != data:
        raise BadDocument("expected canonical JSON, got another spelling of the document")
    return cast(dict[str, Json], value)


def encode_real(value: float) -> str:
    """Encode a finite real number as the shortest decimal string that reads back exactly.

    Raises:
        BadDocument: if the value is not finite.
    """
    if not math.isfinite(value):
        raise BadDocument(f"expected a finite number, got {value!r}")
    return repr(float(value))


class Fields:
    """Read the fields of one parsed object, checking names and types as they are taken.

    Unknown fields are refused by `done`, missing or mistyped ones by the getter that wants them.
    """

    def __init__(self, document: Mapping[str, Json], what: str) -> None:
        self._left = dict(document)
        self._what = what

    def text(self, name: str, *, max_length: int = 256) -> str:
        """Take a string of at most `max_length` characters."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > max_length:
            raise BadDocument(
                f"{self._what}.{name}: expected a string of at most {max_length} characters"
            )
        return value

    def integer(self, name: str, minimum: int, maximum: int = _MAX_SAFE_INTEGER) -> int:
        """Take an integer in [minimum, maximum]."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise BadDocument(f"{self._what}.{name}: expected an integer in [{minimum}, {maximum}]")
        return value

    def boolean(self, name: str) -> bool:
        """Take a boolean."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise BadDocument(f"{self._what}.{name}: expected true or false")
        return value

    def real(self, name: str, *, above: float = -math.inf, at_most: float = math.inf) -> float:
        """Take a finite real in (above, at_most] from its decimal string."""
        value = self._take(name)
        return self._real(name, value, above, at_most)

    def reals(self, name: str, *, above: float = -math.inf) -> dict[str, float]:
        """Take an object whose values are decimal strings."""
        value = self._take(name)
        if not isinstance(value, dict):
            raise BadDocument(f"{self._what}.{name}: expected an object of decimal strings")
        return {key: self._real(f"{name}.{key}", v, above, math.inf) for key, v in value.items()}

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of strings."""
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise BadDocument(f"{self._what}.{name}: expected a list of strings")
        return tuple(cast(list[str], value))

    def integers(self, name: str, minimum: int) -> tuple[int, ...]:
        """Take a list of integers of at least `minimum`."""
        value = self._take(name)
        if not isinstance(value, list) or not all(
            isinstance(v, int) and not isinstance(v, bool) and v >= minimum for v in value
        ):
            raise BadDocument(f"{self._what}.{name}: expected a list of integers from {minimum} on")
        return tuple(cast(list[int], value))

    def objects(self, name: str) -> tuple[dict[str, Json], ...]:
        """Take a list of objects."""
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise BadDocument(f"{self._what}.{name}: expected a list of objects")
        return tuple(cast(list[dict[str, Json]], value))

    def done(self) -> None:
        """Refuse fields that nothing took."""
        if self._left:
            raise BadDocument(f"{self._what}: unknown field {min(self._left)!r}")

    def _take(self, name: str) -> Json:
        if name not in self._left:
            raise BadDocument(f"{self._what}: field {name!r} is missing")
        return self._left.pop(name)

    def _real(self, name: str, value: Json, above: float, at_most: float) -> float:
        try:
            number = float(value) if isinstance(value, str) else math.nan
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and above < number <= at_most):
            raise BadDocument(
                f"{self._what}.{name}: expected a decimal string in ({above}, {at_most}]"
            )
        return number


def _check(value: object) -> None:
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_SAFE_INTEGER:
            raise BadDocument("expected integers within ±(2^53 - 1)")
        return
    if isinstance(value, list):
        for item in cast(list[object], value):
            if type(item) is not str:
                _check(item)
        return
    if isinstance(value, dict):
        for key, item in cast(dict[object, object], value).items():
            if not isinstance(key, str) or not key.isascii():
                raise BadDocument("expected ASCII strings as keys")
            if type(item) is not str:
                _check(item)
        return
    raise BadDocument(f"expected JSON without floats, got {type(value).__name__}")
