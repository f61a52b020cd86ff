"""Officers change the trust levels of an account: what it stops, and what is said of it."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.explanation import explain
from tacit.server.budget.statement import AccountStatement, account_statements
from tacit.server.errors import FailedPrecondition
from tacit.server.ledger.contents import read_database

UNPAID = ("central", "local", "consent-only")
MODEL = b"a model"


def allow(desk: Any, *levels: str) -> None:
    desk.agree(dataclasses.replace(desk.standing().account.terms, allowed_levels=levels))


def statement_of(desk: Any) -> AccountStatement:
    desk.close()
    contents = read_database(desk.directory / "state")
    (one,) = account_statements(contents, Accountant(epsilon_without_libraries))
    return one


def release_unpaid(desk: Any) -> TaskManifest:
    """Publish, run and release a task at consent-only."""
    task: TaskManifest = desk.task(
        "raw",
        z=0.0,
        rounds=1,
        trust_level="consent-only",
        neighboring_relation="",
        epsilon=None,
        target_delta=None,
    )
    digest = task.digest().hex()
    desk.append("round", RoundRecord(digest, 1, "cd" * 32).to_json())
    desk.node.blobs.put(MODEL)
    release = ReleaseManifest(
        population="shop",
        version=1,
        task_sha256=digest,
        model_sha256=hashlib.sha256(MODEL).hexdigest(),
        model_bytes=len(MODEL),
        catalogue_sha256=task.catalogue_sha256,
        reservations=(),
        epsilon=None,
        target_delta=None,
        created_at_ms=desk.now,
        kind="ranking",
        trust_level="consent-only",
        statement=None,
    )
    desk.append("release", release.to_json())
    return task


def test_a_level_taken_away_spends_no_more(desk: Any) -> None:
    desk.open_account()
    task = desk.task("t")
    desk.reserve(task, 1)
    allow(desk, "local")
    before = desk.state()
    with pytest.raises(FailedPrecondition, match="trust level central is not allowed by account"):
        desk.reserve(task, 2)
    assert desk.state() == before
    desk.commit("t/1")  # its noise may exist
    assert not desk.replayed().findings
    allow(desk, "local", "central")
    desk.reserve(task, 2)
    assert not desk.replayed().findings


def test_a_verifier_finds_a_spend_at_a_level_taken_away(desk: Any) -> None:
    desk.open_account()
    task = desk.task("t")
    spent = desk.reserve(task, 1).reservation
    allow(desk, "local")
    body = ReserveDocument(
        reservation_id="t/2",
        account_id="main",
        purpose="learn",
        idempotency_key="t/2",
        task_sha256=task.digest().hex(),
        round_id=2,
        context_sha256="cd" * 32,
        event=spent.events[0],
    ).to_json()
    late = desk.entry("budget.reserve", body, "coordinator").to_bytes()
    history = desk.replayed([*desk.entries(), late])
    (finding,) = history.findings
    assert "trust level central is not allowed by account main" in finding
    assert len(history.reservations["main"]) == 2  # what was spent is never understated


def test_explain_says_that_the_cap_no_longer_bounds_everything(desk: Any) -> None:
    desk.open_account()
    allow(desk, *UNPAID)
    allow(desk, "central", "local")
    changes = dict(explain(statement_of(desk)))["Changes"]
    assert "The cap no longer bounds everything that leaves devices: " in changes
    assert "The cap bounds everything that leaves devices from here on" in changes
    assert "no claim larger" not in changes


@pytest.mark.parametrize("spends", [False, True])
def test_an_unpaid_release_is_named_beside_the_claim(desk: Any, spends: bool) -> None:
    desk.open_account(allowed_levels=UNPAID)
    release_unpaid(desk)
    if spends:
        desk.reserve(desk.task("t"), 1)
    claim = dict(explain(statement_of(desk)))["The claim"]
    assert "nothing was released" not in claim
    assert "Released at trust level consent-only, with no claim at all" in claim
    assert ("so nothing is claimed" in claim) is not spends
    assert ("Everything ever released from account" in claim) is False
    assert ("Everything ever released and paid for from account" in claim) is spends


def test_delta_is_compared_after_officers_raised_it(desk: Any) -> None:
    desk.open_account()
    desk.task("t", cohort_max=900_000)
    terms = desk.standing().account.terms
    desk.agree(dataclasses.replace(terms, target_delta=1e-4))
    said = dict(explain(statement_of(desk)))["Delta"]
    assert "it does not lie below 1/900,000, one over the largest cohort" in said
    assert "it lies below 1/1,000, one over the population" in said
