"""A change of an account in one line, from the terms before and after it."""

from __future__ import annotations

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.budget_standing import AccountStanding


def summarise(standing: AccountStanding, change: ChangeDocument) -> str:
    """Return what a change would alter of the standing it is about, every difference named."""
    if change.terms is None:
        return f"refresh window {standing.window} to {standing.window + 1}"
    before, after = standing.account.terms, change.terms
    parts = [
        f"{name} {old} to {new}"
        for name, old, new in (
            ("cap ε", _real(before.cap_epsilon), _real(after.cap_epsilon)),
            ("δ", repr(before.target_delta), repr(after.target_delta)),
            *(
                (f"quota of {purpose}", _quota(before, purpose), _quota(after, purpose))
                for purpose in sorted({*before.quotas, *after.quotas})
            ),
            ("population", str(before.population_size), str(after.population_size)),
            ("window", _days(before.window_days), _days(after.window_days)),
            ("alerts", _thresholds(before), _thresholds(after)),
        )
        if old != new
    ]
    if added := set(after.approvers) - set(before.approvers):
        parts.append("new approvers " + " ".join(sorted(added)))
    if removed := set(before.approvers) - set(after.approvers):
        parts.append("no longer approvers " + " ".join(sorted(removed)))
    return ", ".join(parts) or "order of approvers"


def _real(value: float) -> str:
    return repr(value).removesuffix(".0")


def _quota(terms: AccountTerms, purpose: str) -> str:
    return _real(terms.quotas[purpose]) if purpose in terms.quotas else "none"


def _days(days: int | None) -> str:
    return "none" if days is None else f"{days} days"


def _thresholds(terms: AccountTerms) -> str:
    return " ".join(f"{one:.6g}" for one in terms.alert_thresholds) or "none"
