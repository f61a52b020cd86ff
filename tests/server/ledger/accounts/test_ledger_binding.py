"""What two officers agreed on one ledger holds on no other, whatever its account says."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.privacy.canonical import Json, canonical_json
from tacit.privacy.errors import ChangeRefused
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.server.budget import officers as officers_module
from tacit.server.budget.officers import read_account
from tacit.server.errors import FailedPrecondition, NotFound
from tacit.server.ledger.tables import account_standings


@pytest.fixture(params=["another key", "another origin"])
def other(desk: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A second ledger with the same principals and clock, and its own key or its own origin."""
    kind: Any = desk.__class__
    twin: Any = kind.__new__(kind)
    twin.now, twin.keys, twin.directory = desk.now, desk.keys, tmp_path / "other"
    twin.directory.mkdir()
    changed = {"state_dir": str(twin.directory / "state")}
    if request.param == "another key":
        path = twin.directory / "node.key"
        path.write_text(SigningKey.generate(os.urandom).private_bytes().hex())
        changed["signing_key"] = str(path)
    else:
        changed["origin"] = "production.example"
    config = json.loads((desk.directory / "ledger.json").read_text())
    (twin.directory / "ledger.json").write_text(json.dumps(config | changed))
    twin.open_node()
    yield twin
    twin.close()


def raise_cap(desk: Any) -> tuple[GovernanceEntry, GovernanceEntry]:
    """Have two officers raise the cap, and return their entries."""
    terms = dataclasses.replace(
        desk.standing().account.terms, cap_epsilon=100.0, quotas={"learn": 100.0}
    )
    desk.agree(terms)
    change, approval = (GovernanceEntry.parse(one) for one in desk.entries()[-2:])
    return change, approval


def test_admission_refuses_what_was_agreed_on_another_ledger(desk: Any, other: Any) -> None:
    desk.open_account()
    other.open_account()
    change, approval = raise_cap(desk)
    before = other.state()
    with pytest.raises(ChangeRefused, match="terms or a window that are not in force"):
        other.node.governance.append(change)
    with pytest.raises(NotFound, match="no proposed change"):
        other.node.governance.append(approval)
    assert other.state() == before


def test_replay_refuses_what_was_agreed_on_another_ledger(desk: Any, other: Any) -> None:
    desk.open_account()
    other.open_account()
    both = [one.to_bytes() for one in raise_cap(desk)]
    history = other.replayed([*other.entries(), *both])
    assert len(history.findings) == 2
    assert "not in force" in history.findings[0]
    assert history.accounts["main"].cap_epsilon == 8.0
    assert not desk.replayed().findings
    assert desk.replayed().accounts["main"].cap_epsilon == 100.0


def test_admission_and_replay_stand_on_the_ledger_its_keys_name(desk: Any) -> None:
    desk.open_account()
    expected = desk.public_keys().identity
    assert expected.origin == "test.example/governance"
    raise_cap(desk)
    desk.reopen()
    assert desk.standing().ledger == desk.replayed().standings["main"].ledger == expected
    assert desk.standing().digest() == desk.replayed().standings["main"].digest()


def test_a_row_from_before_ledgers_were_named_is_read(desk: Any) -> None:
    desk.open_account()
    old: dict[str, Json] = {
        "revision": 0,
        "window": 1,
        "window_started_at_ms": desk.now,
        "reserved_before": 0,
        "carried": [],
        "alerts": [],
        "decided_at_ms": desk.now,
    }
    with desk.node.database.writing() as connection:
        connection.execute(update(account_standings).values(body=canonical_json(old)))
    desk.reopen()
    assert desk.standing() == desk.replayed().standings["main"]
    raise_cap(desk)
    assert desk.standing().account.cap_epsilon == 100.0


def test_each_part_of_the_identity_changes_the_digest(desk: Any) -> None:
    account = desk.open_account().account()
    digests = {
        AccountStanding.opened(account, 0, LedgerIdentity(origin, key)).digest()
        for origin in ("a/governance", "b/governance")
        for key in (bytes(32), b"\1" * 32)
    }
    assert len(digests) == 4


class Impostor:
    """A ledger that answers as another one, with that one's public keys and checkpoint."""

    def __init__(self, own: Any, shown: Any) -> None:
        self._own, self._shown = own, shown

    def checkpoint(self, log: Any) -> Any:
        return self._shown.checkpoint(log)

    def show_budget(self, account_id: str) -> Any:
        reply = self._own.show_budget(account_id)
        reply.ledger_keys = self._shown.show_budget(account_id).ledger_keys
        return reply

    def entries(self, start: int) -> list[bytes]:
        found: list[bytes] = self._own.entries(start)
        return found


def test_an_officer_is_shown_a_ledger_that_signed_what_it_shows(
    deployment: Any, tmp_path: Path
) -> None:
    second = type(deployment)(tmp_path / "second", deployment.authority)
    second.officers = deployment.officers
    second.write_config()
    try:
        for one in (deployment, second):
            one.client("operator").append_governance("account", one.governed_account().to_json())
        mine, theirs = deployment.client("operator"), second.client("operator")
        view = read_account(mine, None)
        assert view.standing.ledger.public_key == deployment.node_key.public_key
        assert view.standing.digest() != read_account(theirs, None).standing.digest()
        impostor: Any = Impostor(mine, theirs)
        with pytest.raises(FailedPrecondition, match="not those of its checkpoint"):
            officers_module.read_account(impostor, None)
        change = ChangeDocument(
            "main", view.standing.digest(), "r", view.standing.decided_at_ms + 3_600_000, None
        )
        officer = second.client("alice", second.officers["alice"])
        with pytest.raises(FailedPrecondition, match="not in force"):
            officer.append_governance("account.change", change.to_json())
    finally:
        second.stop()
