"""Recovery: damage is noticed, moved aside as found, and what still opens goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacit.client import (
    FileKeyProvider,
    KeyUnavailable,
    Personalizer,
    StoreDamaged,
    StoreUnavailable,
)
from tacit.client.erasure import erase_keeping

PAGE = 4096


def _make(shop: Any, events: int = 400) -> dict[str, bytes]:
    with shop.open() as pz:
        pz.track_all(
            ("Product Viewed", {"product_id": f"i{n % 24}"}, f"visit-{n}", None)
            for n in range(events)
        )
        pz.consent("learn", ["product_view"], True)
        pz.opt_out("push")
        pz.recommend()
        pz.store.checkpoint()
    return _files(shop)


def _files(shop: Any) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(shop.folder.glob("p.db*"))}


def _recover(shop: Any) -> Any:
    return Personalizer.recover(
        shop.folder / "p.db", FileKeyProvider(shop.folder / "p.key"), clock_ms=shop.clock
    )


def _execute(shop: Any, *statements: str) -> None:
    with sqlite3.connect(shop.folder / "p.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def _damage_pages_of(shop: Any, table: str, count: int) -> None:
    """Overwrite leaf pages of a table, as a failing disk would."""
    path: Path = shop.folder / "p.db"
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as connection:
        marks = [
            bytes(row[0])[:24]
            for row in connection.execute(f"SELECT sealed FROM {table} ORDER BY sequence")
        ]
    connection.close()
    for mark in marks[len(marks) // 2 :: 40][:count]:
        page = content.index(mark) // PAGE * PAGE
        content[page : page + PAGE] = b"\xff" * PAGE
    path.write_bytes(content)


def test_a_whole_store_is_left_alone(shop: Any) -> None:
    before = _make(shop)
    assert _recover(shop) is None
    assert {n: c for n, c in _files(shop).items() if n in before} == before


def test_single_records_are_lost_alone(shop: Any) -> None:
    _make(shop)
    with shop.open() as pz:
        device_id = pz.device_id
    _execute(
        shop,
        "UPDATE events SET sealed = zeroblob(90) WHERE sequence = 7",
        "UPDATE events SET signal_tag = zeroblob(16) WHERE sequence = 400",
        "UPDATE decisions SET sealed = x'00'",
    )
    damaged = (shop.folder / "p.db").read_bytes()
    recovered = _recover(shop)
    assert (recovered.started_anew, recovered.lost) == (False, 3)
    assert recovered.kept == 398
    assert recovered.moved_to.read_bytes() == damaged
    assert recovered.moved_to.stat().st_mode & 0o077 == 0
    with shop.open() as pz:
        state = pz.state()
        assert (state.events, state.device_id) == (398, device_id)
        assert state.consents["learn"] == {"product_view"}
        assert pz.suppressions.get().channels == {"push"}
        # Its number is not given again, and an event that was kept is still recorded once.
        assert pz.track("Page Viewed", {"name": "home"}).sequence == 401
        assert pz.track("Product Viewed", {"product_id": "i0"}, event_id="visit-0").duplicate
    assert _recover(shop) is None


def test_damaged_pages_cost_what_is_on_them(shop: Any) -> None:
    _make(shop)
    _damage_pages_of(shop, "events", 3)
    with (
        pytest.raises(StoreDamaged, match=r"Personalizer\.recover moves it aside"),
        shop.open() as pz,
    ):
        pz.recommend()
    recovered = _recover(shop)
    assert not recovered.started_anew
    assert 150 < recovered.kept < 401
    with shop.open() as pz:
        assert pz.state().events == recovered.kept - 1
        assert pz.consents.permitted("learn", shop.clock.now_ms) == {"product_view"}
        pz.recommend()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM consents",
        "UPDATE consents SET sealed = x'00'",
        "UPDATE facts SET sealed = zeroblob(60)",
        "DROP TABLE participation",
    ],
)
def test_a_broken_promise_starts_anew_with_everything_refused(shop: Any, damage: str) -> None:
    _make(shop)
    with shop.open() as pz:
        device_id = pz.device_id
        pz.consent("learn", ["search"], True)
        pz.store.checkpoint()
    if damage.startswith("DELETE"):
        damage += " WHERE sequence = 1"
    _execute(shop, damage)
    damaged = (shop.folder / "p.db").read_bytes()
    recovered = _recover(shop)
    assert recovered.started_anew
    assert recovered.moved_to.read_bytes() == damaged
    with shop.open() as pz:
        state = pz.state()
        assert state.device_id != device_id
        assert state.events == 0
        assert not any(state.consents.values())
        assert {"push", "email", "sms"} <= pz.suppressions.get().channels
        assert not pz.track("Product Viewed", {"product_id": "i0"}).recorded


@pytest.mark.parametrize("length", [0, 50, PAGE, 3 * PAGE + 17])
def test_a_file_cut_short_or_overwritten_is_moved_aside(shop: Any, length: int) -> None:
    content = _make(shop)["p.db"]
    (shop.folder / "p.db").write_bytes(b"\x00garbage" * 9 + content[72 : 72 + length])
    recovered = _recover(shop)
    assert recovered.started_anew
    with shop.open() as pz:
        assert pz.state().events == 0


def test_a_second_damage_gets_a_name_of_its_own(shop: Any) -> None:
    _make(shop)
    for number in (1, 2):
        (shop.folder / "p.db").write_bytes(b"nothing of ours" * number)
        assert _recover(shop).moved_to.name == f"p.db.damaged-{number}"
    assert (shop.folder / "p.db.damaged-1").read_bytes() == b"nothing of ours"


def test_what_is_no_damage_moves_nothing(shop: Any, tmp_path: Path) -> None:
    before = _make(shop)
    (tmp_path / "other.key").write_bytes(bytes(32))
    (tmp_path / "other.key").chmod(0o600)
    with pytest.raises(KeyUnavailable):
        Personalizer.recover(shop.folder / "p.db", FileKeyProvider(tmp_path / "other.key"))
    with pytest.raises(StoreUnavailable, match="no such file"):
        Personalizer.recover(tmp_path / "none.db", FileKeyProvider(shop.folder / "p.key"))
    with sqlite3.connect(tmp_path / "leaves.db") as connection:
        connection.execute("CREATE TABLE leaves (position INTEGER)")
    connection.close()
    with pytest.raises(StoreDamaged, match="another database"):
        Personalizer.recover(tmp_path / "leaves.db", FileKeyProvider(shop.folder / "p.key"))
    assert {n: c for n, c in _files(shop).items() if n in before} == before
    assert not list(tmp_path.glob("*damaged*"))


def test_without_room_for_a_copy_nothing_changes(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(shop)
    _execute(shop, "UPDATE events SET sealed = zeroblob(90) WHERE sequence = 7")
    before = (shop.folder / "p.db").read_bytes()
    copies = iter([shutil.copyfile])

    def full(source: Path, target: Path) -> object:
        copy = next(copies, None)
        if copy is None:
            raise OSError(28, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr("tacit.client.recovery.shutil.copyfile", full)
    with pytest.raises(StoreUnavailable, match="cannot be recovered"):
        _recover(shop)
    assert (shop.folder / "p.db").read_bytes() == before
    assert not list(shop.folder.glob("*damaged*"))
    monkeypatch.undo()
    assert _recover(shop).lost == 1


@pytest.mark.parametrize("kill_at", ["note", "log", "new file"])
def test_a_kill_during_recovery_is_finished_by_running_it_again(
    shop: Any, monkeypatch: pytest.MonkeyPatch, kill_at: str
) -> None:
    """Nowhere on the way does an older state open, or an empty one."""
    _make(shop)
    _execute(shop, "UPDATE events SET sealed = zeroblob(90) WHERE sequence = 7")
    damaged = (shop.folder / "p.db").read_bytes()
    # A log that nothing must replay: it is left by whoever crashed with the damaged store.
    real_replace, real_unlink = os.replace, Path.unlink
    wal = shop.folder / "p.db-wal"

    def replace(source: Path, target: Path) -> None:
        if kill_at == "note" and source.name.endswith(".note"):
            raise KeyboardInterrupt
        if kill_at == "new file" and source.name.endswith(".recovering"):
            raise KeyboardInterrupt
        real_replace(source, target)
        if source.name.endswith(".note"):
            wal.write_bytes(b"stale")

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if kill_at == "log" and self == wal and self.exists():
            raise KeyboardInterrupt
        real_unlink(self, missing_ok)

    monkeypatch.setattr("tacit.client.recovery.os.replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        _recover(shop)
    monkeypatch.undo()
    if kill_at == "note":
        assert (shop.folder / "p.db").read_bytes() == damaged
    else:
        with pytest.raises(StoreDamaged, match="recover"):
            shop.open()
    recovered = _recover(shop)
    assert (recovered.started_anew, recovered.lost) == (False, 1)
    assert recovered.moved_to.read_bytes() == damaged
    with shop.open() as pz:
        assert pz.state().events == 399
        assert pz.consents.permitted("learn", shop.clock.now_ms) == {"product_view"}
    assert {p.name for p in shop.folder.glob("p.db.*")} >= {recovered.moved_to.name}
    assert not list(shop.folder.glob("*.recovering*"))


def _recovered(shop: Any) -> None:
    """Leave a copy as a recovery does, and one of a recovery that was killed while it read."""
    _make(shop)
    _execute(shop, "UPDATE events SET sealed = zeroblob(90) WHERE sequence = 7")
    moved_to = _recover(shop).moved_to
    shutil.copyfile(moved_to, moved_to.with_name(moved_to.name + ".reading"))


def _names(shop: Any) -> set[str]:
    return {one.name for one in shop.folder.iterdir() if one.name.startswith("p.db")}


def _forget(pz: Personalizer) -> None:
    pz.forget(all=True)


def _rotate(pz: Personalizer) -> None:
    pz.rotate_keys()


def _erase(pz: Personalizer) -> None:
    erase_keeping(pz.store, {})


@pytest.mark.parametrize("verb", [_forget, _rotate, _erase])
def test_no_copy_keeps_what_was_erased_or_its_key(
    shop: Any, verb: Callable[[Personalizer], None]
) -> None:
    _recovered(shop)
    other = shop.folder / "p.db.damaged-goods"  # the app's own
    other.write_bytes(b"mine")
    with shop.open() as pz:
        assert {"p.db.damaged-1", "p.db.damaged-1.reading"} <= _names(shop)
        verb(pz)
    assert _names(shop) == {"p.db", other.name}


def test_a_kill_before_the_copies_are_gone_is_made_good(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _recovered(shop)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, shop.open() as pz:
        patch.setattr("tacit.client.store.destroy_copies", killed)
        with pytest.raises(KeyboardInterrupt):
            pz.forget(all=True)
    assert "p.db.damaged-1" in _names(shop)
    with shop.open() as pz:
        assert pz.events.count() == 0
        assert {one for one in _names(shop) if "damaged" in one} == set()
