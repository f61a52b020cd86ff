"""Rotation: seal everything anew under a new data key, and destroy the old one.

What a disk may still hold of deleted rows in unused blocks, copies and snapshots was sealed under
the old key, so it is noise afterwards. One transaction changes every row and the key: a kill leaves
the old epoch or the new one. As in an erasure, the log is then cut and the files are searched for
the old wrapped key; `Store.open` finishes that after a kill.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from tacit.client.erasure import search_for
from tacit.client.errors import StoreDamaged
from tacit.client.facts import fact_kind
from tacit.client.keys import KeyProvider
from tacit.client.sealing import Sealer
from tacit.client.store import ERASING, INDEX_KEY, Store

_RECORDS = (
    ("events", "sealed", "event"),
    ("consents", "sealed", "consent"),
    ("consents", "receipt", "receipt"),
    ("participation", "sealed", "participation"),
    ("decisions", "sealed", "decision"),
)
"""Table, column, and the kind its records are sealed under, each with its row's sequence."""

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did.

    Attributes:
        epoch: of the new data key.
        records: sealed anew.
        bytes_scanned: of the store's files, searched afterwards for the old wrapped key.
    """

    epoch: int
    records: int
    bytes_scanned: int


def rotate(store: Store, keys: KeyProvider | None = None) -> Rotated:
    """Give a store a new data key; every record is sealed under it when this returns.

    Args:
        store: an open store.
        keys: wraps the new data key, and opens the store from now on; None for the same as before.

    Raises:
        KeyUnavailable: if `keys` cannot wrap; nothing changed.
        StoreDamaged: if a record does not open, so nothing changed; or if bytes of the old wrapped
            key are still found.
    """
    sealer, wrapped_anew = store.new_data_key(keys, store.sealer.index_key)
    with store.power_safe() as connection:
        wrapped = [row[0] for row in connection.execute("SELECT wrapped FROM data_keys")]
        records = _facts(store, connection, sealer)
        for table, column, kind in _RECORDS:
            records += _records(store, connection, sealer, table, column, kind)
        for table, *_ in _RECORDS:
            connection.execute(f"UPDATE {table} SET epoch = ?", (sealer.epoch,))
        connection.execute("DELETE FROM data_keys")
        connection.execute("DELETE FROM index_keys")
        connection.execute("INSERT INTO data_keys VALUES (?, ?)", (sealer.epoch, wrapped_anew))
        connection.execute(
            "INSERT INTO index_keys VALUES (?, ?)",
            (sealer.epoch, sealer.seal(INDEX_KEY, 0, sealer.index_key)),
        )
        store.set_meta(connection, ERASING, 1)
    store.switch_to(sealer, keys)
    store.checkpoint()
    scanned = search_for(store.path, wrapped)
    store.end_erasure()
    return Rotated(sealer.epoch, records, scanned)


def _facts(store: Store, connection: sqlite3.Connection, sealer: Sealer) -> int:
    tags = connection.execute("SELECT tag FROM facts").fetchall()
    for (tag,) in tags:  # one at a time: a model may be among them
        epoch, sealed = connection.execute(
            "SELECT epoch, sealed FROM facts WHERE tag = ?", (tag,)
        ).fetchone()
        try:
            content = store.unseal(fact_kind(tag), 0, epoch, sealed)
        except StoreDamaged:
            raise StoreDamaged(
                "a fact does not open: it was altered, or an older version wrote it and nothing "
                "read it since (sync once, then rotate)"
            ) from None
        connection.execute(
            "UPDATE facts SET epoch = ?, sealed = ? WHERE tag = ?",
            (sealer.epoch, sealer.seal(fact_kind(tag), 0, content), tag),
        )
    return len(tags)


def _records(
    store: Store,
    connection: sqlite3.Connection,
    sealer: Sealer,
    table: str,
    column: str,
    kind: str,
) -> int:
    """Seal one column anew, batch by batch, so that a large store does not fill the memory."""
    query = (
        f"SELECT sequence, epoch, {column} FROM {table} "
        f"WHERE sequence > ? AND {column} IS NOT NULL ORDER BY sequence LIMIT {_BATCH}"
    )
    last = count = 0
    while rows := connection.execute(query, (last,)).fetchall():
        connection.executemany(
            f"UPDATE {table} SET {column} = ? WHERE sequence = ?",
            [
                (sealer.seal(kind, sequence, store.unseal(kind, sequence, epoch, sealed)), sequence)
                for sequence, epoch, sealed in rows
            ],
        )
        last, count = rows[-1][0], count + len(rows)
    return count
