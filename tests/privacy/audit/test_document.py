"""Records of audits: what they may say, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tacit.privacy.audit import AuditDocument, AuditTest, shortened
from tacit.privacy.canonical import Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument


def record(**changes: object) -> AuditDocument:
    tests = (
        AuditTest("noise", "z 1", False, 1e-6, {"noise x0.95": 0.985, "noise x0.5": 1.0}),
        AuditTest("sensitivity", "popularity/1", False, 0.0, {"a missing clip": 0.4}),
        AuditTest("sensitivity", "subspace/1", False, 0.0, {"a missing clip": 0.61}),
        AuditTest("ledger", "every entry", False, 0.0, {}),
    )
    whole = AuditDocument(
        "ab" * 32, "tacit 1", 7, "cd" * 32, ("ef" * 32,), (("shop", 1),), tests, ()
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def violated() -> AuditDocument:
    test = AuditTest("noise", "z 1", True, 1e-6, {})
    return record(tests=(test,), findings=("noise has 0.5000 of the scale it must have",))


@pytest.mark.parametrize("one", [record(), violated()])
def test_survives_the_log(one: AuditDocument) -> None:
    assert AuditDocument.from_json(parse_canonical(canonical_json(one.to_json()))) == one


def test_states_the_least_power_and_never_an_epsilon() -> None:
    assert record().statement == (
        "no violation detected at power 1.000 against noise x0.5, 0.985 against noise x0.95 "
        "(noise); 0.400 against a missing clip (sensitivity)"
    )
    assert violated().statement == "violation detected: 1 finding"
    for one in (record(), violated()):
        assert "ε" not in one.statement
        assert "epsilon" not in one.statement


def change(name: str, value: Json) -> Callable[[dict[str, Json]], None]:
    return lambda document: document.__setitem__(name, value)


@pytest.mark.parametrize(
    "edit",
    [
        change("statement", "no violation detected"),
        change("statement", "ε is 1.0"),
        change("findings", ["something"]),
        change("tests", []),
        change("log_size", 0),
        change("log_root", "zz" * 32),
        change("report_sha256", "AB" * 32),
        change("releases", [{"population": "shop", "version": 0}]),
        change("type", "tacit.audit-record/9"),
        change("extra", 1),
        change("findings", ["x" * 301]),
    ],
)
def test_refuses_what_its_own_fields_do_not_give(edit: Callable[[dict[str, Json]], None]) -> None:
    document = record().to_json()
    edit(document)
    with pytest.raises(BadDocument):
        AuditDocument.from_json(document)


@pytest.mark.parametrize("chance", [-0.1, 1.1])
def test_power_is_a_probability(chance: float) -> None:
    document = record(tests=(AuditTest("noise", "z", False, 0.0, {"x": chance}),)).to_json()
    with pytest.raises(BadDocument, match="probabilities"):
        AuditDocument.from_json(document)


def test_a_record_without_power_says_so() -> None:
    empty = record(tests=(AuditTest("ledger", "every entry", False, 0.0, {}),))
    assert empty.statement.endswith("0: nothing was tested")


def test_long_findings_are_cut_to_what_a_record_holds() -> None:
    kept = shortened(tuple("y" * 1000 for _ in range(60)))
    assert len(kept) == 50
    assert AuditDocument.from_json(dataclasses.replace(violated(), findings=kept).to_json())
