"""The OpenAPI description of the JSON API, kept beside it and held to it by tests."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_WHOLE = {"type": "integer"}
_TRUTH = {"type": "boolean"}
_ANY: dict[str, object] = {"type": "object"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_WHOLE = {"type": ["integer", "null"]}


def _object(required: dict[str, object], **more: object) -> dict[str, object]:
    properties = {**required, **more}
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(items: Mapping[str, object]) -> dict[str, object]:
    return {"type": "array", "items": items}


_ACCOUNT = _object(
    {
        "account_id": _TEXT,
        "population": _TEXT,
        "cap_epsilon": _NUMBER,
        "target_delta": _NUMBER,
        "unit": _TEXT,
        "neighboring_relation": _TEXT,
        "trust_level": _TEXT,
        "accountant": _TEXT,
        "exclusions": _list(_TEXT),
        "spent": _ANY,
        "window_spent": _ANY,
        "released": _ANY,
        "window": _ANY,
        "quotas": _ANY,
        "reservations": _list(_ANY),
        "changes": _list(_ANY),
    }
)
_TASK = _object({"sha256": _TEXT, "status": _TEXT, "manifest": _ANY})
_CHANGE = _object(
    {
        "sha256": _TEXT,
        "account_id": _TEXT,
        "what": _TEXT,
        "reason": _TEXT,
        "status": _TEXT,
        "proposed_by": _TEXT,
        "decided_by": _MAYBE_TEXT,
        "expires_at_ms": _WHOLE,
    }
)
_ENTRY = _object(
    {
        "index": _WHOLE,
        "entry": _ANY,
        "signed_by": _TEXT,
        "leaf_hash": _TEXT,
        "inclusion_proof": _list(_TEXT),
        "checkpoint": _TEXT,
        "ok": _TRUTH,
        "findings": _list(_TEXT),
    }
)
_LEDGER = _object(
    {
        "ledger_key": _TEXT,
        "read_at_ms": _WHOLE,
        "logs": _list(
            _object({"name": _TEXT, "origin": _TEXT, "size": _WHOLE, "checkpoint": _MAYBE_TEXT})
        ),
        "verification": {"type": ["object", "null"]},
    }
)
_CONSENT = _object({"step": _WHOLE, "coverage": {"type": ["object", "null"]}})
_PLAN = _object({"plan": _ANY, "target_delta": _NUMBER, "exclusions": _list(_TEXT)})
_PERSON = _object({"name": _TEXT, "role": _TEXT, "enabled": _TRUTH, "key_id": _MAYBE_TEXT})
_ACCESS = _object(
    {
        "sequence": _WHOLE,
        "at_ms": _WHOLE,
        "name": _TEXT,
        "role": _TEXT,
        "action": _TEXT,
        "target": _TEXT,
        "outcome": _TEXT,
        "detail": _TEXT,
    }
)
_ERROR = _object({"error": _TEXT}, findings=_list(_TEXT))

_PATHS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("/api/v1/ledger", "The logs and the last verification", _LEDGER),
    ("/api/v1/entries/{index}", "One entry of the governance log with its proof", _ENTRY),
    ("/api/v1/accounts", "Every budget account", _object({"accounts": _list(_ACCOUNT)})),
    ("/api/v1/accounts/{account}", "One budget account", _ACCOUNT),
    (
        "/api/v1/accounts/{account}/history",
        "What moved an account",
        _object({"account_id": _TEXT, "steps": _list(_ANY)}),
    ),
    ("/api/v1/changes/{change}", "One proposed change", _CHANGE),
    ("/api/v1/tasks", "Every task", _object({"tasks": _list(_TASK)})),
    ("/api/v1/tasks/{task}", "One task", _TASK),
    (
        "/api/v1/releases",
        "The privacy facts of every release",
        _object({"releases": _list(_object({"type": _TEXT, "release": _ANY}))}),
    ),
    ("/api/v1/consent", "Numbers of devices by purpose and signal, rounded", _CONSENT),
    ("/api/v1/audits", "Every audit on record", _object({"audits": _list(_ANY)})),
    ("/api/v1/plan", "What a further task would cost; nothing is spent", _PLAN),
    ("/api/v1/people", "Everyone who has an account", _object({"people": _list(_PERSON)})),
    ("/api/v1/access-log", "The newest accesses", _object({"entries": _list(_ACCESS)})),
)
_PLAN_QUERY: dict[str, dict[str, object]] = {
    "account": {"type": "string"},
    "purpose": {"type": "string"},
    "epsilon": {"type": "number"},
    "noise_multiplier": {"type": "number"},
    "rounds": {"type": "integer"},
    "users": {"type": "integer"},
}
_REFUSALS = {
    "401": "Not signed in",
    "403": "The role does not allow it, or another host was asked",
    "404": "Nothing by that name",
    "409": "The ledger does not hold together; no figure is given",
    "413": "Longer than any request",
    "422": "A parameter is out of range",
}


def description(origin: str) -> dict[str, object]:
    """Return the description, for a console at this origin."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tacit console",
            "version": version("tacit"),
            "description": (
                "Reads what the console's pages show, with the session of a person who is signed "
                "in. Every ε stands beside its unit, relation, δ, trust level, accountant and "
                "exclusions. Nothing is changed through it."
            ),
        },
        "servers": [{"url": origin}],
        "components": {
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-tacit-session"}
            },
            "schemas": {"Error": _ERROR},
        },
        "security": [{"session": []}],
        "paths": {path: {"get": _operation(path, told, schema)} for path, told, schema in _PATHS},
    }


def _operation(path: str, summary: str, schema: dict[str, object]) -> dict[str, object]:
    parameters: list[Mapping[str, object]] = [
        {"name": part.strip("{}"), "in": "path", "required": True, "schema": _TEXT}
        for part in path.split("/")
        if part.startswith("{")
    ]
    if path == "/api/v1/plan":
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": kind}
            for name, kind in _PLAN_QUERY.items()
        ]
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "operationId": path.removeprefix("/api/v1/").translate(str.maketrans("/-", "__", "{}")),
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": schema}}},
            **{
                status: {"description": told, "content": failed}
                for status, told in _REFUSALS.items()
            },
        },
    }
