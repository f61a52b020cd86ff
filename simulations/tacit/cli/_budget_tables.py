"""How budgets look on a terminal."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacit.cli._budget_governance import SHOWN_DIGITS, print_governance
from tacit.privacy.accounting import ACCOUNTANT, ACCOUNTANT_VERSION, EpsilonClaim
from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import BudgetStep
from tacit.simulations.expected_utility import ERROR, METRIC, SOURCE
from tacit.simulations.what_if import AccountAfter, Answer

_BESIDE = "trust level central, per user, add/remove, every round charged, no sampling claimed"
"""Of questions that nobody has asked a ledger; what a ledger answers names its own."""

_EXCLUDED = "What ε does not cover: tacit budget explain."


def print_statement(console: Console, statement: AccountStatement) -> None:
    """Print one account."""
    account, spent = statement.account, statement.spent
    _heading(console, f"Account {account.account_id}, population {account.population}")
    window = statement.window_spent
    table = _table("", "cap ε", "spent ε at most", "and at least")
    table.add_row(
        f"window {statement.standing.window}",
        _exact(account.cap_epsilon),
        _exact(window.epsilon),
        _exact(window.epsilon_lower),
    )
    for purpose, quota in account.quotas.items():
        own = statement.by_purpose[purpose]
        table.add_row(
            f"quota of {purpose}", _exact(quota), _exact(own.epsilon), _exact(own.epsilon_lower)
        )
    table.add_row("lifetime", "", _exact(spent.epsilon), _exact(spent.epsilon_lower))
    console.print(table)
    print_governance(console, statement)
    console.print(
        f"At δ = {account.target_delta!r}, {_beside(spent)}. "
        f"Released, lifetime: ε {_exact(statement.released.epsilon)}. "
        f"Accountant: {spent.accountant} {spent.accountant_version}. {_EXCLUDED}",
        highlight=False,
    )
    if statement.reservations:
        table = _table("reservation", "purpose", "state", "noise z", "window")
        now = {one.reservation_id for one in statement.in_window}
        for one in statement.reservations:
            noise = ", ".join(f"{event.noise_multiplier:.4g}" for event in one.events)
            counts = "this" if one.reservation_id in now else "earlier"
            table.add_row(one.reservation_id, one.purpose, str(one.state), noise, counts)
        console.print(table)
    for release in statement.releases:
        console.print(
            f"Release {release.version} ({release.trust_level}): {_figure(release.epsilon)}, "
            f"{len(release.reservations)} reservations, {_time(release.created_at_ms)}",
            highlight=False,
        )


def print_history(console: Console, statement: AccountStatement) -> None:
    """Print the steps of one account, then what officers did and what alerts they gave."""
    account = statement.account
    _heading(
        console,
        f"Account {account.account_id}, cap ε {_exact(account.cap_epsilon)} at δ "
        f"{account.target_delta!r}",
    )
    table = _table(
        "entry", "time (UTC)", "what", "name", "z", "window ε", "lifetime ε", "released ε"
    )
    for step in statement.steps:
        table.add_row(
            str(step.index),
            _time(step.recorded_at_ms)[:-3],
            step.kind.removeprefix("budget.").removeprefix("account."),
            step.change_sha256[:SHOWN_DIGITS] or step.name,
            "" if step.noise_multiplier is None else f"{step.noise_multiplier:.4g}",
            f"{step.window}: {_exact(step.window_epsilon)}",
            _exact(step.spent_epsilon),
            _exact(step.released_epsilon),
        )
    console.print(table)
    for step in statement.steps:
        if note := _note(step):
            console.print(f"Entry {step.index}: {note}", highlight=False)
    spent = statement.spent
    console.print(
        f"ε at {_beside(spent)}. Accountant: {spent.accountant} {spent.accountant_version}. "
        f"{_EXCLUDED}",
        highlight=False,
    )


def _print_facts_without_figures(console: Console, card: dict[str, Any]) -> None:
    """Print the card of a trust level that has no figures."""
    release = card["release"]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("trust level", f"{card['trust_level']}: {card['claim']}"),
        ("assumes", card["assumptions"]),
        ("purpose", f"{release['purpose']}, from {', '.join(release['signals'])}"),
        ("learner", release["learner"]),
        ("model", f"sha256 {release['model_sha256']}"),
        ("task", f"sha256 {release['task_sha256']}"),
    ):
        table.add_row(Text(name, style="bold"), Text(str(value)))
    console.print(table)


def _beside(claim: EpsilonClaim) -> str:
    """Say what a figure of a ledger rests on."""
    relation = claim.neighboring_relation.replace(
        "_", "/" if "add" in claim.neighboring_relation else "-"
    )
    return (
        f"trust level {claim.trust_level}, per {claim.unit}, {relation}, every round charged, no "
        "sampling claimed"
    )


def _figure(epsilon: float | None) -> str:
    """Show the ε of a release, or that there is none."""
    return "no figure" if epsilon is None else f"ε {_exact(epsilon)}"


def print_explanation(
    console: Console, account_id: str, sections: Sequence[tuple[str, str]]
) -> None:
    """Print what a statement means."""
    _heading(console, f"What account {account_id} claims")
    for heading, text in sections:
        console.print(Text.assemble((f"{heading}. ", "bold"), text))


def print_facts(console: Console, card: dict[str, Any]) -> None:
    """Print one privacy facts card, as it stands in its JSON."""
    release = card["release"]
    _heading(console, f"Privacy facts: {release['population']}, release {release['version']}")
    if "mechanism" not in card:
        _print_facts_without_figures(console, card)
        return
    mechanism = card["mechanism"]
    noise = ", ".join(f"{float(one['noise_multiplier']):.4g}" for one in mechanism["events"])
    bounds = ", ".join(str(one["integer_norm"]) for one in mechanism["rounds"])
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        (
            "ε, δ",
            f"{_exact(card['epsilon'])}, {card['delta']!r} (ε at least "
            f"{_exact(card['epsilon_lower'])})",
        ),
        (
            "lifetime ε",
            f"{_exact(card['lifetime_epsilon'])} at δ {card['lifetime_delta']!r}, all windows",
        ),
        (
            "window ε",
            f"{_exact(card['window_epsilon'])} in window {card['window']}, of a cap of "
            f"{_exact(card['cap_epsilon'])}",
        ),
        ("unit", card["unit"]),
        ("relation", card["neighboring_relation"]),
        ("trust level", f"{card['trust_level']}: {card['claim']}"),
        ("assumes", card["assumptions"]),
        ("participation", f"{card['participation']}, bound {card['participation_bound']} rounds"),
        ("sampling", card["sampling"]),
        ("mechanism", mechanism["name"]),
        ("noise z", noise),
        ("ℓ2 norm", f"at most {bounds} (integers)"),
        ("accountant", card["accountant"]),
        *(
            ("confirmed by", f"{one['accountant']}: {_exact(one['epsilon'])}")
            for one in card["cross_checks"]
        ),
        ("purpose", f"{release['purpose']}, from {', '.join(release['signals'])}"),
        ("learner", release["learner"]),
        ("model", f"sha256 {release['model_sha256']}"),
        ("task", f"sha256 {release['task_sha256']}"),
        *(
            ("audit", f"{one['report_sha256'][:16]}…, {one['tool']}: {one['statement']}")
            for one in card["audits"]
        ),
        *([] if card["audits"] else [("audit", "none recorded")]),
        ("not covered", "; ".join(card["exclusions"])),
        ("implementation", card["implementation"]),
        ("rationale", card["security_rationale"]),
    ):
        table.add_row(Text(name, style="bold"), Text(str(value)))
    console.print(table)


def print_what_if(console: Console, answer: Answer) -> None:
    """Print a plan, its expected utility and what an account would have left."""
    plan = answer.plan
    console.print(
        f"ε {_exact(plan.epsilon)} at δ {plan.target_delta!r}: {plan.rounds} rounds at "
        f"noise multiplier z = {plan.noise_multiplier:.6g} "
        f"(found: {plan.solved_for.replace('_', ' ')})",
        highlight=False,
    )
    console.print(
        f"{_BESIDE[0].upper()}{_BESIDE[1:]}; no correct analysis gives less than ε "
        f"{_exact(plan.epsilon_lower)}. Accountant: {ACCOUNTANT} {ACCOUNTANT_VERSION}.",
        highlight=False,
    )
    if answer.account is not None:
        _account_after(console, answer.account)
    _heading(console, f"{plan.rounds} rounds at other ε")
    table = _table("ε", "noise z", f"expected {METRIC}")
    for other, utility in answer.alternatives:
        value = "-" if utility is None or utility.value is None else f"{utility.value:.3f}"
        table.add_row(_exact(other.epsilon), f"{other.noise_multiplier:.4g}", value)
    console.print(table)
    _utility(console, answer)


def _utility(console: Console, answer: Answer) -> None:
    utility = answer.utility
    if utility is None:
        console.print("Expected utility: not without the number of users (--users).")
        return
    users = f"{answer.n_users:,} users"
    if utility.value is None:
        console.print(f"Expected utility for {users}: none; {utility.reason}.", highlight=False)
    else:
        console.print(
            f"Expected {METRIC} for {users} at this ε: {utility.value:.3f} (without privacy "
            f"{utility.not_private:.3f}).",
            highlight=False,
        )
    console.print(
        f"An expectation, not a promise. Source: {SOURCE}; the study's other points lay within "
        f"{ERROR}.",
        highlight=False,
    )


def _account_after(console: Console, after: AccountAfter) -> None:
    _heading(console, f"Account {after.account_id}, cap ε {_exact(after.cap_epsilon)}")
    table = _table("", "window ε", "lifetime ε", "room for one task of ε")
    table.add_row(
        "now", _exact(after.spent_before), _exact(after.lifetime_before), _exact(after.room_before)
    )
    table.add_row(
        "after the task",
        _exact(after.spent_after),
        _exact(after.lifetime_after),
        _exact(after.room_after),
    )
    console.print(table)
    verdict = "The account would admit it" if after.admitted else "The account would refuse it"
    console.print(
        f"{verdict}: purpose {after.purpose} would be at ε {_exact(after.quota_spent_after)} of "
        f"its {_exact(after.quota_epsilon)}. Composed from events; adding ε would have said "
        f"{_exact(after.added)}.",
        highlight=False,
    )


def _note(step: BudgetStep) -> str:
    """Return what officers did in a step, or which alerts it gave; empty for neither."""
    if step.kind == "account.change":
        return f"{step.name}; asked for by {step.officers[0]} (“{step.reason}”)."
    if step.officers:
        done = "approved" if step.kind == "account.approval" else "ended"
        why = f" (“{step.reason}”)" if step.reason else ""
        return f"{step.name}; proposed by {step.officers[0]}, {done} by {step.officers[1]}{why}."
    if step.alerts:
        reached = " and ".join(f"{one:.6g}" for one in step.alerts)
        return f"alert: window {step.window} reached {reached} of its cap."
    return ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        numeric = "ε" in name or name in ("noise z", "z", "and at least", "entry") or METRIC in name
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    return table


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _time(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"


def _exact(epsilon: float) -> str:
    """Return all six decimals a bound is stated in: rounding it for show could make it false."""
    return f"{epsilon:.6f}".rstrip("0").rstrip(".") or "0"
