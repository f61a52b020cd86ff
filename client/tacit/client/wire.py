"""What servers say to a device, parsed once at the edge; no gRPC beyond `transport`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tacit.privacy.receipt import Receipt


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """A governance entry with the proof that the log holds it.

    Attributes:
        entry: canonical bytes of a `GovernanceEntry`.
        index: its leaf.
        inclusion: audit path to the checkpoint's root.
        checkpoint: signed note.
        consistency: proof from the size the device named to the checkpoint.
    """

    entry: bytes
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: bytes
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundOffer:
    """An offer as it came, nothing in it verified yet.

    Attributes:
        task: the task's entry.
        round_header: canonical bytes of a `RoundHeader`.
        round_signature: the coordinator's signature over it.
        capability: opaque to the device; goes back with the contribution.
    """

    task: LoggedEntry
    round_header: bytes
    round_signature: bytes
    capability: bytes


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A gateway's answer to a check-in.

    Attributes:
        offer: None when there is nothing to do.
        idle_reason: why there is nothing to do.
        latest_release: newest version the gateway knows; 0 for none.
    """

    offer: RoundOffer | None
    idle_reason: str
    latest_release: int


@dataclass(frozen=True, slots=True)
class StateProof:
    """What the ledger says of keys of the current-state map, nothing in it verified yet.

    Attributes:
        epoch: the newest epoch's entry; None before the first.
        proofs: one encoded proof for each key asked for.
    """

    epoch: LoggedEntry | None
    proofs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ErasureAnswer:
    """The ledger's answer to an erasure, nothing in it verified yet.

    Attributes:
        statement, signature: canonical bytes of an `ErasureStatement`, signed by the ledger.
        receipt: proof that the consent log commits to both.
    """

    statement: bytes
    signature: bytes
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RetrainingAnswer:
    """Which retrainings of a population are done, nothing in it verified yet.

    Attributes:
        retrainings: for each, the announcement, the task, its release, then a release and its task
            for each base; all under one checkpoint.
    """

    retrainings: tuple[tuple[LoggedEntry, ...], ...]


@dataclass(slots=True)
class Traffic:
    """Payload bytes of one session, without TLS and HTTP/2 framing."""

    sent_bytes: int = 0
    received_bytes: int = 0


class Servers(Protocol):
    """The calls a device makes; `GrpcServers` makes them, tests may answer them.

    Every call raises `Rejected` when the server refuses and `TransportError` when it cannot be
    reached.
    """

    traffic: Traffic

    def enrol(self, token: str, public_key: bytes, proof: bytes) -> tuple[str, str]:
        """Enrol; returns `(device_id, population)`."""
        ...

    def append_consent(self, event: bytes, signature: bytes, known_size: int) -> Receipt:
        """Send one consent event to the ledger."""
        ...

    def get_state_proof(
        self, known_size: int, covering: int, keys: tuple[bytes, ...]
    ) -> StateProof:
        """Ask what the newest epoch, covering so many consent leaves, says of some keys."""
        ...

    def erase(
        self, request: bytes, signature: bytes, public_key: bytes, known_size: int
    ) -> ErasureAnswer:
        """Ask the ledger to destroy what it holds of this device."""
        ...

    def check_in(self, known_size: int) -> CheckIn:
        """Ask the gateway for something to do."""
        ...

    def contribute(
        self, capability: bytes, task_sha256: bytes, round_id: int, values: bytes, noised: bool
    ) -> None:
        """Send a contribution: little-endian integers, of 32 bits if noised by the device, or 16.

        The servers hold the dtype against the trust level of the task.
        """
        ...

    def fetch_blob(self, sha256: bytes, max_bytes: int) -> bytes:
        """Fetch public content by digest; the digest is not checked here."""
        ...

    def get_release(self, population: str, known_size: int, kind: str) -> LoggedEntry | None:
        """Ask for the newest release of a kind."""
        ...

    def get_retrainings(self, population: str, known_size: int, after: int) -> RetrainingAnswer:
        """Ask, under no name, for retrainings whose release has index `after` or more."""
        ...
