"""An export verifies alike, whichever database it was read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tacit.cli.ledger import ledger
from tacit.server.ledger.verify import verify_export


def test_an_export_by_configuration_verifies(deployment: Any, tmp_path: Path) -> None:
    deployment.run_task(devices=2)
    run, directory = CliRunner(), tmp_path / "out"
    # The node is running, and goes on.
    arguments = ["export", str(directory), "--config", str(deployment.config_path)]
    made = run.invoke(ledger, arguments)
    assert (made.exit_code, made.output) == (
        0,
        f"exported 9 governance, 2 consent entries to {directory}\n",
    )
    report = verify_export(directory, deployment.node_key.public_key)
    assert report == deployment.verify(ledger_key=deployment.node_key.public_key)
    assert (report.governance_size, report.consent_size, len(report.releases)) == (9, 2, 1)
    deployment.client("coordinator").show_budget("main")


@pytest.mark.parametrize("options", [[], ["--config", "CONFIG", "--database", "CONFIG"]])
def test_exactly_one_source_is_named(deployment: Any, tmp_path: Path, options: list[str]) -> None:
    named = [str(deployment.config_path) if one == "CONFIG" else one for one in options]
    done = CliRunner().invoke(ledger, ["export", str(tmp_path / "out"), *named])
    assert done.exit_code == 2
    assert "exactly one of --database and --config" in done.output


def test_a_database_that_does_not_answer_is_one_line(deployment: Any, tmp_path: Path) -> None:
    deployment.state_dir.mkdir()
    (deployment.state_dir / "keys.json").write_text("{}")
    config = deployment.write_config(
        database="postgresql://u:secret@127.0.0.1:1/d?connect_timeout=2"
    )
    done = CliRunner().invoke(ledger, ["export", str(tmp_path / "out"), "--config", str(config)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: database d on 127.0.0.1: ")
    assert "secret" not in done.output
