"""Audits in the governance log: who may append them, what is checked, and where they show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tacit.cli.budget import budget
from tacit.cli.ledger import ledger
from tacit.privacy.audit import AuditDocument, AuditTest
from tacit.privacy.errors import BadDocument
from tacit.privacy.merkle import leaf_hash, root
from tacit.server.errors import AlreadyExists, FailedPrecondition, PermissionDenied
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.export import write_export


def record(deployment: Any, task: Any, **changes: Any) -> AuditDocument:
    """A record of an audit of the log as it is now."""
    entries = deployment.client("operator").entries()
    whole = AuditDocument(
        report_sha256="ab" * 32,
        tool="tacit 0.1.0",
        log_size=len(entries),
        log_root=root([leaf_hash(one) for one in entries]).hex(),
        tasks=(task.digest().hex(),),
        releases=((deployment.population, 1),),
        tests=(AuditTest("noise", "z 8", False, 1e-6, {"noise x0.9": 1.0}),),
        findings=(),
    )
    return dataclasses.replace(whole, **changes)


def test_recorded_once_verified_and_shown(deployment: Any, tmp_path: Path) -> None:
    task = deployment.run_task()
    audit = record(deployment, task)
    auditor = deployment.client("auditor")
    index = auditor.append_governance("audit", audit.to_json())
    assert auditor.append_governance("audit", audit.to_json()) == index
    deployment.stop()
    report = deployment.verify()
    assert report.governance_size == index + 1
    (shown,) = report.audits
    assert (shown.report_sha256, shown.statement) == (audit.report_sha256, audit.statement)
    export = tmp_path / "export"
    write_export(read_node(deployment.config), export)
    listed = CliRunner().invoke(ledger, ["show", str(export)], env={"COLUMNS": "250"})
    assert f"abababababababab…: {audit.statement}" in listed.output
    verified = CliRunner().invoke(ledger, ["verify", str(export)])
    assert audit.statement in verified.output
    facts = CliRunner().invoke(budget, ["facts", str(export), "--json"])
    (card,) = json.loads(facts.output)["releases"]
    assert [one["statement"] for one in card["audits"]] == [audit.statement]
    printed = CliRunner().invoke(budget, ["facts", str(export)], env={"COLUMNS": "250"})
    assert audit.statement in printed.output


def test_a_violation_is_recorded_like_any_outcome(deployment: Any) -> None:
    task = deployment.run_task()
    tests = (AuditTest("noise", "z 8", True, 1e-6, {}),)
    audit = record(deployment, task, tests=tests, findings=("too little",))
    deployment.client("auditor").append_governance("audit", audit.to_json())
    deployment.stop()
    (shown,) = deployment.verify().audits
    assert shown.statement == "violation detected: 1 finding"
    assert shown.findings == ("too little",)


@pytest.mark.parametrize("role", ["operator", "coordinator", "gateway"])
def test_only_an_auditor_may(deployment: Any, role: str) -> None:
    task = deployment.open_account()
    audit = record(deployment, task, releases=())
    with pytest.raises(PermissionDenied, match="needs role auditor"):
        deployment.client(role).append_governance("audit", audit.to_json())
    with pytest.raises(PermissionDenied, match="needs role coordinator"):
        deployment.client("auditor").append_governance("task", task.to_json())


def test_an_audit_of_something_else_is_refused(deployment: Any) -> None:
    task = deployment.open_account()
    good = record(deployment, task, releases=())
    auditor = deployment.client("auditor")
    for changes, what in (
        ({"log_root": "00" * 32}, "audit this ledger's own state"),
        ({"log_size": 99}, "audit this ledger's own state"),
        ({"tasks": ("11" * 32,)}, "is not in the log"),
        ({"releases": (("shop", 1),)}, "release shop 1 is not in the log"),
    ):
        with pytest.raises(FailedPrecondition, match=what):
            auditor.append_governance("audit", dataclasses.replace(good, **changes).to_json())
    auditor.append_governance("audit", good.to_json())
    with pytest.raises(AlreadyExists):
        auditor.append_governance("audit", dataclasses.replace(good, tool="other").to_json())


def test_words_are_not_typed_by_hand(deployment: Any) -> None:
    task = deployment.open_account()
    document = record(deployment, task, releases=()).to_json()
    document["statement"] = "ε is 0.1"
    with pytest.raises(Exception, match="the words that its own fields give") as raised:
        deployment.client("auditor").append_governance("audit", document)
    assert not isinstance(raised.value, BadDocument), "refused by the node, not by the client"


def test_replay_finds_an_audit_that_the_node_let_through(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tacit.server.ledger import governance

    task = deployment.open_account()
    audit = record(deployment, task, releases=(("shop", 7),))

    def lenient(*_: object) -> None:
        return None

    monkeypatch.setattr(governance, "check_audit", lenient)
    deployment.client("auditor").append_governance("audit", audit.to_json())
    deployment.stop()
    with pytest.raises(Exception, match="release shop 7 is not in the log"):
        deployment.verify()
