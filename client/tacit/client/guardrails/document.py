"""Guardrail policies: what a device must not show, as data that the app's owner signs.

A policy is canonical JSON of type `tacit.guardrails/1`; `tacit policy schema` prints its JSON
schema. What any rule forbids is forbidden; no rule allows anything, so an added rule can only make
a device more reticent. The rules of `ALWAYS` hold whether or not a policy is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from tacit.client.errors import BadGuardrails
from tacit.client.guardrails.kinds import (
    ALWAYS,
    LIMIT_FIELDS,
    RULE_KINDS,
    SCOPE_FIELDS,
    FieldSpec,
)
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument

TYPE = "tacit.guardrails/1"
MOST_RULES = 256
MOST_TEXTS = 10_000
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a cap: `times` messages `within_hours` on `channels` together; none is all."""

    channels: tuple[str, ...]
    times: int
    within_hours: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; fields that its kind does not take keep their defaults.

    Attributes:
        id: unique in the policy; what explanations cite.
        kind: a key of `RULE_KINDS`, where every other field is described.
    """

    id: str
    kind: str
    surfaces: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    again_categories: tuple[str, ...] = ()
    unless_stated: bool = False
    times: int = 0
    within_hours: int = 0
    hours: int = 0
    from_minute: int = 0
    to_minute: int = 0
    time_zone: str = ""
    capped_when: str = ""
    limits: tuple[Limit, ...] = ()

    def holds(self, surface: str, channel: str) -> bool:
        """Tell whether the rule has a say on a surface and a channel."""
        return (not self.surfaces or surface in self.surfaces) and (
            not self.channels or channel in self.channels
        )


@dataclass(frozen=True, slots=True)
class GuardrailPolicy:
    """A version of an app's rules.

    Attributes:
        app: whose rules these are.
        version: rises with every change; a device takes no lower one than it holds.
        issued_at_ms: Unix milliseconds.
        rules: at most 256, with distinct ids.
    """

    app: str
    version: int
    issued_at_ms: int
    rules: tuple[Rule, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> GuardrailPolicy:
        """Parse the canonical bytes that are signed.

        Raises:
            BadGuardrails: naming the first thing that is wrong.
        """
        try:
            document = parse_canonical(data)
        except BadDocument as error:
            raise BadGuardrails(str(error)) from None
        return cls.from_json(document)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> GuardrailPolicy:
        """Parse a document.

        Raises:
            BadGuardrails: naming the first thing that is wrong.
        """
        findings = problems(document)
        if findings:
            where, what = findings[0]
            raise BadGuardrails(f"{where}: {what}" if where else what)
        rules = cast(list[dict[str, object]], document["rules"])
        return cls(
            app=cast(str, document["app"]),
            version=cast(int, document["version"]),
            issued_at_ms=cast(int, document["issued_at_ms"]),
            rules=tuple(_rule(rule) for rule in rules),
        )

    def to_json(self) -> dict[str, object]:
        """Return the document, without empty optional fields."""
        return {
            "type": TYPE,
            "app": self.app,
            "version": self.version,
            "issued_at_ms": self.issued_at_ms,
            "rules": [_rule_json(rule) for rule in self.rules],
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical_json(self.to_json())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def problems(document: Mapping[str, object]) -> list[tuple[str, str]]:
    """List everything that keeps a document from being a policy, as (rule id or place, what)."""
    found: list[tuple[str, str]] = []
    known = {"type", "app", "version", "issued_at_ms", "rules"}
    found += [("", f"unknown field {name!r}") for name in sorted(set(document) - known)]
    if document.get("type") != TYPE:
        found.append(("", f"type: expected {TYPE!r}"))
    app = document.get("app")
    if not isinstance(app, str) or not 0 < len(app) <= 256:
        found.append(("", "app: expected a name of 1 to 256 characters"))
    for name, least in (("version", 1), ("issued_at_ms", 0)):
        if not _is_integer(document.get(name), least, 2**53 - 1):
            found.append(("", f"{name}: expected an integer of at least {least}"))
    rules = document.get("rules")
    if not isinstance(rules, list) or not 0 < len(cast(list[object], rules)) <= MOST_RULES:
        found.append(("", f"rules: expected a list of 1 to {MOST_RULES} rules"))
        return found
    seen: set[str] = set()
    for place, rule in enumerate(cast(list[object], rules)):
        found += _rule_problems(f"rule {place + 1}", rule, seen)
    return found


def _rule_problems(place: str, rule: object, seen: set[str]) -> list[tuple[str, str]]:
    if not isinstance(rule, dict):
        return [(place, "expected an object")]
    fields = cast(dict[str, object], rule)
    name = fields.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name) or name in ALWAYS:
        return [(place, "id: expected 1 to 64 of a-z 0-9 . _ - beginning with a letter or digit")]
    found: list[tuple[str, str]] = []
    if name in seen:
        found.append((name, "another rule has this id"))
    seen.add(name)
    kind = RULE_KINDS.get(str(fields.get("rule")))
    if kind is None:
        return [*found, (name, f"rule: expected one of {', '.join(RULE_KINDS)}")]
    specs = {**SCOPE_FIELDS, **kind.fields}
    found += [
        (name, f"unknown field {field!r}")
        for field in sorted(set(fields) - set(specs) - {"id", "rule"})
    ]
    for field, spec in specs.items():
        found += [(name, what) for what in _field_problems(field, spec, fields)]
    return found


def _field_problems(name: str, spec: FieldSpec, fields: Mapping[str, object]) -> Iterable[str]:
    if name not in fields:
        return [f"field {name!r} is missing"] if spec.required else []
    value = fields[name]
    if spec.kind == "integer":
        if not _is_integer(value, spec.least, spec.most):
            return [f"{name}: expected an integer in [{spec.least}, {spec.most}]"]
    elif spec.kind == "boolean":
        if not isinstance(value, bool):
            return [f"{name}: expected true or false"]
    elif spec.kind == "text":
        if not isinstance(value, str) or not 0 < len(value) <= 256:
            return [f"{name}: expected a text of 1 to 256 characters"]
        if spec.among and value not in spec.among:
            return [f"{name}: expected one of {', '.join(spec.among)}"]
    elif spec.kind == "texts":
        return _texts_problems(name, spec, value)
    else:
        return _limits_problems(name, value)
    return []


def _texts_problems(name: str, spec: FieldSpec, value: object) -> Iterable[str]:
    texts = cast(list[object], value) if isinstance(value, list) else []
    if not 0 < len(texts) <= MOST_TEXTS or not all(isinstance(t, str) and t for t in texts):
        return [f"{name}: expected a list of texts that is not empty"]
    if len(set(texts)) != len(texts):
        return [f"{name}: expected distinct texts"]
    unknown = sorted(str(t) for t in texts if spec.among and t not in spec.among)
    return [f"{name}: {one!r} is none of {', '.join(spec.among)}" for one in unknown]


def _limits_problems(name: str, value: object) -> Iterable[str]:
    limits = cast(list[object], value) if isinstance(value, list) else []
    if not 0 < len(limits) <= 16 or not all(isinstance(limit, dict) for limit in limits):
        return [f"{name}: expected a list of 1 to 16 objects"]
    found: list[str] = []
    for limit in cast(list[dict[str, object]], limits):
        found += [f"{name}: unknown field {f!r}" for f in sorted(set(limit) - set(LIMIT_FIELDS))]
        for field, spec in LIMIT_FIELDS.items():
            found += [f"{name}: {what}" for what in _field_problems(field, spec, limit)]
    return found


def _is_integer(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _rule(fields: Mapping[str, object]) -> Rule:
    given = {name: value for name, value in fields.items() if name != "rule"}
    for name, value in given.items():
        if name == "limits":
            limits = cast(list[dict[str, object]], value)
            given[name] = tuple(
                Limit(
                    tuple(cast(list[str], limit.get("channels", []))),
                    cast(int, limit["times"]),
                    cast(int, limit["within_hours"]),
                )
                for limit in limits
            )
        elif isinstance(value, list):
            given[name] = tuple(cast(list[str], value))
    return Rule(kind=str(fields["rule"]), **given)  # type: ignore[arg-type]


def _rule_json(rule: Rule) -> dict[str, object]:
    told: dict[str, object] = {"id": rule.id, "rule": rule.kind}
    for name, spec in {**SCOPE_FIELDS, **RULE_KINDS[rule.kind].fields}.items():
        value: object = getattr(rule, name)
        if name == "limits":
            value = [_limit_json(limit) for limit in rule.limits]
        elif isinstance(value, tuple):
            value = list(cast(tuple[str, ...], value))
        if spec.required or value:
            told[name] = value
    return told


def _limit_json(limit: Limit) -> dict[str, object]:
    told: dict[str, object] = {"times": limit.times, "within_hours": limit.within_hours}
    return {"channels": list(limit.channels), **told} if limit.channels else told


def read_json(data: bytes) -> dict[str, object]:
    """Read a JSON object that a person wrote, in any spelling but without repeated keys.

    Raises:
        BadGuardrails: if it is none.
    """

    def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise ValueError
        return document

    try:
        document: object = json.loads(data.decode("utf-8"), object_pairs_hook=distinct)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadGuardrails("expected a JSON object whose keys do not repeat")
    return cast(dict[str, object], document)
