"""Signed flag sets: who may decide about variants; older sets do not come back."""

from __future__ import annotations

import json
from typing import cast

from tacit.client.errors import BadFlags, RollbackRefused
from tacit.client.facts import Facts
from tacit.client.flags.document import FlagSet
from tacit.privacy.canonical import Json, canonical_json
from tacit.privacy.errors import BadSignature
from tacit.privacy.signatures import SigningKey, verify

SIGNING_CONTEXT = "flags"
_FACT = "flags"


def sign_flags(flags: FlagSet, key: SigningKey) -> bytes:
    """Sign a set; returns `{"flags": …, "signature": hex, "signer": key id}`, canonical."""
    return canonical_json(
        {
            "flags": flags.to_json(),
            "signature": key.sign(SIGNING_CONTEXT, flags.to_bytes()).hex(),
            "signer": key.key_id,
        }
    )


def open_signed(data: bytes, public_key: bytes) -> FlagSet:
    """Verify a signed set.

    Steps: (1) the envelope is well formed; (2) the set in it is; (3) the signature over the set's
    canonical bytes verifies under the key that the app pinned.

    Raises:
        BadFlags: naming the step that failed.
    """
    try:
        envelope = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        raise BadFlags("expected signed flags, a JSON object; sign them with tacit flags sign")
    fields = cast(dict[str, object], envelope)
    body, signature = fields.get("flags"), fields.get("signature")
    if set(fields) != {"flags", "signature", "signer"} or not isinstance(signature, str):
        raise BadFlags("expected flags, signature and signer; sign them with tacit flags sign")
    if not isinstance(body, dict):
        raise BadFlags("expected signed flags, a JSON object; sign them with tacit flags sign")
    flags = FlagSet.from_json(cast(dict[str, Json], body))
    try:
        verify(public_key, SIGNING_CONTEXT, flags.to_bytes(), bytes.fromhex(signature))
    except (BadSignature, ValueError):
        raise BadFlags("the flags are not signed by the pinned key") from None
    return flags


class InstalledFlags:
    """The flags of one store: one fact, written once it is verified."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._held: tuple[bytes, FlagSet] | None = None

    def get(self) -> FlagSet | None:
        """Return the installed set, or None."""
        content = self._facts.get(_FACT)
        if content is None:
            return None
        if self._held is None or self._held[0] != content:
            self._held = content, FlagSet.from_bytes(content)
        return self._held[1]

    def install(self, data: bytes, public_key: bytes) -> FlagSet:
        """Verify a signed set and install it; on the disk when this returns.

        Installing what is installed changes nothing.

        Raises:
            BadFlags: see `open_signed`; or it is another app's than the installed one.
            RollbackRefused: if its version is below the installed one, or equal with other flags.
        """
        flags = open_signed(data, public_key)
        held = self.get()
        if held is not None:
            if flags.app != held.app:
                raise BadFlags("expected flags of the app whose flags are installed")
            if flags.version < held.version:
                raise RollbackRefused(
                    f"expected a version of flags above {held.version}, got {flags.version}"
                )
            if flags.version == held.version and flags != held:
                raise RollbackRefused(f"two different sets of flags both say {held.version}")
        self._facts.put(_FACT, flags.to_bytes())
        return flags
