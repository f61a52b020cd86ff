"""gRPC: the only module of a device that opens a socket.

TLS 1.2+ with one pinned authority, no fallback. Every authenticated call is signed afresh, with its
own nonce and time, also when it is a retry: the servers refuse a request they have seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message

from tacit.client.errors import Rejected, TransportError
from tacit.client.policy import Endpoints
from tacit.client.wire import (
    CheckIn,
    ErasureAnswer,
    LoggedEntry,
    RetrainingAnswer,
    RoundOffer,
    StateProof,
    Traffic,
)
from tacit.privacy.receipt import Receipt
from tacit.privacy.requests import NONCE_BYTES, SIGNING_CONTEXT, request_bytes
from tacit.privacy.signatures import SigningKey
from tacit.v1 import auth_pb2, device_pb2, device_pb2_grpc, ledger_pb2, ledger_pb2_grpc

ATTEMPTS = 7
"""Tries before a server counts as unreachable; with the pauses between them, some 6 seconds."""

TIMEOUT_S = 30.0
_FIRST_PAUSE_S = 0.1
_MAX_MESSAGE_BYTES = 64 << 20
_UNREACHABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Tried again. Safe for every call here: each is idempotent at the server."""

_DEVICE = "/tacit.v1.DeviceService/"
_LEDGER = "/tacit.v1.LedgerService/"

_Reply = TypeVar("_Reply")


class _Sized(Protocol):
    def ByteSize(self) -> int: ...  # noqa: N802 - protobuf's name


