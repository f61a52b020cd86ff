"""Flag sets: the flags of an app as versioned data.

An author writes plain JSON, values as they are (`read_source`). What is signed is canonical JSON,
which has no fractions, so there each value is its JSON text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from tacit.client.errors import BadFlags
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import PURPOSES

TYPE = "tacit.flags/1"
MOST_FLAGS, MOST_VARIANTS, MOST_WEIGHT = 256, 64, 1_000_000
MOST_VALUE_LETTERS = 8192

FlagValue = bool | int | float | str | Sequence["FlagValue"] | Mapping[str, "FlagValue"]
"""What a flag may resolve to, as OpenFeature has it."""

FlagKind = Literal["boolean", "integer", "float", "string", "object"]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way a flag can come out.

    Attributes:
        name: unique in its flag.
        weight: its part of everybody is `weight` of the sum of the flag's weights; 0 to 10⁶.
        value: what the app gets.
    """

    name: str
    weight: int
    value: FlagValue


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: unique in its set.
        enabled: False gives everybody the app's default.
        purpose: consent without which a person is given the app's default: `measure` for an
            experiment; None for a flag that only switches something.
        shuffle: another number assigns everybody anew.
        variants: at least one, all of one kind, not all of weight 0.
    """

    name: str
    enabled: bool
    purpose: str | None
    shuffle: int
    variants: tuple[Variant, ...]

    @property
    def kind(self) -> FlagKind:
        """What its values are; integers among fractions are fractions."""
        kinds: set[FlagKind] = {kind_of(variant.value) for variant in self.variants}
        return "float" if len(kinds) > 1 else kinds.pop()


@dataclass(frozen=True, slots=True)
class FlagSet:
    """A version of an app's flags.

    Attributes:
        app: whose flags these are.
        version: rises with every change; a device takes no lower one than it holds.
        issued_at_ms: Unix milliseconds.
        flags: at most 256, with distinct names.
    """

    app: str
    version: int
    issued_at_ms: int
    flags: tuple[Flag, ...]

    def get(self, name: str) -> Flag | None:
        """Return a flag, or None."""
        return next((flag for flag in self.flags if flag.name == name), None)

    def to_json(self) -> dict[str, Json]:
        """Return the canonical document."""
        return {
            "type": TYPE,
            "app": self.app,
            "version": self.version,
            "issued_at_ms": self.issued_at_ms,
            "flags": [
                {
                    "flag": flag.name,
                    "enabled": flag.enabled,
                    "purpose": flag.purpose or "",
                    "shuffle": flag.shuffle,
                    "variants": [
                        {
                            "variant": one.name,
                            "weight": one.weight,
                            "value": json.dumps(one.value, sort_keys=True),
                        }
                        for one in flag.variants
                    ],
                }
                for flag in self.flags
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> FlagSet:
        """Parse canonical bytes.

        Raises:
            BadFlags: naming the first thing that is wrong.
        """
        try:
            return cls.from_json(parse_canonical(data))
        except BadDocument as error:
            raise BadFlags(str(error)) from None

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> FlagSet:
        """Parse the canonical document.

        Raises:
            BadFlags: naming the first thing that is wrong.
        """
        try:
            fields = Fields(document, "flags")
            if fields.text("type") != TYPE:
                raise BadFlags(f"type: expected {TYPE!r}")
            app = fields.text("app")
            version = fields.integer("version", 1)
            issued_at_ms = fields.integer("issued_at_ms", 0)
            flags = tuple(_flag(one) for one in fields.objects("flags"))
            fields.done()
        except BadDocument as error:
            raise BadFlags(str(error)) from None
        if not app:
            raise BadFlags("app: expected a name of 1 to 256 characters")
        if not 0 < len(flags) <= MOST_FLAGS or len({flag.name for flag in flags}) != len(flags):
            raise BadFlags(f"flags: expected 1 to {MOST_FLAGS} flags with distinct names")
        return cls(app, version, issued_at_ms, flags)


def read_source(data: bytes) -> FlagSet:
    """Read flags as an author writes them: values are JSON values, not texts.

    `enabled` (true), `purpose` (none) and `shuffle` (0) may be left out.

    Raises:
        BadFlags: naming the first thing that is wrong.
    """
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_number)
        flags = document["flags"]
        for flag in flags:
            for name, default in (("enabled", True), ("purpose", ""), ("shuffle", 0)):
                flag.setdefault(name, default)
            for variant in flag["variants"]:
                variant["value"] = json.dumps(variant["value"], sort_keys=True)
    except (ValueError, RecursionError):
        raise BadFlags("expected a JSON object with finite numbers") from None
    except (KeyError, TypeError, AttributeError):
        raise BadFlags("expected flags, each with variants, each with a value") from None
    return FlagSet.from_json(document)


def kind_of(value: object) -> FlagKind:
    """Name the kind of a value.

    Raises:
        BadFlags: if a flag cannot have it.
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping | Sequence):
        return "object"
    raise BadFlags("value: expected true, false, a number, a text, a list or an object")


def _flag(document: Mapping[str, Json]) -> Flag:
    fields = Fields(document, "flag")
    name = fields.text("flag")
    enabled, purpose = fields.boolean("enabled"), fields.text("purpose")
    shuffle = fields.integer("shuffle", 0)
    variants = tuple(_variant(one) for one in fields.objects("variants"))
    fields.done()
    if not _NAME.fullmatch(name):
        raise BadFlags("flag: expected 1 to 64 letters, digits and . _ -")
    if purpose and purpose not in PURPOSES:
        raise BadFlags(f"{name}: purpose: expected one of {', '.join(PURPOSES)}, or none")
    if not 0 < len(variants) <= MOST_VARIANTS or len({v.name for v in variants}) != len(variants):
        raise BadFlags(f"{name}: expected 1 to {MOST_VARIANTS} variants with distinct names")
    if not any(variant.weight for variant in variants):
        raise BadFlags(f"{name}: expected a variant with a weight above 0")
    kinds = {kind_of(variant.value) for variant in variants}
    if len(kinds) > 1 and kinds != {"integer", "float"}:
        raise BadFlags(f"{name}: expected values of one kind, got {', '.join(sorted(kinds))}")
    return Flag(name, enabled, purpose or None, shuffle, variants)


def _variant(document: Mapping[str, Json]) -> Variant:
    fields = Fields(document, "variant")
    name = fields.text("variant")
    weight = fields.integer("weight", 0, MOST_WEIGHT)
    text = fields.text("value", max_length=MOST_VALUE_LETTERS)
    fields.done()
    if not _NAME.fullmatch(name):
        raise BadFlags("variant: expected 1 to 64 letters, digits and . _ -")
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadFlags(f"variant {name}: expected a value as JSON text") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise BadFlags(f"variant {name}: expected a finite number")
    kind_of(value)
    return Variant(name, weight, cast(FlagValue, value))


def _no_number(_: str) -> None:
    raise ValueError
