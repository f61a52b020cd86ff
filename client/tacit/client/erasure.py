"""Erasure: destroy the data key, then look for it on the disk.

Deleting a row leaves its bytes in the write-ahead log until the log is cut, so erasure has four
steps, any of which may be the last before a kill: (1) one transaction empties every table and
notes that erasure is under way; (2) the log is moved into the database and cut; (3) the files are
searched for the wrapped key; (4) copies that recoveries left are destroyed. `Store.open` does (2)
and (4) again when it finds the note of (1).
Without its data key every record that a disk may still hold in unused blocks is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tacit.client.decision import Forgotten
from tacit.client.errors import StoreDamaged
from tacit.client.facts import sealed_fact
from tacit.client.store import ERASING, TABLES, Store


def erase(store: Store) -> Forgotten:
    """Erase everything in a store; it is empty, and without keys, when this returns.

    Raises:
        StoreDamaged: if bytes of the wrapped key are still found in the store's files.
    """
    with store.power_safe() as connection:
        wrapped = [row[0] for row in connection.execute("SELECT wrapped FROM data_keys")]
        erased = 0
        for table in TABLES:
            erased += connection.execute(f"DELETE FROM {table}").rowcount
        store.set_meta(connection, ERASING, 1)
    store.checkpoint()
    scanned = search_for(store.path, wrapped)
    store.end_erasure()
    return Forgotten(erased, scanned)


def erase_keeping(store: Store, kept: Mapping[str, bytes]) -> Forgotten:
    """Erase everything in a store but some facts, which are sealed anew under a new data key.

    The store stays open. The old data key, and with it every record a disk may still hold, is gone
    when this returns; one transaction, so a kill leaves all of it or only what is kept.

    Args:
        store: an open store.
        kept: facts, by name.

    Raises:
        StoreDamaged: if bytes of the old wrapped key are still found in the store's files.
    """
    sealer, wrapped_anew = store.new_data_key()
    with store.power_safe() as connection:
        wrapped = [row[0] for row in connection.execute("SELECT wrapped FROM data_keys")]
        erased = 0
        for table in TABLES:
            erased += connection.execute(f"DELETE FROM {table}").rowcount
        connection.execute("DELETE FROM sqlite_sequence")
        connection.execute("INSERT INTO data_keys VALUES (?, ?)", (sealer.epoch, wrapped_anew))
        for name, value in kept.items():
            row = sealed_fact(sealer, name, value)
            connection.execute("INSERT INTO facts VALUES (?, ?, ?)", row)
        store.set_meta(connection, ERASING, 1)
    store.switch_to(sealer)
    store.checkpoint()
    scanned = search_for(store.path, wrapped)
    store.end_erasure()
    return Forgotten(erased, scanned)


def search_for(path: Path, needles: list[bytes]) -> int:
    """Search a store's files for wrapped keys that must be gone; returns the bytes searched.

    Raises:
        StoreDamaged: if one is still there.
    """
    scanned = 0
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if file.exists():
            content = file.read_bytes()
            scanned += len(content)
            if any(needle in content for needle in needles):
                raise StoreDamaged(f"{file}: bytes of an erased key are still there")
    return scanned
