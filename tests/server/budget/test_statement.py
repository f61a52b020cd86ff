"""Statements, timelines, explanations and facts come from the ledger's events alone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_without_opacus, round_up
from tacit.privacy.accounting_closed_form import epsilon_lower
from tacit.privacy.budget import ReservationState
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.explanation import explain
from tacit.server.budget.facts import release_facts
from tacit.server.budget.statement import account_statements, find_account
from tacit.server.errors import NotFound, VerificationFailed
from tacit.server.ledger.contents import LedgerContents, LogContents, read_database

DELTA = 1e-6


def composed(*events: GaussianEvent) -> float:
    return round_up(epsilon_bound(events, DELTA))


@pytest.fixture
def contents(deployment: Any) -> LedgerContents:
    """One released task of three rounds, then one with a commit, an abort and an open spend."""
    deployment.run_task()
    second = deployment.task(rounds=3, z=20.0, task_id="task-2")
    coordinator = deployment.client("coordinator")
    coordinator.append_governance("task", second.to_json())
    for round_id in (1, 2, 3):
        coordinator.reserve(deployment.reserve(second, round_id))
    coordinator.commit("main", "task-2/1", hashlib.sha256(b"noised").hexdigest())
    coordinator.abort("task-2/2", "nobody came")
    deployment.stop()
    return read_database(deployment.state_dir)


def test_statement_composes_events_and_never_adds(contents: LedgerContents) -> None:
    (one,) = account_statements(contents)
    first, second = GaussianEvent(8.0, 3), GaussianEvent(20.0, 2)
    assert one.spent.epsilon == composed(first, second)
    assert one.spent.epsilon < composed(first) + composed(second)
    assert epsilon_lower([first, second], DELTA) - 1e-6 <= one.spent.epsilon_lower
    assert one.spent.epsilon_lower <= one.spent.epsilon
    assert one.released.epsilon == composed(first, GaussianEvent(20.0))
    assert one.by_purpose["learn"].epsilon == one.spent.epsilon
    assert [one.count(state) for state in ReservationState] == [1, 4, 1]
    document: dict[str, Any] = one.to_json()
    assert document["quotas"]["learn"]["spent_epsilon"] == one.spent.epsilon
    states = [held["state"] for held in document["reservations"]]
    assert states == ["committed"] * 4 + ["aborted", "reserved"]


def test_timeline_says_where_the_account_stood_after_each_step(contents: LedgerContents) -> None:
    (one,) = account_statements(contents)
    kinds = [step.kind.removeprefix("budget.") for step in one.steps]
    expected = ["account", *["reserve", "commit"] * 3, "release", *["reserve"] * 3]
    assert kinds == [*expected, "commit", "abort"]
    assert one.steps[0].spent_epsilon == 0.0
    release = one.steps[7]
    assert release.spent_epsilon == release.released_epsilon == composed(GaussianEvent(8.0, 3))
    highest, last = one.steps[-2], one.steps[-1]
    assert highest.spent_epsilon == composed(GaussianEvent(8.0, 3), GaussianEvent(20.0, 3))
    assert last.spent_epsilon == one.spent.epsilon < highest.spent_epsilon
    assert all(step.released_epsilon <= step.spent_epsilon for step in one.steps)


def test_facts_are_the_releases_own_confirmed_figures(contents: LedgerContents) -> None:
    (card,) = release_facts(contents, Accountant(epsilon_without_opacus))
    document: dict[str, Any] = card.to_json()
    assert document["epsilon"] == card.release.epsilon == composed(GaussianEvent(8.0, 3))
    assert document["lifetime_epsilon"] == document["epsilon"]  # as of that release
    assert document["delta"] == DELTA
    assert (document["unit"], document["neighboring_relation"]) == ("user", "add_remove")
    assert (document["participation"], document["sampling"]) == ("full", "none")
    assert document["accountant"] == "tacit-gaussian 1"
    assert all("dp-accounting" in one["accountant"] for one in document["cross_checks"])
    assert len(document["mechanism"]["events"]) == 3
    assert document["claim"].startswith("Released models are")
    assert contents.keys.ledger_key.hex() in document["security_rationale"]
    assert document["exclusions"]
    assert document["implementation"].startswith("tacit ")


def test_explanation_says_all_that_must_stand_beside_epsilon(contents: LedgerContents) -> None:
    (one,) = account_statements(contents)
    sections = dict(explain(one))
    assert repr(one.spent.epsilon) in sections["The claim"]
    assert "Reserved but not committed: 1" in sections["The claim"]
    assert "Aborted: 1" in sections["The claim"]
    assert "The operator can see your contribution." in sections["Trust level central"]
    assert "below 1/100" in sections["Delta"]
    assert "tacit-gaussian 1" in sections["Accountant"]
    needed = {"Unit", "Adjacency", "Participation", "Sampling", "Not covered", "Not meant"}
    assert needed <= set(sections)


def test_an_account_that_spent_nothing_claims_nothing(deployment: Any) -> None:
    deployment.open_account()
    deployment.stop()
    (one,) = account_statements(read_database(deployment.state_dir))
    assert one.spent.epsilon == 0.0
    assert "nothing is claimed" in dict(explain(one))["The claim"]
    assert release_facts(read_database(deployment.state_dir), Accountant()) == ()


def test_accounts_are_found_by_name(contents: LedgerContents) -> None:
    statements = account_statements(contents)
    assert find_account(statements, None) is find_account(statements, "main") is statements[0]
    with pytest.raises(NotFound, match="expected an account of this ledger"):
        find_account(statements, "other")
    with pytest.raises(NotFound, match="the ledger has: none"):
        find_account((), None)


@pytest.mark.parametrize("read", [account_statements, release_facts])
def test_no_figure_comes_from_a_log_that_breaks_a_rule(
    contents: LedgerContents, read: Callable[[LedgerContents, Accountant], object]
) -> None:
    log = contents.logs["governance"]
    without_spend = tuple(entry for entry in log.entries if b"task-1/2" not in entry)
    assert len(without_spend) < len(log.entries)
    logs = {**contents.logs, "governance": LogContents(without_spend, log.notes)}
    with pytest.raises(VerificationFailed):
        read(dataclasses.replace(contents, logs=logs), Accountant())
