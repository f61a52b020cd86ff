"""Enrolment: a one-time token turns a public key into a known device."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from tacit.privacy.errors import BadSignature
from tacit.privacy.signatures import PUBLIC_KEY_BYTES, key_id, verify
from tacit.server.errors import InvalidRequest, Unauthenticated
from tacit.server.ledger.database import Database, retried
from tacit.server.ledger.erased_names import is_erased
from tacit.server.ledger.tables import devices, tokens

ENROL_CONTEXT = "enrol"
MAX_TOKENS = 10_000
_POPULATION = re.compile(r"[0-9A-Za-z._:/-]{1,128}")


@dataclass(frozen=True, slots=True)
class Device:
    """A device the node knows.

    Attributes:
        device_id: `key_id` of its key.
        public_key: 32 bytes.
        population: which population its token was made for.
    """

    device_id: str
    public_key: bytes
    population: str


class DeviceRegistry:
    """Make tokens, take them once, remember devices.

    Tokens are stored as SHA-256 digests; they carry 160 random bits, so a digest gives nothing
    away. Public keys are cached in memory because every request needs one.
    """

    def __init__(self, database: Database, random_bytes: Callable[[int], bytes]) -> None:
        self._database = database
        self._random_bytes = random_bytes
        with database.reading() as connection:
            rows = connection.execute(select(devices.c.device_id, devices.c.public_key))
            self._public_keys: dict[str, bytes] = {row[0]: row[1] for row in rows}

    def public_key(self, device_id: str) -> bytes | None:
        """Return the key of an enrolled device, None for an unknown one."""
        return self._public_keys.get(device_id)

    def forget(self, device_id: str) -> None:
        """Drop a device that was erased from memory; its row is gone."""
        self._public_keys.pop(device_id, None)

    @retried
    def create_tokens(
        self, population: str, count: int, expires_at_ms: int, now_ms: int
    ) -> list[str]:
        """Make one-time tokens; only their digests are stored.

        Raises:
            InvalidRequest: unless population is a plain name, 1 <= count <= 10,000 and the expiry
                lies in the future.
        """
        if not _POPULATION.fullmatch(population):
            raise InvalidRequest("population: expected 1 to 128 characters of [0-9A-Za-z._:/-]")
        if not 1 <= count <= MAX_TOKENS or expires_at_ms <= now_ms:
            raise InvalidRequest(f"expected 1 to {MAX_TOKENS} tokens that expire in the future")
        made = [self._random_bytes(20).hex() for _ in range(count)]
        rows = [
            {
                "token_sha256": _digest(token),
                "population": population,
                "expires_at_ms": expires_at_ms,
            }
            for token in made
        ]
        with self._database.writing() as connection:
            connection.execute(insert(tokens), rows)
        return made

    @retried
    def enrol(self, token: str, public_key: bytes, proof: bytes, now_ms: int) -> Device:
        """Consume a token and remember the device that proved possession of its key.

        The same device presenting its own spent token again (its first reply was lost) gets the
        same answer; any other use of a spent token is refused.

        Raises:
            InvalidRequest: if the key is not 32 bytes.
            Unauthenticated: if the proof does not verify, or the token is unknown, spent or
                expired.
        """
        if len(public_key) != PUBLIC_KEY_BYTES or len(token) > 128:
            raise InvalidRequest(f"expected a token and a public key of {PUBLIC_KEY_BYTES} bytes")
        try:
            verify(public_key, ENROL_CONTEXT, token.encode("utf-8"), proof)
        except BadSignature:
            raise Unauthenticated("enrolment: the proof of possession does not verify") from None
        device_id = key_id(public_key)
        digest = _digest(token)
        # Guesses are turned away before they take the one lock that every append waits for.
        with self._database.reading() as connection:
            known = select(tokens.c.token_sha256).where(tokens.c.token_sha256 == digest)
            if connection.execute(known).first() is None:
                raise Unauthenticated("enrolment: the token is unknown")
        with self._database.writing() as connection:
            row = connection.execute(
                select(tokens.c.population, tokens.c.expires_at_ms, tokens.c.used_by).where(
                    tokens.c.token_sha256 == digest
                )
            ).one_or_none()
            if row is None:
                raise Unauthenticated("enrolment: the token is unknown")
            population, expires_at_ms, used_by = row
            device = Device(device_id, public_key, population)
            if used_by == device_id:
                return device
            if used_by is not None:
                raise Unauthenticated("enrolment: the token was used before")
            if now_ms >= expires_at_ms:
                raise Unauthenticated("enrolment: the token has expired")
            enrolled = select(devices.c.device_id).where(devices.c.device_id == device_id)
            if connection.execute(enrolled).first() is not None:
                raise Unauthenticated("enrolment: the device is enrolled with another token")
            if is_erased(connection, device_id):
                raise Unauthenticated("enrolment: this key was erased; enrol with a new one")
            connection.execute(
                update(tokens).where(tokens.c.token_sha256 == digest).values(used_by=device_id)
            )
            connection.execute(
                insert(devices),
                {
                    "device_id": device_id,
                    "public_key": public_key,
                    "population": population,
                    "enrolled_at_ms": now_ms,
                },
            )
        self._public_keys[device_id] = public_key
        return device


def _digest(token: str) -> bytes:
    return hashlib.sha256(b"tacit/v1/token\0" + token.encode("utf-8")).digest()
