"""A node does not start on look-up tables that are not what its logs say; one edit each."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from tacit.privacy.account_change_documents import ApprovalDocument, ChangeDocument
from tacit.privacy.consent import NoticeShown
from tacit.privacy.notice import NoticeDocument
from tacit.server.errors import StateCorrupt
from tacit.server.ledger import table_check
from tacit.server.ledger.governance import KIND_ROLES

DAY_MS = 86_400_000
NOTICE = NoticeDocument("privacy", "2", "en", "We learn from clipped, noised sums.")
EDITS = [
    ("notices", f"UPDATE notices SET sha256 = '{'0' * 64}'"),
    ("notices", "DELETE FROM notices"),
    ("accounts", "UPDATE accounts SET position = position + 1"),
    ("accounts", "UPDATE accounts SET body = x'7b7d'"),
    ("account_standings", "UPDATE account_standings SET body = x'7b7d'"),
    ("account_standings", "DELETE FROM account_standings"),
    ("account_changes", "UPDATE account_changes SET state = 'proposed'"),
    ("account_changes", "UPDATE account_changes SET decided_at_ms = decided_at_ms - 1"),
    ("tasks", "UPDATE tasks SET task_id = 'task-9'"),
    ("tasks", "UPDATE tasks SET body = x'7b7d'"),
    ("rounds", f"INSERT INTO rounds VALUES ('{'0' * 64}', 1, x'7b7d', 1)"),
    ("releases", "UPDATE releases SET version = 2"),
    ("releases", "DELETE FROM releases"),
    ("audits", f"INSERT INTO audits VALUES ('{'0' * 64}', x'7b7d', 1)"),
    ("map_epochs", "UPDATE map_epochs SET consent_size = consent_size - 1"),
    ("devices", "UPDATE devices SET population = 'other'"),
    ("devices", f"UPDATE devices SET public_key = x'{'00' * 32}'"),
    ("subjects", "UPDATE subjects SET sequence = sequence - 1 WHERE sequence = 2"),
    ("consent_events", "UPDATE consent_events SET position = position + 9 WHERE sequence = 2"),
    ("consent_events", "DELETE FROM consent_events WHERE sequence = 2"),
    ("consent_states", "UPDATE consent_states SET signals = 'rating' WHERE signals = ''"),
    ("consent_states", "UPDATE consent_states SET valid_until_ms = valid_until_ms + 1"),
    ("consent_states", "DELETE FROM consent_states WHERE signals = ''"),
    ("map_entries", f"UPDATE map_entries SET value = x'{'00' * 32}'"),
]


def make_history(deployment: Any) -> Any:
    """Write to every table: two devices, one of which withdrew, a changed account; returns a task.

    Nobody is erased, so every consent leaf has its event.
    """
    operator, stub = deployment.client("operator"), deployment.stub()
    operator.append_governance("notice", NOTICE.to_json())
    for withdraws in (False, True):
        device = deployment.device(stub)
        given = device.event()
        shown = NoticeShown("privacy", "2", NOTICE.text_digest(), "en", given.event_time_ms)
        device.append(dataclasses.replace(given, notice=shown))
        if withdraws:
            device.append(device.event("withdrawn", notice=shown))
    account = deployment.governed_account()
    operator.append_governance("account", account.to_json())
    alice, bob = (
        deployment.client("officer", key=deployment.officers[name]) for name in ("alice", "bob")
    )
    standing = operator.show_budget("main").standing_sha256
    raised = dataclasses.replace(account.account().terms, cap_epsilon=9.0)
    expires_at_ms = deployment.task().issued_at_ms + DAY_MS
    change = ChangeDocument("main", standing, "a longer study", expires_at_ms, raised)
    alice.append_governance("account.change", change.to_json())
    bob.append_governance("account.approval", ApprovalDocument("main", change.sha256()).to_json())
    task, coordinator = deployment.task(), deployment.client("coordinator")
    coordinator.append_governance("task", task.to_json())
    for plan in task.rounds:
        coordinator.reserve(deployment.reserve(task, plan.round_id))
        noised = hashlib.sha256(bytes([plan.round_id])).hexdigest()
        coordinator.commit("main", f"{task.task_id}/{plan.round_id}", noised)
    model = b"model"
    coordinator.put_blob(model)
    spent = float(coordinator.show_budget("main").epsilon_spent)
    release = deployment.release(task, model, epsilon=spent)
    coordinator.append_governance("release", release.to_json())
    return task


@pytest.mark.timeout(300)
def test_an_edited_row_of_any_table_is_named_and_nothing_is_served(deployment: Any) -> None:
    make_history(deployment)
    alerts = deployment.client("operator").show_budget("main").alerts
    assert alerts, "a standing without alerts would leave their check untested"
    deployment.stop()
    deployment.start()  # as it is, it starts again
    deployment.stop()
    for table, statement in EDITS:
        kept = deployment.keep_copy()
        deployment.execute(statement)
        with pytest.raises(StateCorrupt) as refused:
            deployment.start()
        line = str(refused.value)
        assert "\n" not in line
        assert f"table {table}, entry " in line, f"{statement}: {line}"
        deployment.put_back(kept)
    deployment.start()
    assert float(deployment.client("operator").show_budget("main").cap_epsilon) == 9.0
    deployment.stop()


def test_an_edited_retraining_is_named(deployment: Any) -> None:
    task = make_history(deployment)
    deployment.device().erase((task.digest().hex(), 1))
    deployment.client("operator").retrain("shop", "ranking", "a person asked")
    deployment.stop()
    deployment.start()  # as it is, it starts again
    deployment.stop()
    for edit in (
        "UPDATE retrainings SET body = x'7b7d'",
        "UPDATE retrainings SET population = 'other'",
        "DELETE FROM retrainings",
    ):
        kept = deployment.keep_copy()
        deployment.execute(edit)
        with pytest.raises(StateCorrupt, match=r"table retrainings, entry [0-9a-f]{64}: "):
            deployment.start()
        deployment.put_back(kept)


def test_what_an_erased_device_left_behind_is_no_contradiction(deployment: Any) -> None:
    devices = [deployment.device(deployment.stub()) for _ in range(2)]
    for device in devices:
        device.append(device.event())
    devices[0].erase()
    deployment.stop()
    deployment.start()
    (state,) = deployment.client("gateway").consent_states("learn")
    assert state.device_id == devices[1].key.key_id
    deployment.stop()
    deployment.execute("UPDATE consent_states SET signals = ''")
    with pytest.raises(StateCorrupt, match=r"table consent_states, entry \S+ learn: "):
        deployment.start()


def test_rows_are_derived_from_every_kind_of_entry(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_check, "KIND_ROLES", {**KIND_ROLES, "a new kind": "operator"})
    with pytest.raises(NotImplementedError, match="a new kind"):
        deployment.start()
