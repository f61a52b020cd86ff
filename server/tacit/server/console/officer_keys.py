"""Officers' signing keys, at rest only sealed under their owner's password.

    sealed = salt (16) || nonce (12) || AES-256-GCM(argon2id(password, salt), nonce, key, owner)

The console holds nothing that opens it: without the password there is no key, whatever session,
database or backup somebody has.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tacit.privacy.signatures import SigningKey
from tacit.server.console.errors import BadForm
from tacit.server.console.passwords import SALT_BYTES, derive_key

_NONCE_BYTES = 12
_CONTEXT = b"tacit/v1/console-officer-key\0"


def parse_key(text: str) -> SigningKey:
    """Parse the content of a key file.

    Raises:
        BadForm: It is something else; the message does not repeat it.
    """
    try:
        return SigningKey(bytes.fromhex(text.strip()))
    except ValueError:
        raise BadForm("key: expected the 64 hexadecimal digits of a key file") from None


def seal_key(key: SigningKey, owner: str, password: str) -> bytes:
    """Return the key sealed for this owner under this password."""
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(_NONCE_BYTES)
    cipher = AESGCM(derive_key(password, salt))
    return salt + nonce + cipher.encrypt(nonce, key.private_bytes(), _CONTEXT + owner.encode())


def open_key(sealed: bytes, owner: str, password: str) -> SigningKey:
    """Return the key.

    Raises:
        BadForm: There is none, or this is not the password or the owner it was sealed for.
    """
    if not sealed:
        raise BadForm("expected a key to sign with: add yours on the page Your account")
    salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    nonce, body = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    try:
        raw = AESGCM(derive_key(password, salt)).decrypt(nonce, body, _CONTEXT + owner.encode())
    except InvalidTag:
        raise BadForm("the key cannot be opened with this password; add it again") from None
    return SigningKey(raw)
