"""A card's figures, fields and proofs are those of the ledger, and it says all that belongs."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.privacy.trust import ASSUMPTIONS, CLAIMS, EXCLUSIONS, LOCAL_EXCLUSIONS
from tacit.server.errors import NotFound, VerificationFailed
from tacit.server.ledger.contents import LogContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.reports import Document, VerifiedLedger, deployment_card
from tacit.server.reports.proofs import EntryProof


def text_of(document: Document) -> str:
    """All words of a report, as JSON without its machine-readable part."""
    return json.dumps(document.to_json() | {"data": None}, ensure_ascii=False)


def test_figures_are_recomputed(year: VerifiedLedger) -> None:
    card = deployment_card(year, 1)
    document: Any = card.to_json()
    facts: dict[str, Any] = document["data"]["facts"]
    expected = round_up(epsilon_bound([GaussianEvent(8.0, 3)], 1e-6))
    assert facts == year.release_facts()[0].to_json()
    assert facts["epsilon"] == facts["lifetime_epsilon"] == expected
    words = text_of(card)
    assert f"ε at most {expected:.6f}" in words
    assert f"ε {expected:.6f} in window 1, of a cap of 1" in words


def test_says_all_that_a_regulator_asks(year: VerifiedLedger) -> None:
    words = text_of(deployment_card(year, 1, drawn_up=datetime.date(2026, 7, 1)))
    claim = json.dumps(CLAIMS["central"], ensure_ascii=False)[1:-1]
    for needed in (
        claim,
        ASSUMPTIONS["central"],
        *EXCLUSIONS,
        "Tier 3: its details",
        "tacit-gaussian 1",
        "one user, that is one device identity",
        "add/remove",
        "δ = 1e-06",
        "at most 3",
        "none is claimed",
        "discrete Gaussian",
        "no violation detected at power 0.999 against noise x0.9",
        "two of: alice, bob",
        "What you do stays here.",
        "https://w3id.org/dpv#ImproveExistingProductsAndServices",
        "to be added by the controller",
        "2026-07-01",
    ):
        assert needed in words, needed


def test_signatures_name_who_and_where(year: VerifiedLedger) -> None:
    card = deployment_card(year, 1)
    (section,) = [one for one in card.sections if one.heading == "Who approved and signed"]
    document: Any = section.to_json()
    rows: list[list[Any]] = document["blocks"][0]["rows"]
    told = {str(row[0]["text"]): (str(row[1]["text"]), str(row[4]["text"])) for row in rows}
    kinds = [entry.kind for entry in year.entries]
    assert told["signed the release"] == ("coordinator", str(kinds.index("release")))
    assert told["opened the budget account"] == ("operator", str(kinds.index("account")))
    reserved = [i for i, kind in enumerate(kinds) if kind == "budget.reserve"][:3]
    assert told["reserved, before the noise was drawn"][1] == ", ".join(map(str, reserved))


def test_approved_changes_before_a_release_are_on_its_card(
    new_writer: Callable[..., Any],
) -> None:
    writer = new_writer()
    writer.account(cap=0.5)
    terms = dataclasses.replace(
        writer.replayed().accounts["main"].terms, cap_epsilon=2.0, quotas={"learn": 2.0}
    )
    writer.later(1).approve(writer.propose(terms, "spring campaign"))
    writer.train(writer.later(1).task())
    words = text_of(deployment_card(writer.verified()))
    assert "cap ε 0.5 to 2, quota of learn 0.5 to 2" in words
    assert '"alice"' in words
    assert '"bob"' in words


def test_proofs_verify_without_the_project(year: VerifiedLedger) -> None:
    """Read the proofs off the report as a stranger would, with the ledger's key alone."""
    document: Any = deployment_card(year, 1).to_json()
    listings: list[dict[str, Any]] = [
        block
        for section in document["sections"]
        for block in section["blocks"]
        if block["kind"] == "listing"
    ]
    blocks = [one for one in listings if str(one["caption"]).startswith("Proof that ")]
    assert len(blocks) == 2
    origin, key = "test.example/governance", year.contents.keys.ledger_key
    for block, kind in zip(blocks, ("release", "task"), strict=True):
        text = "\n".join(block["lines"]) + "\n"
        head, _, note = text.partition("\n\n")
        name, index, *path = head.split("\n")
        assert name == "c2sp.org/tlog-proof@v1"
        place = int(index.removeprefix("index "))
        checkpoint = verify_checkpoint(note.encode(), origin, origin, key)
        entry = year.contents.logs[GOVERNANCE].entries[place]
        assert json.loads(entry)["kind"] == kind
        assert leaf_hash(entry).hex() in block["caption"]
        hashes = [base64.b64decode(one, validate=True) for one in path]
        verify_inclusion(leaf_hash(entry), place, checkpoint.size, hashes, checkpoint.root)


