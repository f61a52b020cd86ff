"""Everything a ledger published, read from a node's database or from an exported directory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import func, select

from tacit.privacy.errors import BadDocument, PrivacyError
from tacit.privacy.signed_note import MAX_NOTE_BYTES
from tacit.privacy.tiles import read_entries
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.database_postgres import reading_postgres
from tacit.server.ledger.keys import KEYS_FILE, PublicKeys
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.server.ledger.tables import checkpoints, leaves, map_entries, map_epochs

LOGS = (GOVERNANCE, CONSENT)
CHECKPOINT_FILE = "checkpoint"
CHECKPOINTS_FILE = "checkpoints.json"


@dataclass(frozen=True, slots=True)
class LogContents:
    """One log as published.

    Attributes:
        entries: leaf data in order.
        notes: every signed checkpoint, in order of size.
    """

    entries: tuple[bytes, ...]
    notes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LedgerContents:
    """Both logs and the keys to check them with; nothing in it is verified but the key file.

    Attributes:
        keys: as signed by the ledger key they name.
        keys_bytes: the same as it was stored.
        logs: log name → contents.
        map_entries: what the current-state map held at its last epoch, where that is known: an
            export never has it (whoever saw two could link changes), a database only while no
            decision came after the epoch.
    """

    keys: PublicKeys
    keys_bytes: bytes
    logs: Mapping[str, LogContents]
    map_entries: Mapping[bytes, bytes] | None = None


def read_database(path: Path) -> LedgerContents:
    """Read a node's state, running or stopped, from its database file or state directory.

    Raises:
        VerificationFailed: if it cannot be read as a ledger.
    """
    file = path / DATABASE_FILE if path.is_dir() else path
    keys_bytes = _read(file.parent / KEYS_FILE)
    logs: dict[str, LogContents] = {}
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("BEGIN")  # one snapshot for both logs
            for name in LOGS:
                leaves = database.execute(
                    "SELECT position, data FROM leaves WHERE log = ? ORDER BY position", (name,)
                ).fetchall()
                notes = database.execute(
                    "SELECT note FROM checkpoints WHERE log = ? ORDER BY size", (name,)
                ).fetchall()
                if [row[0] for row in leaves] != list(range(len(leaves))):
                    raise VerificationFailed((f"{name} log: leaves are missing in between",))
                entries = tuple(cast(bytes, row[1]) for row in leaves)
                logs[name] = LogContents(entries, tuple(cast(bytes, row[0]) for row in notes))
            current = _map_entries(database)
    except sqlite3.Error as error:
        raise VerificationFailed(
            (f"{file.name}: not a readable ledger database: {error}",)
        ) from None
    return LedgerContents(_keys(keys_bytes), keys_bytes, logs, current)


def read_node(config: LedgerConfig) -> LedgerContents:
    """Read a configured node's state, running or stopped, from whichever database it has.

    Raises:
        VerificationFailed: if it cannot be read as a ledger.
        BadConfig: if the database does not answer.
    """
    if not config.database:
        return read_database(config.state_dir)
    keys_bytes = _read(config.state_dir / KEYS_FILE)
    logs: dict[str, LogContents] = {}
    with reading_postgres(config.database) as connection:
        for name in LOGS:
            rows = connection.execute(
                select(leaves.c.position, leaves.c.data)
                .where(leaves.c.log == name)
                .order_by(leaves.c.position)
            ).all()
            notes = connection.execute(
                select(checkpoints.c.note)
                .where(checkpoints.c.log == name)
                .order_by(checkpoints.c.size)
            ).scalars()
            if [row.position for row in rows] != list(range(len(rows))):
                raise VerificationFailed((f"{name} log: leaves are missing in between",))
            logs[name] = LogContents(tuple(row.data for row in rows), tuple(notes))
        covered = connection.execute(select(func.max(map_epochs.c.consent_size))).scalar_one()
        entries = None
        if covered == len(logs[CONSENT].entries):
            held = connection.execute(select(map_entries.c.key, map_entries.c.value)).all()
            entries = {bytes(row.key): bytes(row.value) for row in held}
    return LedgerContents(_keys(keys_bytes), keys_bytes, logs, entries)


def read_export(directory: Path) -> LedgerContents:
    """Read what `export_ledger` wrote.

    Raises:
        VerificationFailed: if files are missing or malformed.
    """
    keys_bytes = _read(directory / KEYS_FILE)
    logs: dict[str, LogContents] = {}
    for name in LOGS:
        path = directory / name / CHECKPOINTS_FILE
        try:
            data = _read(path)
            document: object = json.loads(data)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            data, document = b"", None
        if not isinstance(document, list) or not all(
            isinstance(note, str) and len(note) <= MAX_NOTE_BYTES
            for note in cast(list[object], document)
        ):
            raise VerificationFailed((f"{name}/{CHECKPOINTS_FILE}: expected a list of notes",))
        if write_notes(cast(list[str], document)) != data:
            raise VerificationFailed((f"{name}/{CHECKPOINTS_FILE}: not spelled as an export is",))
        notes = tuple(note.encode("utf-8") for note in cast(list[str], document))
        latest = _read(directory / name / CHECKPOINT_FILE) if notes else b""
        if notes and latest != notes[-1]:
            raise VerificationFailed(
                (f"{name}/{CHECKPOINT_FILE}: is not the last of {name}/{CHECKPOINTS_FILE}",)
            )
        try:
            entries = read_entries(directory / name, len(notes))
        except BadDocument as error:
            raise VerificationFailed((f"{name}/{error}",)) from None
        logs[name] = LogContents(tuple(entries), notes)
    return LedgerContents(_keys(keys_bytes), keys_bytes, logs)


def write_notes(notes: Sequence[str]) -> bytes:
    """Return the one spelling of a list of notes, so that no edited byte goes unnoticed."""
    return json.dumps(list(notes), ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")


def _map_entries(database: sqlite3.Connection) -> dict[bytes, bytes] | None:
    """Read the map's entries if they are exactly those of its last epoch."""
    known = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'map_entries'").fetchone()
    if known is None:
        return None  # written by a node from before there was a map
    (covered,) = database.execute("SELECT MAX(consent_size) FROM map_epochs").fetchone()
    (leaves,) = database.execute("SELECT COUNT(*) FROM leaves WHERE log = ?", (CONSENT,)).fetchone()
    if covered != leaves:
        return None
    return dict(database.execute("SELECT key, value FROM map_entries").fetchall())


def _keys(data: bytes) -> PublicKeys:
    try:
        return PublicKeys.parse(data)
    except PrivacyError as error:
        raise VerificationFailed((f"{KEYS_FILE}: {error}",)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationFailed((f"{path.name}: cannot be read ({error.strerror})",)) from None
