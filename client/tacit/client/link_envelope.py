"""Sealed exports: what one device of a person writes for another, opaque to whoever carries it.

Two ways to close one, told by a byte of the header, which is authenticated with the rest:

- by passphrase: a random key is wrapped by a key from scrypt (`PassphraseKeyProvider`);
- for one device: an X25519 key made for this export and the key on the receiver's card give the
  content key (HKDF-SHA256 over both public keys), and the sender signs content and receiver with
  its identity, so that nobody else who saw the card can write an export in its name.

A card is what a device shows, as a QR code say, to the other: its identity, its X25519 key, and the
identity's signature over that. Who carries exports must not be able to change cards.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tacit.client.errors import ExportRefused, KeyUnavailable
from tacit.client.keys import KEY_BYTES, NONCE_BYTES, PassphraseKeyProvider, derive_key
from tacit.privacy.errors import BadSignature
from tacit.privacy.signatures import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify

LEAST_PASSPHRASE = 12
"""Characters; the file may lie where many can try guesses, about 0.1 s of processor time each."""

CARD_BYTES = 2 * PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_MAGIC = b"tacit-link/1\n"
_PASSPHRASE, _RECIPIENT = b"P", b"R"
_CARD, _EXPORT = "link-card", "link-export"
_WRAPPING = b"tacit/device/link/passphrase"


@dataclass(frozen=True, slots=True)
class Card:
    """What another device needs to know of this one; public.

    Attributes:
        identity: 32-byte Ed25519 public key, which names the device.
        exchange: 32-byte X25519 public key.
    """

    identity: bytes
    exchange: bytes

    @classmethod
    def parse(cls, data: bytes) -> Card:
        """Verify what `card_of` wrote.

        Raises:
            ExportRefused: if it is no card, or its signature does not verify.
        """
        if len(data) != CARD_BYTES:
            raise ExportRefused(f"card: expected {CARD_BYTES} bytes, got {len(data)}")
        identity, rest = data[:PUBLIC_KEY_BYTES], data[PUBLIC_KEY_BYTES:]
        exchange, signature = rest[:PUBLIC_KEY_BYTES], rest[PUBLIC_KEY_BYTES:]
        try:
            verify(identity, _CARD, exchange, signature)
        except BadSignature:
            raise ExportRefused("card: its signature does not verify; show it again") from None
        return cls(identity, exchange)


def card_of(identity: SigningKey, device_secret: bytes) -> bytes:
    """Return the card of a device."""
    exchange = _exchange_key(device_secret).public_key().public_bytes_raw()
    return identity.public_key + exchange + identity.sign(_CARD, exchange)


def close_with_passphrase(content: bytes, passphrase: str) -> bytes:
    """Close an export with a passphrase.

    Raises:
        KeyUnavailable: if the passphrase is shorter than `LEAST_PASSPHRASE`.
    """
    if len(passphrase) < LEAST_PASSPHRASE:
        raise KeyUnavailable(f"expected a passphrase of at least {LEAST_PASSPHRASE} characters")
    key = os.urandom(KEY_BYTES)
    wrapped = PassphraseKeyProvider(passphrase).wrap(key, _WRAPPING)
    head = _MAGIC + _PASSPHRASE + struct.pack("<H", len(wrapped)) + wrapped
    return head + _encrypt(key, content, head)


def close_for(content: bytes, recipient: bytes, identity: SigningKey) -> bytes:
    """Close an export for the device of a card, signed by this device.

    Raises:
        ExportRefused: if the card cannot be used.
    """
    card = Card.parse(recipient)
    once = X25519PrivateKey.generate()
    sent = once.public_key().public_bytes_raw()
    key = _agreed(once, card.exchange, sent, card.exchange)
    signature = identity.sign(_EXPORT, card.exchange + content)
    head = _MAGIC + _RECIPIENT + sent
    return head + _encrypt(key, signature + content, head)


def open_export(
    data: bytes,
    device_secret: bytes,
    *,
    passphrase: str | None = None,
    sender: bytes | None = None,
) -> bytes:
    """Open an export; returns its content.

    Args:
        data: the export.
        device_secret: of the device that opens it.
        passphrase: what it was closed with.
        sender: card of the device that wrote it for this one.

    Raises:
        KeyUnavailable: if it was closed with another passphrase, or for another device.
        ExportRefused: if it is no export, was cut short or altered, or another device wrote it.
    """
    kind, rest = data[len(_MAGIC) : len(_MAGIC) + 1], data[len(_MAGIC) + 1 :]
    if not data.startswith(_MAGIC) or kind not in (_PASSPHRASE, _RECIPIENT):
        raise ExportRefused("expected an export of this version, got something else")
    if kind == _PASSPHRASE:
        if passphrase is None:
            raise KeyUnavailable("the export was closed with a passphrase: expected one, got none")
        (length,) = struct.unpack_from("<H", rest.ljust(2, b"\0"))
        wrapped = rest[2 : 2 + length]
        key = PassphraseKeyProvider(passphrase).unwrap(wrapped, _WRAPPING)
        return _decrypt(key, data, len(_MAGIC) + 3 + length)
    if sender is None:
        raise KeyUnavailable("the export is for one device: expected its sender's card, got none")
    sent, mine = rest[:PUBLIC_KEY_BYTES], _exchange_key(device_secret)
    own = mine.public_key().public_bytes_raw()
    try:
        key = _agreed(mine, sent, sent, own)
    except ValueError:
        raise ExportRefused("the export was cut short or altered") from None
    opened = _decrypt(key, data, len(_MAGIC) + 1 + PUBLIC_KEY_BYTES)
    signature, content = opened[:SIGNATURE_BYTES], opened[SIGNATURE_BYTES:]
    try:
        verify(Card.parse(sender).identity, _EXPORT, own + content, signature)
    except BadSignature:
        raise ExportRefused("the export was written by another device than the card's") from None
    return content


def _exchange_key(device_secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(derive_key(device_secret, b"link-exchange"))


def _agreed(own: X25519PrivateKey, other: bytes, sent: bytes, received: bytes) -> bytes:
    shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=_MAGIC + sent + received).derive(shared)


def _encrypt(key: bytes, content: bytes, head: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, head)


def _decrypt(key: bytes, data: bytes, start: int) -> bytes:
    head, nonce, sealed = data[:start], data[start : start + NONCE_BYTES], data[start:]
    try:
        return AESGCM(key).decrypt(nonce, sealed[NONCE_BYTES:], head)
    except (InvalidTag, ValueError):
        raise ExportRefused(
            "the export was cut short or altered, or is for another device"
        ) from None
