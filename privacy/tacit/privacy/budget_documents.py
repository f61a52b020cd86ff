"""Bodies of the governance entries that reserve, commit and abort privacy budget.

Those that open an account and change its terms are in `account_documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy._document_fields import take_digest, take_expected, take_name
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.canonical import Fields, Json, canonical_json, encode_real
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import check_purpose

__all__ = ["AbortDocument", "AccountDocument", "CommitDocument", "ReserveDocument"]


@dataclass(frozen=True, slots=True)
class ReserveDocument:
    """Reserves the spend of one round before its noise is drawn (kind `budget.reserve`).

    Attributes:
        reservation_id: unique name.
        account_id: who pays.
        purpose: whose quota it falls under.
        idempotency_key: same key and same body give the first answer again.
        task_sha256, round_id: the round of the task that spends.
        context_sha256: hex digest of the public context devices answered under.
        event: the mechanism, in units of its sensitivity; its count is 1.
    """

    reservation_id: str
    account_id: str
    purpose: str
    idempotency_key: str
    task_sha256: str
    round_id: int
    context_sha256: str
    event: GaussianEvent

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.budget.reserve/1",
            "reservation_id": self.reservation_id,
            "account_id": self.account_id,
            "purpose": self.purpose,
            "idempotency_key": self.idempotency_key,
            "task_sha256": self.task_sha256,
            "round_id": self.round_id,
            "context_sha256": self.context_sha256,
            "event": dict(self.event.to_json()),
        }

    def to_bytes(self) -> bytes:
        """Return the canonical body, which idempotency compares."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ReserveDocument:
        """Parse and validate; raises `BadDocument`."""
        left = dict(document)
        event = left.pop("event", None)
        if not isinstance(event, dict):
            raise BadDocument("reserve.event: expected an object")
        fields = Fields(left, "reserve")
        take_expected(fields, "reserve", "type", "tacit.budget.reserve/1")
        reserve = cls(
            reservation_id=take_name(fields, "reserve", "reservation_id"),
            account_id=take_name(fields, "reserve", "account_id"),
            purpose=check_purpose(fields.text("purpose")),
            idempotency_key=take_name(fields, "reserve", "idempotency_key"),
            task_sha256=take_digest(fields, "reserve", "task_sha256"),
            round_id=fields.integer("round_id", 1, 10_000),
            context_sha256=take_digest(fields, "reserve", "context_sha256"),
            event=GaussianEvent.from_json(event),
        )
        fields.done()
        if reserve.event.count != 1:
            raise BadDocument("reserve.event.count: expected 1, a round is released once")
        return reserve


@dataclass(frozen=True, slots=True)
class CommitDocument:
    """States that a reserved spend was used (kind `budget.commit`).

    Attributes:
        reservation_id: the reservation.
        release_sha256: hex digest of the noised sum it paid for.
        epsilon: lifetime ε, of everything ever reserved or committed on the account, this
            included: as the reservation left it, or as it is when this is recorded.
        target_delta: δ of that ε.
    """

    reservation_id: str
    release_sha256: str
    epsilon: float
    target_delta: float

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.budget.commit/1",
            "reservation_id": self.reservation_id,
            "release_sha256": self.release_sha256,
            "epsilon": encode_real(self.epsilon),
            "target_delta": encode_real(self.target_delta),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> CommitDocument:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "commit")
        take_expected(fields, "commit", "type", "tacit.budget.commit/1")
        commit = cls(
            reservation_id=take_name(fields, "commit", "reservation_id"),
            release_sha256=take_digest(fields, "commit", "release_sha256"),
            epsilon=fields.real("epsilon", above=0.0),
            target_delta=fields.real("target_delta", above=0.0, at_most=0.5),
        )
        fields.done()
        return commit


@dataclass(frozen=True, slots=True)
class AbortDocument:
    """Frees a reservation whose noised value provably never existed (kind `budget.abort`).

    Attributes:
        reservation_id: the reservation.
        reason: one line for people.
    """

    reservation_id: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.budget.abort/1",
            "reservation_id": self.reservation_id,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> AbortDocument:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "abort")
        take_expected(fields, "abort", "type", "tacit.budget.abort/1")
        abort = cls(
            reservation_id=take_name(fields, "abort", "reservation_id"),
            reason=fields.text("reason"),
        )
        fields.done()
        return abort