def test_every_entry_can_be_proven(year: VerifiedLedger) -> None:
    for index in range(year.size):
        proof = EntryProof.of(year, index)
        root = year.tree.root()
        verify_inclusion(proof.leaf_hash, index, year.size, list(proof.path), root)


def test_a_release_is_found_or_refused(year: VerifiedLedger) -> None:
    assert deployment_card(year).subtitle == "shop, release 1"
    with pytest.raises(NotFound, match="expected a release of shop from 1 to 1, got 7"):
        deployment_card(year, 7)
    with pytest.raises(NotFound, match=r"expected a population with releases \(shop\)"):
        deployment_card(year, population="other")


def test_nothing_released_is_refused(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    with pytest.raises(NotFound, match="nothing was released yet"):
        deployment_card(writer.verified())


def test_two_populations_have_to_be_told_apart(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    for name in ("shop", "club"):
        writer.account(account_id=name, population=name)
        task = writer.task(f"task-{name}", population=name, budget_account=name)
        for plan in task.rounds:
            writer.commit(writer.reserve(task, plan.round_id), name)
        writer.release(task)
    ledger = writer.verified()
    with pytest.raises(NotFound, match="one of: club, shop"):
        deployment_card(ledger, 1)
    assert deployment_card(ledger, 1, population="club").subtitle == "club, release 1"


def test_consent_only_has_no_word_of_a_guarantee(unpaid: VerifiedLedger) -> None:
    """As no report of that level may: the words `tests/journeys/test_levels.py` looks for."""
    card = deployment_card(unpaid)
    words = text_of(card) + json.dumps(dict(card.data)) + card.to_html()
    found = [one for one in ("epsilon", "ε", "differential", "accountant") if one in words.lower()]
    assert found == []
    assert not re.search(r"(?<![A-Za-z0-9+/])DP(?![A-Za-z0-9+/])", text_of(card))
    assert CLAIMS["consent-only"] in words
    assert ASSUMPTIONS["consent-only"] in words
    assert card.title == "Deployment card"


def test_at_level_local_devices_add_the_noise(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    writer.train(writer.task(trust_level="local", neighboring_relation="replace"))
    words = text_of(deployment_card(writer.verified()))
    for needed in (
        CLAIMS["local"],
        ASSUMPTIONS["local"],
        *LOCAL_EXCLUSIONS,
        "the sensitivity is 2L",
    ):
        assert needed in words
    assert "65,536" in words, "z times twice the integer norm: 8 x 2 x 4096"
    assert "replace: one user's contributions replaced by any others" in words


def test_a_ledger_that_does_not_verify_has_no_card(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    writer.train(writer.task())
    contents = writer.contents()
    entries = list(contents.logs[GOVERNANCE].entries)
    honest, entries[1] = entries[1], entries[1].replace(b":4096", b":4097")
    assert entries[1] != honest
    forged = LogContents(tuple(entries), contents.logs[GOVERNANCE].notes)
    logs = {**contents.logs, GOVERNANCE: forged}
    with pytest.raises(VerificationFailed, match="does not verify"):
        deployment_card(dataclasses.replace(contents, logs=logs))


def test_contents_are_verified_on_the_way(new_writer: Callable[..., Any]) -> None:
    writer = new_writer()
    writer.account()
    writer.train(writer.task())
    card = deployment_card(writer.contents())
    assert "confirms it" in text_of(card)
    assert "dp-accounting-pld" in text_of(card)
