"""Key-encryption keys: what stands between a stolen database file and its contents.

The store encrypts with a data key of its own; a `KeyProvider` wraps that key. On a phone the
provider is the platform's keystore; the two here serve hosts that have none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tacit.client.errors import KeyUnavailable

KEY_BYTES = 32
NONCE_BYTES = 12
_SALT_BYTES = 16


class KeyProvider(Protocol):
    """Wrap and unwrap data keys under a key that never enters the store."""

    def wrap(self, key: bytes, purpose: bytes) -> bytes:
        """Encrypt a data key, bound to `purpose`."""
        ...

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes:
        """Decrypt what `wrap` returned.

        Raises:
            KeyUnavailable: if the key-encryption key is missing or is not the one that wrapped it.
        """
        ...


class FileKeyProvider:
    """Keep the key-encryption key in a file that only its owner can read.

    Protects a copied database, not a copied home directory. The file is made on first use with 32
    bytes from the operating system's CSPRNG, mode 0600, and reaches the disk before it wraps
    anything.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: bytes | None = None

    def wrap(self, key: bytes, purpose: bytes) -> bytes:
        """Encrypt a data key, making the key file if there is none."""
        return _wrap(self._load(create=True), key, purpose)

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes:
        """Decrypt a data key.

        Raises:
            KeyUnavailable: if the file is missing, readable by others, or holds another key.
        """
        return _unwrap(self._load(create=False), wrapped, purpose)

    def _load(self, *, create: bool) -> bytes:
        if self._key is None:
            if create:
                _create_key_file(self._path)
            self._key = _read_key_file(self._path)
        return self._key


class PassphraseKeyProvider:
    """Derive the key-encryption key from a passphrase with scrypt (RFC 7914).

    Every wrapping carries its own 16-byte salt. N = 2^15, r = 8, p = 1: about 0.1 s and 32 MB a
    guess; what that buys depends on the passphrase alone.
    """

    _N, _R, _P = 1 << 15, 8, 1

    def __init__(self, passphrase: str) -> None:
        if not passphrase:
            raise KeyUnavailable("expected a passphrase, got an empty one")
        self._passphrase = passphrase.encode("utf-8")

    def wrap(self, key: bytes, purpose: bytes) -> bytes:
        """Encrypt a data key under a freshly salted derivation of the passphrase."""
        salt = os.urandom(_SALT_BYTES)
        return salt + _wrap(self._derive(salt), key, purpose)

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes:
        """Decrypt a data key.

        Raises:
            KeyUnavailable: if the passphrase is not the one that wrapped it.
        """
        return _unwrap(self._derive(wrapped[:_SALT_BYTES]), wrapped[_SALT_BYTES:], purpose)

    def _derive(self, salt: bytes) -> bytes:
        return hashlib.scrypt(
            self._passphrase,
            salt=salt,
            n=self._N,
            r=self._R,
            p=self._P,
            maxmem=64 << 20,
            dklen=KEY_BYTES,
        )


def derive_key(key: bytes, label: bytes) -> bytes:
    """Derive a 32-byte subkey for one use: HMAC-SHA256(key, label), a PRF of the label."""
    return hmac.digest(key, b"tacit/device/" + label, "sha256")


def _wrap(kek: bytes, key: bytes, purpose: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(kek).encrypt(nonce, key, purpose)


def _unwrap(kek: bytes, wrapped: bytes, purpose: bytes) -> bytes:
    try:
        return AESGCM(kek).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], purpose)
    except (InvalidTag, ValueError):
        raise KeyUnavailable("the key does not open this store: wrong key or passphrase") from None


def _create_key_file(path: Path) -> None:
    if path.exists():
        return
    # Written aside and linked into place: a kill midway leaves no half key under the final name,
    # and of two processes that race here one wins and the other uses the winner's key.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        finally:
            temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KeyUnavailable(f"cannot create the key file {path}: {error.strerror}") from None


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyUnavailable(
                    f"key file {path}: expected mode 0600, got {mode:04o}; "
                    "others on this machine may have read it"
                )
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise KeyUnavailable(f"cannot read the key file {path}: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(f"key file {path}: expected {KEY_BYTES} bytes, got another length")
    return key
