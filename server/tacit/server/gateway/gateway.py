"""The gateway itself: offers, contributions, and the round in progress.

    bridge: run_round ─▶ Round ◀─ check_in / contribute: devices
                           │
                           ▼  at the cut-off, under the ledger's present consents
                        RoundSum ─▶ bridge

Consent is asked of the ledger three times for each contribution: when the round is offered, when
the vector comes, and at the cut-off. Nothing about consent is cached.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tacit.privacy import capability as capabilities
from tacit.privacy.capability import Capability
from tacit.privacy.errors import BadDocument, BadSignature
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.privacy.trust import LOCAL
from tacit.server.gateway.admission import Admission, Admitted, ConsentSource
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.errors import NotAdmitted
from tacit.server.gateway.notices import NoticeBoard
from tacit.server.gateway.opening import Opening, verify_opening
from tacit.server.gateway.round import Round, RoundSum
from tacit.v1 import device_pb2, gateway_pb2, ledger_pb2

logger = logging.getLogger("tacit.gateway")

_MAX_BLOBS = 16
_MAX_ROUNDS_REPORTED = 1000


class LedgerView(ConsentSource, Protocol):
    """What the gateway asks of the ledger (`tacit.server.ledger.client.LedgerClient` has it)."""

    def logged_entry(self, index: int, known_size: int) -> ledger_pb2.LoggedEntry:
        """Return a governance entry with proofs from `known_size`."""
        ...

    def latest_release(
        self, population: str, known_size: int, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        """Return the newest release with proofs from `known_size`."""
        ...

    def get_blob(self, sha256: bytes) -> bytes:
        """Return a blob by its digest."""
        ...


@dataclass(frozen=True, slots=True)
class _Running:
    """The round in progress with what its offers are made of; replaced as one.

    Attributes:
        round: collects.
        opening: what was signed.
        task_entries: the task with proofs from each log size a device has named.
    """

    round: Round
    opening: Opening
    task_entries: dict[int, ledger_pb2.LoggedEntry] = field(
        default_factory=dict[int, ledger_pb2.LoggedEntry]
    )


class Gateway:
    """State and rules of one gateway; the gRPC services are thin shells over it.

    Args:
        config: timings and the coordinator's key.
        ledger: the consent and governance ledger.
        key: signs capabilities.
        now_ms: wall clock, Unix milliseconds.
        monotonic_s: monotonic clock, seconds.

    Attributes:
        admission: knows devices' keys and present consents.
        notices: what everybody may know.
    """

    def __init__(
        self,
        config: GatewayConfig,
        ledger: LedgerView,
        key: SigningKey,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = Admission(ledger)
        # Half of the serving threads stay free for devices that have something to say.
        self.notices = NoticeBoard(max(1, config.max_workers // 2))
        self._config = config
        self._ledger = ledger
        self._key = key
        self._coordinator_key = bytes.fromhex(config.coordinator_key)
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._rounds: deque[Round] = deque(maxlen=_MAX_ROUNDS_REPORTED)
        self._blobs: dict[bytes, bytes] = {}

    # --- devices -------------------------------------------------------------------------------

    def check_in(self, device_id: str, known_size: int) -> device_pb2.CheckInReply:
        """Offer the open round to a device that may join it, or say why there is none."""
        try:
            offer = self._offer(self._open_round(), device_id, known_size)
        except NotAdmitted as refusal:
            return device_pb2.CheckInReply(
                idle_reason=str(refusal), latest_release=self.notices.latest_release
            )
        return device_pb2.CheckInReply(offer=offer, latest_release=self.notices.latest_release)

    def contribute(self, device_id: str, message: device_pb2.Contribution) -> None:
        """Take one contribution; checks in this order, each a refusal of its own.

        1. a round is open, and it is the round of this task that the message names;
        2. the capability is ours, for this device and round, and has not expired;
        3. the device consents now to what it was offered with, by the word of a ledger that is not
            behind the map epoch of the capability;
        4. the dtype is that of the task's trust level (32-bit integers carry noise, so they come
            at `local` and only there), and the vector passes `Round.accept`.

        Raises:
            NotAdmitted: naming the check that failed.
        """
        current = self._open_round().round
        header = current.header
        if message.task_sha256.hex() != header.task_sha256 or message.round_id != header.round_id:
            raise current.refuse("other round", "expected a contribution to the open round")
        try:
            permission = capabilities.verify(
                self._key.public_key,
                message.capability,
                self._now_ms(),
                device_id,
                header.task_sha256,
                header.round_id,
            )
        except (BadSignature, BadDocument) as error:
            raise current.refuse("bad capability", str(error)) from None
        admitted = self._admit(current, device_id)
        if admitted.map_epoch < permission.map_epoch:
            raise current.refuse("stale consents", "the ledger answered from an older epoch")
        if not admitted.signals.issuperset(permission.signals):
            raise current.refuse("consent changed", "consent was withdrawn since the offer")
        level = current.manifest.trust_level
        expected = device_pb2.DTYPE_INT32 if level == LOCAL else device_pb2.DTYPE_INT16
        if message.dtype != expected:
            raise current.refuse(
                "wrong dtype",
                f"expected {device_pb2.Dtype.Name(expected)} at trust level {level}, whose "
                f"contributions are {'noised' if level == LOCAL else 'not noised'} on the device, "
                "got another dtype",
            )
        current.count_bytes(received=message.ByteSize())
        current.accept(device_id, frozenset(permission.signals), message.values)

    def blob(self, sha256: bytes) -> bytes:
        """Return a round context or model blob; blobs are public and content-addressed."""
        with self._lock:
            found, running = self._blobs.get(sha256), self._running
        if running is not None and sha256.hex() == running.opening.header.context_sha256:
            found = running.opening.context  # whatever others made the cache forget
        if found is None:
            found = self._ledger.get_blob(sha256)
            self._keep_blob(found)
        if running is not None:
            running.round.count_bytes(sent=len(found))
        return found

    def release(self, population: str, known_size: int, kind: str) -> device_pb2.GetReleaseReply:
        """Return the newest release of a kind (empty for any), if there is one."""
        return device_pb2.GetReleaseReply(
            release=self._ledger.latest_release(population, known_size, kind)
        )

    # --- the bridge ----------------------------------------------------------------------------

    def run_round(self, request: gateway_pb2.RunRoundRequest) -> RoundSum:
        """Open a round, collect, cut off, and return the sum.

        A round that is still open is abandoned: a second request means that the coordinator
        started again and no longer waits for the first.

        Raises:
            InvalidRequest: if the request does not verify; no device hears of it.
            RoundAborted: if too few devices contributed, or another request took over.
        """
        now_ms = self._now_ms()
        opening = verify_opening(request, self._coordinator_key, self._config.population, now_ms)
        manifest, header = opening.manifest, opening.header
        current = Round(
            manifest,
            header,
            eligible=self.admission.eligible(manifest),
            monotonic_s=self._monotonic_s,
            timeout_s=min(self._config.round_timeout_s, (header.closes_at_ms - now_ms) / 1000),
            quiet_s=self._config.quiet_s,
        )
        self._keep_blob(opening.context)
        self._replace(_Running(current, opening))
        logger.info(
            "round %d of %s opened, %d eligible",
            header.round_id,
            manifest.task_id,
            current.counts.eligible,
        )
        try:
            current.wait()
            result = current.close(
                lambda ids: self.admission.signals_granted(manifest.purpose, ids)
            )
        finally:
            self._finish(current)
        logger.info(
            "round %d of %s closed with %d contributions",
            header.round_id,
            manifest.task_id,
            result.contributions,
        )
        return result

    def refresh_release(self) -> None:
        """Ask the ledger for the newest release and wake devices if it is new."""
        entry = self._ledger.latest_release(self._config.population, 0)
        if entry is not None:
            body = GovernanceEntry.parse(entry.entry).body
            self.notices.released(ReleaseManifest.from_json(body).version)

    def status(self) -> gateway_pb2.GatewayStatusReply:
        """Return the counts of the rounds since the gateway started."""
        with self._lock:
            rounds = list(self._rounds)
        return gateway_pb2.GatewayStatusReply(
            rounds=[
                gateway_pb2.RoundStatus(
                    task_id=r.manifest.task_id,
                    round_id=r.plan.round_id,
                    open=r.is_open,
                    eligible=r.counts.eligible,
                    offered=r.counts.offered,
                    contributed=r.counts.contributed,
                    dropped_at_cutoff=r.counts.dropped_at_cutoff,
                    refused=dict(r.counts.refused),
                    bytes_received=r.counts.bytes_received,
                    bytes_sent=r.counts.bytes_sent,
                )
                for r in rounds
            ]
        )

    def stop(self) -> None:
        """Abandon the open round and let every listener go."""
        with self._lock:
            if self._running is not None:
                self._running.round.abandon()
        self.notices.close()

    # --- inside --------------------------------------------------------------------------------

    def _open_round(self) -> _Running:
        running = self._running
        if running is None or not running.round.is_open:
            raise NotAdmitted("round closed", "no round is open")
        return running

    def _admit(self, current: Round, device_id: str) -> Admitted:
        try:
            return self.admission.admit(current.manifest, device_id)
        except NotAdmitted as refusal:
            raise current.refuse(refusal.reason, str(refusal)) from None

    def _offer(self, running: _Running, device_id: str, known_size: int) -> device_pb2.Offer:
        current, opening = running.round, running.opening
        admitted = self._admit(current, device_id)
        current.offer(device_id)
        permission = Capability(
            device_id=device_id,
            task_sha256=opening.header.task_sha256,
            round_id=opening.header.round_id,
            signals=tuple(sorted(admitted.signals)),
            consent_sequence=admitted.consent_sequence,
            map_epoch=admitted.map_epoch,
            expires_at_ms=opening.header.closes_at_ms,
            nonce=secrets.token_hex(16),
        )
        # Two threads may fetch the same entry; either one serves.
        task = running.task_entries.get(known_size)
        if task is None:
            task = self._ledger.logged_entry(opening.task_index, known_size)
            running.task_entries[known_size] = task
        return device_pb2.Offer(
            task=task,
            round_header=opening.header_bytes,
            round_signature=opening.header_signature,
            capability=capabilities.issue(self._key, permission),
        )

    def _replace(self, running: _Running) -> None:
        header = running.opening.header
        with self._lock:
            if self._running is not None:
                self._running.round.abandon()
            self._running = running
            self._rounds.append(running.round)
            self.notices.round_opened(bytes.fromhex(header.task_sha256), header.round_id)

    def _finish(self, current: Round) -> None:
        with self._lock:
            if self._running is not None and self._running.round is current:
                self._running = None
                self.notices.round_closed()

    def _keep_blob(self, content: bytes) -> None:
        with self._lock:
            self._blobs[hashlib.sha256(content).digest()] = content
            while len(self._blobs) > _MAX_BLOBS:
                self._blobs.pop(next(iter(self._blobs)))
