"""Everything a ledger published, read from a node's database or from an exported directory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tacit.privacy.errors import BadDocument, PrivacyError
from tacit.privacy.signed_note import MAX_NOTE_BYTES
from tacit.privacy.tiles import read_entries
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE, PublicKeys
from tacit.server.ledger.log import CONSENT, GOVERNANCE

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
            map_entries = _map_entries(database)
    except sqlite3.Error as error:
        raise VerificationFailed(
            (f"{file.name}: not a readable ledger database: {error}",)
        ) from None
    return LedgerContents(_keys(keys_bytes), keys_bytes, logs, map_entries)


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
            document: object = json.loads(_read(path))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            document = None
        if not isinstance(document, list) or not all(
            isinstance(note, str) and len(note) <= MAX_NOTE_BYTES
            for note in cast(list[object], document)
        ):
            raise VerificationFailed((f"{name}/{CHECKPOINTS_FILE}: expected a list of notes",))
        notes = tuple(note.encode("utf-8") for note in cast(list[str], document))
        latest = _read(directory / name / CHECKPOINT_FILE) if notes else b""
        if notes and latest != notes[-1]:
            raise VerificationFailed((f"{name}/{CHECKPOINT_FILE}: is not the last checkpoint",))
        try:
            entries = read_entries(directory / name, len(notes))
        except BadDocument as error:
            raise VerificationFailed((f"{name}/{error}",)) from None
        logs[name] = LogContents(tuple(entries), notes)
    return LedgerContents(_keys(keys_bytes), keys_bytes, logs)


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
