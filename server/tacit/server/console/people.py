"""People's accounts: a role, a password, one-time links for first use, a sealed key."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select, update

from tacit.privacy.signatures import SigningKey
from tacit.server.console.attempts import Attempts
from tacit.server.console.database import Database, links, people, sessions
from tacit.server.console.errors import BadForm, NotPermitted, NotThere
from tacit.server.console.officer_keys import open_key, seal_key
from tacit.server.console.passwords import hash_password, is_password
from tacit.server.console.roles import Role
from tacit.server.console.steady_clock import SteadyClock

LINK_TTL_MS = 30 * 60_000
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,39}")
_WRONG = "expected another name or password"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account.

    Attributes:
        name: Lower-case name.
        role: What they may do.
        enabled: Whether they may sign in.
        key_id: Id of the officer's key they keep here; empty for none.
        has_password: Whether they used their first link.
    """

    name: str
    role: Role
    enabled: bool
    key_id: str
    has_password: bool


class People:
    """Keep accounts. Thread-safe."""

    def __init__(self, database: Database, clock: SteadyClock, attempts: Attempts) -> None:
        self._database = database
        self._clock = clock
        self._attempts = attempts

    def everyone(self) -> list[Person]:
        """Return all people by name."""
        with self._database.writing() as connection:
            rows = connection.execute(select(people).order_by(people.c.name)).all()
        return [_person(row) for row in rows]

    def find(self, name: str) -> Person:
        """Return one person; raises `NotThere`."""
        with self._database.writing() as connection:
            return _person(_row(connection, name))

    def invite(self, name: str, role: Role | None) -> str:
        """Make an account, or take one back to its beginning; returns a link's token.

        Of somebody who has an account, the password, the sealed key and every session go, so
        whoever makes links cannot sign as anybody; the role stays unless another is given.

        Raises:
            BadForm: The name is no name, or a new account has no role.
        """
        if not _NAME.fullmatch(name):
            raise BadForm(
                "name: expected a lower-case letter, then up to 39 letters, digits, '.', '_', '-'"
            )
        now_ms, token = self._clock.now_ms(), secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            start = {"password": "", "sealed_key": b"", "key_id": "", "enabled": True}
            chosen = {} if role is None else {"role": str(role)}
            known = connection.execute(
                update(people).where(people.c.name == name).values(**start, **chosen)
            )
            if not known.rowcount:
                if role is None:
                    raise BadForm("role: expected one of " + ", ".join(Role))
                connection.execute(
                    insert(people), {"name": name, "created_at_ms": now_ms, **start, **chosen}
                )
            connection.execute(delete(sessions).where(sessions.c.name == name))
            connection.execute(delete(links).where(links.c.name == name))
            connection.execute(delete(links).where(links.c.expires_at_ms <= now_ms))
            connection.execute(
                insert(links),
                {
                    "token_sha256": _digest(token),
                    "name": name,
                    "expires_at_ms": now_ms + LINK_TTL_MS,
                },
            )
        return token

    def disable(self, name: str) -> None:
        """Let somebody in no more; ends their sessions and links. Raises `NotThere`."""
        with self._database.writing() as connection:
            _row(connection, name)
            connection.execute(update(people).where(people.c.name == name).values(enabled=False))
            connection.execute(delete(sessions).where(sessions.c.name == name))
            connection.execute(delete(links).where(links.c.name == name))

    def of_link(self, token: str) -> str:
        """Return whose link this is, without using it.

        Raises:
            NotThere: It was used, has expired, or never was.
        """
        with self._database.writing() as connection:
            return self._of_link(connection, token)

    def use_link(self, token: str, password: str) -> Person:
        """Set the first password of a link's owner; the link is used up with it.

        Raises:
            NotThere: As `of_link`.
            BadForm: The password is too short or too long; the link stays.
        """
        kept = hash_password(password)
        with self._database.writing() as connection:
            name = self._of_link(connection, token)
            connection.execute(delete(links).where(links.c.name == name))
            connection.execute(update(people).where(people.c.name == name).values(password=kept))
            return _person(_row(connection, name))

    def sign_in(self, name: str, password: str) -> Person:
        """Return who this is.

        Raises:
            NotPermitted: Name or password is wrong, or the account is disabled; one message.
            TooManyAttempts: As `Attempts.begin`.
        """
        number = self._attempts.begin(name[:40])
        with self._database.writing() as connection:
            row = connection.execute(select(people).where(people.c.name == name)).one_or_none()
        right = is_password(password, row.password if row is not None else "")
        if not right or row is None or not row.enabled:
            raise NotPermitted(_WRONG)
        self._attempts.forgive(number)
        return _person(row)

    def keep_key(self, name: str, password: str, key: SigningKey) -> None:
        """Seal a key under its owner's password, and keep it; the password is checked.

        Raises:
            NotPermitted, TooManyAttempts: As `sign_in`.
        """
        self.sign_in(name, password)
        sealed = seal_key(key, name, password)
        with self._database.writing() as connection:
            connection.execute(
                update(people)
                .where(people.c.name == name)
                .values(sealed_key=sealed, key_id=key.key_id)
            )

    def unseal_key(self, name: str, password: str) -> SigningKey:
        """Return somebody's key; the password is checked.

        Raises:
            NotPermitted, TooManyAttempts: As `sign_in`.
            BadForm: There is no key.
        """
        self.sign_in(name, password)
        with self._database.writing() as connection:
            sealed = _row(connection, name).sealed_key
        return open_key(sealed, name, password)

    def _of_link(self, connection: Connection, token: str) -> str:
        row = connection.execute(
            select(links).where(links.c.token_sha256 == _digest(token))
        ).one_or_none()
        if row is None or row.expires_at_ms <= self._clock.now_ms():
            raise NotThere("this link was used, or has expired; ask for another")
        return str(row.name)


def _row(connection: Connection, name: str) -> Row[tuple[object, ...]]:
    row = connection.execute(select(people).where(people.c.name == name)).one_or_none()
    if row is None:
        raise NotThere("there is nobody of that name")
    return row


def _person(row: Row[tuple[object, ...]]) -> Person:
    return Person(row.name, Role(row.role), row.enabled, row.key_id, bool(row.password))


def _digest(token: str) -> bytes:
    return hashlib.sha256(b"tacit/v1/console-link\0" + token.encode("utf-8", "replace")).digest()
