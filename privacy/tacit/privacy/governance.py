"""Entries of the governance log: what was decided, by whom, in canonical bytes.

An entry is the canonical JSON object `{kind, recorded_at_ms, body, signer, signature}`; the
signature (hex, Ed25519, context `"governance/" + kind`) covers the canonical JSON of
`{recorded_at_ms, body}`. The entry's bytes are the data of one leaf of the governance log.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import cast

from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument, BadSignature
from tacit.privacy.signatures import SigningKey, verify

KINDS = (
    "notice",
    "account",
    "account.change",
    "account.approval",
    "account.rejection",
    "task",
    "budget.reserve",
    "budget.commit",
    "budget.abort",
    "round",
    "release",
    "audit",
    "consent.map",
    "retraining",
)


@dataclass(frozen=True, slots=True)
class GovernanceEntry:
    """One signed entry.

    Attributes:
        kind: one of `KINDS`.
        recorded_at_ms: Unix time in milliseconds, as the signer saw it.
        body: the document itself.
        signer: `key_id` of the signing key.
        signature: 64 bytes.
    """

    kind: str
    recorded_at_ms: int
    body: dict[str, Json]
    signer: str
    signature: bytes

    @classmethod
    def sign(
        cls, kind: str, body: dict[str, Json], recorded_at_ms: int, key: SigningKey
    ) -> GovernanceEntry:
        """Sign a body as an entry of this kind."""
        if kind not in KINDS:
            raise BadDocument(f"expected a kind among {', '.join(KINDS)}")
        signature = key.sign(f"governance/{kind}", _signed_part(recorded_at_ms, body))
        return cls(kind, recorded_at_ms, body, key.key_id, signature)

    @classmethod
    def parse(cls, data: bytes) -> GovernanceEntry:
        """Parse an entry's bytes; the signature is not checked here.

        Raises:
            BadDocument: if the bytes are not a well-formed entry.
        """
        document = parse_canonical(data)
        body = document.get("body")
        if not isinstance(body, dict):
            raise BadDocument("entry.body: expected an object")
        fields = Fields({k: v for k, v in document.items() if k != "body"}, "entry")
        kind = fields.text("kind")
        recorded_at_ms = fields.integer("recorded_at_ms", 0)
        signer = fields.text("signer")
        signature_hex = fields.text("signature")
        fields.done()
        if kind not in KINDS:
            raise BadDocument(f"entry.kind: expected one of {', '.join(KINDS)}")
        try:
            signature = bytes.fromhex(signature_hex)
        except ValueError:
            raise BadDocument("entry.signature: expected hexadecimal digits") from None
        return cls(kind, recorded_at_ms, body, signer, signature)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the log holds."""
        return canonical_json(
            {
                "kind": self.kind,
                "recorded_at_ms": self.recorded_at_ms,
                "body": self.body,
                "signer": self.signer,
                "signature": self.signature.hex(),
            }
        )

    def verify(self, public_key: bytes, key_id: str) -> None:
        """Verify that the named key signed this entry.

        Raises:
            BadSignature: if another key is named or the signature does not verify.
        """
        if self.signer != key_id:
            raise BadSignature(f"expected an entry signed by {key_id}, got {self.signer}")
        verify(
            public_key,
            f"governance/{self.kind}",
            _signed_part(self.recorded_at_ms, self.body),
            self.signature,
        )

    def body_digest(self) -> bytes:
        """SHA-256 of the canonical body: the digest other documents refer to."""
        return hashlib.sha256(canonical_json(self.body)).digest()


def _signed_part(recorded_at_ms: int, body: dict[str, Json]) -> bytes:
    return canonical_json({"recorded_at_ms": recorded_at_ms, "body": cast(Json, body)})
