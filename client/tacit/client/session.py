"""One device's conversation with the servers, step by step.

`sync` runs the steps in order; a fleet may drive them one at a time. Each step validates first and
then commits: what is remembered was verified, and what leaves the device is recorded before it
leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from tacit.client.consents import SignedConsent
from tacit.client.contribution import compute, noised, read_context
from tacit.client.errors import (
    NotEnrolled,
    OfferRefused,
    ReceiptRefused,
    Rejected,
    ReleaseRefused,
    RollbackRefused,
)
from tacit.client.freshness import Freshness
from tacit.client.offers import Offer, Standing, accept_offer, permitted_signals
from tacit.client.participation import Participation
from tacit.client.personalizer import Personalizer
from tacit.client.policy import TrustRoots
from tacit.client.profile import profile
from tacit.client.releases import accept_release, check_model
from tacit.client.retrainings import Retrainings
from tacit.client.statistics import HISTORY_STATISTICS, Batch
from tacit.client.timeline import permitted_history
from tacit.client.verification import Checkpoints, verify_entry
from tacit.client.wire import Servers, Traffic
from tacit.privacy.errors import PrivacyError
from tacit.privacy.receipt import verify_receipt
from tacit.privacy.release import RANKING
from tacit.privacy.trust import LOCAL

_ENROL = "enrol"


class DeviceSession:
    """Drive one open profile through the protocol.

    Attributes:
        idle_reason: why the last check-in brought no offer; empty if it did.
    """

    def __init__(self, device: Personalizer, servers: Servers, trust: TrustRoots) -> None:
        self._device = device
        self._servers = servers
        self._trust = trust
        self._checkpoints = Checkpoints(device.facts)
        self._freshness = Freshness(device.facts, lambda: device.consents, trust)
        self._retrainings = Retrainings(device.facts, device.releases, device.rights_log, trust)
        self.idle_reason = ""

    @property
    def traffic(self) -> Traffic:
        """Payload bytes so far."""
        return self._servers.traffic

    def enrol(self, token: str) -> str:
        """Enrol with a one-time token; returns the population. Enrolling again does nothing.

        After a kill between the ledger's answer and its being remembered here, the same token
        works again for the same device.

        Raises:
            Rejected: if the ledger refuses the token.
            NotEnrolled: if the ledger enrolled some other key.
        """
        population = self._device.population
        if population is not None:
            return population
        identity = self._device.facts.identity()
        proof = identity.sign(_ENROL, token.encode("utf-8"))
        device_id, population = self._servers.enrol(token, identity.public_key, proof)
        if device_id != identity.key_id:
            raise NotEnrolled("the ledger enrolled another key than this device's")
        self._device.enrolled(population)
        return population

    def push_consents(self) -> int:
        """Send the decisions the ledger has not receipted; returns how many.

        Each receipt is verified before it is kept: the ledger's signature, that the leaf opens to
        this very event, its inclusion, and that the consent log extends what was seen.

        Raises:
            ReceiptRefused: if a receipt does not prove that.
            RollbackRefused: if the consent log shrank or forked.
        """
        self._population()
        pending = self._device.consents.pending()
        for consent in pending:
            self._push(consent)
        return len(pending)

    def finish_erasure(self) -> bool:
        """Have the ledger erase this device, if the person asked for it; returns whether it did.

        Afterwards the device is new: it has no identity until it enrols again.

        Raises:
            ReceiptRefused, RollbackRefused: see `Rights.finish_erasure`.
        """
        return self._device.rights.finish_erasure(self._servers, self._trust) is not None

    def check_in(self) -> Offer | None:
        """Ask for something to do and decide about it; None when there is nothing.

        Decisions the ledger has not receipted go first: a device does not contribute under a
        consent that is not on record, nor let a withdrawal wait behind a round.

        Then the ledger shows that it goes by those decisions and no older ones (`Freshness`), and
        the gateway that it did when it made the offer, for exactly the signals permitted.

        The ten steps are named in `verify_entry` and `accept_offer`.

        Raises:
            OfferRefused, PolicyRefused: naming the step at which this device says no.
            RollbackRefused: if the governance log shrank or forked, or the current-state map does
                not hold this device's latest decisions.
            ReceiptRefused: see `push_consents`.
        """
        population = self._population()
        self.push_consents()
        epoch = self._freshness.verify(self._servers)
        answer = self._servers.check_in(self._known_governance())
        self.idle_reason = answer.idle_reason
        if answer.offer is None:
            return None
        self.idle_reason = ""
        entry = verify_entry(
            answer.offer.task, "task", self._trust, self._checkpoints, OfferRefused
        )
        self._freshness.check_capability(answer.offer.capability, self._servers, epoch)
        standing = Standing(
            population,
            self._device.catalogue.digest,
            self._device.policy,
            self._device.consents,
            self._device.participation,
            self._device.clock_ms(),
        )
        offer = accept_offer(answer.offer, entry, self._trust, standing)
        self._freshness.check_signals(offer.capability, offer.signals)
        return offer

    def fetch_context(self, offer: Offer) -> bytes:
        """Fetch the round's public context; `contribution` checks it against the signed header."""
        digest = bytes.fromhex(offer.header.context_sha256)
        return self._servers.fetch_blob(digest, self._device.policy.max_context_bytes)

    def contribution(self, offer: Offer, context: bytes) -> bytes:
        """Compute the vector that would be sent: `length` little-endian 16-bit integers.

        The round is entered in the device's own account, on the disk, before this returns. Asked
        again, also after a crash, it returns the same bytes: it reads no event newer and no signal
        other than the first time did, and rounds with a stream fixed by device, task and round.
        Only consent withdrawn in between changes it, to the vector without those signals. Where an
        event was forgotten, corrected or expired since, it refuses to answer the round again.

        At trust level `local` it is 32-bit integers that this device has noised, from the operating
        system's CSPRNG. They are kept with the entry and returned as they are when asked again: two
        draws for one round would cost twice. Where consent was withdrawn in between, they may not
        be sent any more and no others may be drawn, so the round is refused.

        Threads that ask at once for one round get the bytes of whichever entered it first; what the
        others computed, noise included, is dropped unseen.

        Raises:
            OfferRefused: if the context is not the one the header names, or not the one this round
                had when the device first answered it, or consent is gone.
        """
        device, now_ms = self._device, self._device.clock_ms()
        signals = permitted_signals(offer.manifest, device.consents, now_ms) & offer.signals
        arrays = read_context(offer, context, device.policy.max_context_bytes)
        entered = device.participation.find(offer.header.task_sha256, offer.plan.round_id)
        if entered is not None and entered.context_sha256 != offer.header.context_sha256:
            # Two contexts would draw two different vectors for the price of one.
            raise OfferRefused("round: this device answered it before, with another context")
        if entered is None:
            through = device.events.last_sequence()
        else:
            through, signals = entered.events_through, signals & set(entered.signals)
        if not signals:
            raise OfferRefused("step 7, consent: no signal accepted with the offer is left")
        if entered is not None and entered.trust_level == LOCAL:
            return self._same_answer(entered, signals)
        batch: Batch
        if offer.plan.statistic in HISTORY_STATISTICS:
            batch = permitted_history(
                device.events, signals, offer.manifest.signals, through=through
            )
        else:
            batch = profile(
                device.events, device.catalogue, signals, offer.manifest.signals, through=through
            )
        vector = compute(batch, offer, arrays, device.facts.device_secret())
        level, answer = offer.manifest.trust_level, None
        data = vector.astype("<i2").tobytes()
        if entered is not None and not _same_answer_as(entered, data, signals):
            raise OfferRefused(
                "round: an event this device answered it with was forgotten, corrected or expired "
                "since; it gives no second answer"
            )
        if level == LOCAL:
            answer = data = noised(vector, offer).astype("<i4").tobytes()
        entry = Participation(
            task_sha256=offer.header.task_sha256,
            round_id=offer.plan.round_id,
            context_sha256=offer.header.context_sha256,
            noise_multiplier=offer.plan.noise_multiplier,
            signals=tuple(sorted(signals)),
            events_through=through,
            entered_at_ms=now_ms,
            trust_level=level,
            sensitivity=2 * offer.plan.integer_norm if level == LOCAL else 0,
            purpose=offer.manifest.purpose,
            task_id=offer.manifest.task_id,
            answer_sha256=hashlib.sha256(data).hexdigest(),
        )
        if device.participation.enter(entry, answer) is not entry and entered is None:
            # Another thread entered the round meanwhile: answer as it stands, or not at all.
            return self.contribution(offer, context)
        # A crash from here on costs exposure that may not have happened, never the reverse.
        return data

    def _same_answer(self, entered: Participation, signals: frozenset[str]) -> bytes:
        """Return the noised bytes this round was answered with, or refuse to answer it again."""
        if not signals.issuperset(entered.signals):
            raise OfferRefused(
                "round: this device answered it before, under a consent that was withdrawn since"
            )
        answer = self._device.participation.answer(entered.task_sha256, entered.round_id)
        if answer is None:
            raise OfferRefused(
                "round: this device answered it before and has answered a later one since; it "
                "draws noise once a round"
            )
        return answer

    def contribute(self, offer: Offer, context: bytes | None = None) -> None:
        """Compute and send the contribution; sending one the gateway has already is success.

        Args:
            offer: from `check_in`.
            context: the round's context, if the caller holds it already.

        Raises:
            OfferRefused: see `contribution`.
            Rejected: if the gateway refuses it.
        """
        values = self.contribution(offer, self.fetch_context(offer) if context is None else context)
        try:
            self._servers.contribute(
                offer.capability,
                offer.task_sha256,
                offer.plan.round_id,
                values,
                offer.manifest.trust_level == LOCAL,
            )
        except Rejected as error:
            # The first sending arrived and its reply was lost; the bytes were the same.
            if error.code != "ALREADY_EXISTS":
                raise

    def pull_release(self, kind: str = RANKING) -> int | None:
        """Install the newest release of a kind if it is newer than the installed one of that kind.

        The nine steps are named in `verify_entry`, `accept_release` and `check_model`.

        Args:
            kind: one of `tacit.privacy.release.KINDS`.

        Returns:
            The version installed now by this call, or None if there was nothing newer.

        Raises:
            ReleaseRefused: naming the step that fails.
            RollbackRefused: if the log or the version went back, or one version names two models.
        """
        population = self._population()
        logged = self._servers.get_release(population, self._known_governance(), kind)
        if logged is None:
            return None
        entry = verify_entry(logged, "release", self._trust, self._checkpoints, ReleaseRefused)
        catalogue, limit = self._device.catalogue, self._device.policy.max_model_bytes
        installed = self._device.releases.get(kind)
        manifest = accept_release(entry, kind, installed, population, catalogue, limit)
        if manifest is None:
            return None
        if manifest.version <= (floor := self._device.releases.floor(kind)):
            raise RollbackRefused(
                f"release: expected a version above {floor}, which was withdrawn, got "
                f"{manifest.version}"
            )
        blob = self._servers.fetch_blob(bytes.fromhex(manifest.model_sha256), manifest.model_bytes)
        self._device.releases.put(check_model(manifest, blob, len(catalogue)))
        self._device.reload()
        return manifest.version

    def look_for_retrainings(self) -> None:
        """Learn which releases were superseded because somebody in them was erased; see `look`.

        A superseded release is removed here and now; `pull_release` brings the one in its place.

        Raises:
            ReleaseRefused, RollbackRefused: see `Retrainings.look`.
        """
        if self._retrainings.look(self._servers, self._population()):
            self._device.reload()

    def look_after_erasure(self) -> bool:
        """Learn, as a device that is enrolled nowhere, what became of erased contributions.

        Returns:
            Whether there was an erasure whose contributions something could have become of.
        """
        population = "" if self._device.population is not None else self._retrainings.waiting()
        if population:
            self._retrainings.look_unnamed(self._servers, population)
        return bool(population)

    def _push(self, consent: SignedConsent) -> None:
        origin = self._trust.consent_origin
        receipt = self._servers.append_consent(
            consent.event, consent.signature, self._checkpoints.known_size(origin)
        )
        try:
            # Consistency is checked by `extend` below, which tells a rollback from a bad receipt.
            checkpoint = verify_receipt(
                receipt,
                consent.event,
                consent.signature,
                origin=origin,
                name=origin,
                ledger_key=self._trust.ledger_key,
                witnesses=self._trust.witnesses,
            )
        except PrivacyError as error:
            raise ReceiptRefused(f"consent {consent.seq}: {error}") from None
        self._checkpoints.extend(checkpoint, receipt.consistency)
        self._device.consents.keep_receipt(consent.seq, receipt)

    def _known_governance(self) -> int:
        return self._checkpoints.known_size(self._trust.governance_origin)

    def _population(self) -> str:
        population = self._device.population
        if population is None:
            raise NotEnrolled("expected an enrolled device; enrol with a one-time token first")
        return population


def _same_answer_as(entered: Participation, data: bytes, signals: Collection[str]) -> bool:
    """Tell whether a second answer is the first one, as far as consent still is what it was."""
    if not entered.answer_sha256 or set(signals) != set(entered.signals):
        return True
    return hashlib.sha256(data).hexdigest() == entered.answer_sha256
