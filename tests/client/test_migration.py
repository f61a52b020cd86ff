"""Migration: a store of format 1, as the code of that time wrote it, opens with all it holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tacit.client import FileKeyProvider, Personalizer, StoreDamaged, StoreUnavailable, migration

VECTOR = Path(__file__).parent / "vectors" / "store_format_1.sql"


def _restore(folder: Path, *, without: str = "") -> None:
    text = VECTOR.read_text(encoding="utf-8")
    key = folder / "p.key"
    key.write_bytes(bytes.fromhex(text.splitlines()[0].removeprefix("-- key ")))
    key.chmod(0o600)
    with sqlite3.connect(folder / "p.db") as connection:
        connection.executescript(text)
        if without:
            connection.execute(f"DROP TABLE {without}")
    connection.close()


def _meta(folder: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(folder / "p.db") as connection:
        found = connection.execute("SELECT * FROM meta ORDER BY 1").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("without", ["", "decisions"])
def test_a_store_of_format_1_opens_and_goes_on(shop: Any, without: str) -> None:
    _restore(shop.folder, without=without)
    with shop.open() as pz:
        assert pz.state().events == 4
        assert pz.population == "shop"
        assert pz.consents.permitted("learn", shop.clock.now_ms) == {"product_view"}
        assert pz.suppressions.get().items == {"i5"}
        assert [row["row"] for row in pz.journal.rows()] == (
            [] if without else ["decision", "shown"]
        )
        assert pz.track("Product Viewed", {"product_id": "i0"}, event_id="visit-0").duplicate
        assert not pz.track("Product Viewed", {"product_id": "i9"}, event_id="visit-9").duplicate
    assert ("format", migration.FORMAT) in _meta(shop.folder)
    with shop.open() as pz:
        assert pz.state().events == 5


def test_a_fact_of_format_1_is_sealed_anew_when_it_is_read_and_then_rotates(shop: Any) -> None:
    _restore(shop.folder)
    with shop.open() as pz:
        pz.state()
        pz.suppressions.get()
        # The checkpoint's name is known to nobody before a sync reads it.
        with pytest.raises(StoreDamaged, match="sync once, then rotate"):
            pz.rotate_keys()
        assert pz.facts.get("checkpoint/log.example") == b"remembered"
        pz.rotate_keys()
    with shop.open() as pz:
        assert pz.facts.get("checkpoint/log.example") == b"remembered"
        assert pz.suppressions.get().items == {"i5"}


def test_a_migration_that_fails_midway_changes_nothing(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _restore(shop.folder)
    before = _meta(shop.folder)
    steps = dict(migration.STEPS)
    monkeypatch.setattr(migration, "STEPS", {1: (*steps[1], "CREATE TABLE meta (again TEXT)")})
    with pytest.raises(StoreUnavailable, match="already exists"):
        shop.open()
    assert _meta(shop.folder) == before
    with sqlite3.connect(shop.folder / "p.db") as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    assert "index_keys" not in names
    monkeypatch.undo()
    with shop.open() as pz:
        assert pz.state().events == 4


def test_steps_lead_from_every_older_format_to_this_one() -> None:
    assert list(migration.STEPS) == list(range(1, migration.FORMAT))
    assert migration.steps_from(migration.FORMAT) == []


def test_a_wrong_key_leaves_an_old_store_readable_with_the_right_one(shop: Any) -> None:
    _restore(shop.folder)
    key = (shop.folder / "p.key").read_bytes()
    (shop.folder / "p.key").write_bytes(bytes(32))
    with pytest.raises(Exception, match="wrong key"):
        shop.open()
    (shop.folder / "p.key").write_bytes(key)
    with Personalizer.open(
        shop.folder / "p.db", FileKeyProvider(shop.folder / "p.key"), clock_ms=shop.clock
    ) as pz:
        assert pz.state().events == 4
