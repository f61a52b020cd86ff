"""The event log: what the app observed, sealed, in the order it happened.

Signals are indexed by a keyed tag, so a reader that may see some signals never decrypts a row of
another. Event ids are indexed the same way, which makes recording idempotent without storing ids
in the clear.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tacit.client.errors import StoreDamaged
from tacit.client.store import Store

_KIND = "event"
MAX_EVENT_ID = 256
_OWN, _LINKED = "signal", "linked-signal"
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Event:
    """One observation.

    Attributes:
        name: as the app gave it.
        signal: what it stands for in the signal catalogue.
        items: ids of the items it is about; an order names several.
        value: a number that came with it, such as a rating; None for none.
        recorded_at_ms: Unix milliseconds.
        properties: everything else, JSON values.
        event_id: the id it was recorded under; empty before it is, and for what was recorded before
            ids were kept.
    """

    name: str
    signal: str
    items: tuple[str, ...]
    value: float | None
    recorded_at_ms: int
    properties: Mapping[str, object] = field(default_factory=dict[str, object])
    event_id: str = ""
    # Not an argument, so that `replace` never carries the bytes of one event into another.
    _encoded: bytes | None = field(init=False, repr=False, compare=False, default=None)

    def to_bytes(self) -> bytes:
        """Encode for sealing; once, for an event is measured before it is sealed."""
        if self._encoded is None:
            encoded = _ENCODER.encode(
                [
                    self.name,
                    self.signal,
                    self.items,
                    self.value,
                    self.recorded_at_ms,
                    dict(self.properties),
                    self.event_id,
                ]
            ).encode()
            object.__setattr__(self, "_encoded", encoded)
            return encoded
        return self._encoded

    @classmethod
    def from_bytes(cls, data: bytes) -> Event:
        """Decode what `to_bytes` wrote and the store authenticated."""
        try:
            # Decoding first spares `json` its guess at the encoding, for every event read.
            fields: list[Any] = json.loads(data.decode("utf-8"))
            name, signal, items, value, recorded_at_ms, properties, *rest = fields
            (event_id,) = rest or ("",)
        except ValueError:
            raise StoreDamaged("an event record is of another version") from None
        return cls(name, signal, tuple(items), value, recorded_at_ms, properties, event_id)


def _under(event: Event, event_id: str) -> Event:
    return event if event.event_id == event_id else replace(event, event_id=event_id)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event and its place in the log."""

    sequence: int
    event: Event


