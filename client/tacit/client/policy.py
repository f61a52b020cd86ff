"""What a device trusts and what it puts up with; fixed by the app, never by a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tacit.privacy.cosignature import NO_QUORUM, Quorum
from tacit.privacy.trust import CHARGED_LEVELS


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """Names and public keys pinned in the app.

    Attributes:
        governance_origin, consent_origin: origin of each log's checkpoints, which is also the key
            name in their signed notes.
        ledger_key: 32-byte Ed25519 public key that signs checkpoints.
        coordinator_key: 32-byte Ed25519 public key that signs tasks, rounds and releases.
        witnesses: who must have cosigned a checkpoint for this device to go by it; by default
            nobody. With a quorum, a ledger cannot show this device a history of its own unless
            that many witnesses help it.
    """

    governance_origin: str
    consent_origin: str
    ledger_key: bytes
    coordinator_key: bytes
    witnesses: Quorum = NO_QUORUM


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers are.

    Attributes:
        gateway: `host:port` of the device service.
        ledger: `host:port` of the ledger.
        ca_pem: PEM certificate of the only authority whose servers are accepted.
        server_name: name the servers' certificates carry, where it is not the host's.
    """

    gateway: str
    ledger: str
    ca_pem: bytes
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """Limits the device holds a task to, whatever its signed manifest says.

    Attributes:
        max_epsilon: ε over the device's whole life, at `max_delta`, rounds of every trust level
            that has an ε composed together; a task that could go beyond is refused before its
            first round.
        max_delta: largest δ of a task.
        min_cohort: smallest cohort a round may be released from.
        trust_levels: levels accepted. Not `consent-only` unless the app says so: without noise
            nothing bounds what a model tells about a person, and the default notice promises noise.
        max_context_bytes, max_model_bytes: largest blobs accepted.
        max_contribution_values: longest contribution; a device holds 8 bytes a value for a moment.
            Half of it at level `local`, whose values take twice the bytes.
        clock_skew_ms: how far a server's clock may be ahead of the device's.
        retention_days: signal → days its events are kept, where it is not to be
            `DEFAULT_RETENTION_DAYS`.
    """

    max_epsilon: float = 20.0
    max_delta: float = 1e-2
    min_cohort: int = 2
    trust_levels: tuple[str, ...] = CHARGED_LEVELS
    max_context_bytes: int = 64 << 20
    max_model_bytes: int = 64 << 20
    max_contribution_values: int = 16 << 20
    clock_skew_ms: int = 60_000
    retention_days: Mapping[str, int] = field(default_factory=dict[str, int])
