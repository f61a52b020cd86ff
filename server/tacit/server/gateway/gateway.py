"""The gateway itself: admission, offers, contributions, and the round in progress.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from tacit.privacy import capability as capabilities
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.capability import Capability
from tacit.privacy.errors import BadDocument, BadSignature
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey, key_id, verify
from tacit.privacy.task import RoundHeader, TaskManifest
from tacit.server.errors import InvalidRequest
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.errors import NotAdmitted
from tacit.server.gateway.round import Round, RoundSum
from tacit.server.ledger.client import ConsentState
from tacit.v1 import device_pb2, gateway_pb2, ledger_pb2

logger = logging.getLogger("tacit.gateway")

_MAX_BLOBS = 16


class LedgerView(Protocol):
    """What the gateway asks of the ledger (`tacit.server.ledger.client.LedgerClient` has it)."""

    def consent_states(self, purpose: str, device_ids: Sequence[str]) -> list[ConsentState]:
        """Return present consent; all devices when no ids are given."""
        ...

    def logged_entry(self, index: int, known_size: int) -> ledger_pb2.LoggedEntry:
        """Return a governance entry with proofs from `known_size`."""
        ...

    def latest_release(self, population: str, known_size: int) -> ledger_pb2.LoggedEntry | None:
        """Return the newest release with proofs from `known_size`."""
        ...

    def get_blob(self, sha256: bytes) -> bytes:
        """Return a blob by its digest."""
        ...


class Gateway:
    """State and rules of one gateway; the gRPC services are thin shells over it.

    Args:
        config: timings and the coordinator's key.
        ledger: the consent and governance ledger.
        key: signs capabilities.
        now_ms: wall clock, Unix milliseconds.
        monotonic_s: monotonic clock, seconds.
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
        self._config = config
        self._ledger = ledger
        self._key = key
        self._coordinator_key = bytes.fromhex(config.coordinator_key)
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._changed = threading.Condition()
        self._sequence = 1
        self._stopping = False
        self._round: Round | None = None
        self._round_signature = b""
        self._task_index = 0
        self._task_entries: dict[int, ledger_pb2.LoggedEntry] = {}
        self._rounds: list[Round] = []
        self._blobs: dict[bytes, bytes] = {}
        self._latest_release = 0

    # --- devices -------------------------------------------------------------------------------

    def public_key_of(self, device_id: str) -> bytes | None:
        """Return an enrolled device's public key, or None."""
        states = self._ledger.consent_states("learn", [device_id])
        return states[0].public_key if states else None

    def check_in(self, device_id: str, known_size: int) -> device_pb2.CheckInReply:
        """Offer the open round to a device that may join it, or say why there is none."""
        current = self._round
        if current is None or not current.is_open:
            return device_pb2.CheckInReply(
                idle_reason="no round is open", latest_release=self._latest_release
            )
        try:
            signals, consent_sequence = self._admit(current, device_id)
            current.offer(device_id, signals)
        except NotAdmitted as refusal:
            return device_pb2.CheckInReply(
                idle_reason=str(refusal), latest_release=self._latest_release
            )
        permission = Capability(
            device_id=device_id,
            task_sha256=current.header.task_sha256,
            round_id=current.plan.round_id,
            signals=tuple(sorted(signals)),
            consent_sequence=consent_sequence,
            expires_at_ms=current.header.closes_at_ms,
            nonce=secrets.token_hex(16),
        )
        return device_pb2.CheckInReply(
            offer=device_pb2.Offer(
                task=self._task_entry(known_size),
                round_header=current.header.to_bytes(),
                round_signature=self._round_signature,
                capability=capabilities.issue(self._key, permission),
            ),
            latest_release=self._latest_release,
        )

    def contribute(self, device_id: str, message: device_pb2.Contribution) -> None:
        """Take one contribution; checks in this order, each a refusal of its own.

        1. a round is open, and it is the round of this task that the message names;
        2. the capability is ours, for this device and round, and has not expired;
        3. the device consents now to what it was offered with;
        4. the dtype is int16, and the vector passes `Round.accept`.

        Raises:
            NotAdmitted: naming the check that failed.
        """
        current = self._round
        if current is None or not current.is_open:
            raise NotAdmitted("round closed", "no round is open")
        if (
            message.task_sha256.hex() != current.header.task_sha256
            or message.round_id != current.plan.round_id
        ):
            raise current.refuse("other round", "expected a contribution to the open round")
        try:
            permission = capabilities.verify(
                self._key.public_key,
                message.capability,
                self._now_ms(),
                device_id,
                current.header.task_sha256,
                current.plan.round_id,
            )
        except (BadSignature, BadDocument) as error:
            raise current.refuse("bad capability", str(error)) from None
        granted, _ = self._admit(current, device_id)
        if not granted.issuperset(permission.signals):
            raise current.refuse("consent changed", "consent was withdrawn since the offer")
        if message.dtype != device_pb2.DTYPE_INT16:
            raise current.refuse("wrong dtype", "expected DTYPE_INT16")
        current.counts.bytes_received += message.ByteSize()
        current.accept(device_id, message.values)

    def blob(self, sha256: bytes) -> bytes:
        """Return a round context or model blob; blobs are public and content-addressed."""
        with self._changed:
            found = self._blobs.get(sha256)
        if found is None:
            found = self._ledger.get_blob(sha256)
            self._keep_blob(found)
        current = self._round
        if current is not None:
            current.counts.bytes_sent += len(found)
        return found

    def release(self, population: str, known_size: int) -> device_pb2.GetReleaseReply:
        """Return the newest release, if there is one."""
        return device_pb2.GetReleaseReply(
            release=self._ledger.latest_release(population, known_size)
        )

    def notices(
        self, after_sequence: int, is_active: Callable[[], bool]
    ) -> Iterator[device_pb2.RoundNotice]:
        """Yield the present notice and each later one while the caller listens."""
        sequence = after_sequence
        while is_active() and not self._stopping:
            with self._changed:
                if self._sequence <= sequence:
                    self._changed.wait(1.0)
                    continue
                notice = self._notice()
            sequence = notice.sequence
            yield notice

    # --- the bridge ----------------------------------------------------------------------------

    def run_round(self, request: gateway_pb2.RunRoundRequest) -> RoundSum:
        """Open a round, collect, cut off, and return the sum.

        The task and the header are verified before any device hears of them: the coordinator's
        signature on both, the digests that tie header, task and context together, the expiry.

        Raises:
            InvalidRequest: if verification fails, or another round is running.
            RoundAborted: if too few devices contributed.
        """
        manifest, header = self._verify_request(request)
        eligible = sum(
            state.granted and not set(manifest.signals).isdisjoint(state.signals)
            for state in self._ledger.consent_states(manifest.purpose, [])
            if state.population == manifest.population
        )
        current = Round(
            manifest,
            header,
            eligible=eligible,
            monotonic_s=self._monotonic_s,
            timeout_s=min(
                self._config.round_timeout_s, (header.closes_at_ms - self._now_ms()) / 1000
            ),
            quiet_s=self._config.quiet_s,
        )
        self._keep_blob(request.context)
        with self._changed:
            if self._round is not None:
                # A second header for a round means the coordinator started again.
                self._round.abandon()
            self._round = current
            self._round_signature = request.round_signature
            self._task_index = request.task.index
            self._task_entries = {}
            self._rounds.append(current)
            self._announce()
        logger.info(
            "round %d of %s opened, %d eligible", header.round_id, manifest.task_id, eligible
        )
        try:
            current.wait()
            result = current.close(lambda ids: self._signals_granted(manifest.purpose, ids))
        finally:
            with self._changed:
                if self._round is current:
                    self._round = None
                self._announce()
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
        if entry is None:
            return
        version = ReleaseManifest.from_json(GovernanceEntry.parse(entry.entry).body).version
        with self._changed:
            if version > self._latest_release:
                self._latest_release = version
                self._announce()

    def status(self) -> gateway_pb2.GatewayStatusReply:
        """Return the counts of every round since the gateway started."""
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
                for r in list(self._rounds)
            ]
        )

    def stop(self) -> None:
        """Let every listener go."""
        self._stopping = True
        with self._changed:
            if self._round is not None:
                self._round.abandon()
            self._changed.notify_all()

    # --- inside --------------------------------------------------------------------------------

    def _verify_request(
        self, request: gateway_pb2.RunRoundRequest
    ) -> tuple[TaskManifest, RoundHeader]:
        coordinator = key_id(self._coordinator_key)
        try:
            entry = GovernanceEntry.parse(request.task.entry)
            entry.verify(self._coordinator_key, coordinator)
            if entry.kind != "task":
                raise InvalidRequest(f"expected a task entry, got {entry.kind!r}")
            manifest = TaskManifest.from_json(entry.body)
            verify(
                self._coordinator_key,
                RoundHeader.SIGNING_CONTEXT,
                request.round_header,
                request.round_signature,
            )
            header = RoundHeader.from_json(parse_canonical(request.round_header))
            manifest.round_plan(header.round_id)
        except (BadSignature, BadDocument) as error:
            raise InvalidRequest(f"the round was refused: {error}") from None
        if header.task_sha256 != manifest.digest().hex():
            raise InvalidRequest("the round was refused: its header names another task")
        if header.context_sha256 != hashlib.sha256(request.context).hexdigest():
            raise InvalidRequest("the round was refused: its context does not match its header")
        now_ms = self._now_ms()
        if not now_ms < min(header.closes_at_ms, manifest.expires_at_ms):
            raise InvalidRequest("the round was refused: it has expired")
        return manifest, header

    def _admit(self, current: Round, device_id: str) -> tuple[frozenset[str], int]:
        """Return the signals this device may use now, and its consent sequence.

        Raises:
            NotAdmitted: if the device may not take part, or has no signal to take part with.
        """
        manifest = current.manifest
        states = self._ledger.consent_states(manifest.purpose, [device_id])
        if not states:
            raise current.refuse("not enrolled", "the device is not enrolled")
        state = states[0]
        if state.population != manifest.population:
            raise current.refuse("other population", "the task is for another population")
        signals = frozenset(state.signals).intersection(manifest.signals)
        if not state.granted:
            raise current.refuse("no consent", f"consent to {manifest.purpose!r} is not granted")
        if not signals:
            raise current.refuse("no signal", "no signal of the task is consented to")
        return signals, state.sequence

    def _signals_granted(self, purpose: str, device_ids: list[str]) -> Mapping[str, frozenset[str]]:
        if not device_ids:
            return {}
        return {
            state.device_id: frozenset(state.signals)
            for state in self._ledger.consent_states(purpose, device_ids)
            if state.granted
        }

    def _task_entry(self, known_size: int) -> ledger_pb2.LoggedEntry:
        """Return the task with proofs for a device that remembers `known_size`."""
        with self._changed:
            cached, index = self._task_entries.get(known_size), self._task_index
        if cached is None:
            cached = self._ledger.logged_entry(index, known_size)
            with self._changed:
                self._task_entries[known_size] = cached
        return cached

    def _keep_blob(self, content: bytes) -> None:
        with self._changed:
            self._blobs[hashlib.sha256(content).digest()] = content
            while len(self._blobs) > _MAX_BLOBS:
                self._blobs.pop(next(iter(self._blobs)))

    def _announce(self) -> None:
        self._sequence += 1
        self._changed.notify_all()

    def _notice(self) -> device_pb2.RoundNotice:
        current = self._round
        is_open = current is not None and current.is_open
        return device_pb2.RoundNotice(
            sequence=self._sequence,
            round_open=is_open,
            task_sha256=bytes.fromhex(current.header.task_sha256) if current and is_open else b"",
            round_id=current.plan.round_id if current and is_open else 0,
            latest_release=self._latest_release,
        )
