"""The access log: who read or changed what, each entry bound to all before it.

    hash(0) = SHA-256(domain)
    hash(n) = SHA-256(domain || hash(n - 1) || entry(n))

The domain is "tacit/v1/access-log" and a zero byte; an entry is canonical JSON. An altered,
removed, inserted or moved entry breaks the chain; entries cut off at its end are found by whoever
kept an earlier head (`SEQUENCE:HASH`). Whoever can write the file can write a whole other chain,
which heads kept elsewhere find as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from tacit.privacy.canonical import Fields, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument
from tacit.server.console.database import Database, access_log
from tacit.server.console.steady_clock import SteadyClock
from tacit.server.errors import VerificationFailed

_DOMAIN = b"tacit/v1/access-log\0"
_LONGEST = 250
_START = hashlib.sha256(_DOMAIN).digest()


@dataclass(frozen=True, slots=True)
class Access:
    """One entry.

    Attributes:
        at_ms: When, Unix milliseconds of the console's steady clock.
        name: Who; empty for nobody signed in.
        role: Their role then; empty for nobody.
        action: "GET", "POST", or what was done at the command line.
        target: Path without query, or the name of the route where the path holds a secret.
        outcome: HTTP status, or "asked" for a change about to be tried.
        detail: What a change was about; never a secret.
    """

    at_ms: int
    name: str
    role: str
    action: str
    target: str
    outcome: str
    detail: str = ""

    def to_bytes(self) -> bytes:
        """Return canonical bytes."""
        return canonical_json(
            {
                "at_ms": self.at_ms,
                "name": self.name,
                "role": self.role,
                "action": self.action,
                "target": self.target,
                "outcome": self.outcome,
                "detail": self.detail,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Access:
        """Parse canonical bytes; raises `BadDocument`."""
        fields = Fields(parse_canonical(data), "access")
        entry = cls(
            at_ms=fields.integer("at_ms", 0),
            **{
                name: fields.text(name)
                for name in ("name", "role", "action", "target", "outcome", "detail")
            },
        )
        fields.done()
        return entry


@dataclass(frozen=True, slots=True)
class Head:
    """How far the log has come.

    Attributes:
        sequence: Number of entries.
        digest: Hash of the last, 32 bytes.
    """

    sequence: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Parse what `str` gives.

        Raises:
            ValueError: It is something else.
        """
        number, _, digest = text.partition(":")
        head = cls(int(number), bytes.fromhex(digest))
        if head.sequence < 0 or len(head.digest) != len(_START):
            raise ValueError("expected SEQUENCE:HASH")
        return head


class AccessLog:
    """Append to the log and read it. Thread-safe, and safe beside other processes."""

    def __init__(self, database: Database, clock: SteadyClock) -> None:
        self._database = database
        self._clock = clock

    def append(
        self, name: str, role: str, action: str, target: str, outcome: str, detail: str = ""
    ) -> Head:
        """Append an entry; it is durable when this returns."""
        with self._database.writing() as connection:
            last = connection.execute(
                select(access_log).order_by(access_log.c.sequence.desc()).limit(1)
            ).one_or_none()
            sequence, digest = (0, _START) if last is None else (last.sequence, last.hash)
            # Another process may have a clock a little ahead of this one.
            at_ms = max(self._clock.now_ms(), 0 if last is None else last.at_ms)
            entry = Access(at_ms, name, role, action, target[:_LONGEST], outcome, detail[:_LONGEST])
            data = entry.to_bytes()
            head = Head(sequence + 1, _chained(digest, data))
            connection.execute(
                insert(access_log),
                {"sequence": head.sequence, "at_ms": at_ms, "entry": data, "hash": head.digest},
            )
        return head

    def latest(self, count: int) -> list[tuple[int, Access]]:
        """Return the newest entries with their sequence, newest first.

        Raises:
            BadDocument: One of them is malformed.
        """
        with self._database.writing() as connection:
            rows = connection.execute(
                select(access_log.c.sequence, access_log.c.entry)
                .order_by(access_log.c.sequence.desc())
                .limit(count)
            ).all()
        return [(row.sequence, Access.parse(row.entry)) for row in rows]

    def verify(self, known: Head | None = None) -> Head:
        """Verify the whole chain; returns its head.

        Args:
            known: A head from before, which the chain must contain; None for none.

        Raises:
            VerificationFailed: An entry was altered, removed, inserted or moved, time goes back in
                it, or the chain does not contain what is known.
        """
        digest, sequence, at_ms = _START, 0, 0
        seen = known is None or known == Head(0, _START)
        with self._database.writing() as connection:
            rows = connection.execute(select(access_log).order_by(access_log.c.sequence))
            for row in rows:
                sequence += 1
                # SQLite keeps whatever type somebody else wrote there.
                data = row.entry if isinstance(row.entry, bytes) else b""
                digest = _chained(digest, data)
                try:
                    entry = Access.parse(data)
                except BadDocument as error:
                    raise VerificationFailed((f"access log entry {sequence}: {error}",)) from None
                if (row.sequence, row.hash) != (sequence, digest):
                    raise VerificationFailed(
                        (f"access log entry {sequence}: is not what was chained there",)
                    )
                if entry.at_ms != row.at_ms or entry.at_ms < at_ms:
                    raise VerificationFailed(
                        (f"access log entry {sequence}: its time is not the one recorded",)
                    )
                at_ms = entry.at_ms
                seen = seen or known == Head(sequence, digest)
        if not seen:
            raise VerificationFailed(
                (f"access log: its {sequence} entries do not contain the known head {known}",)
            )
        return Head(sequence, digest)


def latest_time_ms(database: Database) -> int:
    """Return the latest time on record; 0 for none."""
    with database.writing() as connection:
        return connection.execute(select(func.max(access_log.c.at_ms))).scalar_one() or 0


def _chained(before: bytes, entry: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + before + entry).digest()
