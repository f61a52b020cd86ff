"""Recovery: a damaged store is moved aside, and what still opens goes on in its place.

Nothing is thrown away: the damaged files stay beside the store as they were found, until everything
is forgotten or erased or the keys are rotated (`damaged_copies`). Single events
and decisions may be lost alone. Keys, facts, consents and rounds are whole or nothing, for a device
that lost one of its refusals or rounds would break a promise without knowing; then the device
starts anew, under a new identity, and what it no longer knows to be permitted counts as refused.

Crash points: (1) while the copy and the new file are written, the damaged store is in its place;
(2) then a note takes its place, which opens as nothing, so that a log left behind is not replayed
over either file and no older state passes for the newest; (3) the log goes; (4) the new file takes
the note's place. After a kill at 2 or 3 the note says what is left to do, and recovery that is run
again does that.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacit.client.consents import BASIC_SIGNALS, ConsentLog
from tacit.client.damaged_copies import free_name, sync_folder
from tacit.client.errors import DeviceError, StoreDamaged, StoreUnavailable
from tacit.client.events import EventLog
from tacit.client.facts import Facts
from tacit.client.guardrails.kinds import OUTBOUND
from tacit.client.integrity import LOSABLE, broken_promise
from tacit.client.journal import DecisionJournal
from tacit.client.keys import KeyProvider
from tacit.client.store import TABLES, Store, create_tables
from tacit.client.suppressions import Suppressed, Suppressions
from tacit.client.terms import ConsentTerms
from tacit.privacy.signals import PURPOSES

_SIDE_FILES = ("-wal", "-shm")
_NOTE = b"tacit store recovery under way; run it again\n"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery did.

    Attributes:
        moved_to: where the damaged store is now. It is not swept, and what is forgotten stays in it
            until it is deleted: by hand, by `forget(all)`, `rights.erase` or `rotate_keys`.
        started_anew: whether the device is a new one that has everything refused.
        kept: events and records of decisions that go on.
        lost: those that could be reached and did not open; what could not be reached is not known.
    """

    moved_to: Path
    started_anew: bool
    kept: int
    lost: int


def recover(path: Path, keys: KeyProvider, terms: ConsentTerms, now_ms: int) -> Recovered | None:
    """Move a damaged store aside and put what still opens in its place.

    Args:
        path: the store.
        keys: what opens it; a wrong key is no damage and moves nothing.
        terms: of the refusals that a device which starts anew begins with.
        now_ms: Unix milliseconds.

    Returns:
        What was done; None if everything in the store opens, so that nothing was.

    Raises:
        KeyUnavailable: if the key does not open the store.
        StoreDamaged: if the file is another program's database.
        StoreUnavailable: if there is no store, another process has it open, a newer version wrote
            it, or there is no room for a copy; nothing changed.
    """
    if not path.is_file():
        raise StoreUnavailable(f"{path}: expected a store, got no such file")
    work = path.with_name(path.name + ".recovering")
    if (noted := _read_note(path)) is not None and work.exists():
        return _finish(path, work, noted)
    try:
        with Store.open(path, keys) as store:
            if _first_damage(store) is None:
                return None
    except StoreDamaged:
        _refuse_foreign(path)
    moved_to = free_name(path)
    try:
        _copy(path, moved_to)
        _remove(work)
        carried = _carry_over(moved_to, work, keys)
        if carried is None:
            _start_anew(work, keys, terms, now_ms)
        kept, lost = carried or (0, 0)
        recovered = Recovered(moved_to, carried is None, kept, lost)
        _write_note(path, recovered)
    except (OSError, sqlite3.Error, DeviceError) as error:
        _remove(work)
        _remove(moved_to)
        raise StoreUnavailable(f"{path}: cannot be recovered ({error})") from None
    return _finish(path, work, recovered)


