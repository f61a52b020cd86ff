"""What a statement means and what it does not, in plain words, built from its own figures."""

from __future__ import annotations

import math

from tacit.privacy.budget import ReservationState
from tacit.privacy.trust import ASSUMPTIONS, CLAIMS, EXCLUSIONS
from tacit.server.budget.statement import AccountStatement

_LARGEST_ODDS = 1e6


def explain(statement: AccountStatement) -> tuple[tuple[str, str], ...]:
    """Return (heading, sentences) in reading order.

    Every figure comes from the statement; nothing is claimed of an account that spent nothing.
    """
    account, spent = statement.account, statement.spent
    levels = sorted({task.trust_level for task in statement.tasks}) or ["central"]
    cohort = max((task.cohort_max for task in statement.tasks), default=0)
    checks = ", ".join(f"{c.accountant} {c.accountant_version}" for c in spent.cross_checks)
    sections = [
        ("The claim", _claim(statement)),
        *((f"Trust level {one}", _trust(one)) for one in levels),
        (
            "Unit",
            "One user, that is one device identity, with everything it ever contributed to this "
            "account: not one event, not one session.",
        ),
        (
            "Adjacency",
            "The comparison is between the people who took part and the same people with one of "
            "them added or removed (add/remove), whoever that is.",
        ),
        (
            "Delta",
            f"δ = {account.target_delta:g} is the probability mass on which the bound may fail"
            + (f"; it lies below 1/{cohort:,}, one over the largest cohort." if cohort else "."),
        ),
        (
            "Participation",
            "Every user is charged for every round, whether it took part or not; nothing is "
            "deducted for rounds it missed.",
        ),
        (
            "Sampling",
            "None is claimed: no part of ε is saved by who happened to be drawn.",
        ),
        (
            "Accountant",
            f"{spent.accountant} {spent.accountant_version} composed the stored events "
            f"({checks} agrees); ε is between {spent.epsilon_lower:g} and {spent.epsilon:g}, and "
            "the upper figure is what is claimed. `tacit ledger verify` and `tacit budget facts` "
            "have independent libraries confirm it.",
        ),
        ("Not covered", "; ".join(EXCLUSIONS) + "."),
        (
            "Not meant",
            "ε does not say how likely a leak is, that a model knows nothing about a group, or "
            "that what someone tells others stays secret. What is true of many people can be "
            "learned, also about somebody who took no part.",
        ),
    ]
    return tuple(sections)


def _claim(statement: AccountStatement) -> str:
    account, spent = statement.account, statement.spent
    if not any(one.counts for one in statement.reservations):
        return (
            f"Nothing was spent yet of a cap of ε {account.cap_epsilon:g} at δ "
            f"{account.target_delta:g}; so nothing was released and nothing is claimed."
        )
    return (
        f"Everything released from account {account.account_id} for population "
        f"{account.population} is, together, at most ({spent.epsilon:g}, {account.target_delta:g})"
        f"-DP, of a cap of {account.cap_epsilon:g}. "
        f"{_odds(spent.epsilon)}"
        f"{_open(statement)}"
    )


def _odds(epsilon: float) -> str:
    factor = math.exp(min(epsilon, math.log(_LARGEST_ODDS)))
    sure = factor / (1.0 + factor)
    if factor >= _LARGEST_ODDS:
        return "At so large an ε the bound limits hardly anything. "
    return (
        "Whatever an attacker already knows, seeing the releases changes the odds of one user "
        f"having taken part by at most a factor of {factor:,.3g} (e^ε), except with probability δ:"
        f" from even odds to at most {sure:.2%} sure. "
    )


def _open(statement: AccountStatement) -> str:
    waiting = statement.count(ReservationState.RESERVED)
    if not waiting:
        return "Every spend was committed to a release or provably never used."
    return (
        f"{waiting} reserved but not committed {'spend counts' if waiting == 1 else 'spends count'}"
        " as spent, because noise may have been drawn for them."
    )


def _trust(level: str) -> str:
    sentence = CLAIMS.get(level)
    if sentence is None:
        return "Nothing may be said of this level."
    return f"“{sentence}” This assumes: {ASSUMPTIONS[level]}."
