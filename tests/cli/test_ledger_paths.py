"""`tacit ledger` pointed at something that is no ledger says what it expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tacit.cli.ledger import ledger


@pytest.mark.parametrize("verb", ["verify", "show"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_no_ledger_is_one_line(tmp_path: Path, verb: str, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\x00\xff nonsense")
    result = CliRunner().invoke(ledger, [verb, str(path)])
    assert result.exit_code == 1
    assert "expected an exported ledger" in result.output
    assert str(path) in result.output
    assert len(result.output.splitlines()) == 1


def test_a_demo_state_directory_is_its_ledger(demo_state: Path) -> None:
    shown = [
        CliRunner().invoke(ledger, ["show", str(path)])
        for path in (demo_state, demo_state / "ledger", demo_state / "ledger-export")
    ]
    assert [one.exit_code for one in shown] == [0, 0, 0]
    assert shown[0].output == shown[1].output == shown[2].output


def test_a_state_directory_without_a_database_says_how_to_export(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    result = CliRunner().invoke(ledger, ["verify", str(tmp_path)])
    assert result.exit_code == 1
    assert "PostgreSQL" in result.output
    assert "tacit ledger export --config FILE DIRECTORY" in result.output
    assert len(result.output.splitlines()) == 1


def test_json_stays_json_for_what_is_no_ledger(tmp_path: Path) -> None:
    result = CliRunner().invoke(ledger, ["verify", str(tmp_path), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False


@pytest.mark.parametrize("key", ["zz", "abcd", ""])
def test_a_key_has_64_digits(tmp_path: Path, key: str) -> None:
    result = CliRunner().invoke(ledger, ["verify", str(tmp_path), "--key", key])
    assert result.exit_code == 2
    assert "expected 64 hexadecimal digits" in result.output


def test_export_refuses_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    target = tmp_path / "out"
    result = CliRunner().invoke(
        ledger, ["export", "--database", str(tmp_path / "state"), str(target)]
    )
    assert result.exit_code == 1
    assert "expected an exported ledger" in result.output
    assert not target.exists()


def test_the_newest_checkpoint_is_printed_and_taken_as_known(demo_state: Path) -> None:
    for path in (demo_state, demo_state / "ledger", demo_state / "ledger-export"):
        for log in ("governance", "consent"):
            result = CliRunner().invoke(ledger, ["checkpoint", str(path), "--log", log])
            assert result.exit_code == 0
            expected = (demo_state / "ledger-export" / log / "checkpoint").read_text()
            assert result.stdout == expected
    printed = CliRunner().invoke(ledger, ["checkpoint", str(demo_state), "--json"])
    document = json.loads(printed.stdout)
    assert document["origin"] == "test.example/governance"
    assert document["note"].splitlines()[1] == str(document["size"])
