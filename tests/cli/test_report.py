"""`tacit report` on a real ledger: figures of the other commands, whole files, refusals."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli import report as report_module
from tacit.cli.main import main

DATE = "2030-01-02"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def made(verb: str, *arguments: object, folder: Path) -> Any:
    result = run("report", verb, *arguments, "--date", DATE, "--json", folder / "out.json")
    assert result.exit_code == 0, result.output
    return json.loads((folder / "out.json").read_text())


def read(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert all(word in line for word in words), line
    assert "Traceback" not in result.output


def this_quarter() -> tuple[str, ...]:
    today = datetime.datetime.now(datetime.UTC).date()
    week = datetime.timedelta(days=7)  # however the test runs over midnight
    return ("--from", str(today - week), "--to", str(today + week))


def test_a_card_has_the_figures_of_budget_facts(demo_state: Path, tmp_path: Path) -> None:
    card = made("card", demo_state, "--release", 1, folder=tmp_path)
    (facts,) = read("budget", "facts", demo_state)["releases"]
    assert card["data"]["facts"] == facts
    verified = read("ledger", "verify", demo_state / "ledger")
    (release,) = verified["releases"]
    assert card["data"]["facts"]["epsilon"] == release["epsilon"]
    words = json.dumps(card["sections"], ensure_ascii=False)
    assert verified["governance_root"] in words
    assert verified["ledger_key"] in words
    assert verified["accountant"] in words
    for check in facts["cross_checks"]:
        assert check["accountant"] in words


def test_a_review_has_the_figures_of_budget_show(demo_state: Path, tmp_path: Path) -> None:
    review = made("quarter", demo_state, *this_quarter(), folder=tmp_path)
    (shown,) = read("budget", "show", demo_state)["accounts"]
    (account,) = review["data"]["accounts"]
    confirmed = ("spent", "window_spent", "released")
    for name in confirmed:  # who confirms them differs: `show` asks the closed form alone
        assert account[name]["epsilon"] == shown[name]["epsilon"]
    steps = account.pop("steps")
    without = [{k: v for k, v in one.items() if k not in confirmed} for one in (account, shown)]
    assert without[0] == without[1]
    (history,) = read("budget", "history", demo_state)["accounts"]
    assert steps == history["steps"]
    (verified,) = read("ledger", "verify", demo_state / "ledger")["accounts"]
    assert float(account["spent"]["epsilon"]) == verified["spent_epsilon"]


def test_a_database_has_coverage_and_an_export_has_none(demo_state: Path, tmp_path: Path) -> None:
    node = made("quarter", demo_state / "ledger", *this_quarter(), folder=tmp_path)
    export = made("quarter", demo_state / "ledger-export", *this_quarter(), folder=tmp_path)
    assert export["data"]["consent_coverage"] is None
    (shop,) = node["data"]["consent_coverage"]["populations"]
    assert shop["enrolled"] == "fewer than 10"  # three devices: shown to nobody
    assert node["data"]["accounts"] == export["data"]["accounts"]


def test_all_forms_are_written_whole_and_alike(demo_state: Path, tmp_path: Path) -> None:
    page, typeset = tmp_path / "card.html", tmp_path / "card.pdf"
    arguments = ("report", "card", demo_state, "--date", DATE, "--html", page, "--pdf", typeset)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert page.read_text().startswith("<!doctype html>")
    assert DATE in page.read_text()
    assert typeset.read_bytes().startswith(b"%PDF")
    assert result.output.count("wrote ") == 2
    first = page.read_bytes(), typeset.read_bytes()
    assert run(*arguments).exit_code == 0
    assert (page.read_bytes(), typeset.read_bytes()) == first
    assert {one.name for one in tmp_path.iterdir()} == {"card.html", "card.pdf"}


def test_a_changed_ledger_writes_nothing(demo_state: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_state / "ledger-export", tmp_path / "export")
    (file,) = [
        one
        for one in (tmp_path / "export" / "governance").rglob("*")
        if one.is_file() and b'"noise_multiplier":"8.0"' in one.read_bytes()
    ]
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"noise_multiplier":"8.0"', b'"noise_multiplier":"9.0"'))
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.pdf").write_bytes(b"an earlier report")
    for verb in ("card", "quarter"):
        files = ("--html", out / "new.html", "--pdf", out / "old.pdf")
        result = run("report", verb, tmp_path / "export", *files)
        refused(result, 1, "does not verify", "governance", "nothing was written")
    assert [one.name for one in out.iterdir()] == ["old.pdf"]
    assert (out / "old.pdf").read_bytes() == b"an earlier report"


def test_another_tile_than_the_entries_give_is_refused(demo_state: Path, tmp_path: Path) -> None:
    """What only the files of an export show: verification of a report looks at them, too."""
    shutil.copytree(demo_state / "ledger-export", tmp_path / "export")
    (tmp_path / "export" / "extra").write_text("?")
    result = run("report", "card", tmp_path / "export", "--html", tmp_path / "x.html")
    refused(result, 1, "nothing accounts for this file")
    assert not (tmp_path / "x.html").exists()


def test_what_was_known_beforehand_is_held_against_it(demo_state: Path, tmp_path: Path) -> None:
    key = read("ledger", "verify", demo_state / "ledger")["ledger_key"]
    card = made("card", demo_state, "--key", key, folder=tmp_path)
    assert "known beforehand to whoever made this report" in json.dumps(card)
    files = ("--html", tmp_path / "x.html")
    wrong = "0" * 64
    refused(run("report", "card", demo_state, "--key", wrong, *files), 1, "not the one", "pinned")
    refused(run("report", "card", demo_state, "--key", "x", *files), 2, "64 hexadecimal digits")
    refused(run("report", "card", demo_state, "--witness", "x", *files), 2, "--witness")
    assert not (tmp_path / "x.html").exists()


def test_bad_input_is_one_line(demo_state: Path, tmp_path: Path) -> None:
    page = ("--html", tmp_path / "x.html")
    for code, words, arguments in (
        (2, ("at least one of --html",), ("card", demo_state)),
        (2, ("exactly one of DIR and --config",), ("card", *page)),
        (2, ("does not exist",), ("card", tmp_path / "nowhere", *page)),
        (1, ("expected an exported ledger",), ("card", tmp_path, *page)),
        (2, ("from 1 to 1", "got 5"), ("card", demo_state, "--release", 5, *page)),
        (2, ("--release",), ("card", demo_state, "--release", 0, *page)),
        (2, ("shop", "other"), ("card", demo_state, "--population", "other", *page)),
        (2, ("main", "other"), ("quarter", demo_state, "--account", "other", *page)),
        (2, ("--from together with --to",), ("quarter", demo_state, "--from", DATE, *page)),
        (2, ("not before it",), _days(demo_state, "2026-02-01", "2026-01-01", *page)),
        (2, ("with entries by 2001-03-31",), _days(demo_state, "2001-01-01", "2001-03-31", *page)),
        (2, ("'--from'",), ("quarter", demo_state, "--from", "soon", *page)),
        (2, ("existing folder",), ("card", demo_state, "--html", tmp_path / "no" / "x.html")),
    ):
        refused(run("report", *arguments), code, *words)
    assert list(tmp_path.iterdir()) == []


def _days(state: Path, first: str, last: str, *others: object) -> tuple[object, ...]:
    return ("quarter", state, "--from", first, "--to", last, *others)


def test_missing_libraries_are_named_before_the_work(
    demo_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "_LIBRARIES", ("jinja2", "no_such_library"))
    result = run("report", "card", demo_state, "--html", tmp_path / "x.html")
    refused(result, 1, "no_such_library", "pip install 'tacit[reports]'")


def test_a_configured_node_is_read_from_its_database(
    ledger_deployment: Any, tmp_path: Path
) -> None:
    ledger_deployment.stop()
    config = ledger_deployment.config_path
    review = made("quarter", "--config", config, *this_quarter(), folder=tmp_path)
    assert review["data"]["consent_coverage"]["erased"] == "fewer than 10"
    both = run("report", "card", tmp_path, "--config", config, "--html", tmp_path / "x.html")
    refused(both, 2, "exactly one of DIR and --config")


def test_help_teaches() -> None:
    told = " ".join(run("report", "--help").output.split())
    for word in ("tacit report card DIR --pdf", "PDF/UA-1", "verified whole first"):
        assert word in told
    assert "calendar quarter of the newest entry" in " ".join(
        run("report", "quarter", "--help").output.split()
    )