class EventLog:
    """Append to and read from the sealed log of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._forgotten: set[bytes] | None = None

    def append(self, event: Event, event_id: str) -> tuple[int, bool]:
        """Record one event; safe against a kill when this returns.

        Returns:
            The event's sequence, and whether it is new. An id seen before records nothing; its
            sequence is 0 if what it named was forgotten since, which does not come back.
        """
        return self.append_all([(event, event_id)])[0]

    def append_all(
        self, events: Iterable[tuple[Event, str]], *, linked: bool = False
    ) -> list[tuple[int, bool]]:
        """Record several events in one transaction: all of them or none.

        Args:
            events: each with its id.
            linked: they come from another device of the person; see `read`.
        """
        forgotten = self._forgotten_tags()
        tag = self._store.sealer.tag
        batch = [(tag("event-id", event_id), _under(event, event_id)) for event, event_id in events]
        with self._store.kill_safe() as connection:
            row = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
            ).fetchone()
            sequence = row[0] if row else 0
            if len(batch) > 1 and not forgotten.intersection(one for one, _ in batch):
                connection.execute("SAVEPOINT batch")
                try:
                    self._insert_new(connection, sequence, batch, linked=linked)
                except sqlite3.IntegrityError:
                    # Some id is known; which one, only inserting them one by one tells.
                    connection.execute("ROLLBACK TO batch")
                else:
                    return [(sequence + place, True) for place in range(1, len(batch) + 1)]
            results: list[tuple[int, bool]] = []
            for event_tag, event in batch:
                if event_tag in forgotten:
                    results.append((0, False))
                    continue
                try:
                    self._insert_new(connection, sequence, [(event_tag, event)], linked=linked)
                except sqlite3.IntegrityError:
                    known = connection.execute(
                        "SELECT sequence FROM events WHERE event_tag = ?", (event_tag,)
                    ).fetchone()
                    if known is None:
                        raise
                    results.append((int(known[0]), False))
                else:
                    sequence += 1
                    results.append((sequence, True))
        return results

    def _insert_new(
        self,
        connection: sqlite3.Connection,
        after: int,
        batch: Sequence[tuple[bytes, Event]],
        *,
        linked: bool,
    ) -> None:
        """Insert tagged events behind a sequence.

        Raises:
            sqlite3.IntegrityError: if a tag is known or comes twice. The event at fault is not
                inserted and uses up no sequence; those before it are inserted.
        """
        sealer, kind = self._store.sealer, _LINKED if linked else _OWN
        sealed = sealer.seal_all(_KIND, after + 1, [event.to_bytes() for _, event in batch])
        rows = [
            (after + place, sealer.epoch, event_tag, self._filed(kind, event.signal), content)
            for place, ((event_tag, event), content) in enumerate(
                zip(batch, sealed, strict=True), start=1
            )
        ]
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)

    def _filed(self, kind: str, signal: str) -> bytes:
        """Name the place where events of a signal are filed, own or linked ones."""
        sealer = self._store.sealer
        return sealer.signal_tag(signal) if kind == _OWN else sealer.tag(kind, signal)

    def read(
        self,
        signals: Collection[str],
        *,
        through: int | None = None,
        after: int = 0,
        linked: bool = False,
    ) -> Sequence[LoggedEvent]:
        """Read the events of some signals, oldest first; rows of other signals stay sealed.

        Args:
            signals: names of the signals that may be read.
            through: last sequence to read; None for all.
            after: read only what came after this sequence.
            linked: also what other devices of the person recorded. Decisions read that; what leaves
                the device never does, so that each event is contributed by one device alone.

        Raises:
            StoreDamaged: if a record does not open or is filed under another signal.
        """
        if not signals:
            return []
        names = sorted(set(signals))
        kinds = (_OWN, _LINKED) if linked else (_OWN,)
        tags = [self._filed(kind, name) for kind in kinds for name in names]
        marks = ",".join("?" * len(tags))
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT sequence, epoch, sealed FROM events "
                f"WHERE signal_tag IN ({marks}) AND sequence <= ? AND sequence > ? "
                "ORDER BY sequence",
                (*tags, 2**62 if through is None else through, after),
            ).fetchall()
        logged = [
            LoggedEvent(row[0], Event.from_bytes(self._store.unseal(_KIND, row[0], row[1], row[2])))
            for row in rows
        ]
        # A row whose tag was swapped on disk would smuggle a signal past consent.
        if any(entry.event.signal not in signals for entry in logged):
            raise StoreDamaged("an event is filed under a signal that is not its own")
        return logged

    def opens(
        self, sequence: int, epoch: int, event_tag: bytes, signal_tag: bytes, sealed: bytes
    ) -> bool:
        """Tell whether a row opens and is filed under its own id and signal."""
        sealer = self._store.sealer
        try:
            event = Event.from_bytes(self._store.unseal(_KIND, sequence, epoch, sealed))
        except (StoreDamaged, TypeError):
            return False
        filed = {sealer.tag(kind, event.signal) for kind in (_OWN, _LINKED)}
        known = not event.event_id or event_tag == sealer.tag("event-id", event.event_id)
        return known and signal_tag in filed

    def find(self, event_id: str) -> LoggedEvent | None:
        """Return the event that was recorded under an id, or None."""
        tag = self._store.sealer.tag("event-id", event_id)
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT sequence, epoch, sealed FROM events WHERE event_tag = ?", (tag,)
            ).fetchone()
        if row is None:
            return None
        return LoggedEvent(row[0], Event.from_bytes(self._store.unseal(_KIND, *row)))

    def replace(self, sequence: int, event: Event | None) -> None:
        """Put another event in the place of one, or nothing; on the disk when this returns."""
        sealer = self._store.sealer
        with self._store.power_safe() as connection:
            if event is None:
                self._forget(connection, [(sequence,)])
                return
            row = connection.execute(
                "SELECT epoch, sealed, signal_tag FROM events WHERE sequence = ?", (sequence,)
            ).fetchone()
            before = Event.from_bytes(self._store.unseal(_KIND, sequence, row[0], row[1]))
            # Corrected here or not, what another device recorded is for that one to contribute.
            kind = _LINKED if row[2] == sealer.tag(_LINKED, before.signal) else _OWN
            connection.execute(
                "UPDATE events SET epoch = ?, signal_tag = ?, sealed = ? WHERE sequence = ?",
                (
                    self._store.epoch,
                    self._filed(kind, event.signal),
                    sealer.seal(_KIND, sequence, event.to_bytes()),
                    sequence,
                ),
            )

    def erase_all(self) -> None:
        """Delete every event, and cut the write-ahead log, so that none is left in old pages."""
        with self._store.power_safe() as connection:
            connection.execute("DELETE FROM events")
            connection.execute("DELETE FROM forgotten")
            self._forgotten = None
        self._store.checkpoint()

    def forget_item(self, item: str) -> list[int]:
        """Delete every event about an item; one that is about others too loses only the item.

        On the disk when this returns, with the old bytes overwritten (`secure_delete`) in the
        database; the caller cuts the write-ahead log. What is deleted does not come back: its id,
        as a keyed tag, is all that is remembered of it.

        Returns:
            The sequences of the events that changed.
        """
        return self._change(lambda event: _without(event, item))

    def forget_since(self, since_ms: int) -> list[int]:
        """Delete every event of a time or later; see `forget_item`.

        Args:
            since_ms: Unix milliseconds, compared with `Event.recorded_at_ms`.
        """
        return self._change(lambda event: None if event.recorded_at_ms >= since_ms else event)

    def delete(self, sequences: Iterable[int]) -> None:
        """Delete events whose time is over; on the disk when this returns."""
        with self._store.power_safe() as connection:
            connection.executemany(
                "DELETE FROM events WHERE sequence = ?", [(sequence,) for sequence in sequences]
            )

    def _change(self, changed_to: Callable[[Event], Event | None]) -> list[int]:
        with self._store.reading() as connection:
            rows = connection.execute("SELECT sequence, epoch, sealed FROM events").fetchall()
        gone: list[tuple[int]] = []
        changed: list[tuple[int, bytes, int]] = []
        for sequence, epoch, sealed in rows:
            event = Event.from_bytes(self._store.unseal(_KIND, sequence, epoch, sealed))
            without = changed_to(event)
            if without is None:
                gone.append((sequence,))
            elif without is not event:
                content = self._store.sealer.seal(_KIND, sequence, without.to_bytes())
                changed.append((self._store.epoch, content, sequence))
        with self._store.power_safe() as connection:
            self._forget(connection, gone)
            connection.executemany(
                "UPDATE events SET epoch = ?, sealed = ? WHERE sequence = ?", changed
            )
        return [row[0] for row in gone] + [row[2] for row in changed]

    def _forget(self, connection: sqlite3.Connection, gone: Sequence[tuple[int]]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO forgotten SELECT event_tag FROM events WHERE sequence = ?", gone
        )
        connection.executemany("DELETE FROM events WHERE sequence = ?", gone)
        self._forgotten = None

    def _forgotten_tags(self) -> set[bytes]:
        if self._forgotten is None:
            with self._store.reading() as connection:
                rows = connection.execute("SELECT event_tag FROM forgotten").fetchall()
            self._forgotten = {row[0] for row in rows}
        return self._forgotten

    def last_sequence(self) -> int:
        """Return the sequence of the newest event ever recorded; 0 for none."""
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
            ).fetchone()
        return int(row[0]) if row else 0

    def count(self) -> int:
        """Count the events held."""
        with self._store.reading() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM events").fetchone()[0])


def _without(event: Event, item: str) -> Event | None:
    """Return an event without an item: None if nothing is left, the event itself if untouched."""
    stated = event.signal == "preference" and event.properties.get("name") == item
    if stated or event.items == (item,):
        return None
    if item not in event.items:
        return event
    properties = dict(event.properties)
    products = properties.get("products")
    if isinstance(products, list):
        properties["products"] = [
            one
            for one in cast(list[dict[str, object]], products)
            if item not in (one.get("product_id"), one.get("item_id"))
        ]
    rest = tuple(one for one in event.items if one != item)
    return replace(event, items=rest, properties=properties) if rest else None
