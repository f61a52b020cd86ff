"""The ledger node as gateways, coordinators and operators see it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.canonical import Json
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.server.authn import seal
from tacit.server.errors import REFUSALS, FailedPrecondition, LedgerUnavailable, Refused
from tacit.v1 import auth_pb2, budget_pb2, budget_pb2_grpc, ledger_pb2, ledger_pb2_grpc

__all__ = ["ConsentState", "LedgerClient", "LedgerUnavailable"]

_LEDGER = "/tacit.v1.LedgerService/"
_BUDGET = "/tacit.v1.BudgetService/"
_CALL_TIMEOUT_S = 30.0
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_COMMIT_ATTEMPTS = 10
_REMEMBERED_SPENDS = 1024
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class ConsentState:
    """What one enrolled device allows for one purpose now.

    Attributes:
        device_id, public_key, population: the device.
        granted: whether an explicit grant stands.
        signals: the signals it covers.
        sequence: number of consent events the ledger holds of this device.
        map_epoch: newest epoch of the current-state map when the ledger answered.
    """

    device_id: str
    public_key: bytes
    population: str
    granted: bool
    signals: tuple[str, ...]
    sequence: int
    map_epoch: int = 0


class LedgerClient:
    """Call a ledger node with one key.

    A refusal raises the class of `tacit.server.errors` that the node raised. A node that does not
    answer is tried again, with freshly signed requests, for `patience_s`; then `LedgerUnavailable`
    is raised. That is safe because every method is idempotent, except that `create_tokens` may
    leave tokens behind that nobody was given. Thread-safe.
    """

    def __init__(
        self, address: str, ca_pem: bytes, key: SigningKey, *, patience_s: float = 10.0
    ) -> None:
        """Open a channel.

        Args:
            address: host:port of the node.
            ca_pem: certificate of the authority that vouches for it.
            key: signs requests and entries.
            patience_s: how long to try a node that does not answer.
        """
        self._key = key
        self._patience_s = patience_s
        # Reservation → ε of its account as it left it; account → δ, which an account never changes.
        self._left_at: dict[str, float] = {}
        self._deltas: dict[str, float] = {}
        self._channel = grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(ca_pem),
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                # A proxy of the host must not see, or be asked about, who is admitted.
                ("grpc.enable_http_proxy", 0),
            ],
        )
        self._ledger = ledger_pb2_grpc.LedgerServiceStub(self._channel)
        self._budget = budget_pb2_grpc.BudgetServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> LedgerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create_tokens(self, population: str, count: int, expires_at_ms: int) -> list[str]:
        """Make one-time enrolment tokens (operator)."""
        body = ledger_pb2.CreateTokensRequest(
            population=population, count=count, expires_at_ms=expires_at_ms
        )
        reply = self._signed(self._ledger.CreateTokens, _LEDGER + "CreateTokens", body)
        return list(reply.tokens)

    def append_governance(
        self, kind: str, body: dict[str, Json], recorded_at_ms: int | None = None
    ) -> int:
        """Sign and append a notice or account (operator), task or release (coordinator), or audit.

        Returns:
            The entry's index; the first one's if the same body was appended before.
        """
        entry = self._entry(kind, body, recorded_at_ms)
        request = ledger_pb2.AppendGovernanceRequest(entry=entry)
        method = _LEDGER + "AppendGovernance"
        return self._signed(self._ledger.AppendGovernance, method, request).index

    def reserve(self, document: ReserveDocument) -> budget_pb2.BudgetReply:
        """Reserve a spend (coordinator); it is durable and logged when this returns."""
        reply = self._spend(self._budget.Reserve, "Reserve", "budget.reserve", document.to_json())
        while len(self._left_at) >= _REMEMBERED_SPENDS:
            self._left_at.pop(next(iter(self._left_at)))  # the oldest
        self._left_at[document.reservation_id] = float(reply.epsilon_spent)
        return reply

    def commit(
        self, account_id: str, reservation_id: str, release_sha256: str
    ) -> budget_pb2.BudgetReply:
        """Record that a reservation paid for one noised sum (coordinator).

        The ε stated in the entry is the account's as the reservation left it, which this client
        knows if it reserved; otherwise the account's at that moment, read again where another
        spend comes in between.
        """
        attempt = 0
        # Kept for a repeat: asking the ledger makes it read every reservation of the account.
        epsilon = self._left_at.get(reservation_id)
        if epsilon is None or account_id not in self._deltas:
            now = self._spent(account_id)
            epsilon = now if epsilon is None else epsilon
        while True:
            document = CommitDocument(
                reservation_id=reservation_id,
                release_sha256=release_sha256,
                epsilon=epsilon,
                target_delta=self._deltas[account_id],
            )
            try:
                return self._spend(
                    self._budget.Commit, "Commit", "budget.commit", document.to_json()
                )
            except FailedPrecondition:
                attempt += 1
                now = self._spent(account_id)
                if now == epsilon or attempt == _COMMIT_ATTEMPTS:
                    raise
                epsilon = now

    def abort(self, reservation_id: str, reason: str) -> budget_pb2.BudgetReply:
        """Free a reservation whose noise was provably never drawn (coordinator)."""
        body = AbortDocument(reservation_id, reason).to_json()
        return self._spend(self._budget.Abort, "Abort", "budget.abort", body)

    def show_budget(self, account_id: str) -> budget_pb2.ShowBudgetReply:
        """Return an account, its reservations and its ε."""
        request = budget_pb2.ShowBudgetRequest(account_id=account_id)
        return self._patiently(lambda: self._budget.ShowBudget(request, timeout=_CALL_TIMEOUT_S))

    def consent_states(self, purpose: str, device_ids: Sequence[str] = ()) -> list[ConsentState]:
        """Return what devices allow now, all of them when none is named (gateway)."""
        body = ledger_pb2.GetConsentStatesRequest(purpose=purpose, device_ids=device_ids)
        method = _LEDGER + "GetConsentStates"
        reply = self._signed(self._ledger.GetConsentStates, method, body)
        return [
            ConsentState(
                device_id=one.device_id,
                public_key=one.public_key,
                population=one.population,
                granted=one.granted,
                signals=tuple(one.signals),
                sequence=one.sequence,
                map_epoch=reply.map_epoch,
            )
            for one in reply.states
        ]

    def retrain(self, population: str, kind: str, reason: str) -> tuple[int, GovernanceEntry]:
        """Have a retraining announced (operator); returns the entry with its index."""
        body = ledger_pb2.RetrainRequest(population=population, kind=kind, reason=reason)
        reply = self._signed(self._ledger.Retrain, _LEDGER + "Retrain", body)
        return reply.index, GovernanceEntry.parse(reply.entry)

    def put_blob(self, content: bytes) -> bytes:
        """Store a public blob and return its digest (coordinator)."""
        body = ledger_pb2.PutBlobRequest(content=content)
        return self._signed(self._ledger.PutBlob, _LEDGER + "PutBlob", body).sha256

    def get_blob(self, sha256: bytes) -> bytes:
        """Return a blob; whoever trusts its content checks the digest."""
        request = ledger_pb2.GetBlobRequest(sha256=sha256)
        return self._patiently(
            lambda: b"".join(
                chunk.content for chunk in self._ledger.GetBlob(request, timeout=_CALL_TIMEOUT_S)
            )
        )

    def checkpoint(
        self, log: ledger_pb2.Log.ValueType, known_size: int = 0
    ) -> ledger_pb2.GetCheckpointReply:
        """Return a log's latest checkpoint with a consistency proof."""
        request = ledger_pb2.GetCheckpointRequest(log=log, known_size=known_size)
        return self._patiently(lambda: self._ledger.GetCheckpoint(request, timeout=_CALL_TIMEOUT_S))

    def entries(self, start: int = 0, count: int = 1000) -> list[bytes]:
        """Return up to `count` governance entries from `start`; possibly fewer."""
        request = ledger_pb2.GetEntriesRequest(start=start, count=count)
        reply = self._patiently(lambda: self._ledger.GetEntries(request, timeout=_CALL_TIMEOUT_S))
        return list(reply.entries)

    def logged_entry(self, index: int, known_size: int = 0) -> ledger_pb2.LoggedEntry:
        """Return one governance entry with its proofs."""
        request = ledger_pb2.GetLoggedEntryRequest(index=index, known_size=known_size)
        return self._patiently(
            lambda: self._ledger.GetLoggedEntry(request, timeout=_CALL_TIMEOUT_S)
        )

    def latest_release(
        self, population: str, known_size: int = 0, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        """Return a population's newest release with its proofs, None while there is none.

        Args:
            population: whose releases.
            known_size: size of the log the caller remembers; 0 for none.
            kind: one of `tacit.privacy.release.KINDS`; empty for the newest of any kind.
        """
        request = ledger_pb2.LatestReleaseRequest(
            population=population, known_size=known_size, kind=kind
        )
        reply = self._patiently(
            lambda: self._ledger.LatestRelease(request, timeout=_CALL_TIMEOUT_S)
        )
        return reply.release if reply.HasField("release") else None

    def _spent(self, account_id: str) -> float:
        shown = self.show_budget(account_id)
        self._deltas[account_id] = float(shown.target_delta)
        return float(shown.epsilon_spent)

    def _spend(
        self,
        call: Callable[..., budget_pb2.BudgetReply],
        name: str,
        kind: str,
        body: dict[str, Json],
    ) -> budget_pb2.BudgetReply:
        request = budget_pb2.BudgetEntryRequest(entry=self._entry(kind, body, None))
        return self._signed(call, _BUDGET + name, request)

    def _entry(self, kind: str, body: dict[str, Json], recorded_at_ms: int | None) -> bytes:
        at_ms = _now_ms() if recorded_at_ms is None else recorded_at_ms
        return GovernanceEntry.sign(kind, body, at_ms, self._key).to_bytes()

    def _signed(self, call: Callable[..., _Answer], method: str, body: Message) -> _Answer:
        serialised = body.SerializeToString()

        def attempt() -> _Answer:
            request: auth_pb2.SignedRequest = seal(
                self._key, method, serialised, _now_ms(), os.urandom
            )
            return call(request, timeout=_CALL_TIMEOUT_S)

        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[], _Answer]) -> _Answer:
        deadline, pause_s = time.monotonic() + self._patience_s, 0.05
        while True:
            try:
                return attempt()
            except grpc.RpcError as error:
                status = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
                details = error.details() if isinstance(error, grpc.Call) else None
                if status not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise _refusal(status, details or "") from None
                if time.monotonic() + pause_s > deadline:
                    raise LedgerUnavailable(
                        f"the ledger did not answer for {self._patience_s:g} s"
                    ) from None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)


def _refusal(status: grpc.StatusCode, details: str) -> Refused:
    for kind in REFUSALS:
        if kind.status == status.name:
            return kind(details)
    return Refused(f"the ledger answered {status.name}: {details}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
