"""`tacit ledger retrain` against a running ledger: what it announces, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.main import main
from tacit.server.coordinator.config import CoordinatorConfig


class Operator:
    """Somebody at the command line, before a ledger whose only release holds an erased person."""

    def __init__(self, deployment: Any, directory: Path, *, erase: bool = True) -> None:
        self.directory = directory
        self.address = deployment.server.address
        self.ca, self.key = directory / "ca.pem", directory / "operator.key"
        self.ca.write_bytes(deployment.authority.certificate_pem)
        self.key.write_text(deployment.keys["operator"].private_bytes().hex())
        (manifest,) = deployment.execute("SELECT body FROM tasks")
        self.task: Any = json.loads(manifest[0])
        if erase:
            device = deployment.device()
            device.append(device.event())
            (row,) = deployment.execute("SELECT task_sha256 FROM tasks")
            device.erase((str(row[0]), 1))
        self.coordinator = directory / "coordinator.json"
        self.write()

    def write(self, **change: Any) -> None:
        document = {
            "state_dir": str(self.directory / "t1"),
            "ledger_address": self.address,
            "ledger_ca": str(self.ca),
            "signing_key": "coordinator.key",
            "task_id": "task-1",
            "population": "shop",
            "budget_account": "main",
            "learner": "popularity",
            "signals": {"rating": 1.0},
            "n_items": 10,
            "catalogue_sha256": self.task["catalogue_sha256"],
            "features": "",
            "cohort_expected": 50,
            "cohort_min": 2,
            "cohort_max": 100,
            "epsilon": 1.0,
            "target_delta": 1e-6,
        }
        self.coordinator.write_text(json.dumps(document | change))

    def run(self, *arguments: object, key: Path | None = None) -> Result:
        where = ("--ledger", self.address, "--ca", str(self.ca), "--key", str(key or self.key))
        command = ["ledger", "retrain", *where, *map(str, arguments)]
        return CliRunner().invoke(main, command)

    def refused(self, text: str, *arguments: object, code: int = 1, **named: Any) -> None:
        result = self.run(*arguments, **named)
        assert result.exit_code == code, result.output
        assert text in result.output
        assert "Traceback" not in result.output


@pytest.fixture
def operator(ledger_deployment: Any, tmp_path: Path) -> Operator:
    return Operator(ledger_deployment, tmp_path)


def test_announces_and_writes_what_a_coordinator_needs(operator: Operator) -> None:
    out = operator.directory / "retrain.json"
    made = ("--population", "shop", "--coordinator", operator.coordinator, "--out", out)
    result = operator.run(*made)
    assert result.exit_code == 0, result.output
    assert "1 tasks of shop, kind ranking" in result.output
    assert "starts from   nothing" in result.output
    written, before = (CoordinatorConfig.load(one) for one in (out, operator.coordinator))
    assert f"retraining {written.retrains}" in result.output
    assert written.base_release == 0
    assert written.task_id == f"task-1-retrain-{written.retrains[:12]}"
    assert written.state_dir != before.state_dir
    assert (written.learner, written.epsilon) == (before.learner, before.epsilon)
    # Asked again, the same; and a configuration is never replaced.
    told = json.loads(operator.run("--population", "shop", "--json").stdout)
    assert told["retrains"] == written.retrains
    operator.refused("expected a new file", *made)


def test_says_what_is_wrong(operator: Operator) -> None:
    operator.refused("has no task", "--population", "elsewhere")
    operator.refused("nothing to retrain", "--population", "shop", "--kind", "churn")
    operator.refused("a reason of 1 to 200", "--population", "shop", "--reason", "")
    operator.refused("Missing option '--population'", code=2)
    operator.refused("'weather' is not one of", "--population", "shop", "--kind", "weather", code=2)
    out = operator.directory / "retrain.json"
    operator.refused("together", "--population", "shop", "--out", out, code=2)
    given = ("--population", "shop", "--coordinator", operator.coordinator, "--out", out)
    operator.write(population="elsewhere")
    operator.refused("expected a task of population shop, got elsewhere", *given)
    operator.write(rounds="many")
    operator.refused("rounds: expected int", *given)
    assert not out.exists()


def test_only_an_operator_may(operator: Operator, ledger_deployment: Any) -> None:
    key = operator.directory / "coordinator.key"
    key.write_text(ledger_deployment.keys["coordinator"].private_bytes().hex())
    operator.refused("needs role operator", "--population", "shop", key=key)


def test_a_population_nobody_was_erased_from(ledger_deployment: Any, tmp_path: Path) -> None:
    operator = Operator(ledger_deployment, tmp_path, erase=False)
    operator.refused("nothing to retrain", "--population", "shop")


def test_what_was_announced_is_shown_offline(operator: Operator, ledger_deployment: Any) -> None:
    operator.run("--population", "shop", "--reason", "ticket 12")
    state = str(ledger_deployment.state_dir)
    shown = CliRunner().invoke(main, ["ledger", "show", state], env={"COLUMNS": "200"})
    assert "shop ranking, 1 affected tasks, from release 0: ticket 12" in shown.output
    verified = CliRunner().invoke(main, ["ledger", "verify", state])
    assert "announced, not done (ticket 12)" in verified.output
