"""Trust levels on a real ledger: what is charged, what is refused, what is derived offline."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.release import ReleaseStatement
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.explanation import explain
from tacit.server.budget.facts import release_facts
from tacit.server.budget.statement import account_statements
from tacit.server.errors import FailedPrecondition, Refused
from tacit.server.ledger.contents import LedgerContents, read_node

Z = 8.0
USUAL = ("central", "local")


@pytest.fixture(scope="module", autouse=True)
def libraries_are_imported() -> None:
    """The ledger's first claim imports them, which may outlast a client's patience."""
    Accountant().wait_until_ready()


def at_level(deployment: Any, level: str, **change: Any) -> TaskManifest:
    task: TaskManifest = deployment.task(rounds=2, z=Z)
    fields: dict[str, Any] = {"trust_level": level, "task_id": f"task-{level}"}
    if level == "local":
        fields["neighboring_relation"] = "replace"
    if level == "consent-only":
        silent = [dataclasses.replace(plan, noise_multiplier=0.0) for plan in task.rounds]
        fields |= {
            "rounds": tuple(silent),
            "neighboring_relation": "",
            "epsilon": None,
            "target_delta": None,
            "budget_account": "",
        }
    return dataclasses.replace(task, **(fields | change))


def open_account(deployment: Any, *levels: str) -> None:
    terms = {"allowed_levels": levels} if levels else {}
    account = deployment.account(**terms)
    deployment.client("operator").append_governance("account", account.to_json())


def publish(deployment: Any, task: TaskManifest) -> None:
    deployment.client("coordinator").append_governance("task", task.to_json())


def reserve(deployment: Any, task: TaskManifest, round_id: int, **change: Any) -> None:
    event = task.event(task.round_plan(round_id))
    document = deployment.reserve(task, round_id, **({"event": event} | change))
    deployment.client("coordinator").reserve(document)


def pay(deployment: Any, task: TaskManifest) -> None:
    for plan in task.rounds:
        reserve(deployment, task, plan.round_id)
        name = f"{task.task_id}/{plan.round_id}"
        deployment.client("coordinator").commit("main", name, "ab" * 32)


def release(deployment: Any, task: TaskManifest, version: int = 1, **change: Any) -> None:
    client, model = deployment.client("coordinator"), b"model"
    client.put_blob(model)
    fields: dict[str, Any] = {"version": version, "trust_level": task.trust_level}
    if task.target_delta is None:
        fields |= {"epsilon": None, "target_delta": None, "reservations": ()}
    else:
        claim = epsilon_without_libraries(task.events(), task.target_delta)
        fields |= {
            "epsilon": claim.epsilon,
            "statement": ReleaseStatement.of(claim, task.participation_bound),
        }
    body = deployment.release(task, model, **(fields | change)).to_json()
    client.append_governance("release", body)


def record(deployment: Any, task: TaskManifest, round_id: int, context: str = "cd" * 32) -> None:
    body = RoundRecord(task.digest().hex(), round_id, context).to_json()
    deployment.client("coordinator").append_governance("round", body)


def contents(deployment: Any) -> LedgerContents:
    deployment.stop()
    return read_node(deployment.config)


class TestLocal:
    def test_epsilon_is_derived_again_offline_from_its_events(self, deployment: Any) -> None:
        open_account(deployment)
        task = at_level(deployment, "local")
        publish(deployment, task)
        pay(deployment, task)
        release(deployment, task)
        deployment.stop()
        report = deployment.verify()
        expected = round_up(epsilon_bound([GaussianEvent(Z, 2)], deployment.delta))
        (account,), (made,) = report.accounts, report.releases
        assert account.spent_epsilon == made.epsilon == expected
        for context in (account.context, made.context):
            assert context["trust_level"] == "local"
            assert context["neighboring_relation"] == "replace"
            assert context["claim"] == "(ε₀,δ) against everyone."

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (GaussianEvent(Z), "event of trust level local, got central"),
            (GaussianEvent(Z, 1, 4096, "local"), "expected sensitivity 8192, got 4096"),
            (GaussianEvent(2 * Z, 1, 8192, "local"), "expected noise multiplier 8.0"),
        ],
    )
    def test_a_spend_that_is_not_the_planned_one_is_refused(
        self, deployment: Any, event: GaussianEvent, line: str
    ) -> None:
        open_account(deployment)
        task = at_level(deployment, "local")
        publish(deployment, task)
        with pytest.raises(Refused, match=line):
            reserve(deployment, task, 1, event=event)

    def test_a_local_event_on_a_central_task_is_refused(self, deployment: Any) -> None:
        open_account(deployment)
        task = at_level(deployment, "central")
        publish(deployment, task)
        with pytest.raises(Refused, match="event of trust level central, got local"):
            reserve(deployment, task, 1, event=GaussianEvent(Z, 1, 8192, "local"))
        # Spelled out, the sensitivity of a central event is that of its round.
        reserve(deployment, task, 1, event=GaussianEvent(Z, 1, 4096))

    def test_a_release_of_another_level_than_its_task_is_refused(self, deployment: Any) -> None:
        open_account(deployment)
        task = at_level(deployment, "local")
        publish(deployment, task)
        pay(deployment, task)
        with pytest.raises(Refused, match="expected trust level local of its task, got central"):
            release(deployment, task, trust_level="central")

    def test_an_account_may_leave_it_out(self, deployment: Any) -> None:
        open_account(deployment, "central")
        with pytest.raises(Refused, match="trust level local is not allowed by account main"):
            publish(deployment, at_level(deployment, "local"))


class TestConsentOnly:
    def test_a_cap_is_not_passed_by_in_silence(self, deployment: Any) -> None:
        open_account(deployment)
        for account in ("main", ""):
            task = at_level(deployment, "consent-only", budget_account=account)
            with pytest.raises(Refused, match=r"consent-only is not allowed|budget account main"):
                publish(deployment, task)

    def test_an_account_that_names_it_allows_it(self, deployment: Any) -> None:
        open_account(deployment, *USUAL, "consent-only")
        task = at_level(deployment, "consent-only", budget_account="main")
        publish(deployment, task)
        for plan in task.rounds:
            record(deployment, task, plan.round_id)
        release(deployment, task)
        (statement,) = account_statements(contents(deployment))
        assert statement.spent.epsilon == 0.0
        sections = dict(explain(statement))
        assert "“Raw profiles do not leave the device.”" in sections["Trust level consent-only"]
        assert "task-consent-only" in sections["Not covered"]
        (card,) = release_facts(read_node(deployment.config), Accountant())
        text = json.dumps(card.to_json(), ensure_ascii=False)
        for word in ("epsilon", "delta", "ε", "differential"):
            assert word not in text
        assert not re.search(r"(?<![A-Za-z0-9+/])DP(?![A-Za-z0-9+/])", text)

    def test_without_an_account_the_ledger_shows_no_figure(self, deployment: Any) -> None:
        task = at_level(deployment, "consent-only")
        publish(deployment, task)
        for plan in task.rounds:
            record(deployment, task, plan.round_id)
            record(deployment, task, plan.round_id)  # repeating it changes nothing
        release(deployment, task)
        deployment.stop()
        report = deployment.verify()
        assert report.governance_size == 1 + 2 + 1
        text = json.dumps(report.to_json(), ensure_ascii=False)
        for word in ("epsilon", "delta", "accountant", "ε", "neighboring"):
            assert word not in text
        assert not re.search(r"(?<![A-Za-z0-9+/])DP(?![A-Za-z0-9+/])", text)  # keys are Base64
        assert "Raw profiles do not leave the device." in text
        (card,) = release_facts(read_node(deployment.config), Accountant())
        assert (card.claim, card.to_json()["trust_level"]) == (None, "consent-only")

    def test_a_release_from_before_the_account_keeps_its_card(self, deployment: Any) -> None:
        task = at_level(deployment, "consent-only")
        publish(deployment, task)
        for plan in task.rounds:
            record(deployment, task, plan.round_id)
        release(deployment, task)
        open_account(deployment)
        paid = at_level(deployment, "central")
        publish(deployment, paid)
        pay(deployment, paid)
        release(deployment, paid, version=2)
        cards = release_facts(contents(deployment), Accountant())
        assert [card.to_json()["trust_level"] for card in cards] == ["consent-only", "central"]
        assert cards[0].claim is None
        assert cards[1].lifetime_epsilon > 0

    def test_an_account_opened_since_ends_it(self, deployment: Any) -> None:
        task = at_level(deployment, "consent-only")
        publish(deployment, task)
        record(deployment, task, 1)
        open_account(deployment)
        with pytest.raises(Refused, match="expected budget account main"):
            record(deployment, task, 2)

    def test_nothing_can_be_reserved(self, deployment: Any) -> None:
        open_account(deployment, "consent-only")
        task = at_level(deployment, "consent-only", budget_account="main")
        publish(deployment, task)
        paid = at_level(deployment, "central")
        with pytest.raises(Refused, match="consent-only spends nothing"):
            reserve(deployment, paid, 1, task_sha256=task.digest().hex())

    @pytest.mark.parametrize(
        ("rounds", "change", "line"),
        [
            ((1,), {}, "round 2 is not on record"),
            ((1, 2), {"reservations": ("x",)}, "expected no reservation"),
            ((1, 2), {"trust_level": "central", "epsilon": 1.0, "target_delta": 1e-6}, "expected"),
        ],
    )
    def test_a_release_that_does_not_fit_is_refused(
        self, deployment: Any, rounds: tuple[int, ...], change: dict[str, Any], line: str
    ) -> None:
        task = at_level(deployment, "consent-only")
        publish(deployment, task)
        for round_id in rounds:
            record(deployment, task, round_id)
        with pytest.raises(Refused, match=line):
            release(deployment, task, **change)

    def test_a_round_that_does_not_fit_is_refused(self, deployment: Any) -> None:
        task = at_level(deployment, "consent-only")
        with pytest.raises(Refused, match="its task is not in the governance log"):
            record(deployment, task, 1)
        publish(deployment, task)
        record(deployment, task, 1)
        with pytest.raises(Refused, match="another context"):
            record(deployment, task, 1, "ef" * 32)
        with pytest.raises(Refused, match="has no round 3"):
            record(deployment, task, 3)

    def test_a_paid_round_is_not_put_on_record_as_unpaid(self, deployment: Any) -> None:
        open_account(deployment)
        task = at_level(deployment, "central")
        publish(deployment, task)
        with pytest.raises(Refused, match="reserved and committed"):
            record(deployment, task, 1)


def test_levels_of_one_account_compose_and_the_claim_says_so(deployment: Any) -> None:
    open_account(deployment)
    for version, level in enumerate(("central", "local"), 1):
        task = at_level(deployment, level)
        publish(deployment, task)
        pay(deployment, task)
        release(deployment, task, version)
    (statement,) = account_statements(contents(deployment))
    assert statement.spent.epsilon == round_up(
        epsilon_bound([GaussianEvent(Z, 4)], deployment.delta)
    )
    assert statement.spent.trust_level == "central"
    assert statement.spent.neighboring_relation == "zero_out"
    sections = dict(explain(statement))
    assert {"Trust level central", "Trust level local"} <= set(sections)
    assert "set to zero" in sections["Adjacency"]
    # That somebody took part at level local is visible, so nothing is said of its odds.
    assert "rather than nothing" in sections["The claim"]
    assert "having taken part" not in sections["The claim"]
    report = deployment.verify()
    assert [one.context["trust_level"] for one in report.releases] == ["central", "local"]
    assert report.releases[0].epsilon == report.releases[1].epsilon


def test_a_task_of_a_population_without_an_account_pays_nobody(deployment: Any) -> None:
    from tacit.server.ledger.governance import check_task

    task = at_level(deployment, "central")
    with pytest.raises(FailedPrecondition, match="which has none"):
        check_task(task, None, Accountant())