class Connection:
    """Channels to one gateway and one ledger; many devices of one process may share them."""

    def __init__(self, endpoints: Endpoints) -> None:
        credentials = grpc.ssl_channel_credentials(root_certificates=endpoints.ca_pem)
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            # gRPC's own pause of a second and more would outlast several of our attempts.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A proxy of the host must not see, or be asked about, what devices do.
            ("grpc.enable_http_proxy", 0),
        ]
        if endpoints.server_name is not None:
            options.append(("grpc.ssl_target_name_override", endpoints.server_name))
        self._gateway = grpc.secure_channel(endpoints.gateway, credentials, options)
        self._ledger = grpc.secure_channel(endpoints.ledger, credentials, options)
        self.device_stub = device_pb2_grpc.DeviceServiceStub(self._gateway)
        self.ledger_stub = ledger_pb2_grpc.LedgerServiceStub(self._ledger)

    def servers(self, key: SigningKey, clock_ms: Callable[[], int]) -> GrpcServers:
        """Return the calls of one device over these channels."""
        return GrpcServers(self, key, clock_ms)

    def close(self) -> None:
        """Close both channels."""
        self._gateway.close()
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class GrpcServers:
    """The calls of one device; see `tacit.client.wire.Servers`."""

    def __init__(
        self, connection: Connection, key: SigningKey, clock_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._key = key
        self._clock_ms = clock_ms
        self.traffic = Traffic()

    def enrol(self, token: str, public_key: bytes, proof: bytes) -> tuple[str, str]:
        """Enrol; returns `(device_id, population)`."""
        request = ledger_pb2.EnrolRequest(token=token, public_key=public_key, proof=proof)
        stub = self._connection.ledger_stub
        reply = self._call(lambda: request, lambda r: stub.Enrol(r, timeout=TIMEOUT_S))
        return reply.device_id, reply.population

    def append_consent(self, event: bytes, signature: bytes, known_size: int) -> Receipt:
        """Send one consent event to the ledger."""
        body = ledger_pb2.AppendConsentRequest(
            event=event, event_signature=signature, known_size=known_size
        )
        stub = self._connection.ledger_stub
        reply = self._call(
            lambda: self._sealed(_LEDGER + "AppendConsent", body),
            lambda r: stub.AppendConsent(r, timeout=TIMEOUT_S),
        )
        return _receipt(reply)

    def get_state_proof(
        self, known_size: int, covering: int, keys: tuple[bytes, ...]
    ) -> StateProof:
        """Ask what the newest epoch, covering so many consent leaves, says of some keys."""
        body = ledger_pb2.GetStateProofRequest(known_size=known_size, covering=covering, keys=keys)
        stub = self._connection.ledger_stub
        reply = self._call(
            lambda: self._sealed(_LEDGER + "GetStateProof", body),
            lambda r: stub.GetStateProof(r, timeout=TIMEOUT_S),
        )
        epoch = _logged(reply.epoch) if reply.HasField("epoch") else None
        return StateProof(epoch, tuple(reply.proofs))

    def erase(
        self, request: bytes, signature: bytes, public_key: bytes, known_size: int
    ) -> ErasureAnswer:
        """Ask the ledger to destroy what it holds of this device."""
        body = ledger_pb2.EraseRequest(
            request=request,
            request_signature=signature,
            public_key=public_key,
            known_size=known_size,
        )
        stub = self._connection.ledger_stub
        reply = self._call(
            lambda: self._sealed(_LEDGER + "Erase", body),
            lambda r: stub.Erase(r, timeout=TIMEOUT_S),
        )
        return ErasureAnswer(reply.statement, reply.statement_signature, _receipt(reply.receipt))

    def check_in(self, known_size: int) -> CheckIn:
        """Ask the gateway for something to do."""
        body = device_pb2.CheckInRequest(known_size=known_size)
        stub = self._connection.device_stub
        reply = self._call(
            lambda: self._sealed(_DEVICE + "CheckIn", body),
            lambda r: stub.CheckIn(r, timeout=TIMEOUT_S),
        )
        offer = None
        if reply.HasField("offer"):
            offer = RoundOffer(
                _logged(reply.offer.task),
                reply.offer.round_header,
                reply.offer.round_signature,
                reply.offer.capability,
            )
        return CheckIn(offer, reply.idle_reason, reply.latest_release)

    def contribute(
        self, capability: bytes, task_sha256: bytes, round_id: int, values: bytes, noised: bool
    ) -> None:
        """Send a contribution: little-endian integers, of 32 bits if this device noised them."""
        body = device_pb2.Contribution(
            capability=capability,
            task_sha256=task_sha256,
            round_id=round_id,
            dtype=device_pb2.DTYPE_INT32 if noised else device_pb2.DTYPE_INT16,
            values=values,
        )
        stub = self._connection.device_stub
        self._call(
            lambda: self._sealed(_DEVICE + "Contribute", body),
            lambda r: stub.Contribute(r, timeout=TIMEOUT_S),
        )

    def fetch_blob(self, sha256: bytes, max_bytes: int) -> bytes:
        """Fetch public content by digest, at most `max_bytes` of it."""
        request = device_pb2.FetchBlobRequest(sha256=sha256)
        stub = self._connection.device_stub

        def receive(sent: device_pb2.FetchBlobRequest) -> _Blob:
            stream = stub.FetchBlob(sent, timeout=TIMEOUT_S)
            content = bytearray()
            for chunk in stream:
                content += chunk.content
                if len(content) > max_bytes:
                    stream.cancel()
                    raise TransportError(f"expected a blob of at most {max_bytes} bytes, got more")
            return _Blob(bytes(content))

        return self._call(lambda: request, receive).content

    def get_release(self, population: str, known_size: int, kind: str) -> LoggedEntry | None:
        """Ask for the newest release of a kind."""
        request = device_pb2.GetReleaseRequest(
            population=population, known_size=known_size, kind=kind
        )
        stub = self._connection.device_stub
        reply = self._call(lambda: request, lambda r: stub.GetRelease(r, timeout=TIMEOUT_S))
        return _logged(reply.release) if reply.HasField("release") else None

    def get_retrainings(self, population: str, known_size: int, after: int) -> RetrainingAnswer:
        """Ask, under no name, for retrainings whose release has index `after` or more."""
        request = ledger_pb2.GetRetrainingsRequest(
            population=population, known_size=known_size, after=after
        )
        stub = self._connection.ledger_stub
        reply = self._call(lambda: request, lambda r: stub.GetRetrainings(r, timeout=TIMEOUT_S))
        consistency = tuple(reply.consistency)
        return RetrainingAnswer(
            tuple(
                tuple(
                    LoggedEntry(
                        one.entry, one.index, tuple(one.inclusion), reply.checkpoint, consistency
                    )
                    for one in retraining.entries
                )
                for retraining in reply.retrainings
            )
        )

    def _sealed(self, method: str, body: Message) -> auth_pb2.SignedRequest:
        content, nonce, now_ms = body.SerializeToString(), os.urandom(NONCE_BYTES), self._clock_ms()
        return auth_pb2.SignedRequest(
            key_id=self._key.key_id,
            issued_at_ms=now_ms,
            nonce=nonce,
            body=content,
            signature=self._key.sign(
                SIGNING_CONTEXT, request_bytes(method, now_ms, nonce, content)
            ),
        )

    def _call(self, build: Callable[[], Any], send: Callable[[Any], _Reply]) -> _Reply:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            request = build()
            self.traffic.sent_bytes += request.ByteSize()
            try:
                reply = send(request)
            except grpc.RpcError as error:
                code, details = _status(error)
                if code not in _UNREACHABLE:
                    raise Rejected(code.name, details) from None
                if attempt == ATTEMPTS:
                    raise TransportError(f"server unreachable after {attempt} attempts") from None
                # Spread: devices that lost a server together should not come back together.
                time.sleep(pause_s * (0.5 + os.urandom(1)[0] / 256))
                pause_s *= 2
            else:
                self.traffic.received_bytes += _size(reply)
                return reply
        raise TransportError("server unreachable")


class _Blob:
    """A received blob, counted like a message."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        return len(self.content)


def _size(reply: Any) -> int:
    sized: _Sized = reply
    return sized.ByteSize()


def _logged(entry: ledger_pb2.LoggedEntry) -> LoggedEntry:
    return LoggedEntry(
        entry=entry.entry,
        index=entry.index,
        inclusion=tuple(entry.inclusion),
        checkpoint=entry.checkpoint,
        consistency=tuple(entry.consistency),
    )


def _receipt(reply: ledger_pb2.ConsentReceipt) -> Receipt:
    return Receipt(
        commitment_key=reply.commitment_key,
        index=reply.index,
        inclusion=tuple(reply.inclusion),
        checkpoint=reply.checkpoint,
        consistency=tuple(reply.consistency),
    )


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    # The documented base class carries no status; what calls raise is also a `grpc.Call`.
    if isinstance(error, grpc.Call):
        lines = (error.details() or "").splitlines()
        return error.code(), lines[0][:300] if lines else ""
    return grpc.StatusCode.UNKNOWN, ""
