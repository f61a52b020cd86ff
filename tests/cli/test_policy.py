"""`tacit policy check | sign | example | schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click import Group
from click.testing import CliRunner, Result

from tacit.cli.flags import flags
from tacit.cli.policy import policy
from tacit.client import Catalogue

DOCUMENT: dict[str, Any] = {
    "type": "tacit.guardrails/1",
    "app": "shop",
    "version": 2,
    "issued_at_ms": 0,
    "rules": [
        {"id": "stock", "rule": "out_of_stock"},
        {"id": "tired", "rule": "shown_too_often", "times": 3, "within_hours": 168},
    ],
}


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(policy, [str(argument) for argument in arguments])


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    path = tmp_path / "draft.json"
    path.write_text(json.dumps(DOCUMENT, indent=2))
    return path


def test_sign_then_check(tmp_path: Path, draft: Path) -> None:
    key, out = tmp_path / "policy.key", tmp_path / "signed.json"
    signed = _run("sign", draft, "--key-file", key, "--out", out)
    assert signed.exit_code == 0, signed.output
    assert key.stat().st_mode & 0o777 == 0o600
    public = signed.output.split()[-1]
    checked = _run("check", out, "--key", public)
    assert (checked.exit_code, checked.output) == (0, f"{out}: ok\n")
    assert _run("check", out, "--key", "00" * 32).exit_code == 1
    out.write_bytes(out.read_bytes().replace(b'"times":3', b'"times":4'))
    assert "unsigned" in _run("check", out, "--key", public).output


def test_the_example_is_a_draft_that_can_be_signed(tmp_path: Path) -> None:
    printed = _run("example", "--app", "shop")
    path = tmp_path / "example.json"
    path.write_text(printed.output)
    assert _run("check", path, "--draft").output == f"{path}: ok\n"
    document = json.loads(printed.output)
    assert (document["app"], document["version"]) == ("shop", 1)
    signed = _run("sign", path, "--key-file", tmp_path / "key", "--out", tmp_path / "signed.json")
    assert "version 1 of shop" in signed.output


def test_a_draft_is_checked_without_a_signature(draft: Path) -> None:
    unsigned = _run("check", draft)
    assert unsigned.exit_code == 1
    assert unsigned.output.splitlines() == [
        f"{draft}: unsigned: expected a signature; run tacit policy sign"
    ]
    assert _run("check", draft, "--draft").exit_code == 0


def test_findings_are_one_line_each_and_json_on_request(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    rules = [*DOCUMENT["rules"], {"id": "tired", "rule": "exclude", "colour": "red"}]
    path.write_text(json.dumps({**DOCUMENT, "rules": rules}))
    told = _run("check", path, "--draft")
    assert told.exit_code == 1
    assert told.output.splitlines() == [
        f"{path}: malformed: tired: another rule has this id",
        f"{path}: malformed: tired: unknown field 'colour'",
    ]
    report = json.loads(_run("check", path, "--draft", "--json").output)
    assert report["ok"] is False
    assert [f["rule"] for f in report["findings"]] == ["tired", "tired"]


def test_categories_are_looked_up_in_a_catalogue(tmp_path: Path) -> None:
    path, catalogue = tmp_path / "p.json", tmp_path / "catalogue.json"
    rules = [{"id": "no", "rule": "exclude", "categories": ["Tools"]}]
    path.write_text(json.dumps({**DOCUMENT, "rules": rules}))
    catalogue.write_bytes(Catalogue.build([("a", "A", ["Toys"])]).to_bytes())
    told = _run("check", path, "--draft", "--catalogue", catalogue)
    assert told.exit_code == 1
    assert "unknown-category: no: the catalogue has no category 'Tools'" in told.output
    by_hand = {"items": [{"id": "a", "title": "A", "categories": ["Toys"]}]}  # as devices read it
    catalogue.write_text(json.dumps(by_hand, indent=1))
    assert _run("check", path, "--draft", "--catalogue", catalogue).output == told.output
    catalogue.write_text("{}")
    assert _run("check", path, "--catalogue", catalogue).output.startswith("Error: ")


@pytest.mark.parametrize("command", [policy, flags], ids=["policy", "flags"])
@pytest.mark.parametrize("option", ["--key-file", "--out"])
def test_a_folder_that_is_not_there_is_told_before_anything_is_written(
    tmp_path: Path, draft: Path, command: Group, option: str
) -> None:
    places = {
        "--key-file": tmp_path / "k",
        "--out": tmp_path / "out",
        option: tmp_path / "no" / "x",
    }
    options = [str(part) for one in places.items() for part in one]
    told = CliRunner().invoke(command, ["sign", str(draft), *options])
    assert told.exit_code == 2
    assert f"'{option}': expected a file in an existing folder" in told.output
    assert sorted(tmp_path.iterdir()) == [draft]


def test_a_faulty_policy_is_not_signed_and_nothing_is_written(tmp_path: Path) -> None:
    path, out = tmp_path / "p.json", tmp_path / "out.json"
    path.write_text(json.dumps({**DOCUMENT, "version": 0}))
    told = _run("sign", path, "--key-file", tmp_path / "k", "--out", out)
    assert told.exit_code == 1
    assert "version: expected" in told.output
    assert not out.exists()
    assert not (tmp_path / "k").exists()


def test_a_key_that_others_can_read_signs_nothing(tmp_path: Path, draft: Path) -> None:
    key = tmp_path / "k"
    key.write_bytes(b"\1" * 32)
    key.chmod(0o644)
    told = _run("sign", draft, "--key-file", key, "--out", tmp_path / "out.json")
    assert told.exit_code == 1
    assert "only their owner" in told.output
    assert not (tmp_path / "out.json").exists()


def test_the_schema_is_json() -> None:
    assert json.loads(_run("schema").output)["title"].startswith("Guardrails")
