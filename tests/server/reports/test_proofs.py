"""What a report says of verification: which checkpoint, which key, and who else has seen it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import pytest

from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.cosignature import Quorum, Witness, cosign
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import split_note
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.contents import LedgerContents, LogContents
from tacit.server.reports import Period, VerifiedLedger, quarterly_review, verified

FIRST = Period(datetime.date(2026, 1, 1), datetime.date(2026, 3, 31))
KEY = SigningKey(b"w" * 32)
WITNESS = Witness("witness.example/w1", KEY.public_key)


def verification(ledger: VerifiedLedger, period: Period | None = None) -> dict[str, Any]:
    document: Any = quarterly_review(ledger, period).to_json()
    return {
        "data": document["data"],
        "blocks": [
            b for s in document["sections"] if s["heading"] == "Verification" for b in s["blocks"]
        ],
    }


def told(ledger: VerifiedLedger, name: str) -> str:
    (facts,) = [one for one in verification(ledger)["blocks"] if one["kind"] == "facts"]
    (row,) = [one for one in facts["rows"] if one["name"] == name]
    return " ".join(line["text"] for line in row["lines"])


def cosigned(contents: LedgerContents) -> LedgerContents:
    """Have the witness cosign the newest checkpoint of each log."""
    logs: dict[str, LogContents] = {}
    for name, log in contents.logs.items():
        notes = list(log.notes)
        if notes:
            text, _ = split_note(notes[-1])
            notes[-1] += cosign(text, KEY, WITNESS.name, 1_800_000_000).to_bytes()
        logs[name] = LogContents(log.entries, tuple(notes))
    return dataclasses.replace(contents, logs=logs)


def test_a_past_review_names_the_checkpoint_of_its_own_entries(year: VerifiedLedger) -> None:
    found = verification(year, FIRST)
    size = int(found["data"]["ledger_entries"])
    assert size < year.size
    (note,) = [b for b in found["blocks"] if b["kind"] == "listing" and "as signed" in b["caption"]]
    text = ("\n".join(note["lines"]) + "\n").encode()
    origin = "test.example/governance"
    checkpoint = verify_checkpoint(text, origin, origin, year.contents.keys.ledger_key)
    assert (checkpoint.size, checkpoint.root) == (size, year.tree.root(size))
    assert year.entries[size - 1].recorded_at_ms < FIRST.end_ms <= year.entries[size].recorded_at_ms


def test_witnesses_are_named_as_what_they_were_checked_as(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    contents = cosigned(writer.contents())
    quick = epsilon_without_libraries
    assert told(writer.verified(), "Witnesses").startswith("none was demanded")
    unchecked = verified(contents, compose=quick)
    assert "no key was given to check them with" in told(unchecked, "Witnesses")
    demanded = verified(contents, witnesses=Quorum((WITNESS,), 1), compose=quick)
    assert told(demanded, "Witnesses").startswith("1 of 1 demanded")
    with pytest.raises(VerificationFailed, match="0 of its 1 entries"):
        verified(writer.contents(), witnesses=Quorum((WITNESS,), 1), compose=quick)


def test_a_pinned_key_is_said_to_be_one(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    key = writer.node_key.public_key
    pinned = verified(writer.contents(), key, compose=epsilon_without_libraries)
    assert told(pinned, "Its key").endswith("known beforehand to whoever made this report")
    assert "not known beforehand" in told(writer.verified(), "Its key")
    with pytest.raises(VerificationFailed, match="pinned"):
        verified(writer.contents(), bytes(32), compose=epsilon_without_libraries)


def test_checkpoints_from_elsewhere_are_counted(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    known = writer.contents().logs["governance"].notes[-1]
    writer.notice()
    ledger = verified(writer.contents(), known=[known], compose=epsilon_without_libraries)
    assert "1 more from elsewhere" in told(ledger, "Re-derived")
