"""Sessions, kept on the server: a cookie names one and says nothing else."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import delete, insert, select, update

from tacit.server.console.database import Database, people, sessions
from tacit.server.console.errors import NotSignedIn
from tacit.server.console.people import Person
from tacit.server.console.roles import Role
from tacit.server.console.steady_clock import SteadyClock

LIFETIME_MS = 8 * 3_600_000


class Sessions:
    """Begin, look up and end sessions. Thread-safe.

    A session ends when it was idle too long, at the latest after `LIFETIME_MS`, when its owner
    signs out, is disabled or gets a new link. Only digests of tokens are kept.
    """

    def __init__(self, database: Database, clock: SteadyClock, idle_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._idle_ms = idle_ms

    def begin(self, name: str) -> str:
        """Begin a session; returns its token, made here and never taken from a browser."""
        token, now_ms = secrets.token_urlsafe(32), self._clock.now_ms()
        with self._database.writing() as connection:
            connection.execute(
                delete(sessions).where(
                    (sessions.c.started_at_ms <= now_ms - LIFETIME_MS)
                    | (sessions.c.seen_at_ms <= now_ms - self._idle_ms)
                )
            )
            row = {"token_sha256": _digest(token), "name": name}
            connection.execute(
                insert(sessions), row | {"started_at_ms": now_ms, "seen_at_ms": now_ms}
            )
        return token

    def person(self, token: str, *, counts: bool = True) -> Person:
        """Return whose session this is, as they are now.

        Args:
            token: From the cookie.
            counts: Whether this keeps the session from becoming idle.

        Raises:
            NotSignedIn: It is none, or ended.
        """
        now_ms, digest = self._clock.now_ms(), _digest(token)
        with self._database.writing() as connection:
            row = connection.execute(
                select(sessions.c.started_at_ms, sessions.c.seen_at_ms, people)
                .join(people, people.c.name == sessions.c.name)
                .where(sessions.c.token_sha256 == digest)
            ).one_or_none()
            if (
                row is None
                or not row.enabled
                or now_ms - row.seen_at_ms >= self._idle_ms
                or now_ms - row.started_at_ms >= LIFETIME_MS
            ):
                raise NotSignedIn("sign in to go on")
            if counts:
                connection.execute(
                    update(sessions)
                    .where(sessions.c.token_sha256 == digest)
                    .values(seen_at_ms=now_ms)
                )
            return Person(row.name, Role(row.role), row.enabled, row.key_id, bool(row.password))

    def end(self, token: str) -> None:
        """End a session."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_sha256 == _digest(token)))


def form_token(cookie: str) -> str:
    """Return the token that forms shown to the holder of this cookie carry.

    It follows from the cookie, which scripts and other origins cannot read, by HMAC-SHA-256, and
    so is as unguessable, ends with it, and needs no storage.
    """
    return hmac.new(cookie.encode(), b"tacit/v1/console-form", hashlib.sha256).hexdigest()


def is_form_token(cookie: str, token: str) -> bool:
    """Say whether a form carries its token, in time that does not tell how nearly."""
    return bool(cookie) and hmac.compare_digest(form_token(cookie).encode(), token.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(b"tacit/v1/console-session\0" + token.encode("utf-8", "replace")).digest()
