"""Changes of a budget, signed by an officer and sent to the running ledger: the only way to it.

The ledger decides, by its own rules: two people, both named by the account, one standing. What is
signed is made here from the ledger's own log, read anew and held to its checkpoint, as
`tacit budget propose | approve | reject` do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.errors import PrivacyError
from tacit.privacy.signatures import SigningKey
from tacit.server.budget.officers import read_account
from tacit.server.console.errors import BadForm
from tacit.server.console.source import LedgerSource
from tacit.server.console.steady_clock import system_ms
from tacit.server.errors import ServerError
from tacit.server.ledger.client import LedgerClient

_PATIENCE_S = 3.0
_HOUR_MS = 3_600_000


def propose(source: LedgerSource, key: SigningKey, account_id: str, form: Mapping[str, str]) -> str:
    """Ask for other terms or a new window; returns the digest of the change.

    Raises:
        BadForm: A field is out of range, the ledger refused, or it does not answer.
    """
    try:
        with _client(source, key) as client:
            standing = read_account(client, account_id).standing
            refresh = form.get("what") == "refresh"
            change = ChangeDocument(
                account_id=account_id,
                replaces=standing.digest(),
                reason=form.get("reason", "").strip(),
                expires_at_ms=system_ms() + _hours(form) * _HOUR_MS,
                terms=None if refresh else changed_terms(standing.account.terms, form),
            )
            client.append_governance("account.change", change.to_json())
            return change.sha256()
    except (ServerError, PrivacyError) as error:
        raise _as_form_error(error) from None


def approve(source: LedgerSource, key: SigningKey, account_id: str, change_sha256: str) -> int:
    """Make another person's change hold; returns its place in the log. Raises `BadForm`."""
    document = ApprovalDocument(account_id, change_sha256)
    return _decide(source, key, "account.approval", document)


def reject(
    source: LedgerSource, key: SigningKey, account_id: str, change_sha256: str, reason: str
) -> int:
    """End a proposed change; returns its place in the log. Raises `BadForm`."""
    document = RejectionDocument(account_id, change_sha256, reason)
    return _decide(source, key, "account.rejection", document)


def changed_terms(before: AccountTerms, form: Mapping[str, str]) -> AccountTerms:
    """Return the terms with what the form names; empty fields stay as they are.

    Fields: `cap`, `quota:PURPOSE` (0 takes it away), `delta`, `population_size`, `window_days` (0
    for no window), `alerts` (fractions of the cap, spaces between, "none" for none).

    Raises:
        BadForm: A field is no number, or nothing changes.
        BadParameter: The terms are out of range.
    """
    given = {name: value.strip() for name, value in form.items() if value.strip()}
    changes: dict[str, Any] = {}
    if "cap" in given:
        changes["cap_epsilon"] = _real("cap", given["cap"])
    if "delta" in given:
        changes["target_delta"] = _real("delta", given["delta"])
    if "population_size" in given:
        changes["population_size"] = _whole("population_size", given["population_size"])
    if "window_days" in given:
        changes["window_days"] = _whole("window_days", given["window_days"]) or None
    if "alerts" in given:
        parts = () if given["alerts"] == "none" else given["alerts"].split()
        changes["alert_thresholds"] = tuple(_real("alerts", one) for one in parts)
    quotas = dict(before.quotas)
    for name, value in given.items():
        if name.startswith("quota:"):
            quotas[name.removeprefix("quota:")] = _real("quota", value)
    quotas = {purpose: quota for purpose, quota in quotas.items() if quota}
    if quotas != dict(before.quotas):
        changes["quotas"] = quotas
    changed = dataclasses.replace(before, **changes)
    if changed == before:
        raise BadForm("expected something to change: every field is empty or as it is now")
    return changed


def _decide(
    source: LedgerSource,
    key: SigningKey,
    kind: str,
    document: ApprovalDocument | RejectionDocument,
) -> int:
    try:
        with _client(source, key) as client:
            read_account(client, document.account_id).find(document.change_sha256)
            return client.append_governance(kind, document.to_json())
    except (ServerError, PrivacyError) as error:
        raise _as_form_error(error) from None


def _client(source: LedgerSource, key: SigningKey) -> LedgerClient:
    if not source.address or source.ca is None:
        raise BadForm(
            "expected a running ledger to send this to: start the console with --ledger HOST:PORT "
            "and --ca FILE, or on a demo's state directory"
        )
    try:
        authority = source.ca.read_bytes()
    except OSError as error:
        raise BadForm(f"--ca: cannot be read ({error.strerror})") from None
    return LedgerClient(source.address, authority, key, patience_s=_PATIENCE_S)


def _as_form_error(error: ServerError | PrivacyError) -> BadForm:
    return error if isinstance(error, BadForm) else BadForm(str(error))


def _hours(form: Mapping[str, str]) -> int:
    hours = _whole("expires_hours", form.get("expires_hours", "").strip() or "72")
    if not 1 <= hours <= 720:
        raise BadForm(f"expires_hours: expected 1 to 720, got {hours}")
    return hours


def _real(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadForm(f"{name}: expected a number") from None


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadForm(f"{name}: expected a whole number") from None
