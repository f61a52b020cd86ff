"""The JSON schema of guardrail policies, made from the table the parser follows."""

from __future__ import annotations

from tacit.client.guardrails.document import MOST_RULES, MOST_TEXTS, TYPE
from tacit.client.guardrails.kinds import LIMIT_FIELDS, RULE_KINDS, SCOPE_FIELDS, FieldSpec

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, object]:
    """Return the schema of an unsigned policy, JSON Schema 2020-12."""
    return {
        "$schema": _SCHEMA,
        "title": "Guardrails of an app: what a device must not show",
        "type": "object",
        "additionalProperties": False,
        "required": ["type", "app", "version", "issued_at_ms", "rules"],
        "properties": {
            "type": {"const": TYPE},
            "app": {"type": "string", "minLength": 1, "maxLength": 256},
            "version": {"type": "integer", "minimum": 1},
            "issued_at_ms": {"type": "integer", "minimum": 0},
            "rules": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_RULES,
                "items": {"oneOf": [_rule(name) for name in RULE_KINDS]},
            },
        },
    }


def _rule(name: str) -> dict[str, object]:
    kind = RULE_KINDS[name]
    fields = {**SCOPE_FIELDS, **kind.fields}
    return {
        "type": "object",
        "description": "Forbids: " + kind.meaning,
        "additionalProperties": False,
        "required": ["id", "rule", *(f for f, spec in fields.items() if spec.required)],
        "properties": {
            "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"},
            "rule": {"const": name},
            **{field: _field(spec) for field, spec in fields.items()},
        },
    }


def _field(spec: FieldSpec) -> dict[str, object]:
    told: dict[str, object] = {"description": spec.meaning}
    if spec.kind == "integer":
        return {**told, "type": "integer", "minimum": spec.least, "maximum": spec.most}
    if spec.kind == "boolean":
        return {**told, "type": "boolean"}
    text: dict[str, object] = {"type": "string", "minLength": 1}
    if spec.among:
        text = {"enum": list(spec.among)}
    if spec.kind == "text":
        return {**told, **text}
    if spec.kind == "texts":
        bounds = {"minItems": 1, "maxItems": MOST_TEXTS, "uniqueItems": True}
        return {**told, "type": "array", **bounds, "items": text}
    limit = {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, one in LIMIT_FIELDS.items() if one.required],
        "properties": {name: _field(one) for name, one in LIMIT_FIELDS.items()},
    }
    return {**told, "type": "array", "minItems": 1, "maxItems": 16, "items": limit}
