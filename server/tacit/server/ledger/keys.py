"""The public keys of a ledger, signed by it: who signed what, for anyone who verifies later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tacit.privacy.budget_standing import LedgerIdentity
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument
from tacit.privacy.signatures import SigningKey, verify
from tacit.privacy.signatures import key_id as name_of_key
from tacit.server.ledger.config import OFFICER, Principal
from tacit.server.ledger.log import CONSENT, GOVERNANCE

KEYS_FILE = "keys.json"
_CONTEXT = "ledger-keys"


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Everything needed to check a ledger's signatures.

    Attributes:
        ledger_key: the node's 32-byte public key.
        origins: log name → origin on its checkpoints.
        principals: everyone who ever was a principal of this node.
    """

    ledger_key: bytes
    origins: Mapping[str, str]
    principals: tuple[Principal, ...]

    @property
    def identity(self) -> LedgerIdentity:
        """Which ledger this is, for what officers sign."""
        return LedgerIdentity(self.origins[GOVERNANCE], self.ledger_key)

    def principal(self, key_id: str) -> Principal | None:
        """Return whose key has this id, the ledger itself among them; None for none."""
        if name_of_key(self.ledger_key) == key_id:
            return Principal("ledger", "ledger", self.ledger_key)
        return next((one for one in self.principals if one.key_id == key_id), None)

    def sign(self, key: SigningKey) -> bytes:
        """Return the bytes of a `keys.json`, signed by the node."""
        document = self._document()
        signature = key.sign(_CONTEXT, canonical_json(document))
        return canonical_json({"keys": cast(Json, document), "signature": signature.hex()})

    @classmethod
    def parse(cls, data: bytes) -> PublicKeys:
        """Parse a `keys.json` and verify that the ledger key it names signed it.

        Raises:
            BadDocument, BadSignature: if it is malformed or was changed.
        """
        envelope = parse_canonical(data)
        document, signature = envelope.pop("keys", None), envelope.pop("signature", None)
        if not isinstance(document, dict) or not isinstance(signature, str) or envelope:
            raise BadDocument("keys: expected an object with keys and signature")
        fields = Fields(document, "keys")
        if fields.text("type") != "tacit.ledger.keys/1":
            raise BadDocument("keys.type: expected 'tacit.ledger.keys/1'")
        keys = cls(
            ledger_key=_unhex(fields, "ledger_key"),
            origins={name: fields.text(name) for name in (GOVERNANCE, CONSENT)},
            principals=tuple(_principal(one) for one in fields.objects("principals")),
        )
        fields.done()
        try:
            raw = bytes.fromhex(signature)
        except ValueError:
            raise BadDocument("keys.signature: expected hexadecimal digits") from None
        verify(keys.ledger_key, _CONTEXT, canonical_json(document), raw)
        return keys

    def _document(self) -> dict[str, Json]:
        return {
            "type": "tacit.ledger.keys/1",
            "ledger_key": self.ledger_key.hex(),
            **self.origins,
            "principals": [
                {
                    "name": one.name,
                    "role": one.role,
                    "public_key": one.public_key.hex(),
                    **({"person": one.person} if one.person else {}),
                }
                for one in self.principals
            ],
        }


def publish_keys(
    state_dir: Path, key: SigningKey, origins: Mapping[str, str], principals: Sequence[Principal]
) -> PublicKeys:
    """Write `keys.json` into the state directory, keeping principals of earlier configurations.

    Raises:
        BadDocument: if a key changed its role, an officer's key its holder, or the file there
            names another ledger.
    """
    path = state_dir / KEYS_FILE
    merged = list(principals)
    if path.exists():
        earlier = PublicKeys.parse(path.read_bytes())
        if earlier.ledger_key != key.public_key or dict(earlier.origins) != dict(origins):
            raise BadDocument(
                "keys: the state directory belongs to a ledger of another name or key"
            )
        for one in earlier.principals:
            present = next((p for p in principals if p.public_key == one.public_key), None)
            if present is None:
                merged.append(one)
            elif present.role != one.role:
                raise BadDocument(f"keys: the role of {one.name} cannot change from {one.role}")
            elif one.role == OFFICER and present.holder != one.holder:
                raise BadDocument(
                    f"keys: officer {one.key_id} cannot change hands from {one.holder} to "
                    f"{present.holder}; make another key"
                )
    keys = PublicKeys(key.public_key, dict(origins), tuple(merged))
    temporary = path.with_suffix(".new")
    temporary.write_bytes(keys.sign(key))
    temporary.replace(path)
    return keys


def _principal(document: Mapping[str, Json]) -> Principal:
    fields = Fields(document, "keys.principal")
    principal = Principal(
        fields.text("name"),
        fields.text("role"),
        _unhex(fields, "public_key"),
        fields.text("person") if "person" in document else "",
    )
    fields.done()
    return principal


def _unhex(fields: Fields, name: str) -> bytes:
    try:
        return bytes.fromhex(fields.text(name, max_length=64))
    except ValueError:
        raise BadDocument(f"keys.{name}: expected hexadecimal digits") from None
