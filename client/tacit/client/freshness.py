"""Freshness: what the ledger's current-state map says of this device is what this device said last.

A receipt proves that a decision was recorded, for ever; it cannot prove that the ledger still goes
by it. Before a device takes part in anything it therefore asks the newest epoch of the map
(tacit.privacy.consent_map) for its own three purposes, and compares with its own receipts: a ledger
that was put back to an older state, lost a withdrawal, or shows gateways another state than
devices, is found out by the first device that knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacit.client.consents import ConsentLog
from tacit.client.errors import OfferRefused, RollbackRefused
from tacit.client.facts import Facts
from tacit.client.policy import TrustRoots
from tacit.client.verification import Checkpoints, verify_entry
from tacit.client.wire import Servers, StateProof
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.capability import read_unverified
from tacit.privacy.consent_map import ENTRY_KIND, MapEpoch, blinding_key, map_key, map_value
from tacit.privacy.errors import PrivacyError
from tacit.privacy.receipt import leaf
from tacit.privacy.signals import PURPOSES
from tacit.privacy.state_map import verify_absence, verify_value


@dataclass(frozen=True, slots=True)
class Standing:
    """What the map must say of this device, by its own receipts.

    Attributes:
        covering: number of consent leaves an epoch must cover to hold this device's newest one.
        recorded: number of this device's receipted decisions.
        entries: map key → value, None where nothing was ever decided.
    """

    covering: int
    recorded: int
    entries: dict[bytes, bytes | None]


def own_standing(consents: ConsentLog) -> Standing | None:
    """Work out from the receipts what the map must say; None before the first receipt."""
    first = consents.receipt(1)
    if first is None:
        return None
    blinding = blinding_key(first.commitment_key)
    entries: dict[str, bytes | None] = dict.fromkeys(PURPOSES)
    covering, recorded = 0, 0
    for signed, event in consents.signed():
        receipt = consents.receipt(signed.seq)
        if receipt is None:
            break  # receipts come in the order of the chain
        data = leaf(signed.event, signed.signature, receipt.commitment_key)
        entries[event.purpose] = map_value(blinding, receipt.index, data)
        covering, recorded = max(covering, receipt.index + 1), signed.seq
    keyed = {map_key(blinding, purpose): value for purpose, value in entries.items()}
    return Standing(covering, recorded, keyed)


class Freshness:
    """The newest epoch this device has accepted, and the checks by which it accepts one."""

    def __init__(self, facts: Facts, consents: Callable[[], ConsentLog], trust: TrustRoots) -> None:
        self._facts = facts
        self._consents = consents
        self._trust = trust
        self._checkpoints = Checkpoints(facts)
        self._name = f"consent-map/{trust.consent_origin}"

    def known(self) -> MapEpoch | None:
        """Return the newest epoch accepted, None before the first."""
        content = self._facts.get(self._name)
        return None if content is None else MapEpoch.from_json(parse_canonical(content))

    def verify(self, servers: Servers) -> MapEpoch | None:
        """Ask the ledger, verify its answer and remember the epoch; None before any receipt.

        1. to 4. as in `verify_entry`, the signer being the ledger itself.
        5. The epoch is not older than the one accepted last, nor another by the same number.
        6. It covers this device's newest decision, and names the consent log this device knows.
        7. For each purpose the map names the leaf of this device's latest decision, or has no entry
           where there never was one.

        Raises:
            OfferRefused: if step 1, 3 or 4 fails.
            RollbackRefused: if step 2, 5, 6 or 7 fails.
        """
        own = own_standing(self._consents())
        if own is None:
            return None
        governance = self._checkpoints.known_size(self._trust.governance_origin)
        answer = servers.get_state_proof(governance, own.covering, tuple(own.entries))
        epoch = self._accept(answer, own)
        for (key, value), proof in zip(own.entries.items(), answer.proofs, strict=True):
            try:
                if value is None:
                    verify_absence(bytes.fromhex(epoch.map_root), key, proof)
                else:
                    verify_value(bytes.fromhex(epoch.map_root), key, value, proof)
            except PrivacyError as error:
                raise RollbackRefused(
                    f"consent map {epoch.epoch}, step 7: the ledger does not go by this device's "
                    f"latest decisions: {error}"
                ) from None
        self._facts.put(self._name, canonical_json(epoch.to_json()))
        return epoch

    def check_capability(self, capability: bytes, servers: Servers, epoch: MapEpoch | None) -> None:
        """Check that the gateway admitted this device by a state no older than `epoch`.

        Raises:
            OfferRefused: if it did not, or the capability cannot be read.
            RollbackRefused: if the newer epoch it names cannot be had or does not hold.
        """
        own = own_standing(self._consents())
        try:
            leave = read_unverified(capability)
        except PrivacyError as error:
            raise OfferRefused(f"freshness: {error}") from None
        if own is None or epoch is None:
            return
        if leave.map_epoch > epoch.epoch:
            epoch = self.verify(servers) or epoch
        if leave.map_epoch > epoch.epoch:
            raise RollbackRefused("freshness: the gateway names a map epoch the ledger lacks")
        if leave.map_epoch < epoch.epoch or leave.consent_sequence < own.recorded:
            raise OfferRefused(
                f"freshness: admitted by map epoch {leave.map_epoch} and "
                f"{leave.consent_sequence} decisions, expected epoch {epoch.epoch} and "
                f"{own.recorded} decisions"
            )

    def check_signals(self, capability: bytes, permitted: frozenset[str]) -> None:
        """Check that the gateway admitted this device for exactly what the person permits.

        Args:
            capability: of the offer.
            permitted: the signals the task asks for and the person permits it, now.

        Raises:
            OfferRefused: if it names other signals, or cannot be read.
        """
        try:
            admitted = frozenset(read_unverified(capability).signals)
        except PrivacyError as error:
            raise OfferRefused(f"freshness: {error}") from None
        if admitted != permitted:
            raise OfferRefused(
                f"freshness: admitted for {', '.join(sorted(admitted)) or 'no signal'}, "
                f"expected what is permitted: {', '.join(sorted(permitted))}"
            )

    def _accept(self, answer: StateProof, own: Standing) -> MapEpoch:
        if answer.epoch is None or len(answer.proofs) != len(own.entries):
            raise RollbackRefused("consent map: the ledger has no epoch, or not every proof")
        entry = verify_entry(
            answer.epoch,
            ENTRY_KIND,
            self._trust,
            self._checkpoints,
            OfferRefused,
            signer=self._trust.ledger_key,
        )
        try:
            epoch = MapEpoch.from_json(entry.body)
        except PrivacyError as error:
            raise OfferRefused(f"step 4, consent map: {error}") from None
        known = self.known()
        if known is not None and (
            epoch.epoch < known.epoch or (epoch.epoch == known.epoch and epoch != known)
        ):
            raise RollbackRefused(
                f"consent map, step 5: expected epoch {known.epoch} as it was, or a newer one, "
                f"got {epoch.epoch}"
            )
        seen = self._checkpoints.known(self._trust.consent_origin)
        if epoch.consent_size < own.covering:
            raise RollbackRefused(
                f"consent map, step 6: expected to cover {own.covering} leaves, "
                f"got {epoch.consent_size}"
            )
        same_size = seen is not None and seen.size == epoch.consent_size
        if seen is not None and same_size and seen.root.hex() != epoch.consent_root:
            raise RollbackRefused("consent map, step 6: it is of another consent log")
        return epoch
