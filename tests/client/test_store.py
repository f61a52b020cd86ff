"""The encrypted store: sealed at rest, idempotent, private to its key, whole after a kill."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tacit.client.errors import KeyUnavailable, StoreClosed, StoreDamaged, StoreUnavailable
from tacit.client.events import Event, EventLog
from tacit.client.facts import Facts
from tacit.client.keys import FileKeyProvider, PassphraseKeyProvider
from tacit.client.store import Store

MARKER = "zanzibar-marker-item"


def _open(folder: Path) -> Store:
    return Store.open(folder / "device.db", FileKeyProvider(folder / "device.key"))


def _event(item: str = MARKER, signal_name: str = "product_view") -> Event:
    return Event("Product Viewed", signal_name, (item,), None, 1_700_000_000_000, {"q": MARKER})


def test_events_read_back_after_reopening(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        assert EventLog(store).append(_event(), "id-1") == (1, True)
    with _open(tmp_path) as store:
        (logged,) = EventLog(store).read(["product_view"])
        assert logged.event == replace(_event(), event_id="id-1")
        assert EventLog(store).append(_event("other"), "id-2") == (2, True)


def test_an_event_id_is_recorded_once(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        log = EventLog(store)
        assert log.append(_event(), "same") == (1, True)
        assert log.append(_event("changed"), "same") == (1, False)
        assert [e.event.items for e in log.read(["product_view"])] == [(MARKER,)]


def test_a_batch_is_recorded_whole_or_not_at_all(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        log = EventLog(store)
        bad = Event("x", "search", (), float("nan"), 0)
        with pytest.raises(ValueError, match="JSON"):
            log.append_all([(_event(), "a"), (bad, "b")])
        assert log.count() == 0
        assert log.append(_event(), "a") == (1, True)


def test_a_batch_with_known_ids_records_the_others_in_order(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        log = EventLog(store)
        assert log.append_all([(_event(f"{n}"), f"id-{n}") for n in range(3)]) == [
            (1, True), (2, True), (3, True),
        ]  # fmt: skip
        # One id from before and one that comes twice: those stay single, the rest is new.
        batch = [(_event(f"again-{i}"), i) for i in ("id-9", "id-1", "id-8", "id-9")]
        assert log.append_all(batch) == [(4, True), (2, False), (5, True), (4, False)]
        assert log.last_sequence() == 5
        items = [e.event.items[0] for e in log.read(["product_view"])]
        assert items == ["0", "1", "2", "again-id-9", "again-id-8"]


def test_rows_of_other_signals_stay_sealed(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        log = EventLog(store)
        log.append(_event(), "a")
        log.append(_event("b", "purchase"), "b")
    _execute(tmp_path, "UPDATE events SET sealed = x'00' WHERE sequence = 2")
    with _open(tmp_path) as store:
        log = EventLog(store)
        # The purchase row can no longer be decrypted, and reading views does not notice.
        assert len(log.read(["product_view"])) == 1
        with pytest.raises(StoreDamaged):
            log.read(["purchase"])


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE events SET sequence = 99 WHERE sequence = 1",
        "UPDATE events SET epoch = 2",
        "UPDATE events SET sealed = (SELECT sealed FROM events WHERE sequence = 2)",
        "UPDATE events SET signal_tag = (SELECT signal_tag FROM events WHERE sequence = 1)",
        "UPDATE events SET sealed = substr(sealed, 1, 8)",
    ],
)
def test_a_record_that_was_altered_or_moved_does_not_open(tmp_path: Path, tampering: str) -> None:
    with _open(tmp_path) as store:
        EventLog(store).append(_event(), "a")
        EventLog(store).append(_event("b", "purchase"), "b")
    _execute(tmp_path, tampering)
    with _open(tmp_path) as store, pytest.raises(StoreDamaged):
        EventLog(store).read(["product_view"])


def _execute(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "device.db")
    try:
        connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


def test_nothing_is_in_the_clear_on_disk(tmp_path: Path) -> None:
    store = _open(tmp_path)
    with store:
        EventLog(store).append(_event(), f"id-{MARKER}")
        Facts(store).put("enrolment", MARKER.encode())
        secrets = (Facts(store).device_secret(), Facts(store).identity().private_bytes())
        files = [path for path in tmp_path.iterdir() if path.name != "device.key"]
        assert any(path.name.endswith("-wal") for path in files)
        for path in files:
            content = path.read_bytes()
            for needle in (MARKER.encode(), b"product_view", b"Product Viewed", *secrets):
                assert needle not in content, path.name


def test_secrets_are_made_once(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        first = Facts(store).identity().key_id, Facts(store).device_secret()
    with _open(tmp_path) as store:
        assert (Facts(store).identity().key_id, Facts(store).device_secret()) == first
    other = tmp_path / "other"
    with _open(other) as store:
        assert Facts(store).identity().key_id != first[0]
        assert Facts(store).device_secret() != first[1]


def test_another_key_does_not_open_the_store(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "device.key").unlink()
    with pytest.raises(KeyUnavailable, match="cannot read"):
        _open(tmp_path)
    FileKeyProvider(tmp_path / "device.key").wrap(b"x", b"p")
    with pytest.raises(KeyUnavailable, match="wrong key"):
        _open(tmp_path)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "device.key").chmod(0o640)
    with pytest.raises(KeyUnavailable, match="0640"):
        _open(tmp_path)


def test_files_are_private(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        EventLog(store).append(_event(), "a")
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_passphrase_opens_only_its_own_store(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    with Store.open(path, PassphraseKeyProvider("correct horse")) as store:
        secret = Facts(store).device_secret()
    with Store.open(path, PassphraseKeyProvider("correct horse")) as store:
        assert Facts(store).device_secret() == secret
    with pytest.raises(KeyUnavailable):
        Store.open(path, PassphraseKeyProvider("battery staple"))


def test_a_second_opening_is_refused_while_the_first_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.client.store._LOCK_WAIT_S", 0.05)
    with _open(tmp_path), pytest.raises(StoreUnavailable, match="open"):
        _open(tmp_path)
    _open(tmp_path).close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "device.db").write_bytes(b"a letter to the editor" * 100)
    with pytest.raises(StoreDamaged):
        _open(tmp_path)
    with pytest.raises(StoreUnavailable):
        Store.open(tmp_path, FileKeyProvider(tmp_path / "device.key"))


def test_a_store_of_a_newer_format_is_left_as_it_is(tmp_path: Path) -> None:
    _open(tmp_path).close()
    _execute(tmp_path, "UPDATE meta SET value = 3 WHERE name = 'format'")
    before = (tmp_path / "device.db").read_bytes()
    with pytest.raises(StoreUnavailable, match="format 2 or older, got 3; a newer version"):
        _open(tmp_path)
    assert (tmp_path / "device.db").read_bytes() == before


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = _open(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        EventLog(store).count()


def _kill_while_writing(folder: Path, kills: int) -> None:
    """Kill a writer `kills` times; every event it acknowledged must be there."""
    program = Path(__file__).resolve().parents[2] / "benchmarks" / "device_kill.py"
    done = subprocess.run(
        [sys.executable, str(program), str(folder), str(kills)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kills"], told["lost"]) == (kills, 0)
    assert told["kept"] >= told["acknowledged"] > kills


def test_a_kill_loses_no_acknowledged_event(tmp_path: Path) -> None:
    _kill_while_writing(tmp_path, 10)


@pytest.mark.long
def test_a_thousand_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    _kill_while_writing(tmp_path, 1000)


def test_a_database_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "device.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE leaves (position INTEGER)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="expected a device's store, got another database"):
        _open(tmp_path)
    assert path.read_bytes() == before
