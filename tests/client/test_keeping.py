"""Keeping: what is forgotten stays so, and a rotation leaves nothing that the old key opens."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tacit.client import (
    BadEvent,
    FileKeyProvider,
    KeyUnavailable,
    PassphraseKeyProvider,
    Personalizer,
    StoreDamaged,
)
from tacit.client.keys import derive_key
from tacit.client.sealing import Sealer

HOUR_MS = 3_600_000


def _rows(pz: Personalizer, table: str) -> list[tuple[Any, ...]]:
    with pz.store.reading() as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def _fill(shop: Any, pz: Personalizer) -> str:
    for n in range(4):
        pz.track("Product Viewed", {"product_id": f"i{n}"}, event_id=f"visit-{n}")
        shop.clock.sleep(hours=1)
    pz.consent("learn", ["product_view"], True)
    pz.prefer("item", "i9", -1.0)
    shop.install(pz, shop.model())
    decision: str = pz.recommend().id
    return decision


def test_forgetting_since_a_time_takes_events_and_decisions_of_it(
    shop: Any, device: Personalizer, view: Any
) -> None:
    view(device, ["i0"])
    before = device.recommend()
    shop.clock.sleep(hours=1)
    since = shop.clock.now_ms
    view(device, ["i4", "i8"])
    device.recommend()
    assert device.forget(since=since).rows_erased == 3
    assert [e.event.items for e in device.events.read(["product_view"])] == [("i0",)]
    assert [row["id"] for row in device.journal.rows()] == [before.id]
    assert {e for item in device.recommend().items for e in item.reasons} == {
        "more Kitchen", "something different",
    }  # fmt: skip
    engagement = device.state().features.engagement
    assert engagement is not None
    assert engagement.events == 1


def test_what_was_forgotten_does_not_come_back_under_its_id(
    shop: Any, device: Personalizer
) -> None:
    device.track("Product Viewed", {"product_id": "i0"}, event_id="visit")
    device.track("Product Viewed", {"product_id": "i1"}, event_id="deleted")
    device.forget(item="i0")
    device.rights.rectify("deleted")
    again = device.track_all(
        [("Product Viewed", {"product_id": "i0"}, name, None) for name in ("visit", "deleted")]
    )
    assert [(ack.recorded, ack.sequence, ack.duplicate) for ack in again] == [
        (False, None, True)
    ] * 2
    assert device.state().events == 0
    device.close()
    with shop.open() as reopened:
        reopened.rotate_keys()
        assert not reopened.track("Product Viewed", {"product_id": "i0"}, event_id="visit").recorded


@pytest.mark.parametrize(
    "arguments",
    [{}, {"item": "i0", "since": 5}, {"since": 0, "all": True}, {"since": -1}, {"all": False}],
)
def test_forgetting_needs_to_know_what(device: Personalizer, arguments: dict[str, Any]) -> None:
    device.track("Product Viewed", {"product_id": "i0"})
    with pytest.raises(BadEvent, match="forget: "):
        device.forget(**arguments)
    assert device.state().events == 1


def test_a_rotation_keeps_everything_and_the_old_key_opens_nothing(shop: Any) -> None:
    with shop.open() as pz:
        decision = _fill(shop, pz)
        item = pz.recommend().items[0].item_id
        before, explained = pz.state(), pz.explain(decision, item)
        suppressed, rows = pz.suppressions.get(), pz.journal.rows()
        (epoch, wrapped) = _rows(pz, "data_keys")[0]
        sealed = _rows(pz, "events")[0][4]
        purpose = b"tacit/device/data-key/epoch/%d" % epoch
        old_key = FileKeyProvider(shop.folder / "p.key").unwrap(wrapped, purpose)
        assert Sealer(old_key, epoch).open("event", 1, sealed)
        rotated = pz.rotate_keys()
        assert rotated.epoch == epoch + 1
        assert rotated.records >= 4 + 1 + 1 + 1
        for row in _rows(pz, "events"):
            with pytest.raises(StoreDamaged):
                Sealer(old_key, epoch).open("event", row[0], row[4])
    on_disk = b"".join(p.read_bytes() for p in shop.folder.glob("p.db*"))
    assert wrapped not in on_disk
    assert sealed not in on_disk
    with shop.open() as pz:
        after = pz.state()
        assert (after.device_id, after.events) == (before.device_id, before.events)
        assert after.consents == before.consents
        assert (pz.suppressions.get(), pz.journal.rows()) == (suppressed, rows)
        assert pz.explain(decision, item) == explained
        # Ids still work, so a repeated event is still recorded once.
        again = pz.track("Product Viewed", {"product_id": "i0"}, event_id="visit-0")
        assert again.duplicate
        assert pz.rotate_keys().epoch == epoch + 2


def test_a_rotation_changes_the_passphrase(shop: Any, tmp_path: Path) -> None:
    old, new = PassphraseKeyProvider("old words"), PassphraseKeyProvider("new words")
    path = tmp_path / "q.db"
    with Personalizer.open(path, old, shop.catalogue, clock_ms=shop.clock) as pz:
        pz.track("Product Viewed", {"product_id": "i0"})
        pz.rotate_keys(new)
        pz.track("Product Viewed", {"product_id": "i1"})
    with pytest.raises(KeyUnavailable):
        Personalizer.open(path, old, shop.catalogue)
    with Personalizer.open(path, new, shop.catalogue, clock_ms=shop.clock) as pz:
        assert pz.state().events == 2
        assert pz.rotate_keys().epoch == 3


def test_a_record_that_does_not_open_stops_a_rotation_before_anything_changed(shop: Any) -> None:
    with shop.open() as pz:
        _fill(shop, pz)
    with sqlite3.connect(shop.folder / "p.db") as connection:
        connection.execute("UPDATE decisions SET sealed = zeroblob(80) WHERE sequence = 1")
        keys = connection.execute("SELECT * FROM data_keys").fetchall()
    connection.close()
    with shop.open() as pz:
        with pytest.raises(StoreDamaged, match="'decision' was altered"):
            pz.rotate_keys()
        assert _rows(pz, "data_keys") == keys
        assert pz.state().events == 5


_ROTATE = """
    import sys
    from pathlib import Path
    from tacit.client import FileKeyProvider, Personalizer
    folder = Path(sys.argv[1])
    with Personalizer.open(folder / "p.db", FileKeyProvider(folder / "p.key")) as pz:
        while True:
            print(pz.rotate_keys().epoch, flush=True)
"""


def test_a_kill_during_rotations_leaves_one_epoch_whole(shop: Any) -> None:
    with shop.open() as pz:
        for n in range(300):
            pz.track("Product Viewed", {"product_id": f"i{n % 24}"}, event_id=f"visit-{n}")
    for wait in (1, 3):
        rotating = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_ROTATE), str(shop.folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert rotating.stdout is not None
        with rotating.stdout:
            for _ in range(wait):
                rotating.stdout.readline()
            os.kill(rotating.pid, signal.SIGKILL)
        rotating.wait()
        with shop.open() as pz:
            assert pz.state().events == 300
            assert len(pz.events.read(["product_view"])) == 300
            assert len(_rows(pz, "data_keys")) == 1


def test_tags_do_not_depend_on_the_data_key_after_a_rotation(device: Personalizer) -> None:
    first = device.store.sealer
    device.rotate_keys()
    second = device.store.sealer
    assert first.index_key == second.index_key
    assert derive_key(b"x" * 32, b"tags") != second.index_key
    assert first.tag("event-id", "a") == second.tag("event-id", "a")
