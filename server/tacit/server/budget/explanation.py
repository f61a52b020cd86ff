"""What a statement means and what it does not, in plain words, built from its own figures."""

from __future__ import annotations

import math

from tacit.privacy.budget import ReservationState
from tacit.privacy.trust import ASSUMPTIONS, CLAIMS, CONSENT_ONLY, exclusions
from tacit.server.budget.change_meaning import changes_in_words, window_in_words
from tacit.server.budget.statement import AccountStatement

_LARGEST_ODDS = 1e6
_ADJACENCY = {
    "add_remove": "The comparison is between the people who took part and the same people with one "
    "of them added or removed (add/remove), whoever that is.",
    "replace": "The comparison is between the people who took part and the same people with what "
    "one of them holds replaced by anything else (replace), whoever that is; that they took part "
    "is visible.",
    "zero_out": "The comparison is between the people who took part and the same people with every "
    "contribution of one of them set to zero (zero-out), whoever that is; that they took part in "
    "rounds at level local is visible.",
}

_SEEN = {
    "add_remove": "the releases changes the odds of one user having taken part",
    "replace": "the releases, or every vector that left its device, changes the odds of one user "
    "holding one thing rather than another",
    "zero_out": "the releases changes the odds of one user having contributed what it did rather "
    "than nothing",
}


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
        ("Window", window_in_words(statement)),
        *((("Changes", changes),) if (changes := changes_in_words(statement)) else ()),
        *((f"Trust level {one}", _trust(one)) for one in levels),
        (
            "Unit",
            "One user, that is one device identity, with everything it ever contributed to this "
            "account: not one event, not one session.",
        ),
        (
            "Adjacency",
            _ADJACENCY[spent.neighboring_relation],
        ),
        (
            "Delta",
            f"δ = {account.target_delta!r} bounds the probability by which ε may be exceeded"
            + _beside(account.target_delta, cohort, "the largest cohort of its tasks")
            + _beside(account.target_delta, account.population_size, "the population")
            + ".",
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
            f"({checks} agrees); ε is between {spent.epsilon_lower!r} and {spent.epsilon!r}, and "
            "the upper figure is what is claimed. `tacit ledger verify` and `tacit budget facts` "
            "have independent libraries confirm it.",
        ),
        ("Not covered", _sentence("; ".join((*exclusions(spent), *_unpaid(statement))))),
        (
            "Not meant",
            "ε does not say how likely a leak is, that a model knows nothing about a group, or "
            "that what someone tells others stays secret. What is true of many people can be "
            "learned, also about somebody who took no part.",
        ),
    ]
    return tuple(sections)


def _unpaid(statement: AccountStatement) -> tuple[str, ...]:
    """Name the tasks of the population that no figure of the account covers."""
    names = [task.task_id for task in statement.tasks if task.trust_level == CONSENT_ONLY]
    return (f"what tasks at trust level consent-only release: {', '.join(names)}",) if names else ()


def _beside(delta: float, size: int | None, whom: str) -> str:
    """Compare δ with one over a size; officers may have raised it since a task was published."""
    if not size:
        return ""
    # As `AccountTerms` and tasks compare it.
    lies = "lies" if delta * size < 1.0 else "does not lie"
    return f"; it {lies} below 1/{size:,}, one over {whom}"


def _claim(statement: AccountStatement) -> str:
    account, spent = statement.account, statement.spent
    unpaid = [one.version for one in statement.releases if one.trust_level == CONSENT_ONLY]
    beside = (
        f"Released at trust level {CONSENT_ONLY}, with no claim at all, and in no figure here: "
        f"version {', '.join(str(one) for one in unpaid)}. "
        if unpaid
        else ""
    )
    if not any(one.counts for one in statement.reservations):
        what = "nothing" if unpaid else "nothing was released and nothing"
        return (
            f"Nothing was spent yet of a cap of ε {account.cap_epsilon!r} at δ "
            f"{account.target_delta!r}; so {what} is claimed. {beside}"
        ).rstrip()
    return (
        f"Everything ever released {'and paid for ' if unpaid else ''}from account "
        f"{account.account_id} for population "
        f"{account.population} is, together, at most ({spent.epsilon!r}, {account.target_delta!r})"
        f"-DP: lifetime ε. {beside}{_capped(statement)}"
        f"{odds_in_words(spent.epsilon, spent.neighboring_relation)}"
        f"{_open(statement)}"
    )


def _capped(statement: AccountStatement) -> str:
    window, cap = statement.window_spent.epsilon, statement.account.cap_epsilon
    which = f"window {statement.standing.window}"
    over = "" if window <= cap else ", so nothing more can be spent"
    return f"Of it {which} has spent ε {window!r}, of a cap of {cap!r}{over}. "


def odds_in_words(epsilon: float, neighboring_relation: str) -> str:
    """Say how far an (epsilon, delta) claim lets odds move; ends with a space.

    Args:
        epsilon: The figure that is claimed.
        neighboring_relation: What neighbouring data sets differ by.
    """
    factor = math.exp(min(epsilon, math.log(_LARGEST_ODDS)))
    sure = math.ceil(factor / (1.0 + factor) * 1e4) / 1e4  # bounds are rounded up for show, too
    factor = math.ceil(factor * 100.0) / 100.0
    if factor >= _LARGEST_ODDS:
        return "At so large an ε the bound limits hardly anything. "
    return (
        f"Whatever an attacker already knows, seeing {_SEEN[neighboring_relation]} by at most a "
        f"factor of {factor:,.2f} (e^ε), up to the δ below:"
        f" from even odds to at most {sure:.2%} sure. "
    )


def _open(statement: AccountStatement) -> str:
    waiting = statement.count(ReservationState.RESERVED)
    aborted = statement.count(ReservationState.ABORTED)
    text = (
        f"Reserved but not committed: {waiting}, counted as spent because noise may have been "
        "drawn. "
        if waiting
        else "Every spend that counts was committed to the noised sum it paid for. "
    )
    if aborted:
        text += (
            f"Aborted: {aborted}, not counted, on the coordinator's word that no noise was drawn."
        )
    return text.rstrip()


def _trust(level: str) -> str:
    sentence = CLAIMS.get(level)
    if sentence is None:
        return "Nothing may be said of this level."
    return f"“{sentence}” This assumes: {ASSUMPTIONS[level]}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
