"""Answer a what-if question: the plan, what it would leave of an account, what it may be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tacit.privacy import what_if as formulas
from tacit.privacy.accounting import (
    ACCOUNTANT,
    ACCOUNTANT_VERSION,
    GaussianEvent,
    epsilon_bound,
    round_up,
)
from tacit.privacy.budget import composed_events
from tacit.privacy.errors import BadParameter
from tacit.privacy.trust import EXCLUSIONS
from tacit.server.budget.statement import AccountStatement
from tacit.simulations.expected_utility import ExpectedUtility, expected_utility

_SHOWN = (0.3, 1.0, 3.0, 8.0)


@dataclass(frozen=True, slots=True)
class AccountAfter:
    """An account before and after a further task, by composition of all its events.

    Attributes:
        account_id: Who would pay.
        purpose: The quota it would fall under.
        cap_epsilon, quota_epsilon: What they allow.
        spent_before, spent_after: Certified upper bounds of the current window, which the cap
            bounds.
        lifetime_before, lifetime_after: The same of everything ever spent.
        quota_spent_after: Of the purpose's own events.
        added: What adding epsilons would say instead of `spent_after`; for comparison only.
        room_before, room_after: Largest epsilon of one further task that the cap admits; 0 for
            none.
        admitted: Whether cap and quota admit the task.
    """

    account_id: str
    purpose: str
    cap_epsilon: float
    quota_epsilon: float
    spent_before: float
    spent_after: float
    lifetime_before: float
    lifetime_after: float
    quota_spent_after: float
    added: float
    room_before: float
    room_after: float
    admitted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked and found; nothing of it is spent.

    Attributes:
        plan: epsilon, noise multiplier and rounds.
        n_users: Users it is for; None if not known.
        utility: What it may be worth to them; None if their number is not known.
        alternatives: The same rounds at other epsilons, with their utility.
        account: The account that would pay; None if none was given.
    """

    plan: formulas.Plan
    n_users: int | None
    utility: ExpectedUtility | None
    alternatives: tuple[tuple[formulas.Plan, ExpectedUtility | None], ...]
    account: AccountAfter | None

    def to_json(self) -> dict[str, object]:
        """Return the answer with everything that must be said beside an epsilon."""
        beside: dict[str, object] = {
            "trust_level": "central",
            "unit": "user",
            "neighboring_relation": "add_remove",
            "participation": "full",
            "participation_bound": self.plan.rounds,
            "sampling": "none",
            "accountant": f"{ACCOUNTANT} {ACCOUNTANT_VERSION}",
            "exclusions": list(EXCLUSIONS),
        }
        return {
            **beside,
            "target_delta": self.plan.target_delta,
            "plan": {**asdict(self.plan), **beside},
            "users": self.n_users,
            "expected_utility": self.utility and self.utility.to_json(),
            "alternatives": [
                {
                    "epsilon": plan.epsilon,
                    "noise_multiplier": plan.noise_multiplier,
                    "expected_utility": utility and utility.value,
                }
                for plan, utility in self.alternatives
            ],
            "account": self.account and asdict(self.account),
        }


def answer(
    statement: AccountStatement | None,
    *,
    epsilon: float | None,
    noise_multiplier: float | None,
    rounds: int | None,
    target_delta: float | None,
    n_users: int | None,
    purpose: str,
) -> Answer:
    """Solve for the missing number, and apply it to the account if there is one.

    Args:
        statement: The account that would pay, None for none.
        epsilon: Of the whole task; exactly two of this and the next two are given.
        noise_multiplier: z of every round.
        rounds: Rounds, every user in every one.
        target_delta: None for the account's, or the smaller of 1e-5 and 0.1 / users.
        n_users: None for the expected cohort of the account's last task, if it has one.
        purpose: Quota it would fall under.

    Raises:
        BadParameter: An argument is out of range, delta is not the account's or not below
            1 / users, or the account has no quota for the purpose.
    """
    if n_users is None and statement is not None and statement.tasks:
        n_users = statement.tasks[-1].cohort_expected
    delta = _delta(statement, target_delta, n_users)
    plan = formulas.solve(
        delta, epsilon=epsilon, noise_multiplier=noise_multiplier, rounds=rounds, n_users=n_users
    )
    return Answer(
        plan=plan,
        n_users=n_users,
        utility=expected_utility(n_users, plan.epsilon) if n_users else None,
        alternatives=_alternatives(plan, n_users),
        account=_account_after(statement, plan, purpose) if statement else None,
    )


def _delta(
    statement: AccountStatement | None, target_delta: float | None, n_users: int | None
) -> float:
    if n_users is not None and n_users < 1:
        raise BadParameter(f"users: expected at least 1, got {n_users}")
    if statement is None:
        if target_delta is not None:
            return target_delta
        return 1e-5 if n_users is None else min(1e-5, 0.1 / n_users)
    own = statement.account.target_delta
    if target_delta is not None and target_delta != own:
        raise BadParameter(
            f"delta: expected {own!r}, which account {statement.account.account_id} is kept at, "
            f"got {target_delta!r}"
        )
    return own


def _alternatives(
    plan: formulas.Plan, n_users: int | None
) -> tuple[tuple[formulas.Plan, ExpectedUtility | None], ...]:
    found: list[tuple[formulas.Plan, ExpectedUtility | None]] = []
    for epsilon in _SHOWN:
        try:
            other = formulas.solve(plan.target_delta, epsilon=epsilon, rounds=plan.rounds)
        except BadParameter:  # it would take more noise, or less, than an event may have
            continue
        found.append((other, expected_utility(n_users, epsilon) if n_users else None))
    return tuple(found)


def _account_after(statement: AccountStatement, plan: formulas.Plan, purpose: str) -> AccountAfter:
    account = statement.account
    quota = account.quotas.get(purpose)
    if quota is None:
        known = ", ".join(sorted(account.quotas)) or "none"
        raise BadParameter(
            f"purpose: expected one with a quota on account {account.account_id} ({known}), got "
            f"{purpose!r}"
        )
    current = statement.in_window
    ever = composed_events(statement.reservations)
    spent = list(composed_events(current))
    own = composed_events([one for one in current if one.purpose == purpose])
    after = _epsilon([*spent, plan.event], account.target_delta)
    quota_after = _epsilon([*own, plan.event], account.target_delta)
    cap = account.cap_epsilon
    return AccountAfter(
        account_id=account.account_id,
        purpose=purpose,
        cap_epsilon=cap,
        quota_epsilon=quota,
        spent_before=statement.window_spent.epsilon,
        spent_after=after,
        lifetime_before=statement.spent.epsilon,
        lifetime_after=_epsilon([*ever, plan.event], account.target_delta),
        quota_spent_after=quota_after,
        added=round_up(statement.window_spent.epsilon + plan.epsilon),
        room_before=formulas.room(spent, cap, account.target_delta),
        room_after=formulas.room([*spent, plan.event], cap, account.target_delta),
        admitted=after <= cap and quota_after <= quota,
    )


def _epsilon(events: Sequence[GaussianEvent], delta: float) -> float:
    return round_up(epsilon_bound(events, delta))