def _finish(path: Path, work: Path, recovered: Recovered) -> Recovered:
    try:
        for suffix in _SIDE_FILES:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        os.replace(work, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(f"{path}: run recovery again ({error})") from None
    return recovered


def _write_note(path: Path, recovered: Recovered) -> None:
    note = path.with_name(path.name + ".note")
    facts = [recovered.moved_to.name, recovered.started_anew, recovered.kept, recovered.lost]
    with note.open("wb") as file:
        note.chmod(0o600)
        file.write(_NOTE + json.dumps(facts).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(note, path)
    sync_folder(path.parent)


def _read_note(path: Path) -> Recovered | None:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(_NOTE):
        return None
    name, started_anew, kept, lost = json.loads(head[len(_NOTE) :])
    return Recovered(path.with_name(name), started_anew, kept, lost)


def _first_damage(store: Store) -> str | None:
    """Name the first part of a store that does not open; None if all of it does."""
    if (damage := broken_promise(store)) is not None:
        return damage
    try:
        with store.reading() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            return "tables"
        DecisionJournal(store).rows()
    except DeviceError:
        return "tables"
    _, lost = _events(store)
    return "events" if lost else None


def _carry_over(damaged: Path, work: Path, keys: KeyProvider) -> tuple[int, int] | None:
    """Write what opens to a new store; returns records kept and lost, None if it cannot go on."""
    # Read from a copy of its own: SQLite writes to what it opens.
    read = damaged.with_name(damaged.name + ".reading")
    try:
        _copy(damaged, read)
        with Store.open(read, keys) as store:
            if broken_promise(store) is None:
                return _write(store, work)
    except StoreDamaged:
        pass
    finally:
        _remove(read)
    return None


def _start_anew(work: Path, keys: KeyProvider, terms: ConsentTerms, now_ms: int) -> None:
    """Make an empty store that has everything refused, before it takes its place."""
    with Store.open(work, keys) as store:
        facts = Facts(store)
        consents = ConsentLog(store, facts)
        for purpose in PURPOSES:
            consents.decide(purpose, BASIC_SIGNALS, granted=False, now_ms=now_ms, terms=terms)
        Suppressions(facts).add(Suppressed(channels=frozenset(OUTBOUND)))


def _write(store: Store, work: Path) -> tuple[int, int]:
    events, lost_events = _events(store)
    decisions, lost_decisions = _decisions(store)
    with store.reading() as source:
        whole = {
            table: source.execute(f"SELECT * FROM {table}").fetchall()
            for table in (*(t for t in TABLES if t not in LOSABLE), "meta")
        }
        sequences = source.execute("SELECT seq, name FROM sqlite_sequence").fetchall()
    target = sqlite3.connect(work, isolation_level=None)
    try:
        work.chmod(0o600)
        target.execute("BEGIN")
        create_tables(target)
        for table, rows in {**whole, "events": events, "decisions": decisions}.items():
            for row in rows:
                marks = ",".join("?" * len(row))
                target.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
        for sequence, name in sequences:
            # Sequences are never given twice, also those of what was lost.
            target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            target.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, sequence))
        target.execute("COMMIT")
    finally:
        target.close()
    return len(events) + len(decisions), lost_events + lost_decisions


def _events(store: Store) -> tuple[list[tuple[Any, ...]], int]:
    rows = _reachable(store, "events")
    log = EventLog(store)
    kept = [row for row in rows if log.opens(*row)]
    return kept, len(rows) - len(kept)


def _decisions(store: Store) -> tuple[list[tuple[Any, ...]], int]:
    rows = _reachable(store, "decisions")
    kept: list[tuple[Any, ...]] = []
    for row in rows:
        try:
            store.unseal("decision", row[0], row[1], row[3])
        except (StoreDamaged, TypeError):
            continue
        kept.append(row)
    return kept, len(rows) - len(kept)


def _reachable(store: Store, table: str) -> list[tuple[Any, ...]]:
    """Read a table from both ends, as far as SQLite gets past damaged pages."""
    found: dict[int, tuple[Any, ...]] = {}
    for direction in ("ASC", "DESC"):
        try:
            with store.reading() as connection:
                for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1 {direction}"):
                    found.setdefault(row[0], row)
                return [found[sequence] for sequence in sorted(found)]
        except DeviceError:
            continue
    return [found[sequence] for sequence in sorted(found)]


def _refuse_foreign(path: Path) -> None:
    """Leave the database of another program alone.

    Raises:
        StoreDamaged: if SQLite reads the file, and it is no store.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        finally:
            connection.close()
    except sqlite3.Error:
        return
    if tables and not {"meta", "data_keys", "facts"} <= tables:
        raise StoreDamaged(f"{path}: expected a device's store, got another database")


def _copy(path: Path, to: Path) -> None:
    for suffix in ("", *_SIDE_FILES):
        source = path.with_name(path.name + suffix)
        if source.exists():
            copy = to.with_name(to.name + suffix)
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(to.parent)


def _remove(path: Path) -> None:
    for suffix in ("", *_SIDE_FILES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
