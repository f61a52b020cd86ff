"""The linter finds what is wrong, and nothing in a policy that is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacit.client import Catalogue
from tacit.client.guardrails import DEFAULT_GUARDRAILS, GuardrailPolicy, sign_policy
from tacit.client.guardrails.lint import lint
from tacit.privacy.signatures import SigningKey

KEY = SigningKey(b"\7" * 32)
CATALOGUE = Catalogue.build([("kettle", "Kettle", ["Kitchen"]), ("rake", "Rake", ["Garden"])])


def _quiet(start: int, end: int, zone: str = "person") -> dict[str, Any]:
    return {"rule": "quiet_hours", "from_minute": start, "to_minute": end, "time_zone": zone}


def _cap(when: str, *limits: tuple[int, int]) -> dict[str, Any]:
    held = [{"times": times, "within_hours": hours} for times, hours in limits]
    return {"rule": "channel_cap", "capped_when": when, "limits": held}


def _tired(times: int, hours: int, **scope: Any) -> dict[str, Any]:
    return {"rule": "shown_too_often", "times": times, "within_hours": hours, **scope}


def _codes(*rules: dict[str, Any], signed: bool = True) -> list[tuple[str, str]]:
    document = {
        "type": "tacit.guardrails/1",
        "app": "shop",
        "version": 1,
        "issued_at_ms": 0,
        "rules": [{"id": f"r{n}", **rule} for n, rule in enumerate(rules)],
    }
    data = json.dumps(document, indent=2).encode()
    if signed:
        data = sign_policy(GuardrailPolicy.from_json(document), KEY)
    return [(f.code, f.rule) for f in lint(data, public_key=KEY.public_key, catalogue=CATALOGUE)]


def test_the_default_policy_has_no_finding() -> None:
    assert lint(sign_policy(DEFAULT_GUARDRAILS, KEY), public_key=KEY.public_key) == []


CASES: list[tuple[list[dict[str, Any]], list[tuple[str, str]]]] = [
    ([_quiet(0, 0)], [("contradiction", "r0")]),
    ([_quiet(0, 720), _quiet(720, 0)], [("contradiction", "r0, r1")] * 5),
    ([_quiet(0, 60), _quiet(1320, 300)], [("never-fires", "r0")]),
    ([_quiet(0, 60, "Mars/Olympus")], [("unknown-zone", "r0")]),
    (
        [
            {"rule": "only_categories", "categories": ["Kitchen"]},
            {"rule": "exclude", "categories": ["Kitchen", "Garden"]},
        ],
        [("contradiction", "r0")],
    ),
    (
        [
            {"rule": "only_categories", "categories": ["Kitchen"]},
            {"rule": "only_categories", "categories": ["Garden"]},
        ],
        [("contradiction", "r0")],
    ),
    ([_tired(3, 24), _tired(5, 24)], [("never-fires", "r1")]),
    ([_tired(5, 24), _tired(3, 168)], [("never-fires", "r0")]),
    ([_tired(3, 24), _tired(3, 24)], [("never-fires", "r1")]),
    ([_tired(3, 24, surfaces=["home"]), _tired(5, 24)], []),
    ([_tired(3, 24, surfaces=["home"]), _tired(3, 24, surfaces=["cart"])], []),
    ([_tired(3, 24, surfaces=["push/cart"], channels=["email"])], [("never-fires", "r0")]),
    ([_cap("any_reached", (2, 24), (5, 24))], [("never-fires", "r0")]),
    ([_cap("any_reached", (2, 24), (5, 168))], []),
    ([_cap("all_reached", (2, 24), (5, 24))], [("never-fires", "r0")]),
    ([{"rule": "exclude"}], [("never-fires", "r0")]),
    ([{"rule": "exclude", "categories": ["Toys"]}], [("unknown-category", "r0")]),
    ([{"rule": "exclude", "items": ["robot"]}], [("unknown-item", "r0")]),
    ([{"rule": "out_of_stock"}, {"rule": "out_of_stock"}], [("never-fires", "r1")]),
]


@pytest.mark.parametrize(("rules", "expected"), CASES)
def test_each_fault_is_found_and_nothing_else(
    rules: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert _codes(*rules) == expected


def test_all_malformed_fields_are_named_at_once() -> None:
    data = json.dumps({"type": "x", "rules": [{"id": "a", "rule": "out_of_stock", "z": 1}]})
    messages = [finding.message for finding in lint(data.encode())]
    assert "unknown field 'z'" in messages
    assert "type: expected 'tacit.guardrails/1'" in messages
    assert any("signature" in message for message in messages)


def test_a_missing_or_foreign_signature_is_found() -> None:
    assert _codes({"rule": "out_of_stock"}, signed=False) == [("unsigned", "")]
    signed = sign_policy(DEFAULT_GUARDRAILS, KEY)
    foreign = SigningKey(b"\1" * 32).public_key
    assert [f.code for f in lint(signed, public_key=foreign)] == ["unsigned"]
    assert lint(signed) == []
    assert [f.code for f in lint(b"not json")] == ["malformed"]
