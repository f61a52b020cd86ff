"""`tacit console invite | log`, and what it says to bad input; tests/server/console serves it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tacit.cli.main import main
from tacit.server.console.database import DATABASE_FILE


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["console", *arguments])


@pytest.fixture
def kept(demo_state: Path, tmp_path: Path) -> tuple[str, ...]:
    return (str(demo_state), "--directory", str(tmp_path / "console"))


def test_log_tells_what_was_cut_off(kept: tuple[str, ...], tmp_path: Path) -> None:
    state, *where = kept
    invited = run("invite", state, "vic", "--role", "viewer", *where)
    assert invited.exit_code == 0, invited.output
    assert re.search(r"^/first-use/[\w-]{43}$", invited.stdout, re.MULTILINE)
    head = run("log", state, *where).output.split()[-1]
    assert head.startswith("1:")
    assert run("log", state, "--known", head, *where).exit_code == 0
    with closing(sqlite3.connect(tmp_path / "console" / DATABASE_FILE)) as database, database:
        database.execute("DELETE FROM access_log")
    assert run("log", state, *where).exit_code == 0
    cut = run("log", state, "--known", head, *where)
    assert (cut.exit_code, "do not contain the known head" in cut.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("invite", "STATE", "vic"), "role: expected one of viewer"),
        (("invite", "STATE", "../vic", "--role", "viewer"), "name: expected a lower-case letter"),
        (("log", "STATE", "--known", "1:zz"), "expected SEQUENCE:HASH"),
        (("serve", "STATE", "--key", "zz"), "expected 64 hexadecimal digits"),
        (("serve", "EMPTY"), "expected a demo's state directory"),
        (("EMPTY",), "expected a demo's state directory"),
    ],
)
def test_bad_input_gets_one_line(
    kept: tuple[str, ...], tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"STATE": kept[0], "EMPTY": str(empty)}
    asked = [places.get(one, one) for one in arguments]
    result = run(*asked, *kept[1:])
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert "Traceback" not in result.output
