"""Policies as documents: parsing, canonical bytes, schema, signature, rollback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tacit.client import BadGuardrails, FileKeyProvider, RollbackRefused
from tacit.client.facts import Facts
from tacit.client.guardrails import (
    DEFAULT_GUARDRAILS,
    RULE_KINDS,
    GuardrailPolicy,
    InstalledGuardrails,
    open_signed,
    sign_policy,
)
from tacit.client.guardrails.schema import json_schema
from tacit.client.store import Store
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(b"\7" * 32)

EVERY_KIND: dict[str, Any] = {
    "type": "tacit.guardrails/1",
    "app": "shop",
    "version": 3,
    "issued_at_ms": 5,
    "rules": [
        {"id": "stock", "rule": "out_of_stock"},
        {"id": "owned", "rule": "already_owned", "again_categories": ["Coffee"]},
        {"id": "tired", "rule": "shown_too_often", "times": 3, "within_hours": 168},
        {
            "id": "night",
            "rule": "quiet_hours",
            "channels": ["push"],
            "from_minute": 1260,
            "to_minute": 480,
            "time_zone": "person",
        },
        {"id": "wait", "rule": "trigger_delay", "hours": 24},
        {
            "id": "caps",
            "rule": "channel_cap",
            "capped_when": "any_reached",
            "limits": [{"channels": ["push"], "times": 2, "within_hours": 24}],
        },
        {
            "id": "private",
            "rule": "sensitive_inference",
            "categories": ["Baby"],
            "unless_stated": True,
        },
        {"id": "broad", "rule": "broad_first", "times": 2, "within_hours": 720},
        {"id": "calm", "rule": "no_false_urgency"},
        {"id": "never", "rule": "exclude", "items": ["x"], "surfaces": ["kids"]},
        {"id": "kids", "rule": "only_categories", "categories": ["Toys"], "surfaces": ["kids"]},
    ],
}


def test_every_kind_survives_a_round_trip_and_the_bytes_are_canonical() -> None:
    policy = GuardrailPolicy.from_json(EVERY_KIND)
    assert {rule.kind for rule in policy.rules} == set(RULE_KINDS)
    assert policy.to_json() == EVERY_KIND
    assert GuardrailPolicy.from_bytes(policy.to_bytes()) == policy
    with pytest.raises(BadGuardrails, match="canonical"):
        GuardrailPolicy.from_bytes(json.dumps(EVERY_KIND, indent=2).encode())


def _changed(path: list[Any], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(EVERY_KIND)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


BAD: list[tuple[list[Any], Any, str]] = [
    (["type"], "tacit.guardrails/2", "type: expected"),
    (["version"], 0, "version: expected"),
    (["version"], True, "version: expected"),
    (["app"], "", "app: expected"),
    (["colour"], 1, "unknown field 'colour'"),
    (["rules"], [], "rules: expected"),
    (["rules", 0], 7, "rule 1: expected an object"),
    (["rules", 0, "id"], "Stock!", "id: expected"),
    (["rules", 0, "id"], "always/opted-out", "id: expected"),
    (["rules", 1, "id"], "stock", "another rule has this id"),
    (["rules", 0, "rule"], "allow", "rule: expected one of out_of_stock"),
    (["rules", 0, "times"], 3, "stock: unknown field 'times'"),
    (["rules", 2, "times"], 0, r"tired: times: expected an integer in \[1"),
    (["rules", 2, "times"], 2.5, "tired: times: expected an integer"),
    (["rules", 3, "from_minute"], 1440, "night: from_minute"),
    (["rules", 3, "channels"], ["pigeon"], "'pigeon' is none of"),
    (["rules", 3, "channels"], [], "channels: expected a list"),
    (["rules", 5, "capped_when"], "xor", "capped_when: expected one of any_reached"),
    (["rules", 5, "limits", 0, "colour"], 1, "limits: unknown field 'colour'"),
    (["rules", 5, "limits", 0, "times"], -1, "limits: times: expected"),
    (["rules", 6, "unless_stated"], "yes", "unless_stated: expected true or false"),
    (["rules", 10, "categories"], ["Toys", "Toys"], "distinct"),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD)
def test_bad_documents_are_refused_in_one_line(path: list[Any], value: Any, says: str) -> None:
    with pytest.raises(BadGuardrails, match=says) as caught:
        GuardrailPolicy.from_json(_changed(path, value))
    assert "\n" not in str(caught.value)


def test_the_schema_knows_exactly_the_fields_the_parser_takes() -> None:
    schema: Any = json_schema()
    rules = {
        one["properties"]["rule"]["const"]: one
        for one in schema["properties"]["rules"]["items"]["oneOf"]
    }
    assert set(rules) == set(RULE_KINDS)
    for rule in EVERY_KIND["rules"]:
        assert set(rules[rule["rule"]]["required"]) <= set(rule)
        assert set(rule) <= set(rules[rule["rule"]]["properties"])


# --- signature and rollback


def test_only_the_pinned_key_can_sign() -> None:
    signed = sign_policy(DEFAULT_GUARDRAILS, KEY)
    assert open_signed(signed, KEY.public_key) == DEFAULT_GUARDRAILS
    with pytest.raises(BadGuardrails, match="pinned"):
        open_signed(signed, SigningKey(b"\1" * 32).public_key)
    with pytest.raises(BadGuardrails, match="pinned"):
        open_signed(signed.replace(b'"times":3', b'"times":9'), KEY.public_key)
    with pytest.raises(BadGuardrails, match="signature"):
        open_signed(DEFAULT_GUARDRAILS.to_bytes(), KEY.public_key)
    with pytest.raises(BadGuardrails, match="unknown field"):
        open_signed(signed[:-1] + b',"x":1}', KEY.public_key)
    with pytest.raises(BadGuardrails, match="repeat"):
        open_signed(b'{"policy": {}, "policy": {}}', KEY.public_key)


def _version(version: int, times: int = 3) -> bytes:
    document = _changed(["version"], version)
    document["rules"][2]["times"] = times
    return sign_policy(GuardrailPolicy.from_json(document), KEY)


def test_older_rules_do_not_come_back(tmp_path: Path) -> None:
    keys = FileKeyProvider(tmp_path / "key")
    with Store.open(tmp_path / "p.db", keys) as store:
        held = InstalledGuardrails(Facts(store))
        assert held.get() is None
        held.install(_version(3), KEY.public_key)
        held.install(_version(3), KEY.public_key)
        held.install(_version(4), KEY.public_key)
        with pytest.raises(RollbackRefused, match="above 4"):
            held.install(_version(3), KEY.public_key)
        with pytest.raises(RollbackRefused, match="two different"):
            held.install(_version(4, times=9), KEY.public_key)
        other = GuardrailPolicy.from_json(_changed(["app"], "other"))
        with pytest.raises(BadGuardrails, match="of the app"):
            held.install(sign_policy(other, KEY), KEY.public_key)
    with Store.open(tmp_path / "p.db", keys) as store:
        policy = InstalledGuardrails(Facts(store)).get()
        assert policy is not None
        assert policy.version == 4
