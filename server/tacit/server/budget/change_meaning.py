"""What changes of an account did to its claim, in plain words, from the figures around them."""

from __future__ import annotations

import datetime

from tacit.server.budget.change_summary import levels_in_words
from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import BudgetStep


def changes_in_words(statement: AccountStatement) -> str:
    """Return what each effective change meant, in order; empty where there was none."""
    told: list[str] = []
    for before, step in zip(statement.steps, statement.steps[1:], strict=False):
        if step.kind == "account.approval":
            reasons = {one.sha256: one.document.reason for one in statement.proposals}
            told.append(_change(before, step, reasons[step.change_sha256]))
    return " ".join(told)


def window_in_words(statement: AccountStatement) -> str:
    """Return what the cap bounds now, and what it does not."""
    account, standing = statement.account, statement.standing
    if account.window_days is None:
        return (
            "There is none: the cap bounds everything this account ever spends, and window ε and "
            "lifetime ε are the same."
        )
    began = _day(standing.window_started_at_ms)
    text = (
        f"The cap bounds window {standing.window}, which began {began}. No clock ends it: only two "
        f"officers do, at the earliest after {account.window_days} days. Lifetime ε composes all "
        "windows and goes on growing; it has no cap, and it is what counts for somebody who was "
        "there all along."
    )
    if standing.carried:
        text += (
            f" Reservations that were open when it began count in it as well: "
            f"{len(standing.carried)}."
        )
    return text


def _change(before: BudgetStep, step: BudgetStep, reason: str) -> str:
    proposed, approved = step.officers
    text = (
        f"{_day(step.recorded_at_ms)}: {step.name}; {proposed} proposed it, {approved} approved it "
        f"(“{reason}”)."
    )
    levels = levels_in_words(before.allowed_levels, step.allowed_levels)
    meanings = [
        meaning
        for holds, meaning in (
            (step.window != before.window, _refresh(before)),
            (
                step.cap_epsilon > before.cap_epsilon,
                f"Who was promised at most ε {before.cap_epsilon!r} may from here on be exposed to "
                f"up to {step.cap_epsilon!r}.",
            ),
            (step.cap_epsilon < before.cap_epsilon, _lowered(step)),
            (
                step.target_delta != before.target_delta,
                f"All spends, earlier ones too, are composed at δ {step.target_delta!r} since: ε "
                f"stated before was at δ {before.target_delta!r} and compares with none stated "
                "after. Tasks published at the old δ can spend no more.",
            ),
            (bool(levels), f"{levels[:1].upper()}{levels[1:]}."),
        )
        if holds
    ]
    return " ".join([text, *(meanings or ["It made no claim larger or smaller."])])


def _refresh(before: BudgetStep) -> str:
    return (
        f"The cap counts anew since; nothing was undone: the ε {before.spent_epsilon!r} spent by "
        "then stays in lifetime ε for good."
    )


def _lowered(step: BudgetStep) -> str:
    text = "Less may be spent from here on; nothing already released is undone."
    if step.window_epsilon > step.cap_epsilon:
        text += (
            f" The window stood at ε {step.window_epsilon!r}, above the new cap, so all spending "
            "stopped."
        )
    return text


def _day(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%Y-%m-%d}"
