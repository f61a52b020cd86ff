"""Ed25519 signatures with domain separation.

A signature is made over `"tacit/v1/" + context`, a zero byte and the body, so a signature given for
one kind of document (a request, a task, a consent event) never verifies as another.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tacit.privacy.errors import BadParameter, BadSignature

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


def key_id(public_key: bytes) -> str:
    """Name a public key: base32 of the first 16 bytes of its SHA-256, lower case, 26 characters."""
    digest = hashlib.sha256(b"tacit/v1/key\0" + public_key).digest()[:16]
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


class SigningKey:
    """An Ed25519 private key together with its public name.

    Attributes:
        public_key: 32 raw bytes.
        key_id: `key_id(public_key)`; a device's `device_id` is this name.
    """

    __slots__ = ("_private", "key_id", "public_key")

    def __init__(self, private_bytes: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private_bytes)
        self.public_key = self._private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> SigningKey:
        """Make a key from 32 bytes of `random_bytes` (production passes `os.urandom`)."""
        return cls(random_bytes(32))

    def private_bytes(self) -> bytes:
        """Return the 32 raw private bytes, for sealed storage only."""
        return self._private.private_bytes_raw()

    def sign(self, context: str, body: bytes) -> bytes:
        """Sign `body` within `context`; returns 64 bytes."""
        return self._private.sign(_message(context, body))

    def sign_note(self, text: bytes) -> bytes:
        """Sign the text of a signed note as it is, for `tacit.privacy.checkpoint` only.

        C2SP notes are signed without a domain prefix. They stay apart from every message of
        `sign` because those begin with `tacit/v1/` and hold a zero byte, which is refused here.

        Raises:
            BadParameter: if the text could be a message of `sign`.
        """
        if text.startswith(b"tacit/v1/") or b"\0" in text:
            raise BadParameter("expected note text outside the domain of 'tacit/v1/' messages")
        return self._private.sign(text)


def verify(public_key: bytes, context: str, body: bytes, signature: bytes) -> None:
    """Verify a signature made by `SigningKey.sign`.

    Raises:
        BadSignature: if the key or signature is malformed or the signature does not verify.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise BadSignature(
            f"expected a {PUBLIC_KEY_BYTES}-byte key and a {SIGNATURE_BYTES}-byte signature, "
            f"got {len(public_key)} and {len(signature)} bytes"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _message(context, body))
    except (InvalidSignature, ValueError):
        raise BadSignature(f"the signature does not verify for context {context!r}") from None


def verify_note(public_key: bytes, text: bytes, signature: bytes) -> None:
    """Verify a signature made by `SigningKey.sign_note`.

    Raises:
        BadSignature: if the key or signature is malformed or the signature does not verify.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise BadSignature(
            f"expected a {PUBLIC_KEY_BYTES}-byte key and a {SIGNATURE_BYTES}-byte signature"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        raise BadSignature("the note's signature does not verify") from None


def _message(context: str, body: bytes) -> bytes:
    return b"tacit/v1/" + context.encode("ascii") + b"\0" + body
