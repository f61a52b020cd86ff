"""A change of an account in one line, from the terms before and after it."""

from __future__ import annotations

from collections.abc import Collection

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.trust import CONSENT_ONLY, LEVELS


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
            ("unit", before.unit, after.unit),
            ("trust levels", _levels(before), _levels(after)),
        )
        if old != new
    ]
    if added := set(after.approvers) - set(before.approvers):
        parts.append("new approvers " + " ".join(sorted(added)))
    if removed := set(before.approvers) - set(after.approvers):
        parts.append("no longer approvers " + " ".join(sorted(removed)))
    for name, old, new in (
        ("approvers", before.approvers, after.approvers),
        ("trust levels", before.allowed_levels, after.allowed_levels),
    ):
        if old != new and set(old) == set(new):
            parts.append(f"order of {name}")
    text = ", ".join(parts)
    meaning = levels_in_words(before.allowed_levels, after.allowed_levels)
    return f"{text} ({meaning})" if meaning else text


def levels_in_words(before: Collection[str], after: Collection[str]) -> str:
    """Return what other allowed levels mean for what the cap bounds; empty for the same ones.

    Args:
        before: Levels that the terms allowed.
        after: Levels that they allow from here on.
    """
    parts: list[str] = []
    added, removed = set(after) - set(before), set(before) - set(after)
    if CONSENT_ONLY in added:
        parts.append(
            f"the cap no longer bounds everything that leaves devices: tasks at {CONSENT_ONLY} "
            "spend nothing, the operator sees their contributions and exact sums, and nothing "
            "bounds what their models tell about a person"
        )
    if CONSENT_ONLY in removed:
        parts.append(
            f"the cap bounds everything that leaves devices from here on: no task or round at "
            f"{CONSENT_ONLY} is taken any more; what left devices at it before is not undone, and "
            "may still be released"
        )
    if paid := _named(added - {CONSENT_ONLY}):
        parts.append(f"tasks at {paid} may spend from the cap")
    if paid := _named(removed - {CONSENT_ONLY}):
        parts.append(f"tasks at {paid}, published ones too, spend no more")
    return "; ".join(parts)


def _real(value: float) -> str:
    return repr(value).removesuffix(".0")


def _quota(terms: AccountTerms, purpose: str) -> str:
    return _real(terms.quotas[purpose]) if purpose in terms.quotas else "none"


def _days(days: int | None) -> str:
    return "none" if days is None else f"{days} days"


def _thresholds(terms: AccountTerms) -> str:
    return " ".join(_real(one) for one in terms.alert_thresholds) or "none"


def _levels(terms: AccountTerms) -> str:
    return _named(terms.allowed_levels)


def _named(levels: Collection[str]) -> str:
    return " ".join(one for one in LEVELS if one in levels)
