"""Verification of what the governance log says: one path for tasks and releases."""

from __future__ import annotations

from tacit.client.errors import OfferRefused, ReleaseRefused, RollbackRefused
from tacit.client.facts import Facts
from tacit.client.policy import TrustRoots
from tacit.client.wire import LoggedEntry
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical
from tacit.privacy.checkpoint import Checkpoint
from tacit.privacy.cosignature import verify_witnessed
from tacit.privacy.errors import BadProof, PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import leaf_hash, verify_consistency, verify_inclusion
from tacit.privacy.signatures import key_id


class Checkpoints:
    """The newest checkpoint of each log this device has accepted, remembered for good."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def known(self, origin: str) -> Checkpoint | None:
        """Return the remembered checkpoint of a log, or None."""
        content = self._facts.get(f"checkpoint/{origin}")
        if content is None:
            return None
        fields = Fields(parse_canonical(content), "remembered checkpoint")
        return Checkpoint(origin, fields.integer("size", 0), bytes.fromhex(fields.text("root")))

    def fact(self, origin: str) -> dict[str, bytes]:
        """Return the remembered checkpoint as the fact it is, to be carried over an erasure."""
        content = self._facts.get(f"checkpoint/{origin}")
        return {} if content is None else {f"checkpoint/{origin}": content}

    def known_size(self, origin: str) -> int:
        """Return the remembered size of a log; 0 for none."""
        known = self.known(origin)
        return 0 if known is None else known.size

    def remember(self, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint that was verified against the known one."""
        known = self.known(checkpoint.origin)
        if known is None or known.size < checkpoint.size:
            content = canonical_json({"size": checkpoint.size, "root": checkpoint.root.hex()})
            self._facts.put(f"checkpoint/{checkpoint.origin}", content)

    def extend(self, checkpoint: Checkpoint, consistency: tuple[bytes, ...]) -> None:
        """Check that a signed checkpoint extends the remembered one, then remember it.

        Raises:
            RollbackRefused: if the log shrank, or is another one under the same name.
        """
        known = self.known(checkpoint.origin)
        if known is not None and known.size > 0:
            if checkpoint.size < known.size:
                raise RollbackRefused(
                    f"{checkpoint.origin}: expected at least the {known.size} entries already "
                    f"seen, got {checkpoint.size}"
                )
            try:
                verify_consistency(
                    known.size, known.root, checkpoint.size, checkpoint.root, consistency
                )
            except BadProof as error:
                raise RollbackRefused(
                    f"{checkpoint.origin}: the log does not extend what was seen: {error}"
                ) from None
        self.remember(checkpoint)


def verify_entry(
    logged: LoggedEntry,
    kind: str,
    trust: TrustRoots,
    checkpoints: Checkpoints,
    refusal: type[OfferRefused] | type[ReleaseRefused],
    *,
    signer: bytes | None = None,
) -> GovernanceEntry:
    """Verify that the governance log holds an entry that the coordinator, or `signer`, signed.

    1. The checkpoint is of the governance log, signed with the pinned ledger key, and cosigned by
       the pinned quorum of witnesses.
    2. It extends the checkpoint this device remembers, and is remembered in its place.
    3. The entry is included under it.
    4. The entry is of the expected kind and signed with the pinned coordinator key, or with
       `signer`, where one is given.

    Raises:
        RollbackRefused: if step 2 fails.
        OfferRefused, ReleaseRefused (as `refusal`): naming any other step that fails.
    """
    try:
        checkpoint = verify_witnessed(
            logged.checkpoint,
            trust.governance_origin,
            trust.governance_origin,
            trust.ledger_key,
            trust.witnesses,
        )
    except PrivacyError as error:
        raise refusal(f"step 1, checkpoint: {error}") from None
    checkpoints.extend(checkpoint, logged.consistency)
    try:
        verify_inclusion(
            leaf_hash(logged.entry),
            logged.index,
            checkpoint.size,
            logged.inclusion,
            checkpoint.root,
        )
    except PrivacyError as error:
        raise refusal(f"step 3, inclusion: {error}") from None
    try:
        entry = GovernanceEntry.parse(logged.entry)
        public_key = trust.coordinator_key if signer is None else signer
        entry.verify(public_key, key_id(public_key))
    except PrivacyError as error:
        raise refusal(f"step 4, {_whose(signer)}: {error}") from None
    if entry.kind != kind:
        raise refusal(f"step 4, {_whose(signer)}: expected an entry of kind {kind!r}")
    return entry


def _whose(signer: bytes | None) -> str:
    return "coordinator" if signer is None else "ledger"
