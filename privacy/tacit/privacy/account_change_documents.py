"""Bodies of the governance entries that change a budget account: two officers, two entries.

account.change     an officer proposes new terms, or a new window
account.approval   another officer agrees: from this entry on the change holds
account.rejection  any approver ends a proposal, its author included
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy._document_fields import take_digest, take_expected, take_name
from tacit.privacy.account_documents import split_object, terms_from_json, terms_to_json
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.canonical import Fields, Json, canonical_json
from tacit.privacy.errors import BadDocument


@dataclass(frozen=True, slots=True)
class ChangeDocument:
    """Proposes to change an account (kind `account.change`); alone it changes nothing.

    Attributes:
        account_id: the account.
        replaces: hex digest of the standing it is about (`AccountStanding.digest`), so that it
            dies with any other change.
        reason: one line for people.
        expires_at_ms: Unix milliseconds from which it can no longer be approved.
        terms: the whole new terms; None to refresh the window under the terms as they are.
    """

    account_id: str
    replaces: str
    reason: str
    expires_at_ms: int
    terms: AccountTerms | None = None

    @property
    def is_refresh(self) -> bool:
        """Whether it begins a new window."""
        return self.terms is None

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.account.change/1",
            "account_id": self.account_id,
            "action": "refresh" if self.terms is None else "terms",
            "replaces": self.replaces,
            "reason": self.reason,
            "expires_at_ms": self.expires_at_ms,
            **({} if self.terms is None else {"terms": terms_to_json(self.terms)}),
        }

    def sha256(self) -> str:
        """Hex digest of the canonical body: the name approvals and rejections use."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ChangeDocument:
        """Parse and validate; raises `BadDocument` or `BadParameter`."""
        terms: AccountTerms | None = None
        whole = dict(document)
        if document.get("action") == "terms":
            document, body = split_object(document, "change", "terms")
            terms = terms_from_json(body, "change.terms")
        fields = Fields(document, "change")
        take_expected(fields, "change", "type", "tacit.account.change/1")
        take_expected(fields, "change", "action", "refresh" if terms is None else "terms")
        change = cls(
            account_id=take_name(fields, "change", "account_id"),
            replaces=take_digest(fields, "change", "replaces"),
            reason=_reason(fields, "change"),
            expires_at_ms=fields.integer("expires_at_ms", 1),
            terms=terms,
        )
        fields.done()
        if change.to_json() != whole:  # or its digest would not be that of its body
            raise BadDocument("change.terms: expected shortest decimals")
        return change


@dataclass(frozen=True, slots=True)
class ApprovalDocument:
    """Makes a change effective at its place in the log (kind `account.approval`).

    Attributes:
        account_id: the account.
        change_sha256: hex digest of the change's body.
    """

    account_id: str
    change_sha256: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.account.approval/1",
            "account_id": self.account_id,
            "change_sha256": self.change_sha256,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ApprovalDocument:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "approval")
        take_expected(fields, "approval", "type", "tacit.account.approval/1")
        approval = cls(
            account_id=take_name(fields, "approval", "account_id"),
            change_sha256=take_digest(fields, "approval", "change_sha256"),
        )
        fields.done()
        return approval


@dataclass(frozen=True, slots=True)
class RejectionDocument:
    """Ends a proposed change without effect (kind `account.rejection`).

    Attributes:
        account_id: the account.
        change_sha256: hex digest of the change's body.
        reason: one line for people.
    """

    account_id: str
    change_sha256: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": "tacit.account.rejection/1",
            "account_id": self.account_id,
            "change_sha256": self.change_sha256,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> RejectionDocument:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "rejection")
        take_expected(fields, "rejection", "type", "tacit.account.rejection/1")
        rejection = cls(
            account_id=take_name(fields, "rejection", "account_id"),
            change_sha256=take_digest(fields, "rejection", "change_sha256"),
            reason=_reason(fields, "rejection"),
        )
        fields.done()
        return rejection


def _reason(fields: Fields, what: str) -> str:
    reason = fields.text("reason")
    if not reason.strip() or not reason.isprintable():
        raise BadDocument(f"{what}.reason: expected one line of text")
    return reason
