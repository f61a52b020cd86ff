"""Passwords: argon2id hashes, and keys derived from them (RFC 9106, second recommended option)."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret_raw
from argon2.profiles import RFC_9106_LOW_MEMORY

from tacit.server.console.errors import BadForm

MIN_LENGTH = 12
MAX_LENGTH = 256
SALT_BYTES = 16
_KEY_BYTES = 32
# Each takes 64 MiB: a crowd at the login page must not take the machine.
_AT_ONCE = threading.BoundedSemaphore(2)
_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
"""A hash that no password has, for names that nobody has: both take as long."""


def hash_password(password: str) -> str:
    """Return the hash to keep.

    Raises:
        BadForm: It is too short or too long.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise BadForm(f"password: expected {MIN_LENGTH} to {MAX_LENGTH} characters")
    with _AT_ONCE:
        return _HASHER.hash(password)


def is_password(password: str, kept: str) -> bool:
    """Say whether a password is the one kept; as slow for an empty hash, which none has."""
    if len(password) > MAX_LENGTH:
        return False
    with _AT_ONCE:
        try:
            return _HASHER.verify(kept or _NOBODY, password) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


def derive_key(password: str, salt: bytes) -> bytes:
    """Return 32 bytes that only this password and salt give."""
    profile = RFC_9106_LOW_MEMORY
    with _AT_ONCE:
        return hash_secret_raw(
            password.encode("utf-8"),
            salt,
            profile.time_cost,
            profile.memory_cost,
            profile.parallelism,
            _KEY_BYTES,
            Type.ID,
        )
