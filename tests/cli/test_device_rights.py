from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tacit.cli.main import main
from tacit.client import Catalogue, FileKeyProvider, PassphraseKeyProvider, Personalizer

ITEM = "kettle"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A device where a demo keeps one."""
    home = tmp_path / "devices" / "00003"
    (tmp_path / "keys").mkdir()
    keys = FileKeyProvider(tmp_path / "keys" / "00003.key")
    with Personalizer.open(
        home / "profile.db", keys, Catalogue.build([(ITEM, "Kettle", [])])
    ) as pz:
        pz.track("Product Viewed", {"product_id": ITEM}, event_id="v1")
    return home


def run(*arguments: Any, **options: Any) -> Result:
    return CliRunner().invoke(main, ["device", *map(str, arguments)], **options)


def read(*arguments: Any) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_granting_and_withdrawing(home: Path) -> None:
    assert read("consent", "show", home)["permitted"]["learn"] == []
    granted = read("consent", "grant", home, "learn", "--signal", "rating")
    assert granted["permitted"] == ["rating"]
    shown = read("consent", "show", home)
    assert shown["permitted"]["learn"] == ["rating"]
    assert [(one["seq"], one["on_record"]) for one in shown["decisions"]] == [(1, False)]
    assert "rating" in run("consent", "show", home).output
    receipt = read("consent", "withdraw", home, "learn")
    assert (receipt["verb"], receipt["pending"]) == ("withdraw", True)
    assert read("consent", "show", home)["permitted"]["learn"] == []
    read("rights", "withdraw", home)
    assert not any(read("consent", "show", home)["permitted"].values())


def test_rights(home: Path, tmp_path: Path) -> None:
    assert read("rights", "access", home)["events"][0]["items"] == [ITEM]
    run("consent", "grant", home, "learn")
    exported = tmp_path / "export.json"
    result = run("rights", "export", home, "--out", exported)
    assert "1 consent records exported" in result.output
    assert exported.stat().st_mode & 0o777 == 0o600  # whatever the umask
    assert [one.name for one in tmp_path.glob("export*")] == ["export.json"]
    record = json.loads(exported.read_text())["records"][0]
    assert record["events"][0]["event_state"] == "dpv:ConsentGiven"
    read("rights", "rectify", home, "v1", "--event", "Product Rated", "--properties",
         '{"product_id": "kettle", "value": 2}')  # fmt: skip
    assert read("rights", "access", home)["events"][0]["signal"] == "rating"
    read("rights", "object", home, "measure")
    assert "everything about" in run("rights", "erase", home, input="n\n").stderr
    read("rights", "erase", home, "--yes")
    verbs = [one["verb"] for one in read("rights", "receipts", home)]
    assert verbs == ["access", "export", "rectify", "access", "object", "erase"]
    assert "erase" in run("rights", "receipts", home).output
    assert read("rights", "access", home)["events"] == []


def test_a_passphrase_opens_what_it_closed(tmp_path: Path) -> None:
    store = tmp_path / "p.db"
    Personalizer.open(store, PassphraseKeyProvider("correct horse")).close()
    shown = run("consent", "show", store, "--passphrase", input="correct horse\n")
    assert shown.exit_code == 0
    refused = run("consent", "show", store, "--passphrase", input="wrong\n")
    assert (refused.exit_code, "wrong key or passphrase" in refused.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("consent", "show", "{tmp}"), "expected a device's store"),
        (("consent", "show", "{text}"), "expected a device's store"),
        (("consent", "show", "{home}", "--key", "{tmp}/none"), "expected the store's key file"),
        (("consent", "show", "{home}", "--key", "{other}"), "wrong key"),
        (("consent", "grant", "{home}", "sell"), "sell"),
        (("consent", "grant", "{home}", "learn", "--signal", "health"), "prohibited"),
        (("consent", "withdraw", "{home}", "learn", "--signal", "shoes"), "signal catalogue"),
        (("rights", "rectify", "{home}", "v1", "--properties", "[]"), "JSON object"),
        (("rights", "rectify", "{home}", "v9"), "id of a recorded event"),
        (
            ("rights", "export", "{home}", "--out", "{tmp}/no/where"),
            "expected a file in an existing",
        ),
    ],
)
def test_bad_input_is_one_line(
    home: Path, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    (tmp_path / "text").write_text("no store")
    other = tmp_path / "other.key"
    other.write_bytes(b"x" * 32)
    other.chmod(0o600)
    places = {"tmp": tmp_path, "home": home, "text": tmp_path / "text", "other": other}
    result = run(*(one.format(**places) for one in arguments))
    assert result.exit_code in (1, 2)
    assert line in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "none").exists()
    assert json.loads(run("rights", "receipts", home, "--json").stdout) == []
